"""How like texts are: what sacreBLEU gives, published values, edit distances by their definition, intervals."""

from __future__ import annotations

import numpy as np
import pytest

from seqloom.metrics.likeness import (
    Bleu,
    CharacterError,
    Chrf,
    Exact,
    Likeness,
    Rouge,
    WordError,
    edits,
    longest_common,
)

MADE = ["the cat sat on the mat", "a dog runs", "Completely other words , here", "", "ab", "Das ist gut."]
TRUE = ["the cat is on the mat", "a dog runs quickly today", "nothing in common at all", "x", "abc", "Das ist gut."]


def value(likeness: Likeness, made: list[str] = MADE, true: list[str] = TRUE) -> float:
    return likeness.value(likeness.of(made, true).sum(0))


def test_bleu_and_chrf_are_those_of_sacrebleu() -> None:
    metrics = pytest.importorskip("sacrebleu.metrics")
    bleu, chrf = metrics.BLEU(), metrics.CHRF()
    assert value(Bleu()) == pytest.approx(bleu.corpus_score(MADE, [TRUE]).score)
    assert Bleu().signature == str(bleu.get_signature())
    assert value(Bleu(lowercase=True)) == pytest.approx(metrics.BLEU(lowercase=True).corpus_score(MADE, [TRUE]).score)
    assert value(Chrf()) == pytest.approx(chrf.corpus_score(MADE, [TRUE]).score)
    assert str(chrf.get_signature()).startswith(Chrf().signature)
    for made, true in zip(MADE, TRUE, strict=True):
        assert -Chrf().loss(made, true) == pytest.approx(chrf.sentence_score(made, [true]).score)
        assert -Bleu().loss(made, true) == pytest.approx(
            metrics.BLEU(effective_order=True).sentence_score(made, [true]).score
        )


def test_rouge_is_that_of_its_paper() -> None:
    """Lin 2004, section 3.1: two texts that ROUGE-2 cannot tell apart."""
    true = ["police killed the gunman"] * 2
    made = ["police kill the gunman", "the gunman kill police"]
    assert [value(Rouge(), [one], true[:1]) for one in made] == [0.75, 0.5]
    assert [value(Rouge(runs=2), [one], true[:1]) for one in made] == pytest.approx([1 / 3, 1 / 3])
    assert value(Rouge(), made, true) == 0.625
    assert value(Rouge(runs=1), ["The cat, the CAT"], ["the cat"]) == pytest.approx(2 * 2 / 6)
    assert [Rouge().measures, Rouge(runs=2).measures] == ["rouge_l", "rouge_2"]


def test_errors_count_edits() -> None:
    assert [edits("kitten", "sitting"), edits("", "abc"), edits("abc", ""), edits("", "")] == [3, 3, 3, 0]
    assert longest_common("ABCBDAB", "BDCABA") == 4
    assert value(WordError()) == (1 + 2 + 5 + 1 + 1 + 0) / (6 + 5 + 5 + 1 + 1 + 3)
    assert value(CharacterError(), ["ab"], ["abc"]) == pytest.approx(1 / 3)
    assert value(Exact()) == pytest.approx(1 / 6)

    def slow(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        return min(slow(a[1:], b) + 1, slow(a, b[1:]) + 1, slow(a[1:], b[1:]) + (a[0] != b[0]))

    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = ("".join(rng.choice(list("abc"), rng.integers(0, 6))) for _ in range(2))
        assert edits(a, b) == slow(a, b)


def test_an_interval_holds_the_share_that_pairs_were_drawn_with() -> None:
    """Of a share of n pairs the standard error is known."""
    right = np.random.default_rng(0).random(400) < 0.3
    made = ["yes" if one else "no" for one in right]
    counts = Exact().of(made, ["yes"] * 400)
    low, high, error = Exact().interval(counts)
    share = right.mean()
    assert error == pytest.approx(np.sqrt(share * (1 - share) / 400), rel=0.1)
    assert low < share < high
    assert high - low == pytest.approx(3.92 * error, rel=0.1)
    assert Exact().interval(counts) == (low, high, error)


def test_pairs_that_are_all_wrong_do_not_say_that_none_is_ever_right() -> None:
    for right, bounds in ((0, (0, 0.2775)), (10, (0.7225, 1))):
        made = ["yes"] * right + ["no"] * (10 - right)
        low, high, error = Exact().interval(Exact().of(made, ["yes"] * 10))
        assert (low, high) == pytest.approx(bounds, abs=1e-4)  # Wilson's
        assert error == 0
