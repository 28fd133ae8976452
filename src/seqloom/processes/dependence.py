"""What the columns of a row have in common beside what precedes it: a normal copula of their signs in training.

Heads whose numbers are independent draw each column by itself. How often two columns lay on the same side of their
medians, over training rows, gives the correlation of a normal copula (Blomqvist 1950; McNeil et al. 2015, 5.3): draws
are then coupled by it, and each column keeps its law.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from seqloom.core.rng import Rng

Numbers = NDArray[np.float64]
LEAST = 1e-3
"""The least eigenvalue of a correlation: columns that always move together leave it positive."""


class Coupled(Rng):
    """Keys whose numbers, one or two a column, are coupled by a normal copula: each column's own stay as they are."""

    __slots__ = ("factor",)

    def __init__(self, rng: Rng, factor: Numbers) -> None:
        super().__init__(rng.first, rng.second, rng.mirrored)
        self.factor = factor

    @property
    def plain(self) -> Rng:
        return Coupled(super().plain, self.factor)

    def skip(self, count: int) -> Rng:
        return self if count == 0 else super().skip(count)

    def uniform(self, n: int, start: int = 0) -> Numbers:
        drawn, size = super().uniform(n, start), len(self.factor)
        if n == size:
            normal = torch.special.ndtri(torch.from_numpy(drawn)) @ torch.from_numpy(self.factor.T)
            return np.asarray(torch.special.ndtr(normal).numpy())
        if n != 2 * size:
            return drawn
        # Pairs that a head turns into a radius and an angle are those of complex normals, which are coupled likewise.
        radius, angle = np.sqrt(-2 * np.log(drawn[:, :size])), 2 * math.pi * drawn[:, size:]
        coupled = (radius * np.exp(1j * angle)) @ self.factor.T
        lengths = np.exp(-0.5 * np.abs(coupled) ** 2)
        turns = np.angle(coupled) / (2 * math.pi) % 1.0
        return np.concatenate([lengths, turns], 1)


def correlation(signs: Iterable[Numbers]) -> Numbers | None:
    """The correlation (D,D) of a normal copula, from the sides of their medians (N,D) on which columns lay.

    A side is 1 or -1, and 0 where it is not known; None where two columns are never known together.
    """
    total = count = None
    for part in signs:
        known = np.abs(part)
        one, two = part.T @ part, known.T @ known
        total, count = (one, two) if total is None or count is None else (total + one, count + two)
    if total is None or count is None or not (count > 0).all():
        return None
    found = np.sin(0.5 * math.pi * np.clip(total / count, -1, 1))
    np.fill_diagonal(found, 1.0)
    values, vectors = np.linalg.eigh(found)
    positive = (vectors * np.maximum(values, LEAST)) @ vectors.T
    scale = np.sqrt(np.diag(positive))
    return np.asarray(positive / np.outer(scale, scale))
