"""Paths beside draws of the law that they should follow: quantiles, dependence in time and between channels, zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

LEVELS = (0.1, 0.5, 0.9)
ALLOWED: Mapping[str, float] = {
    **{f"quantile_{level:g}": 0.07 for level in LEVELS},
    "autocorrelation": 0.12,
    "cross_correlation": 0.12,
    "zeros": 0.06,
}
"""How far a measure of a model may be from that of the truth: several errors of the drawing, and some misfit."""


def beside(paths: Sequence[Numbers], truths: Sequence[Numbers]) -> dict[str, tuple[float, float]]:
    """Measures of paths (N,H,D) from several origins, each with that of the truth, from draws (M,H,D) of it.

    A quantile is measured by the share of the truth below it; correlations are over the draws of one origin, of a row
    with the next and of two channels of a row; zeros are a share of all cells.
    """
    found: dict[str, tuple[float, float]] = {}
    pairs = list(zip(paths, truths, strict=True))
    for level in LEVELS:
        below = [placed(made, truth, level) for made, truth in pairs]
        found[f"quantile_{level:g}"] = float(np.mean(below)), level

    def mean(measure: Numbers) -> float:
        return float(np.mean(measure))

    lagged = [(np.diag(cross(made, 1)), np.diag(cross(truth, 1))) for made, truth in pairs]
    found["autocorrelation"] = mean(np.array([one for one, _ in lagged])), mean(np.array([two for _, two in lagged]))
    if truths[0].shape[2] > 1:
        between = [(cross(made)[0, 1], cross(truth)[0, 1]) for made, truth in pairs]
        found["cross_correlation"] = tuple(np.mean(between, 0).tolist())
    if any((truth == 0).any() for truth in truths):
        found["zeros"] = tuple(float(np.mean([np.mean(x == 0) for x in part])) for part in (paths, truths))  # type: ignore[assignment]
    return found


def outside(measures: Mapping[str, tuple[float, float]]) -> list[str]:
    """The measures that are further from the truth than is allowed."""
    return [name for name, (made, truth) in measures.items() if not abs(made - truth) <= ALLOWED[name]]


def cross(paths: Numbers, lag: int = 0) -> Numbers:
    """The correlation (D,D) over paths (N,H,D) of each channel with each `lag` rows later, the mean over the rows."""
    centred = paths - paths.mean(0)
    early, late = centred[:, : paths.shape[1] - lag], centred[:, lag:]
    product = np.einsum("nhd,nhe->hde", early, late)
    scale = np.sqrt((early**2).sum(0)[:, :, None] * (late**2).sum(0)[:, None])
    mean: Numbers = (product / np.maximum(scale, 1e-12)).mean(0)
    return mean


def placed(paths: Numbers, truth: Numbers, level: float) -> Numbers:
    """The share of draws of the truth (M,H,D) below the quantile of paths (N,H,D) at this level: (H,D).

    Of equal numbers half count, and what the truth's own quantile lacks to its level is added, so that what is right
    stands at its level for counts too.
    """

    def below(draws: Numbers) -> Numbers:
        quantile = np.quantile(draws, level, axis=0, method="inverted_cdf")
        share: Numbers = ((truth < quantile).mean(0) + (truth <= quantile).mean(0)) / 2
        return share

    return below(paths) - below(truth) + level
