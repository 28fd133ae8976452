"""Seasons and persistence: how long a series takes to repeat itself, and how little it changes from row to row."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

SEASONS = (4, 7, 12, 24, 48, 52, 60, 96, 144, 168, 288, 1440)
"""Seasons that are looked for where the time step is not known."""

_PERIODS = (60.0, 3600.0, 86_400.0, 604_800.0, 31_556_952.0)
"""Seconds in a minute, an hour, a day, a week and a mean year."""


def season_of(pieces: Sequence[Numbers], step: float | None = None) -> int:
    """The season of one or more series (T,D) in steps (nan where missing), by autocorrelation; 1 where none shows.

    Looked for are an hour, a day, a week and a year in steps of `step` seconds (hourly data: 24 and 168; daily: 7;
    monthly: 12), or the usual ones. A lag m is a season where the autocorrelation of the detrended series, averaged
    over the channels, is clearly positive and clearly above that around m/2: slow decay alone does not count. Of those,
    the shortest that is within 0.02 of the best.
    """
    pieces = [_detrended(piece) for piece in pieces]
    longest = max((len(piece) for piece in pieces), default=0)
    if step is None:
        lags = list(SEASONS)
    else:
        lags = sorted({round(period / step) for period in _PERIODS if period / step > 1.5})
    rows = max(sum(len(piece) for piece in pieces), 1)
    strength: dict[int, float] = {}
    for lag in lags:
        if lag < 2 or 3 * lag > longest:
            continue
        # Chance makes more of a long lag: few seasons of it are in the data.
        least = max(0.2, 4.0 / math.sqrt(rows)) + lag / rows
        correlation = _autocorrelation(pieces, lag)
        between = float(np.mean([_autocorrelation(pieces, k) for k in _around_half(lag)]))
        if correlation > least and correlation - between > least:
            strength[lag] = correlation
    best = max(strength.values(), default=0.0)
    return next((lag for lag in sorted(strength) if strength[lag] > best - 0.02), 1)


def persistence_of(pieces: Sequence[Numbers]) -> float:
    """The autocorrelation of one or more series (T,D) from row to row, nan where missing; the mean over the channels.

    Near 1 where values wander or trend, so that the last one says more of the next than their mean does.
    """
    if not pieces:
        return 0.0
    whole = np.concatenate(list(pieces))
    known = np.flatnonzero(~np.isnan(whole).all(0))
    mean, spread = np.nanmean(whole[:, known], 0), np.nanstd(whole[:, known], 0)
    moves = spread > 1e-9 * np.maximum(np.abs(mean), 1e-300)
    if not moves.any():
        return 0.0
    return _autocorrelation([(piece[:, known[moves]] - mean[moves]) / spread[moves] for piece in pieces], 1)


def momentum_of(pieces: Sequence[Numbers]) -> tuple[float, float]:
    """How much of the last change of series (T,D) is there again in the next one, and what that leaves of changes.

    Of each channel it is the factor by which a change from row to row is best multiplied to foretell the next, by
    least absolute errors, which finds exactly 1 where things mostly go on as they did: near 1 for what moves and has
    mass, 0 for a random walk, below 0 where noise is on top. The second number is the root mean square of what it errs
    by, in that of the changes. Both are means over the channels.
    """
    changes = [np.diff(piece, axis=0) for piece in pieces if len(piece) > 2]
    found, left = [], []
    for d in range(changes[0].shape[1] if changes else 0):
        last, following = (np.concatenate([one[part, d] for one in changes]) for part in (slice(-1), slice(1, None)))
        known = ~np.isnan(last + following)
        last, following = last[known], following[known]
        moves = last != 0
        if not moves.any():
            continue
        ratio, weight = following[moves] / last[moves], np.abs(last[moves])
        order = np.argsort(ratio)  # their weighted median has the least absolute errors
        total = weight[order].cumsum()
        found.append(float(ratio[order][np.searchsorted(total, total[-1] / 2)]))
        left.append(float(np.sqrt(((following - found[-1] * last) ** 2).mean() / (following**2).mean().clip(1e-300))))
    return (float(np.mean(found)), float(np.mean(left))) if found else (0.0, 1.0)


def repeated_share(pieces: Sequence[Numbers]) -> float:
    """The greatest share of known cells that one value has in a column that varies, such as the zeros of counts."""
    shares = [0.0]
    for column in np.concatenate(list(pieces)).T if len(pieces) else ():
        known = column[~np.isnan(column)]
        if len(known) and known.min() < known.max():
            shares.append(float(np.unique(known, return_counts=True)[1].max() / len(known)))
    return max(shares)


def _detrended(x: Numbers) -> Numbers:
    """Each channel less its straight line by least squares, in units of its spread; missing stays nan."""
    out = np.full_like(x, np.nan)
    for d in range(x.shape[1]):
        index = np.flatnonzero(~np.isnan(x[:, d]))
        if len(index) < 3:
            continue
        t = (index - index.mean()) / max(len(x), 1)
        y = x[index, d] - x[index, d].mean()
        y = y - t * (t @ y) / (t @ t)
        spread = float(y.std())
        if spread > 1e-9 * max(float(np.abs(x[index, d]).max()), 1e-300):
            out[index, d] = y / spread
    return out


def _autocorrelation(pieces: list[Numbers], lag: int) -> float:
    """Mean over the channels of the mean product of known cells `lag` apart (spread one, mean zero)."""
    products = np.concatenate([piece[lag:] * piece[: max(len(piece) - lag, 0)] for piece in pieces])
    known = (~np.isnan(products)).sum(0)
    usable = known > 0
    if not usable.any():
        return 0.0
    return float((np.nansum(products, 0)[usable] / known[usable]).mean())


def _around_half(lag: int) -> list[int]:
    return sorted({max(round(lag * share), 1) for share in (0.35, 0.5, 0.65)})
