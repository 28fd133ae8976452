"""Backbone: the settings of the one trunk that stacks mixers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from seqloom.core.config import Settings
from seqloom.mixers.base import Mixer
from seqloom.mixers.recurrent import Lstm


class Backbone(Settings):
    """A stack of mixers with norms, residuals and feed-forward layers between them.

    `norm=none residual=false mlp=0` is the textbook stack: with mixer lstm it equals torch.nn.LSTM.
    """

    mixer: Mixer | list[Mixer] = Lstm()
    """How positions exchange what they know; a list is repeated over the depth (a hybrid)."""
    width: int = Field(default=256, ge=2)
    """Features a position."""
    depth: int = Field(default=2, ge=1)
    """Layers."""
    norm: Literal["layer", "rms", "none"] = "layer"
    """The norm before each part and at the end: layer norm (Ba et al. 2016), root mean square, or none."""
    residual: bool = True
    """Add each part to what goes in."""
    mlp: float = Field(default=0.0, ge=0)
    """Width of the feed-forward part over the width of the trunk; 0 leaves it out."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of features set to 0 in training, one mask a sequence (locked dropout, Gal & Ghahramani 2016)."""
    cross: Literal["dot", "additive"] = "dot"
    """How conditions are attended to: by products of queries and keys (Luong et al. 2015), or by one hidden layer over
    both (Bahdanau et al. 2015), which takes the room of a vector for each pair of elements."""
    tie: bool = False
    """Use the embedding of the input symbols as the head's weights too."""

    channels: Literal["joint", "own", "attend"] = "joint"
    """The numbers of an element: one vector; each a sequence of its own, all with the same weights; or that, where each
    also attends to the others of its element (Tashiro et al. 2021)."""

    patch: int = Field(default=1, ge=1)
    """Elements that are read and made as one position (Nie et al. 2023), where all positions attend to each other."""

    marked: bool = False
    """Mark the first position, where every position attends to all: for sequences that are read whole."""

    @property
    def mixers(self) -> list[Mixer]:
        """One mixer a layer."""
        cycle = self.mixer if isinstance(self.mixer, list) else [self.mixer]
        return [cycle[i % len(cycle)] for i in range(self.depth)]

    @property
    def attends(self) -> bool:
        """Whether any mixer is attention, in a window or not: it is trained as a Transformer is."""
        return any(mixer.follows_masks for mixer in self.mixers)

    @property
    def bounded(self) -> bool:
        """Whether any mixer can only be trusted within the window it was trained on."""
        return any(mixer.bounded for mixer in self.mixers)
