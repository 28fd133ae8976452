"""The hours of the M4 after as long as GluonTS's DeepAR takes for its 100 epochs, and after a tenth of that.

    SEQLOOM_DATA=... python benchmarks/hours.py [--only lstm] [--epochs 100] [--keep FOLDER]

DeepAR by its defaults (pip install gluonts[torch]) trains on all 414 series and forecasts the 48 rows of the test file
from 100 paths; D is how long that training takes. Each family of ours is then trained for D and for D/10 by the command
line, with nothing but --model, --minutes and the horizon, on the same threads. The measure is the weighted quantile
loss over the levels 0.1 to 0.9. Finished rows are kept, and a later sitting goes on with their D.
"""

from __future__ import annotations

import csv
import os
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import deepar
import forecast
import numpy as np
from rows import Rows, kept_folder, parser_of, say

LEVELS = np.arange(1, 10) / 10
SHARES = {"D": 1.0, "D/10": 0.1}
PATHS = 100


def main() -> None:
    """Fill in the rows that are not there yet, and print the table."""
    parser = parser_of(__doc__, "hours", "lstm")
    parser.add_argument("--epochs", type=int, default=100, help="of DeepAR, 50 updates each")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = Rows(options)
    rows.fill("DeepAR", partial(peer, options.keep, options.epochs), always=True)
    longest = rows.finished["DeepAR"]["seconds"]
    for share, times in SHARES.items():
        for model in forecast.MODELS:
            folder = kept_folder(f"{options.keep / share.replace('/', '-')}")
            rows.fill(f"{model}/{share}", partial(ours, model, folder, times * longest))
    say(table(rows.finished))


def ours(model: str, keep: Path, seconds: float) -> dict[str, Any]:
    """A family after so many seconds of training."""
    row = forecast.ours("m4_hourly", model, 0, None, keep, seconds, [])
    own = {one["name"]: one["value"] for one in row["forecasts"]["rows"][0]["metrics"]}
    return {key: row[key] for key in ("steps", "seconds", "parameters")} | {
        key: own[key] for key in ("wql", "coverage_80")
    }


def peer(keep: Path, epochs: int) -> dict[str, Any]:
    """DeepAR by its defaults: how long it trains, and how good its forecasts are."""
    root = Path(os.environ["SEQLOOM_DATA"])
    pasts = lines_of(root / forecast.M4[0])
    truth = np.stack([line[: forecast.M4[2]] for line in lines_of(root / forecast.M4[1])])
    known = deepar.dataset_of(pasts)
    estimator = deepar.deepar(keep, epochs, 50, prediction_length=forecast.M4[2])
    began = time.monotonic()
    predictor = estimator.train(known)
    seconds = time.monotonic() - began
    made = np.stack([one.samples for one in predictor.predict(known, num_samples=PATHS)], 1)  # (paths, series, rows)
    low, high = np.quantile(made, [0.1, 0.9], axis=0)
    return {
        "steps": 50 * epochs,
        "seconds": seconds,
        "parameters": sum(p.numel() for p in predictor.prediction_net.parameters()),
        "wql": weighted_quantile_loss(made, truth),
        "coverage_80": float(((low <= truth) & (truth <= high)).mean()),
    }


def lines_of(path: Path) -> list[np.ndarray]:
    """The numbers of each series of a file."""
    with path.open() as file:
        return [np.array([cell for cell in line[1:] if cell], np.float32) for line in list(csv.reader(file))[1:]]


def weighted_quantile_loss(paths: np.ndarray, truth: np.ndarray) -> float:
    """Of paths (N,S,H): twice the pinball loss over the sum of the truth (S,H), the mean of the levels."""
    guess = np.quantile(paths, LEVELS, axis=0)
    level = LEVELS[:, None, None]
    pinball = np.maximum(level * (truth - guess), (level - 1) * (truth - guess))
    return float(2 * pinball.sum() / len(LEVELS) / np.abs(truth).sum())


def table(rows: dict[str, Any]) -> str:
    """All rows as Markdown."""
    lines = ["| model | seconds | steps | wql | coverage of 80 % | parameters |", "|---|---|---|---|---|---|"]
    for name, row in rows.items():
        cells = (f"{row['seconds']:.0f}", f"{row['steps']:,}", f"{row['wql']:.4f}", f"{row['coverage_80']:.3f}")
        lines.append(f"| {name} | {' | '.join(cells)} | {row['parameters']:,} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
