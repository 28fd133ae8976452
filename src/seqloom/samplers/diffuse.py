"""Diffusion sampling: from noise to data along a grid of levels, by one of several solvers."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from seqloom.core.config import Component
from seqloom.samplers.base import Rows, Sampler
from seqloom.sequence.guess import Ask, Gives, Guess


class Solver(Component, home="seqloom.samplers"):
    """One step from level (alpha, sigma) to the next, all (B,1,1): one formula in z, the clean guess, and noise."""

    stages: ClassVar[int] = 1
    """Network calls a step."""

    @abstractmethod
    def step(self, z: Tensor, clean: Tensor, now: Level, then: Level, noise: Tensor | None) -> Tensor:
        """Z at the next level."""

    @property
    def random(self) -> bool:
        """Whether a step draws noise."""
        return False


Level = tuple[Tensor, Tensor]


class AncestralSteps(Solver, name="ancestral"):
    """Draws q(z_s | z_t, clean) (Ho et al. 2020), for any schedule; as random as the process itself."""

    @property
    def random(self) -> bool:
        return True

    def step(self, z: Tensor, clean: Tensor, now: Level, then: Level, noise: Tensor | None) -> Tensor:
        (alpha, sigma), (alpha_s, sigma_s) = now, then
        ratio = alpha / alpha_s
        gained = (sigma**2 - (ratio * sigma_s) ** 2).clamp_min(0)  # variance added between s and t
        mean = (ratio * sigma_s**2 * z + alpha_s * gained * clean) / sigma**2
        assert noise is not None
        return mean + gained.sqrt() * sigma_s / sigma * noise


class Ddim(Solver, name="ddim"):
    """The deterministic step of Song et al. 2021: the noise that was guessed is kept. First order."""

    def step(self, z: Tensor, clean: Tensor, now: Level, then: Level, noise: Tensor | None) -> Tensor:
        (alpha, sigma), (alpha_s, sigma_s) = now, then
        return alpha_s * clean + sigma_s / sigma * (z - alpha * clean)


class Heun(Solver, name="heun"):
    """The second-order step of Karras et al. 2022: Euler, then the mean of the slopes at both ends. Two calls a step."""

    stages: ClassVar[int] = 2

    def step(self, z: Tensor, clean: Tensor, now: Level, then: Level, noise: Tensor | None) -> Tensor:
        """The Euler step; `slope` and the corrected step are the sampler's."""
        return Ddim().step(z, clean, now, then, noise)


def slope(z: Tensor, clean: Tensor, level: Level) -> Tensor:
    """D y / d s of the probability-flow equation for y = z / alpha, s = sigma / alpha: the guessed noise."""
    alpha, sigma = level
    return (z - alpha * clean) / sigma


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
        count, width = rows.settled.shape
        alpha, sigma = process.schedule.grid(self.steps)
        first = (alpha[0] ** 2 + sigma[0] ** 2).sqrt().item()
        noise = rows.key.at("start").normal(tuple(rows.x.shape[1:])).to(rows.x)
        shown = rows.along["shown"]
        z = noise * (first * self.temperature)
        own = {
            **rows.own,
            "alpha": np.tile(alpha.numpy(), (count, 1)),
            "sigma": np.tile(sigma.numpy(), (count, 1)),
            "steps": np.full(count, self.steps),
            "step": np.zeros(count, np.int64),
            "second": np.zeros(count, bool),
            "temperature": np.full(count, self.temperature),
        }
        along = {
            **rows.along,
            "z": z,
            "base": torch.zeros_like(z),
            "slope": torch.zeros_like(z),
            "given": rows.x.clone(),
        }
        return replace(
            rows, x=torch.where(shown, rows.x, z), own=own, along=along, done=rows.done | rows.settled.all(1)
        )

    def ask(self, rows: Rows) -> Ask:
        place = np.where(rows.own["second"], rows.own["step"] + 1, rows.own["step"])
        alpha, sigma = self._level(rows, place)
        scale = (alpha**2 + sigma**2).sqrt()
        x = torch.where(rows.along["shown"], rows.along["given"], rows.along["z"] / scale)
        level = (sigma / alpha).log()[..., 0]
        return Ask(x=x, want=np.where(rows.done, -1, 0)[:, None], fixed=np.zeros(len(rows), np.int64), level=level)

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        live = guess.ready & ~rows.done
        step, second = rows.own["step"], rows.own["second"]
        now, then = self._level(rows, step), self._level(rows, step + 1)
        z, clean = rows.along["z"], guess.value.to(rows.along["z"])
        last = step + 1 >= rows.own["steps"]
        if self.solver.stages == 1:
            noise = None
            if self.solver.random:
                heat = torch.as_tensor(rows.own["temperature"]).to(z)[:, None, None]
                noise = rows.key.at("step", step).normal(tuple(z.shape[1:])).to(z) * heat
            after = self.solver.step(z, clean, now, then, noise)
            moved = live
        else:
            after = self._heun(rows, z, clean, now, then, second, last, live)
            moved = live & (second | last)
            rows.own["second"][live] = ~(second | last)[live]
        rows.along["z"][live] = after[live]
        rows.own["step"][moved] += 1
        finished = live & (rows.own["step"] >= rows.own["steps"])
        rows.x[:] = torch.where(rows.along["shown"], rows.along["given"], rows.along["z"])
        rows.settled[finished] = True
        rows.done[finished] = True
        return rows

    def _heun(
        self,
        rows: Rows,
        z: Tensor,
        clean: Tensor,
        now: Level,
        then: Level,
        second: np.ndarray[Any, np.dtype[np.bool_]],
        last: np.ndarray[Any, np.dtype[np.bool_]],
        live: np.ndarray[Any, np.dtype[np.bool_]],
    ) -> Tensor:
        """The Euler point of rows in their first stage (and of the last step), the corrected one of the others."""
        euler = self.solver.step(z, clean, now, then, None)
        first = slope(z, clean, now)
        (alpha, sigma), (alpha_s, sigma_s) = now, then
        width = sigma_s / alpha_s - sigma / alpha
        ahead = slope(z, clean, (alpha_s, sigma_s.clamp_min(1e-30)))
        base, old = rows.along["base"], rows.along["slope"]
        corrected = alpha_s * (base + width * (old + ahead) / 2)
        begins = torch.as_tensor(live & ~second)[:, None, None]
        rows.along["base"][:] = torch.where(begins, z / alpha, base)
        rows.along["slope"][:] = torch.where(begins, first, old)
        return torch.where(torch.as_tensor(second & ~last)[:, None, None], corrected, euler)

    def _level(self, rows: Rows, place: np.ndarray[Any, np.dtype[np.int64]]) -> Level:
        row = np.arange(len(rows))
        place = np.minimum(place, rows.own["steps"])
        like = rows.along["z"]
        alpha = torch.as_tensor(rows.own["alpha"][row, place]).to(like)[:, None, None]
        return alpha, torch.as_tensor(rows.own["sigma"][row, place]).to(like)[:, None, None]
