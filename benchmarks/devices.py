"""Updates a second on every device of this machine, by the trainer as it is, and on a GPU beside peers at their best.

    SEQLOOM_DATA=... python benchmarks/devices.py [--out benchmarks/results/devices.json] [--rounds 5] [--no-cpu]

On tinyshakespeare, at sizes that a GPU is bought for. All sides of a device are made ready first, the first updates
are not timed, and then they take turns; what is told is the median of the rounds. On a GPU each is also looked at by
torch's profiler: how many kernels an update starts, and how long those compute. What the clock shows beyond that, the
GPU waits for Python.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nanogpt_peer
import torch
from nanogpt_peer import Shape
from speed_training import NO_PRIOR, Torch

from seqloom.core import machine
from seqloom.core.config import merge
from seqloom.core.gpu import PRECISIONS
from seqloom.fit import Fit
from seqloom.planning import plan

RECURRENT = Shape(layers=2, heads=0, width=512, context=64, batch=32)
PARALLEL = Shape(layers=6, heads=6, width=384, context=256, batch=32)
FAR = {"trainer": {"steps": 1_000_000}}
"""A training that goes on for longer than it is timed."""
UPDATES = {"cpu": (1, 2), "cuda": (10, 20)}
"""Updates before the clock starts, and those of one round."""
LOOKED_AT = 5
"""Updates that the profiler looks at."""

Update = Callable[[], object]


def settings_of(shape: Shape, **feed: Any) -> dict[str, Any]:
    """A network of this shape with all else as it comes."""
    backbone = {"width": shape.width, "depth": shape.layers}
    return {**FAR, "backbone": backbone, "feed": {"window": shape.context, "batch": shape.batch, **feed}}


STREAMS = settings_of(RECURRENT, order="streams")
OURS = {
    "lstm": STREAMS,
    "mingru": merge(STREAMS, {"feed": {"window": 256}}),
    "transformer": settings_of(PARALLEL),
    "masked": settings_of(PARALLEL),
}
PLAIN = merge(NO_PRIOR, {"trainer": {"average": 0.0}, "backbone": {"dropout": 0.0}})
EQUAL = {
    "lstm": merge(
        merge(settings_of(RECURRENT, order="windows"), PLAIN),
        {"backbone": {"norm": "none", "residual": False, "mlp": 0.0}},
    ),
    "transformer": merge(
        merge(settings_of(PARALLEL), PLAIN),
        {
            "backbone": {
                "mlp": 4.0,
                "norm": "layer",
                "tie": True,
                "mixer": {"name": "attention", "heads": PARALLEL.heads},
            },
            "trainer": {"optimizer": "adamw"},
        },
    ),
}
"""The peers' shapes, with nothing that a peer does not do."""


class Side:
    """One training: its updates, the first of which are done."""

    def __init__(self, name: str, elements: int, update: Update, device: str, **told: Any) -> None:
        self.name, self.elements, self.update, self.device, self.told = name, elements, update, device, told
        self.seconds: list[float] = []
        self.updates(UPDATES[device][0])

    def updates(self, count: int) -> float:
        """Seconds of so many updates, all of which are over at the end."""
        began = time.perf_counter()
        for _ in range(count):
            self.update()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def round(self) -> None:
        count = UPDATES[self.device][1]
        self.seconds.append(self.updates(count) / count)

    def row(self) -> dict[str, Any]:
        """What is told of it."""
        seconds = statistics.median(self.seconds)
        row = {"device": self.device, "model": self.name, **self.told, "update_ms": round(1e3 * seconds, 3)}
        row |= {"rounds_ms": [round(1e3 * each, 3) for each in self.seconds]}
        row["elements_s"] = round(self.elements / seconds)
        return row | (self.kernels() if self.device == "cuda" else {})

    def kernels(self) -> dict[str, Any]:
        """Kernels that an update starts, and milliseconds in which one of them computes."""
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            self.updates(LOOKED_AT)
        on_gpu = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
        busy = sum(event.time_range.elapsed_us() for event in on_gpu)
        return {"kernels": len(on_gpu) // LOOKED_AT, "kernels_ms": round(busy / LOOKED_AT / 1e3, 3)}


def main() -> None:
    """Time every side on every device, print the table and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-cpu", action="store_true", help="the GPU alone")
    options = parser.parse_args()
    torch.set_num_threads(machine.threads())
    text = Path(os.environ["SEQLOOM_DATA"]) / "tinyshakespeare" / "input.txt"
    rows: list[dict[str, Any]] = []
    cuda = torch.cuda.is_available()
    for device in [*([] if options.no_cpu else ["cpu"]), *(["cuda"] if cuda else [])]:
        with tempfile.TemporaryDirectory() as folder:
            for group in groups(str(text), device, Path(folder)):
                sides = [make() for make in group]
                for _, side in itertools.product(range(options.rounds), sides):
                    side.round()
                rows += [side.row() for side in sides]
                for row in rows[-len(sides) :]:
                    said = f"{row['device']:<5} {row['model']:<22} {row['precision']:<18}"
                    said += f"{row['update_ms']:>9.2f} ms {row['elements_s']:>11,} elements/s"
                    print(f"{said} {row.get('kernels_ms', 0):>8.2f} ms in {row.get('kernels', 0)} kernels", flush=True)
                del sides
                gc.collect()
    if options.out:
        record = {"machine": machine.record() | gpu_record(), "command": " ".join(sys.argv), "rows": rows}
        options.out.write_text(json.dumps(record, indent=2) + "\n")


def gpu_record() -> dict[str, Any]:
    """The GPU, where there is one."""
    return {"gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None}


def groups(text: str, device: str, folder: Path) -> list[list[Callable[[], Side]]]:
    """Sides that take turns: each model as it comes, then each that has a peer in every precision, beside that."""
    found: list[list[Callable[[], Side]]] = [
        [lambda model=model: ours(model, text, model, OURS[model], device, folder)] for model in OURS
    ]
    if device == "cuda":
        for model, peer in (("lstm", peer_lstm), ("transformer", peer_transformer)):
            own = [
                lambda model=model, precision=precision: ours(
                    f"{model}, as its peer",
                    text,
                    model,
                    merge(EQUAL[model], {"trainer": {"precision": precision}}),
                    device,
                    folder,
                )
                for precision in PRECISIONS
            ]
            found.append([*own, *(lambda peer=peer, way=way: peer(text, way) for way in WAYS[model])])
    return found


def ours(name: str, text: str, model: str, settings: dict[str, Any], device: str, folder: Path) -> Side:
    """A training of ours."""
    out = folder / f"{len(list(folder.iterdir()))}"
    planned = plan(text, settings, model=model, out=out, device=device)
    events = Fit(planned, preview=False, save_every=1e9, device=device).events()
    feed, precision = planned.recipe.feed, planned.recipe.trainer.precision
    updates = (event for event in events if event.kind == "step")
    return Side(name, feed.window * feed.batch, lambda: next(updates), device, precision=precision)


WAYS = {"lstm": PRECISIONS, "transformer": (*PRECISIONS, "bfloat16, compiled")}
"""How the peers are run."""


def data_of(text: str) -> tuple[torch.Tensor, int]:
    """The symbols of a text on the GPU, and how many there are."""
    characters = Path(text).read_text()
    alphabet = {character: i for i, character in enumerate(sorted(set(characters)))}
    return torch.tensor([alphabet[character] for character in characters]), len(alphabet)


def peer(name: str, net: torch.nn.Module, data: torch.Tensor, shape: Shape, way: str) -> Side:
    """Updates of a network of plain torch with fused AdamW, its batches drawn and cut on the processor as nanoGPT's."""
    draw = torch.Generator().manual_seed(0)
    update = nanogpt_peer.updates(net, data, draw, shape.context, shape.batch, fused=True, device="cuda")

    def run() -> None:
        with (
            machine.products(tf32=way.startswith("tf32")),
            torch.autocast("cuda", torch.bfloat16, enabled="bfloat16" in way),
        ):
            update(1e-3)

    return Side(name, shape.context * shape.batch, run, "cuda", precision=way)


def peer_transformer(text: str, way: str) -> Side:
    """NanoGPT's architecture."""
    data, symbols = data_of(text)
    net: Any = nanogpt_peer.Peer(symbols, torch.Generator().manual_seed(0), PARALLEL).cuda()
    return peer("nanoGPT's network", torch.compile(net) if "compiled" in way else net, data, PARALLEL, way)


def peer_lstm(text: str, way: str) -> Side:
    """Torch's own LSTM, which is cuDNN's."""
    data, symbols = data_of(text)
    return peer("torch.nn.LSTM", Torch("lstm", symbols, RECURRENT.width, symbols).cuda(), data, RECURRENT, way)


if __name__ == "__main__":
    main()
