"""Passages beside things: the best by BM25's formula, never the thing itself, the same whenever it is asked."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from seqloom.codecs.text import Characters
from seqloom.core.errors import ConfigError, DataError, RunError
from seqloom.corpora.base import Given, sources_of
from seqloom.corpora.pairs import Pairs
from seqloom.corpora.search import Search, passages_in, words_of
from seqloom.sequence.canvas import Encoded

pytest.importorskip("bm25s")
RNG = np.random.default_rng(0)
WORDS = [f"w{i}" for i in range(30)]


def written(folder: Path, *texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for i, text in enumerate(texts):
        (folder / f"{i}.txt").write_text(text)
    return folder


def bm25(passages: list[str], query: list[str]) -> list[float]:
    """The formula as Lucene has it, with k1 = 1.5 and b = 0.75."""
    counted = [Counter(words_of(passage)) for passage in passages]
    mean = sum(own.total() for own in counted) / len(counted)
    scores = []
    for own in counted:
        length = 0.25 + 0.75 * own.total() / mean
        holders = {word: sum(word in other for other in counted) for word in query}
        idf = {word: math.log(1 + (len(counted) - n + 0.5) / (n + 0.5)) for word, n in holders.items()}
        scores.append(sum(idf[word] * own[word] / (own[word] + 1.5 * length) for word in query))
    return scores


def test_the_best_passage_is_that_of_the_formula(tmp_path: Path) -> None:
    texts = ["\n\n".join(" ".join(RNG.choice(WORDS, RNG.integers(3, 12))) for _ in range(10)) for _ in range(3)]
    source = Search(argument=str(written(tmp_path / "docs", *texts)))
    passages = list(passages_in(tmp_path / "docs"))
    assert len(passages) == 30
    for _ in range(20):
        query = list(RNG.choice(WORDS, 4, replace=False))
        scores = bm25(passages, query)
        found = source.found({"question": " ".join(query).upper() + "?"})
        assert found is not None
        assert scores[passages.index(found)] == pytest.approx(max(scores), rel=1e-5)
    assert source.found({"question": "nothing of these"}) is None


def test_a_thing_is_never_found_in_its_own_corpus(tmp_path: Path) -> None:
    folder = written(tmp_path / "docs", "a cat sat here\n\nthe cat sat\n\na dog")
    (tmp_path / "docs" / "rows.csv").write_text("q,a\nwhere sat the cat,sat here\n")
    source = Search(argument=str(folder))
    assert source.found({"q": "here sat a cat"}) == "a cat sat here"
    assert source.found({"q": "here sat a cat"}, "sat here") == "a cat sat here"  # an answer may well be in it
    assert source.found({"q": "here sat a cat"}, "x a cat sat here. y") != "a cat sat here"  # a part of the thing
    row = "where sat the cat\nsat here"
    assert source.found({"q": "where sat the cat"}) == row
    assert source.found({"q": "where sat the cat"}, "sat here") not in {row, None}


def test_what_stands_beside_the_data_is_found_by_what_else_is_given(tmp_path: Path) -> None:
    folder = written(tmp_path / "docs", "oslo has fjords\n\nrome has hills", "cairo has pyramids")
    places = [("oslo", "fjords"), ("rome", "hills"), ("cairo", "pyramids")] * 8
    rows = [f"what of {place} {i}\t{thing}" for i, (place, thing) in enumerate(places)]
    table = tmp_path / "pairs.tsv"
    table.write_text("\n".join(["question\tanswer", *rows]) + "\n")
    given = {"q": Given(source="column:question", codec=Characters()), "passage": Given(source=f"search:{folder}")}
    prepared = Pairs(path=str(table), text="answer").prepare(None, given)
    again = sources_of(given)["passage"]
    for split in prepared.splits.values():
        for i in range(len(split.data)):
            values = {}
            for name, codec in prepared.given.items():
                flat = split.given[name]
                x = np.asarray(flat.x[flat.starts[i] : flat.starts[i + 1]])
                values[name] = codec.decode(Encoded(x, np.ones(len(x), bool)))
            assert values["passage"].split()[0] in values["q"]
            assert values["passage"] == again.found({"q": values["q"]})


def test_a_run_knows_what_it_was_learned_with(tmp_path: Path) -> None:
    folder = written(tmp_path / "docs", "a cat")
    item = Given(source=f"search:{folder}")
    assert Given.parse(item.plain()).source == item.source != f"search:{folder}"
    written(folder, "a dog")
    with pytest.raises(RunError, match="not those of the training"):
        sources_of({"": item})[""].found({"q": "cat"})
    with pytest.raises(ConfigError, match="nothing at"):
        Search(argument=str(tmp_path / "elsewhere"))
    with pytest.raises(DataError, match="no passages"):
        Search(argument=str(written(tmp_path / "empty", "  \n"))).found({"q": "cat"})
