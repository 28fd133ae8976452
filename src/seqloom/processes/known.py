"""What stays of a network's inputs from step to step of a diffusion, and known positions that are read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqloom.processes.base import Net
from seqloom.processes.features import Frame
from seqloom.sequence.guess import Ask
from seqloom.sequence.state import Lengths, NetState


@dataclass(frozen=True)
class KnownInputs:
    """The inputs (B,T,C) of a network, of which only the values of cells that are to be made change."""

    values: Tensor
    """Of the cells (B,T,D) that stay."""
    stays: Tensor
    inputs: Tensor
    """Written anew at every step."""

    @classmethod
    def of(cls, inputs: Tensor, stays: Tensor) -> KnownInputs:
        """Of inputs whose first channels are the values, as they are where these stay."""
        return cls(inputs[..., : stays.shape[2]].clone(), stays, inputs.clone())

    def at(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The inputs and the values with these (B,T,D) where they do not stay; they hold until the next step."""
        values = torch.where(self.stays, self.values, x) if self.any_stays else x
        self.inputs[..., : x.shape[2]] = values
        return self.inputs, values

    @cached_property
    def any_stays(self) -> bool:
        """Whether any cell stays."""
        return bool(self.stays.any())


@dataclass(frozen=True)
class KnownCells:
    """What a network reads of some rows, in the `frame` that follows from what is known, where there is one."""

    shown: Tensor
    cells: Tensor
    """The cells that are shown (B,T,D), 0 elsewhere."""
    inputs: KnownInputs
    frame: Frame | None

    def holds(self, ask: Ask) -> bool:
        """Whether an ask of the same rows knows the same."""
        assert ask.shown is not None
        same = ask.x.shape == self.cells.shape and (ask.shown is self.shown or torch.equal(ask.shown, self.shown))
        if not same or self.nothing:
            return same
        return torch.equal(ask.x.masked_fill(~ask.shown, 0.0), self.cells)

    @cached_property
    def nothing(self) -> bool:
        """Whether no cell is shown."""
        return not bool(self.shown.any())


@dataclass(frozen=True)
class KnownPositions(KnownCells):
    """The state of a network that has read the positions of some rows with nothing to be made.

    The positions to be made are `open` (B,U), of each row so many patches of `patch` as `open_count` (B,) says;
    `inputs` are theirs. The last patch may go beyond the end.
    """

    state: NetState
    count: Lengths
    """How many patches of each row have been read."""
    open: Tensor
    open_count: Lengths
    patch: int

    @classmethod
    def read(
        cls, net: Net, ask: Ask, apart: Tensor, inputs: Tensor, frame: Frame | None, few: Ask, owner: Lengths
    ) -> KnownPositions:
        """Read the positions that are `apart` (F,T) of the `few` rows that differ, of which each row has an `owner`.

        `inputs` (F,T,C) are those of the few. Of a patch that is not known as a whole all positions are open.
        """
        assert ask.shown is not None
        assert few.shown is not None
        assert few.absent is not None
        patch, stays = net.patch, few.shown | few.absent
        present = torch.ones_like(apart) if few.present is None else few.present
        if extra := -apart.shape[1] % patch:
            apart, present = F.pad(apart, (0, extra), value=True), F.pad(present, (0, extra))
            stays = F.pad(stays, (0, 0, 0, extra), value=True)
            inputs = net.spec.filled_up(inputs, extra)
        closed, exists = (x.view(len(x), -1, patch) for x in (apart, present))
        closed, exists = closed.all(-1), exists.any(-1)
        known, at_known = _places(closed & exists)
        open_count, at_open = _places(~closed & exists)
        state = net.begin(len(owner), at_known.shape[1] + at_open.shape[1])
        if at_known.shape[1]:
            one = net.begin(len(known), at_known.shape[1])
            read = _at(inputs, _within(at_known, patch))
            net(read, given=few.given, state=one, count=known, position=at_known)
            state.put(np.arange(len(owner)), one, owner)
        places = _within(at_open, patch)
        own = KnownInputs.of(_at(inputs, places)[owner], _at(stays, places)[owner])
        return cls(ask.shown, ask.x, own, frame, state, known[owner], places[owner], open_count[owner], patch)

    def out(self, net: Net, ask: Ask, level: Tensor) -> Tensor:
        """What the network puts out (B,U,P) at the open positions, for an ask at this level (B,1|T)."""
        self.state.rollback(self.count)
        inputs, _ = self.inputs.at(self.of_open(ask.x))
        level = level if level.shape[1] == 1 else level.take_along_dim(self.open, 1)
        position = self.open[:, :: self.patch] // self.patch
        out, _ = net(inputs, level=level, given=ask.given, state=self.state, count=self.open_count, position=position)
        return out

    @cached_property
    def all_open(self) -> bool:
        """Whether every position of each row is to be made."""
        open_patches = self.open.shape[1] // self.patch
        return self.open.shape == self.shown.shape[:2] and bool((self.open_count == open_patches).all())

    def of_open(self, x: Tensor) -> Tensor:
        """Of (B,T,N) the open positions (B,U,N); what is alike at all positions (B,1,N) stays."""
        if x.shape[1] == 1 or self.all_open:
            return x
        extra = -x.shape[1] % self.patch
        return _at(F.pad(x, (0, 0, 0, extra)) if extra else x, self.open)

    def on_canvas(self, x: Tensor) -> Tensor:
        """Of the open positions (B,U,N) to the canvas (B,T,N), 0 elsewhere."""
        if self.all_open:
            return x
        steps = self.shown.shape[1]
        canvas = x.new_zeros(len(x), steps + -steps % self.patch, x.shape[2])
        return canvas.scatter(1, self.open.unsqueeze(-1).expand(-1, -1, x.shape[2]), x)[:, :steps]


@dataclass(frozen=True)
class KnownBlocks:
    """The state of a network that has read the finished blocks of some rows, each given those before it.

    `symbols` (B,T) are those that stood on the canvases when they were read.
    """

    size: int
    state: NetState
    symbols: Tensor

    @classmethod
    def read(cls, net: Net, ask: Ask, size: int, begin: Lengths, before: KnownBlocks | None) -> KnownBlocks:
        """Read what stands before the blocks that begin at `begin` (B,), as far as it was not read before."""
        x = ask.x
        if before is None or before.symbols.shape != x.shape:
            before = cls(size, net.begin(*x.shape), x.clone())
        state, symbols = before.state, before.symbols
        alike = x.eq(symbols).long().cumprod(1).sum(1).cpu().numpy()
        state.rollback(np.minimum(alike // size * size, begin))
        symbols.copy_(x)
        while (reads := np.where(state.length < begin, size, 0)).any():
            chunk, position = before._chunk(x)
            net.features(chunk, given=ask.given, state=state, count=reads, position=position)
        return before

    def out(self, net: Net, ask: Ask, begin: Lengths) -> Tensor:
        """What the network puts out (B,K,P) at the wanted positions, all of which lie in the block after what is read.

        Rows that want nothing read nothing.
        """
        steps = np.full(len(ask.x), ask.x.shape[1]) if ask.present is None else ask.present.sum(1).cpu().numpy()
        reads = np.where(ask.want.max(1) >= 0, np.clip(steps - begin, 0, self.size), 0)
        where = torch.as_tensor(np.clip(ask.want - begin[:, None], 0, self.size - 1), device=ask.x.device)
        chunk, position = self._chunk(ask.x)
        out, _ = net(chunk, given=ask.given, where=where, state=self.state, count=reads, position=position)
        self.state.rollback(begin)
        return out

    def _chunk(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The block (B,size) of each canvas after what is read, and its positions, of which not all need exist."""
        position = torch.as_tensor(self.state.length[:, None] + np.arange(self.size), device=x.device)
        position = position.clamp_max(x.shape[1] - 1)
        return x.gather(1, position), position


def distinct(ask: Ask, multiple: int) -> tuple[Ask, Lengths]:
    """The rows of an ask that differ from the row before them, and which of these each row is (B,).

    They are a `multiple` of rows, for the numbers of a row must not depend on how many there are.
    """
    alike = np.ones(len(ask.x) - 1, bool) if ask.given is None else ask.given.goes_on(len(ask.x))
    for part in (ask.x, ask.shown, ask.absent, ask.present):
        if part is not None:
            alike = alike & (part[1:] == part[:-1]).flatten(1).all(1).cpu().numpy()
    owner = np.concatenate([[0], np.cumsum(~alike)])
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    return ask.select(first[np.minimum(np.arange(len(first) + -len(first) % multiple), len(first) - 1)]), owner


def _at(x: Tensor, places: Tensor) -> Tensor:
    """Of (B,T,N) these positions (B,U), (B,U,N)."""
    return x.take_along_dim(places.unsqueeze(-1), 1)


def _within(patches: Tensor, size: int) -> Tensor:
    """The positions (B,K*size) of these patches (B,K)."""
    return (patches.unsqueeze(-1) * size + torch.arange(size, device=patches.device)).flatten(1)


def _places(chosen: Tensor) -> tuple[Lengths, Tensor]:
    """How many positions of each row (B,T) are chosen, and which (B,K), from the left; others fill up shorter rows."""
    count = chosen.sum(1).cpu().numpy()
    order = (~chosen).to(torch.uint8).argsort(dim=1, stable=True)
    return count, order[:, : int(count.max(initial=0))]
