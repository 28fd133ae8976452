"""Codecs over new types of value, each in one file as a user would write it, through every verb, report and comparison.

Nothing in the package knows these types: what a verb does with a value it asks of the codec.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest

from seqloom.cli.main import run
from seqloom.codecs.base import Codec
from seqloom.core import durable
from seqloom.core.errors import ConfigError, DataError
from seqloom.sequence.canvas import Canvas, Encoded
from seqloom.sequence.space import Field, Tokens, Vectors
from terminal import TINY, Done


class Dice(Codec, name="dice-of-a-test"):
    """Throws of a die: a value is a list of whole numbers from 1 to 6, written with spaces."""

    suffixes: ClassVar[tuple[str, ...]] = (".dice",)
    unit: ClassVar[str] = "throw"
    baselines: ClassVar[tuple[str, ...]] = ("unigram", "xz")

    @property
    def space(self) -> Tokens:
        return Tokens(size=6)

    def fit(self, values: Iterable[list[int]]) -> Self:
        list(values)
        return self

    def encode(self, value: list[int]) -> Encoded:
        x = np.array(value, np.int64).reshape(-1) - 1
        return Encoded(x, np.ones(len(x), bool))

    def decode(self, encoded: Encoded) -> list[int]:
        return [int(x) + 1 for x in encoded.x]

    def canvas(
        self, template: Any, length: int | None = None, gap: int | None = None, blank: str | None = None
    ) -> Canvas:
        known = list(template or [])
        x = np.array([(throw or 1) - 1 for throw in known] + [0] * (length or 0), np.int64)
        shown = np.array([throw != 0 for throw in known] + [False] * (length or 0), bool)
        return Canvas(x, shown, np.zeros(len(x), bool))

    def count(self, value: list[int]) -> float:
        return len(value)

    def extra_nats(self, value: list[int]) -> float:
        return 0.0

    def read(self, path: Path) -> Iterator[list[int]]:
        yield self.typed(path.read_text())

    def write(self, value: list[int], path: Path) -> None:
        durable.write_bytes(path, self.show(value))

    def typed(self, text: str) -> list[int]:
        """A question mark is a throw to be made, which stands as 0."""
        if not set(text) <= set("123456? \n"):
            raise DataError("a throw is a number from 1 to 6")
        return [0 if word == "?" else int(word) for word in text.split()]

    def show(self, value: list[int]) -> bytes:
        return (" ".join(map(str, value)) + "\n").encode()

    def as_json(self, value: list[int]) -> dict[str, Any]:
        return {"throws": value}

    def examples(self) -> list[list[int]]:
        return [[1, 2, 3, 4, 5, 6], [6, 6, 6]]


@dataclass(frozen=True)
class Walk:
    """Steps in the plane."""

    steps: tuple[tuple[float, float], ...]


class Walks(Codec, name="walks-of-a-test"):
    """Walks that come to an end: a value is no sequence in Python, but knows its steps."""

    suffixes: ClassVar[tuple[str, ...]] = (".walk",)
    unit: ClassVar[str] = "step"

    @property
    def space(self) -> Vectors:
        return Vectors(fields=(Field(name="east"), Field(name="north")))

    def fit(self, values: Iterable[Walk]) -> Self:
        list(values)
        return self

    def encode(self, value: Walk) -> Encoded:
        x = np.array(value.steps, np.float32).reshape(-1, 2)
        return Encoded(x, np.ones(x.shape, bool))

    def decode(self, encoded: Encoded) -> Walk:
        return Walk(tuple((float(a), float(b)) for a, b in np.asarray(encoded.x)[:, :2]))

    def canvas(
        self, template: Any, length: int | None = None, gap: int | None = None, blank: str | None = None
    ) -> Canvas:
        if length is None:
            raise ConfigError("a walk has no gaps")
        known = [] if template is None else list(template.steps)
        x = np.zeros((len(known) + length, 2), np.float32)
        x[: len(known)] = np.array(known, np.float32).reshape(-1, 2)
        shown = np.repeat(np.arange(len(x)) < len(known), 2).reshape(-1, 2)
        return Canvas(x, shown, np.zeros_like(shown))

    def count(self, value: Walk) -> float:
        return len(value.steps)

    def extra_nats(self, value: Walk) -> float:
        return 0.0

    def size(self, value: Walk) -> int:
        return len(value.steps)

    def cut(self, value: Walk, begin: int, end: int) -> Walk:
        return Walk(value.steps[begin:end])

    def read(self, path: Path) -> Iterator[Walk]:
        yield self.typed(path.read_text())

    def write(self, value: Walk, path: Path) -> None:
        durable.write_bytes(path, self.show(value))

    def typed(self, text: str) -> Walk:
        return Walk(tuple((float(a), float(b)) for a, b in (line.split() for line in text.splitlines())))

    def show(self, value: Walk) -> bytes:
        return "".join(f"{a:.4f} {b:.4f}\n" for a, b in value.steps).encode()

    def as_json(self, value: Walk) -> dict[str, Any]:
        return {"steps": [list(step) for step in value.steps]}

    def element_names(self, value: Walk) -> list[str]:
        return [f"step {i}" for i in range(1, len(value.steps) + 1)]

    def examples(self) -> list[Walk]:
        return [Walk(((0.0, 1.0), (1.0, 0.0))), Walk(((0.5, -0.5),))]


MINE = {codec.name: Codec.members.pop(codec.name) for codec in (Dice, Walks)}  # known to the tests of this file alone


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    Codec.members.update(MINE)
    try:
        yield made(tmp_path_factory.mktemp("foreign"))
    finally:
        for name in MINE:
            del Codec.members[name]


def made(folder: Path) -> Path:
    """Files of both kinds, and a few runs of them."""
    rng = np.random.default_rng(1)
    for kind in ("dice", "walk"):
        (folder / kind).mkdir()
    for i in range(24):
        throws = " ".join(str(throw) for throw in rng.integers(1, 7, 20 + i % 5))
        (folder / "dice" / f"{i:02d}.dice").write_text(throws + "\n")
        steps = "".join(f"{a:.4f} {b:.4f}\n" for a, b in rng.normal(size=(8 + i % 5, 2)))
        (folder / "walk" / f"{i:02d}.walk").write_text(steps)
    for kind, name, model in (
        ("dice", "thrown", "gru"),
        ("dice", "masked", "masked"),
        ("walk", "walked", "gru"),
    ):
        assert run(["train", str(folder / kind), "--model", model, "--out", str(folder / name), *TINY]) == 0
    return folder


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def seqloom(capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Done]:
    def command(*words: object) -> Done:
        capfdbinary.readouterr()
        code = run([str(word) for word in words])
        out, err = capfdbinary.readouterr()
        return Done(code, out, err.decode())

    return command


Command = Callable[..., Done]


def test_data_and_runs_are_described(seqloom: Command, data: Path) -> None:
    described = seqloom("data", data / "dice", "--json").json
    assert described["codec"] == "dice-of-a-test"
    assert described["splits"]["train"]["unit"] == "throw"
    assert "throws" in seqloom("data", data / "dice").text
    assert "steps" in seqloom("data", data / "walk").text
    assert "gru on" in seqloom("show", data / "walked").text
    assert "nats/step" in seqloom("runs", data).text


def test_symbols_are_made_gone_on_from_and_filled_in(seqloom: Command, data: Path) -> None:
    result = seqloom("sample", data / "thrown", "-n", 2, "--length", 9, "--seed", 1, "--json").json["samples"]
    assert all(set(one) == {"throws", "seed", "row"} for one in result)
    assert all(set(one["throws"]) <= set(range(1, 7)) for one in result)
    printed = seqloom("sample", data / "thrown", "-n", 2, "--length", 9, "--seed", 1)
    assert [list(map(int, line.split())) for line in printed.text.split("\n\n")] == [one["throws"] for one in result]
    assert "sample 1 of 2" not in printed.err, "what is half made is not printed"
    assert seqloom("extend", data / "thrown", "1 2 3", "--length", 4, "--seed", 1).text.startswith("1 2 3")
    Path("some.dice").write_text("4 5")
    assert seqloom("extend", data / "thrown", "@some.dice", "--length", 4, "--seed", 1).text.startswith("4 5")
    filled = seqloom("infill", data / "masked", "1 ? ? 4", "--seed", 1).text.split()
    assert (filled[0], filled[3], len(filled)) == ("1", "4", 4)
    written = seqloom("sample", data / "thrown", "--length", 3, "--out", "made", "--seed", 1)
    assert written.code == 0
    assert [path.name for path in Path("made").iterdir()] == ["0000.dice"]
    assert seqloom("sample", data / "masked", "--frames", "states", "--seed", 1, "--length", 6).code == 0
    assert "_" in Path("states/000.txt").read_text()
    refused = seqloom("forecast", data / "thrown", "--horizon", 3)
    assert refused.code == 2
    assert "means and quantiles" in refused.err


def test_vectors_that_end_are_made_and_gone_on_from(seqloom: Command, data: Path) -> None:
    result = seqloom("sample", data / "walked", "-n", 2, "--length", 40, "--seed", 3, "--json").json["samples"]
    assert all(1 <= len(one["steps"]) <= 40 for one in result)
    printed = seqloom("sample", data / "walked", "-n", 2, "--length", 40, "--seed", 3)
    assert sum(len(one["steps"]) for one in result) == sum(" " in line for line in printed.text.splitlines())
    longer = seqloom("extend", data / "walked", "0.5 0.25", "--length", 3, "--seed", 1)
    assert longer.text.startswith("0.5000 0.2500\n")


def test_things_are_scored_and_evaluated(seqloom: Command, data: Path) -> None:
    Path("some.dice").write_text("1 2 3 4")
    result = seqloom("score", data / "thrown", "some.dice", "--tokens", "--json").json
    assert (result["unit"], result["count"]) == ("throw", 4)
    assert [entry["element"] for entry in result["surprisal"]] == ["1", "2", "3", "4", ""]
    assert sum(entry["nats"] for entry in result["surprisal"]) == pytest.approx(result["nats"], rel=1e-5)
    assert "nats/throw" in seqloom("score", data / "thrown", "some.dice").text
    Path("some.walk").write_text("0.5 0.5\n1 0\n")
    names = [
        entry["element"]
        for entry in seqloom("score", data / "walked", "some.walk", "--tokens", "--json").json["surprisal"]
    ]
    assert names[:2] == ["step 1", "step 2"]
    for name, unit in (("thrown", "nats/throw"), ("walked", "nats/step")):
        assert seqloom("evaluate", data / name, "--json").json["metrics"][0]["unit"] == unit


def test_runs_are_compared_with_baselines_and_a_report(seqloom: Command, data: Path) -> None:
    done = seqloom("compare", data / "thrown", data / "masked", "--out", "both", "-q", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["unit"] == "nats/throw"
    assert [baseline["name"] for baseline in result["baselines"]] == ["unigram", "xz"]
    page = Path("both/report.html").read_text()
    assert page.count('<pre class="sample"') == 6
    assert "nats/throw" in page
    alone = seqloom("compare", data / "walked", "--out", "alone", "-q", "--json").json
    assert alone["baselines"] == []
    assert "nats/step" in Path("alone/report.html").read_text()
