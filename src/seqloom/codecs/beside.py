"""Columns beside the numbers of a table: as conditions, and what of them is known ahead of time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqloom.codecs.dates import shown
from seqloom.codecs.dialect import Dialect
from seqloom.codecs.numerals import Numbers, decimal_of, is_missing, read_numbers
from seqloom.codecs.table import Table
from seqloom.core.errors import DataError


def are_numbers(cells: Sequence[str], dialect: Dialect) -> bool:
    """Whether cells are numbers, or words for yes and no."""
    return _read_cells(cells, dialect).odd is None


def column_of_numbers(name: str, cells: Sequence[str], dialect: Dialect) -> Table:
    """A column of cells as a series of its own; DataError with the row that holds no number."""
    read = _read_cells(cells, dialect)
    if read.odd is not None:
        raise DataError(f"column {name!r} holds {cells[read.odd]!r} in row {read.odd + 1}", hint="it is no number")
    return Table((name,), read.values[:, None])


def _read_cells(cells: Sequence[str], dialect: Dialect) -> Numbers:
    import polars

    column = polars.Series(list(cells), dtype=polars.String).str.strip_chars()
    return read_numbers(column, decimal_of([column], ",", dialect.decimal), dialect.missing)


def cells_ahead(future: Table, dates: Sequence[str] | None, length: int, name: str, path: Any) -> Sequence[str]:
    """The cells of a column on these dates, or in the first `length` rows where there are none; none may be empty."""
    place = path if isinstance(path, Path | str) else ""
    cells = future.words[name]
    if dates is None or future.dates is None or future.calendar is None:
        if len(cells) < length:
            raise DataError(
                f"column {name!r} has {len(cells)} rows of the future, row {len(cells) + 1} is missing",
                path=place,
                hint=f"give a row for each of the {length} that are asked for",
            )
        rows, named = list(range(length)), [f"row {i + 1}" for i in range(length)]
    else:
        instants = {instant: i for i, instant in enumerate(future.calendar.instants(future.dates).tolist())}
        wanted = future.calendar.instants(dates).tolist()
        named = list(map(shown, dates))
        for instant, date in zip(wanted, named, strict=True):
            if instant not in instants:
                raise DataError(
                    f"the future of column {name!r} has no row for {date}",
                    path=place,
                    hint=f"give a row for each date from {named[0]} to {named[-1]}",
                )
        rows = [instants[instant] for instant in wanted]
    for row, date in zip(rows, named, strict=True):
        if is_missing(cells[row]):
            raise DataError(f"column {name!r} has no value in {date}", path=place, hint="fill the cell")
    return [cells[row] for row in rows]
