"""Attention (Vaswani et al. 2017) with rotary positions (Su et al. 2021) and normalised queries and keys."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor, nn

from seqloom.core.errors import ConfigError
from seqloom.mixers.base import Mixer, MixerModule
from seqloom.sequence.state import LayerState, Lengths


class Attention(Mixer, name="attention"):
    """Every position weighs all that it may hear by how well its query fits their keys."""

    heads: int | None = Field(default=None, ge=1)
    """Parallel attentions, each over width / heads features; None: one for each 64 features."""
    positions: Literal["rope", "learned"] = "rope"
    """Where a position stands: by rotation of queries and keys, or by a learned vector for each place."""
    places: int = Field(default=1024, ge=1)
    """How many places have a learned vector (only with positions=learned)."""

    @property
    def bounded(self) -> bool:
        return True

    @property
    def grows(self) -> bool:
        return True

    def build(self, width: int, block: int | None) -> MixerModule:
        heads = self.heads or max(1, width // 64)
        if width % heads or (width // heads) % 2:
            raise ConfigError(
                f"width {width} is not an even number of features for each of {heads} heads", path="backbone.width"
            )
        return Attend(self, heads, width, block)


class KeysValues(LayerState):
    """Keys and values (B,H,room,E) of each row; what lies beyond `length` is garbage that no one sees."""

    def __init__(self, keys: Tensor, values: Tensor, length: Lengths) -> None:
        self.keys, self.values, self.length = keys, values, length

    def select(self, rows: Lengths) -> KeysValues:
        return KeysValues(self.keys[rows], self.values[rows], self.length[rows])

    def put(self, slots: Lengths, other: KeysValues, rows: Lengths, since: int = 0) -> None:
        read = slice(since, int(other.length[rows].max(initial=0)))  # copy what was read, and no more
        self.keys[slots, :, read] = other.keys[rows, :, read]
        self.values[slots, :, read] = other.values[rows, :, read]
        self.length[slots] = other.length[rows]

    def rollback(self, length: Lengths) -> None:
        self.length[: len(length)] = np.minimum(self.length[: len(length)], length)

    def detach(self) -> KeysValues:
        return KeysValues(self.keys.detach(), self.values.detach(), self.length)

    def tensors(self) -> dict[str, Tensor]:
        kept = {"keys": self.keys.detach(), "values": self.values.detach()}
        return {**kept, "length": torch.from_numpy(self.length)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.keys, self.values = (tensors[name].to(self.keys, copy=True) for name in ("keys", "values"))
        self.length = tensors["length"].cpu().numpy().copy()


class Attend(MixerModule):
    """One attention layer."""

    stacked: Mapping[str, int] = MappingProxyType({"project.weight": 3})

    def __init__(self, spec: Attention, heads: int, width: int, block: int | None) -> None:
        super().__init__()
        self.heads, self.block = heads, block
        self.project = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.query_gain = nn.Parameter(torch.empty(width // heads))
        self.key_gain = nn.Parameter(torch.empty(width // heads))
        self.places = nn.Embedding(spec.places, width) if spec.positions == "learned" else None

    def initialise(self, generator: Generator) -> None:
        with torch.no_grad():
            self.out.weight.zero_()  # each layer starts as the identity
            self.query_gain.fill_(1.2)  # a little sharper than unit queries and keys would be
            self.key_gain.fill_(1.2)

    def begin(self, rows: int, room: int | None = None, undo: int = 0) -> KeysValues:
        if room is None:
            raise ValueError("attention keeps every element it reads: say how many there is to be room for")
        shape = (rows, self.heads, room, len(self.key_gain))
        empty = self.out.weight.new_zeros  # zeros, for what no one has written is weighed by 0, and 0 * nan is nan
        return KeysValues(empty(shape), empty(shape), np.zeros(rows, np.int64))

    def forward(
        self,
        h: Tensor,
        present: Tensor | None = None,
        state: LayerState | None = None,
        count: Lengths | None = None,
        begins: Tensor | None = None,
        position: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, LayerState | None]:
        rows, steps = h.shape[:2]
        if state is not None and (begins is not None or mask is not None):
            raise ConfigError("attention with a state goes on reading, without a mask", path="backbone.mixer")
        slot = torch.arange(steps, device=h.device)[None]
        if state is not None:
            slot = slot + torch.as_tensor(state.length[:rows, None], device=h.device)  # (B,T)
        place = slot if position is None else position
        if self.places is not None:
            reads = np.full(rows, steps) if count is None else count
            if (reads if state is None else state.length[:rows] + reads).max() > self.places.num_embeddings:
                raise ConfigError("the sequence is longer than the learned places", path="backbone.mixer.places")
            h = h + self.places(place.clamp_max(self.places.num_embeddings - 1))  # beyond `count` nothing is read
        q, k, v = self.project(h).unflatten(-1, (3, self.heads, -1)).transpose(1, 3).unbind(2)  # (B,H,T,E) each
        q, k = unit(q) * self.query_gain, unit(k) * self.key_gain
        if self.places is None:
            q, k = rotate(q, k, place)
        if state is None:
            mixed = self.whole(q, k, v, self.visible(steps, present, begins, mask, h.device))
        else:
            assert isinstance(state, KeysValues)
            mixed = self.chunk(q, k, v, state, count, slot)
        return self.out(mixed.transpose(1, 2).flatten(2)), state

    def visible(
        self, steps: int, present: Tensor | None, begins: Tensor | None, mask: Tensor | None, device: torch.device
    ) -> Tensor | None:
        """Which position (B|1,1,T,T|1) attends to which; None: each to what came before it, or to all."""
        if self.block == 1 and begins is None and mask is None:
            return None  # padding lies at the right, where a causal position never looks
        seen = None if present is None else present[:, None]  # (B,1,T)
        if mask is not None:
            seen = mask if seen is None else mask & seen
        elif self.block is not None:
            part = torch.arange(steps, device=device) // self.block
            earlier = (part[:, None] >= part)[None]
            seen = earlier if seen is None else earlier & seen
        if begins is not None:
            sequence = begins.cumsum(1)
            same = sequence[:, :, None] == sequence[:, None]
            seen = same if seen is None else same & seen
        return None if seen is None else seen[:, None]

    def whole(self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Tensor:
        """All positions at once."""
        causal = self.block == 1 and visible is None
        return F.scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=causal)

    def chunk(self, q: Tensor, k: Tensor, v: Tensor, state: KeysValues, count: Lengths | None, slots: Tensor) -> Tensor:
        """A chunk after what was read: keys and values are written to their slots, then all of them are heard."""
        if self.block != 1:
            raise ValueError("only causal attention can be read in chunks")
        rows, steps = q.shape[0], q.shape[2]
        reads = np.full(rows, steps, np.int64) if count is None else count
        top = int((state.length[:rows] + reads).max())
        row, step = np.nonzero(np.arange(steps) < reads[:, None])
        slot = state.length[row] + step
        if state.keys.requires_grad or k.requires_grad:
            state.keys, state.values = state.keys.clone(), state.values.clone()
        state.keys[row, :, slot] = k[row, :, step]
        state.values[row, :, slot] = v[row, :, step]
        state.length[:rows] += reads
        heard = torch.arange(max(top, 1), device=q.device) <= slots[:, None, :, None]  # (B,1,T,top)
        keys, values = state.keys[:rows, :, : max(top, 1)], state.values[:rows, :, : max(top, 1)]
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=heard)


def unit(x: Tensor) -> Tensor:
    """Vectors of root-mean-square one along the last axis (Zhang & Sennrich 2019)."""
    return F.rms_norm(x, (x.shape[-1],))


def rotate(q: Tensor, k: Tensor, place: Tensor, base: float = 1e4) -> tuple[Tensor, Tensor]:
    """Queries and keys (B,H,T,E) turned by angles that grow with their place (B,T), half-split convention."""
    half = q.shape[-1] // 2
    rate = base ** (-torch.arange(half, device=q.device, dtype=torch.float64) / half)
    angle = place.to(torch.float64)[:, None, :, None] * rate
    cos, sin = angle.cos().to(q.dtype), angle.sin().to(q.dtype)

    def turn(x: Tensor) -> Tensor:
        left, right = x[..., :half], x[..., half:]
        return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)

    return turn(q), turn(k)
