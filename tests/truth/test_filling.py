"""Gaps that a model from left to right was trained to fill: how rows are rearranged, and the law that comes of it."""

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from seqloom.codecs.text import Characters
from seqloom.core.errors import ConfigError, UnsupportedQuery, UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.corpora.base import Flat
from seqloom.corpora.packed import Packed
from seqloom.corpora.toys import Markov
from seqloom.mixers.recurrent import Gru, Lstm
from seqloom.model import Model
from seqloom.network.backbone import Backbone
from seqloom.network.given import ConditionSpec
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.filling import BESIDE, EXACT, LENGTHS, MARKS, led, length_mark, rearranged
from seqloom.sequence.batch import Condition
from seqloom.sequence.space import Field, Tokens, Vectors

TOTAL, CHAIN = 50, Markov()


def batch(rows=40, steps=12):
    x = np.tile(np.arange(steps), (rows, 1)) + np.arange(rows)[:, None]
    return Packed(Flat(x.ravel() % TOTAL, np.arange(0, rows * steps + 1, steps)), Tokens(size=TOTAL)).window(
        np.arange(rows) * steps, steps
    )


def test_a_row_is_read_after_before_and_then_the_gap():
    plain = batch()
    found = rearranged(plain, Rng.of(0, np.arange(40)).at("infill"), 0.5, TOTAL)
    assert found is not None
    moved, rows = found
    assert 8 < len(rows) < 32
    gaps = Counter()
    for x, shown, present, row in zip(moved.x, moved.shown, moved.present, rows, strict=True):
        x, marks = x[present].tolist(), shown[present].nonzero().flatten().tolist()
        assert x[0] == TOTAL + 1
        begin, end = marks[1], marks[2]
        assert x[begin] == TOTAL
        after, before, gap = x[1:begin], x[begin + 1 : end], x[end + 1 :]
        assert before + gap + after == plain.x[row, : len(x) - BESIDE].tolist()  # three fewer, for the marks
        assert x[end] == TOTAL + 2 + length_mark(len(gap))
        lead = led(TOTAL, torch.tensor([before], dtype=torch.int64), torch.tensor([after]), len(gap))
        assert lead[0].tolist() == x[: end + 1]  # as a model is asked
        gaps[len(gap)] += 1
    assert len(gaps) > 3
    assert int(moved.wanted.sum()) == int(moved.present.sum()) - BESIDE * len(rows)


def test_lengths_are_told_apart_and_rows_of_several_sequences_give_their_longest():
    marks = [length_mark(n) for n in range(1, 100_000)]
    assert marks[:EXACT] == list(range(EXACT))
    assert all(b - a in (0, 1) for a, b in itertools.pairwise(marks))
    assert max(marks) == LENGTHS - 1
    plain = batch(rows=1)
    plain.begins[0, [2, 9]] = True
    found = rearranged(plain, Rng.of(0, np.arange(1)).at("infill"), 1.0, TOTAL)
    assert found is not None
    assert sorted(found[0].x[found[0].wanted].tolist()) == list(range(2, 9))
    plain.begins[0] = True  # no sequence has room for a gap
    assert rearranged(plain, Rng.of(0, np.arange(1)).at("infill"), 1.0, TOTAL) is None


def trained(x, starts, mixer, window, steps, rate):
    """A model of letters that learns to fill gaps."""
    codec, process, rows = Characters().fit(["abcde"]), Autoregressive(infill=1.0), 32
    space = codec.space
    net = Network(Backbone(mixer=mixer, width=32, depth=1), process.spec(space), space, window, {}, seed=1)
    data, draw = Packed(Flat(x, starts), space), np.random.Generator(np.random.Philox(key=3))
    optimizer = torch.optim.Adam(net.parameters())
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / steps)
        optimizer.zero_grad()
        at = (
            starts[draw.integers(0, len(starts) - 1, rows)]
            if len(starts) > 2
            else draw.integers(0, len(x) - window, rows)
        )
        loss = process.loss(net, data.window(at, window), Rng.of(step, np.arange(rows)))
        (loss.total / loss.count).backward()
        optimizer.step()
    return Model(codec, process, net.eval())


LIKE = 0.8
"""How often the second of two letters is the first one again; else it is any."""


@pytest.fixture(scope="module")
def filling():
    draw = np.random.Generator(np.random.Philox(key=4))
    x = draw.integers(0, 5, (4000, 2))
    x[:, 1] = np.where(draw.random(len(x)) < LIKE, x[:, 0], x[:, 1])
    codec = Characters().fit(["abcde"])
    return trained(codec.encode("a").x[0] + x.ravel(), np.arange(0, x.size + 1, 2), Gru(), 6, 70, 0.03)


def test_a_gap_is_filled_by_the_law_given_what_follows(filling):
    """Of two letters the second is mostly the first again: p(first | second) is that of Bayes."""
    law = np.full(5, (1 - LIKE) / 5) + np.where(np.arange(5) == 2, LIKE, 0)
    values = filling.infill("_c", n=200, seed=1, blank="_").values
    assert all(value[1:] == "c" for value in values)
    share = np.array([sum(value[0] == letter for value in values) / 200 for letter in "abcde"])
    assert 0.5 * np.abs(share - law).sum() < 0.15


@pytest.mark.slow
def test_gaps_follow_the_law_of_a_chain():
    """Two letters between others are enumerated: p(a, b | before, after) by the chain's matrix."""
    x = Characters().fit(["abcde"]).encode(CHAIN.stream(20_000, 1)).x
    model = trained(x, np.array([0, len(x)]), Lstm(), 8, 1600, 0.01)
    rows, count = np.array(CHAIN.rows), 1000
    law = np.einsum("a,ab,b->ab", rows[0], rows, rows[:, 1])
    law /= law.sum()
    values = model.infill("ca__bc", n=count, seed=1, blank="_").values
    seen = Counter(v[2:4] for v in values)
    share = np.array([[seen[a + b] / count for b in CHAIN.alphabet] for a in CHAIN.alphabet])
    without = rows[0][:, None] * rows  # of what does not look at what follows
    assert 0.5 * np.abs(without - law).sum() > 0.35
    assert 0.5 * np.abs(share - law).sum() < 0.27  # after so short a training


def test_several_gaps_and_open_ends_are_filled_in_turn(filling):
    for template in ("ab_d__a", "_ab", "ab_cd__", "_b_d_" * 6):
        (value,) = filling.infill(template, n=1, seed=3, blank="_").values
        assert len(value) == len(template)
        assert all(a in ("_", b) for a, b in zip(template, value, strict=True))
    with pytest.raises(UnsupportedQuery, match="longer than what was learned"):
        filling.infill("a___b")
    sampler = filling.sampler.replace(repetition=1.5, no_repeat=3)
    filling.infill("ab_cd", sampler=sampler, blank="_")  # marks are no symbols
    two, one = (filling.infill("ab_cd_a", n=n, seed=1, blank="_").values for n in (2, 1))
    assert two[0] == one[0]


def test_what_cannot_be_is_refused():
    with pytest.raises(UnsupportedSpace):
        Autoregressive(infill=0.5).spec(Vectors(fields=(Field(name="a"),)))
    assert Autoregressive(infill=0.5).spec(Tokens(size=5)).inputs == 6 + MARKS
    aligned = {"beside": Condition(torch.zeros(40, 12, dtype=torch.int64), torch.ones(40, 12, dtype=torch.bool))}
    space, process = Tokens(size=TOTAL), Autoregressive(infill=1.0)
    ports = {"beside": ConditionSpec(Tokens(size=2), "align")}
    net = Network(Backbone(mixer=Gru(), width=8, depth=1), process.spec(space), space, 12, ports)
    with pytest.raises(ConfigError, match="cannot be moved with it"):
        process.loss(net, replace(batch(), given=aligned), Rng.of(0, np.arange(40)))
