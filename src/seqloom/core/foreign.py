"""Code that is not the package's own: what its members were made from, and where in it an error arose."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seqloom.core.config import Component, Settings

PACKAGE = __name__.partition(".")[0]
FOLDER = Path(__file__).resolve().parents[1]


def is_own(module: str) -> bool:
    """Whether a module belongs to the package."""
    return module.partition(".")[0] == PACKAGE


def code_of(*things: Any) -> list[str]:
    """Hashes of the files that define the members among `things`, and in their settings, which are not the package's.

    What is computed by such a member depends on code that no version of the package stands for. Of a module only its
    own file is seen, not what it imports.
    """
    hashes: dict[str, None] = {}
    queue = list(things)
    while queue:
        thing = queue.pop()
        if isinstance(thing, Settings):
            hashes |= dict.fromkeys(filter(None, map(_hash_of, _foreign_classes(type(thing)))))
            queue += [getattr(thing, key) for key in type(thing).model_fields]
        elif isinstance(thing, Mapping):
            queue += thing.values()
        elif isinstance(thing, (list, tuple)):
            queue += thing
    return sorted(hashes)


def _foreign_classes(kind: type) -> list[type]:
    """A class and those it inherits from, without the package's and what these inherit from."""
    return [base for base in kind.__mro__ if not is_own(base.__module__) and base not in Component.__mro__]


@functools.cache  # by the class: one that is defined anew is read anew, and an edit after the import is not its code
def _hash_of(kind: type) -> str:
    """The hash of the file that a class is defined in, or of its own text (a notebook); else nothing."""
    with contextlib.suppress(OSError, TypeError):
        return hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()
    with contextlib.suppress(OSError, TypeError):
        return hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()
    return ""


def arose_in(error: BaseException) -> tuple[str, int] | None:
    """The file and line of a module of the user's own in which an error arose; None where it arose in the package.

    Libraries that either of them called are passed over: that error is of whoever called them.
    """
    libraries = {Path(path).resolve() for key, path in sysconfig.get_paths().items() if "lib" in key}
    members = set(_files_of_members())
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename).resolve()
        if FOLDER in path.parents:
            return None
        if path in members or (path.is_file() and libraries.isdisjoint(path.parents)):
            return frame.filename, frame.lineno or 0
    return None


def outside() -> int:
    """How far up the stack the code stands that called the package, as `warnings.warn` counts it for its caller."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and is_own(frame.f_globals.get("__name__", "")):
        frame, level = frame.f_back, level + 1
    return level


def at_work() -> list[str]:
    """The members that are not the package's own, as MODULE:CLASS."""
    kinds = [kind for family in Component.__subclasses__() for kind in family.members.values()]
    return sorted({f"{kind.__module__}:{kind.__qualname__}" for kind in kinds if not is_own(kind.__module__)})


def _files_of_members() -> Iterator[Path]:
    """The files that define members which are not the package's: an installed package may lie among the libraries."""
    for family in Component.__subclasses__():
        for kind in family.members.values():
            file = getattr(sys.modules.get(kind.__module__), "__file__", None)
            if file and not is_own(kind.__module__):
                yield Path(file).resolve()
