"""Parts of attention networks over whole sequences, and back, in C (blocks.c) where there is a compiler.

What torch does by a pass over memory for each operation is here one pass in either direction.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from seqloom.kernels.rows import library

LEAST = torch.finfo(torch.float32).eps
"""Added to the mean of squares, as torch does of numbers in float32."""
STRETCHES = 64
"""Stretches of positions, at most, over which slopes of weights are summed by themselves."""


def suits(*inputs: Tensor) -> bool:
    """Whether the program reads them: on a processor, in float32, or the first of them in bfloat16."""
    first, *others = inputs
    if first.device.type != "cpu" or first.dtype not in {torch.float32, torch.bfloat16} or not first.numel():
        return False
    return all(one.dtype == torch.float32 for one in others) and library() is not None


def squared(x: Tensor) -> Tensor:
    """max(x, 0)^2 (So et al. 2021)."""
    x = x.contiguous()
    y = torch.empty_like(x)
    _call("squared_forward", _half(x), x, x.numel(), y)
    return y


def squared_back(x: Tensor, by: Tensor) -> Tensor:
    """The slopes of x from those of its square."""
    x, by = x.contiguous(), by.to(x.dtype).contiguous()
    of_x = torch.empty_like(x)
    _call("squared_back", _half(x), x, by, x.numel(), of_x)
    return of_x


def normed(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors (..., D) in units of their root mean square, times a weight (D,), and one over these roots (...)."""
    x = x.contiguous()
    y, scale = torch.empty_like(x), x.new_empty(x.shape[:-1])
    _call("normed_forward", x, weight, LEAST, scale.numel(), x.shape[-1], y, scale)
    return y, scale


def normed_back(x: Tensor, weight: Tensor, scale: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
    """The slopes of vectors and weight from those of what was made of them."""
    x, by = x.contiguous(), by.contiguous()
    stretches = min(STRETCHES, scale.numel())
    of_x, of_weight = torch.empty_like(x), x.new_empty(stretches, x.shape[-1])
    _call("normed_back", x, weight, scale, by, scale.numel(), x.shape[-1], stretches, of_x, of_weight)
    return of_x, of_weight.sum(0)


def turned(
    heads: int, turns: Tensor | None, p: Tensor, query_gain: Tensor, key_gain: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries (B,H,T,E), keys and values (B,KV,T,E) of what is projected (B,T,(H+2*KV)*E), and what `turned_back` uses.

    Queries and keys are in units of their root mean square, times a gain (E,), and turned by complex numbers
    (B|1,T,E/2).
    """
    p = p.contiguous()
    rows, steps, each = *p.shape[:2], len(query_gain)
    kv = (p.shape[2] // each - heads) // 2
    q = query_gain.new_empty(rows, heads, steps, each)
    k, v = (q.new_empty(rows, kv, steps, each) for _ in range(2))
    units = q.new_empty(rows, steps, heads + kv)
    sizes = rows, steps, heads, kv, each
    _call("turned_forward", _half(p), p, query_gain, key_gain, *_turns(turns), LEAST, *sizes, q, k, v, units)
    return q, k, v, units


def turned_back(
    heads: int,
    turns: Tensor | None,
    p: Tensor,
    query_gain: Tensor,
    key_gain: Tensor,
    units: Tensor,
    *by: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """The slopes of what is projected and of both gains, from those of queries, keys and values."""
    p, by = p.contiguous(), tuple(one if one.stride(-1) == 1 else one.contiguous() for one in by)
    rows, steps, each, kv = *p.shape[:2], len(query_gain), units.shape[2] - heads
    stretches = min(STRETCHES, rows * steps)
    of_p, of_gains = torch.empty_like(p), query_gain.new_empty(stretches, 2, each)
    strides = (ctypes.c_int64 * 9)(*(stride for one in by for stride in one.stride()[:3]))
    sizes = rows, steps, heads, kv, each
    given = (_half(p), p, query_gain, key_gain, *_turns(turns), units, *sizes, *by)
    _call("turned_back", *given, ctypes.addressof(strides), stretches, of_p, of_gains)
    of_query, of_key = of_gains.sum(0)
    return of_p, of_query, of_key


def _half(x: Tensor) -> int:
    return x.dtype == torch.bfloat16


def _turns(turns: Tensor | None) -> tuple[Tensor | None, int]:
    """Complex numbers as the program reads them, and of how many rows they are."""
    if turns is None:
        return None, 0
    return torch.view_as_real(turns.contiguous()), len(turns)


def _call(name: str, *given: Tensor | float | None) -> None:
    getattr(library(), name)(*(one.data_ptr() if isinstance(one, Tensor) else one for one in given))
