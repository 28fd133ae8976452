"""Conclusions: what a comparison shows and what it leaves open, as sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from seqloom.core.progress import count, decimal, duration, listed, plural
from seqloom.evaluation.comparison import KINDS, Comparison, Row, over_data
from seqloom.evaluation.measured import MARKS

NEARLY_ALL = 0.999
"""The share of the test split from which on no sentence mentions what was left out."""


@dataclass(frozen=True)
class _Value:
    """A likelihood and the ends of its interval; both are the value itself where its spread is unknown."""

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
        low, high = row.ci95 or interval_of(row.likelihood)
        return cls(row.model, row.value, low, high, row.kind, row.seeds > 1 and row.ci95 is not None)

    def clearly_below(self, other: _Value) -> bool:
        """Whether it is lower beyond both intervals."""
        return self.high < other.low


def interval_of(metric: Mapping[str, Any]) -> tuple[float, float]:
    """The interval of a value: over seeds, else over what of the split it was taken on; of no width where all was."""
    if metric.get("ci95"):
        low, high = metric["ci95"]
        return float(low), float(high)
    half = float(metric.get("margin") or 0.0)
    return float(metric["value"]) - half, float(metric["value"]) + half


def best(comparison: Comparison) -> set[str]:
    """Of each kind with two models or more: the lowest, and those whose intervals reach it."""
    lowest: set[str] = set()
    for kind in KINDS:
        values = [_Value.of(row) for row in comparison.ordered if row.value is not None and row.kind == kind]
        if len(values) > 1:
            lowest |= {value.model for value in values if not values[0].clearly_below(value)}
    return lowest


def conclusions(comparison: Comparison) -> list[str]:
    """What can and what cannot be concluded; each item is a sentence or a few."""
    values = [_Value.of(row) for row in comparison.ordered if row.value is not None]
    exact = [value for value in values if value.kind == "exact"]
    bounds = [value for value in values if value.kind == "bound"]
    sentences = [_setting(comparison), *_seeds(comparison)]
    sentences += _exact_order(exact, comparison.unit)
    sentences += _over_data(comparison)
    sentences += _bounds_against_exact(bounds, exact, comparison.unit)
    sentences += _left_to_right(comparison, exact)
    estimates = [value.model for value in values if value.kind == "estimate"]
    if estimates:
        sentences.append(
            f"{listed(estimates).capitalize()}: only estimated. An estimate may be off to either side, so nothing is "
            "concluded from its place beside exact values and bounds."
        )
    sentences += [
        f"{row.model} is scored on {100 * comparison.share(row):.0f} % of the test split (windows with absent cells "
        "are left out). What is said of its place holds as far as that part is no easier than the rest."
        for row in comparison.ordered
        if row.value is not None and comparison.share(row) < NEARLY_ALL
    ]
    sentences += _contexts(comparison)
    sentences += against_baselines(comparison)
    for table in comparison.tables.values():
        sentences += table.verdict
    sentences += [f"{row.model} has no value: {row.failure}." for row in comparison.ordered if row.value is None]
    sentences += [
        f"{row.model}: not everything succeeded ({row.failure}); its value is over {count(row.seeds, 'training')}."
        for row in comparison.ordered
        if row.value is not None and row.error
    ]
    if values:
        sentences.append(
            "Likelihood says how well a model expects real data, not how good its samples look. And each model ran "
            "with one choice of settings: other sizes or rates could change the order."
        )
    return sentences


def summary(comparison: Comparison) -> list[str]:
    """The first that somebody asks: which model came out best, and whether it beats the baselines."""
    values = [_Value.of(row) for row in comparison.ordered if row.value is not None]
    exact = [value for value in values if value.kind == "exact"]
    sentences = []
    if exact:
        sentences += _before(exact[0], exact[1:], comparison.unit)
        lower = [value for value in values if value.kind == "bound" and value.clearly_below(exact[0])]
        sentences += [_real_win(value, exact[:1], comparison.unit) for value in lower]
    return sentences + against_baselines(comparison)


def against_baselines(comparison: Comparison) -> list[str]:
    """A sentence for each baseline: which models beat it, which did not, and for which that is open."""
    values = [_Value.of(row) for row in comparison.ordered if row.value is not None]
    # What a model is known to reach at least in another exact way, such as from left to right.
    known = {
        row.model: interval_of(m)[1]
        for row in comparison.rows
        for m in row.extra.values()
        if m.get("kind") == "exact" and m.get("unit") == comparison.unit and _is_number(m.get("value"))
    }
    sentences = []
    for baseline in comparison.baselines:
        level = comparison.baseline_value(baseline)
        if not math.isfinite(level) or not values:
            continue
        won = [v for v in values if (v.kind != "estimate" and v.high < level) or known.get(v.model, level) < level]
        left = [v for v in values if v not in won]
        near = [v.model for v in left if v.kind != "estimate" and v.low <= level <= v.high]
        lost = [v.model for v in left if v.kind == "exact" and v.model not in near]
        unknown = [v for v in left if v.kind != "exact" and v.model not in near]
        named = f"{baseline.name} ({decimal(level)} {comparison.unit})"
        if won:
            parts = {row.model: comparison.share(row) for row in comparison.rows}
            names = [v.model + ("" if parts[v.model] >= NEARLY_ALL else " (scored on a part)") for v in won]
            sentence = f"{named} is beaten by {listed(names)}" + (f", not by {listed(lost)}" if lost else "")
        elif near:
            sentence = f"No model clearly beat {named}"
        else:
            sentence = f"No model beat {named}" + (", as far as these numbers show" if unknown else "")
        if near:
            sentence += f"; the interval of {listed(near)} holds it, so that is not settled"
        above = [v.model for v in unknown if v.kind == "bound"]
        if above:
            sentence += (
                f"; the {_plural('bound', above)} of {listed(above)} {_plural('lies', above)} above it, which proves "
                f"nothing about {_plural('its', above)} own {_plural('value', above)}"
            )
        guessed = [v.model for v in unknown if v.kind == "estimate"]
        if guessed:
            sentence += f"; {listed(guessed)} {_plural('is', guessed)} only estimated"
        sentences.append(sentence + ".")
    return sentences


def _setting(comparison: Comparison) -> str:
    test, unit = comparison.test, comparison.unit.partition("/")[2]
    split = (
        f"the test split of {comparison.data} ({test.units:,.0f} {plural(unit)}, fingerprint {test.fingerprint[:16]})"
    )
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
    sentences = []
    if len(single) < len(scored):
        several = sorted({row.seeds for row in scored if row.seeds > 1})
        sentences.append(
            f"Values are means over {listed(map(str, several), 'or')} trainings with different seeds, ± half of a 95 % "
            "t-interval for the mean over all seeds. It says nothing of how they would do on other data."
        )
    if single:
        who = "Each model was" if len(single) == len(scored) else listed(row.model for row in single) + " was"
        drawn = [row.model for row in single if _Value.of(row).high > _Value.of(row).low]
        sentences.append(
            f"{who} trained once (one seed), so there is no interval over seeds: a difference is one between these "
            "trainings, and another seed may turn it round."
            + (f" The interval of {listed(drawn)} is only over what was drawn in scoring." if drawn else "")
        )
    return sentences


def _exact_order(exact: Sequence[_Value], unit: str) -> list[str]:
    return [sentence for i, value in enumerate(exact) for sentence in _before(value, exact[i + 1 :], unit)]


def _before(value: _Value, others: Sequence[_Value], unit: str) -> list[str]:
    """How an exact value stands to those that are no lower."""
    clear = [other for other in others if value.clearly_below(other)]
    sure = [other for other in clear if value.spread and other.spread]
    once = [other for other in clear if other not in sure]
    near = [other for other in others if other not in clear]
    sentences = []
    if sure:
        sentences.append(
            f"{value.model} is better than {_by(value, sure, unit)}: the 95 % intervals of these exact values do not "
            "overlap."
        )
    if once:
        sentences.append(
            f"{value.model} came out better than {_by(value, once, unit)} in exact value. For want of more seeds that "
            "is said of these trainings only."
        )
    if near:
        sentences.append(
            f"Between {value.model} and {listed(o.model for o in near)} nothing is decided: their 95 % intervals "
            "overlap."
        )
    return sentences


def _over_data(comparison: Comparison) -> list[str]:
    """How far the test split alone settles which of two neighbours among the exact values is lower."""
    exact = [row for row in comparison.ordered if row.value is not None and row.kind == "exact"]
    apart = []
    for one, other in pairwise(exact):
        interval = over_data(other, one)
        if interval is not None:
            low, high = interval
            sure = "" if low > 0 else ", which does not tell them apart"
            apart.append(f"{other.model} is {decimal(low)} to {decimal(high)} above {one.model}{sure}")
    if not apart:
        return []
    return [
        f"On other data like the test split (95 % intervals in {comparison.unit}, by drawing blocks of it again): "
        f"{listed(apart)}. That is said of these very models, not of others trained with other seeds."
    ]


def _bounds_against_exact(bounds: Sequence[_Value], exact: Sequence[_Value], unit: str) -> list[str]:
    sentences = []
    if bounds:
        sentences.append(
            f"The value of {listed(b.model for b in bounds)} is a bound (≤): the model's own value is this or lower, "
            "by an unknown amount. In the table it stands after the exact values (=), whatever its size, and is not "
            "ranked with them."
        )
    for bound in bounds:
        below = [e for e in exact if bound.clearly_below(e)]
        near = [e for e in exact if e not in below and bound.low <= e.high]
        above = [e for e in exact if e not in below and e not in near]
        if below:
            sentences.append(_real_win(bound, below, unit))
        if near:
            sentences.append(
                f"The bound of {bound.model} lies within the error of {listed(e.model for e in near)}: not settled."
            )
        if above:
            sentences.append(
                f"The bound of {bound.model} lies above the exact value of {listed(e.model for e in above)}. This "
                "proves nothing: its own value may lie on either side."
            )
    if len(bounds) > 1:
        sentences.append(
            f"{listed(b.model for b in bounds)} stand in the order of their bounds. How far each is from its own value "
            "is not known, so the models themselves may be in another order."
        )
    return sentences


def _real_win(bound: _Value, below: Sequence[_Value], unit: str) -> str:
    once = "" if bound.spread and all(e.spread for e in below) else " of these trainings"
    return (
        f"The bound of {bound.model} lies below the exact value of {_by(bound, below, unit)}, beyond the error of "
        f"both. That is a real win{once}: its own value can only be lower still."
    )


def _left_to_right(comparison: Comparison, exact: Sequence[_Value]) -> list[str]:
    sentences = []
    for row in comparison.ordered:
        for name, metric in row.extra.items():
            if not _is_number(metric.get("value")) or metric.get("unit") != comparison.unit:
                continue
            low, high = interval_of(metric)
            half = f" ± {decimal((high - low) / 2)}" if high > low else ""
            mark, words = MARKS[str(metric["kind"])], name.removeprefix("likelihood_").replace("_", " ")
            units = f", on {metric['count']:,.0f} units" if metric.get("count") else ""
            sentence = f"{row.model}, {words}: {mark} {decimal(float(metric['value']))}{half} {comparison.unit}"
            sentence += f" ({metric['kind']}, {metric.get('context') or ''}{units})."
            others = [e for e in exact if e.model != row.model]
            if metric["kind"] == "exact" and others:
                this = _Value(row.model, float(metric["value"]), low, high, "exact", False)
                lower = [e.model for e in others if e.clearly_below(this)]
                higher = [e.model for e in others if this.clearly_below(e)]
                near = [e.model for e in others if e.model not in lower + higher]
                ways = [(lower, "worse than"), (higher, "better than"), (near, "not told apart from")]
                parts = [f"{way} {listed(names)}" for names, way in ways if names]
                sentence += f" Used that way, it is {listed(parts)}."
            sentences.append(sentence)
    return sentences


def _contexts(comparison: Comparison) -> list[str]:
    meaning = {
        "carried": "carried: the state goes on from what came before, so an element is scored with a long past",
        "sliding": "sliding W/S: windows of W that move by S, so an element is scored with at least W - S before it",
        "windows": "windows W: independent windows of W, so an element is scored with only its window, which costs",
    }
    used: dict[str, list[str]] = {}
    for row in comparison.ordered:
        if row.value is not None:
            used.setdefault(row.context, []).append(row.model)
    known = [name for name in used if name]
    if not known:
        return []
    contexts = "; ".join(f"{listed(used[name])} with {name}" for name in known)
    words = list(dict.fromkeys(name.split()[0] for name in known))
    means = "; ".join(meaning[word] for word in words if word in meaning)
    differ = " Part of a difference may come from the context and not from the model." if len(known) > 1 else ""
    return [f"Context of an element when scored: {contexts}" + (f" ({means})." if means else ".") + differ]


def _by(value: _Value, others: Sequence[_Value], unit: str) -> str:
    """`gru (by 0.050 bits/byte) and rnn (by 0.300)`."""
    parts = [
        f"{o.model} (by {decimal(o.value - value.value)}{f' {unit}' if n == 0 else ''})" for n, o in enumerate(others)
    ]
    return listed(parts)


def _plural(word: str, names: Sequence[str]) -> str:
    many = {"lies": "lie", "is": "are", "its": "their", "bound": "bounds", "value": "values"}
    return many[word] if len(names) > 1 else word


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
