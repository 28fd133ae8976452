"""What attention keeps of the elements it has read: all their keys and values, or those of the last ones."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from seqloom.kernels.stack import Memory
from seqloom.sequence.state import LayerState, Lengths

NOWHERE = -1
"""In place of where a sequence began: there is no element."""


class KeysValues(LayerState):
    """Keys and values (B,H,room,E) of each row; what lies beyond `length` is never attended to.

    `places` (B,room) is where each element stands; (B,0) where that is of no account.
    """

    def __init__(self, keys: Tensor, values: Tensor, places: Tensor, length: Lengths) -> None:
        self.keys, self.values, self.places, self.length = keys, values, places, length

    def put(self, slots: Lengths, other: KeysValues, rows: Lengths, since: int = 0) -> None:
        read = slice(since, int(other.length[rows].max(initial=0)))  # copy what was read, and no more
        self.keys[slots, :, read] = other.keys[rows, :, read]
        self.values[slots, :, read] = other.values[rows, :, read]
        self.places[slots, read] = other.places[rows, read]
        self.length[slots] = other.length[rows]

    def rollback(self, length: Lengths) -> None:
        self.length[: len(length)] = np.minimum(self.length[: len(length)], length)

    def memory(self, rows: int, steps: int) -> Memory | None:
        fits = int(self.length[:rows].max()) + steps <= self.keys.shape[2] and not self.places.shape[1]
        return Memory(self.values, self.keys, self.length) if fits and lies(self.keys, self.values) else None

    def write(self, k: Tensor, v: Tensor, place: Tensor, reads: Lengths) -> bool:
        """Write a chunk's keys and values to the slots after what was read; whether all rows read the same.

        Rows that read the same, and after them at most some that read nothing, are written as one block.
        """
        rows, steps = len(k), k.shape[2]
        if self.keys.requires_grad or k.requires_grad:
            self.keys, self.values = self.keys.clone(), self.values.clone()
        begin, live = self.length[:rows].copy(), int(np.count_nonzero(reads))
        self.length[:rows] += reads
        if live > 0 and bool((reads[:live] == steps).all() and (begin[:live] == begin[0]).all()):
            here = slice(int(begin[0]), int(begin[0]) + steps)
            self.keys[:live, :, here], self.values[:live, :, here] = k[:live], v[:live]
            if self.places.shape[1]:
                self.places[:live, here] = place[:live]
            return True
        row, step = np.nonzero(np.arange(steps) < reads[:, None])
        self.keys[row, :, begin[row] + step] = k[row, :, step].to(self.keys.dtype)
        self.values[row, :, begin[row] + step] = v[row, :, step].to(self.values.dtype)
        if self.places.shape[1]:
            self.places[row, begin[row] + step] = place.expand(rows, -1)[row, step]
        return False


class Recent(LayerState):
    """Keys and values (B,H,ring,E) of the last elements of each row: that of element p lies at p mod ring.

    `window` of them are attended to, the element itself among them; a longer ring can be gone back in as far as
    `floor` (B,). `starts` (B,ring) says at which element the sequence of each began.
    """

    def __init__(
        self, keys: Tensor, values: Tensor, window: int, starts: Lengths, length: Lengths, floor: Lengths
    ) -> None:
        self.keys, self.values, self.window = keys, values, window
        self.starts, self.length, self.floor = starts, length, floor

    @property
    def ring(self) -> int:
        return self.keys.shape[2]

    def now(self, rows: int) -> Lengths:
        """At which element the sequence began that each row is in; 0 where nothing was read."""
        last = self.starts[np.arange(rows), (self.length[:rows] - 1) % self.ring]
        return np.where(self.length[:rows] == 0, 0, last)

    def before(self, rows: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values (rows,H,window-1,E) of the elements just before, and where the sequences of these began."""
        read = self.length[:rows, None] + np.arange(1 - self.window, 0)
        owner = np.where(read < 0, NOWHERE, np.take_along_axis(self.starts[:rows], read % self.ring, 1))
        row, index = np.arange(rows)[:, None], read % self.ring
        keys, values = (part[row, :, index].transpose(1, 2) for part in (self.keys, self.values))
        return keys, values, torch.as_tensor(owner, device=device)

    def after(self, k: Tensor, v: Tensor, reads: Lengths, starts: Lengths) -> Recent:
        """The state when rows have read so many of a chunk's elements, whose sequences began at `starts` (rows,T).

        It is written in place, unless a gradient flows through it.
        """
        rows, steps = len(k), k.shape[2]
        state = self
        if self.keys.requires_grad or k.requires_grad:
            own = self.starts.copy(), self.length.copy(), self.floor.copy()
            state = Recent(self.keys.clone(), self.values.clone(), self.window, *own)
        index = np.arange(steps)
        row, step = np.nonzero((index < reads[:, None]) & (index >= reads[:, None] - self.ring))
        slot = (state.length[row] + step) % self.ring
        if steps == 1 and len(row) == rows and bool((slot == slot[0]).all()):
            at = int(slot[0])
            state.keys[:rows, :, at], state.values[:rows, :, at] = k[:, :, 0], v[:, :, 0]
        else:
            state.keys[row, :, slot] = k[row, :, step].to(state.keys.dtype)
            state.values[row, :, slot] = v[row, :, step].to(state.values.dtype)
        state.starts[row, slot] = starts[row, step]
        state._count(rows, reads)
        return state

    def memory(self, rows: int, steps: int) -> Memory | None:
        if not lies(self.keys, self.values):
            return None
        return Memory(self.values, self.keys, self.length, self.now(rows), self.window)

    def read_on(self, rows: int, steps: int) -> None:
        slot = (self.length[:rows, None] + np.arange(max(0, steps - self.ring), steps)) % self.ring
        self.starts[np.arange(rows)[:, None], slot] = self.now(rows)[:, None]
        self._count(rows, steps)

    def _count(self, rows: int, reads: Lengths | int) -> None:
        """These rows have read so many more elements."""
        self.length[:rows] += reads
        kept = np.where(self.length > self.ring, self.length - self.ring + self.window - 1, 0)
        self.floor[:rows] = np.maximum(self.floor, kept)[:rows]

    def ages(self, rows: int) -> Lengths:
        """How many elements before the last one each slot (rows,ring) was written."""
        return np.asarray((self.length[:rows, None] - 1 - np.arange(self.ring)) % self.ring)

    def put(self, slots: Lengths, other: Recent, rows: Lengths, since: int = 0) -> None:
        self.length[slots] = other.length[rows]
        if self.ring == other.ring:
            own, theirs = np.arange(self.ring)[None], np.arange(self.ring)[None]
            self.floor[slots] = other.floor[rows]
        else:  # what is still attended to
            read = np.maximum(other.length[rows, None] + np.arange(1 - self.window, 0), 0)
            own, theirs = read % self.ring, read % other.ring
            self.floor[slots] = other.length[rows]
        to, of = slots[:, None], rows[:, None]
        self.keys[to, :, own], self.values[to, :, own] = other.keys[of, :, theirs], other.values[of, :, theirs]
        self.starts[to, own] = other.starts[of, theirs]

    def rollback(self, length: Lengths) -> None:
        rows = np.nonzero(length < self.length[: len(length)])[0]
        if ((length[rows] > 0) & (length[rows] < self.floor[rows])).any():
            raise ValueError("attention in a window cannot be rolled back so far; begin it with a larger undo")
        self.length[rows] = length[rows]
        self.floor[rows[length[rows] == 0]] = 0


def lies(*kept: Tensor) -> bool:
    """Whether a compiled program can read and write what is kept."""
    return all(one.dtype == torch.float32 and one.is_contiguous() and not one.requires_grad for one in kept)
