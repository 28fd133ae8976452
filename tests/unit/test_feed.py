"""Feed: what each step reads, by cursor."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from seqloom import planning
from seqloom.core.errors import DataError
from seqloom.corpora.base import Flat, Split
from seqloom.sequence.space import Field, Tokens, Vectors
from seqloom.training.feed import Feed, Reader
from seqloom.training.patterns import Nothing, Prefix


def split(sizes, known=None):
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    x = np.concatenate([np.full(size, i % 250, np.uint8) for i, size in enumerate(sizes)])
    return Split(Flat(x, starts), {}, float(len(x)), 0.0, "")


SIZES = np.random.Generator(np.random.Philox(key=5)).integers(1, 60, size=200)
SPACE = Tokens(size=250, ends=True)


def read(reader, cursor):
    """Which sequences a step reads (they are told by their symbols) and how much of each."""
    batch = reader.batch(cursor)
    return batch.x[:, 0].tolist(), batch.present.sum(1).tolist(), batch


def test_whole_sequences_come_once_an_epoch_within_the_budget():
    reader = Reader(Feed(window=64, order="whole", budget=300), split(SIZES), SPACE, 7, {})
    steps = len(reader.epochs.bounds) - 1
    orders = []
    for epoch in range(3):
        seen = []
        for cursor in range(epoch * steps, (epoch + 1) * steps):
            rows, lengths, batch = read(reader, cursor)
            assert batch.x.numel() <= 300
            assert lengths == [SIZES[row] + 1 for row in rows], "with its end, and whole"
            assert batch.begins[:, 0].all()
            seen += rows
        assert sorted(seen) == list(range(200))
        orders.append(seen)
    assert orders[0] != orders[1] != orders[2]


def test_whole_sequences_resume_by_cursor_alone():
    spec = Feed(window=64, order="whole", budget=300)
    one, other = (Reader(spec, split(SIZES), SPACE, 7, {}) for _ in range(2))
    expected = [read(one, cursor)[0] for cursor in range(90)]
    for cursor in (80, 3, 45):
        assert read(other, cursor)[0] == expected[cursor]
    assert (other.keys(80).first == one.keys(80).first).all()
    assert len({word for cursor in range(90) for word in one.keys(cursor).first.tolist()}) == sum(map(len, expected))


def test_a_horizon_hides_the_end_of_half_the_rows_that_show_something():
    size, x = Vectors(fields=(Field(name="a"), Field(name="b"))), np.zeros((400, 2), np.float32)
    data = Split(Flat(x, np.array([0, 400])), {}, 400.0, 0.0, "")

    def shown(pattern, horizon):
        reader = Reader(Feed(window=20, batch=64, pattern=pattern, horizon=horizon), data, size, 3, {})
        batches = [reader.batch(cursor) for cursor in range(8)]
        return torch.cat([batch.shown for batch in batches]).numpy()

    ahead = np.arange(20)[:, None] < np.array([[13, 13]])
    rows = (shown(Prefix(), 7) == ahead).all((1, 2))
    assert rows.mean() == pytest.approx(0.5 + 0.5 / 19, abs=0.07)
    assert (shown(Prefix(), 7)[~rows] == shown(Prefix(), None)[~rows]).all(), "the others are as they were"
    assert not shown(Nothing(), 7).any()
    assert (shown(Prefix(), 99)[:, 0]).all(), "a horizon beyond the window leaves one row"


def test_padding_is_small_against_what_is_read():
    reader = Reader(Feed(window=64, order="whole", budget=400), split(SIZES), SPACE, 7, {})
    steps = len(reader.epochs.bounds) - 1
    batches = [reader.batch(cursor) for cursor in range(steps)]
    read_in_all, padded = sum(int(b.present.sum()) for b in batches), sum(b.x.numel() for b in batches)
    assert read_in_all == SIZES.sum() + 200
    assert padded < 1.15 * read_in_all


@pytest.mark.parametrize("long", ["cut", "skip"])
def test_what_is_longer_than_the_window_is_cut_or_left_out(long):
    reader = Reader(Feed(window=32, order="whole", long=long), split(SIZES), SPACE, 7, {})
    steps = len(reader.epochs.bounds) - 1
    seen = {}
    for cursor in range(steps):
        rows, lengths, _ = read(reader, cursor)
        seen |= dict(zip(rows, lengths, strict=True))
    expected = {i: min(size + 1, 32) for i, size in enumerate(SIZES) if long == "cut" or size + 1 <= 32}
    assert seen == expected


def test_windows_that_are_filled_are_all_of_one_length():
    reader = Reader(Feed(window=64, order="whole", batch=4), split(SIZES), SPACE, 7, {}, fill=True)
    assert all(reader.batch(cursor).x.shape[1] == 64 for cursor in range(9))
    assert all(reader.batch(cursor).present.all() for cursor in range(9))


@pytest.mark.parametrize("size", [5, 40, 100, 127, 128, 500])
def test_streams_never_read_beyond_the_data(size):
    spec = Feed(window=16, batch=8, order="streams")
    data = split([size])
    data = replace(data, data=Flat(np.arange(size) % 250, data.data.starts))
    reader = Reader(spec, data, Tokens(size=250), 3, {})
    for cursor in range(40):
        batch = reader.batch(cursor)
        assert batch.x.shape == (max(1, min(8, size // 16)), min(16, size))
        first = batch.x[:, :1]
        assert ((batch.x - first) % 250 == np.arange(min(16, size))).all(), "contiguous, never wrapped"


def test_streams_read_each_sequence_beside_its_own_label():
    space, labels = Tokens(size=250), np.arange(len(SIZES)) % 7
    data = replace(split(SIZES), given={"label": Flat(labels.astype(np.uint8), np.arange(len(SIZES) + 1))})
    reader = Reader(Feed(window=16, batch=8, order="streams"), data, space, 3, {"label": 0.25})
    sequences, dropped, total = set(), 0, 0
    for cursor in range(reader.chunks):
        batch = reader.batch(cursor)
        label = batch.given["label"]
        each = torch.arange(len(batch.x))[:, None]
        owner = each.expand(batch.x.shape) if label.owner is None else label.owner
        assert torch.equal(label.x[:, 0][owner], batch.x % 7), "what is beside each element is its sequence's"
        sequences |= set(batch.x.flatten().tolist())
        dropped, total = dropped + int((~label.present).sum()), total + len(label.present)
    assert len(sequences) > 190
    assert abs(dropped / total - 0.25) < 4 * (0.25 * 0.75 / total) ** 0.5


def plan(path, notes, **feed):
    rows = "\n".join("ab" * (1 + i % 20) for i in range(60))
    folder = path / "texts"
    if not folder.exists():
        folder.mkdir()
        for i, row in enumerate(rows.split("\n")):
            (folder / f"{i}.txt").write_text(row)
    settings = {"feed": feed, "trainer": {"steps": 1}, "backbone": {"width": 16, "depth": 1}}
    return planning.plan(str(folder), settings, model="gru", out=path / "run", notify=notes.append)


def test_what_is_cut_skipped_or_refused_is_said(tmp_path):
    notes = []
    plan(tmp_path, notes, order="whole", window=64)
    assert not notes
    plan(tmp_path, notes, order="whole", window=30, long="cut")
    plan(tmp_path, notes, order="whole", window=30, long="skip")
    assert "only their beginning is read" in notes[0]
    assert "left out" in notes[1]
    with pytest.raises(DataError, match=r"longer than feed\.window=30"):
        plan(tmp_path, notes, order="whole", window=30, long="refuse")
    with pytest.raises(DataError, match=r"longer than feed\.window=1\b"):
        plan(tmp_path, notes, order="whole", window=1, long="skip")
    plan(tmp_path, notes, order="streams", window=64, batch=1000)
    assert "streams" in notes[-1]


def test_short_separate_items_are_advised_to_be_read_whole(tmp_path):
    planned = plan(tmp_path, [])
    assert planned.recipe.feed.order == "whole"
    assert planned.recipe.feed.window == 41, "the longest, with its end"


@pytest.mark.parametrize("order", ["windows", "streams"])
@pytest.mark.parametrize("kind", ["symbols", "numbers"])
def test_steps_that_are_read_together_are_those_read_alone(order, kind):
    sizes = np.array([300, 25, 700])
    data, space = split(sizes), Tokens(size=250)
    if kind == "numbers":
        x = np.arange(2 * sizes.sum(), dtype=np.float32).reshape(-1, 2)
        data = replace(data, data=Flat(x, data.data.starts, x % 7 != 0))
        space = Vectors(fields=(Field(name="a"), Field(name="b")))
    spec = Feed(window=12, batch=5, order=order, pattern=Prefix(), horizon=4, shorter=0.3)
    reader = Reader(spec, data, space, 3, {}, past=2, parts=4)
    assert reader.together > 1
    for cursor in (0, 1, reader.together - 1, reader.together, 77, 400, 2):
        batch, alone = reader.batch(cursor), reader.read(cursor)
        for name in ("x", "present", "known", "shown", "begins", "part"):
            assert torch.equal(getattr(batch, name), getattr(alone, name)), name
        assert torch.equal(batch.past.x, alone.past.x)
        assert torch.equal(batch.past.known, alone.past.known)
