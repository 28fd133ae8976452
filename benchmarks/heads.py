"""Series of counts by each head that can say them: the weighted quantile loss of forecasts of a week.

    python benchmarks/heads.py [--only few/counts] [--keep FOLDER]

Seven daily series of counts, made here of laws most of which have a weekly season: few a day, many, more variance than
Poisson's, days on which nothing is sold, and levels that drift. An LSTM is trained on each for 300 steps with nothing
but the head named, and its forecasts of the test split stand beside the best of the baselines. Finished rows are kept,
and a later sitting goes on.
"""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rows import Rows, cells, parser_of, say, seqloom_json

HEADS = {
    "student": {"name": "student"},
    "binned": {"name": "binned"},
    "counts": {"name": "counts"},
    "inflated": {"name": "counts", "inflated": True},
}
DAYS, HORIZON, STEPS = 800, 7, 300


def main() -> None:
    """Fill in the rows that are not there yet, and print the table."""
    options = parser_of(__doc__, "heads", "few/counts").parse_args()
    rows = Rows(options)
    for name, counts in series().items():
        path = options.keep / f"{name}.csv"
        dates = np.datetime64("2021-01-01") + np.arange(DAYS)
        path.write_text("date,sold\n" + "".join(f"{day},{n}\n" for day, n in zip(dates, counts, strict=True)))
        for head in HEADS:
            key = f"{name}/{head}"
            rows.fill(key, partial(measured, path, head, options.keep / key.replace("/", "-")))
    say(table(rows.finished))


def series() -> dict[str, NDArray[np.int64]]:
    """Counts of each day."""
    rng, t = np.random.default_rng(5), np.arange(DAYS)
    week = np.sin(2 * np.pi * t / 7)
    walk = np.exp(np.cumsum(rng.normal(0, 0.08, DAYS)))
    busy, varied = np.exp(1 + 0.8 * week) * (1 + t / DAYS), 20 * np.exp(0.5 * week)
    lumpy = 2 * np.exp(0.5 * week)
    return {
        "few": rng.poisson(0.8 * np.exp(0.7 * week)),
        "many": rng.poisson(busy),
        "varied": rng.negative_binomial(3, 3 / (3 + varied)),
        "few and varied": rng.negative_binomial(0.5, 0.5 / (0.5 + lumpy)),
        "often closed": np.where(rng.random(DAYS) < 0.45, 0, rng.poisson(2.5 * np.exp(0.9 * week))),
        "seldom asked for": np.where(rng.random(DAYS) < 0.7, 0, 1 + rng.poisson(4, DAYS)),
        "drifting": rng.poisson(1.5 * walk / walk.mean()),
    }


def measured(path: Path, head: str, run: Path) -> dict[str, Any]:
    """The loss of a model, and of the best baseline."""
    words = ["--model", "lstm", "--steps", f"{STEPS}", f"feed.horizon={HORIZON}", "--threads", "1", "-q"]
    seqloom_json("train", f"{path}", *words, f"process.head={json.dumps(HEADS[head])}", "--out", f"{run}")
    rows = seqloom_json("evaluate", f"{run}", "--horizon", f"{HORIZON}", "--threads", "1", "-q")["rows"]
    found = {row["name"]: {one["name"]: one["value"] for one in row["metrics"]} for row in rows}
    own = next(found.pop(row["name"]) for row in rows if not row["baseline"])
    best, label = min((one["wql"], label) for label, one in found.items() if "wql" in one)
    return {"wql": own["wql"], "coverage_80": own["coverage_80"], "best": best, "baseline": label}


def table(rows: dict[str, Any]) -> str:
    """Losses over those of the best baseline, and their geometric means, as Markdown."""
    lines = [cells("counts", "best baseline", *HEADS), "|---" * (2 + len(HEADS)) + "|"]
    ratios = []
    for name in dict.fromkeys(key.split("/")[0] for key in rows):
        each = [rows.get(f"{name}/{head}") for head in HEADS]
        if None not in each:
            ratios.append([one["wql"] / one["best"] for one in each])
            lines.append(cells(name, each[0]["baseline"], *(f"{ratio:.2f}" for ratio in ratios[-1])))
    means = [math.exp(float(np.log(column).mean())) for column in zip(*ratios, strict=True)]
    lines.append(cells("**mean**", "", *(f"**{mean:.3f}**" for mean in means)))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
