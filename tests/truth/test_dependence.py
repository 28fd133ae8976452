"""Columns that are drawn one by one and coupled: the law of each stays, and what they have in common comes back."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest, spearmanr

from seqloom import fit
from seqloom.core.rng import Rng
from seqloom.corpora.known_series import KNOWN
from seqloom.metrics.known import cross
from seqloom.model import load
from seqloom.processes.dependence import Coupled, correlation
from seqloom.processes.heads import BoundHead, Normal, StudentT
from seqloom.processes.shaped import Binned
from seqloom.sequence.space import Field, Vectors

TWO = Vectors(fields=(Field(name="a"), Field(name="b")))
RHO = 0.8
FACTOR = np.linalg.cholesky(np.array([[1.0, RHO], [RHO, 1.0]]))
ROWS = 20_000


@pytest.mark.parametrize("head", [Normal(), StudentT(), Binned()], ids=lambda head: head.name)
def test_coupled_draws_have_the_law_of_each_column_and_the_ranks_of_the_copula(head) -> None:
    params = torch.zeros(1, head.size(TWO)).double().expand(ROWS, -1)
    ones, keys = torch.ones(ROWS), Rng.of(3, np.arange(ROWS))
    alone = BoundHead(head, TWO).draw(params, Rng.of(4, np.arange(ROWS)), ones).numpy()
    coupled = BoundHead(head, TWO, dependence=FACTOR).draw(params, keys, ones).numpy()
    for d in range(2):
        assert kstest(coupled[:, d], alone[:, d]).pvalue > 1e-3
    assert abs(spearmanr(alone).statistic) < 4.5 / math.sqrt(ROWS)
    sides = np.sign(coupled - np.median(alone, 0))
    assert (sides[:, 0] * sides[:, 1]).mean() == pytest.approx(2 / math.pi * math.asin(RHO), abs=0.03)
    np.testing.assert_allclose(correlation([sides]), [[1, RHO], [RHO, 1]], atol=0.03)
    few = BoundHead(head, TWO, dependence=FACTOR).draw(params[:3], keys.select(np.arange(3)), ones[:3]).numpy()
    np.testing.assert_allclose(few, coupled[:3], rtol=1e-12, err_msg="a row depends on its own key alone")


def test_a_correlation_is_one_whatever_the_signs() -> None:
    same = np.ones((10, 3))
    same[::2] = -1
    found = correlation([same, same[:0]])
    assert np.linalg.eigvalsh(found).min() > 0
    assert found[0, 1] > 0.99
    assert np.diag(found) == pytest.approx(1)
    hidden = same.copy()
    hidden[:, 0] = 0
    assert correlation([hidden]) is None
    assert correlation([]) is None
    numbers = Coupled(Rng.of(0, np.arange(5)), FACTOR)
    np.testing.assert_array_equal(numbers.uniform(3), Rng.of(0, np.arange(5)).uniform(3))  # not one or two a column


def test_what_columns_have_in_common_comes_back_in_forecasts(tmp_path: Path) -> None:
    fit.train("builtin:coupled", model="lstm", steps=30, out=tmp_path / "run", corpus={"size": 2_000})
    model, law = load(tmp_path / "run"), KNOWN["coupled"]
    past = law.series(400, 0)
    assert model.network.dependence[0, 1] == pytest.approx(0.8, abs=0.12)
    assert not model.independence
    (x,) = [model.forecast({"x": past[:, 0], "y": past[:, 1]}, 1, n=400).paths[:, -1:]]
    truth = cross(law.futures(past, 1, 4_000, 1))[0, 1]
    assert cross(x)[0, 1] == pytest.approx(truth, abs=0.15)
    model.network.dependence = None
    assert model.independence
    alone = model.forecast({"x": past[:, 0], "y": past[:, 1]}, 1, n=400).paths[:, -1:]
    assert abs(cross(alone)[0, 1]) < 0.2
