"""The verb chat, piped and typed: replies, orders, and what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from seqloom.cli import chatting
from seqloom.cli.main import run
from terminal import TINY, Done


@pytest.fixture(scope="session")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has hardly learned anything from a few conversations."""
    folder = tmp_path_factory.mktemp("talk")
    said = [{"role": role, "content": text} for role, text in (("system", "be"), ("user", "ab"), ("assistant", "ba"))]
    lines = [json.dumps({"messages": said[i % 2 :], "topic": "x"}) for i in range(40)]
    (folder / "talk.jsonl").write_text("\n".join(lines) + "\n")
    words = ["--model", "lstm", "process.prior=none", "--out", str(folder / "run"), *TINY]
    assert run(["train", str(folder / "talk.jsonl"), *words]) == 0
    return folder / "run"


class Stdin:
    """Standard input that holds some lines, or a terminal."""

    def __init__(self, text: str, typed: bool) -> None:
        self.buffer, self.typed = io.BytesIO(text.encode("utf-8", "surrogateescape")), typed

    def isatty(self) -> bool:
        return self.typed


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, seqloom: Callable[..., Done], talker: Path) -> Callable[..., Done]:
    def command(text: str, *words: object, typed: bool = False) -> Done:
        monkeypatch.setattr("sys.stdin", Stdin(text, typed))
        lines = iter(text.splitlines())

        def read(prompt: str) -> str:
            line = next(lines, None)
            if line is None:
                raise EOFError
            return line

        monkeypatch.setattr("builtins.input", read)
        return seqloom("chat", talker, "--seed", "1", "--length", "6", *words)

    return command


def test_lines_are_answered_and_saved_and_the_seed_repeats_them(say: Callable[..., Done]) -> None:
    first = say("ab\n\nba\n/save said.jsonl\n/reset\nab\n/save again.jsonl\n", "--json", "--system", "be")
    assert first.code == 0, first.err
    replies = [json.loads(line) for line in first.text.splitlines()]
    assert [reply["role"] for reply in replies] == ["assistant"] * 3
    saved = json.loads(Path("said.jsonl").read_text())["messages"]
    assert [one["role"] for one in saved] == ["system", "user", "assistant", "user", "assistant"]
    assert [saved[2], saved[4]] == replies[:2]
    again = json.loads(Path("again.jsonl").read_text())["messages"]
    assert again[-1] == replies[2] == replies[0]  # the dialogue began anew
    longer = say("ab\n/save more.jsonl\nba\n/save more.jsonl\n", "--json", "--system", "be")
    assert longer.code == 0, longer.err
    assert len(json.loads(Path("more.jsonl").read_text())["messages"]) == 5, "its own file may be written again"
    assert say("ab\n/save more.jsonl\n", "--system", "be").code == 2, "that of another dialogue may not"
    plain = say("ab\nba\n", "--system", "be")
    assert plain.text == "".join(f"{reply['content']}\n" for reply in replies[:2])
    greedy = say("ab\n", "--system", "be", "sampler.temperature=0")
    assert (greedy.code, greedy.err) == (0, "")


def test_a_system_that_training_never_heard_is_said(say: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqloom.codecs.chat.Turns.unheard", ("system",))
    assert "training saw no message of the system" in say("ab\n", "--system", "be", "sampler.temperature=0").err
    assert say("ab\n", "sampler.temperature=0").err == ""


def test_what_is_wrong_ends_a_script_and_not_a_dialogue(say: Callable[..., Done]) -> None:
    for text, wrong in {
        "ab\n\u6771\nab\n": "error: standard input, line 2: not in the model's alphabet: '東'",
        "/wat\nab\n": "error: there is no command '/wat'",
        "/save\n": "error: /save: which file is meant?",
        "\udcff\n": "error: standard input, line 1: message 1: the text is not UTF-8",
    }.items():
        done = say(text)
        assert (done.code, wrong in done.err) == (2, True), done.err
    done = say("\u6771\n/wat\n/help\nab\n/exit\nab\n", typed=True)
    assert done.code == 0
    assert done.err.count("error: ") == 2
    assert all(command in done.err for command in chatting.COMMANDS)
    assert done.text.count("\n") == 1
    assert say("", typed=True).text == "\n"  # Ctrl-D


def test_a_reply_is_ended_by_ctrl_c(say: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    from seqloom.chat import Chat

    def interrupted(self: Chat, *words: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(Chat, "_made", interrupted)
    done = say("ab\n/save said.jsonl\n", typed=True)
    assert done.code == 0
    assert "(stopped)" in done.err
    assert json.loads(Path("said.jsonl").read_text())["messages"][-1] == {"role": "assistant", "content": ""}
    assert say("ab\nab\n").code == 130


def test_other_verbs_take_conversations(talker: Path, seqloom: Callable[..., Done]) -> None:
    done = seqloom("extend", talker, "ab", "--length", "5", "--seed", "1", "--stop", "<|end|>", "--json")
    (made,) = done.json["samples"]
    assert made["messages"][0] == {"role": "user", "content": "ab"}
    assert made["messages"][1]["role"] == "assistant"
    assert seqloom("sample", talker, "--length", "9", "-n", "2", "--seed", "1", "-q").text.count("\n") == 2
    assert "conversations" in seqloom("data", talker.parent / "talk.jsonl").text
    scored = seqloom("score", talker, talker.parent / "talk.jsonl", "--json").json
    assert {one["count"] for one in scored["series"]} == {2}


def test_a_gap_in_a_turn_is_filled_and_the_rest_stays(seqloom: Callable[..., Done], talker: Path) -> None:
    data = talker.parent / "talk.jsonl"
    assert seqloom("train", data, "--model", "masked", "process.prior=none", "--out", "masked", *TINY).code == 0
    said = [{"role": "user", "content": "a___"}, {"role": "assistant", "content": "ba"}]
    done = seqloom("infill", "masked", json.dumps({"messages": said}), "-n", 2, "--seed", 1)
    assert done.code == 0, done.err
    for line in filter(None, done.text.splitlines()):
        user, reply = json.loads(line)["messages"]
        assert (user["role"], user["content"][0], len(user["content"])) == ("user", "a", 4)
        assert reply == said[1]
