"""One thing as numbers (`Encoded`), and one with parts to be made (`Canvas`): what codecs give, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Encoded:
    """One thing as a codec gives it to the rest.

    A cell is a position of tokens (T,) or one number of a vector (T, D). `known` is False where the world has no
    value; `origin` is whatever the codec's `decode` needs to give the thing back in its own units. `shown` cells are
    context: read, and never scored (None: there are none).
    """

    x: NDArray[Any]
    known: NDArray[np.bool_]
    origin: Mapping[str, Any] = field(default_factory=dict)
    shown: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Openings:
    """Stretches of `length` elements anywhere in some sequences, one of which stands before each sample of a canvas.

    The sequences lie end to end: `x` (N,D), which cells are `known` (None: all), and where each `starts` (S+1,).
    """

    x: NDArray[Any]
    known: NDArray[np.bool_] | None
    starts: NDArray[np.int64]
    length: int
    followed: int = 0
    """Elements that follow each of them in its sequence, at least."""
    owners: NDArray[np.int64] | None = None
    """The numbers of the sequences that they are of; None: all."""

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self._edges[-1])

    @cached_property
    def _edges(self) -> NDArray[np.int64]:
        counts = np.maximum(0, np.diff(self.starts) - self.length - self.followed + 1)
        if self.owners is not None:
            counts[np.setdiff1d(np.arange(len(counts)), self.owners)] = 0
        return np.cumsum(counts)

    def places(self, u: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The sequences (B,) of those at shares u (B,) of all, and where in its sequence each one begins."""
        number = np.minimum((u * self.count).astype(np.int64), self.count - 1)
        owner = np.searchsorted(self._edges, number, side="right")
        return owner, number - np.concatenate([[0], self._edges])[owner]

    def at(self, owner: NDArray[np.int64], first: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Those (B,L,D) at these places, and their known cells."""
        index = (self.starts[owner] + first)[:, None] + np.arange(self.length)
        x = self.x[index]
        return x, np.ones(x.shape, bool) if self.known is None else self.known[index]


@dataclass(frozen=True)
class Begun:
    """Text that what is made begins with: it may end inside a symbol, so its own symbols need not be those of all.

    `spelling` has the bytes of every symbol; the `count` symbols that the text has by itself stand on the canvas.
    """

    text: bytes
    spelling: Sequence[bytes]
    count: int

    def symbols(self, rest: bytes, *, whole: bool) -> list[int]:
        """Those that may stand where this rest of the text is still to come; `whole` ones hold all of it."""
        return [
            symbol
            for symbol, own in enumerate(self.spelling)
            if own and (own.startswith(rest) or (not whole and rest.startswith(own)))
        ]


@dataclass(frozen=True)
class Canvas:
    """A sequence with parts to be made: cells that are `shown` are given; `absent` ones do not exist.

    A cell that is neither is to be made. Shapes as in `Encoded`; values outside `shown` are of no account. The first
    `context` elements are shown to the model and are no part of what was asked for.
    """

    x: NDArray[Any]
    shown: NDArray[np.bool_]
    absent: NDArray[np.bool_]
    origin: Mapping[str, Any] = field(default_factory=dict)
    context: int = 0
    openings: Openings | None = None
    """What the context is, for each sample another one; None: what the canvas shows."""
    begun: Mapping[int, Begun] = field(default_factory=dict)
    """Positions from which on something is made that was begun."""
    only: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)
    """The symbols that may be made at some positions; at all others any may."""

    def __len__(self) -> int:
        return len(self.x)

    @property
    def partly_shown(self) -> NDArray[np.bool_]:
        """At which positions (T,) something is shown."""
        return np.asarray(self.shown if self.shown.ndim == 1 else self.shown.any(1))

    @property
    def settled(self) -> NDArray[np.bool_]:
        """Which positions (T,) have nothing to be made."""
        settled = self.shown | self.absent
        return np.asarray(settled if settled.ndim == 1 else settled.all(1))

    @property
    def ahead(self) -> int | None:
        """From which position on all is to be made, of a series that is continued; None where it is another thing.

        That is where nothing is known, or something of what follows a gap, or each sample goes on from something else.
        """
        if self.shown.ndim == 1 or self.openings is not None or self.settled.all():
            return None
        first = int(self.settled.argmin())
        shown = self.partly_shown
        return first if shown[:first].any() and not shown[first:].any() else None

    def opened(self, openings: Openings) -> Canvas:
        """The canvas before which stand openings."""
        after = ((openings.length, 0), (0, 0))
        shown = np.pad(self.shown, after)
        shown[: openings.length] = True
        x, absent = np.pad(self.x, after), np.pad(self.absent, after)
        return replace(self, x=x, shown=shown, absent=absent, context=openings.length, openings=openings)

    def at_once(self) -> Canvas:
        """The canvas if not filled in order: what was begun before an element is one symbol, and the rest is known."""
        shown, begun = self.shown.copy(), {}
        for at, one in self.begun.items():
            last = at + one.count - 1
            shown[at:last] = True
            begun[last] = replace(one, text=one.spelling[self.x[last]], count=1)
        return replace(self, shown=shown, begun=begun)
