"""The gradient by lag of a linear recurrence is that of the powers of its matrix; clipping scales all lags alike."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from seqloom.core.errors import UnsupportedQuery
from seqloom.corpora.base import Flat
from seqloom.metrics.gradients import GradientByLag, gradient_by_lag
from seqloom.metrics.likelihood import Reading, score
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.masked import Masked
from seqloom.sequence.space import Tokens

SPACE, LENGTH = Tokens(size=5), 24


def network(process, mixer, **settings):
    backbone = Backbone.parse({"mixer": mixer, "width": 6, "depth": 1, **settings})
    return Network(backbone, process.spec(SPACE), SPACE, LENGTH, {}, seed=1)


def reading():
    x = np.random.Generator(np.random.Philox(key=2)).integers(0, 5, 20 * LENGTH)
    return Reading(Flat(x, np.array([0, len(x)])), SPACE, "byte", len(x))


def linear(gain):
    """A recurrence that is linear: every number is above 0, so the ReLU lets all through, and h' = W h + x."""
    process = Autoregressive()
    net = network(process, {"name": "rnn", "nonlinearity": "relu"}, norm="none", residual=False, mlp=0)
    weights = dict(net.named_parameters())
    with torch.no_grad():
        for name, p in weights.items():
            if "trunk" in name:
                p.zero_()
        recurrent = next(p for name, p in weights.items() if name.endswith("weight_hh"))
        entering = next(p for name, p in weights.items() if name.endswith("weight_ih"))
        entering.copy_(torch.eye(6))
        recurrent.copy_(gain * torch.eye(6)[[1, 2, 3, 4, 5, 0]])
        net.embed.weight.abs_().add_(0.1)
        net.head.weight.mul_(0.01 / max(1.0, gain) ** LENGTH)  # the softmax stays even, whatever comes out
    return process, net


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.5])
def test_the_gradient_of_a_linear_recurrence_is_the_power_of_its_matrix(gain):
    process, net = linear(gain)
    found = gradient_by_lag(net, process, reading(), clip=0.0)
    assert len(found.norms) == LENGTH
    np.testing.assert_allclose(found.norms / found.norms[0], gain ** np.arange(LENGTH), rtol=1e-3)
    assert found.reach == (8 if gain == 0.5 else None)  # .5^7 is the first power below a hundredth
    assert all(p.grad is None for p in net.parameters())


def test_a_matrix_that_is_no_multiple_of_a_rotation():
    process, net = linear(1.0)
    matrix = torch.rand((6, 6), generator=torch.Generator().manual_seed(3)) / 4
    kept = []
    with torch.no_grad():
        next(p for name, p in net.named_parameters() if name.endswith("weight_hh")).copy_(matrix)
    watched = net.head.register_full_backward_hook(lambda module, into, out: kept.append(into[0]))
    found = gradient_by_lag(net, process, reading())
    watched.remove()
    last = kept[0][:, -1].double()  # (B,D): what comes back to the last state
    for lag in (1, 2, 5, 11):
        power = torch.linalg.matrix_power(matrix.double(), lag - 1)
        expected = (last @ power).square().sum(-1).mean().sqrt()
        assert found.norms[lag - 1] == pytest.approx(float(expected), rel=1e-4)


def test_clipping_caps_what_explodes_and_cures_nothing_that_vanishes():
    exploding = GradientByLag(1.5 ** np.arange(40), 2000.0, 1.0)
    assert exploding.factor == 1 / 2000
    np.testing.assert_allclose(exploding.clipped[1:] / exploding.clipped[:-1], 1.5)
    vanishing = GradientByLag(0.5 ** np.arange(40), 2.0, 1.0)
    assert vanishing.factor == 0.5
    assert vanishing.clipped[20] / vanishing.clipped[0] == vanishing.norms[20] / vanishing.norms[0]
    assert "from lag 8 on is below a hundredth" in vanishing.in_words
    assert GradientByLag(np.ones(3), 0.5, 1.0).factor == 1
    assert GradientByLag(np.ones(12), 0.5, 0.0).lags == [1, 2, 4, 8, 12]


def test_a_gradient_whose_square_no_float32_holds_is_clipped_to_what_is_left_of_it():
    process, net = linear(1.0)
    with torch.no_grad():
        net.head.weight.normal_(generator=torch.Generator().manual_seed(4)).mul_(1e25)
    found = gradient_by_lag(net, process, reading())
    assert 0 < found.clipped[0] < found.norms[0] < np.inf


@pytest.mark.parametrize("mixer", ["rnn", "lstm", "gru", "minlstm", "attention"])
def test_the_norms_are_those_of_finite_differences(mixer):
    process, moved = Autoregressive(), {}
    net = network(process, mixer).double()
    x = reading().data.x[:LENGTH]
    one = Reading(Flat(x, np.array([0, LENGTH])), SPACE, "byte", LENGTH)

    def move(module, inputs, output):
        return output + moved["by"]

    def loss(lag, feature, size):
        moved["by"] = torch.zeros(1, LENGTH, 6, dtype=torch.float64)
        moved["by"][0, LENGTH - lag, feature] = size
        watched = net.embed.register_forward_hook(move)
        last = score(net, process, one, tokens=True).surprisal[-1]
        watched.remove()
        return last

    found = gradient_by_lag(net, process, one)
    for lag in (1, 2, 9):
        slopes = [(loss(lag, d, 1e-4) - loss(lag, d, -1e-4)) / 2e-4 for d in range(6)]
        assert found.norms[lag - 1] == pytest.approx(math.hypot(*slopes), rel=2e-3, abs=1e-9)


def test_what_reads_both_ways_has_no_lag():
    process = Masked()
    with pytest.raises(UnsupportedQuery, match="reads from the left"):
        gradient_by_lag(network(process, "attention"), process, reading())
