"""The calendar of a series: how its dates are spelled, how far apart its rows stand, and which dates come next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs import clocks
from seqloom.codecs.around import Around
from seqloom.codecs.intervals import last_before
from seqloom.codecs.months import in_english, months_of, names_a_month
from seqloom.codecs.numbered import COUNTS, NUMBER, NUMBERS, counted, number_text, numbered, point_of, sample_of
from seqloom.codecs.spelling import (
    DAY,
    SECOND,
    Instants,
    as_written,
    common,
    day_by_day,
    of_day,
    read_all,
    read_one,
    tail,
    written,
)
from seqloom.codecs.steps import (
    FIRST_WORKDAY,
    LAST,
    LAST_WORKDAY,
    WORKDAYS,
    evenness,
    monthly,
    names_of,
    usual,
    weekdays_of,
)
from seqloom.core.config import Settings
from seqloom.core.errors import DataError

if TYPE_CHECKING:
    import polars

_MEAN_MONTH = 31_556_952 / 12


class Calendar(Settings):
    """How the dates of a file are written, and how far apart they stand."""

    format: str
    """As `strftime` spells it (`%-d`: without a leading zero; `%q`: the quarter), or `integer`, `epoch seconds` ... A
    date in several columns has a tab between them."""
    step: float = 0.0
    """The common step: in seconds, or in units of the integers; 0 where it is not known, or in months."""
    months: int = 0
    """The step in calendar months, where it is one."""
    day: str = ""
    """On which day of the month monthly dates stand: a number (or the last day of a shorter month), `last day`, `last
    workday` or `first workday`."""
    weekdays: tuple[int, ...] = ()
    """The days of the week (Monday is 0) that a daily series has; none: all of them."""
    fraction: int = 0
    """Digits of a fraction of a second."""
    zone: str = ""
    """What follows every time, such as `Z` or `+00:00`, or the `.0` of epochs; `%z` where it changes."""
    place: str = ""
    """The place whose clock the times are on, such as `Europe/Berlin`, where summer time is told from the data."""
    around: Around = Around()
    """What cells hold beside their dates."""
    names: tuple[str, ...] = ()
    """The twelve months as the file writes them, where they are not the English ones of `%b` and `%B`."""

    @classmethod
    def of(cls, texts: Sequence[str], path: Path | str = "", first_line: int = 2) -> tuple[Self, Instants]:
        """The calendar of these cells, and their instants; DataError where they do not parse, repeat or go backward."""
        lines = range(first_line, first_line + len(texts))
        spelled, shown_instants = cls.spelled(texts, path, lines)
        placed, (instants,) = spelled.placed([shown_instants])
        check_order(texts, instants, path, lines)
        return placed.stepped([instants]), instants

    @classmethod
    def spelled(
        cls,
        texts: Sequence[str],
        path: Path | str = "",
        lines: Sequence[int] = (),
        spelling: str = "",
        pieces: Sequence[slice] = (slice(None),),
        zone: str = "",
        names: Sequence[str] = (),
    ) -> tuple[Self, Instants]:
        """How these cells are written, and their instants on the clock that they show; the step is left open.

        `spelling`, `zone` and `names` of months are ones that are known, `pieces` are the rows of the
        series that the cells are of.
        """
        around = Around.of(texts)
        if not around.empty:
            return cls._within(around, texts, path, lines, spelling, pieces, zone, names)
        if not spelling or spelling in NUMBERS:
            found = numbered(texts, spelling)
            if found is not None:
                return cls(format=found.kind, fraction=found.fraction, zone=found.point), found.instants
            if spelling:
                odd = next((i for i, text in enumerate(texts) if numbered([text], spelling) is None), 0)
                raise _unread(texts, odd, path, lines, spelling)
        return cls._in_words(texts, path, lines, spelling, pieces, zone, names)

    @classmethod
    def _within(
        cls, around: Around, texts: Sequence[str], path: Path | str, lines: Sequence[int], *spelled: Any
    ) -> tuple[Self, Instants]:
        """The same of cells that hold more than their dates."""
        parts = [around.parts(text) for text in texts]
        known = [part for part in parts if part is not None]
        if len(known) < len(texts):
            raise _unread(texts, parts.index(None), path, lines, "")
        begins, ends = [begin for begin, _ in known], [end for _, end in known]
        try:
            calendar, instants = cls.spelled(begins, path, lines, *spelled)
            if around.until and not around.ends:
                last = cls.spelled(ends, path, lines, calendar.format, zone=calendar.zone)[1]
                around = around.ending(instants, last, calendar.format)
        except DataError as error:
            if error.line is None:
                raise
            raise _unread(texts, lines.index(error.line), path, lines, "") from None
        return calendar.replace(around=around), instants

    @classmethod
    def _in_words(
        cls,
        texts: Sequence[str],
        path: Path | str,
        lines: Sequence[int],
        spelling: str,
        pieces: Sequence[slice],
        zone: str,
        names: Sequence[str],
    ) -> tuple[Self, Instants]:
        """The same of dates that have a spelling as `strftime` has it, and may have a fraction and a zone."""
        import polars

        point = point_of(texts)  # 20240131.0
        tails = [tail(text) for text in sample_of(texts)]
        zones, fraction = {zone for zone, _ in tails}, max(digits for _, digits in tails)
        if point:
            zones = {point}
        cells = polars.Series(texts, dtype=polars.String)
        zone = zone or (next(iter(zones)) if len(zones) == 1 else "%z")
        cells, zone, shifts = _without_zone(cells, zone)
        small: Instants | int = 0
        if fraction:
            cells, fraction, small = _without_fraction(cells, fraction)
        bodies = cells.to_list()
        worded = names or names_a_month(sample_of(bodies))
        own_names = months_of(bodies, names) if worded else ()
        if own_names:
            bodies = [in_english(body, own_names, long="%B" in spelling) for body in bodies]
            cells = polars.Series(bodies, dtype=polars.String)
        known = [spelling] if spelling else common(sample_of(bodies), named=True)
        chosen, instants, furthest = _most_even(cells, known, pieces)
        if instants is None:
            raise _unread(texts, _first_odd(bodies) if furthest < 0 else furthest, path, lines, spelling)
        calendar = cls(format=as_written(chosen, sample_of(bodies)), fraction=fraction, zone=zone, names=own_names)
        instants = day_by_day(instants + small) if of_day(chosen) else instants + small
        if shifts is None:
            return calendar, instants
        return calendar.replace(place=clocks.place_of_offsets(instants - shifts, shifts)), instants - shifts

    def respelled(self, texts: Sequence[str], path: Path | str, lines: Sequence[int]) -> tuple[Self, Instants]:
        """The calendar of other cells that are written so, and their instants on the clock that they show."""
        bare = self.around.bare(texts)
        calendar, instants = type(self).spelled(bare, path, lines, self.format, zone=self.zone, names=self.names)
        return calendar.replace(around=self.around), instants

    def placed(self, pieces: Sequence[Instants], place: str = "") -> tuple[Self, list[Instants]]:
        """The calendar with the place whose clock the times are on, and the instants of its pieces by that clock.

        `place` is one that is known. DataError where its clock never showed one of the times. Times that say how far
        their clock is from UTC are on the clock of a place that agrees with all of them; on that of another they stay.
        """
        place = place or clocks.place_named(self.around.bracket)
        if self.format in NUMBERS or (self.zone and not place):
            return self, list(pieces)
        if self.zone:
            instants = self._on_clock_of(pieces, place)
            named = self.zone != "%z" and self.zone[0] not in "+-"  # what has a name is written by no other clock
            if instants is None or named or (self.zone != "%z" and ":" not in self.zone):
                return self, list(pieces)
            return self.replace(zone="%z", place=place), instants
        found = place or clocks.place_of(pieces)
        if not found:
            return self, list(pieces)
        return self.replace(place=found), [clocks.universal(piece, found) for piece in pieces]

    def agrees(self, pieces: Sequence[Instants], place: str) -> bool:
        """Whether times that say how far their clock is from UTC say what the clock of a place does."""
        return not self.zone or self.format in NUMBERS or self._on_clock_of(pieces, place) is not None

    def _on_clock_of(self, pieces: Sequence[Instants], place: str) -> list[Instants] | None:
        """The universal instants of pieces that have a zone; None where the clock of a place disagrees with it."""
        if self.zone == "%z":
            instants, ahead = list(pieces), [self._local(piece) - piece for piece in pieces]
        else:
            try:
                offset = clocks.seconds_of(self.zone) * SECOND
            except DataError:  # a name that only its own place knows
                return None
            instants, ahead = [piece - offset for piece in pieces], [np.full(len(piece), offset) for piece in pieces]
        agree = (np.array_equal(clocks.local(one, place) - one, own) for one, own in zip(instants, ahead, strict=True))
        return instants if all(agree) else None

    def stepped(self, pieces: Sequence[Instants]) -> Self:
        """The calendar with the step of these series, whose instants go forward."""
        gaps = np.concatenate([np.diff(piece) for piece in pieces] or [np.zeros(0, np.int64)])
        if not len(gaps):
            return self
        if self.counts:
            return self.replace(step=usual(gaps) / 10**self.fraction)
        local = [self._local(piece) for piece in pieces]
        times = {int(time) for piece in local for time in np.unique(piece % DAY)[:2]}
        if len(times) == 1:
            months = monthly(local)
            if months is not None:
                return self.replace(months=months[0], day=months[1])
            days = usual(np.concatenate([np.diff(piece) for piece in local])) / SECOND
            weekdays = weekdays_of(local) if days == DAY / SECOND else ()
            return self.replace(step=days, weekdays=weekdays)
        return self.replace(step=usual(gaps) / SECOND)

    @property
    def stepping(self) -> bool:
        """Whether the step is known."""
        return bool(self.step or self.months)

    @property
    def counts(self) -> bool:
        """Whether the rows are numbered, and have no dates."""
        return self.format in COUNTS

    @property
    def seconds(self) -> float | None:
        """Seconds between two rows (of a mean month, where the step is in months); None where not known."""
        if self.months:
            return self.months * _MEAN_MONTH
        return None if self.counts or not self.step else self.step

    @property
    def unit(self) -> float:
        """How many of an instant's units are one of the step's."""
        return 10.0**self.fraction if self.counts else float(SECOND)

    @property
    def step_text(self) -> str:
        """The step in words."""
        if self.months:
            named = {1: "1 month", 3: "1 quarter", 12: "1 year"}.get(self.months, f"{self.months} months")
            if self.day in {"", "1"}:
                return named
            return f"{named}, on {f'day {self.day}' if self.day.isdigit() else f'its {self.day}'}"
        if not self.step:
            return "not known"
        if self.seconds is None:
            return f"{self.step:g}"
        if self.weekdays:
            return "1 workday" if self.weekdays == WORKDAYS else "1 day, " + names_of(self.weekdays)
        for name, size in (("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
            if self.seconds % size == 0:
                count = int(self.seconds // size)
                return f"{count} {name}{'s' * (count > 1)}"
        return f"{self.seconds * 1000:g} ms" if self.seconds < 1 else f"{self.seconds:g} s"

    def same_step(self, other: Calendar) -> bool:
        """Whether the rows of two calendars are as far apart, as far as both are known."""
        if not (self.stepping and other.stepping):
            return True
        return (self.seconds, self.seconds or self.step) == (other.seconds, other.seconds or other.step)

    def read(self, text: str) -> int | None:
        """The instant that a cell says, or None."""
        text = self.around.bare([text])[0]
        if not (
            self.zone or self.fraction or self.names or self.format in NUMBERS
        ):  # one cell alone is read sooner than a column
            instant = read_one(text, self.format)
            if instant is None or not self.place:
                return instant
            return int(clocks.universal(np.array([instant]), self.place)[0])
        if self.format == NUMBER:
            units = counted([text], self.fraction)
            return None if units is None else int(units[0])
        try:
            _, instants = Calendar.spelled([text], spelling=self.format, zone=self.zone, names=self.names)
        except DataError:
            return None
        if self.place and self.zone != "%z":
            return int(clocks.universal(instants, self.place)[0])
        return int(instants[0])

    def instants(self, texts: Sequence[str]) -> Instants:
        """The instants of dates that are spelled so, in their order."""
        texts = self.around.bare(texts)
        if self.format == NUMBER and (units := counted(texts, self.fraction)) is not None:
            return units
        _, instants = Calendar.spelled(texts, spelling=self.format, zone=self.zone, names=self.names)
        return clocks.universal(instants, self.place) if self.place and self.zone != "%z" else instants

    def moments(self, texts: Sequence[str]) -> Instants:
        """What the clock of the place shows on dates that are spelled so, in microseconds since 1970."""
        return self._local(self.instants(texts))

    def write(self, instant: int) -> str:
        """An instant as the file spells it: where its cells are intervals, the one that begins then."""
        text, around = self._written(instant), self.around
        if around.until and self.stepping:
            end = self.later(instant, np.array([1]))
            if around.inclusive:
                last = last_before(self._local(end), self.format)
                end = clocks.universal(last, self.place) if self.place else last
            own = (
                written(int(self._local(end)[0]), around.ends, self.names)
                if around.ends
                else self._written(int(end[0]))
            )
            text = f"{text}{around.until}{own}"
        return text + around.bracket

    def _written(self, instant: int) -> str:
        if self.format in NUMBERS:
            return number_text(instant, self.format, self.fraction, self.zone)
        local = int(self._local(np.array([instant]))[0])
        digits = f".{local % SECOND:06d}"[: self.fraction + 1].ljust(self.fraction + 1, "0") if self.fraction else ""
        zone = clocks.offset_text((local - instant) // SECOND) if self.zone == "%z" else self.zone
        return f"{written(local, self.format, self.names)}{digits}{zone}"

    def after(self, last: str, count: int, first: int = 1, before: Sequence[str] = ()) -> tuple[str, ...]:
        """`count` dates that go on from `last`, beginning `first` steps after it.

        The dates `before` it tell which of two hours it is in, where a clock that goes back shows one twice.
        """
        instant = self.read(last)
        if instant is not None and self.place and self.zone != "%z" and before:
            instant = int(self.instants((*before, last))[-1])
        if instant is None or not self.stepping:
            raise DataError(f"the dates after {shown(last)!r} are not known", hint="give a history of two rows or more")
        return tuple(self.write(int(later)) for later in self.later(instant, np.arange(first, first + count)))

    def stamps(self, first: int, last: int) -> Instants:
        """Every instant of this calendar from `first` to `last`."""
        least = self.months * 28 * DAY if self.months else self.step * self.unit
        instants = self.later(first, np.arange(int((last - first) // max(least, 1)) + 2))
        return instants[instants <= last]

    def jumps(self, texts: Sequence[str] | None) -> int:
        """How many of the steps between these dates are not the common one."""
        if not texts or len(texts) < 2 or not self.stepping:
            return 0
        instants = self.instants(texts)
        return int((self.later(instants[:-1], np.ones(len(texts) - 1, np.int64)) != instants[1:]).sum())

    def later(self, instant: int | Instants, steps: NDArray[np.int64]) -> Instants:
        """The instants so many steps after an instant."""
        if self.counts:
            return np.asarray(instant + np.rint(steps * self.step * self.unit), np.int64)
        days = not self.months and self.step * SECOND % DAY == 0
        if not self.months and not self.weekdays and not (days and self.place):
            return np.asarray(instant + np.rint(steps * self.step * SECOND), np.int64)
        local = self._local(np.atleast_1d(np.asarray(instant, np.int64)))
        day, time = local // DAY, local % DAY
        if self.months:
            day = self._month_day(day.astype("M8[D]").astype("M8[M]").astype(np.int64) + steps * self.months)
        elif self.weekdays:
            mask = [number in self.weekdays for number in range(7)]
            day = np.busday_offset(day.astype("M8[D]"), steps, roll="forward", weekmask=mask).astype(np.int64)
        else:
            day = day + np.rint(steps * self.step * SECOND / DAY).astype(np.int64)
        later = np.asarray(day * DAY + time, np.int64)
        return clocks.universal(later, self.place) if self.place else later

    def _month_day(self, month: NDArray[np.int64]) -> NDArray[np.int64]:
        """The day since 1970 on which the date of a month (since 1970) stands."""
        first = month.astype("M8[M]").astype("M8[D]")
        after = (month + 1).astype("M8[M]").astype("M8[D]")
        if self.day == FIRST_WORKDAY:
            return np.busday_offset(first, 0, roll="forward").astype(np.int64)
        if self.day == LAST_WORKDAY:
            return np.busday_offset(after, -1, roll="forward").astype(np.int64)
        length = (after - first).astype(np.int64)
        day = length if self.day == LAST else np.minimum(int(self.day or 1), length)
        return np.asarray(first.astype(np.int64) + day - 1, np.int64)

    def _local(self, instants: Instants) -> Instants:
        return clocks.local(instants, self.place) if self.place else instants


def shown(text: str) -> str:
    """A date, or the name of its column, as a person reads it: several columns have a tab between them."""
    return text.replace("\t", " ")


def check_order(texts: Sequence[str], instants: Instants, path: Path | str, lines: Sequence[int]) -> None:
    """DataError where dates repeat or go backward."""
    odd = np.flatnonzero(np.diff(instants) <= 0)
    if not len(odd):
        return
    i = int(odd[0]) + 1
    repeated = instants[i] == instants[i - 1]
    before = f"goes backward, after {shown(texts[i - 1])!r}"
    raise DataError(
        f"the date {shown(texts[i])!r} {'repeats the one before it' if repeated else before}",
        path=path,
        line=lines[i],
        hint="codec.dialect.repeats=mean (or first, last) makes one row of those of one date"
        if repeated
        else "codec.dialect.sort=true sorts the rows by date; codec.dialect.series=COLUMN tells several series apart",
    )


def _without_zone(cells: polars.Series, zone: str) -> tuple[polars.Series, str, Instants | None]:
    """Cells without the zone behind them, how it is written, and how far each is shifted, where they differ in that."""
    import polars

    if zone not in {"", "%z"} and not cells.str.ends_with(zone).all():
        zone = "%z"
    if zone != "%z":
        return cells.str.strip_suffix(zone) if zone else cells, zone, None
    parts = cells.str.extract_groups(f"^(?P<body>.*?)(?P<zone>{clocks.OFFSET})$").struct.unnest()
    offsets = {text: clocks.seconds_of(text) for text in parts["zone"].unique().to_list() if text is not None}
    shifts = parts["zone"].replace_strict(offsets, default=0, return_dtype=polars.Int64).to_numpy() * SECOND
    return parts["body"].fill_null(""), zone, shifts


def _without_fraction(cells: polars.Series, digits: int) -> tuple[polars.Series, int, Instants]:
    """Cells without the fraction of a second behind them, of how many digits it is, and the microseconds of each."""
    import polars

    found = cells.str.extract(r"[.,]([0-9]{1,9})$").fill_null("0")
    digits = max(map(len, found.unique().to_list()), default=digits)
    small = found.str.pad_end(6, "0").str.slice(0, 6).cast(polars.Int64).to_numpy()
    return cells.str.replace(r"[.,][0-9]{1,9}$", ""), digits, small


def _most_even(
    cells: polars.Series, spellings: Sequence[str], pieces: Sequence[slice]
) -> tuple[str, Instants | None, int]:
    """The spelling by which all cells can be read, and its instants: the one by which pieces step most evenly.

    Where there is none, how far the best one reads (-1: there are no spellings).
    """
    best: tuple[float, str, Instants] | None = None
    furthest = -1
    for spelling in spellings:
        instants, valid = read_all(cells, spelling)
        if not valid.all():
            furthest = max(furthest, int(np.argmin(valid)))
            continue
        even = float(np.mean([evenness(instants[piece]) for piece in pieces]))
        if best is None or even > best[0]:
            best = even, spelling, instants
    return ("", None, furthest) if best is None else (best[1], best[2], furthest)


def _first_odd(bodies: Sequence[str]) -> int:
    """The first cell that is not spelled as the ones before it."""
    kept = common(bodies[:1], named=True)
    for i, body in enumerate(bodies):
        kept = [spelling for spelling in kept if read_one(body, spelling) is not None]
        if not kept:
            return i
    return 0


def _unread(texts: Sequence[str], failing: int, path: Path | str, lines: Sequence[int], spelling: str) -> DataError:
    before = " as the ones before it are written" if failing > 0 and not spelling else ""
    last = failing == len(texts) - 1 and failing > 0
    return DataError(
        f"the date {shown(texts[failing])!r} cannot be read" + (f" as {shown(spelling)!r}" if spelling else before),
        path=path,
        line=lines[failing] if len(lines) else None,
        hint="codec.dialect.footer=1 leaves the last row out"
        if last
        else "write all dates alike, such as 2024-01-31 or 2024-01-31 06:00:00, or say how they are spelled: "
        "codec.dialect.dates='%d %b %Y'",
    )
