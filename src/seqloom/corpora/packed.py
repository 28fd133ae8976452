"""Reading encoded sequences: one gather from all of them laid end to end, in windows or in streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqloom.corpora.base import Flat
from seqloom.sequence.space import Space, Tokens

if TYPE_CHECKING:  # torch is needed once a batch is made: to describe data takes none
    from seqloom.sequence.batch import Batch, Condition

Places = NDArray[np.int64]


class Packed:
    """Sequences end to end, each followed by its end symbol where the space has one; read by position."""

    def __init__(self, data: Flat, space: Space, given: Mapping[str, Flat] | None = None) -> None:
        self.data, self.space = data, space
        self.given = dict(given or {})
        self.end = space.end if isinstance(space, Tokens) else None
        self.sizes = np.diff(data.starts) + (self.end is not None)
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def sequence(self, place: Places) -> Places:
        """The number of the sequence that each position belongs to."""
        return np.searchsorted(self.starts, place, side="right") - 1

    def batch(self, place: Places, inside: NDArray[np.bool_], *, fill: bool = False) -> Batch:
        """Rows at `place` (B,T); where not `inside` there is padding, or with `fill` the end symbol.

        The conditions are those of the sequence that each row begins in.
        """
        import torch

        from seqloom.sequence.batch import Batch

        last = len(self) - 1
        safe = np.minimum(place, last)
        owner = self.sequence(safe)
        offset = safe - self.starts[owner]
        size = np.diff(self.data.starts)[owner]
        index = self.data.starts[owner] + np.minimum(offset, np.maximum(size - 1, 0))
        ends = inside & (offset == size) if self.end is not None else np.zeros_like(inside)
        raw = self.data.x[index]
        cells = inside if raw.ndim == 2 else np.broadcast_to(inside[..., None], raw.shape)
        known = cells if self.data.known is None else cells & self.data.known[index]
        if isinstance(self.space, Tokens):
            x = np.where(inside, raw.astype(np.int64), 0)
            if self.end is not None:
                x[ends] = self.end
                if fill:
                    x[~inside] = self.end
                    known, inside = np.ones_like(inside), np.ones_like(inside)
        else:
            x = np.where(known, raw, 0).astype(np.float32)
        given = {name: condition(flat, owner[:, 0]) for name, flat in self.given.items()}
        return Batch(
            x=torch.from_numpy(x),
            present=torch.from_numpy(np.array(inside)),
            known=torch.from_numpy(np.array(known)),
            shown=torch.zeros(known.shape, dtype=torch.bool),
            begins=torch.from_numpy((offset == 0) & inside),
            given=given,
        )

    def window(self, start: Places, length: int, *, fill: bool = False) -> Batch:
        """Windows of `length` from places `start` (B,), each within its own sequence."""
        place = start[:, None] + np.arange(length)
        inside = place < self.starts[self.sequence(start) + 1][:, None]
        return self.batch(place, inside, fill=fill)

    def windows(self, length: int, stride: int) -> Places:
        """Where windows begin that together cover every sequence: one each `stride`, as many as are needed."""
        starts = []
        for begin, size in zip(self.starts[:-1], self.sizes, strict=True):
            count = 1 + max(0, -(-(int(size) - length) // stride))
            starts.append(begin + np.arange(count if size else 0) * stride)
        return np.concatenate(starts) if starts else np.zeros(0, np.int64)


def condition(flat: Flat, rows: Places) -> Condition:
    """The condition of each of these sequences, padded to the longest."""
    import torch

    from seqloom.sequence.batch import Condition

    sizes = np.diff(flat.starts)[rows]
    longest = max(1, int(sizes.max(initial=1)))
    index = flat.starts[rows][:, None] + np.arange(longest)
    present = np.arange(longest) < sizes[:, None]
    values = flat.x[np.minimum(index, max(0, len(flat.x) - 1))]
    if values.ndim == 2:
        return Condition(torch.from_numpy(values.astype(np.int64)), torch.from_numpy(present))
    return Condition(torch.from_numpy(values.astype(np.float32)), torch.from_numpy(present))


def in_batches(places: Places, size: int) -> Iterator[Places]:
    """Consecutive runs of at most `size`."""
    for i in range(0, len(places), size):
        yield places[i : i + size]
