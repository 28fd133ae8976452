"""The verb that goes on in time: forecast, as a table, as joint paths, as a chart, and under a condition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqloom.cli.beside import opened
from seqloom.cli.queries import annotated, collected_several, each_asked, numbered_files, write_files
from seqloom.cli.sampling import KEYS, PATHS, by_column, check_numbers, levels_of
from seqloom.cli.session import (
    FORCE,
    JSON,
    SEED,
    WEIGHTS,
    Session,
    check_file,
    command,
    conditions_of,
    path_of,
    positive,
    put,
    put_json,
    run_folder,
    several_of,
    sort_words,
    verb,
)
from seqloom.core.errors import ConfigError, DataError
from seqloom.core.outputs import OutputFile
from seqloom.core.progress import count, listed

if TYPE_CHECKING:
    from seqloom.cli.queries import AnnotatedQuery
    from seqloom.codecs.base import Codec
    from seqloom.histories import History
    from seqloom.model import Model
    from seqloom.sequence.answer import Answer

CHARTS = {".png": "png", ".svg": "svg"}
ON_A_PAGE = 50
"""Series whose forecasts a page shows, at most."""


@verb
def forecast(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="RUN [FILE] [key=value]...")] = None,
    horizon: Annotated[
        int | None, typer.Option(help="How many rows to go on for; feed.horizon of the run unless given.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="The file to write; with --paths perhaps a folder.")
    ] = None,
    paths: Annotated[int | None, typer.Option("-n", "--paths", help="Write so many joint paths, no quantiles.")] = None,
    quantiles: Annotated[str | None, typer.Option(help="Which, with commas; 0.1 to 0.9 unless given.")] = None,
    draws: Annotated[int | None, typer.Option(help="Paths that are drawn; 100, or --paths, unless given.")] = None,
    where: Annotated[
        str | None, typer.Option(help="Keep the paths that meet this: 'load > 100', 'all(load > 100)'.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="DATE|ROW", help="Begin inside the file, at this row or date.")
    ] = None,
    future: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A table with the columns that are known ahead, for the rows to come."),
    ] = None,
    plot: Annotated[str | None, typer.Option(metavar="FILE", help="Draw a fan chart: .png or .svg.")] = None,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Write a page with chart and numbers.")] = None,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Leave out series that cannot be gone on from, or meet no --where, and count them."
        ),
    ] = False,
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
    for word in (*plain[1:], *([future] if future else [])):
        check_file(word)
    if horizon is None and not _trained_horizon(plain[0]):
        raise ConfigError("how far to go on is not said", path="--horizon", hint="give a number of rows: --horizon 24")
    model = opened(plain[0], weights, session)
    codec = model.codec
    hint = command("extend", path_of(plain[0]), "PREFIX", "--length", horizon or 24)
    check_numbers(codec, f"go on from a beginning: {hint}")
    steps = model.horizon_of(horizon)
    if where is not None:
        _check_condition(where, codec, steps)
    several = paths is not None and out is not None and not out.endswith((*codec.suffixes, ".gz"))
    file = None if out is None or several else OutputFile.at(out, force=force)
    folder = numbered_files(out, paths or 0, codec, force) if several and out is not None else None
    series = _series(model, plain[1:], start, session)
    if len(series) > 1 and chart:
        raise ConfigError(
            f"a chart is of one series, and there are {len(series):,}",
            path="--plot",
            hint="--html writes a page with a chart for each; or give a file of one of them",
        )
    if horizon is None:
        session.note(f"the next {steps} rows, the feed.horizon of the run; --horizon says otherwise")
    drawn = _count_of_paths(model, draws, paths, where)
    corrected = [] if model.correction is None else model.correction.in_words(drawn)
    for note in filter(None, (_past_the_horizon(model, steps), model.independence, *corrected)):
        session.note(note)
    said = conditions_of(settings, model.given)

    def query(value: Any) -> tuple[History, AnnotatedQuery]:
        history = _history(codec, value, steps, start, Path(path_of(future)) if future else None)
        canvas, given = model.ahead(history, steps, said)
        return history, annotated(model, canvas, drawn, seed, settings, given=given)

    asked = [one for _, one in each_asked(series, query, codec.called, skip_bad, session)]
    histories = [history for history, _ in asked]
    for history in histories:
        _say_unknown(codec, history.value, len(series) > 1, session)
    answers = collected_several(model, [one for _, one in asked], session)
    if where is not None:
        names = {id(answer): codec.called(history.value) for answer, history in zip(answers, histories, strict=True)}

        def meeting(answer: Answer) -> Answer:
            return _met(answer, where, names[id(answer)] if len(answers) > 1 else "", session)

        kept = each_asked(answers, meeting, lambda answer: names[id(answer)], skip_bad, session)
        answers, histories = [one for _, one in kept], [histories[place] for place, _ in kept]
    _write_charts(session, model, answers, chart, page, histories)
    made = [[codec.cut(v, codec.size(v) - steps, codec.size(v)) for v in answer.values][:paths] for answer in answers]
    if file is not None:
        made = [[codec.in_file(value, file.path.name) for value in own] for own in made]
    data, contents = _summaries(codec, answers, made, levels) if paths is None else _paths(codec, answers, made, drawn)
    if folder is not None:
        joint = list(zip(*made, strict=False))
        write_files(replace(folder, files=folder.files[: len(joint)]), joint, codec, session)
    if file is not None:
        session.wrote(file, codec.as_file(data, file.path.name))
    if as_json:
        if where is not None:
            met = [{"condition": where, "met": len(answer.values), "drawn": drawn} for answer in answers]
            contents = [{**content, "where": own} for content, own in zip(contents, met, strict=True)]
        if len(made) > 1:
            contents = [{"name": codec.called(own[0]), **one} for own, one in zip(made, contents, strict=True)]
        whole = contents[0] if len(made) == 1 else {"series": contents}
        put_json({"run": path_of(plain[0]), "seed": answers[0].seed, **whole})
    elif out is None:
        put(data)


def _summaries(
    codec: Codec, answers: Sequence[Answer], made: Sequence[Sequence[Any]], levels: Sequence[float] | None
) -> tuple[bytes, list[dict[str, Any]]]:
    """Mean and quantiles of the samples of each series, as data of the codec, and as JSON has them."""
    statistics = [answer.statistics(*([levels] if levels else [])) for answer in answers]
    contents = [
        {"elements": codec.element_names(own[0]), "summary": by_column(answer, found)}
        for answer, own, found in zip(answers, made, statistics, strict=True)
    ]
    return codec.summaries([own[0] for own in made], statistics), contents


def _paths(
    codec: Codec, answers: Sequence[Answer], made: Sequence[Sequence[Any]], drawn: int
) -> tuple[bytes, list[dict[str, Any]]]:
    """The samples of each series themselves, of which so many were drawn of each, in the same two forms.

    A path of several series is all of theirs of one number; of those that met a condition as many as all have.
    """
    contents = []
    for i, (answer, own) in enumerate(zip(answers, made, strict=True)):
        numbered = zip(own, answer.rows, strict=False)
        paths = [{**codec.as_json(value), "row": row - i * drawn} for value, row in numbered]
        contents.append({"elements": codec.element_names(own[0]), "paths": paths})
    joint = [path[0] if len(path) == 1 else path for path in zip(*made, strict=False)]
    return codec.show_several(joint, "path"), contents


def _check_condition(where: str, codec: Codec, steps: int) -> None:
    """ConfigError where a condition on paths cannot be read: said before any is drawn."""
    import numpy as np

    from seqloom.core.expression import meeting

    meeting(where, {name: np.zeros((1, steps)) for name in codec.number_names()})


def _count_of_paths(model: Model, draws: int | None, paths: int | None, where: str | None) -> int:
    """How many paths are drawn: as many as asked for, and unless that is said enough for what is made of them."""
    from seqloom.sequence.shrinkage import FEWEST

    asked = max(draws or 0, paths or 0) or PATHS
    if draws is not None:
        return asked
    asked = asked if where is None else max(asked, PATHS)
    return asked if model.correction is None else max(asked, FEWEST)  # a few are moved by the median of more


def _trained_horizon(run: str) -> bool:
    """Whether a run was trained for a horizon; needs no torch."""
    from seqloom import run as runs
    from seqloom.core.config import read_yaml

    feed = read_yaml(run_folder(run) / runs.RECIPE).get("feed")
    return isinstance(feed, dict) and bool(feed.get("horizon"))


def _chart_file(word: str, force: bool) -> tuple[OutputFile, str]:
    """Where a chart goes, and its form by the suffix."""
    form = CHARTS.get(Path(word).suffix.lower())
    if form is None:
        raise ConfigError(
            f"{word} is no name for a chart",
            path="--plot",
            hint="a name that ends in .png or .svg; --html writes a page",
        )
    return OutputFile.at(word, force=force, option="--plot"), form


def _series(model: Model, words: Sequence[str], start: str | None, session: Session) -> list[Any]:
    """The series of a file, or those of the training, which a forecast goes on from."""
    from seqloom.histories import HISTORY

    assert model.run is not None
    codec = model.codec
    if words:
        series = several_of(words[0], codec)
        for remark in dict.fromkeys(remark for value in series for remark in codec.remarks(value)):
            session.note(remark)
    else:
        corpus = model.run.recipe.corpus
        series = corpus.full(codec)
        if start is None:
            session.note("going on from the end of the training data")
        if corpus.fingerprints(codec) != dict(model.run.fingerprints):
            session.note("the data have changed since the model was trained: it goes on from what they are now")
    longest = max(map(codec.size, series))
    if longest > HISTORY:
        session.detail(f"the last {HISTORY} of {longest} rows are read")
    return series


def _history(codec: Codec, value: Any, horizon: int, start: str | None, future: Path | None) -> History:
    """What a forecast of one series goes on from; with `start` only what precedes that row."""
    from seqloom.histories import history_of

    try:
        return history_of(codec, value, horizon, start, future)
    except DataError as error:
        raise ConfigError(error.message, path="--from", hint=error.hint) from None


def _say_unknown(codec: Codec, history: Any, named: bool, session: Session) -> None:
    """Say which columns have no value in what a forecast goes on from: of these it knows nothing."""
    import numpy as np

    numbers = codec.numbers(history)
    assert numbers is not None
    known = np.flatnonzero((~np.isnan(numbers)).any(0)).tolist()
    unknown = [name for i, name in enumerate(codec.number_names()) if i not in known]
    if unknown:
        of = f"{codec.called(history)}: " if named else ""
        what = "no cell" if len(unknown) == numbers.shape[1] else f"no cell of {listed(unknown, 'and')}"
        session.note(f"{of}{what} has a value in the history: it is forecast from the training data alone")


def _past_the_horizon(model: Model, horizon: int) -> str:
    """A note where a model is asked for more than it was trained for; empty where it is not."""
    trained = model.trained_horizon
    if trained is None or horizon <= trained or model.process.incremental:
        return ""
    return f"{horizon} rows are more than the {trained} of feed.horizon: it rolls on, reading what it has made"


def _met(answer: Answer, condition: str, called: str, session: Session) -> Answer:
    """The paths that meet a condition, and how many of them do; of several series with the name of each."""
    from seqloom.core.expression import of_rows

    kept = answer.where(condition)
    by_row = of_rows(condition, answer.columns)
    once = " (in one row at least; all(...) asks for every row)" if by_row else ""
    of = f"{called}: " if called else ""
    session.note(f"{of}{len(kept.values)} of {len(answer.values)} paths meet {condition!r}{once}")
    return kept


def _write_charts(
    session: Session,
    model: Model,
    answers: Sequence[Answer],
    chart: tuple[OutputFile, str] | None,
    page: OutputFile | None,
    histories: Sequence[History],
) -> None:
    """The fan chart into its file, and the page with those of all series into its."""
    assert model.run is not None
    title = f"{model.run.path.name}: {count(len(answers[0].new), 'row')} ahead"
    if chart is not None:
        file, form = chart
        session.wrote(file, answers[0].plot(form, title=title, truth=histories[0].truth).data)  # type: ignore[arg-type]
    if page is not None:
        from seqloom.evaluation.report import forecast_page

        parts = [
            (model.codec.called(one.value) if len(answers) > 1 else "", answer, one.truth)
            for one, answer in zip(histories, answers, strict=True)
        ]
        if len(parts) > ON_A_PAGE:
            session.note(f"the page shows the first {ON_A_PAGE} of {len(parts):,} series")
        session.wrote(page, forecast_page(title, parts[:ON_A_PAGE]).encode("utf-8", "replace"))
