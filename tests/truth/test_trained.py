"""Trained models against what is known: entropies, exact likelihoods, exact conditionals, and tasks that can be done.

Long trainings, so `slow`; each has a fast twin on an oracle in test_likelihoods, test_samplers and test_diffusion.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqloom import fit, planning
from seqloom.corpora.toys import Labels, Markov, Var1
from seqloom.model import Model, load
from seqloom.sequence.query import Score

pytestmark = pytest.mark.slow


def trained(folder: Path, data: str, word: str, steps: int, **settings: Any) -> Model:
    values = {"trainer": {"steps": steps}, "backbone": {"width": 64, "depth": 2}, **settings}
    for _ in fit.Fit(planning.plan(data, values, model=word, out=folder / word), preview=False).events():
        pass
    return load(folder / word)


def text_and_score(model: Model, characters: int) -> tuple[str, Score]:
    """The beginning of the test split, and what the model says that it costs."""
    assert model.run is not None
    text = next(iter(model.run.recipe.corpus.values(model.codec, "test")))[:characters]
    return text, model.score(text)


@pytest.mark.parametrize("word", ["rnn", "lstm", "gru", "transformer"])
def test_markov_stream(word: str, tmp_path: Path) -> None:
    """Within 2 % of what the text truly costs, which no model can be below but by chance."""
    text, score = text_and_score(trained(tmp_path, "builtin:markov", word, 1200), 8000)
    truth = -Markov().log_prob(text)
    assert score.kind == "exact"
    assert 0.995 * truth < score.nats < 1.02 * truth


@pytest.mark.parametrize("word", ["masked", "masked-lstm"])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_markov_windows(word: str, schedule: str, tmp_path: Path) -> None:
    """The bound over independent windows is within 2 % of their true cost, and so is the left-to-right value."""
    window = 12
    model = trained(
        tmp_path,
        "builtin:markov",
        word,
        6000,
        process={"name": "masked", "schedule": schedule},
        feed={"window": window, "batch": 64, "shorter": 0.0},
    )
    text, score = text_and_score(model, 660 * window)
    toy = Markov()
    truth = -sum(toy.log_prob(text[i : i + window]) for i in range(0, len(text), window))
    assert score.kind == "bound"
    assert truth - 3 * score.stderr < score.nats < 1.02 * truth + 3 * score.stderr
    exact = model.score(text[: 64 * window], name="likelihood_left_to_right", full=True)
    truth = -sum(toy.log_prob(text[i : i + window]) for i in range(0, 64 * window, window))
    assert exact.kind == "exact"
    assert 0.98 * truth < exact.nats < 1.04 * truth


@pytest.mark.parametrize("word", ["lstm", "transformer"])
def test_var1_autoregressive(word: str, tmp_path: Path) -> None:
    """Within 0.02 nats a value of the exact log-likelihood, missing cells and all."""
    model = trained(tmp_path, "builtin:var1", word, 1500, corpus={"size": 40_000})
    assert model.run is not None
    table = next(iter(model.run.recipe.corpus.values(model.codec, "test")))
    log_likelihood, count = Var1().log_likelihood(table.values)
    score = model.score(table)
    assert score.count == count
    assert abs(score.per_unit + log_likelihood / count) < 0.02


WINDOW = 16


@cache
def gaussian(folder: Path, word: str, features: bool) -> Model:
    settings: dict[str, Any] = {"feed": {"window": WINDOW, "batch": 64}, "corpus": {"size": 40_000}}
    if not features:
        settings["process"] = {"name": "gaussian", "features": []}
    return trained(folder, "builtin:var1", word, 4000, **settings)


@pytest.fixture(scope="module", params=["gaussian", "gaussian-lstm"])
def diffusion(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Without features: the level of this series does not shift, and read about that of a few rows less is known."""
    return gaussian(tmp_path_factory.mktemp("var1"), request.param, features=False)


@pytest.fixture(scope="module")
def framed(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """As advised: read about the level of what is shown."""
    return gaussian(tmp_path_factory.mktemp("var1"), "gaussian", features=True)


def test_var1_bound(diffusion: Model) -> None:
    """Above the exact value of the same windows, and within 0.15 nats a value."""
    assert diffusion.run is not None
    values = next(iter(diffusion.run.recipe.corpus.values(diffusion.codec, "test"))).values
    score = diffusion.score(next(iter(diffusion.run.recipe.corpus.values(diffusion.codec, "test"))))
    exact, count = 0.0, 0
    assert np.isnan(values).any()
    for i in range(0, len(values), WINDOW):
        log_likelihood, cells = Var1().log_likelihood(values[i : i + WINDOW])
        exact, count = exact - log_likelihood, count + cells
    assert score.kind == "bound"
    assert score.count == count
    assert exact / count - 3 * score.stderr / score.count < score.per_unit < exact / count + 0.15


def test_var1_samples(diffusion: Model) -> None:
    """Mean, covariance and lag-1 covariance of 600 samples, within four standard errors and 8 % of the spread."""
    paths = diffusion.sample(600, WINDOW, seed=1).paths
    assert paths is not None
    toy = Var1()
    truth, lag = toy.stationary_covariance, toy.lag_covariance(1)
    spread = np.sqrt(np.diag(truth))
    level = np.array([np.nanmean(toy.complete(100_000, 3), 0)])[0]
    error = spread * np.sqrt(8 / 600)  # 16 correlated rows a sample count as two
    assert (np.abs(paths.mean((0, 1)) - level) < 4 * error + 0.08 * spread).all()
    centred = paths - level
    scale = np.outer(spread, spread)
    covariance = np.einsum("ntd,nte->de", centred, centred) / centred.shape[0] / WINDOW
    assert (np.abs(covariance - truth) / scale < 4 * np.sqrt(2 / 1200) + 0.08).all()
    ahead = np.einsum("ntd,nte->de", centred[:, 1:], centred[:, :-1]) / centred.shape[0] / (WINDOW - 1)
    assert (np.abs(ahead - lag) / scale < 4 * np.sqrt(2 / 1200) + 0.08).all()


def test_var1_forecasts(diffusion: Model) -> None:
    """Given a known past, the forecasts have the exact conditional mean and spread, to a tenth of the spread."""
    check_forecasts(diffusion, 0.12)


def test_var1_forecasts_about_the_level_of_what_is_shown(framed: Model) -> None:
    """The same from twelve rows and their own mean, which is not that of the series, to a sixth of the spread."""
    check_forecasts(framed, 0.16)


def check_forecasts(diffusion: Model, share: float) -> None:
    assert diffusion.run is not None
    toy = Var1()
    table = next(iter(diffusion.run.recipe.corpus.values(diffusion.codec, "test")))
    spread = np.sqrt(np.diag(toy.stationary_covariance))
    horizon = 4
    for begin in (50, 250, 450):
        past = table.rows(begin, begin + WINDOW - horizon)
        paths = diffusion.forecast(past, horizon, n=400, seed=begin).paths
        assert paths is not None
        made = paths[:, -horizon:]
        mean, covariance = toy.conditional(past.values, horizon)
        deviation = np.sqrt(np.diag(covariance)).reshape(horizon, 2)
        assert (np.abs(made.mean(0) - mean) < share * spread + 4 * deviation / 20).all()
        assert (np.abs(made.std(0) / deviation - 1) < 0.25).all()


@pytest.mark.parametrize("word", ["transformer", "gru", "masked"])
def test_reverse_is_learned(word: str, tmp_path: Path) -> None:
    """A sequence is attended to: nine of ten letters of its reverse are right."""
    model = trained(tmp_path, "builtin:reverse", word, 3000)
    sources = ["abcdefgh", "hgfa", "ccabdae", "fedbha"]
    right = total = 0
    for source in sources:
        made = model.sample(1, 12, seed=1, given={"source": source}, sampler=model.sampler.replace(temperature=0.0))
        right += sum(a == b for a, b in zip(made.values[0], source[::-1], strict=False))
        total += len(source)
    assert right >= 0.9 * total


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ("builtin:labels", "gru"),
        ("builtin:labels", "masked"),
        ("builtin:labels-vectors", "lstm"),
        ("builtin:labels-vectors", "gaussian"),
    ],
)
def test_labels_are_heard(data: str, word: str, tmp_path: Path) -> None:
    """What is made under a label belongs to it, by the toy's exact posterior; guidance sharpens it."""
    model = trained(tmp_path, data, word, 1500)
    toy = Labels()
    for label in toy.names:
        answer = model.sample(20, seed=2, given={"label": label})
        length = len(toy.curve(label))
        values = [value[:length] if isinstance(value, str) else value.values[:length] for value in answer.values]
        posterior = [toy.posterior(value)[label] if len(value) == length else 0.0 for value in values]
        assert np.mean(posterior) > 0.75, label
