"""The width of bands: found where it is known, weighed by what it is taken from, and applied to forecasts alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seqloom.sequence.canvas import Canvas
from seqloom.sequence.held_out import HeldOut
from seqloom.sequence.width import Width

rng = np.random.Generator(np.random.Philox(key=3))


def forecasts(number: int, spread: float, paths: int = 24) -> HeldOut:
    """Paths of unit spread, and truths of another one."""
    made = [rng.normal(size=(paths, 6, 2)) for _ in range(number)]
    truths = [spread * rng.normal(size=(6, 2)) for _ in range(number)]
    return HeldOut(made, [np.zeros((1, 2))] * number, truths, 1, float(number))


@pytest.mark.parametrize("spread", [1.0, 2.5])
def test_the_factor_is_that_of_the_truth(spread: float) -> None:
    width = Width.of(forecasts(600, spread))
    assert width is not None
    assert width.factor == pytest.approx(spread, rel=0.1)
    paths, truth = forecasts(1, 1.0, 4000).paths[0], spread * rng.normal(size=(4000, 6, 2))
    low, high = np.quantile(width.applied(paths), (0.1, 0.9), axis=0)
    assert ((truth >= low) & (truth <= high)).mean() == pytest.approx(0.8, abs=0.03)


def test_bands_are_narrowed_as_far_as_they_hold_nine_in_ten() -> None:
    width = Width.of(forecasts(600, 0.5))
    assert width is not None
    assert width.factor == pytest.approx(0.5 * 1.645 / 1.282, rel=0.1)
    assert width.held > 0.95
    few = Width.of(forecasts(4, 0.5))
    assert few is not None
    assert 0.9 < few.factor < 1, "few forecasts are no reason to narrow"


def test_few_and_overlapping_forecasts_hardly_count() -> None:
    held = forecasts(20, 3.0)
    widths = [Width.of(replace(held, independent=independent)) for independent in (1.0, 4.0, 20.0)]
    factors = [width.factor for width in widths if width is not None]
    assert 1 < factors[0] < factors[1] < factors[2] < 3.4
    assert factors[0] < 2.1
    same = Width.of(replace(held, paths=[held.paths[0]] * 20, truths=[held.truths[0]] * 20, independent=1.0))
    assert same is not None
    assert np.isfinite(same.factor)


def test_cells_that_are_missing_and_columns_with_atoms_are_left_out() -> None:
    held = forecasts(200, 2.0)
    made = held.paths
    for paths, truth in zip(made, held.truths, strict=True):
        paths[:, :, 1] = np.maximum(paths[:, :, 1], 0.3)  # six in ten are this one value
        truth[:, 1], truth[0] = 1e9, np.nan
    width = Width.of(held)
    assert width is not None
    assert width.factor == pytest.approx(2.0, rel=0.1)
    stretched = width.applied(made[0].astype(np.float32))
    assert stretched.dtype == np.float32
    np.testing.assert_array_equal(stretched[:, :, 1], made[0][:, :, 1].astype(np.float32))
    np.testing.assert_allclose(np.median(stretched, 0), np.median(made[0], 0), atol=1e-6)
    np.testing.assert_allclose(np.ptp(stretched[:, :, 0], 0), width.factor * np.ptp(made[0][:, :, 0], 0), rtol=1e-5)
    assert Width.of(replace(held, truths=[np.full((6, 2), np.nan)] * 200)) is None


def test_what_a_canvas_goes_on_from() -> None:
    x = np.zeros((8, 2), np.float32)
    shown = np.zeros((8, 2), bool)
    shown[:5] = True
    nothing = np.zeros_like(shown)
    missing = nothing.copy()
    missing[2, 0] = True
    assert Canvas(x, shown & ~missing, missing).ahead == 5
    gap = shown.copy()
    gap[7] = True
    assert Canvas(x, gap, nothing).ahead is None, "something is known after it"
    assert Canvas(x, nothing, nothing).ahead is None, "a sample goes on from nothing"
    assert Canvas(x, ~nothing, nothing).ahead is None, "all is known"
