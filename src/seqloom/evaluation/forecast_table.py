"""The table of forecasts: models and baselines that forecast the same rows, and what it shows."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seqloom.core.progress import columns, count, decimal, listed

HEADLINE = "wql"
"""The measure by which forecasts are said to beat others."""
SHOWN = ("wql", "mae", "crps", "crps_sum", "energy", "mase", "smape", "msis", "coverage_50", "coverage_80",
         "coverage_90", "pit")  # fmt: skip
LEGEND = (
    "lower is better; coverage is best at its name's share. mae (of the median), crps and energy are in spreads of the "
    "training rows, mase and msis in changes from season to season, wql and crps_sum relative to the truth"
)


@dataclass(frozen=True)
class ForecastRow:
    """One line of the table: measures by name, and how they came about."""

    name: str
    measures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    note: str = ""
    baseline: bool = False

    def value(self, measure: str) -> float | None:
        """A measure, where there is one that is a number."""
        value = self.measures.get(measure, {}).get("value")
        return float(value) if value is not None and math.isfinite(value) else None


@dataclass(frozen=True)
class ForecastTable:
    """Models and baselines that forecast the same rows."""

    horizon: int
    windows: int
    stride: int
    season: int
    rows: tuple[ForecastRow, ...]
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """Which baselines no model beats; nothing where each is beaten."""
        models = {row.name: row.value(HEADLINE) for row in self.rows if not row.baseline}
        known = {name: value for name, value in models.items() if value is not None}
        if not known:
            return ""
        best = min(known.values())
        ahead = {row.name: row.value(HEADLINE) for row in self.rows if row.baseline}
        unbeaten = [
            f"{name} ({decimal(value)})" for name, value in ahead.items() if value is not None and value <= best
        ]
        return f"no model beat {listed(unbeaten)} in {HEADLINE}; the best has {decimal(best)}" if unbeaten else ""

    @property
    def in_words(self) -> str:
        """What was forecast."""
        apart = f", {count(self.stride, 'row')} apart" if self.stride else ""
        season = f", season {self.season}" if self.season > 1 else ", no season"
        ahead = f"{count(self.horizon, 'row')} ahead from {count(self.windows, 'origin')}"
        return f"{ahead}{apart}{season}; never fitted again"

    @property
    def names(self) -> list[str]:
        """What the columns are called."""
        return [name.replace("coverage_", "cover ").replace("_", " ") for name in SHOWN]

    def cells(self, row: ForecastRow) -> list[str]:
        """The measures of a row as people read them."""
        values = [row.value(name) for name in SHOWN]
        return ["–" if value is None else decimal(value) for value in values]

    def lines(self) -> list[str]:
        """The table for a terminal."""
        heads = ["", *self.names]
        taken = [row for row in self.rows if row.measures]
        cells = [heads, *([row.name, *self.cells(row)] for row in taken)]
        widths = [max(columns(line[i]) for line in cells) for i in range(len(heads))]
        ready = []
        for line in cells:
            padded = [" " * (width - columns(cell)) for cell, width in zip(line, widths, strict=True)]
            first = f"{line[0]}{padded[0]}"
            ready.append("  ".join([first, *(space + cell for cell, space in zip(line[1:], padded[1:], strict=True))]))
        models = sum(not row.baseline for row in taken)
        rule = "─" * sum(widths, 2 * (len(widths) - 1))
        body = [self.in_words, ready[0], rule, *ready[1 : 1 + models], rule, *ready[1 + models :]]
        body += [f"{row.name}: {row.note}" for row in self.rows if not row.measures]
        return [*body, "", *textwrap.wrap(LEGEND, max(60, len(rule))), *filter(None, [self.verdict])]

    def data(self) -> dict[str, Any]:
        """The table as plain values."""
        return {
            "horizon": self.horizon,
            "windows": self.windows,
            "stride": self.stride,
            "season": self.season,
            "rows": [
                {"name": row.name, "baseline": row.baseline, "note": row.note, "metrics": list(row.measures.values())}
                for row in self.rows
            ],
            "verdict": self.verdict,
        }
