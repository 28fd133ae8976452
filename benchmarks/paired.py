"""Whether one version of the source is slower than another: the same jobs by both, in turn, on one thread.

    python benchmarks/paired.py BEFORE AFTER [--rounds 5] [--only decode] [--out benchmarks/results/paired.json]

BEFORE and AFTER are two checkouts; what has no new name in AFTER is asked for as both know it. Each job is run by child
processes, one for each tree and round, in the order A B B A: what else the machine does meets both alike. It is the
processor's time that is compared, and the time by the clock stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BATCH = {"feed.batch": 16}
RUNS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "lstm": (
        "text.txt",
        "lstm",
        {"feed.order": "streams", "feed.window": 64, "backbone.width": 256, "backbone.depth": 2, **BATCH},
    ),
    "transformer": (
        "text.txt",
        "transformer",
        {"feed.window": 64, "backbone.width": 128, "backbone.depth": 4, **BATCH},
    ),
    "masked": ("text.txt", "masked", {"feed.window": 64, "backbone.width": 128, "backbone.depth": 4, **BATCH}),
    "gru": (
        "series.csv",
        "gru",
        {"feed.order": "windows", "feed.window": 96, "backbone.width": 64, "backbone.depth": 2, **BATCH},
    ),
    "gaussian": ("series.csv", "gaussian", {"feed.window": 96, "backbone.width": 64, "backbone.depth": 3, **BATCH}),
}
"""Models by name: what they are trained on, the model word and the settings. Both trees get the same."""
STEPS = 40
"""Updates that are timed of each training."""
PREPARED = 20_000_000
"""Characters of the text that is prepared."""
HOURS = 6000

Job = Callable[[Path], None]


def main() -> None:
    """Run all jobs by both trees, print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="jobs whose names begin with this")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    trees = {"before": options.before.resolve(), "after": options.after.resolve()}
    taken: dict[str, dict[str, list[tuple[float, float]]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        for tree, path in trees.items():
            (folder / tree).mkdir()
            child(path, folder, folder / tree, "--set-up")
        for number in range(options.rounds):
            for tree in ("before", "after") if number % 2 == 0 else ("after", "before"):
                found = json.loads(child(trees[tree], folder, folder / tree, "--jobs", options.only))
                for job, seconds in found.items():
                    taken.setdefault(job, {}).setdefault(tree, []).append(tuple(seconds))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
    table = {job: row(sides) for job, sides in taken.items()}
    print(written(table))
    if options.out:
        sys.path.insert(0, str(trees["after"] / "src"))
        from seqloom.core import machine

        commits = {tree: commit(path) for tree, path in trees.items()}
        record = {"machine": machine.record(), "commits": commits, "rounds": options.rounds, "jobs": table}
        options.out.write_text(json.dumps(record, indent=2) + "\n")


def row(sides: dict[str, list[tuple[float, float]]]) -> dict[str, float]:
    """Medians of both trees, and the median of the ratios of rounds with the least and the greatest of them."""
    pairs = [after[0] / before[0] for before, after in zip(sides["before"], sides["after"], strict=True)]
    medians = {
        f"{tree}_{kind}": statistics.median(one[place] for one in sides[tree])
        for tree in ("before", "after")
        for place, kind in enumerate(("cpu", "wall"))
    }
    return {**medians, "ratio": statistics.median(pairs), "least": min(pairs), "most": max(pairs)}


def written(table: dict[str, dict[str, float]]) -> str:
    """The table as text."""
    lines = [f"{'seconds of the processor':<28}{'before':>9}{'after':>9}{'ratio':>8}   from to"]
    for job, found in table.items():
        lines.append(
            f"{job:<28}{found['before_cpu']:>9.3f}{found['after_cpu']:>9.3f}{found['ratio']:>8.2f}"
            f"   {found['least']:.2f} {found['most']:.2f}"
        )
    return "\n".join(lines)


def commit(tree: Path) -> str:
    """The commit that is checked out."""
    done = subprocess.run(["git", "-C", str(tree), "rev-parse", "HEAD"], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


def child(tree: Path, data: Path, folder: Path, *words: str) -> str:
    """What this script prints as a child that imports one tree."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree / "src"),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "SEQLOOM_CACHE": str(folder / "cache"),
    }
    done = subprocess.run(
        [sys.executable, __file__, "--child", str(data), str(folder), *words],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def write_data(folder: Path) -> None:
    """A text of made-up words, one that is long, and a series of two columns with a day and a week."""
    import math

    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlucmfwypvbgk", k=rng.randint(1, 9))) for _ in range(3000)]

    def text(size: int) -> str:
        parts, length = [], 0
        while length < size:
            sentence = " ".join(rng.choices(words, k=12)).capitalize() + ".\n"
            parts.append(sentence)
            length += len(sentence)
        return "".join(parts)

    (folder / "text.txt").write_text(text(300_000))
    (folder / "long.txt").write_text("".join([text(PREPARED // 10)] * 10))
    lines = ["date,load,heat"]
    for hour in range(HOURS):
        load = math.sin(hour * math.pi / 12) + 0.5 * math.sin(hour * math.pi / 84) + rng.gauss(0, 0.2)
        date = f"2024-{1 + hour // 720 % 12:02d}-{1 + hour // 24 % 28:02d}"
        lines.append(f"{date},{load:.4f},{0.5 * load + rng.gauss(0, 0.3):.4f}")
    (folder / "series.csv").write_text("\n".join([lines[0].split(",", 1)[1], *(x.split(",", 1)[1] for x in lines[1:])]))


# --- in the child ------------------------------------------------------------------------------------------------


def planned(data: Path, model: str, out: Path) -> Any:
    """The plan of one of the trainings, with steps enough for nothing but updates to happen in those that are timed."""
    from seqloom.core.config import merge
    from seqloom.network.backbone import Backbone
    from seqloom.planning import plan

    name, word, settings = RUNS[model]
    tree: dict[str, Any] = {"trainer": {"steps": 10_000}}
    if name == "series.csv" and "channels" in Backbone.model_fields:  # advice has changed; the same model is wanted
        settings = {**settings, "backbone.channels": "joint", "process.features": []}
    for key, value in settings.items():
        part, _, field = key.partition(".")
        tree = merge(tree, {part: {field: value}})
    return plan(str(data / name), tree, model=word, out=out)


def set_up(data: Path, folder: Path) -> None:
    """Train each model for a few steps, so that there is a run to load."""
    from seqloom.fit import Fit

    for model in RUNS:
        steps = 0

        def stop() -> bool:
            nonlocal steps
            steps += 1
            return steps >= 3

        for _ in Fit(planned(data, model, folder / "runs" / model), preview=False, stop=stop).events():
            pass


def training(model: str, data: Path, folder: Path) -> Iterator[None]:
    """Updates of a training: those before the first pause are not timed, and those between the two are."""
    from seqloom.fit import Fit

    with tempfile.TemporaryDirectory() as out:
        steps = 0
        events = Fit(planned(data, model, Path(out) / "run"), preview=False, save_every=1e9).events()
        for event in events:
            steps += event.kind == "step"
            if event.kind == "step" and steps in {5, 5 + STEPS}:
                yield
            if steps == 5 + STEPS:
                break


def loaded(model: str, folder: Path) -> Any:
    """The model of one of the runs."""
    import seqloom

    return seqloom.load(folder / "runs" / model)


def extending(model: str, count: int, length: int, data: Path, folder: Path) -> Iterator[None]:
    """Text after a short prompt; once for nothing, and once that is timed."""
    found = loaded(model, folder)
    prompt = found.codec.typed("the ")
    found.extend(prompt, 8, n=count)
    yield
    found.extend(prompt, length, n=count)
    yield


def sampling(model: str, count: int, length: int, data: Path, folder: Path) -> Iterator[None]:
    """Samples from nothing."""
    found = loaded(model, folder)
    canvas = found.codec.canvas(None, length)
    found.answer(found.query(canvas, count))
    yield
    found.answer(found.query(canvas, count, 1))
    yield


def forecasting(model: str, count: int, horizon: int, data: Path, folder: Path) -> Iterator[None]:
    """Paths after the last four days."""
    found = loaded(model, folder)
    whole = (data / "series.csv").read_text().splitlines()
    recent = folder / "recent.csv"
    recent.write_text("\n".join([whole[0], *whole[-96:]]) + "\n")
    history = found.codec.whole(recent)
    found.forecast(history, 2, n=count)
    yield
    found.forecast(history, horizon, n=count)
    yield


def scoring(model: str, data: Path, folder: Path) -> Iterator[None]:
    """The likelihood of a text or a series."""
    found = loaded(model, folder)
    if RUNS[model][0] == "text.txt":
        value = found.codec.typed((data / "text.txt").read_text()[:20_000])
    else:
        value = found.codec.whole(folder / "recent.csv") if (folder / "recent.csv").exists() else None
    found.score(value)
    yield
    found.score(value)
    yield


def preparing(data: Path, folder: Path) -> Iterator[None]:
    """A long text, read, split, fitted and encoded into a cache that is empty."""
    from seqloom.planning import plan

    plan(str(data / "text.txt"), {"trainer": {"steps": 1}}, model="lstm", out=folder / "runs" / "unused")
    with tempfile.TemporaryDirectory() as cache:
        before = os.environ["SEQLOOM_CACHE"]
        os.environ["SEQLOOM_CACHE"] = cache
        yield
        plan(str(data / "long.txt"), {"trainer": {"steps": 1}}, model="lstm", out=folder / "runs" / "unused")
        yield
        os.environ["SEQLOOM_CACHE"] = before


def command(words: list[str], data: Path, folder: Path) -> Iterator[None]:
    """A command of the command line, its process's start included."""
    yield
    subprocess.run([sys.executable, "-m", "seqloom", *words], stdout=subprocess.DEVNULL, check=True, cwd=folder)
    yield


JOBS: dict[str, Callable[[Path, Path], Iterator[None]]] = {
    "train lstm, streams": lambda *at: training("lstm", *at),
    "train gru, windows": lambda *at: training("gru", *at),
    "train transformer, windows": lambda *at: training("transformer", *at),
    "train masked": lambda *at: training("masked", *at),
    "train gaussian": lambda *at: training("gaussian", *at),
    "decode lstm, 1 row": lambda *at: extending("lstm", 1, 256, *at),
    "decode lstm, 16 rows": lambda *at: extending("lstm", 16, 256, *at),
    "decode transformer, 1 row": lambda *at: extending("transformer", 1, 128, *at),
    "decode transformer, 16 rows": lambda *at: extending("transformer", 16, 128, *at),
    "sample masked, 1 row": lambda *at: sampling("masked", 1, 64, *at),
    "sample masked, 16 rows": lambda *at: sampling("masked", 16, 64, *at),
    "sample gaussian, 1 row": lambda *at: sampling("gaussian", 1, 96, *at),
    "forecast gaussian, 1 path": lambda *at: forecasting("gaussian", 1, 24, *at),
    "forecast gaussian, 100 paths": lambda *at: forecasting("gaussian", 100, 24, *at),
    "forecast gru, 1 path": lambda *at: forecasting("gru", 1, 96, *at),
    "forecast gru, 100 paths": lambda *at: forecasting("gru", 100, 96, *at),
    "score lstm": lambda *at: scoring("lstm", *at),
    "score gru": lambda *at: scoring("gru", *at),
    "prepare 20 MB of text": preparing,
    "seqloom --help": lambda *at: command(["--help"], *at),
    "seqloom runs": lambda *at: command(["runs"], *at),
}


def in_child(data: Path, folder: Path, words: list[str]) -> None:
    """What a child does: set everything up, or run the jobs and print what each took."""
    if words[0] == "--set-up":
        set_up(data, folder)
        return
    import torch

    torch.set_num_threads(1)
    found = {}
    for name, job in JOBS.items():
        if not name.startswith(words[1]):
            continue
        steps = job(data, folder)
        next(steps)
        cpu, wall = processor(), time.perf_counter()
        next(steps)
        found[name] = (processor() - cpu, time.perf_counter() - wall)
        for _ in steps:
            pass
    print(json.dumps(found))


def processor() -> float:
    """Seconds of the processor used so far by this process and the children that ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        in_child(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
    else:
        main()
