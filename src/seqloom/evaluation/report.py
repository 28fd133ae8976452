"""Report: a comparison as JSON, as a table for a terminal, and as one self-contained page."""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqloom.core import durable, fan
from seqloom.core.figures import PALETTE, Numbers
from seqloom.core.progress import columns, decimal, duration, listed, number
from seqloom.evaluation import plots
from seqloom.evaluation.comparison import Comparison, Paths, Picture, Row
from seqloom.evaluation.conclusions import against_baselines, best, conclusions, interval_of, summary
from seqloom.evaluation.measured import MARKS
from seqloom.sequence.answer import Answer

LEGEND = "= exact value   ≤ bound: the model's own value is this or lower   ≈ estimate: may be off to either side"
PAGE_WIDTH = 5.6
"""Inches of a fan chart that has a page to itself: its text can be read on a phone and is not huge on a desk."""
LONGEST_SAMPLE = 4000
"""Characters of a sample that the page shows."""


# ---- as data and as a table ---------------------------------------------------------------------------------------


def table(comparison: Comparison) -> list[dict[str, Any]]:
    """The rows of `compare --json`, in the order that the models were named in."""
    rows = []
    for row in comparison.rows:
        likelihood = None
        if row.likelihood is not None:
            likelihood = {**row.likelihood, "ci95": None if row.ci95 is None else list(row.ci95)}
        values: dict[str, Any] = {
            "model": row.model,
            "parameters": row.parameters,
            "seconds": row.seconds,
            "likelihood": likelihood,
            "elements_per_second": row.elements_per_second,
            "samples_per_second": row.samples_per_second,
            "first_element_ms": row.first_element_ms,
            "operations": row.operations,
            "peak_memory_mb": row.peak_memory_mb,
            "seeds": row.seeds,
            "runs": list(row.runs),
            **{name: dict(metric) for name, metric in row.extra.items()},
            **{name: dict(metrics) for name, metrics in row.tables.items()},
        }
        rows.append(durable.finite(values if row.error is None else {**values, "error": row.error}))
    return rows


def plain(comparison: Comparison, report: Path | str) -> dict[str, Any]:
    """The one JSON value of `compare --json`."""
    return {
        "data": comparison.data,
        "fingerprint": comparison.test.fingerprint,
        "unit": comparison.unit,
        "minutes": comparison.minutes,
        "rows": table(comparison),
        "baselines": [
            durable.finite(
                {"name": b.name, "value": comparison.baseline_value(b), "unit": comparison.unit, "note": b.note}
            )
            for b in comparison.baselines
        ],
        **{name: durable.finite(table.data()) for name, table in comparison.tables.items()},
        "conclusions": conclusions(comparison),
        "report": str(report),
    }


def plain_table(comparison: Comparison) -> str:
    """The table for a terminal: models by kind, baselines under a line, what the marks mean, and how it stands."""
    extra = [metric_word(name) for name in comparison.metrics]
    speeds = ("elements/s", "samples/s", "first ms")
    heads = ("model", comparison.unit, "context", "seeds", "parameters", *speeds, "MB", *extra)
    lines: list[Sequence[str]] = [heads]
    failed = []
    for row in comparison.ordered:
        if not row.measured:
            failed.append(f"{row.model}: {row.failure}")
            continue
        value = "–" if row.value is None else " ".join(shown_value(row))
        lines.append((row.model, value, row.context, str(row.seeds), *_measures(row), *_extras(comparison, row)))
    divided = len(lines)
    known = [(b, comparison.baseline_value(b)) for b in comparison.baselines]
    lines += [(b.name, f"= {decimal(value)}", *[""] * (len(heads) - 2)) for b, value in known]
    widths = [max(columns(line[i]) for line in lines) for i in range(len(heads))]
    # The values stand with their marks and points under each other; other numbers end together.
    ready = [_padded(line, widths) for line in lines]
    rule = "─" * sum(widths, 2 * (len(widths) - 1))
    for i, (baseline, _) in enumerate(known, divided):
        ready[i] = f"{_padded(lines[i][:2], widths)}  {baseline.note}"
    body = [ready[0], rule, *ready[1:divided], *failed]
    if known:
        body += [rule, *ready[divided:]]
    tables = [line for table in comparison.tables.values() for line in ("", *table.lines())]
    return "\n".join([*body, "", LEGEND, *against_baselines(comparison), *tables])


def metric_word(name: str) -> str:
    """The name of a further metric as people read it."""
    return name.removeprefix("likelihood_").replace("_", " ")


def _extras(comparison: Comparison, row: Row) -> list[str]:
    """Every further metric of a row, with its mark and interval, and its unit where that is not the table's."""
    cells = []
    for name in comparison.metrics:
        metric = row.extra.get(name)
        value = None if metric is None else metric.get("value")
        if metric is None or value is None:
            cells.append("–")
            continue
        unit = metric.get("unit") or ""
        mark = MARKS.get(str(metric.get("kind")), "")
        low, high = interval_of(metric)
        half = f" ± {decimal((high - low) / 2)}" if high > low else ""
        cells.append(f"{mark} {decimal(value)}{half} {'' if unit == comparison.unit else unit}".strip())
    return cells


def shown_value(row: Row) -> tuple[str, str]:
    """`≤ 2.310` and `± 0.012`: the kind and the value, and half of its interval where there is one."""
    assert row.value is not None
    half = "" if row.ci95 is None else f"± {decimal((row.ci95[1] - row.ci95[0]) / 2)}"
    return f"{MARKS[row.kind]} {decimal(row.value)}", half


# ---- as a page ----------------------------------------------------------------------------------------------------


def write_report(comparison: Comparison, path: Path) -> None:
    """One HTML file that needs nothing else: no scripts, nothing fetched, readable on a phone, in light and dark."""
    durable.write_text(path, page(comparison))


def page(comparison: Comparison) -> str:
    """The report as HTML; every name, sample and message in it is escaped."""
    scored = [row for row in comparison.ordered if row.value is not None]
    measured = [row for row in comparison.ordered if row.measured]
    return _filled(
        "report.html.j2",
        comparison=comparison,
        title=f"{listed(row.model for row in comparison.rows)} on {comparison.data}",
        rows=comparison.ordered,
        values={row.model: shown_value(row) for row in scored},
        measures={row.model: _measures(row) for row in measured},
        extras={row.model: _extras(comparison, row) for row in measured},
        metrics=[metric_word(name) for name in comparison.metrics],
        failures={row.model: row.failure for row in comparison.rows if not row.measured},
        best=best(comparison),
        legend=LEGEND.split("   "),
        answers=comparison.answers,
        novelty=comparison.novelty,
        by_data=comparison.by_data,
        data_curve=_data_curve(comparison).decode(),
        ahead=comparison.forecasts,
        synthesis=comparison.synthesis,
        duration=duration,
        summary=summary(comparison),
        conclusions=conclusions(comparison),
        curves=[figure.decode() for figure in _curves(comparison)],
        texts=[row for row in comparison.ordered if isinstance(row.samples, tuple) and row.samples],
        pictures=[
            (row, base64.b64encode(row.samples.png).decode())
            for row in comparison.ordered
            if isinstance(row.samples, Picture)
        ],
        forecasts=[(row, figure.decode()) for row, figure in _forecasts(comparison)],
        filled=[(row, figure.decode()) for row, figure in _filled_gaps(comparison)],
        calibration=_calibration(comparison).decode(),
        beside=_beside(comparison).decode(),
        longest=LONGEST_SAMPLE,
    )


def forecast_page(title: str, parts: Sequence[tuple[str, Answer, Numbers | None]]) -> str:
    """Forecasts as HTML: of each series its name, its fan chart, and mean and quantiles of every column.

    A part is a name, which a series that is alone has not, what was forecast, and what really followed where that is
    known.
    """
    return _filled("forecast.html.j2", title=title, parts=[_part(name, answer, truth) for name, answer, truth in parts])


def _part(name: str, answer: Answer, truth: Numbers | None) -> dict[str, Any]:
    statistics = answer.statistics()
    tables = [
        (column, {key: numbers[:, d].tolist() for key, numbers in statistics.items()})
        for d, column in enumerate(answer.columns)
    ]
    return {
        "name": name,
        "count": len(answer.values),
        "seed": answer.seed,
        "chart": answer.plot(truth=truth, width=PAGE_WIDTH).data.decode(),
        "tables": tables,
        "element": answer.element,
        "elements": fan.without_seconds([answer.elements[i] for i in answer.new]),
    }


def _filled(template: str, **values: Any) -> str:
    """A page of the templates; what it is given is escaped unless the template trusts it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("seqloom.evaluation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=lambda value: f"{value:,.0f}", decimal=decimal, visible=visible)
    made = environment.get_template(template).render(**values)
    # A lone surrogate has no UTF-8; a page must not fail for what a model wrote.
    return made.encode("utf-8", "replace").decode("utf-8")


def visible(text: str) -> str:
    """A sample as a page can show it: control characters, which HTML forbids, as their pictures."""
    return "".join(
        ch if ch in "\n\t" or unicodedata.category(ch) not in {"Cc", "Cs"} else _picture(ord(ch)) for ch in text
    )


def _picture(code: int) -> str:
    return chr(0x2400 + code) if code < 32 else "␡" if code == 127 else "�"


def _colours(comparison: Comparison) -> dict[str, str]:
    """A colour for each model, the same in all figures."""
    return {row.model: PALETTE[i % len(PALETTE)] for i, row in enumerate(comparison.ordered)}


def _curves(comparison: Comparison) -> list[bytes]:
    drawn = [row for row in comparison.ordered if any(row.curves)]
    if not drawn:
        return []
    colours = _colours(comparison)
    lines = []
    for row in drawn:
        label = row.model + ("" if row.kind in {"exact", ""} else f" ({row.kind})")
        lines.append(plots.Line(label, row.curves, colours[row.model]))
    levels = [plots.Level(b.name, comparison.baseline_value(b)) for b in comparison.baselines]
    counted = [
        plots.Line(
            line.label, [[(s, n * (row.operations or 0), v) for s, n, v in curve] for curve in line.curves], line.colour
        )
        for line, row in zip(lines, drawn, strict=True)
        if row.operations
    ]
    figures = [plots.learning_curves(lines, levels, across, comparison.unit) for across in ("seconds", "elements")]
    return figures + ([plots.learning_curves(counted, levels, "operations", comparison.unit)] if counted else [])


def _data_curve(comparison: Comparison) -> bytes:
    """The values of models and baselines against the elements that they learned from; nothing where one part did."""
    curve, colours = comparison.by_data, _colours(comparison)
    if curve is None:
        return b""
    elements = [portion.elements for portion in curve.portions]
    lines = []
    for row in curve.rows:
        measured = [row.measures.get(portion.key, {}) for portion in curve.portions]
        values = [row.value(portion.key) for portion in curve.portions]
        ends = [(m.get("ci95") or (v, v)) for m, v in zip(measured, values, strict=True)]
        points = [(n, v, *end) for n, v, end in zip(elements, values, ends, strict=True) if v is not None]
        lines.append(plots.Against(row.name, points, "" if row.baseline else colours.get(row.name, ""), row.baseline))
    return plots.against_data(lines, comparison.unit)


def _forecasts(comparison: Comparison) -> list[tuple[Row, bytes]]:
    known = [(row, row.samples) for row in comparison.ordered if isinstance(row.samples, Paths)]
    if not known:
        return []
    colours = _colours(comparison)
    first = known[0][1]
    alike = all(made.paths.shape[1:] == first.paths.shape[1:] for _, made in known)
    limits = fan.fan_limits([made.paths for _, made in known], first.history, first.truth) if alike else None
    return [
        (
            row,
            fan.fan_chart(
                made.paths,
                made.columns,
                history=made.history,
                truth=made.truth,
                colour=colours[row.model],
                step=made.step,
                limits=limits,
            ),
        )
        for row, made in known
    ]


def _filled_gaps(comparison: Comparison) -> list[tuple[Row, bytes]]:
    """A gap that each model filled, where it can."""
    colours, drawn = _colours(comparison), []
    for row in comparison.ordered:
        if isinstance(row.samples, Paths) and row.samples.filled is not None:
            gap = row.samples.filled
            figure = fan.fan_chart(
                gap.paths, row.samples.columns, known=gap.known, truth=gap.truth, colour=colours[row.model]
            )
            drawn.append((row, figure))
    return drawn


def _beside(comparison: Comparison) -> bytes:
    """Real windows and those of each model that was asked for samples; nothing where none was."""
    table, colours = comparison.synthesis, _colours(comparison)
    made = [(row.model, row.windows, colours[row.model]) for row in comparison.ordered if row.windows is not None]
    if table is None or table.shown is None or not made:
        return b""
    return plots.beside([("real", table.shown, ""), *made], table.columns)


def _calibration(comparison: Comparison) -> bytes:
    """Where the truth lay among the paths of each model that forecast; nothing where none did."""
    colours = _colours(comparison)
    histograms = [
        (row.model, row.forecast["pit"]["histogram"], colours[row.model])
        for row in comparison.ordered
        if "pit" in row.forecast
    ]
    return plots.calibration(histograms) if histograms else b""


# ---- numbers as people read them ----------------------------------------------------------------------------------


def _measures(row: Row) -> list[str]:
    """Parameters, elements and samples a second, the time to a first element, and memory; a dash where not measured."""
    samples = row.samples_per_second
    return [
        "–" if row.parameters is None else number(row.parameters),
        "–" if row.elements_per_second is None else number(row.elements_per_second),
        "–" if samples is None else f"{samples:.2g}" if 0 < samples < 1 else number(samples),
        "–" if row.first_element_ms is None else f"{row.first_element_ms:.3g}",
        "–" if row.peak_memory_mb is None else f"{row.peak_memory_mb:,.0f}",
    ]


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = []
    for i, (cell, width) in enumerate(zip(cells, widths, strict=False)):
        space = " " * (width - columns(cell))
        parts.append(cell + space if i < 3 else space + cell)
    return "  ".join(parts).rstrip()
