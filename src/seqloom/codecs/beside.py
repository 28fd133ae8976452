"""Columns beside the numbers of a table, as conditions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from seqloom.codecs.dialect import PREFIX, Dialect
from seqloom.codecs.numerals import Numbers, Style, decimal_of, is_missing, looks_like_number, read_numbers, too_large
from seqloom.codecs.table import Table
from seqloom.core.errors import DataError

MOSTLY = 0.9
"""Where more of the cells are numbers, a column is one of numbers, and its other cells are mistakes."""
LOOKED_AT = 10_000
"""Cells by which that is told."""


def odd_cell(cells: Sequence[str], dialect: Dialect) -> int | None:
    """The first of the cells that is no usable number; None where all are numbers, or words for yes and no."""
    return _odd(_read_cells(cells, dialect))


def mostly_numbers(cells: Sequence[str]) -> bool:
    """Whether a column is one of numbers, but for a few of its cells."""
    known = [cell for cell in cells[:LOOKED_AT] if not is_missing(cell.strip())]
    return bool(known) and float(np.mean([looks_like_number(cell.strip()) for cell in known])) > MOSTLY


def column_of_numbers(name: str, cells: Sequence[str], dialect: Dialect) -> Table:
    """A column of cells as a series of its own; DataError with the row that holds no usable number."""
    read = _read_cells(cells, dialect)
    odd = _odd(read)
    if odd is not None:
        raise no_number(name, cells[odd], f" in row {odd + 1}")
    return Table((name,), read.values[:, None])


def respelled(cells: Sequence[str], like: Sequence[str], dialect: Dialect) -> tuple[str, ...]:
    """Cells of numbers as those of a column `like` them are written, or as Python does where there is none."""
    read, style = _read_cells(cells, dialect), _style_of(tuple(like), dialect)
    if _odd(read) is not None or style is None or read.style == style:
        return tuple(cells)
    if style.words and not np.isin(read.values[~np.isnan(read.values)], (0.0, 1.0)).all():
        return tuple(cells)  # neither yes nor no
    return tuple("" if np.isnan(value) else style.write(f"{value:.15g}") for value in read.values)


@lru_cache(maxsize=64)  # each column of a history is asked for twice
def _style_of(cells: tuple[str, ...], dialect: Dialect) -> Style | None:
    """How numbers are written; None where a cell is none."""
    read = _read_cells(cells, dialect)
    return read.style if read.odd is None else None


def no_number(name: str, cell: str, where: str = "") -> DataError:
    """The error of a cell among numbers that is none which can be used."""
    hint = "leave the cell empty if the value is not known"
    if not looks_like_number(cell):
        hint += f"; {PREFIX}.missing=[{cell}] takes it for no value"
    return DataError(f"column {name!r} holds {cell[:40]!r}{where}, which is no usable number", hint=hint)


def _odd(read: Numbers) -> int | None:
    large = too_large(read.values) if read.odd is None else None
    return read.odd if large is None else large


def _read_cells(cells: Sequence[str], dialect: Dialect) -> Numbers:
    import polars

    column = polars.Series(list(cells), dtype=polars.String).str.strip_chars()
    return read_numbers(column, decimal_of([column], ",", dialect.decimal), dialect.missing)
