"""The linear expectation: moments against loops, guesses against the equations of kriging, one law in both orders."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqloom.core.errors import UnsupportedSpace
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.features import Window, framed
from seqloom.processes.gaussian import Gaussian
from seqloom.processes.linear import Linear, Variogram
from seqloom.processes.moments import Wandering
from seqloom.processes.visible import Visible
from seqloom.sequence.laws import CountedSplit
from seqloom.sequence.space import Field, Vectors

SPACE = Vectors(fields=tuple(Field(name=name, width=1, support="real") for name in ("a", "b")))


def ar1(rows, share, seed=0):
    """Rows of which each is `share` of the one before and as much noise as keeps the variance at 1."""
    noise = np.random.default_rng(seed).normal(size=rows)
    x = np.zeros(rows)
    for i in range(1, rows):
        x[i] = share * x[i - 1] + np.sqrt(1 - share**2) * noise[i]
    return x


def split(x, begins=None, known=None):
    first = np.zeros(len(x), bool)
    first[[0] if begins is None else begins] = True
    known = np.ones(x.shape, bool) if known is None else known
    return CountedSplit(x, first, np.zeros(len(x), np.int64), known)


def of_ar1(shares, length=12):
    """The exact moments of such rows, one channel each."""
    return Variogram(np.stack([1 - share ** np.arange(length) for share in shares]))


def test_moments_by_the_definition():
    """Two sequences; of the second the first thousand elements are one stretch and the others another."""
    random = np.random.default_rng(1)
    x, known = random.normal(size=(1040, 2)).cumsum(0), random.random((1040, 2)) < 0.8
    made = Variogram.count(split(x, [0, 11], known), 6).half_squares
    for channel in range(2):
        for apart in range(1, 6):
            squares = []
            for stretch, sequence in (((0, 11), (0, 11)), ((11, 1011), (11, 1040)), ((1011, 1040), (11, 1040))):
                own, seen = x[slice(*stretch), channel], known[slice(*stretch), channel]
                every = x[slice(*sequence), channel][known[slice(*sequence), channel]]
                own = own / np.hypot(own[seen].std(), 0.1 * every.std())
                pairs = [i for i in range(apart, len(own)) if seen[i] and seen[i - apart]]
                squares += [(own[i] - own[i - apart]) ** 2 for i in pairs]
            assert made[channel, apart] == pytest.approx(np.mean(squares) / 2)


def test_moments_of_many_rows_are_those_of_the_process():
    made = Variogram.count(split(np.stack([ar1(200_000, 0.9), ar1(200_000, 0.5, 1)], 1)), 8).half_squares
    assert np.allclose(made, of_ar1([0.9, 0.5], 8).half_squares, atol=0.02)


@pytest.mark.parametrize("hidden", [[11], [4, 5, 6], [0], [0, 1, 2, 9, 11], list(range(1, 12))])
def test_guesses_solve_the_equations_of_ordinary_kriging(hidden):
    """Weights that add up to one and a multiplier (Cressie 1993, 3.2.12), solved for each hidden cell by itself."""
    laws, x = of_ar1([0.9, 0.5]), np.random.default_rng(2).normal(size=(3, 12, 2)) + 7
    shown = np.ones(x.shape, bool)
    shown[:, hidden] = False
    mean, error = laws.expected(x, shown)
    known = [i for i in range(12) if i not in hidden]
    for channel in range(2):
        gamma = laws.half_squares[channel]
        system = np.ones((len(known) + 1, len(known) + 1))
        system[:-1, :-1] = gamma[np.abs(np.subtract.outer(known, known))]
        system[-1, -1] = 0
        for cell in hidden:
            right = np.append(gamma[np.abs(np.array(known) - cell)], 1.0)
            weights = np.linalg.solve(system, right)
            assert np.allclose(mean[:, cell, channel], x[:, known, channel] @ weights[:-1], rtol=1e-3)
            assert np.allclose(error[:, cell, channel] ** 2, weights @ right, rtol=0.02)
    assert np.isnan(mean[:, known]).all()


def test_a_guess_goes_with_the_level_and_the_unit_and_knows_no_other_channel():
    laws, x = of_ar1([0.9, 0.5]), np.random.default_rng(3).normal(size=(2, 12, 2))
    shown = np.ones(x.shape, bool)
    shown[:, 6:, 0] = False
    shown[0, :, 1] = False
    mean, error = laws.expected(x, shown)
    moved, _ = laws.expected(100 * x + 5_000, shown)
    assert np.allclose(moved, 100 * mean + 5_000, equal_nan=True)
    assert np.isnan(mean[0, :, 1]).all(), "a channel of which nothing is shown has no expectation"
    assert not np.isnan(mean[:, 6:, 0]).any()
    other = x.copy()
    other[..., 1] += 3
    assert np.array_equal(laws.expected(other, shown)[0][..., 0], mean[..., 0], equal_nan=True)
    many = np.repeat(x, 40, 0), np.repeat(shown, 40, 0)
    assert np.array_equal(laws.expected(*many)[0][::40], mean, equal_nan=True), "nor any other row"
    uneven = shown.copy()
    uneven[1, :, 1] = False  # so that rows of one pattern are not whole
    assert np.array_equal(laws.expected(x, uneven)[0][1, :, 0], mean[1, :, 0], equal_nan=True)
    every = torch.ones(80, 12, 2, dtype=torch.bool)
    position = torch.arange(12).expand(80, -1)
    rows = torch.from_numpy(many[0])
    whole = Linear(length=9).read(SPACE, Visible(rows, every, every, laws=laws), position).location[40:41]
    one = Linear(length=9).read(SPACE, Visible(rows[40:41], every[:1], every[:1], laws=laws), position[:1]).location
    assert torch.equal(whole.nan_to_num(), one.nan_to_num())
    guided = Visible(rows.clone().requires_grad_(), every, every, laws=laws)  # as guidance by observation asks
    assert torch.equal(Linear(length=9).read(SPACE, guided, position).location[40:41].nan_to_num(), whole.nan_to_num())
    assert (np.diff(error[0, 6:, 0]) > 0).all()


def test_errors_are_as_large_as_they_are_said_to_be():
    laws = of_ar1([0.8], 16)
    x = ar1(60_000, 0.8).reshape(-1, 16, 1)
    shown = np.ones(x.shape, bool)
    shown[:, 9:13] = False
    mean, error = laws.expected(x, shown)
    found = ((mean - x)[:, 9:13] ** 2).mean(0) / error[0, 9:13] ** 2
    assert np.allclose(found, 1.0, atol=0.05)


def test_from_left_to_right_the_next_is_expected_as_the_first_hidden_one_is():
    """Rows of every length: weights that grow with what is known, against an inversion for each."""
    laws = of_ar1([0.9, 0.5])
    linear = Linear(length=12)
    x = torch.from_numpy(np.random.default_rng(4).normal(size=(2, 12, 2)) + 3)
    everything = torch.ones_like(x, dtype=torch.bool)
    position = torch.arange(12).expand(2, -1)
    read = linear.read(SPACE, Visible(x, everything, everything, laws=laws), position)
    assert read.location is not None
    assert read.log_scale is not None
    for at in range(1, 12):
        shown = np.zeros(x.shape, bool)
        shown[:, :at] = True
        mean, error = laws.expected(x.numpy(), shown)
        assert np.allclose(read.location[:, at], mean[:, at], rtol=1e-6)
        assert np.allclose(read.log_scale[:, at], np.log(error[:, at] / laws.unit("spread", 12)), atol=1e-6)
    assert read.location[:, 0].isnan().all()


def test_what_is_missing_is_taken_to_be_as_the_one_before_and_what_is_hidden_changes_nothing():
    laws, linear = of_ar1([0.9, 0.5]), Linear(length=6)
    x = torch.from_numpy(np.random.default_rng(5).normal(size=(1, 12, 2)))
    known = torch.ones_like(x, dtype=torch.bool)
    known[:, 7:9] = False
    held = x.clone()
    held[:, 7:9] = x[:, 6:7]
    every = torch.ones_like(known)
    position = torch.tensor([[9, 10]])
    with_gap = linear.read(SPACE, Visible(x, known, known, laws=laws), position)
    filled = linear.read(SPACE, Visible(held, every, every, laws=laws), position)
    assert torch.equal(with_gap.location, filled.location)
    other = torch.where(known, x, 99.0)
    for ordered in (True, False):
        position = torch.arange(12)[None]
        reads = [
            linear.read(SPACE, Visible(cells, known, known, ordered=ordered, laws=laws), position)
            for cells in (x, other)
        ]
        assert torch.equal(reads[0].location.nan_to_num(), reads[1].location.nan_to_num())
        assert torch.equal(reads[0].channels, reads[1].channels)


def test_a_channel_that_never_changes_is_expected_to_stay():
    x = np.stack([np.full(40, 3.0), ar1(40, 0.9)], 1)
    laws = Variogram.count(split(x), 8)
    shown = np.ones((1, 8, 2), bool)
    shown[:, 5:] = False
    mean, error = laws.expected(x[None, :8], shown)
    assert np.allclose(mean[:, 5:, 0], 3.0)
    assert np.isfinite(error).all()


@pytest.mark.parametrize("process", [Gaussian, Autoregressive])
def test_what_is_counted_comes_from_the_feature_and_is_read_back(process):
    made = process(features=(Window(length=8), Linear(length=8)))
    counts = made.counts
    assert counts is not None
    laws = counts.count(split(np.random.default_rng(6).normal(size=(50, 2))), SPACE, ordered=False)
    again = counts.of(laws.tensors(), SPACE, ordered=False)
    assert np.array_equal(laws.tensors()["half_squares"], again.tensors()["half_squares"])
    assert made.spec(SPACE).inputs > process(features=(Window(length=8),)).spec(SPACE).inputs


def test_the_unit_is_the_spread_of_a_stretch():
    laws = of_ar1([0.9, 0.5])
    for steps in (3, 12):
        within = np.sqrt(np.diagonal(laws.covariance(steps), axis1=1, axis2=2).mean(1))
        assert np.allclose(laws.unit("spread", steps), within, rtol=1e-3)
    assert np.allclose(laws.unit("change", 12), np.sqrt(2 * np.array([0.1, 0.5])))


def test_sequences_within_a_row_are_kept_apart():
    laws, x = of_ar1([0.9, 0.5]), torch.from_numpy(np.random.default_rng(7).normal(size=(2, 12, 2)))
    begins = torch.zeros(2, 12, dtype=torch.bool)
    begins[:, 0] = begins[1, 5] = True
    known = torch.ones_like(x, dtype=torch.bool)
    known[1, 5, 0] = False
    linear, position = Linear(length=8), torch.arange(12).expand(2, -1)
    read = linear.read(SPACE, Visible(x, known, known, begins, laws=laws), position)
    alone = linear.read(SPACE, Visible(x[1:, 5:], known[1:, 5:], known[1:, 5:], laws=laws), position[1:, :7])
    assert torch.equal(read.location[1:, 5:].nan_to_num(9), alone.location.nan_to_num(9))
    assert torch.equal(read.channels[1:, 5:], alone.channels)
    assert read.location[1, 5:7, 0].isnan().all()
    assert not read.location[1, 6:, 1].isnan().any()


def test_a_canvas_longer_than_what_was_counted_is_read_in_windows():
    """What is far off hardly matters, so the guesses are nearly those of moments of all of it."""
    x = np.stack([ar1(60, 0.6, 8), ar1(60, 0.5, 9)], 1)[None]
    shown = np.ones(x.shape, bool)
    shown[:, [7, 20, 21, 22, 40, 58, 59]] = False
    mean, error = of_ar1([0.6, 0.5], 60).expected(x, shown)
    found, said = of_ar1([0.6, 0.5], 24).expected(x, shown)
    hidden = ~shown
    assert np.isnan(found[shown]).all()
    assert (abs(found - mean)[hidden] < 0.25 * error[hidden]).all()
    assert np.allclose(said[hidden], error[hidden], rtol=0.05)


def test_beside_it_the_window_gives_the_last_value_and_the_unit_of_changes():
    laws, x = of_ar1([0.9, 0.5]), torch.from_numpy(np.random.default_rng(9).normal(size=(2, 12, 2)))
    shown = torch.ones_like(x, dtype=torch.bool)
    shown[:, 8:] = shown[1, :, 1] = False
    position = torch.arange(12).expand(2, -1)
    visible = Visible(x, shown, shown, ordered=False, laws=laws)
    window = Window(length=12, level="last", scale="change", typical=0.4)
    read = window.read(SPACE, visible, position)
    assert torch.equal(read.location[:, :, 0], x[:, 7:8, 0].expand(-1, 12))
    assert (read.log_scale[:, :, 0] == read.log_scale[:, :1, 0]).all()
    assert (read.location[1, :, 1] == 0).all()
    both, frame = framed((window, Linear(length=12, scale="change")), SPACE, visible, position)
    _, error = laws.expected(x.numpy(), shown.numpy())
    found = (both.log_scale - frame.log_scale)[:, 8:, 0].exp() * laws.unit("change", 12)[0]
    assert np.allclose(found, error[:, 8:, 0])


# ---- momentum ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.6, 1.0])
def test_moments_of_a_walk_with_momentum_are_those_of_its_changes(momentum):
    """Weights and errors of hidden cells against regression on the covariance of changes that follow one another."""
    steps, hidden = 10, [4, 5, 8, 9]
    first = 1 / max(1 - momentum**2, 0.02)  # the variance of the first change
    change = np.zeros((steps, steps))  # how each follows from what is new in all of them
    for t in range(1, steps):
        change[t] = momentum * change[t - 1]
        change[t, t] += first**0.5 if t == 1 else 1.0
    level = np.eye(steps)[:1] * 1e3  # of the first value nothing is known
    walk = change.cumsum(0) + level
    covariance = walk @ walk.T
    known = [i for i in range(steps) if i not in hidden]
    gain = covariance[np.ix_(hidden, known)] @ np.linalg.inv(covariance[np.ix_(known, known)])
    left = covariance[np.ix_(hidden, hidden)] - gain @ covariance[np.ix_(known, hidden)]
    x = np.random.default_rng(11).normal(size=(2, steps, 1)).cumsum(1)
    shown = np.ones(x.shape, bool)
    shown[:, hidden] = False
    mean, error = Wandering(momentum, 1).expected(x, shown)
    assert np.allclose(mean[:, hidden, 0], x[:, known, 0] @ gain.T, atol=1e-2)
    assert np.allclose(error[:, hidden, 0], np.sqrt(np.diagonal(left)), rtol=1e-2)


def test_what_wanders_lies_on_the_line_between_or_goes_on():
    x = torch.arange(1.0, 9.0)[None, :, None].expand(1, 8, 2) ** 2
    shown = torch.ones_like(x, dtype=torch.bool)
    shown[:, 2:4] = shown[:, 6:] = False
    for momentum, ahead in ((0.0, [36, 36]), (1.0, [47, 58])):
        read = Linear(momentum=momentum).read(SPACE, Visible(x, shown, shown, ordered=False), torch.arange(8)[None])
        assert read.location[0, 6:, 0].tolist() == pytest.approx(ahead, abs=1e-3)
        if not momentum:
            assert read.location[0, 2:4, 0].tolist() == pytest.approx([11, 18])
    with pytest.raises(UnsupportedSpace, match="any order"):
        Linear(momentum=1.0).read(SPACE, Visible(x, shown, shown), torch.arange(8)[None])
