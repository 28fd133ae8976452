"""Random numbers that belong to a row: a counter-based keyed hash of (seed, row, purpose, step, element).

Nothing here has a hidden stream: the same key gives the same words on every device, in numpy and in torch, whatever
else is drawn beside it. All arithmetic is modulo 2^64 (SplitMix64's finaliser with a key mixed in, after Steele et
al. 2014, "Fast splittable pseudorandom number generators").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seqloom.core.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

Words = NDArray[np.uint64]

SEEDS = 2**63
"""Seeds are below this."""

_G = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)


def checked_seed(seed: int, path: str = "seed") -> int:
    """The same seed; ConfigError where it is none, under the name by which it was given."""
    if not 0 <= seed < SEEDS:
        raise ConfigError(f"{seed} is no seed", path=path, hint=f"a whole number from 0 to {SEEDS - 1}")
    return seed


class Rng:
    """The keys of some rows: two words a row, from which every number of that row follows.

    `Rng.of(seed, row)` makes the key of a row; `at(purpose, step)` narrows it, once, to one use at one step; then
    `words`, `uniform`, `normal` and `pick` give the numbers of elements 0, 1, 2, ... (below 2^32) of that use.

    A row that is `mirrored` (B,) has 1 - u for each uniform number u of its key, and so -z for each normal one: the
    antithetic variate of the row that is not (Hammersley & Morton 1956).
    """

    __slots__ = ("first", "mirrored", "second")

    def __init__(self, first: Words, second: Words, mirrored: NDArray[np.bool_] | None = None) -> None:
        self.first = first
        self.second = second
        self.mirrored = mirrored

    @classmethod
    def of(cls, seed: int | NDArray[np.int64], row: int | NDArray[np.int64]) -> Rng:
        """Keys for rows `row` (one number or an array (B,)) of seed `seed`."""
        with np.errstate(over="ignore"):
            seeds, rows = np.atleast_1d(_word(seed)), np.atleast_1d(_word(row))
            a = _mix(seeds * _G + rows)
            a = _mix(a + rows * _M2 + np.uint64(1))
            return cls(a, _mix(a * _G + np.uint64(7)))

    def __len__(self) -> int:
        return len(self.first)

    def select(self, rows: NDArray[np.int64] | slice) -> Rng:
        """The keys of some of the rows."""
        return Rng(self.first[rows], self.second[rows], None if self.mirrored is None else self.mirrored[rows])

    @classmethod
    def in_pairs(cls, seed: int, row: NDArray[np.int64]) -> Rng:
        """Keys of which rows 2i and 2i + 1 share one, the second mirrored."""
        whole = cls.of(seed, row // 2)
        return cls(whole.first, whole.second, row % 2 == 1)

    @property
    def signs(self) -> NDArray[np.float64]:
        """-1 for each row (B,) that is mirrored, and 1."""
        return np.ones(len(self)) if self.mirrored is None else np.where(self.mirrored, -1.0, 1.0)

    @property
    def plain(self) -> Rng:
        """The same keys, none of them mirrored."""
        return Rng(self.first, self.second)

    @staticmethod
    def join(keys: Sequence[Rng]) -> Rng:
        """The keys of several groups of rows, one after another."""
        mirrored = None
        if any(k.mirrored is not None for k in keys):
            mirrored = np.concatenate([np.zeros(len(k), bool) if k.mirrored is None else k.mirrored for k in keys])
        return Rng(np.concatenate([k.first for k in keys]), np.concatenate([k.second for k in keys]), mirrored)

    def at(self, purpose: str, step: int | NDArray[np.int64] = 0) -> Rng:
        """The keys for one purpose at one step (below 2^32; one number, or one a row). At most once on a key."""
        with np.errstate(over="ignore"):
            first = self.first + _G * (fnv(purpose) + (_word(step) << np.uint64(32)))
        return Rng(first, self.second, self.mirrored)

    def fork(self, member: int | NDArray[np.int64]) -> Rng:
        """Keys of their own for the members or stages of a row."""
        forked = Rng.of(self.second.view(np.int64), member)
        return Rng(forked.first, forked.second, self.mirrored)

    def skip(self, count: int) -> Rng:
        """The same keys, of which the first `count` elements are left to others."""
        with np.errstate(over="ignore"):
            return Rng(self.first + _G * _word(count), self.second, self.mirrored)

    def words(self, elements: NDArray[np.int64]) -> Words:
        """One 64-bit word for each of `elements` (B, n) or (n,): shape (B, n)."""
        with np.errstate(over="ignore"):
            return _mix(self.first[:, None] + _G * _word(elements), self.second[:, None])

    def uniform(self, n: int, start: int = 0) -> NDArray[np.float64]:
        """Uniform numbers in (0, 1), never 0 or 1, for elements start..start+n-1: shape (B, n)."""
        u = to_uniform(self.words(np.arange(start, start + n)))
        return u if self.mirrored is None else np.where(self.mirrored[:, None], 1 - u, u)

    def normal(self, shape: tuple[int, ...], start: int = 0) -> Tensor:
        """Standard normal numbers (B, *shape), float32: sqrt2 erfinv(2u - 1) in float64, one word each."""
        import torch

        count = int(np.prod(shape))
        u = torch.from_numpy(self.uniform(count, start))
        return (torch.erfinv(u.mul_(2).sub_(1)).mul_(2**0.5)).to(torch.float32).view(len(self), *shape)

    def generator(self) -> np.random.Generator:
        """A numpy generator keyed by the first row, for the few draws that need a library's algorithm."""
        return np.random.Generator(np.random.Philox(key=[int(self.first[0]), int(self.second[0])]))


def pick(logits: Tensor, u: NDArray[np.float64]) -> Tensor:
    """One symbol a row from logits (..., V) by inverse CDF in float64, with uniforms u (...): int64 (...).

    Float32 Gumbel noise would cut the tail of the distribution and cool the sampler; this does not.
    """
    import torch

    wide = logits.double().contiguous()
    total = (wide - wide.amax(-1, keepdim=True)).exp_().cumsum_(-1)
    edge = torch.as_tensor(u, device=logits.device).unsqueeze(-1) * total[..., -1:]
    symbol = torch.searchsorted(total, edge, right=True).squeeze(-1)
    return symbol.clamp_max_(logits.shape[-1] - 1)


def keep_mask(rng: Rng, count: int, share: float) -> NDArray[np.bool_]:
    """For dropout: (B, count) booleans, True with probability `share` (in steps of 1/256), eight to a word."""
    words = rng.words(np.arange(-(-count // 8)))
    return words.view(np.uint8)[:, :count] < round(share * 256)


def to_uniform(words: Words) -> NDArray[np.float64]:
    """Words as numbers of the open interval (0, 1): 52-bit midpoints."""
    return np.asarray(((words.view(np.int64) >> 12) + (2.0**51 + 0.5)) * 2.0**-52, np.float64)


def fnv(text: str) -> np.uint64:
    """The 64-bit FNV-1a hash of a purpose's name."""
    digest = _HASHES.get(text)
    if digest is None:
        value = 0xCBF29CE484222325
        for byte in text.encode():
            value = (value ^ byte) * 0x100000001B3 % 2**64
        digest = _HASHES[text] = np.uint64(value)
    return digest


_HASHES: dict[str, np.uint64] = {}


def _word(value: int | NDArray[np.int64]) -> Words:
    return (
        np.asarray(value, dtype=np.int64).view(np.uint64)
        if not isinstance(value, int)
        else np.asarray(value % 2**64, dtype=np.uint64)
    )


def _mix(z: Words, key: Words | None = None) -> Words:
    z = z ^ (z >> np.uint64(30))
    z = z * _M1
    z = z ^ (z >> np.uint64(27))
    if key is not None:
        z = z ^ key
    z = z * _M2
    return z ^ (z >> np.uint64(31))
