"""How like labels are to the true ones: accuracy, F1, and the F1 of marked stretches. A text has a label a line."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from seqloom.metrics.likeness import Likeness, Numbers

_MARKED = re.compile(r"([BIESLU])-(.+)")


class Accuracy(Likeness, name="accuracy"):
    """The share of labels that are the true ones."""

    def counts(self, made: str, truth: str) -> Numbers:
        own, other = _labels(made), _labels(truth)
        return np.array([sum(map(str.__eq__, own, other)), len(other)], np.float64)

    def value(self, counts: Numbers) -> float:
        return float(counts[0] / max(counts[1], 1.0))


class F1(Likeness, name="f1"):
    """The F-score of each label, and their mean: rare labels count as much as frequent ones (macro)."""

    def of(self, made: Sequence[str], truth: Sequence[str]) -> Numbers:
        names = sorted({label for text in (*made, *truth) for label in _labels(text)})
        return np.stack([self._counts(*pair, names) for pair in zip(made, truth, strict=True)])

    def counts(self, made: str, truth: str) -> Numbers:
        return self._counts(made, truth, sorted({*_labels(made), *_labels(truth)}))

    def _counts(self, made: str, truth: str, names: Sequence[str]) -> Numbers:
        """How often each name was made, is true, and both (3L,)."""
        own, other = _labels(made), _labels(truth)
        both = [label for label, true in zip(own, other, strict=False) if label == true]
        number = {name: i for i, name in enumerate(names)}
        found = [np.bincount([number[label] for label in part], minlength=len(names)) for part in (own, other, both)]
        return np.stack(found, 1).astype(np.float64).ravel()

    def value(self, counts: Numbers) -> float:
        made, truth, both = counts.reshape(-1, 3).T
        there = made + truth > 0
        return float((2 * both[there] / (made + truth)[there]).mean()) if there.any() else 0.0


class Entities(Likeness, name="entities"):
    """The F-score of stretches that B-NAME and I-NAME mark (Tjong Kim Sang & De Meulder 2003): bounds and name right.

    S-, U-, E- and L- are read too, for stretches of one element and for last ones.
    """

    def counts(self, made: str, truth: str) -> Numbers:
        own, other = set(stretches(_labels(made))), set(stretches(_labels(truth)))
        return np.array([len(own), len(other), len(own & other)], np.float64)

    def value(self, counts: Numbers) -> float:
        made, truth, both = counts.tolist()
        return 2 * both / (made + truth) if made + truth else 0.0


def stretches(labels: Sequence[str]) -> list[tuple[int, int, str]]:
    """Where each marked stretch begins and ends, and its name; one that goes on from nothing begins there."""
    found: list[tuple[int, int, str]] = []
    name, begin, closed = "", 0, True
    for i, label in enumerate([*labels, ""]):
        match = _MARKED.fullmatch(label)
        mark, own = (match[1], match[2]) if match else ("", "")
        if name and (own != name or mark in "BSU" or closed):
            found.append((begin, i, name))
            name = ""
        if own and not name:
            name, begin = own, i
        closed = mark in {"E", "L", "S", "U"}
    return found


def marks(labels: Sequence[str]) -> bool:
    """Whether labels mark stretches of elements."""
    return any(label[:2] in {"B-", "I-"} for label in labels)


def _labels(text: str) -> list[str]:
    return text.split("\n")
