"""One text from another: every kind of encoder with every kind of decoder, and both ways to attend."""

import itertools

import numpy as np
import pytest
import torch

from seqloom.mixers.attention import Attention
from seqloom.mixers.recurrent import Gru, Lstm
from seqloom.network.backbone import Backbone
from seqloom.network.given import ConditionSpec
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.sequence.batch import Condition
from seqloom.sequence.space import Tokens

KINDS = {"lstm": Lstm(), "gru": Gru(), "transformer": Attention(heads=2)}
SPACE = Tokens(size=5)
CASES = list(itertools.product(KINDS, KINDS, ["dot", "additive"]))


def network(encoder, decoder, cross):
    given = {"source": ConditionSpec(Tokens(size=7), "attend", Backbone(mixer=KINDS[encoder], width=12, depth=1))}
    backbone = Backbone(mixer=KINDS[decoder], width=8, depth=2, mlp=1.0, cross=cross)
    net = Network(backbone, Autoregressive().spec(SPACE), SPACE, 6, given, seed=1).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return net


def source(net):
    x = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
    return net.encode({"source": Condition(x, torch.tensor([[True] * 4, [True, True, False, False]]))}, 2)


@pytest.mark.parametrize(("encoder", "decoder", "cross"), CASES, ids=map("-".join, CASES))
def test_what_is_read_step_by_step_is_what_is_read_at_once(encoder, decoder, cross):
    net, x = network(encoder, decoder, cross), torch.tensor([[5, 1, 2, 3], [5, 4, 0, 1]])
    given = source(net)
    whole = net(x, given=given)[0]
    state, parts = net.begin(2, 6), []
    for t in range(4):
        out, state = net(x[:, t : t + 1], given=given, state=state, count=np.ones(2, np.int64))
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    whole.square().sum().backward()
    assert all(p.grad is not None for p in net.conditions.trunks.parameters())
    with net.watch() as seen:
        net(x, given=source(net))
    for shares in (part for name, parts in seen.items() if ".cross." in name for part in parts):
        torch.testing.assert_close(shares.sum(-1), torch.ones_like(shares[..., 0]))
        assert bool((shares[1, ..., 3:] == 0).all())  # the null element, and two of the source


def test_additive_attention_is_its_formula():
    net = network("gru", "gru", "additive")
    cross = net.trunk.layers[0].cross
    h, elements = torch.randn(2, 1, 3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    k, v = cross.pair(elements[0]).chunk(2, -1)
    queries = cross.query(cross.norm(h[0]))
    expected = [torch.stack([cross.fit @ (q + key).tanh() for key in k]).softmax(0) @ v for q in queries]  # of one head
    assert cross.heads == 1
    torch.testing.assert_close(cross(h, cross.pair(elements), None)[0], cross.out(torch.stack(expected)))
