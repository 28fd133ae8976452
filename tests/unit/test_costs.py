"""Costs by a head of very many outputs, which are never all there."""

import numpy as np
import pytest
import torch

from seqloom.core.rng import Rng
from seqloom.corpora.base import Flat
from seqloom.corpora.packed import Packed
from seqloom.mixers.attention import Attention
from seqloom.mixers.recurrent import Gru
from seqloom.network import costs
from seqloom.network.backbone import Backbone
from seqloom.network.network import MANY_OUTPUTS, Network
from seqloom.processes import autoregressive, base
from seqloom.processes.anyorder import AnyOrder
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.heads import Categorical
from seqloom.processes.masked import Masked
from seqloom.sequence.space import Tokens

ROWS, STEPS = 3, 8


def network(process, symbols, mixer=None, width=16, **backbone):
    space = Tokens(size=symbols)
    return Network(Backbone(mixer=mixer or Gru(), width=width, **backbone), process.spec(space), space, STEPS, {})


def batch(symbols, rows=ROWS, steps=STEPS):
    x = np.random.Generator(np.random.Philox(key=1)).integers(0, symbols, rows * steps)
    starts = np.array([0, 3, *range(steps, rows * steps + 1, steps)])
    return Packed(Flat(x, starts), Tokens(size=symbols)).window(np.arange(rows) * steps, steps)


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize(
    ("process", "mixer"),
    [
        (Autoregressive(head=Categorical(smoothing=0.1)), Gru()),
        (Masked(), Gru()),
        (AnyOrder(), Attention(heads=1)),
        (AnyOrder(), Gru()),
    ],
    ids=lambda part: part.name,
)
def test_parts_equal_the_whole_and_so_do_their_gradients(process, mixer, tie, monkeypatch):
    net, data, found = network(process, 40, mixer, tie=tie).double(), batch(40), []
    for many, at_once in ((10**9, 10**9), (1, 10**9), (1, 130)):
        monkeypatch.setattr(base, "MANY", many)
        monkeypatch.setattr(autoregressive, "MANY", many)
        monkeypatch.setattr(costs, "AT_ONCE", at_once)
        net.zero_grad()
        loss = process.loss(net, data, Rng.of(0, np.arange(ROWS)))
        (2 * loss.total / loss.count).backward()
        with torch.inference_mode():
            nats = process.likelihoods()["likelihood"].nats(net, data, Rng.of(1, np.arange(ROWS)), None)[0]
        found.append([loss.total.detach(), nats, *(p.grad.clone() for p in net.parameters() if p.grad is not None)])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-12, rtol=1e-12)


def most_allocated(run):
    """The most bytes of tensors that are allocated at once while it runs, over those before."""
    with torch.profiler.profile(profile_memory=True) as profile:
        run()
    total = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            total += event.nbytes()
            most = max(most, total)
    return most


def test_of_30000_symbols_a_quarter_of_the_memory_is_enough(monkeypatch):
    monkeypatch.setattr(costs, "AT_ONCE", costs.AT_ONCE // 4)  # a step of 384 positions in place of 1536
    process, symbols, rows, steps = Autoregressive(), 30_000, 4, 96
    net, data = network(process, symbols, width=8), batch(symbols, rows, steps)
    taken = {}
    for many in (base.MANY, 10**9):
        monkeypatch.setattr(autoregressive, "MANY", many)

        def step():
            loss = process.loss(net, data, Rng.of(0, np.arange(rows)))
            (loss.total / loss.count).backward()

        taken[many] = most_allocated(step)
        net.zero_grad()
    assert taken[base.MANY] < 0.25 * taken[10**9], taken


@pytest.mark.parametrize("tie", [False, True])
def test_a_head_of_many_outputs_is_computed_in_what_its_layers_are_in_training_alone(tie, monkeypatch):
    process, symbols = Autoregressive(), MANY_OUTPUTS
    net = network(process, symbols, Attention(heads=2), width=32, tie=tie).train()
    data, found = batch(symbols), []
    for reduced, many, at_once in ((False, 10**9, 10**9), (True, 10**9, 10**9), (True, 1, 10**9), (True, 1, 1000)):
        net.reduced = reduced
        monkeypatch.setattr(autoregressive, "MANY", many)
        monkeypatch.setattr(costs, "AT_ONCE", at_once)
        net.zero_grad()
        loss = process.loss(net, data, Rng.of(0, np.arange(ROWS)))
        (loss.total / loss.count).backward()
        gradients = [p.grad for p in net.parameters() if p.grad is not None and p.grad.any()]
        found.append([loss.total.detach(), *(one / one.norm() for one in gradients)])
    torch.testing.assert_close(found[1], found[0], atol=0.03, rtol=0.01)
    for parts in found[2:]:
        torch.testing.assert_close(parts, found[1], atol=0.01, rtol=1e-5)
    out = net(data.x)[0]
    assert torch.equal(out, out.bfloat16().float())
    out = net.eval()(data.x)[0]
    assert not torch.equal(out, out.bfloat16().float())
