"""Text, translation and drawings by each family: trained on real data, scored, sampled and kept to be looked at.

    SEQLOOM_DATA=... python benchmarks/kinds.py [--minutes 3] [--jobs 2] [--device cpu] [--only kanji] [--keep FOLDER]

Everything is done by the command line, with nothing but --model and --minutes, one thread a training and `--jobs` of
them side by side. Runs and samples lie in FOLDER; what is there already is gone on with.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from seqloom.core import machine

HERE = Path(__file__).parent
SENTENCES = (
    "Two dogs are running through the snow.",
    "A man in a blue shirt is standing on a ladder cleaning a window.",
    "A little girl climbing into a wooden playhouse.",
)
PAIRS = (
    "corpus.source=multi30k_en_de/train.en.gz",
    "corpus.valid=multi30k_en_de/val.de.gz",
    "corpus.valid_source=multi30k_en_de/val.en.gz",
    "corpus.test=multi30k_en_de/test_2016_flickr.de.gz",
    "corpus.test_source=multi30k_en_de/test_2016_flickr.en.gz",
)
DATA: dict[str, tuple[str, ...]] = {
    "tinyshakespeare": ("tinyshakespeare/input.txt",),
    "multi30k": ("multi30k_en_de/train.de.gz", *PAIRS),
    "kanji": ("kanji/short_kanji.npz",),
    "sheep": ("sketch_sheep/aaron_sheep.npz",),
}
MODELS = {
    "tinyshakespeare": ("lstm", "transformer", "masked"),
    "multi30k": ("lstm", "transformer", "masked"),
    "kanji": ("lstm", "transformer", "gaussian", "flow"),
    "sheep": ("lstm", "transformer", "gaussian", "flow"),
}


def main() -> None:
    """Train, score and sample everything, print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", default="", help="data sets or models whose names begin with this")
    parser.add_argument("--keep", type=Path, default=Path("kinds"), help="where runs and samples go")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "kinds.json")
    options = parser.parse_args()
    keep: Path = options.keep.absolute()
    keep.mkdir(parents=True, exist_ok=True)
    chosen = [
        (data, model)
        for data, models in MODELS.items()
        for model in models
        if data.startswith(options.only) or model.startswith(options.only)
    ]
    with ThreadPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(lambda one: row(*one, keep, options.minutes, options.device), chosen))
    print(table(rows))
    record = {"machine": machine.record(), "command": " ".join(sys.argv), "minutes": options.minutes, "rows": rows}
    options.out.write_text(json.dumps(record, indent=2) + "\n")


def row(data: str, model: str, keep: Path, minutes: float, device: str) -> dict[str, Any]:
    """One training with what came of it."""
    run = keep / f"{data}-{model}"
    beside = ("--device", device, "--threads", "1")
    seqloom("train", *DATA[data], "--model", model, "--minutes", f"{minutes}", "--out", f"{run}", "--resume", *beside)
    answer = json.loads(seqloom("evaluate", f"{run}", "--json", *beside))
    score = next(metric for metric in answer["metrics"] if metric["name"] == "likelihood")
    shown = ["--seed", "1", *beside]
    if data == "multi30k":
        samples = [seqloom("sample", f"{run}", f"given.source={text}", *shown).strip() for text in SENTENCES]
        (keep / f"{run.name}.txt").write_text("\n".join(samples) + "\n")
    elif data == "tinyshakespeare":
        (keep / f"{run.name}.txt").write_text(seqloom("sample", f"{run}", "--length", "400", *shown))
    else:
        seqloom("sample", f"{run}", "-n", "16", "--out", f"{keep / run.name}-samples", *shown)
    done = {
        "data": data,
        "model": model,
        "weights": answer["weights"],
        **{key: score[key] for key in ("value", "margin", "kind", "unit")},
    }
    print(f"{data} {model}: {score['value']:.3f} {score['unit']} ({answer['weights']})", file=sys.stderr, flush=True)
    return done


def seqloom(*words: str) -> str:
    """What a command prints; its progress goes where this script's does."""
    done = subprocess.run(
        [sys.executable, "-m", "seqloom", *words, "-q"],
        cwd=os.environ["SEQLOOM_DATA"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text: a bound is marked."""
    lines = [f"{'data':<18}{'model':<14}{'likelihood':>12}  unit"]
    for found in rows:
        sign = "≤ " if found["kind"] == "bound" else ""
        lines.append(
            f"{found['data']:<18}{found['model']:<14}{sign + format(found['value'], '.3f'):>12}  {found['unit']}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
