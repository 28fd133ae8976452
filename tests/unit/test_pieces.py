"""Pieces and words: what is read comes back, prompts that end inside a piece, stops inside one, other tokenizers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from seqloom.codecs.base import Codec
from seqloom.codecs.pieces import Bpe, Learned, Pieces, Unigram, advised, in_parts
from seqloom.codecs.text import Characters
from seqloom.codecs.words import Words
from seqloom.core.config import make
from seqloom.core.errors import ConfigError, DataError
from seqloom.corpora.base import Given
from seqloom.evaluation.comparison import Row
from seqloom.evaluation.rows import of_one_measure
from seqloom.model import Model
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.base import Process
from seqloom.processes.masked import Masked
from seqloom.samplers.beam import Beam
from seqloom.sequence.canvas import Encoded
from seqloom.sequence.stop import ByteStop, SymbolStop

TEXT = (
    "The cat sat on the mat; the cats sat on the other mats.\n"
    "The café's naïve 東京 cat 12, 123 times.\n\n  So  it\tsat.\n" * 40
)
RNG = np.random.default_rng(0)
KINDS = [Bpe(most=300), Unigram(most=320), Words(), Words(parted="spaces", least=4)]
FITTED: list[Pieces] = [codec.fit([TEXT]) for codec in KINDS]


def strange(size: int) -> str:
    """Bytes of any kind as a value has them, with words between."""
    data = b"".join(RNG.choice([b" cat", b"\xff", "東".encode(), b"\n", b"x", b"\xe6\x9d", b"  "], size))
    return data.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize("codec", FITTED, ids=[repr(codec)[:40] for codec in KINDS])
def test_whatever_is_read_comes_back_whole_in_parts_and_joined(codec: Pieces) -> None:
    for value in (TEXT, "", "Ünseen wörds \x00\x7f 🙂", *(strange(30) for _ in range(20))):
        encoded = codec.encode(value)
        assert codec.decode(encoded) == value
        assert codec.show(value) == b"".join(codec.spelling[symbol] for symbol in encoded.x)
        assert codec.size(value) == len(encoded.x) == len(codec.element_names(value))
        cuts = sorted(RNG.integers(0, len(encoded.x) + 1, 2))
        parts = [codec.cut(value, a, b) for a, b in zip([0, *cuts], [*cuts, len(encoded.x)], strict=True)]
        assert codec.show(codec.join(parts)) == codec.show(value)
        assert codec.count(value) == len(codec.show(value))
    assert sorted(codec.spelling[symbol][0] for symbol in codec.single) == list(range(256))
    assert len(codec.encode(TEXT).x) < 0.75 * len(TEXT)


@pytest.mark.parametrize("codec", FITTED[:3], ids=["bpe", "unigram", "words"])
def test_text_in_parts_has_the_symbols_of_the_whole(codec: Pieces) -> None:
    sizes = np.cumsum(RNG.integers(1, 90, 60))
    come = [TEXT[a:b] for a, b in zip([0, *sizes], [*sizes, len(TEXT)], strict=True)]
    for most in (0, 40):
        parts = list(in_parts(come, most))
        assert "".join(parts) == TEXT
        assert len(parts) > 20
        assert np.array_equal(np.concatenate([codec.encode(part).x for part in parts]), codec.encode(TEXT).x)
    assert list(in_parts(["abc", "def"])) == ["abcdef"]


@pytest.mark.parametrize("codec", FITTED[:2], ids=["bpe", "unigram"])
def test_words_that_are_written_once_have_the_symbols_that_the_library_finds(
    codec: Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqloom.codecs.pieces.REMEMBERED", 20)  # so that some are forgotten
    codec = codec.replace(special=("<sep>",)).fit([TEXT])
    white = [*" \t\n\r\v\f", *"\x1c\x1f\x85\xa0\u1680\u200a\u200b\u2028\u202f\u3000\ufeff"]
    parts = [*white, *white[:4] * 3, "cat", "cat's", "!", "12", "<sep>", "東", "x" * 70]
    texts = ["".join(RNG.choice(parts, 40)) for _ in range(300)]
    assert codec.symbols_of_several(texts) == codec.plain_symbols_of(texts)
    assert [codec.symbols_of(text) for text in texts[:30]] == codec.plain_symbols_of(texts[:30])


def test_pieces_are_learned_and_more_of_more_text() -> None:
    bpe = FITTED[0]
    assert len(bpe.spelling) == 300
    assert b" the" in bpe.spelling
    assert Bpe(most=300).fit(iter([TEXT])) == bpe  # read once, and learned alike
    assert [advised(10**n) for n in (3, 6, 8, 12)] == [512, 2048, 16384, 32768]
    assert "so many by the size" in Bpe().fit([TEXT]).notes({})[0]
    assert bpe.notes({}) == []
    marked = Bpe(most=290, special=("<sep>",)).fit([TEXT])
    assert len(marked.encode("cat<sep>").x) == len(marked.encode("cat").x) + 1
    assert marked.decode(marked.encode("cat<sep>")) == "cat<sep>"
    for wrong in ({"special": ["a b"]}, {"most": 256}):
        with pytest.raises(ConfigError):
            make(Codec, {"name": "bpe", **wrong})
    with pytest.raises(DataError, match="no text"):
        Bpe().fit([])


def test_words_are_those_that_are_frequent_and_the_others_are_spelled() -> None:
    codec = Words(least=3).fit(["an ant ant ant é é é zebra 東"])
    assert codec.vocabulary == (" ant", " é")
    assert codec.characters == "é"
    assert codec.element_names("an ant é 東") == ["a", "n", " ant", " é", " ", "\\xe6", "\\x9d", "\\xb1"]
    assert not codec.loses
    one = codec.replace(unknown="symbol")
    assert one.decode(one.encode("an ant elk")) == "\ufffd ant\ufffd"
    assert one.never == (one.space.size - 1,)
    assert one.extra_nats("elk") == 0
    assert "words" in one.loses
    with pytest.raises(DataError, match="no word stands in the training text 9 times"):
        Words(least=9).fit(["an ant"])


@pytest.mark.parametrize("name", ["characters", "bpe", "words"])
def test_what_is_made_alike_is_said_and_costs_are_by_the_bytes_that_were_given(name: str) -> None:
    codec = make(Codec, {"name": name, "normalise": "nfc,lower"}).fit([TEXT.upper()])  # type: ignore[type-abstract]
    value = "CAFE\u0301 cat"
    assert codec.decode(codec.encode(value)) == "café cat"
    assert codec.count(value) == len(value.encode()) == len("café cat".encode()) + 1
    assert codec.extra_nats(value) == 0
    assert codec.size(value) == len(codec.encode(value).x)
    assert codec.loses == "ways to spell one character and capital letters"
    assert any("codec.normalise=nfc,lower" in note for note in codec.notes({}))


def test_what_loses_something_has_no_order_with_what_does_not() -> None:
    def row(name: str, loses: str) -> Row:
        record = {"value": 1.0, "unit": "bits/byte", "kind": "bound", "measure": "mass"}
        return Row(name, likelihood=record | ({"loses": loses} if loses else {}))

    first, lossy, third = of_one_measure([row("a", ""), row("b", "capital letters"), row("c", "")])
    assert first.value == third.value == 1.0
    assert lossy.value is None
    assert lossy.error == "a likelihood without capital letters cannot be compared with one of the whole text"


# ---- tokenizers of others -------------------------------------------------------------------------------------------


def saved(tokenizer: Tokenizer, path: Path) -> Bpe:
    tokenizer.save(str(path))
    return Bpe(pretrained=str(path)).fit([])


def test_a_tokenizer_over_bytes_is_taken_as_it_is(tmp_path: Path) -> None:
    own = Tokenizer.from_str(json.dumps(FITTED[0].tokenizer))  # type: ignore[attr-defined]
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    taken = saved(own, tmp_path / "tokenizer.json")
    assert np.array_equal(taken.encode(TEXT).x, FITTED[0].encode(TEXT).x)  # without the space before a text
    assert not taken.loses
    assert taken.learned_elsewhere != taken.replace(pretrained=__file__).learned_elsewhere
    own.normalizer = normalizers.Lowercase()
    lower = saved(own, tmp_path / "lower.json")
    assert lower.loses == "what the tokenizer itself makes alike"
    assert not taken.notes({})
    assert lower.notes({}) == ["the tokenizer itself makes text alike: what it changes is lost (codec.pretrained)"]


def test_a_tokenizer_that_falls_back_to_bytes_is_taken_too(tmp_path: Path) -> None:
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    own = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    own.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    own.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", *fallback]))
    taken = saved(own, tmp_path / "tokenizer.json")
    for value in ("the cat  sat\n", "Ü 🙂 \x00", TEXT, strange(30)):
        assert taken.decode(taken.encode(value)) == value
    assert not taken.loses
    assert "the" not in taken.element_names("the")[0][1:]  # no space was put before it


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("{}", DataError, "the file is no tokenizer, but other JSON"),
        ("[1]", DataError, "the file is no tokenizer, but other JSON"),
        ('{"vocab_size": 9}', DataError, "the file is no tokenizer, but other JSON: it has 'vocab_size'"),
        ('{"model": {"type": "BPE"}}', DataError, "no tokenizer: "),
        ('{"model": ', DataError, "no tokenizer, for it is no JSON: .* line 1, character 11"),
        ("words", DataError, "no tokenizer, for it is no JSON"),
        (None, DataError, "no such file"),
    ],
)
def test_what_is_no_tokenizer_is_said(
    tmp_path: Path, content: str | None, error: type[Exception], message: str
) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=message) as caught:
        Bpe(pretrained=str(path)).fit([])
    with pytest.raises(DataError, match="this is a folder") as folder:
        Bpe(pretrained=str(tmp_path)).fit([])
    assert (str(path) in folder.value.hint) == path.exists()
    for word in ("t.json", "a/t.json"):
        with pytest.raises(ConfigError, match=r"codec: .* is no codec, and a tokenizer is one of bpe") as named:
            Given.parse({"codec": word})
        assert named.value.hint == f"codec.name=bpe codec.pretrained={word}"
    with pytest.raises(ConfigError, match="one in a file is pretrained=t"):
        Bpe.parse({"tokenizer": "t.json"})
    assert str(path) in str(caught.value)


def test_a_tokenizer_with_unknown_words_is_refused(tmp_path: Path) -> None:
    own = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    with pytest.raises(DataError, match="WordLevel"):
        saved(own, tmp_path / "tokenizer.json")
    own = Tokenizer(models.BPE())  # over bytes, of which it has those of this text alone
    own.pre_tokenizer = pre_tokenizers.ByteLevel()
    own.train_from_iterator(["abc"], trainers.BpeTrainer())
    with pytest.raises(DataError, match=r"tokenizer\.json: this tokenizer \(BPE\) has characters that are unknown"):
        saved(own, tmp_path / "tokenizer.json")


def test_a_tokenizer_is_one_whatever_parts_its_file_leaves_out(tmp_path: Path) -> None:
    whole = FITTED[0].tokenizer
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({key: part for key, part in whole.items() if part}))
    assert len(json.loads(path.read_text())) < len(whole)
    taken = Bpe(pretrained=str(path)).fit([])
    assert taken.encode(TEXT).x.tolist() == FITTED[0].encode(TEXT).x.tolist()
    path.write_text(json.dumps({"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}))
    with pytest.raises(DataError, match="WordLevel"):
        Bpe(pretrained=str(path)).fit([])


# ---- stops and beginnings -------------------------------------------------------------------------------------------


def test_a_stop_is_found_and_cut_wherever_it_stands_in_pieces() -> None:
    codec = FITTED[0]
    for trial in range(300):
        made = RNG.choice([*codec.encode("the cat sat.\n").x, *codec.single[97:123:12]], 12)
        whole = codec.decode(Encoded(made, np.ones(len(made), bool)))
        given = int(RNG.integers(0, 4))
        text = RNG.choice(["at", "t ", "s", "e ca", "\n"])
        stop = ByteStop(text.encode(), codec.spelling, codec.single, given)
        place = whole.find(text, given)
        kept = stop.kept(made)
        assert (kept < 0) == (place < 0)
        left = made if kept < 0 else made[:kept]
        for done in (True, False) if kept < 0 else (True,):
            shown = stop.shown(left, done)
            seen = codec.decode(Encoded(shown, np.ones(len(shown), bool)))
            if place >= 0:
                assert seen == whole[:place], trial
            elif done:
                assert seen == whole
            else:  # what may be the beginning of a stop is held back
                held = [n for n in range(1, len(text)) if whole[given:].endswith(text[:n])]
                assert seen == whole[: len(whole) - max(held, default=0)]
    plain = SymbolStop((1, 2))
    assert plain.kept(np.array([3, 1, 2, 1])) == 1
    assert plain.shown(np.array([3, 1]), False).tolist() == [3]
    assert plain.shown(np.array([3, 1]), True).tolist() == [3, 1]


def model(process: Process, codec: Codec, seed: int = 1) -> Model:
    net = Network(Backbone(width=16, depth=1, mixer="lstm"), process.spec(codec.space), codec.space, 24, {}, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return Model(codec, process, net.eval())


@pytest.mark.parametrize("process", [Autoregressive(), Masked()], ids=["autoregressive", "masked"])
@pytest.mark.parametrize("codec", FITTED[:3], ids=["bpe", "unigram", "words"])
def test_a_prompt_may_end_inside_a_piece_and_a_gap_begin_in_one(process: Process, codec: Pieces) -> None:
    made, prompt = model(process, codec), "the cat sat on t"
    (canvas,) = made.canvas(prompt, 5)
    ((position, begun),) = canvas.begun.items()
    assert not canvas.shown[position:].any()
    assert begun.text == (b"t" if process.name == "masked" else b" t")
    assert all(value.startswith(prompt) for value in made.extend(prompt, 5, n=40, seed=2).values)
    ended = {frame.row: frame.x for frame in made.stream(made.query(canvas, 40, 2))}
    seen = {codec.spelling[x[position]] for x in ended.values()}
    assert len(seen) > 1 or begun.text == b"t"  # other pieces than the one that was typed
    if process.name == "autoregressive":  # by one piece or by several
        assert {data for data in seen if not data.startswith(b" t")} <= {b" "}
        assert b" " in seen
    for value in made.extend(prompt, 12, n=20, seed=2, stop=["t", "e"]).values:
        assert value.startswith(prompt)
        assert not {"t", "e"} & set(value[len(prompt) :])
    allowed = made.extend("the ca", 6, n=10, seed=1, allow="[a-z ]").values
    assert all(set(value) <= set("abcdefghijklmnopqrstuvwxyz ") for value in allowed)
    if process.name == "masked":
        filled = made.infill("the c____ on the mat", n=20, seed=5).values
        assert all(value.startswith("the c") and value.endswith(" on the mat") for value in filled)


@pytest.mark.parametrize("process", [Autoregressive(), Masked()])
def test_what_is_banned_comes_up_in_no_pieces(process: Process) -> None:
    made = model(process, FITTED[0])
    free = made.extend("the c", 12, n=20, seed=2).values
    banned = made.extend("the c", 12, n=20, seed=2, ban=["at", "s"]).values
    assert any("at" in value or "s" in value for value in free)
    assert not any("at" in value or "s" in value for value in banned)


def test_a_beam_keeps_to_what_was_begun() -> None:
    for value in model(Autoregressive(), FITTED[0]).extend("the cat s", 6, n=3, sampler=Beam(width=6), stop="m").values:
        assert value.startswith("the cat s")
        assert "m" not in value


def test_a_likelihood_of_pieces_is_a_bound_in_bytes() -> None:
    for codec, kind in [(FITTED[0], "bound"), (Characters().fit([TEXT]), "exact")]:
        score: Any = model(Autoregressive(), codec).score("the café sat")
        assert (score.kind, score.count, score.unit) == (kind, 13, "byte")
