"""The verb apply: a line in, a line out, whatever the conditions are; interrupted, it goes on to the same end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqloom import model as models
from seqloom.cli.main import run
from seqloom.core import durable
from seqloom.core.outputs import OutputFile
from seqloom.corpora import search
from seqloom.evaluation.judge import _answers
from seqloom.model import load
from terminal import check_error

WORDS = ["ab", "cd", "ef"]
PAIRS = [(f"{a} {b}", f"{b.upper()} {a.upper()}") for a in WORDS for b in WORDS] * 4
ALIKE = ("given.kind=ab", "given.size=5")
"""Beside every line."""
TINY = ("backbone.width=8", "backbone.depth=1", "--steps", "6", "-q")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that learned texts beside a text, a label and a number."""
    folder = tmp_path_factory.mktemp("apply")
    rows = [{"en": a, "de": b, "kind": a[:2], "size": len(a) + i % 5} for i, (a, b) in enumerate(PAIRS)]
    (folder / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    words = [
        "corpus.text=de",
        "given.source.source=column:en",
        "given.kind.source=column:kind",
        "given.kind.codec=label",
    ]
    words += ["given.size.source=column:size", "--model", "gru", "--out", str(folder / "run"), *TINY]
    assert run(["train", str(folder / "pairs.jsonl"), *words]) == 0
    return folder


def test_what_is_no_text_is_an_object_in_its_line(seqloom, tmp_path):
    rows = [{"word": "ab"[i % 2], "strokes": [[[0, 0], [1, i % 3], [2, 1]]]} for i in range(20)]
    Path("drawn.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    words = ("given.word.source=column:word", "--model", "gru", "--out", "drawings", *TINY)
    assert seqloom("train", "drawn.jsonl", *words).code == 0
    Path("in.txt").write_text("a\nb\n")
    done = seqloom("apply", "drawings", "in.txt", "--length", 4, "--seed", 1)
    assert [list(json.loads(line)) for line in done.text.splitlines()] == [["strokes"]] * 2
    Path("made.jsonl").write_text(done.text)  # and such a line is a drawing again
    assert len(seqloom("classify", "drawings", "made.jsonl").text.split()) == 2
    Path("made.jsonl").write_text(f"{{}}\n{done.text}")
    check_error(seqloom("classify", "drawings", "made.jsonl"), "made.jsonl, line 1: this is no drawing", "--skip-bad")
    told = seqloom("classify", "drawings", "made.jsonl", "--skip-bad")
    assert [bool(line) for line in told.text.splitlines()] == [False, True, True]


def test_each_line_has_its_answer_in_its_place(seqloom, runs, tmp_path):
    Path("in.txt").write_text("ab cd\nef ab\nab cd\n")
    done = seqloom("apply", runs / "run", *ALIKE, "in.txt", "--seed", 1)
    assert done.code == 0
    lines = done.text.splitlines()
    assert len(lines) == 3
    assert lines[0] == lines[2]
    told = [
        json.loads(line)
        for line in seqloom("apply", runs / "run", *ALIKE, "in.txt", "--json", "-n", 2, "--seed", 1).text.splitlines()
    ]
    assert [(one["line"], [own["row"] for own in one["samples"]]) for one in told] == [
        (1, [0, 1]),
        (2, [2, 3]),
        (3, [4, 5]),
    ]
    alone = seqloom("sample", runs / "run", *ALIKE, "given.source=ab cd", "-n", 2, "--seed", 1, "--json").json[
        "samples"
    ]
    assert [own["text"] for own in told[0]["samples"]] == [own["text"] for own in alone]
    by_column = seqloom("apply", runs / "run", runs / "pairs.jsonl", "--seed", 1)  # its column, as it was learned from
    assert len(by_column.text.splitlines()) == len(PAIRS)
    for more in (("--mbr", "chrf"), ("--mbr", "word_error"), ("--rank-by", runs / "run")):
        assert len(seqloom("apply", runs / "run", *ALIKE, "in.txt", "-n", 3, *more).text.splitlines()) == 3
    lines = seqloom("sample", runs / "run", *ALIKE, "given.source=ab cd", "-n", 3, "--seed", 1).text.splitlines()
    assert len(lines) == 3, "cells hold no lines: each sample is one"
    sampled = seqloom("apply", runs / "run", *ALIKE, "in.txt", "sampler.temperature=0.5", "--seed", 2).text.splitlines()
    first = seqloom(
        "sample", runs / "run", *ALIKE, "given.source=ab cd", "sampler.temperature=0.5", "--seed", 2, "--json"
    )
    assert sampled[0] == " ".join(first.json["samples"][0]["text"].splitlines())


def test_labels_and_numbers_come_from_the_columns_of_a_table(seqloom, runs):
    Path("in.csv").write_text("size,kind,source\n3,ab,ab cd\n7,ef,ab cd\n")
    told = seqloom("apply", runs / "run", "in.csv", "--json", "sampler.temperature=1", "--seed", 4).text.splitlines()
    given = ("given.source=ab cd", "given.size=3", "given.kind=ab")
    alone = seqloom("sample", runs / "run", *given, "--seed", 4, "--json").json["samples"]
    assert json.loads(told[0])["samples"] == alone
    Path("sizes.txt").write_text("3\n7\n")
    done = seqloom("apply", runs / "run", "sizes.txt", "given.kind=ab", "given.source=cd ab")
    assert len(done.text.splitlines()) == 2
    Path("kinds.tsv").write_text("kind\nab\n")
    done = seqloom("apply", runs / "run", "kinds.tsv", "given.source=ab")
    assert (done.code, "there is no size" in done.err) == (0, True)
    check_error(seqloom("apply", runs / "run", "sizes.txt"), "a line has one condition, and the model has 3: source, ")
    all_said = ("given.kind=ab", "given.source=ab", "given.size=3")
    check_error(seqloom("apply", runs / "run", "sizes.txt", *all_said), "the file has nothing to add", "given.size")
    Path("other.tsv").write_text("colour\nred\n")
    check_error(
        seqloom("apply", runs / "run", "other.tsv"), "none of the columns is a condition", "source or en or kind"
    )


def test_an_interrupted_one_goes_on_to_the_same_end(seqloom, runs, monkeypatch):
    monkeypatch.setattr(models, "APPLIED", 4)
    Path("in.txt").write_text("".join(f"{a}\n\n" for a, _ in PAIRS[:11]))
    words = ("apply", runs / "run", *ALIKE, "in.txt", "-n", 2, "--mbr", "chrf", "--skip-bad")
    assert "answers: whole.txt\n" in seqloom(*words, "--seed", 5, "--out", "whole.txt").err
    whole = Path("whole.txt").read_bytes()
    assert whole.count(b"\n") == 22
    append, written = durable.Journal.append, []

    def interrupted(self, record):
        append(self, record)
        written.append(record)
        if len(written) == 6:  # what was asked, and five answers
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(durable.Journal, "append", interrupted)
        stopped = seqloom(*words, "--seed", 5, "--out", "part.txt")
    assert (stopped.code, Path("part.txt").exists()) == (130, False)
    assert "the same command goes on" in stopped.err
    check_error(seqloom(*words, "--seed", 6, "--out", "part.txt"), "was begun with another --seed", "--force")
    partial = Path("part.txt.partial")
    partial.write_bytes(partial.read_bytes() + b'{"answers": 4, "te')  # torn by a kill
    with monkeypatch.context() as patch:  # all is answered, and not yet in its place
        patch.setattr(OutputFile, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        on = seqloom(*words, "--out", "part.txt")  # with the seed that it had
    assert (on.code, "5 of 11 were answered before" in on.err) == (130, True)
    assert "11 of 11 were answered before" in seqloom(*words, "--out", "part.txt").err
    assert Path("part.txt").read_bytes() == whole
    assert not partial.exists()
    check_error(seqloom(*words, "--out", "part.txt"), "is there already", "--force")


def test_what_is_bad_is_refused_with_its_line_or_left_empty_and_counted(seqloom, runs):
    Path("in.txt").write_text("ab cd\n\nab zz\nef ab\n")
    check_error(
        seqloom("apply", runs / "run", *ALIKE, "in.txt"),
        "in.txt, line 2: source: nothing is given",
        "--skip-bad",
    )
    done = seqloom("apply", runs / "run", *ALIKE, "in.txt", "--skip-bad")
    assert "2 lines bad and left empty, the first: in.txt, line 2" in done.err
    assert [bool(line) for line in done.text.split("\n")[1:3]] == [False, False]
    told = [
        json.loads(line)
        for line in seqloom("apply", runs / "run", *ALIKE, "in.txt", "--skip-bad", "--json").text.splitlines()
    ]
    assert [one.get("error", "")[:24] for one in told] == [
        "",
        "source: nothing is given",
        "given.source: not in the",
        "",
    ]
    Path("in.txt").write_text("zz\n")
    check_error(
        seqloom("apply", runs / "run", *ALIKE, "in.txt"),
        "in.txt, line 1: given.source: not in the model's alphabet: 'z'",
    )
    check_error(seqloom("sample", runs / "run", *ALIKE, "given.source= "), "given.source: nothing is given", "without")
    Path("in.jsonl").write_text('{"source": "ab"}\n{"source"\n')
    check_error(seqloom("apply", runs / "run", *ALIKE, "in.jsonl"), "in.jsonl, line 2: the line is no JSON")
    Path("in.txt").write_text("ab\n")
    check_error(
        seqloom("apply", runs / "run", *ALIKE, "in.txt", "-n", 2),
        "of several samples a line of text holds one",
        "--mbr",
    )
    check_error(
        seqloom("apply", runs / "run", *ALIKE, "in.txt", "--mbr", "chrf"), "one sample leaves no choice", "-n 16"
    )
    check_error(seqloom("apply", runs / "run", *ALIKE, "in.txt", "-n", 2, "--mbr", "chrg"), "chrg", "chrf")
    Path("none.txt").write_text("")
    check_error(seqloom("apply", runs / "run", *ALIKE, "none.txt"), "the file is empty")


def test_answers_are_measured_beside_the_true_ones(seqloom, runs):
    asked = "metrics=[{name: answers, pairs: 2}, {name: answers, pairs: 2, samples: 3, by: [exact], mbr: word_error}]"
    metrics = seqloom("evaluate", runs / "run", asked, "--json").json["metrics"]
    assert [one["count"] for one in metrics] == [2] * 7
    assert [one["name"] for one in metrics][1:] == [
        "chrf",
        "rouge_l",
        "exact",
        "word_error",
        "character_error",
        "exact",
    ]
    assert "copy of source: " in metrics[1]["context"]
    assert metrics[-1]["context"].endswith("ancestral, of 3 by word_error")
    found = _answers(load(runs / "run"))
    assert found is not None
    assert list(found["baselines"]) == ["copy of source", "commonest answer", "answer to the nearest source"]
    assert [one["name"] for one in found["model"]] == [one["name"] for one in metrics[:6]]


def test_a_run_of_two_files_is_evaluated_on_two_others(seqloom):
    for side in (0, 1):
        Path(f"train.{side}").write_text("".join(f"{pair[side]}\n" for pair in PAIRS))
        Path(f"new.{side}").write_text("".join(f"{pair[side]}\n" for pair in PAIRS[:5]))
    assert seqloom("train", "train.1", "corpus.source=train.0", "--model", "gru", "--out", "two", *TINY).code == 0
    # of lines, each is one thing
    rows = [line.split(maxsplit=2) for line in seqloom("score", "two", "new.1").text.splitlines()]
    assert rows[0] == ["nats", "bits/byte", "line"]
    assert [row[2] for row in rows[1:]] == [*(pair[1] for pair in PAIRS[:5]), "all 5"]
    assert float(rows[-1][0]) == pytest.approx(sum(float(row[0]) for row in rows[1:-1]), abs=0.1)
    Path("alone.1").write_text(f"{PAIRS[0][1]}\n")
    alone = seqloom("score", "two", "alone.1", "--json").json
    assert float(rows[1][0]) == pytest.approx(alone["nats"], abs=0.01)
    pieces = ("codec=bytes", "--model", "gru", "--out", "read", *TINY)
    assert seqloom("train", "train.1", "corpus.source=train.0", *pieces).code == 0
    elements = seqloom("score", "read", "alone.1", "--tokens", "--json").json["surprisal"]
    assert len(elements) == len(PAIRS[0][1]) + 1, "its letters and its end; the end of the line is the file's"
    names = [one["name"] for one in seqloom("score", "two", "new.1", "--json").json["series"]]
    assert names == [pair[1] for pair in PAIRS[:5]]
    told = seqloom("evaluate", "two", "new.1", "corpus.source=new.0", "--json").json
    assert Path(told["data"]).name == "new.1"
    assert told["metrics"][0]["count"] == sum(len(pair[1]) for pair in PAIRS[:5])
    check_error(seqloom("evaluate", "two", "new.1"), "these data give nothing beside", "corpus.source=FILE")
    check_error(seqloom("evaluate", "two", "corpus.source=new.0"), "how other data are read", "RUN DATA corpus.source")


def test_what_was_attended_to_is_drawn_beside_a_score(seqloom, runs):
    Path("one.txt").write_text("CD AB")
    words = ("score", runs / "run", "one.txt", "given.source=ab cd", *ALIKE)
    done = seqloom(*words, "--attention", "one.html")
    assert (done.code, "nats for" in done.text) == (0, True)
    assert Path("one.html").read_bytes().startswith(b"<!doctype html>")
    check_error(seqloom(*words, "--attention", "one.html"), "is there already", "--force")
    check_error(seqloom(*words, "--attention", "one.pdf"), "no name for a picture", ".png, .svg or .html")


def test_lines_are_told_their_labels_and_a_model_of_labels_is_measured_by_them(seqloom, runs, tmp_path):
    Path("in.txt").write_text("CD AB\nEF CD\n")
    words = ("classify", runs / "run", "in.txt", "given.source=ab cd", "given.size=5")
    plain, told = seqloom(*words), [json.loads(line) for line in seqloom(*words, "--json").text.splitlines()]
    assert plain.text.splitlines() == [one["label"] for one in told]
    assert [one["line"] for one in told] == [1, 2]
    assert set(told[0]["probabilities"]) == set(WORDS)
    assert sum(told[0]["probabilities"].values()) == pytest.approx(1)
    settings = ["corpus.text=kind", "codec=label", "given.text.source=column:en", "--model", "gru"]
    trained = seqloom("train", runs / "pairs.jsonl", *settings, *TINY[:-1], "--out", "kinds")
    assert trained.code == 0
    assert "next: seqloom classify kinds FILE" in trained.err
    assert "stand in the training" not in trained.err  # that labels come again is no news
    metrics = {metric["name"]: metric for metric in seqloom("evaluate", "kinds", "--json").json["metrics"]}
    assert set(metrics) == {"likelihood", "accuracy", "f1"}
    assert "commonest answer" in metrics["accuracy"]["context"]
    Path("bad.txt").write_text("ab cd\n\nab\n")
    assert seqloom("classify", "kinds", "bad.txt", "--skip-bad").text.splitlines()[1] == ""
    check_error(seqloom("classify", "kinds", "bad.txt"), "empty", "skip-bad")


def test_drawings_are_told_their_labels(seqloom):
    rows = [{"word": "up" if i % 2 else "down", "strokes": [[[0, 0], [1, i]]]} for i in range(20)]
    Path("drawn.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    words = ("drawn.jsonl", "given.word.source=column:word", "--model", "gru", "--out", "drawn", *TINY[:-1])
    assert "next: seqloom sample drawn given.word=down" in seqloom("train", *words).err
    told = seqloom("classify", "drawn", "drawn.jsonl")
    assert len(told.text.splitlines()) == 20
    assert set(told.text.split()) <= {"up", "down"}
    assert seqloom("sample", "drawn", "given.word=up", "--length", 3, "--seed", 1, "--out", "one.svg").code == 0
    (alone,) = map(json.loads, seqloom("classify", "drawn", "one.svg", "--json").text.splitlines())
    assert sum(alone["probabilities"].values()) == pytest.approx(1)


def test_each_word_of_a_line_has_a_label(seqloom, tmp_path):
    Path("a.conll").write_text("Anna PER\nsees O\nBob PER\n\nthe O\ndog O\nsees O\nAnna PER\n\n" * 20)
    assert (
        "next: seqloom apply tags FILE"
        in seqloom("train", "a.conll", "--model", "gru", *TINY[:-1], "--out", "tags").err
    )
    Path("words.txt").write_text("the dog sees Zora\nBob\n")
    lines = seqloom("apply", "tags", "words.txt", "--seed", 1).text.splitlines()
    assert [len(line.split()) for line in lines] == [4, 1]
    assert set(" ".join(lines).split()) <= {"PER", "O"}
    check_error(seqloom("classify", "tags", "words.txt"), "each element a label", "apply")


def test_a_passage_is_looked_for_wherever_a_model_is_asked(seqloom, tmp_path):
    pytest.importorskip("bm25s")
    Path("docs").mkdir()
    Path("docs", "a.txt").write_text("ab is here\n\ncd is there\n")
    Path("qa.tsv").write_text("q\ta\n" + "where is ab\there\nwhere is cd\tthere\n" * 20)
    settings = ["corpus.text=a", "given.q.source=column:q", "given.passage.source=search:docs", "--model", "gru"]
    assert seqloom("train", "qa.tsv", *settings, *TINY, "--out", "qa").code == 0
    Path("in.txt").write_text("ab\ncd\n")
    applied = seqloom("apply", "qa", "in.txt", "--seed", 1)  # nobody has to give the passage
    assert (applied.code, len(applied.text.splitlines())) == (0, 2)
    sampled = seqloom("sample", "qa", "given.q=where is cd", "--seed", 1)
    assert "passage: cd is there" in sampled.err
    said = seqloom("sample", "qa", "given.q=where is cd", "given.passage=cd is there", "--seed", 1)
    assert said.text == sampled.text
    Path("docs", "a.txt").write_text("ab is here\n")
    search._index.cache_clear()
    check_error(seqloom("apply", "qa", "in.txt"), "not those of the training", "train anew")
