"""What of its conditions each element of a sequence attended to, as it was made from those before it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from seqloom.core.errors import UnsupportedQuery
from seqloom.core.rng import Rng
from seqloom.corpora.packed import Packed
from seqloom.network.network import Network
from seqloom.processes.base import Process


def attended_by(network: Network, process: Process, packed: Packed) -> NDArray[np.float64]:
    """The weights (L,H,T,S) of each layer and head while the exact likelihood of one sequence is worked out.

    Errors:
        UnsupportedQuery where the process has none, or none by which elements are made one after another.
    """
    length = len(packed)
    exact = next((own for own in reversed(process.likelihoods().values()) if own.kind == "exact"), None)
    refused = UnsupportedQuery(
        f"a model of process={process.name} is not watched while it makes one element after another",
        hint="models that are autoregressive or masked are",
    )
    if exact is None:
        raise refused
    with torch.no_grad(), network.watch() as seen:
        exact.nats(network, packed.window(np.zeros(1, np.int64), length), Rng.of(0, 0), None)
    # A length that is said first is read off a position by itself, and then its end is no element that is made.
    calls = [seen[f"trunk.layers.{i}.cross.weights"] for i in range(len(network.trunk.layers))]
    alike = [[own for own in layer if own.shape[2] == length] for layer in calls]
    if not all(alike):  # what is known and what is asked for stand side by side
        raise refused
    layers = [torch.cat(own).double() for own in alike]  # (R,H,T,S) each
    if any(len(own) not in {1, length, length - network.spec.length_first} for own in layers):
        raise refused
    each = torch.arange(len(layers[0]))
    own = [w[0] if len(w) == 1 else w[each, :, each].transpose(0, 1) for w in layers]  # (H,T,S) each
    return torch.stack(own).cpu().numpy()
