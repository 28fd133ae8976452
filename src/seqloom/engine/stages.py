"""The windows of a canvas that are filled one after another, where it is not filled as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from seqloom.core.errors import UnsupportedQuery
from seqloom.processes.filling import BESIDE
from seqloom.sequence.canvas import Canvas


@dataclass(frozen=True)
class Stage:
    """One window of a canvas that is filled at a time.

    Of a gap that is filled from left to right so many elements before and after it are read.
    """

    begin: int
    length: int
    before: int = 0
    after: int = 0


def windows_of(
    canvas: Canvas, window: int, ahead: int, positions: str, called: Callable[[int], str]
) -> Iterator[Stage]:
    """Windows for a process that sees all at once: one, unless the canvas is longer.

    Each sees half of itself before what it makes, or all but `ahead`, the horizon that was trained for; a gap that fits
    is put in the middle of its window. Elements are `positions`, and one of them is `called` so.
    """
    total = len(canvas)
    if total <= window:
        yield Stage(0, total)
        return
    empty = ~canvas.settled
    while empty.any():
        begin = int(empty.argmax())
        closed = np.nonzero(~empty[begin:])[0]
        gap = int(closed[0]) if len(closed) else total - begin
        if len(closed) and gap >= window:
            raise UnsupportedQuery(
                f"the gap of {gap} {positions} from {called(begin)} is followed by known ones; "
                f"the model sees {window} at once",
                hint="leave out what follows the gap and go on from before it, or train with a larger feed.window",
            )
        if len(closed):
            before = window // 2 if gap >= window // 2 else (window - gap) // 2
        else:
            before = window - min(gap, ahead)
        start = int(np.clip(begin - before, 0, total - window))
        yield Stage(start, window)
        empty[start : start + window] = False


def gaps_in(canvas: Canvas, window: int, positions: str) -> Iterator[Stage]:
    """The gaps of a canvas that is filled from left to right, each given what is known up to the next one.

    As much is read around a gap as the windows of training held.
    """
    total = len(canvas)
    edges = np.flatnonzero(np.diff(canvas.settled.astype(np.int8), prepend=1, append=1))
    if not len(edges):
        yield Stage(0, total)
    for number, (begin, end) in enumerate(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)):
        if end == total:
            yield Stage(0, total)
            return
        room = window - (end - begin) - BESIDE
        if room < 1:
            raise UnsupportedQuery(
                f"the gap of {end - begin} {positions} is longer than what was learned at once",
                hint="leave out what follows the gap and extend, or train with a larger feed.window",
            )
        follows = (int(edges[2 * number + 2]) if 2 * number + 2 < len(edges) else total) - end
        after = min(follows, max(room - begin, (room + 1) // 2))
        yield Stage(begin, end - begin, min(begin, room - after), after)
