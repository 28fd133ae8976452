"""Sides of a job timed in turn, each in a process of its own, and the records that are kept of it.

A job is one question with several sides: ours and those of peers. Each side is a child that makes itself ready, says
which numbers it must have in common with the others, and then runs when it is told to. So a side has its own threads,
its own allocator and its own peak of memory, and whatever else the machine does meets all of them alike.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from seqloom.core import machine

MOST_LOAD = 0.3
"""Runnable tasks a core, before anything is timed."""
WAIT = 180
"""Seconds that it waits for them to end."""
LEAST = 0.3
"""Seconds of a round of one side, at least."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """A side that is ready: `run` does `units` of the job's unit, and returns seconds only where it counts them itself.

    `same` are numbers that all sides that name them have alike, `told` is how it was run (threads, precision, part).
    """

    run: Callable[[], object]
    units: float = 1.0
    same: Mapping[str, Sequence[float]] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Side:
    """Where a side is made: a function of a module beside this one, called with the folder and these arguments.

    A `tuned` process has the allocator and the waiting of threads set as `seqloom` sets them at its start.
    """

    module: str
    function: str
    arguments: tuple[Any, ...] = ()
    tuned: bool = False


@dataclass(frozen=True)
class Versus:
    """Two sides whose times are compared, and how many times faster ours is to be.

    Of a pair the first goal is for machines on which bfloat16 is twice as fast as float32, or more.
    """

    ours: str
    peer: str
    goal: float | tuple[float, float] | None = None
    memory: float | None = None
    """Our peak of memory over the peer's, at most."""


@dataclass(frozen=True)
class Job:
    """One question: its sides by name, and what is compared. Numbers in common differ by `tolerance` at most."""

    name: str
    unit: str
    sides: Mapping[str, Side]
    versus: Sequence[Versus]
    tolerance: float = 1e-3


class Unequal(Exception):
    """Two sides that were to be compared do not compute the same."""


# ---- in the child ---------------------------------------------------------------------------------------------------


def serve(side: Side, folder: Path) -> None:
    """Make the side ready and run it once for each line of standard input; one line of JSON answers each."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to the log
    if side.tuned:
        machine.tune_allocator()
        machine.tune_waiting()
    try:
        ready: Prepared = getattr(importlib.import_module(side.module), side.function)(folder, *side.arguments)
    except ImportError as error:
        _answer(answers, {"missing": str(error)})
        return
    except Exception:
        _answer(answers, {"error": traceback.format_exc(limit=-3)})
        return
    _answer(answers, {"units": ready.units, "same": dict(ready.same), "told": dict(ready.told)})
    before, mib, repeats = forget_peak(), None, 1
    for _ in sys.stdin:
        try:
            began = time.perf_counter()
            for _ in range(repeats):
                counted = ready.run()
            seconds = (time.perf_counter() - began) / repeats
            if mib is None:  # of the first run alone, after which short ones are repeated
                mib = max(0.0, machine.peak_memory_mb() - before)
                repeats = 1 if isinstance(counted, float) else min(1000, math.ceil(LEAST / max(seconds, 1e-6)))
            _answer(answers, {"seconds": counted if isinstance(counted, float) else seconds, "mib": mib})
        except Exception:
            _answer(answers, {"error": traceback.format_exc(limit=-3)})
            return


def _answer(answers: TextIO, value: Mapping[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def forget_peak() -> float:
    """Give freed memory back and follow the peak of memory anew; what is resident now, in MiB."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / (1 << 20)
    return machine.peak_memory_mb()


def fastest(candidates: Mapping[str, Callable[[], object]], repeats: int = 2) -> tuple[str, int]:
    """Which candidate takes the least time, and with how many threads, one or all; those that fail are left out."""
    import torch

    found: dict[tuple[str, int], float] = {}
    errors = []
    for threads in dict.fromkeys((machine.threads(), 1)):
        torch.set_num_threads(threads)
        for name, run in candidates.items():
            try:
                run()
                seconds = []
                for _ in range(repeats):
                    began = time.perf_counter()
                    run()
                    seconds.append(time.perf_counter() - began)
                found[name, threads] = min(seconds)
            except RuntimeError as error:  # a kernel that this processor lacks
                errors.append(error)
    if not found:
        raise errors[0]
    best = min(found, key=lambda one: found[one])
    torch.set_num_threads(best[1])
    return best


# ---- in the parent --------------------------------------------------------------------------------------------------


class Child:
    """The process of a side."""

    def __init__(self, words: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log.open("a")
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            cwd=log.parent,
            env=environment,
        )

    def hear(self) -> dict[str, Any]:
        """Its next answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": f"it ended with {self.process.wait()}; see {self.log.name}"}

    def run(self) -> dict[str, Any]:
        """Run once."""
        assert self.process.stdin is not None
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        answer = self.hear()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def close(self) -> None:
        """Let it end, and wait for that."""
        self.process.kill()
        self.process.communicate()
        self.log.close()


def measured(
    job: Job, start: Callable[[str], Child], rounds: int, say: Say, fast: bool = False, load: float | None = None
) -> dict[str, Any]:
    """Start all sides, check that they compute the same, and time them in turn; the order turns from round to round."""
    children: dict[str, Child] = {}
    ready: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    try:
        for name in job.sides:
            began = time.perf_counter()
            children[name] = start(name)
            answer = children[name].hear()
            if "error" in answer:
                raise RuntimeError(f"{name}: {answer['error']}")
            if "missing" in answer:
                missing[name] = answer["missing"]
                children.pop(name).close()
                continue
            answer["told"]["ready_after"] = round(time.perf_counter() - began, 1)
            ready[name] = answer
            say(f"  {name}: ready after {answer['told']['ready_after']} s")
        check_equal({name: one["same"] for name, one in ready.items()}, job.tolerance)
        taken = interleaved({name: child.run for name, child in children.items()}, rounds, say)
    finally:
        for child in children.values():
            child.close()
    sides = {
        name: {
            "seconds": statistics.median(one["seconds"] for one in answers),
            "mib": answers[0]["mib"],
            "rate": ready[name]["units"] / statistics.median(one["seconds"] for one in answers),
            **ready[name]["told"],
        }
        for name, answers in taken.items()
    }
    each = {
        name: [one["seconds"] / ready[name]["units"] for one in answers]  # seconds a unit
        for name, answers in taken.items()
    }
    compared = [
        {
            "ours": versus.ours,
            "peer": versus.peer,
            "goal": versus.goal[0 if fast else 1] if isinstance(versus.goal, tuple) else versus.goal,
            **ratio_of(each[versus.ours], each[versus.peer]),
            **(
                {}
                if versus.memory is None
                else {
                    "memory": sides[versus.ours]["mib"] / max(1e-9, sides[versus.peer]["mib"]),
                    "memory_goal": versus.memory,
                }
            ),
        }
        for versus in job.versus
        if versus.ours in sides and versus.peer in sides
    ]
    return {
        "unit": job.unit,
        "sides": sides,
        "compared": compared,
        "missing": missing,
        "rounds": rounds,
        "load": load,
        "machine": machine.record(),
    }


def check_equal(same: Mapping[str, Mapping[str, Sequence[float]]], tolerance: float) -> None:
    """Unequal where two sides have other numbers under one name, by more than this share of the greatest of them."""
    first: dict[str, tuple[str, Sequence[float]]] = {}
    for side, numbers in same.items():
        for name, values in numbers.items():
            known_side, known = first.setdefault(name, (side, values))
            scale = max([1e-12, *(abs(value) for value in known)])
            far = max([abs(a - b) / scale for a, b in zip(values, known, strict=False)], default=0.0)
            if len(values) != len(known) or far > tolerance:
                raise Unequal(f"{name} of {side} is {list(values)[:4]}, of {known_side} {list(known)[:4]}")


def interleaved(
    runs: Mapping[str, Callable[[], dict[str, Any]]], rounds: int, say: Say = lambda text: None
) -> dict[str, list[dict[str, Any]]]:
    """What each side answered in each round; a first round that is not counted makes all of them warm."""
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in runs}
    for turn in range(rounds + 1):
        for name in list(runs)[:: -1 if turn % 2 else 1]:
            answer = runs[name]()
            if turn:
                taken[name].append(answer)
        if turn:
            say(f"  round {turn} of {rounds}: " + ", ".join(f"{k} {v[-1]['seconds']:.3g} s" for k, v in taken.items()))
    return taken


def ratio_of(ours: Sequence[float], peer: Sequence[float]) -> dict[str, float]:
    """How many times faster ours is: the median over the rounds, and the least and the most of them."""
    each = [theirs / own for own, theirs in zip(ours, peer, strict=True)]
    return {"ratio": statistics.median(each), "least": min(each), "most": max(each)}


def too_loaded(load: float | None, cores: int) -> str | None:
    """Why nothing can be timed now, in words."""
    if load is None or load / cores <= MOST_LOAD:
        return None
    return f"{load:.1f} tasks want to run on {cores} cores: what is timed now says little"


def busy(load: Callable[[], float | None], cores: int, say: Say, sleep: Callable[[float], object] = time.sleep) -> str:
    """Why nothing can be timed even after a while (an installation that has just ended still counts); "" if it can."""
    why = too_loaded(load(), cores)
    for _ in range(WAIT // 10 if why else 0):
        say(f"waiting: {why}")
        sleep(10)
        why = too_loaded(load(), cores)
        if why is None:
            break
    return why or ""


# ---- what is kept ---------------------------------------------------------------------------------------------------


def done(kept: Mapping[str, Any], name: str) -> bool:
    """Whether a job was finished in an earlier sitting; one whose peer was missing is tried again."""
    row = kept.get("jobs", {}).get(name)
    return row is not None and "error" not in row and not row["missing"]


def keep(path: Path, record: Mapping[str, Any]) -> None:
    """Write the record, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(record, indent=1) + "\n")
    beside.replace(path)


def insert(page: Path, text: str, mark: str) -> None:
    """Put text between the marks of a page, in place of what stood there."""
    begin, end = f"<!-- {mark}: begin -->", f"<!-- {mark}: end -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{page} has no {begin} ... {end}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
