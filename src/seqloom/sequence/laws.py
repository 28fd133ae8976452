"""What is counted in a training split beside the network.

Laws of symbols are counted by `processes.priors`, moments of numbers by `processes.linear`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seqloom.sequence.batch import Batch
from seqloom.sequence.guess import Ask
from seqloom.sequence.space import Space

Numbers = NDArray[np.int64]

UNKNOWN = -1
"""In place of a symbol: nothing is known of what stands there."""
FAR = 1 << 40
"""How many symbols of the same sequence stand before a position, where that is not known."""


@dataclass(frozen=True)
class Asked:
    """Positions whose laws are asked for: `at` (N,) of the rows `row` (N,) of `symbols` (B,L).

    Symbols that are not to be seen are UNKNOWN. `since` (N,) counts the symbols before in the same sequence. Where
    `part` (N,) is given, the laws are those without what this part of the training split has.
    """

    symbols: Numbers
    row: Numbers
    at: Numbers
    since: Numbers
    part: Numbers | None = None

    def before(self, reach: int, size: int) -> Numbers:
        """The symbols (N,reach) before each position, the nearest first; `size` where the sequence begins."""
        back = np.arange(1, reach + 1)
        seen = self._around(-back)
        if self.since.min(initial=FAR) >= reach:
            return seen
        since = self.since[:, None]
        return np.where(back <= since, seen, np.where(back == since + 1, size, UNKNOWN))

    def after(self, reach: int) -> Numbers:
        """The symbols (N,reach) after each position, the nearest first."""
        return self._around(np.arange(1, reach + 1))

    def _around(self, offsets: Numbers) -> Numbers:
        index = self.at[:, None] + offsets
        if index.min(initial=0) >= 0 and index.max(initial=0) < self.symbols.shape[1]:
            return np.asarray(self.symbols[self.row[:, None], index])
        inside = (index >= 0) & (index < self.symbols.shape[1])
        own = self.symbols[self.row[:, None], np.clip(index, 0, self.symbols.shape[1] - 1)]
        return np.where(inside, own, UNKNOWN)


@dataclass(frozen=True)
class CountedSplit:
    """Elements of a training split that are counted: symbols x (N,), or numbers (N,D), and which cells are known.

    `begins` (N,) marks the first of each stretch of a sequence, `part` (N,) says which part of the split each is in.
    """

    x: NDArray[Any]
    begins: NDArray[np.bool_]
    part: Numbers
    known: NDArray[np.bool_] | None = None


class Laws(Protocol):
    """What was counted."""

    def tensors(self) -> dict[str, NDArray[Any]]:
        """All of it, by name."""
        ...


class SymbolLaws(Laws, Protocol):
    """Laws of the symbol at a position given those around it."""

    @property
    def kernel(self) -> Any:
        """The law from the left where a compiled program works it out for all symbols (`kernels.ngram`); else None."""
        ...

    def log_laws(self, asked: Asked) -> list[NDArray[np.float32]]:
        """The logarithm (N,V) of each law at the positions that are asked for."""
        ...

    def log_probability(self, asked: Asked, symbols: Numbers) -> NDArray[np.float32]:
        """The logarithm (N,) of what the law given the symbols before says of one symbol at each position."""
        ...

    def added(self, out: Tensor, gates: Sequence[float], asked: Asked) -> Tensor | None:
        """Logits from what a network gives, as `priors.with_laws` has them, where that is faster at once; else None."""
        ...


class Counts(Protocol):
    """A way to count."""

    @property
    def parts(self) -> int:
        """Stretches of the split, each of which is read in training with the counts of the others; 0: all counts."""
        ...

    @property
    def at_most(self) -> int:
        """Elements that are counted at most, the last ones of each part."""
        ...

    def count(self, split: CountedSplit, space: Space, ordered: bool) -> Laws:
        """What there is to count for a process that fills positions in order, or in any."""
        ...

    def of(self, tensors: Mapping[str, NDArray[Any]], space: Space, ordered: bool) -> Laws:
        """What `count` gave, from its tensors."""
        ...


class HasLaws(Protocol):
    """A network beside which something may have been counted."""

    laws: Laws | None


def asked_of(batch: Batch, seen: Tensor, wanted: Tensor | None = None) -> Asked:
    """All positions of a batch's rows, or those `wanted` (B,T), where the symbols that are `seen` (B,T) may be read."""
    symbols = np.where(seen.cpu().numpy(), batch.x.cpu().numpy(), UNKNOWN)
    rows, steps = symbols.shape
    index = np.arange(steps)
    since = index - np.maximum.accumulate(np.where(batch.begins.cpu().numpy(), index, -FAR), 1)  # (B,T)
    before = 0
    if batch.past is not None:
        past = np.where(batch.past.known.cpu().numpy(), batch.past.x.cpu().numpy(), UNKNOWN)
        symbols, before = np.concatenate([past, symbols], 1), past.shape[1]
    chosen = np.ones((rows, steps), bool) if wanted is None else wanted.cpu().numpy()
    row, at = np.nonzero(chosen)
    part = None if batch.part is None else batch.part.cpu().numpy()[chosen]
    return Asked(symbols, row, at + before, since[chosen], part)


def asked_by(ask: Ask, known: NDArray[np.bool_] | None = None, want: Numbers | None = None) -> Asked:
    """Positions (B,K) of the canvas of an ask, its own unless others are given; only what is `known` (B,T) is read."""
    canvas = ask.x.cpu().numpy()
    wanted = ask.want if want is None else want
    row = np.arange(len(canvas)) if wanted.shape[1] == 1 else np.repeat(np.arange(len(canvas)), wanted.shape[1])
    at = np.maximum(wanted.ravel(), 0)
    since = at if ask.begin is None or not ask.begin.any() else np.where(ask.begin[row] == 0, at, FAR)
    return Asked(canvas if known is None else np.where(known, canvas, UNKNOWN), row, at, since)
