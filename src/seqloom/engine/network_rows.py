"""The live rows of one network: its state, how large that is, and the conditions of its calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqloom.core.rng import Rng
from seqloom.engine.lanes import Lane, Prompt
from seqloom.network.given import EncodedConditions
from seqloom.network.network import Network
from seqloom.processes.base import Net, Process
from seqloom.sequence.guess import Ask
from seqloom.sequence.state import NetState

CAPACITY = 64
"""Rows of an engine, unless it is told otherwise."""


class NetworkRows:
    """One network with the state of the live rows that ask it: slots 0..live-1 of it, where it keeps one."""

    def __init__(self, network: Network, process: Process, room: int | None, steady: bool) -> None:
        self.network, self.process = network, process
        self.least_room = room or 1
        self.state: NetState | None = None
        self.kept: Tensor | None = None
        self.live = self.rows = self.room = self.undo = 0
        self.block = max(2, alike(network)) if steady and not network.space.symbolic else 1
        self.net: Net = Filled(network, self.block) if self.block > 1 and process.incremental else network
        self._read: tuple[list[Lane], NDArray[np.int64] | None, Any] | None = None
        self._given: tuple[list[Lane], NDArray[np.int64] | None, EncodedConditions] | None = None

    def room_for(self, length: int) -> int:
        """Elements that a state must have room for: a bounded reach, or the longest canvas."""
        return self.network.reach or max(length, self.least_room)

    def fillers(self, rows: int, steps: int) -> int:
        """Rows to add to an ask, so that no row's numbers depend on how many there are: see `alike`.

        None where a state is read on: then the network's own inputs are filled up (`net`), and no canvas is copied.
        """
        if self.block == 1 or self.process.incremental:
            return 0
        every = self.block
        if not self.network.separable and all(mixer.bounded for mixer in self.network.backbone.mixers):
            every //= math.gcd(every, steps)  # all products are over rows x steps
        return -rows % every

    def prepare(self, rows: int, length: int, undo: int, most: int) -> None:
        """A state with slots for so many rows of this length; grown only where it is too small."""
        rows += -rows % self.block
        room = self.room_for(length)
        if self.state is not None and rows <= self.rows and room <= self.room and undo <= self.undo:
            return
        if self.state is not None and rows > self.rows:
            rows = max(rows, min(most, 2 * self.rows))
        rows, room, undo = max(rows, self.rows), max(room, self.room), max(undo, self.undo)
        grown = self.network.begin(rows, room, undo)
        if self.state is not None:
            live = np.arange(self.live)
            grown.put(live, self.state, live)
        self.state, self.rows, self.room, self.undo = grown, rows, room, undo

    def begin(self, slots: NDArray[np.int64], prompt: Prompt | None = None) -> None:
        """These slots go on from what was read, or begin from nothing; the state has them."""
        read, rows = (None, slots) if prompt is None else (prompt.reading, prompt.copies)
        if self.state is not None and read is not None:
            self.state.put(slots, read.state, rows)
        elif self.state is not None:
            self.state.clear(slots)
        kept = None if read is None else read.ask.kept
        if kept is not None or self.kept is not None:
            own = self._keep(kept, int(slots.max()) + 1, *(() if kept is None else kept.shape[1:]))
            own[slots] = 0
            if kept is not None:
                own[slots, : kept.shape[1]] = kept[rows]

    def put(self, slots: NDArray[np.int64], origins: NDArray[np.int64], since: int = 0) -> None:
        """These slots go on from others, with which they have the first `since` elements in common."""
        if self.state is not None:
            self.state.put(slots, self.state, origins, since)
        if self.kept is not None:
            kept = self._keep(None, self.live)
            kept[slots] = kept[origins]

    def with_kept(self, ask: Ask) -> Ask:
        """An ask of all rows, in the order of their slots, with what the process keeps of them."""
        size = self.process.keeps(self.network, ask)
        if not size:
            return ask
        rows, steps = ask.x.shape[:2]
        return replace(ask, kept=self._keep(ask.x, rows, steps, size)[:rows, :steps])

    def _keep(self, beside: Tensor | None, rows: int, steps: int = 0, size: int = 0) -> Tensor:
        """What is kept, with room for so many rows and positions, on the device of what is `beside` it."""
        before = (0, 0, 0) if self.kept is None else tuple(self.kept.shape)
        shape = max(rows, before[0]), max(steps, before[1]), size or before[2]
        if self.kept is None or shape != before:
            beside = self.kept if beside is None else beside
            grown = torch.zeros(shape, device=None if beside is None else beside.device)
            if self.kept is not None:
                grown[: before[0], : before[1]] = self.kept
            self.kept = grown
        return self.kept

    def given(self, number: int, lanes: Sequence[Lane], rows: NDArray[np.int64] | None) -> EncodedConditions | None:
        """The conditions of the rows of a call, put together anew only when lanes or their order have changed."""
        parts = [one for lane in lanes if (one := lane.conditions[number]) is not None]
        if not parts:
            return None
        if self._given is not None and _alike(self._given, lanes, rows):
            return self._given[2]
        encoded = EncodedConditions.join(parts)
        encoded = encoded if rows is None else encoded.select(rows)
        self._given = list(lanes), rows, encoded
        return encoded

    def read_known(self, ask: Ask, lanes: Sequence[Lane], rows: NDArray[np.int64] | None) -> Any:
        """What the process computes of the known cells of a call once, for as long as lanes and their order stay."""
        before = self._read[2] if self._read is not None and _alike(self._read, lanes, rows) else None
        read = self.process.read_known(self.network, ask, before, self.block)
        self._read = None if read is None else (list(lanes), rows, read)
        return read

    def forget_read(self) -> None:
        """Rows go on from others: what was computed of their known cells is not theirs any more."""
        self._read = None

    def forget(self) -> None:
        """Release the state: no row is left that needs it."""
        self._given = self._read = self.kept = None
        self.state, self.rows, self.room, self.undo = None, 0, 0, 0


class Filled:
    """A network whose calls into a state are filled up to a multiple of rows: see `alike`.

    What is added repeats the first row, reads nothing into the state, which has slots for it, and is cut off again.
    """

    def __init__(self, network: Network, block: int) -> None:
        self.network, self.block = network, block
        self.spec, self.space, self.own = network.spec, network.space, network.own
        self.reach, self.grows, self.separable = network.reach, network.grows, network.separable
        self.encode, self.begin, self.laws, self.costs = network.encode, network.begin, network.laws, network.costs
        self.features, self.outputs, self.width = network.features, network.outputs, network.width
        self.patch = network.patch
        self._given: tuple[Any, int, Any] = None, 0, None

    @property
    def dependence(self) -> NDArray[np.float64] | None:
        """What couples the columns of an element: taken when a training ends, so asked for anew."""
        return self.network.dependence

    @dependence.setter
    def dependence(self, correlation: NDArray[np.float64] | None) -> None:
        self.network.dependence = correlation

    def __call__(
        self,
        x: Tensor,
        *,
        level: Tensor | None = None,
        given: Any = None,
        present: Tensor | None = None,
        where: Tensor | None = None,
        state: NetState | None = None,
        count: NDArray[np.int64] | None = None,
        rng: Rng | None = None,
        begins: Tensor | None = None,
        position: Tensor | None = None,
        mask: Tensor | None = None,
        apart: Tensor | None = None,
        beside: Tensor | None = None,
    ) -> tuple[Tensor, NetState | None]:
        rows = len(x)
        told = {"state": state, "given": given, "where": where, "count": count, "level": level, "present": present}
        told |= {"rng": rng, "begins": begins, "position": position, "mask": mask, "apart": apart, "beside": beside}
        if self.network.steps_alone(x, told):
            return self.network(x, **told)  # type: ignore[no-any-return]
        extra = -rows % self.block
        if extra and given is not None:
            given = self._conditions(given, rows, extra)
        if extra and count is None and state is not None:
            count = np.full(rows, x.shape[1], np.int64)

        def filled(part: Tensor | None) -> Tensor | None:
            if part is None or not extra or len(part) != rows:
                return part
            return torch.cat([part, part[:1].expand(extra, *part.shape[1:])])

        inputs = filled(x)
        assert inputs is not None
        out, state = self.network(
            inputs,
            level=filled(level),
            given=given,
            present=filled(present),
            where=filled(where),
            state=state,
            count=np.concatenate([count, np.zeros(extra, np.int64)]) if extra and count is not None else count,
            rng=None if rng is None else rng.select(_repeated(rows, extra)),
            begins=filled(begins),
            position=filled(position),
            mask=filled(mask),
            apart=filled(apart),
            beside=filled(beside),
        )
        return out[:rows], state

    def _conditions(self, given: EncodedConditions, rows: int, extra: int) -> EncodedConditions:
        """Conditions filled up, once for all calls with the same."""
        if self._given[0] is not given or self._given[1] != rows:
            self._given = given, rows, given.select(_repeated(rows, extra))
        return self._given[2]  # type: ignore[no-any-return]


def _repeated(rows: int, extra: int) -> NDArray[np.int64]:
    """All rows, and the first so many times more."""
    return np.concatenate([np.arange(rows), np.zeros(extra, np.int64)])


def _alike(
    kept: tuple[list[Lane], NDArray[np.int64] | None, Any], lanes: Sequence[Lane], rows: NDArray[np.int64] | None
) -> bool:
    """Whether what is kept belongs to these lanes, in this order of their rows."""
    before, order, _ = kept
    if len(before) != len(lanes) or not all(a is b for a, b in zip(before, lanes, strict=True)):
        return False
    return order is rows or (order is not None and rows is not None and np.array_equal(order, rows))


def alike(network: Network) -> int:
    """The least m such that products of m, 2m, 3m ... rows give each row the same bits, on this machine.

    Libraries of linear algebra add up in another order for few rows than for many, and a number that a person sees
    would change its last digit with the number of samples.
    """
    shapes = sorted({(p.shape[0], p.shape[1]) for p in network.parameters() if p.ndim == 2})
    return _least_alike(tuple(shapes), next(network.parameters()).dtype, torch.get_num_threads())


@cache
def _least_alike(shapes: tuple[tuple[int, int], ...], dtype: torch.dtype, threads: int) -> int:
    generator = torch.Generator().manual_seed(0)
    least = 1
    for outputs, inputs in shapes:
        weight = torch.randn(outputs, inputs, generator=generator, dtype=dtype)
        x = torch.randn(CAPACITY, inputs, generator=generator, dtype=dtype)
        whole = torch.nn.functional.linear(x, weight)
        while least < CAPACITY and not all(
            torch.equal(torch.nn.functional.linear(x[:rows], weight), whole[:rows])
            for rows in range(least, CAPACITY, least)
        ):
            least *= 2
    return least
