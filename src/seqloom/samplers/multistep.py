"""Solvers that remember what was guessed at the levels before, and so reach a high order by one call a step.

In half the log SNR, l = log(alpha / sigma), the probability-flow equation has a linear part that is solved exactly:

    z(b) = sigma(b) / sigma(a) z(a) + alpha(b) * integral from l(a) to l(b) of exp(l - l(b)) clean(l) dl

and only the clean data behind z remain to be followed from guess to guess (Lu et al. 2022).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqloom.samplers.solvers import HISTORY, Level, Solver, Step


class DpmSolver(Solver, name="dpm_solver"):
    """DPM-Solver++(2M) (Lu et al. 2022): a line through the last two guesses, taken at its middle. Second order."""

    keeps: ClassVar[tuple[str, ...]] = ("clean",)

    def advance(
        self, stage: int, z: Tensor, clean: Tensor, step: Step, kept: dict[str, Tensor], noise: Tensor
    ) -> Tensor:
        (alpha, sigma), length = step.then, _log_snr(step.then) - _log_snr(step.now)
        # Half this step's length beyond the last guess; the first step has no other, the step to no noise no middle.
        ahead = length / (_log_snr(step.now) - _log_snr(step.before[0])) / 2
        alone = torch.as_tensor(step.number == 0, device=z.device)[:, None, None] | (sigma == 0)
        middle = clean + torch.where(alone, 0.0, ahead) * (clean - kept["clean"])
        kept["clean"] = clean
        return sigma / step.now[1] * z - alpha * torch.expm1(-length) * middle


class UniPC(Solver, name="unipc"):
    """A predictor, and a corrector that costs no call (Zhao et al. 2023): the next step begins by mending the last.

    The polynomial through the last `order` guesses leads to the next level. With the guess that is made there a
    polynomial of one more goes again over the same step. Its weights are those that integrate it exactly.
    """

    keeps: ClassVar[tuple[str, ...]] = ("z", *(f"clean {ago}" for ago in range(1, HISTORY + 1)))

    order: Literal[1, 2, 3] = 2
    """Guesses that the predictor goes by; the steps converge in one order more."""

    def advance(
        self, stage: int, z: Tensor, clean: Tensor, step: Step, kept: dict[str, Tensor], noise: Tensor
    ) -> Tensor:
        levels = [step.now, *step.before]
        guesses = [clean, *(kept[f"clean {ago}"] for ago in range(1, HISTORY + 1))]
        past = np.minimum(step.number, self.order)
        mended = _moved(kept["z"], step.before[0], step.now, levels, guesses, past + 1)
        z = torch.where(torch.as_tensor(step.number == 0, device=z.device)[:, None, None], z, mended)
        kept["z"] = z
        for ago in range(1, HISTORY + 1):
            kept[f"clean {ago}"] = guesses[ago - 1]
        last = (step.then[1] == 0).flatten().cpu().numpy()
        return _moved(z, step.now, step.then, levels, guesses, np.where(last, 1, np.minimum(past + 1, self.order)))


def _moved(
    z: Tensor, start: Level, end: Level, levels: list[Level], guesses: list[Tensor], count: NDArray[np.int64]
) -> Tensor:
    """Z (B,T,D) at `start` moved to `end`, the clean data being the polynomial through the first `count` guesses."""
    log_snr = torch.stack([_log_snr(level).flatten() for level in levels], -1).double()  # (B,1 + HISTORY)
    begin, length = _log_snr(start).flatten().double(), (_log_snr(end) - _log_snr(start)).flatten().double()
    weights = torch.zeros_like(log_snr)
    for nodes in np.unique(count).tolist():
        rows = torch.as_tensor(np.nonzero(count == nodes)[0], device=z.device)
        weights[rows, :nodes] = _weights(log_snr[rows, :nodes] - begin[rows, None], length[rows])
    moved = end[1] / start[1] * z
    for weight, guess in zip(weights.to(z).unbind(-1), guesses, strict=True):
        moved = moved + end[0] * weight[:, None, None] * guess
    return moved


def _weights(nodes: Tensor, length: Tensor) -> Tensor:
    """Weights (N,K) of values at nodes (N,K): the integral of exp(l - length) p(l) from 0 to length (N,).

    p is the polynomial through the values. The powers l^k have the integrals m(k) = length^k - k m(k - 1).
    """
    moments = [-torch.expm1(-length)]
    for power in range(1, nodes.shape[-1]):
        moments.append(length**power - power * moments[-1])
    powers = torch.arange(nodes.shape[-1], device=nodes.device)
    matrix = nodes.unsqueeze(-2) ** powers[:, None]  # (N,K powers,K nodes)
    weights: Tensor = torch.linalg.solve(matrix, torch.stack(moments, -1))
    return weights


def _log_snr(level: Level) -> Tensor:
    """Half the log of the signal-to-noise ratio (B,1,1), infinite where there is no noise."""
    return (level[0] / level[1]).log()
