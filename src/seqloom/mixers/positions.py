"""How the position of an element enters attention."""

from __future__ import annotations

from abc import abstractmethod
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from seqloom.core.config import Component
from seqloom.core.errors import ConfigError


class PositionModule(nn.Module):
    """What a member makes for one layer; `position` is (B,T), or (B,T,C) where there are several coordinates."""

    def enter(self, h: Float[Tensor, "b t d"], position: Int[Tensor, "#b t *c"]) -> Float[Tensor, "b t d"]:
        """Features with their positions added, before they become queries, keys and values."""
        return h

    def turn(
        self, q: Float[Tensor, "b h t e"], k: Float[Tensor, "b h t e"], position: Int[Tensor, "#b t *c"]
    ) -> tuple[Float[Tensor, "b h t e"], Float[Tensor, "b h t e"]]:
        """Queries and keys whose products depend on the distance of their positions."""
        return q, k

    def ready(self, last: int) -> None:
        """Be ready for positions up to this one, which is called before they come; ConfigError where there are none."""


class Positions(Component, home="seqloom.mixers"):
    """How the position of an element enters attention; several coordinates (time, voice, row, column) are possible."""

    @abstractmethod
    def build(self, width: int) -> PositionModule:
        """The module for `width` features."""


class NoPositions(Positions, name="none"):
    """Not at all: a causal network can still count elements (Haviv et al. 2022), and one without order is a set."""

    def build(self, width: int) -> PositionModule:
        return PositionModule()


class Rope(Positions, name="rope"):
    """Queries and keys are rotated, so that their products depend on distances alone (Su et al. 2021).

    Each coordinate turns a share of the features.
    """

    base: float = Field(default=1e4, gt=1)
    """The slowest pair of features turns once in about 6 times so many positions."""

    def build(self, width: int) -> PositionModule:
        return Rotation(self.base)


class Learned(Positions, name="learned"):
    """A learned vector for each position is added, one table for each coordinate."""

    size: int = Field(default=1024, ge=1)
    """Positions that have a vector."""
    coordinates: int = Field(default=1, ge=1)
    """Coordinates of a position."""

    def build(self, width: int) -> PositionModule:
        return Table(self.size, self.coordinates, width)


class Sinusoidal(Positions, name="sinusoidal"):
    """Sines and cosines of the position are added (Vaswani et al. 2017), each coordinate in a share of the features."""

    base: float = Field(default=1e4, gt=1)
    """The longest wave, over 2 pi."""

    def build(self, width: int) -> PositionModule:
        return Waves(self.base)


class Rotation(PositionModule):
    """Neighbouring features of queries and keys are turned as the two parts of one complex number."""

    def __init__(self, base: float) -> None:
        super().__init__()
        self.base, self.size = base, 0

    def ready(self, last: int) -> None:
        if last >= self.size:
            self.size = 1 << last.bit_length()

    def turn(self, q: Tensor, k: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        half = q.shape[-1] // 2
        wide = q.dtype == torch.float64
        if position.ndim == 2 and self.size:
            known = turns_below(self.size, half, self.base, wide, q.device)
            turns = known[position.clamp_max(self.size - 1)]  # what is beyond is not read
        else:
            turns = unit_numbers(angles(position, half, self.base), wide)
        return turned(q, turns.unsqueeze(1)), turned(k, turns.unsqueeze(1))


@lru_cache(maxsize=16)
def turns_below(size: int, count: int, base: float, wide: bool, device: torch.device) -> Tensor:
    """Complex numbers (size,count) of all positions below `size`: made once for all layers and steps."""
    with torch.inference_mode(False), torch.no_grad():
        return unit_numbers(angles(torch.arange(size, device=device)[None], count, base)[0], wide)


def unit_numbers(angle: Tensor, wide: bool) -> Tensor:
    """Complex numbers of length one; computed in float64, `wide` or not."""
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex128 if wide else torch.complex64)


def turned(x: Tensor, turns: Tensor) -> Tensor:
    """Vectors (B,H,T,E) turned by complex numbers (B,1,T,E/2)."""
    pairs = x if x.dtype == torch.float64 else x.float()
    product = torch.view_as_complex(pairs.reshape(*x.shape[:-1], x.shape[-1] // 2, 2)) * turns
    return torch.view_as_real(product).flatten(-2).to(x.dtype)


class Table(PositionModule):
    """A learned vector for each position of each coordinate."""

    def __init__(self, size: int, coordinates: int, width: int) -> None:
        super().__init__()
        self.size, self.coordinates = size, coordinates
        self.vectors = nn.Embedding(size * coordinates, width)

    def enter(self, h: Tensor, position: Tensor) -> Tensor:
        position = position if position.ndim == 3 else position.unsqueeze(-1)  # (B,T,C)
        if position.shape[-1] != self.coordinates:
            raise ConfigError(
                f"positions have {position.shape[-1]} coordinates, and there are tables for {self.coordinates}",
                path="backbone.mixer.positions.coordinates",
            )
        first = torch.arange(self.coordinates, device=position.device) * self.size
        vectors: Tensor = self.vectors(position.clamp_max(self.size - 1) + first)  # what is beyond is not read
        return h + vectors.sum(-2)

    def ready(self, last: int) -> None:
        if last >= self.size:
            raise ConfigError(
                "the sequence is longer than the learned positions",
                path="backbone.mixer.positions.size",
                hint=f"use {last + 1} or more, or backbone.mixer.positions=rope",
            )


class Waves(PositionModule):
    """Sines in the first half of the features, cosines in the second."""

    def __init__(self, base: float) -> None:
        super().__init__()
        self.base = base

    def enter(self, h: Tensor, position: Tensor) -> Tensor:
        angle = angles(position, h.shape[-1] // 2, self.base)
        waves = torch.cat([angle.sin(), angle.cos()], -1).to(h.dtype)
        return h + torch.nn.functional.pad(waves, (0, h.shape[-1] % 2))


def angles(position: Tensor, count: int, base: float) -> Tensor:
    """Angles (B,T,count), float64, that grow with the position at rates from 1 down to 1 / base.

    Of several coordinates each has a share of the angles, with rates of its own from 1 down.
    """
    index = torch.arange(count, device=position.device)
    if position.ndim == 2:
        return position.to(torch.float64).unsqueeze(-1) * base ** (-index.to(torch.float64) / count)
    coordinates = position.shape[-1]
    owner = index * coordinates // count
    share = torch.bincount(owner, minlength=coordinates)
    rank = index - (share.cumsum(0) - share)[owner]
    rate = base ** (-rank.to(torch.float64) / share[owner])
    return position[..., owner].to(torch.float64) * rate
