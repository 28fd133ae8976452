"""Augmentations: training rows changed at random, so that a model learns what does not matter."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqloom.codecs.base import Codec
from seqloom.core.config import Component, nearest
from seqloom.core.errors import ConfigError
from seqloom.core.rng import Rng
from seqloom.sequence.batch import Batch, Condition
from seqloom.sequence.space import Space, Tokens


class Augmentation(Component, home="seqloom.training"):
    """How training rows are changed; validation and scoring read the data unchanged."""

    moves: ClassVar[bool] = False
    """Elements may come to stand elsewhere, or there may be fewer or more of them."""

    given: str = ""
    """The condition whose elements are changed, such as `source`; nothing: the sequence itself."""

    @abstractmethod
    def apply(self, rng: Rng, batch: Batch, space: Space, codec: Codec | None) -> Batch:
        """The rows, changed; `rng` has one key a row. `codec` is what made the elements, where that is known."""


@dataclass(frozen=True)
class Contents:
    """What the rows of a training hold: their space, and what made them and each condition beside them."""

    space: Space
    codec: Codec | None = None
    given: Mapping[str, Codec] | None = None


def augmented(batch: Batch, augmentation: Augmentation, rng: Rng, contents: Contents) -> Batch:
    """The rows with the sequence, or the condition that it names, changed by an augmentation."""
    name = augmentation.given
    if not name:
        return augmentation.apply(rng, batch, contents.space, contents.codec)
    codec = (contents.given or {}).get(name)
    if codec is None or name not in batch.given:
        hint = nearest(name, batch.given) if batch.given else "leave `given` out: the sequence itself is meant"
        raise ConfigError(f"there is no condition {name!r} to change", path="feed.augment", hint=hint)
    condition = batch.given[name]
    if condition.aligned and augmentation.moves:
        raise ConfigError(
            f"{augmentation.name} moves elements, and those of {name!r} stand beside elements of the sequence",
            path="feed.augment",
            hint="leave `given` out: what stands beside the sequence is moved with it",
        )
    # Where rows run through several sequences, each of these has a key of its own.
    own = rng if condition.owner is None else rng.select(slice(0, 1)).fork(np.arange(len(condition.x)))
    known = condition.present if condition.x.ndim == 2 else condition.present[..., None].expand_as(condition.x)
    nothing = torch.zeros_like(known)
    rows = Batch(condition.x, condition.present, known, nothing, torch.zeros_like(condition.present))
    changed = augmentation.apply(own, rows, codec.space, codec)
    return replace(batch, given={**batch.given, name: replace(condition, x=changed.read, present=changed.present)})


class Multiplied(Augmentation):
    """Each row's real numbers are multiplied by one factor, and what precedes the row with them."""

    @abstractmethod
    def factor(self, rng: Rng) -> Tensor:
        """The factors (B,1)."""

    def apply(self, rng: Rng, batch: Batch, space: Space, codec: Codec | None) -> Batch:
        real = _real(self, space)
        factor = self.factor(rng).to(batch.x.dtype)[:, None]
        past = batch.past
        return replace(
            batch,
            x=torch.where(real, batch.x * factor, batch.x),
            past=None if past is None else replace(past, x=torch.where(real, past.x * factor, past.x)),
        )


class Scale(Multiplied, name="scale"):
    """Each row's real numbers are multiplied by one factor, log-normal around 1: the size of things does not matter."""

    spread: float = Field(default=0.1, ge=0)
    """Standard deviation of the logarithm of the factor."""

    def factor(self, rng: Rng) -> Tensor:
        return torch.exp(self.spread * rng.at("scale").normal((1,)))


class Flip(Multiplied, name="flip"):
    """The real numbers of some rows have their signs reversed, all alike: what rose could have fallen as well.

    A model of walks then learns how far they go, and not where those of the training rows went by chance.
    """

    share: float = Field(default=0.5, ge=0, le=1)
    """Of the rows, how many are reversed."""

    def factor(self, rng: Rng) -> Tensor:
        return torch.from_numpy(np.where(rng.at("flip").uniform(1) < self.share, -1.0, 1.0))


class Rotate(Augmentation, name="rotate"):
    """Columns in pairs, as x and y of a plane, are rotated by an angle for each row: no direction is like no other.

    It is a rotation in the units of the data, whatever the scale of each column, about the mean of the training split,
    or about 0 where the codec takes no mean away. Where one of a pair is missing both are, in a row that is rotated.
    """

    columns: tuple[str, ...] = Field(min_length=1)
    """x and y, and of further things their x and y, by the same angle; a field of two numbers is a pair by itself."""
    share: float = Field(default=1.0, ge=0, le=1)
    """Of the rows, how many are rotated, each by an angle that is uniform over the circle."""

    def apply(self, rng: Rng, batch: Batch, space: Space, codec: Codec | None) -> Batch:
        x, y = self._pairs(space)
        scales = None if codec is None else codec.log_scales
        if scales is None:
            raise ConfigError("it is not known in which units the numbers are", path="feed.augment")
        ratio = torch.from_numpy(np.exp(scales[y] - scales[x]))  # the unit of y in that of x
        u = torch.from_numpy(rng.at("rotate").uniform(2))
        chosen, angle = u[:, :1, None] < self.share, 2 * math.pi * u[:, 1:, None]
        cosine, sine = angle.cos(), angle.sin()

        def rotated(values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
            # Unrotated rows keep their very numbers, also where only one of a pair is known.
            both = known[..., x] & known[..., y]
            old_x, old_y = values[..., x].double(), values[..., y].double()
            new_x = cosine * old_x - sine * ratio * old_y
            new_y = sine / ratio * old_x + cosine * old_y
            values, left = values.clone(), known.clone()
            for channels, new in ((x, new_x), (y, new_y)):
                moved = (new * both).to(values.dtype)
                values[..., channels] = torch.where(chosen, moved, values[..., channels])
                left[..., channels] = torch.where(chosen, both, known[..., channels])
            return values, left

        values, known = rotated(batch.x, batch.known)
        past = batch.past
        if past is not None:
            past = replace(past, **dict(zip(("x", "known"), rotated(past.x, past.known), strict=True)))
        return replace(batch, x=values, known=known, shown=batch.shown & known, past=past)

    def _pairs(self, space: Space) -> tuple[list[int], list[int]]:
        """The channels of all x, and those of all y; ConfigError where the columns are no pairs of real numbers."""
        real = _real(self, space)
        assert not isinstance(space, Tokens)
        channels: list[int] = []
        for name in self.columns:
            if name not in space.slices:
                known = [field.name for field in space.fields]
                raise ConfigError(
                    f"there is no column {name!r} to rotate", path="feed.augment", hint=nearest(name, known)
                )
            own = space.slices[name]
            if not bool(real[own].all()):
                raise ConfigError(
                    f"column {name!r} holds no real numbers",
                    path="feed.augment",
                    hint="rotate is for columns such as x and y",
                )
            channels += range(own.start, own.stop)
        if len(channels) % 2 or len(set(channels)) < len(channels):
            raise ConfigError(
                f"{', '.join(self.columns)} are no pairs of different columns",
                path="feed.augment",
                hint="rotate takes x and y, as in {name: rotate, columns: [x, y]}",
            )
        return channels[::2], channels[1::2]


class Jitter(Augmentation, name="jitter"):
    """Normal noise on each real number: small differences do not matter."""

    spread: float = Field(default=0.05, ge=0)
    """Standard deviation of the noise, where the data have about one."""

    def apply(self, rng: Rng, batch: Batch, space: Space, codec: Codec | None) -> Batch:
        real = _real(self, space)
        noise = rng.at("jitter").normal(tuple(batch.x.shape[1:]))
        noisy = batch.x + self.spread * noise.to(batch.x.dtype)
        return replace(batch, x=torch.where(real & batch.known, noisy, batch.x))


class Substitute(Augmentation, name="substitute"):
    """Symbols are read as others of the same row, and learned as they are: no symbol is relied upon too much.

    Unigram noise for what a language model reads (Xie et al. 2017); with a `span`, whole stretches are corrupted.
    """

    share: float = Field(default=0.05, ge=0, lt=1)
    """Of the symbols of a row, how many are replaced."""
    span: int = Field(default=1, ge=1)
    """How many at once, one after another; stretches that meet are longer."""

    def apply(self, rng: Rng, batch: Batch, space: Space, codec: Codec | None) -> Batch:
        own = _symbols(self, batch, space)
        length = batch.x.shape[1]
        chosen = torch.from_numpy(in_stretches(rng.at("substitute"), length, self.share, self.span)) & own
        # The k-th of a row's own symbols, k at random: those that are no symbols sort behind.
        order = torch.argsort((~own).int(), dim=1, stable=True)
        count = own.sum(1, keepdim=True)
        pick = (torch.from_numpy(rng.at("other").uniform(length)) * count).long()
        other = batch.x.gather(1, order.gather(1, pick.clamp(max=length - 1)))
        return replace(batch, noised=torch.where(chosen, other, batch.read))


class Delete(Augmentation, name="delete"):
    """Symbols are left out (Iyyer et al. 2015), or whole stretches of them: nothing hangs on one alone.

    Of the sequence itself a text with holes is learned, too; of a condition (`given`) only what is read has them.
    """

    moves: ClassVar[bool] = True

    share: float = Field(default=0.1, ge=0, lt=1)
    """Of the symbols of a row, how many are left out."""
    span: int = Field(default=1, ge=1)
    """How many at once, one after another; stretches that meet are longer."""

    def apply(self, rng: Rng, batch: Batch, space: Space, codec: Codec | None) -> Batch:
        own = _symbols(self, batch, space)
        chosen = in_stretches(rng.at("delete"), batch.x.shape[1], self.share, self.span)
        left = batch.present & ~(torch.from_numpy(chosen) & own & ~batch.begins)
        some = (left & own).any(1, keepdim=True)  # a row of which nothing would be left stays as it is
        left = torch.where(some, left, batch.present)
        order = torch.argsort((~left).int(), dim=1, stable=True)
        return gathered(batch, order, torch.arange(left.shape[1]) < left.sum(1, keepdim=True))


class Shuffle(Augmentation, name="shuffle"):
    """Symbols change places with others nearby (Lample et al. 2018): their order is not relied upon to the last."""

    moves: ClassVar[bool] = True

    distance: int = Field(default=3, ge=1)
    """How far a symbol may be moved, at most."""

    def apply(self, rng: Rng, batch: Batch, space: Space, codec: Codec | None) -> Batch:
        own = _symbols(self, batch, space) & ~batch.begins
        place = torch.arange(batch.x.shape[1], dtype=torch.float64).expand(len(batch.x), -1)
        u = torch.from_numpy(rng.at("shuffle").uniform(batch.x.shape[1]))
        # What is no symbol parts a row in runs, and within each symbols are sorted by where they would like to be.
        run = (~own).long().cumsum(1) * 2 - (~own).long()
        wish = run * (4.0 * (place.shape[1] + self.distance)) + torch.where(own, place + u * (self.distance + 1), 0.0)
        return gathered(batch, torch.argsort(wish, dim=1, stable=True), batch.present)


class PieceDropout(Augmentation, name="bpe_dropout"):
    """Pieces of words are joined of their bytes anew, each merge left out at random (Provilkov et al. 2020).

    The same text is read as other pieces each time. It is learned in these too, and scored in the usual ones.
    """

    moves: ClassVar[bool] = True

    share: float = Field(default=0.1, ge=0, le=1)
    """How many of the merges that are possible at each step are left out; 1: bytes alone."""

    def apply(self, rng: Rng, batch: Batch, space: Space, codec: Codec | None) -> Batch:
        _symbols(self, batch, space)
        length = batch.present.sum(1).numpy()
        rows = [row[:size] for row, size in zip(batch.x.numpy(), length, strict=True)]
        if codec is None:
            raise ConfigError("it is not known what the symbols stand for", path="feed.augment")
        symbols, origin = codec.written_anew(rows, rng.at("rejoin"), self.share)
        width = max(map(len, symbols), default=0)
        x, index = (torch.zeros(len(rows), width, dtype=torch.int64) for _ in range(2))
        for row, (own, places) in enumerate(zip(symbols, origin, strict=True)):
            x[row, : len(own)], index[row, : len(own)] = torch.from_numpy(own), torch.from_numpy(places)
        exists = torch.arange(width) < torch.tensor([[len(own)] for own in symbols])
        moved = gathered(batch, index, exists)
        first = torch.ones_like(exists)
        first[:, 1:] = index[:, 1:] != index[:, :-1]
        return replace(moved, x=x * exists, begins=moved.begins & first, noised=None)


def in_stretches(rng: Rng, length: int, share: float, span: int) -> NDArray[np.bool_]:
    """A share of `length` places of each row, as stretches of `span` that begin anywhere, and before it too."""
    # A place is free where none of `span` places begins a stretch: (1 - begin)^span = 1 - share.
    begins = rng.uniform(length + span - 1) < 1 - (1 - share) ** (1 / span)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(begins, span, axis=1).any(2), bool)


def gathered(batch: Batch, index: Tensor, exists: Tensor) -> Batch:
    """The rows with the elements (B,T) of these places, where they `exist`, and what belongs to each beside it."""

    def moved(part: Tensor) -> Tensor:
        return part.gather(1, index)

    def beside(condition: Condition) -> Condition:
        if condition.owner is not None:
            return replace(condition, owner=moved(condition.owner))
        if not condition.aligned:
            return condition
        x = condition.x
        x = moved(x) if x.ndim == 2 else x.take_along_dim(index.unsqueeze(-1), 1)
        return replace(condition, x=x, present=moved(condition.present) & exists)

    return replace(
        batch,
        x=moved(batch.x) * exists,
        present=exists,
        known=moved(batch.known) & exists,
        shown=moved(batch.shown) & exists,
        begins=moved(batch.begins) & exists,
        given={name: beside(condition) for name, condition in batch.given.items()},
        part=None if batch.part is None else moved(batch.part),
        noised=None if batch.noised is None else moved(batch.noised) * exists,
    )


def _symbols(augmentation: Augmentation, batch: Batch, space: Space) -> Tensor:
    """Which places (B,T) have symbols of the data; ConfigError where there are none but numbers."""
    if not space.symbolic:
        raise ConfigError(
            f"{augmentation.name} is for symbols", path="feed.augment", hint="scale and jitter are for numbers"
        )
    own = batch.known & batch.present
    return own & (batch.x != space.end) if space.end is not None else own


def _real(augmentation: Augmentation, space: Space) -> Tensor:
    """Which channels (D,) hold real numbers."""
    if isinstance(space, Tokens):
        raise ConfigError(
            f"{augmentation.name} is for numbers",
            path="feed.augment",
            hint="substitute, delete, shuffle and bpe_dropout are for symbols",
        )
    real = np.zeros(space.dim, bool)
    for field in space.fields:
        real[space.slices[field.name]] = field.support == "real"
    return torch.from_numpy(real)
