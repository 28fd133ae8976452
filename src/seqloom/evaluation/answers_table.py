"""The table of how like answers are to the true ones: models above, what is answered without a model below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seqloom.core.progress import count, listed
from seqloom.evaluation.measured import MeasuredRow, MeasuredTable

LEGEND = (
    "bleu and chrf from 0 to 100, rouge l and exact shares: higher is better; word and character error are edits over "
    "the length of the true answers: lower is better. Each with half of its 95 % interval over pairs"
)
LEGEND_OF_LABELS = (
    "accuracy is the share of labels that are right, f1 the mean of the labels' F-scores, entities the F-score of "
    "marked stretches: higher is better. Each with half of its 95 % interval over pairs"
)
DECISIVE = ("chrf", "accuracy")
"""By which measure it is told whether a model is better than what needs none: the first that there is."""


@dataclass(frozen=True)
class AnswersTable(MeasuredTable):
    """How like the answers of models are to the true ones, beside baselines."""

    pairs: int
    """Of the test split, that were answered."""

    @property
    def in_words(self) -> str:
        """What was compared."""
        return f"answers to {count(self.pairs, 'source')} of the test split, each about the likeliest"

    def cells(self, row: MeasuredRow) -> list[str]:
        """The measures of a row with their intervals, as people read them."""
        return [_cell(row.measures.get(name), row.value(name)) for name in self.measures]

    @property
    def signatures(self) -> str:
        """What another must know to measure the same."""
        found = {m["name"]: m["signature"] for row in self.rows for m in row.measures.values() if m.get("signature")}
        return "; ".join(f"{name}: {signature}" for name, signature in found.items())

    @property
    def legend(self) -> str:
        """What the columns are."""
        legend = LEGEND_OF_LABELS if "accuracy" in self.measures else LEGEND
        return ". ".join(filter(None, [legend, self.signatures]))

    @property
    def verdict(self) -> list[str]:
        """Which models answer no better than what needs none, as sentences."""
        name = next((one for one in DECISIVE if one in self.measures), "")
        best = max((row for row in self.rows if row.baseline), key=lambda row: row.value(name) or 0.0, default=None)
        if best is None or best.value(name) is None:
            return []
        bar = best.measures[name]["interval"][1]
        worse = [
            row.name
            for row in self.rows
            if not row.baseline and name in row.measures and row.measures[name]["interval"][0] <= bar
        ]
        if not worse:
            return []
        verb = "answers" if len(worse) == 1 else "answer"
        return [f"{listed(worse)} {verb} no better, as far as these pairs can tell, than the {best.name}."]

    def data(self) -> dict[str, Any]:
        """The table as plain values."""
        return {"pairs": self.pairs, **super().data()}


def _cell(measure: Mapping[str, Any] | None, value: float | None) -> str:
    if measure is None or value is None:
        return "–"
    places = 1 if measure["unit"] != "share" else 3
    low, high = measure["interval"]
    return f"{value:.{places}f} ± {(high - low) / 2:.{places}f}"


def answers_table(rows: Sequence[MeasuredRow], baselines: Mapping[str, Mapping[str, Any]]) -> AnswersTable:
    """The table of these models, and of the measures of each baseline."""
    below = [MeasuredRow(name, measures, baseline=True) for name, measures in baselines.items()]
    pairs = max((int(m["count"]) for row in (*rows, *below) for m in row.measures.values()), default=0)
    return AnswersTable(pairs, rows=(*rows, *below))
