"""How long a sequence is, said before what stands in it: p(x) = p(length) p(x given its length).

Where a process fills a canvas in any order, the end of a sequence is a symbol like any other, and what lies beyond it
is filled with ends: most of a canvas that is as long as the longest sequence. Here a canvas ends where its sequence
does, with the end symbol in sight. The length is read off one position, before which stands what is known of the
beginning: a mixture of log-logistic laws, of which the whole part is taken, so that none has a greatest length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqloom.core.errors import UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.sequence.batch import Batch
from seqloom.sequence.facts import Advice, Facts
from seqloom.sequence.guess import Ask
from seqloom.sequence.space import Space, Tokens
from seqloom.sequence.spec import NetworkSpec

Length = Literal["filled", "first"]
"""Whether ends fill what is left of a canvas, or a sequence's length comes first."""

KINDS = 4
OUTPUTS = 3 * KINDS
"""Numbers at the end of the network's outputs: of each law in the mixture a weight, a place and a spread."""
PLACES = (1.5, 2.75, 4.0, 5.5)
"""Where the laws lie at first, as logarithms of lengths."""
SPREAD = 0.3
"""How wide they are at first."""
PREFIXES = 0.25
"""The share of the steps of training in which lengths are learned given a beginning, so that it can be continued."""


def first(spec: NetworkSpec, space: Tokens) -> NetworkSpec:
    """The ends of a network that also says lengths: symbols that ask for one, and the numbers that say it."""
    if not space.ends:
        raise UnsupportedSpace(
            "sequences that do not end have no length to be said first", hint="use process.length=filled"
        )
    more = 2 if spec.symbolic else 0
    asks = spec.inputs if spec.symbolic else space.total
    return replace(spec, inputs=spec.inputs + more, outputs=spec.outputs + OUTPUTS, asks=asks)


def made(space: Space, length: Length) -> int:
    """How many symbols are made: an end is none of them where a length is said first."""
    assert isinstance(space, Tokens)
    return space.size if length == "first" else space.total


def advised(facts: Facts) -> Advice:
    """Lengths first where sequences are short, and read whole."""
    if not (facts.tokens and facts.apart and facts.ends) or facts.turns:
        return {}
    return {"length": ("first", "a canvas is as long as its sequence, and no end has to be found")}


class Reads(Protocol):
    """A network that reads symbols, be it through a process that makes numbers of them."""

    @property
    def spec(self) -> NetworkSpec: ...

    def __call__(
        self,
        x: Tensor,
        *,
        given: Any = None,
        present: Tensor | None = None,
        where: Tensor | None = None,
        rng: Rng | None = None,
    ) -> tuple[Tensor, Any]: ...


@dataclass(frozen=True)
class Sized:
    """A batch whose lengths come first: of its rows the elements, and where they end."""

    batch: Batch
    """The same with the ends shown."""
    count: Tensor
    """The elements (B,) that stand before the end, or on all of the row where it has none."""
    ended: Tensor
    """Which rows (B,) have their end."""
    counted: Tensor
    """Which rows (B,) have a length that is to be made: that of the others is known."""
    prefix: Tensor
    """The first elements (B,) that are shown."""
    least: Tensor
    """Elements (B,) up to the last that is shown: a length is no less."""

    @classmethod
    def of(cls, batch: Batch, space: Space) -> Sized:
        """What is known and what is to be said of the lengths of a batch."""
        assert isinstance(space, Tokens)
        ends = batch.x.eq(space.size) & batch.present
        ended = ends.any(1)
        count = torch.where(ended, ends.int().argmax(1), batch.present.sum(1))
        last = torch.where(ended, count, (count - 1).clamp_min(0))
        counted = batch.wanted.gather(1, last[:, None])[:, 0]
        shown = batch.shown & ~ends
        place = torch.arange(1, batch.x.shape[1] + 1, device=batch.x.device)
        prefix = torch.where(counted, (~shown).int().argmax(1), 0)
        own = replace(batch, shown=batch.shown | (ends & batch.known))
        return cls(own, count, ended, counted, prefix, shown.int().mul(place).amax(1))

    def nats(self, net: Reads, given: Any, prefix: Tensor | None = None, drop: Rng | None = None) -> Tensor:
        """What the lengths cost (B,) given the first elements that are shown, or as many as `prefix` (B,) says."""
        prefix = self.prefix if prefix is None else prefix
        says = said(net, self.batch.read, prefix, self.batch.begins[:, 0], given, drop)
        cost = torch.where(self.ended, log_chance(says, self.count), log_reaches(says, self.count))
        return (log_reaches(says, torch.maximum(prefix, self.least)) - cost).masked_fill(~self.counted, 0.0)

    def learned(self, net: Reads, given: Any, rng: Rng, drop: Rng | None = None) -> Tensor:
        """As `nats`, in some of the steps of training given a beginning of any length."""
        u = torch.as_tensor(rng.at("prefix").uniform(2), device=self.count.device)
        if float(u[0, 0]) >= PREFIXES:
            return self.nats(net, given, drop=drop)
        drawn = (u[:, 1] * (self.count + 1)).long().clamp_max(self.batch.x.shape[1] - 1)
        return self.nats(net, given, torch.maximum(drawn, self.prefix), drop)

    def placed(self, nats: Tensor, size: int) -> Tensor:
        """What lengths cost (B,) at the places (B,size) of the ends, or at the last elements."""
        last = torch.where(self.ended, self.count, (self.count - 1).clamp_min(0))
        return torch.zeros(len(nats), size, dtype=nats.dtype, device=nats.device).scatter(
            1, last[:, None], nats[:, None]
        )


def said(net: Reads, x: Tensor, prefix: Tensor, begins: Tensor, given: Any, drop: Rng | None = None) -> Tensor:
    """What the network says (B,3K) of the lengths of rows x (B,T) of which the first `prefix` (B,) elements are read.

    `begins` (B,): whether the row is the beginning of its sequence, or goes on with one.
    """
    assert net.spec.asks is not None
    width = int(prefix.max()) + 1
    place = torch.arange(width, device=x.device)
    asks = net.spec.asks + begins.long()
    read = torch.where(place == prefix[:, None], asks[:, None], x[:, :width])
    out, _ = net(read, given=given, present=place <= prefix[:, None], where=prefix[:, None], rng=drop)
    return out[:, 0, -OUTPUTS:].double()


def law(net: Reads, ask: Ask) -> Tensor:
    """The logarithms of the chances (B,T+1) of each length of an ask's canvases; the last: of T elements or more.

    What is read is all before the first hidden element, and a length reaches beyond the last that is known.
    """
    assert ask.shown is not None
    steps = ask.x.shape[1]
    hidden = ~ask.shown
    prefix = torch.where(hidden.any(1), hidden.int().argmax(1), steps - 1)
    begins = torch.as_tensor(np.zeros(len(hidden)) if ask.begin is None else ask.begin, device=hidden.device) == 0
    says = said(net, ask.x, prefix, begins, ask.given)
    count = torch.arange(steps + 1, device=hidden.device).expand(len(hidden), -1)
    chance = torch.where(count < steps, log_chance(says, count), log_reaches(says, count))
    least = (~hidden).int().mul(torch.arange(1, steps + 1, device=hidden.device)).amax(1, keepdim=True)
    return chance.masked_fill(count < least, -torch.inf).log_softmax(-1)


def log_chance(says: Tensor, count: Tensor) -> Tensor:
    """The logarithm of the chance of just so many elements (B,) or (B,N), from what the network says (B,3K)."""
    weight, above, below = _laws(says, count)
    # The logarithm of a difference of two sigmoids, of which the lower one is 0 where nothing stands.
    between = F.logsigmoid(above) + torch.where(
        count.unsqueeze(-1) > 0, F.logsigmoid(-below) + (-torch.expm1(below - above)).log(), 0.0
    )
    return (weight + between).logsumexp(-1)


def log_reaches(says: Tensor, count: Tensor) -> Tensor:
    """The logarithm of the chance of so many elements (B,) or (B,N), or more."""
    weight, _, below = _laws(says, count)
    return (weight + torch.where(count.unsqueeze(-1) > 0, F.logsigmoid(-below), 0.0)).logsumexp(-1)


def _laws(says: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each law its weight, and how many spreads log(count + 1) and log(count) lie above its place: (B,[N,]K)."""
    says = says if count.ndim == 1 else says.unsqueeze(1)
    weight, place, spread = says.chunk(3, -1)
    place = place + torch.tensor(PLACES, dtype=says.dtype, device=says.device)
    scale = SPREAD * spread.clamp(-4, 4).exp()
    above, below = ((n.double().log().unsqueeze(-1) - place) / scale for n in (count + 1, count.clamp_min(1)))
    # At no elements both would be the same, and the difference of the two has no logarithm.
    below = torch.where(count.unsqueeze(-1) > 0, below, above - 1)
    return weight.log_softmax(-1), above, below
