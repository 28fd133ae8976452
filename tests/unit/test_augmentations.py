"""Augmentations: what they change, what they leave, and that they are off unless asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqloom.core.errors import ConfigError
from seqloom.corpora.base import Flat, Split
from seqloom.sequence.space import Field, Tokens, Vectors
from seqloom.training.augmentations import Jitter, Scale, Substitute
from seqloom.training.feed import Feed, Reader

SPACE = Vectors(fields=(Field(name="x", width=2), Field(name="pen", support="binary")), ends=True)


def reader(space, x, known=None, **settings) -> Reader:
    starts = np.array([0, len(x) // 2, len(x)])
    split = Split(Flat(x, starts, known), {}, 0.0, 0.0, "")
    return Reader(Feed.parse({"window": 20, "batch": 64, **settings}), split, space, 0, {})


def numbers() -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.Generator(np.random.Philox(7))
    x = drawn.standard_normal((80, 3)).astype(np.float32)
    x[:, 2] = x[:, 2] > 0
    known = drawn.random((80, 3)) < 0.9
    return np.where(known, x, 0).astype(np.float32), known


def test_scale_multiplies_the_real_numbers_of_a_row_alike():
    x, known = numbers()
    plain, scaled = reader(SPACE, x, known).batch(3), reader(SPACE, x, known, augment=["scale"]).batch(3)
    ratio = (scaled.x / plain.x)[..., :2]
    for row in range(len(ratio)):
        kept = ratio[row][(plain.known[row, :, :2]) & (plain.x[row, :, :2] != 0)]
        assert kept.std() < 1e-5
    means = torch.stack([ratio[row][plain.x[row, :, :2] != 0].mean() for row in range(len(ratio))]).log()
    assert 0.05 < float(means.std()) < 0.15
    assert torch.equal(scaled.x[..., 2:], plain.x[..., 2:])
    assert torch.equal(scaled.known, plain.known)
    again = reader(SPACE, x, known, augment=["scale"]).batch(3)
    assert torch.equal(again.x, scaled.x)


def test_jitter_adds_noise_to_known_real_numbers_only():
    x, known = numbers()
    plain = reader(SPACE, x, known).batch(1)
    noisy = reader(SPACE, x, known, augment=[{"name": "jitter", "spread": 0.5}]).batch(1)
    moved = noisy.x - plain.x
    real = plain.known.clone()
    real[..., 2:] = False
    assert not moved[~real].any()
    assert abs(float(moved[real].std()) - 0.5) < 0.03


def test_substitutes_are_of_the_same_row_and_of_the_share_asked_for():
    x = np.concatenate([np.arange(40) % 5, 5 + np.arange(40) % 5]).astype(np.uint8)
    space = Tokens(size=10, ends=True)
    plain = reader(space, x).batch(0)
    batch = reader(space, x, augment=[{"name": "substitute", "share": 0.4}]).batch(0)
    changed = batch.x != plain.x
    ends = plain.x == space.end
    assert ends.any()
    assert torch.equal(batch.x == space.end, ends)
    assert not changed[~plain.present].any()
    share = float(changed[plain.present & ~ends].float().mean())
    assert abs(share - 0.4 * 4 / 5) < 0.05  # one in five is replaced by itself
    low = (plain.x < 5) & plain.present
    assert (batch.x[low] < 5).all()


def test_what_does_not_fit_the_space_is_refused_and_nothing_is_the_default():
    x, known = numbers()
    assert Feed().augment == []
    with pytest.raises(ConfigError, match=r"feed\.augment"):
        reader(SPACE, x, known, augment=["substitute"]).batch(0)
    for augmentation in (Scale(), Jitter()):
        with pytest.raises(ConfigError, match=r"feed\.augment"):
            reader(Tokens(size=3), np.zeros(50, np.uint8), augment=[augmentation]).batch(0)
    assert Substitute().share > 0
