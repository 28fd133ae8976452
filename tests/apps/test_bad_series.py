"""Series that cannot be used, and those that hardly can: each verb says what and where, or gives defined numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from terminal import TINY, Done, Examples, check_error, series

LINES = series(120).splitlines()
HEAD, ROWS = LINES[0], LINES[1:]
PAIR = "unique_id,date,load,price"


def changed(rows: list[str], line: int, column: int, cell: str) -> list[str]:
    """Rows of which one cell is another; `line` is that of the file."""
    cells = rows[line - 2].split(",")
    return [*rows[: line - 2], ",".join([*cells[:column], cell, *cells[column + 1 :]]), *rows[line - 1 :]]


def without(rows: list[str], *columns: int) -> list[str]:
    """Rows in which these columns are empty."""
    return [",".join("" if i in columns else cell for i, cell in enumerate(row.split(","))) for row in rows]


def several(*parts: list[str]) -> list[str]:
    return [f"{name},{row}" for name, rows in zip("ABC", parts, strict=False) for row in rows]


FILES: dict[str, list[str]] = {
    "one.csv": [HEAD, *ROWS[:1]],
    "two.csv": [HEAD, *ROWS[:2]],
    "empty.csv": [],
    "far.csv": [HEAD, *changed(ROWS, 30, 1, "1e30")],
    "several-far.csv": [PAIR, *several(ROWS[:50], changed(ROWS[:50], 20, 1, "1e30"))],
    "several-gap.csv": [PAIR, *several(ROWS, [*ROWS[:10], *without(ROWS[10:60], 1, 2), *ROWS[60:]])],
    "short.csv": [HEAD, *ROWS[:4]],
    "missing.csv": [HEAD, *without(ROWS, 1, 2)],
    "half.csv": [HEAD, *without(ROWS, 2)],
    "constant.csv": [HEAD, *(f"{row.split(',')[0]},5,7" for row in ROWS)],
    "gap.csv": [HEAD, *ROWS[:10], *without(ROWS[10:60], 1, 2), *ROWS[60:]],
    "inf.csv": [HEAD, *changed(ROWS, 30, 1, "inf")],
    "huge.csv": [HEAD, *changed(ROWS, 30, 1, "1e300")],
    "word.csv": [HEAD, *changed(ROWS, 30, 1, "many")],
    "back.csv": [HEAD, *ROWS[:50], *ROWS[30:40], *ROWS[50:]],
    "other.csv": ["date,load,wind", *ROWS],
    "several.csv": [PAIR, *several(ROWS, ROWS[:60], ROWS[:30])],
    "uneven.csv": [PAIR, *several(ROWS, ROWS[:2], ROWS[:1])],
    "several-inf.csv": [PAIR, *several(ROWS[:50], changed(ROWS[:50], 20, 1, "-inf"))],
    "several-missing.csv": [PAIR, *several(ROWS[:50], without(ROWS[:50], 1, 2))],
}

UNREADABLE = [
    ("inf.csv", "inf.csv, line 30: column 'load' holds inf", "leave the cell empty"),
    ("huge.csv", "huge.csv, line 30: column 'load' holds 1e300", "leave the cell empty"),
    ("word.csv", "word.csv, line 30: column 'load' is text: 'many'", "codec.dialect.missing=[many]"),
    ("back.csv", "back.csv, line 52: the date '2024-01-02 06:00:00' goes backward", "sort=true"),
    ("several-inf.csv", "several-inf.csv, line 70: column 'load' holds -inf", "leave the cell empty"),
]
VERBS: list[tuple[object, ...]] = [
    ("train", "FILE", *TINY),
    ("forecast", "RUN", "FILE", "--horizon", 3, "--draws", 2, "--out", "made.csv"),
    ("infill", "RUN", "@FILE", "--out", "made"),
    ("score", "RUN", "FILE"),
    ("evaluate", "RUN", "FILE", "--horizon", 3, "--windows", 2, "--paths", 4),
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, lines in FILES.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path


def called(seqloom: Callable[..., Done], words: tuple[object, ...], file: str, run: Path) -> Done:
    names = {"FILE": file, "@FILE": f"@{file}", "RUN": run}
    return seqloom(*(names.get(str(word), word) for word in words))


@pytest.mark.parametrize("words", VERBS, ids=lambda words: words[0])
@pytest.mark.parametrize("run", ["series", "gaussian"])
def test_what_is_no_number_or_goes_back_is_named_by_line_and_nothing_is_written(
    seqloom: Callable[..., Done], examples: Examples, files: Path, words: tuple[object, ...], run: str
) -> None:
    for name, error, hint in UNREADABLE:
        done = called(seqloom, words, name, examples.run(run))
        check_error(done, error, hint)
        anew = "or train anew with a setting: codec.dialect" in done.err
        assert anew == ("codec.dialect" in done.err and words[0] != "train"), "other verbs take no such setting"
    if words[0] != "train":
        check_error(called(seqloom, words, "other.csv", examples.run(run)), "there is no column 'price'", "load")
    assert sorted(path.name for path in files.iterdir()) == sorted(FILES)


REFUSED: list[tuple[tuple[object, ...], str, str, str]] = [
    (("train", "FILE", *TINY), "one.csv", "too little data to split: 1 row", "corpus.splits=[1,0,0]"),
    (("train", "FILE", *TINY), "missing.csv", "no cell of the training split has a value", "numbers in it"),
    (("forecast", "RUN", "FILE", "--horizon", 0), "two.csv", "--horizon: 0 is not above 0", "larger number"),
    (("forecast", "RUN", "FILE", "--horizon", 1_000_000), "two.csv", "--horizon: 1,000,000 is more than", "sample"),
    (("train", "FILE", *TINY, "feed.horizon=1000000"), "half.csv", "feed.horizon: a number up to 100000", "settings"),
    (
        ("train", "FILE", *TINY, "--out", "half.csv"),
        "half.csv",
        "half.csv is a file, and a run is a folder",
        "another --out",
    ),
    (("train", "FILE", *TINY, "--out", "half.csv/run"), "half.csv", "half.csv is a file, and a run", "another --out"),
    (("train", "FILE", *TINY, "corpus.future=[load,price]"), "half.csv", "are read beside the rows", "corpus.future"),
    (
        ("train", "FILE", *TINY, "given.calendar.source=calendar"),
        "short.csv",
        "error: given.calendar.source: no",
        "week",
    ),
    (("forecast", "RUN", "FILE", "--horizon", 3), "empty.csv", "empty.csv: the table is empty", "header"),
    (("forecast", "RUN", "FILE", "--horizon", 3), "far.csv", "1e+30 in row 29 (2024-01-02 04:00:00)", "empty"),
    (("infill", "RUN", "@FILE"), "empty.csv", "empty.csv: the table is empty", "header"),
    (("infill", "RUN", "none.csv"), "half.csv", "none.csv: there is no such file", "path"),
    (("score", "RUN", "FILE"), "missing.csv", "there is nothing to score", "no cell of it is known"),
    (("infill", "RUN", "@FILE"), "constant.csv", "there is no gap to fill", "empty some cells"),
    (VERBS[-1], "missing.csv", "nothing of 3 rows can be forecast", "--horizon"),
    (("evaluate", "RUN", "FILE", "--horizon", 5), "short.csv", "nothing of 5 rows can be forecast", "--horizon"),
    (("evaluate", "RUN", "--horizon", 1_000_000), "short.csv", "nothing of 1,000,000 rows", "--horizon"),
]


@pytest.mark.parametrize("run", ["series", "gaussian"])
@pytest.mark.parametrize(("words", "name", "error", "hint"), REFUSED, ids=[f"{r[0][0]} {r[1]}" for r in REFUSED])
def test_what_cannot_be_done_is_refused_with_a_hint(
    seqloom: Callable[..., Done],
    examples: Examples,
    files: Path,
    words: tuple[object, ...],
    name: str,
    error: str,
    hint: str,
    run: str,
) -> None:
    check_error(called(seqloom, words, name, examples.run(run)), error, hint)
    assert sorted(path.name for path in files.iterdir()) == sorted(FILES)


def test_a_gap_that_no_window_holds_is_named_by_its_first_row(
    seqloom: Callable[..., Done], examples: Examples, files: Path
) -> None:
    done = seqloom("infill", examples.run("gaussian"), "@gap.csv")
    check_error(done, "the gap of 50 rows from number 11 (2024-01-01 10:00:00) is followed", "feed.window")
    done = seqloom("infill", examples.run("gaussian"), "@several-gap.csv")
    check_error(done, "the gap of 50 rows from number 11 of series 'B' (2024-01-01 10:00:00) is", "feed.window")
    lines = (files / "several-gap.csv").read_text().splitlines()
    lines[5] = "A," + without([lines[5].split(",", 1)[1]], 1)[0]
    (files / "several-gap.csv").write_text("\n".join(lines) + "\n")
    done = seqloom("infill", examples.run("gaussian"), "@several-gap.csv")
    check_error(done, "the gap of 50 rows from number 11 of series 'B'", "--skip-bad leaves it out")
    done = seqloom("infill", examples.run("gaussian"), "@several-gap.csv", "--skip-bad")
    assert done.code == 0
    assert "1 of 2 are bad and left out, the first: the gap of 50 rows from number 11 of series 'B'" in done.err


def test_what_is_wrong_with_what_is_asked_is_no_fault_of_a_series(
    seqloom: Callable[..., Done], examples: Examples, files: Path
) -> None:
    done = seqloom("forecast", examples.run("gaussian"), "several.csv", "--horizon", 3, "sampler.stepps=3")
    check_error(done, "error: sampler.stepps: there is no such setting")
    assert "--skip-bad" not in done.err


def test_what_cannot_be_computed_with_is_named_by_its_series(
    seqloom: Callable[..., Done], examples: Examples, files: Path
) -> None:
    text = (files / "several-far.csv").read_text().splitlines()
    text[5] = "A," + without([text[5].split(",", 1)[1]], 1)[0]
    text[-5] = "B," + without([text[-5].split(",", 1)[1]], 1)[0]
    (files / "several-far.csv").write_text("\n".join(text) + "\n")
    for words in (("forecast", "RUN", "FILE", "--horizon", 3), ("infill", "RUN", "@FILE")):
        done = called(seqloom, words, "several-far.csv", examples.run("gaussian"))
        check_error(done, "error: B: column 'load' holds 1e+30 in row 19 (2024-01-01 18:00:00)", "leave the cell empty")
        check_error(done, "error: B", "--skip-bad leaves it out")


def test_one_bad_series_need_not_keep_the_others_from_being_answered(
    seqloom: Callable[..., Done], examples: Examples, files: Path
) -> None:
    """What the others are answered with is what they are answered with alone."""
    run, text = examples.run("gaussian"), (files / "several-far.csv").read_text().splitlines()
    for i in (5, -5):
        name, row = text[i].split(",", 1)
        text[i] = f"{name},{without([row], 1)[0]}"
    (files / "several-far.csv").write_text("\n".join(text) + "\n")
    (files / "good.csv").write_text("\n".join([line for line in text if not line.startswith("B,")]) + "\n")
    for words in (("forecast", run, "{}", "--horizon", 3, "--draws", 4), ("infill", run, "@{}")):
        words = (*words, "--seed", 1, "-q", "--out", "made.csv", "--force")
        bad, good = (tuple(str(word).replace("{}", name) for word in words) for name in ("several-far.csv", "good.csv"))
        check_error(seqloom(*bad), "error: B: column 'load' holds 1e+30", "--skip-bad")
        assert not (files / "made.csv").exists()
        assert seqloom(*bad, "--skip-bad").code == 0
        made = (files / "made.csv").read_text().splitlines()
        left = [line for line in made if not line.startswith("B,")]
        assert seqloom(*good).code == 0
        assert left == (files / "made.csv").read_text().splitlines()
        assert len(made) - len(left) == (50 if words[0] == "infill" else 0), "what is left out is not filled, and kept"
        (files / "made.csv").unlink()
    done = seqloom("forecast", run, "several-far.csv", "--horizon", 3, "--draws", 4, "--skip-bad")
    assert "1 of 2 are bad and left out, the first: B: column 'load' holds 1e+30" in done.err
    done = seqloom("forecast", run, "several.csv", "--horizon", 3, "--draws", 4, "--from", 40, "--skip-bad")
    assert "1 of 3 are bad and left out, the first: " in done.err


def test_a_cell_that_makes_most_of_the_variance_is_said(seqloom: Callable[..., Done], files: Path) -> None:
    for name in ("far.csv", "several-far.csv"):
        done = seqloom("data", name)
        assert done.code == 0
        row = "2024-01-02 04:00:00" if name == "far.csv" else "2024-01-01 18:00:00 (B)"
        assert f"load of {row}, 1e+30, makes more than half of the column's variance" in done.out.decode()
        assert "price of" not in done.out.decode()


def test_a_history_without_values_is_said(seqloom: Callable[..., Done], examples: Examples, files: Path) -> None:
    for name, said in (
        ("missing", "no cell has a value in the history"),
        ("half", "no cell of price has a value in the history"),
        ("several-missing", "B: no cell has a value in the history"),
    ):
        assert said in called(seqloom, VERBS[1][:-2], f"{name}.csv", examples.run("series")).err


def test_series_of_two_kinds_are_not_learned_together(seqloom: Callable[..., Done], files: Path) -> None:
    (files / "both").mkdir()
    for name in ("half.csv", "other.csv"):
        (files / name).rename(files / "both" / name)
    check_error(
        seqloom("train", "both", *TINY), "column 'price' is in one of this table and the first", "corpus.columns"
    )
    assert not (files / "runs").exists()


@pytest.mark.parametrize("run", ["series", "gaussian"])
def test_what_is_short_constant_or_mostly_missing_has_defined_forecasts_and_scores(
    seqloom: Callable[..., Done], examples: Examples, files: Path, run: str
) -> None:
    for name in ("one", "two", "short", "constant", "half", "missing", "gap", "several", "uneven", "several-missing"):
        done = called(seqloom, VERBS[1][:-2], f"{name}.csv", examples.run(run))
        cells = [float(cell) for row in done.table for key, cell in row.items() if key not in {"unique_id", "date"}]
        assert cells
        assert all(map(math.isfinite, cells)), name
        if name in {"one", "two", "constant", "half", "gap"}:
            assert math.isfinite(seqloom("score", examples.run(run), f"{name}.csv", "--json").json["nats"]), name


def test_of_several_series_each_is_filled_and_scored_and_what_is_empty_spoils_no_other(
    seqloom: Callable[..., Done], examples: Examples, files: Path
) -> None:
    run = examples.run("gaussian")
    lines = [PAIR, *several(ROWS[:30], [*ROWS[:10], *without(ROWS[10:14], 1), *ROWS[14:30]], without(ROWS[:20], 1, 2))]
    (files / "gaps.csv").write_text("\n".join(lines) + "\n")
    filled = seqloom("infill", run, "@gaps.csv", "--seed", 1)
    assert len(filled.table) == 80
    assert all(math.isfinite(float(row["load"])) for row in filled.table)
    before, after = lines, filled.text.splitlines()
    assert [a for a, b in zip(after, before, strict=True) if a == b] == [line for line in before if ",," not in line]
    again = seqloom("infill", run, "@gaps.csv", "--seed", 1, "--json", "-n", 2).json
    assert [one["name"] for one in again["series"]] == ["B", "C"]
    assert len(again["series"][0]["samples"]) == 2
    bands = seqloom("infill", run, "@gaps.csv", "--seed", 1, "--quantiles", "0.1,0.9", "-n", 5).table
    assert [row["unique_id"] for row in bands] == ["B"] * 4 + ["C"] * 20
    check_error(seqloom("infill", run, "@several.csv"), "there is no gap to fill", "empty some cells")
    scored = seqloom("score", run, "gaps.csv", "--json")
    assert [one["name"] for one in scored.json["series"]] == ["A", "B"]
    assert "C: there is nothing to score" in scored.err
    assert seqloom("score", run, "gaps.csv").text.startswith("A: ")


def test_a_column_that_is_known_ahead_must_be_known(seqloom: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("\n".join([HEAD, *ROWS]) + "\n")
    assert seqloom("train", "x.csv", "corpus.future=price", "--model", "gru", "--out", "run", *TINY).code == 0
    ahead = series(124).splitlines()[121:]
    for lines, error, hint in (
        ([HEAD, *changed(ahead, 3, 2, "")], "column 'price' has no value in 2024-01-06 01:00:00", "fill the cell"),
        ([HEAD, *ahead[:2]], "the future of column 'price' has no row for 2024-01-06 02:00:00", "a row for each date"),
        (["date,load", *(row.rpartition(",")[0] for row in ahead)], "there is no column 'price'", "load"),
    ):  # fmt: skip
        (tmp_path / "ahead.csv").write_text("\n".join(lines) + "\n")
        done = seqloom("forecast", "run", "--horizon", 3, "--future", "ahead.csv", "--out", "made.csv", "-q")
        check_error(done, error, hint)
    check_error(
        seqloom("forecast", "run", "--horizon", 3, "-q"), "column 'price' stands beside the rows", "--future FILE"
    )
    assert not (tmp_path / "made.csv").exists()
    forecasts = []
    for spelled in (
        ahead,
        [f"{row[8:10]}.{row[5:7]}.{row[:4]}{row[10:16]}{row[19:]}" for row in ahead],  # 06.01.2024 00:00
        [row.replace(" ", "T").replace(",", "Z,", 1) for row in ahead],
        ahead[::-1],
    ):
        (tmp_path / "ahead.csv").write_text("\n".join([HEAD, *spelled]) + "\n")
        words = ("forecast", "run", "--horizon", 3, "--future", "ahead.csv", "--seed", 1, "-q")
        forecasts.append(seqloom(*words).out)
    assert forecasts[0]
    assert forecasts == forecasts[:1] * 4, "dates are told by what they say, not by how they are written"
    (tmp_path / "ahead.csv").write_text("date,price\n2024-01-06,1\n2024-01-07,1\n2024-01-08,1\n")
    done = seqloom("forecast", "run", "--horizon", 3, "--future", "ahead.csv", "-q")
    check_error(done, "the future of column 'price' has no row for 2024-01-06 01:00:00", "a row for each date")


def test_a_page_has_a_chart_for_each_series_and_a_picture_one(
    seqloom: Callable[..., Done], examples: Examples, files: Path
) -> None:
    words = ("forecast", examples.run("series"), "several.csv", "--horizon", 3, "--draws", 12, "--seed", 1)
    assert seqloom(*words, "--html", "page.html", "-q").code == 0
    page = (files / "page.html").read_text()
    assert [page.count(text) for text in ("<h2>A</h2>", "<h2>B</h2>", "<h2>C</h2>", "<svg ")] == [1, 1, 1, 3]
    assert page.count('<tr><th scope="row">2024-01-') == 3 * 2 * 3, "three rows of two columns of each"
    check_error(seqloom(*words, "--plot", "fan.png"), "a chart is of one series, and there are 3", "--html")
