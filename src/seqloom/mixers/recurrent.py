"""Recurrent mixers: the plain network, the LSTM (Hochreiter & Schmidhuber 1997) and the GRU (Cho et al. 2014).

A recurrent mixer is one method, `Recurrent.step`: what comes out and what is remembered after one more element. Reading
in chunks, beginning anew inside one, going back, rows that read different numbers of elements and reading both ways
follow from it. Those of torch read whole sequences by their fused kernels.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from seqloom.core import machine
from seqloom.core.errors import ConfigError
from seqloom.kernels import rows as kernel
from seqloom.kernels import sequences
from seqloom.kernels.packed import LEAST, PackedMap
from seqloom.kernels.stack import Memory, Part, mapped, wide
from seqloom.mixers.base import Mixer, MixerModule, Watcher
from seqloom.mixers.twice import differentiable
from seqloom.sequence.state import LayerState, Lengths

# On a GPU torch says at every call that the weights are copied side by side: little beside what it then saves.
warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk of memory")

Cell = Literal["tanh", "relu", "lstm", "gru"]
GATES = {"lstm": ("input", "forget", "", "output"), "gru": ("reset", "update", "")}
"""The gates of a cell in the order of its weights; without a name, the candidate."""


class Rnn(Mixer, name="rnn"):
    """The plain recurrent network, h = f(W x + U h + b) (Elman 1990)."""

    timed_as: ClassVar[str] = "rnn"

    nonlinearity: Literal["tanh", "relu"] = "tanh"
    """f."""

    def build(self, width: int, block: int | None) -> MixerModule:
        return layer(partial(Gated, self.nonlinearity), width, block)


class Lstm(Mixer, name="lstm"):
    """Long short-term memory, with a forget gate that starts open (bias 1)."""

    timed_as: ClassVar[str] = "lstm"

    def build(self, width: int, block: int | None) -> MixerModule:
        return layer(partial(Gated, "lstm"), width, block)


class Gru(Mixer, name="gru"):
    """The gated recurrent unit, reset gate inside the candidate (as cuDNN and torch have it)."""

    timed_as: ClassVar[str] = "gru"

    def build(self, width: int, block: int | None) -> MixerModule:
        return layer(partial(Gated, "gru"), width, block)


def layer(module: Callable[[int, int], Recurrent], width: int, block: int | None) -> MixerModule:
    """The module of a recurrent mixer: `module(inputs, width)`, or two of half the width, one in each direction."""
    if block == 1:
        return module(width, width)
    if block is not None:
        raise ConfigError("a recurrent mixer reads causally or both ways, not in blocks", path="backbone.mixer")
    if width % 2:
        raise ConfigError("a network that reads both ways needs an even width", path="backbone.width")
    return BothWays(module(width, width // 2), module(width, width // 2))


class RecurrentState(LayerState):
    """The last states of each row in a ring: `values` (B, undo+1, *shape) has that after p elements at p mod (undo+1).

    `floor` (B,) is the earliest length that can still be gone back to.
    """

    def __init__(self, values: Tensor, length: Lengths, floor: Lengths | None = None) -> None:
        self.values = values
        self.length = length
        self.floor = length.copy() if floor is None else floor

    @property
    def ring(self) -> int:
        return self.values.shape[1]

    def now(self, rows: int) -> Tensor:
        """The present states (rows, *shape)."""
        if self.ring == 1:
            return self.values[:rows, 0]
        return self.values[np.arange(rows), self.length[:rows] % self.ring]

    def write(self, states: Tensor, rows: Lengths) -> None:
        """One more element read by `rows`: their states (len(rows), *shape)."""
        self.length[rows] += 1
        self.floor[rows] = np.maximum(self.floor[rows], self.length[rows] - self.ring + 1)
        self.values[rows, self.length[rows] % self.ring] = states

    def replace(self, states: Tensor) -> None:
        """One more element read by the first rows, where none can be gone back to: their states (rows, *shape)."""
        rows = len(states)
        self.length[:rows] += 1
        self.floor[:rows] = self.length[:rows]
        if rows == len(self.values):
            self.values = states.unsqueeze(1).clone()  # which is faster than to write into a part of it
        else:
            self.values[:rows, 0] = states

    def memory(self, rows: int, steps: int) -> Memory | None:
        plain = self.ring == 1 and self.values.dtype == torch.float32 and self.values.is_contiguous()
        return Memory(self.values) if plain else None

    def read_on(self, rows: int, steps: int) -> None:
        self.length[:rows] += steps
        self.floor[:rows] = self.length[:rows]

    def jump(self, states: Tensor, count: int) -> None:
        """`count` more elements read by the first rows at once; only what follows can be gone back to."""
        rows = np.arange(len(states))
        self.length[rows] += count
        self.floor[rows] = self.length[rows]
        self.values[rows, self.length[rows] % self.ring] = states

    def put(self, slots: Lengths, other: RecurrentState, rows: Lengths, since: int = 0) -> None:
        self.length[slots] = other.length[rows]
        if self.ring == other.ring:
            self.values[slots] = other.values[rows]
            self.floor[slots] = other.floor[rows]
        else:
            self.values[slots, self.length[slots] % self.ring] = other.values[rows, other.length[rows] % other.ring]
            self.floor[slots] = other.length[rows]

    def rollback(self, length: Lengths) -> None:
        rows = np.nonzero(length < self.length[: len(length)])[0]
        fresh = rows[length[rows] == 0]
        if (length[rows] < np.where(length[rows] == 0, 0, self.floor[rows])).any():
            raise ValueError("a recurrent state cannot be rolled back so far; begin it with a larger undo")
        self.length[rows] = length[rows]
        self.values[fresh] = 0
        self.floor[fresh] = 0


class Recurrent(MixerModule):
    """One causal layer that remembers numbers of a `shape` for each row, zeros before the first element."""

    replays = False  # cuDNN's kernels are few

    def __init__(self, width: int, shape: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.width = width
        self.shape = (width,) if shape is None else shape

    @abstractmethod
    def step(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """What comes out (B,D) and the next state (B,*shape), from one element (B,inputs) and the state before it."""

    def whole(self, h: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        """All outputs (B,T,D) and the last state (B,*shape); where there is a faster way than step by step, that."""
        outputs = []
        for x in h.unbind(1):
            out, start = self.step(x, start)
            outputs.append(out)
        return torch.stack(outputs, 1), start

    def read(self, h: Tensor, start: Tensor, begins: Tensor | None) -> tuple[Tensor, Tensor]:
        """As `whole`, where rows begin anew inside: it is read in stretches, cut wherever any row begins."""
        if begins is None:
            return self.whole(h, start)
        inner = np.nonzero(begins.any(0).cpu().numpy())[0]
        outputs = []
        for begin, end in pairwise(sorted({0, *inner.tolist(), h.shape[1]})):
            out, start = self.whole(h[:, begin:end], anew(start, begins[:, begin]))
            outputs.append(out)
        return torch.cat(outputs, 1), start

    def begin(self, rows: int, room: int | None = None, undo: int = 0) -> RecurrentState:
        values = next(self.parameters()).new_zeros(rows, undo + 1, *self.shape)
        return RecurrentState(values, np.zeros(rows, np.int64))

    def forward(
        self,
        h: Tensor,
        present: Tensor | None = None,
        state: LayerState | None = None,
        count: Lengths | None = None,
        begins: Tensor | None = None,
        position: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, LayerState | None]:
        unmasked(mask)
        if state is None:
            return self.read(h, h.new_zeros(len(h), *self.shape), begins)[0], None
        assert isinstance(state, RecurrentState)
        if count is None and state.ring == 1:
            out, last = self.read(h, state.now(len(h)), begins)
            return out, RecurrentState(last.unsqueeze(1), state.length + h.shape[1])
        if h.shape[1] == 1 and state.ring == 1 and begins is None and (count is None or count.all()):
            out, new = self.step(h[:, 0], state.now(len(h)))
            state.replace(new)
            return out.unsqueeze(1), state
        count = np.full(len(h), h.shape[1], np.int64) if count is None else count
        return self.steps(h, state, count, begins), state

    def steps(self, h: Tensor, state: RecurrentState, count: Lengths, begins: Tensor | None) -> Tensor:
        """Outputs (B,T,D) where each row reads a number of its own; those that have read theirs hold their state."""
        first = max(0, int(count.min()) - state.ring)  # these all rows read, and none can be gone back to
        outputs = []
        if first:
            out, last = self.read(h[:, :first], state.now(len(h)), None if begins is None else begins[:, :first])
            state.jump(last, first)
            outputs = list(out.unbind(1))
        for t in range(first, h.shape[1]):
            past = state.now(len(h))
            out, new = self.step(h[:, t], past if begins is None else anew(past, begins[:, t]))
            outputs.append(out)
            if state.ring == 1 and (t < count).all():
                state.replace(new)
                continue
            rows = np.nonzero(t < count)[0]
            state.write(new if len(rows) == len(new) else new[rows], rows)
        return outputs[0].unsqueeze(1) if len(outputs) == 1 else torch.stack(outputs, 1)


def anew(state: Tensor, begins: Tensor) -> Tensor:
    """States (B,*shape), zero in rows that begin (B,)."""
    return state.masked_fill(begins.view(-1, *[1] * (state.ndim - 1)), 0.0)


def unmasked(mask: Tensor | None) -> None:
    """ConfigError where a mask is given."""
    if mask is not None:
        raise ConfigError("a recurrent mixer reads in order and follows no mask", path="backbone.mixer")


class Gated(Recurrent):
    """The layers of torch: weights as in torch.nn.RNN, LSTM and GRU."""

    gates: ClassVar[dict[str, int]] = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}

    def __init__(self, cell: Cell, inputs: int, width: int) -> None:
        super().__init__(width, (2, width) if cell == "lstm" else (1, width))
        self.cell, self.by_columns = cell, cell == "lstm"
        self.timed_as = cell if cell in GATES else Rnn.timed_as
        self.stacked = dict.fromkeys(("weight_ih", "weight_hh"), self.gates[cell])
        rows = self.gates[cell] * width
        self.weight_ih = nn.Parameter(torch.empty(rows, inputs))
        self.weight_hh = nn.Parameter(torch.empty(rows, width))
        self.bias_ih = nn.Parameter(torch.empty(rows))
        self.bias_hh = nn.Parameter(torch.empty(rows))

    def initialise(self, generator: Generator) -> None:
        with torch.no_grad():
            for part in self.weight_ih.chunk(self.gates[self.cell]):
                nn.init.xavier_uniform_(part, generator=generator)
            for part in self.weight_hh.chunk(self.gates[self.cell]):
                nn.init.orthogonal_(part, generator=generator)
            self.bias_ih.zero_()
            self.bias_hh.zero_()
            if self.cell == "lstm":
                self.bias_ih[self.width : 2 * self.width] = 1.0

    def packed(self, kind: type[PackedMap]) -> MixerModule:
        if self.weight_hh.numel() < LEAST:
            return self
        enter, recur = kind(self.weight_ih, self.bias_ih), kind(self.weight_hh, self.bias_hh)
        return PackedGated(self.cell, self.width, enter, recur)

    def part(self) -> Part | None:
        enter, recur = wide(self.weight_ih, self.bias_ih), wide(self.weight_hh, self.bias_hh)
        return None if enter is None or recur is None else Part(self.cell, enter, recur)

    def whole(self, h: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        inputs = (h, start, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        if self.cell == "lstm":
            out, last = differentiable(self._fused, self._plain, *inputs)
        elif torch.is_grad_enabled() and sequences.suits(self.cell, *inputs):
            out, last = differentiable(partial(sequences.read, self.cell), self._fused, *inputs)
        else:
            out, last = self._fused(*inputs)
        self._watch(h, start, out)
        return out, last

    def _fused(self, h: Tensor, start: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        """Outputs and the last state by one kernel."""
        if h.is_cuda:  # by itself cuDNN takes TF32, where all other products keep their precision
            with machine.products(tf32=torch.backends.cuda.matmul.allow_tf32):
                return self._kernel(h, start, *(weight.contiguous() for weight in weights))
        return self._kernel(h, start, *weights)

    def _kernel(self, h: Tensor, start: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        first = start.transpose(0, 1).contiguous()  # (S,B,D): each part has a leading layer axis of one
        if self.cell == "lstm":
            parts = [first[:1], first[1:]]
            out, hidden, memory = torch.lstm(h, parts, weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)
            return out, torch.cat([hidden, memory]).transpose(0, 1).to(start.dtype)
        kernel = {"gru": torch.gru, "tanh": torch.rnn_tanh, "relu": torch.rnn_relu}[self.cell]
        out, hidden = kernel(h, first, weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)
        return out, hidden.transpose(0, 1).to(start.dtype)

    def _plain(self, h: Tensor, past: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        """The same, cell by cell."""
        outputs = []
        for x in h.unbind(1):
            out, past = self._cell(x, past, *weights)
            outputs.append(out)
        return torch.stack(outputs, 1), past

    def step(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        out, new = self._cell(x, past, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        self._watch(x.unsqueeze(1), past, out.unsqueeze(1))
        return out, new

    def _cell(self, x: Tensor, past: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        if self.cell == "lstm":
            if len(x) > 1 and not torch.is_grad_enabled():
                return lstm_step(x, past, *weights)
            hidden, memory = torch.lstm_cell(x, [past[:, 0], past[:, 1]], *weights)
            return hidden, torch.stack([hidden, memory], 1)
        kernel = {"gru": torch.gru_cell, "tanh": torch.rnn_tanh_cell, "relu": torch.rnn_relu_cell}[self.cell]
        hidden = kernel(x, past[:, 0], *weights)
        return hidden, hidden.unsqueeze(1)

    def _watch(self, h: Tensor, start: Tensor, out: Tensor) -> None:
        """The gates, worked out anew: the fused kernels do not return them."""
        if self.watched is None or self.cell not in GATES:
            return
        before = torch.cat([start[:, :1], out[:, :-1]], 1)
        sums = F.linear(h, self.weight_ih, self.bias_ih) + F.linear(before, self.weight_hh, self.bias_hh)
        _watch_gates(self.watched, self.cell, sums)


def lstm_step(
    x: Tensor, past: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """One step of an LSTM without a gradient, for several rows: torch.lstm_cell goes over the gates ten times.

    Of one row alone that costs less than the operations here.
    """
    return lstm_after(F.linear(x, weight_ih, bias_ih + bias_hh).addmm_(past[:, 0], weight_hh.t()), past)


def lstm_after(gates: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """What comes out of an LSTM and its state, from the sums (B,4*width) of its gates, which are overwritten.

    All gates take one pass, for tanh(v) = 2 sigmoid(2v) - 1.
    """
    width = past.shape[2]
    gates[:, 2 * width : 3 * width].mul_(2)
    enter, keep, candidate, leave = gates.sigmoid_().chunk(4, -1)
    new = torch.empty_like(past)
    memory = torch.mul(keep, past[:, 1], out=new[:, 1])
    memory.addcmul_(enter, candidate.mul_(2).sub_(1))
    hidden = torch.mul(memory, 2, out=new[:, 0]).sigmoid_().mul_(2).sub_(1).mul_(leave)
    return hidden, new


class PackedGated(Recurrent):
    """A layer of torch with its two matrices as maps: what comes in is mapped for all elements at once."""

    def __init__(self, cell: Cell, width: int, enter: PackedMap, recur: PackedMap) -> None:
        super().__init__(width, (2, width) if cell == "lstm" else (1, width))
        self.cell, self.enter, self.recur = cell, enter, recur

    def part(self) -> Part | None:
        enter, recur = mapped(self.enter), mapped(self.recur)
        return None if enter is None or recur is None else Part(self.cell, enter, recur)

    def whole(self, h: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
        outputs = []
        for entering in self.enter(h).unbind(1):
            out, start = self._after(entering, start)
            outputs.append(out)
        return torch.stack(outputs, 1), start

    def step(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        plain = self.watched is None and not torch.is_grad_enabled()
        if plain and self.cell == "lstm" and self.enter.suits(x) and self.recur.suits(past):
            new = self.enter.few_rows.lstm_step(self.recur.few_rows, x, past)
            return new[:, 0], new
        return self._after(self.enter(x), past)

    def _after(self, entering: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """What comes out and the state after it, from what an element adds to the gates (B,G*width)."""
        before = self.recur(past[:, 0])
        if self.watched is not None and self.cell in GATES:
            _watch_gates(self.watched, self.cell, (entering + before).unsqueeze(1))
        if self.cell == "lstm":
            if torch.is_grad_enabled():
                enter, keep, candidate, leave = (entering + before).chunk(4, -1)
                memory = keep.sigmoid() * past[:, 1] + enter.sigmoid() * candidate.tanh()
                return (hidden := leave.sigmoid() * memory.tanh()), torch.stack([hidden, memory], 1)
            if self.recur.fits and past.dtype == torch.float32:  # as `step` has it, to the last bit
                new = kernel.lstm_after(entering, before, past)
                return new[:, 0], new
            return lstm_after(entering + before, past)
        if self.cell == "gru":
            gates = (entering[:, : 2 * self.width] + before[:, : 2 * self.width]).sigmoid()
            reset, update = gates.chunk(2, -1)
            candidate = torch.addcmul(entering[:, 2 * self.width :], reset, before[:, 2 * self.width :]).tanh()
            hidden = torch.lerp(candidate, past[:, 0], update)
        else:
            hidden = (entering + before).tanh() if self.cell == "tanh" else (entering + before).relu()
        return hidden, hidden.unsqueeze(1)


def _watch_gates(watched: Watcher, cell: Cell, sums: Tensor) -> None:
    """Tell the gates (B,T,width) by name, from their sums (B,T,G*width)."""
    for name, part in zip(GATES[cell], sums.chunk(len(GATES[cell]), -1), strict=True):
        if name:
            watched(name, part.sigmoid())


class BothWays(MixerModule):
    """Two recurrent layers of half the width, one reading forwards and one backwards from each row's own end."""

    replays = False

    def __init__(self, ahead: Recurrent, back: Recurrent) -> None:
        super().__init__()
        self.ahead, self.back = ahead, back

    def begin(self, rows: int, room: int | None = None, undo: int = 0) -> LayerState:
        raise ValueError("a network that reads both ways keeps no state")

    def forward(
        self,
        h: Tensor,
        present: Tensor | None = None,
        state: LayerState | None = None,
        count: Lengths | None = None,
        begins: Tensor | None = None,
        position: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, LayerState | None]:
        unmasked(mask)
        ends = None if begins is None else F.pad(begins[:, 1:], (0, 1))  # backwards, a sequence begins at its end
        if present is None:
            back = self.back(h.flip(1), begins=None if ends is None else ends.flip(1))[0].flip(1)
        else:
            index = torch.arange(h.shape[1], device=h.device)
            last = present.sum(1, keepdim=True) - 1  # (B,1)
            turned = torch.where(index <= last, last - index, index)  # its own inverse
            ends = None if ends is None else ends.take_along_dim(turned, 1)
            turned = turned.unsqueeze(-1)
            back = self.back(h.take_along_dim(turned, 1), begins=ends)[0].take_along_dim(turned, 1)
        return torch.cat([self.ahead(h, begins=begins)[0], back], -1), None
