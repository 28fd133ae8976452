"""What attention keeps of the elements it has read: all their keys and values, or those of the last ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqloom.kernels.stack import LANES, Memory, Past
from seqloom.sequence.state import LayerState, Lengths, State

NOWHERE = -1
"""In place of where a sequence began: there is no element."""
LEAST = 32
"""Elements that there is room for at first."""
NEVER = 1 << 62
"""So many rows never take over what is one's."""


class Shared(State):
    """Keys, by columns (G,H,E,S), and values (G,H,S,E) that rows took over, each kept once for all that took them.

    S is a multiple of LANES. Of each row (B,) `owner` says whose it took, and `taken` how many of their elements it
    has. What no row has is written over, and there is room for more, so that rows may come one by one.
    """

    def __init__(self, columns: Tensor, values: Tensor, owner: Lengths, taken: Lengths) -> None:
        self.columns, self.values, self.owner, self.taken = columns, values, owner, taken
        self._together: dict[int, Together] = {}

    @classmethod
    def nothing(cls, rows: int, like: Tensor) -> Shared:
        """Of so many rows that took nothing yet, for keys like these (B,H,N,E)."""
        heads, each = like.shape[1], like.shape[3]
        columns, values = like.new_zeros(0, heads, each, 0), like.new_zeros(0, heads, 0, each)
        return cls(columns, values, np.zeros(rows, np.int64), np.zeros(rows, np.int64))

    def select(self, rows: Lengths) -> Shared:
        return Shared(self.columns.clone(), self.values.clone(), self.owner[rows], self.taken[rows])

    def given(self, slots: Lengths, owner: Lengths, taken: Lengths) -> Shared:
        """The same where these rows have other ones."""
        changed = Shared(self.columns, self.values, self.owner.copy(), self.taken.copy())
        changed.owner[slots], changed.taken[slots] = owner, taken
        return changed

    def with_more(self, keys: Tensor, values: Tensor) -> tuple[Shared, Lengths]:
        """The same with more keys and values (G,H,S,E), and the numbers (G,) of these."""
        before, here = len(self.columns), self.values.shape[2]
        free = np.setdiff1d(np.arange(before), self.owner[self.taken > 0])
        more, longer = len(keys) - len(free), keys.shape[2] - here
        more, longer = max(more, before) if more > 0 else 0, max(longer, here // 2) if longer > 0 else 0
        longer += -(here + longer) % LANES
        columns, kept = self.columns, self.values
        if more or longer:
            columns = F.pad(columns, (0, longer, 0, 0, 0, 0, 0, more))
            kept = F.pad(kept, (0, 0, 0, longer, 0, 0, 0, more))
        numbers = np.concatenate([free, np.arange(before, len(columns))])[: len(keys)]
        columns[numbers, :, :, : keys.shape[2]] = keys.mT
        kept[numbers, :, : keys.shape[2]] = values
        return Shared(columns, kept, self.owner, self.taken), numbers

    @property
    def past(self) -> Past:
        """As a compiled program reads it."""
        return Past(self.columns, self.values, self.owner, self.taken)

    def rollback(self, length: Lengths) -> Shared:
        """The same where these first rows have no more elements than that."""
        first = slice(len(length))
        if (length >= self.taken[first]).all():
            return self
        return self.given(np.arange(len(length)), self.owner[first], np.minimum(self.taken[first], length))

    def together(self, rows: int) -> Together:
        """How the first rows attend to it."""
        if rows not in self._together:
            self._together[rows] = Together.of(self, rows)
        return self._together[rows]


@dataclass(frozen=True)
class Together:
    """Which rows (G,N) stand side by side, since they attend to what the same `owner` (G,) left.

    They are filled up where an owner has fewer than N. `place` (B,) is where each row stands, `alone` (B,) marks those
    that have nothing in common with any, and `visible` (G,N,S) which of the first elements each may see (None: all).
    """

    owner: Tensor
    rows: Tensor
    place: Tensor
    alone: Tensor | None
    visible: Tensor | None

    @classmethod
    def of(cls, shared: Shared, rows: int) -> Together:
        taken, device = shared.taken[:rows], shared.values.device
        having = np.flatnonzero(taken > 0)
        having = having[np.argsort(shared.owner[having], kind="stable")]
        owner, first, count = np.unique(shared.owner[having], return_index=True, return_counts=True)
        index = np.arange(int(count.max(initial=0)))
        table = having[first[:, None] + np.minimum(index, count[:, None] - 1)]  # (G,N)
        place, there = np.zeros(rows, np.int64), index < count[:, None]
        place[table[there]] = np.flatnonzero(there)
        seen = np.arange(taken.max()) < taken[table][:, :, None]
        return cls(
            torch.as_tensor(owner, device=device),
            torch.as_tensor(table, device=device),
            torch.as_tensor(place, device=device),
            torch.as_tensor(taken == 0, device=device) if len(having) < rows else None,
            None if seen.all() else torch.as_tensor(seen, device=device),
        )


class KeysValues(LayerState):
    """Keys and values (B,H,N,E) of each row, what lies beyond its elements never being attended to.

    They lie in as much room as was needed so far, of at most `room` elements. `places` (B,N) is where each element
    stands; None where that is of no account. What rows take over from one of another state, `many` of them or more, is
    `shared`: their first elements are those, and here lie the ones after them. `length` counts both.
    """

    def __init__(
        self,
        keys: Tensor,
        values: Tensor,
        places: Tensor | None,
        length: Lengths,
        room: int,
        many: int = NEVER,
    ) -> None:
        self.keys, self.values, self.places, self.length = keys, values, places, length
        self.room, self.many = room, many
        self.shared: Shared | None = None

    def own(self, rows: int) -> Lengths:
        """How many elements of its own each row (rows,) has."""
        return self.length[:rows] - (0 if self.shared is None else self.shared.taken[:rows])

    def put(self, slots: Lengths, other: KeysValues, rows: Lengths, since: int = 0) -> None:
        distinct, copies = np.unique(rows, return_inverse=True)
        theirs = other.shared
        longest = int(other.length[distinct].max(initial=0))
        own = other is not self and theirs is None and len(rows) >= self.many * len(distinct)
        if own and self.places is None and longest:
            keys, values = (part[distinct, :, :longest] for part in (other.keys, other.values))
            self._take(slots, keys, values, copies, other.length[rows])
            self.length[slots] = other.length[rows]
            return
        if theirs is None and self.shared is not None:
            since = since if not self.shared.taken[slots].any() else 0
            self.shared = self.shared.given(slots, self.shared.owner[slots], np.zeros_like(slots))
        elif theirs is not None:
            taken = theirs.taken[rows]
            if other is self:
                alike = (theirs.owner[slots] == theirs.owner[rows]) & (theirs.taken[slots] == taken)
                since = max(0, since - int(taken.max(initial=0))) if alike.all() else 0
                self.shared = theirs.given(slots, theirs.owner[rows], taken)
            else:
                used, owner = np.unique(theirs.owner[rows], return_inverse=True)
                most = int(taken.max(initial=0))
                keys, values = theirs.columns[used, :, :, :most].mT, theirs.values[used, :, :most]
                self._take(slots, keys, values, owner, taken)
                since = 0
        read = slice(since, int(other.own(len(other.length))[rows].max(initial=0)))  # copy what was read, and no more
        self._make_room(read.stop)
        self.keys[slots, :, read] = other.keys[rows, :, read]
        self.values[slots, :, read] = other.values[rows, :, read]
        if self.places is not None and other.places is not None:
            self.places[slots, read] = other.places[rows, read]
        self.length[slots] = other.length[rows]

    def _take(self, slots: Lengths, keys: Tensor, values: Tensor, owner: Lengths, taken: Lengths) -> None:
        """These rows begin with so many (rows,) of the keys and values (G,H,S,E), each with those of its owner."""
        before = self.shared or Shared.nothing(len(self.length), self.keys)
        more, numbers = before.given(slots, before.owner[slots], np.zeros_like(slots)).with_more(keys, values)
        self.shared = more.given(slots, numbers[owner], taken)

    def rollback(self, length: Lengths) -> None:
        self.length[: len(length)] = np.minimum(self.length[: len(length)], length)
        if self.shared is not None:
            self.shared = self.shared.rollback(length)

    def memory(self, rows: int, steps: int) -> Memory | None:
        most = int(self.own(rows).max()) + steps
        if most > self.room or self.places is not None:
            return None
        self._make_room(most)
        past = None if self.shared is None else self.shared.past
        return Memory(self.values, self.keys, self.length, past=past) if lies(self.keys, self.values) else None

    def write(self, k: Tensor, v: Tensor, place: Tensor, reads: Lengths) -> bool:
        """Write a chunk's keys and values to the slots after what was read; whether all rows read the same.

        Rows that read the same, and after them at most some that read nothing, are written as one block.
        """
        rows, steps = len(k), k.shape[2]
        begin, live = self.own(rows), int(np.count_nonzero(reads))
        self._make_room(int((begin + reads).max()))
        if self.keys.requires_grad or k.requires_grad:
            self.keys, self.values = self.keys.clone(), self.values.clone()
        self.length[:rows] += reads
        if live > 0 and bool((reads[:live] == steps).all() and (begin[:live] == begin[0]).all()):
            here = slice(int(begin[0]), int(begin[0]) + steps)
            self.keys[:live, :, here], self.values[:live, :, here] = k[:live], v[:live]
            if self.places is not None:
                self.places[:live, here] = place[:live]
            return True
        row, step = np.nonzero(np.arange(steps) < reads[:, None])
        self.keys[row, :, begin[row] + step] = k[row, :, step].to(self.keys.dtype)
        self.values[row, :, begin[row] + step] = v[row, :, step].to(self.values.dtype)
        if self.places is not None:
            self.places[row, begin[row] + step] = place.expand(rows, -1)[row, step]
        return False

    def whole(self, rows: int) -> KeysValues:
        """The same of the first rows where each has all its elements to itself."""
        if self.shared is None:
            return self
        taken, own, owner = self.shared.taken[:rows], self.own(rows), self.shared.owner
        index = np.arange(int(self.length[:rows].max(initial=1)))
        old, at_old = np.nonzero(index < taken[:, None])
        new, at_new = np.nonzero(index < own[:, None])

        def together(shared: Tensor, apart: Tensor) -> Tensor:
            part = apart.new_zeros(rows, apart.shape[1], len(index), apart.shape[3])
            part[old, :, at_old] = shared[owner[old], :, at_old]
            part[new, :, taken[new] + at_new] = apart[new, :, at_new]
            return part

        keys, values = together(self.shared.columns.mT, self.keys), together(self.shared.values, self.values)
        return KeysValues(keys, values, None, self.length[:rows], self.room)

    def _make_room(self, most: int) -> None:
        """Room for so many elements of each row."""
        here = self.keys.shape[2]
        if most <= here:
            return
        more = max(most, min(self.room, max(LEAST, 2 * here))) - here
        self.keys, self.values = (F.pad(part, (0, 0, 0, more)) for part in (self.keys, self.values))
        if self.places is not None:
            self.places = F.pad(self.places, (0, more))


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
