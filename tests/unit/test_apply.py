"""Answers to many conditions: as each by itself, in order, whatever stands beside it; and those of least risk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from seqloom import model as models
from seqloom.codecs.label import Label
from seqloom.codecs.number import Number
from seqloom.codecs.series import Series
from seqloom.codecs.text import Characters
from seqloom.core.errors import DataError, Unlearned, UnsupportedQuery
from seqloom.corpora.base import Flat, Split
from seqloom.metrics.likeness import CharacterError, Chrf, Exact, least_risk
from seqloom.model import Model
from seqloom.network.backbone import Backbone
from seqloom.network.given import ConditionSpec
from seqloom.network.network import Network
from seqloom.processes.anyorder import AnyOrder
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.block import Block
from seqloom.processes.embedding import Embedding
from seqloom.processes.gaussian import Gaussian
from seqloom.processes.masked import Masked
from seqloom.processes.uniform import Uniform
from seqloom.samplers.ancestral import Ancestral
from seqloom.samplers.confident import Confident
from seqloom.sequence.canvas import Encoded
from seqloom.sequence.guess import Ask

LETTERS = Characters(alphabet="\nabc ")
GIVEN = {"source": Characters(alphabet="xyz"), "kind": Label(names=("p", "q")), "size": Number(mean=2.0, deviation=1.0)}
ROWS: list[dict[str, Any]] = [
    {"source": "xyzzy" * (1 + i % 3), "kind": "pq"[i % 2], "size": (float(i),)} for i in range(7)
]


def made(process: Any, codec: Any = LETTERS, encoder: str = "gru", mixer: str = "gru", **more: Any) -> Model:
    space = codec.space.replace(ends=True)
    specs = {
        name: ConditionSpec(
            own.space, own.enters, Backbone(width=16, depth=1, mixer=encoder) if own.enters == "attend" else None
        )
        for name, own in GIVEN.items()
    }
    net = Network(Backbone(width=16, depth=1, mixer=mixer, mlp=1.0), process.spec(space), space, 10, specs, 1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return Model(codec, process, net.eval(), given=GIVEN, **more)


def same(one: Any, other: Any) -> bool:
    """The same texts; numbers to rounding, which depends on what stands beside a row."""
    if isinstance(one[0], str):
        return bool(one == other)
    return all(np.allclose(a.values, b.values, rtol=1e-4) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    "process",
    [Autoregressive(), Masked(), Masked(length="first"), Gaussian()],
    ids=["left", "any", "length", "numbers"],
)
def test_each_is_answered_as_it_would_be_by_itself(process: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "APPLIED", 4)
    numbers = isinstance(process, Gaussian)
    model = made(process, Series(columns=("a",), means=(0.0,), scales=(1.0,)) if numbers else LETTERS)
    told: list[float] = []
    answers = list(model.apply(iter(ROWS), n=2, seed=3, progress=lambda done, _: told.append(done)))
    for i, (given, answer) in enumerate(zip(ROWS, answers, strict=True)):
        alone = model.answer(replace(model.query(model.empty(), 2, 3, given=given), first_row=2 * i))
        assert same(answer.values, alone.values)
    assert max(told) == told[-1] == len(ROWS)
    assert [answer.rows for answer in model.apply(ROWS[5:], n=2, seed=3, first=5)] == [[10, 11], [12, 13]]
    later = [answer.values for answer in model.apply(ROWS[4:], n=2, seed=3, first=4)]  # where a block began
    assert all(same(*pair) for pair in zip(later, (answer.values for answer in answers[4:]), strict=True))


@pytest.mark.parametrize(
    ("seconds", "sizes"), [(1.0, [4, 8, 16, 16, 6]), (5.0, [4] * 12 + [2]), (9.0, [4, 2, *[1] * 44])]
)
def test_as_many_are_answered_together_as_take_the_time_that_is_wanted(
    seconds: float, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "APPLIED", 16)
    monkeypatch.setattr(models, "FIRST_APPLIED", 4)
    model, read, found = made(Autoregressive()), [0], list[int]()
    many = [ROWS[i % len(ROWS)] for i in range(50)]

    def each() -> Iterator[dict[str, Any]]:
        for own in many:
            read[0] += 1
            yield own

    clock = (i // 2 * 100 + i % 2 * seconds for i in count())  # asked before and after those that are together
    monkeypatch.setattr(models, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    answers = []
    for answer in model.apply(each(), seed=3, every=4.0):
        if len(answers) == sum(found):
            found.append(read[0] - sum(found))
        answers.append(answer.values[0])
    assert found == sizes
    assert same(answers, [answer.values[0] for answer in model.apply(many, seed=3)])


def test_a_condition_may_be_numbers_already_with_a_symbol_that_no_text_has() -> None:
    model = made(Autoregressive())
    known, unknown = (Encoded(np.array(x), np.ones(3, bool)) for x in ([1, 2, 3], [1, 0, 3]))
    answers = list(model.apply([{"source": "xyz"}, {"source": known}, {"source": unknown}], n=2, seed=3))
    assert answers[1].values == next(model.apply([{"source": "xyz"}], n=2, seed=3, first=1)).values
    assert len(answers[2].values) == 2
    with pytest.raises(DataError, match="not in the model's alphabet"):
        list(model.apply([{"source": "x?z"}]))


def test_one_answer_is_about_the_likeliest_and_several_are_drawn() -> None:
    model = made(Autoregressive())
    (best,) = model.apply(ROWS[:1])
    assert best.scores
    assert best.values == model.sample(seed=8, sampler=model.answering, given=ROWS[0]).values
    (drawn,) = model.apply(ROWS[:1], n=3, seed=8)
    assert drawn.values == model.sample(3, seed=8, given=ROWS[0]).values
    assert made(Masked()).answering.plain()["temperature"] == 0
    own = Ancestral(temperature=0.5)
    assert (
        made(Gaussian(), Series(columns=("a",), means=(0.0,), scales=(1.0,)), sampler=None).answering.name == "diffuse"
    )
    assert (
        next(model.apply(ROWS[:1], sampler=own, seed=2)).values
        == model.sample(seed=2, sampler=own, given=ROWS[0]).values
    )


def test_a_length_that_is_said_first_is_kept_by_every_verb() -> None:
    model = made(Masked(length="first"))
    surest = Confident(temperature=0.0)
    law = model.process.lengths(model.network, _ask(model, ROWS[0]))
    assert law is not None
    whole = model.sample(sampler=surest, given=ROWS[0]).values[0]
    assert len(whole) == int(law.argmax())
    assert next(model.apply(ROWS[:1])).values == model.sample(sampler=model.answering, given=ROWS[0]).values
    assert model.answering.plain()["lengths"] == 3
    shorter = model.sample(1, 3, sampler=surest, given=ROWS[0]).values[0]
    assert len(shorter) <= 3
    drawn = model.sample(20, given=ROWS[0], seed=1).values
    assert len({len(text) for text in drawn}) >= 3
    assert all(len(text) >= 4 for text in model.extend("abca", 5, n=5, given=ROWS[0]).values)
    assert [len(text) for text in model.infill("ab____ca", n=3, given=ROWS[0]).values] == [8, 8, 8]
    assert {len(text) for text in model.extend("abcab cab cab ", 9, n=20, given=ROWS[0]).values} != {23}
    two, three = (next(model.apply(ROWS[:1], sampler=surest.replace(lengths=n))) for n in (2, 3))
    assert len(three.values[0]) in torch.topk(law[0], 3).indices.tolist()
    assert three.scores[0] >= two.scores[0]


def _ask(model: Model, given: dict[str, Any]) -> Ask:
    conditions = model.given.window(model.given.encode(given), 0, 10)
    x = torch.full((1, 10), model.network.spec.mask)
    given = model.network.encode(conditions, 1)
    shown = torch.zeros_like(x, dtype=torch.bool)
    return Ask(x, np.zeros((1, 1), np.int64), np.zeros(1, np.int64), shown=shown, given=given)


def test_what_cannot_be_asked_is_refused() -> None:
    model = made(Autoregressive())
    with pytest.raises(UnsupportedQuery, match="not said which condition") as caught:
        list(model.apply(["xyz"]))
    for verb in (model.apply, model.classify):
        with pytest.raises(DataError, match="a list of them is wanted"):
            next(verb("xyz"))  # its letters are not meant
    assert "source, kind, size" in caught.value.hint
    with pytest.raises(DataError, match="alphabet"):
        model.given.check({"source": "abc"})
    flat = Flat.of([GIVEN["source"].encode("xyzzy")])
    split = Split(Flat.of([LETTERS.encode("ab")]), {"source": flat}, 2.0, 0.0, "")
    model.given.check({"source": "xyzzyx"})
    bounded = made(Autoregressive(), encoder="attention", train=lambda: split)
    bounded.given.check({"source": "xyzzy"})
    with pytest.raises(DataError, match="it has 6 elements, and the longest in training had 5"):
        bounded.given.check({"source": "xyzzyx"})
    with pytest.raises(DataError, match="it has 6 elements"):
        list(bounded.apply([{**ROWS[0], "source": "xyzzyx"}]))
    assert len(list(bounded.apply([{**ROWS[0], "source": "xyzzyx"}], beyond=True))) == 1
    made(Autoregressive(), train=lambda: split).given.check({"source": "xyzzyx"})  # a recurrence reads on


@pytest.mark.parametrize("name", ["query", "sample", "extend", "infill", "score", "attention"])
def test_every_verb_warns_beside_what_is_longer_than_attention_has_learned_to_read(name: str) -> None:
    split = Split(Flat.of([LETTERS.encode("ab")]), {"source": Flat.of([GIVEN["source"].encode("xyz")])}, 2.0, 0.0, "")
    model = made(Masked(), encoder="attention", train=lambda: split)
    asked: dict[str, Any] = {
        "query": lambda given: model.query(model.empty(), given=given),
        "sample": lambda given: model.sample(given=given, length=2),
        "extend": lambda given: model.extend("a", 2, given=given),
        "infill": lambda given: model.infill("a___", given=given),
        "score": lambda given: model.score("ab", given=given),
        "attention": lambda given: model.attention("ab", given=given),
    }
    asked[name]({"source": "xyz"})
    with pytest.warns(Unlearned, match="source: it has 4 elements, and the longest in training had 3") as caught:
        asked[name]({"source": "xyzz"})
    assert {one.filename for one in caught} == {__file__}, "where it was asked"


def test_an_empty_sample_is_ranked_last() -> None:
    model = made(Autoregressive())
    answer = replace(model.sample(3, seed=1, given=ROWS[0]), values=["", "ab", "ba"])
    ordered, likelihoods = model.ranked(answer, given=ROWS[0])
    assert ordered.values[2] == ""
    assert np.isinf(likelihoods[2].nats)


# ---- attention ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [Autoregressive(), Masked(), Masked(length="first")], ids=["left", "any", "length"])
def test_attention_is_that_of_each_element_as_it_is_made(process: Any) -> None:
    model = made(process)
    found = model.attention("ab c", given=ROWS[0])
    layers, _, rows, columns = found.weights.shape
    end = [] if model.network.spec.length_first else [""]
    assert (list(found.made), layers) == (["a", "b", " ", "c", *end], 1)
    assert list(found.given) == ["(nothing)", *"xyzzy"]
    assert (rows, columns) == (4 + len(end), 6)
    np.testing.assert_allclose(found.weights.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(found.mean, found.weights[0].mean(0))
    # What stands later is not known when an element is made.
    other = model.attention("abaa", given=ROWS[0])
    np.testing.assert_allclose(found.weights[:, :, :3], other.weights[:, :, :3], atol=1e-6)
    assert np.abs(found.weights[:, :, 3:] - other.weights[:, :, 3:]).max() > 1e-4
    assert list(model.attention("ab", given={"kind": "p"}).given) == ["(nothing)", "no source"]


def test_attention_is_drawn() -> None:
    found = made(Autoregressive()).attention("ab c", given=ROWS[0])
    assert found.plot("png", title="a").data.startswith(b"\x89PNG")
    page = found.page("a text").decode()
    layers, heads = found.weights.shape[:2]
    assert page.count("<svg") == 1 + layers * (layers > 1) + layers * heads * (heads > 1), "each can be scrolled alone"
    assert "<h1>a text</h1>" in page
    assert "⏎" in page
    for process in (Uniform(), AnyOrder(), Block(size=2), Embedding()):
        with pytest.raises(UnsupportedQuery, match="not watched"):
            made(process, mixer="attention").attention("ab", given=ROWS[0])
    plain = made(Gaussian(), Series(columns=("a",), means=(0.0,), scales=(1.0,)))
    with pytest.raises(UnsupportedQuery, match="attends to no condition"):
        plain.attention("1")
    with pytest.raises(UnsupportedQuery, match="has no condition: nothing can be given"):
        next(Model(plain.codec, plain.process, plain.network).apply(["x"]))


# ---- least risk -----------------------------------------------------------------------------------------------------


def distance(a: str, b: str) -> int:
    """Edit distance by its definition."""
    if not a or not b:
        return len(a) + len(b)
    return min(distance(a[1:], b) + 1, distance(a, b[1:]) + 1, distance(a[1:], b[1:]) + (a[0] != b[0]))


def test_the_one_of_least_risk_is_that_of_the_whole_law() -> None:
    """Of all texts of a known law, by brute force; of samples of it, the same one."""
    texts = ["".join(own) for n in (1, 2, 3) for own in product("ab", repeat=n)]
    law = np.random.default_rng(0).dirichlet(np.full(len(texts), 0.5))
    truth = [sum(p * distance(made, other) / len(other) for p, other in zip(law, texts, strict=True)) for made in texts]
    drawn = [texts[i] for i in np.random.default_rng(1).choice(len(texts), 4000, p=law)]
    risks = dict(zip(drawn, least_risk(drawn, CharacterError()), strict=True))
    assert min(risks, key=risks.__getitem__) == texts[int(np.argmin(truth))]
    for text, risk in risks.items():
        assert risk == pytest.approx(truth[texts.index(text)], abs=0.03)
    counted = [sum(made != other for other in drawn[:50]) / 50 for made in drawn[:50]]
    assert [1 + risk for risk in least_risk(drawn[:50], Exact())] == pytest.approx(counted)


def test_samples_are_put_in_the_order_of_their_risk() -> None:
    model = made(Autoregressive())
    answer = model.sample(12, seed=1, given=ROWS[0])
    ordered = model.of_least_risk(answer, Chrf())
    assert sorted(ordered.rows) == sorted(answer.rows)
    assert list(ordered.scores) == sorted(ordered.scores, reverse=True)
    risks = least_risk(answer.values, Chrf())
    assert ordered.values[0] == answer.values[int(np.argmin(risks))]
