"""The table of a comparison, from the results of each of its runs."""

from __future__ import annotations

import base64
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seqloom import run as runs
from seqloom.core import machine
from seqloom.corpora.base import Corpus, Prepared
from seqloom.evaluation.answers_table import AnswersTable, answers_table
from seqloom.evaluation.baselines.base import baselines_of
from seqloom.evaluation.comparison import Comparison, Filled, Paths, Picture, Row, SplitSummary, ci95
from seqloom.evaluation.data_curve import DataCurve, Portion
from seqloom.evaluation.forecast_table import ForecastTable
from seqloom.evaluation.forecasts import baseline_rows, table_of
from seqloom.evaluation.further import FurtherMeasures
from seqloom.evaluation.measured import MeasuredRow, by_name
from seqloom.evaluation.novelty_table import NoveltyTable, novelty_table
from seqloom.evaluation.synthesis import control_rows, len_of, reality_of, synthesis_table
from seqloom.evaluation.synthesis_table import SynthesisTable
from seqloom.metrics.synthesis import SynthesisMetric
from seqloom.rolling import Origins
from seqloom.sequence.query import differently


def row_of(model: str, results: Sequence[Mapping[str, Any]]) -> Row:
    """One model: the mean over its seeds that succeeded."""
    good = [result for result in results if "error" not in result]
    errors = [str(result["error"]) for result in results if "error" in result]
    if not good:
        return Row(model=model, error=errors[0])
    answers = [result["answers"]["model"] if result.get("answers") else [] for result in good]
    every = zip(good, answers, strict=True)
    by_name = [{m["name"]: m for m in (*one["metrics"], *one.get("novelty", ()), *own)} for one, own in every]
    names = dict.fromkeys(name for named in by_name for name in named)
    metrics = {name: _over_seeds([named[name] for named in by_name if name in named]) for name in names}
    errors += [f"a metric could not be taken: {failure}" for result in good for failure in result["failed"]]
    likelihood = metrics.pop("likelihood", None)
    interval = None if likelihood is None else likelihood.pop("ci95")
    forecast = {name: metric for name, metric in metrics.items() if "horizon" in metric}
    synthesis = {name: metric for name, metric in metrics.items() if "length" in metric}
    novelty = {m["name"]: metrics[m["name"]] for m in good[0].get("novelty", ())}
    answered = {m["name"]: metrics[m["name"]] for m in answers[0]}

    def mean(key: str) -> float:
        return math.fsum(result[key] for result in good) / len(good)

    first = Path(good[0]["run"])
    return Row(
        model=model,
        parameters=good[0]["parameters"],
        seconds=round(mean("seconds"), 3),
        likelihood=likelihood,
        ci95=None if interval is None else (interval[0], interval[1]),
        elements_per_second=round(mean("elements_per_second"), 1),
        samples_per_second=round(mean("samples_per_second"), 3),
        first_element_ms=round(mean("first_element_ms"), 1) if "first_element_ms" in good[0] else None,
        peak_memory_mb=max(result["peak_memory_mb"] for result in good),
        error=errors[0] if errors else None,
        seeds=len(good),
        runs=tuple(result["run"] for result in good),
        curves=tuple(tuple((a, b, c) for a, b, c in result["curve"]) for result in good),
        samples=_shown(good[0]["samples"]),
        beside=tuple(tuple((name, text) for name, text in each) for each in good[0]["samples"].get("beside", ())),
        length=good[0]["samples"]["length"],
        made=f"{good[0]['samples']['count']} at a time, of {good[0]['samples']['length']} elements",
        extra={name: one for name, one in metrics.items() if name not in {*forecast, *synthesis, *novelty, *answered}},
        forecast=forecast,
        synthesis=synthesis,
        novelty=novelty,
        answers=answered,
        unaided=(good[0].get("answers") or {}).get("baselines", {}),
        operations=good[0].get("operations"),
        windows=None if good[0].get("windows") is None else np.array(good[0]["windows"], np.float64),
        recipe=(first / runs.RECIPE).read_text(encoding="utf-8"),
    )


def _over_seeds(same: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One metric of several seeds: the mean of its values, their errors as those of the mean, and its interval."""
    spread = {key: _root_mean_square([metric.get(key) or 0.0 for metric in same]) for key in ("stderr", "margin")}
    values = [math.nan if metric["value"] is None else metric["value"] for metric in same]
    interval = ci95(values, spread["margin"])
    return {
        **same[0],
        "value": math.fsum(values) / len(values),
        **{key: value / math.sqrt(len(same)) for key, value in spread.items()},
        "ci95": None if interval is None else list(interval),
        **({"blocks": _mean_blocks([metric["blocks"] for metric in same])} if "blocks" in same[0] else {}),
    }


def _mean_blocks(several: Sequence[Sequence[Sequence[float]]]) -> list[list[float]]:
    """The blocks of a value, each the mean over the seeds; none where the seeds were scored on different ones."""
    sizes = {tuple(size for _, size in blocks) for blocks in several}
    if len(sizes) != 1:
        return []
    values = np.mean([[value for value, _ in blocks] for blocks in several], axis=0).tolist()
    return [[value, size] for value, size in zip(values, next(iter(sizes)), strict=True)]


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(math.fsum(value * value for value in values) / len(values))


def _shown(samples: Mapping[str, Any]) -> tuple[str, ...] | Paths | Picture:
    if "texts" in samples:
        return tuple(samples["texts"])
    if "picture" in samples:
        return Picture(base64.b64decode(samples["picture"]))

    def numbers(values: Any) -> Any:
        return None if values is None else np.array(values, np.float64)

    gap = samples.get("filled")
    filled = None if gap is None else Filled(*(numbers(gap[part]) for part in ("paths", "known", "truth")))
    history, truth = numbers(samples["history"]), numbers(samples["truth"])
    return Paths(tuple(samples["columns"]), numbers(samples["paths"]), history, truth, filled=filled)


def of_one_measure(rows: Sequence[Row]) -> list[Row]:
    """The rows, with an error instead of a value where one cannot be put in an order with the first scored one.

    A density has none with a probability, and what loses something of the data none with what loses something else.
    """
    first = next((row for row in rows if row.value is not None), None)

    def wrong(row: Row) -> str:
        if first is None or row.value is None:
            return ""
        if row.measure != first.measure:
            return f"its likelihood is a {row.measure}, not a {first.measure}"
        return "" if row.loses == first.loses else differently(row.loses, first.loses)

    return [replace(row, likelihood=None, ci95=None, error=why) if (why := wrong(row)) else row for row in rows]


def comparison_of(
    data: str,
    corpus: Corpus,
    prepared: Prepared,
    rows: Sequence[Row],
    *,
    minutes: float | None,
    command: Sequence[str],
    further: FurtherMeasures,
) -> Comparison:
    """The rows with the rest of a comparison: the splits, the baselines, this machine.

    Where forecasts are asked for the baselines forecast, too, from the same origins as the models; where samples are
    judged what stands beside them is measured as they were.
    """
    codec = prepared.codec
    splits = {
        name: SplitSummary(part.units, int(part.data.starts[-1]), part.fingerprint)
        for name, part in prepared.splits.items()
    }
    baselines, why_not = baselines_of(corpus, prepared)
    made = next((f"Samples/s: {row.made}." for row in rows if row.made), "")
    return Comparison(
        data=data,
        unit=f"{'bits' if codec.bits and codec.measure == 'mass' else 'nats'}/{codec.unit}",
        rows=tuple(rows),
        splits=splits,
        baselines=tuple(baselines),
        minutes=minutes,
        machine=machine.record(),
        command=shlex.join(command),
        notes=(*prepared.notes, *why_not, *filter(None, [made])),
        forecasts=_forecasts(further.origins(corpus, prepared), prepared, rows),
        novelty=_novelty(rows),
        answers=_answers(rows),
        synthesis=_synthesis(further.synthesis, corpus, prepared, rows),
    )


def data_curve(
    comparison: Comparison,
    rows: Mapping[float, Sequence[Row]],
    learned: Mapping[float, tuple[Corpus, Prepared]],
) -> DataCurve:
    """What models and baselines reach with each fraction of the training split, from the rows of each fraction."""
    portions: list[Portion] = []
    failures: dict[str, list[str]] = {}
    measures: dict[tuple[str, bool], dict[str, dict[str, Any]]] = {}
    for fraction in sorted(rows):
        corpus, prepared = learned[fraction]
        portion = Portion(fraction, int(prepared.splits["train"].data.starts[-1]))
        portions.append(portion)
        for row in of_one_measure(rows[fraction]):
            own = measures.setdefault((row.model, False), {})
            if row.value is not None:
                own[portion.key] = {**(row.likelihood or {}), "ci95": row.ci95, "fraction": fraction}
            if row.value is None or row.error is not None:
                failures.setdefault(row.model, []).append(f"{portion.share}: {row.failure}")
        whole = prepared.splits["train"].fingerprint == comparison.splits["train"].fingerprint
        for baseline in comparison.baselines if whole else baselines_of(corpus, prepared)[0]:
            kind = "bound" if prepared.codec.ambiguous else "exact"
            value = {"value": comparison.baseline_value(baseline), "unit": comparison.unit, "kind": kind}
            value |= {"fraction": fraction}
            measures.setdefault((baseline.name, True), {})[portion.key] = value
    found = [
        MeasuredRow(name, own, "" if baseline else "; ".join(failures.get(name, [])), baseline)
        for (name, baseline), own in measures.items()
    ]
    return DataCurve(comparison.unit, tuple(portions), tuple(sorted(found, key=lambda row: row.baseline)))


def _forecasts(origins: Origins | None, prepared: Prepared, rows: Sequence[Row]) -> ForecastTable | None:
    """The table of forecasts: those of the models as they were measured, and the baselines' from the same origins."""
    if origins is None:
        return None
    models = [MeasuredRow(row.model, row.forecast, "" if row.forecast else row.failure) for row in rows]
    return table_of(origins, models, baseline_rows(prepared.codec.baselines, origins))


def _novelty(rows: Sequence[Row]) -> NoveltyTable | None:
    """The table of how new samples are; None where none of the models makes symbols."""
    if not any(row.novelty for row in rows):
        return None
    models = [MeasuredRow(row.model, row.novelty, "" if row.novelty else row.failure) for row in rows]
    return novelty_table(models, max(int(row.length or 0) for row in rows))


def _answers(rows: Sequence[Row]) -> AnswersTable | None:
    """The table of how like answers are to the true ones; None where no texts are made from others."""
    first = next((row for row in rows if row.answers), None)
    if first is None:
        return None
    models = [MeasuredRow(row.model, row.answers, "" if row.answers else row.failure) for row in rows]
    return answers_table(models, {name: by_name(records) for name, records in first.unaided.items()})


def _synthesis(
    metric: SynthesisMetric | None, corpus: Corpus, prepared: Prepared, rows: Sequence[Row]
) -> SynthesisTable | None:
    """The table of samples: those of the models as they were measured, and what they are judged beside."""
    if metric is None:
        return None
    reality = reality_of(corpus, prepared.codec, "test", metric.length)
    models = [MeasuredRow(row.model, row.synthesis, "" if row.synthesis else row.failure) for row in rows]
    controls = control_rows(reality, metric, metric.samples or len_of(reality), 0)
    return synthesis_table(reality, models, controls, prepared.codec.number_names())
