"""Stop: what ends a sample where it comes up in what is made of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.int64]


class Stop(ABC):
    """What ends a sample. The engine asks after each step, the model before it shows anything."""

    @abstractmethod
    def kept(self, made: Symbols) -> int:
        """How many of the symbols that were made stay in the row; -1 where the stop has not come up."""

    @abstractmethod
    def shown(self, made: Symbols, done: bool) -> Symbols:
        """What of them is shown: nothing of the stop and, where more is to come, of what may turn out to be one."""

    @abstractmethod
    def completing(self, before: Symbols, after: Symbols, size: int) -> NDArray[np.bool_]:
        """Which of `size` symbols would bring it up if they stood between these."""


@dataclass(frozen=True)
class SymbolStop(Stop):
    """A run of symbols, none of which stays."""

    symbols: tuple[int, ...]

    def kept(self, made: Symbols) -> int:
        if len(made) < len(self.symbols):
            return -1
        matches = (np.lib.stride_tricks.sliding_window_view(made, len(self.symbols)) == self.symbols).all(1)
        return int(matches.argmax()) if matches.any() else -1

    def shown(self, made: Symbols, done: bool) -> Symbols:
        return made if done else made[: len(made) - begun(made.tolist(), self.symbols)]

    def completing(self, before: Symbols, after: Symbols, size: int) -> NDArray[np.bool_]:
        completing, count = np.zeros(size, bool), len(self.symbols)
        for place, symbol in enumerate(self.symbols):
            left, right = before[len(before) - place :], after[: count - 1 - place]
            if place <= len(before) and (*left.tolist(), symbol, *right.tolist()) == self.symbols:
                completing[symbol] = True
        return completing


@dataclass(frozen=True)
class ByteStop(Stop):
    """Some bytes, where a symbol stands for several: the one that holds their last stays, and they are not shown.

    `spelling` has the bytes of each symbol and `byte` the symbol of each single byte, by which what stands before the
    stop within its symbol is written. The first `given` bytes of what is made were asked for: none is searched.
    """

    text: bytes
    spelling: Sequence[bytes]
    byte: Sequence[int]
    given: int = 0

    def kept(self, made: Symbols) -> int:
        parts = self._parts(made)
        at = b"".join(parts).find(self.text, self.given)
        if at < 0:
            return -1
        ends = np.cumsum([len(part) for part in parts])
        return int(np.searchsorted(ends, at + len(self.text))) + 1

    def shown(self, made: Symbols, done: bool) -> Symbols:
        parts = self._parts(made)
        whole = b"".join(parts)
        at = whole.find(self.text, self.given)
        if at < 0:
            if done:
                return made
            at = max(self.given, len(whole) - begun(whole, self.text))
        ends = np.cumsum([0, *(len(part) for part in parts)])
        number = int(np.searchsorted(ends, at, side="right")) - 1  # whole symbols before it
        rest = [self.byte[value] for value in whole[ends[number] : at]]
        return np.concatenate([made[:number], np.array(rest, made.dtype)])

    def completing(self, before: Symbols, after: Symbols, size: int) -> NDArray[np.bool_]:
        most = len(self.text) - 1
        left = b"".join(self._parts(before[len(before) - min(most, len(before)) :]))
        right = b"".join(self._parts(after[:most]))
        left = left[len(left) - begun(left, self.text) :]
        right = right[: begun(right[::-1], self.text[::-1])]
        completing = np.zeros(size, bool)
        completing[self._completing(left, right)] = True
        return completing

    def _completing(self, left: bytes, right: bytes) -> list[int]:
        """The symbols that bring it up between these bytes, of which few are ever asked for."""
        if (left, right) not in self._asked:
            self._asked[left, right] = [i for i, own in enumerate(self.spelling) if self.text in left + own + right]
        return self._asked[left, right]

    @cached_property
    def _asked(self) -> dict[tuple[bytes, bytes], list[int]]:
        return {}

    def _parts(self, made: Symbols) -> list[bytes]:
        return [self.spelling[symbol] if symbol < len(self.spelling) else b"" for symbol in made.tolist()]


def begun(made: Sequence[int], stop: Sequence[int]) -> int:
    """How many elements at the end of what was made are a beginning of the stop."""
    most = min(len(made), len(stop) - 1)
    return next((n for n in range(most, 0, -1) if list(made[-n:]) == list(stop[:n])), 0)
