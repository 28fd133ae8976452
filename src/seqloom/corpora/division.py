"""How the things of a corpus are split: by raw content and names alone, whatever codec reads them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.base import Codec
from seqloom.core.errors import DataError
from seqloom.corpora.base import SPLITS, Item, Items, Shares

TRAIN = SPLITS[0]
FEW = 10
"""Things below which each is split by position where its codec can, since some of so few would be no fair split."""
FEWEST = 2
"""Things, or positions, that a training split needs."""


@dataclass(frozen=True)
class Segment:
    """What of a thing belongs to a split: its positions from `begin` to `end` (None: all of them)."""

    split: str
    item: Item
    begin: int = 0
    end: int | None = None
    divided: bool = False

    def pieces(self, codec: Codec) -> Iterator[Any]:
        """The values of this part, in pieces."""
        return codec.pieces(self.item.content, self.begin, self.end)

    def digest(self, codec: Codec) -> bytes:
        """Of its raw content."""
        if self.item.digest and not self.divided:
            return bytes.fromhex(self.item.digest)
        total = hashlib.sha256()
        for piece in codec.raw(self.item.content, self.begin, self.end):
            total.update(piece)
        return total.digest()


class Division:
    """Which part of which thing belongs to which split: by raw content and names alone.

    Of the training split a `fraction` is kept: of things that are cut by position the end of each, which stands next to
    what is scored, else as many things, those of which a hash of the name is lowest. So a smaller fraction is a part of
    a larger one, and the other splits are the same under all of them.
    """

    def __init__(self, items: Items, shares: Shares, codec: Codec, place: str, fraction: float = 1.0) -> None:
        self.items, self.codec, self.place, self.fraction = items, codec, place, fraction
        keys: list[int] = []
        beforehand: list[int] = []  # of things that belong to training whatever the shares
        taken: set[str] = set()
        for item in items:
            if item.split:
                taken.add(item.split)
                if fraction < 1 and item.split == TRAIN:
                    beforehand.append(_key(item.name))
            else:
                keys.append(_key(item.name))
        self.free = len(keys)
        self.shares = _remaining_shares(shares, taken)
        self.by_position = codec.divisible and not items.whole and (not items.ends or self.free < FEW)
        if self.by_position:
            self.edges: Sequence[tuple[int, ...]] = self._by_position(codec)
        elif self.free:
            self.numbers = self._shared_out(np.array(keys, np.uint64))
        self.last_key: int | None = None
        """The hash of the last training thing that is kept; None where a fraction is one of each thing."""
        if fraction < 1:
            many = items.ends and len(keys) + len(beforehand) >= FEW
            if many or items.whole or not codec.divisible:
                free = keys if self.by_position else [key for key, n in zip(keys, self.numbers, strict=True) if not n]
                self.last_key = self._last_key(sorted([*free, *beforehand]))
            else:
                sizes = [part.end - part.begin for part in self.of(TRAIN) if part.end is not None]
                if sum(sizes) < FEWEST and any(part.split == TRAIN for part in self._parts()):
                    raise too_small(fraction, place)

    def _by_position(self, codec: Codec) -> list[tuple[int, ...]]:
        """Where the splits of each thing begin and end."""
        extents = [codec.extent(item.content) for item in self.items if not item.split]
        if not extents:
            return []
        whole = cuts(sum(extents), self.shares, self.place, codec.positions)
        edges: list[tuple[int, ...]] = [floors(extent, self.shares) for extent in extents]
        if len(extents) == 1:
            edges = [whole]
        for i, share in enumerate(self.shares):
            if share and not any(edge[i] < edge[i + 1] for edge in edges):
                raise too_few(codec.positions, sum(extents), self.place)
        return edges

    def _shared_out(self, keys: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """The number of the split of each thing, in the order of a hash of their names; equal ones stay together."""
        edges = cuts(len(keys), self.shares, self.place, "things")
        order = np.argsort(keys, kind="stable")
        numbers = np.zeros(len(keys), np.uint8)
        for number, (begin, end) in enumerate(pairwise(edges)):
            numbers[order[begin:end]] = number
        same = np.flatnonzero(keys[order][1:] == keys[order][:-1]) + 1
        for later in same:  # a thing that is there twice would be in training and test at once
            numbers[order[later]] = numbers[order[later - 1]]
        return numbers

    def _last_key(self, keys: Sequence[int]) -> int:
        """The hash up to which training things are kept, of those of all of them in order."""
        kept = math.floor(len(keys) * self.fraction + 1e-9)
        if keys and kept < FEWEST:
            raise too_small(self.fraction, self.place)
        return keys[kept - 1] if keys else 0

    def __iter__(self) -> Iterator[Segment]:
        """Every part that is kept, thing by thing."""
        for part in self._parts():
            if self.fraction == 1 or part.split != TRAIN:
                yield part
            elif self.last_key is None:
                end = self.codec.extent(part.item.content) if part.end is None else part.end
                size = math.floor((end - part.begin) * self.fraction + 1e-9)
                if size:
                    yield replace(part, begin=end - size, end=end, divided=True)
            elif _key(part.item.name) <= self.last_key:
                yield part

    def _parts(self) -> Iterator[Segment]:
        """Every part of the whole splits, thing by thing."""
        free = 0
        for item in self.items:
            if item.split:
                yield Segment(item.split, item)
            elif self.by_position:
                for name, (begin, end) in zip(SPLITS, pairwise(self.edges[free]), strict=True):
                    if begin < end:
                        yield Segment(name, item, begin, end, divided=True)
            else:
                yield Segment(SPLITS[self.numbers[free]], item)
            free += not item.split

    def of(self, split: str) -> Iterator[Segment]:
        """The parts of one split."""
        return (segment for segment in self if segment.split == split)


class Fingerprint:
    """The hash of a split: that of its content where it has one part, that of their hashes where there are several."""

    def __init__(self) -> None:
        self.first: bytes | None = None
        self.several: Any = None

    def add(self, digest: bytes) -> None:
        """The digest of one more part."""
        if self.first is None:
            self.first = digest
            return
        if self.several is None:
            self.several = hashlib.sha256(self.first)
        self.several.update(digest)

    @property
    def hex(self) -> str:
        """In hexadecimal."""
        if self.several is not None:
            return str(self.several.hexdigest())
        return (self.first or hashlib.sha256().digest()).hex()


def fingerprint(division: Division, codec: Codec, split: str) -> str:
    """That of a split."""
    total = Fingerprint()
    for segment in division.of(split):
        total.add(segment.digest(codec))
    return total.hex


def values_of(division: Division, codec: Codec, split: str, last: int | None = None) -> Iterator[Any]:
    """The value of each part of a split; of one that is long, the last `last` elements at most."""
    for segment in division.of(split):
        pieces: list[Any] = []
        length = 0
        for piece in segment.pieces(codec):
            pieces.append(piece)
            length += codec.size(piece)
            while last is not None and len(pieces) > 1 and length - codec.size(pieces[0]) >= last:
                length -= codec.size(pieces.pop(0))
        if not pieces:
            continue
        whole = codec.join(pieces)
        yield whole if last is None or length <= last else codec.cut(whole, length - last, length)


def cuts(total: int, shares: Shares, place: str, what: str) -> tuple[int, int, int, int]:
    """Where the splits of `total` things begin and end: each that has a share has one of them, training two."""
    sizes = [end - begin for begin, end in pairwise(floors(total, shares))]
    for i, share in enumerate(shares):
        if share > 0 and not sizes[i]:
            sizes[sizes.index(max(sizes))] -= 1
            sizes[i] = 1
    if min(sizes) < 0 or (shares[0] and sizes[0] < FEWEST) or not total:
        raise too_few(what, total, place)
    return 0, sizes[0], sizes[0] + sizes[1], total


def floors(total: int, shares: Shares) -> tuple[int, int, int, int]:
    """Where the splits of `total` things begin and end, rounded down."""
    first, second = (math.floor(total * share + 1e-9) for share in (shares[0], shares[0] + shares[1]))
    return 0, first, min(total, second), total


def too_few(what: str, total: int, place: str) -> TooLittle:
    """The error of data that cannot be split."""
    return TooLittle(
        f"too little data to split: {total} {what if total != 1 else what.removesuffix('s')}",
        path=place,
        hint="give more, or train on all of it with corpus.splits=[1,0,0]",
    )


def too_small(fraction: float, place: str) -> DataError:
    """The error of a fraction of the training split that leaves nothing to learn from."""
    return DataError(
        f"{fraction:g} of the training split is too little to learn from", path=place, hint="a greater fraction"
    )


def _remaining_shares(shares: Shares, taken: set[str]) -> Shares:
    """The shares of what is not split beforehand, over the splits that have no things of their own."""
    kept = [0.0 if name in taken and name != "train" else share for name, share in zip(SPLITS, shares, strict=True)]
    total = sum(kept)
    if not total:
        return (1.0, 0.0, 0.0)
    return kept[0] / total, kept[1] / total, kept[2] / total


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big")


class TooLittle(DataError):
    """There is not enough to make splits of."""


class EmptySplit(TooLittle):
    """The training split holds nothing."""

    def __init__(self, place: str, hint: str = "give more data, or other corpus.splits") -> None:
        super().__init__("the training split is empty", path=place, hint=hint)


def located(error: DataError, item: Item, place: str) -> DataError:
    """The error with the place of the thing that it is about, where it says none."""
    if error.path:
        return error
    return error.at(item.path or place, error.line if error.line is not None else item.line)
