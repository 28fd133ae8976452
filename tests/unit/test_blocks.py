"""Parts of attention networks by the compiled program, beside torch's operators."""

from functools import partial

import pytest
import torch
from torch import nn

from seqloom.kernels import blocks
from seqloom.kernels.rows import library
from seqloom.mixers.attention import projected
from seqloom.network.trunk import RootMeanSquare, squared

pytestmark = pytest.mark.skipif(library() is None, reason="there is no compiler")


def made_by(operation, *inputs):
    """Outputs, and the slopes of all inputs."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    outputs = operation(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    sum((x.float() * torch.linspace(-1, 1, x.numel()).view_as(x)).sum() for x in outputs).backward()
    return [*(x.detach() for x in outputs), *(x.grad for x in inputs)]


def by_both(operation, inputs, monkeypatch):
    """What the program makes, and torch's operators."""
    fast = made_by(operation, *inputs)
    monkeypatch.setattr(blocks, "suits", lambda *inputs: False)
    return fast, made_by(operation, *inputs)


def normed(x, weight):
    norm = RootMeanSquare(x.shape[-1])
    return torch.func.functional_call(norm, {"weight": weight}, (x,))


def turning(rows, steps, each, draw):
    """Unit complex numbers."""
    angle = torch.rand(rows, steps, each // 2, generator=draw) * 6
    return torch.polar(torch.ones_like(angle), angle)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("turns", ["none", "shared", "own"])
@pytest.mark.parametrize(
    ("rows", "steps", "heads", "kv", "each"), [(3, 7, 4, 4, 16), (2, 5, 6, 2, 64), (1, 1, 2, 1, 10)]
)
def test_queries_keys_and_values_are_those_of_operators(rows, steps, heads, kv, each, turns, half, monkeypatch):
    draw = torch.Generator().manual_seed(0)
    p = torch.randn(rows, steps, (heads + 2 * kv) * each, generator=draw)
    p = p.bfloat16() if half else p
    gains = [torch.rand(each, generator=draw) + 0.5 for _ in range(2)]
    by = {"none": None, "shared": turning(1, steps, each, draw), "own": turning(rows, steps, each, draw)}[turns]
    operation = partial(projected, turns=by, heads=heads)
    for one, other in zip(*by_both(operation, [p, *gains], monkeypatch), strict=True):
        assert one.shape == other.shape
        error = (0.02 if half else 1e-6) * float(other.abs().max())
        torch.testing.assert_close(one.float(), other.float(), atol=error, rtol=0)


@pytest.mark.parametrize("half", [False, True])
def test_squares_are_those_of_operators(half, monkeypatch):
    x = torch.randn(5, 777, generator=torch.Generator().manual_seed(0))
    for one, other in zip(*by_both(squared, [x.bfloat16() if half else x], monkeypatch), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_norms_are_those_of_operators(monkeypatch):
    draw = torch.Generator().manual_seed(0)
    inputs = [torch.randn(4, 9, 33, generator=draw), torch.rand(33, generator=draw)]
    for one, other in zip(*by_both(normed, inputs, monkeypatch), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6 * float(other.abs().max()), rtol=0)


def test_slopes_come_from_whatever_layout():
    """Attention gives back slopes that lie as it found them useful."""
    draw = torch.Generator().manual_seed(0)
    p, gain = torch.randn(2, 5, 24, generator=draw), torch.ones(4)
    q, k, v, units = blocks.turned(2, None, p, gain, gain)
    lying = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    for one, other in zip(
        blocks.turned_back(2, None, p, gain, gain, units, q, k, v),
        blocks.turned_back(2, None, p, gain, gain, units, *lying),
        strict=True,
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("operation", ["queries", "squares", "norms"])
def test_slopes_of_slopes_are_those_of_operators(operation, monkeypatch):
    x, weight = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0)), torch.linspace(0.5, 1.5, 24)
    gain = torch.linspace(0.5, 1.5, 4)
    run = {
        "queries": lambda x: sum(part.square().sum() for part in projected(x, gain, gain, None, 2)),
        "squares": lambda x: squared(x).square().sum(),
        "norms": lambda x: normed(x, weight).pow(3).sum(),
    }[operation]
    made = []
    for fast in (True, False):
        if not fast:
            monkeypatch.setattr(blocks, "suits", lambda *inputs: False)
        source = x.clone().requires_grad_()
        (slopes,) = torch.autograd.grad(run(source), source, create_graph=True)
        made.append(torch.autograd.grad(slopes.square().sum(), source)[0])
    torch.testing.assert_close(*made, atol=1e-4, rtol=1e-4)


def test_a_row_has_the_same_bits_alone():
    draw = torch.Generator().manual_seed(0)
    p, gain = torch.randn(5, 3, 72, generator=draw), torch.rand(6, generator=draw)
    turns = turning(5, 3, 6, draw)
    for whole, alone in zip(
        projected(p, gain, gain, turns, 4), projected(p[2:3], gain, gain, turns[2:3], 4), strict=True
    ):
        assert torch.equal(whole[2:3], alone)
    norm = nn.Sequential(RootMeanSquare(72))
    assert torch.equal(norm(p)[2:3], norm(p[2:3]))
