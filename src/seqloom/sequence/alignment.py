"""Which elements of a condition each element of a sequence attended to, as numbers and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqloom.core import figures
from seqloom.core.figures import Form
from seqloom.core.page import page
from seqloom.sequence.answer import Chart

Numbers = NDArray[np.float64]

NOTHING = "(nothing)"
"""What the null condition is called, which can always be attended to."""
CELL = 0.22
"""Inches of one element."""
LARGEST, SMALLEST = 14.0, 2.6
"""Inches of a panel at most and at least."""
COLUMNS = 2
"""Panels beside each other."""
LONGEST_NAME = 16
_NOTE = (
    "A row is an element that was made, a column one that was given: the darker a cell, the more the one attended to "
    f"the other. Each picture has its own shades; a row adds up to 100 %. What stands at {NOTHING} went to no element."
)
_STYLE = """
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 36rem), 1fr)); gap: 1rem; }
figure { margin: 0; }
figure svg { display: block; height: auto; max-width: max(100%, 36rem); }
"""


@dataclass(frozen=True)
class Alignment:
    """Shares of attention (L,H,T,S): of layers, heads, elements that were made, elements that were given."""

    weights: Numbers
    made: Sequence[str]
    """What the T elements are called; the end of a text is empty."""
    given: Sequence[str]
    """What the S elements are called."""

    @property
    def mean(self) -> Numbers:
        """The mean over all layers and heads (T,S)."""
        return np.asarray(self.weights.mean((0, 1)))

    def plot(self, form: Form = "svg", *, title: str = "") -> Chart:
        """The mean over all layers and heads, and of each layer that over its heads; each in its own shades."""
        return Chart(self._drawn(self._panels, form, title), form)

    def page(self, title: str = "") -> bytes:
        """A page of HTML with the mean, that of each layer, and every head."""
        heads = [
            (f"layer {i}, head {j}", own)
            for i, layer in enumerate(self.weights, 1)
            for j, own in enumerate(layer, 1)
            if self.weights.shape[1] > 1
        ]
        parts = [self._drawn([panel], "svg", "").decode() for panel in [*self._panels, *heads]]
        body = "\n".join(f'<figure class="wide">{part}</figure>' for part in parts)
        return page(title or "Attention", _NOTE, f'<div class="panels">\n{body}\n</div>', _STYLE)

    @property
    def _panels(self) -> list[tuple[str, Numbers]]:
        """The mean over all layers and heads, and where there are several layers each one's over its heads."""
        layers = [(f"layer {i}", own) for i, own in enumerate(self.weights.mean(1), 1)]
        return [("all layers", self.mean), *(layers if len(layers) > 1 else [])]

    def _drawn(self, panels: Sequence[tuple[str, Numbers]], form: Form, title: str) -> bytes:
        across = min(COLUMNS, len(panels))
        down = math.ceil(len(panels) / across)
        width, height = (min(LARGEST, max(SMALLEST, CELL * len(names) + 1.4)) for names in (self.given, self.made))
        with figures.style(form) as ink:
            drawn = figures.blank(width * across, height * down + (0.4 if title else 0.0))
            plots = drawn.subplots(down, across, squeeze=False).ravel()
            for number, (axes, (name, weights)) in enumerate(zip(plots, panels, strict=False)):
                most = float(weights.max())
                axes.imshow(weights, cmap="Blues", vmin=0.0, vmax=most or 1.0, aspect="auto")
                axes.set_title(f"{name} (darkest: {most:.0%})", pad=4)
                axes.set_xticks(range(len(self.given)), [_shown(word) for word in self.given])
                axes.set_yticks(range(len(self.made)), [_shown(word) for word in self.made])
                for label in axes.get_xticklabels():
                    label.set_rotation(90 if len(label.get_text()) > 2 else 0)
                axes.tick_params(length=0)
                if number % across == 0:
                    axes.set_ylabel("what was made")
                if number + across >= len(panels):
                    axes.set_xlabel("what it attended to")
                for spine in axes.spines.values():
                    spine.set_visible(True)
                    spine.set_alpha(0.4)
                    spine.set_color(ink)
            for axes in plots[len(panels) :]:
                axes.remove()
            figures.titled(drawn, title)
            return figures.written(drawn, form)


def _shown(name: str) -> str:
    """A name that can be seen: an open box for a space, a sign for the end of a text."""
    if not name:
        return "⏎"
    seen = name.replace(" ", "␣").replace("\n", "↵").replace("\t", "→")
    return figures.short("".join(letter if letter.isprintable() else "·" for letter in seen), LONGEST_NAME)
