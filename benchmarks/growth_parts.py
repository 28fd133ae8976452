"""What is measured of how cost grows: time, memory and state, quality by calls, memory of long ago, and gradients.

Each part is a function that yields rows; `small` makes it a matter of seconds, to see that it works.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqloom import fit
from seqloom import run as runs
from seqloom.core import machine
from seqloom.core.rng import Rng
from seqloom.corpora.base import Flat
from seqloom.corpora.memory import MEMORY
from seqloom.corpora.packed import Packed
from seqloom.corpora.toys import Markov, Var1
from seqloom.evaluation.evaluate import prepare
from seqloom.metrics.gradients import gradient_by_lag
from seqloom.metrics.likelihood import Reading, score
from seqloom.model import Model, load
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.processes import autoregressive
from seqloom.processes.adaptive import Adaptive
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.base import MANY
from seqloom.processes.gaussian import Gaussian
from seqloom.processes.heads import Head
from seqloom.processes.masked import Masked
from seqloom.processes.schedules import EdmNoise, PredictEdm
from seqloom.recipe import model_settings
from seqloom.samplers.diffuse import Diffuse
from seqloom.samplers.unmask import Unmask
from seqloom.sequence.space import Field, Tokens, Vectors
from seqloom.validation import reading_of

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from rounds import forget_peak

from oracles import GaussianOracle, Oracle, sample

Rows = Iterator[dict[str, Any]]

NEAR, SHARED, SUNK = "attention in a window", "attention, keys shared", "attention with a sink"
PAST, LAYERED = "lstm, attention in a window", "three windows, one of all (4 layers)"
MIXERS = ("rnn", "lstm", "gru", "mingru", "minlstm", "linear", "conv", "window", NEAR, "attention")
ALL = (*MIXERS, SHARED, SUNK, PAST, LAYERED)
_ATTENTION = {"name": "attention"}
_WINDOW = {**_ATTENTION, "window": 128}
SET = {
    NEAR: ("attention", {"mixer": _WINDOW}),
    SHARED: ("attention", {"mixer": {**_ATTENTION, "heads": 4, "kv_heads": 1}}),
    SUNK: ("attention", {"mixer": {**_ATTENTION, "sink": True}}),
    PAST: ("attention", {"mixer": ["lstm", _WINDOW]}),
    LAYERED: ("attention", {"mixer": [_WINDOW, _WINDOW, _WINDOW, "attention"], "depth": 4}),
}
"""Model words and settings of what is no model word itself."""
WHOLE, PARTS, ADAPTIVE = "all outputs at once", "outputs in parts", "adaptive"
HEADS = (WHOLE, PARTS, ADAPTIVE)
FEWEST = {PARTS: MANY, ADAPTIVE: 10_000}
"""From how many symbols on the costs of all are worked out in parts, and the adaptive head is advised."""
WIDTH, DEPTH, SYMBOLS, BATCH, ROUNDS = 128, 2, 65, 8, 5
LONG = ("rnn", "lstm", "gru", "minlstm", "attention")
MEGABYTE = 1_000_000
EXAM = (("copy", 64, 500), ("recall", 32, 1000))
"""What is asked for, the longest lag, and the steps of training."""


def built(
    mixer: str, window: int, symbols: int = SYMBOLS, width: int = WIDTH, depth: int = DEPTH, head: Head | None = None
) -> Network:
    """A network of symbols with this mixer and the feed-forward part that goes with it."""
    space, process = Tokens(size=symbols), Autoregressive(head=head)
    word, more = SET.get(mixer, (mixer, {}))
    settings = {**model_settings(word)["backbone"], "width": width, "depth": depth, **more}
    backbone = Backbone.parse(settings)
    return Network(backbone, process.spec(space), space, window, {}, seed=0, own=process.module(space))


def step_of(net: Network, rows: int, length: int, head: Head | None = None) -> Callable[[], None]:
    """One forward and one backward pass over random symbols."""
    space, process = net.space, Autoregressive(head=head)
    assert isinstance(space, Tokens)
    x = np.random.Generator(np.random.Philox(key=1)).integers(0, space.size, rows * length)
    data = Flat(x, np.arange(0, rows * length + 1, length))
    batch = Packed(data, space).window(np.arange(rows) * length, length)

    def step() -> None:
        loss = process.loss(net, batch, Rng.of(0, np.arange(rows)))
        (loss.total / loss.count).backward()  # type: ignore[no-untyped-call]
        for parameter in net.parameters():
            parameter.grad = None

    return step


def medians(
    sides: dict[Any, Callable[[], None]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[Any, float]:
    """The median seconds of each, taken in turn after a round that is not counted."""
    taken: dict[Any, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, run in sides.items():
            began = clock()
            run()
            if turn:
                taken[name].append(clock() - began)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


# ---- time and memory ----------------------------------------------------------------------------------------------


def training(small: bool) -> Rows:
    """Microseconds of a forward and a backward pass for each token, against the length of the rows."""
    lengths = (32, 64) if small else (256, 512, 1024, 2048)
    for mixer in ALL:
        net = built(mixer, max(lengths))
        taken = medians({n: step_of(net, BATCH, n) for n in lengths}, 1 if small else ROUNDS)
        for length, seconds in taken.items():
            yield {"mixer": mixer, "length": length, "us_token": 1e6 * seconds / BATCH / length}


def memory(small: bool, big: bool = False) -> Rows:
    """MB that a step takes against length, and a training against the size of its corpus."""
    lengths = (64, 128) if small else (256, 512, 1024, 2048)
    for mixer in ("lstm", "attention"):
        for length in lengths:
            yield {"mixer": mixer, "length": length, "mb": step_alone(mixer, length, SYMBOLS)["mb"]}
    folder = machine_folder()
    for size in (1, 2) if small else (10, 100, *((1000,) if big else ())):
        path = folder / f"{size}.txt"
        write_corpus(path, size * MEGABYTE)
        began = time.perf_counter()
        words = ["train", str(path), "--model", "lstm", "--steps", "20", "--json", "--out", str(folder / f"run-{size}")]
        settings = ["backbone.width=64", "feed.window=64", "feed.batch=8", "process.prior=none"]
        done = subprocess.run(
            [sys.executable, "-m", "seqloom", *words, *settings, "-q"], capture_output=True, text=True, check=True
        )
        run = json.loads(done.stdout)["run"]
        report = json.loads((Path(run) / runs.REPORT).read_text())
        yield {"corpus_mb": size, "mb": report["peak_memory_mb"], "seconds": time.perf_counter() - began}
        path.unlink()


def vocabulary(small: bool) -> Rows:
    """MB and milliseconds of a step against the number of symbols, by how what they cost is worked out."""
    length, sizes = (16, (256, 4096)) if small else (256, (256, 4096, 16_384, 32_768))
    for symbols in sizes:
        for head in HEADS:
            if head == WHOLE or symbols >= FEWEST[head]:
                yield {"head": head, "symbols": symbols, **step_alone("lstm", length, symbols, head)}


def step_alone(mixer: str, length: int, symbols: int, head: str = PARTS) -> dict[str, float]:
    """What one step takes in a process of its own: the peak of its memory over what it took before, and CPU time."""
    done = subprocess.run(
        [sys.executable, __file__, mixer, str(length), str(symbols), head], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def machine_folder() -> Path:
    """A new folder for what is made here."""
    import tempfile

    return Path(tempfile.mkdtemp(prefix="seqloom-growth-"))


def write_corpus(path: Path, size: int) -> None:
    """A text of words that are drawn by Zipf's law, of so many bytes."""
    generator = np.random.Generator(np.random.Philox(key=3))
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(generator.choice(letters, int(generator.integers(2, 10)))) for _ in range(20_000)]
    weights = 1 / np.arange(1, len(words) + 1)
    edges = np.cumsum(weights / weights.sum())
    written = 0
    with path.open("w") as file:
        while written < size:
            chosen = np.minimum(np.searchsorted(edges, generator.random(200_000)), len(words) - 1)
            written += file.write(" ".join(words[i] for i in chosen)[: size - written])


def state(small: bool) -> Rows:
    """KB that are kept of a sequence while it is read, against how much of it has been."""
    contexts = (16, 64) if small else (64, 256, 1024, 4096)
    for mixer in ALL:
        net, kept = built(mixer, max(contexts)), {}
        memory, read = net.begin(1, max(contexts)), 0
        for context in contexts:
            with torch.inference_mode():
                net.features(torch.zeros(1, context - read, dtype=torch.long), state=memory)
            read = context
            kept[context] = sum(one.numel() * one.element_size() for one in memory.tensors().values())
        for context, size in kept.items():
            yield {"mixer": mixer, "context": context, "kb": size / 1000}


def decoding(small: bool) -> Rows:
    """Milliseconds of each element that is made after a context, against how long the context is."""
    contexts, made = ((16, 64), 96) if small else ((64, 512, 2048), 192)
    text = Markov().stream(max(contexts), 1)
    for mixer in ALL:
        model = trained(
            "builtin:markov",
            mixer,
            1,
            corpus={"size": 20 * (max(contexts) + made)},
            feed={"window": max(contexts) + made, "batch": 1},
        )
        taken: dict[int, list[float]] = {n: [] for n in contexts}
        for turn in range(2 if small else ROUNDS + 1):
            for context in contexts:
                seconds = between_elements(model, text[:context], made)
                if turn:
                    taken[context].append(seconds)
        for context, several in taken.items():
            yield {"mixer": mixer, "context": context, "ms_element": 1000 * statistics.median(several)}


def between_elements(model: Model, prefix: str, made: int) -> float:
    """Seconds of an element once the prefix has been read and some elements are made."""
    canvas, *others = model.canvas(prefix, made)
    assert not others
    model.filler.shared.engine.ahead = made // 16  # it tells of so many at a time, or all might come in one frame
    query, first, last = model.query([canvas], 1, 0), None, (0, 0.0)
    for frame in model.stream(query):
        settled, now = int(frame.settled.sum()), time.perf_counter()
        if first is None and settled > len(prefix) + made // 8:
            first = settled, now
        last = settled, now
    assert first is not None
    return (last[1] - first[1]) / (last[0] - first[0])


def batches(small: bool) -> Rows:
    """Tokens a second in training and in sampling, against the rows that go side by side."""
    counts, length = ((1, 2), 16) if small else ((1, 4, 16, 64), 128)
    for mixer in ("lstm", "attention"):
        net = built(mixer, length)
        taken = medians({n: step_of(net, n, length) for n in counts}, 1 if small else ROUNDS)
        for rows, seconds in taken.items():
            yield {"mixer": mixer, "what": "training", "rows": rows, "tokens_second": rows * length / seconds}
        model = trained("builtin:markov", mixer, 1, corpus={"size": 20_000}, feed={"window": length, "batch": 1})

        def made(rows: int, model: Model = model) -> Callable[[], None]:
            return lambda: model.sample(rows, length, seed=1) and None

        taken = medians({n: made(n) for n in counts}, 1 if small else ROUNDS)
        for rows, seconds in taken.items():
            yield {"mixer": mixer, "what": "sampling", "rows": rows, "tokens_second": rows * length / seconds}


def trained(data: str, mixer: str, steps: int, **settings: Any) -> Model:
    """A model that was trained for some steps, without a prior."""
    word, more = SET.get(mixer, (mixer, {}))
    backbone = {"width": WIDTH, "depth": DEPTH, **more, **settings.pop("backbone", {})}
    run = machine_folder() / "run"
    fit.train(data, model=word, steps=steps, out=run, backbone=backbone, process={"prior": "none"}, **settings)
    return load(run)


# ---- quality ------------------------------------------------------------------------------------------------------


class ChainOracle(Oracle):
    """What follows of each hidden letter of a Markov chain from the nearest letters that are seen on both sides."""

    def __init__(self, spec: Any, chain: Markov, length: int) -> None:
        size = len(chain.rows)
        super().__init__(spec, Tokens(size=size))
        steps = [np.eye(size)]
        while len(steps) <= length:
            steps.append(steps[-1] @ chain.transition)
        self.powers, self.even, self.size = torch.as_tensor(np.stack(steps)), torch.tensor(chain.stationary), size

    def answer(self, x: Any, level: Any, flag: Any) -> Any:
        rows, length = x.shape
        place = torch.arange(length).expand(rows, length)
        seen = x < self.size
        left = torch.where(seen, place, -1).cummax(1).values
        right = torch.where(seen, place, length).flip(1).cummin(1).values.flip(1)
        known = x.clamp_max(self.size - 1)  # of what is hidden on one side to the end, nothing is read below
        before = known.gather(1, left.clamp_min(0))
        after = known.gather(1, right.clamp_max(length - 1))
        forward = self.powers[(place - left).clamp_max(length), before]  # (B,T,V)
        backward = self.powers[(right - place).clamp_max(length)].gather(
            3, after[..., None, None].expand(rows, length, self.size, 1)
        )[..., 0]
        forward = torch.where((left < 0)[..., None], self.even.expand_as(forward), forward)
        backward = torch.where((right >= length)[..., None], torch.ones_like(backward), backward)
        return (forward * backward).log()


def calls(small: bool) -> Rows:
    """How far samples are from the truth that the network knows, against the calls of it.

    Of text from a Markov chain, made by a masked diffusion: bits a letter, under the chain, above its entropy. Of a
    normal law, by a Gaussian diffusion: the error of the covariance, relative to its norm.
    """
    length, rows = (8, 64) if small else (64, 2000)
    chain, masked = Markov(), Masked()
    net = ChainOracle(masked.spec(Tokens(size=len(chain.rows))), chain, length)
    hidden = torch.full((length,), len(chain.rows))
    for steps in (1, 4, 0) if small else (1, 2, 4, 8, 16, 32, 0):
        x = sample(net, masked, Unmask(steps=steps), hidden, rows=rows)
        nats = -statistics.fmean(chain.log_prob(row) for row in x.numpy())
        excess = (nats - chain.window_entropy(length)) / length / math.log(2)
        yield {"process": "masked", "solver": "unmask", "calls": steps or length, "error": excess}
    dim, positions = 2, 8
    law = Var1()
    cov = np.block([[lag_covariance(law, i - j) for j in range(positions)] for i in range(positions)])
    scale = np.sqrt(np.diag(cov))
    cov = cov / scale[:, None] / scale[None, :]
    exact = np.random.Generator(np.random.Philox(key=5)).standard_normal((rows, len(cov))) @ np.linalg.cholesky(cov).T
    drawn = relative_error(exact, cov)
    prediction, space = PredictEdm(), Vectors(fields=(Field(name="a"), Field(name="b")))
    process = Gaussian(schedule=EdmNoise(), prediction=prediction)
    for solver in ("unipc", "dpm_solver", "euler", "heun", "ancestral"):
        for steps in (2, 4) if small else (2, 4, 8, 16, 32, 64):
            oracle = GaussianOracle(process.spec(space), np.zeros(len(cov)), cov, prediction, positions)
            canvas = torch.zeros(positions, dim, dtype=torch.float64)
            x = sample(oracle, process, Diffuse(steps=steps, solver=solver), canvas, rows=rows).flatten(1).double()
            error = relative_error(x.numpy(), cov)
            yield {"process": "gaussian", "solver": solver, "calls": oracle.calls, "error": error, "drawn": drawn}


def relative_error(x: Any, cov: Any) -> float:
    """How far the covariance of samples is from the true one, relative to its norm."""
    return float(np.linalg.norm(np.cov(x.T) - cov) / np.linalg.norm(cov))


def lag_covariance(law: Var1, lag: int) -> Any:
    """The covariance of a row with one so many rows before it, or after it."""
    return law.lag_covariance(lag) if lag >= 0 else law.lag_covariance(-lag).T


# ---- long ago -----------------------------------------------------------------------------------------------------


def exam(small: bool) -> Rows:
    """How much of what is asked for each mixer gets right after equal steps, by how long ago it stood."""
    for task, longest, steps in (("copy", 16, 4), ("recall", 16, 4)) if small else EXAM:
        toy = MEMORY[task](longest)
        for mixer in MIXERS:
            model = trained(
                f"builtin:{task}",
                mixer,
                steps,
                corpus={"lag": longest, "size": 500 if small else 20_000},
                backbone={"width": 64},
                feed={"batch": 32, "window": longest + 16},
                trainer={"rate": 5e-3, "warmup": 0.1},
            )
            for lag, right in by_lag(model, toy).items():
                yield {"task": task, "mixer": mixer, "steps": steps, "lag": lag, "right": right}


def by_lag(model: Model, toy: Any) -> dict[int, float]:
    """The probability of the right answer, by lag, over the test split."""
    assert model.run is not None
    prepared = prepare(model.run)
    reading = reading_of(prepared.splits["test"], model.run)
    measured = score(model.network, model.process, reading, tokens=True)
    assert measured.surprisal is not None
    found: dict[int, list[float]] = {}
    at = 0
    for text in model.run.recipe.corpus.values(model.codec, "test"):
        own = np.array(measured.surprisal[at : at + len(text)])
        found.setdefault(toy.lag(text), []).append(float(np.exp(-own[list(toy.answer(text))]).mean()))
        at += len(text) + prepared.ends
    return {lag: statistics.fmean(found[lag]) for lag in sorted(found)}


def gradients(small: bool) -> Rows:
    """The gradient's norm by lag of untrained networks, clipped and not, and of recurrences that explode or vanish."""
    length = 16 if small else 128
    x = np.random.Generator(np.random.Philox(key=2)).integers(0, SYMBOLS, 32 * length)
    reading = Reading(Flat(x, np.array([0, len(x)])), Tokens(size=SYMBOLS), "symbol", len(x))
    plain = {"norm": "none", "residual": False, "mlp": 0.0}
    for name, mixer, gain in [
        *((mixer, mixer, 1.0) for mixer in LONG),
        ("rnn x 0.5", "rnn", 0.5),
        ("rnn x 1.5", "rnn", 1.5),
    ]:
        net = built(mixer, length, depth=1)
        if gain != 1:
            kind = {"name": "rnn", "nonlinearity": "relu"}
            backbone = Backbone.parse({"mixer": kind, "width": WIDTH, "depth": 1, **plain})
            net = Network(backbone, net.spec, net.space, length, {}, seed=0)
            with torch.no_grad():
                for place, parameter in net.named_parameters():
                    if place.endswith("weight_hh"):
                        parameter.copy_(gain * torch.eye(WIDTH).roll(1, 0))
                    elif place.endswith(("weight_ih", "embed.weight")):
                        parameter.abs_()  # every number is above 0: the ReLU lets all through
        draw = torch.Generator().manual_seed(4)
        with torch.no_grad():
            for p in net.parameters():  # output projections begin at 0, and nothing would come back through them
                if p.dim() == 2 and not p.any():
                    p.normal_(0, p.shape[1] ** -0.5, generator=draw)
        found = gradient_by_lag(net, Autoregressive(), reading, clip=1.0)
        yield {"network": name, **found.data(), "clipped": found.clipped.tolist()}


if __name__ == "__main__":  # one step, in a process of its own: what it took of memory, in MB, and of time
    word, length, symbols, head = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    torch.set_num_threads(1)
    machine.tune_allocator()  # as a training does
    if head == WHOLE:
        autoregressive.MANY = symbols + 2
    own = Adaptive() if head == ADAPTIVE else None
    net = built(word, length, symbols, head=own)
    step = step_of(net, BATCH, length, own)
    step_of(net, 1, 2, own)()  # what libraries take when they are first used is theirs
    before = forget_peak()
    step()
    peak = machine.peak_memory_mb() - before
    print(json.dumps({"mb": peak, "ms": 1000 * medians({0: step}, ROUNDS, time.process_time)[0]}))
