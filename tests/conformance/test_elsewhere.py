"""Another device: scores and samples are made on it, and are what the processor gives."""

import numpy as np
import pytest
import torch

from elsewhere import ELSEWHERE, Elsewhere
from seqloom.codecs.series import Series
from seqloom.codecs.table import Table
from seqloom.codecs.text import Characters
from seqloom.core.config import members_of
from seqloom.core.errors import UnsupportedSpace
from seqloom.engine import engine
from seqloom.mixers.base import Mixer
from seqloom.model import Model
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.base import Process
from seqloom.processes.masked import Masked
from seqloom.samplers.ancestral import Ancestral
from seqloom.samplers.beam import Beam
from seqloom.samplers.contrastive import Contrastive
from seqloom.samplers.unmask import Unmask

LETTERS = Characters(alphabet="\nabc ")
TABLES = Series(columns=("a", "b"), means=(10.0, -3.0), scales=(2.0, 0.5))
TEXT = "a cab bac abc\n" * 3
VALUES = Table(("a", "b"), np.random.default_rng(0).normal([10, -3], [2, 0.5], (40, 2)))


@pytest.fixture(autouse=True)
def without_inference_mode(monkeypatch):
    """Tensors that stand for those of another device have no views in inference mode; those of a real one have."""
    monkeypatch.setattr(engine, "mode", lambda gradient: torch.no_grad())


def model(process, codec, mixer="gru", ends=False):
    space = codec.space.replace(ends=ends)
    own = process.module(space)
    net = Network(Backbone(width=32, depth=1, mixer=mixer, mlp=1.0), process.spec(space), space, 16, {}, 1, own)
    return Model(codec, process, net.eval())


def samples(made, sampler=None):
    prefix = TEXT if made.codec is LETTERS else VALUES
    return made.sample(2, 12, seed=3, sampler=sampler).values + made.extend(prefix, 5, n=2, seed=4).values


def scores(made, value):
    return [made.score(value, seed=1, name=name).nats for name in made.process.likelihoods()]


@pytest.mark.parametrize("mixer", sorted(members_of(Mixer)))
@pytest.mark.parametrize(
    "process",
    # What `uniform` does at each step takes ten times as long as what others do.
    [pytest.param(p, marks=[pytest.mark.slow] if p == "uniform" else []) for p in sorted(members_of(Process))],
)
@pytest.mark.parametrize("codec", [LETTERS, TABLES], ids=["text", "series"])
def test_scores_and_samples_are_those_of_the_processor(process, mixer, codec):
    learned = members_of(Process)[process]()
    if process != "autoregressive" and mixer not in {"gru", "attention"}:
        pytest.skip("what differs is in the mixers, which the others try")
    try:
        made = model(learned, codec, mixer, ends=codec is LETTERS)
    except UnsupportedSpace as error:
        pytest.skip(str(error))
    value = TEXT if codec is LETTERS else VALUES
    expected = scores(made, value)
    with Elsewhere():
        far = model(learned, codec, mixer, ends=codec is LETTERS)
        far.network.to(ELSEWHERE)
        assert next(far.network.parameters()).device == ELSEWHERE
        assert scores(far, value) == pytest.approx(expected, rel=1e-6)
        made_there = samples(far)
    for there, here in zip(made_there, samples(made), strict=True):
        if codec is LETTERS:
            assert there == here
        else:  # products are added up in another order there
            assert there.values == pytest.approx(here.values, rel=1e-4)


@pytest.mark.parametrize(
    ("process", "sampler"),
    [
        (Autoregressive(), Beam()),
        (Autoregressive(), Ancestral(temperature=0.7, top_k=3, top_p=0.9)),
        (Autoregressive(), Contrastive(candidates=3)),
        (Masked(), Unmask(steps=4, temperature=0.0)),
        (Masked(self_conditioning=True), Unmask(steps=4)),
    ],
)
def test_samplers_follow_the_network(process, sampler):
    expected = samples(model(process, LETTERS, ends=True), sampler)
    with Elsewhere():
        far = model(process, LETTERS, ends=True)
        far.network.to(ELSEWHERE)
        assert samples(far, sampler) == expected


def test_a_tensor_of_the_processor_is_an_error_there():
    with Elsewhere():
        far = torch.ones(3, device=ELSEWHERE)
        with pytest.raises(RuntimeError, match="processor"):
            far + torch.ones(3)
        with pytest.raises(TypeError, match="cpu"):
            far.numpy()
        assert (far + far).cpu().tolist() == [2, 2, 2]
