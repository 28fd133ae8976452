"""Diffusion sampling: from noise to data along a grid of levels, by one of several solvers (a new one is one class)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqloom.core.config import Component
from seqloom.samplers.base import Rows, Sampler
from seqloom.sequence.guess import Ask, Gives, Guess

Level = tuple[Tensor, Tensor]
"""Signal alpha and noise sigma of each row, (B,1,1) both."""


@dataclass(frozen=True)
class Step:
    """A step of some rows: from level `now` to level `then`, and its number (B,) from 0 on."""

    now: Level
    then: Level
    number: NDArray[np.int64]

    def along(self, z: Tensor, clean: Tensor, level: Level) -> Tensor:
        """By how much z (B,T,D) moves in this step if all the way is as at `level`, where `clean` is guessed from z.

        The probability-flow equation is dz = clean d alpha + noise d sigma, along any way from one level to the other.
        """
        alpha, sigma = level
        noise = (z - alpha * clean) / sigma
        return (self.then[0] - self.now[0]) * clean + (self.then[1] - self.now[1]) * noise


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
        (alpha, sigma), (alpha_s, sigma_s) = step.now, step.then
        ratio = alpha / alpha_s
        gained = (sigma**2 - (ratio * sigma_s) ** 2).clamp_min(0)  # variance added between s and t
        mean = (ratio * sigma_s**2 * z + alpha_s * gained * clean) / sigma**2
        return mean + gained.sqrt() * sigma_s / sigma * noise


class Euler(Solver, name="euler"):
    """One step along the present slope; for a diffusion that is DDIM (Song et al. 2021). First order."""

    def advance(
        self, stage: int, z: Tensor, clean: Tensor, step: Step, kept: dict[str, Tensor], noise: Tensor
    ) -> Tensor:
        return z + step.along(z, clean, step.now)


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


class Diffuse(Sampler, name="diffuse"):
    """From noise to data in `steps` steps. Cells that are shown stay as they are and enter the network clean."""

    takes: ClassVar[tuple[Gives, ...]] = (Gives.CLEAN,)
    by_row: ClassVar[tuple[str, ...]] = ("steps", "temperature")

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
            **self.settings(rows),
            "step": np.zeros(count, np.int64),
            "stage": np.zeros(count, np.int64),
        }
        if getattr(process, "levels", "row") == "position":  # each has its own, and what is shown the least
            own["clean_level"] = np.full(count, process.schedule.span()[0])
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
        step = self._step(rows)
        alpha, sigma = step.now
        for stage in np.unique(rows.own["stage"]).tolist():
            in_stage = torch.as_tensor(rows.own["stage"] == stage, device=alpha.device)[:, None, None]
            of_stage = self.solver.level(stage, step)
            alpha, sigma = torch.where(in_stage, of_stage[0], alpha), torch.where(in_stage, of_stage[1], sigma)
        scale = (alpha**2 + sigma**2).sqrt()  # (B,1,1)
        x = torch.where(rows.along["shown"], rows.along["given"], rows.along["z"] / scale)
        level = (sigma / alpha).log()[..., 0]  # (B,1)
        if "clean_level" in rows.own:
            least = torch.as_tensor(rows.own["clean_level"]).to(level)[:, None]
            level = torch.where(rows.along["shown"].all(-1), least, level)  # (B,T)
        return Ask(x=x, want=np.where(rows.done, -1, 0)[:, None], fixed=np.zeros(len(rows), np.int64), level=level)

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        live = guess.ready & ~rows.done
        step, stage = rows.own["step"], rows.own["stage"]
        z, clean = rows.along["z"], guess.value.to(rows.along["z"])
        for turn in range(self.solver.stages):
            index = np.nonzero(live & (stage == turn))[0]
            if not len(index):
                continue
            chosen = slice(None) if len(index) == len(z) else torch.as_tensor(index, device=z.device)
            kept = {name: rows.along[_kept(name)][chosen].clone() for name in self.solver.keeps}
            noise = self._noise(rows, turn, index)
            moved = self.solver.advance(turn, z[chosen], clean[chosen], self._step(rows, index), kept, noise)
            for name in self.solver.keeps:
                rows.along[_kept(name)][chosen] = kept[name]
            z[chosen] = moved
        stage[live] += 1
        last = step + 1 >= rows.own["steps"]
        made = live & (stage >= np.where(last, self.solver.stages_to_end, self.solver.stages))
        stage[made] = 0
        step[made] += 1
        finished = live & (step >= rows.own["steps"])
        rows.x[:] = torch.where(rows.along["shown"], rows.along["given"], guess.elements(z))
        rows.settled[finished] = True
        rows.done[finished] = True
        return rows

    def _step(self, rows: Rows, index: NDArray[np.int64] | None = None) -> Step:
        """The step at which these rows are (None: all)."""
        index = np.arange(len(rows)) if index is None else index
        number = rows.own["step"][index]
        level_number = np.minimum([number, number + 1], rows.own["steps"][index])  # (2,B)
        levels = np.stack([rows.own["alpha"][index, level_number], rows.own["sigma"][index, level_number]])
        alpha, sigma = torch.as_tensor(levels).to(rows.along["z"])[..., None, None]  # (2,B,1,1) each
        return Step((alpha[0], sigma[0]), (alpha[1], sigma[1]), number)

    def _noise(self, rows: Rows, stage: int, index: NDArray[np.int64]) -> Tensor:
        """What a random solver adds (B,T,D), scaled by each row's temperature."""
        z: Tensor = rows.along["z"]
        if not self.solver.random:
            return z.new_zeros(len(index), *z.shape[1:])
        temperature = torch.as_tensor(rows.own["temperature"][index]).to(z)[:, None, None]
        key = rows.key.select(index).at("step" if stage == 0 else f"step, stage {stage}", rows.own["step"][index])
        return key.normal(tuple(z.shape[1:])).to(z) * temperature


def _kept(name: str) -> str:
    """The name in `along` of a solver's state."""
    return f"solver.{name}"
