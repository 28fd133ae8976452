"""What people are told when something is not as they meant it, and what they are asked before anything is lost."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from seqloom.core import config
from seqloom.fit import train
from terminal import TINY, Done, Examples, check_error, series

Command = Callable[..., Done]


# ---- outputs --------------------------------------------------------------------------------------------------------


def test_what_is_there_is_replaced_only_with_force(seqloom: Command, examples: Examples) -> None:
    Path("ahead.csv").write_text("mine")
    words = ("forecast", examples.run("series"), "--horizon", 2, "--out", "ahead.csv", "--seed", 1)
    check_error(seqloom(*words), "--out: ahead.csv is there already", "--force")
    assert Path("ahead.csv").read_text() == "mine"
    assert seqloom(*words, "--force").code == 0
    assert Path("ahead.csv").read_text().startswith("date,load_mean")
    Path("made").mkdir()
    Path("made/0000.txt").write_text("mine")
    for verb, more in (("sample", ()), ("extend", ("the",)), ("infill", ("the ___",))):
        words = (verb, examples.run("masked"), *more, "--out", "made", "--seed", 1)
        check_error(seqloom(*words), "made/0000.txt is there already", "--force")
        assert Path("made/0000.txt").read_text() == "mine"
        assert seqloom(*words, "--force").code == 0
        assert Path("made/0000.txt").read_text() != "mine"
        Path("made/0000.txt").write_text("mine")
    Path("made/index.html").write_text("mine")
    words = ("sample", examples.run("masked"), "--frames", "made", "--seed", 1)
    check_error(seqloom(*words), "--frames: made/index.html is there already", "--force")


def test_one_file_is_named_as_one(seqloom: Command, examples: Examples) -> None:
    assert "made/0000.txt\n" in seqloom("sample", examples.run("lstm"), "--out", "made", "--seed", 1).err
    assert "files" not in seqloom("sample", examples.run("lstm"), "--out", "one", "--seed", 1).err
    assert "2 files: two/0000.txt to 0001.txt" in seqloom("sample", examples.run("lstm"), "-n", 2, "--out", "two").err
    words = ("sample", examples.run("lstm"), "-n", 2, "--seed", 1, "--length", 9)
    assert "2 samples: both.txt" in seqloom(*words, "--out", "both.txt").err
    assert Path("both.txt").read_text() + "\n" == seqloom(*words).text, "without the empty line at the end"
    words = ("sample", examples.run("series"), "-n", 2, "--seed", 1, "--length", 3)
    seqloom(*words, "--out", "both.csv")
    assert Path("both.csv").read_text() == seqloom(*words).text


def test_a_comparison_of_runs_has_a_folder_of_its_own(seqloom: Command, examples: Examples) -> None:
    pair = (examples.run("lstm"), examples.run("masked"))
    first, second = (seqloom("compare", *pair, "-q").text.splitlines()[-1] for _ in range(2))
    assert (first, second) == ("runs/compare-runs/report.html", "runs/compare-runs-2/report.html")
    assert seqloom("compare", *pair, "--out", "runs/compare-runs", "-q").code == 0, "the same comparison again"
    other = ("compare", examples.run("lstm"), "--out", "runs/compare-runs", "-q")
    check_error(seqloom(*other), "holds another comparison", "--out")
    assert seqloom(*other, "--force").code == 0
    Path("mine").mkdir()
    Path("mine/report.html").write_text("mine")
    check_error(seqloom("compare", *pair, "--out", "mine", "-q"), "is no comparison", "--out")
    assert Path("mine/report.html").read_text() == "mine"


# ---- words ----------------------------------------------------------------------------------------------------------


def test_a_file_whose_at_was_forgotten_is_asked_about(seqloom: Command, examples: Examples) -> None:
    Path("notes.txt").write_text("the quick")
    Path("power.csv").write_text(series(9))
    check_error(seqloom("extend", examples.run("lstm"), "notes.txt"), "'notes.txt' is the name of a file", "@notes.txt")
    head, *rows = series(9).splitlines()
    Path("power.csv").write_text("\n".join([head, *rows[:5], rows[5].partition(",")[0] + ",,", *rows[6:]]) + "\n")
    filled = seqloom("infill", examples.run("gaussian"), "power.csv", "--seed", 1)
    assert filled.text == seqloom("infill", examples.run("gaussian"), "@power.csv", "--seed", 1).text
    Path("power.dat").write_text(series(9))
    check_error(seqloom("infill", examples.run("gaussian"), "power.dat"), "is the name of a file", "@power.dat")
    literal = seqloom("extend", examples.run("lstm"), "--length", 3, "--seed", 1, "--", "the quick")
    Path("the quick").write_text("over")
    check_error(seqloom("extend", examples.run("lstm"), "the quick"), "is the name of a file", "-- 'the quick'")
    again = seqloom("extend", examples.run("lstm"), "--length", 3, "--seed", 1, "--", "the quick")
    assert again.text == literal.text
    assert again.text.startswith("the quick")


def test_words_after_two_dashes_are_taken_as_they_are(seqloom: Command) -> None:
    Path("signs.txt").write_text("@a-b=c --d @@e\n" * 200)
    assert seqloom("train", "signs.txt", "--out", "run", *TINY).code == 0
    for word in ("@signs.txt", "@@e", "--d", "-"):
        if word == "@signs.txt":
            check_error(seqloom("extend", "run", "--", word), "not in the model's alphabet")
        else:
            assert seqloom("extend", "run", "--length", 2, "--seed", 1, "--", word).text.startswith(word)


def test_nearest_names(seqloom: Command, examples: Examples) -> None:
    check_error(seqloom("train", "corpus=files"), "DATA|RECIPE is missing", "corpus.path=PATH")
    check_error(seqloom("data", "corpus.path=gone.txt"), "gone.txt: there is no such file", "")
    check_error(seqloom("train", examples.text, "--model", "LSTM"), "no model called 'LSTM'", "did you mean 'lstm'?")
    check_error(seqloom("train", examples.text, "--model", "diffusion"), "'diffusion'", "'gaussian' or 'masked'")
    nearest = seqloom("train", examples.text, "--model", "xyz")
    check_error(nearest, "'xyz'", "a mixer (")
    check_error(seqloom("train", examples.text, "--model", ""), "no model called ''")
    Path("runs").symlink_to(examples.folder / "runs")
    for verb in (("sample",), ("evaluate",), ("score", examples.text)):
        words = (verb[0], "lstm", *verb[1:])
        check_error(seqloom(*words), "there is no run at lstm", "did you mean runs/lstm?")
    check_error(seqloom("sample", "runs/lstmm"), "no run at runs/lstmm", "did you mean runs/lstm?")
    for word, verb in (("generate", "sample"), ("prune", "quantize"), ("trian", "train")):
        check_error(seqloom(word, "runs/lstm"), f"there is no verb '{word}'", f"did you mean `seqloom {verb}")
    setting = seqloom("sample", "runs/lstm", "sampler=beam", "sampler.temperature=1")
    check_error(setting, "sampler.temperature: there is no such setting of beam", "ancestral")
    swept = seqloom("sample", "runs/lstm", "--sweep", "sampler.width=1,4")
    check_error(swept, "sampler.width: there is no such setting of ancestral", "beam, without_replacement have it")


def test_seeds_have_bounds_that_are_said(seqloom: Command, examples: Examples) -> None:
    for words in (("sample", examples.run("lstm")), ("train", examples.text, "--steps", 2)):
        for seed in (-3, 2**64):
            check_error(seqloom(*words, "--seed", seed), f"--seed: {seed} is no seed", "from 0 to 9223372036854775807")
    check_error(seqloom("train", examples.text, "seed=-3"), "seed: a number from 0 on is wanted")


def test_settings_of_the_wrong_kind_are_told_in_plain_words(seqloom: Command, examples: Examples) -> None:
    for setting, message in [
        ("corpus.splits=half", "corpus.splits.0: a number is wanted"),
        ("corpus.splits=0.9", "corpus.splits.1: a longer list is wanted"),
        ("corpus.splits=0.9,0.1,0.1,0.1", "corpus.splits: a list of at most 3 is wanted"),
        ("backbone.width=wide", "backbone.width: a whole number is wanted"),
        ("backbone.residual=perhaps", "backbone.residual: true or false is wanted"),
        ("backbone.norm=big", "backbone.norm: one of 'layer'"),
        ("trainer.rate=fast", "trainer.rate: a number is wanted"),
    ]:
        done = seqloom("train", examples.text, setting)
        check_error(done, message)
        assert "should" not in done.err
        assert "valid " not in done.err


def test_minutes_and_steps_are_refused_together_in_python_too(examples: Examples) -> None:
    with pytest.raises(config.ConfigError, match="minutes"):
        train(str(examples.text), minutes=1, steps=2, out="both")
    with pytest.raises(config.ConfigError, match="minutes"):
        train(str(examples.text), trainer={"minutes": 1, "steps": 2}, out="both")
    assert not Path("both").exists()


def test_what_comes_next_can_be_pasted(seqloom: Command, examples: Examples) -> None:
    done = seqloom("train", examples.text, "--out", "runs/a b", *TINY[:-1])
    assert "next: seqloom sample 'runs/a b'   seqloom evaluate 'runs/a b'" in done.err
    series = seqloom("train", "builtin:var1", "--out", "var", *TINY[:-1])
    assert "next: seqloom forecast var   seqloom evaluate var" in series.err
    check_error(seqloom("forecast", "runs/a b", "--horizon", 3), "means and quantiles", "seqloom extend 'runs/a b'")


def test_nothing_on_standard_input_is_called_that(seqloom: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (("train", "-", "--steps", 2), ("data", "-")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        done = seqloom(*words)
        check_error(done, "standard input: it is empty")
        assert "cache" not in done.err


# ---- runs -----------------------------------------------------------------------------------------------------------


def test_runs_that_cannot_be_read_are_listed_and_an_empty_folder_is_said(seqloom: Command, examples: Examples) -> None:
    Path("runs").mkdir()
    assert "there are no runs in runs" in seqloom("runs").err
    Path("other").mkdir()
    assert "there are no runs in other" in seqloom("runs", "other").err
    assert seqloom("train", examples.text, "--out", "runs/torn", *TINY).code == 0
    assert seqloom("train", examples.text, "--out", "runs/good", *TINY).code == 0
    Path("runs/torn/recipe.yaml").write_text("[")
    rows = {row["run"]: row for row in seqloom("runs", "--json").json}
    assert rows["runs/torn"]["state"] == "unreadable"
    assert "recipe.yaml" in rows["runs/torn"]["error"]
    assert rows["runs/good"]["state"] == "finished"
    assert "runs/torn/recipe.yaml is not YAML" in seqloom("runs").text
    check_error(seqloom("show", "runs/torn"), "recipe.yaml")


def test_a_deleted_run_is_called_deleted(seqloom: Command, examples: Examples, monkeypatch: pytest.MonkeyPatch) -> None:
    from seqloom.core import checkpoints, durable

    save = checkpoints.save

    def deleting(lock: durable.Lock, *rest: object, **more: object) -> object:
        if not (lock.run / "gone").exists():
            (lock.run / durable.LOCK).unlink()
        return save(lock, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(checkpoints, "save", deleting)
    done = seqloom("train", examples.text, "--out", "run", *TINY)
    assert done.code == 2
    assert "deleted" in done.err
    assert "another program" not in done.err


# ---- a broken package, and exit codes --------------------------------------------------------------------------------


def test_a_broken_package_is_named_and_left_out(
    seqloom: Command, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> None:
        raise ZeroDivisionError("the moon is full")

    point = SimpleNamespace(name="moon", value="moon:Phase", dist=SimpleNamespace(name="moonlight"), load=load)
    monkeypatch.setattr(config.metadata, "entry_points", lambda group: [point])
    config._left_out.cache_clear()
    done = seqloom("list", "mixer")
    assert done.code == 0
    assert "lstm" in done.text
    assert done.err.splitlines() == [
        "moon (moon:Phase) of moonlight cannot be loaded and is left out: ZeroDivisionError: the moon is full"
    ]
    assert seqloom("sample", examples.run("lstm"), "--seed", 1, "-q").code == 0


def test_a_members_module_of_ones_own_that_is_broken_is_the_users_to_mend(
    seqloom: Command, examples: Examples, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "brokenmember.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    check_error(seqloom("train", examples.text, "process=brokenmember:Mine"), "cannot be imported: ZeroDivisionError")


def test_a_comparison_in_which_a_model_failed_says_so_by_its_exit_code(
    seqloom: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seqloom.evaluation import work

    monkeypatch.setattr(work, "_worked", lambda task: {"error": "the memory is used up"})
    words = ("compare", "builtin:markov", "--models", "rnn", "--minutes", "0.01", "corpus.size=4000", "--out", "both")
    done = seqloom(*words)
    assert done.code == 3
    assert "rnn: the memory is used up" in done.text
    assert done.err.splitlines()[-1] == "not everything succeeded: rnn"
    result = seqloom(*words, "--json", "-q")
    assert result.code == 3
    assert json.loads(result.out)["rows"][0]["error"] == "the memory is used up"


def test_help_of_a_verb_and_completion(seqloom: Command) -> None:
    assert seqloom("help", "train").out == seqloom("train", "--help").out
    assert seqloom("help").out == seqloom("--help").out
    check_error(seqloom("help", "trian"), "there is no verb 'trian'", "seqloom train")
    assert "--install-completion" in seqloom("--help").text


# ---- real processes -------------------------------------------------------------------------------------------------


def test_a_closed_standard_output_is_said(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m seqloom list >&-"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "error: standard output is closed"


def test_ctrl_c_while_it_is_imported_leaves_no_traceback() -> None:
    script = "import os, signal, sys\nsys.argv = ['seqloom', 'list']\n"
    script += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored where a shell started us behind
    # The signal comes as the command line begins to be imported.
    script += "import importlib.abc\nclass Finder(importlib.abc.MetaPathFinder):\n"
    script += "    def find_spec(self, name, path, target=None):\n"
    script += "        if name == 'typer':\n            os.kill(os.getpid(), signal.SIGINT)\n"
    script += "sys.meta_path.insert(0, Finder())\nfrom seqloom.__main__ import main\nmain()\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_after_the_end_leaves_no_traceback() -> None:
    script = "import atexit, os, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    script += "atexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
    script += "from seqloom.cli.main import main\nmain(['--version'])\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


LIGHT = [
    ("runs",),
    ("runs", "RUNS", "--json"),
    ("show", "RUN"),
    ("data", "TEXT"),
    ("data", "TABLE"),
    ("help", "train"),
    ("train", "nosuchfile.txt"),
    ("train", "TEXT", "--steps", "0"),
    ("train", "TEXT", "--steps", "2", "--minutes", "1"),
    ("sample", "nowhere"),
    ("extend", "RUN"),
    ("extend", "RUN", "TEXT"),
    ("forecast", "RUN"),
    ("score", "nowhere", "TEXT"),
    ("score", "RUN", "nosuchfile.txt"),
    ("extend", "RUN", "@nosuchfile.txt"),
    ("infill", "RUN", "@nosuchfile.txt"),
    ("forecast", "RUN", "nosuchfile.csv", "--horizon", "3"),
    ("evaluate", "RUN", "nosuchfile.txt"),
    ("help", "nothing"),
    ("evaluate", "nowhere"),
    ("compare", "TEXT"),
    ("compare", "RUN", "nowhere"),
    ("compare", "nosuchfile.txt", "--models", "lstm", "--minutes", "1"),
    ("train", "TEXT", "--model", "lstmm"),
    ("compare", "TEXT", "--models", "lstm,diffusion", "--minutes", "1"),
]


def test_the_gradient_of_a_run_by_lag(seqloom: Command, examples: Examples) -> None:
    found = seqloom("show", examples.run("lstm"), "--gradients", "--json").json
    assert found["factor"] <= 1
    assert len(found["norms"]) > 1
    said = seqloom("show", examples.run("lstm"), "--gradients").text
    assert said.splitlines()[0].split() == ["lag", "gradient", "of", "lag", "1", "clipped"]
    assert f"{found['norms'][0]:.3g}" in said
    assert "a hundredth of that at lag 1" in said
    check_error(seqloom("show", examples.run("masked"), "--gradients"), "reads from the left", "autoregressive")


def test_what_needs_no_torch_imports_none(examples: Examples, tmp_path: Path) -> None:
    names = {
        "RUNS": examples.folder / "runs",
        "RUN": examples.run("lstm"),
        "TEXT": examples.text,
        "TABLE": examples.table,
    }
    script = (
        "import json, sys\nfrom seqloom.cli.main import run\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    run(words)\n"
        "    print(json.dumps([words, sorted({'torch', 'jaxtyping', 'matplotlib'} & set(sys.modules))]))\n"
    )
    lines = [[str(names.get(word, word)) for word in words] for words in LIGHT]
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(lines)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    result = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]
    assert result == [[words, []] for words in lines]


def test_a_forecast_that_takes_long_shows_how_far_it_is(
    seqloom: Command, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seqloom.core import progress

    monkeypatch.setattr(progress, "LINE", 0.0)
    done = seqloom("forecast", examples.run("series"), "--horizon", 4, "--seed", 1)
    assert "training window" not in done.err, "a long past is what a recurrent state is for"
    assert "of 100 samples" in done.err
    assert "100 %" in done.err
    assert "samples" not in seqloom("forecast", examples.run("series"), "--horizon", 4, "--seed", 1, "-q").err


def test_a_forecast_as_json(seqloom: Command, examples: Examples) -> None:
    forecast = seqloom("forecast", examples.run("series"), "--horizon", 3, "--seed", 1, "--json").json
    assert set(forecast) == {"run", "seed", "elements", "summary"}
    assert forecast["elements"] == [f"2024-01-17 {hour}:00:00" for hour in (16, 17, 18)]
    assert set(forecast["summary"]) == {"load", "price"}
    assert list(forecast["summary"]["load"]) == ["mean", *(f"{q / 10:g}" for q in range(1, 10))]
    table = seqloom("forecast", examples.run("series"), "--horizon", 3, "--seed", 1).table
    assert [float(row["load_0.5"]) for row in table] == pytest.approx(forecast["summary"]["load"]["0.5"], rel=1e-4)
    paths = seqloom("forecast", examples.run("series"), "--horizon", 3, "--seed", 1, "-n", 2, "--json").json["paths"]
    assert [len(path["values"]["load"]) for path in paths] == [3, 3]
