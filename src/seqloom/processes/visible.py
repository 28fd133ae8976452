"""Cells of rows as far as features may read them, and what is counted of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from seqloom.sequence.batch import Past
from seqloom.sequence.laws import Laws

Sums = tuple[Tensor, Tensor, Tensor]
"""How many cells are known, their sum, and the sum of their squares, in float64 (B,K,D) each."""
Carried = dict[int, tuple[int, Sums]]
"""For windows of so many elements: where on the canvas the last one of all rows began, and its sums."""
ANEW = 64
"""Sums that move with a window are added up anew at every so many positions: what rounding adds up to stays small."""
FAR = 1e4
"""And where one leaves whose square is so many times the sum of what stays, whose last digits it took."""


@dataclass(frozen=True)
class Visible:
    """Cells of rows (B,T[,D]), as far as they may be seen.

    Every position may read the cells that are `shown`, and of the other `known` ones those that are filled before it:
    for an autoregressive model all before it, for one that fills in any order none (only those that are shown).
    `begins` (B,T) marks where a sequence begins inside a row (None: nowhere); `past` holds elements before the row.
    `ordered` says that positions are filled from left to right.
    """

    x: Tensor
    known: Tensor
    shown: Tensor
    begins: Tensor | None = None
    past: Past | None = None
    ordered: bool = True
    laws: Laws | None = None
    """What was counted in the training split beside the network."""
    carried: Carried | None = None
    offset: int = 0
    """Where on the canvas the first of these elements stands: what is carried from call to call goes by that."""

    def before(self, position: Tensor, *backs: int) -> list[tuple[Tensor, Tensor]]:
        """For each of `backs` the elements so far before these positions (B,K), and which of their cells are known.

        All are gathered at once: in decoding every small operation counts.
        """
        x, known, length = self._with_past
        if not backs:
            return []
        if self._sequence is None and position.shape[1] == 1 and (same := _same(position)) is not None:
            places = [max(0, same + length - back) for back in backs]  # slices are far faster than an index
            x, known = (torch.cat([cells[:, at : at + 1] for at in places], 1) for cells in (x, known))
            if same + length < max(backs):
                exists = torch.tensor([same + length >= back for back in backs], device=x.device)
                known = known & (exists.unsqueeze(-1) if x.ndim == 3 else exists)
            x = x.masked_fill(~known, 0)
            return list(zip(x.chunk(len(backs), 1), known.chunk(len(backs), 1), strict=True))
        if len(backs) > 1:
            offsets = torch.tensor(backs, device=position.device).repeat_interleave(position.shape[1])
            position = position.repeat(1, len(backs))
            index = position + length - offsets  # (B,M*K), into the past and x together
        else:
            index = position + (length - backs[0])
        exists = index >= 0
        index = index.clamp_min(0)
        if self._sequence is not None:
            own = self._sequence.take_along_dim(position + length, 1)
            exists &= self._sequence.take_along_dim(index, 1) == own
        if x.ndim == 3:
            index, exists = index.unsqueeze(-1), exists.unsqueeze(-1)
        known = known.take_along_dim(index, 1) & exists
        x = x.take_along_dim(index, 1).masked_fill(~known, 0)
        return list(zip(x.chunk(len(backs), 1), known.chunk(len(backs), 1), strict=True))

    def held(self, position: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """The `length` elements before these positions (B,K,D,L), the farthest first, and how many there are (B,K,D).

        A cell that is not known is as the last known one of the same sequence; they are counted from the first known
        one on, and what stands before it means nothing.
        """
        x, known, past = self._with_past
        index = torch.arange(x.shape[1], device=x.device)[None, :, None]
        last = torch.where(known, index, 0).cummax(1).values
        following = torch.where(known, index, x.shape[1]).flip(1).cummin(1).values.flip(1)
        end = position + past  # (B,K)
        begin = torch.zeros_like(end) if self._first is None else self._first.take_along_dim(end, 1)
        first = following.take_along_dim(begin.unsqueeze(-1), 1)
        filled = functional.pad(x.take_along_dim(last, 1), (0, 0, length, 0))
        before = filled.unfold(1, length, 1)  # (B,1+L+T,D,L), of each position
        start = int(end[0, 0])
        if bool((end == start + torch.arange(end.shape[1], device=end.device)).all()):
            before = before[:, start : start + end.shape[1]]
        else:
            before = before.take_along_dim(end[..., None, None], 1)
        return before, (end.unsqueeze(-1) - first).clamp(0, length)

    def sums(self, position: Tensor, length: int) -> Sums:
        """Of the `length` elements before these positions (B,K) that may be read, in float64 (B,K,D) each.

        How many cells are known, their sum, and the sum of their squares. Where positions are filled in any order all
        that is shown counts, wherever it stands.
        """
        x, known, past = self._with_past
        if not self.ordered:
            cells = self.known & self.shown
            if self.past is not None:
                cells = torch.cat([self.past.known, cells], 1)
            wide = x.double().masked_fill(~cells, 0.0)
            parts = (cells.double(), wide, wide**2)
            return tuple(part.sum(1, keepdim=True).expand(-1, position.shape[1], -1) for part in parts)  # type: ignore[return-value]
        end = position + past  # (B,K)
        begin = (end - length).clamp_min(0)
        if self._first is not None:
            begin = begin.maximum(self._first.take_along_dim(end, 1))
        if position.shape[1] == 1:  # its window alone is added up
            same = _same(end) if self._first is None else None
            if same is not None and same >= length:
                return self._moved(x, known, same - length, length)
            index = end.unsqueeze(-1) - length + torch.arange(length, device=end.device)  # (B,K,L)
            inside = (index >= begin.unsqueeze(-1)).flatten(1).unsqueeze(-1)  # (B,K*L,1)
            index = index.clamp_min(0).flatten(1).unsqueeze(-1)
            return _counted(x.take_along_dim(index, 1), known.take_along_dim(index, 1) & inside)
        counted = []
        for running in self._running:  # (B,1+L+T,D)
            ends, begins = (running.take_along_dim(at.unsqueeze(-1), 1) for at in (end, begin))
            counted.append(ends - begins)
        return counted[0], counted[1], counted[2]

    def _moved(self, x: Tensor, known: Tensor, first: int, length: int) -> Sums:
        """Sums over `length` elements from `first` on; from those of the last call where the window moved by one."""
        at, sums = self.offset + first, None
        before = None if self.carried is None else self.carried.get(length)
        if first and at % ANEW and before is not None and before[0] == at - 1:
            left, entered = (_counted(x[:, i : i + 1], known[:, i : i + 1]) for i in (first - 1, first + length - 1))
            count, total, squares = (kept + new - old for kept, new, old in zip(before[1], entered, left, strict=True))
            if not bool((left[2] > FAR * squares).any()):
                sums = count, total, squares
        if sums is None:
            sums = _counted(x[:, first : first + length], known[:, first : first + length])
        if self.carried is not None:
            self.carried[length] = at, sums
        return sums

    def differenced(self, share: float = 1.0) -> Visible:
        """Each cell less `share` of the one before it, known where both are, of the same sequence and shown."""
        x, known, past = self._with_past
        shown = self.shown if self.past is None else torch.cat([self.past.known, self.shown], 1)
        both = [cells & functional.pad(cells[:, :-1], (0, 0, 1, 0)) for cells in (known, shown)]
        if self._sequence is not None:
            both = [
                cells & (self._sequence == functional.pad(self._sequence[:, :-1], (1, 0))).unsqueeze(-1)
                for cells in both
            ]
        change = functional.pad(x[:, 1:] - share * x[:, :-1], (0, 0, 1, 0))
        before = None if self.past is None else Past(change[:, :past], both[0][:, :past])
        known, shown = (cells[:, past:] for cells in both)
        # What is carried from call to call are sums of the elements themselves.
        return replace(self, x=change[:, past:], known=known, shown=shown, past=before, carried=None)

    @cached_property
    def _running(self) -> tuple[Tensor, Tensor, Tensor]:
        """Running sums (B,1+L+T,D) of known cells, of their values and of their squares, over the past and the rows."""
        x, known, _ = self._with_past
        wide = x.double().masked_fill(~known, 0.0)
        one, two, three = (functional.pad(part.cumsum(1), (0, 0, 1, 0)) for part in (known.double(), wide, wide**2))
        return one, two, three

    @cached_property
    def _first(self) -> Tensor | None:
        """Where the sequence of each element begins in the past and the row; None where each row is of one."""
        if self._sequence is None:
            return None
        changes = functional.pad(self._sequence[:, 1:] != self._sequence[:, :-1], (1, 0))
        index = torch.arange(changes.shape[1], device=changes.device).expand(len(changes), -1)
        return index.masked_fill(~changes, 0).cummax(1).values

    @cached_property
    def _with_past(self) -> tuple[Tensor, Tensor, int]:
        """The past and the rows together, which of their cells are known, and how long the past is."""
        if self.past is None:
            return self.x, self.known, 0
        x, known = self.past.x.to(self.x), self.past.known
        return torch.cat([x, self.x], 1), torch.cat([known, self.known], 1), x.shape[1]

    @cached_property
    def _sequence(self) -> Tensor | None:
        """The number of each element's sequence in its row; None where each row is of one, which the past is of too."""
        # A tensor without numbers (meta) cannot be asked.
        if self.begins is None or not (self.begins.is_meta or self.begins[:, 1:].any()):
            return None
        return functional.pad(self.begins[:, 1:].cumsum(1), (self._with_past[2] + 1, 0))


def _same(position: Tensor) -> int | None:
    """The position (B,1) that all rows have; None where they do not. One that is read of all is far faster."""
    if position.is_meta or not len(position):
        return None
    first = position[0, 0]
    return int(first) if len(position) == 1 or bool((position == first).all()) else None


def _counted(x: Tensor, known: Tensor) -> Sums:
    """How many cells of each row's elements (B,L,D) are known, their sum and that of their squares, (B,1,D) each."""
    wide = x.double().masked_fill(~known, 0.0)
    return known.sum(1, keepdim=True).double(), wide.sum(1, keepdim=True), wide.square().sum(1, keepdim=True)
