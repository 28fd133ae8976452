"""Priors: what counting says of the next symbol, as logits beside the network's.

A small network spends a short training on learning what can be counted in seconds. So logits = network + g log P, where
P is a law of counts of the training split and g numbers that the network gives at each position. In training the law at
a position comes from the other parts of the split, as it does for what the model has never read.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqloom.core.config import Component
from seqloom.processes.ngram import KneserNey
from seqloom.sequence.facts import Advice, Facts
from seqloom.sequence.laws import Asked, CountedSplit, HasLaws, Laws, SymbolLaws
from seqloom.sequence.space import Space, Tokens

LEAST, FEW = 20_000, 200_000
"""Symbols of a training split from which on counting helps, and from which on runs of six are counted."""
MANY_SYMBOLS, MOST_SYMBOLS = 1024, 16_384
"""Different symbols from which on runs of four are counted, and up to which a dense law costs less than the network."""
COUNTED = 6_000_000
"""Symbols that are counted for each minute of a training: about a seventh of its time, where there are so many."""


class Prior(Component, home="seqloom.processes"):
    """A way to count, or none."""

    parts: ClassVar[int] = 10
    """Stretches of the training split, each of which is read in training with the counts of the others."""

    @property
    def reach(self) -> int:
        """How many symbols on one side of a position are looked at."""
        return 0

    @property
    def at_most(self) -> int:
        """Symbols that are counted at most, the last ones of each part."""
        return 8_000_000

    @abstractmethod
    def gates(self, ordered: bool) -> tuple[float, ...]:
        """With what weight each law begins, where positions are filled in order or in any; empty: there is no law."""

    def count(self, split: CountedSplit, space: Space, ordered: bool) -> Laws:
        """The laws of symbols; see `Counts`."""
        raise NotImplementedError

    def of(self, tensors: Mapping[str, NDArray[Any]], space: Space, ordered: bool) -> Laws:
        """What `count` gave, from its tensors."""
        raise NotImplementedError


class NoPrior(Prior, name="none"):
    """The network alone."""

    def gates(self, ordered: bool) -> tuple[float, ...]:
        return ()


class Ngram(Prior, name="ngram"):
    """Interpolated Kneser-Ney laws given the symbols before a position; in any order, also given those after it."""

    order: int = Field(default=6, ge=1, le=16)
    """The longest run of symbols that is counted, the one that is guessed included."""
    most: int = Field(default=8_000_000, ge=1)
    """Symbols that are counted at most, the last ones of each of ten parts of the training split."""

    @property
    def at_most(self) -> int:
        return self.most

    @property
    def reach(self) -> int:
        return self.order - 1

    def gates(self, ordered: bool) -> tuple[float, ...]:
        return (1.0,) if ordered else (0.9, 0.9, -0.8)  # what comes from both sides has the frequency of symbols twice

    def count(self, split: CountedSplit, space: Space, ordered: bool) -> Laws:
        assert isinstance(space, Tokens)
        x, begins, part, size = split.x, split.begins, split.part, space.total
        ahead = KneserNey.count(x, begins, part, size=size, order=self.order, parts=self.parts)
        if ordered:
            return NgramLaws(ahead)
        ends = np.append(begins[1:], True)[::-1]  # read from the right, a sequence begins at its end
        return NgramLaws(
            ahead, KneserNey.count(x[::-1], ends, part[::-1], size=size, order=self.order, parts=self.parts)
        )

    def of(self, tensors: Mapping[str, NDArray[Any]], space: Space, ordered: bool) -> Laws:
        assert isinstance(space, Tokens)
        size = space.total

        def side(name: str) -> KneserNey:
            own = {key.removeprefix(name): value for key, value in tensors.items() if key.startswith(name)}
            return KneserNey.of(own, size, self.parts)

        return NgramLaws(side("ahead."), None if ordered else side("back."))


class NgramLaws:
    """The law from the left; where positions are filled in any order also that from the right, and of symbols alone."""

    def __init__(self, ahead: KneserNey, back: KneserNey | None = None) -> None:
        self.ahead, self.back = ahead, back

    def log_laws(self, asked: Asked) -> list[NDArray[np.float32]]:
        before = self.ahead.log_law(asked.before(self.ahead.reach, self.ahead.size), asked.part)
        if self.back is None:
            return [before]
        after = self.back.log_law(asked.after(self.back.reach), asked.part)
        return [before, after, self.ahead.log_law(np.zeros((len(asked.at), 0), np.int64), asked.part)]

    def tensors(self) -> dict[str, NDArray[Any]]:
        tables = {f"ahead.{name}": value for name, value in self.ahead.tensors().items()}
        if self.back is not None:
            tables |= {f"back.{name}": value for name, value in self.back.tensors().items()}
        return tables


def with_laws(net: HasLaws, gates: Sequence[float], out: Tensor, asked: Callable[[], Asked]) -> Tensor:
    """Logits (...,V) from what a network gives, (...,V+G) with a weight for each of G laws: what it adds to its `gate`.

    `asked` are all these positions. Without laws, as before anything was counted, the logits are the network's own.
    """
    if not gates:
        return out
    size = out.shape[-1] - len(gates)
    logits = out[..., :size]
    if not isinstance(net.laws, SymbolLaws):
        return logits
    for i, (law, gate) in enumerate(zip(net.laws.log_laws(asked()), gates, strict=True)):
        weight = out[..., size + i, None] + gate
        logits = logits + weight * torch.from_numpy(law).to(out).view(logits.shape)
    return logits


def advised(facts: Facts) -> Advice:
    """A prior where there is enough to count, and not so many symbols that counts are few."""
    if not (facts.elements >= LEAST and 0 < facts.symbols <= MOST_SYMBOLS):
        return {}
    order = 4 if facts.symbols > MANY_SYMBOLS else 6 if facts.elements >= FEW else 5
    most = 8_000_000 if facts.minutes is None else max(200_000, int(facts.minutes * COUNTED))
    settings = {"name": "ngram", "order": order} | ({"most": most} if most < facts.elements else {})
    return {"prior": (settings, "what can be counted need not be learned")}
