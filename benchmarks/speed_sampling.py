"""Sides of benchmarks/speed.py that sample: symbol by symbol, by unmasking, and from noise."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rounds import Prepared, fastest
from speed_training import LARGE, NO_PRIOR, Shape, Torch, all_threads, textbook, trained
from torch import Tensor, nn

from seqloom.core.rng import Rng
from seqloom.engine import Engine, Request
from seqloom.mixers.attention import Attention
from seqloom.model import Model, load
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.network.packing import pack, size
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.base import Process
from seqloom.processes.flow import Flow
from seqloom.processes.gaussian import Gaussian
from seqloom.processes.masked import Masked
from seqloom.samplers.ancestral import Ancestral
from seqloom.samplers.diffuse import Diffuse
from seqloom.samplers.multistep import DpmSolver, UniPC
from seqloom.samplers.solvers import AncestralSteps, Euler
from seqloom.samplers.unmask import Unmask
from seqloom.sequence.space import Field, Tokens, Vectors

PROMPT = "the "

# ---- symbol by symbol -----------------------------------------------------------------------------------------------

WIDTH, DECODED = 256, 400


def model_of(folder: Path, kind: str) -> Model:
    """A model of ours that was hardly trained: what it costs to sample does not depend on that."""
    if kind == "transformer":
        backbone = {"width": LARGE.width, "depth": LARGE.layers, "mixer": {"name": "attention", "heads": LARGE.heads}}
        settings = {"backbone": backbone, "feed": {"window": LARGE.context, "batch": 1}, **NO_PRIOR}
    elif kind == "lstm":
        settings = textbook(WIDTH)
    else:
        kind, settings = "lstm", {"backbone": {"width": WIDTH, "depth": 2}}
    return load(trained(folder, f"sampled-{kind}-{'prior' not in settings.get('process', {})}", kind, settings))


def ours_decoding(folder: Path, kind: str, rows: int, length: int, precision: str = "float32") -> Prepared:
    """A text gone on with, by matrices as they are or packed."""
    threads = all_threads()
    model = model_of(folder, kind)
    if precision != "float32":
        pack(model.network, precision)
    prompt = model.codec.typed(PROMPT)

    def run() -> None:
        answer = model.extend(prompt, length, n=rows)
        assert len(answer.values) == rows

    same: dict[str, list[float]] = {"elements": [length * rows]}
    if kind == "lstm" and precision == "float32":
        with torch.inference_mode():
            logits, _ = model.network(torch.arange(32)[None])
        same["logits"] = logits.flatten()[-512:].tolist()
    told = {"threads": threads, "precision": precision, "bytes of weights": size(model.network)}
    return Prepared(run, length * rows, same, told)


def peer_stepping(folder: Path, cells: bool, length: int) -> Prepared:
    """torch.nn.LSTM called for one symbol after another, or LSTMCell, and one uniform number for each draw."""
    all_threads()
    net = model_of(folder, "lstm").network
    layers = Torch("lstm", net.spec.inputs, WIDTH, net.spec.outputs)
    layers.take(net)
    with torch.inference_mode():
        logits = layers(torch.arange(32)[None])
    stack = cells_of(layers) if cells else layers.layers
    draw = torch.Generator().manual_seed(0)

    def stepping(dtype: torch.dtype) -> Callable[[], None]:
        parts = nn.ModuleList([layers.embed, stack, layers.head])

        @torch.inference_mode()
        def run() -> None:
            parts.to(dtype)
            step = by_cells if cells else by_layers
            state, symbol = None, torch.zeros(1, dtype=torch.int64)
            uniforms = torch.rand(length, 1, 1, generator=draw)
            made = []
            for u in uniforms:
                h, state = step(stack, layers.embed(symbol), state)
                total = layers.head(h).float().softmax(-1).cumsum(-1)
                symbol = torch.searchsorted(total, u * total[:, -1:])[:, 0].clamp_max(total.shape[1] - 1)
                made.append(int(symbol))

        return run

    ways = {"float32": stepping(torch.float32), "bfloat16": stepping(torch.bfloat16)}
    name, threads = fastest(ways)
    same = {"elements": [length], "logits": logits.flatten()[-512:].tolist()}
    return Prepared(ways[name], length, same, {"threads": threads, "precision": name})


def cells_of(net: Torch) -> nn.ModuleList:
    """The layers of a network as cells with the same weights."""
    cells = nn.ModuleList()
    for number in range(net.layers.num_layers):
        cell = nn.LSTMCell(WIDTH, WIDTH)
        weights = net.layers.state_dict()
        cell.load_state_dict({name: weights[f"{name}_l{number}"] for name in cell.state_dict()})
        cells.append(cell)
    return cells


def by_layers(layers: Any, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    out, state = layers(x[:, None], state)
    return out[:, -1], state


def by_cells(cells: Any, x: Tensor, state: Any) -> tuple[Tensor, Any]:
    state = [None] * len(cells) if state is None else state
    after = []
    for cell, before in zip(cells, state, strict=True):
        x, memory = cell(x, before)
        after.append((x, memory))
    return x, after


GPT2 = Shape(layers=12, heads=12, width=768, context=1024, batch=1)
PIECES, BEGINNING = 50_257, 4


def ours_decoding_gpt2(folder: Path, length: int, precision: str = "float32") -> Prepared:
    """Symbols drawn one after another by a Transformer of the shape of GPT-2, with random weights."""
    threads = all_threads()
    space, process = Tokens(size=PIECES), Autoregressive()
    backbone = Backbone(mixer=Attention(heads=GPT2.heads), width=GPT2.width, depth=GPT2.layers, mlp=4.0)
    net = Network(backbone, process.spec(space), space, GPT2.context, {}, seed=0).eval()
    if precision != "float32":
        pack(net, precision)
    engine = Engine(net, process)
    canvas = torch.zeros(1, BEGINNING + length, dtype=torch.int64)
    shown = torch.arange(BEGINNING + length)[None] < BEGINNING
    key = Rng.of(0, np.arange(1))

    def run() -> None:
        hidden = torch.zeros_like(shown)
        made = list(engine.run(Request(canvas, shown, hidden, Ancestral(), key, watched=False)))
        assert made

    told = {"threads": threads, "precision": precision, "bytes of weights": size(net)}
    return Prepared(run, length, {"elements": [length]}, told)


def peer_generate_gpt2(folder: Path, length: int, best: bool) -> Prepared:
    """`generate` of transformers by GPT-2's shape, with random weights, drawing from all symbols."""
    from transformers import GPT2Config, GPT2LMHeadModel

    all_threads()
    net = GPT2LMHeadModel(GPT2Config(bos_token_id=None, eos_token_id=None)).eval()
    return generated(net, 1, BEGINNING, length, best)


def peer_generate(folder: Path, rows: int, length: int, best: bool) -> Prepared:
    """`generate` of transformers by a GPT-2 of the same shape, with random weights, drawing from all symbols."""
    from transformers import GPT2Config, GPT2LMHeadModel

    all_threads()
    model = model_of(folder, "transformer")
    config = GPT2Config(
        vocab_size=model.network.spec.outputs,
        n_positions=LARGE.context,
        n_embd=LARGE.width,
        n_layer=LARGE.layers,
        n_head=LARGE.heads,
        bos_token_id=None,
        eos_token_id=None,
    )
    net = GPT2LMHeadModel(config).eval()
    blocks = sum(p.numel() for p in net.transformer.h.parameters() if p.ndim > 1)
    assert blocks == sum(p.numel() for p in model.network.trunk.parameters() if p.ndim > 1)
    return generated(net, rows, len(PROMPT), length, best)


def generated(net: Any, rows: int, beginning: int, length: int, best: bool) -> Prepared:
    """`generate` as it comes, or in whatever precision and by however many threads it is fastest."""
    prompt = torch.zeros(rows, beginning, dtype=torch.int64)

    def generating(dtype: torch.dtype) -> Callable[[], None]:
        @torch.inference_mode()
        def run() -> None:
            made = net.to(dtype).generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=length,
                min_new_tokens=length,
                do_sample=True,
                top_k=0,
                pad_token_id=0,
            )
            assert made.shape == (rows, beginning + length)

        return run

    ways = {"float32": generating(torch.float32), "bfloat16": generating(torch.bfloat16)}
    name, threads = fastest(ways, 1) if best else ("float32", torch.get_num_threads())
    told = {"threads": threads, "precision": name, "parameters": sum(p.numel() for p in net.parameters())}
    return Prepared(ways[name], rows * length, {"elements": [rows * length]}, told)


# ---- unmasking ------------------------------------------------------------------------------------------------------


def masked_network(symbols: int) -> Network:
    """A network that restores hidden symbols, of random weights."""
    space = Tokens(size=symbols)
    backbone = Backbone(mixer=Attention(heads=LARGE.heads), width=LARGE.width, depth=LARGE.layers, mlp=4.0)
    return Network(backbone, Masked().spec(space), space, LARGE.context, {}, seed=0).eval()


def _outputs(net: Network, x: Tensor, **more: Any) -> list[float]:
    with torch.inference_mode():
        out: Tensor = net(x, **more)[0]
    return out.flatten()[-512:].tolist()


def ours_unmasking(folder: Path, rows: int, symbols: int, calls: int) -> Prepared:
    """First hitting: one call for each position of the rows, of which some are timed."""
    threads = all_threads()
    net = masked_network(symbols)
    assert net.spec.mask is not None
    hidden = torch.zeros(rows, LARGE.context, dtype=torch.bool)
    canvas = torch.full(hidden.shape, net.spec.mask)
    engine = Engine(net, Masked())

    def run() -> None:
        for _ in range(calls):
            if engine.idle:
                engine.submit(Request(canvas, hidden, hidden, Unmask(), Rng.of(0, np.arange(rows)), watched=False))
            engine.tick()

    same = {"network": _outputs(net, canvas[:1])}
    told = {"threads": threads, "precision": "float32", "part": f"{calls} of {LARGE.context} calls"}
    return Prepared(run, rows * calls / LARGE.context, same, told)


def peer_unmasking(folder: Path, rows: int, symbols: int, steps: int, calls: int) -> Prepared:
    """Ancestral sampling in so many steps, which calls the same network only where a symbol was revealed before.

    Each step draws for all positions from the probabilities that the last call gave, by Gumbel noise, as MDLM's
    sampler is described to (Sahoo et al. 2024). In how many of the steps something is revealed is drawn by its law;
    some steps with a call and some without are timed, and the time of all is what these numbers of them take.
    """
    threads = all_threads()
    net = masked_network(symbols)
    mask = net.spec.mask
    assert mask is not None
    appears = np.random.default_rng(0).integers(steps, size=rows * LARGE.context)
    called = len(np.unique(appears))
    draw = torch.Generator().manual_seed(0)
    x = torch.full((rows, LARGE.context), mask)
    x[:, ::2] = 0
    now, then = 0.5, 0.5 - 1 / steps

    @torch.inference_mode()
    def step(probabilities: Tensor | None) -> Tensor:
        if probabilities is None:
            probabilities = net(x)[0].softmax(-1)
        weights = torch.cat([probabilities * (now - then), torch.full((*x.shape, 1), then)], -1)  # (B,T,V+1)
        noise = torch.rand(weights.shape, generator=draw).add_(1e-10).log_().neg_().add_(1e-10)
        symbol = weights.div_(noise).argmax(-1)
        _ = torch.where(x == mask, symbol, x)
        return probabilities

    def run() -> float:
        began = time.perf_counter()
        for _ in range(calls):
            probabilities = step(None)
        with_call = (time.perf_counter() - began) / calls
        began = time.perf_counter()
        for _ in range(calls):
            step(probabilities)
        without = (time.perf_counter() - began) / calls
        return called * with_call + (steps - called) * without

    same = {"network": _outputs(net, torch.full((1, LARGE.context), mask))}
    told = {"threads": threads, "precision": "float32", "part": f"{2 * calls} of {steps} steps, {called} with a call"}
    return Prepared(run, rows, same, told)


# ---- from noise -----------------------------------------------------------------------------------------------------

SERIES, LONG, CHANNELS, STEPS = 64, 128, 8, 20
SOLVERS = {"ancestral": AncestralSteps(), "euler": Euler(), "dpm_solver": DpmSolver(), "unipc": UniPC()}


def series_network(process: Process) -> Network:
    """A small network of eight channels, of random weights."""
    space = Vectors(fields=tuple(Field(name=f"c{i}") for i in range(CHANNELS)))
    net = Network(
        Backbone(mixer=Attention(), width=64, depth=2, mlp=4.0), process.spec(space), space, LONG, {}, seed=0
    ).eval()
    with torch.no_grad():  # layers start as the identity
        for parameter in net.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return net


def _told(threads: int, empty: bool) -> dict[str, Any]:
    return {"threads": threads, "precision": "float32", "part": "a network that does nothing" if empty else None}


def _inputs() -> tuple[Tensor, Tensor]:
    """Channels that are nowhere known (B,T,3D), and a level (B,1)."""
    x = torch.randn(SERIES, LONG, CHANNELS, generator=torch.Generator().manual_seed(2))
    return torch.cat([x, torch.zeros(SERIES, LONG, 2 * CHANNELS)], -1), torch.full((SERIES, 1), 0.3)


def ours_from_noise(folder: Path, kind: str, solver: str, empty: bool) -> Prepared:
    """All rows in one request; `empty` replaces the network by one that costs nothing."""
    threads = all_threads()
    process: Process = Flow() if kind == "flow" else Gaussian()
    net = series_network(process)
    inputs, level = _inputs()
    same = {"network": _outputs(net, inputs, level=level)}
    if empty:
        net.forward = lambda x, state=None, **_: (x[..., :CHANNELS], state)  # type: ignore[method-assign, misc, assignment]
    engine = Engine(net, process, steady=True)
    blank = torch.zeros(SERIES, LONG, CHANNELS)
    nothing = torch.zeros_like(blank, dtype=torch.bool)
    sampler = Diffuse(solver=SOLVERS[solver], steps=STEPS)

    def run() -> None:
        before = engine.calls
        for _ in engine.run(Request(blank, nothing, nothing, sampler, Rng.of(0, np.arange(SERIES)), watched=False)):
            pass
        assert engine.calls - before == STEPS

    return Prepared(run, SERIES * STEPS if empty else SERIES, same | {"calls": [STEPS]}, _told(threads, empty))


def peer_from_noise(folder: Path, scheduler: str, empty: bool) -> Prepared:
    """The same network in the loop that diffusers' schedulers are made for."""
    import diffusers

    threads = all_threads()
    flow = scheduler.startswith("Flow")
    net = series_network(Flow() if flow else Gaussian())
    inputs, level = _inputs()
    same = {"network": _outputs(net, inputs, level=level)}
    own = getattr(diffusers, scheduler)()
    draw = torch.Generator().manual_seed(0)
    beside = torch.zeros(SERIES, LONG, 2 * CHANNELS)

    @torch.inference_mode()
    def run() -> None:
        own.set_timesteps(STEPS)
        x = torch.randn(SERIES, LONG, CHANNELS, generator=draw) * getattr(own, "init_noise_sigma", 1.0)
        random = {"generator": draw} if scheduler == "DDPMScheduler" else {}
        assert len(own.timesteps) == STEPS
        for t in own.timesteps:
            seen = x if flow else own.scale_model_input(x, t)
            out = seen if empty else net(torch.cat([seen, beside], -1), level=level * (t / 1000))[0]
            x = own.step(out, t, x, **random).prev_sample

    return Prepared(run, SERIES * STEPS if empty else SERIES, same | {"calls": [STEPS]}, _told(threads, empty))
