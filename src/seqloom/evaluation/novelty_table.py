"""The table of how new and varied samples of symbols are, and what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from seqloom.core.progress import listed
from seqloom.evaluation.measured import MeasuredRow, MeasuredTable

COPIED = 1.5
"""How much longer than in held-out data copied runs are of which it is said that they were remembered."""
LEGEND = (
    "copied: the longest run of a sample that stands in the training split, in elements, on average; distinct N: how "
    "many of all runs of N elements are different; ngrams N: how far, in bits, the frequencies of runs of N elements "
    "are from those of the training split; repetition: how many runs stood before in the same sample. Each is best "
    "where it is that of held-out data"
)


@dataclass(frozen=True)
class NoveltyTable(MeasuredTable):
    """How new and varied the samples of models are, beside held-out data."""

    explained: ClassVar[str] = LEGEND

    length: int
    """Elements of a sample at most."""

    @property
    def in_words(self) -> str:
        """What was compared."""
        made = {str(int(record["count"])) for row in self.rows for record in row.measures.values()}
        return (
            f"samples of up to {self.length} elements ({listed(sorted(made), 'or')} of each model) beside held-out data"
        )

    @property
    def verdict(self) -> list[str]:
        """Which models repeat what they learned from, as sentences."""
        sentences = []
        for row in self.rows:
            copied = row.measures.get("copied")
            if row.baseline or copied is None or copied.get("nominal") is None:
                continue
            sure = copied["value"] - 2 * (copied["stderr"] or 0.0)
            if sure > COPIED * copied["nominal"]:
                sentences.append(
                    f"Samples of {row.name} hold runs of {copied['value']:.0f} elements from the training split, where "
                    f"held-out data hold {copied['nominal']:.0f}: part of them is remembered rather than made."
                )
        return sentences

    def data(self) -> dict[str, Any]:
        """The table as plain values."""
        return {"length": self.length, **super().data()}


def novelty_table(rows: Sequence[MeasuredRow], length: int) -> NoveltyTable:
    """The table of these models, and the row of held-out data that all of them are compared with."""
    first = next((row.measures for row in rows if row.measures), {})
    held = {
        name: {**record, "value": record["nominal"], "stderr": None}
        for name, record in first.items()
        if record.get("nominal") is not None
    }
    return NoveltyTable(length, rows=(*rows, MeasuredRow("held-out data", held, baseline=True)))
