"""What one element of a sequence is."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar, Literal

from pydantic import Field as Limits

from seqloom.core.config import Settings

Measure = Literal["mass", "density"]
Within = Literal["binary", "count", "positive", "nonnegative"]


class Tokens(Settings):
    """Elements are symbols: x is (B,T) int64, the codec's own symbols 0..size-1, its unknown included."""

    symbolic: ClassVar[bool] = True

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

    @property
    def measure(self) -> Measure:
        """A likelihood of symbols is a probability."""
        return "mass"


class Units(Settings):
    """What a number x of a canvas is in the data's own units: mean + scale x, or the inverse of a logarithm of it.

    With a `size` s > 0 it is 2 s sinh(mean + scale x), which far above s is a logarithm's inverse.
    """

    mean: float = 0.0
    scale: float = Limits(default=1.0, gt=0)
    size: float = Limits(default=0.0, ge=0)


class Field(Settings):
    """A named part of a vector: one column of a table, one coordinate of a pen."""

    name: str
    """What a person calls it."""
    width: int = Limits(default=1, ge=1)
    """How many numbers it has."""
    support: Literal["real", "positive", "count", "binary", "category"] = "real"
    """Which numbers it can hold; `category` is one-hot over its width."""
    within: tuple[Within, ...] = ()
    """Of a real field: the sets in which its numbers lie in the data's own units. A head of such numbers, where it is
    asked for, takes them as they are there."""
    units: Units = Units()
    """What its numbers are in the data's own units."""


class Vectors(Settings):
    """Elements are vectors: x is (B,T,D) float32, about unit scale.

    Where sequences end, one more channel, the last, is the end flag: 1 on the last element of a sequence, 0 before it.
    """

    symbolic: ClassVar[bool] = False

    fields: tuple[Field, ...] = Limits(min_length=1)
    """The parts of one vector, in order, the end flag left out."""
    ends: bool = False
    """Sequences end: the last element of each has the end flag, so a sample may end by itself."""

    @property
    def all_fields(self) -> tuple[Field, ...]:
        """The parts of one vector, and the end flag where there is one."""
        return (*self.fields, Field(name="end", support="binary")) if self.ends else self.fields

    @cached_property
    def dim(self) -> int:
        """D, the numbers in one element, the end flag included."""
        return sum(field.width for field in self.all_fields)

    @property
    def end(self) -> int | None:
        """The channel of the end flag."""
        return self.dim - 1 if self.ends else None

    @property
    def slices(self) -> dict[str, slice]:
        """Which channels each field has, by its name."""
        slices, begin = {}, 0
        for field in self.all_fields:
            slices[field.name] = slice(begin, begin + field.width)
            begin += field.width
        return slices

    @property
    def measure(self) -> Measure:
        """A likelihood is a density where any number is continuous, else a probability."""
        continuous = any(field.support in {"real", "positive"} for field in self.fields)
        return "density" if continuous else "mass"


Space = Tokens | Vectors
