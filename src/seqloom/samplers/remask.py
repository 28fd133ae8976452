"""Unmasking that takes back: what was revealed may be hidden again, so that errors can be mended."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import Field

from seqloom.samplers.base import Rows
from seqloom.samplers.places import PlaceSampler, asked, hidden_symbol, in_first_block, open_places
from seqloom.sequence.guess import Ask, Guess


class Remask(PlaceSampler, name="remask"):
    """Reverse steps of which each hides again a share of what stands there (ReMDM, Wang et al. 2025).

    How many symbols are hidden at each time has the law of the process all the same. Nothing is final before the last
    step.
    """

    steps: int = Field(default=64, ge=1)
    """Steps from all hidden to none; more than there are symbols are of use here."""
    again: float = Field(default=0.04, ge=0, le=1)
    """The probability with which a symbol is hidden again in a step, as far as the time allows; 0: `unmask`."""

    by_row = ("again", *PlaceSampler.by_row)

    def start(self, process: Any, rows: Rows) -> Rows:
        alpha = process.schedule.alpha(torch.linspace(1, 0, self.steps + 1, dtype=torch.float64)).numpy()
        own = {
            "alpha": np.tile(np.clip(alpha, 0, 1), (len(rows), 1)),
            "step": np.zeros(len(rows), np.int64),
            "mask": hidden_symbol(rows),
        }
        return self.begun(process, rows, own, {"hidden": ~rows.settled})

    def ask(self, rows: Rows) -> Ask:
        revealed, _ = self._moves(rows)
        return asked(rows.x, revealed)

    def _moves(self, rows: Rows) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Which symbols (B,T) are revealed in this step, and which are hidden again."""
        own = rows.own
        each, step = np.arange(len(rows)), np.minimum(own["step"], own["steps"] - 1)
        now, then = own["alpha"][each, step], own["alpha"][each, step + 1]  # what is left then is more
        again = np.minimum(own["again"], (1 - then) / np.maximum(now, 1e-12))
        reveal = (then - (1 - again) * now) / np.maximum(1 - now, 1e-12)
        u = rows.key.at("move", own["step"]).uniform(rows.settled.shape[1])
        made = open_places(rows)
        hidden = rows.along["hidden"]
        revealed = made & hidden & ((u < reveal[:, None]) | (own["step"] + 1 >= own["steps"])[:, None])
        return revealed, made & ~hidden & (u < again[:, None])

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        own, hidden = rows.own, rows.along["hidden"]
        live = ~rows.done & (guess.ready | (ask.want < 0).all(1))
        _, again = self._moves(rows)
        row, rank = np.nonzero((ask.want >= 0) & live[:, None])
        position = ask.want[row, rank]
        rows.x[row, position] = self.drawn(
            rows, ask, guess, (row, rank), rows.key.at("pick", own["step"]), known=~hidden
        )
        hidden[row, position] = False
        row, position = np.nonzero(again & live[:, None])
        rows.x[row, position] = torch.as_tensor(own["mask"][row], device=rows.x.device)
        hidden[row, position] = True
        own["step"][live] += 1
        over = live & (own["step"] >= own["steps"])
        finished = in_first_block(~rows.settled & over[:, None], own["block"])
        rows.settled[finished] = True
        own["step"][over] = 0  # of the next block
        rows.done[:] |= rows.settled.all(1)
        return rows
