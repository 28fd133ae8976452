"""Networks that know the truth, and the laws that samplers must follow, by enumeration."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from scipy.stats import chi2

from seqloom.core.rng import Rng
from seqloom.engine import Engine, Request
from seqloom.network.given import EncodedConditions
from seqloom.processes.schedules import Prediction
from seqloom.sequence.space import Field, Tokens, Vectors
from seqloom.sequence.spec import NetworkSpec
from seqloom.sequence.state import LayerState, NetState

Law = dict[tuple[int, ...], float]


def random_joint(size: int, steps: int, seed: int = 0) -> Law:
    """A law over strings that is far from uniform and has nothing independent in it."""
    strings = list(itertools.product(range(size), repeat=steps))
    weight = np.random.default_rng(seed).gamma(0.7, size=len(strings)) + 0.05
    return dict(zip(strings, (weight / weight.sum()).tolist(), strict=True))


def conditional(law: Law, seen: Mapping[int, int], position: int, size: int) -> np.ndarray:
    """P(x_position | the symbols that are seen)."""
    mass = np.zeros(size)
    for string, p in law.items():
        if all(string[i] == v for i, v in seen.items()):
            mass[string[position]] += p
    return mass / mass.sum()


def softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


class Oracle:
    """What processes and the engine want of a network, with a condition that is a flag: 1 given, 0 null."""

    def __init__(self, spec: NetworkSpec, space: Tokens | Vectors) -> None:
        self.spec, self.space, self.own = spec, space, None
        self.dependence = None
        self.calls = 0

    @property
    def reach(self) -> int | None:
        return None

    @property
    def separable(self) -> bool:
        return False

    @property
    def grows(self) -> bool:
        return True

    @property
    def aligned(self) -> tuple[str, ...]:
        return ()

    def encode(self, given, rows):
        return EncodedConditions(added=torch.full((rows, 1, 1), float(bool(given)), dtype=torch.float64))

    def begin(self, rows, room=None, undo=0):
        return NetState([Read(torch.zeros(rows, room, dtype=torch.int64), np.zeros(rows, np.int64))])

    def __call__(self, x, *, level=None, given=None, present=None, where=None, state=None, count=None, rng=None, **_):
        self.calls += 1
        if state is not None:
            state.layers[0].read(x, count)
            x = state.layers[0].symbols[: len(x)]
            where = where + torch.as_tensor(state.length[: len(x)] - count)[:, None]
        out = self.answer(x, level, torch.zeros(len(x)) if given is None else given.added[:, 0, 0])
        return (out if where is None else out.take_along_dim(where.unsqueeze(-1), 1)), state

    def answer(self, x, level, flag):
        raise NotImplementedError


class Read(LayerState):
    """A network state that is simply what was read."""

    def __init__(self, symbols, length):
        self.symbols, self.length = symbols, length

    def read(self, x, count):
        row, step = np.nonzero(np.arange(x.shape[1]) < count[:, None])
        self.symbols[row, self.length[row] + step] = x[row, step]
        self.length[: len(count)] += count

    def select(self, rows):
        return Read(self.symbols[rows], self.length[rows])

    def put(self, slots, other, rows, since=0):
        read = int(other.length[rows].max(initial=0))
        self.symbols[slots, :read] = other.symbols[rows, :read]
        self.length[slots] = other.length[rows]

    def rollback(self, length):
        self.length[: len(length)] = np.minimum(self.length[: len(length)], length)

    def detach(self):
        return self

    def tensors(self):
        return {"symbols": self.symbols, "length": torch.from_numpy(self.length)}

    def load(self, tensors):
        self.symbols, self.length = tensors["symbols"].clone(), tensors["length"].numpy().copy()


class TokenOracle(Oracle):
    """Logits from tables: what the network sees, as a tuple, to an array (T, V). The second table has the condition."""

    def __init__(self, plan, size, table: Callable[[tuple[int, ...]], np.ndarray], given=None):
        super().__init__(plan, Tokens(size=size))
        self.tables = [table, given or table]
        self.memory: dict[tuple[int, tuple[int, ...]], torch.Tensor] = {}

    def answer(self, x, level, flag):
        seen, inverse = np.unique(np.column_stack([flag.long().numpy(), x.numpy()]), axis=0, return_inverse=True)
        return torch.stack([self._row(tuple(map(int, row))) for row in seen])[inverse]

    def _row(self, row):
        if row not in self.memory:
            self.memory[row] = torch.as_tensor(self.tables[row[0]](row[1:]))
        return self.memory[row]


def next_table(law: Law, size: int):
    """Inputs (start, x_0, ...) to the logits of each next symbol."""

    def table(inputs):
        rows = []
        for t in range(len(inputs)):
            seen = dict(enumerate(inputs[1 : t + 1]))
            possible = all(0 <= v < size for v in seen.values())  # beyond what was read stands anything
            rows.append(np.log(conditional(law, seen, t, size)) if possible else np.zeros(size))
        return np.array(rows)

    return table


def position_table(law: Law, size: int):
    """A canvas with masks (symbol `size`) to the logits of each position: the conditionals of one consistent law."""

    def table(canvas):
        seen = {i: v for i, v in enumerate(canvas) if v != size}
        with np.errstate(divide="ignore"):
            return np.log([conditional(law, seen, t, size) for t in range(len(canvas))])

    return table


def random_positions(size: int, seed: int):
    """Logits of a network that no law is behind: another at every canvas."""

    def table(canvas):
        code = sum(v * (size + 1) ** i for i, v in enumerate(canvas))
        return np.random.default_rng([seed, code]).normal(size=(len(canvas), size))

    return table


def next_law(table, size: int, steps: int, prefix: Sequence[int] = (), bend=softmax) -> Law:
    """The law of drawing one after another from a table of next symbols, probabilities bent by the settings."""
    law: Law = {}
    for string in itertools.product(range(size), repeat=steps - len(prefix)):
        whole = (*prefix, *string)
        logits = table((size, *whole[:-1]))
        law[whole] = float(np.prod([bend(logits[t])[whole[t]] for t in range(len(prefix), steps)]))
    return law


def order_law(table, size: int, canvas: Sequence[int], groups: Sequence[Sequence[int]], bend=softmax) -> Law:
    """The law of filling these groups of positions one group after another, independently within each."""
    law: Law = {tuple(canvas): 1.0}
    for group in groups:
        grown: Law = {}
        for seen, p in law.items():
            probs = [bend(table(seen)[position]) for position in group]
            for symbols in itertools.product(range(size), repeat=len(group)):
                after = list(seen)
                for position, symbol in zip(group, symbols, strict=True):
                    after[position] = symbol
                weight = float(np.prod([q[s] for q, s in zip(probs, symbols, strict=True)]))
                grown[tuple(after)] = grown.get(tuple(after), 0.0) + p * weight
        law = grown
    return law


def unmask_law(table, size: int, canvas: Sequence[int], shares: Sequence[float] | None, bend=softmax) -> Law:
    """The law of unmasking: one by one in every order, or each position in step k with probability shares[k]."""
    hidden = [i for i, v in enumerate(canvas) if v == size]
    law: Law = {}
    alternatives: list[tuple[float, list[list[int]]]] = []
    if shares is None:
        orders = list(itertools.permutations(hidden))
        alternatives = [(1 / len(orders), [[position] for position in order]) for order in orders]
    else:
        for steps in itertools.product(range(len(shares)), repeat=len(hidden)):
            groups = [[p for p, s in zip(hidden, steps, strict=True) if s == k] for k in range(len(shares))]
            alternatives.append((float(np.prod([shares[s] for s in steps])), [g for g in groups if g]))
    for weight, groups in alternatives:
        for string, p in order_law(table, size, canvas, groups, bend).items():
            law[string] = law.get(string, 0.0) + weight * p
    return law


def chi_square(samples: np.ndarray, law: Law) -> float:
    """The p-value of samples (N,T) under a law; strings that are expected less than five times count as one."""
    total = sum(law.values())
    assert abs(total - 1) < 1e-9, f"the law sums to {total}"
    counts: dict[tuple[int, ...], int] = {}
    for row in samples.tolist():
        counts[tuple(row)] = counts.get(tuple(row), 0) + 1
    impossible = [s for s in counts if law.get(s, 0.0) < 1e-14]
    assert not impossible, f"{impossible[0]} cannot happen"
    common = [s for s, p in law.items() if p * len(samples) >= 5]
    seen = [counts.get(s, 0) for s in common]
    expected = [law[s] * len(samples) for s in common]
    seen.append(len(samples) - sum(seen))
    expected.append(len(samples) - sum(expected))
    if expected[-1] < 1e-6:
        assert seen[-1] == 0
        seen.pop(), expected.pop()
    statistic = sum((o - e) ** 2 / e for o, e in zip(seen, expected, strict=True))
    return float(chi2.sf(statistic, len(seen) - 1)) if len(seen) > 1 else 1.0


class GaussianOracle(Oracle):
    """The best denoiser of data N(mean, cov) over (T*D) numbers, expressed as any prediction.

    Shown cells enter clean, so what it says is conditioned on them. One pattern of shown cells a call.
    """

    def __init__(self, plan, mean, cov, prediction: Prediction, steps: int):
        self.width = len(mean) // steps
        super().__init__(plan, Vectors(fields=tuple(Field(name=str(i)) for i in range(self.width))))
        self.mean, self.cov, self.prediction = np.asarray(mean), np.asarray(cov), prediction

    def answer(self, x, level, flag):
        wide = self.width
        z, shown = x[..., :wide].double(), x[:, :, wide : 2 * wide].bool()
        log_nsr = 4 * level.double()[..., None]  # the network's input is log(sigma / alpha) / 4
        alpha, sigma = torch.sigmoid(-2 * log_nsr).sqrt(), torch.sigmoid(2 * log_nsr).sqrt()
        clean = torch.empty_like(z)
        for pattern in torch.unique(shown.flatten(1), dim=0):
            rows = (shown.flatten(1) == pattern).all(1)
            clean[rows] = self.denoised(z[rows], pattern.numpy(), alpha[rows], sigma[rows])
        return self.prediction.target(clean, (z - alpha * clean) / sigma, alpha, sigma)

    def denoised(self, z, shown, alpha, sigma):
        """E[x | z], of which the shown cells are x itself."""
        flat = z.flatten(1)
        mean, cov = self.given(flat[:, shown].detach().numpy(), shown)
        values, vectors = np.linalg.eigh(cov)
        values, vectors = torch.as_tensor(values), torch.as_tensor(vectors)
        a, s, hidden = alpha[:, 0], sigma[:, 0], torch.as_tensor(~shown)
        mean = torch.as_tensor(mean)
        pull = a * values / (a**2 * values + s**2)  # in the basis of the covariance, (B, n)
        clean = flat.clone()
        clean[:, hidden] = mean + ((flat[:, hidden] - a * mean) @ vectors * pull) @ vectors.T
        return clean.view_as(z)

    def given(self, known, shown):
        """Mean (B,n) and covariance (n,n) of the hidden cells given the shown ones."""
        hidden = ~shown
        gain = np.linalg.solve(self.cov[np.ix_(shown, shown)], self.cov[np.ix_(shown, hidden)]).T
        mean = self.mean[hidden] + (known - self.mean[shown]) @ gain.T
        return mean, self.cov[np.ix_(hidden, hidden)] - gain @ self.cov[np.ix_(shown, hidden)]


def sample(net, process, sampler, x, shown=None, seed=0, given=None, rows=None):
    """Canvas x (T[,D]) filled `rows` times by the engine, in calls of all rows at once: (rows, T[,D])."""
    count = 1 if rows is None else rows
    x = x.expand(count, *x.shape)
    shown = torch.zeros_like(x, dtype=torch.bool) if shown is None else shown.expand_as(x)
    key = Rng.of(seed, np.arange(count))
    request = Request(x.clone(), shown.clone(), torch.zeros_like(shown), sampler, key, given or {})
    done = {e.row: e.x for e in Engine(net, process, capacity=2 * count + 8).run(request) if e.done}
    return torch.stack([done[i] for i in range(count)])
