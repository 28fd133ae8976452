"""The verb that goes on in time: forecast, as a table, as joint paths, as a chart, and under a condition."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqloom.cli.sampling import (
    KEYS,
    PATHS,
    annotated,
    by_column,
    check_numbers,
    collected,
    levels_of,
    numbered_files,
    opened,
    write_files,
)
from seqloom.cli.session import (
    FORCE,
    JSON,
    SEED,
    WEIGHTS,
    Session,
    command,
    content_of,
    path_of,
    positive,
    put,
    put_json,
    sort_words,
    verb,
)
from seqloom.core.errors import ConfigError, DataError
from seqloom.core.outputs import OutputFile

if TYPE_CHECKING:
    from seqloom.codecs.base import Codec
    from seqloom.model import Model
    from seqloom.sequence.answer import Answer

CHARTS = {".png": "png", ".svg": "svg"}


@verb
def forecast(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="RUN [FILE] [key=value]...")] = None,
    horizon: Annotated[
        int | None, typer.Option(help="How many elements to go on for; feed.horizon of the run unless given.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="The file to write; with --paths perhaps a folder.")] = None,
    paths: Annotated[int | None, typer.Option("-n", "--paths", help="Write so many joint paths, no quantiles.")] = None,
    quantiles: Annotated[str | None, typer.Option(help="Which, with commas; 0.1 to 0.9 unless given.")] = None,
    draws: Annotated[int | None, typer.Option(help="Paths that are drawn; 100, or --paths, unless given.")] = None,
    where: Annotated[
        str | None, typer.Option(help="Keep the paths that meet this: 'load > 100', 'all(load > 100)'.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="DATE|ROW", help="Begin inside the file, at this row or date.")
    ] = None,
    plot: Annotated[str | None, typer.Option(help="Draw a fan chart into this file, .png or .svg.")] = None,
    html: Annotated[str | None, typer.Option(help="Write a page with the chart and the numbers.")] = None,
    seed: SEED = None,
    weights: WEIGHTS = "best",
    force: FORCE = False,
    as_json: JSON = False,
) -> None:
    """Go on in time from a table, or from the end of the training file.

    Writes the time and, for each column, mean and quantiles over 100 sample paths: NAME_mean, NAME_0.1 ... NAME_0.9.
    """
    plain, settings = sort_words(words or [], "forecast RUN [FILE]", KEYS)
    for number, option in ((horizon, "--horizon"), (paths, "--paths"), (draws, "--draws")):
        positive(number, option)
    levels = None if quantiles is None else levels_of(quantiles)
    if paths is not None and levels is not None:
        raise ConfigError(
            "paths have no quantiles", path="--quantiles", hint="leave out one of --paths and --quantiles"
        )
    chart = None if plot is None else _chart_file(plot, force)
    page = None if html is None else OutputFile.at(html, force=force, option="--html")
    model = opened(plain[0], weights, session)
    codec = model.codec
    hint = command("extend", path_of(plain[0]), "PREFIX", "--length", horizon or 24)
    check_numbers(codec, f"go on from a beginning: {hint}")
    steps = model.horizon_of(horizon)
    if where is not None:  # what is wrong with it is said before anything is drawn
        import numpy as np

        from seqloom.core.expression import meeting

        meeting(where, {name: np.zeros((1, steps)) for name in codec.number_names()})
    several = paths is not None and out is not None and not out.endswith((*codec.suffixes, ".gz"))
    file = None if out is None or several else OutputFile.at(out, force=force)
    folder = numbered_files(out, paths or 0, codec, force) if several and out is not None else None
    history, truth = _history(model, plain[1:], session, start, steps)
    drawn = draws or max(paths or PATHS, PATHS if where else 0)
    asked = annotated(model, model.canvas(history, steps), max(drawn, paths or 0), seed, settings)
    if note := _past_the_horizon(model, steps):
        session.note(note)
    answer = collected(model, asked, session)
    if where is not None:
        answer = _met(answer, where, session)
    _write_charts(session, model, answer, chart, page, truth, f"{model.run.path.name if model.run else ''}")
    made = [codec.cut(value, codec.size(value) - steps, codec.size(value)) for value in answer.values][:paths]
    if folder is not None:
        write_files(folder, [codec.show(value) for value in made], session)
    if paths is not None:
        data = codec.show_several(made, "path")
        numbered = zip(made, answer.rows, strict=False)
        content: dict[str, Any] = {"paths": [{**codec.as_json(value), "row": row} for value, row in numbered]}
    else:
        numbers = answer.statistics() if levels is None else answer.statistics(levels)
        data = codec.summary(made[0], numbers)
        content = {"summary": by_column(answer, numbers)}
    if where is not None:
        content["where"] = {"condition": where, "met": len(answer.values), "drawn": max(drawn, paths or 0)}
    if file is not None:
        file.write(data)
    if as_json:
        put_json({"run": path_of(plain[0]), "seed": answer.seed, "elements": codec.element_names(made[0]), **content})
    elif out is None:
        put(data)


def _chart_file(word: str, force: bool) -> tuple[OutputFile, str]:
    """Where a chart goes, and its form by the suffix."""
    form = CHARTS.get(Path(word).suffix.lower())
    if form is None:
        raise ConfigError(f"{word} is no name for a chart", path="--plot", hint="a name that ends in .png or .svg")
    return OutputFile.at(word, force=force, option="--plot"), form


def _history(model: Model, words: Sequence[str], session: Session, start: str | None, horizon: int) -> tuple[Any, Any]:
    """What a forecast goes on from, and what really followed where that stands in the same file.

    It is a file's value, or that of the training; with `start` only what precedes that row.
    """
    assert model.run is not None
    codec = model.codec
    if words:
        history = content_of(words[0], codec)
    else:
        corpus = model.run.recipe.corpus
        values = corpus.full(codec)
        if len(values) != 1:
            raise DataError(
                f"the training data hold {len(values)} series, so it is not clear which one goes on",
                hint="name the file to go on from: seqloom forecast RUN FILE",
            )
        history = values[0]
        if start is None:
            session.note("going on from the end of the training data")
        if corpus.fingerprints(codec) != dict(model.run.fingerprints):
            session.note("the data have changed since the model was trained: it goes on from what they are now")
    truth = None
    if start is not None:
        begin = _position(codec, history, start)
        after = codec.cut(history, begin, min(begin + horizon, codec.size(history)))
        truth = codec.numbers(after) if codec.size(after) == horizon else None
        history = codec.cut(history, 0, begin)
    from seqloom.model import HISTORY

    size = codec.size(history)
    if size > HISTORY:
        session.detail(f"the last {HISTORY} of {size} rows are read")
        return codec.cut(history, size - HISTORY, size), truth
    return history, truth


def _position(codec: Codec, history: Any, start: str) -> int:
    try:
        return codec.position(history, start)
    except DataError as error:
        raise ConfigError(error.message, path="--from", hint=error.hint) from None


def _past_the_horizon(model: Model, horizon: int) -> str:
    """A note where a model is asked for more than it was trained for; empty where it is not."""
    trained = model.trained_horizon
    if trained is None or horizon <= trained:
        return ""
    return f"{horizon} rows are more than the {trained} of feed.horizon: it rolls on, reading what it has made"


def _met(answer: Answer, condition: str, session: Session) -> Answer:
    """The paths that meet a condition, and how many of them do."""
    kept = answer.where(condition)
    once = "" if "all(" in condition or "any(" in condition else " (in one row at least; all(...) asks for every row)"
    session.note(f"{len(kept.values)} of {len(answer.values)} paths meet {condition!r}{once}")
    return kept


def _write_charts(
    session: Session,
    model: Model,
    answer: Answer,
    chart: tuple[OutputFile, str] | None,
    page: OutputFile | None,
    truth: Any,
    title: str,
) -> None:
    """The fan chart into its file, and the page into its."""
    if chart is not None:
        file, form = chart
        file.write(answer.plot(form, title=title, truth=truth).data)  # type: ignore[arg-type]
        session.note(str(file.path))
    if page is not None:
        from seqloom.evaluation.report import forecast_page

        page.write(forecast_page(answer, title, truth).encode("utf-8", "replace"))
        session.note(str(page.path))
