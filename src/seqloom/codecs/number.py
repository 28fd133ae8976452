"""Numbers as conditions: a length, an activity, a price."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits

from seqloom.codecs.base import Codec
from seqloom.core.errors import ConfigError, DataError
from seqloom.sequence.canvas import Encoded
from seqloom.sequence.space import Field, Vectors

Numbers = tuple[float, ...]


class Number(Codec, name="number"):
    """One number beside a whole sequence, scaled by mean and deviation; or several, one beside each element.

    A value is a tuple of floats, nan where one is missing.
    """

    unit: ClassVar[str] = "value"
    enters: ClassVar[Literal["add", "align", "attend"]] = "add"
    rank: ClassVar[int] = -2

    mean: float = 0.0
    """The mean over the training split."""
    deviation: float = Limits(default=0.0, ge=0)
    """The deviation, 1 where the number never changes; 0: to be fitted."""

    @property
    def fitted(self) -> bool:
        return self.deviation > 0

    @property
    def space(self) -> Vectors:
        if not self.fitted:
            raise ConfigError("the numbers are not known until the codec is fitted", path="codec.deviation")
        return Vectors(fields=(Field(name=self.name),))

    @property
    def log_scales(self) -> NDArray[np.float64]:
        return np.log([self.deviation])

    def fit(self, values: Iterable[Numbers]) -> Self:
        known = np.array([number for value in values for number in value if not math.isnan(number)])
        if not len(known):
            raise DataError("there are no numbers to learn from")
        return self.replace(mean=float(known.mean()), deviation=float(known.std()) or 1.0)

    def encode(self, value: Numbers) -> Encoded:
        x = np.array(value, np.float64)[:, None]
        known = ~np.isnan(x)
        return Encoded(np.where(known, (x - self.mean) / self.deviation, 0).astype(np.float32), known)

    def decode(self, encoded: Encoded) -> Numbers:
        x = encoded.x[:, 0].astype(np.float64) * self.deviation + self.mean
        return tuple(np.where(encoded.known[:, 0], x, np.nan).tolist())

    def join(self, pieces: Sequence[Any]) -> Numbers:
        return tuple(number for piece in pieces for number in piece)

    def accept(self, thing: Any) -> Any:
        if isinstance(thing, int | float):
            return (float(thing),)
        return tuple(map(float, thing)) if isinstance(thing, list | tuple) else super().accept(thing)

    def typed(self, text: str) -> Numbers:
        found = []
        for word in text.split():
            try:
                found.append(float(word))
            except ValueError:
                raise DataError(f"{word!r} is no number", hint="such as 12 or 0.5") from None
        if any(map(math.isinf, found)):
            raise DataError("a number is infinite", hint="leave it out")
        return tuple(found)

    def show(self, value: Numbers) -> bytes:
        return "".join(f"{number!r}\n" for number in value).encode()

    def as_json(self, value: Numbers) -> dict[str, Any]:
        return {"numbers": [None if math.isnan(number) else number for number in value]}

    def examples(self) -> list[Numbers]:
        return [(3.5,), (-2.0, 7.0), (1e6,)]
