"""How far forecasts may depart from the naive one, as forecasts of held-out rows have it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqloom.core.progress import count
from seqloom.sequence.held_out import HeldOut
from seqloom.sequence.naive import naive_forecast
from seqloom.sequence.width import band_of, smooth_columns

Numbers = NDArray[np.float64]

SHARES = np.linspace(0, 1, 21)
"""Shares of a departure that are tried."""
WITHIN = 0.5
"""Standard errors by which a share may be worse than the best one."""
FEWEST = 16
"""Of fewer paths the median depends so much on each that moving all by it would narrow their spread."""


@dataclass(frozen=True)
class Shrinkage:
    """The share of a forecast's departure from the naive one that is kept: all paths of a cell are moved alike.

    The naive forecast repeats the last season, or the last value where there is none. A model of few rows reads more
    from them than goes on: its median is then nearer to the truth where it is drawn towards the naive forecast, as a
    combination of two forecasts often is (Bates and Granger 1969). Of the shares whose absolute error over forecasts of
    held-out rows, in units of the band, is within half a standard error of the least, it is the greatest (after Breiman
    et al. 1984, who allow one).
    """

    kept: float
    season: int
    windows: int
    """Forecasts that it was taken from."""

    @classmethod
    def of(cls, held: HeldOut) -> Shrinkage | None:
        """The share that suits these forecasts; None where none has a past of a season and a cell that is judged."""
        season, forecasts = held.season, zip(held.paths, held.pasts, held.truths, strict=True)
        each = [_errors(*forecast, season) for forecast in forecasts if len(forecast[1]) >= season]
        each = [(errors, cells) for errors, cells in each if cells]
        if not each:
            return None
        if len(each) == 1:  # what a share gains has no error yet
            return cls(1.0, season, 1)
        errors = np.stack([own / cells for own, cells in each])  # each forecast counts as one, with few cells or many
        worse = errors - errors[:, [np.argmin(errors.mean(0))]]
        error = worse.std(0, ddof=1) / math.sqrt(min(held.independent, len(each)))
        return cls(float(SHARES[np.flatnonzero(worse.mean(0) <= WITHIN * error)[-1]]), season, len(each))

    @property
    def in_words(self) -> str:
        """What is done, and why; nothing where nothing is."""
        if round(self.kept, 2) == 1:
            return ""
        naive = f"the last {self.season} values" if self.season > 1 else "the last value"
        return (
            f"forecasts keep {self.kept:.0%} of how far they depart from {naive}, repeated: "
            f"{count(self.windows, 'held-out forecast')} would have been nearer so"
        )

    def applied(self, paths: NDArray[np.floating], past: Numbers) -> NDArray[np.floating]:
        """Paths (N,H,D) after a past (T,D), moved; as they are where they are few or the past is shorter than a season.

        Columns that have one value again and again are left as they are, as by `Width`.
        """
        if len(paths) < FEWEST or len(past) < self.season or self.kept == 1:
            return paths
        move = (1 - self.kept) * (naive_forecast(past, paths.shape[1], self.season) - np.median(paths, axis=0))
        return (paths + np.where(smooth_columns(paths), np.nan_to_num(move), 0)).astype(paths.dtype)


def _errors(paths: Numbers, past: Numbers, truth: Numbers, season: int) -> tuple[Numbers, int]:
    """The sum of absolute errors (S,) with each share, in half bands, and of how many cells."""
    low, middle, high, judged = band_of(paths)
    half, naive = (high - low) / 2, naive_forecast(past, len(truth), season)
    known = ~np.isnan(truth) & ~np.isnan(naive) & (half > 0) & judged
    departure = (middle - naive)[known]
    made = naive[known] + SHARES[:, None] * departure
    return (np.abs(made - truth[known]) / half[known]).sum(1), int(known.sum())
