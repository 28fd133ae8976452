"""Keyed random numbers: fixed words, the open interval, and that they look random from every side."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest

import seqloom
from seqloom.core.rng import Rng, fnv, keep_mask, pick, to_uniform

M64 = 2**64
G, M1, M2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

VECTORS = [
    (0, 0, 5, 0, 0x8F6EFDDC0288E803),
    (0, 0, 5, 1, 0x630CBB21A90F6A4C),
    (3, 7, 0, 11, 0xA7BDBB1E89E9B9AA),
    (-4, 2**40, 2, 9, 0x5F45DD1671006F57),
    (2**63 - 1, 5, 2**31, 2**31, 0x080B8BE545C6F324),
]


def mix(z, k=0):
    z ^= z >> 30
    z = z * M1 % M64
    z ^= z >> 27
    z ^= k
    z = z * M2 % M64
    return z ^ z >> 31


def by_integers(seed, row, purpose, step, element):
    """The same words in Python's integers."""
    a = mix((seed * G + row) % M64)
    a = mix((a + row * M2 + 1) % M64)
    k0, k1 = a, mix((a * G + 7) % M64)
    name = 0xCBF29CE484222325
    for byte in purpose.encode():
        name = (name ^ byte) * 0x100000001B3 % M64
    k0 = (k0 + G * (name + step * 2**32)) % M64
    return mix((k0 + G * element) % M64, k1)


@pytest.mark.parametrize(("seed", "row", "step", "element", "word"), VECTORS)
def test_words_never_change(seed, row, step, element, word):
    assert by_integers(seed, row, "pick", step, element) == word
    assert int(Rng.of(seed, row).at("pick", step).words(np.array([element]))[0, 0]) == word
    arrays = Rng.of(np.array([1, seed]), np.array([2, row])).at("pick", np.array([0, step]))
    assert int(arrays.words(np.array([[3], [element]]))[1, 0]) == word


def test_uniform_of_a_word():
    assert Rng.of(0, 0).at("pick", 5).uniform(1)[0, 0] == 0.060287347997050156


def test_words_equal_those_of_integers_everywhere():
    random = np.random.default_rng(0)
    for _ in range(200):
        seed, row = (int(v) for v in random.integers(-(2**63), 2**63 - 1, 2))
        step, element = (int(v) for v in random.integers(0, 2**32, 2))
        purpose = str(random.choice(["time", "mask", "noise", "pattern"]))
        assert int(Rng.of(seed, row).at(purpose, step).words(np.array([element]))[0, 0]) == by_integers(
            seed, row % M64, purpose, step, element
        )


def test_the_interval_is_open():
    ends = to_uniform(np.array([0, M64 - 1, 2**63 - 1, 2**63], dtype=np.uint64))
    assert ((ends > 0) & (ends < 1)).all()
    assert ends.min() == 2.0**-53
    assert ends.max() == 1 - 2.0**-53
    assert np.isfinite(np.log(ends)).all()
    assert np.isfinite(np.log1p(-ends)).all()
    assert torch.isfinite(torch.erfinv(torch.from_numpy(2 * ends - 1))).all()


def test_pick_never_takes_what_cannot_be_and_is_inverse_cdf():
    logits = torch.tensor([-math.inf, 0.3, -math.inf, 1.1, -0.4, -math.inf], dtype=torch.float64)
    u = np.array([2.0**-53, 0.2, 0.5, 0.9, 1 - 2.0**-53])
    edges = torch.tensor([0.3, 1.1, -0.4], dtype=torch.float64).softmax(0).cumsum(0).numpy()
    expected = [(1, 3, 4)[int(np.searchsorted(edges, v, side="right"))] for v in u[:-1]] + [4]
    assert pick(logits.expand(5, 6), u).tolist() == expected
    assert pick(logits.expand(2, 5, 6), np.stack([u, u]))[1].tolist() == expected
    for seed in range(200):  # the last bin is empty by rounding
        row = torch.cat([torch.randn(50, generator=torch.Generator().manual_seed(seed)), torch.tensor([-math.inf])])
        assert int(pick(row[None], u[-1:])[0]) < 50


def test_pick_follows_the_probabilities():
    logits = torch.randn(8, generator=torch.Generator().manual_seed(1))
    drawn = pick(logits.expand(20_000, 8), Rng.of(4, np.arange(20_000)).at("pick").uniform(1)[:, 0])
    expected = logits.double().softmax(0).numpy() * 20_000
    seen = np.bincount(drawn.numpy(), minlength=8)
    assert chi2.sf(((seen - expected) ** 2 / expected).sum(), 7) > 0.001


# ---- a row's numbers are its own ----------------------------------------------------------------------------------


def test_a_row_has_the_same_numbers_in_any_company():
    rows = Rng.of(7, np.arange(20)).at("pick", np.arange(20))
    for i in (0, 3, 19):
        alone = Rng.of(7, i).at("pick", i)
        assert (alone.uniform(6)[0] == rows.uniform(6)[i]).all()
        assert torch.equal(alone.normal((2, 3))[0], rows.normal((2, 3))[i])
        assert (keep_mask(alone, 21, 0.5)[0] == keep_mask(rows, 21, 0.5)[i]).all()
    chosen = np.array([5, 5, 2])
    assert (rows.select(chosen).uniform(3) == rows.uniform(3)[chosen]).all()
    joined = Rng.join([rows.select(np.array([1])), rows.select(np.array([4, 0]))])
    assert (joined.uniform(3) == rows.uniform(3)[[1, 4, 0]]).all()
    assert len(joined) == 3
    assert (rows.uniform(4, start=3) == rows.uniform(7)[:, 3:]).all()


def test_other_seeds_rows_purposes_and_steps_are_other_numbers():
    keys = [Rng.of(s, r).at(p, t) for s in (0, 1) for r in (0, 1) for p in ("pick", "time") for t in (0, 1)]
    keys += [Rng.of(0, 0).fork(m).at("pick") for m in (0, 1)]
    assert len({k.uniform(1)[0, 0] for k in keys}) == len(keys)
    first, second = Rng.of(3, 4).generator().normal(size=5), Rng.of(3, 4).generator().normal(size=5)
    assert (first == second).all()
    assert (Rng.of(3, 5).generator().normal(size=5) != first).all()


def test_no_two_purposes_share_words():
    """A step is 2^32 words, so purposes whose hashes lie further apart than the most steps of a use never meet."""
    text = "\n".join(path.read_text() for path in Path(seqloom.__file__).parent.rglob("*.py"))
    purposes = sorted(set(re.findall(r'\.at\(\s*"([^"]+)"', text)))
    assert {"pick", "noise", "time", "reveal", "weights"} <= set(purposes)
    most = 2**22  # positions of a sample
    for i, one in enumerate(purposes):
        for other in purposes[:i]:
            apart = (int(fnv(one)) - int(fnv(other))) % M64
            assert min(apart, M64 - apart) > most * 2**32, (one, other)


# ---- quality ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["rows", "steps", "elements", "seeds", "constant sum", "row is step"])
def test_uniform_from_every_side(side):
    n = np.arange(40_000)
    numbers = {
        "rows": lambda: Rng.of(1, n).at("pick").uniform(1),
        "steps": lambda: Rng.of(np.ones_like(n), 2).at("pick", n).uniform(1),
        "elements": lambda: Rng.of(1, 2).at("pick").uniform(len(n)),
        "seeds": lambda: Rng.of(n, 0).at("pick").uniform(1),
        "constant sum": lambda: Rng.of(n, 50_000 - n).at("pick").uniform(1),
        "row is step": lambda: Rng.of(1, n).at("pick", n).uniform(1),
    }[side]().ravel()
    assert kstest(numbers, "uniform").pvalue > 0.001
    pairs = np.histogram2d(numbers[:-1], numbers[1:], bins=16, range=[[0, 1], [0, 1]])[0]
    assert chi2.sf(((pairs - len(n) / 256) ** 2 / (len(n) / 256)).sum(), 255) > 0.001
    low = (numbers * 2**40 % 256).astype(int)  # low bits too
    assert chi2.sf(((np.bincount(low, minlength=256) - len(n) / 256) ** 2 / (len(n) / 256)).sum(), 255) > 0.001


def test_every_bit_of_a_key_turns_half_of_the_word():
    def words(seed, row, step, element):
        return Rng.of(seed, row).at("pick", step).words(np.atleast_2d(element).T)[:, 0]

    random = np.random.default_rng(3)
    parts = [random.integers(0, 2**31, 400) for _ in range(4)]
    before = words(*parts)
    for which in range(4):
        for bit in range(31):
            turned = [part ^ (1 << bit) if i == which else part for i, part in enumerate(parts)]
            flips = np.unpackbits((before ^ words(*turned)).view(np.uint8)).mean()
            assert abs(flips - 0.5) < 6 * 0.5 / math.sqrt(400 * 64)


def test_normals_are_normal_and_rows_do_not_go_together():
    z = Rng.of(11, np.arange(256)).at("noise").normal((400,))
    assert z.dtype == torch.float32
    assert kstest(z.numpy().ravel(), "norm").pvalue > 0.001
    correlation = np.corrcoef(z.numpy())[np.triu_indices(256, 1)] * math.sqrt(400)
    assert correlation.std() == pytest.approx(1, abs=0.05)
    assert np.abs(correlation).max() < 6


def test_dropout_keeps_its_share():
    kept = keep_mask(Rng.of(0, np.arange(200)), 500, 0.75)
    assert kept.shape == (200, 500)
    assert kept.mean() == pytest.approx(0.75, abs=0.01)
    assert keep_mask(Rng.of(0, 0), 9, 1.0).all()
    assert not keep_mask(Rng.of(0, 0), 9, 0.0).any()


def test_mirrored_rows_are_antithetic_whatever_is_done_with_their_keys():
    rows = np.arange(3, 9)  # 3 is the second of its pair, 4 and 5 are one
    pairs = Rng.in_pairs(11, rows)
    assert pairs.signs.tolist() == [-1, 1, -1, 1, -1, 1]
    for key in (pairs.at("noise", 4), pairs.fork(2).at("noise"), pairs.at("noise").skip(5), pairs.select(rows - 3)):
        u, z = key.uniform(6), key.normal((6,))
        assert np.array_equal(u[1], 1 - u[2])
        assert torch.equal(z[3], -z[4])
        assert np.array_equal(key.words(rows)[1], key.words(rows)[2])
        assert np.array_equal(key.plain.uniform(6)[1], u[1])
        assert not np.array_equal(u[1], u[3])
    assert np.array_equal(pairs.uniform(4)[1::2], Rng.of(11, rows[1::2] // 2).uniform(4)), "one of two is as ever"
    alone = Rng.join([Rng.of(11, 0), pairs.select(slice(2, 3))])
    assert alone.signs.tolist() == [1, -1]
    assert np.array_equal(alone.uniform(4)[1], pairs.uniform(4)[2]), "a row is the same wherever it is"
