"""The verb that says how likely a model finds what a file holds."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqloom.cli.beside import opened
from seqloom.cli.session import (
    FORCE,
    JSON,
    WEIGHTS,
    Session,
    check_file,
    conditions_of,
    path_of,
    put,
    put_json,
    put_table,
    several_of,
    sort_words,
    verb,
)
from seqloom.cli.training import settings_of
from seqloom.core.errors import ConfigError, DataError, Unlearned
from seqloom.core.outputs import OutputFile
from seqloom.core.progress import Progress, count

if TYPE_CHECKING:
    from seqloom.codecs.base import Codec
    from seqloom.corpora.base import Stretch
    from seqloom.model import Model
    from seqloom.sequence.query import Score

FULL = Annotated[bool, typer.Option("--full", help="Score all windows where an expensive likelihood takes some.")]


@verb
def score(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="RUN FILE|- [given.NAME=VALUE]...")] = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Tell the nats of each element.")] = False,
    full: FULL = False,
    attention: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Draw what of its source each element attended to: .png, .svg or .html."),
    ] = None,
    force: FORCE = False,
    weights: WEIGHTS = "best",
    as_json: JSON = False,
) -> None:
    """Say what a file, or each series in it, costs under a model: how likely the model finds it.

    Of a model of lines, rows of a table, conversations or files of a folder, each is one thing, with what stands beside
    it as a condition; corpus.KEY=VALUE says what is read otherwise than in training, such as corpus.source=FILE.
    """
    (run, file), settings = sort_words(words or [], "score RUN FILE|-", ("given", "corpus"))
    check_file(file)
    drawing = None if attention is None else _drawing(attention, force)
    model = opened(run, weights, session)
    codec = model.codec
    given = conditions_of(settings, model.given)
    corpus = corpus_in(settings_of([word for word in settings if not word.startswith("given.")]))
    things = _things_of(model, file, corpus, given)
    told = {*model.network.aligned, *model.given.searched}.union(*(one.given for one in things))
    untold = [name for name in model.given if name not in told]
    read = set().union(*(_read_beside(model, one) for one in things)) if untold else set()
    for name in untold:
        if name not in read:
            session.note(f"without given.{name}=..., it is scored as what has no {name}")
    if drawing is not None:
        _draw_attention(model, things, *drawing, session)
    scored = _scored(model, things, tokens, full, session)
    for loses in {thing.score.loses for thing in scored} - {""}:
        session.note(lossy(loses))
    if as_json:
        each = [{**_score_fields(thing.score), **_surprisal(codec, thing)} for thing in scored]
        series = [{"name": thing.name, **own} for thing, own in zip(scored, each, strict=True)]
        put_json({"run": path_of(run), **(each[0] if len(things) == 1 else {"series": series})})
    elif len(things) > 1 and codec.space.symbolic and not tokens:
        put_table(_table_of(scored, "file" if Path(path_of(file)).is_dir() else "line"), left=(2,))
    else:
        for thing in scored:
            put((f"{thing.name}: " if len(things) > 1 else "") + _in_words(thing.score) + "\n")
            for element in _surprisal(codec, thing).get("surprisal", ()):
                own = element["element"]
                put(f"{element['nats']:9.4f}  {own if own.isprintable() and own.strip() else repr(own)}\n")


@dataclass(frozen=True)
class _Scored:
    """One thing of a file, and what it costs."""

    name: str
    value: Any
    score: Score


def _read_beside(model: Model, thing: Stretch) -> set[str]:
    """The conditions that the rows of a thing tell by themselves; none where it cannot be read, which is said later."""
    try:
        return set(model.given.ahead(model.codec.accept(thing.value), 0, None, thing.given))
    except (ConfigError, DataError):
        return set()


def _scored(model: Model, things: Sequence[Stretch], tokens: bool, full: bool, session: Session) -> list[_Scored]:
    """What each thing costs. One of several that cannot be scored is said and left out; DataError where none can."""
    scored: list[_Scored] = []
    longer = [next(model.given.overlong(thing.given), "") for thing in things] if len(things) > 1 else []
    if first := next(filter(None, longer), ""):
        many = f"{sum(map(bool, longer)):,} of {len(things):,}"
        session.note(f"attention has not learned to read all that is given beside {many}, the first: {first}")
    with Progress(1, "", quiet=session.quiet) as bar, warnings.catch_warnings():
        if first:
            warnings.simplefilter("ignore", Unlearned)
        for i, thing in enumerate(things):

            def report(share: float, done: int = i) -> None:
                bar.update((done + share) / len(things))

            try:
                measured = model.score(thing.value, given=thing.given, tokens=tokens, full=full, progress=report)
            except DataError as error:
                if i == len(things) - 1 and not scored:
                    raise
                bar.say(f"{thing.called}: {error.message}")
            else:
                scored.append(_Scored(thing.called, thing.value, measured))
    return scored


def corpus_in(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of how other data are read."""
    corpus = settings.get("corpus", {})
    return dict(corpus) if isinstance(corpus, Mapping) else {"name": corpus}


def _things_of(model: Model, file: str, settings: Mapping[str, Any], given: Mapping[str, Any]) -> list[Stretch]:
    """What a file, or standard input, holds, each with its name and with the conditions that are `given` or beside it.

    A text of one line is its own name.
    """
    from seqloom.corpora.base import Stretch
    from seqloom.evaluation.evaluate import things_in

    codec, corpus = model.codec, None if model.run is None else model.run.recipe.corpus
    things: list[Stretch] = []
    if model.run is not None and (file != "-" or (corpus is not None and corpus.of_lines)):
        things = things_in(model.run, file if file == "-" else path_of(file.removeprefix("@")), settings, given)
    things = things or [Stretch(value, 0, {}, codec.called(value)) for value in several_of(file, codec)]

    def called(thing: Stretch) -> str:
        text = codec.as_text(thing.value) if codec.reads_anything and thing.called.startswith("line ") else ""
        return text if text and "\n" not in text else thing.called

    return [replace(thing, given={**thing.given, **given}, called=called(thing)) for thing in things]


def _table_of(scored: Sequence[_Scored], what: str) -> list[list[str]]:
    """What each of several lines or files (`what`) costs, and all of them together."""
    rows = [(one.name, one.score.nats, one.score.count) for one in scored]
    rows.append((f"all {len(rows):,}", sum(nats for _, nats, _ in rows), sum(units for *_, units in rows)))
    first = scored[0].score
    return [
        ["nats", f"{'≤ ' if first.kind == 'bound' else ''}bits/{first.unit}", what],
        *([f"{nats:.2f}", f"{nats / units / math.log(2):.4f}", name] for name, nats, units in rows),
    ]


def _drawing(word: str, force: bool) -> tuple[OutputFile, str]:
    """The file for a picture of attention, and its form by its name."""
    form = Path(word).suffix.lower().removeprefix(".")
    if form not in {"png", "svg", "html"}:
        hint = "a name that ends in .png, .svg or .html"
        raise ConfigError(f"{word} is no name for a picture", path="--attention", hint=hint)
    return OutputFile.at(word, force=force, option="--attention"), form


def _draw_attention(model: Model, things: Sequence[Stretch], file: OutputFile, form: str, session: Session) -> None:
    """What each element of the one thing attended to, as a picture."""
    if len(things) > 1:
        raise ConfigError("one text at a time is drawn", path="--attention", hint="give a file with one")
    drawn = model.attention(things[0].value, given=things[0].given)
    session.wrote(file, drawn.page() if form == "html" else drawn.plot(form).data)  # type: ignore[arg-type]


def _score_fields(score: Score) -> dict[str, Any]:
    """A score as JSON has it."""
    return {
        "nats": score.nats,
        "count": round(score.count),
        "unit": score.unit,
        "bits_per_unit": score.bits_per_unit,
        "kind": score.kind,
        "stderr": score.stderr,
        "context": score.context,
        **({"loses": score.loses} if score.loses else {}),
    }


def lossy(loses: str) -> str:
    """What is said of a likelihood by a codec that loses something."""
    return f"the likelihood is without {loses}: compare it with those of codecs that lose the same"


def _surprisal(codec: Codec, scored: _Scored) -> dict[str, Any]:
    """What each element costs, where that was asked; an end that was scored, too, has no name."""
    costs = scored.score.surprisal
    if costs is None:
        return {}
    rows = [codec.element_names(row) for row in codec.rows(scored.value)]
    ends = (len(costs) - sum(map(len, rows))) // max(1, len(rows))
    names = [name for own in rows for name in [*own, *[""] * ends]]
    return {"surprisal": [{"element": name, "nats": nats} for name, nats in zip(names, costs, strict=False)]}


def _in_words(score: Score) -> str:
    """A score as lines of text."""
    mark = {"bound": "≤ ", "estimate": "≈ "}.get(score.kind, "")
    error = f" ± {score.stderr:.1f}" if score.stderr else ""
    bits = "" if score.bits_per_unit is None else f"{mark}{score.bits_per_unit:.4f} bits/{score.unit}   "
    lines = [
        f"{bits}{mark}{score.per_unit:.4f} nats/{score.unit}",
        f"{score.nats:.1f}{error} nats for {count(round(score.count), score.unit)}; {score.kind}, "
        f"context: {score.context}",
    ]
    return "\n".join(lines)
