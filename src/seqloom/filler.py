"""How canvases are filled in: window after window, by the engine that all queries of a model share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqloom.codecs.base import Codec
from seqloom.core.rng import Rng
from seqloom.engine import CAPACITY, Engine, Request, Shared
from seqloom.engine.stages import Stage, gaps_in, windows_of
from seqloom.given import Given
from seqloom.network.network import Network
from seqloom.processes.base import Process
from seqloom.sequence.batch import Condition
from seqloom.sequence.canvas import Canvas
from seqloom.sequence.constraint import AtPositions, Beginnings, Constraint, Every
from seqloom.sequence.guess import Gives
from seqloom.sequence.query import Frame, Query
from seqloom.sequence.windows import aligned, stride

MEMORY = 256
"""Elements after which a recurrent state hardly depends on those before them; two windows where these are more."""
PARTS = 1 << 32
"""What the sequences of a sample draw from begins here, above the numbers of stages."""


class Running:
    """How far a query is: the last frame of each of its rows, and how many of the positions to be made are settled."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self.empty = [~canvas.settled for canvas in query.canvases]
        self.total = max(1, query.count * sum(int(empty.sum()) for empty in self.empty))
        self.finished = 0
        self.last: dict[tuple[int, int], Frame] = {}
        self._heard = self._unheard = 0

    def take(self, frame: Frame) -> None:
        """Keep a frame."""
        place = frame.row, frame.part
        before, settled = self.last.get(place), self._settled(frame)
        self._heard += settled - (0 if before is None else self._settled(before))
        self._unheard = 0 if frame.done or self.query.watched else settled * (frame.live - 1)
        self.finished += frame.done - (before is not None and before.done)
        self.last[place] = frame

    @property
    def settled(self) -> int:
        """Positions that are final; where not all samples are watched, as many as if they were alike."""
        return min(self.total, self._heard + self._unheard)

    @property
    def done(self) -> int:
        """Samples all of which is made."""
        return self.finished // len(self.empty)

    @property
    def ordered(self) -> list[Frame]:
        """The last frames, row by row."""
        return [self.last[place] for place in sorted(self.last)]

    def _settled(self, frame: Frame) -> int:
        empty = self.empty[frame.part]
        return int(empty.sum()) if frame.done else int((frame.settled & empty[: len(frame.settled)]).sum())


@dataclass(frozen=True)
class Canvases:
    """The canvas of a query once for each of its samples (n,T[,D]), as far as they are filled.

    Where each goes on from a stretch of the training data of its own, `positions` say where in these data what is made
    begins, and `beside` are the conditions there.
    """

    x: Tensor
    shown: Tensor
    absent: Tensor
    positions: Sequence[int | None]
    beside: Mapping[str, Condition]

    def window(self, rows: NDArray[np.int64], begin: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
        """What stands in a window of some of them, what is shown of it, and what does not exist."""
        return self.x[rows, begin:end], self.shown[rows, begin:end], self.absent[rows, begin:end]


class Filler:
    """The engine of a model, made when it is needed, and the way in which canvases go through it.

    A window that is seen at once makes up to `ahead` elements at a time, half of it where that is None. `others` are
    asked beside the model, by samplers that ask several, and `capacity` rows share the engine's calls.
    """

    def __init__(
        self,
        codec: Codec,
        process: Process,
        network: Network,
        given: Given,
        *,
        ahead: int | None = None,
        others: Sequence[tuple[Network, Process]] = (),
        capacity: int = CAPACITY,
    ) -> None:
        self.codec, self.process, self.network, self.given = codec, process, network, given
        self.ahead, self.others, self.capacity = ahead, list(others), capacity
        self._engine: Shared | None = None
        self._made_in = 0

    def like(self, *, others: Sequence[tuple[Network, Process]] = (), capacity: int = 0) -> Filler:
        """This one with an engine of its own: with others beside those it has, or for more rows."""
        return Filler(
            self.codec,
            self.process,
            self.network,
            self.given,
            ahead=self.ahead,
            others=[*self.others, *others],
            capacity=max(capacity, self.capacity),
        )

    @property
    def shared(self) -> Shared:
        """The engine in which all queries of this model run, whichever thread they come from; a child has its own."""
        if self._engine is None or self._made_in != os.getpid():
            engine = Engine(
                self.network,
                self.process,
                beside=self.others,
                never=self.codec.never,
                capacity=self.capacity,
                steady=True,
            )
            self._engine, self._made_in = Shared(engine), os.getpid()
        return self._engine

    def frames(self, query: Query) -> Iterator[Frame | None]:
        """The frames of a query as its samples are made, row by row of the call that changed them.

        None comes where something was asked that is not begun yet, so that others can ask before anything is computed.
        """
        for part, canvas in enumerate(query.canvases):
            yield from self._part(replace(query, canvas=canvas), part)

    def _part(self, query: Query, part: int) -> Iterator[Frame | None]:
        """The frames of one of the sequences that each sample is made of."""
        canvas, cut, stages = self.plan(query.canvas)
        sampler = query.sampler.prepared(self.process)
        most = query.count if sampler.together else max(1, self.capacity // sampler.rows_for(1))
        began = self.shared.engine.calls
        for first in range(0, query.count, most):
            rows = np.arange(first, min(query.count, first + most))
            for frame in self._fill(canvas, stages, query, rows, cut, part, began):
                if frame is None or not cut:
                    yield frame
                    continue
                x = np.concatenate([query.canvas.x[:cut].astype(frame.x.dtype), frame.x])
                yield replace(frame, x=x, settled=np.concatenate([np.ones(cut, bool), frame.settled]))

    def _fill(
        self,
        canvas: Canvas,
        stages: Sequence[Stage],
        query: Query,
        rows: NDArray[np.int64],
        cut: int,
        part: int,
        began: int,
    ) -> Iterator[Frame | None]:
        """One set of rows through all stages; each stage's canvas holds what the stage before has made.

        Network calls are counted from when `began` of them had been made.
        """
        key = (Rng.in_pairs if query.paired else Rng.of)(query.seed, rows + query.first_row)
        filled = self._laid_out(canvas, query, key)
        key = key.fork(PARTS + part) if part else key
        active, settled = np.arange(len(rows)), canvas.settled
        for number, stage in enumerate(stages):
            own = (key if number == 0 else key.fork(number)).select(active)
            request, read = self._request(filled, canvas, stage, query, active, own, cut)
            live, last = len(active), number == len(stages) - 1
            ended: list[int] = []
            for update in self.shared.run(request):
                if update is None:
                    yield None
                    continue
                row, made = int(active[update.row]), update.length - read
                stop = stage.begin + made
                filled.x[row, stage.begin : stop] = update.x[read:]
                if made < stage.length:  # it came to an end
                    ended.append(row)
                whole = len(canvas) if made == stage.length else stop
                settled_now = settled[:whole].copy()
                settled_now[stage.begin : stop] = update.settled[read:]
                yield Frame(
                    int(rows[row]) + query.first_row,
                    filled.x[row, :whole].cpu().numpy().copy(),
                    settled_now,
                    update.done and (last or row in ended),
                    self.shared.engine.calls - began,
                    update.score,
                    part,
                    live,
                    filled.positions[row],
                )
                live -= update.done
            here = slice(stage.begin, stage.begin + stage.length)
            settled[here] = True
            filled.shown[:, here] |= ~filled.absent[:, here]
            active = np.array([row for row in active if row not in ended], np.int64)
            if not len(active):
                return

    def _laid_out(self, canvas: Canvas, query: Query, key: Rng) -> Canvases:
        """The canvas once for each key; what samples go on from is drawn where they have no beginning of their own."""
        like, count = next(self.network.parameters()), len(key)
        x, shown, absent = (
            torch.as_tensor(one, device=like.device).repeat(count, *[1] * one.ndim)
            for one in (canvas.x, canvas.shown, canvas.absent)
        )
        x = x.long() if self.network.space.symbolic else x.to(like)
        positions: list[int | None] = [None] * count
        beside: Mapping[str, Condition] = {}
        if canvas.openings is not None:
            owner, first = canvas.openings.places(key.at("opening").uniform(1)[:, 0])
            before, known = canvas.openings.at(owner, first)
            own = torch.from_numpy(known).to(like.device)
            x[:, : canvas.context] = torch.from_numpy(before).to(like)
            shown[:, : canvas.context], absent[:, : canvas.context] = own, ~own
            positions = (first + canvas.openings.length).tolist()
            beside = self.given.at_places(canvas, query.given, owner, first)
        if self.network.spec.mask is not None:
            x = x.masked_fill(~shown, self.network.spec.mask)
        return Canvases(x, shown, absent, positions, beside)

    def _request(
        self, filled: Canvases, canvas: Canvas, stage: Stage, query: Query, rows: NDArray[np.int64], key: Rng, cut: int
    ) -> tuple[Request, int]:
        """What is asked of the engine in a window for some rows, and how many elements are read ahead of the window."""
        end = stage.begin + stage.length
        x, shown, absent = filled.window(rows, stage.begin, end)
        read, begin = 0, cut + stage.begin
        if stage.after:  # what stands on both sides of a gap comes first, and counts from there
            before, _, _ = filled.window(rows, stage.begin - stage.before, stage.begin)
            after, _, _ = filled.window(rows, end, end + stage.after)
            lead = self.process.led(self.network.space, before, after, stage.length)
            told, read = torch.ones_like(lead, dtype=torch.bool), lead.shape[1]
            x, shown, absent = (torch.cat([led, one], 1) for led, one in ((lead, x), (told, shown), (~told, absent)))
        given = self.given.window(query.given, begin, stage.length)
        if filled.beside:
            here = slice(stage.begin, end)
            given = {name: self.given.part(name, one, rows, here) for name, one in filled.beside.items()}
        request = Request(
            x,
            shown,
            absent,
            query.sampler,
            key,
            given,
            query.stops,
            self._constraint(query.constraint, canvas, begin - read, read + stage.length),
            0 if stage.after else begin,
            bool(canvas.partly_shown[end:].any()),
            query.watched,
            None if query.bias is None else torch.as_tensor(query.bias, device=x.device),
        )
        return request, read

    def _constraint(self, asked: Constraint | None, canvas: Canvas, begin: int, length: int) -> Constraint | None:
        """What may be drawn in a window of a canvas, which begins at position `begin` of the whole one."""
        limits: list[Constraint] = []
        here = {at - begin: one for at, one in canvas.begun.items() if begin <= at < begin + length}
        if here and self.in_order:
            limits.append(Beginnings(here))
        elif here:
            limits.append(AtPositions({at: np.array(one.symbols(one.text, whole=True)) for at, one in here.items()}))
        only = {at - begin: symbols for at, symbols in canvas.only.items() if begin <= at < begin + length}
        limits += [AtPositions(only)] if only else []
        limits += [] if asked is None else [asked]
        return Every.of(limits)

    @property
    def in_order(self) -> bool:
        """Whether elements are made from left to right."""
        return self.process.kind_of_guess(self.network.space) is Gives.NEXT_LOGITS

    # --- windows ----------------------------------------------------------------------------------------------

    def plan(self, canvas: Canvas) -> tuple[Canvas, int, list[Stage]]:
        """The part of a canvas that is used, how much stands before it unseen, and the windows in which it is filled.

        UnsupportedQuery where no window holds a gap.
        """
        canvas, cut = self._cropped(self._with_end(canvas))
        return canvas, cut, self._stages(canvas, cut)

    def _stages(self, canvas: Canvas, cut: int) -> list[Stage]:
        window, positions = self.network.window, self.codec.positions
        if self.process.fills and self.network.space.symbolic:
            return list(gaps_in(canvas, window, positions))
        if self.process.incremental:
            return [Stage(0, len(canvas))]

        def called(position: int) -> str:
            return self.codec.place(canvas.origin, cut + position)

        return list(windows_of(canvas, window, self.ahead or window // 2, positions, called))

    @property
    def reads(self) -> int | None:
        """Elements before the first that is made which are of account; None: all, from the beginning on.

        A series may be gone on with from anywhere; a text or a drawing is read from its beginning.
        """
        window, space = self.network.window, self.network.space
        if not self.process.incremental:
            return window
        if space.symbolic or space.end is not None:
            return None
        beside = 0 if self.network.reach is None else stride(self.network.reach)
        return self.process.past + max(MEMORY, 2 * window) + beside

    def _cropped(self, canvas: Canvas) -> tuple[Canvas, int]:
        """The part of a canvas that the network can use, and how much was cut off its beginning."""
        empty = np.nonzero(~canvas.settled)[0]
        if self.reads is None or not len(empty):
            return canvas, 0
        cut = max(0, int(empty[0]) - self.reads)
        if not self.process.incremental:
            cut = min(cut, max(0, len(canvas) - self.network.window))
        else:  # so that a last window ends with the canvas: what is shorter than half of one is made without a move
            more = aligned(len(canvas) - cut, self.network.reach)
            cut += more if empty[0] - cut - more >= self.process.past + self.network.window else 0
        return replace(canvas, x=canvas.x[cut:], shown=canvas.shown[cut:], absent=canvas.absent[cut:]), cut

    def _with_end(self, canvas: Canvas) -> Canvas:
        """The canvas with the channel of the end flag, where there is one: nothing ends at or before what is given."""
        if self.network.space.symbolic or self.network.space.end is None:
            return canvas
        shown = canvas.partly_shown
        followed = np.arange(len(shown)) < (shown.nonzero()[0].max() if shown.any() else 0)
        given = (canvas.settled | followed)[:, None]
        x = np.pad(canvas.x, ((0, 0), (0, 1)))
        return replace(
            canvas,
            x=x,
            shown=np.concatenate([canvas.shown, given], 1),
            absent=np.concatenate([canvas.absent, np.zeros_like(given)], 1),
        )
