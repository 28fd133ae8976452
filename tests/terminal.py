"""What the tests of the command line share: what a command left on the terminal, small data, and small runs."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TINY = ("backbone.width=16", "backbone.depth=1", "feed.window=16", "feed.batch=4", "--steps", "6", "-q")
TEXT = "the quick brown fox jumps over the lazy dog; how vexingly quick daft zebras jump.\n" * 60


@dataclass
class Done:
    """What a command left on the terminal."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        assert self.out.count(b"\n") == 1, "exactly one JSON value, on one line"
        return json.loads(self.out)

    @property
    def table(self) -> list[dict[str, str]]:
        assert self.code == 0, self.err
        return list(csv.DictReader(io.StringIO(self.text)))


@dataclass(frozen=True)
class Examples:
    """Data and finished runs that the tests share; nobody changes them."""

    folder: Path
    text: Path
    table: Path

    def run(self, name: str) -> Path:
        return self.folder / "runs" / name


def series(rows: int, seed: int = 0) -> str:
    rng = np.random.default_rng(seed)
    lines = ["date,load,price"]
    for i in range(rows):
        load = 50 + 10 * math.sin(i / 4) + rng.normal()
        lines.append(f"2024-{1 + i // 672:02d}-{1 + i // 24 % 28:02d} {i % 24:02d}:00:00,{load:.2f},{load / 7:.3f}")
    return "\n".join(lines) + "\n"


def check_error(done: Done, error: str, hint: str = "", code: int = 2) -> None:
    assert done.out == b""
    lines = done.err.splitlines()
    assert len(lines) == 2, done.err
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    assert len(lines[1]) > len("hint: ")
    assert error in lines[0]
    assert hint in lines[1]
    assert done.code == code
