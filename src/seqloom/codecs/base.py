"""Codec: turns one thing a person can open into one sequence, and back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from seqloom.core.config import Component
from seqloom.core.errors import DataError
from seqloom.sequence.canvas import Canvas, Encoded
from seqloom.sequence.space import Space


class Codec(Component, home="seqloom.codecs"):
    """How one kind of thing becomes numbers and comes back. Never sees a network.

    A fitted codec is the same record with its learned fields (alphabet, scale) filled in, so saving it is saving its
    fields. A *value* is the thing in memory: a `str`, `bytes`, or a table of numbers.
    """

    media: ClassVar[str] = "text/plain"
    suffixes: ClassVar[tuple[str, ...]] = ()
    unit: ClassVar[str] = "element"
    """Likelihood is reported per unit: "byte", "value"."""

    @property
    def fitted(self) -> bool:
        """Whether its learned fields are filled in; a codec that learns nothing always is."""
        return True

    @property
    def never(self) -> tuple[int, ...]:
        """Symbols that are never sampled: they stand for what the codec cannot write."""
        return ()

    @property
    def log_scales(self) -> NDArray[np.float64] | None:
        """Nats that one known value of each channel (D,) costs beyond its scaled density; None for tokens."""
        return None

    @property
    @abstractmethod
    def space(self) -> Space:
        """What one element is; a ConfigError where the codec must be fitted first."""

    @abstractmethod
    def fit(self, values: Iterable[Any]) -> Self:
        """A copy with its learned fields filled in, from the training split; values may be pieces of one thing."""

    @abstractmethod
    def encode(self, value: Any) -> Encoded:
        """The value as numbers."""

    @abstractmethod
    def decode(self, encoded: Encoded) -> Any:
        """The value of these numbers, in its own units; elements that are not known become missing."""

    @abstractmethod
    def canvas(
        self, template: Any, length: int | None = None, gap: int | None = None, blank: str | None = None
    ) -> Canvas:
        """A template with gaps as cells to be made; `length` asks for that many new elements at its end.

        A template of None is an empty one. `gap` makes every gap that long; `blank` changes how a gap is written.
        """

    @abstractmethod
    def count(self, value: Any) -> float:
        """Units in a value."""

    @abstractmethod
    def extra_nats(self, value: Any) -> float:
        """Nats that `value` costs beyond its elements: unknown characters in bytes, or the log-volume of scaling."""

    @abstractmethod
    def read(self, path: Path) -> Iterator[Any]:
        """The values in a file, in pieces where it is large; DataError where it cannot be read."""

    def whole(self, path: Path) -> Any:
        """What a file holds, as one value; DataError where it is empty."""
        pieces = list(self.read(path))
        if not pieces:
            raise DataError("the file is empty", path=path)
        return pieces[0] if len(pieces) == 1 else type(pieces[0])().join(pieces)

    @abstractmethod
    def write(self, value: Any, path: Path) -> None:
        """A value into a file that `read` reads."""

    @abstractmethod
    def typed(self, text: str) -> Any:
        """A value from what a person typed."""

    @abstractmethod
    def show(self, value: Any) -> bytes:
        """A value as bytes for standard output, of type `media`."""

    @abstractmethod
    def examples(self) -> list[Any]:
        """A few values for tests and help: every codec must give them back from their numbers."""
