"""Text files: one is a stream without an end, a folder of them holds documents. And which corpus a DATA word means."""

from __future__ import annotations

import difflib
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from seqloom.codecs.base import Codec
from seqloom.codecs.text import Bytes, raw
from seqloom.core.config import make, nearest
from seqloom.core.errors import ConfigError, DataError
from seqloom.corpora import shards
from seqloom.corpora.base import Corpus, Given, Prepared
from seqloom.corpora.builtin import BUILTINS
from seqloom.corpora.documents import Document, Library

TEXTS = (".txt", ".txt.gz")
TABLES = (".csv", ".csv.gz")
STDIN = "-"

_BOM = b"\xef\xbb\xbf"


class Files(Corpus, name="files"):
    """A text file, a folder of `.txt` and `.txt.gz` files, or standard input (`-`).

    One file is a stream, split by position. A folder holds documents, shared out by a keyed order of their names; if
    there are fewer than ten each is split by position. A condition `source=folder` is the name of a file's folder.
    """

    path: str
    """The file or folder; `-` is standard input."""

    def prepare(
        self, codec: Codec | None, given: Mapping[str, Given], notify: Callable[[str], None] | None = None
    ) -> Prepared:
        for name, item in given.items():
            if item.source != "folder":
                raise ConfigError(
                    f"text files have no source {item.source!r} for a condition",
                    path=f"given.{name}.source",
                    hint="source=folder takes the name of a file's folder",
                )
        found = self._library(codec, tuple(given)).prepare(codec, given, notify)
        return replace(found, notes=(*self._notes(found.codec), *found.notes))

    def full(self, codec: Codec) -> list[Any]:
        return [codec.whole(item.path) for item in self._seen(codec) if not item.empty]

    def values(self, codec: Codec, split: str, last: int | None = None) -> Iterator[Any]:
        return self._library(codec, ()).values(codec, split, last)

    @cached_property
    def _place(self) -> Path:
        """Where the files are; standard input is read once, into the cache."""
        return shards.spool(sys.stdin.buffer) if self.path == STDIN else Path(self.path)

    @cached_property
    def _looks(self) -> dict[Path, _Seen]:
        return {}

    def _seen(self, codec: Codec | None) -> list[_Seen]:
        """Every file, looked at once."""
        root = self._place
        suffixes = codec.suffixes if codec is not None and codec.suffixes else TEXTS
        paths = list(_under(root, suffixes)) if root.is_dir() else [root]
        if not paths:
            raise DataError(
                f"the folder holds no {' or '.join(suffixes)} file", path=root, hint="give a folder of such files"
            )
        for path in paths:
            if path not in self._looks:
                self._looks[path] = _look(path)
        return [self._looks[path] for path in paths]

    def _library(self, codec: Codec | None, conditions: tuple[str, ...]) -> Library:
        """The documents that are not empty."""
        root = self._place
        stream = not root.is_dir()
        kept = [item for item in self._seen(codec) if not item.empty]
        if not kept:
            raise DataError(
                "the file is empty" if stream else "all files of the folder are empty",
                path=self.path,
                hint="give some text to learn from",
            )
        documents = [
            Document(
                item.path.name if stream else item.path.relative_to(root).as_posix(),
                item.path,
                item.digest,
                item.size,
                {name: item.path.absolute().parent.name for name in conditions},
            )
            for item in kept
        ]
        return Library(documents, self.splits, stream, self.path)

    def _notes(self, codec: Codec) -> Iterator[str]:
        """What is left out or mended."""
        seen = self._seen(codec)
        empty = [item for item in seen if item.empty]
        marked, returned = [item for item in seen if item.mark], [item for item in seen if item.returns]
        if empty:
            names = ", ".join(item.path.relative_to(self._place).as_posix() for item in empty[:3])
            yield f"{names}{' ...' * (len(empty) > 3)} {'is' if len(empty) == 1 else 'are'} empty and left out"
        if isinstance(codec, Bytes):  # reads them as they are
            return
        if marked:
            yield f"a byte-order mark at the start of {_named(marked)} is left out"
        if returned:
            yield f"the line ends CR LF of {_named(returned)} are read as LF"


def corpus_of(data: str, settings: Mapping[str, Any] | None = None, codec: Any = None) -> Corpus:
    """The corpus that a DATA word means: a file, a folder, `-`, or `builtin:NAME`.

    `settings` are those of the corpus; `codec`, a name or settings, decides where the files could be read in two ways.
    DataError where nothing is there or nothing in it can be read.
    """
    rest = dict(settings or {})
    if data.startswith("builtin:"):
        name = data.removeprefix("builtin:")
        if name not in BUILTINS:
            raise DataError(f"there is no builtin data called {name!r}", hint=nearest(name, BUILTINS))
        return _made({"name": "builtin", "data": name, **rest})
    if data == STDIN:
        return _made({"name": "files", "path": str(shards.spool(sys.stdin.buffer)), **rest})
    path = Path(os.path.abspath(data))
    if not path.exists():
        raise DataError("there is no such file or folder", path=data, hint=_neighbour(path))
    if not path.is_file() and not path.is_dir():  # a pipe is read once
        with path.open("rb") as pipe:
            path = shards.spool(pipe)
    word = codec.get("name") if isinstance(codec, Mapping) else codec.name if isinstance(codec, Codec) else codec
    wanted = None if word is None else "table" if word == "series" else "files"
    kind = wanted or (_kind_of_folder(path) if path.is_dir() else "table" if _is(path, TABLES) else "files")
    return _made({"name": kind, "path": str(path), **rest})


@dataclass(frozen=True)
class _Seen:
    """One look at the bytes of a file: how many, their hash, and what will be mended."""

    path: Path
    size: int
    digest: str
    mark: bool
    returns: bool

    @property
    def empty(self) -> bool:
        return self.size == (len(_BOM) if self.mark else 0)


def _look(path: Path) -> _Seen:
    digest, size, first, returns, end = hashlib.sha256(), 0, b"", False, b""
    for piece in raw(path):
        first = first or piece[:3]
        digest.update(piece)
        size += len(piece)
        returns = returns or b"\r\n" in piece or (end == b"\r" and piece[:1] == b"\n")
        end = piece[-1:]
    return _Seen(path, size, digest.hexdigest(), first == _BOM, returns)


def _under(root: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """The files under a folder with one of these suffixes, sorted; hidden files and folders are passed over."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and _is(path, suffixes) and path.is_file():
                yield path


def _kind_of_folder(path: Path) -> str:
    texts, tables = next(_under(path, TEXTS), None), next(_under(path, TABLES), None)
    if texts and tables:
        raise DataError(
            "the folder holds both text and tables",
            path=path,
            hint="codec=characters reads the .txt files, codec=series the .csv files",
        )
    if not texts and not tables:
        raise DataError(
            "the folder holds nothing that can be read",
            path=path,
            hint="text is read from .txt and .txt.gz files, series from .csv files",
        )
    return "files" if texts else "table"


def _is(path: Path, suffixes: tuple[str, ...]) -> bool:
    return path.name.lower().endswith(suffixes)


def _made(values: Mapping[str, Any]) -> Corpus:
    try:
        return make(Corpus, values)  # type: ignore[type-abstract]
    except ConfigError as error:
        raise error.under("corpus") from None


def _neighbour(path: Path) -> str:
    names = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, names, n=1)
    if close:
        return f"did you mean {path.with_name(close[0])}?"
    return "DATA is a file, a folder, - for standard input, or builtin:NAME"


def _named(seen: list[_Seen]) -> str:
    return seen[0].path.name if len(seen) == 1 else f"{len(seen)} files"
