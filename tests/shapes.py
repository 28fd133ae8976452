"""Holds functions to the shapes and types that they promise, by beartype; jaxtyping's import hook puts it on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beartype import beartype
from beartype.door import is_bearable
from beartype.roar import BeartypeException


def held(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, checked at every call, as far as its annotations can be."""
    hints = function.__annotations__
    function.__annotations__ = {name: hint if is_checkable(hint) else object for name, hint in hints.items()}
    checked: Callable[..., Any] = beartype(function)
    return checked


def is_checkable(hint: Any) -> bool:
    """Whether beartype can say that a value is not of this type: not for `Self`, nor for most protocols."""
    try:
        is_bearable(None, hint)
    except BeartypeException:
        return False
    return True
