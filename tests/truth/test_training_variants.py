"""Label smoothing and scheduled sampling: what is trained on, against what is worked out by hand."""

import math

import numpy as np
import pytest
import torch

from oracles import TokenOracle, conditional, next_table, random_joint
from seqloom.core.errors import UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.heads import Categorical
from seqloom.sequence.batch import Batch
from seqloom.sequence.space import Field, Tokens, Vectors

SIZE, STEPS = 3, 2
JOINT = random_joint(SIZE, STEPS, seed=8)


class Following(TokenOracle):
    """One that takes the marks of where sequences begin."""

    def __call__(self, x, *, begins=None, **rest):
        return super().__call__(x, **rest)


def whole(x):
    ones, nothing = torch.ones_like(x, dtype=torch.bool), torch.zeros_like(x, dtype=torch.bool)
    begins = nothing.clone()
    begins[:, 0] = True
    return Batch(x, ones, ones, nothing, begins)


@pytest.mark.parametrize("space", [Tokens(size=4), Vectors(fields=(Field(name="a", width=4, support="category"),))])
def test_a_share_of_each_symbol_is_spread_over_all(space):
    logits = torch.tensor([[0.5, -1.0, 2.0, 0.1]], dtype=torch.float64)
    x = torch.tensor([2]) if isinstance(space, Tokens) else torch.eye(4, dtype=torch.float64)[2:3]
    wanted = torch.ones_like(x, dtype=torch.bool)
    head = Categorical(smoothing=0.2)
    log_probs = logits.log_softmax(-1)[0]
    target = torch.full((4,), 0.05, dtype=torch.float64)
    target[2] += 0.8
    assert float(head.loss(space, logits, x, wanted)) == pytest.approx(-float((target * log_probs).sum()))
    assert float(head.nats(space, logits, x, wanted)) == pytest.approx(-float(log_probs[2]))
    assert float(head.loss(space, logits, x, ~wanted)) == 0
    assert float(Categorical().loss(space, logits, x, wanted)) == pytest.approx(-float(log_probs[2]))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_share_of_what_is_read_is_drawn_by_the_model(share):
    process = Autoregressive(scheduled_sampling=share)
    net = Following(process.spec(Tokens(size=SIZE)), SIZE, next_table(JOINT, SIZE))
    string = (1, 2)
    x = torch.tensor(string).repeat(40_000, 1)
    loss = process.loss(net, whole(x), Rng.of(0, np.arange(len(x))))
    first = conditional(JOINT, {}, 0, SIZE)
    second = [-math.log(conditional(JOINT, {0: v}, 1, SIZE)[string[1]]) for v in range(SIZE)]
    expected = -math.log(first[string[0]]) + (1 - share) * second[string[0]] + share * float(first @ second)
    assert float(loss.total) / len(x) == pytest.approx(expected, rel=0.01)
    nats, _ = process.nats(net, whole(x[:1]), Rng.of(0, 0), None)
    assert float(nats.sum()) == pytest.approx(-math.log(JOINT[string]))  # scores are of what is there


def test_scheduled_sampling_of_numbers_is_refused():
    with pytest.raises(UnsupportedSpace, match="symbols"):
        Autoregressive(scheduled_sampling=0.1).spec(Vectors(fields=(Field(name="a"),)))
