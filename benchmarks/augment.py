"""What augmentations of text are worth: little text, read many times, by a model of pieces and one of characters.

    SEQLOOM_DATA=... python benchmarks/augment.py [--steps 600] [--seeds 2] [--only bpe/] [--keep FOLDER]

A GRU is trained on a twentieth of tinyshakespeare for a fixed number of updates, with one augmentation or none, from
the same seeds; the checkpoint that is best by validation is scored on the test split, in bits a byte. `load` is how
busy the machine was when a training ended, and `ms` what an update took. Finished rows are kept; a later sitting goes
on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from seqloom.core import machine

HERE = Path(__file__).parent
KINDS = {
    "none": "",
    "substitute": "{name: substitute, share: 0.1}",
    "substitute spans of 4": "{name: substitute, share: 0.1, span: 4}",
    "delete": "{name: delete, share: 0.1}",
    "shuffle": "{name: shuffle, distance: 2}",
    "bpe_dropout": "{name: bpe_dropout, share: 0.1}",
}
SIZES = (
    *("--model", "gru", "backbone.width=96", "backbone.depth=1", "feed.order=windows", "feed.batch=8"),
    *("corpus.fraction=0.05", "process.prior=none", "trainer.rate=0.004"),
)
CODECS = {"bpe": ("codec=bpe", "codec.most=1000", "feed.window=64"), "characters": ("feed.window=128",)}


def main() -> None:
    """Fill in the rows that are not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600, help="updates of each training")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each kind")
    parser.add_argument("--only", default="", help="rows whose names begin with this, such as bpe/")
    parser.add_argument("--keep", type=Path, default=Path("augment-runs"), help="where runs go")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "augment.json")
    options = parser.parse_args()
    record: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {"rows": {}}
    record |= {"machine": machine.record(), "steps": options.steps}
    for codec in CODECS:
        for kind in KINDS:
            for seed in range(options.seeds):
                name = f"{codec}/{kind}/{seed}"
                if name in record["rows"] or not name.startswith(options.only):
                    continue
                if codec != "bpe" and kind == "bpe_dropout":
                    continue
                run = options.keep.absolute() / name.replace("/", "-").replace(" ", "_")
                record["rows"][name] = trained(run, CODECS[codec], KINDS[kind], seed, options.steps)
                options.out.write_text(json.dumps(record, indent=1) + "\n")
                print(name, record["rows"][name], flush=True)
    print(table(record["rows"]))


def trained(run: Path, codec: tuple[str, ...], augmentation: str, seed: int, steps: int) -> dict[str, float]:
    """Bits a byte of the test split, what an update took, and the load."""
    text = Path(os.environ["SEQLOOM_DATA"], "tinyshakespeare", "input.txt")
    beside = [f"feed.augment=[{augmentation}]"] if augmentation else []
    begin = time.monotonic()
    seqloom("train", f"{text}", *SIZES, *codec, *beside, f"seed={seed}", "--steps", f"{steps}", "--out", f"{run}")
    seconds = time.monotonic() - begin
    found = json.loads(seqloom("evaluate", f"{run}", "--json"))
    (value,) = (metric["value"] for metric in found["metrics"] if metric["name"] == "likelihood")
    return {"bits": round(value, 3), "ms": round(1000 * seconds / steps, 1), "load": round(os.getloadavg()[0], 1)}


def seqloom(*words: str) -> str:
    """What a command says."""
    return subprocess.run([sys.executable, "-m", "seqloom", *words], check=True, capture_output=True, text=True).stdout


def table(rows: dict[str, dict[str, float]]) -> str:
    """The means over the seeds, as a table of the docs."""
    lines = ["| read as | augmentation | bits a byte, of each seed | mean |", "|---|---|---|---|"]
    for kind in dict.fromkeys(name.rpartition("/")[0] for name in rows):
        bits = [row["bits"] for name, row in rows.items() if name.rpartition("/")[0] == kind]
        each = ", ".join(f"{one:.3f}" for one in bits)
        lines.append(f"| {kind.replace('/', ' | ')} | {each} | {sum(bits) / len(bits):.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
