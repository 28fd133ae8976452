"""What is carried from one call to the next: a layer's, a network's or a process's own."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Lengths = NDArray[np.int64]


class State:
    """What a stream of rows goes on from. It can be saved by name, loaded again, and detached from its gradient.

    Every tensor, array and further state among its attributes is saved, and begins with the rows, unless a state says
    otherwise.
    """

    def tensors(self) -> dict[str, Tensor]:
        """All that it holds, by name."""
        kept = {}
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                kept[name] = torch.from_numpy(value.copy())
            elif isinstance(value, Tensor):
                kept[name] = value.contiguous()
            elif isinstance(value, State):
                kept |= {f"{name}.{inner}": tensor for inner, tensor in value.tensors().items()}
        return kept

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what `tensors` gave, of a state that was begun in the same way."""
        for name, old in vars(self).items():
            if isinstance(old, State):
                old.load(under(name, tensors))
            elif isinstance(old, np.ndarray):
                setattr(self, name, tensors[name].numpy().copy())
            elif isinstance(old, Tensor):
                setattr(self, name, tensors[name].to(old))

    def select(self, rows: Lengths) -> Self:
        """A state of its own for these rows: reordered, dropped or repeated."""
        return self._with(lambda value: value.select(rows) if isinstance(value, State) else value[rows])

    def detach(self) -> Self:
        """The same state, through which no gradient flows."""
        return self._with(lambda value: value if isinstance(value, np.ndarray) else value.detach())

    def _with(self, change: Callable[[Any], Any]) -> Self:
        """A copy whose tensors, arrays and further states are changed."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor | np.ndarray | State):
                setattr(other, name, change(value))
        return other


class LayerState(State, ABC):
    """What one mixer keeps of each row, in preallocated slots; `length` (B,) counts the elements read."""

    length: Lengths

    @abstractmethod
    def put(self, slots: Lengths, other: Self, rows: Lengths, since: int = 0) -> None:
        """Write `rows` of another state, or of this one, into these slots; both agree on the first `since` elements."""

    @abstractmethod
    def rollback(self, length: Lengths) -> None:
        """Forget what the first len(length) rows read after `length`; nothing happens where that is not less."""

    def memory(self, rows: int, steps: int) -> Any:
        """What a compiled program of layers writes to where these rows read so many elements (`kernels.stack.Memory`).

        None where there is no such program, or it cannot go on from this state.
        """
        return None

    def read_on(self, rows: int, steps: int) -> None:
        """These rows have read so many elements, of which all was written to `memory`."""
        self.length[:rows] += steps


class NetState(State):
    """The state of a whole network: one of each layer, and where each row's reading began.

    `origin` (B,) is the position of the canvas at which a row's reading starts (a sliding window moves it). Where the
    channels of an element are sequences of their own, layers have `each` rows for one of these.
    """

    def __init__(self, layers: Sequence[LayerState], origin: Lengths | None = None, each: int = 1) -> None:
        self.layers, self.each = list(layers), each
        self.origin = np.zeros(len(self.length), np.int64) if origin is None else origin

    @property
    def length(self) -> Lengths:
        """Elements read since `origin`, for each row."""
        return self.layers[0].length[:: self.each]

    def tensors(self) -> dict[str, Tensor]:
        kept = {"origin": torch.from_numpy(self.origin.copy())}
        for i, layer in enumerate(self.layers):
            kept |= {f"layers.{i}.{name}": value for name, value in layer.tensors().items()}
        return kept

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.origin = tensors["origin"].numpy().copy()
        for i, layer in enumerate(self.layers):
            layer.load(under(f"layers.{i}", tensors))

    def select(self, rows: Lengths) -> NetState:
        return NetState([layer.select(self._of(rows)) for layer in self.layers], self.origin[rows], self.each)

    def put(self, slots: Lengths, other: NetState, rows: Lengths, since: int = 0) -> None:
        """Write `rows` of another state, or of this one, into these slots; both agree on the first `since` elements."""
        for own_layer, other_layer in zip(self.layers, other.layers, strict=True):
            own_layer.put(self._of(slots), other_layer, self._of(rows), since)
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
                layer.rollback(np.repeat(length, self.each))

    def detach(self) -> NetState:
        return NetState([layer.detach() for layer in self.layers], self.origin, self.each)

    def _of(self, rows: Lengths) -> Lengths:
        """The rows that the layers have for these."""
        return rows if self.each == 1 else (rows[:, None] * self.each + np.arange(self.each)).reshape(-1)


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix.`, by the rest of their names."""
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}
