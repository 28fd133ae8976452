"""What positions cost by a head of very many outputs, without keeping them.

Of 30,000 symbols the outputs of a step are half a gigabyte, and as much again for each operation up to the loss. Here
few positions at a time have outputs; on the way back these are made once more, which takes about as long as to write
and read them all.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqloom.sequence.guess import Cost

AT_ONCE = 4 << 20
"""Outputs that are there at once, or those of one position; fewer take longer."""


def in_parts(h: Tensor, weight: Tensor, bias: Tensor, cost: Cost, kind: torch.dtype | None = None) -> Tensor:
    """Costs (N,) of the outputs h weight' + bias (N,P) of features (N,D); products are computed in this `kind`."""
    size, kind = max(1, AT_ONCE // len(weight)), kind or h.dtype
    if size >= len(h):
        return cost(F.linear(h.to(kind), weight.to(kind), bias.to(kind)).to(h.dtype), slice(0, len(h)))
    out: Tensor = InParts.apply(h, weight, bias, cost, size, kind)  # type: ignore[no-untyped-call]
    return out


class InParts(torch.autograd.Function):
    """Costs of so many positions after another; the cost may depend on nothing else that is trained."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, cost: Cost, size: int, kind: torch.dtype) -> Tensor:
        ctx.cost, ctx.plain = cost, h.dtype
        ctx.parts = [slice(at, min(at + size, len(h))) for at in range(0, len(h), size)]
        h, weight, bias = h.to(kind), weight.to(kind), bias.to(kind)
        ctx.save_for_backward(h, weight, bias)
        return torch.cat([cost(F.linear(h[part], weight, bias).to(ctx.plain), part) for part in ctx.parts])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        h, weight, bias = ctx.saved_tensors
        of_h, of_weight, of_bias = (torch.zeros_like(x, dtype=ctx.plain) for x in ctx.saved_tensors)
        for part in ctx.parts:
            out = F.linear(h[part], weight, bias).to(ctx.plain).requires_grad_()
            with torch.enable_grad():
                costs = ctx.cost(out, part)
            (of_out,) = torch.autograd.grad(costs, out, gradient[part])
            of_bias += of_out.sum(0)
            of_out = of_out.to(h.dtype)
            of_h[part] = of_out @ weight
            of_weight += of_out.t() @ h[part]
        return of_h, of_weight, of_bias, None, None, None
