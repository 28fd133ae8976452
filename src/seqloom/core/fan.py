"""Fan charts: what may come of a series, as median, bands and single paths, as SVG for a page or PNG for a file."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from seqloom.core import figures
from seqloom.core.figures import Form, Numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 4.6
"""Inches: on a phone, where a figure is as wide as the page, its text is still of ten pixels."""
MOST_PATHS, MOST_POINTS = 5, 300
"""Single sample paths drawn over the bands, and points of them: more would hide the bands."""
BANDS = ((0.1, 0.9, 0.2), (0.25, 0.75, 0.3))
"""Lower and upper quantile, and how dense the band between them is drawn."""
FEWEST_FOR_BANDS = 10
NAMES = 60
"""Letters of names that have room at the horizontal axis."""
_DATE = re.compile(r"\d{4}-(?P<month>\d\d)(-(?P<day>\d\d)([ T](?P<time>\d\d:\d\d(:\d\d(\.\d+)?)?))?)?\S*$")
_SECONDS = re.compile(r"(?<=\d\d:\d\d):00$")
_MIDNIGHT = re.compile(r"(?<=\d\d-\d\d)[ T]00:00$")
_DECIMAL, _WHOLE = re.compile(r"-?\d+\.\d+$"), re.compile(r"\.00$")
"""Years and other times that are decimals, and those of them that are whole where they have two decimals."""
_GRIDS = (
    *((1440, False, months) for months in (False, True)),
    *((minutes, True, True) for minutes in (1440, 720, 360, 180, 60, 30, 15, 5, 1)),
)
"""Minutes between names, and whether they stand in other days than a month's first, in other months than January."""


def fan_chart(
    paths: Numbers,
    columns: Sequence[str],
    *,
    history: Numbers | None = None,
    truth: Numbers | None = None,
    title: str = "",
    colour: str = figures.PALETTE[0],
    step: str = "rows",
    limits: Sequence[tuple[float, float]] | None = None,
    known: Numbers | None = None,
    elements: Sequence[str] | None = None,
    most: int = figures.MOST_CHANNELS,
    size: float = WIDTH,
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
        known: Cells among the H rows that were given (H,D), nan where a cell was made: only gaps have bands then.
        elements: What the last rows of the history and the H rows are called, such as dates.
        most: Channels that are shown, from the first.
        size: The width of the figure, in inches.
    """
    count, horizon, width = paths.shape
    shown = min(width, most)
    ranges = limits or fan_limits([paths], history, known if truth is None else truth)
    past = np.zeros((0, width)) if history is None else history[-past_shown(horizon) :]
    at = np.arange(horizon) + (1 if len(past) else 0)
    with figures.style(form) as ink:
        figure = figures.blank(size, 1.1 + 1.3 * shown)
        grid = figure.subplots(shown, 1, sharex=True, squeeze=False)[:, 0]
        for d, axes in enumerate(grid):
            made = np.where(np.isfinite(paths[:, :, d]), paths[:, :, d], np.nan)
            if known is not None:
                made = np.where(_at_gaps(known[:, d]), made, np.nan)
            if count >= FEWEST_FOR_BANDS:
                for lower, upper, alpha in BANDS:
                    edges = _quantiles(made, (lower, upper))
                    name = f"{round(100 * (upper - lower))} % of samples"
                    axes.fill_between(at, edges[0], edges[1], color=colour, alpha=alpha, lw=0, label=name)
            for n in range(_singles(count, horizon)):
                name = "" if n else "single samples"
                axes.plot(at, made[n], color=colour, lw=0.7, alpha=0.65, label=name or None)
            if count >= FEWEST_FOR_BANDS:
                axes.plot(at, _quantiles(made, (0.5,))[0], color=colour, lw=2, label="median")
            if len(past):
                axes.plot(np.arange(1 - len(past), 1), past[:, d], color=ink, lw=1, alpha=0.6, label="known past")
                axes.axvline(0.5, color=ink, lw=0.8, alpha=0.35)
            if known is not None:
                axes.plot(at, known[:, d], color=ink, lw=1, alpha=0.6, label="known")
            if truth is not None:
                axes.plot(at, truth[:, d], color=ink, lw=1.3, dashes=(4, 1.6), label="what really followed")
            axes.set_ylim(*ranges[d])
            figures.entitle(axes, columns[d])
            figures.grid(axes, ink)
        after = f"{step} after the last known one" if len(past) else step
        if elements is not None:
            _named(grid[-1], elements[-len(past) - horizon :], int(at[0]) - len(past))
            after = ""
        grid[-1].set_xlabel(after + ("" if shown == width else f"; the first {shown} of {width} columns"))
        figures.titled(figure, title)
        marks, names = grid[0].get_legend_handles_labels()
        place: Literal["outside lower left", "outside upper left"] = (
            "outside lower left" if title else "outside upper left"
        )
        figure.legend(marks, names, loc=place, ncols=2 if size <= WIDTH else 3, borderaxespad=0.2, columnspacing=1.2)
        return figures.written(figure, form)


def _singles(count: int, horizon: int) -> int:
    """How many of the paths are drawn by themselves."""
    return min(count, MOST_PATHS if count < FEWEST_FOR_BANDS else max(1, min(MOST_PATHS, MOST_POINTS // horizon)))


def _at_gaps(known: Numbers) -> NDArray[np.bool_]:
    """Which rows (H,) are unknown, or stand next to one that is, so that bands meet what is known."""
    gap = np.isnan(known)
    beside = gap.copy()
    beside[1:] |= gap[:-1]
    beside[:-1] |= gap[1:]
    return beside


def _named(axes: Axes, elements: Sequence[str], first: int) -> None:
    """Put the names of a few rows at the horizontal axis; the first row stands at `first`."""
    elements = _with_few_decimals(without_seconds(elements))
    apart = max(1, -(-len(elements) * max(map(len, elements)) // NAMES))
    chosen = _round(elements, -(-len(elements) // apart)) or range(0, len(elements), apart)
    names = _without(_WHOLE, _without(_MIDNIGHT, [elements[i] for i in chosen]))
    axes.set_xticks([first + i for i in chosen], names)


def without_seconds(elements: Sequence[str]) -> Sequence[str]:
    """The names of rows; dates without their seconds where all are full minutes."""
    return _without(_SECONDS, elements)


def _with_few_decimals(elements: Sequence[str]) -> Sequence[str]:
    """The names of rows; decimals, such as 1959.33333333334, with two."""
    long = all(map(_DECIMAL.match, elements)) and max(len(one.partition(".")[2]) for one in elements) > 2
    return [f"{float(one):.2f}" for one in elements] if long else elements


def _without(part: re.Pattern[str], names: Sequence[str]) -> Sequence[str]:
    """The names without a part that tells nothing, for it is the end of all of them."""
    return [part.sub("", name) for name in names] if all(map(part.search, names)) else names


def _round(elements: Sequence[str], most: int) -> Sequence[int]:
    """The rows at which a year, a month, a day or a part of one begins, where these fill the room; else nothing.

    Told by the names: dates as ISO 8601 writes them, with or without a time, or years with two decimals.
    """
    if all(map(_DECIMAL.match, elements)):
        here = [i for i, element in enumerate(elements) if _WHOLE.search(element)]
        return here[:: -(-len(here) // most)] if len(here) >= max(2, most // 2) else ()
    dates = [_DATE.match(element) for element in elements]
    if not all(dates):
        return ()
    parts = [(one["month"] or "", one["day"] or "", *_minutes(one["time"])) for one in dates if one is not None]
    for minutes, days, months in _GRIDS:
        here = [
            i
            for i, (month, day, minute, second) in enumerate(parts)
            if not second and minute % minutes == 0 and (days or day in {"", "01"}) and (months or month == "01")
        ]
        if len(here) >= max(2, most // 2):
            return here[:: -(-len(here) // most)]
    return ()


def _minutes(time: str | None) -> tuple[int, float]:
    """Minutes since midnight, and the seconds beside them."""
    hours, minutes, seconds = [*map(float, time.split(":")), 0.0][:3] if time else (0.0, 0.0, 0.0)
    return int(60 * hours + minutes), seconds


def past_shown(horizon: int) -> int:
    """How many rows of the known past stand before `horizon` new ones."""
    return max(3 * horizon // 2, 24)


def fan_limits(
    several: Sequence[Numbers], history: Numbers | None = None, truth: Numbers | None = None
) -> list[tuple[float, float]]:
    """A vertical range for each channel that shows the bands and the single paths of all models.

    It is not stretched by a model that diverges: it goes beyond what is known by the range of that at most, and where
    there is one model alone, by three times as much.

    Args:
        several: The sample paths (N,H,D) of each model.
    """
    ranges = []
    horizon, width = several[0].shape[1:]
    for d in range(width):
        pasts = [] if history is None else [history[-past_shown(horizon) :, d]]
        real = np.concatenate([*pasts, *([] if truth is None else [truth[:, d]]), np.zeros(0)])
        bands = [_quantiles(paths[:, :, d].reshape(-1, 1), (0.02, 0.98)).ravel() for paths in several]
        made = np.concatenate([*bands, *(paths[: _singles(len(paths), horizon), :, d].ravel() for paths in several)])
        real, made = real[np.isfinite(real)], made[np.isfinite(made)]
        everything = np.concatenate([real, made])
        if not len(everything):
            ranges.append((0.0, 1.0))
            continue
        low, high = float(everything.min()), float(everything.max())
        if len(real) > 1 and np.ptp(real):
            room = float(np.ptp(real)) * (1 if len(several) > 1 else 3)
            low, high = max(low, float(real.min()) - room), min(high, float(real.max()) + room)
        margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
        ranges.append((low - margin, high + margin))
    return ranges


def _quantiles(samples: Numbers, which: Sequence[float]) -> Numbers:
    """Quantiles (Q,H) over the samples (N,H); nan where no sample is known."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN")
        quantiles: Numbers = np.nanquantile(np.where(np.isfinite(samples), samples, np.nan), which, axis=0)
        return quantiles
