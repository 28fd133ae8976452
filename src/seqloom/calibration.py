"""Calibration: forecasts of the validation split at the end of a training, and by what forecasts are corrected."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from seqloom.core.errors import DataError
from seqloom.metrics.forecast import Backtest
from seqloom.model import Model
from seqloom.recipe import Recipe
from seqloom.rolling import Numbers, Origins, forecast_from, origins_of_run
from seqloom.sequence.correction import Correction
from seqloom.sequence.held_out import HeldOut

SHARE = 0.04
"""Of a training, what it may take."""
LEAST = 0.5
"""Seconds below which nothing is drawn: reading the split alone takes about as long."""
ORIGINS, PATHS = 20, 24
"""Forecasts at most, and the paths of each."""
FEWEST = 4
"""Forecasts that are drawn at once, where there are so many. A training by steps that cannot afford them is a trial."""
MADE = 4
"""What is made of a series costs as so many times what is read of it in training."""
WINDOW = 4
"""Of a window, what is forecast where no horizon was said."""


def allowed(recipe: Recipe, elements: int, seconds: float) -> tuple[int, float | None]:
    """How many forecasts a training may draw at most, and in how many seconds; 0 where it is too short for any.

    `seconds` are those that it took: what it has left of its minutes, as where data are few, it may take, too. By
    steps they follow from how many elements were read alone, so that it ends the same each time.
    """
    if recipe.trainer.minutes is not None:
        seconds = max(60 * SHARE * recipe.trainer.minutes, 60 * recipe.trainer.minutes - seconds)
        return ORIGINS if seconds >= LEAST else 0, seconds
    window, horizon = recipe.feed.window, horizon_of(recipe)
    each = horizon if recipe.process.incremental else window * -(-horizon // max(1, window // 2))
    most = int(SHARE * elements / (MADE * PATHS * each))
    return min(most, ORIGINS) if most >= FEWEST else 0, None


def horizon_of(recipe: Recipe) -> int:
    """How far ahead bands are calibrated: as far as the model was trained to be asked."""
    return recipe.feed.horizon or max(1, recipe.feed.window // WINDOW)


def correction_of(
    model: Model,
    seconds: float | None = None,
    most: int = ORIGINS,
    clock: Callable[[], float] = time.monotonic,
) -> Correction | None:
    """By what forecasts of a model are corrected; None where its data are no series, or too few were held out.

    Of a validation split that is shorter than the horizon half as many rows are forecast, where it has these.

    Args:
        seconds: What it may take; None: as long as `most` forecasts take.
        most: How many forecasts are drawn at most.
    """
    if not model.codec.numeric:
        return None
    assert model.run is not None
    began = clock()
    horizon = horizon_of(model.run.recipe)
    origins = _origins(model, horizon) or _origins(model, horizon // 2)
    if origins is None:
        return None
    total = min(most, len(origins.each))
    # From all over the split at first, then from between.
    order = np.linspace(0, len(origins.each) - 1, total).round().astype(int)
    order = order[np.argsort([_reversed_bits(i) for i in range(total)], kind="stable")]
    made: list[Numbers] = []
    number = min(total, FEWEST)
    while number:
        chosen = origins.chosen(order[len(made) : len(made) + number].tolist())
        made += forecast_from(model, chosen, _asked(origins.horizon))
        number = min(total - len(made), len(made))  # as many again, where what was done took half of the time at most
        if seconds is not None and clock() - began > seconds / 2:
            number = 0
    drawn = origins.chosen(order[: len(made)].tolist())
    reads = model.filler.reads
    pasts = [origin.past if reads is None else origin.past[-reads:] for origin in drawn.each]
    truths = [origin.truth for origin in drawn.each]
    return Correction.of(HeldOut(made, pasts, truths, drawn.season, drawn.independent))


def _asked(horizon: int) -> Backtest:
    return Backtest(horizon, paths=PATHS)


def _origins(model: Model, horizon: int) -> Origins | None:
    """Where forecasts of so many rows begin in the validation split; None where it is shorter than that, or empty."""
    assert model.run is not None
    try:
        return origins_of_run(model.run, None, "valid", _asked(horizon)) if horizon else None
    except DataError:
        return None


def _reversed_bits(number: int) -> int:
    return int(f"{number:032b}"[::-1], 2)
