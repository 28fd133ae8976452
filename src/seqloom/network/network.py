"""The network: elements in, one trunk, a head out. Where space, process, mixers and conditions meet."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from seqloom.core.errors import ConfigError
from seqloom.core.rng import Rng
from seqloom.kernels.packed import PackedMap
from seqloom.mixers.base import MixerModule, Watcher
from seqloom.network.backbone import Backbone
from seqloom.network.costs import in_parts
from seqloom.network.given import Conditions, ConditionSpec, EncodedConditions
from seqloom.network.graphs import Graphs
from seqloom.network.stepping import Stepping
from seqloom.network.trunk import Trunk, embedding
from seqloom.sequence.batch import Condition
from seqloom.sequence.guess import Cost
from seqloom.sequence.laws import Laws
from seqloom.sequence.space import Space, Tokens
from seqloom.sequence.spec import NetworkSpec
from seqloom.sequence.state import LayerState, Lengths, NetState

MANY_OUTPUTS = 512
"""From so many outputs on the head takes a good part of a step, and is computed in what the layers are computed in."""


class Network(nn.Module):
    """What is trained. `window` is the length of the sequences it was trained on, `own` the process's tensors.

    Built without memory and then initialised from `seed` alone: each parameter has a generator keyed by its name, so
    a parameter's start does not depend on what else there is. `own` holds what a process, head or codec trains beside
    it: its linear layers and embeddings start by the same rule, its other parameters as they come.

    `dependence` (D,D) is the correlation of the copula by which a process couples the columns of an element in draws,
    where it was taken; `laws` what a prior counted in the training split.
    Where `reduced` is set, what lies between the ends is computed in it in training, and the products of a head of many
    outputs; weights, what is added up from layer to layer, losses and all of scoring and sampling stay as they are.
    """

    def __init__(
        self,
        backbone: Backbone,
        spec: NetworkSpec,
        space: Space,
        window: int,
        given: Mapping[str, ConditionSpec],
        seed: int | None = 0,
        own: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.spec, self.space, self.window = backbone, spec, space, window
        self.dependence: NDArray[np.float64] | None = None
        self.laws: Laws | None = None
        self.reduced = False
        self.stepping = Stepping()
        self.graphs = Graphs()
        self.channels, self.patch = self._channels(), self._patch()
        if backbone.tie and isinstance(space, Tokens) and spec.outputs < space.total:
            raise ConfigError(
                "this head has no weights for each symbol, and so none to tie",
                path="backbone.tie",
                hint="use backbone.tie=false, or leave process.head unset",
            )
        own_inputs = (spec.inputs - spec.shared) // self.channels
        with torch.device("meta"):
            self.embed: nn.Module = (
                embedding(spec.inputs, backbone.width)
                if spec.symbolic
                else nn.Linear(self.patch * (own_inputs + spec.shared), backbone.width)
            )
            self.beside = nn.Linear(spec.beside, backbone.width, bias=False) if spec.beside else None
            self.conditions = Conditions(given, backbone)
            self.trunk = Trunk(backbone, spec.block, spec.timed, bool(self.conditions.attended))
            self.head: nn.Linear | PackedMap = nn.Linear(backbone.width, self.patch * spec.outputs // self.channels)
            self.identity = embedding(self.channels, backbone.width) if self.channels > 1 else None
            # Embeddings are of the size of inputs; what they say as a head's weights begins small and grows.
            self.gain = nn.Parameter(torch.empty(())) if backbone.tie else None
            # What is no symbol, the weights of a prior's laws, is tied to none.
            untied = spec.outputs - space.total if backbone.tie and isinstance(space, Tokens) else 0
            self.untied = nn.Linear(backbone.width, untied, bias=False) if untied else None
        if seed is not None:
            self.allocate()
        self.own = own
        if seed is not None:
            self._initialise(seed)
        if backbone.tie:
            if not (spec.symbolic and isinstance(self.embed, nn.Embedding)):
                raise ConfigError("only a model of tokens can tie its ends", path="backbone.tie")
            self.head.register_parameter("weight", None)

    def _channels(self) -> int:
        """How many sequences an element is; ConfigError where its numbers cannot be sequences of their own."""
        if self.backbone.channels == "joint":
            return 1
        if not self.spec.channels:
            raise ConfigError(
                "only numbers that are all of one kind, of series that do not end, can be sequences of their own",
                path="backbone.channels",
                hint="use backbone.channels=joint; a head that takes numbers together, such as mixture, wants it too",
            )
        return self.spec.channels

    def _patch(self) -> int:
        """Elements of one position; ConfigError where positions must be told apart."""
        whole = self.spec.block is None and not self.spec.symbolic
        if self.backbone.patch > 1 and not whole:
            raise ConfigError(
                "only numbers that are all made at once can be patched",
                path="backbone.patch",
                hint="use backbone.patch=1",
            )
        return self.backbone.patch

    def allocate(self) -> None:
        """Give a network that was built without memory some, with whatever numbers stand there."""
        # As to_empty, which imports torch's compiler.
        self._apply(lambda x: torch.empty(x.shape, dtype=x.dtype) if x.is_meta else x)  # type: ignore[no-untyped-call]

    def _initialise(self, seed: int) -> None:
        def keyed(name: str) -> Generator:
            words = Rng.of(seed, zlib.crc32(name.encode())).at("weights").second
            return Generator().manual_seed(int(words[0]) >> 1)

        with torch.no_grad():
            for name, module in self.named_modules():
                generator = keyed(name)
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, std=module.in_features**-0.5, generator=generator)
                    if module.bias is not None:
                        module.bias.zero_()
                elif isinstance(module, nn.Embedding):
                    nn.init.normal_(module.weight, std=0.3, generator=generator)
                elif isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
                    module.weight.fill_(1.0)
                    if isinstance(module, nn.LayerNorm):
                        module.bias.zero_()
            for name, module in self.named_modules():
                own = getattr(module, "initialise", None)
                if own is not None:
                    own(keyed(f"{name}.own"))
            if self.identity is not None:
                self.identity.weight.mul_(0.1)
            if self.beside is not None:
                self.beside.weight.zero_()
            self.head.weight.mul_(0.1)  # small head weights: the first outputs are near those of no information
            if self.gain is not None:
                self.gain.fill_(1 / self.backbone.width)

    @property
    def width(self) -> int:
        """The number of features of a position."""
        return self.backbone.width

    @property
    def reach(self) -> int | None:
        """The longest stretch it can be trusted on at once; None where it may read on for ever."""
        return self.window if self.backbone.bounded or self.spec.block != 1 else None

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        bias = self.head.bias
        assert bias is not None
        return bias.dtype

    @property
    def _kind_of_head(self) -> torch.dtype:
        """What the products of the head are computed in."""
        half = self.reduced and self.training and self.spec.outputs >= MANY_OUTPUTS
        return torch.bfloat16 if half else self.dtype

    @property
    def separable(self) -> bool:
        """Whether known positions can be read by themselves: see `apart` of a call."""
        return all(mixer.follows_masks for mixer in self.backbone.mixers)

    @property
    def grows(self) -> bool:
        """Whether a state takes more room with every element that is read."""
        return any(mixer.grows for mixer in self.backbone.mixers)

    @property
    def kept(self) -> int:
        """Bytes by which the state of a row grows with every element that is read, at most."""
        return sum(8 * self.width * self.channels for mixer in self.backbone.mixers if mixer.grows)

    @property
    def aligned(self) -> tuple[str, ...]:
        """The conditions that have one element for each position."""
        return tuple(name for name, spec in self.conditions.specs.items() if spec.enters == "align")

    def encode(self, given: Mapping[str, Condition], rows: int) -> EncodedConditions | None:
        """Conditions as the trunk takes them; once a query, for keys and values of every layer are made here."""
        if not self.conditions.specs:
            return None
        encoded: EncodedConditions
        encoded, elements = self.conditions(given, rows)
        pairs = () if elements is None else tuple(x.expand(rows, -1, -1) for x in self.trunk.pairs(elements))
        return replace(encoded, pairs=pairs)

    def forward(self, x: Tensor, **inputs: Any) -> tuple[Tensor, NetState | None]:
        """Inputs (B,T) or (B,T,C) to outputs (B,T,P), or (B,K,P) at some positions; the rest as for `features`."""
        steps = x.shape[1]
        if steps == 1 and (stepped := self._stepped(x, inputs)) is not None:
            return stepped, inputs["state"]
        h, after = self.features(x, **inputs)
        out = self.outputs(h)
        return out[:, :steps] if self.patch > 1 else out, after

    def outputs(self, h: Tensor) -> Tensor:
        """Outputs (B,K,P) from features (B,K,width) of so many positions, or of patches of them."""
        kind = self._kind_of_head
        with nullcontext() if kind == self.dtype else torch.autocast(h.device.type, kind):
            out: Tensor = self.head(h) if self.gain is None else F.linear(h * self.gain, self._tied(), self.head.bias)
        if self.patch > 1:
            out = out.reshape(len(out), out.shape[1] * self.patch, -1)
        out = self._by_element(out)
        return out if out.dtype == torch.float64 else out.float()

    def _by_element(self, out: Tensor) -> Tensor:
        """Outputs of channels (B*D,K,P) as those of elements (B,K,P*D): all channels of one parameter after another."""
        if self.channels == 1:
            return out
        return out.view(-1, self.channels, *out.shape[1:]).permute(0, 2, 3, 1).flatten(2)

    def steps_alone(self, x: Tensor, inputs: Mapping[str, Any]) -> bool:
        """Whether each row reads one element by a program, in which it has the bits that it has by itself."""
        return self._one_each(x, inputs) and self.stepping.goes_on(self, len(x), inputs["state"])

    @staticmethod
    def _one_each(x: Tensor, inputs: Mapping[str, Any]) -> bool:
        """Whether every row reads one element into the state, and nothing else is told."""
        told = {name: value for name, value in inputs.items() if value is not None}
        where, count = told.pop("where", x), told.pop("count", None)
        one = x.shape[1] == 1 and where.shape[1] == 1 and count is not None and bool(count.all())
        return one and set(told) == {"state"}

    def _stepped(self, x: Tensor, inputs: Mapping[str, Any]) -> Tensor | None:
        """Outputs (B,1,P) by one program, where each row reads one element and there is such a program."""
        if not self._one_each(x, inputs):
            return None
        out = self.stepping.step(self, x[:, 0], inputs["state"])
        return None if out is None else self._by_element(out.unsqueeze(1))

    def costs(self, x: Tensor, cost: Cost, **inputs: Any) -> tuple[Tensor, NetState | None]:
        """What the outputs of a network of symbols cost at each position (B,T), and the state after them.

        Few of the outputs are ever there at once, and the inputs are those of a call.
        """
        h, after = self.features(x, **inputs)
        if isinstance(self.head, PackedMap):
            out: Tensor = self.head(h)
            return cost(out.flatten(0, 1), slice(0, h[..., 0].numel())).view(h.shape[:2]), after
        assert self.head.bias is not None
        h, weight = (h, self.head.weight) if self.gain is None else (h * self.gain, self._tied())
        return in_parts(h.flatten(0, 1), weight, self.head.bias, cost, self._kind_of_head).view(h.shape[:2]), after

    def features(
        self,
        x: Tensor,
        *,
        level: Tensor | None = None,
        given: EncodedConditions | None = None,
        present: Tensor | None = None,
        where: Tensor | None = None,
        state: NetState | None = None,
        count: Lengths | None = None,
        rng: Rng | None = None,
        begins: Tensor | None = None,
        position: Tensor | None = None,
        mask: Tensor | None = None,
        apart: Tensor | None = None,
        beside: Tensor | None = None,
    ) -> tuple[Tensor, NetState | None]:
        """Features (B,T,width), or (B,K,width) at positions `where` (B,K), of which outputs are made, and the state.

        `level` (B,1) or (B,T) is the noise level; `count` (B,) says how many of the chunk's inputs each row reads
        after `state`; `rng`, one key a row, turns dropout on. Rows go on as if nothing had been read before where
        `begins` (B,T) is True. `position` (B,T) is where each input stands on the canvas; None: one after another.
        `mask` (B|1,T,T) says which input attends to which, in place of the process's block. Positions that are `apart`
        (B,T) attend to each other alone and do not know the level, so a call with them and without a level, into a
        state, has read them once for all calls with the others; of a patch all must be. Into a state `count` and
        `position` are those of patches. `beside` (B,T,C) is seen beside the symbols.
        """
        if x.shape[1] % self.patch:
            x, present, apart = self._filled_up(x, present, apart)
        # Whatever reads without a state begins anyway; a tensor without numbers (meta) cannot be asked.
        if begins is not None and (begins.is_meta or not (begins if state else begins[:, 1:]).any()):
            begins = None
        if self.channels > 1:  # each channel is a row of its own, beside which all that goes with a row comes as often
            rows = np.repeat(np.arange(len(x)), self.channels)
            level, present, where, begins, position, mask, apart = (
                v if v is None or len(v) != len(x) else v.repeat_interleave(self.channels, 0)
                for v in (level, present, where, begins, position, mask, apart)
            )
            given = None if given is None else given.select(rows)
            count = None if count is None else count[rows]
            rng = None if rng is None else rng.select(rows)
            x = self._by_channel(x)
        if self.patch > 1:
            if level is not None and level.shape[1] > 1:
                raise ConfigError("a patch has one noise level", path="backbone.patch", hint="use process.levels=row")
            x = x.reshape(len(x), -1, self.patch * x.shape[2])  # (B,T/p,p*C)
            present = None if present is None else present.view(len(present), -1, self.patch).any(-1)
            apart = None if apart is None else apart.view(len(apart), -1, self.patch).all(-1)
        h = self.embed(x if self.spec.symbolic else x.to(self.dtype))
        if self.beside is not None and beside is not None:
            h = h + self.beside(beside.to(self.dtype))
        if self.identity is not None:
            h = h + self.identity.weight.repeat(len(h) // self.channels, 1)[:, None]
        if given is not None and (entering := self._entering(given, x, state, count, position)) is not None:
            h = h + entering
        half = self.reduced and self.training
        with torch.autocast(h.device.type, torch.bfloat16) if half else nullcontext():
            inputs = {
                "h": h,
                "level": None if level is None else level.to(h.dtype),
                "present": present,
                "masks": self.trunk.masks(rng, h.device),
            }
            plain = self.training and h.is_cuda and not (given and given.pairs)
            plain = plain and all(value is None for value in (state, begins, position, mask, apart))
            replayed = self.graphs(self.trunk, inputs, self.channels) if plain else None
            states: list[LayerState] = []
            if replayed is not None:
                h = replayed
            else:
                h, states = self.trunk(
                    **inputs,
                    attended=given.pairs if given else (),
                    visible=given.present if given else None,
                    states=state.layers if state else None,
                    count=count,
                    begins=begins,
                    position=position,
                    mask=mask if apart is None else ~apart.unsqueeze(2) | apart.unsqueeze(1),
                    apart=apart,
                    channels=self.channels,
                )
        h = h.to(self.dtype)  # a trunk without norms ends in what its layers were computed in
        if where is not None and (h.shape[1] > 1 or where.shape[1] > 1):
            h = h.take_along_dim(where.unsqueeze(-1), 1)
        return h, NetState(states, state.origin, state.each) if state is not None else None

    def _tied(self) -> Tensor:
        """The head's weights where they are those of the symbols that go in."""
        assert isinstance(self.embed, nn.Embedding)
        if self.untied is None:
            return self.embed.weight[: self.spec.outputs]
        return torch.cat([self.embed.weight[: self.spec.outputs - self.untied.out_features], self.untied.weight])

    def end_weight(self) -> Tensor:
        """The matrix (P,width) of the head, be it its own or tied."""
        weight: Tensor = self.head.weight if self.gain is None else self._tied() * self.gain
        return weight

    def _filled_up(
        self, x: Tensor, present: Tensor | None, apart: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Inputs (B,T,C) with blank elements that fill up the last patch, which elements exist, and which are apart."""
        extra = -x.shape[1] % self.patch
        present = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if present is None else present
        apart = None if apart is None else F.pad(apart, (0, extra), value=True)
        return self.spec.filled_up(x, extra), F.pad(present, (0, extra)), apart

    def _by_channel(self, x: Tensor) -> Tensor:
        """Inputs (B,T,C) with each channel as a row (B*D,T,C'); those that are shared come with all of them."""
        own, shared = x[..., : self.spec.inputs - self.spec.shared], x[..., self.spec.inputs - self.spec.shared :]
        own = own.reshape(*own.shape[:2], -1, self.channels).movedim(-1, 1)  # (B,D,T,M)
        shared = shared.unsqueeze(1).expand(-1, self.channels, -1, -1)
        return torch.cat([own, shared], -1).flatten(0, 1)

    def _entering(
        self,
        given: EncodedConditions,
        x: Tensor,
        state: NetState | None,
        count: Lengths | None,
        position: Tensor | None,
    ) -> Tensor | None:
        """What the conditions add at each input.

        Aligned ones are those of the canvas, in patches as the inputs (B,T,...), and the inputs go on where the state
        ends; in a stream, which reads without a `count`, they are cut with its chunks.
        """
        if given.aligned is None:
            return given.added
        if position is None:
            if state is None or count is None:
                return given.first(x.shape[1])
            begun = len(x) // state.each
            read = np.repeat(state.origin[:begun] + state.length[:begun], state.each)
            read = read[:1] if (read == read[0]).all() else read
            position = torch.as_tensor(read[:, None], device=x.device) + torch.arange(x.shape[1], device=x.device)
        return given.at(position if position.ndim == 2 else position[..., 0])

    def begin(self, rows: int, room: int | None = None, undo: int = 0) -> NetState:
        """An empty state for `rows` rows of at most `room` elements (needed where it `grows`)."""
        layers = [layer.mixer for layer in self.trunk.layers]
        each = self.channels
        states = [mixer.begin(rows * each, room, undo) for mixer in layers if isinstance(mixer, MixerModule)]
        return NetState(states, each=each)

    @contextmanager
    def watch(self) -> Iterator[dict[str, list[Tensor]]]:
        """While it lasts, weights of attention (B,H,T,S) and gates (B,T,D) are collected, one tensor a call.

        Their names are those of the modules with `.weights`, `.update`, `.forget` and the like. Outside
        the block nothing is computed for it.
        """
        seen: dict[str, list[Tensor]] = {}
        watchable = {name: module for name, module in self.named_modules() if hasattr(module, "watched")}

        def watcher(module: str) -> Watcher:
            return lambda kind, value: seen.setdefault(f"{module}.{kind}", []).append(value.detach())

        try:
            for name, module in watchable.items():
                module.watched = watcher(name)
            self.stepping.paused = True
            yield seen
        finally:
            self.stepping.paused = False
            for module in watchable.values():
                module.watched = None

    def lie_for_symbols(self) -> None:
        """Lay matrices as they are read fastest symbol by symbol, by the program where it knows this network."""
        if not self.stepping.knows(self):
            self.lie_by_columns()

    def lie_by_columns(self) -> None:
        """Lay matrices column by column, as products with few rows read them faster; their numbers stay.

        A text that is written symbol by symbol is made of such products. Many rows are as fast either way; training
        has its gradients and moments row by row.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear) or (isinstance(module, MixerModule) and module.by_columns):
                for parameter in module.parameters(recurse=False):
                    if parameter.ndim == 2:
                        parameter.data = parameter.data.t().contiguous().t()

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by kind: matrices inside the trunk, ends (embeddings and head), and vectors (biases, gains)."""
        kinds: dict[str, list[nn.Parameter]] = {"matrices": [], "ends": [], "vectors": []}
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                kinds["vectors"].append(parameter)
            elif name.startswith(("embed.", "beside.", "head.", "conditions.ends.", "own.")):
                kinds["ends"].append(parameter)
            else:
                kinds["matrices"].append(parameter)
        return kinds

    def stacks(self) -> dict[nn.Parameter, int]:
        """How many matrices lie one below the other in a parameter, for those of which there are several."""
        return {
            module.get_parameter(name): count
            for module in self.modules()
            for name, count in getattr(module, "stacked", {}).items()
        }

    @property
    def parameter_count(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.parameters())
