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
from seqloom.samplers.solvers import HISTORY, Level, Numbers, Solver, Step
from seqloom.sequence.guess import Ask, Gives, Guess

PLACES = np.array([1, *(-ago for ago in range(HISTORY + 1))])
"""Of the levels that a step is told, how many steps ahead of its own each is."""
ON_HOST = torch.zeros(0, dtype=torch.float64)


class Diffuse(Sampler, name="diffuse"):
    """From noise to data in `steps` steps. Cells that are shown stay as they are and enter the network clean."""

    takes: ClassVar[tuple[Gives, ...]] = (Gives.CLEAN, Gives.EMBEDDED_LOGITS)
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
        shape = (rows.x.shape[1], process.embedded) if rows.symbols else tuple(rows.x.shape[1:])
        like = torch.zeros((), device=rows.x.device) if rows.symbols else rows.x
        z = rows.key.at("start").normal(shape).to(like) * (first * self.temperature)
        shown = torch.as_tensor(rows.settled, device=rows.x.device) if rows.symbols else rows.along["shown"]
        own = {
            **rows.own,
            "alpha": np.tile(alpha.numpy(), (count, 1)),
            "sigma": np.tile(sigma.numpy(), (count, 1)),
            **self.settings(rows),
            "step": np.zeros(count, np.int64),
            "stage": np.zeros(count, np.int64),
            "held": shown.flatten(1).any(1).cpu().numpy(),
        }
        if getattr(process, "levels", "row") == "position":  # each has its own, and what is shown the least
            own["clean_level"] = np.full(count, process.schedule.span()[0])
        kept = {_kept(name): torch.zeros_like(z) for name in self.solver.keeps}
        return replace(
            rows,
            x=rows.x if rows.symbols else torch.where(shown, rows.x, z),
            own=own,
            along={**rows.along, **kept, "z": z, "shown": shown, "given": rows.x.clone()},
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
        alpha, sigma = self._levels(rows)
        z = rows.along["z"]
        scale, level = torch.from_numpy(np.stack([np.hypot(alpha, sigma), np.log(sigma / alpha)])).to(z)  # (B,) each
        x = noisy = z / scale[:, None, None]
        if rows.symbols:
            x = rows.along["given"]
        elif rows.own["held"].any():
            x = torch.where(rows.along["shown"], rows.along["given"], x)
        level = level[:, None]  # (B,1)
        if "clean_level" in rows.own:
            least = torch.as_tensor(rows.own["clean_level"]).to(level)[:, None]
            level = torch.where(rows.along["shown"].all(-1), least, level)  # (B,T)
        want, fixed = np.where(rows.done, -1, 0)[:, None], np.zeros(len(rows), np.int64)
        if rows.symbols:  # which of them may be made is said for each position
            want = np.where(rows.settled | rows.done[:, None], -1, np.arange(rows.settled.shape[1]))
        return Ask(x=x, want=want, fixed=fixed, level=level, noisy=noisy if rows.symbols else None)

    def _levels(self, rows: Rows) -> tuple[Numbers, Numbers]:
        """Alpha and sigma (B,) of what each row asks about."""
        each, stage = np.arange(len(rows)), rows.own["stage"]
        number = np.minimum(rows.own["step"], rows.own["steps"])
        alpha, sigma = rows.own["alpha"][each, number], rows.own["sigma"][each, number]
        for later in np.unique(stage[stage > 0]).tolist():
            chosen = np.flatnonzero(stage == later)
            level = self.solver.level(later, self._step(rows, chosen, ON_HOST))
            alpha[chosen], sigma[chosen] = (value.flatten().numpy() for value in level)
        return alpha, sigma

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        live = guess.ready & ~rows.done
        step, stage = rows.own["step"], rows.own["stage"]
        z, clean, along = rows.along["z"], guess.clean().to(rows.along["z"]), {**rows.along}
        for turn in np.unique(stage[live]).tolist():
            index = np.flatnonzero(live & (stage == turn))
            noise, whole = self._noise(rows, turn, index), len(index) == len(z)
            chosen = slice(None) if whole else torch.as_tensor(index, device=z.device)
            kept = {name: along[_kept(name)][chosen] for name in self.solver.keeps}
            moved = self.solver.advance(turn, z[chosen], clean[chosen], self._step(rows, index, z), kept, noise)
            for name, value in {"z": moved, **{_kept(name): kept[name] for name in self.solver.keeps}}.items():
                along[name] = value if whole else along[name].index_copy(0, torch.as_tensor(index), value)
        stage[live] += 1
        last = step + 1 >= rows.own["steps"]
        made = live & (stage >= np.where(last, self.solver.stages_to_end, self.solver.stages))
        stage[made] = 0
        step[made] += 1
        finished = live & (step >= rows.own["steps"])
        x = guess.elements(along["z"])
        if rows.own["held"].any():
            torch.where(along["shown"], along["given"], x, out=rows.x)
        else:
            rows.x.copy_(x)
        rows.settled[finished] = True
        rows.done[finished] = True
        return replace(rows, along=along)

    def _step(self, rows: Rows, index: NDArray[np.int64], like: Tensor) -> Step:
        """The step at which these rows are, its levels as tensors like this."""
        number = rows.own["step"][index]
        level_number = np.clip(number + PLACES[:, None], 0, rows.own["steps"][index])  # (2 + HISTORY,B)
        levels = np.stack([rows.own["alpha"][index, level_number], rows.own["sigma"][index, level_number]])
        return Step(number, levels, like)

    def _noise(self, rows: Rows, stage: int, index: NDArray[np.int64]) -> Tensor:
        """What a random solver adds (B,T,D), scaled by each row's temperature."""
        z: Tensor = rows.along["z"]
        if not self.solver.random:
            return z.new_zeros(1).expand(len(index), *z.shape[1:])
        temperature = torch.as_tensor(rows.own["temperature"][index]).to(z)[:, None, None]
        key = rows.key.select(index).at("step" if stage == 0 else f"step, stage {stage}", rows.own["step"][index])
        return key.normal(tuple(z.shape[1:])).to(z) * temperature


def _kept(name: str) -> str:
    """The name in `along` of a solver's state."""
    return f"solver.{name}"
