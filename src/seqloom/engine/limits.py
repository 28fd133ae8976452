"""Where rows end, and which symbols are not allowed in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from seqloom.engine.lanes import Lane
from seqloom.samplers.base import Rows
from seqloom.sequence.guess import Ask, Guess
from seqloom.sequence.space import Space, Tokens


def constrained(guess: Guess, ask: Ask, lane: Lane, space: Space, ordered: bool) -> Guess:
    """The guess as requests want it: biases, no symbols that are not allowed, and no end before what is known.

    `ordered`: nothing is known after the positions that are asked for.
    """
    if not isinstance(space, Tokens):
        return guess
    for request, rows in lane.requests:
        want = ask.want[rows]
        limited = request.constraint is not None and not request.constraint.over(want)
        if not limited and request.bias is None:
            continue
        value = guess.value.clone()
        if request.bias is not None:
            value[rows] += request.bias.to(value)
        if limited and request.constraint is not None:
            x = ask.x[rows].cpu().numpy()
            unknown = x >= space.total
            if ordered:
                unknown |= np.arange(x.shape[1]) > want.max(1, keepdims=True)
            allowed = request.constraint.allowed(np.where(unknown, -1, x), want, value.shape[-1])
            hidden = torch.as_tensor(~(allowed | (want < 0)[..., None]), device=value.device)
            value[rows] = value[rows].masked_fill(hidden, -torch.inf)
        guess = replace(guess, value=value)
    if space.end is not None:
        early = (ask.want >= 0) & (ask.want <= lane.last_known)
        if early.any():
            for request, rows in lane.requests:
                early[rows] &= ask.want[rows] <= request.open_until[lane.rows.origin[rows]][:, None]
            value = guess.value.clone()
            value[..., space.end].masked_fill_(torch.as_tensor(early, device=value.device), -torch.inf)
            guess = replace(guess, value=value)
    return guess


def ended(rows: Rows, lane: Lane, space: Space, over: NDArray[np.bool_]) -> Rows:
    """Offer rows that came to an end to their sampler: an end symbol or flag, or a stop, and all before it settled.

    The end stays a part of the row, and of a stop what it says. Rows that were `over` before are left alone.
    """
    end = space.end
    stopping = [(request, chosen) for request, chosen in lane.requests if request.stops]
    if end is None and not stopping:
        return rows
    width = rows.x.shape[1]
    known = rows.settled & (np.arange(width) < rows.length[:, None])
    reached = np.where(known.all(1), width, known.argmin(1))  # all before it is settled
    lengths = rows.length + 1
    if end is not None:
        flags = rows.x == end if isinstance(space, Tokens) else rows.x[..., end] > 0.5
        ends = flags.cpu().numpy() & (np.arange(width) < reached[:, None])
        lengths = np.where(ends.any(1), np.minimum(rows.length, ends.argmax(1) + 1), lengths)
    for request, chosen in stopping:
        first = int((~request.shown).any(0).int().argmax())
        for row in chosen[~over[chosen]].tolist():
            made = rows.x[row, first : reached[row]].cpu().numpy()
            positions = [kept for kept in (stop.kept(made) for stop in request.stops) if kept >= 0]
            if positions:
                lengths[row] = min(lengths[row], first + min(positions))
    numbers = np.nonzero((lengths <= rows.length) & ~over)[0]
    return lane.sampler.ended(rows, numbers, lengths[numbers]) if len(numbers) else rows
