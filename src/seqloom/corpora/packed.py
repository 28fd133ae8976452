"""Reading encoded sequences: one gather from all of them laid end to end, in windows or in streams."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqloom.corpora.base import Flat
from seqloom.sequence.space import Space

if TYPE_CHECKING:  # torch is needed once a batch is made: to describe data takes none
    from seqloom.sequence.batch import Batch, Condition, Past

Positions = NDArray[np.int64]


class Packed:
    """Sequences end to end, read by position; where the space ends, each has its end: a symbol after it, or a flag.

    `given` holds one condition a sequence; those named in `aligned` have one element for each element of the sequence
    and are cut with it.
    """

    def __init__(
        self, data: Flat, space: Space, given: Mapping[str, Flat] | None = None, aligned: Collection[str] = ()
    ) -> None:
        self.data, self.space = data, space
        self.given = dict(given or {})
        self.aligned = frozenset(aligned)
        self.lengths = data.sizes
        self.sizes = self.lengths + (space.symbolic and space.ends)
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def sequence(self, position: Positions) -> Positions:
        """The number of the sequence that each position belongs to."""
        return np.searchsorted(self.starts, position, side="right") - 1

    def batch(
        self, position: Positions, inside: NDArray[np.bool_], *, past: int = 0, fill: bool = False, parts: int = 0
    ) -> Batch:
        """Rows at `position` (B,T); where not `inside` there is padding, or with `fill` what stands beyond the end.

        `past` elements of the same sequence before each row come beside it, and of how many `parts` of all each is in.
        """
        import torch

        from seqloom.sequence.batch import Batch

        safe = np.minimum(position, len(self) - 1)
        owner = self.sequence(safe)
        offset = safe - self.starts[owner]
        x, known, shown = self._cells(owner, offset, inside)
        given = {
            name: aligned(flat, owner, offset, inside) if name in self.aligned else beside(flat, owner, inside)
            for name, flat in self.given.items()
        }
        present = inside
        if fill and self.space.ends:
            x, known, present = self._filled(x, known, inside)
        return Batch(
            x=torch.from_numpy(x),
            present=torch.from_numpy(np.array(present)),
            known=torch.from_numpy(np.array(known)),
            shown=torch.from_numpy(np.array(shown)),
            begins=torch.from_numpy((offset == 0) & inside),
            given=given,
            past=self._past(owner[:, 0], offset[:, 0], past) if past else None,
            part=torch.from_numpy(self.part(safe, parts)) if parts else None,
        )

    def elements(self, position: Positions) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_]]:
        """The elements at positions (N,), which of their cells are known, and which of them begin a sequence."""
        owner = self.sequence(position)
        offset = position - self.starts[owner]
        x, known, _ = self._cells(owner[None], offset[None], np.ones((1, len(position)), bool))
        return x[0], known[0], offset == 0

    def part(self, position: Positions, parts: int) -> Positions:
        """Which of so many parts of equal length each position is in."""
        return position * parts // max(1, len(self))

    def window(self, start: Positions, length: int, *, past: int = 0, fill: bool = False, parts: int = 0) -> Batch:
        """Windows of `length` from positions `start` (B,), each within its own sequence."""
        whole = self._symbols(start, length, past, parts)
        if whole is not None:
            return whole
        position = start[:, None] + np.arange(length)
        inside = position < self.starts[self.sequence(start) + 1][:, None]
        return self.batch(position, inside, past=past, fill=fill, parts=parts)

    def run(self, first: Positions, length: int, *, past: int = 0, parts: int = 0) -> Batch:
        """Rows of `length` elements from positions `first` (B,) on, through as many sequences as that takes."""
        whole = self._symbols(first, length, past, parts)
        if whole is not None:
            return whole
        position = first[:, None] + np.arange(length)
        return self.batch(position, np.ones(position.shape, bool), past=past, parts=parts)

    def _symbols(self, start: Positions, length: int, past: int, parts: int) -> Batch | None:
        """The same as `batch`, where each row is nothing but symbols of one sequence: most rows of texts are.

        Then rows are copied as they lie, and there is nothing to be found out of each element.
        """
        data = self.data
        if not self.space.symbolic or self.given or data.known is not None or data.shown is not None:
            return None
        owner = self.sequence(start)
        offset = start - self.starts[owner]
        if (offset + length > self.lengths[owner]).any():
            return None
        import torch

        from seqloom.sequence.batch import Batch

        x = torch.from_numpy(_rows(data.x, data.starts[owner] + offset, length).astype(np.int64))
        begins = torch.zeros(x.shape, dtype=torch.bool)
        begins[:, 0] = torch.from_numpy(offset == 0)
        return Batch(
            x=x,
            present=torch.ones(x.shape, dtype=torch.bool),
            known=torch.ones(x.shape, dtype=torch.bool),
            shown=torch.zeros(x.shape, dtype=torch.bool),
            begins=begins,
            past=self._past(owner, offset, past) if past else None,
            part=torch.from_numpy(self.part(start[:, None] + np.arange(length), parts)) if parts else None,
        )

    def windows(self, length: int, stride: int) -> Positions:
        """Where windows begin that together cover every sequence: one each `stride`, as many as are needed."""
        starts = []
        for begin, size in zip(self.starts[:-1], self.sizes, strict=True):
            count = 1 + max(0, -(-(int(size) - length) // stride))
            starts.append(begin + np.arange(count if size else 0) * stride)
        return np.concatenate(starts) if starts else np.zeros(0, np.int64)

    def _cells(
        self, owner: Positions, offset: Positions, inside: NDArray[np.bool_]
    ) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_]]:
        """Values, known and shown cells of elements `offset` of the sequences `owner`, their ends included."""
        data, size = self.data, self.lengths[owner]
        index = data.starts[owner] + np.minimum(offset, np.maximum(size - 1, 0))
        raw = data.x[index]
        cells = inside if raw.ndim == 2 else np.broadcast_to(inside[..., None], raw.shape)
        own = cells & (offset < size) if self.space.symbolic else cells
        known = own if data.known is None else own & data.known[index]
        shown = np.zeros_like(known) if data.shown is None else known & data.shown[index]
        if self.space.symbolic:
            x = np.where(inside, raw.astype(np.int64), 0)
            if self.space.ends:
                ends = inside & (offset == size)
                x[ends] = self.space.end
                known = known | ends
            return x, known, shown
        x = np.where(known, raw, 0).astype(np.float32)
        if self.space.ends:
            last = inside & (offset == size - 1)
            x = np.concatenate([x, last[..., None].astype(np.float32)], 2)
            known = np.concatenate([known, inside[..., None]], 2)
            # The end flag of an element that is context throughout is context too.
            shown = np.concatenate([shown, (shown.all(2) & inside)[..., None]], 2)
        return x, known, shown

    def _filled(
        self, x: NDArray[Any], known: NDArray[np.bool_], inside: NDArray[np.bool_]
    ) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_]]:
        """With end symbols, or zeros with the end flag, in place of padding."""
        if self.space.symbolic:
            x[~inside] = self.space.end
        else:
            x[~inside, :-1], x[~inside, -1] = 0, 1
        known = known | (~inside if known.ndim == 2 else ~inside[..., None])
        return x, known, np.ones_like(inside)

    def _past(self, owner: Positions, offset: Positions, length: int) -> Past:
        import torch

        from seqloom.sequence.batch import Past

        before = offset[:, None] - length + np.arange(length)  # (B,L)
        exists = before >= 0
        x, known, _ = self._cells(np.broadcast_to(owner[:, None], before.shape), np.maximum(before, 0), exists)
        return Past(torch.from_numpy(x), torch.from_numpy(np.array(known)))


def _rows(x: NDArray[Any], start: Positions, length: int) -> NDArray[Any]:
    """The elements of x (N,) from each `start` (B,) on, as rows (B,length) that are copied whole."""
    (step,) = x.strides
    every = np.lib.stride_tricks.as_strided(x, (len(x) - length + 1, length), (step, step), writeable=False)
    return np.asarray(every[start])


def beside(flat: Flat, owner: Positions, inside: NDArray[np.bool_]) -> Condition:
    """The condition of the sequence of each row, or of each position where a row runs through several."""
    import torch

    owner = np.where(inside, owner, owner[:, :1])
    if (owner == owner[:, :1]).all():
        return condition(flat, owner[:, 0])
    rows, index = np.unique(owner, return_inverse=True)
    return replace(condition(flat, rows), owner=torch.from_numpy(index.reshape(owner.shape)))


def condition(flat: Flat, rows: Positions) -> Condition:
    """The condition of each of these sequences, padded to the longest."""
    sizes = flat.sizes[rows]
    longest = max(1, int(sizes.max(initial=1)))
    index = flat.starts[rows][:, None] + np.arange(longest)
    return _conditions(flat, index, np.arange(longest) < sizes[:, None])


def aligned(flat: Flat, owner: Positions, offset: Positions, inside: NDArray[np.bool_]) -> Condition:
    """The element of a condition beside each position (B,T); none beside an end symbol."""
    there = inside & (offset < flat.sizes[owner])
    return replace(_conditions(flat, flat.starts[owner] + offset, there), aligned=True)


def _conditions(flat: Flat, index: Positions, present: NDArray[np.bool_]) -> Condition:
    import torch

    from seqloom.sequence.batch import Condition

    if not len(flat.x):  # all of them are null
        x = np.zeros((*index.shape, *flat.x.shape[1:]), flat.x.dtype)
    else:
        x = flat.x[np.minimum(index, len(flat.x) - 1)]
    kind = np.int64 if x.ndim == 2 else np.float32
    return Condition(torch.from_numpy(x.astype(kind)), torch.from_numpy(present))


def in_batches(positions: Positions, size: int) -> Iterator[Positions]:
    """Consecutive runs of at most `size`."""
    for i in range(0, len(positions), size):
        yield positions[i : i + size]
