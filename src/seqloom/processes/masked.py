"""Masked (absorbing) diffusion: symbols are masked one by one, and the network learns to restore them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqloom.core.errors import UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.processes.base import Likelihood, Loss, Net, Process, cross_entropy
from seqloom.processes.priors import NoPrior, Prior, advised, with_laws
from seqloom.processes.schedules import LinearMasking, Masking, Masks
from seqloom.sequence.batch import Batch, Condition
from seqloom.sequence.facts import Advice, Facts
from seqloom.sequence.guess import Ask, Gives, Guess
from seqloom.sequence.laws import Counts, asked_by, asked_of
from seqloom.sequence.space import Space, Tokens
from seqloom.sequence.spec import NetworkSpec
from seqloom.sequence.state import NetState


class Masked(Process, name="masked"):
    """Absorbing diffusion in continuous time (Sahoo et al. 2024; Shi et al. 2024): a bound; any gap can be filled."""

    gives: ClassVar[Gives] = Gives.PLACE_LOGITS
    sampler: ClassVar[str] = "unmask"
    # In small blocks: of a whole hidden canvas it is surest where the text has ended, and answers would be short.
    likeliest: ClassVar[Mapping[str, Any]] = {"name": "confident", "temperature": 0.0, "block": 4}

    schedule: Masking = LinearMasking()
    """How fast symbols vanish."""
    masks: Masks = "counted"
    """`independent`: each symbol by itself, as the papers have it; `counted`: as many as are due: less variance."""
    rate: float = Field(default=0.0, ge=0, lt=1)
    """The share that training always masks, as BERT does (0.15; Devlin et al. 2019); 0: all shares, as in the bound."""

    prior: Prior = NoPrior()
    """What counting says of a symbol from those on either side, beside the network: `ngram` or `none`."""

    @property
    def counts(self) -> Counts | None:
        return self.prior if self._gates else None

    @cached_property
    def _gates(self) -> tuple[float, ...]:
        return self.prior.gates(ordered=False)

    def spec(self, space: Space) -> NetworkSpec:
        if not isinstance(space, Tokens):
            raise UnsupportedSpace(
                "masked diffusion learns symbols, not vectors", hint="use process=gaussian, or an autoregressive model"
            )
        outputs = space.total + len(self._gates)
        return NetworkSpec(True, space.total + 1, outputs, block=None, timed=False, mask=space.total)

    def advice(self, facts: Facts) -> Advice:
        return advised(facts)

    def loss(self, net: Net, batch: Batch, rng: Rng, state: Any = None, drop: Rng | None = None) -> Loss:
        return Loss(self.bound(net, batch, rng, drop, self.rate).sum(), batch.wanted.sum())

    def likelihoods(self) -> dict[str, Likelihood]:
        def bound(net: Net, batch: Batch, rng: Rng, state: Any) -> tuple[Tensor, Any]:
            return self.bound(net, batch, rng), None

        def exact(net: Net, batch: Batch, rng: Rng, state: Any) -> tuple[Tensor, Any]:
            return self.left_to_right(net, batch), None

        return {
            "likelihood": Likelihood("bound", "windows", bound, draws=8),
            "likelihood_left_to_right": Likelihood("exact", "windows", exact, share=64),
        }

    def bound(self, net: Net, batch: Batch, rng: Rng, drop: Rng | None = None, rate: float = 0.0) -> Tensor:
        """One draw of the bound's terms (B,T): a weight times the cross-entropy of the masked symbols.

        Times are stratified over the rows of the batch, which removes the variance between times. With a `rate` it is
        no bound: that share is always masked.
        """
        rows = len(batch.x)
        strata = (float(rng.at("time").uniform(1)[0, 0]) + np.arange(rows) / rows) % 1.0
        t = torch.as_tensor(strata, device=batch.x.device)  # (B,)
        u = torch.as_tensor(rng.at("mask").uniform(batch.x.shape[1]), device=batch.x.device)  # (B,T)
        if rate:
            t = self.schedule.time(torch.full_like(t, 1 - rate))
        masked, weight = self.schedule.masked(self.masks, t, u, batch.wanted)  # (B,T), (B,)
        if rate:  # the mean over the masked ones, as many times as there are symbols
            weight = batch.wanted.sum(1) / masked.sum(1).clamp_min(1)
        assert net.spec.mask is not None
        given = net.encode(batch.given, rows)
        noisy = batch.read.masked_fill(masked, net.spec.mask)
        if self._gates:  # laws are looked up for what is masked alone
            out, _ = net(noisy, given=given, present=batch.present, rng=drop)
            logits = with_laws(
                net,
                self._gates,
                out[masked],
                lambda: asked_of(replace(batch, x=batch.read), batch.known & ~masked, masked),
            )  # (N,V)
            own = F.cross_entropy(logits, batch.x[masked], reduction="none")
            nats = torch.zeros_like(out[..., 0]).masked_scatter(masked, own)
        else:
            nats = cross_entropy(net, noisy, batch.x, masked, given=given, present=batch.present, rng=drop)
        return nats * weight.to(nats.dtype)[:, None]

    def left_to_right(self, net: Net, batch: Batch, at_once: int = 64) -> Tensor:
        """Minus log probability (B,T) of each symbol when symbols are revealed from the left: exact for that order.

        Each conditional is normalised, so their product is a distribution over sequences. Costs T calls a row.
        """
        rows, steps = batch.x.shape
        nats = torch.zeros(rows, steps, device=batch.x.device)
        cases = [(b, t) for b in range(rows) for t in range(steps) if bool(batch.wanted[b, t])]
        position = torch.arange(steps, device=batch.x.device)
        for i in range(0, len(cases), at_once):
            row, t = torch.as_tensor(np.array(cases[i : i + at_once]).T, device=batch.x.device)
            hidden = (position >= t[:, None]) & batch.wanted[row]
            given = {n: Condition(c.x[row], c.present[row]) for n, c in batch.given.items()}
            x, present = batch.x[row], batch.present[row]
            ask = Ask(x.masked_fill(hidden, net.spec.mask or 0), t[:, None].cpu().numpy(), np.zeros(len(row), np.int64))
            out, _ = net(ask.x, given=net.encode(given, len(row)), present=present, where=t[:, None])
            begins = batch.begins[row, 0].cpu().numpy()
            seen = (present & ~hidden).cpu().numpy()
            asked = partial(asked_by, replace(ask, begin=np.where(begins, 0, 1)), seen)
            logits = with_laws(net, self._gates, out, asked)
            nats = nats.to(out.dtype)
            nats[row, t] = F.cross_entropy(logits[:, 0], batch.x[row, t], reduction="none")
        return nats

    def guess(
        self, net: Net, ask: Ask, state: NetState | None, limit: int | None = None
    ) -> tuple[Guess, NetState | None]:
        where = torch.as_tensor(np.maximum(ask.want, 0), device=ask.x.device)
        out, _ = net(ask.x, given=ask.given, present=ask.present, where=where)
        out = with_laws(net, self._gates, out, lambda: asked_by(ask, self._seen(net, ask)))
        return Guess(out, np.asarray((ask.want >= 0).any(1))), state

    @staticmethod
    def _seen(net: Net, ask: Ask) -> NDArray[np.bool_]:
        """The symbols (B,T) of a canvas that are not masked."""
        assert net.spec.mask is not None
        seen = ask.x.ne(net.spec.mask)
        return (seen if ask.present is None else seen & ask.present).cpu().numpy()
