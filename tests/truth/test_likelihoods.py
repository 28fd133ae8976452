"""What processes score, against entropies and chain rules of networks that know the truth."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm

from oracles import GaussianOracle, TokenOracle, position_table, random_joint, random_positions, softmax
from seqloom.core.config import members_of
from seqloom.core.rng import Rng
from seqloom.mixers.attention import Attention
from seqloom.mixers.recurrent import Gru
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.processes.anyorder import AnyOrder
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.block import Block
from seqloom.processes.features import Lags
from seqloom.processes.gaussian import Gaussian
from seqloom.processes.masked import Masked
from seqloom.processes.schedules import Masking, Noise, PredictClean, Prediction
from seqloom.processes.times import LearnedMasking, Squares
from seqloom.sequence.batch import Batch, Past
from seqloom.sequence.space import Field, Tokens, Vectors

SIZE, STEPS = 3, 3
JOINT = random_joint(SIZE, STEPS, seed=3)
STRINGS = torch.tensor(list(JOINT))


def whole(x, known=None, shown=None):
    """A batch in which each row is one sequence, all of it to be scored."""
    present = torch.ones(x.shape[:2], dtype=torch.bool)
    known = torch.ones_like(x, dtype=torch.bool) if known is None else known
    begins = torch.zeros_like(present)
    begins[:, 0] = True
    return Batch(x, present, known, torch.zeros_like(known) if shown is None else shown, begins)


def keys(rows, seed=0):
    return Rng.of(seed, np.arange(rows))


# ---- masked -------------------------------------------------------------------------------------------------------


MASKS = ["counted", "independent"]


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("schedule", sorted(members_of(Masking)))
def test_masked_bound_of_an_oracle_is_the_entropy(schedule, masks):
    process = Masked(schedule=schedule, masks=masks)
    net = TokenOracle(process.spec(Tokens(size=SIZE)), SIZE, position_table(JOINT, SIZE))
    weights = np.array(list(JOINT.values()))
    means = []
    for draws in range(60):
        x = STRINGS[np.random.default_rng(draws).choice(len(weights), 500, p=weights)]
        means.append(float(process.bound(net, whole(x), keys(500, draws)).sum(1).mean()))
    entropy = -float((weights * np.log(weights)).sum())
    stderr = np.std(means, ddof=1) / math.sqrt(len(means))
    assert stderr < 0.02 * entropy
    assert abs(np.mean(means) - entropy) < 3 * stderr


def test_masked_bound_of_any_network_is_above_its_entropy_and_independent_of_the_schedule():
    table = random_positions(SIZE, seed=8)
    values = {}
    for name, masks in itertools.product(members_of(Masking), MASKS):
        process = Masked(schedule=name, masks=masks)
        net = TokenOracle(process.spec(Tokens(size=SIZE)), SIZE, table)
        x = STRINGS.repeat_interleave(20, 0)  # every string, as if all were equally likely
        runs = [float(process.bound(net, whole(x), keys(len(x), s)).sum(1).mean()) for s in range(60)]
        values[name, masks] = np.mean(runs), np.std(runs, ddof=1) / math.sqrt(60)
    for mean, stderr in values.values():
        assert mean - 3 * stderr > math.log(len(STRINGS))  # no network is better than the truth
        first = values["linear", "counted"]
        assert abs(mean - first[0]) < 4 * math.hypot(stderr, first[1])


class Copies(TokenOracle):
    """Knows that all symbols of a string are one, of which each is as likely."""

    def answer(self, x, level, flag):
        seen = torch.where(x < SIZE, x, -1).max(1).values
        found = torch.nn.functional.one_hot(seen.clamp_min(0), SIZE).double().log()
        return torch.where((seen >= 0)[:, None], found, 0.0)[:, None].expand(*x.shape, SIZE)


@pytest.mark.parametrize(
    ("kind", "masks"), [(Masked, "counted"), (Masked, "independent"), (AnyOrder, "counted"), (Block, "counted")]
)
def test_a_schedule_that_is_learned_has_the_same_bound_with_less_variance(kind, masks):
    """All that a string costs it costs where all is masked: there most of the times are drawn."""
    x = torch.arange(SIZE).repeat_interleave(4)[:, None].expand(-1, 8).contiguous()
    spread = {}
    for name in ("linear", "learned"):
        process = kind(schedule=name, masks=masks, **({"size": 8} if kind is Block else {}))
        net = Copies(process.spec(Tokens(size=SIZE)), SIZE, None)
        net.own = process.module(net.space)
        for step in range(300 if masks == "independent" else 60):
            process.loss(net, whole(x), keys(len(x), 1000 + step))
        likelihood = next(one for one in process.likelihoods().values() if one.kind == "bound")
        terms = [likelihood.nats(net, whole(x), keys(len(x), s), None)[0].sum(1) for s in range(200)]
        each = torch.stack(terms).flatten().numpy()
        spread[name] = each.std()
        assert abs(each.mean() - math.log(SIZE)) < 4 * each.std() / math.sqrt(len(each))
    # Drawn each by itself all are seldom masked, and there is less to gain: 0.66 of it at best.
    assert spread["learned"] < (0.5 if masks == "counted" else 0.9) * spread["linear"]


def test_times_are_learned_by_the_root_of_mean_squares():
    squares = Squares(4)
    assert squares.often() == (0.25,) * 4
    masked = torch.arange(8) < torch.tensor([[2], [4], [6], [8]])
    each = torch.tensor([1.0, 2.0, 3.0, 4.0])
    squares.add(each / 4, masked.sum(1), masked, each[:, None].expand(4, 8))
    assert squares.often() == pytest.approx([0.7 * part / 10 + 0.3 / 4 for part in (1, 2, 3, 4)])
    schedule = LearnedMasking(parts=4).learned(squares)
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    torch.testing.assert_close(schedule.time(schedule.alpha(t)), t)
    ends = torch.tensor(squares.often(), dtype=torch.float64).cumsum(0)
    torch.testing.assert_close(1 - schedule.alpha(ends), torch.arange(1, 5) / 4, check_dtype=False)


class Spy(TokenOracle):
    """Knows nothing, and keeps what it was shown."""

    def answer(self, x, level, flag):
        self.seen = x
        return torch.zeros(*x.shape, SIZE, dtype=torch.float64)


@pytest.mark.parametrize("masks", MASKS)
def test_times_are_spread_evenly_over_the_rows(masks):
    process = Masked(masks=masks)
    net = Spy(process.spec(Tokens(size=SIZE)), SIZE, None)
    x = torch.zeros(10, 4000, dtype=torch.int64)
    process.bound(net, whole(x), keys(10))
    shares = np.sort((net.seen == SIZE).double().mean(1).numpy())
    steps = np.diff(shares)
    assert (np.abs(steps - 0.1) < 6 * 0.5 / math.sqrt(4000)).all()
    assert not np.allclose(shares, np.sort(seed_shares(process, net, x, seed=1)), atol=0.001)


def seed_shares(process, net, x, seed):
    process.bound(net, whole(x), keys(len(x), seed))
    return (net.seen == SIZE).double().mean(1).numpy()


def test_a_fixed_rate_of_masks_trains_each_symbol_given_the_others():
    process = Masked(rate=0.3)  # one of three
    net = TokenOracle(process.spec(Tokens(size=SIZE)), SIZE, position_table(JOINT, SIZE))
    weights = np.array(list(JOINT.values()))
    x = STRINGS[np.random.default_rng(0).choice(len(weights), 30_000, p=weights)]
    loss = process.loss(net, whole(x), keys(len(x)))
    expected = 0.0
    for string, p in JOINT.items():
        for i in range(STEPS):
            beside = sum(q for other, q in JOINT.items() if all(other[j] == string[j] for j in range(STEPS) if j != i))
            expected -= p * math.log(p / beside) / STEPS
    assert float(loss.total / loss.count) == pytest.approx(expected, rel=0.02)
    assert float(process.bound(net, whole(x), keys(len(x))).sum(1).mean()) > 2 * expected  # scoring is as ever


def test_left_to_right_sums_to_one_and_is_the_chain_rule():
    process = Masked()
    table = random_positions(SIZE, seed=6)
    net = TokenOracle(process.spec(Tokens(size=SIZE)), SIZE, table)
    nats = process.left_to_right(net, whole(STRINGS), at_once=7)
    assert float((-nats.sum(1)).exp().sum()) == pytest.approx(1, abs=1e-9)
    for string, row in zip(STRINGS.tolist(), nats.tolist(), strict=True):
        for t in range(STEPS):
            seen = (*string[:t], *[SIZE] * (STEPS - t))
            assert row[t] == pytest.approx(-math.log(softmax(table(seen)[t])[string[t]]), abs=1e-9)


def test_left_to_right_of_a_real_network_sums_to_one():
    process = Masked()
    net = small(process, Tokens(size=SIZE))
    with torch.no_grad():
        nats = process.left_to_right(net, whole(STRINGS))
    assert float((-nats.sum(1)).exp().sum()) == pytest.approx(1, abs=1e-9)
    assert float(nats.std()) > 0.05


def test_shown_symbols_are_seen_and_not_scored():
    process = Masked()
    net = TokenOracle(process.spec(Tokens(size=SIZE)), SIZE, position_table(JOINT, SIZE))
    shown = torch.tensor([[False, True, False]]).expand(len(STRINGS), -1)
    nats = process.left_to_right(net, whole(STRINGS, shown=shown))
    assert (nats[:, 1] == 0).all()
    middle = {v: sum(p for s, p in JOINT.items() if s[1] == v) for v in range(SIZE)}
    for string, row in zip(STRINGS.tolist(), nats.tolist(), strict=True):
        assert sum(row) == pytest.approx(-math.log(JOINT[tuple(string)] / middle[string[1]]), abs=1e-9)
    assert (process.bound(net, whole(STRINGS, shown=shown), keys(len(STRINGS)))[:, 1] == 0).all()


# ---- gaussian -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", sorted(members_of(Prediction)))
@pytest.mark.parametrize("schedule", sorted(members_of(Noise)))
def test_gaussian_bound_of_an_oracle_lies_just_above_the_entropy(schedule, prediction):
    rng = np.random.default_rng(5)
    mix = rng.normal(size=(6, 6)) * 0.4
    cov = mix @ mix.T + 0.3 * np.eye(6)
    process = Gaussian(schedule=members_of(Noise)[schedule](), prediction=members_of(Prediction)[prediction]())
    space = Vectors(fields=(Field(name="a"), Field(name="b")))
    net = GaussianOracle(process.spec(space), np.zeros(6), cov, process.prediction, steps=3)
    density = multivariate_normal(np.zeros(6), cov)
    gaps = []  # batch by batch: times are stratified within one
    for draw in range(25):
        x = rng.multivariate_normal(np.zeros(6), cov, size=800)
        nats = process.bound(net, whole(torch.as_tensor(x).view(-1, 3, 2)), keys(800, draw))[0].sum(1).numpy()
        gaps.append((nats + density.logpdf(x)).mean() / 6)  # above the exact, row by row: takes the chance of x away
    stderr = np.std(gaps, ddof=1) / math.sqrt(len(gaps))
    assert stderr < 0.007
    assert -3 * stderr < np.mean(gaps) < 0.02


def test_gaussian_bound_of_a_wrong_network_is_larger():
    process = Gaussian(prediction=PredictClean())
    space = Vectors(fields=(Field(name="a"),))
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(5000, 2, 1)))
    values = []
    for cov in (np.eye(2), 0.5 * np.eye(2), 4 * np.eye(2)):
        net = GaussianOracle(process.spec(space), np.zeros(2), cov, process.prediction, steps=2)
        values.append(float(process.bound(net, whole(x), keys(len(x)))[0].mean()))
    assert values[0] + 0.03 < min(values[1:])


# ---- autoregressive -----------------------------------------------------------------------------------------------


def small(process, space, mixer=None):
    """A random network in float64 in which every part does something."""
    backbone = Backbone(mixer=mixer or Attention(heads=2), width=8, depth=1, mlp=2.0)
    net = Network(backbone, process.spec(space), space, window=8, given={}, seed=1).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.3)
    return net


@pytest.mark.parametrize("mixer", [Gru(), Attention(heads=2)], ids=lambda m: m.name)
@torch.no_grad()
def test_autoregressive_nats_of_symbols_by_hand(mixer):
    process, space = Autoregressive(), Tokens(size=SIZE)
    net = small(process, space, mixer)
    nats, _ = process.nats(net, whole(STRINGS), keys(len(STRINGS)), None)
    assert float((-nats.sum(1)).exp().sum()) == pytest.approx(1, abs=1e-9)
    for string, row in zip(STRINGS.tolist(), nats.tolist(), strict=True):
        for t in range(STEPS):
            logits = net(torch.tensor([[SIZE, *string[:t]]]))[0][0, -1]
            assert row[t] == pytest.approx(-float(logits.log_softmax(-1)[string[t]]), abs=1e-9)


@torch.no_grad()
def test_autoregressive_nats_of_vectors_by_hand():
    process, space = Autoregressive(), Vectors(fields=(Field(name="a"), Field(name="b")))
    net = small(process, space)
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(2, 4, 2)))
    known = torch.from_numpy(rng.random((2, 4, 2)) < 0.7)
    nats, _ = process.nats(net, whole(x, known), keys(2), None)
    for b, t in itertools.product(range(2), range(4)):
        seen = [[0.0] * 4 + [1.0] * 3]  # value, shown and absent of each channel, and the start
        for i in range(t):
            exists = known[b, i].double()
            seen.append([*(x[b, i] * exists).tolist(), *exists.tolist(), *(1 - exists).tolist(), 0.0])
        params = net(torch.tensor([seen], dtype=torch.float64))[0][0, -1].numpy()
        scale = np.log1p(np.exp(params[2:] + math.log(math.e - 1))) + 1e-3
        each = -norm.logpdf(x[b, t], params[:2], scale)
        assert float(nats[b, t]) == pytest.approx(float(each[known[b, t].numpy()].sum()), abs=1e-9)


@torch.no_grad()
def test_lags_and_differences_by_hand():
    process, space = (
        Autoregressive(features=(Lags(lags=(3, 2), difference=2),)),
        Vectors(fields=(Field(name="a"), Field(name="b"))),
    )
    net = small(process, space)
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(2, 6, 2)))
    known = torch.from_numpy(rng.random((2, 6, 2)) < 0.7)
    nats, _ = process.nats(net, whole(x, known), keys(2), None)
    for b, t in itertools.product(range(2), range(6)):
        seen = []
        for i in range(t + 1):
            parts = []
            for lag in (1, 2, 3):  # what lies before the beginning is absent
                exists = known[b, i - lag].double() if i >= lag else torch.zeros(2, dtype=torch.float64)
                parts += [*(x[b, i - lag] * exists).tolist(), *exists.tolist(), *(1 - exists).tolist()]
            seen.append([*parts, float(i == 0)])
        params = net(torch.tensor([seen], dtype=torch.float64))[0][0, -1].numpy()
        scale = np.log1p(np.exp(params[2:] + math.log(math.e - 1))) + 1e-3
        since = (x[b, t - 2] * known[b, t - 2]).numpy() if t >= 2 else np.zeros(2)
        each = -norm.logpdf(x[b, t], since + params[:2], scale)
        assert float(nats[b, t]) == pytest.approx(float(each[known[b, t].numpy()].sum()), abs=1e-9)


@torch.no_grad()
def test_lags_reach_back_over_chunks_and_not_over_the_beginning_of_a_sequence():
    process, space = Autoregressive(features=(Lags(lags=(4,), difference=4),)), Vectors(fields=(Field(name="a"),))
    net = small(process, space, Gru())
    rng = np.random.default_rng(1)
    x, ones = torch.from_numpy(rng.normal(size=(1, 12, 1))), torch.ones(1, 12, 1, dtype=torch.bool)
    begins = torch.zeros(1, 12, dtype=torch.bool)
    begins[0, [0, 5]] = True

    def read(x, cuts):
        state, parts = process.start(net, 1), []
        for a, b in itertools.pairwise(cuts):
            cut = slice(a, b)
            before = torch.arange(a - 4, a)
            inside = (before >= (5 if a >= 5 else 0)) & (before >= 0)
            past = Past(x[:, before.clamp_min(0)], inside[None, :, None])
            chunk = Batch(x[:, cut], ones[:, cut, 0], ones[:, cut], ~ones[:, cut], begins[:, cut], past=past)
            nats, state = process.nats(net, chunk, keys(1), state)
            parts.append(nats)
        return torch.cat(parts, 1)

    at_once = read(x, (0, 12))
    for cuts in ((0, 1, 2, 6, 7, 12), (0, 5, 12), (0, 5, 8, 12)):
        torch.testing.assert_close(read(x, cuts), at_once)
    changed = x.clone()
    changed[0, :5] += 100
    torch.testing.assert_close(read(changed, (0, 12))[:, 5:], at_once[:, 5:])


@torch.no_grad()
def test_a_boundary_inside_a_chunk_begins_anew_and_a_carried_row_goes_on():
    process = Autoregressive()
    net = small(process, Tokens(size=SIZE), Gru())
    x = torch.tensor([[0, 1, 2, 2, 1, 0]])
    begins = torch.zeros(1, 6, dtype=torch.bool)
    begins[0, 0] = True
    ones, zeros = torch.ones(1, 6, dtype=torch.bool), torch.zeros(1, 6, dtype=torch.bool)
    at_once, _ = process.nats(net, Batch(x, ones, ones, zeros, begins), keys(1), None)
    carried, parts = process.start(net, 1), []
    for cut in (slice(0, 2), slice(2, 3), slice(3, 6)):
        past = Past(x[:, max(0, cut.start - 1) : max(1, cut.start)], ones[:, :1])
        chunk = Batch(x[:, cut], ones[:, cut], ones[:, cut], zeros[:, cut], begins[:, cut], past=past)
        nats, carried = process.nats(net, chunk, keys(1), carried)
        carried = carried.detach()
        parts.append(nats)
    torch.testing.assert_close(torch.cat(parts, 1), at_once)
    inside = begins.clone()
    inside[0, 3] = True
    nats, _ = process.nats(net, Batch(x, ones, ones, zeros, inside), keys(1), None)
    first, second = (net(torch.tensor([[SIZE, *part]]))[0].log_softmax(-1) for part in ([0, 1], [2, 1]))
    torch.testing.assert_close(nats[0], -torch.cat([first, second], 1)[0, range(6), x[0]])
    # A row that begins anew at its first position forgets what was carried.
    anew, _ = process.nats(net, Batch(x, ones, ones, zeros, begins), keys(1), carried)
    torch.testing.assert_close(anew, at_once)
