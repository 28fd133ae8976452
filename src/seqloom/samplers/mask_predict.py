"""Mask and predict: everything is drawn at once, and what the model is least sure of is drawn again."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from seqloom.samplers.base import Rows
from seqloom.samplers.places import PlaceSampler, asked, hidden_symbol, hiding, in_first_block, open_places
from seqloom.sequence.guess import Ask, Guess


class MaskPredict(PlaceSampler, name="mask_predict"):
    """All hidden symbols are drawn in the first step, and fewer in each after it: those of the least probability.

    Step k of n draws the share 1 - k/n again, given the others (Ghazvininejad et al. 2019). Made for temperature 0 and
    about ten steps; the law is another than the model's.
    """

    steps: int = Field(default=10, ge=1)
    """Network calls; no more than there are symbols."""

    @property
    def draws(self) -> bool:
        return self.temperature > 0

    def start(self, process: object, rows: Rows) -> Rows:
        own = {"step": np.zeros(len(rows), np.int64), "mask": hidden_symbol(rows)}
        return self.begun(process, rows, own, {"again": ~rows.settled, "sure": np.zeros(rows.settled.shape)})

    def ask(self, rows: Rows) -> Ask:
        again = rows.along["again"]
        return asked(hiding(rows, ~rows.settled & again), open_places(rows) & again)

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        own, again, sure = rows.own, rows.along["again"], rows.along["sure"]
        live = guess.ready & ~rows.done
        row, rank = np.nonzero((ask.want >= 0) & live[:, None])  # (N,) each
        position = ask.want[row, rank]
        key = rows.key.at("pick", own["step"])
        symbols = self.drawn(rows, ask, guess, (row, rank), key, known=~again)
        rows.x[row, position] = symbols
        chance = guess.value[row, rank].double().log_softmax(-1).gather(-1, symbols.unsqueeze(-1))
        sure[row, position] = chance[:, 0].cpu().numpy()
        again[row, position] = False
        own["step"][live] += 1
        made = in_first_block(~rows.settled, own["block"])  # (B,T)
        steps = np.minimum(own["steps"], made.sum(1))
        left = np.where(own["step"] < steps, made.sum(1) * (steps - own["step"]) // np.maximum(steps, 1), 0)
        # Where nothing tells places from each other they are equally sure but for the last digits.
        order = np.argsort(np.where(made, sure.round(6), np.inf), 1, kind="stable")
        for number in np.nonzero(live)[0].tolist():
            again[number, order[number, : left[number]]] = True
            if not left[number]:
                rows.settled[number] |= made[number]
                own["step"][number] = 0  # of the next block
        rows.done[:] |= rows.settled.all(1)
        return rows
