"""Drawings: what is read from arrays, JSON and SVG is what a pen draws, and what is written is read again."""

from __future__ import annotations

import io
import itertools
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqloom.codecs.drawing import (
    Drawing,
    as_file,
    of_json,
    of_svg,
    picture,
    read_drawings,
    rounded,
    svg,
    svgs_of,
)
from seqloom.codecs.svg import FLATNESS
from seqloom.core.errors import DataError

DATA = os.environ.get("SEQLOOM_DATA", "")
MOVES = np.array([[5, 5, 0], [3, 4, 1], [-3, 0, 0], [0, -4, 0], [1, 1, 1]], float)


def strokes(drawing: Drawing) -> list[Any]:
    return [stroke.tolist() for stroke in drawing.strokes]


def test_pen_movements_are_a_drawing_and_come_back() -> None:
    drawing = Drawing.of(MOVES)
    assert strokes(drawing) == [[[5, 5], [8, 9]], [[5, 9], [5, 5], [6, 6]]]
    assert len(drawing) == 5
    np.testing.assert_array_equal(drawing.moves, MOVES)
    assert drawing == Drawing.of(strokes(drawing)) == Drawing.of(drawing)
    going_on = MOVES.copy()
    going_on[-1, 2] = 0
    assert Drawing.of(going_on).unfinished
    np.testing.assert_array_equal(Drawing.of(going_on).moves, going_on)


def test_a_part_of_a_drawing_stays_where_it_is_and_may_end_within_a_stroke() -> None:
    drawing = Drawing.of(MOVES)
    assert strokes(drawing.part(1, 3)) == [[[8, 9]], [[5, 9]]]
    assert drawing.part(1, 3).unfinished
    assert not drawing.part(0, 2).unfinished
    assert len(drawing.part(2, 2)) == 0


@pytest.mark.parametrize(
    "value", [[], [[]], [[[1, 2, 3]]], 3, "text", [[[1, float("nan")]]], np.zeros((0, 3)), [[1, 2]]]
)
def test_what_is_no_drawing_is_told(value: Any) -> None:
    with pytest.raises(DataError) as refused:
        Drawing.of(value)
    assert "strokes" in refused.value.hint


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("M1 2L3 4", [[[1, 2], [3, 4]]]),
        ("M1,2 3,4 5,6", [[[1, 2], [3, 4], [5, 6]]]),
        ("m1 2 3 4l1 0", [[[1, 2], [4, 6], [5, 6]]]),
        ("M0 0H5V6h-2v-3", [[[0, 0], [5, 0], [5, 6], [3, 6], [3, 3]]]),
        ("M0 0H1 2V1 2", [[[0, 0], [1, 0], [2, 0], [2, 1], [2, 2]]]),
        ("M0 0L2 0L2 2Z", [[[0, 0], [2, 0], [2, 2], [0, 0]]]),
        ("M1 1l2 0zl0 3", [[[1, 1], [3, 1], [1, 1]], [[1, 1], [1, 4]]]),
        ("M0 0L1 1M5 5l1 1m1 1l1 1", [[[0, 0], [1, 1]], [[5, 5], [6, 6]], [[7, 7], [8, 8]]]),
        ("M.5-.5l1e1.5", [[[0.5, -0.5], [10.5, 0]]]),
        ("M3 3", [[[3, 3]]]),
    ],
)
def test_straight_paths_of_an_svg_are_read_as_they_stand(path: str, expected: Any) -> None:
    drawing = of_svg(f'<svg xmlns="http://www.w3.org/2000/svg"><g><path d="{path}"/></g></svg>')
    assert strokes(drawing) == expected


@pytest.mark.parametrize(
    ("path", "curve"),
    [
        (
            "M0 0C0 10 10 10 10 0",
            lambda t: (30 * t**2 * (1 - t) + 10 * t**3, 30 * t * (1 - t) ** 2 + 30 * t**2 * (1 - t)),
        ),
        (
            "m0 0c0 10 10 10 10 0",
            lambda t: (30 * t**2 * (1 - t) + 10 * t**3, 30 * t * (1 - t) ** 2 + 30 * t**2 * (1 - t)),
        ),
        ("M0 0Q5 10 10 0", lambda t: (10 * t, 20 * t * (1 - t))),
        ("M0 0q5 10 10 0", lambda t: (10 * t, 20 * t * (1 - t))),
        ("M0 0T10 0", lambda t: (10 * t**2, 0 * t)),
        ("M0 0S10 10 10 0", lambda t: (30 * t**2 * (1 - t) + 10 * t**3, 30 * t**2 * (1 - t))),
    ],
)
def test_curves_are_made_of_corners_that_lie_on_them_and_close_enough_together(path: str, curve: Any) -> None:
    (corners,) = of_svg(f'<svg><path d="{path}"/></svg>').strokes
    exact = np.stack(np.broadcast_arrays(*curve(np.linspace(0, 1, 2521))), 1)
    distance = np.linalg.norm(corners[:, None] - exact, axis=-1).min(1)
    assert distance.max() < 5e-3
    tolerance = 10 * FLATNESS
    dense = np.concatenate([a + (b - a) * np.linspace(0, 1, 50)[:, None] for a, b in itertools.pairwise(corners)])
    assert np.linalg.norm(exact[:, None] - dense, axis=-1).min(1).max() < 2 * tolerance
    assert np.array_equal(corners[[0, -1]], [[0, 0], [10, 0]])


def test_smooth_curves_mirror_the_control_point_before() -> None:
    plain = of_svg('<svg><path d="M0 0C0 5 5 5 5 0C5 -5 10 -5 10 0Q12 4 14 0Q16 -4 18 0"/></svg>')
    smooth = of_svg('<svg><path d="M0 0C0 5 5 5 5 0S10 -5 10 0Q12 4 14 0t4 0"/></svg>')
    np.testing.assert_allclose(plain.points, smooth.points)


def test_transforms_nest_and_other_outlines_are_read() -> None:
    drawing = of_svg(
        '<svg><g transform="translate(10 20) scale(2)"><path transform="rotate(90)" d="M1 0L2 0"/>'
        '<polyline points="0,0 1,0 1,1"/></g><polygon points="0 0 1 0 0 1"/><line x1="1" y1="2" x2="3" y2="4"/>'
        '<defs><path d="M0 0L9 9"/></defs><path transform="matrix(0 1 1 0 5 0)" d="M1 2L3 4"/></svg>'
    )
    expected = [
        [[10, 22], [10, 24]],
        [[10, 20], [12, 20], [12, 22]],
        [[0, 0], [1, 0], [0, 1], [0, 0]],
        [[1, 2], [3, 4]],
        [[7, 1], [9, 3]],
    ]
    for mine, its in zip(drawing.strokes, expected, strict=True):
        np.testing.assert_allclose(mine, its, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no svg", "no SVG"),
        ("<svg></svg>", "no path"),
        ('<svg><path d="M0 0A1 1 0 0 0 2 2"/></svg>', "arc"),
        ('<svg><path d="L1 2"/></svg>', "begins without M"),
        ('<svg><path d="M1 2 3"/></svg>', "has 3 numbers"),
        ('<svg><path d="M1 2 X 3"/></svg>', "number of a path"),
        ('<svg><path d="M1 2L1e400 2"/></svg>', "too large"),
        ('<svg><path d="M1 2" transform="skewX(3)"/></svg>', "transform"),
        ('<svg><rect width="3"/></svg>', "rect"),
        ('<!DOCTYPE svg [<!ENTITY a "b">]><svg/>', "entities"),
    ],
)
def test_an_svg_that_is_not_understood_is_told_with_its_name(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    path.write_text(text)
    with pytest.raises(DataError, match=reason) as refused:
        list(read_drawings(path))
    assert refused.value.path == str(path)


def test_json_is_read_in_all_its_forms(tmp_path: Path) -> None:
    one = [[[0, 0], [1, 1]], [[2, 2], [3, 1], [4, 4]]]
    quick = {"word": "line", "drawing": [[[0, 1], [0, 1]], [[2, 3, 4], [2, 1, 4]]]}
    pen = {"points": [[0, 0, 1], [1, 1, 1], [1, 1, 0], [2, 2, 1], [3, 1, 1], [4, 4, 0]]}
    wide = {"metadata": {"aspectRatio": 2}, "points": [[x / 2, y, p] for x, y, p in pen["points"]]}
    for record in (one, {"strokes": one}, quick, pen, wide):
        text = json.dumps(record)
        assert [strokes(d) for d in of_json(text)] == [one]
        assert [strokes(d) for d in of_json(json.dumps(record, indent=1))] == [one]
        assert [strokes(d) for d in of_json(json.dumps([record, record]))] == [one, one]
        assert [strokes(d) for d in of_json(f"{text}\n\n{text}\n{text}\n")] == [one] * 3
    path = tmp_path / "words.json.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("words.json", json.dumps([pen]))
        packed.writestr("__MACOSX/._words.json", "x")
    assert [strokes(d) for d in read_drawings(path)] == [one]


def test_what_else_a_record_holds_stands_beside_the_drawing() -> None:
    record = {"word": "line", "key": 3, "seen": None, "metadata": {"author": "Sam"}, "strokes": [[[0, 0], [1, 1]]]}
    (drawing,) = of_json(json.dumps(record))
    assert dict(drawing.fields) == {"word": "line", "key": 3, "metadata.author": "Sam"}
    assert drawing == Drawing.of(record["strokes"]), "they are no part of it"


def test_drawings_as_files_have_them(tmp_path: Path) -> None:
    drawings = [Drawing.of([[[0, 0], [3, 4]]]), Drawing.of([[[0, 0], [1, 1]], [[2, 0], [0, 2]]])]
    text = "\n".join(svg(drawing) for drawing in drawings)
    assert [of_svg(one) for one in svgs_of(text)] == drawings
    for name in ("a.jsonl", "a.ndjson", "a.json"):
        assert list(of_json(as_file(drawings, name).decode())) == drawings
    for name in ("a.svg", "a.npz", "a.json.zip"):
        (tmp_path / name).write_bytes(as_file(drawings[:1], name))
        assert list(read_drawings(tmp_path / name)) == drawings[:1]


def test_json_that_is_no_drawing_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for line in (
        "{",
        "3",
        '{"strokes": [[[1, 2], [3]]]}',
        '{"drawing": [[[1, 2]]]}',
        '{"points": [[1, 2]]}',
        "[[[1, 2, 3]]]",
    ):
        path.write_text(f"[[[0, 0], [1, 1]]]\n{line}\n")
        with pytest.raises(DataError) as refused:
            list(read_drawings(path))
        assert (refused.value.path, refused.value.line) == (str(path), 2)


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e6])
def test_an_svg_is_read_as_it_was_written(scale: float) -> None:
    rng = np.random.default_rng(0)
    drawing = Drawing(tuple(np.cumsum(rng.normal(size=(n, 2)), 0) * scale for n in (1, 2, 30)))
    text = svg(drawing)
    again = of_svg(text)
    assert [len(stroke) for stroke in again.strokes] == [1, 2, 30]
    np.testing.assert_allclose(again.points, drawing.points, atol=3e-5 * scale)
    assert of_svg(svg(again)) == again == next(of_json(json.dumps(rounded(again))))
    assert drawing._repr_svg_() == text
    assert 'viewBox="-0.05 -0.05 0.1 0.1"' in svg(Drawing.of([[[0, 0]]])), "a dot is as wide as an eighth of it"


def test_a_picture_shows_the_lines_of_every_drawing() -> None:
    from matplotlib import image

    lines = [Drawing.of([[[0, 0], [10, 0]]]), Drawing.of([[[0, 0], [0, 10]]]), Drawing.of([[[3, 3]]]), Drawing()]
    pixels = image.imread(io.BytesIO(picture(lines, "title")))[..., :3].mean(-1)
    alone = image.imread(io.BytesIO(picture(lines[:1])))[..., :3].mean(-1)
    assert pixels.shape > alone.shape
    dark = alone < 0.5
    assert dark.any(0).mean() > 0.4  # a level line crosses its cell, of two
    assert dark.any(1).mean() < 0.1
    assert picture(lines) == picture(lines)


@pytest.mark.skipif(not DATA, reason="SEQLOOM_DATA names no folder of data")
def test_published_drawings_are_read() -> None:
    words = list(read_drawings(Path(DATA) / "cursive_strokes" / "bigbank_3500.json.zip"))
    assert len(words) == 3500
    assert len(words[0].strokes) == 3
    assert len(words[0]) == 237  # 240 points, of which three lift the pen where it is
    sheep = list(read_drawings(Path(DATA) / "sketch_sheep" / "aaron_sheep.npz"))
    assert len(sheep) == 8000
