"""Dilated convolutions: gated, causal, each looking further back than the one before (van den Oord et al. 2016)."""

from __future__ import annotations

from functools import partial

import torch
from pydantic import Field, PositiveInt
from torch import Generator, Tensor, nn

from seqloom.mixers.base import Mixer, MixerModule
from seqloom.mixers.recurrent import Recurrent, layer


class Conv(Mixer, name="conv"):
    """Separable convolutions one after another: what a position reads is 1 + (kernel - 1) x the sum of dilations.

    It keeps the elements that it still reads, so it decodes, carries state and reads both ways as a recurrent one does.
    """

    kernel: int = Field(default=4, ge=2)
    """Elements that each convolution reads."""
    dilations: tuple[PositiveInt, ...] = Field(default=(1, 4, 16), min_length=1)
    """How far apart they stand, one convolution each."""

    def build(self, width: int, block: int | None) -> MixerModule:
        return layer(partial(Dilated, self.kernel, self.dilations), width, block)


class Dilated(Recurrent):
    """One layer; a state is the elements (N,D) that its convolutions still read, one convolution after another."""

    def __init__(self, kernel: int, dilations: tuple[int, ...], inputs: int, width: int) -> None:
        self.spans = [(kernel - 1) * dilation for dilation in dilations]
        super().__init__(width, (sum(self.spans), width))
        self.dilations = dilations
        self.enter = nn.Linear(inputs, width) if inputs != width else nn.Identity()
        self.kernel = kernel
        self.taps = nn.ParameterList(torch.empty(width) for _ in range(len(dilations) * kernel))
        self.gates = nn.ModuleList(nn.Linear(width, 2 * width) for _ in dilations)
        self.out = nn.Linear(width, width, bias=False)

    def initialise(self, generator: Generator) -> None:
        with torch.no_grad():
            for tap in self.taps:
                tap.normal_(std=self.kernel**-0.5, generator=generator)
            self.out.weight.zero_()  # each layer starts as the identity

    def step(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        out, new = self.whole(x.unsqueeze(1), past)
        return out[:, 0], new

    def whole(self, h: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        h = self.enter(h)
        steps, kept = h.shape[1], []
        parts = zip(self.spans, torch.split(start, self.spans, 1), self.dilations, self.gates, strict=True)
        for number, (span, past, dilation, gate) in enumerate(parts):
            read = torch.cat([past, h], 1)  # (B,span+T,D)
            mixed = h * self.taps[number * self.kernel]
            for back in range(1, self.kernel):
                begin = span - back * dilation
                mixed = torch.addcmul(mixed, read[:, begin : begin + steps], self.taps[number * self.kernel + back])
            values, share = gate(mixed).chunk(2, -1)
            h = h + torch.tanh(values) * torch.sigmoid(share)
            kept.append(read[:, steps:])
        return self.out(h), torch.cat(kept, 1)
