"""Tables as people have them: each is read as a careful colleague would, or refused with the setting that reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from seqloom.codecs.dialect import Dialect
from seqloom.codecs.reading import Wanted, read_tables
from seqloom.codecs.series import Series
from seqloom.core.errors import DataError

FOLDER = Path(__file__).parent.parent / "tables"


@dataclass(frozen=True)
class Case:
    """What a file holds, and what is said of it."""

    rows: int
    columns: tuple[str, ...]
    first: str
    """Its first date and value."""
    last: str
    step: str
    after: str
    """The date that goes on from its last one."""
    missing: int = 0
    said: str = ""
    series: int = 1
    refused: str = ""
    """A part of the error, where it is read only with settings."""
    hint: str = ""
    wanted: Wanted = field(default_factory=Wanted)
    """The settings that the hint names."""


def daily(**changes: object) -> Case:
    return Case(300, ("y",), "2020-01-01 9.92", "2020-10-26 7.56", "1 day", "2020-10-27", **changes)  # type: ignore[arg-type]


def reads(**settings: object) -> Wanted:
    return Wanted(Dialect.parse(settings))


CASES = {
    "2digit.csv": Case(300, ("y",), "01/01/20 9.92", "10/26/20 7.56", "1 day", "10/27/20"),
    "ampm.csv": Case(
        400, ("value",), "03/01/2021 12:00:00 AM 0.307", "03/17/2021 03:00:00 PM -1.696", "1 hour",
        "03/17/2021 04:00:00 PM", said="column 'id' counts the rows and is left out",
    ),
    "blankmid.csv": daily(),
    "bme.csv": Case(
        150, ("close",), "2010-01-29 100.19", "2022-06-30 145.95", "1 month, on its last workday", "2022-07-29"
    ),
    "bool.csv": Case(
        300, ("y", "holiday"), "2020-01-01 1", "2020-10-26 0", "1 day", "2020-10-27",
        said="column 'holiday' is True or False: 1 or 0",
    ),
    "categ.csv": Case(
        400, ("temp", "wind"), "2020-01-01 00:00:00 1.4", "2020-01-17 15:00:00 0", "1 hour", "2020-01-17 16:00:00",
        refused="line 2: column 'weather' is text: 'fog'", hint="corpus.columns=[temp,wind]",
        wanted=Wanted(columns=("temp", "wind")),
    ),
    "comment.csv": daily(said="2 lines of comment are left out"),
    "cr.csv": daily(),
    "datemid.csv": daily(),
    "datetime2col.csv": Case(
        400, ("CO", "NOx"), "10/03/2004\t18.00.00 149", "27/03/2004\t09.00.00 133", "1 hour", "27/03/2004\t10.00.00",
        said="an empty last column is left out; numbers have a decimal comma",
    ),
    "desc.csv": Case(
        400, ("Close",), "2020-11-28 100.79", "2022-01-01 98.83", "1 day", "2022-01-02",
        said="the newest row is the first",
    ),
    "dot.csv": daily(missing=1),
    "dst_naive.csv": Case(
        600, ("kwh",), "2022-10-20 02:00:00 10.36", "2022-11-14 00:00:00 9.08", "1 hour", "2022-11-14 01:00:00",
        said="clocks change as in Europe/Berlin",
    ),
    "dst_offset.csv": Case(
        600, ("kwh",), "2022-10-20 02:00:00+02:00 10.05", "2022-11-14 00:00:00+01:00 9.36", "1 hour",
        "2022-11-14 01:00:00+01:00",
    ),
    "dup.csv": Case(
        300, ("y", "y_2"), "2020-01-01 9.92", "2020-10-26 7.56", "1 day", "2020-10-27",
        refused="two columns are called 'y'", hint="codec.dialect.repeated=number", wanted=reads(repeated="number"),
    ),
    "eur.csv": daily(said="column 'y' has '$' beside its numbers"),
    "index.csv": daily(said="the first column counts the rows and is left out"),
    "isoweek.csv": Case(200, ("cases",), "2015-W02 8", "2018-W44 5", "1 week", "2018-W45"),
    "komma.csv": Case(
        600, ("Last", "PV"), "01.01.2022 00:00 0", "07.01.2022 05:45 29.9", "15 minutes", "07.01.2022 06:00",
        said="decimal comma",
    ),
    "latin.csv": Case(
        300, ("Größe",), "2020-01-01 9.92", "2020-10-26 7.56", "1 day", "2020-10-27",
        refused="is not UTF-8", hint="codec.dialect.encoding=latin-1", wanted=reads(encoding="latin-1"),
    ),
    "long.csv": Case(
        200, ("y",), "2020-01-01 2", "2020-07-18 42", "1 day", "2020-07-19", series=3,
        said="3 series (column 'unique_id')",
    ),
    "month30.csv": Case(150, ("y",), "2010-01-30 101.29", "2022-06-30 103.86", "1 month, on day 30", "2022-07-30"),
    "monthname.csv": Case(300, ("y",), "01 Jan 2020 9.92", "26 Oct 2020 7.56", "1 day", "27 Oct 2020"),
    "monyy.csv": Case(160, ("Sales",), "Jan-00 100.77", "Apr-13 259.64", "1 month", "May-13"),
    "ms.csv": Case(300, ("y",), "1600000000000 9.92", "1600000001495 7.56", "5 ms", "1600000001500"),
    "multi.csv": daily(
        refused="line 2: column 'note' is text: 'ok'", hint="corpus.columns=[y]", wanted=Wanted(columns=("y",))
    ),
    "naN.csv": daily(missing=1),
    "nat.csv": daily(said="the date that line 11 leaves out is 2020-01-10"),
    "nohead.csv": Case(
        300, ("column2",), "2020-01-01 19", "2020-10-26 8", "1 day", "2020-10-27", said="the first row holds values"
    ),
    "pct.csv": daily(said="column 'y' has '%' beside its numbers"),
    "pipe.csv": daily(),
    "qmark.csv": Case(
        400, ("load",), "16/12/2006 00:00:00 1.28", "16/12/2006 06:39:00 1.15", "1 minute", "16/12/2006 06:40:00",
        missing=8,
    ),
    "quarter.csv": Case(160, ("GDP",), "1980Q1 99.25", "2019Q4 260.01", "1 quarter", "2020Q1"),
    "short12.csv": Case(12, ("y",), "2020-01-01 0.33", "2020-12-01 11.47", "1 month", "2021-01-01"),
    "tab.tsv": daily(),
    "thousands.csv": Case(200, ("Passengers",), "1990-01 1086", "2006-08 3047", "1 month", "2006-09"),
    "total.csv": daily(
        refused="line 302: the last row begins with 'Total'", hint="codec.dialect.footer=1", wanted=reads(footer=1),
        said="the last 1 line is left out",
    ),
    "trail.csv": daily(said="an empty last column is left out"),
    "units.csv": daily(said="the row under the names is one of units and is left out"),
    "weekly.csv": Case(260, ("cases",), "2015-01-04 10", "2019-12-22 5", "1 week", "2019-12-29"),
    "wide.csv": Case(
        60, ("value",), "2020-01-01 9.92", "2020-02-29 12.06", "1 day", "2020-03-01", series=5,
        said="each row is a series",
    ),
    "yearly.csv": Case(250, ("sunspots",), "1750 39", "1999 16.1", "1 year", "2000"),
}  # fmt: skip


def test_every_file_is_expected_to_be_something():
    assert {path.name for path in FOLDER.iterdir()} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_table_as_people_have_it(name: str):
    case, path = CASES[name], FOLDER / name
    if case.refused:
        with pytest.raises(DataError) as caught:
            read_tables(path)
        assert case.refused in str(caught.value)
        assert case.hint in caught.value.hint
    tables = list(read_tables(path, case.wanted).values())
    assert len(tables) == case.series
    table = tables[0]
    assert table.dates is not None
    assert table.calendar is not None
    assert (len(table), table.columns) == (case.rows, case.columns)
    assert f"{table.dates[0]} {table.values[0, -1]:g}" == case.first
    assert f"{table.dates[-1]} {table.values[-1, -1]:g}" == case.last
    assert table.calendar.step_text == case.step
    assert table.calendar.jumps(table.dates) == 0
    assert table.calendar.after(table.dates[-1], 1) == (case.after,)
    assert int(np.isnan(table.values).sum()) == case.missing
    codec = Series(dialect=case.wanted.dialect).fit(tables)
    (line,) = [note for note in codec.notes({"train": tables}) if note.startswith("read as")]
    assert f"{case.rows * case.series} rows, one every {case.step}" in line.replace(" in all", "")
    assert case.said in line
    if table.sheet is not None and case.series == 1:  # nothing is filled, so the file comes back to the byte
        encoding = case.wanted.dialect.encoding or "utf-8"
        assert codec.show(table).decode() == path.read_bytes().decode(encoding)
