"""What a network would take of memory and of operations, known without building it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from seqloom.core.speeds import LSTM
from seqloom.mixers.base import MixerModule
from seqloom.network.backbone import Backbone
from seqloom.network.given import ConditionSpec
from seqloom.network.network import Network
from seqloom.sequence.batch import Condition
from seqloom.sequence.space import Space, Tokens
from seqloom.sequence.spec import NetworkSpec

FEW = 8
"""Positions, and twice as many, by which it is told what a network costs whose cost grows evenly with them."""

LAW = 2
"""So many times as long as another operation over all symbols it takes to add a law of counts to their logits."""

FREE = {torch.ops.aten.empty, torch.ops.aten.empty_like, torch.ops.aten.empty_strided, torch.ops.aten.detach}
"""Operations that compute nothing."""


@dataclass(frozen=True)
class Cost:
    """How many numbers are trained; bytes of the weights and of what one step keeps for its backward pass."""

    parameters: int
    weights: int
    activations: int
    operations: int
    """Multiplications and additions of one element's forward pass; training takes about three times as many."""
    products: int
    """Those of a step's forward pass that are in no recurrent layer."""
    recurrent: Mapping[tuple[str, int], int]
    """Positions that a step reads in recurrent layers of each kind and width, in as many rows at least as are timed:
    fewer take about as long."""
    numbers: int
    """Numbers that all else makes in a step's forward pass."""
    laws: int
    """Numbers that laws of counts make for a step, which only the processor does."""
    operators: int
    """In so many operations, products included."""
    matrices: tuple[tuple[int, int], ...]
    """The shapes of what an optimizer may take for matrices."""

    def training(self, copies: int = 5) -> int:
        """Bytes of training with so many numbers a parameter: itself, its gradient, AdamW's two and the average."""
        return copies * self.weights + self.activations


def cost(
    backbone: Backbone,
    spec: NetworkSpec,
    space: Space,
    given: Mapping[str, ConditionSpec],
    rows: int,
    window: int,
    lengths: Mapping[str, int] | None = None,
) -> Cost:
    """The cost of this network in float32 and of a step over `rows` windows, beside each conditions of these `lengths`.

    Its modules are run without numbers in them, and what they would keep is added up. What a fused kernel keeps for
    itself is not known (of an LSTM up to as much again), nor what conditions take whose lengths are not given.
    """
    net = Network(backbone, spec, space, window, given, seed=None)
    counted, few = Counted(net, lengths or {}), FEW * net.patch
    if backbone.bounded or window <= 2 * few:
        step = counted.step(rows, window)
    else:
        less, more = counted.step(rows, few), counted.step(rows, 2 * few)
        step = Counter({name: n + (n - less[name]) * (window - 2 * few) // few for name, n in more.items()})
    stacked = net.stacks()
    return Cost(
        parameters=net.parameter_count,
        weights=4 * net.parameter_count,
        activations=step["activations"],
        operations=round((step["products"] + step["inside"]) / (rows * window)),
        products=step["products"],
        recurrent={layer: step[layer] for layer in step if isinstance(layer, tuple)},
        numbers=step["numbers"],
        laws=step["laws"],
        operators=step["operators"],
        matrices=tuple(
            (part.shape[0], part.shape[1])
            for parameter in net.groups()["matrices"]
            for part in parameter.flatten(1).chunk(stacked.get(parameter, 1))
        ),
    )


class Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what the modules of a network do; apart what recurrent layers do, for these are one kernel each."""

    def __init__(self, net: Network, lengths: Mapping[str, int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.net, self.lengths, self.counts, self.inside = net, lengths, Counter[str | tuple[str, int]](), False
        for module in net.modules():
            if isinstance(module, MixerModule) and module.timed_as:
                module.register_forward_pre_hook(self._enters)
                module.register_forward_hook(self._leaves)

    def step(self, rows: int, length: int) -> Counter[str | tuple[str, int]]:
        """The counts of one step's forward pass, and bytes of what it keeps."""
        spec, self.counts = self.net.spec, Counter()
        weights = {parameter.untyped_storage()._cdata for parameter in self.net.parameters()}
        kept: dict[int, torch.UntypedStorage] = {}

        def keep(x: Tensor) -> Tensor:
            storage = x.untyped_storage()
            kept[storage._cdata] = storage  # kept alive, or its address would be given to another
            return x

        shape = (rows, length) if spec.symbolic else (rows, length, spec.inputs)
        x = torch.empty(shape, dtype=torch.int64 if spec.symbolic else torch.float32, device="meta")
        level = torch.empty(rows, 1, device="meta") if spec.timed else None
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x), self:
            given = self.net.encode({name: self._condition(name, rows) for name in self.lengths}, rows)
            out, _ = self.net(x, given=given, level=level)
            if spec.symbolic:
                out.log_softmax(-1)  # of a large alphabet the loss takes more than the network
        if isinstance(self.net.space, Tokens):  # beside the logits of all symbols there is a weight for each law
            symbols = self.net.space.total
            self.counts["laws"] = LAW * max(0, spec.outputs - symbols) * rows * length * symbols
        kept = {number: storage for number, storage in kept.items() if number not in weights}
        self.counts["activations"] = sum(storage.nbytes() for storage in kept.values())
        return self.counts

    def _condition(self, name: str, rows: int) -> Condition:
        """Elements of a condition without numbers in them."""
        space, shape = self.net.conditions.specs[name].space, (rows, self.lengths[name])
        x = (
            torch.empty(shape, dtype=torch.int64, device="meta")
            if isinstance(space, Tokens)
            else torch.empty(*shape, space.dim, device="meta")
        )
        return Condition(x, torch.empty(shape, dtype=torch.bool, device="meta"))

    def _enters(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.inside = True
        rows, steps, _ = inputs[0].shape
        self.counts[cast("str", module.timed_as), cast("int", module.width)] += max(rows, LSTM[0]) * steps

    def _leaves(self, *_: object) -> None:
        self.inside = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        product = flop_registry.get(func.overloadpacket)
        if product is not None:
            self.counts["inside" if self.inside else "products"] += product(*args, **(kwargs or {}), out_val=out)
        if self.inside or func.is_view or func.overloadpacket in FREE:
            return out
        self.counts["operators"] += 1
        if product is None:
            self.counts["numbers"] += sum(x.numel() for x in tree_leaves(out) if isinstance(x, Tensor))
        return out
