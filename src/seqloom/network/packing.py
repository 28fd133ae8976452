"""Packing a network: its matrices in int8 or bfloat16, for what is trained already."""

from __future__ import annotations

from torch import nn

from seqloom.kernels import packed
from seqloom.kernels import rows as kernel
from seqloom.kernels.packed import LEAST, MAPS, PackedMap, PackedTable
from seqloom.kernels.packed import Precision as Precision
from seqloom.mixers.base import MixerModule
from seqloom.network.network import Network

PRECISIONS: tuple[Precision, ...] = tuple(MAPS)
"""In what matrices can lie."""


def gains() -> dict[Precision, float]:
    """How many times faster than float32 this machine maps by packed matrices; 0 where it has no kernel for that."""
    return {"int8": max(packed.gain("int8"), packed.gain("int8", "many")), "bfloat16": packed.gain("bfloat16")}


def compiled() -> bool:
    """Whether a few rows are mapped by a compiled program."""
    return kernel.library() is not None


def pack(net: Network, precision: Precision) -> None:
    """Pack the matrices of the trunk, and of a model of symbols those at its ends; small ones, and vectors, stay."""
    kind = MAPS[precision]
    _pack_below(net.trunk, kind)
    if net.spec.symbolic and isinstance(net.embed, nn.Embedding) and net.embed.weight.numel() >= LEAST:
        net.head = kind(net.end_weight().detach(), net.head.bias)
        net.embed = PackedTable(net.embed.weight, precision)
        net.gain = net.untied = None
    net.stepping.forget()


def _pack_below(module: nn.Module, kind: type[PackedMap]) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Linear) and child.weight.numel() >= LEAST:
            setattr(module, name, kind(child.weight, child.bias))
            continue
        new = child.packed(kind) if isinstance(child, MixerModule) else child
        setattr(module, name, new)
        _pack_below(new, kind)


def size(net: Network) -> int:
    """Bytes of everything that is stored of a network."""
    return sum(tensor.nbytes for tensor in net.state_dict().values())
