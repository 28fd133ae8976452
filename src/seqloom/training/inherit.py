"""Inherit: the weights of another run, as far as names and shapes agree, and symbols by what they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Inherited:
    """Which tensors of a network were taken over, and which were not."""

    taken: tuple[str, ...]
    by_symbol: Mapping[str, tuple[int, int]]
    """Of tensors with a row a symbol: how many rows were found, and of how many."""
    left: tuple[str, ...]
    """Those that begin anew, with what the other run has in their place."""

    def __str__(self) -> str:
        parts = [f"{len(self.taken) + len(self.by_symbol)} of {self.total} tensors taken"]
        parts += [f"{have} of {all} rows of {name}" for name, (have, all) in self.by_symbol.items() if have < all]
        if self.left:
            parts.append(f"not taken: {', '.join(self.left)}")
        return "; ".join(parts)

    @property
    def total(self) -> int:
        """Tensors of the network."""
        return len(self.taken) + len(self.by_symbol) + len(self.left)


@torch.no_grad()
def inherit(
    own: Mapping[str, Tensor], other: Mapping[str, Tensor], symbols: Mapping[str, tuple[Sequence[str], Sequence[str]]]
) -> Inherited:
    """Write into the tensors `own` those of `other` that have their name and shape.

    `symbols` names the rows of a tensor, first its own and then the other's: of these each row goes where its symbol
    is. What is not found stays as it was.
    """
    taken, left, by_symbol = [], [], {}
    for name, tensor in own.items():
        donor = other.get(name)
        if donor is None:
            left.append(f"{name} (the other has none)")
        elif name in symbols and donor.shape[1:] == tensor.shape[1:]:
            own_symbols, other_symbols = symbols[name]
            row_of = {symbol: row for row, symbol in enumerate(other_symbols)}
            pairs = [(row, row_of[symbol]) for row, symbol in enumerate(own_symbols) if symbol in row_of]
            rows, sources = [row for row, _ in pairs], [source for _, source in pairs]
            tensor[rows] = donor[sources].to(tensor)
            by_symbol[name] = (len(pairs), len(tensor))
        elif donor.shape == tensor.shape:
            tensor.copy_(donor)
            taken.append(name)
        else:
            left.append(f"{name} ({shape(tensor)}, the other {shape(donor)})")
    return Inherited(tuple(taken), by_symbol, tuple(left))


def shape(tensor: Tensor) -> str:
    """Such as "64 x 32"."""
    return " x ".join(str(size) for size in tensor.shape) or "one number"
