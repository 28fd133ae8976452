"""Features: what is read off the canvas beside the network, in training, scoring and sampling alike."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional

from seqloom.core.config import Component
from seqloom.core.errors import UnsupportedSpace
from seqloom.processes.base import channels
from seqloom.sequence.batch import Past
from seqloom.sequence.facts import MOMENTUM, Advice, Facts
from seqloom.sequence.laws import Counts, Laws
from seqloom.sequence.space import Space, Tokens, Vectors

Sums = tuple[Tensor, Tensor, Tensor]
"""How many cells are known, their sum, and the sum of their squares, in float64 (B,K,D) each."""
Carried = dict[int, tuple[int, Sums]]
"""For windows of so many elements: where on the canvas the last one of all rows began, and its sums."""
ANEW = 64
"""Sums that move with a window are added up anew at every so many positions: what rounding adds up to stays small."""
FAR = 1e4
"""And where one leaves whose square is so many times the sum of what stays, whose last digits it took."""
COUNTED = 500
"""Elements of a training split from which on second moments are worth counting."""
INERTIA = 0.9
"""From so much of the last change on that is there again the last value moved on says all that is known linearly."""


@dataclass(frozen=True)
class Visible:
    """Cells of rows (B,T[,D]), as far as they may be seen.

    Every position may read the cells that are `shown`, and of the other `known` ones those that are filled before it:
    for an autoregressive model all before it, for one that fills in any order none (only those that are shown).
    `begins` (B,T) marks where a sequence begins inside a row (None: nowhere); `past` holds elements before the row.
    `ordered` says that positions are filled from left to right.
    """

    x: Tensor
    known: Tensor
    shown: Tensor
    begins: Tensor | None = None
    past: Past | None = None
    ordered: bool = True
    laws: Laws | None = None
    """What was counted in the training split beside the network."""
    carried: Carried | None = None
    offset: int = 0
    """Where on the canvas the first of these elements stands: what is carried from call to call goes by that."""

    def before(self, position: Tensor, *backs: int) -> list[tuple[Tensor, Tensor]]:
        """For each of `backs` the elements so far before these positions (B,K), and which of their cells are known.

        All are gathered at once: in decoding every small operation counts.
        """
        x, known, length = self._with_past
        if not backs:
            return []
        if self._sequence is None and position.shape[1] == 1 and (same := _same(position)) is not None:
            index = torch.tensor(backs, device=position.device).neg_() + (same + length)
            exists, index = index >= 0, index.clamp_min_(0)
            if x.ndim == 3:
                exists = exists.unsqueeze(-1)
            known = known.index_select(1, index) & exists
            x = x.index_select(1, index).masked_fill(~known, 0)
            return list(zip(x.chunk(len(backs), 1), known.chunk(len(backs), 1), strict=True))
        if len(backs) > 1:
            offsets = torch.tensor(backs, device=position.device).repeat_interleave(position.shape[1])
            position = position.repeat(1, len(backs))
            index = position + length - offsets  # (B,M*K), into the past and x together
        else:
            index = position + (length - backs[0])
        exists = index >= 0
        index = index.clamp_min(0)
        if self._sequence is not None:
            own = self._sequence.take_along_dim(position + length, 1)
            exists &= self._sequence.take_along_dim(index, 1) == own
        if x.ndim == 3:
            index, exists = index.unsqueeze(-1), exists.unsqueeze(-1)
        known = known.take_along_dim(index, 1) & exists
        x = x.take_along_dim(index, 1).masked_fill(~known, 0)
        return list(zip(x.chunk(len(backs), 1), known.chunk(len(backs), 1), strict=True))

    def held(self, position: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """The `length` elements before these positions (B,K,D,L), the farthest first, and how many there are (B,K,D).

        A cell that is not known is as the last known one of the same sequence; they are counted from the first known
        one on, and what stands before it means nothing.
        """
        x, known, past = self._with_past
        index = torch.arange(x.shape[1], device=x.device)[None, :, None]
        last = torch.where(known, index, 0).cummax(1).values
        following = torch.where(known, index, x.shape[1]).flip(1).cummin(1).values.flip(1)
        end = position + past  # (B,K)
        begin = torch.zeros_like(end) if self._first is None else self._first.take_along_dim(end, 1)
        first = following.take_along_dim(begin.unsqueeze(-1), 1)
        filled = functional.pad(x.take_along_dim(last, 1), (0, 0, length, 0))
        before = filled.unfold(1, length, 1)  # (B,1+L+T,D,L), of each position
        start = int(end[0, 0])
        if bool((end == start + torch.arange(end.shape[1], device=end.device)).all()):
            before = before[:, start : start + end.shape[1]]
        else:
            before = before.take_along_dim(end[..., None, None], 1)
        return before, (end.unsqueeze(-1) - first).clamp(0, length)

    def sums(self, position: Tensor, length: int) -> Sums:
        """Of the `length` elements before these positions (B,K) that may be read, in float64 (B,K,D) each.

        How many cells are known, their sum, and the sum of their squares. Where positions are filled in any order all
        that is shown counts, wherever it stands.
        """
        x, known, past = self._with_past
        if not self.ordered:
            cells = self.known & self.shown
            if self.past is not None:
                cells = torch.cat([self.past.known, cells], 1)
            wide = x.double().masked_fill(~cells, 0.0)
            parts = (cells.double(), wide, wide**2)
            return tuple(part.sum(1, keepdim=True).expand(-1, position.shape[1], -1) for part in parts)  # type: ignore[return-value]
        end = position + past  # (B,K)
        begin = (end - length).clamp_min(0)
        if self._first is not None:
            begin = begin.maximum(self._first.take_along_dim(end, 1))
        if position.shape[1] == 1:  # its window alone is added up
            same = _same(end) if self._first is None else None
            if same is not None and same >= length:
                return self._moved(x, known, same - length, length)
            index = end.unsqueeze(-1) - length + torch.arange(length, device=end.device)  # (B,K,L)
            inside = (index >= begin.unsqueeze(-1)).flatten(1).unsqueeze(-1)  # (B,K*L,1)
            index = index.clamp_min(0).flatten(1).unsqueeze(-1)
            return _counted(x.take_along_dim(index, 1), known.take_along_dim(index, 1) & inside)
        counted = []
        for running in self._running:  # (B,1+L+T,D)
            ends, begins = (running.take_along_dim(at.unsqueeze(-1), 1) for at in (end, begin))
            counted.append(ends - begins)
        return counted[0], counted[1], counted[2]

    def _moved(self, x: Tensor, known: Tensor, first: int, length: int) -> Sums:
        """Sums over `length` elements from `first` on; from those of the last call where the window moved by one."""
        at, sums = self.offset + first, None
        before = None if self.carried is None else self.carried.get(length)
        if first and at % ANEW and before is not None and before[0] == at - 1:
            left, entered = (_counted(x[:, i : i + 1], known[:, i : i + 1]) for i in (first - 1, first + length - 1))
            count, total, squares = (kept + new - old for kept, new, old in zip(before[1], entered, left, strict=True))
            if not bool((left[2] > FAR * squares).any()):
                sums = count, total, squares
        if sums is None:
            sums = _counted(x[:, first : first + length], known[:, first : first + length])
        if self.carried is not None:
            self.carried[length] = at, sums
        return sums

    def differenced(self, share: float = 1.0) -> Visible:
        """Each cell less `share` of the one before it, known where both are, of the same sequence and shown."""
        x, known, past = self._with_past
        shown = self.shown if self.past is None else torch.cat([self.past.known, self.shown], 1)
        both = [cells & functional.pad(cells[:, :-1], (0, 0, 1, 0)) for cells in (known, shown)]
        if self._sequence is not None:
            both = [
                cells & (self._sequence == functional.pad(self._sequence[:, :-1], (1, 0))).unsqueeze(-1)
                for cells in both
            ]
        change = functional.pad(x[:, 1:] - share * x[:, :-1], (0, 0, 1, 0))
        before = None if self.past is None else Past(change[:, :past], both[0][:, :past])
        known, shown = (cells[:, past:] for cells in both)
        # What is carried from call to call are sums of the elements themselves.
        return replace(self, x=change[:, past:], known=known, shown=shown, past=before, carried=None)

    @cached_property
    def _running(self) -> tuple[Tensor, Tensor, Tensor]:
        """Running sums (B,1+L+T,D) of known cells, of their values and of their squares, over the past and the rows."""
        x, known, _ = self._with_past
        wide = x.double().masked_fill(~known, 0.0)
        one, two, three = (functional.pad(part.cumsum(1), (0, 0, 1, 0)) for part in (known.double(), wide, wide**2))
        return one, two, three

    @cached_property
    def _first(self) -> Tensor | None:
        """Where the sequence of each element begins in the past and the row; None where each row is of one."""
        if self._sequence is None:
            return None
        changes = functional.pad(self._sequence[:, 1:] != self._sequence[:, :-1], (1, 0))
        index = torch.arange(changes.shape[1], device=changes.device).expand(len(changes), -1)
        return index.masked_fill(~changes, 0).cummax(1).values

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
        # A tensor without numbers (meta) cannot be asked.
        if self.begins is None or not (self.begins.is_meta or self.begins[:, 1:].any()):
            return None
        return functional.pad(self.begins[:, 1:].cumsum(1), (self._with_past[2] + 1, 0))


def _same(position: Tensor) -> int | None:
    """The position (B,1) that all rows have; None where they do not. One that is read of all is far faster."""
    if position.is_meta or not len(position):
        return None
    first = position[0, 0]
    return int(first) if len(position) == 1 or bool((position == first).all()) else None


def _counted(x: Tensor, known: Tensor) -> Sums:
    """How many cells of each row's elements (B,L,D) are known, their sum and that of their squares, (B,1,D) each."""
    wide = x.double().masked_fill(~known, 0.0)
    return known.sum(1, keepdim=True).double(), wide.sum(1, keepdim=True), wide.square().sum(1, keepdim=True)


@dataclass(frozen=True)
class Read:
    """A feature's values at some positions: inputs for the network, and what the head is to take.

    Inputs are `values`, elements (B,K,D) with which of their cells are known, in the units of the canvas, and
    `channels` (B,K,C). Real numbers are distributed about `location` (B,K,D; nan: none) and in units of
    exp(`log_scale`) (B,K,D), positive ones and the mean of counts in units of it; `logits` (B,K,V) are added to those
    of symbols.
    """

    channels: Tensor | None = None
    location: Tensor | None = None
    log_scale: Tensor | None = None
    logits: Tensor | None = None
    values: tuple[tuple[Tensor, Tensor], ...] = ()


class Feature(Component, home="seqloom.processes"):
    """Numbers that follow from the canvas: a season ago, the scale of what is shown, how often a symbol stood there.

    Its values at a position must not depend on that position, nor on those that are filled after it.
    """

    local: ClassVar[bool] = False
    """Where positions are filled in order, it depends on the `past` elements before a position and on no others."""

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

    @property
    def frames(self) -> bool:
        """Whether the network reads the canvas about its location and in units of its scale."""
        return False

    @property
    def counts(self) -> Counts | None:
        """What it needs to have counted in the training split; `Visible.laws` has what came of it."""
        return None

    def channels(self, space: Space) -> int:
        """How many input channels it adds, three a number of `values`; UnsupportedSpace where it means nothing.

        They are blocks of one for each number of an element.
        """
        return 0

    @abstractmethod
    def read(self, space: Space, visible: Visible, position: Tensor) -> Read:
        """Its values at these positions (B,K) of the canvas."""


class Lags(Feature, name="lags"):
    """Elements of a season ago, or of several, as inputs; and what is learned as the change since one of them."""

    local: ClassVar[bool] = True

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
        if not self.difference:
            return Read(values=tuple(visible.before(position, *self.channel_lags)))
        (x, known), *values = visible.before(position, self.difference, *self.channel_lags)
        return Read(values=tuple(values), location=x.masked_fill(~known, torch.nan))


class Window(Feature, name="window"):
    """The mean and the spread of what is known of the last elements, or where any order is filled of all that is shown.

    A model that reads about the one and in units of the other forecasts as well after the level has shifted (the
    per-window scaling of Salinas et al. 2020 and Kim et al. 2022). The unit of the training data counts as one
    element more, so nothing known has a scale of `typical` and a constant past one that is not 0.
    """

    local: ClassVar[bool] = True

    length: int = Field(default=168, ge=1)
    """Elements that are looked at."""
    level: Literal["mean", "last"] = "mean"
    """What is read about: their mean, or the last of them, for values that wander."""
    scale: Literal["spread", "change"] = "spread"
    """In units of what: their spread about their mean, or the root mean square of their changes from one element to the
    next beyond what `momentum` foretells of each, for values that wander, whose spread grows with the length that is
    looked at."""
    typical: float = Field(default=1.0, gt=0)
    """The unit of the training data, in units of the canvas."""
    momentum: float = Field(default=0.0, ge=0, le=1)
    """How much of a change from one element to the next is expected to be there again in the following one: where
    positions are filled in order, the last value is moved on by that."""
    inputs: Literal["all", "scale", "none"] = "all"
    """What the network reads as inputs too: the mean and the scale, the scale alone, or neither. Far values are bent
    towards 1, and where the last value is read about, the mean is said in its frame. Elsewhere a mean that training
    never saw is an input unlike all that it learned from, and draws forecasts back to where training was; one that it
    did see tells what to expect."""

    @property
    def past(self) -> int:
        return max(self.length + (self.scale == "change") + (self.momentum > 0), 2)

    @property
    def located(self) -> bool:
        return True

    @property
    def spread(self) -> bool:
        return True

    @property
    def frames(self) -> bool:
        return True

    def channels(self, space: Space) -> int:
        if not isinstance(space, Vectors) or any(field.support != "real" for field in space.all_fields):
            raise UnsupportedSpace(
                "only real numbers have a mean and a spread to be read in units of", hint="leave window out"
            )
        return {"all": 2, "scale": 1, "none": 0}[self.inputs] * space.dim

    def read(self, space: Space, visible: Visible, position: Tensor) -> Read:
        count, total, squares = visible.sums(position, self.length)
        mean = total / count.clamp_min(1)
        variance = (squares - count * mean**2).clamp_min(0)
        if self.scale == "change":
            changes = visible.differenced()
            if self.momentum:
                changes = changes.differenced(self.momentum)
            count, _, variance = changes.sums(position, self.length)
        log_scale = 0.5 * ((variance + self.typical**2) / (count + 1)).log()
        location, said = mean, mean
        if self.level == "last":
            location = self._last(visible, position, mean)
            if not visible.ordered:  # where nothing is shown the unit is that of values, not of their changes
                log_scale = log_scale.masked_fill(~visible.shown.any(1, keepdim=True), 0.0)
            said = (mean - location) * (-log_scale).exp()
        location, log_scale = location.to(visible.x.dtype), log_scale.to(visible.x.dtype)
        scale = log_scale - math.log(self.typical)
        read = {"all": [said, scale], "scale": [scale], "none": []}[self.inputs]
        channels = functional.softsign(torch.cat(read, -1)).to(location) if read else None
        return Read(channels=channels, location=location, log_scale=log_scale)

    def _last(self, visible: Visible, position: Tensor, mean: Tensor) -> Tensor:
        """The last element (B,K,D), moved on where positions are filled in order; else the last of those shown."""
        if visible.ordered:
            (last, known), (earlier, moved) = visible.before(position, 1, 2)
            change = (last - earlier).masked_fill(~(known & moved), 0.0)
            return torch.where(known, (last + self.momentum * change).to(mean.dtype), mean)
        index = torch.arange(visible.x.shape[1], device=mean.device)[None, :, None]
        last = torch.where(visible.shown, index, -1).amax(1, keepdim=True)  # (B,1,D)
        return visible.x.take_along_dim(last.clamp_min(0), 1).masked_fill(last < 0, 0.0).to(mean).expand_as(mean)


@dataclass(frozen=True)
class Frame:
    """What the network reads about (B,K,D), and in units of the exponential of what."""

    location: Tensor
    log_scale: Tensor

    def inside(self, x: Tensor, known: Tensor) -> Tensor:
        """Numbers (B,K,D) in this frame, 0 where they are not known."""
        return ((x - self.location) * (-self.log_scale).exp()).masked_fill(~known, 0.0)

    def outside(self, x: Tensor) -> Tensor:
        """Numbers of this frame in the units of the canvas."""
        return x * self.log_scale.exp() + self.location


def about_level(facts: Facts, *, linear: int = 0, ordered: bool = False) -> Advice:
    """What suits a process that has `features` and fills positions in order or in any: series about their own level.

    And about what is expected from at most so many elements, `linear`; 0: from none.
    """
    if not facts.numbers:
        return {}
    length = max(8, min(7 * facts.season if facts.season > 1 else 96, 336, facts.elements // 10))
    window: dict[str, Any] = {"name": "window", "length": length}
    if not ordered and not facts.wanders:  # of a level that training never saw a diffusion makes too much
        window["inputs"] = "scale"
    if facts.wanders:
        window |= {"level": "last", "scale": "change", "typical": facts.change}
    features, reason = [window], "levels shift: each is read about its own past"
    # Of a walk the last value says all, and what is counted beyond that is chance. What has mass goes on as it did,
    # often exactly: counted moments, which mix it with what stands still, blur that.
    counted = not facts.wanders or MOMENTUM <= facts.momentum < INERTIA
    if linear and facts.elements >= COUNTED and counted:
        seasons = min(2 * facts.season, facts.elements // 4)
        length = max(8, min(linear, max(seasons, facts.elements // 20)))
        features.append({"name": "linear", "length": length, "scale": window.get("scale", "spread")})
        reason += ", and what follows linearly need not be learned"
    elif facts.wanders:
        if facts.moving:
            window |= {"momentum": round(min(facts.momentum, 1.0), 2), "typical": facts.innovation}
        if not ordered:
            features.append({"name": "linear", "scale": "change", "momentum": window.get("momentum", 0.0)})
            reason += ", and going on as before need not be learned"
    return {"features": (features, reason)}


def framed(features: Sequence[Feature], space: Space, visible: Visible, position: Tensor) -> tuple[Read, Frame | None]:
    """What all features say, and the frame in which the network reads the canvas."""
    reads = [feature.read(space, visible, position) for feature in features]
    frame = None
    for feature, read in zip(features, reads, strict=True):
        if feature.frames:
            assert read.location is not None
            assert read.log_scale is not None
            frame = Frame(read.location, read.log_scale)
    return combined(reads), frame


def expected(read: Read, frame: Frame | None) -> Frame | None:
    """What each cell is expected to be, where there is a frame: its own, or what a later feature knows better."""
    if frame is None or read.location is None or read.log_scale is None:
        return frame
    return Frame(read.location, read.log_scale)


def counting(features: Sequence[Feature]) -> Counts | None:
    """What features need to have counted: that of the first that does."""
    return next((feature.counts for feature in features if feature.counts is not None), None)


def inputs_of(read: Read, frame: Frame | None) -> Tensor | None:
    """What features add to the inputs (B,K,C): values in the frame, and channels as they are."""
    values = [channels(x if frame is None else frame.inside(x, known), known, ~known) for x, known in read.values]
    parts = values if read.channels is None else [*values, read.channels]
    return torch.cat(parts, -1) if parts else None


def combined(reads: Sequence[Read]) -> Read:
    """Several features as one: inputs beside each other, the last location that there is, the rest added up."""

    def total(parts: list[Tensor | None]) -> Tensor | None:
        present = [part for part in parts if part is not None]
        return torch.stack(present).sum(0) if present else None

    channels = [read.channels for read in reads if read.channels is not None]
    location: Tensor | None = None
    for read in reads:
        if read.location is not None:
            location = (
                read.location if location is None else torch.where(read.location.isnan(), location, read.location)
            )
    return Read(
        torch.cat(channels, -1) if channels else None,
        None if location is None else location.nan_to_num(0.0),
        total([read.log_scale for read in reads]),
        total([read.logits for read in reads]),
        tuple(value for read in reads for value in read.values),
    )
