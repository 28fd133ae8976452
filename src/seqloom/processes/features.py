"""Features: what is read off the canvas beside the network, in training, scoring and sampling alike."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional

from seqloom.core.config import Component
from seqloom.core.errors import UnsupportedSpace
from seqloom.processes.base import channels
from seqloom.processes.visible import Visible
from seqloom.sequence.facts import MOMENTUM, Advice, Facts
from seqloom.sequence.laws import Counts
from seqloom.sequence.space import Space, Tokens, Vectors

COUNTED = 500
"""Elements of a training split from which on second moments are worth counting."""
INERTIA = 0.9
"""From so much of the last change on that is there again the last value moved on says all that is known linearly."""


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
            raise UnsupportedSpace("symbols have no lags and no differences", hint="leave the feature lags out")
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


Suited = tuple[dict[str, dict[str, Any]], str]
"""The settings of features that suit a series by their names, and why."""


def featured(*suited: Suited) -> Advice:
    """All of these features as one piece of advice, in this order."""
    features = {name: settings for several, _ in suited for name, settings in several.items()}
    reason = "; ".join(reason for _, reason in suited if reason)
    return {"features": (features, reason)} if features else {}


def about_level(facts: Facts, *, linear: int = 0, ordered: bool = False) -> Suited:
    """What suits a process that has `features` and fills positions in order or in any: series about their own level.

    And about what is expected from at most so many elements, `linear`; 0: from none.
    """
    if not facts.numbers:
        return {}, ""
    length = min(7 * facts.season if facts.season > 1 else 96, 336, facts.elements // 10)
    length = max(8, length, facts.season)  # of a part of a season the level is that of the part
    window: dict[str, Any] = {"length": length}
    if not ordered and not facts.wanders:  # of a level that training never saw a diffusion makes too much
        window["inputs"] = "scale"
    if facts.wanders:
        window |= {"level": "last", "scale": "change", "typical": facts.change}
    features, reason = {"window": window}, "levels shift: each is read about its own past"
    # Of a walk the last value says all, and what is counted beyond that is chance. What has mass goes on as it did,
    # often exactly: counted moments, which mix it with what stands still, blur that.
    counted = not facts.wanders or MOMENTUM <= facts.momentum < INERTIA
    if linear and facts.elements >= COUNTED and counted:
        seasons = min(2 * facts.season, facts.elements // 4)
        length = max(8, min(linear, max(seasons, facts.elements // 20)))
        features["linear"] = {"length": length, "scale": window.get("scale", "spread")}
        reason += ", and what follows linearly need not be learned"
    elif facts.wanders:
        if facts.moving:
            window |= {"momentum": round(min(facts.momentum, 1.0), 2), "typical": facts.innovation}
        if not ordered:
            features["linear"] = {"scale": "change", "momentum": window.get("momentum", 0.0)}
            reason += ", and going on as before need not be learned"
    return features, reason


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
