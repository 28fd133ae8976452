"""Heads: the distribution of one element, from the numbers a network gives it."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from pydantic import Field
from torch import Tensor

from seqloom.core.config import Component
from seqloom.sequence.space import Space, Tokens, Vectors


class Head(Component, home="seqloom.processes"):
    """A distribution over elements of a space."""

    @abstractmethod
    def size(self, space: Space) -> int:
        """Numbers a position; UnsupportedSpace is the caller's to raise where `fits` is False."""

    @abstractmethod
    def fits(self, space: Space) -> bool:
        """Whether the head is a distribution over this space."""

    @abstractmethod
    def nats(self, params: Tensor, x: Tensor) -> Tensor:
        """Minus log probability or density of each cell: (...,) for tokens, (..., D) for vectors, float32 or wider."""

    @abstractmethod
    def shift(self, params: Tensor, by: Tensor) -> Tensor:
        """The parameters of the same distribution moved by (..., D)."""

    @abstractmethod
    def draw(self, params: Tensor, noise: Tensor, temperature: Tensor) -> Tensor:
        """Elements of a vector space from standard normal noise (..., D); temperature scales the spread."""


class Categorical(Head, name="categorical"):
    """One probability a symbol."""

    def size(self, space: Space) -> int:
        assert isinstance(space, Tokens)
        return space.total

    def fits(self, space: Space) -> bool:
        return isinstance(space, Tokens)

    def nats(self, params: Tensor, x: Tensor) -> Tensor:
        flat = torch.nn.functional.cross_entropy(params.flatten(0, -2), x.flatten(), reduction="none")
        return flat.view(x.shape)

    def shift(self, params: Tensor, by: Tensor) -> Tensor:
        raise TypeError("symbols cannot be moved")

    def draw(self, params: Tensor, noise: Tensor, temperature: Tensor) -> Tensor:
        raise TypeError("symbols are drawn from logits by the sampler")


class Normal(Head, name="normal"):
    """Independent normal numbers, the mean and scale of each learned."""

    floor: float = Field(default=1e-3, gt=0)
    """The least scale, in units of the data's spread: keeps a constant channel from an unbounded density."""

    def size(self, space: Space) -> int:
        assert isinstance(space, Vectors)
        return 2 * space.dim

    def fits(self, space: Space) -> bool:
        return isinstance(space, Vectors)

    def split(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale (..., D) each."""
        mean, raw = params.chunk(2, -1)
        return mean, torch.nn.functional.softplus(raw + math.log(math.e - 1)) + self.floor

    def nats(self, params: Tensor, x: Tensor) -> Tensor:
        mean, scale = self.split(params)
        return 0.5 * ((x - mean) / scale) ** 2 + scale.log() + 0.5 * math.log(2 * math.pi)

    def shift(self, params: Tensor, by: Tensor) -> Tensor:
        mean, raw = params.chunk(2, -1)
        return torch.cat([mean + by, raw], -1)

    def draw(self, params: Tensor, noise: Tensor, temperature: Tensor) -> Tensor:
        mean, scale = self.split(params)
        return mean + temperature * scale * noise
