"""Fast operations whose backward pass cannot be differentiated, beside the plain formula, whose can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

Operation = Callable[..., tuple[Tensor, ...]]


def differentiable(fast: Operation, plain: Operation, *inputs: Tensor) -> tuple[Tensor, ...]:
    """What `fast` gives for the inputs; where gradients of gradients are asked for, they are those of `plain`.

    Both take the inputs and give the same tensors, to rounding.
    """
    if not torch.is_grad_enabled() or not any(x.requires_grad for x in inputs):
        return fast(*inputs)
    return Fast.apply(fast, plain, *inputs)  # type: ignore[no-any-return, no-untyped-call]


class Fast(torch.autograd.Function):
    """The fast operation; its backward pass is the plain one's where that is to be differentiated itself."""

    @staticmethod
    def forward(ctx: Any, fast: Operation, plain: Operation, *inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_(x.requires_grad) for x in inputs]
            outputs = fast(*leaves)
        ctx.save_for_backward(*inputs)
        ctx.fast, ctx.plain, ctx.graph = fast, plain, (leaves, outputs)
        return tuple(x.detach() for x in outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        again = torch.is_grad_enabled()
        inputs = ctx.saved_tensors
        if again:
            leaves, outputs = inputs, ctx.plain(*inputs)
        elif ctx.graph is not None:
            (leaves, outputs), ctx.graph = ctx.graph, None  # what it keeps is free as soon as it is used
        else:
            with torch.enable_grad():
                leaves = [x.detach().requires_grad_(x.requires_grad) for x in inputs]
                outputs = ctx.fast(*leaves)
        sources = [x for x, needed in zip(leaves, ctx.needs_input_grad[2:], strict=True) if needed]
        computed = iter(torch.autograd.grad(outputs, sources, gradients, create_graph=again, allow_unused=True))
        return None, None, *(next(computed) if needed else None for needed in ctx.needs_input_grad[2:])


class Program(NamedTuple):
    """An operation and its backward pass, both written by hand, beside the plain formula.

    `forward` takes the inputs and gives `outputs` tensors, and behind them what the way back uses; `back` takes the
    inputs, these, and the slopes of all outputs, and gives those of the inputs. `plain` takes the inputs and gives the
    outputs, to rounding.
    """

    forward: Operation
    back: Operation
    plain: Operation
    outputs: int = 1

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What it gives for the inputs, with gradients, and gradients of gradients."""
        if torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
            return Written.apply(self, *inputs)  # type: ignore[no-any-return, no-untyped-call]
        return self.forward(*inputs)[: self.outputs]


class Written(torch.autograd.Function):
    """What a program gives; its backward pass is the plain formula's where that is to be differentiated itself."""

    @staticmethod
    def forward(ctx: Any, program: Program, *inputs: Tensor) -> tuple[Tensor, ...]:
        made = program.forward(*inputs)
        ctx.save_for_backward(*inputs, *made[program.outputs :])
        ctx.program, ctx.inputs = program, len(inputs)
        return made[: program.outputs]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, kept = ctx.saved_tensors[: ctx.inputs], ctx.saved_tensors[ctx.inputs :]
        if not torch.is_grad_enabled():
            return None, *ctx.program.back(*inputs, *kept, *gradients)
        sources = [x for x, needed in zip(inputs, ctx.needs_input_grad[1:], strict=True) if needed]
        outputs = ctx.program.plain(*inputs)
        computed = iter(torch.autograd.grad(outputs, sources, gradients, create_graph=True, allow_unused=True))
        return None, *(next(computed) if needed else None for needed in ctx.needs_input_grad[1:])
