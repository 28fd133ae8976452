"""What one element of a sequence is."""

from __future__ import annotations

from typing import Literal

from pydantic import Field as Limits

from seqloom.core.config import Settings


class Tokens(Settings):
    """Elements are symbols: x is (B,T) int64, the codec's own symbols 0..size-1, its unknown included."""

    size: int = Limits(ge=1)
    """How many symbols the codec has."""
    ends: bool = False
    """Sequences end with an end symbol, so a sample may end by itself."""

    @property
    def end(self) -> int | None:
        """The end symbol, the first above the codec's own."""
        return self.size if self.ends else None

    @property
    def total(self) -> int:
        """Symbols that can be sampled: the codec's and, where there is one, the end."""
        return self.size + self.ends


class Field(Settings):
    """A named part of a vector: one column of a table, one coordinate of a pen."""

    name: str
    """What a person calls it."""
    width: int = Limits(default=1, ge=1)
    """How many numbers it has."""
    support: Literal["real", "positive", "count", "binary"] = "real"
    """Which numbers it can hold."""


class Vectors(Settings):
    """Elements are vectors: x is (B,T,D) float32, about unit scale."""

    fields: tuple[Field, ...] = Limits(min_length=1)
    """The parts of one vector, in order."""

    @property
    def dim(self) -> int:
        """D, the numbers in one element."""
        return sum(field.width for field in self.fields)


Space = Tokens | Vectors
