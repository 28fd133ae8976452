"""Heads: the distribution of one element, from the numbers a network gives it.

A head of vectors is a distribution over some of their fields, chosen by their `support`; `composed` puts several
together, so that an element of numbers, counts and categories has one.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from seqloom.core.config import Component
from seqloom.core.errors import ConfigError, UnsupportedQuery
from seqloom.core.rng import Rng, pick
from seqloom.processes.dependence import Coupled
from seqloom.processes.natural import Natural, natural_of
from seqloom.processes.priors import Mixture
from seqloom.sequence.space import Measure, Space, Tokens, Vectors

AT_ONCE = 1024
MOST_COUNT = 1 << 22
"""Probabilities of so many counts are computed at once, up to the largest count that is drawn."""


class Head(Component, home="seqloom.processes"):
    """A distribution over an element of a space.

    `params` (...,P) are a network's numbers, `x` (...,D) an element (...,) of symbols; `own` the module that `module`
    made. A head of vectors is given a space that has the fields it covers and no others, the end flag among them.
    """

    supports: ClassVar[tuple[str, ...]] = ()
    """The supports of the fields it is for, each number by itself, or of real fields what they lie `within`."""
    independent: ClassVar[bool] = False
    """Its numbers are independent, and its parameters blocks with one for each number."""
    direct: ClassVar[bool] = True
    """Of a head of symbols: its parameters are their logits."""

    def covers(self, space: Vectors) -> tuple[str, ...]:
        """The names of the fields (`space.all_fields`) that it is a distribution over; others have other heads."""
        return tuple(field.name for field in space.all_fields if {field.support, *field.within} & set(self.supports))

    def kinds(self, space: Vectors) -> tuple[str, ...]:
        """The set in which it takes each number (D,), in the data's own units; "": as it is on the canvas."""
        return tuple(
            "" if field.support in self.supports else next((kind for kind in self.supports if kind in field.within), "")
            for field in space.all_fields
            for _ in range(field.width)
        )

    def fits(self, space: Space) -> bool:
        """Whether it is a distribution over the whole of an element."""
        return isinstance(space, Vectors) and len(self.covers(space)) == len(space.all_fields)

    def measure(self, space: Space) -> Measure:
        """Whether `nats` are of a probability, or of a density where any number is a real one."""
        return space.measure

    def module(self, space: Space) -> nn.Module | None:
        """Trained tensors of its own."""
        return None

    @abstractmethod
    def size(self, space: Space) -> int:
        """P, the numbers a position."""

    @abstractmethod
    def nats(self, space: Space, params: Tensor, x: Tensor, wanted: Tensor, own: nn.Module | None = None) -> Tensor:
        """Minus log probability or density of the wanted cells of each element (...,), float32 or wider.

        What stands in a cell that is not wanted is of no account.
        """

    def loss(self, space: Space, params: Tensor, x: Tensor, wanted: Tensor, own: nn.Module | None = None) -> Tensor:
        """What is trained on, as `nats`: these, unless the head learns better by something else."""
        return self.nats(space, params, x, wanted, own)

    @abstractmethod
    def draw(self, space: Space, params: Tensor, rng: Rng, temperature: Tensor, own: nn.Module | None = None) -> Tensor:
        """Elements (B,D), or symbols (B,), from params (B,P), keys of their own and temperatures (B,).

        At temperature 1 it is the distribution itself, at 0 its middle, or what is likeliest.
        """

    def logits(self, space: Space, params: Tensor, own: nn.Module | None = None) -> Tensor:
        """Of a head of symbols: logits (...,V) of all of them."""
        return params

    def mean(self, space: Space, params: Tensor, own: nn.Module | None = None) -> Tensor:
        """The mean of each number (...,D)."""
        raise UnsupportedQuery(f"the head {self.name!r} gives no mean", hint="draw samples and take theirs")

    def quantile(self, space: Space, params: Tensor, q: float, own: nn.Module | None = None) -> Tensor:
        """The q-quantile of each number by itself (...,D)."""
        raise UnsupportedQuery(f"the head {self.name!r} gives no quantiles", hint="draw samples and take theirs")

    def scaled(self, space: Space, params: Tensor, log_scale: Tensor) -> Tensor:
        """The parameters where counts are expected to be exp(log_scale) (...,D) times as many."""
        return params


class Normal(Head, name="normal"):
    """Independent normal numbers, the mean and scale of each learned."""

    supports: ClassVar[tuple[str, ...]] = ("real",)
    independent: ClassVar[bool] = True

    floor: float = Field(default=1e-3, gt=0)
    """The least scale, in units of the data's spread: keeps a constant channel from an unbounded density."""

    def size(self, space: Space) -> int:
        return 2 * dim_of(space)

    def split(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale (..., D) each."""
        mean, raw = params.chunk(2, -1)
        return mean, F.softplus(raw + math.log(math.e - 1)) + self.floor

    def nats(self, space: Space, params: Tensor, x: Tensor, wanted: Tensor, own: nn.Module | None = None) -> Tensor:
        mean, scale = self.split(params)
        cells = 0.5 * ((x - mean) / scale) ** 2 + scale.log() + 0.5 * math.log(2 * math.pi)
        return cells.masked_fill(~wanted, 0.0).sum(-1)

    def draw(self, space: Space, params: Tensor, rng: Rng, temperature: Tensor, own: nn.Module | None = None) -> Tensor:
        mean, scale = self.split(params)
        return mean + temperature.to(params).unsqueeze(-1) * scale * rng.normal((mean.shape[-1],)).to(params)

    def mean(self, space: Space, params: Tensor, own: nn.Module | None = None) -> Tensor:
        return self.split(params)[0]

    def quantile(self, space: Space, params: Tensor, q: float, own: nn.Module | None = None) -> Tensor:
        mean, scale = self.split(params)
        return mean + scale * float(torch.special.ndtri(torch.tensor(q, dtype=torch.float64)))


class StudentT(Head, name="student"):
    """Independent numbers with heavy tails: location, scale and degrees of freedom of each are learned.

    With several `components` each number is a mixture of so many, which may have several peaks.
    """

    supports: ClassVar[tuple[str, ...]] = ("real",)
    independent: ClassVar[bool] = True

    components: int = Field(default=1, ge=1)
    """How many are mixed."""
    floor: float = Field(default=1e-3, gt=0)
    """The least scale, in units of the data's spread."""
    least_freedom: float = Field(default=2.0, ge=1)
    """The degrees of freedom are more than this: above 2 there is a variance."""

    def size(self, space: Space) -> int:
        return (3 * self.components + (self.components if self.components > 1 else 0)) * dim_of(space)

    def split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Location, scale, degrees of freedom and the logarithm of the weight (...,K,D) of each component."""
        count = self.components
        parts = params.reshape(*params.shape[:-1], 3 if count == 1 else 4, count, -1)  # (...,3|4,K,D)
        location, scale, freedom = parts[..., :3, :, :].unbind(-3)
        weight = torch.zeros_like(location) if count == 1 else F.log_softmax(parts[..., 3, :, :], -2)
        if count > 1:  # components begin beside each other, or they would stay alike
            location = location + torch.linspace(-1, 1, count, dtype=params.dtype, device=params.device)[:, None]
        one = math.log(math.e - 1)
        return location, F.softplus(scale + one) + self.floor, self.least_freedom + F.softplus(freedom + 4.0), weight

    def nats(self, space: Space, params: Tensor, x: Tensor, wanted: Tensor, own: nn.Module | None = None) -> Tensor:
        location, scale, freedom, weight = self.split(params)
        half = (freedom + 1) / 2
        constant = torch.lgamma(freedom / 2) - torch.lgamma(half) + 0.5 * (freedom * math.pi).log() + scale.log()
        z = (x.masked_fill(~wanted, 0.0).unsqueeze(-2) - location) / scale
        cells = constant + half * torch.log1p(z**2 / freedom) - weight  # (...,K,D)
        cells = cells.squeeze(-2) if self.components == 1 else -torch.logsumexp(-cells, -2)
        return cells.masked_fill(~wanted, 0.0).sum(-1)

    def draw(self, space: Space, params: Tensor, rng: Rng, temperature: Tensor, own: nn.Module | None = None) -> Tensor:
        """The polar method of Bailey (1994); temperature also divides the logits of the components."""
        location, scale, freedom, weight = self.split(params)
        dim = location.shape[-1]
        if self.components > 1:
            number = rng.skip(2 * dim).uniform(dim)
            chosen = picked(weight.transpose(-1, -2), number, temperature.unsqueeze(-1))[:, None]  # (B,1,D)
            location, scale, freedom = (part.take_along_dim(chosen, 1) for part in (location, scale, freedom))
        location, scale, freedom = location[:, 0], scale[:, 0], freedom[:, 0]
        u, v = torch.as_tensor(rng.plain.uniform(2 * dim)).to(location.device).chunk(2, -1)
        wide = freedom.double()
        radius = (wide * torch.expm1(-2 / wide * u.clamp_min(1e-300).log())).sqrt()
        signs = torch.from_numpy(rng.signs)[:, None].to(radius)
        noise: Tensor = (signs * radius * (2 * math.pi * v).cos()).to(params)
        return location + temperature.to(params).unsqueeze(-1) * scale * noise

    def mean(self, space: Space, params: Tensor, own: nn.Module | None = None) -> Tensor:
        location, _, _, weight = self.split(params)
        return (weight.exp() * location).sum(-2)


class LogNormal(Normal, name="lognormal"):
    """Positive numbers whose logarithms are normal."""

    supports: ClassVar[tuple[str, ...]] = ("positive",)

    def nats(self, space: Space, params: Tensor, x: Tensor, wanted: Tensor, own: nn.Module | None = None) -> Tensor:
        logs = x.masked_fill(~wanted, 1.0).log()
        return super().nats(space, params, logs, wanted) + logs.sum(-1)

    def draw(self, space: Space, params: Tensor, rng: Rng, temperature: Tensor, own: nn.Module | None = None) -> Tensor:
        return super().draw(space, params, rng, temperature).exp()

    def mean(self, space: Space, params: Tensor, own: nn.Module | None = None) -> Tensor:
        mean, scale = self.split(params)
        return (mean + 0.5 * scale**2).exp()

    def quantile(self, space: Space, params: Tensor, q: float, own: nn.Module | None = None) -> Tensor:
        return super().quantile(space, params, q).exp()


class Counts(Head, name="counts"):
    """Independent counts, negative binomial: the logarithms of the mean and of the size r are learned.

    The variance is mean + mean^2 / r, so counts with less variance than Poisson's cannot be modelled. `inflated`
    learns besides how often there is nothing to count.
    """

    supports: ClassVar[tuple[str, ...]] = ("count",)
    independent: ClassVar[bool] = True

    inflated: bool = False
    """Zeros have a probability of their own, beside that of the negative binomial."""

    def size(self, space: Space) -> int:
        return (3 if self.inflated else 2) * dim_of(space)

    def split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The logarithms of mean and size, and the logits of nothing to count (...,D)."""
        mean, size, *none = params.chunk(3 if self.inflated else 2, -1)
        return mean, size, none[0] - 3.0 if none else None

    def nats(self, space: Space, params: Tensor, x: Tensor, wanted: Tensor, own: nn.Module | None = None) -> Tensor:
        mean, size, none = self.split(params)
        x, r, log_odds = x.masked_fill(~wanted, 0.0), size.exp(), mean - size
        log_ways = torch.lgamma(x + r) - torch.lgamma(r) - torch.lgamma(x + 1)
        cells = -log_ways - r * F.logsigmoid(-log_odds) - x * F.logsigmoid(log_odds)
        if none is not None:
            some = cells - F.logsigmoid(-none)
            cells = torch.where(x == 0, -torch.logaddexp(F.logsigmoid(none), -some), some)
        return cells.masked_fill(~wanted, 0.0).sum(-1)

    def draw(self, space: Space, params: Tensor, rng: Rng, temperature: Tensor, own: nn.Module | None = None) -> Tensor:
        return self._inverse(params, tempered(space, rng, temperature, torch.device("cpu")))

    def mean(self, space: Space, params: Tensor, own: nn.Module | None = None) -> Tensor:
        mean, _, none = self.split(params)
        return mean.exp() if none is None else mean.exp() * torch.sigmoid(-none)

    def quantile(self, space: Space, params: Tensor, q: float, own: nn.Module | None = None) -> Tensor:
        return self._inverse(params, torch.tensor(q, dtype=torch.float64))

    def scaled(self, space: Space, params: Tensor, log_scale: Tensor) -> Tensor:
        mean, *rest = params.chunk(3 if self.inflated else 2, -1)
        return torch.cat([mean + log_scale, *rest], -1)

    def _inverse(self, params: Tensor, u: Tensor) -> Tensor:
        """The least count whose cumulative probability is at least u: probabilities are added up, many at a time."""
        mean, size, none = self.split(params.detach().double())
        r, log_odds, u = size.exp(), mean - size, u.to(params.device).expand_as(mean)
        if none is not None:  # below the share of nothing it is zero, above it the negative binomial's
            u = ((u - torch.sigmoid(none)) / torch.sigmoid(-none)).clamp_min(0.0)
        count = torch.zeros_like(mean)
        below = torch.zeros_like(mean)
        for first in range(0, MOST_COUNT, AT_ONCE):
            k = torch.arange(first, first + AT_ONCE, device=params.device, dtype=torch.float64)
            r_, log_odds_ = r.unsqueeze(-1), log_odds.unsqueeze(-1)
            log_ways = torch.lgamma(k + r_) - torch.lgamma(r_) - torch.lgamma(k + 1)
            probability = (log_ways + r_ * F.logsigmoid(-log_odds_) + k * F.logsigmoid(log_odds_)).exp()
            total = below.unsqueeze(-1) + probability.cumsum(-1)
            count += (total < u.unsqueeze(-1)).sum(-1)
            below = total[..., -1]
            if bool(((below >= u) | ((mean < math.log(first + 1)) & (probability.sum(-1) < 1e-13))).all()):
                break
        return count.to(params)


class Bernoulli(Head, name="bernoulli"):
    """Independent yes or no, one probability each."""

    supports: ClassVar[tuple[str, ...]] = ("binary",)
    independent: ClassVar[bool] = True

    def size(self, space: Space) -> int:
        return dim_of(space)

    def nats(self, space: Space, params: Tensor, x: Tensor, wanted: Tensor, own: nn.Module | None = None) -> Tensor:
        x = x.masked_fill(~wanted, 0.0).to(params)
        return F.binary_cross_entropy_with_logits(params, x, reduction="none").masked_fill(~wanted, 0.0).sum(-1)

    def draw(self, space: Space, params: Tensor, rng: Rng, temperature: Tensor, own: nn.Module | None = None) -> Tensor:
        logits, temperature = params.double(), temperature.to(params.device).unsqueeze(-1)
        u = torch.as_tensor(rng.uniform(params.shape[-1]), device=params.device)  # (B,D)
        yes = u < torch.sigmoid(logits / temperature.clamp_min(1e-12).double())
        return torch.where(temperature > 0, yes, logits > 0).to(params)

    def mean(self, space: Space, params: Tensor, own: nn.Module | None = None) -> Tensor:
        return params.sigmoid()

    def quantile(self, space: Space, params: Tensor, q: float, own: nn.Module | None = None) -> Tensor:
        return (params.sigmoid() > 1 - q).to(params)


class Categorical(Head, name="categorical"):
    """One probability a symbol; for fields of vectors, one for each kind of each field."""

    supports: ClassVar[tuple[str, ...]] = ("category",)

    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """The share of each symbol that training spreads over all of them (Szegedy et al. 2016); scores are without it."""

    def fits(self, space: Space) -> bool:
        return isinstance(space, Tokens) or super().fits(space)

    def size(self, space: Space) -> int:
        return space.total if isinstance(space, Tokens) else space.dim

    def nats(self, space: Space, params: Tensor, x: Tensor, wanted: Tensor, own: nn.Module | None = None) -> Tensor:
        if isinstance(space, Tokens):
            x = x.masked_fill(~wanted, 0)
            flat = F.cross_entropy(params.flatten(0, -2), x.flatten(), reduction="none")
            return flat.view(x.shape).masked_fill(~wanted, 0.0)
        total = torch.zeros_like(params[..., 0])
        for channels in space.slices.values():
            nats = F.log_softmax(params[..., channels], -1)  # (...,W)
            counted = wanted[..., channels].all(-1)  # (...,)
            total = total - (nats * x[..., channels]).sum(-1).masked_fill(~counted, 0.0)
        return total

    def loss(self, space: Space, params: Tensor, x: Tensor, wanted: Tensor, own: nn.Module | None = None) -> Tensor:
        nats = self.nats(space, params, x, wanted, own)
        if not self.smoothing:
            return nats
        total = (1 - self.smoothing) * nats
        for channels in [slice(None)] if isinstance(space, Tokens) else space.slices.values():
            counted = wanted if isinstance(space, Tokens) else wanted[..., channels].all(-1)
            even = -F.log_softmax(params[..., channels], -1).mean(-1)
            total = total + self.smoothing * even.masked_fill(~counted, 0.0)
        return total

    def draw(self, space: Space, params: Tensor, rng: Rng, temperature: Tensor, own: nn.Module | None = None) -> Tensor:
        if isinstance(space, Tokens):
            return picked(params, rng.uniform(1)[:, 0], temperature)
        u = rng.uniform(len(space.fields))  # (B, fields)
        parts = []
        for i, channels in enumerate(space.slices.values()):
            logits = params[..., channels]
            parts.append(F.one_hot(picked(logits, u[:, i], temperature), logits.shape[-1]))
        return torch.cat(parts, -1).to(params)

    def mean(self, space: Space, params: Tensor, own: nn.Module | None = None) -> Tensor:
        if isinstance(space, Tokens):
            raise UnsupportedQuery("symbols have no mean")
        return torch.cat([params[..., channels].softmax(-1) for channels in space.slices.values()], -1)


@dataclass(frozen=True)
class BoundHead:
    """A head with the space and the tensors it is used with: what a sampler draws from, a distribution over elements.

    Where `located` or `spread`, the last numbers of `params` are a location (...,D) and the logarithm of a scale
    (...,D) that were read off the canvas: the head then is the distribution of (x - location) / scale for real
    numbers, of x / scale for positive ones, of counts that are expected to be scale times as many. Real numbers that
    the head takes in the data's own units, as counts or positive ones, are expected to be as many as are at that
    location; costs are those of numbers of the canvas, so that a count costs what it would if it were spread evenly
    over an interval of length 1.
    """

    head: Head
    space: Space
    own: nn.Module | None = None
    located: bool = False
    spread: bool = False
    dependence: NDArray[np.float64] | None = None
    """The factor (D,D) by which the columns of an element are coupled in draws."""
    mixture: Mixture | None = None
    """Of symbols: counts at the positions of the parameters, whose last number says how much they weigh."""

    @property
    def measure(self) -> Measure:
        """Whether `nats` are of a probability or of a density."""
        return self.head.measure(self.space)

    def nats(self, params: Tensor, x: Tensor, wanted: Tensor) -> Tensor:
        """Minus log probability or density (...,) of the wanted cells of elements x."""
        own = self._cost(self.head.nats, params, x, wanted)
        return own if self.mixture is None else self._mixed(self.mixture, own, params, x, wanted)

    def loss(self, params: Tensor, x: Tensor, wanted: Tensor) -> Tensor:
        """What the head is trained on (...,), as `nats`."""
        own = self._cost(self.head.loss, params, x, wanted)
        return own if self.mixture is None else (own + self._mixed(self.mixture, own, params, x, wanted)) / 2

    def _mixed(self, mixture: Mixture, own: Tensor, params: Tensor, x: Tensor, wanted: Tensor) -> Tensor:
        return mixture.nats(own, params[..., -1], x.masked_fill(~wanted, 0)).masked_fill(~wanted, 0.0)

    def _cost(self, cost: Callable[..., Tensor], params: Tensor, x: Tensor, wanted: Tensor) -> Tensor:
        params, location, logs = self._split(params)
        standard, natural = x.masked_fill(~wanted, 0), self.natural(x.device)
        if natural is not None:
            slope = natural.log_slope(standard)
            standard = natural.of(standard)
        if location is not None:
            standard = standard - location
        if logs is None:
            return shaped(self.head, "nats", cost(self.space, params, standard, wanted, self.own), params.shape[:-1])
        total = cost(self.space, params, standard * (-logs).exp(), wanted, self.own)
        logs = logs if natural is None else logs - slope
        return total + logs.masked_fill(~wanted, 0.0).sum(-1)

    def draw(self, params: Tensor, rng: Rng, temperature: Tensor) -> Tensor:
        """Elements (B,D), or symbols (B,)."""
        if self.mixture is not None:
            return picked(self.logits(params), rng.uniform(1)[:, 0], temperature)
        inner, location, logs = self._split(params)
        rng = rng if self.dependence is None else Coupled(rng, self.dependence)
        x = self.head.draw(self.space, inner, rng, temperature, self.own)
        return self._moved(shaped(self.head, "draw", x, element(self.space, inner)), location, logs)

    def logits(self, params: Tensor) -> Tensor:
        """Logits (...,V) of all symbols."""
        own = self.head.logits(self.space, self._split(params)[0], self.own)
        return own if self.mixture is None else self.mixture.logits(own, params[..., -1])

    def mean(self, params: Tensor) -> Tensor:
        """The mean of each number (...,D)."""
        inner, location, logs = self._split(params)
        return self._moved(self.head.mean(self.space, inner, self.own), location, logs)

    def quantile(self, params: Tensor, q: float) -> Tensor:
        """The q-quantile of each number by itself (...,D)."""
        inner, location, logs = self._split(params)
        return self._moved(self.head.quantile(self.space, inner, q, self.own), location, logs)

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The head's own parameters, a location (...,D) and the logarithms of a scale, 0 where there is none."""
        natural = self.natural(params.device)
        if not (self.located or self.spread) and natural is None:
            return params if self.mixture is None else params[..., :-1], None, None
        dim = dim_of(self.space)
        inner = params[..., : params.shape[-1] - dim * (self.located + self.spread)]
        location = params[..., inner.shape[-1] :][..., :dim] if self.located else None
        log_scale = params[..., -dim:] if self.spread else None
        moved, multiplied = self._cells(params, "real"), self._cells(params, "real", "positive")
        if natural is not None:
            level = natural.log_level(torch.zeros_like(params[..., :dim]) if location is None else location)
            log_scale = torch.where(natural.cells, level, level if log_scale is None else log_scale)
            moved, multiplied = moved & ~natural.cells, multiplied & ~natural.cells | natural.multiplied
        location = None if location is None else location.masked_fill(~moved, 0.0)
        if log_scale is None:
            return inner, location, None
        return self.head.scaled(self.space, inner, log_scale), location, log_scale.masked_fill(~multiplied, 0.0)

    def _moved(self, x: Tensor, location: Tensor | None, logs: Tensor | None) -> Tensor:
        x = x if logs is None else x * logs.exp()
        x = x if location is None else x + location
        natural = self.natural(x.device)
        return x if natural is None else natural.back(x)

    def natural(self, device: torch.device) -> Natural | None:
        """Of vectors: which numbers the head takes in the data's own units."""
        if not isinstance(self.space, Vectors):
            return None
        return _natural_of(self.head, self.space, device)

    def _cells(self, like: Tensor, *supports: str) -> Tensor:
        """Which numbers (D,) of an element are of fields of one of these supports."""
        return _cells_of(self.space, supports, like.device)


def shaped(head: Head, method: str, value: Tensor, wanted: tuple[int, ...]) -> Tensor:
    """What a head's method gave; ConfigError where it has another shape than it should."""
    if tuple(value.shape) != tuple(wanted):
        raise ConfigError(
            f"`{method}` of the head {head.name!r} gave the shape {tuple(value.shape)}, not {tuple(wanted)}",
            path="process.head",
            hint="nats are one number for each element (...,), draws and means one for each number of it (...,D)",
        )
    return value


def element(space: Space, params: Tensor) -> tuple[int, ...]:
    """The shape of elements that have these parameters (...,P): numbers (...,D) or symbols (...)."""
    return (*params.shape[:-1], space.dim) if isinstance(space, Vectors) else tuple(params.shape[:-1])


@lru_cache(maxsize=64)
def _natural_of(head: Head, space: Vectors, device: torch.device) -> Natural | None:
    return natural_of(space, head.kinds(space), device)


@lru_cache(maxsize=64)
def _cells_of(space: Space, supports: tuple[str, ...], device: torch.device) -> Tensor:
    assert isinstance(space, Vectors)
    marks = [field.support in supports for field in space.all_fields for _ in range(field.width)]
    with torch.inference_mode(False):  # kept, so training may come upon it too
        return torch.tensor(marks, device=device)


def dim_of(space: Space) -> int:
    """The numbers of an element of a space of vectors."""
    assert isinstance(space, Vectors)
    return space.dim


def tempered(space: Space, rng: Rng, temperature: Tensor, device: torch.device) -> Tensor:
    """Probabilities (B,D) at which a distribution function is inverted: uniform at temperature 1, at 0 the middle."""
    normal = torch.special.ndtri(torch.from_numpy(rng.uniform(dim_of(space)))).to(device)
    probability: Tensor = torch.special.ndtr(temperature.to(normal).unsqueeze(-1) * normal)
    return probability


def picked(logits: Tensor, u: np.ndarray, temperature: Tensor) -> Tensor:
    """One kind (B,) from logits (B,V); the likeliest where the temperature is 0."""
    temperature = temperature.to(logits.device)
    drawn = pick(logits.double() / temperature.clamp_min(1e-12).double().unsqueeze(-1), u)
    return torch.where(temperature > 0, drawn, logits.argmax(-1))
