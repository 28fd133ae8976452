"""Flow matching along straight paths (Lipman et al. 2023; Liu et al. 2023): from noise to data in a line."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from seqloom.core.rng import Rng
from seqloom.processes.base import Likelihood, Loss, Net, Process
from seqloom.processes.features import Feature
from seqloom.processes.gaussian import Gaussian
from seqloom.processes.schedules import Noise, Prediction
from seqloom.sequence.batch import Batch
from seqloom.sequence.facts import Advice, Facts
from seqloom.sequence.guess import Ask, Gives, Guess
from seqloom.sequence.laws import Counts
from seqloom.sequence.space import Space
from seqloom.sequence.spec import NetworkSpec
from seqloom.sequence.state import NetState

Times = Literal["uniform", "logit_normal"]
LEAST_SIGNAL = 1e-3
"""The least share of data in training: none at all would have no logarithm."""


class Straight(Noise, name="straight"):
    """alpha = 1 - t, sigma = t: the data are reached in a straight line at a constant speed."""

    times: Times = "uniform"
    """The distribution of times in training: all alike, or mostly the middle ones."""

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        if self.times == "uniform":
            sigma = t
        else:
            sigma = torch.sigmoid(math.sqrt(2) * torch.erfinv((2 * t - 1).clamp(-1 + 1e-12, 1 - 1e-12)))
        sigma = sigma.clamp(1e-4, 1 - LEAST_SIGNAL)
        return 1 - sigma, sigma

    def path(self, ratio: Tensor) -> tuple[Tensor, Tensor]:
        return 1 / (1 + ratio), ratio / (1 + ratio)

    def span(self) -> tuple[float, float]:
        return (-5.0, 5.0) if self.times == "uniform" else (-3.2, 3.2)


class PredictSlope(Prediction, name="slope"):
    """The data less the noise: the velocity of a straight path from noise to data."""

    def target(self, x: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return x - noise

    def clean(self, z: Tensor, out: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return (z + sigma * out) / (alpha + sigma)


class Flow(Process, name="flow"):
    """The network learns the velocity of straight paths from noise to data, and samples follow it.

    The paths are those of a diffusion whose noise fades as evenly as the data appear, so that whatever holds for
    `gaussian` holds here: what it can be asked, its bound, and its samplers.
    """

    gives: ClassVar[Gives] = Gives.CLEAN
    sampler: ClassVar[str] = "diffuse"

    times: Times = "uniform"
    """The distribution of times in training: all alike, or mostly the middle ones (Esser et al. 2024)."""

    features: tuple[Feature, ...] = ()
    """What is read off the cells that are shown, beside the network."""

    known_once: bool = False
    """Known positions attend to each other alone and do not know the level, so that they are read once for all steps
    and samples; where all layers are attention. Else they are read anew at each step."""

    @property
    def schedule(self) -> Straight:
        """How the noise fades."""
        return self.diffusion.schedule  # type: ignore[return-value]

    @cached_property
    def diffusion(self) -> Gaussian:
        """The same as a diffusion."""
        return Gaussian(
            schedule=Straight(times=self.times),
            prediction=PredictSlope(),
            features=self.features,
            known_once=self.known_once,
        )

    def spec(self, space: Space) -> NetworkSpec:
        return self.diffusion.spec(space)

    @property
    def counts(self) -> Counts | None:
        return self.diffusion.counts

    def advice(self, facts: Facts) -> Advice:
        return self.diffusion.advice(facts)

    def loss(self, net: Net, batch: Batch, rng: Rng, state: Any = None, drop: Rng | None = None) -> Loss:
        return self.diffusion.loss(net, batch, rng, state, drop)

    def likelihoods(self) -> dict[str, Likelihood]:
        return self.diffusion.likelihoods()

    def denoiser(self, net: Net, batch: Batch, rng: Rng) -> tuple[Tensor, Tensor, Callable[[Tensor, float], Tensor]]:
        return self.diffusion.denoiser(net, batch, rng)

    def read_known(self, net: Net, ask: Ask, before: Any = None, multiple: int = 1) -> Any:
        return self.diffusion.read_known(net, ask, before, multiple)

    def guess(
        self, net: Net, ask: Ask, state: NetState | None, limit: int | None = None
    ) -> tuple[Guess, NetState | None]:
        return self.diffusion.guess(net, ask, state, limit)
