"""How fast training and sampling are beside the tools of the field, in one sitting on this machine.

    make bench, or python benchmarks/speed.py [--only lstm,decoding] [--rounds 5] [--force] [--again] [--list]

Each row is a job with a side of ours and sides of peers, in processes of their own that take turns
(benchmarks/rounds.py). Before anything is timed, the sides must have the numbers in common that can be: losses and
logits of equal weights, parameters, calls. A ratio above one says that ours is faster; it is the median of the rounds.
A peer is timed as it comes and at its best of float32 and bfloat16 and of one thread and all; rows whose round would
take over a minute time a part, and say which.

Rows that are finished are kept in benchmarks/results/speed.json, and a later sitting goes on; when all are done the
table of docs/benchmarks.md is written anew. A peer that is not installed is a row that says so. A machine that has
other work is refused after some minutes, unless by --force. Data are made up.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from rounds import (
    Child,
    Job,
    Side,
    Versus,
    busy,
    done,
    insert,
    keep,
    measured,
    serve,
    too_loaded,
)
from speed_table import machines, table

from seqloom.core import machine

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "speed.json"
PAGE = HERE.parent / "docs" / "benchmarks.md"
MARK = "speed"
PEERS = ("torch", "transformers", "diffusers", "minGRU-pytorch", "typer")
BFLOAT16_FAST = 2.0
"""How many times faster than in float32 products are on a machine of which more is asked."""


def ours(module: str, function: str, *arguments: Any) -> Side:
    """A side in a process that is set up as `seqloom` sets itself up."""
    return Side(f"speed_{module}", function, arguments, tuned=True)


def peer(module: str, function: str, *arguments: Any) -> Side:
    """A side in a process as torch comes."""
    return Side(f"speed_{module}", function, arguments)


def transformers() -> Iterator[Job]:
    for name, shape, count, shipped, best in (
        ("6L-6H-384d, batch 8, context 256", "large", 2, (3.0, 1.3), 1.15),
        ("4L-4H-128d, batch 12, context 64", "small", 20, 1.5, 1.5),
    ):
        sides = {
            "the same blocks": ours("training", "ours_transformer", shape, "equal", count),
            "default recipe": ours("training", "ours_transformer", shape, "default", count),
            "nanoGPT as shipped": peer("training", "peer_transformer", shape, False, count),
            "nanoGPT at its best": peer("training", "peer_transformer", shape, True, count),
        }
        versus = [
            Versus(own, f"nanoGPT {how}", goal if own == "the same blocks" else None)
            for own in ("the same blocks", "default recipe")
            for how, goal in (("as shipped", shipped), ("at its best", best))
        ]
        yield Job(f"training a Transformer, {name}", "elements/s", sides, versus, tolerance=0.0)


def recurrent() -> Iterator[Job]:
    goals: dict[str, float | tuple[float, float]] = {"lstm": (1.15, 1.0), "gru": 1.4, "rnn": 1.3}
    for kind, goal in goals.items():
        for width, count in ((128, 8), (256, 3), (512, 1)):
            sides = {
                "ours": ours("training", "ours_recurrent", kind, width, count),
                "torch.nn as shipped": peer("training", "peer_recurrent", kind, width, False, count),
                "torch.nn at its best": peer("training", "peer_recurrent", kind, width, True, count),
            }
            versus = [Versus("ours", "torch.nn as shipped"), Versus("ours", "torch.nn at its best", goal)]
            yield Job(f"training 2 x {kind} of {width}, batch 32, length 128", "elements/s", sides, versus)


def minimal() -> Iterator[Job]:
    for length, count in ((512, 2), (4096, 1)):
        sides = {
            "ours": ours("training", "ours_mingru", length, count),
            "minGRU-pytorch at its best": peer("training", "peer_mingru", length, count),
            "torch.nn.GRU at its best": peer("training", "peer_gru", length, count),
        }
        versus = [
            Versus("ours", "minGRU-pytorch at its best", 6.0, 0.5),
            Versus("ours", "torch.nn.GRU at its best", 3.0, 0.5),
        ]
        yield Job(f"minGRU layer of 256, there and back, batch 16, length {length}", "elements/s", sides, versus)


def decoding() -> Iterator[Job]:
    length = 400
    sides = {
        "ours": ours("sampling", "ours_decoding", "lstm", 1, length),
        "stepping torch.nn.LSTM": peer("sampling", "peer_stepping", False, length),
        "stepping torch.nn.LSTMCell": peer("sampling", "peer_stepping", True, length),
    }
    versus = [Versus("ours", "stepping torch.nn.LSTM", 2.0), Versus("ours", "stepping torch.nn.LSTMCell")]
    yield Job("decoding 2 x lstm of 256, batch 1", "elements/s", sides, versus, tolerance=1e-2)
    sides = {
        "int8": ours("sampling", "ours_decoding", "lstm", 1, length, "int8"),
        "bfloat16": ours("sampling", "ours_decoding", "lstm", 1, length, "bfloat16"),
        "stepping torch.nn.LSTMCell": peer("sampling", "peer_stepping", True, length),
    }
    versus = [Versus("int8", "stepping torch.nn.LSTMCell", 4.0), Versus("bfloat16", "stepping torch.nn.LSTMCell", 2.0)]
    yield Job("decoding 2 x lstm of 256 with packed weights, batch 1", "elements/s", sides, versus)
    sides = {
        "default recipe": ours("sampling", "ours_decoding", "default lstm", 1, length),
        "stepping torch.nn.LSTM": peer("sampling", "peer_stepping", False, length),
    }
    versus = [Versus("default recipe", "stepping torch.nn.LSTM")]
    yield Job("decoding 2 x lstm of 256 as trained by default, batch 1", "elements/s", sides, versus)
    for rows, goal in ((1, 2.5), (16, 3.0)):
        sides = {
            "ours": ours("sampling", "ours_decoding", "transformer", rows, 128),
            "int8": ours("sampling", "ours_decoding", "transformer", rows, 128, "int8"),
            "bfloat16": ours("sampling", "ours_decoding", "transformer", rows, 128, "bfloat16"),
            "generate as shipped": peer("sampling", "peer_generate", rows, 128, False),
            "generate at its best": peer("sampling", "peer_generate", rows, 128, True),
        }
        versus = [
            Versus("ours", "generate as shipped", goal),
            Versus("ours", "generate at its best"),
            Versus("int8", "generate as shipped", 5.0 if rows == 1 else None),
            Versus("bfloat16", "generate at its best", goal),
        ]
        yield Job(f"decoding a Transformer 6L-6H-384d, batch {rows}", "elements/s", sides, versus)
    sides = {
        "ours": ours("sampling", "ours_decoding_gpt2", 48),
        "int8": ours("sampling", "ours_decoding_gpt2", 48, "int8"),
        "bfloat16": ours("sampling", "ours_decoding_gpt2", 48, "bfloat16"),
        "generate as shipped": peer("sampling", "peer_generate_gpt2", 48, False),
        "generate at its best": peer("sampling", "peer_generate_gpt2", 48, True),
    }
    versus = [
        Versus("ours", "generate as shipped", 2.5),
        Versus("ours", "generate at its best"),
        Versus("int8", "generate as shipped", 5.0),
        Versus("bfloat16", "generate at its best", 2.5),
    ]
    yield Job("decoding a Transformer 12L-12H-768d of 50,257 symbols, batch 1", "elements/s", sides, versus)


def unmasking() -> Iterator[Job]:
    for rows, symbols, calls, peer_calls, goals in ((16, 65, 2, 1, (3.0, 8.0)), (1, 50_257, 16, 2, (3.0, 10.0))):
        sides = {"ours": ours("sampling", "ours_unmasking", rows, symbols, calls)}
        versus = []
        for steps, goal in zip((1000, 5000), goals, strict=True):
            name = f"ancestral with a cache, T={steps}"
            sides[name] = ours("sampling", "peer_unmasking", rows, symbols, steps, peer_calls)
            versus.append(Versus("ours", name, goal))
        name = f"masked sampling, 6L-384d, length 256, {rows} x {symbols:,} symbols"
        yield Job(name, "samples/s", sides, versus)


def from_noise() -> Iterator[Job]:
    pairs = {
        "DDPMScheduler": ("gaussian", "ancestral"),
        "DDIMScheduler": ("gaussian", "euler"),
        "DPMSolverMultistepScheduler": ("gaussian", "dpm_solver"),
        "UniPCMultistepScheduler": ("gaussian", "unipc"),
        "FlowMatchEulerDiscreteScheduler": ("flow", "euler"),
    }
    for scheduler, (kind, solver) in pairs.items():
        for empty in (False, True):
            sides = {
                solver: ours("sampling", "ours_from_noise", kind, solver, empty),
                f"diffusers {scheduler}": ours("sampling", "peer_from_noise", scheduler, empty),
            }
            name, unit, goal = "20 calls", "samples/s", 1.0
            if empty:
                name, unit, goal = "overhead of a step", "steps of a sample/s", 2.0
            versus = [Versus(solver, f"diffusers {scheduler}", goal)]
            yield Job(f"{kind} sampling by {solver}, 64 x 128 x 8, {name}", unit, sides, versus)


def parts() -> Iterator[Job]:
    sides = {"ours": ours("parts", "dropout", True, 20), "F.dropout": peer("parts", "dropout", False, 20)}
    versus = [Versus("ours", "F.dropout", 3.0)]
    yield Job("dropout of 32 x 128 x 512 numbers, there and back", "passes/s", sides, versus, tolerance=0.02)
    sides = {"ours": ours("parts", "ours_batches", 200), "DataLoader": peer("parts", "peer_batches", 200)}
    yield Job("batches of 32 x 256 symbols", "batches/s", sides, [Versus("ours", "DataLoader", 50.0)])
    sides = {"ours": ours("parts", "drawing", True, 20), "softmax + multinomial": peer("parts", "drawing", False, 20)}
    versus = [Versus("ours", "softmax + multinomial", 10.0)]
    yield Job("drawing from 16 x 50,257 logits", "draws/s", sides, versus, tolerance=0.3)
    sides = {
        "seqloom --help": peer("parts", "starting", ("-m", "seqloom", "--help")),
        "import typer": peer("parts", "starting", ("-c", "import typer")),
    }
    yield Job("starting, help", "starts/s", sides, [Versus("seqloom --help", "import typer", 0.5)])
    sample = ("-m", "seqloom", "sample", "RUN", "-n", "1", "--length", "1", "-q")
    sides = {
        "seqloom sample": peer("parts", "starting", sample),
        "import torch": peer("parts", "starting", ("-c", "import torch")),
    }
    versus = [Versus("seqloom sample", "import torch", 0.5)]
    yield Job("starting, first sample of ten million parameters", "starts/s", sides, versus)


FAMILIES: dict[str, Callable[[], Iterator[Job]]] = {
    "transformers": transformers,
    "recurrent": recurrent,
    "minimal": minimal,
    "decoding": decoding,
    "unmasking": unmasking,
    "noise": from_noise,
    "parts": parts,
}


def main() -> None:
    """Measure what is not there yet, keep it, print the table and write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help=f"families ({', '.join(FAMILIES)}) or parts of names, with commas")
    parser.add_argument("--force", action="store_true", help="on a machine that has other work, too")
    parser.add_argument("--again", action="store_true", help="finished rows anew")
    parser.add_argument("--list", action="store_true", help="name the rows and do nothing")
    parser.add_argument("--table", action="store_true", help="print the table of what is kept and do nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="elsewhere; the page then stays as it is")
    parser.add_argument("--side", nargs=3, metavar=("JOB", "SIDE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    jobs = {job.name: job for family in FAMILIES.values() for job in family()}
    if options.side:
        job, side, folder = options.side
        serve(jobs[job].sides[side], Path(folder))
        return
    kept: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {"jobs": {}}
    words = [word.strip() for word in options.only.split(",") if word.strip()]
    families = {job.name: name for name, family in FAMILIES.items() for job in family()}
    wanted = [
        job
        for name, job in jobs.items()
        if not words or any(word == families[name] or word.lower() in name.lower() for word in words)
    ]
    if options.list:
        print("\n".join(job.name for job in wanted))
        return
    if not options.table:
        now = machine.record()
        why = too_loaded(now["load"], now["cores"])
        if why and not options.force:
            why = busy(lambda: machine.record()["load"], now["cores"], say)
            if why:
                sys.exit(f"error: {why}\nhint: stop the other programs and wait a minute, or give --force")
        measure([job for job in wanted if options.again or not done(kept, job.name)], kept, options, bool(why))
    page = f"{table(kept, wanted)}\n\n{machines(kept)}"
    print(page)
    if options.out == RESULTS and not words and not options.table:
        insert(PAGE, page, MARK)


def measure(jobs: list[Job], kept: dict[str, Any], options: argparse.Namespace, loaded: bool) -> None:
    """One job after another; what goes wrong with one is its row."""
    from seqloom.core.speeds import speeds

    gain = speeds().gain
    kept |= {"speeds": asdict(speeds()) | {"bfloat16_gain": gain}, "peers": dict(versions())}
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="seqloom-speed-") as name:
        folder = Path(name)
        for number, job in enumerate(jobs, 1):
            say(f"[{number}/{len(jobs)}, {(time.monotonic() - began) / 60:.1f} min] {job.name}")
            load = machine.record()["load"]
            try:
                row = measured(job, starter(job, folder), options.rounds, say, gain >= BFLOAT16_FAST, load)
                for one in row["compared"]:
                    say(f"  {one['ours']} / {one['peer']}: {one['ratio']:.2f}")
            except Exception as error:
                say("".join(traceback.format_exception_only(error)))
                row = {"error": str(error), "missing": {}}
            kept["jobs"][job.name] = row | ({"loaded": True} if loaded else {})
            keep(options.out, kept)


def starter(job: Job, folder: Path) -> Callable[[str], Child]:
    """What starts the process of a side, by name."""

    def start(side: str) -> Child:
        words = [sys.executable, str(Path(__file__).resolve()), "--side", job.name, side, str(folder)]
        environment = {"SEQLOOM_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
        return Child(words, folder / "log.txt", {**os.environ, **environment})

    return start


def versions() -> Iterator[tuple[str, str]]:
    """The releases of the peers that are installed."""
    for package in PEERS:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            yield package, "not installed"


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
