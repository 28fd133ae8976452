"""Solvers: a step worked out of one number a row is the step of the papers' formulas, and each row's own."""

import numpy as np
import pytest
import torch

from seqloom.core.config import members_of
from seqloom.samplers.diffuse import PLACES
from seqloom.samplers.solvers import NOW, THEN, Solver, Step

GRID = np.array([80.0, 20.0, 6.0, 1.5, 0.3, 0.0])
ALPHA, SIGMA = 1 / np.hypot(1, GRID), GRID / np.hypot(1, GRID)
NUMBERS = np.array([0, 2, 4, 1])  # the first step, the last, and some between


def step_of(numbers, like):
    place = np.clip(numbers + PLACES[:, None], 0, len(GRID) - 1)
    return Step(numbers, np.stack([ALPHA[place], SIGMA[place]]), like)


def parts(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(len(NUMBERS), 5, 3, generator=generator, dtype=dtype) for _ in range(7)]


def euler(z, clean, step, before, noise):
    (alpha, sigma), (alpha_s, sigma_s) = step.now, step.then
    return z + (alpha_s - alpha) * clean + (sigma_s - sigma) * (z - alpha * clean) / sigma


def ancestral(z, clean, step, before, noise):
    (alpha, sigma), (alpha_s, sigma_s) = step.now, step.then
    ratio = alpha / alpha_s
    added = sigma**2 - ratio**2 * sigma_s**2
    mean = (ratio * sigma_s**2 * z + alpha_s * added * clean) / sigma**2
    return mean + (added * sigma_s**2 / sigma**2).sqrt() * noise


def dpm_solver(z, clean, step, before, noise):
    (alpha, sigma), (alpha_s, sigma_s) = step.now, step.then
    length = (alpha_s / sigma_s).log() - (alpha / sigma).log()
    last = (alpha / sigma).log() - (step.level(2)[0] / step.level(2)[1]).log()
    ahead = clean + length / last / 2 * (clean - before)
    alone = torch.as_tensor(step.number == 0)[:, None, None] | (sigma_s == 0)
    middle = torch.where(alone, clean, ahead)
    return sigma_s / sigma * z - alpha_s * (torch.exp(-length) - 1) * middle


@pytest.mark.parametrize("formula", [euler, ancestral, dpm_solver])
def test_a_step_is_that_of_the_formula(formula):
    z, clean, before, noise, *_ = parts(torch.float64)
    step = step_of(NUMBERS, z)
    moved = members_of(Solver)[formula.__name__]().advance(0, z, clean, step, {"clean": before}, noise)
    torch.testing.assert_close(moved, formula(z, clean, step, before, noise), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", list(members_of(Solver)))
def test_a_row_has_the_bits_that_it_has_alone(name):
    solver = members_of(Solver)[name]()
    z, clean, noise, *states = parts()
    kept = dict(zip(solver.keeps, states, strict=False))
    together = dict(kept)
    moved = solver.advance(0, z, clean, step_of(NUMBERS, z), together, noise)
    for row in range(len(NUMBERS)):
        one = slice(row, row + 1)
        alone = {key: value[one] for key, value in kept.items()}
        step = step_of(NUMBERS[one], z)
        assert torch.equal(solver.advance(0, z[one], clean[one], step, alone, noise[one]), moved[one])
        assert all(torch.equal(alone[key], together[key][one]) for key in kept)


def test_along_is_the_slope_at_a_level_times_the_way():
    z, clean, *_ = parts(torch.float64)
    step = step_of(NUMBERS[[0, 1, 3]], z)
    z, clean = z[:3], clean[:3]
    for place in (NOW, THEN):
        alpha, sigma = step.level(place)
        slope = (z - alpha * clean) / sigma
        way = (step.then[0] - step.now[0]) * clean + (step.then[1] - step.now[1]) * slope
        torch.testing.assert_close(step.along(z, clean, (alpha, sigma)), way, rtol=1e-9, atol=1e-9)
