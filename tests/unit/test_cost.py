"""What a network would take is what it takes."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from seqloom.core.config import members_of
from seqloom.mixers.attention import Attention
from seqloom.mixers.base import Mixer
from seqloom.network.backbone import Backbone
from seqloom.network.cost import cost
from seqloom.network.given import ConditionSpec
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.gaussian import Gaussian
from seqloom.sequence.batch import Condition
from seqloom.sequence.space import Field, Tokens, Vectors

TOKENS, VECTORS = Tokens(size=65), Vectors(fields=(Field(name="a", width=3),))


@pytest.mark.parametrize("mixer", members_of(Mixer))
@pytest.mark.parametrize(
    ("process", "space"), [(Autoregressive(), TOKENS), (Gaussian(), VECTORS)], ids=["text", "flow"]
)
def test_cost_is_counted_before_anything_is_built(mixer, process, space):
    backbone, spec = Backbone(mixer=mixer, width=64, depth=2, mlp=2.0), process.spec(space)
    estimate = cost(backbone, spec, space, {}, rows=4, window=32)
    net = Network(backbone, spec, space, 32, {})
    assert estimate.parameters == net.parameter_count
    assert estimate.weights == sum(p.nbytes for p in net.parameters())
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    kept = {}

    def keep(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage()
        return x

    x = torch.zeros(4, 32, dtype=torch.int64) if spec.symbolic else torch.zeros(4, 32, spec.inputs)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        net(x, level=torch.zeros(4, 1) if spec.timed else None)
    truth = sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in own)
    assert 0.5 * truth < estimate.activations < 1.5 * truth


def test_what_no_machine_has_is_counted_in_a_moment():
    estimate = cost(Backbone(width=100_000), Autoregressive().spec(TOKENS), TOKENS, {}, rows=32, window=32)
    assert estimate.parameters > 1.6e11  # two layers of 8 * width^2
    assert estimate.training() > 3e12


def test_what_is_attended_to_is_counted_by_its_length():
    backbone, spec = Backbone(mixer=Attention(heads=2), width=32, depth=2, mlp=2.0), Autoregressive().spec(TOKENS)
    given = {"source": ConditionSpec(Tokens(size=30), "attend")}
    estimate = cost(backbone, spec, TOKENS, given, rows=4, window=8, lengths={"source": 24})
    net = Network(backbone, spec, TOKENS, 8, given)
    source = Condition(torch.zeros(4, 24, dtype=torch.int64), torch.ones(4, 24, dtype=torch.bool))
    with FlopCounterMode(display=False) as counted:
        net(torch.zeros(4, 8, dtype=torch.int64), given=net.encode({"source": source}, 4))
    truth = counted.get_total_flops()  # but for attention, whose fused kernel it does not know
    assert truth < estimate.products < 1.25 * truth
    alone = cost(backbone, spec, TOKENS, given, rows=4, window=8)
    assert estimate.products > 2 * alone.products  # thrice as long as what is made
