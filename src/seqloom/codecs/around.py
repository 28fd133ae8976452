"""What stands around the dates of a column: the ends of intervals, and the name of a place that follows each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from seqloom.codecs.clocks import bracket_of
from seqloom.codecs.intervals import halves_of, interval_in, last_before
from seqloom.codecs.numbered import sample_of
from seqloom.codecs.spelling import Instants
from seqloom.core.config import Settings


class Around(Settings):
    """What a cell holds beside its date. A cell that is an interval has the date of its beginning."""

    bracket: str = ""
    """The name of a place that follows every date, such as `[Europe/Berlin]`."""
    until: str = ""
    """What stands between the beginning and the end of an interval, such as ` - `; nothing where cells are none."""
    ends: str = ""
    """How such an end is spelled, where it is not as the beginning is: a time, or the next year of 2023/24."""
    inclusive: bool = False
    """Whether an interval ends with its own last day (minute ...), rather than where the next one begins."""

    @classmethod
    def of(cls, cells: Sequence[str]) -> Self:
        """What stands around the dates of these cells, told from some of them."""
        bracket = bracket_of(cells[0]) if len(cells) else ""
        bare = [cell.removesuffix(bracket) for cell in sample_of(cells)] if bracket else sample_of(cells)
        until, ends = interval_in(bare) or ("", "")
        return cls(bracket=bracket, until=until, ends=ends)

    @property
    def empty(self) -> bool:
        """Whether cells hold nothing but dates."""
        return not (self.bracket or self.until)

    def bare(self, cells: Sequence[str]) -> list[str]:
        """The dates of cells; what is written in another way stays as it is."""
        return list(cells) if self.empty else [(self.parts(cell) or (cell, ""))[0] for cell in cells]

    def parts(self, cell: str) -> tuple[str, str] | None:
        """The date of a cell, and the end of its interval; None where the cell is written in another way."""
        if not cell.endswith(self.bracket):
            return None
        cell = cell.removesuffix(self.bracket)
        return halves_of(cell, self.until, self.ends) if self.until else (cell, "")

    def ending(self, begins: Instants, ends: Instants, spelling: str) -> Self:
        """The same, of intervals that begin and end at these instants: some end with their own last day."""
        last = np.isin(ends, last_before(begins, spelling)).sum() > np.isin(ends, begins).sum()
        return self.replace(inclusive=not self.ends and bool(last))
