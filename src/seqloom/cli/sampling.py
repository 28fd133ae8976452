"""The verbs that make something: sample, extend and infill."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqloom.cli.session import (
    FORCE,
    JSON,
    SEED,
    WEIGHTS,
    Session,
    check_literal,
    conditions_of,
    positive,
    put,
    put_json,
    run_folder,
    say,
    seed_of,
    several_of,
    sort_words,
    value_of,
    verb,
)
from seqloom.core.errors import ConfigError, DataError, UnsupportedQuery
from seqloom.core.outputs import OutputFile, OutputFolder
from seqloom.core.progress import Progress

if TYPE_CHECKING:
    from seqloom.codecs.base import Codec
    from seqloom.model import Model
    from seqloom.samplers.base import Sampler
    from seqloom.sequence.answer import Answer
    from seqloom.sequence.canvas import Canvas
    from seqloom.sequence.query import Frame, Query

KEYS = ("sampler", "given")
PATHS = 100
"""Samples that means and quantiles are taken over, unless it is said."""
EVERY = 0.05
"""Seconds between two prints of what has been settled of a text."""

COUNT = Annotated[int, typer.Option("-n", "--count", help="How many samples.")]
FOLDER = Annotated[str | None, typer.Option("--out", help="A folder for one file a sample.")]
STOP = Annotated[list[str] | None, typer.Option(help="End before this text comes up; may be given several times.")]
ALLOW = Annotated[str | None, typer.Option(help="A regular expression: only characters that match it are drawn.")]
LENGTH = Annotated[int | None, typer.Option(help="How many new elements; the training window unless given.")]


@verb
def sample(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="RUN [key=value]...")] = None,
    n: COUNT = 1,
    length: LENGTH = None,
    stop: STOP = None,
    allow: ALLOW = None,
    seed: SEED = None,
    weights: WEIGHTS = "best",
    out: FOLDER = None,
    frames: Annotated[str | None, typer.Option(help="A folder for the states of a diffusion on its way.")] = None,
    force: FORCE = False,
    as_json: JSON = False,
) -> None:
    """Make samples from nothing.

    Settings are sampler.KEY=VALUE (sampler.temperature=0.8), sampler=NAME and given.NAME=VALUE|@FILE.
    """
    (run,), settings = sort_words(words or [], "sample RUN", KEYS)
    positive(length, "--length")
    model = opened(run, weights, session)
    asked = annotated(model, model.empty(length), n, seed, settings, stop, allow)
    if frames is None:
        _write_samples(model, asked, session, out, force, as_json)
        return
    from seqloom.cli.trajectory import Trajectory

    trajectory = Trajectory.of(model, asked.query, frames, force)
    _write_samples(model, asked, session, out, force, as_json, trajectory.watched)
    session.note(f"the states of the first sample: {trajectory.write()}")


@verb
def extend(
    session: Session,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="RUN PREFIX|@FILE|- [key=value]...", show_default=False)
    ] = None,
    n: COUNT = 1,
    length: LENGTH = None,
    stop: STOP = None,
    allow: ALLOW = None,
    seed: SEED = None,
    weights: WEIGHTS = "best",
    out: FOLDER = None,
    force: FORCE = False,
    as_json: JSON = False,
) -> None:
    """Go on from a beginning.

    PREFIX is a text, @FILE or - for standard input; @@ begins a literal @, and -- comes before a literal dash.
    """
    (run, prefix), settings = sort_words(words or [], "extend RUN PREFIX|@FILE|-", KEYS)
    positive(length, "--length")
    check_literal(prefix)
    model = opened(run, weights, session)
    value, steps = value_of(prefix, model.codec), length or model.network.window
    given = model.given_ahead(value, steps, None, conditions_of(settings, model.given))
    asked = annotated(model, model.canvas(value, steps), n, seed, settings, stop, allow, given)
    _write_samples(model, asked, session, out, force, as_json)


@verb
def infill(
    session: Session,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="RUN TEMPLATE|@FILE|- [key=value]...", show_default=False)
    ] = None,
    n: Annotated[int | None, typer.Option("-n", "--count", help="How many samples.")] = None,
    gap: Annotated[int | None, typer.Option(help="Make each gap so many elements.")] = None,
    blank: Annotated[str | None, typer.Option(help="How a gap is written, instead of underscores.")] = None,
    quantiles: Annotated[str | None, typer.Option(help="Of numbers: how sure each is, as 0.05,0.5,0.95.")] = None,
    seed: SEED = None,
    weights: WEIGHTS = "best",
    out: FOLDER = None,
    force: FORCE = False,
    as_json: JSON = False,
) -> None:
    """Fill the gaps of a template, or of every series in a table.

    In a text a gap is a run of three or more underscores, one for each unknown element; in a table it is an empty cell.
    With --quantiles the rows with gaps are printed with mean and quantiles over -n ways to fill them, 100 unless given.
    """
    (run, template), settings = sort_words(words or [], "infill RUN TEMPLATE|@FILE|-", KEYS)
    positive(gap, "--gap")
    positive(n, "-n")
    check_literal(template)
    model = opened(run, weights, session)
    values = several_of(template, model.codec) if template.startswith("@") and not template.startswith("@@") else []
    if len(values) > 1:
        levels = None if quantiles is None else levels_of(quantiles)
        _infill_several(session, model, values, n, levels, seed, settings, out, force, as_json)
        return
    value = values[0] if values else value_of(template, model.codec)
    canvas, given = model.canvas(value, None, gap, blank), _beside(model, value, settings)
    if quantiles is not None:
        intervals = annotated(model, canvas, n or PATHS, seed, settings, given=given)
        _write_intervals(session, model, intervals, levels_of(quantiles), out, force, as_json)
        return
    asked = annotated(model, canvas, n or 1, seed, settings, given=given)
    _write_samples(model, asked, session, out, force, as_json)


def _beside(model: Model, value: Any, settings: Sequence[str]) -> dict[str, Any]:
    """The conditions of a value: those of the settings, and those that stand beside it in its file."""
    return model.given_ahead(value, 0, None, conditions_of(settings, model.given))


def _infill_several(
    session: Session,
    model: Model,
    values: Sequence[Any],
    n: int | None,
    levels: Sequence[float] | None,
    seed: int | None,
    settings: Sequence[str],
    out: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Fill the gaps of several series, and write all of them as their file has them."""
    import numpy as np

    codec, number = model.codec, n or (1 if levels is None else PATHS)
    gaps = [i for i, value in enumerate(values) if (cells := codec.numbers(value)) is None or np.isnan(cells).any()]
    if not gaps:
        raise DataError("there is no gap to fill: every cell of the table has a value", hint="empty some cells")
    file = None if out is None or levels is None else OutputFile.at(out, force=force)
    folder = None if out is None or levels is not None else numbered_files(out, number, codec, force)
    canvases = {i: model.canvas(values[i]) for i in gaps}
    asked = [
        annotated(model, canvases[i], number, seed, settings, given=_beside(model, values[i], settings)) for i in gaps
    ]
    answers = dict(zip(gaps, collected_several(model, asked, session), strict=True))
    if levels is not None:
        statistics = {i: answer.statistics(levels) for i, answer in answers.items()}
        likes = [
            codec.join([codec.cut(answer.values[0], t, t + 1) for t in answer.new.tolist()])
            for answer in answers.values()
        ]
        data = codec.summaries(likes, list(statistics.values()))
        if file is not None:
            file.write(codec.as_file(data, file.path.name))
    else:
        made = [
            tuple(answers[i].values[k] if i in answers else value for i, value in enumerate(values))
            for k in range(number)
        ]
        data = codec.together(made[0]) if number == 1 else codec.show_several(made, "sample")
        if folder is not None:
            write_files(folder, [codec.together(own) for own in made], session)
    if as_json:
        contents = []
        for i, answer in answers.items():
            own: dict[str, Any] = {"name": codec.called(values[i])}
            if levels is None:
                own["samples"] = [codec.as_json(value) for value in answer.values]
            else:
                own["elements"] = [answer.elements[t] for t in answer.new]
                own["summary"] = by_column(answer, statistics[i])
            contents.append(own)
        put_json({"seed": asked[0].query.seed, "series": contents})
    elif out is None:
        put(data)


def _write_intervals(
    session: Session,
    model: Model,
    asked: AnnotatedQuery,
    quantiles: Sequence[float],
    out: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """What was filled, as mean and quantiles of each row that had a gap."""
    codec = model.codec
    check_numbers(codec, "extend goes on from a beginning, and infill without --quantiles fills gaps")
    file = None if out is None else OutputFile.at(out, force=force)
    answer = collected(model, asked, session)
    statistics = answer.statistics(quantiles)
    parts = [codec.cut(answer.values[0], i, i + 1) for i in answer.new.tolist()]
    data = codec.summary(codec.join(parts), statistics)
    if file is not None:
        file.write(codec.as_file(data, file.path.name))
    if as_json:
        elements = [answer.elements[i] for i in answer.new]
        put_json({"seed": answer.seed, "elements": elements, "summary": by_column(answer, statistics)})
    elif file is None:
        put(data)


def by_column(answer: Answer, statistics: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Statistics (T,D) as JSON has them: by column, then by name."""
    return {
        column: {name: array[:, d].tolist() for name, array in statistics.items()}
        for d, column in enumerate(answer.columns)
    }


def check_numbers(codec: Codec, hint: str) -> None:
    """UnsupportedQuery where what a model makes has no means and quantiles."""
    if codec.numbers(codec.examples()[0]) is None:
        raise UnsupportedQuery(
            f"a forecast has means and quantiles, which what this run makes (codec={codec.name}) has not", hint=hint
        )


def levels_of(text: str) -> tuple[float, ...]:
    """The quantiles that an option names, such as `0.05,0.5,0.95`; ConfigError where it names none."""
    try:
        levels = tuple(float(word) for word in text.split(","))
    except ValueError:
        levels = ()
    if not levels or not all(0 <= level <= 1 for level in levels):
        raise ConfigError(f"{text!r} are no quantiles", path="--quantiles", hint="numbers from 0 to 1: 0.05,0.5,0.95")
    return levels


# ---- queries --------------------------------------------------------------------------------------------------------


def opened(run: str, weights: str, session: Session) -> Model:
    """The model of a run; notes on its checkpoint go to stderr."""
    if weights not in {"best", "last"}:
        raise ConfigError(f"there are no weights called {weights!r}", path="--weights", hint="best or last")
    folder = run_folder(run)
    session.compute()
    from seqloom.model import load

    model = load(folder, weights, session.place)  # type: ignore[arg-type]
    for note in model.notes[:-1]:  # the last says which checkpoint it is
        session.note(note)
    session.detail(model.notes[-1])
    return model


def sampler_of(model: Model, settings: Sequence[str]) -> Sampler:
    """The model's sampler with the settings `sampler.KEY=VALUE` laid upon it, or the one that `sampler=NAME` names."""
    from seqloom.core.config import make, merge, parse_pairs
    from seqloom.samplers.base import Sampler

    pairs = parse_pairs(word for word in settings if word.partition("=")[0].partition(".")[0] == "sampler")
    if not pairs:
        return model.sampler
    over = pairs["sampler"]
    if isinstance(over, str):
        over = {"name": over}
    if not isinstance(over, dict):
        raise ConfigError(f"{over!r} is no sampler", path="sampler", hint="`seqloom list sampler` shows them")
    try:
        return make(Sampler, merge({"sampler": model.sampler.plain()}, {"sampler": over})["sampler"])  # type: ignore[type-abstract]
    except ConfigError as error:
        raise error.under("sampler") from None


@dataclass(frozen=True)
class AnnotatedQuery:
    """A query, and notes on it for the user."""

    query: Query
    notes: tuple[str, ...]

    def frames(self, model: Model, session: Session) -> Iterator[Frame]:
        """The frames of the query; the notes are printed with the first, once it is clear that it can be answered."""
        for i, frame in enumerate(model.stream(self.query)):
            if i == 0:
                for note in self.notes:
                    session.note(note)
            yield frame


def annotated(
    model: Model,
    canvas: Sequence[Canvas],
    n: int,
    seed: int | None,
    settings: Sequence[str],
    stop: Sequence[str] | None = None,
    allow: str | None = None,
    given: Mapping[str, Any] | None = None,
) -> AnnotatedQuery:
    """The query for a canvas and the notes on it; an error where it cannot be asked of this model.

    `given` are the conditions, where they are not those of the settings alone.
    """
    positive(n, "-n")
    sampler, given = sampler_of(model, settings), conditions_of(settings, model.given) if given is None else given
    notes = [
        f"without given.{name}=..., the model makes what it learned for no {name}"
        for name in model.given
        if name not in given and not (name in model.network.aligned and canvas[0].openings is not None)
    ]
    if note := past_the_window(model, canvas[0]):
        notes.append(note)
    number = seed_of(seed)
    if seed is None:
        notes.append(f"seed {number}")
    return AnnotatedQuery(model.query(canvas, n, number, sampler, given, stop or (), allow), tuple(notes))


def past_the_window(model: Model, canvas: Canvas) -> str:
    """A note on how a canvas longer than the training window is filled; empty where it is not longer."""
    import numpy as np

    window, length = model.network.window, len(canvas) - canvas.context
    if length <= window:
        return ""
    reason = f"{length} elements are more than the training window of {window}"
    if model.process.incremental and model.network.reach is None:
        return f"{reason}: the recurrent state carries on"
    if model.process.incremental:
        return f"{reason}: it slides, each new element sees {model.network.reach} at most"
    given = canvas.shown | canvas.absent
    empty = np.flatnonzero(~given if given.ndim == 1 else ~given.all(1))
    if len(empty) and empty[-1] - empty[0] >= window:
        return f"{reason}: what is new is made window by window, each seeing the last half before it"
    return f"{reason}: only that much is seen around what is new"


# ---- answers --------------------------------------------------------------------------------------------------------


def _write_samples(
    model: Model,
    annotated: AnnotatedQuery,
    session: Session,
    out: str | None,
    force: bool,
    as_json: bool,
    watch: Callable[[Iterator[Frame]], Iterator[Frame]] = iter,
) -> None:
    """The samples of a query: printed as they are made, as JSON, or as files; `watch` wraps the iterator of frames."""
    codec, count = model.codec, annotated.query.count
    folder = None if out is None else numbered_files(out, count, codec, force)
    began = time.monotonic()
    if not as_json and folder is None and codec.progressive and not annotated.query.others:
        _print_growing(model, annotated.query, watch(annotated.frames(model, session)), session)
        return
    answer = collected(model, annotated, session, watch)
    seconds = time.monotonic() - began
    if folder is not None:
        write_files(folder, [codec.show(value) for value in answer.values], session)
    if as_json:
        samples = [
            {**codec.as_json(value), "seed": answer.seed, "row": row}
            for value, row in zip(answer.values, answer.rows, strict=True)
        ]
        for sample, score in zip(samples, answer.scores, strict=False):  # of a sampler that chooses between rows
            sample["score"] = score
        put_json({"samples": samples, "seconds": round(seconds, 3)})
    elif folder is None:
        put(codec.show(answer.values[0]) if count == 1 else codec.show_several(answer.values, "sample"))


def collected(
    model: Model,
    annotated: AnnotatedQuery,
    session: Session,
    watch: Callable[[Iterator[Frame]], Iterator[Frame]] = iter,
) -> Answer:
    """The samples of a query when all are made, with a line on how far it is where that takes a while."""
    annotated = replace(annotated, query=replace(annotated.query, watched=False))
    query = annotated.query
    from seqloom.model import Running

    running = Running(query)
    with Progress(running.total, "", quiet=session.quiet) as bar:
        for frame in watch(annotated.frames(model, session)):
            running.take(frame)
            bar.update(running.settled, f"{running.done} of {query.count} samples, {frame.call:,} network calls")
    return model.collect(query, running.ordered)


def collected_several(model: Model, several: Sequence[AnnotatedQuery], session: Session) -> list[Answer]:
    """The samples of several queries, which share the network's calls. No two of them draw the same random numbers."""
    if len(several) == 1:
        return [collected(model, several[0], session)]
    first, queries, row = several[0].query, [], 0
    for one in several:
        queries.append(replace(one.query, seed=first.seed, first_row=row, watched=False))
        row += one.query.count
    notes = list(several[0].notes)
    with Progress(1, "", quiet=session.quiet) as bar:

        def report(share: float, text: str) -> None:
            while notes:  # once it is clear that they can be answered
                session.note(notes.pop(0))
            bar.update(share, text)

        return list(model.answers(queries, report))


def _print_growing(model: Model, query: Query, frames: Iterator[Frame], session: Session) -> None:
    """Print each sample as far as it is settled, in whole characters; one row after another."""
    latest: dict[int, Frame] = {}
    row, begun, printed, printed_at = query.first_row, False, 0, 0.0
    for frame in frames:
        latest[frame.row] = frame
        while (current := latest.get(row)) is not None:
            now = time.monotonic()
            if not current.done and now - printed_at < EVERY:
                break
            if not begun and query.count > 1 and not session.quiet:
                say(f"sample {row - query.first_row + 1} of {query.count}:")
            begun, printed_at = True, now
            made = model.codec.show(model.decode(current, query))
            made = made if current.done else whole_characters(made)
            put(made[printed:])
            printed = len(made)
            if not current.done:
                break
            put(_after(made, query.count))
            del latest[row]
            row, begun, printed = row + 1, False, 0


def _after(text: bytes, count: int) -> bytes:
    """What is printed after a text: an empty line between several, and the end of a line on a terminal."""
    if count == 1 and (text.endswith(b"\n") or not sys.stdout.isatty()):
        return b""
    return (b"" if text.endswith(b"\n") else b"\n") + (b"\n" if count > 1 else b"")


def whole_characters(text: bytes) -> bytes:
    """UTF-8 without a last character that is only begun; bytes that are no UTF-8 are left as they are."""
    for back in range(1, min(4, len(text)) + 1):
        lead = text[-back]
        if lead & 0xC0 == 0x80:  # goes on with a character
            continue
        size = 4 if lead >= 0xF0 else 3 if lead >= 0xE0 else 2 if lead >= 0xC0 else 1
        return text[:-back] if size > back else text
    return text


def numbered_files(out: str, count: int, codec: Codec, force: bool) -> OutputFolder:
    """A folder for one file a sample; ConfigError where it is none, or holds such files already."""
    return OutputFolder.at(out, [f"{i:04d}{next(iter(codec.suffixes), '')}" for i in range(count)], force=force)


def write_files(folder: OutputFolder, contents: Sequence[bytes], session: Session) -> None:
    """Write one file a sample, and say where they are."""
    folder.write(contents)
    first, last = folder.files[0].path, folder.files[-1].path
    session.note(f"{first}" if len(contents) == 1 else f"{len(contents)} files: {first} to {last.name}")
