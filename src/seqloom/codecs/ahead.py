"""The rows after a table: their dates, and what a table of the future says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from seqloom.codecs.beside import respelled
from seqloom.codecs.dates import Calendar, shown
from seqloom.codecs.dialect import Dialect, Wanted
from seqloom.codecs.frames import cells_of, frame_of
from seqloom.codecs.layout import tables_in
from seqloom.codecs.numerals import is_missing
from seqloom.codecs.reading import read_tables
from seqloom.codecs.sheet import Cells
from seqloom.codecs.spelling import DAY, day_by_day, of_day
from seqloom.codecs.table import Table
from seqloom.codecs.understood import uneven
from seqloom.core.errors import DataError

TWICE = 200
"""Last dates of a history, which tell where it ends on a clock that shows an hour twice."""


def dates_ahead(table: Table, length: int, usual: Calendar | None) -> tuple[str, ...] | None:
    """The dates of the rows after a table, in its own spelling; `usual` says how far apart, where it does not."""
    if table.dates is None or table.calendar is None:
        return None
    if table.ahead:
        return table.ahead[:length]
    own = table.calendar
    if not own.stepping and usual is not None:
        own = own.replace(**{name: getattr(usual, name) for name in ("step", "months", "day", "weekdays")})
    return own.after(table.dates[-1], length, before=table.dates[-TWICE:-1])


@dataclass(frozen=True)
class Ahead:
    """A frame with what is known ahead of time, read once for all series."""

    cells: Cells
    tables: Mapping[str, Table]


def read_ahead(future: Any, wanted: Wanted) -> Any:
    """A frame of the future as its tables; of a file the last one that was read is kept in any case."""
    if future is None or isinstance(future, Table | Path | str | Ahead):
        return future
    frame = frame_of(future)
    if frame is None:
        return future  # an error where something of it is asked for
    cells = cells_of(frame)
    return Ahead(cells, tables_in(cells, "", _words_alone(wanted)))


def _words_alone(wanted: Wanted) -> Wanted:
    return replace(wanted, columns=(), numbers=False)


def future_of(table: Table, future: Any, wanted: Callable[..., Wanted], *names: str) -> Table:
    """The rows of a future that are of the same series as a table: its dates, and columns of words of these names.

    It is read with all columns that are `wanted` where there are such, once for all series. What lacks one that is
    named is read again for the error that says so.
    """
    future = read_ahead(future, wanted())
    if isinstance(future, Table):
        return future
    if not isinstance(future, Path | str | Ahead):
        raise DataError(f"a {type(future).__name__} is no table of the future", hint="give a file or a frame")

    def tables_with(*needed: str) -> Mapping[str, Table]:
        if not isinstance(future, Ahead):
            return read_tables(Path(future), _words_alone(wanted(*needed)))
        return tables_in(future.cells, "", _words_alone(wanted(*needed))) if needed else future.tables

    tables = tables_with()
    if any(name not in own.words for own in tables.values() for name in names):
        tables = tables_with(*names)
    found = tables.get(table.name)
    if found is None and len(tables) == 1:  # one of two that has no name needs none
        ((name, lone),) = tables.items()
        found = None if name and table.name else lone
    if found is None:
        raise DataError(
            f"the future holds no series {shown(table.name)!r}", path=_path_of(future), hint="give its rows"
        )
    return found


def foreseen(table: Table, length: int, future: Any, wanted: Callable[..., Wanted]) -> Table:
    """A table whose dates are not even, with those that come next; other dates go on by themselves."""
    if future is None or table.dates is None or not uneven(table):
        return table
    assert table.calendar is not None
    found, last = future_of(table, future, wanted), table.calendar.read(table.dates[-1])
    if found.dates is None or found.calendar is None:
        return table
    instants = found.calendar.instants(found.dates[_passed(table, found) :])
    if last is not None and of_day(table.calendar.format):
        instants = day_by_day(np.array([last, *instants % DAY]))[1:]
    later = [one for one in instants.tolist() if last is None or one > last]
    if len(later) < length:
        raise DataError(
            f"the future has {len(later)} dates after {shown(table.dates[-1])}, where {length} rows are asked for",
            path=_path_of(future),
            hint="give a row for each: dates that are not even do not follow from those before them",
        )
    return replace(table, ahead=tuple(map(table.calendar.write, later[:length])))


def accompanied(table: Table, future: Table, dates: Sequence[str] | None, length: int, dialect: Dialect) -> Table:
    """A table with what the future has of its words in the rows after it, written as the table has them."""
    rows, _ = _rows_ahead(future, dates, table, length)
    beside = {}
    for name, words in table.words.items():
        if name in future.words:
            cells = ["" if row is None else future.words[name][row] for row in rows]
            beside[name] = respelled(cells, words, dialect)
    return replace(table, beside=beside)


def cells_ahead(
    future: Table, dates: Sequence[str] | None, table: Table, length: int, name: str, path: Any
) -> Sequence[str]:
    """The cells of a column on these dates, or in the first `length` rows where there are none; none may be empty.

    `dates` are written as those of the table before them, those of the future perhaps otherwise.
    """
    place = _path_of(path)
    if name not in future.words:
        raise DataError(f"the future has no column {name!r}", path=place, hint="give a table that has it")
    cells = future.words[name]
    rows, named = _rows_ahead(future, dates, table, length)
    known = []
    for row, date in zip(rows, named, strict=True):
        if row is None and not (dates and future.dates):
            raise DataError(
                f"column {name!r} has {len(cells)} rows of the future, {date} is missing",
                path=place,
                hint=f"give a row for each of the {length} that are asked for",
            )
        if row is None:
            raise DataError(
                f"the future of column {name!r} has no row for {date}",
                path=place,
                hint=f"give a row for each date from {named[0]} to {named[-1]}",
            )
        known.append(cells[row])
    for cell, date in zip(known, named, strict=True):
        if is_missing(cell):
            raise DataError(f"column {name!r} has no value in {date}", path=place, hint="fill the cell")
    return known


def _rows_ahead(
    future: Table, dates: Sequence[str] | None, table: Table, length: int
) -> tuple[list[int | None], list[str]]:
    """The rows of a future on these dates, or its first `length` ones where there are none, and what they are called.

    None: there is none. `dates` are written as those of the table before them, those of the future perhaps otherwise.
    """
    calendar, begin = table.calendar, _passed(table, future)
    if dates is None or calendar is None or future.dates is None or future.calendar is None:
        there = range(begin, begin + length)
        return [i if i < len(future) else None for i in there], [f"row {i + 1}" for i in there]
    # Numbers are counted in units of their last place, which may be another one in each file.
    alike = future.calendar.counts and calendar.counts
    wanted = (future.calendar if alike else calendar).instants(dates)
    if of_day(calendar.format):  # which are counted from the first on, so both are to begin with the same one
        times = future.calendar.instants(future.dates[begin:]) % DAY
        begin += int(np.argmax(times == wanted[0] % DAY)) if len(times) else 0
    found = {instant: i for i, instant in enumerate(future.calendar.instants(future.dates[begin:]).tolist(), begin)}
    return [found.get(instant) for instant in wanted.tolist()], list(map(shown, dates))


def _passed(table: Table, future: Table) -> int:
    """How many rows of a future are the table's own, where its dates do not tell: none, or times that come each day.

    Without dates only a series that the table is a part of has them: what is read of a file are words alone.
    """
    first = table.begin - future.begin
    end = first + len(table)
    if not 0 <= first < end <= len(future):
        return 0
    if table.calendar is None:
        same = table.columns == future.columns and np.array_equal(
            table.values, future.values[first:end], equal_nan=True
        )
        return end if same else 0
    words = all(table.words[name] == future.words[name][first:end] for name in table.words if name in future.words)
    same = words and of_day(table.calendar.format) and table.dates == (future.dates or ())[first:end]
    return end if same else 0


def _path_of(future: Any) -> Path | str:
    """Where a future stands, for errors; nowhere where it is no file."""
    return future if isinstance(future, Path | str) else ""
