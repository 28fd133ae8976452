"""Synthetic series: windows of 24 rows by every family beside real ones, by the published scores and by stronger tests.

    SEQLOOM_DATA=... python benchmarks/synthesis.py [--r SECONDS] [--only google_stock] [--keep FOLDER]

Each family is trained on one thread by the command line alone, with nothing but --model and --minutes, and its samples
are judged as `seqloom evaluate --synthetic` judges them, by ten classifiers; copies of training windows, held-out
windows and a Gaussian with their covariances are judged beside. Finished rows are kept, and a later sitting goes on;
every row says how many updates and how much time of the processor its training had.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rows import Rows, parser_of, say

import seqloom
from seqloom.core.rng import Rng
from seqloom.evaluation.synthesis import drawn, len_of, reality_of_run
from seqloom.evaluation.synthesis_table import SHOWN
from seqloom.metrics.synthesis import SynthesisMetric

DATA = {"google_stock": "google_stock/stock_data.csv", "ETTh1": "ett/ETTh1.csv"}
MODELS = ("gaussian", "lstm", "flow", "transformer")
CONTROLS = ("training windows", "held-out windows", "Gaussian")
METRIC = SynthesisMetric(length=24, seeds=10)


def main() -> None:
    """Fill in the rows that are not there yet, and print the table."""
    parser = parser_of(__doc__, "synthesis", "ETTh1")
    parser.add_argument("--r", type=float, default=104.0, help="seconds of R")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = Rows(options, r=options.r)
    for model in MODELS:
        for data, place in DATA.items():
            path, run = Path(os.environ["SEQLOOM_DATA"]) / place, options.keep / f"{data}-{model}"
            rows.fill(f"{data}/{model}", partial(ours, path, model, run, options.r), short)
    for data in DATA:
        for control in CONTROLS:
            rows.fill(f"{data}/{control}", partial(judged, options.keep / f"{data}-{MODELS[0]}", control), short)
    say(table(rows.finished))


def ours(data: Path, model: str, run: Path, r: float) -> dict[str, Any]:
    """One training and its samples, judged."""
    if not (run / "report.json").exists():
        words = [
            "train",
            f"{data}",
            "--model",
            model,
            "--minutes",
            f"{r / 60:.4f}",
            "--threads",
            "1",
            "--out",
            f"{run}",
        ]
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run([sys.executable, "-m", "seqloom", *words, "-q"], stdout=subprocess.PIPE, check=True)
        used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        (run.parent / f"{run.name}.json").write_text(json.dumps({"processor_seconds": used}))
    report = json.loads((run / "report.json").read_text())
    trained = {name: report[name] for name in ("steps", "seconds", "parameters")}
    return {**trained, **json.loads((run.parent / f"{run.name}.json").read_text()), **judged(run)}


def judged(run: Path, control: str = "") -> dict[str, Any]:
    """The measures of a run's samples, or of what they are judged beside."""
    model = seqloom.load(run)
    reality = reality_of_run(model, None, "test", METRIC.length)
    samples = len_of(reality)
    made = reality.controls(samples, Rng.of(0, 1))[control] if control else drawn(model, METRIC.length, samples, 0)
    return {"samples": len(made), "metrics": METRIC.records(made, reality, 0)}


def measures(row: dict[str, Any]) -> dict[str, float]:
    """A row's measures by name."""
    return {record["name"]: record["value"] for record in row["metrics"]}


def short(row: dict[str, Any]) -> str:
    """The measures of a row on a line."""
    return "  ".join(f"{name} {value:.3f}" for name, value in measures(row).items())


def table(rows: dict[str, Any]) -> str:
    """All rows as Markdown."""
    heads = [name.replace("_", " ") for name in SHOWN]
    lines = [f"| data | of | {' | '.join(heads)} | steps |", "|" + "---|" * (len(SHOWN) + 3)]
    for name, row in rows.items():
        data, of = name.split("/")
        values = measures(row)
        spoilt = ("error_both", "error_made") if of == "held-out windows" else ()  # what they are tested on
        cells = [f"{values[one]:.3f}" if one in values and one not in spoilt else "-" for one in SHOWN]
        steps = f"{row['steps']:,}" if "steps" in row else "-"
        lines.append(f"| {data} | {of} | {' | '.join(cells)} | {steps} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
