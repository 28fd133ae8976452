"""Rows among those of others equal the rows alone, whatever the mixer, the process, the space and the traffic."""

import copy
import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from pairings import marks
from seqloom.core.config import members_of
from seqloom.core.errors import UnsupportedQuery, UnsupportedSpace
from seqloom.core.rng import Rng, pick, to_uniform
from seqloom.engine import Engine, Request
from seqloom.mixers.attention import Attention
from seqloom.mixers.base import Mixer
from seqloom.mixers.positions import Learned
from seqloom.mixers.recurrent import Gru
from seqloom.network.backbone import Backbone
from seqloom.network.given import ConditionSpec
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.base import Process, channels
from seqloom.processes.embedding import Embedding
from seqloom.processes.gaussian import Gaussian
from seqloom.processes.masked import Masked
from seqloom.samplers.ancestral import Ancestral
from seqloom.samplers.base import Sampler
from seqloom.samplers.confident import Confident
from seqloom.samplers.contrastive import Contrastive
from seqloom.samplers.denoise import Denoise
from seqloom.samplers.diffuse import Diffuse
from seqloom.samplers.gibbs import Gibbs
from seqloom.samplers.observed import Observed
from seqloom.samplers.remask import Remask
from seqloom.samplers.truncation import TokenSampler
from seqloom.samplers.unmask import Unmask
from seqloom.samplers.views import Views
from seqloom.sequence.batch import Batch, Condition
from seqloom.sequence.guess import Ask, Gives
from seqloom.sequence.space import Field, Tokens, Vectors
from seqloom.sequence.stop import SymbolStop

WINDOW = 16
TOKENS = Tokens(size=4)
VECTORS = Vectors(fields=(Field(name="a"), Field(name="b")))
PORTS = {"label": ConditionSpec(Tokens(size=3), "add"), "source": ConditionSpec(Tokens(size=5), "attend")}
MIXERS = {name: cls() for name, cls in members_of(Mixer).items()}
MIXERS["attention"] = Attention(heads=2)
MIXERS["hybrid"] = [Gru(), Attention(heads=2, positions=Learned(size=WINDOW))]
PROCESSES = {name: cls() for name, cls in members_of(Process).items()}
SPACES = {"tokens": TOKENS, "vectors": VECTORS}


def fits(process, space):
    try:
        process.spec(space)
    except UnsupportedSpace:
        return False
    return True


KINDS = [(p, s) for p, s in itertools.product(PROCESSES, SPACES) if fits(PROCESSES[p], SPACES[s])]
TRIPLES = [(m, p, s) for m in MIXERS for p, s in KINDS]
product = pytest.mark.parametrize(
    ("mixer", "process", "space"), [pytest.param(*one, marks=marks(*one[:2]), id="-".join(one)) for one in TRIPLES]
)
every_kind = pytest.mark.parametrize(("process", "space"), KINDS, ids=map("-".join, KINDS))


def build(mixer, process, space, ports=PORTS, dtype=torch.float64):
    """A random network in which every part does something."""
    spec = MIXERS[mixer] if isinstance(mixer, str) else mixer
    key = repr((spec, process, space, sorted(ports)))
    if key not in BUILT:
        backbone = Backbone(mixer=spec, width=8, depth=2 if isinstance(spec, list) else 1, mlp=1.0)
        net = Network(backbone, process.spec(space), space, WINDOW, ports, 1, process.module(space))
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.25)
        BUILT[key] = net.eval()
    return copy.deepcopy(BUILT[key]).to(dtype)


BUILT: dict[str, Network] = {}
FEWER = {Remask: {"steps": 5}, Denoise: {"steps": 5}, Contrastive: {"candidates": 2, "guidance": 2.0}}
"""Of samplers that make many steps or rows unless they are told."""


def samplers(process, space):
    """Every sampler that fits, with settings of several kinds, and guided where that can be."""
    kind = process.kind_of_guess(space)
    more = {
        Ancestral: [{"temperature": 0.5}],
        Unmask: [{"steps": 3, "temperature": 1.5}, {"block": 4}],
        Confident: [{"by": "margin", "steps": 3}, {"by": "entropy", "entropy": 1.5}],
        Contrastive: [],
        Gibbs: [{"steps": 2, "at_once": 3, "block": 5}],
        Diffuse: [
            {"steps": 4},
            {"solver": "euler", "steps": 6, "guidance": 0.5},
            {"solver": "ancestral", "steps": 5, "temperature": 0.8},
            {"solver": "heun", "steps": 3, "guidance": 2.0},
            {"solver": "euler", "steps": 3},
        ],
        Observed: [
            {"inner": {"name": "diffuse", "steps": 3}, "iterations": 1},
            {"inner": {"name": "diffuse", "steps": 4}, "by": "quantile"},
        ],
    }
    for cls in members_of(Sampler).values():
        if kind not in cls.takes or issubclass(cls, Views):  # what wraps others is told by `guidance`
            continue
        if kind is Gives.PLACE_LOGITS and not isinstance(process, Masked) and cls.name != process.sampler:
            continue  # they are tried with the masked model
        if not cls.__module__.startswith("seqloom."):  # a member that another test brings
            continue
        few = FEWER.get(cls, {})
        if cls not in {Diffuse, Observed}:  # and these do
            yield cls(**few)
        yield from (cls(**settings) for settings in more.get(cls, []))
        if kind is not Gives.NEXT_PARAMS:
            if issubclass(cls, TokenSampler):
                yield cls(temperature=0.7, top_k=3, guidance=1.5, **few)
                yield cls(top_p=0.8, **few)
            elif cls not in more:
                yield cls(guidance=2.0)


def condition(number):
    """None, a label, a source, or both, of one row."""
    present = torch.ones(1, 1 + number % 3, dtype=torch.bool)
    source = Condition(torch.tensor([[1, 2, 3][: 1 + number % 3]]), present)
    label = Condition(torch.tensor([[number % 3]]), torch.ones(1, 1, dtype=torch.bool))
    return [{}, {"label": label}, {"source": source}, {"label": label, "source": source}][number % 4]


def ask(net, sampler, length, known=0, rows=1, seed=0, given=None, dtype=torch.float64, hole=None):
    """A request for rows of this length whose first `known` positions are given."""
    random = np.random.default_rng(length)
    tokens = isinstance(net.space, Tokens)
    if tokens:
        x = torch.from_numpy(random.integers(0, net.space.size, (1, length))).repeat(rows, 1)
    else:
        x = torch.from_numpy(random.normal(size=(1, length, net.space.dim))).to(dtype).repeat(rows, 1, 1)
    shown, absent = torch.zeros_like(x, dtype=torch.bool), torch.zeros_like(x, dtype=torch.bool)
    shown[:, :known] = True
    if not tokens and known > 1:  # a cell of the past that does not exist
        absent[:, known - 2, 0] = True
        shown &= ~absent
    if hole is not None and net.spec.block is None:  # and something known after a gap
        shown[:, hole] = True
    if net.spec.mask is not None:
        x = torch.where(shown, x, net.spec.mask)
    return Request(x, shown, absent, sampler, Rng.of(seed, np.arange(rows)), given or {})


def alone(net, process, request, calls=None):
    """A request by itself: its rows' last events. The calls that it took are added to `calls`."""
    engine = Engine(net, process, chunk=4)
    done = {event.row: event for event in engine.run(request) if event.done}
    if calls is not None:
        calls.append(engine.calls)
    return [done[row] for row in range(len(request.x))]


def drive(engine, requests, every=0):
    """All of them through one engine, one joining each `every` ticks: final events by (index, row), and the ticks."""
    todo, numbers, done, ticks = list(enumerate(requests)), {}, {}, 0
    while todo or not engine.idle:
        while todo and (not every or ticks % every == 0):
            index, request = todo.pop(0)
            numbers[engine.submit(request)] = index
            if every:
                break
        for event in engine.tick():
            if event.done:
                key = numbers[event.request], event.row
                assert key not in done, "a row is done once"
                done[key] = event
        ticks += 1
        assert ticks < 2000
    assert engine.live == 0
    assert not engine.lanes
    return done


def equal(one, other, exact=1e-12):
    assert one.length == other.length
    assert one.x.shape == other.x.shape
    assert (one.settled == other.settled).all()
    if one.x.dtype == torch.int64:
        assert torch.equal(one.x, other.x)
    else:
        torch.testing.assert_close(one.x, other.x, atol=exact, rtol=exact)


def mixture(net, process, dtype=torch.float64):
    """Requests of many lengths, conditions, settings and numbers of rows."""
    most = 14 if net.spec.block is None else 24  # a causal model goes on past its window
    shapes = [(12, 0, 1), (9, 3, 2), (most, 6, 1), (7, 0, 3), (11, 9, 1)]
    return [
        ask(
            net,
            sampler,
            length,
            known,
            rows,
            seed=i,
            given=condition(i),
            dtype=dtype,
            hole=length - 1 if i % 2 else None,
        )
        for i, (sampler, (length, known, rows)) in enumerate(
            zip(samplers(process, net.space), itertools.cycle(shapes), strict=False)
        )
    ]


# ---- pooled equals alone ------------------------------------------------------------------------------------------


@product
def test_rows_among_others_equal_the_rows_alone(mixer, process, space):
    process, space = PROCESSES[process], SPACES[space]
    net = build(mixer, process, space)
    requests = mixture(net, process)
    calls = []
    expected = [alone(net, process, request, calls) for request in requests]
    order = list(range(len(requests)))
    for arrival, capacity, every in ((order[::-1], 8, 0), (order[1::2] + order[::2], 64, 2)):
        engine = Engine(net, process, capacity=capacity, chunk=4)
        done = drive(engine, [requests[i] for i in arrival], every)
        assert engine.calls < sum(calls)
        for index, i in enumerate(arrival):
            for row, event in enumerate(expected[i]):
                equal(done[index, row], event)
    assert any(event.x.double().std() > 0 for events in expected for event in events)


@pytest.mark.parametrize("process", [Masked(self_conditioning=True), Embedding(size=4, self_conditioning=True)])
def test_what_a_process_keeps_of_a_row_goes_with_the_row(process):
    net = build("attention", process, TOKENS)
    requests = mixture(net, process)[:4]
    done = drive(Engine(net, process), requests[::-1], every=2)
    for index, request in enumerate(requests[::-1]):
        for row, event in enumerate(alone(net, process, request)):
            equal(done[index, row], event)


@every_kind
@pytest.mark.parametrize("mixer", ["lstm", "attention"])
def test_in_float32_at_most_a_draw_on_a_boundary_differs(mixer, process, space):
    process, space = PROCESSES[process], SPACES[space]
    net = build(mixer, process, space, dtype=torch.float32)
    fitting = [sampler for sampler in samplers(process, space) if sampler.guidance == 1 and not sampler.together]
    requests = [
        ask(net, fitting[i % len(fitting)], 6 + i % 9, i % 4, rows=8, seed=i, given=condition(i), dtype=torch.float32)
        for i in range(8)
    ]
    done = drive(Engine(net, process, capacity=64, chunk=4), requests)
    differing = 0
    for i, request in enumerate(requests):
        for row, event in enumerate(alone(net, process, request)):
            if isinstance(space, Tokens):
                differing += not torch.equal(done[i, row].x, event.x)
            else:
                torch.testing.assert_close(done[i, row].x, event.x, atol=2e-4, rtol=2e-4)
    assert differing <= 1  # of 64 samples


@product
def test_a_row_does_not_depend_on_its_sisters(mixer, process, space):
    process, space = PROCESSES[process], SPACES[space]
    net = build(mixer, process, space)
    sampler = next(samplers(process, space))
    together = alone(net, process, ask(net, sampler, 9, 2, rows=3, seed=5))
    for row in range(3):
        request = ask(net, sampler, 9, 2, rows=1, seed=5)
        equal(alone(net, process, replace(request, key=Rng.of(5, row)))[0], together[row])
    assert not torch.equal(together[0].x, together[1].x)


# ---- what is made at once is what is made one by one -----------------------------------------------------------------


@pytest.mark.parametrize("mixer", MIXERS)
def test_elements_that_are_made_at_once_are_those_asked_for_one_by_one(mixer):
    """To the bit, past the window, whatever rows end at: their length, an end symbol or a stop."""
    process, space = PROCESSES["autoregressive"], Tokens(size=20, ends=True)
    net = build(mixer, process, space, dtype=torch.float32)
    sampler = Ancestral(temperature=1.5, top_k=18)
    requests = [
        ask(net, sampler, 40, 5, rows=3, seed=1, given=condition(1), dtype=torch.float32),
        ask(net, sampler, 37, rows=2, seed=2, given=condition(2), dtype=torch.float32),
        replace(ask(net, sampler, 33, 2, rows=2, seed=3, dtype=torch.float32), stops=(SymbolStop((1, 2)),)),
    ]
    ticks, lengths = {0: 0, 16: 0}, set()
    for chosen in ([requests[0]], [requests[1]], [requests[2]], requests):
        found = []
        for ahead in ticks:
            engine = Engine(net, process, never=(4,), chunk=4, ahead=ahead)
            numbers = {engine.submit(request): i for i, request in enumerate(chosen)}
            done = {}
            while not engine.idle:
                ticks[ahead] += 1
                done |= {(numbers[e.request], e.row): e for e in engine.tick() if e.done}
            found.append(done)
        assert found[0].keys() == found[1].keys()
        for key, event in found[0].items():
            equal(event, found[1][key], exact=0)
            assert not (event.x[5:] == 4).any()
            lengths.add(event.length)
    assert ticks[16] < 0.7 * ticks[0]
    assert len(lengths) > 3


# ---- two classes of samplers in one call --------------------------------------------------------------------------


class Likeliest(Sampler, name="likeliest"):
    """The likeliest next symbol, or the mean of the next element."""

    takes = (Gives.NEXT_LOGITS, Gives.NEXT_PARAMS)

    def start(self, process, rows):
        return replace(rows, own={**rows.own, "position": rows.settled.argmin(1)})

    def ask(self, rows):
        position = rows.own["position"]
        return Ask(x=rows.x, want=np.where(rows.done, -1, position)[:, None], fixed=position.copy())

    def tell(self, rows, ask, guess):
        live = np.nonzero(guess.ready & ~rows.done)[0]
        position = rows.own["position"]
        if guess.head is None:
            best = guess.value[:, 0].argmax(-1)
        else:
            best = guess.head.draw(guess.value[:, 0], rows.key, torch.zeros(len(rows)))
        rows.x[live, position[live]] = best[live].to(rows.x)
        rows.settled[live, position[live]] = True
        position[live] += 1
        rows.done[live] |= position[live] >= rows.length[live]
        return rows


class FromTheRight(Sampler, name="from-the-right"):
    """Hidden symbols from the right, two at a time, the likeliest of each."""

    takes = (Gives.PLACE_LOGITS,)

    def start(self, process, rows):
        return rows

    def ask(self, rows):
        want = np.full((len(rows), 2), -1)
        for row in np.nonzero(~rows.done)[0]:
            positions = np.nonzero(~rows.settled[row])[0][-2:]
            want[row, : len(positions)] = positions
        return Ask(x=rows.x, want=want, fixed=np.zeros(len(rows), np.int64))

    def tell(self, rows, ask, guess):
        row, rank = np.nonzero((ask.want >= 0) & ~rows.done[:, None])
        position = ask.want[row, rank]
        rows.x[row, position] = guess.value[row, rank].argmax(-1)
        rows.settled[row, position] = True
        rows.done[:] |= rows.settled.all(1)
        return rows


class Again(Sampler, name="again"):
    """The clean guess at one level, five times, each of the one before."""

    takes = (Gives.CLEAN,)

    def start(self, process, rows):
        return replace(rows, own={**rows.own, "left": np.full(len(rows), 5)})

    def ask(self, rows):
        level = torch.zeros(len(rows), 1).to(rows.x)
        want = np.where(rows.done, -1, 0)[:, None]
        return Ask(x=rows.x * 0.7, want=want, fixed=np.zeros(len(rows), np.int64), level=level)

    def tell(self, rows, ask, guess):
        live = guess.ready & ~rows.done
        rows.x[live] = torch.where(rows.along["shown"], rows.x, guess.value)[live]
        rows.own["left"][live] -= 1
        rows.done[live & (rows.own["left"] == 0)] = True
        rows.settled[rows.done] = True
        return rows


class Settling(Again, name="settling"):
    """The likeliest symbols at half of the noise, five times, each of those before."""

    takes = (Gives.NOISY_LOGITS,)

    def start(self, process, rows):
        rows = super().start(process, rows)
        return replace(rows, along={"shown": torch.as_tensor(rows.settled)})

    def ask(self, rows):
        want = np.where(rows.done[:, None], -1, np.arange(rows.x.shape[1]))
        level = torch.full((len(rows), 1), 0.5, dtype=torch.float64)
        return Ask(x=rows.x, want=want, fixed=np.zeros(len(rows), np.int64), level=level)

    def tell(self, rows, ask, guess):
        return super().tell(rows, ask, replace(guess, value=guess.value.argmax(-1)))


class Behind(Settling, name="behind"):
    """The same, of symbols behind noise of their embeddings: of none that is seen."""

    takes = (Gives.EMBEDDED_LOGITS,)

    def ask(self, rows):
        nothing = torch.zeros(*rows.x.shape, PROCESSES["embedding"].embedded)
        return replace(super().ask(rows), noisy=nothing)


SECOND = (Likeliest, FromTheRight, Again, Settling, Behind)
for cls in SECOND:
    del Sampler.members[cls.name]  # known to this file only


@every_kind
@pytest.mark.parametrize("mixer", ["gru", "attention", "hybrid"])
def test_rows_of_two_sampler_classes_share_every_call(mixer, process, space):
    process, space = PROCESSES[process], SPACES[space]
    net = build(mixer, process, space)
    kind = process.kind_of_guess(space)
    (second,) = (cls() for cls in SECOND if kind in cls.takes)
    first = next(samplers(process, space))
    requests = [
        ask(net, first, 12, 0, rows=2, seed=1, given=condition(1)),
        ask(net, second, 9, 0, rows=3, seed=2, given=condition(2)),
        ask(net, second, 11, 0, rows=1, seed=3),
        ask(net, first, 8, 0, rows=2, seed=4, given=condition(3)),
    ]
    calls, seen = [], []
    expected = [alone(net, process, request, calls) for request in requests]
    net.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    engine = Engine(net, process, capacity=16, chunk=4)
    done = drive(engine, requests)
    assert len(seen) == engine.calls == max(calls)
    assert seen[0] == 8  # all rows in one call
    for i, events in enumerate(expected):
        for row, event in enumerate(events):
            equal(done[i, row], event)


# ---- joining, leaving, stopping -----------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("mixer", [pytest.param("lstm", marks=pytest.mark.slow), "hybrid"])
def test_a_row_that_is_stopped_leaves_and_changes_no_other(mixer, process, space):
    process, space = PROCESSES[process], SPACES[space]
    net = build(mixer, process, space)
    kind = process.kind_of_guess(space)
    sampler = next(samplers(process, space))
    guided = sampler if kind is Gives.NEXT_PARAMS else sampler.replace(guidance=2.0)
    requests = [
        ask(net, sampler, 10, 0, rows=3, seed=1, given=condition(1)),
        ask(net, guided, 13, 9, rows=2, seed=2, given=condition(3)),  # nine are read, in three chunks
        ask(net, sampler, 8, 2, rows=1, seed=3),
    ]
    expected = [alone(net, process, request) for request in requests]
    for tick, (stopped, row) in itertools.product((0, 2, 5), ((0, 1), (0, None), (1, 0), (1, None), (2, 0))):
        engine = Engine(net, process, capacity=7, chunk=4)
        numbers = [engine.submit(request) for request in requests]
        events, ticks = {}, 0
        while not engine.idle:
            if ticks == tick:
                engine.cancel(numbers[stopped], row)
            for event in engine.tick():
                if event.done:
                    assert (event.request, event.row) not in events
                    events[event.request, event.row] = event
            ticks += 1
            assert ticks < 500
        for i, rows in enumerate(expected):
            for j, event in enumerate(rows):
                if i == stopped and row in (None, j):
                    last = events.get((numbers[i], j))
                    assert last is not None or (row is None and tick == 0)
                    if last is not None and not last.settled.all():
                        settled = torch.as_tensor(last.settled)
                        if space is TOKENS:  # what it had is what it would have had
                            assert torch.equal(last.x[settled], event.x[settled])
                else:
                    equal(events[numbers[i], j], event)
        assert engine.live == 0


def test_a_stopped_row_frees_its_slot_at_the_next_tick():
    process = Autoregressive()
    net = build("lstm", process, TOKENS)
    engine = Engine(net, process, capacity=4, ahead=0)
    first = engine.submit(ask(net, Ancestral(), 12, rows=4, seed=1))
    engine.tick()
    waiting = ask(net, Ancestral(), 6, rows=2, seed=2)
    second = engine.submit(waiting)
    engine.tick()
    assert (engine.live, len(engine.waiting)) == (4, 1)
    engine.cancel(first, 3)
    engine.cancel(first, 0)
    ended = [(e.request, e.row) for e in engine.tick() if e.done]
    assert ended == [(first, 0), (first, 3)]
    assert engine.live == 2
    engine.tick()
    assert (engine.live, len(engine.waiting)) == (4, 0)
    assert engine.lanes
    done = {}
    while not engine.idle:
        done |= {(e.request, e.row): e for e in engine.tick() if e.done}
    for row, event in enumerate(alone(net, process, waiting)):
        equal(done[second, row], event)


@every_kind
def test_a_short_row_beside_a_long_one_makes_no_more_calls_than_alone(process, space):
    """What pads its canvas is not for it to make."""
    process, space = PROCESSES[process], SPACES[space]
    net = build("gru", process, space)
    sampler = next(samplers(process, space))
    requests = [ask(net, sampler, length, seed=length) for length in (14, 5)]
    calls = []
    expected = [alone(net, process, request, calls)[0] for request in requests]
    engine = Engine(net, process)
    numbers = [engine.submit(request) for request in requests]
    ended = {}
    while not engine.idle:
        ended |= {event.request: (engine.calls, event) for event in engine.tick() if event.done}
    assert [ended[number][0] for number in numbers] == calls
    for number, event in zip(numbers, expected, strict=True):
        equal(ended[number][1], event)


def test_a_waiting_or_reading_request_can_be_stopped():
    process = Autoregressive()
    net = build("lstm", process, TOKENS)
    engine = Engine(net, process, capacity=4, chunk=2)
    reading = engine.submit(ask(net, Ancestral(), 12, 9, rows=3, seed=1))
    waiting = engine.submit(ask(net, Ancestral(), 6, rows=2, seed=2))
    engine.tick()
    assert engine.prompts
    engine.cancel(waiting)
    engine.cancel(reading)
    calls = engine.calls
    ended = [(e.request, e.row) for e in engine.tick() if e.done]
    assert ended == [(reading, row) for row in range(3)]
    assert engine.idle
    assert engine.calls <= calls + 1
    engine.cancel(reading)  # what is gone can be stopped again
    assert engine.tick() == []


# ---- prompts ------------------------------------------------------------------------------------------------------


def counted(net):
    """Elements that each call of the network reads."""
    reads = []
    net.register_forward_pre_hook(lambda m, args, kw: reads.append(int(kw["count"].sum())), with_kwargs=True)
    return reads


@pytest.mark.parametrize("space", [TOKENS, VECTORS], ids=["tokens", "vectors"])
@pytest.mark.parametrize("mixer", MIXERS)
def test_a_prompt_is_read_once_for_all_samples(mixer, space):
    process = Autoregressive()
    net = build(mixer, process, space)
    reads = counted(net)
    engine = Engine(net, process, chunk=4)
    drive(engine, [ask(net, Ancestral(), 14, 10, rows=5, seed=3, given=condition(1))])
    assert sum(reads) == 10 + 5 * 4  # then one element a row a call
    assert max(reads[:3]) == 4  # in chunks
    reads.clear()
    if space is TOKENS:  # a pair has two, with and without the condition
        drive(Engine(net, process, chunk=4), [ask(net, Ancestral(guidance=2.0), 14, 10, rows=5, given=condition(1))])
        assert sum(reads) == 2 * 10 + 2 * 5 * 4


def test_rows_with_prompts_of_their_own_are_read_apart():
    process = Autoregressive()
    for space, mixer in itertools.product((TOKENS, VECTORS), ("lstm", "attention")):
        net = build(mixer, process, space)
        request = ask(net, Ancestral(), 12, 6, rows=3, seed=3)
        x, shown, absent = request.x.clone(), request.shown.clone(), request.absent.clone()
        if space is TOKENS:
            x[1, 2] = (x[1, 2] + 1) % 4
        else:
            absent[1, 2, 1], shown[1, 2, 1] = True, False  # the same numbers, one of which is not there
        shown[2, 4:] = False  # a shorter prefix
        request = replace(request, x=x, shown=shown, absent=absent)
        together = alone(net, process, request)
        for row in range(3):
            one = slice(row, row + 1)
            part = Request(x[one], shown[one], absent[one], request.sampler, Rng.of(3, row))
            equal(alone(net, process, part)[0], together[row])


def test_a_canvas_with_nothing_to_make_is_done_at_once():
    for name, kind in KINDS:
        process = PROCESSES[name]
        net = build("gru", process, SPACES[kind])
        engine = Engine(net, process)
        engine.submit(ask(net, next(samplers(process, SPACES[kind])), 6, 6, rows=2))
        events = engine.tick()
        assert [(e.row, e.done, e.settled.all()) for e in events] == [(0, True, True), (1, True, True)]
        assert engine.calls == 0
        assert engine.idle


def test_what_cannot_be_asked_is_refused():
    net, process = build("gru", Autoregressive(), VECTORS), Autoregressive()
    engine = Engine(net, process, capacity=4)
    for request in (ask(net, Unmask(), 5), ask(net, Diffuse(), 5), ask(net, Ancestral(guidance=2.0), 5)):
        with pytest.raises(UnsupportedQuery) as caught:
            engine.submit(request)
        assert caught.value.hint
    with pytest.raises(UnsupportedQuery, match="capacity"):
        engine.submit(ask(net, Ancestral(), 5, rows=5))
    bare = build("gru", Autoregressive(), TOKENS, ports={})
    with pytest.raises(UnsupportedQuery, match="no condition"):
        list(Engine(bare, process).run(ask(bare, Ancestral(guidance=2.0), 5)))
    partly = ask(net, Ancestral(), 5, 2)
    partly.shown[:, 2, 0] = True  # half of the element that would be drawn
    with pytest.raises(UnsupportedQuery, match="after a gap"):
        list(Engine(net, process).run(partly))


# ---- the end symbol -----------------------------------------------------------------------------------------------


def test_an_end_symbol_stops_a_row_by_itself_and_cuts_it():
    space = Tokens(size=3, ends=True)
    for process, sampler in ((Autoregressive(), Ancestral()), (Masked(), Unmask()), (Masked(), Unmask(steps=4))):
        net = build("gru", process, space)
        requests = [ask(net, sampler, 14, rows=12, seed=s) for s in range(2)]
        expected = [alone(net, process, request) for request in requests]
        done = drive(Engine(net, process, capacity=24), requests)
        lengths = [event.length for event in done.values()]
        assert min(lengths) < 14
        assert len(set(lengths)) > 3
        for (index, row), event in done.items():
            assert event.settled.all()
            assert len(event.x) == event.length
            assert (event.x[:-1] != 3).all()  # only the last can be the end
            assert (event.x[-1] == 3) or event.length == 14
            equal(expected[index][row], event)


def test_nothing_ends_before_what_is_known():
    space = Tokens(size=3, ends=True)
    for sampler in (Unmask(), Unmask(steps=2), Unmask(temperature=0.0)):
        net = build("gru", Masked(), space)
        for followed in (False, True):
            request = replace(ask(net, sampler, 14, rows=40), followed=followed)
            request.x[:, 9] = 1
            request.shown[:, 9] = True
            events = drive(Engine(net, Masked(), capacity=64), [request]).values()
            assert all(event.length == 14 if followed else event.length >= 10 for event in events)
            assert all(event.x[9] == 1 for event in events)
            assert followed or not sampler.temperature or min(event.length for event in events) < 14, (
                "after it there may be an end"
            )


def test_what_must_never_be_drawn_is_not():
    for process, sampler in ((Autoregressive(), Ancestral()), (Masked(), Unmask(guidance=2.0))):
        net = build("gru", process, TOKENS)
        drawn = {}
        for never in ((), (1, 2)):
            engine = Engine(net, process, never=never)
            done = drive(engine, [ask(net, sampler, 12, rows=20, given=condition(1))])
            drawn[never] = {int(v) for event in done.values() for v in event.x}
        assert drawn[()] == {0, 1, 2, 3}
        assert drawn[1, 2] == {0, 3}


# ---- beyond the window --------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("mixer", MIXERS)
def test_beyond_the_window_attention_slides_and_recurrence_carries_on(mixer):
    """Every element from a whole reading by hand of what it may have read."""
    process = Autoregressive()
    net = build(mixer, process, TOKENS)
    length = 2 * WINDOW + 5
    for known in (5, 2 * WINDOW - 3):
        request = ask(net, Ancestral(), length, known, rows=2, seed=7, given=condition(3))
        memory = net.encode(condition(3), 1)
        for row, event in enumerate(alone(net, process, request)):
            assert event.length == length
            begin = 0
            for t in range(known, length):
                while net.reach is not None and t - begin >= WINDOW:
                    begin += WINDOW // 2
                read = torch.cat([torch.tensor([net.spec.start]), event.x[begin:t]])
                logits = net(read[None], given=memory)[0][0, -1:]
                u = Rng.of(7, row).at("pick", t).uniform(1)[0]
                assert int(pick(logits, u)[0]) == int(event.x[t]), t


# ---- guidance by hand ---------------------------------------------------------------------------------------------


@dataclass
class ByHand:
    """Two explicit calls, with the condition and without it, mixed."""

    net: Network
    given: dict
    weight: float

    def __call__(self, *args, **kwargs):
        with_it, without = (self.net(*args, given=self.net.encode(g, 1), **kwargs)[0] for g in (self.given, {}))
        return without + self.weight * (with_it - without)


@torch.no_grad()
@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
def test_guidance_equals_two_explicit_calls(mixer, weight):
    given, seed = condition(3), 4
    key = Rng.of(seed, 0)

    process = Autoregressive()
    net = build(mixer, process, TOKENS)
    by_hand = ByHand(net, given, weight)
    request = ask(net, Ancestral(guidance=weight), 10, 3, seed=seed, given=given)
    x = request.x[0, :3].tolist()
    for t in range(3, 10):
        logits = by_hand(torch.tensor([[net.spec.start, *x]]))[0, -1:]
        x.append(int(pick(logits, key.at("pick", t).uniform(1)[0])[0]))
    assert alone(net, process, request)[0].x.tolist() == x

    process = Masked()
    net = build(mixer, process, TOKENS)
    by_hand = ByHand(net, given, weight)
    request = ask(net, Unmask(guidance=weight), 10, 3, seed=seed, given=given)
    canvas = request.x.clone()
    times = key.at("reveal").uniform(10)[0]
    for t in sorted(range(3, 10), key=lambda t: -times[t]):
        u = to_uniform(key.at("pick").words(np.array([t])))[0]
        canvas[0, t] = pick(by_hand(canvas)[:, t], u)[0]
    assert torch.equal(alone(net, process, request)[0].x, canvas[0])

    process = Gaussian(prediction="clean")
    net = build(mixer, process, VECTORS)
    by_hand = ByHand(net, given, weight)
    sampler = Diffuse(solver="euler", steps=5, guidance=weight)
    request = ask(net, sampler, 6, 3, seed=seed, given=given)
    alpha, sigma = sampler.levels(process)
    scale = (alpha**2 + sigma**2).sqrt()
    z = key.at("start").normal((6, 2)).double() * scale[0]
    for i in range(5):
        seen = channels(torch.where(request.shown, request.x, z / scale[i]), request.shown, request.absent)
        clean = by_hand(seen, level=(sigma[i] / alpha[i]).log().view(1, 1) / 4)
        z = alpha[i + 1] * clean + sigma[i + 1] * (z - alpha[i] * clean) / sigma[i]
    made = alone(net, process, request)[0].x
    expected = torch.where(request.shown, request.x, z)[0]
    torch.testing.assert_close(made, expected, atol=1e-10, rtol=1e-10)


# ---- what scores and losses may see -------------------------------------------------------------------------------


def batch(space, rows=3, steps=7, seed=0):
    """A batch with padding, shown parts and, for vectors, absent cells."""
    random = np.random.default_rng(seed)
    present = torch.as_tensor(np.arange(steps) < np.array([steps, steps - 2, steps - 4])[:, None])
    if isinstance(space, Tokens):
        x, known = torch.from_numpy(random.integers(0, space.size, (rows, steps))), present.clone()
    else:
        x = torch.from_numpy(random.normal(size=(rows, steps, space.dim)))
        known = torch.from_numpy(random.random(x.shape) < 0.7) & present.unsqueeze(-1)
    shown = torch.zeros_like(known)
    shown[:, :2] = known[:, :2]
    begins = torch.zeros_like(present)
    begins[:, 0] = True
    return Batch(x, present, known, shown, begins, {})


def readings(net, process, data, key):
    """Every likelihood's nats by position, and the loss with the gradient of all parameters."""
    state = process.start(net, len(data.x)) if data is None else None
    with torch.no_grad():
        scores = [likelihood.nats(net, data, key, state)[0] for likelihood in process.likelihoods().values()]
    net.zero_grad()
    loss = process.loss(net, data, key)
    loss.total.backward()
    grads = [p.grad.clone() if p.grad is not None else torch.zeros_like(p) for p in net.parameters()]
    return scores, torch.cat([loss.total.detach().view(1), *(g.flatten() for g in grads)]), int(loss.count)


@product
def test_absent_cells_and_padding_change_nothing(mixer, process, space):
    process, space = PROCESSES[process], SPACES[space]
    net = build(mixer, process, space, ports={})
    data, key = batch(space), Rng.of(3, np.arange(3))
    scores, loss, count = readings(net, process, data, key)
    assert count == int((data.known & ~data.shown).sum())
    assert torch.isfinite(loss).all()
    for nats in scores:
        assert (nats[~data.present] == 0).all()
        wanted = data.wanted if data.wanted.ndim == 2 else data.wanted.any(-1)
        assert (nats[~wanted] == 0).all()
    fillers = [0, 3] if isinstance(space, Tokens) else [0.0, 1e4, float("nan")]
    for filler in fillers:
        hidden = ~data.present if isinstance(space, Tokens) else ~data.known
        other, loss_other, _ = readings(net, process, replace(data, x=data.x.masked_fill(hidden, filler)), key)
        for one, two in zip(scores, other, strict=True):
            torch.testing.assert_close(one, two, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(loss_other, loss, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(("process", "space"), [kind for kind in KINDS if kind[1] == "vectors"])
def test_absent_cells_of_a_canvas_change_nothing(process, space):
    process = PROCESSES[process]
    for mixer in ("lstm", "attention"):
        net = build(mixer, process, SPACES[space])
        for sampler in samplers(process, SPACES[space]):
            request = ask(net, sampler, 9, 4, rows=2, seed=6, given=condition(1))
            first = alone(net, process, request)
            other = alone(net, process, replace(request, x=request.x.masked_fill(request.absent, float("nan"))))
            made = ~(request.shown | request.absent)
            for row in range(2):
                torch.testing.assert_close(first[row].x[made[row]], other[row].x[made[row]], atol=0, rtol=0)


@product
def test_nothing_from_the_future_is_seen_when_causal(mixer, process, space):
    process, space = PROCESSES[process], SPACES[space]
    net = build(mixer, process, space, ports={})
    data, key = batch(space), Rng.of(3, np.arange(3))
    data = replace(data, known=torch.ones_like(data.known), present=torch.ones_like(data.present))
    data = replace(data, shown=torch.zeros_like(data.shown))
    changed = data.x.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 4
    for likelihood in process.likelihoods().values():
        with torch.no_grad():
            one, two = (likelihood.nats(net, replace(data, x=x), key, None)[0] for x in (data.x, changed))
        moved = ((one - two).abs() > 1e-12).any(0)
        assert moved[4:].any()
        if net.spec.block == 1 or likelihood.kind == "exact":
            assert not moved[:4].any()
        elif one.count_nonzero() == one.numel():
            assert moved[:4].any()
