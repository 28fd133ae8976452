"""Model: codec, process and network together, with the verbs. Every verb is one query: fill in the rest of a canvas."""

from __future__ import annotations

import copy
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqloom import run as runs
from seqloom.classifying import Classifier
from seqloom.codecs.base import Codec
from seqloom.core.config import make
from seqloom.core.errors import ConfigError, DataError, SeqloomError, UnsupportedQuery
from seqloom.core.rng import checked_seed
from seqloom.corpora.base import Flat, Split, sources_of
from seqloom.corpora.packed import Packed
from seqloom.filler import Filler, Running
from seqloom.given import Given
from seqloom.histories import History, check_horizon, history_of
from seqloom.limits import Limits
from seqloom.metrics import likelihood
from seqloom.metrics.attended import attended_by
from seqloom.metrics.likeness import Likeness, least_risk
from seqloom.network.network import Network
from seqloom.processes.base import Process
from seqloom.recipe import default_sampler
from seqloom.samplers.base import Sampler
from seqloom.samplers.views import within
from seqloom.sequence.alignment import NOTHING, Alignment
from seqloom.sequence.answer import Answer, Answers
from seqloom.sequence.canvas import Canvas, Encoded, Openings
from seqloom.sequence.query import Frame, Query, Score
from seqloom.sequence.space import Tokens
from seqloom.several import apart, in_order, next_size

logger = logging.getLogger(__name__)

APPLIED, FIRST_APPLIED = 512, 8
"""Conditions of many that are answered together at most, those of about one length beside each other; and the first of
these where answers are wanted soon, for it is not known how long one takes."""


def _after_fork() -> None:
    """Use one thread in the child of a fork: it has none of its parent's threads and would wait for them."""
    torch.set_num_threads(1)


os.register_at_fork(after_in_child=_after_fork)


class Model:
    """What a run is loaded as. `sampler` is what the verbs use where none is given."""

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
        train: Callable[[], Split | None] | None = None,
    ) -> None:
        self.codec, self.process, self.network = codec, process, network
        sources = {} if run is None else sources_of(run.recipe.given)
        self._train = train or (lambda: None)
        self.given = Given(given or {}, codec, network, sources, self._train)
        self.sampler = sampler or default_sampler(process)
        self.notes = list(notes)
        self.run = run
        self.correction = None if run is None else run.correction
        """By what the bands of forecasts are stretched; None: they are as they are drawn."""
        self.others: list[Model] = []
        ahead = None if run is None else run.recipe.feed.ahead
        self.filler = Filler(codec, process, network, self.given, ahead=ahead)

    def beside(self, *others: Model) -> Model:
        """This model with others beside it, which samplers may ask too: an ensemble, or guidance by another run."""
        for other in others:
            if other.codec != self.codec:
                raise UnsupportedQuery(
                    "models that are asked together must read alike, and these have codecs that differ",
                    hint="train both on the same data, with the same settings of codec",
                )
        both = copy.copy(self)
        both.others = [*self.others, *others]
        both.correction = None  # that of one model says nothing of several
        both.filler = self.filler.like(others=[(other.network, other.process) for other in others])
        _ = both.filler.shared  # raises where the models do not fit together
        return both

    # --- the verbs --------------------------------------------------------------------------------------------

    def canvas(
        self, template: Any, length: int | None = None, gap: int | None = None, blank: str | None = None
    ) -> list[Canvas]:
        """The canvases of a template, one for each sequence that a value of the codec is made of."""
        _check_whole(length=length, gap=gap)
        canvases = [self.codec.canvas(row, length, gap, blank) for row in self.codec.rows(template)]
        return canvases if self.filler.in_order else [canvas.at_once() for canvas in canvases]

    def query(
        self,
        canvas: Canvas | Sequence[Canvas],
        count: int = 1,
        seed: int = 0,
        sampler: Sampler | None = None,
        given: Mapping[str, Any] | None = None,
        stop: str | Sequence[str] = (),
        allow: str | None = None,
        ban: str | Sequence[str] = (),
        bias: Mapping[str, float] | None = None,
        beyond: bool = False,
    ) -> Query:
        """A query of this model; conditions are values of their codecs. For the rest see `sample`.

        Of a condition that is longer than attention has learned to read there is a warning, unless `beyond`.
        """
        encoded = self.given.encode(given or {})
        if not beyond:
            self.given.warn(encoded)
        _check_whole(n=count, seed=seed)
        checked_seed(seed)
        if sampler is not None and not isinstance(sampler, Sampler):
            raise ConfigError(
                f"a sampler is wanted, not a {type(sampler).__name__}",
                path="sampler",
                hint="such as model.sampler.replace(temperature=0.5)",
            )
        if count < 1:
            raise ConfigError("at least one sample must be asked for", path="n")
        first, *others = [canvas] if isinstance(canvas, Canvas) else canvas
        limits = Limits(self.codec, self.network.space)
        stops, constraint = tuple(limits.stops(stop, first)), limits.constraint(allow, ban, first)
        if encoded and first.openings is not None:
            first = replace(first, openings=self.given.alike(first.openings, encoded))
        added = limits.bias(bias or {})
        for each in (first, *others):
            self.filler.plan(each)  # what cannot be filled is said here, so that one of several can be left out
        return Query(first, sampler or self.sampler, count, seed, 0, encoded, stops, constraint, added, others)

    def stream(self, query: Query) -> Iterator[Frame]:
        """The frames of a query as its samples are made, row by row of the call that changed them."""
        return (frame for frame in self.filler.frames(query) if frame is not None)

    def answer(self, query: Query) -> Answer:
        """All samples of a query, when they are done."""
        running = Running(replace(query, watched=False))
        for frame in self.stream(running.query):
            running.take(frame)
        return self.collect(query, running.ordered)

    def answers(
        self, queries: Sequence[Query], progress: Callable[[float, str], None] | None = None
    ) -> Iterator[Answer]:
        """The answers of several queries, in their order; those that stand next to each other share the calls.

        `progress` gets the share that is done, and how far it is in words.
        """
        for query, running in zip(queries, in_order(self.filler, queries, progress), strict=True):
            yield self.collect(query, running.ordered)

    def collect(self, query: Query, frames: Sequence[Frame]) -> Answer:
        """The samples of a query from the last frame of each row, and of each of the sequences it is made of."""
        if self.correction is not None:
            frames = self.correction.of_frames(query, frames)
        rows: dict[int, list[Any]] = {}
        for frame in frames:
            rows.setdefault(frame.row, []).append(self.decode(frame, query))
        values = [self.codec.merge(parts) for parts in rows.values()]
        numbers = [self.codec.numbers(value) for value in values]
        paths = None
        if numbers and all(one is not None and one.shape == numbers[0].shape for one in numbers):  # type: ignore[union-attr]
            paths = np.stack([one for one in numbers if one is not None])
        made = len(query.canvas) - int(np.count_nonzero(query.canvas.settled))
        scores = [frame.score for frame in frames if frame.score is not None and not query.others]
        answer = Answer(values, query.seed, list(rows), paths, made, scores)
        if paths is None:
            return answer
        cells = ~(query.canvas.shown | query.canvas.absent)[query.canvas.context :]
        alike = cells.shape == paths.shape[1:] and not query.others
        return replace(
            answer,
            columns=self.codec.number_names(),
            elements=self.codec.element_names(values[0]),
            element=self.codec.element,
            cells=cells if alike else None,
        )

    def decode(self, frame: Frame, query: Query) -> Any:
        """What a frame of a query shows, in its own units: no end, no stop, and no context that was not asked for."""
        x, space, canvas = frame.x, self.network.space, query.canvases[frame.part]
        known = ~canvas.absent[: len(x)]
        origin = canvas.origin if frame.position is None else self.codec.placed(canvas.origin, frame.position)
        if isinstance(space, Tokens):
            kept = (frame.settled | frame.done) & (x < space.size)
            x = x[: int(kept.argmin()) if not kept.all() else len(x)]
            first = int(canvas.shown.argmin())
            for stop in query.stops:
                x = np.concatenate([x[:first], stop.shown(x[first:], frame.done)])
            known = np.ones(len(x), bool)
        elif space.end is not None:
            x = x[:, : space.end]
        return self.codec.decode(Encoded(x[canvas.context :], known[canvas.context :], origin))

    @property
    def room(self) -> int:
        """How many elements a sample has at most where nobody says it: the training window.

        Twice that where elements follow one after another until an end comes: a few things are longer than the window,
        and would lose their end.
        """
        goes_on = self.network.space.end is not None and self.process.incremental
        return self.network.window * (2 if goes_on else 1)

    def empty(self, length: int | None = None, given: Mapping[str, Any] | None = None) -> list[Canvas]:
        """Canvases of which all is to be made: `length` elements, as many as there is `room` for by default.

        What has no end of its own, such as labels, is as long as what is aligned with it in `given`.
        A model of one long text is shown what stands before a beginning, or its samples would begin anywhere. What has
        no beginning, as a series, goes on from a stretch of the training data that each sample draws for itself.
        """
        _check_whole(length=length)
        if length is not None and length < 1:
            raise ConfigError("at least one new element must be asked for", path="length")
        if self.codec.alone is not None:
            known = {} if given is None else self.given.named(given)
            encoded = self.given.encode({name: known[name] for name in self.network.aligned if name in known})
            aligned = max((len(one.x) for one in encoded.values()), default=length)
            return self.canvas(None, aligned if self.network.aligned else self.codec.alone)
        opening = None if self.network.space.end is not None else self.codec.opening
        if opening is None:
            wanted = length or self.room
            canvases = self.canvas(None, wanted)
            openings = self._openings(wanted) if len(canvases) == 1 else None
            return canvases if openings is None else [canvases[0].opened(openings)]
        context = self.codec.size(opening)
        most = self.network.window if self.process.incremental else max(1, self.network.window - context)
        return [replace(canvas, context=context) for canvas in self.canvas(opening, length or most)]

    def _openings(self, length: int) -> Openings | None:
        """What samples of a length go on from; None where they begin by themselves, or the training data are gone."""
        if self.codec.ends or self.network.space.end is not None:
            return None
        split = self._train()
        if split is None:
            return None
        flat, window = split.data, self.network.window
        typical = int(np.median(flat.sizes))
        if len(flat.starts) > 2 and typical <= window:
            return None  # many, each read whole: a sample begins as they do
        before = max(window, self.process.past) if self.process.incremental else max(window - length, window // 2)
        before = min(before, typical // 2)
        openings = Openings(flat.x, flat.known, flat.starts, before)
        if self.network.aligned:  # what stands beside the elements that are made is that of those that follow there
            followed = replace(openings, followed=length)
            openings = followed if followed.count else openings
        return openings if before and openings.count else None

    def sample(
        self,
        n: int = 1,
        length: int | None = None,
        *,
        seed: int = 0,
        sampler: Sampler | None = None,
        given: Mapping[str, Any] | None = None,
        stop: str | Sequence[str] = (),
        allow: str | None = None,
        ban: str | Sequence[str] = (),
        bias: Mapping[str, float] | None = None,
    ) -> Answer:
        """`n` samples of `length` new elements from nothing (as many as there is `room` for by default).

        Each ends before the first of the texts `stop`; only characters that match `allow`, a regular expression, are
        drawn, and none that would complete one of the texts `ban`. `bias` adds a number to the logits of the characters
        that match a regular expression.
        """
        answer = self.answer(self.query(self.empty(length, given), n, seed, sampler, given, stop, allow, ban, bias))
        if answer.paths is None:
            return answer
        return replace(answer, named=[self.codec.element_names(value) for value in answer.values])

    def extend(
        self,
        prefix: Any,
        length: int,
        *,
        n: int = 1,
        seed: int = 0,
        sampler: Sampler | None = None,
        given: Mapping[str, Any] | None = None,
        stop: str | Sequence[str] = (),
        allow: str | None = None,
        ban: str | Sequence[str] = (),
        bias: Mapping[str, float] | None = None,
    ) -> Answer:
        """`n` continuations of a prefix by `length` elements; the values hold the prefix too. See `sample`."""
        known = self.codec.accept(prefix)
        own = self.given.ahead(known, length, None, given)
        return self.answer(self.query(self.canvas(known, length), n, seed, sampler, own, stop, allow, ban, bias))

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
        known = self.codec.accept(template)
        canvas = self.canvas(known, None, gap, blank)
        return self.answer(self.query(canvas, n, seed, sampler, self.given.ahead(known, 0, None, given)))

    def forecast(
        self,
        history: Any,
        horizon: int | None = None,
        *,
        n: int = 100,
        seed: int = 0,
        sampler: Sampler | None = None,
        given: Mapping[str, Any] | None = None,
        from_: str | int | None = None,
        future: Any = None,
    ) -> Answer | Answers:
        """`n` paths of the next `horizon` elements (those of `feed.horizon`, where the model was trained for some).

        `quantile`, `mean`, `frame` and `plot` of the answer summarise them, and `where` keeps those that meet a
        condition. The history is a path, a frame of polars or pandas, an Arrow table, a dict of columns, an array
        (T,D), or a value of the codec; `future` is a table like it, with the columns that are known ahead of time;
        `from_` is the date, or the number of the row from 1 on, that is forecast first. Where the history holds several
        series, each is forecast, and there are answers by their names.
        """
        if not self.codec.numeric:
            raise UnsupportedQuery(
                f"a forecast has means and quantiles, which what this model makes (codec={self.codec.name}) has not",
                hint="extend goes on from a beginning",
            )
        values, steps = self.codec.accept_several(history), self.horizon_of(horizon)
        start, queries, future = None if from_ is None else str(from_), [], self.codec.read_ahead(future)
        for value in values:
            try:
                canvas, own = self.ahead(history_of(self.codec, value, steps, start, future), steps, given)
                queries.append(self.query(canvas, n, seed, sampler, own))
            except (ConfigError, DataError, UnsupportedQuery) as error:
                if len(values) > 1:
                    error.of(self.codec.called(value))
                raise
        if len(values) == 1:
            return replace(self.answer(queries[0]), labels=self.codec.told_apart(values[0]))
        names = list(map(self.codec.called, values))
        answers = dict(zip(names, self.answers(apart(queries)), strict=True))
        return Answers(answers, [self.codec.told_apart(value) for value in values])

    def ahead(
        self, history: History, horizon: int, given: Mapping[str, Any] | None = None
    ) -> tuple[list[Canvas], dict[str, Any]]:
        """The canvases of a forecast, and the conditions beside them: those given, and what is known ahead of time."""
        known, future = history.value, history.future
        if history.given:
            self.given.check_future(known, horizon, future)
        known = self.codec.foreseen(known, horizon, future)
        own = self.given.ahead(known, horizon, future, given)
        return self.canvas(self.codec.accompanied(known, horizon, future), horizon), own

    def horizon_of(self, horizon: int | None) -> int:
        """A horizon; the one that the model was trained for where none is given."""
        chosen = self.trained_horizon if horizon is None else horizon
        if chosen is None:
            raise ConfigError(
                "how far to go on is not said", path="--horizon", hint="give a number of rows: --horizon 24"
            )
        _check_whole(horizon=chosen)
        check_horizon(chosen)
        return chosen

    @property
    def independence(self) -> str:
        """What is to be said where columns are made independently of each other; empty where they are coupled."""
        if self.network.dependence is not None:
            return ""
        return self.process.independence(self.network.space, self.network.backbone.channels)

    @property
    def trained_horizon(self) -> int | None:
        """How far ahead the model was trained to be asked (`feed.horizon`)."""
        return None if self.run is None else self.run.recipe.feed.horizon

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
        known = self.codec.accept(value)
        rows, beside = self.codec.rows(known), self.given.encode(self.given.ahead(known, 0, None, given))
        self.given.warn(beside)
        if self.codec.alone is not None:  # what has no end of its own is as long as what stands beside it
            self.given.check_aligned(beside, self.codec.size(known))
        conditions = {key: Flat.of([item] * len(rows)) for key, item in beside.items()}
        return likelihood.score(
            self.network,
            self.process,
            likelihood.Reading.of_rows(self.codec, self.network.space, rows, conditions),
            name,
            tokens=tokens,
            full=full,
            seed=seed,
            progress=progress,
        )

    def apply(
        self,
        given: Iterable[Any],
        *,
        n: int = 1,
        length: int | None = None,
        seed: int = 0,
        sampler: Sampler | None = None,
        stop: str | Sequence[str] = (),
        allow: str | None = None,
        ban: str | Sequence[str] = (),
        bias: Mapping[str, float] | None = None,
        first: int = 0,
        every: float | None = None,
        beyond: bool = False,
        progress: Callable[[float, str], None] | None = None,
    ) -> Iterator[Answer]:
        """The answers to many conditions in their order, `n` samples beside each: translations of texts, for one.

        Each is a mapping of conditions by name, or the value of the only one. Unless a `sampler` is given, one sample
        is about the likeliest, where the process has a way to find it; several are drawn. See `sample` for the rest.

        A condition that is longer than attention has learned to read is a DataError, unless `beyond`.
        What is drawn beside a condition follows from the seed and its number, which is `first` for the first of these.
        They are read as they are answered, a few hundred at a time, or as many as are answered about `every` so many
        seconds; `progress` gets how many are done.
        """
        _check_several(given)
        same = None if self.codec.alone is not None and self.network.aligned else self.empty(length)
        sampler = sampler or (self.sampler if n > 1 else self.answering)
        each, done, size = iter(given), 0, APPLIED if every is None else min(APPLIED, FIRST_APPLIED)
        while block := list(islice(each, size)):
            began, queries = time.monotonic(), []
            for number, own in enumerate(block, first + done):
                beside = self.given.named(own)
                canvas = same or self.empty(length, beside)
                encoded = self.given.encode(beside)
                if not beyond:
                    self.given.check(encoded)
                query = self.query(canvas, n, seed, sampler, encoded, stop, allow, ban, bias, beyond=True)
                queries.append(replace(query, first_row=number * n, watched=False))
            # Those of one length end at about the same time, and what is read of them is hardly padded.
            order = sorted(range(len(block)), key=lambda i: -sum(len(one.x) for one in queries[i].given.values()))

            def report(share: float, _: str, before: int = first + done, size: int = len(block)) -> None:
                if progress is not None:
                    progress(before + share * size, "")

            answers = dict(zip(order, self.answers([queries[i] for i in order], report), strict=True))
            if every is not None:
                size = min(APPLIED, next_size(size, time.monotonic() - began, every))
            yield from (answers[i] for i in range(len(block)))
            done += len(block)

    def classify(
        self,
        values: Iterable[Any],
        *,
        label: str = "",
        given: Mapping[str, Any] | None = None,
        progress: Callable[[float, str], None] | None = None,
    ) -> Iterator[dict[str, float]]:
        """The labels of several values in their order, each with its probability, the likeliest first.

        Of a model whose answers are labels a value is its condition, or a mapping of conditions, as for `apply`. Of one
        of texts beside which a label was given (`label`, where there are several) a value is a text: its labels are
        those under which it is likely, none being likelier than another before it is read. `given` is common to all.
        """
        _check_several(values)
        classifier = self._classifier
        name, each, done = classifier.told(label), iter(values), 0
        self.given.warn(given or {})
        while block := list(islice(each, APPLIED)):
            for value in [] if name else block:
                self.given.check(self.given.named(value))
            told = classifier.labels(block, name, given or {})
            done += len(block)
            if progress is not None:
                progress(done, "")
            yield from told

    def told(self, label: str = "") -> str:
        """The condition that `classify` tells; nothing where labels are what the model answers."""
        return self._classifier.told(label)

    @property
    def _classifier(self) -> Classifier:
        return Classifier(self.codec, self.process, self.network, self.given)

    @property
    def answering(self) -> Sampler:
        """The sampler for one answer: that of the likeliest sequence, where the process has one, else the model's."""
        settings = self.process.likeliest if self.network.space.symbolic else {}
        if not settings:
            return self.sampler
        chosen: Sampler = make(Sampler, settings)  # type: ignore[type-abstract]
        return within(self.sampler, lambda _: chosen)

    def draws(self, sampler: Sampler) -> bool:
        """Whether the seed matters to what a sampler makes of this model; of numbers it does, whatever the sampler."""
        return sampler.draws or not self.network.space.symbolic

    def attention(self, value: Any, *, given: Mapping[str, Any] | None = None) -> Alignment:
        """What of its conditions each element of a value attended to, as it was made from those before it."""
        attended = self.network.conditions.attended
        if not attended or not self.network.space.symbolic:
            raise UnsupportedQuery(
                "the model attends to no condition",
                hint="one that is a text, such as the source of a pair, is attended to",
            )
        known = self.codec.accept(value)
        beside = self.given.ahead(known, 0, None, given)
        self.given.warn(beside)
        flats = {name: Flat.of([own]) for name, own in self.given.encode(beside).items()}
        packed = Packed(Flat.of([self.codec.encode(known)]), self.network.space, flats, self.network.aligned)
        watched = attended_by(self.network, self.process, packed)
        names = [NOTHING]
        for name in attended:
            names += self.given[name].element_names(beside[name]) if name in beside else [f"no {name}"]
        made = self.codec.element_names(known)
        return Alignment(watched, [*made, *[""] * (watched.shape[2] - len(made))], names)

    def of_least_risk(self, answer: Answer, likeness: Likeness) -> Answer:
        """The samples of an answer in the order of their expected loss, where the truth is one of them.

        The first is what minimum Bayes risk decoding takes (Kumar & Byrne 2004); `scores` are minus these losses.
        """
        texts = [self.codec.as_text(value).removesuffix("\n") for value in answer.values]
        risks = least_risk(texts, likeness)
        order = sorted(range(len(risks)), key=lambda i: risks[i])
        return replace(answer.take(order), scores=[-risks[i] for i in order])

    def ranked(
        self,
        answer: Answer,
        best: int | None = None,
        *,
        given: Mapping[str, Any] | None = None,
        progress: Callable[[float, str], None] | None = None,
    ) -> tuple[Answer, list[Score]]:
        """The samples of any model in the order of their likelihood a unit under this one, and their likelihoods.

        Of each it is that of all its value, what was given of it included. The first `best` are kept, all by default.
        """
        scores = []
        for i, value in enumerate(answer.values, 1):
            empty = not self.codec.size(value)  # it has no units to be likely by, and comes last
            unlikely = Score(math.inf, 1.0, self.codec.unit, "exact")
            scores.append(unlikely if empty else self.score(value, given=given))
            if progress is not None:
                progress(i / len(answer.values), f"{i} of {len(answer.values)} samples ranked")
        order = sorted(range(len(scores)), key=lambda i: scores[i].per_unit)[:best]
        return answer.take(order), [scores[i] for i in order]


def _check_several(things: Any) -> None:
    """DataError where one text stands in the place of many: its letters would be taken for them."""
    if isinstance(things, str | bytes):
        raise DataError("one text stands where a list of them is wanted", hint="[text] is a list of one")


def _check_whole(**numbers: Any) -> None:
    """ConfigError where what should be a whole number, or nothing, is something else."""
    for name, value in numbers.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer)):
            raise ConfigError(f"a whole number is wanted, got {value!r}", path=name)


def load(run: Path | str | runs.Run, weights: runs.WeightsChoice = "best", device: torch.device | str = "cpu") -> Model:
    """The model of a run folder; `weights` chooses the best checkpoint by validation or the last one."""
    opened = run if isinstance(run, runs.Run) else runs.read(run)
    network, notes = opened.load_network(weights, device)
    return Model(
        opened.codec,
        opened.recipe.process,
        network,
        given=opened.codecs,
        sampler=opened.recipe.sampler,
        notes=notes,
        run=opened,
        train=cache(lambda: _training_data(opened)),
    )


def _training_data(run: runs.Run) -> Split | None:
    """The training split; None where the data have changed, or are no longer there."""
    try:
        split = run.recipe.corpus.prepare(run.codec, run.fitted).splits["train"]
    except SeqloomError as error:
        logger.warning("samples begin from nothing, for the training data cannot be read: %s", error)
        return None
    if split.fingerprint != run.fingerprints["train"]:
        logger.warning("samples begin from nothing, for the training data have changed")
        return None
    return split
