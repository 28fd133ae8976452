"""Training in bfloat16: every mixer and process, near what float32 gives, and nothing else changes."""

import pytest
import torch

from pairings import marks
from seqloom import fit, planning
from seqloom import run as runs
from seqloom.core.config import members_of
from seqloom.mixers.base import Mixer

TEXT, SERIES = "builtin:markov", "builtin:sine"
KINDS = {"autoregressive": TEXT, "masked": TEXT, "gaussian": SERIES, "flow": SERIES}


def planned(path, mixer, process, precision, resume=False):
    settings = {
        "backbone": {"mixer": mixer, "width": 32, "depth": 2, "mlp": 2.0},
        "process": {"name": process},
        "feed": {"window": 16, "batch": 4},
        "trainer": {"steps": 5, "precision": precision},
    }
    return planning.plan(KINDS[process], {} if resume else settings, out=path, resume=resume)


@pytest.mark.parametrize(
    ("mixer", "process"),
    [
        pytest.param(mixer, process, marks=marks(mixer, process))
        for mixer in sorted(members_of(Mixer))
        for process in KINDS
    ],
)
def test_a_training_in_bfloat16_is_near_one_in_float32(tmp_path, mixer, process):
    losses = {}
    for precision in ("float32", "bfloat16"):
        training = fit.Fit(planned(tmp_path / precision, mixer, process, precision), preview=False)
        losses[precision] = [event.facts["loss"] for event in training.events() if event.kind == "step"]
        assert all(p.dtype == torch.float32 for p in training.net.parameters())
        assert training.net.reduced == (precision == "bfloat16")
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05, abs=0.05)
    net = runs.read(tmp_path / "bfloat16").load_network()[0]
    assert not net.reduced


@pytest.mark.parametrize("mixer", ["lstm", "attention"])
def test_a_training_in_bfloat16_resumes_bit_for_bit(tmp_path, mixer):
    list(fit.Fit(planned(tmp_path / "a", mixer, "autoregressive", "bfloat16")).events())
    steps = iter(range(20))
    list(fit.Fit(planned(tmp_path / "b", mixer, "autoregressive", "bfloat16"), stop=lambda: next(steps) == 2).events())
    list(fit.Fit(planned(tmp_path / "b", mixer, "autoregressive", "bfloat16", resume=True)).events())
    one, other = (runs.read(tmp_path / name).checkpoint("last")[0] for name in "ab")
    for part in ("weights", "training"):
        assert all(torch.equal(value, other.tensors(part)[name]) for name, value in one.tensors(part).items())
