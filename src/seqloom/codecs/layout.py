"""From the cells of a file to its series: which rows are whose, their numbers, words and dates."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.beside import odd_cell
from seqloom.codecs.dialect import PREFIX, Wanted
from seqloom.codecs.numerals import decimal_of, is_missing, looks_like_number, read_numbers, too_large
from seqloom.codecs.roles import (
    INDEX_NAMES,
    NAMES,
    counts,
    find_dates,
    further_dates,
    plain_parts,
    series_columns,
    without_year,
)
from seqloom.codecs.sheet import Cells, Sheet
from seqloom.codecs.table import Table
from seqloom.codecs.timing import Timing
from seqloom.codecs.wide import lengthened, times_of, unfolded
from seqloom.codecs.written import Written, styles_of
from seqloom.core.config import nearest
from seqloom.core.errors import DataError

if TYPE_CHECKING:
    import polars


MOST_NAMED = 20
"""Columns that a hint names, at most."""


def tables_in(cells: Cells, path: Path | str = "", wanted: Wanted | None = None) -> Mapping[str, Table]:
    """The series among the cells of a table, by their names; one alone has none."""
    cells, wanted = lengthened(replace(cells, columns=plain_parts(cells.columns)), wanted or Wanted())
    times = times_of(cells.columns, wanted)
    return unfolded(cells, times, wanted, path) if times else _Layout(cells, wanted, path).tables()


class _Layout:
    """Finds the series among the cells of a table whose rows are times."""

    def __init__(self, cells: Cells, wanted: Wanted, path: Path | str) -> None:
        words = (*wanted.words, *(name for name in wanted.perhaps if name in cells.columns))
        self.wanted, self.path, self.dialect = replace(wanted, words=words), path, wanted.dialect
        self.cells, self.columns = cells, dict(cells.columns)
        self.remarks = list(cells.remarks)
        for name in (*wanted.columns, *wanted.words, *self.dialect.date, *(self.dialect.series or ())):
            if name not in self.columns:
                addition = "" if len(self.columns) > 1 else ": this is no table with that column"
                raise self._error(f"there is no column {name!r}{addition}", nearest(name, self.columns), 1)

    def tables(self) -> Mapping[str, Table]:
        """The series by their names."""
        columns, spelling = find_dates(self.columns, self.wanted)
        self._without_empty(columns)
        timing = Timing.of(self.columns, columns, spelling, self.cells.lines, self.wanted, self.path)
        free = [name for name in self.columns if name not in {*columns, *self.wanted.columns}]
        known = timing.instants[~timing.absent] if columns else None
        texts = [text for text, none in zip(timing.texts, timing.absent, strict=True) if not none]
        whole = {name: column.filter(~timing.absent) if columns else column for name, column in self.columns.items()}
        ids = series_columns(whole, free, texts, known, self.wanted)
        chosen, left = self._chosen(columns, ids)
        self.groups = self._groups(ids)
        values, sheet, written = self._numbers(chosen)
        groups = {name: timing.ordered(rows, values) for name, rows in self.groups.items()}
        timing = timing.stepped(groups)
        self._say_left_out({*left, *chosen})
        words = {name: np.array(self.columns[name].to_list(), object) for name in self.wanted.words}
        tables: dict[str, Table] = {}
        made = 0
        for name, rows in groups.items():
            places, stamps = timing.even(rows)
            made += int((places < 0).sum())
            tables[name] = Table(
                chosen,
                np.where(places[:, None] >= 0, values[places], np.nan),
                timing.written(places, stamps),
                timing.column,
                timing.calendar,
                {word: tuple(np.where(places >= 0, cells[places], "")) for word, cells in words.items()},
                _lines_of(sheet, places, chosen, len(rows) > 1 and rows[0] > rows[-1]),
                written,
                name,
                "\t".join(ids),
            )
        if made:
            dates = "date that is left out is a row" if made == 1 else "dates that are left out are rows"
            timing.remarks.append(f"{made} {dates} without values")
        remarks = (*self.remarks, *timing.remarks)
        return {name: replace(table, remarks=remarks) for name, table in tables.items()}

    def _chosen(self, dated: tuple[str, ...], ids: tuple[str, ...]) -> tuple[tuple[str, ...], set[str]]:
        """The columns of numbers, and those that are known to be something else."""
        left = {*dated, *ids, *self._counting(dated, ids), *self.wanted.words, *self.cells.beside}
        if dated and not self.wanted.columns:
            others = further_dates(self.columns, [name for name in self.columns if name not in left])
            self.remarks += [f"column {name!r} holds dates too and is left out" for name in others]
            left |= set(others)
        parts = () if dated else without_year(self.columns)
        if parts and not set(parts) & {*left, *self.wanted.columns}:
            self.remarks.append(f"{_listed(parts)} are dates without a year, and left out")
            left |= set(parts)
        if not self.wanted.numbers:
            return (), left
        left |= self._constant({*left, *self.wanted.columns})
        chosen = self.wanted.columns or tuple(name for name in self.columns if name not in left)
        if not chosen and self.wanted.words:
            raise self._error(
                f"{_listed(self.wanted.words)} {'is' if len(self.wanted.words) == 1 else 'are'} read beside the rows, "
                "and no column of numbers is left for a series",
                "leave one of them out of corpus.future and of the conditions",
                1,
            )
        if not chosen:
            raise self._error(
                "there is no column of numbers",
                "codec=characters reads the file as plain text; a table of texts is read with corpus.text=COLUMN",
                1,
            )
        return chosen, left

    def _constant(self, left: set[str]) -> set[str]:
        """Columns that hold one word in every row, such as a unit, which says nothing of the rows."""
        found = []
        for name, column in self.columns.items():
            if name not in left and len(column) > 1 and column.n_unique() == 1:
                word = str(column[0])
                if not is_missing(word) and odd_cell([word], self.dialect) is not None:
                    found.append(name)
        if found:
            verb, be = ("holds", "is") if len(found) == 1 else ("hold", "are")
            way = "given.NAME.source=column:COLUMN makes one a condition"
            self.remarks.append(f"{_listed(found)} {verb} one word in every row and {be} left out ({way})")
        return set(found)

    def _say_left_out(self, known: set[str]) -> None:
        extra = [name for name in self.columns if name not in known and name]
        if extra and self.wanted.numbers:
            self.remarks.append(f"{_listed(extra)} {'is' if len(extra) == 1 else 'are'} left out")
        ways: dict[str, list[str]] = {}
        for name, way in self.cells.beside.items():
            if name not in {*self.wanted.words, *self.wanted.columns} and self.wanted.numbers:
                ways.setdefault(way, []).append(name)
        self.remarks += [
            f"{_listed(names)} {'is' if len(names) == 1 else 'are'} left out ({way})" for way, names in ways.items()
        ]

    def _without_empty(self, columns: tuple[str, ...]) -> None:
        """Leave rows out in which every cell is empty, where rows have dates."""
        if not columns:
            return
        import polars

        full = polars.DataFrame(self.columns).select(polars.any_horizontal(polars.all() != "")).to_series()
        if full.all():
            return
        self.remarks.append(f"{(~full).sum()} rows without a cell are left out")
        sheet = self.cells.sheet
        rows: list[tuple[str, str]] = []
        for row, kept in zip(sheet.rows, full, strict=True):
            if kept or not rows:
                rows.append(row)
            else:
                rows[-1] = (rows[-1][0], rows[-1][1] + row[0] + row[1])
        lines = [line for line, kept in zip(self.cells.lines, full, strict=True) if kept]
        self.columns = {name: column.filter(full) for name, column in self.columns.items()}
        self.cells = replace(self.cells, sheet=replace(sheet, rows=tuple(rows)), columns=self.columns, lines=lines)

    def _groups(self, ids: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """The rows of each series by its name, in the order in which they are first met."""
        if not ids:
            return {"": np.arange(self.cells.height)}
        names = list(map("\t".join, zip(*(self.columns[name].to_list() for name in ids), strict=True)))
        rows: dict[str, list[int]] = {}
        for i, name in enumerate(names):
            rows.setdefault(name, []).append(i)
        return {name: np.array(own) for name, own in rows.items()}

    def _counting(self, dated: Sequence[str], ids: Sequence[str]) -> list[str]:
        """Columns that do nothing but count the rows, beside dates."""
        found = []
        for place, (name, column) in enumerate(self.columns.items()):
            called = name.lower() in INDEX_NAMES or (not name and not place)
            if called and name not in {*dated, *ids, *self.wanted.columns} and dated and counts(column):
                found.append(name)
                column_name = f"column {name!r}" if name else "the first column"
                self.remarks.append(f"{column_name} counts the rows and is left out")
        return found

    def _numbers(self, chosen: Sequence[str]) -> tuple[NDArray[np.float64], Sheet, Written]:
        """The numbers of the chosen columns (rows, columns), the sheet with their gaps, and how they are written."""
        sheet = self.cells.sheet
        decimal = self.dialect.decimal or self.wanted.decimal
        decimal = decimal_of(
            [self.columns[name] for name in (*chosen, *self._others(chosen))], sheet.delimiter, decimal
        )
        read = {name: read_numbers(self.columns[name], decimal, self.dialect.missing) for name in chosen}
        said: dict[str, list[str]] = {}
        for name, numbers in read.items():
            if numbers.odd is not None:
                raise self._text(name, numbers.odd, chosen, decimal)
            large = too_large(numbers.values)
            if large is not None:
                raise self._error(
                    f"column {name!r} holds {self.columns[name][large]}, which is no usable number",
                    "leave the cell empty if the value is not known",
                    self._line(large),
                )
            for remark in numbers.remarks:
                said.setdefault(remark, []).append(name)
        if decimal == "," and any(self.columns[name].str.contains("[.,]").any() for name in chosen):
            self.remarks.append(self._decimal_comma([self.columns[name] for name in chosen]))
        for remark, names in said.items():
            self.remarks.append(f"{_listed(names)} {_of_several(remark) if len(names) > 1 else remark}")
        styles = styles_of({name: numbers.style for name, numbers in read.items()})
        written = Written(delimiter=sheet.delimiter, end=sheet.end, styles=styles)
        sheet = replace(sheet, gaps={name: np.isnan(numbers.values) for name, numbers in read.items()})
        empty = np.zeros((self.cells.height, 0))
        return np.column_stack([empty, *(numbers.values for numbers in read.values())]), sheet, written

    def _others(self, chosen: Sequence[str]) -> list[str]:
        """Columns of numbers that are not chosen; they show the decimal sign of the table as well."""
        cells = {name: column.head(50).to_list() for name, column in self.columns.items() if name not in chosen}
        known = {name: [cell for cell in own if not is_missing(cell)] for name, own in cells.items()}
        return [name for name, own in known.items() if own and all(map(looks_like_number, own))]

    def _decimal_comma(self, columns: Sequence[polars.Series]) -> str:
        """What is understood of commas and points where the decimal sign is a comma."""
        commas = [column.filter(column.str.contains(",", literal=True)) for column in columns]
        if not any(map(len, commas)):
            return f"points part thousands ({PREFIX}.decimal=. says that they do not)"
        if all(column.str.contains(r"^-?[0-9]{1,3}(,[0-9]{3})+$").all() for column in commas):
            return f"numbers have a decimal comma ({PREFIX}.decimal=. says that commas part thousands)"
        return "numbers have a decimal comma"

    def _text(self, name: str, row: int, chosen: Sequence[str], decimal: str) -> DataError:
        """The error of a column that is read as numbers and holds a word."""
        cell, texts = str(self.columns[name][row]), shlex.quote(f"corpus.text={name}")
        column = [other for other in self.columns[name].head(1000).to_list() if not is_missing(other)] or [cell]
        share = np.mean([looks_like_number(other) for other in column])
        if len(self.columns) == 1:
            hint = f"corpus.items=line reads a list, a thing a line; {texts} one whose first line is a heading"
        elif row == self.cells.height - 1 and row:
            hint = f"{PREFIX}.footer=1 leaves the last row out"
        elif share > 0.5:
            hint = f"{_setting(f'{PREFIX}.missing', [cell])} takes it for no value"
            other = "," if decimal == "." else "."
            if looks_like_number(cell) and read_numbers(self.columns[name], other).odd is None:
                hint = f"{PREFIX}.decimal={other} says that the decimal sign is another"
        else:
            numeric = [other for other in chosen if read_numbers(self.columns[other], decimal).odd is None]
            if np.mean([" " in str(other).strip() for other in column]) > 0.5:  # sentences, no names of something
                hint = f"{texts} models its texts, a row each"
                others = [other for other in chosen if other != name]
                if len(others) == 1 and others[0] not in numeric:  # questions and answers
                    beside = shlex.quote(f"given.{_word(name)}.source=column:{name}")
                    hint += f"; {shlex.quote(f'corpus.text={others[0]}')} {beside} those of {others[0]!r}, given these"
            else:
                cells = self.columns[name]
                static = all(cells.gather(rows).n_unique() == 1 for rows in self.groups.values())
                aligned = "" if static else f" given.{_word(name)}.enters=align"
                words = shlex.quote(f"given.{_word(name)}.source=column:{name}")
                hint = f"{words}{aligned} makes it a condition; {texts} models its texts"
            if numeric:
                chosen_ones = (
                    _setting("corpus.columns", numeric) if len(numeric) <= MOST_NAMED else "corpus.columns=[...]"
                )
                hint = f"{chosen_ones} reads the numbers alone; {hint}"
            if len({*column}) <= len(column) / 2 and NAMES.search(name):
                hint = f"{_setting(f'{PREFIX}.series', [name])} takes it for the names of several series; {hint}"
        return self._error(f"column {name!r} is text: {cell[:40]!r} is not a number", hint, self._line(row))

    def _line(self, row: int) -> int:
        return self.cells.lines[int(row)]

    def _error(self, message: str, hint: str, line: int | None = None) -> DataError:
        return DataError(message, path=self.path, line=line, hint=hint)


def _lines_of(sheet: Sheet, places: NDArray[np.int64], chosen: Sequence[str], descending: bool) -> Sheet | None:
    """The lines of the rows of one series; those that it makes are empty."""
    if sheet.made:
        return None
    whole = len(places) == len(sheet.rows) and bool((np.diff(places) == 1).all())
    if whole:
        return sheet
    rows = sheet.rows
    gaps = {name: np.where(places >= 0, sheet.gaps[name][places], True) for name in chosen}
    own = tuple(rows[row] if row >= 0 else ("", "") for row in places.tolist())
    return replace(sheet, rows=own, gaps=gaps, descending=descending)


def _listed(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"column {names[0]!r}"
    return f"{len(names)} columns ({', '.join(names[:3])}{' ...' * (len(names) > 3)})"


def _of_several(remark: str) -> str:
    """What is said of one column, of several."""
    verb, _, rest = remark.partition(" ")
    plural = {"is": "are", "has": "have", "holds": "hold"}.get(verb, verb)
    return f"{plural} {rest.replace('its numbers', 'their numbers').replace(': it is ', ': they are ')}"


def _setting(key: str, words: Sequence[str]) -> str:
    """A setting with a list of words as a shell takes it; words that no list holds as they stand are quoted."""
    plain = all(re.fullmatch(r"[^\W\d_][\w .%/()+-]*", word) and word == word.strip() for word in words)
    plain = plain and not any(word.lower() in _NO_WORDS for word in words)
    listed = ",".join(words) if plain else ",".join(json.dumps(word, ensure_ascii=False) for word in words)
    setting = f"{key}=[{listed}]"
    return setting if re.fullmatch(r"[\w.=,\[\]/%+-]+", setting) else shlex.quote(setting)


_NO_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "null"})
"""What YAML takes for something else than a word, or might."""


def _word(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_").lower() or "label"
