"""Devices: a training step makes nothing on another device than that of its network and batch.

The device is `meta`, which has shapes and no numbers: an operation with a tensor of the processor's is an error there.
"""

import pytest
import torch

from seqloom.core.config import members_of
from seqloom.core.errors import UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.mixers.base import Mixer
from seqloom.network.backbone import Backbone
from seqloom.network.given import ConditionSpec
from seqloom.network.network import Network
from seqloom.processes.base import Process
from seqloom.sequence.batch import Batch, Condition
from seqloom.sequence.space import Field, Tokens, Vectors

META = torch.device("meta")
ROWS, LENGTH = 3, 8
SPACES = {"tokens": Tokens(size=5, ends=True), "vectors": Vectors(fields=(Field(name="a"), Field(name="b")))}


def batch(space):
    if isinstance(space, Tokens):
        x = torch.zeros(ROWS, LENGTH, dtype=torch.int64)
    else:
        x = torch.zeros(ROWS, LENGTH, space.dim)
    known, present = torch.ones(x.shape, dtype=torch.bool), torch.ones(ROWS, LENGTH, dtype=torch.bool)
    given = {
        "label": Condition(torch.zeros(ROWS, 1, dtype=torch.int64), torch.ones(ROWS, 1, dtype=torch.bool)),
        "source": Condition(torch.zeros(ROWS, 4, dtype=torch.int64), torch.ones(ROWS, 4, dtype=torch.bool)),
    }
    return Batch(x, present, known, ~known, ~present, given)


@pytest.mark.parametrize("mixer", sorted(members_of(Mixer)))
@pytest.mark.parametrize("process", sorted(members_of(Process)))
@pytest.mark.parametrize("kind", sorted(SPACES))
def test_a_step_stays_on_its_device(process, mixer, kind):
    space = SPACES[kind]
    learned = members_of(Process)[process]()
    try:
        spec = learned.spec(space)
    except UnsupportedSpace as error:
        pytest.skip(f"{process} learns no {kind}: {error}")
    backbone = Backbone(mixer=mixer, width=64, depth=1, mlp=2.0, dropout=0.1)
    specs = {"label": ConditionSpec(Tokens(size=3), "add"), "source": ConditionSpec(Tokens(size=4), "attend")}
    net = Network(backbone, spec, space, LENGTH, specs, 0, learned.module(space)).to(META)
    moved = batch(space).to(META)
    rng = Rng.of(0, torch.arange(ROWS).numpy())
    loss = learned.loss(net, moved, rng, None, rng.at("dropout"))
    assert loss.total.device == META
    assert loss.total.dtype == torch.float32, "whatever the precision, losses are float32 or wider"
    (loss.total / loss.count.clamp_min(1)).backward()
    assert all(p.grad is None or p.grad.device == META for p in net.parameters())
