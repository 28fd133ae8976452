"""Lengths that are said first: scores are a law of sequences of every length, and samples follow it."""

import itertools
import math

import numpy as np
import pytest
import torch

from oracles import Oracle, chi_square, random_joint, softmax
from seqloom.core.errors import UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.engine import Engine, Request
from seqloom.mixers.recurrent import Gru
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.processes import lengths
from seqloom.processes.masked import Masked
from seqloom.samplers.base import Sampler
from seqloom.samplers.confident import Confident
from seqloom.samplers.mask_predict import MaskPredict
from seqloom.samplers.unmask import Unmask
from seqloom.sequence.batch import Batch
from seqloom.sequence.space import Tokens

SIZE, STEPS = 2, 3
SPACE = Tokens(size=SIZE, ends=True)
END, MASK = SIZE, SIZE + 1
PROCESS = Masked(length="first")
STRINGS = [s for n in range(STEPS + 1) for s in itertools.product(range(SIZE), repeat=n)]
"""All that a canvas of STEPS can hold: those of STEPS symbols have no end on it."""


def batch(strings, shown=0):
    """Sequences of up to STEPS symbols, the first of them shown, each with its end where there is room for it."""
    x = torch.full((len(strings), STEPS), 0)
    present = torch.zeros(x.shape, dtype=torch.bool)
    for row, string in enumerate(strings):
        whole = [*string, END][:STEPS]
        x[row, : len(whole)] = torch.tensor(whole)
        present[row, : len(whole)] = True
    begins = torch.zeros_like(present)
    begins[:, 0] = True
    known = present & (torch.arange(STEPS) < shown)
    return Batch(x, present, present, known, begins)


def keys(rows, seed=0):
    return Rng.of(seed, np.arange(rows))


class LengthOracle(Oracle):
    """For each length another law of what stands in it, and what is said of lengths depends on what is read first."""

    def __init__(self):
        super().__init__(PROCESS.spec(SPACE), SPACE)
        self.laws = None
        self.joints = {n: random_joint(SIZE, n, seed=n) for n in range(1, STEPS + 1)}
        self.says = torch.tensor(np.random.default_rng(3).normal(size=(SIZE + 1, lengths.OUTPUTS)) - 0.5)

    def __call__(self, x, *, present=None, where=None, **_):
        count = torch.full((len(x),), x.shape[1]) if present is None else present.sum(1)
        seen, inverse = torch.unique(torch.cat([count[:, None], x], 1), dim=0, return_inverse=True)
        out = torch.stack([self.row(row[1:], row[0]) for row in seen.tolist()])[inverse]
        return (out if where is None else out.take_along_dim(where.unsqueeze(-1), 1)), None

    def row(self, canvas, count):
        out = torch.zeros(len(canvas), self.spec.outputs, dtype=torch.float64)
        if canvas[count - 1] == self.spec.asks + 1:
            out[count - 1, -lengths.OUTPUTS :] = self.said(canvas[: count - 1])
            return out
        n = count - (canvas[count - 1] == END)
        for position in range(n):
            law = self.conditional(tuple(canvas[:n]), position)
            out[position, :SIZE] = torch.as_tensor(np.log(np.maximum(law, 1e-300)))
        return out

    def said(self, prefix):
        return self.says[prefix[0] if prefix else SIZE]

    def conditional(self, canvas, position):
        mass = np.zeros(SIZE)
        for string, p in self.joints[len(canvas)].items():
            if all(c in (MASK, s) or i == position for i, (c, s) in enumerate(zip(canvas, string, strict=True))):
                mass[string[position]] += p
        return mass / mass.sum()

    def chances(self, prefix=()):
        """Of each length up to STEPS, the last of them or more, given the first symbols."""
        says = self.said(list(prefix))[None]
        chance = [float(lengths.log_chance(says, torch.tensor([n])).exp()) for n in range(STEPS)]
        chance.append(float(lengths.log_reaches(says, torch.tensor([STEPS])).exp()))
        chance = np.where(np.arange(STEPS + 1) < len(prefix), 0.0, chance)
        return chance / chance.sum()

    def law(self, prefix=()):
        """Of all strings that begin so."""
        law = {}
        for n, chance in enumerate(self.chances(prefix)):
            joint = {s: p for s, p in self.joints.get(n, {(): 1.0}).items() if s[: len(prefix)] == tuple(prefix)}
            law |= {s: chance * p / sum(joint.values()) for s, p in joint.items() if chance}
        return law


def sampled(sampler: Sampler, prefix=(), rows=1500, net=None):
    """Strings that are drawn on a canvas of STEPS, each padded with ends."""
    x = torch.full((rows, STEPS), MASK)
    x[:, : len(prefix)] = torch.tensor(prefix, dtype=torch.int64)
    shown = x != MASK
    request = Request(x, shown, torch.zeros_like(shown), sampler, keys(rows))
    updates = [u for u in Engine(net or LengthOracle(), PROCESS, capacity=4 * rows).run(request) if u.done]
    assert sorted(u.row for u in updates) == list(range(rows))
    drawn = np.full((rows, STEPS), END)
    for update in updates:
        assert update.settled.all()
        drawn[update.row, : update.length] = update.x.numpy()
    return drawn, {u.row: u.score for u in updates}


def padded(law):
    return {(*s, *[END] * (STEPS - len(s))): p for s, p in law.items()}


def test_the_chances_of_all_lengths_sum_to_one():
    says = torch.tensor(np.random.default_rng(1).normal(size=(5, lengths.OUTPUTS)), requires_grad=True)
    count = torch.arange(2000).expand(5, -1)
    chance, reaches = lengths.log_chance(says, count).exp(), lengths.log_reaches(says, count).exp()
    more = lengths.log_reaches(says, torch.full((5,), 2000)).exp()
    assert torch.allclose(chance.sum(1) + more, torch.ones(5, dtype=torch.float64))
    assert torch.allclose((reaches[:, :-1] - reaches[:, 1:]), chance[:, :-1], atol=1e-12)
    (chance.log().sum() + reaches.log().sum()).backward()
    assert says.grad.isfinite().all()


def test_the_exact_likelihood_of_any_network_is_a_law_of_sequences():
    """Over all sequences, those that go on beyond the window included; and over those that begin as what is shown."""
    net = Network(Backbone(mixer=Gru(), width=8, depth=1), PROCESS.spec(SPACE), SPACE, STEPS, {}).double()
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)) * 0.5)
        nats = PROCESS.left_to_right(net, batch(STRINGS)).sum(1)
        assert float((-nats).exp().sum()) == pytest.approx(1, abs=1e-6)
        beginning = [s for s in STRINGS if s[:1] == (1,)]
        nats = PROCESS.left_to_right(net, batch(beginning, shown=1)).sum(1)
        assert float((-nats).exp().sum()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("shown", [0, 1])
def test_the_bound_of_an_oracle_is_the_entropy_of_lengths_and_what_stands_in_them(shown):
    net = LengthOracle()
    law = net.law((1,) * shown)
    strings, p = list(law), np.array(list(law.values()))
    exact = PROCESS.left_to_right(net, batch(strings, shown)).sum(1).numpy()
    assert np.allclose(exact, -np.log(p))
    draws = np.stack([PROCESS.bound(net, batch(strings, shown), keys(len(p), s)).sum(1).numpy() for s in range(100)])
    means = draws @ p
    entropy = -float(p @ np.log(p))
    assert means.mean() == pytest.approx(entropy, abs=4 * means.std() / math.sqrt(len(means)))


def test_a_training_step_learns_lengths_and_symbols_together():
    """Of most steps the loss is the bound; in the others a length is asked for after some of the sequence."""
    net = LengthOracle()
    net.says[:] = net.says[0]  # so that what was read does not matter
    strings = [s for s in STRINGS if 0 < len(s) < STEPS]
    means = [float(PROCESS.loss(net, batch(strings), keys(len(strings), s)).total) for s in range(100)]
    bounds = [float(PROCESS.bound(net, batch(strings), keys(len(strings), s)).sum()) for s in range(100)]
    same = [one == pytest.approx(other) for one, other in zip(means, bounds, strict=True)]
    assert 60 < sum(same) < 90
    assert np.mean(means) < np.mean(bounds)  # that a sequence is no shorter than what was read of it costs nothing


@pytest.mark.parametrize(
    ("sampler", "prefix"),
    [(Unmask(), (1,)), (Confident(), ()), (Unmask(guidance=2.0), ())],
    ids=["on", "sure", "guided"],
)
def test_samples_are_of_the_law(sampler, prefix):
    drawn, _ = sampled(sampler, prefix)
    assert chi_square(drawn, padded(LengthOracle().law(prefix))) > 0.001


def test_at_temperature_zero_the_length_is_the_likeliest():
    drawn, _ = sampled(Confident(temperature=0), rows=3)
    assert len(set(map(tuple, drawn.tolist()))) == 1
    assert (drawn[0] != END).sum() == LengthOracle().chances().argmax()


def test_of_several_lengths_the_likeliest_symbols_are_kept():
    net = LengthOracle()
    chances = net.chances()
    drawn, scores = sampled(Confident(temperature=0, lengths=3), rows=2)
    tried = [greedy(net, int(n)) for n in np.argsort(-chances)[:3]]
    best, score = max(tried, key=lambda one: one[1])
    assert tuple(drawn[0]) == tuple(drawn[1]) == (*best, *[END] * (STEPS - len(best)))
    assert scores[0] == pytest.approx(score)


def greedy(net, n):
    """The surest first, and the mean of the logarithms of their chances."""
    canvas, total = [MASK] * n, []
    while MASK in canvas:
        laws = {i: net.conditional(tuple(canvas), i) for i, s in enumerate(canvas) if s == MASK}
        surest = max(laws, key=lambda i: laws[i].max())
        total.append(math.log(laws[surest].max()))
        canvas[surest] = int(laws[surest].argmax())
    return tuple(canvas), float(np.mean(total)) if total else -math.inf


def test_sequences_without_an_end_have_no_length_to_say():
    with pytest.raises(UnsupportedSpace, match="no length"):
        PROCESS.spec(Tokens(size=SIZE))


@pytest.mark.parametrize("steps", [1, 3, 9])
def test_mask_predict_draws_the_least_sure_again(steps):
    """Against a loop that does so with one row, on laws that no joint law is behind."""
    size, width = 4, 5

    class Odd(Oracle):
        def __call__(self, x, *, where=None, **_):
            out = torch.stack([odd(tuple(row)) for row in x.tolist()])
            return (out if where is None else out.take_along_dim(where.unsqueeze(-1), 1)), None

    def odd(canvas):
        code = sum(v * (size + 1) ** i for i, v in enumerate(canvas))
        return torch.as_tensor(np.random.default_rng([7, code]).normal(size=(width, size)))

    canvas, sure, again = [size, 2, size, size, size], np.full(width, np.inf), [0, 2, 3, 4]
    calls = min(steps, 4)
    for step in range(calls):
        table = odd(tuple(size if i in again else s for i, s in enumerate(canvas)))
        for i in again:
            canvas[i], sure[i] = int(table[i].argmax()), math.log(softmax(table[i].numpy()).max())
        again = np.argsort(sure, kind="stable")[: 4 * (calls - step - 1) // calls].tolist()
    process = Masked()
    x = torch.tensor([[size, 2, size, size, size]])
    request = Request(
        x, x != size, torch.zeros_like(x, dtype=torch.bool), MaskPredict(steps=steps, temperature=0), keys(1)
    )
    space = Tokens(size=size)
    *_, last = Engine(Odd(process.spec(space), space), process).run(request)
    assert last.done
    assert last.x.tolist() == canvas
