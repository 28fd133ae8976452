"""Baselines of series of numbers, each one step ahead with Gaussian errors, in nats a known cell.

A series is an array (T,D) in its own units with nan where a cell is missing, or several of them. All is numpy; nothing
here imports torch or draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seqloom.codecs.season import season_of
from seqloom.evaluation.baselines.base import Baseline, BaselineForecast, ForecastTask, Material
from seqloom.evaluation.baselines.paths import ruled
from seqloom.sequence.naive import by_phase, filled_forward, naive_forecast

Numbers = NDArray[np.float64]
Series = Numbers | Sequence[Numbers]

ORDERS = (1, 2, 3, 6, 12, 24, 48)
"""Lags among which the autoregression chooses."""
_MOST_REGRESSORS = 1000
_MOST_WORK = 5e11
"""Multiplications that choosing an order may take."""


class Mean(Baseline, name="mean"):
    """Every cell is normal about its channel's mean, with the channel's spread."""

    def score(self, material: Material) -> tuple[float, float, str]:
        train, test = _pieces(material.numbers("train")), _pieces(material.numbers("test"))
        mean, spread, floor = _moments(train)
        errors = [piece - mean for piece in test]
        nats = [_normal_nats(error, np.maximum(spread, floor))[~np.isnan(error)] for error in errors]
        count = sum(map(len, nats))
        return float(sum(one.sum() for one in nats)), float(count), "the mean of each channel, Gaussian errors"


class Persistence(Baseline, name="persistence"):
    """The last known value: a cell's likelihood is normal about it, a forecast repeats it."""

    @property
    def label(self) -> str:
        return "last value"

    def score(self, material: Material) -> tuple[float, float, str]:
        scored = seasonal_naive(material.numbers("train"), material.numbers("test"), 1, continued=material.continued)
        return *scored, "the value before, Gaussian errors"

    def forecast(self, task: ForecastTask) -> BaselineForecast:
        return ruled(task, lambda past, horizon: naive_forecast(past, horizon, 1), "the last value, repeated")


class Seasonal(Baseline, name="seasonal"):
    """The value a season before: a cell's likelihood is normal about it, a forecast repeats the last season.

    Nothing where no season is found.
    """

    @property
    def label(self) -> str:
        return "seasonal naive"

    def score(self, material: Material) -> tuple[float, float, str] | None:
        train = material.numbers("train")
        date = material.prepared.facts.get("date")
        season = season_of(_pieces(train), date["seconds"] if date else None)
        if season <= 1:
            return None
        scored = seasonal_naive(train, material.numbers("test"), season, continued=material.continued)
        return *scored, f"the value {season} steps before, Gaussian errors"

    def forecast(self, task: ForecastTask) -> BaselineForecast | None:
        season = task.season
        if season <= 1:
            return None
        return ruled(
            task,
            lambda past, horizon: naive_forecast(past, horizon, season),
            f"the last {season} values, repeated",
        )


class Autoregression(Baseline, name="autoregression"):
    """A vector autoregression by least squares (Lütkepohl 2005, chapter 3), its order by the Bayesian criterion."""

    @property
    def label(self) -> str:
        return "linear with lags"

    def score(self, material: Material) -> tuple[float, float, str]:
        train = material.numbers("train")
        order = _best_order(_pieces(train))
        scored = autoregression(train, material.numbers("test"), order, continued=material.continued)
        return *scored, f"{_lags(order)} of all channels by least squares, Gaussian errors"

    def forecast(self, task: ForecastTask) -> BaselineForecast:
        pieces = _pieces(task.train)
        order = _best_order(pieces)
        mean, spread, _ = _moments(pieces)
        fits = _shorter_fits([(piece - mean) / spread for piece in pieces], order)

        def rule(past: Numbers, horizon: int) -> Numbers:
            recent = np.nan_to_num((past[-order:] - mean) / spread)  # what is missing enters as the mean
            scaled = np.concatenate([recent, np.zeros((horizon, past.shape[1]))])
            for step in range(len(recent), len(scaled)):
                own = max(shorter for shorter in fits if shorter <= step)
                scaled[step] = (_lagged(scaled[step - own : step + 1], own) @ fits[own][0])[0]
            return scaled[len(recent) :] * spread + mean

        return ruled(task, rule, f"{_lags(order)} of all channels by least squares, step by step")


def _lags(order: int) -> str:
    return f"{order} lag{'s' if order > 1 else ''}"


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
    border between training and test if `continued`. Rows with fewer rows before them are regressed on as many lags as
    these orders allow, the very first has its channel's mean and spread.
    """
    pieces, tests = _pieces(train), _pieces(test)
    lags = _best_order(pieces) if order is None else order
    mean, spread, floor = _moments(pieces)
    fits = _shorter_fits([(piece - mean) / spread for piece in pieces], lags)
    nats, count = 0.0, 0
    for index, piece in enumerate(tests):
        before = pieces[-1][-lags:] if continued and index == 0 else np.zeros((0, piece.shape[1]))
        scaled = (np.concatenate([before, piece]) - mean) / spread
        for own, following in zip(fits, [*list(fits)[1:], len(scaled)], strict=True):
            solution, error = fits[own]
            scale, end = np.maximum(error * spread, floor), min(following, len(scaled))
            for start in range(max(own, len(before)), end, _ROWS):
                part = scaled[start - own : min(start + _ROWS, end)]
                off = (part[own:] - _lagged(np.nan_to_num(part), own) @ solution) * spread
                known = ~np.isnan(off)
                nats += float(_normal_nats(off, scale)[known].sum())
                count += int(known.sum())
    return nats, float(count)


_ROWS = 8192


def _shorter_fits(scaled: list[Numbers], order: int) -> dict[int, tuple[Numbers, Numbers]]:
    """Coefficients and errors of an order and all below it, of scaled pieces; 0: the mean, off by a spread."""
    orders = [*(shorter for shorter in ORDERS if shorter < order), order]
    fits, width = _regression(scaled, orders), scaled[0].shape[1]
    return {0: (np.zeros((1, width)), np.ones(width))} | {own: fits[own][:2] for own in orders}


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
    for channels in [np.flatnonzero(group == g) for g in range(int(group.max()) + 1)]:
        count = rows[channels[0]]
        if not count:
            continue
        gram, cross, power = np.zeros((size, size)), np.zeros((size, len(channels))), np.zeros(len(channels))
        for piece in pieces:
            for start in range(0, len(piece) - longest, _ROWS):
                part = piece[start : start + _ROWS + longest]
                known = ~np.isnan(part[longest:, channels[0]])
                x, y = _lagged(np.nan_to_num(part), longest)[known], part[longest:, channels][known]
                gram += x.T @ x
                cross += x.T @ y
                power += (y * y).sum(0)
        for order, (solution, error, _) in fits.items():
            n = 1 + order * width
            inner, outer = gram[:n, :n], cross[:n]
            coefficients = np.linalg.solve(inner + 1e-6 * count * np.eye(n), outer)
            residual = power - 2 * (coefficients * outer).sum(0) + (coefficients * (inner @ coefficients)).sum(0)
            solution[:, channels], error[channels] = coefficients, np.sqrt(np.maximum(residual, 0.0) / count)
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
    several = [series] if isinstance(series, np.ndarray) else list(series)
    assert several
    return [_piece(piece) for piece in several]


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
    padded = by_phase(x, season)
    flat = filled_forward(padded.reshape(len(padded), -1)) if len(padded) else padded.reshape(0, -1)
    shifted = np.full_like(flat, np.nan)
    shifted[1:] = flat[:-1]
    return shifted.reshape(-1, x.shape[1])[: len(x)]


def _root_mean_square(errors: Numbers) -> Numbers:
    known = (~np.isnan(errors)).sum(0)
    total = np.nansum(errors * errors, 0)
    square: Numbers = np.divide(total, known, out=np.full(errors.shape[1], np.nan), where=known > 0)
    root: Numbers = np.sqrt(square)
    return root


def _or(first: Numbers, second: Numbers) -> Numbers:
    return np.where(np.isnan(first), second, first)


def _normal_nats(error: Numbers, scale: Numbers) -> Numbers:
    nats: Numbers = 0.5 * (error / scale) ** 2 + np.log(scale) + 0.5 * math.log(2 * math.pi)
    return nats
