"""On an accelerator everything is as on the processor: losses, samples, scores, and the runs that come of it.

What is drawn at random is hashed from keys, so it is the same on every device, and what is left is rounding.
`pytest --gpu cpu tests/conformance/test_gpu.py` tries the tests themselves where there is no accelerator.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pairings import fits
from seqloom import fit, model, planning
from seqloom import run as runs
from seqloom.core import durable
from seqloom.core.config import members_of
from seqloom.core.errors import ConfigError, UnsupportedSpace
from seqloom.mixers.base import Mixer
from seqloom.network import graphs
from seqloom.processes.base import Process
from seqloom.processes.heads import Head
from seqloom.quantizing import quantize
from seqloom.samplers.beam import Beam

pytestmark = pytest.mark.gpu

TINY: dict[str, Any] = {
    "backbone": {"width": 16, "depth": 2, "dropout": 0.1},
    "feed": {"window": 12, "batch": 4},
    "trainer": {"steps": 6, "rate": 0.01, "precision": "float32"},
    "corpus": {"size": 2000},
}
DATA = {"tokens": "builtin:markov", "vectors": "builtin:var1"}
TEXT = "abcabdabcabcdaabcd"
WITH_ALL = ("lstm", "gru", "attention")
"""Mixers that are tried with every process; the others with the plainest."""


CASES = [
    (mixer, process, space)
    for mixer in sorted(members_of(Mixer))
    for process in sorted(members_of(Process))
    for space in DATA
    if fits(process, space) and (mixer in WITH_ALL or process == "autoregressive")
]
REPLAYED = [case for case in CASES if case[0] == "attention" or case[0] not in WITH_ALL]
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "the law of a prior": ("builtin:markov", {"process": {"name": "autoregressive", "prior": "ngram"}}),
    "laws from both sides": ("builtin:markov", {"process": {"name": "masked", "prior": "ngram"}}),
    "streams": ("builtin:markov", {"feed": {"order": "streams", "window": 12, "batch": 4}}),
    "tied ends": ("builtin:markov", {"backbone": {"tie": True}}),
    "muon": ("builtin:markov", {"trainer": {"optimizer": "muon"}}),
    "sgd": ("builtin:markov", {"trainer": {"optimizer": "sgd"}}),
    "a label": ("builtin:labels", {"corpus": {"size": 100}}),
    "a source": ("builtin:reverse", {"corpus": {"size": 100}}),
    "lags": (
        "builtin:var1",
        {"process": {"name": "autoregressive", "features": {"lags": {"lags": [3, 5], "difference": 5}}}},
    ),
    "features": (
        "builtin:var1",
        {"process": {"name": "gaussian", "features": [{"name": "window"}, {"name": "linear", "length": 6}]}},
    ),
    "channels": ("builtin:var1", {"process": "gaussian", "backbone": {"channels": "own", "patch": 3}}),
}


def trained(
    path: Path, data: str, values: dict[str, Any], device: str, until: int | None = None, resume: bool = False
) -> list[float]:
    """The losses of a run on a device; with `until`, it is dropped like a killed one after so many steps."""
    planned = planning.plan(data, values, out=path, resume=resume)
    events = fit.Fit(planned, save_every=0.0, device=device).events()
    for event in events:
        if event.kind == "saved" and event.step == until:
            events.close()  # type: ignore[attr-defined]
            break
    return [record["loss"] for record in durable.Journal.read(path / runs.LOG) if "loss" in record]


def merged(more: dict[str, Any], **backbone: Any) -> dict[str, Any]:
    values = {name: {**part, **more[name]} if isinstance(more.get(name), dict) else part for name, part in TINY.items()}
    values["backbone"] = {**values["backbone"], **backbone}
    return {**{name: part for name, part in more.items() if name not in TINY}, **values}


def same(one: Any, other: Any, near: float = 2e-3) -> None:
    """Two answers are alike: texts are equal, numbers up to rounding."""
    assert len(one.values) == len(other.values) > 0
    for a, b in zip(one.values, other.values, strict=True):
        if isinstance(a, str):
            assert a == b
        else:
            np.testing.assert_allclose(a.values, b.values, rtol=near, atol=near)


def compared(path: Path, device: str, value: Any, n: int = 3, **more: Any) -> None:
    """What a run gives on a device is what it gives on the processor."""
    here, there = (model.load(path, device=place) for place in ("cpu", device))
    for name in here.process.likelihoods():
        expected = here.score(value, seed=1, name=name, **more).nats
        assert there.score(value, seed=1, name=name, **more).nats == pytest.approx(expected, rel=1e-4, abs=1e-4)
    same(there.sample(n, 9, seed=5, **more), here.sample(n, 9, seed=5, **more))
    if more:
        return
    begun = "abca" if isinstance(value, str) else value.rows(0, 20)
    same(there.extend(begun, 20, n=2, seed=1), here.extend(begun, 20, n=2, seed=1))
    if not isinstance(value, str):
        paths, expected_paths = (m.forecast(begun, 8, n=4, seed=1).paths for m in (there, here))
        np.testing.assert_allclose(paths, expected_paths, rtol=2e-3, atol=2e-3)
    if not here.process.incremental:
        template: Any = "ab____cd"
        if not isinstance(value, str):
            numbers = begun.values.copy()
            numbers[5:9] = np.nan
            template = replace(begun, values=numbers, sheet=None)
        same(there.infill(template, n=2, seed=2), here.infill(template, n=2, seed=2))


def value_of(path: Path) -> Any:
    loaded = model.load(path)
    return next(iter(loaded.run.recipe.corpus.values(loaded.codec, "test")))  # type: ignore[union-attr]


@pytest.mark.parametrize(("mixer", "process", "space"), CASES, ids=["-".join(case) for case in CASES])
def test_a_run_there_is_a_run_here(mixer: str, process: str, space: str, tmp_path: Path, gpu: str) -> None:
    """Trained there, killed, gone on with here, and there again: the losses, scores and samples are those of here."""
    values = merged({"process": process}, mixer=mixer)
    expected = trained(tmp_path / "here", DATA[space], values, "cpu")
    trained(tmp_path / "there", DATA[space], values, gpu, until=2)
    trained(tmp_path / "there", DATA[space], values, "cpu", until=4, resume=True)
    assert trained(tmp_path / "there", DATA[space], values, gpu, resume=True) == pytest.approx(expected, rel=2e-3)
    compared(tmp_path / "there", gpu, TEXT if space == "tokens" else value_of(tmp_path / "there"))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("mixer", "process", "space"), REPLAYED, ids=["-".join(case) for case in REPLAYED])
def test_layers_that_are_replayed(
    mixer: str, process: str, space: str, precision: str, tmp_path: Path, gpu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is started as one graph computes what is started kernel by kernel, at every step."""
    more = {"process": process, "trainer": {"steps": 12, "precision": precision}, "feed": {"order": "windows"}}
    values = merged(more, mixer=mixer)
    losses = trained(tmp_path / "a", DATA[space], values, gpu)
    written: list[object] = []
    monkeypatch.setattr(graphs, "SEEN", 100)
    monkeypatch.setattr(graphs, "_written", lambda *given: written.append(given))
    assert losses == pytest.approx(trained(tmp_path / "b", DATA[space], values, gpu), rel=1e-3)
    assert not written


@pytest.mark.parametrize("mixer", ["attention", "lstm"])
@pytest.mark.parametrize("process", ["autoregressive", "masked"])
def test_what_is_replayed(process: str, mixer: str, tmp_path: Path, gpu: str) -> None:
    """A Transformer and a masked diffusion go by graphs; a recurrent network does not."""
    values = merged({"process": process, "feed": {"order": "windows"}}, mixer=mixer)
    training = fit.Fit(planning.plan(DATA["tokens"], values, out=tmp_path / "a"), device=gpu)
    assert [event.kind for event in training.events()][-1] == "done"
    assert bool(training.net.graphs._made) is (mixer == "attention" and gpu != "cpu")


@pytest.mark.parametrize("what", sorted(SETTINGS))
@pytest.mark.parametrize("mixer", ["lstm", "attention"])
def test_settings(what: str, mixer: str, tmp_path: Path, gpu: str) -> None:
    data, more = SETTINGS[what]
    values = merged(more, mixer=mixer)
    try:
        expected = trained(tmp_path / "here", data, values, "cpu")
    except ConfigError as error:
        pytest.skip(str(error))
    near = 0.05 if what == "muon" else 2e-3  # its matrices are made orthogonal in bfloat16 there
    assert trained(tmp_path / "there", data, values, gpu) == pytest.approx(expected, rel=near)
    loaded = model.load(tmp_path / "here")
    given = {}
    if loaded.given:
        name, codec = next(iter(loaded.given.items()))
        given = {"given": {name: codec.names[0] if codec.name == "label" else codec.alphabet[:4]}}
    compared(tmp_path / "there", gpu, TEXT if data == "builtin:markov" else value_of(tmp_path / "here"), **given)


@pytest.mark.parametrize("head", sorted(set(members_of(Head)) - {"categorical", "composed"}))
def test_heads(head: str, tmp_path: Path, gpu: str) -> None:
    values = merged({"process": {"name": "autoregressive", "head": head}}, mixer="lstm")
    try:
        expected = trained(tmp_path / "here", "builtin:var1", values, "cpu")
    except (ConfigError, UnsupportedSpace) as error:
        pytest.skip(str(error))
    assert trained(tmp_path / "there", "builtin:var1", values, gpu) == pytest.approx(expected, rel=2e-3)
    compared(tmp_path / "there", gpu, value_of(tmp_path / "here"))


@pytest.mark.parametrize("mixer", ["lstm", "attention"])
def test_beams_and_guidance(mixer: str, tmp_path: Path, gpu: str) -> None:
    values = merged({"corpus": {"size": 100}}, mixer=mixer)
    trained(tmp_path / "a", "builtin:labels", values, gpu)
    here, there = (model.load(tmp_path / "a", device=place) for place in ("cpu", gpu))
    label = {"label": here.given["label"].names[0]}
    for sampler in (Beam(), here.sampler.replace(guidance=2.0)):
        one, other = (m.sample(2, 8, seed=3, sampler=sampler, given=label) for m in (here, there))
        same(other, one)


@pytest.mark.parametrize("mixer", ["lstm", "gru", "attention"])
@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_packed_runs(mixer: str, precision: Any, tmp_path: Path, gpu: str) -> None:
    values = merged({"trainer": {"steps": 3}}, mixer=mixer, width=192, depth=1)
    trained(tmp_path / "a", "builtin:markov", values, gpu)
    quantize(tmp_path / "a", precision, out=tmp_path / "b")
    compared(tmp_path / "b", gpu, TEXT)


@pytest.mark.parametrize("mixer", ["lstm", "gru", "mingru", "attention"])
@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_training_in_less_precision_learns_as_much(mixer: str, precision: str, tmp_path: Path, gpu: str) -> None:
    """And what is done with the run later is in float32: its scores are those of the processor."""
    more = {"trainer": {"steps": 40, "precision": precision}, "feed": {"batch": 16}}
    values = merged(more, mixer=mixer, width=32)
    losses = trained(tmp_path / "there", "builtin:markov", values, gpu)
    exact = merged({**more, "trainer": {"steps": 40, "precision": "float32"}}, mixer=mixer, width=32)
    expected = trained(tmp_path / "here", "builtin:markov", exact, "cpu")
    assert losses != expected or (gpu, precision) == ("cpu", "tf32")
    assert np.mean(losses[-5:]) == pytest.approx(np.mean(expected[-5:]), rel=0.02)
    assert np.mean(losses[-5:]) < losses[0]
    compared(tmp_path / "there", gpu, TEXT)


def test_products_of_float32_keep_its_precision(gpu: str) -> None:
    """A recurrent layer as scores and samples have it is not computed in TF32, as cuDNN would by itself."""
    layer = members_of(Mixer)["lstm"]().build(256, 1)  # type: ignore[attr-defined]
    layer.initialise(torch.Generator().manual_seed(0))
    x = torch.randn(4, 64, 256, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = layer.double()(x.double())[0]
        out = layer.float().to(gpu)(x.to(gpu))[0].cpu().double()
    assert float((out - expected).norm() / expected.norm()) < 1e-5
