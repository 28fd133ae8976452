"""The trunk: norm, residual, mixer, cross-attention, feed-forward and noise level, written once for every mixer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from seqloom.core.rng import Rng, keep_mask
from seqloom.kernels import blocks
from seqloom.kernels.stack import Part, mapped
from seqloom.mixers.attention import UNSEEN, attend, weights
from seqloom.mixers.base import Watcher
from seqloom.mixers.twice import Program
from seqloom.network.backbone import Backbone
from seqloom.sequence.state import LayerState, Lengths

LEVEL_FEATURES = 64

Mix = Callable[[nn.Module, Tensor, LayerState | None], tuple[Tensor, LayerState | None]]
"""A mixer's module with all its arguments but features and state."""


class Drop:
    """Locked dropout: one mask of features a row, another for each place it is used, of `masks` (places,B,1,width)."""

    def __init__(self, masks: Tensor | None) -> None:
        self.masks, self.used = masks, 0

    def __call__(self, h: Tensor) -> Tensor:
        if self.masks is None:
            return h
        mask = self.masks[self.used]
        self.used += 1
        return h * mask.to(h.dtype)


def dropout_masks(share: float, rng: Rng, places: int, width: int, device: torch.device) -> Tensor:
    """What `Drop` multiplies features by (places,B,1,width), drawn from the keys of B rows in one call."""
    keys = rng.select(np.tile(np.arange(len(rng)), places)).fork(np.repeat(np.arange(places), len(rng)))
    kept = torch.as_tensor(keep_mask(keys, width, 1 - share), device=device)
    return kept.view(places, len(rng), 1, -1).float().div_(1 - share)


class Trunk(nn.Module):
    """A stack of layers over features (B,T,width).

    Where the settings say `marked`, a learned vector is added at the first position. Rotary attention depends on
    the distance of two positions alone: where all elements are equal and attend to all, as at the beginning of
    unmasking, every position would otherwise have the same output.
    """

    def __init__(self, spec: Backbone, block: int | None, timed: bool, attends: bool) -> None:
        super().__init__()
        self.spec = spec
        self.first = nn.Parameter(torch.empty(spec.width)) if spec.marked and block is None else None
        self.level = LevelFeatures(spec.width) if timed else None
        self.layers = nn.ModuleList(Layer(spec, i, block, timed, attends) for i in range(spec.depth))
        self.norm = make_norm(spec)

    def forward(
        self,
        h: Tensor,
        *,
        level: Tensor | None = None,
        attended: Sequence[Tensor] = (),
        visible: Tensor | None = None,
        present: Tensor | None = None,
        states: list[LayerState] | None = None,
        count: Lengths | None = None,
        masks: Tensor | None = None,
        begins: Tensor | None = None,
        position: Tensor | None = None,
        mask: Tensor | None = None,
        apart: Tensor | None = None,
        channels: int = 1,
    ) -> tuple[Tensor, list[LayerState]]:
        """Features after all layers, and the states after what was read. So many rows are channels of one sequence.

        `attended` holds keys and values (B,S,2*width) of the conditions for each layer; `visible` (B,S), or (B,T,S),
        says of which. Positions that are `apart` (B,T) are not changed by the level. `masks` are those of dropout.
        """
        level_embedding = None if self.level is None or level is None else self.level(level)

        def mix(mixer: nn.Module, h: Tensor, state: LayerState | None) -> tuple[Tensor, LayerState | None]:
            return mixer(h, present, state, count, begins, position, mask)  # type: ignore[no-any-return]

        drop = Drop(masks)
        if self.first is not None:
            if position is None:
                h = torch.cat([h[:, :1] + self.first, h[:, 1:]], 1)
            else:
                first = (position if position.ndim == 2 else position.sum(-1)) == 0
                h = h + self.first * first.unsqueeze(-1)
        h = drop(h)
        after: list[LayerState] = []
        for i, layer in enumerate(self.layers):
            pair = (attended[i], visible) if attended else None
            h, state = layer(h, mix, states[i] if states else None, level_embedding, apart, pair, drop, channels)
            if state is not None:
                after.append(state)
        return drop(self.norm(h)), after

    def masks(self, rng: Rng | None, device: torch.device) -> Tensor | None:
        """What dropout multiplies by (places,B,1,width), drawn from keys; None where nothing is dropped."""
        share = self.spec.dropout
        if rng is None or share == 0:
            return None
        places = 2 + sum(1 + (layer.mlp is not None) for layer in self.layers)
        return dropout_masks(share, rng, places, self.spec.width, device)

    def pairs(self, elements: Tensor) -> tuple[Tensor, ...]:
        """Keys and values (B,S,2*width) of what can be attended to (B,S,width), for each layer."""
        crosses = [layer.cross for layer in self.layers if isinstance(layer, Layer)]
        return tuple(cross.pair(elements) for cross in crosses if cross is not None)

    def initialise(self, generator: Generator) -> None:
        if self.first is not None:
            nn.init.normal_(self.first, generator=generator)


class Layer(nn.Module):
    """One mixer and what goes with it, each part with a norm before it and a residual sum after it."""

    def __init__(self, spec: Backbone, index: int, block: int | None, timed: bool, attends: bool) -> None:
        super().__init__()
        width = spec.width
        self.residual = spec.residual
        self.mixer_norm = make_norm(spec)
        self.mixer = spec.mixers[index].build(width, block)
        self.across = Across(spec) if spec.channels == "attend" else None
        self.cross = Cross(spec) if attends else None
        self.mlp_norm = make_norm(spec) if spec.mlp else None
        self.mlp = FeedForward(width, round(spec.mlp * width)) if spec.mlp else None
        self.modulate = Modulation(width, 6 if spec.mlp else 3) if timed else None
        self.replays = self.mixer.replays and not attends
        """Whether it can be written down as a graph (`network.graphs`)."""

    def forward(
        self,
        h: Tensor,
        mix: Mix,
        state: LayerState | None,
        level_embedding: Tensor | None,
        apart: Tensor | None,
        attended: tuple[Tensor, Tensor | None] | None,
        drop: Drop,
        channels: int,
    ) -> tuple[Tensor, LayerState | None]:
        changes = None if self.modulate is None or level_embedding is None else self.modulate(level_embedding)
        if changes is not None and apart is not None:
            noisy = ~apart.unsqueeze(-1)
            changes = [change * noisy for change in changes]  # (B,T,width) each
        mixed, state = mix(self.mixer, _shifted(self.mixer_norm(h), changes, 0), state)
        h = self._add(h, drop(mixed), changes, 2)
        if self.across is not None:
            h = h + self.across(h, channels)
        if self.cross is not None and attended is not None:
            h = h + self.cross(h, *attended)
        if self.mlp is not None and self.mlp_norm is not None:
            h = self._add(h, drop(self.mlp(_shifted(self.mlp_norm(h), changes, 3))), changes, 5)
        return h, state

    def _add(self, h: Tensor, part: Tensor, changes: list[Tensor] | None, gate: int) -> Tensor:
        if changes is not None:
            part = part * (1 + changes[gate])
        return h + part if self.residual else part


def _shifted(h: Tensor, changes: list[Tensor] | None, first: int) -> Tensor:
    return h if changes is None else h * (1 + changes[first]) + changes[first + 1]


def squared(x: Tensor) -> Tensor:
    """max(x, 0)^2 (So et al. 2021)."""

    def plain(x: Tensor) -> tuple[Tensor]:
        return (x.relu().square(),)

    if blocks.suits(x):
        return Program(lambda x: (blocks.squared(x),), lambda x, by: (blocks.squared_back(x, by),), plain)(x)[0]
    return plain(x)[0]


class RootMeanSquare(nn.RMSNorm):
    """Vectors in units of their root mean square, times a weight (Zhang & Sennrich 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        def plain(x: Tensor, weight: Tensor) -> tuple[Tensor]:
            return (F.rms_norm(x, self.normalized_shape, weight),)

        if blocks.suits(x, self.weight) and x.dtype == torch.float32:
            return Program(blocks.normed, blocks.normed_back, plain)(x, self.weight)[0]
        return plain(x, self.weight)[0]


class FeedForward(nn.Module):
    """Two linear maps with a squared ReLU between them: as good as a GELU and half as expensive."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.down(squared(self.up(h)))
        return out

    def initialise(self, generator: Generator) -> None:
        with torch.no_grad():
            self.down.weight.zero_()  # each layer starts as the identity


class Cross(nn.Module):
    """Attention to the elements of conditions; a learned null element stands where there is none."""

    watched: Watcher | None = None

    def __init__(self, spec: Backbone) -> None:
        super().__init__()
        self.heads = narrow_heads(spec.width)
        self.norm = make_norm(spec)
        self.query = nn.Linear(spec.width, spec.width, bias=False)
        self.pair = nn.Linear(spec.width, 2 * spec.width, bias=False)
        self.stacked = {"pair.weight": 2}
        self.out = nn.Linear(spec.width, spec.width, bias=False)
        self.fit = nn.Parameter(torch.empty(spec.width)) if spec.cross == "additive" else None

    def initialise(self, generator: Generator) -> None:
        if self.fit is not None:
            nn.init.normal_(self.fit, std=(self.heads / len(self.fit)) ** 0.5, generator=generator)

    def forward(self, h: Tensor, pair: Tensor, visible: Tensor | None) -> Tensor:
        """The attention output of each position over elements whose keys and values (B,S,2*width) are `pair`."""
        q = self.query(self.norm(h)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = pair.view(*pair.shape[:2], 2, self.heads, -1).transpose(1, 3).unbind(2)
        mask = None if visible is None else visible[:, None, None] if visible.ndim == 2 else visible[:, None]
        if self.fit is not None:
            shares = self._added(self.fit, q, k, mask)
            mixed = shares @ v
        else:
            mixed = attend(q, k, v, mask)
        if self.watched is not None:
            self.watched("weights", weights(q, k, mask) if self.fit is None else shares)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def _added(self, fit: Tensor, q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
        """How much of each value each query takes (B,H,T,S), by a hidden layer over the sum of query and key."""
        hidden = (q.unsqueeze(3) + k.unsqueeze(2)).tanh()  # (B,H,T,S,E)
        scores = (hidden @ fit.view(self.heads, 1, -1, 1)).squeeze(-1)
        return (scores if mask is None else scores.masked_fill(~mask, UNSEEN)).softmax(-1)


class Across(nn.Module):
    """Attention of each channel of an element to all channels of it; it starts as no change."""

    def __init__(self, spec: Backbone) -> None:
        super().__init__()
        self.heads = narrow_heads(spec.width)
        self.norm = make_norm(spec)
        self.project = nn.Linear(spec.width, 3 * spec.width, bias=False)
        self.stacked = {"project.weight": 3}
        self.out = nn.Linear(spec.width, spec.width, bias=False)

    def forward(self, h: Tensor, channels: int) -> Tensor:
        """The attention output (B*D,T,width) of rows of which each D are the channels of one sequence."""
        x = self.norm(h).view(-1, channels, *h.shape[1:]).transpose(1, 2).flatten(0, 1)  # (B*T,D,width)
        parts = self.project(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (3,B*T,H,D,E)
        q, k, v = parts.contiguous()  # of so few channels attention takes a third of the time where each lies together
        mixed = attend(q, k, v, None).transpose(1, 2).flatten(2)  # (B*T,D,width)
        out: Tensor = self.out(mixed)
        return out.view(-1, h.shape[1], *out.shape[1:]).transpose(1, 2).flatten(0, 1)

    def part(self) -> Part | None:
        """What it is in a compiled program that reads element by element."""
        project, out = mapped(self.project), mapped(self.out)
        return None if project is None or out is None else Part("across", project, out, self.heads, self.heads)

    def initialise(self, generator: Generator) -> None:
        with torch.no_grad():
            self.out.weight.zero_()


def narrow_heads(width: int) -> int:
    """Heads of about 32 features that a width divides into."""
    heads = max(1, width // 32)
    while width % heads:
        heads -= 1
    return heads


class Modulation(nn.Module):
    """Shift, scale and gate of each part from the noise level (adaLN of Peebles & Xie 2023); starts as no change."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.map = nn.Linear(width, count * width)
        self.stacked = {"map.weight": count}

    def forward(self, level_embedding: Tensor) -> list[Tensor]:
        return list(steady(self.map, level_embedding).chunk(self.count, -1))

    def initialise(self, generator: Generator) -> None:
        with torch.no_grad():
            self.map.weight.zero_()
            self.map.bias.zero_()


class LevelFeatures(nn.Module):
    """A noise level (B,1) or (B,T), about unit scale, as features (B,1|T,width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(LEVEL_FEATURES, width)
        self.outer = nn.Linear(width, width)

    def forward(self, level: Tensor) -> Tensor:
        rates = torch.exp(torch.linspace(math.log(0.5), math.log(32.0), LEVEL_FEATURES // 2, device=level.device))
        angle = level.unsqueeze(-1) * rates.to(level.dtype)
        return F.silu(steady(self.outer, F.silu(steady(self.inner, torch.cat([angle.sin(), angle.cos()], -1)))))


def steady(linear: nn.Module, x: Tensor) -> Tensor:
    """A linear map of one vector a row (B,1,width) whose last digits do not depend on the number of rows.

    A product over few rows is added up in another order than one over many; in training that is of no account.
    """
    extra = 0 if torch.is_grad_enabled() or x.shape[1] > 1 else -len(x) % 16
    out: Tensor = linear(F.pad(x, (0, 0, 0, 0, 0, extra)) if extra else x)
    return out[: len(x)]


def make_norm(spec: Backbone) -> nn.Module:
    """The norm that the settings name."""
    if spec.norm == "none":
        return nn.Identity()
    return nn.LayerNorm(spec.width) if spec.norm == "layer" else RootMeanSquare(spec.width)


def embedding(count: int, width: int) -> nn.Embedding:
    """A table of vectors without numbers, for the network to initialise.

    An nn.Embedding draws numbers at once; where it is made without memory torch imports its compiler for that, which
    takes longer than all else that happens before a first sample.
    """
    table: nn.Embedding = nn.Embedding.from_pretrained(torch.empty(count, width), freeze=False)  # type: ignore[no-untyped-call]
    return table
