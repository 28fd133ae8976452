"""Where the wall-clock of a training goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    """Seconds of a training, those before a resume included, and what of them went beside its updates.

    `now` is the clock in seconds. `beside` has for each kind of thing that is timed, such as a validation, all of its
    seconds, and `last` those of the last time.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.before = 0.0
        self.beside: defaultdict[str, float] = defaultdict(float)
        self.last: dict[str, float] = {}
        self._started = now()

    def start(self, before: float) -> None:
        """Go on from `before` seconds."""
        self.before, self._started = before, self.now()

    @property
    def running(self) -> float:
        """Seconds since it was last started."""
        return self.now() - self._started

    @property
    def seconds(self) -> float:
        """All of them."""
        return self.before + self.running

    def timed(self, kind: str, action: Callable[[], T]) -> T:
        """What an action returns; how long it took is kept, also where it fails."""
        begun = self.now()
        try:
            return action()
        finally:
            self.last[kind] = self.now() - begun
            self.beside[kind] += self.last[kind]
