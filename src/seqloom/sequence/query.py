"""A question to a model, the frames on the way, the answer, and a score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seqloom.core.errors import NotComparable
from seqloom.core.progress import plural
from seqloom.sequence.canvas import Canvas, Encoded
from seqloom.sequence.constraint import Constraint
from seqloom.sequence.space import Measure
from seqloom.sequence.stop import Stop

Kind = Literal["exact", "bound", "estimate"]

STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
"""The 97.5 % quantiles of Student's t by degrees of freedom, from one on."""


@dataclass(frozen=True)
class Query:
    """A canvas of which some is given; fill in the rest, `count` times.

    Row i of a query with seed s depends on (s, i) alone. `given` holds one encoded condition for each name the model
    knows (a missing one is the null condition). A sample ends before the first of the `stops` in what is made of it;
    `constraint` says which symbols may be drawn.
    """

    canvas: Canvas
    sampler: Any
    count: int = 1
    seed: int = 0
    first_row: int = 0
    given: Mapping[str, Encoded] = field(default_factory=dict)
    stops: Sequence[Stop] = ()
    constraint: Constraint | None = None
    bias: NDArray[np.float64] | None = None
    """Added to the logits (V,) of the symbols."""
    others: Sequence[Canvas] = ()
    """The canvases of the further sequences of a value that is made of several, which share the weights."""
    watched: bool = True
    """Whether there are frames of every sample on its way; else of one at a time, and of each when it is done."""

    @property
    def paired(self) -> bool:
        """Whether samples 2i and 2i + 1 are each other's antithetic variates: numbers made beside known ones.

        Their median and quantiles then err less than those of as many independent samples; of samples from nothing each
        is to be independent of the others.
        """
        return self.canvas.x.ndim == 2 and bool(self.canvas.shown.any())

    @property
    def canvases(self) -> tuple[Canvas, ...]:
        """Those of all sequences of one value."""
        return (self.canvas, *self.others)


@dataclass(frozen=True)
class Frame:
    """The state of one sample on its way: elements (T,[D]), which positions are final, and how far it is.

    `score` is what it is worth to a sampler that chooses between samples.
    """

    row: int
    x: NDArray[Any]
    settled: NDArray[np.bool_]
    done: bool
    call: int
    score: float | None = None
    part: int = 0
    """Which of the query's canvases it is of."""
    live: int = 1
    """Samples that are made beside it and about as far, itself among them."""
    position: int | None = None
    """Where in its sequence of the training data what it goes on from ends, where it does."""


@dataclass(frozen=True)
class Score:
    """A number with its unit and its meaning: total nats over `count` units.

    `kind` says whether it is the model's exact value, a bound from above on it, or an estimate; `stderr` is the
    standard error of `nats` where it was drawn; `context` says how much of the past each element was scored with.
    """

    nats: float
    count: float
    unit: str
    kind: Kind
    stderr: float = 0.0
    context: str = ""
    draws: int = 1
    surprisal: Sequence[float] | None = None
    blocks: Sequence[tuple[float, float]] = ()
    """Nats and positions of consecutive parts of what was scored, whole things where there are many."""
    measure: Measure = "mass"
    """Whether it is of a probability or of a density: nats of the one say nothing of nats of the other."""
    bits: bool = False
    """Whether it is shown in bits a unit."""
    loses: str = ""
    """What of the thing is not in what was scored, in words."""

    @property
    def margin(self) -> float:
        """Half of the 95 % interval of `nats`: by Student's t where the error is that of a few draws."""
        return self.stderr * (student(self.draws - 1) if self.draws > 1 else 1.96)

    @property
    def in_blocks(self) -> list[list[float]]:
        """The value of each block in the unit that people see, and its positions."""
        scale = self.shown[0] / self.per_unit if self.per_unit else 1.0
        each = math.fsum(positions for _, positions in self.blocks) / self.count if self.count else 0.0
        return [[nats / positions * each * scale, positions] for nats, positions in self.blocks]

    @property
    def per_unit(self) -> float:
        """Nats for one unit; not a number where nothing was scored."""
        return self.nats / self.count if self.count else math.nan

    @property
    def bits_per_unit(self) -> float | None:
        """Bits for one unit; None for a density, which nobody counts in bits."""
        return self.per_unit / math.log(2) if self.measure == "mass" else None

    @property
    def shown(self) -> tuple[float, str]:
        """The likelihood a unit as people see it, and its unit: in bits where its codec wants that."""
        bits = self.bits_per_unit
        if self.bits and bits is not None:
            return bits, f"bits/{self.unit}"
        return self.per_unit, f"nats/{self.unit}"

    def check(self, other: Score) -> None:
        """NotComparable unless both count the same units, and both are of a probability or of a density."""
        if self.measure != other.measure:
            raise NotComparable(
                f"a probability {self.measure} cannot be compared with a probability {other.measure}",
                hint="compare models of the same data, read by the same codec",
            )
        if self.loses != other.loses:
            raise NotComparable(differently(self.loses, other.loses), hint="compare models whose codecs lose the same")
        if (self.unit, self.count) != (other.unit, other.count):
            raise NotComparable(
                f"{self.count:g} {plural(self.unit)} cannot be compared with {other.count:g} {plural(other.unit)}"
            )


def differently(one: str, other: str) -> str:
    """That two likelihoods have no order, for what the one is without is in the other."""
    parts = [f"without {what}" if what else "of the whole text" for what in (one, other)]
    return f"a likelihood {parts[0]} cannot be compared with one {parts[1]}"


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, to a thousandth."""
    if freedom <= len(STUDENT):
        return STUDENT[freedom - 1]
    return 1.95996 + 2.3722 / freedom + 2.8225 / freedom**2  # the first terms of its expansion in 1 / freedom
