"""Whitened tables: uncorrelated numbers, the exact density of a normal law, and a table that comes back."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from seqloom.codecs.arrays import Array
from seqloom.codecs.base import Codec
from seqloom.codecs.series import Series
from seqloom.codecs.table import Table
from seqloom.codecs.whiten import Whiten
from seqloom.core.config import make
from seqloom.core.errors import ConfigError, DataError

NAMES = tuple("abcdefgh")


def table(rows: int = 4000, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(rows, 3)) @ np.random.default_rng(9).normal(size=(3, 8))
    return Table(NAMES, (mixed + 0.1 * rng.normal(size=(rows, 8))) * np.logspace(-1, 1, 8) + np.arange(8))


def test_rows_are_white_with_the_largest_direction_first() -> None:
    data = table()
    codec = Whiten().fit([data])
    x = codec.encode(data).x.astype(np.float64)
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(x.T, bias=True), np.eye(8), atol=1e-3)
    lengths = np.linalg.norm(codec.directions.value, axis=0)  # type: ignore[union-attr]
    assert (np.diff(lengths) > 0).all()  # the first component is divided by most


def test_a_normal_law_has_its_own_density_whatever_the_units() -> None:
    data = table()
    codec = Whiten().fit([data])
    some = data.rows(0, 50)
    x = codec.encode(some).x.astype(np.float64)
    nats = 0.5 * (x**2).sum() + 0.5 * x.size * math.log(2 * math.pi) + codec.extra_nats(some)
    law = multivariate_normal(data.values.mean(0), np.cov(data.values.T, bias=True))
    assert nats == pytest.approx(-law.logpdf(some.values).sum(), abs=1e-3 * x.size)


def test_a_table_comes_back_and_a_saved_codec_is_the_same_to_the_bit() -> None:
    data = table()
    codec = Whiten().fit([data])
    again: Any = make(Codec, json.loads(json.dumps(codec.plain())))  # type: ignore[type-abstract]
    assert again == codec
    assert hash(again.directions) == hash(codec.directions)
    np.testing.assert_array_equal(again.encode(data).x, codec.encode(data).x)
    back = codec.decode(codec.encode(data))
    assert back.columns == data.columns
    np.testing.assert_allclose(back.values / data.values.std(0), data.values / data.values.std(0), atol=1e-4)


def test_rows_are_known_as_a_whole_or_not_at_all() -> None:
    data = table(100)
    data.values[5:8] = np.nan
    codec = Whiten().fit([data])
    encoded = codec.encode(data)
    assert encoded.known.all(1).sum() == 97
    assert np.isnan(codec.decode(encoded).values).all(1).sum() == 3
    assert codec.canvas(data).shown.all(1).sum() == 97
    data.values[20, 3] = np.nan
    with pytest.raises(DataError, match="row 21 has no value in column 'd'"):
        codec.encode(data)
    with pytest.raises(DataError, match="every column"):
        Whiten().fit([Table(("a", "b"), np.array([[1, np.nan], [np.nan, 2.0]]))])


def test_columns_that_never_change_or_repeat_each_other_are_no_trouble() -> None:
    data = table()
    values = np.column_stack([data.values, np.full(len(data), 7.0), data.values[:, 0]])
    wide = Table((*NAMES, "same", "copy"), values)
    codec = Whiten().fit([wide])
    x = codec.encode(wide).x
    assert np.abs(x).max() < 10
    np.testing.assert_allclose(codec.decode(codec.encode(wide)).values, values, rtol=1e-4, atol=1e-3)


def test_it_is_a_series_in_all_else_and_is_never_guessed() -> None:
    data = table(60)
    codec = Whiten().fit([data])
    assert codec.rank < Series.rank
    canvas = codec.canvas(data, 5)
    assert (len(canvas), int(canvas.shown.all(1).sum())) == (65, 60)
    assert codec.typed(codec.show(data).decode()).columns == NAMES
    with pytest.raises(ConfigError):
        _ = Whiten().space


@pytest.mark.parametrize(
    "broken", [{"shape": [2, 2], "data": ""}, {"shape": [1], "data": "%%"}, {"shape": [-1], "data": ""}]
)
def test_a_damaged_array_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Array.parse(broken)
