"""Where conditions enter: added to every position, or encoded by a second trunk and attended to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from seqloom.core.errors import ConfigError
from seqloom.sequence.batch import Condition
from seqloom.sequence.space import Space, Tokens


@dataclass(frozen=True)
class ConditionSpec:
    """A condition as the network knows it: what its elements are and where it enters."""

    space: Space
    enters: Literal["add", "align", "attend"]


@dataclass(frozen=True)
class EncodedConditions:
    """Conditions, encoded: `added` (B,1,width) for every position; `elements` (B,S,width) to attend to."""

    added: Tensor | None = None
    elements: Tensor | None = None
    present: Tensor | None = None

    def select(self, rows: NDArray[np.int64]) -> EncodedConditions:
        """The memory of some of the rows."""
        pick = [None if part is None else part[rows] for part in (self.added, self.elements, self.present)]
        return EncodedConditions(*pick)

    @staticmethod
    def join(parts: list[EncodedConditions]) -> EncodedConditions:
        """The memories of several groups of rows, one after another; shorter conditions are padded."""
        if len(parts) == 1:
            return parts[0]
        added = None if parts[0].added is None else torch.cat([p.added for p in parts if p.added is not None])
        if parts[0].elements is None:
            return EncodedConditions(added)
        longest = max(p.elements.shape[1] for p in parts if p.elements is not None)
        wide = [p.padded(longest) for p in parts]
        return EncodedConditions(
            added,
            torch.cat([p.elements for p in wide if p.elements is not None]),
            torch.cat([p.present for p in wide if p.present is not None]),
        )

    def padded(self, length: int) -> EncodedConditions:
        """The same with room for `length` elements to attend to."""
        if self.elements is None or self.present is None:
            return self
        extra = length - self.elements.shape[1]
        return replace(
            self,
            elements=nn.functional.pad(self.elements, (0, 0, 0, extra)),
            present=nn.functional.pad(self.present, (0, extra)),
        )


class Conditions(nn.Module):
    """The ends and trunks of all conditions of a network."""

    def __init__(self, specs: Mapping[str, ConditionSpec], width: int, second: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.specs = dict(specs)
        self.ends = nn.ModuleDict({name: ConditionEnd(spec, width) for name, spec in specs.items()})
        self.trunks = nn.ModuleDict(second)
        attends = any(spec.enters == "attend" for spec in specs.values())
        self.null = nn.Parameter(torch.empty(width)) if attends else None

    def initialise(self, generator: Generator) -> None:
        if self.null is not None:
            nn.init.normal_(self.null, std=0.02, generator=generator)

    def forward(self, given: Mapping[str, Condition], rows: int) -> EncodedConditions | None:
        """Encode conditions; one that is missing is null for all rows."""
        if not self.specs:
            return None
        unknown = set(given) - set(self.specs)
        if unknown:
            raise ConfigError(f"the model has no condition {sorted(unknown)[0]!r}", hint=f"known: {list(self.specs)}")
        added: Tensor | None = None
        elements: list[Tensor] = []
        present: list[Tensor] = []
        for name, spec in self.specs.items():
            end = self.ends[name]
            assert isinstance(end, ConditionEnd)
            condition = given.get(name) or end.nothing(rows)
            h = end(condition)
            if spec.enters == "add":
                part = end.pooled(h, condition.present)
                added = part if added is None else added + part
            else:
                h, _ = self.trunks[name](
                    h, level=None, memory=None, present=condition.present, states=None, count=None, rng=None
                )
                elements.append(h)
                present.append(condition.present)
        if self.null is None:
            return EncodedConditions(added)
        null = self.null.expand(rows, 1, -1)
        here = torch.ones(rows, 1, dtype=torch.bool, device=null.device)
        return EncodedConditions(added, torch.cat([null, *elements], 1), torch.cat([here, *present], 1))


class ConditionEnd(nn.Module):
    """Elements of one condition as features, with a learned null."""

    def __init__(self, spec: ConditionSpec, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.embed: nn.Module = (
            nn.Embedding(spec.space.total, width)
            if isinstance(spec.space, Tokens)
            else nn.Linear(spec.space.dim, width)
        )
        self.null = nn.Parameter(torch.empty(width)) if spec.enters == "add" else None

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
