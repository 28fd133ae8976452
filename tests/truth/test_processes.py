"""What a process may have: state of its own, features, trained tensors, levels for each position, mixed fields."""

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal, norm
from torch import nn

from oracles import GaussianOracle, Oracle, sample
from seqloom.codecs.series import Series
from seqloom.core.config import members_of
from seqloom.core.errors import DataError, NotComparable, UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.corpora.base import Flat, Prepared, Split
from seqloom.corpora.builtin import Builtin
from seqloom.metrics import likelihood
from seqloom.metrics.base import View
from seqloom.metrics.likelihood import LikelihoodMetric, Reading, mean_loss
from seqloom.mixers.attention import Attention
from seqloom.mixers.recurrent import Gru
from seqloom.network.backbone import Backbone
from seqloom.network.given import ConditionSpec
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.base import Loss, Process
from seqloom.processes.features import Feature, Lags, Read
from seqloom.processes.gaussian import Gaussian, diffused, lifted, lowered
from seqloom.processes.heads import Normal
from seqloom.processes.schedules import PredictClean, Prediction
from seqloom.recipe import Recipe
from seqloom.samplers.base import Sampler
from seqloom.samplers.diffuse import Diffuse
from seqloom.sequence.batch import Batch
from seqloom.sequence.guess import Ask, Gives, Guess
from seqloom.sequence.query import Score, student
from seqloom.sequence.space import Field, Tokens, Vectors
from seqloom.sequence.spec import NetworkSpec
from seqloom.sequence.state import State
from seqloom.training.feed import Feed, Reader
from seqloom.training.trainer import Loop, Trainer
from seqloom.validation import LOSS, Validation

SERIES = Vectors(fields=(Field(name="a"),))


def network(process, space, mixer=None, window=8, seed=1, shake=0.3):
    backbone = Backbone(mixer=mixer or Gru(), width=8, depth=1)
    net = Network(backbone, process.spec(space), space, window, {}, seed, process.module(space)).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * shake)
    return net


def whole(x, known=None, shown=None):
    present = torch.ones(x.shape[:2], dtype=torch.bool)
    known = torch.ones_like(x, dtype=torch.bool) if known is None else known
    begins = torch.zeros_like(present)
    begins[:, 0] = True
    return Batch(x, present, known, torch.zeros_like(known) if shown is None else shown, begins)


def keys(rows, seed=0):
    return Rng.of(seed, np.arange(rows))


def reading(x, space, starts=None, known=None, **more):
    starts = np.array([0, len(x)]) if starts is None else np.asarray(starts)
    return Reading(Flat(x, starts, known), space, "value", float(len(x)), **more)


# ---- features -----------------------------------------------------------------------------------------------------


class RunningScale(Feature, name="test scale of what is shown"):
    """The mean and spread of the cells that are shown, for every position."""

    @property
    def located(self):
        return True

    @property
    def spread(self):
        return True

    def read(self, space, visible, position):
        visible_cells = (visible.known & visible.shown).double()
        count = visible_cells.sum(1, keepdim=True).clamp_min(1)
        mean = (visible.x.double() * visible_cells).sum(1, keepdim=True) / count
        spread = (((visible.x - mean) ** 2 * visible_cells).sum(1, keepdim=True) / count + 1e-2).sqrt()
        shape = (*position.shape, visible.x.shape[-1])
        return Read(None, mean.expand(shape), spread.log().expand(shape))


class Frequencies(Feature, name="test counts of symbols"):
    """Log-probabilities of the symbols so far, added to the network's logits."""

    @property
    def past(self):
        return 0

    def read(self, space, visible, position):
        kinds = torch.nn.functional.one_hot(visible.x.clamp_max(space.total - 1), space.total).double()
        counts = (kinds * visible.known.unsqueeze(-1)).cumsum(1) - kinds * visible.known.unsqueeze(-1)
        counts = counts.take_along_dim(position.unsqueeze(-1), 1)
        return Read(logits=((counts + 0.5) / (counts + 0.5).sum(-1, keepdim=True)).log())


@torch.no_grad()
def test_a_scale_from_shown_cells_makes_the_likelihood_follow_units():
    """In units a thousand times as large, all that changes is the Jacobian: log 1000 a cell."""
    process = Autoregressive(features=[RunningScale()])
    net = network(process, SERIES)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 9, 1))) + 5
    shown = torch.zeros_like(x, dtype=torch.bool)
    shown[:, :5] = True
    nats, _ = process.nats(net, whole(x, shown=shown), keys(2), None)
    assert (nats[:, :5] == 0).all()
    assert (nats[:, 5:] != 0).all()
    # By hand: the head's distribution of (x - mean) / spread, with the spread counted.
    inputs_of = process.inputs
    seen = {}
    process_inputs = inputs_of(net, seen_of(x, shown), torch.arange(9).expand(2, -1), first_of(x))
    seen["params"] = net(process_inputs[0])[0]
    mean, spread = x[:, :5].mean(1, keepdim=True), (x[:, :5].var(1, unbiased=False, keepdim=True) + 1e-2).sqrt()
    mu, scale = Normal().split(seen["params"])
    standard = (x - mean) / spread
    by_hand = -norm.logpdf(standard.numpy(), mu.numpy(), scale.numpy()) + spread.log().numpy()
    np.testing.assert_allclose(nats[:, 5:].numpy(), by_hand[:, 5:, 0], atol=1e-9)


def seen_of(x, shown):
    from seqloom.processes.visible import Visible

    return Visible(x, torch.ones_like(shown), shown)


def first_of(x):
    first = torch.zeros(x.shape[:2], dtype=torch.bool)
    first[:, 0] = True
    return first


@torch.no_grad()
def test_counts_added_to_logits_sum_to_one_and_are_used_by_guesses_alike():
    space = Tokens(size=3)
    process = Autoregressive(features=[Frequencies()])
    net = network(process, space)
    strings = torch.tensor(list(itertools.product(range(3), repeat=3)))
    nats, _ = process.nats(net, whole(strings), keys(len(strings)), None)
    assert float((-nats.sum(1)).exp().sum()) == pytest.approx(1, abs=1e-9)
    plain, _ = Autoregressive().nats(net, whole(strings), keys(len(strings)), None)
    assert not torch.allclose(nats, plain)
    for t in range(3):
        ask = Ask(x=strings, want=np.full((len(strings), 1), t), fixed=np.full(len(strings), t))
        guess, _ = process.guess(net, ask, net.begin(len(strings), 4))
        cost = -guess.value[:, 0].log_softmax(-1).gather(1, strings[:, t : t + 1])[:, 0]
        torch.testing.assert_close(cost, nats[:, t])


@pytest.mark.parametrize("mixer", [Gru(), Attention(heads=2)], ids=lambda m: m.name)
@torch.no_grad()
def test_guesses_read_the_lags_that_training_read_beyond_the_window_too(mixer):
    process = Autoregressive(features=(Lags(lags=(6,), difference=6),))
    net = network(process, SERIES, mixer, window=4)
    x = torch.from_numpy(np.random.default_rng(3).normal(size=(1, 20, 1)))
    score = likelihood.score(net, process, reading(x[0].numpy().astype(np.float32), SERIES), tokens=True)
    x = x.float().double()
    nothing = torch.zeros_like(x, dtype=torch.bool)
    for t in (0, 3, 7, 12, 19):
        ask = Ask(x, np.array([[t]]), np.array([t]), shown=~nothing, absent=nothing)
        guess, _ = process.guess(net, ask, net.begin(1, 20))
        mean = guess.head.mean(guess.value[:, 0])
        _, scale = Normal().split(guess.value[:, 0, :-1])
        if net.reach is None or t < 4:  # a window that slides begins elsewhere in scoring
            assert score.surprisal[t] == pytest.approx(-norm.logpdf(x[0, t, 0], mean[0, 0], scale[0, 0]), abs=1e-6)
        changed = x.clone()
        if t >= 6:
            changed[0, t - 6] += 1.0
            ask = Ask(changed, ask.want, ask.fixed, shown=~nothing, absent=nothing)
            moved, _ = process.guess(net, ask, net.begin(1, 20))
            assert float((moved.head.mean(moved.value[:, 0]) - mean).abs().max()) > 0.01
    with pytest.raises(UnsupportedSpace):
        process.spec(Tokens(size=3))


@torch.no_grad()
def test_scoring_in_stretches_reads_the_season_that_lies_before_them():
    """A network that gives what was a season ago knows a season of any length: the exact value is that of a formula."""
    season, rows = 300, 6000
    process = Autoregressive(features=(Lags(difference=season),))
    net = network(process, SERIES, shake=0.0)
    net.head.weight.zero_()
    rng = np.random.default_rng(0)
    x = np.tile(rng.normal(size=season) * 3, rows // season) + 0.1 * rng.normal(size=rows)
    score = likelihood.score(net, process, reading(x[:, None].astype(np.float32), SERIES), tokens=True)
    nats = np.array(score.surprisal)
    far = np.arange(season, rows)
    spread = (x[far] - x[far - season]).std()
    assert spread < 0.2
    # However it is cut into stretches, every element is scored with the one a season before it.
    assert np.corrcoef(nats[far], (x[far] - x[far - season]) ** 2)[0, 1] > 0.9
    assert nats[far].max() < nats[:season].max()


# ---- boundaries ---------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_whole_is_the_sum_of_its_sequences():
    for space in (Tokens(size=3, ends=True), SERIES):
        process = Autoregressive()
        net = network(process, space)
        rng = np.random.default_rng(0)
        sizes = [5, 1, 700, 12]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        x = rng.integers(0, 3, starts[-1]) if space.symbolic else rng.normal(size=(starts[-1], 1)).astype(np.float32)
        together = likelihood.score(net, process, reading(x, space, starts))
        apart = [likelihood.score(net, process, reading(x[a:b], space)) for a, b in itertools.pairwise(starts)]
        assert together.nats == pytest.approx(sum(score.nats for score in apart), abs=1e-6)


def test_nothing_known_is_an_error_and_measures_are_not_mixed():
    process = Autoregressive()
    net = network(process, SERIES)
    with pytest.raises(DataError):
        likelihood.score(net, process, reading(np.zeros((4, 1), np.float32), SERIES, known=np.zeros((4, 1), bool)))
    density = Score(1.0, 4.0, "value", "exact", measure="density")
    with pytest.raises(NotComparable):
        density.check(Score(1.0, 4.0, "value", "exact", measure="mass"))
    density.check(Score(2.0, 4.0, "value", "bound", measure="density"))


def test_the_interval_of_a_few_draws_covers():
    from scipy.stats import t

    for freedom in (1, 7, 15, 16, 40, 500):
        assert student(freedom) == pytest.approx(t.ppf(0.975, freedom), abs=2e-3)
    draws = np.random.default_rng(0).normal(size=(20_000, 8))
    error = draws.std(1, ddof=1) / math.sqrt(8)
    margins = np.array([Score(0.0, 1.0, "value", "bound", stderr=e, draws=8).margin for e in error])
    assert 0.943 < np.mean(np.abs(draws.mean(1)) < margins) < 0.957


# ---- gaussian -----------------------------------------------------------------------------------------------------


class MissingOracle(GaussianOracle):
    """The best denoiser of the cells that exist: those that are absent are summed out."""

    def answer(self, x, level, flag):
        wide = self.width
        absent = x[..., 2 * wide :].bool().flatten(1)
        out = torch.zeros(*x.shape[:2], wide, dtype=torch.float64)
        for pattern in torch.unique(absent, dim=0):
            rows, kept = (absent == pattern).all(1), ~pattern.numpy()
            inner = GaussianOracle(
                NetworkSpec(False, 3, 1, None, True), self.mean[kept], self.cov[np.ix_(kept, kept)],
                self.prediction, int(kept.sum()),
            )  # fmt: skip
            part = [piece.flatten(1)[rows][:, kept] for piece in x.split(wide, -1)]
            made = inner.answer(torch.stack(part, -1), level[rows], None)
            flat = out[rows].flatten(1)
            flat[:, torch.as_tensor(kept)] = made[..., 0]
            out[rows] = flat.view(-1, *out.shape[1:])
        return out


def test_the_bound_of_windows_with_absent_cells_is_that_of_what_is_known():
    rng = np.random.default_rng(5)
    mix = rng.normal(size=(6, 6)) * 0.4
    cov = mix @ mix.T + 0.3 * np.eye(6)
    process = Gaussian()
    space = Vectors(fields=(Field(name="a"), Field(name="b")))
    net = MissingOracle(process.spec(space), np.zeros(6), cov, process.prediction, steps=3)
    gaps = []
    patterns = rng.random((4, 6)) < 0.6
    for draw in range(12):
        for pattern in patterns:
            x = rng.multivariate_normal(np.zeros(6), cov, size=200)
            known = torch.as_tensor(np.broadcast_to(pattern, x.shape).copy()).view(-1, 3, 2)
            values = torch.as_tensor(x).view(-1, 3, 2).masked_fill(~known, torch.nan)
            nats, _ = process.bound(net, whole(values, known), keys(200, draw))
            exact = multivariate_normal(np.zeros(pattern.sum()), cov[np.ix_(pattern, pattern)]).logpdf(x[:, pattern])
            gaps.append((nats.sum(1).numpy() + exact).mean() / pattern.sum())
    stderr = np.std(gaps, ddof=1) / math.sqrt(len(gaps))
    assert stderr < 0.015
    assert -3 * stderr < np.mean(gaps) < 0.03


def test_mixed_fields_are_diffused_and_come_back():
    fields = (Field(name="p", support="positive"), Field(name="k", support="category", width=3), Field(name="r"))
    space = Vectors(fields=fields, ends=True)
    x = torch.tensor([[[2.0, 0, 1, 0, -0.3, 0], [0.5, 1, 0, 0, 1.2, 1]]])
    torch.testing.assert_close(lowered(space, lifted(space, x)), x)
    assert set(lifted(space, x)[..., [1, 2, 3, 5]].unique().tolist()) == {-1.0, 1.0}
    beyond = torch.tensor([[[2.0, 0, 1, 0, -0.3, 1], [0.0, 0, 0, 0, 0.0, 1]]])
    z, nats = diffused(space, whole(beyond), keys(1))
    assert (z[0, 1, [0, 4]] != 0).all()  # noise stands beyond the end
    assert (nats[0, 0] == 0).all()
    assert float(nats[0, 1, 4]) == pytest.approx(-norm.logpdf(float(z[0, 1, 4])), abs=1e-5)
    with pytest.raises(UnsupportedSpace):
        Gaussian().spec(Vectors(fields=(Field(name="n", support="count"),)))


@pytest.mark.parametrize("name", sorted(members_of(Prediction)))
def test_what_is_drawn_beyond_the_end_is_learned_as_its_mean(name):
    """A network that says of N(0, 1) what can be said has no loss there: nothing is left that no network can learn."""

    class Standard(Oracle):
        def answer(self, x, level, flag):
            z, log_nsr = x[..., :2], 4 * level[..., None]
            alpha, sigma = torch.sigmoid(-2 * log_nsr).sqrt(), torch.sigmoid(2 * log_nsr).sqrt()
            return prediction.target(alpha * z, sigma * z, alpha, sigma)

    prediction = members_of(Prediction)[name]()
    space = Vectors(fields=(Field(name="a"),), ends=True)
    process = Gaussian(prediction=prediction)
    x = torch.zeros(2000, 4, 2, dtype=torch.float64)
    x[:, 1:, 1] = 1.0
    known = torch.ones_like(x, dtype=torch.bool)
    known[..., 1] = False  # the flag itself is of no account here
    known[:, 0] = False
    batch, net = whole(x, known), Standard(process.spec(space), space)
    loss = process.loss(net, batch, keys(2000))
    at_end = 2000  # the element with the flag is the sequence's own: 0, where N(0, 1) was said
    assert int(loss.count) == 3 * 2000
    own = torch.zeros_like(known)
    own[:, 1, 0] = True
    alone = process.loss(net, replace(batch, known=own), keys(2000))
    assert int(alone.count) == at_end
    assert float(loss.total) == pytest.approx(float(alone.total), rel=1e-6)
    # The same target is the mean of the usual one: their covariance with z is the same.
    rng = np.random.default_rng(0)
    clean, noise = torch.from_numpy(rng.normal(size=(2, 400_000)))
    alpha = torch.tensor(0.6, dtype=torch.float64)
    sigma = torch.tensor(0.8, dtype=torch.float64)
    z = alpha * clean + sigma * noise
    usual = float((prediction.target(clean, noise, alpha, sigma) * z).mean())
    assert usual == pytest.approx(float((prediction.target(alpha * z, sigma * z, alpha, sigma) * z).mean()), abs=0.01)


class CoinOracle(GaussianOracle):
    """The best denoiser of one yes or no of probability p, beside nothing else."""

    def __init__(self, spec, p, prediction):
        super().__init__(spec, np.zeros(1), np.eye(1), prediction, steps=1)
        self.space = Vectors(fields=(Field(name="coin", support="binary"),))
        self.p = p

    def answer(self, x, level, flag):
        z = x[..., :1].double()
        log_nsr = 4 * level.double()[..., None]
        alpha, sigma = torch.sigmoid(-2 * log_nsr).sqrt(), torch.sigmoid(2 * log_nsr).sqrt()
        clean = torch.tanh(alpha * z / sigma**2 + 0.5 * math.log(self.p / (1 - self.p)))
        return self.prediction.target(clean, (z - alpha * clean) / sigma, alpha, sigma)


def test_the_bound_of_a_coin_is_its_entropy_and_samples_are_of_its_law():
    process, p = Gaussian(prediction=PredictClean()), 0.8
    space = Vectors(fields=(Field(name="coin", support="binary"),))
    net = CoinOracle(process.spec(space), p, process.prediction)
    rng = np.random.default_rng(0)
    entropy = -(p * math.log(p) + (1 - p) * math.log(1 - p))
    assert space.measure == "mass"
    means = []
    for draw in range(20):
        x = torch.as_tensor((rng.random((8000, 1, 1)) < p).astype(np.float64))
        exact = -(x * math.log(p) + (1 - x) * math.log(1 - p)).sum((1, 2))
        nats, _ = process.bound(net, whole(x), keys(8000, draw))
        means.append(float((nats.sum(1) - exact).mean()))
    stderr = np.std(means, ddof=1) / math.sqrt(len(means))
    assert stderr < 0.02 * entropy + 0.01
    assert -3 * stderr < np.mean(means) < 0.03
    made = sample(net, process, Diffuse(steps=30), torch.zeros(1, 1), rows=3000)
    assert set(made.unique().tolist()) <= {0.0, 1.0}
    assert float(made.mean()) == pytest.approx(p, abs=0.03)


def test_a_level_of_each_position_is_trained_and_asked():
    """Independent standard normal numbers, each noised by its own level: the best guess follows from that alone."""
    process = Gaussian(levels="position", prediction=PredictClean())
    net = GaussianOracle(process.spec(SERIES), np.zeros(3), np.eye(3), process.prediction, steps=3)

    def answer(x, level, flag):
        log_nsr = 4 * level.double()[..., None]
        assert level.shape[1] == 3
        alpha = torch.sigmoid(-2 * log_nsr).sqrt()
        return alpha * x[..., :1].double()

    net.answer = answer
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(4000, 3, 1)))
    loss = process.loss(net, whole(x), keys(4000))
    t = torch.rand(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alpha, sigma = process.schedule.at(t)
    expected = float((sigma**2 / (alpha**2 + sigma**2)).mean())  # what the best guess errs with noise of this level
    assert float(loss.total / loss.count) == pytest.approx(expected, rel=0.05)
    level = torch.tensor([[-1.0, 0.0, 2.0]], dtype=torch.float64)
    nothing = torch.zeros(1, 3, 1, dtype=torch.bool)
    z = torch.ones(1, 3, 1, dtype=torch.float64)
    ask = Ask(z, np.zeros((1, 1), int), np.zeros(1, int), level=level, shown=nothing, absent=nothing)
    guess, _ = process.guess(net, ask, None)
    torch.testing.assert_close(guess.value[0, :, 0], torch.sigmoid(-2 * level[0]).sqrt())


# ---- a process with state and tensors of its own, without a likelihood ---------------------------------------------


class Seen(State):
    """How many elements there were, and their sum: running statistics that no batch begins anew."""

    def __init__(self, rows):
        self.count, self.total = torch.zeros(1), torch.zeros(rows)

    def tensors(self):
        return {"count": self.count, "total": self.total}

    def load(self, tensors):
        self.count, self.total = tensors["count"].clone(), tensors["total"].clone()

    def select(self, rows):
        other = Seen(len(rows))
        other.count, other.total = self.count.clone(), self.total[rows]
        return other

    def detach(self):
        other = Seen(len(self.total))
        other.count, other.total = self.count.detach(), self.total.detach()
        return other


class Slope(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), 0.5))


class Running(Process, name="test running mean"):
    """Predicts each element by the mean of all batches so far, times a trained number of its own."""

    gives = Gives.CLEAN
    sampler = "diffuse"
    persistent = True

    def spec(self, space):
        return NetworkSpec(False, space.dim, space.dim, block=None, timed=False)

    def module(self, space):
        return Slope()

    def start(self, net, rows):
        return Seen(rows)

    def loss(self, net, batch, rng, state=None, drop=None):
        after = Seen(len(batch.x))
        after.count, after.total = state.count + 1, state.total + batch.x.sum((1, 2))
        guess = (
            net(batch.x, present=batch.present)[0] + net.own.weight * (state.total / (1 + state.count))[:, None, None]
        )
        return Loss(((guess - batch.x) ** 2).sum(), batch.wanted.sum(), after)

    def guess(self, net, ask, state, limit=None):
        raise NotImplementedError


def test_state_that_lasts_and_tensors_of_its_own_survive_kill_and_resume_bit_for_bit():
    x = np.random.default_rng(0).normal(size=(200, 1)).astype(np.float32)
    split = Split(Flat(x, np.array([0, 200])), {}, 200.0, 0.0, "x")

    def loop():
        process, net = running()
        return Loop(Trainer(steps=20), net, process, Reader(Feed(window=8, batch=4), split, SERIES, 0, {}))

    def advance(made, steps):
        return [made.advance(1e-2).loss for _ in range(steps)]

    through = loop()
    losses = advance(through, 12)
    assert float(through.state.carried.count) == 12
    assert through.net.own.weight.item() != 0.5
    killed = loop()
    advance(killed, 7)
    weights = {k: v.clone() for k, v in killed.net.state_dict().items()}
    average = {k: v.clone() for k, v in killed.average.items()}
    kept = {k: v.clone() for k, v in killed.tensors().items()}
    assert "state.total" in kept
    resumed = loop()
    for name, value in killed.state.numbers().items():
        setattr(resumed.state, name, value)
    resumed.restore(weights, average, kept)
    assert advance(resumed, 5) == losses[7:]
    for name, value in through.net.state_dict().items():
        assert torch.equal(value, resumed.net.state_dict()[name]), name
    assert torch.equal(through.state.carried.total, resumed.state.carried.total)


class Forgetful(Running):
    """One whose state goes on along a stream alone; a loss that is given none makes one."""

    persistent = False

    def loss(self, net, batch, rng, state=None, drop=None):
        return super().loss(net, batch, rng, state or Seen(len(batch.x)), drop)


@pytest.mark.parametrize(("order", "kept"), [("windows", False), ("whole", False), ("streams", True)])
def test_state_is_kept_along_a_stream_alone(order, kept):
    x = np.random.default_rng(0).normal(size=(200, 1)).astype(np.float32)
    split = Split(Flat(x, np.arange(0, 201, 8)), {}, 200.0, 0.0, "x")

    def loop():
        process, (_, net) = Forgetful(), running()
        return Loop(Trainer(steps=20), net, process, Reader(Feed(window=8, batch=4, order=order), split, SERIES, 0, {}))

    made, resumed = loop(), loop()
    made.advance(1e-2)
    assert any(name.startswith("state.") for name in made.tensors()) == kept
    weights, average = made.net.state_dict(), dict(made.average)
    resumed.restore(
        {k: v.clone() for k, v in weights.items()}, {k: v.clone() for k, v in average.items()}, made.tensors()
    )
    resumed.state.cursor = 1
    assert made.advance(1e-2).loss == resumed.advance(1e-2).loss


def running():
    process = Running()
    backbone = Backbone(mixer=Gru(), width=8, depth=1)
    return process, Network(backbone, process.spec(SERIES), SERIES, 8, {}, 0, process.module(SERIES))


def test_without_a_likelihood_the_loss_is_what_is_told():
    process, net = running()
    data = reading(np.random.default_rng(0).normal(size=(50, 1)).astype(np.float32), SERIES)
    assert process.likelihoods() == {}
    (record,) = LikelihoodMetric().measure(View(net, process, data))
    assert record == mean_loss(net, process, data)
    assert record["name"] == "loss"
    assert math.isfinite(record["value"])


class Beside(Process, name="test nearness to what is beside"):
    """The squared distance of each element to the condition at its position: its mean loss follows from the data."""

    gives = Gives.CLEAN
    sampler = "diffuse"

    def spec(self, space):
        return NetworkSpec(False, space.dim, space.dim, block=None, timed=False)

    def loss(self, net, batch, rng, state=None, drop=None):
        return Loss(((batch.given["beside"].x - batch.x) ** 2 * batch.wanted).sum(), batch.wanted.sum(), state)

    def guess(self, net, ask, state, limit=None):
        raise NotImplementedError


def test_the_mean_loss_reads_an_aligned_condition_by_position():
    """What stands beside each element is 1 more than it, in sequences longer and shorter than a window."""
    process, starts = Beside(), np.array([0, 19, 24])
    x = np.random.default_rng(0).normal(size=(24, 1)).astype(np.float32)
    beside = {"beside": Flat(x + 1, starts)}
    specs = {"beside": ConditionSpec(SERIES, "align")}
    net = Network(Backbone(mixer=Gru(), width=8, depth=1), process.spec(SERIES), SERIES, 8, specs, 0)
    (record,) = LikelihoodMetric().measure(View(net, process, reading(x, SERIES, starts, given=beside)))
    assert record["value"] == pytest.approx(1, rel=1e-5)
    assert record["count"] == 24
    split = Split(Flat(x, starts), beside, 24.0, 0.0, "x", aligned=("beside",))
    prepared = Prepared(Series(), {}, {"valid": split}, ends=False)
    feed, trainer = Feed(window=8, batch=2, order="windows"), Trainer(steps=1)
    recipe = Recipe(corpus=Builtin(data="markov"), process=process, feed=feed, trainer=trainer)
    validation = Validation(SimpleNamespace(recipe=recipe, space=SERIES), prepared, net)
    assert validation.measure(net, LOSS)["value"] == pytest.approx(1, rel=1e-5)


# ---- an energy ----------------------------------------------------------------------------------------------------


class Energy(Process, name="test energy"):
    """p(x) is proportional to exp(-E(x)), E the sum of what the network puts out; a guess is its gradient."""

    gives = Gives.CLEAN
    sampler = "test langevin"
    needs_gradient = True

    def spec(self, space):
        return NetworkSpec(False, space.dim, 1, block=None, timed=False)

    def loss(self, net, batch, rng, state=None, drop=None):
        raise NotImplementedError

    def guess(self, net, ask, state, limit=None):
        with torch.enable_grad():
            x = ask.x.detach().clone().requires_grad_()
            energy = net(x, present=ask.present)[0].sum((1, 2))
            (gradient,) = torch.autograd.grad(energy.sum(), x)
        parts = {"energy": energy.detach(), "gradient": gradient}
        return Guess(x.detach(), np.ones(len(x), bool), parts=parts), state


class Langevin(Sampler, name="test langevin"):
    """Downhill by a little, and noise, for so many steps."""

    takes = (Gives.CLEAN,)

    steps: int = 400
    size: float = 0.02

    def start(self, process, rows):
        noise = rows.key.at("start").normal(tuple(rows.x.shape[1:])).to(rows.x)
        x = torch.where(rows.along["shown"], rows.x, noise)
        return replace(rows, x=x, own={**rows.own, "step": np.zeros(len(rows), np.int64)})

    def ask(self, rows):
        return Ask(rows.x, np.where(rows.done, -1, 0)[:, None], np.zeros(len(rows), np.int64))

    def tell(self, rows, ask, guess):
        step = rows.own["step"]
        noise = rows.key.at("step", step).normal(tuple(rows.x.shape[1:])).to(rows.x)
        moved = rows.x - self.size * guess.parts["gradient"] + math.sqrt(2 * self.size) * noise
        rows.x[:] = torch.where(rows.along["shown"], rows.x, moved)
        step += 1
        rows.done[step >= self.steps] = True
        rows.settled[rows.done] = True
        return rows


def test_an_energy_is_sampled_by_its_gradient():
    """E(x) = (x - m)' A (x - m) / 2 has the law N(m, A^-1), and given some of the numbers the rest follow theirs."""
    process = Energy()
    mean = torch.tensor([1.0, -0.5, 0.0]).double()
    precision = torch.tensor([[2.0, 0.8, 0.0], [0.8, 1.5, -0.5], [0.0, -0.5, 1.0]]).double()

    class Quadratic(Oracle):
        def answer(self, x, level, flag):
            far = x[..., 0] - mean
            return 0.5 * (far * (far @ precision)).unsqueeze(-1)

    net = Quadratic(process.spec(SERIES), SERIES)
    shown = torch.tensor([[False], [False], [True]])
    canvas = torch.tensor([[0.0], [0.0], [2.0]]).double()
    for given in (torch.zeros_like(shown), shown):
        made = sample(net, process, Langevin(), canvas, shown=given, rows=3000)[..., 0]
        hidden = ~given[:, 0].numpy()
        law = precision.numpy()[np.ix_(hidden, hidden)]
        drift = precision.numpy()[np.ix_(hidden, ~hidden)] @ (canvas[~hidden, 0] - mean[~hidden]).numpy()
        expected = mean.numpy()[hidden] - np.linalg.solve(law, drift)
        # Steps of this size widen the law a little: (A - size A^2 / 2)^-1 is what they lead to.
        cov = np.linalg.inv(law - 0.02 * law @ law / 2)
        free = made[:, hidden].numpy()
        np.testing.assert_allclose(free.mean(0), expected, atol=5 * math.sqrt(cov.max() / 3000))
        np.testing.assert_allclose(np.cov(free.T), cov, atol=0.1)
        assert (made[:, ~hidden] == canvas[~hidden, 0]).all()
