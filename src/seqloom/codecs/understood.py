"""What is said of tables that were read: how they were understood, and what is odd about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from seqloom.codecs.columns import far_off, moments_of
from seqloom.codecs.dates import Calendar, shown
from seqloom.codecs.numbered import INTEGER
from seqloom.codecs.roles import INDEX_NAMES
from seqloom.codecs.scaling import Scaling, as_read
from seqloom.codecs.season import momentum_of, persistence_of, repeated_share, season_of
from seqloom.codecs.sheet import DATE_NAMES
from seqloom.codecs.spelling import of_day
from seqloom.codecs.table import Table
from seqloom.core.progress import count

MOST_REMARKS = 8
"""Remarks on how files were read that are repeated, at most: a folder may hold thousands."""
SEASON_ROWS = 50_000
"""Last rows of each series in which a season is looked for."""
UNEVEN = 0.01
"""From this share of steps on that are not the common one dates are not even."""


def understood(tables: Sequence[Table]) -> str:
    """What was understood of the files, in one line."""
    first, rows = tables[0], sum(map(len, tables))
    names = {table.name for table in tables}
    clauses = [f"{rows:,} row{'s' * (rows > 1)}"]
    if len(names) > 1:
        where = f" (column {shown(first.series_column)!r})" if first.series_column else ""
        clauses = [f"{len(names):,} series{where} of {rows:,} rows in all"]
    dated = [table for table in tables if table.dates]
    calendar = first.calendar
    if calendar is None or not dated:
        clauses.append("without dates")
    elif calendar.format == INTEGER:
        named = f"column {shown(first.date_column)!r}" if first.date_column else "the first column"
        clauses.append(f"{named} counts them, {calendar.step_text} apart, and is no series")
    else:
        ends = [date for table in dated for date in (table.dates or ())[:: max(len(table) - 1, 1)]]
        if not of_day(calendar.format):  # which know no order of several
            ends.sort(key=lambda date: calendar.read(date) or 0)
        named = f"column {shown(first.date_column)!r}" if first.date_column else "the first column"
        spelled = shown(calendar.format) + (f", {calendar.zone}" if calendar.zone not in {"", "%z"} else "")
        place = calendar.around.bracket
        spelled += f",{' ' * (place[0] != ' ')}{place}" if place else ""
        spelled += ", where each interval begins" if calendar.around.until else ""
        every = f"one every {calendar.step_text}, " if calendar.stepping else ""
        span = shown(ends[0]) + (f" to {shown(ends[-1])}" if len(ends) > 1 else "")
        clauses.append(f"{every}{span} ({named}, {spelled})")
    remarks = dict.fromkeys(remark for table in tables for remark in table.remarks)
    return "read as " + "; ".join([", ".join(clauses), *list(remarks)[:MOST_REMARKS]])


def oddities(tables: Sequence[Table], learned: Sequence[Table], names: Sequence[str]) -> list[str]:
    """What is odd about tables, a line each; of the columns of these names as they were learned from."""
    notes = []
    jumps = sum(table.calendar.jumps(table.dates) for table in tables if table.calendar)
    if jumps:
        beside = "given.elapsed is the time since the row before, beside each row (given.elapsed=null: without it)"
        few = "rows are taken one after another all the same (given.elapsed.source=elapsed says how far apart)"
        notes.append(
            f"the dates are not even: {count(jumps, 'step')} between them of another length; "
            f"{beside if any(map(uneven, tables)) else few}"
        )
    missing = sum(int(np.isnan(table.values).sum()) for table in tables)
    if missing:
        total = sum(table.values.size for table in tables)
        notes.append(f"{missing} of {total} cells are empty: they are missing values")
    trained = [table.values for table in learned]
    for name in names:
        if name.lower() in {*DATE_NAMES, *INDEX_NAMES}:
            notes.append(f"column {name!r} is modelled as a series like the others (corpus.columns=[...] chooses)")
    for name, column in zip(names, np.concatenate(trained).T if trained else (), strict=False):
        known = column[~np.isnan(column)]
        if not len(known):
            notes.append(f"column {name!r} has no value in the training split")
        elif known.min() == known.max():
            notes.append(f"column {name!r} never changes in the training split")
        elif (alone := far_off(column)) is not None:
            notes.append(
                f"{name} of {_row_of(learned, alone)}, {column[alone]:g}, makes more than half of the column's "
                "variance: leave the cell empty if it is a mistake"
            )
    return notes


def by_logarithm(names: Sequence[str], transform: str) -> str:
    """What is said of columns that are read by their logarithm."""
    which = ", ".join(names[:3]) + f" and {len(names) - 3} more" * (len(names) > 3)
    reason = ": they change more where they are greater" if transform == "auto" else ""
    return f"read by their logarithm{reason}: {which} (codec.transform=none reads numbers as they are)"


def steps_otherwise(table: Table, usual: Calendar | None) -> str:
    """What is said of a table whose rows are another time apart than those of the training data; else nothing."""
    own = table.calendar
    if usual is None or own is None or usual.same_step(own) or uneven(table):
        return ""
    return f"the rows are {own.step_text} apart, those of the training data {usual.step_text}"


def facts_of(
    splits: Mapping[str, Iterable[Table]], names: Sequence[str], scaling: Scaling, date: str, calendar: Calendar | None
) -> dict[str, Any]:
    """What is known of the tables of all splits: their columns, their dates, and what the training split is like."""
    missing, rows, dated = np.zeros(len(names), np.int64), 0, []
    for table in (table for values in splits.values() for table in values):
        missing += np.isnan(table.values).sum(0)
        rows += len(table)
        dated += [table.dates] if table.dates else []
    whole = [table.values for table in splits.get("train", ())]
    trained = [values[-SEASON_ROWS:] for values in whole]
    read = [as_read(values, scaling.size) for values in trained]
    season = season_of(trained, calendar.seconds if calendar and dated else None)
    bent = bool(whole) and bool(scaling.size.any())  # then what is known of columns is not in their own units
    means, scales = moments_of(whole) if bent else (scaling.mean.tolist(), scaling.scale.tolist())
    momentum, innovation = momentum_of(read)
    return {
        "kind": "series",
        "rows": rows,
        "season": season if season > 1 else None,
        "persistence": round(persistence_of(read), 6),
        "momentum": round(momentum, 3),
        "innovation": round(innovation, 3),
        "repeated": round(repeated_share(trained), 3),
        "columns": [
            {"name": name, "mean": mean, "scale": scale, "missing": int(count)}
            for name, mean, scale, count in zip(names, means, scales, missing, strict=True)
        ],
        "date": None
        if calendar is None or not dated
        else {
            "column": date,
            "format": calendar.format,
            "step": calendar.step_text,
            "seconds": calendar.seconds,
            "first": dated[0][0],
            "last": dated[-1][-1],
        },
    }


def uneven(table: Table) -> bool:
    """Whether the steps between the dates of a table are not all alike."""
    return table.calendar is not None and table.calendar.jumps(table.dates) > UNEVEN * len(table)


def _row_of(tables: Sequence[Table], row: int) -> str:
    """A row among those of several series, as a person finds it."""
    for table in tables:
        if row < len(table):
            place = shown(table.dates[row]) if table.dates else f"row {table.begin + row + 1}"
            return f"{place} ({shown(table.name)})" if table.name else place
        row -= len(table)
    raise AssertionError("no table has so many rows")
