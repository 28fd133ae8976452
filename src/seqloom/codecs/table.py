"""Tables of numbers: one series, its dates, and the lines of the file that it came from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.dates import Calendar, shown
from seqloom.codecs.sheet import Sheet
from seqloom.codecs.written import PLAIN, Written
from seqloom.core.errors import DataError
from seqloom.core.progress import count


@dataclass(frozen=True, eq=False)
class Table:
    """A series: named columns of numbers (T,D), nan where a value is missing, and perhaps dates.

    `sheet` holds the file's own lines, so that a filled template keeps its known cells to the byte.
    """

    columns: tuple[str, ...]
    values: NDArray[np.float64]
    dates: tuple[str, ...] | None = None
    """As the file spells them; a date in several columns has a tab between them, and so have their names."""
    date_column: str = ""
    calendar: Calendar | None = None
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns of words that were asked for, as they stand."""
    sheet: Sheet | None = None
    """The file's lines, one a row; none where there is no file."""
    written: Written = PLAIN
    """How its file is written; what is made is written so, too."""
    name: str = ""
    """What tells it from the other series of its file."""
    series_column: str = ""
    """The columns that its name stands in, where rows of several series stand under each other."""
    wide: bool = False
    """It is a row of its file, whose columns are the times."""
    remarks: tuple[str, ...] = ()
    """What was understood of the file that is not plain from its cells, in words."""
    ahead: tuple[str, ...] = ()
    """The dates of the rows that follow it, where they are known and not even."""
    beside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Cells of columns of words in the rows that follow it, where they are known."""
    begin: int = 0
    """How many rows of its series stand before it, where it is a part of one."""

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def whole(self) -> int:
        """How many rows precede the first with an empty cell."""
        empty = np.isnan(self.values).any(1)
        return int(empty.argmax()) if empty.any() else len(self.values)

    def __repr__(self) -> str:
        """What it holds, in a line: it may be thousands of dates and numbers."""
        when = f"; {self.dates[0]} to {self.dates[-1]}" if self.dates else ""
        return f"Table({count(len(self), 'row')} of {', '.join(self.columns)}{when})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Table)
            and (self.columns, self.dates, self.date_column) == (other.columns, other.dates, other.date_column)
            and np.array_equal(self.values, other.values, equal_nan=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def rows(self, begin: int, end: int) -> Table:
        """A part of the series."""
        return replace(
            self,
            values=self.values[begin:end],
            dates=None if self.dates is None else self.dates[begin:end],
            words={name: cells[begin:end] for name, cells in self.words.items()},
            sheet=None if self.sheet is None else self.sheet.part(begin, end),
            begin=self.begin + begin,
        )

    def words_of(self, name: str, length: int) -> tuple[str, ...]:
        """The cells of a column of words in so many rows: as they are known, or the one that stands in all of its."""
        cells = self.words[name] + self.beside.get(name, ())
        always = cells[0] if len(set(cells)) == 1 else ""
        return (*cells[:length], *[always] * (length - len(cells)))

    @property
    def moments(self) -> NDArray[np.int64] | None:
        """When each row was, in microseconds since 1970 on the clock of its place; None where that is not known."""
        if self.dates is None or self.calendar is None or self.calendar.counts:
            return None
        return self.calendar.moments(self.dates)

    @property
    def waits(self) -> NDArray[np.float64] | None:
        """The time from the row before to each, nan for the first; None where times are not known."""
        if self.dates is None or self.calendar is None:
            return None
        return np.concatenate([[np.nan], np.diff(self.calendar.instants(self.dates)) / self.calendar.unit])

    def row_of(self, word: str) -> int | None:
        """The row of a date as it stands, of the first that begins so, or of one that is written otherwise."""
        dates = tuple(map(shown, self.dates or ()))
        row = next((i for i, date in enumerate(dates) if date == word), None)
        if row is not None or re.fullmatch(r"-?\d{1,7}", word):  # else it is a number of a row
            return row
        row = next((i for i, date in enumerate(dates) if date.startswith(word)), None)
        return self._row_at(word) if row is None else row

    def _row_at(self, word: str) -> int | None:
        moments = self.moments
        try:
            moment = Calendar.spelled([word])[1][0]
        except DataError:
            return None
        rows = np.flatnonzero(moments == moment) if moments is not None else np.zeros(0, np.int64)
        return int(rows[0]) if len(rows) else None

    def reordered(self, columns: Sequence[str]) -> Table:
        """The same series with its columns in this order."""
        if tuple(columns) == self.columns:
            return self
        return replace(self, columns=tuple(columns), values=self.values[:, [self.columns.index(c) for c in columns]])


def joined(pieces: Sequence[Table]) -> Table:
    """One series of pieces that follow each other."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    dated = all(piece.dates is not None for piece in pieces)
    sheets = [piece.sheet for piece in pieces if piece.sheet is not None]
    return replace(
        first,
        values=np.concatenate([piece.values for piece in pieces]),
        dates=tuple(date for piece in pieces for date in piece.dates or ()) if dated else None,
        words={name: tuple(cell for piece in pieces for cell in piece.words[name]) for name in first.words},
        sheet=Sheet.joined(sheets) if len(sheets) == len(pieces) else None,
    )
