"""A network reads one symbol of each of a few rows, or one element of each of any number, by one compiled program.

What such a step takes is mostly not its arithmetic but the calls around it. The program computes what the modules do,
to rounding; where there is no compiler, or a network is made of anything else, the modules are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqloom.kernels import rows as kernel
from seqloom.kernels.ngram import RunningLaw
from seqloom.kernels.packed import PackedMap, PackedTable
from seqloom.kernels.stack import Memory, Numbers, Part, Stack, Symbols, mapped, suits, wide
from seqloom.mixers.base import MixerModule
from seqloom.network.trunk import Layer
from seqloom.sequence.state import NetState

if TYPE_CHECKING:
    from seqloom.network.network import Network

MANY = 4096
"""Symbols from which more time goes into drawing than into all else: there torch's kernels draw faster."""
FAR = 1 << 16
"""Elements from which on turns of positions are not kept."""


class Stepping:
    """The program of one network, made anew whenever a tensor that it reads has moved."""

    def __init__(self) -> None:
        self._read: list[Tensor] | None = None
        self._places: list[int] = []
        self._stack: Stack | None = None
        self._remembers: list[int | None] = []
        self.paused = False
        """Whether modules are called, since what happens inside them is looked at."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)()

    def forget(self) -> None:
        """Modules of the network were replaced."""
        self._read = None

    def knows(self, net: Network) -> bool:
        """Whether there is a program of this network as it lies now."""
        self._make(net)
        return self._stack is not None

    def goes_on(self, net: Network, rows: int, state: NetState) -> bool:
        """Whether so many rows can read one element more."""
        return self._ready(net, rows, state, 1) is not None

    def step(self, net: Network, x: Tensor, state: NetState) -> Tensor | None:
        """Outputs (B,P) after symbols x (B,), or elements (B,C), and the state goes on; None where there is no program.

        Where channels are rows of their own the outputs are (B*D,P).
        """
        memories = self._ready(net, len(x), state, 1)
        if memories is None or self._stack is None:
            return None
        out = self._stack.step(x if net.spec.symbolic else x.to(net.dtype), memories)
        _read_on(state, len(x), 1)
        return out

    def draw(
        self,
        net: Network,
        x: Tensor,
        state: NetState,
        u: NDArray[np.float64],
        never: Tensor,
        end: int | None,
        ended: NDArray[np.bool_],
        law: RunningLaw | None = None,
    ) -> Tensor | None:
        """Symbols (B,K) drawn one after another on x (B,): see `Stack.draw`; all but the last of them are read."""
        memories = self._ready(net, len(x), state, u.shape[1])
        if memories is None or self._stack is None or self._stack.outputs > MANY:
            return None
        drawn = self._stack.draw(x, memories, u, never, end, ended, law)
        _read_on(state, len(x), drawn.shape[1])
        return drawn

    def _ready(self, net: Network, rows: int, state: NetState, steps: int) -> list[Memory | None] | None:
        """What the parts remember, where the program can go on from that."""
        if self.paused or torch.is_grad_enabled():
            return None
        places = None if self._read is None else [tensor.data_ptr() for tensor in self._read]
        if places is None or places != self._places:
            self._make(net)
        if self._stack is None or rows > self._stack.rows or state.length[:rows].max() + steps > FAR:
            return None
        memories: list[Memory] = [layer.memory(rows * state.each, steps) for layer in state.layers]
        if any(memory is None for memory in memories):
            return None
        return [None if layer is None else memories[layer] for layer in self._remembers]

    def _make(self, net: Network) -> None:
        """Lay out the program, where the network is one that it knows."""
        self._read, self._stack = [*net.parameters(), *net.buffers()], None
        self._places = [tensor.data_ptr() for tensor in self._read]
        if kernel.library() is None or any(t.device.type != "cpu" for t in self._read) or not _is_stack(net):
            return
        entering = _entering(net)
        head = mapped(net.head) if isinstance(net.head, PackedMap) else wide(_end_weight(net), net.head.bias)
        parts: list[tuple[nn.Module, Part]] = []
        self._remembers = []
        for number, layer in enumerate(net.trunk.layers):
            own = _parts(layer)
            if own is None:
                return
            parts += own
            self._remembers += [number, None, None][: len(own)]
        if head is not None and entering is not None:
            self._stack = Stack(entering, parts, net.backbone.residual, net.trunk.norm, net.gain, head, net.width)


def _entering(net: Network) -> Symbols | Numbers | None:
    """How symbols or numbers enter, where the program knows it."""
    embed = net.embed
    if isinstance(embed, nn.Embedding | PackedTable):
        return Symbols(embed.weight, embed.scale if isinstance(embed, PackedTable) else None)
    if not isinstance(embed, nn.Linear | PackedMap) or net.patch > 1:
        return None
    enter = mapped(embed)
    identity = None if net.identity is None else net.identity.weight
    return (
        None
        if enter is None
        else Numbers(enter, identity, net.channels, net.spec.shared if identity is not None else 0)
    )


def _end_weight(net: Network) -> Tensor:
    """The matrix of the head as it lies."""
    return net.head.weight if net.gain is None else net.embed.weight[: net.spec.outputs]  # type: ignore


def _is_stack(net: Network) -> bool:
    """Whether a network is nothing but layers between symbols or numbers and a head, all in float32."""
    trunk = net.trunk
    plain = net.dtype == torch.float32 and trunk.level is None and trunk.first is None and suits(trunk.norm)
    return plain and net.untied is None and net.beside is None and not net.conditions.specs


def _parts(layer: nn.Module) -> list[tuple[nn.Module, Part]] | None:
    """The parts of a layer, each with the norm before it; None where the program does not know them."""
    assert isinstance(layer, Layer)
    if layer.cross is not None or not isinstance(layer.mixer, MixerModule):
        return None
    own = layer.mixer.part()
    parts = [(layer.mixer_norm, own)]
    if layer.across is not None:
        parts.append((layer.across.norm, layer.across.part()))
    if layer.mlp is not None and layer.mlp_norm is not None:
        up, down = mapped(layer.mlp.up), mapped(layer.mlp.down)
        parts.append((layer.mlp_norm, None if up is None or down is None else Part("forward", up, down)))
    if not all(suits(norm) and part is not None for norm, part in parts):
        return None
    return [(norm, part) for norm, part in parts if part is not None]


def _read_on(state: NetState, rows: int, steps: int) -> None:
    for layer in state.layers:
        layer.read_on(rows * state.each, steps)
