"""Classifier-free guidance (Ho & Salimans 2022): a row with the condition and a row without it, as one group."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from seqloom.samplers.base import Rows
from seqloom.sequence.guess import Guess


def pair(rows: Rows, weight: float) -> Rows:
    """Each row twice: member 0 keeps the condition, member 1 gets the null one; both have the same key and canvas."""
    twice = rows.select(np.repeat(np.arange(len(rows)), 2))
    member = np.tile([0, 1], len(rows))
    return replace(twice, member=member, null=member == 1, own={**twice.own, "guidance": np.full(len(twice), weight)})


def mix(rows: Rows, guess: Guess) -> Guess:
    """The guess with both members of each pair set to null + weight (conditioned - null), for logits and clean data."""
    table = rows.table()
    if table.shape[1] < 2:
        return guess
    table = table[table[:, 1] >= 0]
    table = table[(rows.own["guidance"][table[:, 0]] != 1)]
    given, null = table[:, 0], table[:, 1]
    value = guess.value.clone()
    weight = torch.as_tensor(rows.own["guidance"][given]).to(value)[:, None, None]
    a, b = value[given], value[null]
    mixed = torch.where(torch.isneginf(a) | torch.isneginf(b), torch.minimum(a, b), b + weight * (a - b))
    value[given], value[null] = mixed, mixed
    return Guess(value, guess.ready, guess.head)
