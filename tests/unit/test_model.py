"""The model in Python: what it takes, what it refuses, and that several threads and children may use one."""

import multiprocessing
import threading
from dataclasses import replace
from datetime import date, datetime
from types import SimpleNamespace

import numpy as np
import polars
import pytest
import torch

import seqloom
from seqloom.codecs.dates import Calendar
from seqloom.codecs.series import Series
from seqloom.codecs.table import Table
from seqloom.codecs.text import Bytes, Characters
from seqloom.core.dated import dated
from seqloom.core.errors import ConfigError, DataError, UnsupportedQuery
from seqloom.corpora.base import Flat
from seqloom.engine import running as running_on
from seqloom.filler import Running
from seqloom.model import Model
from seqloom.network.backbone import Backbone
from seqloom.network.given import ConditionSpec
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.features import Lags
from seqloom.processes.gaussian import Gaussian
from seqloom.processes.masked import Masked
from seqloom.samplers.ancestral import Ancestral
from seqloom.samplers.beam import Beam
from seqloom.samplers.confident import Confident
from seqloom.samplers.contrastive import Contrastive
from seqloom.samplers.diffuse import Diffuse
from seqloom.samplers.mask_predict import MaskPredict
from seqloom.samplers.unmask import Unmask
from seqloom.samplers.views import Ensemble
from seqloom.sequence.answer import Answer
from seqloom.sequence.canvas import Openings

LETTERS = Characters(alphabet="\nabc ")
TABLES = Series(columns=("a", "b"), means=(10.0, -3.0), scales=(2.0, 0.5))


def model(process, codec, window=16, seed=1, mixer="lstm", ends=False, **more):
    space = codec.space.replace(ends=True) if ends else codec.space
    net = Network(Backbone(width=32, depth=1, mixer=mixer, mlp=1.0), process.spec(space), space, window, {}, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return Model(codec, process, net.eval(), **more)


def text():
    return model(Autoregressive(), LETTERS)


@pytest.mark.parametrize(("made", "length"), [(text(), 300), (model(Gaussian(), TABLES), 60)], ids=["text", "table"])
def test_samples_that_nobody_watches_are_the_same_and_one_at_a_time_is_told(made, length, monkeypatch):
    monkeypatch.setattr(running_on, "SECONDS", 0.0)  # how much is made at once is not to hang on the machine
    query = made.query(made.empty(length), 70, 3)
    running, last, early = Running(replace(query, watched=False)), {}, 0
    for frame in made.stream(running.query):
        early += not frame.done
        running.take(frame)
        assert running.settled <= running.total
        last[frame.row] = frame
    assert running.settled == running.total
    every = list(made.stream(query))
    assert 0 < early < 0.1 * sum(not frame.done for frame in every)
    for frame in every:
        if frame.done:
            np.testing.assert_array_equal(frame.x, last[frame.row].x)


# ---- what was not asked for is not made -----------------------------------------------------------------------------


@pytest.mark.parametrize("mixer", ["lstm", "attention"])
def test_a_canvas_shorter_than_the_window_costs_one_call_for_each_gap(mixer):
    made = model(Masked(), LETTERS, window=128, mixer=mixer)
    canvas = made.codec.canvas("abc____cab", None)
    frames = list(made.stream(made.query(canvas, 1)))
    assert frames[-1].call == 4
    assert len(frames[-1].x) == 10
    value = made.answer(made.query(canvas, 1)).values[0]
    assert (value[:3], value[7:], len(value)) == ("abc", "cab", 10)
    short = model(Gaussian(), TABLES, window=64).sample(1, 5)
    assert short.paths.shape == (1, 5, 2)


# ---- beginnings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [Autoregressive(), Masked()])
def test_samples_from_nothing_begin_where_lines_begin(process):
    made = model(process, LETTERS)
    answer = made.sample(3, 10, seed=4)
    assert [len(value) for value in answer.values] == [10] * 3
    assert answer.made == 10
    if process.name == "masked" or made.network.reach is None:
        assert [value[1:] for value in made.extend("\n", 10, n=3, seed=4).values] == list(answer.values)
    assert len(made.sample(1).values[0]) == (16 if process.name == "autoregressive" else 15)
    bare = model(process, Characters(alphabet="abc"))  # there are no lines
    assert len(bare.sample(1, 9).values[0]) == 9
    assert len(model(process, Bytes()).sample(1, 9).values[0]) == 9


# ---- stops and constraints ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [Autoregressive(), Masked()])
def test_a_sample_ends_before_the_first_stop(process):
    made = model(process, LETTERS, window=64)
    free = made.extend("abc", 40, n=12, seed=3).values
    for stop in ("a", ["ab", "c "]):
        stops = [stop] if isinstance(stop, str) else stop
        for value, whole in zip(made.extend("abc", 40, n=12, seed=3, stop=stop).values, free, strict=True):
            assert value.startswith("abc")
            assert not any(mark in value[3:] for mark in stops)
            if process.name == "autoregressive":
                stops_at = [at for at in (whole.find(mark, 3) for mark in stops) if at >= 0]
                assert value == whole[: min(stops_at)] if stops_at else whole


def test_a_beam_ends_at_a_stop_too():
    made = text()
    for value in made.extend("abc", 12, n=3, sampler=Beam(width=6), stop="b").values:
        assert "b" not in value[3:]


def test_only_what_is_allowed_is_drawn():
    for process in (Autoregressive(), Masked()):
        drawn = "".join(model(process, LETTERS).extend("c", 12, n=20, allow="[ab]").values)
        assert set(drawn) == {"a", "b", "c"}
        assert drawn.count("c") == 20


@pytest.mark.parametrize("process", [Autoregressive(), Masked()])
def test_what_is_banned_does_not_come_up_and_a_bias_is_felt(process):
    made = model(process, LETTERS)
    free = made.extend("ab", 12, n=30, seed=2).values
    assert any("ca" in value or "b" in value[2:] for value in free)
    banned = made.extend("ab", 12, n=30, seed=2, ban=["ca", "b"], allow="[abc ]").values
    assert not any("ca" in value or "b" in value[2:] or "\n" in value for value in banned)
    often = made.extend("ab", 12, n=30, seed=2, bias={"[bc]": 1.5, "c": -9.0}).values
    assert "".join(often).count("b") > 1.5 * "".join(free).count("b")
    assert "c" not in "".join(often)


def test_samples_are_ranked_by_another_model():
    made, other = text(), model(Autoregressive(), LETTERS, seed=2)
    answer = made.sample(12, 9, seed=1)
    ranked, likelihoods = other.ranked(answer, best=5)
    each = {row: other.score(value).per_unit for row, value in zip(answer.rows, answer.values, strict=True)}
    assert list(ranked.rows) == sorted(each, key=each.get)[:5]
    assert [one.per_unit for one in likelihoods] == [each[row] for row in ranked.rows]
    assert [answer.values[row] for row in ranked.rows] == list(ranked.values)


def test_what_cannot_be_a_stop_or_a_constraint_is_refused():
    made = text()
    with pytest.raises(DataError, match="alphabet"):
        made.sample(1, 5, stop="xyz")
    with pytest.raises(ConfigError, match="empty"):
        made.sample(1, 5, stop="")
    with pytest.raises(ConfigError, match="no symbol"):
        made.sample(1, 5, allow="[0-9]")
    with pytest.raises(ConfigError, match="regular expression") as caught:
        made.sample(1, 5, allow="[")
    assert "'[a-z ]'" in caught.value.hint
    numbers = model(Autoregressive(), TABLES)
    for refused in ({"stop": "a"}, {"allow": "a"}, {"ban": "a"}, {"bias": {"a": 1.0}}):
        with pytest.raises(UnsupportedQuery, match="numbers"):
            numbers.sample(1, 5, **refused)


@pytest.mark.parametrize("setting", [{"top_k": 3}, {"top_p": 0.5}])
def test_a_model_of_numbers_refuses_settings_that_it_would_ignore(setting):
    with pytest.raises(UnsupportedQuery, match=f"sampler.{next(iter(setting))}") as caught:
        model(Autoregressive(), TABLES).sample(1, 4, sampler=Ancestral(**setting))
    assert "temperature" in caught.value.hint


# ---- beams and ensembles --------------------------------------------------------------------------------------------


def test_samples_of_a_beam_are_the_best_in_order():
    made = text()
    answer = made.extend("ab", 6, n=4, sampler=Beam(width=8))
    assert len(set(answer.values)) == 4
    assert answer.rows == [0, 1, 2, 3]
    assert list(answer.scores) == sorted(answer.scores, reverse=True)
    for value, score in zip(answer.values, answer.scores, strict=True):
        nats = made.score(value).nats - made.score("ab").nats
        assert -score <= nats + 1e-4  # symbol 0 is never drawn, so the others have a little more


@pytest.mark.parametrize(
    ("process", "sampler"),
    [
        *((Autoregressive(), one) for one in (Beam(), Contrastive(), Ancestral(temperature=0), Ancestral())),
        *((Masked(), one) for one in (Confident(temperature=0), MaskPredict(temperature=0), Confident(), Unmask())),
    ],
)
def test_the_seed_matters_where_something_is_drawn(process, sampler):
    made = model(process, LETTERS)
    first, second = (made.extend("ab", 12, n=3, seed=seed, sampler=sampler).values for seed in (1, 2))
    assert made.draws(sampler) == (first != second)
    assert model(Autoregressive(), TABLES).draws(sampler), "a series goes on from a stretch that is drawn"


def test_models_are_asked_together():
    one, other = text(), model(Autoregressive(), LETTERS, seed=2)
    both = one.beside(other).sample(3, 9, seed=1, sampler=Ensemble())
    assert [len(value) for value in both.values] == [9] * 3
    alone = one.sample(3, 9, seed=1)
    same = one.beside(other).sample(3, 9, seed=1, sampler=Ensemble(weights=(1.0, 1e-9)))
    assert same.values == alone.values
    assert both.values != alone.values
    with pytest.raises(UnsupportedQuery, match="one kind"):
        one.beside(model(Masked(), LETTERS))
    with pytest.raises(UnsupportedQuery, match="codecs that differ"):
        one.beside(model(Autoregressive(), Characters(alphabet="\nabd ")))


# ---- what it takes --------------------------------------------------------------------------------------------------


def test_other_types_are_refused_by_name():
    made = text()
    for thing in (b"abc", ["a", "b"], 17, 3.5):
        with pytest.raises(DataError, match=type(thing).__name__) as caught:
            made.extend(thing, 5)
        assert "str" in caught.value.hint
    with pytest.raises(DataError, match="dict"):
        made.score({"a": 1})


def test_what_is_given_and_what_draws_are_of_the_right_kind(tmp_path):
    made = text()
    with pytest.raises(ConfigError, match="a sampler is wanted, not a dict") as caught:
        made.sample(1, 4, sampler={"temperature": 0.5})
    assert "sampler.replace(temperature=0.5)" in caught.value.hint
    with pytest.raises(UnsupportedQuery, match="has no condition: nothing can be given"):
        made.sample(1, 4, given="ab")
    with pytest.raises(ConfigError, match="a word, a path or a frame, not a list"):
        seqloom.train(["a.txt"], steps=1)
    with pytest.raises(DataError, match="no such file"):
        seqloom.train(tmp_path / "a.txt", steps=1)


def test_a_condition_with_characters_that_no_source_had_is_refused():
    spec = {"source": ConditionSpec(LETTERS.space, "attend", None)}
    process = Autoregressive()
    net = Network(Backbone(width=16, depth=1), process.spec(LETTERS.space), LETTERS.space, 8, spec, 1).eval()
    made = Model(LETTERS, process, net, given={"source": LETTERS})
    named, alone = (made.sample(1, 4, given=given).values for given in ({"source": "abc"}, "abc"))
    assert named == alone, "the value of the only condition needs no name"
    for verb in (lambda given: made.sample(1, 4, given=given), lambda given: made.score("abc", given=given)):
        with pytest.raises(DataError, match=r"^given\.source: not in the model's alphabet: 'x', 'y', first at char"):
            verb({"source": "abxy"})


def test_a_forecast_takes_what_people_have(tmp_path):

    made = model(Autoregressive(), TABLES)
    columns = {"a": [9.0, 11.0, 10.5], "b": [-3.0, -2.5, -3.25]}
    rows = np.array(list(columns.values())).T
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in rows))
    expected = made.forecast(Table(("a", "b"), rows), 4, n=2, seed=1).paths
    for history in (
        columns,
        polars.DataFrame(columns).lazy(),
        rows,
        rows.tolist(),
        polars.DataFrame(columns),
        tmp_path / "t.csv",
        str(tmp_path / "t.csv"),
    ):
        np.testing.assert_array_equal(made.forecast(history, 4, n=2, seed=1).paths, expected)
    with pytest.raises(DataError, match="shape"):
        made.forecast(rows[:, :1], 4)
    with pytest.raises(DataError, match="one length"):
        made.forecast({"a": [1.0], "b": [1.0, 2.0]}, 4)
    with pytest.raises(DataError, match="set"):
        made.forecast({1.0, 2.0}, 4)
    with pytest.raises(DataError, match=r"^line 1: there is no column"):
        made.forecast({"a": [1.0, 2.0]}, 4)
    with pytest.raises(UnsupportedQuery, match="condition"):
        made.forecast(rows, 4, given={"label": "x"})


def test_an_answer_has_a_frame_a_chart_and_scenarios():
    made = model(Autoregressive(), TABLES)
    rows = np.random.Generator(np.random.Philox(key=1)).normal(size=(30, 2))
    answer = made.forecast(Table(("a", "b"), rows), 4, n=20, seed=1)
    assert answer.new.tolist() == [30, 31, 32, 33]
    frame = answer.frame((0.25, 0.75))
    assert frame.columns == ["row", "a_mean", "a_0.25", "a_0.75", "b_mean", "b_0.25", "b_0.75"]
    assert frame["row"].to_list() == ["31", "32", "33", "34"]
    np.testing.assert_array_equal(frame["b_0.75"].to_numpy(), answer.quantile(0.75)[30:, 1])
    level = float(np.median(answer.paths[:, 30:, 0].max(1)))
    kept = answer.where(f"a > {level}")
    assert kept.rows == [i for i in range(20) if answer.paths[i, 30:, 0].max() > level]
    assert len(kept.values) == len(kept.paths) == len(kept.rows) == 10
    np.testing.assert_array_equal(kept.mean, answer.paths[kept.rows].mean(0))
    with pytest.raises(DataError, match="none of 20 paths"):
        answer.where("a > 1e9")
    with pytest.raises(ConfigError, match="no quantile"):
        answer.frame((2.0,))
    chart = answer.plot()
    assert chart._repr_svg_().startswith("<svg")
    assert chart._repr_png_() is None
    assert answer.plot("png", title="t")._repr_png_().startswith(b"\x89PNG")
    assert repr(chart) == f"Chart(svg, {len(chart.data):,} bytes)"
    np.testing.assert_array_equal(
        made.forecast(Table(("a", "b"), rows), 4, n=20, seed=1, from_=21).paths,
        made.forecast(Table(("a", "b"), rows[:20]), 4, n=20, seed=1).paths,
    )
    with pytest.raises(ConfigError, match="how far"):
        made.forecast(rows)
    with pytest.raises(UnsupportedQuery, match="means and quantiles"):
        model(Masked(), LETTERS).sample(1, 4).plot()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["2024-01-31", "2024-02-01"], [date(2024, 1, 31), date(2024, 2, 1)]),
        (["2024-01-31 06:00", None], [datetime(2024, 1, 31, 6), None]),
        (["2024-01-31T06:00:01.5"], [datetime(2024, 1, 31, 6, 0, 1, 500_000)]),
        (["2024-02-30"], ["2024-02-30"]),
        (["31.01.2024"], ["31.01.2024"]),
        (["2024-01-31", "31"], ["2024-01-31", "31"]),
        ([], []),
    ],
)
def test_dates_are_dates_where_iso_writes_them(words, expected):
    assert dated("day", words).to_list() == expected


def test_samples_from_nothing_stand_under_each_other_in_a_frame():
    """They begin at different times, so that quantiles over them by dates would be those of nothing."""
    answer = Answer(
        values=[None, None],
        seed=1,
        rows=[0, 1],
        paths=np.array([[[1.0, 0.5], [2.0, 1.5]], [[3.0, np.nan], [4.0, 3.5]]]),
        made=2,
        columns=("sold", "price"),
        elements=("2024-01-01", "2024-01-02"),
        element="day",
        named=(("2024-01-01", "2024-01-02"), ("2025-03-01", "2025-03-02")),
    )
    assert answer.frame().to_dict(as_series=False) == {
        "sample": [0, 0, 1, 1],
        "day": [date(2024, 1, 1), date(2024, 1, 2), date(2025, 3, 1), date(2025, 3, 2)],
        "sold": [1, 2, 3, 4],
        "price": [0.5, 1.5, None, 3.5],
    }
    assert answer.take([1]).frame()["day"].to_list() == [date(2025, 3, 1), date(2025, 3, 2)]
    assert answer.frame((0.5,))["row"].to_list() == [1, 2], "not the dates of the first"
    made = model(Autoregressive(), TABLES).sample(3, 5, seed=1)
    assert made.frame().shape == (15, 4)


def test_a_model_that_was_trained_for_a_horizon_goes_so_far_at_a_time():
    made = model(Gaussian(), TABLES)
    (canvas,) = made.canvas(Table(("a", "b"), np.zeros((20, 2))), 10)

    def stages():
        _, cut, made_in = made.filler.plan(canvas)
        return [(cut + stage.begin, cut + stage.begin + stage.length) for stage in made_in]

    assert stages() == [(12, 28), (14, 30)], "half a window at a time"
    made.run = SimpleNamespace(recipe=SimpleNamespace(feed=SimpleNamespace(horizon=4), given={}))
    made.filler.ahead = 4
    assert stages() == [(8, 24), (12, 28), (14, 30)], "four at a time"
    assert made.forecast(np.zeros((20, 2)), n=2).paths.shape == (2, 24, 2)
    assert made.forecast(np.zeros((20, 2)), 10, n=2).paths.shape == (2, 30, 2), "a longer one rolls on"


def test_gaps_are_drawn_where_they_are():
    made = model(Gaussian(), TABLES)
    rows = np.random.Generator(np.random.Philox(key=1)).normal(size=(8, 2))
    rows[3:5, 0] = np.nan
    answer = made.infill(Table(("a", "b"), rows), n=12, seed=1)
    assert answer.new.tolist() == [3, 4]
    assert answer.frame((0.5,))["b_0.5"].to_list() == rows[3:5, 1].tolist()
    drawn = answer.plot().data.decode()
    assert ">known<" in drawn
    assert ">median<" in drawn


@pytest.mark.parametrize("wrong", ["3", 2.5, True])
def test_numbers_of_a_question_are_whole(wrong):
    letters, tables = text(), model(Autoregressive(), TABLES)
    for ask in (
        lambda: letters.sample(wrong),
        lambda: letters.sample(1, wrong),
        lambda: letters.sample(seed=wrong),
        lambda: letters.extend("a", wrong),
        lambda: letters.infill("a ___", gap=wrong),
        lambda: tables.forecast(np.ones((5, 2)), wrong),
    ):
        with pytest.raises(ConfigError, match="whole number"):
            ask()
    with pytest.raises(ConfigError, match="at least one sample"):
        letters.sample(0)
    for made in (letters, tables):
        with pytest.raises(ConfigError, match="at least one new element"):
            made.sample(1, 0)
        with pytest.raises(ConfigError, match="-1 is no seed"):
            made.sample(1, 4, seed=-1)
    with pytest.raises(UnsupportedQuery, match="nothing of the future that is given is read"):
        tables.forecast(np.ones((5, 2)), 3, future=np.ones((3, 2)))


def test_a_forecast_is_of_numbers():
    with pytest.raises(UnsupportedQuery, match="means and quantiles"):
        text().forecast("ab", 3)


def test_an_aligned_condition_is_cut_with_the_window():
    process, window = Gaussian(), 8
    specs = {"label": ConditionSpec(LETTERS.space, "align")}
    net = Network(
        Backbone(width=32, depth=1, mixer="attention"), process.spec(TABLES.space), TABLES.space, window, specs
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    made = Model(TABLES, process, net.eval(), given={"label": LETTERS})
    label = "a" * 24

    def paths(label):
        return made.sample(1, 24, seed=1, sampler=Diffuse(steps=4), given={"label": label}).paths[0]

    whole = paths(label)
    late = paths(label[:22] + "b" + label[23:])  # in the last window alone, which begins at 16
    assert (late[:20] == whole[:20]).all()
    assert (late[20:] != whole[20:]).any()
    short = paths(label[:8])
    assert (short[:8] == whole[:8]).all()
    assert np.isfinite(short).all()


def test_rows_of_another_step_are_refused_by_every_verb():
    hours, quarters = (Calendar(format="%Y-%m-%d %H:%M", step=step) for step in (3600.0, 900.0))
    made = model(Autoregressive(), TABLES.replace(calendar=hours, date="time"))
    rows = np.full((4, 2), 1.0)
    table, other = (Table(("a", "b"), rows, one.after("2025-01-01 00:00", 4), "time", one) for one in (hours, quarters))
    assert np.isfinite(made.score(table).nats)
    for verb in (made.score, lambda value: made.extend(value, 2), lambda value: made.forecast(value, 2)):
        with pytest.raises(DataError, match="apart"):
            verb(other)


def test_columns_that_are_made_apart_are_told_apart_from_those_that_hang_together():
    two, one = TABLES.space, Series(columns=("a",), means=(0.0,), scales=(1.0,)).space
    for process, space, channels, said in (
        (Gaussian(), two, "joint", ""),
        (Gaussian(), two, "attend", ""),
        (Gaussian(), two, "own", "without regard to the others"),
        (Autoregressive(), two, "own", "without regard to the others"),
        (Autoregressive(), two, "attend", "given the rows before"),
        (Autoregressive(), two, "joint", "given the rows before"),
        (Autoregressive(head="mixture"), two, "joint", ""),
        (Autoregressive(), one, "own", ""),
        (Autoregressive(), LETTERS.space, "joint", ""),
    ):
        assert bool(said) == bool(process.independence(space, channels))
        assert said in process.independence(space, channels)


# ---- rows and numbers of them ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixer", ["lstm", "gru", "attention"])
@pytest.mark.parametrize("process", [Autoregressive(), Gaussian()])
def test_the_same_row_is_printed_alike_whatever_the_number_of_rows(process, mixer):
    made = model(process, TABLES, mixer=mixer)
    sampler = Diffuse(steps=4) if process.name == "gaussian" else None
    whole = [made.codec.show(value) for value in made.sample(100, 16, seed=2, sampler=sampler).values]
    for n in (1, 2, 5, 37):
        part = [made.codec.show(value) for value in made.sample(n, 16, seed=2, sampler=sampler).values]
        assert part == whole[:n], n


def test_a_forecast_is_printed_alike_whatever_the_number_of_rows_and_reads_what_is_known_once():
    made = model(Gaussian(known_once=True), TABLES, mixer="attention")
    calls: list[int] = []
    made.network.register_forward_pre_hook(lambda module, args: calls.append(args[0].shape[1]))
    history = np.random.Generator(np.random.Philox(key=1)).normal(size=(11, 2))
    whole = made.forecast(history, 5, n=100, seed=2).paths
    assert sorted(set(calls)) == [5, 11]
    assert calls.count(5) == 2 * 12, "12 steps of two batches"
    assert calls.count(11) == 2, "what is known is read once a batch"
    for n in (2, 5, 37):
        np.testing.assert_array_equal(made.forecast(history, 5, n=n, seed=2).paths, whole[:n])


def test_of_a_long_series_a_recurrent_model_reads_what_is_of_account():
    made = model(Autoregressive(features=(Lags(lags=(24,)),)), TABLES)
    assert (made.filler.reads, model(Gaussian(), TABLES).filler.reads, text().filler.reads) == (24 + 256, 16, None)
    history = np.random.Generator(np.random.Philox(key=1)).normal(size=(900, 2))
    steps: list[int] = []
    made.network.register_forward_pre_hook(lambda module, args: steps.append(args[0].shape[1]))
    whole = made.forecast(history, 3, n=2, seed=1).paths
    assert sum(steps) == 280 + 3
    np.testing.assert_allclose(whole[:, :900], np.stack([history] * 2), atol=1e-6)
    np.testing.assert_array_equal(whole[:, 900:], made.forecast(history[-280:], 3, n=2, seed=1).paths[:, 280:])


def test_a_forecast_of_less_than_half_a_window_is_made_without_a_move_of_it():
    made = model(Autoregressive(features=(Lags(lags=(24,)),)), TABLES, mixer="attention")
    history = np.random.Generator(np.random.Philox(key=1)).normal(size=(900, 2))
    steps: list[int] = []
    made.network.register_forward_pre_hook(lambda module, args: steps.append(args[0].shape[1]))
    for ahead in range(8):
        steps.clear()
        whole = made.forecast(history[: 880 + ahead], 7, n=9, seed=1).paths
        assert steps == [9, *[1] * 7], "the window of 16 is read as far as the first that is made, and then one each"
    np.testing.assert_allclose(whole[:, :887], np.stack([history[:887]] * 9), atol=1e-6)
    short = made.forecast(history[:30], 7, n=2, seed=1).paths
    assert short.shape == (2, 37, 2)


# ---- threads and children -------------------------------------------------------------------------------------------


def test_what_ends_by_itself_has_room_for_its_end():
    ending = Characters(alphabet="ab")
    assert [len(one) for one in model(Autoregressive(), ending, ends=True).empty()] == [32]
    assert [len(one) for one in model(Masked(), ending, ends=True).empty()] == [16], "all of it is seen at once"


def test_several_threads_share_the_engine_of_a_model():
    made = text()
    expected = {seed: made.sample(2, 30, seed=seed).values for seed in range(6)}
    samples, calls = {}, made.filler.shared.engine.calls

    def draw(seed):
        samples[seed] = made.sample(2, 30, seed=seed).values

    threads = [threading.Thread(target=draw, args=(seed,)) for seed in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert samples == expected
    assert made.filler.shared.engine.calls - calls <= 6 * 31
    assert made.filler.shared.engine.idle


def test_an_answer_that_nobody_reads_on_frees_its_rows():
    made = text()
    frames = made.stream(made.query(made.empty(1000), 3))
    next(frames)
    assert made.filler.shared.engine.live == 3
    frames.close()
    assert made.sample(1, 5, seed=1).values == text().sample(1, 5, seed=1).values
    assert made.filler.shared.engine.idle


def child(made, queue):
    queue.put(made.sample(1, 20, seed=3).values)


def test_a_forked_child_samples_too():
    made = text()
    torch.set_num_threads(2)
    torch.mm(torch.zeros(300, 300), torch.zeros(300, 300))  # its threads are running
    expected = made.sample(1, 20, seed=3).values
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    process = fork.Process(target=child, args=(made, queue))
    process.start()
    try:
        assert queue.get(timeout=60) == expected
    finally:
        process.join(10)
        process.kill()


def test_unmask_has_its_own_settings():
    made = model(Masked(), LETTERS, window=32)
    frames = list(made.stream(made.query(made.empty(20), 1, sampler=Unmask(steps=3))))
    assert frames[-1].call <= 3


# ---- what has no beginning ------------------------------------------------------------------------------------------


def test_openings_are_all_stretches_of_the_sequences_alike():
    x = np.arange(12.0)[:, None]
    known = x != 4
    openings = Openings(x, known, np.array([0, 2, 7, 12]), 3)  # of 2, 5 and 5 elements
    u = (np.arange(openings.count) + 0.5) / openings.count
    owner, first = openings.places(u)
    before, seen = openings.at(owner, first)
    assert before[:, :, 0].tolist() == [[i, i + 1, i + 2] for i in (2, 3, 4, 7, 8, 9)]
    assert (owner.tolist(), first.tolist()) == ([1, 1, 1, 2, 2, 2], [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(seen, before != 4)
    assert openings.places(np.array([1.0]))[1].tolist() == [2]
    own = replace(openings, owners=np.array([2]))
    assert own.count == 3
    assert own.at(*own.places(np.array([0.0, 0.5])))[0][:, 0, 0].tolist() == [7, 8]
    followed = replace(openings, followed=2)
    assert followed.places(np.array([0.2, 0.7]))[1].tolist() == [0, 0], "those that so many elements follow"


@pytest.mark.parametrize(
    "process", [Autoregressive(features=(Lags(difference=1),)), Gaussian()], ids=["left to right", "all at once"]
)
def test_samples_of_a_series_go_on_from_its_training_data(process):
    hours = Calendar(format="%Y-%m-%d %H:%M:%S", step=3600.0)
    codec = TABLES.replace(date="time", calendar=hours, start="2024-01-01 00:00:00")
    x = np.arange(200.0)[:, None].repeat(2, 1) * 100
    split = SimpleNamespace(data=Flat(x, np.array([0, 200])), given={})
    made = model(process, codec, train=lambda: split)
    asked = made.query(made.empty(5), 4, 7)
    frames = {frame.row: frame for frame in made.stream(asked) if frame.done}
    context = asked.canvas.context
    for frame in frames.values():
        assert frame.x[:context, 0].tolist() == [100.0 * i for i in range(frame.position - context, frame.position)]
    assert len({frame.position for frame in frames.values()}) == 4
    answer = made.sample(4, 5, seed=7)
    assert answer.paths.shape == (4, 5, 2)
    for row, value in enumerate(answer.values):
        assert value.dates == hours.after("2024-01-01 00:00:00", 5, first=frames[row].position)
        np.testing.assert_array_equal(value.values, made.sample(row + 1, 5, seed=7).values[row].values)
    if process.incremental:  # what is learned is the change since the last element
        last = np.array([frames[row].position - 1 for row in range(4)]) * 100 * 2.0 + 10
        assert np.abs(answer.paths[:, 0, 0] - last).max() < 100
    long = made.sample(2, 40, seed=7)
    assert long.paths.shape == (2, 40, 2)
    short = SimpleNamespace(data=Flat(x[:1], np.array([0, 1])), given={})
    nothing = model(process, codec, train=lambda: short)
    assert nothing.empty(5)[0].context == 0


def test_text_and_what_ends_begin_by_themselves():
    split = SimpleNamespace(data=Flat(np.zeros(50, np.uint8), np.array([0, 50])), given={})
    made = model(Autoregressive(), LETTERS, train=lambda: split)
    assert made.empty(5)[0].openings is None
