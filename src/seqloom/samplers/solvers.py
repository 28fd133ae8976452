"""Solvers: one step of a diffusion sampler from one level of noise to the next (a new one is one class)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqloom.core.config import Component

Level = tuple[Tensor, Tensor]
"""Signal alpha and noise sigma of each row, (B,1,1) both."""
Numbers = NDArray[np.float64]
HISTORY = 3
"""How many steps back a solver is told the levels of."""
THEN, NOW, LAST = range(3)
"""Places of a step's levels: where it leads to, where it begins, and where the step before it began."""


@dataclass(frozen=True)
class Step:
    """A step of some rows: from level `now` to level `then`, and its number (B,) from 0 on.

    `levels` (2, places, B) are the levels as numbers, alpha and sigma: then, now, and those of the last steps, the
    latest first; the very first level where there were fewer. `like` is a tensor of the rows' device and type.
    """

    number: NDArray[np.int64]
    levels: Numbers
    like: Tensor

    @property
    def then(self) -> Level:
        """The level that it leads to."""
        return self.level(THEN)

    @property
    def now(self) -> Level:
        """The level that it begins at."""
        return self.level(NOW)

    def level(self, place: int) -> Level:
        """The level at a place of `levels`."""
        return self._tensors[0][place], self._tensors[1][place]

    @cached_property
    def _tensors(self) -> Tensor:
        return torch.from_numpy(self.levels).to(self.like)[..., None, None]

    def added(self, *terms: tuple[Numbers, Tensor]) -> Tensor:
        """The sum (B,T,D) of tensors, each multiplied by one number a row (B,).

        What is the same for a whole row is worked out of numbers, so that a step passes over its cells but few times.
        """
        weights = torch.from_numpy(np.stack([weight for weight, _ in terms])).to(self.like)[..., None, None]
        total = terms[0][1] * weights[0]
        for (_, x), weight in zip(terms[1:], weights[1:], strict=True):
            total += x * weight
        return total

    def along(self, z: Tensor, clean: Tensor, level: Level) -> Tensor:
        """By how much z (B,T,D) moves in this step if all the way is as at `level`, where `clean` is guessed from z.

        The probability-flow equation is dz = clean d alpha + noise d sigma, along any way from one level to the other.
        """
        alpha, sigma = level
        (alpha_s, sigma_s), (alpha_t, sigma_t) = self.then, self.now
        per_noise = (sigma_s - sigma_t) / sigma
        return (alpha_s - alpha_t - per_noise * alpha) * clean + per_noise * z


class Solver(Component, home="seqloom.samplers"):
    """One step from one level to the next, in one network call or in several stages of one call each."""

    stages: ClassVar[int] = 1
    """Network calls a step."""
    stages_to_end: ClassVar[int] = 1
    """Network calls of the step to no noise at all, where there is no later slope to evaluate."""
    keeps: ClassVar[tuple[str, ...]] = ()
    """State of a row from call to call: tensors like z, 0 at first."""

    def level(self, stage: int, step: Step) -> Level:
        """At which level a stage's z is: the first has it at `now`; here those after it at `then`."""
        return step.now if stage == 0 else step.then

    @abstractmethod
    def advance(
        self, stage: int, z: Tensor, clean: Tensor, step: Step, kept: dict[str, Tensor], noise: Tensor
    ) -> Tensor:
        """Z (B,T,D) for the next stage, or after the last at `then`, from z and the clean guess there.

        `noise` is standard normal, fresh in each stage, where the solver is random. What is put into `kept` is there
        again at the row's next call.
        """

    @property
    def random(self) -> bool:
        """Whether a step draws noise; `noise` is 0 where it does not."""
        return False


class AncestralSteps(Solver, name="ancestral"):
    """Draws q(z_s | z_t, clean) (Ho et al. 2020), for any schedule; as random as the process itself."""

    @property
    def random(self) -> bool:
        return True

    def advance(
        self, stage: int, z: Tensor, clean: Tensor, step: Step, kept: dict[str, Tensor], noise: Tensor
    ) -> Tensor:
        (alpha, sigma), (alpha_s, sigma_s) = step.levels[:, NOW], step.levels[:, THEN]
        ratio = alpha / alpha_s
        gained = np.maximum(0, sigma**2 - (ratio * sigma_s) ** 2)  # variance added between s and t
        return step.added(
            (ratio * sigma_s**2 / sigma**2, z),
            (alpha_s * gained / sigma**2, clean),
            (np.sqrt(gained) * sigma_s / sigma, noise),
        )


class Euler(Solver, name="euler"):
    """One step along the present slope; for a diffusion that is DDIM (Song et al. 2021). First order."""

    def advance(
        self, stage: int, z: Tensor, clean: Tensor, step: Step, kept: dict[str, Tensor], noise: Tensor
    ) -> Tensor:
        (alpha, sigma), (alpha_s, sigma_s) = step.levels[:, NOW], step.levels[:, THEN]
        ratio = sigma_s / sigma  # z + step.along(z, clean, step.now), put together
        return step.added((ratio, z), (alpha_s - ratio * alpha, clean))


class Heun(Solver, name="heun"):
    """Euler, then the mean of the directions at both ends, by two calls (Karras et al. 2022). Second order."""

    stages: ClassVar[int] = 2
    keeps: ClassVar[tuple[str, ...]] = ("z", "move")

    def advance(
        self, stage: int, z: Tensor, clean: Tensor, step: Step, kept: dict[str, Tensor], noise: Tensor
    ) -> Tensor:
        if stage == 0:
            kept["z"], kept["move"] = z, step.along(z, clean, step.now)
            return z + kept["move"]
        return kept["z"] + (kept["move"] + step.along(z, clean, step.then)) / 2


class Midpoint(Solver, name="midpoint"):
    """The direction halfway, where Euler's step leads in half the time, for the whole step. Second order."""

    stages: ClassVar[int] = 2
    stages_to_end: ClassVar[int] = 2
    keeps: ClassVar[tuple[str, ...]] = ("z",)

    def level(self, stage: int, step: Step) -> Level:
        if stage == 0:
            return step.now
        return (step.now[0] + step.then[0]) / 2, (step.now[1] + step.then[1]) / 2

    def advance(
        self, stage: int, z: Tensor, clean: Tensor, step: Step, kept: dict[str, Tensor], noise: Tensor
    ) -> Tensor:
        if stage == 0:
            kept["z"] = z
            return z + step.along(z, clean, step.now) / 2
        return kept["z"] + step.along(z, clean, self.level(stage, step))
