"""Quantize: a run with its matrices in int8 or bfloat16, and what that costs and saves."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from seqloom import run as runs
from seqloom.core import checkpoints, durable
from seqloom.core.errors import ConfigError, RunError, SeqloomError
from seqloom.evaluation.evaluate import prepare
from seqloom.metrics import likelihood
from seqloom.model import Model, load
from seqloom.network.network import Network
from seqloom.network.packing import PRECISIONS, Precision, pack, size
from seqloom.validation import POSITIONS, part_of, reading_of

ROUNDS = 3
"""How often the samples of either are timed, in turn."""
WINDOWS = 64
"""Windows that are scored where a likelihood takes windows, at most."""
DECODED = 64
"""Elements of a sample that is timed, at most."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Packed:
    """What packing a run costs and saves, before and after: values a unit, bytes, elements a second."""

    run: str
    start: str
    to: Precision
    prune: float
    metric: str
    unit: str
    kind: str
    count: int
    loss: tuple[float, float] | None
    more: tuple[float, float] | None
    """How much more is lost, and the standard error of that, from the same elements before and after."""
    bytes: tuple[int, int]
    speed: tuple[float, float]

    @property
    def in_words(self) -> list[str]:
        """The same as lines of text."""
        before, after = self.bytes
        lines = [f"weights     {_mb(before)} before, {_mb(after)} after: {after / before:.2f} of them"]
        if self.loss is not None and self.more is not None:
            by, error = self.more
            lines.append(
                f"{self.metric.ljust(11)} {self.loss[0]:.4f} before, {self.loss[1]:.4f} {self.unit} after: "
                f"{by:+.4f} ± {error:.4f} over {self.count:,} of the validation split"
            )
        slow, fast = self.speed
        lines.append(f"sampling    {slow:,.0f} elements/s before, {fast:,.0f} after: {fast / slow:.2f} times as many")
        return lines


def quantize(
    run: Path | str | runs.Run,
    to: Precision = "int8",
    *,
    out: Path | str | None = None,
    weights: runs.WeightsChoice = "best",
    prune: float = 0.0,
    notify: Say | None = None,
) -> Packed:
    """Write a run with the weights of another, its matrices packed, and measure both.

    Args:
        run: The run, or its folder; it stays as it is.
        to: int8, each row of a matrix with a scale of its own, or bfloat16.
        out: The new folder; the old one's name and `to` unless given.
        weights: The best checkpoint by validation, or the last.
        prune: The share of each matrix, its smallest numbers, that is set to 0 before.
        notify: Called with a line of what is being done.
    """
    if to not in PRECISIONS:
        raise ConfigError(f"matrices cannot lie in {to!r}", path="--to", hint=f"one of: {', '.join(PRECISIONS)}")
    if not 0 <= prune < 1:
        raise ConfigError(f"{prune} is no share", path="--prune", hint="from 0 to below 1, such as 0.5")
    say = notify or (lambda text: None)
    origin = run if isinstance(run, runs.Run) else runs.read(run)
    origin.check_unpacked()
    path = Path(out) if out else runs.free_name(origin.path.parent, f"{origin.path.name}-{to}")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"{path} is there already", hint="choose another --out")
    checkpoint, _, _ = origin.checkpoint(weights)
    wide = load(origin, weights)
    narrow, _ = origin.load_network(weights)
    if prune:
        pruned(narrow, prune)
    pack(narrow, to)
    recipe = origin.recipe.replace(packed=to, start=str(origin.path.absolute()))
    with durable.Lock(path) as lock:
        made = runs.derive(origin, path, recipe)
        state = {"best": None, "valid": None, "seconds": checkpoint.state()["seconds"]}
        checkpoints.save(lock, checkpoint.step, made.identity, weights=narrow.state_dict(), training={}, state=state)
        packed = load(made)
        say("scoring the validation split before and after")
        measured = _losses(origin, wide.network, packed.network)
        say("timing samples before and after, in turn")
        found = Packed(
            run=str(path),
            start=str(origin.path),
            to=to,
            prune=prune,
            **measured,
            bytes=(size(wide.network), size(packed.network)),
            speed=_speeds(wide, packed),
        )
        durable.write_json(path / runs.REPORT, _report(origin, checkpoint.step, found))
    return found


def pruned(net: Network, share: float) -> None:
    """Set the smallest numbers of each matrix of the trunk to 0."""
    with torch.no_grad():
        for parameter in net.trunk.parameters():
            if parameter.ndim == 2 and (count := int(share * parameter.numel())):
                least = parameter.abs().flatten().kthvalue(count).values
                parameter.masked_fill_(parameter.abs() <= least, 0.0)


def _losses(origin: runs.Run, wide: Network, narrow: Network) -> dict[str, Any]:
    """The run's first likelihood over one part of its validation split by both networks, with the same draws."""
    nothing = {"metric": "", "unit": "", "kind": "", "count": 0, "loss": None, "more": None}
    process = origin.recipe.process
    name = next(iter(process.likelihoods()), None)
    try:
        prepared = prepare(origin)
    except SeqloomError:
        return nothing
    if name is None or not len(prepared.splits["valid"].data.x):
        return nothing
    reading = reading_of(part_of(prepared.splits["valid"], POSITIONS), origin)
    before, after = (likelihood.score(net, process, reading, name, windows=WINDOWS) for net in (wide, narrow))
    each = [b[0] - a[0] for a, b in zip(before.in_blocks, after.in_blocks, strict=True)]
    error = statistics.stdev(each) / math.sqrt(len(each)) if len(each) > 1 else math.nan
    loss = before.shown[0], after.shown[0]
    return {
        "metric": name,
        "unit": before.shown[1],
        "kind": before.kind,
        "count": round(before.count),
        "loss": loss,
        "more": (loss[1] - loss[0], error),
    }


def _speeds(wide: Model, narrow: Model) -> tuple[float, float]:
    """Elements a second of one sample, the fastest of several rounds in which both take turns."""
    length = min(DECODED, wide.network.window)
    best = [math.inf, math.inf]
    for number in range(ROUNDS + 1):
        for i, model in enumerate((wide, narrow)):
            began = time.perf_counter()
            model.sample(1, length, seed=0)
            if number:  # the first makes things ready
                best[i] = min(best[i], time.perf_counter() - began)
    return length / best[0], length / best[1]


def _report(origin: runs.Run, step: int, found: Packed) -> dict[str, Any]:
    """The report of the run that was packed, with what has changed."""
    path = origin.path / runs.REPORT
    report = durable.read_json(path) if path.is_file() else {}
    keys = ("seconds", "parameters", "elements", "elements_per_second", "peak_memory_mb", "dependence", "correction")
    kept = {"seconds": 0.0, "parameters": 0, "elements": 0, "elements_per_second": 0.0, "peak_memory_mb": 0.0}
    kept |= {key: report[key] for key in keys if key in report}
    valid = None
    if found.loss is not None:
        valid = {"name": found.metric, "value": found.loss[1], "unit": found.unit, "kind": found.kind, "stderr": 0.0}
    more = {"steps": step, "valid": valid, "best": None, "start": found.start, "packed": asdict(found)}
    return {"run": found.run, **kept, **more}


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
