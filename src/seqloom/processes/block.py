"""Block diffusion: symbols are masked within a block, which is restored given all blocks before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from seqloom.core.errors import UnsupportedQuery, UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.processes.base import Likelihood, Loss, Net, Process, cross_entropy, stateless, strata
from seqloom.processes.filling import with_gaps
from seqloom.processes.known import KnownBlocks
from seqloom.processes.schedules import LinearMasking, Masking, Masks
from seqloom.sequence.batch import Batch, Condition
from seqloom.sequence.guess import Ask, Gives, Guess
from seqloom.sequence.space import Space, Tokens
from seqloom.sequence.spec import NetworkSpec
from seqloom.sequence.state import Lengths, NetState

AT_ONCE = 64
"""Rows of one call, where each block takes a call of its own."""


class Block(Process, name="block"):
    """Masked diffusion within blocks, each given all before it (Arriola et al. 2025): a bound.

    Blocks of one symbol are an autoregressive model, and the value is exact; one block as long as the window is
    `masked`. What is known after a block is not seen by it, but where gaps are learned (`infill`).
    """

    gives: ClassVar[Gives] = Gives.PLACE_LOGITS
    sampler: ClassVar[str] = "unmask"

    size: int = Field(default=16, ge=1)
    """Symbols of a block."""
    schedule: Masking = LinearMasking()
    """How fast symbols vanish."""
    masks: Masks = "counted"
    """`independent`: each symbol by itself, as the papers have it; `counted`: as many as are due: less variance."""

    infill: float = Field(default=0.0, ge=0, le=1)
    """The share of the rows in which a gap is learned given all around it, as `masked` does, so that gaps can be
    filled; 0: a gap that something follows in a later block is refused."""

    @property
    def likeliest(self) -> Mapping[str, Any]:
        return {"name": "confident", "temperature": 0.0}

    @property
    def block_size(self) -> int | None:
        return self.size

    def spec(self, space: Space) -> NetworkSpec:
        return masked_spec(space)

    def module(self, space: Space) -> nn.Module | None:
        return self.schedule.module()

    def loss(self, net: Net, batch: Batch, rng: Rng, state: Any = None, drop: Rng | None = None) -> Loss:
        whole = None
        if self.infill:
            batch, whole = with_gaps(batch, rng.at("infill"), self.infill)
        return Loss(self.bound(net, batch, rng, drop, whole, training=True).sum(), batch.wanted.sum())

    def likelihoods(self) -> dict[str, Likelihood]:
        if self.size == 1:
            exact = stateless(lambda net, batch, rng: one_by_one(net, batch))
            return {"likelihood": Likelihood("exact", "windows", exact, share=64)}
        return {"likelihood": Likelihood("bound", "windows", stateless(self.bound), draws=8)}

    def bound(
        self,
        net: Net,
        batch: Batch,
        rng: Rng,
        drop: Rng | None = None,
        whole: NDArray[np.bool_] | None = None,
        training: bool = False,
    ) -> Tensor:
        """One draw of the bound's terms (B,T); each block has a time of its own, and rows (B,) that are `whole` one."""
        rows, steps = batch.x.shape
        count, device = -(-steps // self.size), batch.x.device
        extra = count * self.size - steps
        each = rows * count
        t = strata(rng, each, device)
        u = torch.as_tensor(rng.at("mask").uniform(steps), device=device)
        schedule = self.schedule.learned(net.own)

        def in_blocks(x: Tensor) -> Tensor:
            return F.pad(x, (0, extra)).view(each, self.size)

        masked, weight = schedule.masked(self.masks, t, in_blocks(u), in_blocks(batch.wanted))
        masked = masked.view(rows, -1)[:, :steps]
        weight = weight.view(rows, count).repeat_interleave(self.size, 1)[:, :steps]
        block = (torch.arange(steps, device=device) // self.size).expand(rows, -1)
        if count > 1 and not net.separable:  # one block a row, for all
            chosen = torch.as_tensor((rng.at("block").uniform(1) * count).astype(np.int64), device=device)
            masked, weight = masked & (block == chosen), weight * count
        if whole is not None:
            one = torch.as_tensor(whole, device=device).unsqueeze(1)
            own, worth = schedule.masked(self.masks, t[::count], u, batch.wanted)
            masked, weight = torch.where(one, own, masked), torch.where(one, worth.unsqueeze(1), weight)
            block = block.masked_fill(one, 0)
        nats = read(net, batch, masked, block, drop, alone=count == 1)
        if training and whole is None:
            self.schedule.learn(net.own, self.masks, t, in_blocks(masked), in_blocks(batch.wanted), in_blocks(nats))
        return nats * weight.to(nats.dtype)

    def read_known(self, net: Net, ask: Ask, before: Any = None, multiple: int = 1) -> KnownBlocks | None:
        """Finished blocks, where they can be read by themselves and each row asks about one block."""
        begin = self._begin(ask)
        several = (ask.want >= begin[:, None] + self.size).any()
        if several or not net.separable or ask.x.shape[1] <= self.size or self._followed(net, ask).any():
            return None
        return KnownBlocks.read(net, ask, self.size, begin, before)

    def _begin(self, ask: Ask) -> Lengths:
        """Where the first block begins that each row (B,) asks about; 0 where it asks about none."""
        first = np.where(ask.want >= 0, ask.want, np.iinfo(np.int64).max).min(1)
        return np.where(ask.want.max(1) >= 0, first // self.size * self.size, 0)

    def guess(
        self, net: Net, ask: Ask, state: NetState | None, limit: int | None = None
    ) -> tuple[Guess, NetState | None]:
        followed = self._followed(net, ask)
        if followed.any() and not self.infill:
            raise UnsupportedQuery(
                f"each block of {self.size} is made from those before it; something is known after one that has a gap",
                hint="train with process.infill=0.5 or process=masked, or use extend",
            )
        if ask.read is not None:
            return Guess(ask.read.out(net, ask, self._begin(ask)), np.asarray((ask.want >= 0).any(1))), state
        block = np.arange(ask.x.shape[1]) // self.size
        return guessed(net, ask, block * ~followed[:, None]), state

    def _followed(self, net: Net, ask: Ask) -> NDArray[np.bool_]:
        """The rows (B,) in which something is known in a block after all that are asked about."""
        last = np.where(ask.want.max(1) >= 0, ask.want.max(1) // self.size, np.iinfo(np.int64).max)
        after = np.arange(ask.x.shape[1]) // self.size > last[:, None]  # (B,T)
        known = ask.x.ne(net.spec.mask or 0)
        known = known if ask.present is None else known & ask.present
        return np.asarray((known.cpu().numpy() & after).any(1))


def masked_spec(space: Space) -> NetworkSpec:
    """The ends of a network that sees symbols and a mask."""
    if not isinstance(space, Tokens):
        raise UnsupportedSpace(
            "masked symbols are learned, not vectors", hint="use process=gaussian, or an autoregressive model"
        )
    return NetworkSpec(True, space.total + 1, space.total, block=None, timed=False, mask=space.total)


def read(
    net: Net, batch: Batch, masked: Tensor, block: Tensor, drop: Rng | None = None, *, alone: bool = False
) -> Tensor:
    """The cross-entropy (B,T) of masked symbols given what is left of their `block` (B,T) and all blocks before it.

    Attention reads the canvas twice in one call, as it is masked and as it is, and each masked block attends to the
    earlier ones that are not. Other mixers see one canvas: of a row only one block may have masks, and what lies after
    it is masked too. Rows of one block each, `alone`, are read once by all.
    """
    assert net.spec.mask is not None
    rows, steps = batch.x.shape
    noisy = batch.read.masked_fill(masked, net.spec.mask)
    given = net.encode(batch.given, rows)
    if net.separable and not alone:
        twice = torch.cat([block, block], 1)  # (B,2T)
        clean = torch.arange(2 * steps, device=block.device) >= steps
        reader, other = twice.unsqueeze(2), twice.unsqueeze(1)
        own = (reader == other) & (clean.unsqueeze(1) == clean)
        seen = (own | ((other < reader) & clean)) & torch.cat([batch.present, batch.present], 1).unsqueeze(1)
        position = torch.arange(steps, device=block.device).expand(rows, -1)
        return cross_entropy(
            net,
            torch.cat([noisy, batch.read], 1),
            batch.x,
            masked,
            where=position,
            given=given,
            position=position.repeat(1, 2),
            mask=seen | torch.eye(2 * steps, dtype=torch.bool, device=block.device),
            rng=drop,
        )
    if not alone:
        last = block.masked_fill(~masked, -1).amax(1, keepdim=True)
        noisy = noisy.masked_fill(block > last, net.spec.mask)
    return cross_entropy(net, noisy, batch.x, masked, given=given, present=batch.present, rng=drop)


def one_by_one(net: Net, batch: Batch) -> Tensor:
    """Minus log probability (B,T) of each symbol given those before it: exact. T calls a row, one with attention."""
    rows, steps = batch.x.shape
    block = torch.arange(steps, device=batch.x.device).expand(rows, -1)
    if net.separable:
        return read(net, batch, batch.wanted, block)
    row, t = batch.wanted.nonzero(as_tuple=True)
    nats = torch.zeros(rows, steps, device=batch.x.device)
    for first in range(0, len(row), AT_ONCE):
        own, at = row[first : first + AT_ONCE], t[first : first + AT_ONCE]
        given = {n: Condition(c.x[own], c.present[own]) for n, c in batch.given.items()}
        some = Batch(batch.x[own], batch.present[own], batch.known[own], batch.shown[own], batch.begins[own], given)
        found = read(net, some, block[own] == at.unsqueeze(1), block[own])
        nats = nats.to(found.dtype)
        nats[own, at] = found.sum(1)
    return nats


def guessed(net: Net, ask: Ask, block: NDArray[np.int64]) -> Guess:
    """Logits at the wanted positions, each from its own block (B,T) of the canvas and those before it."""
    assert net.spec.mask is not None
    device, wanted = ask.x.device, np.maximum(ask.want, 0)
    where, ready = torch.as_tensor(wanted, device=device), np.asarray((ask.want >= 0).any(1))
    if net.separable and (block != block[:, :1]).any():
        number = torch.as_tensor(block, device=device)
        seen = number.unsqueeze(1) <= number.unsqueeze(2)  # (B,T,T)
        if ask.present is not None:
            seen = seen & ask.present.unsqueeze(1)
        seen = seen | torch.eye(block.shape[1], dtype=torch.bool, device=device)
        out, _ = net(ask.x, given=ask.given, where=where, mask=seen)
        return Guess(out, ready)
    after = block > np.take_along_axis(block, wanted, 1).max(1, keepdims=True)
    x = ask.x.masked_fill(torch.as_tensor(after, device=device), net.spec.mask)
    out, _ = net(x, given=ask.given, present=ask.present, where=where)
    return Guess(out, ready)
