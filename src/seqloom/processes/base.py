"""Process: what is learned. A loss, likelihoods, and the guess a sampler asks for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from seqloom.core.config import Component
from seqloom.core.rng import Rng
from seqloom.sequence.batch import Batch, Condition
from seqloom.sequence.facts import Advice, Facts
from seqloom.sequence.guess import Ask, Cost, Gives, Guess
from seqloom.sequence.laws import Counts, Laws
from seqloom.sequence.query import Kind
from seqloom.sequence.space import Space, Tokens
from seqloom.sequence.spec import NetworkSpec
from seqloom.sequence.state import Lengths, NetState, State

MANY = 4096
"""From so many symbols on, what positions cost is worked out without keeping their outputs (`Net.costs`)."""


class Net(Protocol):
    """What a process uses of a network; an oracle in a test is one too."""

    spec: NetworkSpec
    space: Space
    own: nn.Module | None
    laws: Laws | None
    dependence: NDArray[np.float64] | None
    patch: int

    @property
    def width(self) -> int: ...

    @property
    def reach(self) -> int | None: ...

    @property
    def grows(self) -> bool: ...

    @property
    def separable(self) -> bool: ...

    def __call__(
        self,
        x: Tensor,
        *,
        level: Tensor | None = None,
        given: Any = None,
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
    ) -> tuple[Tensor, NetState | None]: ...

    def costs(self, x: Tensor, cost: Cost, **inputs: Any) -> tuple[Tensor, NetState | None]: ...

    @property
    def features(self) -> Callable[..., tuple[Tensor, NetState | None]]: ...

    def outputs(self, h: Tensor) -> Tensor: ...

    def encode(self, given: Mapping[str, Condition], rows: int) -> Any: ...

    def begin(self, rows: int, room: int | None = None, undo: int = 0) -> NetState: ...


def cross_entropy(
    net: Net, read: Tensor, x: Tensor, counted: Tensor, symbols: int | None = None, **inputs: Any
) -> Tensor:
    """Minus log probability (B,T) of the symbols x where they are `counted`, by a network that reads `read` (B,T).

    Where `symbols` is given, the first so many outputs are their logits.
    """

    def cost(out: Tensor, part: slice) -> Tensor:
        own = counted.flatten()[part]
        nats = F.cross_entropy(out[..., :symbols], x.flatten()[part].masked_fill(~own, 0), reduction="none")
        return nats.masked_fill(~own, 0.0)

    if net.spec.outputs >= MANY:
        return net.costs(read, cost, **inputs)[0]
    out = net(read, **inputs)[0]
    return cost(out.flatten(0, 1), slice(None)).view(x.shape)


def strata(rng: Rng, count: int, device: torch.device) -> Tensor:
    """Times in (0, 1), one for each of so many rows or blocks, spread evenly over them: they vary less together."""
    return torch.as_tensor((float(rng.at("time").uniform(1)[0, 0]) + np.arange(count) / count) % 1.0, device=device)


def stateless(nats: Callable[[Net, Batch, Rng], Tensor]) -> Callable[[Net, Batch, Rng, Any], tuple[Tensor, None]]:
    """The `nats` of a likelihood whose windows are scored each by itself."""
    return lambda net, batch, rng, state: (nats(net, batch, rng), None)


@dataclass(frozen=True)
class Loss:
    """A sum of losses over `count` cells, and what the next chunk goes on from."""

    total: Tensor
    count: Tensor
    state: Any = None


@dataclass(frozen=True)
class Likelihood:
    """One way to score sequences: `nats(net, batch, rng, state)` gives nats (B,T) at each position, and a state.

    `reads` says how a long sequence is read: in chunks that carry state, or in windows. Where the value is drawn,
    `draws` repetitions are averaged and their spread gives the standard error. `share` limits it to so many windows
    unless all are asked for (it is expensive), None = all. `gradient`: it differentiates the network.
    """

    kind: Kind
    reads: Literal["stream", "windows"]
    nats: Callable[[Net, Batch, Rng, Any], tuple[Tensor, Any]]
    draws: int = 1
    share: int | None = None
    gradient: bool = False


class Process(Component, home="seqloom.processes"):
    """What is learned. Never sees a modality or a mixer."""

    gives: ClassVar[Gives]
    sampler: ClassVar[str]
    """The sampler that draws from the process's own distribution: the default of the verbs."""
    needs_gradient: ClassVar[bool] = False
    """Whether guesses and likelihoods differentiate the network (an energy)."""
    persistent: ClassVar[bool] = False
    """Whether state is kept from batch to batch whatever is read (chains that run on, running statistics)."""
    channels: ClassVar[tuple[str, ...]] = ("joint",)
    """The arrangements of a series' channels (`backbone.channels`) that suit it: what is advised is one of these."""

    @property
    def patched(self) -> bool:
        """Whether positions of the network are best several elements of a long series (`backbone.patch`)."""
        return False

    def independence(self, space: Space, channels: str) -> str:
        """What is to be said where numbers of an element are made independently of each other; else empty.

        `channels` says how they are arranged (`backbone.channels`).
        """
        if channels != "own" or isinstance(space, Tokens) or space.dim < 2:
            return ""
        return "each column is made without regard to the others (backbone.channels=own): their sums may be too narrow"

    def couples(self, space: Space) -> bool:
        """Whether numbers that are drawn independently can be coupled by what they have in common: `dependence`."""
        return False

    def dependence(self, net: Net, batches: Iterable[Batch]) -> NDArray[np.float64] | None:
        """The correlation (D,D) of a copula that couples the numbers of an element, from batches of training rows."""
        return None

    @property
    def likeliest(self) -> Mapping[str, Any]:
        """The settings of a sampler that makes about the likeliest sequence of symbols; empty where there is none."""
        return {}

    @property
    def past(self) -> int:
        """How many elements before a window are looked at; they come with each batch, unscored."""
        return 0

    def module(self, space: Space) -> nn.Module | None:
        """Trained tensors of its own, which the network holds as `own`."""
        return None

    @property
    def counts(self) -> Counts | None:
        """How the training split is counted before training; `Net.laws` has what came of it."""
        return None

    def start(self, net: Net, rows: int) -> State | None:
        """What a stream of `rows` rows goes on from at its very beginning; None where nothing is carried."""
        return None

    def kind_of_guess(self, space: Space) -> Gives:
        """What `guess` returns for this space."""
        return self.gives

    @abstractmethod
    def spec(self, space: Space) -> NetworkSpec:
        """The ends of the network for this space; UnsupportedSpace where there is no such model."""

    def advice(self, facts: Facts) -> Advice:
        """Its own settings that suit such data, where nobody sets them, each with the reason."""
        return {}

    @abstractmethod
    def loss(self, net: Net, batch: Batch, rng: Rng, state: Any = None, drop: Rng | None = None) -> Loss:
        """The training loss, as sums. `rng` (one key a row) draws noise, `drop` dropout."""

    def likelihoods(self) -> dict[str, Likelihood]:
        """The ways to score, the headline first; empty where there is none, and then the loss is what is watched."""
        return {}

    def read_known(self, net: Net, ask: Ask, before: Any = None, multiple: int = 1) -> Any:
        """What can be computed of an ask's known cells once, for all asks that know the same; None: nothing.

        `before` is what the last ask of the same rows gave: it is returned where it still holds. Calls of the network
        are of a `multiple` of rows, so that no row's numbers depend on how many there are.
        """
        return None

    def keeps(self, net: Net, ask: Ask) -> int:
        """How many numbers of each position it keeps of a row from call to call, in `Ask.kept`; 0: nothing.

        They go where the state of the row goes.
        """
        return 0

    def lengths(self, net: Net, ask: Ask) -> Tensor | None:
        """How long the canvases of an ask are to be; None where an end is made as other symbols are.

        The logarithms of the chances (B,T+1) that n = 0..T-1 elements stand before the end, and last that it is not on
        the canvas of T elements.
        """
        return None

    @abstractmethod
    def guess(
        self, net: Net, ask: Ask, state: NetState | None, limit: int | None = None
    ) -> tuple[Guess, NetState | None]:
        """The network's answer to what a sampler asks; each row reads at most `limit` elements in this call."""

    def steps_ahead(self, net: Net, ask: Ask, state: NetState, most: int) -> int:
        """How many elements can follow on those that were just drawn by calls of `following`, at most `most`.

        `ask` asks for the first of them. 0: each must be asked for, since its guess depends on more than the state.
        """
        return 0

    def draws_outputs(self, net: Net) -> bool:
        """Whether what `following` gives is what the network puts out, as it is or with a law beside it (`beside`)."""
        return False

    def beside(self, net: Net, ask: Ask, position: Lengths) -> Any:
        """The law that is added to the outputs of these positions (B,) and those after them (`kernels.ngram`)."""
        return None

    def following(self, net: Net, ask: Ask, position: Lengths, state: NetState) -> Tensor:
        """What `guess` gives (B,V) for these positions (B,) of the ask's canvas, of which the state has all but one."""
        raise NotImplementedError

    @property
    def block_size(self) -> int | None:
        """Positions are made in blocks of so many, each given all before it; None: all of a canvas together."""
        return None

    @property
    def embedded(self) -> int:
        """How many numbers symbols are diffused as; 0 where elements are diffused as they are, or not at all."""
        return 0

    @property
    def fills(self) -> bool:
        """Whether gaps can be filled though guesses are made from left to right: by `led`."""
        return False

    def led(self, space: Space, before: Tensor, after: Tensor, gap: int) -> Tensor:
        """What is read (B,L) ahead of a gap of so many elements that stands `before` (B,N) and `after` (B,M) others."""
        raise NotImplementedError

    @property
    def incremental(self) -> bool:
        """Whether guesses are made from a network state (what has been read), or from the whole canvas."""
        return False


@runtime_checkable
class Denoises(Protocol):
    """A process that learns the clean data behind Gaussian noise, and so has an equation of its probability flow."""

    def denoiser(self, net: Net, batch: Batch, rng: Rng) -> tuple[Tensor, Tensor, Callable[[Tensor, float], Tensor]]:
        """The numbers of a batch as they are diffused (B,T,D), what each costs by its scale (nats), and its denoiser.

        The denoiser gives the clean numbers that are guessed behind x + noise of this spread.
        """
        ...


def channels(x: Tensor, shown: Tensor, absent: Tensor) -> Tensor:
    """The three input channels of each number of a vector: value (0 where absent), shown, absent (B,T,3D)."""
    return torch.cat([x.masked_fill(absent, 0.0), shown.to(x.dtype), absent.to(x.dtype)], -1)
