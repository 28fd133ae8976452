"""Unmasking in the order of how sure the model is: fewer calls, and another law than the model's."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqloom.samplers.base import Rows
from seqloom.samplers.places import PlaceSampler, asked, open_places
from seqloom.sequence.guess import Ask, Guess


class Confident(PlaceSampler, name="confident"):
    """Of the hidden symbols those are drawn first of which the model is surest.

    They are drawn independently of each other, so with less than one call a symbol the law is another. With `entropy`
    set, a call draws as many as the sum of their entropies but the largest allows (Ben-Hamu et al. 2025): by so many
    nats, at most, do they depend on each other, where the model's laws are those of one joint law.
    """

    by_row = ("entropy", *PlaceSampler.by_row)

    by: Literal["probability", "margin", "entropy"] = "probability"
    """What it is sure by: the probability of the likeliest symbol (Chang et al. 2022), how far it is above the second
    (Kim et al. 2025), or minus the entropy."""
    entropy: float = Field(default=0.0, ge=0)
    """Nats that the symbols of one call may depend on each other by; 0: as many symbols a call as `steps` says."""

    @property
    def draws(self) -> bool:
        return self.temperature > 0

    def start(self, process: Any, rows: Rows) -> Rows:
        return self.begun(process, rows, {"calls": np.zeros(len(rows), np.int64)}, {})

    def ask(self, rows: Rows) -> Ask:
        return asked(rows.x, open_places(rows))

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        log_probs = guess.value.double().log_softmax(-1)  # (B,K,V)
        entropy = -(log_probs.exp() * log_probs.clamp_min(-1e300)).sum(-1).cpu().numpy()
        surest = np.where(ask.want >= 0, self._sureness(log_probs, entropy), -np.inf)
        order = np.argsort(-surest, 1, kind="stable")
        counts = np.zeros(len(rows), np.int64)
        for number in np.nonzero(guess.ready & ~rows.done)[0].tolist():
            hidden = int((ask.want[number] >= 0).sum())
            counts[number] = self._count(rows, number, hidden, entropy[number, order[number, :hidden]])
            rows.own["calls"][number] = 0 if counts[number] == hidden else rows.own["calls"][number] + 1
        row, place = np.nonzero(np.arange(order.shape[1]) < counts[:, None])  # (N,) each
        rank = order[row, place]
        position = ask.want[row, rank]
        rows.x[row, position] = self.drawn(rows, ask, guess, (row, rank), rows.key.at("pick"))
        rows.settled[row, position] = True
        rows.done[:] |= rows.settled.all(1)
        return rows

    def _sureness(self, log_probs: Tensor, entropy: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.by == "entropy":
            return -entropy
        best = log_probs.exp().topk(min(2, log_probs.shape[-1]), -1).values.cpu().numpy()
        return np.asarray(best[..., 0] - best[..., 1] if self.by == "margin" and best.shape[-1] > 1 else best[..., 0])

    @staticmethod
    def _count(rows: Rows, row: int, hidden: int, entropy: NDArray[np.float64]) -> int:
        """How many symbols a row draws now, the entropies of the hidden ones standing in the order of drawing."""
        own = rows.own
        if own["entropy"][row]:
            dependent = np.cumsum(entropy) - np.maximum.accumulate(entropy)
            return max(1, int(np.searchsorted(dependent, own["entropy"][row] + 1e-12, side="right")))
        left = own["steps"][row] - own["calls"][row]
        return -(-hidden // int(left)) if own["steps"][row] and left > 0 else 1
