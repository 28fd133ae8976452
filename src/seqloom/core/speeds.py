"""How fast this machine computes what trainings are made of, measured once and kept in the cache.

What a processor says that it supports does not tell what is fast on it: of two whose flags name bfloat16 one is twice
as fast with it as with float32, and the other five times slower. So it is measured, on one thread and by that thread's
own time, so that it does not matter what else the machine does.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from seqloom.core import durable, machine
from seqloom.core.cache import cache

Measured = TypeVar("Measured")

SIZES = ((32, 256, 1024), (512, 512, 512), (2048, 128, 512))
"""Rows, inner and outer columns of the products: a step of decoding, a square, a batch of a small Transformer."""
FASTER = 1.3
"""What is used in place of float32 is so many times faster at every size."""
ERROR = 2e-2
"""And its products are wrong by so much of the greatest value at most."""
ROUNDS, REPEATS = 5, 4
LSTM = (32, 32, 192)
"""Rows, steps and width of the LSTM that is timed, as a small text model has it."""
WIDTHS = (64, 128, 256, 512)
"""Widths at which recurrent layers are timed: in bfloat16 narrow ones gain nothing, wide ones twice as much."""
SIMPLE = (2048, 256)
"""Rows and columns over which simple operations are timed."""
OWN: dict[str, Callable[[int], Callable[[Any], Any] | None]] = {}
"""Recurrent layers that have a program of their own (`kernels.sequences`): by width, or None where there is none."""


@dataclass(frozen=True)
class Speeds:
    """Of products of each of SIZES: billions of multiplications and additions a second, and the relative error."""

    float32: tuple[float, ...]
    bfloat16: tuple[float, ...]
    error: float
    """Of bfloat16: the greatest difference over the greatest value; its spacing is 1/128."""
    lstm: tuple[float, float]
    """Passes a second through an LSTM and back, in float32 and in bfloat16."""
    simple: float
    """Billions of numbers a second that operations other than products make, their way back included."""

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Speeds:
        """Those that were written down."""
        single, half = stored["lstm"]
        float32, bfloat16 = tuple(stored["float32"]), tuple(stored["bfloat16"])
        return cls(float32, bfloat16, float(stored["error"]), (single, half), float(stored["simple"]))

    @property
    def gain(self) -> float:
        """How many times faster products are in bfloat16, at the size where it gains least."""
        return min(b / f for b, f in zip(self.bfloat16, self.float32, strict=True))

    @property
    def use_bfloat16(self) -> bool:
        """Whether products that do not need the precision are computed in bfloat16."""
        return self.gain >= FASTER and self.error < ERROR

    def faster_in_bfloat16(self, timed_as: str) -> bool:
        """Whether layers that were timed as `lstm`, or as `products`, are trained faster, and well enough, in bfloat16.

        Of an attention network about two thirds of the time are products, which must gain so much more.
        """
        gain = {"lstm": self.lstm[1] / self.lstm[0], "products": self.gain / FASTER}.get(timed_as, 0.0)
        return gain >= FASTER and self.error < ERROR


@functools.cache
def speeds() -> Speeds:
    """This machine's, from the cache or measured now (about a second)."""
    return _cached("", Speeds.of, lambda: apart(measure))


def faster_in_bfloat16(timed_as: str, width: int) -> bool:
    """Whether layers of this width are trained faster, and well enough, in bfloat16; see `Speeds.faster_in_bfloat16`.

    Those that were timed as `gru` or `rnn` are timed at about this width when it is first asked, and that is kept too.
    """
    found = speeds()
    if timed_as not in {"gru", "rnn"}:
        return found.faster_in_bfloat16(timed_as)
    if found.gain < 1 or found.error >= ERROR:
        return False
    width = timed_width(width)
    return layer_passes(timed_as, width, True) >= FASTER * layer_passes(timed_as, width, False)


def timed_width(width: int) -> int:
    """The nearest of the widths at which recurrent layers are timed."""
    return min(WIDTHS, key=lambda known: abs(known - width))


@functools.cache
def layer_passes(kind: str, width: int, half: bool) -> float:
    """Passes a second through a recurrent layer and back, by whatever is fastest: from the cache or measured now."""
    return max(_passes_by(own, kind, width, half) for own in ((False, True) if kind in OWN else (False,)))


@functools.cache
def own_is_faster(kind: str, width: int, half: bool) -> bool:
    """Whether a layer at about this width is trained faster by the program that `OWN` has than by torch's."""
    width = timed_width(width)
    return kind in OWN and _passes_by(True, kind, width, half) >= _passes_by(False, kind, width, half)


def _passes_by(own: bool, kind: str, width: int, half: bool) -> float:
    """Of one of the two ways; a second at most."""

    def measure() -> float:
        with on_one_thread():
            if not own:
                return passes(half, kind, width, repeats=1)
            layer = OWN[kind](width)
            return 0.0 if layer is None else passes(half, kind, width, repeats=1, layer=layer)

    name = f"{'own-' if own else ''}{kind}-{width}-{'bfloat16' if half else 'float32'}"
    return kept(name, lambda: apart(measure))


@functools.cache
def gain_of_threads(threads: int) -> float:
    """How many times faster products are on so many threads than on one, by the clock; not kept where others compute.

    Not by the threads' own time: one that waits for another spends as much of it.
    """
    import torch

    if threads == 1:
        return 1.0
    rows, inner, outer = SIZES[-1]
    a, b = torch.ones(rows, inner), torch.ones(inner, outer)
    was = torch.get_num_threads()

    def measure() -> float:
        seconds = []
        for count in (1, threads):
            torch.set_num_threads(count)
            seconds.append(fastest(functools.partial(torch.mm, a, b), clock=time.perf_counter))
        return round(max(1.0, seconds[0] / seconds[1]), 2)

    try:
        busy = (machine.record(Path("/"))["load"] or 0.0) > 1
        return measure() if busy else kept(f"threads-{threads}", measure)
    finally:
        torch.set_num_threads(was)


def kept(name: str, measure: Callable[[], float]) -> float:
    """A number that was measured on this machine, from the cache; else it is measured now and kept."""
    return _cached(f"-{name}", float, measure)


def _cached(name: str, parse: Callable[[Any], Measured], measure: Callable[[], Measured]) -> Measured:
    """What was measured on this machine, from the cache where it can be parsed; else it is measured now and kept."""
    path = cache() / "machine" / f"{key()}{name}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return parse(json.loads(path.read_text(encoding="utf-8")))
    found = measure()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs as much each time
        path.parent.mkdir(parents=True, exist_ok=True)
        durable.write_json(path, asdict(found) if isinstance(found, Speeds) else found)
    return found


def apart(measure: Callable[[], Measured]) -> Measured:
    """What is measured, in a thread of its own: whether the caller takes gradients, or watches them, is no matter."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(measure).result()


@contextlib.contextmanager
def on_one_thread() -> Iterator[None]:
    """Torch computes on one thread meanwhile."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def key() -> str:
    """What a measurement holds for: the processor, the system and torch."""
    import torch

    record = machine.record(Path("/"))
    told = [record["cpu"], record["platform"], torch.__version__]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]


def measure() -> Speeds:
    """Time the products; where bfloat16 is slow at the first size it is not tried at the others."""
    import torch

    single: list[float] = []
    half: list[float] = []
    error = 0.0
    with torch.no_grad(), on_one_thread():
        generator = torch.Generator().manual_seed(0)
        for rows, inner, outer in SIZES:
            a, b = (torch.randn(shape, generator=generator) for shape in ((rows, inner), (inner, outer)))
            work = 2e-9 * rows * inner * outer
            c, d = a.bfloat16(), b.bfloat16()
            single.append(round(work / fastest(functools.partial(torch.mm, a, b)), 1))
            if half and half[0] < single[0]:
                half.append(half[0])
                continue
            half.append(round(work / fastest(functools.partial(torch.mm, c, d)), 1))
            exact = a.double() @ b.double()
            error = max(error, float(((c @ d).double() - exact).abs().max() / exact.abs().max()))
        lstm = passes(False), passes(True) if half[0] > single[0] else 0.0
        simple = simple_speed()
    return Speeds(tuple(single), tuple(half), round(error, 5), lstm, simple)


def simple_speed() -> float:
    """Billions of numbers a second through a norm, a nonlinearity, a product with a vector and a sum, and back."""
    import torch
    from torch.nn import functional

    generator = torch.Generator().manual_seed(2)
    x = torch.randn(SIMPLE, generator=generator, requires_grad=True)
    gain = torch.ones(SIMPLE[1:], requires_grad=True)

    def job() -> None:
        with torch.enable_grad():
            out = functional.gelu(functional.layer_norm(x, SIMPLE[1:])) * gain + x
            out.sum().backward()  # type: ignore[no-untyped-call]

    return round(4e-9 * x.numel() / fastest(job), 3)


def passes(
    half: bool,
    kind: str = "lstm",
    width: int = LSTM[2],
    repeats: int = REPEATS,
    layer: Callable[[Any], Any] | None = None,
) -> float:
    """Passes a second through a recurrent layer and back: torch's, unless another is given."""
    import torch

    rows, steps, _ = LSTM
    layer = layer or getattr(torch.nn, kind.upper())(width, width, batch_first=True)
    x = torch.randn(rows, steps, width, generator=torch.Generator().manual_seed(1), requires_grad=True)

    def job() -> None:
        with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            layer(x)[0].sum().backward()

    return round(1 / fastest(job, repeats), 1)


def fastest(job: Callable[[], object], repeats: int = REPEATS, clock: Callable[[], float] = time.thread_time) -> float:
    """Seconds of a job, of several rounds the fastest: others on the machine can only slow it down."""
    job()
    best = float("inf")
    for _ in range(ROUNDS):
        began = clock()
        for _ in range(repeats):
            job()
        best = min(best, (clock() - began) / repeats)
    return max(best, 1e-9)
