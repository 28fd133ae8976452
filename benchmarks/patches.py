"""Several elements of a series at one position of a diffusion's network, and fewer of its calls: errors and times.

    SEQLOOM_DATA=... python benchmarks/patches.py --r SECONDS [--only ETTh1/gaussian] [--keep FOLDER]

Windows lie inside the rows that benchmarks/forecast.py trains on: of the first 60 % of each data set (of google_stock:
of all) 82 % are trained on for R by the defaults with one, two or four elements a position, 7 % are validated on, and
24 rows are forecast from 20 places of the rest, as drawn and without what forecasts are corrected by, in 6, 8 and 12
calls. The seconds are the processor's of all twenty.
"""

from __future__ import annotations

import os
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from forecast import lines_of
from rows import Rows, cells, parser_of, say, seqloom_json

import seqloom
from seqloom.metrics.forecast import Backtest, measures
from seqloom.rolling import forecasts_of

DATA = {"ETTh1": 0.6, "ETTm1": 0.5, "exchange": 0.6, "appliances": 0.6, "google_stock": 1.0}
"""The share of the rows that is used at all."""
MODELS = ("gaussian", "flow")
PATCHES, CALLS = (1, 2, 4), (6, 8, 12)
SPLITS = "corpus.splits=[0.822,0.067,0.111]"
HORIZON, WINDOWS = 24, 20


def main() -> None:
    """Fill in the rows that are not there yet, and print the table."""
    parser = parser_of(__doc__, "patches", "ETTh1/gaussian/2")
    parser.add_argument("--r", type=float, required=True, help="seconds of R")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = Rows(options, r=options.r)
    for name in DATA:
        path = written(name, options.keep)
        for model in MODELS:
            for patch in PATCHES:
                key = f"{name}/{model}/{patch}"
                run = options.keep / key.replace("/", "-")
                rows.fill(key, partial(measured, run, path, model, patch, options.r))
    say(table(rows.finished))


def written(name: str, keep: Path) -> Path:
    """The used rows of a data set, as a file."""
    stock = Path(os.environ["SEQLOOM_DATA"]) / "google_stock" / "stock_data.csv"
    header, *rows = stock.read_text().splitlines() if name == "google_stock" else lines_of(name)
    path = keep / f"{name}.csv"
    path.write_text("\n".join([header, *rows[: int(DATA[name] * len(rows))]]) + "\n")
    return path


def measured(run: Path, path: Path, name: str, patch: int, r: float) -> dict[str, Any]:
    """The measures by the number of calls."""
    words = [
        "--model",
        name,
        "--minutes",
        f"{r / 60:.4f}",
        f"feed.horizon={HORIZON}",
        SPLITS,
        f"backbone.patch={patch}",
    ]
    trained = seqloom_json("train", f"{path}", *words, "--out", f"{run}", "--threads", "1", "-q")
    model = seqloom.load(run)
    model.correction = None
    found: dict[str, Any] = {"steps": trained["steps"]}
    for calls in CALLS:
        model.sampler = model.sampler.model_copy(update={"steps": calls})
        began = time.process_time()
        forecasts = forecasts_of(model, None, "test", Backtest(HORIZON, WINDOWS))
        seconds = time.process_time() - began
        taken = {one["name"]: one["value"] for one in measures(forecasts)}
        found[f"{calls}"] = {key: taken[key] for key in ("mae", "wql", "energy", "coverage_80")} | {"seconds": seconds}
    return found


def table(rows: dict[str, Any]) -> str:
    """Each training as Markdown."""
    heads = [f"{key}, {calls} calls" for key in ("mae", "wql", "coverage", "s") for calls in CALLS]
    lines = [cells("data", "model", "elements", "updates", *heads), "|---" * (4 + len(heads)) + "|"]
    for name, row in rows.items():
        shown = [
            f"{row[f'{calls}'][key]:.{digits}f}"
            for key, digits in (("mae", 3), ("wql", 4), ("coverage_80", 2), ("seconds", 1))
            for calls in CALLS
        ]
        lines.append(cells(*name.split("/"), f"{row['steps']:,}", *shown))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
