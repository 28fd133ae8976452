"""What a forecast goes on from: the past of a series, what really followed, and what is known ahead of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.base import Codec

HISTORY = 4096
"""Rows of a history that are kept for a forecast, at most: no model here reads more by its defaults."""


@dataclass(frozen=True)
class History:
    """What a forecast of one series goes on from."""

    value: Any
    truth: NDArray[np.float64] | None = None
    """What really followed, where that stands in the same series."""
    future: Any = None
    """What says what is known ahead of time."""
    given: bool = False
    """Whether somebody gave that future, so that something of it should be read."""


def history_of(codec: Codec, value: Any, horizon: int, start: str | None = None, future: Any = None) -> History:
    """The history of a forecast: all of a series, or what precedes its row `start`.

    Where no `future` is given, the series itself says what was known ahead of such a row.
    """
    size, truth = codec.size(value), None
    if start is not None:
        begin = codec.position(value, start)
        after = codec.cut(value, begin, min(begin + horizon, size))
        truth, size = codec.numbers(after) if codec.size(after) == horizon else None, begin
    ahead = value if future is None and start is not None else future
    return History(codec.cut(value, max(0, size - HISTORY), size), truth, ahead, future is not None)
