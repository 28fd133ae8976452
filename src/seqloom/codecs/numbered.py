"""Dates that are numbers: rows that are counted, epochs, the days of Excel, and years with a fraction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.spelling import DAY, DIGITS, SECOND, Instants, common

INTEGER = "integer"
NUMBER = "number"
EXCEL = "Excel days"
"""Days since the end of 1899, as Excel counts them; a fraction is the time of the day."""
DECIMAL_YEAR = "decimal year"
"""Years of which months are twelfths, such as 1960.25, as statistical programs write them."""
EPOCHS = {"epoch seconds": SECOND, "epoch milliseconds": 1000, "epoch microseconds": 1, "epoch nanoseconds": 0.001}
"""Whole numbers that count from the beginning of 1970, and the microseconds of one."""
NUMBERS = frozenset({INTEGER, NUMBER, EXCEL, DECIMAL_YEAR, *EPOCHS})
"""Dates that are numbers, and have no spelling as `strftime` has it."""
COUNTS = frozenset({INTEGER, NUMBER})
"""Numbers that are no times: they count the rows, or what lies between them."""
SAMPLE = 60
"""Cells by which it is told what a column holds, before all of it is read."""
TWELFTH = 0.07
"""Months by which a twelfth of a year may be off that is written with two digits."""
_WHOLE = re.compile(r"-?[0-9]{1,19}")
_POINT = re.compile(r"\.0+$")
_DECIMAL = re.compile(r"-?[0-9]{1,12}\.?[0-9]{0,6}")
_DECIMAL_YEAR = re.compile(r"[12][0-9]{3}(\.[0-9]{1,16})?")
_SINCE_1899 = 25_569
"""Days from the one that Excel calls 0 to the beginning of 1970."""
_GRAINS = ((5, 1), (4, 60), (3, 900), (0, 3600))
"""Decimals of a day, and the seconds to which so many of them are rounded: 0.0417 is an hour."""


class Numbered(NamedTuple):
    """Dates that are numbers, as they were read."""

    kind: str
    """One of NUMBERS."""
    instants: Instants
    fraction: int = 0
    """Digits after the point."""
    point: str = ""
    """The `.0` that follows every whole number."""


def numbered(texts: Sequence[str], kind: str) -> Numbered | None:
    """Cells as numbers of a kind, or of the one that they look like; None where they are dates of no such kind."""
    if kind == EXCEL:
        return _excel_days(texts)
    if kind == DECIMAL_YEAR:
        return _decimal_years(texts)
    if kind:
        return _decimals(texts, kind) if kind == NUMBER else _whole(texts, kind)
    return _whole(texts, "") or (_decimal_years(texts) if are_decimal_years(texts) else None) or _decimals(texts, "")


def number_text(instant: int, kind: str, fraction: int, point: str) -> str:
    """An instant as numbers of a kind are written."""
    if kind == NUMBER:
        return f"{instant / 10**fraction:.{fraction}f}"
    if kind == EXCEL:
        return f"{instant / DAY + _SINCE_1899:.{fraction}f}"
    if kind == DECIMAL_YEAR:
        month = int(np.int64(instant).astype("M8[us]").astype("M8[M]").astype(np.int64))
        return f"{1970 + month / 12:.{fraction}f}"
    return f"{int(instant // EPOCHS.get(kind, 1))}{point}"


def counted(texts: Sequence[str], places: int) -> Instants | None:
    """Decimals in units of so many places, so that 1.0 is a hundred hundredths; None where a cell is none."""
    if not all(_DECIMAL.fullmatch(text) for text in texts):
        return None
    return np.array([round(float(text) * 10.0**places) for text in texts], np.int64)


def point_of(texts: Sequence[str]) -> str:
    """The `.0` that follows all of these whole numbers, of which dates such as 20240131.0 are some."""
    match = _POINT.search(texts[0])
    end = match.group() if match else ""
    return end if end and all(_is_whole(text, end) for text in texts) else ""


def are_decimal_years(texts: Sequence[str]) -> bool:
    """Whether cells are years of which some have a fraction, and all fractions are twelfths."""
    months = _months_of(texts)
    return months is not None and bool((months % 12).any())


def sample_of(texts: Sequence[str]) -> list[str]:
    """A few cells from everywhere in a column, the first and the last among them."""
    if len(texts) <= SAMPLE:
        return list(texts)
    return [texts[i] for i in np.unique(np.linspace(0, len(texts) - 1, SAMPLE).astype(int))]


def _whole(texts: Sequence[str], kind: str) -> Numbered | None:
    point = point_of(texts)
    bare = [text.removesuffix(point) for text in texts] if point else texts
    if not all(_WHOLE.fullmatch(text) for text in bare):
        return None
    whole = np.array([int(text) for text in bare], np.int64)
    kind = kind or _kind_of(sample_of(bare), whole)
    if not kind:
        return None
    unit = EPOCHS.get(kind, 1)
    return Numbered(kind, whole * int(unit) if unit >= 1 else whole // round(1 / unit), point=point)


def _decimals(texts: Sequence[str], kind: str) -> Numbered | None:
    if not kind and ("." not in texts[0] or point_of(texts)):
        return None
    places = _places(texts)
    instants = counted(texts, places)
    return None if instants is None else Numbered(NUMBER, instants, places)


def _excel_days(texts: Sequence[str]) -> Numbered | None:
    if not all(_DECIMAL.fullmatch(text) for text in texts):
        return None
    places = _places(texts)
    grain = next(grain for least, grain in _GRAINS if places >= least)
    steps = np.rint((np.array(texts, np.float64) - _SINCE_1899) * 86_400 / grain)
    return Numbered(EXCEL, steps.astype(np.int64) * grain * SECOND, places)


def _decimal_years(texts: Sequence[str]) -> Numbered | None:
    months = _months_of(texts)
    if months is None:
        return None
    instants = months.astype("M8[M]").astype("M8[us]").astype(np.int64)
    return Numbered(DECIMAL_YEAR, instants, _places(texts))


def _months_of(texts: Sequence[str]) -> NDArray[np.int64] | None:
    """Months since 1970; None where a cell is no year with twelfths."""
    if not all(_DECIMAL_YEAR.fullmatch(text) for text in texts):
        return None
    exact = 12 * (np.array(texts, np.float64) - 1970)
    months = np.rint(exact).astype(np.int64)
    return months if np.abs(exact - months).max(initial=0.0) < TWELFTH else None


def _places(texts: Sequence[str]) -> int:
    return max(len(text.partition(".")[2]) for text in texts)


def _is_whole(text: str, end: str) -> bool:
    return text.endswith(end) and _WHOLE.fullmatch(text.removesuffix(end)) is not None


def _kind_of(texts: Sequence[str], whole: NDArray[np.int64]) -> str:
    """What whole numbers count, told from a few of them; nothing where they are years or dates such as 20240131."""
    compact = common(texts, named=True)
    low, high = int(whole.min()), int(whole.max())
    centuries = {text[:2] for text in texts}
    if centuries <= {"17", "18", "19", "20", "21"}:
        if "%Y%m" in compact or (len(texts[0]) == 8 and compact):
            return ""
        if centuries <= {"19", "20"} and set(DIGITS.get(len(texts[0]), ())) & set(compact):
            return ""
    if "%y%m%d" in compact and len(texts[0]) == 6:
        return ""
    if "%Y" in compact and low >= 1000 and high <= 2999:
        return ""
    if low >= 10**14 and high < 10**16:
        return "epoch microseconds"
    if low >= 10**17:
        return "epoch nanoseconds"
    if low >= 10**11 and high < 10**14:
        return "epoch milliseconds"
    return "epoch seconds" if low >= 10**8 and high < 10**11 else INTEGER
