"""Diffusion of embeddings: its bound and its samples, where the network knows the truth by enumeration."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from oracles import Oracle, chi_square, random_joint, sample
from seqloom.core.rng import Rng
from seqloom.engine import Engine, Request
from seqloom.processes import lengths
from seqloom.processes.embedding import Embedded, Embedding, embeddings, seen_of_itself
from seqloom.samplers.diffuse import Diffuse
from seqloom.samplers.solvers import AncestralSteps
from seqloom.sequence.batch import Batch
from seqloom.sequence.space import Tokens

SIZE, STEPS, WIDTH = 3, 3, 4
SPACE = Tokens(size=SIZE)
JOINT = random_joint(SIZE, STEPS, seed=3)
STRINGS = torch.tensor(list(JOINT))
CHANCES = np.array(list(JOINT.values()))
PROCESS, ALONE = Embedding(size=WIDTH, self_conditioning=True), Embedding(size=WIDTH)


def keys(rows, seed=0):
    return Rng.of(seed, np.arange(rows))


def batch(x, shown=None):
    there = torch.ones_like(x, dtype=torch.bool)
    begins = torch.zeros_like(there)
    begins[:, 0] = True
    return Batch(x, there, there, ~there if shown is None else shown, begins)


class Knowing(Oracle):
    """What the other positions say of each symbol, from the law of all strings; or nothing."""

    def __init__(self, process, nothing=False):
        super().__init__(process.spec(SPACE), SPACE)
        self.own = nn.Embedding(SIZE, WIDTH)
        self.own.weight.data = torch.tensor(np.random.default_rng(5).normal(size=(SIZE, WIDTH)), dtype=torch.float32)
        self.nothing, self.seen = nothing, []

    def answer(self, x, level, flag):
        self.seen.append(x)
        if self.nothing:
            return torch.zeros(*x.shape[:2], SIZE)
        table, log_nsr = embeddings(self).double(), 4 * level.double()[:, :, None]
        z, shown = x[..., :WIDTH].double(), x[..., WIDTH].bool()
        own = seen_of_itself(z, log_nsr, table).log_softmax(-1)  # (B,T,V)
        sure = (torch.cdist(z, table.expand(len(z), -1, -1)) > 1e-3).double() * -1e9
        evidence = torch.where(shown.unsqueeze(-1), sure, own)
        each = evidence.gather(2, STRINGS.T.expand(len(z), -1, -1))  # (B,T,S)
        total = each.sum(1, keepdim=True) - each + torch.as_tensor(np.log(CHANCES))  # without what it says of itself
        logits = [total[:, :, STRINGS[:, t] == v][:, t].logsumexp(-1) for t in range(STEPS) for v in range(SIZE)]
        return torch.stack(logits, -1).view(len(z), STEPS, SIZE).float().clamp_min(-1e6)


def bounds(net, process, draws, shown=0):
    """Draws of the bound of each string, and of the mean over them by their chances."""
    x = STRINGS.repeat(40, 1)
    there = (torch.arange(STEPS) < shown).expand(len(x), -1)
    with torch.no_grad():
        each = [
            process.bound(net, batch(x, there), keys(len(x), s))[0].sum(1).view(40, -1).mean(0) for s in range(draws)
        ]
    return torch.stack(each).double().numpy()


@pytest.mark.parametrize("shown", [0, 1])
def test_the_bound_of_an_oracle_lies_just_above_the_entropy(shown):
    means = bounds(Knowing(PROCESS), PROCESS, 40, shown) @ CHANCES
    first = [CHANCES[STRINGS[:, 0].numpy() == v].sum() for v in range(SIZE)]
    entropy = -float(CHANCES @ np.log(CHANCES)) + (sum(p * math.log(p) for p in first) if shown else 0.0)
    stderr = means.std(ddof=1) / math.sqrt(len(means))
    assert stderr < 0.02 * entropy
    assert -3 * stderr < means.mean() - entropy < 3 * stderr + 0.02


def test_the_bound_of_a_network_that_knows_nothing_is_that_of_chance():
    means = bounds(Knowing(ALONE, nothing=True), ALONE, 40).mean(1)
    stderr = means.std(ddof=1) / math.sqrt(len(means))
    assert abs(means.mean() - STEPS * math.log(SIZE)) < 3 * stderr + 0.01


@pytest.mark.parametrize(
    ("sampler", "prefix"),
    [(Diffuse(steps=24), (1,)), (Diffuse(steps=40, solver=AncestralSteps()), ())],
    ids=["ode", "sde"],
)
def test_samples_are_near_the_law(sampler, prefix):
    process = PROCESS
    x = torch.tensor([*prefix, *[0] * (STEPS - len(prefix))])
    drawn = sample(Knowing(process), process, sampler, x, torch.arange(STEPS) < len(prefix), rows=1000)
    law = {s: p for s, p in JOINT.items() if s[: len(prefix)] == prefix}
    counts = {s: 0.0 for s in law}
    for row in drawn.tolist():
        counts[tuple(row)] += 1 / len(drawn)
    distance = 0.5 * sum(abs(counts[s] - p / sum(law.values())) for s, p in law.items())
    chance = 0.5 * sum(
        math.sqrt(2 / math.pi * q * (1 - q) / len(drawn)) for q in (p / sum(law.values()) for p in law.values())
    )
    assert distance < 2 * chance + 0.02


def test_embeddings_are_of_one_length_and_symbols_come_back():
    net = Knowing(PROCESS)
    table = embeddings(net)
    assert torch.allclose(table.square().mean(1), torch.ones(SIZE))
    head = Embedded(table)
    assert torch.equal(head.values(head.numbers(STRINGS, {}), {}), STRINGS)
    assert torch.allclose(head.clean(torch.tensor([[[0.0, -1e9, -1e9]]])), table[:1, None])


# ---- the last guess ------------------------------------------------------------------------------------------------


def test_without_self_conditioning_nothing_but_noise_and_what_is_shown_is_read():
    process = ALONE
    net = Knowing(process, nothing=True)
    process.loss(net, batch(STRINGS), keys(len(STRINGS)))
    assert net.calls == 1
    assert net.seen[0].shape[2] == WIDTH + 1 == net.spec.inputs


def test_in_half_of_the_training_the_network_sees_its_own_guess():
    process = PROCESS
    twice = 0
    for seed in range(60):
        net = Knowing(process)
        process.loss(net, batch(STRINGS), keys(len(STRINGS), seed))
        assert not net.seen[0][..., WIDTH + 1 :].any()
        if net.calls == 2:
            twice += 1
            z, last = net.seen[1][..., :WIDTH], net.seen[1][..., WIDTH + 1 :]
            assert torch.equal(z, net.seen[0][..., :WIDTH])
            assert 0 < last.square().mean() <= 1 + 1e-5  # means of embeddings, which are of unit variance
    assert 18 < twice < 42


def test_in_sampling_it_sees_the_guess_of_the_step_before():
    process = PROCESS
    net = Knowing(process)
    sample(net, process, Diffuse(steps=4), torch.zeros(STEPS, dtype=torch.int64), rows=2)
    assert not net.seen[0][..., WIDTH + 1 :].any()
    for before, after in zip(net.seen, net.seen[1:], strict=False):
        assert not torch.equal(before[..., WIDTH + 1 :], after[..., WIDTH + 1 :])
    assert torch.allclose(
        net.seen[-1][..., WIDTH + 1 :].square().mean(-1), torch.ones(2, STEPS), atol=0.1
    )  # it is sure


# ---- lengths that are said first -----------------------------------------------------------------------------------


class Ending(Oracle):
    """A network that says nothing of symbols that end, and always the same of their lengths."""

    def __init__(self, process):
        space = SPACE.replace(ends=True)
        super().__init__(process.spec(space), space)
        self.own = nn.Embedding(SIZE + 3, WIDTH)
        self.own.weight.data = torch.tensor(
            np.random.default_rng(5).normal(size=(SIZE + 3, WIDTH)), dtype=torch.float32
        )

    def answer(self, x, level, flag):
        assert x.shape[2] == self.spec.inputs
        return torch.zeros(*x.shape[:2], self.spec.outputs)


def test_a_length_that_is_said_first_is_paid_for_and_drawn():
    process = Embedding(size=WIDTH, length="first")
    net = Ending(process)
    nothing = torch.zeros(1, lengths.OUTPUTS, dtype=torch.float64)
    x = torch.tensor([[0, 2, 1, SIZE, 0], [1, SIZE, 0, 0, 0], [0, 1, 2, 0, 1]]).repeat(200, 1)
    there = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]).repeat(200, 1).bool()
    begins = torch.zeros_like(there)
    begins[:, 0] = True
    rows = Batch(x, there, there, torch.zeros_like(there), begins)
    with torch.no_grad():
        draws = torch.stack([process.bound(net, rows, keys(600, s))[0].sum(1).view(200, 3).mean(0) for s in range(20)])
    chance = [float(lengths.log_chance(nothing, torch.tensor([n]))) for n in range(5)]
    longer = float(lengths.log_reaches(nothing, torch.tensor([5])))
    wanted = [3 * math.log(SIZE) - chance[3], math.log(SIZE) - chance[1], 5 * math.log(SIZE) - longer]
    stderr = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - torch.tensor(wanted)).abs() < 4 * stderr + 0.01).all()
    drawn = sample_lengths(net, process, 5, 800)
    law = {(n,): math.exp(chance[n]) for n in range(5)} | {(5,): math.exp(longer)}
    assert chi_square(drawn[:, None], law) > 0.001


def sample_lengths(net, process, width, rows):
    x = torch.zeros(rows, width, dtype=torch.int64)
    nothing = torch.zeros_like(x, dtype=torch.bool)
    request = Request(x, nothing, nothing, Diffuse(steps=2), keys(rows))
    done = [u.x.tolist() for u in Engine(net, process, capacity=rows).run(request) if u.done]
    assert all(SIZE not in row[:-1] for row in done)
    return np.array([len(row) - (row[-1] == SIZE) for row in done])
