"""Dates as a file writes them: inferred from the cells, checked, and continued in the same spelling."""

from __future__ import annotations

import calendar
import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Self

from seqloom.core.config import Settings
from seqloom.core.errors import DataError

INTEGER, SECONDS, MILLISECONDS = "integer", "epoch seconds", "epoch milliseconds"
FORMATS = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%Y%m%d",
)
"""Spellings that are tried, in this order: of several that fit, the first whose dates go forward most evenly."""

_WHOLE = re.compile(r"-?\d{1,15}")
_POINT = re.compile(r"\.0+$")
_ZONE = re.compile(r"(?<=:\d\d)(?:\.\d+)?(Z|[+-]\d\d:?\d\d)$")
_FRACTION = re.compile(r":\d\d\.(\d{1,6})$")
_MEAN_MONTH = 31_556_952 / 12

Moment = datetime | int


class Calendar(Settings):
    """How the dates of a file are written, and how far apart they stand."""

    format: str
    """As `strftime` spells it (`%-d`: without a leading zero), or `integer`, `epoch seconds`, `epoch milliseconds`."""
    step: float = 0.0
    """The most common step: in seconds, or in units of the integers; 0 where it is not known."""
    months: int = 0
    """The step in calendar months, where it is one; `step` is 0 then."""
    last_day: bool = False
    """Whether monthly dates stand on the last day of their month."""
    fraction: int = 0
    """Digits of a fraction of a second."""
    zone: str = ""
    """What follows every time, such as `Z` or `+00:00`, or the `.0` of epochs."""

    @classmethod
    def of(cls, texts: Sequence[str], path: Path | str = "", first_line: int = 2) -> tuple[Self, list[Moment]]:
        """The calendar of these cells and their moments; DataError where they do not parse, repeat or go backward."""
        point = _POINT.search(texts[0])
        tail = point.group() if point else ""
        whole = [text.removesuffix(tail) for text in texts if text.endswith(tail)]
        if len(whole) == len(texts) and all(_WHOLE.fullmatch(text) for text in whole) and not _is_compact(texts):
            kind = MILLISECONDS if int(whole[0]) >= 10**11 else SECONDS if int(whole[0]) >= 10**8 else INTEGER
            calendar = cls(format=kind, zone=tail)
            moments: list[Moment] = [int(text) for text in whole]
        else:
            calendar, moments = cls._spelled(texts, path, first_line)
        for i, (before, now) in enumerate(pairwise(_instants(moments)), 1):
            if now <= before:
                what = "repeats the one before it" if now == before else "goes backward"
                raise DataError(
                    f"the date {texts[i]!r} {what}",
                    path=path,
                    line=first_line + i,
                    hint="a series has one row a date, the oldest first: sort the rows, or split the file by series",
                )
        return calendar.replace(**_step(moments)), moments

    @classmethod
    def _spelled(cls, texts: Sequence[str], path: Path | str, first_line: int) -> tuple[Self, list[Moment]]:
        zone, fraction = _tail(texts[0])
        best: tuple[float, Self, list[Moment]] | None = None
        furthest, failing = -1, 0
        for spelling in FORMATS:
            plain = cls(format=spelling, fraction=fraction, zone=zone)
            moments = []
            for text in texts:
                moment = plain.read(text)
                if moment is None:
                    break
                moments.append(moment)
            if len(moments) < len(texts):
                if len(moments) > furthest:
                    furthest, failing = len(moments), len(moments)
                continue
            evenness = _evenness(moments)
            if best is None or evenness > best[0]:
                best = evenness, plain, moments
        if best is None:
            raise DataError(
                f"the date {texts[failing]!r} cannot be read"
                + (" as the ones before it are written" if furthest > 0 else ""),
                path=path,
                line=first_line + failing,
                hint="write all dates alike, such as 2024-01-31 or 2024-01-31 06:00:00",
            )
        _, calendar, moments = best
        if any(calendar.write(moment) != text for moment, text in zip(moments, texts, strict=True)):
            short = calendar.replace(format=re.sub("%([dmH])", r"%-\1", calendar.format))
            if all(short.write(moment) == text for moment, text in zip(moments, texts, strict=True)):
                calendar = short
        return calendar, moments

    @property
    def seconds(self) -> float | None:
        """Seconds between two rows (of a mean month, where the step is in months); None where not known."""
        if self.months:
            return self.months * _MEAN_MONTH
        if self.format == INTEGER or not self.step:
            return None
        return self.step / 1000 if self.format == MILLISECONDS else self.step

    @property
    def step_text(self) -> str:
        """The step in words."""
        if self.months:
            return f"{self.months} month{'s' * (self.months > 1)}"
        if not self.step:
            return "not known"
        if self.seconds is None:
            return f"{self.step:g}"
        for name, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
            if self.seconds % size == 0:
                count = int(self.seconds // size)
                return f"{count} {name}{'s' * (count > 1)}"
        return f"{self.seconds:g} s"

    def read(self, text: str) -> Moment | None:
        """The moment that a cell says, or None."""
        if self.format in {INTEGER, SECONDS, MILLISECONDS}:
            body = text.removesuffix(self.zone) if text.endswith(self.zone) else ""
            return int(body) if _WHOLE.fullmatch(body) else None
        if not text.endswith(self.zone):
            return None
        body = text.removesuffix(self.zone)
        spelling = self.format.replace("%-", "%") + (".%f" if self.fraction else "")
        try:
            if spelling.startswith("%Y-%m-%d") and len(body) >= 10:  # ten times as fast, and as strict
                moment = datetime.fromisoformat(body)
                return moment if self.write(moment) == text else None
            return datetime.strptime(body, spelling)
        except ValueError:
            return None

    def write(self, moment: Moment) -> str:
        """A moment as the file spells it."""
        if isinstance(moment, int):
            return f"{moment}{self.zone}"
        if self.format == "%Y-%m-%d %H:%M:%S" and not self.fraction:
            return moment.isoformat(" ", "seconds") + self.zone
        digits = f".{moment.microsecond:06d}"[: self.fraction + 1] if self.fraction else ""
        return f"{moment.strftime(self.format)}{digits}{self.zone}"

    def after(self, last: str, count: int, first: int = 1) -> tuple[str, ...]:
        """`count` dates that go on from `last`, beginning `first` steps after it."""
        moment = self.read(last)
        if moment is None or not (self.step or self.months):
            raise DataError(f"the dates after {last!r} are not known", hint="give a history of two rows or more")
        return tuple(self.write(self._later(moment, k)) for k in range(first, first + count))

    def jumps(self, texts: Sequence[str] | None) -> int:
        """How many of the steps between these dates are not the common one."""
        read = [self.read(text) for text in texts or ()]
        moments = [moment for moment in read if moment is not None]
        if len(moments) < 2:
            return 0
        expected = _instants([self._later(moment, 1) for moment in moments[:-1]])
        return sum(a != b for a, b in zip(expected, _instants(moments[1:]), strict=True))

    def _later(self, moment: Moment, steps: int) -> Moment:
        if isinstance(moment, int):
            return moment + round(steps * self.step)
        if not self.months:
            return moment + timedelta(seconds=steps * self.step)
        years, month = divmod(moment.month - 1 + steps * self.months, 12)
        year = moment.year + years
        longest = calendar.monthrange(year, month + 1)[1]
        return moment.replace(year=year, month=month + 1, day=longest if self.last_day else min(moment.day, longest))


def is_date(text: str) -> bool:
    """Whether a cell that is no number is written as a date."""
    zone, fraction = _tail(text)
    return any(Calendar(format=spelling, fraction=fraction, zone=zone).read(text) is not None for spelling in FORMATS)


def _tail(text: str) -> tuple[str, int]:
    """The zone and the digits of the fraction at the end of a time."""
    match = _ZONE.search(text)
    zone = match.group(1) if match else ""
    fraction = _FRACTION.search(text.removesuffix(zone))
    return zone, len(fraction.group(1)) if fraction else 0


def _is_compact(texts: Sequence[str]) -> bool:
    """Whether whole numbers are dates without separators, such as 20240131."""
    compact = Calendar(format="%Y%m%d")
    return all(len(text) == 8 and text[:2] in {"18", "19", "20", "21"} for text in texts) and all(
        compact.read(text) is not None for text in texts
    )


def _instants(moments: Sequence[Moment]) -> list[int]:
    """Moments as integers that can be compared and subtracted: microseconds, or the file's own integers."""
    microsecond = timedelta(microseconds=1)
    return [moment if isinstance(moment, int) else (moment - datetime.min) // microsecond for moment in moments]


def _common_step(moments: Sequence[Moment]) -> tuple[float, float]:
    """The most common step, in seconds or in units of the integers, and its share of all steps."""
    step, times = Counter(b - a for a, b in pairwise(_instants(moments))).most_common(1)[0]
    return step if isinstance(moments[0], int) else step / 1e6, times / (len(moments) - 1)


def _evenness(moments: Sequence[Moment]) -> float:
    """How plausible a reading of the dates is: -1 where they do not go forward, else the share of the common step."""
    if len(moments) < 2:
        return 0.0
    if any(b <= a for a, b in pairwise(_instants(moments))):
        return -1.0
    monthly = _monthly(moments)
    return monthly[2] if monthly else _common_step(moments)[1]


def _monthly(moments: Sequence[Moment]) -> tuple[int, bool, float] | None:
    """The common step in months, whether on the last day, and its share; None where the day is not fixed."""
    dates = [moment for moment in moments if isinstance(moment, datetime)]
    if len(dates) < 2 or len({moment.time() for moment in dates}) > 1:
        return None
    last = all(moment.day == calendar.monthrange(moment.year, moment.month)[1] for moment in dates)
    if not last and len({moment.day for moment in dates}) > 1:
        return None
    counts = Counter((b.year - a.year) * 12 + b.month - a.month for a, b in pairwise(dates))
    months, times = counts.most_common(1)[0]
    return (months, last, times / (len(dates) - 1)) if months >= 1 else None


def _step(moments: Sequence[Moment]) -> dict[str, float | int | bool]:
    if len(moments) < 2:
        return {}
    monthly = _monthly(moments)
    if monthly:
        return {"months": monthly[0], "last_day": monthly[1]}
    return {"step": _common_step(moments)[0]}
