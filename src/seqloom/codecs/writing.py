"""Tables as text: filled to the byte where they came from a file, else written as their kind of table is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from seqloom.codecs.beside import respelled
from seqloom.codecs.dialect import Dialect
from seqloom.codecs.frames import SUFFIXES
from seqloom.codecs.sheet import whole_lines
from seqloom.codecs.table import Table

DIGITS = 6
"""Significant digits of a deviation that are worth writing: what float32 carries."""


def text_of_tables(tables: Sequence[Table], digits: Mapping[str, int]) -> str:
    """The series of one file as it has them: one alone, rows of several under each other, or a row each.

    `digits` says how many decimals the numbers of a column are worth (fewer than 0: tens, hundreds ...).
    """
    first = tables[0]
    if all(table.wide and table.dates == first.dates and len(table) == len(first) for table in tables):
        return _wide(tables, digits)
    if len(tables) == 1:
        return filled_text(first, digits)
    if all(table.sheet is not None and table.sheet.head == first.sheet.head for table in tables if first.sheet):
        texts = [filled_text(table, digits) for table in tables]
        head = "" if first.sheet is None else first.sheet.head
        if head:
            ended = [text if text.endswith(("\n", "\r")) else text + "\n" for text in texts]
            return ended[0] + "".join(text.removeprefix(head) for text in ended[1:])
    fresh = [_fresh(table, digits) for table in tables]
    return fresh[0][0] + "".join(row for rows in fresh for row in rows[1:])


def summary_of_tables(tables: Sequence[Table], statistics: Sequence[str], digits: Mapping[str, int]) -> str:
    """Tables of statistics (their columns are NAME_STATISTIC), laid out as the file has its series."""
    first, written = tables[0], tables[0].written
    if all(table.wide and table.dates == first.dates and len(table) == len(first) for table in tables):
        lines = [_wide_line(first, first.series_column, ["statistic", *_times(first)])]
        for table in tables:
            for name, column, numbers in zip(statistics, table.columns, table.values.T, strict=True):
                cells = [written.number(column, number(value, digits[table.columns[0]])) for value in numbers]
                lines.append(_wide_line(first, table.name, [name], cells))
        return "".join(lines)
    return text_of_tables([replace(table, wide=False, sheet=None) for table in tables], digits)


def filled_text(table: Table, digits: Mapping[str, int]) -> str:
    """The table as CSV. What came from a file is copied to the byte, but for empty cells that now have a value.

    `digits` says how many decimals the numbers of a column are worth (fewer than 0: tens, hundreds ...).
    """
    sheet = table.sheet
    if sheet is None:
        return "".join(_fresh(table, digits))
    names = list(sheet.names)
    rows = [*sheet.rows, *[("", "")] * (len(table) - len(sheet.rows))]
    lines: list[str | None] = []
    for i, (row, (line, end)) in enumerate(zip(table.values, rows, strict=True)):
        own = bool(line or end)
        if not own and i < len(sheet.rows) and np.isnan(row).all():
            lines.append(None)  # a row that the file leaves out, and that nothing is known of
            continue
        changes = {
            names.index(name): table.written.style(name).write(number(value, digits[name]))
            for name, value in zip(table.columns, row, strict=True)
            if not math.isnan(value) and (not own or sheet.gaps[name][i])
        }
        lines.append(sheet.changed(line if own else sheet.delimiter.join(_new_row(table, i, names)), changes))
    return sheet.text(lines)


def numbered_text(several: Sequence[Sequence[Table]], name: str, digits: Mapping[str, int]) -> str:
    """What several files would hold as one table, with a first column of this name that counts them."""
    lines: list[str] = []
    for i, tables in enumerate(several):
        text, sheet, written = text_of_tables(tables, digits), tables[0].sheet, tables[0].written
        if sheet is not None and text.startswith(sheet.head):  # without what stands before and under the names
            header = written.delimiter.join(map(written.cell, sheet.names))
            rows = [line.body for line in whole_lines(text.removeprefix(sheet.head))]
        else:
            header, *rows = [line.body for line in whole_lines(text)]
        lines += [f"{name}{written.delimiter}{header}{written.end}"] if i == 0 else []
        lines += [f"{i}{written.delimiter}{row}{written.end}" for row in rows]
    return "".join(lines)


def in_file(table: Table, name: str, dialect: Dialect) -> Table:
    """A table as a file of this name has it: numbers alone, without units and decimal commas, where it has types.

    A copy of lines that a file has stays one, but in a .tsv, which has tabs.
    """
    if name.lower().endswith(SUFFIXES):
        words = {column: respelled(cells, (), dialect) for column, cells in table.words.items()}
        return replace(table, sheet=None, written=table.written.bare, words=words)
    written = table.written.called(name)
    copied = table.sheet is not None and any(line for line, _ in table.sheet.rows)
    if written == table.written or (copied and written.delimiter != "\t"):
        return table
    return replace(table, sheet=None, written=written)


def worth_writing(deviation: float) -> int:
    """How many decimals are worth writing of numbers that deviate so far from their mean."""
    return DIGITS - 1 - math.floor(math.log10(deviation))


def number(value: float, digits: int) -> str:
    """The shortest writing of a number rounded to `digits` decimals; empty for nan."""
    if math.isnan(value):
        return ""
    rounded = round(float(value), digits) + 0.0
    return str(int(rounded)) if digits <= 0 else repr(rounded)


def _new_row(table: Table, i: int, names: Sequence[str]) -> list[str]:
    """The cells of a row that the file does not have: its date, what tells its series, and what is known beside it."""
    cells = [table.written.cell("")] * len(names)
    known = {name: words[i] for name, words in table.words.items() if i < len(words)}
    if table.dates is not None:
        known |= dict(zip(table.date_column.split("\t"), table.dates[i].split("\t"), strict=True))
    known |= dict(zip(table.series_column.split("\t"), table.name.split("\t"), strict=False))
    for name, cell in known.items():
        if name in names:
            cells[names.index(name)] = table.written.cell(cell)
    return cells


def _fresh(table: Table, digits: Mapping[str, int]) -> list[str]:
    """The lines of a table that are no copy of those of a file."""
    written, beside = table.written, _beside(table)
    lines = [[*map(written.cell, table.columns), *map(written.cell, beside)]]
    for i, row in enumerate(table.values):
        numbers = zip(table.columns, row, strict=True)
        lines.append([written.number(name, number(value, digits[name])) for name, value in numbers])
        lines[-1] += [written.cell(table.words[name][i]) for name in beside]
    if table.dates is not None:
        for line, date in zip(lines, (table.date_column, *table.dates), strict=True):
            line[:0] = map(written.cell, date.split("\t"))
    if table.series_column:
        for line, names in zip(lines, (table.series_column, *[table.name] * len(table)), strict=True):
            line[:0] = map(written.cell, names.split("\t"))
    return list(map(written.line, lines))


def _beside(table: Table) -> list[str]:
    """The columns that are known beside the numbers of every row."""
    others = {*table.columns, *table.date_column.split("\t"), *table.series_column.split("\t")}
    return [name for name, words in table.words.items() if name not in others and len(words) == len(table)]


def _wide(tables: Sequence[Table], digits: Mapping[str, int]) -> str:
    """A row for each series, whose columns are the times."""
    first = tables[0]
    lines = [_wide_line(first, first.series_column, _times(first))]
    for table in tables:
        numbers = [number(value, digits[table.columns[0]]) for value in table.values[:, 0]]
        cells = [first.written.number(table.columns[0], one) for one in numbers]
        lines.append(_wide_line(first, table.name, [], cells))
    return "".join(lines)


def _wide_line(like: Table, names: str, words: Sequence[str], numbers: Sequence[str] = ()) -> str:
    """A line of a table whose columns are times: the names of a series, and words and numbers that follow them."""
    return like.written.line([*map(like.written.cell, (*names.split("\t"), *words)), *numbers])


def _times(table: Table) -> Sequence[str]:
    if table.dates is None:
        return [str(i) for i in range(1, len(table) + 1)]
    return table.dates
