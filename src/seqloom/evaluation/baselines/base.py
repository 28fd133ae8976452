"""Baseline: what a model should beat, made without a network, on the same split and in the same unit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqloom.core.config import Component, make
from seqloom.core.errors import SeqloomError
from seqloom.corpora.base import Corpus, Prepared
from seqloom.sequence.space import Tokens

Symbols = NDArray[np.integer[Any]]
Numbers = NDArray[np.float64]


def _nothing(share: float) -> None:
    """Progress that is not reported."""


@dataclass(frozen=True)
class BaselineScore:
    """One line below the models: total nats of the test split, and the units that they are spread over."""

    name: str
    nats: float
    count: float
    unit: str
    """Its codec's."""
    note: str

    @property
    def nats_per_unit(self) -> float:
        """Nats a unit."""
        return self.nats / self.count

    @property
    def bits_per_unit(self) -> float:
        """Bits a unit."""
        return self.nats / self.count / math.log(2)


@dataclass(frozen=True)
class Material:
    """What baselines read: the splits of a corpus, as symbols, as numbers and as bytes."""

    corpus: Corpus
    prepared: Prepared

    @property
    def units(self) -> float:
        """Units of the test split."""
        return self.prepared.splits["test"].units

    @property
    def extra_nats(self) -> float:
        """Nats that the test split costs beyond its symbols (unknown characters)."""
        return self.prepared.splits["test"].extra_nats

    @property
    def symbol_count(self) -> int:
        """How many symbols there are, the codec's unknown and the end included."""
        space = self.prepared.codec.space
        assert isinstance(space, Tokens)
        return space.size + self.prepared.ends

    @property
    def continued(self) -> bool:
        """Whether the test split follows the training split without a gap."""
        splits = self.prepared.splits
        return len(splits["train"].data) == len(splits["test"].data) == 1 and not len(splits["valid"].data.x)

    def symbols(self, split: str, most: int | None = None) -> Symbols:
        """The symbols of a split one after another, each sequence with its end symbol; the last `most` of them."""
        data, space = self.prepared.splits[split].data, self.prepared.codec.space
        assert isinstance(space, Tokens), "a codec of symbols names baselines of symbols"
        if not self.prepared.ends:
            return np.asarray(data.x if most is None else data.x[-most:])
        first = 0 if most is None else int(np.searchsorted(data.starts, max(0, data.starts[-1] - most)))
        pieces: list[Any] = []
        for begin, stop in zip(data.starts[first:-1], data.starts[first + 1 :], strict=True):
            pieces += [np.asarray(data.x[begin:stop], np.int64), np.array([space.size])]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int64)

    def wanted(self, split: str) -> NDArray[np.bool_] | None:
        """Which of the symbols of a split are scored; None: all."""
        data = self.prepared.splits[split].data
        if data.shown is None or not self.prepared.ends:
            return None if data.shown is None else ~data.shown
        return np.insert(~data.shown, data.starts[1:], True)

    def numbers(self, split: str) -> list[Numbers]:
        """The numbers (T,D) of each sequence of a split in their own units, nan where missing."""
        codec = self.prepared.codec
        arrays = [codec.numbers(value) for value in self.corpus.values(codec, split, given=self.prepared.wanted)]
        return [array for array in arrays if array is not None]

    def shown(self, split: str, last: int | None = None) -> Iterator[bytes]:
        """The sequences of a split as they are shown; no more from its end than hold `last` elements."""
        codec = self.prepared.codec
        return (codec.show(value) for value in self.corpus.values(codec, split, last, self.prepared.wanted))


@dataclass(frozen=True)
class ForecastTask:
    """What is to be forecast: so many rows after each of several pasts (T,D), by what `train` teaches and no more.

    All in the data's own units, nan where missing. `progress` gets the share that is done.
    """

    train: Sequence[Numbers]
    pasts: Sequence[Numbers]
    owners: Sequence[int]
    """Which series each past is of: those of one series are equal but for their ends."""
    horizon: int
    season: int
    """After how many rows the series resemble themselves; 1 where none was found."""
    progress: Callable[[float], None] = _nothing


@dataclass(frozen=True)
class BaselineForecast:
    """Paths (N,H,D) for each past, and how they were made; no paths where that was not possible."""

    paths: Sequence[Numbers]
    note: str
    joint: bool = True
    """Whether the numbers of one path belong together, or are only each cell's own law."""


class Baseline(Component, home="seqloom.evaluation.baselines"):
    """What a model should beat, in likelihood or in forecasts or in both. A codec names those that suit its data."""

    @property
    def label(self) -> str:
        """What it is called in a table."""
        return self.name

    def score(self, material: Material) -> tuple[float, float, str] | None:
        """Total nats of the test split, the units they are spread over, and how it was made.

        None where it has no likelihood, or would be another baseline under another name.
        """
        return None

    def forecast(self, task: ForecastTask) -> BaselineForecast | None:
        """Forecasts; None where it makes none, or would be another baseline under another name."""
        return None


def baselines_of(corpus: Corpus, prepared: Prepared) -> tuple[list[BaselineScore], list[str]]:
    """The baselines that the codec names, on the same splits; and in words which could not be taken, and why."""
    material, unit = Material(corpus, prepared), prepared.codec.unit
    scores, notes = [], []
    for name in prepared.codec.baselines:
        baseline = make(Baseline, name)
        try:
            scored = baseline.score(material)
        except (SeqloomError, MemoryError) as error:
            notes.append(f"the baseline {baseline.label} could not be taken: {error or 'the memory is used up'}")
            continue
        if scored is not None:
            scores.append(BaselineScore(baseline.label, scored[0], scored[1], unit, scored[2]))
    return scores, notes
