"""What a sampler asks of a process, and the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqloom.core.rng import Rng

Cost = Callable[[Tensor, slice], Tensor]
"""What the outputs (N,P) of some positions, of all rows one after another, cost (N,), and which these positions are."""


class Gives(Enum):
    """The kinds of guess; a sampler can be used with every process that gives what it takes."""

    NEXT_LOGITS = "logits of the next element"
    NEXT_PARAMS = "the distribution of the next element, which draws itself"
    PLACE_LOGITS = "logits of any hidden element"
    NOISY_LOGITS = "logits of every element behind noise"
    EMBEDDED_LOGITS = "logits of every element behind noise of its embedding"
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

    def values(self, x: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        """Elements (B,T,D) of the space from numbers that may lie between, with what the guess says of each row."""
        ...

    def numbers(self, x: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        """The numbers (B,T,D) that elements are, where they are known."""
        ...


@runtime_checkable
class Embeds(Protocol):
    """How symbols are diffused as numbers."""

    def clean(self, logits: Tensor) -> Tensor:
        """The clean numbers (B,T,D) that are guessed where symbols have these logits (B,T,V)."""
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
    noisy: Tensor | None = None
    """What is seen (B,T,D) of symbols that are diffused as numbers, scaled as `x` is where elements are numbers."""
    compared: bool = False
    """Whether what the network makes of the last element that it reads is compared with what it made of those before
    (`Guess.parts["similarity"]` (B,), the greatest cosine; 0 where there is none before)."""
    kept: Tensor | None = None
    """What the process keeps of each row (B,T,D) from call to call, 0 at first, which None stands for too
    (`Process.keeps`). It is the one thing here that is written to, by the process alone."""
    read: Any = None
    """What the process has computed of the known cells (`read_known`), which is not selected with the rows."""

    def select(self, rows: NDArray[np.int64] | slice) -> Ask:
        """Some of the rows, in this order; one may come twice."""
        index = rows if isinstance(rows, slice) else torch.as_tensor(rows, device=self.x.device)

        def tensor(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[index]

        return Ask(
            self.x[index],
            self.want[rows],
            self.fixed[rows],
            tensor(self.level),
            tensor(self.present),
            tensor(self.shown),
            tensor(self.absent),
            None if self.given is None else self.given.select(rows),
            None if self.network is None else self.network[rows],
            None if self.begin is None else self.begin[rows],
            tensor(self.noisy),
            self.compared,
            tensor(self.kept),
        )

    @staticmethod
    def join(asks: Sequence[Ask]) -> Ask:
        """Several asks as one, without conditions and what is kept.

        Canvases are padded to the longest, wanted positions to the most.
        """
        if len(asks) == 1:
            return asks[0]
        width = max(ask.x.shape[1] for ask in asks)
        most = max(ask.want.shape[1] for ask in asks)

        def wide(value: Tensor) -> Tensor:
            pad = (0, 0) * (value.ndim - 2) + (0, width - value.shape[1])
            return torch.nn.functional.pad(value, pad)

        def tensors(name: str) -> Tensor | None:
            parts = [getattr(ask, name) for ask in asks]
            return None if parts[0] is None else torch.cat([wide(value) for value in parts])

        def numbers(name: str) -> NDArray[np.int64] | None:
            parts = [getattr(ask, name) for ask in asks]
            if all(value is None for value in parts):
                return None
            rows = [len(ask.want) for ask in asks]
            return np.concatenate([np.zeros(n, np.int64) if v is None else v for n, v in zip(rows, parts, strict=True)])

        levels = [ask.level for ask in asks if ask.level is not None]
        if levels and max(level.shape[1] for level in levels) > 1:  # a level for each position
            levels = [wide(level.expand(-1, ask.x.shape[1])) for level, ask in zip(levels, asks, strict=True)]
        present = [
            ask.x.new_ones(ask.x.shape[:2], dtype=torch.bool) if ask.present is None else ask.present for ask in asks
        ]
        want = [np.pad(a.want, ((0, 0), (0, most - a.want.shape[1])), constant_values=-1) for a in asks]
        return Ask(
            x=torch.cat([wide(ask.x) for ask in asks]),
            want=np.concatenate(want),
            fixed=np.concatenate([ask.fixed for ask in asks]),
            level=torch.cat(levels) if levels else None,
            present=torch.cat([wide(part) for part in present]),
            shown=tensors("shown"),
            absent=tensors("absent"),
            network=numbers("network"),
            begin=numbers("begin"),
            noisy=tensors("noisy"),
            compared=any(ask.compared for ask in asks),
        )


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

    def clean(self) -> Tensor:
        """The clean numbers (B,T,D) that a diffusion goes to."""
        return self.head.clean(self.value) if isinstance(self.head, Embeds) else self.value

    def elements(self, x: Tensor) -> Tensor:
        """What clean numbers (B,T,D) like those of the guess stand for."""
        return self.head.values(x, self.parts) if _are_elements(self.head.__class__) else x

    def numbers(self, x: Tensor) -> Tensor:
        """Elements (B,T,D) as numbers like those of the guess."""
        return self.head.numbers(x, self.parts) if _are_elements(self.head.__class__) else x

    def detached(self) -> Guess:
        """The same, through which no gradient flows."""
        return replace(self, value=self.value.detach()) if self.value.requires_grad else self

    def select(self, rows: NDArray[np.int64] | slice, width: int | None = None) -> Guess:
        """The guesses of some of the rows, of their first `width` positions."""
        parts = {name: part[rows] for name, part in self.parts.items()}
        return Guess(self.value[rows][:, :width], self.ready[rows], self.head, parts)


@cache
def _are_elements(head: type) -> bool:
    """Whether heads of this class say what clean numbers stand for; asked at every step, and slow to find out."""
    return issubclass(head, Elements)
