"""By what forecasts are corrected, as forecasts of held-out rows have it: where their median lies, and their width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqloom.sequence.held_out import HeldOut
from seqloom.sequence.query import Frame, Query
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

    def of_frames(self, query: Query, frames: Sequence[Frame]) -> list[Frame]:
        """The last frames of a forecast, corrected; those of all else as they are.

        What is corrected is what the codec has scaled: what is made is then rounded, or kept above zero, as ever.
        """
        corrected = list(frames)
        if query.count < 2 or not all(frame.done for frame in frames):
            return corrected
        for part, canvas in enumerate(query.canvases):
            if (first := canvas.ahead) is None:
                continue
            numbers = [i for i, frame in enumerate(frames) if frame.part == part]
            x = np.stack([frames[i].x for i in numbers])  # (N,T,D)
            past = np.where(canvas.absent[:first], np.nan, canvas.x[:first].astype(np.float64))
            x[:, first:] = self.applied(x[:, first:], past)
            for i, own in zip(numbers, x, strict=True):
                corrected[i] = replace(frames[i], x=own)
        return corrected

    def applied(self, paths: NDArray[np.floating], past: Numbers) -> NDArray[np.floating]:
        """Paths (N,H,D) after a past (T,D), nan where it is not known, as they are to be shown."""
        if self.shrinkage is not None:
            paths = self.shrinkage.applied(paths, past)
        return paths if self.width is None else self.width.applied(paths)
