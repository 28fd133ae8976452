"""Forecasts of held-out rows, by which later ones are corrected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """Forecasts beside what preceded and what followed them; cells that are not known are nan."""

    paths: Sequence[Numbers]
    """Of each (N,H,D)."""
    pasts: Sequence[Numbers]
    """Of each (T,D)."""
    truths: Sequence[Numbers]
    """Of each (H,D)."""
    season: int
    """Rows of a season; 1 where there is none."""
    independent: float
    """How many forecasts without rows in common they are worth."""

    def moved(self, applied: Callable[[Numbers, Numbers], NDArray[np.floating]]) -> HeldOut:
        """The same with paths that a correction made of paths and their past."""
        made = [np.asarray(applied(one, past), np.float64) for one, past in zip(self.paths, self.pasts, strict=True)]
        return replace(self, paths=made)
