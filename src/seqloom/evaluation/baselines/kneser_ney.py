"""An interpolated modified Kneser-Ney n-gram over any number of symbols, in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.integer[Any]]
Numbers = NDArray[np.float64]

LONGEST_TRAIN = 20_000_000
"""Symbols of training data that the n-gram is fitted on, from their end."""
_BLOCK = 1 << 20


def kneser_ney(train: Symbols, test: Symbols, size: int, order: int = 5, *, continued: bool = False) -> float:
    """Total nats of `test` (symbols below `size`) under a Kneser-Ney n-gram of `train`'s last 20 M symbols.

    With `continued` the end of `train` is the context of the first symbols; else their contexts are shorter.
    """
    model = KneserNey(train[-LONGEST_TRAIN:], size, order)
    return float(model.surprisal(test, train[-LONGEST_TRAIN:] if continued else None).sum())


@dataclass(frozen=True)
class _Level:
    """The n-grams of one length: what stands where in the table, and the numbers of each context."""

    keys: NDArray[np.int64]
    """Sorted: place of the n-gram's prefix in the table below it, times size, plus its last symbol."""
    kept: Numbers
    """For each n-gram: its count less the discount, over its context's total."""
    given_up: Numbers
    """For each context (an entry of the table below): the share of its mass that goes to shorter contexts; 1 if new."""


class KneserNey:
    """An interpolated modified Kneser-Ney n-gram over `size` symbols (Chen & Goodman 1999, section 3).

    The longest n-grams keep their counts; a shorter one counts the distinct symbols seen before it. Counts of 1, 2 and
    3 or more are discounted each by their own amount; the mass so saved goes to the next shorter context and, after
    the unigram, to the uniform distribution: every symbol has a positive probability and they sum to one.

    N-grams are looked up by place: (place of the prefix among the shorter ones, last symbol) is one integer whatever
    `size` and `order` are. Memory is a few integers a training symbol.
    """

    def __init__(self, train: Symbols, size: int, order: int = 5) -> None:
        assert size >= 1
        assert order >= 1
        assert not len(train) or 0 <= int(train.min()) <= int(train.max()) < size
        self.size = size
        self.order = min(order, len(train))
        self._levels: list[_Level] = []
        tables, counts = self._ladder(train)
        for k, (keys, count) in enumerate(zip(tables, counts, strict=True)):
            contexts = len(tables[k - 1]) if k else 1
            self._levels.append(_discounted(keys, count, keys // size, contexts))

    def surprisal(self, symbols: Symbols, context: Symbols | None = None) -> Numbers:
        """Nats of each symbol given those before it in `symbols` and, before these, in `context`."""
        reach = max(self.order - 1, 0)
        empty = np.zeros(0, np.int64)
        tail = empty if context is None or not reach else np.asarray(context[-reach:], np.int64)
        pieces = []
        for start in range(0, len(symbols), _BLOCK):
            block = np.asarray(symbols[start : start + _BLOCK], np.int64)
            joined = np.concatenate([tail, block])
            pieces.append(-np.log(self._probability(joined)[len(tail) :]))
            tail = joined[-reach:] if reach else empty
        return np.concatenate(pieces) if pieces else np.zeros(0)

    def _ladder(self, train: Symbols) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
        """The distinct n-grams of every length, and the count that each has in the model."""
        tables: list[NDArray[np.int64]] = []
        counts: list[NDArray[np.int64]] = []
        place = np.zeros(len(train), np.int32)  # of the empty n-gram before each symbol
        suffix = np.zeros(1, np.int64)  # place of each n-gram's suffix in the table below it
        for k in range(self.order):
            found = place[: len(train) - k] * np.int64(self.size)
            found += train[k:]
            if k == self.order - 1:
                keys, count = np.unique(found, return_counts=True)
            else:
                keys, count = np.unique(found), np.zeros(0, np.int64)
                place = _places(keys, found)
            if k:
                # The suffix of (prefix, symbol) is (suffix of the prefix, symbol): it is found without the text.
                suffix = np.searchsorted(tables[-1], suffix[keys // self.size] * self.size + keys % self.size)
                counts[-1] = np.bincount(suffix, minlength=len(tables[-1]))
            else:
                suffix = np.zeros(len(keys), np.int64)
            tables.append(keys)
            counts.append(count)
        return tables, counts

    def _probability(self, x: NDArray[np.int64]) -> Numbers:
        p = np.full(len(x), 1.0 / self.size)
        place = np.zeros(len(x), np.int64)  # of the n-gram just before each symbol; -1: never seen, or cut short
        for k, level in enumerate(self._levels):
            here = np.flatnonzero(place >= 0)
            context = place[here]
            wanted = context * self.size + x[here]
            at = np.minimum(np.searchsorted(level.keys, wanted), len(level.keys) - 1)
            seen = level.keys[at] == wanted
            p[here] = np.where(seen, level.kept[at], 0.0) + level.given_up[context] * p[here]
            if k + 1 < len(self._levels):
                place = np.full(len(x), -1)
                further = here[seen] + 1  # this n-gram is the context of the next symbol
                inside = further < len(x)
                place[further[inside]] = at[seen][inside]
        return p


def _discounted(keys: NDArray[np.int64], count: NDArray[np.int64], context: NDArray[np.int64], contexts: int) -> _Level:
    discount = _discounts(count)[np.minimum(count, 3)]
    total = np.bincount(context, weights=count, minlength=contexts)
    saved = np.bincount(context, weights=discount, minlength=contexts)
    given_up = np.divide(saved, total, out=np.ones(contexts), where=total > 0)
    kept = (count - discount) / np.maximum(total[context], 1.0)
    return _Level(keys, kept, given_up)


def _discounts(count: NDArray[np.int64]) -> Numbers:
    """What is taken from counts of 0, 1, 2 and 3 or more (Chen & Goodman 1999, equation 17).

    Small tables have no n-grams of some count; there the discounts are 1/2, 1 and 3/2. None is below 1/20, or a
    context might leave nothing for a symbol that never followed it.
    """
    n1, n2, n3, n4 = np.bincount(np.minimum(count, 5), minlength=6)[1:5].tolist()
    if not (n1 and n2 and n3 and n4):
        return np.array([0.0, 0.5, 1.0, 1.5])
    y = n1 / (n1 + 2 * n2)
    raw = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    return np.array([0.0, *(min(max(d, 0.05), i + 1.0) for i, d in enumerate(raw))])


def _places(table: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int32]:
    """Where each of `wanted` stands in the sorted table, in blocks; all of them do stand there."""
    found = np.empty(len(wanted), np.int32)
    for start in range(0, len(wanted), _BLOCK):
        found[start : start + _BLOCK] = np.searchsorted(table, wanted[start : start + _BLOCK])
    return found
