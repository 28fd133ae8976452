"""Time series as vectors: one element a row, each column scaled by its training mean and deviation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from seqloom.codecs.base import Codec
from seqloom.codecs.dates import Calendar
from seqloom.codecs.table import Table, filled_text, read_table, table_of
from seqloom.codecs.text import write_bytes
from seqloom.core.errors import ConfigError, DataError
from seqloom.sequence.canvas import Canvas, Encoded
from seqloom.sequence.space import Field, Vectors

FURTHEST = 1e15
"""Deviations from the mean beyond which a value cannot be computed with."""
DIGITS = 6
"""Significant digits of a deviation that are worth writing: what float32 carries."""


class Series(Codec, name="series"):
    """Columns of numbers, scaled to mean 0 and deviation 1 by the known cells of the training split.

    A value is a `Table`. An empty cell is a missing value; in a template it is a cell to be made. Columns that never
    change, or that have no known cell, have scale 1. Densities are in the data's own units: each known value costs
    the logarithm of its column's scale besides.
    """

    media: ClassVar[str] = "text/csv"
    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".csv.gz")
    unit: ClassVar[str] = "value"

    columns: tuple[str, ...] = ()
    """The columns of numbers, in order; empty: to be fitted."""
    means: tuple[float, ...] = ()
    """The mean of each, in its own units."""
    scales: tuple[float, ...] = ()
    """The standard deviation of each, in its own units."""
    date: str = ""
    """The name of the column of dates, where there is one."""
    calendar: Calendar | None = None
    """How dates are written and how far apart they stand, where there are any."""
    start: str = ""
    """The first date of the training split: where the dates of a sample from nothing begin."""

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        if not len(self.columns) == len(self.means) == len(self.scales):
            raise ValueError("columns, means and scales must be of one length")
        if any(scale <= 0 for scale in self.scales):
            raise ValueError("scales must be positive")
        return self

    @property
    def fitted(self) -> bool:
        return bool(self.columns)

    @property
    def space(self) -> Vectors:
        if not self.columns:
            raise ConfigError("the columns are not known until the codec is fitted", path="codec.columns")
        return Vectors(fields=tuple(Field(name=name) for name in self.columns))

    @property
    def log_scales(self) -> NDArray[np.float64] | None:
        return np.asarray(np.log(np.array(self.scales)), np.float64)

    def fit(self, values: Iterable[Table]) -> Self:
        tables = list(values)
        if not tables:
            raise DataError("there are no series to learn the scale of")
        means, scales = _moments(np.concatenate([table.values for table in tables]))
        first = tables[0]
        return self.replace(
            columns=first.columns,
            means=means,
            scales=scales,
            date=first.date_column,
            calendar=first.calendar,
            start=first.dates[0] if first.dates else "",
        )

    def encode(self, value: Table) -> Encoded:
        self._check(value)
        known = ~np.isnan(value.values)
        with np.errstate(over="ignore"):
            x = np.where(known, (value.values - np.array(self.means)) / np.array(self.scales), 0.0)
        if (np.abs(x) > FURTHEST).any():
            row, column = np.argwhere(np.abs(x) > FURTHEST)[0]
            raise DataError(
                f"column {self.columns[column]!r} holds {value.values[row, column]:g} in row {row + 1}, too far from "
                f"its training mean {self.means[column]:g} to compute with",
                hint="leave the cell empty if the value is a mistake",
            )
        origin = {"dates": value.dates, "date": value.date_column, "calendar": value.calendar}
        return Encoded(x.astype(np.float32), known, origin)

    def decode(self, encoded: Encoded) -> Table:
        """The series; nan where not known. Cells that a canvas showed are the template's own numbers."""
        origin = encoded.origin
        x = np.asarray(encoded.x, np.float64)
        values = np.where(encoded.known, x * np.array(self.scales) + np.array(self.means), np.nan)
        template: Table | None = origin.get("template")
        if template is not None:
            size = min(len(values), len(template))
            own = template.values[:size]
            values[:size] = np.where(np.isnan(own), values[:size], own)
        dates = origin.get("dates")
        return Table(
            self.columns,
            values,
            None if dates is None else dates[: len(values)],
            origin.get("date", ""),
            origin.get("calendar"),
            lines=template.lines[: len(values) + 1] if template is not None else (),
        )

    def canvas(
        self, template: Any, length: int | None = None, gap: int | None = None, blank: str | None = None
    ) -> Canvas:
        """A table whose empty cells are to be made, or, with `length`, one that goes on for so many rows.

        Of a history that goes on, empty cells are absent: the world does not have them.
        """
        if gap is not None or blank is not None:
            raise ConfigError("the gaps of a table are its empty cells", path="gap" if gap is not None else "blank")
        if length is not None and length < 1:
            raise ConfigError("at least one new row must be asked for", path="length")
        wide = len(self.space.fields)
        if template is None:
            if length is None:
                raise ConfigError("the number of rows is not given", path="length")
            dates = self.calendar.after(self.start, length, first=0) if self.calendar and self.start else None
            origin = {"dates": dates, "date": self.date, "calendar": self.calendar}
            empty = np.zeros((length, wide), bool)
            return Canvas(np.zeros((length, wide), np.float32), empty, empty.copy(), origin)
        encoded = self.encode(template)
        known = encoded.known
        if length is None:
            if known.all():
                raise DataError("there is no gap to fill: every cell of the table has a value", hint="empty some cells")
            return Canvas(encoded.x, known, np.zeros_like(known), {**encoded.origin, "template": template})
        after = ((0, length), (0, 0))
        origin = {**encoded.origin, "template": template, "dates": self._continued(template, length)}
        return Canvas(np.pad(encoded.x, after), np.pad(known, after), np.pad(~known, after), origin)

    def count(self, value: Table) -> float:
        return float(np.count_nonzero(~np.isnan(value.values)))

    def extra_nats(self, value: Table) -> float:
        return float((~np.isnan(value.values)).sum(0) @ np.log(np.array(self.scales)))

    def read(self, path: Path) -> Iterator[Table]:
        yield read_table(path, self.columns, date=self.date if self.calendar else None)

    def write(self, value: Table, path: Path) -> None:
        write_bytes(self.show(value), path)

    def typed(self, text: str) -> Table:
        return table_of(text, "", self.columns, date=self.date if self.calendar else None)

    def show(self, value: Table) -> bytes:
        return filled_text(value, self._digits(value.columns)).encode("utf-8", "replace")

    def examples(self) -> list[Table]:
        hours = Calendar(format="%Y-%m-%d %H:%M:%S", step=3600.0)
        rows = np.stack([np.sin(np.arange(24) / 4) * 30 + 5, np.full(24, 1e6), np.arange(24) * 1e-5], 1)
        rows[3, 0] = rows[5:9, 2] = np.nan
        dates = hours.after("2024-02-28 20:00:00", 24)
        whole = Table(("load", "constant", "drift"), rows, dates, "date", hours)
        return [whole, whole.rows(0, 1), whole.rows(4, 20)]

    def _check(self, value: Table) -> None:
        if not isinstance(value, Table):
            raise DataError("a table of numbers is wanted", hint="give a .csv file")
        if value.columns != tuple(field.name for field in self.space.fields):
            missing = [name for name in self.columns if name not in value.columns]
            told = f"lacks column {missing[0]!r}" if missing else "has other columns than the model"
            raise DataError(f"the table {told}", hint=f"the model's columns: {', '.join(self.columns)}")

    def _continued(self, template: Table, length: int) -> tuple[str, ...] | None:
        """The template's dates and those after them, in its own spelling."""
        if template.dates is None or template.calendar is None:
            return None
        own = template.calendar
        if not (own.step or own.months) and self.calendar is not None:
            own = own.replace(step=self.calendar.step, months=self.calendar.months, last_day=self.calendar.last_day)
        return template.dates + own.after(template.dates[-1], length)

    def _digits(self, columns: tuple[str, ...]) -> Mapping[str, int]:
        """Decimals worth writing of each column."""
        scales = dict(zip(self.columns, self.scales, strict=True))
        return {name: DIGITS - 1 - math.floor(math.log10(scales.get(name, 1.0))) for name in columns}


def _moments(values: NDArray[np.float64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the known cells of each column, without overflow; (0, 1) and (value, 1) where undefined."""
    means, scales = [], []
    for column in values.T:
        known = column[~np.isnan(column)]
        if not len(known):
            means.append(0.0)
            scales.append(1.0)
            continue
        if known.min() == known.max():
            means.append(float(known[0]))
            scales.append(1.0)
            continue
        size = float(np.abs(known).max())
        mean, deviation = float((known / size).mean()), float((known / size).std())
        scale = deviation * size
        means.append(mean * size)
        scales.append(scale if scale > 0 else 1.0)
    return tuple(means), tuple(scales)
