"""The command line as a user meets it: what every verb prints and writes, and every error in two lines."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqloom import run as runs
from seqloom.cli.main import VERBS
from seqloom.cli.sampling import whole_characters
from seqloom.cli.trajectory import Trajectory
from seqloom.core import checkpoints, durable
from seqloom.metrics.base import Metric
from seqloom.model import load
from terminal import TEXT, TINY, Done, Examples, check_error, series

# ---- help and usage -------------------------------------------------------------------------------------------------


def test_help_names_the_verbs_that_work_and_no_others(seqloom: Callable[..., Done]) -> None:
    done = seqloom("--help")
    assert done.code == 0
    assert done.err == ""
    listed = [line.split()[0] for line in done.text.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()]
    assert listed == list(VERBS)
    assert seqloom().text == done.text
    assert seqloom("--version").text.startswith("seqloom 0.")


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_help(seqloom: Callable[..., Done], name: str) -> None:
    done = seqloom(name, "--help")
    assert done.code == 0
    assert done.text.startswith(f"Usage: seqloom {name} ")
    for option in ("--device", "--threads", "--quiet", "--verbose"):
        assert option in done.text
    assert "<" not in done.text, "types of Python say nothing to people"


USAGE = [
    (("trian", "x"), "there is no verb 'trian'", "seqloom train"),
    (("train", "--modle", "lstm"), "there is no option --modle", "--model"),
    (("train",), "DATA|RECIPE is missing", "seqloom train"),
    (("train", "builtin:markov", "--steps", "many"), "--steps", "seqloom train --help"),
    (("train", "builtin:markov", "--steps", "2", "--minutes", "1"), "--steps", "--minutes or --steps"),
    (("train", "builtin:markov", "--minutes", "0"), "--minutes: 0.0 is not above 0", "larger"),
    (("train", "builtin:markov", "--threads", "0"), "--threads", "1 or more"),
    (("train", "builtin:markov", "--device", "tpu"), "'tpu' is not a device", "cpu"),
    (("train", "builtin:markov", "--model", "lsmt"), "no model called 'lsmt'", "lstm"),
    (("train", "builtin:markov", "--model", "lstm,attention"), "several models", "backbone.mixer=[lstm,attention]"),
    (("train", "builtin:markov", "--model", "hybrid"), "a list of mixers", "backbone.mixer=[lstm,attention]"),
    (
        ("train", "builtin:markov", "--model", "gru", "backbone.mixer.window=8"),
        "setting of gru",
        "it has none; attention",
    ),
    (("train", "builtin:markov", "--model", "attention", "backbone.mixer.heads=3"), "3 heads", "a multiple of 6"),
    (("train", "builtin:markvo"), "markvo", "markov"),
    (("train", "builtin:markov", "backbone.widht=8"), "backbone.widht: there is no such setting", "width"),
    (("train", "builtin:markov", "process=maskd"), "process: there is no process called 'maskd'", "masked"),
    (("train", "builtin:markov", "backbone.width=wide"), "backbone.width", ""),
    (("train", "builtin:markov", "backbone.mixer.kindd=relu", "backbone.mixer=rnn"), "kindd", ""),
    (("data", "builtin:markov", "codec.alphabett=ab"), "codec.alphabett: there is no such setting", "alphabet"),
    (("train", "builtin:markov", "codek=bytes"), "codek: there is no such setting", "codec"),
    (("train", "builtin:markov", "process=gaussian", "--steps", "2"), "learns vectors", "masked"),
    (("sample",), "RUN is missing", "seqloom sample RUN"),
    (("sample", "runs/nowhere"), "there is no run at runs/nowhere", "seqloom runs"),
    (("sample", "runs/nowhere", "temperature=2"), "'temperature=2' is one word too many", "sampler.temperature=2"),
    (("forecast", "runs/nowhere", "--levels", "0.5"), "there is no option --levels", "seqloom forecast --help"),
    (("forecast", "runs/nowhere", "--quantiles", "0.5,1.5"), "--quantiles: '0.5,1.5' are no quantiles", "0.05,0.5"),
    (("forecast", "runs/nowhere", "--plot", "fan.pdf"), "--plot: fan.pdf is no name for a chart", ".png or .svg"),
    (("forecast", "runs/nowhere", "-n", "2", "--quantiles", "0.5"), "--quantiles: paths have no quantiles", "--paths"),
    (("compare", "builtin:markov", "--models", "lstm,gur", "--minutes", "1"), "no model called 'gur'", "gru"),
    (("compare", "builtin:markov", "--minutes", "1"), "--models", "--models lstm"),
    (
        ("compare", "builtin:markov", "--models", "rnn", "--minutes", "1", "--fractions", "0,1"),
        "--fractions: 0 is no fraction of the training split",
        "0.1,0.3,1",
    ),
    (
        ("compare", "builtin:markov", "--models", "rnn", "--minutes", "1", "--fractions", "few"),
        "--fractions: 'few' is no list of fractions",
        "0.1,0.3,1",
    ),
    (("compare", "builtin:markov", "--models", "rnn prior", "--minutes", "1"), "'prior' is not a setting", "key=value"),
    (("show", "lstm", "--gradients"), "--gradients: 'lstm' is no run", "seqloom runs"),
    (("help", "nothing"), "there is no verb 'nothing'", "the verbs: demo, train"),
    (("list", "mixxer"), "no family 'mixxer'", "mixer"),
    (("show", "lstn"), "lstn", "lstm"),
    (("data", "nothing.txt"), "there is no such file", ""),
]


@pytest.mark.parametrize(("words", "error", "hint"), USAGE, ids=[" ".join(row[0]) for row in USAGE])
def test_a_mistake_is_two_lines_and_leaves_nothing_behind(
    seqloom: Callable[..., Done], tmp_path: Path, words: tuple[str, ...], error: str, hint: str
) -> None:
    check_error(seqloom(*words), error, hint)
    assert list(tmp_path.iterdir()) == []


# ---- data that cannot be used ---------------------------------------------------------------------------------------

HEAD = "date,x\n"
DAYS = [f"2024-01-{day:02d},{day}\n" for day in range(1, 29)]
BAD_FILES: list[tuple[str, bytes, tuple[str, ...], str]] = [
    ("empty.txt", b"", (), "the file is empty"),
    ("byte.txt", b"x", (), "too little data"),
    ("latin.txt", b"caf\xe9 " * 50, (), "offset 3"),
    ("latin.txt", b"caf\xe9 " * 50, ("codec=characters",), "offset 3"),
    ("head.csv", b"date,x\n", (), "a header but no rows"),
    ("empty.csv", b"", (), "empty"),
    ("words.csv", (HEAD + "".join(DAYS).replace(",7", ",seven")).encode(), (), "line 8: column 'x' is text"),
    ("twice.csv", (HEAD + DAYS[0] + "".join(DAYS)).encode(), (), "line 3"),
    ("odd.csv", (HEAD + "".join(DAYS).replace("2024-01-05", "someday")).encode(), (), "line 6"),
    ("inf.csv", (HEAD + "".join(DAYS).replace(",7", ",inf")).encode(), (), "line 8: column 'x' holds inf"),
    ("huge.csv", (HEAD + "".join(DAYS).replace(",7", ",1e300")).encode(), (), "line 8: column 'x' holds 1e300"),
    ("fine.csv", (HEAD + "".join(DAYS)).encode(), ("corpus.columns=[y]",), "there is no column 'y'"),
    ("fine.csv", (HEAD + "".join(DAYS)).encode(), ("codec=bytez",), "there is no codec called 'bytez'"),
    ("fine.txt", TEXT.encode(), ("corpus.splits=[1,1,1]",), "corpus.splits"),
    ("fine.txt", TEXT.encode(), ("given.label.source=column:x",), "given.label.source"),
    ("fine.txt", TEXT.encode(), ("given.label.sorce=folder",), "given.label.sorce: there is no such setting"),
    ("fine.txt", TEXT.encode(), ("--out", "fine.txt"), "fine.txt is a file, and a run is a folder"),
]


@pytest.mark.parametrize(("name", "content", "more", "error"), BAD_FILES, ids=[f"{b[0]} {b[3]}" for b in BAD_FILES])
def test_bad_data_are_named_and_nothing_is_written(
    seqloom: Callable[..., Done], tmp_path: Path, name: str, content: bytes, more: tuple[str, ...], error: str
) -> None:
    (tmp_path / name).write_bytes(content)
    check_error(seqloom("train", name, *more, "--steps", "2"), error)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_bytes_read_what_is_no_text(seqloom: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 " * 200)
    assert seqloom("train", "latin.txt", "codec=bytes", *TINY).code == 0
    done = seqloom("sample", "runs/latin-lstm", "--length", 30, "--seed", 1)
    assert done.code == 0
    assert len(done.out) == 30


def test_a_folder_with_nothing_readable_is_an_error(seqloom: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"\x89PNG")
    check_error(seqloom("train", "pictures", "--steps", "2"), "holds nothing that can be read", ".txt")
    check_error(seqloom("data", "pictures"), "holds nothing that can be read")
    assert not (tmp_path / "runs").exists()


# ---- train ----------------------------------------------------------------------------------------------------------


def test_train_prints_what_scripts_rely_on_and_resume_of_a_finished_run_changes_nothing(
    seqloom: Callable[..., Done], examples: Examples, tmp_path: Path
) -> None:
    words = ("train", examples.text, "--model", "gru", "--out", "run", "--json", *TINY)
    first = seqloom(*words)
    assert set(first.json) == {"run", "steps", "seconds", "parameters", "elements", "resumed_from", "valid"}
    assert first.json["run"] == "run"
    assert first.json["steps"] == 6
    assert first.json["elements"] == 6 * 4 * 16
    assert first.json["resumed_from"] is None
    assert first.json["valid"]["unit"] == "bits/byte"
    check_error(seqloom(*words), "run already holds a run", "--resume")
    before = {
        path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file() and path.name != "lock"
    }
    again = seqloom(*words, "--resume")
    assert again.json == {**first.json, "resumed_from": 6}
    after = {
        path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file() and path.name != "lock"
    }
    assert after == before
    check_error(seqloom(*words, "--resume", "backbone.width=32"), "backbone.width", "--out")
    longer = seqloom(*(word if word != "6" else "9" for word in words), "--resume")
    assert longer.json["steps"] == 9


def test_train_says_what_it_chose_and_what_comes_next(seqloom: Callable[..., Done], examples: Examples) -> None:
    done = seqloom("train", examples.text, *TINY[:-1], "-v")
    assert done.text == "runs/fox-lstm\n"
    assert "autoregressive lstm, 1 layer of 16" in done.err
    assert "trainer.rate = " in done.err
    assert "next: seqloom sample runs/fox-lstm" in done.err
    quiet = seqloom("train", examples.text, *TINY)
    assert (quiet.text, quiet.err) == ("runs/fox-lstm-2\n", "")


def test_a_signal_saves_and_the_printed_line_goes_on(seqloom: Callable[..., Done], examples: Examples) -> None:
    words = ["train", examples.text, "--model", "rnn", "--out", "run", *TINY[:4], "--steps", 100_000]
    stopper = threading.Thread(target=interrupt_when, args=(Path("run/log.jsonl"), signal.SIGINT))
    stopper.start()
    stopped = seqloom(*words)
    stopper.join()
    assert stopped.code == 130, stopped.err
    assert stopped.out == b""
    last = stopped.err.splitlines()[-1]
    assert last.endswith(f"go on with: seqloom train {examples.text} --out run --resume")
    reached = checkpoints.steps(Path("run"))[-1]
    assert reached > 0
    done = seqloom(*last.partition("seqloom ")[2].split(), "--steps", reached + 3, "--json", "-q")
    assert done.json["resumed_from"] == reached
    assert done.json["steps"] == reached + 3


def test_a_signal_lets_a_compared_training_save_and_the_same_command_goes_on(seqloom: Callable[..., Done]) -> None:
    words = ["compare", "builtin:markov", "--models", "rnn", "--minutes", "0.06", "--out", "both", "corpus.size=4000"]
    words += ["backbone.width=8", "feed.window=16"]
    run = Path("both/runs/rnn-0")
    stopper = threading.Thread(target=interrupt_when, args=(run / "log.jsonl", signal.SIGINT))
    stopper.start()
    stopped = seqloom(*words)
    stopper.join()
    assert stopped.code == 130, stopped.err
    assert "the same command goes on" in stopped.err
    reached = checkpoints.steps(run)[-1]
    assert reached > 0
    assert not list(Path("both/results").iterdir())
    result = seqloom(*words, "--json", "-q").json
    assert result["rows"][0]["likelihood"]["unit"] == "bits/byte"
    assert result["report"] == "both/report.html"
    assert checkpoints.steps(run)[-1] > reached


def interrupt_when(path: Path, number: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end and not (path.is_file() and path.stat().st_size):
        time.sleep(0.02)
    os.kill(os.getpid(), number)


def test_kill_at_any_moment_then_resume_gives_the_same_bits(tmp_path: Path) -> None:
    """A real process, killed with SIGKILL while it saves after every step; then resumed; twice."""
    words = [sys.executable, "-m", "seqloom", "train", "builtin:markov", "--model", "lstm", "--steps", "60", "-q"]
    words += ["corpus.size=3000", "backbone.width=16", "feed.window=16", "feed.batch=4", "--threads", "1"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run([*words, "--out", str(whole)], check=True, capture_output=True)
    for wanted in (10, 35):
        worker = subprocess.Popen(
            [*words, "--out", str(cut), "--save-every", "0", "--resume"], stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and max(checkpoints.steps(cut), default=0) < wanted:
            time.sleep(0.005)
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        assert max(checkpoints.steps(cut)) >= wanted
    subprocess.run([*words, "--out", str(cut), "--resume"], check=True, capture_output=True)
    for part in ("weights", "average", "training"):
        one, other = (run / "checkpoints" / "00000060" / f"{part}.safetensors" for run in (whole, cut))
        assert one.read_bytes() == other.read_bytes(), part


def test_a_full_disk_stops_training_with_a_run_that_goes_on(
    seqloom: Callable[..., Done], examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(durable.Disk):
        def free(self, path: Path) -> int:
            return 1000 if len(checkpoints.steps(path)) > 1 else 1 << 40

    words = ("train", examples.text, "--model", "rnn", "--out", "run", "--save-every", "0", *TINY)
    with monkeypatch.context() as patch:
        patch.setattr(durable, "disk", Full())
        check_error(seqloom(*words), "room", "--resume", code=75)
    saved = checkpoints.steps(Path("run"))
    assert 0 < saved[-1] < 6
    assert seqloom(*words, "--resume", "--json").json["steps"] == 6


def test_a_run_whose_only_checkpoint_is_damaged_is_refused(seqloom: Callable[..., Done], examples: Examples) -> None:
    assert seqloom("train", examples.text, "--model", "rnn", "--out", "run", *TINY).code == 0
    check_error(seqloom("train", examples.text, "--out", "run", *TINY), "already holds a run", "--resume")
    *older, newest = sorted(Path("run/checkpoints").iterdir())
    for folder in older:
        shutil.rmtree(folder)
    weights = newest / "weights.safetensors"
    torn = bytearray(weights.read_bytes())
    torn[-1] ^= 1
    weights.write_bytes(torn)
    for words in (
        ("sample", "run"),
        ("evaluate", "run"),
        ("train", examples.text, "--out", "run", "--resume", "--steps", 9),
    ):
        check_error(seqloom(*words), "no good checkpoint", "copy")
    shutil.rmtree("run/checkpoints")
    check_error(seqloom("sample", "run"), "checkpoint")


def test_a_folder_that_is_no_run_is_not_trained_into(
    seqloom: Callable[..., Done], examples: Examples, tmp_path: Path
) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("mine")
    check_error(seqloom("train", examples.text, "--out", "letters", *TINY), "is not empty")
    check_error(seqloom("sample", "letters"), "is not a run")
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["mine.txt"]


def test_documents_from_standard_input_and_a_recipe(
    seqloom: Callable[..., Done], examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))
    assert seqloom("train", "-", "--out", "piped", *TINY).code == 0
    Path("mine.yaml").write_text(
        f"corpus: {{name: files, path: '{examples.text}'}}\nprocess: masked\ntrainer: {{steps: 3}}\n"
    )
    done = seqloom("train", "mine.yaml", *TINY[:4], "-q", "--json")
    assert done.json["steps"] == 3
    assert done.json["run"] == "runs/mine"


# ---- sample, extend, infill -----------------------------------------------------------------------------------------


def test_a_sample_is_data_alone_and_repeats_with_its_seed(seqloom: Callable[..., Done], examples: Examples) -> None:
    done = seqloom("sample", examples.run("lstm"), "--length", 40)
    assert done.code == 0
    assert len(done.text) == 40
    assert set(done.text) <= set(TEXT)
    seed = next(line.split()[1] for line in done.err.splitlines() if line.startswith("seed "))
    again = seqloom("sample", examples.run("lstm"), "--length", 40, "--seed", seed, "-q")
    assert (again.out, again.err) == (done.out, "")


@pytest.mark.parametrize("name", ["lstm", "masked"])
def test_what_is_printed_is_what_json_and_files_hold(
    seqloom: Callable[..., Done], examples: Examples, name: str
) -> None:
    words = ("sample", examples.run(name), "-n", 3, "--length", 12, "--seed", 7)
    result = seqloom(*words, "--json").json
    texts = [item["text"] for item in result["samples"]]
    assert [(item["seed"], item["row"]) for item in result["samples"]] == [(7, 0), (7, 1), (7, 2)]
    assert result["seconds"] > 0
    assert [len(text) for text in texts] == [12, 12, 12]
    printed = seqloom(*words)
    assert printed.text == "".join(text + ("\n" if text.endswith("\n") else "\n\n") for text in texts)
    assert "sample 2 of 3" in printed.err
    written = seqloom(*words, "--out", "made")
    assert written.out == b""
    assert [path.name for path in sorted(Path("made").iterdir())] == ["0000.txt", "0001.txt", "0002.txt"]
    assert [path.read_text() for path in sorted(Path("made").iterdir())] == texts


def test_extend_takes_a_text_a_file_and_standard_input(
    seqloom: Callable[..., Done], examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_folder = examples.run("lstm")
    typed = seqloom("extend", run_folder, "the quick", "--length", 5, "--seed", 1)
    assert typed.text.startswith("the quick")
    assert len(typed.text) == len("the quick") + 5
    Path("beginning.txt").write_text("the quick")
    assert seqloom("extend", "--seed", 1, run_folder, "@beginning.txt", "--length", 5).out == typed.out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the quick")))
    assert seqloom("extend", run_folder, "-", "--length", 5, "--seed", 1).out == typed.out
    assert len(seqloom("extend", run_folder, "the quick", "--seed", 1).text) == len("the quick") + 16
    assert seqloom("sample", run_folder, "--seed", 1, "-q").code == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9")))
    check_error(seqloom("extend", run_folder, "-"), "standard input: the text is not UTF-8")


def test_words_may_begin_with_at_and_dash(seqloom: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "signs.txt").write_text("@a-b=c --d @@e\n" * 200)
    assert seqloom("train", "signs.txt", "--out", "run", *TINY).code == 0
    for words, begin in [(["@@a"], "@a"), (["--", "--d"], "--d"), (["--", "-"], "-"), (["b=c"], "b=c")]:
        done = seqloom("extend", "run", "--length", 3, "--seed", 1, *words)
        assert done.text.startswith(begin), done.err
        assert len(done.text) == len(begin) + 3


def test_settings_of_the_sampler_stand_anywhere(seqloom: Callable[..., Done], examples: Examples) -> None:
    run_folder = examples.run("lstm")
    greedy = [seqloom("sample", "sampler.temperature=0", run_folder, "--length", 9, "--seed", s).text for s in (1, 2)]
    assert greedy[0] == greedy[1]
    assert seqloom("sample", run_folder, "--length", 9, "sampler=ancestral", "sampler.top_k=1").text == greedy[0]
    check_error(seqloom("sample", run_folder, "sampler.temprature=0"), "sampler.temprature", "temperature")
    check_error(seqloom("sample", run_folder, "sampler=ancestrel"), "ancestrel", "ancestral")
    check_error(seqloom("sample", run_folder, "sampler.temperature=-1"), "sampler.temperature")
    check_error(seqloom("sample", run_folder, "sampler=diffuse"), "diffuse")
    check_error(seqloom("sample", run_folder, "samplr.temperature=0"), "samplr.temperature=0", "sampler")
    check_error(seqloom("sample", run_folder, "given.label=x"), "no condition 'label'")
    check_error(seqloom("sample", run_folder, "--seed", "-4"), "--seed")
    check_error(seqloom("sample", run_folder, "-n", 0), "-n")


def test_a_prompt_outside_the_alphabet_is_an_error(seqloom: Callable[..., Done], examples: Examples) -> None:
    check_error(seqloom("extend", examples.run("lstm"), "ÄÖ the"), "'Ä', 'Ö', first at character 1")
    check_error(seqloom("infill", examples.run("masked"), "Ä ___ b"), "'Ä'")


def test_infill_keeps_what_is_known_and_is_refused_from_left_to_right(
    seqloom: Callable[..., Done], examples: Examples
) -> None:
    done = seqloom("infill", examples.run("masked"), "the ____ fox", "--seed", 3)
    assert len(done.text) == len("the ____ fox")
    assert done.text.startswith("the ")
    assert done.text.endswith(" fox")
    wider = seqloom("infill", examples.run("masked"), "the ? fox", "--blank", "?", "--gap", 6, "--seed", 3)
    assert len(wider.text) == len("the  fox") + 6
    check_error(seqloom("infill", examples.run("lstm"), "the ___ fox"), "prefix", "process=masked")
    check_error(seqloom("infill", examples.run("masked"), "no gap"), "no gap", "underscores")
    at_end = seqloom("infill", examples.run("lstm"), "the ____", "--seed", 3, "--json").json["samples"][0]["text"]
    assert at_end.startswith("the ")
    assert len(at_end) == 8
    gap = "_" * 40
    check_error(seqloom("infill", examples.run("masked"), f"the {gap} fox"), "the gap of 40 bytes", "feed.window")


def test_lengths_past_the_window_are_said(seqloom: Callable[..., Done], examples: Examples) -> None:
    recurrent = seqloom("sample", examples.run("lstm"), "--length", 40)
    assert "carries on" in recurrent.err
    diffusion = seqloom("sample", examples.run("masked"), "--length", 40)
    assert "window by window" in diffusion.err
    assert len(diffusion.text) == 40


def test_frames_show_a_text_unmasked(seqloom: Callable[..., Done], examples: Examples) -> None:
    done = seqloom("sample", examples.run("masked"), "--frames", "trajectory", "--seed", 2)
    files = sorted(Path("trajectory").glob("*.txt"))
    assert 10 <= len(files) <= 20
    texts = [path.read_text() for path in files]
    assert texts[0] == "_" * len(done.text)
    assert len(done.text) == 15  # of the window of 16 one place is what stands before a beginning
    assert texts[-1] == done.text
    hidden = [text.count("_") for text in texts]
    assert hidden == sorted(hidden, reverse=True)
    page = Path("trajectory/index.html").read_text()
    assert page.count("<pre>") == len(files)
    assert seqloom("sample", examples.run("gaussian"), "--frames", "plots", "--length", 8, "sampler.steps=12").code == 0
    pictures = sorted(Path("plots").glob("*.png"))
    assert len(pictures) >= 10
    assert pictures[0].read_bytes().startswith(b"\x89PNG")
    assert Path("plots/index.html").read_text().count("<img") == len(pictures)
    model = load(examples.run("gaussian"))
    query = model.query(model.empty(40), sampler=model.sampler.replace(steps=4))
    trajectory = Trajectory.of(model, query, "long")
    seen = list(trajectory.watched(model.stream(query)))
    drawn = [model.decode(frame, trajectory._asked(frame)).values for frame in (seen[0], seen[-1])]
    assert [np.isnan(values[-1]).all() for values in drawn] == [True, False], "windows to come are no straight line"
    assert not any(np.isnan(values[0]).any() for values in drawn)
    check_error(seqloom("sample", examples.run("lstm"), "--frames", "none"), "left to right", "process=masked")
    assert not Path("none").exists()


def test_whole_characters_hold_back_what_is_begun() -> None:
    text = "aé東😀"
    data = text.encode()
    for cut in range(len(data) + 1):
        whole = whole_characters(data[:cut])
        assert text.startswith(whole.decode())
        assert len(data[:cut]) - len(whole) < 4
    assert whole_characters(b"\x80\x80") == b"\x80\x80"


# ---- series ---------------------------------------------------------------------------------------------------------


def test_series_are_sampled_as_csv(seqloom: Callable[..., Done], examples: Examples) -> None:
    one = seqloom("sample", examples.run("series"), "--length", 4)
    assert list(one.table[0]) == ["date", "load", "price"]
    assert len(one.table) == 4
    assert all(math.isfinite(float(row["load"])) for row in one.table)
    several = seqloom("sample", examples.run("gaussian"), "-n", 2, "--length", 3)
    assert [row["sample"] for row in several.table] == ["0", "0", "0", "1", "1", "1"]
    sample = seqloom("sample", examples.run("series"), "-n", 2, "--length", 3, "--json").json["samples"][1]
    assert set(sample) == {"values", "seed", "row"}
    assert {name: len(values) for name, values in sample["values"].items()} == {"load": 3, "price": 3}


def test_filling_keeps_known_cells_to_the_byte(seqloom: Callable[..., Done], examples: Examples) -> None:
    lines = series(12).splitlines()
    lines[4] = lines[4].rpartition(",")[0] + ","
    lines[7] = lines[7].split(",")[0] + ",, 7.1400"
    Path("gaps.csv").write_text("\n".join(lines) + "\n")
    done = seqloom("infill", examples.run("gaussian"), "@gaps.csv", "-n", 3, "--out", "filled", "--seed", 1)
    assert done.code == 0, done.err
    paths = sorted(Path("filled").iterdir())
    assert [path.name for path in paths] == ["0000.csv", "0001.csv", "0002.csv"]
    for path in paths:
        made = path.read_text().splitlines()
        assert [line for i, line in enumerate(made) if i not in (4, 7)] == [
            line for i, line in enumerate(lines) if i not in (4, 7)
        ]
        assert made[4].startswith(lines[4])
        assert float(made[4].removeprefix(lines[4]))
        assert made[7].endswith(", 7.1400")
    assert len({path.read_bytes() for path in paths}) == 3


@pytest.mark.parametrize("name", ["series", "gaussian"])
def test_forecasts_go_on_in_time(seqloom: Callable[..., Done], examples: Examples, name: str) -> None:
    done = seqloom("forecast", examples.run(name), "--horizon", 3, "--out", "ahead.csv", "--seed", 1)
    assert done.code == 0, done.err
    rows = list(csv.DictReader(Path("ahead.csv").read_text().splitlines()))
    quantiles = [f"{q / 10:g}" for q in range(1, 10)]
    assert list(rows[0]) == ["date"] + [f"{c}_{s}" for c in ("load", "price") for s in ("mean", *quantiles)]
    assert [row["date"] for row in rows] == [f"2024-01-17 {hour}:00:00" for hour in (16, 17, 18)]
    for row in rows:
        levels = [float(row[f"load_{q}"]) for q in quantiles]
        assert levels == sorted(levels)
        assert levels[0] < float(row["load_mean"]) < levels[-1]
    Path("past.csv").write_text("\n".join(series(400).splitlines()[:100]) + "\n")
    one = seqloom("forecast", examples.run(name), "past.csv", "--horizon", 2, "--paths", 3)
    assert [row["path"] for row in one.table] == ["0", "0", "1", "1", "2", "2"]
    assert one.table[0]["date"] == "2024-01-05 03:00:00"
    assert seqloom("forecast", examples.run(name), "past.csv", "--horizon", 2, "-n", 2, "--out", "paths").code == 0
    assert sorted(path.name for path in Path("paths").iterdir()) == ["0000.csv", "0001.csv"]


def test_a_forecast_of_chosen_quantiles_begins_inside_a_file_and_is_drawn(
    seqloom: Callable[..., Done], examples: Examples
) -> None:
    words = ("forecast", examples.run("series"), examples.table, "--horizon", 3, "--seed", 1)
    done = seqloom(*words, "--quantiles", "0.05,0.5", "--from", "2024-01-05", "--plot", "fan.png", "--html", "fan.html")
    assert list(done.table[0])[:4] == ["date", "load_mean", "load_0.05", "load_0.5"]
    assert done.table[0]["date"] == "2024-01-05 00:00:00"
    assert Path("fan.png").read_bytes().startswith(b"\x89PNG")
    page = Path("fan.html").read_text()
    assert "what really followed" in page
    assert page.count('<tr><th scope="row">2024-01-05 0') == 6, "three rows of two columns"
    inside = seqloom(*words, "--from", 97, "--quantiles", "0.05,0.5")
    assert inside.out == done.out, "a row is as good as its date"
    again = seqloom(*words, "--plot", "fan.svg", "--quantiles", "0.5")
    assert again.code == 0
    assert "what really followed" not in Path("fan.svg").read_text()
    check_error(seqloom(*words, "--plot", "fan.png"), "--plot", "--force")
    check_error(seqloom(*words, "--from", "2031-01-01"), "--from: the table has no date", "2024-01-01")
    check_error(seqloom(*words, "--from", 1), "--from: element 1 has nothing before it")
    check_error(seqloom(*words, "--from", "2024-01-01"), "--from: there is nothing before")
    for word in ("feed.horizon=3", "codec.dialect.encoding=cp1252"):
        wrong = seqloom("forecast", examples.run("series"), word)
        check_error(wrong, f"{word.partition('=')[0]} is a setting of the training", "begin with given or sampler")
    season = seqloom("forecast", examples.run("series"), "--seed", 1)
    assert len(season.table) == 24, "a season, which advice takes forecasts to be asked for"
    assert "the next 24 rows" in season.err


def test_several_series_are_forecast_with_what_is_known_ahead_of_time(seqloom: Callable[..., Done]) -> None:
    def table_of(first: int, last: int, known: bool) -> str:
        days = [(shop, day) for shop in ("a", "b") for day in range(first, last + 1)]
        rows = [f"{shop},2024-01-{day:02},{f'{10 + day % 7},' if known else ''}{day % 3}" for shop, day in days]
        return "\n".join(["shop,day,sales,price" if known else "shop,day,price", *rows, ""])

    Path("shops.csv").write_text(table_of(1, 28, True))
    Path("ahead.csv").write_text(table_of(29, 31, False))
    shop = "given.shop.source=column:shop"
    done = seqloom("train", "shops.csv", "corpus.future=price", shop, "--model", "gru", "--out", "run", *TINY[:-1])
    assert done.code == 0, done.err
    (following,) = [line for line in done.err.splitlines() if line.startswith("next: seqloom forecast run")]
    assert "--future FILE" in following, "without it there is no forecast"
    words = ("forecast", "run", "--horizon", 2, "--seed", 1)
    table = seqloom(*words, "--future", "ahead.csv").table
    assert [(row["shop"], row["day"]) for row in table] == [(s, f"2024-01-{d}") for s in ("a", "b") for d in (29, 30)]
    series = seqloom(*words, "--future", "ahead.csv", "--json").json["series"]
    assert [one["name"] for one in series] == ["a", "b"]
    assert float(table[2]["sales_0.5"]) == pytest.approx(series[1]["summary"]["sales"]["0.5"][0], rel=1e-4)
    assert seqloom(*words, "--future", "ahead.csv", "-n", 2).text.splitlines()[0] == "path,shop,day,sales,price"
    assert seqloom(*words, "shops.csv", "--from", "2024-01-20").code == 0, "the file itself knows what came"
    check_error(seqloom(*words, "-q"), "column 'price' stands beside the rows", "--future FILE")
    check_error(seqloom(*words, "--future", "gone.csv"), "gone.csv: there is no such file")
    wish = f"sales > {float(table[0]['sales_0.5']):g}"
    met = seqloom(*words, "--future", "ahead.csv", "--where", wish)
    assert "a: " in met.err, "which series"
    assert "b: " in met.err
    none = seqloom(*words, "-q", "--future", "ahead.csv", "--where", "sum(sales) > 1e9")
    check_error(none, "none of 100 paths meets", "draw more")
    scored = seqloom("score", "run", "shops.csv")
    assert (scored.code, scored.text.count("nats for")) == (0, 2), "what stands beside the rows is read with them"
    assert "given.shop" not in scored.err, "nor is what tells the series apart said to be missing"
    Path("plain.csv").write_text("day,sales\n2024-01-01,3\n2024-01-02,4\n2024-01-03,5\n")
    check_error(seqloom("score", "run", "plain.csv", "-q"), "the table has no column 'price'")
    sampled = seqloom("sample", "run", "--length", 3, "--seed", 1)
    assert (sampled.code, "given.price" in sampled.err) == (0, False), "it goes on beside what followed there"
    check_error(
        seqloom(*words[:3], 5, "-q", "--future", "ahead.csv"), "'price' has no row for 2024-02-01", "give a row"
    )


def test_scenarios_keep_the_paths_that_meet_a_condition(seqloom: Callable[..., Done], examples: Examples) -> None:
    words = ("forecast", examples.run("series"), "--horizon", 3, "--seed", 1)
    plain = seqloom(*words, "-n", 60, "--json").json["paths"]
    level = sorted(max(path["values"]["load"]) for path in plain)[45]
    condition = f"max(load) > {level}"
    kept = seqloom(*words, "-n", 60, "--draws", 60, "--where", condition, "--json").json
    assert kept["where"] == {"condition": condition, "met": 14, "drawn": 60}
    assert kept["paths"] == [path for path in plain if max(path["values"]["load"]) > level]
    done = seqloom(*words, "--draws", 60, "--where", condition)
    assert f"14 of 60 paths meet {condition!r}" in done.err
    assert float(done.table[0]["load_0.9"]) > 0
    assert len(seqloom(*words, "-n", 2, "--where", "load > -1e9", "--json").json["paths"]) == 2
    check_error(seqloom(*words, "-q", "--where", "load > 1e9"), "none of 100 paths meets", "draw more")
    check_error(seqloom(*words, "--where", "laod > 1"), "--where: there is no column 'laod'", "load")


def test_gaps_are_filled_with_how_sure_each_is(seqloom: Callable[..., Done], examples: Examples) -> None:
    lines = series(20).splitlines()
    for row in (4, 5):
        lines[row] = lines[row].split(",")[0] + ",,"
    Path("gaps.csv").write_text("\n".join(lines) + "\n")
    words = ("infill", examples.run("gaussian"), "@gaps.csv", "--quantiles", "0.1,0.9", "-n", 12, "--seed", 1)
    table = seqloom(*words).table
    assert [row["date"] for row in table] == [line.split(",")[0] for line in lines[4:6]]
    assert all(float(row["load_0.1"]) < float(row["load_mean"]) < float(row["load_0.9"]) for row in table)
    summary = seqloom(*words, "--json").json["summary"]
    assert summary["load"]["0.1"] == pytest.approx([float(row["load_0.1"]) for row in table], rel=1e-4)
    assert seqloom(*words, "--out", "sure.csv").out == b""
    assert len(Path("sure.csv").read_text().splitlines()) == 3
    check_error(seqloom("infill", examples.run("masked"), "a ___ b", "--quantiles", "0.5"), "means and quantiles")


def test_forecasts_are_refused_where_they_make_no_sense(seqloom: Callable[..., Done], examples: Examples) -> None:
    check_error(seqloom("forecast", examples.run("lstm"), "--horizon", 3), "means and quantiles", "seqloom extend")
    check_error(seqloom("forecast", examples.run("series"), "--horizon", 0), "--horizon")
    check_error(
        seqloom("forecast", examples.run("series"), "gone.csv", "--horizon", 3), "gone.csv: there is no such file"
    )
    Path("other.csv").write_text("a,b\n1,2\n3,4\n")
    check_error(seqloom("forecast", examples.run("series"), "other.csv", "--horizon", 3), "load")
    Path("past.csv").write_text(series(30))
    done = seqloom("forecast", examples.run("series"), "past.csv", "--horizon", 3, "--out", "past.csv")
    assert done.code == 2
    assert Path("past.csv").read_text() == series(30)


# ---- score and evaluate ---------------------------------------------------------------------------------------------


def test_score_tells_bits_and_what_each_element_cost(seqloom: Callable[..., Done], examples: Examples) -> None:
    Path("some.txt").write_text("the quick fox Ä")
    score = seqloom("score", examples.run("lstm"), "some.txt", "--tokens", "--json").json
    assert score["unit"] == "byte"
    assert score["kind"] == "exact"
    assert score["count"] == 16
    assert score["context"] == "carried"
    assert score["bits_per_unit"] == pytest.approx(score["nats"] / 16 / math.log(2))
    assert [entry["element"] for entry in score["surprisal"]] == list("the quick fox Ä")
    unknown = 8 * 2 * math.log(2)
    assert sum(entry["nats"] for entry in score["surprisal"]) + unknown == pytest.approx(score["nats"], rel=1e-5)
    assert "bits/byte" in seqloom("score", examples.run("lstm"), "some.txt").text
    bound = seqloom("score", examples.run("masked"), "some.txt", "--json").json
    assert (bound["kind"], bound["context"]) == ("bound", "windows 16")
    assert bound["stderr"] > 0
    numbers = seqloom("score", examples.run("series"), examples.table, "--json", "--tokens").json
    assert (numbers["unit"], numbers["count"]) == ("value", 800)
    assert len(numbers["surprisal"]) == 400
    assert numbers["bits_per_unit"] is None, "a density has no bits"
    in_words = seqloom("score", examples.run("series"), examples.table).text
    assert "nats/value" in in_words
    assert "bits" not in in_words
    check_error(seqloom("score", examples.run("lstm"), "gone.txt"), "gone.txt: there is no such file")


def test_evaluate_scores_a_split_or_other_data(seqloom: Callable[..., Done], examples: Examples) -> None:
    result = seqloom("evaluate", examples.run("masked"), "--split", "valid", "--json").json
    assert result["run"] == str(examples.run("masked"))
    assert result["split"] == "valid"
    assert len(result["fingerprint"]) == 64
    names = [metric["name"] for metric in result["metrics"]]
    assert names == ["likelihood", "likelihood_left_to_right"]
    for metric in result["metrics"]:
        assert set(metric) >= {"name", "value", "unit", "kind", "stderr", "better", "count", "context", "draws"}
    bound, exact = result["metrics"]
    assert (bound["kind"], exact["kind"]) == ("bound", "exact")
    assert bound["unit"] == "bits/byte"
    assert bound["count"] == pytest.approx(0.05 * len(TEXT), rel=0.01)
    Path("more.txt").write_text(TEXT[:700])
    other = seqloom("evaluate", examples.run("lstm"), "more.txt", "--json").json
    assert other["split"] == "all"
    assert other["metrics"][0]["count"] == 700
    value = seqloom("evaluate", examples.run("gaussian"), "--json").json["metrics"][0]
    assert (value["unit"], value["kind"]) == ("nats/value", "bound")
    table = seqloom("evaluate", examples.run("lstm"), "--weights", "last")
    assert "step 6" in table.text
    assert "bits/byte" in table.text
    check_error(seqloom("evaluate", examples.run("lstm"), "--split", "train"), "no split 'train'", "valid or test")
    for word, message, hint in (
        ("foo=bar", "foo: there is no such setting of evaluate", "metrics"),
        ("metrics=[nope]", "no metric called 'nope'", "known: "),
        ("metrics=nope", "no metric called 'nope'", "known: "),
        ("sampler.temprature=1", "sampler.temprature", "temperature"),
        ("metrics=[likelihood] --horizon 3", "metrics: forecasts are measured by all their metrics", "--horizon"),
    ):
        check_error(seqloom("evaluate", examples.run("lstm"), *word.split()), message, hint)
    named = seqloom("evaluate", examples.run("lstm"), "metrics=[{name: likelihood}, likelihood]", "--json").json
    assert [record["name"] for record in named["metrics"]] == ["likelihood", "likelihood"]
    sampled = [examples.run("lstm"), "metrics=[{name: novelty, samples: 4, length: 32}]", "--json"]
    drawn, likeliest = (seqloom("evaluate", *sampled, *word.split()).json for word in ("", "sampler.temperature=0"))
    assert drawn["metrics"] != likeliest["metrics"]


METRICS = """
from seqloom.metrics.base import Metric
from seqloom.model import load


class Bad(Metric, name="bad-of-a-test"):
    def measure(self, view):
        return [{"name": "bad", "value": 1.0, "kind": "exact", "count": 1}]


class Raising(Metric, name="raising-of-a-test"):
    def measure(self, view):
        raise ZeroDivisionError("the moon is full")
"""


def test_a_metric_that_fails_is_named_and_the_others_are_reported(
    seqloom: Callable[..., Done], examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "metricsoftest.py").write_text(METRICS)
    monkeypatch.syspath_prepend(str(tmp_path))
    opened = runs.read(examples.run("lstm"))
    named = ["likelihood", "metricsoftest:Bad", "metricsoftest:Raising"]
    recipe = opened.recipe.replace(metrics=named)
    monkeypatch.setattr(runs, "read", lambda path: dataclasses.replace(opened, recipe=recipe))
    try:
        result = seqloom("evaluate", opened.path, "--json").json
        done = seqloom("evaluate", opened.path, "-v")
    finally:
        for name in ("bad-of-a-test", "raising-of-a-test"):
            Metric.members.pop(name, None)
    assert [metric["name"] for metric in result["metrics"]] == ["likelihood"]
    bad, raising = result["failed"]
    assert bad == "bad-of-a-test: its record 'bad' lacks unit, stderr and better"
    assert raising.startswith("raising-of-a-test: ZeroDivisionError: the moon is full (")
    assert "bits/byte" in done.text
    assert bad in done.err
    assert "Traceback" in done.err
    assert "metricsoftest.py" in done.err


def test_evaluate_measures_forecasts(seqloom: Callable[..., Done], examples: Examples) -> None:
    words = ("evaluate", examples.run("series"), "--horizon", 3, "--windows", 2)
    result = seqloom(*words, "--json").json
    assert (result["horizon"], result["windows"], result["split"], result["paths"]) == (3, 2, "test", 100)
    assert [row["baseline"] for row in result["rows"]] == [False] + [True] * (len(result["rows"]) - 1)
    metrics = {metric["name"]: metric for metric in result["rows"][0]["metrics"]}
    assert set(metrics) >= {"wql", "mae", "crps", "crps_sum", "energy", "mase", "smape", "msis", "coverage_80", "pit"}
    done = seqloom(*words, "--split", "valid")
    assert "3 rows ahead from 2 origins" in done.text
    assert "\nlast value " in done.text
    whole = seqloom(*words[:1], examples.run("series"), examples.table, "--horizon", 3, "--stride", 40, "--json").json
    assert (whole["split"], whole["windows"], whole["stride"]) == ("all", 5, 40)
    check_error(seqloom("evaluate", examples.run("lstm"), "--horizon", 3), "codec=characters", "likelihood")
    check_error(seqloom("evaluate", examples.run("series"), "--windows", 3), "--horizon", "--horizon 24")
    check_error(seqloom("evaluate", examples.run("series"), "--horizon", 999), "nothing of 999 rows", "smaller")


def test_evaluate_judges_samples(seqloom: Callable[..., Done], examples: Examples) -> None:
    words = ("evaluate", examples.run("series"), "--synthetic", "--length", 5, "synthesis.iterations=4", "--seed", 1)
    result = seqloom(*words, "synthesis.samples=20", "--json").json
    assert (result["length"], result["held"], result["seed"]) == (5, 16, 1)
    assert [row["baseline"] for row in result["rows"]] == [False, True, True]  # too few held-out windows for a row
    assert {"discriminative", "two_sample", "spectrum", "nearest", "error_both"} <= {
        metric["name"] for metric in result["rows"][0]["metrics"]
    }
    done = seqloom(*words, examples.table, "synthesis.samples=20")
    assert "samples of 5 rows beside 356 training windows and 396 held-out ones" in done.text
    assert "\nheld-out windows " in done.text
    for asked, message, hint in (
        ("--length 5", "--length: that is said of samples", "--synthetic"),
        ("synthesis.seeds=2", "synthesis: that is said of samples", "--synthetic"),
        ("--synthetic synthesis.seed=2", "synthesis.seed", "seeds"),
        ("--synthetic synthesis.samples=3", "synthesis.samples: a number from 20 on", "seqloom show synthesis"),
        ("--synthetic --length 999", "0 windows of 999 rows", "smaller --length"),
        ("--synthetic --horizon 3", "one table at a time", "in turn"),
    ):
        check_error(seqloom("evaluate", examples.run("series"), *asked.split()), message, hint)
    check_error(seqloom("evaluate", examples.run("lstm"), "--synthetic"), "codec=characters", "likelihood")


def test_evaluate_notices_that_the_data_have_changed(seqloom: Callable[..., Done], tmp_path: Path) -> None:
    Path("fox.txt").write_text(TEXT)
    assert seqloom("train", "fox.txt", "--out", "run", *TINY).code == 0
    Path("fox.txt").write_text(TEXT.replace("fox", "cat"))
    check_error(seqloom("evaluate", "run"), "have changed")
    check_error(seqloom("train", "fox.txt", "--out", "run", "--resume", "--steps", 9), "have changed")


# ---- list, show, runs, data, doctor ---------------------------------------------------------------------------------


def test_members_are_listed_and_shown(seqloom: Callable[..., Done]) -> None:
    result = seqloom("list", "--json").json
    assert {"mixer", "process", "sampler", "codec", "corpus", "noise", "masking", "solver", "pattern"} <= set(result)
    assert {"rnn", "lstm", "gru", "attention"} <= set(result["mixer"])
    assert all(note for members in result.values() for note in members.values())
    assert "  lstm " in seqloom("list", "mixer").text
    both = seqloom("show", "cosine").text
    assert "masking cosine" in both
    assert "noise cosine" in both
    assert "temperature" in seqloom("show", "ancestral").text
    assert "clip_by" in seqloom("show", "trainer").text


def test_runs_are_listed_and_shown(seqloom: Callable[..., Done], examples: Examples) -> None:
    rows = {Path(row["run"]).name: row for row in seqloom("runs", examples.folder / "runs", "--json").json}
    assert set(rows) == {"lstm", "masked", "gaussian", "series"}
    assert rows["masked"]["model"] == "masked"
    assert rows["series"]["model"] == "gru"
    assert rows["lstm"]["steps"] == 6
    assert "finished" in rows["lstm"]["state"]
    assert len(seqloom("runs", examples.folder / "runs").text.splitlines()) == 5
    shown = seqloom("show", examples.run("gaussian"))
    assert "gaussian on" in shown.text
    assert "prediction:" in shown.text
    assert seqloom("show", examples.run("lstm"), "--json").json["report"]["steps"] == 6
    nothing = seqloom("runs")
    assert nothing.out == b""
    assert "seqloom train" in nothing.err


def test_data_are_described(seqloom: Callable[..., Done], examples: Examples) -> None:
    text = seqloom("data", examples.text, "--json").json
    assert text["codec"] == "characters"
    assert text["splits"]["train"]["elements"] == int(0.9 * len(TEXT))
    table = seqloom("data", examples.table)
    assert table.code == 0
    assert "load" in table.text
    assert "series" in table.text
    shares = seqloom("data", examples.text, "corpus.splits=[0.5,0.5,0]", "codec=bytes", "--json").json
    assert shares["splits"]["valid"]["elements"] == len(TEXT) // 2


def test_the_doctor_tells_the_machine(seqloom: Callable[..., Done]) -> None:
    result = seqloom("doctor", "--json").json
    assert result["threads"] >= 1
    assert result["torch"].startswith("2.")
    assert isinstance(result["problems"], list)
    assert "torch" in seqloom("doctor").text


# ---- real processes -------------------------------------------------------------------------------------------------


def test_a_reader_that_goes_away_is_no_error(examples: Examples) -> None:
    words = [
        sys.executable,
        "-m",
        "seqloom",
        "sample",
        str(examples.run("lstm")),
        "--length",
        "30000",
        "-q",
        "--seed",
        "1",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        first = child.stdout.read(20)
        child.stdout.close()
        err = child.stderr.read()
    assert len(first) == 20
    assert err == b""
    assert child.returncode == 0


def test_an_unexpected_error_is_one_line_and_its_traceback_only_with_v(
    seqloom: Callable[..., Done], examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seqloom.filler import Filler

    monkeypatch.setattr(Filler, "frames", None)
    done = seqloom("sample", examples.run("lstm"))
    check_error(done, "TypeError: 'NoneType' object is not callable", "bug in seqloom", code=1)
    assert "Traceback" in seqloom("sample", examples.run("lstm"), "-v").err


def test_an_unexpected_error_in_code_of_the_users_own_names_its_place(
    seqloom: Callable[..., Done], examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seqloom import model

    def broken(self: model.Model, query: Any) -> Iterator[Any]:
        return iter(np.linalg.inv(np.zeros((2, 2))))  # raises in a library that this file calls

    monkeypatch.setattr(model.Model, "stream", broken)
    done = seqloom("sample", examples.run("lstm"))
    check_error(done, "LinAlgError: Singular matrix", f"{__file__}, line {broken.__code__.co_firstlineno + 1}", code=1)
    assert "bug" not in done.err


def test_sigterm_outside_training_ends_with_143(seqloom: Callable[..., Done], examples: Examples) -> None:
    timer = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    done = seqloom("sample", examples.run("lstm"), "--length", 2_000_000, "--out", "made")
    timer.join()
    assert done.code == 143
    assert not Path("made").exists()


# ---- several runs, and several settings ------------------------------------------------------------------------------


def test_settings_stand_side_by_side(seqloom: Callable[..., Done], examples: Examples, tmp_path: Path) -> None:
    run = examples.run("lstm")
    words = ("sample", run, "-n", 2, "--length", 12, "--seed", 3, "--sweep", "sampler.temperature=0.5,1.0")
    done = seqloom(*words)
    lines = done.text.splitlines()
    assert lines[0].split() == ["sampler.temperature=0.5", "│", "sampler.temperature=1.0"]
    made = json.loads(seqloom(*words, "--json").text)["sweep"]
    assert [one["settings"] for one in made] == ["sampler.temperature=0.5", "sampler.temperature=1.0"]
    for one in made:
        alone = seqloom("sample", run, "-n", 2, "--length", 12, "--seed", 3, one["settings"], "--json")
        assert one["samples"] == json.loads(alone.text)["samples"]
    page = tmp_path / "sweep.html"
    done = seqloom(*words, "--sweep", "sampler.top_k=0,3", "--out", page)
    assert done.code == 0
    assert page.read_text().count("<td>") == 8
    assert page.read_text().count("<pre>\n") == 8, "an end of a line that a browser leaves out is not the sample's"
    houses = [json.dumps([[[0, 0], [i, 3], [5, 2]]]) + "\n" for i in range(20)]
    Path("houses.jsonl").write_text("".join(houses))
    assert seqloom("train", "houses.jsonl", "--out", "houses", "--steps", 1, "backbone.width=8").code == 0
    words = ("sample", "houses", "-n", 2, "--length", 4, "--seed", 3, "--sweep", "sampler.temperature=0.5,1.0")
    check_error(seqloom(*words), "drawings stand side by side on a page", "--out FILE.html")
    assert seqloom(*words, "--out", "houses.html").code == 0
    assert Path("houses.html").read_text().count("<img") == 4, "and are seen there"
    check_error(seqloom(*words[:8], "--out", "made.svg"), "does not hold 2 samples", ".jsonl, .ndjson or .json")
    assert seqloom(*words[:8], "--out", "made.jsonl").code == 0
    assert len(Path("made.jsonl").read_text().splitlines()) == 2
    wrong = seqloom("sample", run, "--sweep", "trainer.steps=1,2")
    assert wrong.code == 2
    assert "--sweep" in wrong.err


def test_columns_stay_where_letters_are_wide_and_a_blank_sample_is_said() -> None:
    from seqloom.cli.sweep import BLANK, _shown, _side_by_side
    from seqloom.codecs.text import Characters
    from seqloom.core.progress import columns

    texts = [["\u4e16\u754c" * 40, "a\tb"], ["words and more words " * 9, "\n \n"]]
    shown = [[_shown(Characters(), text) for text in own] for own in texts]
    assert shown[1][1] == BLANK
    lines = _side_by_side(["one", "two"], shown, 63).splitlines()
    assert {columns(line.partition("\u2502")[0]) for line in lines if "\u2502" in line} == {31}
    assert max(map(columns, lines)) <= 63
    assert "".join(line.partition("\u2502")[0].strip() for line in lines[2:]).startswith("\u4e16\u754c" * 40)


def test_runs_are_asked_together_and_rank(seqloom: Callable[..., Done], examples: Examples) -> None:
    run = examples.run("lstm")
    words = ("sample", run, "-n", 4, "--length", 12, "--seed", 3)
    alone = seqloom(*words).text
    assert seqloom(*words, "--with", f"{run}:0.3").text == alone  # the mean of a run with itself
    assert seqloom(*words, "--against", f"{run}:3").text == alone
    ranked = json.loads(seqloom(*words, "--rank-by", run, "--best", 2, "--json").text)["samples"]
    values = [one["ranked_by"]["value"] for one in ranked]
    assert len(values) == 2
    assert values == sorted(values)
    risked = json.loads(seqloom(*words, "--mbr", "chrf", "--best", 3, "--json").text)["samples"]
    scores = [one["score"] for one in risked]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert seqloom(*words, "--ban", "e", "--bias", "t=2").text != alone
    for option, value in [
        ("--with", f"{run}:1.5"),
        ("--best", 2),
        ("--bias", "t"),
        ("--with", examples.run("masked")),
        ("--mbr", "chrg"),
    ]:
        wrong = seqloom(*words, option, value)
        assert wrong.code == 2, option
        assert "hint" in wrong.err
    numbers = seqloom("sample", examples.run("gaussian"), "-n", 2, "--mbr", "chrf")
    assert "expected loss is that of texts" in numbers.err


def test_a_dry_run_says_what_a_run_would(seqloom: Callable[..., Done], tmp_path: Path) -> None:
    words = ["train", "builtin:markov", "corpus.size=3000", "--minutes", "3", "--out", str(tmp_path / "a")]
    done = seqloom(*words, "--dry-run", "--json")
    told = json.loads(done.out)
    assert told["estimate"]["parameters"] > 1000
    assert told["recipe"]["trainer"]["minutes"] == 3
    assert "estimate: " in done.err
    assert "backbone.width = 128" in done.err
    assert not (tmp_path / "a").exists()
