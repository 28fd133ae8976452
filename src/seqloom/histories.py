"""What a forecast goes on from: the past of a series, what really followed, and what is known ahead of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.base import Codec
from seqloom.core.errors import ConfigError
from seqloom.training.feed import FURTHEST

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


def check_horizon(horizon: int) -> None:
    """ConfigError where nothing is forecast so far ahead."""
    if not 1 <= horizon <= FURTHEST:
        wrong = "not above 0" if horizon < 1 else f"more than {FURTHEST:,}, the furthest that is forecast"
        hint = "give 1 or more" if horizon < 1 else "`seqloom sample` makes series of any length"
        raise ConfigError(f"{horizon:,} is {wrong}", path="--horizon", hint=hint)


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
