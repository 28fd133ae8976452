"""From the cells of a file to its series: which columns are dates, numbers and names, and which rows are whose."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs import frames
from seqloom.codecs.dates import INTEGER, Calendar, check_order, shown
from seqloom.codecs.dialect import PREFIX, Dialect
from seqloom.codecs.numerals import decimal_of, is_missing, looks_like_number, read_numbers
from seqloom.codecs.sheet import DATE_NAMES, Cells, Sheet, read_cells
from seqloom.codecs.spelling import TIMES, common, pattern_of
from seqloom.codecs.table import Table
from seqloom.core.config import nearest
from seqloom.core.content import decoded, raw
from seqloom.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars

INDEX_NAMES = frozenset({"id", "index", "year", "row", "no", "nr", "no.", "unnamed: 0", "rownames", "obs", "rowid"})
"""Names of a column that counts the rows, if it does; else it is a series like any other, and that is said."""
SERIES_NAMES = frozenset({"unique_id", "item_id", "series_id", "ts_id", "tsid", "series", "series_name"})
"""Names of a column that tells series apart even where their dates do not repeat."""
CORE_DATES = frozenset({"date", "datetime", "timestamp", "ds", "time"})
"""Names of columns that are taken for dates though their cells cannot be read: that is an error."""
PARTS = {
    "year": "Y", "yr": "Y", "jahr": "Y", "yyyy": "Y", "month": "m", "mon": "m", "monat": "m", "mm": "m", "mnth": "m",
    "quarter": "q", "qtr": "q", "quartal": "q", "week": "V", "isoweek": "V", "woche": "V", "day": "d", "dd": "d",
    "tag": "d", "dom": "d", "hour": "H",
    "hr": "H", "stunde": "H", "hh": "H", "minute": "M", "min": "M", "second": "S", "sec": "S",
}  # fmt: skip
"""Columns that hold a part of a date, and the part."""
WIDE = "value"
"""What the numbers of a table are called whose rows are series."""
MOST_IDS, LEAST_TIMES = 8, 8
"""Columns before the times of such a table at most, and times that do nothing but count at least."""
LARGEST = 1e300
"""Numbers from here on are taken for a mistake."""
SAMPLE = 40
"""Cells by which it is told what a column holds."""
PROBED = 1 << 16
"""Bytes at the beginning of a file by which it is told whether it is a table of numbers."""
LEAST_SHARE = 0.5
"""The least share of even dates that must be there: of fewer, what is left out is not made into rows."""


PLAIN = Dialect()


@dataclass(frozen=True)
class Wanted:
    """What is to be read of a table, and what is known of it from the one that a codec was fitted on."""

    dialect: Dialect = PLAIN
    columns: tuple[str, ...] = ()
    """The columns of numbers; none: all but the dates and the words."""
    words: tuple[str, ...] = ()
    """Columns that are kept as they stand."""
    perhaps: tuple[str, ...] = ()
    """Columns that are kept as they stand where the table has them."""
    date: str = ""
    """The column of dates."""
    calendar: Calendar | None = None
    """How dates were written; others are read as well, where these cells are not."""
    decimal: str = ""
    """The decimal sign, where the cells leave it open."""
    series: tuple[str, ...] = ()
    """The columns that tell series apart, where the table has them."""


def read_table(path: Path, wanted: Wanted | None = None) -> Table:
    """The one series in a file; DataError where it holds several, or cannot be read."""
    tables = read_tables(path, wanted)
    if len(tables) > 1:
        raise DataError(
            f"the file holds {len(tables):,} series, where one is wanted", path=path, hint="give one of them as a file"
        )
    return next(iter(tables.values()))


def read_tables(path: Path, wanted: Wanted | None = None) -> Mapping[str, Table]:
    """The series in a file by their names. The last file is kept, as splitting, fitting and encoding ask in turn."""
    try:
        state = path.stat()
    except OSError:
        b"".join(raw(path))  # says what is wrong with it
        raise
    return _read(path, (state.st_mtime_ns, state.st_size, state.st_ino), wanted or Wanted())


@lru_cache(maxsize=2)
def _read(path: Path, state: tuple[int, int, int], wanted: Wanted) -> Mapping[str, Table]:
    if path.name.lower().endswith(frames.SUFFIXES):
        return tables_in(frames.cells_of_file(path), path, wanted)
    return tables_of(text_of(path, wanted.dialect), path, wanted)


def text_of(path: Path, dialect: Dialect) -> str:
    """The text of a file."""
    data = b"".join(raw(path))
    encoding = dialect.encoding or ("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "")
    if encoding:
        try:
            return data.decode(encoding)
        except LookupError:
            raise ConfigError(
                f"there is no encoding {encoding!r}", path=f"{PREFIX}.encoding", hint="such as latin-1 or cp1252"
            ) from None
        except UnicodeDecodeError as error:
            raise DataError(
                f"the text is not {encoding}: {error.reason} at offset {error.start}", path=path, hint="try another"
            ) from None
    try:
        return "".join(decoded([data], path, mend=False))
    except DataError as error:
        hint = f"{PREFIX}.encoding=latin-1 reads it, if that is what it is (or cp1252, utf-16)"
        raise DataError(error.message, path=path, hint=hint) from None


def has_numbers(path: Path, dialect: Dialect) -> bool:
    """Whether a file is a table with a column of numbers, as far as its beginning shows."""
    if path.name.lower().endswith(frames.SUFFIXES):
        return frames.has_rows(path)
    try:
        beginning = next(raw(path), b"")[:PROBED].decode(dialect.encoding or "utf-8", "replace")
        cells = read_cells(beginning.rpartition("\n")[0] or beginning, dialect, path)
    except (DataError, LookupError):
        return False
    known = [[cell for cell in column.to_list() if not is_missing(cell)] for column in cells.columns.values()]
    return any(column and all(map(looks_like_number, column)) for column in known)


def table_of(text: str, path: Path | str = "", wanted: Wanted | None = None) -> Table:
    """The one series in a text."""
    tables = tables_of(text, path, wanted)
    if len(tables) > 1:
        raise DataError(
            f"the table holds {len(tables):,} series, where one is wanted", path=path, hint="give one of them"
        )
    return next(iter(tables.values()))


def tables_of(text: str, path: Path | str = "", wanted: Wanted | None = None) -> Mapping[str, Table]:
    """The series in a text by their names; one alone has none."""
    wanted = wanted or Wanted()
    try:
        cells = read_cells(text, wanted.dialect, path)
    except DataError:
        first = text[:PROBED].partition("\n")[0]
        for name in wanted.columns[:1]:
            if not all(other in first for other in wanted.columns):  # what is wrong with the rest is of no interest
                raise DataError(
                    f"there is no column {name!r}: this is no table with that column",
                    path=path,
                    line=1,
                    hint="give a table with the columns that are wanted",
                ) from None
        raise
    return tables_in(cells, path, wanted)


def tables_in(cells: Cells, path: Path | str = "", wanted: Wanted | None = None) -> Mapping[str, Table]:
    """The series among the cells of a table."""
    return _Reader(cells, wanted or Wanted(), path).tables()


@dataclass
class _Dated:
    """The dates of a table: their columns, how they are written, and the text and instant of each row."""

    columns: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    calendar: Calendar | None = None
    instants: NDArray[np.int64] | None = None
    absent: NDArray[np.bool_] | None = None
    """Rows without a date."""

    @property
    def column(self) -> str:
        """What the columns are called, as the name of one."""
        return "\t".join(self.columns)


class _Reader:
    """Finds the series among the cells of a table."""

    def __init__(self, cells: Cells, wanted: Wanted, path: Path | str) -> None:
        words = (*wanted.words, *(name for name in wanted.perhaps if name in cells.columns))
        self.wanted, self.path, self.dialect = replace(wanted, words=words), path, wanted.dialect
        self.cells, self.columns = cells, dict(cells.columns)
        self.remarks = list(cells.remarks)

    def tables(self) -> Mapping[str, Table]:
        """The series by their names."""
        times = self._times()
        if times:
            return self._unfolded(times)
        for name in (*self.wanted.columns, *self.wanted.words, *self.dialect.date, *(self.dialect.series or ())):
            if name not in self.columns:
                addition = "" if len(self.columns) > 1 else ": this is no table with that column"
                raise self._error(f"there is no column {name!r}{addition}", nearest(name, self.columns), 1)
        columns, spelling = find_dates(self.columns, self.wanted)
        self._without_empty(columns)
        dated = self._dates(columns, spelling)
        ids = self._ids(dated)
        groups = self._groups(ids)
        left = {*dated.columns, *ids, *self._counting(dated, ids), *self.wanted.words}
        chosen = self.wanted.columns or tuple(name for name in self.columns if name not in left)
        if not chosen:
            raise self._error(
                "there is no column of numbers",
                "codec=characters reads the file as plain text; a table of texts is read with corpus.text=COLUMN",
                1,
            )
        values, sheet = self._numbers(chosen)
        if self.wanted.columns:
            extra = [name for name in self.columns if name not in {*left, *chosen} and name]
            if extra:
                self.remarks.append(f"{_listed(extra)} {'is' if len(extra) == 1 else 'are'} left out")
        groups = {name: self._ordered(rows, dated, values) for name, rows in groups.items()}
        dated = self._stepped(dated, groups)
        words = {name: np.array(self.columns[name].to_list(), object) for name in self.wanted.words}
        tables: dict[str, Table] = {}
        made = 0
        for name, rows in groups.items():
            places, stamps = self._even(rows, dated)
            made += int((places < 0).sum())
            tables[name] = Table(
                chosen,
                np.where(places[:, None] >= 0, values[places], np.nan),
                None if dated.calendar is None else self._texts(places, stamps, dated),
                dated.column,
                dated.calendar,
                {word: tuple(np.where(places >= 0, cells[places], "")) for word, cells in words.items()},
                _lines_of(sheet, places, chosen, len(rows) > 1 and rows[0] > rows[-1]),
                name,
                "\t".join(ids),
            )
        self._say_made(made)
        return self._said(tables)

    def _said(self, tables: Mapping[str, Table]) -> Mapping[str, Table]:
        return {name: replace(table, remarks=tuple(self.remarks)) for name, table in tables.items()}

    def _say_made(self, made: int) -> None:
        if made:
            left_out = "date that is left out is a row" if made == 1 else "dates that are left out are rows"
            self.remarks.append(f"{made} {left_out} without values")

    # ---- wide tables ----------------------------------------------------------------------------------------------

    def _times(self) -> tuple[str, ...]:
        """The columns that are the times of series of which each is a row; none where rows are times."""
        if self.dialect.wide is False or (self.wanted.columns and self.wanted.columns != (WIDE,)):
            return ()
        names = list(self.columns)
        for first in range(min(MOST_IDS, len(names) - 2) + 1):
            times = names[first:]
            named = len(times) > 2 and bool(common(times, named=True))
            if named or (self.dialect.wide is not None and all(re.search("[0-9]$", name) for name in times)):
                return () if first and self._are_dates(names[0]) else tuple(times)
            if first and len(times) >= LEAST_TIMES and _consecutive(times) and not self._are_numbers(names[0]):
                return () if self._are_dates(names[0]) else tuple(times)
        return ()

    def _are_dates(self, name: str) -> bool:
        return bool(common([cell for cell in self.columns[name].head(5).to_list() if cell], named=True))

    def _are_numbers(self, name: str) -> bool:
        return all(map(looks_like_number, self.columns[name].head(50).to_list()))

    def _unfolded(self, times: Sequence[str]) -> Mapping[str, Table]:
        """The series of a table of which each row is one."""
        import polars

        ids = [name for name in self.columns if name not in times]
        self.remarks.append(
            f"each row is a series, and the columns {times[0]!r} to {times[-1]!r} are its {len(times):,} times "
            f"({PREFIX}.wide=false takes them for series)"
        )
        stacked = polars.concat([self.columns[name].rename("") for name in times])
        decimal = decimal_of([stacked], self.cells.sheet.delimiter, self.dialect.decimal or self.wanted.decimal)
        read = read_numbers(stacked, decimal, self.dialect.missing)
        height = self.cells.height
        if read.odd is not None:
            place, row = divmod(read.odd, height)
            raise self._error(
                f"column {times[place]!r} is text: {stacked[read.odd][:40]!r} is not a number",
                f"{PREFIX}.missing=[...] says which cells are no values",
                self._line(row),
            )
        values = read.values.reshape(len(times), height).T
        dates, calendar = None, None
        if common(times, named=True):
            calendar, instants = Calendar.spelled(times, self.path, [1] * len(times), self.dialect.dates)
            order = np.argsort(instants, kind="stable")
            dates, values = tuple(times[i] for i in order), values[:, order]
            calendar, (instants,) = calendar.placed([instants[order]], self.dialect.zone)
            check_order(dates, instants, self.path, [1] * len(times))
            calendar = calendar.stepped([instants])
        own = {name: self.columns[name].to_list() for name in ids}
        key = next((name for name in ids if self.columns[name].n_unique() == height), "\t".join(ids))
        tables = {}
        for row in range(height):
            known = np.flatnonzero(~np.isnan(values[row]))
            begin, end = (known[0], known[-1] + 1) if len(known) and height > 1 else (0, len(times))
            name = "\t".join(own[part][row] for part in key.split("\t")) if key else str(row + 1)
            words = {word: (own[word][row],) * (end - begin) for word in self.wanted.words if word in own}
            part = None if dates is None else dates[begin:end]
            tables[name] = Table(
                (WIDE,),
                values[row, begin:end, None],
                part,
                "date" if dates else "",
                calendar,
                words,
                None,
                name,
                key,
                True,
            )
        return self._said(tables)

    # ---- dates ----------------------------------------------------------------------------------------------------

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
        self.cells = Cells(replace(sheet, rows=tuple(rows)), self.columns, lines)

    def _dates(self, columns: tuple[str, ...], spelling: str) -> _Dated:
        """The dates of every row, on the clock that they show; those that are absent have the instant 0."""
        if not columns:
            return _Dated()
        lists = [self.columns[name].to_list() for name in columns]
        texts = tuple(map("\t".join, zip(*lists, strict=True))) if len(lists) > 1 else tuple(lists[0])
        absent = np.array([is_missing(text) for text in texts])
        lines = self.cells.lines
        if absent.any():
            if absent.all():
                raise self._error(f"column {columns[0]!r} holds no date", "fill it, or leave it out", 1)
            lines = [line for line, none in zip(lines, absent, strict=True) if not none]
        known = [text for text, none in zip(texts, absent, strict=True) if not none]
        before = self.wanted.calendar
        if before is not None and not spelling and before.zone != "%z":
            try:
                calendar, instants = Calendar.spelled(known, self.path, lines, before.format, zone=before.zone)
                return _Dated(columns, texts, calendar, _spread(instants, absent), absent)
            except DataError:
                pass  # dates that are spelled otherwise are read by themselves
        calendar, instants = Calendar.spelled(known, self.path, lines, spelling)
        return _Dated(columns, texts, calendar, _spread(instants, absent), absent)

    def _ordered(self, rows: NDArray[np.int64], dated: _Dated, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """The rows of one series, the oldest first and each date once."""
        if dated.instants is None or dated.absent is None or len(rows) < 2:
            return rows
        known = rows[~dated.absent[rows]]
        instants = dated.instants[known]
        gaps = np.diff(instants)
        if len(gaps) and (gaps <= 0).all() and (gaps < 0).any():
            rows = rows[::-1]
            if "the newest row is the first" not in self.remarks:
                self.remarks.append("the newest row is the first")
        elif self.dialect.sort and (gaps < 0).any():
            if dated.absent[rows].any():
                raise self._error("rows without a date cannot be sorted", "fill their dates", self._line(rows[0]))
            rows = rows[np.argsort(dated.instants[rows], kind="stable")]
        if self.dialect.repeats:
            rows = self._once(rows, dated.instants, values)
        return rows

    def _once(
        self, rows: NDArray[np.int64], instants: NDArray[np.int64], values: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        """One row of each date: the first, the last, or one that holds the mean."""
        own = instants[rows]
        first = np.flatnonzero(np.concatenate([[True], own[1:] != own[:-1]]))
        last = np.concatenate([first[1:], [len(rows)]]) - 1
        if self.dialect.repeats == "mean":
            for begin, end in zip(first, last, strict=True):
                if end > begin:
                    several = values[rows[begin : end + 1]]
                    known = (~np.isnan(several)).sum(0)
                    values[rows[begin]] = np.where(known > 0, np.nansum(several, 0) / np.maximum(known, 1), np.nan)
        return rows[last if self.dialect.repeats == "last" else first]

    def _stepped(self, dated: _Dated, groups: Mapping[str, NDArray[np.int64]]) -> _Dated:
        """The dates with their step, the place whose clock they are on, and those filled in that are absent."""
        calendar, instants, absent = dated.calendar, dated.instants, dated.absent
        if calendar is None or instants is None or absent is None:
            return dated
        own = {name: rows[~absent[rows]] for name, rows in groups.items()}
        place = self.dialect.zone or (self.wanted.calendar.place if self.wanted.calendar else "")
        calendar, pieces = calendar.placed([instants[rows] for rows in own.values()], place)
        if calendar.place and not self.dialect.zone and calendar.zone != "%z":
            self.remarks.append(f"clocks change as in {calendar.place} ({PREFIX}.zone=UTC says that they do not)")
        instants = instants.copy()
        for rows, piece in zip(own.values(), pieces, strict=True):
            instants[rows] = piece
            check_order([dated.texts[row] for row in rows], piece, self.path, [self._line(row) for row in rows])
        calendar = calendar.stepped(pieces)
        texts = list(dated.texts)
        for rows in groups.values():
            for row, instant in self._filled(rows, instants, absent, calendar):
                instants[row] = instant
                texts[row] = calendar.write(instant)
                self.remarks.append(f"the date that line {self._line(row)} leaves out is {shown(texts[row])}")
        return _Dated(dated.columns, tuple(texts), calendar, instants, np.zeros_like(absent))

    def _filled(
        self, rows: NDArray[np.int64], instants: NDArray[np.int64], absent: NDArray[np.bool_], calendar: Calendar
    ) -> list[tuple[int, int]]:
        """Rows without a date, and the date that their neighbours leave them; DataError where they leave none."""
        found: list[tuple[int, int]] = []
        for i in np.flatnonzero(absent[rows]):
            before = [k for k in range(i - 1, -1, -1) if not absent[rows[k]]][:1]
            after = [k for k in range(i + 1, len(rows)) if not absent[rows[k]]][:1]
            fits = bool(before) and bool(after) and calendar.stepping
            if fits:
                steps = np.arange(1, after[0] - before[0] + 1)
                own = calendar.later(int(instants[rows[before[0]]]), steps)
                fits = own[-1] == instants[rows[after[0]]]
            if not fits:
                raise self._error(
                    "the date '' cannot be read, and its neighbours leave it open",
                    "fill the cell, or leave the row out",
                    self._line(rows[i]),
                )
            found.append((int(rows[i]), int(own[i - before[0] - 1])))
        return found

    def _even(self, rows: NDArray[np.int64], dated: _Dated) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows of a series with -1 for each date that is left out, and the instants of all."""
        calendar = dated.calendar
        if calendar is None or dated.instants is None:
            return rows, np.zeros(0, np.int64)
        own = dated.instants[rows]
        if not self.dialect.even or not calendar.stepping or len(rows) < 3:
            return rows, own
        if (own[-1] - own[0]) / max(_least(calendar), 1) > len(rows) / LEAST_SHARE + 1:
            return rows, own
        stamps = calendar.stamps(int(own[0]), int(own[-1]))
        if len(stamps) == len(own) or len(own) < LEAST_SHARE * len(stamps) or not np.isin(own, stamps).all():
            return rows, own
        places = np.full(len(stamps), -1, np.int64)
        places[np.searchsorted(stamps, own)] = rows
        return places, stamps

    def _texts(self, places: NDArray[np.int64], stamps: NDArray[np.int64], dated: _Dated) -> tuple[str, ...]:
        assert dated.calendar is not None
        if (places >= 0).all() and len(places) == len(dated.texts) and (np.diff(places) == 1).all():
            return dated.texts
        texts = dated.texts
        return tuple(
            texts[row] if row >= 0 else dated.calendar.write(int(stamp))
            for row, stamp in zip(places.tolist(), stamps.tolist(), strict=True)
        )

    # ---- series ---------------------------------------------------------------------------------------------------

    def _ids(self, dated: _Dated) -> tuple[str, ...]:
        """The columns that tell several series apart."""
        if self.dialect.series is not None:
            return self.dialect.series
        if self.wanted.series and all(name in self.columns for name in self.wanted.series):
            return self.wanted.series
        free = [name for name in self.columns if name not in {*dated.columns, *self.wanted.columns}]
        for name in free:
            if name.lower() in SERIES_NAMES:
                return (name,)
        instants = dated.instants
        if instants is None or dated.absent is None or len(instants) < 4:
            return ()
        gaps = np.diff(instants[~dated.absent])
        if (gaps > 0).all() or (gaps < 0).all():
            return ()
        if len(np.unique(instants)) > 0.9 * len(instants):  # a few repeated dates are no second series
            return ()
        ids = [name for name in free if _tells_apart(self.columns[name])]
        ids.sort(key=lambda name: not _NAMES.search(name))
        for several in (*((name,) for name in ids), *((a, b) for i, a in enumerate(ids) for b in ids[i + 1 :])):
            keys = list(zip(*(self.columns[name].to_list() for name in several), dated.texts, strict=True))
            if len(set(keys)) == len(keys) and len({key[:-1] for key in keys}) > 1:
                return tuple(sorted(several, key=list(self.columns).index))
        return ()

    def _groups(self, ids: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """The rows of each series by its name, in the order in which they are first met."""
        if not ids:
            return {"": np.arange(self.cells.height)}
        names = list(map("\t".join, zip(*(self.columns[name].to_list() for name in ids), strict=True)))
        rows: dict[str, list[int]] = {}
        for i, name in enumerate(names):
            rows.setdefault(name, []).append(i)
        return {name: np.array(own) for name, own in rows.items()}

    def _counting(self, dated: _Dated, ids: Sequence[str]) -> list[str]:
        """Columns that do nothing but count the rows, beside dates."""
        found = []
        for place, (name, column) in enumerate(self.columns.items()):
            called = name.lower() in INDEX_NAMES or (not name and not place)
            if called and name not in {*dated.columns, *ids, *self.wanted.columns} and dated.columns and counts(column):
                found.append(name)
                column_name = f"column {name!r}" if name else "the first column"
                self.remarks.append(f"{column_name} counts the rows and is left out")
        return found

    # ---- numbers --------------------------------------------------------------------------------------------------

    def _numbers(self, chosen: Sequence[str]) -> tuple[NDArray[np.float64], Sheet]:
        """The numbers of the chosen columns (rows, columns), and the sheet with how they are written."""
        sheet = self.cells.sheet
        decimal = self.dialect.decimal or self.wanted.decimal
        decimal = decimal_of([self.columns[name] for name in chosen], sheet.delimiter, decimal)
        read = {name: read_numbers(self.columns[name], decimal, self.dialect.missing) for name in chosen}
        said: dict[str, list[str]] = {}
        for name, numbers in read.items():
            if numbers.odd is not None:
                raise self._text(name, numbers.odd, chosen, decimal)
            large = np.flatnonzero(np.abs(numbers.values) >= LARGEST)
            if len(large):
                raise self._error(
                    f"column {name!r} holds {self.columns[name][int(large[0])]}, which is no usable number",
                    "leave the cell empty if the value is not known",
                    self._line(int(large[0])),
                )
            for remark in numbers.remarks:
                said.setdefault(remark, []).append(name)
        if decimal == "," and any("," in numbers.style.decimal for numbers in read.values()):
            self.remarks.append("numbers have a decimal comma")
        for remark, names in said.items():
            self.remarks.append(f"{_listed(names)} {remark}")
        sheet = replace(
            sheet,
            styles={name: numbers.style for name, numbers in read.items()},
            gaps={name: np.isnan(numbers.values) for name, numbers in read.items()},
        )
        return np.column_stack([numbers.values for numbers in read.values()]), sheet

    def _text(self, name: str, row: int, chosen: Sequence[str], decimal: str) -> DataError:
        """The error of a column that is read as numbers and holds a word."""
        cell = str(self.columns[name][row])
        column = self.columns[name].head(1000).to_list()
        share = np.mean([looks_like_number(other) or is_missing(other) for other in column])
        if len(self.columns) == 1:
            hint = "codec=characters reads the file as plain text"
        elif row == self.cells.height - 1 and row:
            hint = f"{PREFIX}.footer=1 leaves the last row out"
        elif share > 0.5:
            hint = f"{PREFIX}.missing=[{cell}] takes it for no value"
            if looks_like_number(cell):
                hint = f"{PREFIX}.decimal={',' if decimal == '.' else '.'} says that the decimal sign is another"
        else:
            numeric = [other for other in chosen if read_numbers(self.columns[other], decimal).odd is None]
            words = f"given.{_word(name)}.source=column:{name}"
            aligned = "" if self.columns[name].n_unique() == 1 else f" given.{_word(name)}.enters=align"
            hint = f"{words}{aligned} makes it a condition; codec=characters reads the file as plain text"
            if numeric:
                hint = f"corpus.columns=[{','.join(numeric)}] reads the numbers alone; {hint}"
        return self._error(f"column {name!r} is text: {cell[:40]!r} is not a number", hint, self._line(row))

    def _line(self, row: int) -> int:
        return self.cells.lines[int(row)]

    def _error(self, message: str, hint: str, line: int | None = None) -> DataError:
        return DataError(message, path=self.path, line=line, hint=hint)


_NAMES = re.compile(
    r"(^|[_ ])(id|store|shop|item|sku|product|station|site|sensor|meter|device|symbol|ticker|country|region|city|state|"
    r"location|entity|group|code|category|dept|department|family|customer|user|plant|series|name|turbine|patient|subject)",
    re.IGNORECASE,
)


def find_dates(columns: Mapping[str, polars.Series], wanted: Wanted) -> tuple[tuple[str, ...], str]:
    """The columns of dates, and how they are spelled where that is known."""
    dialect = wanted.dialect
    if dialect.date:
        return dialect.date, dialect.dates
    known = tuple(wanted.date.split("\t"))
    if wanted.calendar is not None and all(name in columns for name in known):
        return known, dialect.dates or (wanted.calendar.format if len(known) > 2 else "")
    free = [name for name in columns if name not in wanted.columns and name not in wanted.words]
    parted = _parted(columns, free)
    if parted and not dialect.dates:
        return parted
    named = [name for name in free if _is_dated(name)]
    for name in (*named, *(name for name in free if name not in named)):
        if _holds_dates(columns, name, name in named, name == free[0]):
            time = _time_beside(columns, free, name)
            return ((name, time) if time else (name,)), dialect.dates
    for name in free:
        if name.lower() in INDEX_NAMES and len(columns) > 1 and counts(columns[name]):
            return (name,), INTEGER
    return (), ""


def counts(cells: polars.Series) -> bool:
    """Whether cells are whole numbers that go up by one step."""
    import polars

    if not cells.str.contains("^[0-9]{1,15}$").all():
        return False
    steps = cells.cast(polars.Int64).diff().drop_nulls()
    return steps.n_unique() == 1 and int(steps[0]) > 0


def _is_dated(name: str) -> bool:
    low = name.lower()
    return low in DATE_NAMES or bool(re.search(r"date|time|datum|zeit|stamp|fecha", low))


def _holds_dates(columns: Mapping[str, polars.Series], name: str, named: bool, first: bool) -> bool:
    cells = [cell for cell in columns[name].to_list() if not is_missing(cell)]
    sample = [cells[i] for i in np.unique(np.linspace(0, len(cells) - 1, SAMPLE).astype(int))] if cells else []
    if not sample:
        return False
    whole = all(re.fullmatch(r"[0-9]{1,18}(\.0+)?", cell) for cell in sample)
    if whole:
        if not named and (name or not first):
            return False
        numbers = [int(cell.split(".")[0]) for cell in sample]
        return numbers == sorted(numbers) or numbers == sorted(numbers, reverse=True) or name.lower() in CORE_DATES
    if all(looks_like_number(cell) for cell in sample):
        return False
    readable = sum(bool(common([cell], named=named)) for cell in sample)
    return readable >= 0.8 * len(sample) or (name.lower() in CORE_DATES and not looks_like_number(sample[0]))


def _time_beside(columns: Mapping[str, polars.Series], free: Sequence[str], date: str) -> str:
    """A column of times of the day beside one of days."""
    sample = [cell for cell in columns[date].head(SAMPLE).to_list() if cell]
    if any("%H" in spelling or "%I" in spelling for spelling in common(sample, named=True)[:1]):
        return ""
    for name in free:
        cells = [cell for cell in columns[name].head(SAMPLE).to_list() if cell]
        if name == date or not cells or not re.search(r"time|zeit|uhr|hour|hora|heure|^hr$", name, re.IGNORECASE):
            continue
        plain = [time for time in TIMES if "%M" in time or re.search("hour|hr", name, re.IGNORECASE)]
        if any(all(re.fullmatch(pattern_of(time), cell) for cell in cells) for time in plain):
            return name
    return ""


def _parted(columns: Mapping[str, polars.Series], free: Sequence[str]) -> tuple[tuple[str, ...], str] | None:
    """The columns of a date that is parted into year, month, day ..., and how each is spelled."""
    parts = {PARTS[name.lower()]: name for name in free if name.lower() in PARTS}
    if "Y" not in parts or not any(part in parts for part in "mqV"):
        return None
    if not columns[parts["Y"]].str.contains("^[0-9]{4}$").all():
        return None
    found, spelling = [], []
    small = next(part for part in "mqV" if part in parts)
    for part in ("Y", small, *(part for part in "dHMS" if part in parts)):
        if part == "d" and small != "m":
            continue
        cell = str(columns[parts[part]][0])
        letter = {"Y": "G"}.get(part, part) if small == "V" else part
        if part == "m" and not cell.isdigit():
            letter = "b" if len(cell) == 3 else "B"
        found.append(parts[part])
        spelling.append("Q%q" if part == "q" and cell[:1] in "qQ" else f"%{letter}")
    return tuple(found), "\t".join(spelling)


def _tells_apart(column: polars.Series) -> bool:
    """Whether a column may hold what series are called: words, or whole numbers of which there are few."""
    kinds = column.n_unique()
    if kinds < 2 or kinds > len(column) / 2:
        return False
    cells = column.unique().head(50).to_list()
    return all(cells) and (not any(map(looks_like_number, cells)) or all(cell.isalnum() for cell in cells))


def _consecutive(names: Sequence[str]) -> bool:
    """Whether names are a word and numbers that go up by one: V2, V3, V4 ..."""
    matches = [re.fullmatch(r"(.*?)([0-9]+)", name) for name in names]
    if not all(matches):
        return False
    words = {match.group(1) for match in matches if match}
    numbers = [int(match.group(2)) for match in matches if match]
    return len(words) == 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _spread(instants: NDArray[np.int64], absent: NDArray[np.bool_]) -> NDArray[np.int64]:
    out = np.zeros(len(absent), np.int64)
    out[~absent] = instants
    return out


def _least(calendar: Calendar) -> float:
    """The least distance of two instants of a calendar."""
    if calendar.months:
        return calendar.months * 28 * 86_400e6
    unit = 1.0 if calendar.format == INTEGER else 1e6
    return calendar.step * unit * (7 / len(calendar.weekdays) if calendar.weekdays else 1.0)


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


def _word(name: str) -> str:
    return re.sub(r"\W+", "_", name).strip("_").lower() or "label"
