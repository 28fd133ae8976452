"""The table of samples: models beside copies, held-out windows and a Gaussian, and what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from seqloom.core.progress import count
from seqloom.evaluation.measured import MeasuredTable

Numbers = NDArray[np.float64]

SHOWN = ("discriminative", "predictive", "two_sample", "marginal", "autocorrelation", "cross_correlation", "spectrum",
         "novelty", "nearest", "closer", "error_real", "error_both", "error_made")  # fmt: skip
LEGEND = (
    "Lower is better unless said. discriminative and predictive are the published scores (windows that overlap on "
    "both sides); two sample is the accuracy of a larger classifier on stretches of time that it has not seen, best "
    "at 0.5; marginal is in spreads of the training rows, autocorrelation and cross correlation are differences of "
    "correlations, spectrum is a share of the power; novelty is the distance to the nearest training window relative "
    "to that one's to the next, nearest relative to that of held-out windows, both 0 of copies and best at 1; closer "
    "is how often a sample is nearer than held-out windows, best at 0.5; the errors are those of the next held-out "
    "row, relative to repeating the last, after training on real windows, on both, on samples"
)


@dataclass(frozen=True)
class SynthesisTable(MeasuredTable):
    """Models that made samples, and what they are judged beside."""

    chosen: ClassVar[Sequence[str]] = SHOWN
    short: ClassVar[Mapping[str, str]] = {"correlation": "corr"}
    explained: ClassVar[str] = LEGEND

    length: int
    windows: int
    held: int
    shown: Numbers | None = None
    """Some of the training windows (N,T,D), to be shown."""
    columns: tuple[str, ...] = ()

    @property
    def in_words(self) -> str:
        """What was compared."""
        made = f"samples of {count(self.length, 'row')} beside {count(self.windows, 'training window')}"
        return f"{made} and {count(self.held, 'held-out one')}"

    def data(self) -> dict[str, Any]:
        """The table as plain values."""
        return {"length": self.length, "windows": self.windows, "held": self.held, **super().data()}
