"""Samples of symbols beside what was learned from and what was held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from seqloom.codecs.base import Codec
from seqloom.core.errors import UnsupportedQuery
from seqloom.corpora.base import Flat
from seqloom.metrics.novelty import Originals, Symbols

STRETCHES = 64
"""Stretches of held-out data that samples are compared with."""


def check_symbols(codec: Codec) -> None:
    """UnsupportedQuery where samples are no symbols."""
    if not codec.space.symbolic:
        raise UnsupportedQuery(
            f"samples of data of codec={codec.name} are no symbols that could be copied",
            hint="leave the metric out; series have evaluate --synthetic",
        )


def originals(codec: Codec, values: Sequence[Any], learned: Flat, held: Flat, length: int) -> Originals:
    """Samples beside the sequences of the training split, and stretches of held-out data that are as long."""
    made = [np.asarray(codec.encode(row).x, np.int64) for value in values for row in codec.rows(value)]
    return Originals(made, list(_sequences(learned)), stretches(held, length, codec.ends))


def stretches(held: Flat, length: int, ends: bool) -> list[Symbols]:
    """Stretches of at most a length, spread over what was held out; of what ends by itself the beginnings."""
    places: list[tuple[int, int]] = []
    for begin, end in zip(held.starts[:-1].tolist(), held.starts[1:].tolist(), strict=True):
        last = begin if ends else max(begin, end - length)
        places += [(first, min(first + length, end)) for first in range(begin, last + 1, length)]
    chosen = sorted({round(i) for i in np.linspace(0, len(places) - 1, STRETCHES).tolist()}) if places else []
    return [np.asarray(held.x[slice(*places[i])], np.int64) for i in chosen]


def _sequences(flat: Flat) -> Iterator[Symbols]:
    for begin, end in zip(flat.starts[:-1], flat.starts[1:], strict=True):
        yield np.asarray(flat.x[begin:end], np.int64)
