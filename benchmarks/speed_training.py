"""Sides of benchmarks/speed.py that train: Transformers, recurrent networks and one layer of a minimal GRU."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nanogpt_peer
import torch
from nanogpt_peer import Shape
from rounds import Prepared, fastest
from torch import Tensor, nn

from seqloom.core import machine
from seqloom.core.speeds import faster_in_bfloat16
from seqloom.fit import Fit
from seqloom.mixers.scan import MinGru
from seqloom.planning import plan

LARGE = Shape(layers=6, heads=6, width=384, context=256, batch=8)
SHAPES = {"large": LARGE, "small": nanogpt_peer.ON_CPU}
RECURRENT = Shape(layers=2, heads=0, width=0, context=128, batch=32)
SIZE = 1_000_000
"""Characters of the text."""
NO_PRIOR = {"process": {"prior": "none"}}
FAR = {"steps": 1_000_000}
"""A training that goes on for longer than it is timed, so that nothing but updates happens."""


def text(folder: Path) -> Path:
    """A text of made-up words over 65 symbols, the same for all sides."""
    path = folder / "text.txt"
    if not path.exists():
        rng = random.Random(0)
        words = ["".join(rng.choices(string.ascii_letters, k=rng.randint(1, 9))) for _ in range(3000)]
        parts, length = [string.ascii_letters + string.digits + ".\n"], 0
        while length < SIZE:
            parts.append(" ".join(rng.choices(words, k=12)) + ".\n")
            length += len(parts[-1])
        path.write_text("".join(parts))
    return path


def begun(folder: Path, word: str, settings: dict[str, Any]) -> tuple[Fit, Iterator[None]]:
    """A training of ours at its first update, and its updates one by one."""
    number = sum(1 for _ in folder.glob("run-*"))
    planned = plan(str(text(folder)), settings, model=word, out=folder / f"run-{number}-{word}")
    fit = Fit(planned, preview=False, save_every=1e9)
    events = fit.events()
    next(events)
    return fit, (None for event in events if event.kind == "step")


def trained(folder: Path, name: str, word: str, settings: dict[str, Any]) -> Path:
    """A run that was stopped after its first update; that of another side where it is there."""
    path = folder / name
    if not path.exists():
        planned = plan(str(text(folder)), {**settings, "trainer": FAR}, model=word, out=path)
        for _ in Fit(planned, preview=False, stop=lambda: True).events():
            pass
    return path


def all_threads() -> int:
    """Compute with the threads that `seqloom` computes with."""
    torch.set_num_threads(machine.threads())
    return machine.threads()


def timed(updates: Callable[[], object], count: int) -> Callable[[], None]:
    """So many updates as one run."""

    def run() -> None:
        for _ in range(count):
            updates()

    return run


# ---- Transformers ---------------------------------------------------------------------------------------------------


def ours_transformer(folder: Path, size: str, recipe: str, count: int) -> Prepared:
    """Updates by the trainer: with the peer's shapes and optimizer (`equal`), or with all as it comes (`default`)."""
    threads, shape = all_threads(), SHAPES[size]
    equal = {
        "backbone": {"mlp": 4.0, "norm": "layer", "tie": True, "dropout": 0.0},
        "trainer": {**FAR, "optimizer": "adamw", "average": 0.0},
        **NO_PRIOR,
    }
    settings: dict[str, Any] = equal if recipe == "equal" else {"backbone": {}, "trainer": FAR}
    settings["backbone"] |= {
        "width": shape.width,
        "depth": shape.layers,
        "mixer": {"name": "attention", "heads": shape.heads},
    }
    settings["feed"] = {"window": shape.context, "batch": shape.batch}
    fit, steps = begun(folder, "transformer", settings)
    blocks = sum(p.numel() for p in fit.net.trunk.parameters() if p.ndim > 1)
    told = {"threads": threads, "precision": fit.plan.recipe.trainer.precision, "parameters": fit.net.parameter_count}
    return Prepared(
        timed(lambda: next(steps), count),
        count * shape.context * shape.batch,
        {"numbers of the blocks": [blocks]},
        told,
    )


def peer_transformer(folder: Path, size: str, best: bool, count: int) -> Prepared:
    """Updates of nanoGPT's architecture in plain torch, as shipped or at its best."""
    all_threads()
    shape = SHAPES[size]
    draw = torch.Generator().manual_seed(0)
    characters = text(folder).read_text()
    alphabet = {character: i for i, character in enumerate(sorted(set(characters)))}
    net = nanogpt_peer.Peer(len(alphabet), draw, shape)
    data = torch.tensor([alphabet[character] for character in characters])
    blocks = sum(p.numel() for p in net.blocks.parameters() if p.ndim > 1)
    update = nanogpt_peer.updates(net, data, draw, shape.context, shape.batch, fused=best)
    told, run = at_best(lambda: update(1e-3), best)
    told["parameters"] = sum(p.numel() for p in net.parameters())
    return Prepared(timed(run, count), count * shape.context * shape.batch, {"numbers of the blocks": [blocks]}, told)


def at_best(
    update: Callable[[], object], best: bool, ways: dict[str, Callable[[], object]] | None = None
) -> tuple[dict[str, Any], Callable[[], object]]:
    """An update in float32 with all threads, or in whichever precision and with whichever threads it is fastest.

    There may be further `ways` to do the same.
    """

    def reduced() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            update()

    def routed() -> None:
        torch.set_float32_matmul_precision("medium")
        try:
            update()
        finally:
            torch.set_float32_matmul_precision("highest")

    ways = {"float32": update, "float32, medium": routed, "bfloat16": reduced, **(ways or {})}
    name, threads = fastest(ways) if best else ("float32", torch.get_num_threads())
    return {"precision": name, "threads": threads}, ways[name]


# ---- recurrent networks ---------------------------------------------------------------------------------------------


class Torch(nn.Module):
    """Two layers of torch between an embedding and a head."""

    kinds = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}

    def __init__(self, kind: str, symbols: int, width: int, outputs: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(symbols, width)
        self.layers = self.kinds[kind](width, width, RECURRENT.layers, batch_first=True)
        self.head = nn.Linear(width, outputs)
        self.reduced = False

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        if self.reduced:  # autocast leaves some layers in float32
            weights = {name: weight.bfloat16() for name, weight in self.layers.named_parameters()}
            h = torch.func.functional_call(self.layers, weights, (h.bfloat16(),))[0].float()
        else:
            h = self.layers(h)[0]
        out: Tensor = self.head(h)
        return out

    def take(self, net: Any) -> None:
        """The weights of a network of ours that has nothing between its layers."""
        with torch.no_grad():
            self.embed.weight.copy_(net.embed.weight)
            self.head.weight.copy_(net.head.weight)
            self.head.bias.copy_(net.head.bias)
            for number, layer in enumerate(net.trunk.layers):
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    getattr(self.layers, f"{name}_l{number}").copy_(getattr(layer.mixer, name))


def textbook(width: int) -> dict[str, Any]:
    """Settings of ours that make torch's own stack of layers."""
    return {
        "backbone": {
            "width": width,
            "depth": RECURRENT.layers,
            "norm": "none",
            "residual": False,
            "mlp": 0.0,
            "dropout": 0.0,
        },
        "feed": {"order": "windows", "window": RECURRENT.context, "batch": RECURRENT.batch},
        **NO_PRIOR,
    }


def ours_recurrent(folder: Path, kind: str, width: int, count: int) -> Prepared:
    """Updates by the trainer of two layers with nothing between them."""
    threads = all_threads()
    fit, steps = begun(folder, kind, {**textbook(width), "trainer": {**FAR, "average": 0.0}})
    reader = fit.loop.reader
    with torch.no_grad():
        loss = fit.plan.recipe.process.loss(fit.net.eval(), reader.batch(0), reader.keys(0))
    fit.net.train()
    same = {"loss": [float(loss.total / loss.count)], "parameters": [fit.net.parameter_count]}
    told = {"threads": threads, "precision": fit.plan.recipe.trainer.precision}
    return Prepared(timed(lambda: next(steps), count), count * RECURRENT.context * RECURRENT.batch, same, told)


def peer_recurrent(folder: Path, kind: str, width: int, best: bool, count: int) -> Prepared:
    """Updates of torch's own layers from the same weights, in float32 or at their best."""
    all_threads()
    fit, _ = begun(folder, kind, {**textbook(width), "trainer": FAR})
    x, start = fit.loop.reader.batch(0).x, fit.net.spec.start
    assert start is not None
    net = Torch(kind, fit.net.spec.inputs, width, fit.net.spec.outputs)
    net.take(fit.net)
    with torch.no_grad():
        logits = net(torch.cat([torch.full_like(x[:, :1], start), x[:, :-1]], 1))
        loss = nn.functional.cross_entropy(logits.transpose(1, 2), x).item()
    same = {"loss": [loss], "parameters": [sum(p.numel() for p in net.parameters())]}
    data = torch.as_tensor(fit.loop.reader.packed.data.x).long()
    draw = torch.Generator().manual_seed(0)
    update = nanogpt_peer.updates(net, data, draw, RECURRENT.context, RECURRENT.batch, fused=best)

    def reduced() -> None:
        net.reduced = True
        update(1e-3)
        net.reduced = False

    told, run = at_best(lambda: update(1e-3), best, {"bfloat16 layers": reduced})
    return Prepared(timed(run, count), count * RECURRENT.context * RECURRENT.batch, same, told)


# ---- one layer of a minimal GRU -------------------------------------------------------------------------------------

ROWS, FEATURES = 16, 256


def there_and_back(layer: nn.Module, length: int, first: bool = False) -> Callable[[], None]:
    """Forward and backward through a layer that takes (B,T,D); the `first` of what it gives where that is a pair."""
    x = torch.randn(ROWS, length, FEATURES, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def run() -> None:
        out = layer(x)
        (out[0] if first else out).sum().backward()
        x.grad = None
        layer.zero_grad()

    return run


def ours_mingru(folder: Path, length: int, count: int) -> Prepared:
    """Our layer, in the precision that our trainer would choose."""
    threads = all_threads()
    layer = MinGru().build(FEATURES, 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.1, 0.1, generator=torch.Generator().manual_seed(1))
    reduced = faster_in_bfloat16(MinGru.timed_as, FEATURES)
    there = there_and_back(layer, length, first=True)

    def passing() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            there()

    told = {"threads": threads, "precision": "bfloat16" if reduced else "float32"}
    return Prepared(timed(passing, count), count * ROWS * length, told=told)


def peer_mingru(folder: Path, length: int, count: int) -> Prepared:
    """The layer of minGRU-pytorch, a scan in logarithms."""
    from minGRU_pytorch import minGRU

    all_threads()
    told, run = at_best(there_and_back(minGRU(FEATURES), length), True)
    return Prepared(timed(run, count), count * ROWS * length, told=told)


def peer_gru(folder: Path, length: int, count: int) -> Prepared:
    """One layer of torch.nn.GRU."""
    all_threads()
    layer = nn.GRU(FEATURES, FEATURES, batch_first=True)
    told, run = at_best(there_and_back(layer, length, first=True), True)
    return Prepared(timed(run, count), count * ROWS * length, told=told)
