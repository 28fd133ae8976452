"""Requests that share an engine: what is wrong with one is its own, and what it is told is meant for it."""

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
import pytest
import torch

from seqloom.core.errors import UnsupportedQuery
from seqloom.core.rng import Rng
from seqloom.engine import Engine, Request
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.gaussian import Gaussian
from seqloom.processes.masked import Masked
from seqloom.samplers.ancestral import Ancestral, first_open
from seqloom.samplers.base import Sampler
from seqloom.samplers.diffuse import Diffuse
from seqloom.samplers.truncation import TokenSampler, draw
from seqloom.samplers.unmask import Unmask
from seqloom.sequence.constraint import OneOf, OnlySymbols
from seqloom.sequence.guess import Ask, Gives, Guess
from seqloom.sequence.space import Field, Tokens, Vectors

SYMBOLS = Tokens(size=4)
NUMBERS = Vectors(fields=(Field(name="a"), Field(name="b")))


def network(process, space, mixer="lstm", dtype=torch.float64):
    net = Network(
        Backbone(width=16, depth=1, mixer=mixer, mlp=1.0), process.spec(space), space, 16, {}, 1, process.module(space)
    )
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return net.eval().to(dtype)


def request(net, sampler, rows=2, length=10, known=0, seed=0, **more):
    if net.space.symbolic:
        x = torch.from_numpy(np.random.default_rng(5).integers(0, net.space.size, (1, length))).repeat(rows, 1)
    else:
        x = torch.zeros(rows, length, net.space.dim, dtype=torch.float64)
    shown = torch.zeros_like(x, dtype=torch.bool)
    shown[:, :known] = True
    if net.spec.mask is not None:
        x = torch.where(shown, x, net.spec.mask)
    return Request(x, shown, torch.zeros_like(shown), sampler, Rng.of(seed, np.arange(rows)), **more)


def drive(engine, *requests):
    """Last events of each request's rows, and the errors, by the request's place."""
    numbers = [engine.submit(one) for one in requests]
    done, errors = {}, {}
    while not engine.idle:
        for event in engine.tick():
            if event.error is not None:
                errors[numbers.index(event.request)] = event.error
            elif event.done:
                done[numbers.index(event.request), event.row] = event
    return done, errors


def known_here_only(*classes):
    for cls in classes:
        del Sampler.members[cls.name]


# ---- lanes --------------------------------------------------------------------------------------------------------


class Always(Sampler, name="always"):
    """One symbol, named by a word; twice where it is said."""

    takes: ClassVar[tuple[Gives, ...]] = (Gives.NEXT_LOGITS,)
    which: Literal["first", "second"] = "first"
    text: str = ""
    last: bool = False

    def start(self, process, rows):
        return replace(rows, own={"at": first_open(rows)})

    def ask(self, rows):
        return Ask(x=rows.x, want=np.where(rows.done, -1, rows.own["at"])[:, None], fixed=rows.own["at"].copy())

    def tell(self, rows, ask, guess):
        live = np.nonzero(guess.ready & ~rows.done)[0]
        at = rows.own["at"]
        rows.x[live, at[live]] = int(self.which == "second") + len(self.text) + 3 * self.last
        rows.settled[live, at[live]] = True
        at[live] += 1
        rows.done[live] |= at[live] >= rows.length[live]
        return rows


class Faulty(Always, name="faulty"):
    """Cannot go on after some steps, in what it is asked or told."""

    where: Literal["start", "ask", "tell"] = "ask"
    by_row: ClassVar[tuple[str, ...]] = ("limit",)
    limit: int = 1000

    def start(self, process, rows):
        if self.where == "start":
            raise UnsupportedQuery("it cannot start")
        rows = super().start(process, rows)
        return replace(rows, own={**rows.own, **self.settings(rows)})

    def ask(self, rows):
        if self.where == "ask" and (rows.own["at"] > rows.own["limit"]).any():
            raise ZeroDivisionError("it cannot ask")
        return super().ask(rows)

    def tell(self, rows, ask, guess):
        if self.where == "tell" and (rows.own["at"] > rows.own["limit"]).any():
            raise ZeroDivisionError("it cannot be told")
        return super().tell(rows, ask, guess)


known_here_only(Always, Faulty)


def test_settings_that_are_no_values_of_rows_stay_with_their_request():
    process = Autoregressive()
    net = network(process, SYMBOLS)
    asked = [
        Always(),
        Always(which="second"),
        Always(text="ab"),
        Always(last=True),
        Ancestral(temperature=0.5),
        Ancestral(),
    ]
    engine = Engine(net, process)
    done, _ = drive(engine, *(request(net, sampler, seed=i) for i, sampler in enumerate(asked)))
    assert [int(done[i, 0].x[0]) for i in range(4)] == [0, 1, 2, 3]
    assert engine.calls == 10  # they share every call all the same
    for i in (4, 5):
        alone, _ = drive(Engine(net, process), request(net, asked[i], seed=i))
        assert torch.equal(done[i, 1].x, alone[0, 1].x)


# ---- errors -------------------------------------------------------------------------------------------------------


def test_what_cannot_start_is_refused_when_it_is_submitted():
    process = Autoregressive()
    net = network(process, SYMBOLS)
    engine = Engine(net, process)
    with pytest.raises(UnsupportedQuery, match="cannot start"):
        engine.submit(request(net, Faulty(where="start")))
    assert engine.idle


@pytest.mark.parametrize("where", ["ask", "tell"])
@pytest.mark.parametrize("known", [0, 6])
def test_an_error_belongs_to_its_own_request(where, known):
    process = Autoregressive()
    net = network(process, SYMBOLS)
    good = request(net, Ancestral(), rows=3, known=known, seed=1)
    others = [good, request(net, Faulty(limit=8, where=where)), request(net, Always(), seed=2)]
    if where == "ask":
        others.append(request(net, Faulty(where=where)))  # of the same lane, and well
    engine = Engine(net, process)
    done, errors = drive(engine, *others)
    assert list(errors) == [1]
    assert isinstance(errors[1], ZeroDivisionError)
    assert not any(i == 1 for i, _ in done)
    for i in set(range(len(others))) - {1}:
        alone, _ = drive(Engine(net, process), others[i])
        for (_, row), event in alone.items():
            assert torch.equal(done[i, row].x, event.x)
    assert engine.live == 0
    with pytest.raises(ZeroDivisionError):
        list(Engine(net, process).run(others[1]))


def test_an_error_in_a_prompt_belongs_to_its_own_request(monkeypatch):
    process = Autoregressive()
    net = network(process, SYMBOLS)
    guess = Autoregressive.guess

    def breaks(self, net, ask, state, limit=None):
        if limit is not None and (ask.want == 7).any():
            raise RuntimeError("this prompt cannot be read")
        return guess(self, net, ask, state, limit)

    monkeypatch.setattr(Autoregressive, "guess", breaks)
    done, errors = drive(Engine(net, process), request(net, Ancestral(), known=5), request(net, Ancestral(), known=8))
    assert list(errors) == [1]
    assert sorted(done) == [(0, 0), (0, 1)]


def test_prompts_of_one_length_are_read_together_and_one_that_fails_leaves_the_others(monkeypatch):
    process = Autoregressive()
    net = network(process, SYMBOLS)
    wrong = request(net, Ancestral(), known=8)
    others = [replace(wrong, x=wrong.x.roll(i + 1, 1), key=Rng.of(i, np.arange(2))) for i in range(2)]
    alone = [drive(Engine(net, process), one)[0][0, 1].x for one in others]
    together, (first, one, two) = [], (Engine(net, process), *others)
    done, _ = drive(first, one, two)
    together += [done[0, 1].x, done[1, 1].x]
    assert first.calls == 1 + 2, "one call reads, two draw"
    guess = Autoregressive.guess

    def breaks(self, net, ask, state, limit=None):
        if limit is not None and (ask.x == wrong.x[:1]).all(1).any():
            raise RuntimeError("this prompt cannot be read")
        return guess(self, net, ask, state, limit)

    monkeypatch.setattr(Autoregressive, "guess", breaks)
    done, errors = drive(Engine(net, process), one, wrong, two)
    assert list(errors) == [1]
    for made in (together, [done[0, 1].x, done[2, 1].x]):
        assert all(map(torch.equal, made, alone))


# ---- going back ---------------------------------------------------------------------------------------------------


class Speculative(TokenSampler, name="speculative"):
    """Drafts the next symbols by guesswork and keeps those that ancestral sampling would have drawn."""

    takes: ClassVar[tuple[Gives, ...]] = (Gives.NEXT_LOGITS,)
    drafts: int = 3

    @property
    def undo(self):
        return self.drafts

    def start(self, process, rows):
        return replace(rows, own={"at": first_open(rows), **self.settings(rows)})

    def ask(self, rows):
        at = rows.own["at"]
        x = rows.x.clone()
        for row, begin in enumerate(at):
            x[row, begin:] = torch.as_tensor((np.arange(begin, x.shape[1]) * 7 + row) % 4)
        want = at[:, None] + np.arange(self.drafts + 1)
        return Ask(x=x, want=np.where((want < rows.length[:, None]) & ~rows.done[:, None], want, -1), fixed=at.copy())

    def tell(self, rows, ask, guess):
        for row in np.nonzero(guess.ready & ~rows.done)[0]:
            for k, at in enumerate(ask.want[row][ask.want[row] >= 0]):
                key = rows.key.select(np.array([row])).at("pick", int(at))
                own = {n: v[row : row + 1] for n, v in rows.own.items()}
                chosen = int(draw(guess.value[row : row + 1, k], key.uniform(1)[:, 0], own)[0])
                rows.x[row, at], rows.settled[row, at] = chosen, True
                rows.own["at"][row] += 1
                if chosen != int(ask.x[row, at]):
                    break
            rows.done[row] |= rows.own["at"][row] >= rows.length[row]
        return rows


known_here_only(Speculative)


@pytest.mark.parametrize("mixer", ["lstm", "gru", "attention"])
def test_a_sampler_that_takes_elements_back_equals_the_plain_one(mixer):
    process = Autoregressive()
    net = network(process, SYMBOLS, mixer)
    for known in (0, 4):
        plain, _ = drive(Engine(net, process), request(net, Ancestral(), rows=5, length=14, known=known, seed=3))
        engine = Engine(net, process)
        mixed, errors = drive(
            engine,
            request(net, Ancestral(), rows=2, length=9, seed=8),
            request(net, Speculative(), rows=5, length=14, known=known, seed=3),
        )
        assert not errors
        for row in range(5):
            assert torch.equal(mixed[1, row].x, plain[0, row].x)
        assert engine.calls < 14 + (known > 0)


# ---- ends, constraints --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [Autoregressive(), Gaussian()])
def test_rows_of_numbers_end_where_the_flag_is_set(process):
    space = replace_ends(NUMBERS)
    net = network(process, space)
    sampler = Ancestral() if process.name == "autoregressive" else Diffuse(steps=4)
    done, _ = drive(Engine(net, process), request(net, sampler, rows=30, length=12))
    lengths = [event.length for event in done.values()]
    assert min(lengths) < 12
    for event in done.values():
        flags = event.x[:, space.end] > 0.5
        assert not flags[:-1].any()
        assert flags[-1] or event.length == 12
        assert event.settled.all()


def replace_ends(space):
    return space.replace(ends=True)


def test_what_is_made_is_one_of_a_list():
    process = Autoregressive()
    space = Tokens(size=4, ends=True)
    net = network(process, space)
    allowed = [(0, 1, 2), (0, 3), (2, 2)]
    constraint = OneOf(allowed, begin=3, end=4)
    done, _ = drive(
        Engine(net, process),
        request(net, Ancestral(), rows=40, known=3, constraint=constraint),
        request(net, Ancestral(), rows=10, seed=1),
    )
    made = {tuple(event.x[3:].tolist()) for (i, _), event in done.items() if i == 0}
    assert made == {(*one, 4) for one in allowed}
    assert len({tuple(event.x.tolist()) for (i, _), event in done.items() if i == 1}) > 3
    hidden = network(Masked(), SYMBOLS)
    with pytest.raises(UnsupportedQuery, match="left to right"):
        Engine(hidden, Masked()).submit(request(hidden, Unmask(), constraint=constraint))
    done, _ = drive(Engine(hidden, Masked()), request(hidden, Unmask(), rows=20, constraint=OnlySymbols((1, 3))))
    assert {int(v) for event in done.values() for v in event.x} == {1, 3}


# ---- gradients ----------------------------------------------------------------------------------------------------


class Energy(Gaussian, name="energy-toy"):
    """The energy |x - 3|^2 / 2 of each row, and its gradient by differentiation."""

    needs_gradient: ClassVar[bool] = True

    def guess(self, net, ask, state, limit=None):
        with torch.enable_grad():
            x = ask.x.detach().requires_grad_()
            energy = ((x - 3) ** 2).flatten(1).sum(1) / 2
            (gradient,) = torch.autograd.grad(energy.sum(), x)
        parts = {"energy": energy.detach(), "gradient": gradient}
        return Guess(x.detach(), np.ones(len(x), bool), parts=parts), state


class Langevin(Sampler, name="langevin-toy"):
    """Unadjusted Langevin steps down the energy."""

    takes: ClassVar[tuple[Gives, ...]] = (Gives.CLEAN,)
    steps: int = 60

    def start(self, process, rows):
        return replace(rows, own={"step": np.zeros(len(rows), np.int64)})

    def ask(self, rows):
        level = torch.zeros(len(rows), 1).to(rows.x)
        return Ask(x=rows.x, want=np.where(rows.done, -1, 0)[:, None], fixed=np.zeros(len(rows), np.int64), level=level)

    def tell(self, rows, ask, guess):
        live = np.nonzero(guess.ready & ~rows.done)[0]
        noise = rows.key.at("step", rows.own["step"]).normal(tuple(rows.x.shape[1:])).to(rows.x)
        rows.x[live] = (rows.x - 0.1 * guess.parts["gradient"] + 0.2**0.5 * noise)[live]
        rows.own["step"][live] += 1
        rows.done[live] |= rows.own["step"][live] >= self.steps
        rows.settled[rows.done] = True
        return rows


class Observed(Sampler, name="observed-toy"):
    """The clean guess, moved down the gradient of its distance from 1 with respect to what was asked with."""

    takes: ClassVar[tuple[Gives, ...]] = (Gives.CLEAN,)

    @property
    def needs_gradient(self):
        return True

    def start(self, process, rows):
        return rows

    def ask(self, rows):
        level = torch.zeros(len(rows), 1).to(rows.x)
        x = rows.x.clone().requires_grad_()
        return Ask(x=x, want=np.where(rows.done, -1, 0)[:, None], fixed=np.zeros(len(rows), np.int64), level=level)

    def tell(self, rows, ask, guess):
        distance = ((guess.value - 1) ** 2).sum()
        (gradient,) = torch.autograd.grad(distance, ask.x)
        rows.x[:] = gradient
        rows.settled[:] = True
        rows.done[:] = True
        return rows


known_here_only(Langevin, Observed)
del type(Gaussian()).members["energy-toy"]


def test_an_energy_is_sampled_by_its_gradient():
    process = Energy()
    net = network(process, NUMBERS)
    done, errors = drive(Engine(net, process, capacity=400), request(net, Langevin(), rows=400, length=3))
    assert not errors
    drawn = torch.stack([done[0, row].x for row in range(400)]).numpy()
    variance = 1 / (1 - 0.1 / 2)  # of the chain with this step
    assert abs(drawn.mean() - 3) < 4.5 * (variance / drawn.size) ** 0.5
    assert abs(drawn.var() - variance) < 4.5 * variance * (2 / drawn.size) ** 0.5


def test_a_sampler_may_differentiate_the_network_and_others_go_on():
    process = Gaussian()
    net = network(process, NUMBERS)
    plain = request(net, Diffuse(steps=3), seed=1)
    engine = Engine(net, process)
    done, errors = drive(engine, plain, request(net, Observed(), length=4, seed=2), plain)
    assert not errors
    assert torch.equal(done[0, 0].x, done[2, 0].x)
    x = torch.zeros(2, 4, 2, dtype=torch.float64, requires_grad=True)
    ask = Ask(x, np.zeros((2, 1), np.int64), np.zeros(2, np.int64), torch.zeros(2, 1, dtype=torch.float64))
    none = torch.zeros(2, 4, 2, dtype=torch.bool)
    guess, _ = process.guess(net, replace(ask, shown=none, absent=none), None)
    (gradient,) = torch.autograd.grad(((guess.value - 1) ** 2).sum(), x)
    torch.testing.assert_close(done[1, 0].x, gradient[0])
    assert gradient.abs().max() > 0


# ---- levels -------------------------------------------------------------------------------------------------------


class ByPosition(Gaussian, name="by-position-toy"):
    """Diffusion with a level for each position, which says what it was asked with."""

    asked: ClassVar[list] = []

    def guess(self, net, ask, state, limit=None):
        self.asked.append(ask.level)
        return super().guess(net, ask, state, limit)


del type(Gaussian()).members["by-position-toy"]


def test_positions_that_are_shown_have_a_level_of_their_own():
    process = ByPosition(levels="position")
    net = network(process, NUMBERS)
    drive(
        Engine(net, process),
        request(net, Diffuse(steps=3), length=6, known=2),
        request(net, Diffuse(steps=4), length=4),
    )
    least = process.schedule.span()[0]
    for level in process.asked[:3]:
        assert level.shape == (4, 6)
        assert (level[:2, :2] == least).all()
        assert (level[:2, 2:] == level[:2, 2:3]).all()
        assert (level[:2, 2] > least).all()
