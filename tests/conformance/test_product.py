"""Every mixer with every process on every space that fits: trained, sampled, scored, killed, resumed and loaded.

Members are found by the registry, so a new one is tested without being named here.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pairings import PLAIN, fits, marks
from seqloom import fit, model, planning
from seqloom import run as runs
from seqloom.core import durable
from seqloom.core.config import members_of, parse_pairs
from seqloom.core.errors import UnsupportedQuery, UnsupportedSpace
from seqloom.mixers.base import Mixer
from seqloom.processes.base import Process
from seqloom.sequence.canvas import Encoded

TINY: dict[str, Any] = {
    "backbone": {"width": 16, "depth": 1, "dropout": 0.1},
    "feed": {"window": 12, "batch": 4},
    "trainer": {"steps": 6, "rate": 0.01},
}
SPACES = {"tokens": "builtin:markov", "vectors": "builtin:var1"}


CASES = [(m, p, s) for m in members_of(Mixer) for p in members_of(Process) for s in SPACES if fits(p, s)]
VARIANTS: dict[str, Any] = {
    "autoregressive with lags": {
        "name": "autoregressive",
        "features": {"lags": {"lags": [3, 5], "difference": 5}},
    },
    "autoregressive about what is expected": {
        "name": "autoregressive",
        "features": [{"name": "window", "length": 6}, {"name": "linear", "length": 6}],
    },
    "gaussian about what is expected": {
        "name": "gaussian",
        "features": [{"name": "window"}, {"name": "linear", "length": 6}],
    },
    "masked at learned times": {"name": "masked", "schedule": "learned"},
}
CASES += [(m, "autoregressive with lags", "vectors") for m in ("lstm", "attention")]
CASES += [("gru", "autoregressive about what is expected", "vectors")]
CASES += [("attention", "gaussian about what is expected", "vectors")]
CASES += [("attention", "masked at learned times", "tokens")]
REFUSED = [(p, s) for p in members_of(Process) for s in SPACES if not fits(p, s)]
# Labels are tried fast with every process and a GRU; attention, and sources, which take long, with the plainest.
FAST = {
    ("gru", "label"): set(members_of(Process)),
    ("attention", "label"): PLAIN,
    ("gru", "source"): PLAIN,
}
CONDITIONS = [
    pytest.param(m, p, data, given, marks=[] if p in FAST.get((m, given), ()) else [pytest.mark.slow])
    for m in ("gru", "attention")
    for p in members_of(Process)
    for data, given, space in (
        ("builtin:labels", "label", "tokens"),
        ("builtin:labels-vectors", "label", "vectors"),
        ("builtin:reverse", "source", "tokens"),
        ("builtin:reverse-vectors", "source", "vectors"),
    )
    if fits(p, space)
]


def settings(mixer: str, process: str, **more: Any) -> dict[str, Any]:
    backbone = {**TINY["backbone"], "mixer": mixer, **more.pop("backbone", {})}
    return {**TINY, "backbone": backbone, "process": VARIANTS.get(process, process), "corpus": {"size": 2000}, **more}


def trained(path: Path, data: str, values: dict[str, Any], until: int | None = None, resume: bool = False) -> runs.Run:
    """A run of six steps, each saved; with `until`, dropped like a killed one after that many."""
    planned = planning.plan(data, values, out=path, resume=resume)
    events = fit.Fit(planned, save_every=0.0).events()
    for event in events:
        if event.kind == "saved" and event.step == until:
            events.close()  # type: ignore[attr-defined]
            break
    return runs.read(path)


@pytest.fixture(
    scope="module", params=[pytest.param(case, marks=marks(*case[:2]), id="-".join(case)) for case in CASES]
)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Any]:
    mixer, process, space = request.param
    path = tmp_path_factory.mktemp("run") / "a"
    trained(path, SPACES[space], settings(mixer, process))
    return space, path, settings(mixer, process)


def test_training_ran_and_is_finite(made: tuple[str, Path, Any]) -> None:
    _, path, _ = made
    losses = [r["loss"] for r in durable.Journal.read(path / runs.LOG) if "loss" in r]
    assert len(losses) == 6
    assert all(math.isfinite(loss) for loss in losses)


def test_resumed_equals_uninterrupted_to_the_bit(made: tuple[str, Path, Any], tmp_path: Path) -> None:
    space, path, values = made
    trained(tmp_path / "b", SPACES[space], values, until=3)
    trained(tmp_path / "b", SPACES[space], values, resume=True)
    for part in ("weights", "average", "training"):
        one, other = (folder / "checkpoints" / "00000006" / f"{part}.safetensors" for folder in (path, tmp_path / "b"))
        assert one.read_bytes() == other.read_bytes(), part


def test_resuming_a_finished_run_changes_nothing(made: tuple[str, Path, Any]) -> None:
    space, path, values = made
    before = {f: f.read_bytes() for f in path.rglob("*") if f.is_file() and f.name != "lock"}
    trained(path, SPACES[space], values, resume=True)
    assert {f: f.read_bytes() for f in path.rglob("*") if f.is_file() and f.name != "lock"} == before


def test_verbs_or_their_refusal(made: tuple[str, Path, Any]) -> None:
    """sample, extend past the window, infill (or a refusal that names what can), score; row i depends on (seed, i)."""
    space, path, _ = made
    loaded = model.load(path)
    answer = loaded.sample(3, 9, seed=5)
    assert len(answer.values) == 3
    again = model.load(path, weights="last").sample(1, 9, seed=5)
    if space == "tokens":
        assert [len(value) for value in answer.values] == [9, 9, 9]
        prefix, template = "abca", "ab____cd"
        for value in loaded.extend(prefix, 30, n=2, seed=1).values:
            assert value.startswith(prefix)
            assert len(value) == 34
    else:
        history = next(iter(loaded.run.recipe.corpus.values(loaded.codec, "train"))).rows(0, 20)  # type: ignore[union-attr]
        paths = loaded.forecast(history, 15, n=2, seed=1).paths
        assert paths is not None
        assert paths.shape == (2, 35, 2)
        assert np.isfinite(paths[:, 20:]).all()
        np.testing.assert_allclose(paths[0, :20], history.values, rtol=1e-5)
        values = history.values.copy()
        values[5:9] = np.nan
        template = replace(history, values=values, sheet=None)
    if loaded.process.incremental:
        with pytest.raises(UnsupportedQuery, match="after a gap") as refusal:
            loaded.infill(template)
        assert ("masked" if space == "tokens" else "gaussian") in refusal.value.hint
    else:
        filled = loaded.infill(template, n=2, seed=2).values
        if space == "tokens":
            assert all(v[:2] == "ab" and v[6:] == "cd" and "_" not in v for v in filled)
        else:
            assert all(np.isfinite(v.values[5:9]).all() for v in filled)
    if space == "tokens" and again.values[0] != answer.values[0]:
        assert loaded.notes != model.load(path, weights="last").notes, "the same weights and key give the same row"


def test_scores(made: tuple[str, Path, Any]) -> None:
    space, path, _ = made
    loaded = model.load(path)
    value = (
        "abcabdabcabcdaabcd"
        if space == "tokens"
        else next(
            iter(loaded.run.recipe.corpus.values(loaded.codec, "test"))  # type: ignore[union-attr]
        )
    )
    for name, likelihood in loaded.process.likelihoods().items():
        score = loaded.score(value, name=name, tokens=True)
        assert score.kind == likelihood.kind
        assert math.isfinite(score.nats)
        assert score.count > 0
        assert score.surprisal is not None
        assert sum(score.surprisal) == pytest.approx(score.nats, rel=1e-6)
        assert (score.stderr > 0) == (likelihood.draws > 1)


@pytest.mark.parametrize(("process", "space"), REFUSED)
def test_what_does_not_fit_is_refused_and_leaves_nothing(process: str, space: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedSpace) as refusal:
        trained(tmp_path / "a", SPACES[space], settings("gru", process))
    assert refusal.value.hint, "it says what can be done instead"
    assert not (tmp_path / "a").exists()


def two_values(codec: Any) -> list[Any]:
    """Two conditions that a fitted codec can encode."""
    if codec.name == "label":
        return list(codec.names[:2])
    if codec.name == "characters":
        return [codec.alphabet[:4], codec.alphabet[3::-1]]
    x = np.linspace(-1, 1, 4, dtype=np.float32)[:, None].repeat(codec.space.dim, 1)
    return [codec.decode(Encoded(v, np.ones(v.shape, bool))) for v in (x, -x)]


@pytest.mark.parametrize(("mixer", "process", "data", "given"), CONDITIONS)
def test_conditions(mixer: str, process: str, data: str, given: str, tmp_path: Path) -> None:
    """A label is added and a sequence attended to, in every process that fits; the condition changes what is made."""
    trained(tmp_path / "a", data, settings(mixer, process, corpus={"size": 100}, trainer={"steps": 10, "rate": 0.02}))
    loaded = model.load(tmp_path / "a")
    values = two_values(loaded.given[given])
    target = next(iter(loaded.run.recipe.corpus.values(loaded.codec, "test")))  # type: ignore[union-attr]
    nats = {loaded.score(target, given=g).nats for g in ({given: values[0]}, {given: values[1]}, {})}
    assert len(nats) == 3, "each condition, and none, is heard"
    assert loaded.sample(1, 6, seed=3, given={given: values[0]}).rows == [0]
    if loaded.process.incremental and data.endswith("vectors"):
        with pytest.raises(UnsupportedQuery, match="guidance"):
            loaded.sample(1, 6, sampler=loaded.sampler.replace(guidance=2.0), given={given: values[0]})
    else:
        guided = loaded.sample(2, 6, seed=3, sampler=loaded.sampler.replace(guidance=2.0), given={given: values[0]})
        assert len(guided.values) == 2
    with pytest.raises(UnsupportedQuery, match="no condition 'colour'"):
        loaded.sample(1, 6, given={"colour": "red"})


def test_hybrid_of_a_list_of_mixers(tmp_path: Path) -> None:
    values = settings("gru", "autoregressive", backbone={"mixer": ["gru", "attention"], "depth": 2})
    trained(tmp_path / "a", "builtin:markov", values)
    assert len(model.load(tmp_path / "a").sample(1, 30, seed=0).values[0]) == 30


def test_plain_textbook_settings_train(tmp_path: Path) -> None:
    """The plain noise-prediction loss and the textbook recurrent stack, as key=value words give them."""
    words = parse_pairs(
        ["process.schedule=linear", "process.prediction=noise", "backbone.norm=none", "backbone.residual=false"]
    )
    values = settings("lstm", "autoregressive")
    values["process"] = {"name": "gaussian", **words["process"]}
    values["backbone"] = {**values["backbone"], **words["backbone"]}
    trained(tmp_path / "a", "builtin:var1", values)
    assert len(model.load(tmp_path / "a").sample(1, 12, seed=0).values) == 1
