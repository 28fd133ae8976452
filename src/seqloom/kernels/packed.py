"""Packed maps: linear maps whose matrices lie in int8 or bfloat16.

A text that is made symbol by symbol is made as fast as the weights come from memory, so that fewer bytes are less time.
What a map gives is the same whatever computes it. With int8 also the features that go in are rounded, each row by its
greatest, and sums of whole numbers are exact in whatever order; where this machine has no fast products of them they
are taken in float32, which holds them exactly. With bfloat16 only the matrix is rounded.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cache, cached_property, partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqloom.core.speeds import FASTER, fastest, kept, on_one_thread
from seqloom.kernels import rows as kernel

Precision = Literal["int8", "bfloat16"]
"""In what packed matrices lie."""

Rows = Literal["few", "many"]
MATRICES, WIDTH, MANY = 24, 768, 16
"""Square matrices that are timed one after another, together larger than what is kept near a core, and rows."""
LEAST = 1 << 15
"""Numbers of a matrix from which on it is packed: smaller ones are read at once anyway."""
SMALLEST = 1e-30
"""Added to nothing: the least that the greatest feature of a row is taken for."""


class PackedMap(nn.Module):
    """A linear map x W^T + b whose matrix lies in fewer bytes; `weight` is that, what goes in and comes out is wide."""

    precision: ClassVar[Precision]
    few: ClassVar[int]
    """Rows up to which the kernel for few is faster than that for many."""
    weight: Tensor
    bias: nn.Parameter | None

    scale: nn.Parameter | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        stored, scale = self.stored(weight.detach())
        self.register_buffer("weight", stored)
        self.scale = None if scale is None else nn.Parameter(scale, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)

    @staticmethod
    @abstractmethod
    def stored(weight: Tensor) -> tuple[Tensor, Tensor | None]:
        """A matrix in fewer bytes, and the scale of each of its rows where there is one."""

    @abstractmethod
    def wide(self) -> Tensor:
        """The matrix in float32."""

    @cached_property
    def few_rows(self) -> kernel.RowsMap:
        """The map of rows (N,D) in float32 by the kernel for few of them."""
        return kernel.RowsMap(self.weight, self.scale, self.bias, self.few)

    @abstractmethod
    def many_rows(self, x: Tensor) -> Tensor:
        """The same by torch's operators."""

    @cached_property
    def plain(self) -> Tensor:
        """The stored numbers in float32."""
        return self.weight.float()

    def suits(self, x: Tensor) -> bool:
        """Whether these rows are few, and mapped by the kernel for few."""
        return x.shape[0] <= self.few and self.fits and x.dtype == torch.float32

    @cached_property
    def fits(self) -> bool:
        """Whether few rows are mapped by the kernel for these."""
        return self.weight.device.type == "cpu" and faster(self.precision)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        out = (self.few_rows if self.suits(rows) else self.many_rows)(rows).view(*x.shape[:-1], -1)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return out
        smooth = F.linear(x, self.wide().to(x.dtype))  # rounding has no slope: the map's own is taken
        return smooth + (out - smooth).detach()


class Int8Map(PackedMap):
    """Whole numbers from -127 to 127, each row of the matrix with a scale of its own, and so each row that goes in."""

    precision = "int8"
    few = 16

    scale: nn.Parameter

    @staticmethod
    def stored(weight: Tensor) -> tuple[Tensor, Tensor | None]:
        return rounded(weight)

    def wide(self) -> Tensor:
        return self.plain * self.scale.unsqueeze(1)

    def many_rows(self, x: Tensor) -> Tensor:
        step = x.abs().amax(1, keepdim=True).clamp_min_(SMALLEST).div_(127)
        out = (self.sums(torch.div(x, step).round_()) * step).mul_(self.scale.to(x.dtype))
        return out if self.bias is None else out.add_(self.bias.to(x.dtype))

    def sums(self, x: Tensor) -> Tensor:
        """Products of whole numbers (N,D) with the matrix's."""
        if x.device.type == "cpu" and faster("int8", "many"):
            return torch._int_mm(x.to(torch.int8), self.weight.t())
        return whole_sums(x, self.plain)


class Bfloat16Map(PackedMap):
    """The first 8 bits of each number of the matrix; what goes in is as it is, and added up in float32."""

    precision = "bfloat16"
    few = 16

    @staticmethod
    def stored(weight: Tensor) -> tuple[Tensor, Tensor | None]:
        return weight.bfloat16(), None

    def wide(self) -> Tensor:
        return self.plain

    @cached_property
    def fits(self) -> bool:
        return super().fits and self.weight.shape[1] % kernel.MULTIPLE == 0

    def many_rows(self, x: Tensor) -> Tensor:
        return F.linear(x, self.plain.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class PackedTable(nn.Module):
    """An embedding whose rows lie in fewer bytes."""

    weight: Tensor

    def __init__(self, weight: Tensor, precision: Precision) -> None:
        super().__init__()
        whole, scale = rounded(weight) if precision == "int8" else (weight.detach().bfloat16(), None)
        self.register_buffer("weight", whole)
        self.scale = None if scale is None else nn.Parameter(scale, requires_grad=False)

    def forward(self, index: Tensor) -> Tensor:
        rows = F.embedding(index, self.weight).float()
        return rows if self.scale is None else rows * self.scale[index].unsqueeze(-1)


MAPS: dict[Precision, type[PackedMap]] = {"int8": Int8Map, "bfloat16": Bfloat16Map}


def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (N,D) as whole numbers from -127 to 127, and the scale (N,) of each of its rows."""
    weight = weight.detach().float()
    scale = weight.abs().amax(1).clamp_min(SMALLEST) / 127
    return (weight / scale.unsqueeze(1)).round().to(torch.int8), scale


def whole_sums(x: Tensor, weight: Tensor) -> Tensor:
    """X W^T of whole numbers up to 127 in float32: up to 1,040 of their products add up to no more than 2^24."""
    each = (1 << 24) // 127**2
    parts = zip(torch.split(x.float(), each, 1), torch.split(weight, each, 1), strict=True)
    return torch.stack([F.linear(*part) for part in parts]).sum(0).to(x.dtype)


@cache
def faster(precision: Precision, rows: Rows = "few") -> bool:
    """Whether this machine has a kernel for packed matrices that is so much faster that it is worth it."""
    return gain(precision, rows) >= FASTER


def gain(precision: Precision, rows: Rows = "few") -> float:
    """How many times faster one row, or many, are mapped than in float32: from the cache, or measured now (a second).

    0 where there is no kernel, or it does not give what it should.
    """
    if rows == "few" and kernel.library() is None:
        return 0.0
    return kept(f"{precision}-{rows}", partial(_measured, precision, rows))


def _measured(precision: Precision, rows: Rows) -> float:
    generator = torch.Generator().manual_seed(0)
    matrices = [torch.randn(WIDTH, WIDTH, generator=generator) for _ in range(MATRICES)]
    x = torch.randn(1 if rows == "few" else MANY, WIDTH, generator=generator)
    maps = [MAPS[precision](matrix, None) for matrix in matrices]
    with on_one_thread(), torch.inference_mode():
        try:
            if rows == "few":
                packed, right = maps[0].few_rows(x), maps[0].many_rows(x)
                seconds = fastest(lambda: [one.few_rows(x) for one in maps], 1)
            else:
                whole = torch.div(x, x.abs().max()).mul(127).round()
                packed, right = (
                    torch._int_mm(whole.to(torch.int8), maps[0].weight.t()),
                    whole_sums(whole, maps[0].plain),
                )
                seconds = fastest(lambda: [torch._int_mm(x.to(torch.int8), one.weight.t()) for one in maps], 1)
        except RuntimeError:  # a kernel that this processor, or this torch, lacks
            return 0.0
        if not torch.allclose(packed.float(), right, rtol=1e-4, atol=1e-3):
            return 0.0
        return round(fastest(lambda: [F.linear(x, matrix) for matrix in matrices], 1) / seconds, 2)
