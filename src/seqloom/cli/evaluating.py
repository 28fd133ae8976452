"""The verb that measures a model on data: its metrics, its forecasts, its samples beside real windows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqloom.cli.beside import opened
from seqloom.cli.queries import sampler_of
from seqloom.cli.scoring import FULL, corpus_in, lossy
from seqloom.cli.session import (
    JSON,
    WEIGHTS,
    Session,
    check_exists,
    checked_seed,
    path_of,
    positive,
    put,
    put_json,
    put_table,
    sort_words,
    verb,
)
from seqloom.cli.training import settings_of
from seqloom.core.errors import ConfigError
from seqloom.core.progress import Progress

if TYPE_CHECKING:
    from seqloom.corpora.base import Corpus
    from seqloom.evaluation.measured import MeasuredTable
    from seqloom.metrics.forecast import Backtest
    from seqloom.model import Model

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
    asked_samples = samples_asked(settings, synthetic, length)
    sampling = settings.pop("sampler", None) is not None
    data = path_of(plain[1]) if len(plain) > 1 else None
    _check_settings(settings, data, horizon, synthetic)
    if split not in {"valid", "test"}:
        raise ConfigError(f"there is no split {split!r} to evaluate on", path="--split", hint="valid or test")
    if data is not None:
        check_exists(data)
    for number, option in ((horizon, "--horizon"), (windows, "--windows"), (stride, "--stride"), (paths, "--paths")):
        positive(number, option)
    model = opened(plain[0], weights, session)
    if sampling:
        model.sampler = sampler_of(model, pairs)
    if asked_samples is not None:
        _evaluate_synthesis(session, model, data, split, asked_samples, checked_seed(seed), as_json)
    elif horizon is not None:
        from seqloom.metrics.forecast import Backtest

        asked = Backtest(horizon, windows, stride, paths, checked_seed(seed))
        _evaluate_forecasts(session, model, data, split, asked, as_json)
    elif windows is not None or stride is not None:
        raise no_horizon()
    else:
        _evaluate_metrics(session, model, data, split, settings, full, as_json)


def _check_settings(settings: Mapping[str, Any], data: str | None, horizon: int | None, synthetic: bool) -> None:
    """ConfigError for settings that `evaluate` has not, or that do not go with what is asked for."""
    for key in settings:
        if key not in {"metrics", "corpus"}:
            raise ConfigError(
                "there is no such setting of evaluate",
                path=key,
                hint="metrics=[NAME,...], sampler.KEY=VALUE, and corpus.KEY=VALUE of other data, are all",
            )
    if "corpus" in settings and (data is None or horizon is not None or synthetic):
        raise ConfigError(
            "that is how other data are read for metrics",
            path="corpus",
            hint="seqloom evaluate RUN DATA corpus.source=FILE",
        )
    if settings and horizon is not None:
        raise ConfigError("forecasts are measured by all their metrics", path="metrics", hint="leave out --horizon")
    if horizon is not None and synthetic:
        raise ConfigError("one table at a time", path="--synthetic", hint="ask for forecasts and for samples in turn")
    if settings and synthetic:
        raise ConfigError("samples are judged by all their metrics", path="metrics", hint="leave out --synthetic")


def no_horizon() -> ConfigError:
    """The error where it is said from where to forecast, and not how far."""
    return ConfigError(
        "windows and a stride are those of forecasts", path="--horizon", hint="say how far: --horizon 24"
    )


def samples_asked(settings: dict[str, Any], synthetic: bool, length: int | None) -> dict[str, Any] | None:
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


def _evaluate_metrics(
    session: Session,
    model: Model,
    data: str | None,
    split: str,
    settings: Mapping[str, Any],
    full: bool,
    as_json: bool,
) -> None:
    """The metrics of the recipe, or those that `settings` name."""
    from seqloom.corpora.files import corpus_like
    from seqloom.evaluation.answers import beside_likelihood
    from seqloom.evaluation.evaluate import evaluate_model

    named: str | Corpus | None = data
    if data is not None and model.run is not None and "corpus" in settings:
        named = corpus_like(model.run.recipe.corpus, data, **corpus_in(settings))
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
    for loses in {metric.get("loses", "") for metric in result["metrics"]} - {""}:
        session.note(lossy(loses))
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


def _evaluate_forecasts(
    session: Session, model: Model, data: str | None, split: str, asked: Backtest, as_json: bool
) -> None:
    """Forecasts from rolling origins, beside those of baselines."""
    from seqloom.evaluation.forecasts import evaluate_forecasts

    with Progress(1, "", quiet=session.quiet) as bar:
        table = evaluate_forecasts(model, data, split, asked, bar.update)
    if as_json:
        put_json({**_measured_on(model, data, split), "paths": asked.paths, "seed": asked.seed, **table.data()})
        return
    for note in table.notes:
        session.note(note)
    _put_measured(model, data, f"the {split} split", table)


def _evaluate_synthesis(
    session: Session, model: Model, data: str | None, split: str, asked: dict[str, Any], seed: int, as_json: bool
) -> None:
    """Samples beside real windows."""
    from seqloom.evaluation.synthesis import evaluate_synthesis
    from seqloom.metrics.synthesis import SynthesisMetric

    with Progress(1, "", quiet=session.quiet) as bar:
        table = evaluate_synthesis(model, data, split, SynthesisMetric.parse(asked), seed, bar.update)
    if as_json:
        put_json({**_measured_on(model, data, split), "seed": seed, **table.data()})
        return
    _put_measured(model, data, f"the training and {split} splits", table)


def _measured_on(model: Model, data: str | None, split: str) -> dict[str, Any]:
    """What was measured on which data, as JSON has it."""
    from seqloom.evaluation.evaluate import data_of

    assert model.run is not None
    of = data or data_of(model.run.recipe.corpus)
    whole = {"run": str(model.run.path), "data": of, "split": split if data is None else "all"}
    return {**whole, "weights": model.notes[-1]}


def _put_measured(model: Model, data: str | None, splits: str, table: MeasuredTable) -> None:
    """A table, and above it what was measured on which data: other ones, or these `splits` of its own."""
    from seqloom.evaluation.evaluate import data_of

    assert model.run is not None
    of = data or f"{splits} of {data_of(model.run.recipe.corpus)}"
    put(f"{model.run.path} ({model.notes[-1]}) on {of}:\n")
    put("\n".join(table.lines()) + "\n")
