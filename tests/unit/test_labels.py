"""Labels of texts: those a model answers with, those that make a text likely, and how labels are measured."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from seqloom.codecs.base import Codec
from seqloom.codecs.label import Label
from seqloom.codecs.text import Characters
from seqloom.core.errors import UnsupportedQuery
from seqloom.metrics.likeness_of_labels import F1, Accuracy, Entities, stretches
from seqloom.model import Model
from seqloom.network.backbone import Backbone
from seqloom.network.given import ConditionSpec
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.masked import Masked

LETTERS, KINDS = Characters(alphabet="\nabc "), Label(names=("p", "q", "r"))
TEXTS = ["ab", "cab bac", "a"]


def made(codec: Codec, given: dict[str, Codec], process: Any) -> Model:
    space = codec.space.replace(ends=codec.ends)
    specs = {name: ConditionSpec(own.space, own.enters) for name, own in given.items()}
    net = Network(Backbone(width=16, depth=1, mixer="gru"), process.spec(space), space, 10, specs, 1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return Model(codec, process, net.eval(), given=given)


@pytest.mark.parametrize("process", [Autoregressive(), Masked()], ids=["autoregressive", "masked"])
def test_the_label_that_is_answered_has_the_probability_of_the_model(process: Any) -> None:
    model = made(KINDS, {"text": LETTERS}, process)
    kind = "likelihood" if isinstance(process, Autoregressive) else "likelihood_left_to_right"
    for text, told in zip(TEXTS, model.classify(TEXTS), strict=True):
        alone = {name: math.exp(-model.score(name, given={"text": text}, name=kind).nats) for name in KINDS.names}
        assert sum(alone.values()) == pytest.approx(1)  # a label has no end that costs something
        assert told == pytest.approx(alone, rel=1e-4)
        assert list(told.values()) == sorted(told.values(), reverse=True)
        (likeliest,) = model.apply([text])
        assert likeliest.values == [next(iter(told))]
    drawn = model.sample(400, given={"text": TEXTS[0]}, seed=1).values
    truth = next(model.classify(TEXTS[:1]))
    assert all(abs(drawn.count(name) / 400 - p) < 4 * (p * (1 - p) / 400) ** 0.5 + 1e-9 for name, p in truth.items())


def test_the_label_under_which_a_text_is_likely_by_bayes() -> None:
    model = made(LETTERS, {"kind": KINDS, "source": LETTERS}, Autoregressive())
    for text, told in zip(TEXTS, model.classify(TEXTS, given={"source": "b"}), strict=True):
        nats = {n: model.score(text, given={"kind": n, "source": "b"}).nats for n in KINDS.names}
        odds = {name: math.exp(min(nats.values()) - own) for name, own in nats.items()}
        assert told == pytest.approx({name: own / sum(odds.values()) for name, own in odds.items()}, rel=1e-3)
    two = made(LETTERS, {"kind": KINDS, "tone": Label(names=("x", "y"))}, Autoregressive())
    assert set(next(two.classify(["ab"], label="tone"))) == {"x", "y"}
    with pytest.raises(UnsupportedQuery, match="which label"):
        next(two.classify(["ab"]))
    with pytest.raises(UnsupportedQuery, match="no labels"):
        next(made(LETTERS, {"source": LETTERS}, Autoregressive()).classify(["ab"]))


def test_accuracy_and_f1_of_labels() -> None:
    made_, truth = ["a", "a", "b", "c"], ["a", "b", "b", "b"]
    assert Accuracy().value(Accuracy().of(made_, truth).sum(0)) == 0.5
    # a: 1 of 2 right, all found; b: all right, 1 of 3 found; c: never true.
    assert F1().value(F1().of(made_, truth).sum(0)) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    lines = ["a\nb\nb", "a"], ["a\nb\na", "a"]
    assert Accuracy().value(Accuracy().of(*lines).sum(0)) == 0.75


def test_marked_stretches_are_right_where_bounds_and_name_are() -> None:
    truth = ["O", "B-PER", "I-PER", "O", "B-LOC", "B-LOC", "I-LOC"]
    assert stretches(truth) == [(1, 3, "PER"), (4, 5, "LOC"), (5, 7, "LOC")]
    assert stretches(["I-PER", "I-LOC", "O", "I-LOC"]) == [(0, 1, "PER"), (1, 2, "LOC"), (3, 4, "LOC")]
    assert stretches(["U-PER", "B-LOC", "L-LOC", "S-LOC"]) == [(0, 1, "PER"), (1, 3, "LOC"), (3, 4, "LOC")]
    other = ["O", "B-PER", "I-PER", "O", "B-LOC", "I-LOC", "O"]  # one of two is right, of three that are true
    counts = Entities().of(["\n".join(other)], ["\n".join(truth)])
    assert Entities().value(counts.sum(0)) == pytest.approx(2 * 1 / (2 + 3))
