"""Recurrent layers between a table of symbols and a head as one program in C (rows.c); the network is its twin."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqloom.kernels.rows import KINDS, RowsMap, library

_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64


class _Norm(ctypes.Structure):
    """As `struct norm_of` of rows.c."""

    _fields_: ClassVar = [("gain", _POINTER), ("shift", _POINTER), ("norm", _LONG), ("least", ctypes.c_double)]


class _Layer(ctypes.Structure):
    """As `struct layer`."""

    _fields_: ClassVar = [("enter", _POINTER), ("recur", _POINTER), ("norm", _Norm)]


class _Stack(ctypes.Structure):
    """As `struct stack`."""

    _fields_: ClassVar = [
        *[(name, _POINTER) for name in ("table", "scale", "layers", "head")],
        ("norm", _Norm),
        *[(name, _LONG) for name in ("kind", "depth", "width", "residual")],
        ("gain", _POINTER),
    ]


@dataclass(frozen=True)
class LstmMaps:
    """The two maps of an LSTM: of what comes in, and of what came out before."""

    enter: RowsMap
    recur: RowsMap


class Stack:
    """A step, or many, of a network of LSTM layers of one width over symbols; only where there is a `library`.

    `table` (V,W) has the symbols as they enter, with a `scale` a row where it is of whole numbers. Each layer has a
    norm before it, and is added to what enters it where it is `residual`. What comes out has a norm too, is multiplied
    by `gain` where there is one, and mapped by the `head`. A row's numbers do not depend on the rows beside it.
    """

    def __init__(
        self,
        table: Tensor,
        scale: Tensor | None,
        layers: Sequence[tuple[nn.Module, LstmMaps]],
        residual: bool,
        norm: nn.Module,
        gain: Tensor | None,
        head: RowsMap,
    ) -> None:
        found = library()
        assert found is not None
        self._library = found
        self._kept = table, scale, layers, norm, gain, head  # which stay where they are
        self._layers = (_Layer * len(layers))(
            *[_Layer(maps.enter.address, maps.recur.address, _norm(before)) for before, maps in layers]
        )
        self.width, self.outputs = table.shape[1], head.outer
        self._struct = _Stack(
            table.data_ptr(),
            None if scale is None else scale.data_ptr(),
            ctypes.addressof(self._layers),
            head.address,
            _norm(norm),
            KINDS[table.dtype],
            len(layers),
            self.width,
            residual,
            None if gain is None else gain.data_ptr(),
        )
        self._address = ctypes.addressof(self._struct)

    def step(self, symbols: Tensor, states: Sequence[Tensor]) -> Tensor:
        """The outputs (B,P) after symbols (B,); the states (B,2,W) of the layers go on in place."""
        symbols, rows = symbols.contiguous(), len(symbols)
        out = torch.empty(rows, self.outputs)
        room = torch.empty(rows * (14 * self.width + 1))
        self._library.stack_step(
            self._address, symbols.data_ptr(), rows, _pointers(states), room.data_ptr(), out.data_ptr()
        )
        return out

    def draw(
        self,
        symbols: Tensor,
        states: Sequence[Tensor],
        u: NDArray[np.float64],
        never: Tensor,
        end: int | None,
        ended: NDArray[np.bool_],
    ) -> Tensor:
        """Symbols (B,K) drawn one after another on `symbols` (B,), by one number of u (B,most) each, as `pick` draws.

        None of `never` is drawn; K is less than `most` where every row has drawn `end`, as `ended` (B,) then says.
        """
        u, last, rows = np.ascontiguousarray(u), symbols.clone(), len(symbols)
        drawn = torch.empty(u.shape, dtype=torch.int64)
        room, logits = torch.empty(rows * (14 * self.width + 1)), torch.empty(rows * self.outputs)
        total = torch.empty(self.outputs, dtype=torch.float64)
        made = self._library.stack_draw(
            self._address,
            last.data_ptr(),
            rows,
            _pointers(states),
            room.data_ptr(),
            u.ctypes.data,
            u.shape[1],
            never.data_ptr(),
            len(never),
            -1 if end is None else end,
            ended.ctypes.data,
            logits.data_ptr(),
            total.data_ptr(),
            drawn.data_ptr(),
        )
        return drawn[:, :made]


def suits(norm: nn.Module) -> bool:
    """Whether this norm is one of those that the program knows."""
    return isinstance(norm, (nn.Identity, nn.LayerNorm, nn.RMSNorm))


def _norm(module: nn.Module) -> _Norm:
    if isinstance(module, nn.LayerNorm):
        return _Norm(module.weight.data_ptr(), module.bias.data_ptr(), 1, module.eps)
    if isinstance(module, nn.RMSNorm):
        eps = torch.finfo(module.weight.dtype).eps if module.eps is None else module.eps
        return _Norm(module.weight.data_ptr(), None, 2, eps)
    return _Norm(None, None, 0, 0.0)


def _pointers(states: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    """The addresses of states, of which each is contiguous."""
    return (ctypes.c_void_p * len(states))(*[state.data_ptr() for state in states])
