"""Forecasts of a model, or of several, beside those of the baselines: one table, on the same origins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from seqloom.core.config import make
from seqloom.core.errors import SeqloomError
from seqloom.evaluation.baselines.base import Baseline, ForecastTask
from seqloom.evaluation.forecast_table import HEADLINE, ForecastTable
from seqloom.evaluation.measured import MeasuredRow, by_name
from seqloom.metrics.forecast import Backtest, measures
from seqloom.model import Model
from seqloom.rolling import Origins, Progress, forecast_from, origins_of_run

JOINT = ("crps_sum", "energy")
"""Measures of what holds several numbers together."""
DRAWING = 0.8
"""Of the time that a table takes, about, the share that the model's own paths take."""


def table_of(origins: Origins, models: Sequence[MeasuredRow], baselines: Sequence[MeasuredRow]) -> ForecastTable:
    """The table of rows about the same origins: of models and of baselines the best first."""
    rows = [row for several in (models, baselines) for row in sorted(several, key=_headline)]
    return ForecastTable(
        origins.horizon, len(origins.each), origins.stride, origins.season, origins.notes, rows=tuple(rows)
    )


def _headline(row: MeasuredRow) -> float:
    value = row.value(HEADLINE)
    return math.inf if value is None else value


def baseline_rows(names: Sequence[str], origins: Origins, progress: Progress | None = None) -> list[MeasuredRow]:
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
                MeasuredRow(baseline.label, note=f"not taken: {error or 'the memory is used up'}", baseline=True)
            )
            continue
        if made is None:
            continue
        measured = {} if not made.paths else by_name(measures(origins.measured(made.paths)))
        if not made.joint:
            measured = {name: record for name, record in measured.items() if name not in JOINT}
        rows.append(MeasuredRow(baseline.label, measured, made.note, baseline=True))
    return rows


def evaluate_forecasts(
    model: Model,
    data: str | None,
    split: str,
    asked: Backtest,
    progress: Progress | None = None,
) -> ForecastTable:
    """Forecasts of a run from rolling origins in a split of its data, or in other data, beside the baselines.

    Errors:
        UnsupportedQuery where such data are not forecast, DataError where the split is shorter than the horizon.
    """
    assert model.run is not None
    origins = origins_of_run(model.run, data, split, asked)

    def drawing(share: float, text: str) -> None:
        if progress is not None:
            progress(DRAWING * share, text)

    def ruling(share: float, text: str) -> None:
        if progress is not None:
            progress(DRAWING + (1 - DRAWING) * share, text)

    made = forecast_from(model, origins, asked, drawing)
    row = MeasuredRow(model.run.path.name, by_name(measures(origins.measured(made))))
    corrected = [] if model.correction is None else model.correction.in_words(asked.paths)
    notes = [*filter(None, (model.independence, *corrected))]
    origins = replace(origins, notes=(*origins.notes, *notes))
    return table_of(origins, [row], baseline_rows(model.codec.baselines, origins, ruling))
