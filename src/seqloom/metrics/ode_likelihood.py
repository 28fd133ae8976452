"""The likelihood of a diffusion by its probability flow (Song et al. 2021): an ordinary equation from data to noise."""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from seqloom.core.errors import UnsupportedQuery
from seqloom.core.rng import Rng
from seqloom.metrics.base import Metric, MetricRecord, View, metric_of
from seqloom.metrics.likelihood import score_of
from seqloom.processes.base import Denoises, Likelihood, Net
from seqloom.sequence.batch import Batch
from seqloom.sequence.space import Vectors


class OdeLikelihood(Metric, name="ode_likelihood"):
    """Nats by the equation dy = (y - clean) d log s, s the spread of the noise, and the divergence along its way.

    An estimate of the density that a solver of many steps draws from, for numbers that do not end; the classic rule of
    Runge and Kutta takes four calls a step. Written `metrics=[likelihood,ode_likelihood]`.
    """

    steps: int = Field(default=40, ge=1)
    """Steps from data to noise."""
    windows: int = Field(default=16, ge=1)
    """Windows that are scored, unless all are asked for."""
    exact: int = Field(default=32, ge=0)
    """Up to so many numbers a window the divergence is exact; else it is drawn (Hutchinson's estimate)."""
    least: float = Field(default=0.01, gt=0)
    """The noise that the data are taken to have."""
    most: float = Field(default=1000.0, gt=0)
    """The noise at which nothing of the data is left."""

    def measure(self, view: View) -> list[MetricRecord]:
        space = view.network.space
        smooth = isinstance(space, Vectors) and all(field.support in {"real", "positive"} for field in space.all_fields)
        if not (smooth and isinstance(view.process, Denoises)):
            raise UnsupportedQuery(
                "only a diffusion of numbers that do not end has a probability flow", hint="leave ode_likelihood out"
            )
        numbers = view.network.window * (space.dim if isinstance(space, Vectors) else 1)
        draws = 1 if numbers <= self.exact else 4
        process = view.process

        def nats(net: Net, batch: Batch, rng: Rng, state: Any) -> tuple[Tensor, Any]:
            return self.nats(process, net, batch, rng, exact=draws == 1), None

        own = Likelihood("estimate", "windows", nats, draws=draws, share=self.windows, gradient=True)
        return [metric_of(self.name, score_of(view, own, view.progress, reads=1))]

    def nats(self, process: Denoises, net: Net, batch: Batch, rng: Rng, *, exact: bool) -> Tensor:
        """Nats (B,T) of the wanted cells of a batch, given those that are shown."""
        with torch.enable_grad():
            x, scale, denoised = process.denoiser(net, batch, rng)
            wanted = batch.wanted
            y, gained = x.double(), torch.zeros_like(x, dtype=torch.float64)
            probe = (2.0 * (torch.from_numpy(rng.at("trace probe").uniform(x[0].numel())) < 0.5) - 1).view_as(x).to(y)
            length = math.log(self.most / self.least) / self.steps

            def slope(y: Tensor, at: float) -> tuple[Tensor, Tensor]:
                """How y moves with log s, and the part of the divergence that each cell has."""
                return _flow(lambda y: denoised(y.to(x), math.exp(at)).double(), y, wanted, None if exact else probe)

            for step in range(self.steps):
                at = math.log(self.least) + step * length
                first = slope(y, at)
                second = slope(y + length / 2 * first[0], at + length / 2)
                third = slope(y + length / 2 * second[0], at + length / 2)
                fourth = slope(y + length * third[0], at + length)
                y, gained = (
                    old + length / 6 * (a + 2 * b + 2 * c + d)
                    for old, a, b, c, d in zip((y, gained), first, second, third, fourth, strict=True)
                )
            spread = 1 + self.most**2
            prior = 0.5 * (y**2 / spread + math.log(2 * math.pi * spread))
            return (prior - gained + scale).masked_fill(~wanted, 0.0).sum(-1).detach()


def _flow(denoised: Any, y: Tensor, wanted: Tensor, probe: Tensor | None) -> tuple[Tensor, Tensor]:
    """Y - clean in the wanted cells (B,T,D), and 1 - d clean / d y there: exact, or v (J v) for a probe v of signs."""
    y = y.detach().requires_grad_()
    clean = denoised(y).masked_fill(~wanted, 0.0)
    if probe is None:
        flat = clean.flatten(1)
        parts = [torch.autograd.grad(flat[:, i].sum(), y, retain_graph=True)[0].flatten(1)[:, i]
                 for i in range(flat.shape[1])]  # fmt: skip
        own = torch.stack(parts, -1).view_as(y)
    else:
        probe = probe.masked_fill(~wanted, 0.0)
        own = torch.autograd.grad((clean * probe).sum(), y)[0] * probe
    moved = (y.detach() - clean.detach()).masked_fill(~wanted, 0.0)
    return moved, (1 - own).masked_fill(~wanted, 0.0)
