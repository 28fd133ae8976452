"""Heads: they sum or integrate to one, and their draws, means and quantiles are those of their nats."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import chisquare, kstest

from seqloom.core.config import members_of
from seqloom.core.errors import UnsupportedQuery, UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.composed import Composed
from seqloom.processes.heads import BoundHead, Head, Normal
from seqloom.processes.shaped import Pieces, Quantiles
from seqloom.sequence.space import Field, Tokens, Vectors

SUPPORTS = ("real", "positive", "count", "binary", "category")
MOST = 3000  # counts beyond it have no probability to speak of


def space_of(*supports, ends=False):
    return Vectors(
        fields=tuple(
            Field(name=f"{s}{i}", support=s, width=3 if s == "category" else 1) for i, s in enumerate(supports)
        ),
        ends=ends,
    )


def members():
    """Every head with each single support that it covers."""
    settings = {"student": [{}, {"components": 3}], "counts": [{}, {"inflated": True}]}
    for name, head in members_of(Head).items():
        for support in SUPPORTS:
            for own in settings.get(name, [{}]):
                if head().covers(space_of(support)):
                    yield pytest.param(head(**own), support, id="-".join([name, *own, support]))


def numbers(size, seed=0, rows=None):
    shape = (size,) if rows is None else (rows, size)
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape) * 0.7)


def nats(head, space, params, x):
    x = torch.as_tensor(x, dtype=torch.float64)
    return head.nats(space, params.expand(*x.shape[:-1], -1), x, torch.ones_like(x, dtype=torch.bool))


def elements(support):
    """All values of a field that has a list of them (N,D)."""
    if support == "count":
        return torch.arange(MOST, dtype=torch.float64)[:, None]
    return torch.eye(3, dtype=torch.float64) if support == "category" else torch.tensor([[0.0], [1.0]]).double()


def drawn(head, space, params, count, temperature=1.0, seed=3):
    rng = Rng.of(seed, np.arange(count)).at("pick")
    return head.draw(space, params.expand(count, -1), rng, torch.full((count,), temperature))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("head", "support"), list(members()))
def test_it_sums_or_integrates_to_one_and_draws_what_it_scores(head, support, seed):
    space = space_of(support)
    params = numbers(head.size(space), seed)
    x = drawn(head, space, params, 4000)
    assert x.shape == (4000, space.dim)
    if support in {"real", "positive"}:

        def density(v):
            return math.exp(-float(nats(head, space, params, [v])))

        low = -40 if support == "real" else 1e-9
        pieces = [low, -5, -1, 0, 1, 5, 40] if support == "real" else [low, 0.3, 1, 3, 20, 400, 9000]
        if isinstance(head, Pieces):  # a density that jumps is integrated from one jump to the next
            pieces = sorted({*pieces, *head.pieces(params)[0].flatten().tolist()})
        grid = [quad(density, *pair, limit=200)[0] for pair in itertools.pairwise(pieces)]
        assert sum(grid) == pytest.approx(1, abs=1e-5)

        def below(values):
            fine = np.linspace(pieces[0], pieces[-1], 200_001)
            p = np.exp(-nats(head, space, params, fine[:, None]).numpy())
            sums = np.concatenate([[0], np.cumsum((p[1:] + p[:-1]) / 2 * np.diff(fine))])
            return np.interp(values, fine, sums)

        assert kstest(x[:, 0].numpy(), below).pvalue > 0.01
        assert head.measure(space) == "density"
        return
    every = elements(support)
    mass = np.exp(-nats(head, space, params, every).numpy())
    assert mass.sum() == pytest.approx(1, abs=1e-6)
    seen = np.array([int((x == value).all(1).sum()) for value in every[: 200 if support == "count" else None]])
    expected = mass[: len(seen)] * len(x)
    kept = expected >= 5
    seen = np.append(seen[kept], len(x) - seen[kept].sum())
    expected = np.append(expected[kept], len(x) - expected[kept].sum())
    assert chisquare(seen[expected > 1e-9], expected[expected > 1e-9], sum_check=False).pvalue > 0.01
    assert head.measure(space) == "mass"


@pytest.mark.parametrize(("head", "support"), list(members()))
def test_means_and_quantiles_are_those_of_its_draws(head, support):
    space = space_of(support)
    params = numbers(head.size(space), 5)
    x = drawn(head, space, params, 20_000)
    try:
        mean = head.mean(space, params)
    except UnsupportedQuery:
        pass
    else:
        assert torch.allclose(x.mean(0), mean.float().to(x), atol=float(5 * x.std(0).max() / math.sqrt(20_000)))
    for q in (0.1, 0.5, 0.9):
        try:
            edge = head.quantile(space, params, q)
        except UnsupportedQuery:
            continue
        assert float((x <= edge).double().mean()) > q - 0.015
        assert float((x < edge).double().mean()) < q + 0.015


@pytest.mark.parametrize(("head", "support"), list(members()))
def test_no_temperature_is_one_value_and_cells_that_are_not_wanted_cost_nothing(head, support):
    space = space_of(support)
    params = numbers(head.size(space), 6).requires_grad_()
    cold = drawn(head, space, params, 7, temperature=0.0)
    assert (cold == cold[0]).all()
    x = torch.full((2, space.dim), torch.nan, dtype=torch.float64)
    none = head.nats(space, params.expand(2, -1), x.masked_fill(torch.tensor(True), 0.0), torch.zeros_like(x).bool())
    assert none.tolist() == [0, 0]
    (gradient,) = torch.autograd.grad(none.sum(), params, allow_unused=True)
    assert gradient is None or (gradient == 0).all()


def test_symbols_sum_to_one_and_are_drawn_as_scored():
    space, head = Tokens(size=4, ends=True), members_of(Head)["categorical"]()
    params = numbers(head.size(space))
    every = torch.arange(space.total)
    mass = (-head.nats(space, params.expand(5, -1), every, torch.ones(5, dtype=torch.bool))).exp()
    assert float(mass.sum()) == pytest.approx(1)
    x = drawn(head, space, params, 4000)
    assert chisquare(np.bincount(x, minlength=5), 4000 * mass.numpy()).pvalue > 0.01


def test_an_element_of_all_kinds_costs_the_sum_of_its_fields():
    space = space_of("category", "real", "count", "real", "binary", "positive", ends=True)
    head = Autoregressive().head_for(space)
    params = numbers(head.size(space), rows=5)
    x = drawn(head, space, params[0], 5)
    known = torch.ones_like(x, dtype=torch.bool)
    total = head.nats(space, params, x, known)
    each = torch.zeros(5, dtype=torch.float64)
    for channels in space.slices.values():
        only = torch.zeros_like(known)
        only[:, channels] = True
        alone = head.nats(space, params, x, only)
        assert (alone != 0).all()
        each += alone
    torch.testing.assert_close(total, each)
    assert (x[:, space.slices["count2"]] % 1 == 0).all()
    assert (x[:, space.slices["category0"]].sum(1) == 1).all()
    assert set(x[:, space.end].tolist()) <= {0.0, 1.0}
    # The fields are drawn independently: their numbers come from different keys.
    many = drawn(head, space, params[0], 4000)
    reals = many[:, [space.slices["real1"].start, space.slices["real3"].start]].numpy()
    assert abs(np.corrcoef(reals.T)[0, 1]) < 0.06


class Pair(Normal, name="test pair of numbers"):
    """A head for the first two real numbers, seen as one."""

    def covers(self, space):
        return tuple(field.name for field in space.all_fields if field.support == "real")[:2]


def test_a_head_takes_its_fields_and_leaves_the_others():
    space = space_of("binary", "real", "real", "real", ends=True)
    head = Autoregressive(head=Pair(floor=0.5)).head_for(space)
    params = numbers(head.size(space), rows=3)
    x = numbers(space.dim, seed=4, rows=3)
    x[:, [0, 4]] = 1
    wanted = torch.ones_like(x, dtype=torch.bool)
    wanted[:, [0, 3, 4]] = False
    by_hand = Pair(floor=0.5).nats(space_of("real", "real"), params[:, :4], x[:, 1:3], wanted[:, 1:3])
    torch.testing.assert_close(head.nats(space, params, x, wanted), by_hand)
    with pytest.raises(UnsupportedSpace):
        Autoregressive(head=Pair()).spec(space_of("count"))


def test_a_location_and_a_scale_from_the_canvas_count_their_jacobian():
    space = space_of("real", "positive", "count")
    head = Composed()
    params = numbers(head.size(space), seed=2)
    location, log_scale = torch.tensor([2.0, 9.0, 9.0]).double(), torch.tensor([0.7, -0.4, 0.5]).double()
    bound = BoundHead(head, space, located=True, spread=True)
    moved = torch.cat([params, location, log_scale])

    def cost(value, only):
        x = torch.zeros(1, 3, dtype=torch.float64)
        x[0, only] = value
        wanted = torch.zeros(1, 3, dtype=torch.bool)
        wanted[0, only] = True
        return math.exp(-float(bound.nats(moved[None], x, wanted)))

    assert quad(lambda v: cost(v, 0), -60, 60, points=[2.0], limit=200)[0] == pytest.approx(1, abs=1e-6)
    assert quad(lambda v: cost(v, 1), 1e-9, 300, points=[0.5, 2.0], limit=300)[0] == pytest.approx(1, abs=1e-5)
    assert sum(cost(v, 2) for v in range(MOST // 4)) == pytest.approx(1, abs=1e-5)
    rng = Rng.of(0, np.arange(20_000)).at("pick")
    x = bound.draw(moved.expand(20_000, -1), rng, torch.ones(20_000))
    mean = bound.mean(moved)
    error = x.std(0) / math.sqrt(20_000)
    assert ((x.mean(0) - mean).abs() < 5 * error).all()
    assert float(mean[2]) == pytest.approx(float(head.mean(space, params)[2]) * math.exp(0.5))
    assert (x[:, 2] % 1 == 0).all()
    median = bound.quantile(moved, 0.5)
    assert ((x <= median).double().mean(0) > 0.485).all()


def test_an_end_keeps_its_own_law_at_any_temperature():
    space, head = space_of("real", "binary", ends=True), Composed()
    assert head.fits(space)
    params = numbers(head.size(space), 3)
    params[-2:] = -1.5  # of the pen, and of the end
    often = 1 / (1 + math.exp(1.5))
    for temperature in (0.0, 0.1, 1.0, 3.0):
        x = drawn(head, space, params, 4000, temperature)
        assert abs(float(x[:, space.end].mean()) - often) < 4 * math.sqrt(often * (1 - often) / 4000)
        assert temperature or not x[:, 1].any(), "other yes or no are what is likelier"


def test_the_pinball_loss_is_least_at_the_quantiles():
    space, head = space_of("real"), Quantiles(levels=(0.1, 0.5, 0.9))
    x = torch.from_numpy(np.random.default_rng(0).gamma(2.0, size=(4000, 1)))
    wanted = torch.ones_like(x, dtype=torch.bool)
    params = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([params], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = head.loss(space, params.expand(4000, -1), x, wanted).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    learned = head.pieces(params.detach())[0][0]
    shares = (x <= learned).double().mean(0)
    assert torch.allclose(shares, torch.tensor([0.1, 0.5, 0.9]).double(), atol=0.01)


@pytest.mark.parametrize(("head", "support"), list(members()))
def test_a_value_far_outside_costs_what_can_be_learned_from(head, support):
    """However sure of the contrary a head is, nats and gradients are finite: in float32, as it is trained."""
    space = space_of(support)
    if support in {"binary", "category"}:
        pytest.skip("has no far values")
    x = torch.full((2, 1, 1), 500.0)
    for size in (0.0, 5.0, 60.0):
        params = (numbers(head.size(space), rows=2).float().sign() * size).unsqueeze(1).requires_grad_()
        found = head.nats(space, params, x, torch.ones_like(x, dtype=torch.bool))
        found.sum().backward()
        assert found.isfinite().all(), size
        assert params.grad.isfinite().all(), size


@pytest.mark.parametrize("dependence", [None, np.linalg.cholesky([[1.0, 0.8], [0.8, 1.0]])])
@pytest.mark.parametrize("name", ["normal", "student", "binned"])
def test_mirrored_draws_lie_on_the_other_side_of_the_median(name, dependence):
    """Where a law is symmetric they are as far from it, so the mean of a pair is the median."""
    space = space_of("real", "real")
    head = members_of(Head)[name]()
    params = torch.zeros(400, head.size(space))
    bound = BoundHead(head, space, head.module(space), dependence=dependence)
    one, other = (
        bound.draw(params, Rng.in_pairs(3, np.arange(400)), torch.ones(400)).double().unflatten(0, (-1, 2)).unbind(1)
    )
    middle = bound.draw(params[:1], Rng.of(0, 0), torch.zeros(1)).double()
    assert torch.allclose(one + other, (2 * middle).expand_as(one), atol=1e-3)
    assert one.std() > 0.1
