"""What is asked of an engine, and what it reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seqloom.core.rng import Rng
from seqloom.samplers.base import Sampler
from seqloom.sequence.batch import Condition
from seqloom.sequence.constraint import Constraint
from seqloom.sequence.stop import Stop


@dataclass(frozen=True)
class Request:
    """Rows that ask the same of one model: canvases (n,T[,D]) of one length, each with a key of its own.

    `shown` and `absent` are masks over cells; `given` holds one condition for all rows, or one for each. A row ends
    with the first of the `stops` that comes up in what is made of it. `begin` is where the canvas begins in
    the whole sequence, and `followed` says that elements are known after it: no row ends before what is known. Of a
    request that is not `watched` one row at a time is reported on the way, and each when it is done.
    """

    x: Tensor
    shown: Tensor
    absent: Tensor
    sampler: Sampler
    key: Rng
    given: Mapping[str, Condition] = field(default_factory=dict)
    stops: Sequence[Stop] = ()
    constraint: Constraint | None = None
    begin: int = 0
    followed: bool = False
    watched: bool = True
    bias: Tensor | None = None
    """Added to the logits (V,) of every symbol, where the space is one of symbols."""

    @cached_property
    def open_until(self) -> NDArray[np.int64]:
        """The position (n,) of the last element that is known: before it there is no end."""
        shown = self.shown if self.shown.ndim == 2 else self.shown.any(-1)
        position = np.arange(1, shown.shape[1] + 1)
        last = (shown.cpu().numpy() * position).max(1) - 1
        return np.full_like(last, shown.shape[1]) if self.followed else last


@dataclass
class RowUpdate:
    """What changed in one row of a request: its canvas as it stands, what of it is settled, and whether it is done.

    `score` ranks the row for a sampler that chooses between rows, as a beam does. An `error` ends the whole request.
    """

    request: int
    row: int
    x: Tensor
    settled: NDArray[np.bool_]
    length: int
    done: bool
    score: float | None = None
    error: Exception | None = None
