"""How far back a network learns from: the norm of the gradient by lag, as training clips it and as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqloom.core.errors import DataError, UnsupportedQuery
from seqloom.core.progress import decimal
from seqloom.core.rng import Rng
from seqloom.corpora.packed import Packed
from seqloom.metrics.likelihood import Reading
from seqloom.network.network import Network
from seqloom.processes.base import Process
from seqloom.sequence.batch import Batch

ROWS = 32
"""Windows that the norms are averaged over."""
SMALL = 0.01
"""The share of the gradient at lag 1 below which it is said to have vanished."""


@dataclass(frozen=True)
class GradientByLag:
    """The gradient of one position's loss with respect to what was read k positions before it (Bengio et al. 1994).

    `norms` (T,) are root mean squares over windows for k = 1 .. T; `total` is the norm of the whole gradient of the
    weights for that loss, by which a training that clips at `clip` scales all of it.
    """

    norms: NDArray[np.float64]
    total: float
    clip: float

    @property
    def factor(self) -> float:
        """What clipping multiplies the gradient by: below 1 where it is too long, so that no lag gains on another."""
        return min(1.0, self.clip / self.total) if self.clip and self.total else 1.0

    @property
    def clipped(self) -> NDArray[np.float64]:
        """The norms (T,) in a training that clips."""
        return self.norms * self.factor

    @property
    def lags(self) -> list[int]:
        """1, 2, 4, 8, ... and the last."""
        powers = [1 << i for i in range(len(self.norms).bit_length()) if 1 << i <= len(self.norms)]
        return sorted({*powers, len(self.norms)})

    @property
    def reach(self) -> int | None:
        """The lag from which on all norms are below a hundredth of that at lag 1; None where they never all are."""
        large = np.flatnonzero(self.norms >= SMALL * self.norms[0])
        last = int(large[-1]) + 1 if len(large) else 0
        return None if last == len(self.norms) else last + 1

    @property
    def in_words(self) -> str:
        """What it shows."""
        reach = self.reach
        far = "stays above" if reach is None else f"from lag {reach} on is below"
        clipping = (
            f"clipping at {self.clip:g} scales it by {decimal(self.factor)}, every lag alike"
            if self.factor < 1
            else "clipping leaves it as it is"
            if self.clip
            else "it is not clipped"
        )
        return f"the gradient {far} a hundredth of that at lag 1; {clipping}"

    def data(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "norms": self.norms.tolist(),
            "total": self.total,
            "clip": self.clip,
            "factor": self.factor,
            "reach": self.reach,
        }


def gradient_by_lag(net: Network, process: Process, reading: Reading, *, clip: float = 1.0) -> GradientByLag:
    """The gradient of a network by lag, over windows that are spread over some data.

    Errors:
        UnsupportedQuery where the network does not read from the left; DataError where no window is long enough.
    """
    if net.spec.block != 1 or net.channels > 1:
        raise UnsupportedQuery(
            "only of a network that reads from the left, element by element, is the gradient one by lag",
            hint="an autoregressive model has it",
        )
    length = net.window
    packed = Packed(reading.data, reading.space, reading.given, net.aligned)
    starts = packed.windows(length, length)
    starts = starts[packed.sizes[packed.sequence(starts)] - (starts - packed.starts[packed.sequence(starts)]) >= length]
    if not len(starts):
        raise DataError(f"no sequence has {length} elements", hint="a smaller window, or longer data")
    starts = starts[np.unique(np.linspace(0, len(starts) - 1, ROWS).round().astype(np.int64))]
    return of_batch(net, process, packed.window(starts, length, past=process.past), clip)


def of_batch(net: Network, process: Process, batch: Batch, clip: float) -> GradientByLag:
    """The gradient by lag for the last position of each row."""
    shown = batch.known.clone()
    shown[:, -1] = False
    batch = replace(batch, shown=shown).to(next(net.parameters()).device)
    read: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        output.retain_grad()
        read.append(output)

    watched, training = net.embed.register_forward_hook(keep), net.training
    net.eval()
    try:
        with torch.enable_grad():
            loss = process.loss(net, batch, Rng.of(0, np.arange(len(batch.x))))
            loss.total.backward()  # type: ignore[no-untyped-call]
    finally:
        watched.remove()
        net.train(training)
    each = read[-1].grad
    assert each is not None
    squares = each.double().square().sum(-1).mean(0)  # (T,): mean over the rows
    own = [p.grad.double() for p in net.parameters() if p.grad is not None]  # the square of what explodes is larger yet
    total = float(torch.nn.utils.get_total_norm(own)) / len(batch.x)
    for parameter in net.parameters():
        parameter.grad = None
    return GradientByLag(squares.sqrt().flip(0).cpu().numpy(), total, clip)
