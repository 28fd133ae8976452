"""Sequences of a split as values, and as the texts that people read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from seqloom.codecs.base import Codec
from seqloom.corpora.base import Flat, Split
from seqloom.sequence.canvas import Encoded


def spread(count: int, most: int) -> list[int]:
    """So many numbers up to a count, at most, evenly over it."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(most, count)).tolist()})


def value_of(codec: Codec, flat: Flat, number: int) -> Any:
    """The value of one sequence."""
    x = np.asarray(flat.row(number))
    return codec.decode(Encoded(x, np.ones(x.shape, bool)))


def beside_of(part: Split, number: int) -> dict[str, Encoded]:
    """The conditions that stand beside one sequence of a split, by name; copies, for the encoded data are read-only.

    They stay numbers: as values they could not be given, where one has a symbol that training never saw.
    """
    each = {name: np.array(flat.row(number)) for name, flat in part.given.items()}
    return {name: Encoded(x, np.ones(x.shape, bool)) for name, x in each.items() if len(x)}


def text_of(codec: Codec, value: Any) -> str:
    """A value as a text that ends where its last line does."""
    return codec.as_text(value).removesuffix("\n")


def texts_of(codec: Codec, flat: Flat, numbers: Iterable[int]) -> list[str]:
    """Some of the sequences as texts."""
    return [text_of(codec, value_of(codec, flat, number)) for number in numbers]
