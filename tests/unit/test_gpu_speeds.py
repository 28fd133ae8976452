"""What is measured of a GPU, on the processor in its place, and what is made of it."""

from dataclasses import replace

import pytest
import torch

from seqloom.core import gpu, machine, speeds
from seqloom.estimate import Pace
from seqloom.network.cost import Cost

HERE = torch.device("cpu")


@pytest.mark.parametrize(
    ("passes", "wanted"),
    [
        ((100, 129, 129), "float32"),
        ((100, 131, 131), "tf32"),
        ((100, 131, 171), "bfloat16"),
        ((100, 100, 131), "bfloat16"),
        ((100, 200, 250), "tf32"),
    ],
)
def test_each_precision_is_taken_where_it_is_faster_than_the_one_before(passes, wanted, monkeypatch):
    timed = dict(zip(gpu.PRECISIONS, passes, strict=True))
    monkeypatch.setattr(gpu, "error", lambda precision, device: 0.001)
    monkeypatch.setattr(gpu, "passes", lambda kind, width, precision, device: timed[precision])
    assert gpu.precision_for(["lstm", "products"], 200, HERE) == wanted
    assert gpu.precision_for(["lstm", ""], 200, HERE) == "float32", "what is not timed is not trusted"
    monkeypatch.setattr(gpu, "error", lambda precision, device: 0.1)
    assert gpu.precision_for(["lstm"], 200, HERE) == "float32"


def test_what_is_measured_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQLOOM_CACHE", str(tmp_path))
    monkeypatch.setattr(gpu, "SIDE", 64)
    monkeypatch.setattr(gpu, "ROWS", 2)
    monkeypatch.setattr(gpu, "STEPS", 8)
    numbers = []
    for measure in (gpu.products, gpu.error):
        measure.cache_clear()
        numbers.append([measure(precision, HERE) for precision in gpu.PRECISIONS])
        measure.cache_clear()
        monkeypatch.setattr(gpu, "_seconds", lambda job, device: pytest.fail("it was measured twice"))
        assert [measure(precision, HERE) for precision in gpu.PRECISIONS] == numbers[-1]
        monkeypatch.undo()
        monkeypatch.setenv("SEQLOOM_CACHE", str(tmp_path))
        measure.cache_clear()
    assert min(numbers[0]) > 0
    assert numbers[1][0] < 1e-6 < 1e-3 < numbers[1][2] < speeds.ERROR
    gpu.passes.cache_clear()
    assert gpu.passes("gru", 8, "bfloat16", HERE) > 0
    assert gpu.passes("products", 64, "float32", HERE) > 0
    gpu.passes.cache_clear()


def test_what_is_started_runs_beside_what_is_computed():
    taken = Cost(
        parameters=0,
        weights=0,
        activations=0,
        operations=0,
        products=1000,
        recurrent={},
        numbers=0,
        laws=0,
        operators=10,
        matrices=(),
    )
    pace = Pace(1000.0, 1.0, 1.0, 2.0, 1.0, lambda kind, width: 1.0, overlaps=True)
    assert pace.step(taken) == 10
    assert pace.step(replace(taken, laws=8)) == 14  # which the processor works out, before it starts the rest
    assert Pace(100.0, 1.0, 1.0, 2.0, 1.0, lambda kind, width: 1.0, overlaps=True).step(taken) == 30


def test_products_are_rounded_only_meanwhile():
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    for rounds in (True, False):
        with machine.products(rounds):
            assert [backend.allow_tf32 for backend in backends] == [rounds, rounds]
        assert [backend.allow_tf32 for backend in backends] == before
