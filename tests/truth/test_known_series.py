"""Series with known futures: their own laws against closed forms, the measures against what they must say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from seqloom import fit
from seqloom.corpora.builtin import BUILTINS
from seqloom.corpora.files import corpus_of
from seqloom.corpora.known_series import KNOWN, Demand, Linear, Waves
from seqloom.metrics.known import beside, outside
from seqloom.model import load

SEVERAL = 4.5
"""Standard errors that a mean may be off."""


@pytest.mark.parametrize("name", KNOWN)
def test_a_longer_series_begins_with_the_shorter_one_and_is_builtin_data(name: str) -> None:
    law = KNOWN[name]
    whole = law.series(300, 7)
    np.testing.assert_array_equal(law.series(120, 7), whole[:120])
    assert not np.array_equal(law.series(120, 8), whole[:120])
    assert name in BUILTINS
    assert law.futures(whole, 5, 3, 1).shape == (3, 5, whole.shape[1])
    (value,) = corpus_of(f"builtin:{name}", {"size": 60}).full(corpus_of(f"builtin:{name}").default_codec())
    np.testing.assert_array_equal(value.values, law.series(60, 0))


@pytest.mark.parametrize("name", ["ar1", "walk", "coupled"])
def test_what_follows_a_linear_law_is_normal_with_the_moments_of_its_recursion(name: str) -> None:
    law = KNOWN[name]
    assert isinstance(law, Linear)
    past, count = law.series(50, 1), 20_000
    made = law.futures(past, 6, count, 2)
    mean, spread = law.law(past[-1], 6)
    for h in range(6):
        error = np.sqrt(np.diag(spread[h]) / count)
        assert (np.abs(made[:, h].mean(0) - mean[h]) < SEVERAL * error).all()
        np.testing.assert_allclose(np.cov(made[:, h].T).reshape(spread[h].shape), spread[h], rtol=0.06, atol=0.03)
    powers = [np.linalg.matrix_power(law.transition, k) for k in range(6)]
    whole = sum(p @ np.array(law.covariance) @ p.T for p in powers)
    np.testing.assert_allclose(spread[5], whole)


def test_waves_are_their_mean_and_noise_and_a_level_moves_once() -> None:
    law = Waves(moves_at=500, move=12.0)
    x = law.series(1_000, 3)[:, 0]
    noise = x - law.mean(np.arange(1_000.0))
    assert abs(noise.std() / law.noise - 1) < SEVERAL / math.sqrt(2_000)
    assert abs(noise.mean()) < SEVERAL * law.noise / math.sqrt(1_000)
    assert law.mean(np.array([500.0])) - law.mean(np.array([500.0 - law.period])) == pytest.approx(12.0)
    made = law.futures(x[:600, None], 24, 4_000, 1)[..., 0]
    assert np.abs(made.mean(0) - law.mean(600.0 + np.arange(24))).max() < SEVERAL * law.noise / math.sqrt(4_000)


@pytest.mark.parametrize(("law", "zeros"), [(Demand(), 0.6), (Demand(chance=0.25, rest=3, size=4.0), 6 / 7)])
def test_demand_has_its_share_of_zeros_and_its_sizes_and_remembers_the_last(law: Demand, zeros: float) -> None:
    assert law.zeros == pytest.approx(zeros)
    x = law.series(40_000, 5)[:, 0]
    asked = x[x > 0]
    assert abs((x == 0).mean() - zeros) < 0.01
    assert abs(asked.mean() - 1 - law.size) < SEVERAL * math.sqrt(law.size / len(asked))
    gaps = np.diff(np.flatnonzero(x)) - 1
    assert gaps.min() == law.rest
    assert abs(np.mean(gaps == law.rest) - law.chance) < SEVERAL * 0.5 / math.sqrt(len(gaps))
    after = law.futures(np.array([[0.0], [2.0], [0.0]]), 4, 4_000, 1)[..., 0] > 0
    chances = [0.0, 0.0, law.chance] if law.rest else [law.chance] * 3
    np.testing.assert_allclose(after.mean(0)[:3], chances, atol=0.04)


@pytest.mark.parametrize("name", KNOWN)
def test_the_measures_find_the_truth_and_miss_what_is_not(name: str) -> None:
    law = KNOWN[name]
    pasts = [law.series(4_000, 0)[:start] for start in (3_800, 3_850, 3_900, 3_950)]
    truths = [law.futures(past, 12, 4_000, 1) for past in pasts]
    right = [law.futures(past, 12, 200, 2) for past in pasts]
    assert not outside(beside(right, truths))
    wide = [made + 2 * (made - made.mean(0)) for made in right]
    assert "quantile_0.1" in outside(beside(wide, truths))
    if name == "coupled":  # each channel right, but alone
        apart = [np.concatenate([made[..., :1], made[::-1, :, 1:]], 2) for made in right]
        assert outside(beside(apart, truths)) == ["cross_correlation"]
    if name in {"ar1", "walk"}:
        shuffled = [np.random.default_rng(1).permuted(made, axis=0) for made in right]
        assert outside(beside(shuffled, truths)) == ["autocorrelation"]


MISSED = {
    ("shift", "lstm"): {"quantile_0.5"},
    ("shift", "transformer"): {"quantile_0.5"},
    ("intermittent", "transformer"): {"quantile_0.9"},
}
"""What is known to fall short: a level that training never saw is forecast a sixth of its noise too low, and how large
demand is after a rest too small."""


@pytest.mark.slow
@pytest.mark.parametrize("model", ["lstm", "transformer"])
@pytest.mark.parametrize("name", KNOWN)
def test_forecasts_by_the_defaults_follow_the_known_law(name: str, model: str, tmp_path: Path) -> None:
    fit.train(f"builtin:{name}", model=model, steps=400, out=tmp_path / "run")
    trained, law = load(tmp_path / "run"), KNOWN[name]
    whole = law.series(4_000, 0)
    names = [field.name for field in trained.codec.space.fields]
    paths, truths = [], []
    for start in range(3_830, 3_980, 20):
        past = whole[start - 400 : start]
        answer = trained.forecast(dict(zip(names, past.T, strict=True)), 12, n=200, seed=start)
        assert answer.paths is not None
        paths.append(answer.paths[:, -12:])
        truths.append(law.futures(whole[:start], 12, 2_000, start))
    assert set(outside(beside(paths, truths))) <= MISSED.get((name, model), set())
