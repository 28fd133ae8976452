"""Data that come with the package: a real text, and toys whose truth is known."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits

from seqloom.codecs.base import Codec
from seqloom.core.config import nearest
from seqloom.core.errors import ConfigError, DataError
from seqloom.corpora.base import Corpus, Given, Item, Items
from seqloom.corpora.known_series import KNOWN
from seqloom.corpora.memory import MEMORY, SHORTEST
from seqloom.corpora.readers import kind_of
from seqloom.corpora.toys import Labels, Markov, Reverse, Var1

Name = Literal[
    "topics", "markov", "var1", "reverse", "reverse-vectors", "labels", "labels-vectors",
    "copy", "recall", "sine", "ar1", "walk", "shift", "counts", "intermittent", "coupled",
]  # fmt: skip
BUILTINS: tuple[str, ...] = get_args(Name)
PREFIX = "builtin:"
SIZES: dict[str, int] = {"topics": 0, "markov": 200_000, "var1": 20_000, **dict.fromkeys(KNOWN, 4_000)}
"""Default sizes: characters or rows; of the others, how many pairs."""
PAIRS = 5_000
LENGTH = 8
"""Elements of each series of `reverse-vectors`."""


class Builtin(Corpus, name="builtin"):
    """A text or a toy that needs no file.

    `topics` is the reference of the Python language that CPython carries. `markov` is text of known entropy, `var1` a
    series of known likelihood with 5 % of its cells missing. `sine`, `ar1`, `walk`, `shift`, `counts`, `intermittent`
    and `coupled` are series whose futures are known. `copy` and `recall` are texts that end with what stood in them
    long before. `reverse` has a sequence as condition and its reverse as target, `labels` a class and its pattern, each
    as letters and, with `-vectors`, as numbers.
    """

    rank: ClassVar[int] = 2
    where: ClassVar[tuple[str, ...]] = ("data", "size", "seed", "lag")

    data: Name
    """Which of them."""
    size: int | None = Limits(default=None, ge=1)
    """Characters, rows or pairs; None: 200,000 characters, 20,000 rows (4,000 of known
    futures), 5,000 pairs. `topics` has its own size."""
    seed: int = 0
    """What a toy is drawn from."""
    lag: int = Limits(default=64, ge=SHORTEST)
    """Of `copy` and `recall`: how long ago the answer stood at most; of each text 8, 16, 32, ... positions."""

    @classmethod
    def takes(cls, word: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        if not word.startswith(PREFIX):
            return None
        name = word.removeprefix(PREFIX)
        if name not in BUILTINS:
            raise DataError(f"there is no builtin data called {name!r}", hint=nearest(name, BUILTINS))
        return {"data": name}

    @property
    def place(self) -> str:
        return f"{PREFIX}{self.data}"

    def default_codec(self) -> Codec:
        return _codec(self._suffix)

    def declares(self) -> Mapping[str, Given]:
        if self.data.startswith("reverse"):
            return {"source": Given(codec=_codec(self._suffix), source="pair")}
        return {"label": Given(source="pair")} if self.data.startswith("labels") else {}

    def things(self, codec: Codec, given: Mapping[str, Given]) -> Items:
        known = self.declares()
        for name, item in given.items():
            if name not in known or item.source != "pair":
                names = " and ".join(known) or "none"
                raise ConfigError(f"its conditions: {names}", path=f"given.{name}", hint="leave this one out")
        pairs = self.data not in SIZES
        size = sum(len(text) for text, _ in self._texts)
        identity = [self.data, hashlib.sha256("\0".join(text for text, _ in self._texts).encode()).hexdigest()]
        return Items(self._each, identity, size, ends=pairs and codec.ends, whole=pairs)

    def _each(self) -> Iterator[Item]:
        for i, (text, beside) in enumerate(self._texts):
            yield Item(str(i), text, hashlib.sha256(text.encode()).hexdigest(), pair=beside)

    @property
    def _suffix(self) -> str:
        numbers = self.data in KNOWN or self.data == "var1" or self.data.endswith("-vectors")
        return ".csv" if numbers else ".txt"

    @property
    def _count(self) -> int:
        return self.size or SIZES.get(self.data, PAIRS)

    @cached_property
    def _texts(self) -> list[tuple[str, str | None]]:
        """Each thing, and what is given beside it, as files would have them."""
        match self.data:
            case "topics":
                return [(topics(), None)]
            case "markov":
                return [(Markov().stream(self._count, self.seed), None)]
            case "var1":
                return [(_table(Var1().series(self._count, self.seed)), None)]
            case name if name in KNOWN:
                return [(_table(KNOWN[name].series(self._count, self.seed)), None)]
            case name if name in MEMORY:
                return [(text, None) for text in MEMORY[name](self.lag).texts(self._count, self.seed)]
            case "reverse":
                return [(target, source) for source, target in Reverse().pairs(self._count, self.seed)]
            case "reverse-vectors":
                drawn = Reverse().vector_pairs(self._count, self.seed, (LENGTH, LENGTH))
                return [(_table(target), _table(source)) for source, target in drawn]
            case "labels":
                return [(text, label) for label, text in Labels().examples(self._count, self.seed)]
            case _:
                return [(_table(x), label) for label, x in Labels().vector_examples(self._count, self.seed)]


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


def _codec(suffix: str) -> Codec:
    """What reads a file with this suffix."""
    kind = kind_of(Path(f"x{suffix}"))
    assert kind is not None
    return kind()


def _table(values: NDArray[np.float64]) -> str:
    """Columns x and y as CSV, to the last bit."""
    rows = [",".join(("x", "y")[: values.shape[1]])]
    rows += [",".join("" if math.isnan(cell) else repr(cell) for cell in row) for row in values.tolist()]
    return "\n".join(rows) + "\n"
