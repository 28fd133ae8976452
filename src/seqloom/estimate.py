"""What a training will take of time, memory and disk, and what it will come to: said before it begins.

Made from what the network does in a step (`network.cost`) and how fast this machine does such things (`core.speeds`);
after a little of the training it is checked against what was seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from seqloom.core import gpu, speeds
from seqloom.core.progress import count, duration, number
from seqloom.corpora.base import Flat, Split
from seqloom.mixers.attention import Attention
from seqloom.network.backbone import Backbone
from seqloom.network.cost import Cost, cost
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.recipe import Recipe
from seqloom.sequence.space import Tokens
from seqloom.training.feed import Feed, Reader
from seqloom.training.optimizers import Muon
from seqloom.training.trainer import Loop, Trainer

FEW_STEPS, MANY_EPOCHS = 200, 30
"""Updates below which little is learned, and readings of the training split after which it is learned by heart."""
LARGE = 20
"""So many parameters for each number of the training split learn it by heart in fewer readings, by the root of it."""
FEW_WINDOWS, FEW_ELEMENTS = 8, 500
"""Windows of the training split, and elements of the validation split, below which there are too few."""
FULL = 0.8
"""Of the free memory, or disk, from which on it is said that little is left."""
OFF = 1.25
"""So many times as fast, or as slow, as estimated is said."""
OVERHEAD = 0.05
"""Share of a training by the clock that validation, previews and saves may take."""
BRIEF = 20.0
"""Seconds of a training by steps below which it does not matter how long it takes."""
CHECKPOINTS, COPIES = 3, 4
"""Checkpoints that a run keeps, and numbers in each for a parameter: itself, its average and AdamW's two."""
LINE = 150
"""Bytes of the log for an update."""
REFERENCE, REFERENCE_RECURRENT = 0.15, 0.105
"""Seconds of an update of a Transformer of four layers of 128, and of two layers of an LSTM of 256, where sizes were
chosen: on one core of an AMD EPYC with fast bfloat16."""
HERE = torch.device("cpu")


@dataclass(frozen=True)
class Pace:
    """How fast this machine does what a training step is made of, in the precision that it is trained in."""

    products: float
    """Multiplications and additions a second."""
    orthogonal: float
    """Those of an optimizer that makes matrices orthogonal."""
    simple: float
    """Numbers a second that all else makes, the way back included."""
    simple_here: float
    """The same of the processor, which laws of counts are worked out by."""
    operator: float
    """Seconds that an operation takes whatever its size, with all that is done around the network."""
    passes: Callable[[str, int], float]
    """Passes a second through a recurrent layer of a kind and a width, and back, over what `speeds` times it with."""
    threads: float = 1.0
    """How many times faster all but `operator` is on the threads that are used."""
    overlaps: bool = False
    """Whether operations are started while those before them are still computed, as a GPU's are."""

    @classmethod
    def of(cls, precision: gpu.Precision, threads: int, device: torch.device) -> Pace:
        """That of a device of this machine, measured where it is asked for the first time (a few seconds)."""
        found = speeds.speeds()
        if device.type != "cpu":
            return cls(
                products=1e9 * gpu.products(precision, device),
                orthogonal=1e9 * gpu.products("bfloat16", device),
                simple=1e9 * gpu.simple(device),
                simple_here=1e9 * found.simple * speeds.gain_of_threads(threads),
                operator=operator_seconds(device),
                passes=lambda kind, width: gpu.passes(kind, width, precision, device),
                overlaps=True,
            )
        half = precision == "bfloat16"
        return cls(
            products=1e9 * (found.bfloat16 if half else found.float32)[-1],
            orthogonal=1e9 * (found.bfloat16 if found.use_bfloat16 else found.float32)[1],
            simple=1e9 * found.simple,
            simple_here=1e9 * found.simple,
            operator=operator_seconds(),
            passes=lambda kind, width: speeds.layer_passes(kind, width, half),
            threads=speeds.gain_of_threads(threads),
        )

    def step(self, taken: Cost, orthogonal: int = 0) -> float:
        """Seconds of a step, `orthogonal` operations of the optimizer included. The way back takes two forward ones."""
        seconds = 3 * taken.products / self.products + orthogonal / self.orthogonal
        seconds += (taken.numbers + 2 * taken.parameters) / self.simple
        rows, steps, _ = speeds.LSTM
        for (kind, width), positions in taken.recurrent.items():
            timed = speeds.timed_width(width)
            seconds += (
                positions / (rows * steps) * (max(width, speeds.WIDTHS[0]) / timed) ** 2 / self.passes(kind, timed)
            )
        started = taken.operators * self.operator
        laws = taken.laws / self.simple_here
        if self.overlaps:
            return max(seconds, started + laws)
        return (seconds + laws) / self.threads + started

    def relative(self, recurrent: bool = False) -> float:
        """How many times as fast as where sizes were chosen: by a Transformer, or by an LSTM."""
        space, spec = Tokens(size=65), Autoregressive().spec(Tokens(size=65))
        if recurrent:
            return REFERENCE_RECURRENT / self.step(cost(Backbone(width=256, depth=2), spec, space, {}, 32, 64))
        taken = cost(Backbone(mixer=Attention(), width=128, depth=4, mlp=4.0), spec, space, {}, 16, 128)
        return REFERENCE / self.step(taken, Muon().operations(taken.matrices))


def operator_seconds(device: torch.device = HERE) -> float:
    """A step of a network so small that nothing but the number of its operators counts, over that number."""
    backbone, space, process = Backbone(mixer=Attention(), width=8, mlp=2.0), Tokens(size=4), Autoregressive()
    feed, spec = Feed(window=8, batch=2), process.spec(space)

    def measure() -> float:
        split = Split(Flat(np.arange(64) % 4, np.array([0, 64])), {}, 64.0, 0.0, "")
        net = Network(backbone, spec, space, feed.window, {}, seed=0).to(device)
        loop = Loop(Trainer(steps=1), net, process, Reader(feed, split, space, 0, {}, device=device))
        clock = time.thread_time if device.type == "cpu" else partial(gpu.clock, device)
        with speeds.on_one_thread():
            seconds = speeds.fastest(lambda: loop.advance(1e-3), clock=clock)
        return float(f"{seconds / cost(backbone, spec, space, {}, feed.batch, feed.window).operators:.3g}")

    return speeds.kept("operator" if device.type == "cpu" else f"{gpu.key(device)}-operator", measure)


@dataclass(frozen=True)
class Estimate:
    """What a training will take, and what it will come to.

    Steps and seconds are None where it is not known how fast it goes.
    """

    parameters: int
    elements: int
    """Of the training split."""
    step: int
    """Elements that an update reads."""
    asked: bool = False
    """Whether so many updates were asked for, rather than minutes."""
    enough: bool = False
    """Whether it ends because the data were read as often as is wanted, before the minutes do."""
    steps: int | None = None
    seconds: float | None = None
    memory: int = 0
    """Bytes that the process will have resident, at most."""
    disk: int = 0
    """Bytes of the run folder."""

    def __str__(self) -> str:
        if self.steps is None or self.seconds is None:
            time = "how fast it goes is not known before"
        else:
            time = f"about {self._amount} in {duration(self.seconds)}"
        room = f"{_size(self.memory)} of memory, {_size(self.disk)} of disk"
        return f"{number(self.parameters)} parameters, {time}, {room}"

    @property
    def epochs(self) -> float:
        """Readings of the training split."""
        return (self.steps or 0) * self.step / max(1, self.elements)

    @property
    def _amount(self) -> str:
        epochs = _two(self.epochs)
        readings = f"{epochs} epoch{'s' * (epochs != '1')}{', after which it ends' * self.enough}"
        return f"{_updates(self.steps or 0)} ({readings})"

    def warnings(self) -> dict[str, str]:
        """What is to be said of too little time, or too much, by what is wrong."""
        if self.steps is None:
            return {}
        if self.steps < FEW_STEPS and not (self.asked or self.enough):
            return {
                "few": f"about {_updates(self.steps)} teach little: more --minutes, a smaller backbone.width or a "
                "smaller feed.batch give more"
            }
        most = MANY_EPOCHS / max(1.0, self.parameters / max(1, self.elements) / LARGE) ** 0.5
        if self.epochs > most and not self.enough:
            return {
                "many": f"the training split, of {count(self.elements, 'element')}, will be read about "
                f"{_two(self.epochs)} times by {number(self.parameters)} parameters and learned by heart; the "
                "best weights by validation are kept, and more data, or less time, serve as well"
            }
        return {}

    def against(self, now: Estimate) -> list[str]:
        """What is to be said where this was estimated, and that was seen: what is far off, and what is worse for it."""
        fresh = [text for what, text in now.warnings().items() if what not in self.warnings()]
        if not (self.steps and self.seconds and now.steps and now.seconds):
            return fresh
        pace = now.steps / now.seconds * self.seconds / self.steps
        if 1 / OFF <= pace <= OFF or (now.seconds < BRIEF and not fresh):
            return fresh
        faster = f"{_two(pace)} times faster" if pace > 1 else f"{_two(1 / pace)} times slower"
        return [f"it goes {faster} than was estimated: about {now._amount} in {duration(now.seconds)}", *fresh]


def estimated(recipe: Recipe, taken: Cost, *, rows: int, elements: int, pace: Pace | None, resident: int) -> Estimate:
    """The estimate for a recipe whose step takes so much, where so many bytes of memory are taken already."""
    trainer = recipe.trainer
    step = recipe.feed.budget or rows * recipe.feed.window
    steps, seconds = trainer.steps, None if trainer.minutes is None else 60 * trainer.minutes
    enough = False
    if pace is not None:
        each = pace.step(taken, trainer.optimizer.operations(taken.matrices)) / (1 - OVERHEAD)
        if steps is None:
            steps = max(1, int((seconds or 0.0) / each))
            if trainer.epochs is not None:
                wanted = max(1, int(trainer.epochs * elements / step))
                if enough := wanted < steps:
                    steps, seconds = wanted, wanted * each
        seconds = steps * each if seconds is None else seconds
    elif seconds is not None:
        steps = None
    return Estimate(
        parameters=taken.parameters,
        elements=elements,
        step=step,
        asked=trainer.steps is not None,
        enough=enough,
        steps=steps,
        seconds=seconds,
        memory=resident + taken.training(),
        disk=checkpoint_bytes(taken.parameters) * CHECKPOINTS + LINE * (steps or 0),
    )


def checkpoint_bytes(parameters: int) -> int:
    """Of one checkpoint."""
    return 4 * COPIES * parameters


def data_warnings(training: int, validation: int, window: int) -> Iterator[str]:
    """What is to be said of splits of so many elements."""
    if training < FEW_WINDOWS * window:
        yield (
            f"the training split has {count(training, 'element')}, few for feed.window={window}: it shows little that "
            "is different; a smaller feed.window, or more data, give more"
        )
    if not validation:
        yield "the validation split is empty: the last weights are kept, be they the best or not (corpus.splits)"
    elif validation < FEW_ELEMENTS:
        yield (
            f"the validation split has {count(validation, 'element')}: which weights are best is told by chance; more "
            "data, or a greater share in corpus.splits, tell it better"
        )


def room_warnings(estimate: Estimate, memory: float | None, disk: float | None) -> Iterator[str]:
    """What is to be said where little will be left of the memory, in all, and of the free disk, in bytes."""
    if memory is not None and estimate.memory > FULL * memory:
        yield (
            f"of {_size(memory)} of memory it will take about {_size(estimate.memory)}: a smaller backbone.width or "
            "feed.batch takes less"
        )
    if disk is not None and estimate.disk > FULL * disk:
        yield f"of {_size(disk)} of free disk space the run will take about {_size(estimate.disk)}"


def _two(value: float) -> str:
    """With two digits: more is not known."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def _updates(steps: int) -> str:
    return f"{_two(steps)} {'update' if steps == 1 else 'updates'}"


def _size(amount: float) -> str:
    return f"{amount / (1 << 30):.1f} GiB" if amount >= 1 << 30 else f"{max(1, round(amount / (1 << 20))):,} MiB"
