"""Layers that a GPU goes through by itself: their kernels are started once, written down, and started again as one.

A training step of a small network takes a GPU less time than Python takes to start its thousand kernels (CUDA graphs,
see torch.cuda.make_graphed_callables). The same kernels compute the same numbers.
"""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any, Self

import torch
from torch import Tensor, nn

from seqloom.network.trunk import Trunk

# Gradients come from the stream on which a graph was written, and torch waits for it: as it should.
warnings.filterwarnings("ignore", "The AccumulateGrad node's stream does not match")

SEEN, MOST = 3, 4
"""Calls of one shape before they are written down, and shapes that are."""

Key = tuple[object, ...]


class Graphs:
    """What was written down of a trunk, by the shapes of what goes in."""

    def __init__(self) -> None:
        self._seen: Counter[Key] = Counter()
        self._made: dict[Key, nn.Module] = {}
        self._open = False

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)()

    def __call__(self, trunk: Trunk, inputs: dict[str, Tensor | None], channels: int) -> Tensor | None:
        """Features (B,T,width) after all layers, by a graph; None where there is none, and the layers are called.

        What a graph keeps for the way back lies where it will lie the next time, so it is not begun again before its
        gradient was taken.
        """
        named = {name: value for name, value in inputs.items() if value is not None}
        key = (channels, torch.is_autocast_enabled("cuda"), *((n, v.shape, v.dtype) for n, v in named.items()))
        if self._open or not torch.is_grad_enabled():
            return None
        if key not in self._made:
            self._seen[key] += 1
            if self._seen[key] <= SEEN or len(self._made) >= MOST or not all(layer.replays for layer in trunk.layers):
                return None
            self._made[key] = _written(trunk, named, channels)
        self._open = True
        out: Tensor = self._made[key](*named.values())
        out.register_hook(self._close)  # type: ignore[no-untyped-call]
        return out

    def _close(self, gradient: Tensor) -> None:
        self._open = False


class _Layers(nn.Module):
    """A trunk as a function of tensors alone, in the order of their names."""

    def __init__(self, trunk: Trunk, names: tuple[str, ...], channels: int) -> None:
        super().__init__()
        self.trunk, self.names, self.channels = trunk, names, channels

    def forward(self, *inputs: Tensor) -> Tensor:
        named = dict(zip(self.names, inputs, strict=True))
        out: Tensor = self.trunk(named.pop("h"), channels=self.channels, **named)[0]
        return out


def _written(trunk: Trunk, named: dict[str, Tensor], channels: int) -> nn.Module:
    layers = _Layers(trunk, tuple(named), channels)
    like = tuple(v.detach().clone().requires_grad_(v.requires_grad) for v in named.values())
    with torch.autocast("cuda", torch.bfloat16, torch.is_autocast_enabled("cuda"), cache_enabled=False):
        torch.cuda.make_graphed_callables(layers, like, allow_unused_input=True)  # in the module itself
    return layers
