"""Comparing: equal trainings in workers of their own, failures as rows, the same call again, and runs side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqloom import fit
from seqloom import run as runs
from seqloom.cli import main
from seqloom.core import durable
from seqloom.core.errors import ConfigError, DataError, NotComparable, RunError, UnsupportedQuery
from seqloom.corpora.files import corpus_of
from seqloom.evaluation import compare as comparing
from seqloom.evaluation import judge, naming, rows, work
from seqloom.evaluation.baselines.base import baselines_of
from seqloom.evaluation.compare import compare, compare_runs
from seqloom.evaluation.comparison import student_975
from seqloom.evaluation.texts import spread

SMALL: dict[str, Any] = {
    "corpus": {"size": 4000},
    "backbone": {"width": 8, "depth": 1},
    "feed": {"window": 16, "batch": 4},
}
TEXT = "how vexingly quick daft zebras jump over the lazy dog.\n" * 80


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_training_in_a_worker_a_model_that_does_not_fit_and_the_same_again() -> None:
    messages: list[str] = []

    def again() -> comparing.Comparison:
        return compare("builtin:markov", ["rnn", "gaussian"], minutes=0.04, out="both", notify=messages.append, **SMALL)

    compared = again()
    assert messages[0].startswith("1 training of 2.4s: about ")
    rnn, gaussian = compared.rows
    assert rnn.error is None
    assert gaussian.error is not None
    assert "learns vectors" in gaussian.error
    assert gaussian.value is None
    result = Path("both/results/rnn-0.json")
    assert rnn.value == durable.read_json(result)["metrics"][0]["value"]
    assert rnn.ci95 is None, "one exact value says nothing of other seeds"
    assert rnn.curves[0][-1][2] > 0
    assert len(rnn.samples or ()) == judge.SHOWN
    assert [baseline.name for baseline in compared.baselines] == ["unigram", "5-gram", "xz"]
    assert "rnn" in Path("both/report.html").read_text()
    kept = json.loads(Path("both/compare.json").read_text())
    assert {"rows", "baselines", "report", "fingerprint", "asked"} <= set(kept)
    for name in ("parameters", "seconds", "elements_per_second", "samples_per_second", "peak_memory_mb"):
        assert kept["rows"][0][name] > 0
    before = result.stat().st_mtime_ns
    assert again().rows[0].value == rnn.value
    assert result.stat().st_mtime_ns == before
    with pytest.raises(RunError, match="its minutes are others"):
        compare("builtin:markov", ["rnn"], minutes=0.02, out="both", **SMALL)


def test_seeds_make_a_mean_with_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [2.0, 2.1, 2.6]

    def worked(task: work.Task) -> dict[str, Any]:
        if task.seed == 3:
            return {"error": "the memory is used up"}
        if not task.run.exists():
            train("builtin:markov", str(task.run), corpus=SMALL["corpus"])
        compared = judge.judged(runs.read(task.run))
        compared["metrics"][0]["value"] = values[task.seed]
        task.result.parent.mkdir(exist_ok=True)
        durable.write_json(task.result, compared)
        return compared

    monkeypatch.setattr(work, "_worked", worked)
    compared = compare("builtin:markov", ["rnn"], minutes=0.01, seeds=4, out="both", **SMALL)
    (row,) = compared.rows
    assert row.value == pytest.approx(np.mean(values))
    half = student_975(2) * np.std(values, ddof=1) / math.sqrt(3)
    assert row.ci95 == pytest.approx((np.mean(values) - half, np.mean(values) + half))
    assert row.seeds == 3
    assert row.error == "the memory is used up"
    assert len(row.curves) == len(row.runs) == 3

    def failing(task: work.Task) -> dict[str, Any]:
        durable.write_json(task.result, {"error": "the disk is full"})
        return {"error": "the disk is full"}

    monkeypatch.setattr(work, "_worked", failing)
    messages: list[str] = []
    for model in ("gru", "lstm"):  # what failed is gone when it is not asked for
        fewer = compare("builtin:markov", [model], minutes=0.01, out="both", notify=messages.append, **SMALL)
        assert [(kept.model, kept.seeds, kept.value) for kept in fewer.rows] == [
            (model, 1, None),
            ("rnn", 3, row.value),
        ]
    assert messages[0] == "kept from before: rnn-0, rnn-1 and rnn-2"
    assert "--models lstm,rnn" in fewer.command
    assert "--seeds 3" in fewer.command


def test_fractions_of_the_training_split_make_a_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, float, int]] = []
    done = judge.judged(runs.read(train("builtin:markov", "run", model="rnn", corpus=SMALL["corpus"])))
    values = {1.0: 1.6, 0.5: 1.7, 0.1: 2.0}

    def worked(task: work.Task) -> dict[str, Any]:
        planned = task.plan()
        prior = planned.recipe.process.plain()["prior"]
        assert (prior == {"name": "none"}) == ("prior=none" in task.model), "the model's own settings win"
        asked.append((task.model, planned.recipe.corpus.fraction, len(planned.prepared.splits["train"].data.x)))
        if (task.model, task.fraction) == ("rnn", 0.5):
            return {"error": "the disk is full"}
        metrics = [{**done["metrics"][0], "value": values[task.fraction] + (task.model == "rnn")}]
        task.result.parent.mkdir(exist_ok=True)
        durable.write_json(task.result, {**done, "metrics": metrics})
        return {**done, "metrics": metrics}

    monkeypatch.setattr(work, "_worked", worked)
    models = ["rnn", "rnn process.prior=none"]
    settings = {**SMALL, "process": {"prior": "ngram"}}
    first = compare("builtin:markov", models[:1], minutes=0.01, out="both", fractions=(0.1, 1), **settings)
    assert asked == [("rnn", 1.0, 3600), ("rnn", 0.1, 360)]
    assert [portion.elements for portion in first.by_data.portions] == [360, 3600]
    with pytest.raises(RunError, match="its settings are others"):
        compare("builtin:markov", models, minutes=0.01, out="both", **SMALL)
    compared = compare("builtin:markov", models, minutes=0.01, out="both", fractions=(0.5, 1), **settings)
    assert asked[2:] == [(models[1], 1.0, 3600), ("rnn", 0.5, 1800), (models[1], 0.5, 1800)], "what there was is kept"
    assert [row.model for row in compared.rows] == models
    curve = compared.by_data
    assert curve is not None
    rows_by_name = {row.name: [row.value(portion.key) for portion in curve.portions] for row in curve.rows}
    assert rows_by_name["rnn"] == [3.0, None, 2.6]
    assert rows_by_name[models[1]] == [None, 1.7, 1.6]
    grams = rows_by_name["5-gram"]
    assert len(set(grams)) == 3, "a baseline learns from the same part"
    assert grams[2] == compared.baseline_value(compared.baselines[1])
    assert curve.failed == ["rnn"]
    assert "rnn: 50 %: the disk is full" in "\n".join(curve.lines())
    assert "went from 1.700 to 1.600 bits/byte" in curve.verdict[0]
    assert "--fractions 0.1,0.5,1" in compared.command
    assert "'rnn,rnn process.prior=none'" in compared.command
    page = Path("both/report.html").read_text()
    assert "Against the amount of data" in page
    assert "elements of the training split that were learned from" in page
    kept = json.loads(Path("both/compare.json").read_text())["by_data"]
    assert [portion["fraction"] for portion in kept["portions"]] == [0.1, 0.5, 1.0]


def test_a_model_of_a_comparison_and_the_name_of_its_run() -> None:
    line = "lstm, gru  process.prior=none,masked trainer={rate: 0.1, warmup: 2} feed.x=[1,2],"
    models = ["lstm", "gru process.prior=none", "masked trainer={rate: 0.1, warmup: 2} feed.x=[1,2]"]
    assert naming.listed_models(line) == models
    assert naming.own_settings(models[1]) == ("gru", {"process": {"prior": "none"}})
    names = {naming.file_name(model, seed, part) for model in models for seed in (0, 12) for part in (1.0, 0.1)}
    assert len(names) == 12
    assert "/" not in naming.file_name("gru feed.x=a/b", 0, 1.0)
    assert naming.file_name("masked-gru", 2, 1.0) == "masked-gru-2"
    for name in names:
        assert naming.file_name(*naming.named_in(name)) == name  # type: ignore[misc]
    assert naming.named_in("notes-old") is None


def test_a_worker_that_dies_is_a_row_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def again() -> comparing.Comparison:
        return compare("builtin:markov", ["rnn"], minutes=0.01, out="both", **SMALL)

    monkeypatch.setattr(work, "WORKER", "seqloom.cli.there_is_no_such_worker")
    assert again().rows[0].error == "its worker ended with exit code 1"
    assert "exit code 1" in Path("both/report.html").read_text()
    durable.write_json(Path("both/results/rnn-0.json"), {"error": "the memory is used up"})
    monkeypatch.setattr(work, "_worked", lambda task: {"error": f"{task.name} was tried again"})
    assert again().rows[0].error == "rnn-0 was tried again"


def test_mistakes_are_told_before_anything_starts(tmp_path: Path) -> None:
    def wrong(error: type[Exception], match: str, data: str = "builtin:markov", **over: Any) -> None:
        words: dict[str, Any] = {"models": ["rnn"], "minutes": 1.0, "out": "both", **SMALL} | over
        with pytest.raises(error, match=match):
            compare(data, words.pop("models"), **words)

    wrong(ConfigError, "no model called 'lsmt'", models=["rnn", "lsmt"])
    wrong(ConfigError, "named twice", models=["rnn", "rnn"])
    wrong(ConfigError, "some time", minutes=0)
    wrong(ConfigError, "not a setting", models=["rnn lstm"])
    wrong(ConfigError, "no such setting", models=["rnn process.prier=none"])
    wrong(ConfigError, "^--fractions: 0 is no fraction", fractions=(0, 1))
    wrong(ConfigError, "1.5 is no fraction", fractions=(1.5,))
    wrong(ConfigError, "0.1 is named twice", fractions=(0.1, 1, 0.1))
    wrong(ConfigError, "one is set", fractions=(0.1, 1), corpus={"size": 4000, "fraction": 0.5})
    wrong(DataError, "too little to learn from", fractions=(0.0001, 1))
    wrong(ConfigError, "no such setting", backbone={"widht": 3})
    wrong(DataError, "there is no such file", data="nothing.txt", corpus={})
    wrong(DataError, "the test split is empty", corpus={"size": 4000, "splits": [0.9, 0.1, 0]})
    wrong(UnsupportedQuery, "a forecast has means and quantiles", horizon=3)
    rows = "".join(f"{math.sin(i)}\n" for i in range(200))
    Path("wave.csv").write_text(f"load\n{rows}")
    wrong(DataError, "nothing of 300 rows can be forecast", data="wave.csv", corpus={}, horizon=300)
    wrong(DataError, "windows", data="wave.csv", corpus={}, synthetic={"length": 300})
    assert not Path("both").exists()
    Path("both").mkdir()
    Path("both/mine.txt").write_text("mine")
    wrong(RunError, "is not empty and is no comparison")
    assert Path("both/mine.txt").read_text() == "mine"


def train(data: str, name: str, **settings: Any) -> str:
    fit.train(data, steps=4, out=name, **({"backbone": SMALL["backbone"], "feed": SMALL["feed"]} | settings))
    return name


def test_finished_runs_are_compared_where_they_can_be() -> None:
    Path("text.txt").write_text(TEXT)
    Path("other.txt").write_text(TEXT + "!")
    lstm, masked = train("text.txt", "lstm", model="lstm"), train("text.txt", "masked", model="masked")
    compared = compare_runs([lstm, masked], out="side")
    assert [(row.model, row.kind) for row in compared.rows] == [("lstm", "exact"), ("masked", "bound")]
    assert set(compared.rows[1].extra) == {"likelihood_left_to_right"}
    assert compared.minutes is None
    assert Path("side/report.html").is_file()
    with pytest.raises(RunError, match="holds another comparison"):
        compare_runs([lstm], out="side")
    with pytest.raises(NotComparable, match="different test splits"):
        compare_runs([lstm, train("other.txt", "other", model="lstm")], out="other-side")
    with pytest.raises(NotComparable, match="scored by the value"):
        compare_runs([lstm, train("builtin:var1", "var1", model="lstm", corpus={"size": 600})], out="other-side")
    (Path(lstm) / runs.REPORT).unlink()
    with pytest.raises(RunError, match="is not finished"):
        compare_runs([lstm, masked], out="side")


@pytest.mark.parametrize("data", ["builtin:labels", "builtin:labels-vectors", "builtin:var1"])
def test_whatever_can_be_trained_can_be_judged(data: str) -> None:
    name = train(data, "run", model="gru", corpus={"size": 400})
    compared = judge.judged(runs.read(name))
    json.dumps(compared, allow_nan=False)
    assert compared["samples_per_second"] > 0
    row = rows.row_of("gru", [compared])
    assert row.value is not None
    assert row.samples is not None
    if data == "builtin:labels":  # each sample has the label of another text, which is shown beside it
        run = runs.read(name)
        truth = list(run.recipe.corpus.values(run.codec, "test"))
        shown = [truth[i].rstrip("\n") for i in spread(len(truth), judge.SAMPLES)[: judge.SHOWN]]
        assert [each[1] for each in row.beside] == [("the true one", text) for text in shown]
        assert {each[0][0] for each in row.beside} == {"label"}
    compared = compare_runs([name], out="side")
    assert all(math.isfinite(compared.baseline_value(baseline)) for baseline in compared.baselines)


def test_baselines_of_documents_count_the_end_symbols() -> None:
    Path("texts").mkdir()
    for i in range(20):
        Path(f"texts/{i:02d}.txt").write_text("abcab" * (3 + i % 3))
    corpus = corpus_of("texts")
    prepared = corpus.prepare(None, {})
    (_, gram, xz), _ = baselines_of(corpus, prepared)
    test = prepared.splits["test"]
    assert gram.count == xz.count == test.units
    # After "ab" comes always "c", after "c" always "a"; what is not certain is only where a text ends.
    assert 0 < gram.nats < 4 * math.log(20) * len(test.data)


def test_the_demo_falls_back_to_a_toy_and_is_replaced(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from seqloom.corpora import builtin

    def stripped() -> str:
        raise DataError("this Python carries no language reference (pydoc_data.topics)")

    monkeypatch.setattr(builtin, "topics", stripped)
    monkeypatch.setattr(work, "_worked", lambda task: {"error": f"{task.model} on {task.data}"})
    Path("runs/demo/runs/old-0").mkdir(parents=True)
    assert main.run(["demo", "--minutes", "0.01"]) == 2
    assert "is no earlier demo" in capfd.readouterr().err
    Path("runs/demo/compare.json").write_text("{}")
    assert main.run(["demo", "--minutes", "0.01"]) == 3, "every model failed"
    out, err = capfd.readouterr()
    assert "no language reference" in err
    for model in ("lstm", "transformer", "masked"):
        assert f"{model} on builtin:markov" in out
    assert "5-gram" in out
    assert out.splitlines()[-1] == "runs/demo/report.html"
    assert not Path("runs/demo/runs/old-0").exists()


@pytest.mark.slow
def test_the_demo_compares_three_families_on_a_real_text(capfd: pytest.CaptureFixture[str]) -> None:
    assert main.run(["demo", "--minutes", "0.05"]) == 0
    out, _ = capfd.readouterr()
    for model in ("lstm", "transformer", "masked"):
        assert f"\n{model} " in out
    assert "\nxz " in out
    assert Path("runs/demo/report.html").is_file()


def test_settings_are_written_as_the_command_line_has_them() -> None:
    settings = {"corpus": {"splits": [0.8, 0.1, 0.1]}, "codec": "bytes", "process": {"name": "masked"}, "seed": 3}
    words: Callable[..., list[str]] = naming.setting_words
    assert words(settings) == ["corpus.splits=[0.8, 0.1, 0.1]", "codec=bytes", 'process={"name": "masked"}', "seed=3"]
