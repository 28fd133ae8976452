"""Gaussian diffusion (Ho et al. 2020; Karras et al. 2022): data are noised, and the network learns to denoise them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from seqloom.core.errors import UnsupportedSpace
from seqloom.core.rng import Rng
from seqloom.processes.base import Likelihood, Loss, Net, Process, channels, strata
from seqloom.processes.features import Feature, Frame, about_level, counting, expected, featured, framed, inputs_of
from seqloom.processes.known import KnownCells, KnownInputs, KnownPositions, distinct
from seqloom.processes.schedules import EdmNoise, Noise, PredictEdm, Prediction
from seqloom.processes.visible import Visible
from seqloom.sequence.batch import Batch
from seqloom.sequence.facts import Advice, Facts
from seqloom.sequence.guess import Ask, Gives, Guess
from seqloom.sequence.laws import Counts
from seqloom.sequence.space import Space, Vectors
from seqloom.sequence.spec import NetworkSpec
from seqloom.sequence.state import NetState

LONGEST = 336
"""Elements whose second moments are counted at most: no less than a window that is advised."""
HOST = torch.device("cpu")
LEVEL_SCALE = 0.25
"""The network's input is log(sigma / alpha) / 4, about unit scale."""


class Gaussian(Process, name="gaussian"):
    """Diffusion with Gaussian noise; the loss is the squared error of the prediction, as its paper has it.

    Cells that are shown enter clean, so whatever pattern was trained can be asked: forecasts, gaps, or all of it.
    """

    gives: ClassVar[Gives] = Gives.CLEAN
    sampler: ClassVar[str] = "diffuse"

    schedule: Noise = EdmNoise()
    """How the noise grows."""
    prediction: Prediction = PredictEdm()
    """What the network puts out."""
    levels: Literal["row", "position"] = "row"
    """Training noises a whole row alike, or each position by a level of its own (diffusion forcing)."""

    features: tuple[Feature, ...] = ()
    """What is read off the cells that are shown, beside the network."""

    known_once: bool = False
    """Known positions attend to each other alone and do not know the level, so that they are read once for all steps
    and samples; where all layers are attention. Else they are read anew at each step."""

    def spec(self, space: Space) -> NetworkSpec:
        if not isinstance(space, Vectors):
            raise UnsupportedSpace(
                "Gaussian diffusion learns vectors, not symbols", hint="use process=masked, or an autoregressive model"
            )
        counts = [field.name for field in space.fields if field.support == "count"]
        if counts:
            raise UnsupportedSpace(
                f"Gaussian diffusion has no counts, and {counts[0]!r} is one", hint="use an autoregressive model"
            )
        beside = sum(feature.channels(space) for feature in self.features)
        numbers = space.dim if _all_real(space) else 0
        blank = (0.0,) * 2 * space.dim + (1.0,) * space.dim + (0.0,) * beside  # neither known nor to be made
        inputs = 3 * space.dim + beside
        return NetworkSpec(False, inputs, space.dim, block=None, timed=True, channels=numbers, blank=blank)

    @property
    def patched(self) -> bool:
        return self.levels == "row"  # a patch has one level

    @property
    def counts(self) -> Counts | None:
        return counting(self.features)

    def advice(self, facts: Facts) -> Advice:
        once = {"known_once": (True, "a forecast reads its past once for all paths")} if facts.numbers else {}
        return featured(about_level(facts, linear=LONGEST)) | once

    def loss(self, net: Net, batch: Batch, rng: Rng, state: Any = None, drop: Rng | None = None) -> Loss:
        assert isinstance(net.space, Vectors)
        t = strata(rng, len(batch.x), HOST)[:, None]  # (B,1)
        if self.levels == "position":  # the strata of each position are turned by a number of its own
            t = (t + torch.from_numpy(rng.at("levels").uniform(batch.x.shape[1]))) % 1.0
        alpha, sigma = (level.to(batch.x).unsqueeze(-1) for level in self.schedule.at(t))  # (B,1|T,1)
        scale = (alpha**2 + sigma**2).sqrt()
        alpha, sigma = alpha / scale, sigma / scale
        x, _ = diffused(net.space, batch, rng)  # (B,T,D)
        read, frame = self._read(net, batch.x, batch.shown)
        x = x if frame is None else frame.inside(x, batch.known)
        noise = rng.at("noise").normal(tuple(x.shape[1:])).to(x)
        wanted = batch.wanted
        z = alpha * x + sigma * noise
        out = self._out(net, batch, read, x, z, alpha, sigma, drop)
        # Beyond the end both are drawn from N(0, 1), and only their mean given z can be learned: the target
        # is that mean, which has the same best network and a gradient with less noise.
        free = beyond_end(net.space, batch)  # (B,T,D)
        x, noise = torch.where(free, alpha * z, x), torch.where(free, sigma * z, noise)
        error = (out - self.prediction.target(x, noise, alpha, sigma)) ** 2
        return Loss(error.masked_fill(~wanted, 0.0).sum(), wanted.sum())

    def _read(self, net: Net, x: Tensor, shown: Tensor) -> tuple[Tensor | None, Frame | None]:
        """What features say as inputs (B,T,C), and the frame in which a row is diffused: from its shown cells alone."""
        if not self.features:
            return None, None
        visible = Visible(x, shown, shown, ordered=False, laws=net.laws)
        position = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
        read, frame = framed(self.features, net.space, visible, position)
        return inputs_of(read, frame), expected(read, frame)

    def _out(
        self,
        net: Net,
        batch: Batch,
        read: Tensor | None,
        x: Tensor,
        z: Tensor,
        alpha: Tensor,
        sigma: Tensor,
        drop: Rng | None = None,
    ) -> Tensor:
        """What the network puts out for x noised to z (B,T,D), alpha^2 + sigma^2 = 1, both (B,1|T,1)."""
        inputs = channels(torch.where(batch.shown, x, z), batch.shown, ~batch.known)  # (B,T,3D)
        given = net.encode(batch.given, len(batch.x))
        level, inputs = _level(alpha, sigma), _joined(inputs, read, batch.present)
        apart = self._apart(net, batch.shown, ~batch.known)
        return net(inputs, level=level, given=given, present=batch.present, rng=drop, apart=apart)[0]

    def _apart(self, net: Net, shown: Tensor, absent: Tensor) -> Tensor | None:
        """The positions (B,T) that are read by themselves, where any are: those with nothing to be made."""
        return (shown | absent).all(-1) if self.known_once and net.separable else None

    def likelihoods(self) -> dict[str, Likelihood]:
        return {"likelihood": Likelihood("bound", "windows", self.bound, draws=16)}

    def bound(self, net: Net, batch: Batch, rng: Rng, state: Any = None) -> tuple[Tensor, Any]:
        """One draw of the variational bound in continuous time, nats (B,T) (Kingma et al. 2021, eq. 17-19).

        Minus log p(x) <= recovery from the least noise + half the integral of SNR-weighted squared error + the
        distance of the noisiest state from the prior N(0, alpha^2 + sigma^2). Cells that are absent or shown are not
        noised: the network has them as inputs, so this bounds the likelihood of the others given them.
        """
        space = net.space
        assert isinstance(space, Vectors)
        low, high = self.schedule.span()
        log_nsr = low + (high - low) * strata(rng, len(batch.x), batch.x.device)  # (B,)
        alpha, sigma = (
            v.to(batch.x)[:, None, None]
            for v in (torch.sigmoid(-2 * log_nsr).sqrt(), torch.sigmoid(2 * log_nsr).sqrt())
        )
        x, beyond = diffused(space, batch, rng)  # (B,T,D)
        read, frame = self._read(net, batch.x, batch.shown)
        x = x if frame is None else frame.inside(x, batch.known)
        noise = rng.at("noise").normal(tuple(x.shape[1:])).to(x)
        z = alpha * x + sigma * noise
        clean = self.prediction.clean(z, self._out(net, batch, read, x, z, alpha, sigma), alpha, sigma)
        error = (alpha / sigma * (x - clean)) ** 2  # half of it, times |d log SNR| = 2 d log_nsr, is integrated
        # What the best denoiser of N(0, 1) errs with this noise, less its mean: a control variate, 0 on average.
        control_variate = alpha**2 * ((sigma * x - alpha * noise) ** 2 - (sigma * x) ** 2 - alpha**2)
        control_variate = control_variate.masked_fill(_marks(space, "binary", "category").to(x.device), 0.0)
        integral = (high - low) * (error - control_variate)
        recovery = recovered(space, x, math.exp(low), rng) + _jacobian(space, x)
        most = math.exp(2 * high)
        prior = 0.5 * ((most + x**2) / (1 + most) - 1 + math.log1p(math.exp(-2 * high)))
        if frame is not None:
            recovery = recovery + frame.log_scale
        return (integral + recovery + prior - beyond).masked_fill(~batch.wanted, 0.0).sum(-1), None

    def denoiser(self, net: Net, batch: Batch, rng: Rng) -> tuple[Tensor, Tensor, Callable[[Tensor, float], Tensor]]:
        space = net.space
        assert isinstance(space, Vectors)
        x, _ = diffused(space, batch, rng)  # (B,T,D)
        read, frame = self._read(net, batch.x, batch.shown)
        x = x if frame is None else frame.inside(x, batch.known)
        scale = _jacobian(space, x) + (torch.zeros_like(x) if frame is None else frame.log_scale)

        def denoised(noisy: Tensor, spread: float) -> Tensor:
            alpha = noisy.new_full((len(noisy), 1, 1), 1 / math.hypot(1, spread))
            sigma = alpha * spread
            z = alpha * noisy
            return self.prediction.clean(z, self._out(net, batch, read, x, z, alpha, sigma), alpha, sigma)

        return x, scale, denoised

    def _inputs(self, net: Net, ask: Ask) -> tuple[Tensor, Frame | None]:
        """What the network reads of a canvas (B,T,C), and the frame that it is in."""
        assert ask.shown is not None
        assert ask.absent is not None
        assert isinstance(net.space, Vectors)
        read, frame = self._read(net, ask.x, ask.shown)
        own = lifted(net.space, ask.x) if frame is None else frame.inside(ask.x, ask.shown)
        x = torch.where(ask.shown, own, ask.x)
        return _joined(channels(x, ask.shown, ask.absent), read, ask.present), frame

    def read_known(self, net: Net, ask: Ask, before: Any = None, multiple: int = 1) -> KnownCells | None:
        shown, absent = ask.shown, ask.absent
        if shown is None or absent is None:
            return None
        if isinstance(before, KnownCells) and before.holds(ask):
            return before
        # What is to be made has noise at first: it would tell equal rows apart.
        ask = replace(ask, x=ask.x.masked_fill(~shown, 0.0))
        few, owner = distinct(ask, multiple)
        assert few.shown is not None
        assert few.absent is not None
        inputs, frame = self._inputs(net, few)
        whole = None if frame is None else Frame(frame.location[owner], frame.log_scale[owner])
        if (apart := self._apart(net, few.shown, few.absent)) is not None:
            return KnownPositions.read(net, ask, apart, inputs, whole, few, owner)
        return KnownCells(shown, ask.x, KnownInputs.of(inputs[owner], shown | absent), whole)

    def guess(
        self, net: Net, ask: Ask, state: NetState | None, limit: int | None = None
    ) -> tuple[Guess, NetState | None]:
        """`ask.x` is z scaled to alpha^2 + sigma^2 = 1 (shown cells clean), `ask.level` log(sigma / alpha) (B,1|T)."""
        assert ask.level is not None
        assert ask.shown is not None
        assert ask.absent is not None
        assert isinstance(net.space, Vectors)
        log_nsr = ask.level.double()[..., None]
        alpha, sigma = torch.sigmoid(-2 * log_nsr).sqrt().to(ask.x), torch.sigmoid(2 * log_nsr).sqrt().to(ask.x)
        if isinstance(known := ask.read, KnownPositions):
            out, frame = known.out(net, ask, _level(alpha, sigma)), known.frame
            z, alpha, sigma = map(known.of_open, (ask.x, alpha, sigma))
            clean = known.on_canvas(self.prediction.clean(z, out, alpha, sigma))
        else:
            if isinstance(known, KnownCells):
                (inputs, z), frame = known.inputs.at(ask.x), known.frame
            else:
                inputs, frame = self._inputs(net, ask)
                z = inputs[..., : ask.x.shape[2]]
            apart = self._apart(net, ask.shown, ask.absent)
            out, _ = net(inputs, level=_level(alpha, sigma), given=ask.given, present=ask.present, apart=apart)
            clean = self.prediction.clean(z, out, alpha, sigma)
        parts = {} if frame is None else {"location": frame.location, "log_scale": frame.log_scale}
        return Guess(clean, np.ones(len(ask.x), bool), Diffused(net.space), parts), state


@dataclass(frozen=True)
class Diffused:
    """Elements of a space as they are diffused, and back."""

    space: Vectors

    def values(self, x: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        """Yes or no by the sign, the kind of a category that is largest, positive numbers from their logarithms.

        Numbers that were diffused in a frame come back from it.
        """
        if "location" in parts:
            return Frame(parts["location"], parts["log_scale"]).outside(x)
        return lowered(self.space, x)

    def numbers(self, x: Tensor, parts: Mapping[str, Tensor]) -> Tensor:
        if "location" in parts:
            return Frame(parts["location"], parts["log_scale"]).inside(x, torch.ones_like(x, dtype=torch.bool))
        return lifted(self.space, x)


def diffused(space: Vectors, batch: Batch, rng: Rng) -> tuple[Tensor, Tensor | float]:
    """What is diffused of a batch (B,T,D), 0 in absent cells; and the nats (B,T,D) of what was put beyond the ends.

    Numbers beyond the end of a sequence are drawn from N(0, 1). What they cost under it is taken off a bound, which
    then is one on the sequence alone: its mean over the draws is no less (as for dequantisation, Theis et al. 2016).
    """
    x = lifted(space, batch.x.masked_fill(~batch.known, 0.0)).masked_fill(~batch.known, 0.0)
    if space.end is None:
        return x, 0.0
    beyond = beyond_end(space, batch)
    filled = rng.at("beyond").normal(tuple(x.shape[1:])).to(x)
    nats = 0.5 * filled**2 + 0.5 * math.log(2 * math.pi) + _jacobian(space, filled)
    nats = nats.masked_fill(~beyond, 0.0)
    return torch.where(beyond, filled, x), nats


def beyond_end(space: Vectors, batch: Batch) -> Tensor:
    """Which cells (B,T,D) are numbers that stand beyond the end of their sequence."""
    numbers = _marks(space, "real", "positive").to(batch.x.device)
    if space.end is None:
        return torch.zeros_like(numbers)
    ended = batch.x[:, :, space.end] > 0
    return torch.nn.functional.pad(ended[:, :-1], (1, 0)).unsqueeze(-1) & numbers


def lifted(space: Vectors, x: Tensor) -> Tensor:
    """Elements as they are diffused: yes and no, and the kinds of a category, as 1 and -1, positive numbers as logs."""
    if _all_real(space):
        return x
    discrete, positive = (_marks(space, *which).to(x.device) for which in (("binary", "category"), ("positive",)))
    x = torch.where(discrete, 2 * x - 1, x)
    if not any(field.support == "positive" for field in space.all_fields):
        return x
    return torch.where(positive, x.masked_fill(~positive, 1.0).clamp_min(1e-30).log(), x)


def lowered(space: Vectors, x: Tensor) -> Tensor:
    """What `lifted` was made from, of numbers that may lie between."""
    if _all_real(space):
        return x
    parts = []
    for field, cells in zip(space.all_fields, space.slices.values(), strict=True):
        part = x[..., cells]
        if field.support == "binary":
            part = (part > 0).to(x)
        elif field.support == "category":
            part = torch.nn.functional.one_hot(part.argmax(-1), field.width).to(x)
        elif field.support == "positive":
            part = part.exp()
        parts.append(part)
    return torch.cat(parts, -1)


def recovered(space: Vectors, x: Tensor, ratio: float, rng: Rng) -> Tensor:
    """Nats (B,T,D) of x given y = x + ratio * noise, the least noise: of a density its mean, of a choice one draw.

    A choice has the probability that its values have by their distance from y.
    """
    nats = torch.full_like(x, 0.5 * math.log(2 * math.pi) + math.log(ratio) + 0.5)
    if not any(field.support in {"binary", "category"} for field in space.all_fields):
        return nats
    y = x + ratio * rng.at("recovery").normal(tuple(x.shape[1:])).to(x)
    for field, cells in zip(space.all_fields, space.slices.values(), strict=True):
        if field.support == "binary":
            nats[..., cells] = torch.nn.functional.softplus(-2 * y[..., cells] * x[..., cells] / ratio**2)
        elif field.support == "category":
            logits = 2 * y[..., cells] / ratio**2  # the squares of the distances, less what all kinds share
            chosen = x[..., cells] > 0
            cost = logits.logsumexp(-1) - (logits * chosen).sum(-1)
            nats[..., cells] = torch.nn.functional.pad(cost.unsqueeze(-1), (0, field.width - 1))
    return nats


def _jacobian(space: Vectors, x: Tensor) -> Tensor:
    """Log |d value / d x| (B,T,D): positive numbers are diffused as their logarithms."""
    return torch.zeros_like(x) if _all_real(space) else x.masked_fill(~_marks(space, "positive").to(x.device), 0.0)


def _all_real(space: Vectors) -> bool:
    """Whether elements are diffused as they are."""
    return all(field.support == "real" for field in space.all_fields)


def _marks(space: Vectors, *supports: str) -> Tensor:
    """Which numbers (D,) of an element are of fields of these supports."""
    return torch.tensor([field.support in supports for field in space.all_fields for _ in range(field.width)])


def _joined(inputs: Tensor, read: Tensor | None, present: Tensor | None) -> Tensor:
    """The inputs (B,T,3D) with what is read off beside them, where anything is: nothing for what does not exist."""
    if read is None:
        return inputs
    return torch.cat([inputs, read if present is None else read.masked_fill(~present.unsqueeze(-1), 0.0)], -1)


def _level(alpha: Tensor, sigma: Tensor) -> Tensor:
    return (sigma / alpha).log()[..., 0] * LEVEL_SCALE
