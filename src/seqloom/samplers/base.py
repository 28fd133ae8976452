"""Sampler: how guesses become samples, row by row. A sampler is a state machine of `ask` and `tell`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from seqloom.core.config import Component, members_of
from seqloom.core.errors import UnsupportedQuery
from seqloom.core.rng import Rng, pick
from seqloom.sequence.guess import Ask, Gives, Guess

Numbers = NDArray[Any]


class Following(Protocol):
    """What follows on elements that are made one after another: see `Sampler.run_on`."""

    def __call__(self, element: Tensor) -> Tensor | None:
        """The guess (B,V) after elements (B,), which stand on the canvas; None to stop."""
        ...

    def drawn(self, element: Tensor, u: NDArray[np.float64]) -> Tensor | None:
        """Symbols (B,K) drawn on elements (B,) from such guesses as they are, by one number of u (B,most) each.

        None where each guess must be asked for.
        """
        ...


@dataclass(frozen=True)
class Rows:
    """Rows on their way to being samples. All is on the host but `x`, which is on the device of the network.

    `x` (B,T[,D]); `settled` (B,T): the value is final (given, sampled, or beyond the row's `length`); `done` (B,);
    `key`, the row's random numbers. Rows of one `group` share every call, join and leave together; `member` is the
    place in it and orders it, no more. `origin` (B,) is the row of the request that a row stems from, and `null` (B,)
    says that it is asked without the request's conditions. `own` holds settings and memory of each row (B,...), `along`
    memory that follows the canvas (B,T,...), arrays or tensors. `source`, set by tell: row b's network state goes on
    from that of row source[b]; `shared` (B,) says how many elements the two had in common (None: none is known of).
    `symbols` is the number of different elements that are made, the first ones; 0 where they are vectors.
    """

    x: Tensor
    settled: NDArray[np.bool_]
    length: NDArray[np.int64]
    done: NDArray[np.bool_]
    key: Rng
    group: NDArray[np.int64]
    member: NDArray[np.int64]
    origin: NDArray[np.int64]
    null: NDArray[np.bool_]
    own: Mapping[str, Numbers] = field(default_factory=dict)
    along: Mapping[str, Any] = field(default_factory=dict)
    source: NDArray[np.int64] | None = None
    shared: NDArray[np.int64] | None = None
    symbols: int = 0

    def __len__(self) -> int:
        return len(self.length)

    def select(self, rows: NDArray[np.int64] | slice) -> Rows:
        """Some of the rows, in this order; one may come twice."""
        return Rows(
            self.x[rows],
            self.settled[rows],
            self.length[rows],
            self.done[rows],
            self.key.select(rows),
            self.group[rows],
            self.member[rows],
            self.origin[rows],
            self.null[rows],
            {name: value[rows] for name, value in self.own.items()},
            {name: value[rows] for name, value in self.along.items()},
            symbols=self.symbols,
        )

    def widen(self, length: int) -> Rows:
        """The same with room for `length` positions; what is added does not exist, so it counts as settled."""
        extra = length - self.x.shape[1]
        if extra == 0:
            return self
        return replace(
            self,
            x=stretch(self.x, extra),
            settled=np.pad(self.settled, ((0, 0), (0, extra)), constant_values=True),
            along={name: stretch(value, extra) for name, value in self.along.items()},
        )

    @staticmethod
    def join(parts: Sequence[Rows]) -> Rows:
        """Several sets of rows, one after another, padded to the longest."""
        if len(parts) == 1:
            return parts[0]
        longest = max(part.x.shape[1] for part in parts)
        wide = [part.widen(longest) for part in parts]
        return Rows(
            torch.cat([part.x for part in wide]),
            np.concatenate([part.settled for part in wide]),
            np.concatenate([part.length for part in wide]),
            np.concatenate([part.done for part in wide]),
            Rng.join([part.key for part in wide]),
            np.concatenate([part.group for part in wide]),
            np.concatenate([part.member for part in wide]),
            np.concatenate([part.origin for part in wide]),
            np.concatenate([part.null for part in wide]),
            {name: _stacked([part.own[name] for part in wide]) for name in wide[0].own},
            {name: joined([part.along[name] for part in wide]) for name in wide[0].along},
            symbols=wide[0].symbols,
        )

    def table(self) -> NDArray[np.int64]:
        """Row numbers by group and member (G,W), -1 where a group is narrower."""
        groups, group_index = np.unique(self.group, return_inverse=True)  # (G,), (B,)
        table = np.full((len(groups), int(self.member.max(initial=0)) + 1), -1)
        table[group_index, self.member] = np.arange(len(self))
        return table


class Sampler(Component, home="seqloom.samplers"):
    """How guesses become a sample. Settings of a query become values of its rows, so rows of many queries mix."""

    takes: ClassVar[tuple[Gives, ...]]
    by_row: ClassVar[tuple[str, ...]] = ()
    """Settings that become values of rows (`settings`): rows that differ in no others share a call of `tell`."""

    guidance: float = Field(default=1.0, ge=0)
    """Weight of the condition (classifier-free guidance, Ho & Salimans 2022): 1: the model as it is, 0: ignored."""

    def prepared(self, process: Any) -> Sampler:
        """The sampler that runs in its place: guidance is another one around it."""
        if self.guidance == 1:
            return self
        from seqloom.samplers.views import Guided

        return Guided(inner=self.replace(guidance=1.0), guidance=self.guidance).prepared(process)

    def check(self, gives: Gives, *, conditioned: bool, networks: int) -> None:
        """UnsupportedQuery where a model that gives this, with or without conditions, cannot be sampled like that."""
        if gives not in self.takes:
            kinds: dict[str, type[Sampler]] = members_of(Sampler)  # type: ignore[assignment]
            can = ", ".join(
                name for name, kind in kinds.items() if gives in kind.takes and "inner" not in kind.model_fields
            )
            raise UnsupportedQuery(
                f"the sampler {self.name!r} cannot use {gives.value}", hint=f"leave sampler unset, or take one of {can}"
            )

    @property
    def lane(self) -> tuple[object, ...]:
        """What is no value of a row: rows share a call of `tell` where it is equal."""
        values = [getattr(self, name) for name in type(self).model_fields if name not in self.by_row]
        return (type(self), *(value.lane if isinstance(value, Sampler) else repr(value) for value in values))

    def settings(self, rows: Rows) -> dict[str, Numbers]:
        """The settings `by_row`, as one value a row."""
        return {name: np.full(len(rows), getattr(self, name)) for name in self.by_row}

    @property
    def draws(self) -> bool:
        """Whether symbols are drawn at random, so that the seed matters."""
        return True

    @property
    def needs_gradient(self) -> bool:
        """Whether `tell` differentiates the guess with respect to `ask.x`."""
        return False

    @property
    def undo(self) -> int:
        """Elements read that it may take back, `fixed` falling behind what was read."""
        return 0

    @property
    def together(self) -> bool:
        """Whether the samples of a query are made of one another: they then belong into one request."""
        return False

    def rows_for(self, samples: int) -> int:
        """How many rows so many samples of one request take."""
        return samples

    def sized(self, rows: Rows, law: Numbers | None, end: int) -> Rows:
        """The rows as long as they are to be, where the model says that before what stands in them.

        `law` (B,T+1) has the logarithms of the chances that n = 0..T-1 elements stand before the `end`, and last that
        it is not on the canvas; None where rows may be of any length. Called before `start`.
        """
        if law is None:
            return rows
        u = rows.key.at("length").uniform(1)[:, 0]
        return cut(rows, pick(torch.as_tensor(law), u).numpy(), end)

    @abstractmethod
    def start(self, process: Any, rows: Rows) -> Rows:
        """Add this sampler's settings and memory to rows whose canvas is laid out (`along["shown"]` for vectors)."""

    @abstractmethod
    def ask(self, rows: Rows) -> Ask:
        """What the network is to see and where its guess is wanted. Pure."""

    @abstractmethod
    def tell(self, rows: Rows, ask: Ask, guess: Guess) -> Rows:
        """The rows after the guess. Consumes `rows`; never clears `done`, which others may set."""

    def ahead(self, rows: Rows) -> int:
        """How many elements all rows can be given by `run_on`, one after another; 0: each is asked for."""
        return 0

    def run_on(self, rows: Rows, most: int, following: Following) -> Rows:
        """As so many times `ask` and `tell`: following(element (B,)) is the guess (B,V) after it, None to stop.

        Each element stands on the canvas of `rows` before it is asked what follows.
        """
        raise NotImplementedError

    def ended(self, rows: Rows, numbers: NDArray[np.int64], lengths: NDArray[np.int64]) -> Rows:
        """The rows after some of them (`numbers`, at these lengths) came to an end; here each is cut and done."""
        rows.length[numbers] = lengths
        rows.settled[numbers] |= np.arange(rows.settled.shape[1]) >= lengths[:, None]
        rows.done[numbers] = True
        return rows

    def answer(self, rows: Rows) -> NDArray[np.int64]:
        """Which sample of its request each row (B,) is the answer to, -1 = none; here the first of each group."""
        return np.where(rows.member == 0, rows.origin, -1)

    def scores(self, rows: Rows) -> Numbers | None:
        """What each row (B,) is worth to a sampler that chooses between rows; None where it does not."""
        return None


def cut(rows: Rows, count: NDArray[np.int64], end: int) -> Rows:
    """The rows with the `end` after so many elements (B,), and no longer; as they are where that is off the canvas."""
    row = np.nonzero(count < rows.x.shape[1])[0]
    rows.x[row, count[row]] = end
    rows.length[row] = count[row] + 1
    rows.settled[row] |= np.arange(rows.x.shape[1]) >= count[row, None]
    return rows


def stretch(value: Any, extra: int) -> Any:
    """`extra` more positions of zeros along the second axis, of an array or a tensor."""
    if isinstance(value, np.ndarray):
        return np.pad(value, [(0, 0), (0, extra)] + [(0, 0)] * (value.ndim - 2))
    return torch.nn.functional.pad(value, (0, 0) * (value.ndim - 2) + (0, extra))


def _stacked(values: Sequence[Numbers]) -> Numbers:
    """Values of rows, one after another; tables of different widths (grids of steps) are filled with zeros."""
    if values[0].ndim == 1:
        return np.concatenate(values)
    width = max(value.shape[1] for value in values)
    return np.concatenate([np.pad(value, ((0, 0), (0, width - value.shape[1]))) for value in values])


def joined(values: Sequence[Any]) -> Any:
    """Arrays or tensors, one after another along the first axis."""
    return np.concatenate(values) if isinstance(values[0], np.ndarray) else torch.cat(list(values))
