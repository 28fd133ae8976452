"""A device of a test: tensors that lie elsewhere have their numbers, and meet no tensor of the processor.

They say that they are on `meta`. What mixes them with tensors of the processor, single numbers and indices apart, is an
error, as it is with a GPU; `.cpu()` brings them back, and nothing but that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

ELSEWHERE = torch.device("meta")
INDEXING = ("aten::index", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_")
COPIES = ("aten::_to_copy", "aten::to", "aten::copy_")


class Far(torch.Tensor):
    """A tensor that lies elsewhere."""

    near: torch.Tensor

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> Far:
        made = torch.Tensor._make_wrapper_subclass(
            cls, near.shape, strides=near.stride(), storage_offset=near.storage_offset(), dtype=near.dtype,
            device=ELSEWHERE, requires_grad=near.requires_grad,
        )  # fmt: skip
        made.near = near
        return made

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return dispatched(function, args, kwargs or {})

    def numpy(self, *args: Any, **more: Any) -> Any:
        raise TypeError("a tensor that lies elsewhere is no array: .cpu() first")


class Elsewhere(TorchDispatchMode):
    """Makes what is asked for on that device."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return dispatched(function, args, kwargs or {})


def dispatched(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = function._schema.name
    flat, spec = tree_flatten((args, kwargs))
    far = any(isinstance(value, Far) for value in flat)
    if any(isinstance(v, torch.Tensor) and not isinstance(v, Far) and v.device == ELSEWHERE for v in flat):
        raise RuntimeError(f"{function} of a tensor that was made elsewhere from a list: its numbers are not there")
    if far and name not in COPIES:
        others = [args[0], *args[2:], *kwargs.values()] if name in INDEXING and isinstance(args[0], Far) else flat
        for value in others:
            if isinstance(value, torch.Tensor) and not isinstance(value, Far) and value.ndim > 0:
                raise RuntimeError(f"{function} of a tensor elsewhere and one of the processor {tuple(value.shape)}")
    wished = next((value for value in flat if isinstance(value, torch.device)), None)
    if name == "aten::to" and len(args) > 1 and isinstance(args[1], torch.Tensor):
        wished = args[1].device
    if name == "aten::copy_":
        wished = args[0].device
    goes_far = far if wished is None else wished == ELSEWHERE
    here = [torch.device("cpu") if isinstance(value, torch.device) else value for value in flat]
    near = tree_unflatten([value.near if isinstance(value, Far) else value for value in here], spec)
    out = function(*near[0], **near[1])
    if not goes_far:
        return out
    known = {id(value.near): value for value in flat if isinstance(value, Far)}  # what is written in place stays itself
    return tree_map(lambda v: (known[id(v)] if id(v) in known else Far(v)) if isinstance(v, torch.Tensor) else v, out)
