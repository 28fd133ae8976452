"""How a network that is trusted within a window only reads what is longer: windows that move by half of it."""

from __future__ import annotations

import numpy as np

from seqloom.sequence.state import Lengths


def stride(reach: int) -> int:
    """How far a window of `reach` moves at once."""
    return max(1, reach // 2)


def slide(position: Lengths, reach: int | None) -> Lengths:
    """Where the window begins in which a position is guessed and scored: the first that holds it.

    So each position but those of the first window has at least half a window before it. `reach` None: at 0.
    """
    if reach is None:
        return np.zeros_like(position)
    return np.maximum(0, (position - reach) // stride(reach) + 1) * stride(reach)


def aligned(length: int, reach: int | None) -> int:
    """How many elements to leave out at the beginning of so many, so that the last window ends with them."""
    return 0 if reach is None or length <= reach else (length - reach) % stride(reach)
