"""Report: what a comparison found, as JSON, as a table for a terminal, in words, and as one self-contained page.

A value is exact, a bound from above on the model's own value, or an estimate. The three are never put in one order
without saying so: a bound below another model's exact value is a real win, a bound above it proves nothing.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seqloom.core import durable
from seqloom.core.errors import NotComparable
from seqloom.core.progress import duration, number
from seqloom.evaluation import plots
from seqloom.evaluation.baselines import Baseline

MARKS = {"exact": "=", "bound": "≤", "estimate": "≈"}
KINDS = ("exact", "bound", "estimate")
LEGEND = "= exact value   ≤ bound: the model's own value is this or lower   ≈ estimate: may be off to either side"
NORMAL_95 = 1.959964
"""Standard errors on each side of a mean that hold 95 % of a normal distribution."""
WHOLE = 0.999
"""The share of the test split from which on nothing is said of what was left out."""
LONGEST_SAMPLE = 4000
"""Characters of a sample that the page shows."""


# ---- what is known ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paths:
    """What a model makes of a series, in the data's own units: samples (N,H,D), nan where missing.

    `history` (P,D) is what they go on from, `truth` (H,D) what really followed; `step` says what one row is.
    """

    columns: tuple[str, ...]
    paths: NDArray[np.float64]
    history: NDArray[np.float64] | None = None
    truth: NDArray[np.float64] | None = None
    step: str = "rows"


@dataclass(frozen=True)
class Row:
    """One model of a comparison; what could not be measured is None.

    `likelihood` and each of `extra` hold a metric's fields as `evaluate` gives them, the value being the mean over
    the seeds. `ci95` is the interval of that mean (see `ci95`). With an `error` and a likelihood, some seeds failed.
    """

    model: str
    parameters: int | None = None
    seconds: float | None = None
    """Of training, a seed."""
    likelihood: Mapping[str, Any] | None = None
    ci95: tuple[float, float] | None = None
    elements_per_second: float | None = None
    """Read in training."""
    samples_per_second: float | None = None
    peak_memory_mb: float | None = None
    error: str | None = None
    seeds: int = 1
    """How many trainings the value is the mean of."""
    runs: tuple[str, ...] = ()
    """Where the run folders are."""
    curves: tuple[tuple[tuple[float, float, float], ...], ...] = ()
    """For each seed: (seconds, elements, validation value in the unit of the comparison)."""
    samples: tuple[str, ...] | Paths | None = None
    extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Further metrics by name, such as `likelihood_left_to_right`."""
    recipe: str = ""
    """The settings of the first seed's run, as its recipe.yaml has them."""

    @property
    def value(self) -> float | None:
        """The likelihood, where there is one that is a number."""
        value = None if self.likelihood is None else self.likelihood.get("value")
        return float(value) if value is not None and math.isfinite(value) else None

    @property
    def kind(self) -> str:
        """Exact, bound or estimate; "" where nothing was scored."""
        return "" if self.likelihood is None else str(self.likelihood["kind"])


@dataclass(frozen=True)
class Part:
    """One split of the data: how much there is of it, and its fingerprint."""

    units: float
    elements: int
    fingerprint: str


@dataclass(frozen=True)
class Comparison:
    """Models trained on one thing and scored on its test split, in one unit; NotComparable where units differ."""

    data: str
    unit: str
    """"bits/byte" or "nats/value"."""
    space: Literal["tokens", "vectors"]
    rows: tuple[Row, ...]
    splits: Mapping[str, Part]
    """By name; the test split is there."""
    baselines: tuple[Baseline, ...] = ()
    minutes: float | None = None
    """Wall-clock for each model and seed; None for finished runs, whose times are their own."""
    machine: Mapping[str, Any] = field(default_factory=dict)
    """This computer, and the versions of what ran on it."""
    command: str = ""
    """What repeats all this."""
    notes: tuple[str, ...] = ()
    """What was guessed or mended in the data."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if row.likelihood is not None and row.likelihood["unit"] != self.unit:
                raise NotComparable(f"{row.model} is scored in {row.likelihood['unit']}, the comparison in {self.unit}")
        for baseline in self.baselines:
            if baseline.unit != self.unit.partition("/")[2]:
                raise NotComparable(f"{baseline.name} is scored by {baseline.unit}, the comparison in {self.unit}")

    @property
    def test(self) -> Part:
        """The split that is scored."""
        return self.splits["test"]

    def baseline_value(self, baseline: Baseline) -> float:
        """A baseline in the unit of this comparison."""
        return baseline.bits_per_unit if self.unit.startswith("bits/") else baseline.nats_per_unit

    def share(self, row: Row) -> float:
        """How much of the test split a row's likelihood is over: windows with absent cells may be left out."""
        count = None if row.likelihood is None else row.likelihood.get("count")
        return 1.0 if count is None or not self.test.units else min(1.0, float(count) / self.test.units)

    @property
    def ordered(self) -> list[Row]:
        """Exact values from the lowest, then bounds, then estimates, then what failed: no order across kinds."""
        scored = [row for row in self.rows if row.value is not None]
        scored.sort(key=lambda row: (KINDS.index(row.kind), row.value))
        return scored + [row for row in self.rows if row.value is None]


def ci95(values: Sequence[float], stderr: float = 0.0) -> tuple[float, float] | None:
    """The 95 % interval of a mean over seeds (Student 1908), never narrower than the drawing of the values leaves it.

    Args:
        values: One value a seed.
        stderr: Standard error of one value where it was drawn (a bound over times), else 0.

    Returns:
        None for one exact value: one seed says nothing of others. One drawn value has the interval of its draws.
    """
    count = len(values)
    if not count or not all(map(math.isfinite, values)):
        return None
    mean = math.fsum(values) / count
    half = NORMAL_95 * stderr / math.sqrt(count)
    if count > 1:
        spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
        half = max(half, student_975(count - 1) * spread / math.sqrt(count))
    elif not stderr:
        return None
    return mean - half, mean + half


def student_975(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, by halving of a finite sum (Abramowitz & Stegun 26.7.3-4)."""
    assert freedom >= 1

    def within(t: float) -> float:
        angle = math.atan(t / math.sqrt(freedom))
        square = math.cos(angle) ** 2
        odd = freedom % 2
        term = math.sin(angle) * (math.cos(angle) if odd else 1.0)
        total = 0.0
        for k in range((freedom - odd) // 2):
            total += term
            term *= square * (2 * k + 1 + odd) / (2 * k + 2 + odd)
        return 2 / math.pi * (angle + total) if odd else total

    low, high = 1.0, 16.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < 0.95 else (low, middle)
    return (low + high) / 2


# ---- as data and as a table ---------------------------------------------------------------------------------------


def table(comparison: Comparison) -> list[dict[str, Any]]:
    """The rows of `compare --json`, in the order that the models were named in."""
    rows = []
    for row in comparison.rows:
        likelihood = None
        if row.likelihood is not None:
            likelihood = {**row.likelihood, "ci95": None if row.ci95 is None else list(row.ci95)}
        found: dict[str, Any] = {
            "model": row.model,
            "parameters": row.parameters,
            "seconds": row.seconds,
            "likelihood": likelihood,
            "elements_per_second": row.elements_per_second,
            "samples_per_second": row.samples_per_second,
            "peak_memory_mb": row.peak_memory_mb,
            "seeds": row.seeds,
            "runs": list(row.runs),
            **{name: dict(metric) for name, metric in row.extra.items()},
        }
        rows.append(_without_nan(found if row.error is None else {**found, "error": row.error}))
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
            _without_nan(
                {"name": b.name, "value": comparison.baseline_value(b), "unit": comparison.unit, "note": b.note}
            )
            for b in comparison.baselines
        ],
        "conclusions": conclusions(comparison),
        "report": str(report),
    }


def plain_table(comparison: Comparison) -> str:
    """The table for a terminal: models by kind, baselines under a line, what the marks mean, and how it stands."""
    heads = ("model", comparison.unit, "context", "seeds", "parameters", "elements/s", "samples/s", "MB")
    lines: list[Sequence[str]] = [heads]
    failed = []
    for row in comparison.ordered:
        if row.value is None:
            failed.append(f"{row.model}: {_failure(row)}")
            continue
        lines.append((row.model, " ".join(shown_value(row)), _context(row.likelihood), str(row.seeds), *_measures(row)))
    divided = len(lines)
    known = [(b, comparison.baseline_value(b)) for b in comparison.baselines]
    lines += [(b.name, f"= {_decimal(value)}", *[""] * 6) for b, value in known]
    widths = [max(_columns(line[i]) for line in lines) for i in range(len(heads))]
    # The values stand with their marks and points under each other; other numbers end together.
    ready = [_padded(line, widths) for line in lines]
    rule = "─" * sum(widths, 2 * (len(widths) - 1))
    for i, (baseline, _) in enumerate(known, divided):
        ready[i] = f"{_padded(lines[i][:2], widths)}  {baseline.note}"
    body = [ready[0], rule, *ready[1:divided], *failed]
    if known:
        body += [rule, *ready[divided:]]
    return "\n".join([*body, "", LEGEND, *against_baselines(comparison)])


def shown_value(row: Row) -> tuple[str, str]:
    """`≤ 2.310` and `± 0.012`: the kind and the value, and half of its interval where there is one."""
    assert row.value is not None
    half = "" if row.ci95 is None else f"± {_decimal((row.ci95[1] - row.ci95[0]) / 2)}"
    return f"{MARKS[row.kind]} {_decimal(row.value)}", half


def best(comparison: Comparison) -> set[str]:
    """Of each kind with two models or more: the lowest, and those whose intervals reach it."""
    found: set[str] = set()
    for kind in KINDS:
        values = [_Value.of(row) for row in comparison.ordered if row.value is not None and row.kind == kind]
        if len(values) > 1:
            found |= {value.model for value in values if not values[0].under(value)}
    return found


# ---- in words -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Value:
    """A likelihood and the ends of its interval; both are the value itself where nothing is known of its spread."""

    model: str
    value: float
    low: float
    high: float
    kind: str
    spread: bool
    """Whether the interval is over seeds."""

    @classmethod
    def of(cls, row: Row) -> _Value:
        assert row.likelihood is not None
        assert row.value is not None
        low, high = row.ci95 or _drawn(row.likelihood)
        return cls(row.model, row.value, low, high, row.kind, row.seeds > 1 and row.ci95 is not None)

    def under(self, other: _Value) -> bool:
        """Whether it is lower beyond both intervals."""
        return self.high < other.low


def _drawn(metric: Mapping[str, Any]) -> tuple[float, float]:
    if metric.get("ci95"):
        low, high = metric["ci95"]
        return float(low), float(high)
    half = NORMAL_95 * float(metric.get("stderr") or 0.0)
    return float(metric["value"]) - half, float(metric["value"]) + half


def conclusions(comparison: Comparison) -> list[str]:
    """What can and what cannot be concluded, a sentence or a few an item."""
    values = [_Value.of(row) for row in comparison.ordered if row.value is not None]
    exact = [value for value in values if value.kind == "exact"]
    bounds = [value for value in values if value.kind == "bound"]
    found = [_setting(comparison), *_seeds(comparison)]
    found += _exact_order(exact, comparison.unit)
    found += _bounds_against_exact(bounds, exact, comparison.unit)
    found += _left_to_right(comparison, exact)
    estimates = [value.model for value in values if value.kind == "estimate"]
    if estimates:
        found.append(
            f"{_list(estimates).capitalize()}: only estimated. An estimate may be off to either side, so nothing is "
            "concluded from its place beside exact values and bounds."
        )
    found += [
        f"{row.model} is scored on {100 * comparison.share(row):.0f} % of the test split (windows with absent cells "
        "are left out). What is said of its place holds as far as that part is no easier than the rest."
        for row in comparison.ordered
        if row.value is not None and comparison.share(row) < WHOLE
    ]
    found += _contexts(comparison)
    found += against_baselines(comparison)
    found += [f"{row.model} has no value: {_failure(row)}." for row in comparison.ordered if row.value is None]
    found += [
        f"{row.model}: not every training succeeded ({_sentence(row.error)}); its value is over the other {row.seeds}."
        for row in comparison.ordered
        if row.value is not None and row.error
    ]
    if values:
        found.append(
            "Likelihood says how well a model expects real data, not how good its samples look. And each model ran "
            "with one choice of settings: other sizes or rates could change the order."
        )
    return found


def against_baselines(comparison: Comparison) -> list[str]:
    """A sentence for each baseline: who beat it, who did not, and of whom that cannot be said."""
    values = [_Value.of(row) for row in comparison.ordered if row.value is not None]
    # What a model is known to reach at least in another exact way, such as from left to right.
    known = {
        row.model: _drawn(m)[1]
        for row in comparison.rows
        for m in row.extra.values()
        if m.get("kind") == "exact" and m.get("unit") == comparison.unit and _is_number(m.get("value"))
    }
    found = []
    for baseline in comparison.baselines:
        level = comparison.baseline_value(baseline)
        if not math.isfinite(level) or not values:
            continue
        won = [v for v in values if (v.kind != "estimate" and v.high < level) or known.get(v.model, level) < level]
        left = [v for v in values if v not in won]
        near = [v.model for v in left if v.kind != "estimate" and v.low <= level <= v.high]
        lost = [v.model for v in left if v.kind == "exact" and v.model not in near]
        unknown = [v for v in left if v.kind != "exact" and v.model not in near]
        named = f"{baseline.name} ({_decimal(level)} {comparison.unit})"
        if won:
            parts = {row.model: comparison.share(row) for row in comparison.rows}
            names = [v.model + ("" if parts[v.model] >= WHOLE else " (scored on a part)") for v in won]
            said = f"{named} is beaten by {_list(names)}" + (f", not by {_list(lost)}" if lost else "")
        elif near:
            said = f"No model clearly beat {named}"
        else:
            said = f"No model beat {named}" + (", as far as these numbers show" if unknown else "")
        if near:
            said += f"; the interval of {_list(near)} holds it, so that is not settled"
        above = [v.model for v in unknown if v.kind == "bound"]
        if above:
            said += (
                f"; the {_plural('bound', above)} of {_list(above)} {_plural('lies', above)} above it, which proves "
                f"nothing about {_plural('its', above)} own {_plural('value', above)}"
            )
        guessed = [v.model for v in unknown if v.kind == "estimate"]
        if guessed:
            said += f"; {_list(guessed)} {_plural('is', guessed)} only estimated"
        found.append(said + ".")
    return found


def _setting(comparison: Comparison) -> str:
    test, unit = comparison.test, comparison.unit.partition("/")[2]
    split = f"the test split of {comparison.data} ({test.units:,.0f} {unit}s, fingerprint {test.fingerprint})"
    if comparison.minutes is not None:
        each = duration(60 * comparison.minutes)
        return (
            f"Each training had {each} of wall-clock, alone on this machine, and every value is on {split}. Equal time "
            "favours what is fast here: on another machine, or with more time, the order may be another."
        )
    times = [row.seconds for row in comparison.rows if row.seconds]
    even = times and max(times) <= 1.05 * min(times)
    budget = "about equal times" if even else "different times, given in the table, so the budgets were not equal"
    return f"These are finished runs, which trained for {budget}. Every value is on {split}."


def _seeds(comparison: Comparison) -> list[str]:
    scored = [row for row in comparison.rows if row.value is not None]
    if not scored:
        return ["No model has a value, so nothing can be concluded."]
    single = [row for row in scored if row.seeds == 1]
    found = []
    if len(single) < len(scored):
        several = sorted({row.seeds for row in scored if row.seeds > 1})
        found.append(
            f"Values are means over {_list(map(str, several), 'or')} trainings with different seeds, ± half of a 95 % "
            "t-interval for the mean over all seeds. It says nothing of how they would do on other data."
        )
    if single:
        who = "Each model was" if len(single) == len(scored) else _list(row.model for row in single) + " was"
        drawn = [row.model for row in single if _Value.of(row).high > _Value.of(row).low]
        found.append(
            f"{who} trained once (one seed), so there is no interval over seeds: a difference is one between these "
            "trainings, and another seed may turn it round."
            + (f" The interval of {_list(drawn)} is only over what was drawn in scoring." if drawn else "")
        )
    return found


def _exact_order(exact: Sequence[_Value], unit: str) -> list[str]:
    found = []
    for index, value in enumerate(exact):
        others = exact[index + 1 :]
        clear = [other for other in others if value.under(other)]
        sure = [other for other in clear if value.spread and other.spread]
        once = [other for other in clear if other not in sure]
        near = [other for other in others if other not in clear]
        if sure:
            found.append(
                f"{value.model} is better than {_by(value, sure, unit)}: the 95 % intervals of these exact values do "
                "not overlap."
            )
        if once:
            found.append(
                f"{value.model} came out better than {_by(value, once, unit)} in exact value. For want of more seeds "
                "that is said of these trainings only."
            )
        if near:
            found.append(
                f"Between {value.model} and {_list(o.model for o in near)} nothing is decided: their 95 % intervals "
                "overlap."
            )
    return found


def _bounds_against_exact(bounds: Sequence[_Value], exact: Sequence[_Value], unit: str) -> list[str]:
    found = []
    if bounds:
        found.append(
            f"The value of {_list(b.model for b in bounds)} is a bound (≤): the model's own value is this or lower, by "
            "an unknown amount. In the table it stands after the exact values (=), whatever its size, and is not "
            "ranked with them."
        )
    for bound in bounds:
        below = [e for e in exact if bound.under(e)]
        near = [e for e in exact if e not in below and bound.low <= e.high]
        above = [e for e in exact if e not in below and e not in near]
        if below:
            once = "" if bound.spread and all(e.spread for e in below) else " of these trainings"
            found.append(
                f"The bound of {bound.model} lies below the exact value of {_by(bound, below, unit)}, beyond the error "
                f"of both. That is a real win{once}: its own value can only be lower still."
            )
        if near:
            found.append(
                f"The bound of {bound.model} lies within the error of {_list(e.model for e in near)}: not settled."
            )
        if above:
            found.append(
                f"The bound of {bound.model} lies above the exact value of {_list(e.model for e in above)}. This "
                "proves nothing: its own value may lie on either side."
            )
    if len(bounds) > 1:
        found.append(
            f"{_list(b.model for b in bounds)} stand in the order of their bounds. How far each is from its own value "
            "is not known, so the models themselves may be in another order."
        )
    return found


def _left_to_right(comparison: Comparison, exact: Sequence[_Value]) -> list[str]:
    found = []
    for row in comparison.ordered:
        for name, metric in row.extra.items():
            if not _is_number(metric.get("value")) or metric.get("unit") != comparison.unit:
                continue
            low, high = _drawn(metric)
            half = f" ± {_decimal((high - low) / 2)}" if high > low else ""
            mark, words = MARKS[str(metric["kind"])], name.removeprefix("likelihood_").replace("_", " ")
            count = f", on {metric['count']:,.0f} units" if metric.get("count") else ""
            said = f"{row.model}, {words}: {mark} {_decimal(float(metric['value']))}{half} {comparison.unit}"
            said += f" ({metric['kind']}, {_context(metric)}{count})."
            others = [e for e in exact if e.model != row.model]
            if metric["kind"] == "exact" and others:
                here = _Value(row.model, float(metric["value"]), low, high, "exact", False)
                lower = [e.model for e in others if e.under(here)]
                higher = [e.model for e in others if here.under(e)]
                near = [e.model for e in others if e.model not in lower + higher]
                ways = [(lower, "worse than"), (higher, "better than"), (near, "not told apart from")]
                parts = [f"{way} {_list(names)}" for names, way in ways if names]
                said += f" Used that way, it is {_list(parts)}."
            found.append(said)
    return found


def _contexts(comparison: Comparison) -> list[str]:
    meaning = {
        "carried": "carried: the state goes on from what came before, so an element is scored with a long past",
        "sliding": "sliding W/S: windows of W that move by S, so an element is scored with at least W - S before it",
        "windows": "windows W: independent windows of W, so an element is scored with only its window, which costs",
    }
    used: dict[str, list[str]] = {}
    for row in comparison.ordered:
        if row.value is not None:
            used.setdefault(_context(row.likelihood), []).append(row.model)
    known = [name for name in used if name]
    if not known:
        return []
    told = "; ".join(f"{_list(used[name])} with {name}" for name in known)
    words = list(dict.fromkeys(name.split()[0] for name in known))
    means = "; ".join(meaning[word] for word in words if word in meaning)
    differ = " Part of a difference may come from the context and not from the model." if len(known) > 1 else ""
    return [f"Context of an element when scored: {told}" + (f" ({means})." if means else ".") + differ]


# ---- as a page ----------------------------------------------------------------------------------------------------


def write_report(comparison: Comparison, path: Path) -> None:
    """One HTML file that needs nothing else: no scripts, nothing fetched, readable on a phone, in light and dark."""
    durable.write_text(path, page(comparison))


def page(comparison: Comparison) -> str:
    """The report as HTML; every name, sample and message in it is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("seqloom.evaluation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=lambda value: f"{value:,.0f}", decimal=_decimal, visible=visible)
    scored = [row for row in comparison.ordered if row.value is not None]
    said = {row.model: shown_value(row) for row in scored}
    made = environment.get_template("report.html.j2").render(
        comparison=comparison,
        title=f"{_list(row.model for row in comparison.rows)} on {comparison.data}",
        rows=comparison.ordered,
        said=said,
        measures={row.model: _measures(row) for row in scored},
        contexts={row.model: _context(row.likelihood) for row in scored},
        failures={row.model: _failure(row) for row in comparison.rows if row.value is None},
        best=best(comparison),
        legend=LEGEND.split("   "),
        duration=duration,
        summary=against_baselines(comparison),
        conclusions=conclusions(comparison),
        curves=[figure.decode() for figure in _curves(comparison)],
        texts=[row for row in comparison.ordered if isinstance(row.samples, tuple) and row.samples],
        forecasts=[(row, figure.decode()) for row, figure in _forecasts(comparison)],
        longest=LONGEST_SAMPLE,
    )
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
    return {row.model: plots.PALETTE[i % len(plots.PALETTE)] for i, row in enumerate(comparison.ordered)}


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
    return [
        plots.learning_curves(lines, levels, "seconds", comparison.unit),
        plots.learning_curves(lines, levels, "elements", comparison.unit),
    ]


def _forecasts(comparison: Comparison) -> list[tuple[Row, bytes]]:
    known = [(row, row.samples) for row in comparison.ordered if isinstance(row.samples, Paths)]
    if not known:
        return []
    colours = _colours(comparison)
    first = known[0][1]
    alike = all(made.paths.shape[1:] == first.paths.shape[1:] for _, made in known)
    limits = plots.forecast_limits([made.paths for _, made in known], first.history, first.truth) if alike else None
    return [
        (
            row,
            plots.forecast_plot(
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


# ---- words and numbers --------------------------------------------------------------------------------------------


def _decimal(value: float) -> str:
    """Three decimals; fewer for large numbers, more for small ones, so that about as many digits tell something."""
    if not math.isfinite(value):
        return "not finite"
    places = 3 if abs(value) < 100 else 1
    if value and abs(value) < 0.0005:
        return "0.0000" if abs(value) < 5e-5 else f"{value:.4f}"
    return f"{value:.{places}f}".replace("-", "−")


def _measures(row: Row) -> tuple[str, str, str, str]:
    """Parameters, elements and samples a second, and memory, as people read them; a dash where not measured."""
    samples = row.samples_per_second
    return (
        "–" if row.parameters is None else number(row.parameters),
        "–" if row.elements_per_second is None else number(row.elements_per_second),
        "–" if samples is None else f"{samples:.2g}" if 0 < samples < 1 else number(samples),
        "–" if row.peak_memory_mb is None else f"{row.peak_memory_mb:,.0f}",
    )


def _context(metric: Mapping[str, Any] | None) -> str:
    return "" if metric is None else str(metric.get("context") or "")


def _failure(row: Row) -> str:
    if row.error:
        return _sentence(row.error)
    return "its likelihood is not finite" if row.likelihood is not None else "it was not scored"


def _sentence(error: str | None) -> str:
    """A message on one line, without the full stop at its end."""
    return " ".join((error or "").split()).removesuffix(".")


def _by(value: _Value, others: Sequence[_Value], unit: str) -> str:
    """`gru (by 0.050 bits/byte) and rnn (by 0.300)`."""
    parts = [
        f"{o.model} (by {_decimal(o.value - value.value)}{f' {unit}' if n == 0 else ''})" for n, o in enumerate(others)
    ]
    return _list(parts)


def _list(names: Iterable[str], last: str = "and") -> str:
    *most, end = list(names) or [""]
    return f"{', '.join(most)} {last} {end}" if most else end


def _plural(word: str, names: Sequence[str]) -> str:
    many = {"lies": "lie", "is": "are", "its": "their", "bound": "bounds", "value": "values"}
    return many[word] if len(names) > 1 else word


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _without_nan(value: Any) -> Any:
    """The same JSON with null for what is no finite number."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _columns(text: str) -> int:
    """Places that a text takes on a terminal: two for wide characters."""
    return sum(1 + (unicodedata.east_asian_width(ch) in "WF") for ch in text)


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = []
    for i, (cell, width) in enumerate(zip(cells, widths, strict=False)):
        space = " " * (width - _columns(cell))
        parts.append(cell + space if i < 3 else space + cell)
    return "  ".join(parts).rstrip()
