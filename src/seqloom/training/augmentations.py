"""Augmentations: training rows changed at random, so that a model learns what does not matter."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from seqloom.core.config import Component
from seqloom.core.errors import ConfigError
from seqloom.core.rng import Rng
from seqloom.sequence.batch import Batch
from seqloom.sequence.space import Space, Tokens


class Augmentation(Component, home="seqloom.training"):
    """How training rows are changed; validation and scoring read the data unchanged."""

    @abstractmethod
    def apply(self, rng: Rng, batch: Batch, space: Space) -> Batch:
        """The rows, changed; `rng` has one key a row."""


class Scale(Augmentation, name="scale"):
    """Each row's real numbers are multiplied by one factor, log-normal around 1: the size of things does not matter."""

    spread: float = Field(default=0.1, ge=0)
    """Standard deviation of the logarithm of the factor."""

    def apply(self, rng: Rng, batch: Batch, space: Space) -> Batch:
        real = _real(self, space)
        factor = torch.exp(self.spread * rng.at("scale").normal((1,))).to(batch.x.dtype)  # (B,1)
        return _changed(batch, torch.where(real, batch.x * factor[:, None], batch.x), factor)


class Jitter(Augmentation, name="jitter"):
    """Normal noise on each real number: small differences do not matter."""

    spread: float = Field(default=0.05, ge=0)
    """Standard deviation of the noise, where the data have about one."""

    def apply(self, rng: Rng, batch: Batch, space: Space) -> Batch:
        real = _real(self, space)
        noise = rng.at("jitter").normal(tuple(batch.x.shape[1:]))
        noisy = batch.x + self.spread * noise.to(batch.x.dtype)
        return replace(batch, x=torch.where(real & batch.known, noisy, batch.x))


class Substitute(Augmentation, name="substitute"):
    """Symbols are replaced by others of the same row (Wang et al. 2018): no symbol is relied upon too much."""

    share: float = Field(default=0.05, ge=0, lt=1)
    """Of the symbols of a row, how many are replaced."""

    def apply(self, rng: Rng, batch: Batch, space: Space) -> Batch:
        if not space.symbolic:
            raise ConfigError("substitute is for symbols", path="feed.augment", hint="scale and jitter are for numbers")
        length = batch.x.shape[1]
        own = batch.known & batch.present
        own = own & (batch.x != space.end) if space.end is not None else own
        chosen = torch.from_numpy(rng.at("substitute").uniform(length) < self.share) & own
        # The k-th of a row's own symbols, k at random: those that are no symbols sort behind.
        order = torch.argsort((~own).int(), dim=1, stable=True)
        count = own.sum(1, keepdim=True)
        pick = (torch.from_numpy(rng.at("other").uniform(length)) * count).long()
        other = batch.x.gather(1, order.gather(1, pick.clamp(max=length - 1)))
        return replace(batch, x=torch.where(chosen, other, batch.x))


def _real(augmentation: Augmentation, space: Space) -> Tensor:
    """Which channels (D,) hold real numbers."""
    if isinstance(space, Tokens):
        raise ConfigError(f"{augmentation.name} is for numbers", path="feed.augment", hint="substitute is for symbols")
    real = np.zeros(space.dim, bool)
    for field in space.fields:
        real[space.slices[field.name]] = field.support == "real"
    return torch.from_numpy(real)


def _changed(batch: Batch, x: Tensor, factor: Tensor) -> Batch:
    """The batch with other values, and its past changed alike."""
    past = batch.past
    if past is not None:
        past = replace(past, x=past.x * factor[:, None])
    return replace(batch, x=x, past=past)
