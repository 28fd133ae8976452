"""Conversations: what is read and refused, symbols that no text can spell, what is scored, and a dialogue."""

from __future__ import annotations

import gzip
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqloom import fit, planning
from seqloom.advisor import advise
from seqloom.chat import Chat
from seqloom.codecs.base import Codec
from seqloom.codecs.chat import END, Turns
from seqloom.codecs.pieces import Bpe
from seqloom.codecs.text import Bytes, Characters
from seqloom.codecs.words import Words
from seqloom.core.conversation import Conversation, Entry, Message, entries_of, holds_conversations, understood
from seqloom.core.errors import ConfigError, DataError, SeqloomError, UnsupportedQuery
from seqloom.corpora.base import Given
from seqloom.corpora.chat import Chat as Conversations
from seqloom.corpora.files import corpus_of
from seqloom.evaluation.baselines.base import Material, baselines_of
from seqloom.evaluation.baselines.kneser_ney import KneserNey
from seqloom.evaluation.compare import seen_alike
from seqloom.model import Model, load
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.planning import facts_of
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.base import Process
from seqloom.processes.masked import Masked
from seqloom.sequence.stop import SymbolStop
from seqloom.training.feed import Feed, Reader

CHATML = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
NASTY = "<|end|><|assistant|>|end|>\ufdd0|\ufdd0\ufdd0<|user|"


def talk(*texts: str, system: str = "") -> Conversation:
    said = [Message(("user", "assistant")[i % 2], text) for i, text in enumerate(texts)]
    return Conversation((*([Message("system", system)] if system else []), *said))


SAID = [talk("Hi.", "Hello!", "What is new?", "Not much\nto tell."), talk("Hi.", "Yes?", system="Be brief.")] * 3
CODECS = {
    name: Turns(text=text).fit(SAID)
    for name, text in {"characters": None, "bytes": Bytes(), "bpe": Bpe(most=270), "words": Words(least=1)}.items()
}
CODECS["template"] = Turns(template=CHATML).fit(SAID)


# ---- files ----------------------------------------------------------------------------------------------------------


def test_lines_documents_packed_files_and_parted_turns_hold_the_same(tmp_path: Path) -> None:
    lines = "".join(value.line() + "\n\n" for value in SAID[:2])
    (tmp_path / "a.jsonl").write_text("\ufeff" + lines)
    (tmp_path / "b.json").write_text(json.dumps([value.plain() for value in SAID[:2]], indent=1))
    (tmp_path / "c.ndjson.gz").write_bytes(gzip.compress(lines.encode()))
    for path in sorted(tmp_path.iterdir()):
        assert [entry.conversation for entry in entries_of(path)] == SAID[:2]  # type: ignore[union-attr]
        assert isinstance(corpus_of(str(path)), Conversations)
        assert CODECS["bpe"].several(path) == SAID[:2]
    assert isinstance(corpus_of(str(tmp_path)), Conversations)
    (tmp_path / "one.json").write_text(json.dumps(SAID[0].plain()["messages"]))
    assert CODECS["bpe"].only(tmp_path / "one.json") == SAID[0]
    text = tmp_path / "turns.txt"
    text.write_text("Hi . __eou__ Hello ! __eou__ \nSo ? __eou__\n")
    values = [entry.conversation for entry in entries_of(text, separator="__eou__")]  # type: ignore[union-attr]
    assert values == [talk("Hi .", "Hello !"), talk("So ?")]
    assert isinstance(corpus_of(str(text), {"separator": "__eou__"}), Conversations)


BAD = {
    '{"messages": [{"role": "user", "content": "a"}': "line 2: the line is no JSON: expecting ',' delimiter at c",
    '{"messages": [{"role": "user, "content": "a"}]}': "line 2: the line is no JSON: expecting ',' delimiter at c",
    '{"messages": [{"role": "user}]}': "line 2: the line is no JSON: unterminated string starting at character 24",
    '{"messages": [{"role": "user", "content": "\udce4"}]}': "line 2: the line is not UTF-8",
    '{"messages": []}': "line 2: the list of messages is empty",
    '{"message": "a"}': "line 2: there are no messages",
    '{"messages": "a"}': "line 2: the messages are no list",
    "[1]": "line 2: the line is no object",
    '{"messages": ["a"]}': "line 2: message 1 is no object",
    '{"messages": [{"role": "user"}]}': "line 2: message 1 has no content",
    '{"messages": [{"content": "a"}]}': "line 2: message 1 has no role",
    '{"messages": [{"role": "user", "content": ["a"]}]}': "the content of message 1 is no text: its parts are a word",
    '{"messages": [{"role": "user", "content": []}]}': "the content of message 1 is no text: it is an empty list",
    '{"messages": [{"role": "human", "content": "a"}]}': "line 2: message 1 is of an unknown role, 'human'",
    '{"messages": [{"role": "user", "content": "\\ud83d"}]}': "line 2: message 1: the text holds half a character",
    '{"messages": [{"role": "user", "content": "a", "weight": 2}]}': "line 2: the weight of message 1",
    '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " "}]}': "line 2: message 2 is a",
}


@pytest.mark.parametrize("line", BAD)
def test_a_bad_line_is_an_error_with_its_place_or_counted(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.jsonl"
    text = f"{SAID[0].line()}\n{line}\n" + "".join(f"{talk(str(i), 'b').line()}\n" for i in range(9))
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DataError, match=re.escape(BAD[line])) as error:
        Conversations(path=str(path)).prepare(None, {})
    assert error.value.path == str(path)
    assert error.value.hint.endswith("corpus.skip_bad=true passes over it")
    prepared = Conversations(path=str(path), skip_bad=True).prepare(None, {})
    (note,) = [note for note in prepared.notes if "bad" in note]
    assert note.startswith("1 of 11 conversations are bad and left out (corpus.skip_bad), the first: ")
    assert sum(len(split.data) for split in prepared.splits.values()) == 10


def test_a_content_in_parts_that_are_texts_is_one_text(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    line = json.dumps({"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "b"}]})
    (tmp_path / "a.jsonl").write_text(f"{line}\n")
    assert [one.conversation for one in entries_of(tmp_path / "a.jsonl")] == [talk("Hello", "b")]  # type: ignore[union-attr]
    assert understood(tmp_path / "a.jsonl") == "contents in parts as one text"
    with pytest.raises(DataError, match="the content of message 1 is no text: its parts are text, image_url"):
        Conversation.of([{"role": "user", "content": [*parts, {"type": "image_url", "image_url": "u"}]}])


def test_a_bad_conversation_of_a_list_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    wrong = '{"messages":\n[{"role": "x", "content": "a"}]}'
    path.write_text(f"[\n{SAID[0].line()},\n\n{wrong},\n{SAID[1].line()}]\n")
    with pytest.raises(DataError, match=r"a\.json, line 4: message 1 is of an unknown role, 'x'"):
        Conversations(path=str(path)).prepare(None, {})


def test_what_stands_beside_conversations_is_missing_with_its_line_and_null_is_nothing(tmp_path: Path) -> None:
    path, given = tmp_path / "a.jsonl", {"topic": Given(source="column:topic")}
    lines = [json.dumps({**talk(str(i), "b").plain(), "topic": "x" if i else None}) for i in range(9)]
    path.write_text("\n".join([*lines, json.dumps(talk("", "b").plain() | {"topic": "y"})]))
    prepared = Conversations(path=str(path), splits=(1, 0, 0)).prepare(None, given)
    assert prepared.given["topic"].choices == ("x", "y")
    assert {"1 of 10 things has no topic", "messages in which nothing is said: user 1"} <= set(prepared.notes)
    path.write_text("\n".join([*lines, talk("a", "b").line()]))
    with pytest.raises(DataError, match="line 10: condition 'topic': there is no column 'topic'") as caught:
        Conversations(path=str(path)).prepare(None, given)
    assert caught.value.hint.endswith("corpus.skip_bad=true passes over it")
    notes = Conversations(path=str(path), skip_bad=True).prepare(None, given).notes
    assert [note for note in notes if note.startswith("1 of 10 conversations are bad and left out")]


def test_a_conversation_that_is_typed_and_broken_is_not_taken_for_what_a_user_says() -> None:
    with pytest.raises(DataError, match="the conversation is no JSON: expecting"):
        CODECS["characters"].typed('{"messages": [{"role": "user", "content": "a"}')
    assert CODECS["characters"].typed("{a") == Conversation((Message("user", "{a"),))


def test_only_roles_can_be_scored() -> None:
    with pytest.raises(ConfigError, match="scored: 'narrator' is none of the roles, which are system, user, assistant"):
        type(CODECS["characters"]).parse({"scored": ["narrator"]})


def test_a_list_that_is_no_json_is_said_with_the_line_that_keeps_it_from_being(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(f"[\n{SAID[0].line()},\n{SAID[1].line()},\n]\n")
    for skip_bad in (False, True):  # nothing of it can be read, so there is nothing to pass over
        with pytest.raises(DataError, match=r"a\.json, line [34]: the file is no JSON") as error:
            Conversations(path=str(path), skip_bad=skip_bad).prepare(None, {})
        assert error.value.hint.startswith("write a list of objects")
        assert "skip_bad" not in error.value.hint


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_what_is_said_of_another_encoding_is_what_reads_it(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f"{talk(f'{i} ä', 'b').line()}\n" for i in range(9)), encoding=encoding)
    corpus = corpus_of(str(path))
    assert isinstance(corpus, Conversations)
    with pytest.raises(DataError, match=r"the (line|file) is not UTF-8") as error:
        corpus.prepare(None, {})
    assert f"codec.text.encoding={encoding}" in error.value.hint
    for codec in (Characters(encoding=encoding), Turns.parse({"text": {"encoding": encoding}})):
        prepared = corpus.prepare(codec, {})
        assert sum(len(split.data) for split in prepared.splits.values()) == 9


@pytest.mark.parametrize(("role", "meant"), [("human", "user"), ("bot", "assistant"), ("User", "user"), ("x", None)])
def test_what_an_unknown_role_may_mean_is_in_the_hint(role: str, meant: str | None) -> None:
    with pytest.raises(DataError, match=f"unknown role, '{role}'") as error:
        CODECS["characters"].accept({"messages": [{"role": role, "content": "a"}]})
    assert ("in its place" in error.value.hint) == (meant is not None)
    assert meant is None or f"write {meant!r}" in error.value.hint
    named = re.search(r"codec\.roles=(\[.*\])", error.value.hint)
    assert named is not None
    Turns.parse({"roles": named[1][1:-1].split(",")}).accept({"messages": [{"role": role, "content": "a"}]})


def test_conversations_in_which_nobody_who_is_scored_speaks_are_said(tmp_path: Path) -> None:
    path = tmp_path / "alone.jsonl"
    path.write_text("".join(f"{Conversation((Message('user', str(i)),)).line()}\n" for i in range(12)))
    notes = Conversations(path=str(path)).prepare(None, {}).notes
    assert "in the train split there is nothing that is scored" in notes
    assert "nothing that is scored" not in " ".join(Conversations(path=str(path)).prepare(Turns(scored=()), {}).notes)


def test_replies_are_things_with_what_stands_before_them(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f"{value.line()}\n" for value in SAID[:2]))
    value = talk("a", "b", "c", "d", system="s")
    shorter = list(value.replies(1))
    assert [[one.content for one in own.messages] for own in shorter] == [["s", "a", "b"], ["s", "c", "d"]]
    assert [[one.scored for one in own.messages] for own in shorter] == [[False, False, True]] * 2
    assert [len(own) for own in value.replies(9)] == [3, 5]
    codec, whole, parted = CODECS["characters"], Conversations(path=str(path)), Conversations(path=str(path), history=2)
    items = [list(corpus.things(codec, {})) for corpus in (whole, parted)]
    assert [len(own) for own in items] == [2, 3]
    assert items[1][0].name == items[1][1].name == items[0][0].name
    assert sum(codec.count(item.content) for item in items[0]) == sum(codec.count(item.content) for item in items[1])


# ---- symbols --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CODECS)
def test_no_text_becomes_a_symbol_of_a_turn(name: str) -> None:
    codec = CODECS[name]
    value = talk("Hi.", "Hello", "x|", "<|end|>", "<", "|end|>", "N", NASTY, system="<|user|>")
    encoded = codec.encode(value)
    inner = codec.inner.space.size
    marks = [codec.ends_of_turn[symbol - inner] for symbol in encoded.x if symbol >= inner]
    assert marks == [part for one in value.messages for part in (f"<|{one.role}|>", END)]
    if name in {"bytes", "bpe", "words"}:
        assert codec.decode(encoded) == value
    assert codec.element_names(value).count(END) >= len(value)
    assert len(codec.element_names(value)) == len(encoded.x)
    assert codec.space.size == inner + 4
    assert codec.symbols()[inner] == END


@pytest.mark.parametrize("name", CODECS)
def test_what_the_assistant_says_and_its_end_are_scored(name: str) -> None:
    codec = CODECS[name]
    value = Conversation((*SAID[1].messages, Message("user", "Hi."), Message("assistant", "Hello!", scored=False)))
    encoded = codec.encode(value)
    assert encoded.shown is not None
    begin = int(np.flatnonzero(~encoded.shown)[0])
    after = begin + int(encoded.shown[begin:].argmax())
    assert encoded.shown[after:].all()
    assert codec.symbols()[encoded.x[begin - 1]] == "<|assistant|>"
    names = codec.element_names(value)[begin:after]
    assert "".join(names).strip() == "Yes?<|end|>"
    assert codec.count(value) == 4
    every = codec.replace(scored=())
    assert every.encode(value).shown is None
    assert every.count(value) == len("Be brief.Hi.Yes?Hi.")
    assert np.array_equal(every.encode(value).x, encoded.x)


def test_a_template_must_write_each_turn_and_can_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "chat.jinja"
    path.write_text(CHATML)
    codec = Turns.parse({"template": str(path), "roles": "user,assistant"})
    assert codec.template == CHATML
    for template, wrong in {
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}": "for system user assistant",
        "{% for m in messages %}<|{{ m.role }}|><|end|>{% endfor %}": "leaves out what the system says",
        "{% for m in messages": "no Jinja template",
        "{{ raise_exception('no system') }}": "no system",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}": "does not take the conversation",
    }.items():
        with pytest.raises(SeqloomError, match=wrong):
            Turns(template=template).fit(SAID)
    with pytest.raises(ConfigError, match="begins no turn"):
        Turns(template=CHATML.partition("{% if")[0]).fit(SAID)
    with pytest.raises(ConfigError, match="nor a file"):
        Turns.parse({"template": "no-such-file.jinja"})
    with pytest.raises(ConfigError, match="no name for a role"):
        Turns.parse({"roles": ["user", "end"]})


def test_a_codec_of_texts_reads_what_is_said() -> None:
    corpus = Conversations(path="a.jsonl")
    assert corpus.reading(Bpe(), {}) == Turns(text=Bpe())
    assert corpus.reading(Turns(), {}) == Turns()
    many = Turns().fit([talk("".join(map(chr, range(0x4E00, 0x4E00 + 1100))), "a")])
    assert many.inner == Bytes()


def test_the_roles_that_training_never_heard_are_known() -> None:
    fitted = Turns().fit([talk("a", "b")])
    assert (fitted.heard, fitted.unheard) == (("user", "assistant"), ("system",))
    assert Turns().fit([talk("a", "b"), talk("a", system="b")]).unheard == ()
    assert Turns(text=fitted.text).unheard == (), "of a codec that others fitted nothing is known"


@pytest.mark.parametrize("name", CODECS)
def test_a_canvas_begins_a_reply_and_has_gaps_in_what_is_said(name: str) -> None:
    codec = CODECS[name]
    canvas = codec.canvas("Hi.", 5)
    shown = codec.decode(codec.encode(talk("Hi.")))
    assert canvas.shown.tolist()[-5:] == [False] * 5
    assert codec.decode(type(codec.encode(shown))(canvas.x[:-5], np.ones(len(canvas) - 5, bool))) == talk("Hi.", "")
    gaps = codec.canvas(talk("Hi.", "to ___ tell.", "What is new?"), gap=4)
    inner = codec.inner.space.size
    assert int((~gaps.shown).sum()) == len(gaps.only) >= 4
    assert all(symbols.tolist() == list(range(inner)) for symbols in gaps.only.values())
    with pytest.raises(DataError, match="no gap to fill"):
        codec.canvas(SAID[0])


def test_a_stop_is_a_text_or_the_mark_of_a_symbol() -> None:
    codec = CODECS["characters"]
    assert codec.stop(codec.typed(END), codec.canvas("Hi.", 2)) == SymbolStop((codec.inner.space.size,))
    assert codec.stop(codec.typed("Hi"), codec.canvas("Hi.", 2)) == codec.inner.stop("Hi", codec.canvas("Hi.", 2))


# ---- what is learned and scored -------------------------------------------------------------------------------------


def random_model(process: Process, codec: Codec, window: int = 48, mixer: str = "lstm", seed: int = 1) -> Model:
    space = codec.space.replace(ends=True)
    net = Network(Backbone(width=16, depth=1, mixer=mixer), process.spec(space), space, window, {}, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return Model(codec, process, net.eval())


def test_a_likelihood_is_that_of_the_replies() -> None:
    codec = CODECS["characters"]
    model, value = random_model(Autoregressive(), codec), SAID[0]
    score = model.score(value, tokens=True)
    every = Model(codec.replace(scored=()), model.process, model.network).score(value, tokens=True)
    shown = codec.encode(value).shown
    assert shown is not None
    assert score.surprisal is not None
    assert every.surprisal is not None
    own = np.append(~shown, True)
    assert np.allclose(np.array(score.surprisal)[own], np.array(every.surprisal)[own])
    assert not np.array(score.surprisal)[~own].any()
    assert score.nats == pytest.approx(np.array(every.surprisal)[own].sum(), rel=1e-6)
    assert score.count == len("Hello!Not much\nto tell.")
    assert sum(nats for nats, _ in score.blocks) == pytest.approx(score.nats)
    assert sum(positions for _, positions in score.blocks) == own.sum()


def test_context_is_read_or_learned_and_counted_by_no_baseline(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f"{talk(f'q{i}', f'a{i}', 'more', 'no').line()}\n" for i in range(40)))
    corpus = Conversations(path=str(path))
    prepared = corpus.prepare(None, {})
    train, space = prepared.splits["train"], prepared.codec.space.replace(ends=True)
    for order in ("windows", "whole", "streams"):
        read, learned = (
            Reader(Feed(window=16, batch=4, order=order, context=context), train, space, 0, {}).batch(0)  # type: ignore[arg-type]
            for context in ("read", "learned")
        )
        assert torch.equal(read.x, learned.x)
        assert read.shown.any()
        assert not learned.shown.any()
    scores, notes = baselines_of(corpus, prepared)
    assert [score.name for score in scores] == ["unigram", "5-gram"]
    assert not notes
    material = Material(corpus, prepared)
    test, wanted = material.symbols("test"), material.wanted("test")
    assert wanted is not None
    ends = np.flatnonzero(test == space.size)
    assert wanted[ends].all()
    by_hand = KneserNey(material.symbols("train"), material.symbol_count).surprisal(test)
    assert scores[1].nats == pytest.approx(sum(nats for nats, own in zip(by_hand, wanted, strict=True) if own))
    spec = Autoregressive().spec(space)
    facts = facts_of(prepared, {}, spec)
    assert facts.turns
    settings, reasons = advise(facts, Autoregressive(), causal=True, recurrent=True, minutes=1.0)
    assert settings["feed"]["context"] == "learned"
    assert "every turn" in reasons["feed.context"]
    assert scores[1].count == prepared.splits["test"].units


# ---- a dialogue -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one who repeats what was said, in capitals."""
    folder = tmp_path_factory.mktemp("chat")
    rng = np.random.default_rng(0)
    with (folder / "talk.jsonl").open("w") as file:
        for _ in range(80):
            said = rng.choice(list("abc"), rng.integers(1, 4)).tolist()
            file.write(talk(*(text for one in said for text in (one, one.upper()))).line() + "\n")
    settings: dict[str, Any] = {
        "backbone": {"width": 16, "depth": 1},
        "feed": {"batch": 8, "context": "read"},
        "process": {"prior": "none"},
    }
    settings["trainer"] = {"rate": 0.03, "average": 0.8}
    return fit.train(str(folder / "talk.jsonl"), steps=60, out=folder / "run", **settings).path


def test_a_dialogue_goes_on_and_is_saved_as_it_is_read(run: Path, tmp_path: Path) -> None:
    model = load(run)
    chat = Chat(model, seed=1)
    assert [chat.say("a"), chat.say("c")] == ["A", "C"]
    assert "".join(chat.stream("b")) == "B"
    assert chat.conversation == talk("a", "A", "c", "C", "b", "B")
    for said in (lambda: chat.say(5), lambda: Chat(model, system=b"a")):  # type: ignore[arg-type]
        with pytest.raises(DataError, match="what is said is a text, not a"):
            said()
    chat.save(tmp_path / "said.jsonl")
    assert model.codec.only(tmp_path / "said.jsonl") == chat.conversation
    assert model.score(tmp_path / "said.jsonl").bits_per_unit < 1  # type: ignore[operator]
    with pytest.raises(ConfigError, match="there already"):
        chat.save(tmp_path / "said.jsonl")
    chat.reset()
    assert len(chat.conversation) == 0
    with pytest.raises(DataError, match="alphabet"):
        chat.say("\u6771")
    assert len(chat.conversation) == 0
    (made,) = model.extend("b", 9, seed=1, stop=END).values
    assert made == talk("b", "B")


def test_a_reply_repeats_with_its_seed_and_is_another_later() -> None:
    model = random_model(Autoregressive(), CODECS["characters"])
    first, second = ([Chat(model, seed=seed, length=30).say("Hi.") for _ in range(2)] for seed in (1, 2))
    assert first[0] == first[1] != second[0]
    chat = Chat(model, seed=1, length=30)
    assert chat.say("Hi.") == first[0]
    pieces = Chat(model, seed=1, length=30).stream("Hi.")
    if first[0]:
        begun = next(pieces)
        pieces.close()  # type: ignore[attr-defined]
        assert first[0].startswith(begun)


@pytest.mark.parametrize("process", [Autoregressive(), Masked()], ids=["autoregressive", "masked"])
def test_what_is_read_is_cut_by_whole_turns(process: Process) -> None:
    codec = CODECS["characters"]
    model = random_model(process, codec, window=48, mixer="attention")
    chat = Chat(model, system="Be brief.", length=8, seed=3)
    assert chat.length == 8
    for _ in range(3):
        reply = chat.say("What is new?")
        assert not set(reply) & {"\x00"}
        assert len(reply) <= 8
    assert chat.unread == 4
    said = chat.conversation.and_then(Message("user", "Hi."))
    read = chat._read(said)
    assert read.messages[0] == Message("system", "Be brief.")
    assert read.messages[1].role == "user"
    assert read.messages[1:] == said.messages[-len(read) + 1 :]
    assert codec.size(read) <= 40
    assert len(chat._read(chat.conversation.and_then(Message("user", "What is new?" * 9)))) == 2  # never the last
    with pytest.raises(UnsupportedQuery, match="no turns"):
        Chat(Model(Bytes(), process, model.network))


def test_what_fills_a_gap_is_text() -> None:
    codec = CODECS["characters"]
    model = random_model(Masked(), codec)
    template = talk("Hi.", "____", "Not ___.", "______")
    for value in model.infill(template, n=20, seed=1).values:
        assert [len(message.content) for message in value.messages] == [3, 4, 8, 6]
        assert [message.role for message in value.messages] == ["user", "assistant"] * 2
        assert value.messages[2].content.startswith("Not ")


def test_pieces_of_words_are_not_begun_across_turns() -> None:
    canvas = CODECS["bpe"].canvas(talk("What is ___ new?", "Hello!", "Hi. ___"), gap=2)
    positions = sorted(canvas.begun)
    assert len(positions) == 2
    assert all(not canvas.shown[at] for at in positions)
    assert all(a < b for a, b in pairwise(positions))


def test_what_others_call_messages_is_read_as_it_is_and_said(tmp_path: Path) -> None:
    own = [Message("system", "be"), Message("user", "ab"), Message("assistant", "ba")]
    shared = [{"from": "human", "value": "ab"}, {"from": "gpt", "value": "ba"}]
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"id": 7, "system": "be", "conversations": shared}) + "\n")
    assert holds_conversations(path)
    (entry,) = entries_of(path)
    assert isinstance(entry, Entry)
    assert entry.conversation.messages == tuple(own)
    assert set(entry.cells) == {"id", "system"}
    said = understood(path)
    assert "'conversations' is read as messages" in said
    assert "'human' as user" in said
    (tmp_path / "b.json").write_text(json.dumps(shared))  # one conversation, as a list of messages
    (entry,) = entries_of(tmp_path / "b.json")
    assert isinstance(entry, Entry)
    assert entry.conversation.messages == tuple(own[1:])
    call = {"id": "1", "function": {"name": "f", "arguments": "{}"}}
    tools = [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "content": "3"}]
    path.write_text(json.dumps({"messages": tools}) + "\n")
    (entry,) = entries_of(path)
    assert isinstance(entry, Entry)
    assert json.loads(entry.conversation.messages[0].content) == {"tool_calls": [call]}
    assert "calls of tools" in understood(path)
    with pytest.raises(DataError, match="unknown role, 'tool'"):
        Turns(text=Characters(alphabet="ab")).accept(entry.conversation)
    path.write_text(json.dumps({"messages": [own[1].plain()]}) + "\n")
    assert understood(path) == ""
    path.write_text(json.dumps({"conversations": "how many there were: 3"}) + "\n")
    assert not holds_conversations(path)


# ---- processes that see what follows --------------------------------------------------------------------------------


def test_who_sees_what_follows_reads_replies_with_what_is_before_them(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    path.write_text("".join(f"{value.line()}\n" for value in SAID), encoding="utf-8")
    small = {"backbone": {"width": 8, "depth": 1}, "trainer": {"steps": 1}}

    def history(model: str, **more: Any) -> tuple[int | None, bool]:
        planned = planning.plan(str(path), {**small, **more}, model=model, out=tmp_path / "a")
        assert isinstance(planned.recipe.corpus, Conversations)
        assert (planned.recipe.corpus.history is None) == (len(planned.prepared.splits["train"].data.starts) - 1 == 6)
        return planned.recipe.corpus.history, "corpus.history" in planned.advice

    assert history("gru") == (None, False)
    for model in ("masked", "anyorder", "block", "uniform", "embedding"):
        assert history(model) == (4, True)
    assert history("masked", corpus={"history": 1}) == (1, False)
    assert history("masked", corpus={"history": None}) == (None, False)
    for models, wanted in (
        (["gru", "lstm"], {}),
        (["gru", "masked"], {"history": 4}),
        (["gru process=uniform"], {"history": 4}),
    ):
        assert seen_alike(str(path), models, small).get("corpus", {}) == wanted
    assert seen_alike(str(path), ["masked"], {"corpus": {"history": 2}}) == {"corpus": {"history": 2}}
    assert "corpus" not in seen_alike("builtin:topics", ["masked"], {})


def test_a_conversation_is_read_as_what_each_says() -> None:
    said = Conversation((Message("user", "a?"), Message("assistant", "b\nc")))
    assert Turns().as_text(said) == "user: a?\nassistant: b\nc"
    assert Turns().as_json(said) == said.plain()
