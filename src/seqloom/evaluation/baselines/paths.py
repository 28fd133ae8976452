"""Forecasts of baselines as sample paths: what a rule says, with the errors that the same rule made in training.

A series is an array (T,D) in its own units with nan where a cell is missing. All is numpy; nothing here draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from seqloom.evaluation.baselines.base import Baseline, BaselineForecast, ForecastTask

Numbers = NDArray[np.float64]
Rule = Callable[[Numbers, int], Numbers]
"""What follows a past (T,D) for so many rows (H,D)."""

ERRORS = 50
"""Places in training where the errors of a rule are taken: each gives two paths, for it may err to either side."""
PAST = 1000
"""Rows of a past that a rule reads, at most."""


class Drift(Baseline, name="drift"):
    """The last value, going on by the mean change of the last rows (Hyndman & Athanasopoulos 2021, section 5.2)."""

    def forecast(self, task: ForecastTask) -> BaselineForecast:
        return ruled(task, drift, f"the last value and the mean change of the last {PAST:,} rows")


def ruled(task: ForecastTask, rule: Rule, note: str) -> BaselineForecast:
    """The forecasts of a rule; the median path is the rule itself, the others differ from it by errors in training.

    An error is that of a whole forecast, all steps and channels together, so paths are correlated as the errors are.
    """
    task.progress(0.0)
    errors = errors_of(rule, task.train, task.horizon, PAST)
    level = known_mean(task.train)
    paths = []
    for number, past in enumerate(task.pasts):
        guess = rule(past[-PAST:], task.horizon)
        guess = np.where(np.isnan(guess), level, guess)
        paths.append(np.concatenate([guess[None], guess + errors, guess - errors]))
        task.progress((number + 1) / len(task.pasts))
    return BaselineForecast(
        paths, f"{note}; paths with the errors of {len(errors)} forecasts in training, and their opposites"
    )


def errors_of(rule: Rule, train: Sequence[Numbers], horizon: int, most: int) -> Numbers:
    """The errors (E,H,D) of a rule at places spread over the second half of the training rows of each series.

    A cell that is missing takes the error of the same step and channel at another place; where there is none, nothing.
    """
    places = []
    for number, series in enumerate(train):
        last = len(series) - horizon
        first = min(len(series) // 2, most)
        places += [(number, place) for place in range(max(1, first), last + 1)]
    width = train[0].shape[1]
    if not places:
        return np.zeros((1, horizon, width))
    chosen = [places[i] for i in np.unique(np.linspace(0, len(places) - 1, ERRORS).round().astype(np.int64))]
    errors = np.stack([
        train[number][place : place + horizon] - rule(train[number][max(0, place - most) : place], horizon)
        for number, place in chosen
    ])  # (E,H,D)  # fmt: skip
    for step in range(horizon):
        for d in range(width):
            cells = errors[:, step, d]
            unknown = np.isnan(cells)
            if unknown.any():
                others = cells[~unknown] if not unknown.all() else np.zeros(1)
                cells[unknown] = others[np.arange(int(unknown.sum())) % len(others)]
    return errors


def known_mean(train: Sequence[Numbers]) -> Numbers:
    """The mean of the known cells of each channel (D,), 0 where there are none."""
    joined = np.concatenate(list(train))
    known = (~np.isnan(joined)).sum(0)
    mean: Numbers = np.nansum(joined, 0) / np.maximum(known, 1)
    return mean


def drift(past: Numbers, horizon: int) -> Numbers:
    """The line through the first and the last known cell of each channel."""
    guess = np.full((horizon, past.shape[1]), np.nan)
    steps = np.arange(1, horizon + 1)
    for d, channel in enumerate(past.T):
        known = np.flatnonzero(~np.isnan(channel))
        if len(known):
            first, last = known[0], known[-1]
            slope = (channel[last] - channel[first]) / (last - first) if last > first else 0.0
            # The last known cell may stand some rows before the end.
            guess[:, d] = channel[last] + slope * (len(channel) - 1 - last + steps)
    return guess
