"""Encoding: the elements of every split and of its conditions into shards, and what they amount to."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.base import Codec
from seqloom.core.errors import DataError
from seqloom.core.progress import count
from seqloom.corpora import shards
from seqloom.corpora.base import SPLITS, Given
from seqloom.corpora.division import FEW, Division, EmptySplit, Fingerprint, Segment, located, values_of
from seqloom.corpora.sources import Source
from seqloom.sequence.canvas import Encoded
from seqloom.sequence.space import Tokens

BUFFER = 1 << 20
"""Bytes of an array that are gathered before they are written."""
LONG, TIMES = 256, 8
"""Elements from which on what is attended to is long, if it is so many times as long as most."""
LARGE_PIECE = 1 << 16
"""Units of a piece from which on it is kept what became of it."""


class _Column:
    """One array of the shards, gathered in memory until there is enough of it to write."""

    def __init__(self, writer: shards.Writer, name: str, like: NDArray[Any]) -> None:
        self.writer, self.name, self.like = writer, name, like
        self.held: list[NDArray[Any]] = [like[:0]]
        self.bytes = 0
        self.length = 0

    def add(self, part: NDArray[Any]) -> None:
        """Add rows at the end."""
        part = np.asarray(part, self.like.dtype)
        self.held.append(part)
        self.length += len(part)
        self.bytes += part.nbytes
        if self.bytes >= BUFFER:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        self.writer.append(self.name, np.concatenate(self.held))
        self.held, self.bytes = [self.like[:0]], 0


class _Mask:
    """A mask beside a column that is nearly always the same throughout: it is written from the first exception on."""

    def __init__(self, writer: shards.Writer, name: str, like: NDArray[np.bool_], usual: bool) -> None:
        self.writer, self.name, self.like, self.usual = writer, name, like, usual
        self.length = 0
        self.column: _Column | None = None

    def add(self, part: NDArray[np.bool_] | None, length: int) -> None:
        """Add rows; None: as usual."""
        if self.column is None and part is not None and not (part == self.usual).all():
            self.column = _Column(self.writer, self.name, self.like)
            for begin in range(0, self.length, BUFFER):
                self.column.add(self._usual(min(BUFFER, self.length - begin)))
        if self.column is not None:
            self.column.add(self._usual(length) if part is None else part)
        self.length += length

    def flush(self) -> None:
        """Write what is held."""
        if self.column is not None:
            self.column.flush()

    def _usual(self, length: int) -> NDArray[np.bool_]:
        return np.full((length, *self.like.shape[1:]), self.usual)


class _Owners:
    """The number of the thing that each sequence belongs to: written from the first one that has several on."""

    def __init__(self, writer: shards.Writer, name: str) -> None:
        self.writer, self.name = writer, name
        self.count = 0
        self.column: _Column | None = None

    def add(self, sequences: int) -> None:
        """One more thing, of so many sequences."""
        if self.column is None and sequences != 1:
            self.column = _Column(self.writer, self.name, np.zeros(0, np.int64))
            self.column.add(np.arange(self.count))
        if self.column is not None:
            self.column.add(np.full(sequences, self.count))
        self.count += 1

    def flush(self) -> None:
        """Write what is held."""
        if self.column is not None:
            self.column.flush()


class _Digests:
    """What each whole thing of a split is, by eight bytes of a hash of it."""

    def __init__(self) -> None:
        self.held = array("Q")

    def __len__(self) -> int:
        return len(self.held)

    def add(self, segment: Segment, *, labels: bool, sources: bytes = b"") -> None:
        """One more part of a split, if it is a whole thing: of `labels`, with what they are beside.

        What stands beside a text in its row is no part of it, but for `sources`: the same answer to another question is
        another thing.
        """
        content, digest = segment.item.content, segment.item.digest
        if isinstance(content, str) and not labels:
            whole = content.encode("utf-8", "surrogatepass") + sources
            digest = hashlib.blake2b(whole, digest_size=8).hexdigest()
        if digest and not segment.divided:
            self.held.append(int(digest[:16], 16))

    def among(self, others: _Digests) -> int:
        """How many of them are among others."""
        return int(np.isin(np.array(self.held), np.array(others.held)).sum()) if self.held and others.held else 0


class _Lengths:
    """How long a condition is beside each thing, and where the longest stands."""

    def __init__(self) -> None:
        self.held = array("q")
        self.most, self.longest = 0, ""

    def add(self, length: int, segment: Segment, source: Source) -> None:
        """One more thing, with what comes from a source beside it."""
        if length > self.most:
            item = segment.item
            self.most = length
            self.longest = f"{source.place(item) or item.name}" + f", line {item.line}" * bool(item.line)
        self.held.append(length)

    def notes(self, label: str, attended: bool) -> Iterator[str]:
        """What is said of things that have none, and of the longest where it is far longer than the others."""
        lengths = np.array(self.held)
        if without := int((lengths == 0).sum()):
            have = "has" if without == 1 else "have"
            yield f"{without:,} of {count(len(lengths), 'thing')} {have} no {label}"
        usual = int(np.median(lengths)) if len(lengths) else 0
        if attended and self.most >= max(LONG, TIMES * usual):
            yield (
                f"the longest {label} has {self.most:,} elements, where {usual:,} are usual ({self.longest}): a step "
                "that reads it takes as much longer, and more memory; leave it out if it is none"
            )


class _Sequences:
    """The arrays of one kind of sequences of one split: elements, where each begins, what is known, what is context."""

    def __init__(self, writer: shards.Writer, name: str, codec: Codec) -> None:
        like = empty_like(codec)
        self.x = _Column(writer, f"{name}.x", like.x.astype(_stored(codec)))
        self.known = _Mask(writer, f"{name}.known", like.known, True)
        self.shown = _Mask(writer, f"{name}.shown", like.known, False)
        self.starts = _Column(writer, f"{name}.starts", np.zeros(0, np.int64))
        self.starts.add(np.zeros(1, np.int64))

    def add(self, encoded: Encoded) -> None:
        """A piece of the sequence that is being written."""
        self.x.add(encoded.x)
        self.known.add(encoded.known, len(encoded.x))
        self.shown.add(encoded.shown, len(encoded.x))

    def close(self) -> None:
        """The sequence ends here."""
        self.starts.add(np.array([self.x.length], np.int64))

    def flush(self) -> None:
        """Write what is held."""
        for column in (self.x, self.known, self.shown, self.starts):
            column.flush()


@dataclass
class _Totals:
    """What is counted of a split."""

    units: float = 0.0
    extra_nats: float = 0.0
    unknown: int = 0
    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    unknown_labels: dict[str, dict[str, None]] = field(default_factory=dict)
    """Values of conditions that the training split does not have."""


class Encoding:
    """Writes the elements of every split and of its conditions, and counts what they stand for."""

    def __init__(
        self,
        writer: shards.Writer,
        division: Division,
        codec: Codec,
        conditions: Mapping[str, Codec],
        given: Mapping[str, Given],
        sources: Mapping[str, Source],
        unfinished: shards.Unfinished | None = None,
        told: Callable[[int], None] = lambda elements: None,
    ) -> None:
        self.writer, self.division, self.codec = writer, division, codec
        self.conditions, self.given, self.sources = conditions, given, sources
        self.unfinished, self.told, self.elements = unfinished, told, 0
        self.main = {name: _Sequences(writer, name, codec) for name in SPLITS}
        self.beside = {
            (name, label): _Sequences(writer, f"{name}.given.{label}", condition)
            for name in SPLITS
            for label, condition in conditions.items()
        }
        self.lengths = {label: _Lengths() for label, one in given.items() if one.enters != "align"}
        self.owners = {name: _Owners(writer, f"{name}.items") for name in SPLITS}
        self.totals = {name: _Totals() for name in SPLITS}
        self.texts = {name: _Digests() for name in SPLITS}
        self.count = 0

    def run(self) -> dict[str, Any]:
        """All of it; the facts of the shards."""
        last = None
        for segment in self.division:
            self.count += last is not segment.item
            last = segment.item
            try:
                self._segment(segment)
            except DataError as error:
                raise located(error, segment.item, self.division.place) from None
        if not self.main["train"].x.length and self.division.shares[0]:
            raise EmptySplit(self.division.place)
        for sequences in (*self.main.values(), *self.beside.values()):
            sequences.flush()
        for owners in self.owners.values():
            owners.flush()
        values = {name: _Values(self.division, self.codec, name) for name in SPLITS}
        facts: dict[str, Any] = {
            name: {
                "units": total.units,
                "extra_nats": total.extra_nats,
                "fingerprint": total.fingerprint.hex,
            }
            for name, total in self.totals.items()
        }
        return facts | {"facts": self._facts(values), "notes": [*self._notes(), *self.codec.notes(values)]}

    def _segment(self, segment: Segment) -> None:
        """Write one part, and what stands beside it."""
        lengths = self._sequences(segment)
        split = segment.split
        self.totals[split].fingerprint.add(segment.digest(self.codec))
        self.owners[split].add(len(lengths))
        sources = b""
        for label in self.conditions:
            encoded = self._conditioned(label, segment)
            if self.given[label].enters == "attend" and not self.sources[label].asks:
                sources += encoded.x.tobytes() + b"\0"
            if self.given[label].enters == "align" and len(encoded.x) not in {0, lengths[0]}:
                raise DataError(
                    f"condition {label!r} has {len(encoded.x)} elements beside {lengths[0]} of the sequence",
                    hint="an aligned condition has one element for each position",
                )
            if label in self.lengths:
                self.lengths[label].add(len(encoded.x), segment, self.sources[label])
            for _ in lengths:
                self.beside[split, label].add(encoded)
                self.beside[split, label].close()
        self.texts[split].add(segment, labels=self.codec.alone is not None, sources=sources)

    def _sequences(self, segment: Segment) -> list[int]:
        """Write the sequences of one part, of which each may come in pieces; how long they are."""
        codec, total, main = self.codec, self.totals[segment.split], self.main[segment.split]
        context = self._context(segment)
        lengths = [0]
        for piece in segment.pieces(codec):
            for number, row in enumerate(codec.rows(piece)):
                if number == len(lengths):
                    main.close()
                    lengths.append(0)
                assert number == len(lengths) - 1, f"{codec.name} gives a value of several rows in one piece"
                lengths[number] += self._row(row, total, main, context - lengths[number])
        main.close()
        return lengths

    def _row(self, value: Any, total: _Totals, main: _Sequences, context: int) -> int:
        """Write one piece, of which the first `context` elements are read and not scored."""
        codec = self.codec
        encoded = self._encoded(value)
        size = len(encoded.x)
        self.elements += size
        self.told(self.elements)
        if context > 0:
            shown = np.zeros_like(encoded.known) if encoded.shown is None else encoded.shown.copy()
            shown[:context] = True
            encoded = Encoded(encoded.x, encoded.known, encoded.origin, shown)
            value = codec.cut(value, min(context, size), size)
        unknown = sum(int(np.count_nonzero(encoded.x == symbol)) for symbol in codec.never)
        total.unknown += unknown
        total.extra_nats += codec.extra_nats(value) if unknown or not codec.never else 0.0
        total.units += codec.count(value)
        main.add(encoded)
        return size

    def _encoded(self, value: Any) -> Encoded:
        """A piece as numbers, kept for the next try where it is a large one of symbols all of which are known."""
        codec, unfinished = self.codec, self.unfinished
        if unfinished is None or not codec.divisible or not codec.space.symbolic or codec.count(value) < LARGE_PIECE:
            return codec.encode(value)
        x = unfinished.of(lambda: codec.encode(value).x)
        return Encoded(x, np.ones(len(x), bool))

    def _context(self, segment: Segment) -> int:
        """Elements at the beginning of a part that are context: those of them that it holds."""
        begin, end, codec = segment.begin, segment.item.context, self.codec
        return 0 if end <= begin else sum(map(codec.size, codec.pieces(segment.item.content, begin, end)))

    def _conditioned(self, label: str, segment: Segment) -> Encoded:
        """What stands beside a part; null where the training split does not have it."""
        condition, given = self.conditions[label], self.given[label]
        value = beside(label, self.sources[label], condition, segment, aligned=given.enters == "align")
        nothing = empty_like(condition)
        if value is None:
            return nothing
        try:
            return condition.encode(value)
        except DataError:
            if segment.split == "train":
                raise
            known, text = set(condition.choices), condition.as_text(value).strip()
            new = [name for name in condition.element_names(value) if name not in known] if known else [text]
            self.totals[segment.split].unknown_labels.setdefault(label, {}).update(dict.fromkeys(new))
            return nothing

    def _facts(self, values: Mapping[str, _Values]) -> dict[str, Any]:
        facts = self.codec.facts(values)
        kind = {"kind": facts.pop("kind", self.codec.name)}
        kind |= {"items": self.count, "bytes": self.division.items.size or None}
        space = self.codec.space
        if isinstance(space, Tokens):
            kind["symbols"] = space.size
        if self.codec.never:
            kind["unknown"] = {name: self.totals[name].unknown for name in SPLITS}
        return kind | facts

    def _notes(self) -> Iterator[str]:
        division = self.division
        if division.by_position and division.items.ends and division.free > 1:
            yield f"there are {division.free} things, fewer than {FEW}: each is split by position"
        if division.fraction < 1:
            yield f"{100 * division.fraction:.3g} % of the training split is trained on (corpus.fraction)"
        for name, share in zip(SPLITS, division.shares, strict=True):
            if self.main[name].x.length:
                if not self.totals[name].units:
                    yield f"in the {name} split there is nothing that is scored"
            elif name != "train" and division.shares[0]:
                what = "validation" if name == "valid" else "test"
                few = f": none of {count(self.count, 'thing')} came into its share of {share:g} (corpus.splits)"
                yield f"nothing is kept for {what}{few * bool(share)}"
        for label, lengths in self.lengths.items():
            yield from lengths.notes(label, self.given[label].enters == "attend")
        for name in SPLITS[1:]:
            unknown = self.totals[name].unknown
            if unknown:
                yield (
                    f"characters of the {name} split that the training split does not have: {unknown}, each of which "
                    "costs an unknown symbol and 8 bits a byte"
                )
            twice = self.texts[name].among(self.texts["train"])
            if twice:
                held = count(len(self.texts[name]), "thing")
                yield f"{twice:,} of the {held} of the {name} split stand{'s' * (twice == 1)} in the training split too"
            for label, new in self.totals[name].unknown_labels.items():
                names = ", ".join(map(repr, list(new)[:5]))
                yield f"{label} {names} of the {name} split is not in the training split"


class _Values:
    """The values of a split, read when they are first asked for."""

    def __init__(self, division: Division, codec: Codec, split: str) -> None:
        self.division, self.codec, self.split = division, codec, split
        self.held: list[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        if self.held is None:
            self.held = list(values_of(self.division, self.codec, self.split))
        return iter(self.held)


def beside(name: str, source: Source, condition: Codec, segment: Segment, *, aligned: bool) -> Any:
    """The value of a condition beside a part of a thing; None where there is none."""
    value = source.beside(name, segment.item, condition, aligned=aligned)
    if value is None or not aligned or segment.end is None:
        return value
    return condition.cut(value, segment.begin, segment.end)


def _stored(codec: Codec) -> np.dtype[Any]:
    """The type in which the elements of a codec lie in the shards."""
    space = codec.space
    return shards.smallest(space.size) if isinstance(space, Tokens) else np.dtype(np.float32)


def empty_like(codec: Codec) -> Encoded:
    """An empty sequence of a codec's space."""
    space = codec.space
    if isinstance(space, Tokens):
        return Encoded(np.zeros(0, np.int64), np.zeros(0, np.bool_))
    return Encoded(np.zeros((0, space.dim), np.float32), np.zeros((0, space.dim), np.bool_))
