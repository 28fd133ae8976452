"""Samplers that make several rows for one sample: beams against all sequences, ensembles, guidance by another model."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from oracles import TokenOracle, chi_square, next_law, next_table, position_table, random_joint, sample, unmask_law
from seqloom.core.errors import UnsupportedQuery
from seqloom.core.rng import Rng
from seqloom.engine import Engine, Request
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.masked import Masked
from seqloom.samplers.ancestral import Ancestral
from seqloom.samplers.beam import Beam
from seqloom.samplers.unmask import Unmask
from seqloom.samplers.views import Ensemble, Guided
from seqloom.sequence.batch import Condition
from seqloom.sequence.space import Tokens

SIZE, STEPS, ROWS = 3, 3, 8_000
ONE, OTHER = random_joint(SIZE, STEPS, seed=1), random_joint(SIZE, STEPS, seed=2)
GIVEN = {"flag": Condition(torch.ones(1, 1, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool))}


def autoregressive(law, given=None, ends=False):
    process = Autoregressive()
    other = None if given is None else next_table(given, SIZE)
    space = Tokens(size=SIZE - ends, ends=ends)
    net = TokenOracle(process.spec(space), SIZE, next_table(law, SIZE), other)
    net.space = space
    return process, net


def request(sampler, rows, x=None, known=0, seed=0, given=None, length=STEPS, **more):
    x = torch.zeros(length, dtype=torch.int64) if x is None else x
    x = x.expand(rows, -1).clone()
    shown = (torch.arange(x.shape[1]) < known).expand(rows, -1).clone()
    return Request(x, shown, torch.zeros_like(shown), sampler, Rng.of(seed, np.arange(rows)), given or {}, **more)


def finished(engine, *requests):
    """The last events of all requests, by request and row."""
    numbers = [engine.submit(one) for one in requests]
    done = {}
    while not engine.idle:
        for event in engine.tick():
            if event.done:
                done[numbers.index(event.request), event.row] = event
    return done


# ---- beams --------------------------------------------------------------------------------------------------------


def best_of(law, count, penalty, prefix=(), end=None):
    """All sequences by enumeration: those with the highest log-probability over length^penalty, and that number."""
    table = next_table(law, SIZE)
    ranked = []
    for length in range(1, STEPS - len(prefix) + 1):
        for string in itertools.product(range(SIZE), repeat=length):
            whole = length + len(prefix) == STEPS
            if end in string[:-1] or not (whole or string[-1] == end):
                continue
            everything = (*prefix, *string)
            logits = table((SIZE, *everything[:-1]))
            total = sum(
                logits[t][everything[t]] - np.log(np.exp(logits[t]).sum()) for t in range(len(prefix), len(everything))
            )
            ranked.append((total / length**penalty, everything, total))
    return sorted(ranked, reverse=True)[:count]


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("prefix", [(), (1,)])
def test_a_wide_beam_finds_the_best_of_all_sequences(penalty, ends, prefix):
    process, net = autoregressive(ONE, ends=ends)
    end = SIZE - 1 if ends else None
    best = best_of(ONE, 5, penalty, prefix, end)
    x = torch.tensor([*prefix] + [0] * (STEPS - len(prefix)))
    asked = request(Beam(width=SIZE ** (STEPS - 1), penalty=penalty), 5, x, len(prefix))
    done = finished(Engine(net, process), asked)
    assert len(done) == min(5, len(best))
    for i, (_, string, total) in enumerate(best):
        event = done[0, i]
        assert tuple(event.x.tolist()) == string
        assert event.score == pytest.approx(total, abs=1e-9)


def test_beams_of_many_widths_share_an_engine_and_equal_themselves_alone():
    process, net = autoregressive(ONE, given=OTHER, ends=True)
    asked = [
        request(Beam(width=width, penalty=penalty), rows, given=given)
        for width, penalty, rows, given in [(1, 0.0, 1, {}), (2, 1.0, 1, GIVEN), (3, 0.5, 2, {}), (9, 0.0, 3, GIVEN)]
    ]
    together = finished(Engine(net, process), *asked, request(Ancestral(), 3, seed=4))
    for i, one in enumerate(asked):
        alone = finished(Engine(net, process), one)
        for (_, row), event in alone.items():
            assert torch.equal(together[i, row].x, event.x)
            assert together[i, row].score == event.score
    wide = finished(Engine(net, process), request(Beam(width=9, penalty=0.0), 3, given=GIVEN))
    assert [tuple(wide[0, i].x.tolist()) for i in range(3)] == [s for _, s, _ in best_of(OTHER, 3, 0.0, end=SIZE - 1)]


def test_a_beam_of_one_is_greedy():
    process, net = autoregressive(ONE)
    greedy = finished(Engine(net, process), request(Ancestral(temperature=0), 1))
    assert torch.equal(finished(Engine(net, process), request(Beam(width=1), 1))[0, 0].x, greedy[0, 0].x)


def test_a_guided_beam_searches_the_mixed_law():
    process, net = autoregressive(ONE, given=OTHER)
    given, null = next_table(OTHER, SIZE), next_table(ONE, SIZE)
    law = next_law(lambda seen: null(seen) + 2.0 * (given(seen) - null(seen)), SIZE, STEPS)
    done = finished(Engine(net, process), request(Beam(width=9, guidance=2.0), 3, given=GIVEN))
    best = sorted(law, key=law.get, reverse=True)[:3]
    assert [tuple(done[0, i].x.tolist()) for i in range(3)] == best
    assert done[0, 0].score == pytest.approx(np.log(law[best[0]]))


def test_there_are_no_more_answers_than_sequences():
    process, net = autoregressive(ONE)
    done = finished(Engine(net, process), request(Beam(width=2), 5, torch.tensor([0, 1, 0]), 2))
    assert sorted(done) == [(0, 0), (0, 1), (0, 2)]


def test_stopping_a_beam_frees_it():
    process, net = autoregressive(ONE)
    engine = Engine(net, process)
    number = engine.submit(request(Beam(width=4), 2))
    engine.tick()
    engine.cancel(number)
    engine.tick()
    assert engine.idle
    assert not engine.open(number)


# ---- several networks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_an_ensemble_follows_the_mixed_law(mean):
    def mixed(*tables):
        def table(seen):
            laws = [np.exp(t) / np.exp(t).sum(-1, keepdims=True) for t in (np.maximum(u(seen), -1e9) for u in tables)]
            if mean == "arithmetic":
                return np.log(0.25 * laws[0] + 0.75 * laws[1] + 1e-300)
            return 0.25 * np.log(laws[0] + 1e-300) + 0.75 * np.log(laws[1] + 1e-300)

        return table

    sampler = Ensemble(weights=(1, 3), mean=mean)
    for build, table, law_of in ((autoregressive, next_table, next_law), (masked, position_table, None)):
        (process, net), (second, beside) = build(ONE), build(OTHER)
        hidden = torch.full((STEPS,), SIZE if net.spec.mask is not None else 0)
        engine = Engine(net, process, beside=[(beside, second)], capacity=2 * ROWS)
        done = finished(engine, request(sampler, ROWS, hidden))
        drawn = np.stack([done[0, i].x.numpy() for i in range(ROWS)])
        both = mixed(table(ONE, SIZE), table(OTHER, SIZE))
        law = law_of(both, SIZE, STEPS) if law_of else unmask_law(both, SIZE, [SIZE] * STEPS, None)
        assert chi_square(drawn, law) > 0.001
        assert beside.calls == STEPS


def masked(law):
    process = Masked()
    return process, TokenOracle(process.spec(Tokens(size=SIZE)), SIZE, position_table(law, SIZE))


def test_guidance_between_two_models_follows_the_mixed_law():
    (process, net), (second, beside) = autoregressive(ONE), autoregressive(OTHER)
    strong, weak = next_table(ONE, SIZE), next_table(OTHER, SIZE)
    law = next_law(lambda seen: weak(seen) + 1.5 * (strong(seen) - weak(seen)), SIZE, STEPS)
    engine = Engine(net, process, beside=[(beside, second)], capacity=2 * ROWS)
    done = finished(engine, request(Guided(guidance=1.5, network=1), ROWS))
    assert chi_square(np.stack([done[0, i].x.numpy() for i in range(ROWS)]), law) > 0.001


def test_rows_of_one_model_and_of_two_share_an_engine():
    (process, net), (second, beside) = autoregressive(ONE), autoregressive(OTHER)
    plain = request(Ancestral(), 6, torch.tensor([1, 0, 0]), 1, seed=1)
    asked = [
        plain,
        request(Ensemble(), 3, torch.tensor([2, 1, 0]), 2, seed=2),
        replace(plain, key=Rng.of(9, np.arange(6))),
    ]
    engine = Engine(net, process, beside=[(beside, second)])
    together = finished(engine, *asked)
    for i, one in enumerate(asked):
        for (_, row), event in finished(Engine(net, process, beside=[(beside, second)]), one).items():
            assert torch.equal(together[i, row].x, event.x)


def test_models_that_are_not_there_or_do_not_fit_are_refused():
    process, net = autoregressive(ONE)
    for sampler in (Ensemble(), Guided(guidance=2.0, network=1)):
        with pytest.raises(UnsupportedQuery, match="not there") as caught:
            Engine(net, process).submit(request(sampler, 1))
        assert "beside" in caught.value.hint
    with pytest.raises(UnsupportedQuery, match="one kind"):
        Engine(net, process, beside=[masked(ONE)[::-1]])


def test_guidance_of_unmasking_equals_the_law_of_the_mixture():
    tables = position_table(OTHER, SIZE), position_table(ONE, SIZE)
    process = Masked()
    net = TokenOracle(process.spec(Tokens(size=SIZE)), SIZE, tables[1], tables[0])
    drawn = sample(net, process, Unmask(guidance=1.0), torch.full((STEPS,), SIZE), given=GIVEN, rows=500)
    again = sample(
        net, process, Guided(inner=Unmask(), guidance=1.0), torch.full((STEPS,), SIZE), given=GIVEN, rows=500
    )
    assert torch.equal(drawn, again)
