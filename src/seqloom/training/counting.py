"""Counting in a training split, before a network is trained beside what was counted."""

from __future__ import annotations

import numpy as np

from seqloom.corpora.packed import Packed
from seqloom.sequence.laws import CountedSplit, Counts, Laws


def counted(counts: Counts, packed: Packed, *, ordered: bool) -> Laws:
    """What is counted in a training split."""
    parts = max(1, counts.parts)
    bounds = -(-np.arange(parts + 1) * len(packed) // parts)
    starts = np.maximum(bounds[:-1], bounds[1:] - counts.at_most // parts)
    x, known, begins, part = [], [], [], []
    for number, (begin, end) in enumerate(zip(starts.tolist(), bounds[1:].tolist(), strict=True)):
        own, cells, first = packed.elements(np.arange(begin, end))
        if len(own) and begin > bounds[number]:  # what stands before it is not counted
            first[0] = True
        x.append(own)
        known.append(cells)
        begins.append(first)
        part.append(np.full(len(own), number))
    split = CountedSplit(*(np.concatenate(pieces) for pieces in (x, begins, part, known)))
    return counts.count(split, packed.space, ordered)
