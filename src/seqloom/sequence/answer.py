"""The answer to a query: samples in their own units, and what they say together."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from seqloom.core.dated import dated
from seqloom.core.errors import ConfigError, DataError, UnsupportedQuery
from seqloom.core.expression import meeting
from seqloom.core.fan import fan_chart
from seqloom.core.figures import Form
from seqloom.core.progress import count

if TYPE_CHECKING:
    import polars

Numbers = NDArray[np.float64]

QUANTILES = tuple(i / 10 for i in range(1, 10))
MOST_CHANNELS = 12
"""Columns that a chart shows, from the first."""
WIDTH = 7.2


@dataclass(frozen=True)
class Chart:
    """A figure as bytes, which a notebook shows and `save` writes."""

    data: bytes
    form: Form

    def save(self, path: Path | str) -> None:
        """Write it to a file."""
        Path(path).write_bytes(self.data)

    def __repr__(self) -> str:
        """What it is, in a line: it is thousands of bytes."""
        return f"Chart({self.form}, {len(self.data):,} bytes)"

    def _repr_svg_(self) -> str | None:
        return self.data.decode() if self.form == "svg" else None

    def _repr_png_(self) -> bytes | None:
        return self.data if self.form == "png" else None


@dataclass(frozen=True)
class Answer:
    """Samples, in their own units: `values[i]` came from row `rows[i]` of seed `seed`."""

    values: Sequence[Any]
    seed: int
    rows: Sequence[int]
    paths: Numbers | None = None
    """For series: the numbers (n, T, D) of all samples."""
    made: int = 0
    """How many elements of each value are new: the last ones, unless gaps were filled."""
    scores: Sequence[float] = ()
    """By what a sampler ranks the samples it chooses between, such as log-probabilities of a beam."""
    columns: Sequence[str] = ()
    """For series: what the D numbers are called."""
    elements: Sequence[str] = ()
    """What the T elements are called, such as dates."""
    element: str = "element"
    """What these names are names of."""
    cells: NDArray[np.bool_] | None = None
    """For series: which cells (T, D) were to be made."""
    named: Sequence[Sequence[str]] = ()
    """Of samples that each begin somewhere else: what the T elements of each are called."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """By which columns of its table the series is told from others, and what they hold."""

    def __repr__(self) -> str:
        """What it holds, in a line: the values themselves may be millions of numbers."""
        samples = count(len(self.values), "sample")
        if self.paths is None:
            return f"Answer({samples}, the first {reprlib.repr(self.values[0])}; seed {self.seed})"
        return f"Answer({samples} of {count(len(self.new), 'new row')}: {', '.join(self.columns)}; seed {self.seed})"

    def quantile(self, q: float) -> Numbers:
        """The q-quantile over the samples, at each position and channel (T, D); nan where a cell is absent in all.

        Between two samples it is interpolated, but for columns of whole numbers: there is no sale of 1.4.
        """
        paths = self._numbers()
        whole = (paths == np.round(paths)).all((0, 1))
        found = np.asarray(np.quantile(paths, q, axis=0))
        if whole.any():
            found[:, whole] = np.quantile(paths[:, :, whole], q, axis=0, method="inverted_cdf")
        return found

    @property
    def mean(self) -> Numbers:
        """The mean over the samples (T, D)."""
        return np.asarray(self._numbers().mean(0))

    @property
    def new(self) -> NDArray[np.int64]:
        """The positions of the elements in which something was made."""
        length = self._numbers().shape[1]
        if self.cells is None:
            return np.arange(length - self.made, length)
        return np.flatnonzero(self.cells.any(1))

    def where(self, condition: str) -> Answer:
        """The samples that meet a condition on their new elements, such as `load > 100` or `all(load > 100)`.

        A bare comparison is met where it holds for one element at least. DataError where no sample meets it.
        """
        new = self._numbers()[:, self.new]
        met = meeting(condition, {name: new[:, :, d] for d, name in enumerate(self.columns)})
        kept = np.flatnonzero(met).tolist()
        if not kept:
            raise DataError(
                f"none of {len(new)} paths meets {condition!r}", hint="draw more paths, or ask for what is less rare"
            )
        return self.take(kept)

    def take(self, numbers: Sequence[int]) -> Answer:
        """The samples of these numbers, in this order."""
        return replace(
            self,
            values=[self.values[i] for i in numbers],
            rows=[self.rows[i] for i in numbers],
            paths=None if self.paths is None else self.paths[list(numbers)],
            scores=[self.scores[i] for i in numbers] if self.scores else (),
            named=[self.named[i] for i in numbers] if self.named else (),
        )

    def statistics(self, quantiles: Sequence[float] = QUANTILES) -> dict[str, Numbers]:
        """Mean and quantiles of the new elements (made, D), by name: mean, 0.1, 0.5."""
        for q in quantiles:
            if not 0 <= q <= 1:
                raise ConfigError(f"{q:g} is no quantile", path="quantiles", hint="numbers from 0 to 1: 0.05,0.5,0.95")
        return {"mean": self.mean[self.new], **{f"{q:g}": self.quantile(q)[self.new] for q in quantiles}}

    def frame(self, quantiles: Sequence[float] | None = None) -> polars.DataFrame:
        """Mean and quantiles of the new elements as a frame of polars: NAME_mean, NAME_0.1; one row an element.

        Samples from nothing stand under each other as they are, one row an element of each: they begin at different
        times, so that their quantiles, which `quantiles` asks for, are those by the number of a row. Dates that are
        written as ISO has it are dates. `frame().to_pandas()` is one of pandas where that is installed.
        """
        import polars

        told = [polars.lit(cell).alias(column) for column, cell in self.labels.items()]
        if self.named and quantiles is None:
            own = self._samples()
        else:
            statistics = self.statistics(QUANTILES if quantiles is None else quantiles)
            first = polars.Series("row", self.new + 1) if self.named else dated(self.element, self._names())
            columns: dict[str, Any] = {first.name: first}
            for d, column in enumerate(self.columns):
                columns |= {f"{column}_{name}": numbers[:, d] for name, numbers in statistics.items()}
            own = polars.DataFrame(columns)
        return own.select(*told, *own.columns)

    def _names(self) -> list[str]:
        return [self.elements[i] for i in self.new]

    def _samples(self) -> polars.DataFrame:
        """The samples themselves under each other; whole numbers are whole numbers."""
        import polars

        paths = self._numbers()
        length = paths.shape[1]
        names = dated(self.element, [name for own in self.named for name in own])
        columns: dict[str, Any] = {"sample": np.repeat(np.arange(len(paths)), length), names.name: names}
        for d, column in enumerate(self.columns):
            cells = polars.Series(column, paths[:, :, d].reshape(-1)).fill_nan(None)
            whole = (cells == cells.round()).all()
            columns[column] = cells.cast(polars.Int64, strict=False) if whole else cells
        return polars.DataFrame(columns)

    def plot(self, form: Form = "svg", *, title: str = "", truth: Numbers | None = None, width: float = WIDTH) -> Chart:
        """A fan chart: the last of what is known, the median, bands of 50 and 80 %, and a few paths; a panel a column.

        `truth` (made, D) is what really followed; `width` is in inches.
        """
        if form not in get_args(Form):
            raise ConfigError(f"{form!r} is no form of a chart", path="form", hint="svg or png")
        numbers = self._numbers()
        new, length = self.new, numbers.shape[1]
        if not len(new):
            raise DataError("nothing was made, so there is nothing to draw")
        common: dict[str, Any] = {"title": title, "most": MOST_CHANNELS, "size": width, "form": form}
        if self.cells is None or not self.cells[new[0] :].all():
            first, last = max(0, new[0] - length // 10 - 5), min(length, new[-1] + length // 10 + 6)
            known = None if self.cells is None else np.where(self.cells, np.nan, numbers[0])[first:last]
            chart = fan_chart(
                numbers[:, first:last], self.columns, known=known, elements=self.elements[first:last], **common
            )
        else:
            chart = fan_chart(
                numbers[:, new],
                self.columns,
                history=numbers[0, : new[0]] if new[0] else None,
                truth=truth,
                elements=self.elements,
                **common,
            )
        return Chart(chart, form)

    def _numbers(self) -> Numbers:
        if self.paths is None:
            raise UnsupportedQuery("only samples of series have means and quantiles")
        return self.paths


class Answers(Mapping[str, Answer]):
    """The answers to the same query of several series, by their names.

    `labels` say for each by which columns it is told from the others, and what they hold.
    """

    def __init__(self, answers: Mapping[str, Answer], labels: Sequence[Mapping[str, str]]) -> None:
        self._answers, self._labels = dict(answers), list(labels)

    def __getitem__(self, name: str) -> Answer:
        return self._answers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)

    def __repr__(self) -> str:
        """What it holds, in a line."""
        return f"Answers({count(len(self), 'series')}: {', '.join(list(self)[:3])}{' ...' * (len(self) > 3)})"

    def where(self, condition: str) -> Answers:
        """Of each series the samples that meet a condition, as `Answer.where` has it."""
        met = {}
        for name, answer in self.items():
            try:
                met[name] = answer.where(condition)
            except DataError as error:
                raise error.of(name) from None
        return Answers(met, self._labels)

    def frame(self, quantiles: Sequence[float] | None = None) -> polars.DataFrame:
        """Mean and quantiles of the new elements of all series under each other; the first columns tell them apart."""
        import polars

        frames = []
        for name, answer, label in zip(self, self.values(), self._labels, strict=True):
            own = answer.frame(quantiles)
            told = [polars.lit(cell).alias(column) for column, cell in (label or {"series": name}).items()]
            frames.append(own.select(*told, *own.columns))
        kinds = {one.schema[answer.element] for one, answer in zip(frames, self.values(), strict=True)}
        if len(kinds) > 1:  # dates of one series are dates, those of another words
            frames = [
                one.cast({answer.element: polars.String}) for one, answer in zip(frames, self.values(), strict=True)
            ]
        return polars.concat(frames)
