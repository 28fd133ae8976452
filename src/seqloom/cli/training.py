"""The verb `train`: a training with its progress shown; a signal stops it with everything saved."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqloom.cli.session import (
    JSON,
    LITERAL,
    Session,
    check_exists,
    checked_seed,
    command,
    path_of,
    positive,
    put,
    put_json,
    sort_words,
    verb,
)
from seqloom.core.errors import ConfigError
from seqloom.core.progress import Progress, count, decimal, duration, number

if TYPE_CHECKING:
    from seqloom.fit import Fit, TrainingEvent
    from seqloom.planning import TrainingPlan

SMOOTH = 0.95
"""How much of the loss shown is what was shown before: single batches jump."""
PREVIEW_LINES, PREVIEW_COLUMNS = 6, 100
HORIZON = 24
"""Rows of a forecast that is proposed where the series has no season."""
TOLD = ("backbone.width", "process.prior", "trainer.precision")
"""Chosen settings whose reasons are given unasked."""


class Stop:
    """Signals to a training: the first one makes it save and stop, a second one stops it at once."""

    def __init__(self) -> None:
        self.signal = 0

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.signal != 0

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM for the length of a `with`."""
        before: dict[int, Any] = {}

        def ask(number: int, frame: FrameType | None) -> None:
            self.signal = number
            restore()

        def restore() -> None:
            for kind, was in before.items():
                signal.signal(kind, was)

        try:
            for kind in (signal.SIGINT, signal.SIGTERM):
                before[kind] = signal.signal(kind, ask)
        except ValueError:  # not the main thread: signals are handled by the caller
            before.clear()
        try:
            yield
        finally:
            restore()


def watch(fit: Fit, session: Session, notes: Sequence[str] = ()) -> dict[str, Any] | None:
    """Run a training to its end and show how it goes; its report, or None where it was stopped (and saved).

    The notes are printed once it has begun, so that a training that cannot begin prints its error alone.
    """
    events = fit.events()
    event = next(events)
    for note in [*notes, *fit.notes]:
        session.note(note)
    if event.kind == "done":
        longer = "--steps go" if fit.plan.recipe.trainer.epochs else "--steps or --minutes go"
        session.note(f"the run is finished: there is nothing left to do (more {longer} on with it)")
        return dict(event.facts)
    session.detail(f"{number(event.facts['parameters'])} parameters")
    trainer = fit.plan.recipe.trainer
    total, unit = (trainer.steps, "steps") if trainer.steps else (60 * (trainer.minutes or 0), "seconds")
    with Progress(total, unit, start=_done(fit), quiet=session.quiet) as bar:
        loss: float | None = None
        valid, elements = "", 0
        begun: float | None = None
        for event in events:
            match event.kind:
                case "step":
                    now = float(event.facts["loss"])
                    loss = now if loss is None else SMOOTH * loss + (1 - SMOOTH) * now
                    if begun is None:  # before the first step there is no telling how fast it goes
                        begun, elements = fit.seconds, fit.loop.state.elements
                    rate = (fit.loop.state.elements - elements) / max(1e-9, fit.seconds - begun)
                    speed = f"  {number(rate)} elements/s" if fit.seconds > begun else ""
                    bar.update(_done(fit), f"loss {loss:.3f}{speed}{valid}")
                case "valid":
                    valid = f"  validation {shown_metric(event.facts)} at step {event.step}"
                    if session.verbose:
                        bar.say(valid.lstrip())
                case "preview":
                    bar.say(_preview(event))
                case "note":
                    bar.say(event.text)
                case "done":
                    return dict(event.facts)
                case "stopped":
                    return None
    raise AssertionError("a training ends done or stopped")


def _done(fit: Fit) -> float:
    return fit.loop.state.step if fit.plan.recipe.trainer.steps else fit.seconds


def _preview(event: TrainingEvent) -> str:
    """A sample on the way, the beginning of it."""
    lines = event.text.splitlines()
    kept = [line[:PREVIEW_COLUMNS] for line in lines[:PREVIEW_LINES]]
    more = ["..."] if len(lines) > PREVIEW_LINES else []
    return "\n".join([f"a sample at step {event.step}:", *(f"  | {line}" for line in [*kept, *more])])


def shown_metric(metric: Mapping[str, Any]) -> str:
    """A value with its unit, and of how much of the split it is: "≤ 2.310 bits/byte (± 0.012, on 18 %)"."""
    mark = {"bound": "≤ ", "estimate": "≈ "}.get(metric["kind"], "")
    covers = metric.get("covers", 1.0)
    part = f" (± {decimal(metric['stderr'])}, on {share(covers)})" if covers < 1 else ""
    return f"{mark}{decimal(metric['value'])} {metric['unit']}{part}"


def share(part: float) -> str:
    """A share in percent, with a digit more where it is small."""
    return f"{100 * part:.0f} %" if part >= 0.095 else f"{100 * part:.1g} %"


def settings_of(
    words: list[str], *, seed: int | None = None, minutes: float | None = None, steps: int | None = None
) -> dict[str, Any]:
    """The settings of a training from `key=value` words and from the options that stand for some."""
    from seqloom.core.config import merge, parse_pairs

    positive(minutes, "--minutes")
    positive(steps, "--steps")
    if seed is not None:
        checked_seed(seed)
    if minutes is not None and steps is not None:
        raise ConfigError("a training ends by time or by steps", path="--steps", hint="give --minutes or --steps")
    trainer = {key: value for key, value in (("minutes", minutes), ("steps", steps)) if value is not None}
    over: dict[str, Any] = ({"trainer": trainer} if trainer else {}) | ({} if seed is None else {"seed": seed})
    return merge(parse_pairs(words), over)


def place_of(settings: Mapping[str, Any], names: str) -> list[str]:
    """The DATA word where none was given: the path that the settings of the corpus have."""
    corpus = settings.get("corpus")
    path = corpus.get("path") if isinstance(corpus, Mapping) else None
    if path is None:
        word = names.split()[1]
        raise ConfigError(f"{word} is missing", hint=f"seqloom {names}; corpus.path=PATH says it as well")
    return [str(path)]


def chosen(planned: TrainingPlan) -> str:
    """What is trained, in a line."""
    recipe, prepared = planned.recipe, planned.prepared
    mixers = "+".join(dict.fromkeys(mixer.name for mixer in recipe.backbone.mixers))
    size = f"{count(recipe.backbone.depth, 'layer')} of {recipe.backbone.width}"
    amount = int(prepared.splits["train"].data.starts[-1])
    budget = (
        count(recipe.trainer.steps, "step") if recipe.trainer.steps else duration(60 * (recipe.trainer.minutes or 0))
    )
    return f"{recipe.process.name} {mixers}, {size}, on {number(amount)} elements ({prepared.codec.name}) for {budget}"


def reasons(advice: Mapping[str, str], every: bool) -> list[str]:
    """What was chosen and why, of each setting or of those that count most."""
    if every:
        return [f"{key} = {why}" for key, why in advice.items()]
    told = [f"{key} = {advice[key]}" for key in TOLD if key in advice]
    return [*told, f"-v gives the reasons for all {len(advice)} settings that were chosen"] if told else []


@verb
def train(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="DATA|RECIPE [key=value]...")] = None,
    model: Annotated[
        str | None, typer.Option(help="MIXER, transformer, or PROCESS[-MIXER], such as masked-gru.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Wall-clock to train for (5 unless given).")] = None,
    steps: Annotated[int | None, typer.Option(help="Updates to train for, instead of --minutes.")] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="The run folder; runs/DATA-MODEL unless given.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run; begin it where there is none.")] = False,
    start: Annotated[
        str | None, typer.Option("--from", metavar="RUN", help="Begin with the weights of another run, where they fit.")
    ] = None,
    save_every: Annotated[float, typer.Option(help="Seconds between saves; 0 saves at every step.")] = 60.0,
    seed: Annotated[int | None, typer.Option(help="What randomness follows from; 0 unless given.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained and what it would take, and train nothing.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Train a model on texts, series, drawings, pairs or conversations, into a run folder.

    DATA is a file, a folder, - for standard input, or builtin:NAME (topics, markov, var1, sine, ...). Any setting
    of a recipe can be given as key=value, such as backbone.width=256 or corpus.splits=[0.8,0.1,0.1]; what is not given
    is chosen by a small rule, and -v tells the reasons.
    """
    plain, pairs = sort_words(_paths_first(words or []), "train [DATA|RECIPE]")
    settings = settings_of(pairs, seed=seed, minutes=minutes, steps=steps)
    plain = plain or place_of(settings, "train DATA|RECIPE")
    if save_every < 0:
        raise ConfigError(f"{save_every} is below 0", path="--save-every", hint="give seconds, or 0 for every step")
    if model is not None:
        from seqloom.model_words import check_model

        check_model(model)
    data = path_of(plain[0])
    check_exists(data, settings.get("corpus"))
    session.compute()
    from seqloom.fit import Fit
    from seqloom.planning import plan

    planned = plan(
        data, settings, model=model, out=out, resume=resume, start=start, notify=session.note, device=session.place
    )
    expected = planned.estimate(session.place)
    warnings = planned.warnings(expected, session.place)
    told = [f"  {line}" for line in reasons(planned.advice, session.verbose)]
    notes = [*_begins(planned, resume), *told, f"estimate: {expected}", *warnings]
    if dry_run:
        for note in notes:
            session.note(note)
        if as_json:
            put_json(
                {
                    "run": str(planned.path),
                    "recipe": planned.recipe.plain(),
                    "advice": dict(planned.advice),
                    "estimate": asdict(expected),
                    "warnings": warnings,
                }
            )
        return
    stop = Stop()
    with stop.handling_signals():
        fit = Fit(planned, save_every=save_every, stop=stop, device=session.place, expected=expected)
        report = watch(fit, session, notes)
    if report is None:
        again = command("train", data, "--out", planned.path, "--resume")
        session.note(f"stopped and saved; go on with: {again}")
        raise typer.Exit(128 + stop.signal)
    if as_json:
        keys = ("run", "steps", "seconds", "parameters", "elements", "resumed_from", "valid")
        put_json({key: report[key] for key in keys})
        return
    session.note(
        f"done: {count(report['steps'], 'step')} in {duration(report['seconds'])}, "
        f"{report['parameters']:,} parameters, "
        + (f"validation {shown_metric(report['valid'])}" if report["valid"] else "not validated")
    )
    put(f"{planned.path}\n")
    session.note(f"next: {_use_of(planned)}   {command('evaluate', planned.path)}")


def _begins(planned: TrainingPlan, resume: bool) -> list[str]:
    """What is trained, and of what is new what was understood of its data and what the model cannot say of them."""
    what = f"{planned.path}: {chosen(planned)}"
    if planned.run is not None:
        return [what]
    begins = [f"there is no run at {planned.path} yet: it begins at step 0"] if resume else []
    process, space = planned.recipe.process, planned.prepared.codec.space
    apart = "" if process.couples(space) else process.independence(space, planned.recipe.backbone.channels)
    return [*planned.prepared.notes, *begins, what, *filter(None, [apart])]


def _use_of(planned: TrainingPlan) -> str:
    """The command that such a model was most likely trained for."""
    from seqloom.corpora.base import sources_of

    codec, given = planned.prepared.codec, planned.prepared.given
    enters = {planned.given[name].enters or own.enters for name, own in given.items()}
    if codec.ends_of_turn:
        return command("chat", planned.path)
    if codec.numeric:
        ahead = [] if planned.recipe.feed.horizon else ["--horizon", planned.prepared.facts.get("season") or HORIZON]
        sources = sources_of(planned.given)
        if any(
            sources[name].columns and (planned.given[name].enters or given[name].enters) == "align" for name in given
        ):
            ahead += ["--future", "FILE"]
        return command("forecast", planned.path, *ahead)
    if codec.space.symbolic and enters & {"attend", "align"}:
        told = codec.choices and "align" not in enters
        return command("classify" if told else "apply", planned.path, "FILE")
    labels = [f"given.{name}={own.choices[0]}" for name, own in given.items() if own.choices]
    return command("sample", planned.path, *labels)


def _paths_first(words: list[str]) -> list[str]:
    """A file whose name looks like a setting (`a=b.txt`) is a file."""
    return [LITERAL + word if "=" in word and Path(word).exists() else word for word in words]
