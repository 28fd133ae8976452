"""Minimal GRU and LSTM over whole sequences, and back, in C (scans.c) where there is a compiler.

What torch does by a pass over memory for each operation and step is here one pass in either direction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqloom.kernels.rows import library

KINDS = {2: 0, 3: 1}
"""As `enum minimal` of scans.c: by how many times the width is projected to."""
ROOM = 8


def suits(p: Tensor, start: Tensor) -> bool:
    """Whether what is projected (B,T,G*D) is read by the program, from a state (B,D)."""
    kinds = (torch.float32, torch.bfloat16)
    here = p.device.type == "cpu" and p.dtype in kinds and start.dtype == torch.float32
    return here and p.shape[1] > 1 and library() is not None


def read(begins: Tensor | None, p: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """The states H (B,T,D) in float32, twice: `back` uses them. Nothing is remembered where a row `begins` (B,T)."""
    p, start = p.contiguous(), start.contiguous()
    h = start.new_empty(*p.shape[:2], start.shape[1])
    _call("minimal_forward", (p, _lying(begins), start), h.shape, (h,))
    return h, h


def back(begins: Tensor | None, p: Tensor, start: Tensor, h: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
    """The slopes of what is projected and of the first state, from those of the states."""
    p, start = p.contiguous(), start.contiguous()
    of_p, of_start = torch.empty_like(p), torch.empty_like(start)
    _call("minimal_back", (p, _lying(begins), start, h, by.contiguous()), h.shape, (of_p, of_start))
    return of_p, of_start


def _lying(begins: Tensor | None) -> Tensor | None:
    return None if begins is None else begins.contiguous()


def _call(name: str, given: tuple[Tensor | None, ...], shape: torch.Size, made: tuple[Tensor, ...]) -> None:
    p, start = given[0], given[2]
    assert p is not None
    assert start is not None
    room = start.new_empty(shape[0] * ROOM * shape[2])
    half = p.dtype == torch.bfloat16
    sources, places = ([None if one is None else one.data_ptr() for one in some] for some in (given, (room, *made)))
    getattr(library(), name)(KINDS[p.shape[2] // shape[2]], half, *sources, *shape, *places)
