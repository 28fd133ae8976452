"""Evaluate: the metrics of a finished run on a split of its data, or on other data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seqloom import run as runs
from seqloom.core.errors import ConfigError, DataError, SeqloomError, UnsupportedQuery
from seqloom.core.foreign import arose_in
from seqloom.corpora.base import Corpus, Prepared, Split, Stretch
from seqloom.corpora.files import corpus_like, corpus_of
from seqloom.evaluation.answers import answers_of
from seqloom.evaluation.naming import data_word
from seqloom.evaluation.novelty import check_symbols, originals
from seqloom.evaluation.synthesis import synthesis_of
from seqloom.evaluation.texts import beside_of, spread, text_of, texts_of
from seqloom.metrics.base import Metric, MetricRecord, View, wrong_with
from seqloom.metrics.novelty import Originals
from seqloom.metrics.things import Things
from seqloom.model import Model, load
from seqloom.rolling import ALL_AS_TEST, forecasts_of
from seqloom.validation import reading_of

logger = logging.getLogger(__name__)

SplitName = Literal["valid", "test"]
Progress = Callable[[float], None]


def evaluate(
    run: Path | str | runs.Run,
    data: str | Path | Corpus | None = None,
    split: SplitName = "test",
    weights: runs.WeightsChoice = "best",
    full: bool = False,
    progress: Progress | None = None,
    metrics: Sequence[Metric | str | Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The metrics of a run, as `evaluate --json` prints them.

    Args:
        run: The run, or its folder.
        data: Score all of this instead of a split of the run's own data: a DATA word, or a corpus.
        split: Which split of the run's own data.
        weights: The best checkpoint by validation, or the last.
        full: Score all windows where an expensive likelihood would take some.
        progress: Called with the share that is done.
        metrics: Those to be taken instead of the recipe's, by name or with their settings.

    Errors:
        DataError where the data are not those that the run was trained on, or the split is empty.
    """
    data = str(data) if isinstance(data, Path) else data
    return evaluate_model(load(run, weights), data, split, full, progress, metrics=metrics)


def evaluate_model(
    model: Model,
    data: str | Corpus | None = None,
    split: SplitName = "test",
    full: bool = False,
    progress: Progress | None = None,
    windows: int | None = None,
    more: Sequence[Metric] = (),
    metrics: Sequence[Metric | str | Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The metrics of a model that was loaded from a run: those of its recipe unless others are named, and `more`.

    An expensive likelihood takes at most `windows` windows.
    """
    assert model.run is not None
    if split not in {"valid", "test"}:
        raise ConfigError(f"there is no split {split!r} to evaluate on", path="--split", hint="valid or test")
    recipe = model.run.recipe if metrics is None else model.run.recipe.replace(metrics=metrics)
    members = (*recipe.metrics, *more)
    prepared = prepare(model.run, data)
    part = prepared.splits[split if data is None else "test"]
    if not len(part.data.x):
        raise DataError(
            f"the {split} split is empty: nothing was kept for it",
            hint=f"corpus.splits={list(model.run.recipe.corpus.splits)} of this run; name another --split",
        )
    records: list[MetricRecord] = []
    failed: list[str] = []
    for i, metric in enumerate(members):
        if metric.runs and metrics is None:
            failed.append(f"{metric.name}: its command is run where it is asked for: evaluate RUN metrics=[...]")
            continue

        def report(share: float, done: int = i) -> None:
            if progress:
                progress((done + share) / len(members))

        view = replace(_view(model, data, split, prepared, part, report), full=full, windows=windows)
        measured: list[MetricRecord] = []
        try:
            measured = metric.measure(view)
            wrong = wrong_with(measured)
        except SeqloomError as error:
            if len(members) == 1:
                raise
            wrong = str(error)
        except Exception as error:  # a metric of the user's own: the others are reported all the same
            arose = arose_in(error)
            wrong = f"{type(error).__name__}: {error}" + (f" ({arose[0]}, line {arose[1]})" if arose else "")
            logger.debug("the metric %s failed:", metric.name, exc_info=True)
        if wrong:
            failed.append(f"{metric.name}: {wrong}")
        else:
            records += measured
    if not records:
        raise DataError("none of the metrics can be taken", hint="; ".join(failed))
    return {
        "run": str(model.run.path),
        "split": split if data is None else "all",
        "data": data if isinstance(data, str) else data_of(data or model.run.recipe.corpus),
        "fingerprint": part.fingerprint,
        "weights": model.notes[-1],
        "metrics": records,
        "failed": failed,
        "notes": [*([] if data is None else prepared.notes), *_overlong(model, part)],
    }


def _overlong(model: Model, part: Split) -> Iterator[str]:
    """What is said of conditions in a split that are longer than attention has learned to read."""
    for name, most in model.given.longest.items():
        if many := int((part.given[name].sizes > most).sum()):
            yield (
                f"{many:,} of {len(part.data):,} have a {name} of more than {most:,} elements, the most in training: "
                "attention has not learned to read on"
            )


def _view(
    model: Model, data: str | Corpus | None, split: SplitName, prepared: Prepared, part: Split, report: Progress
) -> View:
    """What metrics are taken from: the split, encoded and as files have it, and what the model makes beside it."""
    assert model.run is not None
    values = partial(values_of, model.run, data, split)
    return View(
        model.network,
        model.process,
        reading_of(part, model.run),
        sample=lambda count, seed: samples_of(model, part, count, None, seed),
        values=values,
        forecasts=partial(forecasts_of, model, data, split, progress=lambda share, _: report(share)),
        synthetic=partial(synthesis_of, model, data, split),
        copies=partial(_copies, model, part),
        things=partial(things_of, model, part),
        answers=partial(answers_of, model, prepared, part, values, progress=report),
        progress=report,
    )


def samples_of(model: Model, part: Split, count: int, length: int | None, seed: int) -> Sequence[Any]:
    """Samples of a model as values; each beside the conditions of another sequence of the split, where it has such.

    Beside none they would be what it learned for none, and not like the split.
    """
    if not part.given or part.aligned:
        return model.sample(count, length, seed=seed).values
    numbers = np.linspace(0, len(part.data) - 1, count).round().astype(int).tolist()
    beside = [beside_of(part, number) for number in numbers]
    answers = model.apply(beside, length=length, seed=seed, sampler=model.sampler, beyond=True)
    return [answer.values[0] for answer in answers]


def _copies(model: Model, part: Split, length: int, samples: int, seed: int) -> Originals:
    """Samples of a model beside its training split and what is scored."""
    assert model.run is not None
    check_symbols(model.codec)
    values = samples_of(model, part, samples, length, seed)
    return originals(model.codec, values, prepare(model.run).splits["train"].data, part.data, length)


def things_of(model: Model, part: Split, samples: int, seed: int) -> Things:
    """Samples of a model whose data end by themselves, beside its training split and what is scored."""
    assert model.run is not None
    learned = prepare(model.run).splits["train"].data
    if not model.run.ends:
        raise UnsupportedQuery(
            "these data are one stream, no things that could be valid or new",
            hint="a list has a thing a line: corpus.items=line",
        )
    longest = int(learned.sizes.max(initial=1)) + 1
    values = samples_of(model, part, samples, longest, seed)
    every = texts_of(model.codec, learned, range(len(learned)))
    return Things(
        [text_of(model.codec, value) for value in values],
        [every[i] for i in spread(len(learned), samples)],
        texts_of(model.codec, part.data, spread(len(part.data), samples)),
        frozenset(every),
    )


def values_of(run: runs.Run, data: str | Corpus | None, split: SplitName) -> list[Any]:
    """The values of a split as the files have them."""
    own = run.recipe.corpus
    corpus, name = (own, split) if data is None else (corpus_like(own, data, splits=ALL_AS_TEST), "test")
    return list(corpus.values(run.codec, name, given=run.fitted))


def things_in(run: runs.Run, path: str, settings: Mapping[str, Any], given: Collection[str]) -> list[Stretch]:
    """The things that lie at a path as those of the run's own data do: lines, rows, conversations or files.

    Each has beside it what stands there of the conditions that are not `given` otherwise. Nothing where what lies there
    is to be read by the run's codec alone, as a text or as series.
    """
    own = run.recipe.corpus
    corpus = corpus_like(own, path, **settings, splits=ALL_AS_TEST)
    beside = {name: item for name, item in run.fitted.items() if name not in given}
    if type(corpus) is type(own) and corpus.parts(Path(path)):
        return list(corpus.stretches(run.codec, "test", beside))
    if own.of_lines:  # lines with nothing beside them
        return list(corpus_of(path, {"items": "line", "splits": ALL_AS_TEST}).stretches(run.codec, "test"))
    return []


def prepare(run: runs.Run, data: str | Corpus | None = None) -> Prepared:
    """A run's own data, or all of other data as their test split, encoded by the run's codecs."""
    if data is not None:
        corpus = corpus_like(run.recipe.corpus, data, splits=ALL_AS_TEST)
        return corpus.prepare(run.codec, run.fitted)
    prepared = run.recipe.corpus.prepare(run.codec, run.fitted)
    if prepared.fingerprints != dict(run.fingerprints):
        raise DataError(
            f"the data of {run.path} have changed since it was trained",
            hint="restore them, or name the data to evaluate on: seqloom evaluate RUN DATA",
        )
    return prepared


def data_of(corpus: Corpus) -> str:
    """The data of a corpus, as a DATA word names them."""
    return data_word(corpus.plain())
