"""What a person sees on stderr while something takes over two seconds, and numbers and lists as people read them."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Iterable
from typing import Self, TextIO

FIRST, LIVE, LINE = 2.0, 0.1, 10.0
SOON, LATE, LEAST = 0.01, 30.0, 0.001
"""How long the rest takes is told from this share on, after so many seconds from the smaller one on: the first of many
says little."""
EXACT = 1_000_000
"""Counts of fewer are shown to the last one."""


def duration(seconds: float) -> str:
    """`80` as "1m 20s": the two largest units, tenths under ten seconds."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.1f}s"
    rest = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if rest >= size:
            whole, remainder = divmod(rest, size)
            return f"{whole}{unit} {remainder // part}{smaller}" if remainder // part else f"{whole}{unit}"
    return f"{rest}s"


def count(amount: int, noun: str) -> str:
    """1 step, 1,200 steps."""
    return f"{amount:,} {noun if amount == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """Steps, boxes, matches, series."""
    if noun.endswith("series"):
        return noun
    return f"{noun}es" if noun.endswith(("s", "x", "z", "ch", "sh")) else f"{noun}s"


def number(value: float) -> str:
    """`1_234_567` as "1.2 M": one decimal under ten, thousands by k, M, G, T."""
    size, sign = abs(value), "-" if value < 0 else ""
    if size < 999.5:
        return f"{sign}{size:.0f}" if size == int(size) or size >= 10 else f"{sign}{size:.1f}"
    for letter in "kMGT":
        size /= 1000
        if size < 999.5 or letter == "T":
            break
    return f"{sign}{size:.1f}".removesuffix(".0") + f" {letter}" if size < 9.95 else f"{sign}{size:.0f} {letter}"


def decimal(value: float) -> str:
    """Three decimals; fewer for large numbers, more for small ones, so that about as many digits are significant."""
    if not math.isfinite(value):
        return "not finite"
    decimals = 3 if abs(value) < 100 else 1
    if value and abs(value) < 0.0005:
        return "0.0000" if abs(value) < 5e-5 else f"{value:.4f}"
    return f"{value:.{decimals}f}".replace("-", "−")


def columns(text: str) -> int:
    """Places that a text takes on a terminal: two for an East Asian letter, none for an accent put over another."""
    return sum(1 + (unicodedata.east_asian_width(ch) in "WF") for ch in text if not unicodedata.combining(ch))


def printable(text: str) -> str:
    """A text in which everything can be seen: what no screen shows is replaced, but for ends of lines and tabs."""
    return "".join(ch if ch.isprintable() or ch in "\n\t" else "\N{REPLACEMENT CHARACTER}" for ch in text)


def listed(names: Iterable[str], last: str = "and") -> str:
    """`a, b and c`."""
    *most, end = list(names) or [""]
    return f"{', '.join(most)} {last} {end}" if most else end


class Progress:
    """One live line on a terminal, a line every ten seconds elsewhere, nothing for what is over in two seconds.

    Plain text, no colours or escapes. Use as `with Progress(total, "steps") as bar: bar.update(done, text)`. A
    `total` of 0 is one that is not known; "seconds" as `unit` are shown as times, no `unit` as a share only; `start`
    is how far it had come before (on resume); `stream` is stderr if not given; `clock` gives seconds.
    """

    def __init__(
        self,
        total: float,
        unit: str,
        *,
        start: float = 0,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._unit, self._start, self._quiet, self._clock = total, unit, start, quiet, clock
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._begin = clock()
        self._next = self._begin + (FIRST if self._live else LINE)
        self._done, self._text, self._width = start, "", 0
        self._drawn: tuple[float, str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._drawn is not None:
            if self._live or self._drawn != (self._done, self._text):
                self._draw()
            if self._live:
                self._write("\n")
            self._width = 0

    def update(self, done: float, text: str = "") -> None:
        """Report how far it has come, and a text about it; cheap enough for every step."""
        self._done, self._text, now = done, text, self._clock()
        if not self._quiet and now >= self._next:
            self._next = now + (LIVE if self._live else LINE)
            self._draw()

    def say(self, text: str) -> None:
        """A message of its own, above the live line."""
        if not self._quiet:
            self.clear()
            self._write(text.rstrip("\n") + "\n")

    def clear(self) -> None:
        """Take the live line away, where data are printed on the same terminal; the next update draws it again."""
        if self._width:
            self._write("\r" + " " * self._width + "\r")
            self._width = 0

    def line(self) -> str:
        """What is shown now: share, count, time left, and the text."""
        show = duration if self._unit == "seconds" else number if self._total >= EXACT else "{:,.0f}".format
        count = show(self._done) + (f" of {show(self._total)}" if self._total else "")
        parts = [count if self._unit == "seconds" else f"{count} {self._unit}"] if self._unit else []
        if self._total:
            parts.insert(0, f"{min(100, int(100 * self._done / self._total))} %")
            moved, left, taken = self._done - self._start, self._total - self._done, self._clock() - self._begin
            least = SOON if taken < LATE else LEAST
            if moved > 0 and left > 0 and moved >= least * self._total:
                parts.append(f"{duration(taken * left / moved)} left")
        return "  ".join([*parts, "".join(letter if letter.isprintable() else " " for letter in self._text)]).rstrip()

    def _draw(self) -> None:
        line, self._drawn = self.line(), (self._done, self._text)
        if not self._live:
            self._write(line + "\n")
            return
        line, width = _fit(line, max(20, _width_of(self._stream) - 1))
        self._write("\r" + line + " " * (self._width - width))
        self._width = width

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _width_of(stream: TextIO) -> int:
    """The columns of the terminal that a stream leads to; standard output may lead elsewhere."""
    if not os.environ.get("COLUMNS"):
        try:
            return os.get_terminal_size(stream.fileno()).columns or 80
        except (OSError, ValueError):
            pass
    return shutil.get_terminal_size().columns


def _fit(text: str, most: int) -> tuple[str, int]:
    """As much of a text as fits in `most` columns, and how many it takes."""
    width = 0
    for end, letter in enumerate(text):
        step = columns(letter)
        if width + step > most:
            return text[:end], width
        width += step
    return text, width
