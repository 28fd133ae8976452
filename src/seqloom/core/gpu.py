"""How fast a GPU computes what trainings are made of, measured once by the clock and kept in the cache.

Layers without a state are timed as they are trained, replayed as a graph. Of recurrent ones the starts of kernels are
part: a narrow network waits for those, and less precision makes them no faster.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from seqloom.core import machine
from seqloom.core.speeds import ERROR, FASTER, LSTM, REPEATS, SIMPLE, fastest, kept, timed_width

Precision = Literal["float32", "tf32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""In what layers are trained on a GPU, the most exact first."""
SIDE = 2048
"""Rows and columns of the matrices whose products are timed."""
CHECKED = 512
"""And of those whose products are compared with exact ones."""
ROWS, STEPS = 32, 256
"""Of what goes through the layer of attention that is timed."""
HEAD = 64
"""Width of its heads."""


def described(device: torch.device) -> str:
    """Its name and memory."""
    if device.type == "cpu":
        return "cpu"
    facts = torch.cuda.get_device_properties(device)
    return f"{facts.name}, {facts.total_memory / (1 << 30):.0f} GiB"


@contextlib.contextmanager
def computing(precision: Precision, device: torch.device) -> Iterator[None]:
    """What layers are computed in meanwhile, on a device."""
    half = torch.autocast(device.type, torch.bfloat16, precision == "bfloat16", cache_enabled=False)
    with machine.products(precision == "tf32"), half:
        yield


@functools.cache
def products(precision: Precision, device: torch.device) -> float:
    """Billions of operations a second in products of large matrices, two for each multiplication and its addition."""
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32

    def measure() -> float:
        a, b = (_normal(seed, (SIDE, SIDE), device).to(kind) for seed in (0, 1))
        with torch.no_grad(), machine.products(precision == "tf32"):
            return round(2e-9 * SIDE**3 / _seconds(lambda: a @ b, device), 1)

    return _kept(f"products-{precision}", device, measure)


@functools.cache
def error(precision: Precision, device: torch.device) -> float:
    """The greatest error of a product, over the greatest value."""

    def measure() -> float:
        a, b = (_normal(seed, (CHECKED, CHECKED), device) for seed in (0, 1))
        exact = a.double() @ b.double()
        with torch.no_grad(), computing(precision, device):
            return float(f"{float(((a @ b).double() - exact).abs().max() / exact.abs().max()):.2g}")

    return _kept(f"error-{precision}", device, measure)


@functools.cache
def simple(device: torch.device) -> float:
    """Billions of numbers a second that operations other than products make, their way back included."""

    def measure() -> float:
        x = _normal(2, (SIMPLE[0] * 16, SIMPLE[1]), device).requires_grad_()
        gain = torch.ones(SIMPLE[1:], device=device, requires_grad=True)

        def job() -> None:
            (F.gelu(F.layer_norm(x, SIMPLE[1:])) * gain + x).sum().backward()  # type: ignore[no-untyped-call]

        return round(4e-9 * x.numel() / _seconds(job, device), 3)

    return _kept("simple", device, measure)


@functools.cache
def passes(kind: str, width: int, precision: Precision, device: torch.device) -> float:
    """Passes a second, and back, through a recurrent layer (`lstm`, `gru`, `rnn`) or one of attention (`products`)."""

    def measure() -> float:
        with computing(precision, device):
            attends = kind == "products"
            job = _replayed(_attention(width, device), device) if attends else _recurrent(kind, width, device)
            return round(1 / _seconds(job, device), 1)

    return _kept(f"{kind}-{width}-{precision}", device, measure)


def precision_for(kinds: Iterable[str], width: int, device: torch.device) -> Precision:
    """In what layers of these kinds and about this width are trained.

    Each less exact one is taken where all of them are so much faster in it than in the one before.
    """
    chosen, width = PRECISIONS[0], timed_width(width)
    for precision in PRECISIONS[1:]:
        if error(precision, device) < ERROR and all(
            kind and passes(kind, width, precision, device) >= FASTER * passes(kind, width, chosen, device)
            for kind in set(kinds)
        ):
            chosen = precision
    return chosen


def _attention(width: int, device: torch.device) -> Callable[[], None]:
    shapes = ((3 * width, width), (width, width), (4 * width, width), (width, 4 * width))
    weights = [(_normal(i, shape, device) * shape[1] ** -0.5).requires_grad_() for i, shape in enumerate(shapes)]
    x = _normal(9, (ROWS, STEPS, width), device).requires_grad_()

    def job() -> None:
        mixed = F.linear(F.layer_norm(x, (width,)), weights[0]).view(ROWS, STEPS, 3, -1, min(HEAD, width))
        q, k, v = mixed.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = x + F.linear(attended.transpose(1, 2).flatten(2), weights[1])
        h = h + F.linear(F.gelu(F.linear(F.layer_norm(h, (width,)), weights[2])), weights[3])
        torch.autograd.grad(h.sum(), [x, *weights])

    return job


def _replayed(job: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """The same as a graph, as layers without a state are trained (`network.graphs`)."""
    if device.type != "cuda":
        return job
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            job()
    torch.cuda.current_stream(device).wait_stream(side)
    with torch.cuda.graph(graph):
        job()
    return graph.replay


def _recurrent(kind: str, width: int, device: torch.device) -> Callable[[], None]:
    rows, steps, _ = LSTM
    layer = getattr(torch.nn, kind.upper())(width, width, batch_first=True).to(device)
    x = _normal(1, (rows, steps, width), device).requires_grad_()

    def job() -> None:
        layer(x)[0].sum().backward()

    return job


def _normal(seed: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)


def _seconds(job: Callable[[], object], device: torch.device) -> float:
    return fastest(job, REPEATS, clock=functools.partial(clock, device))


def clock(device: torch.device) -> float:
    """Seconds, when all that was started on the device is over."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _kept(name: str, device: torch.device, measure: Callable[[], float]) -> float:
    return kept(f"{key(device)}-{name}", measure)


def key(device: torch.device) -> str:
    """What a measurement holds for, besides the machine and torch: the kind of the GPU."""
    return hashlib.sha256(described(device).encode()).hexdigest()[:12]
