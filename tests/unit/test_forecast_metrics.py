"""Measures of forecasts: closed forms of the normal law, GluonTS's own numbers, calibration, gaps."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seqloom.core.errors import DataError
from seqloom.metrics import forecast as measured
from seqloom.metrics.forecast import Forecast, Forecasts


def draw(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


def several(season: int) -> Forecasts:
    """Five windows of three channels with gaps at the end of a past, in a truth, over a row and over a channel."""
    rng, cases = draw(7), []
    for _ in range(5):
        past = rng.normal(size=(60, 3)).cumsum(0) + np.array([3.0, -20.0, 100.0])
        truth = past[-1] + rng.normal(size=(8, 3)).cumsum(0)
        cases.append((past, truth, past[-1] + rng.normal(size=(100, 8, 3)).cumsum(1)))
    cases[0][0][-1, 0] = cases[1][0][:2] = cases[2][1][5:, 1] = cases[3][1][0] = cases[4][1][:, 2] = np.nan
    each = [Forecast(paths, truth, measured.seasonal_change(past, season)) for past, truth, paths in cases]
    return Forecasts(each, np.ones(3), 8, 8, season)


def values(forecasts: Forecasts) -> dict[str, float]:
    return {record["name"]: record["value"] for record in measured.measures(forecasts)}


# What Evaluator of GluonTS 0.17.0 says of the same numbers, each channel a series (crps_sum: of their sum, by nineteen
# quantiles).
RECORDED = [
    (1, {"wql": 0.037119946586380556, "mase": 2.4329762822034993, "smape": 0.24728047156171534,
         "msis": 18.211580308953035, "crps_sum": 0.016239418852961204}),
    (12, {"wql": 0.037119946586380556, "mase": 0.6095791194940893, "smape": 0.24728047156171534,
          "msis": 4.225697439979617}),
]  # fmt: skip
ABSOLUTE_ERROR = 202.38494972311184


@pytest.mark.parametrize(("season", "recorded"), RECORDED)
def test_measures_agree_with_gluonts(season: int, recorded: dict[str, float]) -> None:
    forecasts = several(season)
    found = values(forecasts)
    assert {name: found[name] for name in recorded} == pytest.approx(recorded, rel=1e-9)
    cells = sum(one.known.sum() for one in forecasts.each)
    assert found["mae"] * cells == pytest.approx(ABSOLUTE_ERROR, rel=1e-9), "with spreads of one"


@pytest.mark.parametrize("truth", [-1.5, 0.0, 0.7])
def test_crps_and_energy_of_a_normal_law(truth: float) -> None:
    paths = draw(1).normal(size=(4000, 1))
    density, below = math.exp(-(truth**2) / 2) / math.sqrt(2 * math.pi), 0.5 * (1 + math.erf(truth / math.sqrt(2)))
    exact = truth * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi)  # Gneiting & Raftery 2007, equation 21
    assert measured.crps(paths, np.array([truth]))[0] == pytest.approx(exact, abs=0.02)
    assert measured.energy(paths, np.array([truth])) == pytest.approx(measured.crps(paths, np.array([truth]))[0])
    levels = np.arange(1, 200) / 200
    loss = np.mean([measured.pinball(np.array(truth), measured.quantile(paths, q), q) for q in levels])
    assert loss == pytest.approx(exact, abs=0.03), "the pinball loss over all quantiles is the CRPS"


def test_energy_of_a_joint_law_and_no_bias_of_few_samples() -> None:
    size = 6
    far = math.sqrt(2) * math.gamma((size + 1) / 2) / math.gamma(size / 2)  # E|X|, and E|X - X'| is sqrt 2 of it
    exact = far * (1 - 1 / math.sqrt(2))
    assert measured.energy(draw(2).normal(size=(2000, size)), np.zeros(size)) == pytest.approx(exact, abs=0.03)
    few = draw(3).normal(size=(3, 20_000))
    assert measured.crps(few, np.zeros(20_000)).mean() == pytest.approx(
        2 / math.sqrt(2 * math.pi) * (1 - 0.5**0.5), abs=0.01
    )
    paths, truth = draw(4).normal(size=(7, 3)), np.zeros(3)
    slow = np.mean([np.linalg.norm(one - truth) for one in paths])
    slow -= sum(np.linalg.norm(a - b) for a in paths for b in paths) / (2 * 7 * 6)
    assert measured.energy(paths, truth) == pytest.approx(slow)


@pytest.mark.parametrize("law", ["normal", "counts"])
def test_a_forecast_that_is_the_truth_s_own_law_is_calibrated(law: str) -> None:
    rng = draw(5)

    def drawn(*size: int) -> np.ndarray:
        return rng.normal(size=size) if law == "normal" else rng.poisson(0.5, size=size).astype(float)

    each = [Forecast(drawn(20, 12, 4), drawn(12, 4), np.ones(4)) for _ in range(60)]
    records = {record["name"]: record for record in measured.measures(Forecasts(each, np.ones(4), 12, 12))}
    for share in (0.5, 0.8, 0.9):
        record = records[f"coverage_{round(100 * share)}"]
        assert record["nominal"] == share
        assert record["value"] == pytest.approx(share, abs=4 * record["stderr"])
        assert record["stderr"] < 0.012
    assert records["pit"]["value"] < 0.03
    assert records["pit"]["histogram"] == pytest.approx([0.1] * 10, abs=0.02)
    narrow = [Forecast(0.3 * one.paths, one.truth, one.change) for one in each]
    assert values(Forecasts(narrow, np.ones(4), 12, 12))["coverage_80"] < 0.75
    assert values(Forecasts(narrow, np.ones(4), 12, 12))["wql"] > records["wql"]["value"]


def test_the_error_is_that_of_windows_drawn_again() -> None:
    rng = draw(6)

    def forecasts(count: int) -> Forecasts:
        each = [Forecast(rng.normal(size=(20, 2, 1)), 3 + rng.normal(size=(2, 1)), np.ones(1)) for _ in range(count)]
        return Forecasts(each, np.ones(1), 2, 2)

    again = [measured.measures(forecasts(12))[0] for _ in range(40)]
    spread = np.std([record["value"] for record in again])
    assert np.mean([record["stderr"] for record in again]) == pytest.approx(spread, rel=0.4)
    assert measured.measures(forecasts(1))[0]["stderr"] is None


def test_what_cannot_be_measured_is_left_out_and_nothing_else() -> None:
    rng = draw(8)
    paths, truth = rng.normal(size=(10, 3, 2)), rng.normal(size=(3, 2))
    never, gone = truth.copy(), np.full((3, 2), np.nan)
    never[:, 1] = np.nan
    one = Forecast(paths, never, np.array([1.0, np.nan]))
    alone = Forecast(paths[:, :, :1], never[:, :1], np.ones(1))
    found, without = values(Forecasts([one], np.ones(2), 3, 3)), values(Forecasts([alone], np.ones(1), 3, 3))
    assert math.isnan(found.pop("crps_sum")), "the sum is never known"
    without.pop("crps_sum")
    assert found == pytest.approx(without)
    both = values(Forecasts([one, Forecast(paths, gone, np.ones(2))], np.ones(2), 3, 3))
    both.pop("crps_sum")
    assert both == pytest.approx(found)
    with pytest.raises(DataError, match="no cell of what was forecast is known"):
        measured.measures(Forecasts([Forecast(paths, gone, np.ones(2))], np.ones(2), 3, 3))
    constant = values(Forecasts([Forecast(paths, truth, np.zeros(2))], np.ones(2), 3, 3))
    assert math.isnan(constant["mase"]), "a past without change has no unit"
    assert math.isfinite(constant["smape"])
    still = Forecast(np.zeros((10, 3, 1)), np.zeros((3, 1)), np.ones(1))
    assert values(Forecasts([still], np.ones(1), 3, 3))["smape"] == 0
