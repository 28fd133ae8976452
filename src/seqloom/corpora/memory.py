"""Toys that ask for something remembered from long ago: each text has a certain answer at its end.

How far back what is asked for stands is a text's lag, one of 8, 16, 32, ... up to the longest, all alike. Text k
depends on (seed, k) alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqloom.core.rng import Rng

SHORTEST = 8
BLANK = "."


def lags_up_to(longest: int) -> list[int]:
    """8, 16, 32, ..., the last of which is not above `longest`."""
    return [SHORTEST << i for i in range(int(math.log2(longest / SHORTEST)) + 1)]


@dataclass(frozen=True)
class Copy:
    """A word, blanks, a sign, and the word again (Hochreiter & Schmidhuber 1997; Arjovsky et al. 2016)."""

    longest: int = 64
    """The longest lag: positions from a letter to its copy."""
    alphabet: str = "abcdefgh"
    """The letters, all equally likely."""
    length: int = 4
    """Letters of the word, which are asked for."""

    def texts(self, n: int, seed: int) -> list[str]:
        """So many texts."""
        return [self._text(lag, u) for lag, u in _drawn(n, seed, self.longest, self.length)]

    def _text(self, lag: int, u: NDArray[np.float64]) -> str:
        word = "".join(self.alphabet[int(x * len(self.alphabet))] for x in u)
        return word + BLANK * (lag - self.length - 1) + "|" + word

    def lag(self, text: str) -> int:
        """The lag of a text."""
        return len(text) - self.length

    def answer(self, text: str) -> range:
        """The positions of a text that follow from what stands before them, and are asked for."""
        return range(len(text) - self.length, len(text))

    @property
    def entropy(self) -> float:
        """Nats of a text: its word and its lag; all else is certain."""
        return self.length * math.log(len(self.alphabet)) + math.log(len(lags_up_to(self.longest)))


@dataclass(frozen=True)
class Recall:
    """Keys with their values, blanks, a sign, and the same keys in another order with theirs (Arora et al. 2024)."""

    longest: int = 64
    """The longest lag: positions from the last pair to the first answer."""
    keys: str = "abcdef"
    """No key is there twice."""
    values: str = "0123"
    """Of each key, all equally likely."""
    pairs: int = 3
    """Keys of a text."""

    def texts(self, n: int, seed: int) -> list[str]:
        """So many texts."""
        return [self._text(lag, u) for lag, u in _drawn(n, seed, self.longest, len(self.keys) + 2 * self.pairs)]

    def _text(self, lag: int, u: NDArray[np.float64]) -> str:
        keys, values, order = np.split(u, [len(self.keys), len(self.keys) + self.pairs])
        chosen = np.argsort(keys)[: self.pairs]
        pairs = [self.keys[k] + self.values[int(x * len(self.values))] for k, x in zip(chosen, values, strict=True)]
        return "".join(pairs) + BLANK * (lag - 3) + "?" + "".join(pairs[i] for i in np.argsort(order))

    def lag(self, text: str) -> int:
        """The lag of a text."""
        return len(text) - 4 * self.pairs + 2

    def answer(self, text: str) -> range:
        """The positions of a text that follow from what stands before them, and are asked for."""
        return range(len(text) - 2 * self.pairs + 1, len(text), 2)

    @property
    def entropy(self) -> float:
        """Nats of a text: its pairs in their order, its lag, and the order in which they are asked for."""
        pairs = math.log(math.perm(len(self.keys), self.pairs)) + self.pairs * math.log(len(self.values))
        return pairs + math.log(math.factorial(self.pairs)) + math.log(len(lags_up_to(self.longest)))


def _drawn(n: int, seed: int, longest: int, numbers: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """The lag of each text, and so many uniform numbers."""
    lags, rng = lags_up_to(longest), Rng.of(np.full(n, seed, np.int64), np.arange(n))
    for u in rng.at("recall and copy").uniform(1 + numbers):
        yield lags[int(u[0] * len(lags))], u[1:]


MEMORY = {"copy": Copy, "recall": Recall}
