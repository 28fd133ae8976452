"""What is read off the canvas, and channels that are sequences of their own: against sums by hand and invariances."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from seqloom.core.errors import ConfigError, UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.engine import Engine, Request
from seqloom.mixers.attention import Attention
from seqloom.mixers.recurrent import Gru
from seqloom.network.backbone import Backbone
from seqloom.network.given import ConditionSpec, EncodedConditions
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.features import Lags, Window, framed
from seqloom.processes.flow import Flow
from seqloom.processes.gaussian import Gaussian
from seqloom.processes.heads import Normal
from seqloom.processes.known import distinct
from seqloom.processes.visible import Visible
from seqloom.samplers.ancestral import Ancestral
from seqloom.samplers.diffuse import Diffuse
from seqloom.sequence.batch import Batch, Condition, Past
from seqloom.sequence.guess import Ask
from seqloom.sequence.space import Field, Tokens, Vectors

TWO = Vectors(fields=(Field(name="a"), Field(name="b")))
WINDOW = Window(length=5)
CHANNELS = ("own", "attend")


def built(process, channels, mixer=None, space=TWO, seed=1):
    """A float64 network with channels of their own in which nothing is left at zero."""
    spec = Backbone(width=8, depth=2, mixer=mixer or Gru(), mlp=1.0, channels=channels)
    net = Network(spec, process.spec(space), space, window=12, given={}, seed=seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return net.eval()


def keys(rows, seed=0):
    return Rng.of(seed, np.arange(rows))


def numbers(rows=3, steps=9, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, steps, 2)))


def batch_of(x, shown=None, past=None):
    everything = torch.ones_like(x, dtype=torch.bool)
    begins = torch.zeros(x.shape[:2], dtype=torch.bool)
    begins[:, 0] = past is None
    shown = ~everything if shown is None else shown
    return Batch(x, everything[..., 0], everything, shown, begins, past=past)


# ---- the window -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "momentum"), [("spread", 0.0), ("change", 0.0), ("change", 0.5)])
@pytest.mark.parametrize("ordered", [True, False])
def test_a_windows_mean_and_unit_are_those_of_what_may_be_read(ordered, unit, momentum):
    rng = np.random.default_rng(1)
    x, past = rng.normal(size=(2, 8, 2)), rng.normal(size=(2, 4, 2))
    known, past_known = rng.random(x.shape) < 0.7, rng.random(past.shape) < 0.7
    visible = Visible(
        *map(torch.from_numpy, (x, known, known)),
        past=Past(torch.from_numpy(past), torch.from_numpy(past_known)),
        ordered=ordered,
    )
    position = torch.tensor([[0, 3, 7], [1, 2, 6]])
    read = WINDOW.replace(scale=unit, typical=0.5, momentum=momentum).read(TWO, visible, position)
    whole, cells = np.concatenate([past, x], 1), np.concatenate([past_known, known], 1)
    for row, column, d in np.ndindex(2, 3, 2):
        end = int(position[row, column]) + 4
        span = slice(max(0, end - 5), end) if ordered else slice(None)
        seen = whole[row, span, d][cells[row, span, d]]
        mean = seen.mean() if len(seen) else 0.0
        squares = (seen - mean) ** 2
        if unit == "change":
            index = np.arange(12)[span]
            reach = 2 if momentum else 1  # elements before one that must be known
            usable = [i for i in index if i >= reach and cells[row, i - reach : i + 1, d].all()]
            change = np.diff(whole[row, :, d], prepend=0.0)
            squares = np.array([(change[i] - momentum * change[i - 1]) ** 2 for i in usable])
        variance = (squares.sum() + 0.25) / (len(squares) + 1)
        assert float(read.location[row, column, d]) == pytest.approx(mean, abs=1e-9)
        assert float(read.log_scale[row, column, d]) == pytest.approx(0.5 * math.log(variance), abs=1e-9)


def test_one_position_of_a_long_canvas_is_read_as_all_of_them_are():
    rng = np.random.default_rng(3)
    x, known = rng.normal(size=(2, 40, 2)), rng.random((2, 40, 2)) < 0.8
    begins = torch.zeros(2, 40, dtype=torch.bool)
    begins[0, [0, 18]] = True
    for ends, unit in product((None, begins), ("spread", "change")):
        window = WINDOW.replace(scale=unit)
        visible = Visible(torch.from_numpy(x), torch.from_numpy(known), torch.from_numpy(known), ends)
        whole = window.read(TWO, visible, torch.arange(40).expand(2, -1))
        for t in (0, 3, 19, 21, 39):
            one = window.read(TWO, visible, torch.full((2, 1), t))
            torch.testing.assert_close(one.location[:, 0], whole.location[:, t])
            torch.testing.assert_close(one.log_scale[:, 0], whole.log_scale[:, t])


def test_a_window_does_not_reach_over_the_beginning_of_a_sequence():
    x = torch.arange(8.0)[None, :, None].expand(1, 8, 2)
    everything = torch.ones_like(x, dtype=torch.bool)
    begins = torch.zeros(1, 8, dtype=torch.bool)
    begins[0, [0, 4]] = True
    read = WINDOW.read(TWO, Visible(x, everything, everything, begins), torch.arange(8)[None])
    assert read.location[0, :, 0].tolist() == [0.0, 0.0, 0.5, 1.0, 0.0, 4.0, 4.5, 5.0]


def test_the_last_location_that_is_known_is_taken():
    x = torch.arange(6.0)[None, :, None].expand(1, 6, 2)
    everything = torch.ones_like(x, dtype=torch.bool)
    features = (WINDOW, Lags(difference=3))
    read, frame = framed(features, TWO, Visible(x, everything, everything), torch.arange(6)[None])
    assert read.location[0, :, 0].tolist() == [0.0, 0.0, 0.5, 0.0, 1.0, 2.0]  # the window's mean, then 3 ago
    assert frame is not None
    assert frame.location[0, 3:, 0].tolist() == [1.0, 1.5, 2.0]


def test_changes_do_not_reach_over_the_beginning_of_a_sequence_either():
    x = torch.tensor([0.0, 1.0, 3.0, 90.0, 92.0])[None, :, None].expand(1, 5, 2)
    everything = torch.ones_like(x, dtype=torch.bool)
    begins = torch.tensor([[True, False, False, True, False]])
    changes = Visible(x, everything, everything, begins).differenced()
    assert changes.known[0, :, 0].tolist() == [False, True, True, False, True]
    assert changes.x[0, [1, 2, 4], 0].tolist() == [1.0, 2.0, 2.0]


def test_a_window_is_for_real_numbers_alone():
    for space in (Tokens(size=3), Vectors(fields=(Field(name="n", support="count"),))):
        with pytest.raises(UnsupportedSpace):
            Autoregressive(features=(WINDOW,)).spec(space)


# ---- models that read in a frame --------------------------------------------------------------------------------


@torch.no_grad()
def test_an_autoregressive_model_in_a_frame_costs_the_same_at_another_level_and_scale():
    """With a past of real spread against which one more element of spread 1 is nothing, only the units change."""
    process = Autoregressive(features=(Window(length=50, inputs="none"), Lags(lags=(3,))))
    net = built(process, "joint")
    x, past = numbers() * 1e4, numbers(steps=60, seed=5) * 1e4
    everything = torch.ones_like(past, dtype=torch.bool)

    def nats(a, b):
        batch = batch_of(a * x + b, past=Past(a * past + b, everything))
        return process.nats(net, batch, keys(3), net.begin(3))[0]

    torch.testing.assert_close(nats(3.0, 7e4), nats(1.0, 0.0) + 2 * math.log(3.0), atol=1e-5, rtol=0)


def test_a_window_may_be_read_about_its_last_value():
    x = torch.arange(1.0, 9.0)[None, :, None].expand(1, 8, 2)
    everything = torch.ones_like(x, dtype=torch.bool)
    position, last = torch.arange(8)[None], WINDOW.replace(level="last")
    read = last.read(TWO, Visible(x, everything, everything), position)
    assert read.location[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]


def test_hidden_cells_are_read_about_the_last_that_is_shown():
    x = torch.arange(1.0, 9.0)[None, :, None].expand(1, 8, 2) ** 2
    everything = torch.ones_like(x, dtype=torch.bool)
    shown, position = everything.clone(), torch.arange(8)[None]
    shown[:, 2:4] = shown[:, 6:, 0] = False
    window = Window(length=8, level="last", scale="change", typical=0.5)
    read = window.read(TWO, Visible(x, everything, shown, ordered=False), position)
    assert read.location[0].tolist() == [[36, 64]] * 8
    shown[:] = False
    read = window.read(TWO, Visible(x, everything, shown, ordered=False), position)
    assert not read.location.any()
    assert not read.log_scale.any(), "nothing is shown: the scale is that of the training data"


def test_what_is_read_from_left_to_right_moves_on():
    x = torch.tensor([1.0, 3.0, 4.0, 8.0])[None, :, None].expand(1, 4, 2)
    known = torch.ones_like(x, dtype=torch.bool)
    known[:, 2, 1] = False
    window = Window(length=8, level="last", momentum=0.5)
    read = window.read(TWO, Visible(x, known, known), torch.arange(4)[None])
    assert read.location is not None
    assert read.location[0, :, 0].tolist() == [0, 1, 4, 4.5]
    assert read.location[0, :, 1].tolist() == [0, 1, 4, 2], "where the last is absent it is the mean of what is known"


def test_what_a_window_says_of_a_walk_is_an_input_that_is_bent():
    x = torch.tensor([1.0, 3.0, 1e6])[None, :, None].expand(1, 3, 2)
    everything = torch.ones_like(x, dtype=torch.bool)
    window = Window(length=5, level="last")
    read = window.read(TWO, Visible(x, everything, everything), torch.arange(3)[None])
    assert read.channels is not None
    assert window.channels(TWO) == read.channels.shape[-1] == 4
    assert read.location is not None
    assert read.log_scale is not None
    mean = torch.tensor([0.0, 1.0, 2.0])[None, :, None]
    apart = (mean - read.location) / read.log_scale.exp()
    torch.testing.assert_close(read.channels[..., :2], apart / (1 + apart.abs()))
    assert (read.channels.abs() <= 1).all()
    assert window.replace(inputs="none").channels(TWO) == 0


def test_the_scale_alone_does_not_say_how_high_a_series_lies():
    """Or a level that training never saw would draw forecasts back to those that it did."""
    x = torch.tensor([1.0, 3.0, 7.0])[None, :, None].expand(1, 3, 2)
    everything, window = torch.ones_like(x, dtype=torch.bool), WINDOW.replace(inputs="scale")
    low, high = (
        window.read(TWO, Visible(x + level, everything, everything, ordered=False), torch.arange(3)[None]).channels
        for level in (0.0, 100.0)
    )
    assert low is not None
    assert high is not None
    assert window.channels(TWO) == low.shape[-1] == 2
    assert WINDOW.channels(TWO) == 4
    torch.testing.assert_close(low, high, atol=1e-3, rtol=0)
    assert WINDOW.replace(inputs="none").channels(TWO) == 0


@torch.no_grad()
@pytest.mark.parametrize("mixer", [Gru(), Attention(heads=2)], ids=lambda m: m.name)
@pytest.mark.parametrize("channels", ["joint", *CHANNELS])
def test_guesses_in_a_frame_are_what_is_scored(mixer, channels):
    process = Autoregressive(features=(WINDOW, Lags(lags=(4,), difference=4)))
    net = built(process, channels, mixer)
    x = numbers(rows=2, steps=9)
    nats, _ = process.nats(net, batch_of(x), keys(2), None)
    nothing = torch.zeros_like(x, dtype=torch.bool)
    state = net.begin(2, 9)
    for t in range(9):
        ask = Ask(x, np.full((2, 1), t), np.full(2, t), shown=~nothing, absent=nothing)
        guess, state = process.guess(net, ask, state)
        cost = guess.head.nats(guess.value[:, 0], x[:, t], ~nothing[:, t])
        torch.testing.assert_close(cost, nats[:, t])


@torch.no_grad()
@pytest.mark.parametrize("process", [Gaussian, Flow], ids=lambda p: p.name)
def test_a_diffusion_in_a_frame_costs_the_same_at_another_level_and_scale(process):
    process = process(features=(WINDOW.replace(inputs="none"),))
    net = built(process, "joint")
    x = numbers(steps=40) * 1e5
    shown = torch.zeros_like(x, dtype=torch.bool)
    shown[:, :30] = True

    def bound(a, b):
        batch = batch_of(a * x + b, shown)
        return process.likelihoods()["likelihood"].nats(net, batch, keys(3), None)[0].sum(1)

    torch.testing.assert_close(bound(2.0, 3e5), bound(1.0, 0.0) + 20 * math.log(2.0), atol=2e-3, rtol=0)


@torch.no_grad()
def test_a_diffusion_in_a_frame_is_sampled_in_the_units_of_the_canvas():
    """What the network says nothing about is N(level, spread) of what is shown, wherever that lies."""
    process = Gaussian(features=(WINDOW,))
    net = built(process, "own")
    for parameter in net.head.parameters():
        parameter.zero_()
    rng = np.random.default_rng(2)
    x = torch.from_numpy(np.concatenate([50 + 4 * rng.normal(size=(1, 400, 2)), np.zeros((1, 5, 2))], 1)).float()
    shown = torch.zeros_like(x, dtype=torch.bool)
    shown[:, :400] = True
    engine = Engine(net.float(), process)
    rows = [Request(x, shown, torch.zeros_like(shown), Diffuse(steps=8), keys(1, seed=i)) for i in range(24)]
    made = [update.x[400:] for request in rows for update in engine.run(request) if update.done]
    values = torch.stack(made).numpy()
    assert values.mean() == pytest.approx(50, abs=2)
    assert 0.5 < values.std() / 4 < 2


# ---- channels of their own --------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("process", [Autoregressive(features=(Lags(lags=(2,)),)), Gaussian()], ids=lambda p: p.name)
def test_channels_change_places_with_their_names(process, channels):
    net = built(process, channels)
    x = numbers()
    turned = torch.stack([x[..., 1], x[..., 0]], -1)
    score = process.likelihoods()["likelihood"].nats

    def nats(x):
        return score(net, batch_of(x), keys(3), None)[0]

    one = nats(x)
    if process.name == "autoregressive":
        assert not torch.allclose(nats(turned), one)
        net.identity.weight.copy_(net.identity.weight.flip(0))
        torch.testing.assert_close(nats(turned), one)
    else:  # noise is drawn by position, so only the network can be asked
        spec = process.spec(TWO)
        inputs = torch.from_numpy(np.random.default_rng(4).normal(size=(3, 9, spec.inputs)))
        level = torch.zeros(3, 1).double()
        out, _ = net(inputs, level=level)
        net.identity.weight.copy_(net.identity.weight.flip(0))
        swapped, _ = net(inputs.unflatten(-1, (-1, 2)).flip(-1).flatten(2), level=level)
        torch.testing.assert_close(swapped.flip(-1), out)


@torch.no_grad()
def test_only_channels_that_attend_know_of_each_other():
    for channels in CHANNELS:
        process = Autoregressive()
        net = built(process, channels)
        x = numbers()
        changed = x.clone()
        changed[:, 2, 1] += 5
        read = torch.stack([_means(process, net, value) for value in (x, changed)])
        moved = (read[0] - read[1]).abs().amax((0, 1))  # of each channel
        assert moved[1] > 1e-3
        assert (moved[0] > 1e-6) == (channels == "attend")


def _means(process, net, x):
    nothing = torch.zeros_like(x, dtype=torch.bool)
    ask = Ask(x, np.full((3, 1), 8), np.full(3, 8), shown=~nothing, absent=nothing)
    guess, _ = process.guess(net, ask, net.begin(3, 9))
    return guess.head.mean(guess.value)


@torch.no_grad()
@pytest.mark.parametrize("mixer", [Gru(), Attention(heads=2)], ids=lambda m: m.name)
@pytest.mark.parametrize("channels", CHANNELS)
def test_rows_of_channels_are_the_same_alone_and_among_others(mixer, channels):
    process = Autoregressive(features=(WINDOW,))
    net = built(process, channels, mixer)
    lengths = (4, 7, 3)
    alone = {}
    for together in (False, True):
        engine = Engine(net, process)
        requests = []
        for i, length in enumerate(lengths):
            x = numbers(rows=2, steps=12, seed=i)
            shown = torch.zeros_like(x, dtype=torch.bool)
            shown[:, :length] = True
            requests.append(Request(x, shown, torch.zeros_like(shown), Ancestral(), keys(2, seed=i)))
        if not together:
            for i, request in enumerate(requests):
                for update in Engine(net, process).run(request):
                    alone[i, update.row] = update.x
            continue
        numbered = {engine.submit(request): i for i, request in enumerate(requests)}
        while not engine.idle:
            for update in engine.tick():
                if update.done:
                    torch.testing.assert_close(update.x, alone[numbered[update.request], update.row])


def test_what_is_not_alike_cannot_be_sequences_of_its_own():
    for space in (
        Tokens(size=3),
        TWO.replace(ends=True),
        Vectors(fields=(Field(name="a", width=3, support="category"),)),
    ):
        with pytest.raises(ConfigError):
            Network(Backbone(channels="own"), Autoregressive().spec(space), space, 8, {})
    assert Normal().independent


@torch.no_grad()
def test_of_a_long_history_only_what_is_looked_back_at_is_read_and_nothing_changes(monkeypatch):
    process = Autoregressive(features=(WINDOW, Lags(lags=(7,))), head=Normal())
    net = Network(Backbone(width=8, depth=1, mixer=Gru()), process.spec(TWO), TWO, window=12, given={}, seed=1).double()
    x = numbers(steps=60)
    shown = torch.ones_like(x, dtype=torch.bool)
    shown[1, 20:30, 0] = False

    def guessed():
        state, values = net.begin(3), []
        for last in ([19, 19, 19], [30, 22, 41], [44, 44, 44], [45, 45, 45]):  # rows apart, and side by side again
            want = np.array(last)[:, None]
            ask = Ask(x, want, np.array(last), shown=shown, absent=~shown)
            values.append(process.guess(net, ask, state)[0].value)
        return torch.cat(values)

    near = guessed()
    monkeypatch.setattr(Lags, "local", False)
    torch.testing.assert_close(near, guessed(), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_sums_that_move_with_a_window_are_those_of_its_elements():
    process = Autoregressive(features=(WINDOW,), head=Normal())
    net = Network(Backbone(width=8, depth=1, mixer=Gru()), process.spec(TWO), TWO, window=12, given={}, seed=1).double()
    x = numbers(steps=80)
    shown = torch.from_numpy(np.random.default_rng(2).random(x.shape) < 0.8)
    x[0, 30] = 1e6  # far from the others: it must not stay in the sums when it has left the window
    carried: dict = {}
    moved, anew = (net.begin(3, undo=20) for _ in range(2))
    for t in [*range(20, 70), 70, 70, 75, 76]:
        want, changed = np.full((3, 1), t), t == 60  # what was read changes before it is read on
        if changed:
            x = torch.cat([x[:, :57] + 1, x[:, 57:]], 1)
        ask = Ask(x, want, np.full(3, 50 if changed else t), shown=shown, absent=~shown)
        one, two = (
            process.guess(net, asked, state)[0].value
            for asked, state in ((replace(ask, read=carried), moved), (ask, anew))
        )
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)


# ---- known positions that are read once ---------------------------------------------------------------------------


ONCE = [
    Gaussian(known_once=True, features=(WINDOW,)),
    Gaussian(known_once=True, levels="position"),
    Flow(known_once=True),
]


@torch.no_grad()
@pytest.mark.parametrize("channels", ["joint", "own", "attend"])
@pytest.mark.parametrize(
    ("process", "patch"), [(ONCE[0], 1), (ONCE[1], 1), (ONCE[2], 1), (ONCE[0], 2), (ONCE[2], 3)], ids=str
)
def test_what_is_known_is_read_once_and_nothing_changes(process, patch, channels):
    spec = Backbone(width=8, depth=2, mixer=Attention(heads=2), channels=channels, mlp=1.0, patch=patch)
    net = Network(spec, process.spec(TWO), TWO, window=12, given={}, seed=1).double().eval()
    for parameter in net.parameters():
        parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)).double())
    x, shown = numbers(rows=4), torch.zeros(4, 9, 2, dtype=torch.bool)
    x[1, :5] = x[0, :5]
    shown[:2, :5] = True  # two that go on from the same, one with gaps, one from nothing
    shown[2, 2:4] = shown[2, 7, 0] = True
    absent = torch.zeros_like(shown)
    absent[:2, 1, 0] = absent[2, 8] = absent[2, 5, 1] = True
    shown &= ~absent
    there = torch.ones(4, 9, dtype=torch.bool)
    there[2, 8] = False
    levels = torch.from_numpy(np.random.default_rng(1).normal(size=(4, 9 if process == ONCE[1] else 1)))
    one = np.zeros((4, 1), int)
    ask = Ask(x, one, one[:, 0], levels, present=there, shown=shown, absent=absent)
    read = process.read_known(net, ask)
    assert read.count.tolist() == {1: [5, 5, 2, 0], 2: [2, 2, 1, 0], 3: [1, 1, 0, 0]}[patch]
    made = ~(shown | absent) & there.unsqueeze(-1)
    for noise in range(2):  # the second step goes on from what the first has read
        ask = replace(ask, x=torch.where(shown, x, x + noise))
        assert process.read_known(net, ask, read) is read
        slow, fast = (process.guess(net, one, None)[0].value for one in (ask, replace(ask, read=read)))
        torch.testing.assert_close(fast[made], slow[made], rtol=1e-10, atol=1e-10)
    assert process.read_known(net, replace(ask, x=x + 1), read) is not read
    level = replace(ask, level=ask.level + 1)
    known = (shown | absent).all(-1)
    alone = torch.stack([known[:, i // patch * patch : i // patch * patch + patch].all(1) for i in range(9)], 1)
    inputs = net(torch.ones(4, 9, net.spec.inputs).double(), level=ask.level * 0 + 1, apart=known)[0]
    other = net(torch.ones(4, 9, net.spec.inputs).double(), level=level.level, apart=known)[0]
    torch.testing.assert_close(inputs[alone], other[alone])  # what is known does not know the level


@torch.no_grad()
def test_rows_that_know_the_same_and_are_told_something_else_are_read_apart():
    """As those of guidance: one with the condition beside one without it."""
    net = Network(
        Backbone(width=8, depth=2, mixer=Attention(heads=2), mlp=1.0), ONCE[0].spec(TWO), TWO, 12, {}, seed=1
    ).double()
    for parameter in net.parameters():
        parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)).double())
    x, shown = numbers(rows=1).repeat(4, 1, 1), torch.zeros(4, 9, 2, dtype=torch.bool)
    shown[:, :5] = True
    told = torch.randn(4, 1, 8, generator=torch.Generator().manual_seed(4)).double()
    told[3] = told[2]
    one = np.zeros((4, 1), int)
    ask = Ask(x, one, one[:, 0], torch.full((4, 1), 0.3), shown=shown, absent=~shown & False)
    for given, states in ((EncodedConditions(added=told), [0, 1, 2, 2]), (EncodedConditions(added=told[:1]), [0] * 4)):
        ask = replace(ask, given=given)
        assert distinct(ask, 1)[1].tolist() == states
        read = ONCE[0].read_known(net, ask)
        slow, fast = (ONCE[0].guess(net, own, None)[0].value for own in (ask, replace(ask, read=read)))
        torch.testing.assert_close(fast[~shown], slow[~shown], rtol=1e-10, atol=1e-10)


@torch.no_grad()
@pytest.mark.parametrize("process", [Gaussian(features=(WINDOW,)), Gaussian(levels="position"), Flow()])
def test_inputs_that_stay_are_kept_and_nothing_changes(process):
    net = Network(Backbone(width=8, depth=1, mixer=Gru()), process.spec(TWO), TWO, window=12, given={}, seed=1).eval()
    x = numbers(rows=3).float()
    shown = torch.rand(3, 9, 2, generator=torch.Generator().manual_seed(2)) < 0.4
    absent = ~shown & (torch.rand(3, 9, 2, generator=torch.Generator().manual_seed(3)) < 0.2)
    there = torch.ones(3, 9, dtype=torch.bool)
    there[2, 7:] = False
    one = np.zeros((3, 1), int)
    levels = torch.full((3, 9 if process == Gaussian(levels="position") else 1), 0.3)
    ask = Ask(x, one, one[:, 0], levels, present=there, shown=shown, absent=absent)
    read = process.read_known(net, ask)
    for noise in range(3):
        ask = replace(ask, x=torch.where(shown, x, x + noise), level=levels - noise)
        assert process.read_known(net, ask, read) is read
        slow, fast = (process.guess(net, one, None)[0].value for one in (ask, replace(ask, read=read)))
        torch.testing.assert_close(fast, slow, rtol=0, atol=0)
    other = replace(ask, x=torch.where(shown, x + 1, x))
    assert process.read_known(net, other, read) is not read


# ---- patches ----------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("channels", ["joint", "own"])
def test_what_fills_a_last_patch_is_absent(channels):
    process = Gaussian(features=(WINDOW,))
    spec = Backbone(width=8, depth=2, mixer=Attention(heads=2), channels=channels, patch=3)
    net = Network(spec, process.spec(TWO), TWO, window=12, given={}, seed=1).double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)).double())
    x = numbers(steps=7)
    shown = torch.zeros_like(x, dtype=torch.bool)
    shown[:, :4] = True
    level = torch.zeros(3, 1).double()

    def guessed(steps):
        wide = torch.zeros(3, steps, 2).double()
        wide[:, :7] = x
        seen = torch.zeros_like(wide, dtype=torch.bool)
        seen[:, :7] = shown
        there = torch.arange(steps).expand(3, -1) < 7
        absent = ~there.unsqueeze(-1).expand(-1, -1, 2)
        ask = Ask(wide, np.zeros((3, 1), int), np.zeros(3, int), level, present=there, shown=seen, absent=absent)
        return process.guess(net, ask, None)[0].value[:, :7]

    torch.testing.assert_close(guessed(7), guessed(9))
    before = guessed(7)
    x[:, 1] += 1  # every patch attends to every other
    assert (guessed(7) - before)[:, 6].abs().min() > 1e-6


@torch.no_grad()
@pytest.mark.parametrize("steps", [6, 7])
def test_what_is_aligned_enters_the_patch_of_its_elements(steps):
    beside = Vectors(fields=(Field(name="price"),))
    spec = Backbone(width=8, depth=2, mixer=Attention(heads=2), patch=3)
    given = {"price": ConditionSpec(beside, "align")}
    process = Gaussian(known_once=True)
    net = Network(spec, process.spec(TWO), TWO, window=12, given=given, seed=1).double().eval()
    for parameter in net.parameters():
        parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)).double())
    prices = torch.randn(2, steps, 1, generator=torch.Generator().manual_seed(4)).double()

    def told(prices, present=None):
        present = torch.ones(prices.shape[:2], dtype=torch.bool) if present is None else present
        encoded = net.encode({"price": Condition(prices, present, aligned=True)}, 2)
        assert encoded is not None
        return encoded

    def changed(asked=prices, present=None):
        before, after = (one.first(-(-steps // 3)) for one in (told(prices), told(asked, present)))
        return ((after - before).abs().amax(-1) > 1e-9).tolist()

    other = prices.clone()
    other[0, 4] += 1  # an element changes the patch that holds it
    assert changed(other) == [[False, True, *[False] * (steps - 6)], [False] * -(-steps // 3)]
    turned = prices.clone()
    turned[1, [0, 1]] = prices[1, [1, 0]]  # and its place within the patch counts
    assert changed(turned)[1] == [True, False, *[False] * (steps - 6)]
    gone = torch.ones(2, steps, dtype=torch.bool)
    gone[0, 5] = False
    assert changed(present=gone)[0] == [False, True, *[False] * (steps - 6)]

    x, shown = numbers(rows=2, steps=steps), torch.zeros(2, steps, 2, dtype=torch.bool)
    shown[:, :4] = True
    one = np.zeros((2, 1), int)
    ask = Ask(x, one, one[:, 0], torch.zeros(2, 1), shown=shown, absent=~shown & False, given=told(prices))
    read = process.read_known(net, ask)
    assert read.count.tolist() == [1, 1]
    slow, fast = (process.guess(net, own, None)[0].value for own in (ask, replace(ask, read=read)))
    torch.testing.assert_close(fast[~shown], slow[~shown], rtol=1e-10, atol=1e-10)
    without = process.guess(net, replace(ask, given=told(other)), None)[0].value
    assert (without - slow)[0, 3:].abs().min() > 1e-6


def test_only_what_is_made_at_once_can_be_patched():
    for process, space in ((Autoregressive(), TWO), (Autoregressive(), Tokens(size=3))):
        with pytest.raises(ConfigError):
            Network(Backbone(patch=2), process.spec(space), space, 8, {})
