"""Numbers in the data's own units, for heads of counts, of positive numbers and of yes or no over real fields."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from seqloom.sequence.space import Vectors

LEAST_LEVEL = 0.01
"""Of the training mean: no number is expected to be less, or what has rested long could not begin again."""
NEAR_ZERO = 1e-6
"""Of the training mean: what must be above zero is taken to be at least so much."""


@dataclass(frozen=True)
class Natural:
    """Which numbers (D,) of an element a head takes in the data's own units, and what they are there."""

    cells: Tensor
    """Those that it takes so; it takes the others as they are on the canvas."""
    multiplied: Tensor
    """Of these the ones whose distribution it knows in units of a level."""
    whole: Tensor
    least: Tensor
    most: Tensor
    """Between which numbers they lie: what lies outside is taken to be the nearest."""
    mean: Tensor
    scale: Tensor
    size: Tensor

    def of(self, x: Tensor) -> Tensor:
        """Numbers (...,D) of the canvas as the head takes them."""
        own = self._own(x.double())
        own = torch.where(self.whole, own.round(), own).clamp(self.least, self.most)
        return torch.where(self.cells, own.to(x), x)

    def back(self, x: Tensor) -> Tensor:
        """Numbers (...,D) of the head on the canvas."""
        own = x.double()
        read = torch.where(self.size > 0, torch.asinh(own / self._twice), own)
        return torch.where(self.cells, ((read - self.mean) / self.scale).to(x), x)

    def log_slope(self, x: Tensor) -> Tensor:
        """The logarithm (...,D) of how much faster the head's numbers grow than those of the canvas."""
        read = x.double() * self.scale + self.mean
        bent = self._twice.log() + torch.logaddexp(read, -read) - math.log(2)
        slope = self.scale.log() + torch.where(self.size > 0, bent, 0.0)
        return torch.where(self.cells, slope, 0.0).to(x)

    def log_level(self, location: Tensor) -> Tensor:
        """The logarithm (...,D) of what is expected of numbers that lie about this place of the canvas."""
        level = torch.maximum(self._own(location.double()), LEAST_LEVEL * self.typical)
        return torch.where(self.cells, level.log(), 0.0).to(location)

    @property
    def typical(self) -> Tensor:
        """About the training mean of each (D,), above zero."""
        mean = self._own(torch.zeros_like(self.mean))
        return torch.where(mean > 0, mean, self.scale)

    @property
    def _twice(self) -> Tensor:
        return torch.where(self.size > 0, 2 * self.size, 1.0)

    def _own(self, x: Tensor) -> Tensor:
        read = x * self.scale + self.mean
        return torch.where(self.size > 0, self._twice * torch.sinh(read), read)


def natural_of(space: Vectors, kinds: tuple[str, ...], device: torch.device) -> Natural | None:
    """Of a space whose numbers (D,) a head takes as these kinds; None where it takes all as they are on the canvas."""
    if not any(kinds):
        return None
    units = [field.units for field in space.all_fields for _ in range(field.width)]

    def marked(*among: str) -> Tensor:
        return torch.tensor([kind in among for kind in kinds], device=device)

    with torch.inference_mode(False):  # kept, so training may come upon it too
        mean, scale, size = (
            torch.tensor([getattr(unit, name) for unit in units], dtype=torch.float64, device=device)
            for name in ("mean", "scale", "size")
        )
        natural = Natural(
            cells=~marked(""),
            multiplied=marked("positive", "nonnegative"),
            whole=marked("count", "binary"),
            least=torch.zeros_like(mean),
            most=torch.where(marked("binary"), 1.0, torch.full_like(mean, torch.inf)),
            mean=mean,
            scale=scale,
            size=size,
        )
        natural.least.copy_(torch.where(marked("positive"), NEAR_ZERO * natural.typical, 0.0))
    return natural
