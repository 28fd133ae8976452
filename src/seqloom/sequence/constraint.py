"""Constraint: which symbols a sample may have at a position, whatever probability the model gives them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqloom.sequence.canvas import Begun
from seqloom.sequence.stop import Stop


class Constraint(ABC):
    """What may be drawn. The engine asks before each draw; a symbol that is not allowed has no probability."""

    ordered: bool = False
    """Whether all elements before the one that is drawn must be known: only samplers from left to right then work."""

    def over(self, want: NDArray[np.int64]) -> bool:
        """Whether all may stand at these positions and at those after them."""
        return False

    @abstractmethod
    def allowed(self, x: NDArray[np.int64], want: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
        """Which of `size` symbols may stand at positions `want` (B,K) of canvases x (B,T): (B,K,size).

        Where nothing is known of a canvas, x is -1.
        """


@dataclass(frozen=True)
class OnlySymbols(Constraint):
    """Some symbols, wherever it is."""

    symbols: tuple[int, ...]

    def allowed(self, x: NDArray[np.int64], want: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
        mask = np.zeros(size, bool)
        mask[list(self.symbols)] = True
        return np.broadcast_to(mask, (*want.shape, size))


@dataclass(frozen=True)
class Without(Constraint):
    """None of these comes up, beyond what is known of them already.

    Symbols that are drawn in one call do not know of each other, so together they may make one. Where every symbol
    would complete one, all may stand.
    """

    texts: Sequence[Stop]

    def allowed(self, x: NDArray[np.int64], want: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
        mask = np.ones((*want.shape, size), bool)
        for b, k in np.argwhere(want >= 0).tolist():
            at = int(want[b, k])
            unknown = np.flatnonzero(x[b] < 0)
            unknown = unknown[unknown != at]
            i = int(np.searchsorted(unknown, at))
            begin = unknown[i - 1] + 1 if i else 0
            end = unknown[i] if i < len(unknown) else x.shape[1]
            for text in self.texts:
                mask[b, k] &= ~text.completing(x[b, begin:at], x[b, at + 1 : end], size)
        mask[~mask.any(-1)] = True
        return mask


@dataclass(frozen=True)
class AtPositions(Constraint):
    """At some positions only some symbols."""

    symbols: Mapping[int, NDArray[np.int64]]

    def over(self, want: NDArray[np.int64]) -> bool:
        return int(want.min()) > max(self.symbols, default=-1)

    def allowed(self, x: NDArray[np.int64], want: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
        mask = np.ones((*want.shape, size), bool)
        for position, symbols in self.symbols.items():
            only = np.zeros(size, bool)
            only[symbols] = True
            mask[want == position] = only
        return mask


@dataclass(frozen=True)
class Beginnings(Constraint):
    """What is made from some positions on begins with a text, however it is parted into symbols."""

    begun: Mapping[int, Begun]
    ordered = True

    def over(self, want: NDArray[np.int64]) -> bool:
        return int(want.min()) >= max(at + len(one.text) for at, one in self.begun.items())

    def allowed(self, x: NDArray[np.int64], want: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
        mask = np.ones((*want.shape, size), bool)
        for begin, one in self.begun.items():
            inside = (want >= begin) & (want < begin + len(one.text))
            for b, k in np.argwhere(inside).tolist():
                made = b"".join(one.spelling[symbol] for symbol in x[b, begin : want[b, k]].tolist())
                if len(made) < len(one.text):
                    only = np.zeros(size, bool)
                    only[one.symbols(one.text[len(made) :], whole=False)] = True
                    mask[b, k] = only
        return mask


@dataclass(frozen=True)
class Every(Constraint):
    """What all of these allow; where that is nothing, what the first does."""

    constraints: Sequence[Constraint]

    @staticmethod
    def of(constraints: Sequence[Constraint]) -> Constraint | None:
        """All of these as one; None where there are none."""
        return Every(constraints) if len(constraints) > 1 else next(iter(constraints), None)

    @property
    def ordered(self) -> bool:  # type: ignore[override]
        return any(one.ordered for one in self.constraints)

    def over(self, want: NDArray[np.int64]) -> bool:
        return all(one.over(want) for one in self.constraints)

    def allowed(self, x: NDArray[np.int64], want: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
        masks = [one.allowed(x, want, size) for one in self.constraints]
        every = np.logical_and.reduce(masks)
        return np.where(every.any(-1, keepdims=True), every, masks[0])


@dataclass(frozen=True)
class OneOf(Constraint):
    """What is made from position `begin` on is one of these sequences, all of it; after it comes the end symbol.

    Where there is no end symbol (`end` None), what follows a whole sequence is free.
    """

    sequences: Sequence[tuple[int, ...]]
    begin: int = 0
    end: int | None = None
    ordered = True

    def allowed(self, x: NDArray[np.int64], want: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
        mask = np.zeros((*want.shape, size), bool)
        for b, k in np.argwhere(want >= 0).tolist():
            made = tuple(x[b, self.begin : want[b, k]].tolist())
            fitting = [s for s in self.sequences if s[: len(made)] == made[: len(s)]]
            mask[b, k, [s[len(made)] for s in fitting if len(s) > len(made)]] = True
            if any(len(s) <= len(made) for s in fitting):
                mask[b, k, slice(None) if self.end is None else self.end] = True
        return mask
