"""How far apart dates stand: common steps, of days, months and workdays."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.spelling import DAY, LONG_WEEKDAYS, Instants

LAST, LAST_WORKDAY, FIRST_WORKDAY = "last day", "last workday", "first workday"
WORKDAYS = (0, 1, 2, 3, 4)


def often(every: str) -> dict[str, Any] | None:
    """The step that a frequency such as `15min`, `H`, `B`, `W-SUN`, `MS` or `QE-DEC` is, as pandas writes them."""
    match = re.fullmatch(r"([0-9]*)([A-Za-z]+)(?:-[A-Z]{3})?", every.strip())
    if match is None:
        return None
    count, unit = int(match.group(1) or 1), match.group(2)
    months = {"M": 1, "ME": 1, "MS": 1, "Q": 3, "QE": 3, "QS": 3, "A": 12, "Y": 12, "YE": 12, "YS": 12, "AS": 12}
    seconds = {
        "S": 1.0,
        "T": 60.0,
        "MIN": 60.0,
        "H": 3600.0,
        "D": 86_400.0,
        "W": 604_800.0,
        "L": 0.001,
        "MS": 0.001,
    }
    if unit == "B":
        return {"step": 86_400.0 * count, "weekdays": WORKDAYS}
    if unit in months:
        return {
            "months": months[unit] * count,
            "day": LAST if unit in {"M", "ME", "Q", "QE", "A", "Y", "YE"} else "",
        }
    return {"step": seconds[unit.upper()] * count} if unit.upper() in seconds else None


def _most_common(gaps: NDArray[np.int64]) -> float:
    """The most common gap; of those that are equally common the smallest."""
    values, counts = np.unique(gaps, return_counts=True)
    return float(values[np.argmax(counts)])


def usual(gaps: NDArray[np.int64]) -> float:
    """The most common gap, or the median where none is common: then times are not even."""
    common_gap = _most_common(gaps)
    return common_gap if (gaps == common_gap).mean() >= 0.3 else float(np.median(gaps))


def evenness(instants: Instants) -> float:
    """How plausible a reading of dates is: the share of the common step; negative where they go to and fro."""
    gaps = np.diff(instants)
    if not len(gaps):
        return 0.0
    if (gaps < 0).all():
        gaps, instants = -gaps, instants[::-1]
    if (gaps < 0).mean() > 0.01:
        return -float((gaps < 0).mean())
    months = monthly([instants])
    if months:
        # A step that is no part of a year and no years is a sign that dates are read wrongly: 2011/12 is a year, too.
        return months[2] * (1.0 if 12 % months[0] == 0 or months[0] % 12 == 0 else 0.9)
    # Workdays are as even as all days: three days over a weekend are one step.
    days = gaps // DAY
    even = gaps == _most_common(gaps)
    if (gaps % DAY == 0).all() and weekdays_of([instants]):
        even |= days <= 3
    return float(even.mean())


def monthly(pieces: Sequence[Instants]) -> tuple[int, str, float] | None:
    """The common step in months, on which day, and its share; None where the day is not fixed."""
    days = np.concatenate(list(pieces)) // DAY
    if len(days) < 2:
        return None
    stamps = days.astype("M8[D]")
    month = stamps.astype("M8[M]").astype(np.int64)
    first = month.astype("M8[M]").astype("M8[D]")
    after = (month + 1).astype("M8[M]").astype("M8[D]")
    number = (stamps - first).astype(np.int64) + 1
    length = (after - first).astype(np.int64)
    if len(np.unique(np.concatenate([piece % DAY for piece in pieces]))) > 1:
        return None
    if (number == length).all():
        day = LAST
    elif (number == np.minimum(number.max(), length)).all():
        day = str(number.max())
    elif (stamps == np.busday_offset(after, -1, roll="forward")).all():
        day = LAST_WORKDAY
    elif (stamps == np.busday_offset(first, 0, roll="forward")).all():
        day = FIRST_WORKDAY
    else:
        return None
    ends = np.cumsum([len(piece) for piece in pieces])[:-1]
    gaps = np.concatenate([np.diff(part) for part in np.split(month, ends)])
    if not len(gaps) or (gaps <= 0).any():
        return None
    months = int(_most_common(gaps))
    return months, day, float((gaps == months).mean())


def weekdays_of(pieces: Sequence[Instants]) -> tuple[int, ...]:
    """The days of the week that a daily series has, where it leaves some out each week; else none."""
    days = np.concatenate([piece // DAY for piece in pieces])
    present = tuple(int(number) for number in np.unique((days + 3) % 7))
    span = sum(int(piece[-1] - piece[0]) // DAY + 1 for piece in pieces if len(piece))
    if len(present) == 7 or len(present) < 2 or span < 10:
        return ()
    return present if len(days) >= 0.6 * span * len(present) / 7 else ()


def names_of(weekdays: Sequence[int]) -> str:
    """Days of the week in words."""
    return ", ".join(LONG_WEEKDAYS[number] for number in weekdays)
