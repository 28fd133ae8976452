"""Wide tables, whitened: the columns of a row are turned into numbers that are uncorrelated in the training split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from seqloom.codecs.arrays import Array
from seqloom.codecs.series import Series
from seqloom.codecs.table import Table
from seqloom.core.errors import ConfigError, DataError
from seqloom.sequence.canvas import Encoded
from seqloom.sequence.space import Field, Vectors

LEAST = 1e-6
"""The least variance of a direction, in units of the columns' own: less is rounding, and is not blown up."""


class Whiten(Series, name="whiten"):
    """A table whose rows are whitened by principal components: columns that move together become few large directions.

    The first components hold most of what varies. A row is known as a whole or not at all, so a row with some empty
    cells is refused. Densities are in the data's own units: each row costs the logarithm of the matrix' determinant.
    """

    rank: ClassVar[int] = -1

    directions: Array | None = None
    """The matrix (D,D) by which scaled rows are multiplied; None: to be fitted."""

    @model_validator(mode="after")
    def _square(self) -> Self:
        if self.directions is not None and self.directions.shape != (len(self.means),) * 2:
            raise ValueError("the directions are not those of these columns")
        return self

    @property
    def fitted(self) -> bool:
        return self.directions is not None

    @property
    def space(self) -> Vectors:
        if self.directions is None:
            raise ConfigError("the directions are not known until the codec is fitted", path="codec.directions")
        return Vectors(fields=tuple(Field(name=f"component{i}") for i in range(1, len(self.columns) + 1)))

    @property
    def log_scales(self) -> NDArray[np.float64]:
        """Of one component what its direction and an even share of the columns' scales cost."""
        return np.asarray(np.mean(np.log(self.scales)) - np.log(np.linalg.norm(self._matrix, axis=0)), np.float64)

    def log_slopes(self, x: NDArray[Any]) -> NDArray[np.float64]:
        return np.broadcast_to(self.log_scales, x.shape)

    def fit(self, values: Iterable[Table]) -> Self:
        tables = list(values)
        codec = super(Whiten, self.replace(transform="none")).fit(tables)
        rows = np.concatenate([table.reordered(codec.columns).values for table in tables])
        rows = codec.scaled(rows[~np.isnan(rows).any(1)])
        if not len(rows):
            raise DataError("no row of the training split has a value in every column", hint="use codec=series")
        variances, directions = np.linalg.eigh(rows.T @ rows / len(rows))
        # Largest first, and the largest number of each direction positive: the signs of a library are its own.
        directions = directions[:, ::-1]
        largest = np.abs(directions).argmax(0)
        directions = directions * np.sign(directions[largest, np.arange(len(largest))])
        matrix = directions / np.sqrt(np.maximum(variances[::-1], LEAST))
        return codec.replace(directions=Array.of(matrix))

    def encode(self, value: Table) -> Encoded:
        encoded = super().encode(value)
        whole, some = encoded.known.all(1), encoded.known.any(1)
        if (some & ~whole).any():
            row = int(np.argmax(some & ~whole))
            column = self.columns[int(np.argmin(encoded.known[row]))]
            raise DataError(
                f"row {value.begin + row + 1} has no value in column {column!r} but in others",
                hint="whitening mixes the columns of a row, so it needs all or none; codec=series takes each by itself",
            )
        scaled = np.where(encoded.known, self.scaled(value.values), 0.0)
        return replace(encoded, x=(scaled @ self._matrix).astype(np.float32))

    def decode(self, encoded: Encoded) -> Table:
        """The table; a row of which a component is not known is missing."""
        x = np.linalg.solve(self._matrix.T, np.asarray(encoded.x, np.float64).T).T
        known = np.broadcast_to(encoded.known.all(1, keepdims=True), encoded.known.shape)
        return super().decode(replace(encoded, x=x, known=known))

    def extra_nats(self, value: Table) -> float:
        return float((~np.isnan(value.values)).all(1).sum() * self.log_scales.sum())

    def examples(self) -> list[Table]:
        rng = np.random.default_rng(5)
        rows = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 5)) * [1, 10, 0.01, 5, 1] + [0, 3, 1, -7, 100]
        rows += rng.normal(size=rows.shape) * [0.1, 1, 0.001, 0.5, 0.1]
        rows = np.column_stack(
            [np.round(column, digits) for column, digits in zip(rows.T, (3, 2, 5, 3, 3), strict=True)]
        )
        rows[7:9] = np.nan
        whole = Table(tuple("abcde"), rows)
        return [whole, whole.rows(0, 1), whole.rows(5, 20)]

    @property
    def _matrix(self) -> NDArray[np.float64]:
        assert self.directions is not None
        return self.directions.value
