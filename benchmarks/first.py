"""The first table: what each family reaches on real data in the time that nanoGPT's CPU settings take.

R is the wall-clock of nanoGPT at its CPU settings (benchmarks/nanogpt_peer.py), measured first, on this machine, with
the same threads and allocator. Then, by the command line alone and with nothing but --model, --minutes and the splits:

    tinyshakespeare   lstm, transformer and masked for R each; nats per character over the whole last 10 %
    ETTh1             gaussian and lstm for 2 R each; mean absolute error of forecasts and gaps of 24 hours of the test
                      split, in units of each channel's spread over training, beside the seasonal naive

    SEQLOOM_DATA=... python benchmarks/first.py [--r SECONDS] [--out benchmarks/results/first.json]

Of text the last checkpoint is scored, since its validation split is the scored one; of series the best one by
validation, which is what the verbs use, and the scored days lie in the test split.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import nanogpt_peer
import numpy as np
import torch
from rows import cells, say, seqloom_json

import seqloom
from seqloom.core import machine
from seqloom.evaluation.baselines.kneser_ney import kneser_ney
from seqloom.evaluation.baselines.symbols import compressed

TEXT_SPLITS = "corpus.splits=[0.9,0.1,0]"
SERIES_SPLITS = "corpus.splits=[0.6613,0.1653,0.1734]"
TRAIN_HOURS, TEST_HOUR = 11_520, 14_400
HORIZON, SEASON, DAYS, PATHS = 24, 24, 24, 50


def main() -> None:
    """Measure, print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--r", type=float, help="seconds of R, where it was measured just before")
    parser.add_argument("--only", default="text,series", help="which parts to run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "first.json")
    options = parser.parse_args()
    data = Path(os.environ["SEQLOOM_DATA"])
    threads = machine.threads()
    torch.set_num_threads(threads)
    machine.tune_allocator()
    kept = json.loads(options.out.read_text()) if options.out.exists() and options.only != "text,series" else {}
    result: dict[str, Any] = kept | {"machine": machine.record(), "command": " ".join(sys.argv)}
    text = (data / "tinyshakespeare" / "input.txt").read_text()
    cut = round(0.9 * len(text))
    peer: dict[str, Any] = {"seconds": options.r}
    if options.r is None:
        peer = nanogpt_peer.train(text[:cut], text[cut:], threads)
        result["nanogpt"] = peer
    result.setdefault("nanogpt", peer)
    r = peer["seconds"]
    say(f"R = {r:.1f} s; nanoGPT: {peer}")
    with tempfile.TemporaryDirectory() as folder:
        if "text" in options.only:
            result["tinyshakespeare"] = shakespeare(data, text, cut, r, Path(folder))
        if "series" in options.only:
            result["ETTh1"] = electricity(data, r, Path(folder))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    say(table(result))


def shakespeare(data: Path, text: str, cut: int, r: float, folder: Path) -> list[dict[str, Any]]:
    """One row a model, and the baselines, in nats per character."""
    rows = []
    for model in ("lstm", "transformer", "masked"):
        run = str(folder / f"text-{model}")
        source = str(data / "tinyshakespeare" / "input.txt")
        trained = seqloom_json(
            "train", source, "--model", model, "--minutes", f"{r / 60:.4f}", TEXT_SPLITS, "--out", run, "-q"
        )
        scored = seqloom_json("evaluate", run, "--split", "valid", "--weights", "last", "-q")
        for metric in scored["metrics"]:
            row = {
                "model": model,
                "metric": metric["name"],
                "nats": metric["value"] * math.log(2),
                "kind": metric["kind"],
            }
            row |= {"stderr": metric["stderr"] * math.log(2), "context": metric["context"]}
            rows.append(row | {key: trained[key] for key in ("steps", "seconds", "parameters", "elements")})
            say(rows[-1])
    symbols = np.array(sorted(set(text[:cut])))
    place = {symbol: i + 1 for i, symbol in enumerate(symbols)}
    train, test = (np.array([place.get(c, 0) for c in part]) for part in (text[:cut], text[cut:]))
    known = {"5-gram": kneser_ney(train, test, len(symbols) + 1)}
    known["xz"] = compressed(text[:cut].encode(), text[cut:].encode())
    rows += [{"model": name, "nats": nats / len(test), "kind": "exact"} for name, nats in known.items()]
    return rows


def electricity(data: Path, r: float, folder: Path) -> list[dict[str, Any]]:
    """Mean absolute errors of forecasts and gaps of a day, over days spread evenly through the test split."""
    source = data / "ett" / "ETTh1.csv"
    rows, models = [], {}
    for model in ("gaussian", "lstm"):
        run = str(folder / f"series-{model}")
        trained = seqloom_json(
            "train", str(source), "--model", model, "--minutes", f"{2 * r / 60:.4f}", SERIES_SPLITS, "--out", run, "-q"
        )
        models[model] = seqloom.load(run)
        rows.append({"model": model, **{key: trained[key] for key in ("steps", "seconds", "parameters")}})
    codec = models["gaussian"].codec
    table = next(iter(codec.read(source)))
    values = np.asarray(table.values)
    spread = values[:TRAIN_HOURS].std(0)
    starts = np.linspace(TEST_HOUR + 96, len(values) - HORIZON - 96, DAYS).astype(int)
    naive = {"forecast": [], "fill": []}
    errors: dict[str, dict[str, list[float]]] = {model: {"forecast": [], "fill": []} for model in models}
    for seed, start in enumerate(starts):
        truth = values[start : start + HORIZON]
        before = values[start - SEASON : start]
        for kind in naive:
            naive[kind].append(float(np.mean(np.abs(before - truth) / spread)))
        for name, model in models.items():
            answer = model.forecast(table.rows(start - 384, start), HORIZON, n=PATHS, seed=seed)
            guess = answer.quantile(0.5)[-HORIZON:]
            errors[name]["forecast"].append(float(np.mean(np.abs(guess - truth) / spread)))
        gapped = with_gap(table.rows(start - 96, start + HORIZON + 96), 96, 96 + HORIZON)
        filled = models["gaussian"].infill(gapped, n=PATHS, seed=seed).quantile(0.5)[96 : 96 + HORIZON]
        errors["gaussian"]["fill"].append(float(np.mean(np.abs(filled - truth) / spread)))
    for row in rows:
        row |= {f"mae_{kind}": float(np.mean(found)) for kind, found in errors[row["model"]].items() if found}
    rows.append(
        {"model": "seasonal naive (the day before)", **{f"mae_{k}": float(np.mean(v)) for k, v in naive.items()}}
    )
    return rows


def with_gap(table: Any, begin: int, end: int) -> Any:
    """A table whose rows begin..end-1 are empty."""
    values = table.values.copy()
    values[begin:end] = np.nan
    return replace(table, values=values)


def table(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines: list[str] = []
    if "tinyshakespeare" in result:
        lines += [
            cells("tinyshakespeare", "nats a character", "kind", "context", "parameters", "steps"),
            "|---" * 6 + "|",
        ]
        peer = result["nanogpt"]
        for key, context in (("nats_windows64", "windows 64"), ("nats_stride32", "sliding 64/32")):
            if key in peer:
                lines.append(cells("nanoGPT", f"{peer[key]:.3f}", "exact", context, peer["parameters"], 2000))
        for row in result["tinyshakespeare"]:
            sign = "≤ " if row["kind"] == "bound" else ""
            name = row["model"] + (", left to right" if row.get("metric", "").endswith("right") else "")
            rest = (row.get(key, "") for key in ("context", "parameters", "steps"))
            lines.append(cells(name, f"{sign}{row['nats']:.3f}", row["kind"], *rest))
        lines.append("")
    if "ETTh1" in result:
        lines += [cells("ETTh1, mean absolute error", "forecast", "gap", "parameters", "steps"), "|---" * 5 + "|"]
        for row in result["ETTh1"]:
            gap = f"{row['mae_fill']:.3f}" if "mae_fill" in row else ""
            rest = (row.get(key, "") for key in ("parameters", "steps"))
            lines.append(cells(row["model"], f"{row['mae_forecast']:.3f}", gap, *rest))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
