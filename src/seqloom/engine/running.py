"""Elements that are made one after another without a question between, where a sampler only ever goes on.

Each has the bits that it has when it is asked for by itself; what is saved is all that goes with a question.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqloom.engine.lanes import Lane
from seqloom.engine.network_rows import NetworkRows
from seqloom.network.network import Network
from seqloom.sequence.space import Space, Tokens

AHEAD = 512
"""So many elements of each row are made at most before anyone is told of them."""
TOGETHER = 16
"""So many symbols are drawn before it is looked at the clock."""
SECONDS = 0.03
"""And it is stopped after so long: those who watch, and requests that wait, are kept waiting no longer."""


class RunningOn:
    """What follows on each element, for all rows of a lane, until there is something to be looked at."""

    def __init__(self, lane: Lane, memory: NetworkRows, space: Space, never: Tensor, most: int) -> None:
        ask = lane.sampler.ask(lane.rows)
        self.ask = replace(ask, given=memory.given(0, [lane], None), begin=lane.begin)
        self.memory, self.position = memory, ask.want[:, 0].copy()
        self.never = never.to(ask.x.device)
        self.end = space.end if isinstance(space, Tokens) else None
        self.most, self.calls = most, 0
        self._until = time.perf_counter() + SECONDS
        self._over: Tensor | None = None

    def __call__(self, element: Tensor) -> Tensor | None:
        """The logits (B,V) after these elements (B,), which stand on the canvas; None: no more are to be made now."""
        if self.end is not None:
            over = element == self.end
            self._over = over if self._over is None else self._over | over
            if bool(self._over.all()):
                return None
        if self.calls == self.most or (self.calls and time.perf_counter() > self._until):
            return None
        self.calls += 1
        assert self.memory.state is not None
        value = self.memory.process.following(self.memory.net, self.ask, self.position, self.memory.state)
        self.position += 1
        return value.index_fill_(-1, self.never, -torch.inf) if len(self.never) else value

    def drawn(self, element: Tensor, u: NDArray[np.float64]) -> Tensor | None:
        """Symbols (B,K) drawn on these elements (B,), by one number of u (B,most) each from what follows as it is.

        K is 0 where no more are to be made now; None where each must be asked for.
        """
        memory, made = self.memory, []
        assert memory.state is not None
        network = memory.network
        if self.ask.given is not None or not isinstance(network, Network) or not memory.process.draws_outputs(network):
            return None
        law = memory.process.beside(network, self.ask, self.position)
        ended = np.zeros(len(u), bool) if self.end is None else (element == self.end).cpu().numpy()
        while self.calls < self.most and not ended.all() and not (self.calls and time.perf_counter() > self._until):
            chosen = u[:, self.calls : min(self.calls + TOGETHER, self.most)]
            new = network.stepping.draw(network, element, memory.state, chosen, self.never, self.end, ended, law)
            if new is None:
                return None
            made.append(new)
            element = new[:, -1]
            self.calls += new.shape[1]
        return torch.cat(made, 1) if made else element.new_zeros(len(u), 0)


def steps_ahead(lane: Lane, memory: NetworkRows, end: int | None, most: int) -> int:
    """How many elements all rows of a lane can be given at once; 0 where each must be asked for."""
    rows = lane.rows
    if memory.state is None or rows.done.any() or (lane.slot != np.arange(len(rows))).any():
        return 0
    most = min(most, lane.sampler.ahead(rows))
    if most < 1 or any(request.bias is not None for request, _ in lane.requests):
        return 0
    ask = lane.sampler.ask(rows)
    if any(one.constraint is not None and not one.constraint.over(ask.want) for one, _ in lane.requests):
        return 0
    if end is not None and ask.want.min() <= lane.last_known:  # no row may end before what is known
        return 0
    return memory.process.steps_ahead(memory.network, ask, memory.state, most)
