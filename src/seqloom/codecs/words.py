"""Text as words: one symbol each, those that are frequent; the others are spelled."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import chain
from typing import Any, Literal, Self

from pydantic import Field as Limits

from seqloom.codecs.pieces import Pieces
from seqloom.codecs.text import UNKNOWN
from seqloom.core.errors import ConfigError, DataError
from seqloom.sequence.space import Tokens

CHARACTERS = 1000
"""Different characters that have symbols of their own, at most; of others each byte is one."""
_PARTS = {
    "words": re.compile(r" ?(?:[^\W\d_]+|\d+|(?:[^\w\s]|_)+)|\s+(?!\S)|\s"),
    "spaces": re.compile(r" ?\S+|\s+(?!\S)|\s"),
}


class Words(Pieces, name="words"):
    """One symbol a word, with the space before it, of those that the training text has often enough.

    Any other word is spelled, by its characters and where the training text has not even these by their bytes. So
    nothing is lost, and a likelihood is one of the text. With `unknown=symbol` all other words are one symbol instead,
    as in published perplexities of words, and what they are is lost.
    """

    parted: Literal["words", "spaces"] = "words"
    """Where words end: where letters, digits and other signs meet (`words`), or at spaces alone (`spaces`)."""
    least: int = Limits(default=2, ge=1)
    """How often the training text has a word that is a symbol."""
    most: int = Limits(default=10_000, ge=1)
    """Words that are symbols at most, the most frequent ones."""
    unknown: Literal["spelled", "symbol"] = "spelled"
    """What becomes of other words: they are spelled, or are all one symbol."""
    vocabulary: tuple[str, ...] = ()
    """The words that are symbols, by their frequency; empty: to be fitted."""
    characters: str = ""
    """The characters of more than one byte that words are spelled with."""

    @property
    def fitted(self) -> bool:
        return bool(self.vocabulary)

    @property
    def space(self) -> Tokens:
        if not self.vocabulary:
            raise ConfigError("there are no words until the codec is fitted", path="codec.vocabulary")
        return super().space

    @property
    def never(self) -> tuple[int, ...]:
        return (len(self.spelling) - 1,) if self.unknown == "symbol" else ()

    @property
    def loses(self) -> str:
        words = f"words that are not among its {len(self.vocabulary):,}" if self.unknown == "symbol" else ""
        return " and ".join(filter(None, [super().loses, words]))

    def fit(self, values: Iterable[str]) -> Self:
        counts: Counter[str] = Counter()
        for value in values:
            counts.update(_PARTS[self.parted].findall(self.normal(value)))
        if not counts:
            raise DataError("there is no text to take words from")
        ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        frequent = [word for word, count in ordered if count >= self.least and len(word.encode()) > 1]
        if not frequent:
            raise DataError(
                f"no word stands in the training text {self.least} times",
                hint="give more text, or a smaller codec.least",
            )
        letters: Counter[str] = Counter()
        for word, count in counts.items():
            letters.update({letter: count * word.count(letter) for letter in set(word) if not letter.isascii()})
        usual = sorted(letter for letter, count in letters.most_common(CHARACTERS) if count >= self.least)
        words = [word for word in frequent if len(word) > 1 or word not in usual]
        return self.replace(vocabulary=tuple(words[: self.most]), characters="".join(usual))

    def notes(self, splits: Mapping[str, Iterable[Any]]) -> list[str]:
        rest = "spelled" if self.unknown == "spelled" else "one symbol, and what they are is lost (codec.unknown)"
        return [*super().notes(splits), f"{len(self.vocabulary):,} words are symbols; others are {rest}"]

    def examples(self) -> list[str]:
        return [*super().examples(), "the fox and the hound, and caf\u00e9s"]

    @cached_property
    def spelling(self) -> list[bytes]:
        words = [*self.characters, *self.vocabulary, *([UNKNOWN] if self.unknown == "symbol" else [])]
        return [*(bytes([byte]) for byte in range(256)), *(word.encode() for word in words)]

    def symbols_of(self, text: str) -> list[int]:
        words = _PARTS[self.parted].findall(text)
        numbers = self._numbers
        if self.unknown == "symbol":
            unknown = len(self.spelling) - 1
            return [numbers.get(word, (unknown,))[0] for word in words]
        return list(chain.from_iterable(numbers.get(word) or self._spelled(word) for word in words))

    def _spelled(self, word: str) -> list[int]:
        """The symbols of a word's characters."""
        return [symbol for letter in word for symbol in self._numbers.get(letter) or letter.encode()]

    @cached_property
    def _numbers(self) -> dict[str, tuple[int]]:
        """The symbol of each word and character."""
        known = enumerate([*map(chr, range(128)), *[""] * 128, *self.characters, *self.vocabulary])
        return {word: (number,) for number, word in known if word}
