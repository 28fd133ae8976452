"""Block diffusion and any order: what they are equal to at their ends, the laws of their samplers, and their bounds."""

import itertools
import math

import numpy as np
import pytest
import torch

from oracles import TokenOracle, chi_square, order_law, position_table, random_joint, random_positions, sample, softmax
from seqloom.core.errors import UnsupportedQuery
from seqloom.core.rng import Rng
from seqloom.engine import Engine, Request
from seqloom.mixers.attention import Attention
from seqloom.mixers.recurrent import Gru
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.processes.anyorder import AnyOrder
from seqloom.processes.block import Block, one_by_one, read
from seqloom.processes.filling import with_gaps
from seqloom.processes.masked import Masked
from seqloom.samplers.confident import Confident
from seqloom.samplers.gibbs import Gibbs
from seqloom.samplers.remask import Remask
from seqloom.samplers.unmask import Unmask
from seqloom.sequence.batch import Batch
from seqloom.sequence.guess import Ask
from seqloom.sequence.space import Tokens

SIZE, STEPS, ROWS = 3, 4, 6_000
JOINT = random_joint(SIZE, STEPS, seed=5)
STRINGS = torch.tensor(list(JOINT))
TRUE, ODD = position_table(JOINT, SIZE), random_positions(SIZE, seed=12)
MIXERS = {"attention": Attention(heads=2), "gru": Gru()}
every_mixer = pytest.mark.parametrize("mixer", MIXERS)


def whole(x):
    ones, nothing = torch.ones_like(x, dtype=torch.bool), torch.zeros_like(x, dtype=torch.bool)
    begins = nothing.clone()
    begins[:, 0] = True
    return Batch(x, ones, ones, nothing, begins)


def oracle(process, table):
    return TokenOracle(process.spec(Tokens(size=SIZE)), SIZE, table)


def network(process, mixer):
    net = Network(
        Backbone(mixer=MIXERS[mixer], width=8, depth=2, mlp=1.0, marked=True),
        process.spec(Tokens(size=SIZE)),
        Tokens(size=SIZE),
        STEPS,
        {},
        seed=1,
    )
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return net.double().eval()


def keys(rows, seed=0):
    return Rng.of(seed, np.arange(rows))


@every_mixer
def test_one_block_is_the_masked_model(mixer):
    masked, block = Masked(), Block(size=STEPS)
    net = network(masked, mixer)
    x = whole(STRINGS)
    with torch.no_grad():
        one, other = (process.bound(net, x, keys(len(STRINGS))) for process in (masked, block))
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(block.loss(net, x, keys(len(STRINGS))).total, one.sum())


@every_mixer
def test_blocks_of_one_are_an_autoregressive_model(mixer):
    """Every symbol given those before it: normalised, one term a symbol, and what lies after changes nothing."""
    process = Block(size=1)
    (likelihood,) = process.likelihoods().values()
    assert likelihood.kind == "exact"
    net = network(process, mixer)
    with torch.no_grad():
        nats, _ = likelihood.nats(net, whole(STRINGS), keys(len(STRINGS)), None)
    assert float((-nats.sum(1)).exp().sum()) == pytest.approx(1, abs=1e-9)
    groups = {}
    for string, row in zip(STRINGS.tolist(), nats.tolist(), strict=True):
        for t in range(STEPS):
            groups.setdefault(tuple(string[: t + 1]), set()).add(round(row[t], 9))
    assert all(len(values) == 1 for values in groups.values())
    if mixer == "attention":
        with torch.no_grad():
            torch.testing.assert_close(process.bound(net, whole(STRINGS), keys(len(STRINGS))), nats)
    else:  # one symbol a row, for all of it
        with torch.no_grad():
            means = [process.bound(net, whole(STRINGS), keys(len(STRINGS), s)).sum(1) for s in range(144)]
        means = torch.stack(means)
        assert float(((means.mean(0) - nats.sum(1)) / (means.std(0) / 12)).abs().max()) < 4.5


def test_an_oracle_in_blocks_of_one_scores_the_truth():
    process = Block(size=1)
    nats = one_by_one(oracle(process, TRUE), whole(STRINGS))
    np.testing.assert_allclose(nats.sum(1), [-math.log(p) for p in JOINT.values()], atol=1e-9)


@pytest.mark.parametrize("masks", ["counted", "independent"])
@pytest.mark.parametrize("size", [2, 3])
def test_the_bound_in_blocks_of_an_oracle_is_the_entropy(size, masks):
    process = Block(size=size, masks=masks)
    weights = np.array(list(JOINT.values()))
    net, means = oracle(process, TRUE), []
    for draws in range(40):
        x = STRINGS[np.random.default_rng(draws).choice(len(weights), 600, p=weights)]
        means.append(float(process.bound(net, whole(x), keys(600, draws)).sum(1).mean()))
    entropy = -float((weights * np.log(weights)).sum())
    stderr = np.std(means, ddof=1) / math.sqrt(len(means))
    assert stderr < 0.02 * entropy
    assert abs(np.mean(means) - entropy) < 3 * stderr


def test_a_block_is_read_alike_by_training_and_by_sampling():
    """Attention that reads the canvas twice says what it says of the canvas as a sampler shows it."""
    process = Block(size=2)
    net = network(process, "attention")
    x = torch.tensor([[0, 2, SIZE, 1]])
    clean = torch.tensor([[0, 2, 0, 1]])
    masked = x == SIZE
    block = torch.tensor([[0, 0, 1, 1]])
    with torch.no_grad():
        nats = read(net, whole(clean), masked, block)[0, 2]
        guess, _ = process.guess(net, Ask(x, np.array([[2]]), np.zeros(1, np.int64)), None)
        later = Ask(torch.tensor([[0, SIZE, SIZE, SIZE]]), np.array([[1]]), np.zeros(1, np.int64))
        first, _ = process.guess(net, later, None)
        other = network(process, "attention")(torch.tensor([[0, SIZE]]))[0][0, 1]
    assert float(nats) == pytest.approx(-float(guess.value[0, 0].log_softmax(-1)[0]))
    torch.testing.assert_close(first.value[0, 0], other)  # of what lies after nothing is seen


def test_blocks_follow_their_law():
    process = Block(size=2)
    law = {}
    for order in [[*one, *other] for one in ([0, 1], [1, 0]) for other in ([2, 3], [3, 2])]:
        for string, p in order_law(ODD, SIZE, [SIZE] * STEPS, [[i] for i in order]).items():
            law[string] = law.get(string, 0.0) + p / 4
    hidden = torch.full((STEPS,), SIZE)
    drawn = sample(oracle(process, ODD), process, Unmask(), hidden, rows=ROWS)
    assert chi_square(drawn.numpy(), law) > 0.001
    shares = {}
    for groups, p in [([[0], [1]], 0.25), ([[1], [0]], 0.25), ([[0, 1]], 0.5)]:
        for after, q in [([[2], [3]], 0.25), ([[3], [2]], 0.25), ([[2, 3]], 0.5)]:
            for string, r in order_law(ODD, SIZE, [SIZE] * STEPS, [*groups, *after]).items():
                shares[string] = shares.get(string, 0.0) + p * q * r
    drawn = sample(oracle(process, ODD), process, Unmask(steps=2), hidden, rows=ROWS)
    assert chi_square(drawn.numpy(), shares) > 0.001


@pytest.mark.parametrize("sampler", [Unmask(), Unmask(steps=2), Remask(steps=3), Gibbs(steps=1), Confident(steps=2)])
def test_finished_blocks_are_read_once(sampler, monkeypatch):
    """Samples, and what the network reads for them, beside those of a process that reads the canvas anew each time."""
    process, made, read = Block(size=3), [], []
    net = network(process, "attention")
    x = torch.full((2, 10), SIZE)
    x[:, :5] = torch.tensor([2, 0, 1, 1, 0])
    plain = Network.features

    def counted(self, x, **inputs):
        steps = inputs.get("count")
        read.append(x.numel() if steps is None else int(steps.sum()))
        return plain(self, x, **inputs)

    monkeypatch.setattr(Network, "features", counted)
    for known in (Block.read_known, lambda *_, **__: None):
        monkeypatch.setattr(Block, "read_known", known)
        read.append(0)
        engine, done = Engine(net, process), {}
        shown = torch.arange(10).expand(2, -1) < 5
        for prefix in (x, x[:, :7]):  # the rows of one are made before those of the other
            asked = Request(prefix, shown[:, : prefix.shape[1]], prefix > SIZE, sampler, Rng.of(3, np.arange(2)))
            engine.submit(asked)
        while not engine.idle:
            done |= {(e.request, e.row): (e.x.tolist(), e.error) for e in engine.tick() if e.done}
        made.append((done, sum(read)))
        read.clear()
    (fast, few), (slow, many) = made
    assert fast == slow
    assert len(fast) == 4
    assert not any(error for _, error in fast.values())
    assert few < 0.8 * many


def test_what_a_block_cannot_see_is_refused():
    process = Block(size=2)
    x, shown = torch.tensor([SIZE, SIZE, SIZE, 1]), torch.tensor([False, False, False, True])
    with pytest.raises(UnsupportedQuery, match="block of 2") as error:
        sample(oracle(process, TRUE), process, Unmask(), x, shown=shown)
    assert "masked" in error.value.hint
    with pytest.raises(UnsupportedQuery, match="blocks of 3 would lie in several of the model's blocks of 2"):
        sample(oracle(process, TRUE), process, Unmask(block=3), torch.full((STEPS,), SIZE))
    x, shown = torch.tensor([0, 2, SIZE, 1]), torch.tensor([True, True, False, True])
    assert sample(oracle(process, TRUE), process, Unmask(), x, shown=shown)[0, 3] == 1


def test_a_gap_that_something_follows_is_filled_given_both_sides():
    """Where gaps are learned: the law of the truth, and beside it rows that go on in blocks."""
    process = Block(size=2, infill=0.5)
    x, shown = torch.tensor([SIZE, SIZE, SIZE, 1]), torch.tensor([False, False, False, True])
    law = order_law(TRUE, SIZE, x.tolist(), [[0], [1], [2]])
    drawn = sample(oracle(process, TRUE), process, Unmask(), x, shown=shown, rows=ROWS)
    assert chi_square(drawn.numpy(), law) > 0.001
    net = network(process, "attention")
    hidden = torch.full((STEPS,), SIZE)
    both, nothing = torch.stack([x, hidden]), torch.zeros(2, STEPS, dtype=torch.bool)
    known = torch.stack([shown, nothing[0]])
    request = Request(both, known, nothing, Unmask(), Rng.of(4, np.arange(2)))
    done = {event.row: event.x for event in Engine(net, process).run(request) if event.done}
    assert torch.equal(done[0], sample(net, process, Unmask(), x, shown=shown, seed=4)[0])
    alone = Request(hidden[None], nothing[:1], nothing[:1], Unmask(), Rng.of(4, np.array([1])))
    assert torch.equal(done[1], next(event.x for event in Engine(net, process).run(alone) if event.done))


@every_mixer
def test_gaps_are_learned_as_by_the_masked_model(mixer):
    """Rows with a gap cost what they cost it with all else shown; the others what they cost without gaps."""
    process = Block(size=2, infill=0.5)
    net, data = network(process, mixer), whole(STRINGS)
    key = keys(len(STRINGS))
    gaps, chosen = with_gaps(data, key.at("infill"), 0.5)
    share = gaps.wanted.sum(1)[chosen]
    assert 0.3 < chosen.mean() < 0.7
    assert ((share > 0) & (share < STEPS)).all()
    assert len(share.unique()) == STEPS - 1
    assert gaps.wanted[~chosen].all()
    with torch.no_grad():
        nats = process.bound(net, gaps, key, None, chosen)
        torch.testing.assert_close(process.loss(net, data, key).total, nats.sum())
        plain = Block(size=2).bound(net, data, key)
        torch.testing.assert_close(nats[~chosen], plain[~chosen])
        draws = torch.stack([process.bound(net, gaps, keys(len(STRINGS), s), None, chosen).sum(1) for s in range(30)])
        other = torch.stack([Masked().bound(net, gaps, keys(len(STRINGS), s + 100)).sum(1) for s in range(30)])
    difference = (draws.mean(0) - other.mean(0))[chosen].mean() * chosen.sum() ** 0.5
    assert abs(float(difference)) < 4 * float((draws.var(0) + other.var(0))[chosen].mean() / 30) ** 0.5


# ---- any order ----------------------------------------------------------------------------------------------------


@every_mixer
def test_any_order_is_exact_from_the_left_and_bounded_in_any_order(mixer):
    process = AnyOrder()
    net, x = network(process, mixer), whole(STRINGS)
    exact, bound = process.likelihoods().values()
    with torch.no_grad():
        nats, _ = exact.nats(net, x, keys(len(STRINGS)), None)
        torch.testing.assert_close(nats, one_by_one(net, x))
        any_order, _ = bound.nats(net, x, keys(len(STRINGS)), None)
        torch.testing.assert_close(any_order, Masked().bound(net, x, keys(len(STRINGS))))
        if mixer == "attention":  # others learn one symbol a row
            left = AnyOrder(left=1.0).loss(net, x, keys(len(STRINGS)))
            torch.testing.assert_close(left.total, nats.sum())
        torch.testing.assert_close(AnyOrder(left=0.0).loss(net, x, keys(len(STRINGS))).total, any_order.sum())
    assert float((-nats.sum(1)).exp().sum()) == pytest.approx(1, abs=1e-9)


@every_mixer
def test_samples_of_any_order_have_the_law_that_is_scored(mixer):
    process = AnyOrder()
    net = network(process, mixer)
    with torch.no_grad():
        nats = one_by_one(net, whole(STRINGS)).sum(1)
    law = {tuple(s): math.exp(-n) for s, n in zip(STRINGS.tolist(), nats.tolist(), strict=True)}
    drawn = sample(net, process, Unmask(), torch.full((STEPS,), SIZE), rows=ROWS)
    assert chi_square(drawn.numpy(), law) > 0.001


def test_any_order_fills_a_gap_given_both_sides():
    process, table = AnyOrder(), TRUE
    x, shown = torch.tensor([SIZE, SIZE, 0, 2]), torch.tensor([False, False, True, True])
    law = order_law(table, SIZE, x.tolist(), [[0], [1]])
    for sampler in (Unmask(), Unmask(block=STEPS)):
        drawn = sample(oracle(process, table), process, sampler, x, shown=shown, rows=ROWS)
        assert chi_square(drawn.numpy(), law) > 0.001


def test_the_laws_of_both_sides_are_heard_by_a_network():
    """With attention a gap that is followed by something is filled by the network as it was trained on gaps."""
    process = AnyOrder()
    net = network(process, "attention")
    x, shown = torch.tensor([1, SIZE, 0, 2]), torch.tensor([True, False, True, True])
    with torch.no_grad():
        out, _ = net(x.unsqueeze(0))
    p = softmax(out[0, 1].numpy())
    drawn = sample(net, process, Unmask(), x, shown=shown, rows=ROWS).numpy()[:, 1:2]
    assert chi_square(drawn, {(v,): p[v] for v in range(SIZE)}) > 0.001
    assert len(set(itertools.chain.from_iterable(drawn.tolist()))) == SIZE
