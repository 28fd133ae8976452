"""Rows of sequences as tensors: what is trained on and scored (`Batch`), and what stands beside it (`Condition`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """What is given beside each row: elements x (B,S) or (B,S,D) and which of them exist (B,S).

    A row in which none exists has the null condition, which guidance and dropped conditions use. An aligned condition
    has one element for each position of its row (S == T), element t beside position t.

    Where rows run through several sequences, `owner` (R,T) says which of the B conditions each position of a row has.
    """

    x: Int[Tensor, "b s"] | Float[Tensor, "b s d"]
    present: Bool[Tensor, "b s"]
    owner: Int[Tensor, "r t"] | None = None
    aligned: bool = False

    def to(self, device: torch.device) -> Condition:
        """The same on a device."""
        owner = None if self.owner is None else self.owner.to(device)
        return Condition(self.x.to(device), self.present.to(device), owner, self.aligned)


@dataclass(frozen=True)
class Past:
    """The L elements of the same sequence before the first position of each row; not known where there is none."""

    x: Int[Tensor, "b l"] | Float[Tensor, "b l d"]
    known: Bool[Tensor, "b l"] | Bool[Tensor, "b l d"]

    def to(self, device: torch.device) -> Past:
        """The same on a device."""
        return Past(self.x.to(device), self.known.to(device))


@dataclass(frozen=True)
class Batch:
    """Rows of sequences for a loss or a likelihood.

    A cell ((B,T) for tokens, (B,T,D) for vectors) is absent (`known` False: enters every network as 0 and no loss),
    shown (given clean) or to be made (known, not shown: enters as the process says, and is the loss).
    `begins` marks positions that begin a sequence; where a row goes on from an earlier chunk none is marked at 0.
    `part`, in training: which part of the split each element belongs to, where what was counted of it is left out.
    `noised`, in training: the symbols that are read in place of x, which is learned as it is; None: x itself.
    """

    x: Int[Tensor, "b t"] | Float[Tensor, "b t d"]
    present: Bool[Tensor, "b t"]
    known: Bool[Tensor, "b t"] | Bool[Tensor, "b t d"]
    shown: Bool[Tensor, "b t"] | Bool[Tensor, "b t d"]
    begins: Bool[Tensor, "b t"]
    given: Mapping[str, Condition] = field(default_factory=dict)
    past: Past | None = None
    part: Int[Tensor, "b t"] | None = None
    noised: Int[Tensor, "b t"] | None = None

    @property
    def read(self) -> Tensor:
        """The elements that the network reads, where they are not what it makes."""
        return self.x if self.noised is None else self.noised

    @property
    def wanted(self) -> Tensor:
        """The cells that are the loss."""
        return self.known & ~self.shown

    def split(self, rows: int) -> list[Batch]:
        """Batches of so many rows each, without copying; only where no conditions stand beside them."""
        assert not self.given

        def parts(whole: Tensor | None) -> Sequence[Any]:
            return [None] * -(-len(self.x) // rows) if whole is None else torch.split(whole, rows)

        past = map(Past, parts(self.past.x), parts(self.past.known)) if self.past else parts(None)
        cells = map(parts, (self.x, self.present, self.known, self.shown, self.begins))
        return [
            Batch(x, present, known, shown, begins, {}, before, part)
            for x, present, known, shown, begins, before, part in zip(*cells, past, parts(self.part), strict=True)
        ]

    def to(self, device: torch.device) -> Batch:
        """The same on a device, conditions and what came before included."""
        if self.x.device == device:
            return self
        return Batch(
            x=self.x.to(device),
            present=self.present.to(device),
            known=self.known.to(device),
            shown=self.shown.to(device),
            begins=self.begins.to(device),
            given={name: condition.to(device) for name, condition in self.given.items()},
            past=None if self.past is None else self.past.to(device),
            part=None if self.part is None else self.part.to(device),
            noised=None if self.noised is None else self.noised.to(device),
        )
