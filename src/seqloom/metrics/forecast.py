"""Forecasts beside what really followed: scores of sample paths, their bands and their joint law.

A quantile of N paths is the one whose place among them, counted from 0, is nearest to q (N - 1), as GluonTS has it; all
that GluonTS measures agrees with it. Cells whose truth is missing are left out everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqloom.core.errors import DataError, UnsupportedQuery
from seqloom.metrics.base import Metric, MetricRecord, View

Numbers = NDArray[np.float64]

NINE = tuple(i / 10 for i in range(1, 10))
"""Quantiles of the weighted quantile loss."""
NINETEEN = tuple(i / 20 for i in range(1, 20))
"""Quantiles of CRPS-sum."""
COVERAGES = (0.5, 0.8, 0.9)
ALPHA = 0.05
"""MSIS is that of the 95 % interval."""
BINS = 10
"""Of a PIT histogram."""


@dataclass(frozen=True)
class Forecast:
    """Paths (N,H,D) from one origin, and the truth (H,D) that followed, in the data's own units; nan: missing."""

    paths: Numbers
    truth: Numbers
    change: Numbers
    """Of each channel (D,) the mean absolute change from season to season in all that precedes, nan where unknown."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """Where the truth is known (H,D)."""
        return ~np.isnan(self.truth)


@dataclass(frozen=True)
class Forecasts:
    """Forecasts from several origins, and what they are measured in."""

    each: Sequence[Forecast]
    spread: Numbers
    """The standard deviation of each channel (D,) in the training split: the unit of what has one."""
    horizon: int
    stride: int
    """Rows from one origin of a series to the next."""
    season: int = 1


@dataclass(frozen=True)
class Backtest:
    """What is asked of forecasts from rolling origins."""

    horizon: int
    """Rows of a forecast."""
    windows: int | None = None
    """Origins in each series; None: 20 in all, or as many as there is room for."""
    stride: int | None = None
    """Rows from one origin to the next; None: spread over the split."""
    paths: int = 100
    """Sample paths of a forecast."""
    seed: int = 0


Rolling = Callable[[Backtest], Forecasts]
"""A model's forecasts from the origins of a split."""


class ForecastMetric(Metric, name="forecast"):
    """How good forecasts are from several origins in the split; the model is never fitted again."""

    horizon: int = Field(default=24, ge=1)
    """Rows of a forecast."""
    windows: int | None = Field(default=None, ge=1)
    """Origins in each series; None: 20 in all, or as many as there is room for."""
    stride: int | None = Field(default=None, ge=1)
    """Rows from one origin to the next; None: spread over the split."""
    paths: int = Field(default=100, ge=2)
    """Sample paths of a forecast."""

    def measure(self, view: View) -> list[MetricRecord]:
        if view.forecasts is None:
            raise UnsupportedQuery(
                "there are no forecasts of such data: they have no means and quantiles",
                hint="leave the metric out: evaluate scores their likelihood",
            )
        return measures(view.forecasts(Backtest(self.horizon, self.windows, self.stride, self.paths, view.seed)))


# ---- of one forecast ------------------------------------------------------------------------------------------------


def quantile(paths: Numbers, q: float) -> Numbers:
    """The q-quantile over paths (N, ...) as GluonTS has it: one of them, not between two."""
    place = int(np.round((len(paths) - 1) * q))
    found: Numbers = np.partition(paths, place, axis=0)[place]
    return found


def pinball(truth: Numbers, guess: Numbers, q: float) -> Numbers:
    """Twice the pinball loss of a quantile; over all quantiles its mean is the CRPS."""
    loss: Numbers = 2 * np.abs((guess - truth) * ((truth <= guess) - q))
    return loss


def crps(paths: Numbers, truth: Numbers) -> Numbers:
    """The continuous ranked probability score of each cell from samples (N, ...), without bias (Ferro 2014)."""
    count = len(paths)
    rank = np.arange(1, count + 1).reshape((-1,) + (1,) * truth.ndim)
    apart = 2 * ((2 * rank - count - 1) * np.sort(paths, axis=0)).sum(0) / (count * (count - 1))
    score: Numbers = np.abs(paths - truth).mean(0) - apart / 2
    return score


def energy(paths: Numbers, truth: Numbers) -> float:
    """The energy score (Gneiting & Raftery 2007) of joint samples (N,C) of a vector (C,), without bias."""
    count, centred = len(paths), paths - paths.mean(0)  # far from zero, squares would lose their digits
    square = (centred * centred).sum(1)
    apart = np.sqrt(np.maximum(square[:, None] + square[None] - 2 * centred @ centred.T, 0.0))
    return float(np.linalg.norm(paths - truth, axis=1).mean() - apart.sum() / (2 * count * (count - 1)))


def pit(paths: Numbers, truth: Numbers, levels: Numbers) -> Numbers:
    """The distribution (L,C) of the rank of each truth (C,) among samples (N,C), at these levels of 0 to 1.

    A rank of N samples is an interval of 1 / (N + 1), and wider where samples equal the truth, so the mean over
    many truths is the level itself for counts as well as for real numbers (Czado, Gneiting & Held 2009).
    """
    count = len(paths)
    low, high = (paths < truth).sum(0) / (count + 1), ((paths <= truth).sum(0) + 1) / (count + 1)
    share: Numbers = np.clip((levels[:, None] - low) / (high - low), 0.0, 1.0)
    return share


def seasonal_change(past: Numbers, season: int) -> Numbers:
    """The mean absolute change (D,) from season to season in (T,D); from row to row where the past is shorter."""
    lag = season if season < len(past) else 1
    change = np.abs(past[lag:] - past[:-lag])
    known = (~np.isnan(change)).sum(0)
    mean: Numbers = np.divide(np.nansum(change, 0), known, out=np.full(past.shape[1], np.nan), where=known > 0)
    return mean


# ---- of several -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Ratio:
    """A measure as a sum over the windows (W,) divided by another."""

    above: Numbers
    below: Numbers

    @property
    def value(self) -> float:
        return float(self.above.sum() / self.below.sum()) if self.below.sum() else math.nan

    @property
    def error(self) -> float | None:
        """The standard error by leaving out one window after another (the jackknife); None for a single one."""
        below = self.below.sum() - self.below
        if len(self.above) < 2 or (below <= 0).any():
            return None
        without = (self.above.sum() - self.above) / below
        return float(np.sqrt((len(without) - 1) * np.mean((without - without.mean()) ** 2)))


def measures(forecasts: Forecasts) -> list[MetricRecord]:
    """All measures of forecasts as records, the headline first.

    `wql` and `crps_sum` are relative to the sum of the absolute truth; `crps`, `energy` and `mae` are in spreads of the
    training split; `mase` and `msis` in changes from season to season before the origin.

    Errors:
        DataError where no cell of the truth is known.
    """
    each = [forecast for forecast in forecasts.each if forecast.known.any()]
    if not each:
        raise DataError(
            "no cell of what was forecast is known, so nothing can be measured", hint="give a split with values in it"
        )
    spread, cells = forecasts.spread, np.array([float(one.known.sum()) for one in each])
    ones = np.ones(len(each))
    sums = [_summed(one) for one in each]
    by_channel = [_by_channel(one) for one in each]
    found: list[tuple[str, _Ratio, str]] = [
        ("wql", _ratio([_weighted(one.paths, one.truth, NINE) for one in each]), "of the truth"),
        ("mae", _Ratio(np.array([_in_spreads(np.abs(_median(one) - one.truth), one, spread) for one in each]), cells),
         "spread"),
        ("crps", _Ratio(np.array([_in_spreads(crps(one.paths, one.truth), one, spread) for one in each]), cells),
         "spread"),
        ("crps_sum", _ratio([_weighted(paths, truth, NINETEEN) for paths, truth in sums]), "of the truth"),
        ("energy", _Ratio(np.array([_energy(one, spread) for one in each]), ones), "spread"),
        *((name, _ratio([channels[name] for channels in by_channel]), unit)
          for name, unit in (("mase", "seasonal change"), ("smape", "share"), ("msis", "seasonal change"))),
    ]  # fmt: skip
    levels = np.linspace(0, 1, 20 * BINS + 1)
    ranks = [pit(one.paths[:, one.known], one.truth[one.known], levels) for one in each]  # (L,C) each
    for share in COVERAGES:
        lower, upper = (round(len(levels[1:]) * q) for q in ((1 - share) / 2, (1 + share) / 2))
        inside = np.array([float((rank[upper] - rank[lower]).sum()) for rank in ranks])
        found.append((f"coverage_{round(100 * share)}", _Ratio(inside, cells), "share"))
    records = [_record(name, ratio.value, ratio.error, unit, cells, forecasts) for name, ratio, unit in found]
    for record in records:
        if record["name"].startswith("coverage"):
            record["better"], record["nominal"] = "nominal", int(record["name"].partition("_")[2]) / 100
    mean = np.concatenate(ranks, axis=1).mean(1)
    worst = float(np.abs(mean - levels).max())
    histogram = np.diff(mean[:: (len(levels) - 1) // BINS])
    return [*records, {**_record("pit", worst, None, "share", cells, forecasts), "histogram": histogram.tolist()}]


def _record(
    name: str, value: float, error: float | None, unit: str, cells: Numbers, forecasts: Forecasts
) -> MetricRecord:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "kind": "estimate",
        "stderr": error,
        "better": "lower",
        "count": int(cells.sum()),
        "horizon": forecasts.horizon,
        "windows": len(cells),
        "stride": forecasts.stride,
        "season": forecasts.season,
    }


def _ratio(pairs: Sequence[tuple[float, float]]) -> _Ratio:
    above, below = np.array(pairs).T
    return _Ratio(above, below)


def _median(forecast: Forecast) -> Numbers:
    return quantile(forecast.paths, 0.5)


def _in_spreads(errors: Numbers, forecast: Forecast, spread: Numbers) -> float:
    return float((errors / spread)[forecast.known].sum())


def _weighted(paths: Numbers, truth: Numbers, levels: Sequence[float]) -> tuple[float, float]:
    """The pinball loss over the known truth, as the mean over the levels, and the sum of the absolute truth."""
    known = ~np.isnan(truth)
    losses = [float(pinball(truth[known], quantile(paths[:, known], q), q).sum()) for q in levels]
    return math.fsum(losses) / len(levels), float(np.abs(truth[known]).sum())


def _summed(forecast: Forecast) -> tuple[Numbers, Numbers]:
    """Paths (N,H) and truth (H,) of the sum of all channels; unknown where one of them is."""
    return forecast.paths.sum(2), forecast.truth.sum(1)


def _energy(forecast: Forecast, spread: Numbers) -> float:
    known = forecast.known
    return energy((forecast.paths / spread)[:, known], (forecast.truth / spread)[known])


def _by_channel(forecast: Forecast) -> dict[str, tuple[float, float]]:
    """Measures that are a mean over the channels of each window: their sum and the number of channels."""
    known, truth, median = forecast.known, forecast.truth, _median(forecast)
    lower, upper = quantile(forecast.paths, ALPHA / 2), quantile(forecast.paths, 1 - ALPHA / 2)
    error, size = np.abs(truth - median), np.abs(truth) + np.abs(median)
    relative = np.divide(2 * error, size, out=np.zeros_like(error), where=~(size == 0))
    width = upper - lower
    width = width + 2 / ALPHA * (np.maximum(lower - truth, 0) + np.maximum(truth - upper, 0))
    usable = np.asarray(known.any(0))
    scaled = np.logical_and(usable, forecast.change > 0)

    def mean(values: Numbers, channels: NDArray[np.bool_], scale: Numbers | float = 1.0) -> tuple[float, float]:
        with np.errstate(divide="ignore", invalid="ignore"):
            by_channel = np.where(known, values, 0.0).sum(0) / np.maximum(known.sum(0), 1) / scale
        return float(by_channel[channels].sum()), float(channels.sum())

    return {
        "mase": mean(error, scaled, forecast.change),
        "smape": mean(relative, usable),
        "msis": mean(width, scaled, forecast.change),
    }
