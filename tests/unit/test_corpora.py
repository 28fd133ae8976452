"""Corpora: what DATA means, splits, shards, conditions, and what is said about the data."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import shutil
import sys
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from seqloom import planning
from seqloom.codecs import text as texts_of
from seqloom.codecs.label import Label
from seqloom.codecs.pieces import Bpe
from seqloom.codecs.series import Series
from seqloom.codecs.text import Bytes, Characters
from seqloom.core.config import make, members_of
from seqloom.core.errors import ConfigError, DataError
from seqloom.corpora import division, shards
from seqloom.corpora.base import SPLITS, Corpus, Given, Item, Items, Prepared, describe
from seqloom.corpora.builtin import BUILTINS
from seqloom.corpora.files import Files, corpus_of
from seqloom.corpora.readers import codec_of_text
from seqloom.corpora.toys import Labels, Markov
from seqloom.sequence.canvas import Encoded
from seqloom.sequence.space import Tokens

POEM = "shall I compare thee to a summer's day?\n" * 50


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for one test."""
    monkeypatch.setenv("SEQLOOM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def text_of(prepared: Prepared, split: str) -> list[object]:
    """The sequences of a split, decoded."""
    data = prepared.splits[split].data
    pieces = [data.x[a:b] for a, b in zip(data.starts, data.starts[1:], strict=False)]
    return [prepared.codec.decode(Encoded(x.astype(np.int64), np.ones(len(x), bool))) for x in pieces]


def folder_of(path: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(text.encode())
    return path


# ---- one text -----------------------------------------------------------------------------------------------------


def test_one_file_is_a_stream_split_by_position(tmp_path: Path) -> None:
    path = tmp_path / "poem.txt"
    path.write_text(POEM, encoding="utf-8")
    corpus = corpus_of(str(path))
    prepared = corpus.prepare(None, {})
    assert isinstance(corpus, Files)
    assert not prepared.ends
    assert prepared.codec == Characters(alphabet="".join(sorted(set(POEM))))
    sizes = [len(prepared.splits[name].data.x) for name in SPLITS]
    assert sizes == [1800, 100, 100]
    assert "".join(text_of(prepared, name)[0] for name in SPLITS) == POEM  # type: ignore[misc]
    for name, text in zip(SPLITS, (POEM[:1800], POEM[1800:1900], POEM[1900:]), strict=True):
        split = prepared.splits[name]
        assert split.data.x.dtype == np.uint8
        assert split.units == len(text)
        assert split.extra_nats == 0
        assert split.fingerprint == hashlib.sha256(text.encode()).hexdigest()
        assert list(corpus.values(prepared.codec, name)) == [text]
    assert list(corpus.values(prepared.codec, "train", last=7)) == [POEM[1793:1800]]
    assert corpus.full(prepared.codec) == [POEM]


def test_the_alphabet_is_of_the_training_split_only(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("ab" * 45 + "aébaé", encoding="utf-8")
    prepared = corpus_of(str(path), {"splits": [0.9, 0.0, 0.1]}).prepare(None, {})
    assert prepared.codec == Characters(alphabet="ab")
    test = prepared.splits["test"]
    assert test.units == len("babaébaé".encode())
    assert test.extra_nats == pytest.approx(2 * 2 * 8 * math.log(2))
    assert not len(prepared.splits["valid"].data)
    assert any("characters of the test split" in note and ": 2," in note for note in prepared.notes)
    assert describe(prepared)["unknown"] == {"train": 0, "valid": 0, "test": 2}


def test_marks_and_line_ends_are_mended_and_said(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbf" + POEM.replace("\n", "\r\n").encode())
    prepared = corpus_of(str(path)).prepare(None, {})
    assert "".join(text_of(prepared, name)[0] for name in SPLITS) == POEM  # type: ignore[misc]
    assert "byte-order mark" in prepared.notes[0]
    assert "CR LF" in prepared.notes[1]
    raw = corpus_of(str(path)).prepare(Bytes(), {})
    assert b"".join(text_of(raw, name)[0] for name in SPLITS) == path.read_bytes()  # type: ignore[misc]
    assert raw.notes == ()
    for name in SPLITS:  # whatever reads it, a file has the same splits
        assert raw.splits[name].fingerprint == prepared.splits[name].fingerprint


@pytest.mark.parametrize(("name", "said"), [("a.log", True), ("a.txt", False), ("names", False)])
def test_a_file_that_no_codec_has_the_suffix_of_is_text_and_it_is_said(tmp_path: Path, name: str, said: bool) -> None:
    (tmp_path / name).write_text("0123456789" * 20)
    notes = corpus_of(str(tmp_path / name)).prepare(None, {}).notes
    assert any("read as text (codec=characters)" in note for note in notes) is said


def test_more_than_a_thousand_characters_are_read_as_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 1500)))
    path.write_text(text, encoding="utf-8")
    for _ in range(2):
        prepared = corpus_of(str(path)).prepare(None, {})
        assert isinstance(prepared.codec, Bytes)
        assert any("1350 distinct characters" in note and "bytes" in note for note in prepared.notes)
        assert sum(split.units for split in prepared.splits.values()) == 3 * 1500
    wide = corpus_of(str(path)).prepare(Characters(most=2000), {})
    assert wide.splits["train"].data.x.dtype == np.uint16


def test_much_text_of_words_is_read_in_pieces_where_nobody_names_a_codec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqloom.codecs.text.LARGE", 3000)
    texts = {
        "words": "the cat sat on the mat\n" * 200,
        "few": "the cat sat on the mat\n" * 20,
        "no_words": "CCOCCN\n" * 1000,
        "script": "".join(map(chr, range(0x4E00, 0x4E00 + 1500))) * 2,
    }
    found = {}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
        prepared = corpus_of(str(tmp_path / f"{name}.txt")).prepare(None, {})
        found[name] = prepared.codec.name
        assert any("codec=bpe" in note for note in prepared.notes) is (prepared.codec.name == "bpe")
    assert found == {"words": "bpe", "few": "characters", "no_words": "characters", "script": "bpe"}
    named = corpus_of(str(tmp_path / "words.txt")).prepare(Characters(), {})
    assert isinstance(named.codec, Characters)
    for name in SPLITS:
        assert named.splits[name].units == corpus_of(str(tmp_path / "words.txt")).prepare(None, {}).splits[name].units
    corpus = corpus_of(str(tmp_path / "few.txt"), {"source": str(tmp_path / "words.txt"), "valid": "", "test": ""})
    (tmp_path / "few.txt").write_text("miau\n" * 200)
    pairs = corpus.prepare(None, corpus.declares())
    assert (pairs.codec.name, pairs.given["source"].name) == ("characters", "bpe")
    talk = json.dumps({"messages": [{"role": "user", "content": texts["words"][:-1]}] * 2})
    (tmp_path / "chat.jsonl").write_text(f"{talk}\n" * 20)
    codec = corpus_of(str(tmp_path / "chat.jsonl")).prepare(None, {}).codec
    assert codec.inner.name == "bpe"  # type: ignore[attr-defined]


def test_a_training_that_begins_with_weights_reads_conditions_as_they_were_read() -> None:
    pieces, alphabet = Bpe(most=300).fit(["the cat sat\n" * 50]), Characters().fit(["abc"])
    codecs = {"a": pieces, "b": alphabet, "c": Label(), "d": pieces}
    declared = {name: Given(codec=Characters() if name == "d" else None) for name in "abcde"}
    found = planning._read_as_in(SimpleNamespace(codecs=codecs), declared)  # type: ignore[arg-type]
    assert [found[name].codec for name in "abcde"] == [pieces, Characters(), None, Characters(), None]


def test_standard_input_is_read_once_into_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for make_corpus in (lambda: corpus_of("-"), lambda: make(Corpus, {"name": "files", "path": "-"})):  # type: ignore[type-abstract]
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(POEM.encode())))
        corpus = make_corpus()
        assert len(corpus.prepare(None, {}).splits["train"].data.x) == 1800
        assert corpus.full(Characters()) == [POEM]
    assert len(list((cache / "spool").iterdir())) == 1
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    with pytest.raises(DataError, match="empty"):
        corpus_of("-").prepare(None, {})


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "empty"), (b"\xef\xbb\xbf", "empty"), (b"x", "too little data"), (b"ab\xff" * 9, "offset 2")],
)
def test_files_that_cannot_be_learned_from(tmp_path: Path, cache: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        corpus_of(str(path)).prepare(None, {})
    assert caught.value.hint
    assert not list(cache.glob("shards/*"))


# ---- documents ----------------------------------------------------------------------------------------------------


def test_a_folder_holds_documents_shared_out_by_name(tmp_path: Path) -> None:
    texts = {f"{'ab'[i % 2]}/{i:02}.txt": f"text {i}." for i in range(40)}
    root = folder_of(tmp_path / "texts", texts | {"a/none.txt": "", ".hidden/x.txt": "no", "a/notes.md": "no"})
    (root / "a" / "40.txt.gz").write_bytes(gzip.compress(b"text 40."))
    corpus = corpus_of(str(root), {"splits": [0.5, 0.25, 0.25]})
    prepared = corpus.prepare(None, {"label": Given(source="folder")})
    assert prepared.ends
    by_split = {name: text_of(prepared, name) for name in SPLITS}
    assert [len(by_split[name]) for name in SPLITS] == [20, 10, 11]
    assert sorted(map(str, chain.from_iterable(by_split.values()))) == sorted([*texts.values(), "text 40."])
    assert any("none.txt is empty" in note for note in prepared.notes)
    assert prepared.given == {"label": Label(names=("a", "b"))}
    for name in SPLITS:
        labels = prepared.splits[name].given["label"]
        assert len(labels) == len(by_split[name])
        assert [int(str(text)[5:-1]) % 2 for text in by_split[name]] == labels.x.tolist()
        assert list(corpus.values(prepared.codec, name)) == by_split[name]
    moved = shutil.copytree(root, tmp_path / "elsewhere")
    again = corpus_of(str(moved), {"splits": [0.5, 0.25, 0.25]}).prepare(None, {})
    assert {name: text_of(again, name) for name in SPLITS} == by_split


def test_few_documents_are_each_split_by_position(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "texts", {f"{i}.txt": str(i) * 100 for i in range(3)})
    prepared = corpus_of(str(root)).prepare(None, {})
    assert prepared.ends
    assert [len(prepared.splits[name].data) for name in SPLITS] == [3, 3, 3]
    assert prepared.splits["train"].data.starts.tolist() == [0, 90, 180, 270]
    assert any("each is split by position" in note for note in prepared.notes)


def test_a_new_label_has_the_null_condition(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "new", {f"other/{i}.txt": f"text {i}." for i in range(4)})
    given = {"label": Given(source="folder", codec=Label(names=("known",)))}
    corpus = corpus_of(str(root), {"splits": [0, 0, 1]})
    prepared = corpus.prepare(Characters(alphabet="tex 0123."), given)
    assert prepared.splits["test"].given["label"].starts.tolist() == [0] * 5
    assert any("label 'other' of the test split" in note for note in prepared.notes)
    with pytest.raises(ConfigError, match=r"given\.label\.source"):
        corpus.prepare(None, {"label": Given(source="column:x")})


# ---- the cache ----------------------------------------------------------------------------------------------------


def test_text_is_encoded_once_and_a_torn_shard_again(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "poem.txt"
    path.write_text(POEM, encoding="utf-8")
    first = corpus_of(str(path)).prepare(None, {})
    (folder,) = (cache / "shards").iterdir()
    assert {item.name for item in folder.iterdir()} == {
        "index.json",
        *(f"{name}.{what}.bin" for name in SPLITS for what in ("x", "starts")),
    }
    encodings: list[str] = []
    encode = Characters.encode
    monkeypatch.setattr(Characters, "encode", lambda self, value: encodings.append(value) or encode(self, value))
    with monkeypatch.context() as patch:
        patch.setattr(texts_of, "distinct", lambda pieces: pytest.fail("fitted twice"))
        again = corpus_of(str(path)).prepare(None, {})
    assert not encodings
    assert again.codec == first.codec
    assert again.notes == first.notes
    assert again.facts == first.facts
    corpus_of(str(path)).prepare(first.codec, {})  # as a resumed run asks
    assert not encodings
    with (folder / "train.x.bin").open("r+b") as file:
        file.truncate(1000)
    mended = corpus_of(str(path)).prepare(None, {})
    assert encodings
    np.testing.assert_array_equal(mended.splits["train"].data.x, first.codec.encode(POEM).x[:1800])
    (folder / "index.json").write_text("{", encoding="utf-8")
    corpus_of(str(path)).prepare(None, {})
    assert [item.name for item in (cache / "shards").iterdir()] == [folder.name]
    path.write_text(POEM + "!", encoding="utf-8")
    changed = corpus_of(str(path)).prepare(None, {})
    assert changed.splits["test"].fingerprint != first.splits["test"].fingerprint
    assert len(list((cache / "shards").iterdir())) == 2


def test_shards_stand_whole_or_not_at_all(cache: Path) -> None:
    class Stop(Exception):
        pass

    def write(failing: bool) -> None:
        with shards.writing("key") as writer:
            writer.append("x", np.arange(3, dtype=np.uint16))
            writer.append("x", np.arange(2, dtype=np.uint16))
            writer.append("none", np.zeros((0, 2), np.float32))
            if failing:
                raise Stop
            writer.finish({"units": 5})

    with pytest.raises(Stop):
        write(failing=True)
    assert shards.read("key") is None
    assert not list((cache / "shards").iterdir())
    write(failing=False)
    write(failing=False)  # another writer that was late
    arrays, facts = shards.read("key") or ({}, {})
    assert arrays["x"].tolist() == [0, 1, 2, 0, 1]
    assert arrays["none"].shape == (0, 2)
    assert facts == {"units": 5}
    assert not arrays["x"].flags.writeable
    assert [shards.smallest(n) for n in (1, 256, 257, 70_000)] == [np.uint8, np.uint8, np.uint16, np.uint32]


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEQLOOM_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="the cache cannot be written") as caught:
        make(Corpus, {"name": "builtin", "data": "markov", "size": 100}).prepare(None, {})  # type: ignore[type-abstract]
    assert "SEQLOOM_CACHE" in caught.value.hint


# ---- series -------------------------------------------------------------------------------------------------------


def table(rows: int, offset: float = 0.0, word: str = "") -> str:
    lines = [f"2024-01-{i + 1:02},{offset + i},{'' if i == 3 else -i}{',' + word if word else ''}" for i in range(rows)]
    return "\n".join([f"date,a,b{',site' if word else ''}", *lines, ""])


def test_a_table_is_one_series_split_by_position(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(table(20), encoding="utf-8")
    corpus = corpus_of(str(path), {"splits": [0.5, 0.25, 0.25]})
    prepared = corpus.prepare(None, {})
    assert isinstance(corpus, Files)
    codec = prepared.codec
    assert isinstance(codec, Series)
    assert codec.means[0] == pytest.approx(np.arange(10).mean())
    assert codec.scales[0] == pytest.approx(np.arange(10).std())
    assert codec.start == "2024-01-01"
    assert not prepared.ends
    train = prepared.splits["train"]
    assert train.data.x.dtype == np.float32
    assert [len(prepared.splits[name].data.x) for name in SPLITS] == [10, 5, 5]
    assert train.data.known is not None
    assert not train.data.known[3, 1]
    assert prepared.splits["test"].data.known is None
    assert train.units == 19
    assert train.extra_nats == pytest.approx(10 * math.log(codec.scales[0]) + 9 * math.log(codec.scales[1]))
    (value,) = corpus.values(codec, "test")
    np.testing.assert_array_equal(value.values[:, 0], np.arange(15, 20))
    assert value.dates[0] == "2024-01-16"
    (whole,) = corpus.full(codec)
    assert codec.show(whole).decode() == table(20)
    facts = json.loads(json.dumps(describe(prepared)))
    assert [column["missing"] for column in facts["columns"]] == [0, 1]
    assert facts["date"]["step"] == "1 day"
    assert facts["date"]["seconds"] == 86400
    assert len({facts["splits"][name]["fingerprint"] for name in SPLITS}) == 3
    assert any("1 of 40 cells" in note for note in facts["notes"])


def test_columns_are_chosen_and_constant_ones_said(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n" + "".join(f"{i},5,\n" for i in range(20)), encoding="utf-8")
    prepared = corpus_of(str(path)).prepare(None, {})
    assert any("'b' never changes" in note for note in prepared.notes)
    assert any("'c' has no value" in note for note in prepared.notes)
    chosen = corpus_of(str(path), {"columns": ["b", "a"]}).prepare(None, {})
    assert chosen.codec.columns == ("b", "a")  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="no column 'd'"):
        corpus_of(str(path), {"columns": ["d"]}).prepare(None, {})
    again = corpus_of(str(path)).prepare(chosen.codec, {})
    assert again.splits["train"].fingerprint == chosen.splits["train"].fingerprint


def test_a_folder_of_tables_is_many_series_with_labels(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "t", {f"{name}.csv": table(20, i, name) for i, name in enumerate(("rome", "oslo"))})
    given = {"site": Given(source="column:site")}
    prepared = corpus_of(str(root)).prepare(None, given)
    assert prepared.given == {"site": Label(names=("oslo", "rome"))}
    train = prepared.splits["train"]
    assert train.data.starts.tolist() == [0, 18, 36]
    assert train.given["site"].x.tolist() == [0, 1]
    without = corpus_of(str(root)).prepare(None, {})
    assert without.codec.columns == ("a", "b")  # type: ignore[attr-defined]
    said = "column 'site' holds one word in every row and is left out (given.NAME.source=column:COLUMN makes one"
    assert any(said in note for note in without.notes)
    (root / "x.csv").write_text(table(20, 0, "x").replace("05,4,-4,x", "05,4,-4,y"), "utf-8")
    with pytest.raises(DataError, match="changes from 'x' to 'y'") as changed:
        corpus_of(str(root)).prepare(None, given)
    assert changed.value.line == 6
    other = folder_of(tmp_path / "u", {"a.csv": table(20), "b.csv": table(20).replace("a,b", "a,c")})
    with pytest.raises(DataError, match="'b' is in one"):
        corpus_of(str(other)).prepare(None, {})


# ---- what DATA means ----------------------------------------------------------------------------------------------


def test_what_data_means(tmp_path: Path) -> None:
    words = "note\nhello\nworld\n"
    root = folder_of(tmp_path / "both", {"a.txt": POEM, "sub/t.csv": table(20), "n.csv": words, "m/n.csv": words})
    assert corpus_of(str(root / "a.txt")).name == "files"
    assert corpus_of(str(root / "sub")).default_codec() == Series()
    assert corpus_of(str(root)).prepare(Characters(), {}).facts["kind"] == "text"
    assert corpus_of(str(root)).things(Series(), {}).ends is False
    assert corpus_of(str(root / "n.csv")).prepare(Characters(), {}).facts["kind"] == "text"
    for data, message, hint in [
        (root, "several kinds: a.txt .*codec=characters.* n.csv .*codec=series", "codec="),
        (root / "m" / "n.csv", "is text", "corpus.text=note"),
        (root / "b.txt", "no such file", "a.txt"),
        (folder_of(tmp_path / "none", {"x.png": "?\0"}), "nothing that can be read: it has .png 1", ".txt"),
        ("builtin:topcs", "'topcs'", "topics"),
    ]:
        with pytest.raises(DataError, match=message) as caught:
            corpus_of(str(data)).prepare(None, {})
        assert hint in caught.value.hint
    with pytest.raises(ConfigError, match=r"^corpus\.splits"):
        corpus_of(str(root / "a.txt"), {"splits": [0.5, 0.1, 0.1]})
    with pytest.raises(ConfigError, match=r"^corpus\.colums"):
        corpus_of(str(root / "sub"), {"colums": ["a"]})
    assert corpus_of(str(root / "a.txt")) == make(Corpus, corpus_of(str(root / "a.txt")).plain())  # type: ignore[type-abstract]
    assert set(members_of(Corpus)) >= {"files", "pairs", "builtin"}


@pytest.mark.parametrize(
    ("total", "shares", "edges"),
    [
        (1115394, (0.9, 0.1, 0.0), (0, 1003854, 1115394, 1115394)),
        (10, (0.7, 0.2, 0.1), (0, 7, 9, 10)),
        (5, (0.9, 0.05, 0.05), (0, 3, 4, 5)),
        (3, (0.0, 0.0, 1.0), (0, 0, 0, 3)),
        (2, (1.0, 0.0, 0.0), (0, 2, 2, 2)),
    ],
)
def test_cuts(total, shares, edges):
    assert division.cuts(total, shares, "x", "rows") == edges


@pytest.mark.parametrize(("total", "shares"), [(0, (0, 0, 1)), (1, (1, 0, 0)), (3, (0.9, 0.05, 0.05))])
def test_too_little_to_cut(total, shares):
    with pytest.raises(DataError, match="too little"):
        division.cuts(total, shares, "x", "rows")


@pytest.mark.parametrize("fraction", [0.5, 0.1])
def test_a_fraction_of_the_training_split_is_next_to_what_is_scored_or_some_of_many(tmp_path, fraction):
    (tmp_path / "one.txt").write_text("".join(f"{i:03d} " for i in range(1000)))
    for i in range(40):
        (tmp_path / "many").mkdir(exist_ok=True)
        (tmp_path / "many" / f"{i}.txt").write_text(f"text {i} ")

    def train(name, part):
        corpus = corpus_of(str(tmp_path / name), {"fraction": part})
        prepared = corpus.prepare(None, {})
        others = [prepared.splits[split].fingerprint for split in ("valid", "test")]
        return list(corpus.values(prepared.codec, "train")), others, prepared

    (whole,), others, _ = train("one.txt", 1.0)
    (kept,), same, prepared = train("one.txt", fraction)
    assert len(kept) == int(len(whole) * fraction) == len(prepared.splits["train"].data.x)
    assert whole.endswith(kept)
    assert same == others
    assert f"{100 * fraction:g} % of the training split is trained on (corpus.fraction)" in prepared.notes
    whole, others, _ = train("many", 1.0)
    kept, same, prepared = train("many", fraction)
    assert len(kept) == int(len(whole) * fraction) == len(prepared.splits["train"].data)
    assert set(train("many", fraction / 1.5)[0]) < set(kept) < set(whole)
    assert same == others
    for name in ("one.txt", "many"):
        with pytest.raises(DataError, match="too little to learn from"):
            train(name, 0.0001)


@pytest.mark.parametrize(("count", "sizes"), [(3, [50, 50, 50]), (20, [100] * 10)])
def test_a_fraction_of_things_that_belong_to_training_beforehand(count, sizes):
    things = [Item(str(i), "x" * 100, split="train") for i in range(count)] + [Item("t", "y" * 100, split="test")]
    divided = division.Division(Items(lambda: things, ends=True), (1, 0, 0), codec_of_text(), "here", 0.5)
    assert [sum(map(len, part.pieces(codec_of_text()))) for part in divided.of("train")] == sizes
    assert [part.item.name for part in divided.of("test")] == ["t"]


# ---- what comes with the package ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILTINS)
def test_every_builtin_is_ready_with_its_own_conditions(name: str) -> None:
    corpus = corpus_of(f"builtin:{name}", {} if name == "topics" else {"size": 300})
    given = corpus.declares()
    prepared = corpus.prepare(None, given)
    assert prepared.codec.fitted
    assert set(prepared.given) == set(given)
    assert all(len(prepared.splits[split].data.x) for split in SPLITS)
    for split in prepared.splits.values():
        for flat in split.given.values():
            assert len(flat) == len(split.data)
    assert json.loads(json.dumps(describe(prepared)))["splits"]["train"]["fingerprint"]
    tokens = isinstance(prepared.codec.space, Tokens)
    assert prepared.ends == (name in {"reverse", "labels", "copy", "recall"})
    assert tokens == (name in {"topics", "markov", "reverse", "labels", "copy", "recall"})
    values = list(corpus.values(prepared.codec, "valid"))
    assert sum(prepared.codec.count(value) for value in values) == prepared.splits["valid"].units
    again = corpus_of(f"builtin:{name}", {} if name == "topics" else {"size": 300}).prepare(None, given)
    assert {k: v.fingerprint for k, v in again.splits.items()} == {k: v.fingerprint for k, v in prepared.splits.items()}


def test_the_toys_are_what_they_say() -> None:
    markov = corpus_of("builtin:markov", {"size": 500, "seed": 3})
    assert markov.full(Characters()) == [Markov().stream(500, 3)]
    reverse = corpus_of("builtin:reverse", {"size": 50})
    prepared = reverse.prepare(None, reverse.declares())
    source, target = prepared.given["source"], text_of(prepared, "train")
    given = prepared.splits["train"].given["source"]
    sources = [given.x[a:b] for a, b in zip(given.starts, given.starts[1:], strict=False)]
    read = [source.decode(Encoded(x.astype(np.int64), np.ones(len(x), bool))) for x in sources]
    assert [text[::-1] for text in read] == target
    labels = corpus_of("builtin:labels-vectors", {"size": 50})
    prepared = labels.prepare(None, labels.declares())
    drawn = prepared.splits["train"]
    assert drawn.data.starts.tolist() == list(range(0, 45 * 16 + 1, 16))
    by_vector = {tuple(np.float32(x[:, 0])): label for label, x in Labels().vector_examples(50, 0)}
    codec, label = prepared.codec, prepared.given["label"]
    for i, begin in enumerate(drawn.data.starts[:-1]):
        value = codec.decode(Encoded(drawn.data.x[begin : begin + 16], np.ones((16, 1), bool))).values[:, 0]
        near = min(by_vector, key=lambda x: float(np.abs(np.array(x) - value).max()))
        assert by_vector[near] == label.names[drawn.given["label"].x[i]]
    missing = corpus_of("builtin:var1").prepare(None, {}).splits["train"].data.known
    assert missing is not None
    assert 0.04 < 1 - missing.mean() < 0.06
    with pytest.raises(ConfigError, match=r"^given\.other"):
        corpus_of("builtin:labels", {"size": 30}).prepare(None, {"other": Given()})


# ---- real files ---------------------------------------------------------------------------------------------------


def test_tinyshakespeare(data_dir: Path) -> None:
    corpus = corpus_of(str(data_dir / "tinyshakespeare" / "input.txt"), {"splits": [0.9, 0.1, 0]})
    prepared = corpus.prepare(None, {})
    assert prepared.codec.space == Tokens(size=66)
    assert [len(prepared.splits[name].data.x) for name in SPLITS] == [1_003_854, 111_540, 0]
    assert prepared.splits["valid"].units == 111_540


def test_etth1(data_dir: Path, tmp_path: Path) -> None:
    path = data_dir / "ett" / "ETTh1.csv"
    corpus = corpus_of(str(path))
    prepared = corpus.prepare(None, {})
    codec = prepared.codec
    assert prepared.facts["rows"] == 17_420
    assert prepared.facts["date"]["step"] == "1 hour"
    assert sum(split.units for split in prepared.splits.values()) == 17_420 * 7
    (whole,) = corpus.full(codec)
    codec.write(whole, tmp_path / "copy.csv")
    assert (tmp_path / "copy.csv").read_bytes().rstrip() == path.read_bytes().rstrip()
    assert codec.canvas(whole, 2).origin["dates"][-2:] == ("2018-06-26 20:00:00", "2018-06-26 21:00:00")
