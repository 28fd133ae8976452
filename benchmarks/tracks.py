"""Where people walk: of eight steps that were seen, the next twelve, in a scene that was not trained on.

    SEQLOOM_DATA=... python benchmarks/tracks.py [--r SECONDS] [--only eth/lstm] [--settings default,rotate]
                                                 [--windows 100] [--keep FOLDER]

The protocol of Social GAN (Gupta et al. 2018) on the tracks of ETH and UCY: each scene in turn is left out; models
are trained on the training files of the others, with nothing but --model, --minutes and the horizon, and twelve steps
of 0.4 seconds are forecast from eight, twenty times. Measured are the mean distance (metres) of the nearest path over
the twelve steps, and that of the nearest end. Beside them: going on with the last velocity, once as it is, and twenty
times with what that erred by on training tracks. R is the wall-clock of nanoGPT at its CPU settings, as in first.py.
Windows are spread evenly over all that a scene has. Settings beside the default ones get rows of their own, of as many
updates as the default row took where it is there and they set no other, so that they differ in nothing else. Finished
rows are kept, and a later sitting goes on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rows import Rows, parser_of, say, seqloom_json

import seqloom

MODELS = ("lstm", "transformer", "gaussian", "flow")
SETTINGS = {
    "default": (),
    "rotate": ("feed.augment=[{name: rotate, columns: [x, y]}]",),
    "600 updates": ("--steps", "600"),  # more of them learn the scenes that are trained on
}
SCENES = {
    "eth": ("biwi_eth",),
    "hotel": ("biwi_hotel",),
    "univ": ("students001", "students003"),
    "zara1": ("crowds_zara01",),
    "zara2": ("crowds_zara02",),
}
SEEN, AHEAD, PATHS = 8, 12, 20
FRAMES = 10
"""Frames of a step."""

Track = np.ndarray
"""Steps (T,3): frame, x and y in metres."""


def main() -> None:
    """Fill in the rows that are not there yet, and print the table."""
    parser = parser_of(__doc__, "tracks", "eth/lstm")
    parser.add_argument("--r", type=float, default=104.0, help="seconds of R")
    parser.add_argument("--settings", default="default", help=f"of {', '.join(SETTINGS)}")
    parser.add_argument("--windows", type=int, default=100, help="of each scene, at most")
    parser.add_argument(
        "--threads", type=int, default=0, help="of each training; as many as there are cores unless given"
    )
    options = parser.parse_args()
    rows = Rows(options, r=options.r, windows=options.windows)
    threads = ("--threads", f"{options.threads}") if options.threads else ()
    for scene in SCENES:
        windows = spread(windows_of(tracks("all", SCENES[scene])), options.windows)
        for model, variant in product(MODELS, options.settings.split(",")):
            default = rows.finished.get(f"{scene}/{model}") if variant != "default" else None
            words = (*SETTINGS[variant], *threads)
            if "--steps" not in words:
                words += ("--steps", f"{default['steps']}") if default else ("--minutes", f"{options.r / 60:.4f}")
            name = named(scene, model, variant)
            run = options.keep / name.replace("/", "-").replace(" ", "-")
            rows.fill(name, partial(ours, scene, model, windows, run, words))
        rows.fill(f"{scene}/velocity", partial(velocity, windows, others(scene, "train")))
    say(table(rows.finished))


def named(scene: str, model: str, variant: str) -> str:
    """What a row is called."""
    return f"{scene}/{model}" if variant == "default" else f"{scene}/{model}/{variant}"


# ---- data -----------------------------------------------------------------------------------------------------------


def tracks(part: str, names: tuple[str, ...]) -> list[Track]:
    """The tracks of some scenes, each in the order of time."""
    root = Path(os.environ["SEQLOOM_DATA"]) / "eth_ucy" / part
    found = []
    for name in names:
        path = root / (f"{name}.txt" if part == "all" else f"{name}_{part}.txt")
        rows = np.array([[float(cell) for cell in line.split()] for line in path.read_text().splitlines()])
        found += [rows[rows[:, 1] == who][:, [0, 2, 3]] for who in np.unique(rows[:, 1])]
    return [track[np.argsort(track[:, 0])] for track in found]


def others(scene: str, part: str) -> list[Track]:
    """The tracks of all scenes but one."""
    root = Path(os.environ["SEQLOOM_DATA"]) / "eth_ucy" / part
    names = sorted(path.name.removesuffix(f"_{part}.txt") for path in root.glob(f"*_{part}.txt"))
    return tracks(part, tuple(name for name in names if name not in SCENES[scene]))


def windows_of(found: list[Track]) -> np.ndarray:
    """All stretches (N,20,2) of tracks without a step left out."""
    length = SEEN + AHEAD
    stretches = [track[i : i + length] for track in found for i in range(len(track) - length + 1)]
    return np.stack([s[:, 1:] for s in stretches if (np.diff(s[:, 0]) == FRAMES).all()])


def spread(windows: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the windows, evenly spread."""
    return windows[np.unique(np.linspace(0, len(windows) - 1, min(most, len(windows))).astype(int))]


def written(found: list[Track], path: Path) -> Path:
    """Tracks as a table of many series."""
    lines = ["track,step,x,y"]
    for number, track in enumerate(found):
        steps = np.round((track[:, 0] - track[0, 0]) / FRAMES).astype(int)
        lines += [f"{number},{step},{x:g},{y:g}" for step, (x, y) in zip(steps, track[:, 1:], strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return path


# ---- measuring ------------------------------------------------------------------------------------------------------


def nearest(paths: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Of paths (N,12,2) the least mean distance from the truth (12,2), and the least distance of an end."""
    distance = np.linalg.norm(paths - truth, axis=-1)
    return float(distance.mean(1).min()), float(distance[:, -1].min())


def ours(scene: str, model: str, windows: np.ndarray, run: Path, words: Sequence[str]) -> dict[str, Any]:
    """One training, for how long and with which settings `words` say, and its forecasts."""
    shutil.rmtree(run, ignore_errors=True)  # of a sitting that was interrupted
    train, valid = (written(others(scene, part), run.parent / f"{scene}-{part}.csv") for part in ("train", "val"))
    asked = ("train", f"{train}", f"corpus.valid={valid}", "--model", model, f"feed.horizon={AHEAD}")
    trained = seqloom_json(*asked, "--out", f"{run}", "-q", *words)
    made = seqloom.load(run)
    errors = []
    for i, window in enumerate(windows):
        paths = made.forecast(window[:SEEN], AHEAD, n=PATHS, seed=i).paths
        assert paths is not None
        errors.append(nearest(paths[:, -AHEAD:], window[SEEN:]))
    mean, end = np.mean(errors, 0)
    return {"steps": trained["steps"], "mean": float(mean), "end": float(end)}


def velocity(windows: np.ndarray, trained_on: list[Track]) -> dict[str, Any]:
    """Going on with the last velocity, alone and with errors that it made on training tracks."""

    def going_on(window: np.ndarray) -> np.ndarray:
        return window[SEEN - 1] + np.arange(1, AHEAD + 1)[:, None] * (window[SEEN - 1] - window[SEEN - 2])

    known = windows_of(trained_on)
    erred = np.stack([window[SEEN:] - going_on(window) for window in known])
    rng = np.random.Generator(np.random.Philox(key=0))
    noisy, plain = [], []
    for window in windows:
        path = going_on(window)
        noisy.append(nearest(path + erred[rng.integers(0, len(erred), PATHS)], window[SEEN:]))
        plain.append(nearest(path[None], window[SEEN:]))
    (mean, end), (alone, alone_end) = np.mean(noisy, 0), np.mean(plain, 0)
    return {"mean": float(mean), "end": float(end), "alone": float(alone), "alone_end": float(alone_end)}


def table(rows: dict[str, Any]) -> str:
    """The distances of all models in all scenes as Markdown."""
    scenes = [scene for scene in SCENES if any(name.startswith(f"{scene}/") for name in rows)]
    lines = [f"| left out | {' | '.join(scenes)} |", "|" + "---|" * (len(scenes) + 1)]

    def line(called: str, mean: str, end: str, model: str, variant: str = "default") -> None:
        found = [rows.get(named(scene, model, variant)) for scene in scenes]
        if not any(found):
            return
        cells = ["" if row is None else f"{row[mean]:.2f} / {row[end]:.2f}" for row in found]
        lines.append(f"| {called} | {' | '.join(cells)} |")

    for model, variant in product(MODELS, SETTINGS):
        line(model if variant == "default" else f"{model}, {variant}", "mean", "end", model, variant)
    line("last velocity, with errors", "mean", "end", "velocity")
    line("last velocity alone", "alone", "alone_end", "velocity")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
