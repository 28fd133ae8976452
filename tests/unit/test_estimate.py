"""What a training takes is said before it begins: on recorded machines, and against what this one then does."""

import time
from dataclasses import replace

import pytest

from seqloom import estimate, fit, planning
from seqloom import run as runs
from seqloom.core import durable
from seqloom.core.errors import ConfigError
from seqloom.estimate import Estimate, Pace
from seqloom.network.backbone import Backbone
from seqloom.network.cost import LAW, cost
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.masked import Masked
from seqloom.sequence.space import Tokens
from seqloom.training.optimizers import AdamW, Muon

SPACE = Tokens(size=65)
SLOW = Pace(125e9, 125e9, 0.4e9, 0.4e9, operator=60e-6, passes=lambda kind, width: 25 * (256 / width) ** 2)
FAST = Pace(460e9, 470e9, 0.9e9, 0.9e9, operator=30e-6, passes=lambda kind, width: 82 * (256 / width) ** 2)


def step(mixer: str, width: int, depth: int, rows: int, window: int, mlp: float = 0.0):
    backbone = Backbone(mixer={"name": mixer}, width=width, depth=depth, mlp=mlp)
    return cost(backbone, Autoregressive().spec(SPACE), SPACE, {}, rows, window)


@pytest.mark.parametrize(
    ("pace", "lstm", "transformer"),
    [(SLOW, 1 / 10e3, 1 / 7.5e3), (FAST, 1 / 52e3, 1 / 28e3)],
    ids=["without fast bfloat16", "with it"],
)
def test_on_recorded_machines_a_step_takes_about_what_it_took(pace, lstm, transformer):
    """Seconds a character of an LSTM 2x256 and of a Transformer 4x128, as they were measured on two machines."""
    taken = step("lstm", 256, 2, rows=32, window=64)
    assert 0.5 < pace.step(taken) / (32 * 64 * lstm) < 2
    taken = step("attention", 128, 4, rows=16, window=128, mlp=4.0)
    orthogonal = Muon().operations(taken.matrices)
    assert orthogonal > 1e9
    assert AdamW().operations(taken.matrices) == 0
    assert 0.5 < pace.step(taken, orthogonal) / (16 * 128 * transformer) < 2


def test_minutes_count_by_how_fast_a_machine_trains(tmp_path, monkeypatch):
    """Of a machine that is half as fast four minutes are two, as of one that is twice as fast they are eight."""
    for recurrent in (False, True):
        assert SLOW.relative(recurrent) < 1 < FAST.relative(recurrent)
        assert replace(FAST, threads=2.0).relative(recurrent) > FAST.relative(recurrent)
    chosen = []
    for seconds in (60.0, 1e-9):  # of an operation
        monkeypatch.setattr(Pace, "of", lambda *_, seconds=seconds: replace(FAST, operator=seconds))
        planned = planning.plan("builtin:topics", {"trainer": {"minutes": 8.0}}, model="lstm", out=tmp_path / "run")
        chosen.append(planned.recipe.backbone.width)
    assert chosen[0] < chosen[1]


def test_what_grows_evenly_is_told_from_a_few_positions():
    """The cost of a recurrent network is that of a short window, times its length."""
    short, long = (step("gru", 64, 2, rows=4, window=window) for window in (16, 64))
    assert long.recurrent == {kind: 4 * positions for kind, positions in short.recurrent.items()}
    assert long.operations == pytest.approx(short.operations, rel=0.01)
    assert 3.5 < long.numbers / short.numbers < 4.5


@pytest.mark.parametrize("laws", [1, 3])
def test_laws_of_counts_take_longer_the_more_symbols_there_are(laws):
    process = Autoregressive(prior="ngram") if laws == 1 else Masked(prior="ngram")
    backbone, found = Backbone(mixer={"name": "gru"}, width=64, depth=1), []
    for symbols in (100, 1000):
        space = Tokens(size=symbols)
        taken = cost(backbone, process.spec(space), space, {}, 8, 32)
        assert taken.laws == LAW * laws * 8 * 32 * symbols
        found.append(SLOW.step(taken) - SLOW.step(replace(taken, laws=0)))
    assert found[1] == pytest.approx(10 * found[0])
    assert found[1] == pytest.approx(LAW * laws * 8 * 32 * 1000 / SLOW.simple_here)


@pytest.mark.slow  # what else computes at the time changes what is seen; recorded machines are its twin
@pytest.mark.parametrize(
    ("data", "word", "settings"),
    [
        ("builtin:topics", "lstm", {}),
        ("builtin:topics", "transformer", {"backbone": {"depth": 2}}),
        ("builtin:topics", "masked", {"backbone": {"depth": 2}}),
        ("builtin:var1", "gaussian", {}),
        ("builtin:var1", "lstm", {}),
    ],
)
def test_this_machine_takes_about_what_was_estimated(data, word, settings, tmp_path):
    """By the thread's own time, for others may compute beside; a factor of three is left for what they do to caches."""
    settings = {**settings, "process": {"prior": "none"}} if data == "builtin:topics" else settings
    planned = planning.plan(
        data, {**settings, "corpus": {"size": 6000}, "trainer": {"minutes": 1.0}}, model=word, out=tmp_path / "a"
    )
    expected = planned.estimate()
    training = fit.Fit(planned)
    with durable.Lock(planned.path) as training.lock:
        made = (planned.recipe, planned.prepared, planned.given, planned.advice)
        training._begin(runs.create(planned.path, *made))
        training.loop.advance(1e-3)
        seen = []
        for _ in range(3):
            began = time.thread_time()
            training.loop.advance(1e-3)
            seen.append(time.thread_time() - began)
    assert 1 / 3 < 60 / expected.steps / min(seen) < 3


def test_too_little_and_too_much_time_are_said_before_and_once():
    base = Estimate(parameters=1000, elements=10_000, step=80, steps=1000, seconds=60.0)
    assert not base.warnings()
    assert "about 100 updates teach little" in replace(base, steps=100).warnings()["few"]
    assert not replace(base, steps=100, asked=True).warnings()
    assert "about 40 times" in replace(base, steps=5000).warnings()["many"]
    assert "many" in replace(base, steps=2500, parameters=800_000).warnings()
    assert not base.against(replace(base, steps=1200))
    (slower,) = base.against(replace(base, steps=500))
    assert "2 times slower" in slower
    assert "about 500 updates (4 epochs) in 1m" in slower
    slower, few = base.against(replace(base, steps=100))
    assert "10 times slower" in slower
    assert "teach little" in few
    assert len(replace(base, steps=190).against(replace(base, steps=100))) == 1
    brief = replace(base, seconds=12.0)
    assert not brief.against(replace(brief, steps=500))
    assert "10 times slower" in brief.against(replace(brief, steps=100))[0], "else two figures would contradict"
    assert "for 12m" not in str(base)
    assert "1,000 updates (8 epochs) in 1m" in str(base)
    assert not Estimate(1000, 10_000, 80).against(base)


def test_too_little_data_and_room_are_said():
    few, none = estimate.data_warnings(500, 0, window=100)
    assert "500 elements" in few
    assert "validation split is empty" in none
    assert not list(estimate.data_warnings(5000, 5000, window=100))
    taken = Estimate(1000, 10_000, 80, memory=9 << 30, disk=9 << 30)
    memory, disk = estimate.room_warnings(taken, 10 * 2**30, 10 * 2**30)
    assert "9.0 GiB" in memory
    assert "disk" in disk
    assert not list(estimate.room_warnings(taken, None, 1e12))


def test_a_run_that_the_disk_cannot_hold_is_refused(monkeypatch, tmp_path):
    record = planning.machine.record() | {"disk_free_gib": 0.0}
    monkeypatch.setattr(planning.machine, "record", lambda *_: record)
    with pytest.raises(ConfigError, match="of disk are free") as refused:
        planning.plan("builtin:markov", {"corpus": {"size": 3000}}, model="gru", out=tmp_path / "a")
    assert "another disk" in refused.value.hint
    assert not (tmp_path / "a").exists()
