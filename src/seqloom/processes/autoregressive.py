"""Autoregressive models: each element from those before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from seqloom.core.errors import ConfigError, UnsupportedSpace
from seqloom.core.rng import Rng, pick
from seqloom.kernels.ngram import NgramKernel, RunningLaw
from seqloom.processes.base import MANY, Likelihood, Loss, Net, Process, channels
from seqloom.processes.composed import Composed
from seqloom.processes.dependence import correlation
from seqloom.processes.features import Feature, Read, Suited, about_level, counting, featured, framed, inputs_of
from seqloom.processes.filling import MARKS, led, rearranged
from seqloom.processes.heads import BoundHead, Categorical, Head
from seqloom.processes.priors import Mixture, NoPrior, Prior, advised, beforehand, with_laws
from seqloom.processes.visible import Carried, Visible
from seqloom.sequence.batch import Batch, Past
from seqloom.sequence.facts import Advice, Facts
from seqloom.sequence.guess import Ask, Gives, Guess
from seqloom.sequence.laws import Asked, Counts, SymbolLaws, asked_by, asked_of
from seqloom.sequence.space import Space, Tokens, Vectors
from seqloom.sequence.spec import NetworkSpec
from seqloom.sequence.state import Lengths, NetState
from seqloom.sequence.windows import slide

HIDDEN = 0.1
"""Share of training windows whose past is hidden, as it is for whatever begins from nothing."""
GAPS = 1 << 20
"""Dropout of the rows in which gaps are learned has keys of its own."""
MANY_SYMBOLS = 10_000
"""From so many symbols on rare ones are told apart only where one is meant."""
MANY_SEASONS = 50
"""From so many seasons on what stood beside one ago is an input too; fewer would be learned by heart."""
WEEK = 7
"""Days are the commonest season, and weeks the next."""


class Autoregressive(Process, name="autoregressive"):
    """p(x) = product of p(x_t | x_<t), exact; tokens by default with one probability a symbol, vectors by normals."""

    gives: ClassVar[Gives] = Gives.NEXT_LOGITS
    sampler: ClassVar[str] = "ancestral"
    channels: ClassVar[tuple[str, ...]] = ("joint", "own", "attend")

    head: Head | None = None
    """The distribution of one element; fields that it does not cover, or all where it is None, go by their support."""
    features: tuple[Feature, ...] = ()
    """What else is read off the canvas beside the network."""

    prior: Prior = NoPrior()
    """What counting says of the next symbol, beside the network: `ngram` or `none`."""
    scheduled_sampling: float = Field(default=0.0, ge=0, le=1)
    """The share of symbols that training reads as the model would have drawn them (Bengio et al. 2015, in two passes as
    Mihaylova & Martins 2019 have it): it learns to go on from its own. Twice the cost of a step."""

    infill: float = Field(default=0.0, ge=0, le=1)
    """The share of rows that training reads a second time, as a gap is filled: what follows it, what is before it, and
    then what stands in it (Bavarian et al. 2022). Without it a model only goes on from a beginning."""

    @property
    def likeliest(self) -> Mapping[str, Any]:
        return {"name": "beam"}

    @property
    def counts(self) -> Counts | None:
        return self.prior if self._gates else counting(self.features)

    @property
    def past(self) -> int:
        return max([1, self.prior.reach, *(feature.past for feature in self.features)])

    def independence(self, space: Space, channels: str) -> str:
        if channels == "own" or not self.couples(space):
            return super().independence(space, channels)
        return "the columns of a row are drawn independently, given the rows before: their sums may be too narrow"

    def kind_of_guess(self, space: Space) -> Gives:
        return Gives.NEXT_LOGITS if isinstance(space, Tokens) else Gives.NEXT_PARAMS

    @property
    def incremental(self) -> bool:
        return True

    @property
    def fills(self) -> bool:
        return self.infill > 0

    def led(self, space: Space, before: Tensor, after: Tensor, gap: int) -> Tensor:
        assert isinstance(space, Tokens)
        return led(space.total, before, after, gap)

    def head_for(self, space: Space) -> Head:
        """The head that is used for this space: fields that the one of the settings leaves have their support's."""
        if isinstance(space, Tokens):
            head = self.head or self._categorical
            if not head.fits(space):
                raise UnsupportedSpace(
                    f"the head {head.name!r} is no distribution over tokens", hint="leave process.head unset"
                )
            return head
        return self._composed

    @cached_property
    def _categorical(self) -> Head:
        return Categorical()

    @cached_property
    def _composed(self) -> Composed:
        return self.head if isinstance(self.head, Composed) else Composed(heads=(self.head,) if self.head else ())

    def module(self, space: Space) -> nn.Module | None:
        return self.head_for(space).module(space)

    def bound_head(self, net: Net) -> BoundHead:
        """The head with what it is used with."""
        return BoundHead(
            self.head_for(net.space),
            net.space,
            net.own,
            located=any(feature.located for feature in self.features),
            spread=any(feature.spread for feature in self.features),
            dependence=self._factor(net),
        )

    def _factor(self, net: Net) -> NDArray[np.float64] | None:
        """What couples the columns of an element in draws."""
        if net.dependence is None or not self.couples(net.space):
            return None
        return np.asarray(np.linalg.cholesky(net.dependence), np.float64)

    def couples(self, space: Space) -> bool:
        return isinstance(space, Vectors) and space.dim > 1 and bool(self._composed.channels(space))

    def dependence(self, net: Net, batches: Iterable[Batch]) -> NDArray[np.float64] | None:
        if not self.couples(net.space):
            return None
        return correlation(self._sides(net, batch) for batch in batches)

    def _sides(self, net: Net, batch: Batch) -> NDArray[np.float64]:
        """On which side of their medians the cells of a batch lie (N,D): 1, -1, and 0 where that is not known."""
        head, params, _ = self.distributions(net, batch, None)
        flat = params.flatten(0, 1).double()  # (N,P)
        keys = Rng.of(0, np.arange(len(flat)))
        middle = head.draw(flat, keys, torch.zeros(len(flat)))  # at temperature 0: the medians
        sides = (batch.x.flatten(0, 1) - middle).sign().masked_fill(~batch.wanted.flatten(0, 1), 0.0)
        return sides.double().cpu().numpy()

    def spec(self, space: Space) -> NetworkSpec:
        if self.scheduled_sampling and not isinstance(space, Tokens):
            raise UnsupportedSpace(
                "scheduled sampling draws symbols, and this is a model of numbers",
                hint="leave process.scheduled_sampling out",
            )
        if self.infill and not isinstance(space, Tokens):
            raise UnsupportedSpace(
                "gaps of symbols are learned, and this is a model of numbers", hint="use process=gaussian or flow"
            )
        size = self.head_for(space).size(space)
        beside = sum(feature.channels(space) for feature in self.features)
        if isinstance(space, Tokens):
            if beside:
                raise UnsupportedSpace(
                    "a model of symbols takes no channels beside them", hint="leave process.features unset"
                )
            size += len(self._gates)
            inputs = space.total + 1 + (MARKS if self.infill else 0)
            return NetworkSpec(True, inputs, size, block=1, timed=False, start=space.total)
        if self._gates:
            raise UnsupportedSpace(
                "a prior counts symbols, and this is a model of numbers", hint="leave process.prior out"
            )
        inputs, numbers = 3 * space.dim + beside + 1, self._composed.channels(space)
        return NetworkSpec(False, inputs, size, block=1, timed=False, channels=numbers, shared=1)

    @cached_property
    def _gates(self) -> tuple[float, ...]:
        return self.prior.gates(ordered=True)

    def advice(self, facts: Facts) -> Advice:
        if facts.tokens:
            rare = ({"name": "adaptive"}, "of so many symbols most are rare, and a step of the others costs less")
            return advised(facts, ordered=True) | (
                {"head": rare} if facts.symbols >= MANY_SYMBOLS and not facts.tied else {}
            )
        if facts.ends:
            pair = ({"name": "mixture"}, "two numbers of an element belong together")
            return {"head": pair} if facts.paired else {}
        head: tuple[dict[str, Any], str] = ({"name": "student"}, "now and then a value is far from what was expected")
        if facts.moving:
            head = ({"name": "student", "components": 3}, "what moves mostly goes on as it did, and now and then turns")
        if facts.lumpy and facts.counted:
            head = ({"name": "counts", "inflated": True}, "they are counts, and one comes again and again")
        elif facts.lumpy:
            head = ({"name": "binned"}, "one value comes again and again, such as days without rain")
        linear = 192 if facts.wanders else 0  # a season is gone by as the change since
        features = [about_level(facts, linear=linear, ordered=True), _changes(facts)]
        return featured(*features) | ({"head": head} if facts.numbers else {})

    def loss(self, net: Net, batch: Batch, rng: Rng, state: Any = None, drop: Rng | None = None) -> Loss:
        if batch.past is not None and not isinstance(net.space, Tokens):
            kept = torch.as_tensor(rng.at("past").uniform(1)[:, :, None] >= HIDDEN, device=batch.x.device)
            batch = replace(batch, past=Past(batch.past.x, batch.past.known & kept))
        read = batch if batch.noised is None else replace(batch, x=batch.noised)
        read = self._drawn(net, read, rng, state) if self.scheduled_sampling else read
        costs, state = self._costs(net, read, batch.x, state, drop, BoundHead.loss)
        loss = Loss(costs.sum(), batch.wanted.sum(), state)
        return self._with_gaps(loss, net, batch, rng, drop) if self.infill else loss

    def _with_gaps(self, loss: Loss, net: Net, batch: Batch, rng: Rng, drop: Rng | None) -> Loss:
        """The loss, and that of a share of the rows in which a gap is learned."""
        assert isinstance(net.space, Tokens)
        found = rearranged(batch, rng.at("infill"), self.infill, net.space.total)
        if found is None:
            return loss
        gaps, rows = found
        own = None if drop is None else drop.fork(GAPS).select(rows)
        costs, _ = self._costs(net, gaps, gaps.x, None, own, BoundHead.loss)
        return Loss(loss.total + costs.sum(), loss.count + gaps.wanted.sum(), loss.state)

    def _drawn(self, net: Net, batch: Batch, rng: Rng, state: Any) -> Batch:
        """The batch with a share of its symbols as the model draws them, given the true ones before."""
        with torch.no_grad():
            head, params, _ = self.distributions(net, batch, state)
        u = rng.at("drawn").uniform(2 * batch.x.shape[1])
        chosen = torch.as_tensor(u[:, : batch.x.shape[1]] < self.scheduled_sampling, device=batch.x.device)
        drawn = pick(head.logits(params), u[:, batch.x.shape[1] :])
        return replace(batch, x=torch.where(chosen & batch.wanted, drawn, batch.x))

    def likelihoods(self) -> dict[str, Likelihood]:
        return {"likelihood": Likelihood("exact", "stream", self.nats)}

    def nats(
        self, net: Net, batch: Batch, rng: Rng, state: NetState | None, drop: Rng | None = None
    ) -> tuple[Tensor, NetState | None]:
        """Minus log probability (B,T) of the wanted cells of each element, and the network's state after them."""
        return self._costs(net, batch, batch.x, state, drop, BoundHead.nats)

    def _costs(
        self,
        net: Net,
        batch: Batch,
        x: Tensor,
        state: NetState | None,
        drop: Rng | None,
        costs: Callable[[BoundHead, Tensor, Tensor, Tensor], Tensor],
    ) -> tuple[Tensor, NetState | None]:
        """What each element costs (B,T) by this method of the head, and the network's state after all of them."""
        plain = isinstance(net.space, Tokens) and not (self._gates or self.features or net.own)
        if not plain or net.spec.outputs < MANY:
            head, params, after = self.distributions(net, batch, state, drop)
            return costs(head, params, _like(x, params), batch.wanted), after
        bound = self.bound_head(net)

        def cost(out: Tensor, part: slice) -> Tensor:
            return costs(bound, out, x.flatten()[part], batch.wanted.flatten()[part])

        inputs, _, beside = self._read(net, batch, state, drop)
        return net.costs(inputs, cost, **beside)

    def distributions(
        self, net: Net, batch: Batch, state: NetState | None, drop: Rng | None = None
    ) -> tuple[BoundHead, Tensor, NetState | None]:
        """The head, its parameters (B,T,P) for each element given those before it, and the state after them.

        Without a state every row starts anew. With it, a row goes on, but where a sequence begins. What is looked back
        at beyond the first position is `batch.past`.
        """
        inputs, read, beside = self._read(net, batch, state, drop)
        seen = batch.known & self._counted(net, batch.x)
        asked = beforehand(net, self._gates, lambda: asked_of(batch, seen))
        out, after = net(inputs, **beside)
        head, out = self._counting(net, out, asked)
        return head, _params(head, out, read), after

    def _counting(self, net: Net, out: Tensor, asked: Callable[[], Asked]) -> tuple[BoundHead, Tensor]:
        """The head and what it is to take, with what counts say of the positions that are `asked` for."""
        head = self.bound_head(net)
        if not self._gates or net.laws is None or (head.head.direct and not self.prior.averaged):
            return head, with_laws(net, self._gates, out, asked)
        return replace(head, mixture=Mixture(cast(SymbolLaws, net.laws), asked(), self._gates[0])), out

    def _read(
        self, net: Net, batch: Batch, state: NetState | None, drop: Rng | None
    ) -> tuple[Tensor, Read, dict[str, Any]]:
        """What the network reads (B,T) or (B,T,C) of a batch, what the head is to take, and what goes with the call."""
        first = batch.begins
        if state is None:
            first = torch.cat([torch.ones_like(first[:, :1]), first[:, 1:]], 1)
        visible = Visible(
            batch.x, batch.known, batch.shown, batch.begins, batch.past, laws=net.laws if self.features else None
        )
        position = torch.arange(batch.x.shape[1], device=batch.x.device).expand(len(batch.x), -1)
        inputs, read = self.inputs(net, visible, position, first)
        given = net.encode(batch.given, len(batch.x))
        if self.infill and given is not None and given.aligned is not None:
            raise ConfigError(
                "what stands beside each element cannot be moved with it", path="process.infill", hint="leave it unset"
            )
        return inputs, read, dict(given=given, present=batch.present, state=state, rng=drop, begins=batch.begins)

    def start(self, net: Net, rows: int) -> NetState:
        return net.begin(rows)

    def inputs(self, net: Net, visible: Visible, position: Tensor, first: Tensor) -> tuple[Tensor, Read]:
        """What the network reads at these positions (B,K), and what the head is to take.

        `first` (B,K) marks those at which its reading begins.
        """
        read, frame = framed(self.features, net.space, visible, position)
        ((x, known),) = visible.before(position, 1)
        if isinstance(net.space, Tokens):
            assert net.spec.start is not None
            return x.masked_fill(first, net.spec.start), read
        natural = BoundHead(self._composed, net.space).natural(x.device)
        if natural is not None and frame is not None and read.location is not None:
            # Of counts and positive numbers the level is what is known: a season ago there may have been none.
            read = replace(read, location=torch.where(natural.cells, frame.location, read.location))
        beside = inputs_of(read, frame)
        own = channels(x if frame is None else frame.inside(x, known), known, ~known)
        # The start is a channel of its own, so the learned start vector is that channel's weight.
        parts = [own, *([] if beside is None else [beside]), first.unsqueeze(-1).to(x.dtype)]
        return torch.cat(parts, -1), read

    def read_known(self, net: Net, ask: Ask, before: Any = None, multiple: int = 1) -> Carried | None:
        """What features carry from call to call, as long as rows are the same."""
        if not self.features:
            return None
        return {} if before is None else before

    def guess(
        self, net: Net, ask: Ask, state: NetState | None, limit: int | None = None
    ) -> tuple[Guess, NetState | None]:
        assert state is not None
        now = _to_read(ask, state, net.reach, limit)
        reading = now.first[:, None] + np.arange(int(now.count.max(initial=1)))
        visible, position = self._visible(ask, reading, now.active)
        if self.features:
            visible = replace(visible, laws=net.laws)
        first_read = torch.as_tensor(reading <= now.origin[:, None], device=ask.x.device)
        inputs, read = self.inputs(net, visible, position, first_read)
        index = np.clip(ask.want - now.first[:, None], 0, inputs.shape[1] - 1)
        where = torch.as_tensor(index, device=inputs.device)
        parts = {}
        if ask.compared:
            h, state = net.features(inputs, given=ask.given, state=state, count=now.count)
            parts["similarity"] = similarity(h, now.first, now.count, ask.kept)
            out = net.outputs(h.take_along_dim(where.unsqueeze(-1), 1))
        else:
            out, state = net(inputs, given=ask.given, where=where, state=state, count=now.count)
        read = Read(
            location=_taken(read.location, where),
            log_scale=_taken(read.log_scale, where),
            logits=_taken(read.logits, where),
        )
        head, out = self._counting(net, out, lambda: self._asked(net, ask))
        value = _params(head, out, read)
        if isinstance(net.space, Tokens):
            return Guess(head.logits(value), now.ready, parts=parts), state
        return Guess(value, now.ready, head, parts), state

    def keeps(self, net: Net, ask: Ask) -> int:
        """Directions of what the network makes of each input, where these are compared."""
        return net.width if ask.compared else 0

    def _asked(self, net: Net, ask: Ask, want: Lengths | None = None) -> Asked:
        """Where laws of symbols are asked for; what no sequence holds is not known to them."""
        return asked_by(ask, self._counted(net, ask.x).cpu().numpy() if self.infill else None, want)

    def _counted(self, net: Net, x: Tensor) -> Tensor:
        """Which of these symbols are counted: all of the data's."""
        return x < net.space.total if isinstance(net.space, Tokens) else torch.ones_like(x, dtype=torch.bool)

    def steps_ahead(self, net: Net, ask: Ask, state: NetState, most: int) -> int:
        if self.features or not net.spec.symbolic:
            return 0
        rows = len(ask.want)
        at, origin = ask.want[:, 0], state.origin[:rows]
        if (at < 1).any() or (origin + state.length[:rows] != at).any():
            return 0
        steps = np.arange(most)
        return int((slide(at[:, None] + steps, net.reach) == origin[:, None]).all(0).cumprod().sum())

    def draws_outputs(self, net: Net) -> bool:
        counted = not self._gates or (net.laws is not None and cast(SymbolLaws, net.laws).kernel is not None)
        return counted and self.head_for(net.space).direct

    def beside(self, net: Net, ask: Ask, position: Lengths) -> RunningLaw | None:
        kernel: NgramKernel | None = cast(SymbolLaws, net.laws).kernel if self._gates else None
        if kernel is None:
            return None
        before = self._asked(net, ask, position[:, None]).before(self.prior.reach, kernel.size)
        return kernel.running(before, self._gates[0], self.prior.averaged)

    def following(self, net: Net, ask: Ask, position: Lengths, state: NetState) -> Tensor:
        x = ask.x.gather(1, torch.as_tensor(position - 1, device=ask.x.device).unsqueeze(1))
        out, _ = net(x, given=ask.given, where=torch.zeros_like(x), state=state, count=np.ones(len(x), np.int64))
        head, out = self._counting(net, out, lambda: self._asked(net, ask, position[:, None]))
        return head.logits(out)[:, 0]

    def _visible(self, ask: Ask, reading: Lengths, active: NDArray[np.bool_]) -> tuple[Visible, Tensor]:
        """What may be seen of the canvas when positions (B,K), one after another, are read; and where it has them.

        Of a long history that is only what features look back at: what a call costs does not grow with the canvas.
        Rows that are not `active` read nothing.
        """
        steps, device = ask.x.shape[1], ask.x.device
        position = torch.as_tensor(np.minimum(reading, steps - 1), device=device)
        if ask.x.ndim == 2 or not active.any() or not all(feature.local for feature in self.features):
            return Visible(*_cells(ask, slice(None))), position
        first = reading[:, 0] - self.past
        begin = int(first[active][0])
        if (first[active] == begin).all():
            # One more than is looked back at: what leaves a window is taken off the sums of the call before.
            near = slice(max(0, begin - 1), max(1, begin + self.past + reading.shape[1]))
            carried = ask.read if (ask.fixed >= reading[:, 0]).all() else None
            visible = Visible(*_cells(ask, near), carried=carried, offset=near.start)
            return visible, (position - near.start).clamp_min(0)
        cells = _cells(ask, slice(None))
        index = first[:, None] + np.arange(self.past + reading.shape[1])  # (B,past+K)
        exists = torch.as_tensor((index >= 0) & (index < steps), device=device).unsqueeze(-1)
        at = torch.as_tensor(np.clip(index, 0, steps - 1), device=device).unsqueeze(-1)
        x, known, shown = (cell.take_along_dim(at, 1) for cell in cells)
        return Visible(x, known & exists, shown & exists), position - torch.as_tensor(first, device=device)[:, None]


@dataclass(frozen=True)
class ToRead:
    """What rows (B,) read in one call: `count` inputs from position `first` on, of a window that begins at `origin`.

    Rows that are not `active` read nothing; those that are `ready` have then read all that their guess depends on.
    """

    active: NDArray[np.bool_]
    origin: Lengths
    first: Lengths
    count: Lengths
    ready: NDArray[np.bool_]


def _to_read(ask: Ask, state: NetState, reach: int | None, limit: int | None) -> ToRead:
    """What is to be read for an ask, at most `limit` inputs; a state that has read what has changed goes back."""
    rows, last = len(ask.want), ask.want.max(1)
    active = last >= 0
    origin = np.where(active, slide(last, reach), state.origin[:rows])
    moved = origin != state.origin[:rows]
    if moved.any():
        state.rollback(np.where(moved, 0, state.length[:rows]))
        state.origin[:rows] = origin
    first = np.where(ask.want >= 0, ask.want, np.iinfo(np.int64).max).min(1)
    read = np.where(active, np.minimum(state.length[:rows], np.minimum(ask.fixed, first) - origin), state.length[:rows])
    state.rollback(read)
    unread = np.where(active, last + 1 - origin - read, 0)
    count = unread if limit is None else np.minimum(unread, limit)
    return ToRead(active, origin, origin + read, count, active & (count == unread))


def similarity(h: Tensor, first: Lengths, count: Lengths, kept: Tensor | None) -> Tensor:
    """The greatest cosine (B,) of the features of the last element that was read with those of elements before it.

    Of features h (B,K,width) each row has read `count` (B,), from input `first` (B,) on; their directions are put into
    `kept` (B,T,width), where those read before stand. Input t reads element t - 1: there is none at the first.
    """
    direction = F.normalize(h, dim=-1)
    row, step = np.nonzero(np.arange(h.shape[1]) < count[:, None])
    if kept is None:
        kept = direction.new_zeros(len(h), int((first + count).max(initial=1)), h.shape[2])
    kept[row, first[row] + step] = direction[row, step].to(kept)
    last = torch.as_tensor(np.maximum(first + count - 1, 0), device=h.device)[:, None]
    position = torch.arange(kept.shape[1], device=h.device)
    before = (position > 0) & (position < last)
    cosine = (kept @ kept.take_along_dim(last.unsqueeze(-1), 1).mT)[..., 0]  # (B,T)
    return cosine.masked_fill(~before, -torch.inf).amax(1).masked_fill(~before.any(1), 0.0)


def _cells(ask: Ask, near: slice) -> tuple[Tensor, Tensor, Tensor]:
    """The canvas at some positions, which of its cells are known, and which are shown."""
    x = ask.x[:, near]
    known = torch.ones_like(x, dtype=torch.bool) if ask.absent is None else ~ask.absent[:, near]
    return x, known, known if ask.shown is None else ask.shown[:, near]


def _changes(facts: Facts) -> Suited:
    """A series is read with the seasons before, and what is learned is what has changed."""
    season = facts.season
    if season > 1:  # the last of all features, so that a change since then wins over a window's mean
        return {"lags": {"lags": _lags(facts), "difference": season}}, f"a season of {season} was found"
    if facts.wanders:
        # Read about the last value, that value itself is always 0: how it came there are the ones before it.
        reason = "the values wander: from the last ones it is seen where they are going"
        since = {} if facts.numbers else {"difference": 1}  # read about the last value it is the change since it
        return {"lags": {"lags": [2, 3]} | since}, reason
    return {}, ""


def _lags(facts: Facts) -> list[int]:
    """A season ago and several, as far as there are three times as many elements; of many also beside them."""
    season = facts.season
    beside = (-1, 0, 1) if season > 2 and facts.elements >= MANY_SEASONS * season else (0,)
    lags = [times * season + shift for times in (1, 2) for shift in beside] + [3 * season, WEEK * season]
    return [lag for lag in lags if lag <= season or 3 * lag <= facts.length]


def _like(x: Tensor, params: Tensor) -> Tensor:
    """Numbers in the precision of the parameters; symbols as they are."""
    return x.to(params.dtype) if x.is_floating_point() else x


def _params(head: BoundHead, out: Tensor, read: Read) -> Tensor:
    """The head's parameters at each position, with what features say of it."""
    if read.logits is not None:
        out = out + read.logits.to(out)
    beside = [(head.located, read.location), (head.spread, read.log_scale)]
    parts = [part.to(out) for used, part in beside if used and part is not None]
    return torch.cat([out, *parts], -1) if parts else out


def _taken(part: Tensor | None, where: Tensor) -> Tensor | None:
    """Of (B,T,N) the positions `where` (B,K)."""
    return None if part is None else part.take_along_dim(where.unsqueeze(-1), 1)
