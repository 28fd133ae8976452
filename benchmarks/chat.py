"""What the dialogue is worth: bits a byte of replies given all that was said before, and of replies alone.

    SEQLOOM_DATA=... python benchmarks/chat.py [--minutes 4] [--only lstm/given] [--keep FOLDER]

The dialogues of DailyDialog (Li et al. 2017) as they are published, with their own splits: 11,118 / 1,000 / 1,000, a
dialogue a line. Those who talk are the user and the assistant by turns. Models are trained by the command line for the
same time, once on whole dialogues (`given`), and once on each reply by itself (`alone`, `corpus.history=0`); both are
scored on the same replies of the test split, and beside them stands the 5-gram of the same symbols. Intervals are over
64 parts of the test split. Finished rows are kept, and a later sitting goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

import seqloom
from seqloom.core import machine
from seqloom.evaluation.baselines.base import baselines_of
from seqloom.evaluation.evaluate import evaluate_model, prepare
from seqloom.sequence.query import student

HERE = Path(__file__).parent
MODELS = {"lstm": ["--model", "lstm"], "transformer": ["--model", "transformer", "feed.window=384"]}
READ = {"given": [], "alone": ["corpus.history=0"]}
FILES = {"train": "train", "valid": "validation", "test": "test"}


def main() -> None:
    """Fill in the rows that are not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4.0, help="of each training")
    parser.add_argument("--only", default="", help="rows whose names begin with this, such as lstm/given")
    parser.add_argument("--threads", type=int, default=0, help="of each; as many as there are cores unless given")
    parser.add_argument("--keep", type=Path, default=Path("chat-runs"), help="where data and runs go")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "chat.json")
    options = parser.parse_args()
    keep: Path = options.keep.absolute()
    keep.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {"rows": {}}
    record |= {"machine": machine.record(), "minutes": options.minutes}
    threads = ["--threads", f"{options.threads}"] if options.threads else []
    for model in MODELS:
        for reads in READ:
            name = f"{model}/{reads}"
            if name in record["rows"] or not name.startswith(options.only):
                continue
            record["rows"][name] = row(model, reads, keep, options.minutes, threads)
            options.out.write_text(json.dumps(record, indent=2) + "\n")
            print(name, record["rows"][name], flush=True)
    print(table(record["rows"]))


def dialogues(split: str, keep: Path) -> Path:
    """The file of a split, unpacked."""
    name = FILES[split]
    path = keep / f"dialogues_{name}.txt"
    if not path.exists():
        with zipfile.ZipFile(Path(os.environ["SEQLOOM_DATA"]) / "dailydialog" / f"{name}.zip") as archive:
            path.write_bytes(archive.read(f"{name}/dialogues_{name}.txt"))
    return path


def row(model: str, reads: str, keep: Path, minutes: float, threads: list[str]) -> dict[str, Any]:
    """One training, and what the replies of the test split cost."""
    run = keep / f"{model}-{reads}"
    shutil.rmtree(run, ignore_errors=True)  # of a sitting that was interrupted
    train, valid, test = (dialogues(split, keep) for split in FILES)
    words = ["train", f"{train}", f"corpus.valid={valid}", f"corpus.test={test}", "corpus.separator=__eou__"]
    words += [*MODELS[model], *READ[reads], "--minutes", f"{minutes}", "--out", f"{run}", "-q", "--json", *threads]
    done = subprocess.run([sys.executable, "-m", "seqloom", *words], stdout=subprocess.PIPE, check=True)
    trained = json.loads(done.stdout)
    loaded = seqloom.load(run)
    (found,) = evaluate_model(loaded)["metrics"][:1]
    values = np.array([value for value, _ in found["blocks"]])
    weights = np.array([positions for _, positions in found["blocks"]])
    spread = np.sqrt(np.average((values - np.average(values, weights=weights)) ** 2, weights=weights))
    margin = student(len(values) - 1) * spread / np.sqrt(len(values) - 1)
    assert loaded.run is not None
    scores, _ = baselines_of(loaded.run.recipe.corpus, prepare(loaded.run))
    return {
        "steps": trained["steps"],
        "load": os.getloadavg()[1],
        "bits": found["value"],
        "margin": float(margin),
        "bytes": found["count"],
        **{score.name: score.bits_per_unit for score in scores},
    }


def table(rows: dict[str, Any]) -> str:
    """Bits a byte of all models as Markdown."""
    lines = ["| model | given the dialogue | replies alone | difference |", "|---|---|---|---|"]

    def line(called: str, given: tuple[float, float], alone: tuple[float, float]) -> None:
        apart = f"{given[0] - alone[0]:+.3f} ± {np.hypot(given[1], alone[1]):.3f}"
        cells = [f"{value:.3f} ± {margin:.3f}" if margin else f"{value:.3f}" for value, margin in (given, alone)]
        lines.append(f"| {called} | {' | '.join(cells)} | {apart if given[1] else apart.partition(' ')[0]} |")

    for model in MODELS:
        pair = [rows.get(f"{model}/{reads}") for reads in READ]
        if all(pair):
            given, alone = ((found["bits"], found["margin"]) for found in pair if found is not None)
            line(model, given, alone)
    both = [next((found for name, found in rows.items() if name.endswith(reads)), None) for reads in READ]
    if all(both):
        given, alone = ((found["5-gram"], 0.0) for found in both if found is not None)
        line("5-gram of characters", given, alone)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
