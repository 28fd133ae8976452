"""Likelihood of encoded sequences: carried, sliding or in windows, exact or a bound, with its standard error."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from seqloom.core.errors import DataError
from seqloom.core.rng import Rng
from seqloom.corpora.base import Flat
from seqloom.corpora.packed import Packed, Positions, in_batches
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.base import Likelihood, Process
from seqloom.sequence.batch import Batch
from seqloom.sequence.query import Score
from seqloom.sequence.space import Space, Tokens

Progress = Callable[[float], None]
CHUNK = 256
"""Positions a call when a stream is read."""
HEARD = 256
"""Positions that a stream hears, unscored, before its own begin: the state has settled by then."""
ROWS = 32
ENOUGH = 256
"""Windows, counted as often as they are drawn, that a drawn value is averaged over at least."""


@dataclass(frozen=True)
class Reading:
    """What is scored: encoded sequences with their conditions, and what their elements mean to a person.

    `units` and `extra_nats` are those of the whole (Split); `log_scales` (D,) the log of the scale of each channel
    of vectors. `most` limits a quick validation to about so many positions.
    """

    data: Flat
    space: Space
    unit: str
    units: float
    extra_nats: float = 0.0
    log_scales: NDArray[np.float64] | None = None
    given: Mapping[str, Flat] | None = None
    most: int | None = None


class _Tally:
    """All nats, those at each place of the packed where they are asked for, and what was counted."""

    def __init__(self, packed: Packed, reading: Reading, tokens: bool) -> None:
        self.packed, self.reading = packed, reading
        self.nats = 0.0
        self.cells = np.zeros(len(packed)) if tokens else None
        self.places = 0
        self.values = np.zeros(0 if reading.log_scales is None else len(reading.log_scales))

    def add(self, place: Positions, counted: NDArray[np.bool_], nats: torch.Tensor, batch: Batch) -> None:
        """Add the nats (B,T) of the counted places."""
        here = nats.double().cpu().numpy()[counted]
        self.nats += float(here.sum())
        if self.cells is not None:
            self.cells[place[counted]] += here
        self.places += int(counted.sum())
        if self.reading.log_scales is not None:
            self.values += batch.wanted.cpu().numpy()[counted].sum(0)

    def score(self, likelihood: Likelihood, context: str, stderr: float, **more: int) -> Score:
        """The score of what was counted, with the extra_nats that belongs to it."""
        reading = self.reading
        if isinstance(reading.space, Tokens):
            share = self.places / max(1, len(self.packed))
            count, extra_nats = reading.units * share, reading.extra_nats * share
        else:
            count = float(self.values.sum())
            extra_nats = 0.0 if reading.log_scales is None else float(self.values @ reading.log_scales)
        return Score(
            nats=self.nats + extra_nats,
            count=count,
            unit=reading.unit,
            kind=likelihood.kind,
            stderr=stderr,
            context=context,
            surprisal=None if self.cells is None else self.cells.tolist(),
            **more,
        )


@torch.inference_mode()
def score(
    net: Network,
    process: Process,
    reading: Reading,
    name: str = "likelihood",
    *,
    full: bool = False,
    tokens: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    windows: int | None = None,
) -> Score:
    """The likelihood `name` of everything in `reading`.

    `full` scores all windows where an expensive likelihood would take some, `windows` limits these further; `tokens`
    keeps the nats of each position; `progress` gets the share that is done. Where a value is drawn, the draws are keyed
    by `seed`.
    """
    likelihood = process.likelihoods()[name]
    if windows is not None and likelihood.share is not None:
        likelihood = replace(likelihood, share=min(likelihood.share, windows))
    packed = Packed(reading.data, reading.space, reading.given)
    if not len(packed):
        raise DataError("there is nothing to score", hint="the text, or the split, is empty")
    was = net.training
    net.eval()
    try:
        if likelihood.reads == "windows":
            return _windows(net, process, likelihood, packed, reading, full, tokens, seed, progress)
        if net.reach is not None:
            return _sliding(net, likelihood, packed, reading, tokens, progress)
        assert isinstance(process, Autoregressive)
        return _streams(net, process, likelihood, packed, reading, tokens, progress)
    finally:
        net.train(was)


def _streams(
    net: Network,
    process: Autoregressive,
    likelihood: Likelihood,
    packed: Packed,
    reading: Reading,
    tokens: bool,
    progress: Progress | None,
) -> Score:
    """Carried state: stretches side by side, each of which first hears what went before it.

    Where there are conditions each sequence is a stretch of its own, since its condition holds for it alone.
    """
    total = len(packed) if reading.most is None else min(len(packed), reading.most)
    if reading.given:
        begin, end = packed.starts[:-1], packed.starts[1:]
        heard = begin
    else:
        count = int(np.clip(total // (8 * HEARD), 1, 2 * ROWS))
        begin = np.arange(count) * -(-total // count)
        end = np.append(begin[1:], total)
        heard = np.maximum(begin - HEARD, 0)
    tally = _Tally(packed, reading, tokens)
    kept = begin < np.minimum(end, total)
    begin, end, heard = begin[kept], end[kept], heard[kept]
    for group in in_batches(np.arange(len(begin)), 2 * ROWS):
        state = process.start(net, len(group))
        for at in range(0, int((end - heard)[group].max()), CHUNK):
            place = heard[group, None] + np.arange(at, at + CHUNK)
            inside = place < end[group, None]
            place, inside = place[:, : int(inside.sum(1).max())], inside[:, : int(inside.sum(1).max())]
            batch = packed.batch(np.minimum(place, end[group, None] - 1), inside)
            if at == 0:
                begins = batch.begins.clone()
                begins[:, 0] = True
                batch = replace(batch, begins=begins)
            nats, state = likelihood.nats(net, batch, Rng.of(0, group), state)
            tally.add(place, inside & (place >= begin[group, None]), nats, batch)
            if progress:
                progress(min(1.0, (group[0] + len(group) * min(1.0, (at + CHUNK) / (end - heard).max())) / len(begin)))
    return tally.score(likelihood, "carried", 0.0)


def _sliding(
    net: Network, likelihood: Likelihood, packed: Packed, reading: Reading, tokens: bool, progress: Progress | None
) -> Score:
    """Windows that overlap by half: each position is scored once, with at least half a window before it."""
    assert net.reach is not None
    window, half = net.reach, max(1, net.reach // 2)
    starts = packed.windows(window, half)
    if reading.most is not None:
        starts = starts[: max(1, reading.most // half)]
    first = starts == packed.starts[packed.sequence(starts)]
    tally = _Tally(packed, reading, tokens)
    for rows in in_batches(np.arange(len(starts)), max(1, ROWS * 128 // window)):
        batch = packed.window(starts[rows], window)
        begins = batch.begins.clone()
        begins[:, 0] = True
        nats, _ = likelihood.nats(net, replace(batch, begins=begins), Rng.of(0, rows), None)
        offset = np.arange(window)
        counted = batch.present.numpy() & (first[rows, None] | (offset >= window - half))
        tally.add(starts[rows, None] + offset, counted, nats, batch)
        if progress:
            progress((rows[-1] + 1) / len(starts))
    return tally.score(likelihood, f"sliding {window}/{half}", 0.0)


def _windows(
    net: Network,
    process: Process,
    likelihood: Likelihood,
    packed: Packed,
    reading: Reading,
    full: bool,
    tokens: bool,
    seed: int,
    progress: Progress | None,
) -> Score:
    """Independent windows; a value that is drawn is averaged over repetitions, whose spread is its error."""
    window = net.window
    starts = packed.windows(window, window)
    if reading.most is not None:
        starts = starts[: max(1, reading.most // window)]
    left_out = 0
    if likelihood.whole:
        starts, left_out = _complete(packed, starts, window)
    sampled = likelihood.share is not None and not full and len(starts) > likelihood.share
    if sampled and likelihood.share is not None:
        starts = starts[np.linspace(0, len(starts) - 1, likelihood.share).round().astype(np.int64)]
    if not len(starts):
        raise DataError(
            "every window has absent cells, so the bound cannot be taken",
            hint="train with a shorter feed.window, or fill the gaps first",
        )
    tally = _Tally(packed, reading, tokens)
    draws = _repetitions(likelihood, len(starts), reading.most, len(packed))
    totals, by_window = np.zeros(draws), np.zeros(len(starts))
    fill = isinstance(reading.space, Tokens) and reading.space.ends
    for rows in in_batches(np.arange(len(starts)), max(1, 2 * ROWS * 128 // window)):
        batch = packed.window(starts[rows], window, fill=fill)
        real = packed.window(starts[rows], window).present.numpy()
        mean = torch.zeros(batch.present.shape, dtype=torch.float64)
        for draw in range(draws):
            nats, _ = likelihood.nats(net, batch, Rng.of(seed, starts[rows]).fork(draw), None)
            totals[draw] += float(nats.double().sum())
            mean += nats.double() / draws
            if progress:
                progress((rows[0] + len(rows) * (draw + 1) / draws) / len(starts))
        by_window[rows] = mean.sum(1).numpy()
        # What the end symbols beyond a short window cost is charged to its last real position.
        beyond = mean.masked_fill(torch.from_numpy(real), 0.0).sum(1)
        last = torch.from_numpy(real.sum(1) - 1)
        mean[torch.arange(len(rows)), last] += beyond
        tally.add(starts[rows, None] + np.arange(window), real, mean, batch)
    if sampled:
        stderr = float(by_window.std(ddof=1) * math.sqrt(len(starts)))
    else:
        stderr = float(totals.std(ddof=1) / math.sqrt(draws)) if draws > 1 else 0.0
    return tally.score(likelihood, f"windows {window}", stderr, draws=draws, left_out=left_out)


def _repetitions(likelihood: Likelihood, windows: int, most: int | None, there: int) -> int:
    """How often a value is drawn: more often where there are only few windows; twice where time is short."""
    if likelihood.draws == 1:
        return 1
    if most is None:
        return max(likelihood.draws, -(-ENOUGH // windows))
    return 2 if most < there else max(2, -(-ENOUGH // 4 // windows))


def _complete(packed: Packed, starts: Positions, window: int) -> tuple[Positions, int]:
    """The windows in which every cell is known, and how many are not."""
    kept: list[NDArray[np.bool_]] = []
    for rows in in_batches(starts, 256):
        batch = packed.window(rows, window)
        kept.append((batch.known == batch.present[..., None]).flatten(1).all(1).numpy())
    chosen = np.concatenate(kept) if kept else np.zeros(0, bool)
    return starts[chosen], int((~chosen).sum())
