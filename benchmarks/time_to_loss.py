"""How good a model of a text is after R/6, R and 3.5 R, where R is the time of nanoGPT at its CPU settings.

    python benchmarks/time_to_loss.py --data FILE [--only lstm,masked] [--columns R/6,R,3.5R] [--r SECONDS]

R is measured first, on this machine, with the same threads (benchmarks/nanogpt_peer.py). Then each model is trained by
the command line alone on the first nine tenths, as advice has it and without the prior of counts, and the weights that
it ends with are scored over the whole last tenth: nothing is selected on what is scored. Beside them a 5-gram and xz.

Finished rows are kept in benchmarks/results/time_to_loss.json; a later sitting goes on where this one stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import nanogpt_peer
import numpy as np
import torch
from first import TEXT_SPLITS
from rows import cells, say, seqloom_json

from seqloom.core import machine
from seqloom.evaluation.baselines.kneser_ney import kneser_ney
from seqloom.evaluation.baselines.symbols import compressed

COLUMNS = {"R/6": 1 / 6, "R": 1.0, "3.5R": 3.5}
MODELS = ("lstm", "transformer", "masked", "gru", "mingru")
PRIORS = {"default": (), "no prior": ("process.prior=none",)}


def main() -> None:
    """Measure what is not there yet, print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", default=",".join(MODELS), help="models")
    parser.add_argument("--columns", default=",".join(COLUMNS))
    parser.add_argument("--priors", default=",".join(PRIORS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--r", type=float, help="seconds of R, where it was measured just before")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "time_to_loss.json")
    options = parser.parse_args()
    threads = machine.threads()
    torch.set_num_threads(threads)
    machine.tune_allocator()
    text = options.data.read_text(encoding="utf-8")
    cut = round(0.9 * len(text))
    kept: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    found = kept.setdefault(options.data.name if options.data.name != "input.txt" else options.data.parent.name, {})
    if options.r is None:
        found["nanogpt"] = nanogpt_peer.train(text[:cut], text[cut:], threads)
    r = options.r or found["nanogpt"]["seconds"]
    rows: list[dict[str, Any]] = found.setdefault("rows", [])
    if not any(row["model"] == "5-gram" for row in rows):
        rows += baselines(text, cut)

    def keep() -> None:
        options.out.write_text(json.dumps(kept, indent=1) + "\n")

    wanted = [
        (column, model, prior, seed)
        for column in options.columns.split(",")
        for model in options.only.split(",")
        for prior in options.priors.split(",")
        for seed in range(options.seeds)
    ]
    done = {(row.get("column"), row["model"], row.get("prior"), row.get("seed")) for row in rows}
    for column, model, prior, seed in [one for one in wanted if one not in done]:
        row = measured(options.data, model, r * COLUMNS[column], (*PRIORS[prior], f"seed={seed}"))
        rows.append({"column": column, "model": model, "prior": prior, "seed": seed, "r": r, **row})
        rows[-1]["machine"] = machine.record()
        say({key: value for key, value in rows[-1].items() if key != "machine"})
        keep()
    keep()
    say(table(found))


def measured(data: Path, model: str, seconds: float, settings: tuple[str, ...]) -> dict[str, Any]:
    """One training and its score, in nats a character."""
    with tempfile.TemporaryDirectory() as folder:
        run = str(Path(folder) / "run")
        words = ("--model", model, "--minutes", f"{seconds / 60:.4f}", TEXT_SPLITS, *settings, "--out", run, "-q")
        trained = seqloom_json("train", str(data), *words)
        scored = seqloom_json("evaluate", run, "--split", "valid", "--weights", "last", "-q")
    metric = scored["metrics"][0]
    row = {"nats": metric["value"] * math.log(2), "stderr": metric["stderr"] * math.log(2), "kind": metric["kind"]}
    return row | {key: trained[key] for key in ("steps", "seconds", "parameters", "elements")}


def baselines(text: str, cut: int) -> list[dict[str, Any]]:
    """What needs no training."""
    symbols = sorted(set(text[:cut]))
    number = {symbol: i + 1 for i, symbol in enumerate(symbols)}
    train, test = (np.array([number.get(c, 0) for c in part]) for part in (text[:cut], text[cut:]))
    known = {"5-gram": kneser_ney(train, test, len(symbols) + 1)}
    known["xz"] = compressed(text[:cut].encode(), text[cut:].encode())
    return [{"model": name, "nats": nats / len(test), "kind": "exact"} for name, nats in known.items()]


def table(found: dict[str, Any]) -> str:
    """The results as Markdown: the mean over seeds."""
    lines = [cells("nats a character", "", *COLUMNS), "|---" * (2 + len(COLUMNS)) + "|"]
    names = dict.fromkeys((row["model"], row["prior"]) for row in found["rows"] if "prior" in row)
    for model, prior in names:
        values = []
        for column in COLUMNS:
            own = [
                row
                for row in found["rows"]
                if (row["model"], row.get("prior"), row.get("column")) == (model, prior, column)
            ]
            sign = "≤ " if own and own[0]["kind"] == "bound" else ""
            values.append(sign + f"{np.mean([row['nats'] for row in own]):.3f}" if own else "")
        lines.append(cells(model, prior, *values))
    for row in found["rows"]:
        if "prior" not in row:
            lines.append(cells(row["model"], "", "", f"{row['nats']:.3f}", ""))
    if "nanogpt" in found:
        lines.append(cells("nanoGPT", "sliding 64/32", "", f"{found['nanogpt']['nats_stride32']:.3f}", ""))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
