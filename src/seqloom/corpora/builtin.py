"""Data that come with the package: a real text, and toys whose truth is known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits

from seqloom.codecs.base import Codec
from seqloom.codecs.label import Label
from seqloom.codecs.series import Series
from seqloom.codecs.table import Table
from seqloom.codecs.text import Characters
from seqloom.core.errors import ConfigError, DataError
from seqloom.corpora.base import Corpus, Given, Prepared
from seqloom.corpora.documents import Document, Library
from seqloom.corpora.table import Item, prepare_series, values_of
from seqloom.corpora.toys import Labels, Markov, Reverse, Var1

Name = Literal["topics", "markov", "var1", "reverse", "reverse-vectors", "labels", "labels-vectors"]
BUILTINS: tuple[str, ...] = get_args(Name)
SIZES: dict[str, int] = {"topics": 0, "markov": 200_000, "var1": 20_000}
"""How large each is unless told otherwise: characters or rows; of the others, how many pairs."""
PAIRS = 5_000
LENGTH = 8
"""Elements of each series of `reverse-vectors`: numbers have no end symbol, so all have one length."""


class Builtin(Corpus, name="builtin"):
    """A text or a toy that needs no file.

    `topics` is the reference of the Python language that CPython carries. `markov` is text of known entropy, `var1` a
    series of known likelihood with 5 % of its cells missing. `reverse` gives a sequence and wants it reversed,
    `labels` gives a class and wants its pattern, each as letters and, with `-vectors`, as numbers.
    """

    data: Name
    """Which of them."""
    size: int | None = Limits(default=None, ge=1)
    """Characters, rows or pairs; None: 200,000 characters, 20,000 rows, 5,000 pairs. `topics` has its own size."""
    seed: int = 0
    """What a toy is drawn from."""

    def declares(self) -> Mapping[str, Given]:
        if self.data == "reverse":
            return {"source": Given(codec=Characters(), enters="attend", source="pair")}
        if self.data == "reverse-vectors":
            return {"source": Given(codec=Series(), enters="attend", source="pair")}
        if self.data in {"labels", "labels-vectors"}:
            return {"label": Given(codec=Label(), enters="add", source="pair")}
        return {}

    def prepare(
        self, codec: Codec | None, given: Mapping[str, Given], notify: Callable[[str], None] | None = None
    ) -> Prepared:
        known = self.declares()
        for name, item in given.items():
            if name not in known or item.source not in {"", "pair"}:
                told = " and ".join(known) or "none"
                raise ConfigError(f"its conditions: {told}", path=f"given.{name}", hint="leave this one out")
        filled = {name: known[name] if item.codec is None else item for name, item in given.items()}
        if self._numbers:
            if codec is not None and not isinstance(codec, Series):
                raise ConfigError(f"codec={codec.name} does not read numbers", path="codec", hint="codec=series does")
            return prepare_series(self._items, self.splits, codec, filled, self._place, whole=self._pairs)
        return self._library(tuple(filled)).prepare(codec, filled, notify)

    def full(self, codec: Codec) -> list[Any]:
        if self._numbers:
            return [item.table for item in self._items]
        return [codec.typed(text) for text, _ in self._texts]

    def values(self, codec: Codec, split: str, last: int | None = None) -> Iterator[Any]:
        if self._numbers:
            return values_of(self._items, self.splits, split, self._place, last, whole=self._pairs)
        return self._library(()).values(codec, split, last)

    @property
    def _place(self) -> str:
        return f"builtin:{self.data}"

    @property
    def _numbers(self) -> bool:
        return self.data == "var1" or self.data.endswith("-vectors")

    @property
    def _pairs(self) -> bool:
        return self.data not in SIZES

    @property
    def _count(self) -> int:
        return self.size or SIZES.get(self.data, PAIRS)

    def _library(self, conditions: tuple[str, ...]) -> Library:
        documents = []
        for i, (text, beside) in enumerate(self._texts):
            digest = hashlib.sha256(text.encode()).hexdigest()
            given = {name: beside for name in conditions}
            documents.append(Document(str(i), text, digest, len(text.encode()), given))
        return Library(documents, self.splits, not self._pairs, self._place)

    @cached_property
    def _texts(self) -> list[tuple[str, str]]:
        """Each text, and what is given beside it."""
        match self.data:
            case "topics":
                return [(topics(), "")]
            case "markov":
                return [(Markov().stream(self._count, self.seed), "")]
            case "reverse":
                return [(target, source) for source, target in Reverse().pairs(self._count, self.seed)]
            case _:
                return [(text, label) for label, text in Labels().examples(self._count, self.seed)]

    @cached_property
    def _items(self) -> list[Item]:
        """Each series, and what is given beside it."""
        match self.data:
            case "var1":
                return [Item("var1", _table(Var1().series(self._count, self.seed)))]
            case "reverse-vectors":
                pairs = Reverse().vector_pairs(self._count, self.seed, (LENGTH, LENGTH))
                return [Item(str(i), _table(b), {"source": _table(a)}) for i, (a, b) in enumerate(pairs)]
            case _:
                drawn = Labels().vector_examples(self._count, self.seed)
                return [Item(str(i), _table(b), {"label": a}) for i, (a, b) in enumerate(drawn)]


def topics() -> str:
    """The Python language reference that CPython carries, as one text."""
    try:
        from pydoc_data import topics as carried
    except ImportError:
        raise DataError(
            "this Python carries no language reference (pydoc_data.topics)",
            path="builtin:topics",
            hint="your distribution leaves it out: give a text file of your own, or use builtin:markov",
        ) from None
    return "\n\n".join(carried.topics[key] for key in sorted(carried.topics))


def _table(values: NDArray[np.float64]) -> Table:
    return Table(("x", "y")[: values.shape[1]], values)
