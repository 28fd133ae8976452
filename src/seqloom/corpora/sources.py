"""Where a condition comes from: a family of its own, written `given.NAME.source=SOURCE[:ARGUMENT]`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from seqloom.codecs.base import Codec
from seqloom.core.config import Component, member, members_of, nearest, nearest_first
from seqloom.core.content import ENCODINGS
from seqloom.core.errors import ConfigError, DataError
from seqloom.corpora.base import Given, Item, sources_of
from seqloom.corpora.cycles import phases, suited


class Source(Component, home="seqloom.corpora"):
    """Where the condition beside a thing comes from."""

    usual: ClassVar[Mapping[str, Any]] = {}
    """Settings of a condition that comes from here, where nothing else is said."""

    asks: ClassVar[bool] = False
    """What it gives is looked for by the other texts that are given, so that nobody has to give it."""

    argument: str = ""
    """What follows the colon."""

    def among(self, others: Mapping[str, tuple[Source, Codec]]) -> Self:
        """The source as it is beside other texts: by name where each comes from, and what reads it."""
        return self

    def found(self, texts: Mapping[str, str], own: str = "") -> str | None:
        """Of a source that `asks`: what goes with the other texts, by name, of a thing whose text is `own`; or None."""
        return None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a table that it takes, so that they are not modelled."""
        return ()

    @property
    def written(self) -> str:
        """As a setting has it."""
        return f"{self.name}:{self.argument}" if self.argument else self.name

    def codec(self, codec: Codec, path: Path) -> Codec | None:
        """How what stands beside each element becomes numbers, for things as in this file that `codec` reads.

        None: as words do.
        """
        return None

    def place(self, item: Item) -> Path | None:
        """The file in which it stands beside a thing."""
        return item.path

    @abstractmethod
    def value(self, item: Item, codec: Codec, *, aligned: bool) -> Any:
        """The condition beside a thing as a value of its codec, one element a position where `aligned`; None: null."""

    def beside(self, name: str, item: Item, codec: Codec, *, aligned: bool) -> Any:
        """Its value; what is wrong with it is said under the condition's name, with the file and the line."""
        try:
            return self.value(item, codec, aligned=aligned)
        except ConfigError as error:
            raise error.under(f"given.{name}") from None
        except DataError as error:
            if error.path or item.path is None:
                raise
            message = f"condition {name!r}: {error.message}"
            own = f"given.{name}.codec.encoding=latin-1"
            hint = f"{error.hint}; of the condition alone {own}" if error.hint == ENCODINGS else error.hint
            raise DataError(message, path=self.place(item) or "", line=item.line, hint=hint) from None

    def ahead(self, history: Any, length: int, future: Any, codec: Codec, condition: Codec, *, aligned: bool) -> Any:
        """The condition of a value, and where `aligned` of the `length` elements that are to follow; None: null."""
        return None


class Folder(Source, name="folder"):
    """The name of the folder that a file lies in."""

    def value(self, item: Item, codec: Codec, *, aligned: bool) -> Any:
        if item.path is None:
            raise ConfigError("these data lie in no folder", path="source", hint="source=folder is for files")
        return codec.typed(item.path.absolute().parent.name)


class Column(Source, name="column"):
    """A cell of the thing's own row in a table of pairs, or a column of a table that is a series.

    Of a series it is a word that is the same in all rows, or with `enters=align` an element for each row.
    """

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.argument,)

    def codec(self, codec: Codec, path: Path) -> Codec | None:
        return codec.column_codec(path, self.argument)

    def value(self, item: Item, codec: Codec, *, aligned: bool) -> Any:
        name = self.argument
        if item.cells is not None:
            if name not in item.cells:
                hint = nearest_first(name, item.cells) if item.cells else "no other column is there"
                raise DataError(f"there is no column {name!r}", hint=hint)
            return codec.value_of(item.cells[name]) if item.cells[name].strip() else None
        if item.codec is None:
            raise ConfigError("these data have no columns", path="source", hint="source=column:NAME is for tables")
        cells = item.codec.column(item.content, name)
        if aligned:
            return codec.of_cells(name, cells)
        first = next((cell for cell in cells if cell), "")
        for i, cell in enumerate(cells):
            if cell not in {"", first}:
                raise DataError(
                    f"column {name!r} changes from {first!r} to {cell!r} within one series",
                    path=item.path or "",
                    line=i + 2,
                    hint="a label holds for a whole file: make one file of each series, or say enters=align",
                )
        if not first:
            raise DataError(
                f"column {name!r} is empty", path=item.path or "", hint="give each series its label, in every row"
            )
        return codec.typed(first)

    def ahead(self, history: Any, length: int, future: Any, codec: Codec, condition: Codec, *, aligned: bool) -> Any:
        name = self.argument
        if aligned:
            try:
                words = codec.words_ahead(history, length, future, name)
            except ConfigError:  # what has columns in training has none by itself: a text of a table of texts
                return None
            if length:
                dates = codec.element_names(codec.continued(history, length))[-length:]
                _check_cells(name, words[-length:], dates, condition, future if isinstance(future, Path | str) else "")
            return condition.of_cells(name, words)
        word = next((cell for cell in codec.words_of(history, name) if cell), "")
        return condition.typed(word) if word else None


def _check_cells(name: str, cells: Sequence[str], dates: Sequence[str], condition: Codec, path: Path | str) -> None:
    """DataError with the file and the date of the first cell that a condition cannot be made of."""
    try:
        condition.encode(condition.of_cells(name, cells))
    except DataError:
        for cell, date in zip(cells, dates, strict=True):
            try:
                condition.encode(condition.of_cells(name, [cell]))
            except DataError as error:
                what = f"column {name!r} holds {cell[:40]!r} in {date}, which cannot be used"
                raise DataError(what, path=path, hint=error.hint if condition.choices else "mend the cell") from None
        raise


class Length(Source, name="length"):
    """How many characters a text has, or positions another thing, as a number."""

    usual: ClassVar[Mapping[str, Any]] = {"codec": "number"}

    def value(self, item: Item, codec: Codec, *, aligned: bool) -> Any:
        size = len(item.content) if item.codec is None else item.codec.extent(item.content)
        return codec.typed(str(size))


class Dated(Source):
    """What follows from the dates of a table alone, and so is known however far ahead."""

    def value(self, item: Item, codec: Codec, *, aligned: bool) -> Any:
        if item.codec is None:
            raise _undated(self.name)
        return self._beside(item.codec.value_of(item.content), item.codec, codec)

    def ahead(self, history: Any, length: int, future: Any, codec: Codec, condition: Codec, *, aligned: bool) -> Any:
        return self._beside(codec.continued(history, length), codec, condition)

    @abstractmethod
    def _beside(self, value: Any, codec: Codec, condition: Codec) -> Any:
        """What stands beside the rows of a value."""


class CalendarCycles(Dated, name="calendar"):
    """Where in the day, the week, the year each row stands, by its date: known however far ahead.

    `calendar:week,year` takes these alone of hour, day, week, month, year and length (days of the month). Else those
    are taken that the rows are a part of and that the data hold a few times, the length where rows are months.
    """

    usual: ClassVar[Mapping[str, Any]] = {"enters": "align", "drop": 0.0}

    def codec(self, codec: Codec, path: Path) -> Codec | None:
        moments = [own for value in codec.several(path) if (own := codec.moments(value)) is not None]
        if not moments:
            raise _undated(self.name)
        wanted = [name.strip() for name in self.argument.split(",")] if self.argument else []
        names = suited(moments, wanted)
        if not names:
            raise ConfigError(
                "no cycle of the calendar comes round a few times in these data",
                path="source",
                hint="leave it out, or name some: source=calendar:week,year",
            )
        return codec.codec_of_numbers(names)

    def _beside(self, value: Any, codec: Codec, condition: Codec) -> Any:
        moments = codec.moments(value)
        if moments is None:
            raise _undated(self.name)
        return condition.of_numbers(phases(moments, condition.number_names()))


class Elapsed(Dated, name="elapsed"):
    """How long after the row before each row is, as a logarithm: of rows that are not evenly spaced."""

    usual: ClassVar[Mapping[str, Any]] = {"enters": "align", "drop": 0.0}

    def codec(self, codec: Codec, path: Path) -> Codec | None:
        return codec.codec_of_numbers([self.name])

    def _beside(self, value: Any, codec: Codec, condition: Codec) -> Any:
        waits = codec.waits(value)
        if waits is None:
            raise _undated(self.name)
        return condition.of_numbers(np.log(waits)[:, None])


def _undated(name: str) -> DataError:
    return DataError(f"the rows have no dates, which source={name} goes by", hint="give a table with a column of dates")


class Pair(Source, name="pair"):
    """What the corpus itself gives beside each thing: the other file of two, the question of a toy."""

    def place(self, item: Item) -> Path | None:
        return item.pair_path or item.path

    def value(self, item: Item, codec: Codec, *, aligned: bool) -> Any:
        if item.pair is None:
            raise ConfigError(
                "these data give nothing beside their things",
                path="source",
                hint="lines of another file do: corpus.source=FILE",
            )
        return None if isinstance(item.pair, str) and not item.pair.strip() else codec.value_of(item.pair)


def checked(each: Iterable[Item | DataError], codec: Codec, given: Mapping[str, Given]) -> Iterator[Item | DataError]:
    """Things as the codec takes them, with what stands beside them; in place of each that is bad what is wrong."""
    sources = {name: source for name, source in sources_of(given).items() if not source.asks}
    for item in each:
        if isinstance(item, Item):
            try:
                codec.accept(item.content)
                for name, source in sources.items():
                    beside = given[name].codec
                    if beside is not None:
                        source.beside(name, item, beside, aligned=given[name].aligned)
            except DataError as error:
                item = error if error.path else error.at(item.path or "", item.line)
        yield item


def source_of(text: str) -> Source:
    """The source that a setting names; a ConfigError says which there are."""
    name, _, argument = text.partition(":")
    known = members_of(Source)
    if not name:
        raise ConfigError("where does it come from?", path="source", hint=f"one of: {', '.join(known)}")
    if name in known:
        source: Source = known[name].parse({"argument": argument} if argument else {})  # type: ignore[assignment]
        if name == "column" and not argument:
            raise ConfigError("which column?", path="source", hint="source=column:NAME")
        return source
    try:
        return member(Source, text, "source")()  # type: ignore[type-abstract]
    except ConfigError as error:
        raise ConfigError(f"there is no source {text!r}", path="source", hint=nearest(name, known)) from error
