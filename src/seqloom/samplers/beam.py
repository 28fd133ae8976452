"""Beam search: the likeliest sequences, as far as a search of this width finds them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from seqloom.samplers.ancestral import first_open
from seqloom.samplers.base import Numbers, Rows, Sampler
from seqloom.sequence.guess import Ask, Gives, Guess

NONE = -np.inf


class Beam(Sampler, name="beam"):
    """The `width` likeliest beginnings go on together; of those that ended, the best are kept.

    The samples of one query are the best found, in order: nothing is drawn, and the seed does not matter. A group holds
    the beginnings that still go on (`total`, their log-probabilities) and, in the same rows, the sequences that ended
    (`best`, `best_total`, `best_length`), the best of them first. It is done when no beginning can overtake the last.
    """

    takes: ClassVar[tuple[Gives, ...]] = (Gives.NEXT_LOGITS,)
    by_row: ClassVar[tuple[str, ...]] = ("width", "penalty")

    width: int = Field(default=4, ge=1)
    """Beginnings that are followed; at least as many as samples are asked for."""
    penalty: float = Field(default=1.0, ge=0)
    """Log-probabilities are divided by the length to this power (0: the likeliest, which are often short)."""

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
        count = len(source)
        own = {
            **grouped.own,
            **self.settings(grouped),
            "at": position,
            "first": position.copy(),
            "wanted": np.concatenate(wanted),
            "total": np.where(members == 0, 0.0, NONE),
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
            done=grouped.done | (position >= grouped.length),
        )

    def ask(self, rows: Rows) -> Ask:
        position = rows.own["at"]
        return Ask(x=rows.x, want=np.where(rows.done, -1, position)[:, None], fixed=position)

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        table = rows.table()
        live = [group[group >= 0] for group in table if (guess.ready | rows.done)[group[group >= 0]].all()]
        live = [group for group in live if not rows.done[group].all()]
        log_probs = guess.value[:, 0].double().log_softmax(-1)  # (B,V)
        total = torch.as_tensor(np.where(rows.done, NONE, rows.own["total"]), device=log_probs.device)
        source = np.arange(len(rows))
        symbol = np.zeros(len(rows), np.int64)
        scored = log_probs + total[:, None]
        for group in live:
            best = scored[group].flatten().topk(min(len(group), scored[group].numel()))
            number = best.indices.cpu().numpy()
            kept = group[: len(number)]
            source[kept], symbol[kept] = group[number // log_probs.shape[1]], number % log_probs.shape[1]
            rows.own["total"][group] = NONE
            rows.own["total"][kept] = best.values.cpu().numpy()
        if not live:
            return rows
        moved = np.concatenate(live)
        return self._advanced(rows, moved, source, symbol)

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
        self._close(rows, np.unique(rows.group[moved]))
        return replace(rows, source=source, shared=shared)

    def ended(self, rows: Rows, numbers: NDArray[np.int64], lengths: NDArray[np.int64]) -> Rows:
        open_ones = ~rows.done[numbers]
        numbers, lengths = numbers[open_ones], lengths[open_ones]
        self._keep(rows, numbers, lengths)
        self._close(rows, np.unique(rows.group[numbers]))
        return rows

    def _keep(self, rows: Rows, numbers: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        """Sequences that ended, put among the best of their groups; their rows go on no more."""
        own, best = rows.own, rows.along["best"]
        made = np.maximum(own["at"][numbers] - own["first"][numbers], 1)
        value = np.where(np.isinf(own["total"][numbers]), NONE, own["total"][numbers] / made ** own["penalty"][numbers])
        for group in np.unique(rows.group[numbers]):
            members = np.nonzero(rows.group == group)[0]
            members = members[np.argsort(rows.member[members])]
            new = rows.group[numbers] == group
            values = np.concatenate([own["best_value"][members], value[new]])
            order = np.argsort(-values, kind="stable")[: len(members)]
            canvases = torch.cat([best[members], rows.x[numbers[new]]])
            best[members] = canvases[order]
            for name, now in (("best_length", lengths[new]), ("best_total", own["total"][numbers[new]])):
                own[name][members] = np.concatenate([own[name][members], now])[order]
            own["best_value"][members] = values[order]
        own["total"][numbers] = NONE

    def _close(self, rows: Rows, groups: NDArray[np.int64]) -> None:
        """Finish the groups in which nothing that goes on can overtake what has ended."""
        own = rows.own
        for group in groups:
            members = np.nonzero(rows.group == group)[0]
            first = members[0]
            most = max(int(rows.length[first] - own["first"][first]), 1)
            bound = own["total"][members].max() / most ** own["penalty"][first]
            last = own["best_value"][members][own["wanted"][members]].min()
            if np.isinf(bound) or bound <= last:
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


def _alike(rows: Rows) -> NDArray[np.int64]:
    """For each row the first row with the same canvas."""
    same = ((rows.x[:, None] == rows.x[None]).all(-1)).cpu().numpy()
    same &= (rows.settled[:, None] == rows.settled[None]).all(-1)
    return np.asarray(same.argmax(1))


def _in_common(rows: Rows, source: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many elements each row's canvas has in common with its source's, from the beginning."""
    differ = (rows.x != rows.x[source]).cpu().numpy()
    return np.where(differ.any(1), differ.argmax(1), rows.x.shape[1])
