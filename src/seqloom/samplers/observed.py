"""Guidance by observation: a network that was never shown anything fills in what stands around known cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from seqloom.samplers.base import Rows, Sampler
from seqloom.samplers.diffuse import Diffuse
from seqloom.sequence.guess import Ask, Gives, Guess


class Observed(Sampler, name="observed"):
    """Draws of the diffusion without the known cells, moved to where these are likely (Kollovieh et al. 2023).

    The mean of the clean data x behind z = alpha x + sigma noise, given z and what is known of x, is the network's
    guess plus sigma^2 / alpha times the gradient of log p(known | z) with respect to z. What is known has about the
    normal law of its guess, whose covariance is sigma^2 / alpha times the guess's own gradient (Rozet et al. 2024):
    exact where the data are normal. That costs as many passes back through the network as it has `iterations`, and one.
    Each cell alone, or a quantile, are cheaper and rougher: rows of a first-order autoregression are off by a quarter,
    or a third, of its spread in the mean.
    """

    takes: ClassVar[tuple[Gives, ...]] = (Gives.CLEAN,)

    inner: Sampler = Diffuse(steps=24)
    """How the diffusion is sampled."""
    by: Literal["normal", "quantile"] = "normal"
    """The law of what is known given z: normal about the guess, or that of a quantile, which each path draws for itself
    (an asymmetric Laplace law; its gradient is bounded, so a known cell that is far off pulls no path away)."""
    iterations: int = Field(default=2, ge=0)
    """Steps of conjugate residuals towards the covariance of the known cells; 0: each cell alone, with variance
    sigma^2, as of independent data (Song et al. 2023)."""
    noise: float = Field(default=0.02, gt=0)
    """The spread of the error with which cells are known, in spreads of the training data."""
    strength: float = Field(default=1.0, ge=0)
    """What the pull of the known cells is multiplied by."""

    @property
    def needs_gradient(self) -> bool:
        return True

    def start(self, process: Any, rows: Rows) -> Rows:
        seen = rows.along["shown"]
        level = rows.key.at("quantile").uniform(1)[:, 0]
        hidden = replace(rows, along={**rows.along, "shown": torch.zeros_like(seen)})
        begun = self.inner.start(process, hidden)
        return replace(
            begun,
            own={**begun.own, "quantile": level},
            along={**begun.along, "seen": seen & ~rows.along["absent"], "known": rows.x.clone()},
        )

    def ask(self, rows: Rows) -> Ask:
        ask = self.inner.ask(rows)
        return replace(ask, x=ask.x.detach().requires_grad_())

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        seen = rows.along["seen"]
        pulled = guess.value.detach() + self.strength * self._pull(rows, ask, guess).to(guess.value)
        with torch.no_grad():
            rows = self.inner.tell(rows, ask, replace(guess, value=pulled, parts=_detached(guess)))
        rows.x[:] = torch.where(seen, rows.along["known"], rows.x)
        return rows

    def _pull(self, rows: Rows, ask: Ask, guess: Guess) -> Tensor:
        """By how much the known cells move the guess (B,T,D)."""
        assert ask.level is not None
        level = ask.level.detach().double()[..., None]  # (B,1,1)
        alpha, sigma = torch.sigmoid(-2 * level).sqrt().to(ask.x), torch.sigmoid(2 * level).sqrt().to(ask.x)
        seen, clean = rows.along["seen"], guess.value
        known = guess.numbers(rows.along["known"])
        error = (known - clean.detach()).masked_fill(~seen, 0.0)

        def spread(v: Tensor) -> Tensor:
            """The covariance of the clean data given z (B,T*D,T*D), times v (B,T,D)."""
            (moved,) = torch.autograd.grad(clean, ask.x, v, retain_graph=True)
            return moved * (sigma**2 / alpha)

        if self.by == "quantile":
            share = torch.as_tensor(rows.own["quantile"]).to(error)[:, None, None]
            slope = torch.where(error > 0, share, share - 1) * 2 / (sigma**2 + self.noise**2).sqrt()
            return spread(slope.masked_fill(~seen, 0.0))
        if not self.iterations:
            return spread(error / (sigma**2 + self.noise**2))

        def of_known(v: Tensor) -> Tensor:
            return (spread(v) + self.noise**2 * v).masked_fill(~seen, 0.0)

        return spread(solved(of_known, error, self.iterations))


def solved(matrix: Callable[[Tensor], Tensor], right: Tensor, iterations: int) -> Tensor:
    """The solution (B,T,D) of matrix(x) = right, each row's own, after steps of conjugate residuals from 0.

    What is left of `right` grows in no step, be the matrix symmetric or not (Eisenstat et al. 1983): that of a trained
    network is not quite.
    """

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).flatten(1).sum(1)[:, None, None]

    x, left = torch.zeros_like(right), right
    ways: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(iterations):
        way, moved = left, matrix(left)
        for before, other, size in ways:
            share = dot(moved, other) / size
            way, moved = way - share * before, moved - share * other
        size = dot(moved, moved).clamp_min(torch.finfo(right.dtype).tiny)
        ways.append((way, moved, size))
        step = dot(left, moved) / size
        x, left = x + step * way, left - step * moved
    return x


def _detached(guess: Guess) -> dict[str, Tensor]:
    return {name: part.detach() for name, part in guess.parts.items()}
