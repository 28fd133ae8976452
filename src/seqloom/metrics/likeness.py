"""Likeness: how like a made text is to a true one. A family: a new one is one file.

What is counted of each pair adds up over pairs, so that a value of a corpus is that of the sum, and its interval comes
from drawing pairs again.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Hashable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from seqloom.core.config import Component
from seqloom.core.rng import Rng

Numbers = NDArray[np.float64]

DRAWS = 1000
"""How often pairs are drawn again for an interval."""


class Likeness(Component, home="seqloom.metrics"):
    """How like a made text is to a true one."""

    better: ClassVar[Literal["higher", "lower"]] = "higher"
    unit: ClassVar[str] = "share"
    library: ClassVar[str] = ""
    """What must be installed for it."""

    @property
    def missing(self) -> bool:
        """Whether its library is not installed."""
        return bool(self.library) and find_spec(self.library) is None

    @property
    def measures(self) -> str:
        """What it is called in a table, by its settings."""
        return self.name

    @property
    def signature(self) -> str:
        """What another must know to measure the same."""
        return ""

    @abstractmethod
    def counts(self, made: str, truth: str) -> Numbers:
        """What is counted of one pair (K,); it adds up over pairs."""

    @abstractmethod
    def value(self, counts: Numbers) -> float:
        """The value of what was counted of one pair or several."""

    def of(self, made: Sequence[str], truth: Sequence[str]) -> Numbers:
        """What is counted of each of several pairs (N,K)."""
        return np.stack([self.counts(*pair) for pair in zip(made, truth, strict=True)])

    def loss(self, made: str, truth: str) -> float:
        """The value of one pair, where less is better."""
        value = self.value(self.counts(made, truth))
        return value if self.better == "lower" else -value

    def interval(self, counts: Numbers) -> tuple[float, float, float]:
        """The 95 % interval of the value of pairs (N,K), and its standard error, by drawing them again (Efron 1979).

        Of pairs that are right or wrong it is that of a share (Wilson 1927): drawn again, pairs that are all wrong
        would say that none is ever right.
        """
        number = len(counts)
        if counts.shape[1] == 2 and set(np.unique(counts[:, 0])) <= {0.0, 1.0} and (counts[:, 1] == 1).all():
            return _of_share(float(counts[:, 0].mean()), number)
        drawn = (Rng.of(0, 0).at("bootstrap").uniform(DRAWS * number)[0].reshape(DRAWS, number) * number).astype(int)
        values = [self.value(counts[own].sum(0)) for own in drawn]
        low, high = np.quantile(values, [0.025, 0.975]).tolist()
        return low, high, float(np.std(values, ddof=1))


def _of_share(share: float, number: int) -> tuple[float, float, float]:
    """Wilson's 95 % interval of a share of so many, and its standard error."""
    z = 1.959964
    scale = 1 / (1 + z * z / number)
    middle = scale * (share + z * z / (2 * number))
    half = scale * z * math.sqrt(share * (1 - share) / number + (z / (2 * number)) ** 2)
    return max(0.0, middle - half), min(1.0, middle + half), math.sqrt(share * (1 - share) / number)


class Bleu(Likeness, name="bleu"):
    """Corpus BLEU (Papineni et al. 2002) as sacreBLEU has it (Post 2018), from 0 to 100."""

    unit: ClassVar[str] = "BLEU"
    library: ClassVar[str] = "sacrebleu"

    tokenize: Literal["13a", "intl", "char", "zh", "none"] = "13a"
    """How sacreBLEU finds the words: `char` for languages without spaces."""
    lowercase: bool = False
    """Whether case does not count."""

    @property
    def signature(self) -> str:
        from sacrebleu import __version__

        case = "lc" if self.lowercase else "mixed"
        return f"nrefs:1|case:{case}|eff:no|tok:{self.tokenize}|smooth:exp|version:{__version__}"

    def counts(self, made: str, truth: str) -> Numbers:
        scorer = _sacrebleu(self.tokenize, self.lowercase)
        found = scorer.sentence_score(made, [truth])
        return np.array([found.sys_len, found.ref_len, *found.counts, *found.totals], np.float64)

    def value(self, counts: Numbers) -> float:
        from sacrebleu.metrics.bleu import BLEU

        made, truth, *rest = counts.astype(int).tolist()
        return float(BLEU.compute_bleu(rest[:4], rest[4:], made, truth, smooth_method="exp").score)

    def loss(self, made: str, truth: str) -> float:
        return -float(_sacrebleu(self.tokenize, self.lowercase).sentence_score(made, [truth]).score)


@lru_cache
def _sacrebleu(tokenize: str, lowercase: bool):  # type: ignore[no-untyped-def]
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(tokenize=tokenize, lowercase=lowercase, effective_order=True)


class Chrf(Likeness, name="chrf"):
    """The F-score of runs of characters (Popovic 2015), spaces left out, from 0 to 100: chrF2 of sacreBLEU."""

    unit: ClassVar[str] = "chrF"

    order: int = Field(default=6, ge=1)
    """Characters of the longest runs."""
    beta: float = Field(default=2.0, gt=0)
    """How much more it counts what of the true text was found than what of the made one is right."""

    @property
    def signature(self) -> str:
        return f"nrefs:1|case:mixed|eff:yes|nc:{self.order}|nw:0|space:no"

    def counts(self, made: str, truth: str) -> Numbers:
        found = []
        for own, other in zip(_runs(made, self.order), _runs(truth, self.order), strict=True):
            both = sum((own & other).values()) if own and other else 0
            found += [own.total(), other.total(), both]
        return np.array(found, np.float64)

    def value(self, counts: Numbers) -> float:
        made, truth, both = counts.reshape(-1, 3).T
        used = (made > 0) & (truth > 0)
        if not used.any():
            return 0.0
        precision, recall = (both[used] / made[used]).mean(), (both[used] / truth[used]).mean()
        weight = self.beta**2
        below = weight * precision + recall
        return float(100 * (1 + weight) * precision * recall / below) if below else 0.0


@lru_cache(maxsize=4096)
def _runs(text: str, order: int) -> list[Counter[str]]:
    """How often each run of 1 to `order` characters that are no spaces is in a text."""
    text = "".join(text.split())
    return [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for n in range(1, order + 1)]


class Rouge(Likeness, name="rouge"):
    """ROUGE (Lin 2004): the F-score of runs of words, or of the longest common subsequence, a text's mean.

    Words are runs of letters and digits in lower case, without stemming.
    """

    runs: int = Field(default=0, ge=0)
    """Words of the runs that are counted; 0: the longest common subsequence."""

    @property
    def measures(self) -> str:
        return f"rouge_{self.runs or 'l'}"

    def counts(self, made: str, truth: str) -> Numbers:
        own, other = _words(made), _words(truth)
        if not self.runs:
            both, sizes = longest_common(own, other), (len(own), len(other))
        else:
            parts = ([words[i:] for i in range(self.runs)] for words in (own, other))
            runs = [Counter(zip(*part, strict=False)) for part in parts]
            both, sizes = (runs[0] & runs[1]).total(), (runs[0].total(), runs[1].total())
        return np.array([2 * both / sum(sizes) if both else 0.0, 1.0])

    def value(self, counts: Numbers) -> float:
        return float(counts[0] / counts[1])


class Exact(Likeness, name="exact"):
    """The share of texts that are the true ones to the character."""

    def counts(self, made: str, truth: str) -> Numbers:
        return np.array([made == truth, 1.0], np.float64)

    def value(self, counts: Numbers) -> float:
        return float(counts[0] / counts[1])


class WordError(Likeness, name="word_error"):
    """Words to be put in, taken out and replaced, over the words of the true texts."""

    better: ClassVar[Literal["higher", "lower"]] = "lower"

    def counts(self, made: str, truth: str) -> Numbers:
        own, other = made.split(), truth.split()
        return np.array([edits(own, other), len(other)], np.float64)

    def value(self, counts: Numbers) -> float:
        return float(counts[0] / max(counts[1], 1.0))


class CharacterError(Likeness, name="character_error"):
    """Characters to be put in, taken out and replaced (Levenshtein 1966), over the characters of the true texts."""

    better: ClassVar[Literal["higher", "lower"]] = "lower"

    def counts(self, made: str, truth: str) -> Numbers:
        return np.array([edits(made, truth), len(truth)], np.float64)

    def value(self, counts: Numbers) -> float:
        return float(counts[0] / max(counts[1], 1.0))


def edits(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """Elements to be put in, taken out or replaced to make the other of the one (Levenshtein 1966)."""
    a, b = _numbered(one, other)
    along = np.arange(len(b) + 1)
    row = along.copy()
    for i, symbol in enumerate(a, 1):
        change = np.minimum(row[1:] + 1, row[:-1] + (b != symbol))
        # One put in after another: the least of what stands before, and one more for each place since.
        row = np.minimum.accumulate(np.concatenate([[i], change]) - along) + along
    return int(row[-1])


def longest_common(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """The length of the longest common subsequence."""
    a, b = _numbered(one, other)
    row = np.zeros(len(b) + 1, np.int64)
    for symbol in a:
        row[1:] = np.maximum.accumulate(np.maximum(row[1:], row[:-1] + (b == symbol)))
    return int(row[-1])


def _numbered(*sequences: Sequence[Hashable]) -> list[NDArray[np.int64]]:
    """Elements as numbers, equal ones as the same."""
    numbers: dict[Hashable, int] = {}
    return [np.array([numbers.setdefault(one, len(numbers)) for one in own], np.int64) for own in sequences]


def _words(text: str) -> list[str]:
    """Runs of letters and digits, in lower case."""
    return "".join(letter if letter.isalnum() else " " for letter in text.lower()).split()


def least_risk(texts: Sequence[str], likeness: Likeness) -> list[float]:
    """Of each of several samples its expected loss where the truth is one of them (minimum Bayes risk)."""
    known: dict[tuple[str, str], float] = {}
    times = Counter(texts)
    for made in times:
        for truth in times:
            known[made, truth] = likeness.loss(made, truth)
    risk = {made: sum(n * known[made, truth] for truth, n in times.items()) / len(texts) for made in times}
    return [risk[text] for text in texts]
