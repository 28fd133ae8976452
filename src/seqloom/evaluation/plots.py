"""Figures of a comparison: learning curves, as SVG for a page or PNG for a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from seqloom.core import figures, progress
from seqloom.core.fan import WIDTH
from seqloom.core.figures import Form, Numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Across = Literal["seconds", "elements", "operations"]

DASHES = ((5, 2.5), (1.2, 2), (7, 2, 1.5, 2), (9, 3, 1.5, 2, 1.5, 2))
"""Of baselines, one after another."""
WIDEST_NAME = 28
"""Letters of a name in a legend of which two stand beside each other."""


@dataclass(frozen=True)
class Line:
    """One model's learning: for each seed, points of (seconds, elements, validation value)."""

    label: str
    curves: Sequence[Sequence[tuple[float, float, float]]]
    colour: str = ""
    """Of the palette; "" takes the next one."""


@dataclass(frozen=True)
class Level:
    """A baseline: one value, whatever the time."""

    label: str
    value: float


def learning_curves(
    lines: Sequence[Line],
    levels: Sequence[Level],
    across: Across,
    unit: str,
    form: Form = "svg",
) -> bytes:
    """Validation value against training time, elements read or operations, a line a seed, baselines dashed.

    For operations the second number of each point is how many there were.

    The vertical axis shows where the curves end; their steep beginning may leave it at the top. A baseline beyond the
    axis is named in the legend.
    """
    column = 0 if across == "seconds" else 1
    tracks = [[_finite(np.array(curve, np.float64).reshape(-1, 3)) for curve in line.curves] for line in lines]
    known = [level for level in levels if math.isfinite(level.value)]
    low, high = _value_range([track[:, 2] for seeds in tracks for track in seeds], [level.value for level in known])
    with figures.style(form) as ink:
        figure = figures.blank(WIDTH, 3.4)
        axes = figure.add_subplot()
        for index, (line, seeds) in enumerate(zip(lines, tracks, strict=True)):
            label: str | None = line.label
            for track in seeds:
                if not len(track):
                    continue
                x, y = track[:, column], track[:, 2]
                colour = line.colour or figures.PALETTE[index % len(figures.PALETTE)]
                dash = "-" if index < len(figures.PALETTE) else "-."
                axes.plot(x, y, dash, color=colour, lw=1.7, label=label, alpha=1.0 if len(seeds) == 1 else 0.8)
                axes.plot(x[-1:], y[-1:], "o", color=colour, ms=4.5)
                label = None
        for index, level in enumerate(known):
            off = "" if low <= level.value <= high else " (above)" if level.value > high else " (below)"
            dashes = DASHES[index % len(DASHES)]
            label = f"{level.label} {level.value:.2f}{off}"
            axes.axhline(level.value, color=ink, lw=1.2, alpha=0.75, dashes=dashes, label=label)
        axes.set_ylim(low, high)
        _across(axes, across, [track[:, column] for seeds in tracks for track in seeds if len(track)])
        axes.set_ylabel(f"validation {unit}")
        figures.grid(axes, ink)
        if lines or known:
            _legend(figure)
        return figures.written(figure, form)


@dataclass(frozen=True)
class Against:
    """What one model or baseline reaches with parts of the data: (elements, value, low, high) for each part."""

    label: str
    points: Sequence[tuple[float, float, float, float]]
    colour: str = ""
    """Of the palette; "" takes the next one."""
    baseline: bool = False


def _legend(figure: Figure) -> None:
    """Above a plot, in two columns where the names leave room for them."""
    names = [name for axes in figure.axes for name in axes.get_legend_handles_labels()[1]]
    wide = max(map(progress.columns, names), default=0) > WIDEST_NAME
    figure.legend(loc="outside upper left", ncols=1 if wide else 2, borderaxespad=0.2, columnspacing=1.2)


def against_data(lines: Sequence[Against], unit: str, form: Form = "svg") -> bytes:
    """Test value against the elements that were learned from, a line a model with its intervals, baselines dashed.

    Wide intervals may leave the axis.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    with figures.style(form) as ink:
        figure = figures.blank(WIDTH, 3.4)
        axes = figure.add_subplot()
        baselines = 0
        for index, line in enumerate(lines):
            if not line.points:
                continue
            elements, values, low, high = np.array(line.points, np.float64).T
            label = figures.short(line.label)
            if line.baseline:
                dashes = DASHES[baselines % len(DASHES)]
                axes.plot(elements, values, color=ink, lw=1.2, alpha=0.75, dashes=dashes, label=label)
                baselines += 1
                continue
            colour = line.colour or figures.PALETTE[index % len(figures.PALETTE)]
            error = np.stack([values - low, high - values])
            axes.errorbar(elements, values, error, fmt="o-", color=colour, lw=1.7, ms=4.5, capsize=3, label=label)
        axes.set_xscale("log")
        places = sorted({point[0] for line in lines for point in line.points})
        axes.xaxis.set_major_locator(FixedLocator(places))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: progress.number(value)))
        axes.set_xlabel("elements of the training split that were learned from")
        axes.set_ylabel(f"test {unit}")
        every = np.array([point for line in lines for point in line.points])
        if len(every):
            # An interval over few seeds may be many times as wide as all values are apart.
            least, most = every[:, 1].min(), every[:, 1].max()
            room = (most - least) or 0.05 * abs(most) or 0.5
            low, high = max(every[:, 2].min(), least - room), min(every[:, 3].max(), most + room)
            axes.set_ylim(low - 0.05 * room, high + 0.05 * room)
        figures.grid(axes, ink)
        _legend(figure)
        return figures.written(figure, form)


def beside(groups: Sequence[tuple[str, Numbers, str]], columns: Sequence[str], form: Form = "svg") -> bytes:
    """Windows of several sources, a column of plots each, a row for each channel on one vertical axis.

    Args:
        groups: The name of each source, some windows (N,T,D) of it, and its colour; the first is reality.
        columns: The names of the D channels; the first few are shown.
    """
    shown = min(len(columns), figures.MOST_CHANNELS)
    with figures.style(form) as ink:
        figure = figures.blank(0.4 + 1.7 * len(groups), 0.7 + 1.3 * shown)
        plots = figure.subplots(shown, len(groups), sharex=True, sharey="row", squeeze=False)
        for (label, windows, colour), column in zip(groups, plots.T, strict=True):
            column[0].set_title(figures.short(label, 24), pad=4)
            for d, axes in enumerate(column):
                for window in windows:
                    axes.plot(np.arange(len(window)), window[:, d], color=colour or ink, lw=1.0, alpha=0.75)
                figures.grid(axes, ink)
        for d, axes in enumerate(plots[:, 0]):
            axes.set_ylabel(figures.short(columns[d], 16))
        more = "" if shown == len(columns) else f"; the first {shown} of {len(columns)} columns"
        figure.supxlabel(f"rows{more}", fontsize=10)
        return figures.written(figure, form)


def calibration(histograms: Sequence[tuple[str, Sequence[float], str]], form: Form = "svg") -> bytes:
    """How often the truth falls into each tenth of a forecast's law: level where the forecast is calibrated.

    Bars that are high at both ends are of bands too narrow, high in the middle of bands too wide, high on one side of
    forecasts that lie too low or too high.

    Args:
        histograms: The name of each model, its shares, and its colour.
    """
    with figures.style(form) as ink:
        figure = figures.blank(WIDTH, 2.6)
        axes = figure.add_subplot()
        bins = len(histograms[0][1])
        for number, (label, shares, colour) in enumerate(histograms):
            width = 0.84 / len(histograms) / bins
            place = (np.arange(bins) + 0.08) / bins + (number + 0.5) * width
            axes.bar(place, shares, width=width, color=colour, label=label)
        axes.axhline(1 / bins, color=ink, lw=1.2, alpha=0.75, dashes=(5, 2.5), label="calibrated")
        axes.set_xlim(0, 1)
        axes.set_xlabel("place of the truth among the paths")
        axes.set_ylabel("share")
        figures.grid(axes, ink)
        figure.legend(loc="outside upper left", ncols=3, borderaxespad=0.2, columnspacing=1.2)
        return figures.written(figure, form)


def _across(axes: Axes, across: Across, tracks: Sequence[Numbers]) -> None:
    """The horizontal axis: times with a unit; amounts by thousands, logarithmic where models differ much."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    ends = [float(track[-1]) for track in tracks]
    first = [float(track[track > 0][0]) for track in tracks if (track > 0).any()]
    if across == "seconds":
        axes.set_xlabel("training time")
        axes.set_xlim(0, max(ends, default=1.0) * 1.03 or 1.0)
        _clock_ticks(axes, max(ends, default=1.0))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: progress.duration(value).replace(".0s", "s")))
        return
    axes.set_xlabel("elements read in training" if across == "elements" else "operations in training")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: progress.number(value)))
    if first and max(ends) > 4 * min(ends):
        axes.set_xscale("log")
        low, high = max(min(first), min(ends) / 30) * 0.9, max(ends) * 1.15
        axes.set_xlim(low, high)
        if high < 100 * low:  # there may be no power of ten among them, or one
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: progress.number(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, max(ends, default=1.0) * 1.03 or 1.0)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10)))  # what is said in two digits


def _clock_ticks(axes: Axes, end: float) -> None:
    from matplotlib.ticker import MultipleLocator

    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
    step = next((step for step in steps if end / step <= 6), None)
    if step is not None:
        axes.xaxis.set_major_locator(MultipleLocator(step))


def _value_range(tracks: Sequence[Numbers], levels: Sequence[float]) -> tuple[float, float]:
    """Where the curves end, with room above for how they came there and for baselines that are near."""
    ends = [float(track[-1]) for track in tracks if len(track)]
    if not ends:
        low, high = min(levels, default=0.0), max(levels, default=1.0)
    else:
        low, high = min(float(track.min()) for track in tracks if len(track)), max(ends)
        room = max(high - low, 0.05 * abs(high), 1e-3)
        near = [level for level in levels if low - room <= level <= high + room]  # farther ones would flatten them
        low, high = min([low, *near]), max([high, *near])
        top = max(float(track.max()) for track in tracks if len(track))
        high = max(high, min(top, high + 0.8 * max(high - low, room)))
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def _finite(points: Numbers) -> Numbers:
    kept: Numbers = points[np.isfinite(points).all(1)]
    return kept
