"""What a sampler asks of a process, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seqloom.core.rng import Rng


class Gives(Enum):
    """The kinds of guess; a sampler can be used with every process that gives what it takes."""

    NEXT_LOGITS = "logits of the next element"
    NEXT_PARAMS = "the distribution of the next element, which draws itself"
    PLACE_LOGITS = "logits of any hidden element"
    CLEAN = "the clean data behind noise"


class Draws(Protocol):
    """A distribution over elements given by the numbers of a head."""

    def draw(self, params: Tensor, rng: Rng, temperature: Tensor) -> Tensor:
        """Elements (B,D) from parameters (B,P), by keys of their own, at temperatures (B,)."""
        ...

    def mean(self, params: Tensor) -> Tensor:
        """The means (...,D), where the head has one."""
        ...

    def quantile(self, params: Tensor, q: float) -> Tensor:
        """The q-quantiles (...,D), where the head has them."""
        ...


@runtime_checkable
class Elements(Protocol):
    """What clean numbers stand for: yes or no by their sign, positive numbers by their logarithms."""

    def values(self, x: Tensor) -> Tensor:
        """Elements (...,D) of the space from numbers that may lie between."""
        ...


@dataclass(frozen=True)
class Ask:
    """What the network is to see of each row, and where its guess is wanted. Nobody writes to it.

    `x` (B,T[,D]) is the canvas as the sampler wants it seen; `level` (B,1) the noise level, where there is one;
    `want` (B,K) the positions whose guess is used, ascending, -1 = none; `fixed` (B,) says that elements before it
    are as they were when last read. `network` (B,) says which of the engine's networks each row asks (None: the first).
    The engine adds the rest: which positions exist (`present`), which cells are `shown` or `absent` (None for tokens),
    the encoded conditions, and where the canvas begins in the whole sequence (`begin` (B,), None: at its beginning).
    """

    x: Tensor
    want: NDArray[np.int64]
    fixed: NDArray[np.int64]
    level: Tensor | None = None
    present: Tensor | None = None
    shown: Tensor | None = None
    absent: Tensor | None = None
    given: Any = None
    network: NDArray[np.int64] | None = None
    begin: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Guess:
    """The network's answer: logits or head parameters (B,K,*) at the wanted positions, or clean data (B,T,D).

    `head` is what draws from the parameters (`Draws`), or what clean data stand for (`Elements`). A row that is not
    `ready` was still reading (a long prompt) and is to be left alone. `parts` holds whatever else a process has to say
    of each row (B,...): an energy, a gradient, the outputs of further heads.
    """

    value: Tensor
    ready: NDArray[np.bool_]
    head: Any = None
    parts: Mapping[str, Tensor] = field(default_factory=dict)
