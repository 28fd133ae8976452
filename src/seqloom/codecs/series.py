"""Time series as vectors: one element a row, each column scaled by its training mean and deviation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from seqloom.codecs.ahead import accompanied, cells_ahead, dates_ahead, foreseen, future_of, read_ahead
from seqloom.codecs.base import Codec
from seqloom.codecs.beside import column_of_numbers, mostly_numbers, no_number, odd_cell, respelled
from seqloom.codecs.columns import binary, decimals, lying, moments_of, signed, size_of, whole
from seqloom.codecs.dates import Calendar, shown
from seqloom.codecs.dialect import Dialect, Wanted
from seqloom.codecs.frames import SUFFIXES, as_file, cells_of, frame_of, numbers_of, parquet_of
from seqloom.codecs.layout import tables_in
from seqloom.codecs.reading import has_numbers, line_of, read_table, read_tables, table_of
from seqloom.codecs.scaling import Scaling, as_read
from seqloom.codecs.table import Table, joined
from seqloom.codecs.understood import by_logarithm, facts_of, oddities, steps_otherwise, understood, uneven
from seqloom.codecs.writing import in_file, numbered_text, summary_of_tables, text_of_tables, worth_writing
from seqloom.codecs.written import PLAIN, Written
from seqloom.core.content import write_bytes
from seqloom.core.errors import ConfigError, DataError
from seqloom.core.figures import numbers_plot
from seqloom.sequence.canvas import Canvas, Encoded
from seqloom.sequence.space import Field, Units, Vectors

FURTHEST = 1e15
"""Deviations from the mean beyond which a value cannot be computed with."""
SHOWN = 100
"""Series of a file by which it is told whether dates are even."""


class Series(Codec, name="series"):
    """Columns of numbers, scaled to mean 0 and deviation 1 by the known cells of the training split.

    A value is a `Table`. An empty cell is a missing value; in a template it is a cell to be made. Columns that
    never change, or that have no known cell, have scale 1. Many series that differ from each other far more than the
    median one from its mean are scaled by a small one of them: else most would seem constant, where the changes of
    each are to be seen when it is read about its own mean. Columns whose changes grow with their level are read by
    their logarithm, made of asinh so that it is there for all numbers (Burbidge et al. 1988). Densities are in the
    data's own units: each known value costs the logarithm of the slope of all that besides.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".csv.gz", ".tsv", ".tsv.gz", *SUFFIXES)
    unit: ClassVar[str] = "value"
    divisible: ClassVar[bool] = True
    positions: ClassVar[str] = "rows"
    ends: ClassVar[bool] = False
    baselines: ClassVar[tuple[str, ...]] = (
        "mean",
        "persistence",
        "seasonal",
        "drift",
        "autoregression",
        "ets",
        "arima",
    )

    dialect: Dialect = Dialect()
    """How the table is written, where it is not told from the table itself."""
    columns: tuple[str, ...] = ()
    """The columns of numbers, in order; empty: all but the dates and `without`."""
    without: tuple[str, ...] = ()
    """Columns that are not of the series: conditions have them."""
    transform: Literal["auto", "none", "log"] = "auto"
    """What is read of numbers: `log` their logarithm, `none` what they are; `auto`: the logarithm of columns that are
    above zero and change more where they are greater."""
    sizes: tuple[float, ...] = ()
    """Of each column that is read by its logarithm the size below which that is a straight line; 0 of others."""
    means: tuple[float, ...] = ()
    """The mean of each, as it is read."""
    scales: tuple[float, ...] = ()
    """The standard deviation of each, as it is read."""
    integers: tuple[bool, ...] = ()
    """Whether each holds whole numbers alone: then what is made is rounded to them."""
    signed: tuple[bool, ...] = ()
    """Whether each may be below zero; of those that may not, what is made is not either."""
    positive: tuple[bool, ...] = ()
    """Whether all known cells of each are above zero."""
    decimals: tuple[int, ...] = ()
    """How many decimals the numbers of each have at most: what is made is written with no more."""
    binary: tuple[bool, ...] = ()
    """Whether each is 0 or 1, as yes and no are: then what is made is one of the two."""
    date: str = ""
    """The name of the column of dates, where there is one."""
    calendar: Calendar | None = None
    """How dates are written and how far apart they stand, where there are any."""
    series: tuple[str, ...] = ()
    """The columns that tell the series of a file apart, where it held several."""
    start: str = ""
    """The first date of the training split: where the dates of a sample from nothing begin."""
    written: Written = PLAIN
    """How the file is written, where it is a text: what is made is written so, too."""

    @model_validator(mode="after")
    def _lengths(self) -> Self:
        if len(self.means) != len(self.scales) or (self.means and len(self.means) != len(self.columns)):
            raise ValueError("columns, means and scales must be of one length")
        if any(scale <= 0 for scale in self.scales):
            raise ValueError("scales must be positive")
        if self.sizes and len(self.sizes) != len(self.means):
            raise ValueError("sizes and means must be of one length")
        return self

    def placed(self, origin: Mapping[str, Any], position: int) -> Mapping[str, Any]:
        if origin.get("dates") is None or self.calendar is None:
            return origin
        return {**origin, "dates": self.calendar.after(self.start, len(origin["dates"]), first=position)}

    def place(self, origin: Mapping[str, Any], position: int) -> str:
        template, dates = origin.get("template"), origin.get("dates")
        of = f" of series {shown(template.name)!r}" if template is not None and template.name else ""
        date = "" if dates is None or position >= len(dates) else f" ({shown(dates[position])})"
        return f"{super().place(origin, position)}{of}{date}"

    @property
    def fitted(self) -> bool:
        return bool(self.means)

    @property
    def space(self) -> Vectors:
        if not self.means:
            raise ConfigError("the columns are not known until the codec is fitted", path="codec.columns")
        return self._fields

    @cached_property
    def _fields(self) -> Vectors:
        told = (self.positive, self.signed, self.integers, self.binary)
        within = list(map(lying, *told)) or [()] * len(self.columns)
        units = zip(self.means, self.scales, self.sizes or (0.0,) * len(self.means), strict=True)
        columns = zip(self.columns, within, units, strict=True)
        return Vectors(
            fields=tuple(
                Field(name=name, within=sets, units=Units(mean=mean, scale=scale, size=size))
                for name, sets, (mean, scale, size) in columns
            )
        )

    @property
    def element(self) -> str:
        return self.date or "row"

    def position(self, value: Table, word: str) -> int:
        """The row of a date as the table writes it, or of the first that begins so; else as any codec counts."""
        row = value.row_of(word)
        if row is None and not re.fullmatch(r"-?\d{1,7}", word):
            dates = tuple(map(shown, value.dates or ()))
            between = f"its dates: {dates[0]} to {dates[-1]}" if dates else "it has no dates: give the number of a row"
            raise DataError(f"the table has no date {word!r}", hint=between)
        if row == 0:
            raise DataError(f"there is nothing before {word}", hint="name a later date: a forecast goes on from rows")
        return super().position(value, word) if row is None else row

    @property
    def seconds(self) -> float | None:
        return None if self.calendar is None else self.calendar.seconds

    @property
    def log_scales(self) -> NDArray[np.float64] | None:
        return None if self.sizes else np.log(self._scaling.scale)

    def log_slopes(self, x: NDArray[Any]) -> NDArray[np.float64]:
        return self._scaling.log_slopes(x)

    def fit(self, values: Iterable[Table]) -> Self:
        tables: list[Table] = []
        for table in values:
            if tables and set(table.columns) != set(tables[0].columns):
                odd = sorted(set(table.columns) ^ set(tables[0].columns))
                raise DataError(
                    f"column {odd[0]!r} is in one of this table and the first one, but not in the other",
                    hint="series of one corpus have the same columns; corpus.columns=[...] chooses some",
                )
            tables.append(table.reordered(tables[0].columns) if tables else table)
        if not tables:
            raise DataError("there are no series to learn the scale of")
        series = [table.values for table in tables]
        known = np.concatenate(series)
        if np.isnan(known).all():
            raise DataError(
                "no cell of the training split has a value",
                hint="give a table with numbers in it: nothing can be learned",
            )
        sizes = tuple(size_of([values[:, d] for values in series], self.transform) for d in range(known.shape[1]))
        means, scales = moments_of([as_read(values, np.array(sizes)) for values in series])
        first = tables[0]
        return self.replace(
            columns=first.columns,
            sizes=sizes if any(sizes) else (),
            means=means,
            scales=scales,
            integers=tuple(map(whole, known.T)),
            signed=tuple(map(signed, known.T)),
            positive=tuple(bool((column[~np.isnan(column)] > 0).all()) for column in known.T),
            decimals=tuple(map(decimals, known.T)),
            binary=tuple(map(binary, known.T)),
            date=first.date_column,
            calendar=first.calendar,
            start=first.dates[0] if first.dates else "",
            series=tuple(filter(None, first.series_column.split("\t"))),
            written=first.written,
        )

    def encode(self, value: Table) -> Encoded:
        self._check(value)
        known, scaling = ~np.isnan(value.values), self._scaling
        with np.errstate(over="ignore"):
            x = np.where(known, self.scaled(value.values), 0.0)
            far = known & (np.abs(value.values - scaling.middle) / scaling.deviation > FURTHEST)
        if far.any():
            row, column = np.argwhere(far)[0]
            place = f"row {value.begin + row + 1}" + (f" ({shown(value.dates[row])})" if value.dates else "")
            raise DataError(
                f"column {self.columns[column]!r} holds {value.values[row, column]:g} in {place}, too far from its "
                f"training mean {scaling.middle[column]:g} to compute with",
                hint="leave the cell empty if the value is a mistake",
            )
        origin = {"dates": value.dates, "date": value.date_column, "calendar": value.calendar}
        return Encoded(x.astype(np.float32), known, origin)

    def decode(self, encoded: Encoded) -> Table:
        """The series; nan where not known. Cells that a canvas showed are the template's own numbers."""
        origin, count = encoded.origin, len(encoded.x)
        template: Table | None = origin.get("template")
        own = np.zeros((0, encoded.x.shape[1])) if template is None else template.values[:count]
        whole = 0 if template is None else min(template.whole, count)
        made = self.unscaled(encoded.x[whole:])
        made[~encoded.known[whole:]] = np.nan
        if any(self.integers):
            made = np.where(self.integers, np.round(made), made)
        if not all(self.signed):
            made = np.where(self.signed, made, np.maximum(made, 0.0))
        if any(self.binary):
            made = np.where(self.binary, np.minimum(made, 1.0), made)
        made[: len(own) - whole] = np.where(np.isnan(own[whole:]), made[: len(own) - whole], own[whole:])
        values = np.concatenate([own[:whole], made])
        dates = origin.get("dates")
        dates = None if dates is None else dates[: len(values)]
        spelled = (dates, origin.get("date", ""), origin.get("calendar"))
        if template is None:
            return Table(self.columns, values, *spelled, written=self.written)
        sheet = None if template.sheet is None else template.sheet.part(0, len(values))
        return Table(
            self.columns,
            values,
            *spelled,
            sheet=sheet,
            written=template.written,
            name=template.name,
            series_column=template.series_column,
            wide=template.wide,
            words={name: template.words_of(name, len(values)) for name in template.words},
        )

    def scaled(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows (T,D) as they are read, in deviations from the mean of each column."""
        return self._scaling.scaled(values)

    def unscaled(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Rows (T,D) in their own units from what `scaled` makes of them."""
        return self._scaling.unscaled(x)

    @cached_property
    def _scaling(self) -> Scaling:
        return Scaling.of(self.means, self.scales, self.sizes)

    def canvas(
        self, template: Any, length: int | None = None, gap: int | None = None, blank: str | None = None
    ) -> Canvas:
        """A table whose empty cells are to be made, or, with `length`, one that goes on for so many rows.

        Of a history that goes on, empty cells are absent: the world does not have them.
        """
        if gap is not None or blank is not None:
            raise ConfigError("the gaps of a table are its empty cells", path="gap" if gap is not None else "blank")
        if length is not None and length < 1:
            raise ConfigError("at least one new row must be asked for", path="length")
        wide = len(self.space.fields)
        if template is None:
            if length is None:
                raise ConfigError("the number of rows is not given", path="length")
            dates = self.calendar.after(self.start, length, first=0) if self.calendar and self.start else None
            origin = {"dates": dates, "date": self.date, "calendar": self.calendar}
            empty = np.zeros((length, wide), bool)
            return Canvas(np.zeros((length, wide), np.float32), empty, empty.copy(), origin)
        encoded = self.encode(template)
        known = encoded.known
        self._check_steps(template)
        if length is None:
            if known.all():
                raise DataError("there is no gap to fill: every cell of the table has a value", hint="empty some cells")
            return Canvas(encoded.x, known, np.zeros_like(known), {**encoded.origin, "template": template})
        after = ((0, length), (0, 0))
        origin = {**encoded.origin, "template": template, "dates": self.continued(template, length).dates}
        return Canvas(np.pad(encoded.x, after), np.pad(known, after), np.pad(~known, after), origin)

    def count(self, value: Table) -> float:
        return float(np.count_nonzero(~np.isnan(value.values)))

    @classmethod
    def as_data(cls, thing: Any) -> bytes | None:
        return parquet_of(thing)

    def read(self, path: Path) -> Iterator[Table]:
        yield read_table(path, self._wanted())

    def probe(self, path: Path) -> bool:
        return has_numbers(path, self.dialect)

    def parts(self, path: Path) -> Mapping[str, Sequence[Table]]:
        """The series of a file that holds several."""
        tables = tuple(read_tables(path, self._wanted()).values())
        return {"": tables} if len(tables) > 1 else {}

    def column(self, content: Any, name: str) -> Sequence[str]:
        table = read_table(content, self._wanted(name)) if isinstance(content, Path) else content
        return table.words[name]

    def join(self, pieces: Sequence[Table]) -> Table:
        return joined(pieces)

    def cut(self, value: Table, begin: int, end: int) -> Table:
        return value.rows(begin, end)

    def accept(self, thing: Any) -> Any:
        """A table from a path, a frame, an Arrow table, a dict of columns, or an array (T,D) of its columns."""
        if isinstance(thing, str) and "\n" not in thing:
            thing = Path(thing)
        if isinstance(thing, np.ndarray | Sequence) and not isinstance(thing, str | bytes):
            return Table(self.columns, numbers_of(thing, self.columns))
        tables = self._in_frame(thing)
        if len(tables) > 1:
            raise DataError(f"the frame holds {len(tables):,} series, where one is wanted", hint="give one of them")
        value = super().accept(tables[0] if tables else thing)
        if value is not None:
            self._check_steps(value)
        return value

    def accept_several(self, thing: Any) -> list[Table]:
        if isinstance(thing, str) and "\n" not in thing:
            thing = Path(thing)
        values = self.several(thing) if isinstance(thing, Path) else self._in_frame(thing)
        for value in values:
            self._check_steps(value)
        return values or [self.accept(thing)]

    def _in_frame(self, thing: Any) -> list[Table]:
        """The series of a frame, an Arrow table or a dict of columns; none of anything else."""
        plain = thing is None or isinstance(thing, Table | str | Path | bytes | np.ndarray)
        frame = None if plain or (isinstance(thing, Sequence) and not isinstance(thing, Mapping)) else frame_of(thing)
        return [] if frame is None else list(tables_in(cells_of(frame), "", self._wanted()).values())

    def element_names(self, value: Table) -> list[str]:
        return list(map(shown, value.dates)) if value.dates else super().element_names(value)

    def as_json(self, value: Table) -> dict[str, Any]:
        return {"values": {name: value.values[:, i].tolist() for i, name in enumerate(value.columns)}}

    def numbers(self, value: Table) -> NDArray[np.float64]:
        return np.asarray(value.values, np.float64)

    def raw(self, content: Any, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The names of the columns and their numbers, however they are written."""
        for table in self.pieces(content, begin, end):
            plain = np.where(np.isnan(table.values), np.nan, table.values) + 0.0  # one nan and one zero
            yield json.dumps([table.columns, plain.shape]).encode()
            yield np.ascontiguousarray(plain).tobytes()

    def choosing(self, columns: Sequence[str], without: Sequence[str]) -> Self:
        if not self.fitted:
            return self.replace(columns=tuple(columns) or self.columns, without=tuple(without))
        if columns and tuple(columns) != self.columns:
            raise ConfigError(
                f"the model has the columns {', '.join(self.columns)}", path="corpus.columns", hint="leave it out"
            )
        return self

    def of_cells(self, name: str, cells: Sequence[str]) -> Table:
        return column_of_numbers(name, cells, self.dialect)

    def column_codec(self, content: Path, name: str) -> Codec | None:
        """Numbers, and words for yes and no, are read as a series is; DataError for one of numbers with other cells."""
        tables = read_tables(content, replace(self._wanted(name), columns=(), numbers=False)).values()
        cells = [cell for table in tables for cell in table.words[name]]
        odd = odd_cell(cells, self.dialect)
        if odd is None:
            return Series(dialect=self.dialect)
        if not mostly_numbers(cells):
            return None
        error = no_number(name, cells[odd])
        line = line_of(content, name, cells[odd], self.dialect)
        hint = f"{error.hint}; given.NAME.codec=label of this condition makes each of its cells a label"
        raise DataError(error.message, path=content, line=line, hint=hint)

    def words_of(self, value: Table, name: str) -> Sequence[str]:
        return value.words.get(name, ())

    def words_ahead(self, value: Table, length: int, future: Any, name: str) -> Sequence[str]:
        if name not in value.words:
            raise DataError(
                f"the table has no column {name!r}, which stood beside the rows that the model was trained on",
                hint="give a table that has it",
            )
        if not length:
            return value.words[name]
        found, dates = future_of(value, future, self._wanted, name), dates_ahead(value, length, self.calendar)
        cells = cells_ahead(found, dates, value, length, name, future)
        return (*value.words[name], *respelled(cells, value.words[name], self.dialect))

    def moments(self, value: Table) -> NDArray[np.int64] | None:
        return value.moments

    def waits(self, value: Table) -> NDArray[np.float64] | None:
        return value.waits

    def foreseen(self, value: Table, length: int, future: Any) -> Table:
        return foreseen(value, length, future, self._wanted)

    def accompanied(self, value: Table, length: int, future: Any) -> Table:
        if future is None or not value.words:
            return value
        found, dates = future_of(value, future, self._wanted), dates_ahead(value, length, self.calendar)
        return accompanied(value, found, dates, length, self.dialect)

    def continued(self, value: Table, length: int) -> Table:
        if not length:
            return value
        values = np.pad(value.values, ((0, length), (0, 0)), constant_values=np.nan)
        ahead = dates_ahead(value, length, self.calendar)
        dates = None if ahead is None else (*(value.dates or ()), *ahead)
        return Table(value.columns, values, dates, value.date_column, value.calendar)

    def offers(self, path: Path) -> Sequence[str]:
        """The time since the row before, where dates are not even."""
        return ("elapsed",) if any(map(uneven, self.several(path)[:SHOWN])) else ()

    def codec_of_numbers(self, names: Sequence[str]) -> Codec | None:
        return Series(columns=tuple(names))

    def of_numbers(self, rows: NDArray[np.float64]) -> Table:
        return Table(self.columns, rows)

    def number_names(self) -> list[str]:
        return list(self.columns)

    def read_ahead(self, future: Any) -> Any:
        return read_ahead(future, self._wanted())

    def facts(self, splits: Mapping[str, Iterable[Table]]) -> dict[str, Any]:
        return facts_of(splits, self.columns, self._scaling, self.date, self.calendar)

    def notes(self, splits: Mapping[str, Iterable[Table]]) -> list[str]:
        tables = {name: list(values) for name, values in splits.items()}
        every = [table for own in tables.values() for table in own]
        notes = [understood(every)] if every else []
        first = next((table for table in every if table.calendar), None)
        if first is not None and (otherwise := steps_otherwise(first, self.calendar)):
            notes.append(otherwise)
        if bent := [name for name, size in zip(self.columns, self.sizes, strict=False) if size]:
            notes.append(by_logarithm(bent, self.transform))
        return notes + oddities(every, tables.get("train", []), self.columns)

    def write(self, value: Table, path: Path) -> None:
        write_bytes(self.as_file(self.show(self.in_file(value, path.name)), path.name), path)

    def holds(self, name: str, count: int) -> bool:
        return name.endswith(self.suffixes)

    def in_file(self, value: Table, name: str) -> Table:
        return in_file(value, name, self.dialect)

    def as_file(self, shown: bytes, name: str) -> bytes:
        return as_file(shown, name)

    def typed(self, text: str) -> Table:
        if "\n" not in text and text.strip().endswith(self.suffixes):
            raise DataError("there is no such file", path=text.strip(), hint="see that the path is right")
        return table_of(text, "", self._wanted())

    def show(self, value: Table) -> bytes:
        return self.together([value])

    def together(self, values: Sequence[Table]) -> bytes:
        return text_of_tables(values, self._digits(values[0].columns)).encode("utf-8", "replace")

    def goes_on(self, before: Table, after: Table) -> bool:
        """By the dates; of series without dates by their name, unless the two begin with the same rows."""
        if before.name != after.name:
            return False
        if before.dates is None or after.dates is None:
            size = min(len(before), len(after))
            again = np.array_equal(before.values[:size], after.values[:size], equal_nan=True)
            return before.dates is after.dates and before.name != "" and not again
        if before.calendar is None or after.calendar is None or not len(after):
            return False
        (following,), first = dates_ahead(before, 1, self.calendar) or ("",), after.dates[0]
        return following == first or before.calendar.read(following) == after.calendar.read(first)

    def called(self, value: Table) -> str:
        return shown(value.name)

    def told_apart(self, value: Table) -> Mapping[str, str]:
        return dict(zip(value.series_column.split("\t"), value.name.split("\t"), strict=False)) if value.name else {}

    def remarks(self, value: Table) -> Sequence[str]:
        return value.remarks

    def examples(self) -> list[Table]:
        hours = Calendar(format="%Y-%m-%d %H:%M:%S", step=3600.0)
        rows = np.stack([np.sin(np.arange(24) / 4) * 30 + 5, np.full(24, 1e6), np.arange(24) * 1e-5], 1)
        rows[3, 0] = rows[5:9, 2] = np.nan
        dates = hours.after("2024-02-28 20:00:00", 24)
        whole = Table(("load", "constant", "drift"), rows, dates, "date", hours)
        return [whole, whole.rows(0, 1), whole.rows(4, 20)]

    def _wanted(self, *words: str) -> Wanted:
        """What is read of a table: columns that conditions have are read as words, not taken for numbers."""
        kept, perhaps = (words, self.without) if self.fitted else ((*self.without, *words), ())
        kept, perhaps = tuple(dict.fromkeys(kept)), tuple(name for name in perhaps if name not in kept)
        date = self.date if self.calendar else ""
        return Wanted(self.dialect, self.columns, kept, perhaps, date, self.calendar, series=self.series)

    def show_several(self, values: Sequence[Any], name: str) -> bytes:
        """One table, with a first column that counts them."""
        several = [value if isinstance(value, tuple) else (value,) for value in values]
        return numbered_text(several, name, self._digits(several[0][0].columns)).encode("utf-8", "replace")

    def summaries(self, likes: Sequence[Table], statistics: Sequence[Mapping[str, NDArray[np.float64]]]) -> bytes:
        """The time, and a column NAME_STATISTIC for each column and statistic."""
        names = list(statistics[0])
        columns = tuple(f"{column}_{name}" for column in self.columns for name in names)
        digits = [worth_writing(one) for one in self._scaling.deviation.tolist() for _ in names]
        tables = [
            replace(
                like,
                columns=columns,
                values=np.stack(list(own.values()), -1).reshape(len(like), -1),
                words={},
                written=like.written.of_statistics(self.columns, names),
            )
            for like, own in zip(likes, statistics, strict=True)
        ]
        return summary_of_tables(tables, names, dict(zip(columns, digits, strict=True))).encode()

    def picture(self, values: Sequence[Table], title: str = "", beside: Sequence[Table] = ()) -> bytes:
        numbers, others = ([value.values for value in several] for several in (values, beside))
        return numbers_plot(numbers, self.columns, title, others)

    def _check_steps(self, table: Table) -> None:
        if otherwise := steps_otherwise(table, self.calendar):
            raise DataError(otherwise, hint="bring the rows to the same step, or leave the dates out")

    def _check(self, value: Table) -> None:
        if not isinstance(value, Table):
            raise DataError("a table of numbers is wanted", hint="give a .csv file")
        if value.columns != self.columns:
            missing = [name for name in self.columns if name not in value.columns]
            difference = f"lacks column {missing[0]!r}" if missing else "has other columns than the model"
            raise DataError(f"the table {difference}", hint=f"the model's columns: {', '.join(self.columns)}")

    def _digits(self, columns: tuple[str, ...]) -> Mapping[str, int]:
        """Decimals worth writing of each column; what is made has no more than the numbers that were learned from."""
        worth = dict(zip(self.columns, map(worth_writing, self._scaling.deviation.tolist()), strict=True))
        most = dict(zip(self.columns, self.decimals, strict=False))
        most |= {name: 0 for name, whole in zip(self.columns, self.integers, strict=False) if whole}
        digits = {name: worth.get(name, worth_writing(1.0)) for name in columns}
        return {name: min(count, most.get(name, count)) for name, count in digits.items()}
