"""Maps of a few rows, in C (rows.c) where there is a compiler; torch's operators are their twin."""

from __future__ import annotations

import ctypes
import functools
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from seqloom.kernels.native import program

MULTIPLE = 32
"""What the columns of a matrix in bfloat16 must be a multiple of."""


class MapStruct(ctypes.Structure):
    """As `struct map` of rows.c."""

    _fields_: ClassVar = [
        *[(name, ctypes.c_void_p) for name in ("weight", "scale", "total", "bias")],
        *[(name, ctypes.c_int64) for name in ("inner", "outer", "kind")],
    ]


KINDS = {torch.int8: 0, torch.bfloat16: 1, torch.float32: 2}
"""As `enum kind` of rows.c."""
PANELS = {torch.float32: 3, torch.bfloat16: 4, torch.int8: 5}
"""Of matrices that lie in panels: those of whole numbers where the processor has sums of four of their products, the
others for many rows."""
FEW = 16
"""Rows up to which maps in float32 are as fast as those of the libraries that torch calls."""
_POINTER, _LONG, _FLOAT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_ARGUMENTS = {
    "panel_lanes": [],
    "has_halves": [],
    "has_whole_panels": [],
    "sequence_forward": [_LONG, _POINTER, _POINTER, *[_LONG] * 3, _POINTER, _POINTER, _POINTER],
    "sequence_back": [_LONG, _POINTER, _POINTER, *[_LONG] * 3, *[_POINTER] * 6],
    "minimal_forward": [_LONG, _LONG, *[_POINTER] * 3, *[_LONG] * 3, _POINTER, _POINTER],
    "minimal_back": [_LONG, _LONG, *[_POINTER] * 5, *[_LONG] * 3, *[_POINTER] * 3],
    "squared_forward": [_LONG, _POINTER, _LONG, _POINTER],
    "squared_back": [_LONG, _POINTER, _POINTER, _LONG, _POINTER],
    "normed_forward": [_POINTER, _POINTER, _FLOAT, _LONG, _LONG, _POINTER, _POINTER],
    "normed_back": [*[_POINTER] * 4, *[_LONG] * 3, _POINTER, _POINTER],
    "turned_forward": [_LONG, *[_POINTER] * 4, _LONG, _FLOAT, *[_LONG] * 5, *[_POINTER] * 4],
    "turned_back": [_LONG, *[_POINTER] * 4, _LONG, _POINTER, *[_LONG] * 5, *[_POINTER] * 4, _LONG, _POINTER, _POINTER],
    "map_rows": [_POINTER, _POINTER, _LONG, _POINTER, _POINTER],
    "lstm_after": [_POINTER, _POINTER, _POINTER, _LONG, _LONG, _POINTER],
    "lstm_step": [_POINTER, _POINTER, _POINTER, _POINTER, _LONG, _POINTER, _POINTER],
    "stack_rows_at_once": [_POINTER, _LONG],
    "stack_step": [_POINTER, _POINTER, _LONG, _POINTER, *[_LONG] * 3, _POINTER, _POINTER],
    "stack_draw": [
        *[_POINTER, _POINTER, _LONG, _POINTER, _POINTER, _POINTER],
        *[_POINTER, _LONG, _POINTER, _LONG, _LONG, _POINTER, _POINTER, _POINTER, _POINTER],
    ],
}
_RESULTS = {
    "stack_draw": _LONG,
    "stack_rows_at_once": _LONG,
    **dict.fromkeys(("panel_lanes", "has_halves", "has_whole_panels"), ctypes.c_int),
}


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled functions; None where there are none."""
    found = program("ngram", "rows", "stack", "sequences", "scans", "blocks")
    if found is not None:
        for name, arguments in _ARGUMENTS.items():
            function = getattr(found, name)
            function.argtypes, function.restype = arguments, _RESULTS.get(name)
    return found


class RowsMap:
    """A linear map of rows (N,D) in float32 by a matrix (P,D), and a bias; only where there is a `library`.

    The matrix is in float32, of whole numbers, each row with a `scale`, or in bfloat16, D being a multiple of MULTIPLE.
    For many rows it can be laid out in `panels`, P being such a multiple too; in bfloat16 rows are then rounded too.
    """

    def __init__(
        self, weight: Tensor, scale: Tensor | None, bias: Tensor | None, few: int = FEW, panels: bool = False
    ) -> None:
        self.few = few
        """Rows up to which it is faster than the libraries that torch calls."""
        found = library()
        assert found is not None
        self._library = found
        self.outer, self.inner = weight.shape
        assert weight.is_contiguous()
        kind, side = KINDS[weight.dtype], 4 // weight.element_size()
        total = None if scale is None else weight.sum(1, dtype=torch.int32)
        if weight.dtype == torch.int8 and self.inner % side == 0 and found.has_whole_panels():
            panels, extra = True, -self.outer % found.panel_lanes()
            weight = F.pad(weight, (0, 0, 0, extra))
            scale, total, bias = (
                None if one is None else F.pad(one.detach(), (0, extra)) for one in (scale, total, bias)
            )
        if panels:
            kind = PANELS[weight.dtype]
            weight = weight.view(-1, found.panel_lanes(), self.inner // side, side).transpose(1, 2).contiguous()
        self._kept = weight, scale, total, bias  # which stay where they are
        pointers = [None if part is None else part.data_ptr() for part in self._kept]
        self._struct = MapStruct(*pointers, self.inner, self.outer, kind)
        self.address = ctypes.addressof(self._struct)

    def __call__(self, x: Tensor) -> Tensor:
        x, rows = x.contiguous(), x.shape[0]
        out, room = x.new_empty(rows, self.outer), x.new_empty(rows * (self.inner + 1))
        self._library.map_rows(self.address, x.data_ptr(), rows, room.data_ptr(), out.data_ptr())
        return out

    def lstm_step(self, recur: RowsMap, x: Tensor, past: Tensor) -> Tensor:
        """The state (N,2,W) of an LSTM after x (N,D), which this maps to the gates, and `recur` what came out."""
        x, past, (rows, _, width) = x.contiguous(), past.contiguous(), past.shape
        new = torch.empty_like(past)
        room = x.new_empty(rows * (9 * width + max(self.inner, width) + 1))
        self._library.lstm_step(
            self.address, recur.address, x.data_ptr(), past.data_ptr(), rows, room.data_ptr(), new.data_ptr()
        )
        return new


def lstm_after(entering: Tensor, before: Tensor, past: Tensor) -> Tensor:
    """The state (N,2,W) of an LSTM after an element, from what its gates (N,4W) get of it and of what came out."""
    found = library()
    assert found is not None
    entering, before, past = entering.contiguous(), before.contiguous(), past.contiguous()
    new = torch.empty_like(past)
    rows, _, width = past.shape
    found.lstm_after(entering.data_ptr(), before.data_ptr(), past.data_ptr(), rows, width, new.data_ptr())
    return new
