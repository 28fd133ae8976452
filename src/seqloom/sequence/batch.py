"""Sequences as numbers: one thing (`Encoded`), what stands beside it (`Condition`), and rows for training (`Batch`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor


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

    A cell that is neither is to be made. Shapes as in `Encoded`; values outside `shown` are of no account.
    """

    x: NDArray[Any]
    shown: NDArray[np.bool_]
    absent: NDArray[np.bool_]
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True)
class Condition:
    """What is given beside each row: elements x (B,S) or (B,S,D) and which of them exist (B,S).

    A row in which none exists has the null condition, which guidance and dropped conditions use. An aligned condition
    has one element for each position of its row (S == T), element t beside position t.
    """

    x: Int[Tensor, "b s"] | Float[Tensor, "b s d"]
    present: Bool[Tensor, "b s"]


@dataclass(frozen=True)
class Past:
    """The L elements of the same sequence before the first position of each row; not known where there is none."""

    x: Int[Tensor, "b l"] | Float[Tensor, "b l d"]
    known: Bool[Tensor, "b l"] | Bool[Tensor, "b l d"]


@dataclass(frozen=True)
class Batch:
    """Rows of sequences for a loss or a likelihood.

    A cell ((B,T) for tokens, (B,T,D) for vectors) is absent (`known` False: enters every network as 0 and no loss),
    shown (given clean) or to be made (known, not shown: enters as the process says, and is the loss).
    `begins` marks positions that begin a sequence; where a row goes on from an earlier chunk none is marked at 0.
    """

    x: Int[Tensor, "b t"] | Float[Tensor, "b t d"]
    present: Bool[Tensor, "b t"]
    known: Bool[Tensor, "b t"] | Bool[Tensor, "b t d"]
    shown: Bool[Tensor, "b t"] | Bool[Tensor, "b t d"]
    begins: Bool[Tensor, "b t"]
    given: Mapping[str, Condition] = field(default_factory=dict)
    past: Past | None = None

    @property
    def wanted(self) -> Tensor:
        """The cells that are the loss."""
        return self.known & ~self.shown
