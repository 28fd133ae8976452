"""The toys' truths against enumeration, dense Gaussians and simulation."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chi2, multivariate_normal

from seqloom.corpora.memory import Copy, Recall, lags_up_to
from seqloom.corpora.toys import Labels, Markov, Reverse, Var1

CHAIN = Markov()
VAR = Var1()


# ---- markov -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 3, 5])
def test_markov_window_entropy_by_enumeration(length):
    logs = [CHAIN.log_prob(word) for word in itertools.product(range(5), repeat=length)]
    assert math.fsum(map(math.exp, logs)) == pytest.approx(1.0, abs=1e-12)
    assert -math.fsum(p * math.exp(p) for p in logs) == pytest.approx(CHAIN.window_entropy(length), rel=1e-12)


def test_markov_stationary_and_rate():
    np.testing.assert_allclose(CHAIN.stationary @ CHAIN.transition, CHAIN.stationary, atol=1e-14)
    assert CHAIN.stationary.sum() == pytest.approx(1.0)
    assert CHAIN.window_entropy(9) - CHAIN.window_entropy(8) == pytest.approx(CHAIN.entropy_rate)
    assert CHAIN.window_entropy(0) == 0 == CHAIN.log_prob("")
    # Worth learning: well below the entropy of single letters.
    assert CHAIN.entropy_rate < 0.8 * CHAIN.window_entropy(1)
    assert CHAIN.log_prob("abc") == pytest.approx(math.log(CHAIN.stationary[0] * 0.6 * 0.7))
    assert Markov(rows=((0.0, 1.0), (1.0, 0.0))).log_prob("aa") == -math.inf


def test_markov_stream_follows_its_law():
    n = 200_000
    text = CHAIN.stream(n, seed=3)
    assert len(text) == n
    assert CHAIN.stream(1000, seed=3) == text[:1000]
    assert CHAIN.stream(1000, seed=4) != text[:1000]
    x = CHAIN.indices(text)
    pairs = np.bincount(x[:-1] * 5 + x[1:], minlength=25).reshape(5, 5)
    expected = pairs.sum(1, keepdims=True) * CHAIN.transition
    statistic = ((pairs - expected) ** 2 / expected).sum()
    assert chi2.sf(statistic, 5 * 4) > 0.001
    # The log-probability of a stream nears its entropy; the error bar is that of independent terms, tripled.
    assert -CHAIN.log_prob(text) / n == pytest.approx(CHAIN.entropy_rate, abs=3 * 3 * 0.8 / math.sqrt(n))


def test_markov_starts_are_stationary():
    starts = Counter(CHAIN.stream(1, seed) for seed in range(5000))
    observed = np.array([starts[letter] for letter in CHAIN.alphabet])
    expected = 5000 * CHAIN.stationary
    assert chi2.sf(((observed - expected) ** 2 / expected).sum(), 4) > 0.001


# ---- var1 ---------------------------------------------------------------------------------------------------------


def dense(length):
    """Mean and covariance (2T,) of a window, cell (t, d) at 2t + d, from the lag covariances."""
    covariance = np.zeros((length, 2, length, 2))
    for t in range(length):
        for s in range(t + 1):
            covariance[t, :, s] = VAR.lag_covariance(t - s)
            covariance[s, :, t] = VAR.lag_covariance(t - s).T
    return np.tile(VAR.mean, length), covariance.reshape(2 * length, 2 * length)


def holed(length, seed, share=0.4):
    x = VAR.complete(length, seed)
    x[np.random.Generator(np.random.Philox(key=seed)).random(x.shape) < share] = np.nan
    return x


@pytest.mark.parametrize("seed", range(8))
def test_kalman_is_the_multivariate_normal_of_the_known_cells(seed):
    x = holed(9, seed)
    if seed == 0:
        x[:2] = np.nan  # whole rows missing, and the first ones
    mean, covariance = dense(9)
    known = ~np.isnan(x.reshape(-1))
    expected = multivariate_normal(mean[known], covariance[np.ix_(known, known)]).logpdf(x.reshape(-1)[known])
    assert VAR.log_likelihood(x) == (pytest.approx(expected, rel=1e-10), known.sum())


def test_nothing_known_has_log_likelihood_zero():
    assert VAR.log_likelihood(np.full((4, 2), np.nan)) == (0.0, 0)
    assert VAR.log_likelihood(np.zeros((0, 2))) == (0.0, 0)


@pytest.mark.parametrize(("past", "seed"), [(0, 0), (1, 1), (6, 2), (6, 3)])
def test_conditional_is_gaussian_conditioning(past, seed):
    x = holed(past, seed)
    horizon = 4
    mean, covariance = dense(past + horizon)
    a = np.flatnonzero(~np.isnan(x.reshape(-1)))
    b = np.arange(2 * past, 2 * (past + horizon))
    gain = covariance[np.ix_(b, a)] @ np.linalg.inv(covariance[np.ix_(a, a)])
    expected = mean[b] + gain @ (x.reshape(-1)[a] - mean[a])
    spread = covariance[np.ix_(b, b)] - gain @ covariance[np.ix_(a, b)]
    moments = VAR.conditional(x, horizon)
    np.testing.assert_allclose(moments[0].reshape(-1), expected, rtol=1e-10)
    np.testing.assert_allclose(moments[1], spread, rtol=1e-9, atol=1e-12)


def test_chain_rule_of_past_and_future():
    x = VAR.complete(10, 4)
    mean, covariance = VAR.conditional(x[:7], 3)
    later = multivariate_normal(mean.reshape(-1), covariance).logpdf(x[7:].reshape(-1))
    assert VAR.log_likelihood(x)[0] == pytest.approx(VAR.log_likelihood(x[:7])[0] + later, rel=1e-10)


def test_var1_is_stable_and_its_channels_hear_each_other():
    assert np.abs(np.linalg.eigvals(VAR.transition)).max() < 0.95
    assert (np.abs(np.array(VAR.coefficients)) > 0.2).all()
    a, s = VAR.transition, VAR.stationary_covariance
    np.testing.assert_allclose(s, a @ s @ a.T + VAR.innovation_covariance, rtol=1e-12)


def test_simulation_has_the_stated_moments():
    # 400 windows, each a draw of its own: error bars are the spread over windows, four standard errors wide.
    windows = np.stack([VAR.complete(200, seed) for seed in range(400)])
    centred = windows - np.array(VAR.mean)

    def close(each, expected):
        error = each.std(0, ddof=1) / math.sqrt(len(each))
        assert (np.abs(each.mean(0) - expected) < 4 * error).all()
        assert (error < 0.05 * np.sqrt(np.abs(np.diag(VAR.stationary_covariance))).max()).all()

    close(centred.mean(1), np.zeros(2))
    for lag in (0, 1, 3):
        late, early = centred[:, lag:], centred[:, : 200 - lag]
        close(np.einsum("ntd,nte->nde", late, early) / (200 - lag), VAR.lag_covariance(lag))
    start = np.einsum("nd,ne->nde", centred[:, 0], centred[:, 0])
    error = start.std(0, ddof=1) / math.sqrt(400)
    assert (np.abs(start.mean(0) - VAR.stationary_covariance) < 4 * error).all()


def test_missing_cells_are_the_stated_share_of_the_same_series():
    x, complete = VAR.series(20_000, 5), VAR.complete(20_000, 5)
    gone = np.isnan(x)
    assert (x[~gone] == complete[~gone]).all()
    assert abs(gone.mean() - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 40_000)
    np.testing.assert_array_equal(VAR.series(100, 5), x[:100])
    # The average log-density of a long series is near minus the entropy rate of complete rows, a little below it.
    total, count = VAR.log_likelihood(complete)
    rate = 0.5 * np.log(2 * np.pi * np.e * np.diag(VAR.innovation_covariance)).mean()
    assert -total / count == pytest.approx(rate, abs=4 * math.sqrt(0.5 / 40_000))
    holes, known = VAR.log_likelihood(x)
    assert known == (~gone).sum()
    assert rate < -holes / known < rate + 0.05


# ---- reverse ------------------------------------------------------------------------------------------------------


def test_reverse_pairs():
    toy = Reverse()
    pairs = toy.pairs(2000, seed=1, lengths=(3, 6))
    assert all(target == source[::-1] for source, target in pairs)
    assert toy.pairs(10, seed=1, lengths=(3, 6)) == pairs[:10]
    lengths = Counter(len(source) for source, _ in pairs)
    assert set(lengths) == {3, 4, 5, 6}
    assert chi2.sf(sum((c - 500) ** 2 / 500 for c in lengths.values()), 3) > 0.001
    letters = Counter("".join(source for source, _ in pairs))
    each = sum(letters.values()) / 8
    assert set(letters) == set(toy.alphabet)
    assert chi2.sf(sum((c - each) ** 2 / each for c in letters.values()), 7) > 0.001


def test_reverse_vectors_have_their_density():
    toy = Reverse()
    pairs = toy.vector_pairs(1000, seed=2, lengths=(5, 9))
    assert {len(source) for source, _ in pairs} == {5, 6, 7, 8, 9}
    assert all(source.shape == target.shape == (len(source), 1) for source, target in pairs)
    count = sum(len(source) for source, _ in pairs)
    values = np.concatenate([source for source, _ in pairs])
    assert abs(values.mean()) < 4 / math.sqrt(count)
    assert abs(values.var() - 1) < 4 * math.sqrt(2 / count)
    nats = -sum(toy.log_density(source, target) for source, target in pairs) / count
    assert nats == pytest.approx(toy.value_entropy, abs=4 * math.sqrt(0.5 / count))
    again = toy.vector_pairs(5, seed=2, lengths=(5, 9))
    assert all((a[1] == b[1]).all() for a, b in zip(again, pairs, strict=False))


# ---- labels -------------------------------------------------------------------------------------------------------


def test_labels_letters_have_their_law():
    toy = Labels()
    examples = toy.examples(4000, seed=1)
    assert toy.examples(7, seed=1) == examples[:7]
    classes = Counter(label for label, _ in examples)
    assert set(classes) == set(toy.names)
    assert chi2.sf(sum((c - 1000) ** 2 / 1000 for c in classes.values()), 3) > 0.001
    length = len(toy.word("up"))
    count = 4000 * length
    nats = -np.array([toy.log_prob(label, text) for label, text in examples]) / length
    assert nats.mean() == pytest.approx(toy.letter_entropy, abs=4 * nats.std() / math.sqrt(4000))
    # A wrong letter is any of the seven others alike.
    wrong = Counter(
        (toy.alphabet.index(letter) - toy.alphabet.index(right)) % 8
        for label, text in examples
        for letter, right in zip(text, toy.word(label), strict=True)
    )
    expected = np.array([0.9, *[0.1 / 7] * 7]) * count
    observed = np.array([wrong[k] for k in range(8)])
    assert chi2.sf(((observed - expected) ** 2 / expected).sum(), 7) > 0.001


def test_labels_probabilities_sum_to_one():
    toy = Labels(words=(("x", "abc"), ("y", "cba")), alphabet="abcd", error=0.3)
    for label in toy.names:
        words = ("".join(w) for w in itertools.product("abcd", repeat=3))
        assert math.fsum(math.exp(toy.log_prob(label, word)) for word in words) == pytest.approx(1.0)
    assert toy.log_prob("x", "ab") == toy.log_prob("x", "abz") == -math.inf
    assert toy.posterior("abc")["x"] == pytest.approx(0.7**2 / (0.7**2 + 0.1**2))


def test_labels_vectors_have_their_density():
    toy = Labels()
    examples = toy.vector_examples(2000, seed=3)
    length = len(toy.word("up"))
    nats = -np.array([toy.log_prob(label, value) for label, value in examples]) / length
    assert nats.mean() == pytest.approx(toy.value_entropy, abs=4 * math.sqrt(0.5 / (2000 * length)))
    ups = np.stack([value for label, value in examples if label == "up"])
    assert (np.abs(ups.mean(0) - toy.curve("up")) < 4.5 * toy.noise / math.sqrt(len(ups))).all()
    assert toy.curve("up").min() == -1
    assert toy.curve("up").max() == 1


def test_labels_can_be_told_apart():
    toy = Labels()
    for draw in (toy.examples(300, 5), toy.vector_examples(300, 5)):
        right = sum(max(p, key=lambda name: p[name]) == label for label, p in ((x, toy.posterior(v)) for x, v in draw))
        assert right >= 298


# ---- memory -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Copy, Recall])
def test_what_memory_asks_for_follows_and_the_rest_has_a_known_entropy(kind):
    toy = kind(32)
    texts = toy.texts(20_000, seed=5)
    assert toy.texts(10, 5) == texts[:10]
    assert sorted(Counter(map(toy.lag, texts))) == lags_up_to(32) == [8, 16, 32]
    assert chi2.sf(sum((n - 20_000 / 3) ** 2 / (20_000 / 3) for n in Counter(map(toy.lag, texts)).values()), 2) > 0.001
    for text in texts[:500]:
        answer = toy.answer(text)
        assert len(answer) == (toy.length if kind is Copy else toy.pairs)
        assert answer[-1] == len(text) - 1
        if kind is Copy:
            assert all(text[i] == text[i - toy.lag(text)] for i in answer)
        else:
            pairs = dict(zip(text[: 2 * toy.pairs : 2], text[1 : 2 * toy.pairs : 2], strict=True))
            assert answer[0] - (2 * toy.pairs - 1) == toy.lag(text)
            assert sorted(text[i - 1] for i in answer) == sorted(pairs)
            assert all(text[i] == pairs[text[i - 1]] for i in answer)


def test_the_entropy_of_memory_by_enumeration():
    copies = Counter(Copy(16, alphabet="ab", length=2).texts(40_000, 1))
    assert math.log(len(copies)) == pytest.approx(Copy(16, alphabet="ab", length=2).entropy)
    small = Recall(16, keys="abc", values="01", pairs=2)
    recalled = Counter(small.texts(40_000, 1))
    assert math.log(len(recalled)) == pytest.approx(small.entropy)  # all texts that there are, all as likely
    expected = 40_000 / len(recalled)
    assert chi2.sf(sum((n - expected) ** 2 / expected for n in recalled.values()), len(recalled) - 1) > 0.001
