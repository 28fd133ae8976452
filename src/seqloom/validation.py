"""Validation while training: a likelihood, or the loss, of one fixed part of the validation split."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqloom import run as runs
from seqloom.corpora.base import Flat, Prepared, Split
from seqloom.metrics import likelihood
from seqloom.metrics.base import metric_of
from seqloom.network.network import Network
from seqloom.processes.base import Process
from seqloom.recipe import Recipe
from seqloom.training.feed import Reader
from seqloom.training.trainer import Trainer

LOSS = "loss"
POSITIONS = 16_384
"""Positions of a validation where a training is bounded by steps."""
SHARE, OPERATIONS = 0.004, 3e10
"""Where it is bounded by minutes: as many as are trained on in so much of them, at so many operations a second or at
the speed that was seen, whichever is less."""
READS = 16
"""Windows that a drawn value is averaged over at least while training, counted as often as they are drawn."""
SHARE_READ = 0.0075
"""Where it is bounded by steps: reads of what is drawn, of the windows trained on. A training step costs as three."""
BLOCKS = 32
"""Stretches whose spread says how far a part may be from the whole."""
LOSS_BATCHES = 64


class Validation:
    """The part of its validation split that a run is validated on; by steps it depends on data and recipe alone.

    `positions` was chosen before the run was resumed; None: to be chosen now. `speed` is how many elements a
    second are trained on, where that is known.
    """

    def __init__(
        self, run: runs.Run, prepared: Prepared, net: Network, positions: int | None = None, speed: float | None = None
    ) -> None:
        self.run, self.prepared = run, prepared
        split = prepared.splits["valid"]
        self.total = len(split.data.x)
        self.positions = positions or min(self.total, wanted(run.recipe, net, speed))
        self.part = part_of(split, self.positions)
        self.covers = len(self.part.data.x) / self.total if self.total else 0.0
        self.likelihood = next(iter(run.recipe.process.likelihoods().values()), None)
        self.reads = reads(run.recipe, net, speed)
        self.window = net.window

    def cost(self, *, whole: bool = False) -> int:
        """About how many positions the network reads for it."""
        positions = self.total if whole else len(self.part.data.x)
        if self.likelihood is None or self.likelihood.draws == 1:
            return positions
        windows = max(1, -(-positions // self.window))
        return positions * likelihood.repetitions(self.likelihood, windows, None if whole else self.reads)

    @property
    def final(self) -> bool:
        """Whether nothing more precise can be said: it covers all, and is drawn no less often than it could be."""
        return self.covers == 1 and self.cost() >= self.cost(whole=True)

    def measure(self, net: Network, name: str, *, whole: bool = False) -> dict[str, Any]:
        """The likelihood `name`, or the loss, over the part or the whole, as scripts read it."""
        split, covers = (self.prepared.splits["valid"], 1.0) if whole else (self.part, self.covers)
        process = self.run.recipe.process
        if name == LOSS:
            metric = self._loss(net, process, split)
        else:
            metric = self._likelihood(net, process, split, name, covers, None if whole else self.reads)
        if not math.isfinite(metric["value"]):
            raise ValueError("it is not a finite number")
        return {**metric, "covers": covers}

    def _likelihood(
        self, net: Network, process: Process, split: Split, name: str, covers: float, reads: int | None
    ) -> dict[str, Any]:
        """With the standard error of the part as an estimate of the whole; the same draws each time."""
        reading = reading_of(split, self.run)
        score = likelihood.score(net, process, reading, name, tokens=covers < 1, reads=reads)
        if covers < 1 and score.surprisal is not None:
            error = _error_of_part(np.asarray(score.surprisal), covers)
            score = dataclasses.replace(score, stderr=math.hypot(score.stderr, error))
        return metric_of(name, score)

    def _loss(self, net: Network, process: Process, split: Split) -> dict[str, Any]:
        """The mean loss over batches that are the same each time."""
        feed = self.run.recipe.feed.replace(augment=[])
        if feed.order == "streams":
            feed = feed.replace(order="windows")
        seed, fill, device = self.run.recipe.seed, fills(net, self.prepared), next(net.parameters()).device
        reader = Reader(feed, split, self.run.space, seed, {}, fill=fill, past=process.past, device=device)
        batches = min(LOSS_BATCHES, -(-len(split.data.x) // reader.elements))
        totals, counts = np.zeros(batches), np.zeros(batches)
        was = net.training
        net.eval()
        try:
            with torch.set_grad_enabled(process.needs_gradient):
                for cursor in range(batches):
                    loss = process.loss(net, reader.batch(cursor), reader.keys(cursor))
                    totals[cursor], counts[cursor] = float(loss.total.detach()), float(loss.count)
        finally:
            net.train(was)
        means = totals / np.maximum(counts, 1)
        return {
            "name": LOSS,
            "value": float(totals.sum() / max(1.0, counts.sum())),
            "unit": "loss/cell",
            "kind": "estimate",
            "stderr": float(means.std(ddof=1) / math.sqrt(batches)) if batches > 1 else 0.0,
            "better": "lower",
            "count": round(counts.sum()),
        }


def fills(net: Network, prepared: Prepared) -> bool:
    """Whether windows beyond the end of a sequence are filled: where all positions are made at once, so is its end."""
    return net.spec.fills and prepared.ends


def wanted(recipe: Recipe, net: Network, speed: float | None = None) -> int:
    """Positions to validate on: a function of the recipe alone, so that every validation of a run is of one part.

    What is drawn is read several times over, and so is less of it.
    """
    if next((one.draws for one in recipe.process.likelihoods().values()), 1) > 1:
        return reads(recipe, net, speed) // likelihood.FEWEST_DRAWS * net.window
    return max(2 * net.window, allowed(recipe.trainer, net, speed))


def reads(recipe: Recipe, net: Network, speed: float | None = None) -> int:
    """Windows that a validation of what is drawn reads, counted as often as they are drawn."""
    windows = allowed(recipe.trainer, net, speed) // net.window
    if recipe.trainer.steps is not None:
        windows = min(windows, int(SHARE_READ * recipe.trainer.steps * recipe.feed.batch))
    # Where that is more than can be read, it is less: no validation takes four times what it is meant to.
    return max(windows, READS if speed is None else min(READS, max(likelihood.FEWEST_DRAWS, 4 * windows)))


def allowed(trainer: Trainer, net: Network, speed: float | None = None) -> int:
    """Positions that a validation may take."""
    if trainer.steps is not None:
        return POSITIONS
    assert trainer.minutes is not None
    expected = OPERATIONS / (6 * net.parameter_count)
    return int(SHARE * 60 * trainer.minutes * (expected if speed is None else min(speed, expected)))


def part_of(split: Split, positions: int) -> Split:
    """About so many positions of a split: whole sequences from all over it; a first one that is longer is cut."""
    sizes = split.data.sizes
    total = int(sizes.sum())
    if total <= positions:
        return split
    owner = np.arange(len(sizes)) if split.items is None else split.items
    things = int(owner[-1]) + 1
    count = int(np.clip(positions * things // total, 1, things))
    chosen = np.unique(np.linspace(0, things - 1, count).round().astype(np.int64)) if count > 1 else np.zeros(1, int)
    rows = np.flatnonzero(np.isin(owner, chosen))
    kept = np.cumsum(sizes[rows]) <= positions
    kept[owner[rows] == owner[0]] = True
    rows = rows[kept]
    lengths = np.minimum(sizes[rows], positions)
    data = _rows_of(split.data, rows, lengths)
    given = {name: _rows_of(flat, rows, flat.sizes[rows]) for name, flat in split.given.items()}
    share = _known(data) / max(1, _known(split.data))
    return dataclasses.replace(
        split,
        data=data,
        given=given,
        units=split.units * share,
        extra_nats=split.extra_nats * share,
        items=None if split.items is None else split.items[rows],
    )


def _known(flat: Flat) -> int:
    """Cells that have a value."""
    return int(flat.x.size if flat.known is None else flat.known.sum())


def _rows_of(flat: Flat, rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> Flat:
    """The first `lengths` elements of some of the sequences."""
    index = np.concatenate([np.arange(flat.starts[r], flat.starts[r] + n) for r, n in zip(rows, lengths, strict=True)])
    cells = {
        field.name: value[index]
        for field in dataclasses.fields(flat)
        if field.name != "starts" and (value := getattr(flat, field.name)) is not None
    }
    return dataclasses.replace(flat, starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), **cells)


def _error_of_part(nats: NDArray[np.float64], covers: float) -> float:
    """The standard error of a part's nats as an estimate of the whole, from the spread between its stretches."""
    blocks = int(np.clip(len(nats) // 64, 2, BLOCKS))
    sums = np.array([block.sum() for block in np.array_split(nats, blocks)])
    return float(sums.std(ddof=1) * math.sqrt(blocks * (1 - covers)))


def reading_of(split: Split, run: runs.Run) -> likelihood.Reading:
    """A split as something that can be scored by a run's model."""
    return likelihood.Reading.of(run.codec, run.space, split.data, split.given, split.units, split.extra_nats)
