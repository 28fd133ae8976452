"""Toys with known truth: data whose entropy, likelihood or answer is exact, for tests and for learning.

`Markov` (text) and `Var1` (series with missing cells) have exact likelihoods. `Reverse` and `Labels` have a condition:
a sequence to be turned round, a class to be drawn; each as letters and as numbers. Row k of any of them depends on
(seed, k) alone, so a longer draw begins with the shorter one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from seqloom.core.rng import Rng

Numbers = NDArray[np.float64]

_BLOCK = 1 << 16


def _purpose(seed: int, name: str) -> Rng:
    return Rng.of(seed, 0).at(name)


@dataclass(frozen=True)
class Markov:
    """A stationary first-order Markov chain over the letters a, b, c, ...: text whose entropy is known exactly."""

    rows: tuple[tuple[float, ...], ...] = (
        (0.10, 0.60, 0.10, 0.10, 0.10),
        (0.05, 0.15, 0.70, 0.05, 0.05),
        (0.30, 0.10, 0.10, 0.45, 0.05),
        (0.20, 0.05, 0.05, 0.10, 0.60),
        (0.75, 0.05, 0.10, 0.05, 0.05),
    )
    """Row i: the distribution of what follows letter i."""

    @property
    def alphabet(self) -> str:
        """The letters, in order."""
        return "".join(chr(ord("a") + i) for i in range(len(self.rows)))

    @cached_property
    def transition(self) -> Numbers:
        """P (V,V): P[i,j] is the probability of letter j after letter i."""
        return np.array(self.rows)

    @cached_property
    def stationary(self) -> Numbers:
        """The distribution (V,) of every single letter: the one that the transition keeps."""
        size = len(self.rows)
        equations = np.vstack([self.transition.T - np.eye(size), np.ones(size)])
        solution: Numbers = np.linalg.lstsq(equations, np.append(np.zeros(size), 1.0))[0]
        return solution

    @property
    def entropy_rate(self) -> float:
        """Nats a letter, given all before it."""
        return float(self.stationary @ _entropies(self.transition))

    def window_entropy(self, length: int) -> float:
        """Nats of `length` letters together, the first from the stationary distribution."""
        if length < 1:
            return 0.0
        return float(_entropies(self.stationary[None])[0]) + (length - 1) * self.entropy_rate

    def log_prob(self, sequence: str | Sequence[int] | NDArray[np.integer]) -> float:
        """Natural logarithm of the probability of a sequence of letters, or of their indices."""
        x = self.indices(sequence) if isinstance(sequence, str) else np.asarray(sequence, np.int64)
        if not len(x):
            return 0.0
        with np.errstate(divide="ignore"):
            return float(np.log(self.stationary[x[0]]) + np.log(self.transition[x[:-1], x[1:]]).sum())

    def stream(self, n: int, seed: int) -> str:
        """A text of `n` letters that starts from the stationary distribution."""
        size = len(self.rows)
        rng = _purpose(seed, "markov")
        start = np.minimum(np.searchsorted(np.cumsum(self.stationary), rng.uniform(1)[0], side="right"), size - 1)
        state = int(start[0])
        letters = bytearray([ord("a") + state]) if n else bytearray()
        edges = np.cumsum(self.transition, 1)
        for begin in range(1, n, _BLOCK):
            u = rng.uniform(min(_BLOCK, n - begin), begin)[0]
            # The next letter for each step and each present letter, drawn at once: the loop below only looks them up.
            leads = np.stack([np.minimum(np.searchsorted(edge, u, side="right"), size - 1) for edge in edges], 1)
            for choices in leads.tolist():
                state = choices[state]
                letters.append(ord("a") + state)
        return letters.decode("ascii")

    def indices(self, text: str) -> NDArray[np.int64]:
        """Letters as indices 0..V-1."""
        return np.frombuffer(text.encode("ascii"), np.uint8).astype(np.int64) - ord("a")


@dataclass(frozen=True)
class Var1:
    """A two-channel vector autoregression of order one with independent innovations, some cells missing at random.

    x_t = mean + scale * z_t, z_t = A z_{t-1} + e_t, e_t ~ N(0, diag(innovation^2)), z_0 from the stationary one. The
    channels are of different size and far from zero, so that scaling matters. Likelihood and forecasts are exact by
    the Kalman filter (Kalman 1960), which reads a missing cell as no observation.
    """

    coefficients: tuple[tuple[float, float], tuple[float, float]] = ((0.7, 0.25), (-0.35, 0.6))
    """A: how much of each channel (column) goes into the next value of each (row), before scaling."""
    innovation: tuple[float, float] = (0.6, 0.5)
    """Standard deviations of e_t."""
    mean: tuple[float, float] = (10.0, -2.0)
    """Of each channel, in its own units."""
    scale: tuple[float, float] = (3.0, 0.2)
    """Units of each channel in one of z."""
    missing: float = 0.05
    """Share of the cells that are missing."""

    @cached_property
    def transition(self) -> Numbers:
        """A in the data's own units: x_t - mean = A (x_{t-1} - mean) + noise."""
        s = np.array(self.scale)
        matrix: Numbers = np.array(self.coefficients) * s[:, None] / s[None, :]
        return matrix

    @cached_property
    def innovation_covariance(self) -> Numbers:
        """Q (2,2), diagonal, in the data's own units."""
        return np.diag((np.array(self.innovation) * np.array(self.scale)) ** 2)

    @cached_property
    def stationary_covariance(self) -> Numbers:
        """S (2,2) with S = A S A' + Q: the covariance of x_t at any t."""
        a = self.transition
        unknown = np.linalg.solve(np.eye(4) - np.kron(a, a), self.innovation_covariance.reshape(-1))
        square = unknown.reshape(2, 2)
        covariance: Numbers = (square + square.T) / 2
        return covariance

    def lag_covariance(self, lag: int) -> Numbers:
        """Covariance (2,2) of x_{t+lag} (rows) with x_t (columns), lag >= 0."""
        covariance: Numbers = np.linalg.matrix_power(self.transition, lag) @ self.stationary_covariance
        return covariance

    def complete(self, n: int, seed: int) -> Numbers:
        """A series (n,2) without missing cells."""
        generator = _purpose(seed, "var1").generator()
        noise = generator.standard_normal((n, 2))
        values: Numbers = np.empty((n, 2))
        if not n:
            return values
        state = np.linalg.cholesky(self.stationary_covariance) @ noise[0]
        values[0] = state
        drawn = noise * np.sqrt(np.diag(self.innovation_covariance))
        for t in range(1, n):
            state = self.transition @ state + drawn[t]
            values[t] = state
        values += np.array(self.mean)
        return values

    def series(self, n: int, seed: int) -> Numbers:
        """The same series (n,2) as `complete`, with nan in the missing cells."""
        values = self.complete(n, seed)
        values[_purpose(seed, "missing").uniform(2 * n)[0].reshape(n, 2) < self.missing] = np.nan
        return values

    def log_likelihood(self, values: Numbers) -> tuple[float, int]:
        """Log-density in nats of the known cells of values (T,2), in their own units, and how many there are."""
        total, _, _ = self._filter(values)
        return total, int((~np.isnan(values)).sum())

    def conditional(self, past: Numbers, horizon: int) -> tuple[Numbers, Numbers]:
        """The exact distribution of the next rows given the known cells of past (P,2): mean (H,2), covariance (2H,2H).

        The covariance goes over the cells row by row: cell (h, d) is entry 2h + d. An empty past gives the stationary
        distribution.
        """
        a = self.transition
        _, state, spread = self._filter(past)
        mean = np.empty((horizon, 2))
        covariance = np.zeros((horizon, 2, horizon, 2))
        for h in range(horizon):
            mean[h] = state
            covariance[h, :, h] = spread
            later = spread
            for k in range(h + 1, horizon):
                later = a @ later
                covariance[k, :, h] = later
                covariance[h, :, k] = later.T
            state, spread = a @ state, a @ spread @ a.T + self.innovation_covariance
        return mean + np.array(self.mean), covariance.reshape(2 * horizon, 2 * horizon)

    def _filter(self, values: Numbers) -> tuple[float, Numbers, Numbers]:
        """Log-density of the known cells; mean (less `mean`) and covariance of the row after the last, given them."""
        a, q = self.transition, self.innovation_covariance
        state, spread = np.zeros(2), self.stationary_covariance
        total = 0.0
        for row in np.asarray(values, np.float64) - np.array(self.mean):
            # A row is observed cell by cell and without error; the second cell is judged given the first.
            for d in (0, 1):
                if math.isnan(row[d]):
                    continue
                variance = float(spread[d, d])
                error = float(row[d] - state[d])
                total -= 0.5 * (math.log(2 * math.pi * variance) + error * error / variance)
                gain = spread[:, d] / variance
                state = state + gain * error
                spread = spread - np.outer(gain, spread[d])
            state, spread = a @ state, a @ spread @ a.T + q
        return total, state, spread


@dataclass(frozen=True)
class Reverse:
    """A sequence is given, its reverse is to be made, which takes attention to the right positions of the source.

    As letters the answer is certain (zero nats given the source). As numbers, one channel, the answer is the reversed
    source plus a little normal noise, so that its density is finite and known.
    """

    alphabet: str = "abcdefgh"
    """The letters, all equally likely."""
    noise: float = 0.1
    """Standard deviation of the noise on a number of the target; the source's numbers are standard normal."""

    def pairs(self, n: int, seed: int, lengths: tuple[int, int] = (4, 10)) -> list[tuple[str, str]]:
        """Sources and targets as letters, of a length in lengths[0]..lengths[1], each equally likely."""
        drawn = []
        for rng, length in self._rows(n, seed, lengths):
            indices = (rng.at("letters").uniform(length)[0] * len(self.alphabet)).astype(np.int64)
            source = "".join(self.alphabet[i] for i in indices)
            drawn.append((source, source[::-1]))
        return drawn

    def vector_pairs(self, n: int, seed: int, lengths: tuple[int, int] = (4, 10)) -> list[tuple[Numbers, Numbers]]:
        """Sources and targets as numbers, each (L,1)."""
        drawn = []
        for rng, length in self._rows(n, seed, lengths):
            normals = rng.at("numbers").generator().standard_normal((2, length, 1))
            drawn.append((normals[0], normals[0, ::-1] + self.noise * normals[1]))
        return drawn

    @property
    def value_entropy(self) -> float:
        """Differential entropy in nats of one number of a target, given the source."""
        return 0.5 * math.log(2 * math.pi * math.e * self.noise**2)

    def log_density(self, source: Numbers, target: Numbers) -> float:
        """Log-density in nats of a target (L,1), given its source (L,1)."""
        return _normal_log_density(target - source[::-1], self.noise)

    @staticmethod
    def _rows(n: int, seed: int, lengths: tuple[int, int]) -> list[tuple[Rng, int]]:
        low, high = lengths
        drawn = _purpose(seed, "length").uniform(n)[0]
        rows = Rng.of(np.full(n, seed, np.int64), np.arange(n))
        return [(rows.select(np.array([i])), low + int(drawn[i] * (high - low + 1))) for i in range(n)]


@dataclass(frozen=True)
class Labels:
    """A class is given, a small pattern of it is to be made; every class has the same length and a known distribution.

    As letters: the class's word, each letter replaced by another one with probability `error`. As numbers, one channel:
    the class's curve plus independent normal noise.
    """

    words: tuple[tuple[str, str], ...] = (
        ("down", "hhggffeeddccbbaa"),
        ("flat", "ddddeeeeddddeeee"),
        ("up", "aabbccddeeffgghh"),
        ("wave", "aceghgecaceghgec"),
    )
    """Each class and its word; all words are of one length."""
    alphabet: str = "abcdefgh"
    """The letters."""
    error: float = 0.1
    """Probability that a letter is another one, any of the others alike."""
    noise: float = 0.25
    """Standard deviation of the noise on a curve, whose range is -1..1."""

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, all equally likely."""
        return tuple(name for name, _ in self.words)

    def word(self, label: str) -> str:
        """The word of a class."""
        return dict(self.words)[label]

    def curve(self, label: str) -> Numbers:
        """The mean (L,1) of a class as numbers: its word's letters, from -1 (the first letter) to 1 (the last)."""
        heights = np.array([self.alphabet.index(letter) for letter in self.word(label)], np.float64)
        return (heights / (len(self.alphabet) - 1) * 2 - 1)[:, None]

    def examples(self, n: int, seed: int) -> list[tuple[str, str]]:
        """Classes and patterns as letters."""
        drawn = []
        others = len(self.alphabet) - 1
        length = len(self.words[0][1])
        uniforms = self._rows(seed, n).at("letters").uniform(length)
        for label, u in zip(self._labels(n, seed), uniforms, strict=True):
            # Below `error` the same uniform number also says by how many letters to go on, around the alphabet.
            shift = np.where(u < self.error, 1 + np.minimum(u / self.error * others, others - 1).astype(np.int64), 0)
            indices = np.array([self.alphabet.index(letter) for letter in self.word(label)])
            drawn.append((label, "".join(self.alphabet[i] for i in (indices + shift) % len(self.alphabet))))
        return drawn

    def vector_examples(self, n: int, seed: int) -> list[tuple[str, Numbers]]:
        """Classes and patterns as numbers (L,1)."""
        rows = self._rows(seed, n).at("numbers")
        drawn = []
        for i, label in enumerate(self._labels(n, seed)):
            mean = self.curve(label)
            normals = rows.select(np.array([i])).generator().standard_normal(mean.shape)
            drawn.append((label, mean + self.noise * normals))
        return drawn

    def log_prob(self, label: str, value: str | Numbers) -> float:
        """Log-probability (letters) or log-density (numbers (L,1)) in nats of a pattern, given its class."""
        if not isinstance(value, str):
            return _normal_log_density(value - self.curve(label), self.noise)
        word = self.word(label)
        if len(value) != len(word) or any(letter not in self.alphabet for letter in value):
            return -math.inf
        wrong = sum(a != b for a, b in zip(value, word, strict=True))
        each = self.error / (len(self.alphabet) - 1)
        return wrong * math.log(each) + (len(word) - wrong) * math.log1p(-self.error)

    @property
    def letter_entropy(self) -> float:
        """Nats of one letter, given the class."""
        each = self.error / (len(self.alphabet) - 1)
        return -(1 - self.error) * math.log1p(-self.error) - self.error * math.log(each)

    @property
    def value_entropy(self) -> float:
        """Differential entropy in nats of one number, given the class."""
        return 0.5 * math.log(2 * math.pi * math.e * self.noise**2)

    def posterior(self, value: str | Numbers) -> dict[str, float]:
        """The probability of each class, given a pattern of the right length."""
        logs = np.array([self.log_prob(name, value) for name in self.names])
        shares = np.exp(logs - logs.max())
        return dict(zip(self.names, (shares / shares.sum()).tolist(), strict=True))

    def _labels(self, n: int, seed: int) -> list[str]:
        indices = (_purpose(seed, "class").uniform(n)[0] * len(self.words)).astype(np.int64)
        return [self.names[i] for i in indices]

    @staticmethod
    def _rows(seed: int, n: int) -> Rng:
        return Rng.of(np.full(n, seed, np.int64), np.arange(n))


def _entropies(rows: Numbers) -> Numbers:
    """Entropy in nats of each row's distribution; zero probabilities add nothing."""
    logs = np.log(np.where(rows > 0, rows, 1.0))
    entropies: Numbers = -(rows * logs).sum(-1)
    return entropies


def _normal_log_density(error: Numbers, scale: float) -> float:
    return float(-(0.5 * (error / scale) ** 2 + math.log(scale) + 0.5 * math.log(2 * math.pi)).sum())
