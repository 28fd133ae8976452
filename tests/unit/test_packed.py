"""Packed sequences: ends, what is known and shown, the past, and conditions cut with the window."""

from __future__ import annotations

import numpy as np
import torch

from seqloom.corpora.base import Flat, Split
from seqloom.corpora.packed import Packed
from seqloom.sequence.space import Field, Tokens, Vectors
from seqloom.training.feed import Feed, Reader

STARTS = np.array([0, 3, 5])


def vectors(ends: bool) -> Vectors:
    return Vectors(fields=(Field(name="x"), Field(name="pen", support="binary")), ends=ends)


def test_vectors_that_end_have_a_flag_of_their_own():
    space = vectors(ends=True)
    assert (space.dim, space.end, space.symbolic) == (3, 2, False)
    assert [field.name for field in space.all_fields] == ["x", "pen", "end"]
    assert space.slices == {"x": slice(0, 1), "pen": slice(1, 2), "end": slice(2, 3)}
    assert vectors(ends=False).end is None
    assert Vectors(fields=(Field(name="key", width=3, support="category"),)).measure == "mass"
    assert (space.measure, Tokens(size=2).measure) == ("density", "mass")


def test_the_end_flag_is_on_the_last_element_and_beyond():
    x = np.arange(10, dtype=np.float32).reshape(5, 2)
    known = np.ones((5, 2), bool)
    known[4, 0] = False
    packed = Packed(Flat(x, STARTS, known), vectors(ends=True))
    assert packed.sizes.tolist() == [3, 2]
    batch = packed.window(np.array([0, 3]), 4)
    assert batch.x[0].tolist() == [[0, 1, 0], [2, 3, 0], [4, 5, 1], [0, 0, 0]]
    assert batch.x[1].tolist() == [[6, 7, 0], [0, 9, 1], [0, 0, 0], [0, 0, 0]]
    assert batch.known[1].tolist() == [[True] * 3, [False, True, True], [False] * 3, [False] * 3]
    assert batch.present.tolist() == [[True, True, True, False], [True, True, False, False]]
    filled = packed.window(np.array([3]), 4, fill=True)
    assert filled.x[0, 2:].tolist() == [[0, 0, 1], [0, 0, 1]]
    assert filled.known[0, 2:].all()
    assert filled.present.all()


def test_what_is_filled_beyond_an_end_keeps_its_own_condition():
    labels = Flat(np.array([7, 8, 9], np.uint8), np.array([0, 1, 2, 3]))
    data = Flat(np.arange(6, dtype=np.uint8), np.array([0, 1, 3, 6]))
    packed = Packed(data, Tokens(size=10, ends=True), {"label": labels})
    batch = packed.window(packed.starts[:2], 6, fill=True)
    assert batch.present.all()
    assert batch.given["label"].owner is None
    assert batch.given["label"].x.tolist() == [[7], [8]]
    assert batch.begins.sum(1).tolist() == [1, 1]


def test_a_batch_on_another_device_keeps_whose_condition_is_whose():
    labels = Flat(np.array([7, 8], np.uint8), np.array([0, 1, 2]))
    packed = Packed(Flat(np.arange(4, dtype=np.uint8), np.array([0, 2, 4])), Tokens(size=10), {"label": labels})
    batch = packed.batch(np.arange(4)[None], np.ones((1, 4), bool))
    assert batch.given["label"].owner.tolist() == [[0, 0, 1, 1]]
    assert batch.to(torch.device("meta")).given["label"].owner.shape == (1, 4)


def test_the_past_is_of_the_same_sequence():
    data = Flat(np.arange(5, dtype=np.uint8), STARTS)
    packed = Packed(data, Tokens(size=5, ends=True))  # 0 1 2 end 3 4 end
    batch = packed.window(np.array([2, 4, 6]), 2, past=2)
    assert batch.x.tolist() == [[2, 5], [3, 4], [5, 0]]
    assert batch.past is not None
    assert batch.past.x.tolist() == [[0, 1], [0, 0], [3, 4]]
    assert batch.past.known.tolist() == [[True, True], [False, False], [True, True]]
    assert packed.window(np.array([0]), 2).past is None
    series = Packed(Flat(np.arange(10, dtype=np.float32).reshape(5, 2), STARTS), vectors(ends=False))
    past = series.window(np.array([4]), 1, past=2).past
    assert past is not None
    assert past.x.tolist() == [[[0, 0], [6, 7]]]
    assert past.known.tolist() == [[[False, False], [True, True]]]


def test_context_is_shown_and_known():
    shown = np.array([True, False, False, True, False])
    packed = Packed(Flat(np.arange(5, dtype=np.uint8), STARTS, shown=shown), Tokens(size=5, ends=True))
    batch = packed.window(np.array([0, 4]), 4)
    assert batch.shown.tolist() == [[True, False, False, False], [True, False, False, False]]
    assert batch.wanted.tolist() == [[False, True, True, True], [False, True, True, False]]


def test_aligned_conditions_are_cut_with_the_window():
    space = Tokens(size=5, ends=True)
    beside = Flat(np.arange(10, 15, dtype=np.int64), STARTS)
    label = Flat(np.array([7, 8]), np.array([0, 1, 2]))
    packed = Packed(Flat(np.arange(5, dtype=np.uint8), STARTS), space, {"a": beside, "b": label}, aligned=["a"])
    batch = packed.window(np.array([1, 4]), 3)
    assert batch.given["a"].x[:, :2].tolist() == [[11, 12], [13, 14]]
    assert batch.given["a"].present.tolist() == [[True, True, False], [True, True, False]]
    assert batch.given["b"].x.tolist() == [[7], [8]]
    missing = Packed(Flat(np.arange(5, dtype=np.uint8), STARTS), space, {"a": Flat(np.zeros(0), np.zeros(3, int))})
    assert not torch.any(missing.window(np.array([0]), 2).given["a"].present)


def test_some_rows_are_cut_to_a_random_length():
    split = Split(Flat(np.arange(400) % 5, np.array([0, 400])), {}, 400.0, 0.0, "")
    readers = [
        Reader(Feed(window=16, batch=64, shorter=share), split, Tokens(size=5), 3, {}) for share in (0.0, 0.5, 1.0)
    ]
    whole, some, every = (reader.batch(7) for reader in readers)
    assert whole.present.all()
    lengths = some.present.sum(1)
    assert 0.25 < (lengths < 16).double().mean() < 0.75
    assert set(every.present.sum(1).tolist()) >= set(range(2, 16))
    for batch in (some, every):
        assert torch.equal(batch.x, whole.x)
        assert torch.equal(batch.present, batch.known)
        assert (batch.present.int().diff(dim=1) <= 0).all()  # padding is at the right


def test_symbols_copied_as_rows_are_those_gathered_one_by_one():
    generator = np.random.Generator(np.random.Philox(key=1))
    starts = np.array([0, 40, 43, 90])
    for ends in (False, True):
        packed = Packed(Flat(generator.integers(0, 9, 90).astype(np.uint8), starts), Tokens(size=10, ends=ends))
        first = np.array([0, 5, int(packed.starts[2]), int(packed.starts[2]) + 30])
        position = first[:, None] + np.arange(16)
        told = {"past": 3, "parts": 5}
        fast = packed._symbols(first, 16, **told)
        assert fast is not None
        same(fast, packed.batch(position, np.ones(position.shape, bool), **told))
        same(packed.window(first, 16, **told), fast)
        across = first + 10  # the end of a sequence is in them
        assert packed._symbols(across, 31, **told) is None
        position = across[:, None] + np.arange(31)
        same(packed.run(across, 31, **told), packed.batch(position, np.ones(position.shape, bool), **told))
    assert Packed(Flat(packed.data.x, starts, np.ones(90, bool)), packed.space)._symbols(first, 16, 0, 0) is None


def same(one, other):
    for name in ("x", "present", "known", "shown", "begins", "part"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None), name
        assert a is None or (a.dtype == b.dtype and torch.equal(a, b)), name
    assert torch.equal(one.past.x, other.past.x)
    assert torch.equal(one.past.known, other.past.known)
