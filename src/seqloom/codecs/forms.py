"""Words of a list, one symbol each, and rare ones by their form: what stands beside labels of words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field as Limits

from seqloom.codecs.base import Codec
from seqloom.core.content import UTF8, check_utf8
from seqloom.core.errors import ConfigError, DataError
from seqloom.sequence.canvas import Encoded
from seqloom.sequence.space import Tokens

ENDING = 3
"""Letters of an ending, at most."""


class Forms(Codec, name="forms"):
    """Words as one symbol each; one that is rare in training, or not there, is read by its last letters and its case.

    A value is a tuple of words. A rare word comes back as its form, so this is for what is given, not for what is made.
    """

    unit: ClassVar[str] = "word"
    enters: ClassVar[Literal["add", "align", "attend"]] = "align"
    ends: ClassVar[bool] = False
    rank: ClassVar[int] = -2

    encoding: str = UTF8
    """What files are written in, such as latin-1."""
    least: int = Limits(default=2, ge=1)
    """How often a word must come in training to have a symbol of its own; how many rare ones must share a form."""
    words: tuple[str, ...] = ()
    """The words that have a symbol, in its order; empty: to be fitted."""
    forms: tuple[str, ...] = ()
    """The forms that have one: case and last letters, with a space between, so that no word is written so."""

    @property
    def fitted(self) -> bool:
        return bool(self.words or self.forms)

    @property
    def written_in(self) -> str:
        return self.encoding

    @property
    def space(self) -> Tokens:
        if not self.fitted:
            raise ConfigError("the list of words is empty until the codec is fitted", path="codec.words")
        return Tokens(size=1 + len(self.words) + len(self.forms))

    @property
    def loses(self) -> str:
        return "rare words"

    @property
    def one_line(self) -> bool:
        return True

    def fit(self, values: Iterable[tuple[str, ...]]) -> Self:
        times = Counter(word for value in values for word in value)
        if not times:
            raise DataError("there are no words to learn")
        words = sorted(word for word, count in times.items() if count >= self.least)
        shared = Counter(form for word, count in times.items() if count < self.least for form in forms_of(word))
        forms = sorted(form for form, count in shared.items() if count >= self.least)
        return self.replace(words=words, forms=forms or ([] if words else sorted(shared)))

    def symbols(self) -> list[str]:
        return ["any other word", *self.words, *self.forms]

    def encode(self, value: tuple[str, ...]) -> Encoded:
        return Encoded(np.array([self._symbol(word) for word in value], np.int64), np.ones(len(value), bool))

    def decode(self, encoded: Encoded) -> tuple[str, ...]:
        names = self.symbols()
        return tuple(names[int(symbol)] for symbol in encoded.x)

    def _symbol(self, word: str) -> int:
        known = self._symbols.get(word)
        if known is not None:
            return known
        return next((self._symbols[form] for form in forms_of(word) if form in self._symbols), 0)

    @cached_property
    def _symbols(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.symbols())}

    def join(self, pieces: Sequence[Any]) -> tuple[str, ...]:
        return tuple(word for piece in pieces for word in piece)

    def accept(self, thing: Any) -> Any:
        if not isinstance(thing, list | tuple):
            return super().accept(thing)
        words = tuple(map(str, thing))
        check_utf8(" ".join(words))
        return words

    def element_names(self, value: tuple[str, ...]) -> list[str]:
        return list(value)

    def typed(self, text: str) -> tuple[str, ...]:
        check_utf8(text)
        return tuple(text.split())

    def show(self, value: tuple[str, ...]) -> bytes:
        return f"{' '.join(value)}\n".encode("utf-8", "replace")

    def examples(self) -> list[Any]:
        return [("the", "dog", "saw", "the", "dog"), ("saw", "the", "dog")]


def forms_of(word: str) -> list[str]:
    """The forms of a word, the closest first: its case with its last three, two, one and no letters."""
    if any(map(str.isdigit, word)):
        case = "digits"
    elif not any(map(str.isalpha, word)):
        case = "signs"
    else:
        case = "upper" if word.isupper() and len(word) > 1 else "capital" if word[0].isupper() else "lower"
    return [f"{case} {word[-n:].lower() if n else ''}" for n in range(min(ENDING, len(word)), -1, -1)]
