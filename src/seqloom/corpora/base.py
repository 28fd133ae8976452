"""Corpus: the things themselves, where they are, their splits and a fingerprint; and what training reads of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits
from pydantic import field_validator

from seqloom.codecs.base import Codec
from seqloom.core.config import Component, Settings
from seqloom.sequence.canvas import Encoded

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Flat:
    """Sequences laid end to end: `x` (N,) or (N,D), `starts` (S+1,) where each begins, and which cells are known.

    Tokens are memory-mapped in the smallest unsigned type that holds them; vectors are float32 arrays.
    `known` is None where every cell is, `shown` (context that is read and never scored) where none is.
    """

    x: NDArray[Any]
    starts: NDArray[np.int64]
    known: NDArray[np.bool_] | None = None
    shown: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1

    @classmethod
    def of(cls, items: Sequence[Encoded], like: Encoded) -> Self:
        """The sequences one after another; `like` says the type and width of their cells where there are none."""
        starts = np.concatenate([[0], np.cumsum([len(item.x) for item in items])]).astype(np.int64)
        x = np.concatenate([like.x[:0], *(item.x for item in items)])
        known = np.concatenate([like.known[:0], *(item.known for item in items)])
        shown = None
        if any(item.shown is not None for item in items):
            cells = (np.zeros_like(item.known) if item.shown is None else item.shown for item in items)
            shown = np.concatenate([like.known[:0], *cells])
        return cls(x, starts, None if known.all() else known, shown)


@dataclass(frozen=True)
class Split:
    """One split, encoded: the sequences, the conditions beside them (one sequence each a sequence), and its totals."""

    data: Flat
    given: Mapping[str, Flat]
    units: float
    """Units (bytes, known values) in it."""
    extra_nats: float
    """Nats beyond its elements (Codec.extra_nats)."""
    fingerprint: str
    """Of the raw content of this split."""


@dataclass(frozen=True)
class Prepared:
    """A corpus ready for training: fitted codecs, encoded splits, and what was guessed or mended, in words."""

    codec: Codec
    given: Mapping[str, Codec]
    splits: Mapping[str, Split]
    ends: bool
    """Whether the things end (documents), or are one stream."""
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What `seqloom data` says: counts, alphabet, missing cells, columns, the time step."""


class Given(Settings):
    """A condition: how it becomes numbers, where it enters the network, and where it comes from in the data."""

    codec: Codec | None = None
    """How the condition becomes numbers; None: told from the data (a label for a folder or a column of words)."""
    enters: Literal["add", "align", "attend"] | None = None
    """`add`: to every position (a label); `align`: element by element beside the sequence; `attend`: a sequence that
    positions attend to. None: as its codec says."""
    source: str = ""
    """Where it comes from: `folder` (the name of the file's folder), `column:NAME`, or `pair` (a builtin's own)."""
    encoder: dict[str, Any] | None = None
    """Settings of a backbone of its own, laid over those of the network's; None: what is attended to is read by the
    network's own mixers, and the rest enters as it is."""
    drop: float = Limits(default=0.1, ge=0, lt=1)
    """Share of training rows whose condition is replaced by the null one, so that guidance is possible."""


class Corpus(Component, home="seqloom.corpora"):
    """Where the things are and how they are split."""

    splits: tuple[float, float, float] = (0.9, 0.05, 0.05)
    """Shares of train, valid and test, by position in one stream or by document in a folder."""

    @field_validator("splits")
    @classmethod
    def _shares(cls, splits: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(splits) < 0 or abs(sum(splits) - 1) > 1e-6:
            raise ValueError("the shares of train, valid and test must not be negative and add up to 1")
        return splits

    def declares(self) -> Mapping[str, Given]:
        """Conditions that the data bring with them: what is trained with where the user says nothing else."""
        return {}

    @abstractmethod
    def prepare(
        self, codec: Codec | None, given: Mapping[str, Given], notify: Callable[[str], None] | None = None
    ) -> Prepared:
        """Fit the codecs on the training split, encode everything once, and say what was guessed."""

    @abstractmethod
    def full(self, codec: Codec) -> list[Any]:
        """The whole values, splits undone (a forecast goes on from the end of the file)."""

    @abstractmethod
    def values(self, codec: Codec, split: str, last: int | None = None) -> Iterator[Any]:
        """The values of one split as the files have them, one a sequence: what baselines and reports read.

        With `last` no more from the end of the split than holds so many elements.
        """


def describe(prepared: Prepared) -> dict[str, Any]:
    """What a corpus is, for a person or as JSON: facts, splits with their sizes and fingerprints, what was guessed."""
    return {
        **prepared.facts,
        "codec": prepared.codec.name,
        "conditions": {name: codec.name for name, codec in prepared.given.items()},
        "splits": {
            name: {
                "sequences": len(split.data),
                "elements": int(split.data.starts[-1]),
                "units": split.units,
                "unit": prepared.codec.unit,
                "fingerprint": split.fingerprint,
            }
            for name, split in prepared.splits.items()
        },
        "notes": list(prepared.notes),
    }
