"""Augmentations: what they change, what they leave, and that they are off unless asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest

from seqloom.codecs.pieces import Bpe
from seqloom.codecs.series import Series
from seqloom.codecs.strokes import Strokes
from seqloom.codecs.text import Characters
from seqloom.core.errors import ConfigError
from seqloom.core.rng import Rng
from seqloom.corpora.base import Flat, Split
from seqloom.mixers.recurrent import Gru
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.processes.anyorder import AnyOrder
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.base import Process
from seqloom.processes.block import Block
from seqloom.processes.masked import Masked
from seqloom.processes.uniform import Uniform
from seqloom.sequence.batch import Batch, Condition
from seqloom.sequence.space import Field, Tokens, Vectors
from seqloom.training.augmentations import Delete, Jitter, Rotate, Scale, Shuffle, Substitute, in_stretches
from seqloom.training.feed import Feed, Reader

WORDS = "low lower lowest slow slowest newer newest wide wider widest \u00e9t\u00e9 " * 8

SPACE = Vectors(fields=(Field(name="x", width=2), Field(name="pen", support="binary")), ends=True)


def reader(space, x, known=None, **settings) -> Reader:
    starts = np.array([0, len(x) // 2, len(x)])
    split = Split(Flat(x, starts, known), {}, 0.0, 0.0, "")
    return Reader(Feed.parse({"window": 20, "batch": 64, **settings}), split, space, 0, {})


def numbers() -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.Generator(np.random.Philox(7))
    x = drawn.standard_normal((80, 3)).astype(np.float32)
    x[:, 2] = x[:, 2] > 0
    known = drawn.random((80, 3)) < 0.9
    return np.where(known, x, 0).astype(np.float32), known


def test_scale_multiplies_the_real_numbers_of_a_row_alike():
    x, known = numbers()
    plain, scaled = reader(SPACE, x, known).batch(3), reader(SPACE, x, known, augment=["scale"]).batch(3)
    ratio = (scaled.x / plain.x)[..., :2]
    for row in range(len(ratio)):
        kept = ratio[row][(plain.known[row, :, :2]) & (plain.x[row, :, :2] != 0)]
        assert kept.std() < 1e-5
    means = torch.stack([ratio[row][plain.x[row, :, :2] != 0].mean() for row in range(len(ratio))]).log()
    assert 0.05 < float(means.std()) < 0.15
    assert torch.equal(scaled.x[..., 2:], plain.x[..., 2:])
    assert torch.equal(scaled.known, plain.known)
    again = reader(SPACE, x, known, augment=["scale"]).batch(3)
    assert torch.equal(again.x, scaled.x)


def test_flip_reverses_the_signs_of_half_of_the_rows():
    x, known = numbers()
    plain, flipped = reader(SPACE, x, known).batch(3), reader(SPACE, x, known, augment=["flip"]).batch(3)
    sign = torch.where(plain.x[..., :2] == 0, 0, flipped.x[..., :2] / plain.x[..., :2])
    each = sign.sum((1, 2)).sign()
    assert torch.equal(sign, each[:, None, None] * (plain.x[..., :2] != 0))
    assert 16 <= int((each < 0).sum()) <= 48  # of 64
    assert torch.equal(flipped.x[..., 2:], plain.x[..., 2:])


def test_what_precedes_a_row_is_multiplied_with_it_and_binary_numbers_are_not():
    x, known = numbers()
    split = Split(Flat(x, np.array([0, 80]), known), {}, 0.0, 0.0, "")
    feed = Feed.parse({"window": 20, "batch": 64, "augment": [{"name": "flip", "share": 1.0}]})
    plain = Reader(feed.replace(augment=[]), split, SPACE, 0, {}, past=5).batch(0).past
    flipped = Reader(feed, split, SPACE, 0, {}, past=5).batch(0).past
    assert plain is not None
    assert flipped is not None
    assert bool((plain.x[..., :2] != 0).any())
    assert torch.equal(flipped.x[..., :2], -plain.x[..., :2])
    assert torch.equal(flipped.x[..., 2:], plain.x[..., 2:])


PLANE = Series(columns=("x", "y", "speed"), means=(3.0, -40.0, 1.0), scales=(2.0, 0.1, 1.0))


def tracks(x: np.ndarray, known: np.ndarray | None = None, **settings: object) -> Reader:
    """A reader of one series of PLANE, with four rows before each window."""
    split = Split(Flat(x, np.array([0, len(x)]), known), {}, 0.0, 0.0, "")
    rotate = {"name": "rotate", "columns": ["x", "y"], **settings}
    feed = Feed.parse({"window": 20, "batch": 64, "augment": [rotate] if settings else []})
    return Reader(feed, split, PLANE.space, 0, {}, past=4, codec=PLANE)


def in_data(x: torch.Tensor) -> torch.Tensor:
    """Rows of PLANE in the units of the data, about their means."""
    return x.double() * torch.tensor(PLANE.scales)


def test_rotated_rows_keep_their_distances_in_the_units_of_the_data():
    x = np.random.Generator(np.random.Philox(8)).standard_normal((80, 3)).astype(np.float32)
    plain, turned = tracks(x).batch(3), tracks(x, share=1.0).batch(3)
    before, after = (torch.cat([batch.past.x, batch.x], 1) for batch in (plain, turned) if batch.past is not None)
    assert torch.equal(after[..., 2], before[..., 2])
    old, new = (torch.view_as_complex(in_data(part)[..., :2].contiguous()) for part in (before, after))
    moved = (new - new[:, :1]).abs() - (old - old[:, :1]).abs()
    assert float(moved.abs().max()) < 1e-5
    exists = old != 0
    turn = torch.where(exists, new, 1.0) / torch.where(exists, old, 1.0)
    each = torch.stack([row[there].mean() for row, there in zip(turn, exists, strict=True)])
    assert float(torch.where(exists, turn - each[:, None], 0).abs().max()) < 1e-4  # one angle for all of a row
    assert torch.allclose(each.abs(), torch.ones(64, dtype=torch.float64), atol=1e-5)


def test_angles_are_uniform_over_the_circle_for_a_share_of_the_rows():
    x = torch.ones(4000, 1, 3)
    every = torch.ones(4000, 1, 3, dtype=torch.bool)
    batch = Batch(x, every[..., 0], every, ~every, every[..., 0])
    turned = Rotate(columns=("x", "y"), share=0.75).apply(Rng.of(5, np.arange(4000)), batch, PLANE.space, PLANE)
    changed = (turned.x != x).any(-1)[:, 0]
    assert abs(float(changed.double().mean()) - 0.75) < 4 * (0.1875 / 4000) ** 0.5
    old, new = (torch.view_as_complex(in_data(part)[:, 0, :2].contiguous()) for part in (x, turned.x))
    angle = (new / old).angle()[changed].numpy() / (2 * np.pi) % 1
    assert kstest(angle, "uniform").pvalue > 0.001


def test_equal_seeds_rotate_alike_wherever_training_goes_on():
    x = np.random.Generator(np.random.Philox(8)).standard_normal((80, 3)).astype(np.float32)
    going, resumed = tracks(x, share=0.5), tracks(x, share=0.5)
    batches = [going.batch(cursor) for cursor in range(4)]
    assert torch.equal(resumed.batch(3).x, batches[3].x)
    assert not torch.equal(batches[2].x, batches[3].x)


def test_where_one_of_a_pair_is_missing_both_are_in_rows_that_are_rotated():
    drawn = np.random.Generator(np.random.Philox(9))
    known = drawn.random((80, 3)) < 0.8
    x = np.where(known, drawn.standard_normal((80, 3)), 0).astype(np.float32)
    plain, turned = tracks(x, known).batch(0), tracks(x, known, share=0.5).batch(0)
    assert plain.past is not None
    assert turned.past is not None
    rows = (turned.x != plain.x).flatten(1).any(1)
    assert 16 <= int(rows.sum()) <= 48  # of 64
    for old, new in ((plain, turned), (plain.past, turned.past)):
        both = old.known[..., :2].all(-1, keepdim=True)
        assert torch.equal(new.known[rows][..., :2], both[rows].expand(-1, -1, 2))
        assert not new.x[~new.known].any()
        assert torch.equal(new.known[..., 2], old.known[..., 2])
        assert torch.equal(new.x[~rows], old.x[~rows])
        assert torch.equal(new.known[~rows], old.known[~rows])


def test_a_field_of_two_numbers_is_a_pair():
    codec = Strokes(scale=2.0)
    x = torch.tensor([[[3.0, 4.0, 1.0]]]).expand(8, 2, 3)
    every = torch.ones(8, 2, 3, dtype=torch.bool)
    batch = Batch(x, every[..., 0], every, ~every, every[..., 0])
    turned = Rotate(columns=("move",)).apply(Rng.of(0, np.arange(8)), batch, codec.space, codec).x
    assert torch.allclose(turned[..., :2].norm(dim=-1), torch.full((8, 2), 5.0))
    assert len(set(turned[:, 0, 0].tolist())) == 8
    assert (turned[..., 2] == 1).all()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["x", "z"], "no column 'z'"),
        (["x"], "no pairs"),
        (["x", "x"], "no pairs"),
        (["x", "y", "speed"], "no pairs"),
        (["x", "count"], "'count' holds no real numbers"),
        (["x", "kind"], "'kind' holds no real numbers"),
    ],
)
def test_columns_that_are_no_pairs_of_real_numbers_are_refused(columns: list[str], message: str):
    others = (Field(name="count", support="count"), Field(name="kind", width=3, support="category"))
    space = Vectors(fields=(*PLANE.space.fields, *others))
    batch = reader(space, np.zeros((40, space.dim), np.float32)).batch(0)
    with pytest.raises(ConfigError, match=rf"feed\.augment.*{message}"):
        Rotate(columns=tuple(columns)).apply(Rng.of(0, np.arange(40)), batch, space, PLANE)


def test_jitter_adds_noise_to_known_real_numbers_only():
    x, known = numbers()
    plain = reader(SPACE, x, known).batch(1)
    noisy = reader(SPACE, x, known, augment=[{"name": "jitter", "spread": 0.5}]).batch(1)
    moved = noisy.x - plain.x
    real = plain.known.clone()
    real[..., 2:] = False
    assert not moved[~real].any()
    assert abs(float(moved[real].std()) - 0.5) < 0.03


def symbols() -> tuple[Tokens, np.ndarray]:
    """Two sequences that end, of different symbols."""
    return Tokens(size=10, ends=True), np.concatenate([np.arange(40) % 5, 5 + np.arange(40) % 5]).astype(np.uint8)


def test_substitutes_are_of_the_same_row_and_of_the_share_asked_for_and_what_is_learned_stays():
    space, x = symbols()
    plain = reader(space, x).batch(0)
    batch = reader(space, x, augment=[{"name": "substitute", "share": 0.4}]).batch(0)
    assert torch.equal(batch.x, plain.x)
    changed = batch.read != plain.x
    ends = plain.x == space.end
    assert ends.any()
    assert torch.equal(batch.read == space.end, ends)
    assert not changed[~plain.present].any()
    share = float(changed[plain.present & ~ends].float().mean())
    assert abs(share - 0.4 * 4 / 5) < 0.05  # one in five is replaced by itself
    low = (plain.x < 5) & plain.present
    assert (batch.read[low] < 5).all()


@pytest.mark.parametrize("span", [1, 4])
def test_stretches_cover_the_share_asked_for_at_every_place(span: int):
    covered = in_stretches(Rng.of(0, np.arange(4000)).at("a"), 12, 0.3, span)
    assert np.abs(covered.mean(0) - 0.3).max() < 4 * (0.21 / 4000) ** 0.5
    inside = covered[:, 1:-1] & ~covered[:, :-2]  # a stretch that begins within the row is as long as it should be
    row, begin = np.nonzero(inside)
    for k in range(span):
        there = begin + 1 + k < covered.shape[1]
        assert covered[row[there], begin[there] + 1 + k].all()


def test_what_is_left_after_deleting_stands_in_order_with_what_belongs_to_it():
    space, x = symbols()
    settings = {"order": "whole", "window": 64}
    plain = reader(space, x, **settings).batch(0)
    plain = replace(plain, given={"beside": Condition(plain.x + 100, plain.present, aligned=True)})
    own = Rng.of(0, np.arange(len(plain.x)))
    batch = Delete(share=0.3).apply(own, plain, space, None)
    assert 0.55 < float(batch.present.sum() / plain.present.sum()) < 0.85
    for row in range(len(plain.x)):
        left = batch.x[row, : int(batch.present[row].sum())]
        assert left[-1] == space.end
        assert left[0] == plain.x[row, 0]
        before = iter(plain.x[row].tolist())
        assert all(symbol in before for symbol in left.tolist())  # in order
        assert torch.equal(batch.given["beside"].x[row, : len(left)], left + 100)
        assert not batch.known[row, len(left) :].any()
    none = Delete(share=0.999999).apply(own, plain, space, None)
    assert (none.present.sum(1) == 2).all()  # what begins and what ends


def test_shuffling_moves_symbols_so_far_and_no_end():
    space = Tokens(size=50, ends=True)
    plain = reader(space, np.arange(40).astype(np.uint8), order="whole", window=64).batch(0)
    for distance in (1, 3):
        batch = Shuffle(distance=distance).apply(Rng.of(1, np.arange(2)), plain, space, None)
        moved = (batch.x - plain.x)[:, :20].abs()
        assert min(distance, 2) <= int(moved.max()) <= distance
        assert torch.equal(batch.x.sort(1).values, plain.x.sort(1).values)
        assert (batch.x[:, 20] == space.end).all()


def test_a_condition_is_changed_alone_and_by_its_name():
    x = (np.arange(40) % 7).astype(np.uint8)
    space, codec = Tokens(size=7, ends=True), Bpe(most=260).fit(["a b"])
    source = Flat(np.arange(60).astype(np.uint16) % 7, np.array([0, 30, 60]))
    split = Split(Flat(x, np.array([0, 20, 40])), {"source": source}, 0.0, 0.0, "")

    def batch(**settings) -> Batch:
        feed = Feed.parse({"window": 32, "batch": 2, "order": "whole", "budget": 64, **settings})
        return Reader(feed, split, space, 0, {}, codec=codec, given={"source": codec}).batch(0)

    plain, changed = batch(), batch(augment=[{"name": "delete", "share": 0.3, "given": "source"}])
    assert torch.equal(plain.x, changed.x)
    assert plain.given["source"].present.sum() > changed.given["source"].present.sum()
    read = batch(augment=[{"name": "substitute", "share": 0.3, "given": "source"}]).given["source"].x
    assert 0.1 < float((read != plain.given["source"].x).float().mean()) < 0.4
    with pytest.raises(ConfigError, match="no condition 'sauce'"):
        batch(augment=[{"name": "delete", "given": "sauce"}])
    with pytest.raises(ConfigError, match=r"feed\.augment.*streams"):
        batch(order="streams", augment=["delete"])


def test_bpe_dropout_has_the_law_of_its_paper_and_is_the_usual_encoding_without():
    """The law of the pieces of one word, enumerated: the first merge in order that is not left out is made."""
    codec = Bpe(most=280).fit([WORDS])
    x = codec.encode(WORDS).x
    (same,), (owner,) = codec.written_anew([x], Rng.of(0, np.array([0])).at("a"), 0.0)
    assert np.array_equal(same, x)
    assert np.array_equal(owner, np.arange(len(x)))
    merges = {pair: i for i, pair in enumerate(map(tuple, codec.tokenizer["model"]["merges"]))}

    def law(word: tuple[str, ...], share: float) -> dict[tuple[str, ...], float]:
        pairs = sorted((merges[pair], i) for i, pair in enumerate(pairwise(word)) if pair in merges)
        found = {word: share ** len(pairs)}
        for k, (_, i) in enumerate(pairs):
            for pieces, p in law((*word[:i], word[i] + word[i + 1], *word[i + 2 :]), share).items():
                found[pieces] = found.get(pieces, 0.0) + share**k * (1 - share) * p
        return found

    count, names = 3000, codec.tokenizer["model"]["vocab"]
    truth = law(tuple("\u0120lowest"), 0.4)
    assert len(truth) > 8
    row = codec.encode(" lowest").x
    drawn, owners = codec.written_anew([row] * count, Rng.of(3, np.arange(count)).at("a"), 0.4)
    seen = Counter(tuple(symbols.tolist()) for symbols in drawn)
    expected = {tuple(names[piece] for piece in pieces): count * p for pieces, p in truth.items()}
    assert set(seen) <= set(expected)
    far = sum((seen[key] - value) ** 2 / value for key, value in expected.items())
    assert far < chi2.ppf(0.999, len(expected) - 1)
    assert all(len(symbols) == len(own) for symbols, own in zip(drawn, owners, strict=True))


def test_pieces_are_joined_anew_in_training_within_the_window_and_with_what_belongs_to_them():
    codec = Bpe(most=280).fit([WORDS])
    x = codec.encode(WORDS).x
    space = codec.space.replace(ends=True)
    split = Split(Flat(x, np.array([0, len(x) // 2, len(x)])), {}, 0.0, 0.0, "")

    def batch(augment: list[str], order: str) -> Batch:
        feed = Feed.parse({"window": 40, "batch": 4, "order": order, "augment": augment})
        return Reader(feed, split, space, 0, {}, codec=codec, parts=5).batch(0)

    for order in ("windows", "whole"):
        plain, changed = batch([], order), batch(["bpe_dropout"], order)
        assert changed.x.shape[1] <= 40
        for row in range(len(plain.x)):
            one, other = (
                b"".join(codec.spelling[s] for s in own.x[row][own.present[row]].tolist() if s != space.end)
                for own in (plain, changed)
            )
            assert one.startswith(other)
        assert changed.part is not None
        assert int(changed.begins.sum()) == int(plain.begins.sum())
    with pytest.raises(ConfigError, match="one way only"):
        Characters(alphabet="ab").written_anew([x], Rng.of(0, np.array([0])), 0.1)


@pytest.mark.parametrize("process", [Autoregressive(), Masked(), Block(size=2), AnyOrder(), Uniform()], ids=repr)
def test_every_process_reads_what_was_noised_and_learns_what_was_not(process: Process):
    space = Tokens(size=6)
    net = Network(Backbone(mixer=Gru(), width=8, depth=1), process.spec(space), space, 8, {}, seed=0)
    x = torch.arange(16).view(2, 8) % 6
    every = torch.ones_like(x, dtype=torch.bool)
    batch = Batch(x, every, every, ~every, torch.arange(8).expand(2, -1) == 0)

    def loss(noised: torch.Tensor | None) -> float:
        return process.loss(net, replace(batch, noised=noised), Rng.of(0, np.arange(2))).total.item()

    other = (x + 1) % 6
    assert loss(x) == loss(None)
    assert loss(other) != loss(None)
    if isinstance(process, Autoregressive):
        head, params, _ = process.distributions(net, replace(batch, x=other), None)
        assert loss(other) == pytest.approx(head.nats(params, x, every).sum().item(), rel=1e-5)


def test_what_does_not_fit_the_space_is_refused_and_nothing_is_the_default():
    x, known = numbers()
    assert Feed().augment == []
    for name in ("substitute", "delete", "shuffle", "bpe_dropout"):
        with pytest.raises(ConfigError, match=r"feed\.augment"):
            reader(SPACE, x, known, augment=[name]).batch(0)
    for augmentation in (Scale(), Jitter(), Rotate(columns=("x", "y"))):
        with pytest.raises(ConfigError, match=r"feed\.augment"):
            reader(Tokens(size=3), np.zeros(50, np.uint8), augment=[augmentation]).batch(0)
    assert Substitute().share > 0
