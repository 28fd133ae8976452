"""What is known beside the rows of a table: the calendar, how far apart they are, columns; in every verb."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars
import pytest

import seqloom
from seqloom.codecs.label import Label
from seqloom.core.errors import ConfigError, DataError
from seqloom.corpora.base import Given, declared_by
from seqloom.corpora.cycles import phases, suited
from seqloom.corpora.files import corpus_of
from seqloom.corpora.packed import Packed
from seqloom.metrics.forecast import Backtest
from seqloom.model import Model
from seqloom.rolling import origins_of_run

FOLDER = Path(__file__).parent.parent / "tables"
WEEK = [f"week_{side}{k}" for k in (1, 2, 3) for side in ("sin", "cos")]
DAY, MONTH, YEAR = (
    [f"{name}_{side}{k}" for k in (1, 2) for side in ("sin", "cos")] for name in ("day", "month", "year")
)
HOUR = ["hour_sin1", "hour_cos1"]


def moments(begin: str, end: str, step: str) -> Any:
    """The moments from one day to before another, so many minutes (m), hours, days (D) or months (M) apart."""
    count, unit = int(step[:-1]), step[-1]
    return np.arange(begin, end, count, f"M8[{unit}]").astype("M8[us]").astype(np.int64)


# ---- the calendar as numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begin", "end", "step", "names"),
    [
        ("2024-01-01", "2024-01-03", "1h", []),
        ("2024-01-01", "2024-01-20", "1h", DAY),
        ("2024-01-01", "2024-03-01", "1h", [*DAY, *WEEK]),
        ("2024-01-01", "2024-03-01", "10m", [*HOUR, *DAY, *WEEK]),
        ("2024-01-01", "2024-03-01", "8h", [*DAY[:2], *WEEK]),
        ("2024-01-01", "2024-06-01", "1D", WEEK),
        ("2020-01-01", "2022-01-01", "1D", WEEK),
        ("2020-01-01", "2024-01-01", "1D", [*WEEK, *MONTH, *YEAR]),
        ("2020-01-01", "2024-01-01", "7D", [*MONTH[:2], *YEAR]),
        ("2020-01-01", "2024-01-01", "1M", [*YEAR, "length"]),
        ("2020-01-01", "2024-01-01", "3M", YEAR[:2]),
    ],
)
def test_cycles_are_those_that_vary_and_repeat(begin: str, end: str, step: str, names: Sequence[str]):
    assert suited([moments(begin, end, step)]) == names


def test_cycles_may_be_named():
    hours = moments("2024-01-01", "2024-01-20", "1h")
    assert suited([hours, hours[:1]], ["week"]) == WEEK
    assert suited([hours], ["length", "day"]) == [*DAY, "length"]
    with pytest.raises(ConfigError, match="no cycle 'weak'") as error:
        suited([hours], ["weak"])
    assert "week" in error.value.hint


def test_phases_are_where_in_its_cycle_a_moment_lies():
    days = phases(moments("2024-01-01", "2024-01-08", "1D"), WEEK)  # a Monday first
    assert np.linalg.matrix_rank(np.c_[days, np.ones(7)]) == 7, "any function of the day of the week is linear in them"
    np.testing.assert_allclose(days[0], [0, 1] * 3, atol=1e-12)
    noon = moments("2024-01-01T12", "2024-01-01T13", "1h")
    np.testing.assert_allclose(phases(noon, [*WEEK, "day_cos1", "day_cos2"])[0, 6:], [-1, 1], atol=1e-12)
    np.testing.assert_allclose(phases(noon, WEEK)[0], days[0], atol=1e-12)
    months = moments("2024-01-01", "2025-01-01", "1M")
    assert phases(months, ["length"])[:, 0].tolist() == [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    leap = np.array([np.datetime64("2024-02-29", "us")]).astype(np.int64)
    angle = np.array([2 * np.pi * 28 / 29, 2 * np.pi * 59 / 366])
    np.testing.assert_allclose(phases(leap, ["month_sin1", "year_cos1"])[0], [np.sin(angle[0]), np.cos(angle[1])])


def test_the_day_is_that_of_the_clock_of_the_place():
    """Clocks change within this file, and the hour of the day is the one that the file shows."""
    path = FOLDER / "dst_naive.csv"
    prepared = corpus_of(str(path)).prepare(None, {"calendar": Given(source="calendar:day")})
    codec = prepared.codec
    table = codec.only(path)
    assert table.calendar.place
    local = np.array([datetime.fromisoformat(date).hour for date in table.dates])
    beside = prepared.given["calendar"].of_numbers(phases(codec.moments(table), prepared.given["calendar"].columns))
    np.testing.assert_allclose(beside.values[:, 0], np.sin(2 * np.pi * local / 24), atol=1e-9)


# ---- a model of a table with a calendar and columns beside it --------------------------------------------------------


def hours(count: int, first: int = 0) -> list[str]:
    return [f"{datetime(2024, 1, 1) + timedelta(hours=i):%Y-%m-%d %H:%M}" for i in range(first, first + count)]


def frame(rows: int, first: int = 0) -> polars.DataFrame:
    numbers = np.arange(first, first + rows)
    return polars.DataFrame({
        "ds": hours(rows, first), "y": np.sin(numbers / 5), "price": numbers % 7 * 1.0,
        "sky": [("sun", "rain")[i % 2] for i in numbers],
    })  # fmt: skip


SETTINGS: dict[str, Any] = {
    "corpus": {"future": "price"},
    "given": {"sky": {"source": "column:sky", "enters": "align"}, "calendar": {"source": "calendar"}},
    "backbone": {"width": 8, "depth": 1},
    "feed": {"window": 16, "batch": 4},
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("beside") / "t.csv"
    frame(24 * 30).write_csv(path)
    return path


@pytest.fixture(scope="module")
def models(table: Path) -> dict[str, Model]:
    """A model that reads from the left, and one that sees all at once, two rows at a position."""
    found = {}
    for name, patch in (("gru", 1), ("gaussian", 2)):
        settings = SETTINGS | {"backbone": SETTINGS["backbone"] | {"patch": patch}}
        run = seqloom.train(str(table), model=name, steps=3, out=table.with_name(name), **settings)
        found[name] = seqloom.load(run)
    return found


def test_the_calendar_is_a_condition_like_others(models: dict[str, Model]):
    model = models["gru"]
    assert model.run is not None
    own = model.run.recipe.given["calendar"]
    assert (own.enters, own.drop) == ("align", 0)
    assert set(model.network.aligned) == {"price", "sky", "calendar"}
    assert model.given["calendar"].number_names() == [*DAY, *WEEK]


def test_the_calendar_goes_on_with_the_dates(models: dict[str, Model]):
    """Ahead it is what the same rows have in a longer table; nothing of it is asked for."""
    codec = models["gru"].codec
    known, longer = codec.accept(frame(100)), codec.accept(frame(130))
    future = frame(30, 100).drop("y")
    for model in models.values():
        ahead = model.given.ahead(known, 30, future)
        beside = model.given.ahead(longer, 0)
        np.testing.assert_array_equal(ahead["calendar"].values, beside["calendar"].values)
        assert ahead["sky"] == beside["sky"]
    model = models["gru"]
    inside = model.forecast(longer, 5, n=3, from_=101).paths
    np.testing.assert_array_equal(model.forecast(known, 5, n=3, future=future).paths, inside)


def test_a_run_with_a_calendar_is_evaluated_and_resumed(table: Path, models: dict[str, Model]):
    run = models["gru"].run
    assert run is not None
    origins = origins_of_run(run, None, "test", Backtest(5, 2, paths=2))
    for origin in origins.each:
        beside = models["gru"].given.ahead(origin.history, 0)["calendar"].values
        np.testing.assert_array_equal(origin.given["calendar"].values[:-5], beside)
        assert len(origin.given["calendar"]) == len(beside) + 5
    longer = seqloom.train(str(table), model="gru", steps=4, out=run.path, resume=True, **SETTINGS)
    assert seqloom.load(longer).given == models["gru"].given


def test_a_calendar_changes_what_is_made(models: dict[str, Model]):
    model = models["gru"]
    known, future = model.codec.accept(frame(100)), frame(5, 100).drop("y")
    given = model.given.ahead(known, 5, future)
    other = given | {"calendar": model.given["calendar"].of_numbers(given["calendar"].values[::-1])}
    first = model.extend(known, 5, given=given).paths
    assert not np.array_equal(model.extend(known, 5, given=other).paths, first)


@pytest.mark.parametrize(("name", "verb"), [("gaussian", "infill"), ("gru", "score"), ("gaussian", "score")])
def test_columns_are_read_with_a_table_that_is_filled_or_scored(name: str, verb: str, models: dict[str, Model]):
    model, rows = models[name], frame(40)
    gaps = rows.with_columns(y=polars.when(polars.arange(40) == 20).then(None).otherwise(polars.col("y")))

    def ask(given: dict[str, Any] | None) -> Any:
        return model.infill(gaps, given=given, n=2).paths if verb == "infill" else model.score(rows, given=given).nats

    given = model.given.ahead(model.codec.accept(rows), 0)
    assert set(given) == {"price", "sky", "calendar"}
    np.testing.assert_array_equal(ask(None), ask(given))
    dear = given | {"price": model.given["price"].of_numbers(given["price"].values * 100)}
    assert not np.array_equal(ask(None), ask(dear)), "they are not left out"


@pytest.mark.parametrize("verb", ["infill", "score"])
def test_a_table_that_lacks_a_column_is_refused(verb: str, models: dict[str, Model]):
    rows = frame(30).drop("price").with_columns(y=polars.when(polars.arange(30) == 9).then(None).otherwise(1.0))
    with pytest.raises(DataError, match="no column 'price'"):
        getattr(models["gaussian"], verb)(rows)
    with pytest.raises(DataError, match="no dates, which source=calendar goes by"):
        getattr(models["gaussian"], verb)(frame(30).drop("ds").with_columns(y=polars.lit(None, polars.Float64)))


def test_what_follows_a_table_needs_its_columns(models: dict[str, Model]):
    with pytest.raises(DataError, match="columns 'price' and 'sky' stand beside the rows"):
        models["gru"].extend(frame(30), 2)


@pytest.mark.parametrize(("cell", "names"), [("many", True), ("inf", False), ("1e300", False), ("1e20", False)])
def test_a_cell_ahead_that_is_no_usable_number_is_named_by_its_date(
    cell: str, names: bool, models: dict[str, Model], tmp_path: Path
):
    future = tmp_path / "future.csv"
    later = frame(3, 30).with_columns(polars.Series("price", ["1", cell, "2"]))
    later.write_csv(future)
    with pytest.raises(DataError, match=f"column 'price' holds '{cell}' in 2024-01-02 07:00") as error:
        models["gru"].forecast(frame(30), 3, n=2, future=future)
    assert (error.value.path, error.value.hint) == (str(future), "mend the cell")
    cells = [one if names else float(one) for one in ("1", cell, "2")]
    for rows in (later.with_columns(polars.Series("price", cells)), {**later.to_dict(), "price": cells}):
        with pytest.raises(DataError, match=r"column 'price' holds '.*' in 2024-01-02 07:00"):
            models["gru"].forecast(frame(30), 3, n=2, future=rows)
        if not names:
            rows = {**dict(rows if isinstance(rows, dict) else rows.to_dict()), "price": [1.0, float("nan"), 2.0]}
            with pytest.raises(DataError, match="column 'price' has no value in 2024-01-02 07:00"):
                models["gru"].forecast(frame(30), 3, n=2, future=rows)
    if names:  # of a condition that is learned from words, the nearest are told
        later.with_columns(price=1.0, sky=polars.lit("rian")).write_csv(future)
        with pytest.raises(DataError, match="column 'sky' holds 'rian' in 2024-01-02 06:00") as error:
            models["gru"].forecast(frame(30), 3, n=2, future=future)
        assert error.value.hint.startswith("did you mean")


@pytest.mark.parametrize("cell", ["many", "inf", "1e300"])
def test_a_column_of_numbers_with_another_cell_is_no_column_of_words(cell: str, tmp_path: Path):
    path = tmp_path / "odd.csv"
    prices = [cell if i == 50 else str(i % 7) for i in range(100)]
    frame(100).with_columns(polars.Series("price", prices)).write_csv(path)
    corpus, column = corpus_of(str(path), {"columns": "y"}), Given(source="column:price", enters="align")
    with pytest.raises(DataError, match=f"column 'price' holds '{cell}'") as error:
        corpus.prepare(None, {"price": column})
    assert (error.value.path, error.value.line) == (str(path), 52)
    words = column.replace(codec=Label())
    assert corpus.prepare(None, {"price": words}).given["price"].name == "label"
    frame(100).with_columns(polars.Series("price", ["low", "high"] * 50)).write_csv(path)
    assert corpus.prepare(None, {"price": column}).given["price"].name == "label"


# ---- samples --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gru", "gaussian"])
def test_samples_have_beside_them_what_followed_there(name: str, models: dict[str, Model]):
    model = models[name]
    assert model._train is not None
    split = model._train()
    assert split is not None
    (canvas,) = model.empty(10)
    assert canvas.openings is not None
    owner, first = canvas.openings.places(np.array([0.3, 0.9]))
    beside = model.given.at_places(canvas, {}, owner, first)
    for i, begin in enumerate(first):
        size = canvas.context + 10
        own = split.given["calendar"].x[begin : begin + size]
        np.testing.assert_array_equal(beside["calendar"].x[i].numpy(), own)
        assert beside["sky"].present[i].all(), "each of them is followed by as many rows"
    answer = model.sample(3, 10, seed=4)
    np.testing.assert_array_equal(model.sample(1, 10, seed=4).paths[0], answer.paths[0])
    first_date = answer.values[0].dates[0]
    assert first_date in hours(24 * 30)


def test_samples_are_made_beside_columns_that_are_given(models: dict[str, Model]):
    model = models["gru"]
    plain = model.sample(2, 6, seed=1).paths
    low, high = (model.sample(2, 6, seed=1, given={"price": {"price": [price] * 6}}).paths for price in (0.0, 60.0))
    assert not np.array_equal(low, high)
    assert plain.shape == low.shape
    (canvas,) = model.empty(6)
    given = model.given.encode({"price": {"price": [5.0] * 4}})
    beside = model.given.at_places(canvas, given, *canvas.openings.places(np.array([0.5])))["price"]  # type: ignore[union-attr]
    assert beside.present[0, -6:].tolist() == [True] * 4 + [False] * 2
    assert beside.x[0, -6:-2, 0].tolist() == pytest.approx([float(given["price"].x[0, 0])] * 4)
    assert beside.present[0, :-6].all()


# ---- dates that are not even ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Minutes apart, now and then many more."""
    rng = np.random.default_rng(0)
    seconds = np.cumsum(rng.choice([60, 75, 90, 1200], size=300))
    dates = [f"{datetime(2024, 1, 1) + timedelta(seconds=int(s)):%Y-%m-%d %H:%M:%S}" for s in seconds]
    path = tmp_path_factory.mktemp("uneven") / "u.csv"
    path.write_text(
        "\n".join(["time,y", *(f"{d},{y:.3f}" for d, y in zip(dates, rng.normal(size=300), strict=True)), ""])
    )
    return path


def test_uneven_dates_are_a_condition_unless_it_is_left_out(uneven: Path, table: Path, tmp_path: Path):
    corpus = corpus_of(str(uneven))
    assert {name: (item.source, item.aligned) for name, item in declared_by(corpus, {}).items()} == {
        "elapsed": ("elapsed", True)
    }
    assert declared_by(corpus, {"elapsed": None}) == {}
    assert set(declared_by(corpus, {"waits": {"source": "elapsed"}})) == {"waits"}
    assert declared_by(corpus_of(str(table)), {}) == {}
    assert declared_by(corpus_of(str(FOLDER / "nohead.csv")), {}) == {}
    prepared = corpus.prepare(None, declared_by(corpus, {}))
    assert any("given.elapsed" in note for note in prepared.notes)
    codec, condition = prepared.codec, prepared.given["elapsed"]
    split = prepared.splits["train"]
    batch = Packed(split.data, codec.space, split.given, split.aligned).window(np.array([0]), 8)
    read = condition.decode(condition.encode(condition.of_numbers(np.log(codec.waits(codec.only(uneven)))[:, None])))
    seen = batch.given["elapsed"].x[0, 1:, 0].numpy() * condition.scales[0] + condition.means[0]
    np.testing.assert_allclose(seen, read.values[1:8, 0], rtol=1e-5)
    assert np.isnan(read.values[0, 0]), "nothing is known of what was before"


def test_a_forecast_of_uneven_dates_goes_on_by_the_usual_step_or_as_it_is_told(uneven: Path):
    run = seqloom.train(
        str(uneven), model="gru", steps=2, out=uneven.with_name("run"), backbone={"width": 8, "depth": 1}
    )
    model = seqloom.load(run)
    history = model.codec.accept(uneven)
    last = datetime.fromisoformat(history.dates[-1])
    step = history.calendar.step
    answer = model.forecast(history, 2, n=2)
    assert answer.values[0].dates[-2:] == tuple(str(last + timedelta(seconds=step * k)) for k in (1, 2))
    later = [str(last + timedelta(seconds=s)) for s in (0, 30, 5000, 5100)]
    told = model.forecast(history, 2, n=2, future={"time": later, "z": [0] * 4})
    assert told.values[0].dates[-2:] == tuple(later[1:3])
    ahead = model.given.ahead(model.codec.foreseen(history, 2, {"time": later, "z": [0] * 4}), 2)
    np.testing.assert_allclose(ahead["elapsed"].values[-2:, 0], np.log([30, 4970]))
    with pytest.raises(DataError, match="the future has 3 dates after"):
        model.forecast(history, 4, future={"time": later, "z": [0] * 4})
    inside = model.forecast(history, 3, n=2, from_=201)
    assert inside.values[0].dates[-3:] == history.dates[200:203]
    assert model.score(uneven).count == 300
    short = polars.read_csv(uneven)[100:130].with_columns(y=polars.lit(1.0))
    assert model.score(short).count == 30, "of uneven dates the usual step is no sign of other data"
