"""A network of LSTM layers over symbols reads one symbol of each of a few rows by one compiled program.

What such a step takes is mostly not its arithmetic but the calls around it. The program computes what the modules do,
to rounding; where there is no compiler, or a network is made of anything else, the modules are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqloom.kernels import rows as kernel
from seqloom.kernels.packed import PackedMap, PackedTable
from seqloom.kernels.rows import RowsMap
from seqloom.kernels.stack import LstmMaps, Stack, suits
from seqloom.mixers.recurrent import Gated, PackedGated, RecurrentState
from seqloom.network.trunk import Layer
from seqloom.sequence.state import LayerState, NetState

if TYPE_CHECKING:
    from seqloom.network.network import Network

FEW = 4
"""Rows of float32 up to which the program is faster than the libraries that the modules call."""
MANY = 4096
"""Symbols from which more time goes into drawing than into all else: there torch's kernels draw faster."""


class Stepping:
    """The program of one network, made anew whenever a tensor that it reads has moved."""

    def __init__(self) -> None:
        self._read: list[Tensor] | None = None
        self._places: list[int] = []
        self._stack: Stack | None = None
        self._most = 0
        self.paused = False
        """Whether modules are called, since what happens inside them is looked at."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)()

    def forget(self) -> None:
        """Modules of the network were replaced."""
        self._read = None

    def step(self, net: Network, x: Tensor, state: NetState) -> Tensor | None:
        """Outputs (B,P) after symbols x (B,), with which the state goes on; None where there is no such program."""
        states = self._ready(net, len(x), state)
        if states is None or self._stack is None:
            return None
        out = self._stack.step(x, states)
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
    ) -> Tensor | None:
        """Symbols (B,K) drawn one after another on x (B,): see `Stack.draw`; all but the last of them are read."""
        states = self._ready(net, len(x), state)
        if states is None or self._stack is None or self._stack.outputs > MANY:
            return None
        drawn = self._stack.draw(x, states, u, never, end, ended)
        _read_on(state, len(x), drawn.shape[1])
        return drawn

    def _ready(self, net: Network, rows: int, state: NetState) -> list[Tensor] | None:
        """The states (B,2,W) of the layers where the program can go on from them."""
        if self.paused or torch.is_grad_enabled():
            return None
        places = None if self._read is None else [tensor.data_ptr() for tensor in self._read]
        if places is None or places != self._places:
            self._make(net)
        if rows > self._most:
            return None
        return _states(state.layers, rows)

    def _make(self, net: Network) -> None:
        """Lay out the program, where the network is one that it knows."""
        self._read, self._stack, self._most = [*net.parameters(), *net.buffers()], None, 0
        self._places = [tensor.data_ptr() for tensor in self._read]
        if kernel.library() is None or any(t.device.type != "cpu" for t in self._read) or not _is_stack(net):
            return
        few: list[int] = []
        embed = net.embed
        assert isinstance(embed, nn.Embedding | PackedTable)
        parts = [_parts(layer) for layer in net.trunk.layers]
        maps = [_lstm_maps(mixer, few) for _, mixer in parts]
        head = _map(net.head, few) if isinstance(net.head, PackedMap) else _wide(_end_weight(net), net.head.bias, few)
        layers = [(norm, own) for (norm, _), own in zip(parts, maps, strict=True) if own is not None]
        if head is None or len(layers) < len(maps):
            return
        scale = embed.scale if isinstance(embed, PackedTable) else None
        self._stack = Stack(embed.weight, scale, layers, net.backbone.residual, net.trunk.norm, net.gain, head)
        self._most = min(few)


def _end_weight(net: Network) -> Tensor:
    """The matrix of the head as it lies."""
    return net.head.weight if net.gain is None else net.embed.weight[: net.spec.outputs]  # type: ignore


def _is_stack(net: Network) -> bool:
    """Whether a network is nothing but layers, with their norms, between symbols and a head, all in float32."""
    trunk = net.trunk
    plain = net.spec.symbolic and net.dtype == torch.float32 and trunk.level is None and trunk.first is None
    plain = plain and net.untied is None and isinstance(net.embed, nn.Embedding | PackedTable) and suits(trunk.norm)
    return plain and all(
        suits(_parts(layer)[0]) and layer.mlp is None and layer.cross is None and layer.across is None
        for layer in trunk.layers
    )


def _parts(layer: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The norm and the mixer of a layer."""
    assert isinstance(layer, Layer)
    return layer.mixer_norm, layer.mixer


def _lstm_maps(mixer: nn.Module, few: list[int]) -> LstmMaps | None:
    """The maps of a layer, where it is an LSTM; up to how many rows they are fast is added to `few`."""
    if isinstance(mixer, Gated) and mixer.cell == "lstm":
        enter, recur = _wide(mixer.weight_ih, mixer.bias_ih, few), _wide(mixer.weight_hh, mixer.bias_hh, few)
    elif isinstance(mixer, PackedGated) and mixer.cell == "lstm":
        enter, recur = _map(mixer.enter, few), _map(mixer.recur, few)
    else:
        return None
    return None if enter is None or recur is None else LstmMaps(enter, recur)


def _map(packed: PackedMap, few: list[int]) -> RowsMap | None:
    few.append(packed.few)
    return packed.few_rows if packed.fits else None


def _wide(weight: Tensor, bias: Tensor | None, few: list[int]) -> RowsMap | None:
    few.append(FEW)
    lies = weight.is_contiguous() or weight.t().is_contiguous()
    return RowsMap(weight.detach(), None, bias) if lies and weight.dtype == torch.float32 else None


def _states(layers: Sequence[LayerState], rows: int) -> list[Tensor] | None:
    """What layers remember (B,2,W) where that can be written to in place."""
    states = []
    for layer in layers:
        if not isinstance(layer, RecurrentState) or layer.ring > 1:
            return None
        now = layer.now(rows)
        if now.dtype != torch.float32 or not now.is_contiguous():
            return None
        states.append(now)
    return states


def _read_on(state: NetState, rows: int, count: int) -> None:
    for layer in state.layers:
        assert isinstance(layer, RecurrentState)
        layer.length[:rows] += count
        layer.floor[:rows] = layer.length[:rows]
