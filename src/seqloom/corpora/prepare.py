"""From things to numbers, once for every corpus and codec: split, fit, encode into memory-mapped shards, describe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from numpy.typing import NDArray

from seqloom.codecs.base import Codec, fitted_unnamed
from seqloom.core.cache import cache
from seqloom.core.config import make
from seqloom.core.errors import DataError
from seqloom.core.foreign import code_of
from seqloom.core.progress import FIRST, LINE, number
from seqloom.corpora import shards
from seqloom.corpora.base import SPLITS, Flat, Given, Item, Items, Prepared, Shares, Split, sources_of
from seqloom.corpora.division import Division, EmptySplit, located
from seqloom.corpora.encoding import Encoding, beside

LARGE = 32 << 20
"""Bytes from which on it is said that encoding takes a while."""
Notify = Callable[[str], None]


class Preparation:
    """What a corpus is made ready with: fit what is not fitted, encode what is not in the cache, say what was found.

    `guessed` holds the names of the conditions whose codec nobody asked for by name, and "" where nobody asked for that
    of the things, so that another may take its place; nothing where one is aligned, element by element. `origin` is
    what the items follow from beside their `identity`: the corpus's settings and its code.
    """

    def __init__(
        self,
        items: Items,
        shares: Shares,
        codec: Codec,
        given: Mapping[str, Given],
        place: str,
        *,
        guessed: Collection[str],
        origin: Sequence[Any] = (),
        fraction: float = 1.0,
    ) -> None:
        self.items, self.shares, self.codec, self.given, self.place = items, shares, codec, given, place
        self.guessed, self.fraction = sorted(guessed), fraction
        self.requested: dict[str, Codec] = {name: item.codec for name, item in given.items() if item.codec is not None}
        self.sources = sources_of(given)
        conditions = {name: [item.source, item.enters] for name, item in given.items()}
        self.content = [items.identity, items.whole, items.ends, list(shares), fraction, conditions]
        self.content += [*origin, *code_of(codec, self.requested, self.sources)]

    @cached_property
    def division(self) -> Division:
        """What belongs to which split; made where something must be read at all."""
        return Division(self.items, self.shares, self.codec, self.place, self.fraction)

    def run(self, notify: Notify | None = None) -> Prepared:
        """The corpus, ready for training."""
        with _said_later(notify, "codecs are learned from the training split, once"):
            codec, conditions, notes = self._fitted()
        plain = [codec.plain(), {name: item.plain() for name, item in conditions.items()}]
        key = shards.key_of(self.content, *plain, code_of(codec, conditions))
        if shards.read(key) is None:
            large = self.items.size >= LARGE
            if notify and large:
                notify(f"encoding {self.items.size / 1e6:.0f} MB, once, into {cache()}")
            with shards.writing(key) as writer, shards.unfinished(key) if large else nullcontext() as unfinished:
                arguments = writer, self.division, codec, conditions, self.given, self.sources, unfinished
                writer.finish(Encoding(*arguments, told=_now_and_then(notify)).run())
        stored = shards.read(key)
        if stored is None:
            raise DataError("the encoded data cannot be read back", path=cache(), hint="see the disk's health")
        arrays, facts = stored
        aligned = tuple(name for name, item in self.given.items() if item.enters == "align")
        splits = {name: _split(name, arrays, facts[name], conditions, aligned) for name in SPLITS}
        return Prepared(codec, conditions, splits, self.items.ends, (*notes, *facts["notes"]), facts["facts"])

    def _fitted(self) -> tuple[Codec, dict[str, Codec], list[str]]:
        """Codecs that are fitted (as given, as found before, or on the training split), and what there is to say."""
        if not self.guessed and self.codec.fitted and all(item.fitted for item in self.requested.values()):
            return self.codec, self.requested, []
        asked = [self.codec.plain(), self.guessed, {name: item.plain() for name, item in self.requested.items()}]
        asked.append(code_of(self.codec, self.requested))  # a codec that has changed fits anew
        asked.append([codec.learned_elsewhere for codec in (self.codec, *self.requested.values())])
        asked.append(code_of(*(make(Codec, name) for name in self._others())))  # type: ignore[type-abstract]
        key = shards.key_of("fit", self.content, asked)
        stored = shards.recall(key)
        if stored is not None:
            conditions = {name: make(Codec, item) for name, item in stored["given"].items()}  # type: ignore[type-abstract]
            return make(Codec, stored["codec"]), conditions, stored["notes"]  # type: ignore[type-abstract]
        codec, notes = self._main()
        conditions = {name: self._condition(name) for name in self.requested}
        plain = {name: item.plain() for name, item in conditions.items()}
        shards.remember(key, {"codec": codec.plain(), "given": plain, "notes": notes})
        return codec, conditions, notes

    def _main(self) -> tuple[Codec, list[str]]:
        """The codec of the things, or its fallback."""
        codec = self.codec
        if codec.fitted:
            return codec, []
        reading = _Reading(self.division)
        try:
            return fitted_unnamed(codec, reading.by) if "" in self.guessed else (codec.fit(reading.by(codec)), [])
        except DataError as error:
            raise reading.located(error) from None

    def _others(self) -> list[str]:
        """The codecs that may take the place of those that were guessed."""
        guessed = [codec for name, codec in {"": self.codec, **self.requested}.items() if name in self.guessed]
        return sorted({name for codec in guessed for name in (codec.fallback, codec.coarser) if name})

    def _condition(self, name: str) -> Codec:
        """The codec of a condition."""
        codec = self.requested[name]
        if codec.fitted:
            return codec
        source, aligned = self.sources[name], self.given[name].enters == "align"

        def values(codec: Codec) -> Iterator[Any]:
            each = (beside(name, source, codec, segment, aligned=aligned) for segment in self.division.of("train"))
            return (value for value in each if value is not None)

        def anew(codec: Codec) -> Iterable[Any]:
            return _Anew(partial(values, codec))

        try:
            return fitted_unnamed(codec, anew)[0] if name in self.guessed else codec.fit(anew(codec))
        except DataError as error:
            if error.path:
                raise
            raise DataError(f"condition {name!r}: {error.message}", path=self.place, hint=error.hint) from None


@contextmanager
def _said_later(notify: Notify | None, text: str) -> Iterator[None]:
    """Say something where what is done in the block takes over two seconds."""
    timer = threading.Timer(FIRST, notify or (lambda text: None), [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _now_and_then(notify: Notify | None) -> Callable[[int], None]:
    """What tells how many elements are encoded: after two seconds, and then every ten."""
    following = time.monotonic() + FIRST

    def told(elements: int) -> None:
        nonlocal following
        if notify and time.monotonic() >= following:
            following = time.monotonic() + LINE
            notify(f"{number(elements)} elements are encoded")

    return told


@dataclass(frozen=True)
class _Anew:
    """What is read from its beginning by each that goes through it."""

    begin: Callable[[], Iterator[Any]]

    def __iter__(self) -> Iterator[Any]:
        return self.begin()


class _Reading:
    """The pieces of the training split, and which was read last."""

    def __init__(self, division: Division) -> None:
        self.division = division
        self.read = 0
        self.item: Item | None = None

    def by(self, codec: Codec) -> Iterable[Any]:
        """The pieces as a codec reads them."""
        return _Anew(partial(self._pieces, codec))

    def _pieces(self, codec: Codec) -> Iterator[Any]:
        for segment in self.division.of("train"):
            self.item = segment.item
            for piece in segment.pieces(codec):
                self.read += 1
                yield piece

    def located(self, error: DataError) -> DataError:
        """The error with the place that was read last, where it says none; or that there is nothing to read."""
        if not self.read and next(iter(self.division.of("train")), None) is None:
            return EmptySplit(self.division.place)
        return error if self.item is None else located(error, self.item, self.division.place)


def _split(
    name: str,
    arrays: Mapping[str, NDArray[Any]],
    facts: Mapping[str, Any],
    conditions: Mapping[str, Codec],
    aligned: tuple[str, ...],
) -> Split:
    def flat(prefix: str) -> Flat:
        known, shown = arrays.get(f"{prefix}.known"), arrays.get(f"{prefix}.shown")
        return Flat(arrays[f"{prefix}.x"], arrays[f"{prefix}.starts"], known, shown)

    given = {label: flat(f"{name}.given.{label}") for label in conditions}
    owner = arrays.get(f"{name}.items")
    return Split(flat(name), given, facts["units"], facts["extra_nats"], facts["fingerprint"], owner, aligned)
