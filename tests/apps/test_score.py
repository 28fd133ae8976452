"""`score FILE` reads its file as the run's own data are read: lines, rows, conversations, files of a folder."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from terminal import TINY, Done

LINES = [f"{who} {what}" for who in ("a dog", "the cat", "an owl") for what in ("runs", "sleeps", "waits", "sings")]
TURNS = [f"where is {line}? __eou__ {line} here. __eou__" for line in LINES]
TALKS = [
    {"messages": [{"role": "user", "content": f"{line}?"}, {"role": "assistant", "content": f"yes, {line}"}]}
    for line in LINES
]
ROWS = [{"en": line, "said": line.upper()} for line in LINES]

KINDS = {
    "lines": ("data.txt", "\n".join(LINES), ("corpus.items=line",)),
    "turns": ("data.txt", "\n".join(TURNS), ("corpus.separator=__eou__",)),
    "talks": ("data.jsonl", "\n".join(map(json.dumps, TALKS)), ("corpus.history=1",)),
    "rows": ("data.jsonl", "\n".join(map(json.dumps, ROWS)), ("corpus.text=said", "given.en.source=column:en")),
    "folder": ("data", LINES, ()),
    "tagged": ("data.conll", "\n\n".join(f"{line.split()[0]} D\n{line.split()[1]} N" for line in LINES), ()),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_file_costs_in_parts_is_what_it_costs_in_all(seqloom: Callable[..., Done], kind: str) -> None:
    name, content, settings = KINDS[kind]
    if isinstance(content, str):
        Path(name).write_text(content + "\n")
    else:
        Path(name).mkdir()
        for number, text in enumerate(content):
            Path(name, f"{number:02d}.txt").write_text(text)
    done = seqloom("train", name, *settings, "--model", "gru", "--out", "run", *TINY)
    assert done.code == 0, done.err
    told = seqloom("score", "run", name, "--json").json["series"]
    assert len(told) == len(LINES)
    assert len({one["name"] for one in told}) == len(LINES)
    bits = sum(one["nats"] for one in told) / sum(one["count"] for one in told) / math.log(2)
    (likelihood,) = seqloom("evaluate", "run", name, "metrics=[likelihood]", "--json").json["metrics"]
    per_unit = {"bits": 1.0, "nats": math.log(2)}[likelihood["unit"].split("/")[0]]
    assert bits * per_unit == pytest.approx(likelihood["value"], rel=1e-4)
    shown = seqloom("score", "run", name).text.splitlines()
    assert len(shown) == len(LINES) + 2, "a table with a row each, and all"


def test_what_the_codec_loses_is_said_beside_the_likelihood(seqloom: Callable[..., Done]) -> None:
    Path("data.txt").write_text("\n".join(LINES) * 9)
    settings = ("codec=characters", "codec.normalise=lower", "--model", "gru")
    assert seqloom("train", "data.txt", *settings, "--out", "run", *TINY).code == 0
    Path("asked.txt").write_text("A DOG")
    said = "the likelihood is without capital letters: compare it with those of codecs that lose the same\n"
    for words in (("score", "run", "asked.txt"), ("evaluate", "run")):
        done = seqloom(*words)
        assert done.code == 0
        assert said in done.err
    assert seqloom("score", "run", "asked.txt", "--json").json["loses"] == "capital letters"


def test_lines_of_two_files_are_scored_with_or_without_what_stands_beside_them(seqloom: Callable[..., Done]) -> None:
    Path("data.de").write_text("\n".join(LINES))
    Path("data.en").write_text("\n".join(line.upper() for line in LINES))
    assert seqloom("train", "data.de", "corpus.source=data.en", "--model", "gru", "--out", "run", *TINY).code == 0
    done = seqloom("score", "run", "data.de", "--json")
    assert done.err == "without given.source=..., it is scored as what has no source\n"
    alone = done.json["series"]
    done = seqloom("score", "run", "data.de", "corpus.source=data.en", "--json")
    assert done.err == ""
    beside = done.json["series"]
    assert [one["name"] for one in alone] == [one["name"] for one in beside] == LINES
    assert [one["nats"] for one in alone] != [one["nats"] for one in beside]
    told = seqloom("score", "run", "data.de", "given.source=AN OWL", "--json").json["series"]
    assert len({one["nats"] for one in told} - {one["nats"] for one in alone}) > 1
