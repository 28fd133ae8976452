"""The mixture head: a density over pairs, its draws, means and quantiles, its extremes, and with what stands beside."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, multivariate_normal, norm

from seqloom.core.errors import UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.composed import Composed
from seqloom.processes.mixture import Mixture
from seqloom.sequence.space import Field, Tokens, Vectors

PAIR = Vectors(fields=(Field(name="move", width=2),))
PEN = Vectors(fields=(Field(name="move", width=2), Field(name="pen", support="binary")), ends=True)
K = 5


def numbers(rows=None, seed=0, spread=1.0, size=6 * K):
    shape = (size,) if rows is None else (rows, size)
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape) * spread)


def density(head, space, params, x):
    return np.exp(-head.nats(space, params.expand(*x.shape[:-1], -1), x, torch.ones_like(x, dtype=torch.bool)).numpy())


def grid(low, high, count):
    axis = torch.linspace(low, high, count, dtype=torch.float64)
    return torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1), float(axis[1] - axis[0])


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_mixture_that_its_parameters_say(seed):
    head, params = Mixture(components=K), numbers(seed=seed)
    weight, mean, scale, rho = (part.numpy() for part in head.split(params))
    assert np.exp(weight).sum() == pytest.approx(1)
    x = torch.from_numpy(np.random.default_rng(9).normal(size=(40, 2)) * 2)
    exact = 0.0
    for k in range(K):
        cross = rho[k] * scale[k, 0] * scale[k, 1]
        normal = multivariate_normal(mean[k], [[scale[k, 0] ** 2, cross], [cross, scale[k, 1] ** 2]])
        exact = exact + np.exp(weight[k]) * normal.pdf(x.numpy())
    np.testing.assert_allclose(density(head, PAIR, params, x), exact, rtol=1e-9)


def test_it_integrates_to_one_with_the_pen_and_the_end_beside_it():
    head = Composed(heads=(Mixture(components=K, floor=0.1),))
    params = numbers(seed=1, spread=0.6, size=head.size(PEN))
    assert head.size(PEN) == 6 * K + 2
    pairs, step = grid(-9, 9, 401)
    total = 0.0
    for pen in (0.0, 1.0):
        for end in (0.0, 1.0):
            x = torch.cat([pairs, torch.full((*pairs.shape[:2], 2), pen)], -1)
            x[..., 3] = end
            total += density(head, PEN, params, x).sum() * step**2
    assert total == pytest.approx(1, abs=1e-6)


def test_one_number_alone_has_its_own_mixture():
    head, params = Mixture(components=K), numbers(seed=2)
    weight, mean, scale, _ = (part.numpy() for part in head.split(params))
    x = torch.tensor([[0.3, 7.0], [-1.0, float("nan")]], dtype=torch.float64)
    for i in range(2):
        wanted = torch.zeros(2, 2, dtype=torch.bool)
        wanted[:, i] = True
        point = x[:1].expand(2, 2) if i else x
        nats = head.nats(PAIR, params.expand(2, -1), point, wanted).numpy()
        exact = (np.exp(weight) * norm(mean[:, i], scale[:, i]).pdf(point[:, i, None].numpy())).sum(1)
        np.testing.assert_allclose(np.exp(-nats), exact, rtol=1e-9)
    none = head.nats(PAIR, params.expand(2, -1), x, torch.zeros(2, 2, dtype=torch.bool))
    assert none.tolist() == [0.0, 0.0]


def test_draws_are_of_the_density_and_the_mean_and_quantiles_are_theirs():
    head, params, count = Mixture(components=K), numbers(seed=3), 40_000
    x = head.draw(PAIR, params.expand(count, -1), Rng.of(5, np.arange(count)).at("pick"), torch.ones(count)).double()
    points, step = grid(-7.95, 7.95, 319)  # cells of 0.05, summed to 0.8
    mass = density(head, PAIR, params, points)[:-7, :-7] * step**2
    edges = np.linspace(-7.95 - step / 2, -7.95 - step / 2 + 312 * step, 40)
    expected = mass[:312, :312].reshape(39, 8, 39, 8).sum((1, 3)) * count
    seen, _, _ = np.histogram2d(x[:, 0].numpy(), x[:, 1].numpy(), bins=[edges, edges])
    kept = expected >= 8
    counts = np.append(seen[kept], count - seen[kept].sum())
    law = np.append(expected[kept], count - expected[kept].sum())
    assert kept.sum() > 50
    assert chisquare(counts, law, sum_check=False).pvalue > 0.01
    mean = head.mean(PAIR, params)
    assert torch.allclose(x.mean(0), mean, atol=float(5 * x.std(0).max() / math.sqrt(count)))
    for q in (0.05, 0.5, 0.9):
        below = (x <= head.quantile(PAIR, params, q)).double().mean(0)
        assert torch.allclose(below, torch.full((2,), q).double(), atol=0.012)


def test_temperature_narrows_the_choice_and_the_normals():
    head, count = Mixture(components=2), 20_000
    # Two components 20 apart, of weights 0.8 and 0.2, with unit scale and no correlation.
    params = torch.tensor([math.log(4.0), 0, -10, 10, 0, 0, 0, 0, 0, 0, 0, 0]).double()
    rng = Rng.of(1, np.arange(count)).at("pick")
    for temperature, share, scale in ((1.0, 0.8, 1.01), (0.5, 16 / 17, 1.01 * math.sqrt(0.5)), (0.0, 1.0, 0.0)):
        x = head.draw(PAIR, params.expand(count, -1), rng, torch.full((count,), temperature))
        first = x[:, 0] < 0
        assert float(first.double().mean()) == pytest.approx(share, abs=0.015)
        assert float((x[first] - torch.tensor([-10.0, 0.0])).square().mean().sqrt()) == pytest.approx(scale, abs=0.02)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e8])
def test_gradients_are_finite_at_extremes(size):
    head = Mixture(components=K)
    params = (numbers(rows=64, seed=4).float() * size).requires_grad_()
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(64, 2))).float() * 50
    nats = head.nats(PAIR, params, x, torch.ones(64, 2, dtype=torch.bool))
    nats.sum().backward()
    assert torch.isfinite(nats).all()
    assert torch.isfinite(params.grad).all()


def test_it_covers_a_pair_and_leaves_the_rest():
    table = Vectors(fields=tuple(Field(name=name) for name in "abc"))
    assert Mixture().covers(PEN) == ("move",)
    assert Mixture().covers(table) == ("a", "b")
    assert Mixture().covers(Vectors(fields=(Field(name="a"),))) == ()
    assert Autoregressive(head=Mixture(components=K)).spec(PEN).outputs == 6 * K + 2
    assert Autoregressive(head=Mixture(components=K)).spec(table).outputs == 6 * K + 2
    with pytest.raises(UnsupportedSpace, match="mixture"):
        Autoregressive(head=Mixture()).spec(Vectors(fields=(Field(name="a", support="count"),)))
    with pytest.raises(UnsupportedSpace, match="mixture"):
        Autoregressive(head=Mixture()).spec(Tokens(size=3))
