"""Cells that are intervals, such as `01.01.2024 00:00 - 01.01.2024 01:00` or `2023/24`: they begin on a date."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import takewhile

import numpy as np

from seqloom.codecs.spelling import DAY, SECOND, TIMES, Instants, candidates, common, pattern_of

UNTIL = (" - ", " – ", " to ", " bis ", " / ", "/", "–", "-")
"""What stands between the beginning and the end."""
MOSTLY = 0.8
"""The least share of cells that are intervals where a column holds them; the others are mistakes."""
NEXT_YEAR = "%y"
"""How the end of a financial year such as 2023/24 is spelled."""
_YEAR = re.compile(r"(?:.*[^0-9])?([0-9]{4})")
_OFFSETS = 2
"""So many distances from UTC one clock has in a file at most: more of them are ends of intervals."""
_SMALLEST = (("S", SECOND), ("M", 60 * SECOND), ("HIk", 3600 * SECOND), ("djJu", DAY), ("V", 7 * DAY))
"""Microseconds of what is smallest in a spelling that has one of these parts."""


def interval_in(cells: Sequence[str]) -> tuple[str, str] | None:
    """What stands between the two dates of cells, and how the second is spelled; None where they are no intervals.

    The second has no spelling of its own where it is written as the first one is.
    """
    for until in UNTIL:
        found = [cell for cell in cells if until in cell]
        if len(found) < max(MOSTLY * len(cells), 1):
            continue
        if until in {"/", "–", "-"} and _are_years(found, until):
            return until, NEXT_YEAR
        for ends in (time for time in TIMES if "p" not in time):
            if _end_by_the_clock(found, until, ends):
                return until, ends
        few = [*found[:2], *found[-2:]]  # a mistake among the others is named by its line when all are read
        halves = [half for cell in few for half in halves_of(cell, until, "") or ("",)]
        if _are_dates(halves) and not common(few, named=True):
            return until, ""
    return None


def halves_of(cell: str, until: str, ends: str) -> tuple[str, str] | None:
    """The beginning and the end of an interval; None where a cell is none."""
    if ends:
        match = _ending(until, ends).fullmatch(cell)
        return None if match is None else (match.group("beginning"), match.group("ending"))
    places = [match.start() for match in re.finditer(re.escape(until), cell)]
    if not places:
        return None
    middle = min(places, key=lambda place: abs(2 * place + len(until) - len(cell)))
    return cell[:middle], cell[middle + len(until) :]


@lru_cache(maxsize=256)
def _ending(until: str, ends: str) -> re.Pattern[str]:
    return re.compile(f"(?s:(?P<beginning>.+?)){re.escape(until)}(?P<ending>{pattern_of(ends)})")


def last_before(instants: Instants, spelling: str) -> Instants:
    """The last date before each of these that a spelling can tell from it."""
    letters = set(re.findall("%[-^_]?([a-zA-Z])", spelling))
    for parts, size in _SMALLEST:
        if letters & set(parts):
            return instants - size
    months = instants.astype("M8[us]").astype("M8[M]") - (1 if letters & set("mbB") else 12)
    return np.asarray(months.astype("M8[us]").astype(np.int64))


def _are_years(cells: Sequence[str], until: str) -> bool:
    """Whether cells are years with the two digits of the next one, such as 2023/24; one alone may be a month."""
    parts = [cell.rpartition(until) for cell in cells]
    years = [(_YEAR.fullmatch(begin), end) for begin, _, end in parts]
    following = all(year and end == f"{(int(year.group(1)) + 1) % 100:02d}" for year, end in years)
    return following and len(set(cells)) > 1 and bool(common([begin for begin, _, _ in parts], named=True))


def _end_by_the_clock(cells: Sequence[str], until: str, ends: str) -> bool:
    """Whether cells are moments and the time at which each ends; a distance from UTC is no such time."""
    known = [half for half in takewhile(bool, (halves_of(cell, until, ends) for cell in cells)) if half]
    if len(known) < len(cells) or (until == "-" and len({end for _, end in known}) <= _OFFSETS):
        return False
    begins = [begin for begin, _ in known]
    if not any(spelling.endswith(ends) for spelling in candidates(begins[0])):  # in nearly all cases one tells
        return False
    return any(spelling.endswith(ends) for spelling in common(begins))


def _are_dates(halves: Sequence[str]) -> bool:
    """Whether beginnings and ends are dates; of bare years the two must always be as many years apart."""
    if not common(halves, named=True):
        return False
    if any(re.fullmatch("[0-9]+", half) for half in halves):
        apart = {int(end) - int(begin) for begin, end in zip(halves[::2], halves[1::2], strict=True) if end.isdigit()}
        return len(apart) == 1 and 0 <= apart.pop() <= 10 and all(len(half) == 4 for half in halves)
    return True
