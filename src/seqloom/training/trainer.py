"""Trainer: the one loop, as an iterator of steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from seqloom.core import machine
from seqloom.core.config import Settings
from seqloom.core.errors import ConfigError
from seqloom.network.network import Network
from seqloom.processes.base import Loss, Process
from seqloom.sequence.state import State, under
from seqloom.training.feed import Reader
from seqloom.training.optimizers import AdamW, Optimizer, Trained


class Trainer(Settings):
    """How long and how fast: an optimizer with warm-up, decay, clipping and an average of the weights."""

    steps: int | None = Field(default=None, ge=1)
    """Updates; None where `minutes` bounds the training."""
    minutes: float | None = Field(default=None, gt=0)
    """Wall-clock minutes of training, validation, previews and saves included."""
    epochs: float | None = Field(default=None, gt=0)
    """Readings of the training split after which a training by `minutes` ends, though there is time left."""
    optimizer: Optimizer = AdamW()
    """How gradients become updates."""
    rate: float = Field(default=3e-3, gt=0)
    """The highest learning rate."""
    decay: Literal["linear", "cosine", "none"] = "linear"
    """How the rate falls to nothing by the end."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the training in which the rate rises."""
    clip: float = Field(default=1.0, ge=0)
    """Greatest gradient norm (or value); 0 does not clip."""
    clip_by: Literal["norm", "value"] = "norm"
    """What is clipped: the norm of the whole gradient, or each of its numbers."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Pull of the matrices towards 0."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """In what the layers are computed in training; weights, heads, losses and all that is done with a model later stay
    in float32. `tf32` is float32 of which a GPU rounds what goes into products; a CPU rounds nothing."""
    average: float = Field(default=0.999, ge=0, lt=1)
    """How long the moving average of the weights remembers (shorter at the beginning); 0 keeps none."""

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.steps is not None and self.minutes is not None:
            raise ValueError("a training ends by time or by steps: minutes or steps")
        return self


@dataclass
class TrainingState:
    """All that changes while training, besides the weights; `numbers` go to state.json, tensors beside them."""

    step: int = 0
    cursor: int = 0
    seconds: float = 0.0
    elements: int = 0
    skipped: list[int] = field(default_factory=list)
    restores: int = 0
    carried: State | None = None

    def numbers(self) -> dict[str, Any]:
        """What state.json holds."""
        return {
            "step": self.step,
            "cursor": self.cursor,
            "seconds": self.seconds,
            "elements": self.elements,
            "skipped": self.skipped,
            "restores": self.restores,
        }


@dataclass(frozen=True)
class Step:
    """One update: the mean loss a cell, the rate, the gradient's norm; `applied` is False where it was not finite."""

    step: int
    loss: float
    rate: float
    norm: float
    count: int
    applied: bool


class Loop:
    """A network being trained. Iterate `run`; between steps everything can be saved and restored."""

    def __init__(self, spec: Trainer, net: Network, process: Process, reader: Reader) -> None:
        self.spec, self.net, self.process, self.reader = spec, net, process, reader
        net.reduced = spec.precision == "bfloat16"
        self.state = TrainingState()
        self.keeps = process.persistent or reader.spec.order == "streams"
        """Whether a step goes on from the one before; else every batch stands by itself, and no state is kept."""
        groups = net.groups()
        trained = Trained(groups["matrices"], groups["ends"] + groups["vectors"], net.stacks())
        self.optimizers = spec.optimizer.build(trained, spec.rate, spec.weight_decay)
        self.weights = dict(net.named_parameters())
        self.average = {name: p.detach().clone() for name, p in self.weights.items()} if spec.average else None
        self.on_gpu = reader.device.type == "cuda"
        self.bad = 0

    def done_share(self, seconds: float) -> float:
        """How much of the training is done: by steps; or by time or by readings of the data, whichever is more."""
        if self.spec.steps is not None:
            return min(1.0, self.state.step / self.spec.steps)
        assert self.spec.minutes is not None
        done = seconds / (60 * self.spec.minutes)
        if self.spec.epochs is not None:
            done = max(done, self.state.elements / (self.spec.epochs * max(1, len(self.reader.packed))))
        return min(1.0, done)

    def rate(self, done: float) -> float:
        """The learning rate when this share is done."""
        warm = self.spec.warmup
        if warm and done < warm:
            return self.spec.rate * max(done / warm, 1e-2)
        rest = (done - warm) / (1 - warm)
        if self.spec.decay == "linear":
            return self.spec.rate * (1 - rest)
        return self.spec.rate * (0.5 + 0.5 * math.cos(math.pi * rest) if self.spec.decay == "cosine" else 1.0)

    def run(self, seconds: Iterator[float]) -> Iterator[Step]:
        """Steps until the training is done; `seconds` gives the time used so far before each."""
        self.net.train()
        for used in seconds:
            done = self.done_share(used)
            if done >= 1:
                return
            yield self.advance(self.rate(done))

    def advance(self, rate: float) -> Step:
        """One update from the batch at the cursor."""
        while self.state.cursor in self.state.skipped:  # restored to before samples that were not finite
            self.state.cursor += 1
            self.state.carried = self.state.carried if self.process.persistent else None
        cursor = self.state.cursor
        batch, key = self.reader.batch(cursor), self.reader.keys(cursor)
        carried = self.state.carried
        if carried is None or (self.reader.begins(cursor) and not self.process.persistent):
            carried = self._fresh()
        with machine.products(tf32=self.spec.precision == "tf32") if self.on_gpu else nullcontext():
            loss = self.process.loss(self.net, batch, key, carried, key.at("dropout"))
            _check(self.process, loss)
            count = loss.count.clamp_min(1)
            mean = loss.total / count
            mean.backward()  # type: ignore[no-untyped-call]
        norm = self._clip()
        value, size = float(mean.detach()), float(norm)
        finite = math.isfinite(value) and math.isfinite(size)
        if finite:
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate * group.get("share", 1.0)
                optimizer.step()
            self._follow()
            self.state.carried = self._carried(loss)
            self.state.step += 1
            self.state.elements += int(batch.present.sum())
            self.bad = 0
        else:
            self.state.skipped.append(cursor)
            self.state.carried = carried if self.process.persistent else None
            self.bad += 1
        self.state.cursor += 1
        for parameter in self.weights.values():
            parameter.grad = None
        return Step(self.state.step, value, rate, size, int(count), finite)

    def _fresh(self) -> State | None:
        """What a stream goes on from at its beginning; None where every batch stands by itself."""
        return self.process.start(self.net, self.reader.rows) if self.keeps else None

    def _carried(self, loss: Loss) -> State | None:
        """What the next step goes on from, through which no gradient flows."""
        return loss.state.detach() if self.keeps and loss.state is not None else None

    def _clip(self) -> Tensor:
        parameters = [p for p in self.weights.values() if p.grad is not None]
        if self.spec.clip and self.spec.clip_by == "norm":
            return torch.nn.utils.clip_grad_norm_(parameters, self.spec.clip)
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.spec.clip:
            torch.nn.utils.clip_grad_value_(parameters, self.spec.clip)
        return norm

    @torch.no_grad()
    def _follow(self) -> None:
        """Let the average follow the weights, faster at the beginning."""
        if self.average is None:
            return
        keep = min(self.spec.average, (1 + self.state.step) / (10 + self.state.step))
        weights = [p.detach() for p in self.weights.values()]
        torch._foreach_lerp_([self.average[name] for name in self.weights], weights, 1 - keep)

    def tensors(self) -> dict[str, Tensor]:
        """The state of the optimizers and the carried state, by name."""
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.weights.items()}
        kept: dict[str, Tensor] = {}
        for optimizer in self.optimizers:
            for parameter, values in optimizer.state.items():
                for kind, value in values.items():
                    kept[f"optimizer.{names[parameter]}.{kind}"] = value
        if self.state.carried is not None:
            kept |= {f"state.{name}": value for name, value in self.state.carried.tensors().items()}
        return kept

    def restore(self, weights: dict[str, Tensor], average: dict[str, Tensor] | None, kept: dict[str, Tensor]) -> None:
        """Load what `tensors` gave; the numbers of the state are set before."""
        self.net.load_state_dict(weights)
        if average is not None:
            self.average = {name: average[name].to(p.device) for name, p in self.weights.items()}
        remembered: dict[str, dict[str, Tensor]] = {}
        for key, value in kept.items():
            if key.startswith("optimizer."):
                name, _, kind = key.removeprefix("optimizer.").rpartition(".")
                remembered.setdefault(name, {})[kind] = value
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.weights.items()}
        for optimizer in self.optimizers:
            optimizer.state.clear()
            for parameter in (p for group in optimizer.param_groups for p in group["params"]):
                own = remembered.get(names[parameter], {})
                if own:
                    optimizer.state[parameter] = {kind: value.to(parameter.device) for kind, value in own.items()}
        self.state.carried = None
        saved, fresh = under("state", kept), self._fresh()
        if saved and fresh is not None:
            fresh.load(saved)
            self.state.carried = fresh


def _check(process: Process, loss: Loss) -> None:
    """ConfigError where a process gives something else than a loss."""
    if not isinstance(loss, Loss) or loss.total.ndim or loss.count.ndim:
        got = type(loss).__name__
        if isinstance(loss, Loss):
            got = f"a total of the shape {tuple(loss.total.shape)} and a count of {tuple(loss.count.shape)}"
        raise ConfigError(
            f"`loss` of the process {process.name!r} gave {got}",
            path="process",
            hint="it gives Loss(total, count, state): a sum, and over how many cells it is, both without dimensions",
        )
