"""Baselines: what a model should beat, made without a network, in the same units.

Text: an interpolated modified Kneser-Ney n-gram and xz. Series: the seasonal naive forecast and a vector
autoregression by least squares, both with Gaussian errors. All are numpy; nothing here imports torch or draws.

A series is an array (T,D) in its own units with nan where a cell is missing, or several of them (documents). Its
densities are per known cell, so they compare with a model's nats per value.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.season import season_of

Symbols = NDArray[np.integer[Any]]
Numbers = NDArray[np.float64]
Series = Numbers | Sequence[Numbers]

LONGEST_TRAIN = 20_000_000
"""Symbols of training text that the n-gram is fitted on, from its end."""
LARGEST_DICTIONARY = 32 << 20
"""Bytes that xz looks back over; its encoder takes about eleven times as much memory."""
ORDERS = (1, 2, 3, 6, 12, 24, 48)
"""Lags among which the autoregression chooses."""
_BLOCK = 1 << 20
_MOST_REGRESSORS = 1000
_MOST_WORK = 5e11
"""Multiplications that choosing an order may take."""


@dataclass(frozen=True)
class Baseline:
    """One line below the models: total nats of the test split, and the units that they are spread over."""

    name: str
    nats: float
    count: float
    unit: str
    """"byte" or "value", as the codec's."""
    note: str

    @property
    def nats_per_unit(self) -> float:
        """Nats a value: how densities are told."""
        return self.nats / self.count

    @property
    def bits_per_unit(self) -> float:
        """Bits a byte: how text is told."""
        return self.nats / self.count / math.log(2)


# ---- text ---------------------------------------------------------------------------------------------------------


def text_baselines(
    train: Symbols,
    test: Symbols,
    size: int,
    train_bytes: bytes,
    test_bytes: bytes,
    *,
    order: int = 5,
    extra_nats: float = 0.0,
    continued: bool = False,
) -> list[Baseline]:
    """Kneser-Ney and xz on one text.

    Args:
        train: Symbols of the training split; documents one after another, each with its end symbol.
        test: Symbols of the test split.
        size: How many symbols there are, the codec's unknown and the end included.
        train_bytes: The training split as the file has it; xz looks back over it.
        test_bytes: The test split as the file has it; its length is the count.
        extra_nats: Nats that `test` costs beyond its symbols (unknown characters).
        continued: Whether the test split follows the training split without a gap.
    """
    count = float(len(test_bytes))
    cut = f", on the last {LONGEST_TRAIN // 1_000_000} M symbols" if len(train) > LONGEST_TRAIN else ""
    nats = kneser_ney(train, test, size, order, continued=continued) + extra_nats
    room = len(train_bytes) + len(test_bytes)
    told = f"a dictionary of {room} bytes, which holds both"
    if room > LARGEST_DICTIONARY:
        told = f"a dictionary of the last {LARGEST_DICTIONARY >> 20} MiB"
    return [
        Baseline(f"{order}-gram", nats, count, "byte", f"interpolated modified Kneser-Ney{cut}"),
        Baseline("xz", compressed(train_bytes, test_bytes), count, "byte", f"len(train+test) - len(train), {told}"),
    ]


def kneser_ney(train: Symbols, test: Symbols, size: int, order: int = 5, *, continued: bool = False) -> float:
    """Total nats of `test` (symbols below `size`) under a Kneser-Ney n-gram of `train`'s last 20 M symbols.

    With `continued` the end of `train` is the context of the first symbols; else their contexts are shorter.
    """
    model = KneserNey(train[-LONGEST_TRAIN:], size, order)
    return float(model.surprisal(test, train[-LONGEST_TRAIN:] if continued else None).sum())


@dataclass(frozen=True)
class _Level:
    """The n-grams of one length: what stands where in the table, and the numbers of each context."""

    keys: NDArray[np.int64]
    """Sorted: place of the n-gram's prefix in the table below it, times size, plus its last symbol."""
    kept: Numbers
    """For each n-gram: its count less the discount, over its context's total."""
    given_up: Numbers
    """For each context (an entry of the table below): the share of its mass that goes to shorter contexts; 1 if new."""


class KneserNey:
    """An interpolated modified Kneser-Ney n-gram over `size` symbols (Chen & Goodman 1999, section 3).

    The longest n-grams keep their counts; a shorter one counts the distinct symbols seen before it. Counts of 1, 2 and
    3 or more are discounted each by their own amount; the mass so saved goes to the next shorter context and, after
    the unigram, to the uniform distribution: every symbol has a positive probability and they sum to one.

    N-grams are looked up by place: (place of the prefix among the shorter ones, last symbol) is one integer whatever
    `size` and `order` are. Memory is a few integers a training symbol.
    """

    def __init__(self, train: Symbols, size: int, order: int = 5) -> None:
        assert size >= 1
        assert order >= 1
        assert not len(train) or 0 <= int(train.min()) <= int(train.max()) < size
        self.size = size
        self.order = min(order, len(train))
        self._levels: list[_Level] = []
        tables, counts = self._ladder(train)
        for k, (keys, count) in enumerate(zip(tables, counts, strict=True)):
            contexts = len(tables[k - 1]) if k else 1
            self._levels.append(_discounted(keys, count, keys // size, contexts))

    def surprisal(self, symbols: Symbols, context: Symbols | None = None) -> Numbers:
        """Nats of each symbol given those before it in `symbols` and, before these, in `context`."""
        reach = max(self.order - 1, 0)
        empty = np.zeros(0, np.int64)
        tail = empty if context is None or not reach else np.asarray(context[-reach:], np.int64)
        pieces = []
        for start in range(0, len(symbols), _BLOCK):
            block = np.asarray(symbols[start : start + _BLOCK], np.int64)
            joined = np.concatenate([tail, block])
            pieces.append(-np.log(self._probability(joined)[len(tail) :]))
            tail = joined[-reach:] if reach else empty
        return np.concatenate(pieces) if pieces else np.zeros(0)

    def _ladder(self, train: Symbols) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
        """The distinct n-grams of every length, and the count that each has in the model."""
        tables: list[NDArray[np.int64]] = []
        counts: list[NDArray[np.int64]] = []
        place = np.zeros(len(train), np.int32)  # of the empty n-gram before each symbol
        suffix = np.zeros(1, np.int64)  # place of each n-gram's suffix in the table below it
        for k in range(self.order):
            found = place[: len(train) - k] * np.int64(self.size)
            found += train[k:]
            if k == self.order - 1:
                keys, count = np.unique(found, return_counts=True)
            else:
                keys, count = np.unique(found), np.zeros(0, np.int64)
                place = _places(keys, found)
            if k:
                # The suffix of (prefix, symbol) is (suffix of the prefix, symbol): it is found without the text.
                suffix = np.searchsorted(tables[-1], suffix[keys // self.size] * self.size + keys % self.size)
                counts[-1] = np.bincount(suffix, minlength=len(tables[-1]))
            else:
                suffix = np.zeros(len(keys), np.int64)
            tables.append(keys)
            counts.append(count)
        return tables, counts

    def _probability(self, x: NDArray[np.int64]) -> Numbers:
        p = np.full(len(x), 1.0 / self.size)
        place = np.zeros(len(x), np.int64)  # of the n-gram just before each symbol; -1: never seen, or cut short
        for k, level in enumerate(self._levels):
            here = np.flatnonzero(place >= 0)
            context = place[here]
            wanted = context * self.size + x[here]
            at = np.minimum(np.searchsorted(level.keys, wanted), len(level.keys) - 1)
            seen = level.keys[at] == wanted
            p[here] = np.where(seen, level.kept[at], 0.0) + level.given_up[context] * p[here]
            if k + 1 < len(self._levels):
                place = np.full(len(x), -1)
                further = here[seen] + 1  # this n-gram is the context of the next symbol
                inside = further < len(x)
                place[further[inside]] = at[seen][inside]
        return p


def _discounted(keys: NDArray[np.int64], count: NDArray[np.int64], context: NDArray[np.int64], contexts: int) -> _Level:
    discount = _discounts(count)[np.minimum(count, 3)]
    total = np.bincount(context, weights=count, minlength=contexts)
    saved = np.bincount(context, weights=discount, minlength=contexts)
    given_up = np.divide(saved, total, out=np.ones(contexts), where=total > 0)
    kept = (count - discount) / np.maximum(total[context], 1.0)
    return _Level(keys, kept, given_up)


def _discounts(count: NDArray[np.int64]) -> Numbers:
    """What is taken from counts of 0, 1, 2 and 3 or more (Chen & Goodman 1999, equation 17).

    Small tables have no n-grams of some count; there the discounts are 1/2, 1 and 3/2. None is below 1/20, or a
    context might leave nothing for a symbol that never followed it.
    """
    n1, n2, n3, n4 = np.bincount(np.minimum(count, 5), minlength=6)[1:5].tolist()
    if not (n1 and n2 and n3 and n4):
        return np.array([0.0, 0.5, 1.0, 1.5])
    y = n1 / (n1 + 2 * n2)
    raw = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    return np.array([0.0, *(min(max(d, 0.05), i + 1.0) for i, d in enumerate(raw))])


def _places(table: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int32]:
    """Where each of `wanted` stands in the sorted table, in blocks; all of them do stand there."""
    found = np.empty(len(wanted), np.int32)
    for start in range(0, len(wanted), _BLOCK):
        found[start : start + _BLOCK] = np.searchsorted(table, wanted[start : start + _BLOCK])
    return found


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


# ---- series -------------------------------------------------------------------------------------------------------


def series_baselines(
    train: Series, test: Series, *, step: float | None = None, continued: bool = True
) -> list[Baseline]:
    """The seasonal naive forecast and a vector autoregression, each one step ahead with Gaussian errors.

    Args:
        train: One series (T,D) or several, nan where missing.
        test: As `train`, with the same channels.
        step: Seconds between two rows, if known: it says which seasons are sensible.
        continued: Whether the (first) test series follows the (last) training series without a gap.
    """
    season = season_of(_pieces(train), step)
    nats, count = seasonal_naive(train, test, season, continued=continued)
    told = f"the value {season} steps before" if season > 1 else "the value before (no season was found)"
    lines = [Baseline("seasonal naive", nats, count, "value", f"{told}, Gaussian errors")]
    order = _best_order(_pieces(train))
    nats, count = autoregression(train, test, order, continued=continued)
    told = f"{order} lag{'s' if order > 1 else ''} of all channels by least squares, Gaussian errors"
    return [*lines, Baseline("autoregression", nats, count, "value", told)]


def naive_forecast(history: Numbers, horizon: int, season: int) -> Numbers:
    """The last known cell of the same phase, repeated: (H,D) after a history (T,D) with nan where missing.

    A phase that was never known takes the channel's last known cell; a channel that was never known stays nan.
    """
    known = _piece(history)
    last = _last_known(known)
    width = known.shape[1]
    out = np.empty((horizon, width))
    phase = np.full((season, width), np.nan)
    padded = _by_phase(known, season)
    if len(padded):
        filled = _filled_forward(padded.reshape(len(padded), -1))[-1].reshape(season, width)
        phase = np.roll(filled, -(len(known) % season), axis=0)
    phase = np.where(np.isnan(phase), last, phase)
    for start in range(0, horizon, season):
        out[start : start + season] = phase[: horizon - start]
    return out


def seasonal_naive(train: Series, test: Series, season: int, *, continued: bool = True) -> tuple[float, float]:
    """Nats of the known test cells, and their number: each is normal about the cell one season before it.

    Where that one is missing it is the last known one of the same phase, in the training or the test split; where
    there is none, the channel's mean with the channel's spread. The scale of a channel is the root mean square of the
    same errors in training.
    """
    pieces, tests = _pieces(train), _pieces(test)
    mean, spread, floor = _moments(pieces)
    errors = np.concatenate([piece - _season_before(piece, season) for piece in pieces])
    scale = np.maximum(_or(_root_mean_square(errors), spread), floor)
    nats, count = 0.0, 0
    for index, piece in enumerate(tests):
        before = pieces[-1] if continued and index == 0 else np.zeros((0, piece.shape[1]))
        guess = _season_before(np.concatenate([before, piece]), season)[len(before) :]
        none = np.isnan(guess)
        known = ~np.isnan(piece)
        error = np.where(none, mean, guess) - piece
        nats += float(_normal_nats(error, np.where(none, spread, scale))[known].sum())
        count += int(known.sum())
    return nats, float(count)


def autoregression(
    train: Series, test: Series, order: int | None = None, *, continued: bool = True
) -> tuple[float, float]:
    """Nats of the known test cells, and their number, under a vector autoregression (Lütkepohl 2005, chapter 3).

    Each channel is regressed on `order` lags of all channels by least squares (with a ridge of 1e-6, so that equal
    columns do no harm); errors are independent normals with the scale they have in training. None: the order among
    1, 2, 3, 6, 12, 24, 48 with the least Bayesian information criterion (Schwarz 1978), as far as the data allow.
    A missing cell enters as its channel's mean; only known cells are fitted and scored. The lags run across the
    border between training and test if `continued`.
    """
    pieces, tests = _pieces(train), _pieces(test)
    lags = _best_order(pieces) if order is None else order
    mean, spread, floor = _moments(pieces)
    solution, error, _ = _regression([(piece - mean) / spread for piece in pieces], [lags])[lags]
    scale = np.maximum(error * spread, floor)
    nats, count = 0.0, 0
    for index, piece in enumerate(tests):
        before = pieces[-1][-lags:] if continued and index == 0 else np.zeros((0, piece.shape[1]))
        # Rows that the world does not have before the series enter as the mean, like missing cells.
        short = np.full((lags - len(before), piece.shape[1]), np.nan)
        scaled = (np.concatenate([short, before, piece]) - mean) / spread
        for start in range(0, len(piece), _ROWS):
            part = scaled[start : start + _ROWS + lags]
            guess = _lagged(np.nan_to_num(part), lags) @ solution
            off = (part[lags:] - guess) * spread
            known = ~np.isnan(off)
            nats += float(_normal_nats(off, scale)[known].sum())
            count += int(known.sum())
    return nats, float(count)


_ROWS = 8192


def _best_order(pieces: list[Numbers]) -> int:
    width = pieces[0].shape[1]
    groups = int(_channel_groups(pieces, 0).max()) + 1

    def fits_data(order: int) -> bool:
        rows, size = sum(max(len(piece) - order, 0) for piece in pieces), 1 + order * width
        return bool(size <= _MOST_REGRESSORS and rows >= 4 * size and rows * size * size * groups <= _MOST_WORK)

    allowed = [order for order in ORDERS if fits_data(order)] or [1]
    mean, spread, _ = _moments(pieces)
    fits = _regression([(piece - mean) / spread for piece in pieces], allowed)

    def criterion(order: int) -> float:
        _, error, rows = fits[order]
        each = rows * 2 * np.log(np.maximum(error, 1e-12)) + (width * order + 1) * np.log(np.maximum(rows, 2))
        return float(each.sum())

    return min(allowed, key=criterion)


def _regression(pieces: list[Numbers], orders: list[int]) -> dict[int, tuple[Numbers, Numbers, Numbers]]:
    """For each order: coefficients (1 + order*D, D), errors' root mean square (D,), known rows (D,).

    All orders are fitted on the same rows, those with a full history of the longest order, from one Gram matrix for
    each set of channels that are known at the same times.
    """
    width, longest = pieces[0].shape[1], max(orders)
    size = 1 + longest * width
    rows = np.sum([(~np.isnan(piece[longest:])).sum(0) for piece in pieces], axis=0).astype(np.float64)
    fits = {order: (np.zeros((1 + order * width, width)), np.ones(width), rows) for order in orders}
    group = _channel_groups(pieces, longest)
    for here in [np.flatnonzero(group == g) for g in range(int(group.max()) + 1)]:
        count = rows[here[0]]
        if not count:
            continue
        gram, cross, power = np.zeros((size, size)), np.zeros((size, len(here))), np.zeros(len(here))
        for piece in pieces:
            for start in range(0, len(piece) - longest, _ROWS):
                part = piece[start : start + _ROWS + longest]
                known = ~np.isnan(part[longest:, here[0]])
                x, y = _lagged(np.nan_to_num(part), longest)[known], part[longest:, here][known]
                gram += x.T @ x
                cross += x.T @ y
                power += (y * y).sum(0)
        for order, (solution, error, _) in fits.items():
            n = 1 + order * width
            inner, outer = gram[:n, :n], cross[:n]
            found = np.linalg.solve(inner + 1e-6 * count * np.eye(n), outer)
            left = power - 2 * (found * outer).sum(0) + (found * (inner @ found)).sum(0)
            solution[:, here], error[here] = found, np.sqrt(np.maximum(left, 0.0) / count)
    return fits


def _channel_groups(pieces: list[Numbers], skip: int) -> NDArray[np.int64]:
    """A number (D,) for each channel, equal for channels that are known at the same times after the first `skip`."""
    masks = np.concatenate([~np.isnan(piece[skip:]) for piece in pieces])
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(np.packbits(mask).tobytes(), len(seen)) for mask in masks.T])


def _lagged(x: Numbers, order: int) -> Numbers:
    """Regressors (T-order, 1 + order*D) of the rows from `order` on: one, all channels at lag 1, at lag 2, ..."""
    if len(x) <= order:
        return np.zeros((0, 1 + order * x.shape[1]))
    lags = [x[order - lag : len(x) - lag] for lag in range(1, order + 1)]
    return np.concatenate([np.ones((len(x) - order, 1)), *lags], axis=1)


def _pieces(series: Series) -> list[Numbers]:
    found = [series] if isinstance(series, np.ndarray) else list(series)
    assert found
    return [_piece(piece) for piece in found]


def _piece(series: Numbers) -> Numbers:
    piece = np.asarray(series, np.float64)
    return piece[:, None] if piece.ndim == 1 else piece


def _moments(pieces: list[Numbers]) -> tuple[Numbers, Numbers, Numbers]:
    """Mean and spread of each channel's known cells, and the least scale that an error may have.

    The least scale keeps a density finite where training errors are all zero: the standard deviation of rounding to the
    smallest step between two values of the channel, or a thousandth of its size where it never changes.
    """
    joined = np.concatenate(pieces)
    width = joined.shape[1]
    mean, spread, floor = np.zeros(width), np.ones(width), np.ones(width)
    for d in range(width):
        cells = joined[:, d][~np.isnan(joined[:, d])]
        if not len(cells):
            continue
        mean[d] = cells.mean()
        gaps = np.diff(np.unique(cells))
        least = 1e-3 * max(abs(mean[d]), 1.0) if not len(gaps) else gaps.min() / math.sqrt(12)
        floor[d] = least
        spread[d] = max(cells.std(), least)
    return mean, spread, floor


def _season_before(x: Numbers, season: int) -> Numbers:
    """For each cell the last known one of its phase before it: (T,D), nan where there is none."""
    padded = _by_phase(x, season)
    flat = _filled_forward(padded.reshape(len(padded), -1)) if len(padded) else padded.reshape(0, -1)
    shifted = np.full_like(flat, np.nan)
    shifted[1:] = flat[:-1]
    return shifted.reshape(-1, x.shape[1])[: len(x)]


def _by_phase(x: Numbers, season: int) -> Numbers:
    """Rows in seasons: (ceil(T/season), season, D), the last one filled up with nan."""
    short = -len(x) % season
    return np.concatenate([x, np.full((short, x.shape[1]), np.nan)]).reshape(-1, season, x.shape[1])


def _filled_forward(x: Numbers) -> Numbers:
    at = np.where(np.isnan(x), -1, np.arange(len(x))[:, None])
    at = np.maximum.accumulate(at, axis=0)
    return np.where(at >= 0, np.take_along_axis(x, np.maximum(at, 0), axis=0), np.nan)


def _last_known(x: Numbers) -> Numbers:
    return _filled_forward(x)[-1] if len(x) else np.full(x.shape[1], np.nan)


def _root_mean_square(errors: Numbers) -> Numbers:
    known = (~np.isnan(errors)).sum(0)
    total = np.nansum(errors * errors, 0)
    square: Numbers = np.divide(total, known, out=np.full(errors.shape[1], np.nan), where=known > 0)
    found: Numbers = np.sqrt(square)
    return found


def _or(first: Numbers, second: Numbers) -> Numbers:
    return np.where(np.isnan(first), second, first)


def _normal_nats(error: Numbers, scale: Numbers) -> Numbers:
    nats: Numbers = 0.5 * (error / scale) ** 2 + np.log(scale) + 0.5 * math.log(2 * math.pi)
    return nats
