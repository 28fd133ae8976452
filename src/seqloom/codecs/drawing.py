"""Drawings of pen strokes, and the files they come from: sketch-rnn's arrays, JSON lines and SVG."""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.npz import LARGEST, read_npz
from seqloom.core.content import decoded, raw, write_bytes
from seqloom.core.errors import DataError, no_json

Points = NDArray[np.float64]

DIGITS = 6
"""Significant digits, of a drawing's size, that are worth writing."""
LINES = (".jsonl", ".ndjson", ".json")
"""What files are called that hold a drawing a line."""
FLATNESS = 1 / 250
"""How far the corners that stand for a curve may lie from it, as a share of the drawing's size."""
FORMS = 'a drawing is a list of strokes, each a list of [x, y], as in {"strokes": [[[0, 0], [3, 4]], [[1, 1], [2, 0]]]}'


@dataclass(frozen=True, eq=False)
class Drawing:
    """Pen strokes in the order in which they were made: each an array (n,2) of points x and y, y growing downward."""

    strokes: tuple[Points, ...] = ()
    unfinished: bool = False
    """The pen is still on the paper after the last point: whoever goes on goes on with that stroke."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What else its record in a file of JSON holds, such as the word that it was drawn for."""

    @classmethod
    def of(cls, value: Any) -> Self:
        """A drawing from whatever is one: itself, lists of strokes, or an array (n,3) of sketch-rnn's pen movements.

        A movement is dx, dy and whether the pen is lifted after the point; the first leads from (0, 0).
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, np.ndarray) and value.ndim == 2 and value.shape[1] == 3:
            return cls.moved(np.asarray(value, np.float64))
        try:
            strokes = tuple(np.asarray(stroke, np.float64).reshape(-1, 2) for stroke in value)
            well_formed = all(np.asarray(stroke).shape[1:] == (2,) for stroke in value)
        except (TypeError, ValueError):
            strokes, well_formed = (), False
        if not well_formed or not strokes or not all(len(stroke) and np.isfinite(stroke).all() for stroke in strokes):
            raise DataError("this is no drawing", hint=FORMS)
        return cls(strokes)

    @classmethod
    def moved(cls, moves: Points) -> Self:
        """The drawing of pen movements (n,3): dx, dy, and 1 where the pen is lifted after the point."""
        if not len(moves) or not np.isfinite(moves).all():
            raise DataError("a drawing without points, or with a movement that is no number", hint=FORMS)
        points = np.cumsum(moves[:, :2], 0)
        lifted = moves[:, 2] > 0.5
        return cls(tuple(np.split(points, np.nonzero(lifted[:-1])[0] + 1)), unfinished=not lifted[-1])

    def __len__(self) -> int:
        return sum(len(stroke) for stroke in self.strokes)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Drawing)
            and self.unfinished == other.unfinished
            and len(self.strokes) == len(other.strokes)
            and all(np.array_equal(own, theirs) for own, theirs in zip(self.strokes, other.strokes, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Drawing({len(self.strokes)} strokes, {len(self)} points)"

    def _repr_svg_(self) -> str:
        """Notebooks show a drawing as it is."""
        return svg(self)

    @property
    def points(self) -> Points:
        """All points (n,2), one stroke after another."""
        return np.concatenate(self.strokes) if self.strokes else np.zeros((0, 2))

    @property
    def lifted(self) -> NDArray[np.bool_]:
        """Whether the pen is lifted after each point (n,)."""
        lifted = np.zeros(len(self), bool)
        lifted[np.cumsum([len(stroke) for stroke in self.strokes], dtype=np.int64) - 1] = True
        if len(lifted):
            lifted[-1] = not self.unfinished
        return lifted

    @property
    def moves(self) -> Points:
        """Pen movements (n,3) in sketch-rnn's form, of which `Drawing.of` makes the drawing again."""
        return np.column_stack([np.diff(self.points, axis=0, prepend=0.0), self.lifted])

    def part(self, begin: int, end: int | None = None) -> Drawing:
        """The points from `begin` to `end`, where they stand."""
        points, lifted = self.points[begin:end], self.lifted[begin:end]
        return placed(points, lifted)


def placed(points: Points, lifted: NDArray[np.bool_]) -> Drawing:
    """The drawing of points (n,2) that stand where they are, the pen lifted after some of them."""
    if not len(points):
        return Drawing()
    return Drawing(tuple(np.split(points, np.nonzero(lifted[:-1])[0] + 1)), unfinished=not bool(lifted[-1]))


# ---- reading --------------------------------------------------------------------------------------------------------


def read_drawings(path: Path) -> Iterator[Drawing]:
    """The drawings in a file, by what its name ends with; DataError names the line."""
    for drawing in tried_drawings(path):
        if isinstance(drawing, DataError):
            raise drawing
        yield drawing


def tried_drawings(path: Path) -> Iterator[Drawing | DataError]:
    """The drawings in a file, and in place of each that is bad, where others stand beside it, what is wrong with it."""
    name = path.name.lower()
    if name.endswith(".npz"):
        for drawings in by_split(path).values():
            yield from drawings
    elif name.endswith(".svg"):
        yield of_svg("".join(decoded(raw(path), path)), path)
    else:
        yield from tried_json(unzipped(path) if name.endswith(".zip") else "".join(decoded(raw(path), path)), path)


def by_split(path: Path) -> dict[str, list[Drawing]]:
    """The drawings of an `.npz` by its keys: under each arrays (n,3) of pen movements, or one such array."""
    drawings: dict[str, list[Drawing]] = {}
    for key, content in read_npz(path).items():
        arrays = [content] if isinstance(content, np.ndarray) and content.ndim == 2 else list(content)
        drawings[key] = []
        for i, array in enumerate(arrays):
            if array.ndim != 2 or array.shape[1] != 3 or not len(array):
                raise DataError(
                    f"drawing {i} of {key!r} is an array of shape {array.shape}, where (n, 3) is wanted",
                    path=path,
                    hint="each row is dx, dy and 1 where the pen is lifted after the point",
                )
            drawings[key].append(Drawing.moved(np.asarray(array, np.float64)))
    return drawings


def unzipped(path: Path) -> str:
    """The one JSON file in a zip archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            inside = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")]
            if len(inside) != 1 or inside[0].file_size > LARGEST:
                raise DataError("the archive should hold one file, of less than a gigabyte", path=path)
            return "".join(decoded([archive.read(inside[0])], path))
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise DataError(f"the archive cannot be read: {error}", path=path) from None


def of_json(text: str) -> Iterator[Drawing]:
    """The drawings of a JSON text; DataError where one is bad."""
    for drawing in tried_json(text):
        if isinstance(drawing, DataError):
            raise drawing
        yield drawing


def tried_json(text: str, path: Path | str = "") -> Iterator[Drawing | DataError]:
    """The drawings of a JSON text, and what is wrong with the bad ones: one of them, a list of them, or one a line.

    One is a list of strokes, also under "strokes"; Quick, Draw!'s {"drawing": [[xs, ys], ...]}; or
    {"points": [[x, y, pen down], ...]}, of which "metadata" may give the "aspectRatio" of x.
    """
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    try:
        json.loads(first)
        several = len(lines) > 1
    except ValueError:
        several = False
    if several:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _tried(line, path, number)
        return
    whole = _parsed(text, path)
    if isinstance(whole, list) and whole and (isinstance(whole[0], dict) or _depth(whole) > 3):
        for record in whole:
            yield _tried(record, path)
    else:
        yield _record(whole, path)


def _tried(record: Any, path: Path | str, line: int | None = None) -> Drawing | DataError:
    """A drawing of JSON, or of the text of a line of it; or what is wrong with it."""
    try:
        return _record(record if line is None else _parsed(record, path, line), path, line)
    except DataError as error:
        return error


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, list):
        depth, value = depth + 1, value[0] if value else None
    return depth


def _parsed(text: str, path: Path | str, line: int | None = None) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        what = f"this is no JSON: {no_json(error, of_line=line is not None)}"
        raise DataError(what, path=path, line=line, hint=FORMS) from None


def _record(record: Any, path: Path | str, line: int | None = None) -> Drawing:
    """One drawing of JSON, with its other fields; those of objects in it by a dot, as in metadata.text."""
    drawing = _drawn(record, path, line)
    return replace(drawing, fields=dict(_fields(record))) if isinstance(record, dict) else drawing


def _fields(record: Mapping[str, Any], of: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, dict):
            yield from _fields(value, f"{of}{name}.")
        elif not isinstance(value, list) and value is not None:
            yield f"{of}{name}", value


def _drawn(record: Any, path: Path | str, line: int | None = None) -> Drawing:
    try:
        if isinstance(record, dict) and "points" in record:
            wide = float((record.get("metadata") or {}).get("aspectRatio", 1.0))
            table = np.asarray(record["points"], np.float64)
            return _pen_down(table[:, :2] * (wide, 1.0), table[:, 2] > 0.5)
        if isinstance(record, dict) and "drawing" in record:
            return Drawing.of(
                [np.stack([np.asarray(stroke[0]), np.asarray(stroke[1])], 1) for stroke in record["drawing"]]
            )
        return Drawing.of(record["strokes"] if isinstance(record, dict) else record)
    except DataError as error:
        raise error.at(path, line) from None
    except (TypeError, ValueError, KeyError, IndexError, AttributeError):
        raise DataError("this is no drawing", path=path, line=line, hint=FORMS) from None


def _pen_down(points: Points, down: NDArray[np.bool_]) -> Drawing:
    """The drawing of points at which the pen is down or just lifted; where it was lifted without moving is no point."""
    lifted = ~down
    still = np.zeros(len(points), bool)
    still[1:] = lifted[1:] & ~lifted[:-1] & (points[1:] == points[:-1]).all(1)
    lifted[:-1] |= still[1:]
    lifted[-1:] = True
    return placed(points[~still], lifted[~still])


# ---- writing --------------------------------------------------------------------------------------------------------


def rounded(drawing: Drawing) -> list[list[list[float]]]:
    """The strokes as lists of [x, y], to as many digits as are worth it."""
    points = drawing.points
    size = float(np.ptp(points, axis=0).max()) if len(points) else 1.0
    digits = DIGITS - 1 - math.floor(math.log10(size)) if size > 0 else DIGITS
    strokes = []
    for stroke in drawing.strokes:
        strokes.append([[_shortest(round(x, digits)) for x in point] for point in stroke.tolist()])
    return strokes


def _shortest(x: float) -> float:
    return int(x) if x == int(x) and abs(x) < 1e15 else x


def write(drawing: Drawing, path: Path) -> None:
    """A drawing into a file of the kind that its name says."""
    write_bytes(as_file([drawing], path.name), path)


def as_file(drawings: Sequence[Drawing], name: str) -> bytes:
    """Drawings as a file of this name has them: SVG or an archive with pen movements (n,3) one, JSON lines any."""
    name, file = name.lower(), io.BytesIO()
    lines = "".join(json.dumps({"strokes": rounded(drawing)}) + "\n" for drawing in drawings).encode()
    if name.endswith(".svg"):
        return svg(drawings[0]).encode()
    if name.endswith(".npz"):
        np.savez_compressed(file, drawing=drawings[0].moves)
    elif name.endswith(".zip"):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("drawing.json", lines)
    else:
        return lines
    return file.getvalue()


def svgs_of(text: str) -> list[str]:
    """The texts of several SVGs one after another, as `svg` makes them."""
    return [f"{one}</svg>\n" for one in text.split("</svg>\n")[:-1]]


def svg(drawing: Drawing) -> str:
    """The drawing as an SVG, which `of_svg` reads."""
    points = drawing.points if len(drawing) else np.zeros((1, 2))
    low, size = points.min(0), float(np.ptp(points, axis=0).max()) or 1.0  # a dot is seen, too
    x, y, wide, high = (f"{number:.6g}" for number in (*(low - size * 0.05), *(np.ptp(points, axis=0) + size * 0.1)))
    paths = [
        "M" + "L".join(f"{x!r} {y!r}" for x, y in (stroke if len(stroke) > 1 else stroke * 2))
        for stroke in rounded(drawing)
    ]
    body = "".join(f'  <path d="{path}"/>\n' for path in paths)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{x} {y} {wide} {high}">\n'
        f'<g fill="none" stroke="black" stroke-width="{size / 80:.3g}" '
        'stroke-linecap="round" stroke-linejoin="round">\n'
        f"{body}</g>\n</svg>\n"
    )


def picture(drawings: Sequence[Drawing], title: str = "") -> bytes:
    """A PNG of several drawings in a grid, each filling its cell."""
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    columns = max(1, math.ceil(math.sqrt(len(drawings) * 1.4)))
    rows = max(1, math.ceil(len(drawings) / columns))
    figure = Figure(figsize=(1.6 * columns, 1.6 * rows + (0.3 if title else 0)), dpi=100, layout="constrained")
    for i, drawing in enumerate(drawings):
        axes = figure.add_subplot(rows, columns, i + 1)
        axes.add_collection(LineCollection(list(drawing.strokes), colors="black", linewidths=1.2, capstyle="round"))
        dots = [stroke[0] for stroke in drawing.strokes if len(stroke) == 1]
        if dots:
            axes.plot(*np.stack(dots).T, "k.", markersize=2)
        if len(drawing):
            low, high = drawing.points.min(0), drawing.points.max(0)
            middle, half = (low + high) / 2, max(float((high - low).max()) / 2, 1e-9) * 1.08
            axes.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] + half, middle[1] - half))
        axes.set_aspect("equal")
        axes.axis("off")
    if title:
        figure.suptitle(title, fontsize=9)
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


# ---- SVG ------------------------------------------------------------------------------------------------------------

_COMMANDS = re.compile(r"([MmLlHhVvCcSsQqTtZzAa])([^MmLlHhVvCcSsQqTtZzAa]*)")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_BETWEEN = re.compile(r"[\s,]*")
_TRANSFORM = re.compile(r"\s*,?\s*(matrix|translate|scale|rotate)\s*\(([^)]*)\)")
_ARITY = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2, "Z": 0}
_PLACES = {"defs", "clipPath", "mask", "symbol", "marker", "pattern", "metadata", "title", "desc", "style", "text"}
"""Elements whose contents are not drawn where they stand."""

Curve = Points
"""Control points (k,2) of a line (2), a quadratic (3) or a cubic curve (4)."""


def of_svg(text: str, path: Path | str = "") -> Drawing:
    """The strokes of an SVG's paths, lines and polygons in their order, curves made of corners."""
    if "<!ENTITY" in text:
        raise DataError("the SVG defines entities", path=path, hint="save it without a DOCTYPE")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, RecursionError) as error:
        raise DataError(f"this is no SVG: {error}", path=path) from None
    try:
        outlines = list(_outlines(root, np.eye(3)))
    except DataError as error:
        raise error.at(path) from None
    if not outlines:
        raise DataError("there is no path in the SVG", path=path, hint="shapes must be converted to paths")
    corners = np.concatenate([curve for outline in outlines for curve in outline])
    tolerance = max(float(np.ptp(corners, axis=0).max()), 1e-12) * FLATNESS
    return Drawing(tuple(_flattened(outline, tolerance) for outline in outlines))


def _outlines(element: ElementTree.Element, outer: Points) -> Iterator[list[Curve]]:
    """The outlines of an element and those in it, as curves in the coordinates of the whole."""
    name = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
    if name in _PLACES:
        return
    inner = outer @ _transform(element.get("transform", ""))
    outlines: list[list[Curve]] = []
    if name == "path":
        outlines = outlines_of(element.get("d", ""))
    elif name in ("polyline", "polygon"):
        corners = np.array(_numbers(element.get("points", ""))).reshape(-1, 2)
        corners = np.concatenate([corners, corners[:1]]) if name == "polygon" else corners
        outlines = [[corners[:1], *(corners[i : i + 2] for i in range(len(corners) - 1))]] if len(corners) else []
    elif name == "line":
        outlines = [[np.array([[float(element.get(f"{axis}{end}", 0)) for axis in "xy"] for end in (1, 2)])]]
    elif name in ("rect", "circle", "ellipse", "use", "image"):
        raise DataError(f"the SVG has a {name}, which is not read", hint="convert shapes to paths")
    for outline in outlines:
        yield [curve @ inner[:2, :2].T + inner[:2, 2] for curve in outline]
    for child in element:
        yield from _outlines(child, inner)


def _transform(text: str) -> Points:
    """The matrix (3,3) of a list of transforms."""
    total, position = np.eye(3), 0
    while position < len(text.rstrip()):
        match = _TRANSFORM.match(text, position)
        if match is None:
            raise DataError(f"the transform {text[:40]!r} is not read", hint="matrix, translate, scale and rotate are")
        position, name, v = match.end(), match.group(1), _numbers(match.group(2))
        one = np.eye(3)
        try:
            if name == "matrix":
                one[:2] = np.array(v).reshape(3, 2).T
            elif name == "translate":
                one[:2, 2] = v[0], v[1] if len(v) > 1 else 0.0
            elif name == "scale":
                one[0, 0], one[1, 1] = v[0], v[-1]
            else:
                c, s = math.cos(math.radians(v[0])), math.sin(math.radians(v[0]))
                one[:2, :2] = [[c, -s], [s, c]]
                if len(v) == 3:
                    one[:2, 2] = np.array(v[1:]) - one[:2, :2] @ np.array(v[1:])
        except (IndexError, ValueError):
            raise DataError(f"the transform {text[:40]!r} has the wrong number of numbers") from None
        total = total @ one
    return total


def _numbers(text: str) -> list[float]:
    """The numbers of a list, which may stand without anything between them, as in `1-2.5.5`."""
    numbers, position = [], _BETWEEN.match(text).end()  # type: ignore[union-attr]
    while position < len(text):
        match = _NUMBER.match(text, position)
        if match is None:
            raise DataError(f"{text[position : position + 20]!r} is no number of a path")
        numbers.append(float(match.group()))
        position = _BETWEEN.match(text, match.end()).end()  # type: ignore[union-attr]
    if not all(abs(number) < 1e12 for number in numbers):
        raise DataError("a number of a path is too large")
    return numbers


def outlines_of(d: str) -> list[list[Curve]]:
    """The outlines of a path's `d`: each a list of curves, where the next begins at the end of the one before."""
    outlines: list[list[Curve]] = []
    now = begin = control = np.zeros(2)
    before, position = "", 0
    for match in _COMMANDS.finditer(d):
        if d[position : match.start()].strip(" \t\r\n,"):
            break
        position, letter, numbers = match.end(), match.group(1), _numbers(match.group(2))
        kind, arity = letter.upper(), _ARITY.get(letter.upper(), -1)
        if arity < 0:
            raise DataError("a path has an arc, which is not read", hint="convert arcs to curves")
        if not before and kind != "M":
            raise DataError("a path begins without M")
        ragged = len(numbers) % arity != 0 or not numbers if arity else bool(numbers)
        if ragged:
            raise DataError(f"{letter} of a path has {len(numbers)} numbers")
        for i in range(0, max(len(numbers), 1), max(arity, 1)):
            origin = now if letter.islower() else np.zeros(2)
            if kind == "Z":
                points = begin[None]
            elif kind in "HV":
                points = now[None].copy()
                axis = int(kind == "V")
                points[0, axis] = numbers[i] + origin[axis]
            else:
                points = np.array(numbers[i : i + arity]).reshape(-1, 2) + origin
            if kind in "ST":  # the first control point mirrors the last one of a curve of the same kind
                smooth = before in ("CS" if kind == "S" else "QT")
                points = np.concatenate([(2 * now - control if smooth else now)[None], points])
            if kind == "M" and i == 0:
                outlines.append([points])
                begin = points[-1]
            else:
                if before == "Z":
                    outlines.append([now[None]])
                outlines[-1].append(np.concatenate([now[None], points]))
            control = points[-2] if len(points) > 1 else points[-1]
            now, before = points[-1], kind
    if d[position:].strip():
        raise DataError(f"{d[position : position + 20]!r} is no part of a path")
    return outlines


def _flattened(outline: list[Curve], tolerance: float) -> Points:
    """The corners of an outline; a point that repeats the one before is left out."""
    parts = [outline[0][:1]]
    for curve in outline:
        if len(curve) < 3:
            parts.append(curve[1:])
            continue
        degree = len(curve) - 1
        curvature = float(np.abs(np.diff(curve, n=2, axis=0)).max())
        steps = max(1, math.ceil(math.sqrt(degree * (degree - 1) / 8 * curvature / tolerance)))
        t = np.arange(1, steps + 1)[:, None] / steps
        weights = [math.comb(degree, k) * t**k * (1 - t) ** (degree - k) for k in range(degree + 1)]
        parts.append(sum(w * point for w, point in zip(weights, curve, strict=True)))
    points = np.concatenate(parts)
    moved = np.ones(len(points), bool)
    moved[1:] = (points[1:] != points[:-1]).any(1)
    return np.asarray(points[moved], np.float64)
