"""The verbs that set models beside each other: compare, and demo."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqloom.cli.evaluating import HORIZON, LENGTH, SYNTHETIC, WINDOWS, no_horizon, samples_asked
from seqloom.cli.session import JSON, Session, check_exists, path_of, positive, put, put_json, sort_words, verb
from seqloom.cli.training import settings_of
from seqloom.core.errors import ConfigError, DataError, RunError
from seqloom.core.progress import listed

if TYPE_CHECKING:
    from seqloom.evaluation.comparison import Comparison

FAILED = 3
"""The exit code of a comparison in which a training failed; the rest of it stands."""


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
    asked_samples = samples_asked(settings, synthetic, length)
    for number, option in ((minutes, "--minutes"), (seeds, "--seeds"), (horizon, "--horizon"), (windows, "--windows")):
        positive(number, option)
    if windows is not None and horizon is None:
        raise no_horizon()
    named = [path_of(word) for word in plain]
    from seqloom import run as runs
    from seqloom.evaluation.naming import listed_models

    chosen, parts = listed_models(models or ""), _fractions_of(fractions)
    finished = [runs.exists(Path(word)) for word in named]
    if not all(finished):
        _check_trainings(named, finished, chosen, minutes)
    elif models is not None or minutes is not None or fractions is not None or settings:
        raise ConfigError(
            "runs are compared as they are", path="compare", hint="leave out --models, --fractions and settings"
        )
    session.compute()
    from seqloom.evaluation.compare import compare as compare_models
    from seqloom.evaluation.compare import compare_runs
    from seqloom.planning import stem_of

    if all(finished):
        folder = out or str(runs.free_name(Path("runs"), "compare-runs"))
        comparison = compare_runs(
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
        try:
            comparison = compare_models(
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
                notify=None if session.quiet else session.note,
                **settings,
            )
        except (KeyboardInterrupt, SystemExit):
            session.note("stopped; the same command goes on with it")
            raise
    _conclude(session, comparison, folder, as_json)


def _check_trainings(
    named: Sequence[str], finished: Sequence[bool], models: Sequence[str], minutes: float | None
) -> None:
    """An error where models cannot be trained on what is named, or it is not said which ones, or for how long."""
    from seqloom.evaluation.naming import own_settings
    from seqloom.model_words import check_model

    if len(named) > 1:
        missing = named[finished.index(False)]
        raise ConfigError(f"{missing} is not a run", hint="give one DATA, or runs only: `seqloom runs` lists them")
    if not models or minutes is None:
        wanted, hint = "--models" if not models else "--minutes", "--models lstm,masked --minutes 2"
        raise ConfigError("what is to be compared is not said", path=wanted, hint=hint)
    check_exists(named[0])
    for model in models:
        check_model(own_settings(model)[0], "--models")


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
    from seqloom.evaluation.compare import compare as compare_models

    data = "builtin:topics"
    try:
        topics()
    except DataError as error:
        data = "builtin:markov"
        session.note(f"{error.message}; the demo takes letters from a Markov chain instead ({data})")
    _clear(Path(DEMO_FOLDER))
    notify = None if session.quiet else session.note
    comparison = compare_models(data, DEMO, minutes=minutes, out=DEMO_FOLDER, threads=session.threads, notify=notify)
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
