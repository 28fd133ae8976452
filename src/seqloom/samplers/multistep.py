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

from seqloom.samplers.solvers import HISTORY, LAST, NOW, THEN, Numbers, Solver, Step


class DpmSolver(Solver, name="dpm_solver"):
    """DPM-Solver++(2M) (Lu et al. 2022): a line through the last two guesses, taken at its middle. Second order."""

    keeps: ClassVar[tuple[str, ...]] = ("clean",)

    def advance(
        self, stage: int, z: Tensor, clean: Tensor, step: Step, kept: dict[str, Tensor], noise: Tensor
    ) -> Tensor:
        (alpha, sigma), (_, sigma_t) = step.levels[:, THEN], step.levels[:, NOW]
        log_snr = _log_snr(step.levels)  # (places,B)
        length = log_snr[THEN] - log_snr[NOW]
        # Half this step's length beyond the last guess; the first step has no other, the step to no noise no middle.
        alone = (step.number == 0) | (sigma == 0)
        ahead = np.where(alone, 0.0, length / np.where(alone, 1.0, log_snr[NOW] - log_snr[LAST]) / 2)
        share = -alpha * np.expm1(-length)
        before, kept["clean"] = kept["clean"], clean
        return step.added((sigma / sigma_t, z), (share * (1 + ahead), clean), (-share * ahead, before))


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
        if (step.number > 0).any():
            mended = _moved(kept["z"], step, LAST, NOW, guesses, past + 1)
            first = torch.as_tensor(step.number == 0, device=z.device)
            z = torch.where(first[:, None, None], z, mended) if (step.number == 0).any() else mended
        kept["z"] = z
        for ago in range(1, HISTORY + 1):
            kept[f"clean {ago}"] = guesses[ago - 1]
        last = step.levels[1, THEN] == 0
        return _moved(z, step, NOW, THEN, guesses, np.where(last, 1, np.minimum(past + 1, self.order)))


def _moved(z: Tensor, step: Step, start: int, end: int, guesses: list[Tensor], count: NDArray[np.int64]) -> Tensor:
    """Z (B,T,D) from one level of a step to another, the clean data being the polynomial through `count` guesses."""
    (_, sigma), (alpha, sigma_end) = step.levels[:, start], step.levels[:, end]
    weights = alpha * _weights_of(step.levels, start, end, count)  # (guesses,B)
    used = int(count.max())  # those of the others are 0
    return step.added((sigma_end / sigma, z), *zip(weights[:used], guesses, strict=False))


def _weights_of(levels: Numbers, start: int, end: int, count: NDArray[np.int64]) -> Numbers:
    """The weights (1 + HISTORY, B) of the guesses, worked out once where all rows take the same step, as most do."""
    if (levels == levels[..., :1]).all() and (count == count[0]).all():
        return np.array(_weights(levels[..., 0].tobytes(), start, end, int(count[0])))[:, None]
    rows = np.ascontiguousarray(levels.transpose(2, 0, 1))  # (B,2,places)
    return np.array([_weights(row.tobytes(), start, end, n) for row, n in zip(rows, count.tolist(), strict=True)]).T


@lru_cache(maxsize=4096)
def _weights(levels: bytes, start: int, end: int, count: int) -> tuple[float, ...]:
    """Weights of the guesses at a row's levels `now` and before, so many of them: that p is exact between two levels.

    They are the integrals of exp(l - length) p(l) from 0 to length, p being the polynomial through the values. The
    powers l^k have the integrals m(k) = length^k - k m(k - 1). Each row takes the same steps as others, and every query
    of the same steps: so they are kept.
    """
    log_snr = _log_snr(np.frombuffer(levels).reshape(2, -1))
    nodes, length = log_snr[NOW : NOW + count] - log_snr[start], log_snr[end] - log_snr[start]
    moments = [-np.expm1(-length)]
    for power in range(1, count):
        moments.append(length**power - power * moments[-1])
    matrix = nodes ** np.arange(count)[:, None]  # (powers, nodes)
    weights = np.linalg.solve(matrix, np.stack(moments))
    return (*weights.tolist(), *[0.0] * (1 + HISTORY - count))


def _log_snr(levels: Numbers) -> Numbers:
    """Half the log of the signal-to-noise ratio of levels (2,...), infinite where there is no noise."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(levels[0]) - np.log(levels[1]))
