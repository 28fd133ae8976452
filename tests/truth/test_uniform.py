"""Uniform diffusion: its rate against small steps written out, its bound against an entropy, its sampler's law."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from oracles import Oracle, TokenOracle, chi_square, random_joint, random_positions, sample, softmax
from seqloom.core.errors import UnsupportedQuery
from seqloom.core.rng import Rng
from seqloom.engine import Engine, Request
from seqloom.processes import lengths
from seqloom.processes.uniform import Uniform, rate
from seqloom.samplers.denoise import Denoise
from seqloom.sequence.batch import Batch
from seqloom.sequence.replacing import before
from seqloom.sequence.space import Tokens

SIZE, STEPS, ROWS = 3, 2, 8_000
JOINT = random_joint(SIZE, STEPS, seed=6)


def kernel(keep):
    return keep * np.eye(SIZE) + (1 - keep) / SIZE


class Bayes(TokenOracle):
    """What each symbol was, given what is seen of the others, by Bayes' rule: the guess that makes reverse steps true.

    What is seen of a symbol itself is in the step already.
    """

    def answer(self, x, level, flag):
        alpha = ((1 - level[:, 0]) / 2).numpy()[:, None]
        strings, z = np.array(list(JOINT)), x.numpy()  # (N,T), (B,T)
        same = z[:, None] % SIZE == strings  # (B,N,T)
        clean = np.where(same, 0.0, -np.inf)
        evidence = np.where(z[:, None] >= SIZE, clean, np.log(alpha[..., None] * same + (1 - alpha[..., None]) / SIZE))
        logits = []
        for t in range(STEPS):
            others = [i for i in range(STEPS) if i != t]
            p = np.exp(np.log(list(JOINT.values())) + evidence[..., others].sum(-1))  # (B,N)
            with np.errstate(divide="ignore"):
                logits.append(np.log(p @ (strings[:, t, None] == np.arange(SIZE))))
        return torch.as_tensor(np.stack(logits, 1))


def oracle(process, table=None):
    spec = process.spec(Tokens(size=SIZE))
    return Bayes(spec, SIZE, None) if table is None else TokenOracle(spec, SIZE, table)


def whole(x, shown=None):
    ones, nothing = torch.ones_like(x, dtype=torch.bool), torch.zeros_like(x, dtype=torch.bool)
    begins = nothing.clone()
    begins[:, 0] = True
    return Batch(x, ones, ones, nothing if shown is None else shown, begins)


def test_what_a_symbol_was_is_by_bayes_rule():
    guess = softmax(np.array([0.3, -1.0, 0.8]))
    now, then = 0.3, 0.7
    for z in range(SIZE):
        expected = sum(
            guess[x] * kernel(then)[x] * kernel(now / then)[:, z] / kernel(now)[x, z] * kernel(now)[x, z]
            for x in range(SIZE)
        )
        mixed = sum(guess[x] * kernel(now)[x, z] for x in range(SIZE))
        chance = before(torch.tensor(guess).log(), torch.tensor(z), torch.tensor(now), torch.tensor(then))
        np.testing.assert_allclose(chance.numpy(), expected / mixed, atol=1e-12)


def test_the_rate_is_the_divergence_of_small_steps():
    logits = torch.tensor([0.3, -1.0, 0.8], dtype=torch.float64)
    alpha, slope, dt = 0.6, -1.3, 1e-6
    for x, z in itertools.product(range(SIZE), repeat=2):
        nats = rate(
            logits.view(1, 1, -1),
            torch.tensor([[x]]),
            torch.tensor([[z]]),
            torch.tensor([alpha], dtype=torch.float64),
            torch.tensor([slope], dtype=torch.float64),
        )
        now, then = torch.tensor(alpha, dtype=torch.float64), torch.tensor(alpha - slope * dt, dtype=torch.float64)
        certain = torch.full((SIZE,), -torch.inf, dtype=torch.float64)
        certain[x] = 0.0
        true, guessed = (before(one, torch.tensor(z), now, then) for one in (certain, logits))
        assert float(nats) == pytest.approx(float((true * (true / guessed).log()).sum()) / dt, rel=2e-4)


def test_the_bound_of_an_oracle_is_the_entropy():
    process = Uniform()
    (likelihood,) = process.likelihoods().values()
    weights, strings = np.array(list(JOINT.values())), torch.tensor(list(JOINT))
    net, means = oracle(process), []
    for draws in range(30):
        x = strings[np.random.default_rng(draws).choice(len(weights), 3000, p=weights)]
        key = Rng.of(draws, np.arange(len(x)))
        means.append(float(likelihood.nats(net, whole(x), key, None)[0].sum(1).mean()))
    entropy = -float((weights * np.log(weights)).sum())
    stderr = np.std(means, ddof=1) / math.sqrt(len(means))
    assert stderr < 0.02 * entropy
    assert abs(np.mean(means) - entropy) < 3 * stderr + 0.002  # what is left at the least time is guessed independently


def test_no_network_is_better_than_the_truth():
    process = Uniform()
    net = oracle(process, random_positions(2 * SIZE, seed=3))
    net.tables = [lambda seen: random_positions(2 * SIZE, seed=3)(seen)[:, :SIZE]] * 2
    strings = torch.tensor(list(JOINT)).repeat_interleave(300, 0)
    key = Rng.of(0, np.arange(len(strings)))
    bound = process.integral(net, whole(strings), key) + process.recovery(net, whole(strings), key)
    assert float(bound.sum(1).mean()) > math.log(SIZE**STEPS)


def test_shown_symbols_are_clean_and_not_scored():
    process = Uniform()
    x = torch.tensor(list(JOINT)).repeat(20_000, 1)
    shown = torch.tensor([True, False]).expand(len(x), -1)
    key = Rng.of(0, np.arange(len(x)))
    bound = process.integral(oracle(process), whole(x, shown), key) + process.recovery(
        oracle(process), whole(x, shown), key
    )
    assert (bound[:, 0] == 0).all()
    for string, nats in zip(JOINT, bound[:, 1].view(-1, len(JOINT)).mean(0).tolist(), strict=True):
        first = sum(p for other, p in JOINT.items() if other[0] == string[0])
        assert nats == pytest.approx(-math.log(JOINT[string] / first), abs=0.15)


def reverse_law(process, net, steps, x, bend=lambda p: p):
    """The law of the reverse steps, by enumeration; `x` has None where a symbol is to be made."""
    free = [i for i, v in enumerate(x) if v is None]
    law = {}
    for symbols in itertools.product(range(SIZE), repeat=len(free)):
        canvas = list(x)
        for i, v in zip(free, symbols, strict=True):
            canvas[i] = v
        law[tuple(canvas)] = SIZE ** -len(free)
    alpha = process.schedule.alpha(torch.linspace(1, 0, steps + 1, dtype=torch.float64)).clamp(0, 1)
    for now, then in itertools.pairwise(alpha):
        after = {}
        for canvas, p in law.items():
            inputs = torch.tensor([[v if i in free else v + SIZE for i, v in enumerate(canvas)]])
            logits = net.answer(inputs, (1 - 2 * now).view(1, 1), torch.zeros(1))[0]
            laws = [before(logits[i], torch.tensor(canvas[i]), now, then).numpy() for i in free]
            for symbols in itertools.product(range(SIZE), repeat=len(free)):
                following = list(canvas)
                for i, v in zip(free, symbols, strict=True):
                    following[i] = v
                weight = float(np.prod([own[v] for own, v in zip(laws, symbols, strict=True)]))
                after[tuple(following)] = after.get(tuple(following), 0.0) + p * weight
        law = after
    return law


@pytest.mark.parametrize(("schedule", "steps"), [("linear", 1), ("cosine", 3), ("linear", 6)])
def test_reverse_steps_follow_their_law(schedule, steps):
    process = Uniform(schedule=schedule)
    x = torch.zeros(STEPS, dtype=torch.int64)
    drawn = sample(oracle(process), process, Denoise(steps=steps), x, rows=ROWS)
    assert chi_square(drawn.numpy(), reverse_law(process, oracle(process), steps, [None, None])) > 0.001


def test_more_steps_are_nearer_to_the_truth():
    process = Uniform()
    laws = [reverse_law(process, oracle(process), steps, [None, None]) for steps in (1, 4, 16, 64)]
    off = [0.5 * sum(abs(law[s] - p) for s, p in JOINT.items()) for law in laws]
    assert off == sorted(off, reverse=True)
    assert off[-1] < 0.02 < off[0]


def test_what_is_shown_stays_and_is_heard():
    process = Uniform()
    x, shown = torch.tensor([2, 0]), torch.tensor([True, False])
    drawn = sample(oracle(process), process, Denoise(steps=5), x, shown=shown, rows=ROWS)
    law = reverse_law(process, oracle(process), 5, [2, None])
    assert chi_square(drawn.numpy(), law) > 0.001
    total = sum(p for s, p in JOINT.items() if s[0] == 2)
    for string, p in law.items():
        assert p == pytest.approx(JOINT[string] / total, abs=1e-9)  # of one symbol every number of steps is exact


def test_settings_bend_the_guess_and_penalties_are_refused():
    process = Uniform()
    x, shown = torch.tensor([2, 0]), torch.tensor([True, False])
    likeliest = max((s for s in JOINT if s[0] == 2), key=JOINT.get)
    for settings in ({"temperature": 0.0}, {"top_k": 1}):
        drawn = sample(oracle(process), process, Denoise(steps=5, **settings), x, shown=shown, rows=20)
        assert (drawn == torch.tensor(likeliest)).all()
    with pytest.raises(UnsupportedQuery, match="repetition"):
        sample(oracle(process), process, Denoise(repetition=1.5), x, shown=shown)


# ---- lengths that are said first -----------------------------------------------------------------------------------

ENDING = Tokens(size=SIZE, ends=True)
LONGEST = 3


class Ending(Oracle):
    """Symbols that are independent given how many there are, each length with a law of its own."""

    def __init__(self, process):
        super().__init__(process.spec(ENDING), ENDING)
        self.says = torch.tensor(np.random.default_rng(7).normal(size=lengths.OUTPUTS) - 0.5)
        self.symbols = np.random.default_rng(8).dirichlet(np.ones(SIZE), size=LONGEST + 1)

    def __call__(self, x, *, present=None, where=None, level=None, **_):
        assert level is not None
        count = (torch.full((len(x),), x.shape[1]) if present is None else present.sum(1)).tolist()
        out = torch.zeros(*x.shape, self.spec.outputs, dtype=torch.float64)
        for row, (seen, n) in enumerate(zip(x.tolist(), count, strict=True)):
            if n and seen[n - 1] >= self.spec.asks:
                assert all(ENDING.total <= v < 2 * ENDING.total for v in seen[: n - 1])  # what is known is clean
                out[row, n - 1, -lengths.OUTPUTS :] = self.says
            else:
                ended = seen[n - 1] == ENDING.total + SIZE
                assert SIZE not in seen[:n]  # an end is never noise
                out[row, :, :SIZE] = torch.as_tensor(np.log(self.symbols[n - ended]))
        return (out if where is None else out.take_along_dim(where.unsqueeze(-1), 1)), None

    def law(self, prefix=()):
        """Of all strings that begin so and fit on a canvas of LONGEST, padded with ends."""
        law = {}
        for n in range(len(prefix), LONGEST + 1):
            says = self.says[None], torch.tensor([n])
            chance = math.exp(float((lengths.log_chance if n < LONGEST else lengths.log_reaches)(*says)))
            for rest in itertools.product(range(SIZE), repeat=n - len(prefix)):
                p = chance * float(np.prod(self.symbols[n][list(rest)]))
                law[(*prefix, *rest, *[SIZE] * (LONGEST - n))] = p
        total = sum(law.values())
        return {string: p / total for string, p in law.items()}


def test_the_bound_of_lengths_and_what_stands_in_them_is_the_entropy():
    process = Uniform(length="first")
    net = Ending(process)
    law = net.law()
    strings, p = torch.tensor(list(law)), np.array(list(law.values()))
    there = (strings == SIZE).cumsum(1) <= 1  # all and their ends
    begins = torch.zeros_like(there)
    begins[:, 0] = True
    (likelihood,) = process.likelihoods().values()
    rows = Batch(strings, there, there, torch.zeros_like(there), begins)
    key = [Rng.of(seed, np.arange(len(p))) for seed in range(150)]
    means = np.array([likelihood.nats(net, rows, own, None)[0].sum(1).numpy() @ p for own in key])
    entropy = -float(p @ np.log(p))
    assert abs(means.mean() - entropy) < 4 * means.std() / math.sqrt(len(means)) + 0.002
    losses = [float(process.loss(net, rows, own).total) for own in key[:3]]
    assert all(math.isfinite(loss) for loss in losses)


@pytest.mark.parametrize("prefix", [(), (1,)])
def test_samples_are_as_long_as_they_are_likely_to_be(prefix):
    process = Uniform(length="first")
    net, count = Ending(process), 1500
    x = torch.tensor([*prefix, *[0] * (LONGEST - len(prefix))]).repeat(count, 1)
    shown = (torch.arange(LONGEST) < len(prefix)).expand(count, -1)
    request = Request(x, shown, torch.zeros_like(shown), Denoise(steps=3), Rng.of(1, np.arange(count)))
    done = [event.x.tolist() for event in Engine(net, process, capacity=count).run(request) if event.done]
    drawn = np.array([row + [SIZE] * (LONGEST - len(row)) for row in done])
    assert chi_square(drawn, net.law(prefix)) > 0.001
    cold = replace(request, sampler=Denoise(steps=3, temperature=0))
    assert len({event.length for event in Engine(net, process, capacity=count).run(cold) if event.done}) == 1
