"""Strokes: drawings as pen movements, in whatever place and size, and back."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from seqloom.cli.session import content_of
from seqloom.codecs.drawing import Drawing
from seqloom.codecs.strokes import Strokes
from seqloom.codecs.text import Characters
from seqloom.core.errors import ConfigError, DataError
from seqloom.corpora.base import Given
from seqloom.corpora.files import corpus_of
from seqloom.evaluation.texts import value_of
from seqloom.sequence.canvas import Encoded

DATA = os.environ.get("SEQLOOM_DATA", "")
DRAWING = Drawing.of([[[10, 20], [13, 24], [13, 30]], [[0, 0], [1, 1]]])


def random_drawings(count: int = 50) -> list[Drawing]:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 9, (count, 3))
    return [Drawing(tuple(rng.normal(size=(n, 2)).cumsum(0) * 30 + 100 for n in row)) for row in sizes]


def fitted(**settings: str) -> Strokes:
    return Strokes(**settings).fit(random_drawings())  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", ["moves", "points"])
def test_a_drawing_comes_back_where_it_was(steps: str) -> None:
    codec = fitted(steps=steps)
    for drawing in random_drawings():
        back = codec.decode(codec.encode(drawing))
        assert [len(stroke) for stroke in back.strokes] == [len(stroke) for stroke in drawing.strokes]
        np.testing.assert_allclose(back.points, drawing.points, atol=1e-3)


def test_elements_are_movements_in_units_of_their_deviation_and_the_pen() -> None:
    codec = Strokes(scale=2.0)
    encoded = codec.encode(DRAWING)
    assert encoded.x.tolist() == [[0, 0, 0], [1.5, 2, 0], [0, 3, 1], [-6.5, -15, 0], [0.5, 0.5, 1]]
    assert encoded.known.tolist() == [[False, False, True]] + [[True] * 3] * 4
    points = Strokes(scale=2.0, steps="points").encode(DRAWING)
    assert points.x[:, :2].tolist() == [[0, 0], [1.5, 2], [1.5, 5], [-5, -10], [-4.5, -9.5]]
    together = np.concatenate([codec.encode(d).x[1:, :2] for d in random_drawings()])
    scale = fitted().scale / 2.0
    assert together.var(0).mean() == pytest.approx(scale**2, rel=1e-6)


def test_where_a_drawing_lies_is_not_modelled_and_its_size_is_counted() -> None:
    codec = fitted()
    moved = Drawing(tuple(stroke + 1000 for stroke in DRAWING.strokes))
    assert np.allclose(codec.encode(moved).x, codec.encode(DRAWING).x, atol=1e-4)
    large = Strokes(scale=codec.scale * 3)
    # A density in units of the data: what a scaled element costs less, the scale costs more, once a known number.
    assert large.extra_nats(DRAWING) - codec.extra_nats(DRAWING) == pytest.approx(2 * 4 * math.log(3))
    assert codec.count(DRAWING) == 5


@pytest.mark.parametrize("steps", ["moves", "points"])
def test_a_drawing_goes_on_from_its_last_point(steps: str) -> None:
    codec = Strokes(scale=2.0, steps=steps)  # type: ignore[arg-type]
    canvas = codec.canvas(DRAWING, 2)
    assert len(canvas) == 7
    assert canvas.shown.sum(1).tolist() == [1, 3, 3, 3, 3, 0, 0]
    assert canvas.absent.sum() == 2
    x = np.array(canvas.x)
    new = [[1, 1, 0], [1, 0, 1]] if steps == "moves" else [[-3.5, -8.5, 0], [-2.5, -8.5, 1]]
    x[5:] = new
    made = codec.decode(Encoded(x, ~canvas.absent, canvas.origin))
    assert [stroke.tolist() for stroke in made.strokes] == [
        *(stroke.tolist() for stroke in DRAWING.strokes),
        [[3, 3], [5, 3]],
    ]
    unfinished = DRAWING.part(0, 2)
    canvas = codec.canvas(unfinished, 1)
    x = np.array(canvas.x)
    x[2:] = [[0, 1, 1]] if steps == "moves" else [[1.5, 3, 1]]
    made = codec.decode(Encoded(x, ~canvas.absent, canvas.origin))
    assert [stroke.tolist() for stroke in made.strokes] == [[[10, 20], [13, 24], [13, 26]]]
    with pytest.raises(DataError, match="no gap"):
        codec.canvas(DRAWING)
    with pytest.raises(ConfigError):
        codec.canvas(DRAWING, 0)


def test_files_of_many_drawings_are_shared_out_by_their_keys(tmp_path: Path) -> None:
    codec = fitted()
    path = tmp_path / "many.npz"
    arrays = {name: np.stack([DRAWING.moves] * n) for name, n in (("train", 3), ("valid", 2))}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    parts = codec.parts(path)
    assert {name: list(drawings) for name, drawings in parts.items()} == {
        "train": [DRAWING] * 3,
        "valid": [DRAWING] * 2,
    }
    lines = tmp_path / "many.jsonl"
    lines.write_text('[[[0,0],[1,1]]]\n{"strokes": [[[0, 0]]]}\n')
    assert [len(drawing) for drawing in codec.parts(lines)[""]] == [2, 1]
    alone = tmp_path / "one.json"
    codec.write(DRAWING, alone)
    assert codec.parts(alone) == {}
    with pytest.raises(DataError, match="2 drawings"):
        codec.whole(lines)
    for several, count in ((path, 5), (lines, 2)):
        for read in (codec.only, codec.value_of, lambda file: content_of(str(file), codec)):
            with pytest.raises(DataError, match=f"holds {count} things") as caught:
                read(several)
            assert "evaluate RUN FILE" in caught.value.hint
    np.savez(tmp_path / "single.npz", train=DRAWING.moves[None])
    assert codec.only(tmp_path / "single.npz") == codec.only(alone) == DRAWING


BAD = ['{"strokes": [[[0, 0], [1', '{"strokes": []}', '{"strokes": [[[0, 0], [1, "a"]]]}', '{"strokes": [[[0, NaN]]]}']


@pytest.mark.parametrize("line", BAD)
def test_a_bad_drawing_among_others_is_an_error_with_its_line_or_passed_over(tmp_path: Path, line: str) -> None:
    path = tmp_path / "many.jsonl"
    good = [json.dumps({"strokes": [[[0, 0], [1, i]]]}) for i in range(20)]
    path.write_text("\n".join([*good[:3], line, *good[3:]]) + "\n")
    with pytest.raises(DataError, match="line 4: this is no") as caught:
        corpus_of(str(path)).prepare(None, {})
    assert caught.value.hint.endswith("corpus.skip_bad=true passes over it")
    prepared = corpus_of(str(path), {"skip_bad": True}).prepare(None, {})
    assert sum(len(split.data) for split in prepared.splits.values()) == 20
    assert [note[:50] for note in prepared.notes if "bad" in note] == [
        "1 of 21 things are bad and left out (corpus.skip_b"
    ]
    path.write_text(f"{line}\n" * 2)  # where nothing else is there, passing over it leaves nothing
    for settings in ({}, {"skip_bad": True}):
        with pytest.raises(DataError, match="this is no") as caught:
            corpus_of(str(path), {"name": "files", **settings}).prepare(Strokes(), {})
        assert "skip_bad" not in caught.value.hint


def test_a_field_of_its_record_is_a_condition_of_a_drawing(tmp_path: Path) -> None:
    path = tmp_path / "words.jsonl"
    rows = [{"word": f"word{i % 3}", "strokes": [[[0, 0], [1, i + 1]]]} for i in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"said": Given(source="column:word", codec=Characters())}
    prepared = corpus_of(str(path), {"splits": [1, 0, 0]}).prepare(None, given)
    train = prepared.splits["train"].given["said"]
    texts = [value_of(prepared.given["said"], train, i) for i in range(20)]
    assert sorted(texts) == sorted(row["word"] for row in rows)
    (tmp_path / "one.json").write_text(json.dumps(rows[1]))
    one = prepared.codec.only(tmp_path / "one.json")
    assert prepared.codec.words_of(one, "word") == ("word1",)
    with pytest.raises(DataError, match="there is no field 'wrd' beside a drawing") as caught:
        corpus_of(str(path)).prepare(None, {"said": Given(source="column:wrd", codec=Characters())})
    assert "'word'" in caught.value.hint


@pytest.mark.parametrize(
    ("values", "codec"),
    [
        ([0.5, 1.5] * 10, "number"),
        ([3, 7] * 10, "label"),
        (list(range(20)), "number"),
        ([100 + i for i in range(40)] * 2, "number"),
        ([True, False] * 10, "label"),
        ([1.5, "many"] * 10, "label"),
    ],
)
def test_numbers_beside_drawings_are_numbers_unless_they_name_classes(
    tmp_path: Path, values: list[object], codec: str
) -> None:
    path = tmp_path / "sizes.jsonl"
    rows = [{"size": value, "strokes": [[[0, 0], [1, i + 1]]]} for i, value in enumerate(values)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepared = corpus_of(str(path)).prepare(None, {"size": Given(source="column:size")})
    assert prepared.given["size"].name == codec


def test_what_a_file_of_drawings_can_hold() -> None:
    codec = fitted()
    assert [codec.holds(name, 1) for name in ("a.svg", "a.npz", "a.jsonl", "a")] == [True, True, True, False]
    assert [codec.holds(name, 2) for name in ("a.svg", "a.npz", "a.jsonl")] == [False, False, True]
    lines = codec.as_file(codec.show_several([DRAWING, DRAWING], "sample"), "a.jsonl")
    assert len(lines.splitlines()) == 2


def test_files_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    codec = Strokes()
    for text, expected in (('{"strokes": [[[0, 0]]]}', True), ('{"en": "sheep"}', False), ("no json", False)):
        (tmp_path / "a.jsonl").write_text(text)
        assert codec.probe(tmp_path / "a.jsonl") is expected


def test_fingerprints_tell_drawings_apart() -> None:
    codec = fitted()
    other = Drawing((*DRAWING.strokes[:-1], DRAWING.strokes[-1] + [[0, 0], [1e-9, 0]]))
    raws = [b"".join(codec.raw(drawing)) for drawing in (DRAWING, DRAWING.part(0, 4), other)]
    assert len(set(raws)) == 3
    assert b"".join(codec.raw(DRAWING)) == raws[0]


@pytest.mark.skipif(not DATA, reason="SEQLOOM_DATA names no folder of data")
def test_published_sheep_have_splits() -> None:
    parts = Strokes().parts(Path(DATA) / "sketch_sheep" / "aaron_sheep.npz")
    assert {name: len(drawings) for name, drawings in parts.items()} == {"train": 7400, "valid": 300, "test": 300}


def test_a_score_counts_points_and_is_a_density_in_the_units_of_the_drawings() -> None:
    from seqloom.corpora.base import Flat
    from seqloom.metrics import likelihood
    from seqloom.network.backbone import Backbone
    from seqloom.network.network import Network
    from seqloom.processes.autoregressive import Autoregressive
    from seqloom.processes.mixture import Mixture

    process = Autoregressive(head=Mixture(components=3))
    drawings = random_drawings(12)
    scores = {}
    for times in (1.0, 10.0):
        values = [Drawing(tuple(stroke * times for stroke in drawing.strokes)) for drawing in drawings]
        codec = Strokes().fit(values)
        space = codec.space.replace(ends=True)
        net = Network(Backbone(width=8, depth=1), process.spec(space), space, 20, {}, 0, process.module(space))
        items = [codec.encode(value) for value in values]
        reading = likelihood.Reading(
            Flat(
                np.concatenate([item.x for item in items]),
                np.cumsum([0, *(len(item.x) for item in items)]),
                np.concatenate([item.known for item in items]),
            ),
            space,
            codec.unit,
            sum(map(codec.count, values)),
            sum(map(codec.extra_nats, values)),
            codec.log_slopes,
        )
        scores[times] = likelihood.score(net, process, reading)
    points = sum(map(len, drawings))
    assert scores[1.0].count == scores[10.0].count == pytest.approx(points)
    assert scores[1.0].measure == "density"
    movements = points - len(drawings)
    assert scores[10.0].nats - scores[1.0].nats == pytest.approx(2 * movements * math.log(10), rel=1e-4)
