"""Patterns: what is shown in training, and so what the model can be asked."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqloom.core.config import Component
from seqloom.core.rng import Rng

Mask = NDArray[np.bool_]


class Pattern(Component, home="seqloom.training"):
    """Which cells (B,T) or (B,T,D) are given clean; the rest is to be made."""

    @abstractmethod
    def shown(self, rng: Rng, known: Mask) -> Mask:
        """The shown cells of rows whose known cells are `known`."""


class Nothing(Pattern, name="nothing"):
    """All is to be made: sampling from nothing, and what the likelihood is about."""

    def shown(self, rng: Rng, known: Mask) -> Mask:
        return np.zeros_like(known)


class Prefix(Pattern, name="prefix"):
    """A beginning of any length is shown: what extending and forecasting ask."""

    def shown(self, rng: Rng, known: Mask) -> Mask:
        length = known.shape[1]
        cut = 1 + np.floor(rng.at("prefix").uniform(1)[:, 0] * max(1, length - 1)).astype(np.int64)
        inside = np.arange(length) < cut[:, None]
        return np.asarray(known & inside.reshape(inside.shape + (1,) * (known.ndim - 2)))


class Spans(Pattern, name="spans"):
    """All is shown but one span, in all channels or in some: what infilling asks."""

    longest: float = Field(default=0.5, gt=0, le=1)
    """The longest span, as a share of the window."""

    def shown(self, rng: Rng, known: Mask) -> Mask:
        length = known.shape[1]
        u = rng.at("spans").uniform(3)
        size = 1 + np.floor(u[:, 0] * max(1, self.longest * length)).astype(np.int64)
        size = np.minimum(size, length)
        begin = np.floor(u[:, 1] * (length - size + 1)).astype(np.int64)
        position = np.arange(length)
        hidden = (position >= begin[:, None]) & (position < (begin + size)[:, None])  # (B,T)
        if known.ndim == 2:
            return np.asarray(known & ~hidden)
        chosen = rng.at("channels").uniform(known.shape[2]) < 0.5  # (B,D)
        chosen |= (u[:, 2] < 0.5)[:, None] | ~chosen.any(1, keepdims=True)
        return np.asarray(known & ~(hidden[..., None] & chosen[:, None, :]))


class Mixed(Pattern, name="mixed"):
    """Each row draws one of the three: nothing, a prefix, or all but a span.

    A row that is shown nothing has far more to be learned than one with a gap, so a few of them go a long way.
    """

    nothing: float = Field(default=0.1, ge=0)
    """Weight of showing nothing."""
    prefix: float = Field(default=0.55, ge=0)
    """Weight of showing a prefix."""
    spans: float = Field(default=0.35, ge=0)
    """Weight of hiding a span."""

    def shown(self, rng: Rng, known: Mask) -> Mask:
        weights = np.array([self.nothing, self.prefix, self.spans])
        edge = np.cumsum(weights / weights.sum())
        u = rng.at("pattern").uniform(1)[:, 0].reshape((-1,) + (1,) * (known.ndim - 1))
        prefix, spans = Prefix().shown(rng, known), Spans().shown(rng, known)
        return np.where(u < edge[0], False, np.where(u < edge[1], prefix, spans))
