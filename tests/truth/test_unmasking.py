"""Samplers of masked models against the laws of their schemes, worked out by enumeration, and how far these are off."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch

from oracles import (
    TokenOracle,
    chi_square,
    order_law,
    position_table,
    random_joint,
    random_positions,
    sample,
    softmax,
    unmask_law,
)
from seqloom.processes.masked import Masked
from seqloom.samplers.confident import Confident
from seqloom.samplers.gibbs import Gibbs
from seqloom.samplers.remask import Remask
from seqloom.samplers.unmask import Unmask
from seqloom.sequence.space import Tokens

SIZE, STEPS, ROWS = 3, 4, 6_000
JOINT = random_joint(SIZE, STEPS, seed=4)
TRUE = functools.cache(position_table(JOINT, SIZE))
ODD = functools.cache(random_positions(SIZE, seed=11))
HIDDEN = (SIZE,) * STEPS


def drawn(sampler, table, x=HIDDEN):
    process = Masked()
    net = TokenOracle(process.spec(Tokens(size=SIZE)), SIZE, table)
    x = torch.tensor(x)
    return sample(net, process, sampler, x, shown=x != SIZE, rows=ROWS).numpy()


def independent(table, canvas, positions):
    """Canvases on which these positions are drawn independently, and their probabilities."""
    laws = [softmax(table(canvas)[i]) for i in positions]
    for symbols in itertools.product(range(SIZE), repeat=len(positions)):
        after = list(canvas)
        for position, symbol in zip(positions, symbols, strict=True):
            after[position] = symbol
        yield tuple(after), float(np.prod([law[symbol] for law, symbol in zip(laws, symbols, strict=True)]))


def spread(law, step):
    """The law after a step from each canvas to others."""
    after = {}
    for canvas, p in law.items():
        for following, q in step(canvas):
            after[following] = after.get(following, 0.0) + p * q
    return after


def distance(law):
    """The total variation distance to the truth."""
    return 0.5 * sum(abs(law.get(string, 0.0) - p) for string, p in JOINT.items())


def divergence(law):
    return sum(p * math.log(p / law[string]) for string, p in JOINT.items())


# ---- the surest first ---------------------------------------------------------------------------------------------


def confident_law(table, by="probability", steps=0, entropy=0.0):
    def entropies(p):
        return float(-(p * np.log(np.maximum(p, 1e-300))).sum())

    def sure(p):
        best = np.sort(p)[::-1]
        return {"probability": best[0], "margin": best[0] - best[1], "entropy": -entropies(p)}[by]

    law = {HIDDEN: 1.0}
    for call in range(STEPS):

        def step(canvas, call=call):
            hidden = [i for i, v in enumerate(canvas) if v == SIZE]
            if not hidden:
                return [(canvas, 1.0)]
            laws = {i: softmax(table(canvas)[i]) for i in hidden}
            order = sorted(hidden, key=lambda i: -sure(laws[i]))
            count = math.ceil(len(hidden) / (steps - call)) if steps > call else 1
            if entropy:
                own = [entropies(laws[i]) for i in order]
                fitting = [n for n in range(1, len(own) + 1) if sum(own[:n]) - max(own[:n]) <= entropy]
                count = max(fitting)
            return independent(table, canvas, sorted(order[:count]))

        law = spread(law, step)
    return law


CONFIDENT = [{}, {"by": "margin", "steps": 2}, {"by": "entropy", "steps": 3}, {"by": "entropy", "entropy": 0.8}]


@pytest.mark.parametrize("table", [TRUE, ODD], ids=["true", "odd"])
@pytest.mark.parametrize("settings", CONFIDENT, ids=str)
def test_the_surest_first_follows_its_law(settings, table):
    assert chi_square(drawn(Confident(**settings), table), confident_law(table, **settings)) > 0.001


def test_one_by_one_in_any_order_that_looks_at_what_stands_there_is_the_truth():
    for by in ("probability", "margin", "entropy"):
        assert distance(confident_law(TRUE, by)) < 1e-9
    assert distance(confident_law(TRUE, steps=2)) > 0.02


@pytest.mark.parametrize("bound", [0.05, 0.5, 1.0, 3.0])
def test_an_entropy_bound_bounds_the_divergence(bound):
    """Each call is off by at most the bound, and there are at most as many as symbols."""
    law = confident_law(TRUE, "entropy", entropy=bound)
    assert divergence(law) <= bound * STEPS
    net_calls = []
    for settings in ({"entropy": bound, "by": "entropy"}, {}):
        process = Masked()
        net = TokenOracle(process.spec(Tokens(size=SIZE)), SIZE, TRUE)
        sample(net, process, Confident(**settings), torch.tensor(HIDDEN), rows=1)
        net_calls.append(net.calls)
    assert net_calls[0] <= net_calls[1] == STEPS
    assert net_calls[0] < STEPS or bound < 3


# ---- hidden again -------------------------------------------------------------------------------------------------


def remask_law(table, steps, again, until=None):
    law = {HIDDEN: 1.0}
    for k in range(until or steps):
        now, then = k / steps, (k + 1) / steps  # of the linear schedule: what is left
        back = min(again, (1 - then) / now) if now else again
        reveal = (then - (1 - back) * now) / (1 - now)

        def step(canvas, reveal=reveal, back=back):
            moves = itertools.product((False, True), repeat=STEPS)
            for moved in moves:
                weight = math.prod(
                    (reveal if v == SIZE else back) if m else 1 - (reveal if v == SIZE else back)
                    for v, m in zip(canvas, moved, strict=True)
                )
                if weight < 1e-15:
                    continue
                drawn_now = [i for i in range(STEPS) if moved[i] and canvas[i] == SIZE]
                for after, q in independent(table, canvas, drawn_now):
                    hidden = [SIZE if moved[i] and canvas[i] != SIZE else after[i] for i in range(STEPS)]
                    yield tuple(hidden), weight * q

        law = spread(law, step)
    return law


@pytest.mark.parametrize("table", [TRUE, ODD], ids=["true", "odd"])
@pytest.mark.parametrize(("steps", "again"), [(4, 0.3), (5, 1.0)])
def test_hiding_again_follows_its_law(table, steps, again):
    assert chi_square(drawn(Remask(steps=steps, again=again), table), remask_law(table, steps, again)) > 0.001


def test_hiding_nothing_again_is_unmasking_and_hiding_some_keeps_how_many_are_hidden():
    few = unmask_law(TRUE, SIZE, HIDDEN, [0.25] * 4)
    assert remask_law(TRUE, 4, 0.0) == pytest.approx(few)
    hidden = {}
    for canvas, p in remask_law(TRUE, 8, 0.3, until=5).items():
        hidden[canvas.count(SIZE)] = hidden.get(canvas.count(SIZE), 0.0) + p
    left = 3 / 8
    for count, p in hidden.items():
        assert p == pytest.approx(math.comb(STEPS, count) * left**count * (1 - left) ** (STEPS - count))


# ---- mended -------------------------------------------------------------------------------------------------------


def gibbs_law(table, steps, sweeps, at_once=1, x=HIDDEN):
    free = [i for i, v in enumerate(x) if v == SIZE]
    law = unmask_law(table, SIZE, x, [1 / steps] * steps if steps else None)
    orders = list(itertools.permutations(free))
    for _ in range(sweeps):
        after = {}
        for order in orders:
            one = law
            for first in range(0, len(free), at_once):
                chosen = sorted(order[first : first + at_once])

                def step(canvas, chosen=chosen):
                    hidden = tuple(SIZE if i in chosen else v for i, v in enumerate(canvas))
                    return independent(table, hidden, chosen)

                one = spread(one, step)
            for canvas, p in one.items():
                after[canvas] = after.get(canvas, 0.0) + p / len(orders)
        law = after
    return law


@pytest.mark.parametrize("table", [TRUE, ODD], ids=["true", "odd"])
@pytest.mark.parametrize(("steps", "sweeps", "at_once"), [(1, 1, 1), (2, 2, 3), (0, 1, 2)])
def test_mending_follows_its_law(table, steps, sweeps, at_once):
    made = drawn(Gibbs(steps=steps, sweeps=sweeps, at_once=at_once), table)
    assert chi_square(made, gibbs_law(table, steps, sweeps, at_once)) > 0.001


def test_what_is_given_is_never_drawn_again():
    x = (1, SIZE, SIZE, 2)
    law = gibbs_law(TRUE, 1, 1, x=x)
    assert chi_square(drawn(Gibbs(steps=1, sweeps=1), TRUE, x), law) > 0.001
    for sampler in (Remask(steps=6, again=0.5), Confident(steps=1)):
        made = drawn(sampler, TRUE, x)
        assert (made[:, [0, 3]] == [1, 2]).all()


def test_every_sweep_brings_the_law_nearer():
    off = [distance(gibbs_law(TRUE, 1, sweeps)) for sweeps in range(4)]
    assert off == sorted(off, reverse=True)
    assert off[3] < 0.1 * off[0]


# ---- blocks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sampler", [Unmask(block=2), Confident(block=2, by="margin"), Gibbs(block=2, steps=0, sweeps=0)], ids=str
)
def test_blocks_are_filled_from_the_left(sampler):
    orders = [[*one, *other] for one in ([0, 1], [1, 0]) for other in ([2, 3], [3, 2])]
    if isinstance(sampler, Confident):

        def law_of(canvas, blocks):
            if not blocks:
                return {canvas: 1.0}
            hidden = [i for i in blocks[0] if canvas[i] == SIZE]
            if not hidden:
                return law_of(canvas, blocks[1:])
            probs = {i: np.sort(softmax(ODD(canvas)[i]))[::-1] for i in hidden}
            surest = max(hidden, key=lambda i: probs[i][0] - probs[i][1])
            law = {}
            for after, p in independent(ODD, canvas, [surest]):
                for string, q in law_of(after, blocks).items():
                    law[string] = law.get(string, 0.0) + p * q
            return law

        law = law_of(HIDDEN, [[0, 1], [2, 3]])
    else:
        law = {}
        for order in orders:
            for string, p in order_law(ODD, SIZE, HIDDEN, [[i] for i in order]).items():
                law[string] = law.get(string, 0.0) + p / len(orders)
    assert chi_square(drawn(sampler, ODD), law) > 0.001


@pytest.mark.parametrize("by", ["probability", "margin", "entropy"])
def test_errors_are_those_that_the_docs_state(by):
    assert distance(unmask_law(TRUE, SIZE, HIDDEN, [1.0])) == pytest.approx(0.339, abs=5e-4)
    assert distance(unmask_law(TRUE, SIZE, HIDDEN, [0.5] * 2)) == pytest.approx(0.204, abs=5e-4)
    for settings, off in [
        ({"steps": 2}, 0.225),
        ({"steps": 3}, 0.091),
        ({"entropy": 0.5}, 0),
        ({"entropy": 1.0}, 0.144),
        ({"entropy": 1.5}, 0.225),
    ]:
        assert distance(confident_law(TRUE, by, **settings)) == pytest.approx(off, abs=5e-4), settings


def test_a_block_in_one_call_is_off_as_the_docs_state():
    law = {HIDDEN: 1.0}
    for block in ([0, 1], [2, 3]):
        law = spread(law, lambda canvas, block=block: independent(TRUE, canvas, block))
    assert distance(law) == pytest.approx(0.248, abs=5e-4)
    assert chi_square(drawn(Unmask(block=2, steps=1), TRUE), law) > 0.001
