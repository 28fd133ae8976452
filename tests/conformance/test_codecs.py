"""Over all codecs that the registry finds: what is encoded comes back, and a fitted codec is its fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqloom.codecs.base import Codec
from seqloom.core.config import make, members_of
from seqloom.core.errors import ConfigError
from seqloom.sequence.canvas import Canvas, Encoded
from seqloom.sequence.space import Tokens

MEMBERS = members_of(Codec)


def fitted(name: str) -> tuple[Codec, list[Any]]:
    codec: Codec = MEMBERS[name]()  # type: ignore[assignment]
    return codec.fit(codec.examples()), codec.examples()


def same(codec: Codec, first: Any, second: Any) -> bool:
    """Equal as symbols; as vectors equal in all known cells to the precision of float32."""
    a, b = codec.encode(first), codec.encode(second)
    if isinstance(codec.space, Tokens):
        return bool(first == second)
    return np.array_equal(a.known, b.known) and np.allclose(a.x, b.x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MEMBERS)
def test_what_is_encoded_comes_back_and_keeps_to_the_space(name: str) -> None:
    codec, examples = fitted(name)
    assert len(examples) > 1
    assert codec.fitted
    space = codec.space
    for value in examples:
        encoded = codec.encode(value)
        cells = (len(encoded.x),) if isinstance(space, Tokens) else (len(encoded.x), space.dim)
        assert encoded.x.shape == encoded.known.shape == cells
        if isinstance(space, Tokens):
            assert encoded.x.dtype == np.int64
            assert encoded.x.min() >= 0
            assert encoded.x.max() < space.size
        else:
            assert encoded.x.dtype == np.float32
            assert np.isfinite(encoded.x).all()
            assert not encoded.x[~encoded.known].any()
        assert same(codec, value, codec.decode(encoded))
        assert codec.count(value) > 0
        assert codec.extra_nats(value) == pytest.approx(
            0.0 if space.symbolic else (encoded.known * codec.log_slopes(encoded.x)).sum()
        )
    assert all(0 <= symbol < (space.size if isinstance(space, Tokens) else 0) for symbol in codec.never)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_fitted_codec_is_its_fields(name: str) -> None:
    codec, examples = fitted(name)
    codec.encode(examples[0])  # what it keeps for speed is no part of it
    plain = codec.plain()
    again = make(Codec, json.loads(json.dumps(plain)))  # type: ignore[type-abstract]
    assert again == codec
    assert again.plain() == plain
    if not MEMBERS[name]().fitted:  # type: ignore[attr-defined]
        with pytest.raises(ConfigError):
            _ = MEMBERS[name]().space  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", MEMBERS)
def test_what_is_written_is_read_and_what_is_shown_is_understood(name: str, tmp_path: Path) -> None:
    codec, examples = fitted(name)
    for suffix in codec.suffixes or (".txt",):
        for i, value in enumerate(examples):
            path = tmp_path / f"{i}{suffix}"
            codec.write(value, path)
            assert same(codec, value, codec.whole(path))
            if not isinstance(value, bytes):
                assert same(codec, value, codec.typed(codec.show(value).decode()))


@pytest.mark.parametrize("name", MEMBERS)
def test_an_empty_canvas_is_to_be_made_and_can_be_shown(name: str) -> None:
    codec, _ = fitted(name)
    length = 1 if name == "label" else 5
    canvas = codec.canvas(None, length)
    assert isinstance(canvas, Canvas)
    assert len(canvas) == length
    assert canvas.shown.shape == canvas.absent.shape == canvas.x.shape
    assert not canvas.shown.any()
    assert not canvas.absent.all(tuple(range(1, canvas.absent.ndim))).any()  # of each element something is made
    assert codec.show(codec.decode(Encoded(canvas.x, ~canvas.absent, canvas.origin)))
