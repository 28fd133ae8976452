"""Samples of series beside real ones: distances of their laws, and whether they are copies.

All take windows (N,T,D) with every cell known. A distance of 0 says that the two laws agree in that respect; what it is
between two parts of the real data says how much of it is chance and change.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]

GRID = 1001
"""Quantiles by which marginal distributions are compared."""
TOGETHER = 256
"""Windows whose distances to all others are taken at a time."""


def windows_of(series: Sequence[Numbers], length: int) -> list[tuple[Numbers, Indices]]:
    """All windows (N,T,D) of each series that have every cell known, and the rows (N,) that they begin at."""
    found = []
    for one in series:
        if len(one) < length:
            found.append((np.zeros((0, length, one.shape[1])), np.zeros(0, np.int64)))
            continue
        windows = np.lib.stride_tricks.sliding_window_view(one, length, axis=0).transpose(0, 2, 1)  # (N,T,D)
        begins = np.flatnonzero(~np.isnan(windows).any((1, 2)))
        found.append((windows if len(begins) == len(windows) else windows[begins], begins))
    return found


def marginal(made: Numbers, real: Numbers) -> float:
    """The distance between the distributions of single values (Wasserstein 1), in spreads of the real ones.

    The mean over the channels.
    """
    levels = (np.arange(GRID) + 0.5) / GRID
    apart = [
        np.abs(np.quantile(made[..., d], levels) - np.quantile(real[..., d], levels)).mean()
        for d in range(real.shape[2])
    ]
    return float(np.mean(np.array(apart) / spread_of(real)))


def correlations(windows: Numbers) -> Numbers:
    """Correlations (K,D,D) of channel i with channel j so many rows later, K from 0 to T-1, about the common mean.

    A channel that never changes correlates with nothing.
    """
    centred = windows - windows.mean((0, 1))
    centred = centred / spread_of(windows)
    length = windows.shape[1]
    found = [
        np.einsum("nti,ntj->ij", centred[:, : length - lag], centred[:, lag:]) / (len(windows) * (length - lag))
        for lag in range(length)
    ]
    return np.stack(found)


def autocorrelation(made: Numbers, real: Numbers) -> float:
    """The mean absolute difference of the autocorrelations, over channels and all lags but 0; 0 of single rows."""
    apart = np.abs(correlations(made) - correlations(real))[1:]
    return float(np.diagonal(apart, axis1=1, axis2=2).mean()) if len(apart) else 0.0


def cross_correlation(made: Numbers, real: Numbers) -> float:
    """The same of the correlations between two channels, over all pairs and lags; 0 of a single channel."""
    apart = np.abs(correlations(made) - correlations(real))
    different = ~np.eye(apart.shape[1], dtype=bool)
    return float(apart[:, different].mean()) if different.any() else 0.0


def spectrum(made: Numbers, real: Numbers) -> float:
    """How much of the power stands at other frequencies: 0 of equal spectra, 1 of spectra that share none.

    The total variation between the mean periodograms of the windows about their own means, a mean over the channels.
    """

    def shares(windows: Numbers) -> Numbers:
        power = (np.abs(np.fft.rfft(windows - windows.mean(1, keepdims=True), axis=1)) ** 2).mean(0)[1:]  # (F,D)
        total = power.sum(0)
        part: Numbers = np.divide(power, total, out=np.zeros_like(power), where=total > 0)
        return part

    return float(np.abs(shares(made) - shares(real)).sum(0).mean() / 2)


def nearest(made: Numbers, others: Numbers, barred: NDArray[np.bool_] | None = None) -> tuple[Numbers, Indices]:
    """The distance (N,) of each window to the nearest of the others, and the number of that one.

    A distance is the root mean square over the cells. `barred` (N,M) are not looked at; where all are, it is infinite.
    """
    wide = np.ascontiguousarray(others.reshape(len(others), -1), np.float64)
    flat = made.reshape(len(made), -1).astype(np.float64)
    centre = wide.mean(0)  # far from zero, squares would lose their digits
    wide, flat = wide - centre, flat - centre
    squares = (wide**2).sum(1)
    found, number = np.zeros(len(flat)), np.zeros(len(flat), np.int64)
    for begin in range(0, len(flat), TOGETHER):
        part = flat[begin : begin + TOGETHER]
        apart = squares - 2 * part @ wide.T
        if barred is not None:
            apart[barred[begin : begin + TOGETHER]] = np.inf
        number[begin : begin + TOGETHER] = closest = apart.argmin(1)
        exact = np.sqrt(((part - wide[closest]) ** 2).mean(1))  # exactly 0 of a copy
        found[begin : begin + TOGETHER] = np.where(np.isinf(apart.min(1)), np.inf, exact)
    return found, number


def share_closer(made: Numbers, held: Numbers) -> float:
    """How often a distance of `made` is less than one of `held`, over all pairs; one that is equal counts half."""
    ordered = np.sort(held)
    less = len(held) - np.searchsorted(ordered, made, "right")
    equal = np.searchsorted(ordered, made, "right") - np.searchsorted(ordered, made, "left")
    return float((less + equal / 2).mean() / len(held))


def spread_of(windows: Numbers) -> Numbers:
    """The standard deviation of each channel (D,); 1 where it never changes."""
    changes = windows.max((0, 1)) > windows.min((0, 1))
    spread: Numbers = np.where(changes, windows.std((0, 1)), 1.0)
    return spread


def gaussian_like(windows: Numbers, count: int, normal: Numbers) -> Numbers:
    """Windows (count,T,D) of the normal distribution with the mean and all covariances of these.

    Args:
        normal: Independent normal numbers (count, min(N, T*D)).
    """
    flat = windows.reshape(len(windows), -1)
    mean = flat.mean(0)
    _, values, directions = np.linalg.svd(flat - mean, full_matrices=False)
    scales = values / np.sqrt(max(1, len(flat) - 1))
    made: Numbers = mean + (normal[:, : len(scales)] * scales) @ directions
    return made.reshape(count, *windows.shape[1:])
