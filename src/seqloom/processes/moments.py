"""Second moments of a series: what they make likely of hidden cells, and how what is left of these hangs together.

The best linear guess of a hidden cell from those that are shown, whatever the level of the series, and how far it errs
(ordinary kriging, Matheron 1963; Cressie 1993, section 3.2). Each channel is expected from its own cells.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Numbers = NDArray[np.float64]

KEPT = 64 << 20
"""Bytes of weights that are kept: the patterns of shown cells that forecasts have come again and again."""
AT_ONCE = 1 << 22
"""Products of a factor and numbers that are made at a time."""
LEAST_NEW = 0.02
"""The least share of the variance of a change that is new, where a momentum near 1 would leave it without bounds."""


@dataclass(frozen=True)
class Pattern:
    """Cells of which the same positions are shown and made: their numbers among those of rows (B*D,), row by row.

    `shown` (T,) says which positions are shown, `made` which ones are to be made, `hidden` all that are not shown.
    """

    cells: NDArray[np.int64]
    shown: NDArray[np.bool_]
    made: NDArray[np.int64]
    hidden: NDArray[np.int64]


def patterns_of(shown: NDArray[np.bool_], made: NDArray[np.bool_]) -> list[Pattern]:
    """The patterns of rows (B,T,D) of which something is shown and something hidden."""
    steps = shown.shape[1]
    masks, wanted = (part.transpose(0, 2, 1).reshape(-1, steps) for part in (shown, made))
    packed = np.packbits(np.concatenate([masks, wanted], 1), axis=1)
    number = np.unique(packed, axis=0, return_inverse=True)[1].reshape(-1)
    found = []
    for own in np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1]):
        seen = masks[own[0]]
        if seen.any() and not seen.all():
            found.append(Pattern(own, seen, np.flatnonzero(wanted[own[0]]), np.flatnonzero(~seen)))
    return found


class Moments:
    """Second moments of elements, and what follows from them of hidden ones."""

    def __init__(self) -> None:
        self._of_patterns: OrderedDict[tuple[str, bytes, bytes, bytes], tuple[Numbers, Numbers]] = OrderedDict()

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

    def expected(
        self, x: NDArray[Any], shown: NDArray[np.bool_], made: NDArray[np.bool_] | None = None
    ) -> tuple[Numbers, Numbers]:
        """What is expected of each hidden cell (B,T,D), and the standard error where the unit of the moments is 1.

        That of a cell that is `made` (None: none) is what is left once the made ones before it are known, too. Cells
        that are shown, and those of channels of which nothing is shown, have no expectation: nan.
        """
        rows, steps, width = x.shape
        if steps > self.length:
            return self._expected_in_windows(x, shown)
        cells = x.transpose(0, 2, 1).reshape(-1, steps).astype(np.float64)  # (B*D,T)
        mean, error = np.full(cells.shape, np.nan), np.ones(cells.shape)
        for pattern in patterns_of(shown, np.zeros_like(shown) if made is None else made):
            own, hidden = pattern.cells, pattern.hidden
            known = np.flatnonzero(pattern.shown)
            channels, channel = np.unique(own % width, return_inverse=True)
            weights, errors = self._weights_of(pattern, channels)
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

    def _weights_of(self, pattern: Pattern, channels: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
        """The weights (C,H,S) of shown cells in the guess of hidden ones, and its standard errors (C,H)."""

        def compute() -> tuple[Numbers, Numbers]:
            precision, hidden = self.precision(len(pattern.shown))[channels], pattern.hidden
            errors = np.linalg.inv(precision[:, hidden[:, None], hidden])  # (C,H,H): covariance given what is shown
            weights = -errors @ precision[:, hidden[:, None], np.flatnonzero(pattern.shown)]
            deviation = np.sqrt(np.diagonal(errors, axis1=1, axis2=2))
            place = np.searchsorted(hidden, pattern.made)
            factor = np.linalg.cholesky(errors[:, place[:, None], place])
            deviation[:, place] = np.diagonal(factor, axis1=1, axis2=2)
            return weights, deviation

        return self._kept("weights", pattern, channels, compute)

    def factors(self, pattern: Pattern, channels: NDArray[np.int64]) -> tuple[Numbers, Numbers]:
        """How errors of cells that are made (C,M,M) follow from errors of their own, in units of these; and back."""

        def compute() -> tuple[Numbers, Numbers]:
            precision, hidden = self.precision(len(pattern.shown))[channels], pattern.hidden
            place = np.searchsorted(hidden, pattern.made)
            errors = np.linalg.inv(precision[:, hidden[:, None], hidden])[:, place[:, None], place]
            factor = np.linalg.cholesky(errors)
            own = np.diagonal(factor, axis1=1, axis2=2)
            mixed = factor / own[:, :, None]
            return mixed, np.linalg.inv(mixed)

        return self._kept("factors", pattern, channels, compute)

    def _kept(
        self,
        name: str,
        pattern: Pattern,
        channels: NDArray[np.int64],
        compute: Callable[[], tuple[Numbers, Numbers]],
    ) -> tuple[Numbers, Numbers]:
        """What was computed of a pattern, or is now."""
        key = (name, pattern.shown.tobytes(), pattern.made.tobytes(), channels.tobytes())
        if (found := self._of_patterns.get(key)) is not None:
            self._of_patterns.move_to_end(key)
            return found
        self._of_patterns[key] = found = compute()
        while sum(one.nbytes + two.nbytes for one, two in self._of_patterns.values()) > KEPT:
            if len(self._of_patterns) == 1:
                break
            self._of_patterns.popitem(last=False)
        return found


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
        return sys.maxsize

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


@dataclass(frozen=True, eq=False)
class Mixing:
    """How what hidden cells (B,T,D) differ by from what is expected of them depends on each other.

    A cell errs by what is new in it and by what follows from the errors of made cells before it, by a triangle of the
    covariance given what is shown. A diffusion of what is new alone has noise and data alike: nearly independent.
    """

    moments: Moments
    shown: Tensor
    made: Tensor

    def mixed(self, new: Tensor) -> Tensor:
        """The errors, in units of what is new in each."""
        return self._product(new, 0)

    def unmixed(self, errors: Tensor) -> Tensor:
        """What is new in them."""
        return self._product(errors, 1)

    def _product(self, x: Tensor, way: int) -> Tensor:
        rows, steps, width = x.shape
        if steps > self.moments.length:
            return x
        cells = x.transpose(1, 2).reshape(-1, steps)  # (B*D,T)
        out = cells.clone()
        for pattern in self._patterns:
            if not len(pattern.made):
                continue
            channels, channel = np.unique(pattern.cells % width, return_inverse=True)
            factor = torch.from_numpy(self.moments.factors(pattern, channels)[way]).to(x)  # (C,M,M)
            made = torch.from_numpy(pattern.made).to(x.device)
            most = max(1, AT_ONCE // len(made) ** 2)
            for begin in range(0, len(channel), most):  # not a product of matrices: no row may depend on the others
                own = torch.from_numpy(pattern.cells[begin : begin + most]).to(x.device)[:, None]
                mine = factor[torch.from_numpy(channel[begin : begin + most]).to(x.device)]
                out[own, made] = (mine * cells[own, made].unsqueeze(1)).sum(-1)
        return out.reshape(rows, width, steps).transpose(1, 2)

    @cached_property
    def _patterns(self) -> list[Pattern]:
        return patterns_of(self.shown.cpu().numpy(), self.made.cpu().numpy())
