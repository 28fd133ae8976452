"""Unmasking: the hidden symbols of a canvas are revealed in a random order."""

from __future__ import annotations

from typing import Any

import numpy as np

from seqloom.samplers.base import Rows
from seqloom.samplers.places import PlaceSampler, asked, open_places
from seqloom.sequence.guess import Ask, Guess


class Unmask(PlaceSampler, name="unmask"):
    """Every hidden symbol has a time at which it appears, given those that have appeared before.

    With steps=0 they appear one by one: first hitting (Zheng et al. 2024), exactly the reverse process. With
    fewer steps, those whose times lie in one step appear together, drawn independently.
    """

    def start(self, process: Any, rows: Rows) -> Rows:
        return self.begun(process, rows, {}, {"reveal": self.turns(process, rows)})

    def ask(self, rows: Rows) -> Ask:
        hidden = open_places(rows)
        reveal = np.where(hidden, rows.along["reveal"], -np.inf)
        chosen = (reveal == reveal.max(1, keepdims=True)) & hidden  # (B,T)
        return asked(rows.x, chosen)

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        live = (ask.want >= 0) & (guess.ready & ~rows.done)[:, None]
        row, rank = np.nonzero(live)
        position = ask.want[row, rank]
        rows.x[row, position] = self.drawn(rows, ask, guess, (row, rank), rows.key.at("pick"))
        rows.settled[row, position] = True
        rows.done[:] |= rows.settled.all(1)
        return rows
