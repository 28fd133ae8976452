"""Drawings of pen strokes, and the files they come from: sketch-rnn's arrays, JSON lines and SVG."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.npz import LARGEST, read_npz
from seqloom.codecs.svg import Points, strokes_in
from seqloom.core.content import decoded, raw, write_bytes
from seqloom.core.errors import DataError, no_json

DIGITS = 6
"""Significant digits, of a drawing's size, that are worth writing."""
LINES = (".jsonl", ".ndjson", ".json")
"""What files are called that hold a drawing a line."""
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


def of_svg(text: str, path: Path | str = "") -> Drawing:
    """The strokes of an SVG's paths, lines and polygons in their order, curves made of corners."""
    return Drawing(tuple(strokes_in(text, path)))


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
