"""NumPy archives, objects included, read without unpickling: whatever is no plain array of numbers is refused.

Arrays of arrays of different lengths are stored by NumPy as a pickle, and unpickling can run any code. Here the
opcodes that NumPy writes for arrays are interpreted, and nothing else: no name is ever imported and nothing is ever
called, so that a hostile file can at worst be refused.
"""

from __future__ import annotations

import math
import pickletools
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqloom.core.errors import DataError

LARGEST = 1 << 30
"""Bytes that an archive may unpack to."""
DENSEST = 200
"""How many times its size an archive of more than `SMALL` bytes may unpack to: drawings and numbers stay below 20."""
SMALL = 64 << 20

COPIES = 4
"""How many times its size a file's objects may take: NumPy's own are made as a text, as bytes, and listed once."""

_HEADER = re.compile(
    rb"\{'descr': '(?P<order>[<>|=]?)(?P<kind>[biufO]\d*)', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>[\dL, ]*)\),? *\}\s*"
)
_KIND = re.compile(r"b1|[iu][1248]|f[248]")
_NAMES = {
    **{f"{module} _reconstruct": "array" for module in ("numpy.core.multiarray", "numpy._core.multiarray")},
    **{f"{module} _frombuffer": "buffer" for module in ("numpy.core.numeric", "numpy._core.numeric")},
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",
}
"""The names that NumPy writes for an array, as `module name`, and what each means here."""


class Refused(Exception):
    """What stands in the file is no plain array."""


@dataclass(eq=False)
class _Name:
    """One of the admitted names; it is never looked up."""

    means: str


@dataclass(eq=False)
class _Type:
    """A type of numbers, or of objects."""

    kind: str
    order: str = "|"


@dataclass(eq=False)
class _Array:
    """An array that is filled in by what follows it."""

    value: NDArray[Any] | list[NDArray[Any]] | None = None


_MARK = object()


def read_npz(path: Path) -> dict[str, NDArray[Any] | list[NDArray[Any]]]:
    """The arrays of an archive by name; an array of objects comes as the list of the arrays in it.

    DataError where it is damaged, far larger than it looks, or holds anything but numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_sizes(members, path)
            return {
                member.filename.removesuffix(".npy"): _array(archive.read(member), f"{path}: {member.filename}")
                for member in members
                if member.filename.endswith(".npy")
            }
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError("there is no such file", path=path) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise DataError(f"the archive cannot be read: {error}", path=path, hint="fetch or write it again") from None


def _check_sizes(members: list[zipfile.ZipInfo], path: Path) -> None:
    size, stored = sum(member.file_size for member in members), sum(member.compress_size for member in members)
    if size > LARGEST or (size > SMALL and size > DENSEST * stored):
        raise DataError(f"the archive of {stored:,} bytes unpacks to {size:,}", path=path, hint="it is not read")
    for member in members:
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError("the archive is packed in a way that NumPy does not use", path=path)


def _array(data: bytes, path: str) -> NDArray[Any] | list[NDArray[Any]]:
    """What one `.npy` file holds."""
    try:
        header, body = _split(data)
        shape = tuple(int(size.strip().rstrip("L")) for size in header["shape"].decode().split(",") if size.strip())
        kind, order = header["kind"].decode(), header["order"].decode()
        if kind == "O":
            return _objects(body, shape)
        return _numbers(_Type(kind, order), shape, header["fortran"] == b"True", body)
    except Refused as refused:
        raise DataError(
            f"{refused}", path=path, hint="only arrays of numbers, and arrays of these, are read: nothing was run"
        ) from None


def _split(data: bytes) -> tuple[re.Match[bytes], bytes]:
    """The header of a `.npy` file, and what follows it."""
    if data[:6] != b"\x93NUMPY" or len(data) < 12 or data[6] not in (1, 2, 3):
        raise Refused("the file is no array of NumPy's")
    width = 2 if data[6] == 1 else 4
    begin = 8 + width
    end = begin + int.from_bytes(data[8:begin], "little")
    header = _HEADER.fullmatch(data[begin:end])
    if header is None:
        raise Refused("the array is not of numbers, or its header is damaged")
    return header, data[end:]


def _numbers(kind: _Type, shape: tuple[int, ...], fortran: bool, data: bytes) -> NDArray[Any]:
    if not _KIND.fullmatch(kind.kind):
        raise Refused(f"an array of type {kind.kind[:20]!r} is not one of numbers")
    form = np.dtype((kind.order if kind.order in ("<", ">") else "") + kind.kind)
    if len(shape) > 8 or math.prod(shape) * form.itemsize != len(data):
        raise Refused(f"an array holds {len(data):,} bytes, which is not what its shape says")
    array = np.frombuffer(data, form)
    return array.reshape(shape, order="F" if fortran else "C")


def _objects(data: bytes, shape: tuple[int, ...]) -> list[NDArray[Any]]:
    """The arrays in an array of objects: its pickle's opcodes, as far as NumPy writes them."""
    made = _Interpreter(len(data)).run(data)
    if not isinstance(made, _Array) or not isinstance(made.value, list) or len(made.value) != math.prod(shape):
        raise Refused("the objects are not what the array's header says")
    return made.value


class _Interpreter:
    """A machine of a stack and a memory, whose only products are tuples, lists, numbers, texts and arrays."""

    def __init__(self, size: int) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.budget = COPIES * size
        """Bytes that may still be made: a few times what the file holds, however often it names them."""

    def run(self, data: bytes) -> Any:
        """What the opcodes make."""
        try:
            for opcode, argument, _ in pickletools.genops(data):
                if opcode.name == "STOP":
                    if len(self.stack) != 1:
                        raise Refused("the objects are damaged")
                    return self.stack[0]
                self.step(opcode.name, argument)
        except Refused:
            raise
        except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError, MemoryError):
            raise Refused("the objects are damaged") from None
        raise Refused("the objects are damaged")

    def step(self, name: str, argument: Any) -> None:
        """One opcode."""
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self.stack.append(argument)
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        elif name not in _IGNORED:
            raise Refused(f"the objects use {name}, which no array of numbers needs")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise Refused("the objects are damaged")
        return value

    def marked(self) -> list[Any]:
        """What stands above the last mark, which goes too."""
        begin = len(self.stack) - 1
        while self.stack[begin] is not _MARK:
            begin -= 1
            if begin < 0:
                raise Refused("the objects are damaged")
        values = self.stack[begin + 1 :]
        del self.stack[begin:]
        return values

    def collect(self, size: int) -> None:
        values = [self.pop() for _ in range(size)]
        self.stack.append(tuple(reversed(values)))

    def named(self, name: str) -> None:
        if name not in _NAMES:
            raise Refused(f"the objects name {name[:60]!r}, which is no part of an array")
        self.stack.append(_Name(_NAMES[name]))

    def named_by_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise Refused("the objects are damaged")
        self.named(f"{module} {name}")

    def append(self, values: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise Refused("the objects are damaged")
        self.stack[-1].extend(values)

    def reduce(self) -> None:
        """A call, of one of the four names that NumPy calls; what they would do is done here."""
        arguments, name = self.pop(), self.pop()
        means = name.means if isinstance(name, _Name) else ""
        match means, arguments:
            case "array", (_Name(means="ndarray"), (0,), b"b" | "b"):
                self.stack.append(_Array())
            case "dtype", (str() | bytes() as kind, 0 | 1, 0 | 1):
                self.stack.append(_Type(_text(kind)))
            case "encode", (str() as text, "latin1"):
                self.spend(len(text))
                self.stack.append(text.encode("latin1"))
            case "buffer", (bytes() | bytearray() as data, _Type() as kind, tuple() as shape, "C" | "F" as order):
                self.stack.append(_Array(self.numbers(kind, shape, order == "F", data)))
            case _:
                raise Refused("the objects call what is no part of an array")

    def build(self) -> None:
        """The contents of an array or a type that was made before."""
        state, made = self.pop(), self.stack[-1]
        match made, state:
            case _Type(), (3 | 4, str() | bytes() as order, None, None, None, -1, -1, int(), *_):
                made.order = _text(order)
            case _Array(value=None), (1, tuple() as shape, _Type(kind="O" | "O4" | "O8"), 0 | 1, list() as values):
                self.spend(len(values))
                if not all(isinstance(v, _Array) and isinstance(v.value, np.ndarray) for v in values):
                    raise Refused("an array holds objects that are not arrays of numbers")
                if len(values) != _count(shape):
                    raise Refused("the objects are not as many as their array's shape says")
                self.spend(sum(value.value.nbytes for value in values))
                made.value = [value.value for value in values]
            case _Array(value=None), (1, tuple() as shape, _Type() as kind, 0 | 1 as fortran, bytes() | str() as data):
                made.value = self.numbers(kind, shape, bool(fortran), data)
            case _:
                raise Refused("the objects set what is no part of an array")

    def numbers(
        self, kind: _Type, shape: tuple[Any, ...], fortran: bool, data: str | bytes | bytearray
    ) -> NDArray[Any]:
        _count(shape)
        self.spend(len(data))
        return _numbers(kind, shape, fortran, data.encode("latin1") if isinstance(data, str) else bytes(data))

    def spend(self, size: int) -> None:
        """What is in the file once may be named a million times."""
        self.budget -= size
        if self.budget < 0:
            raise Refused("the same array stands in the file many times over")


def _count(shape: tuple[Any, ...]) -> int:
    """How many elements an array of this shape has."""
    if len(shape) > 8 or not all(type(size) is int and size >= 0 for size in shape):
        raise Refused("an array has a shape that is none")
    return math.prod(shape)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin1")


def _put(machine: _Interpreter, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


_CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "MARK": _MARK, "EMPTY_TUPLE": ()}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_IGNORED = {"PROTO", "FRAME"}
_ACTIONS: Mapping[str, Callable[[_Interpreter, Any], None]] = {
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.marked())),
    "TUPLE1": lambda machine, _: machine.collect(1),
    "TUPLE2": lambda machine, _: machine.collect(2),
    "TUPLE3": lambda machine, _: machine.collect(3),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.marked()),
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": lambda machine, _: _put(machine, len(machine.memo)),
    "BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "GLOBAL": lambda machine, name: machine.named(name),
    "STACK_GLOBAL": lambda machine, _: machine.named_by_stack(),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
}
