"""Second moments of a series, and what they make likely of hidden cells.

The best linear guess of a hidden cell from those that are shown, whatever the level of the series, and how far it errs
(ordinary kriging, Matheron 1963; Cressie 1993, section 3.2). Each channel is expected from its own cells.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

KEPT = 64 << 20
"""Bytes of weights that are kept: the patterns of shown cells that forecasts have come again and again."""
LONGEST = 1024
"""Elements between which a momentum is followed; a longer canvas is read in windows."""
LEAST_NEW = 0.02
"""The least share of the variance of a change that is new, where a momentum near 1 would leave it without bounds."""


class Moments:
    """Second moments of elements, and what follows from them of hidden ones."""

    def __init__(self) -> None:
        self._weights: OrderedDict[tuple[bytes, bytes], tuple[Numbers, Numbers]] = OrderedDict()

    @property
    @abstractmethod
    def length(self) -> int:
        """Elements of the longest stretch whose moments are known."""

    @abstractmethod
    def unit(self, scale: Literal["spread", "change"], steps: int) -> Numbers:
        """Of each channel (D,) the spread of a stretch about its mean, or of changes from one element to the next."""

    @abstractmethod
    def precision(self, steps: int) -> Numbers:
        """The inverse (D,T,T) of the covariance of a stretch about whose level nothing is known."""

    def expected(self, x: NDArray[Any], shown: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
        """What is expected of each hidden cell (B,T,D), and the standard error where the unit of the moments is 1.

        Cells that are shown, and those of channels of which nothing is shown, have no expectation: nan.
        """
        rows, steps, width = x.shape
        if steps > self.length:
            return self._expected_in_windows(x, shown)
        cells = x.transpose(0, 2, 1).reshape(-1, steps).astype(np.float64)  # (B*D,T)
        masks = shown.transpose(0, 2, 1).reshape(-1, steps)
        mean, error = np.full(cells.shape, np.nan), np.ones(cells.shape)
        patterns, which = np.unique(np.packbits(masks, axis=1), axis=0, return_inverse=True)
        which = which.reshape(-1)
        for number in range(len(patterns)):
            own = np.flatnonzero(which == number)
            known = np.flatnonzero(masks[own[0]])
            hidden = np.flatnonzero(~masks[own[0]])
            if not len(known) or not len(hidden):
                continue
            channels, channel = np.unique(own % width, return_inverse=True)
            weights, errors = self._weights_of(masks[own[0]], known, hidden, channels)
            groups = [(own[channel == place, None], slice(place, place + 1)) for place in range(len(channels))]
            if len(channels) == width and len(own) % width == 0 and (channel.reshape(-1, width) == channels).all():
                groups = [(own.reshape(-1, width), slice(None))]  # whole rows: all channels at once
            for mine, chosen in groups:  # (N,C) and of which channels
                values = cells[mine[..., None], known]
                level = values.mean(2, keepdims=True)
                # Not a product of matrices: no row's numbers may depend on how many there are.
                guessed = np.einsum("ncs,chs->nch", values - level, weights[chosen])
                mean[mine[..., None], hidden] = guessed + level
                error[mine[..., None], hidden] = errors[chosen]
        shape = (rows, width, steps)
        return mean.reshape(shape).transpose(0, 2, 1), error.reshape(shape).transpose(0, 2, 1)

    def _expected_in_windows(self, x: NDArray[Any], shown: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
        """The same for a longer canvas: windows that move by half of their length, each for what is in its middle."""
        steps, length = x.shape[1], self.length
        mean, error = np.full(x.shape, np.nan), np.ones(x.shape)
        starts = [*range(0, steps - length, length // 2), steps - length]
        for start in starts:
            window, own = slice(start, start + length), slice(start + length // 4 if start else 0, start + length)
            skipped = own.start - start
            parts = self.expected(x[:, window], shown[:, window])
            mean[:, own], error[:, own] = (part[:, skipped:] for part in parts)
        return mean, error

    def _weights_of(
        self, mask: NDArray[np.bool_], known: NDArray[np.int64], hidden: NDArray[np.int64], channels: NDArray[np.int64]
    ) -> tuple[Numbers, Numbers]:
        """The weights (C,H,S) of shown cells in the guess of hidden ones, and its standard errors (C,H)."""
        key = (mask.tobytes(), channels.tobytes())
        if (found := self._weights.get(key)) is not None:
            self._weights.move_to_end(key)
            return found
        precision = self.precision(len(mask))[channels]
        errors = np.linalg.inv(precision[:, hidden[:, None], hidden])  # (C,H,H): their covariance given what is shown
        weights = -errors @ precision[:, hidden[:, None], known]
        deviation = np.sqrt(np.diagonal(errors, axis1=1, axis2=2))
        self._weights[key] = weights, deviation
        while sum(one.nbytes for one, _ in self._weights.values()) > KEPT and len(self._weights) > 1:
            self._weights.popitem(last=False)
        return weights, deviation


class Wandering(Moments):
    """Values each of whose changes has `momentum` of the one before it; what is new in each has the variance 1.

    Without momentum a random walk, whose hidden cells lie on the line between shown ones; with all of it they lie on
    a smooth curve and go on as they did.
    """

    def __init__(self, momentum: float, dim: int) -> None:
        super().__init__()
        self.momentum, self.dim = momentum, dim

    @property
    def length(self) -> int:
        return LONGEST

    def unit(self, scale: Literal["spread", "change"], steps: int) -> Numbers:
        return np.ones(self.dim)

    def precision(self, steps: int) -> Numbers:
        new = np.zeros((steps - 1, steps))  # what is new in each change
        index = np.arange(steps - 1)
        new[index, index], new[index, index + 1] = -1.0, 1.0
        new[1:] -= self.momentum * new[:-1]
        new[:1] *= max(1 - self.momentum**2, LEAST_NEW) ** 0.5
        return np.broadcast_to(new.T @ new, (self.dim, steps, steps))


@lru_cache(maxsize=8)
def wandering(momentum: float, dim: int) -> Wandering:
    """The moments of so many channels; what was computed of them is kept."""
    return Wandering(momentum, dim)
