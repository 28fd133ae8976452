"""The engine: rows of many requests go through one network together, and join and leave between calls.

One tick: waiting requests join; prompts that are being read go on by one chunk; then all live rows ask, share one
network call, and are told. `stream` is the same loop with one request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqloom.core.config import Component
from seqloom.core.errors import UnsupportedQuery
from seqloom.core.rng import Rng
from seqloom.network.given import EncodedConditions
from seqloom.network.network import Network
from seqloom.processes.base import Process
from seqloom.samplers import guidance
from seqloom.samplers.base import Rows, Sampler
from seqloom.sequence.batch import Condition
from seqloom.sequence.guess import Ask, Gives, Guess
from seqloom.sequence.space import Tokens
from seqloom.sequence.state import NetState

CHUNK = 128
"""Elements of a prompt read in one call: no running row waits longer than for this many."""
CAPACITY = 64


@dataclass(frozen=True)
class Request:
    """Rows that ask the same of one model: canvases (n,T[,D]) of one length, each with a key of its own.

    `shown` and `absent` are masks over cells; `given` holds one condition for all rows.
    """

    x: Tensor
    shown: Tensor
    absent: Tensor
    sampler: Sampler
    key: Rng
    given: Mapping[str, Condition] = field(default_factory=dict)


@dataclass
class RowUpdate:
    """What changed in one row of a request: its canvas as it stands, what of it is settled, and whether it is done."""

    request: int
    row: int
    x: Tensor
    settled: NDArray[np.bool_]
    length: int
    done: bool


@dataclass
class _Lane:
    """Live rows of one sampler class: their place in the network state, and the encoded conditions beside them."""

    sampler: Sampler
    rows: Rows
    slot: NDArray[np.int64]
    request: NDArray[np.int64]
    index: NDArray[np.int64]
    memory: EncodedConditions | None


@dataclass
class _Reader:
    """A prompt on its way into a network state of its own; all rows of its request share it."""

    lane: _Lane
    ask: Ask
    state: NetState
    member: NDArray[np.int64]


class Engine:
    """Continuous batching for every process: see the module's text. Not thread-safe: one owner calls `tick`."""

    def __init__(
        self,
        network: Network,
        process: Process,
        *,
        never: Sequence[int] = (),
        capacity: int = CAPACITY,
        room: int | None = None,
        chunk: int = CHUNK,
    ) -> None:
        self.network, self.process = network, process
        self.capacity, self.chunk = capacity, chunk
        self.never = torch.tensor(list(never), dtype=torch.int64)
        self.room = room if network.reach is None else network.reach
        self.waiting: deque[tuple[int, Request]] = deque()
        self.lanes: dict[tuple[object, ...], _Lane] = {}
        self.readers: list[_Reader] = []
        self.state: NetState | None = None
        self.live = 0
        self.calls = 0
        self.elements_read = 0
        self._requests = 0
        self._stopped: dict[int, set[int]] = {}
        self._groups = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.waiting or self.readers or self.live)

    def submit(self, request: Request) -> int:
        """Queue a request; its number marks its events."""
        gives = self.process.kind_of_guess(self.network.space)
        if gives not in request.sampler.takes:
            raise UnsupportedQuery(
                f"the sampler {request.sampler.name!r} cannot use {gives.value}", hint="leave sampler unset"
            )
        if request.sampler.guidance != 1 and gives is Gives.NEXT_PARAMS:
            raise UnsupportedQuery(
                "guidance mixes logits or clean data; an autoregressive model of vectors gives neither",
                hint="use sampler.guidance=1, or a model trained with process=gaussian",
            )
        if len(request.x) * (1 + (request.sampler.guidance != 1)) > self.capacity:
            raise ValueError("a request must fit the engine's capacity; split it")
        self._requests += 1
        self.waiting.append((self._requests, request))
        return self._requests

    @torch.inference_mode()
    def tick(self) -> list[RowUpdate]:
        """One step for every row; what changed."""
        events = self._join()
        self._read()
        if self.live:
            events += self._step()
        return events

    def _join(self) -> list[RowUpdate]:
        """Let waiting requests in, as far as there is room; rows with nothing to make are done at once."""
        events: list[RowUpdate] = []
        reading = sum(len(reader.lane.rows) for reader in self.readers)
        while self.waiting:
            number, request = self.waiting[0]
            width = len(request.x) * (1 + (request.sampler.guidance != 1))
            if self.live + reading + width > self.capacity:
                break
            self.waiting.popleft()
            lane = self._open(number, request)
            events += [self._event(lane, int(i)) for i in np.nonzero(lane.rows.done & (lane.rows.member == 0))[0]]
            lane = self._keep(lane, ~lane.rows.done)
            if len(lane.rows) == 0:
                continue
            prompt = self._prompt(lane) if self.process.incremental else None
            if prompt is None:
                self._admit(lane, None, None)
            else:
                self.readers.append(prompt)
                reading += len(lane.rows)
        return events

    def _open(self, number: int, request: Request) -> _Lane:
        """Lay out a request's rows and start its sampler."""
        count, width = request.x.shape[:2]
        tokens = isinstance(self.network.space, Tokens)
        settled = request.shown if tokens else (request.shown | request.absent).all(-1)
        along = {} if tokens else {"shown": request.shown, "absent": request.absent}
        rows = Rows(
            x=request.x.clone(),
            settled=settled.cpu().numpy().copy(),
            length=np.full(count, width, np.int64),
            done=np.isin(np.arange(count), list(self._stopped.pop(number, ()))),
            key=request.key,
            group=np.arange(self._groups, self._groups + count),
            member=np.zeros(count, np.int64),
            origin=np.arange(count),
            null=np.zeros(count, bool),
            own={"guidance": np.ones(count)},
            along=along,
        )
        self._groups += count
        index = np.arange(count)
        if request.sampler.guidance != 1:
            rows, index = guidance.pair(rows, request.sampler.guidance), np.repeat(index, 2)
        rows = request.sampler.start(self.process, rows)
        memory = self._conditions(request, rows)
        return _Lane(request.sampler, rows, np.zeros(len(rows), np.int64), np.full(len(rows), number), index, memory)

    def _conditions(self, request: Request, rows: Rows) -> EncodedConditions | None:
        """The request's conditions, encoded once, for each of its rows; second members of pairs get the null one."""
        memory = self.network.encode(request.given, 1)
        if memory is None:
            if request.sampler.guidance != 1:
                raise UnsupportedQuery(
                    "the model knows no condition, so there is nothing to guide by", hint="use sampler.guidance=1"
                )
            return None
        if rows.null.any():
            memory = EncodedConditions.join([memory, self.network.encode({}, 1) or memory])
        return memory.select(rows.null.astype(np.int64))

    def _prompt(self, lane: _Lane) -> _Reader | None:
        """What must be read before the first draw; None where the next call reads it all anyway."""
        ask = lane.sampler.ask(lane.rows)
        first = int(ask.want[:, 0].min())  # what every row has; a row that has more reads the rest among the live ones
        if first < 1:
            return None
        member = lane.rows.member if self._same_prompt(lane.rows, first) else np.arange(len(lane.rows))
        chosen = np.array([int(np.nonzero(member == m)[0][0]) for m in np.unique(member)])
        ask = Ask(x=lane.rows.x[chosen], want=np.full((len(chosen), 1), first - 1), fixed=np.full(len(chosen), first))
        ask = self._complete(ask, lane.rows.select(chosen), None if lane.memory is None else lane.memory.select(chosen))
        return _Reader(lane, ask, self.network.begin(len(chosen), self._room(first)), member)

    @staticmethod
    def _same_prompt(rows: Rows, first: int) -> bool:
        absent = rows.along.get("absent")
        seen = rows.x if absent is None else torch.cat([rows.x.masked_fill(absent, 0.0), absent.to(rows.x)], -1)
        return bool((seen[:, :first] == seen[:1, :first]).all())

    def _room(self, length: int) -> int:
        """Elements that a network state must have room for: a bounded reach, or the longest canvas."""
        return self.network.reach or max(length, self.room or 0, 1)

    def _read(self) -> None:
        """Every prompt goes on by one chunk; those that are read join the live rows."""
        still: list[_Reader] = []
        for reader in self.readers:
            if reader.lane.rows.done.all():  # stopped: they leave as live rows do
                self._admit(reader.lane, None, None)
                continue
            before = int(reader.state.length.sum())
            guess, state = self.process.guess(self.network, reader.ask, reader.state, self.chunk)
            assert state is not None
            reader.state = state
            self.calls += 1
            self.elements_read += max(0, int(state.length.sum()) - before)
            if guess.ready.all():
                self._admit(reader.lane, reader.state, reader.member)
            else:
                still.append(reader)
        self.readers = still

    def _admit(self, lane: _Lane, state: NetState | None, member: NDArray[np.int64] | None) -> None:
        """Give a lane's rows slots in the network state and add them to the live ones of their sampler class."""
        count = len(lane.rows)
        lane.slot = np.arange(self.live, self.live + count)
        if self.process.incremental:
            self._make_room(int(lane.rows.length.max()))
            assert self.state is not None
            if state is None or member is None:
                self.state.clear(lane.slot)
            else:
                self.state.put(lane.slot, state, member)
        self.live += count
        key = self._kind(lane.sampler)
        other = self.lanes.get(key)
        self.lanes[key] = lane if other is None else self._merge(other, lane)

    @staticmethod
    def _kind(sampler: Sampler) -> tuple[object, ...]:
        """Rows share a lane where everything that is not a value of a row is equal."""
        parts = [getattr(sampler, name) for name in type(sampler).model_fields]
        return (type(sampler), *(repr(part) for part in parts if isinstance(part, Component)))

    def _make_room(self, length: int) -> None:
        """A state with slots for all; grown only where a longer canvas than any before comes in."""
        room = self._room(length)
        if self.state is None:
            self.room = room
            self.state = self.network.begin(self.capacity, room)
        elif room > (self.room or 0):
            grown = self.network.begin(self.capacity, room)
            live = np.arange(self.live)
            grown.put(live, self.state, live)
            self.state, self.room = grown, room

    @staticmethod
    def _merge(one: _Lane, other: _Lane) -> _Lane:
        memory = (
            None if one.memory is None or other.memory is None else EncodedConditions.join([one.memory, other.memory])
        )
        return _Lane(
            one.sampler,
            Rows.join([one.rows, other.rows]),
            np.concatenate([one.slot, other.slot]),
            np.concatenate([one.request, other.request]),
            np.concatenate([one.index, other.index]),
            memory,
        )

    @staticmethod
    def _keep(lane: _Lane, kept: NDArray[np.bool_]) -> _Lane:
        if kept.all():
            return lane
        rows = np.nonzero(kept)[0]
        memory = None if lane.memory is None else lane.memory.select(rows)
        return _Lane(
            lane.sampler, lane.rows.select(rows), lane.slot[rows], lane.request[rows], lane.index[rows], memory
        )

    def _complete(self, ask: Ask, rows: Rows, memory: EncodedConditions | None) -> Ask:
        """Add what a sampler does not know: which positions exist, which cells are given, and the conditions."""
        width = ask.x.shape[1]
        exists = np.arange(width) < rows.length[:, None]
        present = None if exists.all() else torch.as_tensor(exists, device=ask.x.device)
        return replace(
            ask, present=present, shown=rows.along.get("shown"), absent=rows.along.get("absent"), given=memory
        )

    def _step(self) -> list[RowUpdate]:
        """All lanes ask, share one call in slot order, and are told."""
        lanes = list(self.lanes.values())
        asks = [self._complete(lane.sampler.ask(lane.rows), lane.rows, lane.memory) for lane in lanes]
        slots = np.concatenate([lane.slot for lane in lanes])
        order = np.argsort(slots)
        straight = bool((order == np.arange(len(order))).all())
        whole = join_asks(asks)
        guess, _ = self.process.guess(self.network, whole if straight else select_ask(whole, order), self.state)
        self.calls += 1
        if len(self.never):
            guess.value.index_fill_(-1, self.never, -torch.inf)
        back = np.argsort(order)
        events: list[RowUpdate] = []
        begin = 0
        source = np.arange(self.live)
        for lane, ask in zip(lanes, asks, strict=True):
            part = np.arange(begin, begin + len(lane.rows)) if straight else back[begin : begin + len(lane.rows)]
            begin += len(lane.rows)
            told = self._told(guess, part, ask, lane)
            settled = lane.rows.settled.sum(1)
            rows = lane.sampler.tell(lane.rows, ask, guidance.mix(lane.rows, told))
            if rows.source is not None:
                source[lane.slot] = lane.slot[rows.source]
                rows = replace(rows, source=None)
            lane.rows = self._ended(lane.sampler, rows)
            changed = (lane.rows.settled.sum(1) != settled) | lane.rows.done | (whole.level is not None)
            events += [self._event(lane, int(i)) for i in np.nonzero(changed & (lane.rows.member == 0))[0]]
        if self.state is not None and (source != np.arange(self.live)).any():
            moved = np.nonzero(source != np.arange(self.live))[0]
            self.state.put(moved, self.state.select(source[moved]), np.arange(len(moved)))
        self._leave()
        return events

    @staticmethod
    def _told(guess: Guess, part: NDArray[np.int64], ask: Ask, lane: _Lane) -> Guess:
        """A lane's share of the guess, cut to its own width."""
        width = ask.x.shape[1] if ask.level is not None else ask.want.shape[1]
        return Guess(guess.value[part][:, :width], guess.ready[part], guess.head)

    def _ended(self, sampler: Sampler, rows: Rows) -> Rows:
        """Offer rows whose end symbol is settled, with all before it, to their sampler."""
        space = self.network.space
        if not isinstance(space, Tokens) or space.end is None:
            return rows
        width = rows.x.shape[1]
        known = rows.settled & (np.arange(width) < rows.length[:, None])
        reached = np.where(known.all(1), width, known.argmin(1))  # all before it is settled
        ends = (rows.x == space.end).cpu().numpy() & (np.arange(width) < reached[:, None])
        row = np.nonzero(ends.any(1))[0]
        if len(row):
            return sampler.ended(rows, row, np.minimum(rows.length[row], ends.argmax(1)[row] + 1))
        return rows

    def _event(self, lane: _Lane, i: int) -> RowUpdate:
        length = int(lane.rows.length[i])
        return RowUpdate(
            request=int(lane.request[i]),
            row=int(lane.index[i]),
            x=lane.rows.x[i, :length].clone(),
            settled=lane.rows.settled[i, :length].copy(),
            length=length,
            done=bool(lane.rows.done[i]),
        )

    def _leave(self) -> None:
        """Rows of finished groups leave; the last live rows move into their slots."""
        freed: list[int] = []
        for key, lane in list(self.lanes.items()):
            rows = lane.rows
            if not rows.done.any():
                continue
            open_groups = np.unique(rows.group[~rows.done])
            kept = np.isin(rows.group, open_groups)
            if kept.all():
                continue
            freed += lane.slot[~kept].tolist()
            if kept.any():
                self.lanes[key] = self._keep(lane, kept)
            else:
                del self.lanes[key]
        if not freed:
            return
        remaining = self.live - len(freed)
        holes = sorted(slot for slot in freed if slot < remaining)
        movers = sorted(slot for lane in self.lanes.values() for slot in lane.slot.tolist() if slot >= remaining)
        if holes and self.state is not None:
            self.state.put(np.array(holes), self.state, np.array(movers))
        place = dict(zip(movers, holes, strict=True))
        for lane in self.lanes.values():
            lane.slot = np.array([place.get(slot, slot) for slot in lane.slot.tolist()])
        self.live = remaining

    def cancel(self, request: int, row: int | None = None) -> None:
        """Stop a request, or one of its rows; other rows are as if it had gone on.

        Each row that was not done has one more event at the next tick (or, where its request still waits, when that
        joins), as it stands; a whole request that still waits goes without.
        """
        if row is None:
            self.waiting = deque(item for item in self.waiting if item[0] != request)
        elif any(number == request for number, _ in self.waiting):
            self._stopped.setdefault(request, set()).add(row)
        for lane in [*self.lanes.values(), *(reader.lane for reader in self.readers)]:
            mine = lane.request == request
            if row is not None:
                mine &= lane.index == row
            lane.rows.done[mine] = True

    def run(self, request: Request) -> Iterator[RowUpdate]:
        """One request to its end."""
        number = self.submit(request)
        while not self.idle:
            yield from (event for event in self.tick() if event.request == number)


def join_asks(asks: Sequence[Ask]) -> Ask:
    """Several lanes' asks as one: canvases padded to the longest, wanted positions to the most."""
    if len(asks) == 1:
        return asks[0]
    width = max(ask.x.shape[1] for ask in asks)
    most = max(ask.want.shape[1] for ask in asks)

    def wide(value: Tensor, fill: float = 0) -> Tensor:
        pad = (0, 0) * (value.ndim - 2) + (0, width - value.shape[1])
        return torch.nn.functional.pad(value, pad, value=fill)

    presents = [torch.ones(ask.x.shape[:2], dtype=torch.bool) if ask.present is None else ask.present for ask in asks]
    memories = [ask.given for ask in asks if ask.given is not None]
    return Ask(
        x=torch.cat([wide(ask.x) for ask in asks]),
        want=np.concatenate([np.pad(a.want, ((0, 0), (0, most - a.want.shape[1])), constant_values=-1) for a in asks]),
        fixed=np.concatenate([ask.fixed for ask in asks]),
        level=None if asks[0].level is None else torch.cat([ask.level for ask in asks if ask.level is not None]),
        present=torch.cat([wide(present) for present in presents]),
        shown=None if asks[0].shown is None else torch.cat([wide(a.shown) for a in asks if a.shown is not None]),
        absent=None if asks[0].absent is None else torch.cat([wide(a.absent) for a in asks if a.absent is not None]),
        given=EncodedConditions.join(memories) if memories else None,
    )


def select_ask(ask: Ask, rows: NDArray[np.int64]) -> Ask:
    """Some of an ask's rows, in this order."""

    def pick(value: Tensor | None) -> Tensor | None:
        return None if value is None else value[rows]

    return Ask(
        x=ask.x[rows],
        want=ask.want[rows],
        fixed=ask.fixed[rows],
        level=pick(ask.level),
        present=pick(ask.present),
        shown=pick(ask.shown),
        absent=pick(ask.absent),
        given=None if ask.given is None else ask.given.select(rows),
    )
