"""Tables whose columns are times: each row is a series, or a year or a day of one, of months or of hours."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.around import Around
from seqloom.codecs.dates import Calendar, check_order
from seqloom.codecs.dialect import PREFIX, Wanted
from seqloom.codecs.months import LONG_MONTHS, MONTHS, in_english, months_of
from seqloom.codecs.numerals import decimal_of, is_missing, looks_like_number, read_numbers
from seqloom.codecs.sheet import Cells, Sheet
from seqloom.codecs.spelling import QUARTERS, common
from seqloom.codecs.table import Table
from seqloom.codecs.written import Written, styles_of
from seqloom.core.errors import DataError
from seqloom.core.progress import listed

if TYPE_CHECKING:
    import polars

WIDE = "value"
"""What the numbers of such a table are called."""
MOST_IDS, LEAST_TIMES = 8, 8
"""Columns before the times at most, and times that do nothing but count at least."""
_NUMBERS = tuple(f"{number}" for number in range(1, 25))
_YEAR = re.compile(r"[0-9]{4}")
_HOUR = re.compile(r"(?i:h|hr|hour|he|t|std)?[ _.]?([0-9]{1,2})(?i:h|:00|:00:00|00)?")
_QUARTER = re.compile(r"(?i:q|qtr|quarter)[ _.]?([1-4])|(?i:q|qtr|quarter)?[ _.]?(IV|I{1,3})")


def lengthened(cells: Cells, wanted: Wanted) -> tuple[Cells, Wanted]:
    """A table of years by months or quarters, or of days by hours, as one with a row for each of these.

    Others are given back as they are. Rows before the first number and after the last are left out: the months that a
    last year does not have yet.
    """
    import polars

    said = wanted.dialect.wide is False or wanted.dialect.date or (wanted.columns and wanted.columns != (WIDE,))
    found = None if said or cells.height < 2 else _parts(list(cells.columns), cells.columns)
    if found is None:
        return cells, wanted
    whole, part, spelling, names = found
    beside = [name for name, column in cells.columns.items() if name not in {whole, *names} and not _numbers(column)]
    sums = [name for name in cells.columns if name not in {whole, *names, *beside}]
    rows, times = np.arange(cells.height).repeat(len(names)), list(names.values()) * cells.height
    columns = {name: cells.columns[name].gather(rows) for name in beside}
    columns[whole] = cells.columns[whole].gather(rows)
    columns[part] = polars.Series(times)
    columns[WIDE] = polars.Series(np.column_stack([cells.columns[name].to_numpy() for name in names]).ravel())
    known = np.flatnonzero([not is_missing(cell) for cell in columns[WIDE].to_list()])
    kept = slice(int(known[0]), int(known[-1]) + 1) if len(known) and not beside else slice(None)
    remarks = [
        f"each row is a {'day' if part == 'hour' else 'year'} and columns {next(iter(names))!r} to "
        f"{next(reversed(names))!r} are its {part}s ({PREFIX}.wide=false takes them for series)"
    ]
    if sums:
        remarks.append(f"columns beside them are left out: {', '.join(sums)}")
    sheet = Sheet("", (), (*columns,), cells.sheet.delimiter, made=True)
    long = Cells(
        sheet,
        {name: column[kept] for name, column in columns.items()},
        [cells.lines[row] for row in rows[kept]],
        (*cells.remarks, *remarks),
    )
    return long, replace(wanted, dialect=wanted.dialect.replace(date=(whole, part), dates=spelling))


def _parts(names: Sequence[str], columns: Mapping[str, polars.Series]) -> tuple[str, str, str, dict[str, str]] | None:
    """The column of years or days; what the others are parts of, how both are spelled, and the part of each column."""
    years = [name for name in names if _all(columns[name], _YEAR)]
    matches = {name: match for name in names if (match := _QUARTER.fullmatch(name))}
    quarters = {name: match[1] or str(QUARTERS.index(match[2]) + 1) for name, match in matches.items()}
    hours = {name: match.group(1) for name in names if (match := _HOUR.fullmatch(name))}
    days = [name for name in names if name not in hours and _dates(columns[name])]
    if years:
        own = months_of(names)
        foreign = {name: in_english(name, own) for name in names if own and name not in years}
        if [month for month in foreign.values() if month in MONTHS] == [*MONTHS]:
            return years[0], "month", "%Y\t%b", {name: name for name, month in foreign.items() if month in MONTHS}
        for spelling, called in (("%b", MONTHS), ("%B", LONG_MONTHS), ("%m", _NUMBERS[:12])):
            months = [name for name in names if name.capitalize() in called]
            if [name.capitalize() for name in months] == [*called]:
                return years[0], "month", f"%Y\t{spelling}", {name: name for name in months}
        if [*quarters.values()] == [*_NUMBERS[:4]]:
            return years[0], "quarter", "%Y\t%q", quarters
    if days and [int(hour) for hour in hours.values()] in (list(range(24)), list(range(1, 25))):
        return days[0], "hour", "", hours
    return None


def _all(column: polars.Series, pattern: re.Pattern[str]) -> bool:
    return all(pattern.fullmatch(cell) for cell in column.head(50).to_list())


def times_of(columns: Mapping[str, polars.Series], wanted: Wanted) -> tuple[str, ...]:
    """The columns that are the times of series of which each is a row; none where rows are times."""
    said = wanted.dialect.wide
    if said is False or (wanted.columns and wanted.columns != (WIDE,)):
        return ()
    names = list(columns)
    for first in range(min(MOST_IDS, len(names) - 2) + 1):
        times = names[first:]
        named = len(times) > 2 and bool(common(Around.of(times).bare(times), named=True))
        counted = bool(first) and len(times) >= LEAST_TIMES and _consecutive(times) and not _numbers(columns[names[0]])
        if named or counted or (said and all(re.search("[0-9]$", name) for name in times)):
            return () if first and _dates(columns[names[0]]) and not said else tuple(times)
    return ()


def unfolded(cells: Cells, times: Sequence[str], wanted: Wanted, path: Path | str) -> dict[str, Table]:
    """The series of a table of which each row is one."""
    columns, height = cells.columns, cells.height
    ids = [name for name in columns if name not in times]
    values, written = _numbers_of(cells, times, wanted, path)
    dates, calendar = None, None
    if common(Around.of(times).bare(times), named=True):
        lines = [1] * len(times)
        calendar, instants = Calendar.spelled(times, path, lines, wanted.dialect.dates)
        order = np.argsort(instants, kind="stable")
        dates, values = tuple(times[i] for i in order), values[:, order]
        calendar, (instants,) = calendar.placed([instants[order]], wanted.dialect.zone)
        check_order(dates, instants, path, lines)
        calendar = calendar.stepped([instants])
    own = {name: columns[name].to_list() for name in ids}
    words = [name for name in ids if not _numbers(columns[name])]  # rather than a latitude
    together = "\t".join(words if _are_unlike([own[name] for name in words]) else ids)
    key = next((name for name in words or ids if len({*filter(None, own[name])}) == height), together)
    remarks = (*cells.remarks, *_remarks(times, ids, {*key.split("\t"), *wanted.words, *wanted.perhaps}))
    tables = {}
    for row in range(height):
        known = np.flatnonzero(~np.isnan(values[row]))
        begin, end = (known[0], known[-1] + 1) if len(known) and height > 1 else (0, len(times))
        name = "\t".join(own[part][row] for part in key.split("\t")) if key else str(row + 1)
        tables[name] = Table(
            (WIDE,),
            values[row, begin:end, None],
            None if dates is None else dates[begin:end],
            "date" if dates else "",
            calendar,
            {word: (own[word][row],) * (end - begin) for word in (*wanted.words, *wanted.perhaps) if word in own},
            written=written,
            name=name,
            series_column=key,
            wide=True,
            remarks=remarks,
        )
    if len(tables) < height:
        raise DataError(
            "two rows are of the same series", path=path, hint=f"{PREFIX}.wide=false takes the columns for series"
        )
    return tables


def _numbers_of(
    cells: Cells, times: Sequence[str], wanted: Wanted, path: Path | str
) -> tuple[NDArray[np.float64], Written]:
    """The numbers (rows, times) of the columns that are times, and how they are written; DataError for other cells."""
    import polars

    dialect = wanted.dialect
    stacked = polars.concat([cells.columns[name].rename("") for name in times])
    read = read_numbers(
        stacked, decimal_of([stacked], cells.sheet.delimiter, dialect.decimal or wanted.decimal), dialect.missing
    )
    if read.odd is not None:
        place, row = divmod(read.odd, cells.height)
        raise DataError(
            f"column {times[place]!r} is text: {stacked[read.odd][:40]!r} is not a number",
            path=path,
            line=cells.lines[row],
            hint=f"{PREFIX}.missing=[...] says which cells are no values",
        )
    written = Written(delimiter=cells.sheet.delimiter, end=cells.sheet.end, styles=styles_of({WIDE: read.style}))
    return read.values.reshape(len(times), cells.height).T, written


def _remarks(times: Sequence[str], ids: Sequence[str], used: Collection[str]) -> list[str]:
    """What was understood of the table, and which of its other columns are not used."""
    said = (
        f"each row is a series, and the columns {times[0]!r} to {times[-1]!r} are its {len(times):,} times "
        f"({PREFIX}.wide=false takes them for series)"
    )
    left = [repr(name) for name in ids if name and name not in used]
    beside = "column {} is left out" if len(left) == 1 else "columns {} are left out"
    return [said, *([beside.format(listed(left))] if left else [])]


def _are_unlike(columns: Sequence[Sequence[str]]) -> bool:
    """Whether no two rows of these columns are alike."""
    rows = list(zip(*columns, strict=True))
    return bool(rows) and len({*rows}) == len(rows)


def _dates(column: polars.Series) -> bool:
    return bool(common([cell for cell in column.head(5).to_list() if cell], named=True))


def _numbers(column: polars.Series) -> bool:
    return all(looks_like_number(cell) for cell in column.head(50).to_list() if not is_missing(cell))


def _consecutive(names: Sequence[str]) -> bool:
    """Whether names are a word and numbers that go up by one: V2, V3, V4 ..."""
    matches = [re.fullmatch(r"(.*?)([0-9]+)", name) for name in names]
    if not all(matches):
        return False
    words = {match.group(1) for match in matches if match}
    numbers = [int(match.group(2)) for match in matches if match]
    return len(words) == 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
