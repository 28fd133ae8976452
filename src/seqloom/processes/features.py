"""Features: what is read off the canvas beside the network, in training, scoring and sampling alike."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional

from seqloom.core.config import Component
from seqloom.core.errors import UnsupportedSpace
from seqloom.sequence.batch import Past
from seqloom.sequence.space import Space, Tokens


@dataclass(frozen=True)
class Visible:
    """Cells of rows (B,T[,D]), as far as they may be seen.

    Every position may read the cells that are `shown`, and of the other `known` ones those that are filled before it:
    for an autoregressive model all before it, for one that fills in any order none (only those that are shown).
    `begins` (B,T) marks where a sequence begins inside a row (None: nowhere); `past` holds elements before the row.
    """

    x: Tensor
    known: Tensor
    shown: Tensor
    begins: Tensor | None = None
    past: Past | None = None

    def before(self, position: Tensor, back: int) -> tuple[Tensor, Tensor]:
        """The elements `back` before these positions (B,K), and which of their cells are known."""
        x, known, length = self._with_past
        index = position + (length - back)  # (B,K), into the past and x together
        exists = index >= 0
        index = index.clamp(0, x.shape[1] - 1)
        if self._sequence is not None:
            own = self._sequence.take_along_dim(position + length, 1)
            exists &= self._sequence.take_along_dim(index, 1) == own
        if x.ndim == 3:
            index, exists = index.unsqueeze(-1), exists.unsqueeze(-1)
        known = known.take_along_dim(index, 1) & exists
        return x.take_along_dim(index, 1).masked_fill(~known, 0), known

    @cached_property
    def _with_past(self) -> tuple[Tensor, Tensor, int]:
        """The past and the rows together, which of their cells are known, and how long the past is."""
        if self.past is None:
            return self.x, self.known, 0
        x, known = self.past.x.to(self.x), self.past.known
        return torch.cat([x, self.x], 1), torch.cat([known, self.known], 1), x.shape[1]

    @cached_property
    def _sequence(self) -> Tensor | None:
        """The number of each element's sequence in its row; None where each row is of one, which the past is of too."""
        if self.begins is None or not self.begins[:, 1:].any():
            return None
        return functional.pad(self.begins[:, 1:].cumsum(1), (self._with_past[2] + 1, 0))


@dataclass(frozen=True)
class Read:
    """A feature's values at some positions: inputs for the network (B,K,C), and what the head is to take.

    Real numbers are distributed about `location` (B,K,D) and in units of exp(`log_scale`) (B,K,D), positive ones and
    the mean of counts in units of it; `logits` (B,K,V) are added to those of symbols.
    """

    channels: Tensor | None = None
    location: Tensor | None = None
    log_scale: Tensor | None = None
    logits: Tensor | None = None


class Feature(Component, home="seqloom.processes"):
    """Numbers that follow from the canvas: a season ago, the scale of what is shown, how often a symbol stood there.

    Its values at a position must not depend on that position, nor on those that are filled after it.
    """

    @property
    def past(self) -> int:
        """How many elements before a window it depends on."""
        return 0

    @property
    def located(self) -> bool:
        """Whether it gives a location."""
        return False

    @property
    def spread(self) -> bool:
        """Whether it gives a scale."""
        return False

    def channels(self, space: Space) -> int:
        """How many input channels it adds; UnsupportedSpace where it means nothing."""
        return 0

    @abstractmethod
    def read(self, space: Space, visible: Visible, position: Tensor) -> Read:
        """Its values at these positions (B,K) of the canvas."""


class Lags(Feature, name="lags"):
    """Elements of a season ago, or of several, as inputs; and what is learned as the change since one of them."""

    lags: tuple[PositiveInt, ...] = ()
    """The lags that are inputs at each position."""
    difference: int = Field(default=0, ge=0)
    """The change since so many elements ago is what is learned; 0: the elements themselves."""

    @property
    def past(self) -> int:
        return max((*self.lags, self.difference))

    @property
    def located(self) -> bool:
        return self.difference > 0

    @property
    def channel_lags(self) -> list[int]:
        """The lags that have channels; the element just before each is an input anyway."""
        return sorted({*self.lags, self.difference} - {0, 1})

    def channels(self, space: Space) -> int:
        if isinstance(space, Tokens):
            raise UnsupportedSpace(
                "symbols have no lags and no differences", hint="leave process.lags and process.difference unset"
            )
        return 3 * space.dim * len(self.channel_lags)

    def read(self, space: Space, visible: Visible, position: Tensor) -> Read:
        parts = []
        for back in self.channel_lags:
            x, known = visible.before(position, back)
            parts += [x, known.to(x.dtype), (~known).to(x.dtype)]
        location = visible.before(position, self.difference)[0] if self.difference else None
        return Read(torch.cat(parts, -1) if parts else None, location)


def combined(reads: list[Read]) -> Read:
    """Several features as one: channels beside each other, the rest added up."""

    def total(parts: list[Tensor | None]) -> Tensor | None:
        present = [part for part in parts if part is not None]
        return torch.stack(present).sum(0) if present else None

    channels = [read.channels for read in reads if read.channels is not None]
    return Read(
        torch.cat(channels, -1) if channels else None,
        total([read.location for read in reads]),
        total([read.log_scale for read in reads]),
        total([read.logits for read in reads]),
    )
