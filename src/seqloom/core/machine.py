"""What this computer is: usable cores, memory, devices, and how its allocator is set to keep freed memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqloom.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

GLIBC_TRIM_THRESHOLD, GLIBC_TOP_PAD, GLIBC_MMAP_MAX = -1, -2, -4


def threads() -> int:
    """How many threads can run at once: the cores this process may use, its control group's quota, OMP_NUM_THREADS."""
    limits = [_most_threads()]
    wanted = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if wanted.isdecimal() and int(wanted) > 0:
        limits.append(int(wanted))
    return max(1, min(limits))


def threads_for(wanted: int | None) -> int:
    """The threads to compute with where so many are asked for: no more than can run at once, for others only wait."""
    return threads() if wanted is None else max(1, min(wanted, _most_threads()))


def _most_threads() -> int:
    return min([_cores(), *(int(quota) for quota in _processor_quotas(Path("/")))])


def tune_allocator() -> bool:
    """Let glibc keep big freed buffers instead of giving them back at every step; True where that was done.

    Activations of the same sizes come and go at each training step; returned to the system, they come back as pages
    to be cleared again (a quarter of an LSTM's step). The price: memory freed after a peak is kept for what follows.
    """
    try:
        if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
            return False
        mallopt = ctypes.CDLL(None).mallopt
    except (ValueError, OSError, AttributeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    largest = 2**31 - 1
    settings = ((GLIBC_MMAP_MAX, 0), (GLIBC_TRIM_THRESHOLD, largest), (GLIBC_TOP_PAD, 64 << 20))
    return all(mallopt(key, value) == 1 for key, value in settings)


def tune_waiting() -> None:
    """Let threads of GNU OpenMP wait actively for microseconds and then sleep; to be called before torch is imported.

    As it comes, a thread that waits for the others keeps its core for a millisecond. Where another program wants that
    core, all wait for a thread that is not running, and two trainings side by side may stand still. What the
    environment says of it (GOMP_SPINCOUNT, OMP_WAIT_POLICY) stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "5000")


def flush_denormals() -> None:
    """Let numbers below 1e-38 be 0 in this thread and in those that it starts; before anything is computed.

    They come up in long trainings, such as in the tails of attention that has become sharp, and some processors compute
    with each of them a hundred times as long: an update of a masked model had grown from .17 to .82 seconds after four
    thousand, and takes .20 where they are 0.
    """
    import torch

    torch.set_flush_denormal(True)


def record(path: Path = Path(".")) -> dict[str, Any]:
    """This machine in a few rounded numbers, without importing torch: what `doctor` and benchmark results show.

    Memory and the free disk space of `path` (or of its nearest parent that exists) are in GiB; `load` is the average
    number of runnable tasks over the last minute; what a system does not report is None.
    """
    total, available = _memory(Path("/"))
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    load = None
    with contextlib.suppress(OSError, AttributeError):
        load = round(os.getloadavg()[0], 1)
    return {
        "python": platform.python_version(),
        "torch": _version("torch"),
        "numpy": _version("numpy"),
        "platform": platform.platform(terse=True),
        "cpu": _processor(Path("/proc/cpuinfo")),
        "cores": os.cpu_count() or 1,
        "threads": threads(),
        "memory_gib": _gib(total),
        "memory_available_gib": _gib(available),
        "disk_free_gib": _gib(shutil.disk_usage(existing).free),
        "load": load,
    }


def choose_device(name: str) -> torch.device:
    """The device for `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`; ConfigError for any other."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", name):
        raise ConfigError(f"{name!r} is not a device", path="device", hint="one of: auto, cpu, cuda, cuda:N")
    import torch

    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(
            f"{name} was asked for, but torch finds no GPU", path="device", hint="use --device cpu, or auto"
        )
    device = torch.device("cuda" if name == "auto" else name)
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise ConfigError(
            f"{name} was asked for, but there are {count} GPUs", path="device", hint=f"cuda:0 to cuda:{count - 1}"
        )
    return device


@contextlib.contextmanager
def products(tf32: bool) -> Iterator[None]:
    """Products of float32 on a GPU round what goes into them to 11 bits meanwhile (TF32), or keep all 24."""
    import torch

    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = tf32
        yield
    finally:
        for backend, was in zip(backends, before, strict=True):
            backend.allow_tf32 = was


def peak_memory_mb() -> float:
    """The most memory this process has had resident, in MiB."""
    with contextlib.suppress(OSError, ValueError):
        # Not getrusage at first: its peak is handed on from the program that started this one.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _control_groups(root: Path) -> Iterator[Path]:
    """Folders of the control groups this process is in, each with its parents (versions 1 and 2).

    Within a container the path is often that of the host and does not exist here; the mount's own root still counts.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    mount = root / "sys/fs/cgroup"
    yield mount
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        base = mount / controllers if controllers else mount
        folder = base / group.strip("/")
        if ".." in folder.parts:
            folder = base
        while folder != mount:
            yield folder
            folder = folder.parent


def _processor_quotas(root: Path) -> Iterator[float]:
    """Limits of processor time, in cores."""
    for group in _control_groups(root):
        with contextlib.suppress(OSError, ValueError, IndexError):
            quota, period = (group / "cpu.max").read_text().split()[:2]
            if quota != "max":
                yield int(quota) / int(period)
        with contextlib.suppress(OSError, ValueError):
            first = int((group / "cpu.cfs_quota_us").read_text())
            if first > 0:
                yield first / int((group / "cpu.cfs_period_us").read_text())


def _memory(root: Path) -> tuple[int | None, int | None]:
    """Memory in all, and what is left, in bytes; a control group's limit counts where it is smaller."""
    table: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            key, _, value = line.partition(":")
            table[key] = int(value.split()[0]) * 1024
    total, available = table.get("MemTotal"), table.get("MemAvailable")
    for group in _control_groups(root):
        for limit, usage in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            with contextlib.suppress(OSError, ValueError):
                limit_bytes = int((group / limit).read_text())
                unused = limit_bytes - int((group / usage).read_text())
                total = limit_bytes if total is None else min(total, limit_bytes)
                available = unused if available is None else min(available, unused)
    return total, available


def _processor(path: Path) -> str:
    with contextlib.suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return " ".join(value.split())
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    from importlib import metadata  # a tenth of the time of --help, which asks for no release

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _gib(size: int | None) -> float | None:
    return None if size is None else round(size / (1 << 30), 1)
