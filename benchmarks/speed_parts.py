"""Sides of benchmarks/speed.py that are parts of a training or a sample, and programs that start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rounds import Prepared
from speed_sampling import model_of
from speed_training import FAR, NO_PRIOR, all_threads, begun, text
from torch import Tensor
from torch.nn import functional as F

from seqloom.core.rng import Rng, pick
from seqloom.network.trunk import Drop, dropout_masks

# ---- dropout --------------------------------------------------------------------------------------------------------

FEATURES = (32, 128, 512)
SHARE = 0.1


def dropout(folder: Path, ours: bool, count: int) -> Prepared:
    """Dropout of features (B,T,D), forward and backward: one mask a row, as the trunk has it, or one a number."""
    threads = all_threads()
    h = torch.ones(FEATURES).requires_grad_()
    kept = 0.0

    def ours_of(step: int) -> Tensor:
        rng = Rng.of(0, np.arange(FEATURES[0])).at("dropout", step)
        return Drop(dropout_masks(SHARE, rng, 1, FEATURES[2], h.device))(h)

    def run() -> None:
        nonlocal kept
        for step in range(count):
            out = ours_of(step) if ours else F.dropout(h, SHARE)
            out.backward(torch.ones_like(out))
            h.grad = None
        kept = float((out.detach() > 0).float().mean())

    run()
    same = {"share that is kept": [kept]}
    return Prepared(run, count, same, {"threads": threads, "part": "a mask a row" if ours else None})


# ---- batches --------------------------------------------------------------------------------------------------------

BATCH, WINDOW = 32, 256


def ours_batches(folder: Path, count: int) -> Prepared:
    """Batches of the feed, with all that a step of training is told of them."""
    threads = all_threads()
    settings: dict[str, Any] = {
        "backbone": {"width": 64, "depth": 1},
        "feed": {"order": "windows", "window": WINDOW, "batch": BATCH},
        "trainer": FAR,
        **NO_PRIOR,
    }
    fit, _ = begun(folder, "lstm", settings)
    reader, cursor = fit.loop.reader, 0

    def run() -> None:
        nonlocal cursor
        for _ in range(count):
            cursor += 1
            reader.batch(cursor)

    shape = list(map(float, reader.batch(0).x.shape))
    return Prepared(run, count, {"shape": shape}, {"threads": threads})


def peer_batches(folder: Path, count: int) -> Prepared:
    """The DataLoader of torch over all windows, in the process itself, which is how it is fastest at this size."""

    class Windows(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
        """A window and the one that begins one symbol later."""

        def __init__(self, symbols: Tensor) -> None:
            self.symbols = symbols

        def __len__(self) -> int:
            return len(self.symbols) - WINDOW

        def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
            return self.symbols[i : i + WINDOW], self.symbols[i + 1 : i + 1 + WINDOW]

    threads = all_threads()
    symbols = torch.tensor(list(text(folder).read_bytes()))
    drawn = torch.utils.data.RandomSampler(
        symbols[WINDOW:], replacement=True, num_samples=1 << 40, generator=torch.Generator().manual_seed(0)
    )
    loader = iter(torch.utils.data.DataLoader(Windows(symbols), batch_size=BATCH, sampler=drawn))

    def run() -> None:
        for _ in range(count):
            next(loader)

    shape = list(map(float, next(loader)[0].shape))
    return Prepared(run, count, {"shape": shape}, {"threads": threads})


# ---- a draw from many symbols ---------------------------------------------------------------------------------------

DRAWN, SYMBOLS = 16, 50_257


def drawing(folder: Path, ours: bool, count: int) -> Prepared:
    """One symbol for each row of logits: by one uniform number, or by softmax and multinomial."""
    threads = all_threads()
    logits = torch.randn(DRAWN, SYMBOLS, generator=torch.Generator().manual_seed(0))
    logits[:, :2] = 20.0  # nearly all of the probability, so that it is seen whether both draw from the same law
    key = Rng.of(0, np.arange(DRAWN))
    draw = torch.Generator().manual_seed(1)
    first = 0.0

    def run() -> None:
        nonlocal first
        made = []
        for step in range(count):
            if ours:
                made.append(pick(logits, key.at("pick", step).uniform(1)[:, 0]))
            else:
                made.append(torch.multinomial(logits.softmax(-1), 1, generator=draw)[:, 0])
        first = float((torch.stack(made) == 0).double().mean())

    run()
    same = {"how often the first of two equal symbols is drawn": [first]}
    return Prepared(run, count, same, {"threads": threads})


# ---- programs that start --------------------------------------------------------------------------------------------


def starting(folder: Path, words: tuple[str, ...]) -> Prepared:
    """A program of Python from its start to its end; RUN is a model with ten million parameters."""
    if "RUN" in words:
        run_path = str(model_of(folder, "transformer").run.path)  # type: ignore[union-attr]
        words = tuple(run_path if word == "RUN" else word for word in words)

    # Modules are compiled in the round that is not counted, and then kept, as an installation has them.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")

    def run() -> None:
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, env=environment)

    return Prepared(run)
