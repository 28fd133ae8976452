"""Counting the symbols of a training split, before a network is trained beside what was counted."""

from __future__ import annotations

import numpy as np

from seqloom.corpora.packed import Packed
from seqloom.processes.priors import Prior
from seqloom.sequence.laws import Laws
from seqloom.sequence.space import Tokens


def counted(prior: Prior, packed: Packed, *, ordered: bool) -> Laws:
    """What a prior counts in a training split of symbols."""
    assert isinstance(packed.space, Tokens)
    bounds = -(-np.arange(prior.parts + 1) * len(packed) // prior.parts)
    starts = np.maximum(bounds[:-1], bounds[1:] - prior.at_most // prior.parts)
    x, begins, part = [], [], []
    for number, (begin, end) in enumerate(zip(starts.tolist(), bounds[1:].tolist(), strict=True)):
        own, first = packed.symbols(np.arange(begin, end))
        if len(own) and begin > bounds[number]:  # what stands before it is not counted
            first[0] = True
        x.append(own)
        begins.append(first)
        part.append(np.full(len(own), number))
    return prior.count(np.concatenate(x), np.concatenate(begins), np.concatenate(part), packed.space.total, ordered)
