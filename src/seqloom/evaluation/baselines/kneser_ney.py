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


def kneser_ney(
    train: Symbols,
    test: Symbols,
    size: int,
    order: int = 5,
    *,
    continued: bool = False,
    wanted: NDArray[np.bool_] | None = None,
) -> float:
    """Total nats of `test` (symbols below `size`) under a Kneser-Ney n-gram of `train`'s last 20 M symbols.

    With `continued` the end of `train` is the context of the first symbols; else their contexts are shorter. Symbols
    that are not `wanted` are read, and cost nothing.
    """
    model = KneserNey(train[-LONGEST_TRAIN:], size, order)
    surprisal = model.surprisal(test, train[-LONGEST_TRAIN:] if continued else None)
    return float((surprisal if wanted is None else surprisal[wanted]).sum())


@dataclass(frozen=True)
class _Level:
    """The table of the n-grams of one length, and the numbers of each context."""

    keys: NDArray[np.int64]
    """Sorted: index of the n-gram's prefix in the table of shorter ones, times size, plus its last symbol."""
    discounted: Numbers
    """For each n-gram: its count less the discount, over its context's total."""
    backoff: Numbers
    """For each context (an entry among the shorter n-grams): the share of mass for shorter contexts; 1 if unseen."""


class KneserNey:
    """An interpolated modified Kneser-Ney n-gram over `size` symbols (Chen & Goodman 1999, section 3).

    The longest n-grams keep their counts; a shorter one counts the distinct symbols seen before it. Counts of 1, 2 and
    3 or more are discounted each by their own amount; the mass so saved goes to the next shorter context and, after
    the unigram, to the uniform distribution: every symbol has a positive probability and they sum to one.

    N-grams are looked up by index: (index of the prefix among the shorter ones, last symbol) is one integer whatever
    `size` and `order` are. Memory is a few integers a training symbol.
    """

    def __init__(self, train: Symbols, size: int, order: int = 5) -> None:
        assert size >= 1
        assert order >= 1
        assert not len(train) or 0 <= int(train.min()) <= int(train.max()) < size
        self.size = size
        self.order = min(order, len(train))
        self._levels: list[_Level] = []
        tables, counts = self._ngram_tables(train)
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

    def _ngram_tables(self, train: Symbols) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
        """The distinct n-grams of every length, and the count that each has in the model."""
        tables: list[NDArray[np.int64]] = []
        counts: list[NDArray[np.int64]] = []
        index = np.zeros(len(train), np.int32)  # of the empty n-gram before each symbol
        suffix = np.zeros(1, np.int64)  # index of each n-gram's suffix in the table of shorter ones
        for k in range(self.order):
            keys_of_text = index[: len(train) - k] * np.int64(self.size)
            keys_of_text += train[k:]
            if k == self.order - 1:
                keys, count = np.unique(keys_of_text, return_counts=True)
            else:
                keys, count = np.unique(keys_of_text), np.zeros(0, np.int64)
                index = _indices(keys, keys_of_text)
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
        index = np.zeros(len(x), np.int64)  # of the n-gram just before each symbol; -1: never seen, or cut short
        for k, level in enumerate(self._levels):
            rows = np.flatnonzero(index >= 0)
            context = index[rows]
            wanted = context * self.size + x[rows]
            entry = np.minimum(np.searchsorted(level.keys, wanted), len(level.keys) - 1)
            seen = level.keys[entry] == wanted
            p[rows] = np.where(seen, level.discounted[entry], 0.0) + level.backoff[context] * p[rows]
            if k + 1 < len(self._levels):
                index = np.full(len(x), -1)
                further = rows[seen] + 1  # this n-gram is the context of the next symbol
                inside = further < len(x)
                index[further[inside]] = entry[seen][inside]
        return p


def _discounted(keys: NDArray[np.int64], count: NDArray[np.int64], context: NDArray[np.int64], contexts: int) -> _Level:
    discount = _discounts(count)[np.minimum(count, 3)]
    total = np.bincount(context, weights=count, minlength=contexts)
    saved = np.bincount(context, weights=discount, minlength=contexts)
    backoff = np.divide(saved, total, out=np.ones(contexts), where=total > 0)
    discounted = (count - discount) / np.maximum(total[context], 1.0)
    return _Level(keys, discounted, backoff)


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


def _indices(table: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int32]:
    """The index of each of `wanted` in the sorted table, block by block; all of them are in it."""
    indices = np.empty(len(wanted), np.int32)
    for start in range(0, len(wanted), _BLOCK):
        indices[start : start + _BLOCK] = np.searchsorted(table, wanted[start : start + _BLOCK])
    return indices
