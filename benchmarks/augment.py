"""What augmentations of text are worth: little text, read many times, by a model of pieces and one of characters.

    SEQLOOM_DATA=... python benchmarks/augment.py [--steps 600] [--seeds 2] [--only bpe/] [--keep FOLDER]

A GRU is trained on a twentieth of tinyshakespeare for a fixed number of updates, with one augmentation or none, from
the same seeds; the checkpoint that is best by validation is scored on the test split, in bits a byte. `load` is how
busy the machine was when a training ended, and `ms` what an update took. Finished rows are kept; a later sitting goes
on.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path

from rows import Rows, parser_of, say, seqloom_json

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
    parser = parser_of(__doc__, "augment", "bpe/")
    parser.add_argument("--steps", type=int, default=600, help="updates of each training")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each kind")
    options = parser.parse_args()
    rows = Rows(options, steps=options.steps)
    for codec in CODECS:
        for kind in KINDS:
            for seed in range(options.seeds):
                name = f"{codec}/{kind}/{seed}"
                if codec != "bpe" and kind == "bpe_dropout":
                    continue
                run = options.keep / name.replace("/", "-").replace(" ", "_")
                rows.fill(name, partial(trained, run, CODECS[codec], KINDS[kind], seed, options.steps))
    say(table(rows.finished))


def trained(run: Path, codec: tuple[str, ...], augmentation: str, seed: int, steps: int) -> dict[str, float]:
    """Bits a byte of the test split, and what an update took."""
    text = Path(os.environ["SEQLOOM_DATA"], "tinyshakespeare", "input.txt")
    beside = [f"feed.augment=[{augmentation}]"] if augmentation else []
    begin = time.monotonic()
    seqloom_json(
        "train", f"{text}", *SIZES, *codec, *beside, f"seed={seed}", "--steps", f"{steps}", "--out", f"{run}", "-q"
    )
    seconds = time.monotonic() - begin
    found = seqloom_json("evaluate", f"{run}", "-q")
    (value,) = (metric["value"] for metric in found["metrics"] if metric["name"] == "likelihood")
    return {"bits": round(value, 3), "ms": round(1000 * seconds / steps, 1)}


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
