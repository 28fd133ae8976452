"""Reverse steps of uniform diffusion: every symbol may change until the end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from seqloom.core.rng import pick
from seqloom.samplers.base import Rows
from seqloom.samplers.truncation import TokenSampler, tempered, truncate
from seqloom.sequence.guess import Ask, Gives, Guess
from seqloom.sequence.replacing import before


class Denoise(TokenSampler, name="denoise"):
    """From symbols at random to a sample in `steps` steps, each drawn given what the network guesses (D3PM).

    Symbols of one step are drawn independently, so few steps have another law than many.
    """

    takes: ClassVar[tuple[Gives, ...]] = (Gives.NOISY_LOGITS,)
    by_row: ClassVar[tuple[str, ...]] = ("steps", *TokenSampler.by_row)

    steps: int = Field(default=64, ge=1)
    """Network calls."""

    def start(self, process: Any, rows: Rows) -> Rows:
        alpha = process.schedule.alpha(torch.linspace(1, 0, self.steps + 1, dtype=torch.float64)).clamp(0, 1)
        u = rows.key.at("start").uniform(rows.settled.shape[1])
        noise = torch.as_tensor((u * rows.symbols).astype(np.int64), device=rows.x.device)
        shown = torch.as_tensor(rows.settled, device=rows.x.device)
        own = {
            **rows.own,
            **self.settings(rows),
            "alpha": np.tile(alpha.numpy(), (len(rows), 1)),
            "step": np.zeros(len(rows), np.int64),
        }
        x = torch.where(shown, rows.x, noise)
        return replace(rows, x=x, own=own, along={**rows.along, "shown": shown}, done=rows.done | rows.settled.all(1))

    def ask(self, rows: Rows) -> Ask:
        now, _ = self._levels(rows)
        position = np.arange(rows.x.shape[1])
        want = np.where(rows.settled | rows.done[:, None], -1, position)
        return Ask(x=rows.x, want=want, fixed=np.zeros(len(rows), np.int64), level=now)

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        own = rows.own
        row, position = np.nonzero((ask.want >= 0) & (guess.ready & ~rows.done)[:, None])  # (N,) each
        settings = {name: own[name][row] for name in self.by_row}
        logits = truncate(tempered(guess.value[row, position, : rows.symbols], settings), settings)
        greedy = torch.as_tensor(settings["temperature"] == 0, device=logits.device).unsqueeze(-1)
        logits = logits.masked_fill(greedy & (logits < logits.amax(-1, keepdim=True)), -torch.inf)
        now, then = (level[row, 0] for level in self._levels(rows))
        chance = before(logits, rows.x[row, position], now, then)  # (N,V)
        u = rows.key.at("pick", own["step"]).uniform(rows.x.shape[1])[row, position]
        rows.x[row, position] = pick(chance.log(), u)
        live = guess.ready & ~rows.done
        own["step"][live] += 1
        finished = live & (own["step"] >= own["steps"])
        rows.settled[finished] = True
        rows.done[finished] = True
        return rows

    @staticmethod
    def _levels(rows: Rows) -> tuple[Tensor, Tensor]:
        """The shares (B,1) of symbols that are left now, and after this step."""
        each, step = np.arange(len(rows)), np.minimum(rows.own["step"], rows.own["steps"] - 1)
        shares = np.stack([rows.own["alpha"][each, step], rows.own["alpha"][each, step + 1]])
        now, then = torch.as_tensor(shares, device=rows.x.device).unsqueeze(-1)
        return now, then
