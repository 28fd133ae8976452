"""Diffusion sampling: from noise to data along a grid of levels, by one of several solvers (a new one is one class)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqloom.core.config import Component
from seqloom.samplers.base import Rows, Sampler
from seqloom.sequence.guess import Ask, Elements, Gives, Guess

Level = tuple[Tensor, Tensor]
"""Signal alpha and noise sigma of each row, (B,1,1) both."""


class Solver(Component, home="seqloom.samplers"):
    """One step from level `now` to level `then`, in one network call or in several stages of one call each.

    The first stage sees z at `now`; those after it see, at `then`, what the stage before gave. A step to no noise at
    all has the first stage only: there is nothing to look at.
    """

    stages: ClassVar[int] = 1
    """Network calls a step."""
    keeps: ClassVar[tuple[str, ...]] = ()
    """What a row remembers from call to call: tensors like z, 0 at first."""

    @abstractmethod
    def step(
        self, stage: int, z: Tensor, clean: Tensor, now: Level, then: Level, kept: dict[str, Tensor], noise: Tensor
    ) -> Tensor:
        """Z (B,T,D) at `then` from z, the clean guess there and, where the solver is random, standard normal noise.

        What is put into `kept` is there again at the row's next call.
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

    def step(
        self, stage: int, z: Tensor, clean: Tensor, now: Level, then: Level, kept: dict[str, Tensor], noise: Tensor
    ) -> Tensor:
        (alpha, sigma), (alpha_s, sigma_s) = now, then
        ratio = alpha / alpha_s
        gained = (sigma**2 - (ratio * sigma_s) ** 2).clamp_min(0)  # variance added between s and t
        mean = (ratio * sigma_s**2 * z + alpha_s * gained * clean) / sigma**2
        return mean + gained.sqrt() * sigma_s / sigma * noise


class Ddim(Solver, name="ddim"):
    """The deterministic step of Song et al. 2021: the noise that was guessed is kept. First order."""

    def step(
        self, stage: int, z: Tensor, clean: Tensor, now: Level, then: Level, kept: dict[str, Tensor], noise: Tensor
    ) -> Tensor:
        return follow(z, slope(z, clean, now), now, then)


class Heun(Solver, name="heun"):
    """The second-order step of Karras et al. 2022: Euler, then the mean of the slopes at both ends, by two calls."""

    stages: ClassVar[int] = 2
    keeps: ClassVar[tuple[str, ...]] = ("z", "slope")

    def step(
        self, stage: int, z: Tensor, clean: Tensor, now: Level, then: Level, kept: dict[str, Tensor], noise: Tensor
    ) -> Tensor:
        if stage == 0:
            kept["z"], kept["slope"] = z, slope(z, clean, now)
            return follow(z, kept["slope"], now, then)
        return follow(kept["z"], (kept["slope"] + slope(z, clean, then)) / 2, now, then)


def slope(z: Tensor, clean: Tensor, level: Level) -> Tensor:
    """D y / d s of the probability-flow equation for y = z / alpha, s = sigma / alpha: the guessed noise."""
    alpha, sigma = level
    return (z - alpha * clean) / sigma


def follow(z: Tensor, rate: Tensor, now: Level, then: Level) -> Tensor:
    """Z at `then`, on the line from z at `now` with this slope: Euler's step."""
    (alpha, sigma), (alpha_s, sigma_s) = now, then
    return alpha_s / alpha * z + (sigma_s - alpha_s / alpha * sigma) * rate


class Diffuse(Sampler, name="diffuse"):
    """From noise to data in `steps` steps. Cells that are shown stay as they are and enter the network clean."""

    takes: ClassVar[tuple[Gives, ...]] = (Gives.CLEAN,)

    solver: Solver = Heun()
    """How one step is made."""
    steps: int = Field(default=18, ge=1)
    """Steps from noise to data."""
    temperature: float = Field(default=1.0, ge=0)
    """Scales the noise that is drawn."""

    def start(self, process: Any, rows: Rows) -> Rows:
        count = len(rows)
        alpha, sigma = process.schedule.grid(self.steps)
        first = (alpha[0] ** 2 + sigma[0] ** 2).sqrt().item()
        z = rows.key.at("start").normal(tuple(rows.x.shape[1:])).to(rows.x) * (first * self.temperature)
        own = {
            **rows.own,
            "alpha": np.tile(alpha.numpy(), (count, 1)),
            "sigma": np.tile(sigma.numpy(), (count, 1)),
            "steps": np.full(count, self.steps),
            "step": np.zeros(count, np.int64),
            "stage": np.zeros(count, np.int64),
            "temperature": np.full(count, self.temperature),
        }
        kept = {_kept(name): torch.zeros_like(z) for name in self.solver.keeps}
        shown = rows.along["shown"]
        return replace(
            rows,
            x=torch.where(shown, rows.x, z),
            own=own,
            along={**rows.along, **kept, "z": z, "given": rows.x.clone()},
            done=rows.done | rows.settled.all(1),
        )

    def ask(self, rows: Rows) -> Ask:
        alpha, sigma = self._level(rows, rows.own["step"] + (rows.own["stage"] > 0))
        scale = (alpha**2 + sigma**2).sqrt()
        x = torch.where(rows.along["shown"], rows.along["given"], rows.along["z"] / scale)
        level = (sigma / alpha).log()[..., 0]
        return Ask(x=x, want=np.where(rows.done, -1, 0)[:, None], fixed=np.zeros(len(rows), np.int64), level=level)

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        live = guess.ready & ~rows.done
        step, stage = rows.own["step"], rows.own["stage"]
        now, then = self._level(rows, step), self._level(rows, step + 1)
        z = rows.along["z"]
        clean, noise = guess.value.to(z), self._noise(rows, step)
        for turn in range(self.solver.stages):
            at = np.nonzero(live & (stage == turn))[0]
            kept = {name: rows.along[_kept(name)][at] for name in self.solver.keeps}
            levels = (now[0][at], now[1][at]), (then[0][at], then[1][at])
            z[at] = self.solver.step(turn, z[at], clean[at], *levels, kept, noise[at])
            for name in self.solver.keeps:
                rows.along[_kept(name)][at] = kept[name]
        stage[live] += 1
        made = live & ((stage == self.solver.stages) | (step + 1 >= rows.own["steps"]))
        stage[made] = 0
        step[made] += 1
        finished = live & (step >= rows.own["steps"])
        clean = guess.head.values(z) if isinstance(guess.head, Elements) else z
        rows.x[:] = torch.where(rows.along["shown"], rows.along["given"], clean)
        rows.settled[finished] = True
        rows.done[finished] = True
        return rows

    def _noise(self, rows: Rows, step: NDArray[np.int64]) -> Tensor:
        """What a random solver adds (B,T,D), scaled by each row's temperature."""
        z: Tensor = rows.along["z"]
        if not self.solver.random:
            return torch.zeros_like(z)
        heat = torch.as_tensor(rows.own["temperature"]).to(z)[:, None, None]
        return rows.key.at("step", step).normal(tuple(z.shape[1:])).to(z) * heat

    def _level(self, rows: Rows, place: NDArray[np.int64]) -> Level:
        row = np.arange(len(rows))
        place = np.minimum(place, rows.own["steps"])
        like = rows.along["z"]
        alpha = torch.as_tensor(rows.own["alpha"][row, place]).to(like)[:, None, None]
        return alpha, torch.as_tensor(rows.own["sigma"][row, place]).to(like)[:, None, None]


def _kept(name: str) -> str:
    """Where a solver's memory stands among what follows the canvas."""
    return f"solver.{name}"
