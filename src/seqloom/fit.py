"""The loop around the trainer: log, validate, preview, save, resume. Events come one by one to a `for` loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqloom import calibration
from seqloom import run as runs
from seqloom.core import checkpoints, durable, machine
from seqloom.core.config import merge
from seqloom.core.errors import RunError, SeqloomError, Stopped
from seqloom.corpora.frames import word_of
from seqloom.estimate import OVERHEAD, Estimate
from seqloom.filler import Running
from seqloom.model import Model, load
from seqloom.network.network import Network
from seqloom.planning import TrainingPlan, plan
from seqloom.sequence.correction import Correction
from seqloom.training.counting import counted
from seqloom.training.feed import Reader
from seqloom.training.inherit import Inherited, inherit
from seqloom.training.stopwatch import Stopwatch
from seqloom.training.trainer import Loop, Step, TrainingState
from seqloom.validation import LOSS, Validation, fills

VALIDATIONS = 10
"""Of a training, at even distances."""
OFTEN = 2
"""Before the first of them there is one whenever data have been read twice as often as before, from four times on:
little data are learned by heart long before a tenth of a long training."""
PREVIEW = 80
COUPLING = 16
"""Batches of training rows from which it is estimated how columns depend on each other."""
LAST_VALIDATION = 10.0
"""Seconds that a last validation over the whole split may take in any case, where a training is bounded by steps."""
MOST_BAD, MOST_RESTORES = 3, 3
FORESEEN, FEW_UPDATES = 0.03, 3
"""The share of a training, and the updates, after which it is estimated how far the time will reach."""
LOADING = 3.0
"""Seconds after which libraries of a GPU are loaded and layers written down: then updates tell how fast it goes."""
MANY = 1_000_000
"""Elements that take more than two seconds to be counted."""


@dataclass(frozen=True)
class Mark:
    """How far a training is: the share that is done, its updates, the elements that it has read, its seconds."""

    share: float
    step: int
    elements: int
    seconds: float


@dataclass(frozen=True)
class TrainingEvent:
    """Something that happened: `kind` is began, step, valid, note, preview, saved, stopped or done.

    `facts` are its numbers.
    """

    kind: str
    step: int
    share: float
    text: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


class Fit:
    """One training of one run folder, held by one writer. Iterate `events`."""

    def __init__(
        self,
        planned: TrainingPlan,
        *,
        save_every: float = 60.0,
        stop: Callable[[], bool] | None = None,
        preview: bool = True,
        device: torch.device | str = "cpu",
        expected: Estimate | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`expected` is what was estimated: what turns out otherwise is said. None: nothing was."""
        self.plan, self.save_every, self.stop, self.preview = planned, save_every, stop, preview
        self.device = torch.device(device)
        self.expected = expected
        self.watch = Stopwatch(clock)
        self.saved_at = 0.0
        self.warm: Mark | None = None
        self.foreseen = False
        self.best: dict[str, Any] | None = None
        self.resumed_from: int | None = None
        self.valid: dict[str, Any] | None = None
        self.positions: int | None = None

    def events(self) -> Iterator[TrainingEvent]:
        """Train to the end, or until `stop` says so; every way out leaves a run that can be loaded or resumed."""
        path = self.plan.path
        with durable.Lock(path) as lock:
            self.lock = lock
            try:
                yield from self._events()
            except Exception:
                # A training that could not begin leaves no files behind that would be taken for a run.
                if self.plan.run is None and not checkpoints.steps(path):
                    runs.remove(path)
                raise

    def _events(self) -> Iterator[TrainingEvent]:
        path, planned = self.plan.path, self.plan
        machine.flush_denormals()
        run = planned.run or runs.create(
            path, planned.recipe, planned.prepared, planned.given, planned.advice, self.device
        )
        if run.recipe != planned.recipe:  # more steps or minutes, or moved data: the next resume asks for as many
            run = runs.amend(run, planned.recipe)
        self.run = run
        self._begin(run)
        report = self._finished_report()
        if report is not None:
            yield TrainingEvent("done", self.loop.state.step, 1.0, facts={**report, "resumed_from": self.resumed_from})
            return
        with closing(durable.Journal(path / runs.LOG, self.log_offset)) as self.journal:
            yield TrainingEvent(
                "began",
                self.loop.state.step,
                self.share,
                facts={"resumed_from": self.resumed_from, "parameters": self.net.parameter_count},
            )
            yield from self._count(run)
            if self.inherited is not None:
                self.journal.append({"step": 0, "start": planned.recipe.start, "inherited": str(self.inherited)})
                self._save()  # from here on the other run is not needed any more
            yield from self._train()

    def _begin(self, run: runs.Run) -> None:
        """Build everything, from the newest good checkpoint where there is one."""
        recipe, prepared = self.plan.recipe, self.plan.prepared
        self.net: Network = run.network().to(self.device)
        self.notes: list[str] = []
        self.dependence: NDArray[np.float64] | None = None
        self.correction: Correction | None = None
        self.inherited = self._inherit(run) if recipe.start and not checkpoints.steps(run.path) else None
        drops = {name: given.drop for name, given in self.plan.given.items()}
        reader = Reader(
            recipe.feed,
            prepared.splits["train"],
            run.space,
            recipe.seed,
            drops,
            fill=fills(self.net, prepared),
            past=recipe.process.past,
            parts=0 if recipe.process.counts is None else recipe.process.counts.parts,
            device=self.device,
            codec=prepared.codec,
            given=prepared.given,
        )
        self.loop = Loop(recipe.trainer, self.net, recipe.process, reader)
        self.log_offset = 0
        if self.plan.run is not None:
            self._resume(run)
        self.validation = Validation(run, prepared, self.net, self.positions)
        self.calibrates = recipe.calibrate and run.codec.numeric and bool(self.validation.total)
        # By the clock, of a training: what is kept for forecasts of the validation split.
        self.kept = calibration.SHARE if self.calibrates and recipe.trainer.minutes else 0.0
        if self.expected is None:
            asked = recipe.trainer.steps is not None
            self.expected = Estimate(self.net.parameter_count, len(reader.packed), reader.elements, asked)

    def _count(self, run: runs.Run) -> Iterator[TrainingEvent]:
        """What the process has counted in the training split; the time is part of the training's."""
        counts, packed = run.recipe.process.counts, self.loop.reader.packed
        if counts is None:
            return
        began = self.watch.now()
        self.net.laws = run.laws()
        if self.net.laws is None:
            elements = min(len(packed), counts.at_most)
            if elements >= MANY:
                yield TrainingEvent("note", 0, 0.0, f"counting what follows on what in {elements:,} elements")
            self.net.laws = counted(counts, packed, ordered=self.net.spec.block is not None)
            run.keep_laws(self.net.laws)
            self.watch.before += self.watch.now() - began

    def _inherit(self, run: runs.Run) -> Inherited:
        """Begin with the weights of another run."""
        assert run.recipe.start is not None
        origin = runs.read(run.recipe.start)
        checkpoint, part, notes = origin.checkpoint()
        origin_symbols = origin.symbols()
        rows = {name: (names, origin_symbols[name]) for name, names in run.symbols().items() if name in origin_symbols}
        inherited = inherit(self.net.state_dict(), checkpoint.tensors(part), rows)
        if not inherited.taken and not inherited.by_symbol:
            raise RunError(
                f"none of the weights of {origin.path} fit this network",
                hint="leave --model and backbone settings out to train the model of that run",
            )
        self.notes.append(f"begins with the weights of {origin.path}, {notes[-1]}: {inherited}")
        return inherited

    def _resume(self, run: runs.Run) -> None:
        """Go on from the newest good checkpoint, if there is one."""
        checkpoint, damaged = checkpoints.newest_good(run.path, self.lock, identity=run.identity)
        self.notes += [f"{bad.reason}; it was moved to {bad.folder}" for bad in damaged]
        if checkpoint is None:
            self.notes.append("the run was stopped before its first checkpoint; it starts at step 0")
            return
        now, then = runs.versions(self.device), durable.read_json(run.path / runs.VERSIONS)
        changed = [key for key in now if now[key] != then.get(key)]
        if changed:
            changes = ", ".join(f"{key} was {then.get(key)} and is {now[key]}" for key in changed)
            self.notes.append(f"{changes}: the end will not be bit for bit that of an uninterrupted run")
        self._restore(checkpoint)
        self.resumed_from = checkpoint.step
        self.log_offset = checkpoint.log

    def _restore(self, checkpoint: checkpoints.Checkpoint) -> None:
        state = checkpoint.state()
        self.loop.state = TrainingState(**{k: state[k] for k in TrainingState().numbers()})
        average = checkpoint.tensors("average") if "average" in checkpoint.parts else None
        self.loop.restore(checkpoint.tensors("weights"), average, checkpoint.tensors("training"))
        self.watch.start(self.loop.state.seconds)
        self.best, self.valid, self.positions = state.get("best"), state.get("valid"), state.get("positions")

    def _finished_report(self) -> dict[str, Any] | None:
        """The report of a finished run, unless more steps or minutes are asked for."""
        path = self.plan.path / runs.REPORT
        if self.plan.run is None or not path.is_file() or self.loop.done_share(self.watch.before) < 1:
            return None
        report: dict[str, Any] = durable.read_json(path)
        return report if report["steps"] == self.loop.state.step else None  # else it is that of a shorter training

    @property
    def seconds(self) -> float:
        """Training wall-clock so far, that before a resume included."""
        return self.watch.seconds

    @property
    def share(self) -> float:
        """How much of the training is done. By the clock, what is kept for its end counts as training."""
        return self.loop.done_share(self.seconds / (1 - OVERHEAD / 2 - self.kept))

    @property
    def _at(self) -> float:
        """How much of the training is done, by steps where their number is set: then nothing depends on the clock."""
        steps = self.plan.recipe.trainer.steps
        return self.loop.state.step / steps if steps else self.share

    def _train(self) -> Iterator[TrainingEvent]:
        self.watch.start(self.watch.before)  # what came before was not training
        self.saved_at = self.watch.now()
        self.foreseen = self.resumed_from is not None
        due = self._next_due()
        preview_due = 0.45
        while (share := self.share) < 1 or self.loop.state.step == 0:  # however short, a training has a step
            read = self._doublings
            step = self._step(share)
            if step is None:
                yield TrainingEvent("note", self.loop.state.step, share, self.notes[-1])
                continue
            yield TrainingEvent(
                "step", step.step, share, facts={"loss": step.loss, "rate": step.rate, "applied": step.applied}
            )
            for text in self._look_ahead():
                yield self._note(text)
            # Before a stop is looked for: the value of a validation must not depend on when the training is stopped.
            at = self._at
            often = self._doublings > read >= OFTEN and at < 1 / VALIDATIONS
            if (at >= due or often) and at < 1 and self._may("valid"):
                yield from self._validate(last=False)
            if at >= due:
                due = self._next_due()
            if self.stop is not None and self.stop():
                self._save()
                yield TrainingEvent("stopped", self.loop.state.step, share)
                return
            if self.preview and at >= preview_due and self._may("preview"):
                preview_due = at + max(0.25, 60 / max(60.0, self.seconds / max(at, 1e-9)))
                yield from self.watch.timed("preview", self._preview)
            if self.watch.now() - self.saved_at >= self.save_every:
                self.watch.timed("save", self._save)
                yield TrainingEvent("saved", self.loop.state.step, at)
        yield from self._validate(last=True)
        self.watch.timed("save", self._save)
        yield from self._validate_whole()
        yield from self._take_dependence()
        yield from self._calibrate()
        report = self._report()
        self.journal.append({"step": self.loop.state.step, "seconds": self.seconds, "beside": report["beside"]})
        durable.write_json(self.plan.path / runs.REPORT, report)
        yield TrainingEvent("done", self.loop.state.step, 1.0, facts={**report, "resumed_from": self.resumed_from})

    def _step(self, share: float) -> Step | None:
        """One update; after three in a row that were not finite, back to the last checkpoint and past those samples."""
        step = self.loop.advance(self.loop.rate(share))
        self.loop.state.seconds = self.seconds
        record = {"step": step.step, "seconds": self.seconds, "loss": step.loss, "rate": step.rate, "norm": step.norm}
        self.journal.append(record | ({} if step.applied else {"skipped_sample": self.loop.state.cursor - 1}))
        if self.loop.bad < MOST_BAD:
            return step
        state = self.loop.state
        skipped, restores = list(state.skipped), state.restores + 1
        if restores > MOST_RESTORES:
            raise Stopped(
                f"the loss was not finite again and again; stopped at step {state.step}",
                hint="lower trainer.rate or trainer.clip in a new run; --resume goes on from the last checkpoint",
            )
        checkpoint, _ = checkpoints.newest_good(self.plan.path, self.lock, identity=self.run.identity)
        if checkpoint is None:
            raise Stopped("the loss was not finite before the first checkpoint", hint="lower trainer.rate")
        used = self.seconds
        self._restore(checkpoint)
        self.watch.start(used)
        self.loop.state.skipped, self.loop.state.restores, self.loop.bad = skipped, restores, 0
        self.notes.append(
            f"the loss was not finite; back to step {checkpoint.step}, past samples {skipped[-MOST_BAD:]}"
        )
        return None

    def _mark(self) -> Mark:
        state = self.loop.state
        return Mark(self.share, state.step, state.elements, self.seconds)

    def _look_ahead(self) -> list[str]:
        """Once updates tell how fast it goes: what the training comes to, where that is not what was estimated.

        By the clock it is then validated on as much as that speed allows.
        """
        if self.foreseen:
            return []
        if self.warm is None:
            if self.device.type == "cpu" or self.watch.running >= LOADING:
                self.warm = self._mark()  # the first update takes longer than those after it
            return []
        since, minutes = self.warm, self.plan.recipe.trainer.minutes
        if self.share - since.share < FORESEEN or self.loop.state.step - since.step < FEW_UPDATES:
            return []
        self.foreseen, now = True, self._mark()
        if minutes:
            speed = (now.elements - since.elements) / (now.seconds - since.seconds)
            self.validation = Validation(self.run, self.plan.prepared, self.net, speed=speed)
        assert self.expected is not None
        left = (1 - since.share) / (now.share - since.share)
        found = replace(
            self.expected,
            step=max(1, now.elements // now.step),
            steps=since.step + round((now.step - since.step) * left),
            seconds=min(60 * (minutes or math.inf), since.seconds + (now.seconds - since.seconds) * left),
        )
        return self.expected.against(found)

    @property
    def _doublings(self) -> int:
        """How often the training split has been read: 1 for once, 2 for twice, 3 for four times, 4 for eight."""
        return int(self.loop.state.elements / max(1, len(self.loop.reader.packed))).bit_length()

    def _next_due(self) -> float:
        """The next tenth of the training at which to validate."""
        return (int(self._at * VALIDATIONS + 1e-9) + 1) / VALIDATIONS

    def _may(self, kind: str) -> bool:
        """Whether a validation, preview or save may be done now: always by steps, within its share by the clock."""
        if self.plan.recipe.trainer.steps is not None:
            return True
        cost = self.watch.last.get(kind, 0.0) if kind == "preview" else self._validating()
        return cost <= self._left()

    def _left(self) -> float:
        """Seconds that may go beside the training now; half of them all, and what the end takes, are kept for it."""
        minutes, seconds = self.plan.recipe.trainer.minutes, self.seconds
        spent = OVERHEAD / 2 * seconds
        if minutes is not None:
            spent = min(spent, OVERHEAD * 60 * minutes - self._validating())
        return spent - sum(self.watch.beside.values())

    def _validating(self) -> float:
        """Seconds that a validation takes, and saving what is then the best."""
        return self.watch.last.get("valid", self._expected()) + self.watch.last.get("save", 0.0)

    def _expected(self) -> float:
        """Seconds that a first validation will take, by the speed of training, of which a third is reading."""
        weights = 1 if self.loop.average is None else 2
        return weights * self.validation.cost() / 3 * self.seconds / max(1, self.loop.state.elements)

    def _validate(self, last: bool) -> Iterator[TrainingEvent]:
        """The likelihood, or the loss, of the weights and of their average over the part that this run validates on."""
        if not self.validation.total:
            return
        names = [self.best["name"]] if self.best else [*list(self.run.recipe.process.likelihoods())[:1], LOSS]
        for name in names:
            try:
                metrics: dict[str, dict[str, Any]] = self.watch.timed("valid", partial(self._metrics, name))
            except Exception as error:  # a failing metric must not end a training
                yield self._note(f"the {name} of the validation split cannot be taken: {_reason(error)}")
                continue
            yield self._keep_best(metrics, last)
            return

    def _metrics(self, name: str) -> dict[str, dict[str, Any]]:
        """The metric of the weights, and of their average where one is kept."""
        metrics = {"weights": self.validation.measure(self.net, name)}
        if self.loop.average is not None:
            with self._averaged():
                metrics["average"] = self.validation.measure(self.net, name)
        return metrics

    def _keep_best(self, metrics: Mapping[str, dict[str, Any]], last: bool) -> TrainingEvent:
        """Record the better of weights and average, and save them where they are the best so far."""
        part = min(metrics, key=lambda name: metrics[name]["value"])
        metric, state = metrics[part], self.loop.state
        self.valid = {**metric, "part": part}
        record = {"step": state.step, "seconds": self.seconds, "elements": state.elements, "valid": metric["value"]}
        details = {key: metric[key] for key in ("unit", "kind", "stderr", "covers")}
        self.journal.append({**record, **details, "part": part})
        if self.best is None or metric["value"] <= self.best["value"]:
            self.best = {"step": state.step, "name": metric["name"], "value": metric["value"], "part": part}
            if not last:  # the end is saved anyway
                self.watch.timed("save", self._save)
        return TrainingEvent("valid", state.step, self.share, facts=metric)

    def _validate_whole(self) -> Iterator[TrainingEvent]:
        """Where there is time for it, the best weights over the whole validation split: what the report says then."""
        if self.best is None or self.valid is None or self.validation.final:
            return
        minutes = self.plan.recipe.trainer.minutes
        left = (
            max(LAST_VALIDATION, OVERHEAD * self.seconds)
            if minutes is None
            else 60 * minutes * (1 - self.kept) - self.seconds
        )
        weights = 1 if self.loop.average is None else 2
        more = self.validation.cost(whole=True) / max(1, self.validation.cost())
        if self.watch.last["valid"] / weights * more > left:
            return
        try:
            net, _ = runs.read(self.run.path).load_network("best")
            metric = self.watch.timed("whole", partial(self.validation.measure, net, self.best["name"], whole=True))
        except Exception as error:
            yield self._note(f"the whole validation split could not be scored: {_reason(error)}")
            return
        self.valid = {**metric, "part": self.best["part"]}
        yield TrainingEvent("valid", self.loop.state.step, 1.0, facts=metric)

    def _take_dependence(self) -> Iterator[TrainingEvent]:
        """By what the columns of a row are to be coupled, from training rows and the best weights."""
        process, reader = self.run.recipe.process, self.loop.reader
        if not process.couples(self.run.space):
            return
        try:
            net, _ = runs.read(self.run.path).load_network("best")
            with torch.no_grad():
                net = net.to(self.device)
                self.dependence = process.dependence(net, (reader.batch(i) for i in range(COUPLING)))
        except Exception as error:  # the training is done all the same
            yield self._note(f"what columns have in common could not be taken: {_reason(error)}")

    def _calibrate(self) -> Iterator[TrainingEvent]:
        """By what forecasts are to be corrected, from the validation split and the best weights."""
        if not self.calibrates:
            return
        most, seconds = calibration.allowed(self.plan.recipe, self.loop.state.elements, self.seconds)
        if not most:
            return
        try:
            model = load(runs.read(self.run.path), device=self.device)
            model.network.dependence = self.dependence
            forecasting = partial(calibration.correction_of, model, seconds, most, self.watch.now)
            self.correction = self.watch.timed("bands", forecasting)
        except Exception as error:  # the training is done all the same
            yield self._note(f"what forecasts are corrected by could not be taken: {_reason(error)}")

    def _note(self, text: str) -> TrainingEvent:
        self.notes.append(text)
        return TrainingEvent("note", self.loop.state.step, self.share, text)

    def _averaged(self) -> AbstractContextManager[None]:
        return _swapped(self.net, self.loop.average or {})

    def _preview(self) -> list[TrainingEvent]:
        """A short sample, as its codec shows it; none where that takes longer than it may."""
        was, until = self.net.training, self.watch.now() + self._left()
        self.net.eval()
        try:
            run, train = self.run, self.plan.prepared.splits["train"]
            model = Model(run.codec, run.recipe.process, self.net, given=run.codecs, train=lambda: train)
            query = model.query(model.empty(min(PREVIEW, self.net.window)), 1, self.loop.state.step)
            running = Running(query)
            with self._averaged():
                for frame in model.stream(query):
                    running.take(frame)
                    if self.plan.recipe.trainer.minutes and self.watch.now() > until:
                        return []
            answer = model.collect(query, running.ordered)
            text = run.codec.as_text(answer.values[0])
        except Exception as error:  # a failing preview must not end a training
            self.preview = False
            return [self._note(f"no sample can be shown on the way: {_reason(error)}")]
        finally:
            self.net.train(was)
        return [TrainingEvent("preview", self.loop.state.step, self.share, text)]

    def _save(self) -> None:
        """A checkpoint; the older one goes only after this one was read back."""
        state = self.loop.state
        state.seconds = self.seconds
        checkpoint = checkpoints.save(
            self.lock,
            state.step,
            self.run.identity,
            weights=self.net.state_dict(),
            average=None if self.loop.average is None else self.net.state_dict() | self.loop.average,
            training=self.loop.tensors(),
            state={
                **state.numbers(),
                "best": self.best,
                "valid": self.valid,
                "positions": self.validation.positions,
            },
            log=self.journal.sync(),
        )
        checkpoints.prune(self.lock, checkpoint, self.best["step"] if self.best else None)
        self.saved_at = self.watch.now()

    def _report(self) -> dict[str, Any]:
        """report.json: what the training was, in numbers."""
        state = self.loop.state
        return {
            "run": str(self.plan.path),
            "steps": state.step,
            "seconds": round(self.seconds, 3),
            "parameters": self.net.parameter_count,
            "elements": state.elements,
            "elements_per_second": round(state.elements / max(1e-9, self.seconds), 1),
            "peak_memory_mb": round(machine.peak_memory_mb(), 1),
            "beside": {kind: round(seconds, 3) for kind, seconds in self.watch.beside.items()},
            "valid": self.valid,
            "best": self.best,
            "start": self.plan.recipe.start,
            **({} if self.dependence is None else {"dependence": self.dependence.tolist()}),
            **({} if self.correction is None else {"correction": self.correction.plain()}),
        }


def _reason(error: Exception) -> str:
    """Why something failed, in a line."""
    return str(error) if isinstance(error, SeqloomError) else f"{type(error).__name__}: {error}"


@contextmanager
def _swapped(net: Network, weights: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Other weights in a network, for the length of a `with`."""
    own = {name: p.data for name, p in net.named_parameters()}
    try:
        for name, p in net.named_parameters():
            p.data = weights.get(name, own[name])
        yield
    finally:
        for name, p in net.named_parameters():
            p.data = own[name]


def train(
    data: Any,
    *,
    model: str | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    save_every: float = 60.0,
    from_run: Path | str | None = None,
    device: str = "auto",
    **settings: Any,
) -> runs.Run:
    """Train a model on DATA and return its run. Settings are keyword arguments, nested as in a recipe.

    DATA is a file, a folder, `builtin:NAME`, a recipe, or a frame: of polars or pandas, an Arrow table or a dict of
    columns. A frame is kept in the cache, where what goes on from its end finds it. With `from_run` training begins
    with the weights of another run, as far as names and shapes agree. `device` is auto, cpu, cuda or cuda:N.
    """
    trainer = {key: value for key, value in (("minutes", minutes), ("steps", steps)) if value is not None}
    values = merge(settings, {"trainer": trainer} if trainer else {})
    place = machine.choose_device(device)
    planned = plan(word_of(data), values, model=model, out=out, resume=resume, start=from_run, device=place)
    for _ in Fit(planned, save_every=save_every, device=place).events():
        pass
    return runs.read(planned.path)
