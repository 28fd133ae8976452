"""Small recurrent networks that judge samples of series: classifiers, and predictors that learn from samples.

Several networks that differ in their first weights and in their batches are trained as one: weights between two of them
are held at zero, so each learns as it would alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from seqloom.core.rng import Rng

Numbers = NDArray[np.float64]
Indices = NDArray[np.int64]
Progress = Callable[[float], None]

BATCH = 128
TESTED = 0.2
"""The share of windows that a published classifier is tested on."""
RATE, STRONGER_RATE = 1e-3, 5e-3
HIDDEN, PREDICTING = 16, 16
"""Hidden units of the stronger classifier, and of a predictor whose training data are compared."""
FOLDS = 3
MOST_TESTED = 4000
"""Windows that a network is tested on, at most."""


class Networks:
    """Recurrent networks (GRU, one layer) side by side, each with outputs at every position.

    Args:
        count: How many.
        inputs, hidden, outputs: The sizes of each.
    """

    def __init__(self, count: int, inputs: int, hidden: int, outputs: int, rng: Rng) -> None:
        self.count, self.hidden = count, hidden
        bound = hidden**-0.5
        weights, masks = [], []
        shapes = [(3, hidden, inputs), (3, hidden, hidden), (3, hidden, 1), (3, hidden, 1), (1, outputs, hidden)]
        for number, (gates, rows, columns) in enumerate([*shapes, (1, outputs, 1)]):
            u = torch.from_numpy(rng.fork(number).uniform(gates * count * rows * columns)[0])
            values = ((2 * u - 1) * bound).float().view(gates, count, rows, columns)
            if number in {2, 3, 5}:  # biases
                weights.append(values.flatten())
                masks.append(torch.ones(values.numel()))
            else:  # one block a network along the diagonal, gate by gate
                weights.append(_diagonal(values))
                masks.append(_diagonal(torch.ones_like(values)))
        self.masks = masks
        self.weights = [weight.requires_grad_() for weight in weights]

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs (B,T,S,P) for inputs (B,T,S,D)."""
        into, within, one, two, out, last = (
            weight * mask for weight, mask in zip(self.weights, self.masks, strict=True)
        )
        begin = x.new_zeros(1, len(x), self.count * self.hidden)
        weights = [into, within, one, two]
        states, _ = torch.gru(x.flatten(2), begin, weights, True, 1, 0.0, torch.is_grad_enabled(), False, True)
        return functional.linear(states, out, last).view(*x.shape[:2], self.count, -1)

    def train(
        self, loss: Callable[[int], Tensor], iterations: int, rate: float, progress: Progress, decay: bool = False
    ) -> None:
        """Descend a loss, summed over the networks, of each step's batch, with Adam."""
        optimizer = torch.optim.Adam(self.weights, lr=rate, fused=True)
        with torch.inference_mode(False), torch.enable_grad():
            for step in range(iterations):
                if decay:
                    optimizer.param_groups[0]["lr"] = rate * (1 - step / iterations)
                optimizer.zero_grad()
                loss(step).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                progress((step + 1) / iterations)


def _diagonal(gates: Tensor) -> Tensor:
    """Blocks (G,S,R,C) along the diagonal of each gate, one gate below another (G*S*R,S*C)."""
    return torch.cat([torch.block_diag(*blocks) for blocks in gates])  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Draws:
    """Batches for several networks, each of which draws from windows of its own, by their numbers."""

    windows: Tensor
    pools: Sequence[Indices]
    rng: Rng
    size: int = BATCH

    def at(self, step: int) -> Tensor:
        """A batch (B,T,S,D)."""
        u = self.rng.fork(step).uniform(self.size * len(self.pools)).reshape(len(self.pools), -1)
        chosen = np.stack([pool[(own * len(pool)).astype(np.int64)] for pool, own in zip(self.pools, u, strict=True)])
        return _side_by_side(self.windows, chosen)


def _side_by_side(windows: Tensor, chosen: Indices) -> Tensor:
    """Windows (B,T,S,D) of these numbers (S,B)."""
    return windows[torch.from_numpy(chosen)].permute(1, 2, 0, 3)


def _shuffled(count: int, rng: Rng) -> Indices:
    return np.argsort(rng.uniform(count)[0])


def _tensor(windows: Numbers) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(windows, np.float32))


def _evenly(count: int, most: int = MOST_TESTED) -> Indices:
    """At most so many numbers below `count`, spread evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def _told_apart(real: Tensor, made: Tensor) -> Tensor:
    """The loss of logits (B,S) that should be positive for real windows and negative for the others."""
    return functional.softplus(-real).mean(0).sum() + functional.softplus(made).mean(0).sum()


# ---- as published ---------------------------------------------------------------------------------------------------


def discriminative(
    made: Numbers, real: Numbers, seeds: int, iterations: int, rng: Rng, progress: Progress
) -> list[float]:
    """How far classifiers are from guessing, |accuracy - 1/2|, one a seed (Yoon et al. 2019).

    Windows are in units of the range of the training data. Four fifths of each kind are learned from, and the rest is
    told apart by a recurrent network with half as many hidden units as there are channels. Both kinds count alike,
    however many there are of each: as published where these are as many, and else what guesses has 0 too. Windows of
    one series that overlap stand on both sides, so the test is weaker than it looks.
    """
    networks = Networks(seeds, real.shape[2], max(1, real.shape[2] // 2), 1, rng.fork(1))
    sides = [_tensor(real), _tensor(made)]
    orders = [[_shuffled(len(side), rng.fork(2 + i).fork(s)) for s in range(seeds)] for i, side in enumerate(sides)]
    parts = [max(1, int(TESTED * len(side))) for side in sides]
    draws = [
        Draws(side, [order[part:] for order in own], rng.fork(4 + i))
        for i, (side, own, part) in enumerate(zip(sides, orders, parts, strict=True))
    ]

    def loss(step: int) -> Tensor:
        x = torch.cat([draw.at(step) for draw in draws])
        logits = networks(x)[:, -1, :, 0]  # (2B,S)
        return _told_apart(logits[:BATCH], logits[BATCH:]) / 2

    networks.train(loss, iterations, RATE, progress)
    right = np.zeros(seeds)
    with torch.no_grad():
        for i, (side, own, part) in enumerate(zip(sides, orders, parts, strict=True)):
            x = _side_by_side(side, np.stack([order[:part] for order in own]))
            real_by_it = networks(x)[:, -1, :, 0] > 0
            right += (real_by_it if i == 0 else ~real_by_it).double().mean(0).numpy()
    return [abs(float(one) / len(sides) - 0.5) for one in right]


def predictive(made: Numbers, real: Numbers, seeds: int, iterations: int, rng: Rng, progress: Progress) -> list[float]:
    """The mean absolute error, on real windows, of the last channel's next value, by networks that saw samples alone.

    One a seed (Yoon et al. 2019), in units of the range. The other channels are read; of a single one, itself.
    """
    width = real.shape[2]
    read = max(1, width - 1)
    networks = Networks(seeds, read, max(1, width // 2), 1, rng.fork(1))
    draws = Draws(_tensor(made), [np.arange(len(made))] * seeds, rng.fork(2))

    def errors(x: Tensor) -> Tensor:
        return (torch.sigmoid(networks(x[:, :-1, :, :read])[..., 0]) - x[:, 1:, :, -1]).abs()  # (B,T-1,S)

    networks.train(lambda step: errors(draws.at(step)).mean((0, 1)).sum(), iterations, RATE, progress)
    with torch.no_grad():
        tested = _tensor(real[_evenly(len(real))])
        return [float(one) for one in errors(tested.unsqueeze(2).expand(-1, -1, seeds, -1)).double().mean((0, 1))]


# ---- stronger -------------------------------------------------------------------------------------------------------


def two_sample(
    made: Numbers, blocks: Sequence[Numbers], iterations: int, rng: Rng, progress: Progress
) -> tuple[float, float]:
    """The accuracy of a larger classifier on blocks of time that it has not seen, and its standard error.

    One half says that it cannot tell real from made (a classifier two-sample test, Lopez-Paz & Oquab 2017). Windows are
    in spreads of the training data, and their changes from row to row are read, too. No real window that is tested
    overlaps one that is learned from: each of FOLDS classifiers leaves out its own blocks. The error is that of the
    mean over blocks, for windows of one block are alike.
    """
    folds = min(FOLDS, len(blocks))
    owner = _shuffled(len(blocks), rng.fork(1)) % folds  # which fold tests a block
    real = _tensor(_with_changes(np.concatenate(blocks)))
    samples = _tensor(_with_changes(made))
    begins = np.cumsum([0, *map(len, blocks)])
    numbers = [np.arange(begin, end) for begin, end in pairwise(begins)]
    learned = [
        np.concatenate([own for own, fold in zip(numbers, owner, strict=True) if fold != f]) for f in range(folds)
    ]
    order = _shuffled(len(made), rng.fork(2))
    networks = Networks(folds, real.shape[2], HIDDEN, 1, rng.fork(3))
    draws = [
        Draws(real, learned, rng.fork(4)),
        Draws(samples, [np.sort(order[np.arange(len(order)) % folds != f]) for f in range(folds)], rng.fork(5)),
    ]

    def logits(x: Tensor) -> Tensor:
        return networks(x)[..., 0].mean(1)  # (B,S): each position has read what precedes it

    def loss(step: int) -> Tensor:
        both = logits(torch.cat([draw.at(step) for draw in draws]))
        return _told_apart(both[:BATCH], both[BATCH:])

    networks.train(loss, iterations, STRONGER_RATE, progress, decay=True)

    def judged(windows: Tensor, fold: int) -> Numbers:
        x = windows.unsqueeze(2).expand(-1, -1, folds, -1)
        return np.asarray((logits(x)[:, fold] > 0).double(), np.float64)

    with torch.no_grad():
        each = max(1, MOST_TESTED // len(blocks))
        by_block = np.array(
            [judged(real[own[_evenly(len(own), each)]], f).mean() for own, f in zip(numbers, owner, strict=True)]
        )
        parts = [order[np.arange(len(order)) % folds == f][:MOST_TESTED] for f in range(folds)]
        told = np.concatenate([1 - judged(samples[part], f) for f, part in enumerate(parts)])
    variance = (by_block.var(ddof=1) / len(by_block) if len(by_block) > 1 else 0.25) + told.var() / len(told)
    return float(by_block.mean() + told.mean()) / 2, float(np.sqrt(variance)) / 2


def _with_changes(windows: Numbers) -> Numbers:
    """Windows (N,T,2D) with the change from row to row beside each value, in units of its spread."""
    change = np.diff(windows, axis=1, prepend=windows[:, :1])
    spread = change.std((0, 1))
    return np.concatenate([windows, change / np.where(spread > 0, spread, 1.0)], 2)


def prediction_error(
    learned: Numbers, tested: Numbers, seeds: int, iterations: int, rng: Rng, progress: Progress
) -> list[float]:
    """The error of the next row on `tested`, by networks that saw `learned`, relative to repeating the last row.

    The mean absolute error over all channels, one a seed. All is read from the first row of a window on, so that a
    level that has shifted says nothing.
    """
    change = np.abs(np.diff(tested, axis=1)).mean((0, 1))
    unit = np.where(change > 0, change, 1.0)
    networks = Networks(seeds, learned.shape[2], PREDICTING, learned.shape[2], rng.fork(1))
    draws = Draws(_tensor(_from_first(learned) / unit), [np.arange(len(learned))] * seeds, rng.fork(2))
    reach = tested.shape[1] ** 0.5

    def errors(x: Tensor) -> Tensor:
        return (networks(x[:, :-1] / reach) - (x[:, 1:] - x[:, :-1])).abs().mean(3)  # (B,T-1,S)

    networks.train(
        lambda step: errors(draws.at(step)).mean((0, 1)).sum(), iterations, STRONGER_RATE, progress, decay=True
    )
    with torch.no_grad():
        x = _tensor(_from_first(tested[_evenly(len(tested))]) / unit)
        return [float(one) for one in errors(x.unsqueeze(2).expand(-1, -1, seeds, -1)).double().mean((0, 1))]


def _from_first(windows: Numbers) -> Numbers:
    return windows - windows[:, :1]
