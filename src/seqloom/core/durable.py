"""The only writer of runs: what it has written survives a kill, a full disk and, if damaged later, is noticed.

A file is written aside, flushed to the disk and renamed; a checkpoint is a folder made the same way, with a manifest
that holds the size and SHA-256 of every file. So at any moment a reader finds the old or the new, never a half.

    run/lock                            one writer at a time (`Lock`)
    run/log.jsonl                       what happened, a record a line (`Journal`)
    run/checkpoints/00000500/           weights, average, training `.safetensors`, state.json, manifest.json
    run/checkpoints/.tmp-500-<hex>/     being written
    run/checkpoints/.old-00000500/      set aside while the same step is saved again
    run/checkpoints/.gone-<name>-<hex>/ being deleted
    run/quarantine/                     damaged checkpoints, moved here by the holder of the lock

Every change on the disk goes through `disk`, which a test replaces by one that fails, or dies, at the n-th operation.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import logging
import math
import os
import re
import shutil
import socket
import stat
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from seqloom.core.errors import RunError, Stopped

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

FORMAT = 1
PARTS = ("weights", "average", "training")
CHECKPOINTS, QUARANTINE, MANIFEST, STATE, LOCK = "checkpoints", "quarantine", "manifest.json", "state.json", "lock"
CHUNK = 1 << 20
LARGEST_HEADER = 16 << 20
LARGEST_JSON = 64 << 20
LARGEST_MANIFEST = 1 << 16
MOST_TENSORS = 100_000
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
    aside = path.with_name(f".tmp-{path.name}-{uuid.uuid4().hex[:12]}")
    with _writing(path):
        try:
            _write_file(aside, data)
            disk.rename(aside, path)
            _sync_folder(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                _delete(aside)
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
        with _writing(path):
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
        with _writing(self.path):
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
        with _writing(self.path):
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
        with _writing(path):
            _make_folders(self.run)
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
        epochs = [_epoch(_owner(path)), *(_epoch(_glance(folder)) for folder in _saved(self.run))]
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


def _glance(folder: Path) -> dict[str, Any]:
    return _owner(folder / MANIFEST)


# Checkpoints


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a checkpoint belongs to: the run's id, the hash of its recipe, the fingerprint of its data."""

    run: str
    recipe: str
    data: str


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read from the disk and found whole; `verify` alone makes them.

    Attributes:
        folder: Where it lies.
        step: Updates done.
        identity: What it belongs to.
        log: Bytes of the journal that had been written.
        epoch: Which writer of this run wrote it, counted from 1.
        files: Size in bytes and SHA-256 of each file.
    """

    folder: Path
    step: int
    identity: Identity
    log: int
    epoch: int
    files: Mapping[str, tuple[int, str]]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for size, _ in self.files.values())

    @property
    def parts(self) -> tuple[str, ...]:
        """Which of weights, average and training it has."""
        return tuple(part for part in PARTS if f"{part}.safetensors" in self.files)

    def load(self, part: str) -> dict[str, torch.Tensor]:
        """The tensors of a part, on the CPU, by name."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        if part not in self.parts:
            raise RunError(f"checkpoint {self.folder} has no {part}", hint=f"it has: {', '.join(self.parts)}")
        try:
            return load(self._read(f"{part}.safetensors"))
        except SafetensorError as error:
            raise RunError(f"checkpoint {self.folder.name}: {part}.safetensors: {error}") from None

    def state(self) -> dict[str, Any]:
        """Everything that is not a tensor."""
        value: dict[str, Any] = json.loads(self._read(STATE))
        return value

    def _read(self, name: str) -> bytes:
        """A file's content, checked once more: what is used is what was checked."""
        try:
            data = (self.folder / name).read_bytes()
        except OSError as error:
            raise RunError(
                f"checkpoint {self.folder}: {name} cannot be read: {error.strerror}",
                hint="if the run is being trained just now, try again",
            ) from None
        if (len(data), hashlib.sha256(data).hexdigest()) != self.files[name]:
            raise RunError(f"checkpoint {self.folder}: {name} has changed since it was checked")
        return data


@dataclasses.dataclass(frozen=True)
class Damaged:
    """A checkpoint that was passed over, where it lies now, and what is wrong with it."""

    folder: Path
    reason: str


def folder_of(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return run / CHECKPOINTS / f"{step:08d}"


def steps(run: Path) -> list[int]:
    """The steps at which a checkpoint was saved, ascending; not verified."""
    return sorted({_step_of(folder) for folder in _saved(run)})


def save(
    lock: Lock,
    step: int,
    identity: Identity,
    *,
    weights: Mapping[str, torch.Tensor],
    training: Mapping[str, torch.Tensor],
    state: Mapping[str, Any],
    average: Mapping[str, torch.Tensor] | None = None,
    log: int = 0,
) -> Checkpoint:
    """Write the checkpoint of a step, read it back and return it; one of the same step is replaced.

    Args:
        lock: Held, for the run folder.
        step: Updates done.
        identity: What the checkpoint belongs to.
        weights: Parameters and buffers.
        training: Optimizer moments and carried state.
        state: The rest, as JSON holds it.
        average: The moving average of the weights, if one is kept.
        log: The journal's offset (`journal.sync()`).

    Raises:
        Stopped: There is no room; older checkpoints are whole and nothing half-written is left.
        RunError: Another writer has taken over, or the disk refuses.
    """
    lock.check()
    target = folder_of(lock.run, step)
    place = target.parent
    tensors = {"weights": weights, "average": average, "training": training}
    coming = sum(value.nbytes for part in tensors.values() if part is not None for value in part.values())
    aside = place / f".tmp-{step}-{uuid.uuid4().hex}"
    with _writing(target):
        _make_folders(place)
        _check_room(lock.run, coming)
        try:
            disk.mkdir(aside)
            files: dict[str, tuple[int, str]] = {}
            for part, values in tensors.items():
                if values is not None:
                    name = f"{part}.safetensors"
                    files[name] = _write_file(aside / name, _serialised(values))
            files[STATE] = _write_file(aside / STATE, json_bytes(state, indent=2))
            _write_file(aside / MANIFEST, _manifest(step, identity, log, lock.epoch, files))
            _sync_folder(aside)
            lock.check()
            if target.exists():
                _set_aside(target)
            disk.rename(aside, target)
            _sync_folder(place)
        except BaseException:
            with contextlib.suppress(OSError):
                _sweep(lock.run)
            raise
    checkpoint = verify(target)
    with _writing(target):
        _discard([old for old in [_old(target)] if old.exists()])
    return checkpoint


def verify(folder: Path) -> Checkpoint:
    """The checkpoint in `folder` after reading all of it; RunError says what is wrong, if anything is."""
    name = f"checkpoint {folder.name.removeprefix('.old-')}"
    try:
        return _verified(folder)
    except RunError as error:
        raise RunError(f"{name}: {error.message}", hint=error.hint or "use another checkpoint, or a copy") from None
    except OSError as error:
        raise RunError(f"{name} cannot be read: {error.strerror}", hint="is this a run folder?") from None


def newest_good(run: Path, lock: Lock | None = None, *, run_id: str = "") -> tuple[Checkpoint | None, list[Damaged]]:
    """The newest checkpoint that is whole, and the damaged ones that were passed over for it, newest first.

    None where there is no checkpoint at all: the run was killed before its first. With the lock, damaged ones are
    moved to `quarantine/` and what a killed writer left is cleared; without it nothing is changed.

    Args:
        run: The run folder.
        lock: Held, for this folder, by who is going to write.
        run_id: If given, a checkpoint of another run counts as damaged.

    Raises:
        RunError: There are checkpoints, and none is good.
    """
    for _ in range(3):
        saved = _saved(run)
        good, damaged = _first_good(saved, run_id)
        if good is not None or saved == _saved(run):
            break  # else a writer pruned what was being read: look again
    if good is None and damaged:
        raise RunError(
            f"{run} has no good checkpoint: {damaged[0].reason}",
            hint="restore the folder from a copy, or train anew with another --out",
        )
    if lock is not None:
        lock.check()
        with _writing(run):
            damaged = [Damaged(_quarantine(run, bad.folder), bad.reason) for bad in damaged]
            _sweep(run)
        if good is not None:
            good = dataclasses.replace(good, folder=folder_of(run, good.step))
    return good, damaged


def prune(lock: Lock, newest: Checkpoint, best: int | None = None) -> list[int]:
    """Delete old checkpoints, but the last two good ones and the best; returns the steps that went.

    `newest` was read back, as every `Checkpoint` was; the one to stay beside it is read before any goes.
    """
    lock.check()
    good, going = 1, []
    for folder in _saved(lock.run):
        step = _step_of(folder)
        if step >= newest.step:
            continue
        if good < 2:
            # A damaged one does not count, and stays until somebody has been told of it.
            with contextlib.suppress(RunError):
                verify(folder)
                good += 1
        elif step != best:
            going.append(folder)
    with _writing(lock.run):
        _discard(going)
    return sorted(_step_of(folder) for folder in going)


def _first_good(saved: Sequence[Path], run_id: str) -> tuple[Checkpoint | None, list[Damaged]]:
    damaged: list[Damaged] = []
    for folder in saved:
        try:
            found = verify(folder)
            if not run_id or found.identity.run == run_id:
                return found, damaged
            reason = f"checkpoint {folder.name}: it belongs to another run"
        except RunError as error:
            reason = error.message
        if folder.exists():
            damaged.append(Damaged(folder, reason))
    return None, damaged


def _saved(run: Path) -> list[Path]:
    """Folders of checkpoints, newest first; of one step, the new one before the one set aside for it."""
    try:
        names = os.listdir(run / CHECKPOINTS)
    except (FileNotFoundError, NotADirectoryError):
        return []
    known = [run / CHECKPOINTS / name for name in names if re.fullmatch(r"(\.old-)?[0-9]{8,}", name)]
    return sorted(known, key=lambda folder: (_step_of(folder), not folder.name.startswith(".")), reverse=True)


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix(".old-"))


def _old(target: Path) -> Path:
    return target.with_name(f".old-{target.name}")


def _set_aside(target: Path) -> None:
    """Make way for a new checkpoint of the same step; readers find the old one under its other name meanwhile."""
    if _old(target).exists():  # then the one in the way was never read back, and the old one is the safe one
        _discard([target])
    else:
        disk.rename(target, _old(target))


def _manifest(step: int, identity: Identity, log: int, epoch: int, files: Mapping[str, tuple[int, str]]) -> bytes:
    """The manifest, which carries a hash of itself, so that no bit of it can change unseen either."""
    body = {
        "format": FORMAT,
        "step": step,
        "run": identity.run,
        "recipe": identity.recipe,
        "data": identity.data,
        "log": log,
        "epoch": epoch,
        "files": {name: {"size": size, "sha256": digest} for name, (size, digest) in files.items()},
    }
    return json_bytes({**body, "sha256": hashlib.sha256(json_bytes(body)).hexdigest()}, indent=2)


def _verified(folder: Path) -> Checkpoint:
    if not (folder / MANIFEST).is_file():
        raise RunError(f"{MANIFEST} is missing")
    if (folder / MANIFEST).stat().st_size > LARGEST_MANIFEST:
        raise RunError(f"{MANIFEST} is longer than a manifest can be")
    found = _parsed(folder, (folder / MANIFEST).read_bytes())
    listed, present = set(found.files) | {MANIFEST}, set(os.listdir(folder))
    known = {STATE, *(f"{part}.safetensors" for part in PARTS)}
    if not {"weights.safetensors", STATE} <= set(found.files) <= known:
        raise RunError(f"{MANIFEST} does not list what a checkpoint has")
    if present != listed:
        extra, missing = sorted(present - listed), sorted(listed - present)
        raise RunError(f"{extra[0]!r} is not in {MANIFEST}" if extra else f"{missing[0]} is missing")
    for name, (size, digest) in found.files.items():
        status = (folder / name).lstat()
        if not stat.S_ISREG(status.st_mode):
            raise RunError(f"{name} is not a plain file")
        if status.st_size != size:
            raise RunError(f"{name} has {status.st_size} bytes instead of {size}")
        with (folder / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise RunError(f"{name} differs from its checksum")
        if name != STATE:
            _check_tensors(folder / name, size)
    if not isinstance(read_json(folder / STATE), dict):
        raise RunError(f"{STATE} does not hold a state")
    return found


def _parsed(folder: Path, data: bytes) -> Checkpoint:
    try:
        body = json.loads(data)
        digest = body.pop("sha256")
        if isinstance(body["format"], int) and body["format"] > FORMAT:
            raise RunError("it was written by a newer version of seqloom", hint="update seqloom")
        if (
            hashlib.sha256(json_bytes(body)).hexdigest() != digest
            or json_bytes({**body, "sha256": digest}, indent=2) != data
        ):
            raise RunError(f"{MANIFEST} differs from its checksum")
        if body["step"] != _step_of(folder):
            raise RunError(f"{MANIFEST} is that of step {body['step']}")
        return Checkpoint(
            folder=folder,
            step=body["step"],
            identity=Identity(run=body["run"], recipe=body["recipe"], data=body["data"]),
            log=body["log"],
            epoch=body["epoch"],
            files={name: (row["size"], row["sha256"]) for name, row in body["files"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RunError(f"{MANIFEST} is torn") from None


def _check_tensors(path: Path, size: int) -> None:
    """RunError unless the header is small, names each tensor once, and the tensors fill the file without a gap."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(LARGEST_HEADER, size - 8):
            raise RunError(f"{path.name} has a header that is too long")
        header = file.read(length)
    try:
        entries = json.loads(header, object_pairs_hook=_without_doubles)
        spans = sorted(tuple(entry["data_offsets"]) for name, entry in entries.items() if name != "__metadata__")
        ends = [0, *(end for _, end in spans)]
        whole = all(begin == last and end >= begin for (begin, end), last in zip(spans, ends, strict=False))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RunError(f"{path.name} has a header that is torn") from None
    if len(spans) > MOST_TENSORS:
        raise RunError(f"{path.name} has more than {MOST_TENSORS} tensors")
    if not whole or ends[-1] != size - 8 - length:
        raise RunError(f"{path.name} is not filled by its tensors")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name stands twice")
    return dict(pairs)


def _serialised(values: Mapping[str, torch.Tensor]) -> bytes:
    """The bytes of a safetensors file: equal for equal tensors, whatever their order."""
    from safetensors.torch import save as serialise

    plain: dict[str, torch.Tensor] = {}
    places: set[int] = set()
    for name in sorted(values):
        value = values[name].detach().cpu().contiguous()
        place = value.untyped_storage().data_ptr()
        # Tied weights are written under each of their names; the format refuses shared memory.
        plain[name] = value.clone() if place in places else value
        places.add(place)
    return serialise(plain)


def _check_room(run: Path, coming: int) -> None:
    """Stopped unless there is twice the room of the last save or of this one: so the one after it will fit too."""
    last = 0
    for folder in _saved(run)[:1]:
        with contextlib.suppress(OSError):
            last = sum(entry.stat().st_size for entry in os.scandir(folder))
    need, free = 2 * max(last, coming), disk.free(run)
    if free < need:
        raise Stopped(
            f"too little room to save a checkpoint in {run}: {free / 1e6:.1f} MB free, {need / 1e6:.1f} MB wanted",
            hint="free some space and go on with --resume; what was saved before is whole",
        )


def _quarantine(run: Path, folder: Path) -> Path:
    place = run / QUARANTINE
    _make_folders(place)
    aside = place / folder.name.removeprefix(".old-")
    if aside.exists():
        aside = place / f"{aside.name}-{uuid.uuid4().hex[:8]}"
    disk.rename(folder, aside)
    _sync_folder(place)
    _sync_folder(folder.parent)
    return aside


def _sweep(run: Path) -> None:
    """Clear what a killed writer left behind; a checkpoint set aside comes back unless its successor is whole."""
    place = run / CHECKPOINTS
    for old in place.glob(".old-*"):
        target = place / old.name.removeprefix(".old-")
        if not target.exists():
            disk.rename(old, target)
            _sync_folder(place)
        else:
            with contextlib.suppress(RunError):
                verify(target)
                _discard([old])
    for left in [*place.glob(".tmp-*"), *place.glob(".gone-*"), *run.glob(".tmp-*")]:
        _delete(left)


def _discard(folders: Sequence[Path]) -> None:
    """Delete checkpoints: first renamed away, so that a kill leaves none half-deleted under its own name."""
    gone = []
    for folder in folders:
        gone.append(folder.with_name(f".gone-{folder.name.removeprefix('.')}-{uuid.uuid4().hex[:8]}"))
        disk.rename(folder, gone[-1])
    for parent in {folder.parent for folder in folders}:
        _sync_folder(parent)
    for folder in gone:
        _delete(folder)


# Primitive sequences


@contextlib.contextmanager
def _writing(what: Path) -> Iterator[None]:
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


def _write_file(path: Path, data: bytes) -> tuple[int, str]:
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


def _sync_folder(path: Path) -> None:
    handle = disk.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        disk.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network filesystems flush no folders
            raise
    finally:
        os.close(handle)


def _make_folders(path: Path) -> None:
    if path.is_dir():
        return
    if path.parent != path:
        _make_folders(path.parent)
    with contextlib.suppress(FileExistsError):
        disk.mkdir(path)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    _sync_folder(path.parent)


def _delete(path: Path) -> None:
    """Delete a file, or a folder of files, if it is there."""
    try:
        if path.is_dir() and not path.is_symlink():
            for name in sorted(os.listdir(path)):
                _delete(path / name)
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
        found = os.pread(handle, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
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
