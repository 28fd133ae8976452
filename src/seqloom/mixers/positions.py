"""How the position of an element enters attention."""

from __future__ import annotations

from abc import abstractmethod
from functools import cache
from typing import ClassVar, Literal

import torch
from jaxtyping import Complex, Float, Int
from pydantic import Field
from torch import Tensor, nn

from seqloom.core.config import Component
from seqloom.core.errors import ConfigError

MOST_KEPT = 1 << 16
"""Positions whose turns are kept; those of streams that go on further are worked out anew."""


class PositionModule(nn.Module):
    """What a member makes for one layer; `position` is (B,T), or (B,T,C) where there are several coordinates."""

    def enter(self, h: Float[Tensor, "b t d"], position: Int[Tensor, "#b t *c"]) -> Float[Tensor, "b t d"]:
        """Features with their positions added, before they become queries, keys and values."""
        return h

    def turns(self, position: Int[Tensor, "#b t *c"], half: int, *, wide: bool) -> Complex[Tensor, "#b t half"] | None:
        """Complex numbers that turn pairs of features of queries and keys, so that their products depend on distances.

        In complex128 where they are `wide`. None: they are not turned.
        """
        return None

    def bias(self, ahead: Int[Tensor, "#b t s"], heads: int) -> Float[Tensor, "#b h t s"] | None:
        """What is added to the products of each head where the read element stands so far `ahead` of the reader."""
        return None

    def ready(self, last: int) -> None:
        """Be ready for positions up to this one, which is called before they come; ConfigError where there are none."""


class Positions(Component, home="seqloom.mixers"):
    """How the position of an element enters attention; several coordinates (time, voice, row, column) are possible."""

    relative: ClassVar[bool] = True
    """Whether distances alone matter, so that it is of no account how far from its beginning a sequence is read."""
    distances: ClassVar[bool] = False
    """Whether distances are asked for (`bias`)."""

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
    stretch: float = Field(default=1.0, ge=1)
    """How many times longer the windows are than those of the run that is begun with: features turn so much slower."""
    stretched: Literal["all", "slow"] = "slow"
    """Which features: `all` alike (Chen et al. 2023), or the slowest that much and faster ones less, so that neighbours
    are told apart as before (a larger base, as Xiong et al. 2023 have it)."""

    def build(self, width: int) -> PositionModule:
        return Rotation(self.base, self.stretch, self.stretched)


class Alibi(Positions, name="alibi"):
    """Products fall with the distance, at a rate of its own in each head: 2^-8h/H (Press et al. 2022).

    Where both sides are seen, what comes after counts as twice as far in every second head, and as half as far in the
    others: by distances alone the two sides could not be told apart.
    """

    distances: ClassVar[bool] = True

    def build(self, width: int) -> PositionModule:
        return Slopes()


class Learned(Positions, name="learned"):
    """A learned vector for each position is added, one table for each coordinate."""

    relative: ClassVar[bool] = False

    size: int = Field(default=1024, ge=1)
    """Positions that have a vector."""
    coordinates: int = Field(default=1, ge=1)
    """Coordinates of a position."""

    def build(self, width: int) -> PositionModule:
        return Table(self.size, self.coordinates, width)


class Sinusoidal(Positions, name="sinusoidal"):
    """Sines and cosines of the position are added (Vaswani et al. 2017), each coordinate in a share of the features."""

    relative: ClassVar[bool] = False

    base: float = Field(default=1e4, gt=1)
    """The longest wave, over 2 pi."""

    def build(self, width: int) -> PositionModule:
        return Waves(self.base)


class Rotation(PositionModule):
    """Neighbouring features of queries and keys are turned as the two parts of one complex number."""

    def __init__(self, base: float, stretch: float = 1.0, stretched: Literal["all", "slow"] = "all") -> None:
        super().__init__()
        self.base, self.stretch, self.stretched, self.size = base, stretch, stretched, 0

    def ready(self, last: int) -> None:
        if last >= self.size:
            self.size = 1 << last.bit_length()

    def rates(self, half: int) -> tuple[float, float]:
        """The base of so many angles, and how much slower all of them turn."""
        if self.stretched == "slow":  # the slowest, at base^-(half-1)/half, slower by the stretch: by a larger base
            return self.base * self.stretch ** (half / max(1, half - 1)), 1.0
        return self.base, self.stretch

    def below(self, last: int, half: int) -> Tensor:
        """Complex numbers (N,half) of all positions below `last`, and perhaps of more."""
        self.ready(last - 1)
        return turns_below(self.size, half, *self.rates(half), False, torch.device("cpu"))

    def turns(self, position: Tensor, half: int, *, wide: bool) -> Tensor:
        base, slower = self.rates(half)
        if position.ndim == 2 and 0 < self.size <= MOST_KEPT:
            known = turns_below(self.size, half, base, slower, wide, position.device)
            return known[position.clamp_max(self.size - 1)]  # what is beyond is not read
        return unit_numbers(angles(position, half, base) / slower, wide)


@cache
def turns_below(size: int, count: int, base: float, slower: float, wide: bool, device: torch.device) -> Tensor:
    """Complex numbers (size,count) of all positions below `size`: made once for all layers and steps, and for good.

    What a GPU was told to replay reads them where they lie.
    """
    with torch.inference_mode(False), torch.no_grad():
        return unit_numbers(angles(torch.arange(size, device=device)[None], count, base)[0] / slower, wide)


def unit_numbers(angle: Tensor, wide: bool) -> Tensor:
    """Complex numbers of length one; computed in float64, `wide` or not."""
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex128 if wide else torch.complex64)


class Slopes(PositionModule):
    """A rate for each head at which products fall with the distance."""

    def bias(self, ahead: Tensor, heads: int) -> Tensor:
        number = torch.arange(heads, device=ahead.device)
        rate = 2.0 ** (-8.0 * (number + 1) / heads)
        beyond = torch.where(number % 2 == 0, 2.0, 0.5)[:, None, None]
        distance = ahead.unsqueeze(1)
        return -rate[:, None, None] * torch.where(distance > 0, beyond * distance, -distance)


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
