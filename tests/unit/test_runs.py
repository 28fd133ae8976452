"""Run folders: what one goes on with, what is refused, what is noticed, and how one begins with another's weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from seqloom import fit, model, planning
from seqloom import run as runs
from seqloom.core import durable
from seqloom.core.errors import DataError, RunError, Stopped
from seqloom.processes.base import Process
from seqloom.recipe import Recipe

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


def best_of(path: Path) -> tuple[Any, list[Any], bytes]:
    """What is best, what each validation found, and the last weights."""
    checkpoint = runs.read(path).checkpoint("last")[0]
    records = [record for record in durable.Journal.read(path / runs.LOG) if "valid" in record]
    validations = [(record["step"], record["valid"], record["part"]) for record in records]
    return checkpoint.state()["best"], validations, (checkpoint.folder / "weights.safetensors").read_bytes()


def test_a_stop_at_any_step_changes_neither_the_best_nor_a_validation(tmp_path: Path) -> None:
    steps = 7  # validations at steps that are no tenth, too
    events(plan(tmp_path / "whole", steps=steps))
    for stop in range(1, steps):
        checks = iter(range(steps))
        events(plan(tmp_path / f"{stop}", steps=steps), stop=lambda checks=checks, stop=stop: next(checks) == stop - 1)
        events(plan(tmp_path / f"{stop}", resume=True))
        assert best_of(tmp_path / f"{stop}") == best_of(tmp_path / "whole")


def test_a_run_with_a_member_that_is_not_there_says_how_to_name_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events(plan(tmp_path / "a", word="masked", steps=1))
    monkeypatch.delitem(Process.members, "masked")
    with pytest.raises(RunError, match="there is no process called 'masked'") as caught:
        runs.read(tmp_path / "a")
    assert "SEQLOOM_MODULES=MODULE" in caught.value.hint


def test_every_byte_that_a_run_depends_on_is_watched(tmp_path: Path) -> None:
    events(plan(tmp_path / "a", steps=1))
    for name in (runs.RECIPE, runs.CODEC, runs.VERSIONS, runs.ADVICE, durable.MANIFEST):
        path = tmp_path / "a" / name
        whole = path.read_bytes()
        for at in range(0, len(whole), 13):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
            with pytest.raises(RunError):
                runs.read(tmp_path / "a")
        path.unlink()
        with pytest.raises(RunError, match=f"{name} is missing"):
            plan(tmp_path / "a", resume=True)
        path.write_bytes(whole)
    assert runs.read(tmp_path / "a").recipe.trainer.steps == 1


def test_a_checkpoint_of_another_recipe_is_not_used(tmp_path: Path) -> None:
    for name, rate in (("a", 0.01), ("b", 0.02)):
        events(plan(tmp_path / name, steps=2, rate=rate))
    assert runs.read(tmp_path / "a").recipe_hash != runs.read(tmp_path / "b").recipe_hash
    for name in ("recipe.yaml", "manifest.json"):  # as one who wants other settings might do
        (tmp_path / "a" / name).write_bytes((tmp_path / "b" / name).read_bytes())
    with pytest.raises(RunError):
        model.load(tmp_path / "a")


class Killed(BaseException):
    """What stands for a SIGKILL."""


@pytest.mark.parametrize("begun", [False, True])
def test_a_kill_while_a_run_is_made_or_its_recipe_exchanged_leaves_one_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    class Dying(durable.Disk):
        left = 1 << 30

        def rename(self, old: Path, new: Path) -> None:
            self.left -= 1
            if self.left < 0:
                raise Killed
            super().rename(old, new)

    disk = Dying()
    monkeypatch.setattr(durable, "disk", disk)
    for left in range(4) if begun else range(0, 8, 2):
        disk.left = 1 << 30
        path = tmp_path / f"{left}"
        if begun:
            events(plan(path, steps=2))
        planned = plan(path, steps=4, resume=True)
        disk.left = left
        running = fit.Fit(planned).events()
        with pytest.raises(Killed):
            list(running)
        disk.left = 1 << 30
        assert events(plan(path, steps=4, resume=True))[-1].facts["steps"] == 4


def test_what_is_no_run_is_not_written_into(tmp_path: Path) -> None:
    for name in ("report.json", "recipe.yaml", "notes.txt", "codec.json"):
        mine = tmp_path / name.partition(".")[0]
        mine.mkdir()
        (mine / name).write_text("mine")
        with pytest.raises(RunError):
            events(plan(mine, resume=True))
        assert [path.name for path in mine.iterdir()] == [name]
        assert (mine / name).read_text() == "mine"


def test_a_run_goes_on_with_its_own_data_alone(tmp_path: Path) -> None:
    texts = {name: tmp_path / f"{name}.txt" for name in ("first", "moved", "other", "longer")}
    texts["first"].write_text("to be or not to be, " * 200)
    texts["other"].write_text("or to be not to be, " * 200)
    texts["longer"].write_text("to be or not to be, " * 201)
    values = {key: value for key, value in TINY.items() if key != "corpus"} | {"trainer": {"steps": 2}}
    events(planning.plan(str(texts["first"]), values, model="gru", out=tmp_path / "a"))

    def resume(data: str, notes: list[str] | None = None) -> planning.TrainingPlan:
        more = {"trainer": {"steps": 3}}
        return planning.plan(data, more, out=tmp_path / "a", resume=True, notify=(notes or []).append)

    for data in (str(texts["other"]), str(texts["longer"]), "builtin:markov"):
        with pytest.raises(RunError, match="trained on"):
            resume(data)
    with pytest.raises(DataError, match="no such file"):
        resume(str(tmp_path / "nothing.txt"))
    texts["first"].rename(texts["moved"])
    notes = [""]
    events(resume(str(texts["moved"]), notes))
    assert "same content" in notes[-1]
    again = runs.read(tmp_path / "a")
    assert again.recipe.corpus.plain()["path"] == str(texts["moved"])
    assert again.checkpoint("last")[0].step == 3


def test_fewer_steps_than_are_done_are_refused(tmp_path: Path) -> None:
    events(plan(tmp_path / "a", steps=4))
    with pytest.raises(RunError, match="at step 4 already"):
        plan(tmp_path / "a", resume=True, steps=3)
    assert runs.read(tmp_path / "a").recipe.trainer.steps == 4
    with pytest.raises(RunError, match=r"was trained for .* already"):
        plan(tmp_path / "a", resume=True, minutes=1e-6)


def test_what_fails_before_its_first_checkpoint_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan(tmp_path / "a", steps=4)
    true_loss = type(planned.recipe.process).loss

    def loss(*arguments: Any, **options: Any) -> Any:
        outcome = true_loss(*arguments, **options)
        return type(outcome)(outcome.total * math.nan, outcome.count, outcome.state)

    monkeypatch.setattr(type(planned.recipe.process), "loss", loss)
    with pytest.raises(Stopped, match="not finite"):
        events(planned)
    assert not (tmp_path / "a").exists()


def texts(path: Path) -> tuple[str, str]:
    """Two texts of which the second lacks one character of the first and has another in its place."""
    for name, text in (("first", "to be or not to be, "), ("second", "to be or not to be; x")):
        (path / f"{name}.txt").write_text(text * 200)
    return str(path / "first.txt"), str(path / "second.txt")


@pytest.mark.parametrize("word", ["gru", "masked"])
def test_a_run_begins_with_the_weights_of_another(tmp_path: Path, word: str) -> None:
    """Rows of symbols go where their symbol is; the trunk is taken whole; what is new stays as it was."""
    first, second = texts(tmp_path)
    values = {"backbone": {"width": 64, "depth": 1}, "trainer": {"steps": 3}}
    events(planning.plan(first, values, model=word, out=tmp_path / "a"))
    planned = planning.plan(second, {"trainer": {"steps": 1}}, out=tmp_path / "b", start=tmp_path / "a")
    assert planned.recipe.backbone == runs.read(tmp_path / "a").recipe.backbone
    assert "step 3" in planned.advice["start"]
    fitting = fit.Fit(planned)
    running = fitting.events()
    next(running)
    origin, _ = runs.read(tmp_path / "a").load_network()
    old, new = dict(origin.named_parameters()), dict(fitting.net.named_parameters())
    fresh = dict(runs.read(tmp_path / "b").network().named_parameters())
    a, b = runs.read(tmp_path / "a").symbols(), runs.read(tmp_path / "b").symbols()
    assert a["embed.weight"] != b["embed.weight"]
    for name, tensor in new.items():
        for row in range(len(tensor)) if name in b else ():
            symbol = b[name][row]
            expected = old[name][a[name].index(symbol)] if symbol in a[name] else fresh[name][row]
            assert torch.equal(tensor[row], expected), symbol
        assert name in b or torch.equal(tensor, old[name])
    assert "rows of embed.weight" in fitting.notes[-1]
    list(running)
    assert runs.read(tmp_path / "b").recipe.start == str(tmp_path / "a")


def test_what_is_set_of_the_model_of_another_run_is_all_that_differs(tmp_path: Path) -> None:
    """Longer windows by stretched positions, as the docs have it; a mixer of another kind keeps the rest."""
    first, _ = texts(tmp_path)
    values = {"backbone": {"width": 32, "depth": 1}, "trainer": {"steps": 1}}
    events(planning.plan(first, values, model="attention", out=tmp_path / "a"))
    old = runs.read(tmp_path / "a").recipe

    def begun(**settings: Any) -> Recipe:
        return planning.plan(first, settings, out=tmp_path / "b", start=tmp_path / "a").recipe

    stretched = begun(backbone={"mixer": {"positions": {"stretch": 4}}}, feed={"window": 512})
    mixer = old.backbone.mixers[0].plain()
    mixer["positions"]["stretch"] = 4.0
    assert stretched.backbone == old.backbone.replace(mixer=mixer)
    assert begun(process={"infill": 0.5}).process == old.process.replace(infill=0.5)
    gated = begun(backbone={"mixer": "gru"})
    assert (gated.backbone.mixers[0].name, gated.backbone.width, gated.process) == ("gru", 32, old.process)


def test_a_run_that_began_with_another_goes_on_without_it(tmp_path: Path) -> None:
    first, second = texts(tmp_path)
    values = {"backbone": {"width": 32, "depth": 1}, "trainer": {"steps": 3}}
    for name in "ab":
        events(planning.plan(first, values, model="gru", out=tmp_path / f"origin-{name}"))
    events(planning.plan(second, values, model="gru", out=tmp_path / "whole", start=tmp_path / "origin-a"))
    checks = iter(range(3))
    planned = planning.plan(second, values, model="gru", out=tmp_path / "parts", start=tmp_path / "origin-a")
    events(planned, stop=lambda: next(checks) == 0)
    (tmp_path / "origin-a").rename(tmp_path / "gone")
    events(planning.plan(second, {}, out=tmp_path / "parts", resume=True, start=tmp_path / "origin-a"))
    assert best_of(tmp_path / "parts") == best_of(tmp_path / "whole")
    with pytest.raises(RunError, match="another start"):
        planning.plan(second, {}, out=tmp_path / "parts", resume=True, start=tmp_path / "origin-b")


def test_weights_that_do_not_fit_are_said_or_refused(tmp_path: Path) -> None:
    first, _ = texts(tmp_path)
    small = {"backbone": {"width": 32, "depth": 1}, "trainer": {"steps": 1}}
    events(planning.plan(first, small, model="gru", out=tmp_path / "a"))
    deeper = {"backbone": {"width": 32, "depth": 2}, "trainer": {"steps": 1}}
    fitting = fit.Fit(planning.plan(first, deeper, model="gru", out=tmp_path / "b", start=tmp_path / "a"))
    list(fitting.events())
    assert any("trunk.layers.1.mixer.weight_ih (the other has none)" in note for note in fitting.notes)
    wide = {"backbone": {"width": 48, "depth": 1, "norm": "none"}, "trainer": {"steps": 1}}
    planned = planning.plan("builtin:var1", wide, model="gru", out=tmp_path / "c", start=tmp_path / "a")
    with pytest.raises(RunError, match="none of the weights"):
        events(planned)
    assert not (tmp_path / "c").exists()
