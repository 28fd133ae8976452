"""Comparison: the values of models that were trained on the same data and scored on one test split.

A value is exact, a bound from above on the model's own value, or an estimate. The three are never put in one order
without saying so: a bound below another model's exact value is a real win, a bound above it proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqloom.core.errors import NotComparable
from seqloom.core.rng import Rng
from seqloom.evaluation.answers_table import AnswersTable
from seqloom.evaluation.baselines.base import BaselineScore
from seqloom.evaluation.data_curve import DataCurve
from seqloom.evaluation.forecast_table import ForecastTable
from seqloom.evaluation.measured import MeasuredTable
from seqloom.evaluation.novelty_table import NoveltyTable
from seqloom.evaluation.synthesis_table import SynthesisTable
from seqloom.sequence.query import differently

KINDS = ("exact", "bound", "estimate")
FEWEST_BLOCKS = 20
DRAWS = 2000
"""How often blocks are drawn for an interval over the data."""


@dataclass(frozen=True)
class Filled:
    """A gap of a series, filled several times: samples (N,T,D), and what is known around it (T,D), nan in the gap.

    `truth` (T,D) is what really stands there.
    """

    paths: NDArray[np.float64]
    known: NDArray[np.float64]
    truth: NDArray[np.float64]


@dataclass(frozen=True)
class Paths:
    """Sample paths of a series, in the data's own units: samples (N,H,D), nan where missing.

    `history` (P,D) is what they go on from, `truth` (H,D) what really followed; `step` says what one row is.
    """

    columns: tuple[str, ...]
    paths: NDArray[np.float64]
    history: NDArray[np.float64] | None = None
    truth: NDArray[np.float64] | None = None
    step: str = "rows"
    filled: Filled | None = None
    """A gap that it filled, where the model can."""


@dataclass(frozen=True)
class Picture:
    """Samples that are shown as a picture: one PNG."""

    png: bytes


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
    first_element_ms: float | None = None
    """From a question to the first element of its answer that is final."""
    peak_memory_mb: float | None = None
    error: str | None = None
    seeds: int = 1
    """How many trainings the value is the mean of."""
    runs: tuple[str, ...] = ()
    """Where the run folders are."""
    curves: tuple[tuple[tuple[float, float, float], ...], ...] = ()
    """For each seed: (seconds, elements, validation value in the unit of the comparison)."""
    samples: tuple[str, ...] | Paths | Picture | None = None
    beside: tuple[tuple[tuple[str, str], ...], ...] = ()
    """Of each sample that is shown as text the names and texts of its conditions, and of what was held out."""
    made: str = ""
    """How many samples were made at a time, and of what length, when `samples_per_second` was taken."""
    extra: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Further metrics by name, such as `likelihood_left_to_right`."""
    forecast: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Measures of its forecasts by name, where there are any."""
    synthesis: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Measures of its samples beside real windows by name, where they were asked for."""
    novelty: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """How new and varied its samples are, where they are of symbols."""
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """How like its answers are to the true ones, where texts are made from others."""
    unaided: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
    """The same of what is answered without a model, by name."""
    operations: int | None = None
    """Multiplications and additions for each element that training reads."""
    length: int | None = None
    """Elements of its samples at most."""
    windows: NDArray[np.float64] | None = None
    """Some of these samples (N,T,D)."""
    recipe: str = ""
    """The settings of the first seed's run, as its recipe.yaml has them."""

    @property
    def tables(self) -> dict[str, Mapping[str, Mapping[str, Any]]]:
        """Its measures that stand in tables of their own, by what they are of."""
        each = {
            "forecast": self.forecast,
            "synthesis": self.synthesis,
            "novelty": self.novelty,
            "answers": self.answers,
        }
        return {name: measures for name, measures in each.items() if measures}

    @property
    def value(self) -> float | None:
        """The likelihood, where there is one that is a number."""
        value = None if self.likelihood is None else self.likelihood.get("value")
        return float(value) if value is not None and math.isfinite(value) else None

    @property
    def measured(self) -> bool:
        """Whether a training succeeded, so that there is more to show than why it failed."""
        return self.value is not None or (self.error is None and bool(self.extra))

    @property
    def measure(self) -> str:
        """What the likelihood is: `mass`, a probability, or `density`."""
        return str((self.likelihood or {}).get("measure") or "mass")

    @property
    def loses(self) -> str:
        """What of the data its likelihood is without, in words."""
        return str((self.likelihood or {}).get("loses") or "")

    @property
    def context(self) -> str:
        """What was read before an element when it was scored, as a metric names it; "" where that is not said."""
        return "" if self.likelihood is None else str(self.likelihood.get("context") or "")

    @property
    def failure(self) -> str:
        """Why there is no value, or why some seeds have none; on one line, without a full stop."""
        if self.error:
            return " ".join(self.error.split()).removesuffix(".")
        return "its likelihood is not finite" if self.likelihood is not None else "it has no likelihood"

    @property
    def kind(self) -> str:
        """Exact, bound or estimate; "" where nothing was scored."""
        return "" if self.likelihood is None else str(self.likelihood["kind"])


@dataclass(frozen=True)
class SplitSummary:
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
    rows: tuple[Row, ...]
    splits: Mapping[str, SplitSummary]
    """By name; the test split is there."""
    baselines: tuple[BaselineScore, ...] = ()
    minutes: float | None = None
    """Wall-clock for each model and seed; None for finished runs, whose times are their own."""
    machine: Mapping[str, Any] = field(default_factory=dict)
    """This computer, and the versions of what ran on it."""
    command: str = ""
    """What repeats all this."""
    notes: tuple[str, ...] = ()
    """What was guessed or mended in the data."""
    forecasts: ForecastTable | None = None
    """The forecasts of the models beside those of the baselines, where a horizon was given."""
    synthesis: SynthesisTable | None = None
    """The samples of the models beside copies, held-out windows and a Gaussian, where that was asked for."""
    novelty: NoveltyTable | None = None
    """How new and varied the samples of symbols are."""
    answers: AnswersTable | None = None
    """How like answers are to the true ones, where texts are made from others."""
    by_data: DataCurve | None = None
    """What models and baselines reach with parts of the training split, where several were asked for."""

    def __repr__(self) -> str:
        """The table, as `seqloom compare` prints it: what it is made of fills pages."""
        from seqloom.evaluation.report import plain_table

        return plain_table(self)

    @property
    def tables(self) -> dict[str, MeasuredTable | DataCurve]:
        """What stands below the table of likelihoods, in order."""
        each = {
            "by_data": self.by_data,
            "answers": self.answers,
            "novelty": self.novelty,
            "forecasts": self.forecasts,
            "synthesis": self.synthesis,
        }
        return {name: table for name, table in each.items() if table is not None}

    def __post_init__(self) -> None:
        for row in self.rows:
            if row.likelihood is not None and row.likelihood["unit"] != self.unit:
                raise NotComparable(f"{row.model} is scored in {row.likelihood['unit']}, the comparison in {self.unit}")
        measures = {row.measure: row.model for row in self.rows if row.value is not None}
        if len(measures) > 1:
            (one, first), (other, second), *_ = measures.items()
            raise NotComparable(
                f"the likelihood of {first} is a {one}, that of {second} a {other}",
                hint="a probability and a density have no order; compare models with the same kind of head",
            )
        losses = {row.loses for row in self.rows if row.value is not None}
        if len(losses) > 1:
            raise NotComparable(differently(*sorted(losses)[-2:]), hint="compare models whose codecs lose the same")
        for baseline in self.baselines:
            if baseline.unit != self.unit.partition("/")[2]:
                raise NotComparable(f"{baseline.name} is scored by {baseline.unit}, the comparison in {self.unit}")

    @property
    def test(self) -> SplitSummary:
        """The split that is scored."""
        return self.splits["test"]

    def baseline_value(self, baseline: BaselineScore) -> float:
        """A baseline in the unit of this comparison."""
        return baseline.bits_per_unit if self.unit.startswith("bits/") else baseline.nats_per_unit

    def share(self, row: Row) -> float:
        """How much of the test split a row's likelihood is over: windows with absent cells may be left out."""
        count = None if row.likelihood is None else row.likelihood.get("count")
        return 1.0 if count is None or not self.test.units else min(1.0, float(count) / self.test.units)

    @property
    def metrics(self) -> list[str]:
        """The names of all metrics besides the likelihood."""
        return list(dict.fromkeys(name for row in self.rows for name in row.extra))

    @property
    def ordered(self) -> list[Row]:
        """Exact values from the lowest, then bounds, then estimates, then what failed: no order across kinds."""
        scored = [row for row in self.rows if row.value is not None]
        scored.sort(key=lambda row: (KINDS.index(row.kind), row.value))
        return scored + [row for row in self.rows if row.value is None]


def ci95(values: Sequence[float], margin: float = 0.0) -> tuple[float, float] | None:
    """The 95 % interval of a mean over seeds (Student 1908), never narrower than the drawing of the values leaves it.

    Args:
        values: One value a seed.
        margin: Half the 95 % interval of one value where it was drawn (a bound over times), else 0.

    Returns:
        None for one exact value: one seed says nothing of others. One drawn value has the interval of its draws.
    """
    count = len(values)
    if not count or not all(map(math.isfinite, values)):
        return None
    mean = math.fsum(values) / count
    half = margin / math.sqrt(count)
    if count > 1:
        spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
        half = max(half, student_975(count - 1) * spread / math.sqrt(count))
    elif not margin:
        return None
    return mean - half, mean + half


def bootstrap(blocks: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """The 95 % interval of a mean over other data of the kind: blocks drawn again and again (Efron 1979; Kunsch 1989).

    Args:
        blocks: The value and the size of each block, which are longer than what neighbours have in common.

    Returns:
        None where there are too few.
    """
    if len(blocks) < FEWEST_BLOCKS:
        return None
    value, size = np.array(blocks, np.float64).T
    drawn = Rng.of(0, 0).at("bootstrap").uniform(DRAWS * len(blocks))[0].reshape(DRAWS, -1)
    chosen = (drawn * len(blocks)).astype(np.int64)
    means = (value * size)[chosen].sum(1) / size[chosen].sum(1)
    low, high = np.quantile(means, [0.025, 0.975]).tolist()
    return low, high


def over_data(one: Row, other: Row) -> tuple[float, float] | None:
    """The interval over blocks of the test split of how much higher the one model's value is than the other's.

    None where they were not scored on the same blocks.
    """
    pairs = [(row.likelihood or {}).get("blocks") or [] for row in (one, other)]
    if len(pairs[0]) != len(pairs[1]):
        return None
    if any(a[1] != b[1] for a, b in zip(*pairs, strict=True)):
        return None
    return bootstrap([(a[0] - b[0], a[1]) for a, b in zip(*pairs, strict=True)])


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
