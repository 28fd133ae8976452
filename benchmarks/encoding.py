"""How fast a large text is encoded beside the tokenizers library alone, and whether the memory stays flat.

    python benchmarks/encoding.py [--megabytes 100] [--codec bpe] [--text FILE] [--folder DIR]

A text of this size is made of one that comes with Python, or of FILE, again and again, in a folder that is deleted
afterwards. (Pieces of a text that was made of a short one are found faster: the symbols of its words are known.) It
is prepared as for a training (read, split, encoded, written), with a codec that was fitted on a beginning of it, once
whole and once a quarter of it, each in a process of its own; and the library reads and encodes the same, and does
nothing else. What was found is kept in benchmarks/results/encoding.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from seqloom.codecs.base import Codec
from seqloom.codecs.pieces import TOGETHER, Learned, in_parts
from seqloom.core import machine
from seqloom.core.config import make
from seqloom.core.content import decoded, raw
from seqloom.corpora.builtin import topics
from seqloom.corpora.files import corpus_of

RESULTS = Path(__file__).resolve().parent / "results" / "encoding.json"
FITTED = 1_000_000
"""Characters that the codec is fitted on."""


def made(folder: Path, megabytes: float, source: str) -> Path:
    """A file of about this size."""
    path, text = folder / f"{megabytes:g}.txt", source.encode()
    with path.open("wb") as file:
        for _ in range(max(1, round(megabytes * 1e6 / len(text)))):
            file.write(text)
    return path


def prepared(path: str, settings: dict[str, Any]) -> int:
    """How many elements a text has, encoded as for a training."""
    splits = corpus_of(path).prepare(make(Codec, settings), {}).splits  # type: ignore[type-abstract]
    return sum(int(split.data.starts[-1]) for split in splits.values())


def alone(path: str, settings: dict[str, Any]) -> int:
    """How many elements the library makes of it, on all cores."""
    codec: Codec = make(Codec, settings)  # type: ignore[type-abstract]
    assert isinstance(codec, Learned)
    total = 0
    for piece in in_parts(decoded(raw(Path(path)))):
        total += sum(map(len, codec.plain_symbols_of(list(in_parts([piece], TOGETHER)))))
    return total


SIDES = {"prepared": prepared, "alone": alone}


def measured(side: str, path: Path, settings: dict[str, Any], folder: Path) -> dict[str, float]:
    """Elements, seconds and the peak memory of one side, in a process of its own."""
    child = [sys.executable, __file__, "--side", side, "--path", str(path)]
    environment = {**os.environ, "SEQLOOM_CACHE": str(folder / f"cache-{side}-{path.stem}")}
    done = subprocess.run(child, input=json.dumps(settings), capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=100.0)
    parser.add_argument("--codec", default="bpe", help="bpe, unigram, words, characters")
    parser.add_argument("--text", type=Path, help="what the text is made of; builtin:topics unless given")
    parser.add_argument("--folder", help="where the text is made; a temporary folder unless given")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        settings, began = json.load(sys.stdin), time.perf_counter()
        elements = SIDES[asked.side](asked.path, settings)
        seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"elements": elements, "seconds": seconds, "peak": peak}))
        return
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        codec: Codec = make(Codec, asked.codec)  # type: ignore[type-abstract]
        source = asked.text.read_text(encoding="utf-8") if asked.text else topics()
        settings = codec.fit([source[:FITTED]]).plain()
        rates, found = {}, []
        sides = [("prepared", 1), ("prepared", 4), *([("alone", 1)] if isinstance(codec, Learned) else [])]
        for side, part in sides:
            path = made(folder, asked.megabytes / part, source)
            result = measured(side, path, settings, folder)
            rates[side, part] = result["elements"] / result["seconds"]
            size = path.stat().st_size / 1e6
            found.append({"side": side, "megabytes": round(size), **result})
            print(
                f"{side:9} {size:8,.0f} MB  {rates[side, part] / 1e6:6.2f} M elements/s  "
                f"{size / result['seconds']:6.1f} MB/s  peak {result['peak']:5.0f} MB",
                flush=True,
            )
        if ("alone", 1) in rates:
            print(f"prepared / alone: {rates['prepared', 1] / rates['alone', 1]:.2f}")
        kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        name = f"{asked.codec} of {asked.text.stem}" if asked.text else asked.codec
        kept[name] = {"machine": machine.record(), "sides": found}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
