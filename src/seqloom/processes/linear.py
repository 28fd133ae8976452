"""Linear expectation: what the known cells of a series make likely of another, by second moments alone.

Half the mean squared difference of two elements, by how far apart they are (the variogram), is counted once in the
training split. From it follows the best linear guess of any cell from any others whatever the level of the series, and
how far it errs: ordinary kriging (Matheron 1963; Cressie 1993, section 3.2). A network that is trained for minutes then
learns what is left. Each channel is expected from its own cells. Of what wanders with a known momentum the moments are
known without counting.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqloom.core.errors import UnsupportedSpace
from seqloom.processes.features import Feature, Read
from seqloom.processes.moments import Moments, wandering
from seqloom.processes.visible import Visible
from seqloom.sequence.laws import CountedSplit, Laws
from seqloom.sequence.space import Space, Vectors

Numbers = NDArray[np.float64]

FLOOR = 1e-4
"""The least share of the mean variance that a direction has: noise that the counts of a smooth series do not show."""
STRETCH, LEAST = 1000, 0.1
"""Elements of a stretch that counts in units of its own spread, and the least share of that of all that this has."""


class Linear(Feature, name="linear"):
    """The best linear guess of a cell from those that may be read, and how far it errs.

    Where positions are filled in any order a hidden cell is expected from all that is shown; from left to right each
    from the elements before it, of which one that is missing is taken to be as the one before.
    """

    local: ClassVar[bool] = True
    parts: ClassVar[int] = 0
    at_most: ClassVar[int] = 100_000
    """Rows that are counted: a second or so for ten columns."""

    length: int = Field(default=96, ge=2)
    """Elements between which second moments are counted: how far back it looks."""
    scale: Literal["spread", "change"] = "spread"
    """In units of what errors are given: as the `window` beside it."""
    momentum: float | None = Field(default=None, ge=0, le=1)
    """Each change has so much of the one before it, and what is new in it errs by a unit: the second moments of values
    that wander, where positions are filled in any order. None: they are counted."""

    @property
    def past(self) -> int:
        return self.length - 1

    @property
    def located(self) -> bool:
        return True

    @property
    def spread(self) -> bool:
        return True

    @property
    def counts(self) -> Linear | None:
        return self if self.momentum is None else None

    def channels(self, space: Space) -> int:
        if not isinstance(space, Vectors) or any(field.support != "real" for field in space.all_fields):
            raise UnsupportedSpace("only real numbers are expected linearly", hint="leave the feature linear out")
        return 0 if self.momentum else 4 * space.dim

    def count(self, split: CountedSplit, space: Space, ordered: bool) -> Laws:
        return Variogram.count(split, self.length)

    def of(self, tensors: Mapping[str, NDArray[Any]], space: Space, ordered: bool) -> Laws:
        return Variogram(tensors["half_squares"].astype(np.float64))

    def read(self, space: Space, visible: Visible, position: Tensor) -> Read:
        assert isinstance(space, Vectors)
        laws = visible.laws if self.momentum is None else wandering(self.momentum, space.dim)
        if not isinstance(laws, Moments):  # before anything is counted
            none = visible.x.new_zeros(*position.shape, space.dim)
            unknown = torch.zeros_like(none, dtype=torch.bool)
            return Read(none, torch.full_like(none, torch.nan), none, values=((none, unknown),))
        if visible.ordered:
            if not isinstance(laws, Variogram):
                raise UnsupportedSpace(
                    "a momentum says what is expected where positions are filled in any order",
                    hint="give the feature window a momentum, or leave that of linear unset",
                )
            mean, error = self._ahead(laws, visible, position)
            steps = laws.length
        else:
            mean, error = laws.expected(visible.x.detach().cpu().numpy(), visible.shown.cpu().numpy())
            steps = visible.x.shape[1]
            where = position.cpu().numpy()[..., None]
            mean, error = np.take_along_axis(mean, where, 1), np.take_along_axis(error, where, 1)
        log_scale = torch.from_numpy(np.log(error / laws.unit(self.scale, steps)))
        location, log_scale = torch.from_numpy(mean).to(visible.x), log_scale.to(visible.x)
        known = ~location.isnan()
        log_scale = log_scale.masked_fill(~known, 0.0)
        if self.momentum:  # too far from the last value, in units of what is new in a change, to be an input
            return Read(location=location, log_scale=log_scale)
        return Read(log_scale, location, log_scale, values=((location.nan_to_num(0.0), known),))

    def _ahead(self, laws: Variogram, visible: Visible, position: Tensor) -> tuple[Numbers, Numbers]:
        """What is expected at each position (B,K,D) from the elements before it, and the standard error."""
        reach = min(self.past, laws.length - 1)
        x, held = (part.detach().cpu().numpy() for part in visible.held(position, reach))  # (B,K,D,R), (B,K,D)
        weights, errors = laws.ahead
        weights = weights[..., reach - 1 :: -1]  # the farthest first, as the elements are
        # Not a product of matrices: no row's numbers may depend on how many there are.
        mean = np.multiply(x, weights[:, reach], dtype=np.float64, order="C").sum(-1)
        few = np.nonzero(held < reach)
        mean[few] = (x[few] * weights[few[2], held[few]]).sum(-1)
        return np.where(held > 0, mean, np.nan), errors[np.arange(x.shape[2]), held]


class Variogram(Moments):
    """Half the mean squared difference (D,L) of elements 0 to L-1 apart.

    Each stretch of a sequence counts in units of its own spread, or restless times would outweigh all others.
    """

    def __init__(self, half_squares: Numbers) -> None:
        super().__init__()
        self.half_squares = half_squares
        self._covariances: dict[int, Numbers] = {}
        self._precisions: dict[int, Numbers] = {}

    @classmethod
    def count(cls, split: CountedSplit, length: int) -> Variogram:
        """From elements x (N,D) of sequences whose first ones are marked."""
        assert split.known is not None
        index = np.arange(len(split.x))
        sequence = np.cumsum(split.begins) - 1 if len(index) else index
        offset = index - np.flatnonzero(split.begins)[sequence]
        number = np.cumsum(offset % max(STRETCH, 3 * length) == 0) - 1  # stretches of a sequence
        x = np.where(split.known, split.x, 0.0).astype(np.float64)
        overall, local = _spread(x, split.known, sequence), _spread(x, split.known, number)
        spread = np.sqrt(local**2 + (LEAST * overall) ** 2)
        known = split.known & (spread > 0)
        x = x / np.where(spread > 0, spread, 1.0)
        half_squares = np.zeros((x.shape[1], length))
        for apart in range(1, length):
            both = known[apart:] & known[:-apart] & (number[apart:] == number[:-apart])[:, None]
            count = both.sum(0)
            squares = ((x[apart:] - x[:-apart]) ** 2 * both).sum(0)
            # Where nothing is so far apart it is as what is nearest to it.
            half_squares[:, apart] = np.where(
                count > 0, 0.5 * squares / np.maximum(count, 1), half_squares[:, apart - 1]
            )
        still = ~(half_squares > 0).any(1)  # a channel that never changes: each element is as good as any other
        half_squares[still, 1:] = 1.0
        return cls(half_squares)

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {"half_squares": self.half_squares}

    @property
    def length(self) -> int:
        return int(self.half_squares.shape[1])

    def unit(self, scale: Literal["spread", "change"], steps: int) -> Numbers:
        if scale == "change":
            return np.asarray(np.sqrt(2 * self.half_squares[:, 1]).clip(1e-6))
        apart = np.arange(1, max(2, min(steps, self.length)))
        pairs = self.half_squares[:, apart] * (steps - apart)
        return np.asarray(np.sqrt(2 * pairs.sum(1)).clip(1e-6) / steps)

    def covariance(self, steps: int) -> Numbers:
        """The covariance (D,T,T) of a stretch about its mean, no longer than the longest that was counted."""
        if steps not in self._covariances:
            index = np.arange(steps)
            apart = np.abs(index[:, None] - index)
            about = np.eye(steps) - 1 / steps
            values, vectors = np.linalg.eigh(-about @ self.half_squares[:, apart] @ about)
            least = FLOOR * values.clip(0).mean(-1, keepdims=True)
            values = np.maximum(values, np.maximum(least, 1e-12))
            self._covariances[steps] = (vectors * values[:, None]) @ vectors.swapaxes(1, 2)
        return self._covariances[steps]

    def precision(self, steps: int) -> Numbers:
        if steps not in self._precisions:
            inverse = np.linalg.inv(self.covariance(steps))
            sums = inverse.sum(2)
            of_level = sums[:, :, None] * sums[:, None] / sums.sum(1)[:, None, None]
            self._precisions[steps] = inverse - of_level
        return self._precisions[steps]

    @cached_property
    def ahead(self) -> tuple[Numbers, Numbers]:
        """Weights (D,L,L-1) of the last 0 to L-1 elements, the nearest first, in the guess of the next; and its errors.

        The triangle of a factor holds those of all shorter stretches, so each has one more term than the one before.
        That they add up to 1 is seen to afterwards: nothing is known of the level.
        """
        covariance = self.covariance(self.length)[:, ::-1, ::-1]  # 0: what is guessed, then the nearest
        factor = np.linalg.inv(np.linalg.cholesky(covariance[:, 1:, 1:]))
        terms = (factor @ covariance[:, 1:, :1])[..., 0]  # (D,L-1)
        ones = factor.sum(2)
        weights, level = (np.cumsum(part[..., None] * factor, 1) for part in (terms, ones))
        short = 1 - weights.sum(2)
        weights = weights + (short / level.sum(2))[..., None] * level
        errors = covariance[:, :1, 0] - np.cumsum(terms**2, 1) + short**2 / level.sum(2)
        weights = np.concatenate([np.zeros_like(weights[:, :1]), weights], 1)
        return weights, np.sqrt(np.concatenate([covariance[:, :1, 0], errors], 1).clip(1e-12))


def _spread(x: Numbers, known: NDArray[np.bool_], number: NDArray[np.int64]) -> Numbers:
    """Of each element (N,D) the spread of the known ones among those of the same number, about their mean."""

    def total(parts: Numbers) -> Numbers:
        return np.stack([np.bincount(number, column) for column in parts.T], 1)

    count = np.maximum(total(known.astype(np.float64)), 1)
    x = np.where(known, x - (total(x) / count)[number], 0.0)
    return np.asarray(np.sqrt(total(x**2) / count)[number])
