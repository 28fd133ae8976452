"""Corpus: the things themselves, where they are, their splits and a fingerprint; and what training reads of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits
from pydantic import field_validator, model_validator

from seqloom.codecs.base import Codec, check_name
from seqloom.core.config import Component, Settings, merge, over
from seqloom.core.content import UTF8, is_utf8
from seqloom.core.errors import ConfigError, DataError
from seqloom.core.foreign import code_of
from seqloom.corpora.readers import codec_of_words
from seqloom.sequence.canvas import Encoded
from seqloom.sequence.facts import Advice

if TYPE_CHECKING:
    from seqloom.corpora.division import Division
    from seqloom.corpora.sources import Source

SPLITS = ("train", "valid", "test")
LOOKED_AT = 1000
"""Things by which it is told whether what is wrong with one is wrong with all."""
Shares = tuple[float, float, float]
T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One thing of a corpus: a name, what it holds, and where the conditions beside it come from."""

    name: str
    """What says which split it belongs to, where things are shared out."""
    content: Any
    """A file that is read in pieces, text as somebody typed it (a string), or a value of the codec."""
    digest: str = ""
    """A SHA-256 of its raw content, in hexadecimal; nothing: computed from what the codec reads of it."""
    split: str = ""
    """The split that it belongs to beforehand; nothing where it is to be split."""
    context: int = 0
    """So many positions at its beginning are context: read, and never scored."""
    path: Path | None = None
    """The file that it lies in."""
    cells: Mapping[str, str] | None = None
    """The other cells of its row, where it is one of a table of things."""
    pair: Any = None
    """What the corpus gives beside it: text as typed, or a value."""
    pair_path: Path | None = None
    """The file that `pair` lies in, in the same line, where that is another one."""
    line: int | None = None
    """The line of its file that it begins in, where it is not all of it."""
    codec: Codec | None = None
    """What reads it, where what stands beside its elements can be asked of that: columns, and when they were."""


@dataclass(frozen=True)
class Items:
    """All things of a corpus. They are read anew, in the same order, at each iteration, and never all held at once."""

    each: Callable[[], Iterable[Item]]
    identity: Any = None
    """Plain values that all of their content, and what stands beside it, depend on, other than the corpus's settings:
    a digest of what lies at a path."""
    size: int = 0
    """Bytes, where they are known."""
    ends: bool = False
    """Each ends by itself."""
    whole: bool = False
    """None of them is ever divided between splits."""

    def __iter__(self) -> Iterator[Item]:
        return iter(self.each())


@dataclass(frozen=True)
class Flat:
    """Sequences laid end to end: `x` (N,) or (N,D), `starts` (S+1,) where each begins, and which cells are known.

    Memory-mapped: tokens in the smallest unsigned type that holds them, vectors in float32. `known` is None where
    every cell is, `shown` (context that is read and never scored) where none is.
    """

    x: NDArray[Any]
    starts: NDArray[np.int64]
    known: NDArray[np.bool_] | None = None
    shown: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many elements each sequence has."""
        return np.diff(self.starts)

    def row(self, number: int) -> NDArray[Any]:
        """The elements of one sequence."""
        return self.x[self.starts[number] : self.starts[number + 1]]

    @classmethod
    def of(cls, encoded: Sequence[Encoded]) -> Self:
        """These sequences."""
        known = np.concatenate([one.known for one in encoded])
        shown = [np.zeros_like(one.known) if one.shown is None else one.shown for one in encoded]
        return cls(
            np.concatenate([one.x for one in encoded]),
            np.cumsum([0, *[len(one.x) for one in encoded]]),
            None if known.all() else known,
            None if all(one.shown is None for one in encoded) else np.concatenate(shown),
        )


@dataclass(frozen=True)
class Split:
    """One split, encoded: the sequences, the conditions beside them (one sequence each a sequence), and its totals."""

    data: Flat
    given: Mapping[str, Flat]
    units: float
    """Units (bytes, known values) in it."""
    extra_nats: float
    """Nats beyond its elements (Codec.extra_nats)."""
    fingerprint: str
    """Of the raw content of this split."""
    items: NDArray[np.int64] | None = None
    """The number, within the split, of the thing that each sequence belongs to; None: each is a thing of its own."""
    aligned: tuple[str, ...] = ()
    """The conditions that have one element for each element of the sequence."""


@dataclass(frozen=True)
class Prepared:
    """A corpus ready for training: fitted codecs, encoded splits, and what was guessed or mended, in words."""

    codec: Codec
    given: Mapping[str, Codec]
    splits: Mapping[str, Split]
    ends: bool
    """Whether the things end (documents), or are one stream."""
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What `seqloom data` says: counts, alphabet, missing cells, columns, the time step."""
    wanted: Mapping[str, Given] = field(default_factory=dict)
    """The conditions as they were asked for, which say what of the corpus can be read (`Corpus.values`)."""

    @property
    def fingerprints(self) -> dict[str, str]:
        """Those of the splits."""
        return {name: split.fingerprint for name, split in self.splits.items()}


@dataclass(frozen=True)
class Stretch:
    """What of one thing belongs to a split, from position `begin` on, with all that precedes it."""

    value: Any
    begin: int
    given: Mapping[str, Any]
    """The conditions beside the thing, by name, as values of their codecs."""
    called: str = ""
    """What tells the thing from the others: its file in a folder, or the line that it begins in."""


class Given(Settings):
    """A condition: how it becomes numbers, where it enters the network, and where it comes from in the data."""

    codec: Codec | None = None
    """How the condition becomes numbers; None: chosen by the data (a label for a folder or a column of words)."""
    enters: Literal["add", "align", "attend"] | None = None
    """`add`: to every position (a label); `align`: element by element beside the sequence; `attend`: a sequence that
    positions attend to. None: as its codec says."""
    source: str = ""
    """Where it comes from: `folder`, `column:NAME`, `pair`, or a source of your own."""
    encoder: dict[str, Any] | None = None
    """Settings of a backbone of its own, laid over those of the network's; None: what is attended to is read by the
    network's own mixers, and the rest enters as it is."""
    drop: float = Limits(default=0.1, ge=0, lt=1)
    """Share of training rows whose condition is replaced by the null one, so that guidance is possible."""

    @property
    def aligned(self) -> bool:
        """Whether it has one element for each element of the sequence."""
        enters = self.enters or (None if self.codec is None else self.codec.enters)
        return enters == "align"

    @model_validator(mode="before")
    @classmethod
    def _as_the_source_has_it(cls, values: Any) -> Any:
        """What is not said of a condition is as its source has it."""
        from seqloom.corpora.sources import source_of

        source = values.get("source") if isinstance(values, Mapping) else None
        if not source or not isinstance(source, str):
            return values
        try:
            usual = source_of(source).usual
        except ConfigError:  # said where the source is asked for something
            return values
        return {**values, **{key: value for key, value in usual.items() if values.get(key) is None}}

    @field_validator("codec", mode="before")
    @classmethod
    def _no_file(cls, codec: Any) -> Any:
        return check_name(codec)

    @field_validator("source")
    @classmethod
    def _by_name(cls, source: str) -> str:
        """A source of one's own is kept by its name: a recipe names no module."""
        if ":" not in source or source.startswith("column:"):
            return source
        from seqloom.corpora.sources import source_of

        return source_of(source).written


class Corpus(Component, home="seqloom.corpora"):
    """Where the things are and how they are split."""

    rank: ClassVar[int] = 0
    """Of several corpora that take a DATA word, the highest is meant."""
    where: ClassVar[tuple[str, ...]] = ("path",)
    """The settings that say where the things are, rather than how they are read."""

    splits: tuple[float, float, float] = (0.9, 0.05, 0.05)
    """Shares of train, valid and test, by position in one stream or by thing where there are many."""
    fraction: float = Limits(default=1.0, gt=0, le=1)
    """How much of the training split is trained on: the end of what is split by position, some of many things. The
    other splits stay as they are."""

    @field_validator("splits")
    @classmethod
    def _shares(cls, splits: Shares) -> Shares:
        if min(splits) < 0 or abs(sum(splits) - 1) > 1e-6:
            raise ValueError("the shares of train, valid and test must not be negative and add up to 1")
        return splits

    @classmethod
    def beside(cls, settings: Mapping[str, Any]) -> dict[str, str]:
        """The other files that settings name, by their whole paths."""
        return {key: str(Path(settings[key]).absolute()) for key in cls.where if key != "path" and settings.get(key)}

    @classmethod
    def takes(cls, word: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """The settings, but for those given, of the corpus that a DATA word means; None where it is none of these."""
        return None

    @property
    @abstractmethod
    def place(self) -> str:
        """Where the things are, for errors: a DATA word."""

    @property
    def of_lines(self) -> bool:
        """Whether each thing is a line of a file."""
        return False

    def parts(self, path: Path) -> bool:
        """Whether what lies there is things of this corpus, such as lines or rows; else it is one of the codec."""
        return True

    @abstractmethod
    def default_codec(self) -> Codec:
        """The codec of its things where the user names none."""

    @abstractmethod
    def things(self, codec: Codec, given: Mapping[str, Given]) -> Items:
        """All things, as `codec` reads them, with what `given` wants beside them."""

    def declares(self) -> Mapping[str, Given]:
        """Conditions that the data bring with them: what is trained with where the user says nothing else."""
        return {}

    def unordered(self) -> Advice:
        """Which of its settings suit a process that sees what follows an element, each with the reason."""
        return {}

    def offers(self, codec: Codec | None, given: Mapping[str, Given]) -> Sequence[str]:
        """The sources of conditions that suit these things, as they are read with these others beside them."""
        return ()

    def reading(self, codec: Codec, given: Mapping[str, Given]) -> Codec:
        """The codec with what these things fix of it: its columns, for one."""
        return codec

    def condition_codec(self, given: Given, codec: Codec) -> Codec:
        """How a condition beside things of this codec becomes numbers where nothing is said."""
        return codec_of_words()

    def notes(self, codec: Codec, given: Mapping[str, Given]) -> Iterator[str]:
        """What is left out or mended."""
        return iter(())

    def prepare(
        self, codec: Codec | None, given: Mapping[str, Given], notify: Callable[[str], None] | None = None
    ) -> Prepared:
        """Fit the codecs on the training split, encode everything once, and say what was guessed."""
        from seqloom.corpora.division import EmptySplit, TooLittle
        from seqloom.corpora.prepare import Preparation

        main = codec or self.default_codec()
        sourced = self._sourced(given)
        used = self.reading(main, sourced)
        filled = self._filled(sourced, used)
        items = self.things(used, filled)
        unnamed = [name for name, item in {"": Given(codec=codec), **sourced}.items() if item.codec is None]
        preparation = Preparation(
            items,
            self.splits,
            used,
            filled,
            self.place,
            guessed=unnamed if not any(item.aligned for item in filled.values()) else (),
            origin=self._origin,
            fraction=self.fraction,
        )
        try:
            prepared = preparation.run(notify)
        except TooLittle as error:  # what was left out may be why
            if left_out := list(self.notes(used, filled)):
                known = [] if isinstance(error, EmptySplit) else [error.hint]
                error.hint = "; ".join([*left_out, *known])
            elif isinstance(error, EmptySplit) and next(iter(items), None) is None:
                error.message, error.hint = "there is nothing in it to learn from", "give some data"
            raise
        encoding = written_in([prepared.codec, *prepared.given.values()])
        notes = (*_misread(items, encoding), *self.notes(prepared.codec, filled), *prepared.notes)
        return replace(prepared, notes=notes, wanted=filled)

    def full(self, codec: Codec) -> list[Any]:
        """The whole values, splits undone (a forecast goes on from the end of the file)."""
        return [codec.join(list(codec.pieces(item.content))) for item in self.things(codec, {})]

    def values(
        self, codec: Codec, split: str, last: int | None = None, given: Mapping[str, Given] | None = None
    ) -> Iterator[Any]:
        """The values of one split as the files have them, one for each part of a thing.

        With `last` no more from the end of each than so many elements; of things that have what is `given` beside them.
        """
        from seqloom.corpora.division import values_of

        return values_of(self._division(codec, given), codec, split, last)

    def stretches(self, codec: Codec, split: str, given: Mapping[str, Given] | None = None) -> Iterator[Stretch]:
        """The parts of a split, each with all that precedes it in its thing, and with the conditions beside it."""
        wanted = given or {}
        sources = sources_of(wanted)
        for segment in self._division(codec, wanted).of(split):
            beside = {}
            for name, item in wanted.items():
                assert item.codec is not None
                value = sources[name].beside(name, segment.item, item.codec, aligned=item.aligned)
                if value is not None:
                    beside[name] = value
            value = codec.join(list(codec.pieces(segment.item.content, 0, segment.end)))
            called = f"line {segment.item.line}" if segment.item.line else segment.item.name
            yield Stretch(value, segment.begin, beside, called)

    def fingerprints(self, codec: Codec) -> dict[str, str]:
        """Those of the splits as the things are now."""
        from seqloom.corpora.division import fingerprint

        division = self._division(codec)
        return {name: fingerprint(division, codec, name) for name in SPLITS}

    def _division(self, codec: Codec, given: Mapping[str, Given] | None = None) -> Division:
        """Which part of which thing belongs to which split."""
        from seqloom.corpora.division import Division

        return Division(self.things(codec, given or {}), self.splits, codec, self.place, self.fraction)

    @property
    def _origin(self) -> list[Any]:
        """What its things follow from beside what lies at its paths: its settings, and code that is not the package's.

        A path is no content: the same files at another place are not encoded anew.
        """
        plain = self.plain()
        paths = {key for key in self.where if _is_path(plain.get(key))}
        return [{key: value for key, value in plain.items() if key not in paths}, *code_of(self)]

    def _sourced(self, given: Mapping[str, Given]) -> dict[str, Given]:
        """The conditions, those that the data bring with them laid under what is said of them."""
        own = self.declares()
        return {
            name: own[name].replace(**{key: getattr(item, key) for key in item.model_fields_set})
            if name in own and not item.source
            else item
            for name, item in given.items()
        }

    def _filled(self, given: Mapping[str, Given], main: Codec) -> dict[str, Given]:
        """The conditions, each with its codec and with where it enters the network."""
        filled = {}
        for name, item in given.items():
            try:
                codec = _written_as(item.codec or self.condition_codec(item, main), main)
            except ConfigError as error:
                raise error.under(f"given.{name}") if error.path == "source" else error from None
            filled[name] = item.replace(codec=codec, enters=item.enters or codec.enters)
        return filled


def _is_path(value: Any) -> bool:
    """Whether a setting names a file or folder that is there."""
    try:
        return isinstance(value, str) and value != "" and Path(value).exists()
    except (OSError, ValueError):  # too long for a name, or none at all
        return False


def written_in(codecs: Iterable[Codec]) -> str:
    """The encoding of a file that several codecs read: that of the first which can be told one; of labels none can."""
    return next((codec.written_in for codec in codecs if "encoding" in type(codec).model_fields), UTF8)


def _written_as(codec: Codec, main: Codec) -> Codec:
    """The codec of a condition, whose files are in the encoding of the others unless it is told another."""
    told = "encoding" not in type(codec).model_fields or "encoding" in codec.model_fields_set
    return codec if told or main.written_in == UTF8 else codec.replace(encoding=main.written_in)


def _misread(items: Items, encoding: str) -> Iterator[str]:
    """Which files are UTF-8, where they are taken for text in another encoding, which any bytes may be."""
    if encoding == UTF8:
        return
    files = list(dict.fromkeys(item.path for item in items.each() if item.path is not None))
    wrong = [path for path in files if is_utf8(path)]
    if wrong:
        which = f"{wrong[0].name} is" if len(files) == 1 else f"{len(wrong):,} of {len(files):,} files are"
        example = f" (the first: {wrong[0].name})" if len(files) > 1 else ""
        yield f"{which} UTF-8 and, read as {encoding}, wrong beyond ASCII{example}: write all files alike"


def sources_of(given: Mapping[str, Given]) -> dict[str, Source]:
    """Where the conditions come from, by their names."""
    from seqloom.corpora.sources import source_of

    sources = {}
    for name, item in given.items():
        try:
            sources[name] = source_of(item.source)
        except ConfigError as error:
            raise error.under(f"given.{name}") from None
    texts = {
        name: (sources[name], item.codec)
        for name, item in given.items()
        if item.codec is not None and item.codec.enters == "attend" and not sources[name].asks
    }
    return {name: source.among(texts) for name, source in sources.items()}


def declared_by(corpus: Corpus, settings: Mapping[str, Any], codec: Codec | None = None) -> dict[str, Given]:
    """The conditions that the data bring with them, as `codec` reads them, and those of the settings, by name.

    One that is null in the settings is left out.
    """
    own = {name: given.plain() for name, given in corpus.declares().items()}
    declared, left = {}, set()
    for name, values in merge(own, settings).items():
        if values is None:
            left.add(name)
            continue
        if isinstance(values, str):
            hint = f"where it comes from is given.{name}.source={values}"
            raise ConfigError(f"a condition has settings, and {values!r} is none", path=f"given.{name}", hint=hint)
        try:
            declared[name] = Given.parse(_over_usual_codec(values, corpus, codec))
        except ConfigError as error:
            raise error.under(f"given.{name}") from None
    known = {*left, *declared, *(item.source for item in declared.values())}
    offered = [source for source in corpus.offers(codec, declared) if source not in known]
    return declared | {source: Given(source=source) for source in offered}


def _over_usual_codec(values: Any, corpus: Corpus, main: Codec | None) -> Any:
    """The settings of a condition, those of a codec without its name laid upon the codec that it has by default."""
    own = values.get("codec") if isinstance(values, Mapping) else None
    if not isinstance(own, Mapping):
        return values

    def usual() -> Codec:
        given = Given.parse({key: value for key, value in values.items() if key != "codec"})
        return given.codec or corpus.condition_codec(given, main or corpus.default_codec())

    return {**values, "codec": over(usual, own)}


def describe(prepared: Prepared) -> dict[str, Any]:
    """What a corpus is, for a person or as JSON: facts, splits with their sizes and fingerprints, what was guessed."""
    return {
        **prepared.facts,
        "codec": prepared.codec.name,
        "conditions": {name: codec.name for name, codec in prepared.given.items()},
        "splits": {
            name: {
                "sequences": len(split.data),
                "elements": int(split.data.starts[-1]),
                "units": split.units,
                "unit": prepared.codec.unit,
                "fingerprint": split.fingerprint,
            }
            for name, split in prepared.splits.items()
        },
        "notes": list(prepared.notes),
    }


def with_way_past(error: DataError) -> DataError:
    """The error of one thing among others, and in its hint how such things are passed over."""
    hint = f"{error.hint}; " * bool(error.hint) + "corpus.skip_bad=true passes over it"
    return DataError(error.message, path=error.path, line=error.line, hint=hint)


def passing(each: Iterable[T | DataError], skip: bool, many: bool = False) -> Iterator[T | DataError]:
    """The things of a file, and where bad ones are to be skipped what is wrong in place of each; else it is raised.

    Of `many` files one that breaks is such a thing. Skipping is no way past what is wrong with all of them.
    """
    rest, good = iter(each), False
    while True:
        try:
            one = next(rest)
        except StopIteration:
            return
        except DataError as error:
            if not many:
                raise
            one = error
        if isinstance(one, DataError) and not skip:
            raise with_way_past(one) if good or many or _any_good(rest) else one
        good = True
        yield one


def _any_good(rest: Iterator[T | DataError]) -> bool:
    """Whether one of the next things of a file is good, as far as is looked."""
    try:
        return any(not isinstance(one, DataError) for one in islice(rest, LOOKED_AT))
    except DataError:  # the rest cannot be read
        return False


def bad_of(each: Iterable[object], what: str) -> Iterator[str]:
    """What is said of the things (`what`) of which some are errors, where these are passed over."""
    count, bad = 0, list[DataError]()
    for one in each:
        count += 1
        bad += [one] if isinstance(one, DataError) else []
    if bad:
        yield f"{len(bad):,} of {count:,} {what} are bad and left out (corpus.skip_bad), the first: {bad[0]}"
