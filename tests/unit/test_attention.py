"""Attention in a window, with shared keys, a sink and positions of every kind, against plain formulas."""

import math

import numpy as np
import pytest
import torch

from seqloom.core.errors import ConfigError
from seqloom.mixers.attention import Attention, turned
from seqloom.mixers.positions import Alibi, Learned, Rope
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.planning import plan
from seqloom.processes.autoregressive import Autoregressive
from seqloom.sequence.space import Tokens

WIDTH, STEPS, WINDOW = 16, 23, 4
VARIANTS = {
    "plain": Attention(heads=2),
    "shared keys": Attention(heads=4, kv_heads=2, sink=True),
    "by distance": Attention(heads=4, kv_heads=1, positions=Alibi(), sink=True),
}
every = pytest.mark.parametrize("mixer", VARIANTS.values(), ids=VARIANTS)


def build(mixer, block):
    module = mixer.build(WIDTH, block).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return module


def sequence(steps=STEPS, rows=2, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, steps, WIDTH)))


def same(one, other):
    torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-11)


@every
@pytest.mark.parametrize("block", [1, None])
@pytest.mark.parametrize("parted", [False, True])
def test_a_window_equals_all_elements_behind_a_mask(mixer, block, parted):
    """Window by window, and by a state, as attention to all does of which most is masked; gradients too."""
    near, slow = build(mixer.replace(window=WINDOW), block), build(mixer, block)
    ahead = torch.arange(STEPS) - torch.arange(STEPS)[:, None]
    band = (ahead.abs() < WINDOW) & ((ahead <= 0) if block else True)
    begins, present = torch.zeros(2, STEPS, dtype=torch.bool), torch.ones(2, STEPS, dtype=torch.bool)
    if parted:
        begins[0, [3, 11]] = True
        present[1, 17:] = False
    fast, plain = sequence().requires_grad_(), sequence().requires_grad_()
    out = near(fast, present, begins=begins if parted else None)[0][present]
    expected = slow(plain, present, begins=begins if parted else None, mask=band[None])[0][present]
    same(out, expected)
    same(*(torch.autograd.grad(y.square().sum(), x)[0] for x, y in ((fast, out), (plain, expected))))
    if block == 1:
        state, parts = near.begin(2, undo=1), []
        for part, begun in zip(fast.detach().split([9, 1, 1, 12], 1), begins.split([9, 1, 1, 12], 1), strict=True):
            mixed, state = near(part, state=state, begins=begun if parted else None)
            parts.append(mixed)
        same(torch.cat(parts, 1)[present], expected.detach())
        assert state.keys.shape[2] == WINDOW + 1  # however long the sequence is


@every
@pytest.mark.parametrize("block", [1, None])
def test_heads_shared_and_sunk_equal_the_formula(mixer, block):
    module, h = build(mixer, block), sequence(rows=1)
    heads, shared, each = 4 if mixer.kv_heads else 2, mixer.kv_heads or 2, WIDTH // (4 if mixer.kv_heads else 2)
    q, k, v = module.project(h).split([WIDTH, shared * each, shared * each], -1)
    q, k, v = (part.unflatten(-1, (-1, each)).transpose(1, 2)[0] for part in (q, k, v))
    q, k = (
        part / part.square().mean(-1, keepdim=True).add(torch.finfo(part.dtype).eps).sqrt() * gain
        for part, gain in ((q, module.query_gain), (k, module.key_gain))
    )
    turns = module.positions.turns(torch.arange(STEPS)[None], q.shape[-1] // 2, wide=q.dtype == torch.float64)
    q, k = (turned(part[None], turns)[0] for part in (q, k))
    out = torch.zeros(STEPS, heads, each, dtype=torch.float64)
    for head in range(heads):
        own = head * shared // heads
        for t in range(STEPS):
            last = t + 1 if block else STEPS
            distance = t - torch.arange(last)
            scores = k[own, :last] @ q[head, t] / each**0.5
            if mixer.positions.name == "alibi":
                beyond = torch.where(distance < 0, -distance * (2.0 if head % 2 == 0 else 0.5), distance)
                scores = scores - 2.0 ** (-8 * (head + 1) / heads) * beyond
            total = scores.exp().sum() + (module.sink[head].exp() if mixer.sink else 0)
            out[t, head] = scores.exp() / total @ v[own, :last]
    torch.testing.assert_close(module(h)[0][0], module.out(out.flatten(1)), atol=1e-6, rtol=1e-6)


def test_what_a_stream_costs_does_not_grow_and_it_may_go_on_for_ever():
    """Its positions are far beyond any table, and all that matters is how far apart elements stand."""
    mixer = Attention(heads=2, window=WINDOW)
    module, h = build(mixer, 1), sequence()
    far = module.begin(2)
    far.length[:], far.starts[:] = 10_000_000, 10_000_000  # a sequence begins here
    for part in h.split(5, 1):
        out, far = module(part, state=far)
    torch.testing.assert_close(out, module(h)[0][:, -out.shape[1] :], atol=1e-7, rtol=1e-7)
    assert sum(x.numel() for x in far.tensors().values()) == sum(x.numel() for x in module.begin(2).tensors().values())


def test_how_far_a_network_may_read_follows_from_its_windows():
    def reach(*mixers):
        space = Tokens(size=5)
        backbone = Backbone(width=8, depth=len(mixers), mixer=list(mixers))
        net = Network(backbone, Autoregressive().spec(space), space, 12, {}, seed=None)
        return net.reach, net.grows

    near, absolute = Attention(window=3), Attention(window=3, positions=Learned(size=12))
    assert reach(near, near) == (None, False)
    assert reach(near, Attention()) == (12, True)  # sliding and global layers
    assert reach(absolute) == (12, False)


def test_it_is_trained_as_attention_is_whatever_its_window(tmp_path):
    def advised(**mixer):
        settings = {"backbone": {"mixer": {"name": "attention", **mixer}}, "trainer": {"steps": 1}}
        recipe = plan("builtin:markov", {**settings, "corpus": {"size": 2000}}, out=tmp_path / "a").recipe
        return recipe.feed, recipe.trainer.rate

    assert advised(window=8) == advised()
    assert advised(window=8)[0].order == "windows"


def test_rotation_stretched():
    """All features as if windows were so much shorter; or the slowest alone, and neighbours as before."""
    q = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, 9, 8)))
    at = torch.arange(9)[None]

    def placed(position, **settings):
        return turned(q, Rope(**settings).build(WIDTH).turns(position, q.shape[-1] // 2, wide=q.dtype == torch.float64))

    same(placed(4 * at, stretch=4, stretched="all"), placed(at))
    slow = placed(at, stretch=4)
    assert float((slow[..., :2] - placed(at)[..., :2]).abs().max()) == 0.0  # the fastest pair
    same(slow[..., -2:], placed(at, stretch=4, stretched="all")[..., -2:])
    same(placed(at, stretch=1), placed(at))


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="evenly") as caught:
        Attention(heads=4, kv_heads=3).build(WIDTH, 1)
    assert caught.value.path == "backbone.mixer.kv_heads"
    grid = torch.zeros(2, STEPS, 2, dtype=torch.int64)
    for mixer in (Attention(window=3), Attention(positions=Alibi())):
        with pytest.raises(ConfigError, match="several coordinates"):
            build(mixer, None)(sequence(), position=grid)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sinks_and_distances_in_less_precision(dtype):
    mixer = Attention(heads=4, kv_heads=2, sink=True, window=WINDOW, positions=Alibi())
    module, h = build(mixer, 1).float(), sequence().float()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        out, state = module(h.requires_grad_(), state=module.begin(2))
        out.float().square().mean().backward()
        again, _ = module(h, state=state.detach())
    expected = build(mixer, 1)(sequence())[0]
    assert torch.isfinite(again).all()
    assert math.isfinite(float(module.sink.grad.abs().sum()))
    assert float((out - expected).detach().abs().max()) < (1e-4 if dtype is torch.float32 else 0.1)


@pytest.mark.parametrize("block", [1, None, 4])
@pytest.mark.parametrize(("kv_heads", "sink"), [(None, False), (2, True)])
def test_what_many_rows_took_over_is_kept_once_and_read_as_if_each_had_its_own(kv_heads, sink, block):
    module = Attention(heads=4, kv_heads=kv_heads, sink=sink).build(32, block)
    for number, parameter in enumerate(module.parameters()):
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(number))
    copies, x = (
        np.array([0, 0, 0, 1, 1, 1, 1, 0, 0, 1]),
        torch.randn(2, 8, 32, generator=torch.Generator().manual_seed(8)),
    )

    def read(many):
        one, state, found = module.begin(2, 20), module.begin(11, 40), []
        state.many = many
        module(x, state=one, count=np.array([8, 4]))
        state.put(np.arange(10), one, copies)
        assert (state.shared is None) == (many > 10)
        generator = torch.Generator().manual_seed(9)
        for turn in range(5):
            h = torch.randn(11, 4 if turn < 2 or block == 4 else 1, 32, generator=generator)
            count = np.full(11, h.shape[1])
            if turn == 1 and block != 4:
                count[3] = 2
            out, _ = module(h, state=state, count=count)
            found.append(out[torch.as_tensor(np.arange(h.shape[1]) < count[:, None])])
            if turn == 2:  # one goes back into what it took over, and one before all of it
                length = state.length.copy()
                length[[2, 4]] = 4, 0
                state.rollback(length)
            if turn == 3:
                state.put(np.array([0, 5]), state, np.array([1, 9]), 4)  # rows go on from others, as in a beam
                again = module.begin(11, 40)
                again.put(np.arange(11), state, np.arange(11))  # and move to a larger state
                state = again
        return torch.cat(found), state.whole(11)

    with torch.inference_mode():
        apart, alone = read(1 << 30)
        together, whole = read(2)
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)
    for row, length in enumerate(alone.length):
        torch.testing.assert_close(whole.keys[row, :, :length], alone.keys[row, :, :length], rtol=1e-4, atol=1e-5)
    with torch.no_grad(), torch.enable_grad():  # by the formulas
        assert read(2)[0].requires_grad
        torch.testing.assert_close(read(2)[0], apart, rtol=1e-4, atol=1e-5)


def test_what_rows_take_over_one_by_one_lies_where_others_left():
    module = Attention(heads=2).build(16, 1)
    x, state = torch.randn(6, 9, 16, generator=torch.Generator().manual_seed(1)), module.begin(4, 40)
    lengths, copied = [3, 9, 5, 2, 7, 9], 0
    with torch.inference_mode():
        for turn, (row, length) in enumerate(zip([0, 1, 2, 3, 1, 0], lengths, strict=True)):
            one = module.begin(1, 9)
            module(x[turn : turn + 1, :length], state=one)
            before = None if state.shared is None else state.shared.values.data_ptr()
            state.put(np.array([row]), one, np.array([0]))
            copied += state.shared.values.data_ptr() != before
            whole = state.whole(4)
            torch.testing.assert_close(whole.keys[row, :, :length], one.whole(1).keys[0, :, :length])
            torch.testing.assert_close(whole.values[row, :, :length], one.whole(1).values[0, :, :length])
    assert state.length.tolist() == [9, 7, 5, 2]
    assert len(state.shared.values) == 4
    assert copied == 3, "rows that come when others have gone take their places, and room is doubled"
