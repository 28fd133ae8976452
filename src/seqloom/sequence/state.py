"""What a network remembers of each row between two calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Lengths = NDArray[np.int64]


class LayerState(ABC):
    """What one mixer remembers of each row, in preallocated slots; `length` (B,) counts the elements read."""

    length: Lengths

    @abstractmethod
    def select(self, rows: Lengths) -> Self:
        """A state of its own for these rows: reordered, dropped or repeated."""

    @abstractmethod
    def put(self, slots: Lengths, other: Self, rows: Lengths, since: int = 0) -> None:
        """Write `rows` of another state, or of this one, into these slots; both agree on the first `since` elements."""

    @abstractmethod
    def rollback(self, length: Lengths) -> None:
        """Forget what the first len(length) rows read after `length`; nothing happens where that is not less."""

    @abstractmethod
    def detach(self) -> Self:
        """The same state, through which no gradient flows."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """All that is remembered, by name: what a checkpoint keeps."""

    @abstractmethod
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave, in a state of as many rows."""


class NetState:
    """The memory of a whole network: one state a layer, and where each row's reading began.

    `origin` (B,) is the position of the canvas at which a row's reading starts (a sliding window moves it).
    """

    def __init__(self, layers: list[LayerState], origin: Lengths | None = None) -> None:
        self.layers = layers
        self.origin = np.zeros(len(self.length), np.int64) if origin is None else origin

    @property
    def length(self) -> Lengths:
        """Elements read since `origin`, for each row."""
        return self.layers[0].length

    def select(self, rows: Lengths) -> NetState:
        """A state of its own for these rows."""
        return NetState([layer.select(rows) for layer in self.layers], self.origin[rows])

    def put(self, slots: Lengths, other: NetState, rows: Lengths, since: int = 0) -> None:
        """Write `rows` of another state, or of this one, into these slots; both agree on the first `since` elements."""
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            mine.put(slots, theirs, rows, since)
        self.origin[slots] = other.origin[rows]

    def clear(self, slots: Lengths) -> None:
        """Make these slots as if nothing had been read."""
        keep = self.length.copy()
        keep[slots] = 0
        self.rollback(keep)
        self.origin[slots] = 0

    def rollback(self, length: Lengths) -> None:
        """Forget what was read after `length` (of the first len(length) rows)."""
        if (length < self.length[: len(length)]).any():
            for layer in self.layers:
                layer.rollback(length)

    def detach(self) -> NetState:
        """The same state, through which no gradient flows (truncated backpropagation through time)."""
        return NetState([layer.detach() for layer in self.layers], self.origin)
