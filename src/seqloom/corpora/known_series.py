"""Series with known futures: whatever precedes, draws of what follows are exact, so forecasts can be held to them.

Longer series begin with the shorter ones of the same seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seqloom.core.rng import Rng

Numbers = NDArray[np.float64]
MOST = 40
"""Counts beyond this are too rare to be drawn."""


class KnownSeries(Protocol):
    """A law of series: one of them, and what may follow a past."""

    def series(self, n: int, seed: int) -> Numbers:
        """The first n rows (n,D)."""
        ...

    def futures(self, past: Numbers, horizon: int, count: int, seed: int) -> Numbers:
        """Independent draws (N,H,D) of what follows the past (T,D), which begins where the series does."""
        ...


@dataclass(frozen=True)
class Waves:
    """A sine, or a level that moves once, with independent normal noise: x_t = mean(t) + noise."""

    level: float = 10.0
    height: float = 3.0
    period: int = 24
    noise: float = 0.5
    moves_at: int = 1 << 60
    """From this row on the level is higher by `move`."""
    move: float = 0.0

    def mean(self, t: Numbers) -> Numbers:
        """The mean of the rows with these numbers."""
        moved = np.where(t >= self.moves_at, self.move, 0.0)
        mean: Numbers = self.level + moved + self.height * np.sin(math.tau * t / self.period)
        return mean

    def series(self, n: int, seed: int) -> Numbers:
        drawn = _generator(seed, "waves").standard_normal(n)
        rows: Numbers = self.mean(np.arange(n, dtype=np.float64)) + self.noise * drawn
        return rows[:, None]

    def futures(self, past: Numbers, horizon: int, count: int, seed: int) -> Numbers:
        drawn = _generator(seed, "waves of the future").standard_normal((count, horizon))
        rows = np.arange(len(past), len(past) + horizon, dtype=np.float64)
        return (self.mean(rows) + self.noise * drawn)[..., None]


@dataclass(frozen=True)
class Linear:
    """A vector autoregression of order one, or a random walk: x_t - mean = A (x_{t-1} - mean) + e_t, e_t ~ N(0, Q)."""

    coefficients: tuple[tuple[float, ...], ...] = ((0.9,),)
    covariance: tuple[tuple[float, ...], ...] = ((1.0,),)
    mean: tuple[float, ...] = (20.0,)
    """Where it begins, and what it goes back to."""

    @cached_property
    def transition(self) -> Numbers:
        """A (D,D)."""
        return np.array(self.coefficients)

    def series(self, n: int, seed: int) -> Numbers:
        rows: Numbers = self._drawn(np.array(self.mean), n, 1, _generator(seed, "linear"))[0]
        return rows

    def futures(self, past: Numbers, horizon: int, count: int, seed: int) -> Numbers:
        return self._drawn(past[-1], horizon, count, _generator(seed, "linear future"))

    def law(self, last: Numbers, horizon: int) -> tuple[Numbers, Numbers]:
        """Mean (H,D) and covariance (H,D,D) of each row that follows the last."""
        means, spreads = [], []
        state, spread = last - np.array(self.mean), np.zeros_like(self.transition)
        for _ in range(horizon):
            state = self.transition @ state
            spread = self.transition @ spread @ self.transition.T + np.array(self.covariance)
            means.append(state + np.array(self.mean))
            spreads.append(spread)
        return np.stack(means), np.stack(spreads)

    def _drawn(self, last: Numbers, n: int, count: int, generator: np.random.Generator) -> Numbers:
        noise = generator.standard_normal((n, count, len(self.mean))) @ np.linalg.cholesky(np.array(self.covariance)).T
        state, rows = np.tile(last - np.array(self.mean), (count, 1)), np.empty((count, n, len(self.mean)))
        for t in range(n):
            state = state @ self.transition.T + noise[t]
            rows[:, t] = state
        shifted: Numbers = rows + np.array(self.mean)
        return shifted


@dataclass(frozen=True)
class Demand:
    """Counts, most of them zero: some rows after one that is not, each is 1 + Poisson with a chance, else zero."""

    chance: float = 0.4
    """That a row is not zero."""
    rest: int = 0
    """Rows after one that is not zero which are."""
    size: float = 2.0
    """Mean of what a count is above 1."""

    @property
    def zeros(self) -> float:
        """The share of zeros in the long run."""
        return 1 - 1 / (self.rest + 1 / self.chance)

    def series(self, n: int, seed: int) -> Numbers:
        return self._drawn(np.full(1, self.rest), n, _generator(seed, "demand")).T

    def futures(self, past: Numbers, horizon: int, count: int, seed: int) -> Numbers:
        asked = np.flatnonzero(past[:, 0])
        age = len(past) - 1 - int(asked[-1]) if len(asked) else self.rest
        return self._drawn(np.full(count, age), horizon, _generator(seed, "demand of the future"))[..., None]

    def _drawn(self, age: NDArray[np.int64], n: int, generator: np.random.Generator) -> Numbers:
        """Counts (N,T) that go on so many rows after the last one that was not zero."""
        uniform, rows = generator.random((n, 2, len(age))), np.zeros((len(age), n))
        above = np.cumsum([math.exp(-self.size) * self.size**k / math.factorial(k) for k in range(MOST)])
        for t in range(n):
            asked = (age >= self.rest) & (uniform[t, 0] < self.chance)
            rows[asked, t] = 1 + np.searchsorted(above, uniform[t, 1][asked])
            age = np.where(asked, 0, age + 1)
        return rows


KNOWN: Mapping[str, KnownSeries] = {
    "sine": Waves(),
    "ar1": Linear(),
    "walk": Linear(coefficients=((1.0,),), mean=(100.0,)),
    "shift": Waves(height=0.0, moves_at=3_680, move=12.0),
    "counts": Demand(),
    "intermittent": Demand(chance=0.25, rest=3, size=4.0),
    "coupled": Linear(coefficients=((0.8, 0.0), (0.4, 0.5)), covariance=((1.0, 0.8), (0.8, 1.0)), mean=(20.0, -5.0)),
}
"""By the names of the builtin data."""


def _generator(seed: int, name: str) -> np.random.Generator:
    return Rng.of(seed, 0).at(name).generator()
