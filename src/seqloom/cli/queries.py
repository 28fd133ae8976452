"""What the verbs ask of a model: queries with notes on them, their answers, and files of samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from seqloom.cli.session import Session, conditions_of, positive, seed_of
from seqloom.core.errors import ConfigError, DataError, UnsupportedQuery
from seqloom.core.outputs import OutputFolder
from seqloom.core.progress import Progress

if TYPE_CHECKING:
    from seqloom.codecs.base import Codec
    from seqloom.model import Model
    from seqloom.samplers.base import Sampler
    from seqloom.sequence.answer import Answer
    from seqloom.sequence.canvas import Canvas
    from seqloom.sequence.query import Frame, Query, Score

Q = TypeVar("Q")


def sampler_of(model: Model, settings: Sequence[str]) -> Sampler:
    """The model's sampler with the settings `sampler.KEY=VALUE` laid upon it, or the one that `sampler=NAME` names."""
    from seqloom.core.config import make, merge, parse_pairs
    from seqloom.samplers.base import Sampler
    from seqloom.samplers.views import within

    pairs = parse_pairs(word for word in settings if word.partition("=")[0].partition(".")[0] == "sampler")
    if not pairs:
        return model.sampler
    over = pairs["sampler"]
    if isinstance(over, str):
        over = {"name": over}
    if not isinstance(over, dict):
        raise ConfigError(f"{over!r} is no sampler", path="sampler", hint="`seqloom list sampler` shows them")

    def lay(base: Sampler) -> Sampler:
        try:
            return make(Sampler, merge({"sampler": base.plain()}, {"sampler": over})["sampler"])  # type: ignore[type-abstract]
        except ConfigError as error:
            raise error.under("sampler") from None

    return within(model.sampler, lay)


@dataclass(frozen=True)
class Limits:
    """The options that say which texts may be made: see `Model.sample`."""

    stop: Annotated[
        list[str] | None, typer.Option(help="End before this text comes up; may be given several times.")
    ] = None
    allow: Annotated[
        str | None, typer.Option(help="A regular expression: only characters that match it are drawn.")
    ] = None
    ban: Annotated[
        list[str] | None, typer.Option(help="A text that is not to come up; may be given several times.")
    ] = None
    bias: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN=NUMBER", help="Add NUMBER to the logits of characters that match; several times."
        ),
    ] = None

    def __post_init__(self) -> None:
        self.biases  # noqa: B018 - what is wrong with them is said at once

    @property
    def biases(self) -> dict[str, float]:
        """What is added to the logits, by pattern; ConfigError where a word is no PATTERN=NUMBER."""
        found = {}
        for word in self.bias or ():
            pattern, _, number = word.rpartition("=")
            try:
                value = float(number)
            except ValueError:
                value = math.nan
            if not pattern or not math.isfinite(value):
                raise ConfigError(f"{word!r} is no PATTERN=NUMBER", path="--bias", hint="such as --bias '[aeiou]=1.5'")
            found[pattern] = value
        return found

    @property
    def words(self) -> dict[str, Any]:
        """The arguments of the model's verbs."""
        return {"stop": self.stop or (), "allow": self.allow, "ban": self.ban or (), "bias": self.biases}


SHOWN = 100
"""Characters of what was looked for that are shown."""


@dataclass(frozen=True)
class AnnotatedQuery:
    """A query, and notes on it for the user."""

    query: Query
    notes: tuple[str, ...]
    given: Mapping[str, Any] = field(default_factory=dict)

    def frames(self, model: Model, session: Session) -> Iterator[Frame]:
        """The frames of the query; the notes are printed with the first, once it is clear that it can be answered."""
        for i, frame in enumerate(model.stream(self.query)):
            if i == 0:
                for note in self.notes:
                    session.note(note)
            yield frame


def _beginning(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]} ..."


def annotated(
    model: Model,
    canvas: Sequence[Canvas],
    n: int,
    seed: int | None,
    settings: Sequence[str],
    limits: Limits | None = None,
    given: Mapping[str, Any] | None = None,
) -> AnnotatedQuery:
    """The query for a canvas and the notes on it; an error where it cannot be asked of this model.

    `given` are the conditions, where they are not those of the settings alone.
    """
    positive(n, "-n")
    sampler, given = sampler_of(model, settings), conditions_of(settings, model.given) if given is None else given
    found = model.given.found(given)
    given = {**given, **found}
    notes = [
        f"no {name} was found" if value is None else f"{name}: {_beginning(model.given[name].as_text(value))}"
        for name, value in found.items()
    ]
    notes += [
        f"without given.{name}=..., the model makes what it learned for no {name}"
        for name in model.given
        if name not in given and not (name in model.network.aligned and canvas[0].openings is not None)
    ]
    if note := past_the_window(model, canvas[0]):
        notes.append(note)
    number = seed_of(seed)
    if seed is None and model.draws(sampler):
        notes.append(f"seed {number}")
    query = model.query(canvas, n, number, sampler, given, **(limits or Limits()).words)
    return AnnotatedQuery(query, tuple(notes), given)


def each_asked(
    values: Sequence[Any], query_of: Callable[[Any], Q], called: Callable[[Any], str], skip_bad: bool, session: Session
) -> list[tuple[int, Q]]:
    """What is asked of each of several things, by their places. Bad ones may be left out.

    What is wrong with one of several is said with its name; what is wrong with each of them is wrong with the query.
    """
    good, bad = [], list[tuple[Any, ConfigError | DataError | UnsupportedQuery]]()
    with Progress(len(values), "", quiet=session.quiet) as bar:
        for place, value in enumerate(values):
            try:
                good.append((place, query_of(value)))
            except (ConfigError, DataError, UnsupportedQuery) as error:
                bad.append((value, error))
            bar.update(place + 1, f"{place + 1:,} of {len(values):,} read")
    if not bad:
        return good
    value, first = bad[0]
    if not good and len({str(error) for _, error in bad}) == 1:
        raise first
    first = first.of(called(value))
    first.hint = f"{first.hint or 'mend it'}; --skip-bad leaves it out"
    if not (good and skip_bad):
        raise first
    session.note(f"{len(bad):,} of {len(values):,} are bad and left out, the first: {first}")
    return good


def past_the_window(model: Model, canvas: Canvas) -> str:
    """A note on how a canvas longer than the training window is filled; empty where it is not longer."""
    import numpy as np

    window, length = model.network.window, len(canvas) - canvas.context
    if length <= model.room:
        return ""
    given = canvas.shown | canvas.absent
    empty = np.flatnonzero(~given if given.ndim == 1 else ~given.all(1))
    if model.process.incremental and model.network.reach is None:  # a long past is what a state is for
        past = f"{len(empty):,} new elements are more than the training window of {window}"
        return f"{past}: its state carries on" if len(empty) > window else ""
    reason = f"{length:,} elements are more than the training window of {window}"
    if model.process.incremental:
        return f"{reason}: it slides, each new element sees {model.network.reach} at most"
    if len(empty) and empty[-1] - empty[0] >= window:
        return f"{reason}: what is new is made window by window, each seeing the last half before it"
    return f"{reason}: only that much is seen around what is new"


# ---- answers --------------------------------------------------------------------------------------------------------


def samples_of(model: Model, answer: Answer, likelihoods: Sequence[Score]) -> list[dict[str, Any]]:
    """Samples as JSON has them; with their likelihoods, where they were ranked."""
    samples = [
        {**model.codec.as_json(value), "seed": answer.seed, "row": row}
        for value, row in zip(answer.values, answer.rows, strict=True)
    ]
    for sample, score in zip(samples, answer.scores, strict=False):  # of a sampler that chooses between rows
        sample["score"] = score
    for sample, likelihood in zip(samples, likelihoods, strict=False):
        value, unit = likelihood.shown
        sample["ranked_by"] = {"value": value, "unit": unit, "kind": likelihood.kind}
    return samples


def collected(
    model: Model,
    annotated: AnnotatedQuery,
    session: Session,
    watch: Callable[[Iterator[Frame]], Iterator[Frame]] = iter,
) -> Answer:
    """The samples of a query when all are made, with a line on how far it is where that takes a while."""
    annotated = replace(annotated, query=replace(annotated.query, watched=False))
    query = annotated.query
    from seqloom.filler import Running

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
    from seqloom.several import apart

    queries = apart([one.query for one in several])
    notes = list(several[0].notes)
    with Progress(1, "", quiet=session.quiet) as bar:

        def report(share: float, text: str) -> None:
            while notes:  # once it is clear that they can be answered
                session.note(notes.pop(0))
            bar.update(share, text)

        return list(model.answers(queries, report))


def numbered_files(out: str, count: int, codec: Codec, force: bool) -> OutputFolder:
    """A folder for one file a sample; ConfigError where it is none, or holds such files already."""
    return OutputFolder.at(out, [f"{i:04d}{next(iter(codec.suffixes), '')}" for i in range(count)], force=force)


def write_files(folder: OutputFolder, samples: Sequence[Sequence[Any]], codec: Codec, session: Session) -> None:
    """Write one file a sample, of one thing or of several series, and say where they are."""
    first, last = folder.files[0].path, folder.files[-1].path
    own = [[codec.in_file(value, first.name) for value in several] for several in samples]
    folder.write([codec.show(one[0]) if len(one) == 1 else codec.together(one) for one in own])
    session.note(f"{first}" if len(own) == 1 else f"{len(own)} files: {first} to {last.name}")
