"""What every mixer promises, found by the registry: a new one is held to it by its class line."""

import itertools

import numpy as np
import pytest
import torch

from seqloom.core.config import members_of
from seqloom.core.errors import ConfigError
from seqloom.mixers.attention import Attention
from seqloom.mixers.base import Mixer
from seqloom.mixers.recurrent import RecurrentState, Rnn

WIDTH, STEPS, ROWS = 8, 9, 3
MIXERS = {name: cls() for name, cls in members_of(Mixer).items()}
MIXERS["attention, learned places"] = Attention(positions="learned", places=STEPS)
MIXERS["rnn, relu"] = Rnn(nonlinearity="relu")

every = pytest.mark.parametrize("mixer", MIXERS.values(), ids=MIXERS)


def build(mixer, block, seed=0):
    """The module in float64, initialised and then shaken, so that nothing is zero."""
    module = mixer.build(WIDTH, block)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
        for part in module.modules():
            if hasattr(part, "initialise"):
                part.initialise(generator)
        for name, parameter in module.named_parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
            if "bias" in name:  # a unit that is cut off hears nothing
                parameter.abs_().add_(0.3)
    return module.double()


def sequence(rows=ROWS, steps=STEPS, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, steps, WIDTH)))


def read(module, h, sizes, room=STEPS, undo=0):
    """All of h in chunks of these sizes."""
    state, parts, at = module.begin(len(h), room, undo), [], 0
    for size in sizes:
        part, state = module(h[:, at : at + size], state=state, count=np.full(len(h), size))
        parts.append(part)
        at += size
    return torch.cat(parts, 1), state


def same(one, other):
    torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


# ---- what is heard ------------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("block", [1, None])
def test_a_position_hears_what_it_may_and_only_that(mixer, block):
    module = build(mixer, block)
    h = sequence().requires_grad_()
    for t in (0, 4, STEPS - 1):
        (grad,) = torch.autograd.grad(module(h)[0][1, t].square().sum(), h)
        heard = grad.abs().sum(-1) > 1e-14
        assert not heard[[0, 2]].any()  # rows are strangers
        assert heard[1].tolist() == [block is None or i <= t for i in range(STEPS)]


@every
@pytest.mark.parametrize("block", [1, None])
def test_padding_is_ignored(mixer, block):
    module = build(mixer, block)
    h, length = sequence(), np.array([STEPS, 4, 1])
    present = torch.as_tensor(np.arange(STEPS) < length[:, None])
    padded = module(h, present)[0]
    other = module(torch.where(present.unsqueeze(-1), h, 1e3), present)[0]
    for row, n in enumerate(length):
        same(padded[row, :n], module(h[row : row + 1, :n])[0][0])
        same(padded[row, :n], other[row, :n])
    assert torch.isfinite(padded).all()


@every
@pytest.mark.parametrize("block", [1, None])
def test_gradients_reach_every_parameter_and_a_row_of_nothing_gives_no_nan(mixer, block):
    module = build(mixer, block)
    h = sequence().requires_grad_()
    present = torch.ones(ROWS, STEPS, dtype=torch.bool)
    present[2] = False  # a condition that is dropped is such a row
    out = module(h, present)[0].masked_fill(~present.unsqueeze(-1), 0.0)
    out.square().sum().backward()
    for name, parameter in module.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        rows = parameter.grad.reshape(len(parameter), -1)
        assert (rows.abs().sum(1) > 0).any(), name
    assert torch.isfinite(h.grad[:2]).all()
    assert (h.grad[:2].abs().sum(-1) > 0).all()


@every
def test_a_sequence_is_not_a_set(mixer):
    """The order of what is heard matters, both ways too."""
    for block in (1, None):
        module, h = build(mixer, block), sequence(rows=1)
        turned = h[:, [1, 0, *range(2, STEPS)]]
        assert float((module(h)[0][0, 2:] - module(turned)[0][0, 2:]).detach().abs().max()) > 1e-6


# ---- reading in chunks --------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("sizes", [[STEPS], [1] * STEPS, [4, 5], [2, 1, 5, 1]], ids=str)
def test_reading_in_chunks_equals_reading_at_once(mixer, sizes):
    module, h = build(mixer, 1), sequence()
    at_once = module(h)[0]
    for undo in (0, 3):
        parts, state = read(module, h, sizes, undo=undo)
        same(parts, at_once)
        assert state.length.tolist() == [STEPS] * ROWS


@every
def test_streams_go_on_without_a_count(mixer):
    module, h = build(mixer, 1), sequence()
    first, state = module(h[:, :4], state=module.begin(ROWS, STEPS))
    second, state = module(h[:, 4:], state=state.detach())
    same(torch.cat([first, second], 1), module(h)[0])
    assert state.length.tolist() == [STEPS] * ROWS


@every
@pytest.mark.parametrize("undo", [0, 2])
def test_rows_of_a_chunk_may_read_different_numbers(mixer, undo):
    module, h = build(mixer, 1), sequence()
    at_once = module(h)[0]
    random = np.random.default_rng(3)
    for _ in range(5):
        state, at = module.begin(ROWS, STEPS, undo), np.zeros(ROWS, np.int64)
        while (at < STEPS).any():
            count = np.minimum(random.integers(0, 5, ROWS), STEPS - at)
            wide = max(1, int(count.max()))
            chunk = torch.full((ROWS, wide, WIDTH), 7.0, dtype=torch.float64)
            for row in range(ROWS):
                chunk[row, : count[row]] = h[row, at[row] : at[row] + count[row]]
            out, state = module(chunk, state=state, count=count)
            for row in range(ROWS):
                same(out[row, : count[row]], at_once[row, at[row] : at[row] + count[row]])
            at += count
            assert state.length.tolist() == at.tolist()


@every
def test_a_call_may_use_the_first_slots_only(mixer):
    module, h = build(mixer, 1), sequence()
    state = module.begin(ROWS + 4, STEPS + 6)
    first, state = module(h[:2, :5], state=state, count=np.array([5, 5]))
    second, state = module(h[:, :4], state=state, count=np.array([0, 0, 4]))
    same(first, module(h[:2, :5])[0])
    same(second[2], module(h[2:, :4])[0][0])
    assert state.length.tolist() == [5, 5, 4, 0, 0, 0, 0]


# ---- states -------------------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("undo", [0, 2])
def test_select_reorders_drops_and_repeats_rows_that_are_their_own(mixer, undo):
    module, h = build(mixer, 1), sequence()
    _, state = read(module, h[:, :5], [3, 2], undo=undo)
    chosen = np.array([2, 0, 0])
    picked = state.select(chosen)
    whole = module(torch.cat([h[chosen, :5], h[:, 5:]], 1))[0]
    out, picked = module(h[:, 5:], state=picked, count=np.full(ROWS, STEPS - 5))
    same(out, whole[:, 5:])
    assert picked.length.tolist() == [STEPS] * 3
    assert state.length.tolist() == [5] * 3  # what it was taken from is as before
    same(module(h[:, 5:], state=state, count=np.full(ROWS, STEPS - 5))[0], module(h)[0][:, 5:])


@every
@pytest.mark.parametrize("undo", [0, 2])
def test_put_writes_rows_over_others(mixer, undo):
    """A reader's state, without undo, goes into slots that other rows have used."""
    module, h, other = build(mixer, 1), sequence(), sequence(rows=2, seed=5)
    _, live = read(module, h[:, :6], [6], undo=undo)
    _, reader = read(module, other[:, :3], [2, 1])
    live.put(np.array([0, 2]), reader, np.array([1, 0]))
    assert live.length.tolist() == [3, 6, 3]
    rest = sequence(steps=3, seed=6)
    out, live = module(rest, state=live, count=np.array([3, 3, 3]))
    for slot, past in enumerate([other[1:, :3], h[1:2, :6], other[:1, :3]]):
        same(out[slot], module(torch.cat([past, rest[slot : slot + 1]], 1))[0][0, -3:])
    assert reader.length.tolist() == [3, 3]
    live.put(np.array([1]), live, np.array([2]))  # a hole is filled from the same state
    assert live.length.tolist() == [6, 6, 6]


@every
def test_rolling_back_and_reading_on_equals_never_having_read(mixer):
    module, h = build(mixer, 1), sequence()
    wrong = sequence(seed=9)
    for undo, back in ((3, [5, 4, 3]), (3, [6, 6, 6]), (3, [0, 6, 5])):
        _, state = read(module, h[:, :3], [3], undo=undo)
        _, state = module(h[:, 3:6], state=state, count=np.full(ROWS, 3))
        state.rollback(np.array(back))
        assert state.length.tolist() == back
        for again in (wrong, h):  # once with other elements, rolled back again, and then with the true ones
            for row, at in enumerate(back):
                count = np.where(np.arange(ROWS) == row, 2, 0)
                out, state = module(again[:, at : at + 2], state=state, count=count)
                true = module(torch.cat([h[:, :at], again[:, at : at + 2]], 1))[0]
                same(out[row], true[row, at:])
            if again is wrong:
                state.rollback(np.array(back))


@every
def test_every_state_can_go_back_to_nothing(mixer):
    module, h = build(mixer, 1), sequence()
    for undo in (0, 2):
        _, state = read(module, h, [STEPS], undo=undo)
        state.rollback(np.array([0, STEPS]))  # of the first rows only
        assert state.length.tolist() == [0, STEPS, STEPS]
        same(module(h, state=state, count=np.array([STEPS, 0, 0]))[0][0], module(h)[0][0])


@every
def test_a_state_that_cannot_go_back_says_so(mixer):
    module, h = build(mixer, 1), sequence()
    _, state = read(module, h, [STEPS], undo=1)
    state.rollback(np.full(ROWS, STEPS - 1))
    if isinstance(state, RecurrentState):
        with pytest.raises(ValueError, match="larger undo"):
            state.rollback(np.full(ROWS, 2))
    else:  # then it must be right
        state.rollback(np.full(ROWS, 2))
        same(module(h[:, 2:], state=state, count=np.full(ROWS, STEPS - 2))[0], module(h)[0][:, 2:])


@every
def test_detach_cuts_the_gradient(mixer):
    module, h = build(mixer, 1), sequence().requires_grad_()
    _, state = module(h[:, :4], state=module.begin(ROWS, STEPS))
    out, _ = module(h[:, 4:], state=state.detach())
    (grad,) = torch.autograd.grad(out.sum(), h)
    assert (grad[:, :4] == 0).all()
    assert (grad[:, 4:] != 0).any()


@every
@pytest.mark.parametrize("undo", [0, 2])
def test_a_state_is_tensors_and_is_read_back(mixer, undo):
    module, h = build(mixer, 1), sequence()
    _, state = read(module, h[:, :5], [3, 2], undo=undo)
    kept = {name: value.clone() for name, value in state.tensors().items()}
    out, _ = module(h[:, 5:], state=state, count=np.full(ROWS, STEPS - 5))  # which must not reach what was kept
    again = module.begin(ROWS, STEPS, undo)
    again.load(kept)
    assert again.length.tolist() == [5] * ROWS
    assert torch.equal(module(h[:, 5:], state=again, count=np.full(ROWS, STEPS - 5))[0], out)
    assert all(torch.equal(value, state.tensors()[name]) for name, value in again.tensors().items())


# ---- beginning anew inside a chunk --------------------------------------------------------------------------------

BEGINS = torch.zeros(ROWS, STEPS, dtype=torch.bool)
BEGINS[0, [3, 4]] = BEGINS[1, 0] = BEGINS[2, 7] = True


def pieces(module, h, first=None):
    """The outputs when each sequence is read by itself, the first of a row after `first`."""
    rows = []
    for row, begins in zip(h, BEGINS, strict=True):
        cuts = sorted({0, *begins.nonzero().flatten().tolist(), STEPS})
        rows.append(torch.cat([module(row[None, a:b])[0] for a, b in itertools.pairwise(cuts)], 1))
    return torch.cat(rows)


@every
@pytest.mark.parametrize("block", [1, None])
@pytest.mark.parametrize("padded", [False, True])
def test_sequences_that_begin_inside_know_nothing_of_those_before(mixer, block, padded):
    module, h = build(mixer, block), sequence()
    present = torch.ones(ROWS, STEPS, dtype=torch.bool) if padded else None
    alone = mixer_starts_positions_anew(mixer)
    if alone:
        same(module(h, present, begins=BEGINS)[0], pieces(module, h))
    h.requires_grad_()
    (grad,) = torch.autograd.grad(module(h, present, begins=BEGINS)[0][0, 6].sum(), h)
    assert (grad[0].abs().sum(-1) > 1e-14).tolist() == [4 <= i <= (6 if block else STEPS) for i in range(STEPS)]


def mixer_starts_positions_anew(mixer):
    return getattr(mixer, "positions", "rope") != "learned"


@every
@pytest.mark.parametrize("undo", [0, 2])
@pytest.mark.parametrize("counted", [False, True])
def test_a_stream_begins_anew_where_it_is_told(mixer, undo, counted):
    module, h, past = build(mixer, 1), sequence(), sequence(seed=4)
    state = module.begin(ROWS, 2 * STEPS, undo)
    _, state = module(past, state=state, count=np.full(ROWS, STEPS))
    count = np.full(ROWS, STEPS) if counted else None
    if mixer.grows:
        with pytest.raises(ConfigError):
            module(h, state=state, count=count, begins=BEGINS)
        return
    out, state = module(h, state=state, count=count, begins=BEGINS)
    same(out[1], module(h[1:2])[0][0])
    same(out[0, 4:], module(h[:1, 4:])[0][0])
    same(out[2, :7], module(torch.cat([past[2:], h[2:]], 1))[0][0, STEPS : STEPS + 7])
    assert state.length.tolist() == [2 * STEPS] * ROWS


# ---- single members -----------------------------------------------------------------------------------------------


def test_learned_places_have_an_end_that_counts_only_what_is_read():
    module, h = build(Attention(positions="learned", places=STEPS), 1), sequence()
    with pytest.raises(ConfigError, match="longer than the learned places"):
        module(sequence(steps=STEPS + 1))
    _, state = read(module, h, [STEPS - 1])
    # The chunk is wider than what is left.
    out, state = module(h[:, -4:], state=state, count=np.array([1, 1, 0]))
    same(out[:2, 0], module(torch.cat([h[:, :-1], h[:, -4:-3]], 1))[0][:2, -1])
    with pytest.raises(ConfigError):
        module(h[:, :1], state=state, count=np.array([1, 0, 0]))


@pytest.mark.parametrize("block", [2, 3])
def test_attention_in_blocks_hears_its_own_block_and_earlier_ones(block):
    module, h = build(Attention(), block), sequence().requires_grad_()
    for t in range(STEPS):
        (grad,) = torch.autograd.grad(module(h)[0][0, t].sum(), h)
        heard = grad[0].abs().sum(-1) > 1e-14
        assert heard.tolist() == [i // block <= t // block for i in range(STEPS)]


def test_widths_that_cannot_be_are_refused():
    with pytest.raises(ConfigError) as caught:
        Attention(heads=3).build(8, 1)
    assert caught.value.path == "backbone.width"
    with pytest.raises(ConfigError):
        MIXERS["gru"].build(7, None)
    with pytest.raises(ConfigError):
        MIXERS["gru"].build(8, 4)


def test_rotary_attention_knows_only_distances():
    module = build(Attention(), None)
    h = sequence(rows=1)
    longer = torch.cat([sequence(rows=1, steps=3, seed=8), h], 1)
    present = torch.ones(1, STEPS + 3, dtype=torch.bool)
    # Causal windows that begin later give the same, where only the window is heard.
    causal = build(Attention(), 1)
    state = causal.begin(1, STEPS + 3)
    same(causal(h, state=state, count=np.array([STEPS]))[0], causal(h)[0])
    assert not torch.allclose(module(longer, present)[0][:, 3:], module(h)[0])
    place = torch.arange(STEPS)[None]
    from seqloom.mixers.attention import rotate

    q, k = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 1, 2, STEPS, 4)))
    near = [a @ b.transpose(-1, -2) for a, b in (rotate(q, k, place), rotate(q, k, place + 1000))]
    torch.testing.assert_close(near[0], near[1], atol=1e-9, rtol=1e-9)
