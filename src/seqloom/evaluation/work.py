"""The trainings of a comparison: each a worker of its own, alone on the machine, which leaves a result as a file."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seqloom.core import durable
from seqloom.core.config import merge
from seqloom.core.errors import RunError, UnsupportedSpace
from seqloom.core.progress import duration
from seqloom.corpora.base import Prepared
from seqloom.planning import TrainingPlan, plan

RESULTS, RUNS = "results", "runs"
WORKER = "seqloom.cli.worker"
SETTLING = 90.0
"""Seconds that a worker gets to save when it is stopped."""
SCORING = 15.0
"""Seconds that starting, scoring and sampling take beside a training, about."""

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """One training of a comparison, as it is passed to a worker."""

    data: str
    model: str
    seed: int
    minutes: float
    settings: Mapping[str, Any]
    folder: str
    quiet: bool = False
    threads: int | None = None
    device: str = "auto"
    horizon: int | None = None
    windows: int | None = None
    synthetic: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The name of its run and its result."""
        return f"{self.model}-{self.seed}"

    @property
    def run(self) -> Path:
        """Its run folder."""
        return Path(self.folder, RUNS, self.name)

    @property
    def result(self) -> Path:
        """The file that its worker writes."""
        return Path(self.folder, RESULTS, f"{self.name}.json")

    def plan(self, notify: Notify | None = None) -> TrainingPlan:
        """The training; goes on where there is a run."""
        settings = merge(self.settings, {"seed": self.seed, "trainer": {"minutes": self.minutes}})
        return plan(self.data, settings, model=self.model, out=self.run, resume=True, notify=notify)


def first_plan(tasks: Sequence[Task]) -> tuple[TrainingPlan, dict[str, str]]:
    """The first training that fits the data, and why others do not; where none fits, the last error is raised."""
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


def finished_before(tasks: Sequence[Task]) -> list[Task]:
    """Trainings that the folder of these holds a result of, and that are none of these; failed ones are left out."""
    names, found = {task.name for task in tasks}, []
    for path in sorted(Path(tasks[0].folder, RESULTS).glob("*-*.json")):
        model, _, seed = path.stem.rpartition("-")
        if path.stem not in names and seed.isdecimal() and "error" not in durable.read_json(path):
            found.append(replace(tasks[0], model=model, seed=int(seed)))
    return found


def results_of(
    tasks: Sequence[Task], unfit: Mapping[str, str], prepared: Prepared, notify: Notify
) -> dict[str, dict[str, Any]]:
    """The result of every task, in the order of the tasks; those that are there are kept."""
    results: dict[str, dict[str, Any]] = {}
    for task in tasks:
        if task.model in unfit:
            results[task.name] = {"error": unfit[task.model]}
        elif task.result.is_file() and "error" not in (result := durable.read_json(task.result)):
            if result["fingerprint"] != prepared.splits["test"].fingerprint:
                raise RunError(
                    f"{task.folder} holds results on other data: the file has changed", hint="choose another --out"
                )
            results[task.name] = result
    left = [task for task in tasks if task.name not in results]
    if left:
        each, seconds = 60 * left[0].minutes, len(left) * (60 * left[0].minutes + SCORING)
        several = f"{len(left)} trainings of {duration(each)}, one after another"
        notify(f"{several if len(left) > 1 else f'1 training of {duration(each)}'}: about {duration(seconds)} in all")
    for model, why in unfit.items():
        notify(f"{model} does not fit the data: {why}")
    for number, task in enumerate(left, 1):
        notify(f"[{number}/{len(left)}] {task.model}, seed {task.seed}")
        results[task.name] = _worked(task)
        if "error" in results[task.name]:
            notify(f"{task.name} failed: {results[task.name]['error']}")
    return results


def _worked(task: Task) -> dict[str, Any]:
    """Run one worker to its end. A stop of this process is passed on: the worker saves, and is waited for."""
    task.result.parent.mkdir(exist_ok=True)
    task.run.parent.mkdir(exist_ok=True)
    task.result.unlink(missing_ok=True)
    message = json.dumps({name: getattr(task, name) for name in task.__dataclass_fields__})
    # In a session of its own, so that a signal from the terminal reaches it once: through us.
    child = subprocess.Popen(
        [sys.executable, "-m", WORKER, message],
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
