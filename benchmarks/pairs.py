"""One text from another: German made of English (Multi30k), by a GRU with attention, a Transformer, and by unmasking.

    SEQLOOM_DATA=... python benchmarks/pairs.py [--r SECONDS] [--times 12] [--only gru] [--part val] [--keep FOLDER]

Each model is trained for so many R on the 29,000 pairs, with what SETTINGS says and nothing else; its answers to a file
of sources (`seqloom apply`) are measured by sacreBLEU beside the true ones. Below stands what needs no model. R is the
wall-clock of nanoGPT at its CPU settings, as in first.py. Finished rows are kept, and a later sitting goes on; `load`
is how busy the machine was when a training ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from rows import Rows, parser_of, say, seqloom_json

from seqloom.core.content import lines_of
from seqloom.evaluation.answers import nearest
from seqloom.metrics.likeness import Bleu, Chrf

MODELS = ("gru", "transformer", "masked")
FILES = {"val": "val", "test": "test_2016_flickr"}
SETTINGS = ("codec=bpe", "codec.most=4000", "given.source.codec=bpe", "given.source.codec.most=4000")


def main() -> None:
    """Fill in the rows that are not there yet, and print the table."""
    parser = parser_of(__doc__, "pairs", "gru")
    parser.add_argument("--r", type=float, default=104.0, help="seconds of R")
    parser.add_argument("--times", type=float, default=12.0, help="so many R for each training")
    parser.add_argument("--part", choices=list(FILES), default="test", help="the file whose sources are answered")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each model")
    parser.add_argument("--lines", type=int, default=0, help="of that file, the first; all unless given")
    parser.add_argument(
        "--threads", type=int, default=0, help="of each training; as many as there are cores unless given"
    )
    options = parser.parse_args()
    rows = Rows(options, r=options.r, signature=Bleu().signature)
    threads = ["--threads", f"{options.threads}"] if options.threads else []
    sources, truth = (texts(options.part, language, options.lines) for language in ("en", "de"))
    beside = f"{options.part}{f'-{options.lines}' if options.lines else ''}"

    def row(model: str, seed: int) -> dict[str, Any]:
        run = options.keep / f"{model}-{options.times:g}-{seed}"
        trained = train(model, run, options.times * options.r / 60, seed, threads)
        return trained | answered(run, sources, truth, options.keep / f"{run.name}-{beside}", threads)

    for seed in range(options.seeds):
        for model in MODELS:
            rows.fill(f"{model}/{options.times:g}R/{beside}/{seed}", partial(row, model, seed))
    rows.fill(f"unaided/{beside}", partial(unaided, sources, truth))
    say(table(rows.finished))


def file_of(part: str, language: str) -> Path:
    """A file of the data set."""
    return Path(os.environ["SEQLOOM_DATA"]) / "multi30k_en_de" / f"{part}.{language}.gz"


def texts(part: str, language: str, most: int) -> list[str]:
    """The lines of a file, or the first of them."""
    lines = [line.decode() for line in lines_of(file_of(FILES[part], language))]
    return lines[:most] if most else lines


def train(model: str, run: Path, minutes: float, seed: int, threads: list[str]) -> dict[str, Any]:
    """One training, or what was left of it by an earlier sitting."""
    words = ["train", f"{file_of('train', 'de')}", f"corpus.source={file_of('train', 'en')}"]
    for split, part in (("valid", "val"), ("test", FILES["test"])):
        words += [f"corpus.{split}={file_of(part, 'de')}", f"corpus.{split}_source={file_of(part, 'en')}"]
    words += [*SETTINGS, "--model", model, "--minutes", f"{minutes:.4f}", "--out", f"{run}", "--resume", "--json"]
    words.append(f"seed={seed}")
    trained = seqloom_json(*words, *threads)
    valid = {"valid": trained["valid"]["value"], "unit": trained["valid"]["unit"]}
    return {"steps": trained["steps"], "parameters": trained["parameters"], **valid}


def answered(run: Path, sources: list[str], truth: list[str], file: Path, threads: list[str]) -> dict[str, Any]:
    """The answers of a run, measured."""
    asked, made = file.with_suffix(".en"), file.with_suffix(".de")
    asked.write_text("".join(f"{source}\n" for source in sources))
    words = ["apply", f"{run}", f"{asked}", "--out", f"{made}", "--seed", "0", "--force", *threads]
    subprocess.run([sys.executable, "-m", "seqloom", *words], check=True)
    return measured(made.read_text().removesuffix("\n").split("\n"), truth)


def measured(made: list[str], truth: list[str]) -> dict[str, Any]:
    """BLEU with its interval over sentences, and chrF."""
    bleu, chrf = Bleu(), Chrf()
    counts = bleu.of(made, truth)
    low, high, _ = bleu.interval(counts)
    found = {"bleu": bleu.value(counts.sum(0)), "low": low, "high": high, "lines": len(made)}
    return found | {"chrf": chrf.value(chrf.of(made, truth).sum(0))}


def unaided(sources: list[str], truth: list[str]) -> dict[str, Any]:
    """Copying the source, and the answer to the training source that is nearest."""
    learned, answers = texts_of_training("en"), texts_of_training("de")
    copied, near = measured(sources, truth), measured([answers[i] for i in nearest(sources, learned)], truth)
    return {"copy": copied["bleu"], "nearest": near["bleu"], "lines": len(truth)}


def texts_of_training(language: str) -> list[str]:
    return [line.decode() for line in lines_of(file_of("train", language))]


def table(rows: dict[str, Any]) -> str:
    """The rows as Markdown."""
    lines = [
        "| | sacreBLEU | 95 % over sentences | chrF | validation | steps | load |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if "bleu" in row:
            cells = [f"{row['bleu']:.1f}", f"{row['low']:.1f} to {row['high']:.1f}", f"{row['chrf']:.1f}"]
            cells += [f"{row['valid']:.3f} {row['unit']}", f"{row['steps']:,}", f"{row['load']:.1f}"]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        else:
            lines.append(f"| copy of the source | {row['copy']:.1f} | | | | | |")
            lines.append(f"| answer to the nearest source | {row['nearest']:.1f} | | | | | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
