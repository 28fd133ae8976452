"""How good a model of a text is after R/6, R and 3.5 R, where R is the time of nanoGPT at its CPU settings.

    python benchmarks/time_to_loss.py --data FILE [--models lstm,masked] [--columns R/6,R] [--seeds 3] [--r SECONDS]

R is measured first, on this machine, with the same threads (benchmarks/nanogpt_peer.py). Then each model is trained by
the command line alone on the first nine tenths, as advice has it, without the prior of counts, or by a codec that is
named, and the weights that it ends with are scored over the whole last tenth: nothing is selected on what is scored.
Beside them a 5-gram and xz.

Rows are named by the text, the column, the model, the setting and the seed. Finished ones are kept, and a later sitting
goes on.
"""

from __future__ import annotations

import math
import tempfile
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import nanogpt_peer
import numpy as np
import torch
from first import TEXT_SPLITS
from rows import Rows, cells, parser_of, say, seqloom_json

from seqloom.core import machine
from seqloom.evaluation.baselines.kneser_ney import kneser_ney
from seqloom.evaluation.baselines.symbols import compressed

COLUMNS = {"R/6": 1 / 6, "R": 1.0, "3.5R": 3.5, "7R": 7.0, "15R": 15.0}
MODELS = ("lstm", "transformer", "masked", "gru", "mingru")
SETTINGS = {
    "default": (),
    "no prior": ("process.prior=none",),
    "wide": ("backbone.width=384", "backbone.dropout=0.25"),
    "dropout": ("backbone.dropout=0.1",),
    "characters": ("codec=characters",),
    "pieces": ("codec=bpe",),
}


def main() -> None:
    """Measure what is not there yet, print the table and keep it."""
    parser = parser_of(__doc__, "time_to_loss", "tinyshakespeare/R/lstm")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--columns", default="R/6,R,3.5R")
    parser.add_argument("--settings", default="default,no prior", help=f"of {', '.join(SETTINGS)}")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--r", type=float, help="seconds of R, where it was measured just before")
    options = parser.parse_args()
    threads = machine.threads()
    torch.set_num_threads(threads)
    machine.tune_allocator()
    text = options.data.read_text(encoding="utf-8")
    name = options.data.stem if options.data.stem != "input" else options.data.parent.name
    cut = round(0.9 * len(text))
    rows = Rows(options)
    if options.r is None:
        rows.fill(f"{name}/nanoGPT", lambda: nanogpt_peer.train(text[:cut], text[cut:], threads), always=True)
    rows.facts["r"] = r = options.r or rows.finished[f"{name}/nanoGPT"]["seconds"]
    for model, nats in (("5-gram", five_gram), ("xz", packed)):
        rows.fill(f"{name}/{model}", partial(nats, text, cut))
    columns, models, settings = (named.split(",") for named in (options.columns, options.models, options.settings))
    for column, model, variant, seed in product(columns, models, settings, range(options.seeds)):
        own = (*SETTINGS[variant], f"seed={seed}")
        row = partial(measured, options.data, model, r * COLUMNS[column], own, options.keep)
        rows.fill(f"{name}/{column}/{model}/{variant}/{seed}", row)
    say(table({place: row for place, row in rows.finished.items() if place.startswith(f"{name}/")}))


def measured(data: Path, model: str, seconds: float, settings: tuple[str, ...], keep: Path) -> dict[str, Any]:
    """One training and its score, in nats a character."""
    with tempfile.TemporaryDirectory(dir=keep) as folder:
        run = str(Path(folder) / "run")
        words = ("--model", model, "--minutes", f"{seconds / 60:.4f}", TEXT_SPLITS, *settings, "--out", run, "-q")
        trained = seqloom_json("train", str(data), *words)
        scored = seqloom_json("evaluate", run, "--split", "valid", "--weights", "last", "-q")
    metric = scored["metrics"][0]
    row = {"nats": metric["value"] * math.log(2), "stderr": metric["stderr"] * math.log(2), "kind": metric["kind"]}
    return row | {key: trained[key] for key in ("steps", "seconds", "parameters", "elements")}


def five_gram(text: str, cut: int) -> dict[str, Any]:
    """Interpolated Kneser-Ney counts of the first part."""
    symbols = sorted(set(text[:cut]))
    number = {symbol: i + 1 for i, symbol in enumerate(symbols)}
    train, test = (np.array([number.get(c, 0) for c in part]) for part in (text[:cut], text[cut:]))
    return {"nats": kneser_ney(train, test, len(symbols) + 1) / len(test), "kind": "exact"}


def packed(text: str, cut: int) -> dict[str, Any]:
    """What the rest costs after the first part where both are compressed by xz."""
    return {"nats": compressed(text[:cut].encode(), text[cut:].encode()) / len(text[cut:]), "kind": "exact"}


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The results as Markdown: means over seeds, and what needs no training."""
    lines = [cells("nats a character", "", *COLUMNS), "|---" * (2 + len(COLUMNS)) + "|"]
    found: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for place, row in rows.items():
        parts = place.split("/", 1)[1].rsplit("/", 3)  # a column may hold a stroke: R/6
        if len(parts) == 4:
            column, model, variant, _ = parts
            found.setdefault((model, variant), {}).setdefault(column, []).append(row)
    for (model, variant), own in found.items():
        lines.append(cells(model, variant, *[_mean(own.get(column, [])) for column in COLUMNS]))
    for place, row in rows.items():
        if place.count("/") == 1:
            nats = row.get("nats", row.get("nats_stride32"))
            lines.append(
                cells(place.split("/")[1], "", *[f"{nats:.3f}" if column == "R" else "" for column in COLUMNS])
            )
    return "\n".join(lines)


def _mean(rows: list[dict[str, Any]]) -> str:
    """The mean of several seeds, and how many there are where they are more than one; nothing of none."""
    if not rows:
        return ""
    sign = "≤ " if rows[0]["kind"] == "bound" else ""
    seeds = f" ({len(rows)} seeds)" if len(rows) > 1 else ""
    return f"{sign}{np.mean([row['nats'] for row in rows]):.3f}{seeds}"


if __name__ == "__main__":
    main()
