"""Likelihood of encoded sequences: carried, sliding or in windows, exact or a bound, with its standard error."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqloom.codecs.base import Codec
from seqloom.core.errors import DataError
from seqloom.core.rng import Rng
from seqloom.corpora.base import Flat
from seqloom.corpora.packed import Packed, Positions, in_batches
from seqloom.metrics.base import Metric, MetricRecord, View, metric_of
from seqloom.network.network import Network
from seqloom.processes.base import Likelihood, Process
from seqloom.sequence.batch import Batch
from seqloom.sequence.query import Score
from seqloom.sequence.space import Space, Tokens, Vectors
from seqloom.sequence.windows import slide, stride

Progress = Callable[[float], None]
CHUNK = 256
"""Positions a call when a stream is read."""
WARMUP = 256
"""Positions that a stream reads, unscored, before its own begin: the state has settled by then."""
ROWS = 32
READS = 256
"""Windows, counted as often as they are drawn, that a drawn value is averaged over at least."""
BLOCKS = 64
"""Parts of what is scored whose spread says how far the value would be another on other data of the kind."""
FEWEST_DRAWS = 4
"""Draws of each window where fewer reads were asked for: their spread still says how far the mean may be off."""


@dataclass(frozen=True)
class Reading:
    """What is scored: encoded sequences with their conditions, and what their elements mean to a person.

    `units` and `extra_nats` are those of the whole (Split); `log_slopes` what each number of vectors (N,D) costs
    beyond its density, for densities are in the units of the data.
    """

    data: Flat
    space: Space
    unit: str
    units: float
    extra_nats: float = 0.0
    log_slopes: Callable[[NDArray[Any]], NDArray[np.float64]] | None = None
    given: Mapping[str, Flat] | None = None
    bits: bool = False
    """Whether the likelihood is shown in bits."""
    ambiguous: bool = False
    """Whether a thing could be encoded in other ways, so that a likelihood is a bound on that of the thing."""
    loses: str = ""
    """What of a thing is not in its elements."""

    @classmethod
    def of(
        cls, codec: Codec, space: Space, data: Flat, given: Mapping[str, Flat], units: float, extra_nats: float
    ) -> Reading:
        """Things of a codec, encoded, with what it says of their likelihood."""
        return cls(
            data,
            space,
            codec.unit,
            units,
            extra_nats,
            codec.log_slopes,
            given or None,
            codec.bits,
            codec.ambiguous,
            codec.loses,
        )

    @classmethod
    def of_rows(cls, codec: Codec, space: Space, rows: Sequence[Any], given: Mapping[str, Flat]) -> Reading:
        """Values of single sequences, beside the conditions of each."""
        flat = Flat.of([codec.encode(row) for row in rows])
        return cls.of(codec, space, flat, given, sum(map(codec.count, rows)), sum(map(codec.extra_nats, rows)))


class _Tally:
    """All nats, those at each position of the packed where they are asked for, and what was counted."""

    def __init__(self, packed: Packed, reading: Reading, tokens: bool) -> None:
        self.packed, self.reading = packed, reading
        self.nats = 0.0
        shown = reading.data.shown
        self.wanted = len(packed) - (0 if shown is None or shown.ndim > 1 else int(shown.sum()))
        """Positions of all that are no context."""
        self.cells = np.zeros(len(packed)) if tokens else None
        self.positions = 0
        self.edges = _edges(packed)
        self.blocks = np.zeros((2, BLOCKS))
        """Nats of equal parts of all positions, and how many positions that are no context were counted in each."""
        self.values = np.zeros(0 if isinstance(reading.space, Tokens) else reading.space.dim)

    def add(self, position: Positions, counted: NDArray[np.bool_], nats: torch.Tensor, batch: Batch) -> None:
        """Add the nats (B,T) of the counted positions."""
        counted_nats = nats.double().cpu().numpy()[counted]
        if len(self.values):
            known = batch.wanted.cpu().numpy()[counted]  # (N,D)
            self.values += known.sum(0)
            if self.reading.log_slopes is not None:
                wide = self.reading.data.x.shape[1]  # without the end flag
                numbers = batch.x.cpu().numpy()[counted][:, :wide]
                counted_nats = counted_nats + (known[:, :wide] * self.reading.log_slopes(numbers)).sum(1)
        self.nats += float(counted_nats.sum())
        if self.cells is not None:
            self.cells[position[counted]] += counted_nats
        own = ~batch.shown.cpu().numpy()[counted] if batch.shown.ndim == 2 else np.ones(len(counted_nats), bool)
        self.positions += int(own.sum())
        block = np.searchsorted(self.edges, position[counted], side="right")
        self.blocks[0] += np.bincount(block, counted_nats, BLOCKS)
        self.blocks[1] += np.bincount(block, own, BLOCKS)

    def score(self, likelihood: Likelihood, context: str, stderr: float, **more: int) -> Score:
        """The score of what was counted, with the extra_nats that belongs to it."""
        reading = self.reading
        if reading.space.symbolic:
            share = self.positions / max(1, self.wanted)
            count, extra_nats = reading.units * share, reading.extra_nats * share
        else:
            channels = counted_channels(reading.space)
            # The units of what was counted: all of them, or as large a share as that of the values.
            count = reading.units * float(self.values @ channels) / max(1.0, float(wanted_cells(reading) @ channels))
            extra_nats = 0.0  # the scales are counted cell by cell
        if not count:
            hint = "no cell of it is known, or all is context: of a conversation, the turns but those of codec.scored"
            raise DataError("there is nothing to score", hint=hint)
        return Score(
            nats=self.nats + extra_nats,
            count=count,
            unit=reading.unit,
            kind="bound" if reading.ambiguous and likelihood.kind == "exact" else likelihood.kind,
            stderr=stderr,
            context=context,
            surprisal=None if self.cells is None else self.cells.tolist(),
            blocks=tuple(zip(*self.blocks[:, self.blocks[1] > 0].tolist(), strict=True)),
            measure=reading.space.measure,
            bits=reading.bits,
            loses=reading.loses,
            **more,
        )


def _edges(packed: Packed) -> NDArray[np.int64]:
    """Where the blocks of an interval over the data end: of many things at the ends of things, else anywhere."""
    edges = np.arange(1, BLOCKS) * len(packed) // BLOCKS
    if len(packed.sizes) < 2 * BLOCKS:
        return edges
    return packed.starts[np.searchsorted(packed.starts, edges)]


def wanted_cells(reading: Reading) -> NDArray[np.float64]:
    """How often each number of a vector (D,) is known and no context, the end flag included, in all that is read."""
    data, space = reading.data, reading.space
    cells = np.ones(data.x.shape, bool) if data.known is None else data.known
    if data.shown is not None:
        cells = cells & ~data.shown
    return np.append(cells.sum(0), [len(data.x)] * space.ends).astype(np.float64)


def counted_channels(space: Space) -> NDArray[np.float64]:
    """How many values each number of a vector (D,) is: a category counts once, the end flag not at all."""
    assert isinstance(space, Vectors)
    counts = [
        1.0 if field.support != "category" or i == 0 else 0.0 for field in space.fields for i in range(field.width)
    ]
    return np.array(counts + [0.0] * space.ends)


def score(
    net: Network,
    process: Process,
    reading: Reading,
    name: str | Likelihood = "likelihood",
    *,
    full: bool = False,
    tokens: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    windows: int | None = None,
    reads: int | None = None,
) -> Score:
    """The likelihood `name`, or another, of everything in `reading`.

    `full` scores all windows where an expensive likelihood would take some, `windows` limits these further; `tokens`
    keeps the nats of each position; `progress` gets the share that is done. Where a value is drawn, the draws are keyed
    by `seed`, and `reads` is about how many windows are read, counted as often as they are drawn (None: enough).
    """
    likelihood = name if isinstance(name, Likelihood) else process.likelihoods()[name]
    share = None if full or likelihood.share is None else min(likelihood.share, windows or likelihood.share)
    likelihood = replace(likelihood, share=share)
    packed = Packed(reading.data, reading.space, reading.given, net.aligned)
    if not len(packed):
        raise DataError("there is nothing to score", hint="the text, or the split, is empty")
    tally, report = _Tally(packed, reading, tokens), progress or _silent
    training = net.training
    net.eval()
    try:
        with nullcontext() if process.needs_gradient or likelihood.gradient else torch.inference_mode():
            if likelihood.reads == "windows":
                return _windows(net, process, likelihood, tally, seed, reads, report)
            if net.reach is not None:
                return _sliding(net, likelihood, tally, report)
            return _streams(net, process, likelihood, tally, report)
    finally:
        net.train(training)


def _silent(share: float) -> None:
    """Drop a share that is done: nobody asked for it."""


def nats_of_each(net: Network, process: Process, reading: Reading, name: str) -> NDArray[np.float64]:
    """What each of the sequences costs by itself (S,)."""
    found = score(net, process, reading, name, full=True, tokens=True)
    packed = Packed(reading.data, reading.space)
    total = np.concatenate([[0.0], np.cumsum(found.surprisal or ())])
    return np.diff(total[packed.starts])


def _streams(net: Network, process: Process, likelihood: Likelihood, tally: _Tally, progress: Progress) -> Score:
    """Carried state: stretches side by side, each of which first reads some of what went before it, unscored.

    A sequence that begins within a stretch begins anew, so the whole is the sum of its sequences. Where there are
    conditions each sequence is a stretch of its own, since its condition holds for it alone.
    """
    packed, device = tally.packed, _device(net)
    total = len(packed)
    if tally.reading.given:
        begin, end = packed.starts[:-1], packed.starts[1:]
        first = begin
    else:
        count = int(np.clip(total // (8 * WARMUP), 1, 2 * ROWS))
        begin = np.arange(count) * -(-total // count)
        end = np.append(begin[1:], total)
        first = np.maximum(begin - WARMUP, 0)
    kept = begin < np.minimum(end, total)
    begin, end, first = begin[kept], end[kept], first[kept]
    for group in in_batches(np.arange(len(begin)), 2 * ROWS):
        state = process.start(net, len(group))
        for offset in range(0, int((end - first)[group].max()), CHUNK):
            position = first[group, None] + np.arange(offset, offset + CHUNK)
            inside = position < end[group, None]
            position, inside = position[:, : int(inside.sum(1).max())], inside[:, : int(inside.sum(1).max())]
            batch = packed.batch(np.minimum(position, end[group, None] - 1), inside, past=process.past)
            nats, state = likelihood.nats(net, batch.to(device), Rng.of(0, group), state)
            tally.add(position, inside & (position >= begin[group, None]), nats, batch)
            read = min(1.0, (offset + CHUNK) / (end - first).max())
            progress(min(1.0, (group[0] + len(group) * read) / len(begin)))
    return tally.score(likelihood, "carried", 0.0)


def _sliding(net: Network, likelihood: Likelihood, tally: _Tally, progress: Progress) -> Score:
    """Windows that overlap by half: each position is scored once, with at least half a window before it."""
    assert net.reach is not None
    packed, device = tally.packed, _device(net)
    window, half = net.reach, stride(net.reach)
    starts = packed.windows(window, half)
    first = packed.starts[packed.sequence(starts)]
    for rows in in_batches(np.arange(len(starts)), max(1, ROWS * 128 // window)):
        batch = packed.window(starts[rows], window)
        begins = batch.begins.clone()
        begins[:, 0] = True
        nats, _ = likelihood.nats(net, replace(batch, begins=begins).to(device), Rng.of(0, rows), None)
        position = starts[rows, None] + np.arange(window)  # (B,T)
        counted = slide(position - first[rows, None], window) == (starts - first)[rows, None]
        tally.add(position, batch.present.numpy() & counted, nats, batch)
        progress((rows[-1] + 1) / len(starts))
    return tally.score(likelihood, f"sliding {window}/{half}", 0.0)


def _windows(
    net: Network,
    process: Process,
    likelihood: Likelihood,
    tally: _Tally,
    seed: int,
    reads: int | None,
    progress: Progress,
) -> Score:
    """Independent windows; a value that is drawn is averaged over repetitions, whose spread is its error."""
    packed, window = tally.packed, net.window
    every = starts = packed.windows(window, window)
    if likelihood.share is not None and len(every) > likelihood.share:
        starts = every[np.linspace(0, len(every) - 1, likelihood.share).round().astype(np.int64)]
    draws = repetitions(likelihood, len(starts), reads)
    totals, by_window = np.zeros(draws), np.zeros(len(starts))
    fill, past, device = net.spec.fills and packed.space.ends, process.past, _device(net)
    for rows in in_batches(np.arange(len(starts)), max(1, 2 * ROWS * 128 // window)):
        batch = packed.window(starts[rows], window, past=past, fill=fill)
        there = batch.to(device)
        real = packed.window(starts[rows], window).present.numpy()
        mean = torch.zeros(batch.present.shape, dtype=torch.float64)
        for draw in range(draws):
            nats, _ = likelihood.nats(net, there, Rng.of(seed, starts[rows]).fork(draw), None)
            nats = nats.double().cpu()
            totals[draw] += float(nats.sum())
            mean += nats / draws
            progress((rows[0] + len(rows) * (draw + 1) / draws) / len(starts))
        by_window[rows] = mean.sum(1).numpy()
        # What the end symbols beyond a short window cost is charged to its last real position.
        beyond = mean.masked_fill(torch.from_numpy(real), 0.0).sum(1)
        last = torch.from_numpy(real.sum(1) - 1)
        mean[torch.arange(len(rows)), last] += beyond
        tally.add(starts[rows, None] + np.arange(window), real, mean, batch)
    if len(starts) < len(every):
        stderr = float(by_window.std(ddof=1) * math.sqrt(len(starts)))
    else:
        stderr = float(totals.std(ddof=1) / math.sqrt(draws)) if draws > 1 else 0.0
    return tally.score(likelihood, f"windows {window}", stderr, draws=draws)


def repetitions(likelihood: Likelihood, windows: int, reads: int | None = None) -> int:
    """How often a value is drawn: more often where there are only few windows."""
    if likelihood.draws == 1:
        return 1
    enough = max(likelihood.draws, -(-READS // windows))
    return enough if reads is None else min(enough, max(FEWEST_DRAWS, -(-reads // windows)))


def _device(net: Network) -> torch.device:
    return next(net.parameters()).device


class LikelihoodMetric(Metric, name="likelihood"):
    """All likelihoods that the process has, or the mean loss of a process that has none."""

    def measure(self, view: View) -> list[MetricRecord]:
        names = list(view.process.likelihoods())
        if not names:
            return [mean_loss(view.network, view.process, view.reading, seed=view.seed)]
        records = []
        for i, name in enumerate(names):

            def report(share: float, done: int = i) -> None:
                view.progress((done + share) / len(names))

            value = score_of(view, name, report)
            records.append(metric_of(name, value) | {"blocks": value.in_blocks})
        return records


def score_of(view: View, which: str | Likelihood, progress: Progress, reads: int | None = None) -> Score:
    """What a metric is to score: a likelihood of the process by its name, or one of its own."""
    return score(
        view.network,
        view.process,
        view.reading,
        which,
        full=view.full,
        seed=view.seed,
        progress=progress,
        windows=view.windows,
        reads=reads,
    )


def mean_loss(net: Network, process: Process, reading: Reading, *, seed: int = 0) -> MetricRecord:
    """The mean training loss a cell over windows that cover everything, each by itself."""
    packed = Packed(reading.data, reading.space, reading.given, net.aligned)
    fill = net.spec.fills and reading.space.ends
    starts = packed.windows(net.window, net.window)
    total, count, means = 0.0, 0.0, []
    training = net.training
    net.eval()
    try:
        with torch.set_grad_enabled(process.needs_gradient):
            for rows in in_batches(starts, ROWS):
                batch = packed.window(rows, net.window, past=process.past, fill=fill)
                loss = process.loss(net, batch.to(_device(net)), Rng.of(seed, rows), process.start(net, len(rows)))
                total, count = total + float(loss.total.detach()), count + float(loss.count)
                means.append(float(loss.total.detach()) / max(1.0, float(loss.count)))
    finally:
        net.train(training)
    error = float(np.std(means, ddof=1) / math.sqrt(len(means))) if len(means) > 1 else 0.0
    return {
        "name": "loss",
        "value": total / max(1.0, count),
        "unit": "loss/cell",
        "kind": "estimate",
        "stderr": error,
        "better": "lower",
        "count": round(count),
        "context": f"windows {net.window}",
    }
