"""The engine: rows of many requests go through one network together, and join and leave between calls.

One tick: waiting requests join; prompts that are being read go on by one chunk; then the samplers of all live rows ask,
share one network call, and take its guess. A request is checked when it is submitted; a later error ends that request
alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from seqloom.core.errors import UnsupportedQuery
from seqloom.engine.lanes import Lane, Prompt, completed, held, same
from seqloom.engine.limits import constrained, ended
from seqloom.engine.network_rows import CAPACITY, NetworkRows
from seqloom.engine.prompts import CHUNK, PromptReading, Prompts
from seqloom.engine.request import Request, RowUpdate
from seqloom.engine.running import AHEAD, RunningOn, steps_ahead
from seqloom.network.given import EncodedConditions
from seqloom.network.network import Network
from seqloom.processes.base import Process
from seqloom.samplers.base import Rows, Sampler
from seqloom.sequence.batch import Condition
from seqloom.sequence.guess import Ask, Gives, Guess
from seqloom.sequence.space import Tokens

WATCHED = 256
"""Every so many steps it is looked whether samplers go on at all."""


class Waiting(NamedTuple):
    """A request that has not begun: its number, its rows, and whether anything differentiates for it."""

    number: int
    gradient: bool
    lane: Lane


class Move(NamedTuple):
    """Rows of a lane that go on from other rows of it, `source` (B,), and how much of both is alike (B,)."""

    lane: Lane
    source: NDArray[np.int64]
    shared: NDArray[np.int64] | None


class Engine:
    """Continuous batching for every process: see the module's text. Not thread-safe: one owner calls `tick`.

    `beside` are further networks that samplers may ask, with their processes: other runs over the same symbols. With
    `steady` the numbers of a row of vectors have the same bits whatever the number of rows (see `alike`). Up to `ahead`
    elements of each row are made in one tick, beside the one that was asked for.
    """

    def __init__(
        self,
        network: Network,
        process: Process,
        *,
        beside: Sequence[tuple[Network, Process]] = (),
        never: Sequence[int] = (),
        capacity: int = CAPACITY,
        room: int | None = None,
        chunk: int = CHUNK,
        steady: bool = False,
        ahead: int = AHEAD,
    ) -> None:
        self.network, self.process = network, process
        self.memories = [NetworkRows(*one, room, steady) for one in [(network, process), *beside]]
        self.gives = process.kind_of_guess(network.space)
        for other, other_process in beside:
            if (other.space, other_process.kind_of_guess(other.space)) != (network.space, self.gives):
                raise UnsupportedQuery(
                    "models that are asked together make guesses of one kind over the same elements",
                    hint="put models beside each other that were trained on the same data with one process",
                )
        self.capacity, self.ahead = capacity, ahead
        self.never = torch.tensor(list(never), dtype=torch.int64)
        self.gradient = False
        self.waiting: deque[Waiting] = deque()
        self.lanes: dict[tuple[object, ...], Lane] = {}
        self.prompts = Prompts(self.memories, chunk)
        self.steps = 0
        self._live_calls = 0
        self._request_count = 0
        self._group_count = 0
        self._rows_left: dict[int, int] = {}
        self._errors: list[RowUpdate] = []

    @property
    def live(self) -> int:
        """Rows that share the calls."""
        return sum(memory.live for memory in self.memories)

    @property
    def calls(self) -> int:
        """Calls of a network so far."""
        return self._live_calls + self.prompts.calls

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.waiting or self.prompts or self.lanes or self._errors)

    def open(self, request: int) -> bool:
        """Whether a request still has rows, waiting or on their way."""
        return request in self._rows_left

    # ---- joining ------------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> int:
        """Queue a request; its number marks its updates. UnsupportedQuery where it cannot be answered."""
        sampler = request.sampler.prepared(self.process)
        gradient = self.process.needs_gradient or sampler.needs_gradient
        with mode(gradient):
            each = max((len(one.x) for one in request.given.values()), default=1)
            encoded = [self._encoded(memory.network, request.given, each) for memory in self.memories]
            sampler.check(self.gives, conditioned=encoded[0] is not None, networks=len(self.memories))
            if request.stops and not isinstance(self.network.space, Tokens):
                raise UnsupportedQuery("a model of numbers has no text to stop at", hint="leave the stop out")
            if request.constraint is not None and request.constraint.ordered and self.gives is not Gives.NEXT_LOGITS:
                raise UnsupportedQuery(
                    "only a model that writes from left to right can be held to a list of texts",
                    hint="use an autoregressive model, or allow a set of symbols",
                )
            count = sampler.rows_for(len(request.x))
            if count > self.capacity:
                raise UnsupportedQuery(
                    f"{count} rows are more than the engine's capacity of {self.capacity}", hint="ask for fewer at once"
                )
            lane = self._lane(sampler, request, encoded, each)
        self._request_count += 1
        self._rows_left[self._request_count] = len(lane.rows)
        self.waiting.append(Waiting(self._request_count, gradient, lane))
        return self._request_count

    @staticmethod
    def _encoded(network: Network, given: Mapping[str, Condition], rows: int) -> EncodedConditions | None:
        """The conditions of so many rows, and after them the null one; None where the network takes none."""
        encoded = network.encode(given, rows)
        if encoded is None:
            return None
        return EncodedConditions.join([encoded, network.encode({}, 1) or encoded])

    def _lane(self, sampler: Sampler, request: Request, encoded: Sequence[EncodedConditions | None], each: int) -> Lane:
        """Lay out a request's rows and start its sampler; the null condition stands after `each` encoded ones."""
        count, width = request.x.shape[:2]
        symbolic = isinstance(self.network.space, Tokens)
        settled = request.shown if symbolic else (request.shown | request.absent).all(-1)
        rows = Rows(
            x=request.x.clone(),
            settled=settled.cpu().numpy().copy(),
            length=np.full(count, width, np.int64),
            done=np.zeros(count, bool),
            key=request.key,
            group=np.arange(self._group_count, self._group_count + count),
            member=np.zeros(count, np.int64),
            origin=np.arange(count),
            null=np.zeros(count, bool),
            along={} if symbolic else {"shown": request.shown, "absent": request.absent},
            symbols=self._symbols,
        )
        self._group_count += count
        rows = sampler.start(self.process, self._sized(sampler, rows, request, encoded[0], each))
        network = sampler.ask(rows).network
        count, number = len(rows), self._request_count + 1
        conditions = np.where(rows.null, each, rows.origin if each > 1 else 0)
        return Lane(
            sampler,
            rows,
            np.full(count, number),
            np.zeros(count, np.int64) if network is None else network.copy(),
            np.zeros(count, np.int64),
            np.zeros(count, bool),
            [None if one is None else one.select(conditions) for one in encoded],
            {number: request},
        )

    @property
    def _symbols(self) -> int:
        """How many different symbols are made: an end is none of them where a length is said first."""
        space = self.network.space
        if not isinstance(space, Tokens):
            return 0
        return space.size if self.network.spec.length_first else space.total

    def _sized(
        self, sampler: Sampler, rows: Rows, request: Request, encoded: EncodedConditions | None, each: int
    ) -> Rows:
        """The rows as long as they are to be, where the process says that first and they may end where they will."""
        space = self.network.space
        open_ones = ~rows.settled[:, -1:].all() and not request.followed
        if not (isinstance(space, Tokens) and space.ends):
            return rows
        if not open_ones:
            return sampler.sized(rows, None, space.size)
        first = (~rows.settled).argmax(1)[:, None]
        given = None if encoded is None else encoded.select(rows.origin if each > 1 else np.zeros(len(rows), np.int64))
        begin = np.full(len(rows), request.begin)
        shown = torch.as_tensor(rows.settled, device=rows.x.device)
        ask = Ask(rows.x, first, np.zeros(len(rows), np.int64), shown=shown, given=given, begin=begin)
        law = self.process.lengths(self.network, ask)
        return sampler.sized(rows, None if law is None else law.cpu().numpy(), space.size)

    def tick(self) -> list[RowUpdate]:
        """One step for every row; what changed."""
        updates = self._join()
        with mode(self.gradient):
            self._read()
            if self.lanes:
                updates += self._step()
        updates += self._errors
        self._errors = []
        if self.idle:
            for memory in self.memories:
                memory.forget()
        return updates

    def _join(self) -> list[RowUpdate]:
        """Let waiting requests in, as far as there is room; rows with nothing to make are done at once."""
        updates: list[RowUpdate] = []
        begun: list[Lane] = []
        taken = self.live + sum(len(lane.rows) for lane in self.prompts.lanes)
        while self.waiting:
            _, gradient, lane = self.waiting[0]
            alone = not (self.lanes or self.prompts or begun)
            if taken + len(lane.rows) > self.capacity or (gradient != self.gradient and not alone):
                break
            if gradient != self.gradient:  # tensors of inference cannot be differentiated, so the two never mix
                self.gradient = gradient
                for memory in self.memories:
                    memory.forget()
            self.waiting.popleft()
            updates += self._updates(lane, np.zeros(len(lane.rows), bool))
            kept = np.isin(lane.rows.group, lane.rows.group[~lane.rows.done])
            self._release(lane.request[~kept])
            if not kept.any():
                continue
            with mode(self.gradient):
                begun.append(lane.select(kept))
            taken += int(kept.sum())
        with mode(self.gradient):
            self._admit(self.prompts.begin(begun))
        return updates

    def _read(self) -> None:
        """Read one chunk of every prompt; lanes whose prompts are read join the live rows."""
        ready, failed = self.prompts.read()
        for lane, error in failed:
            self._fail(int(lane.request[0]), error)
            self._release(lane.request)
        self._admit(ready)

    def _admit(self, readers: Sequence[PromptReading]) -> None:
        """Lanes whose prompts are read join the live rows of their kind, all at once: joining copies canvases."""
        alike: dict[tuple[object, ...], list[Lane]] = {}
        for reader in readers:
            self._place(reader.lane, reader.prompts)
            alike.setdefault(reader.lane.sampler.lane, []).append(reader.lane)
        for key, lanes in alike.items():
            self.lanes[key] = Lane.join([*([self.lanes[key]] if key in self.lanes else []), *lanes])

    def _place(self, lane: Lane, prompts: Sequence[Prompt]) -> None:
        """Give a lane's rows slots in the network states."""
        for number, memory in enumerate(self.memories):
            rows = np.nonzero(lane.network == number)[0]
            if not len(rows):
                continue
            lane.slot[rows] = slots = np.arange(memory.live, memory.live + len(rows))
            if self.process.incremental:
                longest = lane.rows.x.shape[1]
                memory.prepare(memory.live + len(rows), longest, lane.sampler.undo, self.capacity)
            memory.begin(slots, next((prompt for prompt in prompts if prompt.reading.network == number), None))
            memory.live += len(rows)

    # ---- a step -------------------------------------------------------------------------------------------------

    def _step(self) -> list[RowUpdate]:
        """All lanes ask, share one call of each network in slot order, and take its guess."""
        asks = self._ask()
        if not asks:
            return self._leave()
        self.steps += 1
        wants_gradient = any(lane.sampler.needs_gradient for lane, _ in asks)
        lengths = [None if memory.state is None else memory.state.length.copy() for memory in self.memories]
        try:
            with self._differentiated(wants_gradient):
                guess, order = self._guess(Ask.join([ask for _, ask in asks]), [lane for lane, _ in asks])
        except Exception as error:
            self._find_failing(asks, lengths, error)
            return self._leave()
        if len(self.never):
            guess.value.index_fill_(-1, self.never.to(guess.value.device), -torch.inf)
        updates: list[RowUpdate] = []
        moves: list[Move] = []
        begin = 0
        for lane, ask in asks:
            span = slice(begin, begin + len(lane.rows))
            begin = span.stop
            before = None if ask.level is not None else settled_cells(lane.rows)  # at a level all cells change
            try:
                moves += self._take(lane, ask, guess, span if order is None else order[span])
            except Exception as error:
                self._drop(lane, error)
                continue
            if len(asks) == 1 and not moves:
                self._run_on(lane)
            changed = np.ones(len(lane.rows), bool) if before is None else settled_cells(lane.rows) != before
            updates += self._updates(lane, changed)
        self._move(moves)
        return updates + self._leave()

    def _take(self, lane: Lane, ask: Ask, guess: Guess, mine: slice | NDArray[np.int64]) -> list[Move]:
        """A lane takes its rows of the guess; where some of its rows go on from others, their move.

        What goes wrong is raised, also where the sampler would ask for ever.
        """
        sampler, space = lane.sampler, self.network.space
        width = ask.x.shape[1] if ask.level is not None else ask.want.shape[1]
        over = lane.rows.done.copy()
        watched = held(lane.rows) if self.steps % WATCHED == 0 else None
        with self._differentiated(sampler.needs_gradient):
            own = constrained(guess.select(mine, width), ask, lane, space, self.gives is Gives.NEXT_LOGITS)
            rows = sampler.tell(lane.rows, ask, own if sampler.needs_gradient else own.detached())
        if watched is not None and own.ready.all() and not rows.done.all() and same(watched, rows):
            raise UnsupportedQuery(
                f"the sampler {sampler.name!r} goes on without end: `tell` changed nothing",
                hint="`tell` settles cells, or sets `done`, or goes on in `own`, where the guess is ready",
            )
        moves = [] if rows.source is None else [Move(lane, rows.source, rows.shared)]
        lane.rows = ended(replace(rows, source=None, shared=None) if moves else rows, lane, space, over)
        return moves

    def _run_on(self, lane: Lane) -> None:
        """Make further elements of the only lane there is at once, where its sampler only ever goes on."""
        memory, space = self.memories[0], self.network.space
        if len(self.memories) > 1 or self.prompts or self.gradient:
            return
        most = steps_ahead(lane, memory, space.end, self.ahead)
        if most:
            following = RunningOn(lane, memory, space, self.never, most)
            over = lane.rows.done.copy()
            try:
                lane.rows = ended(lane.sampler.run_on(lane.rows, most, following), lane, space, over)
            except Exception as error:
                self._drop(lane, error)
            self._live_calls += following.calls

    def _differentiated(self, wanted: bool) -> AbstractContextManager[None]:
        """What is computed inside has a gradient where one is wanted; inference has none anyway."""
        return torch.set_grad_enabled(wanted) if self.gradient else nullcontext()

    def _ask(self) -> list[tuple[Lane, Ask]]:
        """What each lane asks; a request that cannot ask is over, and the others of its lane go on."""
        asks = []
        for lane in list(self.lanes.values()):
            try:
                asks.append((lane, completed(lane.sampler.ask(lane.rows), lane)))
            except Exception as error:
                wrong = {
                    number: own
                    for number in np.unique(lane.request).tolist()
                    if (own := error_of_ask(lane.sampler, lane.rows.select(np.nonzero(lane.request == number)[0])))
                }
                for number, own in wrong.items():
                    self._end(lane, number, own)
                if not wrong:
                    self._drop(lane, error)
        if self._errors:
            self._leave()
            return [(lane, completed(lane.sampler.ask(lane.rows), lane)) for lane in self.lanes.values()]
        return asks

    def _find_failing(
        self, asks: Sequence[tuple[Lane, Ask]], lengths: Sequence[NDArray[np.int64] | None], error: Exception
    ) -> None:
        """A shared call failed: each request is tried alone, and those that fail are over.

        The others ask again at the next tick. All are over where none fails alone, or where the call had already
        changed a state that cannot go back.
        """
        failing: list[tuple[Lane, int, Exception]] = []
        try:
            for memory, length in zip(self.memories, lengths, strict=True):
                if memory.state is not None and length is not None:
                    for layer in memory.state.layers:
                        layer.rollback(np.repeat(length, memory.state.each))
            for lane, ask in asks:
                for number in np.unique(lane.request).tolist():
                    own = self._fails(lane, ask, np.nonzero(lane.request == number)[0])
                    if own is not None:
                        failing.append((lane, number, own))
        except ValueError:
            failing = []
        for lane, number, own in failing:
            self._end(lane, number, own)
        if not failing:
            for lane, _ in asks:
                self._drop(lane, error)

    def _fails(self, lane: Lane, ask: Ask, rows: NDArray[np.int64]) -> Exception | None:
        """What goes wrong where these rows of a lane ask alone; their states stay as they are."""
        for number in np.unique(lane.network[rows]).tolist():
            memory, own = self.memories[number], rows[lane.network[rows] == number]
            given = lane.conditions[number]
            alone = replace(ask.select(own), network=None, given=None if given is None else given.select(own))
            state = None if memory.state is None else memory.state.select(lane.slot[own])
            try:
                memory.process.guess(memory.network, alone, state)
            except Exception as error:
                return error
        return None

    def _guess(self, ask: Ask, lanes: Sequence[Lane]) -> tuple[Guess, NDArray[np.int64] | None]:
        """The guess of the networks, and in which row of it each row of the lanes stands (None: in this order)."""
        slots = np.concatenate([lane.slot for lane in lanes])
        if len(self.memories) == 1:
            if (slots[1:] > slots[:-1]).all():
                return self._call(0, ask, lanes, None), None
            order = np.argsort(slots)
            return self._call(0, ask, lanes, order), np.argsort(order)
        network = np.concatenate([lane.network for lane in lanes])
        parts = []
        for number in np.unique(network).tolist():
            rows = np.nonzero(network == number)[0]
            rows = rows[np.argsort(slots[rows])]
            parts.append((rows, self._call(number, ask, lanes, rows)))
        joined = Guess(
            torch.cat([guess.value for _, guess in parts]),
            np.concatenate([guess.ready for _, guess in parts]),
            parts[0][1].head,
            {name: torch.cat([guess.parts[name] for _, guess in parts]) for name in parts[0][1].parts},
        )
        return joined, np.argsort(np.concatenate([rows for rows, _ in parts]))

    def _call(self, number: int, ask: Ask, lanes: Sequence[Lane], rows: NDArray[np.int64] | None) -> Guess:
        """One call of one network for these rows, in the order of their slots."""
        memory = self.memories[number]
        count = len(ask.want) if rows is None else len(rows)
        extra = memory.fillers(count, ask.x.shape[1])
        if extra:
            rows = np.arange(count) if rows is None else rows
            rows = np.concatenate([rows, np.full(extra, rows[0])])
        ask = replace(ask if rows is None else ask.select(rows), network=None, given=memory.given(number, lanes, rows))
        if extra:
            ask.want[count:] = -1
        ask = memory.with_kept(ask)
        if not self.gradient and (read := memory.read_known(ask, lanes, rows)) is not None:
            ask = replace(ask, read=read)
        guess, _ = memory.process.guess(memory.net, ask, memory.state)
        self._live_calls += 1
        return guess.select(slice(0, count)) if extra else guess

    def _move(self, moves: Sequence[Move]) -> None:
        """Rows that go on from another row get its state; what both have read alike is not copied."""
        for lane, source, shared in moves:
            for number, memory in enumerate(self.memories):
                rows = np.nonzero((lane.network == number) & (source != np.arange(len(source))))[0]
                if not len(rows):
                    continue
                memory.forget_read()
                slots, origins = lane.slot[rows], lane.slot[source[rows]]
                since = 0
                if memory.state is not None and shared is not None:
                    begin = memory.state.origin
                    alike = (begin[slots] == begin[origins]).all()
                    since = max(0, int((shared[rows] - begin[slots]).min())) if alike else 0
                memory.put(slots, origins, since)

    # ---- leaving ------------------------------------------------------------------------------------------------

    def _updates(self, lane: Lane, changed: NDArray[np.bool_]) -> list[RowUpdate]:
        """The updates of rows that changed and are watched, and of rows that are done and were not reported as done."""
        rows = lane.rows
        newly = rows.done & ~lane.reported
        live = np.nonzero(~rows.done)[0]
        told = lane.watched
        if not told.all():
            told = told.copy()
            first = live[:1] if len(lane.requests) == 1 else live[np.unique(lane.request[live], return_index=True)[1]]
            told[first] = True
        chosen = np.nonzero(newly | (changed & ~rows.done & told))[0]
        if not len(chosen):
            return []
        answers, scores = lane.sampler.answer(rows), lane.sampler.scores(rows)
        lane.reported |= newly & (answers >= 0)  # a row may turn out to be an answer later, when its group is done
        return [
            RowUpdate(
                request=int(lane.request[i]),
                row=int(answers[i]),
                x=rows.x[i, : int(rows.length[i])].clone(),
                settled=rows.settled[i, : int(rows.length[i])].copy(),
                length=int(rows.length[i]),
                done=bool(rows.done[i]),
                score=None if scores is None else float(scores[i]),
            )
            for i in chosen.tolist()
            if answers[i] >= 0
        ]

    def _leave(self) -> list[RowUpdate]:
        """Rows of finished groups leave; the last live rows move into their slots."""
        updates: list[RowUpdate] = []
        freed: list[list[int]] = [[] for _ in self.memories]
        for key, lane in list(self.lanes.items()):
            rows = lane.rows
            if not rows.done.any():
                continue
            updates += self._updates(lane, np.zeros(len(rows), bool))
            kept = np.isin(rows.group, rows.group[~rows.done])
            if kept.all():
                continue
            for number in range(len(self.memories)):
                freed[number] += lane.slot[~kept & (lane.network == number)].tolist()
            self._release(lane.request[~kept])
            if kept.any():
                self.lanes[key] = lane.select(kept)
            else:
                del self.lanes[key]
        for number, slots in enumerate(freed):
            if slots:
                self._compact(number, slots)
        return updates

    def _compact(self, number: int, freed: Sequence[int]) -> None:
        memory = self.memories[number]
        remaining = memory.live - len(freed)
        holes = sorted(slot for slot in freed if slot < remaining)
        mine = [(lane, np.nonzero(lane.network == number)[0]) for lane in self.lanes.values()]
        movers = sorted(slot for lane, rows in mine for slot in lane.slot[rows].tolist() if slot >= remaining)
        if holes:
            memory.put(np.array(holes), np.array(movers))
        if memory.state is not None and memory.block > 1:
            # Fillers take these slots: what is left there must not be read.
            memory.state.clear(np.arange(remaining, memory.live))
        moved = dict(zip(movers, holes, strict=True))
        for lane, rows in mine:
            lane.slot[rows] = [moved.get(slot, slot) for slot in lane.slot[rows].tolist()]
        memory.live = remaining

    def _release(self, requests: NDArray[np.int64]) -> None:
        """Rows of these requests are gone."""
        for number, count in zip(*np.unique(requests, return_counts=True), strict=True):
            self._rows_left[int(number)] -= int(count)
            if not self._rows_left[int(number)]:
                del self._rows_left[int(number)]

    def _fail(self, number: int, error: Exception) -> None:
        nothing = torch.zeros(0)
        self._errors.append(RowUpdate(number, -1, nothing, np.zeros(0, bool), 0, True, error=error))

    def _end(self, lane: Lane, number: int, error: Exception) -> None:
        """One request of a lane is over."""
        self._fail(number, error)
        lane.rows.done[lane.request == number] = lane.reported[lane.request == number] = True

    def _drop(self, lane: Lane, error: Exception) -> None:
        """All requests of a lane are over."""
        for number in np.unique(lane.request[~lane.reported]).tolist():
            self._fail(number, error)
        lane.rows.done[:] = lane.reported[:] = True

    def cancel(self, request: int, row: int | None = None) -> None:
        """Stop a request, or one of its rows; other rows are as if it had gone on.

        Each row that was not done has one more update at the next tick (or, where its request still waits, when that
        joins), as it stands; a whole request that still waits goes without.
        """
        if row is None:
            for one in self.waiting:
                if one.number == request:
                    self._release(one.lane.request)
            self.waiting = deque(one for one in self.waiting if one.number != request)
        for lane in [*self.lanes.values(), *self.prompts.lanes, *(one.lane for one in self.waiting)]:
            mine = lane.request == request
            if row is not None:
                mine &= lane.rows.origin == row
            lane.rows.done[mine] = True

    def run(self, request: Request) -> Iterator[RowUpdate]:
        """One request to its end; what goes wrong with it is raised here."""
        number = self.submit(request)
        while self.open(number) or self._errors:
            for update in self.tick():
                if update.request == number:
                    if update.error is not None:
                        raise update.error
                    yield update


def mode(gradient: bool) -> AbstractContextManager[None]:
    """The mode in which tensors are made: inference mode, unless a process or sampler differentiates."""
    return torch.no_grad() if gradient else torch.inference_mode()


def settled_cells(rows: Rows) -> NDArray[np.int64]:
    """How many positions of each row (B,) are settled."""
    return np.asarray(np.count_nonzero(rows.settled, axis=1))


def error_of_ask(sampler: Sampler, rows: Rows) -> Exception | None:
    """What goes wrong where a sampler asks about these rows alone: whatever it is, it is the request's to report."""
    try:
        sampler.ask(rows)
    except Exception as error:
        return error
    return None
