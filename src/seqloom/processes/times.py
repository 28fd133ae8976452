"""The schedule that is learned: times are drawn where the terms of the bound are large."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from seqloom.processes.schedules import LEAST, LinearMasking, Masking, Masks

KEPT = 0.998
"""Of what was seen, the share that still counts after an update: it is of the last five hundred."""
EVEN = 0.3
"""Of the times, those that are drawn evenly whatever was seen: no weight is above 3.4 times that of `linear`."""


class LearnedMasking(LinearMasking, name="learned"):
    """Shares of masked symbols are drawn as often as the root of the mean square of what a masked symbol costs at them.

    That is the law with the least variance of the bound (importance sampling of times: Nichol & Dhariwal 2021, section
    3.3), which stays the same bound. Training learns it as it goes; before, and for samplers, it is `linear`.
    """

    parts: int = Field(default=16, ge=2, le=1024)
    """Intervals of the share; within one all shares are drawn alike."""

    def module(self) -> nn.Module | None:
        return Squares(self.parts)

    def learned(self, module: nn.Module | None) -> Masking:
        return Piecewise(often=module.often()) if isinstance(module, Squares) else self

    def learn(
        self, module: nn.Module | None, masks: Masks, t: Tensor, masked: Tensor, wanted: Tensor, nats: Tensor
    ) -> None:
        if isinstance(module, Squares):
            share = (1 - self.learned(module).alpha(t)).clamp_min(LEAST)
            module.add(share, masked.sum(1) if masks == "counted" else share * wanted.sum(1), masked, nats)


class Squares(nn.Module):
    """Sums of the squares of what a masked symbol cost, and how many rows they are of, by the share that was masked."""

    sums: Tensor
    rows: Tensor

    def __init__(self, parts: int) -> None:
        super().__init__()
        for name in ("sums", "rows"):
            self.register_buffer(name, torch.zeros(parts))

    def initialise(self, generator: Generator) -> None:
        """Nothing was seen yet."""
        for own in (self.sums, self.rows):
            own.zero_()

    @torch.no_grad()
    def add(self, share: Tensor, count: Tensor, masked: Tensor, nats: Tensor) -> None:
        """Rows of which a share (B,) is to be masked, as many as `count` (B,), and what those cost that are (B,T)."""
        some = count > 0
        cost = nats.detach().double().masked_fill(~masked, 0.0).sum(1)[some] / count[some]
        part = (share[some] * len(self.rows)).ceil().long().clamp(1, len(self.rows)) - 1
        for own, each in ((self.sums, cost**2), (self.rows, torch.ones_like(cost))):
            own.mul_(KEPT).index_add_(0, part, each.to(own.dtype))

    def often(self) -> tuple[float, ...]:
        """How often each part is drawn; one that was not seen as often as the one above it."""
        root: list[float | None] = [
            math.sqrt(square / rows) if rows else None
            for square, rows in zip(self.sums.tolist(), self.rows.tolist(), strict=True)
        ]
        if not any(root):
            return (1 / len(root),) * len(root)
        above = next(one for one in reversed(root) if one is not None)
        filled = [above := above if one is None else one for one in reversed(root)][::-1]
        return tuple((1 - EVEN) * one / sum(filled) + EVEN / len(filled) for one in filled)


class Piecewise(Masking, name="piecewise"):
    """The share of masked symbols grows evenly within each of several equal intervals of it."""

    often: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1.0,), min_length=1)
    """How much of the time is spent in each, in proportion."""

    @cached_property
    def _ends(self) -> Tensor:
        ends = torch.tensor([0.0, *self.often], dtype=torch.float64).cumsum(0)
        return ends / ends[-1]

    def _at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The share that is masked at these times, and how fast it grows."""
        ends = self._ends.to(t.device, t.dtype)
        parts = len(ends) - 1
        part = torch.searchsorted(ends, t.contiguous(), right=True).clamp(1, parts) - 1
        rate = 1 / (parts * (ends[part + 1] - ends[part]))
        return part / parts + (t - ends[part]) * rate, rate

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - self._at(t)[0]

    def slope(self, t: Tensor) -> Tensor:
        return -self._at(t)[1]

    def time(self, alpha: Tensor) -> Tensor:
        ends = self._ends.to(alpha.device, alpha.dtype)
        parts = len(ends) - 1
        place = (1 - alpha) * parts
        part = place.floor().long().clamp(0, parts - 1)
        time: Tensor = ends[part] + (place - part) * (ends[part + 1] - ends[part])
        return time
