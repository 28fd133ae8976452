"""Attention (Vaswani et al. 2017) with normalised queries and keys."""

from __future__ import annotations

from functools import partial
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor, nn

from seqloom.core.errors import ConfigError
from seqloom.kernels import blocks
from seqloom.kernels.stack import Part, mapped
from seqloom.mixers.base import Mixer, MixerModule
from seqloom.mixers.cache import NEVER, NOWHERE, KeysValues, Recent, Shared
from seqloom.mixers.positions import PositionModule, Positions, Rope, Rotation
from seqloom.mixers.twice import Program, differentiable
from seqloom.sequence.state import LayerState, Lengths

Visible = Tensor | Literal["causal"] | None
"""Which position (B|1,1,T|1,S) attends to which: said one by one, to what came before it, or (None) to all.

Numbers in place of yes and no, (B|1,H,T,S), are added to the products of queries and keys.
"""
UNSEEN = -1e30
"""Added to the product with what is not to be seen: finite, for infinity has no gradient where nothing is seen."""
MANY = 8
"""From so many rows on it is faster on a GPU that those which go on from one attend to its elements side by side."""
SINK_FEATURES = 8
"""Features that a sink adds to queries and keys: one is used, and products of so many are made at once."""
WORTH = 3
"""From so many windows on, attention goes through a sequence window by window, and not over all of it at once."""


class Attention(Mixer, name="attention"):
    """Every position weighs all that it may attend to by how well its query fits their keys."""

    feedforward: ClassVar[float] = 4.0
    timed_as: ClassVar[str] = "products"
    follows_masks: ClassVar[bool] = True

    heads: int | None = Field(default=None, ge=1)
    """Parallel attentions, each over width / heads features; None: one for each 64 features."""
    kv_heads: int | None = Field(default=None, ge=1)
    """Heads of keys and values, each for as many of the heads as there are for one (Ainslie et al. 2023): what is kept
    while a sequence is made is that much less. None: one for each."""
    window: int | None = Field(default=None, ge=1)
    """Elements that a position attends to, itself and those just before it; where both sides are seen, as many after it
    (Beltagy et al. 2020). What is kept, and what a position costs, then do not grow with the length. None: all."""
    sink: bool = False
    """Beside the elements stands one more, of which each head learns how well it fits and whose value is 0: attention
    goes there where nothing is worth attending to, and not to whatever comes first (Xiao et al. 2024, Agarwal et al.
    2025). It has no position, so it is there in every window, on both sides and in every sequence of a row."""
    positions: Positions = Rope()
    """How a position enters queries, keys and values."""

    @property
    def bounded(self) -> bool:
        return self.window is None or not self.positions.relative

    @property
    def grows(self) -> bool:
        return self.window is None

    def build(self, width: int, block: int | None) -> MixerModule:
        heads = self.heads or max(1, width // 64)
        if width % heads or (width // heads) % 2:
            raise ConfigError(
                f"width {width} is not an even number of features for each of {heads} heads",
                path="backbone.width",
                hint=f"use a multiple of {2 * heads}, or another backbone.mixer.heads",
            )
        if heads % (self.kv_heads or 1):
            raise ConfigError(
                f"{heads} heads cannot share {self.kv_heads} heads of keys and values evenly",
                path="backbone.mixer.kv_heads",
                hint=f"use one that divides {heads}, or another backbone.mixer.heads",
            )
        return Attend(self, heads, width, block)


class Attend(MixerModule):
    """One attention layer."""

    def __init__(self, spec: Attention, heads: int, width: int, block: int | None) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.block = heads, spec.kv_heads or heads, block
        self.window = spec.window
        self.each = width // heads
        """Features of a head."""
        self.project = nn.Linear(width, width + 2 * self.kv_heads * self.each, bias=False)
        self.stacked = {"project.weight": heads // self.kv_heads + 2}
        self.out = nn.Linear(width, width, bias=False)
        self.query_gain = nn.Parameter(torch.empty(self.each))
        self.key_gain = nn.Parameter(torch.empty(self.each))
        self.sink = nn.Parameter(torch.empty(heads)) if spec.sink else None
        self.positions = spec.positions.build(width)
        self.distances = spec.positions.distances or (spec.window is not None and block != 1)
        """Whether it must be known how far from each other two elements stand."""

    def initialise(self, generator: Generator) -> None:
        with torch.no_grad():
            self.out.weight.zero_()  # each layer starts as the identity
            self.query_gain.fill_(1.2)  # a little sharper than unit queries and keys would be
            self.key_gain.fill_(1.2)
            if self.sink is not None:
                self.sink.zero_()

    def part(self) -> Part | None:
        project, out = mapped(self.project), mapped(self.out)
        if self.block != 1 or self.distances or project is None or out is None:
            return None
        turns = partial(self.positions.below, half=self.each // 2) if isinstance(self.positions, Rotation) else None
        if turns is None and type(self.positions) is not PositionModule:  # something enters before the projection
            return None
        gains = self.query_gain, self.key_gain
        return Part("attention", project, out, self.heads, self.kv_heads, gains, turns, self.sink)

    def begin(self, rows: int, room: int | None = None, undo: int = 0) -> KeysValues | Recent:
        empty = self.key_gain.new_zeros  # zeros, for what no one has written is weighed by 0, and 0 * nan is nan
        length = np.zeros(rows, np.int64)
        if self.window is not None and self.block == 1:
            window = self.window if room is None else min(self.window, max(1, room))
            shape = (rows, self.kv_heads, window + undo, self.each)
            starts = np.zeros((rows, window + undo), np.int64)
            return Recent(empty(shape), empty(shape), window, starts, length, length.copy())
        if room is None:
            raise ValueError("attention keeps every element it reads: say how many there is to be room for")
        shape = (rows, self.kv_heads, 0, self.each)
        places = torch.zeros(rows, 0, dtype=torch.int64, device=self.key_gain.device) if self.distances else None
        many = MANY if self.key_gain.device.type != "cpu" else 1  # as a program has a row's bits by itself
        return KeysValues(empty(shape), empty(shape), places, length, room, many if self.block == 1 else NEVER)

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
            if mask is not None or (begins is not None and not isinstance(state, Recent)):
                raise ConfigError("attention with a state goes on reading, without a mask", path="backbone.mixer")
            slot = slot + torch.as_tensor(state.length[:rows, None], device=h.device)  # (B,T)
        place = slot if position is None else self._line(position)
        if position is None:
            position = slot
            self.positions.ready(int((reads if state is None else state.length[:rows] + reads).max()) - 1)
        elif not position.is_meta:  # which has no numbers
            self.positions.ready(int(position.max()))
        h = self.positions.enter(h, position)
        turns = self.positions.turns(position, self.each // 2, wide=h.dtype == torch.float64)
        q, k, v = projected(self.project(h), self.query_gain, self.key_gain, turns, self.heads)
        if isinstance(state, Recent):
            mixed, state = self._go_on(q, k, v, state, reads, begins)
        elif state is not None:
            assert isinstance(state, KeysValues)
            mixed = self._over_kept(q, k, v, state, slot, place, reads)
        elif self.window is not None and self.block in (1, None) and mask is None and place is slot:
            sequence = torch.zeros_like(slot) if begins is None else begins.cumsum(1)
            there = sequence if present is None or self.block == 1 else sequence.masked_fill(~present, NOWHERE)
            mixed = self._near(q, k, v, sequence, there)
        else:
            mixed = self._attend(q, k, v, self._visible(place, present, begins, mask))
        return self.out(mixed.transpose(1, 2).flatten(2)), state

    def _line(self, position: Tensor) -> Tensor:
        """Positions (B,T) on a line, where distances on it are asked for."""
        if position.ndim == 3 and (self.distances or self.window is not None):
            raise ConfigError(
                "positions of several coordinates have no one distance",
                path="backbone.mixer",
                hint="leave backbone.mixer.window unset, and use backbone.mixer.positions=rope",
            )
        return position if position.ndim == 2 else position[..., 0]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, visible: Visible) -> Tensor:
        """Values (B,H,T,E) weighed for each query (B,H,T,E), where several heads may share keys and values."""
        rows, steps, together = len(q), q.shape[2], self.heads // self.kv_heads
        single = steps == 1 and not isinstance(visible, str) and self.watched is None
        if together > 1 and single:  # heads that share keys are as many readers of them, and these need not be copied
            q = q.reshape(rows, self.kv_heads, together, -1)  # (B,KV,G,E)
            if isinstance(visible, Tensor) and visible.shape[1] > 1:
                visible = visible.reshape(len(visible), self.kv_heads, together, -1)
        elif together > 1:
            k, v = k.repeat_interleave(together, 1), v.repeat_interleave(together, 1)
        if self.sink is None:
            mixed = attend(q, k, v, visible)
        elif single:  # what is kept is not copied either
            mixed = weights(q, k, visible, self.sink.view(1, *q.shape[1:3], 1)) @ v
        else:
            mixed = self._beside_sink(self.sink, q, k, v, visible)
        if self.watched is not None:
            self.watched("weights", weights(q, k, visible, None if self.sink is None else self.sink.view(1, -1, 1, 1)))
        return mixed.reshape(rows, self.heads, steps, self.each)

    def _beside_sink(self, fit: Tensor, q: Tensor, k: Tensor, v: Tensor, visible: Visible) -> Tensor:
        """The same (B,H,T,E) where a value of 0 fits as each head (H,) says: the first key, by further features."""
        each, skipped = self.each + SINK_FEATURES, 0
        beside = F.pad(fit.to(q).view(1, -1, 1, 1), (0, SINK_FEATURES - 1)).expand(*q.shape[:3], -1)
        q = torch.cat([q * (each / self.each) ** 0.5, beside], -1)  # they are more, and products are divided by that
        k, v = (F.pad(part, (0, SINK_FEATURES, 1, 0)) for part in (k, v))
        key = torch.zeros(each, dtype=k.dtype, device=k.device)
        key[self.each] = each**0.5
        first = torch.arange(k.shape[2], device=k.device).unsqueeze(-1) == 0
        if isinstance(visible, str):  # a reader before the others: then what came before is what it was
            q, skipped = F.pad(q, (0, 0, 1, 0)), 1
        elif visible is not None:
            visible = F.pad(visible, (1, 0), value=1 if visible.dtype == torch.bool else 0)
        return attend(q, torch.where(first, key, k), v, visible)[:, :, skipped:, : self.each]

    def _weighed(self, allowed: Tensor, ahead: Tensor, like: Tensor) -> Tensor:
        """What is `allowed` (B|1,T,S) of elements so far `ahead` (B|1,T,S), with what distances add."""
        bias = self.positions.bias(ahead, self.heads)
        return allowed.unsqueeze(1) if bias is None else bias.to(like).masked_fill(~allowed.unsqueeze(1), UNSEEN)

    def _band(self, ahead: Tensor) -> Tensor:
        """Of elements so far ahead, which are within the window."""
        assert self.window is not None
        near = ahead.abs() < self.window
        return near & (ahead <= 0) if self.block == 1 else near

    def _visible(self, place: Tensor, present: Tensor | None, begins: Tensor | None, mask: Tensor | None) -> Visible:
        """Which position (B|1,1,T|1,T) attends to which: all to what came before, where nothing else is said."""
        steps, device = place.shape[1], place.device
        if self.block == 1 and begins is None and mask is None and not self.distances and self.window is None:
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
        if self.distances or self.window is not None:
            return self._by_distance(place, place, allowed)
        return None if allowed is None else allowed[:, None]

    def _by_distance(self, place: Tensor, there: Tensor, allowed: Tensor | None) -> Tensor:
        """What is `allowed` (B|1,T|1,S) of elements that stand `there` (B|1,S), for readers at a `place` (B|1,T)."""
        ahead = there[:, None] - place[:, :, None]
        if self.window is not None:
            near = ahead.abs() < self.window
            allowed = near if allowed is None else near & allowed
        if allowed is None:
            allowed = torch.ones_like(ahead, dtype=torch.bool)
        return self._weighed(allowed.expand(-1, place.shape[1], -1), ahead, self.key_gain)

    def _near(self, q: Tensor, k: Tensor, v: Tensor, sequence: Tensor, there: Tensor) -> Tensor:
        """Values (B,H,T,E) weighed for each query over its window.

        The last elements (B,KV,S,E) are the readers' own, others came before them; `sequence` (B|1,T) and `there`
        (B|1,S) say in which sequence each is.
        """
        assert self.window is not None
        steps, window = q.shape[2], self.window
        past = k.shape[2] - steps
        index = torch.arange(max(steps, k.shape[2]), device=q.device)
        if k.shape[2] <= WORTH * window or self.watched is not None:
            ahead = (index[: k.shape[2]] - past - index[:steps, None])[None]
            same = there[:, None] == sequence[:, :, None]
            return self._attend(q, k, v, self._weighed(self._band(ahead) & same, ahead, q))
        # Stretches of a window each: a reader finds all that it sees in its own, the one before and, where both sides
        # are seen, the one after it.
        extra, sides = -steps % window, 1 if self.block == 1 else 2
        span = (1 + sides) * window
        k, v = (F.pad(part, (0, 0, window - past, extra + (sides - 1) * window)) for part in (k, v))
        there = F.pad(there, (window - past, extra + (sides - 1) * window), value=NOWHERE)
        q, sequence = F.pad(q, (0, 0, 0, extra)), F.pad(sequence, (0, extra), value=NOWHERE)
        k, v = (part.unfold(2, span, window).permute(0, 2, 1, 4, 3).flatten(0, 1) for part in (k, v))  # (B*C,KV,span,E)
        q = q.reshape(*q.shape[:2], -1, window, self.each).transpose(1, 2)  # (B,C,H,window,E)
        ahead = torch.arange(span, device=q.device) - window - index[:window, None]  # (window,span)
        same = there.unfold(1, span, window)[:, :, None] == sequence.view(len(sequence), -1, window, 1)
        visible = self._weighed((self._band(ahead) & same).flatten(0, 1), ahead[None], q)  # (B|1*C,1|H,window,span)
        if len(same) < len(q):
            visible = visible.expand(len(q), *visible.shape).flatten(0, 1)
        mixed = self._attend(q.flatten(0, 1), k, v, visible)
        mixed = mixed.view(len(q), -1, *mixed.shape[1:]).transpose(1, 2)  # (B,H,C,window,E)
        return mixed.flatten(2, 3)[:, :, :steps]

    def _go_on(
        self, q: Tensor, k: Tensor, v: Tensor, state: Recent, reads: Lengths, begins: Tensor | None
    ) -> tuple[Tensor, Recent]:
        """Values (B,H,T,E) weighed for a chunk's queries over the chunk and what is kept, and what is kept then."""
        rows, steps, device = len(q), q.shape[2], q.device
        starts = np.repeat(state.now(rows)[:, None], steps, 1)
        if begins is not None:
            own = state.length[:rows, None] + np.arange(steps)
            starts = np.maximum(starts, np.maximum.accumulate(np.where(begins.cpu().numpy(), own, 0), 1))
        if steps == 1 and self.watched is None:  # in any order
            after = state.after(k, v, reads, starts)
            ages = after.ages(rows) if reads.all() else (state.length[:rows, None] - np.arange(after.ring)) % after.ring
            seen = (ages < state.window) & (ages <= (after.length[:rows] - reads - starts[:, 0])[:, None])
            return self._attend(q, after.keys[:rows], after.values[:rows], self._aged(ages, seen, q)), after
        keys, values, owner = state.before(rows, device)
        sequence = torch.as_tensor(starts, device=device)
        there = torch.cat([owner, sequence], 1)
        near = (torch.cat([keys.to(k.dtype), k], 2), torch.cat([values.to(v.dtype), v], 2))
        mixed = self._near(q, *near, sequence, there)
        return mixed, state.after(k, v, reads, starts)

    def _aged(self, ages: Lengths, seen: np.ndarray, like: Tensor) -> Tensor | None:
        """Which of the kept elements of such ages (B,S) one reader attends to (B,1|H,1,S); None: all."""
        ahead = -torch.as_tensor(ages, device=like.device)[:, None]
        if seen.all() and self.positions.bias(ahead[:1, :, :1], self.heads) is None:
            return None
        return self._weighed(torch.as_tensor(seen, device=like.device)[:, None], ahead, like)

    def _over_kept(
        self, q: Tensor, k: Tensor, v: Tensor, state: KeysValues, slot: Tensor, place: Tensor, reads: Lengths
    ) -> Tensor:
        """Values (B,H,T,E) weighed for a chunk's queries over what is kept, to which the chunk is added.

        A position attends to its own block as far as it has been read, so reading in chunks equals reading at once
        where chunks end with blocks.
        """
        rows, steps = len(k), k.shape[2]
        alike = state.write(k, v, place, reads)
        kept = state if self.watched is None else state.whole(rows)
        own, shared = kept.own(rows), kept.shared
        top = max(1, int(own.max()))
        keys, values = kept.keys[:rows, :, :top], kept.values[:rows, :, :top]
        if alike and kept is state and (self.block is None or steps == 1):
            allowed = None
        else:
            index, reader = torch.arange(top, device=k.device), slot[:, :, None]  # (top,), (B,T,1)
            before = 0 if shared is None else torch.as_tensor(shared.taken[:rows], device=k.device)[:, None, None]
            if self.block == 1:
                allowed = index <= reader - before
            else:
                allowed = index < torch.as_tensor(own, device=k.device)[:, None, None]
                if self.block is not None:
                    allowed = allowed & ((before + index) // self.block <= reader // self.block)
        if state.places is not None:
            far = self._by_distance(place.expand(rows, -1), state.places[:rows, :top], allowed)
            return self._attend(q, keys, values, far)
        visible = None if allowed is None else allowed.unsqueeze(1)
        if shared is None or not shared.taken[:rows].any():
            return self._attend(q, keys, values, visible)
        return self._beside_shared(q, keys, values, visible, shared)

    def _beside_shared(self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None, shared: Shared) -> Tensor:
        """Values (B,H,T,E) weighed over what each row keeps, of which some is visible, and over what it shares.

        Rows that share ask side by side, by one product. The two means are weighed by the sums that their weights had.
        """
        rows, steps, together = len(q), q.shape[2], self.heads // self.kv_heads
        readers = together * steps  # heads that share keys are as many readers of them
        q = q.reshape(rows, self.kv_heads, readers, self.each)
        if visible is not None:
            visible = visible.expand(-1, -1, steps, -1).repeat(1, 1, together, 1)
        own, own_sum = read_with_sum(q, k, v, visible)
        side = shared.together(rows)
        asking = q[side.rows].transpose(1, 2).flatten(2, 3)  # (G,KV,N*R,E)
        seen = None if side.visible is None else side.visible.repeat_interleave(readers, 1).unsqueeze(1)
        most = int(shared.taken[:rows].max())
        keys, values = shared.columns[side.owner, :, :, :most].mT.contiguous(), shared.values[side.owner, :, :most]
        there, there_sum = read_with_sum(asking, keys, values, seen)
        each = (len(side.owner), self.kv_heads, -1, readers)
        there = there.view(*each, self.each).transpose(1, 2).flatten(0, 1)[side.place]  # (B,KV,R,E)
        there_sum = there_sum.view(each).transpose(1, 2).flatten(0, 1)[side.place]  # (B,KV,R)
        if side.alone is not None:
            there_sum = there_sum.masked_fill(side.alone[:, None, None], -torch.inf)
        mixed = torch.lerp(own, there, (there_sum - own_sum).sigmoid().unsqueeze(-1))
        if self.sink is not None:
            fit = self.sink.view(1, self.kv_heads, together, 1).expand(-1, -1, -1, steps).flatten(2)
            mixed = mixed * (torch.logaddexp(own_sum, there_sum) - fit).sigmoid().unsqueeze(-1)
        return mixed.reshape(rows, self.heads, steps, self.each)


def projected(
    p: Tensor, query_gain: Tensor, key_gain: Tensor, turns: Tensor | None, heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (B,H,T,E), keys and values (B,KV,T,E) of what is projected (B,T,(H+2*KV)*E).

    Queries and keys are in units of their root mean square, times a gain (E,), and turned by complex numbers
    (B|1,T,E/2).
    """

    def plain(p: Tensor, query_gain: Tensor, key_gain: Tensor) -> tuple[Tensor, ...]:
        each = len(query_gain)
        kv = (p.shape[-1] // each - heads) // 2
        parts = p.view(*p.shape[:2], heads + 2 * kv, each).transpose(1, 2)
        q, k, v = parts[:, :heads], parts[:, heads : heads + kv], parts[:, heads + kv :]
        return turned(unit(q) * query_gain, turns), turned(unit(k) * key_gain, turns), v

    if blocks.suits(p, query_gain, key_gain):
        program = Program(partial(blocks.turned, heads, turns), partial(blocks.turned_back, heads, turns), plain, 3)
        q, k, v = program(p, query_gain, key_gain)
    else:
        q, k, v = plain(p, query_gain, key_gain)
    return q, k, v


def turned(x: Tensor, turns: Tensor | None) -> Tensor:
    """Vectors (B,H,T,E) whose neighbouring features are turned as the parts of complex numbers (B|1,T,E/2)."""
    if turns is None:
        return x
    pairs = x if x.dtype == torch.float64 else x.float()
    product = torch.view_as_complex(pairs.reshape(*x.shape[:-1], x.shape[-1] // 2, 2)) * turns.unsqueeze(1)
    return torch.view_as_real(product).flatten(-2).to(x.dtype)


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
        mask = mask if mask is None or mask.dtype == torch.bool else mask.float()
        return differentiable(fast, plain, q.float(), k.float(), v.float())[0]


def read_with_sum(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor]:
    """Values (B,H,T,E) weighed for each query, and the logarithm of the sum of the weights before they were shares."""
    if q.device.type == "cpu" and not torch.is_grad_enabled():
        mask = None if visible is None else torch.zeros_like(visible, dtype=q.dtype).masked_fill(~visible, -torch.inf)
        read = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k.to(q.dtype), v.to(q.dtype), attn_mask=mask
        )
        return read  # type: ignore[no-any-return]
    scores = scored(q, k, visible)
    return scores.softmax(-1) @ v, scores.logsumexp(-1)


def weights(q: Tensor, k: Tensor, visible: Visible, sink: Tensor | None = None) -> Tensor:
    """How much of each value each query takes (B,H,T,S); zeros where nothing is visible, the rest to the `sink`."""
    scores = scored(q, k, visible)
    if sink is not None:
        return torch.cat([sink.to(scores).expand(*scores.shape[:3], 1), scores], -1).softmax(-1)[..., 1:]
    if isinstance(visible, str) or visible is None or visible.dtype != torch.bool:
        return scores.softmax(-1)
    return scores.softmax(-1).masked_fill(~visible, 0.0)


def scored(q: Tensor, k: Tensor, visible: Visible) -> Tensor:
    """How well each key fits each query (B,H,T,S)."""
    scores: Tensor = q @ k.mT / q.shape[-1] ** 0.5
    if isinstance(visible, str):
        visible = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if visible is None:
        return scores
    return scores.masked_fill(~visible, UNSEEN) if visible.dtype == torch.bool else scores + visible


def unit(x: Tensor) -> Tensor:
    """Vectors of root-mean-square one along the last axis (Zhang & Sennrich 2019)."""
    return F.rms_norm(x, (x.shape[-1],))
