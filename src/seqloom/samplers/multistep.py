"""Solvers that remember what was guessed at the levels before, and so reach a high order by one call a step.

In half the log SNR, l = log(alpha / sigma), the probability-flow equation has a linear part that is solved exactly:

    z(b) = sigma(b) / sigma(a) z(a) + alpha(b) * integral from l(a) to l(b) of exp(l - l(b)) clean(l) dl

and only the clean data behind z remain to be followed from guess to guess (Lu et al. 2022).
"""

from __future__ import annotations

from functools import lru_cache
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
        guesses = [clean, *(kept[f"clean {ago}"] for ago in range(1, HISTORY + 1))]
        past = np.minimum(step.number, self.order)
        mended = _moved(kept["z"], step, LAST, NOW, guesses, past + 1)
        z = torch.where(torch.as_tensor(step.number == 0, device=z.device)[:, None, None], z, mended)
        kept["z"] = z
        for ago in range(1, HISTORY + 1):
            kept[f"clean {ago}"] = guesses[ago - 1]
        last = step.levels[1, THEN] == 0
        return _moved(z, step, NOW, THEN, guesses, np.where(last, 1, np.minimum(past + 1, self.order)))


THEN, NOW, LAST = range(3)
"""Places of a step's levels."""


def _moved(z: Tensor, step: Step, start: int, end: int, guesses: list[Tensor], count: NDArray[np.int64]) -> Tensor:
    """Z (B,T,D) from one level of a step to another, the clean data being the polynomial through `count` guesses."""
    levels = np.ascontiguousarray(step.levels.transpose(2, 0, 1))  # (B,2,2 + HISTORY)
    weights = [_weights(row.tobytes(), start, end, n, z.dtype) for row, n in zip(levels, count.tolist(), strict=True)]
    (_, sigma), (alpha, sigma_end) = step.level(start), step.level(end)
    moved = sigma_end / sigma * z
    for weight, guess in zip(torch.from_numpy(np.array(weights)).to(z).unbind(-1), guesses, strict=True):
        moved = moved + alpha * weight[:, None, None] * guess
    return moved


@lru_cache(maxsize=4096)
def _weights(levels: bytes, start: int, end: int, count: int, dtype: torch.dtype) -> tuple[float, ...]:
    """Weights of the guesses at a row's levels `now` and before, so many of them: that p is exact between two levels.

    They are the integrals of exp(l - length) p(l) from 0 to length, p being the polynomial through the values. The
    powers l^k have the integrals m(k) = length^k - k m(k - 1). Each row takes the same steps as others, and every query
    of the same steps: so they are kept.
    """
    alpha, sigma = torch.from_numpy(np.frombuffer(levels).reshape(2, -1).copy()).to(dtype)
    log_snr = _log_snr((alpha, sigma))
    nodes, length = (
        (log_snr[NOW : NOW + count].double() - log_snr[start].double()),
        (log_snr[end] - log_snr[start]).double(),
    )
    moments = [-torch.expm1(-length)]
    for power in range(1, count):
        moments.append(length**power - power * moments[-1])
    matrix = nodes ** torch.arange(count)[:, None]  # (powers, nodes)
    weights = torch.linalg.solve(matrix, torch.stack(moments))
    return (*weights.tolist(), *[0.0] * (1 + HISTORY - count))


def _log_snr(level: Level) -> Tensor:
    """Half the log of the signal-to-noise ratio (B,1,1), infinite where there is no noise."""
    return (level[0] / level[1]).log()
