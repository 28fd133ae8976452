"""What verbs make of a table is written as the table is, and of several series as they stand in their file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars
import pytest

import seqloom as package
from seqloom.cli.main import run
from seqloom.codecs.dialect import Dialect, Wanted
from seqloom.codecs.reading import table_of, tables_of
from terminal import TINY, Done

HEAD = "Datum;Last [MW];Offen;Preis"


def rows(count: int, first: int = 0) -> list[str]:
    """Hours of a table as Excel writes it in German."""
    made = []
    for i in range(first, first + count):
        load = f"{50 + 10 * math.sin(i / 4):.2f}".replace(".", ",")
        price = f"{20 + i % 5 * 0.5:.1f}".replace(".", ",")
        date = datetime(2024, 1, 1) + timedelta(hours=i)
        made.append(f"{date:%d.%m.%Y %H:%M};{load};{'ja' if i % 24 > 7 else 'nein'};{price}")
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table, its future, one with a gap, and a model that forecasts and fills."""
    made = tmp_path_factory.mktemp("written")
    (made / "x.csv").write_bytes("\r\n".join([HEAD, *rows(120), ""]).encode())
    (made / "ahead.csv").write_text("Datum,Preis\n" + "".join(f"{r[:16]},2{i}.5\n" for i, r in enumerate(rows(3, 120))))
    gaps = [row if i not in (8, 9) else f"{row[:16]};;;{row.rpartition(';')[2]}" for i, row in enumerate(rows(20))]
    (made / "gaps.csv").write_bytes("\r\n".join([HEAD, *gaps, ""]).encode())
    words = (
        "train",
        made / "x.csv",
        "corpus.future=Preis",
        "--model",
        "gaussian",
        "--out",
        made / "run",
        "calibrate=false",
        *TINY,
    )
    assert run([*map(str, words)]) == 0
    return made


def test_what_is_made_of_a_table_is_written_as_it_is(seqloom: Callable[..., Done], folder: Path) -> None:
    ask = ("forecast", folder / "run", "--horizon", 3, "--future", folder / "ahead.csv", "--seed", 1, "-q")
    lines = seqloom(*ask, "--paths", 2).text.split("\r\n")
    assert lines[0] == "path;" + HEAD
    cells = [line.split(";") for line in lines[1:-1]]
    assert [one[:2] for one in cells] == [[str(p), row[:16]] for p in range(2) for row in rows(3, 120)]
    assert [one[4] for one in cells] == ["20,5", "21,5", "22,5"] * 2, (
        "what is known ahead stands there as the file has it"
    )
    assert {one[3] for one in cells} <= {"ja", "nein"}
    assert all("," in one[2] for one in cells)
    table = seqloom(*ask, "--quantiles", "0.1,0.5").text
    assert table.startswith("Datum;Last [MW]_mean;Last [MW]_0.1;Last [MW]_0.5;Offen_mean;Offen_0.1;Offen_0.5\r\n")
    first = table.splitlines()[1].split(";")
    assert first[0] == "06.01.2024 00:00"
    assert "," in first[1]
    assert {*first[5:]} <= {"ja", "nein"}
    assert float(first[4].replace(",", ".")) <= 1
    sample = seqloom("sample", folder / "run", "--length", 4, "--seed", 1, "-q").text
    assert sample.startswith("Datum;Last [MW];Offen\r\n")
    ways = table_of(sample).written, table_of("\r\n".join([HEAD, *rows(9), ""])).written
    assert len({(way.delimiter, way.end, *map(repr, map(way.style, HEAD.split(";")[1:3]))) for way in ways}) == 1
    filled = seqloom("infill", folder / "run", f"@{folder / 'gaps.csv'}", "--seed", 1, "-q").text.split("\r\n")
    before = (folder / "gaps.csv").read_bytes().decode().split("\r\n")
    assert [i for i, (a, b) in enumerate(zip(filled, before, strict=True)) if a != b] == [9, 10]
    assert table_of("\n".join([HEAD, filled[9], ""])).values.shape == (1, 3)


def test_the_name_of_what_is_written_may_say_how(seqloom: Callable[..., Done], folder: Path, tmp_path: Path) -> None:
    ask = ("forecast", folder / "run", "--horizon", 3, "--future", folder / "ahead.csv", "--seed", 1, "-q")
    seqloom(*ask, "--paths", 1, "--out", "p.tsv")
    assert (
        (tmp_path / "p.tsv").read_bytes().startswith(b"path\tDatum\tLast [MW]\tOffen\tPreis\r\n0\t06.01.2024 00:00\t")
    )
    seqloom(*ask, "--paths", 1, "--out", "p.parquet")
    frame = polars.read_parquet(tmp_path / "p.parquet")
    assert frame.columns == ["path", *HEAD.split(";")]
    assert frame["Preis"].to_list() == [20.5, 21.5, 22.5]
    seqloom(*ask, "--out", "q.json")
    assert json.loads((tmp_path / "q.json").read_text())[0]["Datum"] == "06.01.2024 00:00"
    fill = ("infill", folder / "run", f"@{folder / 'gaps.csv'}", "--seed", 1, "-q", "--quantiles", "0.1,0.9")
    assert seqloom(*fill, "--out", "i.parquet").code == 0
    assert polars.read_parquet(tmp_path / "i.parquet")["Last [MW]_mean"].dtype == polars.Float64
    assert seqloom(*fill).text.splitlines()[1].count(",") >= 2
    seqloom("sample", folder / "run", "--length", 4, "-n", 2, "--seed", 1, "-q", "--out", "several")
    assert (tmp_path / "several" / "0001.csv").read_text().startswith("Datum;Last [MW];Offen\n")


def test_a_file_of_several_series_is_forecast_in_python_as_by_the_command(
    seqloom: Callable[..., Done], tmp_path: Path
) -> None:
    lines = [f"{shop};{item};{row}" for shop in "AB" for item in "xy" for row in rows(40 if shop == "A" else 30)]
    ahead = [f"{shop};{item};{row[:16]};1,5" for shop in "AB" for item in "xy" for row in rows(12, 30)]
    (tmp_path / "x.csv").write_text("\n".join([f"shop;item;{HEAD}", *lines, ""]))
    (tmp_path / "ahead.csv").write_text("\n".join(["shop;item;Datum;Preis", *ahead, ""]))
    assert seqloom("train", "x.csv", "corpus.future=Preis", "--model", "gru", "--out", "run", *TINY).code == 0
    model = package.load("run")
    ask = ("forecast", "run", "x.csv", "--horizon", 2, "--future", "ahead.csv", "--seed", 3, "-q")
    settings = Dialect(date="Datum", series=("shop", "item"))
    told = tables_of(seqloom(*ask, "--quantiles", "0.5", "--draws", 8).text, wanted=Wanted(settings))
    frames = [polars.read_csv(f"{name}.csv", separator=";", decimal_comma=True) for name in ("x", "ahead")]
    for history, future in (("x.csv", "ahead.csv"), (Path("x.csv"), frames[1]), (frames[0], Path("ahead.csv"))):
        answers = model.forecast(history, 2, n=8, seed=3, future=future)
        assert list(answers) == ["A x", "A y", "B x", "B y"]
        frame = answers.frame((0.5,))
        assert frame.columns[:3] == ["shop", "item", "Datum"]
        assert frame.rows()[-1][:3] == ("B", "y", "02.01.2024 07:00")
        for (shop, item), own in frame.group_by("shop", "item"):
            np.testing.assert_allclose(own["Last [MW]_mean"], told[f"{shop}\t{item}"].values[:, 0], rtol=1e-4)
    kept = answers.where("last('Last [MW]') > -1000")
    assert [len(one.values) for one in kept.values()] == [8] * 4
    assert "4 series: A x, A y, B x ..." in repr(answers)
    late = polars.concat_str("shop", "item", "Datum") != "Bx02.01.2024 06:00"
    with pytest.raises(package.DataError, match=r"B x: the future of column 'Preis' has no row for 02.01.2024 06:00"):
        model.forecast("x.csv", 2, future=frames[1].filter(late))
    inside = model.forecast("x.csv", 2, n=2, from_=21)
    assert {one.paths.shape for one in inside.values()} == {(2, 22, 2)}
