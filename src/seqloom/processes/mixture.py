"""A mixture of correlated normals for two numbers that belong together, such as a pen's movement."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from seqloom.core.rng import Rng, pick
from seqloom.processes.heads import Head
from seqloom.sequence.space import Space, Vectors

LARGEST_CORRELATION = 0.999
WIDEST = 1e4
"""The largest scale: keeps a far component's density from underflowing to nothing that can be learned from."""


class Mixture(Head, name="mixture"):
    """Bivariate normals with correlation, mixed (Graves 2013), for a real field of width 2, else the first two of 1.

    Temperature is that of sketch-rnn (Ha & Eck 2017): it divides the logits of the components and multiplies their
    variances; at 0 it is the mean of the likeliest component.
    """

    components: int = Field(default=20, ge=1)
    """How many normals are mixed."""
    floor: float = Field(default=1e-2, gt=0)
    """The least scale, in units of the data's spread: keeps repeated values from an unbounded density."""

    def covers(self, space: Vectors) -> tuple[str, ...]:
        real = [field for field in space.fields if field.support == "real"]
        pairs = [field.name for field in real if field.width == 2]
        single = [field.name for field in real if field.width == 1]
        return tuple(pairs[:1]) or (tuple(single[:2]) if len(single) > 1 else ())

    def size(self, space: Space) -> int:
        return 6 * self.components

    def split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log weights (...,K), means (...,K,2), scales (...,K,2) and correlations (...,K)."""
        params = params.float() if params.dtype in (torch.float16, torch.bfloat16) else params
        parts = params.reshape(*params.shape[:-1], 6, self.components)
        weight, mean, raw, correlation = torch.split(parts, [1, 2, 2, 1], -2)
        scale = (F.softplus(raw + math.log(math.e - 1)) + self.floor).clamp_max(WIDEST)
        correlation = LARGEST_CORRELATION * torch.tanh(correlation.squeeze(-2))
        return F.log_softmax(weight.squeeze(-2), -1), mean.transpose(-1, -2), scale.transpose(-1, -2), correlation

    def nats(self, space: Space, params: Tensor, x: Tensor, wanted: Tensor, own: nn.Module | None = None) -> Tensor:
        weight, mean, scale, correlation = self.split(params)
        z = (x.masked_fill(~wanted, 0.0).unsqueeze(-2) - mean) / scale  # (...,K,2)
        z = z.masked_fill(~wanted.unsqueeze(-2), 0.0)
        # Where one number is not wanted the other's own normal is left: the pair's density with no correlation.
        both = wanted.all(-1, keepdim=True)
        rho = correlation.masked_fill(~both, 0.0)
        rest = 1 - rho**2
        square = (z.square().sum(-1) - 2 * rho * z.prod(-1)) / rest
        logs = (scale.log() + 0.5 * math.log(2 * math.pi)).masked_fill(~wanted.unsqueeze(-2), 0.0).sum(-1)
        nats = -torch.logsumexp(weight - 0.5 * square - logs - 0.5 * rest.log(), -1)
        return nats.masked_fill(~wanted.any(-1), 0.0)

    def draw(self, space: Space, params: Tensor, rng: Rng, temperature: Tensor, own: nn.Module | None = None) -> Tensor:
        weight, mean, scale, correlation = self.split(params)
        temperature = temperature.to(weight).unsqueeze(-1)  # (B,1)
        drawn = pick(weight.double() / temperature.clamp_min(1e-12).double(), rng.uniform(1)[:, 0])
        chosen = torch.where(temperature[:, 0] > 0, drawn, weight.argmax(-1))[:, None]  # (B,1)
        mean, scale = (part.take_along_dim(chosen.unsqueeze(-1), 1)[:, 0] for part in (mean, scale))  # (B,2)
        rho = correlation.take_along_dim(chosen, 1)  # (B,1)
        first, second = rng.normal((2,), start=1).to(mean).chunk(2, -1)
        noise = torch.cat([first, rho * first + (1 - rho**2).sqrt() * second], -1)
        return mean + temperature.sqrt() * scale * noise

    def mean(self, space: Space, params: Tensor, own: nn.Module | None = None) -> Tensor:
        weight, mean, _, _ = self.split(params)
        return (weight.exp().unsqueeze(-1) * mean).sum(-2)

    def quantile(self, space: Space, params: Tensor, q: float, own: nn.Module | None = None) -> Tensor:
        """By halving the interval in which the number's own mixture of normals must have it."""
        weight, mean, scale, _ = (part.double() for part in self.split(params))
        edge = abs(float(torch.special.ndtri(torch.tensor(q, dtype=torch.float64)))) + 1e-6
        low, high = (mean - edge * scale).amin(-2), (mean + edge * scale).amax(-2)  # (...,2)
        for _ in range(80):
            middle = (low + high) / 2
            below = torch.special.ndtr((middle.unsqueeze(-2) - mean) / scale)
            less = (weight.exp().unsqueeze(-1) * below).sum(-2) < q
            low, high = torch.where(less, middle, low), torch.where(less, high, middle)
        return ((low + high) / 2).to(params)
