"""Rows of a table of measures: models above, what they are compared with below."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

from seqloom.core.progress import columns, decimal

MARKS = {"exact": "=", "bound": "≤", "estimate": "≈"}
"""How a table says what a value is."""


@dataclass(frozen=True)
class MeasuredRow:
    """One line of a table: measures by name, and how they came about."""

    name: str
    measures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    note: str = ""
    baseline: bool = False

    def value(self, measure: str) -> float | None:
        """A measure, where there is one that is a number."""
        value = self.measures.get(measure, {}).get("value")
        return float(value) if value is not None and math.isfinite(value) else None

    def cells(self, measures: Sequence[str]) -> list[str]:
        """Measures as people read them; a dash where there is none."""
        values = [self.value(measure) for measure in measures]
        return ["–" if value is None else decimal(value) for value in values]

    def data(self) -> dict[str, Any]:
        """The row as plain values."""
        metrics = list(self.measures.values())
        return {"name": self.name, "baseline": self.baseline, "note": self.note, "metrics": metrics}


def by_name(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Records by their names."""
    return {str(record["name"]): record for record in records}


def lines_of(heads: Sequence[str], rows: Sequence[tuple[MeasuredRow, Sequence[str]]]) -> list[str]:
    """A table for a terminal: rows with their cells, and below it what was not measured, and why."""
    taken = [(row, cells) for row, cells in rows if row.measures]
    cells = [list(heads), *([row.name, *own] for row, own in taken)]
    widths = [max(columns(line[i]) for line in cells) for i in range(len(heads))]
    ready = []
    for line in cells:
        padded = [" " * (width - columns(cell)) for cell, width in zip(line, widths, strict=True)]
        first = f"{line[0]}{padded[0]}"
        ready.append("  ".join([first, *(space + cell for cell, space in zip(line[1:], padded[1:], strict=True))]))
    models = sum(not row.baseline for row, _ in taken)
    rule = "─" * sum(widths, 2 * (len(widths) - 1))
    body = [ready[0], rule, *ready[1 : 1 + models], rule, *ready[1 + models :]]
    return body + [f"{row.name}: {row.note}" for row, _ in rows if not row.measures]


@dataclass(frozen=True)
class MeasuredTable:
    """Rows of measures with what was compared and what the columns are; each kind of table says these."""

    _: KW_ONLY
    rows: tuple[MeasuredRow, ...]

    chosen: ClassVar[Sequence[str]] = ()
    """The measures that have columns, in order; none: all that any row has."""
    short: ClassVar[Mapping[str, str]] = {}
    """What is shortened in the names of columns, and to what."""
    explained: ClassVar[str] = ""
    """What the columns are."""

    @property
    def in_words(self) -> str:
        """What was compared."""
        raise NotImplementedError

    @property
    def legend(self) -> str:
        """What is said of the columns below them."""
        return self.explained

    @property
    def verdict(self) -> list[str]:
        """What the table shows, as sentences."""
        return []

    @property
    def measures(self) -> Sequence[str]:
        """The measures that have columns."""
        return self.chosen or list(dict.fromkeys(name for row in self.rows for name in row.measures))

    @property
    def names(self) -> list[str]:
        """What the columns are called."""
        found = []
        for name in self.measures:
            for long, short in self.short.items():
                name = name.replace(long, short)
            found.append(name.replace("_", " "))
        return found

    def cells(self, row: MeasuredRow) -> list[str]:
        """The measures of a row as people read them."""
        return row.cells(self.measures)

    def lines(self) -> list[str]:
        """The table for a terminal."""
        drawn = lines_of(["", *self.names], [(row, self.cells(row)) for row in self.rows])
        return [self.in_words, *drawn, "", *textwrap.wrap(self.legend, max(60, columns(drawn[0])))]

    def data(self) -> dict[str, Any]:
        """The table as plain values."""
        return {"rows": [row.data() for row in self.rows]}
