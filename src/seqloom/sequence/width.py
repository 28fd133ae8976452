"""How much wider the bands of forecasts must be than a model draws them, as forecasts of held-out rows have it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqloom.core.progress import count
from seqloom.sequence.held_out import HeldOut

Numbers = NDArray[np.float64]

SHARE = 0.8
"""The share of the truth that the band which is measured is to hold."""
USUAL = 0.55
"""The deviation of the logarithms of factors from table to table, beside which that of a single factor is weighed."""
APART = 0.6
"""The deviation of the logarithm of a factor that is taken from one forecast alone."""
RESAMPLED = 64
"""Draws of forecasts, with replacement, from which it is told how sure a factor is."""
ENOUGH = 0.9
"""The share that narrower bands must have held: later rows are seldom as easy to forecast as held-out ones, which
follow on those that were learned."""
DOUBT = 3.0
"""By what the error of a factor counts more where it would make bands narrower, for the same reason."""
NARROW, WIDE = 0.2, 5.0
"""The least and the greatest factor."""
STEPS, ATOMS = 0.5, 0.1
"""From these shares of neighbours among sorted paths on that are equal a column has no width: few whole numbers, as it
is shown, and a value that is drawn again and again, such as the zeros of a head with bins."""


@dataclass(frozen=True)
class Width:
    """A factor of the deviations of paths from their median, so that bands hold the share of truth that they name.

    Split conformal prediction by the error in units of the band, as conformalized quantile regression has it (Romano et
    al. 2019), with two differences: the band is stretched about the median, so that all of the paths' law is, and
    the factor is drawn towards 1 by how little the forecasts say that it is taken from, and bands are
    narrowed only so far as they would have held nine in ten, and only where many forecasts say so.
    """

    factor: float
    held: float
    """The share of the truth that the model's own bands of 80 % held."""
    windows: int
    """Forecasts that it was taken from."""

    @classmethod
    def of(cls, held: HeldOut) -> Width | None:
        """The factor that suits these forecasts; None where no column has a width."""
        each = [_errors(made, truth) for made, truth in zip(held.paths, held.truths, strict=True)]
        each = [errors for errors in each if len(errors)]
        if not each:
            return None
        found = _log_factor(each)
        draws = np.random.Generator(np.random.Philox(key=0)).integers(len(each), size=(RESAMPLED, len(each)))
        error = float(np.std([_log_factor([each[i] for i in draw]) for draw in draws])) if len(each) > 1 else 0.0
        # Forecasts of the same rows err together: they say no more than those without a row in common.
        independent = min(held.independent, len(each))
        error = max(error * math.sqrt(len(each) / independent), APART / math.sqrt(independent))
        error *= DOUBT if found < 0 else 1.0
        kept = USUAL**2 / (USUAL**2 + error**2)
        inside = float((np.concatenate(each) <= 1).mean())
        return cls(math.exp(kept * found), inside, len(each))

    @property
    def in_words(self) -> str:
        """What is done, and why."""
        held = f"{SHARE:.0%} held {self.held:.0%} of {count(self.windows, 'held-out forecast')}"
        if round(self.factor, 2) == 1:
            return f"bands are as wide as the model draws them: those of {held}"
        return f"bands are drawn {self.factor:.2f} times as wide: the model's own of {held}"

    def applied(self, paths: NDArray[np.floating]) -> NDArray[np.floating]:
        """Paths (N,H,D) with their deviations from their median multiplied; those of columns with atoms as they are."""
        middle = np.median(paths, axis=0)
        return np.where(smooth_columns(paths), middle + self.factor * (paths - middle), paths).astype(paths.dtype)


def smooth_columns(paths: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which columns (D,) of paths (N,H,D) have no value again and again."""
    return np.asarray(_repeated(np.sort(paths, axis=0)) <= ATOMS)


def band_of(paths: Numbers) -> tuple[Numbers, Numbers, Numbers, NDArray[np.bool_]]:
    """Lower end, median and upper end (H,D) of the band of paths (N,H,D), and which columns (D,) are judged by it.

    The quantiles are those with so many draws below them on average: of few paths others lie too near to the middle.
    """
    ordered = np.sort(paths, axis=0)
    levels = (0.5 - SHARE / 2, 0.5, 0.5 + SHARE / 2)
    low, middle, high = np.quantile(ordered, levels, axis=0, method="weibull")
    return low, middle, high, np.asarray(_repeated(ordered) <= STEPS)


def _errors(paths: Numbers, truth: Numbers) -> Numbers:
    """How far from the median each known cell (C,) lies, in units of its side of the band."""
    low, middle, high, judged = band_of(paths)
    error = truth - middle
    side = np.where(error < 0, middle - low, high - middle)
    known = ~np.isnan(error) & (side > 0) & judged
    return np.asarray(np.abs(error[known]) / side[known], np.float64)


def _repeated(ordered: NDArray[np.floating]) -> Numbers:
    """Of each column (D,) the share of neighbours among sorted paths (N,H,D) that are equal."""
    return np.asarray((ordered[1:] == ordered[:-1]).mean((0, 1)), np.float64) if len(ordered) > 1 else np.ones(1)


def _log_factor(errors: Sequence[Numbers]) -> float:
    """The logarithm of the factor with which the band holds its share of the cells; below 0 where it holds enough."""
    needed, enough = np.quantile(np.concatenate(errors), (SHARE, ENOUGH))
    return math.log(float(np.clip(max(needed, min(enough, 1.0)), NARROW, WIDE)))
