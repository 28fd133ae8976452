"""Clocks of places: local times and summer time, told from the data in both directions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from seqloom.codecs.spelling import Instants
from seqloom.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars

HOUR = 3_600_000_000
PLACES = (
    "Europe/Berlin", "Europe/London", "Europe/Athens", "America/New_York", "America/Chicago", "America/Denver",
    "America/Los_Angeles", "America/Halifax", "America/St_Johns", "America/Anchorage", "Australia/Sydney",
    "Australia/Adelaide", "Pacific/Auckland", "America/Sao_Paulo", "America/Santiago", "America/Havana",
    "Asia/Jerusalem", "Europe/Moscow", "Asia/Tehran", "Africa/Cairo", "Atlantic/Azores",
)  # fmt: skip
"""One place for each way of changing clocks: of those that explain the data the first is named."""
OFFSET = " ?(?:Z|UTC|GMT|[A-Z]{2,4}T|[+-][0-9]{2}(?::?[0-9]{2})?)"
_BRACKET = re.compile(r" ?\[([A-Za-z][\w+/-]*)\]$| ([A-Z][A-Za-z]+/[A-Z][\w+/-]*)$")
"""The name of a place after a time, as Java and RFC 9557 write it, or by itself."""
NAMED = {
    "Z": 0, "UTC": 0, "GMT": 0, "WET": 0, "WEST": 1, "BST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "EST": -5,
    "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7, "AEST": 10, "AEDT": 11, "JST": 9,
}  # fmt: skip
"""Hours of the zones that are written by name."""


def seconds_of(text: str) -> int:
    """The seconds of a zone such as `+02:00`, `-0530` or `CEST`."""
    text = text.strip()
    if text in NAMED:
        return NAMED[text] * 3600
    match = re.fullmatch(r"([+-])([0-9]{2}):?([0-9]{2})?", text)
    if match is None:
        raise DataError(f"{text!r} is no time zone that is known", hint="write it as +02:00")
    sign = -1 if match.group(1) == "-" else 1
    return sign * (int(match.group(2)) * 3600 + int(match.group(3) or 0) * 60)


def bracket_of(text: str) -> str:
    """The name of a place that follows a time, as it is written; nothing where none does."""
    match = _BRACKET.search(text)
    return match.group() if match else ""


def place_named(bracket: str) -> str:
    """The place whose name follows times; nothing where it is none whose clock is known."""
    match = _BRACKET.search(bracket)
    place = (match.group(1) or match.group(2)) if match else ""
    try:
        return _known(place) if place else ""
    except ConfigError:
        return ""


def offset_text(seconds: int) -> str:
    """Seconds as a zone is written: `+02:00`."""
    minutes = abs(seconds) // 60
    return f"{'-' if seconds < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"


def local(instants: Instants, place: str) -> Instants:
    """What the clock of a place shows at these universal instants."""
    import polars

    times = _moments(instants).dt.replace_time_zone("UTC").dt.convert_time_zone(_known(place))
    return np.asarray(times.dt.replace_time_zone(None).cast(polars.Int64).to_numpy(), np.int64)


def universal(times: Instants, place: str) -> Instants:
    """The instants at which the clock of a place shows these times, which follow each other.

    A time that is shown twice, when clocks go back, is the first of the two unless the rows before it have passed it.
    DataError where the clock never shows a time.
    """
    early, late = _both(times, place)
    if (early < 0).any() and (never := np.flatnonzero(early == _NEVER)).size:
        shown = np.datetime64(int(times[never[0]]), "us")
        raise DataError(
            f"the clock of {place} never showed {str(shown)[:16].replace('T', ' ')}",
            hint="codec.dialect.zone=UTC says that the clock never changes",
        )
    return _in_order(early, late)


def place_of(pieces: Sequence[Instants]) -> str:
    """The place whose clock explains hours that are there twice, or not at all; nothing where none needs explaining.

    A clock is told from the data where every change of it in their time shows: the hour that is there twice in autumn,
    the one that is left out in spring, and no row in it.
    """
    gaps = [np.diff(piece) for piece in pieces]
    flat = np.concatenate(gaps) if gaps else np.zeros(0, np.int64)
    forward = flat[flat > 0]
    if len(flat) < 3 or not len(forward):
        return ""
    values, counts = np.unique(forward, return_counts=True)
    step = int(values[np.argmax(counts)])
    back, jump = int((flat <= 0).sum()), int((flat == step + HOUR).sum())
    if step > HOUR * 3 or not (back or jump) or back + jump > max(len(flat) / 20, 1):
        return ""
    best, found = back + jump, ""
    for place in PLACES:
        odd = 0
        for piece in pieces:
            early, late = _both(piece, place)
            if (early == _NEVER).any():
                odd = best
                break
            steps = np.diff(_in_order(early, late))
            odd += int((steps <= 0).sum() + (steps == step + HOUR).sum())
        if odd < best:
            best, found = odd, place
        if not best:
            break
    return found


def place_of_offsets(instants: Instants, offsets: Instants) -> str:
    """The place whose clock was so many microseconds ahead at these instants; else a zone that never changes."""
    for place in PLACES:
        if np.array_equal(local(instants, place) - instants, offsets):
            return place
    hours = int(offsets[-1]) // HOUR
    return f"Etc/GMT{-hours:+d}" if hours else "UTC"


_NEVER = np.iinfo(np.int64).min


def _both(times: Instants, place: str) -> tuple[Instants, Instants]:
    """The first and the last instant at which a clock shows each time."""
    import polars

    found = []
    for which in ("earliest", "latest"):
        zoned = _moments(times).dt.replace_time_zone(_known(place), ambiguous=which, non_existent="null")
        found.append(zoned.dt.convert_time_zone("UTC").cast(polars.Int64).fill_null(_NEVER).to_numpy())
    return found[0], found[1]


def _in_order(early: Instants, late: Instants) -> Instants:
    """Of two instants of each row the one that goes forward."""
    chosen = early.copy()
    for i in np.flatnonzero(early != late):
        if i and chosen[i - 1] >= early[i]:
            chosen[i] = late[i]
    return chosen


def _moments(instants: Instants) -> polars.Series:
    import polars

    return polars.Series(np.asarray(instants, np.int64)).cast(polars.Datetime("us"))


def _known(place: str) -> str:
    import polars

    try:
        polars.Series([0]).cast(polars.Datetime("us")).dt.replace_time_zone(place)
    except polars.exceptions.PolarsError:
        raise ConfigError(
            f"there is no time zone {place!r}", path="codec.dialect.zone", hint="such as Europe/Berlin, or UTC"
        ) from None
    return place
