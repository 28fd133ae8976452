"""Feed: how training reads a corpus. Every batch is a function of (seed, cursor), so a resume needs one number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from seqloom.codecs.base import Codec
from seqloom.core.config import Settings
from seqloom.core.errors import ConfigError
from seqloom.core.rng import Rng
from seqloom.corpora.base import Split
from seqloom.corpora.packed import Packed
from seqloom.sequence.batch import Batch, Condition
from seqloom.sequence.space import Space
from seqloom.training.augmentations import Augmentation, Contents, augmented, gathered
from seqloom.training.patterns import Nothing, Pattern

FURTHEST = 100_000
"""The longest horizon of a forecast."""
BUCKET = 1.1
"""The longest over the shortest sequence of a bucket."""
TOGETHER, CELLS = 16, 1 << 18
"""So many batches are read at once, and no more cells than that: what each costs by itself is then paid once."""


class Feed(Settings):
    """How training reads: window, batch, order, and what is shown."""

    window: int = Field(default=128, ge=1)
    """Positions a row of one step; for a model with a bounded reach, the most it reads at once."""
    batch: int = Field(default=32, ge=1)
    """Rows a step."""
    order: Literal["windows", "streams", "whole"] = "windows"
    """`windows`: anywhere, at random; `streams`: contiguous, state carried from step to step (truncated BPTT);
    `whole`: whole sequences, each once an epoch, those of about one length together."""
    budget: int | None = Field(default=None, ge=1)
    """Elements of one step where sequences are whole, padding included; None: window x batch."""
    long: Literal["cut", "skip", "refuse"] = "cut"
    """Of whole sequences longer than the window: train on their beginning, leave them out, or refuse."""
    pattern: Pattern = Nothing()
    """What is shown (given clean) in training."""
    context: Literal["read", "learned"] = "read"
    """Whether what the data give as context, such as the turns of a user, is `learned` as well, or `read` alone. It is
    never scored."""
    horizon: int | None = Field(default=None, ge=1, le=FURTHEST)
    """Elements that a forecast will be asked for: of rows that show something, half hide just their end of that length,
    and `forecast` goes on so far unless told otherwise. None: any."""
    shorter: float = Field(default=0.0, ge=0, le=1)
    """Share of rows that are cut to a random length, so that a model without a causal order can fill short canvases."""
    augment: list[Augmentation] = []
    """How rows are changed at random, one after another."""

    @property
    def ahead(self) -> int | None:
        """The horizon as far as one window can be asked for it: half a window where it is as long or longer."""
        return self.horizon if self.horizon is None or self.horizon < self.window else max(1, self.window // 2)


class Reader:
    """Batches of a split, by cursor, on a device."""

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
        parts: int = 0,
        device: torch.device | str = "cpu",
        codec: Codec | None = None,
        given: Mapping[str, Codec] | None = None,
    ) -> None:
        self.spec, self.seed, self.drops, self.fill, self.past, self.parts = spec, seed, drops, fill, past, parts
        self.device = torch.device(device)
        self.contents = Contents(space, codec, given)
        self.packed = Packed(split.data, space, split.given, split.aligned)
        self.rows = rows_of(spec, self.packed)
        moving = next((own.name for own in spec.augment if own.moves and not own.given), None)
        if moving is not None and spec.order == "streams":
            raise ConfigError(
                f"{moving} moves elements, and streams go on from step to step where they stand",
                path="feed.augment",
                hint="use feed.order=windows",
            )
        if spec.order == "streams":
            self.stretch = len(self.packed) // self.rows
            self.chunks = max(1, self.stretch // spec.window)
        if spec.order == "whole":
            self.epochs = Epochs(spec, self.packed.sizes, seed, even=fill)
        choices = np.maximum(1, self.packed.sizes - spec.window + 1)
        self.choices = np.concatenate([[0], np.cumsum(np.where(self.packed.sizes > 0, choices, 0))])
        self.together = self._together()
        self._block, self._batches = -1, list[Batch]()

    @property
    def elements(self) -> int:
        """Elements a step, at most."""
        return self.epochs.budget if self.spec.order == "whole" else self.rows * self.spec.window

    def begins(self, cursor: int) -> bool:
        """Whether this step starts anew rather than going on from the step before."""
        return self.spec.order != "streams" or cursor % self.chunks == 0

    def keys(self, cursor: int, steps: int = 1) -> Rng:
        """One key a row: sample number (cursor, row) of the seed, or (epoch, sequence) where sequences are whole."""
        if self.spec.order == "whole":
            epoch, sequences = self.epochs.batch(cursor)
            return Rng.of(self.seed, epoch * len(self.packed.sizes) + sequences)
        return Rng.of(self.seed, cursor * self.rows + np.arange(steps * self.rows))

    def batch(self, cursor: int) -> Batch:
        """The rows of step `cursor`, with what is shown and which conditions are dropped."""
        block, number = divmod(cursor, self.together)
        if block != self._block:
            made = self.read(block * self.together, self.together)
            self._batches = [made] if self.together == 1 else made.split(self.rows)
            self._block = block
        return self._batches[number]

    def _together(self) -> int:
        """How many steps are read at once: rows are made each by its own key, whatever stands beside them."""
        if self.spec.order == "whole" or self.packed.given or self.spec.augment:
            return 1
        cells = self.rows * (self.spec.window + self.past) * int(np.prod(self.packed.data.x.shape[1:]))
        return max(1, min(TOGETHER, CELLS // cells))

    def read(self, cursor: int, steps: int = 1) -> Batch:
        """The rows of steps from `cursor` on, one step after another."""
        key = self.keys(cursor, steps)
        if self.spec.order == "streams":
            return self._augmented(self._context(self._stream(cursor, steps)), key).to(self.device)
        batch = self._whole(cursor) if self.spec.order == "whole" else self._windows(key)
        batch = self._augmented(self._context(batch), key)
        shown = torch.from_numpy(self._ahead(key, batch, self.spec.pattern.shown(key, batch.known.numpy())))
        return replace(batch, shown=batch.shown | shown, given=self._dropped(batch, key)).to(self.device)

    def _context(self, batch: Batch) -> Batch:
        """The rows, with nothing shown where context is learned."""
        return replace(batch, shown=torch.zeros_like(batch.shown)) if self.spec.context == "learned" else batch

    def _ahead(self, key: Rng, batch: Batch, shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """What is shown, where half of the rows that show something are asked for a forecast of the horizon."""
        if self.spec.ahead is None:
            return shown
        known, length = batch.known.numpy(), batch.present.sum(1).numpy()
        cut = np.maximum(1, length - self.spec.ahead)
        cells = (slice(None), *[None] * (known.ndim - 1))
        rows = shown.reshape(len(shown), -1).any(1) & (key.at("horizon").uniform(1)[:, 0] < 0.5)
        inside = (np.arange(known.shape[1]) < cut[:, None]).reshape(known.shape[:2] + (1,) * (known.ndim - 2))
        return np.where(rows[cells], known & inside, shown)

    def _windows(self, key: Rng) -> Batch:
        """Windows at random, each within its own sequence."""
        pick = np.floor(key.at("window").uniform(1)[:, 0] * self.choices[-1]).astype(np.int64)
        owner = np.searchsorted(self.choices, pick, side="right") - 1
        start = self.packed.starts[owner] + pick - self.choices[owner]
        batch = self.packed.window(start, self.spec.window, past=self.past, fill=self.fill, parts=self.parts)
        return self._shortened(batch, key) if self.spec.shorter else batch

    def _whole(self, cursor: int) -> Batch:
        """Sequences from their beginning, as long as the longest of them, or all of the window where that is filled."""
        _, sequences = self.epochs.batch(cursor)
        longest = int(self.packed.sizes[sequences].max())
        length = self.spec.window if self.fill else min(self.spec.window, longest)
        return self.packed.window(
            self.packed.starts[sequences], length, past=self.past, fill=self.fill, parts=self.parts
        )

    def _shortened(self, batch: Batch, key: Rng) -> Batch:
        """Some rows without what lies beyond a random length of them."""
        u = key.at("shorter").uniform(2)
        length = 1 + np.floor(u[:, 1] * batch.x.shape[1])
        length = np.where(u[:, 0] < self.spec.shorter, length, batch.x.shape[1])
        inside = torch.from_numpy(np.arange(batch.x.shape[1]) < length[:, None])
        cells = inside if batch.known.ndim == 2 else inside.unsqueeze(-1)
        return replace(batch, present=batch.present & inside, known=batch.known & cells, shown=batch.shown & cells)

    def _stream(self, cursor: int, steps: int) -> Batch:
        """Chunk `cursor` of each stream, and those after it.

        Each pass over the data begins a little further on, so chunks differ.
        """
        lap, chunk = np.divmod(cursor + np.arange(steps), self.chunks)
        slack = max(0, self.stretch - self.chunks * self.spec.window)
        phase = (Rng.of(self.seed, lap).at("phase").uniform(1)[:, 0] * (slack + 1)).astype(np.int64)
        first = (phase + chunk * self.spec.window)[:, None] + np.arange(self.rows) * self.stretch  # (steps,B)
        length = min(self.spec.window, self.stretch)
        batch = self.packed.run(first.ravel(), length, past=self.past, parts=self.parts)
        return replace(batch, given=self._dropped(batch, self.keys(cursor, steps)))

    def _augmented(self, batch: Batch, key: Rng) -> Batch:
        """The rows, changed at random as the feed says, and no longer than the window."""
        for number, augmentation in enumerate(self.spec.augment):
            batch = augmented(batch, augmentation, key.fork(number), self.contents)
        return _first(batch, self.spec.window) if batch.x.shape[1] > self.spec.window else batch

    def _dropped(self, batch: Batch, key: Rng) -> dict[str, Condition]:
        """Conditions, some of which (of rows, or of sequences within rows) are replaced by the null one."""
        given = {}
        for name, condition in batch.given.items():
            rng = key.at(f"drop {name}")
            u = rng.uniform(1)[:, 0] if condition.owner is None else rng.uniform(len(condition.x))[0]
            kept = torch.from_numpy(u >= self.drops.get(name, 0.0))
            given[name] = replace(condition, present=condition.present & kept[:, None])
        return given


def _first(batch: Batch, length: int) -> Batch:
    """The first elements of rows that an augmentation has made longer than they may be."""
    index = torch.arange(length).expand(len(batch.x), -1)
    return gathered(batch, index, batch.present[:, :length])


class Epochs:
    """Which sequences each step reads: every sequence once an epoch, in an order of its own, by length in buckets.

    The bounds of the batches depend on the lengths alone; which sequences of a bucket come together, and in which order
    the batches come, is drawn anew each epoch.
    """

    def __init__(self, spec: Feed, sizes: NDArray[np.int64], seed: int, *, even: bool) -> None:
        self.seed = seed
        self.budget = spec.budget or spec.window * spec.batch
        kept = sizes > 0
        if spec.long == "skip":
            kept &= sizes <= spec.window
        self.kept = np.flatnonzero(kept)
        lengths = np.minimum(sizes[self.kept], spec.window)
        self.bucket = np.ceil(np.log(np.maximum(lengths, 1)) / np.log(BUCKET)).astype(np.int64)
        # Any sequence of a bucket may be the longest of a batch, so each counts as the longest of its bucket.
        tops = np.zeros(self.bucket.max(initial=0) + 1, np.int64)
        np.maximum.at(tops, self.bucket, lengths)
        counted = np.full(len(lengths), spec.window) if even else np.sort(tops[self.bucket])
        self.bounds = [0]
        for i, length in enumerate(counted):
            if i > self.bounds[-1] and (i + 1 - self.bounds[-1]) * length > self.budget:
                self.bounds.append(i)
        self.bounds.append(len(counted))
        self._epoch, self._order, self._batches = -1, self.kept, self.kept

    def batch(self, cursor: int) -> tuple[int, NDArray[np.int64]]:
        """The epoch of a step and the sequences that it reads."""
        epoch, step = divmod(cursor, len(self.bounds) - 1)
        if epoch != self._epoch:
            rng = Rng.of(self.seed, epoch)
            self._order = self.kept[np.lexsort((rng.at("shuffle").uniform(len(self.kept))[0], self.bucket))]
            self._batches = np.argsort(rng.at("batches").uniform(len(self.bounds) - 1)[0])
            self._epoch = epoch
        number = self._batches[step]
        return epoch, self._order[self.bounds[number] : self.bounds[number + 1]]


def rows_of(spec: Feed, packed: Packed) -> int:
    """Rows a step: no more streams than the data hold windows, and no more windows than they hold elements."""
    most = len(packed) // spec.window if spec.order == "streams" else len(packed)
    return min(spec.batch, max(1, most))
