"""Diffusion sampling: from noise to data along a grid of levels, by a solver."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqloom.samplers.base import Rows, Sampler
from seqloom.samplers.multistep import UniPC
from seqloom.samplers.solvers import HISTORY, Level, Solver, Step
from seqloom.sequence.guess import Ask, Gives, Guess


class Diffuse(Sampler, name="diffuse"):
    """From noise to data in `steps` steps. Cells that are shown stay as they are and enter the network clean."""

    takes: ClassVar[tuple[Gives, ...]] = (Gives.CLEAN,)
    by_row: ClassVar[tuple[str, ...]] = ("steps", "temperature")

    solver: Solver = UniPC()
    """How one step is made."""
    steps: int = Field(default=12, ge=1)
    """Steps from noise to data."""
    least: float = Field(default=0.02, gt=0)
    """The last level before none: the noise that is left, in units of the data's spread."""
    most: float = Field(default=80.0, gt=0)
    """The first level. Long smooth sequences need more noise than short rough ones."""
    rho: float = Field(default=0.0, ge=0)
    """Power in which levels are even (7 in Karras et al. 2022); 0: even in their logarithm, the first step double."""
    temperature: float = Field(default=1.0, ge=0)
    """Scales the noise that is drawn."""

    def start(self, process: Any, rows: Rows) -> Rows:
        count = len(rows)
        alpha, sigma = self.levels(process)
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

    def levels(self, process: Any) -> Level:
        """The levels (steps + 1,) from the most noise to none, within what the schedule has in training."""
        alpha, sigma = process.schedule.at(torch.tensor([0.0, 1.0], dtype=torch.float64))
        low, high = (sigma / alpha).tolist()
        most, least = min(self.most, high), max(self.least, low)
        share = torch.linspace(0, 1, self.steps, dtype=torch.float64)
        if self.rho:
            low, high = least ** (1 / self.rho), most ** (1 / self.rho)
            ratio = (high + share * (low - high)) ** self.rho
        else:  # where nearly all is noise guesses change little, so the first step goes twice as far
            share = torch.arange(1, self.steps + 1, dtype=torch.float64) / max(2, self.steps)
            share[0] = 0.0
            ratio = most * (least / most) ** share
        way: Level = process.schedule.path(torch.cat([ratio, ratio.new_zeros(1)]))
        return way

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
        level_number = np.stack([number + 1, *(number - ago for ago in range(HISTORY + 1))])  # (2 + HISTORY,B)
        level_number = np.clip(level_number, 0, rows.own["steps"][index])
        levels = np.stack([rows.own["alpha"][index, level_number], rows.own["sigma"][index, level_number]])
        alpha, sigma = torch.as_tensor(levels).to(rows.along["z"])[..., None, None]  # (2 + HISTORY,B,1,1) each
        then, now, *before = zip(alpha, sigma, strict=True)
        return Step(now, then, number, tuple(before), levels)

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
