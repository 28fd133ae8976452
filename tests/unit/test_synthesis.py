"""Samples beside real series: each measure against what is known, the table, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from seqloom import fit
from seqloom.core.errors import ConfigError, DataError, UnsupportedQuery
from seqloom.core.rng import Rng
from seqloom.evaluation.compare import compare_runs
from seqloom.evaluation.report import plain_table
from seqloom.evaluation.synthesis import evaluate_synthesis
from seqloom.metrics import recurrent_judges as judges
from seqloom.metrics import samples
from seqloom.metrics.synthesis import Reality, SynthesisMetric
from seqloom.model import load

SMALL = {"iterations": 10, "seeds": 2, "samples": 20, "length": 6}


def draw(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


def autoregression(seed: int, count: int, length: int, phi: float, channels: int = 1) -> np.ndarray:
    """Stationary windows (N,T,D) of AR(1) with deviation 1; two channels are correlated by .6."""
    rng = draw(seed)
    mix = np.array([[1.0, 0.6], [0.0, 0.8]])[:channels, :channels]
    noise = rng.normal(size=(length, count, channels)) @ mix
    x = [noise[0]]
    for step in noise[1:]:
        x.append(phi * x[-1] + np.sqrt(1 - phi**2) * step)
    return np.stack(x, 1)


def nothing(share: float) -> None:
    """Nobody watches."""


# ---- laws -----------------------------------------------------------------------------------------------------------


def test_correlations_of_an_autoregression_are_powers() -> None:
    x = autoregression(1, 4000, 12, 0.8, 2) * [3.0, 0.1] + [50.0, -7.0]
    lags = np.arange(12)
    known = 0.8 ** lags[:, None, None] * np.array([[1.0, 0.6], [0.6, 1.0]])
    assert np.abs(samples.correlations(x) - known).max() < 0.05
    apart = autoregression(2, 4000, 12, 0.5, 2)
    gap = (0.8**lags - 0.5**lags)[1:]
    assert samples.autocorrelation(apart, x) == pytest.approx(gap.mean(), abs=0.02)
    assert samples.cross_correlation(apart, x) == pytest.approx(0.6 * np.append(gap, 0.0).mean(), abs=0.02)


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_the_marginal_distance_of_a_shift_is_the_shift(shift: float) -> None:
    x = draw(3).normal(size=(500, 8, 2)) * [1.0, 20.0]
    assert samples.marginal(x + shift * x.std((0, 1)), x) == pytest.approx(shift, abs=1e-9)


def test_the_spectrum_is_a_share_of_power() -> None:
    t, phase = np.arange(24), draw(4).uniform(0, 6.28, (50, 1))
    slow, fast = (np.sin(2 * np.pi * k * t / 24 + phase)[..., None] for k in (2, 6))
    assert samples.spectrum(slow * 5 + 9, slow) == pytest.approx(0.0, abs=1e-9)
    assert samples.spectrum(slow, fast) == pytest.approx(1.0)
    assert samples.spectrum(np.concatenate([slow, fast]), slow) == pytest.approx(0.5)


def test_copies_are_at_no_distance_however_far_from_zero() -> None:
    real = draw(5).normal(size=(300, 6, 2)) + 1e6
    made = draw(6).normal(size=(40, 6, 2)) + 1e6
    brute = np.array([np.sqrt(((real - one) ** 2).mean((1, 2))).min() for one in made])
    assert np.allclose(samples.nearest(made, real)[0], brute, rtol=1e-6)
    distance, number = samples.nearest(real[::7], real)
    assert (distance == 0).all()
    assert number.tolist() == list(range(0, 300, 7))
    without = samples.nearest(real[:1], real, np.arange(300)[None] != 5)
    assert (without[0][0], without[1][0]) == (pytest.approx(np.sqrt(((real[0] - real[5]) ** 2).mean())), 5)


def test_closer_counts_pairs_and_halves_what_is_equal() -> None:
    made, held = draw(7).integers(0, 5, 30).astype(float), draw(8).integers(1, 6, 40).astype(float)
    pairs = [(m < h) + (m == h) / 2 for m in made for h in held]
    assert samples.share_closer(made, held) == pytest.approx(np.mean(pairs))


def test_a_gaussian_has_the_mean_and_all_covariances() -> None:
    x = autoregression(9, 400, 5, 0.9, 2) ** 3
    made = samples.gaussian_like(x, 60_000, draw(10).normal(size=(60_000, 10)))
    flat, real = made.reshape(-1, 10), x.reshape(-1, 10)
    assert np.abs(flat.mean(0) - real.mean(0)).max() < 0.1
    assert np.abs(np.cov(flat.T) - np.cov(real.T)).max() < 0.05 * np.cov(real.T).max()


def test_windows_are_whole_and_blocks_share_no_row() -> None:
    x = np.arange(400.0)[:, None].repeat(2, 1)
    x[50, 1] = np.nan
    reality = Reality([x, x[:3], x[100:] + 1000], [x[:8]], 6)
    assert len(reality.windows) == 395 - 6 + 295
    assert reality.held_windows.shape == (3, 6, 2)
    rows = [set(block[..., 0].flatten()) for block in reality.blocks]
    assert reality.places[:2].tolist() == [0, 1]
    assert reality.places[[388, 389, 390]].tolist() == [394, 400 + 6 + 3 + 6, 400 + 6 + 3 + 6 + 1]
    assert len(rows) > 10
    assert all(not a & b for i, a in enumerate(rows) for b in rows[:i])
    with pytest.raises(DataError, match="1 windows of 400 rows"):
        Reality([np.zeros((400, 1))], [], 400)


# ---- judges ---------------------------------------------------------------------------------------------------------


def test_networks_side_by_side_are_networks_alone() -> None:
    """The outputs of one are those of torch's cell, whatever the others read, and training leaves it so."""
    networks = judges.Networks(3, 2, 4, 1, Rng.of(1, 0))
    x = torch.from_numpy(draw(11).normal(size=(5, 7, 3, 2)).astype(np.float32))
    networks.train(lambda step: networks(x).square().sum(), 3, 0.01, nothing)
    rows = torch.arange(3 * 3 * 4).view(3, 3, 4)[:, 1].flatten()
    into, within, one, two, out, last = networks.weights
    own = (into[rows, 2:4], within[rows, 4:8], one[rows], two[rows])
    state, outputs = torch.zeros(5, 4), []
    for t in range(7):
        state = torch.gru_cell(x[:, t, 1], state, *own)
        outputs.append(state @ out[1, 4:8] + last[1])
    assert torch.allclose(networks(x)[:, :, 1, 0], torch.stack(outputs, 1), atol=1e-6)
    assert not into[rows, :2].any()


@pytest.mark.parametrize(("shift", "low", "high"), [(0, 0.0, 0.08), (6, 0.45, 0.5)])
def test_the_published_classifier_tells_a_shift(shift: int, low: float, high: float) -> None:
    real, made = (draw(seed).normal(size=(1000, 6, 6)) / 4 for seed in (12, 13))
    found = judges.discriminative(made + shift / 4, real, 3, 250, Rng.of(2, 0), nothing)
    assert low <= np.median(found) <= high


def test_a_classifier_that_guesses_has_nought_however_few_samples_there_are() -> None:
    real, made = draw(12).normal(size=(1000, 6, 6)) / 4, draw(13).normal(size=(200, 6, 6)) / 4
    assert np.median(judges.discriminative(made, real, 3, 5, Rng.of(2, 0), nothing)) < 0.1, "not the share of the many"


@pytest.mark.parametrize(("phi", "low", "high"), [(0.8, 0.42, 0.58), (-0.3, 0.95, 1.0)])
def test_the_stronger_classifier_tells_a_law(phi: float, low: float, high: float) -> None:
    series = autoregression(14, 1, 1500, 0.8)[0]
    reality = Reality([series], [], 12)
    accuracy, error = judges.two_sample(
        autoregression(15, 400, 12, phi), reality.blocks, 120, Rng.of(3, 0), nothing
    )  # fmt: skip
    assert low <= accuracy <= high
    assert 0 < error < 0.05 or phi < 0


@pytest.mark.parametrize(("kind", "error"), [("walk", 1.0), ("noise", 0.76)])
def test_errors_of_predictors_are_those_of_the_best_ones(kind: str, error: float) -> None:
    """Of a random walk the last row is best; of white noise the mean of t rows, which errs sqrt((1 + 1/t) / 2) as much.

    Over the 23 rows of a window that is .76.
    """
    x = draw(16).normal(size=(2000, 24, 1))
    windows = x.cumsum(1) if kind == "walk" else x
    (found,) = judges.prediction_error(windows[:1500], windows[1500:], 1, 150, Rng.of(4, 0), nothing)
    assert found == pytest.approx(error, rel=0.06)


def test_a_channel_that_follows_another_is_predicted() -> None:
    first = draw(17).uniform(size=(600, 8, 5))
    second = np.concatenate([first[:, :1, :1], first[:, :-1, :1]], 1)
    x = np.concatenate([first, second], 2)
    followed, mixed = (
        np.mean(judges.predictive(made, x, 2, 700, Rng.of(5, 0), nothing))
        for made in (x, np.concatenate([first, draw(18).uniform(size=second.shape)], 2))
    )
    assert mixed == pytest.approx(0.25, abs=0.03)  # the middle is the best guess of a uniform number
    assert followed < 0.2


def test_a_copyist_and_reality_itself() -> None:
    series = autoregression(19, 1, 900, 0.7, 2)[0]
    reality = Reality([series[:600]], [series[600:]], 12)
    metric = SynthesisMetric(length=12, iterations=20, seeds=2)
    controls = reality.controls(100, Rng.of(6, 0))
    assert list(controls) == ["training windows", "held-out windows", "Gaussian"]
    by_name = {
        name: {record["name"]: record["value"] for record in metric.records(made, reality, 0)}
        for name, made in controls.items()
    }
    copied, held = by_name["training windows"], by_name["held-out windows"]
    assert (copied["nearest"], copied["closer"], copied["novelty"]) == (0.0, 1.0, 0.0)
    assert 0.8 < held["novelty"] < 1.25
    assert (held["nearest"], held["closer"]) == (1.0, 0.5)
    assert 0.7 < by_name["Gaussian"]["nearest"] < 1.3
    alone = Reality([series], [], 12)
    assert "closer" not in {record["name"] for record in metric.records(series[None, :12].repeat(30, 0), alone, 0)}
    with pytest.raises(DataError, match="not finite"):
        metric.records(np.full((30, 12, 2), np.nan), reality, 0)


# ---- of runs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two small runs on a table, one on text."""
    folder = tmp_path_factory.mktemp("synthesis")
    x = autoregression(20, 1, 500, 0.8, 2)[0]
    table, text = folder / "two.csv", folder / "fox.txt"
    table.write_text("a,b\n" + "\n".join(f"{a:.4f},{b:.4f}" for a, b in x) + "\n")
    text.write_text("the quick brown fox jumps over the lazy dog\n" * 40)
    found = {}
    for name, data, model in (("gru", table, "gru"), ("gaussian", table, "gaussian"), ("text", text, "gru")):
        settings = {"feed": {"window": 12, "batch": 4}, "backbone": {"width": 8, "depth": 1}}
        shares = {"corpus": {"splits": [0.7, 0.1, 0.2]}}
        found[name] = str(fit.train(str(data), out=folder / name, model=model, steps=2, **settings, **shares).path)
    return found


@pytest.mark.parametrize("name", ["gru", "gaussian"])
def test_a_run_is_judged_beside_controls(name: str, trained: dict[str, str]) -> None:
    told: list[float] = []
    table = evaluate_synthesis(
        load(trained[name]), None, "test", SynthesisMetric(**SMALL), 0, lambda share, text: told.append(share)
    )
    assert [row.name for row in table.rows] == [name, "training windows", "held-out windows", "Gaussian"]
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    own, copies, held, _ = table.rows
    assert own.value("error_made") is not None
    assert held.value("error_made") is None
    assert copies.value("nearest") == 0.0
    assert all(len(line) == len(table.lines()[1]) for line in table.lines()[2:4])
    assert "nearest" in table.lines()[1]


def test_runs_are_compared_by_their_samples(trained: dict[str, str], tmp_path: Path) -> None:
    both = [trained["gru"], trained["gaussian"]]
    compared = compare_runs(both, out=tmp_path / "both", synthetic=SMALL)
    assert "samples of 6 rows beside 345 training windows" in plain_table(compared)
    page = (tmp_path / "both" / "report.html").read_text()
    assert "Samples beside real windows" in page
    assert "held-out windows" in page
    assert "Real windows and samples of each model" in page
    kept = json.loads((tmp_path / "both" / "compare.json").read_text())
    assert [row["name"] for row in kept["synthesis"]["rows"]][:2] == ["gru", "gaussian"]
    assert kept["rows"][0]["synthesis"]["discriminative"]["length"] == 6
    assert "discriminative" not in kept["rows"][0]


def test_what_cannot_be_judged_is_refused(trained: dict[str, str]) -> None:
    with pytest.raises(UnsupportedQuery, match="no numbers"):
        evaluate_synthesis(load(trained["text"]), None, "test", SynthesisMetric(**SMALL))
    with pytest.raises(DataError, match="windows of 345 rows"):
        evaluate_synthesis(load(trained["gru"]), None, "test", SynthesisMetric(**{**SMALL, "length": 345}))
    with pytest.raises(ConfigError, match="samples"):
        SynthesisMetric.parse({"samples": 3})
