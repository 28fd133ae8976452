"""Byte-pair encoding with merges left out at random (Provilkov et al. 2020): a text as other pieces each time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqloom.core.rng import Rng, to_uniform

if TYPE_CHECKING:
    from tokenizers.pre_tokenizers import PreTokenizer

Symbols = NDArray[np.int64]
_INVALID = re.compile("([\udc80-\udcff]+)")
NEVER = np.iinfo(np.int64).max
"""The rank of what is no merge."""


class Merges:
    """The merges of a tokenizer over bytes, for many rows at once.

    At each step every merge that is possible in a word is left out with a probability, and of the others the one that
    was learned first is made; a word is done when none is left. With the probability 0 that is the usual encoding.
    """

    def __init__(
        self, model: Mapping[str, Any], words: PreTokenizer, spelling: Sequence[bytes], single: Sequence[int]
    ) -> None:
        self.words, self.spelling = words, spelling
        self.single = np.array(single, np.int64)
        self.size = len(spelling)
        pairs = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]]
        vocabulary = model["vocab"]
        keys = np.array([vocabulary[a] * self.size + vocabulary[b] for a, b in pairs], np.int64)
        order = np.argsort(keys, kind="stable")
        self.keys, self.rank = keys[order], order
        self.made = np.array([vocabulary[a + b] for a, b in pairs], np.int64)
        merged = set(self.made.tolist()) | set(single)
        self.whole = np.array([number not in merged for number in range(self.size)])  # symbols that nothing makes

    def anew(self, rows: Sequence[Symbols], rng: Rng, share: float) -> tuple[list[Symbols], list[Symbols]]:
        """Each row written anew, and of which of its symbols each of these is a part; `rng` has one key a row."""
        parts = [self._parts(row) for row in rows]
        symbol, word, owner = (np.concatenate([part[i] for part in parts]) for i in range(3))
        row = np.repeat(np.arange(len(rows)), [len(part[0]) for part in parts])
        place = np.concatenate([np.arange(len(part[0])) for part in parts])
        words = [1 + int(part[1].max(initial=-1)) for part in parts]
        word = word + np.cumsum([0, *words])[row]
        done = [np.zeros((4, 0), np.int64)]
        step = 0
        while len(symbol):
            rank = self._ranks(symbol, word)
            u = to_uniform(rng.at("merge", step).select(row).words(place[:, None]))[:, 0]
            rank[u < share] = NEVER
            changes = word[1:] != word[:-1]
            first = np.concatenate([[0], 1 + np.flatnonzero(changes)])
            best = np.minimum.reduceat(rank, first)[np.concatenate([[0], np.cumsum(changes)])]
            ended = best == NEVER
            done.append(np.stack([row, place, symbol, owner])[:, ended])
            at = np.flatnonzero((rank == best) & ~ended)
            _, leftmost = np.unique(word[at], return_index=True)
            at = at[leftmost]
            symbol[at] = self.made[rank[at]]
            left = ~ended
            left[at + 1] = False
            symbol, word, owner, row, place = (values[left] for values in (symbol, word, owner, row, place))
            step += 1
        every = np.concatenate(done, 1)
        every = every[:, np.lexsort((every[1], every[0]))]
        cuts = np.cumsum(np.bincount(every[0], minlength=len(rows)))[:-1]
        return np.split(every[2], cuts), np.split(every[3], cuts)

    def _ranks(self, symbol: Symbols, word: Symbols) -> Symbols:
        """How early the merge of each symbol with the next was learned."""
        rank = np.full(len(symbol), NEVER)
        pairs = (word[:-1] == word[1:]) & (symbol[:-1] < self.size) & bool(len(self.keys))
        at = np.flatnonzero(pairs)
        key = symbol[at] * self.size + symbol[at + 1]
        found = np.searchsorted(self.keys, key).clip(max=max(0, len(self.keys) - 1))
        known = self.keys[found] == key if len(at) else np.zeros(0, bool)
        rank[at[known]] = self.rank[found[known]]
        return rank

    def _parts(self, row: Symbols) -> tuple[Symbols, Symbols, Symbols]:
        """The bytes of a row as symbols, of which word each is, and of which symbol of the row."""
        inside = row < self.size
        kept = ~inside | self.whole[np.where(inside, row, 0)]
        symbols, lengths, owners = ([np.zeros(0, np.int64)] for _ in range(3))
        for stays, group in groupby(range(len(row)), kept.tolist().__getitem__):
            places = np.array(list(group))
            if stays:  # as it is, and no word goes across it
                symbols, owners = [*symbols, row[places]], [*owners, places]
                lengths.append(np.ones(len(places), np.int64))
                continue
            spelled = [self.spelling[symbol] for symbol in row[places].tolist()]
            data = b"".join(spelled)
            symbols.append(self.single[np.frombuffer(data, np.uint8)])
            lengths.append(np.array(list(self._words(data)), np.int64))
            owners.append(np.repeat(places, [len(piece) for piece in spelled]))
        length = np.concatenate(lengths)
        return np.concatenate(symbols), np.repeat(np.arange(len(length)), length), np.concatenate(owners)

    def _words(self, data: bytes) -> Iterator[int]:
        """How many bytes each word of a text has; bytes that are no UTF-8 are words by themselves."""
        for i, part in enumerate(_INVALID.split(data.decode("utf-8", "surrogateescape"))):
            if i % 2:
                yield from [1] * len(part)
            elif part:
                yield from (len(word) for word, _ in self.words.pre_tokenize_str(part))
