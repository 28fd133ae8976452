"""The verbs that judge: score, evaluate, compare and demo."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqloom.cli.beside import opened
from seqloom.cli.queries import sampler_of
from seqloom.cli.session import (
    FORCE,
    JSON,
    WEIGHTS,
    Session,
    check_exists,
    check_file,
    checked_seed,
    conditions_of,
    path_of,
    positive,
    put,
    put_json,
    put_table,
    several_of,
    sort_words,
    verb,
)
from seqloom.cli.training import settings_of
from seqloom.core.errors import ConfigError, DataError, RunError
from seqloom.core.outputs import OutputFile
from seqloom.core.progress import Progress, count, listed

if TYPE_CHECKING:
    from seqloom.codecs.base import Codec
    from seqloom.corpora.base import Corpus, Stretch
    from seqloom.evaluation.comparison import Comparison
    from seqloom.metrics.forecast import Backtest
    from seqloom.model import Model
    from seqloom.sequence.query import Score

FAILED = 3
"""The exit code of a comparison in which a training failed; the rest of it stands."""
FULL = Annotated[bool, typer.Option("--full", help="Score all windows where an expensive likelihood takes some.")]

HORIZON = Annotated[int | None, typer.Option(help="Forecast so many rows, from several places in the split.")]
WINDOWS = Annotated[int | None, typer.Option(help="From how many places in each series; 20 in all unless given.")]
SYNTHETIC = Annotated[
    bool, typer.Option("--synthetic", help="Judge samples beside real windows: told apart, alike, copied, useful.")
]
LENGTH = Annotated[int | None, typer.Option(help="With --synthetic: rows of a sample; 24 unless given.")]
STRIDE = Annotated[
    int | None, typer.Option(help="Rows from one place to the next; spread over the split unless given.")
]


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
    for one in model.given.overlong(given):
        session.note(f"{one}: attention has not learned to read on")
    corpus = _corpus_in(settings_of([word for word in settings if not word.startswith("given.")]))
    things = _things_of(model, file, corpus, given)
    told = {*model.network.aligned, *model.given.searched}.union(*(thing.given for thing in things))
    for name in model.given:
        if name not in told:
            session.note(f"without given.{name}=..., it is scored as what has no {name}")
    if drawing is not None:
        _draw_attention(model, things, *drawing, session)
    named: list[tuple[str, Any, Score]] = []
    with Progress(1, "", quiet=session.quiet) as bar:
        for i, thing in enumerate(things):

            def report(share: float, done: int = i) -> None:
                bar.update((done + share) / len(things))

            try:
                measured = model.score(thing.value, given=thing.given, tokens=tokens, full=full, progress=report)
            except DataError as error:
                if len(things) == 1 or (i == len(things) - 1 and not named):
                    raise
                bar.say(f"{thing.called}: {error.message}")
            else:
                named.append((thing.called, thing.value, measured))
    if as_json:
        contents = [{**_score_fields(measured), **_surprisal(codec, value, measured)} for _, value, measured in named]
        series = [{"name": name, **own} for (name, *_), own in zip(named, contents, strict=True)]
        put_json({"run": path_of(run), **(contents[0] if len(things) == 1 else {"series": series})})
        return
    if len(things) > 1 and codec.space.symbolic and not tokens:
        put_table(_table_of(named, "file" if Path(path_of(file)).is_dir() else "line"), left=(2,))
        return
    for name, value, measured in named:
        put((f"{name}: " if len(things) > 1 else "") + _in_words(measured) + "\n")
        for element in _surprisal(codec, value, measured).get("surprisal", ()):
            own = element["element"]
            put(f"{element['nats']:9.4f}  {own if own.isprintable() and own.strip() else repr(own)}\n")


def _corpus_in(settings: Mapping[str, Any]) -> dict[str, Any]:
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


def _table_of(named: Sequence[tuple[str, Any, Score]], what: str) -> list[list[str]]:
    """What each of several lines or files (`what`) costs, and all of them together."""
    rows = [(name, one.nats, one.count) for name, _, one in named]
    rows.append((f"all {len(rows):,}", sum(nats for _, nats, _ in rows), sum(units for *_, units in rows)))
    mark = "≤ " * (named[0][2].kind == "bound")
    unit = named[0][2].unit
    return [
        ["nats", f"{mark}bits/{unit}", what],
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
    }


def _surprisal(codec: Codec, value: Any, score: Score) -> dict[str, Any]:
    """What each element costs, where that was asked."""
    if score.surprisal is None:
        return {}
    named = zip(_names(codec, value, score), score.surprisal, strict=False)
    return {"surprisal": [{"element": name, "nats": nats} for name, nats in named]}


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


def _names(codec: Codec, value: Any, score: Score) -> list[str]:
    """What each element that was scored is called; an end that was scored, too, has no name."""
    rows = [codec.element_names(row) for row in codec.rows(value)]
    ends = (len(score.surprisal or ()) - sum(map(len, rows))) // max(1, len(rows))
    return [name for names in rows for name in [*names, *[""] * ends]]


@verb
def evaluate(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="RUN [DATA] [metrics=...]")] = None,
    split: Annotated[str, typer.Option(help="valid or test, of the data that the run was trained on.")] = "test",
    weights: WEIGHTS = "best",
    full: FULL = False,
    horizon: HORIZON = None,
    windows: WINDOWS = None,
    stride: STRIDE = None,
    paths: Annotated[int, typer.Option(help="With --horizon: sample paths of each forecast.")] = 100,
    synthetic: SYNTHETIC = False,
    length: LENGTH = None,
    seed: Annotated[int, typer.Option(help="With --horizon or --synthetic: what is drawn follows from it.")] = 0,
    as_json: JSON = False,
) -> None:
    """Score a model on a split of its training data, or on all of other data.

    metrics=[NAME,...] takes these instead of those of the run's recipe; corpus.KEY=VALUE says how DATA are read, as
    corpus.source=FILE of pairs; sampler.KEY=VALUE (sampler.temperature=0.8) how samples that are judged are made.
    With --horizon: forecast from several places in
    it, and measure the forecasts beside those of baselines. With --synthetic: make samples, and judge them beside
    copies of the training data, held-out windows and a Gaussian; synthesis.KEY=VALUE sets how.
    """
    plain, pairs = sort_words(words or [], "evaluate RUN [DATA]")
    settings = settings_of(pairs)
    asked_samples = _samples_asked(settings, synthetic, length)
    sampling = settings.pop("sampler", None) is not None
    for key in settings:
        if key not in {"metrics", "corpus"}:
            raise ConfigError(
                "there is no such setting of evaluate",
                path=key,
                hint="metrics=[NAME,...], sampler.KEY=VALUE, and corpus.KEY=VALUE of other data, are all",
            )
    if "corpus" in settings and (len(plain) < 2 or horizon is not None or synthetic):
        raise ConfigError(
            "that is how other data are read for metrics",
            path="corpus",
            hint="seqloom evaluate RUN DATA corpus.source=FILE",
        )
    if settings and horizon is not None:
        raise ConfigError("forecasts are measured by all their metrics", path="metrics", hint="leave out --horizon")
    if split not in {"valid", "test"}:
        raise ConfigError(f"there is no split {split!r} to evaluate on", path="--split", hint="valid or test")
    for word in plain[1:]:
        check_exists(path_of(word))
    for number, option in ((horizon, "--horizon"), (windows, "--windows"), (stride, "--stride"), (paths, "--paths")):
        positive(number, option)
    if horizon is not None and synthetic:
        raise ConfigError("one table at a time", path="--synthetic", hint="ask for forecasts and for samples in turn")
    if settings and synthetic:
        raise ConfigError("samples are judged by all their metrics", path="metrics", hint="leave out --synthetic")
    model = opened(plain[0], weights, session)
    if sampling:
        model.sampler = sampler_of(model, pairs)
    data = path_of(plain[1]) if len(plain) > 1 else None
    if asked_samples is not None:
        _evaluate_synthesis(session, model, data, split, asked_samples, checked_seed(seed), as_json)
        return
    if horizon is not None:
        from seqloom.metrics.forecast import Backtest

        asked = Backtest(horizon, windows, stride, paths, checked_seed(seed))
        _evaluate_forecasts(session, model, data, split, asked, as_json)
        return
    if windows is not None or stride is not None:
        raise _no_horizon()
    from seqloom.corpora.files import corpus_like
    from seqloom.evaluation.answers import beside_likelihood
    from seqloom.evaluation.evaluate import evaluate_model

    named: str | Corpus | None = data
    if data is not None and model.run is not None and "corpus" in settings:
        named = corpus_like(model.run.recipe.corpus, data, **_corpus_in(settings))
    with Progress(1, "", quiet=session.quiet) as bar:
        result = evaluate_model(
            model,
            named,
            split,  # type: ignore[arg-type]
            full,
            lambda share: bar.update(share),
            more=[] if settings.get("metrics") else beside_likelihood(model),
            metrics=settings.get("metrics"),
        )
    if as_json:
        put_json(result)
        return
    for note in result["notes"]:
        session.note(note)
    of = result["data"] if result["split"] == "all" else f"the {result['split']} split of {result['data']}"
    put(f"{result['run']} ({result['weights']}) on {of}:\n")
    rows = [["metric", "value", "unit", "kind", "stderr", "units", "context"]]
    for metric in result["metrics"]:
        rows.append([
            metric["name"], f"{metric['value']:.4f}", metric["unit"], metric["kind"],
            f"{metric['stderr']:.4f}" if metric["stderr"] else "", f"{metric['count']:,.0f}", metric.get("context", ""),
        ])  # fmt: skip
    put_table(rows, left=(0, 2, 3, 6))
    for failure in result["failed"]:
        session.note(failure)


def _no_horizon() -> ConfigError:
    return ConfigError(
        "windows and a stride are those of forecasts", path="--horizon", hint="say how far: --horizon 24"
    )


def _evaluate_forecasts(
    session: Session,
    model: Model,
    data: str | None,
    split: str,
    asked: Backtest,
    as_json: bool,
) -> None:
    """The table of forecasts from rolling origins."""
    from seqloom.evaluation.evaluate import data_of
    from seqloom.evaluation.forecasts import evaluate_forecasts

    assert model.run is not None
    with Progress(1, "", quiet=session.quiet) as bar:
        table = evaluate_forecasts(model, data, split, asked, bar.update)
    of = data or data_of(model.run.recipe.corpus)
    if as_json:
        fields = {"run": str(model.run.path), "data": of, "split": split if data is None else "all"}
        put_json({**fields, "weights": model.notes[-1], "paths": asked.paths, "seed": asked.seed, **table.data()})
        return
    for note in table.notes:
        session.note(note)
    put(f"{model.run.path} ({model.notes[-1]}) on {of if data else f'the {split} split of {of}'}:\n")
    put("\n".join(table.lines()) + "\n")


def _samples_asked(settings: dict[str, Any], synthetic: bool, length: int | None) -> dict[str, Any] | None:
    """The settings of the metric `synthesis`, taken out of those of the line; None where samples are not asked for."""
    asked = settings.pop("synthesis", {})
    if not synthetic:
        if asked or length is not None:
            path = "--length" if length is not None else "synthesis"
            raise ConfigError("that is said of samples", path=path, hint="add --synthetic")
        return None
    if not isinstance(asked, dict):
        raise ConfigError("a setting of it is wanted", path="synthesis", hint="such as synthesis.seeds=10")
    from seqloom.metrics.synthesis import SynthesisMetric

    asked = asked if length is None else {**asked, "length": length}
    try:
        SynthesisMetric.parse(asked)
    except ConfigError as error:
        raise error.under("synthesis") from None
    return asked


def _evaluate_synthesis(
    session: Session, model: Model, data: str | None, split: str, asked: dict[str, Any], seed: int, as_json: bool
) -> None:
    """The table of samples beside real windows."""
    from seqloom.evaluation.evaluate import data_of
    from seqloom.evaluation.synthesis import evaluate_synthesis
    from seqloom.metrics.synthesis import SynthesisMetric

    assert model.run is not None
    with Progress(1, "", quiet=session.quiet) as bar:
        table = evaluate_synthesis(model, data, split, SynthesisMetric.parse(asked), seed, bar.update)
    of = data or data_of(model.run.recipe.corpus)
    if as_json:
        fields = {"run": str(model.run.path), "data": of, "split": split if data is None else "all"}
        put_json({**fields, "weights": model.notes[-1], "seed": seed, **table.data()})
        return
    put(f"{model.run.path} ({model.notes[-1]}) on {of if data else f'the training and {split} splits of {of}'}:\n")
    put("\n".join(table.lines()) + "\n")


@verb
def compare(
    session: Session,
    words: Annotated[list[str] | None, typer.Argument(metavar="DATA|RUN... [key=value]...")] = None,
    models: Annotated[str | None, typer.Option(help="Models, with commas: lstm,transformer,masked.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Wall-clock for each model and seed.")] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each model.")] = 1,
    horizon: HORIZON = None,
    windows: WINDOWS = None,
    synthetic: SYNTHETIC = False,
    length: LENGTH = None,
    fractions: Annotated[
        str | None, typer.Option(help="Train on so much of the training split, with commas: 0.1,0.3,1.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Its folder; runs/DATA-compare or runs/compare-runs-N.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a comparison of other runs in that folder.")] = False,
    as_json: JSON = False,
) -> None:
    """Train several models for equal times on the same splits, and tell what can be concluded; or compare runs.

    With DATA, each model and seed is trained alone, one after another; the same command again goes on where it was
    stopped. With finished runs, they are scored; they need the same test split. Exit code 3 where a training failed.
    With --horizon, models and baselines forecast the same rows of the test split, too; with --synthetic, samples are
    judged beside real windows. With --fractions, each model is trained on each part of the training split, for a curve
    against the amount of data. A model may have settings of its own: --models "lstm,lstm process.prior=none".
    """
    plain, pairs = sort_words(words or [], "compare DATA|RUN...")
    settings = settings_of(pairs)
    asked_samples = _samples_asked(settings, synthetic, length)
    for number, option in ((minutes, "--minutes"), (seeds, "--seeds"), (horizon, "--horizon"), (windows, "--windows")):
        positive(number, option)
    if windows is not None and horizon is None:
        raise _no_horizon()
    named = [path_of(word) for word in plain]
    from seqloom import run as runs
    from seqloom.evaluation.naming import listed_models, own_settings

    chosen, parts = listed_models(models or ""), _fractions_of(fractions)
    finished = [runs.exists(Path(word)) for word in named]
    if not all(finished):
        if len(named) > 1:
            missing = named[finished.index(False)]
            raise ConfigError(f"{missing} is not a run", hint="give one DATA, or runs only: `seqloom runs` lists them")
        if models is None or minutes is None:
            wanted, hint = "--models" if models is None else "--minutes", "--models lstm,masked --minutes 2"
            raise ConfigError("what is to be compared is not said", path=wanted, hint=hint)
        check_exists(named[0])
        for model in chosen:
            from seqloom.model_words import check_model

            check_model(own_settings(model)[0], "--models")
    elif models is not None or minutes is not None or fractions is not None or settings:
        raise ConfigError(
            "runs are compared as they are", path="compare", hint="leave out --models, --fractions and settings"
        )
    session.compute()
    from seqloom.evaluation import compare as comparing
    from seqloom.planning import stem_of

    if all(finished):
        folder = out or str(runs.free_name(Path("runs"), "compare-runs"))
        comparison = comparing.compare_runs(
            named,
            out=folder,
            force=force,
            horizon=horizon,
            windows=windows,
            synthetic=asked_samples,
            notify=session.note,
        )
    else:
        assert minutes is not None
        folder = out or f"runs/{stem_of(named[0])}-compare"
        notify = None if session.quiet else session.note
        try:
            comparison = comparing.compare(
                named[0],
                chosen,
                minutes=minutes,
                seeds=seeds,
                out=folder,
                threads=session.threads,
                device=session.device,
                horizon=horizon,
                windows=windows,
                synthetic=asked_samples,
                fractions=parts,
                notify=notify,
                **settings,
            )
        except (KeyboardInterrupt, SystemExit):
            session.note("stopped; the same command goes on with it")
            raise
    _conclude(session, comparison, folder, as_json)


def _fractions_of(line: str | None) -> list[float]:
    """Fractions of the training split from an option; all of it unless given."""
    if line is None:
        return [1.0]
    try:
        return [float(word) for word in line.split(",")]
    except ValueError:
        raise ConfigError(
            f"{line!r} is no list of fractions", path="--fractions", hint="numbers with commas: --fractions 0.1,0.3,1"
        ) from None


def _conclude(session: Session, comparison: Comparison, folder: str, as_json: bool) -> None:
    """The table, and where the report is; exit code 3 where a model, or one of its trainings, failed."""
    from seqloom.evaluation.compare import REPORT
    from seqloom.evaluation.report import plain, plain_table

    path = Path(folder, REPORT)
    if as_json:
        put_json(plain(comparison, path))
    else:
        put(f"{plain_table(comparison)}\n\n{path}\n")
    failed = [row.model for row in comparison.rows if row.error is not None]
    failed += [] if comparison.by_data is None else [name for name in comparison.by_data.failed if name not in failed]
    if failed:
        session.note(f"not everything succeeded: {listed(failed)}")
        raise typer.Exit(FAILED)


DEMO = ("lstm", "transformer", "masked")
DEMO_MINUTES = 1.15
"""With scoring and all else, the whole stays under five minutes."""
DEMO_FOLDER = "runs/demo"


@verb
def demo(
    session: Session,
    minutes: Annotated[float, typer.Option(help="Wall-clock for each of the three models.")] = DEMO_MINUTES,
) -> None:
    """Compare an LSTM, a Transformer and a masked diffusion on a text that is at hand, with a report.

    The text is the reference of the Python language, which Python carries. What runs/demo held is replaced.
    """
    positive(minutes, "--minutes")
    session.compute()
    from seqloom.corpora.builtin import topics
    from seqloom.evaluation import compare as comparing

    data = "builtin:topics"
    try:
        topics()
    except DataError as error:
        data = "builtin:markov"
        session.note(f"{error.message}; the demo takes letters from a Markov chain instead ({data})")
    _clear(Path(DEMO_FOLDER))
    notify = None if session.quiet else session.note
    comparison = comparing.compare(data, DEMO, minutes=minutes, out=DEMO_FOLDER, threads=session.threads, notify=notify)
    _conclude(session, comparison, DEMO_FOLDER, False)


def _clear(folder: Path) -> None:
    """Remove an earlier comparison; RunError where the folder holds anything else, or one that is running."""
    from seqloom.core import durable
    from seqloom.evaluation.compare import COMPARISON

    if not folder.exists():
        return
    if any(folder.iterdir()) and not (folder / COMPARISON).is_file():
        raise RunError(f"{folder} is no earlier demo", hint="move it away; the demo writes there")
    with durable.Lock(folder):
        for path in folder.iterdir():
            if path.name != durable.LOCK:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
