"""Heads whose shape is free: bins, quantiles with tails, and normals cut off at zero."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from seqloom.core.rng import Rng
from seqloom.processes.heads import Head, Normal, dim_of, tempered
from seqloom.sequence.space import Space


class Truncated(Normal, name="truncated"):
    """Independent numbers that are not negative: normals of which only what lies above zero is left."""

    supports: ClassVar[tuple[str, ...]] = ("positive", "nonnegative")

    def nats(self, space: Space, params: Tensor, x: Tensor, wanted: Tensor, own: nn.Module | None = None) -> Tensor:
        location, scale = self.split(params)
        left: Tensor = torch.special.log_ndtr(location / scale)  # the share above zero
        return super().nats(space, params, x, wanted, own) + left.masked_fill(~wanted, 0.0).sum(-1)

    def draw(self, space: Space, params: Tensor, rng: Rng, temperature: Tensor, own: nn.Module | None = None) -> Tensor:
        return self._inverse(params, tempered(space, rng, temperature, params.device))

    def mean(self, space: Space, params: Tensor, own: nn.Module | None = None) -> Tensor:
        location, scale = self.split(params)
        z = location / scale
        hazard: Tensor = (-0.5 * z**2 - 0.5 * math.log(2 * math.pi) - torch.special.log_ndtr(z)).exp()
        return location + scale * hazard

    def quantile(self, space: Space, params: Tensor, q: float, own: nn.Module | None = None) -> Tensor:
        return self._inverse(params, torch.tensor(q, dtype=torch.float64, device=params.device))

    def _inverse(self, params: Tensor, u: Tensor) -> Tensor:
        """Where the distribution function is u: from above, where far tails keep their digits."""
        location, scale = (part.detach().double() for part in self.split(params))
        above = (1 - u) * torch.special.ndtr(location / scale)
        value: Tensor = location - scale * torch.special.ndtri(above)
        return value.clamp_min(0.0).to(params)


LONGEST = 20.0
"""The logarithm of how many times as long as its piece a tail may be."""


class Pieces(Head):
    """Densities that are constant between edges, each with the same shape of tails: exponential ones."""

    supports: ClassVar[tuple[str, ...]] = ("real",)
    independent: ClassVar[bool] = True

    @abstractmethod
    def pieces(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Edges (...,D,E) in order, and the logarithms of the probabilities (...,D,E+1) below, between and above."""

    def _tails(self, edges: Tensor, logs: Tensor) -> tuple[Tensor, Tensor]:
        """The lengths (...,D) of the exponential tails: their density goes on from that of the pieces beside them.

        None is shorter than its piece: a value far outside then costs what can still be learned from.
        """
        first = edges[..., 1] - edges[..., 0]
        last = edges[..., -1] - edges[..., -2]
        low, high = logs[..., 0] - logs[..., 1], logs[..., -1] - logs[..., -2]
        return first * low.clamp(0, LONGEST).exp(), last * high.clamp(0, LONGEST).exp()

    def nats(self, space: Space, params: Tensor, x: Tensor, wanted: Tensor, own: nn.Module | None = None) -> Tensor:
        edges, logs = self.pieces(params)
        x = x.masked_fill(~wanted, 0.0).to(edges)
        number = torch.searchsorted(edges.detach().contiguous(), x.detach().unsqueeze(-1).contiguous(), right=True)
        chosen = logs.take_along_dim(number, -1).squeeze(-1)
        piece = (number.squeeze(-1) - 1).clamp(0, edges.shape[-1] - 2)
        widths = edges.diff(dim=-1)
        inside = widths.take_along_dim(piece.unsqueeze(-1), -1).squeeze(-1).log()
        low, high = self._tails(edges, logs)
        below = low.log() + (edges[..., 0] - x).clamp_min(0) / low
        above = high.log() + (x - edges[..., -1]).clamp_min(0) / high
        cost = torch.where(x < edges[..., 0], below, torch.where(x >= edges[..., -1], above, inside)) - chosen
        return cost.masked_fill(~wanted, 0.0).sum(-1)

    def draw(self, space: Space, params: Tensor, rng: Rng, temperature: Tensor, own: nn.Module | None = None) -> Tensor:
        return self._inverse(params, tempered(space, rng, temperature, params.device))

    def mean(self, space: Space, params: Tensor, own: nn.Module | None = None) -> Tensor:
        edges, logs = self.pieces(params)
        low, high = self._tails(edges, logs)
        middles = (edges[..., 1:] + edges[..., :-1]) / 2
        ends = (edges[..., :1] - low.unsqueeze(-1), edges[..., -1:] + high.unsqueeze(-1))
        return (logs.exp() * torch.cat([ends[0], middles, ends[1]], -1)).sum(-1)

    def quantile(self, space: Space, params: Tensor, q: float, own: nn.Module | None = None) -> Tensor:
        return self._inverse(params, torch.tensor(q, dtype=torch.float64, device=params.device))

    def _inverse(self, params: Tensor, u: Tensor) -> Tensor:
        """Where the distribution function is u (...,D)."""
        edges, logs = (part.detach() for part in self.pieces(params.double()))
        low, high = self._tails(edges, logs)
        u = u.expand(edges.shape[:-1])
        sums = logs.exp().cumsum(-1)[..., :-1]  # (...,D,E): the probability below each edge
        number = torch.searchsorted(sums.contiguous(), u.unsqueeze(-1).contiguous(), right=True).clamp(
            1, edges.shape[-1] - 1
        )
        start, stop = (edges.take_along_dim(at, -1).squeeze(-1) for at in (number - 1, number))
        less = sums.take_along_dim(number - 1, -1).squeeze(-1)
        share = logs.take_along_dim(number, -1).squeeze(-1).exp()
        inside = start + (stop - start) * ((u - less) / share).clamp(0, 1)
        below = edges[..., 0] + low * (u.log() - logs[..., 0])
        above = edges[..., -1] - high * ((1 - u).log() - logs[..., -1])
        return torch.where(u < sums[..., 0], below, torch.where(u > sums[..., -1], above, inside)).to(params)


class Binned(Pieces, name="binned"):
    """Independent numbers by bins of fixed edges, one probability each, closer together about zero."""

    bins: int = Field(default=50, ge=4)
    """Bins between the tails."""
    reach: float = Field(default=10.0, gt=1)
    """The outermost edges, in units of the data's spread."""

    def size(self, space: Space) -> int:
        return (self.bins + 2) * dim_of(space)

    def pieces(self, params: Tensor) -> tuple[Tensor, Tensor]:
        grid = torch.linspace(-1, 1, self.bins + 1, dtype=params.dtype, device=params.device)
        bend = math.asinh(self.reach)
        edges = (bend * grid).sinh() * (self.reach / math.sinh(bend))  # (E,)
        logits = params.reshape(*params.shape[:-1], self.bins + 2, -1).movedim(-2, -1)  # (...,D,E+1)
        # Where the network says nothing the density is about that of a unit normal.
        tail = torch.special.log_ndtr(edges[:1])
        inner = (torch.special.ndtr(edges[1:]) - torch.special.ndtr(edges[:-1])).clamp_min(1e-8).log()
        return edges.expand(*logits.shape[:-1], -1), F.log_softmax(logits + torch.cat([tail, inner, tail]), -1)


class Quantiles(Pieces, name="quantiles"):
    """Independent numbers by their quantiles at fixed levels, trained by the pinball loss (Wen et al. 2017)."""

    levels: tuple[float, ...] = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.975)
    """The probabilities below the edges."""

    @model_validator(mode="after")
    def _in_order(self) -> Quantiles:
        ordered = all(a < b for a, b in zip((0.0, *self.levels), (*self.levels, 1.0), strict=True))
        if len(self.levels) < 3 or not ordered:
            raise ValueError("levels are three or more probabilities between 0 and 1, in ascending order")
        return self

    def size(self, space: Space) -> int:
        return len(self.levels) * dim_of(space)

    def pieces(self, params: Tensor) -> tuple[Tensor, Tensor]:
        levels = torch.tensor(self.levels, dtype=params.dtype, device=params.device)
        raw = params.reshape(*params.shape[:-1], len(self.levels), -1).movedim(-2, -1)  # (...,D,E)
        normal = torch.special.ndtri(levels.double()).to(levels)  # where the network says nothing
        steps = normal.diff() * F.softplus(raw[..., 1:] + math.log(math.e - 1)) + 1e-4
        rises = F.pad(steps.cumsum(-1), (1, 0))
        middle = len(self.levels) // 2
        edges = raw[..., :1] + normal[middle] + rises - rises[..., middle : middle + 1]
        shares = torch.cat([levels[:1], levels.diff(), 1 - levels[-1:]]).log()
        return edges, shares.expand(*edges.shape[:-1], -1)

    def loss(self, space: Space, params: Tensor, x: Tensor, wanted: Tensor, own: nn.Module | None = None) -> Tensor:
        edges, _ = self.pieces(params)
        levels = torch.tensor(self.levels, dtype=edges.dtype, device=edges.device)
        error = x.masked_fill(~wanted, 0.0).unsqueeze(-1) - edges  # (...,D,E)
        pinball = torch.maximum(levels * error, (levels - 1) * error).mean(-1)
        return 2 * pinball.masked_fill(~wanted, 0.0).sum(-1)
