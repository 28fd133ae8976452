"""Figures of a comparison: learning curves and forecasts of a series, as SVG for a page or PNG for a file."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from seqloom.core import figures
from seqloom.core.figures import Form, Numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PATHS = 5
"""Single sample paths drawn over the bands."""
BANDS = ((0.1, 0.9, 0.2), (0.25, 0.75, 0.3))
"""Lower and upper quantile, and how dense the band between them is drawn."""
FEWEST_FOR_BANDS = 10

_WIDTH = 4.6
"""Inches: on a phone, where a figure is as wide as the page, its text is still of ten pixels."""


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
    across: Literal["seconds", "elements"],
    unit: str,
    form: Form = "svg",
) -> bytes:
    """Validation value against training time or elements read, a line a seed, baselines dashed.

    The vertical axis shows where the curves end; their steep beginning may leave it at the top. A baseline beyond the
    axis is named in the legend.
    """
    column = {"seconds": 0, "elements": 1}[across]
    tracks = [[_finite(np.array(curve, np.float64).reshape(-1, 3)) for curve in line.curves] for line in lines]
    known = [level for level in levels if math.isfinite(level.value)]
    low, high = _value_range([track[:, 2] for seeds in tracks for track in seeds], [level.value for level in known])
    with figures.style(form) as ink:
        figure = figures.blank(_WIDTH, 3.4)
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
            off = (
                "" if low <= level.value <= high else " (above the plot)" if level.value > high else " (below the plot)"
            )
            dashes = ((5, 2.5), (1.2, 2), (7, 2, 1.5, 2))[index % 3]
            label = f"{level.label} {level.value:.2f}{off}"
            axes.axhline(level.value, color=ink, lw=1.2, alpha=0.75, dashes=dashes, label=label)
        axes.set_ylim(low, high)
        _across(axes, across, [track[:, column] for seeds in tracks for track in seeds if len(track)])
        axes.set_ylabel(f"validation {unit}")
        figures.grid(axes, ink)
        if lines or known:
            figure.legend(loc="outside upper left", ncols=2, borderaxespad=0.2, columnspacing=1.2)
        return figures.written(figure, form)


def forecast_plot(
    paths: Numbers,
    columns: Sequence[str],
    *,
    history: Numbers | None = None,
    truth: Numbers | None = None,
    title: str = "",
    colour: str = figures.PALETTE[0],
    step: str = "rows",
    limits: Sequence[tuple[float, float]] | None = None,
    form: Form = "svg",
) -> bytes:
    """What a model makes of a series: its median and bands, single paths, and the truth where it is known.

    Args:
        paths: Samples (N,H,D) in the data's own units; nan where missing.
        columns: The names of the D channels; the first few are shown.
        history: What came before (P,D); None where the samples begin from nothing.
        truth: What really followed (H,D).
        step: What one row is: "rows", "hours".
        limits: The vertical range of each channel, so that plots of several models can be compared.
    """
    count, horizon, width = paths.shape
    shown = min(width, figures.MOST_CHANNELS)
    ranges = limits or forecast_limits([paths], history, truth)
    past = np.zeros((0, width)) if history is None else history[-past_shown(horizon) :]
    at = np.arange(horizon) + (1 if len(past) else 0)
    with figures.style(form) as ink:
        figure = figures.blank(_WIDTH, 1.1 + 1.3 * shown)
        grid = figure.subplots(shown, 1, sharex=True, squeeze=False)[:, 0]
        for d, axes in enumerate(grid):
            made = np.where(np.isfinite(paths[:, :, d]), paths[:, :, d], np.nan)
            if count >= FEWEST_FOR_BANDS:
                for lower, upper, alpha in BANDS:
                    edges = _quantiles(made, (lower, upper))
                    name = f"{round(100 * (upper - lower))} % of samples"
                    axes.fill_between(at, edges[0], edges[1], color=colour, alpha=alpha, lw=0, label=name)
            for n in range(min(count, MOST_PATHS)):
                name = "" if n else "single samples"
                axes.plot(at, made[n], color=colour, lw=0.7, alpha=0.65, label=name or None)
            if count >= FEWEST_FOR_BANDS:
                axes.plot(at, _quantiles(made, (0.5,))[0], color=colour, lw=2, label="median")
            if len(past):
                axes.plot(np.arange(1 - len(past), 1), past[:, d], color=ink, lw=1, alpha=0.6, label="known past")
                axes.axvline(0.5, color=ink, lw=0.8, alpha=0.35)
            if truth is not None:
                axes.plot(at, truth[:, d], color=ink, lw=1.3, dashes=(4, 1.6), label="what really followed")
            axes.set_ylim(*ranges[d])
            axes.set_title(figures.short(columns[d]), pad=3)
            figures.grid(axes, ink)
        after = f"{step} after the last known one" if len(past) else step
        grid[-1].set_xlabel(after + ("" if shown == width else f"; the first {shown} of {width} columns"))
        figures.titled(figure, title)
        marks, names = grid[0].get_legend_handles_labels()
        figure.legend(marks, names, loc="outside upper left", ncols=2, borderaxespad=0.2, columnspacing=1.2)
        return figures.written(figure, form)


def past_shown(horizon: int) -> int:
    """How many rows of the known past stand before `horizon` new ones."""
    return max(3 * horizon // 2, 24)


def forecast_limits(
    several: Sequence[Numbers], history: Numbers | None = None, truth: Numbers | None = None
) -> list[tuple[float, float]]:
    """A vertical range for each channel that shows the bands of all models, but is not stretched by a diverging one.

    Args:
        several: The sample paths (N,H,D) of each model.
    """
    ranges = []
    horizon, width = several[0].shape[1:]
    for d in range(width):
        pasts = [] if history is None else [history[-past_shown(horizon) :, d]]
        real = np.concatenate([*pasts, *([] if truth is None else [truth[:, d]]), np.zeros(0)])
        made = np.concatenate([_quantiles(paths[:, :, d].reshape(-1, 1), (0.02, 0.98)).ravel() for paths in several])
        real, made = real[np.isfinite(real)], made[np.isfinite(made)]
        everything = np.concatenate([real, made])
        if not len(everything):
            ranges.append((0.0, 1.0))
            continue
        low, high = float(everything.min()), float(everything.max())
        if len(real) > 1 and np.ptp(real):
            room = float(np.ptp(real))
            low, high = max(low, float(real.min()) - room), min(high, float(real.max()) + room)
        margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
        ranges.append((low - margin, high + margin))
    return ranges


def _across(axes: Axes, across: str, tracks: Sequence[Numbers]) -> None:
    """The horizontal axis: times with a unit; elements by thousands, logarithmic where models differ much."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    from seqloom.core.progress import duration, number

    ends = [float(track[-1]) for track in tracks]
    first = [float(track[track > 0][0]) for track in tracks if (track > 0).any()]
    if across == "seconds":
        axes.set_xlabel("training time")
        axes.set_xlim(0, max(ends, default=1.0) * 1.03 or 1.0)
        _clock_ticks(axes, max(ends, default=1.0))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value) if value else "0"))
        return
    axes.set_xlabel("elements read in training")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    if first and max(ends) > 4 * min(ends):
        axes.set_xscale("log")
        axes.set_xlim(max(min(first), min(ends) / 30) * 0.9, max(ends) * 1.15)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, max(ends, default=1.0) * 1.03 or 1.0)


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
        near = [level for level in levels if low - 3 * room <= level <= high + 3 * room]
        low, high = min([low, *near]), max([high, *near])
        top = max(float(track.max()) for track in tracks if len(track))
        high = max(high, min(top, high + 0.8 * max(high - low, room)))
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return low - margin, high + margin


def _finite(points: Numbers) -> Numbers:
    kept: Numbers = points[np.isfinite(points).all(1)]
    return kept


def _quantiles(samples: Numbers, which: Sequence[float]) -> Numbers:
    """Quantiles (Q,H) over the samples (N,H); nan where no sample is known."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN")
        quantiles: Numbers = np.nanquantile(np.where(np.isfinite(samples), samples, np.nan), which, axis=0)
        return quantiles
