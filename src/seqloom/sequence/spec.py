"""What a process makes of a space: the sizes and symbols a network is built from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class NetworkSpec:
    """The input and output of a network, and which positions attend to which.

    `inputs` is the number of input symbols (embedded) or, where `symbolic` is False, of input channels (projected);
    `outputs` the numbers the head gives a position. Start and mask symbols lie above the space's own.
    """

    symbolic: bool
    inputs: int
    outputs: int
    block: int | None
    """A position attends to its own block and earlier ones: 1 is causal, None is everything."""
    timed: bool
    """Whether the noise level is an input of the network."""
    channels: int = 0
    """Numbers of an element that are all of one kind: inputs are so many a block, `shared` ones after them, and outputs
    too. 0 where they are not, so that they cannot be sequences of their own."""
    shared: int = 0
    """The last inputs, which belong to no channel."""
    blank: tuple[float, ...] = ()
    """The inputs of an element that does not exist, with which a last patch is filled up; empty: all 0."""
    beside: int = 0
    """Numbers that are seen beside each symbol that goes in, which begin by changing nothing."""
    start: int | None = None
    mask: int | None = None
    asks: int | None = None
    """Where a length is said before what stands in a sequence, so that its canvas is no longer: the symbol that asks
    how long one is that goes on, and above it that of one that begins."""

    def filled_up(self, x: Tensor, extra: int) -> Tensor:
        """Inputs (B,T,C), and after them so many of elements that do not exist."""
        blank = x.new_tensor(self.blank or (0.0,) * self.inputs)
        return torch.cat([x, blank.expand(len(x), extra, -1)], 1)

    @property
    def length_first(self) -> bool:
        """Whether a length is said first."""
        return self.asks is not None

    @property
    def fills(self) -> bool:
        """Whether a canvas is filled beyond the end: where all positions are made at once, so is the end."""
        return self.block is None and not self.length_first
