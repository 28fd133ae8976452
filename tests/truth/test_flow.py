"""Flow matching: what it learns, that its samples follow the data's law, and how fast its solvers converge."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oracles import GaussianOracle, Oracle, sample
from seqloom.core.rng import Rng
from seqloom.processes.flow import Flow, PredictSlope, Straight
from seqloom.samplers.diffuse import Diffuse
from seqloom.sequence.batch import Batch
from seqloom.sequence.space import Field, Vectors

STEPS, DIM = 3, 2
SPACE = Vectors(fields=(Field(name="a"), Field(name="b")))
MEAN = np.array([0.5, -0.3, 0.2, 0.1, -0.4, 0.6])
_MIX = np.random.default_rng(4).normal(size=(6, 6)) * 0.45
COV = _MIX @ _MIX.T + 0.25 * np.eye(6)
CANVAS = torch.zeros(STEPS, DIM, dtype=torch.float64)


def oracle():
    process = Flow()
    return process, GaussianOracle(process.spec(SPACE), MEAN, COV, PredictSlope(), STEPS)


class TwoPoints(Oracle):
    """The best network for numbers that are each -1 or 1, with a little spread: paths that bend."""

    SPREAD = 0.3

    def answer(self, x, level, flag):
        z = x[..., :DIM].double()
        sigma_to_alpha = torch.exp(4 * level.double()[..., None])
        alpha = (1 + sigma_to_alpha**2).rsqrt()
        sigma = alpha * sigma_to_alpha
        total = (alpha * self.SPREAD) ** 2 + sigma**2
        side = torch.tanh(alpha * z / total)  # E[which of the two points | z]
        clean = side + alpha * self.SPREAD**2 / total * (z - alpha * side)
        return clean - (z - alpha * clean) / sigma


def test_the_target_is_the_velocity_of_a_straight_path():
    path, prediction = Straight(), PredictSlope()
    x, noise = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 50)))
    t = torch.linspace(0.1, 0.9, 50, dtype=torch.float64)
    h = 1e-4

    def at(t):
        alpha, sigma = path.at(t)
        return alpha * x + sigma * noise

    velocity = -(at(t + h) - at(t - h)) / (2 * h)  # data are reached as t falls
    torch.testing.assert_close(velocity, prediction.target(x, noise, *path.at(t)), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("times", ["uniform", "logit_normal"])
def test_the_loss_is_the_squared_error_of_the_velocity(times):
    class Nothing(Oracle):
        def answer(self, x, level, flag):
            return torch.zeros_like(x[..., :DIM])

    process, rows = Flow(times=times), 4000
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(rows, STEPS, DIM)) * 0.5)
    whole = torch.ones_like(x, dtype=torch.bool)
    shown = torch.zeros_like(whole)
    shown[:, 0] = True
    begins = torch.zeros(rows, STEPS, dtype=torch.bool)
    batch = Batch(x=x, present=whole[..., 0], known=whole, shown=shown, begins=begins)
    loss = process.loss(Nothing(process.spec(SPACE), SPACE), batch, Rng.of(0, np.arange(rows)))
    assert int(loss.count) == rows * (STEPS - 1) * DIM
    assert float(loss.total / loss.count) == pytest.approx(1 + 0.25, rel=0.03)
    sigma = process.schedule.at(torch.linspace(0.005, 0.995, 100, dtype=torch.float64))[1]
    middle = float(((sigma > 0.25) & (sigma < 0.75)).double().mean())
    assert middle == pytest.approx(0.5 if times == "uniform" else 0.728, abs=0.02)


@pytest.mark.parametrize(("solver", "steps"), [("heun", 30), ("midpoint", 30), ("unipc", 12)])
def test_samples_follow_mean_and_covariance(solver, steps):
    process, net = oracle()
    made = sample(net, process, Diffuse(solver=solver, steps=steps), CANVAS, rows=3000).flatten(1).numpy()
    variance = np.diag(COV)
    assert (np.abs(made.mean(0) - MEAN) < 0.01 + 4.5 * np.sqrt(variance / 3000)).all()
    spread = 4.5 * np.sqrt((COV**2 + np.outer(variance, variance)) / 3000)
    assert (np.abs(np.cov(made.T) - COV) < 0.02 + spread).all()


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("midpoint", 2), ("unipc", 3)])
def test_solvers_converge_in_their_order_on_paths_that_bend(solver, order):
    process = Flow()

    def made(steps):
        net = TwoPoints(process.spec(SPACE), SPACE)
        sampler = Diffuse(solver=solver, steps=steps, least=0.1, most=10.0)
        return sample(net, process, sampler, CANVAS, rows=8).flatten(1)

    exact = made(320)
    assert float(exact.abs().mean()) == pytest.approx(1, abs=0.15)
    errors = [float((made(steps) - exact).abs().mean()) for steps in (30, 60)]
    assert abs(np.log2(errors[0] / errors[1]) - order) < 0.4, errors


def test_known_cells_stay_and_the_rest_follows_their_conditional():
    process, net = oracle()
    shown = torch.tensor([[True, True], [False, True], [False, False]])
    x = torch.tensor([[1.5, -1.0], [0.0, 0.7], [0.0, 0.0]], dtype=torch.float64)
    made = sample(net, process, Diffuse(solver="heun", steps=40), x, shown=shown, rows=1500).flatten(1).numpy()
    at, known = shown.flatten().numpy(), x.flatten().numpy()[shown.flatten().numpy()]
    assert (made[:, at] == known).all()
    mean, cov = net.given(known[None], at)
    rows, variance = 1500, np.diag(cov)
    assert np.abs(MEAN[~at] - mean[0]).max() > 0.2
    assert (np.abs(made[:, ~at].mean(0) - mean[0]) < 0.01 + 4.5 * np.sqrt(variance / rows)).all()
    spread = 4.5 * np.sqrt((cov**2 + np.outer(variance, variance)) / rows)
    assert (np.abs(np.cov(made[:, ~at].T) - cov) < 0.02 + spread).all()
