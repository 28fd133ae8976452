"""Penalties: symbols that stand on a canvas already are made less likely, or left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqloom.core.errors import UnsupportedQuery
from seqloom.samplers.base import Rows, Sampler
from seqloom.sequence.guess import Gives

OFF = {"repetition": 1.0, "presence": 0.0, "frequency": 0.0, "no_repeat": 0}
"""The penalties, and the value at which each changes nothing."""


class Penalised(Sampler):
    """The settings by which what stands on the canvas, given or made, weighs on what comes.

    Symbols that are drawn in one call do not know of each other.
    """

    by_row: ClassVar[tuple[str, ...]] = tuple(OFF)

    repetition: float = Field(default=1.0, gt=0)
    """The power to which the probability of a symbol that stands there is raised (1.1 to 1.3; Keskar et al. 2019)."""
    presence: float = 0.0
    """Taken off the logit of a symbol that stands there."""
    frequency: float = 0.0
    """Taken off the logit of a symbol for each time that it stands there."""
    no_repeat: int = Field(default=0, ge=0)
    """No run of so many symbols comes twice (0: it may), from left to right; where none would be left, all are."""

    def check(self, gives: Gives, *, conditioned: bool, networks: int) -> None:
        super().check(gives, conditioned=conditioned, networks=networks)
        changed = [name for name in OFF if getattr(self, name) != OFF[name]]
        if gives is Gives.NEXT_PARAMS and changed:
            raise UnsupportedQuery(
                f"sampler.{changed[0]} is about symbols that come again, and this is a model of numbers",
                hint="leave it out",
            )
        if gives is Gives.NOISY_LOGITS and changed:
            raise UnsupportedQuery(
                f"sampler.{changed[0]} is about symbols that stand there, and these all may change until the end",
                hint="leave it out",
            )
        if gives is not Gives.NEXT_LOGITS and self.no_repeat:
            raise UnsupportedQuery(
                "sampler.no_repeat looks at the symbols before one, and these are made in any order",
                hint="use sampler.repetition or sampler.frequency, or an autoregressive model",
            )


def unpenalised(own: Mapping[str, NDArray[Any]]) -> bool:
    """Whether no row has a penalty: then what stands on the canvas need not be looked at."""
    return not any((own[name] != value).any() for name, value in OFF.items())


def penalised(
    logits: Tensor,
    rows: Rows,
    at: NDArray[np.int64],
    row: NDArray[np.int64] | None = None,
    known: NDArray[np.bool_] | None = None,
) -> Tensor:
    """Logits (N,V) of the symbols at positions `at` (N,) of these rows, all of them where `row` (N,) is None.

    What stands on a canvas is what is `known` (B,T) of it, by default what is settled.

    Where a power is taken, logits become log-probabilities: a factor for logits themselves, as in the paper, would
    depend on where their zero lies.
    """
    own = rows.own
    if unpenalised(own):
        return logits
    row = np.arange(len(rows)) if row is None else row
    x, device = rows.x[torch.as_tensor(row, device=rows.x.device)], logits.device
    known = ((rows.settled if known is None else known) & (np.arange(x.shape[1]) < rows.length[:, None]))[row]
    there = torch.as_tensor(known, device=device) & (x < logits.shape[1])  # marks are no symbols
    counts = torch.zeros(logits.shape, dtype=torch.float64, device=device)
    counts.scatter_add_(1, x.masked_fill(~there, 0), there.double())

    def column(name: str) -> Tensor:
        return torch.as_tensor(np.asarray(own[name][row], np.float64), device=device).unsqueeze(-1)

    seen = counts > 0
    log_prob = logits.double().log_softmax(-1)
    log_prob = torch.where(seen, log_prob * column("repetition"), log_prob)
    log_prob = log_prob - column("presence") * seen - column("frequency") * counts
    for length in np.unique(own["no_repeat"][row]).tolist():
        chosen = np.nonzero(own["no_repeat"][row] == length)[0]
        if length:
            again = _completing(x[chosen], there[chosen], at[chosen], logits.shape[1], length)
            left = log_prob[chosen].masked_fill(again, -torch.inf)
            none = torch.isneginf(left).all(-1, keepdim=True)
            log_prob[chosen] = torch.where(none, log_prob[chosen], left)
    changed = np.any([own[name][row] != value for name, value in OFF.items()], axis=0)
    return torch.where(torch.as_tensor(changed, device=device).unsqueeze(-1), log_prob, logits.double())


def _completing(x: Tensor, known: Tensor, at: NDArray[np.int64], size: int, length: int) -> Tensor:
    """Which symbols (N,V) would complete at `at`, after those before it, a run that stands on the canvas already."""
    completing = torch.zeros(len(x), size, dtype=torch.bool, device=x.device)
    if length > x.shape[1]:
        return completing
    runs, whole = x.unfold(1, length, 1), known.unfold(1, length, 1).all(-1)  # (N,W,length), (N,W)
    before = torch.as_tensor(at[:, None] + np.arange(1 - length, 0), device=x.device)  # (N,length-1)
    last = x.gather(1, before.clamp(0, x.shape[1] - 1))
    same = (runs[..., :-1] == last.unsqueeze(1)).all(-1) & whole & (before >= 0).all(1, keepdim=True)
    row, window = same.nonzero(as_tuple=True)
    completing[row, runs[row, window, -1]] = True
    return completing
