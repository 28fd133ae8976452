"""Whose fault an error is: what is wrong with a member of somebody's own is said of that member."""

import sys
import types
from typing import ClassVar

import numpy as np
import pytest
import torch

from seqloom.codecs.base import Codec
from seqloom.codecs.text import Characters
from seqloom.core.config import make
from seqloom.core.errors import ConfigError, UnsupportedQuery
from seqloom.core.rng import Rng
from seqloom.corpora.base import Corpus, Flat, Split
from seqloom.metrics.base import wrong_with
from seqloom.model import Model
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.composed import Composed
from seqloom.processes.heads import BoundHead, Normal
from seqloom.samplers.ancestral import Ancestral
from seqloom.sequence.space import Field, Vectors
from seqloom.sequence.state import State
from seqloom.training.feed import Feed, Reader
from seqloom.training.trainer import Loop, Trainer


@pytest.fixture
def gesture(monkeypatch):
    """A module of somebody's own, with a codec and a corpus that lacks a method."""
    module = types.ModuleType("gesture")
    monkeypatch.setitem(sys.modules, "gesture", module)
    source = """
from seqloom.codecs.text import Characters
from seqloom.corpora.base import Corpus
class Gestures(Characters, name="gestures-of-a-test"):
    pass
class Half(Corpus, name="half-of-a-test"):
    def default_codec(self): return Characters()
"""
    exec(source, module.__dict__)
    yield module
    module.Gestures.members.pop("gestures-of-a-test")
    module.Half.members.pop("half-of-a-test")


@pytest.mark.parametrize(
    ("family", "word", "message", "hint"),
    [
        (Codec, "gestures-of-somebody", "no codec called", "SEQLOOM_MODULES=MODULE"),
        (Codec, "charakters", "no codec called", "did you mean 'characters'?"),
        (Codec, "gesture:Gesture", "'gesture:Gesture' is not in that module", "gesture: it has Gestures"),
        (Codec, "gesture:Half", "'gesture:Half' is no codec", "gesture: it has Gestures"),
        (Corpus, "gesture:Half", "gesture:Half lacks place, things", "seqloom.corpora.base"),
    ],
)
def test_what_is_wrong_with_a_member_is_said_of_it(gesture, family, word, message, hint):
    with pytest.raises(ConfigError, match=message) as caught:
        make(family, word)
    assert hint in caught.value.hint
    assert ("SEQLOOM_MODULES" in caught.value.hint) == (word == "gestures-of-somebody")


class Wide(Normal):
    """It gives one number too many, or forgets to add up."""

    supports: ClassVar[tuple[str, ...]] = ("real",)

    def nats(self, space, params, x, wanted, own=None):
        return super().nats(space, params, x, wanted, own).unsqueeze(-1).expand(*x.shape)

    def draw(self, space, params, rng, temperature, own=None):
        return torch.cat([super().draw(space, params, rng, temperature, own)] * 2, -1)


@pytest.mark.parametrize("head", [Wide(), Composed(heads=(Wide(),))])
def test_a_head_that_gives_another_shape_is_named(head):
    space = Vectors(fields=(Field(name="a"), Field(name="b")))
    bound = BoundHead(head, space)
    params, x = torch.zeros(3, 4), torch.zeros(3, 2)
    with pytest.raises(ConfigError, match=r"`nats` of the head .* gave the shape \(3, 2\), not \(3,\)"):
        bound.nats(params, x, torch.ones(3, 2, dtype=torch.bool))
    with pytest.raises(ConfigError, match=r"`draw` of the head .* gave the shape \(3, 4\), not \(3, 2\)"):
        bound.draw(params, Rng.of(0, np.arange(3)), torch.ones(3))


class Bare(Autoregressive):
    """Its loss is a tensor, or not a sum."""

    bare: bool = True

    def loss(self, net, batch, rng, state=None, drop=None):
        loss = super().loss(net, batch, rng, state, drop)
        return loss.total if self.bare else type(loss)(loss.total.expand(3), loss.count)


@pytest.mark.parametrize(("bare", "got"), [(True, "gave Tensor"), (False, r"gave a total of the shape \(3,\)")])
def test_a_loss_that_is_none_is_said_to_be_the_process(bare, got):
    process, space = Bare(bare=bare), Characters(alphabet="abc").space
    net = Network(Backbone(width=8, depth=1), process.spec(space), space, 8, {}, 1)
    split = Split(Flat(np.zeros(40, np.uint8), np.array([0, 40])), {}, 40.0, 0.0, "x")
    loop = Loop(Trainer(steps=2), net, process, Reader(Feed(window=8, batch=2), split, space, 0, {}))
    with pytest.raises(ConfigError, match=got):
        loop.advance(1e-3)


class Stuck(Ancestral):
    """It never takes what it asked for."""

    def tell(self, rows, ask, guess):
        return rows


def test_a_sampler_that_goes_on_without_end_is_stopped():
    codec, process = Characters(alphabet="abc"), Autoregressive()
    net = Network(Backbone(width=8, depth=1), process.spec(codec.space), codec.space, 8, {}, 1)
    made = Model(codec, process, net.eval())
    with pytest.raises(UnsupportedQuery, match="goes on without end"):
        made.sample(1, 4, seed=1, sampler=Stuck())


def test_the_kind_of_a_record_is_one_of_three():
    record = {"name": "a", "value": 1.0, "unit": "", "kind": "estimate", "stderr": None, "better": "lower", "count": 1}
    assert wrong_with([record]) == ""
    assert "'guess', and not exact or bound or estimate" in wrong_with([{**record, "kind": "guess"}])


def test_states_within_a_state_are_saved_selected_and_detached_with_it():
    class Inner(State):
        def __init__(self):
            self.x, self.count = torch.arange(3.0, requires_grad=True) * 1, np.arange(3)

    class Outer(State):
        def __init__(self):
            self.inner, self.y, self.name = Inner(), torch.ones(3), "kept"

    made, other = Outer(), Outer()
    assert sorted(made.tensors()) == ["inner.count", "inner.x", "y"]
    chosen = made.select(np.array([2, 0])).detach()
    assert chosen.inner.x.tolist() == [2.0, 0.0]
    assert chosen.inner.count.tolist() == [2, 0]
    assert not chosen.inner.x.requires_grad
    other.inner.count[:] = 7
    other.load(made.tensors())
    assert other.inner.count.tolist() == [0, 1, 2]
