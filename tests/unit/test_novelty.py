"""How new samples are, against brute force; and intervals over blocks, against what they are intervals of."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from seqloom import fit
from seqloom import run as runs
from seqloom.core.errors import DataError, UnsupportedQuery
from seqloom.corpora.base import Flat
from seqloom.evaluation import judge, rows
from seqloom.evaluation.comparison import Row, bootstrap, over_data
from seqloom.evaluation.evaluate import evaluate
from seqloom.evaluation.measured import MeasuredRow
from seqloom.evaluation.novelty import stretches
from seqloom.evaluation.novelty_table import novelty_table
from seqloom.metrics.novelty import (
    NoveltyMetric,
    Originals,
    distinct,
    divergence,
    frequencies,
    last_of,
    longest_copies,
)


def draw(seed):
    return np.random.Generator(np.random.Philox(key=seed))


def slowly(text, source):
    """The longest run of a text that stands in one of the sequences, by looking at all of them."""
    runs_of = {tuple(s[i:j].tolist()) for s in source for i in range(len(s)) for j in range(i + 1, len(s) + 1)}
    spans = [(i, j) for i in range(len(text)) for j in range(i + 1, len(text) + 1)]
    return max((j - i for i, j in spans if tuple(text[i:j].tolist()) in runs_of), default=0)


@pytest.mark.parametrize("symbols", [1, 2, 3, 50])
def test_the_longest_copied_run_is_that_of_brute_force(symbols):
    rng = draw(symbols)
    for _ in range(40):
        texts = [rng.integers(0, symbols, int(rng.integers(0, 12))) for _ in range(4)]
        source = [rng.integers(0, symbols, int(rng.integers(0, 30))) for _ in range(3)]
        assert longest_copies(texts, source) == [slowly(text, source) for text in texts]


def test_runs_that_are_distinct_and_runs_that_stood_before():
    text = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    assert distinct([text], 2) == 3 / 7  # 01 12 20
    assert distinct([text, text], 2) == 3 / 14
    assert distinct([text[:1]], 2) == 1.0
    assert [part.tolist() for part in last_of([text[:3], text[:4]], 5)] == [[0, 1, 2, 0], [2]]
    metric = NoveltyMetric(repeats=2, distinct=(2,))
    found = {r["name"]: r for r in metric.records(Originals([text, text[:3]], [text[1:5]], [text[:4], text[4:]]))}
    assert found["copied"]["value"] == (4 + 2) / 2
    assert found["copied"]["longest"] == 4
    assert found["distinct_2"]["value"] == 3 / 9
    assert found["repetition"]["value"] == (4 / 7 + 0) / 2
    assert found["repetition"]["nominal"] == 0


def test_how_far_the_frequencies_of_runs_are_apart():
    from scipy.spatial.distance import jensenshannon

    rng = draw(11)
    texts = [[rng.integers(0, 3, 40) for _ in range(2)], [rng.integers(0, 2, 50)]]
    laws = [frequencies(group, 2) for group in texts]
    for group, law in zip(texts, laws, strict=True):
        pairs = [pair for text in group for pair in itertools.pairwise(text)]
        own = {np.array(pair).tobytes(): pairs.count(pair) / len(pairs) for pair in set(pairs)}
        assert law == pytest.approx(own)
    keys = sorted(laws[0].keys() | laws[1].keys())
    p, q = ([law.get(key, 0.0) for key in keys] for law in laws)
    assert divergence(*laws) == pytest.approx(jensenshannon(p, q, base=2) ** 2)
    assert divergence(laws[0], laws[0]) == 0
    assert divergence(frequencies([np.zeros(9, int)], 3), frequencies([np.ones(9, int)], 3)) == 1
    assert math.isnan(divergence(laws[0], frequencies([np.zeros(1, int)], 3)))


def test_stretches_of_held_out_data_lie_within_things():
    held = Flat(np.arange(100), np.array([0, 30, 100]))
    assert [part.tolist()[0] for part in stretches(held, 20, ends=False)] == [0, 30, 50, 70]
    assert [(part[0], len(part)) for part in stretches(held, 40, ends=True)] == [(0, 30), (30, 40)]


def test_a_copyist_is_told_from_a_model_that_writes_its_own():
    rng = draw(5)
    learned, held = [rng.integers(0, 4, 20_000)], [rng.integers(0, 4, 64) for _ in range(32)]
    metric = NoveltyMetric(distinct=(4,))

    def row(name, made):
        return MeasuredRow(name, {r["name"]: r for r in metric.records(Originals(made, learned, held))})

    own = row("own", [rng.integers(0, 4, 64) for _ in range(8)])
    copyist = row("copyist", [learned[0][i : i + 64] for i in range(0, 800, 100)])
    stuck = row("stuck", [np.full(64, 1)] * 8)
    # Of 64 places in 20,000 letters of 4 the longest run that agrees is about log4(64 * 20,000) = 10 long.
    assert own.value("copied") == pytest.approx(math.log(64 * 20_000, 4), abs=1.5)
    assert own.measures["copied"]["nominal"] == pytest.approx(own.value("copied"), abs=1.0)
    assert copyist.value("copied") == 64
    assert stuck.value("repetition") == 48 / 49
    assert own.value("repetition") < 0.01
    table = novelty_table([own, copyist, stuck], 64)
    assert [sentence.split(" hold")[0] for sentence in table.verdict] == ["Samples of copyist"]
    assert table.rows[-1].name == "held-out data"
    assert "copyist" in "\n".join(table.lines())


def test_novelty_is_a_metric_of_symbols_and_stands_in_a_comparison(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = {"backbone": {"width": 8, "depth": 1}, "feed": {"window": 16, "batch": 4}}
    fit.train("builtin:markov", model="rnn", steps=4, out="run", corpus={"size": 4000}, **small)
    asked = [{"name": "novelty", "samples": 3, "length": 40}]
    measured = {m["name"]: m for m in evaluate("run", metrics=asked)["metrics"]}
    assert list(measured) == ["copied", "distinct_4", "distinct_16", "ngrams_3", "repetition"]
    assert 3 < measured["copied"]["value"] < 20
    assert measured["copied"]["count"] == 3
    result = judge.judged(runs.read("run"))
    row = rows.row_of("rnn", [result])
    assert set(row.novelty) == set(measured)
    assert not row.extra
    assert row.first_element_ms is not None
    assert row.first_element_ms > 0
    # Three passes of a multiplication and an addition for each weight of input, recurrence and output.
    assert row.operations == 3 * 2 * (8 * 8 + 8 * 8 + 8 * 6)
    blocks = row.likelihood["blocks"]
    assert len(blocks) == 64
    size = sum(size for _, size in blocks)
    assert sum(value * size for value, size in blocks) / size == pytest.approx(row.value, rel=1e-6)
    fit.train("builtin:var1", model="rnn", steps=2, out="numbers", corpus={"size": 400}, **small)
    with pytest.raises((UnsupportedQuery, DataError), match="no symbols that could be copied"):
        evaluate("numbers", metrics=["novelty"])
    assert judge.judged(runs.read("numbers"))["novelty"] == []


def test_the_bootstrap_interval_holds_the_mean_as_often_as_it_says():
    rng, held = draw(9), 0
    for _ in range(200):
        sizes = rng.integers(5, 50, 64)
        values = rng.normal(2.0, 1.0, 64)
        low, high = bootstrap(list(zip(values, sizes, strict=True)))
        held += low < 2.0 < high
    assert 0.90 < held / 200 < 0.98
    assert bootstrap([(1.0, 3.0)] * 10) is None


def test_two_models_are_compared_block_by_block():
    rng = draw(3)
    common = rng.normal(2.0, 0.5, 64)
    better = Row("a", likelihood={"value": 2.0, "blocks": [[v, 10] for v in common]})
    worse = Row("b", likelihood={"value": 2.1, "blocks": [[v + 0.1 + 0.01 * rng.normal(), 10] for v in common]})
    low, high = over_data(worse, better)
    assert 0.09 < low < 0.1 < high < 0.11
    assert over_data(worse, Row("c", likelihood={"value": 2.0, "blocks": [[2.0, 9]] * 64})) is None
    assert over_data(worse, Row("d", likelihood={"value": 2.0})) is None
