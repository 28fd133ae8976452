"""Masked diffusion that sees its own last guess: its training, its scores and its samples, against enumeration."""

import itertools
import math

import numpy as np
import pytest
import torch

from oracles import chi_square, sample
from seqloom.core.rng import Rng
from seqloom.mixers.attention import Attention
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.processes.masked import Masked
from seqloom.samplers.unmask import Unmask
from seqloom.sequence.batch import Batch
from seqloom.sequence.space import Tokens

SIZE, STEPS, ROWS = 2, 3, 4_000
SPACE = Tokens(size=SIZE)
HIDDEN = (SIZE,) * STEPS
STRINGS = list(itertools.product(range(SIZE), repeat=STEPS))


def network(process):
    """A random network that hears its own guess well."""
    backbone = Backbone(mixer=Attention(heads=2), width=8, depth=1, mlp=1.0, marked=True)
    net = Network(backbone, process.spec(SPACE), SPACE, 8, {}, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * (4.0 if "beside" in name else 0.8))
    return net.double().eval()


def batch(strings):
    x = torch.tensor(strings)
    ones, nothing = torch.ones_like(x, dtype=torch.bool), torch.zeros_like(x, dtype=torch.bool)
    begins = nothing.clone()
    begins[:, 0] = True
    return Batch(x, ones, ones, nothing, begins)


def guess(net, canvas, last):
    """The law (T,V) of each place of a canvas that is seen with this last guess, and 0 where nothing is hidden."""
    hidden = torch.tensor(canvas).eq(SIZE)[:, None]
    with torch.no_grad():
        out, _ = net(torch.tensor([canvas]), beside=None if last is None else (last * hidden)[None])
    return out[0].softmax(-1) * hidden


def twice(net, canvas):
    """The law of each place where the same canvas has just been guessed."""
    return guess(net, canvas, guess(net, canvas, None))


def masked(string, places):
    return tuple(SIZE if i in places else v for i, v in enumerate(string))


def test_it_begins_as_a_network_that_sees_nothing_beside_the_canvas():
    process = Masked(self_conditioning=True)
    backbone = Backbone(mixer=Attention(heads=2), width=8, depth=1)
    with_guess, without = (Network(backbone, p.spec(SPACE), SPACE, 8, {}, seed=1) for p in (process, Masked()))
    x = torch.tensor([HIDDEN])
    torch.testing.assert_close(with_guess(x, beside=torch.rand(1, STEPS, SIZE))[0], without(x)[0])
    assert set(dict(with_guess.named_parameters())) - set(dict(without.named_parameters())) == {"beside.weight"}


def test_in_half_of_the_training_the_network_sees_its_own_guess(monkeypatch):
    process = Masked(self_conditioning=True)
    net, told = network(process), []
    plain = Network.features

    def watched(self, x, **inputs):
        told.append((x, inputs.get("beside"), torch.is_grad_enabled()))
        return plain(self, x, **inputs)

    monkeypatch.setattr(Network, "features", watched)
    both = 0
    for seed in range(60):
        told.clear()
        process.loss(net, batch(STRINGS), Rng.of(seed, np.arange(len(STRINGS))))
        assert told[0][1] is None
        if len(told) == 2:
            both += 1
            (first, _, learned), (second, beside, _) = told
            assert not learned
            assert torch.equal(first, second)
            assert torch.allclose(beside.sum(-1), second.eq(SIZE).double())  # laws where symbols are hidden, else 0
    assert 18 < both < 42


def test_the_bound_is_that_of_a_canvas_that_was_just_guessed():
    """The mean of its draws is the mean over all orders, worked out; and the value from the left is a law."""
    process = Masked(self_conditioning=True)
    net = network(process)
    expected = []
    for string in STRINGS:
        total = 0.0
        for count in range(1, STEPS + 1):
            sets = list(itertools.combinations(range(STEPS), count))
            for places in sets:
                law = twice(net, masked(string, places))
                total -= sum(math.log(law[i, string[i]]) for i in places) / count / len(sets)
        expected.append(total)
    rows = 500 * len(STRINGS)
    with torch.no_grad():
        draws = process.bound(net, batch(500 * STRINGS), Rng.of(0, np.arange(rows))).sum(1).view(500, -1)
        left = process.left_to_right(net, batch(STRINGS)).sum(1)
    error = (draws.mean(0) - torch.tensor(expected)) / (draws.std(0) / math.sqrt(len(draws)))
    assert float(error.abs().max()) < 4
    assert float((-left).exp().sum()) == pytest.approx(1, abs=1e-9)
    string = STRINGS[5]
    steps = [twice(net, masked(string, range(t, STEPS)))[t, string[t]] for t in range(STEPS)]
    assert float(left[5]) == pytest.approx(-sum(math.log(p) for p in steps))


def test_samples_see_the_guess_of_the_step_before():
    process = Masked(self_conditioning=True)
    net = network(process)
    orders = list(itertools.permutations(range(STEPS)))

    def reveal(law, canvas, order, last, p, hears):
        if not order:
            law[canvas] = law.get(canvas, 0.0) + p
            return law
        now = guess(net, canvas, last if hears else None)
        for symbol in range(SIZE):
            after = (*canvas[: order[0]], symbol, *canvas[order[0] + 1 :])
            reveal(law, after, order[1:], now, p * float(now[order[0], symbol]), hears)
        return law

    law: dict[tuple[int, ...], float] = {}
    unheard: dict[tuple[int, ...], float] = {}
    for order in orders:
        reveal(law, HIDDEN, order, None, 1 / len(orders), True)
        reveal(unheard, HIDDEN, order, None, 1 / len(orders), False)
    drawn = sample(net, process, Unmask(), torch.tensor(HIDDEN), rows=ROWS).numpy()
    assert chi_square(drawn, law) > 0.001
    assert chi_square(drawn, unheard) < 1e-6
