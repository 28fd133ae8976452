"""Samples of series beside the real ones: are they told apart, alike in law, copied, and useful to train on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqloom.core.errors import DataError, UnsupportedQuery
from seqloom.core.rng import Rng
from seqloom.metrics import recurrent_judges as judges
from seqloom.metrics import samples
from seqloom.metrics.base import Metric, MetricRecord, View

Numbers = NDArray[np.float64]
Progress = Callable[[float], None]

MOST_WINDOWS = 20_000
"""Real windows that are looked at, at most, spread evenly."""
MOST_SAMPLES = 1000
"""Samples, where nobody says how many."""
BLOCKS = 20
"""Stretches of time that a series is divided into where a classifier is tested on what it has not seen."""
COPIES = "training windows"
"""What a copyist makes."""
FEWEST = 20
"""Training windows, and samples, that can be judged."""
MOST_PREDICTORS, PREDICTORS = 3, 2
"""Networks of the published predictive score, and of each set that a predictor learns from."""
STRONGER, PREDICTING = 0.2, 0.15
"""Iterations of the stronger classifier and of predictors, as shares of the published ones."""
WEIGHTS = {"discriminative": 0.4, "predictive": 0.2, "two_sample": 0.2, "usefulness": 0.2}
"""About the share of the time that each takes."""


@dataclass(frozen=True)
class Reality:
    """What samples are compared with: the series (T,D) of the training split, and those that were held out."""

    train: Sequence[Numbers]
    held: Sequence[Numbers]
    length: int

    def __post_init__(self) -> None:
        if len(self.windows) < FEWEST:
            raise DataError(
                f"the training data have {len(self.windows)} windows of {self.length} rows without an empty cell",
                hint=f"{FEWEST} are needed: a smaller --length",
            )

    @cached_property
    def stride(self) -> int:
        """Rows from one window to the next."""
        return max(1, -(-sum(max(0, len(one) - self.length + 1) for one in self.train) // MOST_WINDOWS))

    @cached_property
    def _by_series(self) -> list[tuple[Numbers, NDArray[np.int64]]]:
        found = samples.windows_of(self.train, self.length)
        return [(windows[:: self.stride], begins[:: self.stride]) for windows, begins in found]

    @cached_property
    def windows(self) -> Numbers:
        """Windows (N,T,D) of the training split."""
        return np.concatenate([one for one, _ in self._by_series]) if self.train else np.zeros((0, self.length, 1))

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """Where each of them begins, rows of all series counted through, with a gap of a window between two series."""
        ends = np.cumsum([0, *(len(one) + self.length for one in self.train)])
        return np.concatenate([begin + begins for begin, (_, begins) in zip(ends, self._by_series, strict=False)])

    @cached_property
    def held_windows(self) -> Numbers:
        """Windows (N,T,D) that were held out; none where it is too short."""
        found = samples.windows_of(self.held, self.length)
        whole = np.concatenate([one for one, _ in found]) if found else self.windows[:0]
        return whole[:: max(1, -(-len(whole) // MOST_WINDOWS))]

    @cached_property
    def blocks(self) -> list[Numbers]:
        """The training windows by stretches of time, no two of which share a row."""
        overlap = -(-(self.length - 1) // self.stride)
        size = max(1, -(-len(self.windows) // BLOCKS))
        blocks = []
        for one, _ in self._by_series:
            ends = np.linspace(0, len(one), 1 + max(1, round(len(one) / (size + overlap)))).astype(int)
            for begin, end in pairwise(ends.tolist()):
                block = one[begin : end if end == len(one) else max(begin, end - overlap)]
                blocks += [block] if len(block) else []
        return blocks

    @cached_property
    def moments(self) -> tuple[Numbers, Numbers]:
        """The mean and the spread of each channel (D,) in the training windows."""
        return self.windows.mean((0, 1)), samples.spread_of(self.windows)

    def in_spreads(self, windows: Numbers) -> Numbers:
        """Windows about the training mean, in training spreads."""
        mean, spread = self.moments
        return (windows - mean) / spread

    def in_range(self, windows: Numbers) -> Numbers:
        """Windows in units of the range of the training data, 0 to 1."""
        low, high = self.windows.min((0, 1)), self.windows.max((0, 1))
        unit: Numbers = np.where(high > low, high - low, 1.0)
        inside: Numbers = (windows - low) / unit
        return inside

    @cached_property
    def held_distances(self) -> Numbers:
        """From each held-out window to the nearest training window."""
        return samples.nearest(self.in_spreads(self.held_windows), self.in_spreads(self.windows))[0]

    def novelty(self, apart: Numbers, number: NDArray[np.int64]) -> float:
        """How far samples are from the nearest training window, relative to how far that one is from the next.

        Of those that share no row with it; the median. About 1 of new series, 0 of copies, wherever the level has gone.
        """
        chosen, back = np.unique(number, return_inverse=True)
        barred = np.abs(self.places[chosen][:, None] - self.places) < self.length
        inside = self.in_spreads(self.windows)
        own, _ = samples.nearest(inside[chosen], inside, barred)
        ratio = np.divide(apart, own[back], out=np.zeros_like(apart), where=own[back] > 0)
        return float(np.median(ratio))

    def controls(self, count: int, rng: Rng) -> dict[str, Numbers]:
        """What samples are judged beside: what a copyist, reality itself, and the simplest generator would give."""
        picked = (rng.fork(1).uniform(count)[0] * len(self.windows)).astype(np.int64)
        size = min(len(self.windows), self.length * self.windows.shape[2])
        normal = rng.fork(2).normal((count, size)).double().numpy()[0]
        held = self.held_windows
        return {
            COPIES: self.windows[picked],
            **({"held-out windows": held} if len(held) >= FEWEST else {}),
            "Gaussian": samples.gaussian_like(self.windows, count, normal),
        }


@dataclass(frozen=True)
class Synthesis:
    """Samples (N,T,D) in the data's own units beside reality."""

    made: Numbers
    reality: Reality


Synthesising = Callable[[int, int | None, int], Synthesis]
"""Samples of a length, so many of them (None: as many as suit the data), from a seed."""


class SynthesisMetric(Metric, name="synthesis"):
    """How good samples of series are: told apart, alike in law, copied, and useful to train on."""

    length: int = Field(default=24, ge=2)
    """Rows of a sample, and of the real windows that it is compared with."""
    samples: int | None = Field(default=None, ge=FEWEST)
    """How many samples; None: as many as there are training windows, up to 1,000."""
    seeds: int = Field(default=5, ge=1)
    """Classifiers whose median is the published score; of predictors, which differ far less, 3 at most."""
    iterations: int = Field(default=2000, ge=1)
    """Updates of each; those of the stronger test and of usefulness follow."""

    def measure(self, view: View) -> list[MetricRecord]:
        if view.synthetic is None:
            raise UnsupportedQuery(
                "samples of such data are no numbers that could be compared",
                hint="leave the metric out: evaluate scores their likelihood",
            )
        synthesis = view.synthetic(self.length, self.samples, view.seed)
        return self.records(synthesis.made, synthesis.reality, view.seed, view.progress)

    def records(
        self, made: Numbers, reality: Reality, seed: int, progress: Progress | None = None
    ) -> list[MetricRecord]:
        """All measures of samples (N,T,D), the headline first.

        `marginal` is in spreads of the training data, `autocorrelation` and `cross_correlation` are differences of
        correlations, `spectrum` a share of the power; `novelty` is relative to the next training window, `nearest` to
        held-out windows. What needs these is left out where there are none. `error_real`, `error_both` and `error_made`
        are those of a predictor that learned from training windows, from both and from samples, on held-out windows.
        """
        if not np.isfinite(made).all():
            raise DataError("the samples hold numbers that are not finite", hint="train longer, or at a smaller rate")
        key, report, done = Rng.of(seed, 0), progress or _nothing, 0.0

        def stage(share: float) -> Progress:
            nonlocal done
            begin, done = done, done + share
            return lambda part: report(begin + share * part)

        real, held = reality.windows, reality.held_windows
        made_in, real_in = reality.in_spreads(made), reality.in_spreads(real)
        scaled = reality.in_range(made), reality.in_range(real)
        share = stage(WEIGHTS["discriminative"])
        told = judges.discriminative(*scaled, self.seeds, self.iterations, key.fork(1), share)
        few, share = min(self.seeds, MOST_PREDICTORS), stage(WEIGHTS["predictive"])
        predicted = judges.predictive(*scaled, few, self.iterations, key.fork(2), share)
        records = [
            self._record("discriminative", float(np.median(told)), "share", len(made), _error(told), seeds=told),
            self._record(
                "predictive", float(np.median(predicted)), "range", len(made), _error(predicted), seeds=predicted
            ),
        ]
        if len(reality.blocks) > 1:
            blocks = [reality.in_spreads(block) for block in reality.blocks]
            iterations = max(1, int(STRONGER * self.iterations))
            accuracy, error = judges.two_sample(made_in, blocks, iterations, key.fork(3), stage(WEIGHTS["two_sample"]))
            records.append(self._record("two_sample", accuracy, "share", len(made), error, nominal=0.5))
        records += [
            self._record("marginal", samples.marginal(made, real), "spread", len(made)),
            self._record("autocorrelation", samples.autocorrelation(made, real), "correlation", len(made)),
            self._record("cross_correlation", samples.cross_correlation(made, real), "correlation", len(made)),
            self._record("spectrum", samples.spectrum(made, real), "share", len(made)),
        ]
        apart, number = samples.nearest(made_in, real_in)
        records.append(self._record("novelty", reality.novelty(apart, number), "neighbour", len(made), nominal=1.0))
        if not len(held):
            return records
        usual = reality.held_distances
        middle = float(np.median(usual))
        if middle > 0:
            records.append(
                self._record("nearest", float(np.median(apart)) / middle, "held-out", len(made), nominal=1.0)
            )
        records.append(self._record("closer", samples.share_closer(apart, usual), "share", len(made), nominal=0.5))
        learned = {"error_real": real_in, "error_both": np.concatenate([real_in, made_in]), "error_made": made_in}
        iterations = max(1, int(PREDICTING * self.iterations))
        for name, windows in learned.items():
            errors = judges.prediction_error(
                windows, reality.in_spreads(held), PREDICTORS, iterations, key.fork(4), stage(WEIGHTS["usefulness"] / 3)
            )
            records.append(self._record(name, float(np.mean(errors)), "last value", len(windows), _error(errors)))
        return records

    def _record(
        self, name: str, value: float, unit: str, count: int, error: float | None = None, **more: object
    ) -> MetricRecord:
        return {
            "name": name,
            "value": value,
            "unit": unit,
            "kind": "estimate",
            "stderr": error,
            "better": "nominal" if "nominal" in more else "lower",
            "count": count,
            "length": self.length,
            **more,
        }


def _error(values: Sequence[float]) -> float | None:
    """The standard error of a mean over seeds."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def _nothing(share: float) -> None:
    """Progress that is not reported."""
