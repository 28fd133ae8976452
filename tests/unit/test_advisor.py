"""The rule that fills in what was not set: what it knows of the data reaches the recipe, and what is set wins."""

import ast
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seqloom import advisor, planning
from seqloom.codecs.season import repeated_share
from seqloom.core.config import make, members_of, parse_pairs
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.base import Process
from seqloom.processes.features import Lags, Window
from seqloom.processes.masked import Masked
from seqloom.processes.visible import Visible
from seqloom.recipe import Recipe
from seqloom.sequence.facts import Facts
from seqloom.sequence.space import Field, Tokens, Vectors

SERIES = Facts(elements=10_000, length=10_000, tokens=False, ends=False, conditioned=False, season=24)
SEEN = replace(SERIES, horizon=24)
TEXT = Facts(elements=1_000_000, length=1_000_000, tokens=True, ends=False, conditioned=False)


class LeftToRight(Masked):
    """A process of somebody's own, which reads from left to right, and no more than the canvas."""

    def spec(self, space):
        return replace(super().spec(Tokens(size=9)), block=1, symbolic=space.symbolic)


class Carrying(LeftToRight):
    """One that goes on from the network's state."""

    @property
    def incremental(self):
        return True


def advise(facts, process, recurrent, minutes):
    """The advice for a process, by name or as it is."""
    process = make(Process, process)
    spec = process.spec(Tokens(size=9) if facts.tokens else Vectors(fields=(Field(name="value"),)))
    return advisor.advise(facts, process, causal=spec.block == 1, recurrent=recurrent, minutes=minutes)


@pytest.mark.parametrize("minutes", [None, 0.1, 2, 100])
@pytest.mark.parametrize("facts", [SERIES, TEXT, Facts(300, 12, True, True, True), Facts(300, 12, False, False, True)])
def test_advice_is_settings_with_a_reason_each(facts, minutes):
    for process in ("autoregressive", *(("masked",) if facts.tokens else ("gaussian", "flow"))):
        for recurrent in (True, False):
            settings, reasons = advise(facts, process, recurrent, minutes)
            plain = Recipe.parse({"corpus": {"name": "files", "path": "x"}, "process": process, **settings}).plain()
            for key, reason in reasons.items():
                value = plain
                for part in key.split("."):
                    value = value[part]
                assert reason.startswith(str(value)) or isinstance(value, dict | list), key


@pytest.mark.parametrize("recurrent", [True, False])
@pytest.mark.parametrize(
    "facts", [TEXT, SERIES, Facts(3000, 12, True, True, True, longest=14), replace(SERIES, numbers=7)]
)
def test_advice_goes_by_what_a_process_says_of_itself(facts, recurrent):
    known = advise(facts, "autoregressive", recurrent, 1)[0]
    known.pop("process", None)
    if facts.numbers:  # it does not say that channels on their own suit it
        assert known["backbone"].pop("channels")
        known["feed"]["batch"] *= 4
    own = advise(facts, Carrying(), recurrent, 1)[0]
    own.pop("process", None)
    assert own == known
    short = advise(facts, LeftToRight(), recurrent, 1)[0]
    assert short["feed"].get("order") != "streams"
    assert short["backbone"]["width"] == known["backbone"]["width"]


def test_what_moves_elements_is_not_read_as_streams():
    assert advise(TEXT, "autoregressive", True, 1)[0]["feed"]["order"] == "streams"
    moved, reasons = advise(replace(TEXT, moved=True), "autoregressive", True, 1)
    assert moved["feed"]["order"] == "windows"
    assert "moved" in reasons["feed.order"]


def test_rare_words_are_told_apart_among_themselves_unless_each_is_to_have_a_vector(tmp_path, monkeypatch):
    many, seen = replace(TEXT, symbols=20_000), []
    assert advise(many, "autoregressive", True, 5)[0]["process"]["head"] == {"name": "adaptive"}
    assert "head" not in advise(replace(many, tied=True), "autoregressive", True, 5)[0]["process"]

    def watched(facts, *rest, **more):
        seen.append(facts)
        return advisor.advise(facts, *rest, **more)

    monkeypatch.setattr(planning, "advise", watched)
    for tie in (False, True):
        planning.plan("builtin:markov", {"backbone": {"tie": tie}, "corpus": {"size": 2000}}, out=tmp_path / "run")
    assert [facts.tied for facts in seen] == [False, True]


def test_the_advisor_knows_no_process_by_name():
    source = ast.parse(Path(advisor.__file__).read_text(encoding="utf-8"))
    said = {node.value for node in ast.walk(source) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    words = {word for text in said for word in re.findall(r"[a-z]+", text)}
    assert not words & (set(members_of(Process)) | {*Autoregressive.model_fields})


def test_values_that_wander_are_learned_as_changes():
    wandering = replace(SERIES, season=1, persistence=0.99)
    for recurrent in (True, False):
        assert advise(wandering, "autoregressive", recurrent, 1)[0]["process"] == {
            "name": "autoregressive", "features": {"lags": {"difference": 1, "lags": [2, 3]}},
        }  # fmt: skip
        assert "process" not in advise(replace(wandering, persistence=0.6), "autoregressive", recurrent, 1)[0]
    moving = replace(wandering, numbers=1, persistence=0.995, momentum=0.5, unexplained=0.2)
    assert advise(moving, "autoregressive", True, 1)[0]["process"]["head"] == {"name": "student", "components": 3}
    for process in ("autoregressive", "gaussian"):
        about_last = {"length": 96, "level": "last", "scale": "change"}
        features = advise(moving, process, False, 1)[0]["process"]["features"]
        length = 192 if process == "autoregressive" else 336
        assert features.pop("linear") == {"length": length, "scale": "change"}
        assert features.pop("window") == about_last | {"typical": 0.1}
        assert features == ({"lags": {"lags": [2, 3]}} if process == "autoregressive" else {})
        for momentum, said, own in ((0.973, 0.97, {"typical": 0.02, "momentum": 0.97}), (-0.1, 0.0, {"typical": 0.1})):
            facts = replace(moving, momentum=momentum)
            features = advise(facts, process, False, 1)[0]["process"]["features"]
            assert features["window"] == about_last | own
            beyond = {"scale": "change", "momentum": said}  # what is expected in any order
            assert features.get("linear") == (None if process == "autoregressive" else beyond)


def test_counts_that_are_mostly_zero_have_a_head_that_can_say_so():
    for repeated, head in ((0.1, "student"), (0.6, "binned")):
        facts = replace(SERIES, repeated=repeated, numbers=1)
        assert advise(facts, "autoregressive", True, 1)[0]["process"]["head"] == {"name": head}
    counted = {"name": "counts", "inflated": True}
    for repeated, head in ((0.1, {"name": "student"}), (0.6, counted)):
        facts = replace(SERIES, repeated=repeated, numbers=1, counted=True)
        assert advise(facts, "autoregressive", True, 1)[0]["process"]["head"] == head
    zeros = np.where(np.arange(10) % 5 < 3, 0.0, np.arange(10))[:, None]
    assert repeated_share([zeros, np.full((1, 1), np.nan)]) == pytest.approx(0.6)
    assert repeated_share([np.concatenate([zeros, np.ones((10, 1))], 1)]) == pytest.approx(0.6)
    assert repeated_share([]) == 0


def test_a_model_of_values_that_wander_reads_where_they_are_going():
    """Read about the last value, histories that end alike must still be told apart."""
    wandering = replace(SERIES, season=1, persistence=0.99, numbers=1)
    process = make(Process, advise(wandering, "autoregressive", True, 1)[0]["process"])
    assert isinstance(process, Autoregressive)
    net = SimpleNamespace(space=Vectors(fields=(Field(name="x"),)), spec=SimpleNamespace(symbolic=False))

    def inputs(history):
        x = torch.tensor(history)[None, :, None]
        known = torch.ones_like(x, dtype=torch.bool)
        position = torch.tensor([[x.shape[1]]])
        return process.inputs(net, Visible(x, known, known), position, torch.zeros(1, 1, dtype=torch.bool))[0]

    rising, falling = inputs([1.0, 2.0, 3.0, 4.0]), inputs([7.0, 6.0, 5.0, 4.0])
    assert (rising - falling).abs().max() > 1


def test_short_windows_come_in_larger_batches():
    short = replace(TEXT, elements=3000, length=15, ends=True)
    assert advise(short, "masked", False, 1)[0]["feed"]["batch"] == 32
    assert advise(TEXT, "masked", False, 1)[0]["feed"]["batch"] == 8


def test_a_season_becomes_lags_and_a_difference():
    settings, _ = advise(SERIES, "autoregressive", True, 1)
    assert settings["process"] == {
        "name": "autoregressive",
        "features": {"lags": {"lags": [23, 24, 25, 47, 48, 49, 72, 168], "difference": 24}},
    }
    assert "process" not in advise(TEXT, "autoregressive", True, 1)[0]


@pytest.mark.parametrize(("length", "lags"), [(1300, [365]), (2200, [365, 730]), (4000, [365, 730, 1095])])
def test_lags_are_those_that_most_of_the_series_has(length, lags):
    daily = replace(SERIES, elements=length, length=length, season=365)
    assert advise(daily, "autoregressive", False, 1)[0]["process"]["features"]["lags"]["lags"] == lags


@pytest.mark.parametrize(
    ("elements", "season", "window"),
    [(10_000, 24, 96), (500, 7, 14), (500, 1, 12), (130, 12, 24), (60, 12, 15), (20_000, 168, 192)],
)
def test_a_window_of_a_series_holds_two_seasons(elements, season, window):
    facts = Facts(elements, elements, tokens=False, ends=False, conditioned=False, season=season)
    assert advise(facts, "gaussian", False, 1)[0]["feed"]["window"] == window


def test_places_count_where_sequences_are_read_whole():
    short = Facts(elements=3000, length=12, tokens=True, ends=True, conditioned=True)
    assert advise(short, "masked", False, 1)[0]["backbone"]["marked"]
    assert "marked" not in advise(TEXT, "masked", False, 1)[0]["backbone"]
    assert "marked" not in advise(short, "autoregressive", False, 1)[0]["backbone"]


@pytest.fixture
def hourly(tmp_path):
    rng = np.random.Generator(np.random.Philox(key=1))
    values = np.sin(np.arange(600) * 2 * np.pi / 24) + 0.1 * rng.normal(size=600)
    path = tmp_path / "hourly.csv"
    path.write_text("a\n" + "\n".join(f"{value:.4f}" for value in values) + "\n")
    return path


def test_the_season_of_a_file_is_found_and_what_is_set_wins(hourly, tmp_path):
    planned = planning.plan(str(hourly), {"trainer": {"steps": 1}}, model="lstm", out=tmp_path / "a")
    assert planned.prepared.facts["season"] == 24
    assert planned.prepared.facts["persistence"] == pytest.approx(np.cos(2 * np.pi / 24), abs=0.05)
    lags = Lags(lags=(24, 48, 72, 168), difference=24)
    assert planned.recipe.process.features == (Window(length=54), lags)
    assert planned.advice["process.features"].endswith("a season of 24 was found")
    own = parse_pairs(["trainer.steps=1", "process.features.lags.difference=0"])
    planned = planning.plan(str(hourly), own, model="lstm", out=tmp_path / "b")
    assert planned.recipe.process.features == (Window(length=54), lags.replace(difference=0))
    own = parse_pairs(["trainer.steps=1", "process.features.window=none"])
    planned = planning.plan(str(hourly), own, model="lstm", out=tmp_path / "c")
    assert planned.recipe.process.features == (lags,)
    own = parse_pairs(["trainer.steps=1", "process.features=window"])
    planned = planning.plan(str(hourly), own, model="lstm", out=tmp_path / "d")
    assert planned.recipe.process.features == (Window(),)
    assert "process.features" not in planned.advice


def test_settings_of_members_that_are_not_named_are_laid_over_what_would_be_taken(hourly, tmp_path):
    own = parse_pairs(["process.head=student", "sampler.temperature=0.5", "codec.columns=[a]", "trainer.steps=1"])
    recipe = planning.plan(str(hourly), own, out=tmp_path / "a").recipe
    assert (recipe.process.name, recipe.process.head.name, recipe.process.features[-1].lags) == (
        "autoregressive",
        "student",
        (24, 48, 72, 168),
    )
    assert recipe.backbone.plain()["mixer"]["name"] == "lstm"
    assert (recipe.sampler.name, recipe.sampler.temperature) == ("ancestral", 0.5)
    assert (recipe.codec.name, recipe.codec.columns) == ("series", ("a",))
    own = parse_pairs(["sampler.steps=6", "process.schedule.mean=0.02", "trainer.steps=1"])
    recipe = planning.plan(str(hourly), own, model="gaussian", out=tmp_path / "b").recipe
    assert (recipe.sampler.name, recipe.sampler.steps, recipe.process.schedule.mean) == ("diffuse", 6, 0.02)


def test_pairs_of_numbers_have_a_head_of_their_own_where_things_end():
    drawings = Facts(elements=400_000, length=100, tokens=False, ends=True, conditioned=False, paired=True)
    for recurrent in (True, False):
        settings, reasons = advise(drawings, "autoregressive", recurrent, 1)
        assert settings["process"] == {"name": "autoregressive", "head": {"name": "mixture"}}
        assert settings["feed"]["window"] >= 100
        assert "belong together" in reasons["process.head"]
        assert "process" not in advise(replace(drawings, paired=False), "autoregressive", recurrent, 1)[0]
        assert "process" not in advise(drawings, "flow", recurrent, 1)[0]


def test_a_diffusion_of_things_that_end_mostly_makes_them_from_nothing_in_small_batches():
    drawings = Facts(200_000, 88, tokens=False, ends=True, conditioned=False, longest=88, paired=True)
    longer = replace(drawings, length=200, longest=250)
    for process in ("gaussian", "flow"):
        feed = advise(drawings, process, True, 2)[0]["feed"]
        assert feed["pattern"]["nothing"] > 0.5  # a series is forecast, a drawing is made from nothing
        assert feed["pattern"]["spans"] == 0  # and has no gaps
        assert advise(SERIES, process, True, 2)[0]["feed"]["pattern"] == {"name": "mixed"}
        assert advise(longer, process, True, 2)[0]["feed"]["batch"] < feed["batch"] < 32
    for process in ("gaussian", "autoregressive"):
        assert advise(longer, process, True, 2)[0]["feed"]["batch"] * 250 <= 2048


def test_a_source_that_is_attended_to_by_attention_is_read_by_a_recurrent_encoder():
    facts = Facts(2_000_000, 120, tokens=True, ends=True, conditioned=True, attended=("source",), longest=254)
    settings, reasons = advise(facts, "autoregressive", recurrent=False, minutes=3.0)
    assert settings["given"]["source"]["encoder"] == {"mixer": {"name": "gru"}, "depth": 1}
    assert "slow to learn" in reasons["given.source.encoder"]
    assert "given" not in advise(facts, "autoregressive", recurrent=True, minutes=3.0)[0]


@pytest.mark.parametrize(("numbers", "channels"), [(1, None), (7, "attend"), (28, "own")])
def test_series_are_read_about_their_own_level(numbers, channels):
    facts = replace(SERIES, numbers=numbers)
    for process in ("autoregressive", "gaussian", "flow"):
        settings, _ = advise(facts, process, True, 1)
        features = dict(settings["process"]["features"])
        alone = {} if process == "autoregressive" else {"inputs": "scale"}
        assert features.pop("window") == {"length": 168} | alone
        # A season is what an autoregressive model learns the change since; a diffusion is told what follows linearly.
        assert list(features) == (["lags"] if process == "autoregressive" else ["linear"])
        assert features.get("linear", {"length": 336, "scale": "spread"}) == {"length": 336, "scale": "spread"}
        own = settings["backbone"].get("channels")
        assert own == (channels if process == "autoregressive" else None)
    assert list(advise(SERIES, "autoregressive", True, 1)[0]["process"]["features"]) == ["lags"]


def test_diffusions_of_walks_are_kept_from_learning_by_heart():
    walk = replace(SERIES, season=1, persistence=0.99)
    for facts, dropout in ((walk, 0.2), (replace(walk, momentum=0.5), 0.0), (SERIES, 0.0)):
        assert advise(facts, "flow", False, 1)[0]["backbone"]["dropout"] == dropout


@pytest.mark.parametrize(
    ("facts", "process", "recurrent", "patch"),
    [
        (replace(SEEN, numbers=7), "gaussian", False, 2),
        (replace(SEEN, numbers=7), "flow", False, 1),
        (replace(SEEN, numbers=28), "gaussian", False, 1),  # more than its features hold
        (replace(SEEN, numbers=7, aligned=True), "gaussian", False, 1),
        (replace(SEEN, numbers=7, elements=300, season=7, horizon=7), "gaussian", False, 1),
        (replace(SEEN, numbers=7, season=1), "gaussian", False, 1),
        (replace(SEEN, numbers=7), {"name": "gaussian", "levels": "position"}, False, 1),
        (replace(SEEN, numbers=7), "gaussian", True, 1),
        (replace(SEEN, numbers=7), "autoregressive", False, 1),
        (replace(SEEN, numbers=7, horizon=0), "gaussian", False, 1),
    ],
    ids=str,
)
def test_diffusions_read_series_two_elements_at_a_time_where_they_can(facts, process, recurrent, patch):
    settings, _ = advise(facts, process, recurrent, 1)
    assert settings["backbone"].get("patch", 1) == patch


@pytest.mark.parametrize(
    ("elements", "minutes", "dropout", "rate"),
    [
        (1_000_000, 0.4, 0.0, 8e-3),  # about one pass
        (200_000, 0.4, 0.06, 5e-3),  # five
        (5_000_000, 2, 0.0, 5e-3),
        (1_000_000, 2, 0.0, 5e-3),
        (1_000_000, 3, 0.06, 5e-3),
        (5_000_000, 15, 0.0, 4e-3),
        (5_000_000, 25, 0.0, 4e-3),
        (5_000_000, 90, 0.1, 4e-3),
        (20_000, None, 0.05, 5e-3),
    ],
)
def test_a_text_that_is_read_few_times_is_learned_without_dropout(elements, minutes, dropout, rate):
    settings, _ = advise(replace(TEXT, elements=elements, length=elements), "autoregressive", True, minutes)
    assert (settings["backbone"]["dropout"], settings["trainer"]["rate"]) == (dropout, rate)


@pytest.mark.parametrize("recurrent", [True, False])
@pytest.mark.parametrize("symbols", [65, 2000])
def test_dropout_grows_with_the_passes_over_a_text_and_over_pieces_faster(recurrent: bool, symbols: int) -> None:
    def dropout(elements: int, minutes: float | None = 3) -> float:
        facts = replace(TEXT, elements=elements, length=elements, symbols=symbols)
        return float(advise(facts, "autoregressive", recurrent, minutes)[0]["backbone"]["dropout"])

    a_minute = 330_000_000 / 192 if recurrent else 105_000_000 / 128
    for passes in (2, 5, 7, 15, 40):
        wanted = 0.0 if passes < 4 else min(0.3, passes / 80 * (3 if symbols == 2000 else 1))
        assert dropout(round(3 * a_minute / passes)) == pytest.approx(wanted, abs=0.006)
    assert dropout(50_000, None) == (0.1 if recurrent else 0.05), "steps do not say how often it is read"


def test_a_series_is_read_so_often_and_no_more():
    facts = Facts(elements=5000, length=5000, tokens=False, ends=False, conditioned=False, numbers=2)
    few = replace(facts, elements=20, length=20)
    settings = advise(few, "autoregressive", True, 5)[0]
    assert advise(facts, "autoregressive", True, 5)[0]["trainer"]["epochs"] == advisor.EPOCHS
    assert settings["trainer"]["epochs"] * 20 == 100 * settings["feed"]["batch"] * settings["feed"]["window"]
    assert "epochs" not in advise(facts, "gaussian", False, None)[0]["trainer"]  # so many steps are asked for
    assert "epochs" not in advise(TEXT, "autoregressive", True, 5)[0]["trainer"]


def test_counts_and_the_network_make_a_mean_where_positions_are_filled_in_order():
    def combine(process, symbols):
        return advise(replace(TEXT, symbols=symbols), process, False, 2)[0]["process"]["prior"].get("combine")

    assert [combine(*one) for one in (("autoregressive", 65), ("masked", 65), ("autoregressive", 4000))] == [
        "mean",
        None,
        "mean",
    ]


def test_levels_that_were_never_seen_are_forecast(tmp_path):
    """A sine whose level lies a hundred deviations above that of training goes on where it is."""
    import seqloom
    from seqloom.fit import Fit

    rng = np.random.Generator(np.random.Philox(key=4))
    values = np.sin(np.arange(600) * 2 * np.pi / 12) + 0.1 * rng.normal(size=600)
    path = tmp_path / "sine.csv"
    path.write_text("a\n" + "\n".join(f"{value:.4f}" for value in values) + "\n")
    for model in ("gru", "gaussian"):
        planned = planning.plan(str(path), {"trainer": {"steps": 12}}, model=model, out=tmp_path / model)
        list(Fit(planned, preview=False).events())
        history = 100 + values[:120].reshape(-1, 1)
        answer = seqloom.load(tmp_path / model).forecast(history, 12, n=4, seed=1)
        assert np.abs(answer.quantile(0.5)[-12:] - 100).max() < 4


def test_words_are_read_more_slowly_than_characters_and_need_less_dropout():
    words = replace(TEXT, elements=2_100_000, length=2_100_000, symbols=33_000)
    dropout = [advise(words, "autoregressive", recurrent, 20)[0]["backbone"]["dropout"] for recurrent in (False, True)]
    assert dropout == [0, 0]
    assert advise(replace(words, symbols=4_000), "autoregressive", False, 20)[0]["backbone"]["dropout"] > 0.1
