"""Rolling origins and the baselines of forecasts: where they lie, what they may see, and what they make of gaps."""

from __future__ import annotations

import copy
import json
import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from seqloom import calibration, fit
from seqloom.calibration import allowed, correction_of
from seqloom.codecs.base import Codec
from seqloom.core.config import make, members_of
from seqloom.core.errors import DataError, RunError, UnsupportedQuery
from seqloom.core.progress import decimal
from seqloom.corpora.files import corpus_of
from seqloom.evaluation.baselines import statistical
from seqloom.evaluation.baselines.base import Baseline, BaselineForecast, ForecastTask
from seqloom.evaluation.baselines.paths import errors_of
from seqloom.evaluation.compare import compare_runs
from seqloom.evaluation.forecast_table import ForecastTable
from seqloom.evaluation.forecasts import baseline_rows, evaluate_forecasts
from seqloom.evaluation.measured import MeasuredRow
from seqloom.evaluation.report import plain_table
from seqloom.filler import Filler
from seqloom.metrics.forecast import Backtest, quantile
from seqloom.model import Model, load
from seqloom.rolling import Origins, forecast_from, origins_of, origins_of_run
from seqloom.sequence.correction import Correction
from seqloom.sequence.naive import naive_forecast
from seqloom.sequence.shrinkage import Shrinkage
from seqloom.sequence.width import Width

RULES = ("persistence", "seasonal", "drift", "autoregression")


def draw(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))


def written(path: Path, x: np.ndarray, first: int = 0) -> Path:
    """A CSV file of hours, from so many after the first of a year."""
    names = "abc"[: x.shape[1]]
    lines = [",".join(["time", *names])]
    for i, row in enumerate(x, first):
        cells = ["" if math.isnan(cell) else f"{cell:.6g}" for cell in row]
        lines.append(",".join([f"2024-01-{1 + i // 24:02d} {i % 24:02d}:00", *cells]))
    path.write_text("\n".join(lines) + "\n")
    return path


def days(rows: int, width: int = 2) -> np.ndarray:
    hours = np.arange(rows)[:, None]
    return 10 + np.sin(math.tau * (hours + np.arange(width)) / 24) * np.array([1.0, 30.0, 4.0])[:width]


def found(path: Path, horizon: int, splits: tuple[float, float, float] = (0.6, 0.1, 0.3), **more: int) -> Origins:
    corpus = corpus_of(str(path), {"splits": splits})
    codec = corpus.prepare(None, {}).codec
    return origins_of(corpus, codec, {}, "test", Backtest(horizon, **more))


def task(x: np.ndarray, horizon: int, season: int, *starts: int) -> ForecastTask:
    return ForecastTask([x[:300]], [x[:start] for start in starts], [0] * len(starts), horizon, season)


def forecast(name: str, asked: ForecastTask) -> BaselineForecast:
    made = make(Baseline, name).forecast(asked)  # type: ignore[type-abstract]
    assert made is not None
    return made


# ---- origins --------------------------------------------------------------------------------------------------------


def test_origins_are_spread_over_the_split_and_see_all_that_precedes_them(tmp_path: Path) -> None:
    x = days(500)
    path = written(tmp_path / "x.csv", x)
    origins = found(path, 24)
    assert (len(origins.each), origins.stride, origins.season) == (20, 6, 24)
    assert [len(one.past) for one in origins.each] == list(range(350, 350 + 20 * 6, 6))
    for one in origins.each:
        start = len(one.past)
        np.testing.assert_allclose(one.truth, x[start : start + 24], rtol=1e-4)
        np.testing.assert_allclose(one.past, x[:start], rtol=1e-4)
        np.testing.assert_allclose(one.history.values[-1], x[start - 1], rtol=1e-4)
    assert sum(map(len, origins.train)) == 300
    np.testing.assert_allclose(origins.spread, x[:300].std(0), rtol=1e-3)
    assert [len(one.past) for one in found(path, 100, windows=3).each] == [350, 375, 400]
    assert [len(one.past) for one in found(path, 100, stride=20).each] == [350, 370, 390]
    assert [len(one.past) for one in found(path, 100, stride=20, windows=2).each] == [350, 370]
    assert [len(one.past) for one in found(path, 150).each] == [350]
    with pytest.raises(DataError, match="nothing of 151 rows can be forecast: the test split has at most 150"):
        found(path, 151)


def test_gaps_at_either_end_and_inside_leave_nothing_empty(tmp_path: Path) -> None:
    x = days(500) + 0.1 * draw(3).normal(size=(500, 2))
    x[:7] = x[490:] = np.nan  # both ends of the file
    x[340:352, 0] = x[:300, 1] = np.nan  # what precedes the first origin; a channel that training never saw
    x[400:430] = np.nan  # a gap longer than the horizon
    origins = found(written(tmp_path / "x.csv", x), 10, stride=10)
    assert len(origins.each) == 11, "all but those of which nothing is known"
    rows = {row.name: row for row in baseline_rows(RULES, origins)}
    assert list(rows) == ["last value", "seasonal naive", "drift", "linear with lags"]
    for row in rows.values():
        values = [row.value(name) for name in ("wql", "mae", "crps", "energy", "mase", "smape", "msis", "pit")]
        assert None not in values, row.name


def test_several_series_share_the_origins_and_short_ones_are_said(tmp_path: Path) -> None:
    folder = tmp_path / "several"
    folder.mkdir()
    for number, rows in enumerate((400, 300, 30)):
        written(folder / f"{number}.csv", days(rows) + number)
    origins = found(folder, 24)
    assert [one.owner for one in origins.each] == [0] * 10 + [1] * 10
    assert origins.notes == ("1 series too short for the horizon: left out",)
    assert len(baseline_rows(RULES, origins)) == 4


def test_what_has_no_numbers_has_no_forecasts(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("some words\n" * 100)
    with pytest.raises(UnsupportedQuery, match="codec=characters"):
        found(path, 24)


# ---- baselines ------------------------------------------------------------------------------------------------------


def test_rules_say_what_they_are_called() -> None:
    x = days(400) + 0.01 * np.arange(400)[:, None]
    asked = task(x, 30, 24, 320, 333)
    for name, expected in [
        ("persistence", lambda start: np.repeat(x[start - 1 : start], 30, 0)),
        ("seasonal", lambda start: x[start - 24 + np.arange(30) % 24]),
        ("drift", lambda start: x[start - 1] + (x[start - 1] - x[0]) / (start - 1) * np.arange(1, 31)[:, None]),
    ]:
        made = forecast(name, asked)
        for paths, start in zip(made.paths, (320, 333), strict=True):
            assert paths.shape == (101, 30, 2)
            np.testing.assert_allclose(paths[0], expected(start))
            np.testing.assert_allclose(quantile(paths, 0.5), expected(start), err_msg="the median is the rule")
    assert make(Baseline, "seasonal").forecast(task(x, 30, 1, 320)) is None  # type: ignore[type-abstract]
    exact = forecast("autoregression", task(days(400), 30, 24, 320))
    np.testing.assert_allclose(quantile(exact.paths[0], 0.5), days(350)[320:], atol=0.05), "a sine is two lags"


def test_paths_have_the_errors_of_training_and_hang_together() -> None:
    walk = draw(1).normal(size=(5000, 2)).cumsum(0)
    errors = errors_of(lambda past, horizon: np.repeat(past[-1:], horizon, 0), [walk], 16, 1000)
    assert errors.shape == (50, 16, 2)
    growth = np.sqrt((errors**2).mean(axis=(0, 2)))
    assert growth[15] / growth[0] == pytest.approx(4, rel=0.35), "of a random walk it is the root of the steps"
    steps = np.diff(errors, axis=1)
    assert np.corrcoef(errors[:, 7].ravel(), errors[:, 15].ravel())[0, 1] > 0.4
    assert abs(np.corrcoef(steps[:, 3].ravel(), steps[:, 12].ravel())[0, 1]) < 0.3
    made = ForecastTask([walk[:4000]], [walk[:start] for start in range(4100, 4900, 40)], [0] * 20, 16, 1)
    truth = [walk[start : start + 16] for start in range(4100, 4900, 40)]
    inside = [
        (quantile(paths, 0.1) <= real) & (real <= quantile(paths, 0.9))
        for paths, real in zip(forecast("persistence", made).paths, truth, strict=True)
    ]
    assert np.mean(inside) == pytest.approx(0.8, abs=0.12)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_rules_of_very_short_series_are_finite(rows: int) -> None:
    x = days(rows + 6)
    x[0, 1] = np.nan
    asked = ForecastTask([x[:rows]], [x[:rows]], [0], 6, 4)
    for name in RULES:
        assert np.isfinite(forecast(name, asked).paths[0]).all(), name


class FakeModel:
    """Stands for a model of statsforecast: the last value of a past, with a spread."""

    def __init__(self, season_length: int, **more: object) -> None:
        self.season = season_length

    def fit(self, y: np.ndarray) -> FakeModel:
        self.spread = float(np.std(y))
        return self

    def forward(self, y: np.ndarray, h: int, level: list[int]) -> dict[str, np.ndarray]:
        half = statistical._normal_quantile(0.9) * self.spread
        return {"mean": np.full(h, y[-1]), "lo-80": np.full(h, y[-1] - half), "hi-80": np.full(h, y[-1] + half)}


def answering(script: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process that answers as `script` does, in the place of the library's."""
    (tmp_path / "stand_in.py").write_text(script)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(statistical, "__name__", "stand_in")
    monkeypatch.setattr(statistical, "find_spec", lambda name: SimpleNamespace())


ANSWERS = """
import json, sys, time
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if asked["train"][0] > 100:
        time.sleep(60)
    laws = [[[past[-1], 2.0]] * asked["horizon"] for past in asked["pasts"]]
    print(json.dumps({"laws": laws} if asked["train"][0] >= 0 else {"error": "ValueError: below 0"}), flush=True)
"""


def test_a_library_s_baselines_come_from_a_process_with_a_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answering(ANSWERS, monkeypatch, tmp_path)
    monkeypatch.setattr(statistical, "SECONDS", 1.0)
    x = np.stack([np.arange(400.0), 200 + np.arange(400.0), -1 - np.arange(400.0), np.arange(400.0)], 1)
    x[310:315, 3] = np.nan
    made = forecast("ets", task(x, 4, 1, 315, 350))
    assert not made.joint
    assert "2 of 4 series with the mean of training instead (it takes over 1 s a series)" in made.note
    first, second = made.paths
    assert first.shape == (101, 4, 4)
    np.testing.assert_allclose(quantile(first, 0.5)[:, 0], 314)
    np.testing.assert_allclose(quantile(second, 0.5)[:, 0], 349)
    np.testing.assert_allclose(quantile(first, 0.5)[:, 3], 309, err_msg="a gap at the end is bridged")
    np.testing.assert_allclose(quantile(first, 0.5)[:, 1], x[:300, 1].mean())
    assert first[:, 0, 0].std() == pytest.approx(2, rel=0.03)


def test_a_library_that_is_not_there_ends_or_fails_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = task(days(400), 4, 24, 320)
    monkeypatch.setattr(statistical, "find_spec", lambda name: None)
    made = forecast("arima", asked)
    assert (list(made.paths), made.note) == ([], "not taken: pip install 'statsforecast' makes it one of the baselines")
    answering("raise SystemExit(1)", monkeypatch, tmp_path)
    assert forecast("arima", asked).note == "not taken: statsforecast cannot be started here"
    answering("print('ready', flush=True)\ninput()", monkeypatch, tmp_path)
    assert forecast("arima", asked).note == "not taken: statsforecast ended by itself"


def test_the_process_answers_line_by_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    library, models = ModuleType("statsforecast"), ModuleType("statsforecast.models")
    library.models, models.AutoETS = models, FakeModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "statsforecast", library)
    monkeypatch.setitem(sys.modules, "statsforecast.models", models)
    asked = {"train": [0.0, 2.0], "pasts": [[1.0, 7.0]], "horizon": 2, "season": 1}
    monkeypatch.setattr(sys, "stdin", [json.dumps(asked), json.dumps({**asked, "train": [0.0, math.nan]})])
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    statistical.main("AutoETS")
    ready, first, second = capfd.readouterr().out.splitlines()
    assert ready == "ready"
    assert np.array(json.loads(first)["laws"]) == pytest.approx(np.array([[[7.0, 1.0]] * 2]))
    assert json.loads(second) == {"error": "ValueError: its forecast is not finite"}


# ---- the table ------------------------------------------------------------------------------------------------------


def row(name: str, value: float | None, baseline: bool) -> MeasuredRow:
    measures = {} if value is None else {"wql": {"name": "wql", "value": value}}
    return MeasuredRow(name, measures, "not taken: because" if value is None else "", baseline)


def test_a_table_says_which_baselines_no_model_beats() -> None:
    def verdict(*models: float) -> list[str]:
        rows = [row(f"model{i}", value, False) for i, value in enumerate(models)]
        known = [row("last value", 0.5, True), row("drift", 0.4, True), row("AutoETS", None, True)]
        return ForecastTable(24, 20, 5, 1, rows=(*rows, *known)).verdict

    assert verdict(0.3, 0.6) == verdict(math.nan) == []
    assert verdict(0.45, 0.6) == ["Of the forecasts, no model beat drift (0.400) in wql; the best has 0.450."]
    unbeaten = "last value (0.500) and drift (0.400)"
    assert verdict(0.5) == [f"Of the forecasts, no model beat {unbeaten} in wql; the best has 0.500."]
    table = ForecastTable(
        24, 20, 5, 1, rows=(row("mine", 0.45, False), row("drift", 0.4, True), row("ETS", None, True))
    )
    lines = table.lines()
    assert lines[0] == "24 rows ahead from 20 origins, 5 rows apart, no season; never fitted again"
    assert [line.split()[0] for line in lines[3:7]] == ["mine", "─" * len(lines[2]), "drift", "ETS:"]
    assert lines[3].split()[1:] == ["0.450", *["–"] * 11]
    assert "no model beat drift" in lines[-1]


# ---- a model's forecasts --------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"backbone": {"width": 8, "depth": 1}, "feed": {"window": 24, "batch": 4}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("rolling")
    data = written(folder / "x.csv", days(500) + draw(2).normal(size=(500, 2)))
    fit.train(str(data), steps=3, model="gru", out=folder / "run", corpus={"splits": [0.6, 0.1, 0.3]}, **SMALL)
    return load(folder / "run")


def test_forecasts_of_several_origins_are_those_of_each_alone(trained: Model) -> None:
    assert trained.run is not None
    asked = Backtest(6, 3, paths=70, seed=5)
    origins = origins_of(trained.run.recipe.corpus, trained.codec, {}, "test", asked)
    said: list[str] = []
    together = forecast_from(trained, origins, asked, lambda share, text: said.append(f"{share:.3f} {text}"))
    for origin, paths in zip(origins.each, together, strict=True):
        alone = trained.forecast(origin.history, 6, n=70, seed=5)
        np.testing.assert_array_equal(paths, alone.paths[:, -6:] if alone.paths is not None else None)
    assert said[-1] == "1.000 3 of 3 done"
    assert 0 < float(said[0].split()[0]) < 0.1


def test_a_file_that_goes_on_after_the_training_data_is_forecast_from_them(trained: Model, tmp_path: Path) -> None:
    assert trained.run is not None
    later, much_later = written(tmp_path / "a.csv", days(30), 500), written(tmp_path / "b.csv", days(30), 510)
    origins = origins_of_run(trained.run, str(later), "test", Backtest(6, 3))
    assert [len(origin.past) for origin in origins.each] == [500, 512, 524]
    np.testing.assert_allclose(origins.each[0].truth, days(30)[:6], rtol=1e-5)
    assert origins.notes[0] == "1 series forecast from where the training data end"
    assert trained.codec.size(origins.each[0].history) == 500
    alone = origins_of_run(trained.run, str(much_later), "test", Backtest(6, 3))
    assert [len(origin.past) for origin in alone.each] == [15, 19, 23]
    assert not alone.notes


def test_series_without_dates_go_on_where_their_names_are_the_same(tmp_path: Path) -> None:
    def wide(name: str, begin: int, end: int) -> str:
        lines = [",".join(["id", *(f"t{i}" for i in range(1, end - begin + 1))])]
        lines += [",".join([f"s{k}", *(f"{20 * k + i % 7 + i / 50:g}" for i in range(begin, end))]) for k in range(5)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return str(tmp_path / name)

    before, after = wide("before.csv", 0, 60), wide("after.csv", 60, 72)
    learned = corpus_of(before)
    codec = learned.prepare(None, {}).codec
    whole = corpus_of(after, {"splits": [0, 0, 1]})
    origins = origins_of(whole, codec, {}, "test", Backtest(12), learned)
    assert [len(origin.past) for origin in origins.each] == [60] * 5
    again = origins_of(corpus_of(before, {"splits": [0, 0, 1]}), codec, {}, "test", Backtest(12, 1), learned)
    assert [len(origin.past) for origin in again.each] == [30] * 5, "the training file itself goes on after nothing"


def test_a_run_beside_the_baselines(trained: Model) -> None:
    table = evaluate_forecasts(trained, None, "test", Backtest(6, 3, paths=20))
    assert table.rows[0].name == "run"
    assert {entry.name for entry in table.rows} >= {"last value", "seasonal naive", "drift", "linear with lags"}
    assert all(entry.measures["wql"]["windows"] == 3 for entry in table.rows if entry.measures)
    assert "no model beat" in table.verdict[0], "three steps are no training"
    assert not table.notes, "the columns are coupled, so there is nothing to say of them"
    loose = copy.copy(trained)
    loose.network = copy.copy(trained.network)
    loose.network.dependence = None
    loose.filler = Filler(loose.codec, loose.process, loose.network, loose.given, ahead=loose.filler.ahead)
    apart = evaluate_forecasts(loose, None, "test", Backtest(6, 3, paths=20))
    assert apart.notes[-1].startswith("the columns of a row are drawn independently")
    assert apart.rows[0].value("crps_sum") != table.rows[0].value("crps_sum")


def test_runs_are_compared_by_their_forecasts(trained: Model, tmp_path: Path) -> None:
    assert trained.run is not None
    compared = compare_runs([str(trained.run.path)], out=tmp_path / "side", horizon=6, windows=2)
    table = compared.forecasts
    assert table is not None
    names = [entry.name for entry in table.rows if entry.measures]
    assert names[0] == "run"
    assert "last value" in names
    ranked = [entry.value("wql") for entry in table.rows if entry.baseline and entry.measures]
    assert ranked == sorted(ranked), "the best first"
    alone = evaluate_forecasts(trained, None, "test", Backtest(6, 2)).rows[0]
    assert table.rows[0].value("wql") == pytest.approx(alone.value("wql"))
    assert not compared.metrics, "forecasts have a table of their own"
    kept = json.loads((tmp_path / "side" / "compare.json").read_text())
    assert kept["rows"][0]["forecast"]["wql"]["horizon"] == kept["asked"]["horizon"] == 6
    assert kept["forecasts"]["rows"][1]["name"] == names[1]
    page = (tmp_path / "side" / "report.html").read_text()
    assert "<h2>Forecasts</h2>" in page
    assert "place of the truth among the paths" in page
    assert "A gap filled" not in page, "what reads from the left fills none"
    assert f"<td>{decimal(table.rows[1].value('wql') or 0)}</td>" in page
    assert "6 rows ahead from 2 origins" in plain_table(compared)
    with pytest.raises(RunError, match="its horizon"):
        compare_runs([str(trained.run.path)], out=tmp_path / "side", horizon=7, windows=2)


def test_what_is_known_ahead_of_time_is_given_to_the_forecasts(tmp_path: Path) -> None:
    data = written(tmp_path / "x.csv", days(500, 3) + draw(4).normal(size=(500, 3)))
    corpus = {"splits": [0.6, 0.1, 0.3], "future": ["c"]}
    fit.train(str(data), steps=3, model="gru", out=tmp_path / "run", corpus=corpus, **SMALL)
    model = load(tmp_path / "run")
    assert model.run is not None
    asked = Backtest(6, 3, paths=4, seed=5)
    origins = origins_of_run(model.run, None, "test", asked)
    (paths, *_) = forecast_from(model, origins, asked)
    first = origins.each[0]
    assert model.given["c"].size(first.given["c"]) == len(first.past) + 6
    ahead = tmp_path / "ahead.csv"
    lines = data.read_text().splitlines()
    ahead.write_text("\n".join([lines[0], *lines[1 + len(first.past) : 7 + len(first.past)]]) + "\n")
    alone = model.forecast(data, 6, n=4, seed=5, from_=len(first.past) + 1, future=ahead)
    assert alone.paths is not None
    np.testing.assert_allclose(paths, alone.paths[:, -6:], rtol=1e-6)


def test_codecs_name_baselines_that_exist() -> None:
    known = members_of(Baseline)  # type: ignore[type-abstract]
    for codec in members_of(Codec).values():  # type: ignore[type-abstract]
        assert set(codec.baselines) <= set(known)  # type: ignore[attr-defined]


# ---- what forecasts are corrected by ---------------------------------------------------------------------------------


def test_forecasts_are_stretched_about_their_median_and_gaps_are_not(trained: Model) -> None:
    wide = copy.copy(trained)
    wide.correction = Correction(width=Width(2.0, 0.5, 9))
    history = {name: column for name, column in zip("ab", days(40).T, strict=True)}
    paths, stretched = (model.forecast(history, 5, n=8, seed=1).paths for model in (trained, wide))
    assert paths is not None
    assert stretched is not None
    np.testing.assert_array_equal(paths[:, :40], stretched[:, :40])
    middle = np.median(paths[:, 40:], 0)
    np.testing.assert_allclose(stretched[:, 40:], middle + 2 * (paths[:, 40:] - middle), rtol=1e-4, atol=1e-4)
    one = (model.forecast(history, 5, n=1, seed=1).paths for model in (trained, wide))
    np.testing.assert_array_equal(*one)
    sample = (model.sample(3, 5, seed=1).paths for model in (trained, wide))
    np.testing.assert_array_equal(*sample)
    table = evaluate_forecasts(wide, None, "test", Backtest(6, 3, paths=20))
    assert (
        table.notes[-1] == "bands are drawn 2.00 times as wide: the model's own of 80% held 50% of 9 held-out forecasts"
    )


def test_forecasts_are_drawn_towards_what_they_go_on_from(trained: Model) -> None:
    near = copy.copy(trained)
    near.correction = Correction(Shrinkage(0.25, 6, 9))
    known = days(40)
    history = {name: column for name, column in zip("ab", known.T, strict=True)}
    paths, moved = (model.forecast(history, 8, n=20, seed=1).paths for model in (trained, near))
    assert paths is not None
    assert moved is not None
    np.testing.assert_array_equal(paths[:, :40], moved[:, :40])
    middle, naive = np.median(paths[:, 40:], 0), naive_forecast(known, 8, 6)
    np.testing.assert_allclose(np.median(moved[:, 40:], 0), naive + 0.25 * (middle - naive), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(moved[:, 40:] - np.median(moved[:, 40:], 0), paths[:, 40:] - middle, atol=1e-3)
    table = evaluate_forecasts(near, None, "test", Backtest(6, 3, paths=20))
    assert table.notes[-1].startswith("forecasts keep 25% of how far they depart from the last 6 values, repeated")


def test_how_wide_bands_must_be_is_drawn_from_the_validation_split(
    trained: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    correction = correction_of(trained, most=6)
    assert correction is not None
    assert correction.width is not None
    assert correction.shrinkage is not None
    assert correction.shrinkage.windows == 6
    width = correction.width
    assert width.windows == 6
    narrow = copy.copy(trained)
    narrow.correction = Correction(width=Width(0.25, 0.5, 9))
    again = correction_of(narrow, most=6)
    assert again is not None
    assert again.width is not None
    assert again.width.held < width.held - 0.2, "what is drawn is what is measured"
    assert again.width.factor > 1.2 * width.factor
    ticks = iter(range(100))
    few = correction_of(trained, seconds=1.0, clock=lambda: float(next(ticks)))
    assert few is not None
    assert few.width is not None
    assert few.width.windows == 4, "half of the time was over"
    assert trained.run is not None
    (part,) = trained.run.recipe.corpus.stretches(trained.codec, "valid", {})
    rows = len(part.value) - part.begin
    for horizon, known in ((rows + 1, True), (2 * rows + 2, False)):
        monkeypatch.setattr(calibration, "horizon_of", lambda recipe, horizon=horizon: horizon)
        assert (correction_of(trained, most=2) is not None) == known, (
            "half of a horizon that the split is too short for"
        )
    assert trained.run is not None
    recipe = trained.run.recipe
    assert [allowed(recipe, elements, 1.0) for elements in (1000, 10**8)] == [(0, None), (20, None)]
    timed = [recipe.replace(trainer=recipe.trainer.replace(steps=None, minutes=minutes)) for minutes in (0.1, 5)]
    assert [allowed(one, 10**8, 60 * one.trainer.minutes)[0] for one in timed] == [0, 20]
    assert allowed(timed[0], 10**8, 2.0) == (20, pytest.approx(4.0)), "few data end a training early"


def test_a_training_says_how_wide_its_bands_must_be(tmp_path: Path) -> None:
    data = str(written(tmp_path / "x.csv", days(300, 1) + draw(3).normal(size=(300, 1))))
    asked: dict[str, Any] = {"steps": 40, "model": "gru", "feed": {"horizon": 1, "window": 64, "batch": 16}}
    asked |= {"backbone": {"width": 8, "depth": 1}, "corpus": {"splits": [0.6, 0.3, 0.1]}}
    run = fit.train(data, out=tmp_path / "a", **asked)
    assert run.correction is not None
    assert load(run).correction == run.correction
    assert run.correction.width is not None
    assert run.correction.width.windows >= 4
    assert fit.train(data, out=tmp_path / "b", calibrate=False, **asked).correction is None
