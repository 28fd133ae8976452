"""Manifest: which files belong together, each with its size and SHA-256, under a checksum of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqloom.core.durable import LARGEST_JSON, LARGEST_MANIFEST, MANIFEST, json_bytes, write_bytes
from seqloom.core.errors import RunError

FORMAT = 1


def seal(body: Mapping[str, Any]) -> bytes:
    """A manifest as a file holds it, with a hash of itself, so that no bit of it can change unseen either."""
    return json_bytes({**body, "sha256": hashlib.sha256(json_bytes(body)).hexdigest()}, indent=2)


def unseal(data: bytes) -> dict[str, Any]:
    """What `seal` was given; RunError where a bit has changed, or where a newer version wrote it."""
    try:
        body = json.loads(data)
        digest = body.pop("sha256")
        if isinstance(body["format"], int) and body["format"] > FORMAT:
            raise RunError("it was written by a newer version of seqloom", hint="update seqloom")
        if hashlib.sha256(json_bytes(body)).hexdigest() != digest or seal(body) != data:
            raise RunError(f"{MANIFEST} differs from its checksum")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RunError(f"{MANIFEST} is torn") from None
    return dict(body)


def write(folder: Path, files: Mapping[str, Sequence[bytes]]) -> None:
    """The manifest of a folder: for each name the contents that it may have (two while one takes the other's place)."""
    listed = {name: [[len(data), hashlib.sha256(data).hexdigest()] for data in each] for name, each in files.items()}
    write_bytes(folder / MANIFEST, seal({"format": FORMAT, "files": listed}))


def read(folder: Path, largest: int = LARGEST_JSON) -> dict[str, bytes]:
    """The content of each file that a folder's manifest lists; RunError where one is missing or has changed."""
    listed = unseal(_content(folder / MANIFEST, LARGEST_MANIFEST))["files"]
    files = {}
    for name, contents in listed.items():
        data = _content(folder / name, largest)
        if [len(data), hashlib.sha256(data).hexdigest()] not in contents:
            raise RunError(
                f"{folder / name} has changed since the run was made: it differs from its checksum in {MANIFEST}",
                hint="undo the change or restore the file from a copy; other settings want a run of their own",
            )
        files[name] = data
    return files


def _content(path: Path, most: int) -> bytes:
    try:
        if path.stat().st_size > most:
            raise RunError(f"{path} is larger than such a file can be")
        return path.read_bytes()
    except FileNotFoundError:
        raise RunError(
            f"{path.parent} is no whole run: {path.name} is missing", hint="restore the file from a copy, or train anew"
        ) from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}", hint="is this a run folder?") from None
