"""Programs in C that the machine's own compiler makes once, where it has one.

Nothing depends on them: where there is no compiler, or a program cannot be loaded, there is none, and its twin computes
the same more slowly.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

from seqloom.core.cache import cache
from seqloom.core.speeds import key

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-shared", "-fPIC")
THREADS = ("-fopenmp",)
"""Threads are those of torch, which brings the library that GNU's compiler names; a compiler without goes without."""
SECONDS = 60


@functools.cache
def program(*names: str) -> ctypes.CDLL | None:
    """The functions of these files, one behind the other, from the cache or compiled now (a second or two).

    None where that is not possible.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or os.name != "posix" or sys.byteorder != "little":
        return None
    source = b"\n".join(resources.files(__package__).joinpath(f"{name}.c").read_bytes() for name in names)
    digest = hashlib.sha256(source + " ".join(FLAGS + THREADS).encode()).hexdigest()[:16]
    path = cache() / "machine" / f"{key()}-{names[-1]}-{digest}.so"
    try:
        if not path.is_file():
            _compile(compiler, source, path)
            for timed in path.parent.glob(f"{key()}-own-*"):  # how fast layers of an older program were
                timed.unlink(missing_ok=True)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError):
        return None


def _compile(compiler: str, source: bytes, path: Path) -> None:
    """Compile beside `path` and put the whole result in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".tmp-") as folder:
        (Path(folder) / "source.c").write_bytes(source)
        words = [compiler, *FLAGS, "source.c", "-o", "made.so", "-lm"]
        run = functools.partial(subprocess.run, cwd=folder, capture_output=True, timeout=SECONDS)
        if run([*words, *THREADS]).returncode:
            run(words, check=True)
        (Path(folder) / "made.so").replace(path)
