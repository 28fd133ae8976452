"""Minimal GRU and LSTM over whole sequences, and back, in C (scans.c) where there is a compiler.

What torch does by a pass over memory for each operation and step is here one pass in either direction.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqloom.kernels.rows import library

KINDS = {2: 0, 3: 1}
"""As `enum minimal` of scans.c: by how many times the width is projected to."""
ROOM = 8


def suits(p: Tensor, start: Tensor) -> bool:
    """Whether what is projected (B,T,G*D) is read by the program, from a state (B,D)."""
    kinds = (torch.float32, torch.bfloat16)
    here = p.device.type == "cpu" and p.dtype in kinds and start.dtype == torch.float32
    return here and p.shape[1] > 1 and library() is not None


def read(begins: Tensor | None, p: Tensor, start: Tensor) -> tuple[Tensor]:
    """The states H (B,T,D) in float32; nothing is remembered where a row `begins` (B,T)."""
    h: Tensor = Minimal.apply(begins, p, start)  # type: ignore[no-untyped-call]
    return (h,)


class Minimal(torch.autograd.Function):
    """See `read`. Its backward pass cannot be differentiated."""

    @staticmethod
    def forward(ctx: Any, begins: Tensor | None, p: Tensor, start: Tensor) -> Tensor:
        p, start = p.contiguous(), start.contiguous()
        begins = None if begins is None else begins.contiguous()
        h = start.new_empty(*p.shape[:2], start.shape[1])
        _call("minimal_forward", (p, begins, start), h.shape, (h,))
        ctx.save_for_backward(begins, p, start, h)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by: Tensor) -> tuple[None, Tensor, Tensor]:
        begins, p, start, h = ctx.saved_tensors
        of_p, of_start = torch.empty_like(p), torch.empty_like(start)
        _call("minimal_back", (p, begins, start, h, by.contiguous()), h.shape, (of_p, of_start))
        return None, of_p, of_start


def _call(name: str, given: tuple[Tensor | None, ...], shape: torch.Size, made: tuple[Tensor, ...]) -> None:
    p, start = given[0], given[2]
    assert p is not None
    assert start is not None
    room = start.new_empty(shape[0] * ROOM * shape[2])
    half = p.dtype == torch.bfloat16
    sources, places = ([None if one is None else one.data_ptr() for one in some] for some in (given, (room, *made)))
    getattr(library(), name)(KINDS[p.shape[2] // shape[2]], half, *sources, *shape, *places)
