"""A head for elements of several kinds: each field has the distribution of its support."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqloom.core.config import members_of
from seqloom.core.errors import UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.processes.heads import Bernoulli, Categorical, Counts, Head, LogNormal, Normal, element, shaped
from seqloom.sequence.space import Space, Vectors

BLOCK = 1 << 20
"""Random numbers that each part may use."""


@dataclass(frozen=True)
class Part:
    """One head, the fields it is for as a space of their own, and their numbers in the whole element."""

    head: Head
    space: Vectors
    channels: tuple[int, ...]
    size: int

    @functools.cached_property
    def index(self) -> slice | NDArray[np.int64]:
        """Its numbers in the whole element, as a slice where they lie side by side: that is copied nowhere."""
        first, count = self.channels[0], len(self.channels)
        together = self.channels == tuple(range(first, first + count))
        return slice(first, first + count) if together else np.array(self.channels)

    ends: bool = False
    """Whether it is for the end flag alone."""


class Composed(Head, name="composed"):
    """Independent parts: each field goes to the first of `heads` that covers it, the rest by their support.

    Real numbers are normal, positive ones lognormal, counts negative binomial, yes or no and the end flag Bernoulli,
    categories categorical. The end flag is drawn at temperature 1 whatever is asked for: a flag that is seldom set
    would never be drawn at a low one.
    """

    heads: tuple[Head, ...] = ()
    """Heads to be preferred, the first first."""

    def covers(self, space: Vectors) -> tuple[str, ...]:
        return tuple(field.name for field in space.all_fields)

    def size(self, space: Space) -> int:
        return sum(part.size for part in parts(self, space))

    def kinds(self, space: Vectors) -> tuple[str, ...]:
        found = [
            (own, kind)
            for part in parts(self, space)
            for own, kind in zip(part.channels, part.head.kinds(part.space), strict=True)
        ]
        return tuple(kind for _, kind in sorted(found))

    def channels(self, space: Space) -> int:
        """The numbers of an element where all are independent and of one kind; else 0."""
        members = parts(self, space)
        return space.dim if isinstance(space, Vectors) and len(members) == 1 and members[0].head.independent else 0

    def module(self, space: Space) -> nn.Module | None:
        own = {str(i): part.head.module(part.space) for i, part in enumerate(parts(self, space))}
        modules = {name: module for name, module in own.items() if module is not None}
        return nn.ModuleDict(modules) if modules else None

    def nats(self, space: Space, params: Tensor, x: Tensor, wanted: Tensor, own: nn.Module | None = None) -> Tensor:
        return self._total("nats", space, params, x, wanted, own)

    def loss(self, space: Space, params: Tensor, x: Tensor, wanted: Tensor, own: nn.Module | None = None) -> Tensor:
        return self._total("loss", space, params, x, wanted, own)

    def _total(
        self, cost: str, space: Space, params: Tensor, x: Tensor, wanted: Tensor, own: nn.Module | None
    ) -> Tensor:
        costs: list[Tensor] = [
            shaped(
                part.head,
                cost,
                getattr(part.head, cost)(part.space, inner, x[..., part.index], wanted[..., part.index], _own(own, i)),
                params.shape[:-1],
            )
            for i, (part, inner) in enumerate(self._split(space, params))
        ]
        return functools.reduce(torch.add, costs)

    def draw(self, space: Space, params: Tensor, rng: Rng, temperature: Tensor, own: nn.Module | None = None) -> Tensor:
        return self._gathered(
            space,
            [
                shaped(
                    part.head,
                    "draw",
                    part.head.draw(
                        part.space,
                        inner,
                        rng.skip(i * BLOCK),
                        torch.ones_like(temperature) if part.ends else temperature,
                        _own(own, i),
                    ),
                    element(part.space, inner),
                )
                for i, (part, inner) in enumerate(self._split(space, params))
            ],
        )

    def mean(self, space: Space, params: Tensor, own: nn.Module | None = None) -> Tensor:
        split = self._split(space, params)
        return self._gathered(space, [p.head.mean(p.space, inner, _own(own, i)) for i, (p, inner) in enumerate(split)])

    def quantile(self, space: Space, params: Tensor, q: float, own: nn.Module | None = None) -> Tensor:
        split = self._split(space, params)
        return self._gathered(
            space, [p.head.quantile(p.space, inner, q, _own(own, i)) for i, (p, inner) in enumerate(split)]
        )

    def scaled(self, space: Space, params: Tensor, log_scale: Tensor) -> Tensor:
        moved = [
            part.head.scaled(part.space, inner, log_scale[..., part.index])
            for part, inner in self._split(space, params)
        ]
        return torch.cat(moved, -1)

    def _split(self, space: Space, params: Tensor) -> list[tuple[Part, Tensor]]:
        members = parts(self, space)
        if len(members) == 1:
            return [(members[0], params)]
        return list(zip(members, torch.split(params, [part.size for part in members], -1), strict=True))

    def _gathered(self, space: Space, values: list[Tensor]) -> Tensor:
        """Numbers of the parts, in the order of the element."""
        if len(values) == 1:
            return values[0]
        order = [channel for part in parts(self, space) for channel in part.channels]
        return torch.cat(values, -1)[..., np.argsort(order)]


@functools.lru_cache(maxsize=64)
def parts(head: Composed, space: Space) -> tuple[Part, ...]:
    """Which head has which fields of this space."""
    assert isinstance(space, Vectors)
    open_fields = {field.name: field for field in space.all_fields}
    chosen = []
    flag = [space.all_fields[-1].name] if space.ends else []
    by_support = [Normal(), LogNormal(), Counts(), Bernoulli(), Categorical()]
    candidates = [(member, list(member.covers(space))) for member in head.heads]
    candidates += [(member, [name for name in member.covers(space) if name not in flag]) for member in by_support]
    for member, covered in [*candidates, (Bernoulli(), flag)]:
        names = [name for name in covered if name in open_fields]
        if not names:
            continue
        inner = Vectors(fields=tuple(open_fields.pop(name) for name in names))
        slices = space.slices
        channels = tuple(i for name in names for i in range(slices[name].start, slices[name].stop))
        chosen.append(Part(member, inner, channels, member.size(inner), names == flag))
    given = [part.head for part in chosen]
    for member in head.heads:
        if member not in given:
            raise _unused(member, head, space)
    return tuple(chosen)


def _unused(member: Head, head: Composed, space: Vectors) -> UnsupportedSpace:
    """The error of a head that no field has, with those that fit the fields."""
    others = [other for other in head.heads if other is not member]
    if member.covers(space):
        return UnsupportedSpace(
            f"the head {member.name!r} has no field left: those before it have all of its",
            hint="leave it out of process.head.heads",
        )
    fields = {field.name: (*field.within[:1], field.support)[0] for field in space.all_fields}
    found = "; ".join(f"{name}: {kind}" for name, kind in list(fields.items())[:3]) + " ..." * (len(fields) > 3)
    kinds = [kind() for name, kind in members_of(Head).items() if name != head.name]
    fitting = [kind.name for kind in kinds if isinstance(kind, Head) and kind.covers(space)]
    hint = "leave it out of process.head.heads" if others else "leave process.head unset"
    return UnsupportedSpace(
        f"the head {member.name!r} is a distribution over fields that are {' or '.join(member.supports)}, "
        f"of which there is none ({found})",
        hint=f"{hint}; here fit: {', '.join(fitting)}" if fitting else hint,
    )


def _own(own: nn.Module | None, part: int) -> nn.Module | None:
    """The trained tensors of one part."""
    assert own is None or isinstance(own, nn.ModuleDict)
    return own[str(part)] if own is not None and str(part) in own else None
