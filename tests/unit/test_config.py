"""Settings: the registry, errors that name their key, one spelling, and laying one mapping upon another."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import pytest
from pydantic import Field

from seqloom.core import config
from seqloom.core.config import (
    Component,
    Settings,
    describe,
    make,
    member,
    members_of,
    merge,
    nearest,
    nearest_first,
    parse_pairs,
    read_yaml,
    scalar,
)
from seqloom.core.errors import ConfigError
from seqloom.mixers.base import Mixer
from seqloom.network.backbone import Backbone
from seqloom.processes.base import Process
from seqloom.processes.schedules import Masking, Noise
from seqloom.samplers.base import Sampler


class Shape(Component):
    """A family of the test."""


class Circle(Shape, name="circle"):
    radius: float = Field(default=1.0, gt=0)
    """How far it is
    from the middle to the rim."""


class Ring(Circle, name="ring"):
    hole: float = 0.5


class Square(Shape, name="square"):
    side: int = 2
    kind: Literal["plain", "round"] = "plain"


class Inner(Settings):
    depth: int = 1


class Drawing(Settings):
    shape: Shape = Circle()
    others: list[Shape] = []
    either: Shape | int = 3
    named: dict[str, Shape] = {}
    inner: Inner = Inner()
    maybe: Inner | None = None
    title: str = ""
    file: Path | None = None
    sizes: tuple[float, ...] = (1.0,)


def error(values, record=Drawing):
    with pytest.raises(ConfigError) as caught:
        record.parse(values)
    return caught.value


# ---- the registry -------------------------------------------------------------------------------------------------


def test_a_class_line_joins_a_family():
    assert members_of(Shape) == {"circle": Circle, "ring": Ring, "square": Square}
    assert Ring.name == "ring"
    assert Ring.family is Shape
    assert make(Shape, "ring") == Ring()
    assert make(Shape, {"name": "ring", "hole": 0.25}).hole == 0.25
    assert make(Shape, Square(side=5)).side == 5


def test_two_families_may_use_one_name():
    assert members_of(Masking)["linear"] is not members_of(Noise)["linear"]
    assert set(members_of(Mixer)) >= {"rnn", "lstm", "gru", "attention"}
    assert set(members_of(Process)) >= {"autoregressive", "masked", "gaussian"}
    assert set(members_of(Sampler)) >= {"ancestral", "unmask", "diffuse"}


def test_one_name_for_two_members_is_refused():
    with pytest.raises(ConfigError, match="'circle' names both"):

        class Another(Shape, name="circle"):
            pass

    assert members_of(Shape)["circle"] is Circle


def test_a_member_of_the_users_own(monkeypatch):
    module = SimpleNamespace(Mine=Ring, Other=Inner, number=3)
    monkeypatch.setitem(sys.modules, "user_shapes", module)
    assert member(Shape, "user_shapes:Mine") is Ring
    assert Drawing.parse({"shape": "user_shapes:Mine"}).shape == Ring()
    for name in ("user_shapes:Other", "user_shapes:number", "user_shapes:absent", "no_such_module:Thing"):
        caught = error({"shape": name})
        assert caught.path == "shape"
        assert name in caught.message


def test_installed_packages_offer_members(monkeypatch):
    loaded = []
    point = SimpleNamespace(load=lambda: loaded.append("loaded"))
    asked = []
    monkeypatch.setattr(config.metadata, "entry_points", lambda group: asked.append(group) or [point])
    members_of(Shape)
    assert (asked, loaded) == (["seqloom.components"], ["loaded"])


# ---- records ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        Drawing(),
        Drawing(shape=Square(side=7), others=[Ring(hole=0.1), Circle()], either=Square(), named={"a": Ring()}),
        Drawing(inner=Inner(depth=4), maybe=Inner(), title="x", file=Path("a/b"), sizes=(1.5, 2.5)),
        Backbone(mixer=["gru", {"name": "attention", "heads": 2}], width=8, norm="rms", tie=True),
        *[cls() for family in (Mixer, Process, Sampler, Noise, Masking) for cls in members_of(family).values()],
    ],
    ids=lambda r: type(r).__name__,
)
def test_parse_of_plain_is_the_record(record):
    plain = record.plain()
    if isinstance(record, Component):
        assert next(iter(plain)) == "name"
        assert make(record.family, plain) == record
    else:
        assert type(record).parse(plain) == record
    import yaml

    assert yaml.safe_load(yaml.safe_dump(plain)) == plain


def test_members_by_name_by_mapping_and_as_they_are():
    for value in ("ring", {"name": "ring"}, Ring()):
        assert Drawing.parse({"shape": value, "others": [value]}) == Drawing(shape=Ring(), others=[Ring()])
    assert Drawing(either=4).either == 4
    assert Drawing(either="square").either == Square()


def test_a_list_may_stand_without_brackets():
    for value in ("1.5,2", "1.5, 2", [1.5, 2]):
        assert Drawing.parse({"sizes": value}).sizes == (1.5, 2.0)
    assert Drawing.parse({"others": "ring,square"}).others == [Ring(), Square()]
    assert Drawing.parse({"others": "ring"}).others == [Ring()]
    assert Drawing.parse({"sizes": 2}).sizes == (2.0,)
    assert Drawing.parse({"title": "a,b"}).title == "a,b", "no list is wanted"


def test_members_of_a_list_can_be_said_by_their_names():
    said = {"others": {"circle": {"radius": 2}, "square": {}, "ring": "none"}}
    assert Drawing.parse(said).others == [Circle(radius=2), Square()]
    assert Drawing.parse({"others": {"name": "circle", "radius": 3}}).others == [Circle(radius=3)]
    known = Drawing.parse(said).plain()
    changed = merge(known, parse_pairs(["others.circle.radius=5", "others.square=none", "others.ring.hole=0.1"]))
    assert Drawing.parse(changed).others == [Circle(radius=5), Ring(hole=0.1)]
    with pytest.raises(ConfigError, match="radios: there is no such setting of circle"):
        Drawing.parse(merge(known, {"others": {"circle": {"radios": 1}}}))
    with pytest.raises(ConfigError, match="cirkle"):
        Drawing.parse({"others": {"cirkle": {}}})


def test_equal_records_have_one_hash_and_a_changed_one_another():
    one = Drawing(title="a", others=(), named={})
    shape = Circle(radius=2)
    assert hash(shape) == hash(Circle(radius=2)) != hash(shape.replace(radius=3.0))
    assert hash(Circle()) != hash(Ring(hole=0.5))
    assert one == Drawing(title="a", others=(), named={})

    class Interval(Settings):
        ends: tuple[float, float] = (0.0, 1.0)

    assert Interval.parse({"ends": "-1,2"}).ends == (-1.0, 2.0)
    assert error({"ends": "1.5"}, Interval).message == 'a longer list is wanted, got ["1.5"]'
    assert error({"ends": "1,2,3"}, Interval).message.startswith("a list of at most 2 is wanted")


def test_settings_without_a_name_are_laid_over_the_default_member():
    class Board(Settings):
        shape: Shape = Ring(hole=0.25)
        drawing: Drawing = Drawing()

    assert Board.parse({"shape": {"radius": 2}}).shape == Ring(radius=2, hole=0.25)
    assert Board(shape={"hole": 0.125}).shape == Ring(hole=0.125)
    assert Board.parse({"shape": {}}).shape == Ring(hole=0.25)
    assert Board.parse({"shape": {"name": "circle", "radius": 2}}).shape == Circle(radius=2)
    assert Board.parse({"drawing": {"shape": {"radius": 3}}}).drawing.shape == Circle(radius=3)
    assert error({"either": {"side": 3}}).path == "either", "its default is no member"


def test_records_are_frozen_and_replaced():
    drawing = Drawing(title="a")
    with pytest.raises(Exception, match="frozen"):
        drawing.title = "b"
    assert drawing.replace(title="b") == Drawing(title="b")
    assert drawing.replace(title="b").model_fields_set == {"title"}  # what was not set still is not
    with pytest.raises(ConfigError):
        drawing.replace(shape={"name": "circle", "radius": -1})


@pytest.mark.parametrize(
    ("values", "path", "hint"),
    [
        ({"titel": "a"}, "titel", "did you mean 'title'?"),
        ({"zzz": 1}, "zzz", "known: "),
        ({"hole": 1}, "hole", "did you mean 'shape.hole'?"),
        ({"depth": 1}, "depth", "did you mean 'inner.depth'?"),
        ({"inner": {"dept": 1}}, "inner.dept", "did you mean 'depth'?"),
        ({"maybe": {"dept": 1}}, "maybe.dept", "did you mean 'depth'?"),
        ({"shape": "circel"}, "shape", "did you mean 'circle'?"),
        ({"shape": {"name": "ring", "hoel": 1}}, "shape.hoel", "did you mean 'hole'?"),
        ({"others": ["ring", "sqare"]}, "others", "did you mean 'square'?"),
        ({"either": "circel"}, "either", "did you mean 'circle'?"),
        ({"others": [{"radius": 2}]}, "others", "one of: circle, ring, square"),
        ({"shape": {"radios": 2}}, "shape.radios", "did you mean 'radius'?"),
        ({"shape": {"name": "circle", "radius": -2}}, "shape.radius", "seqloom show circle"),
        ({"shape": {"name": "circle", "radius": "wide"}}, "shape.radius", ""),
        ({"shape": {"name": "square", "kind": "odd"}}, "shape.kind", ""),
        ({"shape": 3}, "shape", ""),
        ({"inner": {"depth": 1.5}}, "inner.depth", ""),
        ({"inner": 4}, "inner", ""),
        ({"sizes": [1, "x"]}, "sizes.1", ""),
        ({"shape": {"name": "circle", "radius": float("nan")}}, "shape.radius", ""),
        ({"shape": {"name": "circle", "radius": float("inf")}}, "shape.radius", ""),
    ],
)
def test_errors_name_their_key_and_help(values, path, hint):
    caught = error(values)
    assert caught.path == path
    assert hint in caught.hint
    assert str(caught) == f"{path}: {caught.message}"
    assert "\n" not in str(caught)
    assert "validation error" not in str(caught)


def test_an_error_deep_within_has_its_whole_path():
    caught = error({"process": {"name": "masked", "schedule": "cosin"}}, Recipe)
    assert caught.path == "process.schedule"
    assert "cosine" in caught.hint
    caught = error({"process": {"name": "gaussian", "schedule": {"name": "cosine", "s": 2}}}, Recipe)
    assert caught.path == "process.schedule.s"
    caught = error({"backbone": {"mixer": ["gru", {"name": "attention", "hedas": 2}]}}, Recipe)
    assert caught.path == "backbone.mixer.hedas"
    assert "heads" in caught.hint


class Recipe(Settings):
    process: Process = members_of(Process)["autoregressive"]()
    backbone: Backbone = Backbone()


def test_a_constructor_says_the_same_in_its_own_words():
    with pytest.raises(ConfigError) as caught:
        Drawing(shape={"name": "ring", "hoel": 1})
    assert caught.value.path == "shape.hoel"


def test_describe_is_help():
    rows = {row["key"]: row for row in describe(Ring)}
    assert rows["radius"] == {
        "key": "radius",
        "type": "float",
        "default": 1.0,
        "note": "How far it is from the middle to the rim.",
    }
    assert rows["hole"]["default"] == 0.5
    assert {row["key"]: row["default"] for row in describe(Drawing)}["shape"] == {"name": "circle", "radius": 1.0}
    for family in (Mixer, Process, Sampler):
        for cls in members_of(family).values():
            if cls.__module__.startswith("seqloom."):  # other tests bring members of their own
                assert all(row["note"] for row in describe(cls)), f"a setting of {cls.name} has no note"
                assert cls.__doc__


def test_nearest():
    assert nearest("lstn", ["lstm", "gru"]) == "did you mean 'lstm'?"
    assert nearest("xyz", ["lstm", "gru"]) == "known: gru, lstm"
    assert nearest_first("lstn", ["lstm", "gru"]) == "did you mean 'lstm'?"
    assert nearest_first("english", ["de", "fr", "en"]) == "those that are there: en, de, fr"


# ---- key=value ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "tree"),
    [
        ([], {}),
        (["a=1"], {"a": 1}),
        (["a.b.c=1", "a.b.d=x"], {"a": {"b": {"c": 1, "d": "x"}}}),
        (["process=masked"], {"process": "masked"}),
        (["process=masked", "process.schedule=cosine"], {"process": {"name": "masked", "schedule": "cosine"}}),
        (["process.schedule=cosine", "process=masked"], {"process": {"schedule": "cosine", "name": "masked"}}),
        (["a=1", "a=2"], {"a": 2}),
        (["a=b=c"], {"a": "b=c"}),
        (["a="], {"a": ""}),
        (["corpus.splits=[0.9,0.05,0.05]"], {"corpus": {"splits": [0.9, 0.05, 0.05]}}),
        (["mixer={name: gru}"], {"mixer": {"name": "gru"}}),
    ],
)
def test_pairs_become_a_tree(words, tree):
    assert parse_pairs(words) == tree


@pytest.mark.parametrize("word", ["trainer.steps", "=3", ""])
def test_what_is_no_pair_is_refused(word):
    with pytest.raises(ConfigError, match="not a setting") as caught:
        parse_pairs([word])
    assert "key=value" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("0.5", 0.5),
        ("1e-3", 0.001),
        ("3E4", 3e4),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", ""),
        ("sonnet", "sonnet"),
        ("a b", "a b"),
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2020-01-01", "2020-01-01"),
        ("0x10", "0x10"),
        ("Note: well", "Note: well"),
        ("text # and more", "text # and more"),
        ("nan", "nan"),
        ("inf", "inf"),
        ('"3"', "3"),
        ("'a'", "a"),
        ('"Yes", he said', '"Yes", he said'),
        ("[1, a, 0.5]", [1, "a", 0.5]),
        ("[1, 2", "[1, 2"),
        ("{a: 1}", {"a": 1}),
        ("module:Class", "module:Class"),
        ("a/b.txt", "a/b.txt"),
    ],
)
def test_values_on_the_command_line(text, value):
    parsed = scalar(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_what_the_command_line_says_can_be_parsed():
    tree = parse_pairs(["shape=ring", "shape.hole=1e-1", "inner.depth=4", "title=no", "sizes=[1, 2e0]"])
    assert Drawing.parse(tree) == Drawing(shape=Ring(hole=0.1), inner=Inner(depth=4), title="no", sizes=(1.0, 2.0))


# ---- merge --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("under", "over", "merged"),
    [
        ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
        ({"p": {"name": "masked", "s": 1}}, {"p": {"s": 2}}, {"p": {"name": "masked", "s": 2}}),
        ({"p": {"name": "masked", "s": 1}}, {"p": "masked"}, {"p": {"name": "masked", "s": 1}}),
        ({"p": {"name": "masked", "s": 1}}, {"p": "other"}, {"p": {"name": "other"}}),
        ({"p": {"name": "masked", "s": 1}}, {"p": {"name": "other", "t": 2}}, {"p": {"name": "other", "t": 2}}),
        ({"p": "masked"}, {"p": {"s": 2}}, {"p": {"name": "masked", "s": 2}}),
        ({"p": "masked"}, {"p": "other"}, {"p": "other"}),
        ({}, {"p": {"s": 2}}, {"p": {"s": 2}}),
        ({"l": [1, 2]}, {"l": [3]}, {"l": [3]}),
        ({"a": {"x": 1}}, {"a": None}, {"a": None}),
    ],
)
def test_merge(under, over, merged):
    before = repr((under, over))
    assert merge(under, over) == merged
    assert repr((under, over)) == before  # neither is changed


def test_merge_of_trees_parses():
    under = Recipe().plain()
    recipe = Recipe.parse(
        merge(under, parse_pairs(["process=gaussian", "process.schedule=cosine", "backbone.width=8"]))
    )
    assert recipe.process.name == "gaussian"
    assert recipe.process.schedule.name == "cosine"
    assert (recipe.backbone.width, recipe.backbone.mixer) == (8, Recipe().backbone.mixer)


# ---- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"),
        (b"a: [1", "is not YAML"),
        (b"- 1\n- 2\n", "does not hold a mapping"),
        (b"", "does not hold a mapping"),
        (b"a: &x 1\nb: *x\n", "alias"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"a: !!python/object/apply:os.getcwd []", "is not YAML"),
        (b"#" * (1 << 20) + b"\na: 1", "larger than a recipe"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path, content, reason):
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as caught:
        read_yaml(path)
    assert "\n" not in str(caught.value)


def test_a_recipe_is_read(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("shape: {name: ring, hole: 0.2}\ntitle: é\n", encoding="utf-8")
    assert Drawing.parse(read_yaml(path)) == Drawing(shape=Ring(hole=0.2), title="é")
