"""Which positions of canvases are filled next, where they need not be filled from left to right."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqloom.samplers.base import Numbers, Rows
from seqloom.samplers.truncation import TokenSampler
from seqloom.sequence.guess import Gives

Places = NDArray[np.bool_]


class PlaceSampler(TokenSampler):
    """The settings that every sampler of symbols at any position has."""

    takes = (Gives.PLACE_LOGITS,)
    by_row = ("steps", "block", *TokenSampler.by_row)

    steps: int = Field(default=0, ge=0)
    """Network calls at most; 0: one for each symbol."""
    block: int = Field(default=0, ge=0)
    """Positions are filled in blocks of so many from the left, `steps` calls each; 0: as the process has them."""

    def begun(self, process: Any, rows: Rows) -> dict[str, Numbers]:
        """The settings of rows, and their blocks (the longest is one for all)."""
        own = {**rows.own, **self.settings(rows)}
        own["block"] = np.full(len(rows), self.block or process.block_size or np.iinfo(np.int64).max)
        return own


def asked(chosen: Places) -> NDArray[np.int64]:
    """The chosen positions (B,T) of each row as the positions that are wanted (B,K)."""
    want = np.full((len(chosen), max(1, int(chosen.sum(1).max(initial=1)))), -1)
    row, position = np.nonzero(chosen)  # (N,) each
    rank = np.cumsum(chosen, 1)[row, position] - 1
    want[row, rank] = position
    return want


def in_first_block(hidden: Places, block: NDArray[np.int64]) -> Places:
    """The hidden positions (B,T) of each row's first block that has any."""
    number = np.arange(hidden.shape[1]) // block[:, None]  # (B,T)
    first = np.take_along_axis(number, hidden.argmax(1)[:, None], 1)
    return np.asarray(hidden & (number == first))
