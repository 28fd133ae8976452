"""What is fast on this machine, and what is made of it on recorded ones."""

import json

import pytest
import torch

import seqloom.kernels.sequences  # noqa: F401 - its layers are timed too
from seqloom.core import speeds
from seqloom.core.speeds import SIZES, Speeds
from seqloom.training.optimizers import Muon, Orthogonal, Trained, orthogonalised

RECORDED = {
    "bfloat16 in hardware": (Speeds((92.0, 105.0, 100.0), (237.0, 470.0, 460.0), 0.004, (10.0, 15.0), 0.5), True),
    "flags without hardware": (Speeds((90.0, 130.0, 124.0), (20.0, 28.0, 27.0), 0.004, (10.0, 5.0), 0.5), False),
    "faster by too little": (Speeds((100.0, 100.0, 100.0), (180.0, 125.0, 180.0), 0.004, (10.0, 12.0), 0.5), False),
    "fast and wrong": (Speeds((100.0, 100.0, 100.0), (400.0, 400.0, 400.0), 0.3, (10.0, 20.0), 0.5), False),
}


@pytest.mark.parametrize("name", RECORDED)
def test_bfloat16_is_used_where_it_is_faster_at_every_size_and_right(name):
    found, used = RECORDED[name]
    assert found.use_bfloat16 is used
    assert found.faster_in_bfloat16("lstm") is used
    assert found.faster_in_bfloat16("products") is used
    assert not found.faster_in_bfloat16("")


def test_layers_are_timed_whatever_the_caller_is_in_the_middle_of(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQLOOM_CACHE", str(tmp_path))
    monkeypatch.setattr(speeds, "ROUNDS", 1)
    seen = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: seen.append(x) or x, lambda x: x):
        assert speeds._passes_by(True, "gru", 64, False) >= 0
    with torch.inference_mode():
        assert speeds._passes_by(False, "gru", 64, False) > 0
        assert speeds._passes_by(True, "rnn", 64, False) >= 0
    assert not seen


def test_a_machine_is_measured_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQLOOM_CACHE", str(tmp_path))
    speeds.speeds.cache_clear()
    threads = torch.get_num_threads()
    found = speeds.speeds()
    assert torch.get_num_threads() == threads
    assert len(found.float32) == len(found.bfloat16) == len(SIZES)
    assert all(value > 0 for value in found.float32 + found.bfloat16)
    assert found.error < 0.02
    (stored,) = (tmp_path / "machine").iterdir()
    changed = {**json.loads(stored.read_text()), "float32": [1.0, 2.0, 3.0]}
    stored.write_text(json.dumps(changed))
    speeds.speeds.cache_clear()
    assert speeds.speeds().float32 == (1.0, 2.0, 3.0)
    stored.write_text("{")
    speeds.speeds.cache_clear()
    assert speeds.speeds().float32 != (1.0, 2.0, 3.0)
    speeds.speeds.cache_clear()


@pytest.mark.parametrize("name", RECORDED)
def test_other_recurrent_layers_are_timed_at_their_own_width(name, tmp_path, monkeypatch):
    found, used = RECORDED[name]
    monkeypatch.setenv("SEQLOOM_CACHE", str(tmp_path))
    monkeypatch.setattr(speeds, "speeds", lambda: found)
    timed = []

    def passes(half, kind, width, repeats):
        timed.append((kind, width, half))
        return width / 128 if half else 1.0

    monkeypatch.setattr(speeds, "passes", passes)
    monkeypatch.setattr(speeds, "OWN", {})
    for _ in range(2):
        speeds.layer_passes.cache_clear()  # the second time from the cache on disk
        assert speeds.faster_in_bfloat16("lstm", 512) is used
        assert speeds.faster_in_bfloat16("rnn", 300) is (found.gain > 1 and found.error < 0.02)
        assert not speeds.faster_in_bfloat16("gru", 150)
    speeds.layer_passes.cache_clear()
    wanted = [("rnn", 256, True), ("rnn", 256, False), ("gru", 128, True), ("gru", 128, False)]
    assert timed == (wanted if found.gain > 1 and found.error < 0.02 else [])


def test_orthogonal_steps_in_bfloat16_are_nearly_those_in_float32(monkeypatch):
    several = torch.randn(3, 24, 8, generator=torch.Generator().manual_seed(1))
    exact, half = orthogonalised(several, 5), orthogonalised(several, 5, torch.bfloat16)
    assert half.dtype == torch.float32
    assert float((half - exact).norm() / exact.norm()) < 0.05
    parameter = torch.nn.Parameter(several[0].clone())
    for found, used in RECORDED.values():
        monkeypatch.setattr("seqloom.training.optimizers.speeds", lambda found=found: found)
        (own,) = Muon().build(Trained([parameter], [], {}), rate=0.01, weight_decay=0.0)
        assert isinstance(own, Orthogonal)
        assert own.dtype == (torch.bfloat16 if used else torch.float32)
