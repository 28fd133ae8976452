"""Documents of symbols: how they are split, encoded once into shards, and given back."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from seqloom.codecs.base import Codec
from seqloom.codecs.label import Label
from seqloom.codecs.text import MOST, Bytes, Characters, distinct
from seqloom.core.config import make
from seqloom.core.errors import ConfigError, DataError
from seqloom.corpora import shards
from seqloom.corpora.base import SPLITS, Flat, Given, Prepared, Split
from seqloom.sequence.canvas import Encoded
from seqloom.sequence.space import Tokens

FEW = 10
"""Documents below which each is split by position, since some of so few would be no fair split."""
LARGE = 32 << 20
"""Bytes from which on it is said that encoding takes a while."""
Notify = Callable[[str], None]
Shares = tuple[float, float, float]


@dataclass(frozen=True)
class Document:
    """One text: a file, or characters in memory; with the values of its conditions and a hash of its content."""

    name: str
    content: Path | str
    digest: str
    size: int
    """Bytes."""
    given: Mapping[str, Any] = field(default_factory=dict)

    def pieces(self, codec: Codec) -> Iterator[Any]:
        """Its values of `codec`, in pieces: strings or bytes."""
        if isinstance(self.content, Path):
            return codec.read(self.content)
        return iter([codec.typed(self.content)])


@dataclass(frozen=True)
class Segment:
    """What of a document belongs to a split: its elements from `begin` to `end` (None: all of them)."""

    document: Document
    begin: int = 0
    end: int | None = None

    def pieces(self, codec: Codec) -> Iterator[Any]:
        """The values of this part, in pieces."""
        at = 0
        for piece in self.document.pieces(codec):
            first, last = max(0, self.begin - at), len(piece) if self.end is None else min(len(piece), self.end - at)
            if first < last:
                yield piece[first:last]
            at += len(piece)
            if self.end is not None and at >= self.end:
                return


@dataclass(frozen=True)
class Library:
    """All documents of a corpus and how they are split. `stream`: one text without an end."""

    documents: Sequence[Document]
    shares: Shares
    stream: bool
    place: str
    """Where they come from, for errors."""
    _sizes: dict[str, list[int]] = field(default_factory=dict, compare=False, repr=False)
    """Elements of each document, in keyed order, by the codec that counted them: a pass over all of the text."""

    @property
    def by_position(self) -> bool:
        """Whether each document is split by position, rather than the documents shared out."""
        return self.stream or len(self.documents) < FEW

    def parts(self, codec: Codec) -> dict[str, list[Segment]]:
        """The parts of each split, in the order in which they are read."""
        ordered = in_keyed_order(self.documents)
        found: dict[str, list[Segment]] = {name: [] for name in SPLITS}
        if not self.by_position:
            edges = cuts(len(ordered), self.shares, self.place, "documents")
            for name, (begin, end) in zip(SPLITS, pairwise(edges), strict=True):
                found[name] = [Segment(document) for document in ordered[begin:end]]
            return found
        if codec.name not in self._sizes:
            self._sizes[codec.name] = [sum(len(piece) for piece in item.pieces(codec)) for item in ordered]
        sizes = self._sizes[codec.name]
        what = "bytes" if codec.name == "bytes" else "characters"
        whole = cuts(sum(sizes), self.shares, self.place, what)
        for document, size in zip(ordered, sizes, strict=True):
            edges = whole if len(ordered) == 1 else floors(size, self.shares)
            for name, (begin, end) in zip(SPLITS, pairwise(edges), strict=True):
                if begin < end:
                    found[name].append(Segment(document, begin, end))
        for name, share in zip(SPLITS, self.shares, strict=True):
            if share and not found[name]:
                raise too_few(what, sum(sizes), self.place)
        return found

    def prepare(self, codec: Codec | None, given: Mapping[str, Given], notify: Notify | None) -> Prepared:
        """Fit what is not fitted, encode what is not in the cache, and say what was guessed."""
        content = [self.stream, self.shares, [_identity(d, plain=self.stream) for d in self.documents]]
        codec, conditions, said = self._fitted(content, codec, given)
        plain = {name: item.plain() for name, item in conditions.items()}
        key = shards.key_of(content, codec.plain(), plain)
        if shards.read(key) is None:
            size = sum(document.size for document in self.documents)
            if notify and size >= LARGE:
                notify(f"encoding {size / 1e6:.0f} MB of text, once, into {shards.cache()}")
            with shards.writing(key) as writer:
                writer.finish(self._encode(writer, codec, conditions))
        stored = shards.read(key)
        if stored is None:
            raise DataError("the encoded data cannot be read back", path=shards.cache(), hint="see the disk's health")
        arrays, facts = stored
        splits = {}
        for name in SPLITS:
            splits[name] = Split(
                Flat(arrays[f"{name}.x"], arrays[f"{name}.starts"]),
                {
                    label: Flat(arrays[f"{name}.given.{label}.x"], arrays[f"{name}.given.{label}.starts"])
                    for label in conditions
                },
                facts[name]["units"],
                facts[name]["extra_nats"],
                facts[name]["fingerprint"],
            )
        return Prepared(
            codec,
            conditions,
            splits,
            ends=not self.stream,
            notes=(*said, *self._notes(splits, facts, conditions)),
            facts=self._facts(codec, facts),
        )

    def values(self, codec: Codec, split: str, last: int | None = None) -> Iterator[Any]:
        """The text of each part of a split; of one that is long, the last `last` elements at most."""
        for part in self.parts(codec)[split]:
            pieces: list[Any] = []
            held = 0
            for piece in part.pieces(codec):
                pieces.append(piece)
                held += len(piece)
                while last is not None and held - len(pieces[0]) >= last:
                    held -= len(pieces.pop(0))
            whole = type(pieces[0])().join(pieces) if pieces else codec.typed("")
            yield whole if last is None else whole[max(0, len(whole) - last) :]

    def _fitted(
        self, content: Any, codec: Codec | None, given: Mapping[str, Given]
    ) -> tuple[Codec, dict[str, Codec], list[str]]:
        """Codecs that are fitted, as they were given, as they were found before, or on the training split."""
        wished = {name: item.codec or Label() for name, item in given.items()}
        if codec is not None and codec.fitted and all(item.fitted for item in wished.values()):
            return codec, wished, []
        asked = [None if codec is None else codec.plain(), {name: item.plain() for name, item in wished.items()}]
        sources = {name: item.source for name, item in given.items()}
        key = shards.key_of("fit", content, asked, sources)
        found = shards.recall(key)
        if found is not None:
            conditions = {name: make(Codec, item) for name, item in found["given"].items()}  # type: ignore[type-abstract]
            return make(Codec, found["codec"]), conditions, found["notes"]  # type: ignore[type-abstract]
        notes: list[str] = []
        if codec is None:
            codec, notes = self._guessed()
        elif not codec.fitted:
            codec = codec.fit(piece for part in self.parts(codec)["train"] for piece in part.pieces(codec))
        conditions = {}
        for name, item in wished.items():
            values = [part.document.given[name] for part in self.parts(codec)["train"]]
            conditions[name] = item if item.fitted else item.fit(values)
        plain = {name: item.plain() for name, item in conditions.items()}
        shards.remember(key, {"codec": codec.plain(), "given": plain, "notes": notes})
        return codec, conditions, notes

    def _guessed(self) -> tuple[Codec, list[str]]:
        """Characters, unless the training split has too many distinct ones."""
        codec = Characters()
        alphabet = distinct(piece for part in self.parts(codec)["train"] for piece in part.pieces(codec))
        if len(alphabet) > MOST:
            return Bytes(), [
                f"the text has {len(alphabet)} distinct characters, more than {MOST}: it is read as bytes "
                "(codec=characters codec.most=N reads it by characters)"
            ]
        if not alphabet:
            raise DataError(
                "the training split is empty", path=self.place, hint="give more text, or other corpus.splits"
            )
        return codec.replace(alphabet=alphabet), []

    def _encode(self, writer: shards.Writer, codec: Codec, conditions: Mapping[str, Codec]) -> dict[str, Any]:
        """Write the symbols of every split and of its conditions, and count what they stand for."""
        space = codec.space
        if not isinstance(space, Tokens):
            raise ConfigError(
                f"codec={codec.name} does not read text", path="codec", hint="codec=characters or codec=bytes"
            )
        dtype = shards.smallest(space.size)
        unknown = np.array(codec.never, np.int64)
        facts: dict[str, Any] = {}
        for name, parts in self.parts(codec).items():
            writer.append(f"{name}.x", np.zeros(0, dtype))
            starts, units, extra_nats, unknown_count = [0], 0.0, 0.0, 0
            digests = []
            for part in parts:
                digest, size = hashlib.sha256(), 0
                for piece in part.pieces(codec):
                    x = codec.encode(piece).x
                    writer.append(f"{name}.x", x.astype(dtype))
                    size += len(x)
                    strange = int(np.isin(x, unknown).sum()) if len(unknown) else 0
                    unknown_count += strange
                    extra_nats += codec.extra_nats(piece) if strange else 0.0
                    units += codec.count(piece)
                    digest.update(codec.show(piece))
                starts.append(starts[-1] + size)
                digests.append(digest.digest())
            writer.append(f"{name}.starts", np.array(starts, np.int64))
            facts[name] = {
                "units": units,
                "extra_nats": extra_nats,
                "unknown": unknown_count,
                # One text has the hash of its bytes; several that of their hashes.
                "fingerprint": (digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()).hex(),
            }
            values = {label: [part.document.given[label] for part in parts] for label in conditions}
            facts[name]["strange"] = {}
            for label, condition in conditions.items():
                items, new = encoded_conditions(condition, values[label], strict=name == "train")
                flat = Flat.of(items, empty_like(condition))
                small = (
                    flat.x.astype(shards.smallest(condition.space.size))
                    if isinstance(condition.space, Tokens)
                    else flat.x
                )
                writer.append(f"{name}.given.{label}.x", small)
                writer.append(f"{name}.given.{label}.starts", flat.starts)
                facts[name]["strange"][label] = new
        return facts

    def _notes(
        self, splits: Mapping[str, Split], facts: Mapping[str, Any], conditions: Mapping[str, Codec]
    ) -> Iterator[str]:
        if self.by_position and not self.stream and len(self.documents) > 1:
            yield f"there are {len(self.documents)} documents, fewer than {FEW}: each is split by position"
        for name in SPLITS[1:]:
            unknown = facts[name]["unknown"]
            if unknown:
                yield (
                    f"characters of the {name} split that the training split does not have: {unknown}, each of which "
                    "costs an unknown symbol and 8 bits a byte"
                )
            for label in conditions:
                new = facts[name]["strange"].get(label, [])
                if new:
                    yield f"{label} {', '.join(map(repr, new[:5]))} of the {name} split is not in the training split"

    def _facts(self, codec: Codec, facts: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {
            "kind": "text",
            "documents": len(self.documents),
            "bytes": sum(document.size for document in self.documents),
            "symbols": codec.space.size if isinstance(codec.space, Tokens) else None,
            "unknown": {name: facts[name]["unknown"] for name in SPLITS},
        }
        return found | ({"alphabet": codec.alphabet} if isinstance(codec, Characters) else {})


def in_keyed_order(documents: Sequence[Document]) -> list[Document]:
    """Documents in an order that depends on their names alone: a new one moves no other between splits by much."""
    return sorted(documents, key=lambda item: hashlib.sha256(item.name.encode("utf-8", "surrogateescape")).digest())


def cuts(total: int, shares: Shares, place: str, what: str) -> tuple[int, int, int, int]:
    """Where the splits of `total` things begin and end: each that has a share has one of them, training two."""
    sizes = [end - begin for begin, end in pairwise(floors(total, shares))]
    for i, share in enumerate(shares):
        if share > 0 and not sizes[i]:
            sizes[sizes.index(max(sizes))] -= 1
            sizes[i] = 1
    if min(sizes) < 0 or (shares[0] and sizes[0] < 2) or not total:
        raise too_few(what, total, place)
    return 0, sizes[0], sizes[0] + sizes[1], total


def floors(total: int, shares: Shares) -> tuple[int, int, int, int]:
    """Where the splits of `total` things begin and end, rounded down."""
    first, second = (math.floor(total * share + 1e-9) for share in (shares[0], shares[0] + shares[1]))
    return 0, first, min(total, second), total


def too_few(what: str, total: int, place: str) -> DataError:
    """The error of data that cannot be split."""
    return DataError(
        f"too little data to split: {total} {what}",
        path=place,
        hint="give more, or train on all of it with corpus.splits=[1,0,0]",
    )


def encoded_conditions(codec: Codec, values: Sequence[Any], *, strict: bool) -> tuple[list[Encoded], list[str]]:
    """Conditions as numbers, and the words that the codec does not know: those have the null condition.

    With `strict` an unknown one is a DataError, for the codec was fitted on these.
    """
    like = empty_like(codec)
    items: list[Encoded] = []
    strange: dict[str, None] = {}
    for value in values:
        try:
            items.append(codec.encode(value))
        except DataError:
            if strict or not isinstance(value, str):
                raise
            strange[value] = None
            items.append(Encoded(like.x[:0], like.known[:0]))
    return items, list(strange)


def empty_like(codec: Codec) -> Encoded:
    """An empty sequence of a codec's space."""
    space = codec.space
    if isinstance(space, Tokens):
        return Encoded(np.zeros(0, np.int64), np.zeros(0, bool))
    return Encoded(np.zeros((0, space.dim), np.float32), np.zeros((0, space.dim), bool))


def _identity(document: Document, *, plain: bool) -> list[Any]:
    """What the encoded form of a document depends on; the name of a single stream is none of it."""
    values = {name: str(value) for name, value in document.given.items()}
    return ["" if plain else document.name, document.digest, values]
