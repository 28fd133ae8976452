"""Whether samples of symbols are new and varied: runs copied from the training split, distinct runs, repetitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqloom.core.errors import UnsupportedQuery
from seqloom.metrics.base import Metric, MetricRecord, View

Symbols = NDArray[np.int64]


@dataclass(frozen=True)
class Originals:
    """Samples, the sequences that were learned from, and stretches of what was held out, as long as a sample."""

    made: Sequence[Symbols]
    learned: Iterable[Symbols]
    held: Sequence[Symbols]


Copying = Callable[[int, int, int], Originals]
"""Samples of at most a length, so many of them, from a seed, beside what was learned from and what was held out."""


class NoveltyMetric(Metric, name="novelty"):
    """Whether samples of symbols are new and varied, beside held-out data: copied runs, distinct runs, repetitions.

    `copied` is the longest run of a sample that stands in the training split (the last `most` elements of it), on
    average. `distinct_N` is how many of all runs of N elements are different (Li et al. 2016), `repetition` how many
    runs of `repeats` elements stood before in the same sample (Welleck et al. 2020). `ngrams_N` is the Jensen-Shannon
    divergence, in bits, of the frequencies of runs of N elements from those of the training split; a few samples have
    some by chance alone, as that many held-out ones have. None is better the lower or the higher it is: each is best
    where it is that of held-out data.
    """

    samples: int = Field(default=32, ge=1)
    """How many samples."""
    length: int = Field(default=256, ge=2)
    """Elements of a sample at most, and of a stretch of held-out data."""
    distinct: tuple[int, ...] = (4, 16)
    """Elements of the runs that are counted as distinct."""
    ngrams: tuple[int, ...] = (3,)
    """Elements of the runs whose frequencies are compared."""
    repeats: int = Field(default=16, ge=1)
    """Elements of a run that counts as repeated."""
    most: int = Field(default=4_000_000, ge=1)
    """Elements of the training split that are searched for copies: half a million a second or more."""

    def measure(self, view: View) -> list[MetricRecord]:
        if view.copies is None:
            raise UnsupportedQuery(
                "samples of such data are no symbols that could be copied",
                hint="leave the metric out; series have evaluate --synthetic",
            )
        return self.records(view.copies(self.length, self.samples, view.seed))

    def records(self, originals: Originals) -> list[MetricRecord]:
        """All measures of the samples, each with that of held-out data as its `nominal`."""
        made, held = originals.made, originals.held
        learned = last_of(originals.learned, self.most)
        runs = longest_copies([*made, *held], learned)
        copied = runs[: len(made)], runs[len(made) :]
        records = [self._record("copied", "elements", *copied, longest=max(copied[0]))]
        # What is counted over many texts grows with how many they are: as many of each are counted together.
        together = min(len(made), len(held)) or len(made)
        groups = [_groups(texts, together) for texts in (made, held)]
        for n in self.distinct:
            shares = [[distinct(group, n) for group in own] for own in groups]
            records.append(self._record(f"distinct_{n}", "share", *shares))
        for n in self.ngrams:
            known = frequencies(learned, n)
            apart = [[divergence(frequencies(group, n), known) for group in own] for own in groups]
            records.append(self._record(f"ngrams_{n}", "bits", *apart))
        repeated = [[1 - distinct([text], self.repeats) for text in texts] for texts in (made, held)]
        records.append(self._record("repetition", "share", *repeated))
        return [record | {"count": len(made)} for record in records]

    def _record(
        self, name: str, unit: str, made: Sequence[float], held: Sequence[float], **more: object
    ) -> MetricRecord:
        error = float(np.std(made, ddof=1) / np.sqrt(len(made))) if len(made) > 1 else None
        nominal = float(np.mean(held)) if held else None
        return {
            "name": name,
            "value": float(np.mean(made)),
            "unit": unit,
            "kind": "estimate",
            "stderr": error,
            "better": "nominal",
            "nominal": nominal,
            "context": "" if nominal is None else f"held-out data: {nominal:.4g}",
            **more,
        }


def _groups(texts: Sequence[Symbols], size: int) -> list[Sequence[Symbols]]:
    """Texts by so many, without those that are left over."""
    return [texts[i : i + size] for i in range(0, len(texts) - size + 1, size)] if size else []


def last_of(sequences: Iterable[Symbols], most: int) -> list[Symbols]:
    """The last `most` elements of some sequences."""
    kept, left = [], most
    for sequence in reversed(list(sequences)):
        if not left:
            break
        kept.append(sequence[-left:])
        left -= len(kept[-1])
    return kept


def _runs(texts: Sequence[Symbols], n: int) -> Symbols | None:
    """All runs (R,n) of n elements of these; None where there are none."""
    runs = [np.lib.stride_tricks.sliding_window_view(text, n) for text in texts if len(text) >= n]
    return np.ascontiguousarray(np.concatenate(runs)) if runs else None


def distinct(texts: Sequence[Symbols], n: int) -> float:
    """How many of all runs of n elements of these are different; 1 where there are none."""
    runs = _runs(texts, n)
    return 1.0 if runs is None else len(np.unique(runs, axis=0)) / len(runs)


def frequencies(texts: Sequence[Symbols], n: int) -> dict[bytes, float]:
    """Each run of n elements of these, as bytes, with its share of all; empty where there are none."""
    runs = _runs(texts, n)
    if runs is None:
        return {}
    found, counts = np.unique(runs.view(f"V{runs.dtype.itemsize * n}"), return_counts=True)
    return dict(zip((run.tobytes() for run in found), (counts / len(runs)).tolist(), strict=True))


def divergence(first: dict[bytes, float], second: dict[bytes, float]) -> float:
    """The Jensen-Shannon divergence of two laws in bits: 0 where they are equal, 1 where they share nothing."""
    both = np.array([(first.get(key, 0.0), second.get(key, 0.0)) for key in first.keys() | second.keys()])
    if not first or not second:
        return float("nan")
    mean = both.mean(1, keepdims=True)
    terms = both * np.log2(np.divide(both, mean, where=both > 0, out=np.ones_like(both)))
    return float(terms.sum() / 2)


def longest_copies(texts: Sequence[Symbols], source: Iterable[Symbols]) -> list[int]:
    """The longest run of each text that stands in one of the sequences of `source`.

    The source is read once, by a suffix automaton of the texts (Blumer et al. 1985).
    """
    automaton = _Automaton()
    ends = [[automaton.add(symbol) for symbol in [*text.tolist(), -1 - i]][:-1] for i, text in enumerate(texts)]
    found = automaton.longest(source)
    return [max((found[state] for state in states), default=0) for states in ends]


class _Automaton:
    """All runs of what was added, as states: a state stands for the runs that end at the same places.

    `size` is the longest run of each state, `link` the state of the longest shorter run that ends at further places.
    """

    def __init__(self) -> None:
        self.after: list[dict[int, int]] = [{}]
        self.link, self.size = [-1], [0]
        self.last = 0

    def add(self, symbol: int) -> int:
        """Add a symbol at the end; the state of all that was added until then."""
        new, at = self._state(self.size[self.last] + 1, {}), self.last
        while at >= 0 and symbol not in self.after[at]:
            self.after[at][symbol] = new
            at = self.link[at]
        self.link[new] = 0 if at < 0 else self._target(at, symbol)
        self.last = new
        return new

    def _state(self, size: int, after: dict[int, int], link: int = -1) -> int:
        self.after.append(after)
        self.link.append(link)
        self.size.append(size)
        return len(self.size) - 1

    def _target(self, at: int, symbol: int) -> int:
        """Where a symbol leads to: to a state whose longest run is one longer, made where there is none."""
        target = self.after[at][symbol]
        if self.size[target] == self.size[at] + 1:
            return target
        copy = self._state(self.size[at] + 1, dict(self.after[target]), self.link[target])
        while at >= 0 and self.after[at].get(symbol) == target:
            self.after[at][symbol] = copy
            at = self.link[at]
        self.link[target] = copy
        return copy

    def longest(self, source: Iterable[Symbols]) -> list[int]:
        """For each state the longest end of its runs that stands in the source."""
        after, link, size = self.after, self.link, self.size
        best = [0] * len(size)
        for sequence in source:
            state = length = 0
            for symbol in sequence.tolist():
                following = after[state].get(symbol)
                while following is None and state:
                    state = link[state]
                    length = size[state]
                    following = after[state].get(symbol)
                if following is None:
                    continue
                state = following
                length += 1
                if length > best[state]:
                    best[state] = length
        order = np.argsort(size, kind="stable").tolist()
        for state in reversed(order[1:]):  # where a run is found, so is every end of it
            if best[state]:
                best[link[state]] = max(best[link[state]], size[link[state]])
        for state in order[1:]:
            best[state] = best[state] or best[link[state]]
        return best
