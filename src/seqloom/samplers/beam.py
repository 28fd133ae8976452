"""Beam search: the likeliest sequences, as far as a search of this width finds them."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqloom.core.errors import UnsupportedQuery
from seqloom.samplers.base import Numbers, Rows
from seqloom.samplers.search import Search
from seqloom.sequence.guess import Gives


class Beam(Search, name="beam"):
    """The `width` likeliest beginnings go on together; of those that ended, the best are kept.

    Nothing is drawn, and the seed does not matter. With `teams` it is diverse beam search (Vijayakumar et al. 2018):
    each team follows a share of the beginnings and is kept from the symbols that teams before it took at this step;
    sample i is of team i modulo `teams`, and the best of that team come first.
    """

    by_row: ClassVar[tuple[str, ...]] = ("penalty", "diversity", *Search.by_row)

    penalty: float = Field(default=1.0, ge=0)
    """Log-probabilities are divided by the length to this power (0: the likeliest, which are often short)."""
    teams: int = Field(default=1, ge=1)
    """Parts of the beam that are to differ from each other."""
    diversity: float = Field(default=0.5, ge=0)
    """What a symbol costs a team, in nats, for each beginning of a team before it that took it at this step."""

    @property
    def draws(self) -> bool:
        return False

    def check(self, gives: Gives, *, conditioned: bool, networks: int) -> None:
        super().check(gives, conditioned=conditioned, networks=networks)
        if self.teams > self.width:
            raise UnsupportedQuery(
                f"{self.teams} teams are more than the {self.width} beginnings that are followed",
                hint=f"sampler.width={self.teams} or more",
            )

    def team(self, member: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.asarray(member % self.teams)

    def ranked(self, rows: Rows, log_probs: Tensor) -> Tensor:
        total = np.where(rows.done, -np.inf, rows.own["total"])
        return log_probs + torch.as_tensor(total, device=log_probs.device).unsqueeze(-1)

    def beside(self, ranks: Tensor, rows: Rows, team: NDArray[np.int64], taken: NDArray[np.int64]) -> Tensor:
        cost = rows.own["diversity"][team[0]] * np.bincount(taken, minlength=ranks.shape[1])
        return ranks - torch.as_tensor(cost, device=ranks.device)

    def value(self, rows: Rows, numbers: NDArray[np.int64]) -> Numbers:
        own = rows.own
        made = np.maximum(own["at"][numbers] - own["first"][numbers], 1)
        return np.asarray(own["total"][numbers] / made ** own["penalty"][numbers])

    def bound(self, rows: Rows, members: NDArray[np.int64]) -> float:
        own, first = rows.own, members[0]
        most = max(int(rows.length[first] - own["first"][first]), 1)
        return float(own["total"][members].max() / most ** own["penalty"][first])
