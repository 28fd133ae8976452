"""A value that is several sequences (channels, voices): they share the weights, and come back as one answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from seqloom import model, planning
from seqloom import run as runs
from seqloom.cli.main import run
from seqloom.codecs.base import Codec
from seqloom.corpora.files import corpus_of
from seqloom.sequence.canvas import Encoded
from seqloom.sequence.space import Field, Vectors
from seqloom.validation import part_of
from terminal import TINY

Channels = tuple[tuple[float, ...], ...]


class Stereo(Codec, name="stereo-of-a-test"):
    """Two channels, such as 1 2 3|4 5 6."""

    suffixes: ClassVar[tuple[str, ...]] = (".stereo",)
    unit: ClassVar[str] = "number"

    @property
    def space(self) -> Vectors:
        return Vectors(fields=(Field(name="x"),))

    def rows(self, value: Channels | None) -> list[Any]:
        return [None, None] if value is None else [(channel,) for channel in value]

    def merge(self, values: Sequence[Channels]) -> Channels:
        return tuple(channel for value in values for channel in value)

    def size(self, value: Channels) -> int:
        return len(value[0])

    def encode(self, value: Channels) -> Encoded:
        (channel,) = value
        x = np.array(channel, np.float32).reshape(-1, 1)
        return Encoded(x, np.ones(x.shape, bool))

    def decode(self, encoded: Encoded) -> Channels:
        return (tuple(float(x) for x in encoded.x[:, 0]),)

    def typed(self, text: str) -> Channels:
        return tuple(tuple(float(word) for word in channel.split()) for channel in text.split("|"))

    def show(self, value: Channels) -> bytes:
        return "|".join(" ".join(f"{x:.4f}" for x in channel) for channel in value).encode()

    def examples(self) -> list[Channels]:
        return [((1.0, 2.0), (3.0, 4.0)), ((0.5,), (0.25,))]


del Codec.members[Stereo.name]  # known to the tests of this file alone
VALUE: Channels = ((0.5, 1.0, -0.5), (2.0, 0.0, 1.5))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    Codec.members[Stereo.name] = Stereo
    place = tmp_path_factory.mktemp("rows")
    rng = np.random.default_rng(0)
    (place / "data").mkdir()
    for i in range(30):
        channels = "|".join(" ".join(f"{x:.3f}" for x in rng.normal(size=6 + i % 3)) for _ in range(2))
        (place / "data" / f"{i:02d}.stereo").write_text(channels)
    assert run(["train", str(place / "data"), "--model", "gru", "--out", str(place / "run"), *TINY]) == 0
    try:
        yield place
    finally:
        del Codec.members[Stereo.name]


def test_samples_are_whole_values_and_depend_on_their_number_alone(folder: Path) -> None:
    made = model.load(folder / "run")
    answer = made.sample(3, 9, seed=1)
    assert [len(value) for value in answer.values] == [2, 2, 2]
    assert answer.rows == [0, 1, 2]
    assert all(left != right for left, right in answer.values)
    assert made.sample(1, 9, seed=1).values[0] == answer.values[0]


def test_each_channel_goes_on_from_its_own(folder: Path) -> None:
    made = model.load(folder / "run")
    for value in made.extend(VALUE, 4, n=2, seed=1).values:
        assert [channel[:3] for channel in value] == list(VALUE)


def test_the_score_is_the_sum_over_the_channels(folder: Path) -> None:
    made = model.load(folder / "run")
    whole = made.score(VALUE, tokens=True)
    parts = [made.score((channel,)) for channel in VALUE]
    assert whole.nats == pytest.approx(sum(part.nats for part in parts), rel=1e-6)
    assert whole.count == 6
    assert whole.surprisal is not None
    assert len(whole.surprisal) == 6
    assert sum(whole.surprisal) == pytest.approx(whole.nats, rel=1e-6)


def test_the_command_line_makes_and_scores_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*words: object) -> Any:
        capsys.readouterr()
        assert run([*map(str, words), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    (one, two) = told("sample", folder / "run", "-n", 2, "--length", 5, "--seed", 1)["samples"]
    assert one["text"].count("|") == two["text"].count("|") == 1
    assert told("extend", folder / "run", "1 2|3 4", "--length", 2, "--seed", 1)["samples"][0]["text"].startswith(
        "1.0000"
    )
    (folder / "a.stereo").write_text("1 2|3 4")
    surprisal = told("score", folder / "run", folder / "a.stereo", "--tokens")["surprisal"]
    assert [entry["element"] for entry in surprisal] == ["1", "2", "1", "2"]
    evaluated = told("evaluate", folder / "run")["metrics"][0]
    made = model.load(folder / "run")
    values = corpus_of(str(folder / "data")).values(made.codec, "test")
    scores = [made.score(value) for value in values]
    total, count = sum(score.nats for score in scores), sum(score.count for score in scores)
    assert evaluated["value"] == pytest.approx(total / count, rel=1e-5)
    assert evaluated["count"] == count


def test_the_states_of_a_sample_of_several_sequences_are_said_to_be_of_the_first(folder: Path) -> None:
    shutil.copytree(folder / "data", folder / "few")
    assert run(["train", str(folder / "few"), "--model", "flow", "--out", str(folder / "flow"), *TINY]) == 0
    states = folder / "states"
    assert run(["sample", str(folder / "flow"), "--frames", str(states), "--length", "5", "sampler.steps=3", "-q"]) == 0
    assert "made of 2 sequences; this is the first of them" in (states / "index.html").read_text()
    assert all(b"|" not in file.read_bytes() for file in states.glob("*.txt"))


def test_a_part_of_a_split_has_all_channels_of_what_it_has(folder: Path) -> None:
    prepared = planning.plan(str(folder / "data"), {"trainer": {"steps": 1}}, out=folder / "other").prepared
    split = prepared.splits["train"]
    part = part_of(split, 60)
    assert part.items is not None
    assert len(part.items) == len(part.data) < len(split.data)
    assert set(np.unique(part.items, return_counts=True)[1]) == {2}
    assert runs.exists(folder / "run")
