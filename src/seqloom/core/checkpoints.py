"""Checkpoints of a run: each a folder that appears at once, is read back, and whose every bit is under a checksum.

run/checkpoints/00000500/           weights, average, training `.safetensors`, state.json, manifest.json
run/checkpoints/.tmp-500-<hex>/     being written
run/checkpoints/.old-00000500/      set aside while the same step is saved again
run/checkpoints/.gone-<name>-<hex>/ being deleted
run/quarantine/                     damaged checkpoints, moved here by the holder of the lock
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import stat
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqloom.core import durable, manifest
from seqloom.core.durable import (
    CHECKPOINTS,
    LARGEST_MANIFEST,
    MANIFEST,
    Lock,
    delete,
    json_bytes,
    make_folders,
    read_json,
    sync_folder,
    write_file,
    writing,
)
from seqloom.core.errors import RunError, Stopped

if TYPE_CHECKING:
    import torch

PARTS = ("weights", "average", "training")
QUARANTINE, STATE = "quarantine", "state.json"
LARGEST_HEADER = 16 << 20
MOST_TENSORS = 100_000


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a checkpoint belongs to: the run's id, the hash of its recipe, the fingerprint of its data."""

    run: str
    recipe: str
    data: str

    def differs_in(self, other: Identity | None) -> list[str]:
        """Of what this is not the same as another; nothing where there is none to compare with."""
        return [] if other is None else [key for key, value in vars(self).items() if value != getattr(other, key)]


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

    def tensors(self, part: str) -> dict[str, torch.Tensor]:
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
    parent = target.parent
    tensors = {"weights": weights, "average": average, "training": training}
    size = sum(value.nbytes for part in tensors.values() if part is not None for value in part.values())
    temporary = parent / f".tmp-{step}-{uuid.uuid4().hex}"
    with writing(target):
        make_folders(parent)
        _check_room(lock.run, size)
        try:
            durable.disk.mkdir(temporary)
            files: dict[str, tuple[int, str]] = {}
            for part, values in tensors.items():
                if values is not None:
                    name = f"{part}.safetensors"
                    files[name] = write_file(temporary / name, _serialised(values))
            files[STATE] = write_file(temporary / STATE, json_bytes(state, indent=2))
            write_file(temporary / MANIFEST, _manifest(step, identity, log, lock.epoch, files))
            sync_folder(temporary)
            lock.check()
            if target.exists():
                _set_aside(target)
            durable.disk.rename(temporary, target)
            sync_folder(parent)
        except BaseException:
            with contextlib.suppress(OSError):
                _sweep(lock.run)
            raise
    checkpoint = verify(target)
    with writing(target):
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


def newest_good(
    run: Path, lock: Lock | None = None, *, identity: Identity | None = None
) -> tuple[Checkpoint | None, list[Damaged]]:
    """The newest checkpoint that is whole, and the damaged ones that were passed over for it, newest first.

    None where there is no checkpoint at all: the run was killed before its first. With the lock, damaged ones are
    moved to `quarantine/` and what a killed writer left is cleared; without it nothing is changed.

    Args:
        run: The run folder.
        lock: Held, for this folder, by who is going to write.
        identity: If given, a checkpoint of another run, recipe or data counts as damaged.

    Raises:
        RunError: There are checkpoints, and none is good.
    """
    for _ in range(3):
        saved = _saved(run)
        good, damaged = _first_good(saved, identity)
        if good is not None or saved == _saved(run):
            break  # else a writer pruned what was being read: look again
    if good is None and damaged:
        raise RunError(
            f"{run} has no good checkpoint: {damaged[0].reason}",
            hint="restore the folder from a copy, or train anew with another --out",
        )
    if lock is not None:
        lock.check()
        with writing(run):
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
    good, removed = 1, []
    for folder in _saved(lock.run):
        step = _step_of(folder)
        if step >= newest.step:
            continue
        if good < 2:
            # A damaged one does not count, and stays until somebody has been warned of it.
            with contextlib.suppress(RunError):
                verify(folder)
                good += 1
        elif step != best:
            removed.append(folder)
    with writing(lock.run):
        _discard(removed)
    return sorted(_step_of(folder) for folder in removed)


def _first_good(saved: Sequence[Path], identity: Identity | None) -> tuple[Checkpoint | None, list[Damaged]]:
    damaged: list[Damaged] = []
    for folder in saved:
        try:
            checkpoint = verify(folder)
            other = checkpoint.identity.differs_in(identity)
            if not other:
                return checkpoint, damaged
            reason = f"checkpoint {folder.name}: it belongs to {' and '.join(f'another {word}' for word in other)}"
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
        durable.disk.rename(target, _old(target))


def _manifest(step: int, identity: Identity, log: int, epoch: int, files: Mapping[str, tuple[int, str]]) -> bytes:
    return manifest.seal(
        {
            "format": manifest.FORMAT,
            "step": step,
            "run": identity.run,
            "recipe": identity.recipe,
            "data": identity.data,
            "log": log,
            "epoch": epoch,
            "files": {name: {"size": size, "sha256": digest} for name, (size, digest) in files.items()},
        }
    )


def _verified(folder: Path) -> Checkpoint:
    if not (folder / MANIFEST).is_file():
        raise RunError(f"{MANIFEST} is missing")
    if (folder / MANIFEST).stat().st_size > LARGEST_MANIFEST:
        raise RunError(f"{MANIFEST} is longer than a manifest can be")
    checkpoint = _parsed(folder, (folder / MANIFEST).read_bytes())
    listed, present = set(checkpoint.files) | {MANIFEST}, set(os.listdir(folder))
    known = {STATE, *(f"{part}.safetensors" for part in PARTS)}
    if not {"weights.safetensors", STATE} <= set(checkpoint.files) <= known:
        raise RunError(f"{MANIFEST} does not list what a checkpoint has")
    if present != listed:
        extra, missing = sorted(present - listed), sorted(listed - present)
        raise RunError(f"{extra[0]!r} is not in {MANIFEST}" if extra else f"{missing[0]} is missing")
    for name, (size, digest) in checkpoint.files.items():
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
    return checkpoint


def _parsed(folder: Path, data: bytes) -> Checkpoint:
    body = manifest.unseal(data)
    try:
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
    except (ValueError, KeyError, TypeError, AttributeError):
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
    addresses: set[int] = set()
    for name in sorted(values):
        value = values[name].detach().cpu().contiguous()
        address = value.untyped_storage().data_ptr()
        # Tied weights are written under each of their names; the format refuses shared memory.
        plain[name] = value.clone() if address in addresses else value
        addresses.add(address)
    return serialise(plain)


def _check_room(run: Path, size: int) -> None:
    """Stopped unless there is twice the room of the last save or of this one: so the one after it will fit too."""
    last = 0
    for folder in _saved(run)[:1]:
        with contextlib.suppress(OSError):
            last = sum(entry.stat().st_size for entry in os.scandir(folder))
    needed, free = 2 * max(last, size), durable.disk.free(run)
    if free < needed:
        raise Stopped(
            f"too little room to save a checkpoint in {run}: {free / 1e6:.1f} MB free, {needed / 1e6:.1f} MB wanted",
            hint="free some space and go on with --resume; what was saved before is whole",
        )


def _quarantine(run: Path, folder: Path) -> Path:
    parent = run / QUARANTINE
    make_folders(parent)
    target = parent / folder.name.removeprefix(".old-")
    if target.exists():
        target = parent / f"{target.name}-{uuid.uuid4().hex[:8]}"
    durable.disk.rename(folder, target)
    sync_folder(parent)
    sync_folder(folder.parent)
    return target


def _sweep(run: Path) -> None:
    """Clear what a killed writer left behind; a checkpoint set aside comes back unless its successor is whole."""
    folder = run / CHECKPOINTS
    for old in folder.glob(".old-*"):
        target = folder / old.name.removeprefix(".old-")
        if not target.exists():
            durable.disk.rename(old, target)
            sync_folder(folder)
        else:
            with contextlib.suppress(RunError):
                verify(target)
                _discard([old])
    for leftover in [*folder.glob(".tmp-*"), *folder.glob(".gone-*"), *run.glob(".tmp-*")]:
        delete(leftover)


def _discard(folders: Sequence[Path]) -> None:
    """Delete checkpoints: first renamed away, so that a kill leaves none half-deleted under its own name."""
    renamed = []
    for folder in folders:
        renamed.append(folder.with_name(f".gone-{folder.name.removeprefix('.')}-{uuid.uuid4().hex[:8]}"))
        durable.disk.rename(folder, renamed[-1])
    for parent in {folder.parent for folder in folders}:
        sync_folder(parent)
    for folder in renamed:
        delete(folder)
