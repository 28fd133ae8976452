"""Minimal recurrent layers by the compiled program, beside torch's operators."""

import pytest
import torch

from seqloom.kernels import scans
from seqloom.kernels.rows import library
from seqloom.mixers.scan import MinGru, MinLstm

pytestmark = pytest.mark.skipif(library() is None, reason="there is no compiler")


def run(layer, x, start, begins, half):
    """Outputs, and the slopes of inputs, first states and weights."""
    layer.zero_grad()
    x, start = x.clone().requires_grad_(), start.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        out, last = layer.read(x, start, begins)
    ((out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum() + last.square().sum()).backward()
    return [out.detach(), x.grad, start.grad, *(p.grad.clone() for p in layer.parameters())]


@pytest.mark.parametrize("width", [24, 64])
@pytest.mark.parametrize("begin", [False, True])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("mixer", [MinGru(), MinLstm()], ids=lambda m: m.name)
def test_outputs_and_slopes_are_those_of_operators(mixer, half, begin, width, monkeypatch):
    layer, draw = mixer.build(width, 1), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.5, 0.5, generator=draw)
    x, start = torch.randn(3, 11, width, generator=draw), torch.randn(3, width, generator=draw)
    begins = torch.rand(3, 11, generator=draw) < 0.2 if begin else None
    made = run(layer, x, start, begins, half)
    monkeypatch.setattr(scans, "suits", lambda p, start: False)
    error = 0.02 if half else 1e-5
    for one, other in zip(made, run(layer, x, start, begins, half), strict=True):
        torch.testing.assert_close(one, other, atol=error * float(other.abs().max()), rtol=0)


def test_gates_that_are_shut_or_open_stay_numbers():
    """Far beyond what float32 has of e^x."""
    for gates in (2, 3):
        p = torch.tensor([-300.0, 300.0, -80.0, 80.0]).repeat(gates, 1).T.reshape(1, 4, gates)
        start = torch.ones(1, 1)
        h, _ = scans.read(None, p, start)
        assert h.isfinite().all()
        assert scans.back(None, p, start, h, torch.ones_like(h))[0].isfinite().all()


def test_slopes_of_slopes_are_those_of_operators(monkeypatch):
    layer, made = MinGru().build(8, 1), []
    x = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for fast in (True, False):
        if not fast:
            monkeypatch.setattr(scans, "suits", lambda p, start: False)
        out, _ = layer.read(x, torch.zeros(2, 8), None)
        (slopes,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        made.append(torch.autograd.grad(slopes.square().sum(), x)[0])
    torch.testing.assert_close(*made, atol=1e-5, rtol=1e-4)
