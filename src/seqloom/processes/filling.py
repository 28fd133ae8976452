"""Gaps filled from left to right (Bavarian et al. 2022): what stands after a gap is read before what stands before it.

A sequence with a gap is read as FILL, what follows, START, what is before, LENGTH; and the gap is what comes next. A
gap has a length here, so LENGTH says it, exactly where it is short.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqloom.core.errors import ConfigError
from seqloom.core.rng import Rng
from seqloom.sequence.batch import Batch

EXACT, RATE = 32, 1.15
"""Gaps of up to so many elements have a symbol for each length, longer ones one for lengths that are so much longer."""
LENGTHS = EXACT + 48
MARKS = 1 + LENGTHS
"""Symbols beside those of the data and START, whose number is that of the data's symbols."""
BESIDE = 3
"""Elements that are read beside those of the sequence: FILL, START and LENGTH."""


def length_mark(gap: int) -> int:
    """Which of the LENGTHS stands for a gap of so many elements."""
    if gap <= EXACT:
        return gap - 1
    return min(LENGTHS, EXACT + 1 + int(np.log(gap / EXACT) / np.log(RATE))) - 1


def led(total: int, before: Tensor, after: Tensor, gap: int) -> Tensor:
    """What is read (B,L) ahead of a gap of so many elements that stands between others; `total` is START."""

    def mark(symbol: int) -> Tensor:
        return before.new_full((len(before), 1), symbol)

    return torch.cat([mark(total + 1), after, mark(total), before, mark(total + 2 + length_mark(gap))], 1)


def drawn_gap(size: int, length: float, place: float) -> tuple[int, int]:
    """Where a gap in so many elements begins and how long it is, less than all of them, by two uniform numbers.

    Lengths are even on a logarithmic scale, so that short ones are learned too; places are even.
    """
    gap = max(1, min(size - 1, int(size**length)))
    return int(place * (size - gap)), gap


def with_gaps(batch: Batch, rng: Rng, share: float) -> tuple[Batch, NDArray[np.bool_]]:
    """The batch where of a share of the rows (B,) all but one gap or two is shown, and which rows these are."""
    u = rng.uniform(6)
    sizes = batch.present.sum(1).cpu().numpy()
    chosen = (u[:, 0] < share) & (sizes > 1)
    around = np.zeros(tuple(batch.present.shape), bool)
    for row in np.nonzero(chosen)[0].tolist():
        around[row, : sizes[row]] = True
        for gap in range(1 + (u[row, 1] < 0.5)):
            start, length = drawn_gap(int(sizes[row]), *u[row, 2 + 2 * gap : 4 + 2 * gap])
            around[row, start : start + length] = False
    return replace(batch, shown=batch.shown | torch.as_tensor(around, device=batch.x.device)), chosen


def rearranged(batch: Batch, rng: Rng, share: float, total: int) -> tuple[Batch, NDArray[np.int64]] | None:
    """A share of the rows, each with a gap in its longest sequence that is read last, and which rows these are."""
    if any(condition.owner is not None for condition in batch.given.values()):
        raise ConfigError(
            "a gap is learned in rows of one sequence, and here rows run through several that have conditions",
            path="process.infill",
            hint="use feed.order=windows or feed.order=whole",
        )
    u = rng.uniform(3)
    begins, present = batch.begins.cpu().numpy(), batch.present.cpu().numpy()
    rows, width = [], batch.x.shape[1]
    index = np.zeros((len(begins), width), np.int64)
    marks = np.full((len(begins), width), -1)
    read = np.zeros(len(begins), np.int64)
    for row in np.nonzero(u[:, 0] < share)[0]:
        end = int(present[row].sum())
        cuts = np.unique([0, *np.nonzero(begins[row, :end])[0], end])
        longest = int(np.argmax(np.diff(cuts))) if len(cuts) > 1 else 0
        size = min(int(np.diff(cuts)[longest]) if len(cuts) > 1 else 0, width - BESIDE)
        if size < 2:  # there is no gap that something follows
            continue
        start, gap = drawn_gap(size, u[row, 1], u[row, 2])
        order = np.concatenate([np.arange(start + gap, size), np.arange(start), np.arange(start, start + gap)])
        after, middle = size - start - gap, size - gap
        places = np.delete(np.arange(size + BESIDE), [0, 1 + after, 2 + middle])
        index[row, places] = cuts[longest] + order
        marks[row, 0], marks[row, 1 + after], marks[row, 2 + middle] = total + 1, total, total + 2 + length_mark(gap)
        read[row] = size + BESIDE
        rows.append(int(row))
    if not rows:
        return None
    chosen, device = np.array(rows), batch.x.device
    at, mark = torch.as_tensor(index[chosen], device=device), torch.as_tensor(marks[chosen], device=device)
    exists = torch.as_tensor(np.arange(width) < read[chosen, None], device=device)
    own = torch.as_tensor(chosen, device=device)

    def moved(part: Tensor) -> Tensor:
        return part[own].gather(1, at)

    marked = mark >= 0
    return replace(
        batch,
        x=torch.where(marked, mark, moved(batch.x)),
        present=exists,
        known=exists & (marked | moved(batch.known)),
        shown=exists & (marked | moved(batch.shown)),
        begins=torch.zeros_like(exists),
        given={name: replace(c, x=c.x[own], present=c.present[own]) for name, c in batch.given.items()},
        past=None,
        part=None if batch.part is None else moved(batch.part),
        noised=None,
    ), chosen
