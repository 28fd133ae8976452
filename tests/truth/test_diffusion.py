"""Gaussian diffusion on data of which everything is known in closed form, and schedules."""

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from oracles import GaussianOracle, Oracle, sample
from seqloom.core.config import members_of
from seqloom.core.rng import Rng
from seqloom.metrics.ode_likelihood import OdeLikelihood
from seqloom.processes.gaussian import Gaussian
from seqloom.processes.schedules import EdmNoise, GeometricNoise, Masking, Noise, PredictClean, PredictEdm, Prediction
from seqloom.samplers.base import Rows
from seqloom.samplers.diffuse import Diffuse
from seqloom.samplers.solvers import Euler, Solver
from seqloom.sequence.batch import Batch
from seqloom.sequence.space import Field, Vectors

STEPS, DIM = 3, 2
SPACE = Vectors(fields=(Field(name="a"), Field(name="b")))
MEAN = np.array([0.5, -0.3, 0.2, 0.1, -0.4, 0.6])
_MIX = np.random.default_rng(4).normal(size=(6, 6)) * 0.45
COV = _MIX @ _MIX.T + 0.25 * np.eye(6)

EDM, PRECONDITIONED = EdmNoise(), PredictEdm()
NOISES = {name: noise() for name, noise in members_of(Noise).items()}
PREDICTIONS = {name: prediction() for name, prediction in members_of(Prediction).items()}
SOLVERS = {name: solver() for name, solver in members_of(Solver).items()}


def oracle(schedule=EDM, prediction=PRECONDITIONED):
    process = Gaussian(schedule=schedule, prediction=prediction)
    return process, GaussianOracle(process.spec(SPACE), MEAN, COV, prediction, STEPS)


def draw(schedule, prediction, sampler, rows, shown=None, x=None, seed=0):
    process, net = oracle(schedule, prediction)
    canvas = torch.zeros(STEPS, DIM, dtype=torch.float64) if x is None else x
    return sample(net, process, sampler, canvas, shown=shown, rows=rows, seed=seed).flatten(1)


def start(schedule, sampler, rows):
    """Where the sampler starts: z at most noise, and that level."""
    alpha, sigma = (float(v[0]) for v in sampler.levels(Gaussian(schedule=schedule)))
    noise = Rng.of(0, np.arange(rows)).at("start").normal((STEPS * DIM,)).double().numpy()
    return noise * math.hypot(alpha, sigma), alpha, sigma


def flow(y, before, after):
    """The probability-flow map of y = z / alpha from sigma / alpha = `before` to `after`, for N(MEAN, COV)."""
    values, vectors = np.linalg.eigh(COV)
    scale = np.sqrt((values + after**2) / (values + before**2))
    return MEAN + ((y - MEAN) @ vectors * scale) @ vectors.T


# ---- schedules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(members_of(Masking)))
def test_masking_schedules(name):
    schedule = members_of(Masking)[name]()
    t = torch.linspace(0, 1, 501, dtype=torch.float64)
    alpha = schedule.alpha(t)
    assert float(alpha[0]) == pytest.approx(1, abs=1e-9)
    assert float(alpha[-1]) == pytest.approx(0, abs=1e-9)
    assert (alpha.diff() < 0).all()
    h = 1e-6
    numerical = (schedule.alpha(t[1:-1] + h) - schedule.alpha(t[1:-1] - h)) / (2 * h)
    torch.testing.assert_close(schedule.slope(t[1:-1]), numerical, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(schedule.time(alpha), t, atol=1e-7, rtol=0)
    inside = t[1:-1]
    torch.testing.assert_close(schedule.weight(inside), -schedule.slope(inside) / (1 - schedule.alpha(inside)))


@pytest.mark.parametrize("name", NOISES)
def test_noise_schedules(name):
    schedule = NOISES[name]
    t = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    alpha, sigma = schedule.at(t)
    assert ((alpha > 0) & (sigma > 0)).all()
    level = sigma / alpha
    assert (level.diff() >= 0).all()
    assert float(level[0]) < 0.02
    assert float(level[-1]) > 20
    low, high = schedule.span()
    assert low < -3 < 2 < high
    assert ((level.log() > low) & (level.log() < high)).double().mean() > 0.98  # the bound is asked where training was
    along = schedule.path(level)
    torch.testing.assert_close(along[1] / along[0], level)
    if name != "edm":
        torch.testing.assert_close(along[0], alpha, atol=1e-6, rtol=1e-6)
    alpha, sigma = schedule.path(level.new_zeros(1))
    assert (float(alpha), float(sigma)) == (1.0, 0.0)


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("rho", [0.0, 7.0])
def test_a_sampler_goes_from_the_most_noise_to_none(name, rho):
    for steps in (1, 2, 9, 500):
        alpha, sigma = Diffuse(steps=steps, rho=rho).levels(Gaussian(schedule=NOISES[name]))
        level = sigma / alpha
        assert len(level) == steps + 1
        assert (float(alpha[-1]), float(sigma[-1])) == (1.0, 0.0)
        assert (level.diff() < 0).all()
        assert float(level[0]) == pytest.approx(50 if name == "geometric" else 80)
        if steps > 1:
            assert float(level[-2]) == pytest.approx(0.02)
        if steps == 500 and not rho:
            log = level[:-1].log().diff()
            torch.testing.assert_close(log[1:], (log[0] / 2).expand(steps - 2))


def test_the_levels_of_karras_and_others():
    sigma = Diffuse(steps=18, least=0.002, most=80.0, rho=7.0).levels(Gaussian())[1]
    i = np.arange(18)
    paper = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(sigma.numpy(), [*paper, 0.0], rtol=1e-12)
    schedule = EdmNoise(mean=-0.4, std=1.4)
    log = schedule.at(torch.linspace(5e-5, 1 - 5e-5, 10_000, dtype=torch.float64))[1].log()
    assert float(log.mean()) == pytest.approx(-0.4, abs=1e-3)
    assert float(log.std()) == pytest.approx(1.4, abs=5e-3)


def test_geometric_levels_are_the_papers():
    """Song & Ermon 2020: sigma_i = sigma_1 (sigma_L / sigma_1)^((i - 1) / (L - 1))."""
    sigma = GeometricNoise(least=0.01, most=50).at(torch.linspace(0, 1, 232, dtype=torch.float64))[1]
    np.testing.assert_allclose(sigma.numpy(), np.geomspace(0.01, 50, 232), rtol=1e-12)


# ---- predictions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_target_gives_the_clean_data_back(name):
    prediction = PREDICTIONS[name]
    x, noise = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 50, 4, 2)))
    gap = torch.linspace(-5, 4, 50, dtype=torch.float64)[:, None, None]
    alpha, sigma = torch.sigmoid(-2 * gap).sqrt(), torch.sigmoid(2 * gap).sqrt()
    target = prediction.target(x, noise, alpha, sigma)
    torch.testing.assert_close(prediction.clean(alpha * x + sigma * noise, target, alpha, sigma), x)


@pytest.mark.parametrize("spread", [1.0, 0.5])
def test_edm_target_has_unit_variance_at_every_level(spread):
    prediction = PredictEdm(data=spread)
    x, noise = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 200_000)))
    for gap in (-5.0, -1.0, 0.0, 1.0, 4.0):
        alpha, sigma = (torch.tensor(v, dtype=torch.float64) for v in (1 / math.hypot(1, math.exp(gap)),) * 2)
        sigma = alpha * math.exp(gap)
        assert float(prediction.target(spread * x, noise, alpha, sigma).var()) == pytest.approx(1, abs=0.02)
        if spread == 1:
            assert float((alpha * x + sigma * noise).var()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_prediction_of_one_oracle_gives_the_same_sample(noise, solver):
    sampler = Diffuse(solver=solver, steps=5)
    samples = [draw(NOISES[noise], prediction, sampler, rows=3) for prediction in PREDICTIONS.values()]
    for other in samples[1:]:
        torch.testing.assert_close(other, samples[0], atol=1e-8, rtol=1e-8)


# ---- solvers ------------------------------------------------------------------------------------------------------


ORDERS = [
    ("euler", 1),
    ("heun", 2),
    ("dpm_solver", 2),
    ({"name": "unipc", "order": 1}, 2),
    ({"name": "unipc", "order": 2}, 3),
    ({"name": "unipc", "order": 3}, 4),
]


@pytest.mark.parametrize("noise", ["edm", "cosine", "straight"])
@pytest.mark.parametrize(("solver", "order"), ORDERS, ids=str)
def test_solvers_converge_to_the_flow_in_their_order(noise, solver, order):
    """Against the closed-form map: down to the last level, from where the step to no noise is Euler's."""
    schedule = NOISES[noise]
    errors = []
    for steps in (60, 120):
        sampler = Diffuse(solver=solver, steps=steps, least=0.1, most=10.0, rho=50.0)
        y, alpha, sigma = start(schedule, sampler, rows=4)
        y = flow(y / alpha, sigma / alpha, 0.1)
        exact = MEAN + (y - MEAN) @ np.linalg.solve(COV + 0.1**2 * np.eye(6), COV).T
        made = draw(schedule, PredictClean(), sampler, rows=4).numpy()
        errors.append(np.abs(made - exact).max())
    measured = np.log2(errors[0] / errors[1])
    assert errors[-1] < (0.1 if order == 1 else 2e-3)
    assert order - 0.4 < measured < order + 1, errors


def test_twelve_calls_keep_every_spread():
    """The default sampler on normal data, in closed form: spreads from .1 to 20 of the unit come within 5 %."""
    process, spread = Gaussian(), np.array([0.1, 0.3, 1.0, 3.0, 10.0, 20.0])
    net = GaussianOracle(process.spec(SPACE), np.zeros(6), np.diag(spread**2), PRECONDITIONED, STEPS)
    made = sample(net, process, Diffuse(), torch.zeros(STEPS, DIM, dtype=torch.float64), rows=2).flatten(1).numpy()
    began = Rng.of(0, np.arange(2)).at("start").normal((STEPS * DIM,)).double().numpy()
    assert net.calls == 12
    np.testing.assert_allclose(made / began, np.tile(spread, (2, 1)), rtol=0.05)


def test_a_solver_knows_its_step_keeps_what_it_needs_and_has_fresh_noise_in_each_stage():
    seen = []

    class Watching(Euler):
        stages: ClassVar[int] = 2
        keeps: ClassVar[tuple[str, ...]] = ("sum",)

        @property
        def random(self):
            return True

        def advance(self, stage, z, clean, step, kept, noise):
            seen.append((stage, step.number.tolist(), kept["sum"][:, 0, 0].tolist(), noise[:, 0, 0].tolist()))
            kept["sum"] = kept["sum"] + 1
            return super().advance(stage, z, clean, step, kept, noise) if stage == 0 else z

    draw(EdmNoise(), PredictEdm(), Diffuse(solver=Watching(), steps=3), rows=2)
    assert [call[:3] for call in seen] == [(i % 2, [i // 2] * 2, [i, i]) for i in range(5)]
    assert len({x for call in seen for x in call[3]}) == 10
    alone = list(seen)
    seen.clear()
    draw(EdmNoise(), PredictEdm(), Diffuse(solver=Watching(), steps=3), rows=1)
    assert [call[3] for call in seen] == [call[3][:1] for call in alone]


def test_heun_reaches_the_flow_to_no_noise_at_all():
    sampler = Diffuse(solver="heun", steps=200, least=1e-4, most=40.0, rho=7.0)
    y, alpha, sigma = start(EDM, sampler, rows=8)
    exact = flow(y / alpha, sigma / alpha, 0.0)
    made = draw(EDM, PredictClean(), sampler, rows=8).numpy()
    np.testing.assert_allclose(made, exact, atol=1e-3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_calls_of_a_solver(solver):
    process, net = oracle()
    sampler = Diffuse(solver=solver, steps=6)
    sample(net, process, sampler, torch.zeros(STEPS, DIM, dtype=torch.float64))
    assert net.calls == 5 * sampler.solver.stages + sampler.solver.stages_to_end


def ancestral_law(schedule, steps, m, c):
    """Mean and covariance of ancestral steps on data N(m, c), by the posterior q(z_s | z_t, x) of the Markov chain."""
    sampler = Diffuse(steps=steps, rho=7.0)
    alpha, sigma = (v.numpy() for v in sampler.levels(Gaussian(schedule=schedule)))
    one = np.eye(len(m))
    mean, cov = np.zeros(len(m)), one * (alpha[0] ** 2 + sigma[0] ** 2)
    for a, s, b, r in zip(alpha[:-1], sigma[:-1], alpha[1:], sigma[1:], strict=True):
        if (a, s) == (b, r):
            continue
        gain = a * c @ np.linalg.inv(a**2 * c + s**2 * one)  # E[x | z] = m + gain (z - a m)
        of_z, of_x, spread = 0.0, 1.0, 0.0
        if r > 0:  # z_t = (a/b) z_s + noise of variance s^2 - (a/b)^2 r^2, and z_s = b x + noise of variance r^2
            added = s**2 - (a / b) ** 2 * r**2
            spread = 1 / (1 / r**2 + (a / b) ** 2 / added)
            of_z, of_x = spread * (a / b) / added, spread * b / r**2
        matrix = of_z * one + of_x * gain
        mean, cov = matrix @ mean + of_x * (m - a * gain @ m), matrix @ cov @ matrix.T + spread * one
    return mean, cov


def follows(made, mean, cov):
    """Samples (N,n) have this mean and covariance, each within 4.5 standard errors of normal data."""
    rows, variance = len(made), np.diag(cov)
    assert (np.abs(made.mean(0) - mean) < 4.5 * np.sqrt(variance / rows)).all()
    assert (np.abs(np.cov(made.T) - cov) < 4.5 * np.sqrt((cov**2 + np.outer(variance, variance)) / rows)).all()


@pytest.mark.parametrize("noise", NOISES)
def test_ancestral_steps_reach_mean_and_covariance(noise):
    sampler = Diffuse(solver="ancestral", steps=16, rho=7.0)
    made = draw(NOISES[noise], PREDICTIONS["velocity"], sampler, rows=3000).numpy()
    follows(made, *ancestral_law(NOISES[noise], 16, MEAN, COV))
    fine = ancestral_law(NOISES[noise], 4000, MEAN, COV)
    np.testing.assert_allclose(fine[0], MEAN, atol=0.01)
    np.testing.assert_allclose(fine[1], COV, atol=0.01)


@pytest.mark.parametrize("solver", ["ancestral", "heun", "unipc"])
def test_shown_cells_stay_and_the_rest_follows_their_conditional(solver):
    shown = torch.tensor([[True, True], [False, True], [False, False]])
    x = torch.tensor([[1.5, -1.0], [0.0, 0.7], [0.0, 0.0]], dtype=torch.float64)
    made = draw(
        EdmNoise(), PredictEdm(), Diffuse(solver=solver, steps=24, rho=7.0), rows=1500, shown=shown, x=x
    ).numpy()
    at = shown.flatten().numpy()
    known = x.flatten().numpy()[at]
    assert (made[:, at] == known).all()
    mean, cov = oracle()[1].given(known[None], at)
    assert np.abs(MEAN[~at] - mean[0]).max() > 0.2  # the condition matters
    law = (mean[0], cov) if solver != "ancestral" else ancestral_law(EdmNoise(), 24, mean[0], cov)
    follows(made[:, ~at], *law)


def test_temperature_scales_what_is_drawn():
    cold = draw(EdmNoise(), PredictEdm(), Diffuse(solver="ancestral", steps=30, temperature=0), rows=2).numpy()
    assert np.ptp(cold, axis=0).max() < 1e-9
    np.testing.assert_allclose(cold[0], MEAN, atol=0.05)


@pytest.mark.slow
def test_twelve_calls_are_as_near_to_the_data_as_a_thousand():
    """Energy distance of 500 samples to as many data of a mixture, over five seeds: within 5 % of a thousand steps'."""
    rng, size, seeds = np.random.default_rng(0), STEPS * DIM, 5
    means, spreads = rng.normal(size=(4, size)), np.array([0.1, 0.3, 0.5, 0.2])
    process = Gaussian(prediction=PredictClean())

    class Mixture(Oracle):
        def answer(self, x, level, flag):
            ratio = torch.exp(4 * level.double())[..., None]  # (B,1,1)
            y = (x[..., :DIM].double() * (1 + ratio**2).sqrt()).flatten(1)[:, None]  # (B,1,n)
            data, total = torch.as_tensor(spreads[:, None] ** 2), torch.as_tensor(spreads[:, None] ** 2) + ratio**2
            apart = y - torch.as_tensor(means)  # (B,K,n)
            weight = (-0.5 * (apart**2 / total + total.log()).sum(-1, keepdim=True)).softmax(1)
            return (weight * (y - ratio**2 / (data + ratio**2) * apart)).sum(1).view(-1, STEPS, DIM)

    def made(**settings):
        net = Mixture(process.spec(SPACE), SPACE)
        sampler, count = Diffuse(**settings), 500 * seeds
        nothing = torch.zeros(count, STEPS, DIM, dtype=torch.bool)
        number, settled = np.arange(count), np.zeros((count, STEPS), bool)
        done = np.zeros(count, bool)
        length, key, along = np.full(count, STEPS), Rng.of(0, number), {"shown": nothing}
        rows = Rows(nothing.double(), settled, length, done, key, number, number, number, done, along=along)
        rows = sampler.start(process, rows)
        while not rows.done.all():
            ask = replace(sampler.ask(rows), shown=nothing, absent=nothing)
            rows = sampler.tell(rows, ask, process.guess(net, ask, None)[0])
        return net.calls, np.split(rows.x.flatten(1).numpy(), seeds)

    def distance(a, b):
        return 2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean()

    chosen = rng.integers(0, 4, (seeds, 500))
    data = means[chosen] + spreads[chosen][..., None] * rng.normal(size=(seeds, 500, size))
    (calls, few), (_, many) = made(), made(solver="euler", steps=1000)
    assert calls == 12
    ratios = [distance(a, x) / distance(b, x) for a, b, x in zip(few, many, data, strict=True)]
    assert 0.95 < np.mean(ratios) < 1.05, ratios


# ---- likelihoods --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("noise", "exact"), [("edm", True), ("geometric", False), ("cosine", True)])
def test_the_flow_gives_the_likelihood_and_the_bound_lies_within_its_errors(noise, exact):
    """On normal data, the first element shown: to a thousandth of a nat a number, or within the error of the draws."""
    process, net = oracle(NOISES[noise])
    rows, draws = 24, 1 if exact else 4
    x = torch.as_tensor(np.random.default_rng(3).multivariate_normal(MEAN, COV, rows)).view(rows, STEPS, DIM)
    known = torch.ones_like(x, dtype=torch.bool)
    shown = torch.zeros_like(known)
    shown[:, 0] = True
    batch = Batch(x=x, present=known[..., 0], known=known, shown=shown, begins=torch.zeros(rows, STEPS).bool())
    at = shown[0].flatten().numpy()
    flat = x.flatten(1).numpy()
    mean, cov = net.given(flat[:, at], at)
    apart = flat[:, ~at] - mean
    square = np.einsum("bi,ij,bj->b", apart, np.linalg.inv(cov), apart)
    true = (0.5 * (square + np.linalg.slogdet(2 * np.pi * cov)[1])).mean() / 4

    metric, keys = OdeLikelihood(), [Rng.of(seed, np.arange(rows)) for seed in range(draws)]
    flows = [float(metric.nats(process, net, batch, key, exact=exact).sum(1).mean()) / 4 for key in keys]
    error = 0.0 if exact else np.std(flows, ddof=1) / math.sqrt(draws)
    assert abs(np.mean(flows) - true) < 1e-3 + 4 * error

    times = 20
    many = Batch(*(part.repeat(times, *[1] * (part.ndim - 1)) for part in
                   (x, known[..., 0], known, shown, batch.begins)))  # fmt: skip
    keys = [Rng.of(seed, np.arange(times * rows)) for seed in range(20)]
    bounds = [float(process.bound(net, many, key)[0].sum(1).mean()) / 4 for key in keys]
    error = np.std(bounds, ddof=1) / math.sqrt(len(bounds))
    assert error < 0.03
    assert abs(np.mean(bounds) - true) < 0.01 + 3 * error
