"""Metric: what a trained model is judged by. A family: a new one is one file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seqloom.core.config import Component
from seqloom.sequence.query import Score

if TYPE_CHECKING:
    from seqloom.metrics.likelihood import Reading
    from seqloom.network.network import Network
    from seqloom.processes.base import Process

MetricRecord = dict[str, Any]
"""The fields of a metric's record: name, value, unit, kind, stderr, better (lower or higher), count and others."""


def _nothing(share: float) -> None:
    """Progress that is not reported."""


@dataclass(frozen=True)
class View:
    """The arguments of a metric: the network and its process, one encoded split, and samples of the model.

    `sample(count, seed)` makes values of the model from nothing; `values()` gives those of the split as the files have
    them. `full` asks for all where an expensive metric would take a part, `windows` limits that part.
    """

    network: Network
    process: Process
    reading: Reading
    sample: Callable[[int, int], Sequence[Any]] | None = None
    values: Callable[[], Sequence[Any]] | None = None
    full: bool = False
    windows: int | None = None
    seed: int = 0
    progress: Callable[[float], None] = _nothing


class Metric(Component, home="seqloom.metrics"):
    """One way to judge a model on a split."""

    @abstractmethod
    def measure(self, view: View) -> list[MetricRecord]:
        """One record or several, the headline first."""


def metric_of(name: str, score: Score) -> MetricRecord:
    """A score as scripts read it, in bits or nats a unit."""
    value, unit = score.shown
    scale = value / score.per_unit if score.per_unit else 1.0
    by_unit = scale / score.count if score.count else 0.0
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "kind": score.kind,
        "stderr": score.stderr * by_unit,
        "margin": score.margin * by_unit,
        "better": "lower",
        "count": round(score.count),
        "context": score.context,
        "draws": score.draws,
        "measure": score.measure,
    }
