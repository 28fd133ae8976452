"""The curve of a comparison against data: what models and baselines reach with parts of the training split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seqloom.core.progress import count, decimal, listed
from seqloom.evaluation.measured import MARKS, MeasuredRow, lines_of


@dataclass(frozen=True)
class Portion:
    """A part of the training split: which fraction of it, and how many elements that is."""

    fraction: float
    elements: int

    @property
    def key(self) -> str:
        """What it is called among the measures of a row."""
        return f"{self.fraction:g}"

    @property
    def share(self) -> str:
        """As people read it."""
        return f"{100 * self.fraction:.3g} %"


@dataclass(frozen=True)
class DataCurve:
    """Values on one test split after learning from parts of one training split, the smallest part first.

    The measures of a row are the likelihood's fields by `Portion.key`; a model that failed with a part lacks that one.
    """

    unit: str
    portions: tuple[Portion, ...]
    rows: tuple[MeasuredRow, ...]

    @property
    def in_words(self) -> str:
        """What was compared."""
        return (
            f"{self.unit} on the test split after learning from parts of the training split, the same time for each: "
            + listed(f"{portion.share} ({count(portion.elements, 'element')})" for portion in self.portions)
        )

    @property
    def names(self) -> list[str]:
        """What the columns are called."""
        return [portion.share for portion in self.portions]

    def cells(self, row: MeasuredRow) -> list[str]:
        """The values of a row as people read them."""
        cells = []
        for portion in self.portions:
            value, kind = row.value(portion.key), str(row.measures.get(portion.key, {}).get("kind"))
            cells.append("–" if value is None else f"{MARKS[kind]} {decimal(value)}")
        return cells

    def lines(self) -> list[str]:
        """The table for a terminal."""
        drawn = lines_of(["", *self.names], [(row, self.cells(row)) for row in self.rows])
        return [self.in_words, *drawn, *(f"{row.name}: {row.note}" for row in self.rows if row.measures and row.note)]

    @property
    def failed(self) -> list[str]:
        """The models of which a training failed."""
        return [row.name for row in self.rows if row.note]

    def data(self) -> dict[str, Any]:
        """The table as plain values."""
        portions = [{"fraction": portion.fraction, "elements": portion.elements} for portion in self.portions]
        return {"unit": self.unit, "portions": portions, "rows": [row.data() for row in self.rows]}

    @property
    def verdict(self) -> list[str]:
        """What more data gained, and whether the order of the models depends on how much there is, as sentences."""
        models = [row for row in self.rows if not row.baseline]
        before, last = self.portions[-2:]
        steps = [(row.name, row.value(before.key), row.value(last.key)) for row in models]
        known = [(name, a, b) for name, a, b in steps if a is not None and b is not None]
        went = [f"{name} went from {decimal(a)} to {decimal(b)}" for name, a, b in known]
        sentences = []
        if went:
            sentences.append(
                f"Between {before.share} and {last.share} of the training split, in the same time each, {listed(went)} "
                f"{self.unit}: what more data gained."
            )
        lowest = {portion.share: self._lowest(models, portion) for portion in (self.portions[0], last)}
        first, final = lowest.values()
        if first and final and first != final:
            few, all_ = lowest
            sentences.append(
                f"Of the exact values that of {first} is the lowest with {few}, that of {final} with {all_}: which "
                "model suits depends on how much data there are."
            )
        return sentences

    def _lowest(self, models: Sequence[MeasuredRow], portion: Portion) -> str:
        """The model with the lowest exact value after a part of the data; nothing where none has one."""
        values = [
            (value, row.name)
            for row in models
            if row.measures.get(portion.key, {}).get("kind") == "exact"
            and (value := row.value(portion.key)) is not None
        ]
        return min(values)[1] if len(values) > 1 else ""
