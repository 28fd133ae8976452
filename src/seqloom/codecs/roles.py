"""What the columns of a table are for: dates, the names of series, or nothing but counting the rows."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.around import Around
from seqloom.codecs.dialect import Wanted
from seqloom.codecs.intervals import UNTIL
from seqloom.codecs.months import names_a_month
from seqloom.codecs.numbered import EXCEL, INTEGER, are_decimal_years
from seqloom.codecs.numerals import is_missing, looks_like_number
from seqloom.codecs.sheet import DATE_NAMES
from seqloom.codecs.spelling import QUARTERS, TIMES, clock_of, common, pattern_of

if TYPE_CHECKING:
    import polars

INDEX_NAMES = frozenset({
    "id", "index", "year", "row", "no", "nr", "no.", "unnamed: 0", "rownames", "obs", "rowid", "step", "iteration",
    "iter", "tick", "frame", "t",
})  # fmt: skip
"""Names of a column that counts the rows, if it does; else it is a series like any other, and that is said."""
SERIES_NAMES = frozenset({"unique_id", "item_id", "series_id", "ts_id", "tsid", "series", "series_name"})
"""Names of a column that tells series apart even where their dates do not repeat."""
CORE_DATES = frozenset({"date", "datetime", "timestamp", "ds", "time"})
"""Names of columns that are taken for dates though their cells cannot be read: that is an error."""
PARTS = {
    "year": "Y", "yr": "Y", "jahr": "Y", "yyyy": "Y", "yy": "Y",
    "month": "m", "mon": "m", "monat": "m", "mm": "m", "mnth": "m",
    "quarter": "q", "qtr": "q", "quartal": "q", "week": "V", "isoweek": "V", "woche": "V", "day": "d", "dd": "d",
    "tag": "d", "dom": "d", "hour": "H",
    "hr": "H", "stunde": "H", "hh": "H", "minute": "M", "min": "M", "second": "S", "sec": "S",
    "doy": "J", "dayofyear": "J", "day_of_year": "J", "yday": "J", "julian": "J",
}  # fmt: skip
"""Columns that hold a part of a date, and the part."""
EPOCHS_OF_NOW = ((10**9, 21 * 10**8), (10**12, 21 * 10**11))
"""Seconds and milliseconds since 1970 of this century: a column without a name that holds these holds times."""
SAMPLE = 40
"""Cells by which it is told what a column holds."""
_EXCEL = re.compile(r"(?i:date|datum|fecha|^dato$|^day$|^tag$|^month$|^monat$)")
"""Names of a column that holds days: numbers in it may be those that Excel counts."""
LEAST_EVEN = 10
"""Decimals that must go up by one step to be no series, but what counts the rows."""
NAMES = re.compile(
    r"(^|[_ ])(id|store|shop|item|sku|product|station|site|sensor|meter|device|symbol|ticker|country|region|city|state|"
    r"location|entity|group|code|category|dept|department|family|customer|user|plant|series|name|turbine|patient|subject|"
    r"track|trajectory|person|agent|pedestrian|trial|episode|game|unit|animal|vehicle)",
    re.IGNORECASE,
)


def find_dates(columns: Mapping[str, polars.Series], wanted: Wanted) -> tuple[tuple[str, ...], str]:
    """The columns of dates, and how they are spelled where that is known."""
    dialect = wanted.dialect
    if dialect.date:
        return dialect.date, dialect.dates
    known = tuple(wanted.date.split("\t"))
    if wanted.calendar is not None and all(name in columns for name in known):
        return known, dialect.dates or (wanted.calendar.format if len(known) > 2 else "")
    free = [name for name in columns if name not in wanted.columns and name not in wanted.words]
    parted = _parted(columns, free)
    if parted and not dialect.dates:
        return parted
    yearless = without_year(columns)
    free = [name for name in free if name not in yearless]
    named = [name for name in free if _is_dated(name)]
    clocks = {name: clock for name in dict.fromkeys([*named, *free[:1]]) if (clock := _clock_of(columns[name]))}
    for name in (*named, *(name for name in free if name not in named)):
        if name not in clocks and _holds_dates(columns, name, name in named, name == free[0]):
            if not dialect.dates and _EXCEL.search(name) and _are_days_of_excel(columns[name]):
                return (name,), EXCEL
            time = _time_beside(columns, free, name)
            return ((name, time) if time else (name,)), dialect.dates
    if clocks:
        name, clock = next(iter(clocks.items()))
        return (name,), dialect.dates or clock
    for name in free:
        if name.lower() in INDEX_NAMES and len(columns) > 1 and counts(columns[name]):
            return (name,), INTEGER
    for name in free:
        if (name.lower() in INDEX_NAMES or name.lower() in CORE_DATES) and _counts_each(columns, free, name):
            return (name,), INTEGER
    return (), ""


def plain_parts(columns: Mapping[str, polars.Series]) -> dict[str, polars.Series]:
    """These columns, of which years, months and other parts of dates that were written as 1959.0 are 1959."""
    return {
        name: column.str.replace(r"\.0+$", "") if name.lower() in PARTS and column.str.contains(r"^-?[0-9]+\.0+$").all()
        else column
        for name, column in columns.items()
    }  # fmt: skip


def counts(cells: polars.Series) -> bool:
    """Whether cells are whole numbers that go up by one step."""
    import polars

    if not cells.str.contains("^-?[0-9]{1,15}$").all():
        return False
    steps = cells.cast(polars.Int64).diff().drop_nulls()
    return steps.n_unique() == 1 and int(steps[0]) > 0


def _counts_each(columns: Mapping[str, polars.Series], free: Sequence[str], name: str) -> bool:
    """Whether a column counts the rows of several series, which another one whose name says so tells apart."""
    import polars

    if not columns[name].str.contains("^-?[0-9]{1,15}$").all():
        return False
    steps = columns[name].cast(polars.Int64)
    for other in free:
        named = other.lower() in SERIES_NAMES or NAMES.search(other)
        if other != name and named and _tells_apart(columns[other]):
            rows = polars.DataFrame({"step": steps, "series": columns[other]})
            rising = rows.select((polars.col("step").diff() > 0).over("series").fill_null(True).all()).item()
            if rising:
                return True
    return False


def _clock_of(column: polars.Series) -> str:
    """How a column of times of the day, without dates, is spelled; empty where it is none."""
    if not column.head(SAMPLE).str.contains(":", literal=True).any():
        return ""
    return clock_of([cell for cell in column.to_list() if not is_missing(cell)])


def _is_dated(name: str) -> bool:
    low = name.lower()
    return low in DATE_NAMES or bool(re.search(r"date|time|datum|zeit|stamp|fecha", low))


def _holds_dates(columns: Mapping[str, polars.Series], name: str, named: bool, first: bool) -> bool:
    column = columns[name].filter(columns[name] != "")
    places = np.unique(np.linspace(0, max(len(column) - 1, 0), min(SAMPLE, len(column))).astype(int))
    sample = [cell for cell in column.gather(places).to_list() if not is_missing(cell)]
    if not sample:
        return False
    around = Around.of(sample)
    if around.until:
        return True
    sample = around.bare(sample)
    if re.search(r"year|jahr|date|time|^t$", name, re.IGNORECASE) and are_decimal_years(sample):
        return True
    whole = all(re.fullmatch(r"-?[0-9]{1,19}(\.0+)?", cell) for cell in sample)
    if whole:
        numbers = [int(cell.split(".")[0]) for cell in sample]
        epoch = name == "column1" and any(low <= min(numbers) <= max(numbers) < high for low, high in EPOCHS_OF_NOW)
        if not named and not (first and (not name or epoch)):
            return False
        return numbers == sorted(numbers) or numbers == sorted(numbers, reverse=True) or name.lower() in CORE_DATES
    if all(looks_like_number(cell) for cell in sample):
        # Seconds since a beginning, say: they go up.
        if name.lower() not in {*CORE_DATES, "t", "ts", "seconds", "elapsed"}:
            dated = named or names_a_month(sample)  # Sep/23
            return (bool(common(sample)) and dated) or ((named or first) and _goes_up_evenly(column.to_list()))
        seconds = [float(cell) for cell in sample if re.fullmatch(r"-?[0-9]+\.[0-9]+", cell)]
        return len(seconds) == len(sample) > 1 and all(a < b for a, b in pairwise(seconds))
    readable = sum(bool(common([cell], named=named)) for cell in sample)
    return readable >= 0.8 * len(sample) or (name.lower() in CORE_DATES and not looks_like_number(sample[0]))


def _are_days_of_excel(column: polars.Series) -> bool:
    """Whether all cells are numbers that Excel shows as dates from 1970 to 2119; days since 1970 are below them."""
    known = [cell for cell in column.to_list() if not is_missing(cell)]
    return all(re.fullmatch(r"[0-9]{5}(\.[0-9]{1,12})?", cell) and 25_569 <= float(cell) < 80_000 for cell in known)


def _goes_up_evenly(cells: Sequence[str]) -> bool:
    """Whether cells are decimals that go up by one step, but for what their last digit rounds."""
    if len(cells) < LEAST_EVEN or not all(re.fullmatch(r"-?[0-9]{1,12}\.[0-9]{1,6}", cell) for cell in cells):
        return False
    places = max(len(cell.partition(".")[2]) for cell in cells)
    steps = np.diff(np.rint(np.array(cells, np.float64) * 10**places))
    return bool(steps.min() > 0 and np.ptp(steps) <= 2)


def _time_beside(columns: Mapping[str, polars.Series], free: Sequence[str], date: str) -> str:
    """A column of times of the day beside one of days."""
    sample = [cell for cell in columns[date].head(SAMPLE).to_list() if cell]
    if any("%H" in spelling or "%I" in spelling for spelling in common(sample, named=True)[:1]):
        return ""
    named = [name for name in free if re.search(r"time|zeit|uhr|hour|hora|heure|^hr$", name, re.IGNORECASE)]
    # Where days repeat, what stands beside them as 06:00 is their time whatever it is called.
    unnamed = [] if columns[date].n_unique() == len(columns[date]) else [name for name in free if name not in named]
    for name in (*named, *unnamed):
        cells = [cell for cell in columns[name].head(SAMPLE).to_list() if cell]
        between = next((until for until in UNTIL if all(until in cell for cell in cells)), "")
        cells = [cell.partition(between)[0] for cell in cells] if between else cells  # 00 - 01
        if name == date or not cells:
            continue
        plain = [time for time in TIMES if "%M" in time or re.search("hour|hr", name, re.IGNORECASE)]
        plain = [time for time in plain if name in named or ":%M" in time]
        if any(all(re.fullmatch(pattern_of(time), cell) for cell in cells) for time in plain):
            return name
    return ""


def _parted(columns: Mapping[str, polars.Series], free: Sequence[str]) -> tuple[tuple[str, ...], str] | None:
    """The columns of a date that is parted into year, month, day ..., and how each is spelled."""
    parts = {part: name for name in free if (part := part_of(name, columns))}
    letters = {name.lower(): name for name in free if name.lower() in set("ymdh")}
    if "Y" not in parts and {"y", "m", "d"} <= set(letters):
        parts = {{"y": "Y", "h": "H"}.get(letter, letter): name for letter, name in letters.items()} | parts
    if "Y" not in parts or not any(part in parts for part in "mqVJ"):
        return None
    if not columns[parts["Y"]].str.contains("^[0-9]{4}$").all():
        return None
    found, spelling = [], []
    small = next(part for part in "mqVJ" if part in parts)
    for part in ("Y", small, *(part for part in "dHMS" if part in parts)):
        if part == "d" and small != "m":
            continue
        cell = str(columns[parts[part]][0])
        letter = {"Y": "G"}.get(part, part) if small == "V" else part
        if part == "m" and not cell.isdigit():
            letter = "b" if len(cell) == 3 else "B"
        found.append(parts[part])
        if part == "q":
            letter = "r" if cell in QUARTERS else letter
        spelling.append("Q%q" if part == "q" and cell[:1] in "qQ" else f"%{letter}")
    return tuple(found), "\t".join(spelling)


def part_of(name: str, columns: Collection[str]) -> str:
    """The part of a date that a column holds by its name; beside MM, the months, mm are minutes."""
    return "M" if name == "mm" and "MM" in columns else PARTS.get(name.lower(), "")


def without_year(columns: Mapping[str, polars.Series]) -> tuple[str, ...]:
    """The columns of months, days and times of dates whose year stands nowhere."""
    parts = {part: name for name in columns if (part := part_of(name, columns))}
    if "Y" in parts or not {"m", "d"} <= parts.keys():
        return ()
    months, days = (columns[parts[part]] for part in "md")
    both = months.str.contains("^0?[1-9]$|^1[0-2]$").all() and days.str.contains("^0?[1-9]$|^[12][0-9]$|^3[01]$").all()
    return tuple(parts[part] for part in "mdHMS" if part in parts) if both else ()


def _tells_apart(column: polars.Series) -> bool:
    """Whether a column may hold what series are called: words, or whole numbers of which there are few."""
    kinds = column.n_unique()
    if kinds < 2 or kinds > len(column) / 2:
        return False
    cells = column.unique().head(50).to_list()
    return all(cells) and (not any(map(looks_like_number, cells)) or all(cell.isalnum() for cell in cells))


def series_columns(
    columns: Mapping[str, polars.Series],
    free: Sequence[str],
    texts: Sequence[str],
    instants: NDArray[np.int64] | None,
    wanted: Wanted,
) -> tuple[str, ...]:
    """The columns that tell several series apart: as the settings say, or where dates repeat and names explain it.

    `free` are those that may, `texts` and `instants` the dates of the rows, where they have any.
    """
    if wanted.dialect.series is not None:
        return wanted.dialect.series
    if wanted.series and all(name in columns for name in wanted.series):
        return wanted.series
    for name in free:
        if name.lower() in SERIES_NAMES:
            return (name,)
    if instants is None or len(instants) < 4:
        return ()
    gaps = np.diff(instants)
    if (gaps > 0).all() or (gaps < 0).all():
        return ()
    if len(np.unique(instants)) > 0.9 * len(instants):  # a few repeated dates are no second series
        return ()
    ids = [name for name in free if _tells_apart(columns[name])]
    ids.sort(key=lambda name: not NAMES.search(name))
    for several in (*((name,) for name in ids), *((a, b) for i, a in enumerate(ids) for b in ids[i + 1 :])):
        keys = list(zip(*(columns[name].to_list() for name in several), texts, strict=True))
        if len(set(keys)) == len(keys) and len({key[:-1] for key in keys}) > 1:
            return tuple(sorted(several, key=list(columns).index))
    return ()


def further_dates(columns: Mapping[str, polars.Series], free: Sequence[str]) -> list[str]:
    """Columns that hold dates too, where another one is the rows' own."""
    return [name for name in free if _is_dated(name) and _are_dates(columns[name])]


def _are_dates(column: polars.Series) -> bool:
    cells = [cell for cell in column.head(SAMPLE).to_list() if not is_missing(cell)]
    return bool(cells) and not any(map(looks_like_number, cells)) and bool(common(cells))
