"""Heads of counts, of positive numbers and of yes or no over columns of tables: laws of the data, not of the canvas."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest, nbinom

from seqloom.codecs.series import Series
from seqloom.codecs.table import Table
from seqloom.core.errors import UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.composed import Composed
from seqloom.processes.heads import Bernoulli, BoundHead, Counts, LogNormal, Normal
from seqloom.processes.shaped import Truncated

COUNTS = np.random.default_rng(0).poisson(3.0, 300).astype(float)
AMOUNTS = np.random.default_rng(1).lognormal(3.0, 0.5, 300).round(2)
RAIN = np.where(np.arange(300) % 3, AMOUNTS, 0.0)
OPEN = (np.arange(300) % 7 < 5).astype(float)
SIGNED = np.random.default_rng(2).normal(size=300)


def fitted(transform="none", **columns):
    table = Table(tuple(columns), np.stack(list(columns.values()), 1))
    return Series(transform=transform).fit([table]), table


def bound(codec, *heads, located=True, spread=True):
    return BoundHead(Composed(heads=heads), codec.space, located=located, spread=spread)


def parameters(head, location, seed=0, log_scale=0.4):
    size = head.head.size(head.space)
    own = torch.from_numpy(np.random.default_rng(seed).normal(size=size) * 0.4)
    beside = [torch.full((head.space.dim,), value).double() for value in (location, log_scale)]
    return torch.cat([own, *beside[: head.located], *beside[1 : 1 + head.spread]])


def costs(head, params, x):
    x = torch.as_tensor(x, dtype=torch.float64)
    return head.nats(params.expand(*x.shape[:-1], -1), x, torch.ones_like(x, dtype=torch.bool)).numpy()


def drawn(head, params, count=4000):
    rng = Rng.of(3, np.arange(count)).at("pick")
    return head.draw(params.expand(count, -1), rng, torch.ones(count))


def test_columns_say_what_their_numbers_are():
    codec, _ = fitted(sold=COUNTS, price=AMOUNTS, rain=RAIN, open=OPEN, change=SIGNED, left=COUNTS + 1)
    assert [field.within for field in codec.space.fields] == [
        ("count", "nonnegative"),
        ("positive", "nonnegative"),
        ("nonnegative",),
        ("binary", "nonnegative"),
        (),
        ("count", "positive", "nonnegative"),
    ]
    assert {field.support for field in codec.space.fields} == {"real"}


@pytest.mark.parametrize("transform", ["none", "log"])
@pytest.mark.parametrize("head", [Counts(), Counts(inflated=True)], ids=["plain", "inflated"])
def test_counts_sum_to_one_in_the_units_of_the_data_and_are_drawn_as_scored(head, transform):
    codec, _ = fitted(transform, sold=COUNTS)
    own = bound(codec, head)
    params = parameters(own, location=0.8)
    every = np.arange(400.0)[:, None]
    x = codec.scaled(every)
    mass = np.exp(-(costs(own, params, x) + codec.log_slopes(x)[:, 0]))
    assert mass.sum() == pytest.approx(1, abs=1e-6)
    made = codec.unscaled(drawn(own, params).numpy())
    assert made == pytest.approx(made.round(), abs=1e-6)
    assert made.mean() == pytest.approx((mass * every[:, 0]).sum(), rel=0.05)
    assert (made.round() == 0).mean() == pytest.approx(mass[0], abs=0.02)


def test_a_count_costs_what_a_negative_binomial_about_its_level_says():
    codec, _ = fitted(sold=COUNTS)
    own = bound(codec, Counts())
    params = parameters(own, location=-0.3)
    level = codec.unscaled(np.array([[-0.3]]))[0, 0]
    log_mean, log_size = params[:2].tolist()
    r, mean = np.exp(log_size), level * np.exp(log_mean)
    x = codec.scaled(np.array([[0.0], [3.0], [17.0]]))
    told = -(costs(own, params, x) + codec.log_slopes(x)[:, 0])
    assert told == pytest.approx(nbinom.logpmf([0, 3, 17], r, r / (r + mean)), abs=1e-5)


@pytest.mark.parametrize("located", [True, False], ids=["a level", "no level"])
@pytest.mark.parametrize("transform", ["none", "log"])
@pytest.mark.parametrize("head", [LogNormal(), Truncated()], ids=lambda head: head.name)
def test_positive_columns_integrate_to_one_and_are_drawn_as_scored(head, transform, located):
    codec, _ = fitted(transform, price=AMOUNTS)
    own = bound(codec, head, located=located, spread=located)
    params = parameters(own, location=0.5)
    values = np.exp(np.linspace(-4, 9, 200_001))
    x = codec.scaled(values[:, None])
    density = np.exp(-(costs(own, params, x) + codec.log_slopes(x)[:, 0]))
    sums = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(values))])
    assert sums[-1] == pytest.approx(1, abs=1e-2 if head.name == "truncated" else 1e-4)  # none lies below exp(-4)
    made = codec.unscaled(drawn(own, params).numpy())[:, 0]
    assert (made >= 0).all()
    assert kstest(made, lambda v: np.interp(v, values, sums)).pvalue > 0.01


def test_a_quantile_and_a_mean_are_those_of_the_draws():
    codec, _ = fitted(sold=COUNTS, price=AMOUNTS)
    own = bound(codec, Counts(), LogNormal())
    params = parameters(own, location=0.2)
    made = codec.unscaled(drawn(own, params, 20_000).numpy())
    for q in (0.1, 0.5, 0.9):
        told = codec.unscaled(own.quantile(params[None], q).numpy())[0]
        assert ((made < told - 1e-3).mean(0) < q + 0.02).all()
        assert ((made < told + 1e-3).mean(0) > q - 0.02).all()


def test_yes_or_no_is_one_of_the_two():
    codec, _ = fitted(open=OPEN)
    own = bound(codec, Bernoulli())
    params = parameters(own, location=0.2)
    x = codec.scaled(np.array([[0.0], [1.0]]))
    mass = np.exp(-(costs(own, params, x) + codec.log_slopes(x)[:, 0]))
    assert mass.sum() == pytest.approx(1)
    made = codec.unscaled(drawn(own, params).numpy())
    assert sorted(np.unique(made.round(6))) == [0.0, 1.0]
    assert made.mean() == pytest.approx(mass[1], abs=0.03)


def test_no_column_of_its_kind_is_an_error_that_says_what_there_is():
    codec, _ = fitted(rain=RAIN, change=SIGNED)
    with pytest.raises(UnsupportedSpace, match="of which there is none") as raised:
        Autoregressive(head=LogNormal()).spec(codec.space)
    assert "rain: nonnegative; change: real" in str(raised.value)
    assert raised.value.hint.startswith("leave process.head unset; here fit: ")
    assert {"truncated", "normal", "student"} <= {*raised.value.hint.partition("fit: ")[2].split(", ")}
    assert "lognormal" not in raised.value.hint


def test_a_head_that_no_field_has_is_left_out_of_several():
    codec, _ = fitted(sold=COUNTS)
    for heads, message in (
        ((Bernoulli(), Counts()), "of which there is none"),
        ((Counts(), Normal()), "no field left"),
    ):
        with pytest.raises(UnsupportedSpace, match=message) as raised:
            Autoregressive(head=Composed(heads=heads)).spec(codec.space)
        assert raised.value.hint.startswith("leave it out of process.head.heads")


def test_other_columns_keep_a_law_of_real_numbers():
    codec, table = fitted(sold=COUNTS, change=SIGNED)
    own = bound(codec, Counts(), located=False, spread=False)
    params = parameters(own, location=0.0)
    assert own.head.kinds(codec.space) == ("count", "")
    made = codec.unscaled(drawn(own, params).numpy())
    assert made[:, 0] == pytest.approx(made[:, 0].round(), abs=1e-6)
    assert (made[:, 1] != made[:, 1].round()).all()
    assert np.isfinite(costs(own, params, codec.scaled(table.values))).all()


def test_what_lies_outside_its_set_counts_as_the_nearest_in_it():
    """A later file may hold what training never saw: its likelihood is small, but there."""
    codec, _ = fitted(sold=COUNTS, price=AMOUNTS, open=OPEN)
    own = bound(codec, Counts(), LogNormal(), Bernoulli())
    params = parameters(own, location=0.0)
    odd = codec.scaled(np.array([[-3.0, -1.0, 2.0], [4.4, 0.0, 0.4]]))
    assert np.isfinite(costs(own, params, odd)).all()
