"""Pen strokes as vectors: one element a point, how far the pen has moved and whether it is lifted."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits

from seqloom.codecs import drawing as files
from seqloom.codecs.base import Codec
from seqloom.codecs.drawing import Drawing
from seqloom.codecs.number import Number
from seqloom.core.config import nearest
from seqloom.core.errors import ConfigError, DataError
from seqloom.sequence.canvas import Canvas, Encoded
from seqloom.sequence.space import Field, Vectors

LOOKED_AT = 1000
"""Drawings by which it is told what a field beside them holds."""
CLASSES = 20
"""Whole numbers that are so few, and come again, are names of classes."""


class Strokes(Codec, name="strokes"):
    """Drawings as pen movements (Graves 2013; Ha & Eck 2017), scaled by their deviation in the training split.

    A value is a `Drawing`. Where it lies on the paper is not modelled: the movement to its first point is not known.
    Densities are in the data's own units of length.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".svg", ".npz", ".jsonl", ".ndjson", ".json", ".json.zip")
    unit: ClassVar[str] = "point"
    rank: ClassVar[int] = 1

    steps: Literal["moves", "points"] = "moves"
    """What an element holds: the movement from the point before, or where the point lies, seen from the first one."""
    scale: float = Limits(default=0.0, ge=0, allow_inf_nan=False)
    """The unit of length: the deviation of all these in the training split; 0: to be fitted."""

    @property
    def fitted(self) -> bool:
        return self.scale > 0

    @property
    def space(self) -> Vectors:
        if not self.fitted:
            raise ConfigError("the scale is not known until the codec is fitted", path="codec.scale")
        return Vectors(fields=(Field(name=self.steps.removesuffix("s"), width=2), Field(name="pen", support="binary")))

    @property
    def log_scales(self) -> NDArray[np.float64]:
        return np.array([math.log(self.scale), math.log(self.scale), 0.0])

    def fit(self, values: Iterable[Any]) -> Self:
        lengths = [self._steps(Drawing.of(value))[1:] for value in values]
        if not lengths:
            raise DataError("there are no drawings to learn the scale of")
        together = np.concatenate(lengths)
        scale = float(np.sqrt(together.var(0).mean())) if len(together) else 1.0
        return self.replace(scale=scale if scale > 0 else 1.0)

    def encode(self, value: Any) -> Encoded:
        drawing = Drawing.of(value)
        x = np.column_stack([self._steps(drawing) / self.scale, drawing.lifted]).astype(np.float32)
        known = np.ones(x.shape, bool)
        x[:1, :2], known[:1, :2] = 0.0, False
        return Encoded(x, known, {"start": tuple(drawing.points[0]) if len(drawing) else (0.0, 0.0)})

    def decode(self, encoded: Encoded) -> Drawing:
        """The drawing; what a canvas showed is the template's own."""
        steps = np.where(encoded.known, encoded.x, 0.0)[:, :2].astype(np.float64) * self.scale
        lifted = encoded.x[:, 2] > 0.5
        steps[:1] = 0.0
        points = np.array(encoded.origin.get("start", (0.0, 0.0))) + (
            np.cumsum(steps, 0) if self.steps == "moves" else steps
        )
        template = encoded.origin.get("template")
        if template is not None:
            size = min(len(template), len(points))
            own = template.points[:size]
            if self.steps == "moves" and 0 < size < len(points):
                points[size:] += own[-1] - points[size - 1]
            points[:size], lifted[:size] = own, template.lifted[:size]
        return files.placed(points, lifted)

    def canvas(
        self, template: Any, length: int | None = None, gap: int | None = None, blank: str | None = None
    ) -> Canvas:
        """A drawing that goes on for `length` points; there are no gaps in a drawing."""
        if gap is not None or blank is not None:
            raise ConfigError("a drawing has no gaps", path="gap" if gap is not None else "blank")
        if template is not None and length is None:
            raise DataError("a drawing has no gap to fill", hint="extend goes on with a drawing")
        if length is None or length < 1:
            raise ConfigError("at least one new point must be asked for", path="length")
        drawing = Drawing() if template is None else Drawing.of(template)
        encoded = self.encode(drawing)
        x = np.pad(encoded.x, ((0, length), (0, 0)))
        shown = np.pad(encoded.known, ((0, length), (0, 0)))
        absent = np.zeros_like(shown)
        absent[:1, :2] = True
        return Canvas(x, shown, absent, {**encoded.origin, "template": drawing} if len(drawing) else {})

    def count(self, value: Any) -> float:
        return float(len(value))

    def extra_nats(self, value: Any) -> float:
        return 2 * max(0, len(value) - 1) * math.log(self.scale)

    def read(self, path: Path) -> Iterator[Drawing]:
        return files.read_drawings(path)

    def tried(self, path: Path) -> Iterator[Drawing | DataError]:
        return files.tried_drawings(path)

    def parts(self, path: Path) -> Mapping[str, Sequence[Drawing]]:
        """The drawings of a file by split: keys of an `.npz`; one list where a file of JSON holds several."""
        good, bad = self.good_parts(path)
        if bad:
            raise bad[0]
        return good

    def good_parts(self, path: Path) -> tuple[Mapping[str, Sequence[Drawing]], Sequence[DataError]]:
        about = path.stat()
        return _parts(path, about.st_mtime_ns, about.st_size)

    def choosing(self, columns: Sequence[str], without: Sequence[str]) -> Self:
        """What stands beside a drawing in its record is in none of its numbers."""
        return super().choosing(columns, ())

    def column(self, content: Any, name: str) -> Sequence[str]:
        fields = self.whole(content).fields if isinstance(content, Path) else content.fields
        if name not in fields:
            known = nearest(name, fields) if fields else "a drawing is a JSON object that has such fields, too"
            raise DataError(f"there is no field {name!r} beside a drawing", hint=known)
        return (str(fields[name]),)

    def field_codec(self, content: Path, name: str) -> Codec | None:
        """Numbers are read as such, but for a few whole ones that come again: those are names of classes."""
        tried = islice(files.tried_drawings(content), LOOKED_AT)
        found = [drawing.fields.get(name) for drawing in tried if isinstance(drawing, Drawing)]
        if not found or not all(isinstance(one, int | float) and not isinstance(one, bool) for one in found):
            return None
        classes = len(set(found)) <= CLASSES and all(float(one).is_integer() for one in found)  # type: ignore[arg-type]
        return None if classes and len(set(found)) < len(found) else Number()

    def words_of(self, value: Any, name: str) -> Sequence[str]:
        return (str(value.fields[name]),) if name in value.fields else ()

    def probe(self, path: Path) -> bool:
        """Whether the first thing in the file is a drawing."""
        try:
            return next(iter(self.read(path)), None) is not None
        except DataError:
            return path.suffix in {".svg", ".npz"}

    def join(self, pieces: Sequence[Any]) -> Drawing:
        if len(pieces) == 1:
            return Drawing.of(pieces[0])
        if any(not piece.unfinished for piece in pieces[:-1]):
            raise DataError(
                f"the file holds {len(pieces)} drawings, where one is wanted", hint="give one of them as a file"
            )
        return files.placed(np.concatenate([p.points for p in pieces]), np.concatenate([p.lifted for p in pieces]))

    def cut(self, value: Any, begin: int, end: int) -> Drawing:
        return Drawing.of(value).part(begin, end)

    def write(self, value: Any, path: Path) -> None:
        files.write(Drawing.of(value), path)

    def typed(self, text: str) -> Drawing:
        """An SVG, or JSON."""
        if text.lstrip().startswith("<"):
            return files.of_svg(text)
        return self.join(list(files.of_json(text)))

    def show(self, value: Any) -> bytes:
        return files.svg(Drawing.of(value)).encode()

    def holds(self, name: str, count: int) -> bool:
        return name.endswith(self.suffixes if count == 1 else files.LINES)

    def as_file(self, shown: bytes, name: str) -> bytes:
        return files.as_file([files.of_svg(one) for one in files.svgs_of(shown.decode())], name)

    def as_json(self, value: Any) -> dict[str, Any]:
        return {"strokes": files.rounded(Drawing.of(value))}

    def picture(self, values: Sequence[Any], title: str = "", beside: Sequence[Any] = ()) -> bytes | None:
        return files.picture([Drawing.of(value) for value in values], title)

    def raw(self, content: Any, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
        for drawing in self.pieces(content, begin, end):
            yield np.ascontiguousarray(drawing.moves, "<f8").tobytes()

    def element_names(self, value: Any) -> list[str]:
        drawing = Drawing.of(value)
        return [f"{s}.{i}" for s, stroke in enumerate(drawing.strokes, 1) for i in range(1, len(stroke) + 1)]

    def facts(self, splits: Mapping[str, Iterable[Any]]) -> dict[str, Any]:
        sizes = [(len(value), len(value.strokes)) for values in splits.values() for value in values]
        points, strokes = zip(*sizes, strict=True) if sizes else ((0,), (0,))
        return {
            "kind": "drawings",
            "points": f"{min(points)} to {max(points)}, {int(np.median(points))} in the middle",
            "strokes": f"{min(strokes)} to {max(strokes)}, {int(np.median(strokes))} in the middle",
        }

    def examples(self) -> list[Drawing]:
        turns = np.linspace(0, 2 * np.pi, 24)
        circle = np.column_stack([np.cos(turns), np.sin(turns)]) * 40 + 50
        return [
            Drawing((circle, np.array([[30.0, 40.0], [32.0, 41.0]]), np.array([[60.0, 40.0]]))),
            Drawing.of([[[0, 0], [3, 4], [3.5, 10]]]),
            Drawing.of([[[5, 5]]]),
        ]

    def _steps(self, drawing: Drawing) -> NDArray[np.float64]:
        """What the elements hold of length (n,2), in the data's own units; of no account for the first."""
        points = drawing.points
        if not len(points):
            return points
        return points - points[0] if self.steps == "points" else np.diff(points, axis=0, prepend=points[:1])


@functools.lru_cache(maxsize=4)
def _parts(path: Path, changed: int, size: int) -> tuple[Mapping[str, Sequence[Drawing]], Sequence[DataError]]:
    """The drawings of a file by split and what is wrong with others, read once as long as it stays the same."""
    if path.suffix == ".npz":
        return {key: tuple(drawings) for key, drawings in files.by_split(path).items()}, ()
    each = () if path.suffix == ".svg" else tuple(files.tried_drawings(path))
    drawings = tuple(one for one in each if isinstance(one, Drawing))
    return {"": drawings} if len(each) > 1 else {}, tuple(one for one in each if isinstance(one, DataError))
