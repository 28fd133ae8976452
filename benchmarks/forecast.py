"""Forecasts of a day: every family and the specialists, on windows that nothing was tuned on.

    SEQLOOM_DATA=... python benchmarks/forecast.py [--r SECONDS] [--only ETTh1] [--seeds 1] [--jobs 1] [--keep FOLDER]

Of each data set the first 80 % of the rows are trained on (their last part is for validation), by the command line
alone and with nothing but --model, --minutes, the horizon and the splits; then 24 rows are forecast from 20 places
spread over the tenth that follows, beside the baselines of `seqloom evaluate`. Of exchange_nips (the rates as GluonTS
hands them out) it is 30 rows from 5 places, of m4_hourly the 48 rows of its test file. Of ETTh1 the same days are
filled in as gaps too, with four days before and after known, by the models that can, beside interpolation from hour to
hour between the day before and the day after. R is the wall-clock of nanoGPT at its CPU settings, as in first.py:
measure it there. NeuralForecast's models, where it is installed (pip install neuralforecast), forecast from the same
places by the median of their quantiles. Finished rows are kept, and a later sitting goes on.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rows import Rows, parser_of, say, seqloom_json

from seqloom import load
from seqloom.core.errors import UnsupportedQuery
from seqloom.metrics.forecast import Backtest
from seqloom.metrics.forecast import measures as measures_of
from seqloom.rolling import forecasts_of

MODELS = ("lstm", "transformer", "gaussian", "flow")
PEERS = ("DLinear", "NLinear", "NHITS", "PatchTST")
HORIZON, WINDOWS, INPUT = 24, 20, 168
VALID = 0.06
"""Of all rows: the share of validation, the last part of what is trained on."""
DAY, KNOWN, GAP_PATHS = 24, 96, 50
"""Of gaps: their rows, the known rows on either side, and the paths whose median fills them."""
M4 = ("m4_hourly/Hourly-train.csv", "m4_hourly/Hourly-test.csv", 48)
"""Files of 414 series and of the rows that follow on each, and how many these are."""
MEASURES = ("mae", "wql", "crps_sum", "energy", "coverage_80", "gap")


@dataclass(frozen=True)
class Source:
    """A data set: how its lines are read, what is asked of it, and which shares are trained on and seen at all."""

    read: Callable[[Path], str]
    horizon: int = HORIZON
    windows: int = WINDOWS
    trained: float = 0.8
    seen: float = 0.9
    specialists: bool = True
    gaps: bool = False


def main() -> None:
    """Fill in the rows that are not there yet, and print the table."""
    parser = parser_of(__doc__, "forecast", "ETTh1")
    parser.add_argument("--r", type=float, default=104.0, help="seconds of R")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side, one thread each where several")
    options = parser.parse_args()
    rows = Rows(options, r=options.r)
    data = {name: written(name, options.keep) for name in SOURCES}
    jobs = [(d, m, s) for d in data for m in MODELS for s in range(options.seeds if d == "ETTh1" else 1)]
    jobs += [("m4_hourly", m, 0) for m in MODELS]
    threads = ["--threads", "1"] if options.jobs > 1 else []

    def fill(job: tuple[str, str, int]) -> None:
        name = "/".join(map(str, job))
        rows.fill(name, partial(ours, *job, data.get(job[0]), options.keep, options.r, threads), short)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(fill, jobs))
    if has_peers():
        for name in (name for name in data if SOURCES[name].specialists):
            for peer in PEERS:
                longer = 4 if name == "ETTh1" else 1
                rows.fill(f"{name}/{peer}/0", partial(peers, data[name], peer, longer * options.r), short)
    say(table(rows.finished))
    say(corrections(rows.finished))


# ---- data -----------------------------------------------------------------------------------------------------------


def lines_of(name: str) -> list[str]:
    """The lines of a data set as a CSV, its header first."""
    root = Path(os.environ["SEQLOOM_DATA"])
    return [line for line in SOURCES[name].read(root).splitlines() if line.strip()]


def _exchange(root: Path) -> str:
    text = gzip.decompress((root / "exchange_rate" / "exchange_rate.txt.gz").read_bytes()).decode()
    return ",".join(f"rate{i}" for i in range(1, 9)) + "\n" + text


def _appliances(root: Path) -> str:
    with zipfile.ZipFile(root / "appliances_energy" / "energydata_complete.zip") as packed:
        return packed.read("energydata_complete.csv").decode().replace('"', "")


def _nips(root: Path) -> str:
    with tarfile.open(root / "exchange_rate" / "exchange_rate_nips.tar.gz") as packed:
        text = packed.extractfile("exchange_rate_nips/test/test.json").read().decode()  # type: ignore[union-attr]
    series = [json.loads(line)["target"] for line in text.splitlines()]
    rows = zip(*series[-8:], strict=True)  # the last of the five windows holds the others
    return "\n".join([",".join(f"rate{i}" for i in range(1, 9)), *(",".join(map(repr, row)) for row in rows)])


SOURCES = {
    "ETTh1": Source(lambda root: (root / "ett" / "ETTh1.csv").read_text(), gaps=True),
    "ETTm1": Source(lambda root: gzip.decompress((root / "ett" / "ETTm1.csv.gz").read_bytes()).decode()),
    "exchange": Source(_exchange),
    "appliances": Source(_appliances),
    "exchange_nips": Source(_nips, horizon=30, windows=5, trained=6071 / 6221, seen=1.0, specialists=False),
}


def written(name: str, keep: Path) -> Path:
    """What is seen of a data set, as a file."""
    path = keep / f"{name}.csv"
    header, *rows = lines_of(name)
    path.write_text("\n".join([header, *rows[: round(SOURCES[name].seen * len(rows))]]) + "\n")
    return path


# ---- ours -----------------------------------------------------------------------------------------------------------


def ours(
    data: str, model: str, seed: int, path: Path | None, keep: Path, r: float, threads: list[str]
) -> dict[str, Any]:
    """One training and its forecasts, with the baselines."""
    run = keep / f"{data}-{model}-{seed}"
    shutil.rmtree(run, ignore_errors=True)  # of a sitting that was interrupted
    if path is None:
        root = Path(os.environ["SEQLOOM_DATA"])
        path, horizon = root / M4[0], M4[2]
        settings, asked = [], [f"{root / M4[1]}"]
    else:
        source = SOURCES[data]
        horizon, splits = source.horizon, [source.trained - VALID, VALID, source.seen - source.trained]
        settings = [f"corpus.splits={[round(share / source.seen, 6) for share in splits]}"]
        asked = ["--windows", f"{source.windows}"]
    words = ["--model", model, "--minutes", f"{r / 60:.4f}", f"feed.horizon={horizon}", *settings]
    trained = seqloom_json("train", f"{path}", *words, "--seed", str(seed), "--out", f"{run}", "-q", *threads)
    began = time.monotonic()
    found = seqloom_json("evaluate", f"{run}", *asked, "--horizon", f"{horizon}", "-q", *threads)
    took = time.monotonic() - began
    drawn = as_drawn(run, asked, horizon)
    filled = gaps(data, path, run) if data in SOURCES and SOURCES[data].gaps else None
    return {
        "steps": trained["steps"],
        "seconds": trained["seconds"],
        "parameters": trained["parameters"],
        "evaluated_in": took,
        "forecasts": {key: value for key, value in found.items() if key not in {"run", "data"}},
        "as_drawn": drawn,
        **({"gaps": filled} if filled else {}),
    }


def as_drawn(run: Path, asked: list[str], horizon: int) -> dict[str, Any]:
    """The measures of the same forecasts as the model draws them, and what they are corrected by."""
    model = load(run)
    correction, model.correction = model.correction, None
    data, windows = (None, int(asked[1])) if asked[0] == "--windows" else (asked[0], None)
    found = measures_of(forecasts_of(model, data, "test", Backtest(horizon, windows)))
    taken = {one["name"]: one["value"] for one in found if one["name"] in MEASURES}
    return {"measures": taken, "correction": None if correction is None else correction.plain()}


def gaps(data: str, path: Path, run: Path) -> dict[str, float] | None:
    """Mean absolute errors of days filled in: by a model, where it can, and by two kinds of interpolation."""
    made = load(run)
    table = next(iter(made.codec.read(path)))
    values = np.asarray(table.values)
    train = round(SOURCES[data].trained / SOURCES[data].seen * len(values))
    spread, errors = values[: training(data, len(values))].std(0), []
    share = (np.arange(1, DAY + 1) / (DAY + 1))[:, None]
    for seed, start in enumerate(starts_of(len(values) - KNOWN, train)):
        truth, end = values[start : start + DAY], start + DAY
        cells = values[start - KNOWN : end + KNOWN].copy()
        cells[KNOWN : KNOWN + DAY] = np.nan
        rows = replace(table.rows(start - KNOWN, end + KNOWN), values=cells)
        try:
            guess = made.infill(rows, n=GAP_PATHS, seed=seed).quantile(0.5)[KNOWN : KNOWN + DAY]
        except UnsupportedQuery:
            return None
        days = (1 - share) * values[start - DAY : start] + share * values[end : end + DAY]
        line = (1 - share) * values[start - 1] + share * values[end]
        errors.append([np.mean(np.abs(one - truth) / spread) for one in (guess, days, line)])
    return dict(zip(("", "between the days", "a straight line"), np.mean(errors, 0).tolist(), strict=True))


def training(data: str, rows: int) -> int:
    """How many of these rows are of the training split, whose spreads errors are measured in."""
    return round((SOURCES[data].trained - VALID) / SOURCES[data].seen * rows)


def starts_of(rows: int, train: int) -> np.ndarray:
    """Where forecasts of a day begin: spread over the rows from `train` on."""
    return np.arange(WINDOWS) * ((rows - train - HORIZON) // (WINDOWS - 1)) + train


# ---- peers ----------------------------------------------------------------------------------------------------------


def has_peers() -> bool:
    """Whether NeuralForecast is installed."""
    try:
        import neuralforecast  # noqa: F401
    except ImportError:
        return False
    return True


def peers(path: Path, peer: str, seconds: float) -> dict[str, Any]:
    """A model of NeuralForecast, each column a series of its own, trained for about as long by its own defaults."""
    import pandas as pd
    from neuralforecast import NeuralForecast, models
    from neuralforecast.losses.pytorch import MQLoss

    frame = pd.read_csv(io.StringIO(path.read_text()))
    values = frame.select_dtypes("number").to_numpy(float)
    train = round(SOURCES[path.stem].trained / SOURCES[path.stem].seen * len(values))
    starts = starts_of(len(values), train)

    def long(part: np.ndarray) -> Any:
        rows = [
            pd.DataFrame({"unique_id": f"c{i:03}", "ds": np.arange(len(part)), "y": part[:, i]})
            for i in range(part.shape[1])
        ]
        return pd.concat(rows)

    def fitted(steps: int) -> tuple[Any, float]:
        made = getattr(models, peer)(
            h=HORIZON, input_size=INPUT, max_steps=steps, loss=MQLoss(level=[80]), scaler_type="standard",
            accelerator="cpu", enable_progress_bar=False, logger=False,
        )  # fmt: skip
        engine = NeuralForecast(models=[made], freq=1)
        began = time.monotonic()
        engine.fit(long(values[:train]))
        return engine, time.monotonic() - began

    _, first = fitted(20)
    _, second = fitted(60)
    steps = max(20, int((seconds - first) / max(1e-3, (second - first) / 40)))
    engine, took = fitted(steps)
    spread = values[: training(path.stem, len(values))].std(0)
    errors, inside = [], []
    for start in starts:
        made = engine.predict(long(values[start - INPUT : start]))
        truth = values[start : start + HORIZON]
        median, low, high = (
            made[f"{peer}{end}"].to_numpy().reshape(truth.shape[1], HORIZON).T
            for end in ("-median", "-lo-80", "-hi-80")
        )
        errors.append(np.abs(median - truth) / spread)
        inside.append((low <= truth) & (truth <= high))
    return {"steps": steps, "seconds": took, "mae": float(np.mean(errors)), "coverage_80": float(np.mean(inside))}


# ---- the table ------------------------------------------------------------------------------------------------------


def measured(row: dict[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """The names of a row and of its baselines, with their measures."""
    if "forecasts" not in row:
        yield "", row
        return
    own, *others = row["forecasts"]["rows"]
    filled = dict(row.get("gaps", {}))
    gap = {"gap": filled.pop("")} if filled else {}
    yield own["name"], {metric["name"]: metric["value"] for metric in own["metrics"]} | gap
    for one in others:
        yield one["name"], {metric["name"]: metric["value"] for metric in one["metrics"]}
    for name, error in filled.items():
        yield name, {"gap": error}


def short(row: dict[str, Any]) -> str:
    """The measures of a row's own model."""
    _, measures = next(measured(row))
    return "  ".join(f"{name} {measures[name]:.3f}" for name in MEASURES if measures.get(name) is not None)


def table(rows: dict[str, Any]) -> str:
    """All rows as Markdown, those of several seeds as one: their means, and how far the errors lie apart."""
    seeds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    beside: dict[tuple[str, str], dict[str, Any]] = {}
    steps: dict[tuple[str, str], list[int]] = {}
    for name, row in sorted(rows.items()):
        data, model, _ = name.split("/")
        (_, own), *others = measured(row)
        seeds.setdefault((data, model), []).append(own)
        steps.setdefault((data, model), []).append(row["steps"])
        for called, measures in others:
            if any(measures.get(m) is not None for m in MEASURES):
                beside.setdefault((data, called), measures)
    lines = [f"| data | model | {' | '.join(MEASURES)} | seeds | steps |", "|" + "---|" * (len(MEASURES) + 4)]
    for (data, model), several in sorted([*seeds.items(), *((key, [one]) for key, one in beside.items())]):
        cells = [mean_of([one.get(m) for one in several], m == "mae") for m in MEASURES]
        updates = steps.get((data, model))
        counted = ("-", "-") if updates is None else (f"{len(several)}", f"{np.mean(updates):,.0f}")
        lines.append(f"| {data} | {model} | {' | '.join(cells)} | {' | '.join(counted)} |")
    return "\n".join(lines)


def corrections(rows: dict[str, Any]) -> str:
    """What forecasts were corrected by, and their measures without and with that, as Markdown: means over the seeds."""
    seeds: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for name, row in sorted(rows.items()):
        if "as_drawn" in row:
            drawn, (_, shown) = row["as_drawn"], next(measured(row))
            by = drawn["correction"] or {}
            own = [(by.get(part) or {}).get(key, 1.0) for part, key in (("shrinkage", "kept"), ("width", "factor"))]
            pairs = [side[m] for m in ("mae", "wql", "coverage_80") for side in (drawn["measures"], shown)]
            data, model, _ = name.split("/")
            seeds.setdefault((data, model), []).append((*own, *pairs))
    lines = [
        "| data | model | kept | width | mae | corrected | wql | corrected | coverage | corrected |",
        "|" + "---|" * 10,
    ]
    for (data, model), several in seeds.items():
        cells = [f"{value:.{2 if i < 2 else 3}f}" for i, value in enumerate(np.mean(several, 0))]
        lines.append(f"| {data} | {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def mean_of(values: list[float | None], spread: bool) -> str:
    """The mean of several seeds, with the least and the greatest where asked for; a dash where one lacks it."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return "-"
    apart = f" ({min(known):.3f} to {max(known):.3f})" if spread and len(known) > 1 else ""
    return f"{np.mean(known):.3f}{apart}"


if __name__ == "__main__":
    main()
