"""Metric: what a trained model is judged by. A family: a new one is one file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from seqloom.core.config import Component
from seqloom.core.progress import listed
from seqloom.sequence.query import Kind, Score

if TYPE_CHECKING:
    from seqloom.metrics.answers import Answering
    from seqloom.metrics.forecast import Rolling
    from seqloom.metrics.likelihood import Reading
    from seqloom.metrics.novelty import Copying
    from seqloom.metrics.synthesis import Synthesising
    from seqloom.metrics.things import Making
    from seqloom.network.network import Network
    from seqloom.processes.base import Process

MetricRecord = dict[str, Any]
"""The fields of a metric's record: name, value, unit, kind, stderr, better (lower or higher), count and others."""
FIELDS = ("name", "value", "unit", "kind", "stderr", "better", "count")
NUMBERS = ("value", "stderr", "count")
"""The fields that are numbers; a standard error may be None."""


def _nothing(share: float) -> None:
    """Progress that is not reported."""


@dataclass(frozen=True)
class View:
    """The arguments of a metric: the network and its process, one encoded split, and samples of the model.

    `sample(count, seed)` makes values of the model, beside conditions of the split where it has such; `values()` gives
    those of the split as the files have them. `full` asks for all where an expensive metric would take a part,
    `windows` limits that part. `forecasts` makes forecasts from origins in the split, `synthetic` samples beside the
    real data, where such data have any, and `copies` samples of symbols beside what was learned from, `things` whole
    ones, as text, and `answers` those to the sources of pairs.
    """

    network: Network
    process: Process
    reading: Reading
    sample: Callable[[int, int], Sequence[Any]] | None = None
    values: Callable[[], Sequence[Any]] | None = None
    forecasts: Rolling | None = None
    synthetic: Synthesising | None = None
    copies: Copying | None = None
    things: Making | None = None
    answers: Answering | None = None
    full: bool = False
    windows: int | None = None
    seed: int = 0
    progress: Callable[[float], None] = _nothing


class Metric(Component, home="seqloom.metrics"):
    """One way to judge a model on a split."""

    @property
    def runs(self) -> str:
        """A command that it runs: not one that stands in the recipe of a run, which somebody may have given you."""
        return ""

    @abstractmethod
    def measure(self, view: View) -> list[MetricRecord]:
        """One record or several, the headline first."""


def wrong_with(records: Any) -> str:
    """What is wrong with what a metric returned, in words; nothing where it is records with all FIELDS."""
    if not isinstance(records, (list, tuple)) or not all(isinstance(record, Mapping) for record in records):
        return f"it returned {type(records).__name__}, where a list of records is wanted"
    for number, record in enumerate(records, 1):
        name = record.get("name", number)
        missing = [field for field in FIELDS if field not in record]
        if missing:
            return f"its record {name!r} lacks {listed(missing)}"
        if record["kind"] not in get_args(Kind):
            return f"the kind of its record {name!r} is {record['kind']!r}, and not {' or '.join(get_args(Kind))}"
        for field in NUMBERS:
            value = record[field]
            if not (isinstance(value, int | float) or (field == "stderr" and value is None)):
                return f"{field} of its record {name!r} is {value!r}, where an int or a float is wanted"
    return ""


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
        **({"loses": score.loses} if score.loses else {}),
    }
