"""Tables of numbers, and the CSV files they come from: read with line numbers, filled without touching a known byte."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.dates import Calendar, is_date
from seqloom.core.config import nearest
from seqloom.core.content import BOM, decoded, raw
from seqloom.core.errors import DataError

MISSING = {"", "na", "n/a", "nan", "null", "none", "-"}
"""Cells that say that there is no value, in any case of letters."""
DATE_NAMES = {"date", "time", "timestamp", "datetime", "ds"}
"""Names of a column of dates."""
INDEX_NAMES = {"id", "index", "year", "row", "no", "nr"}
"""Names of a column that counts the rows, if it does; else it is a series like any other, and that is said."""
LARGEST = 1e300
"""Numbers from here on are taken for a mistake."""

_QUOTED = re.compile(r'\s*"((?:[^"]|"")*)"\s*')


@dataclass(frozen=True, eq=False)
class Table:
    """A series: named columns of numbers (T,D), nan where a value is missing, and perhaps dates.

    `lines` holds the file's own header and rows, so that a filled template keeps its known cells to the byte.
    """

    columns: tuple[str, ...]
    values: NDArray[np.float64]
    dates: tuple[str, ...] | None = None
    date_column: str = ""
    calendar: Calendar | None = None
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns of words that were asked for, as they stand."""
    lines: tuple[str, ...] = ()
    """The file's lines with their ends, the header first; none where there is no file."""

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
            lines=(self.lines[0], *self.lines[1 + begin : 1 + end]) if self.lines else (),
        )

    def reordered(self, columns: Sequence[str]) -> Table:
        """The same series with its columns in this order."""
        return replace(self, columns=tuple(columns), values=self.values[:, [self.columns.index(c) for c in columns]])


def joined(pieces: Sequence[Table]) -> Table:
    """One series of pieces that follow each other."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    dated = all(piece.dates is not None for piece in pieces)
    return replace(
        first,
        values=np.concatenate([piece.values for piece in pieces]),
        dates=tuple(date for piece in pieces for date in piece.dates or ()) if dated else None,
        words={name: tuple(cell for piece in pieces for cell in piece.words[name]) for name in first.words},
        lines=(first.lines[0], *(line for piece in pieces for line in piece.lines[1:])) if first.lines else (),
    )


def read_table(path: Path, columns: Sequence[str] = (), words: Sequence[str] = (), date: str | None = None) -> Table:
    """The series in a CSV file: a header, numeric columns, perhaps one of dates; empty cells are missing.

    `columns` chooses the numeric columns (none: all but dates and `words`); `words` are columns that are kept as they
    stand; `date` names the column of dates where it is known. DataError names the line. The last file that was read is
    kept, since splitting, fitting and encoding ask for it in turn.
    """
    text = decoded(raw(path), path, mend=False)
    try:
        state = path.stat()
    except OSError:
        return table_of("".join(text), path, columns, words, date)
    return _read(path, (state.st_mtime_ns, state.st_size, state.st_ino), tuple(columns), tuple(words), date)


@lru_cache(maxsize=2)
def _read(
    path: Path, state: tuple[int, int, int], columns: tuple[str, ...], words: tuple[str, ...], date: str | None
) -> Table:
    return table_of("".join(decoded(raw(path), path, mend=False)), path, columns, words, date)


def table_of(
    text: str, path: Path | str = "", columns: Sequence[str] = (), words: Sequence[str] = (), date: str | None = None
) -> Table:
    """The series in a CSV text, as `read_table` reads a file."""
    lines, numbers, header, cells = _cells(text, path, (*columns, *words))
    dated = date if date in cells else _date_column(header, cells, (*columns, *words))
    calendar, dates = None, None
    if dated is not None:
        dates = tuple(unquoted(cell) for cell in cells[dated])
        calendar, _ = Calendar.of(dates, path)
    chosen = tuple(columns) or tuple(name for name in header if name != dated and name not in words)
    if not chosen:
        raise DataError(
            "there is no column of numbers",
            path=path,
            line=1,
            hint="codec=characters reads the file as plain text; a table of texts is read with corpus.text=COLUMN",
        )
    values = np.column_stack([_numbers(cells[name], name, path, len(header) == 1, numbers) for name in chosen])
    kept = {name: tuple(unquoted(cell) for cell in cells[name]) for name in words}
    return Table(chosen, values, dates, dated or "", calendar, kept, tuple(lines))


def column_of(path: Path, name: str) -> tuple[str, ...]:
    """The cells of one column of a CSV file, as words."""
    text = "".join(decoded(raw(path), path, mend=False))
    return tuple(unquoted(cell) for cell in _cells(text, path, (name,))[3][name])


def _cells(
    text: str, path: Path | str, wanted: Sequence[str]
) -> tuple[list[str], list[int], list[str], dict[str, tuple[str, ...]]]:
    """The lines of a table with their ends, the number of each row's line, the header, and the raw cells by column."""
    lines, numbers = _lines(text, path)
    delimiter = delimiter_of(lines[0])
    try:
        header = _names(lines[0], delimiter, path)
    except DataError:
        if not wanted:
            raise
        header = []
    for name in wanted:
        if name not in header:
            addition = "" if len(header) > 1 else ": this is no table with that column"
            raise DataError(f"there is no column {name!r}{addition}", path=path, line=1, hint=nearest(name, header))
    _check_header(header, path)
    rows = [split(line, delimiter, path, number) for line, number in zip(lines[1:], numbers, strict=True)]
    for row, number in zip(rows, numbers, strict=True):
        if len(row) != len(header):
            raise DataError(
                f"the line has {len(row)} cells where the header has {len(header)}",
                path=path,
                line=number,
                hint="every row needs a cell for each column; an empty one is a missing value",
            )
    return lines, numbers, header, dict(zip(header, zip(*rows, strict=True), strict=True))


def filled_text(table: Table, digits: Mapping[str, int]) -> str:
    """The table as CSV. What came from a file is copied to the byte, but for empty cells that now have a value.

    `digits` says how many decimals the numbers of a column are worth (fewer than 0: tens, hundreds ...).
    """
    if not table.lines:
        return _fresh(table, digits)
    delimiter = delimiter_of(table.lines[0])
    header = _names(table.lines[0], delimiter)
    indices = [header.index(name) for name in table.columns]
    end = "\r\n" if table.lines[0].endswith("\r\n") else "\n"
    written = [table.lines[0]]
    for i, row in enumerate(table.values):
        if i + 1 < len(table.lines):
            line = table.lines[i + 1]
            body = line.rstrip("\r\n")
            cells = split(body, delimiter)
        else:
            line, body, cells = "", None, [""] * len(header)
            if table.dates is not None and table.date_column in header:
                cells[header.index(table.date_column)] = table.dates[i]
        for name, j, value in zip(table.columns, indices, row, strict=True):
            if is_missing(cells[j]) and not math.isnan(value):
                cells[j] = number(value, digits[name])
        if line:
            changed = delimiter.join(cells)
            written.append(line if changed == body else changed + line[len(body or "") :])
        else:
            if not written[-1].endswith("\n"):
                written[-1] += end
            written.append(delimiter.join(cells) + end)
    return "".join(written)


def number(value: float, digits: int) -> str:
    """The shortest writing of a number rounded to `digits` decimals; empty for nan."""
    return "" if math.isnan(value) else repr(round(float(value), digits) + 0.0)


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no value."""
    return unquoted(cell).strip().lower() in MISSING


def unquoted(cell: str) -> str:
    """What a raw cell holds, without spaces around it and without quotes."""
    match = _QUOTED.fullmatch(cell)
    return match.group(1).replace('""', '"') if match else cell.strip()


def split(line: str, delimiter: str, path: Path | str = "", number: int | None = None) -> list[str]:
    """The raw cells of a line, quotes and spaces kept: joined by the delimiter they are the line again."""
    line = line.rstrip("\r\n")
    if '"' not in line:
        return line.split(delimiter)
    cells: list[str] = []
    cell = ""
    for part in line.split(delimiter):
        cell = f"{cell}{delimiter}{part}" if cell else part
        if cell.count('"') % 2 == 0:
            cells.append(cell)
            cell = ""
    if cell:
        raise DataError(
            "a quote is not closed on its line",
            path=path,
            line=number,
            hint="cells of several lines are not read; close the quote or leave the cell out",
        )
    return cells


def delimiter_of(header: str) -> str:
    """What stands between the cells of a header: a comma, a semicolon or a tab."""
    return max(",;\t", key=header.count)


def quoted(cell: str) -> str:
    """A cell as CSV writes it."""
    return '"' + cell.replace('"', '""') + '"' if re.search('[",;\t\r\n]', cell) else cell


def _names(line: str, delimiter: str, path: Path | str = "") -> list[str]:
    return [unquoted(cell) for cell in split(line.removeprefix(BOM), delimiter, path, 1)]


def _fresh(table: Table, digits: Mapping[str, int]) -> str:
    lines = [[quoted(name) for name in table.columns]]
    for row in table.values:
        lines.append([number(value, digits[name]) for name, value in zip(table.columns, row, strict=True)])
    if table.dates is not None:
        for line, date in zip(lines, (table.date_column, *table.dates), strict=True):
            line.insert(0, quoted(date))
    return "".join(",".join(line) + "\n" for line in lines)


def _lines(text: str, path: Path | str) -> tuple[list[str], list[int]]:
    """The lines of a text with their ends, and the number of the line of each row.

    Empty ones at the end are left out. Where there are several columns an empty line is no row: it stays with the line
    before it. Where there is one, it is a missing value.
    """
    given = text.split("\n")
    given = [f"{line}\n" for line in given[:-1]] + given[-1:]
    while given and not given[-1].strip():
        given.pop()
    if len(given) < 2:
        what = "has a header but no rows" if given else "is empty"
        raise DataError(f"the table {what}", path=path, hint="a series needs a header and rows under it")
    several = delimiter_of(given[0]) in given[0]
    lines, numbers = [given[0]], []
    for number, line in enumerate(given[1:], 2):
        if several and not line.strip("\r\n"):
            lines[-1] += line
        else:
            lines.append(line)
            numbers.append(number)
    return lines, numbers


def _check_header(header: Sequence[str], path: Path | str) -> None:
    if all(_is_number(name) for name in header):
        raise DataError(
            "the first line holds numbers, where the names of the columns should stand",
            path=path,
            line=1,
            hint="add a header line with a name for each column",
        )
    twice = next((name for i, name in enumerate(header) if name in header[:i]), None)
    if twice is not None:
        raise DataError(f"two columns are called {twice!r}", path=path, line=1, hint="give each a name of its own")


def _date_column(header: Sequence[str], cells: Mapping[str, Sequence[str]], taken: Sequence[str]) -> str | None:
    """The column of dates: one that is named so, the first if it holds dates, or one that counts the rows."""
    for name in header:
        known = [unquoted(cell) for cell in cells[name]]
        if name in taken:
            continue
        whole = all(re.fullmatch(r"\d+(\.0+)?", cell) for cell in known)
        if name.lower() in DATE_NAMES and (whole or not _is_number(known[0])):
            return name
        if name == header[0] and (whole if not name else is_date(known[0]) and not _is_number(known[0])):
            return name
    for name in header:
        if name.lower() in INDEX_NAMES and name not in taken and len(header) > 1 and _counts(cells[name]):
            return name
    return None


def _counts(cells: Sequence[str]) -> bool:
    """Whether cells are whole numbers that go up by one step."""
    known = [unquoted(cell) for cell in cells]
    if not all(re.fullmatch(r"\d{1,15}", cell) for cell in known):
        return False
    steps = {int(b) - int(a) for a, b in pairwise(known)}
    return len(steps) == 1 and min(steps) > 0


def _number(cell: str) -> float:
    if "_" in cell:  # which Python allows between digits
        raise ValueError(cell)
    return float(cell)


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def _numbers(
    cells: Sequence[str], name: str, path: Path | str, alone: bool, lines: Sequence[int]
) -> NDArray[np.float64]:
    values = np.full(len(cells), np.nan)
    for i, cell in enumerate(cells):
        try:
            values[i] = _number(cell)
        except ValueError:
            if is_missing(cell):
                continue
            bare = unquoted(cell)
            if not _is_number(bare):
                raise DataError(
                    f"column {name!r} is text: {bare[:40]!r} is not a number",
                    path=path,
                    line=lines[i],
                    hint="codec=characters reads the file as plain text"
                    if alone
                    else f"if it labels the series: given.{_word(name)}.source=column:{name}; corpus.columns=[...] "
                    "chooses the columns of numbers; codec=characters reads the file as plain text",
                ) from None
            values[i] = _number(bare)
        if not abs(values[i]) < LARGEST and not math.isnan(values[i]):
            raise DataError(
                f"column {name!r} holds {cell.strip()}, which is no usable number",
                path=path,
                line=lines[i],
                hint="leave the cell empty if the value is not known",
            )
    return values


def _word(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_").lower() or "label"
