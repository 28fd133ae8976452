"""Guidance by observation: an unconditional denoiser of a normal law, held to its conditional law."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oracles import GaussianOracle, sample
from seqloom.core.rng import Rng
from seqloom.processes.flow import Flow, PredictSlope
from seqloom.processes.gaussian import Gaussian
from seqloom.samplers.diffuse import Diffuse
from seqloom.samplers.observed import Observed, solved
from seqloom.sequence.space import Field, Vectors

STEPS, DIM, ROWS = 8, 2, 1200
SPACE = Vectors(fields=(Field(name="a"), Field(name="b")))
LAGS = np.abs(np.subtract.outer(np.arange(STEPS), np.arange(STEPS)))
COV = np.kron(0.8**LAGS, np.array([[1.0, 0.5], [0.5, 1.0]]))
MEAN = np.linspace(-0.5, 0.5, STEPS * DIM)


class Unconditional(GaussianOracle):
    """Knows of no shown cell: asked with one it fails."""

    def answer(self, x, level, flag):
        assert not x[..., DIM : 2 * DIM].any()
        return super().answer(x, level, flag)


def drawn(sampler, process=None, seed=0):
    """Samples (N,T*D) around three known rows, which cells are hidden, and their exact conditional law."""
    process = process or Gaussian()
    prediction = PredictSlope() if isinstance(process, Flow) else process.prediction
    net = Unconditional(process.spec(SPACE), MEAN, COV, prediction, STEPS)
    shown = torch.zeros(STEPS, DIM, dtype=torch.bool)
    shown[[0, 1]] = True
    shown[6, 0] = True
    x = torch.where(shown, torch.tensor([[1.2, -0.5]], dtype=torch.float64), 0.0)
    made = sample(net, process, sampler, x, shown=shown, rows=ROWS, seed=seed).flatten(1).numpy()
    at = shown.flatten().numpy()
    assert (made[:, at] == x.flatten().numpy()[at]).all()
    mean, cov = net.given(x.flatten().numpy()[at][None], at)
    return made[:, ~at], mean[0], cov


@pytest.mark.parametrize("process", [Gaussian(), Flow()], ids=["gaussian", "flow"])
def test_with_the_covariance_of_the_known_cells_the_law_is_the_conditional_one(process):
    made, mean, cov = drawn(Observed(inner=Diffuse(steps=40), iterations=5, noise=0.01), process)
    variance = np.diag(cov)
    assert np.abs(mean - np.delete(MEAN, [0, 1, 2, 3, 12])).max() > 0.4
    assert (np.abs(made.mean(0) - mean) < 0.02 + 4.5 * np.sqrt(variance / ROWS)).all()
    spread = 4.5 * np.sqrt((cov**2 + np.outer(variance, variance)) / ROWS)
    assert (np.abs(np.cov(made.T) - cov) < 0.03 + spread).all()


def test_each_cell_alone_is_rougher_and_a_quantile_rougher_still():
    """What the cheaper laws err by in the mean, in units of the data's spread; what is not guided errs by a half."""
    errors = {}
    for name, sampler in {
        "exact": Observed(iterations=5),
        "alone": Observed(iterations=0),
        "quantile": Observed(by="quantile", strength=4.0),
        "nothing": Observed(strength=0.0),
    }.items():
        made, mean, cov = drawn(sampler)
        spread = np.sqrt(np.diag(cov))
        errors[name] = float(np.abs(made.mean(0) - mean).mean()), float(np.abs(made.std(0) / spread - 1).mean())
    assert errors["exact"] < (0.04, 0.04)
    assert [errors[name][0] for name in ("alone", "quantile", "nothing")] == pytest.approx([0.26, 0.36, 0.52], abs=0.06)
    assert errors["alone"][1] < 0.1


def test_conjugate_residuals_solve_each_row():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(3, 6, 6))
    a = torch.from_numpy(a @ a.transpose(0, 2, 1) + np.eye(6) + 0.3 * a)
    right = torch.from_numpy(rng.normal(size=(3, 3, 2)))
    right[1] = 0.0

    def matrix(v):
        return (a @ v.flatten(1).unsqueeze(2)).view_as(v)

    found = solved(matrix, right, 8)
    torch.testing.assert_close(matrix(found), right, atol=1e-8, rtol=1e-8)
    assert (found[1] == 0).all()


def test_a_row_is_the_same_whatever_stands_beside_it():
    alone, many = (
        sample(
            GaussianOracle(Gaussian().spec(SPACE), MEAN, COV, Gaussian().prediction, STEPS),
            Gaussian(),
            Observed(by="quantile"),
            torch.zeros(STEPS, DIM, dtype=torch.float64),
            shown=torch.arange(STEPS)[:, None].expand(-1, DIM) < 3,
            rows=rows,
        )
        for rows in (1, 5)
    )
    torch.testing.assert_close(alone[0], many[0])
    assert len(set(Rng.of(0, np.arange(5)).at("quantile").uniform(1)[:, 0])) == 5
