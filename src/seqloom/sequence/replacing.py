"""Symbols that are replaced by others at random: the law of what they were a little before."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def before(logits: Tensor, z: Tensor, now: Tensor, then: Tensor) -> Tensor:
    """The chances (...,V) of each symbol when a share `then` (...) was as at first, given z (...) where `now` is.

    `logits` (...,V) say what the symbol was at first. D3PM's step (Austin et al. 2021), as Sahoo et al. 2025 have it.
    """
    size = logits.shape[-1]
    guessed, seen = logits.double().softmax(-1), F.one_hot(z, size)
    now, then = now.unsqueeze(-1), then.unsqueeze(-1)
    kept = now / then
    chance = (now * size * guessed + kept - now) * seen + (then - now) * guessed + (1 - kept) * (1 - then) / size
    return chance / chance.sum(-1, keepdim=True)
