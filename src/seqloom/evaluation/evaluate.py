"""Evaluate: the metrics of a finished run on a split of its data, or on other data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from seqloom import run as runs
from seqloom.core.errors import ConfigError, DataError
from seqloom.corpora.base import Prepared
from seqloom.corpora.files import corpus_like
from seqloom.metrics import likelihood
from seqloom.model import Model, load
from seqloom.recipe import Recipe
from seqloom.validation import metric_of, reading_of

WHOLE = (0.0, 0.0, 1.0)
"""Shares that make all of a corpus its test split."""

SplitName = Literal["valid", "test"]
Progress = Callable[[float], None]


def evaluate(
    run: Path | str | runs.Run,
    data: str | None = None,
    split: SplitName = "test",
    weights: runs.WeightsChoice = "best",
    full: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The metrics of a run, as `evaluate --json` prints them.

    Args:
        run: The run, or its folder.
        data: Score all of this instead of a split of the run's own data.
        split: Which split of the run's own data.
        weights: The best checkpoint by validation, or the last.
        full: Score all windows where an expensive likelihood would take some.
        progress: Hears which share is done.

    Errors:
        DataError where the data are not those that the run was trained on, or the split is empty.
    """
    return evaluate_model(load(run, weights), data, split, full, progress)


def evaluate_model(
    model: Model,
    data: str | None = None,
    split: SplitName = "test",
    full: bool = False,
    progress: Progress | None = None,
    windows: int | None = None,
) -> dict[str, Any]:
    """The metrics of a model that was loaded from a run; an expensive likelihood takes at most `windows` windows."""
    assert model.run is not None
    if split not in {"valid", "test"}:
        raise ConfigError(f"there is no split {split!r} to evaluate on", path="--split", hint="valid or test")
    prepared = prepare(model.run, data)
    part = prepared.splits[split if data is None else "test"]
    if not len(part.data.x):
        raise DataError(
            f"the {split} split is empty: nothing was kept for it",
            hint=f"corpus.splits={list(model.run.recipe.corpus.splits)} of this run; name another --split",
        )
    reading = reading_of(prepared, part, model.run)
    names = list(model.process.likelihoods())
    metrics = []
    for i, name in enumerate(names):

        def here(share: float, done: int = i) -> None:
            if progress:
                progress((done + share) / len(names))

        score = likelihood.score(model.network, model.process, reading, name, full=full, progress=here, windows=windows)
        metrics.append(metric_of(name, score))
    return {
        "run": str(model.run.path),
        "split": split if data is None else "all",
        "data": data if data is not None else data_of(model.run.recipe),
        "fingerprint": part.fingerprint,
        "weights": model.notes[-1],
        "metrics": metrics,
    }


def prepare(run: runs.Run, data: str | None = None) -> Prepared:
    """A run's own data, or all of other data as their test split, encoded by the run's codecs."""
    fitted = {name: given.replace(codec=codec) for name, (codec, given) in run.given.items()}
    if data is not None:
        corpus = corpus_like(run.recipe.corpus, data, splits=WHOLE)
        return corpus.prepare(run.codec, fitted)
    prepared = run.recipe.corpus.prepare(run.codec, fitted)
    now = {name: part.fingerprint for name, part in prepared.splits.items()}
    if now != dict(run.fingerprints):
        raise DataError(
            f"the data of {run.path} have changed since it was trained",
            hint="restore them, or name the data to evaluate on: seqloom evaluate RUN DATA",
        )
    return prepared


def data_of(recipe: Recipe) -> str:
    """The data of a recipe, as a DATA word names them."""
    corpus = recipe.corpus.plain()
    return f"builtin:{corpus['data']}" if corpus["name"] == "builtin" else str(corpus.get("path", corpus["name"]))
