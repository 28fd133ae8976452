"""Unmasking: the hidden symbols of a canvas are revealed in a random order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from seqloom.samplers.base import Rows
from seqloom.samplers.places import PlaceSampler, asked, in_first_block
from seqloom.sequence.guess import Ask, Guess


class Unmask(PlaceSampler, name="unmask"):
    """Every hidden symbol has a time at which it appears, given those that have appeared before.

    With steps=0 they appear one by one: first hitting (Zheng et al. 2024), exactly the reverse process. With
    fewer steps, those whose times lie in one step appear together, drawn independently.
    """

    def start(self, process: Any, rows: Rows) -> Rows:
        along = {**rows.along, "reveal": self.turns(process, rows)}
        return replace(rows, own=self.begun(process, rows), along=along, done=rows.done | rows.settled.all(1))

    def ask(self, rows: Rows) -> Ask:
        hidden = in_first_block(~rows.settled & ~rows.done[:, None], rows.own["block"])
        reveal = np.where(hidden, rows.along["reveal"], -np.inf)
        chosen = (reveal == reveal.max(1, keepdims=True)) & hidden  # (B,T)
        return Ask(x=rows.x, want=asked(chosen), fixed=np.zeros(len(rows), np.int64))

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        live = (ask.want >= 0) & (guess.ready & ~rows.done)[:, None]
        row, rank = np.nonzero(live)
        position = ask.want[row, rank]
        rows.x[row, position] = self.drawn(rows, ask, guess, (row, rank), rows.key.at("pick"))
        rows.settled[row, position] = True
        rows.done[:] |= rows.settled.all(1)
        return rows
