"""Answers beside the true ones: what needs no model, records with their contexts, and the table that they make."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seqloom.codecs.label import Label
from seqloom.codecs.text import Characters
from seqloom.core.errors import UnsupportedQuery
from seqloom.corpora.base import Flat
from seqloom.evaluation.answers import baselines, nearest, source_in
from seqloom.evaluation.answers_table import answers_table
from seqloom.evaluation.comparison import Row
from seqloom.evaluation.measured import MeasuredRow, by_name
from seqloom.evaluation.rows import _answers as table_of
from seqloom.metrics.answers import Answers, AnswersMetric, records_of
from seqloom.metrics.base import View, wrong_with
from seqloom.metrics.likeness import Chrf, Exact, WordError

LETTERS = Characters(alphabet="\n abcdefghijklmnopqrstuvwxyz")
PAIRS = [("a red dog", "rot"), ("a blue cat", "blau"), ("the blue sky", "blau"), ("a green tree", "gruen")]
BY = (Chrf(), Exact(), WordError())
ANSWERS = Answers(
    ["rot", "blau", "gelb b"] * 10, ["rot", "blau", "gelb a"] * 10, {"copy of en": ["x"] * 30}, how="beam"
)


def test_what_is_answered_without_a_model() -> None:
    sources, answers = (Flat.of([LETTERS.encode(pair[i]) for pair in PAIRS]) for i in (0, 1))
    found = baselines(LETTERS, answers, LETTERS, sources, "en", ["the blue dog", "green trees"])
    assert found == {
        "copy of en": ["the blue dog", "green trees"],
        "commonest answer": ["blau", "blau"],
        "answer to the nearest en": ["blau", "gruen"],
    }
    assert nearest(["zzzz"], [source for source, _ in PAIRS]) == [0]  # nothing is shared: any will do


def test_the_source_is_the_text_that_is_attended_to() -> None:
    label = Label(names=("p", "q"))
    assert source_in(LETTERS, [("kind", label, "add"), ("en", LETTERS, "attend")]) == "en"
    assert source_in(LETTERS, [("kind", label, "attend"), ("en", LETTERS, "align")]) == ""
    assert source_in(label, [("en", LETTERS, "attend")]) == "en"
    assert source_in(label, [("kind", label, "add")]) == ""


def test_records_have_intervals_over_pairs_and_what_stands_beside_them() -> None:
    asked: list[Any] = []

    def answering(metric: AnswersMetric, seed: int) -> Answers:
        asked.append((metric.pairs, seed))
        return ANSWERS

    view: Any = View(None, None, None, answers=answering, seed=4)  # type: ignore[arg-type]
    records = AnswersMetric(pairs=30, by=BY).measure(view)
    assert asked == [(30, 4)]
    assert wrong_with(records) == ""
    found = by_name(records)
    assert found["exact"]["value"] == pytest.approx(2 / 3)
    assert found["word_error"]["value"] == pytest.approx(1 / 4)
    assert found["exact"]["stderr"] == pytest.approx(np.sqrt(2 / 9 / 30), rel=0.1)
    low, high = found["exact"]["interval"]
    assert low < 2 / 3 < high
    assert found["exact"]["context"].endswith("; copy of en: 0; beam")
    assert [found[name]["better"] for name in found] == ["higher", "higher", "lower"]
    with pytest.raises(UnsupportedQuery, match="no sources"):
        AnswersMetric().measure(View(None, None, None))  # type: ignore[arg-type]


def test_the_table_has_models_above_and_what_needs_none_below() -> None:
    metric = AnswersMetric(by=BY)
    beside = metric.baselines(ANSWERS)
    good = Row("gru", answers=by_name(metric.records(ANSWERS, beside)), unaided=beside)
    table = table_of([good, Row("masked", error="it failed")])
    assert table is not None
    assert table.in_words == "answers to 30 sources of the test split, each about the likeliest"
    lines = table.lines()
    assert [line.split("  ")[0].strip() for line in lines[1:]][:7] == [
        "",
        lines[2],
        "gru",
        lines[2],
        "copy of en",
        "masked: it failed",
        "",
    ]
    assert "0.667 ± 0.1" in lines[3]
    assert "chrf: nrefs:1" in " ".join(lines)
    assert table.verdict == []
    assert table.data()["rows"][-1]["baseline"]
    bad = MeasuredRow("gru", by_name(records_of(BY, ["x"] * 30, ANSWERS.truth)))
    worse = answers_table([bad], {name: by_name(own) for name, own in beside.items()})
    assert worse.verdict == ["gru answers no better, as far as these pairs can tell, than the copy of en."]
    assert table_of([Row("gru")]) is None
