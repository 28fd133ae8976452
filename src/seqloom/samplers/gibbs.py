"""Unmasking and mending: what was drawn together is drawn again, given all the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import Field

from seqloom.samplers.base import Rows
from seqloom.samplers.places import PlaceSampler, asked, hidden_symbol, hiding, in_first_block, open_places
from seqloom.sequence.guess import Ask, Guess


class Gibbs(PlaceSampler, name="gibbs"):
    """A predictor, `unmask` in `steps` calls, and a corrector: sweeps of Gibbs sampling (Geman & Geman 1984).

    A sweep draws every symbol that was made once more, in random order, `at_once` in a call. With one in a call the
    law comes nearer to the model's with every sweep, where the model's laws are those of one joint law.
    """

    steps: int = Field(default=8, ge=0)
    """Network calls of the predictor at most; 0: one for each symbol."""
    sweeps: int = Field(default=2, ge=0)
    """How often every symbol is drawn again."""
    at_once: int = Field(default=1, ge=1)
    """Symbols that are drawn again in one call, independently."""

    by_row = ("sweeps", "at_once", *PlaceSampler.by_row)

    def start(self, process: Any, rows: Rows) -> Rows:
        none = np.zeros(len(rows), np.int64)
        own = {"sweep": none, "call": none.copy(), "mask": hidden_symbol(rows)}
        left = ~rows.settled  # what this sweep is still to draw
        return self.begun(process, rows, own, {"reveal": self.turns(process, rows), "left": left})

    def ask(self, rows: Rows) -> Ask:
        chosen = self._chosen(rows)
        return asked(hiding(rows, chosen), chosen)

    def _chosen(self, rows: Rows) -> np.ndarray[Any, Any]:
        """The positions (B,T) that are drawn now: the next to be revealed, then those whose turn it is in a sweep."""
        own = rows.own
        open_ones = open_places(rows) & rows.along["left"]
        order = rows.key.at("sweep", own["sweep"]).uniform(rows.settled.shape[1])
        order = np.where((own["sweep"] == 0)[:, None], rows.along["reveal"], order)
        order = np.where(open_ones, order, -np.inf)
        least = order.max(1)
        if (own["sweep"] > 0).any():
            ranked = -np.sort(-order, 1)
            last = np.minimum(own["at_once"], np.maximum(open_ones.sum(1), 1)) - 1
            least = np.where(own["sweep"] > 0, ranked[np.arange(len(rows)), last], least)
        return np.asarray(open_ones & (order >= least[:, None]))

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        own, left = rows.own, rows.along["left"]
        live = guess.ready & ~rows.done
        row, rank = np.nonzero((ask.want >= 0) & live[:, None])
        position = ask.want[row, rank]
        known = rows.x.ne(torch.as_tensor(own["mask"], device=rows.x.device).unsqueeze(1)).cpu().numpy()
        known[row, position] = False
        rows.x[row, position] = self.drawn(rows, ask, guess, (row, rank), rows.key.at("pick", own["call"]), known)
        left[row, position] = False
        own["call"][live] += 1
        block = in_first_block(~rows.settled, own["block"])
        over = live & ~(block & left).any(1)
        own["sweep"][over] += 1
        final = over & (own["sweep"] > own["sweeps"])
        left[block & (over & ~final)[:, None]] = True
        rows.settled[block & final[:, None]] = True
        own["sweep"][final] = 0  # of the next block
        rows.done[:] |= rows.settled.all(1)
        return rows
