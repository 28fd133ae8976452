"""Archives of arrays are read without unpickling: NumPy's own are read, whatever else is refused and nothing is run."""

from __future__ import annotations

import io
import os
import pickle
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqloom.codecs import npz
from seqloom.codecs.npz import read_npz
from seqloom.core.errors import DataError

DATA = os.environ.get("SEQLOOM_DATA", "")
HEADER = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"


def npy(body: bytes, header: bytes = HEADER) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def archive(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            packed.writestr(f"{name}.npy", data)
    return path


def drawings(dtype: str = "<i2", order: Any = "C") -> np.ndarray[Any, Any]:
    values = np.empty(3, object)
    for i in range(3):
        values[i] = np.asarray(np.arange((i + 1) * 3).reshape(i + 1, 3), dtype, order=order)
    return values


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["<i2", ">i4", "<f4", ">f8", "|u1", "|b1"])
def test_arrays_of_arrays_come_back_in_every_protocol(protocol: int, dtype: str, tmp_path: Path) -> None:
    for order in "CF":
        values = drawings(dtype, order)
        body = pickle.dumps(values, protocol)
        header = HEADER.replace(b"(1,)", b"(3,)")
        read = read_npz(archive(tmp_path / "a.npz", train=npy(body, header)))["train"]
        assert isinstance(read, list)
        for mine, its in zip(read, values, strict=True):
            np.testing.assert_array_equal(mine, its)
            assert mine.dtype == its.dtype


def test_what_numpy_saves_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    plain = np.asfortranarray(np.random.default_rng(0).normal(size=(5, 4, 3)))
    np.savez_compressed(path, train=drawings(), plain=plain, none=np.empty(0, object))  # type: ignore[arg-type]
    read = read_npz(path)
    assert sorted(read) == ["none", "plain", "train"]
    np.testing.assert_array_equal(read["plain"], plain)
    assert [array.tolist() for array in read["train"]] == [array.tolist() for array in drawings()]
    assert len(read["none"]) == 0


@pytest.mark.skipif(not DATA, reason="SEQLOOM_DATA names no folder of data")
@pytest.mark.parametrize(
    ("name", "counts"),
    [("sketch_sheep/aaron_sheep.npz", (7400, 300, 300)), ("kanji/short_kanji.npz", (10000, 600, 500))],
)
def test_published_drawings_are_read_as_numpy_reads_them(name: str, counts: tuple[int, ...]) -> None:
    path = Path(DATA) / name
    read = read_npz(path)
    assert tuple(len(read[key]) for key in ("train", "valid", "test")) == counts
    with np.load(path, allow_pickle=True, encoding="latin1") as its:
        for mine, other in zip(read["test"], its["test"], strict=True):
            np.testing.assert_array_equal(mine, other)


class Calls:
    """Pickles itself as a call of anything."""

    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call


def attacks(mark: str) -> dict[str, bytes]:
    """Pickles that would run `mark` as a command, or harm in another way, if anything were unpickled."""
    command = mark.encode()
    text = b"\x8c" + bytes([len(command)]) + command
    array = pickle.dumps(np.zeros(2, np.int16), 4)
    reconstruct = b"cnumpy.core.multiarray\n_reconstruct\n"
    objects = np.empty(1, object)
    objects[0] = drawings()
    lists = np.empty(1, object)
    lists[0] = ["no array"]
    return {
        "a call": pickle.dumps(Calls(os.system, (mark,)), 2),
        "a call, named on the stack": pickle.dumps(Calls(os.system, (mark,)), 4),
        "a call within an array": pickle.dumps(np.array([Calls(os.system, (mark,))], object), 4),
        "an instance": b"(S'" + command + b"'\nios\nsystem\n.",
        "an object": b"(cos\nsystem\n" + text + b"o.",
        "a new object": b"\x80\x02cos\nsystem\n" + text + b"\x85\x81.",
        "a new object with names": b"\x80\x04cos\nsystem\n" + text + b"\x85}\x92.",
        "a state": b"\x80\x02cnumpy\nndarray\n}" + b"U\x01a" + text + b"sb.",
        "a state of a type": b"\x80\x02cnumpy\ndtype\nU\x02i2K\x00K\x01\x87R}b.",
        "an extension": b"\x80\x02\x82\x01.",
        "a persistent name": b"Pname\n.",
        "a persistent name on the stack": b"\x80\x02" + text + b"Q.",
        "a buffer": b"\x80\x05\x97.",
        "attributes of an admitted name": b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.",
        "another name of the module": b"\x80\x02cnumpy\nload\n" + text + b"\x85R.",
        "a function of the standard library": b"\x80\x02cbuiltins\neval\n" + text + b"\x85R.",
        "another encoding": b"\x80\x02c_codecs\nencode\n" + text + b"\x8c\x03hex\x86R.",
        "an array of another class": b"\x80\x02" + reconstruct + b"cnumpy\ndtype\nK\x00\x85U\x01b\x87R.",
        "a type of objects as numbers": b"\x80\x02cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R.",
        "a name alone": b"\x80\x02" + reconstruct + b".",
        "objects within objects": pickle.dumps(objects, 4),
        "a list": pickle.dumps(lists, 4),
        "a dictionary": pickle.dumps({}, 4),
        "an array that is filled twice": array[:-1] + array[array.rindex(b"(K\x01") : -1] + b".",
        "a mark that is none": b"\x80\x02t.",
        "a stack that is empty": b"\x80\x02R.",
        "a memory that is empty": b"\x80\x02h\x07.",
        "two results": b"\x80\x02K\x01K\x02.",
        "no end": b"\x80\x02K\x01",
        "nothing": b"",
        "an opcode that is none": b"\xff\xff",
        "a huge text": b"\x80\x02T\xff\xff\xff\x7fabc.",
        "huge bytes": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
        "a huge frame": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.",
        "a huge number": b"\x80\x02\x8b\xff\xff\xff\x7f.",
        "a huge place": b"\x80\x02Nr\xff\xff\xff\xff.",
    }


@pytest.mark.parametrize("name", attacks(""))
def test_what_is_no_array_is_refused_and_nothing_is_run(name: str, tmp_path: Path) -> None:
    mark = tmp_path / "run"
    path = archive(tmp_path / "bad.npz", train=npy(attacks(f"touch {mark}")[name]))
    with pytest.raises(DataError) as refused:
        read_npz(path)
    assert str(path) in str(refused.value)
    assert refused.value.hint
    assert not mark.exists()


def reuse(shape: tuple[int, ...]) -> bytes:
    """An object array that names one array of numbers many times."""
    values = np.empty(20_000, object)
    values[:] = [np.zeros(shape, np.int16)] * len(values)
    return pickle.dumps(values, 4)


def test_one_array_named_many_times_takes_no_more_than_the_file() -> None:
    with pytest.raises(npz.Refused, match="many times"):
        npz._objects(reuse((500, 3)), (20_000,))
    text = b"\x80\x02X" + struct.pack("<I", 100_000) + b"a" * 100_000 + b"q\x00c_codecs\nencode\nq\x01"
    again = b"h\x01h\x00\x8c\x06latin1\x86R" * 1000
    with pytest.raises(npz.Refused, match="many times"):
        npz._objects(text + again + b"N.", (1,))


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"{'descr': '<i2', 'fortran_order': False, 'shape': (1000000000000,), }", "shape"),
        (b"{'descr': '<i2', 'fortran_order': False, 'shape': (-1,), }", "header"),
        (b"{'descr': [('a', '<i2')], 'fortran_order': False, 'shape': (1,), }", "header"),
        (b"{'descr': '|V8', 'fortran_order': False, 'shape': (1,), }", "header"),
        (b"{'descr': '<i3', 'fortran_order': False, 'shape': (1,), }", "type"),
        (b"__import__('os').abort()", "header"),
    ],
)
def test_damaged_headers_are_told(header: bytes, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=reason):
        read_npz(archive(tmp_path / "bad.npz", train=npy(b"\0\0", header)))


def test_every_truncation_and_flipped_byte_is_an_array_or_an_error(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, drawings(), allow_pickle=True)  # type: ignore[arg-type]
    whole = buffer.getvalue()
    rng = np.random.default_rng(1)
    damaged = [whole[:size] for size in range(len(whole))]
    for position in rng.integers(0, len(whole), 400):
        damaged.append(whole[:position] + bytes([rng.integers(256)]) + whole[position + 1 :])
    refused = 0
    for data in damaged:
        try:
            npz._array(data, "here")
        except DataError:
            refused += 1
    assert refused > len(whole)


def test_archives_that_are_damaged_or_bombs_are_told_with_their_name(tmp_path: Path) -> None:
    torn = archive(tmp_path / "torn.npz", train=npy(pickle.dumps(drawings(), 2), HEADER.replace(b"(1,)", b"(3,)")))
    whole = torn.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 3):
        torn.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"torn\.npz"):
            read_npz(torn)
    torn.write_bytes(whole[:60] + b"\0\0\0\0" + whole[64:])
    with pytest.raises(DataError, match=r"torn\.npz"):
        read_npz(torn)
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("train.npy", "w") as file:
        for _ in range(80):
            file.write(bytes(1 << 20))
    began = time.monotonic()
    with pytest.raises(DataError, match=r"bomb\.npz.*unpacks to"):
        read_npz(bomb)
    assert time.monotonic() - began < 1  # it was not unpacked
    with pytest.raises(DataError, match="no such file"):
        read_npz(tmp_path / "none.npz")
    packed_otherwise = tmp_path / "lzma.npz"
    with zipfile.ZipFile(packed_otherwise, "w", zipfile.ZIP_LZMA) as packed:
        packed.writestr("train.npy", bytes(100))
    with pytest.raises(DataError, match="packed"):
        read_npz(packed_otherwise)
