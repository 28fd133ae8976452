"""How figures look, wherever they are made: colours, fonts, and how they become SVG for a page or PNG for a file.

Lines and bands take the colours of Okabe & Ito (2008), which people of every colour vision tell apart. Text and axes
of an SVG take the colour of the page around it (`currentColor`), so a figure is as readable on a dark page as on a
light one. matplotlib is imported where a figure is made; it is used without pyplot, so nothing global is left behind.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Numbers = NDArray[np.float64]
Form = Literal["svg", "png"]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MOST_CHANNELS = 4
"""Channels of a series that a plot shows, from the first."""

_INK = "#2b2f36"
_INK_PLACEHOLDER = "#010203"
"""Drawn in an SVG in place of the page's own colour, which matplotlib cannot name."""
_STYLE: dict[str, Any] = {
    "font.size": 10,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.linewidth": 0.8,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "lines.solid_joinstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "seqloom",
    # A column may be called "price ($)": no name is a formula.
    "text.parse_math": False,
    "axes.unicode_minus": True,
}


def numbers_plot(several: Sequence[Numbers], columns: Sequence[str], title: str) -> bytes:
    """Sequences of numbers, a line each in a plot for each channel, as PNG.

    Args:
        several: Sequences (T,D) of the same channels; what is no number is left out.
        columns: The names of the D channels; the first few are shown.
    """
    shown = min(len(columns), MOST_CHANNELS)
    longest = max(len(values) for values in several)
    with style("png") as ink:
        drawn = blank(6.4, 0.8 + 1.5 * shown)
        plots = drawn.subplots(shown, 1, sharex=True, squeeze=False)[:, 0]
        for d, axes in enumerate(plots):
            for n, values in enumerate(several):
                colour = PALETTE[n % len(PALETTE)]
                axes.plot(np.arange(len(values)), np.asarray(values[:, d], np.float64), color=colour, lw=1.3)
            axes.set_xlim(-0.5, max(longest - 0.5, 0.5))
            entitle(axes, columns[d])
            grid(axes, ink)
        more = "" if shown == len(columns) else f"; the first {shown} of {len(columns)} columns"
        plots[-1].set_xlabel(f"row{more}")
        titled(drawn, title)
        return written(drawn, "png")


@contextlib.contextmanager
def style(form: Form) -> Iterator[str]:
    """The settings of all figures, and the colour of text and axes."""
    import matplotlib

    ink = _INK_PLACEHOLDER if form == "svg" else _INK
    keys = ("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color")
    style: Any = {**_STYLE, **dict.fromkeys(keys, ink)}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # A name in a script that matplotlib's font lacks is drawn by the reader's own fonts (SVG) or as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield ink


def blank(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="none")


def titled(figure: Figure, title: str) -> None:
    """Give a figure its title, where there is one."""
    if title:
        figure.suptitle(short(title, 72), x=0.01, ha="left", fontsize=11, fontweight="bold")


def written(figure: Figure, form: Form) -> bytes:
    """A figure as bytes; an SVG without what would differ from time to time."""
    out = io.BytesIO()
    if form == "png":
        figure.savefig(out, format="png", dpi=144, facecolor="white", metadata={"Software": None})
        return out.getvalue()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Groups are never referred to, and their names would stand on a page as often as there are figures on it.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    return text.replace(_INK_PLACEHOLDER, "currentColor").encode("utf-8")


def grid(axes: Axes, ink: str) -> None:
    """Light horizontal lines, and quiet spines."""
    axes.grid(axis="y", color=ink, alpha=0.14, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=3, width=0.8)
    for spine in axes.spines.values():
        spine.set_alpha(0.5)


def entitle(axes: Axes, name: str) -> None:
    """Name an axes by its column, with the power of ten that very large or small numbers are shown in.

    matplotlib writes the power between the name and the plot, where it runs into the name.
    """
    from matplotlib.ticker import FuncFormatter

    low, high = axes.get_ylim()
    largest = max(abs(low), abs(high))
    power = 3 * math.floor(math.log10(largest) / 3) if 0 < largest < math.inf else 0
    if (power >= 6 or power < -3) and high - low > 1e-4 * largest:
        axes.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value / 10.0**power:g}".replace("-", "\N{MINUS SIGN}"))
        )
        name = f"{short(name, 38)} (in 1e{power})"
    axes.set_title(short(name), pad=3)


def short(name: str, most: int = 48) -> str:
    """A name on one line, cut where it is long."""
    line = " ".join(name.split())
    return line if len(line) <= most else line[: most - 1] + "…"
