"""Masked (absorbing) diffusion: symbols are masked one by one, and the network learns to restore them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from seqloom.core.errors import UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.processes import lengths
from seqloom.processes.base import Likelihood, Loss, Net, Process, cross_entropy, stateless, strata
from seqloom.processes.lengths import Length, Sized
from seqloom.processes.priors import NoPrior, Prior, advised, beforehand, with_laws
from seqloom.processes.schedules import LinearMasking, Masking, Masks
from seqloom.sequence.batch import Batch, Condition
from seqloom.sequence.facts import Advice, Facts
from seqloom.sequence.guess import Ask, Gives, Guess
from seqloom.sequence.laws import Asked, Counts, asked_by, asked_of
from seqloom.sequence.space import Space, Tokens
from seqloom.sequence.spec import NetworkSpec
from seqloom.sequence.state import NetState


class Masked(Process, name="masked"):
    """Absorbing diffusion in continuous time (Sahoo et al. 2024; Shi et al. 2024): a bound; any gap can be filled."""

    gives: ClassVar[Gives] = Gives.PLACE_LOGITS
    sampler: ClassVar[str] = "unmask"

    schedule: Masking = LinearMasking()
    """How fast symbols vanish."""
    masks: Masks = "counted"
    """`independent`: each symbol by itself, as the papers have it; `counted`: as many as are due: less variance."""
    rate: float = Field(default=0.0, ge=0, lt=1)
    """The share that training always masks, as BERT does (0.15; Devlin et al. 2019); 0: all shares, as in the bound."""

    self_conditioning: bool = False
    """Whether the network sees its own last guess of what is hidden, in half of the steps of training too (Chen et al.
    2023). Scores are of a network that has just guessed the same canvas, and take twice as long."""
    length: Length = "filled"
    """`filled`: ends are symbols and fill what is left of a canvas; `first`: how long a sequence is comes before what
    stands in it, and its canvas is as long (Ghazvininejad et al. 2019)."""
    prior: Prior = NoPrior()
    """What counting says of a symbol from those on either side, beside the network: `ngram` or `none`."""

    @property
    def likeliest(self) -> Mapping[str, Any]:
        if self.length == "first":
            # Of answers as long as is likeliest and a little less so, the one whose symbols are surest: the length is
            # said before anything else is known.
            return {"name": "confident", "temperature": 0.0, "lengths": 3}
        # In small blocks: of a whole hidden canvas it is surest where the text has ended, and answers would be short.
        return {"name": "confident", "temperature": 0.0, "block": 4}

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
        beside = lengths.made(space, self.length) if self.self_conditioning else 0
        spec = NetworkSpec(True, space.total + 1, outputs, block=None, timed=False, mask=space.total, beside=beside)
        return lengths.first(spec, space) if self.length == "first" else spec

    def module(self, space: Space) -> nn.Module | None:
        return self.schedule.module()

    def advice(self, facts: Facts) -> Advice:
        return advised(facts) | lengths.advised(facts)

    def loss(self, net: Net, batch: Batch, rng: Rng, state: Any = None, drop: Rng | None = None) -> Loss:
        given = net.encode(batch.given, len(batch.x))
        count = batch.wanted.sum()
        total = torch.zeros((), device=batch.x.device)
        if self.length == "first":
            sized = Sized.of(batch, net.space)
            batch, total = sized.batch, sized.learned(net, given, rng, drop).sum().float()
        once = not self.self_conditioning or float(rng.at("own guess").uniform(1)[0, 0]) < 0.5
        return Loss(total + self._terms(net, batch, given, rng, drop, self.rate, once, training=True).sum(), count)

    def likelihoods(self) -> dict[str, Likelihood]:
        exact = stateless(lambda net, batch, rng: self.left_to_right(net, batch))
        return {
            "likelihood": Likelihood("bound", "windows", stateless(self.bound), draws=8),
            "likelihood_left_to_right": Likelihood("exact", "windows", exact, share=64),
        }

    def bound(self, net: Net, batch: Batch, rng: Rng) -> Tensor:
        """One draw of the bound's terms (B,T): a weight times the cross-entropy of the masked symbols.

        Times are stratified over the rows of the batch, which removes the variance between times. What a length costs
        that is said first stands where the end is.
        """
        given = net.encode(batch.given, len(batch.x))
        if self.length == "filled":
            return self._terms(net, batch, given, rng)
        sized = Sized.of(batch, net.space)
        return self._terms(net, sized.batch, given, rng) + sized.placed(sized.nats(net, given), batch.x.shape[1])

    def _terms(
        self,
        net: Net,
        batch: Batch,
        given: Any,
        rng: Rng,
        drop: Rng | None = None,
        rate: float = 0.0,
        once: bool = False,
        training: bool = False,
    ) -> Tensor:
        """A draw of the bound for the wanted symbols (B,T); with a `rate` it is none: that share is always masked.

        A network that sees its own guess has none yet where it is asked `once`.
        """
        t = strata(rng, len(batch.x), batch.x.device)  # (B,)
        u = torch.as_tensor(rng.at("mask").uniform(batch.x.shape[1]), device=batch.x.device)  # (B,T)
        if rate:
            t = self.schedule.time(torch.full_like(t, 1 - rate))
        schedule = self.schedule.learned(net.own)
        masked, weight = schedule.masked(self.masks, t, u, batch.wanted)  # (B,T), (B,)
        if rate:  # the mean over the masked ones, as many times as there are symbols
            weight = batch.wanted.sum(1) / masked.sum(1).clamp_min(1)
        assert net.spec.mask is not None
        noisy = batch.read.masked_fill(masked, net.spec.mask)
        beside = None if once else self._own_guess(net, noisy, given, batch.present)
        if self._gates:  # laws are looked up for what is masked alone
            read = replace(batch, x=batch.read)
            asked = beforehand(net, self._gates, lambda: asked_of(read, batch.known & ~masked, masked))
            out, _ = net(noisy, given=given, present=batch.present, rng=drop, beside=beside)
            logits = self._logits(net, out[masked], asked)  # (N,V)
            own = F.cross_entropy(logits, batch.x[masked], reduction="none")
            nats = torch.zeros_like(out[..., 0]).masked_scatter(masked, own)
        else:
            symbols = lengths.made(net.space, self.length)
            inputs = dict(given=given, present=batch.present, rng=drop, beside=beside)
            nats = cross_entropy(net, noisy, batch.x, masked, symbols, **inputs)
        if training and not rate:
            self.schedule.learn(net.own, self.masks, t, masked, batch.wanted, nats)
        return nats * weight.to(nats.dtype)[:, None]

    def _own_guess(self, net: Net, x: Tensor, given: Any, present: Tensor | None) -> Tensor | None:
        """What a network that sees its own guess sees beside a canvas that it has just guessed; else None.

        That is a function of the canvas, so what is scored with it is a law of sequences as any other.
        """
        if not self.self_conditioning:
            return None
        with torch.no_grad():
            out, _ = net(x, given=given, present=present)
        return self._guessed(net, x, out)

    def _guessed(self, net: Net, x: Tensor, out: Tensor) -> Tensor:
        """The chances (B,T,V) of the symbols in the hidden places of a canvas, by the network's outputs alone."""
        law = out[..., : lengths.made(net.space, self.length)].softmax(-1)
        return law.masked_fill(x.ne(net.spec.mask or 0).unsqueeze(-1), 0.0)

    def _logits(self, net: Net, out: Tensor, asked: Callable[[], Asked]) -> Tensor:
        """The logits (...,V) of the symbols that may stand in these places, from what the network says of them."""
        said = out[..., : -lengths.OUTPUTS] if self.length == "first" else out
        return with_laws(net, self._gates, said, asked)[..., : lengths.made(net.space, self.length)]

    def left_to_right(self, net: Net, batch: Batch, at_once: int = 64) -> Tensor:
        """Minus log probability (B,T) of each symbol when symbols are revealed from the left: exact for that order.

        Each conditional is normalised, so their product is a distribution over sequences. Costs T calls a row.
        """
        rows, steps = batch.x.shape
        nats = torch.zeros(rows, steps, device=batch.x.device)
        if self.length == "first":
            sized = Sized.of(batch, net.space)
            nats = sized.placed(sized.nats(net, net.encode(batch.given, rows)), steps)
            batch = sized.batch
        cases = [(b, t) for b in range(rows) for t in range(steps) if bool(batch.wanted[b, t])]
        position = torch.arange(steps, device=batch.x.device)
        for i in range(0, len(cases), at_once):
            row, t = torch.as_tensor(np.array(cases[i : i + at_once]).T, device=batch.x.device)
            hidden = (position >= t[:, None]) & batch.wanted[row]
            given = {n: Condition(c.x[row], c.present[row]) for n, c in batch.given.items()}
            x, present = batch.x[row], batch.present[row]
            ask = Ask(x.masked_fill(hidden, net.spec.mask or 0), t[:, None].cpu().numpy(), np.zeros(len(row), np.int64))
            own = net.encode(given, len(row))
            beside = self._own_guess(net, ask.x, own, present)
            out, _ = net(ask.x, given=own, present=present, where=t[:, None], beside=beside)
            begins = batch.begins[row, 0].cpu().numpy()
            seen = (present & ~hidden).cpu().numpy()
            asked = partial(asked_by, replace(ask, begin=np.where(begins, 0, 1)), seen)
            logits = self._logits(net, out, asked)
            nats = nats.to(out.dtype)
            nats[row, t] += F.cross_entropy(logits[:, 0], batch.x[row, t], reduction="none")
        return nats

    def lengths(self, net: Net, ask: Ask) -> Tensor | None:
        return lengths.law(net, ask) if self.length == "first" else None

    def keeps(self, net: Net, ask: Ask) -> int:
        return net.spec.beside

    def guess(
        self, net: Net, ask: Ask, state: NetState | None, limit: int | None = None
    ) -> tuple[Guess, NetState | None]:
        where = torch.as_tensor(np.maximum(ask.want, 0), device=ask.x.device)
        if ask.kept is None:
            out, _ = net(ask.x, given=ask.given, present=ask.present, where=where)
        else:  # what has been revealed since it was guessed is seen, and no longer guessed
            last = ask.kept.masked_fill(ask.x.ne(net.spec.mask or 0).unsqueeze(-1), 0.0)
            out, _ = net(ask.x, given=ask.given, present=ask.present, beside=last)
            ask.kept.copy_(self._guessed(net, ask.x, out))
            out = out.take_along_dim(where.unsqueeze(-1), 1)
        logits = self._logits(net, out, lambda: asked_by(ask, self._seen(net, ask)))
        if self.length == "first":
            logits = F.pad(logits, (0, 1), value=-torch.inf)
        return Guess(logits, np.asarray((ask.want >= 0).any(1))), state

    @staticmethod
    def _seen(net: Net, ask: Ask) -> NDArray[np.bool_]:
        """The symbols (B,T) of a canvas that are not masked."""
        assert net.spec.mask is not None
        seen = ask.x.ne(net.spec.mask)
        return (seen if ask.present is None else seen & ask.present).cpu().numpy()
