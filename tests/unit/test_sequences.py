"""Recurrences over whole sequences by one compiled program; torch's layers are its twin."""

import pytest
import torch

from seqloom.core.speeds import OWN, layer_passes, on_one_thread, own_is_faster
from seqloom.kernels import rows, sequences
from seqloom.mixers.recurrent import Gru, Rnn

pytestmark = pytest.mark.skipif(rows.library() is None, reason="there is no compiler")
MIXERS = {"gru": Gru(), "tanh": Rnn(), "relu": Rnn(nonlinearity="relu")}


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def module(request):
    module = MIXERS[request.param].build(64, 1)
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.copy_(0.1 * numbers(*parameter.shape, seed=i))
    return module


def passed(module, h, start, half=False):
    """Outputs, the last state, and the slopes of all that goes in."""
    inputs = h.clone().requires_grad_(), start.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        out, last = module.whole(*inputs)
    slopes = numbers(*out.shape, seed=8), numbers(*last.shape, seed=9)
    gradients = torch.autograd.grad((out, last), [*inputs, *module.parameters()], slopes)
    return out.detach(), last.detach(), *gradients


@pytest.mark.parametrize("module", MIXERS, indirect=True)
def test_the_program_is_the_layer_there_and_back(module, monkeypatch):
    h, start = numbers(5, 9, 64), numbers(5, 1, 64, seed=1)
    monkeypatch.setattr(sequences, "own_is_faster", lambda *asked: False)
    right = passed(module, h, start)
    monkeypatch.setattr(sequences, "own_is_faster", lambda *asked: True)
    assert sequences.suits(module.cell, h, start, *module.parameters())
    made = passed(module, h, start)
    for one, other in zip(made, right, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))
    with on_one_thread():
        few = passed(module, h[:2], start[:2])
    assert torch.allclose(few[0], made[0][:2], rtol=1e-4, atol=1e-5 * float(made[0].abs().max()))
    for one, other in zip(passed(module, h, start, half=True), right, strict=True):
        assert (one - other).norm() < (0.2 if module.cell == "relu" else 0.02) * other.norm()  # a ReLU may fall shut


@pytest.mark.parametrize("module", MIXERS, indirect=True)
def test_slopes_of_slopes_are_those_of_the_layer(module, monkeypatch):
    h, start, made = numbers(2, 4, 64), numbers(2, 1, 64, seed=1), []
    for own in (False, True):
        monkeypatch.setattr(sequences, "own_is_faster", lambda *asked, own=own: own)
        x = h.clone().requires_grad_()
        out, _ = module.whole(x, start)
        (first,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        made.append(torch.autograd.grad(first.square().sum(), list(module.parameters())[:2]))
    for one, other in zip(*made, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


def test_what_the_program_was_not_made_for_is_left_to_torch(monkeypatch):
    monkeypatch.setattr(sequences, "own_is_faster", lambda *asked: True)
    weights = [numbers(*shape) for shape in ((192, 64), (192, 64), (192,), (192,))]
    fine = numbers(3, 4, 64), numbers(3, 1, 64), *weights
    assert sequences.suits("gru", *fine)
    assert not sequences.suits("lstm", *fine)
    assert not sequences.suits("gru", *(one.double() for one in fine))
    assert not sequences.suits("gru", fine[0][:, :1], *fine[1:])
    assert not sequences.suits("gru", fine[0][:, :, :50], *fine[1:])
    monkeypatch.setattr(sequences, "library", lambda: None)
    assert not sequences.suits("gru", *fine)
    assert sequences.layer("gru", 64) is None


def test_the_faster_way_is_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("SEQLOOM_CACHE", str(tmp_path))
    layer = sequences.layer("gru", 64)
    monkeypatch.setattr("seqloom.core.speeds.passes", lambda *asked, layer=None, **more: 2.0 if layer else 1.0)
    for one in (layer_passes, own_is_faster):
        one.cache_clear()
    assert set(OWN) == {"gru", "rnn"}
    assert own_is_faster("gru", 64, False)
    assert not own_is_faster("lstm", 64, False)
    assert layer_passes("gru", 64, False) == 2.0
    assert layer(numbers(2, 3, 64))[0].shape == (2, 3, 64)
    for one in (layer_passes, own_is_faster):
        one.cache_clear()
