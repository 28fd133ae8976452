"""The trainings of a comparison: each a worker of its own, alone on the machine, which leaves a result as a file."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from seqloom.core import durable, machine
from seqloom.core.config import merge
from seqloom.core.errors import RunError, UnsupportedSpace
from seqloom.core.progress import duration
from seqloom.corpora.base import Prepared
from seqloom.evaluation.further import NO_MORE, FurtherMeasures
from seqloom.evaluation.naming import file_name, named_in, own_settings
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
    further: FurtherMeasures = NO_MORE
    fraction: float = 1.0
    """Of the training split."""

    @classmethod
    def read(cls, message: str) -> Task:
        """The task of a message; see `message`."""
        fields = json.loads(message)
        return cls(**{**fields, "further": FurtherMeasures(**fields["further"])})

    @property
    def message(self) -> str:
        """The task in JSON, as its worker gets it."""
        return json.dumps(asdict(self))

    @property
    def name(self) -> str:
        """The name of its run and its result."""
        return file_name(self.model, self.seed, self.fraction)

    @property
    def run(self) -> Path:
        """Its run folder."""
        return Path(self.folder, RUNS, self.name)

    @property
    def result(self) -> Path:
        """The file that its worker writes."""
        return Path(self.folder, RESULTS, f"{self.name}.json")

    def plan(self, notify: Notify | None = None) -> TrainingPlan:
        """The training; goes on where there is a run. What its model is named with wins over what all have."""
        word, own = own_settings(self.model)
        settings = merge(merge(self.settings, own), {"seed": self.seed, "trainer": {"minutes": self.minutes}})
        if self.fraction < 1:
            settings = merge(settings, {"corpus": {"fraction": self.fraction}})
        place = machine.choose_device(self.device)
        return plan(self.data, settings, model=word, out=self.run, resume=True, notify=notify, device=place)


def first_plans(tasks: Sequence[Task]) -> tuple[dict[float, TrainingPlan], dict[str, str]]:
    """The first training that fits the data, for each fraction of them, and why others do not.

    Where none fits, the last error is raised.
    """
    plans: dict[float, TrainingPlan] = {}
    unfit: dict[str, str] = {}
    for task in tasks:
        if task.model in unfit:
            continue
        try:
            planned = task.plan()
        except UnsupportedSpace as error:
            unfit[task.model] = str(error)
            last = error
        else:
            plans.setdefault(task.fraction, planned)
    if not plans:
        raise last
    return plans, unfit


def finished_before(tasks: Sequence[Task]) -> list[Task]:
    """Trainings that the folder of these holds a result of, and that are none of these; failed ones are left out."""
    names, found = {task.name for task in tasks}, []
    for path in sorted(Path(tasks[0].folder, RESULTS).glob("*-*.json")):
        name = path.name.removesuffix(".json")
        named = None if name in names else named_in(name)
        if named is not None and "error" not in durable.read_json(path):
            model, seed, fraction = named
            found.append(replace(tasks[0], model=model, seed=seed, fraction=fraction))
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
        part = "" if task.fraction == 1 else f", on {100 * task.fraction:.3g} % of the training split"
        notify(f"[{number}/{len(left)}] {task.model}, seed {task.seed}{part}")
        results[task.name] = _worked(task)
        if "error" in results[task.name]:
            notify(f"{task.name} failed: {results[task.name]['error']}")
    return results


def _worked(task: Task) -> dict[str, Any]:
    """Run one worker to its end. A stop of this process is passed on: the worker saves, and is waited for."""
    task.result.parent.mkdir(exist_ok=True)
    task.run.parent.mkdir(exist_ok=True)
    task.result.unlink(missing_ok=True)
    # In a session of its own, so that a signal from the terminal reaches it once: through us.
    child = subprocess.Popen(
        [sys.executable, "-m", WORKER, task.message],
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
