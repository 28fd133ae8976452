"""Whole sequences through a recurrence, and back, in C (sequences.c) where there is a compiler.

A library that reads a sequence step by step works out the slopes of the weights at each step; here they are one product
over all steps. Only what depends on the step before is computed step by step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from seqloom.core.speeds import OWN, own_is_faster
from seqloom.kernels.rows import MULTIPLE, RowsMap, library
from seqloom.kernels.stack import KINDS_OF_PARTS

ROWS = 64
"""So many rows at most are read by the program: of more the libraries of linear algebra make better products."""
TIMED = {"gru": "gru", "tanh": "rnn", "relu": "rnn"}
"""As which layers its cells are timed."""


def suits(cell: str, h: Tensor, start: Tensor, *weights: Tensor) -> bool:
    """Whether features (B,T,D) are read by the program: on a processor, where that was measured to be faster."""
    if cell not in TIMED or h.shape[1] == 1 or len(h) > ROWS or h.shape[2] % MULTIPLE or start.shape[2] % MULTIPLE:
        return False
    if h.device.type != "cpu" or any(one.dtype != torch.float32 for one in weights) or library() is None:
        return False
    half = torch.is_autocast_enabled("cpu")
    return (h.dtype == torch.float32 or half) and own_is_faster(TIMED[cell], start.shape[2], half)


@functools.cache
def halves() -> bool:
    """Whether this processor has products of numbers in bfloat16."""
    found = library()
    return found is not None and bool(found.has_halves())


def read(cell: str, h: Tensor, start: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
    """Outputs (B,T,W) and the last state (B,1,W) after features (B,T,D) and a first state, by weights as torch's."""
    half = torch.is_autocast_enabled("cpu") and halves()
    made: tuple[Tensor, Tensor] = Sequence.apply(cell, half, h, start, *weights)  # type: ignore[no-untyped-call]
    return made


def layer(kind: str, width: int) -> Callable[[Tensor], tuple[Tensor, ...]] | None:
    """One of this width, to be timed; None where there is no program."""
    if library() is None:
        return None
    gates, generator = 3 if kind == "gru" else 1, torch.Generator().manual_seed(0)
    shapes = [(gates * width, width)] * 2 + [(gates * width,)] * 2
    weights = [(0.1 * torch.randn(shape, generator=generator)).requires_grad_() for shape in shapes]
    return lambda x: read("gru" if kind == "gru" else "tanh", x, x.new_zeros(len(x), 1, width), *weights)


OWN.update({kind: functools.partial(layer, kind) for kind in TIMED.values()})


class Sequence(torch.autograd.Function):
    """Outputs (B,T,W) and the last state (B,1,W) of features (B,T,D), in bfloat16 where it is `half`.

    Its backward pass cannot be differentiated.
    """

    @staticmethod
    def forward(
        ctx: Any,
        cell: str,
        half: bool,
        h: Tensor,
        start: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
    ) -> tuple[Tensor, Tensor]:
        narrow = _narrow(half)
        x = narrow(h.transpose(0, 1)).contiguous()  # (T,B,D)
        steps, rows, width = x.shape[0], x.shape[1], weight_hh.shape[1]
        with torch.autocast("cpu", enabled=False):
            enter = F.linear(x, narrow(weight_ih), narrow(bias_ih)).float()
            recur = RowsMap(_lies(weight_hh, half), None, bias_hh.detach(), panels=True)
        states = enter.new_empty(steps + 1, rows, width)
        states[0] = start[:, 0]
        kept = enter.new_empty(steps, rows, 4 * width) if cell == "gru" else None
        room = enter.new_empty(rows * (2 * enter.shape[2] + 1))
        _call("sequence_forward", cell, recur, enter, (steps, rows, width), states, kept, room)
        ctx.cell, ctx.half, ctx.dtype = cell, half, h.dtype
        ctx.save_for_backward(x, states, kept, weight_ih, weight_hh)
        return states[1:].transpose(0, 1), states[-1].unsqueeze(1).clone()

    @staticmethod
    def backward(ctx: Any, of_outputs: Tensor, of_last: Tensor) -> tuple[Tensor | None, ...]:
        x, states, kept, weight_ih, weight_hh = ctx.saved_tensors
        narrow = _narrow(ctx.half)
        steps, rows, width = states.shape[0] - 1, states.shape[1], states.shape[2]
        of_outputs = of_outputs.transpose(0, 1).float().contiguous()
        by = of_last[:, 0].float().clone()
        back = RowsMap(_lies(weight_hh.t(), ctx.half), None, None, panels=True)
        enter = of_outputs.new_empty(steps, rows, len(weight_hh))
        before = torch.empty_like(enter) if ctx.cell == "gru" else enter
        room = enter.new_empty(rows * (2 * width + len(weight_hh) + 1))
        sizes = steps, rows, width
        _call("sequence_back", ctx.cell, back, of_outputs, sizes, states, kept, by, enter, before, room)
        into = narrow(enter).flatten(0, 1)  # (T*B,G*W)
        came = into if before is enter else narrow(before).flatten(0, 1)
        past = narrow(states[:-1]).flatten(0, 1)
        of_x = (into @ narrow(weight_ih)).view(x.shape).transpose(0, 1).to(ctx.dtype)
        of_biases = enter.sum((0, 1)), before.sum((0, 1))
        weights = (into.t() @ x.flatten(0, 1)).float(), (came.t() @ past).float()
        return None, None, of_x, by.unsqueeze(1), *weights, *of_biases


def _narrow(half: bool) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor.detach().bfloat16() if half else tensor.detach()


def _lies(weight: Tensor, half: bool) -> Tensor:
    return _narrow(half)(weight).contiguous()


def _call(name: str, cell: str, own: RowsMap, given: Tensor, sizes: tuple[int, ...], *tensors: Tensor | None) -> None:
    found = library()
    assert found is not None
    places = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
    getattr(found, name)(KINDS_OF_PARTS.index(cell), own.address, given.data_ptr(), *sizes, *places)
