"""The dates of the rows of a table: in order, filled in where a cell is empty, even where some are left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.dates import Calendar, check_order, shown
from seqloom.codecs.dialect import PREFIX, Wanted
from seqloom.codecs.numerals import is_missing
from seqloom.core.errors import DataError

if TYPE_CHECKING:
    import polars

Rows = NDArray[np.int64]
LEAST_SHARE = 0.5
"""The least share of even dates that must be there: of fewer, what is left out is not made into rows."""


@dataclass(frozen=True)
class Timing:
    """The dates of a table: their columns, how they are written, and the text and instant of each row."""

    columns: tuple[str, ...]
    texts: tuple[str, ...]
    calendar: Calendar | None
    instants: NDArray[np.int64]
    absent: NDArray[np.bool_]
    """Rows without a date."""
    lines: Sequence[int]
    path: Path | str
    wanted: Wanted
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        columns: Mapping[str, polars.Series],
        names: tuple[str, ...],
        spelling: str,
        lines: Sequence[int],
        wanted: Wanted,
        path: Path | str,
    ) -> Timing:
        """The dates of every row on the clock that they show, where there are any."""
        if not names:
            return cls((), (), None, np.zeros(0, np.int64), np.zeros(0, bool), lines, path, wanted)
        lists = [columns[name].to_list() for name in names]
        texts = tuple(map("\t".join, zip(*lists, strict=True))) if len(lists) > 1 else tuple(lists[0])
        absent = np.array([is_missing(text) for text in texts])
        if absent.all():
            raise DataError(f"column {names[0]!r} holds no date", path=path, line=1, hint="fill it, or leave it out")
        own = [line for line, none in zip(lines, absent, strict=True) if not none] if absent.any() else lines
        known = [text for text, none in zip(texts, absent, strict=True) if not none]
        calendar, read = _spelled(known, own, spelling, wanted, path)
        instants = np.zeros(len(texts), np.int64)
        instants[~absent] = read
        return cls(names, texts, calendar, instants, absent, lines, path, wanted)

    @property
    def column(self) -> str:
        """What the columns are called, as the name of one."""
        return "\t".join(self.columns)

    def ordered(self, rows: Rows, values: NDArray[np.float64]) -> Rows:
        """The rows of one series, the oldest first and each date once; a mean is put in the first of several."""
        if self.calendar is None or len(rows) < 2:
            return rows
        gaps = np.diff(self.instants[rows[~self.absent[rows]]])
        if len(gaps) and (gaps <= 0).all() and (gaps < 0).any():
            rows = rows[::-1]
            if "the newest row is the first" not in self.remarks:
                self.remarks.append("the newest row is the first")
        elif self.wanted.dialect.sort and (gaps < 0).any():
            if self.absent[rows].any():
                raise DataError(
                    "rows without a date cannot be sorted",
                    path=self.path,
                    line=self.lines[int(rows[self.absent[rows]][0])],
                    hint="fill their dates",
                )
            rows = rows[np.argsort(self.instants[rows], kind="stable")]
        return self._once(rows, values) if self.wanted.dialect.repeats else rows

    def stepped(self, groups: Mapping[str, Rows]) -> Timing:
        """The dates with their step, on the clock of their place, and with those that cells leave out."""
        if self.calendar is None:
            return self
        known = [rows[~self.absent[rows]] for rows in groups.values()]
        before, dialect = self.wanted.calendar, self.wanted.dialect
        place = dialect.zone or (before.place if before else "")
        spelled = [self.instants[rows] for rows in known]
        calendar, pieces = self.calendar.placed(spelled, place)
        if dialect.zone and calendar.place != dialect.zone and not self.calendar.agrees(spelled, dialect.zone):
            raise DataError(
                f"the dates say how far their clock is from UTC, which is not what the clock of {dialect.zone} showed",
                path=self.path,
                hint=f"leave out {PREFIX}.zone",
            )
        if calendar.place and not dialect.zone and calendar.zone != "%z":
            self.remarks.append(f"clocks change as in {calendar.place} ({PREFIX}.zone=UTC says that they do not)")
        instants = self.instants.copy()
        for rows, piece in zip(known, pieces, strict=True):
            instants[rows] = piece
            check_order([self.texts[row] for row in rows], piece, self.path, [self.lines[int(row)] for row in rows])
        timing = replace(self, calendar=calendar.stepped(pieces), instants=instants)
        return timing._filled(groups.values()) if self.absent.any() else timing

    def even(self, rows: Rows) -> tuple[Rows, NDArray[np.int64]]:
        """The rows of a series with -1 for each date that is left out among even ones, and the instants of all."""
        calendar = self.calendar
        if calendar is None:
            return rows, np.zeros(0, np.int64)
        own = self.instants[rows]
        if not self.wanted.dialect.even or not calendar.stepping or len(rows) < 3:
            return rows, own
        if (own[-1] - own[0]) / max(_least(calendar), 1) > len(rows) / LEAST_SHARE + 1:
            return rows, own
        stamps = calendar.stamps(int(own[0]), int(own[-1]))
        if len(stamps) == len(own) or len(own) < LEAST_SHARE * len(stamps) or not np.isin(own, stamps).all():
            return rows, own
        places = np.full(len(stamps), -1, np.int64)
        places[np.searchsorted(stamps, own)] = rows
        return places, stamps

    def written(self, places: Rows, stamps: NDArray[np.int64]) -> tuple[str, ...] | None:
        """The dates of these rows as the file writes them, and as it would those that it leaves out."""
        calendar, texts = self.calendar, self.texts
        if calendar is None:
            return None
        if len(places) == len(texts) and places[0] == 0 and (np.diff(places) == 1).all():
            return texts
        pairs = zip(places.tolist(), stamps.tolist(), strict=True)
        return tuple(texts[row] if row >= 0 else calendar.write(stamp) for row, stamp in pairs)

    def _once(self, rows: Rows, values: NDArray[np.float64]) -> Rows:
        own = self.instants[rows]
        first = np.flatnonzero(np.concatenate([[True], own[1:] != own[:-1]]))
        last = np.concatenate([first[1:], [len(rows)]]) - 1
        if self.wanted.dialect.repeats == "mean":
            for begin, end in zip(first, last, strict=True):
                if end > begin:
                    several = values[rows[begin : end + 1]]
                    known = (~np.isnan(several)).sum(0)
                    values[rows[begin]] = np.where(known > 0, np.nansum(several, 0) / np.maximum(known, 1), np.nan)
        return rows[last if self.wanted.dialect.repeats == "last" else first]

    def _filled(self, groups: Iterable[Rows]) -> Timing:
        """The dates of rows that have none, where their neighbours leave one; DataError where they leave none."""
        assert self.calendar is not None
        instants, texts = self.instants.copy(), list(self.texts)
        for rows in groups:
            known = np.flatnonzero(~self.absent[rows])
            for i in np.flatnonzero(self.absent[rows]).tolist():
                before, after = known[known < i][-1:], known[known > i][:1]
                between = len(before) and len(after) and self.calendar.stepping
                own = np.zeros(0, np.int64)
                if between:
                    steps = np.arange(1, int(after[0] - before[0]) + 1)
                    own = self.calendar.later(int(self.instants[rows[before[0]]]), steps)
                line = self.lines[int(rows[i])]
                if not len(own) or own[-1] != self.instants[rows[after[0]]]:
                    raise DataError(
                        "the date '' cannot be read, and its neighbours leave it open",
                        path=self.path,
                        line=line,
                        hint="fill the cell, or leave the row out",
                    )
                instants[rows[i]] = own[i - int(before[0]) - 1]
                texts[rows[i]] = self.calendar.write(int(instants[rows[i]]))
                self.remarks.append(f"the date that line {line} leaves out is {shown(texts[rows[i]])}")
        return replace(self, instants=instants, texts=tuple(texts), absent=np.zeros_like(self.absent))


def _spelled(
    texts: Sequence[str], lines: Sequence[int], spelling: str, wanted: Wanted, path: Path | str
) -> tuple[Calendar, NDArray[np.int64]]:
    """How dates are spelled and their instants: as they were before, where these cells are so as well."""
    before = wanted.calendar
    if before is not None and not spelling and before.zone != "%z":
        try:
            return before.respelled(texts, path, lines)
        except DataError:
            pass  # dates that are spelled otherwise are read by themselves
    return Calendar.spelled(texts, path, lines, spelling)


def _least(calendar: Calendar) -> float:
    """The least distance of two instants of a calendar."""
    if calendar.months:
        return calendar.months * 28 * 86_400e6
    return calendar.step * calendar.unit * (7 / len(calendar.weekdays) if calendar.weekdays else 1.0)
