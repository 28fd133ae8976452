"""The loop around the trainer: budgets, full disks, numbers that are not finite, kills and one writer."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch

from seqloom import fit, model, planning, validation
from seqloom import run as runs
from seqloom.core import durable
from seqloom.core.errors import ConfigError, DataError, RunError, Stopped
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.base import Likelihood, Process
from seqloom.processes.gaussian import Gaussian
from seqloom.training.trainer import Loop, Trainer

TINY: dict[str, Any] = {
    "corpus": {"size": 3000},
    "backbone": {"width": 16, "depth": 1},
    "feed": {"window": 16, "batch": 4},
}


def plan(path: Path, *, resume: bool = False, word: str | None = "gru", **trainer: Any) -> planning.TrainingPlan:
    values = {**TINY, "trainer": trainer} if trainer else TINY
    return planning.plan("builtin:markov", values, model=word, out=path, resume=resume)


def events(planned: planning.TrainingPlan, **options: Any) -> list[fit.TrainingEvent]:
    return list(fit.Fit(planned, **options).events())


class Clock:
    """A clock on which every look takes so many seconds."""

    def __init__(self, look: float = 0.1) -> None:
        self.now, self.look = 0.0, look

    def __call__(self) -> float:
        self.now += self.look
        return self.now


@pytest.mark.parametrize("first", [0.0, 1.5])
def test_after_a_little_of_the_time_it_is_said_how_far_it_will_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: float
) -> None:
    """By a clock on which an update takes so long that there are few; the first may take far longer than the rest."""
    clock, advance = Clock(0.02), Loop.advance

    def advanced(loop: Loop, rate: float) -> Any:
        clock.now += first if loop.state.step == 0 else 0.0
        return advance(loop, rate)

    monkeypatch.setattr(Loop, "advance", advanced)
    seen = events(plan(tmp_path / "a", minutes=0.4), clock=clock)
    (said,) = [event for event in seen if event.kind == "note"]
    assert 0.03 <= said.share - first / 24 < 0.1
    foretold = int(said.text.split("about ")[1].split(" updates")[0])
    assert seen[-1].facts["steps"] == pytest.approx(foretold, rel=0.25)


def test_minutes_bound_everything(tmp_path: Path) -> None:
    clock = Clock()
    began = clock.now
    seen = events(plan(tmp_path / "a", minutes=2.0), clock=clock)
    assert clock.now - began <= 2 * 60 + 5
    assert seen[-1].kind == "done"
    assert [e for e in seen if e.kind == "valid"], "validated on the way"
    rates = [e.facts["rate"] for e in seen if e.kind == "step"]
    assert rates[0] < max(rates)
    assert rates[-1] < 0.1 * max(rates), "the rate has fallen by the end of the minutes"


def test_minutes_end_where_the_data_were_read_as_often_as_is_asked(tmp_path: Path) -> None:
    planned = plan(tmp_path / "a", minutes=5.0, epochs=3.0)
    seen = events(planned)
    batch, total = 4 * 16, len(planned.prepared.splits["train"].data.x)
    assert 3 * total <= seen[-1].facts["elements"] < 3 * total + batch
    assert planned.estimate().steps == 3 * total // batch
    rates = [event.facts["rate"] for event in seen if event.kind == "step"]
    assert rates[-1] < 0.1 * max(rates), "the rate has fallen by then"


def test_the_report_is_what_a_script_reads(tmp_path: Path) -> None:
    seen = events(plan(tmp_path / "a", steps=5))
    facts = seen[-1].facts
    assert {"run", "steps", "seconds", "parameters", "elements", "resumed_from", "valid"} <= set(facts)
    assert facts["steps"] == 5
    assert facts["resumed_from"] is None
    assert facts["elements"] == 5 * 4 * 16
    assert facts["valid"]["unit"] == "bits/byte"


def test_a_full_disk_stops_the_run_which_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(durable.Disk):
        full = False

        def write(self, handle: int, data: bytes | memoryview) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(handle, data)

    disk = Full()
    monkeypatch.setattr(durable, "disk", disk)
    running = fit.Fit(plan(tmp_path / "a", steps=8), save_every=0.0).events()

    def train_until_full() -> None:
        for event in running:
            disk.full |= event.kind == "saved" and event.step == 4

    with pytest.raises(Stopped) as stopped:
        train_until_full()
    assert stopped.value.code == 75
    assert stopped.value.hint
    disk.full = False
    seen = events(plan(tmp_path / "a", resume=True))
    assert seen[0].facts["resumed_from"] == 4
    events(plan(tmp_path / "b", steps=8), save_every=0.0)
    one, other = (tmp_path / name / "checkpoints" / "00000008" / "weights.safetensors" for name in "ab")
    assert one.read_bytes() == other.read_bytes()


def test_steps_that_are_not_finite_are_not_applied_and_then_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan(tmp_path / "a", steps=12)
    process = type(planned.recipe.process)
    true_loss, bad = process.loss, {5, 6, 7}
    fitting = fit.Fit(planned, save_every=0.0)

    def loss(self: Any, net: Any, batch: Any, rng: Any, state: Any = None, drop: Any = None) -> Any:
        outcome = true_loss(self, net, batch, rng, state, drop)
        if fitting.loop.state.cursor in bad:
            return type(outcome)(outcome.total * math.nan, outcome.count, outcome.state)
        return outcome

    monkeypatch.setattr(process, "loss", loss)
    seen = list(fitting.events())
    assert seen[-1].facts["steps"] == 12
    assert fitting.loop.state.skipped == [5, 6, 7]
    assert fitting.loop.state.restores == 1
    assert all(torch.isfinite(p).all() for p in fitting.net.parameters())
    assert any(e.kind == "note" and "not finite" in e.text for e in seen)


def test_it_gives_up_when_nothing_is_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan(tmp_path / "a", steps=12)
    process = type(planned.recipe.process)
    true_loss = process.loss
    fitting = fit.Fit(planned, save_every=0.0)

    def loss(self: Any, net: Any, batch: Any, rng: Any, state: Any = None, drop: Any = None) -> Any:
        outcome = true_loss(self, net, batch, rng, state, drop)
        broken = fitting.loop.state.step >= 3
        return type(outcome)(outcome.total * (math.nan if broken else 1), outcome.count, outcome.state)

    monkeypatch.setattr(process, "loss", loss)
    with pytest.raises(Stopped, match="not finite"):
        list(fitting.events())
    assert runs.read(tmp_path / "a").checkpoint()[0].step == 3


def test_stop_saves_and_resumes(tmp_path: Path) -> None:
    count = iter(range(100))
    seen = events(plan(tmp_path / "a", steps=9), stop=lambda: next(count) >= 3)
    assert seen[-1].kind == "stopped"
    assert seen[-1].step == 4
    assert events(plan(tmp_path / "a", resume=True))[0].facts["resumed_from"] == 4


def test_more_steps_go_on_and_other_settings_are_refused(tmp_path: Path) -> None:
    events(plan(tmp_path / "a", steps=4))
    assert events(plan(tmp_path / "a", resume=True, steps=6))[-1].facts["steps"] == 6
    assert runs.read(tmp_path / "a").recipe.trainer.steps == 6
    with pytest.raises(RunError, match=r"backbone\.width"):
        planning.plan("builtin:markov", {"backbone": {"width": 32}}, out=tmp_path / "a", resume=True)
    with pytest.raises(RunError, match="already holds a run"):
        plan(tmp_path / "a", steps=4)


def test_a_run_goes_on_with_files_beside_its_data_however_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes").mkdir()
    Path("notes/a.txt").write_text("What a cat is.\n\nWhat a dog is.\n")
    for name in ("de.txt", "en.txt", "other.txt"):
        Path(name).write_text("".join(f"what a cat is {name} {i}\n" for i in range(60)))

    def again(steps: int, source: str = "en.txt", notes: str = "notes", resume: bool = True) -> planning.TrainingPlan:
        given = {"notes": {"source": f"search:{notes}", "codec": "characters"}}
        more = {"corpus": {"source": source}, "given": given, "trainer": {"steps": steps}}
        small = {"backbone": TINY["backbone"], "feed": {"batch": 4}}
        return planning.plan("de.txt", {**small, **more}, model="gru", out=tmp_path / "a", resume=resume)

    events(again(1, resume=False))
    for source, notes in (("en.txt", "notes"), (f"{tmp_path}/notes/../en.txt", f"{tmp_path}/notes")):
        assert again(2, source, notes).recipe.trainer.steps == 2
    with pytest.raises(RunError, match=r"another corpus\.source"):
        again(3, "other.txt")
    Path("notes/a.txt").write_text("What a bird is.\n")
    with pytest.raises(RunError, match=r"another given\.notes\.source"):
        again(3)


def test_resume_where_nothing_is_yet_starts_at_step_zero(tmp_path: Path) -> None:
    assert events(plan(tmp_path / "a", resume=True, steps=3))[0].facts["resumed_from"] is None
    running = fit.Fit(plan(tmp_path / "b", steps=3)).events()
    next(running)
    running.close()  # type: ignore[attr-defined]
    seen = events(plan(tmp_path / "b", resume=True))
    assert seen[-1].facts["steps"] == 3


def test_what_is_validated_depends_on_data_and_recipe_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "OPERATIONS", 1e7)

    class Slow(Clock):
        def __call__(self) -> float:
            self.now += 0.3
            return self.now

    settings = {**TINY, "corpus": {"size": 60_000}, "trainer": {"minutes": 0.3}}
    parts = []
    for name, clock in (("a", Clock()), ("b", Slow())):
        planned = planning.plan("builtin:markov", settings, model="gru", out=tmp_path / name)
        seen = [event.facts for event in events(planned, clock=clock) if event.kind == "valid"]
        parts.append({(facts["count"], facts["covers"]) for facts in seen if facts["covers"] < 1})
        assert all(facts["stderr"] > 0 for facts in seen if facts["covers"] < 1)
    assert parts[0] == parts[1]
    assert len(parts[0]) == 1


def test_what_is_drawn_several_times_over_is_validated_on_less() -> None:
    """A validation takes as long whatever is learned; it was sixteen times as long for a diffusion."""
    net: Any = SimpleNamespace(window=100, parameter_count=100_000)

    def wanted(trainer: Trainer, process: Process) -> int:
        recipe: Any = SimpleNamespace(trainer=trainer, process=process, feed=SimpleNamespace(batch=8))
        return validation.wanted(recipe, net)

    for trainer in (Trainer(steps=10_000), Trainer(minutes=10)):  # each of its windows is drawn four times
        assert wanted(trainer, Gaussian()) == wanted(trainer, Autoregressive()) // 100 // 4 * 100
    for trainer in (Trainer(steps=10), Trainer(minutes=0.01)):  # and at least sixteen windows are read
        assert wanted(trainer, Gaussian()) == 400


class Watched(Gaussian, name="watched_gaussian"):
    """Gaussian diffusion that counts the rows whose bound is drawn."""

    rows: ClassVar[list[int]] = []

    def bound(self, net: Any, batch: Any, rng: Any, state: Any = None) -> Any:
        self.rows.append(len(batch.x))
        return super().bound(net, batch, rng, state)


def test_a_drawn_validation_costs_a_small_part_of_a_short_training(tmp_path: Path) -> None:
    """Four draws of each window while training, the same each time; at the end as many as a score takes."""
    Watched.rows.clear()
    settings = {**TINY, "feed": {"window": 24, "batch": 4}, "trainer": {"steps": 6, "average": 0}}
    planned = planning.plan("builtin:var1", {**settings, "process": "watched_gaussian"}, out=tmp_path / "a")
    fitting = fit.Fit(planned, preview=False)
    seen = [event.facts for event in fitting.events() if event.kind == "valid"]
    assert len(seen) > 3
    assert {facts["draws"] for facts in seen[:-1]} == {4}
    assert seen[-1]["draws"] >= 16
    assert seen[-1]["covers"] == 1
    last = seen[-1]["draws"] * -(-fitting.validation.total // 24)
    windows = -(-len(fitting.validation.part.data.x) // 24)
    assert sum(Watched.rows) == pytest.approx((len(seen) - 1) * 4 * windows + last, rel=0.2)


def test_a_part_says_how_far_it_may_be_from_the_whole(tmp_path: Path) -> None:
    """At the end the whole split is scored where that is quick; the parts before lie within their error of it."""
    settings = {**TINY, "corpus": {"size": 500_000}, "trainer": {"steps": 20, "average": 0}}
    seen = [e.facts for e in events(planning.plan("builtin:markov", settings, model="gru", out=tmp_path / "a"))
            if e.kind == "valid"]  # fmt: skip
    part, whole = seen[-2:]
    assert whole["covers"] == 1
    assert part["covers"] == pytest.approx(16_384 / 25_000, abs=0.05)
    assert part["name"] == whole["name"]
    assert 0 < part["stderr"] < 0.05
    assert abs(part["value"] - whole["value"]) < 4 * part["stderr"]


def test_little_data_are_validated_whenever_they_were_read_twice_as_often(tmp_path: Path) -> None:
    """Readings are counted in elements, so that it does not matter when a training is stopped."""
    settings = {**TINY, "corpus": {"size": 600}, "trainer": {"steps": 4000, "average": 0}}

    def validated(name: str, until: int) -> list[int]:
        path = tmp_path / name
        fitting = fit.Fit(planning.plan("builtin:markov", settings, model="gru", out=path, resume=path.exists()))
        fitting.preview, fitting.stop = False, lambda: fitting.loop.state.step >= until
        return [event.step for event in fitting.events() if event.kind == "valid"]

    elements = len(fit.Fit(planning.plan("builtin:markov", settings, model="gru")).plan.prepared.splits["train"].data.x)
    expected = [-(-readings * elements // 64) for readings in (4, 8)]
    assert validated("whole", 100) == expected
    assert validated("parts", 50) + validated("parts", 100) == expected


def test_without_a_validation_split_nothing_is_validated(tmp_path: Path) -> None:
    settings = {**TINY, "corpus": {"size": 3000, "splits": [1, 0, 0]}, "trainer": {"steps": 6}}
    seen = events(planning.plan("builtin:markov", settings, model="gru", out=tmp_path / "a"))
    assert not [event for event in seen if event.kind == "valid"]
    assert seen[-1].facts["valid"] is None
    assert seen[-1].facts["best"] is None
    assert model.load(tmp_path / "a").notes[-1].startswith("step 6")


def test_a_likelihood_that_cannot_be_taken_gives_way_to_the_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan(tmp_path / "a", steps=10)

    def none(self: Any) -> Any:
        raise DataError("there is none")

    def broken(*arguments: Any, **options: Any) -> Any:
        raise ZeroDivisionError("no sample")

    monkeypatch.setattr(
        type(planned.recipe.process), "likelihoods", lambda self: {"likelihood": Likelihood("exact", "stream", none)}
    )
    monkeypatch.setattr(model.Model, "query", broken)
    seen = events(planned)
    values = [event.facts for event in seen if event.kind == "valid"]
    assert seen[-1].kind == "done"
    assert {facts["name"] for facts in values} == {"loss"}
    notes = [event.text for event in seen if event.kind == "note"]
    assert sum("likelihood" in note for note in notes) == 1
    assert any("no sample" in note for note in notes)
    assert seen[-1].facts["best"]["value"] == min(facts["value"] for facts in values)


def test_diffusion_of_a_table_with_empty_cells_is_trained_and_validated(tmp_path: Path) -> None:
    rows = [f"{i % 7},{(i * i) % 11}" if i % 9 else f",{i % 5}" for i in range(400)]
    (tmp_path / "holes.csv").write_text("\n".join(["a,b", *rows]) + "\n")
    settings = {"backbone": {"width": 16, "depth": 1}, "trainer": {"steps": 4}}
    planned = planning.plan(str(tmp_path / "holes.csv"), settings, model="gaussian-gru", out=tmp_path / "a")
    seen = events(planned)
    assert seen[-1].kind == "done"
    assert seen[-1].facts["best"] is not None


def test_a_flipped_bit_falls_back_and_in_the_only_checkpoint_is_an_error(tmp_path: Path) -> None:
    events(plan(tmp_path / "a", steps=4), save_every=0.0)
    newest = tmp_path / "a" / "checkpoints" / "00000004" / "weights.safetensors"
    flip(newest)
    loaded = model.load(tmp_path / "a", weights="last")
    assert any("older checkpoint" in note for note in loaded.notes)
    for folder in newest.parents[1].iterdir():
        if folder != newest.parent:
            flip(folder / "weights.safetensors")
    with pytest.raises(RunError, match="no good checkpoint"):
        model.load(tmp_path / "a")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


def test_one_writer(tmp_path: Path) -> None:
    running = fit.Fit(plan(tmp_path / "a", steps=4)).events()
    next(running)
    with pytest.raises(RunError, match="written by"):
        events(plan(tmp_path / "a", resume=True))
    running.close()  # type: ignore[attr-defined]


def test_what_cannot_be_trained_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="carry state"):
        planning.plan("builtin:markov", {**TINY, "feed": {"order": "streams"}}, model="transformer", out=tmp_path / "a")
    with pytest.raises(ConfigError, match="no model called 'lstn'"):
        plan(tmp_path / "a", word="lstn", steps=1)
    with pytest.raises(ConfigError):
        plan(tmp_path / "a", minutes=0)
    with pytest.raises(ConfigError, match=r"parameters needs [0-9,.]+ GiB"):
        planning.plan("builtin:markov", {"backbone": {"width": 100_000}}, model="lstm", out=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_changed_data_are_noticed(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("to be or not to be, " * 200)
    values = {key: value for key, value in TINY.items() if key != "corpus"} | {"trainer": {"steps": 2}}
    events(planning.plan(str(text), values, model="gru", out=tmp_path / "a"))
    text.write_text("to be or not to bee " * 200)
    with pytest.raises(DataError, match="changed"):
        planning.plan(str(text), {}, out=tmp_path / "a", resume=True)


@pytest.mark.parametrize("word", ["gru", "masked"])
def test_what_a_prior_counted_is_kept_with_the_run_and_read_when_it_goes_on(tmp_path: Path, word: str) -> None:
    values = {**TINY, "process": {"prior": {"name": "ngram", "order": 3}}}

    def planned(name: str, **more: Any) -> planning.TrainingPlan:
        return planning.plan("builtin:markov", {**values, **more}, model=word, out=tmp_path / name)

    events(planned("whole", trainer={"steps": 6}))
    count = iter(range(100))
    events(planned("cut", trainer={"steps": 6}), stop=lambda: next(count) >= 2)
    tables = tmp_path / "cut" / runs.PRIOR / runs.TABLES
    written = tables.stat().st_mtime_ns
    events(planning.plan("builtin:markov", {}, out=tmp_path / "cut", resume=True))
    assert tables.stat().st_mtime_ns == written
    whole, cut = (runs.read(tmp_path / name) for name in ("whole", "cut"))
    for part in ("weights", "average"):
        one, other = (run.checkpoint("last")[0].tensors(part) for run in (whole, cut))
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    nets = [run.load_network()[0] for run in (whole, cut)]
    assert all(net.laws is not None for net in nets)
    samples = [model.load(run.path).sample(1, 20, seed=1).values for run in (whole, cut)]
    assert samples[0] == samples[1]
    more = {**values, "trainer": {"steps": 1}}
    fitting = fit.Fit(planning.plan("builtin:markov", more, model=word, out=tmp_path / "from", start=cut.path))
    list(fitting.events())
    assert fitting.inherited is not None
    found = fitting.inherited.by_symbol
    assert found["head.weight"][0] == found["head.weight"][1] == fitting.net.spec.outputs
    tables.write_bytes(tables.read_bytes()[:-1] + b"x")
    with pytest.raises(RunError, match="checksum"):
        cut.load_network()
    tables.parent.joinpath(durable.MANIFEST).unlink()
    with pytest.raises(RunError, match="prior is missing"):
        cut.load_network()


@pytest.mark.parametrize("word", ["gru", "masked"])
def test_a_prior_beside_tied_ends(tmp_path: Path, word: str) -> None:
    settings = {**TINY, "backbone": {"width": 16, "depth": 1, "tie": True}, "process": {"prior": "ngram"}}
    fitting = fit.Fit(planning.plan("builtin:markov", {**settings, "trainer": {"steps": 3}}, model=word, out=tmp_path))
    list(fitting.events())
    assert fitting.net.untied is not None
    assert fitting.net.untied.out_features == {"gru": 1, "masked": 3}[word]
    assert model.load(tmp_path).sample(1, 10).values[0]


@pytest.mark.parametrize(("reading", "writing"), [(0.2, 0.1), (0.4, 0.1)])
def test_what_is_done_beside_the_training_takes_a_twentieth_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reading: float, writing: float
) -> None:
    """Validations, saves and previews of 20 seconds, by a clock that says what each takes; the log says it."""
    now = [0.0]

    def taking(seconds: float, action: Any) -> Any:
        def done(*args: Any, **kwargs: Any) -> Any:
            now[0] += seconds
            return action(*args, **kwargs)

        return done

    monkeypatch.setattr(fit.Loop, "advance", taking(0.1, fit.Loop.advance))
    monkeypatch.setattr(validation.Validation, "measure", taking(reading / 2, validation.Validation.measure))
    monkeypatch.setattr(fit.checkpoints, "save", taking(writing, fit.checkpoints.save))
    monkeypatch.setattr(fit.Running, "take", taking(0.2, fit.Running.take))
    planned = plan(tmp_path / "a", minutes=20 / 60)  # where the machine is not known yet it is timed here
    fitting = fit.Fit(planned, clock=lambda: now[0])
    now[0] = 0.0
    seen = list(fitting.events())
    kinds = [event.kind for event in seen]
    assert kinds.count("valid") >= 2
    assert "preview" not in kinds
    last = json.loads((tmp_path / "a" / runs.LOG).read_text().splitlines()[-1])
    assert last["beside"] == seen[-1].facts["beside"]
    assert {"valid", "save"} <= set(last["beside"])
    assert sum(last["beside"].values()) <= 0.05 * 20 + 0.2  # a frame more than there was time for
    assert now[0] <= 20.5


def test_members_of_a_list_that_are_named_again_are_the_same(tmp_path: Path) -> None:
    def asked(lags: int, resume: bool, features: object = None) -> planning.TrainingPlan:
        own = features or {"lags": {"lags": [lags]}, "window": "none"}
        settings = {"trainer": {"steps": 1}, "backbone": {"width": 8}, "process": {"features": own}}
        return planning.plan("builtin:var1", settings, model="lstm", out=tmp_path / "run", resume=resume)

    events(asked(3, False), preview=False)
    for features in (None, "lags", [{"name": "lags", "lags": [3]}]):
        assert asked(3, True, features).run is not None
    with pytest.raises(RunError, match=r"another process\.features\.lags\.lags"):
        asked(4, True)
    with pytest.raises(RunError, match=r"another process\.features"):
        asked(3, True, "window,lags")
