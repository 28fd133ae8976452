"""Interpolated laws of symbols from counts, in C (ngram.c) where there is a compiler; `KneserNey` is their twin."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from seqloom.kernels.native import program

Made = TypeVar("Made")

_TABLES = {
    **dict.fromkeys(("keys", "first", "pair", "pair_first"), np.int64),
    **dict.fromkeys(("symbol", "pair_symbol"), np.int32),
    **dict.fromkeys(("mass", "total", "discount", "pair_mass", "pair_total", "pair_discount"), np.float32),
}
_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64
EACH = 256
"""Rows from which on a further thread is worth it."""
AT_ONCE = 1 << 20
"""Places at which laws of many symbols differ from that of symbols alone, found in one call."""


@dataclass(frozen=True)
class SparseLaw:
    """Laws of N positions: the logarithm of a symbol's is `base[which] + shift`, and for some symbols `more`.

    `base` (K,size) is of symbols alone, `which` (N,) the one of it, `shift` (N,); `row`, `symbol` and `more` (E,).
    """

    base: NDArray[np.float32]
    which: NDArray[np.int64]
    shift: NDArray[np.float32]
    row: NDArray[np.int64]
    symbol: NDArray[np.int64]
    more: NDArray[np.float32]


class LevelStruct(ctypes.Structure):
    """As `struct level` of ngram.c."""

    _fields_: ClassVar = [(name, _POINTER) for name in (*_TABLES, "keys_first", "own_first")]


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
        ("mean", ctypes.c_int),
    ]


class SparseStruct(ctypes.Structure):
    """As `struct sparse` of ngram.c."""

    tables: ClassVar = ("base", "shift", "more", "which", "row", "symbol")
    _fields_: ClassVar = [
        *[(name, _POINTER) for name in tables],
        ("places", _LONG),
        ("gate", ctypes.c_float),
    ]


class NgramKernel:
    """The tables of all levels, as `Level` of processes/ngram.py names them, where a compiled program reads them."""

    def __init__(self, found: ctypes.CDLL, levels: Sequence[Mapping[str, NDArray[Any]]], size: int, parts: int) -> None:
        self._found, self.size, self.parts = found, size, parts
        self._kept: list[dict[str, NDArray[Any]]] = []
        shorter = 1  # contexts of the level before
        for level in levels:
            kept = {name: np.ascontiguousarray(level[name], kind) for name, kind in _TABLES.items()}
            contexts = len(kept["keys"])
            # Where those begin that lengthen each shorter context, and the parts of each: few are then searched.
            kept["keys_first"] = np.searchsorted(kept["keys"], np.arange(shorter + 1) * (size + 1)).astype(np.int64)
            kept["own_first"] = np.searchsorted(kept["pair"], np.arange(contexts + 1) * parts).astype(np.int64)
            self._kept.append(kept)
            shorter = contexts
        structs = [LevelStruct(*[table.ctypes.data for table in level.values()]) for level in self._kept]
        self._levels = (LevelStruct * len(structs))(*structs)

    def log_law(self, contexts: NDArray[np.int64], parts: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """The logarithm (N,size) of the law after contexts (N,K), without what `parts` (N,) have if given."""
        out = np.empty((len(contexts), self.size), np.float32)
        contexts, parts = np.ascontiguousarray(contexts), None if parts is None else np.ascontiguousarray(parts)
        asked = AskedStruct(None, None, None, None, contexts.ctypes.data, _address(parts), 0, *contexts.shape)
        self._call(asked, None, 0.0, 0, out.ctypes.data)
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
        self._call(asked, logits.data_ptr(), gate, 0, out.data_ptr())
        return out

    def running(self, contexts: NDArray[np.int64], gate: float, mean: bool = False) -> RunningLaw:
        """The law after contexts (N,K), the nearest symbol first, that go on with what a program of layers draws.

        With the network's it makes a `mean` or a product.
        """
        contexts = np.array(contexts, np.int64, order="C")
        rows, columns = contexts.shape
        logits = np.empty((rows, self.size), np.float32)
        places = ctypes.addressof(self._levels), contexts.ctypes.data, logits.ctypes.data
        struct = LawStruct(*places, len(self._kept), self.size, self.parts, columns, gate, mean)
        return RunningLaw(self, contexts, logits, struct)

    def _call(self, asked: AskedStruct, logits: int | None, gate: float, mean: int, out: int) -> None:
        """The laws of all rows, or logits with these."""

        def some(begin: int, end: int) -> None:
            part = asked.of(begin, end)
            own = None if logits is None else logits + 4 * begin * (self.size + 1)
            to = out + 4 * begin * self.size
            self._found.ngram_laws(
                self._levels, len(self._kept), self.size, self.parts, ctypes.byref(part), own, gate, mean, to
            )

        _shared(some, asked.rows)

    def sparse_log_law(
        self,
        contexts: NDArray[np.int64],
        parts: NDArray[np.int64] | None,
        base: NDArray[np.float32],
        scales: NDArray[np.float32],
    ) -> SparseLaw:
        """The law after contexts (N,K), where it is not `base` (K,size) of symbols alone, which is scaled by `scales`.

        Of these the first is that of all parts, and the others are without one part each.
        """
        contexts, parts = np.ascontiguousarray(contexts), None if parts is None else np.ascontiguousarray(parts)
        whole = AskedStruct(None, None, None, None, contexts.ctypes.data, _address(parts), 0, *contexts.shape)
        law, shift = np.exp(base), np.empty(len(contexts), np.float32)
        kinds = np.int64, np.int64, np.float32

        def some(begin: int, end: int) -> list[list[NDArray[Any]]]:
            asked, done, found = whole.of(begin, end), ctypes.c_int64(0), []
            sums, marks = np.empty(self.size, np.float32), np.empty(2 * self.size, np.int32)
            room = max(AT_ONCE, self.size)
            while done.value < end - begin:
                places = [np.empty(room, kind) for kind in kinds]
                row, symbol, more = (one.ctypes.data for one in places)
                count = self._found.ngram_sparse_laws(
                    *(self._levels, len(self._kept), self.size, self.parts, ctypes.byref(asked)),
                    *(base.ctypes.data, law.ctypes.data, scales.ctypes.data, room, sums.ctypes.data, marks.ctypes.data),
                    *(ctypes.byref(done), shift.ctypes.data + 4 * begin, row, symbol, more),
                )
                found.append([places[0][:count] + begin, *(one[:count] for one in places[1:])])
            return found

        found = [places for part in _shared(some, len(contexts)) for places in part]
        row, symbol, more = (
            np.concatenate([np.zeros(0, kind), *parts]) for kind, *parts in zip(kinds, *found, strict=True)
        )
        which = np.zeros(len(contexts), np.int64) if parts is None else parts + 1
        return SparseLaw(base, which, shift, row, symbol, more)


def _shared(some: Callable[[int, int], Made], rows: int) -> list[Made]:
    """What is made of stretches of the rows, by as many threads as torch computes with where these are many."""
    threads = min(torch.get_num_threads(), max(1, rows // EACH))
    bounds = [rows * i // threads for i in range(threads + 1)]
    return [some(0, rows)] if threads == 1 else list(_workers().map(some, bounds, bounds[1:]))


@cache
def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="laws")


@dataclass(frozen=True)
class RunningLaw:
    """A law that goes with the outputs of a network while symbols are drawn one after another."""

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
    found = _library()
    return None if found is None else NgramKernel(found, levels, size, parts)


@cache
def _library() -> ctypes.CDLL | None:
    """The compiled functions; None where there are none."""
    found = program("ngram")
    if found is not None:
        tables = [_POINTER, *[_LONG] * 3, _POINTER]
        for name, arguments, result in (
            ("ngram_laws", [*tables, _POINTER, ctypes.c_float, ctypes.c_int, _POINTER], None),
            ("ngram_sparse_laws", [*tables, *[_POINTER] * 3, _LONG, *[_POINTER] * 7], _LONG),
            ("sparse_added", [_POINTER, _LONG, _POINTER, _LONG, _LONG, _POINTER], None),
            ("sparse_added_back", [_POINTER, _LONG, _POINTER, _LONG, _LONG, _POINTER], None),
        ):
            function = getattr(found, name)
            function.argtypes, function.restype = arguments, result
    return found


def sparsely_added(out: Tensor, laws: Sequence[SparseLaw], gates: Sequence[float]) -> Tensor | None:
    """Logits (N,size) from a network's (N,size+G), of which the last G are, each with its gate, the weights of laws.

    None where no compiled program makes them. The backward pass cannot be differentiated.
    """
    if _library() is None or out.dtype != torch.float32 or out.device.type != "cpu":
        return None
    return SparselyAdded.apply(out, laws, gates)  # type: ignore[no-any-return, no-untyped-call]


class SparselyAdded(torch.autograd.Function):
    """See `sparsely_added`."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, laws: Sequence[SparseLaw], gates: Sequence[float]) -> Tensor:
        out = out.contiguous()
        structs = [
            SparseStruct(*(getattr(law, name).ctypes.data for name in SparseStruct.tables), len(law.row), gate)
            for law, gate in zip(laws, gates, strict=True)
        ]
        ctx.laws, ctx.structs = laws, (SparseStruct * len(laws))(*structs)
        made = out.new_empty(len(out), out.shape[1] - len(laws))
        _added(ctx.structs, "sparse_added", out, made, made)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by: Tensor) -> tuple[Tensor, None, None]:
        by = by.contiguous()
        into = by.new_empty(len(by), by.shape[1] + len(ctx.laws))
        _added(ctx.structs, "sparse_added_back", by, by, into)
        return into, None, None


def _added(laws: ctypes.Array[SparseStruct], name: str, of: Tensor, logits: Tensor, into: Tensor) -> None:
    rows, size = logits.shape
    getattr(_library(), name)(laws, len(laws), of.data_ptr(), rows, size, into.data_ptr())
