"""What every mixer promises, found by the registry: a new one is held to it by its class line."""

import itertools

import numpy as np
import pytest
import torch

from seqloom.core.config import members_of
from seqloom.core.errors import ConfigError
from seqloom.mixers.attention import Attention, turned
from seqloom.mixers.base import Mixer
from seqloom.mixers.conv import Conv, Dilated
from seqloom.mixers.positions import Alibi, Learned, NoPositions, Rope, Sinusoidal
from seqloom.mixers.recurrent import Rnn
from seqloom.mixers.scan import scan
from seqloom.mixers.window import Window

WIDTH, STEPS, ROWS = 8, 9, 3
MIXERS = {name: cls() for name, cls in members_of(Mixer).items()}
MIXERS["attention, learned places"] = Attention(positions=Learned(size=STEPS))
MIXERS["attention in a window"] = Attention(window=2, heads=4, kv_heads=2, sink=True)  # it reads window by window
MIXERS["attention, by distance"] = Attention(heads=4, kv_heads=1, positions=Alibi())
MIXERS["window"] = Window(size=STEPS)
MIXERS["conv"] = Conv(dilations=(1, 2))  # a sequence of nine elements is all that they read
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
            if "bias" in name:  # a unit that is cut off reads nothing
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


def seen(mixer, block, t):
    """Which elements position t attends to."""
    window = getattr(mixer, "window", None) or STEPS
    return [abs(i - t) < window and (block is None or i <= t) for i in range(STEPS)]


def same(one, other):
    torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


# ---- what is attended ---------------------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("block", [1, None])
def test_a_position_reads_what_it_may_and_only_that(mixer, block):
    module = build(mixer, block)
    h = sequence().requires_grad_()
    for t in (0, 4, STEPS - 1):
        (grad,) = torch.autograd.grad(module(h)[0][1, t].square().sum(), h)
        attended = grad.abs().sum(-1) > 1e-14
        assert not attended[[0, 2]].any()  # rows are independent
        assert attended[1].tolist() == seen(mixer, block, t)


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
    """The order of what is read matters, both ways too."""
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
    if not mixer.grows and int(state.floor.max()) > 2:
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
    attended = [i >= 4 and visible for i, visible in enumerate(seen(mixer, block, 6))]
    assert (grad[0].abs().sum(-1) > 1e-14).tolist() == attended


def mixer_starts_positions_anew(mixer):
    return not isinstance(getattr(mixer, "positions", None), Learned)


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
    module, h = build(Attention(positions=Learned(size=STEPS)), 1), sequence()
    with pytest.raises(ConfigError, match="longer than the learned positions"):
        module(sequence(steps=STEPS + 1))
    _, state = read(module, h, [STEPS - 1])
    # The chunk is wider than what is left.
    out, state = module(h[:, -4:], state=state, count=np.array([1, 1, 0]))
    same(out[:2, 0], module(torch.cat([h[:, :-1], h[:, -4:-3]], 1))[0][:2, -1])
    with pytest.raises(ConfigError):
        module(h[:, :1], state=state, count=np.array([1, 0, 0]))


@pytest.mark.parametrize("block", [2, 3])
def test_attention_in_blocks_reads_its_own_block_and_earlier_ones(block):
    module, h = build(Attention(), block), sequence().requires_grad_()
    for t in range(STEPS):
        (grad,) = torch.autograd.grad(module(h)[0][0, t].sum(), h)
        attended = grad[0].abs().sum(-1) > 1e-14
        assert attended.tolist() == [i // block <= t // block for i in range(STEPS)]


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
    # Causal windows that begin later give the same, where only the window is attended.
    causal = build(Attention(), 1)
    state = causal.begin(1, STEPS + 3)
    same(causal(h, state=state, count=np.array([STEPS]))[0], causal(h)[0])
    assert not torch.allclose(module(longer, present)[0][:, 3:], module(h)[0])
    position = torch.arange(STEPS)[None]
    q, k = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 1, 2, STEPS, 4)))
    near, far = (scores(*placed(q, k, at)) for at in (position, position + 1000))
    torch.testing.assert_close(near, far, atol=1e-9, rtol=1e-9)


def placed(q, k, position):
    """Queries and keys, turned as rotary attention turns them."""
    turns = Rope().build(WIDTH).turns(position, q.shape[-1] // 2, wide=True)
    return turned(q, turns), turned(k, turns)


def scores(q, k):
    return q @ k.mT


def test_rotation_shares_the_features_among_the_coordinates():
    q, k = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 1, 1, STEPS, 8)))
    at = torch.arange(STEPS)
    grid = torch.stack([at // 3, at % 3], -1)[None]  # rows and columns
    moved = grid + torch.tensor([5, 70])
    same(scores(*placed(q, k, grid)), scores(*placed(q, k, moved)))
    row = placed(q, k, torch.stack([at, 0 * at], -1)[None])[0] - q
    assert (row[..., 1:, :4].abs() > 0).all()
    assert (row[..., 4:] == 0).all()  # the other coordinate's share
    same(placed(q, k, at[None])[0], placed(q, k, at[None, :, None])[0])


@pytest.mark.parametrize("positions", [Learned(size=STEPS, coordinates=2), Sinusoidal()], ids=lambda p: p.name)
def test_positions_may_have_several_coordinates_and_any_order(positions):
    module, h = build(Attention(positions=positions), None), sequence()
    at = torch.arange(STEPS)
    grid = torch.stack([at // 3, at % 3], -1).expand(ROWS, -1, -1)
    out = module(h, position=grid)[0]
    order = torch.randperm(STEPS, generator=torch.Generator().manual_seed(0))
    same(module(h[:, order], position=grid[:, order])[0], out[:, order])  # where they stand is all that counts
    for other in (grid + torch.tensor([1, 0]), grid + torch.tensor([0, 1])):
        assert float((module(h, position=other)[0] - out).abs().max().detach()) > 1e-3


def test_attention_without_positions_is_a_set_where_everything_is_seen():
    module, h = build(Attention(positions=NoPositions()), None), sequence()
    order = torch.randperm(STEPS, generator=torch.Generator().manual_seed(0))
    same(module(h[:, order])[0], module(h)[0][:, order])


@pytest.mark.parametrize("block", [1, 2, 3, None])
def test_attention_reads_blocks_in_chunks(block):
    module, h = build(Attention(), block), sequence(steps=12)
    at_once = module(h)[0]
    for sizes in ([12], [6, 6], [6, 0, 6]) if block else ([12],):
        out, state = read(module, h, sizes, room=12)
        same(out, at_once)
    # A block that has been read in part is seen in part, and once rolled back it is read again as a whole.
    if block in (2, 3):
        state = module.begin(ROWS, 12)
        module(h[:, :block], state=state, count=np.array([block, block, block]))
        wrong = sequence(steps=block, seed=8)
        for again in (wrong, h[:, block : 2 * block]):
            out, _ = module(again, state=state, count=np.array([block, 0, block]))
            state.rollback(np.full(ROWS, block)) if again is wrong else None
        same(out[[0, 2]], at_once[[0, 2], block : 2 * block])


def test_a_mask_says_who_attends_to_whom():
    module, h = build(Attention(), 1), sequence().requires_grad_()
    mask = torch.rand(ROWS, STEPS, STEPS, generator=torch.Generator().manual_seed(0)) < 0.4
    mask |= torch.eye(STEPS, dtype=torch.bool)
    for t in range(STEPS):
        (grad,) = torch.autograd.grad(module(h, mask=mask)[0][1, t].sum(), h)
        assert ((grad[1].abs().sum(-1) > 1e-14) == mask[1, t]).all()
    with pytest.raises(ConfigError):
        build(MIXERS["gru"], 1)(h, mask=mask)


# ---- gradients of gradients ---------------------------------------------------------------------------------------


LONG = {"attention, learned places", "attention, by distance"}
"""Others go the same way through attention."""


@pytest.mark.parametrize(
    "mixer", [pytest.param(m, id=n, marks=[pytest.mark.slow] if n in LONG else []) for n, m in MIXERS.items()]
)
@pytest.mark.parametrize("block", [1, None])
def test_gradients_of_gradients_are_right(mixer, block):
    """As an energy wants them, whose score is a gradient that is trained."""
    module = build(mixer, block)
    h = sequence(rows=2, steps=4).requires_grad_()
    name, parameter = next((n, p) for n, p in module.named_parameters() if p.ndim == 2)
    slice_ = parameter.detach()[:2, :3].clone().requires_grad_()

    def energy(h, part):
        whole = torch.cat([torch.cat([part, parameter[:2, 3:]], 1), parameter[2:]])
        return torch.func.functional_call(module, {name: whole}, (h,))[0].tanh()

    assert torch.autograd.gradcheck(energy, (h, slice_))
    assert torch.autograd.gradgradcheck(energy, (h, slice_))


# ---- what can be watched ------------------------------------------------------------------------------------------

GATES = {
    "lstm": {"input", "forget", "output"},
    "gru": {"reset", "update"},
    "mingru": {"update"},
    "minlstm": {"update"},
    "linear": {"keep"},
    "attention": {"weights"},
}


@pytest.mark.parametrize("name", GATES)
def test_gates_and_weights_can_be_watched(name):
    module, h = build(MIXERS[name], 1), sequence()
    unwatched, seen = module(h)[0], {}
    module.watched = lambda kind, value: seen.setdefault(kind, []).append(value)
    same(module(h)[0], unwatched)
    assert seen.keys() == GATES[name]
    whole = {kind: values.pop() for kind, values in seen.items()}
    for kind, value in whole.items():
        assert value.shape[0] == ROWS, kind
        if kind == "weights":
            same(value.sum(-1), torch.ones(ROWS, 1, STEPS, dtype=torch.float64))
            assert (value.triu(1) == 0).all()
        else:
            assert value.shape[1] == STEPS, kind
            assert (value > 0).all(), kind
            assert (value < 1).all(), kind
    state = module.begin(ROWS, STEPS)
    for t in range(STEPS):
        module(h[:, t : t + 1], state=state, count=np.ones(ROWS, np.int64))
    for kind, values in seen.items():
        last = values[-1].reshape(ROWS, -1)
        same(last, (whole[kind][:, :, -1] if kind == "weights" else whole[kind][:, -1]).reshape(ROWS, -1))


# ---- scans --------------------------------------------------------------------------------------------------------


def recurrence(a, b, start):
    rows = []
    for t in range(a.shape[1]):
        start = a[:, t] * start + b[:, t]
        rows.append(start)
    return torch.stack(rows, 1)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-12)])
@pytest.mark.parametrize("chunk", [None, 1, 7, 16, 1000])
def test_a_scan_equals_the_recurrence_and_so_do_its_gradients(dtype, tolerance, chunk):
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 300, 3, generator=generator, dtype=dtype)
    a[0, 100] = 0.0  # a row that begins anew
    b, start = (
        torch.randn(2, 300, 3, generator=generator, dtype=dtype),
        torch.randn(2, 3, generator=generator, dtype=dtype),
    )
    weight = torch.randn(2, 300, 3, generator=generator, dtype=dtype)
    results = []
    for function in (recurrence, lambda *inputs: scan(*inputs, chunk)):
        inputs = [x.clone().requires_grad_() for x in (a, b, start)]
        out = function(*inputs)
        results.append([out.detach(), *torch.autograd.grad((out * weight).sum(), inputs)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("chunk", [None, 2])
def test_a_scan_has_gradients_of_gradients(chunk):
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 5, 2), (2, 5, 2), (2, 2)
    inputs = [torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
    assert torch.autograd.gradcheck(lambda *x: scan(*x, chunk), inputs)
    assert torch.autograd.gradgradcheck(lambda *x: scan(*x, chunk), inputs)


def test_linear_attention_equals_its_matrices_over_many_chunks():
    module, h = build(MIXERS["linear"], 1), sequence(rows=2, steps=150)
    begins = torch.zeros(2, 150, dtype=torch.bool)
    begins[0, [70, 71, 130]] = True
    for cut in (None, begins):
        whole, last = module.read(h, h.new_zeros(2, *module.shape), cut)
        state, parts = h.new_zeros(2, *module.shape), []
        for t in range(150):
            state = state if cut is None else state.masked_fill(cut[:, t, None, None, None], 0.0)
            out, state = module.step(h[:, t], state)
            parts.append(out)
        same(torch.stack(parts, 1), whole)
        same(last, state)


def test_convolutions_are_those_of_torch():
    """One convolution against torch's own, and how far back all of them read."""
    module, h = Dilated(3, (2,), WIDTH, WIDTH).double(), sequence()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(3))
        weight = torch.stack([module.taps[back] for back in (2, 1, 0)], -1)[:, None]  # (D,1,3), the oldest first
        inside = torch.nn.functional.pad(h.mT, (4, 0))
        mixed = torch.nn.functional.conv1d(inside, weight, dilation=2, groups=WIDTH).mT
        values, share = module.gates[0](mixed).chunk(2, -1)
        expected = module.out(h + values.tanh() * share.sigmoid())
        same(module(h)[0], expected)
    long = sequence(rows=1, steps=80).requires_grad_()
    (grad,) = torch.autograd.grad(build(Conv(), 1)(long)[0][0, -1].square().sum(), long)
    assert int((grad.abs().sum(-1) > 0).sum()) == 1 + 3 * (1 + 4 + 16)
