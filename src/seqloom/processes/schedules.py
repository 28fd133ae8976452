"""Schedules: how much of the data is left at time t. One family for masking, one for Gaussian noise."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from seqloom.core.config import Component

Masks = Literal["counted", "independent"]
"""How the symbols that are masked at a time are drawn."""
LEAST = 1e-3
"""The least time: the weight 1/t is unbounded at 0."""


class Masking(Component, home="seqloom.processes"):
    """alpha(t), the probability that a symbol is still there: falls from 1 at t=0 to 0 at t=1."""

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """The share that is left."""

    @abstractmethod
    def slope(self, t: Tensor) -> Tensor:
        """The derivative of alpha."""

    @abstractmethod
    def time(self, alpha: Tensor) -> Tensor:
        """The inverse of alpha."""

    def module(self) -> nn.Module | None:
        """What it learns, which a process holds as its `module`; None where it learns nothing."""
        return None

    def learned(self, module: nn.Module | None) -> Masking:
        """The schedule as a module of its own has it."""
        return self

    def learn(
        self, module: nn.Module | None, masks: Masks, t: Tensor, masked: Tensor, wanted: Tensor, nats: Tensor
    ) -> None:
        """See what the masked ones of the wanted symbols (B,T) cost in training at times (B,)."""

    def weight(self, t: Tensor) -> Tensor:
        """-alpha' / (1 - alpha), the weight of the bound in continuous time (Sahoo et al. 2024; Shi et al. 2024)."""
        return -self.slope(t) / (1 - self.alpha(t))

    def masked(self, masks: Masks, t: Tensor, u: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Which of the wanted symbols (B,T) are masked at times t (B,), from uniforms u (B,T), and the weights (B,)."""
        return (self._independent if masks == "independent" else self._counted)(t, u, wanted)

    def _independent(self, t: Tensor, u: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Each symbol masked by itself with probability 1 - alpha(t), and the weight of that time.

        Times below LEAST stand at LEAST: the reverse process then makes its last step at once, and the bound stays one.
        """
        t = t.clamp_min(LEAST)
        return (u >= self.alpha(t)[:, None]) & wanted, self.weight(t)

    def _counted(self, t: Tensor, u: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """The share 1 - alpha(t) of the symbols masked, rounded up to m of n, and the weight 1 / (m p(m)).

        p(m) is the share of times at which m are masked, so the mean over times is sum_m (cross-entropy with m masked)
        / m: the same bound in its any-order form (Hoogeboom et al. 2022; Ou et al. 2024), whatever the schedule.
        """
        n = wanted.sum(1).clamp_min(1).double()  # (B,)
        m = ((1 - self.alpha(t)) * n).ceil().clamp_min(1).minimum(n)
        visited = self.time(1 - m / n) - self.time(1 - (m - 1) / n)
        rank = u.masked_fill(~wanted, torch.inf).argsort(1).argsort(1)  # (B,T)
        return (rank < m[:, None]) & wanted, 1 / (m * visited)


class LinearMasking(Masking, name="linear"):
    """alpha = 1 - t: every number of masked symbols is equally likely."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def slope(self, t: Tensor) -> Tensor:
        return -torch.ones_like(t)

    def time(self, alpha: Tensor) -> Tensor:
        return 1 - alpha


class CosineMasking(Masking, name="cosine"):
    """alpha = 1 - cos(pi/2 (1 - t)): more of the time is spent with few symbols masked (Chang et al. 2022)."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - torch.cos(math.pi / 2 * (1 - t))

    def slope(self, t: Tensor) -> Tensor:
        return -math.pi / 2 * torch.sin(math.pi / 2 * (1 - t))

    def time(self, alpha: Tensor) -> Tensor:
        return 1 - 2 / math.pi * torch.acos(1 - alpha)


class GeometricMasking(Masking, name="geometric"):
    """Symbols vanish at a rate whose sum grows geometrically (Lou et al. 2024): times of many orders count alike."""

    least: float = Field(default=1e-3, gt=0)
    """The sum of rates at which the times begin; those before it count as one."""
    most: float = Field(default=20.0, gt=0)
    """The sum of rates at which they end."""

    def alpha(self, t: Tensor) -> Tensor:
        first, last = math.exp(-self.least), math.exp(-self.most)
        return ((-self._total(t)).exp() - last) / (first - last)

    def slope(self, t: Tensor) -> Tensor:
        total = self._total(t)
        rate = total * math.log(self.most / self.least)
        return -rate * (-total).exp() / (math.exp(-self.least) - math.exp(-self.most))

    def time(self, alpha: Tensor) -> Tensor:
        first, last = math.exp(-self.least), math.exp(-self.most)
        total = -(alpha * (first - last) + last).log()
        return (total / self.least).log() / math.log(self.most / self.least)

    def _total(self, t: Tensor) -> Tensor:
        return self.least * (self.most / self.least) ** t


class Noise(Component, home="seqloom.processes"):
    """Signal alpha and noise sigma at time t in [0, 1]: z = alpha x + sigma n, from nearly clean to nearly noise."""

    @abstractmethod
    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at t, in float64; training draws t evenly, so this says where it mostly is."""

    def path(self, ratio: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) of levels sigma / alpha: the way that a sampler goes; here alpha^2 + sigma^2 = 1."""
        return (1 + ratio**2).rsqrt(), ratio * (1 + ratio**2).rsqrt()

    def span(self) -> tuple[float, float]:
        """The least and most log(sigma / alpha) that the bound integrates over: where training has been."""
        alpha, sigma = self.at(torch.tensor([1e-3, 1.0], dtype=torch.float64))
        low, high = (sigma / alpha).log().tolist()
        return low, high


class LinearNoise(Noise, name="linear"):
    """Variance preserving, with a rate of noise that grows evenly (Ho et al. 2020, in continuous time)."""

    start: float = Field(default=0.1, gt=0)
    """Rate at t = 0."""
    stop: float = Field(default=20.0, gt=0)
    """Rate at t = 1."""

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        total = self.start * t + (self.stop - self.start) * t**2 / 2
        return torch.exp(-total / 2), torch.sqrt(-torch.expm1(-total))


class CosineNoise(Noise, name="cosine"):
    """Variance preserving, alpha = cos of an angle that grows evenly (Nichol & Dhariwal 2021)."""

    s: float = Field(default=0.008, ge=0, lt=0.5)
    """Offset that keeps the first steps from being too small."""

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        def angle(t: Tensor) -> Tensor:
            return (t + self.s) / (1 + self.s) * math.pi / 2

        # The paper divides the cumulative signal by its value at 0 and caps the last step; capping the angle does both.
        alpha = (angle(t).cos() / math.cos(self.s / (1 + self.s) * math.pi / 2)).clamp(5e-3, 1 - 1e-8)
        return alpha, torch.sqrt(1 - alpha**2)


class Exploding(Noise):
    """Variance exploding: the signal stays as it is."""

    def path(self, ratio: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(ratio), ratio


class EdmNoise(Exploding, name="edm"):
    """Variance exploding, log sigma normal in training (Karras et al. 2022)."""

    mean: float = -0.4
    """Mean of log sigma in training."""
    std: float = Field(default=1.4, gt=0)
    """Spread of log sigma in training."""

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        normal = math.sqrt(2) * torch.erfinv((2 * t - 1).clamp(-1 + 1e-12, 1 - 1e-12))
        sigma = torch.exp(self.mean + self.std * normal)
        return torch.ones_like(sigma), sigma

    def span(self) -> tuple[float, float]:
        return self.mean - 2.6 * self.std, self.mean + 2.6 * self.std


class GeometricNoise(Exploding, name="geometric"):
    """Variance exploding in geometric levels, all alike in training (Song & Ermon 2019, 2020), in continuous time."""

    least: float = Field(default=0.01, gt=0)
    """The least noise."""
    most: float = Field(default=50.0, gt=0)
    """The most noise; about the largest distance between two of the data, in units of their spread."""

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        sigma = self.least * (self.most / self.least) ** t
        return torch.ones_like(sigma), sigma

    def span(self) -> tuple[float, float]:
        return math.log(self.least), math.log(self.most)


class Prediction(Component, home="seqloom.processes"):
    """What the network is trained to put out, from which the clean data follow; inputs have alpha^2 + sigma^2 = 1."""

    @abstractmethod
    def target(self, x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """What the network should put out."""

    @abstractmethod
    def clean(self, z: Tensor, out: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The clean data that the output means, z = alpha x + sigma n being the input."""


class PredictNoise(Prediction, name="noise"):
    """The noise that was added (Ho et al. 2020); its plain squared error is the textbook loss."""

    def target(self, x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return noise

    def clean(self, z: Tensor, out: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return (z - sigma * out) / alpha


class PredictClean(Prediction, name="clean"):
    """The data themselves."""

    def target(self, x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return x

    def clean(self, z: Tensor, out: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return out


class PredictVelocity(Prediction, name="velocity"):
    """alpha noise - sigma x (Salimans & Ho 2022)."""

    def target(self, x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return alpha * noise - sigma * x

    def clean(self, z: Tensor, out: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return alpha * z - sigma * out


class PredictEdm(Prediction, name="edm"):
    """Preconditioned so that input and target have unit variance at every level (Karras et al. 2022)."""

    data: float = Field(default=1.0, gt=0)
    """Standard deviation of the data."""

    def _scales(self, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The skip and out scales of the paper for y = x + s n, s = sigma / alpha, applied to z = alpha y."""
        s = sigma / alpha
        total = s**2 + self.data**2
        return self.data**2 / (total * alpha), s * self.data / total.sqrt()

    def target(self, x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        skip, out = self._scales(alpha, sigma)
        return (x - skip * (alpha * x + sigma * noise)) / out

    def clean(self, z: Tensor, out: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        skip, scale = self._scales(alpha, sigma)
        return skip * z + scale * out
