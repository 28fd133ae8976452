"""Tables as text: filled to the byte where they came from a file, else written as their kind of table is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from seqloom.codecs.numerals import Style
from seqloom.codecs.sheet import quoted
from seqloom.codecs.table import Table

PLAIN = Style()


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
    fresh = [_fresh(table, digits).partition("\n") for table in tables]
    return f"{fresh[0][0]}\n" + "".join(rows for _, _, rows in fresh)


def summary_of_tables(tables: Sequence[Table], statistics: Sequence[str], digits: Mapping[str, int]) -> str:
    """Tables of statistics (their columns are NAME_STATISTIC), laid out as the file has its series."""
    first = tables[0]
    if all(table.wide and table.dates == first.dates and len(table) == len(first) for table in tables):
        rows = [[*map(quoted, first.series_column.split("\t")), "statistic", *_times(first)]]
        for table in tables:
            for name, column in zip(statistics, table.values.T, strict=True):
                numbers = [number(value, digits[table.columns[0]]) for value in column]
                rows.append([*map(quoted, table.name.split("\t")), name, *numbers])
        return "".join(",".join(row) + "\n" for row in rows)
    return text_of_tables([replace(table, wide=False, sheet=None) for table in tables], digits)


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
    if math.isnan(value):
        return ""
    rounded = round(float(value), digits) + 0.0
    return str(int(rounded)) if digits <= 0 else repr(rounded)


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
    if table.series_column:
        for line, names in zip(lines, (table.series_column, *[table.name] * len(table)), strict=True):
            line[:0] = [quoted(cell) for cell in names.split("\t")]
    return "".join(",".join(line) + "\n" for line in lines)


def _wide(tables: Sequence[Table], digits: Mapping[str, int]) -> str:
    """A row for each series, whose columns are the times."""
    first = tables[0]
    rows = [[*map(quoted, first.series_column.split("\t")), *_times(first)]]
    for table in tables:
        numbers = [number(value, digits[table.columns[0]]) for value in table.values[:, 0]]
        rows.append([*map(quoted, table.name.split("\t")), *numbers])
    return "".join(",".join(row) + "\n" for row in rows)


def _times(table: Table) -> list[str]:
    if table.dates is None:
        return [str(i) for i in range(1, len(table) + 1)]
    return [quoted(date) for date in table.dates]
