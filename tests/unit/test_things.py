"""Valid, unique and new: shares that are counted by hand, a command, and a run that learned a list."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from seqloom import fit
from seqloom.codecs.label import Label
from seqloom.core.errors import ConfigError, UnsupportedQuery
from seqloom.corpora.base import Given
from seqloom.corpora.files import corpus_of
from seqloom.evaluation.answers import spread
from seqloom.evaluation.evaluate import evaluate, samples_of
from seqloom.evaluation.texts import texts_of
from seqloom.metrics.base import View
from seqloom.metrics.things import Things, ThingsMetric

THINGS = Things(
    made=["ab", "ab", "ba", "a!", "cc", "cc"],
    copied=["ab", "ba", "bb"],
    held=["ca", "cb"],
    learned=frozenset(["ab", "ba", "bb"]),
)


def records(metric: ThingsMetric) -> dict[str, dict[str, Any]]:
    view: Any = View(None, None, None, things=lambda samples, seed: THINGS)  # type: ignore[arg-type]
    return {record["name"]: record for record in metric.measure(view)}


def test_shares_are_those_of_what_is_valid_and_then_of_what_is_different() -> None:
    found = records(ThingsMetric(pattern="[abc]+"))
    assert [found[name]["value"] for name in ("valid", "unique", "new")] == [5 / 6, 3 / 5, 1 / 3]
    assert [found[name]["count"] for name in ("valid", "unique", "new")] == [6, 5, 3]
    assert found["new"]["context"] == "held-out data: 1, copied training data: 0"
    assert found["unique"]["nominal"] == 1.0
    assert "valid" not in records(ThingsMetric())
    with pytest.raises(ConfigError, match="no regular expression"):
        ThingsMetric.parse({"pattern": "("})


def test_a_command_says_what_is_valid(tmp_path: Path) -> None:
    script = tmp_path / "check.py"
    script.write_text("import sys\nfor line in sys.stdin:\n    print(int(line.strip()[0] == 'a'))\n")
    found = records(ThingsMetric(command=f"{sys.executable} {script}"))
    assert (found["valid"]["value"], found["new"]["value"]) == (0.5, 0.5)
    for wrong in ("print(1)", "import sys; sys.exit('no molecule')"):
        script.write_text(wrong)
        with pytest.raises(ConfigError, match="the command failed"):
            records(ThingsMetric(command=f"{sys.executable} {script}"))
    with pytest.raises(ConfigError, match="cannot be run"):
        records(ThingsMetric(command="no-such-command-here"))


def test_a_run_of_a_list_is_judged_and_the_command_of_its_recipe_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("".join(f"name{i % 83}\n" for i in range(200)))
    command = f"{sys.executable} -c {str(tmp_path / 'ran')!r}"
    settings = {"corpus": {"items": "line"}, "backbone": {"width": 8, "depth": 1}}
    metrics = [{"name": "things", "pattern": ".*", "command": command}, "likelihood"]
    run = fit.train(str(tmp_path / "names.txt"), steps=3, out=tmp_path / "run", metrics=metrics, **settings)
    found = evaluate(run)
    assert [record["name"] for record in found["metrics"]] == ["likelihood"]
    assert "its command is run where it is asked for" in found["failed"][0]
    asked = evaluate(run, metrics=[{"name": "things", "samples": 20, "pattern": "name[0-9]+"}])["metrics"]
    by_name = {record["name"]: record for record in asked}
    assert by_name["valid"]["count"] == 20
    assert by_name["valid"]["context"] == "held-out data: 1, copied training data: 1"
    stream = fit.train(str(tmp_path / "names.txt"), steps=1, out=tmp_path / "stream", backbone=settings["backbone"])
    with pytest.raises(UnsupportedQuery, match="one stream"):
        evaluate(stream, metrics=["things"])
    bits, words = evaluate(stream, metrics=["likelihood", "perplexity"])["metrics"]
    assert words["count"] < bits["count"]  # a name and the end of its line
    assert words["value"] == pytest.approx(2 ** (bits["value"] * bits["count"] / words["count"]))
    assert (words["kind"], words["unit"], words["stderr"]) == ("exact", "a word", 0)
    assert spread(5, 3) == [0, 2, 4]


def test_samples_stand_beside_the_conditions_of_what_they_are_compared_with(tmp_path: Path) -> None:
    rows = "".join(f"line {i}\tkind{i % 7}\n" for i in range(60))
    (tmp_path / "rows.tsv").write_text("text\tkind\n" + rows)
    kind = Given(source="column:kind", codec=Label())
    prepared = corpus_of(str(tmp_path / "rows.tsv"), {"text": "text"}).prepare(None, {"kind": kind})
    part = prepared.splits["train"]

    def apply(given: list[dict[str, Any]], **options: Any) -> list[Any]:
        return [SimpleNamespace(values=[prepared.given["kind"].decode(own["kind"])]) for own in given]

    model: Any = SimpleNamespace(given=prepared.given, sampler=None, apply=apply)
    values = samples_of(model, part, 20, None, 0)
    assert len(values) == 20
    assert values[0] == texts_of(prepared.given["kind"], part.given["kind"], [0])[0]
    assert set(values) == {f"kind{i}" for i in range(7)}
    assert len(samples_of(model, part, 100, None, 0)) == 100, "more than there are"
