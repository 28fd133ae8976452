"""Autoregressive models: each element from those before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from seqloom.core.errors import UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.processes.base import Likelihood, Loss, Net, Process, channels
from seqloom.processes.composed import Composed
from seqloom.processes.heads import BoundHead, Categorical, Head
from seqloom.sequence.batch import Batch
from seqloom.sequence.guess import Ask, Gives, Guess
from seqloom.sequence.space import Space, Tokens
from seqloom.sequence.spec import NetworkSpec
from seqloom.sequence.state import Lengths, NetState, State, under


@dataclass
class Carried(State):
    """What the next chunk goes on from: the network's state and each row's last elements, as many as are looked at.

    An element of an earlier sequence stands as one that is not known.
    """

    state: NetState
    x: Tensor
    known: Tensor

    def tensors(self) -> dict[str, Tensor]:
        net = {f"net.{name}": value for name, value in self.state.tensors().items()}
        return {"x": self.x.contiguous(), "known": self.known.contiguous(), **net}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.x, self.known = tensors["x"], tensors["known"]
        self.state.load(under("net", tensors))

    def select(self, rows: Lengths) -> Carried:
        return Carried(self.state.select(rows), self.x[rows], self.known[rows])

    def detach(self) -> Carried:
        return Carried(self.state.detach(), self.x, self.known)


class Autoregressive(Process, name="autoregressive"):
    """p(x) = product of p(x_t | x_<t), exact; tokens by default with one probability a symbol, vectors by normals."""

    gives: ClassVar[Gives] = Gives.NEXT_LOGITS
    sampler: ClassVar[str] = "ancestral"

    head: Head | None = None
    """The distribution of one element; None: categorical for tokens, normal for vectors."""
    lags: tuple[PositiveInt, ...] = ()
    """How far back each position of a series sees beside the element just before it: its seasons."""
    difference: int = Field(default=0, ge=0)
    """What is learned of a series: the change since so many elements ago; 0: the elements themselves."""

    @property
    def looks(self) -> tuple[int, ...]:
        """How far back each position looks."""
        return tuple(sorted({1, *self.lags, self.difference or 1}))

    def kind_of_guess(self, space: Space) -> Gives:
        return Gives.NEXT_LOGITS if isinstance(space, Tokens) else Gives.NEXT_PARAMS

    @property
    def incremental(self) -> bool:
        return True

    def head_for(self, space: Space) -> Head:
        """The head that is used for this space: fields that the one of the settings leaves have their support's."""
        if isinstance(space, Tokens):
            head: Head = self.head or Categorical()
            if not head.fits(space):
                raise UnsupportedSpace(
                    f"the head {head.name!r} is no distribution over tokens", hint="leave process.head unset"
                )
            return head
        return self.head if isinstance(self.head, Composed) else Composed(heads=(self.head,) if self.head else ())

    def module(self, space: Space) -> nn.Module | None:
        return self.head_for(space).module(space)

    def _bound(self, net: Net) -> BoundHead:
        """The head with what it is used with."""
        return BoundHead(self.head_for(net.space), net.space, net.own, located=self.difference > 0)

    def spec(self, space: Space) -> NetworkSpec:
        size = self.head_for(space).size(space)
        if isinstance(space, Tokens):
            if self.lags or self.difference:
                raise UnsupportedSpace(
                    "symbols have no lags and no differences", hint="leave process.lags and process.difference unset"
                )
            return NetworkSpec(True, space.total + 1, size, block=1, timed=False, start=space.total)
        return NetworkSpec(False, 3 * space.dim * len(self.looks) + 1, size, block=1, timed=False)

    def loss(self, net: Net, batch: Batch, rng: Rng, state: Any = None, drop: Rng | None = None) -> Loss:
        nats, state = self.nats(net, batch, rng, state, drop)
        return Loss(nats.sum(), batch.wanted.sum(), state)

    def likelihoods(self) -> dict[str, Likelihood]:
        def nats(net: Net, batch: Batch, rng: Rng, state: Any) -> tuple[Tensor, Any]:
            return self.nats(net, batch, rng, state)

        return {"likelihood": Likelihood("exact", "stream", nats)}

    def nats(
        self, net: Net, batch: Batch, rng: Rng, carried: Carried | None, drop: Rng | None = None
    ) -> tuple[Tensor, Carried | None]:
        """Minus log probability (B,T) of the wanted cells of each element, and what the next chunk goes on from.

        Without `carried` every row starts anew. With it, a row goes on unless its first position begins a sequence.
        """
        state = None
        if carried is not None:
            fresh = np.nonzero(batch.begins[:, 0].cpu().numpy())[0]
            state = carried.state
            if len(fresh):
                state = state.select(np.arange(len(batch.x)))
                state.clear(fresh)
        inputs, since, last = self.inputs(net, batch, carried)
        given = net.encode(batch.given, len(batch.x))
        out, after = net(inputs, given=given, present=batch.present, state=state, rng=drop)
        params = out if since is None else torch.cat([out, since.to(out.dtype)], -1)
        x = batch.x if isinstance(net.space, Tokens) else batch.x.to(out.dtype)
        nats = self._bound(net).nats(params, x, batch.wanted)
        return nats, Carried(after, *last) if after is not None else None

    def start(self, net: Net, rows: int) -> Carried:
        """What a stream that is read in chunks goes on from at its very beginning (the first position must begin)."""
        shape: tuple[int, ...] = (rows, max(self.looks))
        if isinstance(net.space, Tokens):
            x = torch.zeros(shape, dtype=torch.int64)
        else:
            x = torch.zeros((*shape, net.space.dim))
        return Carried(net.begin(rows, 0), x, torch.zeros_like(x, dtype=torch.bool))

    def inputs(
        self, net: Net, batch: Batch, carried: Carried | None
    ) -> tuple[Tensor, Tensor | None, tuple[Tensor, Tensor]]:
        """What each position sees of those before it, what it is a change from, and the elements to carry on."""
        begins = batch.begins.clone()
        most, length = max(self.looks), batch.x.shape[1]
        if carried is None:
            begins[:, 0] = True
            past = torch.zeros_like(batch.x[:, :1]).repeat_interleave(most, 1)
            past_known = torch.zeros_like(past, dtype=torch.bool)
        else:
            past, past_known = carried.x.to(batch.x), carried.known
        x, known = torch.cat([past, batch.x], 1), torch.cat([past_known, batch.known], 1)
        sequence = F.pad(begins.cumsum(1), (most, 0))  # what was carried belongs to the one that goes on
        sequence = sequence.reshape(sequence.shape + (1,) * (x.ndim - 2))
        seen = {}
        for look in self.looks:
            there = slice(most - look, most - look + length)
            seen[look] = x[:, there], known[:, there] & (sequence[:, there] == sequence[:, most:])
        last = x[:, -most:], known[:, -most:] & (sequence[:, -most:] == sequence[:, -1:])
        return *self._enter(net.spec, seen, begins), last

    def _enter(
        self, spec: NetworkSpec, seen: dict[int, tuple[Tensor, Tensor]], begins: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The network's inputs from the (elements, known) at each look, and what the output is a change from."""
        if spec.symbolic:
            assert spec.start is not None
            return seen[1][0].masked_fill(begins, spec.start), None
        parts = [channels(x, known, ~known) for x, known in seen.values()]
        # The start is a channel of its own, so the learned start vector is that channel's weight.
        inputs = torch.cat([*parts, begins.unsqueeze(-1).to(parts[0].dtype)], -1)
        if not self.difference:
            return inputs, None
        since, known = seen[self.difference]
        return inputs, since.masked_fill(~known, 0.0)

    def guess(
        self, net: Net, ask: Ask, state: NetState | None, limit: int | None = None
    ) -> tuple[Guess, NetState | None]:
        assert state is not None
        rows = len(ask.want)
        last = ask.want.max(1)
        active = last >= 0
        origin = np.where(active, slide(last, net.reach), state.origin[:rows])
        moved = origin != state.origin[:rows]
        if moved.any():
            state.rollback(np.where(moved, 0, state.length[:rows]))
            state.origin[:rows] = origin
        first = np.where(ask.want >= 0, ask.want, np.iinfo(np.int64).max).min(1)
        begin = np.where(
            active, np.minimum(state.length[:rows], np.minimum(ask.fixed, first) - origin), state.length[:rows]
        )
        state.rollback(begin)
        need = np.where(active, last + 1 - origin - begin, 0)
        count = need if limit is None else np.minimum(need, limit)
        inputs, since = self._read(net.spec, ask, origin + begin, origin, int(count.max(initial=1)))
        place = np.clip(ask.want - (origin + begin)[:, None], 0, inputs.shape[1] - 1)
        where = torch.as_tensor(place, device=inputs.device)
        out, state = net(inputs, given=ask.given, where=where, state=state, count=count)
        head = None if isinstance(net.space, Tokens) else self._bound(net)
        if since is not None:
            out = torch.cat([out, since.take_along_dim(where.unsqueeze(-1), 1).to(out.dtype)], -1)
        return Guess(out, active & (count == need), head), state

    def _read(
        self, spec: NetworkSpec, ask: Ask, begin: Lengths, origin: Lengths, steps: int
    ) -> tuple[Tensor, Tensor | None]:
        """The inputs at positions begin..begin+steps-1 of the canvas, of which nothing before `origin` is seen."""
        place = begin[:, None] + np.arange(steps)
        seen = {}
        for look in self.looks:
            index = torch.as_tensor(np.clip(place - look, 0, ask.x.shape[1] - 1), device=ask.x.device)
            there = torch.as_tensor(place - look >= origin[:, None], device=ask.x.device)
            if not spec.symbolic:
                index, there = index.unsqueeze(-1), there.unsqueeze(-1)
            x = ask.x.take_along_dim(index, 1)
            known = there.expand_as(x) if ask.absent is None else there & ~ask.absent.take_along_dim(index, 1)
            seen[look] = x, known
        return self._enter(spec, seen, torch.as_tensor(place <= origin[:, None], device=ask.x.device))


def slide(position: Lengths, reach: int | None) -> Lengths:
    """Where the reading of a row that wants `position` begins: windows of `reach` that move by half of it."""
    if reach is None:
        return np.zeros_like(position)
    half = max(1, reach // 2)
    return np.maximum(0, (position - reach) // half + 1) * half
