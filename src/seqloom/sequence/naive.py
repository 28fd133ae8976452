"""The forecast that repeats: the last value, or that of a season before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def naive_forecast(history: Numbers, horizon: int, season: int) -> Numbers:
    """The last known cell of the same phase, repeated: (H,D) after a history (T,D) with nan where missing.

    A phase that was never known takes the channel's last known cell; a channel that was never known stays nan.
    """
    last = filled_forward(history)[-1] if len(history) else np.full(history.shape[1], np.nan)
    width = history.shape[1]
    out = np.empty((horizon, width))
    phase = np.full((season, width), np.nan)
    padded = by_phase(history, season)
    if len(padded):
        filled = filled_forward(padded.reshape(len(padded), -1))[-1].reshape(season, width)
        phase = np.roll(filled, -(len(history) % season), axis=0)
    phase = np.where(np.isnan(phase), last, phase)
    for start in range(0, horizon, season):
        out[start : start + season] = phase[: horizon - start]
    return out


def by_phase(x: Numbers, season: int) -> Numbers:
    """Rows (T,D) in seasons: (ceil(T/season), season, D), the last one filled up with nan."""
    short = -len(x) % season
    return np.concatenate([x, np.full((short, x.shape[1]), np.nan)]).reshape(-1, season, x.shape[1])


def filled_forward(x: Numbers) -> Numbers:
    """Each cell (T,D), or the last known one before it; nan where there is none."""
    at = np.where(np.isnan(x), -1, np.arange(len(x))[:, None])
    at = np.maximum.accumulate(at, axis=0)
    return np.where(at >= 0, np.take_along_axis(x, np.maximum(at, 0), axis=0), np.nan)
