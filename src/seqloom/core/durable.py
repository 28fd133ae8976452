"""The only writer of runs: what it has written survives a kill, a full disk and, if damaged later, is noticed.

A file is written aside, flushed to the disk and renamed, so at any moment a reader finds the old or the new, never a
half; `checkpoints` makes whole folders the same way.

    run/lock            one writer at a time (`Lock`)
    run/log.jsonl       what happened, a record a line (`Journal`)

Every change on the disk goes through `disk`, which a test replaces by one that fails, or dies, at the n-th operation.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import math
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from seqloom.core.errors import RunError, Stopped

if TYPE_CHECKING:
    pass

logger = logging.getLogger(__name__)

CHECKPOINTS, MANIFEST, LOCK = "checkpoints", "manifest.json", "lock"
CHUNK = 1 << 20
LARGEST_JSON = 64 << 20
LARGEST_MANIFEST = 1 << 16
# EFBIG is what a limit on file sizes gives; to a person it is the same: there is no room.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


class Disk:
    """The primitive operations that change a disk, each as the system offers it."""

    def open(self, path: Path, flags: int) -> int:
        """A file descriptor, not inherited by other programs."""
        return os.open(path, flags, 0o666)

    def write(self, handle: int, data: bytes | memoryview) -> int:
        """Write some of `data` and return how many bytes."""
        return os.write(handle, data)

    def fsync(self, handle: int) -> None:
        """Return when what was written to this file or folder is on the disk."""
        os.fsync(handle)

    def truncate(self, handle: int, size: int) -> None:
        """Cut an open file to `size` bytes."""
        os.ftruncate(handle, size)

    def rename(self, old: Path, new: Path) -> None:
        """Rename within one filesystem, at once."""
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        """Delete a file."""
        os.unlink(path)

    def mkdir(self, path: Path) -> None:
        """Make a folder whose parent exists."""
        os.mkdir(path)

    def rmdir(self, path: Path) -> None:
        """Delete an empty folder."""
        os.rmdir(path)

    def free(self, path: Path) -> int:
        """Bytes that may still be written under `path`."""
        return shutil.disk_usage(path).free


disk = Disk()


# Files


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by a file with this content, whole or not at all. Stopped if the disk is full, else RunError."""
    temporary = path.with_name(f".tmp-{path.name}-{uuid.uuid4().hex[:12]}")
    with writing(path):
        try:
            write_file(temporary, data)
            disk.rename(temporary, path)
            sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                delete(temporary)
            raise


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """`write_bytes` of readable JSON. NaN and infinity, which JSON lacks, are a ValueError: nothing is lost unseen."""
    write_bytes(path, json_bytes(value, indent=2))


def read_json(path: Path) -> Any:
    """The value in a JSON file of a run; RunError where it is missing, torn or beyond 64 MiB."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise RunError(f"{path} is larger than such a file can be")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}", hint="is this a run folder?") from None
    except (ValueError, RecursionError):
        raise RunError(f"{path} is torn: it is not JSON", hint="restore it from a copy, or train anew") from None


class Journal:
    """A file of JSON records, one a line, that only grows, but for being cut back to an offset on resume.

    Args:
        path: The file; made if missing.
        offset: Cut the file to this many bytes first (what a checkpoint's `log` says; 0 to begin anew). None goes on
            at the end, without a last line that a kill left half-written.
    """

    def __init__(self, path: Path, offset: int | None = None) -> None:
        self.path = path
        with writing(path):
            self._handle = disk.open(path, os.O_RDWR | os.O_CREAT)
            try:
                self.offset = self._cut(offset)
            except BaseException:
                self.close()
                raise

    def _cut(self, offset: int | None) -> int:
        size = os.fstat(self._handle).st_size
        if offset is not None and offset > size:
            logger.warning("%s has lost its last %d bytes; it goes on without them", self.path, offset - size)
            offset = None
        if offset is None:
            offset = _end_of_last_line(self._handle, size)
        if offset < size:
            disk.truncate(self._handle, offset)
        return offset

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record; a number that is not finite becomes null. On a full disk: Stopped, with no torn line left."""
        line = json_bytes(finite(record)).rstrip(b"\n") + b"\n"
        with writing(self.path):
            try:
                os.lseek(self._handle, self.offset, os.SEEK_SET)
                _write_all(self._handle, line)
            except OSError:
                with contextlib.suppress(OSError):
                    disk.truncate(self._handle, self.offset)
                raise
        self.offset += len(line)

    def sync(self) -> int:
        """Flush to the disk; returns the offset, which is what a checkpoint saved now has to remember."""
        with writing(self.path):
            disk.fsync(self._handle)
        return self.offset

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    @staticmethod
    def read(path: Path) -> Iterator[dict[str, Any]]:
        """The whole records of a journal, also of one being written: a last line without its end is left out."""
        try:
            with path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if not line.endswith(b"\n"):
                        return
                    try:
                        yield json.loads(line)
                    except ValueError:
                        raise RunError(f"{path}, line {number} is not JSON") from None
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}") from None


# One writer


class Lock:
    """The right to write in a run folder, held by one process and given up when it ends, however it ends.

    Entering makes the folder if need be, and is a RunError while another holds it. Where the filesystem has no locks,
    the growing `epoch` still stops an earlier writer from committing once a later one has begun.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.epoch = 0
        self._handle = -1
        self._token = ""

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._handle >= 0

    def __enter__(self) -> Self:
        if self.held:
            raise RuntimeError("this lock is held already")
        path = self.run / LOCK
        with writing(path):
            make_folders(self.run)
            handle = disk.open(path, os.O_RDWR | os.O_CREAT)
            try:
                self._seize(path, handle)
            except BaseException:
                os.close(handle)
                raise
        self._handle = handle
        return self

    def __exit__(self, *failure: object) -> None:
        # The file stays: deleting it would let two writers lock two files of one name.
        os.close(self._handle)
        self._handle = -1

    def check(self) -> None:
        """RunError if another writer has taken over (a deleted lock file, a filesystem without locks)."""
        if not self.held:
            raise RuntimeError("the lock is not held")
        if not (self.run / LOCK).exists():
            raise RunError(
                f"{self.run} was deleted, or its file {LOCK}, while it was being written",
                hint="leave a run where it is until it is done; what was not saved is lost",
            )
        owner = _owner(self.run / LOCK)
        if owner.get("token") != self._token:
            raise RunError(
                f"{self.run} has been taken over by {_whose(owner)}",
                hint="let that one go on, or stop it and start again with --resume",
            )

    def _seize(self, path: Path, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"{self.run} is being written by {_whose(_owner(path))}",
                hint="wait for it or stop it, or choose another folder with --out",
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            logger.warning("the filesystem of %s has no locks: see that only one program writes there", self.run)
        saved = self.run.glob(f"{CHECKPOINTS}/*/{MANIFEST}")  # a lock file may have been deleted
        epochs = [_epoch(_owner(record)) for record in (path, *saved)]
        self.epoch, self._token = 1 + max(epochs), uuid.uuid4().hex
        owner = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now().astimezone().isoformat(timespec="seconds"),
            "epoch": self.epoch,
            "token": self._token,
        }
        disk.truncate(handle, 0)
        _write_all(handle, json_bytes(owner))
        disk.fsync(handle)


def _owner(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes()[:LARGEST_MANIFEST])
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _whose(owner: Mapping[str, Any]) -> str:
    if not {"pid", "host", "since"} <= owner.keys():
        return "another program"
    return f"process {owner['pid']} on {owner['host']} since {owner['since']}"


def _epoch(record: Mapping[str, Any]) -> int:
    epoch = record.get("epoch", 0)
    return epoch if isinstance(epoch, int) else 0


# What files and folders of files are made of


@contextlib.contextmanager
def writing(what: Path) -> Iterator[None]:
    """What a disk can refuse, in words: Stopped when it is full, RunError otherwise."""
    try:
        yield
    except Exception as error:
        if _is_full(error):
            raise Stopped(
                f"the disk is full: {what} could not be written",
                hint="free some space and go on with --resume; what was saved before is whole",
            ) from error
        if isinstance(error, OSError):
            raise RunError(
                f"{what} could not be written: {error.strerror or error}", hint="see that the folder can be written to"
            ) from error
        raise


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in NO_ROOM
    # safetensors reports the system's refusal in words only
    named = type(error).__name__ == "SafetensorError"
    return named and any(f"os error {number})" in str(error) for number in NO_ROOM)


def write_file(path: Path, data: bytes) -> tuple[int, str]:
    """Write a new file and flush it to the disk; its size and SHA-256, taken from the memory it came from."""
    handle = disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        _write_all(handle, data)
        disk.fsync(handle)
    finally:
        os.close(handle)
    return len(data), hashlib.sha256(data).hexdigest()


def _write_all(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[disk.write(handle, rest[:CHUNK]) :]


def sync_folder(path: Path) -> None:
    """Flush a folder's names to the disk, so that what was renamed stays renamed."""
    handle = disk.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        disk.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network filesystems flush no folders
            raise
    finally:
        os.close(handle)


def make_folders(path: Path) -> None:
    """Make a folder and those above it, each flushed to the disk."""
    if path.is_dir():
        return
    if path.parent != path:
        make_folders(path.parent)
    with contextlib.suppress(FileExistsError):
        disk.mkdir(path)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    sync_folder(path.parent)


def delete(path: Path) -> None:
    """Delete a file, or a folder of files, if it is there."""
    try:
        if path.is_dir() and not path.is_symlink():
            for name in sorted(os.listdir(path)):
                delete(path / name)
            disk.rmdir(path)
        else:
            disk.unlink(path)
    except FileNotFoundError:
        pass


def _end_of_last_line(handle: int, size: int) -> int:
    """The number of bytes up to and with the last line feed."""
    end = size
    while end > 0:
        begin = max(0, end - CHUNK)
        position = os.pread(handle, end - begin, begin).rfind(b"\n")
        if position >= 0:
            return begin + position + 1
        end = begin
    return 0


def json_bytes(value: Any, indent: int | None = None) -> bytes:
    """A value as JSON in UTF-8, with a line's end; ValueError where a number is not finite (see `finite`)."""
    # A lone surrogate becomes \udXXX, which is how JSON escapes it.
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8", "backslashreplace")


def finite(value: Any) -> Any:
    """The same with null for what is no number, which JSON cannot write."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
