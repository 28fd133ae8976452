"""Which positions of canvases are filled next, where they need not be filled from left to right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqloom.core.errors import UnsupportedQuery
from seqloom.core.rng import Rng, to_uniform
from seqloom.samplers.base import Numbers, Rows, cut
from seqloom.samplers.penalties import penalised
from seqloom.samplers.truncation import TokenSampler, draw
from seqloom.sequence.guess import Ask, Gives, Guess

Places = NDArray[np.bool_]
Index = NDArray[np.int64]


class PlaceSampler(TokenSampler):
    """The settings that every sampler of symbols at any position has."""

    takes = (Gives.PLACE_LOGITS,)
    by_row = ("steps", "block", *TokenSampler.by_row)

    steps: int = Field(default=0, ge=0)
    """Network calls at most; 0: one for each symbol."""
    block: int = Field(default=0, ge=0)
    """Positions are filled in blocks of so many from the left, `steps` calls each; 0: as the process has them."""

    lengths: int = Field(default=1, ge=1)
    """Of a model that says a length first: with more than one, the likeliest so many are tried for each sample, and the
    one is kept whose symbols are likeliest on average (Ghazvininejad et al. 2019)."""

    def rows_for(self, samples: int) -> int:
        return samples * self.lengths

    def sized(self, rows: Rows, law: Numbers | None, end: int) -> Rows:
        if self.lengths > 1:
            tried = 1 if law is None else min(self.lengths, law.shape[1])
            source, member = np.repeat(np.arange(len(rows)), tried), np.tile(np.arange(tried), len(rows))
            likeliest = None if law is None else np.argsort(-law, 1, kind="stable")[:, :tried].ravel()
            rows = rows.select(source)
            along = {**rows.along, "log_prob": np.full(rows.settled.shape, np.nan)}
            rows = replace(rows, key=rows.key.fork(member), member=member, along=along)
            return rows if likeliest is None else cut(rows, likeliest, end)
        return super().sized(rows, law, end)

    def answer(self, rows: Rows) -> Index:
        scores = self.scores(rows)
        if scores is None:
            return super().answer(rows)
        answers = np.full(len(rows), -1)
        for group in np.unique(rows.group):
            members = np.nonzero(rows.group == group)[0]
            if rows.done[members].all():
                best = members[scores[members].argmax()]
                answers[best] = rows.origin[best]
        return answers

    def scores(self, rows: Rows) -> Numbers | None:
        log_prob = rows.along.get("log_prob")
        if log_prob is None:
            return None
        made = ~np.isnan(log_prob) & (np.arange(log_prob.shape[1]) < rows.length[:, None])
        mean = np.where(made, log_prob, 0.0).sum(1) / np.maximum(made.sum(1), 1)
        return np.asarray(np.where(made.any(1), mean, -np.inf))

    def begun(self, process: Any, rows: Rows, own: Mapping[str, Numbers], along: Mapping[str, Numbers]) -> Rows:
        """The rows with their settings, their blocks (the longest is one for all) and the memory of this sampler."""
        whole = process.block_size or 1
        if self.block and whole > 1 and whole % self.block:
            raise UnsupportedQuery(
                f"positions in blocks of {self.block} would lie in several of the model's blocks of {whole}",
                hint=f"leave sampler.block unset, or use one that divides {whole}",
            )
        block = np.full(len(rows), self.block or process.block_size or np.iinfo(np.int64).max)
        own = {**rows.own, **self.settings(rows), "block": block, **own}
        return replace(rows, own=own, along={**rows.along, **along}, done=rows.done | rows.settled.all(1))

    def turns(self, process: Any, rows: Rows) -> Numbers:
        """The turn (B,T) at which each position is revealed, the highest first.

        With `steps`, the share that is revealed by each of them is the schedule's, at even times.
        """
        uniform = rows.key.at("reveal").uniform(rows.settled.shape[1])
        if not self.steps:
            return uniform
        time = process.schedule.time(torch.as_tensor(1 - uniform)).numpy()  # the time at which each appears
        return np.asarray(np.ceil(time * self.steps))

    def drawn(
        self, rows: Rows, ask: Ask, guess: Guess, place: tuple[Index, Index], key: Rng, known: Places | None = None
    ) -> Tensor:
        """Symbols (N,) for wanted positions, by their rows and their numbers in `want` (N,) each."""
        row, position = place[0], ask.want[place]
        u = to_uniform(key.select(row).words(position[:, None]))[:, 0]
        own = {name: rows.own[name][row] for name in self.by_row}
        logits = penalised(guess.value[place], rows, position, row, known)
        symbols = draw(logits, u, own)
        if "log_prob" in rows.along:
            chance = logits.double().log_softmax(-1).gather(-1, symbols.unsqueeze(-1))[:, 0]
            rows.along["log_prob"][row, position] = chance.cpu().numpy()
        return symbols


def asked(x: Tensor, chosen: Places) -> Ask:
    """A guess at the chosen positions (B,T) of each row, by a network that sees the canvas x (B,T)."""
    want = np.full((len(chosen), max(1, int(chosen.sum(1).max(initial=1)))), -1)
    row, position = np.nonzero(chosen)  # (N,) each
    rank = np.cumsum(chosen, 1)[row, position] - 1
    want[row, rank] = position
    return Ask(x=x, want=want, fixed=np.zeros(len(chosen), np.int64))


def open_places(rows: Rows) -> Places:
    """What may be made next (B,T): of rows that are not done, what is not settled in the first block with any such."""
    return in_first_block(~rows.settled & ~rows.done[:, None], rows.own["block"])


def in_first_block(hidden: Places, block: NDArray[np.int64]) -> Places:
    """The hidden positions (B,T) of each row's first block that has any."""
    number = np.arange(hidden.shape[1]) // block[:, None]  # (B,T)
    first = np.take_along_axis(number, hidden.argmax(1)[:, None], 1)
    return np.asarray(hidden & (number == first))


def hidden_symbol(rows: Rows) -> Numbers:
    """What stands on each row's canvas (B,) where nothing is known."""
    first = torch.as_tensor((~rows.settled).argmax(1), device=rows.x.device)
    return np.asarray(rows.x.gather(1, first.unsqueeze(1))[:, 0].cpu().numpy())


def hiding(rows: Rows, places: Places) -> Tensor:
    """The canvas (B,T) with each row's hidden symbol, its own `mask`, at these positions (B,T)."""
    x = rows.x.clone()
    row, position = np.nonzero(places)
    x[row, position] = torch.as_tensor(rows.own["mask"][row], device=x.device)
    return x
