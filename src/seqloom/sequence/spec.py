"""What a process makes of a space: the sizes and symbols a network is built from."""

from __future__ import annotations

from dataclasses import dataclass


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
    start: int | None = None
    mask: int | None = None
