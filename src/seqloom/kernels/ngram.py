"""Interpolated laws of symbols from counts, in C (ngram.c) where there is a compiler; `KneserNey` is their twin."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqloom.kernels.native import program

_TABLES = {
    **dict.fromkeys(("keys", "first", "pair", "pair_first"), np.int64),
    **dict.fromkeys(("symbol", "pair_symbol"), np.int32),
    **dict.fromkeys(("mass", "total", "discount", "pair_mass", "pair_total", "pair_discount"), np.float32),
}
_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64
EACH = 256
"""Rows from which on a further thread is worth it."""


class LevelStruct(ctypes.Structure):
    """As `struct level` of ngram.c."""

    _fields_: ClassVar = [*[(name, _POINTER) for name in _TABLES], ("contexts", _LONG), ("pairs", _LONG)]


class AskedStruct(ctypes.Structure):
    """As `struct asked` of ngram.c."""

    _fields_: ClassVar = [
        *[(name, _POINTER) for name in ("symbols", "row", "at", "since", "contexts", "part")],
        *[(name, _LONG) for name in ("length", "rows", "columns")],
    ]

    def of(self, begin: int, end: int) -> AskedStruct:
        """Some of the places."""
        places = [None if p is None else p + 8 * begin for p in (self.row, self.at, self.since)]
        contexts = None if self.contexts is None else self.contexts + 8 * begin * self.columns
        part = None if self.part is None else self.part + 8 * begin
        return AskedStruct(self.symbols, *places, contexts, part, self.length, end - begin, self.columns)


class LawStruct(ctypes.Structure):
    """As `struct law` of stack.c."""

    _fields_: ClassVar = [
        *[(name, _POINTER) for name in ("levels", "contexts", "logits")],
        *[(name, _LONG) for name in ("order", "size", "parts", "columns")],
        ("gate", ctypes.c_float),
    ]


class NgramKernel:
    """The tables of all levels, as `Level` of processes/ngram.py names them, where a compiled program reads them."""

    def __init__(self, function: Any, levels: Sequence[Mapping[str, NDArray[Any]]], size: int, parts: int) -> None:
        self._function, self.size, self.parts = function, size, parts
        self._kept = [
            {name: np.ascontiguousarray(level[name], kind) for name, kind in _TABLES.items()} for level in levels
        ]
        structs = [
            LevelStruct(*[table.ctypes.data for table in level.values()], len(level["keys"]), len(level["pair"]))
            for level in self._kept
        ]
        self._levels = (LevelStruct * len(structs))(*structs)

    def log_law(self, contexts: NDArray[np.int64], parts: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """The logarithm (N,size) of the law after contexts (N,K), without what `parts` (N,) have if given."""
        out = np.empty((len(contexts), self.size), np.float32)
        contexts, parts = np.ascontiguousarray(contexts), None if parts is None else np.ascontiguousarray(parts)
        asked = AskedStruct(None, None, None, None, contexts.ctypes.data, _address(parts), 0, *contexts.shape)
        self._call(asked, None, 0.0, out.ctypes.data)
        return out

    def added(
        self,
        logits: Tensor,
        gate: float,
        symbols: NDArray[np.int64],
        places: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
        parts: NDArray[np.int64] | None,
    ) -> Tensor:
        """Logits (..., size) from a network's (..., size + 1), whose last is, with `gate`, the weight of the law.

        The law is that at `places` of `symbols` (B,L): rows, positions, and how many symbols of a sequence are before.
        """
        logits, symbols = logits.contiguous(), np.ascontiguousarray(symbols)
        kept = [np.ascontiguousarray(one) for one in places]
        parts = None if parts is None else np.ascontiguousarray(parts)
        out = logits.new_empty(*logits.shape[:-1], self.size)
        addresses = [one.ctypes.data for one in (symbols, *kept)]
        columns = len(self._kept) - 1
        asked = AskedStruct(*addresses, None, _address(parts), symbols.shape[1], len(kept[0]), columns)
        self._call(asked, logits.data_ptr(), gate, out.data_ptr())
        return out

    def running(self, contexts: NDArray[np.int64], gate: float) -> RunningLaw:
        """The law after contexts (N,K), the nearest symbol first, that go on with what a program of layers draws."""
        contexts = np.array(contexts, np.int64, order="C")
        rows, columns = contexts.shape
        logits = np.empty((rows, self.size), np.float32)
        places = ctypes.addressof(self._levels), contexts.ctypes.data, logits.ctypes.data
        struct = LawStruct(*places, len(self._kept), self.size, self.parts, columns, gate)
        return RunningLaw(self, contexts, logits, struct)

    def _call(self, asked: AskedStruct, logits: int | None, gate: float, out: int) -> None:
        """All rows, by as many threads as torch computes with where they are many."""
        threads = min(torch.get_num_threads(), max(1, asked.rows // EACH))
        bounds = [asked.rows * i // threads for i in range(threads + 1)]

        def some(begin: int, end: int) -> None:
            part = asked.of(begin, end)
            own = None if logits is None else logits + 4 * begin * (self.size + 1)
            to = out + 4 * begin * self.size
            self._function(self._levels, len(self._kept), self.size, self.parts, ctypes.byref(part), own, gate, to)

        if threads == 1:
            some(0, asked.rows)
        else:
            list(_workers().map(some, bounds, bounds[1:]))


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="laws")


@dataclass(frozen=True)
class RunningLaw:
    """A law that is added to the outputs of a network while symbols are drawn one after another."""

    kernel: NgramKernel
    contexts: NDArray[np.int64]
    logits: NDArray[np.float32]
    struct: LawStruct

    @property
    def size(self) -> int:
        """How many symbols there are."""
        return self.kernel.size


def _address(numbers: NDArray[np.int64] | None) -> int | None:
    return None if numbers is None else numbers.ctypes.data


def compiled(levels: Sequence[Mapping[str, NDArray[Any]]], size: int, parts: int) -> NgramKernel | None:
    """The tables where a compiled program reads them; None where there is none."""
    found = program("ngram")
    if found is None:
        return None
    function = found.ngram_laws
    sizes, gate = [_LONG] * 3, ctypes.c_float
    function.argtypes = [_POINTER, *sizes, _POINTER, _POINTER, gate, _POINTER]
    function.restype = None
    return NgramKernel(function, levels, size, parts)
