"""Compare: several models trained on one thing under equal wall-clock, or finished runs, judged by one test split.

Each training is a worker of its own, alone on the machine, which trains, scores and samples and leaves a result:

    DIR/compare.json              what was asked, and the table when it is done
    DIR/report.html               the page
    DIR/runs/MODEL-SEED/          the run; MODEL@0.1-SEED where it learned from a tenth of the training split
    DIR/results/MODEL-SEED.json   its scores, samples and speed

So the same command goes on where it was stopped. The parent itself never trains.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from seqloom import run as runs
from seqloom.core import durable
from seqloom.core.config import make, merge
from seqloom.core.errors import ConfigError, DataError, NotComparable, RunError
from seqloom.core.progress import listed
from seqloom.corpora import shards
from seqloom.corpora.files import corpus_of
from seqloom.corpora.frames import word_of
from seqloom.evaluation.comparison import Comparison, Row
from seqloom.evaluation.evaluate import data_of, prepare
from seqloom.evaluation.further import NO_MORE, FurtherMeasures
from seqloom.evaluation.judge import judged
from seqloom.evaluation.naming import own_settings, setting_words
from seqloom.evaluation.report import plain, write_report
from seqloom.evaluation.rows import comparison_of, data_curve, of_one_measure, row_of
from seqloom.evaluation.work import Notify, Task, finished_before, first_plans, results_of
from seqloom.planning import unset
from seqloom.processes.base import Process
from seqloom.recipe import model_settings
from seqloom.sequence.query import differently

COMPARISON, REPORT = "compare.json", "report.html"


def compare(
    data: Any,
    models: Sequence[str],
    *,
    minutes: float,
    seeds: int = 1,
    out: Path | str,
    threads: int | None = None,
    device: str = "auto",
    horizon: int | None = None,
    windows: int | None = None,
    synthetic: Mapping[str, Any] | None = None,
    fractions: Sequence[float] = (1.0,),
    notify: Notify | None = None,
    **settings: Any,
) -> Comparison:
    """Train every model with every seed for so many minutes, one after another, and judge them on the test split.

    Args:
        data: A file, a folder, `builtin:NAME` or a frame.
        models: Words as `train --model` takes them, each with settings of its own behind it where it has any:
            `lstm process.prior=none`. What the folder holds of others, of further seeds or of other fractions stays in
            the comparison.
        minutes: Wall-clock for each training.
        seeds: Trainings of each model.
        out: The folder of the comparison; the same call on the same folder goes on with it.
        threads: Threads to compute with; all usable cores unless given.
        device: auto, cpu, cuda or cuda:N.
        horizon: Let models and baselines forecast so many rows, too; None: no forecasts.
        windows: From so many places in each series of the test split; None: 20 in all.
        synthetic: Judge samples beside real windows, too; settings of the metric `synthesis`, {} for its defaults.
        fractions: Train on so much of the training split, each model with each; the table is of the greatest, and all
            make a curve against the amount of data.
        notify: Called with a line about each thing that is begun; without it the workers are quiet.
        settings: Of all trainings, nested as in a recipe.

    Errors:
        ConfigError for a model that does not exist, before anything starts. A model that fails later, or that does not
        fit the data, is a row with an error.
    """
    data, quiet, notify = word_of(data), notify is None, notify or _silent
    _check_models(models, minutes, seeds)
    settings, further = seen_alike(data, models, settings), FurtherMeasures(horizon, windows, synthetic)
    parts = _checked_fractions(fractions, settings)
    source, folder = _absolute(data), Path(out)
    request = {"data": source, "minutes": minutes, "settings": settings, **further.said}
    _refuse_another(folder, request)
    first = Task(
        source, models[0], 0, minutes, settings, str(out), quiet, threads, device, further=further, fraction=parts[0]
    )
    tasks = _tasks(first, models, seeds, parts)
    plans, unfit = first_plans(tasks)
    before = finished_before(tasks)
    if before:
        notify(f"kept from before: {listed([task.name for task in before])}")
        tasks += before
        plans |= first_plans([task for task in before if task.fraction not in plans] or tasks[:1])[0]
    greatest = max(plans)
    corpus, prepared = plans[greatest].recipe.corpus, plans[greatest].prepared
    if not len(prepared.splits["test"].data.x):
        raise DataError("the test split is empty, so nothing can be compared", hint="give it a share in corpus.splits")
    further.check(corpus, prepared)
    with durable.Lock(folder) as lock:
        _claim(folder, request)
        results = results_of(tasks, unfit, prepared, notify)
        lock.check()
        notify("baselines")
        rows = {part: _rows(tasks, results, part) for part in plans}
        comparison = comparison_of(
            data,
            corpus,
            prepared,
            of_one_measure(rows[greatest]),
            minutes=minutes,
            command=_command(data, tasks, sorted(plans), out),
            further=further,
        )
        if len(plans) > 1:
            learned = {part: (planned.recipe.corpus, planned.prepared) for part, planned in plans.items()}
            comparison = replace(comparison, by_data=data_curve(comparison, rows, learned))
        _write(comparison, folder, request)
    return comparison


def _check_models(models: Sequence[str], minutes: float, seeds: int) -> None:
    """ConfigError where there is nothing to train, or a model that does not exist or is named twice."""
    if not models or seeds < 1 or not minutes > 0:
        raise ConfigError("at least one model, one seed and some time are needed", path="compare")
    repeated = next((model for i, model in enumerate(models) if model in models[:i]), None)
    if repeated is not None:
        raise ConfigError(f"{repeated} is named twice", path="--models", hint="several trainings of it: --seeds")
    for model in models:
        model_settings(own_settings(model)[0])


def _tasks(first: Task, models: Sequence[str], seeds: int, parts: Sequence[float]) -> list[Task]:
    """The trainings of each model with each seed on each fraction of the training split, all like the first one.

    Only what learned from the most is asked for forecasts, and for samples beside real windows.
    """
    return [
        replace(
            first,
            model=model,
            seed=seed,
            fraction=part,
            further=first.further if part == first.fraction else NO_MORE,
        )
        for part in parts
        for model in models
        for seed in range(seeds)
    ]


def _rows(tasks: Sequence[Task], results: Mapping[str, Mapping[str, Any]], part: float) -> list[Row]:
    """The rows of the models that were trained on a fraction of the training split."""
    own: dict[str, list[Mapping[str, Any]]] = {}
    for model in dict.fromkeys(task.model for task in tasks):
        own[model] = [results[task.name] for task in tasks if (task.model, task.fraction) == (model, part)]
    return [row_of(model, several) for model, several in own.items() if several]


def _command(data: str, tasks: Sequence[Task], parts: Sequence[float], out: Path | str) -> list[str]:
    """The command line that makes a comparison of these trainings."""
    first, models = tasks[0], dict.fromkeys(task.model for task in tasks)
    seeds = 1 + max(task.seed for task in tasks)
    command = ["seqloom", "compare", data, "--models", ",".join(models), "--minutes", f"{first.minutes:g}"]
    command += ["--seeds", str(seeds), *first.further.options]
    command += [] if list(parts) == [1.0] else ["--fractions", ",".join(f"{part:g}" for part in parts)]
    return [*command, "--out", str(out), *setting_words(first.settings)]


def seen_alike(data: str, models: Sequence[str], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of all trainings, and with them what suits the data if any of the models sees what follows."""

    def ordered(model: str) -> bool:
        word, own = own_settings(model)
        process: Process = make(Process, merge(model_settings(word), merge(settings, own))["process"])  # type: ignore[type-abstract]
        return process.incremental

    if all(map(ordered, models)):
        return settings
    known = unset(corpus_of(data, settings.get("corpus")))
    return merge({"corpus": {key: value for key, (value, _) in known.items()}}, settings) if known else settings


def compare_runs(
    paths: Sequence[str],
    *,
    out: Path | str,
    force: bool = False,
    horizon: int | None = None,
    windows: int | None = None,
    synthetic: Mapping[str, Any] | None = None,
    notify: Notify | None = None,
) -> Comparison:
    """Judge finished runs; NotComparable unless they have one test split, one unit, and all probabilities or densities.

    `out` may hold the comparison of the same runs; one of other runs is replaced with `force` only.
    """
    notify, folder = notify or _silent, Path(out)
    further = FurtherMeasures(horizon, windows, synthetic)
    request = {"runs": [os.path.abspath(path) for path in paths], **further.said}
    if not force:
        _refuse_another(folder, request)
    several = [runs.read(path) for path in paths]
    first = several[0]
    _check_comparable(several)
    prepared = prepare(first)
    further.check(first.recipe.corpus, prepared)
    names = [run.path.name for run in several]
    names = names if len(set(names)) == len(names) else [str(run.path) for run in several]
    with durable.Lock(folder):
        _claim(folder, request, force)
        rows = []
        for name, run in zip(names, several, strict=True):
            notify(f"{name}: scoring and sampling")
            rows.append(row_of(name, [judged(run, further=further)]))
        notify("baselines")
        comparison = comparison_of(
            data_of(first.recipe.corpus),
            first.recipe.corpus,
            prepared,
            rows,
            minutes=None,
            command=["seqloom", "compare", *paths, *further.options, "--out", str(out)],
            further=further,
        )
        _write(comparison, folder, request)
    return comparison


def _check_comparable(several: Sequence[runs.Run]) -> None:
    """RunError where a run is not finished, NotComparable where its scores and those of the first are of two kinds."""
    first = several[0]
    for run in several:
        if not (run.path / runs.REPORT).is_file():
            raise RunError(f"{run.path} is not finished", hint="go on with it: seqloom train DATA --out RUN --resume")
        if run.codec.unit != first.codec.unit:
            raise NotComparable(
                f"{run.path} is scored by the {run.codec.unit} and {first.path} by the {first.codec.unit}",
                hint="compare runs on the same data",
            )
        if run.codec.loses != first.codec.loses:
            raise NotComparable(
                f"{run.path} and {first.path}: {differently(run.codec.loses, first.codec.loses)}",
                hint="train both with codecs that lose nothing, or that lose the same",
            )
        if run.fingerprints["test"] != first.fingerprints["test"]:
            raise NotComparable(
                f"{run.path} and {first.path} have different test splits",
                hint="train both on the same data with the same corpus.splits",
            )


def _checked_fractions(fractions: Sequence[float], settings: Mapping[str, Any]) -> list[float]:
    """The fractions of the training split, the greatest first; ConfigError for what is none, or named twice."""
    hint = "above 0 and at most 1, each once: --fractions 0.1,0.3,1"
    if not fractions:
        raise ConfigError("there is no fraction of the training split", path="--fractions", hint=hint)
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise ConfigError(f"{fraction:g} is no fraction of the training split", path="--fractions", hint=hint)
    named = [f"{fraction:g}" for fraction in fractions]
    repeated = next((name for i, name in enumerate(named) if name in named[:i]), None)
    if repeated is not None:
        raise ConfigError(f"{repeated} is named twice", path="--fractions", hint=hint)
    if list(fractions) != [1.0] and "fraction" in (settings.get("corpus") or {}):
        raise ConfigError("fractions are asked for, and one is set", path="corpus.fraction", hint="leave it out")
    return sorted(map(float, fractions), reverse=True)


def _refuse_another(folder: Path, request: Mapping[str, Any]) -> None:
    """RunError where the folder holds another comparison than what is asked."""
    if (folder / COMPARISON).is_file():
        before = durable.read_json(folder / COMPARISON).get("asked", {})
        now = json.loads(json.dumps(request))
        changed = [key for key in now if before.get(key) != now[key]]
        if changed:
            raise RunError(
                f"{folder} holds another comparison: its {changed[0]} are others",
                hint="choose another --out, or ask the same",
            )


def _claim(folder: Path, request: Mapping[str, Any], force: bool = False) -> None:
    """Make the folder a comparison of what is asked; RunError where it holds something else."""
    if not force:
        _refuse_another(folder, request)
    if not (folder / COMPARISON).is_file():
        if any(path.name != durable.LOCK for path in folder.iterdir()):
            raise RunError(f"{folder} is not empty and is no comparison", hint="choose another --out")
        durable.write_json(folder / COMPARISON, {"asked": request})


def _write(comparison: Comparison, folder: Path, request: Mapping[str, Any]) -> None:
    write_report(comparison, folder / REPORT)
    durable.write_json(folder / COMPARISON, {"asked": request, **plain(comparison, folder / REPORT)})


def _absolute(data: str) -> str:
    """The DATA word with an absolute path, for a worker in any folder; standard input is read once, into the cache."""
    if data == "-":
        return str(shards.spool(sys.stdin.buffer))
    return os.path.abspath(data) if ":" not in data or Path(data).exists() else data


def _silent(text: str) -> None:
    """Drop a message: no `notify` was given."""
