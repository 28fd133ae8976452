"""The peer: a small GPT over characters at nanoGPT's published settings, written here from their description.

At its CPU settings: 4 layers, 4 heads, 128 wide, context 64, batch 12, 2,000 iterations, float32, no compilation. The
seconds that its training loop takes on a machine are the unit of time R of the other benchmarks. By itself:

    python benchmarks/nanogpt_peer.py input.txt [--iterations 2000] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ITERATIONS, WARMUP = 2000, 100
RATE, LEAST_RATE = 1e-3, 1e-4
BETAS, DECAY, CLIP = (0.9, 0.99), 0.1, 1.0


@dataclass(frozen=True)
class Shape:
    """How large it is, and on how much it is trained at once."""

    layers: int
    heads: int
    width: int
    context: int
    batch: int


ON_CPU = Shape(layers=4, heads=4, width=128, context=64, batch=12)


class Block(nn.Module):
    """Attention and a feed-forward of GELU, each after a layer norm without bias, each added to what came in."""

    def __init__(self, shape: Shape, draw: torch.Generator) -> None:
        super().__init__()
        width, self.heads = shape.width, shape.heads
        into = 0.02 / math.sqrt(2 * shape.layers)  # what is added to the residual stream starts smaller, as in GPT-2
        self.norm_attention = nn.Parameter(torch.ones(width))
        self.qkv = weight(3 * width, width, draw)
        self.mixed = weight(width, width, draw, into)
        self.norm_mlp = nn.Parameter(torch.ones(width))
        self.up = weight(4 * width, width, draw)
        self.down = weight(width, 4 * width, draw, into)

    def forward(self, h: Tensor) -> Tensor:
        rows, length, width = h.shape
        qkv = F.linear(F.layer_norm(h, (width,), self.norm_attention), self.qkv)
        q, k, v = qkv.view(rows, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        heard = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + F.linear(heard.transpose(1, 2).reshape(rows, length, width), self.mixed)
        inner = F.gelu(F.linear(F.layer_norm(h, (width,), self.norm_mlp), self.up))
        return h + F.linear(inner, self.down)


class Peer(nn.Module):
    """Characters (B,T) to logits (B,T,V): learned positions, the head tied to the embedding."""

    def __init__(self, size: int, draw: torch.Generator, shape: Shape = ON_CPU) -> None:
        super().__init__()
        self.symbols = weight(size, shape.width, draw)
        self.positions = weight(shape.context, shape.width, draw)
        self.blocks = nn.ModuleList(Block(shape, draw) for _ in range(shape.layers))
        self.norm = nn.Parameter(torch.ones(shape.width))

    def forward(self, x: Tensor) -> Tensor:
        h = F.embedding(x, self.symbols) + self.positions[: x.shape[1]]
        for block in self.blocks:
            h = block(h)
        return F.linear(F.layer_norm(h, self.norm.shape, self.norm), self.symbols)


def weight(rows: int, columns: int, draw: torch.Generator, scale: float = 0.02) -> nn.Parameter:
    return nn.Parameter(torch.empty(rows, columns).normal_(0.0, scale, generator=draw))


def rate_at(iteration: int, iterations: int) -> float:
    """Linear warm-up, then half a cosine down to the least rate."""
    if iteration < WARMUP:
        return RATE * (iteration + 1) / (WARMUP + 1)
    done = (iteration - WARMUP) / max(iterations - WARMUP, 1)
    return LEAST_RATE + 0.5 * (1 + math.cos(math.pi * min(done, 1.0))) * (RATE - LEAST_RATE)


def train(
    text_train: str, text_valid: str, threads: int, *, iterations: int = ITERATIONS, seed: int = 1337
) -> dict[str, Any]:
    """Train once and score all of `text_valid`.

    `seconds` is the wall-clock of the training loop alone: drawing batches, steps, and one reading of the loss each, as
    nanoGPT's own loop logs it; nothing is evaluated in it. `nats_windows64` scores independent windows of 64
    characters, `nats_stride32` windows of 64 that overlap by half, so that after the first of them every character is
    read with 32 or more before it; both are nats per character over all of `text_valid` but its first character.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        alphabet = {character: i for i, character in enumerate(sorted(set(text_train) | set(text_valid)))}
        data, held = (torch.tensor([alphabet[c] for c in text]) for text in (text_train, text_valid))
        draw = torch.Generator().manual_seed(seed)
        net = Peer(len(alphabet), draw)
        seconds, last = fit(net, data, iterations, draw)
        return {
            "seconds": seconds,
            "seconds_per_iteration": seconds / iterations,
            "iterations": iterations,
            "threads": threads,
            "parameters": sum(p.numel() for p in net.parameters()),
            "train_loss": last,
            "nats_windows64": score(net, held, ON_CPU.context),
            "nats_stride32": score(net, held, ON_CPU.context // 2),
        }
    finally:
        torch.set_num_threads(before)


def fit(net: Peer, data: Tensor, iterations: int, draw: torch.Generator) -> tuple[float, float]:
    """The training loop: its seconds, and the last loss in nats a character."""
    update = updates(net, data, draw, ON_CPU.context, ON_CPU.batch)
    last = math.nan
    started = time.perf_counter()
    for iteration in range(iterations):
        last = update(rate_at(iteration, iterations))
    return time.perf_counter() - started, last


def updates(
    net: nn.Module,
    data: Tensor,
    draw: torch.Generator,
    context: int,
    batch: int,
    *,
    fused: bool = False,
    device: str = "cpu",
) -> Callable[[float], float]:
    """One update at a rate from windows drawn anywhere in the data, of any network from (B,T) to logits; its loss.

    `fused` makes AdamW's step one kernel, which nanoGPT asks for on a GPU alone. Windows go to the `device` of the
    network.
    """
    matrices = [p for p in net.parameters() if p.dim() > 1]
    gains = [p for p in net.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": gains, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=BETAS, fused=fused)
    offsets = torch.arange(context + 1)
    net.train()

    def update(rate: float) -> float:
        for group in optimizer.param_groups:
            group["lr"] = rate
        starts = torch.randint(len(data) - context, (batch, 1), generator=draw)
        window = data[starts + offsets].to(device)
        logits = net(window[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), window[:, 1:].reshape(-1))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return update


@torch.no_grad()
def score(net: Peer, data: Tensor, stride: int) -> float:
    """Nats per character of data[1:], in windows of 64 that begin every `stride`, each scored after the last."""
    net.eval()
    targets = len(data) - 1
    starts = list(range(0, max(targets - (ON_CPU.context - stride), 1), stride))
    # Whole windows go in batches; the last one may be short and goes by itself.
    whole = [s for s in starts if s + ON_CPU.context <= targets]
    batches = [torch.tensor(whole[i : i + 256]) for i in range(0, len(whole), 256)]
    total, count = 0.0, 0
    for at in batches:
        x = data[at[:, None] + torch.arange(ON_CPU.context + 1)]
        nats = F.cross_entropy(net(x[:, :-1]).transpose(1, 2), x[:, 1:], reduction="none").double()
        fresh = (at[:, None] == 0) | (torch.arange(ON_CPU.context) >= ON_CPU.context - stride)
        total += float(nats[fresh].sum())
        count += int(fresh.sum())
    for start in starts[len(whole) :]:
        x = data[start : targets + 1][None]
        nats = F.cross_entropy(net(x[:, :-1]).transpose(1, 2), x[:, 1:], reduction="none").double()[0]
        nats = nats if start == 0 else nats[ON_CPU.context - stride :]
        total += float(nats.sum())
        count += len(nats)
    assert count == targets
    return total / count


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the peer on a text: its first 90 %, scored on the rest.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    text = given.path.read_text(encoding="utf-8")
    border = len(text) * 9 // 10
    print(json.dumps(train(text[:border], text[border:], given.threads, iterations=given.iterations), indent=2))


if __name__ == "__main__":
    main()
