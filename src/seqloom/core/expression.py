"""Conditions on sample paths as people write them, such as `max(load) > 100 and price < 20`: read, never executed."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqloom.core.errors import ConfigError

LONGEST = 500
"""Characters of a condition."""

Cells = NDArray[Any]
"""One value a path and row (N,H), or one a path (N,1)."""

_COMPARED: Mapping[type, Callable[[Cells, Cells], Cells]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
_COMPUTED: Mapping[type, Callable[[Cells, Cells], Cells]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: np.divide,
}  # fmt: skip
_OVER_ROWS: Mapping[str, Callable[[Cells], Cells]] = {
    "max": lambda cells: cells.max(1, keepdims=True),
    "min": lambda cells: cells.min(1, keepdims=True),
    "mean": lambda cells: cells.mean(1, keepdims=True),
    "sum": lambda cells: cells.sum(1, keepdims=True),
    "first": lambda cells: cells[:, :1],
    "last": lambda cells: cells[:, -1:],
}
_TRUE_OF_ROWS: Mapping[str, Callable[[Cells], Cells]] = {
    "any": lambda cells: np.asarray(cells.any(1, keepdims=True)),
    "all": lambda cells: np.asarray(cells.all(1, keepdims=True)),
}


def meeting(text: str, columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Which paths (N,) meet a condition on columns (N,H): in one row at least, unless it says `all(...)`.

    Columns are named as they are, or in quotes where a name is more than one word. There are comparisons, `and`, `or`,
    `not`, `+ - * /`, and over the rows of a path `max min mean sum first last any all`.

    Errors:
        ConfigError for anything else, and for a name that is no column.
    """
    found = _truth(text, columns)
    return np.asarray(np.broadcast_to(found, (len(next(iter(columns.values()))), found.shape[1])).any(1))


def of_rows(text: str, names: Iterable[str]) -> bool:
    """Whether a condition is one of each row of a path, and not of the whole of it, as `sum(load) > 9` is."""
    return bool(_truth(text, {name: np.zeros((1, 2)) for name in names}).shape[1] > 1)


def _truth(text: str, columns: Mapping[str, NDArray[np.float64]]) -> Cells:
    """For which paths, or rows of paths, it holds."""
    try:
        if len(text) > LONGEST:
            raise ConfigError(f"a condition of {len(text)} characters is too long", path="--where")
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(
            f"{text!r} is no condition: {getattr(error, 'msg', error)}", path="--where", hint=_example(columns)
        ) from None
    with np.errstate(all="ignore"):
        found = _value(tree, text, columns)
    if found.dtype != np.bool_:
        raise ConfigError(f"{text!r} is a number, and neither true nor false", path="--where", hint=_example(columns))
    return found


def _value(node: ast.expr, text: str, columns: Mapping[str, NDArray[np.float64]]) -> Cells:
    """What a part of a condition is: numbers, or true and false."""

    def of(part: ast.expr, kind: str) -> Cells:
        found = _value(part, text, columns)
        if (found.dtype == np.bool_) != (kind == "truth"):
            wanted = "a comparison" if kind == "truth" else "a number"
            raise ConfigError(
                f"{wanted} is wanted in place of {_source(part, text)!r}", path="--where", hint=_example(columns)
            )
        return found

    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return np.full((1, 1), float(node.value))
    name = node.id if isinstance(node, ast.Name) else node.value if isinstance(node, ast.Constant) else None
    if isinstance(name, str):
        if name not in columns:
            raise ConfigError(f"there is no column {name!r}", path="--where", hint=f"columns: {', '.join(columns)}")
        return columns[name]
    if isinstance(node, ast.BoolOp):
        both = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        found = of(node.values[0], "truth")
        for part in node.values[1:]:
            found = both(found, of(part, "truth"))
        return np.asarray(found)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return np.logical_not(of(node.operand, "truth"))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        number = of(node.operand, "number")
        return -number if isinstance(node.op, ast.USub) else number
    if isinstance(node, ast.BinOp) and type(node.op) in _COMPUTED:
        return _COMPUTED[type(node.op)](of(node.left, "number"), of(node.right, "number"))
    if isinstance(node, ast.Compare) and all(type(sign) in _COMPARED for sign in node.ops):
        parts = [of(part, "number") for part in (node.left, *node.comparators)]
        found = np.ones((1, 1), bool)
        for sign, left, right in zip(node.ops, parts[:-1], parts[1:], strict=True):
            found = found & _COMPARED[type(sign)](left, right)
        return np.asarray(found)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1 and not node.keywords:
        if node.func.id in _OVER_ROWS:
            return _OVER_ROWS[node.func.id](of(node.args[0], "number"))
        if node.func.id in _TRUE_OF_ROWS:
            return _TRUE_OF_ROWS[node.func.id](of(node.args[0], "truth"))
        if node.func.id == "abs":
            return np.abs(of(node.args[0], "number"))
    raise ConfigError(f"{_source(node, text)!r} is not understood", path="--where", hint=_example(columns))


def _source(node: ast.expr, text: str) -> str:
    return ast.get_source_segment(text.strip(), node) or text


def _example(columns: Mapping[str, Any]) -> str:
    name = next(iter(columns), "load")
    name = name if name.isidentifier() else f'"{name}"'
    return f"such as '{name} > 100', 'all({name} > 100)' or 'max({name}) - min({name}) > 5 and last({name}) < 0'"
