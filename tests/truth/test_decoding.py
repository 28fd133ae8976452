"""Penalties, a held surprise, and searches that draw or differ: on oracles, against laws worked out by hand."""

import itertools
import math

import numpy as np
import pytest
import torch

from oracles import TokenOracle, chi_square, next_table, position_table, random_joint, sample, softmax
from seqloom.core.errors import UnsupportedQuery
from seqloom.core.rng import Rng
from seqloom.engine import Engine, Request
from seqloom.mixers.attention import Attention
from seqloom.mixers.recurrent import Gru
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.masked import Masked
from seqloom.samplers.ancestral import Ancestral
from seqloom.samplers.beam import Beam
from seqloom.samplers.contrastive import Contrastive
from seqloom.samplers.unmask import Unmask
from seqloom.samplers.without_replacement import WithoutReplacement
from seqloom.sequence.space import Field, Tokens, Vectors

SIZE, STEPS, ROWS = 3, 4, 8_000
JOINT = random_joint(SIZE, STEPS, seed=3)
NOTHING = torch.zeros(STEPS, dtype=torch.int64)


def autoregressive(ends=False):
    process, space = Autoregressive(), Tokens(size=SIZE - ends, ends=ends)
    net = TokenOracle(process.spec(space), SIZE, next_table(JOINT, SIZE))
    net.space = space
    return process, net


def penalised(p, seen, repetition=1.0, presence=0.0, frequency=0.0, no_repeat=0):
    """The law of what follows on the symbols `seen`, one symbol at a time."""
    weight = np.array(p, float)
    for symbol in range(len(p)):
        count = seen.count(symbol)
        weight[symbol] = p[symbol] ** (repetition if count else 1.0)
        weight[symbol] *= math.exp(-presence * (count > 0) - frequency * count)
        runs = {tuple(seen[i : i + no_repeat]) for i in range(len(seen) - no_repeat + 1)} if no_repeat else set()
        if no_repeat and (*seen[len(seen) - no_repeat + 1 :], symbol) in runs:
            weight[symbol] = 0.0
    return weight / weight.sum() if weight.any() else np.array(p)


def one_by_one(bend):
    """The law of strings when each symbol is drawn from `bend(probabilities, symbols before)`."""
    law, table = {}, next_table(JOINT, SIZE)
    for string in itertools.product(range(SIZE), repeat=STEPS):
        logits = table((SIZE, *string[:-1]))
        law[string] = float(np.prod([bend(softmax(logits[t]), list(string[:t]))[string[t]] for t in range(STEPS)]))
    return law


PENALTIES = [
    {"repetition": 1.8},
    {"presence": 0.7, "frequency": -0.3},
    {"repetition": 0.5, "frequency": 0.4, "no_repeat": 2},
    {"no_repeat": 1},
    {"no_repeat": 3},
]


@pytest.mark.parametrize("settings", PENALTIES, ids=str)
def test_penalties_follow_their_law(settings):
    process, net = autoregressive()
    drawn = sample(net, process, Ancestral(**settings), NOTHING, rows=ROWS)
    assert chi_square(drawn.numpy(), one_by_one(lambda p, seen: penalised(p, seen, **settings))) > 0.001


def test_penalties_of_one_row_do_not_touch_another():
    process, net = autoregressive()
    engine, done = Engine(net, process), {}
    asked = [Ancestral(), *(Ancestral(**settings) for settings in PENALTIES), Ancestral(mirostat=1.0)]
    shape = torch.zeros(3, STEPS, dtype=torch.bool)
    requests = [Request(NOTHING.repeat(3, 1), shape, shape, one, Rng.of(7, np.arange(3))) for one in asked]
    numbers = [engine.submit(request) for request in requests]
    while not engine.idle:
        done |= {(numbers.index(e.request), e.row): e.x for e in engine.tick() if e.done}
    for i, request in enumerate(requests):
        alone = {e.row: e.x for e in Engine(net, process, ahead=0).run(request) if e.done}
        assert all(torch.equal(done[i, row], x) for row, x in alone.items())


def test_penalties_of_what_is_made_in_any_order_are_those_of_what_stands_there():
    process = Masked()
    net = TokenOracle(process.spec(Tokens(size=SIZE)), SIZE, position_table(JOINT, SIZE))
    x, shown = torch.tensor([0, SIZE, 0, 2]), torch.tensor([True, False, True, True])
    settings = {"repetition": 1.5, "frequency": 0.6}
    p = penalised(softmax(position_table(JOINT, SIZE)(tuple(x.tolist()))[1]), [0, 0, 2], **settings)
    drawn = sample(net, process, Unmask(**settings), x, shown=shown, rows=ROWS).numpy()[:, 1:2]
    assert chi_square(drawn, {(symbol,): p[symbol] for symbol in range(SIZE)}) > 0.001
    with pytest.raises(UnsupportedQuery, match="any order"):
        sample(net, process, Unmask(no_repeat=2), x, shown=shown)


def test_mirostat_follows_its_law():
    target, rate = 0.6, 0.5

    def law_of(string):
        most, total, table = 2 * target, 1.0, next_table(JOINT, SIZE)
        for t, symbol in enumerate(string):
            p = softmax(table((SIZE, *string[:-1]))[t])
            surprise = -np.log2(p)
            left = np.where((surprise <= most) | (p == p.max()), p, 0.0)
            total *= (left / left.sum())[symbol]
            most -= rate * (surprise[symbol] - target)
        return float(total)

    process, net = autoregressive()
    law = {string: law_of(string) for string in itertools.product(range(SIZE), repeat=STEPS)}
    drawn = sample(net, process, Ancestral(mirostat=target, mirostat_rate=rate), NOTHING, rows=ROWS)
    assert chi_square(drawn.numpy(), law) > 0.001
    assert chi_square(drawn.numpy(), JOINT) < 1e-9


@pytest.mark.parametrize("target", [2.7, 3.2])
def test_mirostat_holds_the_mean_surprise(target):
    """Of symbols with geometric probabilities, whose own mean surprise is 3.6 bits."""
    p = 0.8 ** np.arange(40)
    logits = np.log(p / p.sum())
    process = Autoregressive()
    net = TokenOracle(process.spec(Tokens(size=40)), 40, lambda seen: np.tile(logits, (len(seen), 1)))
    x = torch.zeros(150, dtype=torch.int64)
    surprise = -np.log2(np.exp(logits))
    held, free = (
        surprise[sample(net, process, Ancestral(mirostat=setting), x, rows=8).numpy()[:, 30:]].mean()
        for setting in (target, 0.0)
    )
    assert free == pytest.approx(3.61, abs=0.2)
    assert held == pytest.approx(target, abs=0.1)


@pytest.mark.parametrize("settings", [{"mirostat": 3.0}, {"min_p": 0.1}, {"no_repeat": 2}], ids=str)
def test_what_is_about_symbols_is_refused_for_numbers(settings):
    process, space = Autoregressive(), Vectors(fields=(Field(name="a"),))
    gives = process.kind_of_guess(space)
    with pytest.raises(UnsupportedQuery, match=next(iter(settings))):
        Ancestral(**settings).check(gives, conditioned=False, networks=1)


# ---- searches -----------------------------------------------------------------------------------------------------


def groups_of(sampler, count, groups, ends=False, seed=0):
    """The samples of so many queries of `count` samples, in order: (groups, count) strings, and their scores."""
    process, net = autoregressive(ends)
    x, shown = NOTHING.repeat(count, 1), torch.zeros(count, STEPS, dtype=torch.bool)
    engine, done = Engine(net, process, capacity=4096), {}
    for group in range(groups):
        rows = Rng.of(seed, group * count + np.arange(count))
        engine.submit(Request(x, shown, torch.zeros_like(shown), sampler, rows))
    while not engine.idle:
        done |= {(e.request - 1, e.row): (tuple(e.x.tolist()), e.score) for e in engine.tick() if e.done}
    return [[done[group, i] for i in range(count)] for group in range(groups)]


@pytest.mark.parametrize(("width", "ends"), [(2, True), (5, False)])
def test_a_stochastic_beam_draws_without_replacement(ends, width):
    law = {}
    for string, p in JOINT.items():  # with an end symbol what follows on it does not exist
        whole = string[: string.index(SIZE - 1) + 1] if ends and SIZE - 1 in string else string
        law[whole] = law.get(whole, 0.0) + p
    pairs = {(a, b): p * q / (1 - p) for (a, p), (b, q) in itertools.permutations(law.items(), 2)}
    number = {string: i for i, string in enumerate(law)}
    drawn = groups_of(WithoutReplacement(width=width), 2, 1500, ends)
    for one, other in drawn:
        assert one[0] != other[0]
        assert one[1] == pytest.approx(math.log(law[one[0]]))
    numbers = np.array([[number[string] for string, _ in group] for group in drawn])
    assert chi_square(numbers, {(number[a], number[b]): p for (a, b), p in pairs.items()}) > 0.001


def test_drawing_as_many_as_there_are_gives_each_once():
    ((*drawn,),) = groups_of(WithoutReplacement(), SIZE**STEPS, 1)
    assert sorted(string for string, _ in drawn) == sorted(JOINT)


def diverse(width, teams, diversity):
    """Diverse beam search written out: the best of each team."""
    table = next_table(JOINT, SIZE)
    beams = [[((), 0.0)] for _ in range(teams)]
    for t in range(STEPS):
        taken = [0] * SIZE
        for team in range(teams):
            children = []
            for string, total in beams[team]:
                p = softmax(table((SIZE, *string, *[0] * (STEPS - 1 - t)))[t])
                children += [((*string, s), total + math.log(p[s]), diversity * taken[s]) for s in range(SIZE)]
            kept = sorted(children, key=lambda child: child[2] - child[1])[: width // teams]
            for string, _, _ in kept:
                taken[string[-1]] += 1
            beams[team] = [(string, total) for string, total, _ in kept]
    return [sorted(beam, key=lambda one: -one[1]) for beam in beams]


@pytest.mark.parametrize("diversity", [0.0, 0.8, 5.0])
def test_a_diverse_beam_is_the_one_written_out(diversity):
    beams = diverse(6, 3, diversity)
    ((*found,),) = groups_of(Beam(width=6, teams=3, diversity=diversity), 6, 1)
    for i, (string, score) in enumerate(found):
        expected, total = beams[i % 3][i // 3]
        assert string == expected
        assert score == pytest.approx(total)
    firsts = {string[0] for string, _ in found}
    assert (len(firsts) == SIZE) == (diversity > 0.5)


def test_more_teams_than_beginnings_are_refused():
    with pytest.raises(UnsupportedQuery, match="5 teams"):
        groups_of(Beam(width=4, teams=5), 1, 1)


# ---- contrastive search --------------------------------------------------------------------------------------------


def network(mixer):
    space, process = Tokens(size=5), Autoregressive()
    net = Network(Backbone(mixer=mixer, width=8, depth=1, mlp=1.0), process.spec(space), space, 32, {}, seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return process, net.double().eval()


def contrastive(net, prefix, steps, candidates, penalty):
    """The search written out: every candidate is read from the beginning, with all that stands before it."""
    made = list(prefix)
    while len(made) < steps:
        x = torch.tensor([[net.spec.start, *made]])
        law = net(x)[0][0, -1].softmax(-1)
        scores = []
        for symbol in law.topk(min(candidates, len(law))).indices.tolist():
            h = net.features(torch.tensor([[net.spec.start, *made, symbol]]))[0][0, 1:]
            h = h / h.norm(dim=-1, keepdim=True)
            similar = float((h[:-1] @ h[-1]).max()) if made else 0.0
            scores.append(((1 - penalty) * float(law[symbol]) - penalty * similar, symbol))
        made.append(max(scores, key=lambda score: score[0])[1])
    return made


@pytest.mark.parametrize("mixer", ["gru", "attention"])
def test_contrastive_search_is_the_one_written_out(mixer):
    process, net = network({"gru": Gru(), "attention": Attention(heads=2)}[mixer])
    asked = [([], 9, 4, 0.6), ([1, 3], 12, 3, 0.5), ([2, 0, 4], 10, 7, 0.9), ([4], 11, 1, 0.4), ([0, 0], 8, 5, 0.0)]
    engine, numbers, done = Engine(net, process, chunk=2), [], {}
    for prefix, steps, candidates, penalty in asked:
        x = torch.tensor([[*prefix, *[0] * (steps - len(prefix))]])
        shown = torch.arange(steps)[None] < len(prefix)
        sampler = Contrastive(candidates=candidates, penalty=penalty)
        request = Request(x, shown, torch.zeros_like(shown), sampler, Rng.of(0, np.arange(1)))
        numbers.append(engine.submit(request))
        assert not any(event.done for event in engine.tick())  # the others join while it goes on
    while not engine.idle:
        for event in engine.tick():
            if event.error:
                raise event.error
            if event.done:
                done[numbers.index(event.request)] = event.x.tolist()
    with torch.no_grad():
        expected = [contrastive(net, *one) for one in asked]
        greedy = [contrastive(net, prefix, steps, 1, 0.0) for prefix, steps, _, _ in asked]
    assert [done[i] for i in range(len(asked))] == expected
    assert expected[3:] == greedy[3:]
    assert expected[:3] != greedy[:3]
