"""Gated linear attention: a matrix state for each head, with decay (Yang et al. 2024; Dao & Gu 2024)."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor, nn

from seqloom.core.errors import ConfigError
from seqloom.mixers.base import Mixer, MixerModule
from seqloom.mixers.recurrent import Recurrent, layer

CHUNK = 64
"""Elements that are mixed by one matrix product; between chunks the states go on one after another."""
LONGEST = 256.0
"""Elements that the slowest head remembers at the beginning."""


class Linear(Mixer, name="linear"):
    """Attention without softmax, whose state does not grow: S = g S + k v', read by the query; a gate g a head."""

    heads: int | None = Field(default=None, ge=1)
    """Matrices, each over width / heads features; None: one for each 64 features."""

    def build(self, width: int, block: int | None) -> MixerModule:
        return layer(partial(GatedLinear, self.heads), width, block)


class GatedLinear(Recurrent):
    """One layer; a state is (H,E,E), from keys to values."""

    def __init__(self, heads: int | None, inputs: int, width: int) -> None:
        self.heads = heads or max(1, width // 64)
        if width % self.heads:
            raise ConfigError(f"width {width} does not divide into {self.heads} heads", path="backbone.width")
        each = width // self.heads
        super().__init__(width, (self.heads, each, each))
        self.project = nn.Linear(inputs, 3 * width, bias=False)
        self.stacked = {"project.weight": 3}
        self.gate = nn.Linear(inputs, self.heads)
        self.out = nn.Linear(width, width, bias=False)

    def initialise(self, generator: Generator) -> None:
        with torch.no_grad():
            self.out.weight.zero_()  # each layer starts as the identity
            span = torch.linspace(math.log(LONGEST), 0.7, self.heads).flip(0)  # a head that is alone remembers long
            self.gate.bias.copy_(torch.expm1(span).log())  # 1 - g = 1 / elements

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries, keys and values (..., H, E) and the logarithm of what is kept (..., H)."""
        q, k, v = self.project(x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        keep = F.logsigmoid(self.gate(x))
        if self.watched is not None:
            self.watched("keep", keep.exp())
        return F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, keep

    def close(self, mixed: Tensor) -> Tensor:
        """Outputs (..., D) of what the queries read (..., H, E), each head normed."""
        out: Tensor = self.out(F.rms_norm(mixed, mixed.shape[-1:]).flatten(-2))
        return out

    def step(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        q, k, v, keep = self.parts(x)
        new = past * keep.exp()[..., None, None] + k.unsqueeze(-1) * v.unsqueeze(-2)
        return self.close((q.unsqueeze(-2) @ new).squeeze(-2)), new

    def read(self, h: Tensor, start: Tensor, begins: Tensor | None) -> tuple[Tensor, Tensor]:
        """Within a chunk every query is multiplied by every key before it; earlier chunks are in the matrix."""
        steps = h.shape[1]
        size = min(CHUNK, steps)
        q, k, v, keep = self.parts(h)
        q, k, v = (_chunks(part, size).transpose(2, 3) for part in (q, k, v))  # (B,C,H,L,E)
        total = _chunks(keep, size).cumsum(2).transpose(2, 3)  # (B,C,H,L): log of what is kept since the chunk began
        span = total.unsqueeze(-1) - total.unsqueeze(-2)  # (B,C,H,L,L)
        unseen = torch.ones(size, size, dtype=torch.bool, device=h.device).triu(1)
        carried, leaving = total, total[..., -1:] - total  # from before the chunk to i, from j to its end
        last = total[..., -1]  # (B,C,H)
        if begins is not None:
            sequence = _chunks(begins, size).cumsum(2)  # (B,C,L)
            unseen = unseen | (sequence.unsqueeze(-1) != sequence.unsqueeze(-2)).unsqueeze(2)
            carried = carried.masked_fill((sequence > 0).unsqueeze(2), -torch.inf)
            leaving = leaving.masked_fill((sequence != sequence[..., -1:]).unsqueeze(2), -torch.inf)
            last = last.masked_fill((sequence[..., -1] > 0).unsqueeze(2), -torch.inf)
        weight = (q @ k.mT) * span.masked_fill(unseen, -torch.inf).exp()
        added = (k * leaving.exp().unsqueeze(-1)).mT @ v  # (B,C,H,E,E)
        kept = last.exp()[..., None, None]
        entering = []
        for i in range(q.shape[1]):
            entering.append(start)
            start = start * kept[:, i] + added[:, i]
        mixed = weight @ v + (q * carried.exp().unsqueeze(-1)) @ torch.stack(entering, 1)
        return self.close(mixed.transpose(2, 3).flatten(1, 2)[:, :steps]), start


def _chunks(x: Tensor, size: int) -> Tensor:
    """(B,T,...) as (B,C,L,...); what is missing in the last chunk is zeros, which keep and add nothing."""
    room = (0, 0) * (x.ndim - 2) + (0, -x.shape[1] % size)
    x = F.pad(x, room)
    return x.reshape(len(x), -1, size, *x.shape[2:])
