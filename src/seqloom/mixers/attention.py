"""Attention (Vaswani et al. 2017) with normalised queries and keys."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor, nn

from seqloom.core.errors import ConfigError
from seqloom.mixers.base import Mixer, MixerModule
from seqloom.mixers.positions import Positions, Rope
from seqloom.mixers.twice import differentiable
from seqloom.sequence.state import LayerState, Lengths

Visible = Tensor | Literal["causal"] | None
"""Which position (B|1,1,T|1,S) attends to which: said one by one, to what came before it, or (None) to all."""


class Attention(Mixer, name="attention"):
    """Every position weighs all that it may attend to by how well its query fits their keys."""

    feedforward: ClassVar[float] = 4.0
    timed_as: ClassVar[str] = "products"
    follows_masks: ClassVar[bool] = True

    heads: int | None = Field(default=None, ge=1)
    """Parallel attentions, each over width / heads features; None: one for each 64 features."""
    positions: Positions = Rope()
    """How a position enters queries, keys and values."""

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
    """Keys and values (B,H,room,E) of each row; what lies beyond `length` is never attended to."""

    def __init__(self, keys: Tensor, values: Tensor, length: Lengths) -> None:
        self.keys, self.values, self.length = keys, values, length

    def put(self, slots: Lengths, other: KeysValues, rows: Lengths, since: int = 0) -> None:
        read = slice(since, int(other.length[rows].max(initial=0)))  # copy what was read, and no more
        self.keys[slots, :, read] = other.keys[rows, :, read]
        self.values[slots, :, read] = other.values[rows, :, read]
        self.length[slots] = other.length[rows]

    def rollback(self, length: Lengths) -> None:
        self.length[: len(length)] = np.minimum(self.length[: len(length)], length)


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
        self.positions = spec.positions.build(width)

    def initialise(self, generator: Generator) -> None:
        with torch.no_grad():
            self.out.weight.zero_()  # each layer starts as the identity
            self.query_gain.fill_(1.2)  # a little sharper than unit queries and keys would be
            self.key_gain.fill_(1.2)

    def begin(self, rows: int, room: int | None = None, undo: int = 0) -> KeysValues:
        if room is None:
            raise ValueError("attention keeps every element it reads: say how many there is to be room for")
        shape = (rows, self.heads, room, len(self.key_gain))
        empty = self.key_gain.new_zeros  # zeros, for what no one has written is weighed by 0, and 0 * nan is nan
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
        slot = torch.arange(steps, device=h.device)[None]  # the element's own number, from the first that was read
        reads = np.full(rows, steps, np.int64) if count is None else count
        if state is not None:
            if begins is not None or mask is not None:
                raise ConfigError("attention with a state goes on reading, without a mask", path="backbone.mixer")
            slot = slot + torch.as_tensor(state.length[:rows, None], device=h.device)  # (B,T)
        if position is None:
            position = slot
            self.positions.ready(int((reads if state is None else state.length[:rows] + reads).max()) - 1)
        elif not position.is_meta:  # which has no numbers
            self.positions.ready(int(position.max()))
        h = self.positions.enter(h, position)
        q, k, v = self.project(h).unflatten(-1, (3, self.heads, -1)).transpose(1, 3).unbind(2)  # (B,H,T,E) each
        q, k = unit(q) * self.query_gain, unit(k) * self.key_gain
        q, k = self.positions.turn(q, k, position)
        if state is None:
            visible = self.visible(steps, present, begins, mask, h.device)
        else:
            assert isinstance(state, KeysValues)
            k, v, visible = self.after(state, k, v, slot, reads)
        if self.watched is not None:
            self.watched("weights", weights(q, k, visible))
        mixed = attend(q, k, v, visible)
        return self.out(mixed.transpose(1, 2).flatten(2)), state

    def visible(
        self, steps: int, present: Tensor | None, begins: Tensor | None, mask: Tensor | None, device: torch.device
    ) -> Visible:
        """Which position (B|1,1,T|1,T) attends to which: all to what came before, where nothing else is said."""
        if self.block == 1 and begins is None and mask is None:
            return "causal"  # padding lies at the right, where a causal position never attends
        allowed = None if present is None else present[:, None]  # (B,1,T)
        if mask is not None:
            allowed = mask if allowed is None else mask & allowed
        elif self.block is not None:
            part = torch.arange(steps, device=device) // self.block
            earlier = (part[:, None] >= part)[None]
            allowed = earlier if allowed is None else earlier & allowed
        if begins is not None:
            sequence = begins.cumsum(1)
            same = sequence[:, :, None] == sequence[:, None]
            allowed = same if allowed is None else same & allowed
        return None if allowed is None else allowed[:, None]

    def after(
        self, state: KeysValues, k: Tensor, v: Tensor, slot: Tensor, reads: Lengths
    ) -> tuple[Tensor, Tensor, Visible]:
        """All keys and values when those of a chunk are written to their slots, and which each position attends to.

        A position attends to its own block as far as it has been read, so reading in chunks equals reading at once
        where chunks end with blocks.
        """
        rows, steps = len(k), k.shape[2]
        if state.keys.requires_grad or k.requires_grad:
            state.keys, state.values = state.keys.clone(), state.values.clone()
        begin, live = state.length[:rows], int(np.count_nonzero(reads))
        # Rows that read the same, and after them at most some that read nothing: as one block, and all that is seen.
        alike = live > 0 and bool((reads[:live] == steps).all() and (begin[:live] == begin[0]).all())
        if alike:
            here = slice(int(begin[0]), int(begin[0]) + steps)
            state.keys[:live, :, here], state.values[:live, :, here] = k[:live], v[:live]
        else:
            row, step = np.nonzero(np.arange(steps) < reads[:, None])
            state.keys[row, :, begin[row] + step] = k[row, :, step]
            state.values[row, :, begin[row] + step] = v[row, :, step]
        state.length[:rows] += reads
        if alike and (self.block is None or steps == 1):
            return state.keys[:rows, :, : here.stop], state.values[:rows, :, : here.stop], None
        top = max(1, int(state.length[:rows].max()))
        index, reader = torch.arange(top, device=k.device), slot[:, None, :, None]  # (top,), (B,1,T,1)
        if self.block == 1:
            visible = index <= reader
        else:
            visible = index < torch.as_tensor(state.length[:rows], device=k.device)[:, None, None, None]
            if self.block is not None:
                visible = visible & (index // self.block <= reader // self.block)
        return state.keys[:rows, :, :top], state.values[:rows, :, :top], visible  # (B,1,T,top)


def attend(q: Tensor, k: Tensor, v: Tensor, visible: Visible) -> Tensor:
    """Values (B,H,T,E) weighed for each query, over those that are `visible`; None: all."""
    causal = isinstance(visible, str)
    mask = None if isinstance(visible, str) else visible

    def fast(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        return (F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal),)

    def plain(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        return (weights(q, k, visible) @ v,)

    if q.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return differentiable(fast, plain, q, k, v)[0]
    with torch.autocast("cpu", enabled=False):  # on a processor the way back is far slower in less precision
        return differentiable(fast, plain, q.float(), k.float(), v.float())[0]


def weights(q: Tensor, k: Tensor, visible: Visible) -> Tensor:
    """How much of each value each query takes (B,H,T,S); zeros where nothing is visible."""
    scores: Tensor = q @ k.mT / q.shape[-1] ** 0.5
    if isinstance(visible, str):
        visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if visible is None:
        return scores.softmax(-1)
    least = torch.finfo(scores.dtype).min  # not -inf: where nothing is visible, that has no gradient
    return scores.masked_fill(~visible, least).softmax(-1).masked_fill(~visible, 0.0)


def unit(x: Tensor) -> Tensor:
    """Vectors of root-mean-square one along the last axis (Zhang & Sennrich 2019)."""
    return F.rms_norm(x, (x.shape[-1],))
