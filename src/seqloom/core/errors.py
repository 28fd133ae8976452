"""What can go wrong, as a tree.

    SeqloomError
    ├── ConfigError         a setting is unknown, of the wrong type or out of range (has `path`, the key)
    ├── DataError           a file cannot be used as it is (has `path`, `line`)
    ├── UnsupportedQuery    this model cannot answer this question; the hint says what can
    │   └── UnsupportedSpace    this process cannot learn this kind of sequence
    ├── RunError            a run folder is missing, torn or in use
    ├── NotComparable       these numbers have different units or test data
    └── Stopped             training stopped early but can be resumed (exit code 75)

What is answered all the same, and not to be trusted, is a warning of Python's: Unlearned.

Each message says what and where in one sentence; `hint` says what to do. The command line prints both and exits
with `code`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self


class SeqloomError(Exception):
    """Base of every error that is the user's to mend."""

    code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def of(self, name: str) -> Self:
        """This error, which now says of which of several things it is."""
        if repr(name) not in self.message:
            self.message = f"{name}: {self.message}"
        return self


class ConfigError(SeqloomError):
    """A setting is wrong; `path` is its key, such as `process.schedule.s`."""

    def __init__(self, message: str, *, path: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path

    def of(self, name: str) -> Self:
        if self.path:
            return super().of(name)
        self.path = name
        return self

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message

    def under(self, key: str) -> ConfigError:
        """The same error, seen from the record that holds the setting under `key`."""
        return ConfigError(self.message, path=f"{key}.{self.path}" if self.path else key, hint=self.hint)


class DataError(SeqloomError):
    """A file cannot be used; `path` names it and `line` the first bad line (from 1), where there is one."""

    def __init__(self, message: str, *, path: Path | str = "", line: int | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = str(path)
        self.line = line

    def of(self, name: str) -> Self:
        if self.path:
            return super().of(name)
        self.path = name
        return self

    def __str__(self) -> str:
        location = ", ".join(part for part in (self.path, f"line {self.line}" if self.line else "") if part)
        return f"{location}: {self.message}" if location else self.message

    def at(self, path: Path | str, line: int | None = None) -> DataError:
        """The same error, seen from where the file that holds it, and the line, are known."""
        return DataError(self.message, path=path, line=line, hint=self.hint)


def no_json(error: ValueError | RecursionError, *, of_line: bool = False) -> str:
    """What keeps a text from being JSON, and where in it, or in the line that it is."""
    if not isinstance(error, json.JSONDecodeError):  # of a ValueError there is but one: a number is too long for Python
        return "it is nested too deep" if isinstance(error, RecursionError) else "a number in it has too many digits"
    place = f"character {error.colno}" if of_line else f"line {error.lineno}, character {error.colno}"
    reason = error.msg.removesuffix(" at")  # "Unterminated string starting at"
    return f"{reason[:1].lower()}{reason[1:]} at {place}"


def bad_line(
    error: ValueError | RecursionError,
    hint: str,
    encoding: str = "codec.encoding",
    *,
    path: Path | str = "",
    line: int | None = None,
) -> DataError:
    """The error of a line that is no JSON, where `hint` says what one is, or that is in another `encoding`."""
    if isinstance(error, UnicodeDecodeError):
        name = "utf-16" if error.object.startswith((b"\xff\xfe", b"\xfe\xff")) else "latin-1"
        return DataError("the line is not UTF-8", path=path, line=line, hint=f"say what it is: {encoding}={name}")
    return DataError(f"the line is no JSON: {no_json(error, of_line=True)}", path=path, line=line, hint=hint)


def bad_document(error: ValueError | RecursionError, hint: str, path: Path) -> DataError:
    """The error of a file that is no JSON as a whole, at its line where that is known; `hint` says what one is."""
    line = error.lineno if isinstance(error, json.JSONDecodeError) else None
    reason = f"the file is no JSON: {no_json(error, of_line=line is not None)}"
    return DataError(reason, path=path, line=line, hint=hint)


class UnsupportedQuery(SeqloomError):
    """The model cannot answer this query."""


class UnsupportedSpace(UnsupportedQuery):
    """The process cannot learn sequences of this space."""


class RunError(SeqloomError):
    """A run folder is missing, torn, or held by another writer."""


class NotComparable(SeqloomError):
    """Two scores differ in unit, test data or meaning."""


class Stopped(SeqloomError):
    """Training stopped before its end; what is on disk can be resumed."""

    code = 75


class Unlearned(UserWarning):
    """What is asked lies beyond what training showed, so that the answer is not to be trusted."""
