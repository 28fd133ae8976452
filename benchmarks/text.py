"""Texts of several kinds by the defaults, each for so many R, where R is the time of nanoGPT at its CPU settings.

    SEQLOOM_DATA=... python benchmarks/text.py --r SECONDS [--only characters/lstm] [--part valid] [--keep FOLDER]

characters   Penn Treebank, 12 R: bits a character of its test file
words        WikiText-2 by words, 12 R, with the prior of counts and without: perplexity of its test file, where `<unk>`
             is a word and each line has an end, as is published; beside it a 5-gram of the same words
codecs       WikiText-2 as raw bytes, 3 R each: bits a byte by characters, bpe and words
molecules    SMILES of ChEMBL, 6 R: how many samples are valid (as RDKit reads them), different and new, and how far the
             frequencies of their runs of three are from those of training; as learned and at a lower temperature
peptides     the same of 1,554 peptides; valid is what has the letters and the length of those of training
gaps         tinyshakespeare, 2 R each: passages of 160 characters with a gap of 16, or of 5, in the middle

R is measured by `python benchmarks/nanogpt_peer.py input.txt`, with the same threads and just before. Finished rows are
kept in benchmarks/results/text.json, and a later sitting goes on. With --part valid the validation file is scored: that
is where settings are chosen.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from first import TEXT_SPLITS
from rows import Rows, cells, parser_of, say, seqloom_json

import seqloom
from seqloom.evaluation.baselines.base import baselines_of
from seqloom.evaluation.evaluate import prepare

HERE = Path(__file__).parent
FAMILIES = ("lstm", "transformer", "masked")
WORDS = ("codec=words", "codec.parted=spaces", "codec.least=1", "codec.most=40000")
PEPTIDES = "[ADEFGHIKLMNPQRSTVWY]{7,48}"
SAMPLES, COOLER = 500, 0.65
PASSAGE, GAPS, PASSAGES = 160, (16, 5), 200
FILLERS = {
    "masked": ("--model", "masked"),
    "anyorder": ("--model", "anyorder"),
    "lstm, fill in the middle": ("--model", "lstm", "process.infill=0.5", "feed.order=windows", "feed.window=192"),
    "transformer, fill in the middle": ("--model", "transformer", "process.infill=0.5", "feed.window=192"),
    "lstm both ways": ("--model", "masked-lstm"),
}


@dataclass(frozen=True)
class Row:
    """A training, for so many R, on files that a function writes; and how it is measured."""

    times: float
    data: Callable[[Path], list[str]]
    settings: tuple[str, ...]
    measure: Callable[[Path, str], dict[str, Any]]


def main() -> None:
    """Fill in the rows that are not there yet, and print the tables."""
    parser = parser_of(__doc__, "text", "words/")
    parser.add_argument("--r", type=float, required=True, help="seconds of R, measured just before")
    parser.add_argument("--part", choices=["valid", "test"], default="test")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--times", type=float, help="so many R instead of those above, for trials")
    options = parser.parse_args()
    kept = Rows(options, r=options.r)
    for seed in range(options.seeds):
        for name, row in rows().items():
            times = options.times or row.times
            key = f"{name}/{options.part}/{times:g}R/{seed}"
            run = options.keep / key.replace("/", "-").replace(" ", "_").replace(",", "")
            kept.fill(key, partial(measured, row, run, times * options.r, options.part, seed))
    say(tables(kept.finished, options.part))


def measured(row: Row, run: Path, seconds: float, part: str, seed: int) -> dict[str, Any]:
    """One training of so many seconds, and what it is judged by."""
    words = [*row.data(run.parent), *row.settings, "--minutes", f"{seconds / 60:.4f}", f"seed={seed}"]
    trained = seqloom_json("train", *words, "--out", f"{run}", "--resume", "-q")
    return {name: trained[name] for name in ("steps", "seconds", "parameters", "elements")} | row.measure(run, part)


def rows() -> dict[str, Row]:
    """Every row of every table, by its name."""
    found = {}
    for model in FAMILIES:
        found[f"characters/{model}"] = Row(12, penn, ("--model", model, "codec=characters"), likelihood)
    for model in ("lstm", "transformer"):
        for prior, more in (("with the prior", ()), ("no prior", ("process.prior=none",))):
            found[f"words/{model}, {prior}"] = Row(12, wiki, ("--model", model, *WORDS, *more), likelihood)
    for codec in ("characters", "bpe", "words"):
        found[f"codecs/{codec}"] = Row(3, wiki, ("--model", "lstm", f"codec={codec}"), likelihood)
    smiles = partial(things, check=("command", f"{sys.executable} {HERE / 'valid_smiles.py'}"))
    for model in FAMILIES:
        found[f"molecules/{model}"] = Row(6, molecules, ("--model", model), smiles)
    found["molecules/lstm, no prior"] = Row(6, molecules, ("--model", "lstm", "process.prior=none"), smiles)
    for model in FAMILIES:
        found[f"peptides/{model}"] = Row(6, peptides, ("--model", model), partial(things, check=("pattern", PEPTIDES)))
    for name, settings in FILLERS.items():
        found[f"gaps/{name}"] = Row(2, shakespeare, settings, gaps)
    return found


def data() -> Path:
    """The folder of the data sets."""
    return Path(os.environ["SEQLOOM_DATA"])


def penn(keep: Path) -> list[str]:
    """Its three files without the space that each line begins with, so that it has the published characters."""
    for part in ("train", "valid", "test"):
        lines = (data() / "ptb" / f"ptb.{part}.txt").read_text().splitlines()
        (keep / f"ptb.{part}.txt").write_text("".join(f"{line.removeprefix(' ')}\n" for line in lines))
    return [f"{keep / 'ptb.train.txt'}", *(f"corpus.{part}={keep / f'ptb.{part}.txt'}" for part in ("valid", "test"))]


def wiki(keep: Path) -> list[str]:
    """Its three files as they are."""
    folder = data() / "wikitext2"
    return [f"{folder / 'train.txt.gz'}", *(f"corpus.{part}={folder / f'{part}.txt.gz'}" for part in ("valid", "test"))]


def molecules(keep: Path) -> list[str]:
    """Shuffled, for they are published in order."""
    return shuffled(
        gzip.decompress((data() / "chembl22_smiles" / "chembl22_smiles.txt.gz").read_bytes()), keep, "smiles"
    )


def peptides(keep: Path) -> list[str]:
    """Shuffled too."""
    return shuffled((data() / "amp_peptides" / "training_sequences_noC.csv").read_bytes(), keep, "peptides")


def shuffled(text: bytes, keep: Path, name: str) -> list[str]:
    """A file of these lines in an order of its own, a thing a line."""
    lines = text.decode().split()
    random.Random(0).shuffle(lines)
    (keep / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
    return [f"{keep / f'{name}.txt'}", "corpus.items=line"]


def shakespeare(keep: Path) -> list[str]:
    """Nine tenths to learn from."""
    return [f"{data() / 'tinyshakespeare' / 'input.txt'}", TEXT_SPLITS]


def likelihood(run: Path, part: str) -> dict[str, Any]:
    """Bits a byte of a split, the perplexity of its words, beside a 5-gram of its symbols."""
    scored = seqloom_json("evaluate", f"{run}", "metrics=[likelihood,perplexity]", "--split", part, "-q")
    named = {metric["name"]: metric for metric in scored["metrics"]}
    bits, words = named["likelihood"], named["perplexity"]
    found = {key: bits[key] for key in ("value", "unit", "kind", "stderr")} | {"perplexity": words["value"]}
    found |= {"bytes": bits["count"], "words": words["count"]}
    if part == "test":
        model = seqloom.load(run)
        scores, _ = baselines_of(model.run.recipe.corpus, prepare(model.run))
        known = next(score for score in scores if score.name == "5-gram")
        own = {
            "value": known.bits_per_unit,
            "perplexity": math.exp(known.nats_per_unit * bits["count"] / words["count"]),
        }
        found["5-gram"] = own
    return found


def things(run: Path, part: str, *, check: tuple[str, str]) -> dict[str, Any]:
    """How many samples are valid, different and new, and the frequencies of runs, beside held-out things."""
    asked = json.dumps(
        [{"name": "things", check[0]: check[1], "samples": SAMPLES}, {"name": "novelty", "samples": SAMPLES}]
    )

    def sampled(*settings: str) -> dict[str, Any]:
        scored = seqloom_json("evaluate", f"{run}", f"metrics={asked}", *settings, "--split", part, "-q")
        named = {metric["name"]: metric for metric in scored["metrics"]}
        wanted = ("valid", "unique", "new", "ngrams_3")
        return {name: {key: named[name][key] for key in ("value", "stderr", "nominal")} for name in wanted}

    return sampled() | {"cooler": sampled(f"sampler.temperature={COOLER}")}


def gaps(run: Path, part: str) -> dict[str, Any]:
    """How often a gap is filled exactly as it was, and how many characters of it, by the likeliest."""
    model = seqloom.load(run)
    text = (data() / "tinyshakespeare" / "input.txt").read_text()
    held = text[round(0.9 * len(text)) :]
    found = {}
    for gap in GAPS:
        begins = np.linspace(0, len(held) - PASSAGE, PASSAGES).astype(int)
        truth = [held[begin : begin + PASSAGE] for begin in begins]
        first = (PASSAGE - gap) // 2
        sampler = model.sampler.model_copy(update={"temperature": 0.0})
        made = list(filled(model, [f"{one[:first]}{'█' * gap}{one[first + gap :]}" for one in truth], sampler))
        right = np.array([[a == b for a, b in zip(x, y, strict=True)] for x, y in zip(made, truth, strict=True)])
        inside = right[:, first : first + gap]
        found[f"{gap}"] = {"exact": float(inside.all(1).mean()), "right": float(inside.mean())}
    return {"gaps": found}


def filled(model: seqloom.Model, templates: list[str], sampler: Any) -> Iterator[str]:
    """Each template with its gap filled."""
    queries = [
        model.query(model.canvas(model.codec.accept(one), None, None, "█"), 1, 0, sampler, None) for one in templates
    ]
    for answer in model.answers(queries):
        yield answer.values[0]


def tables(rows: dict[str, Any], part: str) -> str:
    """All tables as Markdown."""
    lines: list[str] = []
    kinds = dict.fromkeys(name.split("/")[0] for name in rows if f"/{part}/" in name)
    for kind in kinds:
        own = {name: row for name, row in rows.items() if name.startswith(f"{kind}/") and f"/{part}/" in name}
        shown = COLUMNS[kind]
        lines += ["", cells(kind, "R", "seed", *shown, "parameters", "steps"), "|---" * (5 + len(shown)) + "|"]
        for name, row in own.items():
            _, model, _, times, seed = name.split("/")
            values = (show(row) for show in shown.values())
            lines.append(cells(model, times, seed, *values, f"{row['parameters']:,}", f"{row['steps']:,}"))
        last = next(reversed(own.values()))
        if "5-gram" in last and kind != "codecs":
            known = {**last["5-gram"], "kind": "exact"}
            lines.append(cells("5-gram", "", "", *(show(known) for show in shown.values()), "", ""))
        if "valid" in last:
            held = {
                key: {"value": one["nominal"]}
                for key, one in last.items()
                if isinstance(one, dict) and "nominal" in one
            }
            held["cooler"] = held
            lines.append(cells("held out", "", "", *(show(held) for show in shown.values()), "", ""))
    return "\n".join(lines)


def likely(key: str, digits: int, row: dict[str, Any]) -> str:
    """A likelihood, with the sign of a bound."""
    return ("≤ " if row["kind"] == "bound" else "") + f"{row[key]:.{digits}f}"


def within(*keys: str, digits: int = 3) -> Callable[[dict[str, Any]], str]:
    """What lies under these keys."""

    def show(row: dict[str, Any]) -> str:
        value: Any = row
        for key in keys:
            value = (value or {}).get(key)
        return "" if value is None else f"{value:.{digits}f}"  # of no valid thing it is not known how many are new

    return show


BITS = {"bits a byte": partial(likely, "value", 3)}
MADE = {
    f"{named}{at}": within(*where, name, "value")
    for at, where in (("", ()), (f" at {COOLER}", ("cooler",)))
    for named, name in (("valid", "valid"), ("unique", "unique"), ("new", "new"), ("runs of 3, bits", "ngrams_3"))
}
COLUMNS: dict[str, dict[str, Callable[[dict[str, Any]], str]]] = {
    "characters": BITS,
    "words": {"perplexity": partial(likely, "perplexity", 1)} | BITS,
    "codecs": BITS,
    "molecules": MADE,
    "peptides": MADE,
    "gaps": {
        f"{gap}, {named}": within("gaps", f"{gap}", key)
        for gap in GAPS
        for named, key in (("exact", "exact"), ("right", "right"))
    },
}

if __name__ == "__main__":
    main()
