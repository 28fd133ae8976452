"""The feed-forward baseline: one hidden layer over a fixed window of elements (Bengio et al. 2003)."""

from __future__ import annotations

from functools import partial

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from seqloom.mixers.base import Mixer, MixerModule
from seqloom.mixers.recurrent import Recurrent, layer


class Window(Mixer, name="window"):
    """The last elements as one vector, through one hidden layer; where both sides are seen, the next ones as well.

    Several layers see further: 1 + depth x (size - 1) elements, and as many to the other side.
    """

    size: int = Field(default=8, ge=1)
    """Elements: a position itself and those just before it."""

    def build(self, width: int, block: int | None) -> MixerModule:
        return layer(partial(Windowed, self.size), width, block)


class Windowed(Recurrent):
    """One layer; a state is the elements (N,D) that are still in the window."""

    def __init__(self, size: int, inputs: int, width: int) -> None:
        super().__init__(width, (size - 1, inputs))
        self.size = size
        self.enter = nn.Linear(size * inputs, width)
        self.out = nn.Linear(width, width, bias=False)

    def initialise(self, generator: Generator) -> None:
        with torch.no_grad():
            self.out.weight.zero_()  # each layer starts as the identity

    def step(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        out, new = self.whole(x.unsqueeze(1), past)
        return out[:, 0], new

    def whole(self, h: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        read = torch.cat([start, h], 1)  # (B,N+T,D)
        inside = read.unfold(1, self.size, 1).transpose(2, 3).flatten(2)  # (B,T,size*D)
        out: Tensor = self.out(self.enter(inside).tanh())
        return out, read[:, h.shape[1] :]
