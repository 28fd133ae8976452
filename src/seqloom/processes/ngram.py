"""Counts of symbols after the symbols before them, and the interpolated Kneser-Ney law that follows from them.

P(s | context) = (count - d(count)) / total + backoff(context) P(s | context without its farthest symbol), where the
longest contexts count how often a symbol follows, the shorter ones before how many different symbols (Kneser & Ney
1995), and d has a value for counts of one, two and more (Chen & Goodman 1999). Of a training text the law is asked
with the counts of one part of it taken away, as if that part had never been read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqloom.kernels.ngram import NgramKernel, SparseLaw, compiled
from seqloom.sequence.laws import UNKNOWN

Numbers = NDArray[np.int64]

SCRATCH = 1 << 21
"""Contexts times symbols that are written down at once where there are many symbols."""
SMALL = 512
"""Up to so many symbols the laws after one symbol are kept as a table."""


@dataclass(frozen=True)
class Level:
    """Contexts of one length, what follows on them, and what each part of the text has of that.

    `keys` (C,) are the contexts in order: the number of the context one shorter, times the number of symbols, plus the
    farthest symbol. Entries of context c are `first[c]` to `first[c + 1]`: `symbol` (E,) and `mass` (E,), its count
    less its discount. `pair` (P,) are the context and the part, of which the same holds in `pair_first`, `pair_symbol`
    and `pair_mass` (what taking the part away changes); `total` and `discount` are sums over a context, `pair_total`
    and `pair_discount` what a part has of them.
    """

    keys: Numbers
    first: Numbers
    symbol: NDArray[np.int32]
    mass: NDArray[np.float32]
    total: NDArray[np.float32]
    discount: NDArray[np.float32]
    pair: Numbers
    pair_first: Numbers
    pair_symbol: NDArray[np.int32]
    pair_mass: NDArray[np.float32]
    pair_total: NDArray[np.float32]
    pair_discount: NDArray[np.float32]


class Entries(NamedTuple):
    """Symbols with a mass each, in stretches: the i-th is `first[i]` to `first[i + 1]`, in the order of its symbols."""

    first: Numbers
    symbol: NDArray[np.int32]
    mass: NDArray[np.float32]


Add = Callable[[Numbers, NDArray[np.float32], Numbers, Entries], None]
"""Adds to rows (N,), each times its weight (N,), the entries of stretches `which` (N,)."""


class KneserNey:
    """The law of the next symbol (of `size`) given up to `order - 1` symbols before it.

    Contexts (N,order-1) have the nearest symbol first: a symbol, `size` where the sequence begins, or UNKNOWN.
    """

    def __init__(self, levels: list[Level], size: int, parts: int) -> None:
        self.levels, self.size, self.parts = levels, size, parts

    @property
    def reach(self) -> int:
        """How many symbols before a position it looks at."""
        return len(self.levels) - 1

    @property
    def bytes(self) -> int:
        """The memory of all tables."""
        return sum(value.nbytes for value in self.tensors().values())

    @classmethod
    def count(
        cls,
        x: Numbers,
        begins: NDArray[np.bool_],
        part: Numbers,
        *,
        size: int,
        order: int,
        parts: int,
        least: int = 1,
    ) -> KneserNey:
        """From symbols (N,), with which of them begin a sequence, and of which part of the text each is.

        Contexts of two symbols and more that occur fewer than `least` times are left out.
        """
        since = np.arange(len(x)) - np.maximum.accumulate(np.where(begins, np.arange(len(x)), 0))
        context, keys = np.zeros(len(x), np.int64), np.zeros(1, np.int64)
        contexts, tables = [context], [keys]
        for k in range(1, order):
            known = (contexts[-1] >= 0) & (since + 1 >= k)
            at = np.nonzero(known)[0]
            farthest = np.where(since[at] >= k, x[np.maximum(at - k, 0)], size)
            keys, inverse, times = np.unique(
                contexts[-1][at] * (size + 1) + farthest, return_inverse=True, return_counts=True
            )
            kept = times >= (least if k > 1 else 1)
            number = np.where(kept, np.cumsum(kept) - 1, UNKNOWN)
            keys, context = keys[kept], np.full(len(x), UNKNOWN)
            context[at] = number[inverse]
            contexts.append(context)
            tables.append(keys)
        levels: list[Level] = []
        above: tuple[Numbers, Numbers, Numbers] | None = None  # of each longer entry a position, its part (-1: several)
        for k in reversed(range(order)):
            at = np.nonzero(contexts[k] >= 0)[0]
            entries, first_at, entry = np.unique(contexts[k][at] * size + x[at], return_index=True, return_inverse=True)
            low, high = np.full(len(entries), parts), np.full(len(entries), -1)
            np.minimum.at(low, entry, part[at])
            np.maximum.at(high, entry, part[at])
            if above is None:
                counted, own = entry, part[at]
            else:  # each longer entry counts once, and so does what nothing stands before
                of = np.full(len(x), -1)
                of[at] = entry
                alone = at if k + 1 >= order else at[contexts[k + 1][at] < 0]
                counted = np.concatenate([of[above[0]], of[alone]])
                own = np.concatenate([above[1], part[alone]])
            levels.append(_level(tables[k], entries, counted, own, size, parts))
            above = at[first_at], np.where(low == high, low, -1), entries
        return cls(levels[::-1], size, parts)

    def log_law(self, contexts: Numbers, parts: Numbers | None = None) -> NDArray[np.float32]:
        """The logarithm (N,size) of the law; where `parts` (N,) is given, without what these parts of the text have."""
        if self.kernel is not None:
            return self.kernel.log_law(contexts, parts)
        return self.plain_log_law(contexts, parts)

    @cached_property
    def kernel(self) -> NgramKernel | None:
        """What computes the laws in place of the formulas here, where there is a compiler."""
        tables = [{f.name: getattr(level, f.name) for f in fields(Level)} for level in self.levels]
        return compiled(tables, self.size, self.parts)

    def plain_log_law(self, contexts: Numbers, parts: Numbers | None = None) -> NDArray[np.float32]:
        """The same without a compiled program."""
        short = self._short if contexts.shape[1] and self.size <= SMALL else None
        if short is None:
            law = np.full((len(contexts), self.size), 1 / self.size, np.float32)
            scale, found, begin = np.ones(len(contexts), np.float32), np.full(len(contexts), UNKNOWN), 0
        else:
            row = (0 if parts is None else parts + 1) * (self.size + 2) + contexts[:, 0] + 1
            law, scale, found, begin = short[0][row], short[1][row], short[2][row], 2
        self._lengthen(_into(law), scale, found, contexts, parts, begin)
        # No symbol is less likely than the uniform law makes it, but for rounding where something was taken away.
        logs = np.log(np.maximum(law, 1 / self.size, out=law), out=law)
        logs += np.log(scale)[:, None]
        return logs

    def sparse_log_law(self, contexts: Numbers, parts: Numbers | None = None) -> SparseLaw:
        """The same law as what differs from that of symbols alone: nothing is as large as contexts times symbols."""
        if self.kernel is not None:
            return self.kernel.sparse_log_law(contexts, parts, *self._alone)
        return self.plain_sparse_log_law(contexts, parts)

    def plain_sparse_log_law(self, contexts: Numbers, parts: Numbers | None = None) -> SparseLaw:
        """The same without a compiled program."""
        base, scales = self._alone
        which = np.zeros(len(contexts), np.int64) if parts is None else parts + 1
        scale, found = scales[which], np.zeros(len(contexts), np.int64)
        each = max(1, SCRATCH // self.size)
        rows: list[Numbers] = []
        symbols: list[Numbers] = []
        more: list[NDArray[np.float32]] = []
        for begin in range(0, len(contexts), each):
            here = slice(begin, begin + each)
            add = _Scattered(len(which[here]), self.size)
            self._lengthen(add, scale[here], found[here], contexts[here], None if parts is None else parts[here], 1)
            key, value = add.sums()
            row, symbol = key // self.size, key % self.size
            before = base[which[here][row], symbol]
            rows.append(row + begin)
            symbols.append(symbol)
            more.append(np.log(np.maximum(np.exp(before) + value, 1 / self.size)) - before)
        return SparseLaw(
            base, which, np.log(scale), np.concatenate(rows), np.concatenate(symbols), np.concatenate(more)
        )

    def log_probability(self, contexts: Numbers, symbols: Numbers, parts: Numbers | None = None) -> NDArray[np.float32]:
        """The logarithm (N,) of the law at one symbol each, without writing down the others."""
        add = _Single(symbols, self.size)
        scale, found = np.ones(len(contexts), np.float32), np.full(len(contexts), UNKNOWN)
        self._lengthen(add, scale, found, contexts, parts, 0)
        return np.log(np.maximum(add.law, 1 / self.size)) + np.log(scale)

    @cached_property
    def _alone(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of all parts and without each: the logarithm of the law of symbols alone over its scale, and the scale."""
        law = np.full((self.parts + 1, self.size), 1 / self.size, np.float32)
        scale, found = np.ones(self.parts + 1, np.float32), np.full(self.parts + 1, UNKNOWN)
        nothing = np.zeros((self.parts, 0), np.int64)
        self._lengthen(_into(law[:1]), scale[:1], found[:1], nothing[:1], None, 0, 1)
        self._lengthen(_into(law[1:]), scale[1:], found[1:], nothing, np.arange(self.parts), 0, 1)
        return np.log(np.maximum(law, 1 / self.size)), scale

    @cached_property
    def _short(self) -> tuple[NDArray[np.float32], NDArray[np.float32], Numbers]:
        """What the loop of `_lengthen` has after contexts of one symbol, for each part and each symbol before."""
        before = np.tile(np.arange(UNKNOWN, self.size + 1), self.parts + 1)[:, None]
        law = np.full((len(before), self.size), 1 / self.size, np.float32)
        scale, found = np.ones(len(before), np.float32), np.full(len(before), UNKNOWN)
        each = self.size + 2
        self._lengthen(_into(law[:each]), scale[:each], found[:each], before[:each], None, 0)
        part = np.repeat(np.arange(self.parts), each)
        self._lengthen(_into(law[each:]), scale[each:], found[each:], before[each:], part, 0)
        return law, scale, found

    def _lengthen(
        self,
        add: Add,
        scale: NDArray[np.float32],
        found: Numbers,
        contexts: Numbers,
        parts: Numbers | None,
        begin: int,
        end: int | None = None,
    ) -> None:
        """Go from contexts of `begin - 1` symbols to those of `end - 1`, or the longest, in place.

        The law so far is `scale` (N,) times a law (N,size) to which `add` adds: so backing off changes one number a
        row. `found` (N,) is the number of the row's context at the last level, UNKNOWN where it did not occur.
        """
        rows = np.nonzero(found >= 0)[0] if begin else np.arange(len(contexts))
        own = found[rows] if begin else np.zeros(len(rows), np.int64)
        for k in range(begin, min(len(self.levels), contexts.shape[1] + 1) if end is None else end):
            level = self.levels[k]
            if k:
                if not len(level.keys):
                    found[rows] = UNKNOWN
                    break
                symbol = contexts[rows, k - 1]
                key = own * (self.size + 1) + symbol
                index = np.minimum(np.searchsorted(level.keys, key), len(level.keys) - 1)
                same = (symbol >= 0) & (level.keys[index] == key)
                found[rows] = UNKNOWN
                rows, own = rows[same], index[same]
            found[rows] = own
            if not len(rows):
                break
            total, discount = level.total[own], level.discount[own]
            pair = has = None
            if parts is not None and len(level.pair):
                wanted = own * self.parts + parts[rows]
                pair = np.minimum(np.searchsorted(level.pair, wanted), len(level.pair) - 1)
                has = level.pair[pair] == wanted
                total = total - np.where(has, level.pair_total[pair], 0)
                discount = discount - np.where(has, level.pair_discount[pair], 0)
            seen = total > 0.5
            scale[rows] *= np.where(seen, discount / np.maximum(total, 0.5), 1).astype(np.float32)
            weight = np.where(seen, 1 / (np.maximum(total, 0.5) * scale[rows]), 0).astype(np.float32)
            add(rows, weight, own, Entries(level.first, level.symbol, level.mass))
            if pair is not None and has is not None and has.any():
                taken = Entries(level.pair_first, level.pair_symbol, level.pair_mass)
                add(rows[has], weight[has], pair[has], taken)

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """All tables, by name."""
        return {f"{k}.{f.name}": getattr(level, f.name) for k, level in enumerate(self.levels) for f in fields(Level)}

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[np.generic]], size: int, parts: int) -> KneserNey:
        """From what `tensors` gave."""
        order = 1 + max(int(name.split(".")[0]) for name in tensors)
        levels = [Level(**{f.name: tensors[f"{k}.{f.name}"] for f in fields(Level)}) for k in range(order)]  # type: ignore[arg-type]
        return cls(levels, size, parts)


def _level(keys: Numbers, entries: Numbers, counted: Numbers, own: Numbers, size: int, parts: int) -> Level:
    """A level from what counts: `counted` (M,) is the entry that it counts for, `own` the part it goes with, or -1."""
    count = np.bincount(counted, minlength=len(entries))
    context, symbol = entries // size, entries % size
    discounts = _discounts(count)
    less = discounts[np.minimum(count, 3)]
    first = np.searchsorted(context, np.arange(len(keys) + 1))
    kept = own >= 0
    taken, change = np.unique(counted[kept] * parts + own[kept], return_counts=True)
    entry = taken // parts
    left = count[entry] - change
    lost = less[entry] - discounts[np.minimum(left, 3)]
    pair_of = context[entry] * parts + taken % parts
    order = np.argsort(pair_of, kind="stable")
    pair, begin = np.unique(pair_of[order], return_index=True)
    return Level(
        keys=keys,
        first=first,
        symbol=symbol.astype(np.int32),
        mass=(count - less).astype(np.float32),
        total=_sums(count, first),
        discount=_sums(less, first),
        pair=pair,
        pair_first=np.append(begin, len(order)),
        pair_symbol=symbol[entry][order].astype(np.int32),
        pair_mass=(lost - change)[order].astype(np.float32),
        pair_total=_sums(change[order], np.append(begin, len(order))),
        pair_discount=_sums(lost[order], np.append(begin, len(order))),
    )


def _discounts(count: Numbers) -> NDArray[np.float64]:
    """What is taken off counts of 0, 1, 2, and 3 or more (Chen & Goodman 1999), by how many there are of each."""
    n = np.maximum(np.bincount(np.minimum(count, 4), minlength=5)[:5], 1).astype(float)
    y = n[1] / (n[1] + 2 * n[2])
    d = [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
    return np.array([0.0, *np.clip(d, 0.05, [0.95, 1.9, 2.85])])


def _sums(values: NDArray[np.generic], first: Numbers) -> NDArray[np.float32]:
    """Sums of values (E,) over stretches that begin at `first`."""
    running = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return np.asarray(running[first[1:]] - running[first[:-1]], np.float32)


def _into(law: NDArray[np.float32]) -> Add:
    """Adds entries to the rows of a law (N,size)."""
    flat, size = law.reshape(-1), law.shape[1]

    def add(rows: Numbers, weight: NDArray[np.float32], which: Numbers, of: Entries) -> None:
        row, entry = _stretches(which, of.first)
        flat[rows[row] * size + of.symbol[entry]] += weight[row] * of.mass[entry]

    return add


class _Single:
    """Adds what entries say of one symbol each; those of a stretch are in the order of their symbols."""

    def __init__(self, symbols: Numbers, size: int) -> None:
        self.symbols, self.law = symbols, np.full(len(symbols), 1 / size, np.float32)

    def __call__(self, rows: Numbers, weight: NDArray[np.float32], which: Numbers, of: Entries) -> None:
        wanted, low, high = self.symbols[rows], of.first[which], of.first[which + 1]
        end, last = high, len(of.symbol) - 1
        while (low < high).any():
            middle = (low + high) // 2
            below = (low < high) & (of.symbol[np.minimum(middle, last)] < wanted)
            low, high = np.where(below, middle + 1, low), np.where(below, high, middle)
        at = np.minimum(low, max(last, 0))
        there = (low < end) & (of.symbol[at] == wanted) if last >= 0 else np.zeros(len(rows), bool)
        self.law[rows[there]] += weight[there] * of.mass[at[there]]


class _Scattered:
    """Entries that are added to laws of N contexts, at their places alone; those of one call are at different ones."""

    def __init__(self, rows: int, size: int) -> None:
        self.size = size
        self.total = np.zeros(rows * size, np.float32)
        self.last = np.zeros(rows * size, np.int8)
        self.keys: list[Numbers] = []

    def __call__(self, rows: Numbers, weight: NDArray[np.float32], which: Numbers, of: Entries) -> None:
        row, entry = _stretches(which, of.first)
        key = rows[row] * self.size + of.symbol[entry]
        self.keys.append(key)
        self.total[key] += weight[row] * of.mass[entry]
        self.last[key] = len(self.keys)

    def sums(self) -> tuple[Numbers, NDArray[np.float32]]:
        """The places, each once, and what was added there."""
        own = [key[self.last[key] == number] for number, key in enumerate(self.keys, 1)]
        key = np.concatenate([*own, np.zeros(0, np.int64)])
        return key, self.total[key]


def _stretches(which: Numbers, first: Numbers) -> tuple[Numbers, Numbers]:
    """The entries of stretches `which` (N,), and which of the N each belongs to."""
    begin = first[which]
    length = first[which + 1] - begin
    ends = np.cumsum(length)
    row = np.repeat(np.arange(len(which)), length)
    return row, np.arange(ends[-1] if len(ends) else 0) + (begin - (ends - length))[row]
