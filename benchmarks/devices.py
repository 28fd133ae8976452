"""Updates a second of each family on every device of this machine, by the trainer as it is.

    SEQLOOM_DATA=... python benchmarks/devices.py [--out benchmarks/results/devices.json]

One training at a time, on tinyshakespeare, at sizes that a GPU is bought for; the first updates are not timed. All
threads of the CPU are used, and float32 on every device.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from seqloom.core import machine
from seqloom.fit import Fit
from seqloom.planning import plan

RECURRENT = {"backbone": {"width": 512, "depth": 2}, "feed": {"order": "streams", "window": 64, "batch": 32}}
PARALLEL = {"backbone": {"width": 384, "depth": 6}, "feed": {"window": 256, "batch": 32}}
SETTINGS: dict[str, dict[str, Any]] = {
    "lstm": RECURRENT,
    "mingru": {**RECURRENT, "feed": {"order": "streams", "window": 256, "batch": 32}},
    "transformer": PARALLEL,
    "masked": PARALLEL,
}
UPDATES = {"cpu": (1, 3), "cuda": (10, 60)}
"""Updates before the clock starts, and those that are timed."""


def main() -> None:
    """Time every model on every device and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    text = Path(os.environ["SEQLOOM_DATA"]) / "tinyshakespeare" / "input.txt"
    rows = []
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for model, settings in SETTINGS.items():
            with tempfile.TemporaryDirectory() as folder:
                seconds = seconds_of(str(text), model, settings, device, Path(folder) / "run")
            elements = settings["feed"]["window"] * settings["feed"]["batch"]
            rows.append(
                {"device": device, "model": model, "update_ms": 1e3 * seconds, "elements_s": elements / seconds}
            )
            print("{device:<6}{model:<14}{update_ms:>10.1f} ms{elements_s:>14,.0f} elements/s".format(**rows[-1]))
    if options.out:
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
        record = {"machine": {**machine.record(), "gpu": gpu}, "command": " ".join(sys.argv), "rows": rows}
        options.out.write_text(json.dumps(record, indent=2) + "\n")


def seconds_of(text: str, model: str, settings: dict[str, Any], device: str, out: Path) -> float:
    """Seconds of one update."""
    planned = plan(text, {**settings, "trainer": {"steps": 100_000}}, model=model, out=out)
    warm, count = UPDATES[device]
    step, began = 0, 0.0
    for event in Fit(planned, preview=False, save_every=1e9, device=device).events():
        if event.kind != "step":
            continue
        step += 1
        if step in {warm, warm + count}:
            if device == "cuda":
                torch.cuda.synchronize()
            if step == warm + count:
                break
            began = time.perf_counter()
    return (time.perf_counter() - began) / count


if __name__ == "__main__":
    main()
