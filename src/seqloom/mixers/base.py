"""Mixer: how the positions of a sequence exchange what they know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar

from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

from seqloom.core.config import Component
from seqloom.kernels.packed import PackedMap
from seqloom.kernels.stack import Part
from seqloom.sequence.state import LayerState, Lengths

Watcher = Callable[[str, Tensor], None]
"""Takes what a module does inside, by name."""


class MixerModule(nn.Module, ABC):
    """The network of a mixer. Position t may attend to what `block` allows, and never to one that is not present.

    Where a parameter is several matrices one below the other (gates), `stacked` says how many, by its name.
    """

    stacked: Mapping[str, int] = MappingProxyType({})
    by_columns: bool = False
    """Whether its own matrices may lie column by column, with which whole sequences are read as fast as before."""
    timed_as: str = ""
    """As which layer its training is timed on this machine (`core.speeds`), where one kernel does it."""
    replays: bool = True
    """Whether without a state its kernels are the same at every call of one shape, so that a GPU can replay them."""
    watched: Watcher | None = None
    """Where attention weights and gates are collected (`Network.watch`)."""

    @abstractmethod
    def forward(
        self,
        h: Float[Tensor, "b t d"],
        present: Bool[Tensor, "b t"] | None = None,
        state: LayerState | None = None,
        count: Lengths | None = None,
        begins: Bool[Tensor, "b t"] | None = None,
        position: Int[Tensor, "b t *c"] | None = None,
        mask: Bool[Tensor, "#b t t"] | None = None,
    ) -> tuple[Float[Tensor, "b t d"], LayerState | None]:
        """Mix a chunk that follows what `state` has read; the chunk may be the whole sequence.

        `present` must be a run of True from the left in each row (padding is at the right). `count` (B,) says how
        many of the chunk's elements each row really reads; the outputs of the others are of no account, and the state
        is then written in place. Reading in chunks equals reading at once, to rounding.

        From a position that `begins`, a row goes on as if it had read nothing before. `position`, of one or more
        coordinates, is where each element stands (None: one after another), and `mask` (row, reader, read) which
        element attends to which, in place of `block`. What a mixer cannot follow it refuses: a recurrent one a
        `mask`, attention from a state what `begins` inside a chunk.
        """

    @abstractmethod
    def begin(self, rows: int, room: int | None = None, undo: int = 0) -> LayerState:
        """An empty state for `rows` rows of at most `room` elements that can be rolled back by `undo`.

        `room` is needed where the mixer `grows`.
        """

    def part(self) -> Part | None:
        """What it is in a compiled program that reads symbol by symbol; None where it is no part of one."""
        return None

    def packed(self, kind: type[PackedMap]) -> MixerModule:
        """This module with its own matrices as maps of this kind; its nn.Linear are seen to by others."""
        return self

    def initialise(self, generator: Generator) -> None:
        """Set the parameters that need more than the common rule."""


class Mixer(Component, home="seqloom.mixers"):
    """How positions exchange what they know. Never sees a modality, a noise level or a process."""

    feedforward: ClassVar[float] = 0.0
    """Width of the feed-forward part that a model word of this mixer has, over the width of the trunk."""

    timed_as: ClassVar[str] = ""
    """What its training was timed as on this machine (`core.speeds`), where it was."""

    follows_masks: ClassVar[bool] = False
    """Whether it can be told which element attends to which (attention: yes)."""

    @property
    def bounded(self) -> bool:
        """Whether the mixer can only be trusted within the window it was trained on (attention: yes)."""
        return False

    @property
    def grows(self) -> bool:
        """Whether a state takes more room with every element that is read (attention: yes)."""
        return False

    @abstractmethod
    def build(self, width: int, block: int | None) -> MixerModule:
        """The module for `width` features; block 1 is causal, None lets every position attend to everything."""
