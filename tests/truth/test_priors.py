"""Priors: counts against a dictionary, laws that sum to one, and the same law in training, scoring and sampling."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from seqloom.core.rng import Rng
from seqloom.corpora.base import Flat
from seqloom.corpora.packed import Packed
from seqloom.engine import Engine, Request
from seqloom.mixers.attention import Attention
from seqloom.mixers.recurrent import Gru
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.processes import priors
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.masked import Masked
from seqloom.processes.ngram import KneserNey
from seqloom.processes.priors import Ngram
from seqloom.samplers.ancestral import Ancestral
from seqloom.samplers.unmask import Unmask
from seqloom.sequence.batch import Batch
from seqloom.sequence.laws import UNKNOWN, Asked, CountedSplit, asked_of
from seqloom.sequence.space import Tokens
from seqloom.training.counting import counted

SIZE, ORDER, PARTS = 4, 3, 5
LENGTHS = [17, 1, 40, 23, 60, 9]


def text(seed=0):
    """Sequences in which some runs are far commoner than others, and where each begins."""
    random = np.random.default_rng(seed)
    x = np.where(random.random(sum(LENGTHS)) < 0.6, np.arange(sum(LENGTHS)) % 3, random.integers(0, SIZE, sum(LENGTHS)))
    begins = np.zeros(len(x), bool)
    begins[np.cumsum([0, *LENGTHS[:-1]])] = True
    return x, begins, np.arange(len(x)) * PARTS // len(x)


def tables(x, begins, part, without=None):
    """For each length of a context, what follows on it how often: by the definition, one position at a time."""
    followed = [defaultdict(Counter) for _ in range(ORDER)]
    longer = [set() for _ in range(ORDER)]
    start = 0
    for i in range(len(x)):
        start = i if begins[i] else start
        if part[i] == without:
            continue
        before = [SIZE, *x[start:i].tolist()]  # the mark of the beginning, and what follows on it
        for k in range(ORDER):
            if k > len(before):
                continue
            context = tuple(reversed(before))[:k]
            extends = k + 1 < ORDER and k + 1 <= len(before)
            if extends:
                longest = (*tuple(reversed(before))[: k + 1], int(x[i]))
                if longest in longer[k]:
                    continue
                longer[k].add(longest)
            followed[k][context][int(x[i])] += 1
    return followed


def discounts(followed):
    n = [0] * 5
    for counts in followed.values():
        for count in counts.values():
            n[min(count, 4)] += 1
    n = [max(1, v) for v in n]
    y = n[1] / (n[1] + 2 * n[2])
    d = [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
    return [0.0, *np.clip(d, 0.05, [0.95, 1.9, 2.85])]


def law(followed, less, context):
    """P of each symbol after a context, the nearest symbol first."""
    p = np.full(SIZE, 1 / SIZE)
    for k in range(len(context) + 1):
        counts = followed[k].get(tuple(context[:k]))
        if not counts:
            break
        total = sum(counts.values())
        mass = np.array([counts[s] - less[k][min(counts[s], 3)] for s in range(SIZE)])
        kept = sum(less[k][min(count, 3)] for count in counts.values())
        p = mass / total + kept / total * p
    return p


def contexts():
    """All contexts of two symbols, and of what begins."""
    known = list(itertools.product(range(SIZE), repeat=ORDER - 1))
    return [*known, *[(s, SIZE) for s in range(SIZE)], (SIZE, UNKNOWN), *[(s, UNKNOWN) for s in range(SIZE)]]


@pytest.mark.parametrize("seed", [0, 1])
def test_the_law_is_that_of_a_dictionary_with_and_without_each_part(seed):
    x, begins, part = text(seed)
    ngram = KneserNey.count(x, begins, part, size=SIZE, order=ORDER, parts=PARTS)
    less = [discounts(followed) for followed in tables(x, begins, part)]
    asked = np.array(contexts())
    for without in (None, *range(PARTS)):
        followed = tables(x, begins, part, without)
        expected = [law(followed, less, [s for s in context if s != UNKNOWN]) for context in contexts()]
        parts = None if without is None else np.full(len(asked), without)
        np.testing.assert_allclose(np.exp(ngram.log_law(asked, parts)), expected, rtol=2e-4, atol=2e-6)


def test_a_law_of_many_symbols_sums_to_one_and_goes_by_what_stood_before():
    random = np.random.default_rng(3)
    x = np.minimum(random.zipf(1.3, 20_000), 3_000) - 1
    begins = np.zeros(len(x), bool)
    begins[0] = True
    ngram = KneserNey.count(x, begins, np.arange(len(x)) * 4 // len(x), size=3_000, order=5, parts=4)
    at = random.integers(5, len(x), 50)
    seen = np.stack([x[at - k] for k in range(1, 5)], 1)
    for parts in (None, at * 4 // len(x)):
        law = np.exp(ngram.log_law(seen, parts).astype(float))
        np.testing.assert_allclose(law.sum(1), 1, atol=1e-4)
        assert (law > 0).all()
    for small in (ngram, KneserNey.count(x % 50, begins, np.arange(len(x)) * 4 // len(x), size=50, order=5, parts=4)):
        few = np.concatenate([small.log_law(seen[i : i + 1] % small.size) for i in range(len(seen))])
        np.testing.assert_array_equal(few, small.log_law(seen % small.size))  # one by one, to the bit
    assert (
        ngram.log_law(seen)[np.arange(50), x[at]].mean() > ngram.log_law(seen, parts)[np.arange(50), x[at]].mean() + 1
    )


def test_sequences_shorter_than_what_is_counted_and_none_at_all():
    x, begins, part = np.array([0, 1, 0]), np.array([True, True, False]), np.array([0, 1, 1])
    for n in (3, 0):
        ngram = KneserNey.count(x[:n], begins[:n], part[:n], size=2, order=6, parts=2)
        for parts in (None, np.array([0, 1])):
            law = np.exp(ngram.log_law(np.array([[0, 1, 0, 1, 1], [0, 2, UNKNOWN, UNKNOWN, UNKNOWN]]), parts))
            np.testing.assert_allclose(law.sum(1), 1, atol=1e-5)


def test_tables_are_kept_whole():
    x, begins, part = text()
    one = KneserNey.count(x, begins, part, size=SIZE, order=ORDER, parts=PARTS)
    other = KneserNey.of(one.tensors(), SIZE, PARTS)
    np.testing.assert_array_equal(one.log_law(np.array(contexts())), other.log_law(np.array(contexts())))
    assert one.bytes == sum(value.nbytes for value in one.tensors().values())


@pytest.mark.parametrize("least", [1, 2])
@pytest.mark.parametrize("parted", [False, True])
def test_the_law_is_one_however_it_is_computed(least, parted, monkeypatch):
    random = np.random.default_rng(0)
    size, x = 50, random.zipf(1.3, 5000) % 50
    begins = np.arange(len(x)) % 2500 == 0
    one = KneserNey.count(x, begins, np.arange(len(x)) // 500, size=size, order=4, parts=10, least=least)
    places = random.integers(3, len(x), 200)
    after = np.stack([x[places - back] for back in (1, 2, 3)], 1)
    after[:20, 1] = UNKNOWN
    after[20:40, 2] = size
    parts = places // 500 if parted else None
    law = one.plain_log_law(after, parts)
    assert np.allclose(np.exp(law).sum(1), 1, atol=1e-5)
    assert np.allclose(one.log_law(after, parts), law, atol=1e-5)  # by the compiled program, where there is a compiler
    monkeypatch.setattr("seqloom.kernels.ngram.EACH", 30)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert np.allclose(one.log_law(after, parts), law, atol=1e-5)  # by several threads, each some of the rows
    for at_once in (1 << 20, 60):  # by the compiled program, where there is one, in one call and in several
        monkeypatch.setattr("seqloom.kernels.ngram.AT_ONCE", at_once)
        for sparse in (one.plain_sparse_log_law(after, parts), one.sparse_log_law(after, parts)):
            whole = sparse.base[sparse.which] + sparse.shift[:, None]
            assert len(np.unique(sparse.row * size + sparse.symbol)) == len(sparse.row)
            whole[sparse.row, sparse.symbol] += sparse.more
            assert np.allclose(whole, law, atol=1e-5)
    symbols = random.integers(0, size, len(after))
    assert np.allclose(one.log_probability(after, symbols, parts), law[np.arange(len(after)), symbols], atol=1e-5)


@pytest.mark.parametrize("parted", [False, True])
@pytest.mark.parametrize("ordered", [False, True])
def test_sparse_laws_are_added_alike_with_and_without_a_compiled_program(ordered, parted, monkeypatch):
    monkeypatch.setattr(priors, "DENSE", 16)
    size, x = 50, np.random.default_rng(0).zipf(1.3, 2000) % 50
    part = np.arange(len(x)) // 200
    laws = Ngram(order=4).count(CountedSplit(x, np.arange(len(x)) % 1000 == 0, part), Tokens(size=size), ordered)
    row, at = np.nonzero(np.ones((3, 7), bool))
    asked = Asked(x[:21].reshape(3, 7), row, at, at, (row + at) % 10 if parted else None)
    gates, found = Ngram().gates(ordered), []
    given = torch.randn(3, 7, size + len(gates), generator=torch.Generator().manual_seed(0))
    by = torch.randn(3, 7, size, generator=torch.Generator().manual_seed(1))
    for _ in range(2):
        out = given.clone().requires_grad_()
        added = laws.added(out, gates, asked)
        added.backward(by)
        found.append((added.detach(), out.grad))
        monkeypatch.setattr("seqloom.kernels.ngram._library", lambda: None)
    torch.testing.assert_close(*found, atol=1e-4, rtol=1e-5)


def test_contexts_that_occur_once_can_be_left_out():
    x, begins, part = text()
    every, fewer = (KneserNey.count(x, begins, part, size=SIZE, order=4, parts=PARTS, least=n) for n in (1, 2))
    assert fewer.bytes < 0.9 * every.bytes
    for few, all_ in zip(fewer.levels[:2], every.levels[:2], strict=True):  # what is shorter is counted as before
        assert np.array_equal(few.symbol, all_.symbol)
        assert np.allclose(few.mass, all_.mass)
    assert 0 < len(fewer.levels[2].keys) < len(every.levels[2].keys)


# ---- inside a model -------------------------------------------------------------------------------------------------

SPACE = Tokens(size=3)


def packed(ends=False):
    x, begins, _ = text()
    return Packed(Flat(np.minimum(x, 2), np.append(np.nonzero(begins)[0], len(x))), SPACE.replace(ends=ends))


def model(process, mixer=None, ends=False, dtype=torch.float64):
    """A network in which every part does something, with the laws of the text."""
    space = SPACE.replace(ends=ends)
    net = Network(Backbone(width=8, depth=1, mixer=mixer or Gru()), process.spec(space), space, 8, {}, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    net.laws = counted(process.counts, packed(ends), ordered=net.spec.block is not None)
    return net.eval().to(dtype)


def strings(length, space=SPACE):
    x = torch.tensor(list(itertools.product(range(space.total), repeat=length)))
    whole = torch.ones_like(x, dtype=torch.bool)
    begins = torch.zeros_like(whole)
    begins[:, 0] = True
    return Batch(x, whole, whole, ~whole, begins)


def keys(rows):
    return Rng.of(0, np.arange(rows))


PRIOR = Ngram(order=3)
MEAN = Ngram(order=3, combine="mean")


@pytest.fixture(params=["few symbols", "many symbols"])
def alphabet(request, monkeypatch):
    """Laws as they are added to logits of few symbols and of many."""
    if request.param == "many symbols":
        monkeypatch.setattr(priors, "DENSE", 2)


@pytest.mark.parametrize("parted", [False, True])
def test_laws_are_added_to_logits_at_once_as_one_by_one(parted):
    net = model(Autoregressive(prior=PRIOR), dtype=torch.float32)
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (4, 9)))
    part = torch.arange(36).view(4, 9) % 3 if parted else None
    whole = torch.ones_like(x, dtype=torch.bool)
    batch = Batch(x, whole, whole, ~whole, torch.arange(9).expand(4, -1) % 5 == 0, part=part)
    out = torch.randn(4, 9, 4, generator=torch.Generator().manual_seed(0))
    asked = lambda: asked_of(batch, whole)  # noqa: E731
    at_once = priors.with_laws(net, (1.0,), out, asked)
    one_by_one = priors.with_laws(net, (1.0,), out.clone().requires_grad_(), asked)
    assert torch.allclose(at_once, one_by_one, atol=1e-5)
    assert at_once.std(0).mean() > 0.1


@pytest.mark.parametrize("parted", [False, True])
def test_a_mean_of_laws_is_trained_on_beside_the_law_of_the_network_alone(parted, alphabet):
    net = model(Autoregressive(prior=MEAN))
    batch = packed().window(np.array([0, 30]), 8, past=2, parts=MEAN.parts if parted else 0)
    seen = asked_of(batch, batch.known)
    with torch.no_grad():
        out, _ = net(torch.cat([torch.full((2, 1), SPACE.total), batch.x[:, :-1]], 1), begins=batch.begins)
        nats, _ = Autoregressive(prior=MEAN).nats(net, batch, keys(2), None)
        loss = Autoregressive(prior=MEAN).loss(net, batch, keys(2))
    own = out[..., :-1].softmax(-1)
    counted_law = torch.from_numpy(net.laws.ahead.log_law(seen.before(2, 3), seen.part)).exp().view(own.shape)
    share = (out[..., -1:] + 1).sigmoid()
    both = ((1 - share) * own + share * counted_law).gather(-1, batch.x.unsqueeze(-1))[..., 0]
    torch.testing.assert_close(nats, -both.log(), rtol=1e-4, atol=1e-4)
    alone = own.gather(-1, batch.x.unsqueeze(-1))[..., 0]
    assert float(loss.total) == pytest.approx(float(-(both.log() + alone.log()).sum() / 2), rel=1e-4)


@pytest.mark.parametrize(("mixer", "prior"), [(Gru(), PRIOR), (Attention(heads=2), PRIOR), (Gru(), MEAN)])
def test_what_is_scored_is_what_is_sampled_from_left_to_right(mixer, prior, alphabet):
    process = Autoregressive(prior=prior)
    net = model(process, mixer)
    batch = strings(4)
    with torch.no_grad():
        nats, _ = process.nats(net, batch, keys(len(batch.x)), None)
    mass = (-nats.sum(1)).exp()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-5)
    uniform = Network(Backbone(width=8, depth=1, mixer=mixer), Autoregressive().spec(SPACE), SPACE, 8, {}, seed=1)
    assert uniform.laws is None
    count = 4000
    x = torch.zeros(1, 4, dtype=torch.int64).repeat(count, 1)
    shown = torch.zeros_like(x, dtype=torch.bool)
    engine = Engine(net, process, capacity=count)
    asked = Request(x, shown, shown, Ancestral(), keys(count))
    made = torch.stack([update.x for update in engine.run(asked) if update.done])
    index = (made * torch.tensor([27, 9, 3, 1])).sum(1)
    observed = torch.bincount(index, minlength=81).double()
    expected = mass * count
    big = expected > 5
    chi = float((((observed - expected) ** 2) / expected)[big].sum())
    assert chi < int(big.sum()) + 4 * (2 * int(big.sum())) ** 0.5


def test_masked_symbols_are_guessed_from_both_sides_and_the_order_from_the_left_is_exact(alphabet):
    process = Masked(prior=PRIOR)
    net = model(process, Attention(heads=2))
    batch = strings(4)
    with torch.no_grad():
        nats = process.left_to_right(net, batch)
    assert float((-nats.sum(1)).exp().sum()) == pytest.approx(1, abs=1e-5)
    with torch.no_grad():
        bound = torch.stack([process.bound(net, batch, Rng.of(i, np.arange(81))).sum(1) for i in range(40)]).mean(0)
    # The bound's expectation is that of the mean over orders: on average it is above the likelihood of the best order.
    assert float(bound.mean()) > float(nats.sum(1).min())
    x = torch.full((1, 4), net.spec.mask)
    shown = torch.zeros_like(x, dtype=torch.bool)
    request = Request(x.repeat(64, 1), shown.repeat(64, 1), shown.repeat(64, 1), Unmask(), keys(64))
    made = [update.x for update in Engine(net, process).run(request) if update.done]
    assert len({tuple(row.tolist()) for row in made}) > 10


@pytest.mark.parametrize("process", [Autoregressive(prior=PRIOR), Masked(prior=PRIOR)])
def test_in_training_the_part_of_the_text_that_is_read_is_not_counted(process, alphabet):
    net = model(process, Gru() if isinstance(process, Autoregressive) else Attention(heads=2))
    data = packed()
    start = data.windows(8, 2)
    plain = data.window(start, 8, past=process.past)
    parts = data.window(start, 8, past=process.past, parts=PRIOR.parts)
    assert parts.part is not None
    assert plain.part is None
    with torch.no_grad():
        one = float(process.loss(net, plain, keys(len(start))).total)
        other = float(process.loss(net, parts, keys(len(start))).total)
    assert other > one  # of what it has read itself it knows more


def test_at_the_beginning_of_training_a_model_is_its_prior(alphabet):
    process = Autoregressive(prior=PRIOR)
    data = packed()
    net = Network(Backbone(width=8, depth=1, mixer=Gru()), process.spec(SPACE), SPACE, 8, {}, seed=1)
    net.laws = counted(PRIOR, data, ordered=True)
    x, _, _ = data.elements(np.arange(len(data)))
    batch = data.window(np.array([20]), 12, past=2)
    with torch.no_grad():
        nats, _ = process.nats(net, batch, keys(1), None)
    law = net.laws.ahead.log_law(np.stack([x[19:31], x[18:30]], 1))
    expected = -law[np.arange(12), x[20:32]].mean()
    assert float(nats.mean()) == pytest.approx(expected, abs=0.05)
