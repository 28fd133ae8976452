"""How a date is spelled: formats as `strftime` has them, told from the cells, read all at once and written again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.months import LONG_MONTHS, MONTHS, in_english, months_of

if TYPE_CHECKING:
    import polars

Instants = NDArray[np.int64]
"""Microseconds since the beginning of 1970, universal or on the clock of a place; or the file's own whole numbers."""

SECOND = 1_000_000
DAY = 86_400 * SECOND
LONG_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
WEEKDAYS = tuple(name[:3] for name in LONG_WEEKDAYS)
PIVOT = 69
"""Years of two digits from here on are those of the twentieth century, as POSIX has it."""

CALENDAR_DATES = (
    "%Y-%m-%d", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y.%m.%d", "%d-%m-%Y", "%m-%d-%Y", "%Y%m%d",
    "%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%m-%y", "%m-%d-%y", "%y-%m-%d", "%y/%m/%d", "%d %m %Y", "%Y %m %d",
    "%d %b %Y", "%d-%b-%Y", "%d/%b/%Y", "%d.%b.%Y", "%d%b%Y", "%d. %b %Y", "%d de %b de %Y",
    "%d %b %y", "%d-%b-%y", "%d%b%y",
    "%b %d, %Y", "%b %d %Y", "%b-%d-%Y", "%Y-%b-%d", "%Y %b %d", "%Y/%b/%d",
    "%d %B %Y", "%d. %B %Y", "%d-%B-%Y", "%B %d, %Y", "%B %d %Y",
    "%a, %d %b %Y", "%a %d %b %Y", "%a %b %d %Y", "%a, %b %d, %Y", "%a %Y-%m-%d", "%a %d/%m/%Y", "%a %m/%d/%Y",
    "%A, %d %B %Y", "%A, %B %d, %Y", "%A %d %B %Y",
    "%o %B %Y", "%o %b %Y", "%o of %B %Y", "%o of %B, %Y", "%o %B, %Y", "%B %o, %Y", "%B %o %Y", "%b %o, %Y",
    "%b %o %Y", "%A, %B %o, %Y", "%A, %o %B %Y", "%A %o %B %Y",
    "%Y年%m月%d日", "%Y年 %m月 %d日", "%Y년 %m월 %d일", "%Y년%m월%d일",
    "%Y-%j", "%Y%j", "%y%m%d",
)  # fmt: skip
"""Days, in the order in which those that fit equally well are preferred."""
_WEEKS = tuple(
    form.replace("W", word)
    for word in ("W", "w", "W ", "KW", "KW ", "CW", "CW ", "Wk ", "wk ", "Week ", "week ", "S")
    for form in ("%G W%V", "%G-W%V", "%GW%V", "%G/W%V", "%G.W%V", "%G, W%V", "W%V %G", "W%V-%G", "W%V/%G", "W%V, %G",
                 "W%V of %G", "W%V.%G")
)  # fmt: skip
"""Weeks of ISO 8601, as they are called in English, German and French."""
_ROMAN = tuple(
    form.replace("R", word)
    for word in ("%r", "Q%r", "Q %r", "%rQ", "%r Q", "%r. Quartal", "%r quarter", "%r кв.", "%r kw.")
    for form in ("%Y R", "%Y-R", "%Y/R", "%Y.R", "%Y:R", "%YR", "R %Y", "R/%Y", "R-%Y", "R.%Y", "R, %Y", "R %y", "R/%y")
)
"""Quarters in Roman numerals."""
QUARTERS = ("I", "II", "III", "IV")
PERIODS = (
    "%Y-%m", "%Y/%m", "%m/%Y", "%m-%Y", "%m.%Y", "%YM%m", "%Y-M%m", "%Y M%m", "%Y:%m", "%Y%m",
    "%b-%y", "%b %y", "%b-%Y", "%b %Y", "%b de %Y", "%b/%Y", "%b/%y", "%b, %Y", "%b%y", "%b%Y", "%B %Y", "%B-%Y",
    "%B, %Y", "%B %y", "%B-%y", "%y-%b", "%Y-%b", "%Y %b", "%Y/%b", "%Y%b", "%Y %B", "%Y-%B",
    "%YQ%q", "%Y-Q%q", "%Y Q%q", "%Y:Q%q", "%Y/Q%q", "%Y.Q%q", "%Y:%q", "Q%q %Y", "Q%q-%Y", "Q%q/%Y", "Q%q%Y",
    "%q. Quartal %Y", "Quartal %q/%Y", "Quartal %q %Y", "T%q %Y", "T%q-%Y", "%Y-T%q", "%Y T%q", "%YT%q", "%qT%Y",
    "%qT %Y", "Q%q, %Y", "Q%q %y", "Q%q-%y", "Q%q/%y", "%qQ%Y", "%qQ %Y", "%qQ%y", "%q/%Y", "%yQ%q",
    *_ROMAN, *_WEEKS, "%G-W%V-%u", "%GW%V%u", "%G-%V", "%G/%V",
    "%YH%h", "%Y-H%h", "%Y H%h", "H%h %Y", "%YS%h", "%Y-S%h", "FY%Y", "FY %Y", "FY%y",
    "FY %y", "FY%YQ%q", "FY%Y Q%q", "FY%Y-Q%q", "FY%yQ%q", "FY%y Q%q", "FY%y-Q%q", "Q%q FY%Y", "Q%q FY%y",
    "Q%q-FY%Y", "Q%q-FY%y", "Q%qFY%Y", "Q%qFY%y", "%Y",
    "%Y年%m月", "%Y年第%q季度", "%Y年%q季度", "%Y年", "%Y년 %m월", "%Y년%m월", "%Y년 %q분기", "%Y년",
    "%Y年%m月%d日%H時", "%Y年%m月%d日%H时", "%Y年%m月%d日%H時%M分", "%Y年%m月%d日%H时%M分",
    "%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d%H",
)  # fmt: skip
"""Months, quarters, weeks and years, to which no time of day belongs, and dates whose parts stand side by side."""
DIGITS = {8: ("%Y%m%d",), 10: ("%Y%m%d%H",), 12: ("%Y%m%d%H%M",), 14: ("%Y%m%d%H%M%S",)}
"""Dates that are nothing but so many digits and begin with a year."""
TIMES = (
    "%H:%M:%S", "%H:%M", "%H.%M.%S", "%I:%M:%S %p", "%I:%M %p", "%I:%M:%S%p", "%I:%M%p", "%I %p", "%I%p", "%H%M%S",
    "%H%M", "%Hh", "%Hh%M", "%H時", "%H时", "%H時%M分", "%H时%M分", "%H시", "%H시 %M분", "%H",
    "%k:%M:%S", "%k:%M", "%k",
)  # fmt: skip
"""Times of the day; `%k` is an hour from 1 to 24, which is midnight."""
CLOCKS = ("%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M %p", "%I:%M:%S%p", "%I:%M%p")
"""Times of the day that may stand without a date."""
NEW_DAY = -3_600 * SECOND
"""Where times of the day go back by more than this, another day has begun."""
_SPACES = (" ", "T", ", ", " - ", "t", ":", "  ", "-", "\t")

_PATTERNS = {
    "Y": "[0-9]{4}", "y": "[0-9]{2}", "m": "[0-9]{1,2}", "d": "[0-9]{1,2}", "H": "[0-9]{1,2}", "I": "[0-9]{1,2}",
    "M": "[0-9]{1,2}", "S": "[0-9]{1,2}", "f": "[0-9]{1,9}", "p": "[AaPp]\\.?[Mm]\\.?", "j": "[0-9]{3}",
    "J": "[0-9]{1,3}", "q": "[1-4]", "r": "IV|I{1,3}", "o": "[0-9]{1,2}(?:st|nd|rd|th)",
    "k": "[0-9]{1,2}", "h": "[12]", "G": "[0-9]{4}", "V": "[0-9]{1,2}", "u": "[1-7]",
    "b": "(?i:" + "|".join(MONTHS) + ")", "B": "(?i:" + "|".join(LONG_MONTHS) + ")",
    "a": "(?i:" + "|".join(WEEKDAYS) + ")", "A": "(?i:" + "|".join(LONG_WEEKDAYS) + ")",
}  # fmt: skip
_DIRECTIVE = re.compile(r"%([-^_]?)([a-zA-Z])")
_ZONE = re.compile(
    r"(?:(?<=[:.][0-9]{2})|(?<=[0-9]{8}T[0-9]{4})|(?<=[0-9]{8}T[0-9]{6}))(?:[.,][0-9]+)?"
    r"( ?(?:Z|UTC|GMT|[A-Z]{2,4}T|[+-][0-9]{2}(?::?[0-9]{2})?))$"
)
_FRACTION = re.compile(r"(?:(?<=:[0-9]{2})|(?<=[0-9]{8}T[0-9]{6}))[.,]([0-9]{1,9})$")
_SHORT = {"%F": "%Y-%m-%d", "%T": "%H:%M:%S", "%R": "%H:%M", "%D": "%m/%d/%y"}
_TAIL = re.compile(r"(?:[.,]%f)?(?: ?%[zZ])?$")
_COMPACT = frozenset({"%k", "%Y%m%d", "%y%m%d", "%Y%m", "%Y%j", "%Y", "%H", "%H%M", "%H%M%S", "%m.%Y"}) | {
    spelling for several in DIGITS.values() for spelling in several
}
"""Spellings that a number may look like: they are taken where a column says by its name that it holds dates."""


def plain(spelling: str) -> str:
    """A spelling as a person gives it, without a zone and a fraction of a second: those are told from the cells.

    ValueError where it has a part that is not known here.
    """
    for short, long in _SHORT.items():
        spelling = spelling.replace(short, long)
    spelling = _TAIL.sub("", spelling)
    for part in re.findall("%[-^_]?.?", spelling):
        if not _DIRECTIVE.fullmatch(part) or part[-1] not in _PATTERNS or part[-1] == "f":
            where = "stands at the end alone" if part[-1] in "fzZ" else "is no part of a date that can be read"
            raise ValueError(f"{part} {where}; there are {' '.join(f'%{letter}' for letter in _PATTERNS)} %z")
    return spelling


def pattern_of(spelling: str) -> str:
    """A regular expression, for `re` and for polars alike, whose groups are the parts of a date."""
    out, end = "", 0
    for match in _DIRECTIVE.finditer(spelling):
        out += re.escape(spelling[end : match.start()]).replace("\\ ", " ").replace("\\-", "-").replace("\\\t", "\t")
        letter = match.group(2)
        # Where numbers stand side by side nothing but their widths tells them apart.
        before = spelling[: match.start()]
        joined = spelling[match.end() : match.end() + 1] == "%" or before.endswith(("%Y", "%m", "%d", "%H", "%M"))
        out += f"(?P<{letter}>{_PATTERNS[letter].replace('{1,2}', '{2}') if joined else _PATTERNS[letter]})"
        end = match.end()
    return out + re.escape(spelling[end:])


@lru_cache(maxsize=1024)
def _expression(spelling: str) -> re.Pattern[str]:
    return re.compile(pattern_of(spelling))


@lru_cache(maxsize=1024)
def _signs(spelling: str) -> frozenset[str]:
    """The signs that stand in every date of a spelling, beside its parts."""
    return frozenset(_DIRECTIVE.sub("", spelling))


def tail(text: str) -> tuple[str, int]:
    """What follows a time: its zone, and how many digits of a fraction of a second."""
    match = _ZONE.search(text)
    zone = match.group(1) if match else ""
    fraction = _FRACTION.search(text.removesuffix(zone))
    return zone, len(fraction.group(1)) if fraction else 0


def bare(text: str) -> str:
    """A cell without its zone and its fraction of a second."""
    zone, fraction = tail(text)
    body = text.removesuffix(zone)
    return body[: -fraction - 1] if fraction else body


@lru_cache(maxsize=4096)
def candidates(text: str, *, named: bool = False) -> tuple[str, ...]:
    """The spellings in which a cell can be read, in the order of preference.

    Those that could be a number as well are there where `named`: the column is called a date.
    """
    body = bare(text)
    signs = set(body)
    possible = (one for one in (*CALENDAR_DATES, *PERIODS) if _signs(one) <= signs)  # most are told by that alone
    found = [spelling for spelling in possible if _expression(spelling).fullmatch(body)]
    for time in TIMES:
        match = re.search(f"(?<![0-9]){pattern_of(time)}$", body)
        if match is None:
            continue
        before = body[: match.start()]
        for space in _SPACES:
            if before.endswith(space) and len(before) > len(space):
                date = before.removesuffix(space)
                found += [
                    f"{spelling}{space}{time}" for spelling in CALENDAR_DATES if _expression(spelling).fullmatch(date)
                ]
                break
    found = [spelling for spelling in found if read_one(body, spelling) is not None]
    return tuple(spelling for spelling in found if named or spelling not in _COMPACT)


def common(texts: Iterable[str], *, named: bool = False) -> list[str]:
    """The spellings in which every one of these cells can be read."""
    kept: list[str] | None = None
    texts = list(texts)
    months = months_of(texts)
    for text in texts:
        text = in_english(text, months)
        if kept is None:
            kept = list(candidates(text, named=named))
        else:
            body = bare(text)
            kept = [spelling for spelling in kept if read_one(body, spelling) is not None]
        if not kept:
            return []
    return kept or []


def is_date(text: str) -> bool:
    """Whether a cell is written as a date."""
    return bool(common([text]))


def read_one(text: str, spelling: str) -> int | None:
    """The instant of one cell, zone and fraction taken off; None where it is not spelled so."""
    match = _expression(spelling).fullmatch(text)
    if match is None:
        return None
    parts = {name: np.array([_value(name, cell)]) for name, cell in match.groupdict().items()}
    instants, valid = _instants(parts, 1)
    return int(instants[0]) if valid[0] else None


def read_all(cells: polars.Series, spelling: str) -> tuple[Instants, NDArray[np.bool_]]:
    """The instants of a column of cells, zones and fractions taken off, and which of them are spelled so."""
    import polars

    groups = cells.str.extract_groups(f"^{pattern_of(spelling)}$").struct.unnest()
    parts, valid = {}, np.ones(len(cells), bool)
    for column in groups:
        name = column.name
        if name in "bBaApor":
            words = {word: _value(name, word) for word in column.unique().to_list() if word is not None}
            number = column.replace_strict(words, default=None, return_dtype=polars.Int64)
        else:
            number = column.cast(polars.Int64, strict=False)
        valid &= number.is_not_null().to_numpy()
        parts[name] = number.fill_null(1).to_numpy()
    instants, possible = _instants(parts, len(cells))
    return instants, valid & possible


def _value(name: str, cell: str) -> int:
    if name in "bB":
        return [month.lower() for month in MONTHS].index(cell[:3].lower()) + 1
    if name in "aA":
        return [day.lower() for day in WEEKDAYS].index(cell[:3].lower())
    if name == "p":
        return int(cell[0] in "pP")
    if name == "o":
        return int(cell[:-2])
    if name == "r":
        return QUARTERS.index(cell) + 1
    return int(cell)


def _instants(parts: dict[str, NDArray[np.int64]], size: int) -> tuple[Instants, NDArray[np.bool_]]:
    """Instants from the parts of dates, and which of them are days and times that there are."""
    valid = np.ones(size, bool)
    one = np.ones(size, np.int64)
    year = parts.get("Y", 1970 * one)
    year = parts["y"] + np.where(parts["y"] >= PIVOT, 1900, 2000) if "y" in parts else year
    if "V" in parts:
        fourth = _days(parts["G"], one, 4 * one)  # is always in week 1
        monday = fourth - (fourth + 3) % 7
        week, weekday = parts["V"], parts.get("u", one)
        days = monday + 7 * (week - 1) + weekday - 1
        thursday = (monday + 7 * (week - 1) + 3).astype("M8[D]").astype("M8[Y]").astype(np.int64) + 1970
        valid &= (week >= 1) & (thursday == parts["G"])
    elif "j" in parts or "J" in parts:
        of_year = parts["j"] if "j" in parts else parts["J"]
        days = _days(year, one, one) + of_year - 1
        valid &= (of_year >= 1) & (of_year <= _days(year + 1, one, one) - _days(year, one, one))
    else:
        month = parts.get("b", parts.get("B", parts.get("m", _first_month(parts, one))))
        day = parts.get("d", parts.get("o", one))
        valid &= (month >= 1) & (month <= 12) & (year >= 1)
        month = np.clip(month, 1, 12)
        first = _days(year, month, one)
        valid &= (day >= 1) & (day <= _days(year + month // 12, month % 12 + 1, one) - first)
        days = first + day - 1
    hour = parts.get("H", 0 * one)
    if "I" in parts:
        valid &= (parts["I"] >= 1) & (parts["I"] <= 12)
        hour = parts["I"] % 12 + 12 * parts.get("p", 0 * one)
    if "k" in parts:
        valid &= parts["k"] >= 1
        days, hour = days + parts["k"] // 24, parts["k"] % 24
    minute, second = parts.get("M", 0 * one), parts.get("S", 0 * one)
    valid &= (hour < 24) & (parts.get("k", one) <= 24) & (minute < 60) & (second < 60)
    return np.asarray(days * DAY + ((hour * 60 + minute) * 60 + second) * SECOND, np.int64), valid


def _first_month(parts: dict[str, NDArray[np.int64]], one: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first month of a quarter, of half a year or of a year."""
    return parts["h"] * 6 - 5 if "h" in parts else parts.get("q", parts.get("r", one)) * 3 - 2


def _days(year: NDArray[np.int64], month: NDArray[np.int64], day: NDArray[np.int64]) -> NDArray[np.int64]:
    """Days since 1970."""
    months = ((year - 1970) * 12 + month - 1).astype("M8[M]")
    return months.astype("M8[D]").astype(np.int64) + day - 1


def of_day(spelling: str) -> bool:
    """Whether a spelling is one of times of the day, without a date."""
    return {letter for _, letter in _DIRECTIVE.findall(spelling)} <= set("HIkMSp")


def clock_of(cells: Sequence[str]) -> str:
    """The spelling of cells that are times of the day without a date, which go on; empty where they are none."""
    import polars

    bodies = list(map(bare, cells))
    for spelling in CLOCKS:
        if bodies and _expression(spelling).fullmatch(bodies[0]):
            instants, valid = read_all(polars.Series(bodies, dtype=polars.String), spelling)
            steps = np.diff(instants)
            if not len(steps):
                return ""
            steps = -steps if (steps < 0).mean() > 0.5 else steps  # the newest row is the first
            back = steps < 0
            if valid.all() and back.mean() <= 1 / 3 and (steps[back] < NEW_DAY).all():
                return spelling
    return ""


def day_by_day(instants: Instants) -> Instants:
    """Times of the day with a day more at each midnight that lies between two of them, from the first one on."""
    steps = np.diff(instants)
    backward = len(steps) > 0 and float((steps < 0).mean()) > 0.5
    turns = (steps > -NEW_DAY).astype(np.int64) * -1 if backward else (steps < NEW_DAY).astype(np.int64)
    days: Instants = np.concatenate([np.zeros(1, np.int64), np.cumsum(turns)])
    return instants + DAY * days


def as_written(spelling: str, cells: Sequence[str]) -> str:
    """The spelling with `%-d` where the cells write no leading zero, and `%^b` where months are in capitals."""
    matches = [match for match in map(_expression(spelling).fullmatch, cells) if match]
    letters = {match.group(2) for match in _DIRECTIVE.finditer(spelling)}
    numbers = {letter: [match.group(letter) for match in matches] for letter in letters & set("mdHIVk")}
    changes = {letter: "-" for letter, cells in numbers.items() if any(len(cell) == 1 for cell in cells)}
    if changes:  # of the others those that show no zero are written as they are
        changes |= {letter: "-" for letter, cells in numbers.items() if not any(cell[0] == "0" for cell in cells)}
    for letter in letters & set("bBaA"):
        words = [match.group(letter) for match in matches]
        if words and all(word.isupper() for word in words):
            changes[letter] = "^"
        elif words and all(word.islower() for word in words):
            changes[letter] = "_"
    if "p" in letters and matches:
        changes["p"] = "_" if matches[0].group("p").islower() else ""
    return _DIRECTIVE.sub(lambda match: f"%{changes.get(match.group(2), match.group(1))}{match.group(2)}", spelling)


def written(instant: int, spelling: str, months: Sequence[str] = ()) -> str:
    """An instant in a spelling, with the names of months that a file has."""
    moment = datetime(1970, 1, 1) + timedelta(microseconds=instant)
    late = "k" in {letter for _, letter in _DIRECTIVE.findall(spelling)} and not moment.hour
    if late:  # midnight is the 24th hour of the day before
        moment -= timedelta(days=1)
    iso = moment.isocalendar()
    numbers = {
        "Y": (moment.year, 4), "y": (moment.year % 100, 2), "m": (moment.month, 2), "d": (moment.day, 2),
        "H": (moment.hour, 2), "I": ((moment.hour - 1) % 12 + 1, 2), "M": (moment.minute, 2), "S": (moment.second, 2),
        "j": (moment.timetuple().tm_yday, 3), "J": (moment.timetuple().tm_yday, 1),
        "q": ((moment.month + 2) // 3, 1), "G": (iso.year, 4),
        "k": (24 if late else moment.hour, 2), "h": ((moment.month + 5) // 6, 1), "V": (iso.week, 2),
        "u": (iso.weekday, 1),
    }  # fmt: skip
    words = {
        "b": MONTHS[moment.month - 1], "B": LONG_MONTHS[moment.month - 1], "a": WEEKDAYS[moment.weekday()],
        "A": LONG_WEEKDAYS[moment.weekday()], "p": "PM" if moment.hour >= 12 else "AM", "o": _ordinal(moment.day),
        "r": QUARTERS[(moment.month - 1) // 3],
    }  # fmt: skip

    def part(match: re.Match[str]) -> str:
        style, letter = match.groups()
        if letter in "bB" and months:
            return months[moment.month - 1]
        if letter in words:
            word = words[letter]
            return word.upper() if style == "^" else word.lower() if style == "_" else word
        number, width = numbers[letter]
        return str(number) if style == "-" else f"{number:0{width}d}"

    return _DIRECTIVE.sub(part, spelling)


def _ordinal(number: int) -> str:
    ending = "th" if 10 < number % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
