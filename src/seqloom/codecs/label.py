"""Labels: one word of a fitted list, as one symbol. What a class or an author is given as."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import field_validator

from seqloom.codecs.base import Codec
from seqloom.core.config import nearest
from seqloom.core.content import check_utf8, decoded, raw, write_bytes
from seqloom.core.errors import ConfigError, DataError
from seqloom.sequence.canvas import Canvas, Encoded
from seqloom.sequence.space import Tokens


class Label(Codec, name="label"):
    """One of the names that were in the training data, as a sequence of one symbol.

    A value is a `str`; beside a sequence, a tuple of them, one for each of its elements.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".txt",)
    unit: ClassVar[str] = "label"
    enters: ClassVar[Literal["add", "align", "attend"]] = "add"
    ends: ClassVar[bool] = False
    alone: ClassVar[int | None] = 1
    baselines: ClassVar[tuple[str, ...]] = ("unigram",)
    rank: ClassVar[int] = -1

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

    @property
    def choices(self) -> tuple[str, ...]:
        return self.names

    @property
    def one_line(self) -> bool:
        return True

    def fit(self, values: Iterable[str | tuple[str, ...]]) -> Self:
        names = tuple(sorted({word for value in values for word in self._words(value)}))
        if not names:
            raise DataError("there are no labels to learn")
        return self.replace(names=names)

    def symbols(self) -> list[str]:
        return list(self.names)

    def encode(self, value: str | tuple[str, ...]) -> Encoded:
        words = self._words(value)
        for word in words:
            if word not in self._symbols:
                raise DataError(f"the model knows no label {word!r}", hint=nearest(word, self.names))
        return Encoded(np.array([self._symbols[word] for word in words], np.int64), np.ones(len(words), bool))

    def decode(self, encoded: Encoded) -> str | tuple[str, ...]:
        words = tuple(self.names[int(symbol)] for symbol in encoded.x)
        return words[0] if len(words) == 1 else words

    def canvas(
        self, template: Any, length: int | None = None, gap: int | None = None, blank: str | None = None
    ) -> Canvas:
        """Labels to be made, one unless more are asked for; there is nothing before or after them."""
        if template is not None or gap is not None or blank is not None:
            raise ConfigError(
                "labels are made all at once: there is nothing to extend or to fill in",
                hint="`seqloom sample` makes them, `seqloom apply` those of each line of a file",
            )
        size = length or 1
        return Canvas(np.zeros(size, np.int64), np.zeros(size, bool), np.zeros(size, bool))

    def count(self, value: str | tuple[str, ...]) -> float:
        return self.size(value)

    def extra_nats(self, value: Any) -> float:
        return 0.0

    def size(self, value: str | tuple[str, ...]) -> int:
        return len(self._words(value))

    def cut(self, value: str | tuple[str, ...], begin: int, end: int) -> tuple[str, ...]:
        return self._words(value)[begin:end]

    def join(self, pieces: Sequence[Any]) -> tuple[str, ...]:
        return tuple(word for piece in pieces for word in self._words(piece))

    def accept(self, thing: Any) -> Any:
        if not isinstance(thing, list | tuple):
            return super().accept(thing)
        words = tuple(map(str, thing))
        check_utf8(" ".join(words))
        return words

    def element_names(self, value: str | tuple[str, ...]) -> list[str]:
        return list(self._words(value))

    def as_json(self, value: str | tuple[str, ...]) -> dict[str, Any]:
        return {"text": "\n".join(self._words(value))}

    @cached_property
    def _symbols(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    @staticmethod
    def _words(value: str | tuple[str, ...]) -> tuple[str, ...]:
        return (value,) if isinstance(value, str) else value

    def read(self, path: Path) -> Iterator[str]:
        """One label a line; empty lines are passed over."""
        yield from filter(None, (self.typed(line) for line in "".join(decoded(raw(path), path)).split("\n")))

    def whole(self, path: Path) -> str:
        labels = list(self.read(path))
        if len(labels) != 1:
            raise DataError(f"the file holds {len(labels)} labels, where one is wanted", path=path)
        return labels[0]

    def write(self, value: str, path: Path) -> None:
        write_bytes(self.show(value), path)

    def typed(self, text: str) -> str:
        check_utf8(text)
        return text.strip()

    def show(self, value: str | tuple[str, ...]) -> bytes:
        """A line; of several labels one of them all, as `apply` has it."""
        return f"{' '.join(self._words(value))}\n".encode("utf-8", "replace")

    def examples(self) -> list[str]:
        return ["sonnet", "haiku", "free verse"]
