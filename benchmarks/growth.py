"""How cost grows with length, vocabulary, corpus, context and batch, and quality with calls, data and time.

    python benchmarks/growth.py [--only training,exam] [--small] [--big] [--force] [--again] [--list]

One page of curves (benchmarks/results/growth.png), the numbers beside it (growth.json) and a section of
docs/benchmarks.md. Parts that are finished are kept, and a later sitting goes on; --small runs every part in seconds,
into a folder of its own, to see that it works. --big adds a corpus of 1 GB. A machine that has other work is refused,
unless by --force. Data are made up.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import growth_parts as parts
from rounds import insert, keep, too_loaded

from seqloom.core import figures, machine
from seqloom.core.progress import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "benchmarks.md"
MARK = "growth"
FLAT_TRAINING, FLAT_DECODING = 0.15, 0.05
"""How far the time of a token may rise from the shortest to the longest where cost is not to grow."""
FLAT = ("rnn", "lstm", "gru", "mingru", "minlstm", "linear", "conv", "window", parts.NEAR, parts.PAST)

Rows = Sequence[dict[str, Any]]
Curves = dict[str, list[tuple[float, float]]]
"""Points by the name of their line."""


def main() -> None:
    """Measure what is asked for, keep it, draw the page and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="parts, with commas")
    parser.add_argument("--small", action="store_true", help="tiny settings, kept in a folder of their own")
    parser.add_argument("--big", action="store_true", help="a corpus of 1 GB, too")
    parser.add_argument("--force", action="store_true", help="on a machine that has other work, too")
    parser.add_argument("--again", action="store_true", help="measure anew what is finished")
    parser.add_argument("--list", action="store_true", help="the parts")
    options = parser.parse_args()
    measured: dict[str, Callable[[bool], Iterable[dict[str, Any]]]] = {
        "training": parts.training,
        "memory": lambda small: parts.memory(small, options.big),
        "vocabulary": parts.vocabulary,
        "state": parts.state,
        "decoding": parts.decoding,
        "batches": parts.batches,
        "calls": parts.calls,
        "exam": parts.exam,
        "gradients": parts.gradients,
    }
    if options.list:
        print("\n".join(measured))
        return
    chosen = [name for name in options.only.split(",") if name] or list(measured)
    if unknown := [name for name in chosen if name not in measured]:
        parser.error(f"there is no part {unknown[0]}: {', '.join(measured)}")
    machine.tune_allocator()
    machine.tune_waiting()
    why = too_loaded(machine.record()["load"], os.cpu_count() or 1)
    if why and not (options.force or options.small):
        sys.exit(f"{why} (--force measures all the same)")
    folder = Path(tempfile.gettempdir(), "seqloom-growth-small") if options.small else RESULTS
    path = folder / "growth.json"
    record: dict[str, Any] = kept(path) if path.exists() and not options.small else {"parts": {}}
    for name in chosen:
        if name in record["parts"] and not options.again:
            continue
        began = time.perf_counter()
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows = []
        for row in measured[name](options.small):
            rows.append(row)
            print("  " + ", ".join(f"{k} {short(v)}" for k, v in row.items()), file=sys.stderr, flush=True)
        seconds = round(time.perf_counter() - began, 1)
        record["parts"][name] = {"rows": rows, "seconds": seconds, "loaded": bool(why), "machine": machine.record()}
        keep(path, record)
    drawn = folder / "growth.png"
    drawn.write_bytes(page(record["parts"]))
    text = section(record["parts"])
    if set(measured) <= set(record["parts"]) and not options.small:
        insert(PAGE, text, MARK)
    print(text)
    print(f"{path} and {drawn}", file=sys.stderr)


def kept(path: Path) -> dict[str, Any]:
    """What was measured in an earlier sitting."""
    import json

    found: dict[str, Any] = json.loads(path.read_text())
    return found


def short(value: Any) -> str:
    """A value on a line."""
    if isinstance(value, list):
        return f"[{len(value)} numbers]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# ---- the section --------------------------------------------------------------------------------------------------


def section(measured: dict[str, Any]) -> str:
    """What was measured, as Markdown; parts that were not are left out."""
    words = {
        "training": _training,
        "memory": _memory,
        "vocabulary": _vocabulary,
        "state": _state,
        "decoding": _decoding,
        "batches": _batches,
        "calls": _calls,
        "exam": _exam,
        "gradients": _gradients,
    }
    texts = [word(measured[name]["rows"]) for name, word in words.items() if name in measured]
    loaded = [name for name, part in measured.items() if part["loaded"]]
    if loaded:
        texts.insert(0, f"The machine had other work during: {', '.join(loaded)}.")
    record = next(iter(measured.values()))["machine"]
    texts.append(f"{record['cpu']}, {record['threads']} threads, torch {record['torch']}.")
    return "\n\n".join(texts)


def pivot(rows: Rows, down: str, across: str, value: Callable[[dict[str, Any]], str], more: str = "") -> str:
    """Rows as a Markdown table: one line for each `down`, one column for each `across`."""
    columns = list(dict.fromkeys(row[across] for row in rows))
    lines = [f"| {more or down} | " + " | ".join(f"{c}" for c in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in dict.fromkeys(row[down] for row in rows):
        cells = {row[across]: value(row) for row in rows if row[down] == name}
        lines.append(f"| {name} | " + " | ".join(cells.get(c, "") for c in columns) + " |")
    return "\n".join(lines)


def rise(rows: Rows, mixer: str, across: str, value: str) -> float:
    """How much more the last costs than the first."""
    own = sorted((row[across], row[value]) for row in rows if row["mixer"] == mixer)
    return float(own[-1][1] / own[0][1] - 1)


def flatness(rows: Rows, across: str, value: str, most: float) -> str:
    """Which of those whose cost is not to grow keep to it."""
    rises = {mixer: rise(rows, mixer, across, value) for mixer in FLAT if any(r["mixer"] == mixer for r in rows)}
    said = ", ".join(f"{mixer} {100 * share:+.0f} %" for mixer, share in rises.items())
    over = [mixer for mixer, share in rises.items() if share > most]
    verdict = f"not within {100 * most:.0f} %: {', '.join(over)}" if over else f"all within {100 * most:.0f} %"
    return f"From the shortest to the longest: {said}; {verdict}."


def _training(rows: Rows) -> str:
    head = (
        "**Training time against length**: microseconds for each token of a forward and a backward pass, "
        f"{parts.BATCH} rows, {parts.DEPTH} layers of {parts.WIDTH}, the median of {parts.ROUNDS} rounds."
    )
    table = pivot(rows, "mixer", "length", lambda row: f"{row['us_token']:.1f}")
    return f"{head}\n\n{table}\n\n{flatness(rows, 'length', 'us_token', FLAT_TRAINING)}"


def _memory(rows: Rows) -> str:
    by_length = [row for row in rows if "length" in row]
    by_corpus = [{**row, "of": "MB of a training"} for row in rows if "corpus_mb" in row]
    texts = [f"**Memory**: the peak of one step over what the process took before, {parts.BATCH} rows, in MB."]
    texts += [pivot(by_length, "mixer", "length", lambda row: f"{row['mb']:.0f}")]
    texts += ["Of a whole training against its corpus in MB (20 steps of an lstm, no prior):"]
    texts += [pivot(by_corpus, "of", "corpus_mb", lambda row: f"{row['mb']:.0f}", "corpus, MB")]
    return "\n\n".join(texts)


def _vocabulary(rows: Rows) -> str:
    head = (
        "**A step against the vocabulary**: megabytes at its peak, and milliseconds of the processor for both passes "
        f"(lstm, {parts.BATCH} rows of 256). From {parts.MANY:,} symbols on outputs are made in parts, unless the head "
        "is adaptive."
    )
    table = pivot(rows, "head", "symbols", lambda row: f"{row['mb']:.0f} MB, {row['ms']:.0f} ms")
    return f"{head}\n\n{table}"


def _state(rows: Rows) -> str:
    head = "**What is kept of a sequence against what was read of it**, in KB."
    table = pivot(rows, "mixer", "context", lambda row: f"{row['kb']:,.1f}")
    return f"{head}\n\n{table}"


def _decoding(rows: Rows) -> str:
    table = pivot(rows, "mixer", "context", lambda row: f"{row['ms_element']:.2f}")
    head = "**Decoding against context**: milliseconds for each element that is made after it, one row."
    return f"{head}\n\n{table}\n\n{flatness(rows, 'context', 'ms_element', FLAT_DECODING)}"


def _batches(rows: Rows) -> str:
    named = [{**row, "of": f"{row['mixer']}, {row['what']}"} for row in rows]
    table = pivot(named, "of", "rows", lambda row: f"{row['tokens_second']:,.0f}", "tokens a second, rows")
    return f"**Throughput against rows side by side**\n\n{table}"


def _calls(rows: Rows) -> str:
    texts = ["**Quality against network calls**, of networks that know the truth."]
    masked = [{**row, "of": "bits a letter above the entropy"} for row in rows if row["process"] == "masked"]
    texts += ["A masked diffusion of letters from a Markov chain:"]
    texts += [pivot(masked, "of", "calls", lambda row: f"{row['error']:.3f}", "calls")]
    numbers = [row for row in rows if row["process"] == "gaussian"]
    texts += [
        "A Gaussian diffusion of a normal law, the relative error of the covariance of 2,000 samples; as many drawn "
        f"from the law itself have {numbers[0]['drawn']:.3f}:"
    ]
    numbers.sort(key=lambda row: row["calls"])
    texts += [pivot(numbers, "solver", "calls", lambda row: f"{row['error']:.3f}")]
    return "\n\n".join(texts)


def _exam(rows: Rows) -> str:
    texts = [
        "**Long memory**: the probability of the right answer by how long ago it stood, after equal steps of 32 "
        "texts, two layers of 64. By chance it is 0.12 of `copy` and 0.25 of `recall`."
    ]
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        head = f"{task}, {own[0]['steps']} steps, lag"
        texts.append(pivot(own, "mixer", "lag", lambda row: f"{row['right']:.2f}", head))
    return "\n\n".join(texts)


def _gradients(rows: Rows) -> str:
    lags = [k for k in (1, 2, 4, 8, 16, 32, 64, 128) if k <= len(rows[0]["norms"])]
    lines = ["| network | clipped | " + " | ".join(f"lag {k}" for k in lags) + " |", "|---" * (len(lags) + 2) + "|"]
    for row in rows:
        for name, norms in (("no", row["norms"]), ("yes", row["clipped"])):
            if name == "no" or row["factor"] < 1:
                lines.append(f"| {row['network']} | {name} | " + " | ".join(f"{norms[k - 1]:.1e}" for k in lags) + " |")
    head = (
        "**Gradients by lag**: the norm of the gradient of one position's loss with respect to what was read k "
        "positions before, of untrained networks of one layer; clipped at 1 where the whole gradient is longer. "
        "`rnn x 1.5` and `x 0.5` are linear recurrences whose matrix is so many times a rotation: clipping caps what "
        "explodes, and since it multiplies every lag by one number it leaves what vanishes as far behind as it was."
    )
    return head + "\n\n" + "\n".join(lines)


# ---- the page -----------------------------------------------------------------------------------------------------


def page(measured: dict[str, Any]) -> bytes:
    """All curves on one page, as PNG."""
    drawings: list[tuple[str, str, str, bool, Curves]] = []

    def lines(rows: Rows, name: Callable[[dict[str, Any]], str], x: str, y: str) -> Curves:
        found: Curves = {}
        for row in rows:
            found.setdefault(name(row), []).append((row[x], row[y]))
        return {label: sorted(points) for label, points in found.items()}

    def rows_of(name: str) -> Rows:
        return measured[name]["rows"] if name in measured else []

    mixer = lambda row: row["mixer"]  # noqa: E731 - said once for all
    drawings.append(("Training", "length", "µs a token", True, lines(rows_of("training"), mixer, "length", "us_token")))
    memory = rows_of("memory")
    by_length = lines([row for row in memory if "length" in row], mixer, "length", "mb")
    drawings.append(("Memory of a step", "length", "MB", True, by_length))
    for title, unit, key in (("Memory of a step", "MB", "mb"), ("Time of a step", "ms", "ms")):
        by_symbols = lines(rows_of("vocabulary"), lambda row: row["head"], "symbols", key)
        drawings.append((title, "symbols", unit, True, by_symbols))
    drawings.append(("State", "context", "KB", True, lines(rows_of("state"), mixer, "context", "kb")))
    by_corpus = lines([row for row in memory if "corpus_mb" in row], lambda row: "lstm", "corpus_mb", "mb")
    drawings.append(("Memory of a training", "corpus, MB", "MB", False, by_corpus))
    drawings.append(
        ("Decoding", "context", "ms an element", True, lines(rows_of("decoding"), mixer, "context", "ms_element"))
    )
    by_rows = lines(rows_of("batches"), lambda row: f"{row['mixer']}, {row['what']}", "rows", "tokens_second")
    drawings.append(("Throughput", "rows", "tokens a second", True, by_rows))
    for process, unit in (("masked", "bits a letter too many"), ("gaussian", "error of the covariance")):
        own = [row for row in rows_of("calls") if row["process"] == process]
        found = lines(own, lambda row: row["solver"], "calls", "error")
        drawings.append((f"Quality, {process}", "network calls", unit, True, found))
    for task in ("copy", "recall"):
        own = [row for row in rows_of("exam") if row["task"] == task]
        drawings.append((f"Memory of long ago: {task}", "lag", "right", False, lines(own, mixer, "lag", "right")))
    for title, key in (("Gradient", "norms"), ("Gradient, clipped", "clipped")):
        found = {row["network"]: list(enumerate(row[key], 1)) for row in rows_of("gradients")}
        drawings.append((title, "lag", "norm", True, found))
    across = 3
    with figures.style("png") as ink:
        figure = figures.blank(5.0 * across, 3.1 * math.ceil(len(drawings) / across))
        plots = figure.subplots(math.ceil(len(drawings) / across), across, squeeze=False).flat
        for axes in plots[len(drawings) :]:
            axes.set_axis_off()
        for axes, (title, x, y, logarithmic, found) in zip(plots, drawings, strict=False):
            _draw(axes, title, x, y, logarithmic, found)
            figures.grid(axes, ink)
        return figures.written(figure, "png")


def _draw(axes: Axes, title: str, x: str, y: str, logarithmic: bool, found: Curves) -> None:
    """One plot: a line for each name."""
    for index, (name, points) in enumerate(found.items()):
        colour = figures.PALETTE[index % len(figures.PALETTE)]
        dash = "-" if index < len(figures.PALETTE) else "--"
        mark = "o" if len(points) < 12 else ""
        axes.plot(*zip(*points, strict=True), dash, marker=mark, ms=3.5, lw=1.4, color=colour, label=name)
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    places = sorted({point[0] for points in found.values() for point in points})
    if places and places[-1] >= 8 * places[0]:
        places = [2.0**i for i in range(64) if places[0] <= 2**i <= places[-1]]
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    if logarithmic and any(point[1] > 0 for points in found.values() for point in points):
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter() if _decades(found) > 1 else FuncFormatter(_value))
        axes.yaxis.set_major_formatter(FuncFormatter(_value))
    elif found:
        axes.set_ylim(0, 1.05 * max(point[1] for points in found.values() for point in points))
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if found:
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _value(value: float, _: object) -> str:
    """A value of an axis."""
    return f"{value:.0e}" if 0 < abs(value) < 1e-3 else number(value) if value >= 1000 else f"{value:.3g}"


def _decades(found: Curves) -> float:
    """Over how many powers of ten some points are spread."""
    values = [point[1] for points in found.values() for point in points if point[1] > 0]
    return math.log10(max(values) / min(values))


if __name__ == "__main__":
    main()
