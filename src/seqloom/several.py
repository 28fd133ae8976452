"""Several queries answered together: those that stand next to each other share the network's calls."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from seqloom.filler import Filler, Running
from seqloom.sequence.query import Frame, Query

TOGETHER, FEW_TOGETHER = 1200, 200
"""Rows of several queries that share the network's calls: where each carries a small state, and where it is large."""
KEPT = 1 << 28
"""Bytes up to which what all of these rows keep of what is made is small."""

Progress = Callable[[float, str], None]


def apart(queries: Sequence[Query]) -> list[Query]:
    """Queries of one seed, no two of which draw the same random numbers."""
    rows, row = [], 0
    for query in queries:
        rows.append(replace(query, seed=queries[0].seed, first_row=row, watched=False))
        row += query.count
    return rows


def next_size(size: int, seconds: float, every: float) -> int:
    """How many to answer together after so many took so long, where about `every` so many seconds are wanted."""
    if seconds < every / 2:
        return 2 * size
    return max(1, size // 2) if seconds > 2 * every else size


def in_order(filler: Filler, queries: Sequence[Query], progress: Progress | None = None) -> Iterator[Running]:
    """Each query when its samples are made, in their order; one that is ready before those ahead of it waits.

    `progress` gets the share that is done, and how far it is in words.
    """
    together = _rows_together(filler, queries)
    wide = filler.like(capacity=together)
    waiting = deque((number, Running(replace(query, watched=False))) for number, query in enumerate(queries))
    begun: deque[tuple[int, Running, Iterator[Frame | None]]] = deque()
    done: dict[int, Running] = {}
    total, over, given = sum(one.total for _, one in waiting), 0, 0
    while waiting or begun:
        rows = sum(one.query.count for _, one, _ in begun) if waiting else 0
        while waiting and (not begun or rows + waiting[0][1].query.count <= together):
            number, one = waiting.popleft()
            begun.append((number, one, wide.frames(one.query)))
            rows += one.query.count
        number, one, frames = begun.popleft()
        try:
            frame = next(frames)
        except StopIteration:
            done[number] = one
            over += one.total
        else:
            begun.append((number, one, frames))
            if frame is None:
                continue
            one.take(frame)
        if progress is not None:
            share = (over + sum(one.settled for _, one, _ in begun)) / max(1, total)
            progress(share, f"{given + len(done)} of {len(queries)} done")
        while given in done:
            yield done.pop(given)
            given += 1


def _rows_together(filler: Filler, queries: Sequence[Query]) -> int:
    """How many rows of these queries share the network's calls; samples of one keep what precedes them but once."""
    if not filler.process.incremental:
        return FEW_TOGETHER
    made = max((int(np.count_nonzero(~one.settled)) for query in queries for one in query.canvases), default=1)
    kept = filler.network.kept * made
    return min(TOGETHER, max(FEW_TOGETHER, KEPT // kept)) if kept else TOGETHER
