"""The baselines against slow twins, closed forms and real text."""

import lzma
import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from seqloom.codecs.season import momentum_of, persistence_of, season_of
from seqloom.codecs.text import Characters
from seqloom.core.errors import DataError
from seqloom.corpora.files import corpus_of
from seqloom.evaluation.baselines.base import Baseline, BaselineScore, ForecastTask, baselines_of
from seqloom.evaluation.baselines.kneser_ney import KneserNey, kneser_ney
from seqloom.evaluation.baselines.numbers import Autoregression, autoregression, seasonal_naive
from seqloom.evaluation.baselines.symbols import compressed


def draw(seed):
    return np.random.Generator(np.random.Philox(key=seed))


def skewed(n, size, seed):
    """Text-like symbols: what follows depends on the two symbols before, unevenly."""
    rng = draw(seed)
    table = rng.dirichlet(np.full(size, 0.3), (size, size))
    symbols = [0, 1]
    for _ in range(n - 2):
        symbols.append(int(rng.choice(size, p=table[symbols[-2], symbols[-1]])))
    return np.array(symbols)


class Twin:
    """The same n-gram model by dictionaries, one symbol at a time."""

    def __init__(self, train, size, order):
        text = tuple(int(s) for s in train)
        self.size, self.order = size, order
        grams = {k: Counter(text[i : i + k] for i in range(len(text) - k + 1)) for k in range(1, order + 1)}
        self.counts = {order: grams[order]}
        for k in range(1, order):
            self.counts[k] = Counter(gram[1:] for gram in grams[k + 1])
        self.discounts = {k: self.discount(counts) for k, counts in self.counts.items()}

    @staticmethod
    def discount(counts):
        n = Counter(counts.values())
        if not all(n[i] for i in (1, 2, 3, 4)):
            return [0.0, 0.5, 1.0, 1.5]
        y = n[1] / (n[1] + 2 * n[2])
        raw = [(i - (i + 1) * y * n[i + 1] / n[i]) for i in (1, 2, 3)]
        return [0.0, *(min(max(d, 0.05), i + 1) for i, d in enumerate(raw))]

    def probability(self, symbol, context):
        p = 1 / self.size
        for k in range(1, min(self.order, len(context) + 1) + 1):
            before = tuple(context[len(context) - k + 1 :])
            after = {gram[-1]: c for gram, c in self.counts[k].items() if gram[:-1] == before}
            if not after:
                continue
            total = sum(after.values())
            saved = sum(self.discounts[k][min(c, 3)] for c in after.values())
            own = after.get(symbol, 0)
            p = (own - self.discounts[k][min(own, 3)]) / total + saved / total * p
        return p

    def nats(self, test, context=()):
        joined = [*map(int, context), *map(int, test)]
        start = len(context)
        return -sum(math.log(self.probability(joined[i], joined[:i])) for i in range(start, len(joined)))


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("continued", [False, True])
def test_kneser_ney_is_its_twin(order, continued):
    train, test = skewed(600, 6, 1), np.concatenate([skewed(60, 6, 2), [6, 6, 0, 1]])  # 6 is never seen in training
    twin = Twin(train, 7, order)
    expected = twin.nats(test, train[-(order - 1) :] if continued and order > 1 else ())
    assert kneser_ney(train, test, 7, order, continued=continued) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("length", [1, 3, 40, 5000])
def test_kneser_ney_is_a_distribution_after_any_context(length):
    size = 9
    train = skewed(length, 8, 3) if length > 2 else np.array([4])
    model = KneserNey(train, size, 4)
    rng = draw(4)
    contexts = [rng.integers(0, size, rng.integers(0, 6)) for _ in range(60)]
    contexts += [train[i : i + 3] for i in range(0, max(length - 3, 1), max(length // 30, 1))]
    for context in contexts:
        p = [math.exp(-model.surprisal(np.array([s]), context)[0]) for s in range(size)]
        assert sum(p) == pytest.approx(1.0, abs=1e-12)
        assert min(p) > 0


def test_kneser_ney_reads_a_long_test_in_blocks(monkeypatch):
    train, test = skewed(2000, 5, 5), skewed(500, 5, 6)
    whole = KneserNey(train, 5, 4).surprisal(test, train)
    monkeypatch.setattr("seqloom.evaluation.baselines.kneser_ney._BLOCK", 7)
    np.testing.assert_allclose(KneserNey(train, 5, 4).surprisal(test, train), whole, rtol=1e-12)


def test_kneser_ney_of_nothing_is_uniform_and_of_any_alphabet():
    assert kneser_ney(np.zeros(0, np.int64), np.array([0, 3]), 4) == pytest.approx(2 * math.log(4))
    assert kneser_ney(np.array([1, 2]), np.zeros(0, np.int64), 4) == 0
    large = np.array([60_000, 5, 60_000, 5, 7, 60_000] * 20)
    twin = Twin(large, 70_000, 5)
    assert kneser_ney(large, large[:12], 70_000) == pytest.approx(twin.nats(large[:12]), rel=1e-12)


def test_kneser_ney_fits_only_the_end_of_a_long_text(monkeypatch):
    train, test = skewed(900, 5, 7), skewed(100, 5, 8)
    monkeypatch.setattr("seqloom.evaluation.baselines.kneser_ney.LONGEST_TRAIN", 300)
    cut = kneser_ney(train, test, 5)
    assert cut == kneser_ney(train[-300:], test, 5)
    assert cut != pytest.approx(float(KneserNey(train, 5).surprisal(test).sum()), rel=1e-4)


def test_a_longer_context_helps_on_data_that_have_one():
    train, test = skewed(20_000, 6, 9)[:18_000], skewed(20_000, 6, 9)[18_000:]
    one, two, three = (kneser_ney(train, test, 6, order) for order in (1, 2, 3))
    assert three < 0.9 * two < 0.9 * one


def test_xz_is_the_difference_of_two_files():
    train, test = bytes(draw(1).integers(97, 101, 3000, dtype=np.uint8)), b"abcd" * 10
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 22}]
    sizes = [
        len(lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_NONE, filters=filters)) for data in (train + test, train)
    ]
    assert compressed(train, test) == pytest.approx(8 * math.log(2) * (sizes[0] - sizes[1]))
    assert compressed(train, train) < 0.1 * compressed(b"", train)  # the dictionary does reach back
    assert compressed(train, b"") == 0


def test_xz_keeps_to_its_dictionary(monkeypatch):
    noise = bytes(draw(2).integers(0, 256, 9000, dtype=np.uint8))
    monkeypatch.setattr("seqloom.evaluation.baselines.symbols.LARGEST_DICTIONARY", 6000)
    assert compressed(noise, noise[:3000]) > 0.9 * 3000 * 8 * math.log(2)  # what is repeated lies too far back
    assert compressed(noise, noise[-3000:]) < 0.1 * 3000 * 8 * math.log(2)


def scored(path, content, settings=None):
    """The baselines that a file's codec names, by name, and what is said of those that could not be taken."""
    path.write_text(content)
    corpus = corpus_of(str(path), {"splits": [0.5, 0.25, 0.25]} if settings is None else settings)
    prepared = corpus.prepare(None, {})
    scores, notes = baselines_of(corpus, prepared)
    return {score.name: score for score in scores}, notes, corpus, prepared


def test_baselines_of_text_count_bytes(tmp_path):
    text = "the cat sat on the mat; the dög sat on the log. " * 30
    scores, notes, corpus, prepared = scored(tmp_path / "a.txt", text + "Ω" * 3 + text[:47])
    test = prepared.splits["test"]
    assert list(scores) == ["unigram", "5-gram", "xz"]
    assert {score.count for score in scores.values()} == {test.units}
    assert {score.unit for score in scores.values()} == {"byte"}
    assert notes == []
    x, y = (np.asarray(prepared.splits[name].data.x) for name in ("train", "test"))
    size = prepared.codec.space.size
    assert test.extra_nats == pytest.approx(3 * 2 * 8 * math.log(2))  # three unknown characters of two bytes
    assert scores["5-gram"].nats == pytest.approx(kneser_ney(x, y, size) + test.extra_nats)
    assert scores["unigram"].nats == pytest.approx(kneser_ney(x, y, size, 1) + test.extra_nats)
    parts = [
        b"".join(prepared.codec.show(v) for v in corpus.values(prepared.codec, name)) for name in ("train", "test")
    ]
    assert scores["xz"].nats == pytest.approx(compressed(*parts))
    assert BaselineScore("x", 4 * math.log(2), 2.0, "byte", "").bits_per_unit == pytest.approx(2.0)


def test_a_baseline_of_ones_own_is_a_class_and_one_that_fails_is_said(tmp_path, monkeypatch):
    class Constant(Baseline, name="constant-for-a-test"):
        def score(self, material):
            return 3.0, material.units, "three nats"

    class Refusing(Baseline, name="refusing-for-a-test"):
        def score(self, material):
            raise DataError("too little of it")

    monkeypatch.setattr(Characters, "baselines", ("constant-for-a-test", "refusing-for-a-test"))
    try:
        scores, notes, _, prepared = scored(tmp_path / "a.txt", "abcabd" * 100)
    finally:
        for name in ("constant-for-a-test", "refusing-for-a-test"):
            del Baseline.members[name]
    assert list(scores) == ["constant-for-a-test"]
    assert scores["constant-for-a-test"].nats_per_unit == 3 / prepared.splits["test"].units
    assert notes == ["the baseline refusing-for-a-test could not be taken: too little of it"]


@pytest.mark.skipif(not os.environ.get("SEQLOOM_DATA"), reason="SEQLOOM_DATA names no folder of data sets")
def test_kneser_ney_on_shakespeare():
    text = (Path(os.environ["SEQLOOM_DATA"]) / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")
    symbols = {c: i for i, c in enumerate(sorted(set(text)))}
    x = np.array([symbols[c] for c in text])
    border = len(x) * 9 // 10
    nats = kneser_ney(x[:border], x[border:], len(symbols), continued=True) / (len(x) - border)
    assert 1.5 < nats < 1.65


# ---- series -------------------------------------------------------------------------------------------------------


def seasonal(n, season, seed, noise=0.3, width=2):
    rng = draw(seed)
    wave = np.sin(2 * np.pi * np.arange(n) / season)[:, None] * np.arange(1, width + 1)
    return 20 + wave * 5 + noise * rng.standard_normal((n, width))


@pytest.mark.parametrize(("season", "step"), [(24, 3600.0), (96, 900.0), (7, 86_400.0), (12, 2_629_746.0), (60, 60.0)])
def test_the_season_is_found_with_and_without_a_time_step(season, step):
    x = seasonal(season * 12, season, 1) + np.linspace(0, 30, season * 12)[:, None]  # a trend is no season
    x[draw(2).random(x.shape) < 0.1] = np.nan
    assert season_of([x], step) == season
    assert season_of([x]) == season


@pytest.mark.parametrize("share", [0.0, 0.6, 0.95])
def test_momentum_is_how_much_of_a_change_is_there_again(share):
    rng = np.random.default_rng(0)
    change = np.zeros((20_000, 2))
    for t in range(1, len(change)):
        change[t] = share * change[t - 1] + rng.normal(size=2)
    x = change.cumsum(0)
    x[100:110, 1] = np.nan
    momentum, left = momentum_of([x[:9000], x[9000:], x[:1]])
    assert momentum == pytest.approx(share, abs=0.03)
    assert left == pytest.approx((1 - share**2) ** 0.5, abs=0.02)
    assert momentum_of([x[:2]]) == momentum_of([np.ones((9, 1))]) == (0.0, 1.0)


def test_what_mostly_goes_on_as_it_did_has_a_momentum_of_one():
    rng = np.random.default_rng(0)
    change = np.repeat(rng.normal(size=(200, 2)), 5, 0)  # turns at every fifth element, some of them back
    momentum, left = momentum_of([change.cumsum(0)])
    assert momentum == pytest.approx(1.0)
    assert left == pytest.approx((0.2 * 2) ** 0.5, abs=0.05)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_persistence_is_the_coefficient_of_an_autoregression(share):
    """Of x[t] = share x[t-1] + noise, a fifth missing, beside a column that never moves and one that is unknown."""
    rng = np.random.Generator(np.random.Philox(key=7))
    x = np.zeros((20_000, 3))
    for t in range(1, len(x)):
        x[t, 0] = share * x[t - 1, 0] + rng.standard_normal()
    x[:, 2] = np.nan
    x[rng.random(len(x)) < 0.2, 0] = np.nan
    assert persistence_of([x[:9000], x[9000:]]) == pytest.approx(share, abs=0.03)
    assert persistence_of([x[:, 1:]]) == 0.0


def test_no_season_is_found_where_there_is_none():
    rng = draw(3)
    assert season_of([rng.standard_normal((2000, 2))]) == 1
    assert season_of([np.cumsum(rng.standard_normal((2000, 1)), 0)]) == 1
    assert season_of([np.ones((100, 1))]) == 1
    assert season_of([np.full((100, 1), np.nan)]) == 1
    assert season_of([seasonal(40, 24, 1)]) == 1  # not three of them in the data


def test_a_week_is_preferred_where_it_says_more_than_the_day():
    hours = np.arange(24 * 7 * 8)
    day = np.sin(2 * np.pi * hours / 24)
    week = 3.0 * (hours // 24 % 7 >= 5)
    noise = 0.1 * draw(5).standard_normal(len(hours))
    assert season_of([(day + noise)[:, None]], 3600.0) == 24
    assert season_of([(day + week + noise)[:, None]], 3600.0) == 168


def slow_naive(train, test, season):
    """Nats by one loop over the cells."""
    joined = np.concatenate([train, test])

    def before(t, d):
        at = t - season
        while at >= 0 and np.isnan(joined[at, d]):
            at -= season
        return joined[at, d] if at >= 0 else None

    nats, count = 0.0, 0
    for d in range(train.shape[1]):
        pairs = [(joined[t, d], before(t, d)) for t in range(len(train)) if not np.isnan(joined[t, d])]
        errors = [(a - b) ** 2 for a, b in pairs if b is not None]
        own = [a for a, _ in pairs]
        for t in range(len(train), len(joined)):
            if np.isnan(joined[t, d]):
                continue
            guess = before(t, d)
            scale = np.std(own) if guess is None else math.sqrt(np.mean(errors))
            guess = np.mean(own) if guess is None else guess
            nats += 0.5 * ((joined[t, d] - guess) / scale) ** 2 + math.log(scale) + 0.5 * math.log(2 * math.pi)
            count += 1
    return nats, count


@pytest.mark.parametrize("season", [1, 5, 7])
def test_seasonal_naive_is_its_twin(season):
    x = seasonal(61, 7, 6)
    x[draw(7).random(x.shape) < 0.3] = np.nan
    x[:40:7, 0] = np.nan  # a phase that training does not have
    nats, count = seasonal_naive(x[:40], x[40:], season)
    expected = slow_naive(x[:40], x[40:], season)
    assert (nats, count) == (pytest.approx(expected[0], rel=1e-10), expected[1])


def test_documents_do_not_see_each_other():
    a, b, c = seasonal(50, 7, 8), seasonal(30, 7, 9) + 100, seasonal(30, 7, 10)
    nats, count = seasonal_naive([a, b], [c], 7, continued=False)
    # Errors of training come from each document alone, and the first season of a test document knows only the mean.
    scale = np.sqrt(np.mean(np.concatenate([a[7:] - a[:-7], b[7:] - b[:-7]]) ** 2, 0))
    joined = np.concatenate([a, b])
    error = np.concatenate([(c[:7] - joined.mean(0)) / joined.std(0), (c[7:] - c[:-7]) / scale])
    scales = np.concatenate([np.tile(joined.std(0), (7, 1)), np.tile(scale, (23, 1))])
    expected = (0.5 * error**2 + np.log(scales) + 0.5 * math.log(2 * math.pi)).sum()
    assert nats == pytest.approx(expected)
    assert count == 60


def test_a_channel_that_never_changes_stays_finite():
    x = np.full((60, 1), 5.0)
    for score in (seasonal_naive(x[:50], x[50:], 1), autoregression(x[:50], x[50:])):
        assert math.isfinite(score[0])
        assert score[1] == 10


def ar2(n, seed):
    rng = draw(seed)
    x = np.zeros((n, 2))
    for t in range(2, n):
        x[t, 0] = 0.5 * x[t - 1, 0] - 0.4 * x[t - 2, 1] + 0.3 * rng.standard_normal()
        x[t, 1] = 0.6 * x[t - 1, 1] + 0.2 * x[t - 1, 0] + 0.5 * rng.standard_normal()
    return x * np.array([10.0, 0.1]) + np.array([300.0, -5.0])


def test_autoregression_is_least_squares_and_crosses_the_border():
    x = ar2(400, 11)
    train, test = x[:300], x[300:]
    lag = np.concatenate([np.ones((398, 1)), x[1:-1], x[:-2]], 1)
    solution, *_ = np.linalg.lstsq(lag[:298], x[2:300])
    scale = np.sqrt(np.mean((x[2:300] - lag[:298] @ solution) ** 2, 0))
    error = (test - lag[298:] @ solution) / scale
    expected = (0.5 * error**2 + np.log(scale) + 0.5 * math.log(2 * math.pi)).sum()
    nats, count = autoregression(train, test, 2)
    assert nats == pytest.approx(expected, rel=1e-5)
    assert count == 200
    alone, _ = autoregression(train, test, 2, continued=False)
    assert alone > nats  # its first rows lack their past


def test_rows_with_few_before_them_have_as_many_lags_as_there_are():
    """Tracks begin far from each other and move little: without lags a second row is far from all that is learned."""
    rng = np.random.default_rng(0)
    tracks = [rng.normal(0, 100) + np.cumsum(rng.normal(0, 0.1, (12, 1)), 0) for _ in range(400)]
    train, test = tracks[:300], tracks[300:]
    nats, count = autoregression(train, test, 6, continued=False)
    step, first = 0.5 * math.log(2 * math.pi * math.e * 0.1**2), 0.5 * math.log(2 * math.pi * math.e * 100**2)
    assert nats / count == pytest.approx((11 * step + first) / 12, abs=0.1)
    task = ForecastTask(train, [one[:4] for one in test], [0] * len(test), 3, 1, lambda _: None)
    paths = Autoregression().forecast(task).paths
    error = [abs(np.median(one, 0)[0] - track[4]).item() for one, track in zip(paths, test, strict=True)]
    assert np.mean(error) < 0.15


def test_autoregression_finds_its_order_and_nears_the_truth(tmp_path):
    x = ar2(12_000, 12)
    content = "a,b\n" + "".join(f"{a!r},{b!r}\n" for a, b in x.tolist())
    scores, *_ = scored(tmp_path / "ar.csv", content, {"splits": [5 / 6, 0, 1 / 6]})
    assert list(scores) == ["mean", "last value", "linear with lags"]  # no season: that would be the last value again
    assert scores["linear with lags"].note.startswith("2 lags")
    truth = math.log(0.3 * 10) + math.log(0.5 * 0.1) + math.log(2 * math.pi) + 1
    # 4,000 cells, each of standard deviation 1/sqrt 2 nats: a standard error of .011.
    assert scores["linear with lags"].nats_per_unit == pytest.approx(truth / 2, abs=0.035)
    assert scores["last value"].nats_per_unit > scores["linear with lags"].nats_per_unit + 0.1
    train, test = x[:10_000], x[10_000:]
    normal = (0.5 * ((test - train.mean(0)) / train.std(0)) ** 2 + np.log(train.std(0))).mean()
    assert scores["mean"].nats_per_unit == pytest.approx(normal + 0.5 * math.log(2 * math.pi))


def test_missing_cells_are_not_scored_and_cost_little():
    x = ar2(6000, 13)
    holes = x.copy()
    holes[draw(14).random(x.shape) < 0.05] = np.nan
    whole = autoregression(x[:5000], x[5000:])
    some = autoregression(holes[:5000], holes[5000:])
    assert some[1] == np.sum(~np.isnan(holes[5000:]))
    assert whole[0] / whole[1] - 0.02 < some[0] / some[1] < whole[0] / whole[1] + 0.15
    other = holes.copy()
    other[:, 1] = np.nan  # a channel that is never known adds nothing
    alone = autoregression(holes[:5000, :1], holes[5000:, :1], 1)
    both = autoregression(other[:5000], other[5000:], 1)
    assert both == (pytest.approx(alone[0], rel=1e-6), alone[1])


@pytest.mark.parametrize("rows", [1, 2, 5, 30])
def test_little_data_give_finite_numbers(rows):
    x = seasonal(rows + 4, 7, 15, width=3)
    for nats, count in (seasonal_naive(x[:rows], x[rows:], 7), autoregression(x[:rows], x[rows:])):
        assert math.isfinite(nats)
        assert count == 12
