"""Numbers as a codec reads them: in deviations from the mean of their column, perhaps by their logarithm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

LARGEST = 1e300
"""What is made is no further from zero."""


def as_read(values: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows (T,D) with columns that have a size by their logarithm in units of it, made of asinh."""
    if not sizes.any():
        return values
    return np.where(sizes, np.arcsinh(values / np.where(sizes, 2 * sizes, 1.0)), values)


@dataclass(frozen=True, eq=False)
class Scaling:
    """The mean and the deviation of each column (D,) as it is read, and the size by which its logarithm is, or 0."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    size: NDArray[np.float64]

    @classmethod
    def of(cls, means: Sequence[float], scales: Sequence[float], sizes: Sequence[float] = ()) -> Self:
        return cls(*(np.array(own, np.float64) for own in (means, scales, sizes or (0.0,) * len(means))))

    def scaled(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rows (T,D) as they are read, in deviations from the mean of each column."""
        return np.asarray((as_read(values, self.size) - self.mean) / self.scale)

    def unscaled(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Rows (T,D) in their own units from what `scaled` makes of them."""
        read = np.asarray(x, np.float64) * self.scale + self.mean
        if not self.size.any():
            return read
        with np.errstate(over="ignore", invalid="ignore"):
            return np.where(self.size, np.clip(2 * self.size * np.sinh(read), -LARGEST, LARGEST), read)

    def log_slopes(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """The logarithm (T,D) of how much faster numbers in their own units grow than what is read of them."""
        read = np.asarray(x, np.float64) * self.scale + self.mean
        size = np.where(self.size, self.size, 1.0)
        bent = np.log(2 * size) + np.logaddexp(read, -read) - math.log(2)  # of 2 size sinh(read)
        return np.asarray(np.where(self.size, bent, 0.0) + np.log(self.scale))

    @cached_property
    def middle(self) -> NDArray[np.float64]:
        """What is read as the mean of each column, in its own units."""
        return self.unscaled(np.zeros(len(self.mean)))

    @cached_property
    def deviation(self) -> NDArray[np.float64]:
        """What a deviation from there is about, in the units of each column."""
        return np.exp(self.log_slopes(np.zeros(len(self.mean))))
