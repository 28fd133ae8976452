"""Contrastive search: likely symbols that do not make the text resemble what stands there already."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from seqloom.samplers.ancestral import first_open
from seqloom.samplers.base import Rows
from seqloom.samplers.penalties import Penalised, penalised
from seqloom.sequence.guess import Ask, Gives, Guess


class Contrastive(Penalised, name="contrastive"):
    """Of the likeliest symbols the one whose features resemble least those of any before it (Su et al. 2022).

    Taken is the candidate of the greatest (1 - penalty) p - penalty s, where p is its probability and s the greatest
    cosine of what the network makes of it, having read it, with what it made of an element before it, the prefix
    included. Nothing is drawn, and the seed does not matter. Each candidate is a row, and all are read in one call.
    """

    takes: ClassVar[tuple[Gives, ...]] = (Gives.NEXT_LOGITS,)
    by_row: ClassVar[tuple[str, ...]] = ("penalty", *Penalised.by_row)

    candidates: int = Field(default=5, ge=1)
    """The likeliest symbols that are tried, 4 to 8 in the paper; with 1 the likeliest is taken."""
    penalty: float = Field(default=0.6, ge=0, le=1)
    """How much of the choice is made by the resemblance; 0: the likeliest symbol is taken."""

    @property
    def draws(self) -> bool:
        return False

    def rows_for(self, samples: int) -> int:
        return samples * self.candidates

    def start(self, process: Any, rows: Rows) -> Rows:
        """`chance` (B,) is the probability of the symbol that each row tries, NaN where none stands there yet."""
        position, length = first_open(rows), rows.x.shape[1]
        member = np.tile(np.arange(self.candidates), len(rows))
        # The last symbol is read before it is taken, and a guess is then asked for where no element can stand.
        wide = rows.widen(length + 1).select(np.repeat(np.arange(len(rows)), self.candidates))
        at = np.repeat(position, self.candidates)
        own = {**wide.own, **self.settings(wide), "at": at, "chance": np.full(len(wide), np.nan)}
        return replace(wide, member=member, key=wide.key.fork(member), own=own, done=wide.done | (at >= wide.length))

    def ask(self, rows: Rows) -> Ask:
        after = rows.own["at"] + ~np.isnan(rows.own["chance"])  # what is tried is read, and then what follows asked for
        return Ask(x=rows.x, want=np.where(rows.done, -1, after)[:, None], fixed=after, compared=True)

    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        own, source = rows.own, np.arange(len(rows))
        at, chance, shared = own["at"], own["chance"], own["at"].copy()
        trying = ~np.isnan(chance)
        settled = rows.settled | (trying[:, None] & (np.arange(rows.x.shape[1]) == at[:, None]))
        log_probs = penalised(guess.value[:, 0], rows, ask.want[:, 0], known=settled).double().log_softmax(-1)
        similarity = guess.parts["similarity"].double().cpu().numpy()
        score = np.where(chance > 0, (1 - own["penalty"]) * chance - own["penalty"] * similarity, -np.inf)
        for members in rows.table():
            members = members[members >= 0]
            if rows.done[members].all() or not guess.ready[members].all():
                continue
            best = members[0]
            if trying[best]:
                best = members[score[members].argmax()]
                rows.x[members] = rows.x[best].clone()
                rows.settled[members, at[best]] = True
                at[members] += 1
            source[members] = best
            if at[best] >= rows.length[best]:
                rows.done[members] = True
            else:
                self._try(rows, members, log_probs[best].exp())
        return replace(rows, source=source, shared=shared)

    @staticmethod
    def _try(rows: Rows, members: np.ndarray[Any, np.dtype[np.int64]], law: Tensor) -> None:
        """Put the likeliest symbols of a law (V,) into the rows of a group; of fewer than there are rows, the first."""
        likeliest = torch.topk(law, min(len(members), len(law)))
        symbols, chances = likeliest.indices, likeliest.values.cpu().numpy()
        missing = len(members) - len(symbols)
        rows.x[members, rows.own["at"][members]] = torch.cat([symbols, symbols[:1].expand(missing)]).to(rows.x)
        rows.own["chance"][members] = np.concatenate([chances, np.zeros(missing)])
