"""What the dialogue is worth: bits a byte of replies given all that was said before, and of replies alone.

    SEQLOOM_DATA=... python benchmarks/chat.py --r SECONDS [--times 8] [--only lstm/given] [--keep FOLDER]

The dialogues of DailyDialog (Li et al. 2017) as they are published, with their own splits: 11,118 / 1,000 / 1,000, a
dialogue a line. Those who talk are the user and the assistant by turns. Models are trained by the command line for so
many R, the time of nanoGPT at its CPU settings, by the defaults: once on whole dialogues (`given`), and once on each
reply by itself (`alone`, `corpus.history=0`). Both are scored on the same replies of the test split, and the interval
of their difference is over pairs of the same twenty dialogues. Beside them stands the 5-gram of the same symbols.
Finished rows are kept, and a later sitting goes on.
"""

from __future__ import annotations

import os
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rows import Rows, parser_of, say, seqloom_json

import seqloom
from seqloom.core.conversation import ASSISTANT, Entry, entries_of
from seqloom.corpora.packed import Packed
from seqloom.evaluation.baselines.base import baselines_of
from seqloom.evaluation.evaluate import prepare
from seqloom.metrics.likelihood import score
from seqloom.sequence.query import student
from seqloom.validation import reading_of

MODELS = ("lstm", "transformer")
TOGETHER = 20
"""Dialogues of a block."""
READ = {"given": [], "alone": ["corpus.history=0"]}
FILES = {"train": "train", "valid": "validation", "test": "test"}


def main() -> None:
    """Fill in the rows that are not there yet, and print the table."""
    parser = parser_of(__doc__, "chat", "lstm/given")
    parser.add_argument("--r", type=float, required=True, help="seconds of R, measured just before")
    parser.add_argument("--times", type=float, default=8.0, help="so many R for each training")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each")
    parser.add_argument("--threads", type=int, default=0, help="of each; as many as there are cores unless given")
    options = parser.parse_args()
    rows = Rows(options, r=options.r)
    threads = ["--threads", f"{options.threads}"] if options.threads else []
    minutes = options.times * options.r / 60
    for seed in range(options.seeds):
        for model in MODELS:
            for reads in READ:
                name = f"{model}/{reads}/{options.times:g}R/{seed}"
                rows.fill(name, partial(row, model, reads, seed, options.keep, minutes, threads))
    say(table(rows.finished))


def dialogues(split: str, keep: Path) -> Path:
    """The file of a split, unpacked."""
    name = FILES[split]
    path = keep / f"dialogues_{name}.txt"
    if not path.exists():
        with zipfile.ZipFile(Path(os.environ["SEQLOOM_DATA"]) / "dailydialog" / f"{name}.zip") as archive:
            path.write_bytes(archive.read(f"{name}/dialogues_{name}.txt"))
    return path


def row(model: str, reads: str, seed: int, keep: Path, minutes: float, threads: list[str]) -> dict[str, Any]:
    """One training, and what the replies of the test split cost."""
    run = keep / f"{model}-{reads}-{minutes:.1f}-{seed}"
    train, valid, test = (dialogues(split, keep) for split in FILES)
    words = ["train", f"{train}", f"corpus.valid={valid}", f"corpus.test={test}", "corpus.separator=__eou__"]
    words += ["--model", model, *READ[reads], "--minutes", f"{minutes:.4f}", "--out", f"{run}", "--resume"]
    words.append(f"seed={seed}")
    trained = seqloom_json(*words, "-q", *threads)
    loaded = seqloom.load(run)
    assert loaded.run is not None
    corpus, prepared = loaded.run.recipe.corpus, prepare(loaded.run)
    reading = reading_of(prepared.splits["test"], loaded.run)
    scored = score(loaded.network, loaded.process, reading, tokens=True)
    assert scored.surprisal is not None
    starts = Packed(reading.data, reading.space).starts
    nats = np.add.reduceat(np.array(scored.surprisal), starts[:-1])
    whole = replies(test)
    assert min(whole) > 0
    if reads == "alone":
        nats = np.add.reduceat(nats, np.cumsum([0, *whole[:-1]]))
    scores, _ = baselines_of(corpus, prepared)
    return {
        "steps": trained["steps"],
        "seconds": trained["seconds"],
        "elements": trained["elements"],
        "parameters": trained["parameters"],
        "bits": scored.bits_per_unit,
        "bytes": scored.count,
        "blocks": [float(part.sum()) for part in np.split(nats, range(TOGETHER, len(nats), TOGETHER))],
        **{one.name: one.bits_per_unit for one in scores},
    }


def replies(path: Path) -> list[int]:
    """How many replies each dialogue of a file has."""
    found = entries_of(path, separator="__eou__")
    said = [entry.conversation for entry in found if isinstance(entry, Entry)]
    return [sum(one.role == ASSISTANT for one in own.messages) for own in said]


def table(rows: dict[str, Any]) -> str:
    """Bits a byte of all models as Markdown."""
    lines = ["| model | R | seed | given the dialogue | replies alone | difference |", "|---|---|---|---|---|---|"]
    for name, given in rows.items():
        model, reads, times, seed = name.split("/")
        alone = rows.get(f"{model}/alone/{times}/{seed}")
        if reads == "given" and alone:
            apart = (np.array(given["blocks"]) - np.array(alone["blocks"])) / np.log(2)
            margin = student(len(apart) - 1) * apart.std(ddof=1) * np.sqrt(len(apart)) / given["bytes"]
            difference = f"{apart.sum() / given['bytes']:+.4f} ± {margin:.4f}"
            lines.append(f"| {model} | {times} | {seed} | {given['bits']:.3f} | {alone['bits']:.3f} | {difference} |")
    both = [next((found for name, found in rows.items() if f"/{reads}/" in name), None) for reads in READ]
    if both[0] and both[1]:
        given, alone = (found["5-gram"] for found in both if found is not None)
        lines.append(f"| 5-gram | | | {given:.3f} | {alone:.3f} | {given - alone:+.4f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
