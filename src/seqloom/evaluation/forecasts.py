"""Forecasts of a model, or of several, beside those of the baselines: one table, on the same origins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seqloom.core.config import make
from seqloom.core.errors import SeqloomError
from seqloom.core.progress import columns, count, decimal, listed
from seqloom.evaluation.baselines.base import Baseline, ForecastTask
from seqloom.evaluation.rolling import Origins, Progress, forecast_from, origins_of_run
from seqloom.metrics.base import MetricRecord
from seqloom.metrics.forecast import HEADLINE, measures
from seqloom.model import Model

SHOWN = ("wql", "mae", "crps", "crps_sum", "energy", "mase", "smape", "msis", "coverage_50", "coverage_80",
         "coverage_90", "pit")  # fmt: skip
JOINT = ("crps_sum", "energy")
"""Measures of what holds several numbers together."""
DRAWING = 0.8
"""Of the time that a table takes, about, the share that the model's own paths take."""
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
        return [*body, "", LEGEND, *filter(None, [self.verdict])]

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


def table_of(origins: Origins, models: Sequence[ForecastRow], baselines: Sequence[ForecastRow]) -> ForecastTable:
    """The table of rows about the same origins."""
    return ForecastTable(
        origins.horizon, len(origins.each), origins.stride, origins.season, (*models, *baselines), origins.notes
    )


def baseline_rows(names: Sequence[str], origins: Origins, progress: Progress | None = None) -> list[ForecastRow]:
    """The baselines of these names that forecast, on the same origins."""
    rows = []
    owners = [origin.owner for origin in origins.each]
    pasts = [origin.past for origin in origins.each]
    for number, name in enumerate(names):
        baseline = make(Baseline, name)

        def report(share: float, done: int = number, label: str = baseline.label) -> None:
            if progress is not None:
                progress((done + share) / len(names), label)

        task = ForecastTask(origins.train, pasts, owners, origins.horizon, origins.season, report)
        try:
            made = baseline.forecast(task)
        except (SeqloomError, MemoryError) as error:
            rows.append(
                ForecastRow(baseline.label, note=f"not taken: {error or 'the memory is used up'}", baseline=True)
            )
            continue
        if made is None:
            continue
        measured = {} if not made.paths else by_name(measures(origins.measured(made.paths)))
        if not made.joint:
            measured = {name: record for name, record in measured.items() if name not in JOINT}
        rows.append(ForecastRow(baseline.label, measured, made.note, baseline=True))
    return rows


def by_name(records: Sequence[MetricRecord]) -> dict[str, MetricRecord]:
    """Records by their names."""
    return {str(record["name"]): record for record in records}


def evaluate_forecasts(
    model: Model,
    data: str | None,
    split: str,
    horizon: int,
    windows: int | None = None,
    stride: int | None = None,
    paths: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
) -> ForecastTable:
    """Forecasts of a run from rolling origins in a split of its data, or in other data, beside the baselines.

    Errors:
        UnsupportedQuery where such data are not forecast, DataError where the split is shorter than the horizon.
    """
    assert model.run is not None
    origins = origins_of_run(model.run, data, split, horizon, windows, stride)

    def drawing(share: float, text: str) -> None:
        if progress is not None:
            progress(DRAWING * share, text)

    def ruling(share: float, text: str) -> None:
        if progress is not None:
            progress(DRAWING + (1 - DRAWING) * share, text)

    made = forecast_from(model, origins, paths, seed, drawing)
    row = ForecastRow(model.run.path.name, by_name(measures(origins.measured(made))))
    return table_of(origins, [row], baseline_rows(model.codec.baselines, origins, ruling))
