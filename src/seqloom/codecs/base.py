"""Codec: turns one thing a person can open into one sequence, and back."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from seqloom.core.config import Component, make
from seqloom.core.content import UTF8, decoded, raw, write_bytes
from seqloom.core.errors import ConfigError, DataError
from seqloom.core.rng import Rng
from seqloom.sequence.canvas import Canvas, Encoded
from seqloom.sequence.space import Measure, Space, Tokens
from seqloom.sequence.stop import Stop, SymbolStop


class Codec(Component, home="seqloom.codecs"):
    """How one kind of thing becomes numbers and comes back. Never sees a network.

    A fitted codec is the same record with its learned fields (alphabet, scale) filled in, so saving it is saving its
    fields. A *value* is the thing in memory: a `str`, `bytes`, or a table of numbers.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    unit: ClassVar[str] = "element"
    """Likelihood is reported per unit: "byte", "value"."""
    bits: ClassVar[bool] = False
    """Likelihoods are shown in bits a unit, rather than in nats."""
    divisible: ClassVar[bool] = False
    """One thing can be cut between splits, at the positions that `extent` counts; else things are shared out."""
    positions: ClassVar[str] = "elements"
    """What `extent` counts, in a word for people."""
    ends: ClassVar[bool] = True
    """A file in a folder of them begins and ends by itself; a stretch of a series does neither."""
    alone: ClassVar[int | None] = None
    """How many elements a value has beside which nothing is aligned; None: any number, and an end says how many."""
    mends: ClassVar[bool] = False
    """Byte-order marks and the line ends CR LF are read as plain ones."""
    progressive: ClassVar[bool] = False
    """A half-made value can be printed as it grows."""
    enters: ClassVar[Literal["add", "align", "attend"]] = "attend"
    """Where a condition of this kind enters a network by default."""
    fallback: ClassVar[str] = ""
    """The codec that is tried where `fit` finds this one Unsuited, and nobody asked for it by name."""
    coarser: ClassVar[str] = ""
    """The codec of longer symbols that is taken where `wants_coarser`, and nobody asked for this one by name."""
    rank: ClassVar[int] = 0
    """Of several codecs that read files of one suffix the highest is taken by default; below 0 never."""
    reads_anything: ClassVar[bool] = False
    """A file whose suffix no codec has is tried with this one."""
    baselines: ClassVar[tuple[str, ...]] = ()
    """Names of the baselines that a model of such data should beat."""

    @property
    def fitted(self) -> bool:
        """Whether its learned fields are filled in; a codec that learns nothing always is."""
        return True

    @property
    def learned_elsewhere(self) -> str:
        """A digest of what fitting takes from elsewhere than the training split; nothing where it takes nothing."""
        return ""

    @property
    def never(self) -> tuple[int, ...]:
        """Symbols that are never sampled: they stand for what the codec cannot write."""
        return ()

    @property
    def one_line(self) -> bool:
        """No value has a second line, so that several can be written as a line each."""
        return False

    @property
    def ambiguous(self) -> bool:
        """A value can be encoded in several ways: the likelihood of one of them is a bound on the value's own."""
        return False

    @property
    def choices(self) -> tuple[str, ...]:
        """What an element may be, where that is a list of names: labels. None where it is something else."""
        return ()

    @property
    def ends_of_turn(self) -> tuple[str, ...]:
        """What ends a turn, as texts to stop at, where a value is a conversation; none where it is something else."""
        return ()

    @property
    def unheard(self) -> tuple[str, ...]:
        """Roles of a conversation whose turns training never saw, as far as is known."""
        return ()

    @property
    def log_scales(self) -> NDArray[np.float64] | None:
        """Nats that one known value of each channel (D,) costs beyond its scaled density.

        None where that depends on the value, and for tokens.
        """
        return None

    def log_slopes(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Nats that each of these numbers (N,D), as they are encoded, costs beyond its scaled density."""
        return np.zeros(x.shape) if self.log_scales is None else np.broadcast_to(self.log_scales, x.shape)

    @property
    @abstractmethod
    def space(self) -> Space:
        """What one element is; a ConfigError where the codec must be fitted first."""

    def fit(self, values: Iterable[Any]) -> Self:
        """A copy with its learned fields filled in, from the training split; values may be pieces of one thing."""
        return self

    def wants_coarser(self, values: Iterable[Any]) -> bool:
        """Whether the training split, values of which may be pieces of one thing, is modelled better by `coarser`."""
        return False

    def for_more(self) -> Codec | None:
        """What reads other data for weights that were trained with this one; None: whatever suits the data."""
        return None

    @abstractmethod
    def encode(self, value: Any) -> Encoded:
        """The value as numbers."""

    @abstractmethod
    def decode(self, encoded: Encoded) -> Any:
        """The value of these numbers, in its own units; elements that are not known become missing."""

    def canvas(
        self, template: Any, length: int | None = None, gap: int | None = None, blank: str | None = None
    ) -> Canvas:
        """A template with gaps as cells to be made; `length` asks for that many new elements at its end.

        A template of None is an empty one. `gap` makes every gap that long; `blank` changes how a gap is written.
        Unless a codec says how a gap is written, there are none, and a template can only go on.
        """
        if gap is not None or blank is not None:
            path = "gap" if gap is not None else "blank"
            raise ConfigError(f"codec={self.name} has no way to write a gap", path=path, hint="leave it out")
        if length is None and template is not None:
            raise DataError(f"codec={self.name} has no way to write a gap", hint="extend goes on with a beginning")
        if length is None or length < 1:
            raise ConfigError("at least one new element must be asked for", path="length")
        if template is None:
            space = self.space
            empty = np.zeros((length,) if isinstance(space, Tokens) else (length, space.dim), bool)
            return Canvas(empty.astype(np.int64 if space.symbolic else np.float32), empty, empty.copy())
        encoded = self.encode(template)
        after = ((0, length), *[(0, 0)] * (encoded.x.ndim - 1))
        known = np.pad(encoded.known, after)
        absent = np.pad(~encoded.known, after)
        return Canvas(np.pad(encoded.x, after), known, absent, encoded.origin)

    def stop(self, value: Any, canvas: Canvas) -> Stop:
        """What ends a sample of a canvas where this value comes up; DataError where there are no symbols for it."""
        self.check(value)
        return SymbolStop(tuple(self.encode(value).x.tolist()))

    def matching(self, pattern: re.Pattern[str]) -> list[int]:
        """The symbols that stand for what matches a pattern."""
        return [symbol for symbol, name in enumerate(self.symbols()) if pattern.fullmatch(name)]

    def written_anew(
        self, rows: Sequence[NDArray[np.int64]], rng: Rng, share: float
    ) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
        """Each row of symbols written by others at random, and of which of its symbols each of these is a part.

        `rng` has one key a row, and `share` says how far from the usual way; ConfigError where there is only one way.
        """
        raise ConfigError(
            f"codec={self.name} can write a value in one way only", path="feed.augment", hint="codec=bpe has many"
        )

    def count(self, value: Any) -> float:
        """Units in a value."""
        return float(self.size(value))

    @property
    def written_in(self) -> str:
        """The encoding of text in its files."""
        return UTF8

    @property
    def loses(self) -> str:
        """What of a value is not in its numbers, in words, so that their likelihood is not that of the value."""
        return ""

    def extra_nats(self, value: Any) -> float:
        """Nats that `value` costs beyond its elements: unknown characters in bytes, or the log-volume of scaling."""
        if self.space.symbolic:
            return 0.0
        encoded = self.encode(value)
        return float((encoded.known * self.log_slopes(encoded.x)).sum())

    def read(self, path: Path) -> Iterator[Any]:
        """The values in a file, in pieces where it is large; DataError where it cannot be read."""
        yield self.typed("".join(decoded(raw(path), path)))

    def whole(self, path: Path) -> Any:
        """What a file holds, as one value; DataError where it is empty."""
        pieces = list(self.read(path))
        if not pieces:
            raise DataError("the file is empty", path=path)
        return self.join(pieces)

    def only(self, path: Path) -> Any:
        """The one thing that a file holds, as a value; DataError where it holds many."""
        parts = [part for part in self.parts(path).values() if len(part)]
        count = sum(map(len, parts))
        if count > 1:
            raise DataError(
                f"the file holds {count:,} things, where one is wanted",
                path=path,
                hint="give one of them as a file; `seqloom evaluate RUN FILE` scores them all",
            )
        return parts[0][0] if parts else self.whole(path)

    @classmethod
    def as_data(cls, thing: Any) -> bytes | None:
        """A frame of a Python program as a Parquet file, where values of this kind lie in frames; else None."""
        return None

    def several(self, path: Path) -> list[Any]:
        """All things that a file holds, as values."""
        return [value for part in self.parts(path).values() for value in part] or [self.whole(path)]

    def remarks(self, value: Any) -> Sequence[str]:
        """What was understood of a value's file that is not plain from it, in words."""
        return ()

    def goes_on(self, before: Any, after: Any) -> bool:
        """Whether a value begins where another ends, so that the two are one: the next day of a series, for one."""
        return False

    def tried(self, path: Path) -> Iterator[Any]:
        """All things that a file holds, and in place of each that is bad what is wrong with it, a DataError."""
        return iter(self.several(path))

    def called(self, value: Any) -> str:
        """What tells a value from the others of its file; nothing where it is alone."""
        return ""

    def told_apart(self, value: Any) -> Mapping[str, str]:
        """By which columns a value is told from the others of its file, and what they hold."""
        return {}

    def write(self, value: Any, path: Path) -> None:
        """A value into a file that `read` reads."""
        shown = self.show(value)
        write_bytes(shown if shown.endswith(b"\n") else shown + b"\n", path)

    def holds(self, name: str, count: int) -> bool:
        """Whether one file of this name can hold so many values, as `as_file` writes it."""
        ends = tuple(first + packed for first in self.suffixes[:1] for packed in ("", ".gz", ".zst"))
        return name.endswith(ends) and (count == 1 or self.space.symbolic)

    def in_file(self, value: Any, name: str) -> Any:
        """A value as it is shown for a file of this name: without what this kind has no place for."""
        return value

    def as_file(self, shown: bytes, name: str) -> bytes:
        """What `show` and its like give, as a file of this name has it."""
        return shown

    @abstractmethod
    def typed(self, text: str) -> Any:
        """A value from what a person typed."""

    def check(self, value: Any) -> None:
        """DataError where a value that a person gives holds what this codec has no number for."""
        return

    @abstractmethod
    def show(self, value: Any) -> bytes:
        """A value as bytes for standard output."""

    def as_text(self, value: Any) -> str:
        """A value as the text that people read."""
        return self.show(value).decode("utf-8", "replace")

    def as_json(self, value: Any) -> dict[str, Any]:
        """A value as JSON has it: `{"text": ...}`, `{"values": {...}}`."""
        return {"text": self.as_text(value)}

    @abstractmethod
    def examples(self) -> list[Any]:
        """A few values for tests and help: every codec must give them back from their numbers."""

    def placed(self, origin: Mapping[str, Any], position: int) -> Mapping[str, Any]:
        """The origin of an empty canvas, as of one that begins at this position of the training data."""
        return origin

    def place(self, origin: Mapping[str, Any], position: int) -> str:
        """How a person finds the element at this position of what a canvas is made of."""
        return f"number {position + 1}"

    @property
    def opening(self) -> Any | None:
        """What stands before a beginning inside one long thing, as a value; None where there is no such mark."""
        return None

    def accept(self, thing: Any) -> Any:
        """A value from what a Python program has: a value, a path, or what a person could type.

        DataError where it is something else.
        """
        if thing is None or isinstance(thing, Path | str):
            return None if thing is None else self.value_of(thing)
        kind = type(self.examples()[0])
        if not isinstance(thing, kind):
            raise DataError(
                f"codec={self.name} reads no {type(thing).__name__}",
                hint=f"give a {kind.__name__}, or the pathlib.Path of a file",
            )
        return thing

    def accept_several(self, thing: Any) -> list[Any]:
        """The same, of what may hold several of them."""
        return self.several(thing) if isinstance(thing, Path) else [self.accept(thing)]

    # --- values, as others handle them ------------------------------------------------------------------------

    def size(self, value: Any) -> int:
        """Elements of a value."""
        return len(value)

    def cut(self, value: Any, begin: int, end: int) -> Any:
        """The elements `begin` to `end` of a value, as a value."""
        return value[begin:end]

    def join(self, pieces: Sequence[Any]) -> Any:
        """One value of pieces that follow each other; DataError where that cannot be."""
        if len(pieces) != 1:
            raise DataError(f"{len(pieces)} things where one is wanted", hint=f"{self.name} cannot join several")
        return pieces[0]

    def rows(self, value: Any) -> list[Any]:
        """The values of the sequences that a value is made of: channels or voices that share the weights.

        Of None, which is nothing yet, as many times None as a sample has sequences.
        """
        return [value]

    def merge(self, values: Sequence[Any]) -> Any:
        """The one value of the sequences that `rows` gives."""
        (value,) = values
        return value

    def element_names(self, value: Any) -> list[str]:
        """What each element is called, for a person."""
        return [str(i) for i in range(1, self.size(value) + 1)]

    def picture(self, values: Sequence[Any], title: str = "", beside: Sequence[Any] = ()) -> bytes | None:
        """Values as one PNG, where people would rather look at them; None where they would read.

        Pictures that are looked at `beside` each other, of these values, have the same axes.
        """
        return None

    def numbers(self, value: Any) -> NDArray[np.float64] | None:
        """The numbers (T,D) of a value where their means and quantiles say something, nan where missing; else None."""
        return None

    @property
    def numeric(self) -> bool:
        """Whether values have `numbers`: forecasts of such, and only of such, have means and quantiles."""
        return self.numbers(self.examples()[0]) is not None

    def number_names(self) -> list[str]:
        """What each column of `numbers` is called."""
        space = self.space
        if isinstance(space, Tokens):
            return [self.unit]
        widths = [(field.name, field.width) for field in space.fields]
        return [name if width == 1 else f"{name}_{i}" for name, width in widths for i in range(1, width + 1)]

    # --- the things that values come from ---------------------------------------------------------------------

    def extent(self, content: Any) -> int:
        """At how many positions raw content can be divided: bytes of a text, rows of a table.

        Content is a file, what somebody typed (a string), or a value.
        """
        return self.size(self.value_of(content))

    def pieces(self, content: Any, begin: int = 0, end: int | None = None) -> Iterator[Any]:
        """The values of raw content from position `begin` to `end` (None: the rest), in pieces where it is large."""
        value = self.value_of(content)
        yield value if begin == 0 and end is None else self.cut(value, begin, self.size(value) if end is None else end)

    def raw(self, content: Any, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes of the content between these positions, which its fingerprint is the hash of."""
        for value in self.pieces(content, begin, end):
            yield self.show(value)

    def parts(self, path: Path) -> Mapping[str, Sequence[Any]]:
        """The things in a file that holds many, by the name of the split they belong to ("" where none is given).

        Nothing where a file is one thing. The sequences may read as they are asked.
        """
        return {}

    def probe(self, path: Path) -> bool:
        """Whether a file with one of the suffixes looks like one of this codec's."""
        return True

    def good_parts(self, path: Path) -> tuple[Mapping[str, Sequence[Any]], Sequence[DataError]]:
        """The `parts` of a file without the things in it that cannot be read, and what is wrong with these."""
        return self.parts(path), ()

    def column(self, content: Any, name: str) -> Sequence[str]:
        """The cells of a column of raw content, one an element, which a condition may ask for."""
        raise ConfigError("these data have no columns", path="source", hint="source=column:NAME is for tables")

    def column_codec(self, content: Path, name: str) -> Codec | None:
        """The codec of a column of a file as a condition beside its elements; None: that of words."""
        return None

    def field_codec(self, content: Path, name: str) -> Codec | None:
        """The codec of a field that stands beside each whole thing of a file; None: that of words."""
        return None

    def words_of(self, value: Any, name: str) -> Sequence[str]:
        """The cells of a column that a value has beside its numbers, one an element; none where it has no such one."""
        return ()

    def words_ahead(self, value: Any, length: int, future: Any, name: str) -> Sequence[str]:
        """The cells of a column for a value and the `length` elements after it, which `future` holds.

        `future` is a file, or what `accept` takes. DataError names the element and the column that it lacks.
        """
        raise ConfigError("these data have no columns", path="future", hint="tables have")

    def read_ahead(self, future: Any) -> Any:
        """The `future` of several values in a form that is quick to ask of each: what is read of it is read once."""
        return future

    def moments(self, value: Any) -> NDArray[np.int64] | None:
        """When each element was, in microseconds since 1970 on the clock of its place; None where that is not known."""
        return None

    def waits(self, value: Any) -> NDArray[np.float64] | None:
        """The time from the element before to each, nan for the first; None where times are not known."""
        return None

    def foreseen(self, value: Any, length: int, future: Any) -> Any:
        """A value that knows when the `length` elements after it are, where it does not follow from those before."""
        return value

    def accompanied(self, value: Any, length: int, future: Any) -> Any:
        """A value that knows what stands beside the `length` elements after it, so that it is written with them."""
        return value

    def continued(self, value: Any, length: int) -> Any:
        """A value with `length` elements after it of which nothing is known but when they are."""
        return value

    def offers(self, path: Path) -> Sequence[str]:
        """The sources of conditions that a file brings with it where nothing else is said."""
        return ()

    def codec_of_numbers(self, names: Sequence[str]) -> Codec | None:
        """The codec of a condition of so many numbers, beside each element or the whole; None: there is none."""
        return None

    def of_numbers(self, rows: NDArray[np.float64]) -> Any:
        """The value of a condition whose `numbers` (T,D) these are."""
        raise ConfigError(f"codec={self.name} is none of numbers", path="codec", hint="leave it out")

    def choosing(self, columns: Sequence[str], without: Sequence[str]) -> Self:
        """A copy that reads these columns of a table (none: all), and not those that conditions have."""
        if columns or without:
            raise ConfigError(f"codec={self.name} reads no columns", path="corpus.columns", hint="codec=series does")
        return self

    def of_cells(self, name: str, cells: Sequence[str]) -> Any:
        """The value of a column of cells, one element a cell: an aligned condition."""
        return self.join([self.typed(cell) for cell in cells])

    def facts(self, splits: Mapping[str, Iterable[Any]]) -> dict[str, Any]:
        """What `seqloom data` says of values like these; each iteration reads the values of a split anew."""
        return {}

    def notes(self, splits: Mapping[str, Iterable[Any]]) -> list[str]:
        """What was guessed, and what is odd about these values, in words."""
        return []

    def symbols(self) -> list[str]:
        """What each symbol stands for, so that weights find it in another alphabet; none for vectors."""
        return [str(symbol) for symbol in range(self.space.size)] if isinstance(self.space, Tokens) else []

    @property
    def element(self) -> str:
        """What one element is called, as the name of a column of `element_names`."""
        return "element"

    def position(self, value: Any, word: str) -> int:
        """The position of the element that a person names: its number from 1 on, or how many from the end (-24).

        DataError where there is none, or nothing before it.
        """
        size = self.size(value)
        if not re.fullmatch(r"-?\d{1,15}", word):
            raise DataError(
                f"{word!r} is no number of an element", hint=f"1 to {size + 1:,}, or -24 for 24 from the end"
            )
        number = int(word)
        place = size + number if number < 0 else number - 1
        if not 0 < place <= size:
            raise DataError(
                f"element {number:,} has nothing before it, or is beyond the end",
                hint=f"there are {size:,}: 2 to {size + 1:,}, or -24 for 24 from the end",
            )
        return place

    @property
    def seconds(self) -> float | None:
        """Seconds from one element to the next; None where that is not known."""
        return None

    @property
    def measure(self) -> Measure:
        """Whether a likelihood is a probability or a density."""
        return self.space.measure

    def value_of(self, content: Any) -> Any:
        """The value that raw content is."""
        if isinstance(content, Path):
            return self.only(content)
        return self.typed(content) if isinstance(content, str) else content

    # --- several values, and what is known of them ------------------------------------------------------------

    def show_several(self, values: Sequence[Any], name: str) -> bytes:
        """Several values as bytes for standard output; `name` is what each is called, such as "sample"."""
        return b"\n".join(shown if shown.endswith(b"\n") else shown + b"\n" for shown in map(self.show, values))

    def together(self, values: Sequence[Any]) -> bytes:
        """The values of one file as it has them, as bytes."""
        return b"\n".join(map(self.show, values))

    def summaries(self, likes: Sequence[Any], statistics: Sequence[Mapping[str, NDArray[np.float64]]]) -> bytes:
        """Statistics (T,D) of the `numbers` of many values like each of these, as tables: NAME_STATISTIC by element."""
        columns, tables = self.number_names(), []
        for like, own in zip(likes, statistics, strict=True):
            lines = [",".join(["element", *(f"{column}_{name}" for column in columns for name in own)])]
            for i, element in enumerate(self.element_names(like)):
                cells = [array[i, d] for d in range(len(columns)) for array in own.values()]
                lines.append(",".join([element, *(f"{cell:.6g}" for cell in cells)]))
            tables.append("".join(f"{line}\n" for line in lines))
        return "\n".join(tables).encode()


class Unsuited(DataError):
    """The data can be read, but not by this codec."""


def fitted_unnamed(codec: Codec, values: Callable[[Codec], Iterable[Any]]) -> tuple[Codec, list[str]]:
    """What reads data for which nobody named a codec, fitted, and why it is another one than `codec` if it is.

    `values` gives the training split, as often as it is asked, as a codec reads it.
    """
    if codec.coarser and codec.wants_coarser(values(codec)):
        other: Codec = make(Codec, codec.coarser)  # type: ignore[type-abstract]
        reason = f"there is enough text to read it by codec={other.name}; codec={codec.name} can be asked for"
        return other.fit(values(other)), [reason]
    try:
        return codec.fit(values(codec)), []
    except Unsuited as error:
        if not codec.fallback:
            raise
        other = make(Codec, codec.fallback)  # type: ignore[type-abstract]
        return other.fit(values(other)), [f"{error.message}: it is read as {other.name} ({error.hint})"]


def check_name(word: Any) -> Any:
    """What a setting has for a codec as it stands; ConfigError where it is the name of a tokenizer's file."""
    if isinstance(word, str) and word.endswith(".json"):
        hint = f"codec.name=bpe codec.pretrained={word}"
        raise ConfigError(f"{word!r} is no codec, and a tokenizer is one of bpe or unigram", path="codec", hint=hint)
    return word
