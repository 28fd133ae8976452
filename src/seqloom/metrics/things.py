"""Whether samples of things that end by themselves, names or molecules, are valid, all different, and new."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field, field_validator

from seqloom.core.errors import ConfigError, UnsupportedQuery
from seqloom.metrics.base import Metric, MetricRecord, View

SECONDS = 600
"""How long a command may take."""


@dataclass(frozen=True)
class Things:
    """Samples as text, as many things of the training split and of what was held out, and all of the training split."""

    made: Sequence[str]
    copied: Sequence[str]
    held: Sequence[str]
    learned: frozenset[str]


Making = Callable[[int, int], Things]
"""So many samples from a seed, beside what was learned from and what was held out."""


class ThingsMetric(Metric, name="things"):
    """How many samples are valid, how many of these are different, and how many of those the training split lacks.

    Valid is what matches a pattern or pleases a command; without either all is. Beside each share stand that of
    held-out data and that of a copied training split, of which nothing is new.
    """

    samples: int = Field(default=256, ge=1)
    """How many samples; as many things of each split are judged beside them."""
    pattern: str = ""
    """A regular expression that all of a valid thing matches."""
    command: str = ""
    """A command that reads a thing a line and writes a line for each: empty, 0 or false where it is not valid. It is
    run only where the metric is asked for by `evaluate`, and not because a run's recipe has it."""

    @field_validator("pattern")
    @classmethod
    def _compiled(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return pattern

    @property
    def runs(self) -> str:
        return self.command

    def measure(self, view: View) -> list[MetricRecord]:
        if view.things is None:
            raise UnsupportedQuery("there are no samples to judge", hint="leave the metric out")
        things = view.things(self.samples, view.seed)
        made, held, copied = (self.shares(texts, things.learned) for texts in (things.made, things.held, things.copied))
        return [_record(name, made[name], held[name], copied[name]) for name in made]

    def shares(self, texts: Sequence[str], learned: frozenset[str]) -> dict[str, tuple[float, int]]:
        """Valid, unique and new, each with of how many it is the share."""
        checked = bool(self.pattern or self.command)
        valid = [text for text, good in zip(texts, self._valid(texts), strict=True) if good]
        different = set(valid)
        found = {"valid": (len(valid), len(texts))} if checked else {}
        found |= {"unique": (len(different), len(valid)), "new": (len(different - learned), len(different))}
        return {name: (part / whole if whole else float("nan"), whole) for name, (part, whole) in found.items()}

    def _valid(self, texts: Sequence[str]) -> list[bool]:
        good = [not self.pattern or re.fullmatch(self.pattern, text) is not None for text in texts]
        if not self.command:
            return good
        lines = "".join(" ".join(text.splitlines()) + "\n" for text in texts)
        try:
            done = subprocess.run(
                shlex.split(self.command), input=lines, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"the command cannot be run: {error}", path="metrics.things.command") from None
        answers = done.stdout.removesuffix("\n").split("\n")
        if done.returncode or len(answers) != len(texts):
            said = done.stderr.strip().splitlines()[-1:] or [f"{len(answers)} lines for {len(texts)} things"]
            raise ConfigError(
                f"the command failed: {said[0]}",
                path="metrics.things.command",
                hint="it reads a thing a line, and writes a line for each: 1 or 0",
            )
        told = [answer.strip().lower() not in {"", "0", "false"} for answer in answers]
        return [one and other for one, other in zip(good, told, strict=True)]


def _record(name: str, made: tuple[float, int], held: tuple[float, int], copied: tuple[float, int]) -> MetricRecord:
    share, count = made
    return {
        "name": name,
        "value": share,
        "unit": "share",
        "kind": "estimate",
        "stderr": float(np.sqrt(share * (1 - share) / count)) if count else None,
        "better": "nominal",
        "nominal": held[0],
        "count": count,
        "context": f"held-out data: {held[0]:.3g}, copied training data: {copied[0]:.3g}",
    }
