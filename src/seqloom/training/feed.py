"""Feed: how training reads a corpus. Every batch is a function of (seed, cursor), so a resume needs one number."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from seqloom.core.config import Settings
from seqloom.core.rng import Rng
from seqloom.corpora.base import Split
from seqloom.corpora.packed import Packed
from seqloom.sequence.batch import Batch, Condition
from seqloom.sequence.space import Space
from seqloom.training.patterns import Nothing, Pattern


class Feed(Settings):
    """How training reads: window, batch, order, and what is shown."""

    window: int = Field(default=128, ge=1)
    """Positions a row of one step; for a model with a bounded reach, all it will ever see at once."""
    batch: int = Field(default=32, ge=1)
    """Rows a step."""
    order: Literal["windows", "streams"] = "windows"
    """`windows`: anywhere, at random; `streams`: contiguous, state carried from step to step (truncated BPTT)."""
    pattern: Pattern = Nothing()
    """What is shown (given clean) in training."""
    shorter: float = Field(default=0.0, ge=0, le=1)
    """Share of rows that are cut to a random length, so that a model that sees all at once can fill short canvases."""


class Reader:
    """Batches of a split, by cursor."""

    def __init__(
        self,
        spec: Feed,
        split: Split,
        space: Space,
        seed: int,
        drops: dict[str, float],
        *,
        fill: bool = False,
        past: int = 0,
    ) -> None:
        self.spec, self.seed, self.drops, self.fill, self.past = spec, seed, drops, fill, past
        self.packed = Packed(split.data, space, split.given)
        self.rows = min(spec.batch, max(1, len(self.packed)))
        if spec.order == "streams":
            self.stretch = len(self.packed) // self.rows
            self.chunks = max(1, self.stretch // spec.window)
        choices = np.maximum(1, self.packed.sizes - spec.window + 1)
        self.choices = np.concatenate([[0], np.cumsum(np.where(self.packed.sizes > 0, choices, 0))])

    @property
    def elements(self) -> int:
        """Elements a step, at most."""
        return self.rows * self.spec.window

    def begins(self, cursor: int) -> bool:
        """Whether this step starts anew rather than going on from the step before."""
        return self.spec.order != "streams" or cursor % self.chunks == 0

    def keys(self, cursor: int) -> Rng:
        """One key a row: sample number (cursor, row) of the seed."""
        return Rng.of(self.seed, cursor * self.rows + np.arange(self.rows))

    def batch(self, cursor: int) -> Batch:
        """The rows of step `cursor`, with what is shown and which conditions are dropped."""
        key = self.keys(cursor)
        if self.spec.order == "streams":
            return self._stream(cursor)
        pick = np.floor(key.at("window").uniform(1)[:, 0] * self.choices[-1]).astype(np.int64)
        owner = np.searchsorted(self.choices, pick, side="right") - 1
        start = self.packed.starts[owner] + pick - self.choices[owner]
        batch = self.packed.window(start, self.spec.window, past=self.past, fill=self.fill)
        if self.spec.shorter:
            batch = self._shortened(batch, key)
        shown = torch.from_numpy(self.spec.pattern.shown(key, batch.known.numpy()))
        return replace(batch, shown=batch.shown | shown, given=self._dropped(batch, key))

    def _shortened(self, batch: Batch, key: Rng) -> Batch:
        """Some rows without what lies beyond a random length of them."""
        u = key.at("shorter").uniform(2)
        length = 1 + np.floor(u[:, 1] * batch.x.shape[1])
        length = np.where(u[:, 0] < self.spec.shorter, length, batch.x.shape[1])
        inside = torch.from_numpy(np.arange(batch.x.shape[1]) < length[:, None])
        cells = inside if batch.known.ndim == 2 else inside.unsqueeze(-1)
        return replace(batch, present=batch.present & inside, known=batch.known & cells, shown=batch.shown & cells)

    def _stream(self, cursor: int) -> Batch:
        """Chunk `cursor` of each stream; each pass over the data begins a little further on, so chunks differ."""
        lap, chunk = divmod(cursor, self.chunks)
        slack = self.stretch - self.chunks * self.spec.window
        phase = int(Rng.of(self.seed, lap).at("phase").uniform(1)[0, 0] * (slack + 1))
        first = np.arange(self.rows) * self.stretch + phase + chunk * self.spec.window
        place = first[:, None] + np.arange(min(self.spec.window, self.stretch))
        return self.packed.batch(place, np.ones(place.shape, bool), past=self.past)

    def _dropped(self, batch: Batch, key: Rng) -> dict[str, Condition]:
        """Conditions, with some rows' replaced by the null one."""
        given = {}
        for name, condition in batch.given.items():
            kept = torch.from_numpy(key.at(f"drop {name}").uniform(1)[:, 0] >= self.drops.get(name, 0.0))
            given[name] = Condition(condition.x, condition.present & kept[:, None])
        return given
