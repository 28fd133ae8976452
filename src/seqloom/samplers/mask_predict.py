"""Mask and predict: everything is drawn at once, and what the model is least sure of is drawn again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from pydantic import Field

from seqloom.samplers.base import Rows
from seqloom.samplers.places import PlaceSampler, asked, in_first_block
from seqloom.samplers.remask import hidden_symbol
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
        own = {
            **self.begun(process, rows),
            "step": np.zeros(len(rows), np.int64),
            "mask": hidden_symbol(rows),
        }
        along = {**rows.along, "again": ~rows.settled, "sure": np.zeros(rows.settled.shape)}
        return replace(rows, own=own, along=along, done=rows.done | rows.settled.all(1))

    def ask(self, rows: Rows) -> Ask:
        chosen = in_first_block(~rows.settled & ~rows.done[:, None], rows.own["block"]) & rows.along["again"]
        x = rows.x.clone()
        row, position = np.nonzero(~rows.settled & rows.along["again"])
        x[row, position] = torch.as_tensor(rows.own["mask"][row], device=x.device)
        return Ask(x=x, want=asked(chosen), fixed=np.zeros(len(rows), np.int64))

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
