"""Temperature, top-k and top-p: the tail of a distribution cut off, row by row."""

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
from seqloom.samplers.base import Sampler
from seqloom.sequence.guess import Gives


class TokenSampler(Sampler):
    """The settings that every sampler of symbols has."""

    by_row: ClassVar[tuple[str, ...]] = ("temperature", "top_k", "top_p")

    temperature: float = Field(default=1.0, ge=0)
    """Divides the logits; 0 takes the likeliest symbol (greedy)."""
    top_k: int = Field(default=0, ge=0)
    """Only the k likeliest symbols (0: all)."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Only the likeliest symbols that together have this probability; the one that crosses it is kept."""

    def check(self, gives: Gives, *, conditioned: bool, networks: int) -> None:
        super().check(gives, conditioned=conditioned, networks=networks)
        if gives is Gives.NEXT_PARAMS and (self.top_k or self.top_p < 1):
            name = "top_k" if self.top_k else "top_p"
            raise UnsupportedQuery(
                f"sampler.{name} leaves out unlikely symbols, and this is a model of numbers",
                hint="leave it out; sampler.temperature below 1 makes what is drawn less spread",
            )


def draw(logits: Tensor, u: NDArray[np.float64], own: Mapping[str, NDArray[Any]]) -> Tensor:
    """One symbol (B,) from logits (B,V), uniforms u (B,) and the rows' settings."""
    temperature = own["temperature"]
    if (temperature != 1).any():
        scale = torch.as_tensor(np.where(temperature > 0, temperature, 1.0), device=logits.device).unsqueeze(-1)
        logits = logits.double() / scale
    if (own["top_k"] > 0).any() or (own["top_p"] < 1).any():
        logits = truncate(logits, own["top_k"], own["top_p"])
    chosen = pick(logits, u)
    greedy = temperature == 0
    if greedy.any():
        chosen = torch.where(torch.as_tensor(greedy, device=logits.device), logits.argmax(-1), chosen)
    return chosen


def untouched(own: Mapping[str, NDArray[Any]]) -> bool:
    """Whether all rows are drawn from the logits as they are, by `pick` alone."""
    return bool((own["temperature"] == 1).all() and (own["top_k"] == 0).all() and (own["top_p"] == 1).all())


def truncate(logits: Tensor, top_k: NDArray[np.int64], top_p: NDArray[np.float64]) -> Tensor:
    """Logits (B,V) with all but each row's top-k and top-p set to -inf; ties at the edge are kept."""
    size = logits.shape[-1]
    ranked, _ = logits.sort(-1, descending=True)
    k = torch.as_tensor(np.where((top_k > 0) & (top_k < size), top_k, size), device=logits.device)
    edge = ranked.gather(-1, (k - 1).unsqueeze(-1))
    ranked = ranked.masked_fill(ranked < edge, -torch.inf)
    before = ranked.double().softmax(-1).cumsum(-1).roll(1, -1)
    before[:, 0] = 0.0
    inside = before < torch.as_tensor(top_p, device=logits.device).unsqueeze(-1)
    edge = torch.maximum(edge, ranked.masked_fill(~inside, torch.inf).amin(-1, keepdim=True))
    return logits.masked_fill(logits < edge, -torch.inf)
