"""Search: several beginnings of a sequence go on side by side, and the best that ended are kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqloom.samplers.ancestral import first_open
from seqloom.samplers.base import Numbers, Rows
from seqloom.samplers.penalties import Penalised, penalised
from seqloom.sequence.guess import Ask, Gives, Guess

NONE = -np.inf


class Search(Penalised):
    """The samples of one query are the best sequences that are found, with their log-probabilities as scores.

    A group holds the beginnings that still go on (`total`, their log-probabilities, and `rank`, by which they are
    chosen) and, in the same rows, the sequences that ended (`best`, `best_total`, `best_length`), the best of them
    first. A group may be several teams, each of which chooses among its own. A team is done when no beginning can
    overtake the last that is wanted of it.
    """

    takes: ClassVar[tuple[Gives, ...]] = (Gives.NEXT_LOGITS,)
    by_row: ClassVar[tuple[str, ...]] = ("width", *Penalised.by_row)

    width: int = Field(default=4, ge=1)
    """Beginnings that are followed; at least as many as samples are asked for."""

    @abstractmethod
    def ranked(self, rows: Rows, log_probs: Tensor) -> Tensor:
        """What each beginning with one symbol more is chosen by (B,V), from the log-probabilities of that symbol."""

    @abstractmethod
    def value(self, rows: Rows, numbers: NDArray[np.int64]) -> Numbers:
        """What rows that have just ended are worth, the more the better."""

    @abstractmethod
    def bound(self, rows: Rows, members: NDArray[np.int64]) -> float:
        """The most that a sequence can be worth which begins as one of these rows."""

    def team(self, member: NDArray[np.int64]) -> NDArray[np.int64]:
        """The team of each member of a group."""
        return np.zeros_like(member)

    def beside(self, ranks: Tensor, rows: Rows, team: NDArray[np.int64], taken: NDArray[np.int64]) -> Tensor:
        """The ranks (N,V) of one team, when teams before it have taken these symbols."""
        return ranks

    @property
    def together(self) -> bool:
        return True

    def rows_for(self, samples: int) -> int:
        return max(self.width, samples)

    def start(self, process: Any, rows: Rows) -> Rows:
        """Rows of one canvas become one group: its member i will be their i-th best."""
        alike = _alike(rows)
        width = max(self.width, len(rows))
        chosen, member, wanted = [], [], []
        for first in np.unique(alike):
            same = np.nonzero(alike == first)[0]
            size = max(self.width, len(same)) if len(same) < len(rows) else width
            chosen.append(np.concatenate([same, np.full(size - len(same), same[0])]))
            member.append(np.arange(size))
            wanted.append(np.arange(size) < len(same))
        source = np.concatenate(chosen)
        grouped = rows.select(source)
        position, members = first_open(grouped), np.concatenate(member)
        team = self.team(members)
        count, begins = len(source), np.where(members == team, 0.0, NONE)  # the first member of each team
        own = {
            **grouped.own,
            **self.settings(grouped),
            "at": position,
            "first": position.copy(),
            "team": team,
            "wanted": np.concatenate(wanted),
            "total": begins,
            "rank": begins.copy(),
            "best_total": np.full(count, NONE),
            "best_length": np.zeros(count, np.int64),
            "best_value": np.full(count, NONE),
        }
        return replace(
            grouped,
            own=own,
            along={**grouped.along, "best": grouped.x.clone()},
            group=rows.group[alike[source]],
            member=members,
            key=grouped.key.fork(members),
            done=grouped.done | (position >= grouped.length),
        )

    def ask(self, rows: Rows) -> Ask:
        position = rows.own["at"]
        return Ask(x=rows.x, want=np.where(rows.done, -1, position)[:, None], fixed=position)

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        own = rows.own
        log_probs = penalised(guess.value[:, 0], rows, own["at"]).double().log_softmax(-1)  # (B,V)
        ranks = self.ranked(rows, log_probs)
        source, symbol = np.arange(len(rows)), np.zeros(len(rows), np.int64)
        total, moved = own["total"].copy(), []
        taken: dict[int, list[int]] = {}
        for team in _teams(rows, np.arange(len(rows))):
            if rows.done[team].all() or not (guess.ready | rows.done)[team].all():
                continue
            before = taken.setdefault(int(rows.group[team[0]]), [])
            allowed = self.beside(ranks[team], rows, team, np.array(before, np.int64))
            best = allowed.flatten().topk(min(len(team), allowed.numel()))
            number = best.indices.cpu().numpy()
            kept, choice = team[: len(number)], number % allowed.shape[1]
            source[kept], symbol[kept] = team[number // allowed.shape[1]], choice
            own["total"][team] = own["rank"][team] = NONE
            own["total"][kept] = total[source[kept]] + log_probs[source[kept], choice].cpu().numpy()
            own["rank"][kept] = ranks[source[kept], choice].cpu().numpy()
            before += choice[np.isfinite(best.values.cpu().numpy())].tolist()
            moved.append(team)
        return self._advanced(rows, np.concatenate(moved), source, symbol) if moved else rows

    def _advanced(
        self, rows: Rows, moved: NDArray[np.int64], source: NDArray[np.int64], symbol: NDArray[np.int64]
    ) -> Rows:
        """Every row of `moved` with the canvas of its source and one symbol more."""
        position = rows.own["at"]
        shared = _in_common(rows, source)
        rows.x[moved] = rows.x[source[moved]]
        rows.x[moved, position[moved]] = torch.as_tensor(symbol[moved], device=rows.x.device)
        rows.settled[moved, position[moved]] = True
        position[moved] += 1
        whole = moved[(position >= rows.length)[moved]]
        if len(whole):
            self._keep(rows, whole, rows.length[whole])
        self._close(rows, moved)
        return replace(rows, source=source, shared=shared)

    def ended(self, rows: Rows, numbers: NDArray[np.int64], lengths: NDArray[np.int64]) -> Rows:
        open_ones = ~rows.done[numbers]
        numbers, lengths = numbers[open_ones], lengths[open_ones]
        self._keep(rows, numbers, lengths)
        self._close(rows, numbers)
        return rows

    def _keep(self, rows: Rows, numbers: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        """Sequences that ended, put among the best of their teams; their rows go on no more."""
        own, best = rows.own, rows.along["best"]
        value = np.where(np.isinf(own["total"][numbers]), NONE, self.value(rows, numbers))
        for members in _teams(rows, numbers):
            members = members[np.argsort(rows.member[members])]
            new = np.isin(numbers, members)
            values = np.concatenate([own["best_value"][members], value[new]])
            order = np.argsort(-values, kind="stable")[: len(members)]
            canvases = torch.cat([best[members], rows.x[numbers[new]]])
            best[members] = canvases[order]
            for name, now in (("best_length", lengths[new]), ("best_total", own["total"][numbers[new]])):
                own[name][members] = np.concatenate([own[name][members], now])[order]
            own["best_value"][members] = values[order]
        own["total"][numbers] = own["rank"][numbers] = NONE

    def _close(self, rows: Rows, numbers: NDArray[np.int64]) -> None:
        """Finish the teams of these rows in which nothing that goes on can overtake what has ended."""
        own = rows.own
        for members in _teams(rows, numbers):
            wanted = own["wanted"][members]
            last = own["best_value"][members][wanted].min() if wanted.any() else NONE
            gone_on = np.isfinite(own["total"][members])
            if not wanted.any() or not gone_on.any() or self.bound(rows, members[gone_on]) <= last:
                rows.x[members] = rows.along["best"][members]
                rows.length[members] = own["best_length"][members]
                rows.settled[members] = True
                rows.done[members] = True

    def answer(self, rows: Rows) -> NDArray[np.int64]:
        given = rows.own["first"] >= rows.settled.shape[1]  # there was nothing to make
        answers = rows.own["wanted"] & (given | (rows.done & (rows.own["best_value"] > NONE)))
        return np.where(answers, rows.origin, -1)

    def scores(self, rows: Rows) -> Numbers | None:
        return rows.own["best_total"]


def _teams(rows: Rows, numbers: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The rows of each team to which some of these belong, the teams of a group in their order."""
    number = rows.group * (rows.own["team"].max(initial=0) + 1) + rows.own["team"]
    _, team, count = np.unique(number, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(team, kind="stable"), np.cumsum(count)[:-1])
    yield from (members[one] for one in np.unique(team[numbers]).tolist())


def _alike(rows: Rows) -> NDArray[np.int64]:
    """For each row the first row with the same canvas."""
    same = ((rows.x[:, None] == rows.x[None]).all(-1)).cpu().numpy()
    same &= (rows.settled[:, None] == rows.settled[None]).all(-1)
    return np.asarray(same.argmax(1))


def _in_common(rows: Rows, source: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many elements each row's canvas has in common with its source's, from the beginning."""
    differ = (rows.x != rows.x[source]).cpu().numpy()
    return np.where(differ.any(1), differ.argmax(1), rows.x.shape[1])
