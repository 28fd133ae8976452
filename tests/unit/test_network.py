"""The trunk against textbook stacks, where weights come from, and where conditions enter."""

import numpy as np
import pytest
import torch
from torch import nn

from seqloom.core.errors import ConfigError
from seqloom.core.rng import Rng
from seqloom.mixers.attention import Attention
from seqloom.mixers.linear import GatedLinear
from seqloom.mixers.recurrent import Gru, Lstm, Rnn
from seqloom.network.backbone import Backbone
from seqloom.network.given import ConditionSpec, EncodedConditions
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.gaussian import Gaussian
from seqloom.processes.masked import Masked
from seqloom.sequence.batch import Condition
from seqloom.sequence.space import Field, Tokens, Vectors
from seqloom.sequence.windows import slide, stride

AUTOREGRESSIVE, GAUSSIAN = Autoregressive(), Gaussian()
TOKENS = Tokens(size=5)
VECTORS = Vectors(fields=(Field(name="a"), Field(name="b", width=2)))
ADD, ATTEND = ConditionSpec(Tokens(size=3), "add"), ConditionSpec(Tokens(size=4), "attend")


def build(process=AUTOREGRESSIVE, space=TOKENS, given=None, seed=1, shake=0.2, **backbone):
    """A float64 network in which nothing is left at zero."""
    spec = Backbone(**{"width": 8, "depth": 2, "mixer": Gru(), **backbone})
    net = Network(spec, process.spec(space), space, window=12, given=given or {}, seed=seed).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * shake)
    return net


def symbols(rows=3, steps=6, size=5, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, size, (rows, steps)))


# ---- textbook stacks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mixer", "textbook"),
    [
        (Rnn(), lambda w, d: nn.RNN(w, w, d, nonlinearity="tanh", batch_first=True)),
        (Rnn(nonlinearity="relu"), lambda w, d: nn.RNN(w, w, d, nonlinearity="relu", batch_first=True)),
        (Lstm(), lambda w, d: nn.LSTM(w, w, d, batch_first=True)),
        (Gru(), lambda w, d: nn.GRU(w, w, d, batch_first=True)),
    ],
    ids=["rnn tanh", "rnn relu", "lstm", "gru"],
)
@pytest.mark.parametrize("depth", [1, 3])
def test_the_textbook_stack_equals_torchs(mixer, textbook, depth):
    net = build(mixer=mixer, depth=depth, norm="none", residual=False, mlp=0).float()
    theirs = textbook(8, depth)
    with torch.no_grad():
        for i, layer in enumerate(net.trunk.layers):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(theirs, f"{name}_l{i}").copy_(getattr(layer.mixer, name))
        x = symbols(rows=4, steps=20)
        ours, _ = net(x)
        expected = net.head(theirs(net.embed(x))[0])
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)
        parts, state = [], net.begin(4, 20)
        for size in (7, 1, 12):
            part, state = net(x[:, : sum(p.shape[1] for p in parts) + size][:, -size:], state=state)
            parts.append(part)
        torch.testing.assert_close(torch.cat(parts, 1), expected, atol=1e-6, rtol=0)
    theirs_named = {n for n, _ in theirs.named_parameters()}
    assert len(list(net.trunk.parameters())) == len(theirs_named)  # and there is nothing else


@pytest.mark.parametrize("mixer", [Rnn(), Lstm(), Gru()], ids=lambda m: m.name)
def test_both_ways_equals_torchs(mixer):
    net = build(Masked(), mixer=mixer, depth=1, norm="none", residual=False)
    ours = net.trunk.layers[0].mixer
    theirs = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[mixer.name](8, 4, batch_first=True, bidirectional=True)
    theirs = theirs.double()
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(theirs, f"{name}_l0").copy_(getattr(ours.ahead, name))
            getattr(theirs, f"{name}_l0_reverse").copy_(getattr(ours.back, name))
        h = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 7, 8)))
        torch.testing.assert_close(ours(h)[0], theirs(h)[0])


def test_a_list_of_mixers_is_a_hybrid():
    net = build(mixer=["gru", {"name": "attention", "heads": 2}, "lstm"], depth=5)
    kinds = [type(layer.mixer).__name__ for layer in net.trunk.layers]
    assert kinds == ["Gated", "Attend", "Gated", "Gated", "Attend"]
    assert [layer.mixer.cell for layer in net.trunk.layers if hasattr(layer.mixer, "cell")] == ["gru", "lstm", "gru"]
    assert net.reach == 12
    assert build(mixer=[Gru(), Lstm()]).reach is None
    assert build(Masked(), mixer=Gru()).reach == 12
    x = symbols()
    with torch.no_grad():
        whole, _ = net(x)
        state, parts, at = net.begin(3, 6), [], 0
        for size in (2, 3, 1):
            part, state = net(x[:, at : at + size], state=state, count=np.full(3, size))
            parts.append(part)
            at += size
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    assert state.length.tolist() == [6, 6, 6]


@pytest.mark.parametrize("norm", ["layer", "rms", "none"])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("process", [Autoregressive(), Gaussian()], ids=lambda p: p.name)
def test_every_parameter_of_every_trunk_learns(norm, residual, process):
    space = TOKENS if process.name == "autoregressive" else VECTORS
    given = {"label": ADD, "source": ATTEND}
    net = build(process, space, given, norm=norm, residual=residual, mlp=2.0, mixer=[Lstm(), Attention(heads=2)])
    x = symbols(size=6) if net.spec.symbolic else torch.randn(3, 6, 9, generator=torch.Generator().manual_seed(0))
    level = torch.tensor([[0.1], [0.5], [-0.4]]) if net.spec.timed else None
    memory = net.encode(conditions(), 3)
    out, _ = net(x, level=level, given=memory)
    assert out.shape == (3, 6, net.spec.outputs)
    out.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert (parameter.grad != 0).any(), name


def conditions():
    """Given to the first two rows; the third has the null ones."""
    label = Condition(torch.tensor([[1], [2], [0]]), torch.tensor([[True], [True], [False]]))
    source = Condition(
        torch.tensor([[1, 2, 3], [3, 0, 0], [0, 0, 0]]),
        torch.tensor([[True, True, True], [True, False, False], [False, False, False]]),
    )
    return {"label": label, "source": source}


@pytest.mark.parametrize("marked", [True, False])
def test_equal_elements_are_told_apart_where_the_first_is_marked(marked):
    process, space = Masked(), Tokens(size=5)
    net = Network(
        Backbone(width=16, mixer=Attention(), marked=marked), process.spec(space), space, window=6, given={}
    ).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.2)
    out = net(torch.full((1, 6), net.spec.mask))[0][0]
    apart = torch.cdist(out, out) + torch.eye(6)
    assert (float(apart.min().detach()) > 1e-3) == marked


def test_where_gives_the_head_at_those_positions_only():
    net = build()
    x, where = symbols(), torch.tensor([[0, 5], [3, 3], [2, 4]])
    with torch.no_grad():
        whole, _ = net(x)
        torch.testing.assert_close(net(x, where=where)[0], whole.take_along_dim(where.unsqueeze(-1), 1))


def test_the_noise_level_is_heard_and_may_differ_by_row_and_position():
    net = build(Gaussian(), VECTORS)
    x = torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        one, _ = net(x, level=torch.tensor([[0.1], [0.9]]))
        alone, _ = net(x[1:], level=torch.tensor([[0.9]]))
        other, _ = net(x, level=torch.tensor([[0.1], [0.2]]))
        each, _ = net(x, level=torch.tensor([[0.1] * 4, [0.9] * 4]))
    torch.testing.assert_close(one[1], alone[0])
    torch.testing.assert_close(one, each)
    torch.testing.assert_close(one[0], other[0])
    assert float((one[1] - other[1]).abs().max()) > 1e-3


# ---- weights ------------------------------------------------------------------------------------------------------


def fresh(given=None, seed=3, process=GAUSSIAN, space=VECTORS, **backbone):
    spec = Backbone(**{"width": 8, "depth": 2, "mixer": [Lstm(), Attention(positions="learned")], "mlp": 2, **backbone})
    return Network(spec, process.spec(space), space, window=12, given=given or {}, seed=seed)


def test_the_same_seed_gives_the_same_weights_and_nothing_is_left_to_chance():
    both = {"label": ADD, "source": ATTEND}
    first = fresh(both).state_dict()
    torch.manual_seed(99)
    waste = [torch.full((n,), float("nan")) for n in (8, 64, 512, 4096)]  # memory that a lazy start would find
    del waste
    second = fresh(both).state_dict()
    for name, value in first.items():
        assert torch.isfinite(value).all(), name
        assert torch.equal(value, second[name]), name
    other = fresh(both, seed=4).state_dict()
    matrices = [name for name, value in first.items() if value.ndim > 1 and float(value.std()) > 0]
    assert len(matrices) > 10
    assert all(not torch.equal(first[name], other[name]) for name in matrices)
    flat = [first[name].flatten()[:8].tolist() for name in matrices]
    assert all(a[:4] != b[:4] for i, a in enumerate(flat) for b in flat[:i])  # each has numbers of its own


def test_a_parameters_start_does_not_depend_on_what_else_there_is():
    alone, more = fresh().state_dict(), fresh({"label": ADD}, depth=3).state_dict()
    assert len(more) > len(alone)
    assert all(torch.equal(value, more[name]) for name, value in alone.items())


def test_starts_follow_the_rule():
    net = fresh(process=Autoregressive(), space=TOKENS, width=64, mixer=Lstm())
    cell = net.trunk.layers[0].mixer
    assert cell.bias_ih[64:128].eq(1).all()
    assert float(cell.bias_ih.detach().sum()) == 64
    for part in cell.weight_hh.split(64):
        torch.testing.assert_close((part @ part.T).detach(), torch.eye(64), atol=1e-4, rtol=0)
    assert float(net.head.weight.detach().std()) == pytest.approx(0.1 / 8, rel=0.15)
    for layer in fresh(mixer=Attention()).trunk.layers:
        assert not layer.mixer.out.weight.any()
        assert not layer.mlp.down.weight.any()
        assert not layer.modulate.map.weight.any()


def test_groups_hold_every_parameter_once():
    net = fresh({"label": ADD, "source": ATTEND})
    groups = net.groups()
    assert sorted(id(p) for part in groups.values() for p in part) == sorted(id(p) for p in net.parameters())
    assert all(p.ndim < 2 for p in groups["vectors"])
    assert any(p is net.head.weight for p in groups["ends"])
    assert sum(p.numel() for part in groups.values() for p in part) == net.parameter_count


@pytest.mark.parametrize("process", [Autoregressive(), Masked()], ids=lambda p: p.name)
def test_tied_ends_are_one_matrix(process):
    net = build(process, tie=True, mixer=Gru())
    assert "head.weight" not in net.state_dict()
    assert build(process, mixer=Gru()).parameter_count - net.parameter_count == 5 * 8 - 1
    seen = []
    handle = net.trunk.norm.register_forward_hook(lambda module, args, out: seen.append(out))
    out, _ = net(symbols())
    handle.remove()
    torch.testing.assert_close(out, net.gain * seen[0] @ net.embed.weight[:5].T + net.head.bias)
    out.sum().backward()
    assert (net.embed.weight.grad[:5].abs().sum(1) > 0).all()
    with pytest.raises(ConfigError) as caught:
        build(Gaussian(), VECTORS, tie=True)
    assert caught.value.path == "backbone.tie"


@pytest.mark.parametrize("size", [2, 65, 2000])
@pytest.mark.parametrize("mixer", [Lstm(), Attention()], ids=lambda m: m.name)
@torch.no_grad()
def test_tied_ends_begin_near_the_least_presumptuous_guess(mixer, size):
    space = Tokens(size=size)
    for width in (32, 256):
        spec = Backbone(width=width, mixer=mixer, mlp=2.0, tie=True)
        net = Network(spec, AUTOREGRESSIVE.spec(space), space, window=12, given={})
        x = symbols(rows=8, steps=32, size=size)
        nats = nn.functional.cross_entropy(net(x)[0][:, :-1].flatten(0, 1), x[:, 1:].flatten())
        assert float(nats) == pytest.approx(np.log(size), abs=0.1)


@torch.no_grad()
def test_logits_are_float32_at_least():
    net = build(mixer=Gru())
    assert net(symbols())[0].dtype == torch.float64
    assert net.bfloat16()(symbols())[0].dtype == torch.float32


@pytest.mark.parametrize("mixer", [Lstm(), Gru(), Attention(heads=2)], ids=lambda m: m.name)
@torch.no_grad()
def test_matrices_that_lie_by_columns_are_the_same(mixer):
    net = build(mixer=mixer, mlp=2.0)
    weights, out = {name: p.clone() for name, p in net.named_parameters()}, net(symbols())[0]
    net.lie_by_columns()
    assert not net.head.weight.is_contiguous()
    assert net.embed.weight.is_contiguous()
    assert all(torch.equal(p, weights[name]) for name, p in net.named_parameters())
    assert torch.allclose(net(symbols())[0], out, atol=1e-9)


def test_a_stack_without_norms_is_computed_in_bfloat16_too():
    net = build(mixer=Lstm(), norm="none", residual=False).float().train()
    exact, net.reduced = net(symbols())[0], True
    rounded = net(symbols())[0]
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    assert torch.allclose(rounded, exact, atol=0.05)


@pytest.mark.parametrize("mixer", [Lstm(), Attention(heads=2)], ids=lambda m: m.name)
def test_a_whole_network_has_gradients_of_gradients(mixer):
    """The squared ReLU of the feed-forward part, the norms and cross-attention too."""
    net = build(Gaussian(), VECTORS, {"source": ATTEND}, mixer=mixer, mlp=2.0, depth=1, norm="rms")
    x = torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    level = torch.tensor([[0.1], [0.5]], dtype=torch.float64)
    source = {"source": along([[1, 2], [3, 0]])}

    def energy(x):
        return net(x, level=level, given=net.encode(source, 2))[0].tanh()

    assert torch.autograd.gradcheck(energy, x)
    assert torch.autograd.gradgradcheck(energy, x)


def test_what_a_process_trains_beside_the_network_is_part_of_it():
    own = nn.Linear(2, 3)
    own.register_parameter("offset", nn.Parameter(torch.full((3,), 7.0)))
    nets = [
        Network(Backbone(width=8), AUTOREGRESSIVE.spec(TOKENS), TOKENS, 12, {}, seed=3, own=part)
        for part in (own, nn.Linear(2, 3))
    ]
    assert {"own.weight", "own.bias", "own.offset"} <= set(nets[0].state_dict())
    assert (nets[0].own.offset == 7).all()
    assert torch.equal(nets[0].own.weight, nets[1].own.weight)  # begun from the seed
    assert any(p is own.weight for p in nets[0].groups()["ends"])
    assert any(p is own.offset for p in nets[0].groups()["vectors"])


def test_a_network_is_watched_by_whoever_asks():
    net = build(mixer=[Lstm(), Attention(heads=2)], given={"source": ATTEND}, mlp=2.0)
    given = net.encode({"source": conditions()["source"]}, 3)
    with net.watch() as seen:
        out, _ = net(symbols(), given=given)
    assert seen["trunk.layers.0.mixer.forget"][0].shape == (3, 6, 8)
    weights = seen["trunk.layers.1.mixer.weights"][0]
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 6, dtype=torch.float64))
    crossed = seen["trunk.layers.0.cross.weights"][0]
    assert (crossed[1, ..., 2:] == 0).all()  # the second row's source has one element, after the null one
    assert torch.equal(net(symbols(), given=given)[0], out)
    assert len(seen["trunk.layers.1.mixer.weights"]) == 1  # nothing is collected any more


# ---- blocks and levels --------------------------------------------------------------------------------------------


def test_block_diffusion_is_trained_in_one_pass_and_with_blocks_of_one_is_autoregressive():
    """[noised; clean] with shared positions: a noised block sees itself and the clean blocks before it."""
    net = build(Masked(), mixer=Attention(heads=2), depth=2, mlp=2.0)
    steps, mask = 6, net.spec.mask
    x = symbols(steps=steps)
    for block in (1, 2, 3):
        part = torch.arange(steps) // block
        noised = torch.cat([part[:, None] == part, part[:, None] > part], 1)
        clean = torch.cat([torch.zeros(steps, steps, dtype=torch.bool), part[:, None] >= part], 1)
        both = torch.cat([torch.full_like(x, mask), x], 1)
        position = torch.arange(steps).repeat(2).expand(len(x), -1)
        out, _ = net(both, position=position, mask=torch.cat([noised, clean])[None])
        for t in range(0, steps, block):
            seen = torch.cat([x[:, :t], torch.full((len(x), block), mask)], 1)
            at = torch.arange(t + block) // block
            alone, _ = net(seen, mask=(at[:, None] >= at)[None])
            torch.testing.assert_close(out[:, t : t + block], alone[:, t:])


def test_dropout_belongs_to_the_row_and_is_off_without_a_key():
    net = build(dropout=0.4, mlp=2.0).train()
    x, key = symbols(rows=1).repeat(3, 1), Rng.of(0, np.arange(3)).at("dropout")
    with torch.no_grad():
        still, _ = net(x)
        dropped, _ = net(x, rng=key)
        again, _ = net(x[1:2], rng=key.select(np.array([1])))
    torch.testing.assert_close(still, build(mlp=2.0)(x)[0])
    torch.testing.assert_close(dropped[1], again[0])
    assert not torch.allclose(dropped[0], dropped[1])
    assert not torch.allclose(dropped[0], still[0])


# ---- conditions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mixer", [Gru(), Attention(heads=2)], ids=lambda m: m.name)
@torch.no_grad()
def test_conditions_are_heard_and_null_is_a_condition_of_its_own(mixer):
    net = build(given={"label": ADD, "source": ATTEND}, mixer=mixer)
    x = symbols(rows=1).repeat(3, 1)
    out, _ = net(x, given=net.encode(conditions(), 3))
    nothing, _ = net(x, given=net.encode({}, 3))
    assert torch.isfinite(out).all()
    torch.testing.assert_close(out[2], nothing[2])
    torch.testing.assert_close(nothing[0], nothing[2])
    assert float((out[0] - out[1]).abs().max()) > 1e-3
    assert float((out[0] - nothing[0]).abs().max()) > 1e-3
    for name, condition in conditions().items():  # one alone; the other is null
        single, _ = net(x, given=net.encode({name: condition}, 3))
        assert float((single[0] - nothing[0]).abs().max()) > 1e-3
        assert float((single[0] - out[0]).abs().max()) > 1e-3
        torch.testing.assert_close(single[2], nothing[2])


@pytest.mark.parametrize("mixer", [Lstm(), Attention(heads=2)], ids=lambda m: m.name)
@torch.no_grad()
def test_padding_of_a_condition_is_ignored(mixer):
    given = {"label": ADD, "source": ATTEND}
    net = build(given=given, mixer=mixer)
    x = symbols(rows=1)
    condition = Condition(torch.tensor([[2, 1]]), torch.ones(1, 2, dtype=torch.bool))
    present = torch.tensor([[True, True, False, False]])
    for name in given:
        out, _ = net(x, given=net.encode({name: condition}, 1))
        for filler in (0, 1):
            padded = Condition(torch.tensor([[2, 1, filler, filler]]), present)
            torch.testing.assert_close(net(x, given=net.encode({name: padded}, 1))[0], out)


@torch.no_grad()
def test_the_order_of_an_attended_condition_matters():
    net = build(given={"source": ATTEND})
    present = torch.ones(1, 3, dtype=torch.bool)
    x = symbols(rows=1)
    orders = [Condition(torch.tensor([order]), present) for order in ([1, 2, 3], [3, 2, 1])]
    out = [net(x, given=net.encode({"source": order}, 1))[0] for order in orders]
    assert float((out[0] - out[1]).abs().max()) > 1e-4


@torch.no_grad()
def test_memories_are_joined_and_selected():
    net = build(given={"label": ADD, "source": ATTEND})
    x = symbols()
    whole = net.encode(conditions(), 3)
    parts = []
    for row, length in enumerate((3, 1, 1)):
        at = slice(row, row + 1), slice(0, length)
        parts.append(net.encode({name: Condition(c.x[at], c.present[at]) for name, c in conditions().items()}, 1))
    joined = EncodedConditions.join(parts)
    torch.testing.assert_close(net(x, given=joined)[0], net(x, given=whole)[0])
    order = np.array([2, 0, 0])
    torch.testing.assert_close(net(x[order], given=joined.select(order))[0], net(x, given=whole)[0][order])


@torch.no_grad()
def test_a_condition_of_vectors():
    for enters in ("add", "attend"):
        net = build(given={"c": ConditionSpec(VECTORS, enters)})
        x = symbols(rows=1)
        value = torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(0))
        present = torch.ones(1, 2, dtype=torch.bool)
        out = net(x, given=net.encode({"c": Condition(value, present)}, 1))[0]
        assert float((out - net(x, given=net.encode({}, 1))[0]).abs().max()) > 1e-3


ALIGN = ConditionSpec(Tokens(size=3), "align")


def along(symbols, present=None):
    x = torch.tensor(symbols)
    return Condition(x, torch.ones(x.shape, dtype=torch.bool) if present is None else torch.tensor(present))


@pytest.mark.parametrize("mixer", [Gru(), Attention(heads=2)], ids=lambda m: m.name)
@torch.no_grad()
def test_an_aligned_condition_belongs_to_positions(mixer):
    net = build(given={"voice": ALIGN}, mixer=mixer)
    x, voice = symbols(rows=1), [0, 1, 2, 2, 1, 0]
    out, _ = net(x, given=net.encode({"voice": along([voice])}, 1))
    for t in range(6):  # causal: what changes at t is seen from t on, and not before
        other = [*voice[:t], (voice[t] + 1) % 3, *voice[t + 1 :]]
        changed, _ = net(x, given=net.encode({"voice": along([other])}, 1))
        torch.testing.assert_close(changed[0, :t], out[0, :t])
        assert float((changed[0, t] - out[0, t]).abs().max()) > 1e-3
    # A missing element is null at its position, a missing condition everywhere, and beyond its end it is missing.
    nothing, _ = net(x, given=net.encode({}, 1))
    none, _ = net(x, given=net.encode({"voice": along([voice], [[False] * 6])}, 1))
    torch.testing.assert_close(none, nothing)
    short, _ = net(x, given=net.encode({"voice": along([voice[:4]])}, 1))
    padded, _ = net(x, given=net.encode({"voice": along([voice], [[True] * 4 + [False] * 2])}, 1))
    torch.testing.assert_close(short, padded)
    assert float((short - nothing).abs().max()) > 1e-3


@pytest.mark.parametrize("mixer", [Lstm(), Attention(heads=2)], ids=lambda m: m.name)
@torch.no_grad()
def test_an_aligned_condition_is_cut_with_what_is_read(mixer):
    net = build(given={"voice": ALIGN}, mixer=mixer)
    x, voice = symbols(rows=2, steps=8), torch.from_numpy(np.random.default_rng(3).integers(0, 3, (2, 8)))
    given = net.encode({"voice": Condition(voice, torch.ones_like(voice, dtype=torch.bool))}, 2)
    whole, _ = net(x, given=given)
    # A canvas is read in chunks, each row at its own pace, with the condition of the whole canvas.
    state, at, seen = net.begin(2, 8), np.zeros(2, np.int64), torch.zeros_like(whole)
    for count in ([3, 1], [0, 4], [5, 3]):
        chunk = torch.stack([x[row, np.minimum(at[row] + np.arange(5), 7)] for row in range(2)])
        out, state = net(chunk, given=given, state=state, count=np.array(count))
        for row in range(2):
            seen[row, at[row] : at[row] + count[row]] = out[row, : count[row]]
        at += count
    torch.testing.assert_close(seen, whole)
    # A window that has moved along the canvas: the same as the window's own part.
    moved = net.begin(2, 8)
    moved.origin[:] = 3
    part = net.encode({"voice": Condition(voice[:, 3:], torch.ones_like(voice[:, 3:], dtype=torch.bool))}, 2)
    out, _ = net(x[:, 3:], given=given, state=moved, count=np.full(2, 5))
    torch.testing.assert_close(out, net(x[:, 3:], given=part)[0])
    by_position, _ = net(x[:, 3:], given=given, position=torch.arange(3, 8).expand(2, -1))
    torch.testing.assert_close(by_position, out)
    if net.reach is None:  # a stream has its conditions cut with its chunks
        stream, parts = net.begin(2), []
        for span in (slice(0, 5), slice(5, 8)):
            piece = Condition(voice[:, span], torch.ones_like(voice[:, span], dtype=torch.bool))
            out, stream = net(x[:, span], given=net.encode({"voice": piece}, 2), state=stream)
            parts.append(out)
        torch.testing.assert_close(torch.cat(parts, 1), whole)


@torch.no_grad()
def test_several_attended_conditions_are_told_apart():
    net = build(given={"one": ATTEND, "two": ATTEND})
    x, first, second = symbols(rows=1), along([[1, 2, 3]]), along([[3, 0]])
    net.conditions.trunks["two"].load_state_dict(net.conditions.trunks["one"].state_dict())
    net.conditions.ends["two"].load_state_dict(net.conditions.ends["one"].state_dict())  # so only the mark tells
    out, _ = net(x, given=net.encode({"one": first, "two": second}, 1))
    swapped, _ = net(x, given=net.encode({"one": second, "two": first}, 1))
    assert float((out - swapped).abs().max()) > 1e-3


@pytest.mark.parametrize("enters", ["add", "align", "attend"])
@torch.no_grad()
def test_each_condition_has_an_encoder_of_choice(enters):
    encoder = Backbone(width=12, depth=1, mixer=Attention(heads=1))
    net = build(given={"c": ConditionSpec(Tokens(size=4), enters, encoder)})
    assert [type(layer.mixer).__name__ for layer in net.conditions.trunks["c"].layers] == ["Attend"]
    assert net.conditions.exits["c"].weight.shape == (8, 12)
    x = symbols(rows=1)
    outs = [net(x, given=net.encode({"c": along([order])}, 1))[0] for order in ([1, 2, 3], [3, 2, 1])]
    assert float((outs[0] - outs[1]).abs().max()) > 1e-4
    padded = along([[1, 2, 3, 0]], [[True, True, True, False]])
    torch.testing.assert_close(net(x, given=net.encode({"c": padded}, 1))[0], outs[0])


def test_what_is_attended_to_is_projected_once_a_query_and_is_trained():
    net = build(given={"label": ADD, "source": ATTEND, "voice": ALIGN})
    calls = []
    for layer in net.trunk.layers:
        layer.cross.pair.register_forward_hook(lambda *_: calls.append(1))
    given = net.encode({**conditions(), "voice": along([[1, 2], [0, 0], [1, 1]])}, 3)
    assert len(calls) == 2  # one a layer
    state, x, outs = net.begin(3, 6), symbols(), []
    for t in range(6):
        out, state = net(x[:, t : t + 1], given=given, state=state, count=np.ones(3, np.int64))
        outs.append(out)
    assert len(calls) == 2
    whole, _ = net(x, given=given)
    torch.testing.assert_close(torch.cat(outs, 1), whole)
    whole.square().sum().backward()
    for name, parameter in net.conditions.named_parameters():
        assert (parameter.grad != 0).any(), name
    assert all((layer.cross.pair.weight.grad != 0).any() for layer in net.trunk.layers)


@torch.no_grad()
def test_null_conditions_are_made_alike():
    net = build(given={"label": ADD, "source": ATTEND, "voice": ALIGN})
    x = symbols()
    given = net.encode({**conditions(), "voice": along([[1, 2]] * 3)}, 3)
    empty = net.encode({}, 3)
    nothing, _ = net(x, given=empty)
    both = EncodedConditions.join([given, empty])
    out, _ = net(x.repeat(2, 1), given=both)
    torch.testing.assert_close(out, torch.cat([net(x, given=given)[0], nothing]))


@torch.no_grad()
def test_rows_of_one_condition_share_its_memory():
    net = build(given={"label": ADD, "source": ATTEND})
    one = net.encode({name: Condition(c.x[:1], c.present[:1]) for name, c in conditions().items()}, 1)
    many = one.select(np.zeros(5, np.int64)).select(np.array([3, 1, 1, 0]))
    assert all(pair.stride(0) == 0 and len(pair) == 4 for pair in many.pairs)
    x = symbols(rows=4)
    same = torch.cat([net(x[i : i + 1], given=one)[0] for i in range(4)])
    torch.testing.assert_close(net(x, given=many)[0], same)


def test_an_unknown_condition_is_refused():
    net = build(given={"label": ADD})
    with pytest.raises(ConfigError, match="no condition 'lable'") as caught:
        net.encode({"lable": conditions()["label"]}, 3)
    assert "label" in caught.value.hint
    assert build().encode({}, 3) is None


def test_plans():
    assert Autoregressive().spec(Tokens(size=5, ends=True)).inputs == 7  # end and start
    assert Masked().spec(Tokens(size=5, ends=True)).outputs == 6
    assert Masked().spec(TOKENS).mask == 5
    assert Gaussian().spec(VECTORS).inputs == 9
    assert Autoregressive().spec(VECTORS).inputs == 10
    assert Autoregressive().spec(VECTORS).outputs == 6
    for process, space in ((Masked(), VECTORS), (Gaussian(), TOKENS)):
        with pytest.raises(Exception, match="learns") as caught:
            process.spec(space)
        assert "autoregressive" in caught.value.hint


@pytest.mark.parametrize("reach", [1, 2, 5, 8])
def test_sliding_windows_score_each_position_once_with_half_a_window_before_it(reach):
    position = np.arange(40)
    begin = slide(position, reach)
    assert (begin <= position).all()
    assert (position < begin + reach).all()
    assert (begin % stride(reach) == 0).all()
    later = begin > 0
    assert (position - begin >= reach - stride(reach))[later].all()
    assert (slide(position, None) == 0).all()


@pytest.mark.parametrize("enters", ["add", "attend"])
@torch.no_grad()
def test_in_a_stream_each_position_has_the_condition_of_its_sequence(enters):
    net = build(given={"one": ConditionSpec(Tokens(size=4), enters), "two": ATTEND, "voice": ALIGN}, mixer=Gru())
    x = symbols(rows=2)
    condition = along([[1, 2, 3], [3, 0, 0], [2, 2, 0]], [[True] * 3, [True, False, False], [True, True, False]])
    begins = torch.tensor([[False, False, True, False, False, False], [True, False, False, False, True, False]])
    owner = torch.tensor([[0, 0, 1, 1, 1, 1], [2, 2, 2, 2, 0, 0]])
    given = net.encode({"one": Condition(condition.x, condition.present, owner)}, 2)
    out, _ = net(x, given=given, begins=begins, state=net.begin(2))
    for row, part, sequence in [(0, slice(0, 2), 0), (0, slice(2, 6), 1), (1, slice(0, 4), 2), (1, slice(4, 6), 0)]:
        own = Condition(condition.x[sequence : sequence + 1], condition.present[sequence : sequence + 1])
        alone, _ = net(x[row : row + 1, part], given=net.encode({"one": own}, 1))
        torch.testing.assert_close(out[row, part], alone[0])


@pytest.mark.parametrize(("heads", "elements"), [(1, [256.0]), (3, [2.0, 22.7, 256.0])])
def test_linear_attention_begins_with_memories_of_many_lengths_and_a_long_one(heads, elements):
    mixer = GatedLinear(heads, 6, 6)
    mixer.initialise(torch.Generator())
    forgets = mixer.gate.bias.neg().sigmoid()  # 1 over the elements that are remembered
    torch.testing.assert_close(1 / forgets, torch.tensor(elements), rtol=0.01, atol=0.1)
