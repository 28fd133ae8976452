"""The share of a departure that is kept: found where it is known, weighed by what it is taken from, and applied."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seqloom.sequence.correction import Correction
from seqloom.sequence.held_out import HeldOut
from seqloom.sequence.naive import naive_forecast
from seqloom.sequence.shrinkage import Shrinkage
from seqloom.sequence.width import Width

rng = np.random.Generator(np.random.Philox(key=5))


def forecasts(number: int, learned: float, season: int = 1, paths: int = 24) -> HeldOut:
    """Paths, pasts and truths: what follows departs from the naive forecast by what is foretold, and by noise.

    A model foretells all of that, and beside it as much that is not there as `learned` says of its variance: of its
    departure 1 / (1 + learned) is then the best share.
    """
    made, pasts, truths = [], [], []
    for _ in range(number):
        past = rng.normal(size=(4 * season, 2))
        naive, foretold = naive_forecast(past, 6, season), rng.normal(size=(6, 2))
        told = naive + foretold + np.sqrt(learned) * rng.normal(size=(6, 2))
        made.append(told + 0.5 * rng.normal(size=(paths, 6, 2)))
        pasts.append(past)
        truths.append(naive + foretold + 0.5 * rng.normal(size=(6, 2)))
    return HeldOut(made, pasts, truths, season, float(number))


@pytest.mark.parametrize(("learned", "season"), [(0.0, 1), (1.0, 1), (3.0, 5), (400.0, 1)])
def test_the_share_is_that_of_what_goes_on(learned: float, season: int) -> None:
    found = Shrinkage.of(forecasts(800, learned, season))
    assert found is not None
    assert 1 / (1 + learned) - 0.06 <= found.kept <= 1 / (1 + learned) + 0.15
    later = forecasts(100, learned, season)

    def error(held: HeldOut) -> float:
        made = zip(held.paths, held.truths, strict=True)
        return float(np.mean([np.abs(np.median(one, 0) - truth) for one, truth in made]))

    assert error(later.moved(found.applied)) <= error(later) * (1.01 if learned == 0 else 0.9)


def test_few_and_overlapping_forecasts_hardly_count() -> None:
    held = forecasts(20, 2.0)
    found = [Shrinkage.of(replace(held, independent=independent)) for independent in (0.05, 1.0, 20.0)]
    kept = [one.kept for one in found if one is not None]
    assert 1 >= kept[0] > kept[1] > kept[2] > 0.2
    alone = Shrinkage.of(HeldOut(held.paths[:1], held.pasts[:1], held.truths[:1], 1, 1.0))
    assert alone is not None
    assert alone.kept == 1


def test_what_cannot_be_judged_is_left_out_and_stays_as_it_is() -> None:
    held = forecasts(300, 3.0, 4)
    made, pasts = held.paths, held.pasts
    for paths, truth in zip(made, held.truths, strict=True):
        paths[rng.random((24, 6)) < 0.8, 1] = 7.0  # most are this one value
        truth[:, 1], truth[0] = 1e9, np.nan
    found = Shrinkage.of(held)
    assert found is not None
    assert 0.2 <= found.kept <= 0.45
    moved = found.applied(made[0].astype(np.float32), pasts[0])
    assert moved.dtype == np.float32
    np.testing.assert_array_equal(moved[:, :, 1], made[0][:, :, 1].astype(np.float32))
    np.testing.assert_allclose(np.ptp(moved, 0), np.ptp(made[0], 0), rtol=1e-4)
    np.testing.assert_array_equal(found.applied(made[0][:8], pasts[0]), made[0][:8], "the median of few says little")
    np.testing.assert_array_equal(found.applied(made[0], pasts[0][:3]), made[0], "no season precedes it")
    unknown = np.full_like(pasts[0], np.nan)
    np.testing.assert_array_equal(found.applied(made[0], unknown), made[0])
    assert Shrinkage.of(replace(held, pasts=[past[:3] for past in pasts])) is None
    assert Shrinkage.of(replace(held, truths=[np.full((6, 2), np.nan)] * 300)) is None


def test_bands_are_measured_about_the_median_that_is_shown() -> None:
    held = forecasts(800, 3.0, paths=100)
    both, alone = Correction.of(held), Width.of(held)
    assert both.width is not None
    assert alone is not None
    assert both.width.factor < 0.7 * alone.factor
    low, high = np.quantile(np.stack(held.moved(both.applied).paths), (0.1, 0.9), axis=1)
    truths = np.stack(held.truths)
    assert ((truths >= low) & (truths <= high)).mean() == pytest.approx(0.8, abs=0.03)
    assert Correction.parse(both.plain()) == both
    assert [len(both.in_words(paths)) for paths in (100, 16, 15)] == [2, 2, 1]
    assert Correction().in_words(100) == []
    np.testing.assert_array_equal(Correction().applied(held.paths[0], held.pasts[0]), held.paths[0])
