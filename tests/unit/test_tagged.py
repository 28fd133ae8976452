"""Labels of words: the files that hold them, words that are rare, and as many labels as there are words."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from seqloom.codecs.forms import Forms
from seqloom.codecs.label import Label
from seqloom.core.errors import ConfigError, DataError
from seqloom.corpora.asking import asked_in
from seqloom.corpora.base import Flat, declared_by
from seqloom.corpora.tagged import Tagged
from seqloom.evaluation.answers import baselines
from seqloom.model import Model
from seqloom.network.backbone import Backbone
from seqloom.network.given import ConditionSpec
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.masked import Masked
from seqloom.samplers.beam import Beam

CONLL = "-DOCSTART- -X- O\n\nAnna NNP B-PER\nsees VBZ O\n\n\nBob NNP B-PER\nBerg NNP I-PER\n"
UNIVERSAL = (
    "# text = im Haus\n1-2\tim\t_\t_\n1\tin\tin\tADP\tX\n2\tdem\tder\tDET\tY\n3\tHaus\tHaus\tNOUN\tZ\n3.1\t_\t_\t_\n"
)
FORMS = Forms(least=2).fit([("the", "dog", "the", "dog", "walking", "running"), ("Anna", "Hanna", "3", "40")])


def sentences(path: Path, **settings: Any) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [(item.pair, item.content) for item in Tagged(path=str(path), **settings).things(Label(), {})]


def test_a_word_a_line_with_its_label_in_another_column(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text(CONLL)
    assert sentences(path) == [(("Anna", "sees"), ("B-PER", "O")), (("Bob", "Berg"), ("B-PER", "I-PER"))]
    assert [tags for _, tags in sentences(path, tags=2)] == [("NNP", "VBZ"), ("NNP", "NNP")]
    assert Tagged.takes(str(path), {}) == {"path": str(path)}
    assert Tagged.takes(str(path.with_suffix(".txt")), {}) is None
    (tmp_path / "b.conllu").write_text(UNIVERSAL)
    assert sentences(tmp_path / "b.conllu") == [(("in", "dem", "Haus"), ("ADP", "DET", "NOUN"))]
    path.write_text("a X\nb\n")
    with pytest.raises(DataError, match=r"line 2.*has 1 column"):
        sentences(path)


def test_a_sentence_a_row(tmp_path: Path) -> None:
    rows = [{"id": 1, "tokens": ["a", "b c"], "tags": ["X", 3]}, {"id": 2, "tokens": "d e", "tags": "X Y"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = sentences(tmp_path / "a.jsonl", words="tokens")
    assert found == [(("a", "b c"), ("X", "3")), (("d", "e"), ("X", "Y"))]
    with pytest.raises(ConfigError, match=r"corpus\.words.*no column 'token'"):
        sentences(tmp_path / "a.jsonl", words="token")
    (tmp_path / "b.csv").write_text("text,tags\nd e,X Y\nf,X Y\n")
    with pytest.raises(DataError, match=r"line 3.*1 word and 2 labels"):
        sentences(tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("name", "bad", "good", "line", "message"),
    [
        ("a.conll", "Bob PER\nsees O\nAnna\n\n", "Anna PER\nsees O\n\n", 3, "the line has 1 column"),
        ("a.jsonl", '{"w": ["a"], "t": ["X", "Y"]}\n', '{"w": ["a"], "t": ["X"]}\n', 1, "1 word and 2 labels"),
        ("a.jsonl", '{"w": \n', '{"w": ["a"], "t": ["X"]}\n', 1, "the line is no JSON"),
        ("a.conll", "Bob\udcff PER\n\n", "Anna PER\nsees O\n\n", 1, "the text is not UTF-8"),
    ],
)
def test_bad_sentences_are_passed_over_and_counted(
    tmp_path: Path, name: str, bad: str, good: str, line: int, message: str
) -> None:
    (tmp_path / name).write_text(bad + good * 9, encoding="utf-8", errors="surrogateescape")
    settings: dict[str, Any] = {"tags": "2" if name.endswith("conll") else "t", "splits": [1, 0, 0]}
    with pytest.raises(DataError, match=f"line {line}: {message}") as caught:
        list(Tagged(path=str(tmp_path / name), **settings).things(Label(), {}))
    assert caught.value.hint.endswith("corpus.skip_bad=true passes over it")
    corpus = Tagged(path=str(tmp_path / name), skip_bad=True, **settings)
    prepared = corpus.prepare(None, corpus.declares())
    assert len(prepared.splits["train"].data) == 9
    assert any(note.startswith("1 of 10 sentences are bad and left out") for note in prepared.notes)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.conll", "Bj\u00f8rn PER\nsees O\n\n"),
        ("a.jsonl", '{"w": "Bj\u00f8rn sees", "t": "PER O"}\n'),
        ("a.csv", "Bj\u00f8rn sees,PER O\n"),
    ],
)
def test_what_is_said_of_another_encoding_is_what_reads_it(
    tmp_path: Path, name: str, content: str, encoding: str
) -> None:
    path = tmp_path / name
    path.write_text("w,t\n" * name.endswith(".csv") + content * 9, encoding=encoding)
    corpus = Tagged(path=str(path), tags="2" if name.endswith("conll") else "t", splits=(1, 0, 0))
    with pytest.raises(DataError, match="not UTF-8") as caught:
        corpus.prepare(None, declared_by(corpus, {}))
    key, _, value = caught.value.hint.removeprefix("say what it is: ").partition("=")
    assert (key, value) == ("given.words.codec.encoding", encoding), "and not that bad ones may be passed over"
    given = declared_by(corpus, {"words": {"codec": {"encoding": encoding}}})
    assert given["words"].codec == Forms(encoding=encoding)
    prepared = corpus.prepare(None, given)
    assert len(prepared.splits["train"].data) == 9
    if encoding == "latin-1":
        wrong = path.with_stem("wrong")
        wrong.write_text(path.read_text(encoding=encoding), encoding="utf-8")
        read = Tagged(path=str(wrong), tags=corpus.tags, splits=(1, 0, 0)).prepare(None, given)
        assert any("is UTF-8 and, read as latin-1, wrong" in note for note in read.notes)
    words = prepared.given["words"]
    assert "Bj\u00f8rn" in words.words  # type: ignore[attr-defined]
    asked = tmp_path / "asked.txt"
    asked.write_text("Bj\u00f8rn sees\n", encoding=encoding)
    assert list(asked_in(asked, {"words": words}, {}, prepared.codec)) == [(1, {"words": ("Bj\u00f8rn", "sees")})]


def test_a_rare_word_is_read_by_its_form() -> None:
    assert FORMS.words == ("dog", "the")
    symbols = {word: int(FORMS.encode((word,)).x[0]) for word in ("the", "singing", "Joanna", "7", "xyz", "§§§")}
    names = {word: FORMS.symbols()[symbol] for word, symbol in symbols.items()}
    assert names == {
        "the": "the",
        "singing": "lower ing",
        "Joanna": "capital nna",
        "7": "digits ",
        "xyz": "lower ",
        "§§§": "any other word",
    }
    encoded = FORMS.encode(("the", "singing", "§§§"))
    assert FORMS.encode(FORMS.decode(encoded)).x.tolist() == encoded.x.tolist()
    assert FORMS.typed(" the  dog ") == ("the", "dog")


@pytest.mark.parametrize("process", [Autoregressive(), Masked()], ids=["autoregressive", "masked"])
def test_each_word_has_its_label_and_a_beam_finds_the_likeliest(process: Any) -> None:
    label = Label(names=("p", "q", "r"))
    backbone = Backbone(width=16, depth=1, mixer="gru")
    specs = {"words": ConditionSpec(FORMS.space, "align", backbone)}
    net = Network(backbone, process.spec(label.space), label.space, 8, specs, 1)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.4)
    model = Model(label, process, net.eval(), given={"words": FORMS})
    texts = [("the", "dog", "singing"), ("Anna",), tuple("abcdefghijk")]
    answers = [answer.values[0] for answer in model.apply(texts)]
    assert [1 if isinstance(one, str) else len(one) for one in answers] == [3, 1, 11]
    drawn = model.sample(2, given={"words": texts[0]}, seed=1)
    assert [len(value) for value in drawn.values] == [3, 3]
    assert model.sample(2, given=texts[0], seed=1).values == drawn.values, "the only condition needs no name"
    assert label.show(drawn.values[0]) == f"{' '.join(drawn.values[0])}\n".encode()
    with pytest.raises(DataError, match=r"given\.words: it has 3 elements, beside 2 labels"):
        model.score(("p", "q"), given={"words": texts[0]})
    with pytest.raises(ConfigError, match="nothing to extend or to fill in") as caught:
        model.infill(("p", "___"), given=texts[0])
    assert "seqloom apply" in caught.value.hint
    if isinstance(process, Autoregressive):
        (answer,) = model.apply(texts[:1], sampler=Beam(width=27))
        every = list(product(label.names, repeat=3))
        nats = [model.score(tags, given={"words": texts[0]}).nats for tags in every]
        assert answer.values[0] == every[nats.index(min(nats))]


def test_the_commonest_label_of_each_word() -> None:
    label = Label(names=("p", "q"))
    words = [("the", "dog"), ("the", "the"), ("dog",)]
    tags = [("p", "q"), ("p", "q"), ("q",)]
    found = baselines(
        label,
        Flat.of([label.encode(own) for own in tags]),
        FORMS,
        Flat.of([FORMS.encode(own) for own in words]),
        "words",
        [("dog", "the"), ("Zora",)],
    )
    assert found == {"commonest label": ["q\nq", "q"], "commonest label of each word": ["q\np", "q"]}
