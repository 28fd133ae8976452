"""What a network would take of memory and of operations, known without building it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from seqloom.network.backbone import Backbone
from seqloom.network.given import ConditionSpec
from seqloom.network.network import Network
from seqloom.sequence.space import Space
from seqloom.sequence.spec import NetworkSpec


@dataclass(frozen=True)
class Cost:
    """How many numbers are trained; bytes of the weights and of what one step keeps for its backward pass."""

    parameters: int
    weights: int
    activations: int
    operations: int
    """Multiplications and additions of one element's forward pass; training takes about three times as many."""

    def training(self, copies: int = 5) -> int:
        """Bytes of training with so many numbers a parameter: itself, its gradient, AdamW's two and the average."""
        return copies * self.weights + self.activations


def cost(
    backbone: Backbone, spec: NetworkSpec, space: Space, given: Mapping[str, ConditionSpec], rows: int, window: int
) -> Cost:
    """The cost of this network in float32 and of a step over `rows` windows.

    Its modules are run without numbers in them, and what they would keep is added up. What a fused kernel keeps for
    itself is not known (of an LSTM up to as much again), nor what the conditions of the rows take.
    """
    net = Network(backbone, spec, space, window, given, seed=None)
    weights = {parameter.untyped_storage()._cdata for parameter in net.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        kept[storage._cdata] = storage  # kept alive, or its address would be given to another
        return x

    shape = (rows, window) if spec.symbolic else (rows, window, spec.inputs)
    x = torch.empty(shape, dtype=torch.int64 if spec.symbolic else torch.float32, device="meta")
    level = torch.empty(rows, 1, device="meta") if spec.timed else None
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x), FlopCounterMode(display=False) as counted:
        net(x, level=level)
    return Cost(
        parameters=net.parameter_count,
        weights=4 * net.parameter_count,
        activations=sum(storage.nbytes() for number, storage in kept.items() if number not in weights),
        operations=round(counted.get_total_flops() / (rows * window)),
    )
