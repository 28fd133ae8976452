"""Samplers on oracle networks against the enumerated law of their own scheme."""

import itertools

import numpy as np
import pytest
import torch

from oracles import (
    TokenOracle,
    chi_square,
    next_law,
    next_table,
    order_law,
    position_table,
    random_joint,
    random_positions,
    sample,
    softmax,
    unmask_law,
)
from seqloom.core.config import members_of
from seqloom.core.errors import UnsupportedQuery
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.masked import Masked
from seqloom.processes.schedules import Masking
from seqloom.samplers.ancestral import Ancestral
from seqloom.samplers.truncation import draw, tempered, truncate
from seqloom.samplers.unmask import Unmask
from seqloom.sequence.batch import Condition
from seqloom.sequence.space import Tokens

ROWS = 10_000
SIZE, STEPS = 3, 3
JOINT = random_joint(SIZE, STEPS, seed=1)
OTHER = random_joint(SIZE, STEPS, seed=2)
HIDDEN = torch.full((STEPS,), SIZE)
GIVEN = {"flag": Condition(torch.ones(1, 1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool))}


def plain(logits, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, typical=1.0, epsilon=0.0, eta=0.0):
    """One truncation after another, each of what is left, one symbol at a time: the probabilities that are left."""
    if temperature == 0:
        return np.eye(len(logits))[int(np.argmax(logits))]
    p = softmax(np.asarray(logits, float) / temperature)

    def keep(kept):
        left = np.zeros_like(p)
        left[kept] = p[kept]
        return left / left.sum()

    def first(order, share):
        """The first in an order that together have a share; the one that crosses it is kept."""
        mass = np.cumsum(p[order])
        return order[: int(np.searchsorted(mass, share)) + 1]

    p = keep(np.argsort(-p, kind="stable")[: top_k or None])
    p = keep(first(np.argsort(-p, kind="stable"), top_p)) if top_p < 1 else p
    p = keep(np.flatnonzero(p >= min_p * p.max()))
    surprise = -np.log(np.maximum(p, 1e-300))
    p = keep(first(np.argsort(np.abs(surprise - p @ surprise), kind="stable"), typical)) if typical < 1 else p
    p = keep(np.flatnonzero(p >= min(epsilon, p.max())))
    surprise = -np.log(np.maximum(p, 1e-300))
    return keep(np.flatnonzero(p >= min(eta, np.sqrt(eta) * np.exp(-p @ surprise), p.max())))


SETTINGS = [
    {"temperature": 1.0},
    {"temperature": 0.6},
    {"temperature": 1.7, "top_k": 2},
    {"top_p": 0.7},
    {"temperature": 0.8, "top_k": 2, "top_p": 0.75},
    {"min_p": 0.4},
    {"typical": 0.5, "temperature": 1.3},
    {"temperature": 0},
]


def bend(settings):
    return lambda logits: plain(logits, **settings)


def autoregressive(given=None):
    process = Autoregressive()
    other = None if given is None else next_table(given, SIZE)
    return process, TokenOracle(process.spec(Tokens(size=SIZE)), SIZE, next_table(JOINT, SIZE), other)


def masked(table, schedule="linear", given=None):
    process = Masked(schedule=schedule)
    return process, TokenOracle(process.spec(Tokens(size=SIZE)), SIZE, table, given)


# ---- the laws themselves ------------------------------------------------------------------------------------------


def test_the_enumerated_laws_agree_with_the_joint():
    assert next_law(next_table(JOINT, SIZE), SIZE, STEPS) == pytest.approx(JOINT)
    assert unmask_law(position_table(JOINT, SIZE), SIZE, [SIZE] * STEPS, None) == pytest.approx(JOINT)
    few = unmask_law(position_table(JOINT, SIZE), SIZE, [SIZE] * STEPS, [0.5, 0.5])
    assert sum(abs(few[s] - p) for s, p in JOINT.items()) > 0.05  # few steps are another law, and the tests can tell
    drawn = np.random.default_rng(0).choice(len(JOINT), ROWS, p=list(JOINT.values()))
    strings = np.array(list(JOINT))[drawn]
    assert chi_square(strings, JOINT) > 0.001
    assert chi_square(strings, few) < 1e-9


# ---- ancestral ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_ancestral_follows_its_law(settings):
    process, net = autoregressive()
    drawn = sample(net, process, Ancestral(**settings), torch.zeros(STEPS, dtype=torch.int64), rows=ROWS)
    assert chi_square(drawn.numpy(), next_law(next_table(JOINT, SIZE), SIZE, STEPS, bend=bend(settings))) > 0.001


def test_ancestral_goes_on_from_a_prefix():
    process, net = autoregressive()
    x = torch.tensor([2, 0, 0])
    drawn = sample(net, process, Ancestral(), x, shown=torch.tensor([True, False, False]), rows=ROWS)
    assert chi_square(drawn.numpy(), next_law(next_table(JOINT, SIZE), SIZE, STEPS, prefix=[2])) > 0.001


def test_ancestral_refuses_what_is_known_after_a_gap():
    process, net = autoregressive()
    shown = torch.tensor([False, True, False])
    with pytest.raises(UnsupportedQuery, match="after a gap") as error:
        sample(net, process, Ancestral(), torch.zeros(STEPS, dtype=torch.int64), shown=shown)
    assert "masked" in error.value.hint


# ---- unmask -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_first_hitting_follows_the_model(settings):
    process, net = masked(position_table(JOINT, SIZE))
    law = unmask_law(position_table(JOINT, SIZE), SIZE, [SIZE] * STEPS, None, bend(settings))
    assert chi_square(sample(net, process, Unmask(**settings), HIDDEN, rows=ROWS).numpy(), law) > 0.001


def test_first_hitting_averages_the_orders_of_a_network_that_is_no_law():
    table = random_positions(SIZE, seed=5)
    process, net = masked(table)
    law = unmask_law(table, SIZE, [SIZE] * STEPS, None)
    one = order_law(table, SIZE, [SIZE] * STEPS, [[0], [1], [2]])
    drawn = sample(net, process, Unmask(), HIDDEN, rows=ROWS).numpy()
    assert chi_square(drawn, law) > 0.001
    assert chi_square(drawn, one) < 1e-6  # one order alone is another law


def test_unmask_fills_a_gap_given_both_sides():
    process, net = masked(position_table(JOINT, SIZE))
    x, shown = torch.tensor([1, SIZE, 2]), torch.tensor([True, False, True])
    law = unmask_law(position_table(JOINT, SIZE), SIZE, x.tolist(), None)
    assert chi_square(sample(net, process, Unmask(), x, shown=shown, rows=ROWS).numpy(), law) > 0.001


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("schedule", sorted(members_of(Masking)))
def test_few_steps_follow_the_law_of_few_steps(schedule, steps):
    table = position_table(JOINT, SIZE)
    process, net = masked(table, schedule)
    alpha = process.schedule.alpha(torch.arange(steps + 1, dtype=torch.float64) / steps)
    shares = (alpha[:-1] - alpha[1:]).tolist()[::-1]  # from the last to appear at most noise, backwards in time
    law = unmask_law(table, SIZE, [SIZE] * STEPS, shares)
    assert chi_square(sample(net, process, Unmask(steps=steps), HIDDEN, rows=ROWS).numpy(), law) > 0.001


def test_unmask_makes_no_more_calls_than_steps_or_symbols():
    for sampler, most in [(Unmask(), STEPS), (Unmask(steps=2), 2), (Unmask(steps=100), STEPS)]:
        process, net = masked(position_table(JOINT, SIZE), "cosine")
        sample(net, process, sampler, HIDDEN)
        assert 1 <= net.calls <= most


# ---- guidance -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.0, 2.5])
def test_guidance_follows_the_mixed_law(weight):
    def mixed(given, null):
        return lambda seen: null(seen) + weight * (given(seen) - null(seen))

    process, net = autoregressive(given=OTHER)
    law = next_law(mixed(next_table(OTHER, SIZE), next_table(JOINT, SIZE)), SIZE, STEPS)
    x = torch.zeros(STEPS, dtype=torch.int64)
    drawn = sample(net, process, Ancestral(guidance=weight), x, given=GIVEN, rows=ROWS)
    assert chi_square(drawn.numpy(), law) > 0.001
    tables = position_table(OTHER, SIZE), position_table(JOINT, SIZE)
    process, net = masked(tables[1], given=tables[0])
    guided = mixed(*(bounded(table) for table in tables))
    law = unmask_law(guided, SIZE, [SIZE] * STEPS, None)
    drawn = sample(net, process, Unmask(guidance=weight), HIDDEN, given=GIVEN, rows=ROWS)
    assert chi_square(drawn.numpy(), law) > 0.001


def bounded(table):
    """A seen place's own symbol is certain: -inf elsewhere, which no weight may turn into nan."""
    return lambda seen: np.maximum(table(seen), -1e9)


def test_without_guidance_a_condition_is_followed_and_its_lack_too():
    process, net = autoregressive(given=OTHER)
    x = torch.zeros(STEPS, dtype=torch.int64)
    assert chi_square(sample(net, process, Ancestral(), x, given=GIVEN, rows=ROWS).numpy(), OTHER) > 0.001
    assert chi_square(sample(net, process, Ancestral(), x, rows=ROWS).numpy(), JOINT) > 0.001


# ---- truncation ---------------------------------------------------------------------------------------------------


def test_truncation_equals_the_reference():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(900, 12)) * rng.choice([0.3, 1.0, 4.0], size=(900, 1))
    choices = {
        "temperature": [0.5, 1.0, 1.5],
        "top_k": [0, 0, 1, 3, 12, 50],
        "top_p": [1.0, 1.0, 0.9, 0.5, 1e-6],
        "min_p": [0.0, 0.0, 0.1, 1.0],
        "typical": [1.0, 1.0, 0.9, 0.2],
        "epsilon": [0.0, 0.0, 0.05, 0.5],
        "eta": [0.0, 0.0, 0.05, 0.3],
    }
    own = {name: rng.choice(values, size=900) for name, values in choices.items()}
    left = truncate(tempered(torch.as_tensor(logits), own), own).softmax(-1).numpy()
    for row, p in enumerate(left):
        expected = plain(logits[row], **{name: values[row].item() for name, values in own.items()})
        np.testing.assert_allclose(p, expected, atol=1e-12)


def settings_of(rows, **settings):
    """The settings of so many rows."""
    sampler = Ancestral(**settings)
    return {name: np.full(rows, getattr(sampler, name)) for name in sampler.by_row}


def test_top_p_keeps_the_symbol_that_crosses():
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64)).repeat(4, 1)
    own = {**settings_of(4), "top_p": np.array([0.4, 0.6, 0.85, 1.0])}
    kept = truncate(logits, own) > -torch.inf
    assert kept.sum(1).tolist() == [1, 2, 3, 4]


def test_settings_of_one_row_do_not_touch_another():
    logits = torch.randn(64, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u = np.linspace(0.001, 0.999, 64)
    kinds = [dict(temperature=t, top_k=k, top_p=p) for t, k, p in itertools.product([0, 0.7, 1], [0, 2], [0.6, 1.0])]
    own = settings_of(64) | {name: np.array([kinds[i % len(kinds)][name] for i in range(64)]) for name in kinds[0]}
    together = draw(logits, u, own)
    for i in range(64):
        assert draw(logits[i : i + 1], u[i : i + 1], {n: v[i : i + 1] for n, v in own.items()})[0] == together[i]
        if own["temperature"][i] == 0:
            assert together[i] == logits[i].argmax()


def test_greedy_is_the_likeliest_whatever_the_seed():
    process, net = autoregressive()
    drawn = sample(net, process, Ancestral(temperature=0), torch.zeros(STEPS, dtype=torch.int64), rows=50)
    assert (drawn == drawn[0]).all()
    best = ()
    for t in range(STEPS):
        logits = next_table(JOINT, SIZE)((SIZE, *best) + (0,) * (STEPS - 1 - t))
        best = (*best, int(np.argmax(logits[t])))
    assert tuple(drawn[0].tolist()) == best
