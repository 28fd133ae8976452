"""Gaussian diffusion (Ho et al. 2020; Karras et al. 2022): data are noised, and the network learns the way back."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from seqloom.core.errors import UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.processes.base import Likelihood, Loss, Net, Process, channels
from seqloom.processes.schedules import EdmNoise, Noise, PredictEdm, Prediction
from seqloom.sequence.batch import Batch
from seqloom.sequence.guess import Ask, Gives, Guess
from seqloom.sequence.space import Space, Vectors
from seqloom.sequence.spec import NetworkSpec
from seqloom.sequence.state import NetState

LEVEL_SCALE = 0.25
"""The network is told log(sigma / alpha) / 4, about unit scale."""


class Gaussian(Process, name="gaussian"):
    """Diffusion with Gaussian noise; the loss is the squared error of the prediction, as its paper has it.

    Cells that are shown enter clean, so whatever pattern was trained can be asked: forecasts, gaps, or all of it.
    """

    gives: ClassVar[Gives] = Gives.CLEAN
    sampler: ClassVar[str] = "diffuse"

    schedule: Noise = EdmNoise()
    """How the noise grows."""
    prediction: Prediction = PredictEdm()
    """What the network puts out."""

    def spec(self, space: Space) -> NetworkSpec:
        if not isinstance(space, Vectors):
            raise UnsupportedSpace(
                "Gaussian diffusion learns vectors, not symbols", hint="use process=masked, or an autoregressive model"
            )
        return NetworkSpec(False, 3 * space.dim, space.dim, block=None, timed=True)

    def loss(self, net: Net, batch: Batch, rng: Rng, state: Any = None, drop: Rng | None = None) -> Loss:
        alpha, sigma = (
            level.to(batch.x)[:, None, None] for level in self.schedule.training(_strata(rng, len(batch.x)))
        )
        scale = (alpha**2 + sigma**2).sqrt()
        alpha, sigma = alpha / scale, sigma / scale
        noise = rng.at("noise").normal(tuple(batch.x.shape[1:])).to(batch.x)
        wanted = batch.wanted
        x = batch.x.masked_fill(~batch.known, 0.0)  # whatever stands in absent cells, nan too, meets no gradient
        out = self._out(net, batch, alpha * x + sigma * noise, alpha, sigma, drop)
        error = (out - self.prediction.target(x, noise, alpha, sigma)) ** 2
        return Loss(error.masked_fill(~wanted, 0.0).sum(), wanted.sum())

    def _out(self, net: Net, batch: Batch, z: Tensor, alpha: Tensor, sigma: Tensor, drop: Rng | None = None) -> Tensor:
        """What the network puts out for noised data z (B,T,D), alpha^2 + sigma^2 = 1, both (B,1,1)."""
        seen = channels(torch.where(batch.shown, batch.x, z), batch.shown, ~batch.known)
        given = net.encode(batch.given, len(batch.x))
        return net(seen, level=_level(alpha, sigma), given=given, present=batch.present, rng=drop)[0]

    def likelihoods(self) -> dict[str, Likelihood]:
        return {"likelihood": Likelihood("bound", "windows", self.bound, draws=16, whole=True)}

    def bound(self, net: Net, batch: Batch, rng: Rng, state: Any = None) -> tuple[Tensor, Any]:
        """One draw of the variational bound in continuous time, nats (B,T) (Kingma et al. 2021, eq. 17-19).

        Minus log p(x) <= recovery from the least noise + half the integral of SNR-weighted squared error + the
        distance of the noisiest state from the prior N(0, alpha^2 + sigma^2).
        """
        low, high = self.schedule.span()
        gap = low + (high - low) * _strata(rng, len(batch.x)).to(batch.x.device)
        alpha, sigma = (
            v.to(batch.x)[:, None, None] for v in (torch.sigmoid(-2 * gap).sqrt(), torch.sigmoid(2 * gap).sqrt())
        )
        noise = rng.at("noise").normal(tuple(batch.x.shape[1:])).to(batch.x)
        z = alpha * batch.x + sigma * noise
        clean = self.prediction.clean(z, self._out(net, batch, z, alpha, sigma), alpha, sigma)
        error = (alpha / sigma * (batch.x - clean)) ** 2  # half of it, times |d log SNR| = 2 d gap, is integrated
        # What the best denoiser of N(0, 1) errs with this noise, less its mean: 0 on average, and it takes chance away.
        chance = alpha**2 * ((sigma * batch.x - alpha * noise) ** 2 - (sigma * batch.x) ** 2 - alpha**2)
        path = (high - low) * (error - chance)
        recovery = 0.5 * math.log(2 * math.pi) + low + 0.5
        most = math.exp(2 * high)
        prior = 0.5 * ((most + batch.x**2) / (1 + most) - 1 + math.log1p(math.exp(-2 * high)))
        return (path + recovery + prior).masked_fill(~batch.wanted, 0.0).sum(-1), None

    def guess(
        self, net: Net, ask: Ask, state: NetState | None, limit: int | None = None
    ) -> tuple[Guess, NetState | None]:
        """`ask.x` is z scaled to alpha^2 + sigma^2 = 1 (shown cells clean), `ask.level` log(sigma / alpha) (B,1)."""
        assert ask.level is not None
        assert ask.shown is not None
        assert ask.absent is not None
        gap = ask.level.double()[..., None]
        alpha, sigma = torch.sigmoid(-2 * gap).sqrt().to(ask.x), torch.sigmoid(2 * gap).sqrt().to(ask.x)
        out, _ = net(
            channels(ask.x, ask.shown, ask.absent), level=_level(alpha, sigma), given=ask.given, present=ask.present
        )
        clean = self.prediction.clean(ask.x, out, alpha, sigma)
        return Guess(clean, np.ones(len(ask.x), bool)), state


def _level(alpha: Tensor, sigma: Tensor) -> Tensor:
    return (sigma / alpha).log()[..., 0] * LEVEL_SCALE


def _strata(rng: Rng, rows: int) -> Tensor:
    """Times in (0, 1), one a row, spread evenly over the rows of the batch."""
    return torch.as_tensor((float(rng.at("time").uniform(1)[0, 0]) + np.arange(rows) / rows) % 1.0)
