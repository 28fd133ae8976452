"""Which texts a sample may hold, as people say it: where it stops, what is allowed, banned or likelier, as symbols."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.base import Codec
from seqloom.core.errors import ConfigError, UnsupportedQuery
from seqloom.sequence.canvas import Canvas
from seqloom.sequence.constraint import Constraint, Every, OnlySymbols, Without
from seqloom.sequence.space import Space, Tokens
from seqloom.sequence.stop import Stop


@dataclass(frozen=True)
class Limits:
    """What a codec's symbols in a space make of texts and regular expressions; UnsupportedQuery of numbers."""

    codec: Codec
    space: Space

    def stops(self, texts: str | Sequence[str], canvas: Canvas, option: str = "stop") -> list[Stop]:
        """Texts to stop at, or that are banned; DataError where there are no symbols for one."""
        several = [texts] if isinstance(texts, str) else texts
        if several and not self.space.symbolic:
            raise UnsupportedQuery(f"a model of numbers has no text to {option}", hint=f"leave {option} out")
        if not all(several):
            raise ConfigError(f"a text to {option} cannot be empty", path=option)
        return [self.codec.stop(self.codec.typed(text), canvas) for text in several]

    def constraint(self, allow: str | None, ban: str | Sequence[str], canvas: Canvas) -> Constraint | None:
        """Only symbols of texts that match `allow`, a regular expression, and the end; no text of `ban`."""
        limits: list[Constraint] = []
        if allow is not None:
            end = [] if self.space.end is None else [self.space.end]
            limits.append(OnlySymbols((*self._matching(allow, "allow"), *end)))
        if banned := self.stops(ban, canvas, "ban"):
            limits.append(Without(banned))
        return Every.of(limits)

    def bias(self, bias: Mapping[str, float]) -> NDArray[np.float64] | None:
        """What is added to the logit of each symbol, by regular expressions; None where there are none."""
        if not bias:
            return None
        added = np.zeros(self.space.total if isinstance(self.space, Tokens) else 0)
        for pattern, number in bias.items():
            added[self._matching(pattern, "bias")] += number
        return added

    def _matching(self, pattern: str, option: str) -> list[int]:
        """The symbols that stand for text which matches a regular expression; ConfigError where there are none."""
        if not isinstance(self.space, Tokens):
            raise UnsupportedQuery("a model of numbers draws no symbols", hint=f"leave {option} out")
        try:
            wanted = re.compile(pattern)
        except re.error as error:
            raise ConfigError(
                f"{pattern!r} is no regular expression: {error}", path=option, hint="such as '[a-z ]', in quotes"
            ) from None
        found = [symbol for symbol in self.codec.matching(wanted) if symbol not in self.codec.never]
        if not found:
            raise ConfigError(f"no symbol of the model matches {pattern!r}", path=option, hint="such as [a-z ]")
        return found
