"""Tables as people have them: each is read as a careful colleague would, or refused with the setting that reads it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars
import pytest

import seqloom
from seqloom.codecs import ahead as rows_ahead
from seqloom.codecs import layout, reading
from seqloom.codecs.base import Codec
from seqloom.codecs.beside import respelled
from seqloom.codecs.dialect import Dialect, Wanted
from seqloom.codecs.frames import as_file
from seqloom.codecs.intervals import interval_in
from seqloom.codecs.label import Label
from seqloom.codecs.reading import read_tables, table_of, tables_of
from seqloom.codecs.series import Series
from seqloom.codecs.table import Table
from seqloom.core.config import make
from seqloom.core.errors import ConfigError, DataError
from seqloom.corpora.base import Given
from seqloom.corpora.files import corpus_of
from seqloom.model import Model
from seqloom.sequence.canvas import Encoded

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
        said="the last line is left out",
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


# ---- several series -----------------------------------------------------------------------------------------------


LONG = "store,ds,y\nb,2024-01-01,1\na,2024-01-01,2\nb,2024-01-02,3\nb,2024-01-03,\na,2024-01-02,5\n"


def ahead(tables: list[Table]) -> tuple[Series, list[Table]]:
    """A codec of some series, and one more row of each, filled with its number."""
    codec = Series().fit(tables)
    made = []
    for i, table in enumerate(tables):
        canvas = codec.canvas(table, 1)
        value = codec.decode(Encoded(canvas.x, ~canvas.absent, canvas.origin))
        value.values[-1] = i
        made.append(codec.cut(value, len(table), len(table) + 1))
    return codec, made


def test_rows_that_are_counted_anew_in_each_series_are_told_from_numbers():
    lines = [f"{track},{step},{track + step / 10},{track}.5" for track in (3, 7, 8) for step in (0, 1, 2, 3, 4)]
    tables = tables_of("track,t,x,y\n" + "\n".join(lines))
    assert [(table.name, table.columns, len(table)) for table in tables.values()] == [
        (name, ("x", "y"), 5) for name in ("3", "7", "8")
    ]
    by_time = sorted(lines, key=lambda line: int(line.split(",")[1]))
    assert list(tables_of("track,t,x,y\n" + "\n".join(by_time))) == ["3", "7", "8"]
    assert list(tables_of("load,t,x,y\n" + "\n".join(lines))) == [""], "nothing says that it is a name"


def test_series_of_very_different_sizes_are_scaled_by_a_small_one():
    rng = np.random.Generator(np.random.Philox(key=3))
    tables = [Table(("y",), 10.0**i * rng.normal(5, 1, (200, 1))) for i in np.linspace(0, 5, 11)]
    codec = Series().fit(tables)
    assert 1 < codec.scales[0] < 10, "a tenth of them is smaller"
    alike = Series().fit([Table(("y",), rng.normal(i, 1, (200, 1))) for i in range(11)])
    assert alike.scales[0] == pytest.approx(np.sqrt(1 + 10), rel=0.1), "all of them together"
    shifted = Series().fit([Table(("y",), rng.normal(100 * i, 1, (200, 1))) for i in range(11)])
    assert shifted.scales[0] == pytest.approx(1, rel=0.2), "their levels say nothing of how each deviates"
    few = Series().fit(tables[:3])
    assert few.scales[0] == pytest.approx(np.concatenate([table.values for table in tables[:3]]).std())


def test_series_under_each_other_come_back_so():
    tables = list(tables_of(LONG).values())
    assert [(table.name, len(table)) for table in tables] == [("b", 3), ("a", 2)]
    codec, made = ahead(tables)
    assert codec.together(made).decode() == "store,ds,y\nb,2024-01-04,0.0\na,2024-01-03,1.0\n"
    several = codec.show_several([tuple(made), tuple(made)], "path").decode().splitlines()
    assert several[:3] == ["path,store,ds,y", "0,b,2024-01-04,0.0", "0,a,2024-01-03,1.0"]
    assert several[3].startswith("1,b,")
    summary = codec.summaries(made, [{"mean": np.full((1, 1), 2.0), "0.5": np.full((1, 1), 3.0)}] * 2).decode()
    assert summary == "store,ds,y_mean,y_0.5\nb,2024-01-04,2.0,3.0\na,2024-01-03,2.0,3.0\n"


def test_series_of_which_each_is_a_row_come_back_so():
    tables = list(tables_of("name,2024-01,2024-02,2024-03\nx,1,2,3\ny,4,,6\n").values())
    assert [table.values[:, 0].tolist() for table in tables] == [[1, 2, 3], [4, pytest.approx(np.nan, nan_ok=True), 6]]
    codec, made = ahead(tables)
    assert codec.together(made).decode() == "name,2024-04\nx,0\ny,1\n"
    summary = codec.summaries(made, [{"mean": np.full((1, 1), 2.0), "0.5": np.full((1, 1), 3.0)}] * 2).decode()
    assert summary.splitlines() == ["name,statistic,2024-04", "x,mean,2.0", "x,0.5,3.0", "y,mean,2.0", "y,0.5,3.0"]


def test_rows_of_times_without_dates_are_of_different_lengths():
    header = ",".join(f'"V{i}"' for i in range(1, 12))
    tables = tables_of(f'{header}\n"H1",{",".join("123456789")},\n"H2",{",".join("12345678")},,\n')
    assert {name: len(table) for name, table in tables.items()} == {"H1": 9, "H2": 8}
    assert all(table.dates is None for table in tables.values())


def test_a_file_of_several_series_is_as_many_things(tmp_path: Path):
    (tmp_path / "t.csv").write_text(LONG, encoding="utf-8")
    assert [value.name for value in Series().several(tmp_path / "t.csv")] == ["b", "a"]
    with pytest.raises(DataError, match="2 things, where one is wanted"):
        Series().only(tmp_path / "t.csv")
    days = [f"{s},2024-01-{d:02},{d}" for s in ("x", "y") for d in range(1, 21)]
    (tmp_path / "u.csv").write_text("\n".join(["unique_id,ds,y", *days, ""]), encoding="utf-8")
    prepared = corpus_of(str(tmp_path / "u.csv")).prepare(None, {"who": Given(source="column:unique_id")})
    assert prepared.splits["train"].data.starts.tolist() == [0, 18, 36]  # each is split by position
    assert prepared.given["who"] == Label(names=("x", "y"))
    assert prepared.splits["train"].given["who"].x.tolist() == [0, 1]
    assert any("2 series (column 'unique_id') of 40 rows in all" in note for note in prepared.notes)


# ---- dates and steps ----------------------------------------------------------------------------------------------


BERLIN = [f"2024-03-31T0{hour}:30+0{ahead}:00[Europe/Berlin]" for hour, ahead in ((1, 1), (3, 2), (4, 2))]
"""The clock of a place that goes forward."""


@pytest.mark.parametrize(
    ("header", "rows", "columns", "after", "step"),
    [
        ("year,month,y", ["2023,11,1", "2023,12,2", "2024,1,3"], ("y",), "2024\t2", "1 month"),
        ("y,Year,Month,Day,Hour", [f"{h},2024,3,30,{h}" for h in range(22, 24)], ("y",), "2024\t3\t31\t0", "1 hour"),
        ("year,quarter,y", ["2023,Q3,1", "2023,Q4,2", "2024,Q1,3"], ("y",), "2024\tQ2", "1 quarter"),
        ("date,time,y", ["2024-01-01,22:30,1", "2024-01-01,23:00,2", "2024-01-01,23:30,3"], ("y",), "2024-01-02\t00:00",
         "30 minutes"),
        ("date,y", [f"2024-01-{d:02},{d}" for d in (1, 2, 3, 4, 5, 8, 9, 10, 11, 12)], ("y",), "2024-01-15",
         "1 workday"),
        ("ds,y", ["2023-03-31,1", "2023-06-30,2", "2023-09-30,3", "2023-12-31,4"], ("y",), "2024-03-31",
         "1 quarter, on its last day"),
        ("when,y", ["Mon 1 Jan 2024,1", "Tue 2 Jan 2024,2"], ("y",), "Wed 3 Jan 2024", "1 day"),
        ("ts,y", ["2024-01-01T00:00:00.000Z,1", "2024-01-01T00:00:01.000Z,2"], ("y",), "2024-01-01T00:00:02.000Z",
         "1 second"),
        ("ts,y", ["1704067200.0,1", "1704070800.0,2"], ("y",), "1704074400.0", "1 hour"),
        ("period,y", ["2023M11,1", "2023M12,2"], ("y",), "2024M01", "1 month"),
        ("period,y", ["Q3 2023,1", "Q4 2023,2"], ("y",), "Q1 2024", "1 quarter"),
        ("date,y", ["31-JAN-2023,1", "28-FEB-2023,2", "31-MAR-2023,3"], ("y",), "30-APR-2023",
         "1 month, on its last day"),
        ("date,y", ["January 2023,1", "February 2023,2"], ("y",), "March 2023", "1 month"),
        ("year,doy,y", ["2023,365,1", "2024,1,2", "2024,2,3"], ("y",), "2024\t3", "1 day"),
        ("DATE,TIME,y", ["20240101,2200,1", "20240101,2300,2"], ("y",), "20240102\t0000", "1 hour"),
        ("period,y", ["2023H2,1", "2024H1,2"], ("y",), "2024H2", "6 months"),
        ("period,y", ["FY2023,1", "FY2024,2"], ("y",), "FY2025", "1 year"),
        ("date,hour,y", ["2024-01-01,23,1", "2024-01-01,24,2", "2024-01-02,1,3"], ("y",), "2024-01-02\t2", "1 hour"),
        ("time,y", ["2024-01-01 22:00 CET,1", "2024-01-01 23:00 CET,2"], ("y",), "2024-01-02 00:00 CET", "1 hour"),
        ("ts,y", ["1600000000000000000,1", "1600000001000000000,2"], ("y",), "1600000002000000000", "1 second"),
        ("t,y", ["0.0,1", "0.1,2", "0.2,3"], ("y",), "0.3", "0.1"),
        ("step,loss", ["0,1", "10,2"], ("loss",), "20", "10"),
        ("time,y", ["1749.833333,1", "1749.916667,2", "1750.0,3"], ("y",), "1750.083333", "1 month"),
        ("time,y", ["1960,1", "1960.25,2", "1960.5,3"], ("y",), "1960.75", "1 quarter"),
        ("time,y", ["-2,0.5", "-1,0.7", "0,0.1"], ("y",), "1", "1"),
        ("date,y", ["800131,1", "800201,2"], ("y",), "800202", "1 day"),
        ("ts,y", ["20240101230000,1", "20240102000000,2"], ("y",), "20240102010000", "1 hour"),
        ("ts,y", ["202401012300,1", "202401020000,2"], ("y",), "202401020100", "1 hour"),
        ("ts,y", ["2024010123,1", "2024010200,2"], ("y",), "2024010201", "1 hour"),
        ("date,y", ["20240130.0,1", "20240131.0,2"], ("y",), "20240201.0", "1 day"),
        ("ts,y", ["20240101T230000Z,1", "20240102T000000Z,2"], ("y",), "20240102T010000Z", "1 hour"),
        ("ts,y", ["20240101T235959.500+0100,1", "20240102T000000.000+0100,2"], ("y",), "20240102T000000.500+0100",
         "500 ms"),
        ("t_s,y", [f"{i / 2},{i * i}" for i in range(10)], ("y",), "5.0", "0.5"),
        ("Time (s),y", [f"{i / 3:.2f},{i * i}" for i in range(10)], ("y",), "3.33", "0.33"),
        ("Tag,Von,Last", ["01.02.2024,23:30,1", "01.02.2024,23:45,2"], ("Last",), "02.02.2024\t00:00", "15 minutes"),
        ("t,y", ["0.5,1", "0.75,2", "1.0,3"], ("y",), "1.25", "0.25"),
        ("ts,y", ["2024-01-01T00:00:00,1", "2024-01-01T00:00:00.25,2", "2024-01-01T00:00:00.5,3"], ("y",),
         "2024-01-01T00:00:00.75", "250 ms"),
        ("Monat,y", ["Februar 2024,1", "März 2024,2"], ("y",), "April 2024", "1 month"),
        ("Datum,y", ["30. Apr. 2024,1", "1. Mai 2024,2"], ("y",), "2. Mai 2024", "1 day"),
        ("mois,y", ["févr. 2024,1", "mars 2024,2"], ("y",), "avr. 2024", "1 month"),
        ("mes,y", ["NOV-23,1", "DIC-23,2"], ("y",), "ENE-24", "1 month"),
        ("fecha,y", ["31 de diciembre de 2023,1", "1 de enero de 2024,2"], ("y",), "2 de enero de 2024", "1 day"),
        ("mese,y", ["maggio 2024,1", "giugno 2024,2"], ("y",), "luglio 2024", "1 month"),
        ("mês,y", ["set/23,1", "out/23,2"], ("y",), "nov/23", "1 month"),
        ("maand,y", ["mrt 2024,1", "apr 2024,2"], ("y",), "mei 2024", "1 month"),
        ("datum,y", ["30 april 2024,1", "1 maj 2024,2"], ("y",), "2 maj 2024", "1 day"),
        ("date,y", ["30 wrz 2024,1", "1 paź 2024,2"], ("y",), "2 paź 2024", "1 day"),
        ("Jahr,Monat,y", ["2023,Dezember,1", "2024,Januar,2"], ("y",), "2024\tFebruar", "1 month"),
        ("year,y", ["2022/23,1", "2023/24,2"], ("y",), "2024/25", "1 year"),
        ("year,y", ["2010/11,1", "2011/12,2"], ("y",), "2012/13", "1 year"),
        ("year,y", ["1998-99,1", "1999-00,2"], ("y",), "2000-01", "1 year"),
        ("year,y", ["FY2022/23,1", "FY2023/24,2"], ("y",), "FY2024/25", "1 year"),
        ("season,y", ["2022/2023,1", "2023/2024,2"], ("y",), "2024/2025", "1 year"),
        ("years,y", ["2000-2004,1", "2005-2009,2"], ("y",), "2010-2014", "60 months"),
        ("period,y", ["FY98,1", "FY99,2", "FY00,3"], ("y",), "FY01", "1 year"),
        ("period,y", ["Q4 FY2023,1", "Q1 FY2024,2"], ("y",), "Q2 FY2024", "1 quarter"),
        ("period,y", ["FY23-Q4,1", "FY24-Q1,2"], ("y",), "FY24-Q2", "1 quarter"),
        ("week,y", ["2020 W 53,1", "2021 W 01,2"], ("y",), "2021 W 02", "1 week"),
        ("Woche,y", ["KW 53/2020,1", "KW 1/2021,2"], ("y",), "KW 2/2021", "1 week"),
        ("week,y", ["Week 53 of 2020,1", "Week 1 of 2021,2"], ("y",), "Week 2 of 2021", "1 week"),
        ("MTU (CET/CEST),y", ["31.01.2024 22:00 - 31.01.2024 23:00,1", "31.01.2024 23:00 - 01.02.2024 00:00,2"], ("y",),
         "01.02.2024 00:00 - 01.02.2024 01:00", "1 hour"),
        ("time,y", ["2024-01-01T22:00Z/2024-01-01T22:30Z,1", "2024-01-01T22:30Z/2024-01-01T23:00Z,2"], ("y",),
         "2024-01-01T23:00Z/2024-01-01T23:30Z", "30 minutes"),
        ("week,y", ["2024-01-01 to 2024-01-07,1", "2024-01-08 to 2024-01-14,2"], ("y",), "2024-01-15 to 2024-01-21",
         "1 week"),
        ("month,y", ["01.12.2023-31.12.2023,1", "01.01.2024-31.01.2024,2"], ("y",), "01.02.2024-29.02.2024", "1 month"),
        ("time,y", [f"1.1.2024 {h:02}:00-{h + 1:02}:00,{h}" for h in range(3)], ("y",), "1.1.2024 03:00-04:00",
         "1 hour"),
        ("time,y", [f"2024-01-01 {h:02}:00-01:00,{h}" for h in range(3)], ("y",), "2024-01-01 03:00-01:00", "1 hour"),
        ("date,hours,y", ["31-01-2024,22 - 23,1", "31-01-2024,23 - 00,2"], ("y",), "01-02-2024\t00 - 01", "1 hour"),
        ("date,y", ["30th January 2024,1", "31st January 2024,2"], ("y",), "1st February 2024", "1 day"),
        ("date,y", ["10th of January 2024,1", "11th of January 2024,2"], ("y",), "12th of January 2024", "1 day"),
        ("when,y", ["March 21st 2024,1", "March 22nd 2024,2"], ("y",), "March 23rd 2024", "1 day"),
        ("date,y", ["45291,1", "45292,2"], ("y",), "45293", "1 day"),
        ("Month,y", ["45261,1", "45292,2"], ("y",), "45323", "1 month"),
        ("date,y", ["45292.0417,1", "45292.0833,2", "45292.1250,3"], ("y",), "45292.1667", "1 hour"),
        ("time,y", ["45291,1", "45292,2"], ("y",), "45293", "1"),
        ("date,y", ["20088,1", "20089,2"], ("y",), "20090", "1"),
        ("time,y", [f"{h},{i}" for i, h in enumerate(BERLIN[:2])], ("y",), BERLIN[2], "1 hour"),
        ("time,y", ["2024-01-01T00:00Z[UTC],1", "2024-01-01T01:00Z[UTC],2"], ("y",), "2024-01-01T02:00Z[UTC]",
         "1 hour"),
        ("time,y", ["2024-03-31 01:00 Europe/Berlin,1", "2024-03-31 03:00 Europe/Berlin,2"], ("y",),
         "2024-03-31 04:00 Europe/Berlin", "1 hour"),
        ("日付,y", ["2024年1月30日,1", "2024年1月31日,2"], ("y",), "2024年2月1日", "1 day"),
        ("时间,y", ["2023年12月31日 22:00,1", "2023年12月31日 23:00,2"], ("y",), "2024年01月01日 00:00", "1 hour"),
        ("日時,y", ["2024年1月1日22時,1", "2024年1月1日23時,2"], ("y",), "2024年1月2日0時", "1 hour"),
        ("월,y", ["2024년 1월,1", "2024년 2월,2"], ("y",), "2024년 3월", "1 month"),
        ("quarter,y", ["2020 Q III,1", "2020 Q IV,2"], ("y",), "2021 Q I", "1 quarter"),
        ("Zeitraum,y", ["III/2020,1", "IV/2020,2", "I/2021,3"], ("y",), "II/2021", "1 quarter"),
        ("period,y", ["2020-II,1", "2020-III,2"], ("y",), "2020-IV", "1 quarter"),
        ("quarter,y", ["III. Quartal 2020,1", "IV. Quartal 2020,2"], ("y",), "I. Quartal 2021", "1 quarter"),
        ("quarter,y", ["3. Quartal 2020,1", "4. Quartal 2020,2"], ("y",), "1. Quartal 2021", "1 quarter"),
        ("trimestre,y", ["T3 2020,1", "T4 2020,2"], ("y",), "T1 2021", "1 quarter"),
        ("year,quarter,y", ["2020,III,1", "2020,IV,2"], ("y",), "2021\tI", "1 quarter"),
        ("a,b", ["1,2", "3,4"], ("a", "b"), "", ""),
        ("counter,b", ["1200000000,2", "1200000007,4"], ("counter", "b"), "", ""),
    ],
)  # fmt: skip
def test_dates_of_every_kind_go_on(header: str, rows: list[str], columns: tuple[str, ...], after: str, step: str):
    table = table_of("\n".join([header, *rows, ""]))
    assert table.columns == columns
    if not after:
        assert table.calendar is None
        return
    assert table.calendar is not None
    assert table.dates is not None
    assert table.calendar.after(table.dates[-1], 1) == (after,)
    assert table.calendar.step_text == step
    if not table.calendar.fraction:  # of which a file may write as many digits as it likes
        assert tuple(map(table.calendar.write, table.calendar.instants(table.dates).tolist())) == table.dates
    codec = Series().fit([table])
    grown = codec.canvas(table, 1)
    made = codec.show(codec.decode(Encoded(grown.x, ~grown.absent, grown.origin))).decode()
    assert made.startswith("\n".join([header, *rows, ""]))
    cells = made.splitlines()[-1].split(",")
    assert [cell for cell in after.split("\t") if cell not in cells] == []


@pytest.mark.parametrize(
    ("header", "cells", "after", "step"),
    [
        ("time,y", [f"{m // 60 % 24:02}:{m % 60:02}" for m in range(1350, 4500, 15)], "03:00", "15 minutes"),
        ("Uhrzeit,y", [f"{h % 24}:00" for h in range(20, 60)], "12:00", "1 hour"),
        ("time,y", [f"{h % 12 or 12}:00 {'AM' if h % 24 < 12 else 'PM'}" for h in range(10, 60)], "12:00 PM", "1 hour"),
        ("zeit,y", [f"{9 + h % 9:02}:30:00" for h in range(40)], "13:30:00", "1 hour"),
        ("time,y", [f"{s // 3600 % 24:02}:{s // 60 % 60:02}:{s % 60:02}.5" for s in range(86_390, 86_420)],
         "00:00:20.5", "1 second"),
    ],
)  # fmt: skip
def test_times_of_the_day_without_a_date_go_on_past_midnight(header: str, cells: list[str], after: str, step: str):
    text = "\n".join([header, *(f"{cell},{i}" for i, cell in enumerate(cells)), ""])
    table = table_of(text)
    assert table.calendar is not None
    assert table.dates is not None
    assert (np.diff(table.calendar.instants(table.dates)) > 0).all()
    assert (table.dates, table.calendar.step_text) == (tuple(cells), step)
    assert table.calendar.after(table.dates[-1], 1) == (after,)
    back = table_of("\n".join([header, *(f"{cell},{i}" for i, cell in enumerate(reversed(cells))), ""]))
    assert (back.dates, back.remarks[-1]) == (table.dates, "the newest row is the first")
    assert table_of(text, wanted=Wanted(date=table.date_column, calendar=table.calendar)) == table


def test_times_beside_dates_and_times_that_something_took_are_no_times_without_a_date():
    for names in ("date,time", "time,date"):
        day = [f"2024-01-{1 + h // 24:02}" for h in range(40)]
        hour = [f"{h % 24:02}:00" for h in range(40)]
        pairs = zip(day, hour, strict=True) if names == "date,time" else zip(hour, day, strict=True)
        table = table_of("\n".join([f"{names},y", *(f"{a},{b},1" for a, b in pairs), ""]))
        assert table.date_column == "date\ttime"
    with pytest.raises(DataError, match="column 'lap_time' is text"):
        table_of("lap_time,y\n01:23,2\n01:12,3\n01:45,4\n01:11,5\n01:22,7\n")


@pytest.mark.parametrize(
    ("cells", "odd"),
    [
        ([f"2024-01-{d:02} - 2024-01-{d + 1:02}" for d in range(1, 20)], "soon"),
        ([f"2024-01-{d:02}T00:00+01:00[Europe/Berlin]" for d in range(1, 20)], "2024-01-06T00:00+01:00[Europe/Paris]"),
        ([f"{year}/{year + 1}" for year in range(2000, 2019)], "2005/206"),
        ([f"{n}th of May 2024" for n in range(4, 20)], "9nth of May 2024"),
        ([f"KW {n}/2024" for n in range(1, 20)], "KW 60/2024"),
    ],
)
def test_a_date_among_others_that_cannot_be_read_is_named_by_its_line(cells: list[str], odd: str):
    cells = [*cells[:5], odd, *cells[6:]]
    with pytest.raises(DataError) as caught:
        table_of("date,y\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells)))
    assert (caught.value.line, f"{odd!r} cannot be read" in caught.value.message) == (7, True), caught.value


def test_what_only_looks_like_an_interval_is_none():
    for cells in (["0-4", "5-9", "10-14"], ["110/70", "120/80", "130/80"], ["2024-01", "2024-02"], ["1/2", "2/2"]):
        assert interval_in(cells) is None
    assert interval_in(["2011/12"]) is None, "a month"
    assert interval_in(["2011/12", "2012/13"]) == ("/", "%y")


def test_what_is_left_out_of_a_wide_table_is_said():
    years = [f"{year}/{(year + 1) % 100:02d}" for year in range(1997, 2003)]
    rows = [f"{name},{name.lower()},{i}," + ",".join(map(str, range(6))) for i, name in enumerate("ABC")]
    tables = tables_of("\n".join([f"land,code,people,{','.join(years)}", *rows, ""]))
    table = tables["B"]
    assert table.dates == tuple(years)
    assert table.calendar is not None
    assert table.calendar.step_text == "1 year"
    assert "columns 'code' and 'people' are left out" in table.remarks


GERMAN_MONTHS = "Jan,Feb,Mrz,Apr,Mai,Jun,Jul,Aug,Sep,Okt,Nov,Dez"
MONTH_NAMES = "Jan,Feb,Mar,Apr,May,Jun,Jul,Aug,Sep,Oct,Nov,Dec"


@pytest.mark.parametrize(
    ("header", "rows", "dates", "after", "values"),
    [
        (f"Year,{MONTH_NAMES},J-D", ["2000,1,2,3,4,5,6,7,8,9,10,11,12,6.5", "2001,13,14,15" + ",***" * 10],
         ("2000\tJan", "2001\tMar"), "2001\tApr", range(1, 16)),
        (f"YEAR,{MONTH_NAMES.upper()}", [f"{1950 + y}.0,{','.join(str(12 * y + m) for m in range(12))}"
         for y in range(2)], ("1950\tJAN", "1951\tDEC"), "1952\tJAN", range(24)),
        ("Jahr," + GERMAN_MONTHS, [f"{2000 + y},{','.join(str(12 * y + m) for m in range(12))}" for y in range(2)],
         ("2000\tJan", "2001\tDez"), "2002\tJan", range(24)),
        ("year,Q1,Q2,Q3,Q4", ["2000,,1,2,3", "2001,4,5,6,7"], ("2000\t2", "2001\t4"), "2002\t1", range(1, 8)),
        ("Jahr,I,II,III,IV", ["2000,,1,2,3", "2001,4,5,6,7"], ("2000\t2", "2001\t4"), "2002\t1", range(1, 8)),
        ("date," + ",".join(f"H{h}" for h in range(1, 25)), [f"2024-01-0{d}," + ",".join(str(24 * d + h)
         for h in range(24)) for d in (1, 2)], ("2024-01-01\t1", "2024-01-02\t24"), "2024-01-03\t1", range(24, 72)),
    ],
)  # fmt: skip
def test_rows_of_years_or_days_and_columns_of_their_parts_are_one_series(header, rows, dates, after, values):
    text = "\n".join([header, *rows, ""])
    table = table_of(text)
    assert table.columns == ("value",)
    assert table.dates is not None
    assert (table.dates[0], table.dates[-1]) == dates
    assert table.calendar is not None
    assert table.calendar.after(table.dates[-1], 1) == (after,)
    assert table.values[:, 0].tolist() == list(values)
    assert len(table_of(text, wanted=reads(wide=False)).columns) >= 4
    codec = Series().fit([table])
    assert codec.element_names(table)[0] == dates[0].replace("\t", " ")
    grown = codec.canvas(table, 1)
    made = codec.show(codec.decode(Encoded(grown.x, ~grown.absent, grown.origin))).decode()
    assert made.splitlines()[-1].startswith(after.replace("\t", ",") + ",")
    assert table_of(made).dates == (*table.dates, after)


def test_numbers_of_years_and_quarters_may_have_a_point():
    table = table_of("year,quarter,y\n1959.0,3.0,1\n1959.0,4.0,2\n1960.0,1.0,3\n")
    assert table.dates == ("1959\t3", "1959\t4", "1960\t1")


def test_months_and_days_without_a_year_are_no_series_and_tell_none_apart():
    days = [(month, day) for month in (5, 6, 7) for day in range(1, 29)]
    for header, more in (("Ozone,Temp,Month,Day", ""), ("ozone,temp,month,day,hour", ",0")):
        text = "\n".join([header, *(f"{i},{i % 7},{m},{d}{more}" for i, (m, d) in enumerate(days)), ""])
        table = table_of(text)
        assert [name.lower() for name in table.columns] == ["ozone", "temp"]
        assert table.values[:, 0].tolist() == list(range(len(days)))
        assert any("dates without a year" in remark for remark in table.remarks)
    asked = table_of(text, wanted=Wanted(Dialect(), columns=("temp", "month")))
    assert asked.columns == ("temp", "month")
    dated = table_of("date,month,day,y\n2024-01-30,1,30,5\n2024-01-31,1,31,6\n2024-02-01,2,1,7\n")
    assert dated.dates == ("2024-01-30", "2024-01-31", "2024-02-01")


def test_dates_that_are_left_out_are_rows_without_values():
    text = "date,y\n2024-01-01,1\n2024-01-02,2\n2024-01-05,5\n2024-01-06,6\n2024-01-07,\n"
    table = table_of(text)
    assert table.dates == tuple(f"2024-01-{day:02}" for day in range(1, 8))
    np.testing.assert_array_equal(table.values[:, 0], [1, 2, np.nan, np.nan, 5, 6, np.nan])
    assert "2 dates that are left out are rows without values" in table.remarks
    codec = Series().fit([table])
    assert codec.show(table).decode() == text
    canvas = codec.canvas(table)
    filled = codec.decode(Encoded(np.zeros_like(canvas.x), np.ones_like(canvas.shown), canvas.origin))
    lines = codec.show(filled).decode().splitlines()
    assert lines[:3] == text.splitlines()[:3]
    assert [line.partition(",")[0] for line in lines[3:5]] == ["2024-01-03", "2024-01-04"]
    assert lines[5:7] == text.splitlines()[3:5]
    even = table_of(text, "", reads(even=False))
    assert len(even) == 5
    assert even.calendar is not None
    assert even.calendar.jumps(even.dates) == 1


def test_clocks_that_change_are_even():
    def hours(first: str, count: int, place: str) -> list[str]:
        zone = ZoneInfo(place)
        start = datetime.fromisoformat(first).replace(tzinfo=zone).astimezone(UTC)
        return [f"{(start + timedelta(hours=i)).astimezone(zone):%Y-%m-%d %H:%M}" for i in range(count)]

    for place, first in (
        ("Europe/Berlin", "2024-03-30 12:00"), ("Europe/Berlin", "2024-10-26 12:00"),
        ("Europe/London", "2024-03-30 12:00"),
        ("America/New_York", "2024-11-02 12:00"), ("America/New_York", "2024-03-09 12:00"),
    ):  # fmt: skip
        dates = hours(first, 40, place)
        table = table_of("time,y\n" + "".join(f"{date},1\n" for date in dates[:30]))
        assert table.calendar is not None
        assert (table.calendar.place, len(table), table.calendar.jumps(table.dates)) == (place, 30, 0)
        assert table.calendar.after(dates[29], 10) == tuple(dates[30:])
    autumn = hours("2024-10-26 12:00", 14, "Europe/Berlin")  # the change is still to come
    known = table_of("time,y\n" + "".join(f"{date},1\n" for date in autumn), "", reads(zone="Europe/Berlin"))
    assert known.calendar is not None
    assert known.calendar.after(autumn[-1], 3) == ("2024-10-27 02:00", "2024-10-27 02:00", "2024-10-27 03:00")


def test_a_place_that_is_named_has_the_clock_of_dates_with_an_offset():
    zone = ZoneInfo("Europe/Berlin")
    march = [datetime(2025, 3, 25, tzinfo=zone) + timedelta(days=i) for i in range(8)]
    days, (*after, _) = [f"{day.isoformat()}" for day in march[:5]], [day.isoformat() for day in march[5:]]

    def known(dates: Sequence[str], place: str) -> Any:
        return table_of("time,y\n" + "".join(f"{date},1\n" for date in dates), "", reads(zone=place)).calendar

    assert known(days, "Europe/Berlin").after(days[-1], 2) == tuple(after)
    assert [date[-6:] for date in after] == ["+01:00", "+02:00"]
    assert known(days, "").after(days[-1], 2)[1].endswith("+01:00"), "nobody says where it is"
    utc = [day.replace("+01:00", "Z") for day in days]
    assert known(utc, "UTC").after(utc[-1], 1) == (after[0].replace("+01:00", "Z"),)
    for dates in (days, utc):
        with pytest.raises(DataError, match="not what the clock of America/Halifax showed"):
            known(dates, "America/Halifax")


def test_rows_in_disorder_and_of_one_date():
    text = "date,y\n2024-01-03,3\n2024-01-01,1\n2024-01-02,2\n2024-01-02,4\n"
    with pytest.raises(DataError, match="line 3: the date '2024-01-01' goes backward") as disorder:
        table_of(text, "t.csv")
    assert "codec.dialect.sort=true" in disorder.value.hint
    with pytest.raises(DataError, match="line 5: the date '2024-01-02' repeats") as repeated:
        table_of(text, "t.csv", reads(sort=True))
    assert "codec.dialect.repeats=mean" in repeated.value.hint
    for which, value in (("first", 2), ("last", 4), ("mean", 3)):
        table = table_of(text, "t.csv", reads(sort=True, repeats=which))
        assert table.values[:, 0].tolist() == [1, value, 3]


# ---- what stands beside the rows, and what is known ahead of time ----------------------------------------------------


def hours(count: int, first: int = 0) -> list[str]:
    return [f"{datetime(2024, 1, 1) + timedelta(hours=i):%Y-%m-%d %H:%M}" for i in range(first, first + count)]


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Model]:
    """Two series under each other, with a price, a holiday and a sky beside each row, and a model of them."""
    folder = tmp_path_factory.mktemp("shops")
    rows = [
        f"{shop},{hour},{10 + i % 5 * 0.37:.2f},{i % 3},{'yes' if i % 7 else 'no'},{'sun' if i % 2 else 'rain'}"
        for shop in ("x", "y")
        for i, hour in enumerate(hours(60))
    ]
    path = folder / "t.csv"
    path.write_text("\n".join(["unique_id,ds,y,price,open,sky", *rows, ""]), encoding="utf-8")
    settings = {
        "corpus": {"future": "price,open"},
        "given": {"sky": {"source": "column:sky", "enters": "align"}, "shop": {"source": "column:unique_id"}},
        "backbone": {"width": 8},
    }
    run = seqloom.train(str(path), model="gru", steps=2, out=folder / "run", **settings)
    return path, seqloom.load(run)


def test_columns_known_ahead_of_time_are_conditions(shops: tuple[Path, Model]):
    path, model = shops
    assert {name: codec.name for name, codec in model.given.items()} == {
        "price": "series", "open": "series", "sky": "label", "shop": "label"
    }  # fmt: skip
    history = model.codec.several(path)[1]
    assert history.columns == ("y",)
    rows = [f"{s},{h},{i},no,rain" for s in ("x", "y") for i, h in enumerate(hours(4, 60))]
    future = path.with_name("future.csv")
    future.write_text("\n".join(["unique_id,ds,price,open,sky", *rows, ""]), encoding="utf-8")
    given = model.given.ahead(history, 3, future)
    assert given["price"].values[-3:, 0].tolist() == [0, 1, 2]
    assert given["open"].values[-4:, 0].tolist() == [1, 0, 0, 0]
    assert given["sky"][-4:] == ("sun", "rain", "rain", "rain")
    assert given["shop"] == "y"
    answer = model.forecast(history, 3, n=2, future=future)
    assert answer.values[0].dates[-3:] == tuple(hours(3, 60))
    frame = polars.read_csv(future)
    np.testing.assert_array_equal(model.forecast(history, 3, n=2, future=frame).paths, answer.paths)
    dear = frame.with_columns(price=polars.lit(1e6))
    assert not np.array_equal(model.forecast(history, 3, n=2, future=dear).paths[:, -1], answer.paths[:, -1])


def test_what_is_not_known_ahead_of_time_is_refused(shops: tuple[Path, Model]):
    path, model = shops
    history = model.codec.several(path)[0]
    with pytest.raises(DataError, match="columns 'price', 'open' and 'sky' stand beside") as none:
        model.forecast(history, 2)
    assert "--future" in none.value.hint
    assert none.value.hint.endswith("the dates, and price, open and sky"), "all of them at once"
    for rows, message in (
        ({"ds": hours(2, 60), "open": ["no"] * 2, "sky": ["sun"] * 2}, "there is no column 'price'"),
        ({"ds": hours(1, 60), "price": [1], "open": ["no"], "sky": ["sun"]}, "no row for 2024-01-03 13:00"),
        (
            {"ds": hours(2, 60), "price": [1, None], "open": ["no"] * 2, "sky": ["sun"] * 2},
            "no value in 2024-01-03 13:00",
        ),
        (
            {"ds": hours(2, 60), "price": [1, 2], "open": ["no"] * 2, "sky": ["sun", "hail"]},
            "'hail' in 2024-01-03 13:00",
        ),
    ):
        with pytest.raises(DataError, match=message):
            model.forecast(history, 2, future=rows)


def test_a_future_is_read_once_for_all_series(shops: tuple[Path, Model], monkeypatch: pytest.MonkeyPatch):
    """Not for each column of each series again, which took longer than the forecasts."""
    path, model = shops
    rows = [f"{s},{h},{i},no,rain" for s in ("x", "y") for i, h in enumerate(hours(3, 60))]
    future = path.with_name("once.csv")
    future.write_text("\n".join(["unique_id,ds,price,open,sky", *rows, ""]), encoding="utf-8")
    read = 0

    def tables_in(*words: Any) -> Any:
        nonlocal read
        read += 1
        return layout.tables_in(*words)

    reading._read.cache_clear()
    monkeypatch.setattr(reading, "tables_in", tables_in)
    monkeypatch.setattr(rows_ahead, "tables_in", tables_in)
    answers = model.forecast(path, 3, n=2, future=future)
    assert (list(answers), read) == (["x", "y"], 2), "the history and the future"
    frame, read = polars.read_csv(future), 0
    again = model.forecast(path, 3, n=2, future=frame)
    assert read == 1
    for name, answer in answers.items():
        np.testing.assert_array_equal(again[name].paths, answer.paths)
    only = model.codec.several(path)[1]
    assert model.forecast(only, 2, n=2, future=frame).frame((0.5,)).columns[:3] == ["unique_id", "ds", "y_mean"]
    made = again.frame((0.5,))
    assert made.schema["ds"] == polars.Datetime
    assert made["ds"].to_list()[:2] == [datetime(2024, 1, 3, 12), datetime(2024, 1, 3, 13)]


def test_hidden_values_change_nothing(shops: tuple[Path, Model]):
    """What an empty cell held before it was emptied, and what a future row holds of the series, is never read."""
    _, model = shops
    frame = polars.DataFrame({"ds": hours(40), "y": [float(i % 5) for i in range(40)], **{
        "price": [1.0] * 40, "open": ["no"] * 40, "sky": ["sun"] * 40
    }})  # fmt: skip
    future = {"ds": hours(2, 40), "price": [1, 1], "open": ["no"] * 2, "sky": ["sun"] * 2}
    gone = frame.with_columns(y=polars.when(polars.arange(40) == 30).then(None).otherwise(polars.col("y")))
    marked = frame.with_columns(y=polars.when(polars.arange(40) == 30).then(polars.lit("?")).otherwise(polars.col("y")))
    first = model.forecast(gone, 2, n=3, future=future).paths
    np.testing.assert_array_equal(model.forecast(marked, 2, n=3, future=future).paths, first)
    np.testing.assert_array_equal(model.forecast(gone, 2, n=3, future=future | {"y": [7e9, -7e9]}).paths, first)
    table = model.codec.accept(gone)
    canvas = model.codec.canvas(table, 2)
    assert canvas.x[30, 0] == 0
    assert canvas.absent[30, 0]


# ---- cells --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "numbers", "said"),
    [
        (["1,5", "2,25"], [1.5, 2.25], "decimal comma"),
        (["1.234,5", "999,0"], [1234.5, 999], "decimal comma"),
        (["1,234.5", "999.0"], [1234.5, 999], ""),
        (["1 234", "999"], [1234, 999], ""),
        (["1'234.5", "2"], [1234.5, 2], ""),
        (["1,27,258.50", "2,000"], [127258.5, 2000], ""),
        (["980", "1.020", "870", "12.000"], [980, 1020, 870, 12000], "points part thousands"),
        (["0", "1.020", "1.250"], [0, 1.02, 1.25], ""),
        (["980", "1.5", "870", "1.020"], [980, 1.5, 870, 1.02], ""),
        (["(5)", "3"], [-5, 3], ""),
        (["5-", "3"], [-5, 3], ""),
        (["\N{MINUS SIGN}5", "3"], [-5, 3], ""),
        (["$\N{EN DASH}5", "$3.5"], [-5, 3.5], "'$'"),
        (["12 kWh", "3.5 kWh"], [12, 3.5], "'kWh'"),
        (["€ 1.234,00", "€ 3,50"], [1234, 3.5], "'€'"),
        (["1.2M", "900K"], [1.2e6, 9e5], "thousands, millions"),
        (["Y", "N"], [1, 0], "Y or N: 1 or 0"),
        (["ja", "nein"], [1, 0], "ja or nein"),
        (["-9999", "3"], [np.nan, 3], "it is taken for no value"),
        (["-9999", "-9990"], [-9999, -9990], ""),
        (["3", "999.9", "999.9"], [3, np.nan, np.nan], "holds 999.9 2 times: it is taken for no value"),
        (["999.9", "3", "-5"], [999.9, 3, -5], ""),
        (["999", "3", "999", "600"], [999, 3, 999, 600], ""),
        *(([sign, "3"], [np.nan, 3], "") for sign in ("", "NA", "n/a", "?", ".", "--", "#N/A", "NaN", "null", "#REF!")),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(cells: list[str], numbers: list[float], said: str):
    rows = [f"2024-01-{i + 1:02};{cell}" for i, cell in enumerate(cells)]
    table = table_of("\n".join(["date;y", *rows, ""]))
    np.testing.assert_allclose(table.values[:, 0], numbers)
    assert said in "; ".join(table.remarks)
    codec = Series().fit([table])
    assert codec.show(table).decode() == "\n".join(["date;y", *rows, ""])
    if np.isnan(numbers[0]):
        canvas = codec.canvas(table)
        filled = codec.decode(Encoded(np.zeros_like(canvas.x), np.ones_like(canvas.shown), canvas.origin))
        assert codec.show(filled).decode().splitlines()[1:] == ["2024-01-01;3.0", rows[1]]


def test_a_cell_that_is_filled_is_written_as_its_column_is():
    text = "Datum;Wert;an;Anteil\n01.01.2024;1,5;ja;5 %\n02.01.2024;;;\n03.01.2024;2,5;nein;7 %\n"
    table = table_of(text)
    codec = Series().fit([table])
    canvas = codec.canvas(table)
    filled = codec.decode(Encoded(np.zeros_like(canvas.x), np.ones_like(canvas.shown), canvas.origin))
    lines = codec.show(filled).decode().splitlines()
    assert lines[:2] + lines[3:] == text.splitlines()[:2] + text.splitlines()[3:]
    assert lines[2] == "02.01.2024;2,0;ja;6,0 %"


@pytest.mark.parametrize(
    ("cells", "made"),
    [
        (["1.234", "980", "1.020", "960", "1.001"], "1.039"),
        (["1.234,5 kWh", "1.980,0 kWh", "1.020,0 kWh", "1.960,0 kWh", "1.001,5 kWh"], "1.439,2 kWh"),
        (['"1,234"', "980", '"1,020"', "960", '"1,001"'], '"1,039"'),
        (["-1'234", "-980", "-1'020", "-960", "-1'001"], "-1'039"),
        (["1.25", "2.5", "3", "4.75", "0.33"], "2.37"),
        (["1700000000.25", "1700000000.5", "1700000000", "1700000000.75", "1700000001.1"], "1700000000.52"),
        (["1.7e9", "1.8e9", "1.9e9", "1e5", "2e5"], "1080060000"),
    ],
)
def test_a_number_that_is_made_has_the_decimals_and_thousands_of_its_column(cells: list[str], made: str):
    sign = "," if '"' in cells[0] else ";"
    rows = [f"0{i}.01.2024{sign}{cell}" for i, cell in enumerate([*cells, ""], 1)]
    text = "\n".join([f"day{sign}y", *rows, ""])
    table = table_of(text)
    codec = Series().fit([table])
    canvas = codec.canvas(table)
    filled = codec.decode(Encoded(np.zeros_like(canvas.x), np.ones_like(canvas.shown), canvas.origin))
    shown = codec.show(filled).decode()
    assert shown == text[:-1] + made + "\n"
    np.testing.assert_array_equal(table_of(shown).values[:-1], table.values[:-1])


@pytest.mark.parametrize("flagged", ["7*", "<7", "7 e"])
def test_what_a_few_numbers_have_beside_them_is_not_written_beside_others(flagged: str):
    text = f"day;y\n01.01.2024;5\n02.01.2024;\n03.01.2024;{flagged}\n04.01.2024;6\n"
    table = table_of(text)
    codec = Series().fit([table])
    canvas = codec.canvas(table)
    filled = codec.decode(Encoded(np.zeros_like(canvas.x), np.ones_like(canvas.shown), canvas.origin))
    assert codec.show(filled).decode() == text.replace("02.01.2024;", "02.01.2024;6.0")


def test_a_column_with_points_between_thousands_and_one_with_decimals_are_not_of_one_table():
    table = table_of("day;a;b\n01.01.2024;980;1.5\n02.01.2024;1.020;2.25\n03.01.2024;870;3.5\n")
    np.testing.assert_allclose(table.values[:, 1], [1.5, 2.25, 3.5])


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("date,y\n2024-01-01,1\n2024-01-02,err\n2024-01-03,3\n", "line 3: column 'y' is text: 'err'", "missing=[err]"),
        ("date,y\n2024-01-01,1\n2024-01-02,1e300\n2024-01-03,3\n", "line 3: column 'y' holds 1e300", "leave the cell"),
        ("date,y\n2024-01-01,1\nlater,2\n2024-01-03,3\n", "line 3: the date 'later'", "codec.dialect.dates"),
        ("date,y\n2024-01-01,1,5\n2024-01-02,2,5\n", "line 2: the line has 3 cells", "a number with a comma"),
        ("date,y\n2024-01-01,1\nSum,3\n", "line 3: the last row begins with 'Sum'", "codec.dialect.footer=1"),
        ("date,y\n,1\n2024-01-02,3\n2024-01-03,3\n", "line 2: the date '' cannot be read", "fill the cell"),
        (
            'date,y,note\n2024-01-01,1,\n2024-01-02,2,"sale, big"\n2024-01-03,3,\n',
            "column 'note' is text",
            "corpus.columns=[y] reads",
        ),
        ("when,[y]\na b,1\nc d,2\ne f,3\n", "column 'when' is text", "'corpus.columns=[\"[y]\"]' reads"),
        ("when,no\na b,1\nc d,5\ne f,3\n", "column 'when' is text", "'corpus.columns=[\"no\"]' reads"),
        (
            'date,y\n2024-01-01,1\n2024-01-02,"err, off"\n2024-01-03,3\n',
            "column 'y' is text",
            "'codec.dialect.missing=[\"err, off\"]' takes",
        ),
        (
            'date,y\n2024-01-01,1.5\n2024-01-02,2.5\n2024-01-03,"3,5"\n2024-01-04,4.5\n',
            "line 4: column 'y' is text: '3,5'",
            "missing=[",
        ),
        ("when,y\nV/2023,1\nVI/2023,2\nVII/2023,5\n", "column 'when' is text", "corpus.columns=[y] reads"),
        ("date,y\n2024-01-01,\n", "", ""),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str, hint: str):
    if not message:
        with pytest.raises(DataError, match="no cell of the training split has a value"):
            Series().fit([table_of(text)])
        return
    with pytest.raises(DataError) as caught:
        table_of(text, "t.csv")
    assert message in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("cells", "hint"), [("{s}ity", "given.city.source=column:city makes"), ("w{d}", "given.city.enters=align")]
)
def test_words_beside_series_are_named_as_conditions(cells: str, hint: str):
    rows = [f"2024-01-{d:02},{s},{d},{cells.format(s=s, d=d)}" for s in ("x", "y") for d in range(1, 9)]
    with pytest.raises(DataError, match="column 'city' is text") as caught:
        tables_of("\n".join(["date,shop,y,city", *rows, ""]))
    assert hint in caught.value.hint
    assert "corpus.columns=[y]" in caught.value.hint


def test_a_column_of_sentences_is_named_as_what_is_modelled():
    with pytest.raises(DataError, match="column 'my text' is text") as caught:
        tables_of("date,my text\n" + "".join(f"2024-01-{d:02},how is day {d}\n" for d in range(1, 9)))
    assert caught.value.hint == "'corpus.text=my text' models its texts, a row each"
    with pytest.raises(DataError, match="column 'asked' is text") as caught:
        tables_of("asked,told\n" + "".join(f"how is day {d}?,it is fine on {d}\n" for d in range(1, 9)))
    assert "corpus.text=told given.asked.source=column:asked" in caught.value.hint


def test_settings_are_written_as_people_type_them():
    assert Dialect.parse({"missing": -1, "date": "Day", "series": ["a", "b"]}) == Dialect(
        missing=("-1",), date=("Day",), series=("a", "b")
    )
    assert table_of("y\n1\n-1\n2\n", "", reads(missing=-1)).values[:, 0].tolist()[::2] == [1, 2]


@pytest.mark.parametrize("dates", ["%FT%T%z", "%Y-%m-%dT%H:%M:%S.%f%z", "%Y-%m-%dT%H:%M:%S"])
def test_a_spelling_of_dates_may_name_a_zone_and_a_fraction(dates: str):
    text = "a,y\n2024-01-01T23:00:00.500Z,1\n2024-01-02T00:00:00.500Z,2\n"
    table = table_of(text, "", reads(date="a", dates=dates))
    assert table.calendar.after(table.dates[-1], 1) == ("2024-01-02T01:00:00.500Z",)


@pytest.mark.parametrize("dates", ["%e %b %Y", "%Y-%m-%d %z %H", "%", "%d %Q"])
def test_a_spelling_of_dates_that_cannot_be_read_is_refused(dates: str):
    with pytest.raises(ConfigError, match="%Y %y %m"):
        Dialect.parse({"dates": dates})


def test_times_without_a_name_are_dates():
    table = table_of("".join(f"{1_700_000_000 + 60 * i}.000\t{i * i % 7}\n" for i in range(20)))
    assert (table.columns, table.calendar.step_text) == (("column2",), "1 minute")


def test_excel_says_what_parts_cells():
    table = table_of("sep=;\ndate;y\n2024-01-01;1,5\n2024-01-02;2\n")
    assert table.values[:, 0].tolist() == [1.5, 2]
    assert Series().fit([table]).show(table).decode().startswith("sep=;\ndate;y\n")


@pytest.mark.parametrize(
    ("names", "columns", "said"),
    [
        (",a,b\nDate,,", ("a", "b"), "the row under the names calls the first column 'Date'"),
        ("Price,Close,High\nTicker,X,X\nDate,,", ("Close", "High"), "the 2 rows under the names call the first"),
        ("Price,Close,Close\nTicker,X,Y\nDate,,", ("Close X", "Close Y"), "each column by both of its names"),
    ],
)
def test_a_first_column_may_be_named_under_the_names(names: str, columns: tuple[str, ...], said: str):
    """As pandas writes a frame whose columns have names of several levels."""
    text = f"{names}\n2024-01-01,1.5,2\n2024-01-02,2.5,\n2024-01-03,3.5,4\n"
    table = table_of(text)
    assert (len(table), table.columns, table.date_column) == (3, columns, "Date")
    assert said in "; ".join(table.remarks)
    codec = Series().fit([table])
    assert codec.show(table).decode() == text
    canvas = codec.canvas(table)
    filled = codec.decode(Encoded(np.zeros_like(canvas.x), np.ones_like(canvas.shown), canvas.origin))
    assert codec.show(filled).decode() == text.replace("2.5,\n", "2.5,3.0\n")
    unnamed = table_of("date,a,b\n2024-01-01,1.5,2\n2024-01-02,,\n2024-01-03,3.5,4\n")
    assert len(unnamed) == 3, "a row of no values is none of names"


def test_an_array_of_complex_numbers_is_no_series():
    codec = Series().fit([table_of("y\n1\n2\n")])
    with pytest.raises(DataError, match="the array is no table of numbers: it holds complex numbers"):
        codec.accept(np.ones((3, 1), complex))


def test_a_row_of_a_part_is_numbered_as_in_its_series():
    codec = Series().fit([table_of("y\n" + "1\n2\n" * 20)])
    table = table_of("y\n" + "1\n2\n" * 20 + "1e30\n")
    with pytest.raises(DataError, match="1e\\+30 in row 41, too far"):
        codec.encode(codec.cut(codec.cut(table, 20, 41), 5, 21))


def test_what_stands_around_a_table_is_left_out_and_kept():
    text = (
        "Station 12;;\n\nDatum;a;b\n01.01.2024;1;2\n# pause\n02.01.2024;;3\nDatum;a;b\n03.01.2024;3;4\nSource: me;;\n"
    )
    table = table_of(text)
    assert (len(table), table.columns) == (3, ("a", "b"))
    for remark in ("1 line before the table", "1 line of comment", "repeats the names", "under the table"):
        assert any(remark in one for one in table.remarks)
    codec = Series().fit([table])
    assert codec.show(table).decode() == text
    canvas = codec.canvas(table)
    filled = codec.decode(Encoded(np.zeros_like(canvas.x), np.ones_like(canvas.shown), canvas.origin))
    assert codec.show(filled).decode() == text.replace("02.01.2024;;3", "02.01.2024;2.0;3")


# ---- frames -------------------------------------------------------------------------------------------------------


class OfPandas:
    """What is asked of a frame of pandas: its columns and its index."""

    def __init__(self, columns: dict[str, list[object]], index: list[object]) -> None:
        self.columns, self.held = list(columns), columns
        self.index = Index(index)

    def __getitem__(self, name: str) -> list[object]:
        return self.held[name]


class Index(list[object]):
    name = "when"


class NAType:
    """What pandas has where nothing is: whether it is equal to itself cannot be said."""

    def __eq__(self, other: object) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = None  # type: ignore[assignment]


class OfOneColumn:
    """What is asked of a series of pandas."""

    def __init__(self, frame: OfPandas) -> None:
        self.frame, self.index = frame, frame.index

    def to_frame(self) -> OfPandas:
        return self.frame


class OfLevels(OfPandas):
    """What is asked of a frame of pandas whose index has two levels."""

    def __init__(self, columns: dict[str, list[object]], whole: OfPandas) -> None:
        super().__init__(columns, [*range(6)])
        self.index.nlevels, self.whole = 2, whole  # type: ignore[attr-defined]

    def reset_index(self) -> OfPandas:
        return self.whole


def test_frames_are_read_as_files_are(tmp_path: Path):
    moments = [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(6)]
    frame = polars.DataFrame({"when": moments, "y": [0.1, None, 2.0, 3.0, 4.0, 5.0], "on": [True, False] * 3})
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_ipc(tmp_path / "t.arrow")
    frame.write_ndjson(tmp_path / "t.jsonl")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(frame.write_csv().encode()))
    (first,) = read_tables(tmp_path / "t.parquet").values()
    assert first.columns == ("y", "on")
    assert first.calendar is not None
    assert first.calendar.step_text == "1 hour"
    np.testing.assert_array_equal(first.values[:, 0], [0.1, np.nan, 2, 3, 4, 5])
    codec = Series().fit([first])
    held = {name: frame[name].to_list() for name in frame.columns}
    by_pandas = OfPandas({name: held[name] for name in ("y", "on")}, held["when"])
    held_na: dict[str, list[object]] = {**held, "y": [NAType() if y is None else y for y in held["y"]]}
    by_levels = OfLevels({"y": held["y"]}, OfPandas(held, [*range(6)]))
    others = [*(read_tables(tmp_path / name) for name in ("t.arrow", "t.jsonl", "t.csv.gz"))]
    for table in (
        *(next(iter(other.values())) for other in others),
        *map(codec.accept, (frame, frame.lazy(), held, held_na, by_pandas, by_levels, OfOneColumn(by_pandas))),
    ):
        np.testing.assert_array_equal(table.values, first.values)
        assert table.calendar is not None
        assert table.calendar.instants(table.dates).tolist() == first.calendar.instants(first.dates).tolist()
    assert corpus_of(str(tmp_path / "t.parquet")).default_codec() == Series()
    assert corpus_of(str(tmp_path / "t.jsonl")).default_codec() == Series()
    with pytest.raises(DataError, match="no column 'on'"):
        codec.accept(frame.drop("on"))
    assert "column 'z' is left out" in codec.accept(frame.with_columns(z=polars.Series([*"abcabc"]))).remarks
    np.testing.assert_array_equal(codec.accept(frame.select("on", "y", "when")).values, first.values)


def test_series_in_json_lines(tmp_path: Path):
    entries = [
        {"item_id": f"s{i}", "start": "2024-01-01 00:00:00", "freq": "h", "target": [*range(4 + i), None]}
        for i in range(2)
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    tables = read_tables(tmp_path / "t.jsonl")
    assert {name: len(table) for name, table in tables.items()} == {"s0": 5, "s1": 6}
    assert tables["s1"].dates[-1] == "2024-01-01 05:00:00"
    assert np.isnan(tables["s1"].values[-1, 0])


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "jsonl"])
def test_what_is_made_of_a_file_of_any_kind_has_types_in_a_frame(tmp_path: Path, suffix: str):
    text = "# of a station\nid;day;y;n\n" + "".join(
        f"00{i % 2};2024-01-0{i // 2 + 1};1{i % 9},5 kWh;{i}\n" for i in range(12)
    )
    tables = list(tables_of(text, "", reads(date="day", series="id")).values())
    codec = Series().fit(tables)
    path = tmp_path / f"made.{suffix}"
    several = [tuple(codec.in_file(table, path.name) for table in tables)] * 2
    path.write_bytes(codec.as_file(codec.show_several(several, "sample"), path.name))
    frame = {"parquet": polars.read_parquet, "arrow": polars.read_ipc, "jsonl": polars.read_ndjson}[suffix](path)
    assert frame.columns == ["sample", "id", "day", "y", "n"]
    day = polars.String if suffix == "jsonl" else polars.Date
    assert frame.dtypes == [polars.Int64, polars.String, day, polars.Float64, polars.Int64]
    assert frame.row(0)[3:] == (10.5, 0)
    assert frame.height == 24


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "", "-3"], polars.Int64),
        (["007", "008"], polars.String),
        (["1.5", "2", ""], polars.Float64),
        (["2024-01-31", ""], polars.Date),
        (["2024-01-31 06:30", "2024-02-01 06:30"], polars.Datetime),
        (["2024-01-31T06:30:00", "2024-02-01T06:30:00.25"], polars.Datetime),
        (["2024-01-31 06:30:00+01:00", "2024-04-01 06:30:00+02:00"], polars.String),
        (["31.01.2024", "01.02.2024"], polars.String),
        (["2024-01", "2024-02"], polars.String),
    ],
)
def test_columns_of_a_parquet_file_have_the_type_that_loses_nothing(cells: list[str], kind: Any):
    column = polars.read_parquet(
        as_file(f"a,b\n{''.join(f'{cell},x' + chr(10) for cell in cells)}".encode(), "t.parquet")
    )
    assert column["a"].dtype == kind
    assert column["a"].null_count() == cells.count("")


WAYS = {
    "semicolons": "day;y;open\n01.02.2024;1.234,5;ja\n02.02.2024;999,25;nein\n",
    "returns": "day;y;open\r\n01.02.2024;1234,5;ja\r\n02.02.2024;999,25;nein\r\n",
    "tabs": "day\ty\topen\n2024/02/01\t1234.5\tTrue\n2024/02/02\t999.25\tFalse\n",
    "bars": "day|y|open\n1 Feb 2024|12,34|Y\n2 Feb 2024|9,25|N\n",
    "quotes": 'day,y,open\n2024-02-01,"1,234.75",yes\n2024-02-02,"1,999.25",no\n',
    "percent": "day;y;open\n2024-02-01;12,5 %;on\n2024-02-02;13,5 %;off\n",
    "money": "day,y,open\n2024-02-01,$12.5,true\n2024-02-02,$13.25,false\n",
    "spaces": "day y open\n2024-02-01 12.5 1.5\n2024-02-02 13.25 0.5\n",
    "wide": "shop;01.02.2024;02.02.2024;03.02.2024\na;1,5;2,5;3,75\nb;2,5;4,5;4,25\n",
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_made_is_written_as_the_file_is(way: str):
    text = WAYS[way]
    tables = [*tables_of(text).values()]
    codec = make(Codec, Series().fit(tables).plain())
    plain = [replace(table, sheet=None) for table in tables]
    assert codec.together(plain).decode() == text
    # A sample from nothing has all of it from the codec.
    x, known = codec.encode(tables[0].rows(0, 2)).x, np.ones((2, len(codec.columns)), bool)
    made = codec.decode(Encoded(x, known, codec.canvas(None, 2).origin))
    assert made.written == tables[0].written
    if way != "wide":
        assert codec.show(made).decode() == text
        means = codec.summaries([made], [{"mean": made.values / 4, "0.5": made.values}]).decode()
        first = dict(zip(*(line.split(made.written.delimiter) for line in means.splitlines()[:2]), strict=False))
        if way not in {"quotes", "spaces"}:
            assert first["open_0.5"] == text.splitlines()[1].split(made.written.delimiter)[2], "yes or no is a word"
            assert first["open_mean"] == f"0{made.written.style('y').decimal}25", "how often it is yes is a number"


@pytest.mark.parametrize(
    ("way", "name", "first"),
    [
        ("semicolons", "made.tsv", "01.02.2024\t1.234,5\tja"),
        ("semicolons", "made.csv", "01.02.2024;1.234,5;ja"),
        ("tabs", "made.csv", "2024/02/01,1234.5,True"),
        ("tabs", "made.tsv.gz", "2024/02/01\t1234.5\tTrue"),
        ("spaces", "made.csv", "2024-02-01,12.5,1.5"),
        ("semicolons", "made.parquet", ("01.02.2024", 1234.5, "ja")),
        ("tabs", "made.json", {"day": "2024/02/01", "y": 1234.5, "open": True}),
    ],
)
def test_the_name_of_a_file_may_say_how_it_is_written(tmp_path: Path, way: str, name: str, first: Any):
    (table,) = tables_of(WAYS[way]).values()
    codec, path = Series().fit([table]), tmp_path / name
    codec.write(replace(table, sheet=None), path)
    if name.endswith("parquet"):
        assert polars.read_parquet(path).row(0) == first
    elif name.endswith("json"):
        assert json.loads(path.read_text())[0] == first
    else:
        data = path.read_bytes()
        assert (gzip.decompress(data) if name.endswith("gz") else data).decode().splitlines()[1] == first
    if name.endswith("csv"):  # what is a copy stays one
        codec.write(table, path)
        assert path.read_text() == WAYS[way]


def test_several_samples_have_one_line_of_names():
    text = "# of a station\nday;y\n2024-01-01;1,5\n2024-01-02;2,5\n2024-01-03;3,5\n"
    table = table_of(text)
    shown = Series().fit([table]).show_several([table, table], "path").decode()
    rows = text.splitlines()[2:]
    assert shown.splitlines() == ["path;day;y", *[f"0;{row}" for row in rows], *[f"1;{row}" for row in rows]]
    table = table_of("".join(f"2024-01-0{i},{i * i}\n" for i in range(1, 7)))
    shown = Series().fit([table]).show_several([table, table], "path").decode().splitlines()
    assert (shown[0], shown[1], len(shown)) == ("path,column1,column2", "0,2024-01-01,1", 13)


def test_what_series_in_json_lines_have_beside_their_values_is_said(tmp_path: Path):
    entry = {"start": "2024-01-01", "target": [1, 2, 3], "feat_static_cat": [0], "source": "meter"}
    entry |= {"feat_dynamic_real": [[1, 2, 3, 4], [5, 6, 7, 8]]}
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(entry) + "\n", encoding="utf-8")
    (table,) = read_tables(path).values()
    assert table.columns == ("target",)
    assert table.remarks == (
        "'start' is left out, for no 'freq' says how far apart the values are "
        "(codec.dialect.freq=H says that it is an hour; D, W, M, 15min ...)",
        "'source' is left out",
        "column 'feat_static_cat' is left out (given.NAME.source=column:COLUMN makes one a condition)",
        "2 columns (feat_dynamic_real_1, feat_dynamic_real_2) are left out "
        "(corpus.future=COLUMN,COLUMN reads them beside the rows)",
    )
    # As those hints have it: nothing of what was asked for is said to be left out.
    words = ("feat_static_cat", "feat_dynamic_real_1", "feat_dynamic_real_2")
    wanted = Wanted(Dialect(freq="D"), words=words)
    (table,) = read_tables(path, wanted).values()
    assert table.remarks == ("'source' is left out",)
    assert table.dates == ("2024-01-01", "2024-01-02", "2024-01-03")
    assert table.words == dict(zip(words, (("0",) * 3, ("1", "2", "3"), ("5", "6", "7")), strict=True))
    # What is known ahead of the values is there where a future is read.
    (future,) = read_tables(path, replace(wanted, numbers=False)).values()
    assert (future.dates[-1], future.words["feat_dynamic_real_2"][-1]) == ("2024-01-04", "8")
    assert read_tables(path, Wanted(columns=("target", "feat_dynamic_real_1"))).popitem()[1].values.shape == (3, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feat_static_cat": 3}, "'feat_static_cat' is no list"),
        ({"feat_dynamic_real": [1, 2, 3]}, "'feat_dynamic_real' is no list of lists"),
        ({"feat_dynamic_real": [[1, 2]]}, "'feat_dynamic_real' has 2 values, where 'target' has 3"),
        ({"target": []}, "'target' is no list of numbers"),
        ({"target": [[1, 2], [3]]}, "the channels of 'target' are of several lengths"),
        ({"freq": "fortnight"}, "'fortnight' is no frequency that is known"),
        ({"target": [1, [2], 3]}, "'target' holds lists"),
    ],
)
def test_what_is_wrong_with_series_in_json_lines_is_named(tmp_path: Path, changes: dict[str, Any], message: str):
    entry = {"start": "2024-01-01", "freq": "D", "target": [1, 2, 3]}
    path = tmp_path / "t.jsonl"
    path.write_text(f"{json.dumps(entry)}\n\n{json.dumps(entry | changes)}\n", encoding="utf-8")
    with pytest.raises(DataError, match=message) as error:
        read_tables(path)
    assert error.value.line == 3


ROWS = [{"date": f"2024-01-{day:02d}", "y": day * 1.5, "open": day % 2 == 0} for day in range(1, 21)]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}


@pytest.mark.parametrize(
    "document",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        "".join(json.dumps(row) + "\n" for row in ROWS),
        json.dumps(COLUMNS),
        json.dumps({name: {str(i): cell for i, cell in enumerate(cells)} for name, cells in COLUMNS.items()}),
        json.dumps({"columns": [*COLUMNS], "index": [*range(20)], "data": [[*row.values()] for row in ROWS]}),
        json.dumps({"count": 20, "data": ROWS}),
        json.dumps({"latitude": 52.5, "units": {"y": "C"}, "hourly": COLUMNS}),
        json.dumps(
            {name: dict(zip(COLUMNS["date"], cells, strict=True)) for name, cells in COLUMNS.items() if name != "date"}
        ),
    ],
    ids=["rows", "indented", "lines", "columns", "pandas", "split", "rows in a field", "columns in a field", "index"],
)
def test_a_json_file_of_rows_or_columns_is_a_table(tmp_path: Path, document: str):
    path = tmp_path / "t.json"
    path.write_text(document, encoding="utf-8")
    assert corpus_of(str(path)).default_codec() == Series()
    (table,) = read_tables(path).values()
    assert (table.columns, table.date_column) == (("y", "open"), "date")
    assert (table.dates[-1], table.values[-1].tolist(), len(table)) == ("2024-01-20", [30.0, 1.0], 20)
    codec = Series().fit([table])
    codec.write(table, tmp_path / "again.json")
    (again,) = read_tables(tmp_path / "again.json").values()
    assert again == table


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ('[{"y": 1}, 2]', "an element of the array is no object"),
        ('{"a": 1}', "the file holds no table"),
        ('[{"y": 1},\n {"y": [1]}]', "line 2: 'y' holds lists"),
        ("[]", "the table is empty"),
        ('[{"y": 1}', "the file is no JSON"),
        ('{"y": [1, 2], "z": [1]}', "the file holds no table"),
    ],
)
def test_a_json_file_that_is_no_table_is_refused(tmp_path: Path, document: str, message: str):
    path = tmp_path / "t.json"
    path.write_text(document, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_tables(path)


def test_conversations_drawings_and_texts_in_json_are_no_series(tmp_path: Path):
    for text, codec in (
        ('[{"messages": [{"role": "user", "content": "a"}], "id": 1}]', "chat"),
        ('[{"key_id": 1, "drawing": [[[0, 1], [2, 3]]]}]', "strokes"),
        ('["a", "b"]', "characters"),
        ('{"name": "x", "version": 2}', "characters"),
    ):
        (tmp_path / "t.json").write_text(text, encoding="utf-8")
        assert corpus_of(str(tmp_path / "t.json")).default_codec().name == codec


@pytest.mark.parametrize("word", ["2024-01-02 03:00", "02.01.2024 03:00", "2024-01-02T03:00:00", "2 Jan 2024 03:00"])
def test_a_row_is_found_by_its_date_however_it_is_written(word: str):
    hours = "".join(f"{datetime(2024, 1, 1) + timedelta(hours=i):%Y-%m-%d %H:%M},{i}\n" for i in range(48))
    table = table_of(f"time,x\n{hours}")
    codec = Series().fit([table])
    assert codec.position(table, word) == 27
    with pytest.raises(DataError, match="has no date"):
        codec.position(table, word.replace("2024", "2031"))


@pytest.mark.parametrize("until", ["", " - "])
def test_a_history_that_ends_in_the_hour_that_a_clock_shows_twice_goes_on_after_it(until: str):
    clock = [*range(20, 24), 0, 1, 2, 2]
    starts = [f"{26 if hour > 12 else 27}.10.2024 {hour:02}:00" for hour in clock]
    cells = [f"{a}{until}{b}" if until else a for a, b in zip(starts, [*starts[1:], "27.10.2024 03:00"], strict=True)]
    table = table_of("time,x\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells)))
    codec = Series().fit([table])
    dates = codec.canvas(table, 2).origin["dates"]
    following = [f"27.10.2024 0{hour}:00" + f"{until}27.10.2024 0{hour + 1}:00" * bool(until) for hour in (3, 4)]
    assert list(dates) == [*cells, *following]


@pytest.mark.parametrize(("cells", "said"), [(["1,234", "5,678"], True), (["1,234", "5,67"], False)])
def test_commas_that_may_part_thousands_are_said_to(cells: list[str], said: bool):
    table = table_of("day;x\n" + "".join(f"2024-01-0{i + 1};{cell}\n" for i, cell in enumerate(cells)))
    assert table.values[0, 0] == 1.234
    assert ("decimal=. says that commas part thousands" in table.remarks[0]) == said
    plain = table_of("day;x\n2024-01-01;1,234\n2024-01-02;5,678\n", "", reads(decimal="."))
    assert plain.values[:, 0].tolist() == [1234, 5678]


# ---- exports of well-known sources -----------------------------------------------------------------------------------


def test_a_column_that_holds_one_word_is_left_out_and_said():
    rows = "".join(f"EST:Q,CP_MEUR,{geo},{2020 + q // 4}-Q{q % 4 + 1},{q}\n" for geo in ("DE", "FR") for q in range(8))
    tables = tables_of(f"DATAFLOW,unit,geo,TIME_PERIOD,OBS_VALUE\n{rows}")
    assert {name: table.columns for name, table in tables.items()} == {"DE": ("OBS_VALUE",), "FR": ("OBS_VALUE",)}
    way = "given.NAME.source=column:COLUMN makes one a condition"
    said = f"2 columns (DATAFLOW, unit) hold one word in every row and are left out ({way})"
    assert tables["DE"].remarks == (said,)
    with pytest.raises(DataError, match="column 'flag' is text"):  # what is there now and then may say something
        table_of("date,y,flag\n2024-01-01,1,\n2024-01-02,2,p\n2024-01-03,3,\n")


def test_names_stand_above_units_and_minutes_beside_months():
    rows = "".join(
        f"2024 01 01 {i // 6:02} {i % 6 * 10:02} {i / 10} {'99.00' if i % 9 == 4 else 1.5}\n" for i in range(36)
    )
    table = table_of(f"#YY MM DD hh mm WSPD WVHT\n#yr mo dy hr mn m/s m/s\n{rows}")
    assert (table.columns, table.date_column) == (("WSPD", "WVHT"), "YY\tMM\tDD\thh\tmm")
    assert table.calendar is not None
    assert table.calendar.step_text == "10 minutes"
    assert np.isnan(table.values[:, 1]).sum() == 4


def test_rows_are_named_by_words_rather_than_by_where_they_are():
    days = ",".join(f"1/{d}/20" for d in range(1, 21))
    cells = ",".join(map(str, range(20)))
    places = [",Germany,51.2,9.0", "Hubei,China,31.0,112.3", "Hunan,China,27.6,111.7"]
    tables = tables_of(f"Province,Country,Lat,Long,{days}\n" + "".join(f"{place},{cells}\n" for place in places))
    assert [*tables] == ["\tGermany", "Hubei\tChina", "Hunan\tChina"]
    items = "".join(f"HOBBIES_{i},H1,{cells}\n" for i in range(3))
    tables = tables_of("item_id,dept_id," + ",".join(f"d_{k}" for k in range(1, 21)) + f"\n{items}")
    assert [*tables] == ["HOBBIES_0", "HOBBIES_1", "HOBBIES_2"]


def test_what_is_said_of_several_columns_is_said_of_them():
    table = table_of('day,a,b\n2024-01-01,$1.50,"($2.00)"\n2024-01-02,$2.25,$3.00\n')
    assert table.remarks == ("2 columns (a, b) have '$' beside their numbers, which is left out",)
    assert table.values[0].tolist() == [1.5, -2.0]
    fresh = Series().fit([table]).show(replace(table, sheet=None)).decode()
    assert fresh.splitlines()[1] == "2024-01-01,$1.5,-$2.0"
    assert table_of(fresh) == table


def test_a_column_of_the_names_of_series_whose_dates_never_meet_is_named_as_such():
    rows = "".join(f"2024-01-01 00:{i:02},S{i % 3},{i}\n" for i in range(30))
    with pytest.raises(DataError, match="column 'sensor_id' is text") as error:
        table_of(f"time,sensor_id,y\n{rows}")
    assert error.value.hint.startswith("codec.dialect.series=[sensor_id] takes it for the names of several series")
    assert len(tables_of(f"time,sensor_id,y\n{rows}", wanted=reads(series="sensor_id"))) == 3


@pytest.mark.parametrize(("sign", "encoding"), [("\u20ac", "cp1252"), ("\u00e4", "latin-1")])
def test_the_encoding_that_a_text_is_most_likely_in_is_named(tmp_path: Path, sign: str, encoding: str):
    (tmp_path / "t.csv").write_bytes(f"day,{sign}\n2024-01-01,1\n".encode("cp1252"))
    with pytest.raises(DataError, match="not UTF-8") as error:
        read_tables(tmp_path / "t.csv")
    assert error.value.hint.startswith(f"codec.dialect.encoding={encoding} reads it")


def test_a_future_is_that_of_the_series_that_is_forecast(tmp_path: Path):
    rows = [f"2024-01-{day:02},{name},{day},{day % 3}\n" for name in "ab" for day in range(1, 21)]
    (tmp_path / "two.csv").write_text("day,shop,y,promo\n" + "".join(rows))
    codec = Series().choosing((), ("promo",))
    codec = codec.fit(codec.several(tmp_path / "two.csv"))
    first, second = codec.several(tmp_path / "two.csv")
    ahead = [f"2024-01-{day},b,9\n" for day in range(21, 24)]
    (tmp_path / "ahead.csv").write_text("day,shop,promo\n" + "".join(ahead))
    assert codec.words_ahead(second, 3, tmp_path / "ahead.csv", "promo")[-4:] == ("2", "9", "9", "9")
    with pytest.raises(DataError, match="the future holds no series 'a'"):
        codec.words_ahead(first, 3, tmp_path / "ahead.csv", "promo")
    (tmp_path / "ahead.csv").write_text("day,promo\n" + "".join(ahead).replace(",b", ""))  # of all of them
    assert codec.words_ahead(first, 3, tmp_path / "ahead.csv", "promo")[-3:] == ("9", "9", "9")
    with pytest.raises(DataError, match="the future has no column 'promo'"):
        codec.words_ahead(first, 3, table_of("day,y\n2024-01-21,1\n2024-01-22,1\n2024-01-23,1\n"), "promo")


def test_a_time_of_the_day_alone_is_refused_without_a_warning():
    with pytest.raises(DataError, match="the date '12:00' cannot be read"):
        table_of("time,y\n12:00,1\n")


@pytest.mark.parametrize("kept", [True, False])
def test_samples_are_numbered_by_rows_where_a_cell_goes_over_lines(kept: bool):
    text = 'day,y,note\n2024-01-01,1.5,"a\nb"\n2024-01-02,2.5,c\u2028d\n'
    table = table_of(text, wanted=Wanted(words=("note",)))
    codec = Series().fit([table])
    numbered = codec.show_several([table if kept else replace(table, sheet=None)] * 2, "sample").decode()
    rows = [*text.replace("2024", "0,2024").split("\n")[1:], *text.replace("2024", "1,2024").split("\n")[1:]]
    assert numbered == "sample,day,y,note\n" + "\n".join(rows).replace("\n\n", "\n")


@pytest.mark.parametrize(
    "entry", ['"start": null, "freq": "D"', '"start": "2024-01-01", "freq": null', '"item_id": null']
)
def test_what_is_null_in_a_series_of_json_is_not_there(tmp_path: Path, entry: str):
    (tmp_path / "s.jsonl").write_text("".join(f'{{{entry}, "target": [{i}, 2, 3]}}\n' for i in range(2)))
    tables = read_tables(tmp_path / "s.jsonl")
    assert [*tables] == ["1", "2"]
    assert all(table.dates is None for table in tables.values())


@pytest.mark.parametrize("rows", ["[[1, 2], [3]]", "[1, 2]", "[[1, 2], null]"])
def test_rows_of_json_that_are_not_as_wide_as_the_names_are_no_table(tmp_path: Path, rows: str):
    (tmp_path / "t.json").write_text(f'{{"columns": ["a", "b"], "data": {rows}}}')
    with pytest.raises(DataError):
        read_tables(tmp_path / "t.json")


@pytest.mark.parametrize("part", ["ahead", "overlapping", "all", "series"])
@pytest.mark.parametrize("rows", [28, 50])
def test_what_is_known_ahead_of_times_of_the_day_is_that_of_the_day(part: str, rows: int):
    def text(begin: int, end: int) -> str:
        return "time,y,promo\n" + "".join(f"{(h + 20) % 24:02}:00,{h % 7},{h}\n" for h in range(begin, end))

    wanted = Wanted(words=("promo",))
    table, every = table_of(text(0, rows), wanted=wanted), table_of(text(0, 120), wanted=wanted)
    codec = Series().choosing((), ("promo",)).fit([table])
    future = {
        "ahead": table_of(text(rows, 120), wanted=wanted),
        "overlapping": table_of(text(rows - 5, 120), wanted=wanted),
        "all": every,
        "series": every.rows(10, 120),
    }[part]
    history = every.rows(20, rows) if part == "series" else table
    assert codec.words_ahead(history, 30, future, "promo")[-30:] == tuple(map(str, range(rows, rows + 30)))


def test_uneven_times_of_the_day_go_on_after_midnight():
    minutes = np.cumsum([7, 45, 13, 50, 31] * 8) + 600
    lines = [f"{m // 60 % 24:02}:{m % 60:02},{i}\n" for i, m in enumerate(minutes)]
    table, every = table_of("time,y\n" + "".join(lines[:28])), table_of("time,y\n" + "".join(lines))
    codec = Series().fit([table])
    following = tuple(line.split(",")[0] for line in lines[28:33])
    for future in (every, table_of("time,y\n" + "".join(lines[28:])), table_of("time,y\n" + "".join(lines[27:]))):
        assert codec.foreseen(table, 5, future).ahead == following


def test_numbers_that_are_neither_yes_nor_no_are_not_written_as_these():
    assert respelled(["1", "0", ""], ["yes", "no"], Dialect()) == ("yes", "no", "")
    assert respelled(["2.5", "0"], ["yes", "no"], Dialect()) == ("2.5", "0")


def test_what_stands_beside_rows_without_dates_is_that_of_the_rows_that_follow():
    series = table_of("y,promo\n" + "".join(f"{i % 7}.5,{i}\n" for i in range(40)), wanted=Wanted(words=("promo",)))
    codec = Series().choosing((), ("promo",)).fit([series])
    for history, future in (
        (series.rows(0, 20), series),
        (series.rows(5, 20), series),
        (series.rows(5, 20), series.rows(2, 40)),
    ):
        assert codec.words_ahead(history, 4, future, "promo")[-4:] == ("20", "21", "22", "23")
    with pytest.raises(DataError, match="has 40 rows of the future, row 41 is missing"):
        codec.words_ahead(series.rows(0, 38), 4, series, "promo")
    ahead = table_of("promo\n" + "".join(f"{i}\n" for i in range(4)), wanted=Wanted(words=("promo",), numbers=False))
    assert codec.words_ahead(series.rows(0, 4), 4, ahead, "promo")[-4:] == ("0", "1", "2", "3")
