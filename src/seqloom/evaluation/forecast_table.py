"""The table of forecasts: models and baselines that forecast the same rows, and what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from seqloom.core.progress import count, decimal, listed
from seqloom.evaluation.measured import MeasuredTable

HEADLINE = "wql"
"""The measure by which forecasts are said to beat others."""
SHOWN = ("wql", "mae", "crps", "crps_sum", "energy", "mase", "smape", "msis", "coverage_50", "coverage_80",
         "coverage_90", "pit")  # fmt: skip
LEGEND = (
    "Lower is better; a coverage is best at its name's share. wql: weighted quantile loss; mae: mean absolute error of "
    "the median; crps: continuous ranked probability score; crps sum: quantile loss of the sum of all columns; energy: "
    "energy score of all rows and columns together; mase: absolute error of the median, and msis: interval score of "
    "the 95 % band, both in mean changes from {} to {}; smape: symmetric relative error of the median, 0 to 2; pit: "
    "how far the places of the truth among the paths are from uniform. wql and crps sum are relative to the truth; "
    "mae, crps and energy are in standard deviations of the training rows"
)


@dataclass(frozen=True)
class ForecastTable(MeasuredTable):
    """Models and baselines that forecast the same rows, of each the best first."""

    chosen: ClassVar[Sequence[str]] = SHOWN
    short: ClassVar[Mapping[str, str]] = {"coverage": "cover"}

    horizon: int
    windows: int
    stride: int
    season: int
    notes: tuple[str, ...] = ()

    @property
    def legend(self) -> str:
        """What the measures are; without a season a change is one from row to row."""
        place = "season" if self.season > 1 else "row"
        return LEGEND.format(place, place)

    @property
    def verdict(self) -> list[str]:
        """Which baselines no model beats; nothing where each is beaten."""
        models = {row.name: row.value(HEADLINE) for row in self.rows if not row.baseline}
        known = {name: value for name, value in models.items() if value is not None}
        if not known:
            return []
        best = min(known.values())
        ahead = {row.name: row.value(HEADLINE) for row in self.rows if row.baseline}
        unbeaten = [
            f"{name} ({decimal(value)})" for name, value in ahead.items() if value is not None and value <= best
        ]
        if not unbeaten:
            return []
        return [f"Of the forecasts, no model beat {listed(unbeaten)} in {HEADLINE}; the best has {decimal(best)}."]

    @property
    def in_words(self) -> str:
        """What was forecast."""
        apart = f", {count(self.stride, 'row')} apart" if self.stride else ""
        season = f", season {self.season}" if self.season > 1 else ", no season"
        ahead = f"{count(self.horizon, 'row')} ahead from {count(self.windows, 'origin')}"
        return f"{ahead}{apart}{season}; never fitted again"

    def lines(self) -> list[str]:
        """The table for a terminal."""
        return [*super().lines(), *self.verdict]

    def data(self) -> dict[str, Any]:
        """The table as plain values."""
        return {
            "horizon": self.horizon,
            "windows": self.windows,
            "stride": self.stride,
            "season": self.season,
            **super().data(),
            "verdict": " ".join(self.verdict),
        }
