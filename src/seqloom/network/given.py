"""Where conditions enter: added to every position, aligned with the positions, or attended to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from seqloom.core.errors import ConfigError
from seqloom.network.backbone import Backbone
from seqloom.network.trunk import Trunk, embedding
from seqloom.sequence.batch import Condition
from seqloom.sequence.space import Space, Tokens


@dataclass(frozen=True)
class ConditionSpec:
    """A condition as the network has it: what its elements are, where it enters, and by which trunk.

    `align`: element t belongs to position t of the canvas. `encoder` None: what is attended to is read both ways by
    the network's own mixers, and what is added or aligned enters as it is.
    """

    space: Space
    enters: Literal["add", "align", "attend"]
    encoder: Backbone | None = None


@dataclass(frozen=True)
class EncodedConditions:
    """Conditions, encoded, of each row.

    `added` (B,1|T,width) is for every position, element s of `aligned` (G,S,width) for position s of the network, and
    `pairs` are, for each layer, keys and values (B,S,2*width) of all elements that can be attended to, of which
    `present` (B,S) exist, or (B,T,S) for each position. Rows that are all the same take the memory of one. What is
    aligned is as long as the canvas: rows that have the same share it, and `owner` (B,) says which one each row has
    (None: each its own, or all the only one).
    """

    added: Float[Tensor, "b #t d"] | None = None
    aligned: Float[Tensor, "g s d"] | None = None
    pairs: tuple[Float[Tensor, "b s e"], ...] = ()
    present: Bool[Tensor, "b *t s"] | None = None
    owner: Int[Tensor, "b"] | None = None

    def select(self, rows: NDArray[np.int64]) -> EncodedConditions:
        """The conditions of some of the rows; one row that is asked for many times is not copied."""

        def pick(x: Tensor) -> Tensor:
            same = len(x) == 1 or x.stride(0) == 0
            return x[:1].expand(len(rows), *x.shape[1:]) if same else x[rows]

        added, present = (None if x is None else pick(x) for x in (self.added, self.present))
        aligned, owner = self.aligned, None
        if aligned is not None:
            owners = self._owners[rows]
            if len(rows) < len(self._owners):  # what no row has any more is let go
                used, order = np.unique(owners.cpu().numpy(), return_inverse=True)
                aligned = aligned if len(used) == len(aligned) else aligned[used]
                owners = torch.as_tensor(order.reshape(-1), device=aligned.device)
            owner = owners
        return EncodedConditions(added, aligned, tuple(map(pick, self.pairs)), present, owner)

    def goes_on(self, rows: int) -> NDArray[np.bool_]:
        """Whether each of so many rows but the first has the conditions of the row before it."""
        alike = np.ones(rows - 1, bool)
        for x in (self.added, self.present, *self.pairs, None if self.aligned is None else self._owners):
            if x is not None and len(x) > 1 and x.stride(0):
                alike &= (x[1:] == x[:-1]).reshape(rows - 1, -1).all(1).cpu().numpy()
        return alike

    @property
    def _owners(self) -> Int[Tensor, "b"]:
        """Which of the aligned conditions each row has (B,)."""
        assert self.aligned is not None
        if self.owner is not None:
            return self.owner
        count, rows = len(self.aligned), max(len(x) for x in (self.aligned, self.added, self.present) if x is not None)
        own = torch.arange(count, device=self.aligned.device)
        return own if count == rows else own.expand(rows)

    @staticmethod
    def join(parts: list[EncodedConditions]) -> EncodedConditions:
        """The conditions of several groups of rows, one after another; shorter ones are padded."""
        if len(parts) == 1:
            return parts[0]

        def together(pieces: list[Tensor]) -> Tensor | None:
            return torch.cat(_padded(pieces)) if pieces else None

        groups = [p.aligned for p in parts if p.aligned is not None]
        before = np.cumsum([0, *map(len, groups)])
        owners = [p._owners + int(n) for p, n in zip(parts, before, strict=False) if p.aligned is not None]
        return EncodedConditions(
            together([p.added for p in parts if p.added is not None]),
            together(groups),
            tuple(
                x for layer in zip(*(p.pairs for p in parts), strict=True) if (x := together(list(layer))) is not None
            ),
            together([p.present for p in parts if p.present is not None]),
            torch.cat(owners) if owners else None,
        )

    def at(self, position: Int[Tensor, "#b t"]) -> Float[Tensor, "b t d"] | None:
        """What is added at these positions of the network."""
        if self.aligned is None:
            return self.added
        inside = position < self.aligned.shape[1]  # (B|1,T)
        index = position.masked_fill(~inside, 0)
        if len(position) == 1:  # the same of every row
            part = self.aligned[:, index[0]]  # (G,T,width)
            part = part if self.owner is None else part[self.owner]
        else:
            part = self.aligned[self._owners.unsqueeze(-1), index]  # (B,T,width)
        part = part.masked_fill(~inside.unsqueeze(-1), 0.0)
        return part if self.added is None else part + self.added

    def first(self, length: int) -> Float[Tensor, "b t d"] | None:
        """What is added at the first positions of the network."""
        if self.aligned is None:
            return self.added
        part = self.aligned[:, :length]  # (G,T,width)
        part = F.pad(part, (0, 0, 0, length - part.shape[1])) if part.shape[1] < length else part
        part = part if self.owner is None else part[self.owner]
        return part if self.added is None else part + self.added


class Conditions(nn.Module):
    """The encoders of all conditions of a network."""

    def __init__(self, specs: Mapping[str, ConditionSpec], backbone: Backbone) -> None:
        super().__init__()
        self.specs = dict(specs)
        plain = backbone.replace(dropout=0.0, channels="joint", patch=1)
        encoders = {name: spec.encoder or (plain if spec.enters == "attend" else None) for name, spec in specs.items()}
        self.ends, self.trunks, self.exits = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for name, spec in specs.items():
            encoder = encoders[name]
            self.ends[name] = ConditionEnd(spec, encoder.width if encoder else backbone.width, backbone.width)
            if encoder is not None:
                self.trunks[name] = Trunk(encoder, None, timed=False, attends=False)
                if encoder.width != backbone.width:
                    self.exits[name] = nn.Linear(encoder.width, backbone.width, bias=False)
        self.patch = backbone.patch if any(spec.enters == "align" for spec in specs.values()) else 1
        self.together = nn.Linear(self.patch * backbone.width, backbone.width, bias=False) if self.patch > 1 else None
        """Of the aligned elements of a patch those of its one position."""
        self.attended = [name for name, spec in specs.items() if spec.enters == "attend"]
        self.null = nn.Parameter(torch.empty(backbone.width)) if self.attended else None
        # Of one condition alone it is clear which it is.
        self.marks = nn.Parameter(torch.empty(len(self.attended), backbone.width)) if len(self.attended) > 1 else None

    def initialise(self, generator: Generator) -> None:
        if self.null is not None:
            nn.init.normal_(self.null, std=0.02, generator=generator)
        if self.marks is not None:
            nn.init.normal_(self.marks, std=0.3, generator=generator)

    def forward(self, given: Mapping[str, Condition], rows: int) -> tuple[EncodedConditions, Tensor | None]:
        """Encoded conditions but for their keys and values, and the elements (B,S,width) of which these are made.

        A condition that is missing is null for all rows. Where rows run through several sequences, the elements of all
        of these are those of every row (1,S,width), and each position attends to its own.
        """
        unknown = set(given) - set(self.specs)
        if unknown:
            raise ConfigError(f"the model has no condition {sorted(unknown)[0]!r}", hint=f"known: {list(self.specs)}")
        owner = next((c.owner for c in given.values() if c.owner is not None), None)  # (B,T)
        added: Tensor | None = None
        aligned: list[Tensor] = []
        elements: list[Tensor] = []
        present: list[Tensor] = []
        if self.null is not None:
            each = rows if owner is None else 1
            elements.append(self.null.expand(each, 1, -1))
            present.append(torch.ones(each, 1, dtype=torch.bool, device=self.null.device))
        for name, spec in self.specs.items():
            condition, h = self._encoded(name, given.get(name), rows if owner is None else 1)
            end = self.ends[name]
            assert isinstance(end, ConditionEnd)
            if spec.enters == "attend":
                h = h if self.marks is None else h + self.marks[self.attended.index(name)]
                mask = condition.present
                if condition.owner is not None:  # all sequences' elements (1,N*S,width), masked by position
                    owned = condition.owner.unsqueeze(-1) == torch.arange(len(h), device=h.device)  # (B,T,N)
                    mask = (owned.unsqueeze(-1) & mask).flatten(2)  # (B,T,N*S)
                    h = h.flatten(0, 1).unsqueeze(0)
                elements.append(h)
                present.append(mask)
                continue
            if spec.enters == "add":
                part = end.pooled(h, condition.present)
                part = part if condition.owner is None else part[:, 0][condition.owner]
            else:  # what stands where there is no element is added everywhere, and taken away where there is one
                assert end.null is not None
                part = end.null.expand(rows, 1, -1)
                aligned.append((h - end.null) * condition.present.unsqueeze(-1))
            added = part if added is None else added + part
        beside = self._in_patches(reduce(torch.add, _padded(aligned))) if aligned else None
        return (
            EncodedConditions(added, beside, present=_side_by_side(present, owner)),
            torch.cat(elements, 1) if elements else None,
        )

    def _in_patches(self, aligned: Tensor) -> Tensor:
        """Of what is aligned with elements (B,S,width) that of the network's positions (B,S/p,width)."""
        if self.together is None:
            return aligned
        filled = F.pad(aligned, (0, 0, 0, -aligned.shape[1] % self.patch))
        patches: Tensor = self.together(filled.reshape(len(filled), -1, self.patch * filled.shape[2]))
        return patches

    def _encoded(self, name: str, condition: Condition | None, rows: int) -> tuple[Condition, Tensor]:
        """One condition and the features (B,S,width) of its elements."""
        end = self.ends[name]
        assert isinstance(end, ConditionEnd)
        condition = condition or end.nothing(rows)
        h: Tensor = end(condition)
        if name in self.trunks:
            h, _ = self.trunks[name](h, present=condition.present)
        return condition, self.exits[name](h) if name in self.exits else h


def _side_by_side(present: list[Tensor], owner: Tensor | None) -> Tensor | None:
    """What exists of several conditions (B,S), or (B,T,S) where each position has its own."""
    if owner is not None:
        each = (x if x.ndim == 3 else x.unsqueeze(1) for x in present)
        present = [x.expand(*owner.shape, -1) for x in each]
    return torch.cat(present, -1) if present else None


def _padded(parts: list[Tensor]) -> list[Tensor]:
    """Parts (B,S,...) with zeros after the shorter ones."""
    longest = max((part.shape[1] for part in parts), default=0)
    return [F.pad(part, (0, 0) * (part.ndim - 2) + (0, longest - part.shape[1])) for part in parts]


class ConditionEnd(nn.Module):
    """Elements of one condition as `inner` features, with a learned null of the network's width."""

    def __init__(self, spec: ConditionSpec, inner: int, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.embed: nn.Module = (
            embedding(spec.space.total, inner) if isinstance(spec.space, Tokens) else nn.Linear(spec.space.dim, inner)
        )
        self.null = nn.Parameter(torch.empty(width)) if spec.enters != "attend" else None

    def initialise(self, generator: Generator) -> None:
        if self.null is not None:
            nn.init.normal_(self.null, std=0.02, generator=generator)

    def nothing(self, rows: int) -> Condition:
        """The null condition."""
        device = next(self.parameters()).device
        if isinstance(self.spec.space, Tokens):
            x = torch.zeros(rows, 1, dtype=torch.int64, device=device)
        else:
            x = torch.zeros(rows, 1, self.spec.space.dim, device=device)
        return Condition(x, torch.zeros(rows, 1, dtype=torch.bool, device=device))

    def forward(self, condition: Condition) -> Tensor:
        weight = next(self.embed.parameters())
        x = condition.x if condition.x.dtype == torch.int64 else condition.x.to(weight.dtype)
        features: Tensor = self.embed(x)
        return features

    def pooled(self, h: Tensor, present: Tensor) -> Tensor:
        """The mean over the elements that exist (B,1,width); the null vector where none does."""
        weight = present.unsqueeze(-1).to(h.dtype)
        mean = (h * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp_min(1)
        assert self.null is not None
        return torch.where(present.any(1)[:, None, None], mean, self.null)
