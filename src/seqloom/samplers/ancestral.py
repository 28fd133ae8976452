"""Ancestral sampling: one element after another, each from the model's own distribution or its head's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqloom.core.errors import UnsupportedQuery
from seqloom.core.rng import pick
from seqloom.samplers.base import Following, Rows
from seqloom.samplers.penalties import penalised, unpenalised
from seqloom.samplers.truncation import TokenSampler, draw, tempered, untouched
from seqloom.sequence.guess import Ask, Gives, Guess


class Ancestral(TokenSampler, name="ancestral"):
    """Left to right, each element drawn given those before it: without truncation, the model's own distribution."""

    takes: ClassVar[tuple[Gives, ...]] = (Gives.NEXT_LOGITS, Gives.NEXT_PARAMS)

    by_row: ClassVar[tuple[str, ...]] = (*TokenSampler.by_row, "mirostat", "mirostat_rate")

    mirostat: float = Field(default=0.0, ge=0)
    """The mean surprise to hold, in bits a symbol (Mirostat 2, Basu et al. 2021; 0: it is not held)."""
    mirostat_rate: float = Field(default=0.1, gt=0)
    """How fast the largest surprise that is allowed follows what was drawn."""

    @property
    def draws(self) -> bool:
        return self.temperature > 0

    def check(self, gives: Gives, *, conditioned: bool, networks: int) -> None:
        super().check(gives, conditioned=conditioned, networks=networks)
        if gives is Gives.NEXT_PARAMS and self.mirostat:
            raise UnsupportedQuery(
                "sampler.mirostat holds the surprise of symbols, and this is a model of numbers", hint="leave it out"
            )

    def start(self, process: Any, rows: Rows) -> Rows:
        position = first_open(rows)
        done = rows.done | (position >= rows.length)
        own = {**rows.own, **self.settings(rows), "at": position, "most": np.full(len(rows), 2 * self.mirostat)}
        return replace(rows, own=own, done=done)

    def ask(self, rows: Rows) -> Ask:
        position = rows.own["at"]
        return Ask(x=rows.x, want=np.where(rows.done, -1, position)[:, None], fixed=position)

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        live = np.nonzero(guess.ready & ~rows.done)[0]
        position = rows.own["at"]
        key = rows.key.at("pick", position)
        if guess.head is None:
            chosen = self._drawn(penalised(guess.value[:, 0], rows, position), key.uniform(1)[:, 0], rows, live)
        else:
            params = guess.value[:, 0].double()  # rounded after the draw: then its last digit depends on no other rows
            chosen = guess.head.draw(params, key, torch.as_tensor(rows.own["temperature"])).to(rows.x)
        rows.x[live, position[live]] = chosen[live]
        rows.settled[live, position[live]] = True
        position[live] += 1
        rows.done[live] |= position[live] >= rows.length[live]
        return rows

    @staticmethod
    def _drawn(logits: Tensor, u: NDArray[np.float64], rows: Rows, live: NDArray[np.int64]) -> Tensor:
        """Symbols (B,) by the settings of their rows; what surprise is allowed moves with that of the live ones."""
        own, target = rows.own, rows.own["mirostat"]
        if not target.any():
            return draw(logits, u, own)
        least = np.where(target > 0, 2.0 ** -own["most"], 0.0)
        chosen = draw(logits, u, {**own, "epsilon": np.maximum(own["epsilon"], least)})
        log_prob = tempered(logits, own).double().log_softmax(-1).gather(-1, chosen.unsqueeze(-1))[:, 0]
        surprise = -log_prob.cpu().numpy() / np.log(2)
        own["most"][live] -= (own["mirostat_rate"] * np.where(target > 0, surprise - target, 0.0))[live]
        return chosen

    def ahead(self, rows: Rows) -> int:
        if rows.x.ndim > 2 or rows.own["mirostat"].any() or not unpenalised(rows.own):
            return 0
        return int((rows.length - rows.own["at"]).min())

    def run_on(self, rows: Rows, most: int, following: Following) -> Rows:
        position, each = rows.own["at"], np.arange(len(rows))
        at = position[:, None] + np.arange(most)  # (B,most)
        u = rows.key.select(np.repeat(each, most)).at("pick", at.ravel()).uniform(1).reshape(at.shape)
        place = torch.as_tensor(at, device=rows.x.device)
        element, made, plain = rows.x[each, position - 1], 0, untouched(rows.own)
        if plain and (drawn := following.drawn(element, u)) is not None:
            made = drawn.shape[1]
            rows.x.scatter_(1, place[:, :made], drawn)
            return self._made(rows, at[:, :made])
        while (value := following(element)) is not None:
            element = pick(value, u[:, made]) if plain else draw(value, u[:, made], rows.own)
            rows.x.scatter_(1, place[:, made : made + 1], element.unsqueeze(1))
            made += 1
        return self._made(rows, at[:, :made])

    @staticmethod
    def _made(rows: Rows, at: NDArray[np.int64]) -> Rows:
        """The rows after the elements at these positions (B,K) were made."""
        rows.settled[np.arange(len(rows))[:, None], at] = True
        rows.own["at"] += at.shape[1]
        rows.done[:] |= rows.own["at"] >= rows.length
        return rows


def first_open(rows: Rows) -> NDArray[np.int64]:
    """The position (B,) from which each row is to be made; UnsupportedQuery where something is known after it."""
    first = rows.settled.argmin(1)
    first = np.where(rows.settled.all(1), rows.length, first)
    position = np.arange(rows.settled.shape[1])
    given = rows.along["shown"].any(-1).cpu().numpy() if "shown" in rows.along else rows.settled
    if ((rows.settled | given) & (position >= first[:, None]) & (position < rows.length[:, None])).any():
        numbers = rows.x.is_floating_point()
        others = "process=gaussian or process=flow" if numbers else "process=masked, or with process.infill=0.5"
        raise UnsupportedQuery(
            "an autoregressive model can only go on from a prefix; something is known after a gap",
            hint=f"use extend, or a model trained with {others}",
        )
    return first
