"""Unmasking: the hidden symbols of a canvas are revealed in a random order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from seqloom.core.rng import to_uniform
from seqloom.samplers.base import Rows
from seqloom.samplers.penalties import penalised
from seqloom.samplers.truncation import TokenSampler, draw
from seqloom.sequence.guess import Ask, Gives, Guess


class Unmask(TokenSampler, name="unmask"):
    """Every hidden symbol has a time at which it appears, given those that have appeared before.

    With steps=0 they appear one by one: first hitting (Zheng et al. 2024), exactly the reverse process. With
    fewer steps, those whose times lie in one step appear together, drawn independently.
    """

    takes: ClassVar[tuple[Gives, ...]] = (Gives.PLACE_LOGITS,)

    by_row: ClassVar[tuple[str, ...]] = ("steps", *TokenSampler.by_row)

    steps: int = Field(default=0, ge=0)
    """Network calls at most; 0: one for each symbol."""

    def start(self, process: Any, rows: Rows) -> Rows:
        width = rows.settled.shape[1]
        uniform = rows.key.at("reveal").uniform(width)
        if self.steps:  # the share that has appeared by each step is the schedule's, at even times
            time = process.schedule.time(torch.as_tensor(1 - uniform)).numpy()  # the time at which each appears
            uniform = np.ceil(time * self.steps)
        own = {**rows.own, **self.settings(rows)}
        return replace(rows, own=own, along={**rows.along, "reveal": uniform}, done=rows.done | rows.settled.all(1))

    def ask(self, rows: Rows) -> Ask:
        reveal = np.where(rows.settled | rows.done[:, None], -np.inf, rows.along["reveal"])
        next_up = reveal == reveal.max(1, keepdims=True)
        chosen = next_up & ~rows.settled & ~rows.done[:, None]  # (B,T)
        width = max(1, int(chosen.sum(1).max(initial=1)))
        want = np.full((len(rows), width), -1)  # (B,K)
        row, position = np.nonzero(chosen)  # (N,) each
        rank = np.cumsum(chosen, 1)[row, position] - 1
        want[row, rank] = position
        return Ask(x=rows.x, want=want, fixed=np.zeros(len(rows), np.int64))

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        live = (ask.want >= 0) & (guess.ready & ~rows.done)[:, None]
        row, rank = np.nonzero(live)
        position = ask.want[row, rank]
        u = to_uniform(rows.key.at("pick").select(row).words(position[:, None]))
        own = {name: rows.own[name][row] for name in self.by_row}
        chosen = draw(penalised(guess.value[row, rank], rows, position, row), u[:, 0], own)
        rows.x[row, position] = chosen
        rows.settled[row, position] = True
        rows.done[:] |= rows.settled.all(1)
        return rows
