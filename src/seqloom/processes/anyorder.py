"""One network for both: exact from left to right, and any gap in any order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from seqloom.core.rng import Rng
from seqloom.processes.base import Likelihood, Loss, Net, Process, stateless, strata
from seqloom.processes.block import guessed, masked_spec, one_by_one, read
from seqloom.processes.schedules import LinearMasking, Masking, Masks
from seqloom.sequence.batch import Batch
from seqloom.sequence.guess import Ask, Gives, Guess
from seqloom.sequence.space import Space
from seqloom.sequence.spec import NetworkSpec
from seqloom.sequence.state import NetState


class AnyOrder(Process, name="anyorder"):
    """Rows of training are read from left to right or masked at random: exact in that order, and gaps can be filled.

    With attention a row from left to right teaches every symbol of it; with other mixers one symbol a row.
    """

    gives: ClassVar[Gives] = Gives.PLACE_LOGITS
    sampler: ClassVar[str] = "unmask"

    left: float = Field(default=0.5, ge=0, le=1)
    """The share of the rows that are read from left to right."""
    schedule: Masking = LinearMasking()
    """How fast symbols vanish in the others."""
    masks: Masks = "counted"
    """`independent`: each symbol by itself, as the papers have it; `counted`: as many as are due: less variance."""

    @property
    def likeliest(self) -> Mapping[str, Any]:
        # In small blocks: of a whole hidden canvas it is surest where the text has ended, and answers would be short.
        return {"name": "confident", "temperature": 0.0, "block": 4}

    @property
    def block_size(self) -> int | None:
        return 1

    def spec(self, space: Space) -> NetworkSpec:
        return masked_spec(space)

    def module(self, space: Space) -> nn.Module | None:
        return self.schedule.module()

    def loss(self, net: Net, batch: Batch, rng: Rng, state: Any = None, drop: Rng | None = None) -> Loss:
        ordered = (float(rng.at("left").uniform(1)[0, 0]) + np.arange(len(batch.x)) * self.left) % 1.0 < self.left
        return Loss(self._nats(net, batch, rng, ordered, drop, training=True).sum(), batch.wanted.sum())

    def likelihoods(self) -> dict[str, Likelihood]:
        exact = stateless(lambda net, batch, rng: one_by_one(net, batch))
        bound = stateless(lambda net, batch, rng: self._nats(net, batch, rng, np.zeros(len(batch.x), bool)))
        return {
            "likelihood": Likelihood("exact", "windows", exact, share=64),
            "likelihood_any_order": Likelihood("bound", "windows", bound, draws=8),
        }

    def _nats(
        self, net: Net, batch: Batch, rng: Rng, ordered: Any, drop: Rng | None = None, training: bool = False
    ) -> Tensor:
        """The terms (B,T) of the loss: of `ordered` rows (B,) from left to right, else one draw of the bound."""
        rows, steps = batch.x.shape
        device = batch.x.device
        t = strata(rng, rows, device)
        u = torch.as_tensor(rng.at("mask").uniform(steps), device=device)
        schedule = self.schedule.learned(net.own)
        masked, weight = schedule.masked(self.masks, t, u, batch.wanted)
        weight = weight.unsqueeze(1)
        position, left = torch.arange(steps, device=device), torch.as_tensor(ordered, device=device).unsqueeze(1)
        own, each = batch.wanted, torch.ones_like(weight)
        if not net.separable:  # one symbol a row, for all
            chosen = u.masked_fill(~batch.wanted, -1.0).argmax(1, keepdim=True)
            own, each = batch.wanted & (position == chosen), batch.wanted.sum(1, keepdim=True).to(weight)
        masked, weight = torch.where(left, own, masked), torch.where(left, each, weight)
        nats = read(net, batch, masked, position * left, drop, alone=not np.any(ordered))
        if training:
            self.schedule.learn(net.own, self.masks, t, masked & ~left, batch.wanted & ~left, nats)
        return nats * weight.to(nats.dtype)

    def guess(
        self, net: Net, ask: Ask, state: NetState | None, limit: int | None = None
    ) -> tuple[Guess, NetState | None]:
        hidden = ask.x.eq(net.spec.mask or 0)
        if ask.present is not None:
            hidden = hidden | ~ask.present
        hidden_there = hidden.cpu().numpy()
        first = np.where(hidden_there.any(1), hidden_there.argmax(1), hidden_there.shape[1])
        known = np.cumsum(~hidden_there[:, ::-1], 1)[:, ::-1]  # symbols that are known from each position on
        after = np.take_along_axis(known, np.minimum(first, known.shape[1] - 1)[:, None], 1)[:, 0]
        # What is next after all that is known is asked for as in a row from left to right, all else as in the others.
        next_one = (ask.want.max(1) == first) & ((ask.want >= 0).sum(1) == 1) & (after == 0)
        return guessed(net, ask, np.arange(hidden_there.shape[1]) * next_one[:, None]), state
