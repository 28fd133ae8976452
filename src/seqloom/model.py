"""Model: codec, process and network together, with the verbs. Every verb is one query: fill in the rest of a canvas."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqloom import run as runs
from seqloom.codecs.base import Codec
from seqloom.core.errors import UnsupportedQuery
from seqloom.core.rng import Rng
from seqloom.corpora.base import Flat
from seqloom.engine import CAPACITY, Engine, Request
from seqloom.metrics import likelihood
from seqloom.network.network import Network
from seqloom.processes.base import Process
from seqloom.recipe import default_sampler
from seqloom.samplers.base import Sampler
from seqloom.sequence.batch import Condition
from seqloom.sequence.canvas import Canvas, Encoded
from seqloom.sequence.query import Frame, Query, Score
from seqloom.sequence.space import Tokens


@dataclass(frozen=True)
class Answer:
    """Samples, in their own units: `values[i]` came from row `rows[i]` of seed `seed`."""

    values: Sequence[Any]
    seed: int
    rows: Sequence[int]
    paths: NDArray[np.float64] | None = None
    """For series: the numbers (n, T, D) of all samples."""
    made: int = 0
    """How many elements at the end of each value are new."""

    def quantile(self, q: float) -> NDArray[np.float64]:
        """The q-quantile over the samples, at each position and channel (T, D)."""
        numbers = self._numbers()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="All-NaN")  # a cell that nobody knows stays so
            return np.nanquantile(numbers, q, axis=0)

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean over the samples (T, D)."""
        return np.asarray(self._numbers().mean(0))

    def _numbers(self) -> NDArray[np.float64]:
        if self.paths is None:
            raise UnsupportedQuery("only samples of series have means and quantiles")
        return self.paths


@dataclass(frozen=True)
class _Stage:
    """One window of a canvas that is filled at a time."""

    begin: int
    length: int


class Model:
    """What a run is loaded as. `sampler` is what the verbs use unless told otherwise."""

    def __init__(
        self,
        codec: Codec,
        process: Process,
        network: Network,
        *,
        given: Mapping[str, Codec] | None = None,
        sampler: Sampler | None = None,
        notes: Sequence[str] = (),
        run: runs.Run | None = None,
    ) -> None:
        self.codec, self.process, self.network = codec, process, network
        self.given = dict(given or {})
        self.sampler = sampler or default_sampler(process)
        self.notes = list(notes)
        self.run = run

    # --- the one question -------------------------------------------------------------------------------------

    def stream(self, query: Query) -> Iterator[Frame]:
        """The frames of a query as its samples are made, row by row of the call that changed them."""
        whole = len(query.canvas)
        canvas, cut = self._cropped(query.canvas)
        stages = list(self._stages(canvas))
        width = 1 + (query.sampler.guidance != 1)
        most = max(1, CAPACITY // width)
        for first in range(0, query.count, most):
            rows = np.arange(first, min(query.count, first + most))
            for frame in self._fill(canvas, stages, query, rows):
                yield self._uncropped(frame, query.canvas, cut, whole)

    def _fill(self, canvas: Canvas, stages: Sequence[_Stage], query: Query, rows: NDArray[np.int64]) -> Iterator[Frame]:
        """One set of rows through all stages; each stage's canvas holds what the stage before has made."""
        tokens = isinstance(self.network.space, Tokens)
        like = next(self.network.parameters())
        x = torch.as_tensor(canvas.x).repeat(len(rows), *[1] * canvas.x.ndim)
        x = x.long() if tokens else x.to(like)
        shown = torch.as_tensor(canvas.shown).repeat(len(rows), *[1] * canvas.shown.ndim)
        absent = torch.as_tensor(canvas.absent).repeat(len(rows), *[1] * canvas.absent.ndim)
        if self.network.spec.mask is not None:
            x = x.masked_fill(~shown, self.network.spec.mask)
        alive = np.arange(len(rows))
        key = Rng.of(query.seed, rows + query.first_row)
        given = self._conditions(query.given)
        engine = self.engine(len(rows) * 2)
        for number, stage in enumerate(stages):
            part = slice(stage.begin, stage.begin + stage.length)
            keys = key if number == 0 else key.fork(number)
            request = Request(
                x[alive, part], shown[alive, part], absent[alive, part], query.sampler, keys.select(alive), given
            )
            last = number == len(stages) - 1
            settled = self._given_places(canvas)
            for earlier in stages[:number]:
                settled[earlier.begin : earlier.begin + earlier.length] = True
            ended: list[int] = []
            for event in engine.run(request):
                row = int(alive[event.row])
                stop = stage.begin + event.length
                x[row, stage.begin : stop] = event.x
                whole = len(canvas)
                if event.length < stage.length:  # the end symbol came
                    whole = stop
                    ended.append(row)
                now = settled[:whole].copy()
                now[stage.begin : stop] = event.settled
                made = x[row, :whole].cpu().numpy().copy()
                done = event.done and (last or row in ended)
                yield Frame(int(rows[row]) + query.first_row, made, now, done, engine.calls)
            shown[:, part] |= ~absent[:, part]
            alive = np.array([row for row in alive if row not in ended], np.int64)
            if not len(alive):
                return

    def engine(self, capacity: int = CAPACITY) -> Engine:
        """An engine of this model: what the verbs and a server run their rows in."""
        return Engine(self.network, self.process, never=self.codec.never, capacity=capacity)

    def _stages(self, canvas: Canvas) -> Iterator[_Stage]:
        """Windows in which to fill a canvas: one, unless the process sees all at once and the canvas is longer.

        Each window sees half of itself before what it makes; a gap that fits is put in the middle of its window.
        """
        window, total = self.network.window, len(canvas)
        if self.process.incremental or total <= window:
            yield _Stage(0, total)
            return
        empty = ~self._given_places(canvas)
        while empty.any():
            begin = int(empty.argmax())
            closed = np.nonzero(~empty[begin:])[0]
            gap = int(closed[0]) if len(closed) else total - begin
            if len(closed) and gap >= window:
                raise UnsupportedQuery(
                    f"the gap of {gap} elements at {begin} has known ones after it; the model sees {window} at once",
                    hint="leave out what follows the gap and extend, or train with a larger feed.window",
                )
            before = window // 2 if gap >= window // 2 else (window - gap) // 2
            start = int(np.clip(begin - before, 0, total - window))
            yield _Stage(start, window)
            empty[start : start + window] = False

    def _cropped(self, canvas: Canvas) -> tuple[Canvas, int]:
        """What of a canvas the network can need, and how much was cut off its beginning; short ones are made whole."""
        if self.process.incremental:
            return canvas, 0
        window = self.network.window
        open_places = np.nonzero(~self._given_places(canvas))[0]
        cut = max(0, int(open_places[0]) - window) if len(open_places) else 0
        cut = min(cut, max(0, len(canvas) - window))
        extra = max(0, window - (len(canvas) - cut)) if len(open_places) else 0
        pad = ((0, extra),) + ((0, 0),) * (canvas.x.ndim - 1)
        return Canvas(
            np.pad(canvas.x[cut:], pad), np.pad(canvas.shown[cut:], pad), np.pad(canvas.absent[cut:], pad)
        ), cut

    @staticmethod
    def _uncropped(frame: Frame, canvas: Canvas, cut: int, whole: int) -> Frame:
        """The frame with what was cut off put back, and what was only made to fill the window left out."""
        x = np.concatenate([canvas.x[:cut].astype(frame.x.dtype), frame.x])[:whole]
        settled = np.concatenate([np.ones(cut, bool), frame.settled])[:whole]
        return Frame(frame.row, x, settled, frame.done, frame.call)

    def _conditions(self, given: Mapping[str, Encoded]) -> dict[str, Condition]:
        conditions = {}
        for name, item in given.items():
            x = torch.as_tensor(np.ascontiguousarray(item.x))[None]
            x = x.long() if not x.is_floating_point() else x
            conditions[name] = Condition(x, torch.ones(1, len(item.x), dtype=torch.bool))
        return conditions

    # --- the verbs --------------------------------------------------------------------------------------------

    def query(
        self,
        canvas: Canvas,
        count: int = 1,
        seed: int = 0,
        sampler: Sampler | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> Query:
        """A query of this model; conditions are values of their codecs."""
        return Query(canvas, sampler or self.sampler, count, seed, 0, self.encode_given(given or {}))

    def encode_given(self, given: Mapping[str, Any]) -> dict[str, Encoded]:
        """Conditions as numbers; UnsupportedQuery for one that the model does not know."""
        for name in given:
            if name not in self.given:
                known = ", ".join(self.given) or "none"
                raise UnsupportedQuery(f"the model has no condition {name!r}", hint=f"its conditions: {known}")
        return {name: self.given[name].encode(value) for name, value in given.items()}

    def answer(self, query: Query) -> Answer:
        """All samples of a query, when they are done."""
        last: dict[int, Frame] = {}
        for frame in self.stream(query):
            last[frame.row] = frame
        rows = sorted(last)
        return self.collect(query, [last[row] for row in rows])

    def collect(self, query: Query, frames: Sequence[Frame]) -> Answer:
        """The samples of a query from the last frame of each row."""
        values = [self.decode(frame, query.canvas) for frame in frames]
        paths = None
        if not isinstance(self.network.space, Tokens):
            paths = np.stack([np.asarray(value.values, np.float64) for value in values])
        made = len(query.canvas) - int(np.count_nonzero(self._given_places(query.canvas)))
        return Answer(values, query.seed, [frame.row for frame in frames], paths, made)

    @staticmethod
    def _given_places(canvas: Canvas) -> NDArray[np.bool_]:
        settled = canvas.shown | canvas.absent
        return np.asarray(settled if settled.ndim == 1 else settled.all(1))

    def decode(self, frame: Frame, canvas: Canvas) -> Any:
        """What a frame shows, in its own units; the end symbol is left out."""
        x = frame.x
        space = self.network.space
        if isinstance(space, Tokens):
            kept = frame.settled & (x < space.size)
            stop = int(kept.argmin()) if not kept.all() else len(x)
            if frame.done:
                stop = int((x >= space.size).argmax()) if (x >= space.size).any() else len(x)
            x = x[:stop]
            known = np.ones(len(x), bool)
        else:
            known = ~canvas.absent[: len(x)]
        return self.codec.decode(Encoded(x, known, canvas.origin))

    def sample(
        self,
        n: int = 1,
        length: int | None = None,
        *,
        seed: int = 0,
        sampler: Sampler | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> Answer:
        """`n` samples of `length` new elements from nothing (the training window by default)."""
        canvas = self.codec.canvas(None, length or self.network.window)
        return self.answer(self.query(canvas, n, seed, sampler, given))

    def extend(
        self,
        prefix: Any,
        length: int,
        *,
        n: int = 1,
        seed: int = 0,
        sampler: Sampler | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> Answer:
        """`n` continuations of a prefix by `length` elements; the values hold the prefix too."""
        return self.answer(self.query(self.codec.canvas(prefix, length), n, seed, sampler, given))

    def infill(
        self,
        template: Any,
        *,
        n: int = 1,
        seed: int = 0,
        sampler: Sampler | None = None,
        given: Mapping[str, Any] | None = None,
        gap: int | None = None,
        blank: str | None = None,
    ) -> Answer:
        """`n` ways to fill the gaps of a template, as its codec writes them."""
        return self.answer(self.query(self.codec.canvas(template, None, gap, blank), n, seed, sampler, given))

    def forecast(
        self, history: Any, horizon: int, *, n: int = 100, seed: int = 0, sampler: Sampler | None = None
    ) -> Answer:
        """`n` paths of the next `horizon` elements; `quantile` and `mean` of the answer summarise them."""
        return self.extend(history, horizon, n=n, seed=seed, sampler=sampler)

    def score(
        self,
        value: Any,
        *,
        given: Mapping[str, Any] | None = None,
        name: str = "likelihood",
        tokens: bool = False,
        full: bool = False,
        seed: int = 0,
        progress: likelihood.Progress | None = None,
    ) -> Score:
        """What a value costs under the model, in nats, with unit, kind and standard error."""
        encoded = self.codec.encode(value)
        conditions = {
            key: Flat(item.x, np.array([0, len(item.x)])) for key, item in self.encode_given(given or {}).items()
        }
        known = None if encoded.known.all() else encoded.known
        reading = likelihood.Reading(
            Flat(encoded.x, np.array([0, len(encoded.x)]), known),
            self.network.space,
            self.codec.unit,
            self.codec.count(value),
            self.codec.extra_nats(value),
            self.codec.log_scales,
            conditions or None,
            bits=self.codec.bits,
        )
        return likelihood.score(
            self.network, self.process, reading, name, tokens=tokens, full=full, seed=seed, progress=progress
        )


def load(run: Path | str | runs.Run, weights: runs.WeightsChoice = "best") -> Model:
    """The model of a run folder; `weights` chooses the best checkpoint by validation or the last one."""
    found = run if isinstance(run, runs.Run) else runs.read(run)
    network, notes = found.load_network(weights)
    return Model(
        found.codec,
        found.recipe.process,
        network,
        given={name: codec for name, (codec, _) in found.given.items()},
        sampler=found.recipe.sampler,
        notes=notes,
        run=found,
    )
