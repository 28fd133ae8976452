"""Rows side by side that share a sampler, and what they go on from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqloom.engine.request import Request
from seqloom.network.given import EncodedConditions
from seqloom.samplers.base import Rows, Sampler
from seqloom.sequence.guess import Ask
from seqloom.sequence.state import NetState


def held(rows: Rows) -> dict[str, Any]:
    """A copy of all that a sampler goes on from."""
    parts = {"x": rows.x, "settled": rows.settled, "done": rows.done}
    parts |= {f"own.{name}": value for name, value in rows.own.items()}
    parts |= {f"along.{name}": value for name, value in rows.along.items()}
    kept = {}
    for name, value in parts.items():
        kept[name] = value.detach().cpu().clone().numpy() if isinstance(value, Tensor) else np.array(value)
    return kept


def same(before: Mapping[str, Any], rows: Rows) -> bool:
    """Whether rows are what they were: a sampler that goes on from them does so for ever."""
    now = held(rows)
    return now.keys() == before.keys() and all(np.array_equal(now[name], before[name]) for name in now)


@dataclass
class Lane:
    """Rows that share one sampler: their requests, the network that each asks and its slot there.

    `conditions` has the encoded conditions of every row for each network; `reported` marks rows reported as done.
    """

    sampler: Sampler
    rows: Rows
    request: NDArray[np.int64]
    network: NDArray[np.int64]
    slot: NDArray[np.int64]
    reported: NDArray[np.bool_]
    conditions: list[EncodedConditions | None]
    asked: Mapping[int, Request]

    @cached_property
    def requests(self) -> list[tuple[Request, NDArray[np.int64]]]:
        """The requests and their rows. A lane whose rows change is a new one, so this is worked out once."""
        return [(self.asked[n], np.nonzero(self.request == n)[0]) for n in np.unique(self.request).tolist()]

    @cached_property
    def begin(self) -> NDArray[np.int64] | None:
        """Where each row's canvas begins in the whole sequence; None: all at its beginning."""
        begin = np.array([self.asked[n].begin for n in self.request.tolist()], np.int64)
        return begin if begin.any() else None

    @cached_property
    def watched(self) -> NDArray[np.bool_]:
        """Which rows (B,) belong to requests of which every change is reported."""
        return np.array([self.asked[n].watched for n in self.request.tolist()], bool)

    @cached_property
    def last_known(self) -> int:
        """The last position that is known in any row: after it all rows may end."""
        return max(int(request.open_until.max(initial=-1)) for request, _ in self.requests)

    def select(self, kept: NDArray[np.bool_]) -> Lane:
        """The lane with some of its rows."""
        if kept.all():
            return self
        rows = np.nonzero(kept)[0]
        return Lane(
            self.sampler,
            self.rows.select(rows),
            self.request[rows],
            self.network[rows],
            self.slot[rows],
            self.reported[rows],
            [None if one is None else one.select(rows) for one in self.conditions],
            self.asked,
        )

    @staticmethod
    def join(lanes: Sequence[Lane]) -> Lane:
        """The rows of lanes with one sampler, one after another."""
        first = lanes[0]
        if len(lanes) == 1:
            return first
        conditions = zip(*(lane.conditions for lane in lanes), strict=True)  # of each network
        return Lane(
            first.sampler,
            Rows.join([lane.rows for lane in lanes]),
            np.concatenate([lane.request for lane in lanes]),
            np.concatenate([lane.network for lane in lanes]),
            np.concatenate([lane.slot for lane in lanes]),
            np.concatenate([lane.reported for lane in lanes]),
            [_joined(parts) for parts in conditions],
            {number: request for lane in lanes for number, request in lane.asked.items()},
        )


def completed(ask: Ask, lane: Lane) -> Ask:
    """What a sampler asks, with what it does not know: positions that exist, cells that are given, where it begins."""
    rows, width = lane.rows, ask.x.shape[1]
    present = None
    if (rows.length < width).any():
        present = torch.as_tensor(np.arange(width) < rows.length[:, None], device=ask.x.device)
    shown, absent = rows.along.get("shown"), rows.along.get("absent")
    return replace(ask, present=present, shown=shown, absent=absent, begin=lane.begin)


def _joined(parts: Sequence[EncodedConditions | None]) -> EncodedConditions | None:
    """The conditions of several lanes, one after another; None where a network takes none."""
    present = [part for part in parts if part is not None]
    return EncodedConditions.join(present) if len(present) == len(parts) else None


@dataclass(eq=False)
class Reading:
    """Beginnings, one a row, of one network on their way into a state."""

    network: int
    ask: Ask
    state: NetState
    ready: bool = False


@dataclass(eq=False)
class Prompt:
    """What rows of a lane go on from: row i of `rows` from row `copies[i]` of the state that is being read."""

    reading: Reading
    rows: NDArray[np.int64]
    copies: NDArray[np.int64]
