"""Gaussian diffusion of learned embeddings: symbols become numbers, noise is added to these, and symbols come back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from seqloom.core.errors import UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.processes import lengths
from seqloom.processes.base import Likelihood, Loss, Net, Process, strata
from seqloom.processes.lengths import Length, Reads, Sized
from seqloom.processes.schedules import EdmNoise, Noise
from seqloom.sequence.batch import Batch
from seqloom.sequence.facts import Advice, Facts
from seqloom.sequence.guess import Ask, Gives, Guess
from seqloom.sequence.space import Space, Tokens
from seqloom.sequence.spec import NetworkSpec
from seqloom.sequence.state import NetState

LEVEL_SCALE = 0.25
"""The network's input is log(sigma / alpha) / 4, about unit scale."""
PLACE, SPREAD = -0.7, 1.2
"""Where training has its levels: log(sigma / alpha) about half the logarithm of an embedding's size, where symbols are
told from each other, less PLACE, with this spread."""


class Embedding(Process, name="embedding"):
    """Symbols are diffused as learned embeddings (Li et al. 2022), guessed as symbols (Dieleman et al. 2022): a bound.

    Embeddings are of one length, so that noise cannot be evaded by growing. The guess is a law of symbols, learned by
    its cross-entropy; the mean of their embeddings under it is the clean data that a sampler goes to. What the noisy
    embedding says of its own symbol follows from the noise and need not be learned (Gulrajani & Hashimoto 2023).
    """

    gives: ClassVar[Gives] = Gives.EMBEDDED_LOGITS
    sampler: ClassVar[str] = "diffuse"

    size: int = Field(default=32, ge=1)
    """Numbers of an embedding."""
    self_conditioning: bool = False
    """Whether the network sees its own last guess, in half of the steps of training too (Chen et al. 2023)."""

    length: Length = "filled"
    """Whether ends fill what is left of a canvas (`filled`), or a sequence's length comes first (`first`)."""

    @cached_property
    def schedule(self) -> Noise:
        """How the noise grows: mostly where symbols are told from each other."""
        return EdmNoise(mean=0.5 * math.log(self.size) + PLACE, std=SPREAD)

    @property
    def embedded(self) -> int:
        return self.size

    def spec(self, space: Space) -> NetworkSpec:
        space = _of_symbols(space)
        inputs = self.size * (1 + self.self_conditioning) + 1
        spec = NetworkSpec(False, inputs, space.total, block=None, timed=True)
        return lengths.first(spec, space) if self.length == "first" else spec

    def advice(self, facts: Facts) -> Advice:
        return lengths.advised(facts)

    def module(self, space: Space) -> nn.Module:
        """The embeddings of the symbols, and of those that ask for a length."""
        return nn.Embedding(_of_symbols(space).total + 2 * (self.length == "first"), self.size)

    def loss(self, net: Net, batch: Batch, rng: Rng, state: Any = None, drop: Rng | None = None) -> Loss:
        given, count = net.encode(batch.given, len(batch.x)), batch.wanted.sum()
        total = torch.zeros((), device=batch.x.device)
        if self.length == "first":
            sized = Sized.of(batch, net.space)
            batch, total = sized.batch, sized.learned(self._reader(net), given, rng, drop).sum().float()
        alpha, sigma = self.schedule.at(strata(rng, len(batch.x), batch.x.device))
        log_nsr = (sigma / alpha).log().float()[:, None, None]
        logits, _ = self._noised(net, batch, given, log_nsr, rng, drop, learning=True)
        nats = _nats(logits, batch)
        return Loss(total + nats.masked_fill(~batch.wanted, 0.0).sum(), count)

    def likelihoods(self) -> dict[str, Likelihood]:
        return {"likelihood": Likelihood("bound", "windows", self.bound, draws=16)}

    def bound(self, net: Net, batch: Batch, rng: Rng, state: Any = None) -> tuple[Tensor, Any]:
        """One draw of the variational bound in continuous time, nats (B,T) (Kingma et al. 2021; Li et al. 2022).

        Minus log p(x) <= the symbols given their embeddings at the least noise, each by its distance from all
        embeddings, + half the integral of the SNR-weighted squared error + the distance of the noisiest state from the
        prior. It is one of probabilities: the first term is a law of symbols.
        """
        given, said = net.encode(batch.given, len(batch.x)), torch.zeros(batch.x.shape, device=batch.x.device)
        if self.length == "first":
            sized = Sized.of(batch, net.space)
            said = sized.placed(sized.nats(self._reader(net), given), batch.x.shape[1]).float()
            batch = sized.batch
        low, high = self.schedule.span()
        log_nsr = low + (high - low) * strata(rng, len(batch.x), batch.x.device)
        logits, table = self._noised(net, batch, given, log_nsr.float()[:, None, None], rng)
        clean = F.embedding(batch.x, embeddings(net))
        error = (logits.softmax(-1) @ table - clean).square().sum(-1)  # (B,T)
        integral = (high - low) * error * (-2 * log_nsr.float()).exp()[:, None]
        noise = rng.at("recovery").normal((batch.x.shape[1], self.size)).to(clean)
        recovery = _nats((clean + math.exp(low) * noise) @ table.T * math.exp(-2 * low), batch)
        prior = 0.5 * self.size * math.log1p(math.exp(-2 * high))  # of N(alpha x, sigma^2) from N(0, 1), |x|^2 = size
        return (integral + recovery + prior).masked_fill(~batch.wanted, 0.0) + said, None

    def _noised(
        self,
        net: Net,
        batch: Batch,
        given: Any,
        log_nsr: Tensor,
        rng: Rng,
        drop: Rng | None = None,
        learning: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Logits (B,T,V) of symbols behind noise of levels (B,1,1), and the embeddings (V,D) of those that may be."""
        table, may_be = embeddings(net), self._symbols(net)
        alpha, sigma = torch.sigmoid(-2 * log_nsr).sqrt(), torch.sigmoid(2 * log_nsr).sqrt()
        noise = rng.at("noise").normal((batch.x.shape[1], self.size)).to(table)
        noisy = alpha * F.embedding(batch.x, table) + sigma * noise
        z = torch.where(batch.shown.unsqueeze(-1), F.embedding(batch.read, table), noisy)
        z = z.masked_fill(~batch.known.unsqueeze(-1), 0.0)

        def out(last: Tensor | None, drop: Rng | None) -> Tensor:
            inputs = self._inputs(z, batch.shown, last)
            said, _ = net(inputs, level=level(log_nsr), given=given, present=batch.present, rng=drop)
            return said[..., : len(may_be)] + seen_of_itself(z, log_nsr, may_be)

        if not self.self_conditioning or (learning and float(rng.at("own guess").uniform(1)[0, 0]) < 0.5):
            return out(None, drop), may_be
        with torch.no_grad():
            last = out(None, None).softmax(-1) @ may_be
        return out(last, drop), may_be

    def _symbols(self, net: Net) -> Tensor:
        """The embeddings (V,D) of the symbols that may be made: an end is none of them where a length is said first."""
        return embeddings(net)[: lengths.made(net.space, self.length)]

    def _reader(self, net: Net) -> Reads:
        """The network as one that reads symbols, all of them clean."""
        return Reader(self, net)

    def keeps(self, net: Net, ask: Ask) -> int:
        return self.size if self.self_conditioning else 0

    def lengths(self, net: Net, ask: Ask) -> Tensor | None:
        return lengths.law(self._reader(net), ask) if self.length == "first" else None

    def _inputs(self, z: Tensor, shown: Tensor, last: Tensor | None) -> Tensor:
        """What the network reads (B,T,C): noisy embeddings, which of them are clean, and its last guess, 0 at first."""
        parts = [z, shown.unsqueeze(-1).to(z)]
        if self.self_conditioning:
            parts.append(torch.zeros_like(z) if last is None else last.to(z))
        return torch.cat(parts, -1)

    def guess(
        self, net: Net, ask: Ask, state: NetState | None, limit: int | None = None
    ) -> tuple[Guess, NetState | None]:
        """`ask.noisy` (B,T,D) is z scaled to alpha^2 + sigma^2 = 1, `ask.level` log(sigma / alpha) (B,1)."""
        assert ask.level is not None
        assert ask.shown is not None
        assert ask.noisy is not None
        table, may_be = embeddings(net), self._symbols(net)
        log_nsr = ask.level.to(table)[:, :, None]
        symbols = ask.x.clamp(0, len(table) - 1)
        z = torch.where(ask.shown.unsqueeze(-1), F.embedding(symbols, table), ask.noisy.to(table))
        inputs = self._inputs(z, ask.shown, ask.kept)
        out, _ = net(inputs, level=level(log_nsr), given=ask.given, present=ask.present)
        logits = out[..., : len(may_be)] + seen_of_itself(z, log_nsr, may_be)
        if ask.kept is not None:
            ask.kept.copy_(logits.detach().softmax(-1) @ may_be.detach())
        if self.length == "first":
            logits = F.pad(logits, (0, 1), value=-torch.inf)
        assert isinstance(net.space, Tokens)
        return Guess(logits, np.ones(len(ask.x), bool), Embedded(table[: net.space.total])), state


def _of_symbols(space: Space) -> Tokens:
    """The space, which is one of symbols; else UnsupportedSpace."""
    if not isinstance(space, Tokens):
        raise UnsupportedSpace("embeddings are of symbols, and these are numbers", hint="use process=gaussian")
    return space


class Reader:
    """A network of noisy embeddings as one that reads symbols, all of which are clean."""

    def __init__(self, process: Embedding, net: Net) -> None:
        self.process, self.net, self.spec = process, net, net.spec

    def __call__(self, x: Tensor, **inputs: Any) -> tuple[Tensor, Any]:
        table = embeddings(self.net)
        z = F.embedding(x.clamp(0, len(table) - 1), table)
        clean = z.new_full((len(x), 1), self.process.schedule.span()[0] * LEVEL_SCALE)
        return self.net(self.process._inputs(z, torch.ones_like(x, dtype=torch.bool), None), level=clean, **inputs)


@dataclass(frozen=True)
class Embedded:
    """Symbols as they are diffused, and back."""

    table: Tensor
    """The embeddings (V,D)."""

    def clean(self, logits: Tensor) -> Tensor:
        """The mean embedding (B,T,D) under the law of logits (B,T,V)."""
        return logits.softmax(-1).to(self.table) @ self.table

    def values(self, x: Tensor, parts: Any) -> Tensor:
        """The symbols (B,T) whose embeddings are nearest."""
        return (x.to(self.table) @ self.table.T).argmax(-1)

    def numbers(self, x: Tensor, parts: Any) -> Tensor:
        """The embeddings (B,T,D) of symbols."""
        return F.embedding(x, self.table)


def embeddings(net: Net) -> Tensor:
    """Those of all symbols (V,D), of unit variance: they are all equally long."""
    assert isinstance(net.own, nn.Embedding)
    weight = net.own.weight
    return F.normalize(weight, dim=-1) * math.sqrt(weight.shape[1])


def seen_of_itself(z: Tensor, log_nsr: Tensor, table: Tensor) -> Tensor:
    """The logarithms of the chance of z (B,T,D) behind each embedding (B,T,V), but for what all have in common."""
    alpha, square = torch.sigmoid(-2 * log_nsr).sqrt(), torch.sigmoid(2 * log_nsr)
    return alpha / square * (z @ table.T)


def _nats(logits: Tensor, batch: Batch) -> Tensor:
    """The cross-entropy (B,T) of the wanted symbols of a batch, any number elsewhere, from logits (B,T,V)."""
    x = batch.x.masked_fill(~batch.wanted, 0)
    return F.cross_entropy(logits.flatten(0, 1), x.flatten(), reduction="none").view(x.shape)


def level(log_nsr: Tensor) -> Tensor:
    """A level (B,1,1) as the network reads it (B,1)."""
    return log_nsr[..., 0] * LEVEL_SCALE
