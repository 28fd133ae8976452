"""Compare: several models trained on one thing under equal wall-clock, or finished runs, judged by one test split.

Each training is a worker of its own, alone on the machine, which trains, scores and samples and leaves a result:

    DIR/compare.json              what was asked, and the table when it is done
    DIR/report.html               the page
    DIR/runs/MODEL-SEED/          the run
    DIR/results/MODEL-SEED.json   what was found about it

So the same command goes on where it was stopped. The parent itself never trains.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seqloom import run as runs
from seqloom.core import durable, machine
from seqloom.core.config import merge
from seqloom.core.errors import ConfigError, DataError, NotComparable, RunError, UnsupportedSpace
from seqloom.core.progress import duration
from seqloom.corpora.base import Corpus, Prepared
from seqloom.evaluation.baselines import LARGEST_DICTIONARY, LONGEST_TRAIN, Baseline, series_baselines, text_baselines
from seqloom.evaluation.comparison import Comparison, Paths, Row, SplitSummary, ci95
from seqloom.evaluation.evaluate import data_of, evaluate_model, prepare
from seqloom.evaluation.report import plain, write_report
from seqloom.model import Model, load
from seqloom.planning import TrainingPlan, plan
from seqloom.recipe import model_settings
from seqloom.sequence.canvas import Encoded
from seqloom.sequence.query import Query
from seqloom.sequence.space import Tokens

ASKED, REPORT, RESULTS, RUNS = "compare.json", "report.html", "results", "runs"
WORKER = "seqloom.cli.worker"
LONGEST_SAMPLE = 256
"""Elements of a text sample."""
TEXTS, PATHS = 4, 40
"""Samples that are made of a model, in one go: texts, paths of a series."""
SHOWN = 3
"""Texts of them that the report shows."""
LONGEST_FORECAST = 48
BEFORE = 512
"""Rows that a forecast goes on from."""
FEWEST, MOST = 8, 64
"""Windows of an expensive likelihood."""
SETTLING = 90.0
"""Seconds that a worker gets to save when it is stopped."""
SCORING = 15.0
"""Seconds that starting, scoring and sampling take beside a training, about."""

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """One training of a comparison, as a worker is told it."""

    data: str
    model: str
    seed: int
    minutes: float
    settings: Mapping[str, Any]
    folder: str
    quiet: bool = False
    threads: int | None = None

    @property
    def name(self) -> str:
        """Of its run and its result."""
        return f"{self.model}-{self.seed}"

    @property
    def run(self) -> Path:
        """Its run folder."""
        return Path(self.folder, RUNS, self.name)

    @property
    def result(self) -> Path:
        """What its worker leaves behind."""
        return Path(self.folder, RESULTS, f"{self.name}.json")

    def plan(self, notify: Notify | None = None) -> TrainingPlan:
        """The training; goes on where there is a run."""
        settings = merge(self.settings, {"seed": self.seed, "trainer": {"minutes": self.minutes}})
        return plan(self.data, settings, model=self.model, out=self.run, resume=True, notify=notify)


def compare(
    data: str,
    models: Sequence[str],
    *,
    minutes: float,
    seeds: int = 1,
    out: Path | str,
    threads: int | None = None,
    notify: Notify | None = None,
    **settings: Any,
) -> Comparison:
    """Train every model with every seed for so many minutes, one after another, and judge them on the test split.

    Args:
        data: A file, a folder or `builtin:NAME`.
        models: Words as `train --model` takes them.
        minutes: Wall-clock for each training.
        seeds: Trainings of each model.
        out: The folder of the comparison; the same call on the same folder goes on with it.
        threads: To compute with; all usable cores unless given.
        notify: Hears what is being done; without it the workers are quiet.
        settings: Of all trainings, nested as in a recipe.

    Errors:
        ConfigError for a model that does not exist, before anything starts. A model that fails later, or that does not
        fit the data, is a row with an error.
    """
    tell = notify or _silent
    if not models or seeds < 1 or not minutes > 0:
        raise ConfigError("at least one model, one seed and some time are needed", path="compare")
    twice = next((model for i, model in enumerate(models) if model in models[:i]), None)
    if twice is not None:
        raise ConfigError(f"{twice} is named twice", path="--models", hint="several trainings of it: --seeds")
    for model in models:
        model_settings(model)
    place = _absolute(data)
    tasks = [
        Task(place, model, seed, minutes, settings, str(out), notify is None, threads)
        for model in models
        for seed in range(seeds)
    ]
    asked = {"data": place, "minutes": minutes, "settings": settings}
    _refuse_another(Path(out), asked)
    first, unfit = _first_plan(tasks)
    if not len(first.prepared.splits["test"].data.x):
        raise DataError("the test split is empty, so nothing can be compared", hint="give it a share in corpus.splits")
    with durable.Lock(Path(out)) as lock:
        _take_up(Path(out), asked)
        found = _work(tasks, unfit, first.prepared, tell)
        lock.check()
        tell("baselines")
        rows = [_row(model, [found[task.name] for task in tasks if task.model == model]) for model in models]
        command = ["seqloom", "compare", data, "--models", ",".join(models), "--minutes", f"{minutes:g}"]
        command += ["--seeds", str(seeds), "--out", str(out), *_words(settings)]
        comparison = _comparison(
            data, first.recipe.corpus, first.prepared, rows, minutes=minutes, command=shlex.join(command)
        )
        _write(comparison, Path(out), asked)
    return comparison


def compare_runs(paths: Sequence[str], *, out: Path | str, notify: Notify | None = None) -> Comparison:
    """Judge finished runs; NotComparable unless they have one test split and one unit."""
    tell = notify or _silent
    found = [runs.read(path) for path in paths]
    first = found[0]
    for run in found:
        if not (run.path / runs.REPORT).is_file():
            raise RunError(f"{run.path} is not finished", hint="go on with it: seqloom train DATA --out RUN --resume")
        if run.codec.unit != first.codec.unit:
            raise NotComparable(
                f"{run.path} is scored by the {run.codec.unit} and {first.path} by the {first.codec.unit}",
                hint="compare runs on the same data",
            )
        if run.fingerprints["test"] != first.fingerprints["test"]:
            raise NotComparable(
                f"{run.path} and {first.path} have different test splits",
                hint="train both on the same data with the same corpus.splits",
            )
    prepared = prepare(first)
    names = [run.path.name for run in found]
    names = names if len(set(names)) == len(names) else [str(run.path) for run in found]
    rows = []
    for name, run in zip(names, found, strict=True):
        tell(f"{name}: scoring and sampling")
        rows.append(_row(name, [judged(run)]))
    tell("baselines")
    command = shlex.join(["seqloom", "compare", *paths, "--out", str(out)])
    comparison = _comparison(data_of(first.recipe), first.recipe.corpus, prepared, rows, minutes=None, command=command)
    with durable.Lock(Path(out)):
        _write(comparison, Path(out), {"runs": [str(run.path) for run in found]})
    return comparison


# ---- the workers ----------------------------------------------------------------------------------------------------


def _first_plan(tasks: Sequence[Task]) -> tuple[TrainingPlan, dict[str, str]]:
    """The first training that fits the data, and why others do not; what is wrong with all of them is raised."""
    plans, unfit = [], {}
    for task in tasks:
        if task.model in unfit:
            continue
        try:
            plans.append(task.plan())
        except UnsupportedSpace as error:
            unfit[task.model] = str(error)
            last = error
    if not plans:
        raise last
    return plans[0], unfit


def _refuse_another(folder: Path, asked: Mapping[str, Any]) -> None:
    """RunError where the folder holds another comparison than what is asked."""
    if (folder / ASKED).is_file():
        before = durable.read_json(folder / ASKED).get("asked", {})
        now = json.loads(json.dumps(asked))
        changed = [key for key in now if before.get(key) != now[key]]
        if changed:
            raise RunError(
                f"{folder} holds a comparison with another {changed[0]}", hint="choose another --out, or ask the same"
            )


def _take_up(folder: Path, asked: Mapping[str, Any]) -> None:
    """Make the folder a comparison of what is asked; RunError where it holds something else."""
    _refuse_another(folder, asked)
    if not (folder / ASKED).is_file():
        if any(path.name != durable.LOCK for path in folder.iterdir()):
            raise RunError(f"{folder} is not empty and is no comparison", hint="choose another --out")
        durable.write_json(folder / ASKED, {"asked": asked})
    for name in (RESULTS, RUNS):
        (folder / name).mkdir(exist_ok=True)


def _work(
    tasks: Sequence[Task], unfit: Mapping[str, str], prepared: Prepared, notify: Notify
) -> dict[str, dict[str, Any]]:
    """The result of every task, in the order of the tasks; those that are there are kept."""
    found: dict[str, dict[str, Any]] = {}
    for task in tasks:
        if task.model in unfit:
            found[task.name] = {"error": unfit[task.model]}
        elif task.result.is_file() and "error" not in (result := durable.read_json(task.result)):
            if result["fingerprint"] != prepared.splits["test"].fingerprint:
                raise RunError(
                    f"{task.folder} holds results on other data: the file has changed", hint="choose another --out"
                )
            found[task.name] = result
    left = [task for task in tasks if task.name not in found]
    if left:
        each, seconds = 60 * left[0].minutes, len(left) * (60 * left[0].minutes + SCORING)
        several = f"{len(left)} trainings of {duration(each)}, one after another"
        notify(f"{several if len(left) > 1 else f'1 training of {duration(each)}'}: about {duration(seconds)} in all")
    for model, why in unfit.items():
        notify(f"{model} does not fit the data: {why}")
    for number, task in enumerate(left, 1):
        notify(f"[{number}/{len(left)}] {task.model}, seed {task.seed}")
        found[task.name] = _worked(task)
        if "error" in found[task.name]:
            notify(f"{task.name} failed: {found[task.name]['error']}")
    return found


def _worked(task: Task) -> dict[str, Any]:
    """Run one worker to its end. When we are stopped, it is told to save, and waited for."""
    task.result.unlink(missing_ok=True)
    told = json.dumps({name: getattr(task, name) for name in task.__dataclass_fields__})
    # In a session of its own, so that a signal from the terminal reaches it once: through us.
    child = subprocess.Popen(
        [sys.executable, "-m", WORKER, told],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno() if _real() else None,
        start_new_session=True,
    )
    try:
        code = child.wait()
    except BaseException:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(SETTLING)
        except BaseException:
            child.kill()
            child.wait()
            raise
        raise
    if task.result.is_file():
        result: dict[str, Any] = durable.read_json(task.result)
        return result
    if code in {128 + signal.SIGINT, 128 + signal.SIGTERM}:
        raise KeyboardInterrupt
    if code == -signal.SIGKILL:
        return {"error": "its worker was killed, perhaps for want of memory"}
    return {"error": f"its worker ended with exit code {code}"}


def _real() -> bool:
    try:
        sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return False
    return True


def judged(run: runs.Run, *, briefly: bool = False) -> dict[str, Any]:
    """What there is to know of a finished run, as plain values: its test scores, samples, speed and learning curve.

    Left to right, a window costs its length squared; `briefly` keeps that to a tenth of what training cost.
    """
    report = durable.read_json(run.path / runs.REPORT)
    model = load(run)
    windows = MOST
    if briefly:
        windows = int(np.clip(0.25 * report["elements"] / model.network.window**2, FEWEST, MOST))
    scores = evaluate_model(model, windows=windows)
    samples, rate = _samples(model)
    return {
        "run": str(run.path),
        "parameters": report["parameters"],
        "seconds": report["seconds"],
        "elements_per_second": report["elements_per_second"],
        "peak_memory_mb": report["peak_memory_mb"],
        "fingerprint": scores["fingerprint"],
        "metrics": scores["metrics"],
        "samples_per_second": rate,
        "samples": samples,
        "curve": [
            [record["seconds"], record["elements"], record["valid"]]
            for record in durable.Journal.read(run.path / runs.LOG)
            if "valid" in record
        ],
    }


def _samples(model: Model) -> tuple[Any, float]:
    """Samples to show, and how many were made in a second."""
    assert model.run is not None
    prepared = prepare(model.run)
    codec, test = model.codec, prepared.splits["test"]
    given = {}  # that of the first thing in the test split
    for name, flat in test.given.items():
        x = np.array(flat.x[: flat.starts[1]])  # a copy: the encoded data are read-only
        given[name] = Encoded(x, np.ones(x.shape, bool))
    tokens = isinstance(codec.space, Tokens)
    longest = int(np.diff(test.data.starts).max()) + prepared.ends
    history = truth = None
    if tokens:
        count, length = TEXTS, min(LONGEST_SAMPLE, longest)
    else:
        count, length = PATHS, min(LONGEST_FORECAST, max(1, model.network.window // 2), longest)
        history, truth = _around_test(model, length)
    canvas = codec.canvas(history, length)
    began = time.monotonic()
    answer = model.answer(Query(canvas, model.sampler, count, 0, 0, given))
    rate = count / max(1e-9, time.monotonic() - began)
    if answer.paths is None:
        return [codec.show(value).decode("utf-8", "replace") for value in answer.values[:SHOWN]], rate
    shown = {
        "columns": list(answer.values[0].columns),
        "paths": _listed(answer.paths[:, -length:]),
        "history": None if history is None else _listed(history.values),
        "truth": None if truth is None else _listed(truth),
    }
    return shown, rate


def _around_test(model: Model, length: int) -> tuple[Any, Any]:
    """What stands before the test split of one series, and its first rows; nothing where there are several."""
    assert model.run is not None
    corpus = model.run.recipe.corpus
    parts = {name: list(corpus.values(model.codec, name)) for name in ("train", "valid", "test")}
    if len(parts["test"]) != 1 or len(parts["train"]) != 1:
        return None, None
    whole = corpus.full(model.codec)[0]
    begin = len(whole) - len(parts["test"][0])
    return whole.rows(max(0, begin - BEFORE), begin), parts["test"][0].values[:length]


def _listed(numbers: Any) -> Any:
    """Numbers as JSON has them: what is missing as null."""
    found = np.asarray(numbers, object)
    found[~np.isfinite(np.asarray(numbers, np.float64))] = None
    return found.tolist()


# ---- the table ------------------------------------------------------------------------------------------------------


def _row(model: str, results: Sequence[Mapping[str, Any]]) -> Row:
    """One model: the mean over its seeds that succeeded."""
    good = [result for result in results if "error" not in result]
    errors = [str(result["error"]) for result in results if "error" in result]
    if not good:
        return Row(model=model, error=errors[0])
    names = [metric["name"] for metric in good[0]["metrics"]]
    metrics = {}
    for i, name in enumerate(names):
        same = [result["metrics"][i] for result in good]
        stderr = math.sqrt(math.fsum(metric["stderr"] ** 2 for metric in same) / len(same))
        values = [metric["value"] for metric in same]
        interval = ci95(values, stderr)
        metrics[name] = {
            **same[0],
            "value": math.fsum(values) / len(values),
            "stderr": stderr / math.sqrt(len(same)),
            "ci95": None if interval is None else list(interval),
        }
    likelihood = metrics.pop("likelihood")
    interval = likelihood.pop("ci95")

    def mean(key: str) -> float:
        return math.fsum(result[key] for result in good) / len(good)

    first = Path(good[0]["run"])
    return Row(
        model=model,
        parameters=good[0]["parameters"],
        seconds=round(mean("seconds"), 3),
        likelihood=likelihood,
        ci95=None if interval is None else (interval[0], interval[1]),
        elements_per_second=round(mean("elements_per_second"), 1),
        samples_per_second=round(mean("samples_per_second"), 3),
        peak_memory_mb=max(result["peak_memory_mb"] for result in good),
        error=errors[0] if errors else None,
        seeds=len(good),
        runs=tuple(result["run"] for result in good),
        curves=tuple(tuple((a, b, c) for a, b, c in result["curve"]) for result in good),
        samples=_shown(good[0]["samples"]),
        extra=metrics,
        recipe=(first / runs.RECIPE).read_text(encoding="utf-8"),
    )


def _shown(samples: Any) -> tuple[str, ...] | Paths:
    if isinstance(samples, list):
        return tuple(samples)

    def numbers(values: Any) -> Any:
        return None if values is None else np.array(values, np.float64)

    return Paths(
        tuple(samples["columns"]), numbers(samples["paths"]), numbers(samples["history"]), numbers(samples["truth"])
    )


def _comparison(
    data: str, corpus: Corpus, prepared: Prepared, rows: Sequence[Row], *, minutes: float | None, command: str
) -> Comparison:
    unit = prepared.codec.unit
    tokens = isinstance(prepared.codec.space, Tokens)
    splits = {
        name: SplitSummary(part.units, int(part.data.starts[-1]), part.fingerprint)
        for name, part in prepared.splits.items()
    }
    size = int(np.diff(prepared.splits["test"].data.starts).max()) + prepared.ends
    told = (
        f"Samples/s: {TEXTS} texts of {min(LONGEST_SAMPLE, size)} elements at a time."
        if tokens
        else f"Samples/s: {PATHS} paths at a time, of the length shown."
    )
    return Comparison(
        data=data,
        unit=f"{'bits' if unit == 'byte' else 'nats'}/{unit}",
        space="tokens" if tokens else "vectors",
        rows=tuple(rows),
        splits=splits,
        baselines=tuple(baselines_of(corpus, prepared)),
        minutes=minutes,
        machine=machine.record(),
        command=command,
        notes=(*prepared.notes, told),
    )


def baselines_of(corpus: Corpus, prepared: Prepared) -> list[Baseline]:
    """What a model should beat, on the same splits."""
    codec, train, test = prepared.codec, prepared.splits["train"], prepared.splits["test"]
    follows = len(train.data) == len(test.data) == 1 and not len(prepared.splits["valid"].data.x)
    space = codec.space
    if isinstance(space, Tokens):
        end = space.size if prepared.ends else None
        return text_baselines(
            _symbols(train.data.x, train.data.starts, end, LONGEST_TRAIN),
            _symbols(test.data.x, test.data.starts, end),
            space.size + prepared.ends,
            b"".join(codec.show(value) for value in corpus.values(codec, "train", LARGEST_DICTIONARY)),
            b"".join(codec.show(value) for value in corpus.values(codec, "test")),
            extra_nats=test.extra_nats,
            continued=follows,
        )
    date = prepared.facts.get("date")
    return series_baselines(
        [table.values for table in corpus.values(codec, "train")],
        [table.values for table in corpus.values(codec, "test")],
        step=date["seconds"] if date else None,
        continued=follows,
    )


def _symbols(x: Any, starts: Any, end: int | None, most: int | None = None) -> Any:
    """The symbols of a split one after another, each document with its end symbol; the last `most` of them."""
    if end is None:
        return x if most is None else x[-most:]
    first = 0 if most is None else int(np.searchsorted(starts, max(0, starts[-1] - most)))
    pieces = []
    for begin, stop in zip(starts[first:-1], starts[first + 1 :], strict=True):
        pieces += [np.asarray(x[begin:stop], np.int64), np.array([end])]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)


def _write(comparison: Comparison, folder: Path, asked: Mapping[str, Any]) -> None:
    write_report(comparison, folder / REPORT)
    durable.write_json(folder / ASKED, {"asked": asked, **plain(comparison, folder / REPORT)})


def _absolute(data: str) -> str:
    """The data as a worker finds them from any folder."""
    return data if data.startswith("builtin:") else os.path.abspath(data)


def _words(settings: Mapping[str, Any], path: str = "") -> list[str]:
    """Settings as they are written on the command line."""
    words = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and "name" not in value:
            words += _words(value, f"{path}{key}.")
        else:
            words.append(f"{path}{key}={value if isinstance(value, str) else json.dumps(value)}")
    return words


def _silent(text: str) -> None:
    """Nobody listens."""
