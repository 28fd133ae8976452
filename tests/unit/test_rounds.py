"""The rounds of benchmarks/speed.py: turns, ratios, what is equal, what is kept and what is refused."""

from __future__ import annotations

import importlib
import inspect
import sys

import pytest
import rounds
import speed
import speed_table
from rounds import Job, Side, Unequal, Versus

from seqloom.core import machine
from seqloom.core.speeds import Speeds

JOB = Job(
    "adding up",
    "sums/s",
    {"ours": Side("sides", "adding", (1.0,)), "peer": Side("sides", "adding", (2.0,)), "lost": Side("sides", "lost")},
    [Versus("ours", "peer", (3.0, 1.5), memory=0.5), Versus("ours", "lost", 1.0)],
)
SIDES = """
from rounds import Prepared

def adding(folder, seconds):
    print("said by a library")
    return Prepared(lambda: seconds, units=4.0, same={"sum": [10.0]}, told={"threads": 1})

def other(folder):
    return Prepared(lambda: 1.0, same={"sum": [11.0]})

def failing(folder):
    return Prepared(lambda: 1 // 0)

def lost(folder):
    import a_package_that_is_not_there
"""


def starter(tmp_path, job=JOB):
    """Children that serve the sides of a module of this test's own."""
    (tmp_path / "sides.py").write_text(SIDES)

    def start(name):
        side = job.sides[name]
        code = (
            f"import sys; sys.path[:0] = {[str(tmp_path), *sys.path]!r}\nfrom pathlib import Path\n"
            f"from rounds import Side, serve\nserve({side!r}, Path())"
        )
        return rounds.Child([sys.executable, "-c", code], tmp_path / "log.txt")

    return start


def test_sides_take_turns_and_the_first_round_is_not_counted():
    order = []

    def side(name, seconds):
        def run():
            order.append(name)
            return {"seconds": seconds.pop(0)}

        return run

    taken = rounds.interleaved({"a": side("a", [9.0, 1.0, 3.0]), "b": side("b", [9.0, 2.0, 2.0])}, 2)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert [one["seconds"] for one in taken["a"]] == [1.0, 3.0]
    assert [one["seconds"] for one in taken["b"]] == [2.0, 2.0]


def test_a_ratio_is_the_median_of_the_rounds():
    found = rounds.ratio_of([1.0, 2.0, 1.0], [2.0, 2.0, 10.0])
    assert found == {"ratio": 2.0, "least": 1.0, "most": 10.0}


def test_sides_that_do_not_compute_the_same_are_not_timed():
    rounds.check_equal({"a": {"loss": [1.0, 2.0]}, "b": {"loss": [1.0, 2.001]}, "c": {"calls": [3]}}, 1e-3)
    with pytest.raises(Unequal, match="loss of b"):
        rounds.check_equal({"a": {"loss": [1.0, 2.0]}, "b": {"loss": [1.0, 2.1]}}, 1e-3)
    with pytest.raises(Unequal, match="loss of b"):
        rounds.check_equal({"a": {"loss": [1.0, 2.0]}, "b": {"loss": [1.0]}}, 1e-3)


def test_a_loaded_machine_is_refused():
    assert rounds.too_loaded(0.5, 2) is None
    assert rounds.too_loaded(None, 2) is None
    assert "2 cores" in str(rounds.too_loaded(1.5, 2))
    falling, said = iter([2.0, 1.0, 0.4]), []
    assert rounds.busy(lambda: next(falling), 2, said.append, lambda seconds: None) == ""
    assert len(said) == 2
    assert "1.5 tasks" in rounds.busy(lambda: 1.5, 2, said.append, lambda seconds: None)
    assert len(said) == 2 + rounds.WAIT // 10


def test_a_job_is_measured_by_children_and_a_missing_peer_is_a_row_with_its_reason(tmp_path):
    row = rounds.measured(JOB, starter(tmp_path), 2, lambda text: None, fast=True, load=0.1)
    (compared,) = row["compared"]
    assert (compared["ratio"], compared["goal"]) == (2.0, 3.0)  # seconds that a side counts itself
    assert row["sides"]["ours"]["rate"] == 4.0
    assert "a_package_that_is_not_there" in row["missing"]["lost"]
    assert not rounds.done({"jobs": {JOB.name: row}}, JOB.name)
    assert rounds.done({"jobs": {JOB.name: {**row, "missing": {}}}}, JOB.name)
    lines = speed_table.table({"jobs": {JOB.name: row}}, [JOB]).splitlines()
    assert "| **2.00** |" in lines[2]
    assert "skipped: No module named" in lines[3]
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
    assert str(row["machine"]["cores"]) in speed_table.machines({"jobs": {JOB.name: row}})


@pytest.mark.parametrize(
    ("second", "error"), [("other", "sum of peer"), ("failing", "ZeroDivisionError"), ("nowhere", "AttributeError")]
)
def test_what_goes_wrong_in_a_child_is_said(tmp_path, second, error):
    sides = {"ours": JOB.sides["ours"], "peer": Side("sides", second)}
    job = Job(JOB.name, JOB.unit, sides, [])
    with pytest.raises((Unequal, RuntimeError), match=error):
        rounds.measured(job, starter(tmp_path, job), 1, lambda text: None)
    table = speed_table.table({"jobs": {JOB.name: {"error": "Traceback\nValueError: so"}}}, [JOB])
    assert "failed: ValueError: so" in table


def test_a_later_sitting_goes_on_with_what_was_kept(tmp_path, monkeypatch, capsys):
    out, measured = tmp_path / "kept" / "speed.json", []

    def measure(job, start, count, say, fast, load):
        measured.append(job.name)
        if len(measured) == 2:
            raise RuntimeError("this one fails")
        return {"unit": "1/s", "sides": {}, "compared": [], "missing": {}, "machine": machine.record()}

    slow = Speeds((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0.0, (1.0, 1.0), 1.0)
    monkeypatch.setattr("seqloom.core.speeds.speeds", lambda: slow)
    monkeypatch.setattr(speed, "measured", measure)
    words = ["speed.py", "--only", "starting,drawing", "--force", "--out", str(out)]
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", words)
        speed.main()
    assert len(measured) == 4  # three of the first sitting, and the one that failed
    assert measured[3] == measured[1]
    assert "this one fails" in capsys.readouterr().err


def test_every_side_is_a_function_that_takes_its_arguments():
    jobs = [job for family in speed.FAMILIES.values() for job in family()]
    assert len({job.name for job in jobs}) == len(jobs)
    for job in jobs:
        assert {name for versus in job.versus for name in (versus.ours, versus.peer)} == set(job.sides)
        for side in job.sides.values():
            function = getattr(importlib.import_module(side.module), side.function)
            inspect.signature(function).bind("folder", *side.arguments)


def test_the_page_has_a_place_for_the_table(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(speed.PAGE.read_text(encoding="utf-8"))
    for text in ("the first table", "the second table"):
        rounds.insert(page, text, speed.MARK)
    assert "the second table" in page.read_text()
    assert "the first table" not in page.read_text()
    with pytest.raises(ValueError, match="another: begin"):
        rounds.insert(page, "no place", "another")
