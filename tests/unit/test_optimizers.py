"""Optimizers: what a step is against a plain reference, and that a resumed training is the uninterrupted one."""

from pathlib import Path

import pytest
import torch

from seqloom import fit, planning
from seqloom import run as runs
from seqloom.core.config import members_of
from seqloom.core.speeds import Speeds
from seqloom.training import optimizers
from seqloom.training.optimizers import COEFFICIENTS, AdamW, Muon, Optimizer, Sgd, Trained, orthogonalised


def matrices(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def reference(matrix: torch.Tensor, iterations: int) -> torch.Tensor:
    """The same through the singular values, in double precision."""
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.norm()
    for _ in range(iterations):
        s = sum(c * s**power for c, power in zip(COEFFICIENTS, (1, 3, 5), strict=True))
    return (u * s) @ v


@pytest.mark.parametrize("shape", [(8, 8), (24, 8), (8, 24)])
def test_newton_schulz_changes_the_singular_values_alone(shape):
    several = matrices(3, *shape)
    made = orthogonalised(several, 5)
    for one, matrix in zip(made, several, strict=True):
        assert torch.allclose(one.double(), reference(matrix, 5), atol=1e-4)
        assert 0.5 < torch.linalg.svdvals(one).min() < torch.linalg.svdvals(one).max() < 1.3


@pytest.mark.parametrize("iterations", [1, 5])
def test_newton_schulz_on_squares_keeps_small_singular_values(iterations):
    """Of an oblong matrix nearly all of whose length lies in two directions, as that of a momentum does."""
    matrix = matrices(16, 64) + 100 * matrices(16, 2, seed=2) @ matrices(2, 64, seed=3)
    (made,) = orthogonalised(matrix[None], iterations)
    assert torch.allclose(made.double(), reference(matrix, iterations), atol=2e-3)


def test_a_step_of_muon(monkeypatch):
    """Two steps of a matrix of two stacked ones: momentum, each part orthogonal, the shape's scale, decay."""
    monkeypatch.setattr(optimizers, "speeds", lambda: Speeds((1.0,), (1.0,), 0.0, (1.0, 1.0), 1.0))  # in float32
    spec = Muon(rate=0.1, momentum=0.9)
    parameter = torch.nn.Parameter(matrices(12, 4))
    bias = torch.nn.Parameter(matrices(4))
    before = parameter.detach().clone()
    own, rest = spec.build(Trained([parameter], [bias], {parameter: 2}), rate=0.01, weight_decay=0.5)
    assert rest.param_groups[0]["params"] == [bias]
    average = torch.zeros(12, 4)
    for seed in (2, 3):
        parameter.grad = matrices(12, 4, seed=seed)
        own.param_groups[0]["lr"] = 0.05
        own.step()
        average = 0.9 * average + 0.1 * matrices(12, 4, seed=seed)
        towards = 0.1 * matrices(12, 4, seed=seed) + 0.9 * average
        change = torch.cat([reference(part, 5) for part in towards.chunk(2)]).float() * (6 / 4) ** 0.5
        before = before * (1 - 0.05 * 0.5) - 0.05 * change
    assert torch.allclose(parameter, before, atol=1e-4)


def test_the_rates_of_a_group_follow_the_schedule():
    own, rest = Muon(rate=0.02).build(
        Trained([torch.nn.Parameter(matrices(4, 4))], [torch.nn.Parameter(matrices(4))], {}), 0.005, 0
    )
    assert own.param_groups[0]["share"] == pytest.approx(4)
    assert "share" not in rest.param_groups[0]


def test_the_gates_of_a_network_are_told_apart():
    planned = plan(Path("unused"), "lstm", AdamW())
    net = network(planned)
    counts = {name: net.stacks().get(parameter, 1) for name, parameter in net.named_parameters()}
    assert counts["trunk.layers.0.mixer.weight_hh"] == 4
    assert counts["head.weight"] == 1
    net = network(plan(Path("unused"), "transformer", AdamW()))
    counts = {name: net.stacks().get(parameter, 1) for name, parameter in net.named_parameters()}
    assert counts["trunk.layers.0.mixer.project.weight"] == 3


def network(planned):
    from seqloom.network.network import Network

    recipe = planned.recipe
    space = planned.prepared.codec.space
    return Network(recipe.backbone, recipe.process.spec(space), space, recipe.feed.window, {})


def plan(path, word, optimizer, resume=False, **trainer):
    settings = {
        "corpus": {"size": 3000},
        "backbone": {"width": 16, "depth": 1},
        "feed": {"window": 16, "batch": 4},
        "trainer": {"optimizer": optimizer, "steps": 6, **trainer},
    }
    return planning.plan("builtin:markov", {} if resume else settings, model=word, out=path, resume=resume)


@pytest.mark.parametrize("word", ["lstm", "masked-transformer"])
@pytest.mark.parametrize("optimizer", sorted(members_of(Optimizer)))
def test_every_optimizer_resumes_bit_for_bit(tmp_path, optimizer, word):
    list(fit.Fit(plan(tmp_path / "a", word, optimizer)).events())
    steps = iter(range(9))
    list(fit.Fit(plan(tmp_path / "b", word, optimizer), stop=lambda: next(steps) == 2).events())
    list(fit.Fit(plan(tmp_path / "b", word, optimizer, resume=True)).events())
    for part in ("weights", "training"):
        one, other = (
            (runs.read(tmp_path / name).path / "checkpoints" / "00000006" / f"{part}.safetensors").read_bytes()
            for name in "ab"
        )
        assert one == other


def test_advice_gives_each_optimizer_a_rate_of_its_own(tmp_path):
    adamw, sgd = (plan(tmp_path / name, "lstm", name) for name in ("adamw", "sgd"))
    assert sgd.recipe.trainer.rate == adamw.recipe.trainer.rate * Sgd.rate_over_adamw
    assert "sgd" in sgd.advice["trainer.rate"]
    assert plan(tmp_path / "c", "lstm", "sgd", rate=0.5).recipe.trainer.rate == 0.5
