"""Layers between symbols or numbers and a head as one program in C (stack.c); the network is its twin."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqloom.kernels.ngram import RunningLaw
from seqloom.kernels.packed import PackedMap
from seqloom.kernels.rows import KINDS, RowsMap, library

_POINTER, _LONG = ctypes.c_void_p, ctypes.c_int64
KINDS_OF_PARTS = ("lstm", "gru", "tanh", "relu", "attention", "forward", "across")
"""As `enum part` of stack.c."""
EVERYTHING = 1 << 62
"""The window of what sees all that was read."""
WHOLE, ATTENDING = 4, 16
"""So many times as many rows as one map alone a stack reads faster than the modules do, which make calls between their
maps; and one with attention, for which modules make calls for each row's keys. Numbers it always reads."""
LANES = 16
"""At least so many numbers as the program adds up side by side."""


class _Norm(ctypes.Structure):
    """As `struct norm_of` of stack.c."""

    _fields_: ClassVar = [("gain", _POINTER), ("shift", _POINTER), ("norm", _LONG), ("least", ctypes.c_double)]


class _Part(ctypes.Structure):
    """As `struct part_of`."""

    _fields_: ClassVar = [
        *[(name, _Norm) for name in ("norm", "query", "key")],
        *[(name, _POINTER) for name in ("first", "second", "sink")],
        *[(name, _LONG) for name in ("part", "heads", "shared", "each")],
    ]


class _Memory(ctypes.Structure):
    """As `struct memory`."""

    _fields_: ClassVar = [
        *[(name, _POINTER) for name in ("values", "keys", "turns", "length", "start")],
        *[(name, _POINTER) for name in ("past_values", "past_keys", "owner", "taken")],
        *[(name, _LONG) for name in ("room", "window", "past_room")],
    ]


class _Stack(ctypes.Structure):
    """As `struct stack`."""

    _fields_: ClassVar = [
        *[(name, _POINTER) for name in ("table", "scale", "parts", "head")],
        ("norm", _Norm),
        *[(name, _LONG) for name in ("kind", "depth", "width", "residual")],
        ("gain", _POINTER),
        ("widest", _LONG),
        *[(name, _POINTER) for name in ("enter", "identity")],
        *[(name, _LONG) for name in ("channels", "common")],
    ]


@dataclass(frozen=True)
class Part:
    """A recurrence, attention (to what was read, or across the channels of an element) or a feed-forward part.

    Of its two maps those of a recurrence are of what comes in, and of what came out before. Those of attention give
    queries, keys and values, and map what was read; it has `heads` of queries and `shared` ones of keys and values.
    Attention to what was read also has a gain for each of the features of a head, turns (N,features,2) of positions
    below a number where these turn it, and a `sink` (heads,).
    """

    kind: Literal["lstm", "gru", "tanh", "relu", "attention", "forward", "across"]
    first: RowsMap
    second: RowsMap
    heads: int = 0
    shared: int = 0
    gains: tuple[Tensor, Tensor] | None = None
    turns: Callable[[int], Tensor] | None = None
    sink: Tensor | None = None


@dataclass(frozen=True)
class Past:
    """Elements that rows have in common: keys by columns (G,H,E,S) and values (G,H,S,E), S being a multiple of LANES.

    Of each row (B,) `owner` says which it has, and `taken` how many elements of that.
    """

    keys: Tensor
    values: Tensor
    owner: NDArray[np.int64]
    taken: NDArray[np.int64]


@dataclass(frozen=True)
class Memory:
    """What a part remembers of each row, as `struct memory` has it, and to which it is written in place."""

    values: Tensor
    keys: Tensor | None = None
    length: NDArray[np.int64] | None = None
    start: NDArray[np.int64] | None = None
    window: int = EVERYTHING
    past: Past | None = None


@dataclass(frozen=True)
class Symbols:
    """How symbols enter: by a table (V,W), with a `scale` a row where it is of whole numbers."""

    table: Tensor
    scale: Tensor | None = None


@dataclass(frozen=True)
class Numbers:
    """How the numbers of an element enter its `channels`: of each its own, and the last `common` ones of all.

    All of one kind, one of each channel, stand after one another. An `identity` (channels,W) is added where there is
    one.
    """

    enter: RowsMap
    identity: Tensor | None
    channels: int
    common: int


class Stack:
    """A step of a network over symbols or numbers, or many over symbols; only where there is a `library`.

    Each part has a norm before it, and is added to what enters it where it is `residual`. What comes out has a norm
    too, is multiplied by `gain` where there is one, and mapped by the `head`. A row's numbers do not depend on the rows
    beside it, nor on how many there are.
    """

    def __init__(
        self,
        entering: Symbols | Numbers,
        parts: Sequence[tuple[nn.Module, Part]],
        residual: bool,
        norm: nn.Module,
        gain: Tensor | None,
        head: RowsMap,
        width: int,
    ) -> None:
        found = library()
        assert found is not None
        self._library = found
        self._kept = entering, parts, norm, gain, head  # which stay where they are
        self.parts = [part for _, part in parts]
        self._parts = (_Part * len(parts))(*[_part(before, part) for before, part in parts])
        self.width, self.outputs = width, head.outer
        maps = [head, *(one for part in self.parts for one in (part.first, part.second))]
        self.rows = min(one.few for one in maps)
        """So many rows at most it reads as fast as the modules do."""
        self.rows *= ATTENDING if any(part.kind == "attention" for part in self.parts) else WHOLE
        symbols = entering if isinstance(entering, Symbols) else None
        numbers = entering if isinstance(entering, Numbers) else None
        self.channels = 1 if numbers is None else numbers.channels
        if numbers is not None:
            self.rows, maps = EVERYTHING, [*maps, numbers.enter]
        self._matrices = 0 if numbers is None else sum(one.inner * one.outer for one in maps)
        self._widest = max(self.width, *(max(one.inner, one.outer) for one in maps))
        self._struct = _Stack(
            None if symbols is None else symbols.table.data_ptr(),
            None if symbols is None else _place(symbols.scale),
            ctypes.addressof(self._parts),
            head.address,
            _norm(norm),
            0 if symbols is None else KINDS[symbols.table.dtype],
            len(parts),
            self.width,
            residual,
            _place(gain),
            self._widest,
            None if numbers is None else numbers.enter.address,
            None if numbers is None else _place(numbers.identity),
            self.channels,
            0 if numbers is None else numbers.common,
        )
        self._address = ctypes.addressof(self._struct)

    def step(self, x: Tensor, memories: Sequence[Memory | None]) -> Tensor:
        """The outputs (B,P) after symbols (B,), or (B*channels,P) after elements (B,C).

        The memories of the parts, None of those without, go on in place.
        """
        x, rows = x.contiguous(), len(x) * self.channels
        threads = 1 if x.ndim == 1 else torch.get_num_threads()
        out = torch.empty(rows, self.outputs)
        own, longest, _turns = self._laid_out(memories, 1)
        room = self._room(self._library.stack_rows_at_once(self._address, rows), longest, threads)
        places = room.data_ptr(), out.data_ptr()
        self._library.stack_step(self._address, x.data_ptr(), rows, own, 0, longest, threads, *places)
        return out

    def draw(
        self,
        symbols: Tensor,
        memories: Sequence[Memory | None],
        u: NDArray[np.float64],
        never: Tensor,
        end: int | None,
        ended: NDArray[np.bool_],
        law: RunningLaw | None = None,
    ) -> Tensor:
        """Symbols (B,K) drawn one after another on `symbols` (B,), by one number of u (B,most) each, as `pick` draws.

        They are drawn from the outputs, or what a `law` makes of them, the last being the weight of it. None of `never`
        is drawn; K is less than `most` where every row has drawn `end`, as `ended` (B,) then says.
        """
        u, last, rows = np.ascontiguousarray(u), symbols.clone(), len(symbols)
        drawn = torch.empty(u.shape, dtype=torch.int64)
        own, longest, _turns = self._laid_out(memories, u.shape[1])
        room = self._room(rows, longest, 1)
        logits, total = torch.empty(rows * self.outputs), torch.empty(self.outputs, dtype=torch.float64)
        made = self._library.stack_draw(
            self._address,
            last.data_ptr(),
            rows,
            own,
            room.data_ptr(),
            None if law is None else ctypes.addressof(law.struct),
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

    def _room(self, rows: int, longest: int, threads: int) -> Tensor:
        """Room for the program to work in with so many rows at once."""
        return torch.empty(self._matrices + threads * (rows * (2 * self.width + 4 * self._widest + 1) + longest))

    def _laid_out(
        self, memories: Sequence[Memory | None], steps: int
    ) -> tuple[ctypes.Array[_Memory], int, list[Tensor | None]]:
        """The memories as the program has them, how many elements are attended to, and what must stay meanwhile."""
        turns: list[Tensor | None] = []
        structs, longest = [], self.channels
        for part, memory in zip(self.parts, memories, strict=True):
            last = 0
            if memory is not None and memory.length is not None:
                last = int(memory.length.max()) + steps
                longest = max(longest, min(last, memory.window))
            turns.append(None if part.turns is None else part.turns(last))
            structs.append(_Memory() if memory is None else _memory(memory, turns[-1]))
        return (_Memory * len(structs))(*structs), longest + 2 * LANES, turns


def mapped(module: nn.Module) -> RowsMap | None:
    """The map of a linear layer or a packed one for few rows, where there is one."""
    if isinstance(module, PackedMap):
        return module.few_rows if module.fits else None
    assert isinstance(module, nn.Linear)
    return wide(module.weight, module.bias)


def wide(weight: Tensor, bias: Tensor | None) -> RowsMap | None:
    """The map by a matrix in float32, where it lies row by row."""
    plain = weight.is_contiguous() and weight.dtype == torch.float32
    return RowsMap(weight.detach(), None, bias) if plain else None


def suits(norm: nn.Module) -> bool:
    """Whether this norm is one of those that the program knows."""
    return isinstance(norm, (nn.Identity, nn.LayerNorm, nn.RMSNorm))


def _part(before: nn.Module, part: Part) -> _Part:
    none = _Norm(None, None, 0, 0.0)
    norms, each = [none, none], part.second.inner // part.heads if part.heads else 0
    if part.gains is not None:
        norms = [_Norm(gain.data_ptr(), None, 2, torch.finfo(gain.dtype).eps) for gain in part.gains]
    return _Part(
        _norm(before),
        *norms,
        part.first.address,
        part.second.address,
        _place(part.sink),
        KINDS_OF_PARTS.index(part.kind),
        part.heads,
        part.shared,
        each,
    )


def _memory(memory: Memory, turns: Tensor | None) -> _Memory:
    room, past = 0 if memory.keys is None else memory.keys.shape[2], memory.past
    kept = (memory.length, memory.start, *((None, None) if past is None else (past.owner, past.taken)))
    length, start, owner, taken = (None if one is None else one.ctypes.data for one in kept)
    common = (None, None) if past is None else (past.values.data_ptr(), past.keys.data_ptr())
    places = _place(memory.values), _place(memory.keys), _place(turns)
    past_room = 0 if past is None else past.values.shape[2]
    return _Memory(*places, length, start, *common, owner, taken, room, memory.window, past_room)


def _norm(module: nn.Module) -> _Norm:
    if isinstance(module, nn.LayerNorm):
        return _Norm(module.weight.data_ptr(), module.bias.data_ptr(), 1, module.eps)
    if isinstance(module, nn.RMSNorm):
        eps = torch.finfo(module.weight.dtype).eps if module.eps is None else module.eps
        return _Norm(module.weight.data_ptr(), None, 2, eps)
    return _Norm(None, None, 0, 0.0)


def _place(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
