"""One road for data: splits by raw content, lines and parts, given splits, pairs, aligned conditions, rows, context."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars
import pytest

import seqloom
from seqloom.codecs.base import Codec
from seqloom.codecs.label import Label
from seqloom.codecs.number import Number
from seqloom.codecs.pieces import Bpe
from seqloom.codecs.series import Series
from seqloom.codecs.text import Bytes, Characters
from seqloom.codecs.words import Words
from seqloom.core.cache import cache as cache_folder
from seqloom.core.content import edge, edge_in
from seqloom.core.errors import ConfigError, DataError
from seqloom.core.foreign import code_of
from seqloom.corpora import shards
from seqloom.corpora.asking import asked_in
from seqloom.corpora.base import SPLITS, Corpus, Given, Item, Items, Prepared, declared_by, describe
from seqloom.corpora.files import corpus_of
from seqloom.corpora.packed import Packed
from seqloom.corpora.pairs import Pairs
from seqloom.corpora.sources import Source
from seqloom.planning import feed_notes
from seqloom.sequence.canvas import Canvas, Encoded
from seqloom.sequence.space import Field, Tokens, Vectors
from seqloom.training.feed import Feed


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEQLOOM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def sequences(prepared: Prepared, split: str) -> list[Any]:
    data = prepared.splits[split].data
    pairs = zip(data.starts[:-1], data.starts[1:], strict=True)
    known = np.ones(data.x.shape, bool) if data.known is None else data.known
    return [prepared.codec.decode(Encoded(data.x[a:b], known[a:b])) for a, b in pairs]


def conditions(prepared: Prepared, split: str, name: str) -> list[Any]:
    flat, codec = prepared.splits[split].given[name], prepared.given[name]
    pairs = zip(flat.starts[:-1], flat.starts[1:], strict=True)
    return [codec.decode(Encoded(flat.x[a:b], np.ones(flat.x[a:b].shape, bool))) if a < b else None for a, b in pairs]


# ---- splits depend on raw content alone ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.zst"])
def test_whatever_codec_reads_a_text_its_splits_are_the_same(tmp_path: Path, name: str) -> None:
    text = "\ufeff" + "héllo wörld — 東京\r\n" * 300
    Bytes().write(text.encode(), tmp_path / name)
    corpus = corpus_of(str(tmp_path / name))
    as_bytes, as_characters = corpus.prepare(Bytes(), {}), corpus.prepare(None, {})
    raw = [b"".join(sequences(as_bytes, split)) for split in SPLITS]
    assert b"".join(raw) == text.encode()
    for split, part in zip(SPLITS, raw, strict=True):
        assert as_bytes.splits[split].fingerprint == hashlib.sha256(part).hexdigest()
        assert as_bytes.splits[split].fingerprint == as_characters.splits[split].fingerprint
        mended = part.decode().removeprefix("\ufeff").replace("\r\n", "\n")
        assert sequences(as_characters, split) == [mended]
        assert "".join(corpus.values(as_characters.codec, split)) == mended
    assert corpus.fingerprints(Bytes()) == {split: as_bytes.splits[split].fingerprint for split in SPLITS}


def test_an_edge_is_where_a_character_begins(tmp_path: Path) -> None:
    data = "aé東\N{GRINNING FACE}\r\nb".encode()
    (tmp_path / "x").write_bytes(data)
    starts = [0, 1, 3, 3, 6, 6, 6, 10, 10, 10, 10, 12, 12, 13]
    assert [edge_in(data, i) for i in range(14)] == starts
    assert [edge(tmp_path / "x", i) for i in range(14)] == starts


# ---- lines, paragraphs, parts -------------------------------------------------------------------------------------


def test_each_line_ends_by_itself_and_is_in_one_split_only(tmp_path: Path) -> None:
    names = [f"name{i % 70}" for i in range(100)]
    (tmp_path / "names.txt").write_bytes("\r\n".join(["", *names, " ", "last"]).encode())
    corpus = corpus_of(str(tmp_path / "names.txt"), {"items": "line", "splits": [0.5, 0.25, 0.25]})
    prepared = corpus.prepare(None, {})
    assert prepared.ends
    (tmp_path / "list.txt").write_text("\n".join(names))
    assert "corpus.items=line" in corpus_of(str(tmp_path / "list.txt")).prepare(None, {}).notes[0]
    (tmp_path / "names.csv").write_bytes((tmp_path / "names.txt").read_bytes())  # a list is often called so
    listed = corpus_of(str(tmp_path / "names.csv"), {"items": "line", "splits": [0.5, 0.25, 0.25]}).prepare(None, {})
    assert sequences(listed, "test") == sequences(prepared, "test")
    texts = {split: sequences(prepared, split) for split in SPLITS}
    assert sorted(chain.from_iterable(texts.values())) == sorted([*names, "last"])
    assert not set(texts["train"]) & set(texts["test"])
    assert all(len(texts[split]) >= 15 for split in SPLITS)
    assert list(corpus.values(prepared.codec, "test")) == texts["test"]
    again = corpus.prepare(Bytes(), {})
    assert [text.decode() for text in sequences(again, "test")] == texts["test"]
    assert again.splits["test"].fingerprint == prepared.splits["test"].fingerprint
    packed = Packed(prepared.splits["test"].data, prepared.codec.space.replace(ends=True))
    assert len(packed) == sum(len(text) + 1 for text in texts["test"])


def test_paragraphs_are_what_stands_between_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("\n\n".join(f"first {i}\nsecond {i}" for i in range(12)) + "\n", encoding="utf-8")
    prepared = corpus_of(str(tmp_path / "p.txt"), {"items": "paragraph"}).prepare(Bytes(), {})
    texts = chain.from_iterable(sequences(prepared, split) for split in SPLITS)
    assert sorted(texts) == sorted(f"first {i}\nsecond {i}".encode() for i in range(12))


def test_a_line_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "n.txt").write_bytes(b"one\ntwo\nth\xffree\n" * 5)
    with pytest.raises(DataError, match=r"n\.txt, line 3: the text is not UTF-8"):
        corpus_of(str(tmp_path / "n.txt"), {"items": "line", "splits": [1, 0, 0]}).prepare(None, {})


def test_text_in_another_encoding_is_that_text(tmp_path: Path) -> None:
    text = "Größe\n" * 50
    for name, encoding in (("a.txt", "latin-1"), ("b.txt", "utf-16"), ("c.txt.gz", "cp1252"), ("d.txt", "utf-8")):
        Bytes().write(text.encode(encoding), tmp_path / name)
        codec = Characters(encoding=encoding)
        prepared = corpus_of(str(tmp_path / name)).prepare(codec, {})
        assert "".join(chain.from_iterable(sequences(prepared, split) for split in SPLITS)) == text
        assert sum(prepared.splits[split].units for split in SPLITS) == len(text.encode())
        lines = corpus_of(str(tmp_path / name), {"items": "line", "splits": [1, 0, 0]}).prepare(codec, {})
        assert sequences(lines, "train") == ["Größe"] * 50
    with pytest.raises(DataError, match="offset 2") as caught:
        corpus_of(str(tmp_path / "a.txt")).prepare(Characters(), {})
    assert "codec.encoding" in caught.value.hint
    both = tmp_path / "both"
    both.mkdir()
    for i in range(20):
        (both / f"{i:02}.txt").write_text(f"caf\xe9 {i}\n", encoding="latin-1" if i else "utf-8")
    notes = corpus_of(str(both)).prepare(Characters(encoding="latin-1"), {}).notes
    assert notes[0].startswith("1 of 20 files are UTF-8 and, read as latin-1, wrong beyond ASCII (the first: 00.txt)")
    with pytest.raises(ConfigError, match="no encoding 'latin9000'"):
        corpus_of(str(tmp_path / "a.txt")).prepare(Characters(encoding="latin9000"), {})
    with pytest.raises(DataError, match="is not ascii"):
        corpus_of(str(tmp_path / "a.txt")).prepare(Characters(encoding="ascii"), {})


def test_a_folder_of_any_texts_and_which_of_them_are_read(tmp_path: Path) -> None:
    root = tmp_path / "notes"
    root.mkdir()
    for i in range(12):
        (root / f"{i}.md").write_text(f"# Number {i}\n")
        (root / f"{i}.py").write_text(f"print({i})\n")
    (root / "picture.png").write_bytes(bytes(range(256)))
    prepared = corpus_of(str(root)).prepare(None, {})
    assert sum(len(prepared.splits[split].data) for split in SPLITS) == 24
    some = corpus_of(str(root), {"suffixes": ".md"}).prepare(None, {})
    assert {text[0] for text in sequences(some, "train")} == {"#"}
    assert "other files of the folder are left out: .py 12 (corpus.suffixes says which are read)" in some.notes
    (root / "note.txt").write_text("text\n")
    assert sum(len(corpus_of(str(root)).prepare(None, {}).splits[s].data) > 0 for s in SPLITS) == 3
    with pytest.raises(DataError, match=r"no \.rst file"):
        corpus_of(str(root), {"suffixes": ".rst"}).prepare(Characters(), {})


def test_what_is_called_as_a_text_is_read_or_said_whatever_it_is_written_in(tmp_path: Path) -> None:
    root = tmp_path / "some"
    root.mkdir()
    for i in range(12):
        (root / f"{i}.md").write_text(f"# Number {i}\n")
    (root / "cafe.md").write_text("café\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"cafe\.md: the text is not UTF-8") as caught:
        corpus_of(str(root)).prepare(None, {})
    assert caught.value.hint.endswith("corpus.skip_bad=true passes over it")
    (root / "empty.md").touch()
    notes = corpus_of(str(root), {"skip_bad": True}).prepare(None, {}).notes
    assert any(note.startswith("1 of 14 files are bad and left out") for note in notes)
    assert "empty.md is empty and left out" in notes
    alike = tmp_path / "alike"
    alike.mkdir()
    for i in range(12):
        (alike / f"{i}.md").write_text(f"café {i}\n", encoding="latin-1")
        (alike / f"{i}.log").write_text(f"line {i}\n")
    (alike / "a.log").write_bytes(b"\0\xff")
    (alike / "a.bin").write_bytes(b"\0\xff")
    prepared = corpus_of(str(alike)).prepare(Characters(encoding="latin-1"), {})
    assert sum(len(prepared.splits[split].data) for split in SPLITS) == 24
    assert "other files of the folder are left out: .log 1 (corpus.suffixes says which are read)" in prepared.notes


def test_what_is_given_is_read_in_its_own_encoding_or_in_that_of_the_rest(tmp_path: Path) -> None:
    given = {"source": Given(source="pair")}
    for encoding in ("latin-1", "utf-8"):
        (tmp_path / f"{encoding}.de").write_text("".join(f"schön {i}\n" for i in range(20)), encoding=encoding)
        (tmp_path / f"{encoding}.fr").write_text("".join(f"été {i}\n" for i in range(20)), encoding=encoding)
    for target, own, source in (
        ("latin-1", None, "latin-1"),
        ("utf-8", "latin-1", "latin-1"),
        ("latin-1", "utf-8", "utf-8"),
    ):
        asked = given if own is None else {"source": Given(source="pair", codec=Characters(encoding=own))}
        corpus = corpus_of(str(tmp_path / f"{target}.de"), {"source": str(tmp_path / f"{source}.fr")})
        prepared = corpus.prepare(Characters(encoding=target), asked)
        codec = prepared.given["source"]
        assert "é" in codec.symbols()
        assert "ö" in prepared.codec.symbols()
        lines = asked_in(tmp_path / f"{source}.fr", {"source": codec}, {}, prepared.codec)
        assert next(lines) == (1, {"source": "été 0"})
    corpus = corpus_of(str(tmp_path / "utf-8.de"), {"source": str(tmp_path / "latin-1.fr")})
    with pytest.raises(DataError, match=r"latin-1\.fr, line 1") as caught:
        corpus.prepare(None, given)
    assert "given.source.codec.encoding=latin-1" in caught.value.hint
    table = tmp_path / "a.tsv"
    table.write_text("text\tkind\n" + "".join(f"été {i}\tgr{'öü'[i % 2]}n\n" for i in range(20)), encoding="latin-1")
    read = Given(source="column:text", codec=Characters(encoding="latin-1"))
    told = corpus_of(str(table), {"text": "kind"}).prepare(Label(), {"text": read})
    assert set(told.codec.choices) == {"grün", "grön"}
    labels = corpus_of(str(table), {"text": "text"}).prepare(
        Characters(encoding="latin-1"), {"kind": Given(source="column:kind", codec=Label())}
    )
    asked_rows = asked_in(table, {"kind": labels.given["kind"]}, {}, labels.codec)
    assert next(asked_rows)[1] == {"kind": "grön"}


def test_what_is_bad_is_passed_over_and_counted_where_that_is_asked(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in range(20):
        (folder / f"{i:02}.txt").write_bytes(b"caf\xe9" if i in {3, 7} else b"tea %d" % i)
    with pytest.raises(DataError, match=r"03\.txt: the text is not UTF-8") as caught:
        corpus_of(str(folder), {"splits": [1, 0, 0]}).prepare(None, {})
    assert caught.value.hint.endswith("corpus.skip_bad=true passes over it")
    prepared = corpus_of(str(folder), {"splits": [1, 0, 0], "skip_bad": True}).prepare(None, {})
    assert len(prepared.splits["train"].data) == 18
    assert any("2 of 20 files are bad and left out (corpus.skip_bad), the first: " in note for note in prepared.notes)
    (tmp_path / "lines.txt").write_bytes(b"tea\ncaf\xe9\nmate\n")
    lines = corpus_of(str(tmp_path / "lines.txt"), {"items": "line", "splits": [1, 0, 0], "skip_bad": True})
    assert sequences(lines.prepare(None, {}), "train") == ["tea", "mate"]
    assert any("1 of 3 lines are bad" in note and ".txt, line 2" in note for note in lines.prepare(None, {}).notes)
    (tmp_path / "rows.jsonl").write_bytes(
        b'{"body": "a", "n": 1}\n{"body": \n{"n": 2}\n[]\n{"body": "caf\xe9"}\n{"body": "b"}\n'
    )
    settings = {"text": "body", "splits": [1, 0, 0]}
    with pytest.raises(DataError, match=r"rows\.jsonl, line 2") as caught:
        corpus_of(str(tmp_path / "rows.jsonl"), settings).prepare(None, {})
    assert caught.value.hint.endswith("corpus.skip_bad=true passes over it")
    rows = corpus_of(str(tmp_path / "rows.jsonl"), {**settings, "skip_bad": True}).prepare(None, {})
    assert sequences(rows, "train") == ["a", "b"]
    assert any("4 of 6 rows are bad" in note and "line 2: the line is no JSON" in note for note in rows.notes)
    (tmp_path / "all.jsonl").write_text("[]\n" * 4)
    with pytest.raises(DataError, match="the training split is empty") as caught:
        corpus_of(str(tmp_path / "all.jsonl"), {**settings, "skip_bad": True}).prepare(None, {})
    assert caught.value.hint.startswith("4 of 4 rows are bad and left out"), "that is why"


def test_things_without_a_condition_are_counted_and_one_that_is_far_longer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    rows = [f"a dog {i}\tein Hund {i}\n" for i in range(30)]
    rows[4], rows[6] = "\tein Hund\n", f"{'a dog ' * 100}\tein Hund\n"
    given = {"source": Given(source="column:en")}

    def notes(*rows: str) -> tuple[str, ...]:
        path.write_text("en\tde\n" + "".join(rows))
        return corpus_of(str(path), {"text": "de", "splits": [1, 0, 0]}).prepare(None, given).notes

    assert not any("source" in note for note in notes(*rows[:4]))
    assert "1 of 30 things has no source" in notes(*rows)
    assert any(
        note.startswith("the longest source has 600 elements, where 8 are usual") and "rows.tsv, line 8)" in note
        for note in notes(*rows)
    )


LISTS = {
    "names": "".join(f"Ann{i}\n" for i in range(60)),
    "sentences": "".join(f"A dog sees {i} of the other dogs. \n" for i in range(60)),
    "dated": "".join(f"2025-01-{1 + i % 28:02} 10:{i:02}:00 INFO it went on for {i} seconds\n" for i in range(60)),
    "syslog": "".join(f"Jan {i} 00:00:{i} host sshd[{i}]: a connection was closed\n" for i in range(60)),
    "access": "".join(f'10.0.{i}.1 - - [01/Jan/2025] "GET /{i} HTTP/1.1" 200\n' for i in range(60)),
}
TABLES = {
    "commas": "date,load\n" + "".join(f"2025-01-{1 + i % 28:02} 10:{i:02},{i}.5\n" for i in range(60)),
    "tabs": "".join(f"{i}\t{i * 7 % 10}\t\n" for i in range(60)),
}
TALKS = "".join(f"Where is {i} ? __eou__ Here it is . __eou__\n" for i in range(60))
PROSE = {
    "one turn": "This is a text. __eou__\n" * 60,
    "wrapped": "This is a text that goes on\nover the ends of its lines. It is\nno list.\n" * 30,
    "code": "def add(a, b):\n    return a + b\n\n\n" * 30,
    "short": "one\ntwo\n",
}


@pytest.mark.parametrize("name", [*LISTS, *TABLES, *PROSE])
def test_a_text_with_a_thing_a_line_is_said_to_be_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / "some.log"
    path.write_text((LISTS | TABLES | PROSE)[name])
    notes = corpus_of(str(path), {"splits": [1, 0, 0]}).prepare(None, {}).notes
    assert any("a table of numbers: codec=series" in note for note in notes) == (name in TABLES)
    assert any("corpus.items=line makes each line a thing of its own" in note for note in notes) == (name in LISTS)
    path.write_text(TALKS)
    assert any("corpus.separator=__eou__" in note for note in corpus_of(str(path)).prepare(None, {}).notes)


def test_zeros_in_a_text_are_said_and_utf_16_without_a_mark_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "some.txt"
    path.write_bytes(b"plain words only, \0" * 30)
    corpus = corpus_of(str(path))
    assert "30 zero bytes of some.txt are read as characters" in corpus.prepare(None, {}).notes
    assert not any("zero byte" in note for note in corpus.prepare(Bytes(), {}).notes)
    for form in ("utf-16-le", "utf-16-be"):
        path.write_bytes(("plain words only, " * 30).encode(form))
        with pytest.raises(DataError, match="every other byte is zero") as caught:
            corpus_of(str(path)).prepare(None, {})
        assert f"codec.encoding={form}" in caught.value.hint
        assert corpus_of(str(path)).prepare(Characters(encoding=form), {}).notes == ()
        assert len(corpus_of(str(path)).prepare(Bytes(), {}).splits["train"].data) == 1
    path.write_bytes(("plain words only, " * 30).encode("utf-16"))
    with pytest.raises(DataError, match="not UTF-8") as caught:
        corpus_of(str(path)).prepare(None, {})
    assert "codec.encoding=utf-16" in caught.value.hint


def test_where_a_text_leaves_its_encoding_is_said_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "some.txt"
    path.write_bytes(b"abc\xe4def" * 3)
    with pytest.raises(DataError, match="the text is not ascii: byte 0xe4 at offset 3"):
        corpus_of(str(path)).prepare(Characters(encoding="ascii"), {})


FOLDERS: dict[str, tuple[dict[str, str], str, dict[str, Any]]] = {
    "texts": ({f"{i:02}.txt": f"tea {i}" for i in range(20)}, "x.txt.gz", {}),
    "lines": ({f"{i:02}.txt": f"tea\n{i}" for i in range(20)}, "x.txt.gz", {"items": "line"}),
    "tables": ({"a.tsv": "body\tn\n" + "tea\t1\n" * 20}, "x.tsv.gz", {"text": "body"}),
    "conversations": (
        {"a.jsonl": '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n' * 20},
        "x.jsonl.gz",
        {},
    ),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_broken_file_of_a_folder_is_an_error_or_is_counted(tmp_path: Path, kind: str) -> None:
    files, broken, settings = FOLDERS[kind]
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / broken).write_bytes(gzip.compress(next(iter(files.values())).encode())[:-8])
    (folder / "other.rst").write_text("This is neither of them.\n")
    settings = {**settings, "splits": [1, 0, 0]}
    with pytest.raises(DataError, match=rf"{broken}: the file is not whole gzip") as caught:
        corpus_of(str(folder), settings).prepare(None, {})
    assert caught.value.hint.endswith("corpus.skip_bad=true passes over it")
    notes = corpus_of(str(folder), {**settings, "skip_bad": True}).prepare(None, {}).notes
    assert sum("are bad and left out" in note and broken in note for note in notes) == 1
    assert any(note.startswith("other files of the folder are left out: .rst 1 (corpus.") for note in notes)


def test_of_the_corpora_that_take_a_folder_the_one_that_has_the_settings_reads_it(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"messages": [{"role": "user", "content": "a"}]}\n')
    (tmp_path / "a.txt").write_text("text\n")
    assert [corpus_of(str(tmp_path), own).name for own in ({}, {"history": 1}, {"suffixes": ".txt"})] == [
        "chat",
        "chat",
        "files",
    ]
    with pytest.raises(ConfigError, match=r"no such setting of chat"):
        corpus_of(str(tmp_path), {"histry": 1})


def test_a_split_into_which_nothing_fell_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n" * 10)
    prepared = corpus_of(str(tmp_path / "a.txt"), {"items": "line"}).prepare(None, {})
    assert "nothing is kept for test: none of 20 things came into its share of 0.05 (corpus.splits)" in prepared.notes


def test_a_tokenizer_that_is_none_is_the_error_though_no_text_was_read_yet(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some text\n" * 40)
    (tmp_path / "none.json").write_text("{}")
    with pytest.raises(DataError, match=r"none\.json: the file is no tokenizer"):
        corpus_of(str(tmp_path / "a.txt")).prepare(Bpe(pretrained=str(tmp_path / "none.json")), {})


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (b"MThd\0\0\0\x06\xff\x80" * 9, "the file is no text: it holds zero bytes", "texts, tables"),
        ("\ufeffnames".encode("utf-16-le"), "the text is not UTF-8: byte 0xff at offset 0", "codec.encoding=utf-16"),
        (b"caf\xe9", "the text is not UTF-8: byte 0xe9 at offset 3", "codec.encoding=latin-1"),
    ],
)
def test_what_is_no_text_is_told_from_text_in_another_encoding(
    tmp_path: Path, content: bytes, message: str, hint: str
) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        corpus_of(str(tmp_path / "file")).prepare(None, {})
    assert hint in caught.value.hint


def test_things_that_stand_in_two_splits_are_counted(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"t": f"text {i}"}) + "\n" for i in range(9)))
    (tmp_path / "v.jsonl").write_text("".join(json.dumps({"t": f"text {i}", "by": "me"}) + "\n" for i in range(7, 12)))
    corpus = corpus_of(
        str(tmp_path / "t.jsonl"), {"text": "t", "valid": str(tmp_path / "v.jsonl"), "splits": [1, 0, 0]}
    )
    note = "2 of the 5 things of the valid split stand in the training split too"
    assert note in corpus.prepare(None, {}).notes


def test_the_same_answer_to_another_question_is_another_thing(tmp_path: Path) -> None:
    def table_of(name: str, asked: range) -> Path:
        rows = [{"q": f"is {i} odd?", "a": "yes" if i % 2 else "no", "mood": "calm"} for i in asked]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    path, valid = table_of("t.jsonl", range(20)), table_of("v.jsonl", range(17, 22))
    corpus = corpus_of(str(path), {"text": "a", "valid": str(valid), "splits": [1, 0, 0]})
    answers = {"mood": Given(source="column:mood", codec=Label())}
    pairs = {"q": Given(source="column:q")}
    assert "5 of the 5 things of the valid split stand in the training split too" in corpus.prepare(None, answers).notes
    assert "3 of the 5 things of the valid split stand in the training split too" in corpus.prepare(None, pairs).notes


def test_texts_of_a_column_whatever_the_table(tmp_path: Path) -> None:
    import polars

    frame = polars.DataFrame({"body": [f"text {i}" for i in range(30)], "stars": [i % 5 for i in range(30)]})
    tables = tmp_path / "tables"
    tables.mkdir()
    frame.write_parquet(tables / "a.parquet")
    frame.write_ndjson(tables / "b.jsonl")
    frame.write_csv(tables / "c.csv")
    given = {"stars": Given(source="column:stars", codec=Label())}
    for path in tables.iterdir():
        prepared = corpus_of(str(path), {"text": "body", "splits": [1, 0, 0]}).prepare(None, given)
        assert sequences(prepared, "train") == frame["body"].to_list()
        assert conditions(prepared, "train", "stars") == [str(stars) for stars in frame["stars"]]
    whole = corpus_of(str(tables), {"text": "body", "splits": [1, 0, 0]}).prepare(None, {})
    assert sequences(whole, "train") == frame["body"].to_list() * 3
    frame[["body"]].write_ndjson(tmp_path / "one.jsonl")
    assert (
        len(corpus_of(str(tmp_path / "one.jsonl"), {"splits": [1, 0, 0]}).prepare(None, {}).splits["train"].data) == 30
    )
    (tmp_path / "torn.parquet").write_bytes((tables / "a.parquet").read_bytes()[:-9])
    with pytest.raises(DataError, match="no Parquet that can be read"):
        corpus_of(str(tmp_path / "torn.parquet"), {"text": "body"}).prepare(None, {})


def test_a_column_of_numbers_and_the_length_are_numbers_beside_each_text(tmp_path: Path) -> None:
    rows = [{"t": "x" * (1 + i % 7), "activity": 0.5 * i, "kind": ("ab", "cd")[i % 2]} for i in range(40)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {name: Given(source=f"column:{name}") for name in ("activity", "kind")} | {"size": Given(source="length")}
    prepared = corpus_of(str(tmp_path / "t.jsonl"), {"text": "t", "splits": [1, 0, 0]}).prepare(None, given)
    assert [prepared.given[name].name for name in given] == ["number", "characters", "number"]
    assert np.ravel(conditions(prepared, "train", "activity")) == pytest.approx(
        [row["activity"] for row in rows], abs=1e-5
    )
    assert np.ravel(conditions(prepared, "train", "size")) == pytest.approx([len(row["t"]) for row in rows])
    assert prepared.given["size"].encode((4.0,)).x.dtype == np.float32
    with pytest.raises(DataError, match="'many' is no number"):
        prepared.given["size"].typed("many")
    numbers = {"kind": given["kind"].replace(codec=prepared.given["size"])}
    with pytest.raises(DataError, match=r"t\.jsonl, line 1: condition 'kind': 'ab' is no number"):
        corpus_of(str(tmp_path / "t.jsonl"), {"text": "t", "splits": [1, 0, 0]}).prepare(None, numbers)


def test_splits_can_be_given_by_files(tmp_path: Path) -> None:
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text(f"valid train test {name}\n" * 20, encoding="utf-8")
    settings = {"valid": str(tmp_path / "valid.txt"), "test": str(tmp_path / "test.txt")}
    prepared = corpus_of(str(tmp_path / "train.txt"), settings).prepare(None, {})
    assert {split: sequences(prepared, split) for split in SPLITS} == {
        split: [f"valid train test {split}\n" * 20] for split in SPLITS
    }
    one = corpus_of(str(tmp_path / "train.txt"), {"test": settings["test"]}).prepare(None, {})
    assert sequences(one, "test") == ["valid train test test\n" * 20]
    assert len(one.splits["train"].data.x) + len(one.splits["valid"].data.x) == 23 * 20
    assert len(one.splits["valid"].data.x) == 25  # 5 of 95 parts
    with pytest.raises(DataError, match="no such file"):
        corpus_of(str(tmp_path / "train.txt"), {"test": "nowhere.txt"}).prepare(None, {})


class Parts(Codec, name="test-parts"):
    """Numbers of a JSON file that names its splits; several voices of one thing share the weights."""

    suffixes: ClassVar[tuple[str, ...]] = (".parts",)
    unit: ClassVar[str] = "number"
    rank: ClassVar[int] = 0

    scale: float = 0.0

    @property
    def fitted(self) -> bool:
        return self.scale > 0

    @property
    def space(self) -> Vectors:
        return Vectors(fields=(Field(name="x"),))

    def fit(self, values: Iterable[list[list[float]]]) -> Self:
        return self.replace(scale=max(abs(x) for value in values for row in value for x in row))

    def encode(self, value: list[list[float]]) -> Encoded:
        (row,) = value
        x = np.array(row, np.float32)[:, None]
        return Encoded(np.nan_to_num(x / self.scale), ~np.isnan(x))

    def decode(self, encoded: Encoded) -> list[list[float]]:
        return [np.where(encoded.known, encoded.x * self.scale, np.nan)[:, 0].tolist()]

    def rows(self, value: list[list[float]]) -> list[list[list[float]]]:
        return [[row] for row in value]

    def merge(self, values: Sequence[list[list[float]]]) -> list[list[float]]:
        return [row for value in values for row in value]

    def parts(self, path: Path) -> Mapping[str, Sequence[Any]]:
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def canvas(self, template: Any, length: int | None = None, gap: Any = None, blank: Any = None) -> Canvas:
        cells = np.zeros((length or 1, 1), bool)
        return Canvas(np.zeros((length or 1, 1), np.float32), cells, cells.copy())

    def size(self, value: list[list[float]]) -> int:
        return len(value[0])

    def cut(self, value: list[list[float]], begin: int, end: int) -> list[list[float]]:
        return [row[begin:end] for row in value]

    def count(self, value: list[list[float]]) -> float:
        return float(sum(len(row) for row in value))

    def extra_nats(self, value: Any) -> float:
        return self.count(value) * float(np.log(self.scale))

    def read(self, path: Path) -> Iterator[Any]:
        yield json.loads(path.read_text(encoding="utf-8"))

    def write(self, value: Any, path: Path) -> None:
        path.write_text(json.dumps(value), encoding="utf-8")

    def typed(self, text: str) -> Any:
        return json.loads(text)

    def show(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def as_json(self, value: Any) -> dict[str, Any]:
        return {"values": {str(i): row for i, row in enumerate(value)}}

    def examples(self) -> list[Any]:
        return [[[1.0, 2.0]], [[3.0]]]


Parts.members.pop("test-parts")  # registered for this file's tests only


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    monkeypatch.setitem(Codec.members, "test-parts", Parts)
    return Parts()


def test_a_file_may_hold_many_things_and_name_their_splits(tmp_path: Path, parts: Parts) -> None:
    held = {"train": [[[1, 2], [3, 4]], [[-8, 6, 2]]], "valid": [[[5]]], "test": [[[7, 7]], [[1], [2], [3]]]}
    (tmp_path / "a.parts").write_text(json.dumps(held), encoding="utf-8")
    prepared = corpus_of(str(tmp_path / "a.parts")).prepare(None, {})
    assert prepared.codec == Parts(scale=8)
    assert prepared.ends
    train, test = prepared.splits["train"], prepared.splits["test"]
    assert train.data.starts.tolist() == [0, 2, 4, 7]
    assert train.items is not None
    assert train.items.tolist() == [0, 0, 1]
    assert test.items is not None
    assert test.items.tolist() == [0, 1, 1, 1]
    assert prepared.splits["valid"].items is None
    rows = sequences(prepared, "test")
    voices = [row for row, owner in zip(rows, test.items, strict=True) if owner == 1]
    assert parts.merge(voices) == held["test"][1]
    assert train.units == 7
    assert train.extra_nats == pytest.approx(7 * np.log(8))
    held["dev"] = held.pop("valid")
    (tmp_path / "b.parts").write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(DataError, match="'dev' is none of") as caught:
        corpus_of(str(tmp_path / "b.parts")).prepare(None, {})
    assert "corpus.valid=dev" in caught.value.hint
    named = corpus_of(str(tmp_path / "b.parts"), {"valid": "dev"}).prepare(None, {})
    assert len(named.splits["valid"].data) == 1
    (tmp_path / "c.parts").write_text(json.dumps({"": [[[i]] for i in range(1, 21)]}), encoding="utf-8")
    shared = corpus_of(str(tmp_path / "c.parts")).prepare(None, {})
    assert [len(shared.splits[split].data) for split in SPLITS] == [18, 1, 1]


# ---- pairs --------------------------------------------------------------------------------------------------------

SOURCE = {"source": Given(source="column:en")}


def pairs(path: Path, count: int = 40) -> Path:
    rows = [{"en": f"dog {i}, a", "de": f"hund {i}, ein"} for i in range(count)]
    if path.suffix == ".jsonl":
        lines = [json.dumps(row) for row in rows]
    elif path.suffix == ".json":
        lines = [json.dumps(rows, indent=1)]
    elif path.suffix == ".tsv":
        lines = ["en\tde", *(f"{row['en']}\t{row['de']}" for row in rows)]
    else:
        sign = ";" if path.stem == "semicolons" else ","
        lines = [f"en{sign}de", *(f'"{row["en"]}"{sign}"{row["de"]}"' for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["p.tsv", "p.csv", "p.jsonl", "p.json", "semicolons.csv"])
def test_one_column_is_modelled_and_another_attended_to(tmp_path: Path, name: str) -> None:
    corpus = corpus_of(str(pairs(tmp_path / name)), {"text": "de"})
    prepared = corpus.prepare(None, SOURCE)
    assert prepared.ends
    assert prepared.given["source"].name == "characters"
    for split in SPLITS:
        texts = sequences(prepared, split)
        beside = conditions(prepared, split, "source")
        assert len(texts) == {"train": 36, "valid": 2, "test": 2}[split]
        assert [text.replace("hund", "dog").replace("ein", "a") for text in texts] == beside
    labels = corpus.prepare(None, {"label": Given(codec=Label(), source="column:en")})
    assert labels.given["label"].enters == "add"


def test_two_files_whose_lines_belong_together(tmp_path: Path) -> None:
    for name, word in [("a.de", "hund"), ("a.en", "dog"), ("v.de", "huhn"), ("v.en", "god")]:
        (tmp_path / name).write_text("".join(f"{word} {i}\n" for i in range(20)), encoding="utf-8")
    files = {"source": "a.en", "valid": "v.de", "valid_source": "v.en"}
    corpus = corpus_of(str(tmp_path / "a.de"), {key: str(tmp_path / name) for key, name in files.items()})
    prepared = corpus.prepare(None, corpus.declares())
    assert sequences(prepared, "valid") == [f"huhn {i}" for i in range(20)]
    assert conditions(prepared, "valid", "source")[3] == "god 3"
    assert len(sequences(prepared, "train")) + len(sequences(prepared, "test")) == 20
    (tmp_path / "a.en").write_text("dog\n" * 19, encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.en, line 19: the file ends after 19 lines"):
        corpus.prepare(None, corpus.declares())
    twice = corpus_of(str(tmp_path / "a.de"), {"source": str(tmp_path / "a.de")})
    with pytest.raises(ConfigError, match=r"corpus\.source: this is the file that is modelled"):
        twice.prepare(None, twice.declares())


@pytest.mark.parametrize("change", ["no last line end", "a mark", "CR LF"])
@pytest.mark.parametrize("name", ["a.de", "a.en"])
def test_two_files_may_end_their_lines_otherwise(tmp_path: Path, name: str, change: str) -> None:
    found = []
    for told in ("", change):
        for own, word in [("a.de", "hund"), ("a.en", "dog")]:
            text = "".join(f"{word} {i}\n" for i in range(20))
            changed = {"no last line end": text[:-1], "a mark": f"\ufeff{text}", "CR LF": text.replace("\n", "\r\n")}
            text = changed[told] if own == name and told else text
            (tmp_path / own).write_text(text, encoding="utf-8", newline="")
        corpus = corpus_of(str(tmp_path / "a.de"), {"source": str(tmp_path / "a.en")})
        prepared = corpus.prepare(None, corpus.declares())
        found.append([(sequences(prepared, split), conditions(prepared, split, "source")) for split in SPLITS])
    assert found[0] == found[1]


def test_the_encoding_of_the_other_of_two_files_is_said_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "a.de").write_text("".join(f"hund {i}\n" for i in range(20)), encoding="utf-8")
    (tmp_path / "a.en").write_text("".join(f"dog {i}\n" for i in range(20)), encoding="utf-16")
    corpus = corpus_of(str(tmp_path / "a.de"), {"source": str(tmp_path / "a.en")})
    with pytest.raises(DataError, match="looks like UTF-16") as caught:
        corpus.prepare(None, corpus.declares())
    assert "given.source.codec.encoding=utf-16" in caught.value.hint
    given = declared_by(corpus, {"source": {"codec": {"encoding": "utf-16"}}})
    assert conditions(corpus.prepare(None, given), "valid", "source")


def test_a_few_long_things_are_better_left_out_than_all_cut(tmp_path: Path) -> None:
    lines = [f"line {i}" for i in range(60)]
    (tmp_path / "a.txt").write_text("\n".join([*lines, "x" * 300]))
    settings = {"items": "line", "splits": [1, 0, 0]}
    prepared = corpus_of(str(tmp_path / "a.txt"), settings).prepare(None, {})
    (note,) = feed_notes(Feed(window=64), prepared)
    assert note.startswith("1 of 61 sequences is longer than 255 elements")
    assert "feed.order=whole feed.long=skip feed.window=8 leaves" in note, "seven letters and the end"
    (tmp_path / "a.txt").write_text("\n".join([*lines[:9], "x" * 300]))
    many_long = corpus_of(str(tmp_path / "a.txt"), settings).prepare(None, {})
    assert not feed_notes(Feed(window=64), many_long), "windows are what long texts are read in"
    (note,) = feed_notes(Feed(window=64), many_long, paired=True)
    assert note.startswith("1 of 10 sequences is longer than 255 elements, so all are read in parts of 64")
    assert "feed.order=whole feed.window=301 reads each" in note
    assert not feed_notes(Feed(window=301, order="whole"), many_long, paired=True)


@pytest.mark.parametrize(
    ("name", "text", "column", "message", "hint"),
    [
        ("a.tsv", "en\tde\nx\ty\n", "dd", "a.tsv: there is no column 'dd'", "de"),
        ("a.tsv", "en\tde\nx\t\n", "de", "line 2: column 'de' is empty", "leave the row out"),
        ("a.tsv", "en\tde\nx\n", "de", "line 2: the line has 1 cells", "every row"),
        ("a.tsv", "en\tde\n", "de", "a.tsv: there is nothing in it to learn from", "give some data"),
        ("a.tsv", "en\tde\nx\ty\n", "", "which column", "de"),
        ("a.tsv", "en\tde\nx\t  \n", "de", "line 2: column 'de' is empty", "leave the row out"),
        ("a.csv", 'en,de\n"x,y\n', "de", "line 2: the row is no CSV", "quotes"),
        ("a.csv", 'en,de\nu,v\n\n"x,y\nz,w\nz,w\n', "de", "line 4: the row is no CSV", "quotes"),
        ("a.tsv", "\udcff\udcfee\0n\0\t\0d\0e\0\n\0", "de", "a.tsv: the file is not UTF-8", "codec.encoding=utf-16"),
        ("a.tsv", "gr\udcf6n\trot\nx\ty\n", "grün", "line 1: the line is not UTF-8", "codec.encoding=latin-1"),
        ("a.jsonl", '{"de": "x"}\n{"de": "\udcf6"}\n', "de", "line 2: the line is not UTF-8", "codec.encoding=latin-1"),
        (
            "a.json",
            '[{"de": "x"},\n{"de": y}]\n',
            "de",
            "line 2: the file is no JSON: expecting value at c",
            "an array",
        ),
        ("a.jsonl", '{"de": "x"}\n{"de": \n', "de", "line 2: the line is no JSON", "one object a line"),
        ("a.jsonl", "[3]\n", "de", "line 1: the line is no object", "one object a line"),
        ("a.jsonl", '{"en": "x", "de": "y"}\n', "", "which column", "de"),
        ("a.json", '{"de": "x"}\n', "de", "the file holds no array", "an array of objects"),
        ("a.json", '[{"de": "x"},\n3]\n', "de", "line 2: the element of the array is no object", "an array of objects"),
        ("a.json", '[\n{"de":\n "x"},\n\n{"de": " "}]', "de", "line 5: column 'de' is empty", "leave the row out"),
        ("a.jsonl", '{"de": "x"}\n{"de": NaN}\n', "de", "line 2: column 'de' is empty", "leave the row out"),
        ("a.jsonl", '{"de": "x"}\n{"de": "\\ud83d"}\n', "de", "line 2: the text holds half a character", "escapes"),
        ("a.jsonl", f'{{"de": 1{"0" * 5000}}}\n', "de", "line 1: .* too many digits", "one object a line"),
    ],
)
def test_pairs_that_cannot_be_read(tmp_path: Path, name: str, text: str, column: str, message: str, hint: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises((DataError, ConfigError), match=message) as caught:
        corpus_of(str(tmp_path / name), {"text": column} if column else {}).prepare(None, {})
    assert hint in caught.value.hint


def test_lines_of_json_in_a_file_called_json_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("".join(json.dumps({"de": f"text {i}", "n": i}) + "\n" for i in range(3)))
    rows = corpus_of(str(tmp_path / "a.json"), {"text": "de", "splits": [1, 0, 0]}).prepare(None, {})
    assert sequences(rows, "train") == ["text 0", "text 1", "text 2"]


def test_what_was_left_out_is_said_where_too_little_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("en\tde\nx\ty\n" + "x\t\n" * 3)
    with pytest.raises(DataError, match="too little data to split: 1 thing") as caught:
        corpus_of(str(tmp_path / "a.tsv"), {"text": "de", "skip_bad": True}).prepare(None, {})
    assert caught.value.hint.startswith("3 of 4 rows are bad and left out")
    assert "corpus.splits" in caught.value.hint


def test_a_missing_source_column_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"given\.s\.source: 'de' is the column that is modelled"):
        corpus_of(str(pairs(tmp_path / "p.tsv")), {"text": "de"}).prepare(None, {"s": Given(source="column:de")})
    with pytest.raises(DataError, match="line 2: condition 's': there is no column 'fr'"):
        corpus_of(str(pairs(tmp_path / "p.tsv")), {"text": "de"}).prepare(None, {"s": Given(source="column:fr")})
    with pytest.raises(ConfigError, match=r"^source: there is no source 'colum:fr'") as caught:
        Given(source="colum:fr")
    assert "column" in caught.value.hint


@pytest.mark.parametrize("bad", ['"b": "x"', '"a": "\\ud83d"', '"a": "\udcff"'])
def test_a_row_whose_source_cannot_be_read_is_an_error_with_its_line_or_counted(tmp_path: Path, bad: str) -> None:
    rows = [f'{{"de": "text {i}", "a": "source {i}"}}' for i in range(40)]
    rows[7] = f'{{"de": "text 7", {bad}}}'
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8", errors="surrogateescape")
    settings, given = {"text": "de"}, {"s": Given(source="column:a")}
    with pytest.raises(DataError, match="line 8: ") as caught:
        corpus_of(str(path), settings).prepare(None, given)
    assert caught.value.hint.endswith("corpus.skip_bad=true passes over it")
    corpus = corpus_of(str(path), settings | {"skip_bad": True})
    prepared = corpus.prepare(None, given)
    assert [note for note in prepared.notes if note.startswith("1 of 40 rows are bad and left out")]
    for split in SPLITS:  # baselines read the same texts
        own = sum(len(text) for text in corpus.values(prepared.codec, split, given=prepared.wanted))
        assert own == prepared.splits[split].units


def test_what_is_wrong_beside_the_lines_of_a_file_is_said_of_the_other_file(tmp_path: Path) -> None:
    (tmp_path / "a.de").write_text("".join(f"text {i}\n" for i in range(40)))
    sources = [b"source %d" % i for i in range(40)]
    sources[3], sources[5] = b"\xff\xfe", b"   "
    (tmp_path / "a.en").write_bytes(b"\n".join(sources))
    settings = {"source": str(tmp_path / "a.en")}
    with pytest.raises(DataError, match=r"a\.en, line 4: condition 'source': the text is not UTF-8"):
        corpus_of(str(tmp_path / "a.de"), settings).prepare(None, {"source": Given(source="pair")})
    corpus = corpus_of(str(tmp_path / "a.de"), settings | {"skip_bad": True})
    notes = corpus.prepare(None, {"source": Given(source="pair")}).notes
    assert "1 of 39 things has no source" in notes
    (tmp_path / "a.en").write_text("\n".join(f"source {i}" for i in range(40)), encoding="utf-16")
    with pytest.raises(DataError, match=r"a\.en: the file is not UTF-8, and looks like UTF-16"):
        corpus.prepare(None, {"source": Given(source="pair")})


class Doubled(Source, name="test-doubled"):
    """A source of one's own."""

    def value(self, item: Item, codec: Codec, *, aligned: bool) -> Any:
        return codec.typed(f"{item.content} {item.content}")


Doubled.members.pop("test-doubled")


def test_a_source_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Source.members, "test-doubled", Doubled)
    corpus = corpus_of(str(pairs(tmp_path / "p.tsv")), {"text": "de"})
    prepared = corpus.prepare(None, {"twice": Given(source=f"{__name__}:Doubled", codec=Characters())})
    assert Given(source=f"{__name__}:Doubled").source == "test-doubled"
    assert conditions(prepared, "test", "twice") == [f"{text} {text}" for text in sequences(prepared, "test")]


# ---- aligned conditions, context ----------------------------------------------------------------------------------


def test_columns_that_are_not_modelled_stand_beside_each_row(tmp_path: Path) -> None:
    rows = [f"2024-01-{i + 1:02},{i},{'warm' if i % 3 else 'cold'},{i * 0.5}" for i in range(20)]
    (tmp_path / "t.csv").write_text("\n".join(["date,load,state,heat", *rows, ""]), encoding="utf-8")
    given = {
        "state": Given(source="column:state", enters="align"),
        "heat": Given(source="column:heat", enters="align"),
    }
    prepared = corpus_of(str(tmp_path / "t.csv"), {"splits": [0.5, 0.25, 0.25]}).prepare(None, given)
    assert prepared.codec.columns == ("load",)  # type: ignore[attr-defined]
    assert prepared.given["state"] == Label(names=("cold", "warm"))
    split = prepared.splits["test"]
    assert set(split.aligned) == {"state", "heat"}
    assert conditions(prepared, "test", "state") == [tuple("warm" if i % 3 else "cold" for i in range(15, 20))]
    np.testing.assert_allclose(conditions(prepared, "test", "heat")[0].values[:, 0], np.arange(15, 20) * 0.5, rtol=1e-6)
    batch = Packed(split.data, prepared.codec.space, split.given, split.aligned).window(np.array([2]), 2)
    assert batch.given["state"].x.tolist() == [[1, 0]]


class Chunks(Corpus, name="test-chunks"):
    """Things whose first two characters are context."""

    @property
    def place(self) -> str:
        return "chunks"

    def default_codec(self) -> Codec:
        return Characters()

    def things(self, codec: Codec, given: Mapping[str, Given]) -> Items:
        held = [
            Item(str(i), "ab" + "cd" * (i + 1), hashlib.sha256(bytes([i])).hexdigest(), context=2) for i in range(4)
        ]
        return Items(lambda: held, "chunks", 20, ends=True, whole=True)


Chunks.members.pop("test-chunks")


def test_context_is_read_and_not_counted() -> None:
    prepared = Chunks(splits=(1, 0, 0)).prepare(None, {})
    train = prepared.splits["train"]
    assert train.data.shown is not None
    assert train.data.shown.sum() == 8
    assert train.units == 2 + 4 + 6 + 8
    batch = Packed(train.data, Tokens(size=9, ends=True), {}).window(np.array([0]), 3)
    assert batch.wanted.tolist() == [[False, False, True]]
    assert any("nothing is kept for validation" in note for note in prepared.notes)


class Repeated(Chunks, name="test-repeated"):
    """One that forgets to say what its content follows from."""

    where = ("data",)

    data: str = "ab"
    times: int = 3

    def things(self, codec: Codec, given: Mapping[str, Given]) -> Items:
        return Items(lambda: [Item(str(i), self.data * self.times) for i in range(4)], ends=True, whole=True)


Repeated.members.pop("test-repeated")


def test_settings_of_a_corpus_are_part_of_what_its_encodings_are_known_by() -> None:
    sizes = [
        len(Repeated(splits=(1, 0, 0), **own).prepare(None, {}).splits["train"].data.x)
        for own in ({}, {"times": 5}, {"data": "abc"}, {})
    ]
    assert sizes == [24, 40, 36, 24]


def test_an_encoding_that_was_killed_goes_on(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"word {i % 977} and\n" for i in range(250_000))
    (tmp_path / "a.txt").write_text(text)
    monkeypatch.setattr("seqloom.corpora.prepare.LARGE", 1)
    corpus, codec = corpus_of(str(tmp_path / "a.txt")), Words().fit([text[:100_000]])
    calls: list[int] = []
    encode = Words.encode

    def counted(self: Words, value: str) -> Encoded:
        if len(value) > 1 << 16:
            calls.append(len(value))
            if len(calls) == 3:
                raise KeyboardInterrupt
        return encode(self, value)

    monkeypatch.setattr(Words, "encode", counted)
    with pytest.raises(KeyboardInterrupt):
        corpus.prepare(codec, {})
    (unfinished,) = (cache / "shards").glob(".unfinished-*")
    with (unfinished / "symbols.bin").open("ab") as file:  # killed while it wrote
        file.write(b"torn")
    prepared = corpus.prepare(codec, {})
    pieces = len(calls) - 1
    assert not list((cache / "shards").glob(".unfinished-*"))
    monkeypatch.setenv("SEQLOOM_CACHE", str(tmp_path / "another"))
    calls.clear()
    monkeypatch.setattr("seqloom.corpora.prepare.LARGE", 1 << 40)
    calls += [0] * 3
    whole = corpus.prepare(codec, {})
    assert len(calls) - 3 == pieces  # none was encoded twice
    for split in SPLITS:
        assert np.array_equal(prepared.splits[split].data.x, whole.splits[split].data.x)
        assert prepared.splits[split].fingerprint == whole.splits[split].fingerprint
        assert prepared.splits[split].units == whole.splits[split].units
    assert "".join(chain.from_iterable(sequences(prepared, split) for split in SPLITS)) == text


def test_another_release_reads_the_data_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    before = shards.key_of("data")
    assert shards.key_of("data") == before
    shards._code.cache_clear()
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"another release")
    after = shards.key_of("data")
    shards._code.cache_clear()
    assert after != before


def test_the_same_file_at_another_place_is_not_encoded_anew(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("abcd" * 20)
    made = []
    for name in ("one", "other"):
        corpus_of(str(tmp_path / name / "a.txt")).prepare(None, {})
        made.append(sorted(path.name for path in cache_folder().iterdir()))
    assert made[0] == made[1]


def test_a_size_that_is_not_known_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert describe(Chunks(splits=(1, 0, 0)).prepare(Bytes(), {}))["bytes"] == 20
    known = Chunks.things
    monkeypatch.setattr(Chunks, "things", lambda *asked: replace(known(*asked), size=0, identity="chunks anew"))
    assert describe(Chunks(splits=(1, 0, 0)).prepare(Bytes(), {}))["bytes"] is None


# ---- tables -------------------------------------------------------------------------------------------------------


def test_a_table_without_a_number_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("date,a,b\n" + "".join(f"2024-01-{i:02},,\n" for i in range(1, 29)), "utf-8")
    with pytest.raises(DataError, match=r"t\.csv: no cell of the training split has a value"):
        corpus_of(str(tmp_path / "t.csv")).prepare(None, {})


def test_all_of_other_data_can_be_a_test_split(tmp_path: Path) -> None:
    for name in ("a", "b"):
        rows = "".join(f"2024-01-{i:02},{i}\n" for i in range(1, 29))
        (tmp_path / f"{name}.csv").write_text(f"date,a\n{rows}", encoding="utf-8")
    prepared = corpus_of(str(tmp_path / "a.csv")).prepare(None, {})
    whole = corpus_of(str(tmp_path / "b.csv"), {"splits": [0, 0, 1]}).prepare(prepared.codec, {})
    assert len(whole.splits["test"].data.x) == 28
    assert whole.facts["season"] is None


@pytest.mark.parametrize("name", ["id", "year", "time"])
def test_a_column_that_counts_the_rows_is_no_series(tmp_path: Path, name: str) -> None:
    tail = ".0" if name == "time" else ""
    first = 1_700_000_000 if name == "time" else 1990
    rows = "".join(f"{i * 7 % 5},{first + i}{tail}\n" for i in range(40))
    (tmp_path / "t.csv").write_text(f"a,{name}\n{rows}", encoding="utf-8")
    prepared = corpus_of(str(tmp_path / "t.csv")).prepare(None, {})
    assert prepared.codec.columns == ("a",)  # type: ignore[attr-defined]
    assert any(f"column {name!r}" in note for note in prepared.notes)
    (value,) = corpus_of(str(tmp_path / "t.csv")).full(prepared.codec)
    assert prepared.codec.canvas(value, 1).origin["dates"][-1] == f"{first + 40}{tail}"


def test_a_column_called_id_that_does_not_count_is_said(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,a\n" + "".join(f"{i % 3},{i}\n" for i in range(40)), encoding="utf-8")
    prepared = corpus_of(str(tmp_path / "t.csv")).prepare(None, {})
    assert prepared.codec.columns == ("id", "a")  # type: ignore[attr-defined]
    assert any("'id' is modelled" in note for note in prepared.notes)


def test_rows_of_another_step_are_said_and_a_forecast_of_them_refused(tmp_path: Path) -> None:
    def rows(minutes: int) -> str:
        return "".join(f"2024-01-01 {i * minutes // 60:02}:{i * minutes % 60:02},{i}\n" for i in range(24))

    (tmp_path / "hours.csv").write_text(f"date,a\n{rows(60)}", encoding="utf-8")
    (tmp_path / "quarters.csv").write_text(f"date,a\n{rows(15)}", encoding="utf-8")
    codec = corpus_of(str(tmp_path / "hours.csv")).prepare(None, {}).codec
    other = corpus_of(str(tmp_path / "quarters.csv"), {"splits": [0, 0, 1]}).prepare(codec, {})
    assert any("15 minutes apart, those of the training data 1 hour" in note for note in other.notes)
    with pytest.raises(DataError, match="15 minutes apart, those of the training data 1 hour"):
        codec.canvas(codec.whole(tmp_path / "quarters.csv"), 4)


def test_what_is_typed_is_read_as_a_file_is() -> None:
    assert Characters().typed("a\r\nb") == "a\nb"
    table = Series().typed("date,a,b\n2024-01-01,1,2\n\n2024-01-02,3,\n")
    assert table.values[:, 0].tolist() == [1, 3]
    with pytest.raises(DataError, match="line 5: column 'b' is text"):
        Series().typed("date,a,b\n2024-01-01,1,2\n\n2024-01-02,3,\n2024-01-03,3,x\n")
    fitted = Series().fit([table])
    assert fitted.show(fitted.typed("date,a,b\n2024-01-01,1,2\n\n2024-01-02,3,4\n")).decode().count("\n\n") == 1
    with pytest.raises(DataError, match="no column 'a': this is no table"):
        fitted.typed('a text, that says "nothing\nand goes on\n')


def test_a_file_that_has_grown_has_other_fingerprints(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a\n" + "".join(f"{i}\n" for i in range(40)), encoding="utf-8")
    corpus = corpus_of(str(path))
    prepared = corpus.prepare(None, {})
    then = {name: split.fingerprint for name, split in prepared.splits.items()}
    assert corpus.fingerprints(prepared.codec) == then
    with path.open("a", encoding="utf-8") as file:
        file.write("1\n2\n")
    assert corpus_of(str(path)).fingerprints(prepared.codec) != then


def test_empty_standard_input_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import io
    import sys
    from types import SimpleNamespace

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    with pytest.raises(DataError, match=r"^standard input: it is empty"):
        corpus_of("-").prepare(None, {})
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"ab\xff" * 30)))
    with pytest.raises(DataError, match=r"^standard input: the text is not UTF-8"):
        corpus_of("-").prepare(None, {})


# ---- code that is not the package's own ---------------------------------------------------------------------------

PLUGIN = """
from seqloom.codecs.text import Bytes
from seqloom.corpora.sources import Source


class Shifted(Bytes, name="shifted-of-a-test"):
    def encode(self, value):
        return super().encode(bytes((byte + SHIFT) % 256 for byte in value))


class Said(Source, name="said-of-a-test"):
    def value(self, item, codec, *, aligned):
        return codec.typed(WORD)
"""


def test_what_a_users_own_code_makes_of_the_data_follows_that_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "a.txt").write_text("abc" * 40, encoding="utf-8")
    corpus = corpus_of(str(tmp_path / "a.txt"))
    own = tmp_path / "shiftedoftest.py"
    try:
        for shift, word in ((0, "one"), (1, "other")):
            own.write_text(f"SHIFT, WORD = {shift}, {word!r}\n{PLUGIN}", encoding="utf-8")
            sys.modules.pop("shiftedoftest", None)
            module = importlib.import_module("shiftedoftest")
            given = {"word": Given(codec=Label(), source="said-of-a-test")}
            prepared = corpus.prepare(module.Shifted(), given)
            assert prepared.splits["train"].data.x[0] == ord("a") + shift
            assert conditions(prepared, "train", "word") == [word]
            assert len(code_of(module.Shifted(), {"codec": [Label()]})) == 1
    finally:
        del Codec.members["shifted-of-a-test"], Source.members["said-of-a-test"]
    assert code_of(Bytes(), Label(), corpus) == [], "the package's own members are covered by its format"


# ---- real data ----------------------------------------------------------------------------------------------------


def test_peptides_and_translations(data_dir: Path) -> None:
    peptides = data_dir / "amp_peptides" / "training_sequences_noC.csv"
    prepared = corpus_of(str(peptides), {"items": "line"}).prepare(None, {})
    assert sum(len(split.data) for split in prepared.splits.values()) == 1554
    folder = data_dir / "multi30k_en_de"
    settings = {"source": "train.en.gz", "valid": "val.de.gz", "valid_source": "val.en.gz"}
    settings |= {"test": "test_2016_flickr.de.gz", "test_source": "test_2016_flickr.en.gz"}
    corpus = corpus_of(str(folder / "train.de.gz"), {key: str(folder / name) for key, name in settings.items()})
    pairs = corpus.prepare(None, corpus.declares())
    assert [len(pairs.splits[split].data) for split in SPLITS] == [29_000, 1_014, 1_000]
    assert conditions(pairs, "test", "source")[0] == "A man in an orange hat starring at something."
    assert sequences(pairs, "test")[0] == "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt."


def test_a_frame_is_data_as_its_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same splits as from a file; a forecast goes on from its end, and errors call it the frame."""
    monkeypatch.chdir(tmp_path)
    hours = [datetime(2024, 3, 1) + timedelta(hours=i) for i in range(120)]
    columns = {"date": hours, "load": [float(i % 24) for i in range(120)], "sun": [None, *range(1, 120)]}
    frame = polars.DataFrame(columns)
    frame.write_csv("load.csv", datetime_format="%Y-%m-%d %H:%M:%S")
    small = {"backbone": {"width": 8, "depth": 1}, "feed": {"horizon": 3}, "calibrate": False}
    kinds = ("load.csv", frame, frame.lazy(), columns)
    trained = [seqloom.train(kind, model="lstm", steps=1, **small) for kind in kinds]
    assert len({str(sorted(run.fingerprints.items())) for run in trained}) == 1
    assert trained[1].path.name == "frame-lstm"
    histories = [run.recipe.corpus.full(run.codec)[0] for run in trained]
    assert [one.dates[-1] for one in histories] == ["2024-03-05 23:00:00"] * len(kinds)
    with pytest.raises(DataError, match=r"^the frame, line 2: column 'b' is text") as caught:
        seqloom.train({"a": [1, 2, 3], "b": ["1", "many", "3"]}, steps=1)
    assert caught.value.hint
    with pytest.raises(DataError, match="one length"):
        seqloom.train({"a": [1, 2], "b": [1]}, steps=1)


def rows_in(folder: Path, form: str, rows: Sequence[Mapping[str, str]]) -> Path:
    """A file with these rows."""
    path = folder / f"rows.{form}"
    if form == "parquet":
        polars.DataFrame(rows).write_parquet(path)
    elif form == "tsv":
        path.write_text("".join("\t".join(cells) + "\n" for cells in (rows[0], *(row.values() for row in rows))))
    else:
        lines = [json.dumps(row) for row in rows]
        path.write_text(f"[{', '.join(lines)}]" if form == "json" else "".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.parametrize("form", ["tsv", "jsonl", "json", "parquet"])
def test_a_column_that_no_row_has_is_a_wrong_name_and_no_bad_row(tmp_path: Path, form: str) -> None:
    path = rows_in(tmp_path, form, [{"text": f"a{i}", "fr": "b", "en": "c", "kind": "d"} for i in range(20)])
    for name, hint in (("kinds", "did you mean 'kind'?"), ("english", "those that are there: en, kind, fr")):
        corpus = Pairs(path=str(path), text="text")
        with pytest.raises(DataError, match=f"condition 'own': there is no column '{name}'") as caught:
            corpus.prepare(None, declared_by(corpus, {"own": {"source": f"column:{name}"}}))
        assert caught.value.hint == hint
    with pytest.raises(DataError, match="there is no column 'texts'") as caught:
        Pairs(path=str(path), text="texts").prepare(None, {})
    assert caught.value.hint == "did you mean 'text'?"


def test_a_column_that_one_row_lacks_is_a_bad_row(tmp_path: Path) -> None:
    for place in (0, 7):
        rows = [{"text": f"a{i}", "en": "c"} | ({} if i == place else {"kind": "d"}) for i in range(20)]
        corpus = Pairs(path=str(rows_in(tmp_path, "jsonl", rows)), text="text")
        with pytest.raises(DataError, match=f"line {place + 1}: .*no column 'kind'") as caught:
            corpus.prepare(None, declared_by(corpus, {"own": {"source": "column:kind"}}))
        assert caught.value.hint.endswith("corpus.skip_bad=true passes over it")


def test_settings_of_the_codec_of_a_condition_are_laid_upon_the_one_that_it_has_by_default(tmp_path: Path) -> None:
    path = rows_in(tmp_path, "tsv", [{"text": "ab", "en": "\u00e4", "size": f"{i}"} for i in range(20)])
    corpus = Pairs(path=str(path), text="text")

    def codec_of(source: str, corpus: Corpus = corpus, **settings: Any) -> Codec | None:
        return declared_by(corpus, {"own": {"source": source, "codec": settings}})["own"].codec

    assert codec_of("column:en", normalise=("lower",)) == Characters(normalise=("lower",))
    assert codec_of("column:size", mean=2.0) == Number(mean=2.0)
    assert codec_of("length", mean=2.0) == Number(mean=2.0)
    lines = corpus_of(str(path), {"items": "line"})
    assert codec_of("folder", lines, names=("a", "b")) == Label(names=("a", "b"))
    with pytest.raises(ConfigError, match=r"given\.own\.codec\.meam: there is no such setting of number"):
        codec_of("column:size", meam=2.0)
    with pytest.raises(ConfigError, match=r"given\.own\.source"):
        codec_of("", mean=2.0)
