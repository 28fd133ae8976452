"""Uniform diffusion: symbols are replaced by others at random, and the network learns which they were."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqloom.core.errors import UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.processes import lengths
from seqloom.processes.base import Likelihood, Loss, Net, Process, stateless, strata
from seqloom.processes.lengths import Length, Sized
from seqloom.processes.schedules import LEAST, LinearMasking, Masking
from seqloom.sequence.batch import Batch
from seqloom.sequence.facts import Advice, Facts
from seqloom.sequence.guess import Ask, Gives, Guess
from seqloom.sequence.replacing import before
from seqloom.sequence.space import Space, Tokens
from seqloom.sequence.spec import NetworkSpec
from seqloom.sequence.state import NetState


class Uniform(Process, name="uniform"):
    """Symbols are replaced by any of all (Austin et al. 2021; Schiff et al. 2024; Sahoo et al. 2025): a bound.

    Unlike one that is masked, a symbol may change again on the way back, until the end. What is learned is what each
    was given the others; what is seen of itself is in the step already.
    """

    gives: ClassVar[Gives] = Gives.NOISY_LOGITS
    sampler: ClassVar[str] = "denoise"

    schedule: Masking = LinearMasking()
    """How a sampler's steps are spread: the share that is left at even times. The bound does not depend on it."""
    length: Length = "filled"
    """Whether ends fill what is left of a canvas (`filled`), or a sequence's length comes first (`first`)."""

    def spec(self, space: Space) -> NetworkSpec:
        if not isinstance(space, Tokens):
            raise UnsupportedSpace(
                "symbols are replaced by others, and these are numbers", hint="use process=gaussian or process=flow"
            )
        # Symbols that are shown, and so no noise, are inputs of their own.
        spec = NetworkSpec(True, 2 * space.total, space.total, block=None, timed=True)
        return lengths.first(spec, space) if self.length == "first" else spec

    def advice(self, facts: Facts) -> Advice:
        return lengths.advised(facts)

    def loss(self, net: Net, batch: Batch, rng: Rng, state: Any = None, drop: Rng | None = None) -> Loss:
        count, total = batch.wanted.sum(), torch.zeros((), device=batch.x.device)
        if self.length == "first":
            sized = Sized.of(batch, net.space)
            given = net.encode(batch.given, len(batch.x))
            batch, total = sized.batch, sized.learned(Clean(net), given, rng, drop).sum().float()
        return Loss(total + self.integral(net, batch, rng, drop).sum(), count)

    def likelihoods(self) -> dict[str, Likelihood]:
        return {"likelihood": Likelihood("bound", "windows", stateless(self.bound), draws=8)}

    def bound(self, net: Net, batch: Batch, rng: Rng) -> Tensor:
        """One draw of the bound (B,T): what symbols cost, and what a length that is said first costs, at the end."""
        said: Tensor | float = 0.0
        if self.length == "first":
            sized = Sized.of(batch, net.space)
            nats = sized.nats(Clean(net), net.encode(batch.given, len(batch.x)))
            batch, said = sized.batch, sized.placed(nats, batch.x.shape[1]).float()
        return self.integral(net, batch, rng) + self.recovery(net, batch, rng) + said

    def integral(self, net: Net, batch: Batch, rng: Rng, drop: Rng | None = None) -> Tensor:
        """One draw of the bound's terms (B,T) from a share LEAST of replaced symbols to all.

        Shares are stratified over the rows, and drawn as cubes: where few symbols are replaced each of them costs much.
        """
        u = strata(rng, len(batch.x), batch.x.device)
        alpha = (1 - LEAST) * (1 - u**3)
        z, logits = self._seen(net, batch, alpha, rng, "noise", drop)
        nats = rate(logits, _wanted(batch, batch.x), z, alpha, -torch.ones_like(alpha))
        nats = nats * (3 * u**2 * (1 - LEAST))[:, None]
        return nats.masked_fill(~batch.wanted, 0.0).to(logits.dtype)

    def recovery(self, net: Net, batch: Batch, rng: Rng) -> Tensor:
        """What the symbols (B,T) cost that are to be told from those that are seen where a share LEAST is replaced."""
        alpha = torch.full((len(batch.x),), 1 - LEAST, dtype=torch.float64, device=batch.x.device)
        z, logits = self._seen(net, batch, alpha, rng, "last noise")
        log_prob = before(logits, z, alpha[:, None], torch.ones_like(alpha)[:, None]).log()
        nats = -log_prob.gather(-1, _wanted(batch, batch.x).unsqueeze(-1))[..., 0]
        return nats.masked_fill(~batch.wanted, 0.0).to(logits.dtype)

    def _seen(
        self, net: Net, batch: Batch, alpha: Tensor, rng: Rng, purpose: str, drop: Rng | None = None
    ) -> tuple[Tensor, Tensor]:
        """The wanted symbols (B,T) with noise of shares 1 - alpha (B,), and the logits of what they were (B,T,V)."""
        size, steps, device = lengths.made(net.space, self.length), batch.x.shape[1], batch.x.device
        u = torch.as_tensor(rng.at(purpose).uniform(2 * steps), device=device)
        other = (u[:, steps:] * size).long().clamp_max(size - 1)
        z = torch.where((u[:, :steps] >= alpha[:, None]) & batch.wanted, other, batch.read)
        inputs = torch.where(batch.shown, as_shown(net, batch.read), z)
        given = net.encode(batch.given, len(batch.x))
        out, _ = net(inputs, level=level_of(alpha)[:, None], given=given, present=batch.present, rng=drop)
        return _wanted(batch, z), out[..., :size]

    def lengths(self, net: Net, ask: Ask) -> Tensor | None:
        return lengths.law(Clean(net), ask) if self.length == "first" else None

    def guess(
        self, net: Net, ask: Ask, state: NetState | None, limit: int | None = None
    ) -> tuple[Guess, NetState | None]:
        assert ask.level is not None
        assert ask.shown is not None
        inputs = torch.where(ask.shown, as_shown(net, ask.x), ask.x)
        out, _ = net(inputs, level=level_of(ask.level), given=ask.given, present=ask.present)
        logits = out[..., : lengths.made(net.space, self.length)]
        if self.length == "first":
            logits = F.pad(logits, (0, 1), value=-torch.inf)
        return Guess(logits, np.asarray((ask.want >= 0).any(1))), state


class Clean:
    """A network of noisy symbols as one that reads symbols, all of which are clean."""

    def __init__(self, net: Net) -> None:
        self.net, self.spec = net, net.spec

    def __call__(self, x: Tensor, **inputs: Any) -> tuple[Tensor, Any]:
        asks = x >= (self.spec.asks or 0)
        clean = level_of(torch.ones(len(x), 1, dtype=torch.float64, device=x.device))
        return self.net(torch.where(asks, x, as_shown(self.net, x)), level=clean, **inputs)


def _wanted(batch: Batch, x: Tensor) -> Tensor:
    """Symbols (B,T), and 0 in place of those that are not to be made: they may be none of those that are."""
    return x.masked_fill(~batch.wanted, 0)


def as_shown(net: Net, x: Tensor) -> Tensor:
    """The inputs that stand for symbols that are shown."""
    assert isinstance(net.space, Tokens)
    return x + net.space.total


def level_of(alpha: Tensor) -> Tensor:
    """The noise level as the network reads it, from -1 (none) to 1."""
    return 1 - 2 * alpha


def rate(logits: Tensor, x: Tensor, z: Tensor, alpha: Tensor, slope: Tensor) -> Tensor:
    """What a unit of time costs (B,T), in nats: the divergence of the reverse steps for x from those that are guessed.

    In closed form (Sahoo et al. 2025), with the chances of each symbol at this time, were it guessed, and were it x.
    """
    size, keep = logits.shape[-1], alpha[:, None, None]
    guessed = size * keep * logits.double().softmax(-1) + (1 - keep)  # (B,T,V)
    true = size * keep * F.one_hot(x, size) + (1 - keep)
    at = z.unsqueeze(-1)
    guessed_z, true_z = guessed.gather(-1, at), true.gather(-1, at)
    ratios = (true / true_z * ((guessed_z * true) / (guessed * true_z)).log()).sum(-1)
    terms = size / true_z[..., 0] - size / guessed_z[..., 0] - ratios
    return slope[:, None] / (size * alpha[:, None]) * terms
