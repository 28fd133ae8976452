"""Baselines of symbols: their frequencies, a Kneser-Ney n-gram, and what a compressor needs."""

from __future__ import annotations

import lzma
import math

from pydantic import Field

from seqloom.evaluation.baselines.base import Baseline, Material
from seqloom.evaluation.baselines.kneser_ney import LONGEST_TRAIN, kneser_ney

LARGEST_DICTIONARY = 32 << 20
"""Bytes that xz looks back over; its encoder takes about eleven times as much memory."""


class Ngram(Baseline, name="ngram"):
    """An interpolated modified Kneser-Ney n-gram (Chen & Goodman 1999)."""

    order: int = Field(default=5, ge=1)
    """Symbols of an n-gram: one more than it looks back."""

    @property
    def label(self) -> str:
        return f"{self.order}-gram" if self.order > 1 else "unigram"

    def score(self, material: Material) -> tuple[float, float, str]:
        train, test = material.symbols("train", LONGEST_TRAIN), material.symbols("test")
        wanted, size = material.wanted("test"), material.symbol_count
        nats = kneser_ney(train, test, size, self.order, continued=material.continued, wanted=wanted)
        cut = f", on the last {LONGEST_TRAIN // 1_000_000} M symbols" if len(train) >= LONGEST_TRAIN else ""
        how = "interpolated modified Kneser-Ney" if self.order > 1 else "the frequency of each symbol, smoothed"
        return nats + material.extra_nats, material.units, f"{how}{cut}"


class Unigram(Baseline, name="unigram"):
    """Each symbol by its frequency alone, smoothed."""

    def score(self, material: Material) -> tuple[float, float, str]:
        return Ngram(order=1).score(material)


class Xz(Baseline, name="xz"):
    """What xz needs for the test split once it has read the training split."""

    def score(self, material: Material) -> tuple[float, float, str] | None:
        if material.prepared.codec.loses:  # it loses nothing, so the two have no order
            return None
        train = b"".join(material.shown("train", LARGEST_DICTIONARY))
        test = b"".join(material.shown("test"))
        size = len(train) + len(test)
        dictionary = f"a dictionary of {size} bytes, which holds both"
        if size > LARGEST_DICTIONARY:
            dictionary = f"a dictionary of the last {LARGEST_DICTIONARY >> 20} MiB"
        return compressed(train, test), material.units, f"len(train+test) - len(train), {dictionary}"


def compressed(train: bytes, test: bytes) -> float:
    """Nats of `test` to xz after `train`: ln 2 * 8 * (len(xz(train+test)) - len(xz(train))), at preset 9 extreme.

    The dictionary holds both, up to 32 MiB; of more, the end of `train` is taken.
    """
    train = train[max(len(train) + len(test) - LARGEST_DICTIONARY, 0) :]
    size = min(max(len(train) + len(test), 4096), LARGEST_DICTIONARY)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": size}]

    def length(data: bytes) -> int:
        return len(lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_NONE, filters=filters))

    return math.log(2) * 8 * max(length(train + test) - length(train), 0)
