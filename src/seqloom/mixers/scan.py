"""Recurrent mixers whose gates do not depend on the past, so that sequences are read by a scan (Feng et al. 2024).

Their state follows h_t = a_t h_(t-1) + b_t, each feature by itself. A scan takes time linear in the length, and its
backward pass is the same scan from the other end, written by hand; nothing goes through logarithms.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from seqloom.kernels import scans
from seqloom.mixers.base import Mixer, MixerModule
from seqloom.mixers.recurrent import Recurrent, layer
from seqloom.mixers.twice import Program

BETWEEN = 4.0
"""Width of the feed-forward part after each layer: the state follows the past linearly, so what several elements say
together has to be made there."""
LONGEST = 64.0
"""Elements over which the slowest feature averages at the beginning; the fastest follows at once."""


class MinGru(Mixer, name="mingru"):
    """The minimal GRU: h = (1 - z) h + z c, where gate z and candidate c depend on the present element alone."""

    feedforward: ClassVar[float] = BETWEEN
    timed_as: ClassVar[str] = "products"

    def build(self, width: int, block: int | None) -> MixerModule:
        return layer(MinimalGru, width, block)


class MinLstm(Mixer, name="minlstm"):
    """The minimal LSTM: h = (f h + i c) / (f + i), where gates and candidate depend on the present element alone."""

    feedforward: ClassVar[float] = BETWEEN
    timed_as: ClassVar[str] = "products"

    def build(self, width: int, block: int | None) -> MixerModule:
        return layer(MinimalLstm, width, block)


class Scanned(Recurrent):
    """A recurrent layer of the form h_t = a_t h_(t-1) + b_t."""

    def __init__(self, inputs: int, width: int, gates: int) -> None:
        super().__init__(width)
        self.project = nn.Linear(inputs, gates * width)
        self.stacked = {"project.weight": gates}

    @abstractmethod
    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """A and b (..., D) of elements that are projected to gates, and last a candidate, (..., gates * D)."""

    def step(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.coefficients(self._precise(self.project(x)))
        new = torch.addcmul(b, a, past)
        return new, new

    def read(self, h: Tensor, start: Tensor, begins: Tensor | None) -> tuple[Tensor, Tensor]:
        projected, plain = self.project(h), partial(self._plain, begins)
        if self.watched is None and scans.suits(projected, start):
            (out,) = Program(partial(scans.read, begins), partial(scans.back, begins), plain)(projected, start)
        else:
            (out,) = plain(projected, start)
        return out, out[:, -1]

    def _plain(self, begins: Tensor | None, projected: Tensor, start: Tensor) -> tuple[Tensor]:
        """Outputs (B,T,D) by torch's operators."""
        a, b = self.coefficients(self._precise(projected))
        if begins is not None:
            a = a.masked_fill(begins.unsqueeze(-1), 0.0)
        return (scan(a, b, start),)

    def _precise(self, projected: Tensor) -> Tensor:
        """In the precision of the weights: what adds up over long needs it."""
        return projected.to(self.project.bias.dtype)

    def initialise(self, generator: Generator) -> None:
        """Features that follow at once and features that average over long, spread evenly."""
        span = torch.empty(self.width).uniform_(0, 1, generator=generator) * torch.log(torch.tensor(LONGEST))
        with torch.no_grad():
            self.project.bias[: self.width] = -torch.log(torch.expm1(span).clamp_min(1e-2))  # z = 1 / elements


class MinimalGru(Scanned):
    """One layer of the minimal GRU."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(inputs, width, 2)

    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        gate, candidate = projected.chunk(2, -1)
        update = gate.sigmoid()
        if self.watched is not None:
            self.watched("update", update)
        return 1 - update, update * candidate


class MinimalLstm(Scanned):
    """One layer of the minimal LSTM."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(inputs, width, 3)

    def coefficients(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        enter, forget, candidate = projected.chunk(3, -1)
        # i / (f + i) of two sigmoids is a sigmoid itself, of the difference of their logarithms.
        update = (F.logsigmoid(enter) - F.logsigmoid(forget)).sigmoid()
        if self.watched is not None:
            self.watched("update", update)
        return 1 - update, update * candidate


def scan(a: Tensor, b: Tensor, start: Tensor, chunk: int | None = None) -> Tensor:
    """H (B,T,D) with h_t = a_t h_(t-1) + b_t from `start` (B,D).

    It goes step by step through chunks of this many elements, all chunks side by side, then from chunk to chunk; None
    is one chunk on a CPU, where a step costs little, and chunks of about the root of T elsewhere.
    """
    if chunk is None:
        chunk = a.shape[1] if a.device.type == "cpu" else max(1, round(a.shape[1] ** 0.5))
    out: Tensor = Scan.apply(a, b, start, chunk, False)  # type: ignore[no-untyped-call]
    return out


class Scan(torch.autograd.Function):
    """The scan from either end, and its gradient; the gradient is made of scans, so it has gradients of its own."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, start: Tensor, chunk: int, reverse: bool) -> Tensor:
        h = _scan(a, b, start, chunk, reverse)
        ctx.save_for_backward(a, start, h)
        ctx.chunk, ctx.reverse = chunk, reverse
        return h

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        a, start, h = ctx.saved_tensors
        if ctx.reverse:  # h_t = a_t h_(t+1) + b_t, so what reaches h_t comes by way of h_(t-1)
            before = torch.cat([h[:, 1:], start.unsqueeze(1)], 1)
            onward = F.pad(a[:, :-1], (0, 0, 1, 0))
            edge = -1
        else:
            before = torch.cat([start.unsqueeze(1), h[:, :-1]], 1)
            onward = F.pad(a[:, 1:], (0, 0, 0, 1))
            edge = 0
        reached = Scan.apply(onward, gradient, torch.zeros_like(start), ctx.chunk, not ctx.reverse)  # type: ignore[no-untyped-call]
        return reached * before, reached, a[:, edge] * reached[:, edge], None, None


def _scan(a: Tensor, b: Tensor, start: Tensor, chunk: int, reverse: bool) -> Tensor:
    steps = a.shape[1]
    if chunk >= steps:
        return _steps(a, b, start, reverse)
    extra = -steps % chunk
    room = (0, 0, extra, 0) if reverse else (0, 0, 0, extra)  # what is added is read last, and changes nothing
    a, b = F.pad(a, room, value=1.0), F.pad(b, room)
    a, b = (x.view(len(x), -1, chunk, x.shape[2]) for x in (a, b))  # (B,C,L,D)
    inner = _steps(a.flatten(0, 1), b.flatten(0, 1), torch.zeros_like(a[:, :, 0]).flatten(0, 1), reverse).view_as(a)
    decay = a.flip(2).cumprod(2).flip(2) if reverse else a.cumprod(2)  # (B,C,L,D)
    edge = 0 if reverse else -1
    after = _steps(decay[:, :, edge], inner[:, :, edge], start, reverse)  # (B,C,D)
    if reverse:
        entering = torch.cat([after[:, 1:], start.unsqueeze(1)], 1)
    else:
        entering = torch.cat([start.unsqueeze(1), after[:, :-1]], 1)
    h = torch.addcmul(inner, decay, entering.unsqueeze(2)).flatten(1, 2)
    return h[:, extra:] if reverse else h[:, :steps]


def _steps(a: Tensor, b: Tensor, start: Tensor, reverse: bool) -> Tensor:
    """The recurrence as it stands, one step after another."""
    h = torch.empty_like(b)
    parts = list(zip(a.unbind(1), b.unbind(1), h.unbind(1), strict=True))
    for a_t, b_t, h_t in reversed(parts) if reverse else parts:
        torch.addcmul(b_t, a_t, start, out=h_t)
        start = h_t
    return h
