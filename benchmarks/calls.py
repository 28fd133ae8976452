"""Whether few network calls suffice: windows of 24 rows made by diffusions in few calls and in 1,000, beside real ones.

    SEQLOOM_DATA=... python benchmarks/calls.py --r SECONDS [--only ETTh1/flow] [--keep FOLDER]

Each diffusion is trained for R by its defaults on the first 80 %. Five times 400 samples are made in each number of
calls, and their energy distance (Szekely & Rizzo 2013, without bias) from as many windows of the training rows is
taken, in spreads of each channel, beside that of other windows of these rows. What is wanted of the default, 12 calls,
is at most 1.05 times the distance of 1,000, or one that chance explains.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import Rows, cells, parser_of, say, seqloom_json

import seqloom

DATA = {"ETTh1": "ett/ETTh1.csv", "google_stock": "google_stock/stock_data.csv"}
MODELS = ("gaussian", "flow")
STEPS = (4, 8, 12, 24, 1000)
SEEDS, SAMPLES, LENGTH = 5, 400, 24


def main() -> None:
    """Fill in the rows that are not there yet, and print the table."""
    parser = parser_of(__doc__, "calls", "ETTh1/gaussian")
    parser.add_argument("--r", type=float, required=True, help="seconds of R")
    options = parser.parse_args()
    rows = Rows(options, r=options.r)
    for name, file in DATA.items():
        for model in MODELS:
            key = f"{name}/{model}"
            source = Path(os.environ["SEQLOOM_DATA"]) / file
            rows.fill(key, partial(measured, options.keep / key.replace("/", "-"), source, model, options.r))
    say(table(rows.finished))


def measured(run: Path, source: Path, name: str, r: float) -> dict[str, Any]:
    """The energy distance for each seed, and the seconds of a seed's samples, by the number of calls."""
    words = ["--model", name, "--minutes", f"{r / 60:.4f}", "corpus.splits=[0.8,0.1,0.1]", "--out", f"{run}"]
    trained = seqloom_json("train", f"{source}", *words, "--resume", "-q")
    model = seqloom.load(run)
    whole = np.asarray(next(iter(model.codec.read(source))).values)
    learned = whole[: round(0.8 * len(whole))]
    spread = np.nanstd(learned, 0)
    found: dict[str, Any] = {"steps": trained["steps"], "distance": {}, "seconds": {}}
    halves = [windows_of(learned / spread, 2 * SAMPLES, seed) for seed in range(SEEDS)]
    found["distance"]["real"] = [energy_distance(both[:SAMPLES], both[SAMPLES:]) for both in halves]
    for steps in STEPS:
        sampler, distances, began = model.sampler.model_copy(update={"steps": steps}), [], time.perf_counter()
        for seed in range(SEEDS):
            paths = model.sample(SAMPLES, length=LENGTH, seed=seed, sampler=sampler).paths
            assert paths is not None
            distances.append(energy_distance(paths / spread, halves[seed][:SAMPLES]))
        found["distance"][f"{steps}"] = distances
        found["seconds"][f"{steps}"] = (time.perf_counter() - began) / SEEDS
        say(f"{run.name} {steps} calls: {np.mean(distances):.4f} {found['seconds'][f'{steps}']:.1f} s")
    return found


def windows_of(rows: Any, count: int, seed: int) -> Any:
    """So many different windows (N,T,D) of rows."""
    begins = np.random.default_rng(seed).choice(len(rows) - LENGTH, count, replace=False)
    return np.stack([rows[begin : begin + LENGTH] for begin in begins])


def energy_distance(made: Any, real: Any) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of samples (N,...) and (M,...), each pair of different ones once."""
    x, y = (torch.from_numpy(np.asarray(one, np.float64)).flatten(1) for one in (made, real))

    def within(z: torch.Tensor) -> torch.Tensor:
        return torch.cdist(z, z).sum() / (len(z) * (len(z) - 1))

    return float(2 * torch.cdist(x, y).mean() - within(x) - within(y))


def table(rows: dict[str, Any]) -> str:
    """Mean distances as Markdown, with their errors over the seeds, and how much farther 12 calls are than 1,000."""
    kinds = {"real": "other windows"} | {f"{steps}": f"{steps:,} calls" for steps in STEPS}
    lines = [cells("energy distance", *kinds.values(), "12 less 1,000"), "|---" * (2 + len(kinds)) + "|"]
    for name, row in rows.items():
        each = {kind: np.array(row["distance"][kind]) for kind in kinds}
        shown = [*each.values(), each["12"] - each["1000"]]
        lines.append(cells(name, *(f"{one.mean():.4f} ± {one.std(ddof=1) / SEEDS**0.5:.4f}" for one in shown)))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
