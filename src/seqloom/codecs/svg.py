"""The outlines of an SVG as strokes: paths, lines and polygons, curves made of corners."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from seqloom.core.errors import DataError

Points = NDArray[np.float64]

FLATNESS = 1 / 250
"""How far the corners that stand for a curve may lie from it, as a share of the drawing's size."""
_COMMANDS = re.compile(r"([MmLlHhVvCcSsQqTtZzAa])([^MmLlHhVvCcSsQqTtZzAa]*)")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_BETWEEN = re.compile(r"[\s,]*")
_TRANSFORM = re.compile(r"\s*,?\s*(matrix|translate|scale|rotate)\s*\(([^)]*)\)")
_ARITY = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2, "Z": 0}
_PLACES = {"defs", "clipPath", "mask", "symbol", "marker", "pattern", "metadata", "title", "desc", "style", "text"}
"""Elements whose contents are not drawn where they stand."""

Curve = Points
"""Control points (k,2) of a line (2), a quadratic (3) or a cubic curve (4)."""


def strokes_in(text: str, path: Path | str) -> list[Points]:
    """The corners (n,2) of an SVG's paths, lines and polygons in their order; DataError where it cannot be read."""
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
    return [_flattened(outline, tolerance) for outline in outlines]


def _outlines(element: ElementTree.Element, outer: Points) -> Iterator[list[Curve]]:
    """The outlines of an element and those in it, as curves in the coordinates of the whole."""
    name = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
    if name in _PLACES:
        return
    inner = outer @ _transform(element.get("transform", ""))
    outlines: list[list[Curve]] = []
    if name == "path":
        outlines = _outlines_of(element.get("d", ""))
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


def _outlines_of(d: str) -> list[list[Curve]]:
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
