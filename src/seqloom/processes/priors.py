"""Priors: what counting says of the next symbol, as logits beside the network's.

A small network spends a short training on learning what can be counted in seconds. So logits = network + g log P, where
P is a law of counts of the training split and g numbers that the network gives at each position; or the law is a mean
of P and of the network's own. In training the law at a position comes from the other parts of the split, as it does for
what the model has never read.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqloom.core.config import Component
from seqloom.kernels.ngram import NgramKernel, sparsely_added
from seqloom.processes.ngram import KneserNey
from seqloom.sequence.facts import Advice, Facts
from seqloom.sequence.laws import Asked, CountedSplit, HasLaws, Laws, Numbers, SymbolLaws
from seqloom.sequence.space import Space, Tokens

LEAST, FEW = 20_000, 200_000
"""Symbols of a training split from which on counting helps, and from which on runs of six are counted."""
DENSE = 1024
"""Different symbols up to which a law is written down for every symbol; of more, where it differs from frequencies."""
COUNTED = 3_000_000
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

    @property
    def averaged(self) -> bool:
        """Whether the law from the left and the network's own make a mean (`Mixture`), rather than a product."""
        return False

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
    combine: Literal["product", "mean"] = "product"
    """How a law and the network's make one, where positions are filled in order: a product of powers, or a mean.
    Of a head without logits of all symbols it is a mean in any case; where they are filled in any order, a product."""

    @property
    def averaged(self) -> bool:
        return self.combine == "mean"

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
        least = 2 if size > DENSE else 1
        count = partial(KneserNey.count, size=size, order=self.order, parts=self.parts, least=least)
        ahead = count(x, begins, part)
        if ordered:
            return NgramLaws(ahead)
        ends = np.append(begins[1:], True)[::-1]  # read from the right, a sequence begins at its end
        return NgramLaws(ahead, count(x[::-1], ends, part[::-1]))

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

    @property
    def kernel(self) -> NgramKernel | None:
        return self.ahead.kernel if self.back is None and self.ahead.size <= DENSE else None

    def log_laws(self, asked: Asked) -> list[NDArray[np.float32]]:
        before = self.ahead.log_law(asked.before(self.ahead.reach, self.ahead.size), asked.part)
        if self.back is None:
            return [before]
        after = self.back.log_law(asked.after(self.back.reach), asked.part)
        return [before, after, self.ahead.log_law(np.zeros((len(asked.at), 0), np.int64), asked.part)]

    def log_probability(self, asked: Asked, symbols: Numbers) -> NDArray[np.float32]:
        before = asked.before(self.ahead.reach, self.ahead.size)
        if self.kernel is not None:  # which has the whole law sooner than numpy one symbol of it
            return self.ahead.log_law(before, asked.part)[np.arange(len(before)), symbols]
        return self.ahead.log_probability(before, symbols, asked.part)

    def added(self, out: Tensor, gates: Sequence[float], asked: Asked) -> Tensor | None:
        if self.ahead.size > DENSE:
            return self._sparsely(out, gates, asked)
        plain = out.dtype == torch.float32 and out.device.type == "cpu" and not out.requires_grad
        if self.kernel is None or not plain:
            return None
        return self.kernel.added(out, gates[0], asked.symbols, (asked.row, asked.at, asked.since), asked.part)

    def _sparsely(self, out: Tensor, gates: Sequence[float], asked: Asked) -> Tensor:
        """Of many symbols: the law of symbols alone is added to all logits, and what counts add to it where it is."""
        size = self.ahead.size
        flat = out.reshape(-1, out.shape[-1])
        laws = [self.ahead.sparse_log_law(asked.before(self.ahead.reach, size), asked.part)]
        if self.back is not None:
            laws.append(self.back.sparse_log_law(asked.after(self.back.reach), asked.part))
            laws.append(self.ahead.sparse_log_law(np.zeros((len(asked.at), 0), np.int64), asked.part))
        if (added := sparsely_added(flat, laws, gates)) is not None:
            return added.view(*out.shape[:-1], size)
        logits = flat[:, :size]
        for i, (law, gate) in enumerate(zip(laws, gates, strict=True)):
            weight = flat[:, size + i : size + i + 1] + gate  # (N,1)
            base, which, shift, row, symbol, more = (
                torch.from_numpy(getattr(law, field.name)).to(out.device) for field in fields(law)
            )
            base = base[:1] if asked.part is None else base[which]  # (1|N,V)
            logits = torch.addcmul(logits, weight, base.to(out)).add_(weight * shift.to(out).unsqueeze(1))
            logits.index_put_((row, symbol), weight[row, 0] * more.to(out), accumulate=True)
        return logits.view(*out.shape[:-1], size)

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
    if net.laws is None:
        return logits
    laws = cast(SymbolLaws, net.laws)  # a process with gates counts symbols
    places = asked()
    added = laws.added(out, gates, places)
    if added is not None:
        return added
    for i, (law, gate) in enumerate(zip(laws.log_laws(places), gates, strict=True)):
        weight = out[..., size + i : size + i + 1] + gate
        logits = torch.addcmul(logits, weight, torch.from_numpy(law).to(out).view(logits.shape))
    return logits


@dataclass(frozen=True)
class Mixture:
    """The law is a mean of the network's and of one of counts, as it always is of a head without logits of all symbols.

    The weight of the counts is the sigmoid of a number that the network gives at each position, and of `gate`. What a
    symbol costs takes its own probabilities alone. (In training the network is to be good by itself too: half of what
    it learns from is what its own law says, or it would learn only what counts do not say.)
    """

    laws: SymbolLaws
    asked: Asked
    """The positions, in their order."""
    gate: float

    def nats(self, own: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Minus log probability (...,) of symbols x (...,), of which the network says `own` (...,)."""
        counted = self.laws.log_probability(self.asked, x.flatten().cpu().numpy())
        return -self._mean(-own, torch.from_numpy(counted).to(own).view(own.shape), weight)

    def logits(self, own: Tensor, weight: Tensor) -> Tensor:
        """Log probabilities (...,V), of which the network's are `own`."""
        (counted, *_) = self.laws.log_laws(self.asked)
        return self._mean(own.log_softmax(-1), torch.from_numpy(counted).to(own).view(own.shape), weight.unsqueeze(-1))

    def _mean(self, own: Tensor, counted: Tensor, weight: Tensor) -> Tensor:
        weight = weight + self.gate
        return torch.logaddexp(F.logsigmoid(-weight) + own, F.logsigmoid(weight) + counted)


def beforehand(net: HasLaws, gates: Sequence[float], asked: Callable[[], Asked]) -> Callable[[], Asked]:
    """What is asked for, put together now: after a network was called it would wait until a GPU is done with that."""
    if not gates or net.laws is None:
        return asked
    places = asked()
    return lambda: places


def advised(facts: Facts, ordered: bool = False) -> Advice:
    """A prior where there is enough to count: of many symbols, such as words, shorter runs.

    Where positions are filled in order (`ordered`) the law and the network's make a mean.
    """
    if not facts.symbols or facts.elements < LEAST:
        return {}
    order = 4 if facts.symbols > DENSE else 6 if facts.elements >= FEW else 5
    most = 8_000_000 if facts.minutes is None else max(200_000, int(facts.minutes * COUNTED))
    settings = {"name": "ngram", "order": order} | ({"most": most} if most < facts.elements else {})
    settings |= {"combine": "mean"} if ordered else {}
    return {"prior": (settings, "what can be counted need not be learned")}
