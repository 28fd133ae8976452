"""The adaptive softmax (Grave et al. 2017): rare symbols are told apart only where a rare one is meant."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from seqloom.core.errors import ConfigError, UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.processes.heads import Head, picked
from seqloom.sequence.space import Space, Tokens, Vectors


class Adaptive(Head, name="adaptive"):
    """Frequent symbols by themselves, rarer ones by their cluster and then within it, from fewer features.

    For very many symbols that are numbered by how often they come, as `words` numbers them. All symbols together have
    probability one, and what is scored is what is drawn.
    """

    direct: ClassVar[bool] = False

    cutoffs: tuple[PositiveInt, ...] = ()
    """The first symbol of each cluster; empty: a fifteenth and a third of all symbols."""
    features: int = Field(default=64, ge=1)
    """Features from which the symbols of the first cluster are told apart."""
    shrink: int = Field(default=4, ge=1)
    """How many times fewer each further cluster has."""

    def covers(self, space: Vectors) -> tuple[str, ...]:
        return ()

    def fits(self, space: Space) -> bool:
        return isinstance(space, Tokens)

    def bounds(self, space: Space) -> list[int]:
        """Where clusters begin, and after the last of them the number of all symbols."""
        if not isinstance(space, Tokens):
            raise UnsupportedSpace("an adaptive softmax is a head of symbols", hint="leave process.head unset")
        total = space.total
        cuts = self.cutoffs or (max(1, total // 15), max(2, total // 3))
        if sorted(set(cuts)) != list(cuts) or cuts[-1] >= total:
            raise ConfigError(
                f"clusters of {total:,} symbols cannot begin at {list(cuts)}",
                path="process.head.cutoffs",
                hint="give numbers that grow and are less than the number of symbols",
            )
        return [*cuts, total]

    def widths(self, space: Space) -> list[int]:
        """Features of each cluster."""
        return [max(1, self.features // self.shrink**i) for i in range(len(self.bounds(space)) - 1)]

    def size(self, space: Space) -> int:
        bounds = self.bounds(space)
        size = bounds[0] + len(bounds) - 1 + sum(self.widths(space))
        if size >= bounds[-1]:
            raise ConfigError(
                f"an adaptive softmax over {bounds[-1]:,} symbols takes more than it saves",
                path="process.head",
                hint="leave process.head unset, or set smaller process.head.features",
            )
        return size

    def module(self, space: Space) -> nn.Module:
        return Clusters(self.bounds(space), self.widths(space))

    def nats(self, space: Space, params: Tensor, x: Tensor, wanted: Tensor, own: nn.Module | None = None) -> Tensor:
        bounds, first, clusters = self._split(space, params.flatten(0, -2))
        rank = _rank(space, x.masked_fill(~wanted, 0).flatten())
        number = torch.bucketize(rank, torch.tensor(bounds[:-1], device=rank.device), right=True)  # 0: by themselves
        nats = F.cross_entropy(first, torch.where(number == 0, rank, bounds[0] + number - 1), reduction="none")
        assert isinstance(own, Clusters)
        for i, (features, tail) in enumerate(zip(clusters, own.tails, strict=True)):
            rows = (number == i + 1).nonzero().squeeze(-1)
            within = F.cross_entropy(tail(features[rows]), rank[rows] - bounds[i], reduction="none")
            nats = nats.index_add(0, rows, within)
        return nats.view(x.shape).masked_fill(~wanted, 0.0)

    def logits(self, space: Space, params: Tensor, own: nn.Module | None = None) -> Tensor:
        bounds, first, clusters = self._split(space, params)
        assert isinstance(own, Clusters)
        laws = first.log_softmax(-1)
        parts = [laws[..., : bounds[0]]]
        for i, (features, tail) in enumerate(zip(clusters, own.tails, strict=True)):
            parts.append(laws[..., bounds[0] + i, None] + tail(features).log_softmax(-1))
        every = torch.cat(parts, -1)
        return every.roll(-1, -1) if isinstance(space, Tokens) and space.ends else every

    def draw(self, space: Space, params: Tensor, rng: Rng, temperature: Tensor, own: nn.Module | None = None) -> Tensor:
        return picked(self.logits(space, params, own), rng.uniform(1)[:, 0], temperature)

    def _split(self, space: Space, params: Tensor) -> tuple[list[int], Tensor, tuple[Tensor, ...]]:
        """The bounds, logits of frequent symbols and of clusters, and the features of each cluster."""
        bounds = self.bounds(space)
        first, *clusters = torch.split(params, [bounds[0] + len(bounds) - 1, *self.widths(space)], -1)
        return bounds, first, tuple(clusters)


class Clusters(nn.Module):
    """The symbols of each cluster as vectors of its features."""

    def __init__(self, bounds: list[int], widths: list[int]) -> None:
        super().__init__()
        sizes = [end - begin for begin, end in pairwise(bounds)]
        self.tails = nn.ModuleList(nn.Linear(n, size, bias=False) for n, size in zip(widths, sizes, strict=True))


def _rank(space: Space, x: Tensor) -> Tensor:
    """Symbols in order of how often they come: an end, which has the last number, comes first."""
    return (x + 1) % space.total if isinstance(space, Tokens) and space.ends else x
