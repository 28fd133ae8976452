"""How one symbol is drawn: temperature, and truncations that leave unlikely symbols out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqloom.core.errors import UnsupportedQuery
from seqloom.core.rng import pick
from seqloom.samplers.base import Numbers, Rows, cut
from seqloom.samplers.penalties import Penalised
from seqloom.sequence.guess import Gives

Own = Mapping[str, NDArray[Any]]

OFF = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical": 1.0, "epsilon": 0.0, "eta": 0.0}
"""The truncations, in the order in which they are made, and the value at which each leaves all symbols."""


class TokenSampler(Penalised):
    """The settings that every sampler of symbols has.

    Penalties come first, then the temperature, then the truncations in the order in which they stand here, each of what
    the one before has left. The likeliest symbol is always left.
    """

    by_row: ClassVar[tuple[str, ...]] = ("temperature", *OFF, *Penalised.by_row)

    temperature: float = Field(default=1.0, ge=0)
    """Divides the logits; 0 takes the likeliest symbol (greedy)."""
    top_k: int = Field(default=0, ge=0)
    """Only the k likeliest symbols (0: all)."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Only the likeliest symbols that together have this probability; the one that crosses it is kept."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Only symbols of at least this share of the likeliest one's probability (Nguyen et al. 2024; 0.05 to 0.1)."""
    typical: float = Field(default=1.0, gt=0, le=1)
    """Only the symbols of this mass whose surprise is nearest to the entropy (Meister et al. 2023; 0.9 to 0.95)."""
    epsilon: float = Field(default=0.0, ge=0, lt=1)
    """Only symbols of at least this probability (Hewitt et al. 2022; 3e-4 to 9e-4)."""
    eta: float = Field(default=0.0, ge=0, lt=1)
    """Only symbols of at least min(eta, sqrt(eta) exp(-entropy)) (Hewitt et al. 2022; 3e-4 to 4e-3)."""

    def check(self, gives: Gives, *, conditioned: bool, networks: int) -> None:
        super().check(gives, conditioned=conditioned, networks=networks)
        changed = [name for name in OFF if getattr(self, name) != OFF[name]]
        if gives is Gives.NEXT_PARAMS and changed:
            raise UnsupportedQuery(
                f"sampler.{changed[0]} leaves out unlikely symbols, and this is a model of numbers",
                hint="leave it out; sampler.temperature below 1 makes what is drawn less spread",
            )

    def sized(self, rows: Rows, law: Numbers | None, end: int) -> Rows:
        """A length is drawn at the temperature of the symbols."""
        if law is None or self.temperature == 1:
            return super().sized(rows, law, end)
        if self.temperature == 0:
            return cut(rows, law.argmax(1), end)
        return super().sized(rows, law / self.temperature, end)


def draw(logits: Tensor, u: NDArray[np.float64], own: Own) -> Tensor:
    """One symbol (B,) from logits (B,V), uniforms u (B,) and the rows' settings."""
    chosen = pick(truncate(tempered(logits, own), own), u)
    greedy = own["temperature"] == 0
    if greedy.any():
        chosen = torch.where(torch.as_tensor(greedy, device=logits.device), logits.argmax(-1), chosen)
    return chosen


def tempered(logits: Tensor, own: Own) -> Tensor:
    """Logits divided by the rows' temperatures; a temperature of 0 is left to `draw`."""
    temperature = own["temperature"]
    if (temperature == 1).all():
        return logits
    scale = torch.as_tensor(np.where(temperature > 0, temperature, 1.0), device=logits.device).unsqueeze(-1)
    return logits.double() / scale


def untouched(own: Own) -> bool:
    """Whether all rows are drawn from the logits as they are, by `pick` alone."""
    return bool((own["temperature"] == 1).all()) and not any(_used(own, name) for name in OFF)


def truncate(logits: Tensor, own: Own) -> Tensor:
    """Logits (B,V) with what each row's truncations leave out set to -inf; ties at the edge are kept."""
    if _used(own, "top_k") or _used(own, "top_p"):
        logits = _likeliest(logits, own["top_k"], own["top_p"])
    if _used(own, "min_p"):
        share = _column(own["min_p"], logits)
        logits = logits.masked_fill(logits < logits.amax(-1, keepdim=True) + share.log(), -torch.inf)
    if _used(own, "typical"):
        logits = _typical(logits, own["typical"])
    if _used(own, "epsilon"):
        logits = _above(logits, _column(own["epsilon"], logits))
    if _used(own, "eta"):
        eta = _column(own["eta"], logits)
        logits = _above(logits, torch.minimum(eta, eta.sqrt() * (-_entropy(logits)).exp()))
    return logits


def _likeliest(logits: Tensor, top_k: NDArray[np.int64], top_p: NDArray[np.float64]) -> Tensor:
    size = logits.shape[-1]
    ranked, _ = logits.sort(-1, descending=True)
    k = torch.as_tensor(np.where((top_k > 0) & (top_k < size), top_k, size), device=logits.device)
    edge = ranked.gather(-1, (k - 1).unsqueeze(-1))
    ranked = ranked.masked_fill(ranked < edge, -torch.inf)
    before = ranked.double().softmax(-1).cumsum(-1).roll(1, -1)
    before[:, 0] = 0.0
    share = _column(top_p, logits)
    inside = (before < share) | (share >= 1)  # sums round to a little more than 1
    edge = torch.maximum(edge, ranked.masked_fill(~inside, torch.inf).amin(-1, keepdim=True))
    return logits.masked_fill(logits < edge, -torch.inf)


def _typical(logits: Tensor, typical: NDArray[np.float64]) -> Tensor:
    log_prob = logits.double().log_softmax(-1)
    strange = (-log_prob - _entropy(logits)).abs()
    ranked, order = strange.sort(-1)
    before = log_prob.exp().gather(-1, order).cumsum(-1).roll(1, -1)
    before[:, 0] = 0.0
    share = _column(typical, logits)
    edge = ranked.masked_fill((before >= share) & (share < 1), -torch.inf).amax(-1, keepdim=True)
    return logits.masked_fill(strange > edge, -torch.inf)


def _above(logits: Tensor, least: Tensor) -> Tensor:
    """Logits of the symbols with at least this probability, and of the likeliest."""
    log_prob = logits.double().log_softmax(-1)
    return logits.masked_fill(log_prob < torch.minimum(least.log(), log_prob.amax(-1, keepdim=True)), -torch.inf)


def _entropy(logits: Tensor) -> Tensor:
    """The entropy (B,1) of each row, in nats."""
    log_prob = logits.double().log_softmax(-1)
    return -(log_prob.exp() * log_prob.clamp_min(-1e300)).sum(-1, keepdim=True)  # 0 log 0 is 0


def _used(own: Own, name: str) -> bool:
    return bool((own[name] != OFF[name]).any())


def _column(values: NDArray[np.float64], like: Tensor) -> Tensor:
    return torch.as_tensor(np.asarray(values, np.float64), device=like.device).unsqueeze(-1)
