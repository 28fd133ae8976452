"""What is told of a column of numbers: whether they are whole, how they are spelled, where they lie."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEWEST = 5
"""Known cells that must be whole numbers before a column is taken to hold nothing else."""
MOST_DECIMALS = 18
"""Decimals beyond which it is not told how many numbers have."""
ENOUGH = 30
"""Known cells of a column among which one that makes most of the variance is odd."""
MANY = 8
"""Series of which it can be said how they differ from each other."""
UNLIKE = 10
"""So many times more than the median series all deviate together where a small one is the scale of all."""


def whole(column: NDArray[np.float64]) -> bool:
    """Whether all known cells are whole numbers, and not by chance."""
    known = column[~np.isnan(column)]
    return len(known) >= FEWEST and bool((known % 1 == 0).all())


def decimals(column: NDArray[np.float64]) -> int:
    """How many decimals all known cells have at most, where there are enough of them to tell."""
    known = column[~np.isnan(column)]
    for places in range(MOST_DECIMALS if len(known) >= FEWEST else 0):
        scaled = known * 10.0**places
        if (np.abs(scaled - np.rint(scaled)) <= 1e-14 * np.abs(scaled)).all():
            return places
    return MOST_DECIMALS


def signed(column: NDArray[np.float64]) -> bool:
    """Whether numbers below zero can be expected: not of counts, nor of what is never below zero and often zero."""
    return bool((column < 0).any()) or not (whole(column) or (column == 0).sum() > 1)


def binary(column: NDArray[np.float64]) -> bool:
    """Whether all known cells are 0 or 1, and not by chance."""
    known = column[~np.isnan(column)]
    return whole(column) and bool(((known == 0) | (known == 1)).all())


def _moments(values: NDArray[np.float64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the known cells of each column, without overflow; (0, 1) and (value, 1) where undefined."""
    means, scales = [], []
    for column in values.T:
        known = column[~np.isnan(column)]
        if not len(known):
            means.append(0.0)
            scales.append(1.0)
            continue
        if known.min() == known.max():
            means.append(float(known[0]))
            scales.append(1.0)
            continue
        size = float(np.abs(known).max())
        mean, deviation = float((known / size).mean()), float((known / size).std())
        scale = deviation * size
        means.append(mean * size)
        scales.append(scale if scale > 0 else 1.0)
    return tuple(means), tuple(scales)


def moments_of(series: Sequence[NDArray[np.float64]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of all rows together, or of a small one of the series where these differ far from each other.

    A tenth of them are smaller than that one.
    """
    means, scales = _moments(np.concatenate(series))
    if len(series) < MANY:
        return means, scales
    with warnings.catch_warnings():  # a series may have no known cell in a column
        warnings.simplefilter("ignore", RuntimeWarning)
        own = np.array([np.nanstd(values, 0) for values in series])  # (S,D)
        own[own == 0] = np.nan
        small, middle = np.nanquantile(own, (0.1, 0.5), axis=0)  # (D,)
        centres = np.nanmedian(np.array([np.nanmean(values, 0) for values in series]), 0)
    apart = np.array(scales) > UNLIKE * middle  # never where nothing deviates: nan
    return tuple(np.where(apart, centres, means).tolist()), tuple(np.where(apart, small, scales).tolist())


def far_off(column: NDArray[np.float64]) -> int | None:
    """The row of a cell that alone makes more than half of the variance of its column; None where none does."""
    known = np.flatnonzero(~np.isnan(column))
    if len(known) < ENOUGH:
        return None
    sized = column[known] / np.abs(column[known]).max()  # squares of large numbers are not finite
    squares = (sized - sized.mean()) ** 2
    furthest = int(squares.argmax())
    return int(known[furthest]) if squares[furthest] > 0.5 * squares.sum() else None
