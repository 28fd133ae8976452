"""Sampling without replacement: sequences that are drawn together and all differ."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqloom.samplers.base import Numbers, Rows
from seqloom.samplers.search import Search


class WithoutReplacement(Search, name="without_replacement"):
    """Stochastic beam search (Kool et al. 2019): the samples are one draw without replacement from the model's law.

    The log-probability of every sequence has Gumbel noise added, and the largest come first. The noise is not drawn
    for whole sequences: that of a beginning is the largest of what goes on from it, so each step draws the noise of
    the next symbols given their largest.
    """

    def ranked(self, rows: Rows, log_probs: Tensor) -> Tensor:
        own = rows.own
        u = rows.key.at("perturbation", own["at"]).uniform(log_probs.shape[1])
        noise = -(-torch.as_tensor(u, device=log_probs.device).log()).log()

        def column(name: str) -> Tensor:
            value = np.where(rows.done | np.isinf(own["total"]), 0.0, own[name])
            return torch.as_tensor(value, device=log_probs.device).unsqueeze(-1)

        most = column("rank")
        free = log_probs + column("total") + noise
        v = most - free + _log1mexp(free - free.amax(-1, keepdim=True))
        ranks = most - v.clamp_min(0) - torch.log1p((-v.abs()).exp())
        over = torch.as_tensor(rows.done | np.isinf(own["total"]), device=log_probs.device).unsqueeze(-1)
        return ranks.masked_fill(over | torch.isneginf(log_probs), -torch.inf)

    def value(self, rows: Rows, numbers: NDArray[np.int64]) -> Numbers:
        return rows.own["rank"][numbers]

    def bound(self, rows: Rows, members: NDArray[np.int64]) -> float:
        return float(rows.own["rank"][members].max())


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) of numbers that are not above 0."""
    return torch.where(x > -math.log(2), (-torch.expm1(x)).log(), torch.log1p(-x.exp()))
