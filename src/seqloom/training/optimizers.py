"""Optimizers: how gradients become updates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from seqloom.core.config import Component
from seqloom.core.speeds import speeds

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic whose iteration takes every singular value from 0.01 up to near one (Jordan et al. 2024)."""

OBLONG = 2
"""Of matrices so many times longer on one side, the iteration is faster on their squares."""


@dataclass(frozen=True)
class Trained:
    """What is to be trained: the matrices within a network, and the rest (embeddings, heads, biases, gains).

    `stacked` says how many matrices lie one below the other in a parameter (the gates of a recurrent layer), where
    there are several.
    """

    matrices: Sequence[nn.Parameter]
    rest: Sequence[nn.Parameter]
    stacked: Mapping[nn.Parameter, int]


class Optimizer(Component, home="seqloom.training"):
    """How gradients become updates. The trainer sets the rate; matrices alone are pulled towards 0."""

    rate_over_adamw: ClassVar[float] = 1.0
    """What its `trainer.rate` is over that of AdamW: advised rates are AdamW's."""

    @abstractmethod
    def build(self, trained: Trained, rate: float, weight_decay: float) -> list[torch.optim.Optimizer]:
        """What makes the updates; all that they carry over is in their `state`, as tensors.

        `rate` is the highest rate of the training. A group of parameters may have a rate of its own: its entry `share`
        is that over the trainer's.
        """

    def operations(self, matrices: Sequence[tuple[int, int]]) -> int:
        """Multiplications and additions in products of matrices that an update takes at most, given their shapes."""
        return 0


class AdamW(Optimizer, name="adamw"):
    """Steps of a size that the gradient's own history sets, number by number (Loshchilov & Hutter 2019)."""

    betas: tuple[float, float] = (0.9, 0.99)
    """How long the two averages, of the gradient and of its square, remember."""

    def build(self, trained: Trained, rate: float, weight_decay: float) -> list[torch.optim.Optimizer]:
        groups = _groups(trained, weight_decay)
        return [torch.optim.AdamW(groups, lr=rate, betas=self.betas, fused=True)] if groups else []


class Sgd(Optimizer, name="sgd"):
    """Stochastic gradient descent with momentum (Sutskever et al. 2013)."""

    rate_over_adamw: ClassVar[float] = 50.0

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """How long the running sum of gradients remembers."""
    nesterov: bool = True
    """Look ahead along the momentum (only where there is one)."""

    def build(self, trained: Trained, rate: float, weight_decay: float) -> list[torch.optim.Optimizer]:
        groups = _groups(trained, weight_decay)
        nesterov = self.nesterov and self.momentum > 0
        return [torch.optim.SGD(groups, lr=rate, momentum=self.momentum, nesterov=nesterov)] if groups else []


class Muon(Optimizer, name="muon"):
    """Matrices move by an orthogonal matrix near to their momentum (Jordan et al. 2024); the rest by AdamW.

    Every direction of a matrix is then learned equally fast. `trainer.rate` is that of the rest.
    """

    rate: float = Field(default=0.02, gt=0)
    """The highest rate of the matrices: about how much of a matrix one step may replace."""
    momentum: float = Field(default=0.95, ge=0, lt=1)
    """How long the average of the gradient remembers."""
    nesterov: bool = True
    """Look ahead along the momentum."""
    iterations: int = Field(default=5, ge=1)
    """Iterations that make it orthogonal."""
    betas: tuple[float, float] = (0.9, 0.99)
    """How long AdamW's two averages remember, for the rest."""

    def build(self, trained: Trained, rate: float, weight_decay: float) -> list[torch.optim.Optimizer]:
        own = [{"params": list(trained.matrices), "share": self.rate / rate}] if trained.matrices else []
        steps: list[torch.optim.Optimizer] = [Orthogonal(self, own, weight_decay, trained.stacked)] if own else []
        return steps + AdamW(betas=self.betas).build(Trained((), trained.rest, {}), rate, weight_decay)

    def operations(self, matrices: Sequence[tuple[int, int]]) -> int:
        each = (4 * min(shape) ** 2 * max(shape) + 2 * min(shape) ** 3 for shape in matrices)
        return self.iterations * sum(each)


class Orthogonal(torch.optim.Optimizer):
    """Muon's step for matrices."""

    def __init__(
        self,
        spec: Muon,
        groups: list[dict[str, Any]],
        weight_decay: float,
        stacked: Mapping[nn.Parameter, int],
    ) -> None:
        super().__init__(groups, {"lr": spec.rate, "weight_decay": weight_decay})
        self.spec, self.stacked = spec, stacked
        on_gpu = any(p.is_cuda for group in groups for p in group["params"])
        self.dtype = torch.bfloat16 if on_gpu or speeds().use_bfloat16 else torch.float32

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            self._update([p for p in group["params"] if p.grad is not None], group["lr"], group["weight_decay"])

    def _update(self, parameters: list[nn.Parameter], rate: float, weight_decay: float) -> None:
        alike: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = {}
        for parameter in parameters:
            towards = self._towards(parameter).flatten(1)
            for part in towards.chunk(self.stacked.get(parameter, 1)):
                alike.setdefault((part.shape[0], part.shape[1]), []).append((parameter, part))
        made: dict[nn.Parameter, list[Tensor]] = {}
        for (rows, columns), parts in alike.items():  # matrices of one shape are made orthogonal together
            scale = max(1.0, rows / columns) ** 0.5
            orthogonal = orthogonalised(torch.stack([part for _, part in parts]), self.spec.iterations, self.dtype)
            for (parameter, _), part in zip(parts, orthogonal, strict=True):
                made.setdefault(parameter, []).append(part.mul(scale))
        for parameter, changes in made.items():
            change = changes[0] if len(changes) == 1 else torch.cat(changes)
            parameter.mul_(1 - rate * weight_decay).add_(change.view_as(parameter), alpha=-rate)

    def _towards(self, parameter: nn.Parameter) -> Tensor:
        """The momentum after this gradient, or what lies ahead of it."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        average: Tensor = state["momentum"]
        average.lerp_(parameter.grad, 1 - self.spec.momentum)
        return parameter.grad.lerp(average, self.spec.momentum) if self.spec.nesterov else average


def orthogonalised(matrices: Tensor, iterations: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Matrices (N,R,C) with the same singular vectors and singular values near one, by a Newton-Schulz iteration.

    It is computed in `dtype`: what singular values come near to is a wide range, so bfloat16 is enough.
    """
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT  # (N,R,C) with R <= C: the products are of the smaller side
    x = (x / x.flatten(1).norm(dim=1).clamp_min(1e-7)[:, None, None]).to(dtype)
    if dtype != torch.bfloat16 and x.shape[2] >= OBLONG * x.shape[1]:
        x = _by_squares(x, iterations)
    else:
        for _ in range(iterations):
            x = torch.baddbmm(x, _factor(x @ x.mT), x, beta=COEFFICIENTS[0])
    return (x if wide else x.mT).to(matrices.dtype)


def _factor(square: Tensor) -> Tensor:
    """What a step multiplies X by, but for a multiple of itself, given X X' (N,R,R)."""
    _, b, c = COEFFICIENTS
    return torch.baddbmm(square, square, square, beta=b, alpha=c)


def _by_squares(x: Tensor, iterations: int) -> Tensor:
    """The same iteration of X (N,R,C) on X X' alone: every step multiplies X by a polynomial in it, which commute.

    Two products with the longer side in place of two a step. What bfloat16 loses of X X' would grow step by step.
    """
    square, made = x @ x.mT, None
    for i in range(iterations):
        factor = _factor(square)
        factor.diagonal(dim1=1, dim2=2).add_(COEFFICIENTS[0])
        made = factor if made is None else made @ factor
        if i < iterations - 1:
            square = factor @ square @ factor
    return x if made is None else made @ x


def _groups(trained: Trained, weight_decay: float) -> list[dict[str, Any]]:
    groups = [
        {"params": list(trained.matrices), "weight_decay": weight_decay},
        {"params": list(trained.rest), "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
