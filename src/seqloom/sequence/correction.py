"""By what forecasts are corrected, as forecasts of held-out rows have it: where their median lies, and their width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqloom.sequence.held_out import HeldOut
from seqloom.sequence.shrinkage import FEWEST, Shrinkage
from seqloom.sequence.width import Width

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Correction:
    """Forecasts are drawn towards the naive one first, and then their bands are made wider or narrower."""

    shrinkage: Shrinkage | None = None
    width: Width | None = None

    @classmethod
    def of(cls, held: HeldOut) -> Correction:
        """What such forecasts need: bands are measured about the median that is shown."""
        shrinkage = Shrinkage.of(held)
        return cls(shrinkage, Width.of(held if shrinkage is None else held.moved(shrinkage.applied)))

    def plain(self) -> dict[str, Any]:
        """As it stands in a report."""
        return asdict(self)

    @classmethod
    def parse(cls, plain: Mapping[str, Any]) -> Correction:
        """What `plain` wrote."""
        shrinkage, width = plain.get("shrinkage"), plain.get("width")
        return cls(Shrinkage(**shrinkage) if shrinkage else None, Width(**width) if width else None)

    def in_words(self, paths: int) -> list[str]:
        """What is done with so many paths, and why, a line each."""
        parts = (self.shrinkage if paths >= FEWEST else None, self.width)
        return [part.in_words for part in parts if part is not None and part.in_words]

    def applied(self, paths: NDArray[np.floating], past: Numbers) -> NDArray[np.floating]:
        """Paths (N,H,D) after a past (T,D), nan where it is not known, as they are to be shown."""
        if self.shrinkage is not None:
            paths = self.shrinkage.applied(paths, past)
        return paths if self.width is None else self.width.applied(paths)
