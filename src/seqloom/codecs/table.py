"""Tables of numbers: one series, its dates, and the lines of the file that it came from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.dates import Calendar
from seqloom.codecs.numerals import Style
from seqloom.codecs.sheet import Sheet, quoted

PLAIN = Style()


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
    name: str = ""
    """What tells it from the other series of its file."""
    series_column: str = ""
    """The columns that its name stands in, where rows of several series stand under each other."""
    remarks: tuple[str, ...] = ()
    """What was understood of the file that is not plain from its cells, in words."""

    def __len__(self) -> int:
        return len(self.values)

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
        )

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


def filled_text(table: Table, digits: Mapping[str, int]) -> str:
    """The table as CSV. What came from a file is copied to the byte, but for empty cells that now have a value.

    `digits` says how many decimals the numbers of a column are worth (fewer than 0: tens, hundreds ...).
    """
    sheet = table.sheet
    if sheet is None:
        return _fresh(table, digits)
    names = list(sheet.names)
    rows = [*sheet.rows, *[("", "")] * (len(table) - len(sheet.rows))]
    lines: list[str | None] = []
    for i, (row, (line, end)) in enumerate(zip(table.values, rows, strict=True)):
        own = bool(line or end)
        if not own and i < len(sheet.rows) and np.isnan(row).all():
            lines.append(None)  # a row that the file leaves out, and that nothing is known of
            continue
        changes = {
            names.index(name): sheet.styles.get(name, PLAIN).write(number(value, digits[name]))
            for name, value in zip(table.columns, row, strict=True)
            if not math.isnan(value) and (not own or sheet.gaps[name][i])
        }
        lines.append(sheet.changed(line if own else sheet.delimiter.join(_new_row(table, i, names)), changes))
    return sheet.text(lines)


def number(value: float, digits: int) -> str:
    """The shortest writing of a number rounded to `digits` decimals; empty for nan."""
    return "" if math.isnan(value) else repr(round(float(value), digits) + 0.0)


def _new_row(table: Table, i: int, names: Sequence[str]) -> list[str]:
    """The cells of a row that the file does not have: its date, and what tells its series."""
    cells = [""] * len(names)
    if table.dates is not None:
        for name, cell in zip(table.date_column.split("\t"), table.dates[i].split("\t"), strict=True):
            if name in names:
                cells[names.index(name)] = quoted(cell)
    for name, cell in zip(table.series_column.split("\t"), table.name.split("\t"), strict=False):
        if name in names:
            cells[names.index(name)] = quoted(cell)
    return cells


def _fresh(table: Table, digits: Mapping[str, int]) -> str:
    lines = [[quoted(name) for name in table.columns]]
    for row in table.values:
        lines.append([number(value, digits[name]) for name, value in zip(table.columns, row, strict=True)])
    if table.dates is not None:
        for line, date in zip(lines, (table.date_column, *table.dates), strict=True):
            line[:0] = [quoted(cell) for cell in date.split("\t")]
    return "".join(",".join(line) + "\n" for line in lines)
