"""The trunk against textbook stacks, where weights come from, and where conditions enter."""

import numpy as np
import pytest
import torch
from torch import nn

from seqloom.core.errors import ConfigError
from seqloom.core.rng import Rng
from seqloom.mixers.attention import Attention
from seqloom.mixers.recurrent import Gru, Lstm, Rnn
from seqloom.network.backbone import Backbone
from seqloom.network.given import ConditionSpec, EncodedConditions
from seqloom.network.network import Network
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.gaussian import Gaussian
from seqloom.processes.masked import Masked
from seqloom.sequence.batch import Condition
from seqloom.sequence.space import Field, Tokens, Vectors

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
    there = torch.tensor([[True, True, False, False]])
    for name in given:
        out, _ = net(x, given=net.encode({name: condition}, 1))
        for filler in (0, 1):
            padded = Condition(torch.tensor([[2, 1, filler, filler]]), there)
            torch.testing.assert_close(net(x, given=net.encode({name: padded}, 1))[0], out)


@torch.no_grad()
def test_the_order_of_an_attended_condition_matters():
    net = build(given={"source": ATTEND})
    there = torch.ones(1, 3, dtype=torch.bool)
    x = symbols(rows=1)
    orders = [Condition(torch.tensor([order]), there) for order in ([1, 2, 3], [3, 2, 1])]
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
        there = torch.ones(1, 2, dtype=torch.bool)
        out = net(x, given=net.encode({"c": Condition(value, there)}, 1))[0]
        assert float((out - net(x, given=net.encode({}, 1))[0]).abs().max()) > 1e-3


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
