"""The cache: arrays that were computed once from the data, read from then on through the page cache.

    $SEQLOOM_CACHE/shards/<key>/        raw arrays, and index.json with the type, shape and size of each
    $SEQLOOM_CACHE/shards/.tmp-<...>/   being written
    $SEQLOOM_CACHE/shards/.unfinished-<key>/ symbols of large pieces, until all are encoded
    $SEQLOOM_CACHE/fits/<key>.json      codecs that were fitted on a training split
    $SEQLOOM_CACHE/spool/<sha256>.txt   what came by standard input

A key is a hash of all that the content depends on, the code that reads and encodes included, so nothing is ever out of
date. All of it may be deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from seqloom.core import durable
from seqloom.core.cache import cache
from seqloom.core.content import digest_of_text
from seqloom.core.errors import DataError, RunError

INDEX = "index.json"
STALE, FORGOTTEN = 86_400.0, 7 * 86_400.0
"""Seconds after which what a killed writer left behind is deleted, and what it could have gone on with."""
_PIECE = 1 << 20


def key_of(*content: Any) -> str:
    """A hash of plain values, and of the package's code that reads data, encodes them and writes the cache."""
    text = json.dumps([_code(), *content], sort_keys=True)
    return digest_of_text(text)[:40]


@lru_cache
def _code() -> str:
    home = Path(__file__).parents[1]
    files = sorted(file for folder in ("codecs", "core", "corpora") for file in home.glob(f"{folder}/*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def smallest(size: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds the symbols 0..size-1."""
    return np.dtype(np.min_scalar_type(max(0, size - 1)))


class Writer:
    """Arrays that grow piece by piece along their first axis, as files in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._described: dict[str, dict[str, Any]] = {}

    def append(self, name: str, values: NDArray[Any]) -> None:
        """Add rows to the array `name`; the first piece says its type and width."""
        described = self._described.get(name)
        if described is None:
            described = {"dtype": values.dtype.str, "shape": [0, *values.shape[1:]], "bytes": 0}
            self._described[name] = described
            self._files[name] = (self.folder / f"{name}.bin").open("wb")
        assert described["dtype"] == values.dtype.str
        assert described["shape"][1:] == list(values.shape[1:])
        self._files[name].write(np.ascontiguousarray(values).data)
        described["shape"][0] += len(values)
        described["bytes"] += values.nbytes

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Flush everything to the disk; the index comes last."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        with (self.folder / INDEX).open("w", encoding="utf-8") as index:
            json.dump({"arrays": self._described, "facts": facts}, index)
            index.flush()
            os.fsync(index.fileno())

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()


@contextlib.contextmanager
def writing(key: str) -> Iterator[Writer]:
    """A writer of the shards `key`, which stand in their place, whole, when the block ends; or not at all."""
    folder = cache() / "shards" / key
    temporary = folder.with_name(f".tmp-{key}-{uuid.uuid4().hex[:12]}")
    with _disk(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        temporary.mkdir()
        writer = Writer(temporary)
        try:
            yield writer
            writer.close()
            if folder.exists() and read(key) is None:  # torn
                folder.rename(temporary.with_name(f"{temporary.name}-torn"))
            # Another writer of the same content may have been first; then the folder holds what we would put into it.
            if not folder.exists():
                with contextlib.suppress(FileExistsError):
                    temporary.rename(folder)
        finally:
            writer.close()
            for leftover in (temporary, temporary.with_name(f"{temporary.name}-torn")):
                shutil.rmtree(leftover, ignore_errors=True)


@contextlib.contextmanager
def unfinished(key: str) -> Iterator[Unfinished | None]:
    """What is kept of an encoding that takes long, until the block ends well; None where another process has it."""
    folder = cache() / "shards" / f".unfinished-{key}"
    with _disk(folder), contextlib.ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            stack.enter_context(durable.Lock(folder))
        except RunError:
            yield None
            return
        kept = stack.enter_context(contextlib.closing(Unfinished(folder)))
        yield kept
        shutil.rmtree(folder, ignore_errors=True)


class Unfinished:
    """The symbols of large pieces, one after another as they are encoded, so that a killed encoding goes on."""

    def __init__(self, folder: Path) -> None:
        symbols, sizes = (folder / name for name in ("symbols.bin", "sizes.bin"))
        self._symbols, self._sizes = symbols.open("a+b"), sizes.open("a+b")
        found = np.fromfile(sizes, np.int64, sizes.stat().st_size // 8)
        whole = np.cumsum(found) <= symbols.stat().st_size // 4  # the last may have been cut
        self.sizes: list[int] = found[whole].tolist()
        self._symbols.truncate(4 * sum(self.sizes))
        self._sizes.truncate(8 * len(self.sizes))
        self._symbols.seek(0)
        self.number = 0

    def of(self, encode: Callable[[], NDArray[np.int64]]) -> NDArray[np.int64]:
        """The symbols of the next piece: as they were kept, or encoded now."""
        self.number += 1
        if self.number <= len(self.sizes):
            data = self._symbols.read(4 * self.sizes[self.number - 1])
            return np.frombuffer(data, np.uint32).astype(np.int64)
        x = encode()
        self._symbols.write(x.astype(np.uint32).tobytes())
        self._symbols.flush()
        self._sizes.write(np.int64(len(x)).tobytes())
        self._sizes.flush()
        return x

    def close(self) -> None:
        """Close the files."""
        self._symbols.close()
        self._sizes.close()


def read(key: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
    """The arrays of the shards `key`, memory-mapped, and their facts; None where there are none or they are torn."""
    folder = cache() / "shards" / key
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        arrays: dict[str, NDArray[Any]] = {}
        for name, described in index["arrays"].items():
            path, dtype, shape = folder / f"{name}.bin", np.dtype(described["dtype"]), tuple(described["shape"])
            if path.stat().st_size != described["bytes"] or described["bytes"] != dtype.itemsize * int(np.prod(shape)):
                return None
            mapped = np.memmap(path, dtype, "r", shape=shape) if described["bytes"] else np.zeros(shape, dtype)
            arrays[name] = mapped.view(np.ndarray)
        return arrays, index["facts"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(key: str, fitted: Mapping[str, Any]) -> None:
    """Keep fitted codecs under `key`."""
    path = cache() / "fits" / f"{key}.json"
    with _disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".tmp-{key}-{uuid.uuid4().hex[:12]}")
        temporary.write_text(json.dumps(fitted), encoding="utf-8")
        temporary.replace(path)


def recall(key: str) -> dict[str, Any] | None:
    """The fitted codecs under `key`, if they are there."""
    try:
        stored = json.loads((cache() / "fits" / f"{key}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stored if isinstance(stored, dict) else None


FRAME = ".parquet"
"""How the name of a frame of a Python program ends that is kept in the cache."""


def spooled() -> Path:
    """Where what came by standard input, or from a Python program, lies."""
    return cache() / "spool"


def spool(stream: BinaryIO, suffix: str = ".txt") -> Path:
    """A file in the cache with all that comes from `stream`, named by its content; DataError where nothing comes."""
    folder = spooled()
    temporary = folder / f".tmp-{uuid.uuid4().hex[:12]}"
    digest = hashlib.sha256()
    with _disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                while piece := stream.read(_PIECE):
                    digest.update(piece)
                    file.write(piece)
                size = file.tell()
            if not size:
                name = getattr(stream, "name", "<stdin>")
                named = name if isinstance(name, str) and name != "<stdin>" else "standard input"
                raise DataError("it is empty", path=named, hint="see what was to write into it")
            path = folder / f"{digest.hexdigest()[:40]}{suffix}"
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def kept_of(path: Path) -> str:
    """What a file of the cache was before it was kept there; nothing for another file."""
    if path.parent != spooled():
        return ""
    return "the frame" if path.suffix == FRAME else "standard input"


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"the cache cannot be written: {error.strerror or error}",
            path=path.parent,
            hint="free some space, or name another folder by the variable SEQLOOM_CACHE",
        ) from error


def _sweep(folder: Path) -> None:
    for pattern, seconds in ((".tmp-*", STALE), (".unfinished-*", FORGOTTEN)):
        for leftover in folder.glob(pattern):
            with contextlib.suppress(OSError):
                if time.time() - leftover.stat().st_mtime > seconds:
                    shutil.rmtree(leftover, ignore_errors=True)
