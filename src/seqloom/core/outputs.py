"""What a person asked to be written, and where: files and folders of their own, not those of a run.

Nothing that is there already is replaced unless that was asked for. A link is followed, a pipe or a device is written
through, and a file appears whole or not at all. All that can be wrong is said before anything is computed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from seqloom.core import durable
from seqloom.core.content import packed
from seqloom.core.errors import ConfigError, RunError, Stopped

# What these lead to is opened already: a file there must be written into, not replaced.
_DEVICES = re.compile(r"/dev/(fd/\d+|std(out|err))|/proc/.*")


@dataclass(frozen=True)
class OutputFile:
    """One file that is to be written; made by `at`, which says what is wrong with its place."""

    path: Path
    option: str
    force: bool

    @classmethod
    def at(cls, word: Path | str, *, force: bool = False, option: str = "--out") -> Self:
        """The file that a word names; ConfigError where it is a folder, is there already, or cannot be written."""
        _check_name(word, option)
        output = cls(Path(word), option, force)
        _ = output.through  # says what is wrong with it
        return output

    @property
    def through(self) -> bool:
        """Whether it is written through, as a pipe is, and not replaced."""
        try:
            mode = self.path.stat().st_mode  # of what a link leads to
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise RunError(f"{self.path} cannot be written: {error.strerror}", hint="name another file") from None
        if stat.S_ISDIR(mode):
            raise ConfigError(f"{self.path} is a folder, where a file is wanted", path=self.option, hint="name a file")
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or _DEVICES.fullmatch(os.path.abspath(self.path)):
            return True
        if not stat.S_ISREG(mode):
            raise ConfigError(f"{self.path} is no file that can be written", path=self.option, hint="name another")
        if not self.force:
            raise ConfigError(f"{self.path} is there already", path=self.option, hint="--force replaces it")
        return False

    def write(self, data: bytes) -> None:
        """Write it, packed where its name ends in `.gz` or `.zst`; RunError where the disk refuses."""
        data = packed(data, self.path)
        if self.through:
            with self.path.open("wb", buffering=0) as file:
                rest = memoryview(data)
                while rest:
                    rest = rest[file.write(rest) :]
            return
        target = Path(os.path.realpath(self.path))
        try:
            with durable.writing(target):
                durable.make_folders(target.parent)
            durable.write_bytes(target, data)
        except Stopped as error:  # nothing here goes on with --resume
            raise RunError(error.message, hint="free some space, or name a place on another disk") from None


@dataclass(frozen=True)
class OutputFolder:
    """A folder for files of these names."""

    path: Path
    files: tuple[OutputFile, ...]

    @classmethod
    def at(cls, word: Path | str, names: Sequence[str], *, force: bool = False, option: str = "--out") -> Self:
        """The folder that a word names; ConfigError where it is a file, or holds one of these files already."""
        _check_name(word, option)
        path = Path(word)
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path} is no folder, and one is wanted", path=option, hint="name a folder")
        return cls(path, tuple(OutputFile.at(path / name, force=force, option=option) for name in names))

    def file(self, name: str) -> OutputFile:
        """The file of this name."""
        return next(file for file in self.files if file.path.name == name)

    def write(self, contents: Sequence[bytes]) -> None:
        """Write every file; what is written stays where a later one fails."""
        for file, data in zip(self.files, contents, strict=True):
            file.write(data)


def _check_name(word: Path | str, option: str) -> None:
    """ConfigError where a word means standard output to most programs, rather than a file of that name."""
    if str(word) == "-":
        raise ConfigError(
            "- is no name of a file", path=option, hint="leave it out to write to standard output; ./- is a file"
        )
