"""What is told of a column of numbers: whether they are whole, how they are spelled, where they lie."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from seqloom.sequence.space import Within

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
PARTS, FEWEST_IN_PART = 24, 8
"""Parts of a series of which each has a level and changes, and rows that each has at least."""
LEVELS, RISE, SURELY = 0.2, 0.5, 2.5
"""Changes grow with the level where the logarithms of levels deviate by so much, changes rise by such a power of the
level, and this is so many of its standard errors above 0."""
BELOW = 0.1
"""Of the least known value: the size below which a logarithm goes over into a straight line."""


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


def lying(positive: bool, signed: bool, whole: bool, binary: bool) -> tuple[Within, ...]:
    """The sets in which the numbers of a column lie, the smallest first."""
    sets: dict[Within, bool] = {
        "binary": binary,
        "count": whole and not (signed or binary),
        "positive": positive,
        "nonnegative": positive or not signed,
    }
    return tuple(name for name, inside in sets.items() if inside)


def _least_size(pieces: Sequence[NDArray[np.float64]]) -> float:
    """From which size on a column of one or more series (T,) is best read by its logarithm; 0 where it is not.

    It is where all values are above zero and changes from row to row grow with the level: the power of the level by
    which they do is found by least squares over parts of each series (Guerrero 1993, with changes for deviations).
    """
    lowest = min((float(np.nanmin(piece)) for piece in pieces if not np.isnan(piece).all()), default=0.0)
    if lowest <= 0:
        return 0.0
    parts = [np.array(list(_parts_of(_without_odd(piece)))) for piece in pieces]
    parts = [np.log(part) - np.log(part).mean(0) for part in parts if len(part) > 2]
    free = sum(len(part) - 1 for part in parts) - 1
    if free < 1:
        return 0.0
    level, change = np.concatenate(parts).T
    varied = float(level @ level)
    if math.sqrt(varied / len(level)) < LEVELS:
        return 0.0
    power = float(level @ change) / varied
    error = math.sqrt(float(((change - power * level) ** 2).sum()) / free / varied)
    return BELOW * lowest if power >= max(RISE, SURELY * error) else 0.0


def size_of(pieces: Sequence[NDArray[np.float64]], transform: str) -> float:
    """From which size on a column of these series (T,) is read by its logarithm; 0 where it is not.

    `transform` is `log` where it is to be, `none` where it is not, and `auto` where that is told from its numbers.
    """
    if transform == "log":
        sizes = np.abs(np.concatenate(pieces))
        sizes = sizes[sizes > 0]
        return BELOW * float(sizes.min()) if len(sizes) else 0.0
    return _least_size(pieces) if transform == "auto" else 0.0


def _without_odd(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """A series without a cell that alone makes most of its variance: a mistake is no level."""
    odd = far_off(column)
    return column if odd is None else np.delete(column, odd)


def _parts_of(column: NDArray[np.float64]) -> Iterator[tuple[float, float]]:
    """The mean and the root mean square change from row to row of the parts of a series that have both."""
    size = max(FEWEST_IN_PART, -(-len(column) // PARTS))
    for begin in range(0, len(column) - size + 1, size):
        part = column[begin : begin + size]
        known, changes = part[~np.isnan(part)], np.diff(part)
        changes = changes[~np.isnan(changes)]
        if len(changes) and (changes != 0).any():
            yield float(known.mean()), float(np.sqrt((changes**2).mean()))


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
