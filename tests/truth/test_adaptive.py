"""The adaptive softmax: one law, that of torch, scored and drawn alike."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from seqloom.core.errors import ConfigError, UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.corpora.base import Flat
from seqloom.corpora.packed import Packed
from seqloom.engine import Engine, Request
from seqloom.mixers.recurrent import Gru
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.processes.adaptive import Adaptive
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.heads import BoundHead
from seqloom.processes.priors import Ngram
from seqloom.samplers.ancestral import Ancestral
from seqloom.sequence.batch import Batch
from seqloom.sequence.laws import asked_of
from seqloom.sequence.space import Field, Tokens, Vectors
from seqloom.training.counting import counted

HEAD = Adaptive(cutoffs=(5, 15), features=4, shrink=2)


def bound(space):
    own = HEAD.module(space).double().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.normal_(generator=generator)
    return BoundHead(HEAD, space, own), torch.randn(HEAD.size(space), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("ends", [False, True])
def test_all_symbols_have_probability_one_and_draws_follow_it(ends):
    space = Tokens(size=40, ends=ends)
    head, params = bound(space)
    x = torch.arange(space.total)
    nats = head.nats(params.expand(len(x), -1), x, torch.ones_like(x, dtype=torch.bool))
    assert float((-nats).exp().sum()) == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(head.logits(params), -nats)
    assert bool(head.nats(params.expand(2, -1), x[:2], torch.tensor([True, False]))[1] == 0)
    count = 20_000
    drawn = head.draw(params.expand(count, -1), Rng.of(1, np.arange(count)).at("pick"), torch.ones(count))
    seen, expected = torch.bincount(drawn, minlength=len(x)).numpy(), count * (-nats).exp().numpy()
    usual = expected > 5
    assert seen[~usual].sum() < 10 + 3 * expected[~usual].sum()
    assert chisquare(seen[usual], expected[usual] * seen[usual].sum() / expected[usual].sum()).pvalue > 1e-3


def test_it_is_torchs():
    """The features of clusters are what torch maps its input to first."""
    other = torch.nn.AdaptiveLogSoftmaxWithLoss(16, 40, [5, 15], div_value=2.0, head_bias=True).double()
    space, own = Tokens(size=40), HEAD.replace(features=8).module(Tokens(size=40)).double()
    head = HEAD.replace(features=8)
    h, x = torch.randn(30, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64), torch.arange(30) + 5
    params = torch.cat([other.head(h), *(tail[0](h) for tail in other.tail)], -1)
    for mine, tail in zip(own.tails, other.tail, strict=True):
        mine.weight = tail[1].weight
    nats = head.nats(space, params, x, torch.ones_like(x, dtype=torch.bool), own)
    torch.testing.assert_close(nats, -other(h, x).output)
    torch.testing.assert_close(head.logits(space, params, own), other.log_prob(h))


def test_a_network_learns_by_it_and_its_guess_is_what_it_scores():
    space, process = Tokens(size=40, ends=True), Autoregressive(head=HEAD)
    net = Network(Backbone(mixer=Gru(), width=16), process.spec(space), space, 8, {}, own=process.module(space))
    x = np.random.Generator(np.random.Philox(key=1)).integers(0, 41, 24)
    batch = Packed(Flat(x, np.arange(0, 25, 8)), space).window(np.arange(3) * 8, 8)
    loss = process.loss(net, batch, Rng.of(0, np.arange(3)))
    loss.total.backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in net.parameters())
    assert sum(name.startswith("own.") for name, _ in net.named_parameters()) == 2
    out, _ = net(torch.tensor([[space.total]]))  # what begins every sequence
    guessed, scored = (
        process.bound_head(net).logits(out)[0, 0],
        process.nats(net, batch, Rng.of(0, np.arange(3)), None)[0],
    )
    torch.testing.assert_close(-guessed[batch.x[:, 0]], scored[:, 0])
    with pytest.raises(ConfigError, match="none to tie"):
        Network(Backbone(mixer=Gru(), width=16, tie=True), process.spec(space), space, 8, {})


def test_what_cannot_be_is_refused():
    with pytest.raises(UnsupportedSpace):
        Autoregressive(head=HEAD).spec(Vectors(fields=(Field(name="a"),)))
    with pytest.raises(ConfigError, match="cannot begin"):
        Autoregressive(head=HEAD).spec(Tokens(size=12))
    with pytest.raises(ConfigError, match="more than it saves"):
        Autoregressive(head=Adaptive()).spec(Tokens(size=40))


def test_with_counts_it_is_a_mean_of_two_laws_that_is_scored_as_it_is_drawn():
    space, process = Tokens(size=39, ends=True), Autoregressive(head=HEAD, prior=Ngram(order=3))
    net = Network(
        Backbone(mixer=Gru(), width=16), process.spec(space), space, 8, {}, own=process.module(space)
    ).double()
    x = np.random.Generator(np.random.Philox(key=2)).zipf(1.5, 400).clip(1, 40) - 1
    data = Packed(Flat(x, np.arange(0, 401, 8)), space)
    net.laws = counted(process.counts, data, ordered=True)
    pairs = torch.cartesian_prod(torch.arange(40), torch.arange(40))
    whole = torch.ones_like(pairs, dtype=torch.bool)
    begins = torch.tensor([True, False]).expand(len(pairs), -1)
    batch, rng = Batch(pairs, whole, whole, ~whole, begins), Rng.of(0, np.arange(len(pairs)))
    with torch.no_grad():
        nats, _ = process.nats(net, batch, rng, None)
        head, params, _ = process.distributions(net, batch, None)
        logits, own = head.logits(params), replace(head, mixture=None).nats(params[..., :-1], pairs, whole)
    assert float((-nats.sum(1)).exp().sum()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(logits.exp().sum(-1), torch.ones(len(pairs), 2, dtype=torch.float64), atol=1e-5, rtol=0)
    torch.testing.assert_close(-logits.gather(-1, pairs.unsqueeze(-1))[..., 0], nats, atol=1e-5, rtol=0)
    counts = -net.laws.log_probability(asked_of(batch, whole), pairs.flatten().numpy()).reshape(-1, 2)
    share = (params[..., -1] + 1).sigmoid().numpy()
    assert np.allclose((1 - share) * np.exp(-own.numpy()) + share * np.exp(-counts), np.exp(-nats.numpy()), atol=1e-6)
    learned = process.loss(net, batch, rng)
    assert float(learned.total.detach()) == pytest.approx(float((nats.sum() + own.sum()) / 2), rel=1e-6)
    learned.total.backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in net.parameters())
    count = 4000
    empty = torch.zeros(count, 1, dtype=torch.int64)
    asked = Request(empty, empty.bool(), empty.bool(), Ancestral(), Rng.of(3, np.arange(count)))
    drawn = torch.cat([update.x for update in Engine(net, process, capacity=count).run(asked) if update.done])
    seen, expected = torch.bincount(drawn.flatten(), minlength=40).numpy(), count * (-nats[::40, 0]).exp().numpy()
    usual = expected > 5
    assert seen[~usual].sum() < 10 + 3 * expected[~usual].sum()
    assert chisquare(seen[usual], expected[usual] * seen[usual].sum() / expected[usual].sum()).pvalue > 1e-3
