"""Labels: one word of a fitted list, as one symbol. What a class or an author is given as."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import field_validator

from seqloom.codecs.base import Codec
from seqloom.codecs.text import decoded, raw, write_bytes
from seqloom.core.config import nearest
from seqloom.core.errors import ConfigError, DataError
from seqloom.sequence.canvas import Canvas, Encoded
from seqloom.sequence.space import Tokens


class Label(Codec, name="label"):
    """One of the names that were in the training data, as a sequence of one symbol."""

    suffixes: ClassVar[tuple[str, ...]] = (".txt",)
    unit: ClassVar[str] = "label"

    names: tuple[str, ...] = ()
    """The labels it knows, in the order of their symbols; empty: to be fitted."""

    @field_validator("names")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) != len(names):
            raise ValueError("a label stands twice in the list")
        return names

    @property
    def fitted(self) -> bool:
        return bool(self.names)

    @property
    def space(self) -> Tokens:
        if not self.names:
            raise ConfigError("the list of labels is empty until the codec is fitted", path="codec.names")
        return Tokens(size=len(self.names))

    def fit(self, values: Iterable[str]) -> Self:
        names = tuple(sorted(set(values)))
        if not names:
            raise DataError("there are no labels to learn")
        return self.replace(names=names)

    def encode(self, value: str) -> Encoded:
        if value not in self.names:
            raise DataError(f"the model knows no label {value!r}", hint=nearest(value, self.names))
        return Encoded(np.array([self.names.index(value)], np.int64), np.ones(1, bool))

    def decode(self, encoded: Encoded) -> str:
        return self.names[int(encoded.x[0])]

    def canvas(
        self, template: Any, length: int | None = None, gap: int | None = None, blank: str | None = None
    ) -> Canvas:
        """One label to be made; there is nothing before or after it."""
        if template is not None or (length or 1) != 1 or gap is not None or blank is not None:
            raise ConfigError("a label is one symbol: there is nothing to extend or to fill in")
        return Canvas(np.zeros(1, np.int64), np.zeros(1, bool), np.zeros(1, bool))

    def count(self, value: str) -> float:
        return 1

    def extra_nats(self, value: str) -> float:
        return 0.0

    def read(self, path: Path) -> Iterator[str]:
        """One label a line; empty lines are passed over."""
        yield from filter(None, (self.typed(line) for line in "".join(decoded(raw(path), path)).split("\n")))

    def whole(self, path: Path) -> str:
        found = list(self.read(path))
        if len(found) != 1:
            raise DataError(f"the file holds {len(found)} labels, where one is wanted", path=path)
        return found[0]

    def write(self, value: str, path: Path) -> None:
        write_bytes(self.show(value), path)

    def typed(self, text: str) -> str:
        return text.strip()

    def show(self, value: str) -> bytes:
        return f"{value}\n".encode("utf-8", "replace")

    def examples(self) -> list[str]:
        return ["sonnet", "haiku", "free verse"]
