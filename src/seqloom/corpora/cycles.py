"""The calendar as numbers: where in the hour, the day, the week, the month and the year a moment lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seqloom.core.config import nearest
from seqloom.core.errors import ConfigError

Moments = NDArray[np.int64]
"""Microseconds since the beginning of 1970, on the clock of a place."""
Shares = NDArray[np.float64]

SECOND = 1_000_000
HOUR, DAY = 3600 * SECOND, 86_400 * SECOND
THURSDAY = 3
"""The first of January 1970 was a Thursday: so many days after a Monday."""


@dataclass(frozen=True)
class Cycle:
    """Something that comes round: how long it is, and at which share of it a moment lies."""

    seconds: float
    waves: int
    """Pairs of sine and cosine, of once round, twice round ...: three make of a week any function of its days."""
    least: int
    """How often data must have seen it, so that it is not taken for the one time that it was."""
    share: Callable[[Moments], Shares]


def _days_of(moments: Moments, unit: Literal["M", "Y"]) -> tuple[Moments, Moments]:
    """The day since 1970 on which the month or year of each moment begins, and how many days it has."""
    period = (moments // DAY).astype("M8[D]").astype(f"M8[{unit}]")
    first, after = (edge.astype("M8[D]").astype(np.int64) for edge in (period, period + 1))
    return first, after - first


def _share_of(moments: Moments, unit: Literal["M", "Y"]) -> Shares:
    first, length = _days_of(moments, unit)
    return np.asarray((moments // DAY - first) / length)


CYCLES = {
    "hour": Cycle(3600, 1, 4, lambda moments: moments % HOUR / HOUR),
    "day": Cycle(86_400, 2, 4, lambda moments: moments % DAY / DAY),
    "week": Cycle(7 * 86_400, 3, 4, lambda moments: (moments // DAY + THURSDAY) % 7 / 7),
    "month": Cycle(30.4 * 86_400, 2, 36, partial(_share_of, unit="M")),
    "year": Cycle(365.2 * 86_400, 2, 3, partial(_share_of, unit="Y")),
}
LENGTH = "length"
"""How many days the month of a row has: of monthly rows, which are longer or shorter by that."""
MONTHLY = (28 * 86_400, 31 * 86_400)
"""Seconds between rows that are a month apart."""


def suited(pieces: Sequence[Moments], wanted: Sequence[str] = ()) -> list[str]:
    """The names of the numbers that vary and come round in one or more series of these moments.

    A cycle is of use where a row is a part of it and the data hold it a few times. With `wanted` these cycles are
    taken, however often they are seen.
    """
    for name in wanted:
        if name not in (*CYCLES, LENGTH):
            raise ConfigError(f"there is no cycle {name!r}", path="source", hint=nearest(name, (*CYCLES, LENGTH)))
    steps = np.concatenate([np.diff(piece) for piece in pieces] or [np.zeros(0, np.int64)])
    if not len(steps):
        return []
    step = float(np.median(steps)) / SECOND
    span = max(float(piece[-1] - piece[0]) / SECOND + step for piece in pieces if len(piece))
    names = []
    for name, cycle in CYCLES.items():
        # Rows see a wave that goes round less often than every second row.
        waves = min(cycle.waves, int((cycle.seconds / step - 1) // 2))
        if name in wanted if wanted else span >= cycle.least * cycle.seconds:
            names += [f"{name}_{side}{k}" for k in range(1, waves + 1) for side in ("sin", "cos")]
    monthly = MONTHLY[0] <= step <= MONTHLY[1]
    return [*names, LENGTH] if (LENGTH in wanted if wanted else monthly) else names


def phases(moments: Moments, names: Sequence[str]) -> Shares:
    """These numbers (T,D) of each moment (T,)."""
    columns = []
    for name in names:
        if name == LENGTH:
            columns.append(_days_of(moments, "M")[1].astype(np.float64))
            continue
        cycle, _, wave = name.partition("_")
        side, k = wave[:3], int(wave[3:])
        angle = 2 * np.pi * k * CYCLES[cycle].share(moments)
        columns.append(np.sin(angle) if side == "sin" else np.cos(angle))
    return np.stack(columns, 1)
