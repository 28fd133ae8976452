"""What is known of the data before a training, which advice goes by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

WANDERS = 0.9
"""From this persistence on a series does not return to its mean soon."""
MOMENTUM = 0.1
"""From so much of the last change on it is taken to go on."""
LUMPS = 0.25
"""From this share of one value on a density of one hump is wrong."""
READ_WHOLE = 255
"""Up to this length sequences that stand by themselves are read whole."""

Advice = dict[str, tuple[Any, str]]
"""Settings that suit such data, each with the reason."""


@dataclass(frozen=True)
class Facts:
    """Facts about the data: training elements, the typical length of one sequence, and the kind of element.

    `season` is after how many elements a series resembles itself, 1 where none was found; `persistence` how much of
    an element is the one before it, 1 where it never changes; `momentum` how much of a change from one to the next is
    there again in the following one, and `unexplained` what that leaves of the size of changes; `repeated` the share of
    cells that have a column's commonest value.
    """

    elements: int
    length: int
    tokens: bool
    ends: bool
    conditioned: bool
    """Whether something is given of whole sequences, rather than beside each element."""
    aligned: bool = False
    """Whether something is given beside each element."""
    attended: tuple[str, ...] = ()
    """The conditions that positions attend to."""
    season: int = 1
    persistence: float = 0.0
    momentum: float = 0.0
    unexplained: float = 1.0
    repeated: float = 0.0
    longest: int = 0
    """Of the sequences."""
    endless: bool = False
    """Whether they stand by themselves and have no end: labels."""
    paired: bool = False
    """Two of the numbers belong together, as those of a pen's movement."""
    turns: bool = False
    """Whether these are conversations, of which the turns of some are never scored."""
    numbers: int = 0
    """The channels of a series: the real numbers of an element, where it has nothing else and sequences do not end."""
    counted: bool = False
    """Whether each of these is a count."""
    together: bool = False
    """Whether the process takes them as one vector alone, for their distributions are of several kinds or depend on
    each other."""
    symbols: int = 0
    """How many different ones there are."""
    minutes: float | None = None
    """Of the training; None where it is bounded by steps."""
    horizon: int = 0
    """How far ahead forecasts will be asked for; 0 where that is not said."""
    tied: bool = False
    """Whether a network's outputs are asked to be the vectors of its symbols, so that each has some of its own."""
    moved: bool = False
    """Whether training moves elements, or leaves some out."""

    @property
    def apart(self) -> bool:
        """Whether sequences are short and stand by themselves, so that each is read whole."""
        return (self.ends or self.endless) and 0 < self.longest <= READ_WHOLE

    @property
    def lumpy(self) -> bool:
        """Whether a column has one value again and again, such as the zeros of counts."""
        return self.repeated >= LUMPS

    @property
    def wanders(self) -> bool:
        """Whether the last value says more than the mean: without a season, and hardly changed from row to row."""
        return self.season == 1 and self.persistence >= WANDERS

    @property
    def moving(self) -> bool:
        """Whether values wander and much of the last change is there again in the next."""
        return self.wanders and self.momentum >= MOMENTUM

    @property
    def change(self) -> float:
        """About how much an element differs from the one before it, in spreads."""
        return float(f"{max(2 - 2 * self.persistence, 1e-6) ** 0.5:.2g}")

    @property
    def innovation(self) -> float:
        """About how much it differs from the one before it moved on by its momentum, in spreads."""
        return float(f"{max(self.change * self.unexplained, 1e-3):.2g}")
