"""Ancestral sampling: one element after another, each from the model's own distribution or its head's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqloom.core.errors import UnsupportedQuery
from seqloom.core.rng import pick
from seqloom.samplers.base import Rows
from seqloom.samplers.truncation import TokenSampler, draw, untouched
from seqloom.sequence.guess import Ask, Gives, Guess


class Ancestral(TokenSampler, name="ancestral"):
    """Left to right, each element drawn given those before it: without truncation, the model's own distribution."""

    takes: ClassVar[tuple[Gives, ...]] = (Gives.NEXT_LOGITS, Gives.NEXT_PARAMS)

    def start(self, process: Any, rows: Rows) -> Rows:
        position = first_open(rows)
        done = rows.done | (position >= rows.length)
        return replace(rows, own={**rows.own, **self.settings(rows), "at": position}, done=done)

    def ask(self, rows: Rows) -> Ask:
        position = rows.own["at"]
        return Ask(x=rows.x, want=np.where(rows.done, -1, position)[:, None], fixed=position)

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        live = np.nonzero(guess.ready & ~rows.done)[0]
        position = rows.own["at"]
        key = rows.key.at("pick", position)
        if guess.head is None:
            chosen = draw(guess.value[:, 0], key.uniform(1)[:, 0], rows.own)
        else:
            params = guess.value[:, 0].double()  # rounded after the draw: then its last digit depends on no other rows
            chosen = guess.head.draw(params, key, torch.as_tensor(rows.own["temperature"])).to(rows.x)
        rows.x[live, position[live]] = chosen[live]
        rows.settled[live, position[live]] = True
        position[live] += 1
        rows.done[live] |= position[live] >= rows.length[live]
        return rows

    def ahead(self, rows: Rows) -> int:
        return 0 if rows.x.ndim > 2 else int((rows.length - rows.own["at"]).min())

    def run_on(self, rows: Rows, most: int, following: Callable[[Tensor], Tensor | None]) -> Rows:
        position, each = rows.own["at"], np.arange(len(rows))
        at = position[:, None] + np.arange(most)  # (B,most)
        u = rows.key.select(np.repeat(each, most)).at("pick", at.ravel()).uniform(1).reshape(at.shape)
        place = torch.as_tensor(at, device=rows.x.device)
        element, made, plain = rows.x[each, position - 1], 0, untouched(rows.own)
        while (value := following(element)) is not None:
            element = pick(value, u[:, made]) if plain else draw(value, u[:, made], rows.own)
            rows.x.scatter_(1, place[:, made : made + 1], element.unsqueeze(1))
            made += 1
        rows.settled[each[:, None], at[:, :made]] = True
        position += made
        rows.done[:] |= position >= rows.length
        return rows


def first_open(rows: Rows) -> NDArray[np.int64]:
    """The position (B,) from which each row is to be made; UnsupportedQuery where something is known after it."""
    first = rows.settled.argmin(1)
    first = np.where(rows.settled.all(1), rows.length, first)
    position = np.arange(rows.settled.shape[1])
    given = rows.along["shown"].any(-1).cpu().numpy() if "shown" in rows.along else rows.settled
    if ((rows.settled | given) & (position >= first[:, None]) & (position < rows.length[:, None])).any():
        raise UnsupportedQuery(
            "an autoregressive model can only go on from a prefix; something is known after a gap",
            hint="ask a model trained with process=masked or process=gaussian, or use extend",
        )
    return first
