"""One thing as numbers (`Encoded`), and one with parts to be made (`Canvas`): what codecs give, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Encoded:
    """One thing as a codec gives it to the rest.

    A cell is a position of tokens (T,) or one number of a vector (T, D). `known` is False where the world has no
    value; `origin` is whatever the codec's `decode` needs to give the thing back in its own units. `shown` cells are
    context: read, and never scored (None: there are none).
    """

    x: NDArray[Any]
    known: NDArray[np.bool_]
    origin: Mapping[str, Any] = field(default_factory=dict)
    shown: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Canvas:
    """A sequence with parts to be made: cells that are `shown` are given; `absent` ones do not exist.

    A cell that is neither is to be made. Shapes as in `Encoded`; values outside `shown` are of no account. The first
    `context` elements are shown to the model and are no part of what was asked for.
    """

    x: NDArray[Any]
    shown: NDArray[np.bool_]
    absent: NDArray[np.bool_]
    origin: Mapping[str, Any] = field(default_factory=dict)
    context: int = 0

    def __len__(self) -> int:
        return len(self.x)
