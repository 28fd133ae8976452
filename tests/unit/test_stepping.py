"""Networks read and draw symbols by one compiled program; the modules and `pick` are its twin."""

import copy

import numpy as np
import pytest
import torch

from seqloom.core.rng import Rng, pick
from seqloom.engine import Engine, Request
from seqloom.kernels import rows
from seqloom.mixers.attention import Attention
from seqloom.mixers.positions import NoPositions
from seqloom.mixers.recurrent import Gru, Lstm, Rnn
from seqloom.network import stepping
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.network.packing import pack
from seqloom.processes.autoregressive import Autoregressive
from seqloom.processes.heads import StudentT
from seqloom.processes.priors import Ngram, NoPrior
from seqloom.samplers.ancestral import Ancestral
from seqloom.sequence.laws import CountedSplit
from seqloom.sequence.space import Field, Tokens, Vectors

pytestmark = pytest.mark.skipif(rows.library() is None, reason="there is no compiler")
SPACE = Tokens(size=400, ends=True)
ROWS = 3


def network(precision="float32", width=None, depth=2, mixer=None, mlp=0.0, process=None, **settings):
    width = width or (96 if precision == "float32" else 192)  # small matrices are not packed
    backbone = Backbone(mixer=mixer or Lstm(), width=width, depth=depth, mlp=mlp, **settings)
    net = Network(backbone, (process or Autoregressive()).spec(SPACE), SPACE, 32, {}, seed=0).eval()
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters()):
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    if precision != "float32":
        pack(net, precision)
        matrices = [t for name, t in net.state_dict().items() if name.endswith("weight") and t.ndim > 1]
        assert all(matrix.dtype != torch.float32 for matrix in matrices)
    return net


def outputs(net, symbols, paused=False):
    """What is put out (B,T,P) after each of symbols (B,T), read one by one."""
    state, out = net.begin(len(symbols), symbols.shape[1]), []
    net.stepping.paused = paused
    with torch.inference_mode():
        for x in symbols.unbind(1):
            made, state = net(x[:, None], state=state, count=np.ones(len(symbols), np.int64))
            out.append(made[:, 0])
    assert (net.stepping._stack is None) == paused
    assert state.length.tolist() == [symbols.shape[1]] * len(symbols)
    return torch.stack(out, 1)


SYMBOLS = torch.randint(400, (ROWS, 12), generator=torch.Generator().manual_seed(0))
SHAPES = {
    "lstm, layer": {},
    "lstm, rms, tied": {"norm": "rms", "tie": True},
    "lstm, textbook": {"norm": "none", "residual": False},
    "gru": {"mixer": Gru()},
    "rnn, relu": {"mixer": [Rnn(), Rnn(nonlinearity="relu")], "residual": False},
    "attention": {"mixer": Attention(heads=4), "mlp": 2.0},
    "attention, shared, sink": {"mixer": Attention(heads=4, kv_heads=2, sink=True, positions=NoPositions())},
    "hybrid, window": {"mixer": [Attention(heads=2, window=5), Lstm()], "mlp": 1.0, "norm": "rms"},
}


@pytest.mark.parametrize("settings", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_the_program_puts_out_what_the_modules_do(precision, settings, monkeypatch):
    monkeypatch.setattr("seqloom.kernels.packed.faster", lambda *which: True)
    slow = outputs(network(precision, **settings), SYMBOLS, paused=True)
    net = network(precision, **settings)
    fast = outputs(net, SYMBOLS)
    # A feature that a norm gives in another last digit is rounded to another whole number now and then.
    error = 0.05 if precision == "int8" and settings.get("norm") != "none" else 1e-5
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=error * float(slow.abs().max()))
    assert torch.equal(outputs(net, SYMBOLS[1:2]), fast[1:2])


@pytest.mark.parametrize(("mixer", "most"), [(Attention(heads=2), 256), (Gru(), 64)])
def test_of_many_rows_each_has_the_numbers_that_it_has_among_few(mixer, most):
    symbols = SYMBOLS[:, :4].repeat(most // ROWS, 1)
    slow = outputs(network(mixer=mixer, width=64), symbols, paused=True)
    net = network(mixer=mixer, width=64)
    many = outputs(net, symbols)
    assert torch.equal(many[:ROWS], outputs(net, symbols[:ROWS]))
    torch.testing.assert_close(many, slow, rtol=1e-4, atol=1e-4)
    with torch.inference_mode():
        assert net.stepping.step(net, symbols[:, 0], net.begin(len(symbols), 4)) is not None
        assert net.stepping.step(net, SYMBOLS[:1, 0].expand(most + 1), net.begin(most + 1, 4)) is None


@pytest.mark.parametrize("mixer", [Attention(heads=2), Attention(heads=2, window=5), Gru()])
def test_rows_that_have_read_different_numbers_go_on_where_each_is(mixer):
    net, made = network(mixer=mixer, width=64), []
    for paused in (True, False):
        net.stepping.paused = paused
        state = net.begin(ROWS, 14)
        with torch.inference_mode():
            net(SYMBOLS[:, :7], state=state, count=np.array([7, 2, 4]))
            out = [net(x[:, None], state=state, count=np.ones(ROWS, np.int64))[0] for x in SYMBOLS[:, 7:].unbind(1)]
            out.append(net(SYMBOLS[:, :2], state=state, count=np.full(ROWS, 2))[0])  # modules go on from the program
        assert state.length.tolist() == [14, 9, 11]
        made.append(torch.cat(out, 1))
    assert net.stepping.knows(net)
    torch.testing.assert_close(*made, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mixer", [Lstm(), Attention(heads=2), Attention(heads=2, window=9)])
def test_what_is_drawn_at_once_is_what_is_drawn_one_by_one(mixer):
    net = network(mixer=mixer)
    never, end = torch.tensor([3, 7]), SPACE.end
    u = Rng.of(0, np.arange(ROWS)).uniform(40)
    first = SYMBOLS[:, 0]
    with torch.inference_mode():
        state, ended = net.begin(ROWS, 40), np.zeros(ROWS, bool)
        drawn = net.stepping.draw(net, first, state, u, never, None, ended)
        assert drawn.shape == (ROWS, 40)
        assert state.length.tolist() == [40] * ROWS
        logits = outputs(net, torch.cat([first[:, None], drawn[:, :-1]], 1))
        assert torch.equal(pick(logits.index_fill(-1, never, -torch.inf), u), drawn)
        assert not torch.isin(drawn, never).any()
        again = net.stepping.draw(net, first, net.begin(ROWS, 40), u, never, end, ended)
    assert torch.equal(again, drawn[:, : again.shape[1]])
    over = (again == end).any(1)
    assert over.tolist() == ended.tolist()
    assert over.all() == (again.shape[1] < 40)


def test_all_stop_once_each_has_drawn_an_end():
    net = network()
    with torch.inference_mode():
        net.head.bias[SPACE.end] += 30
        ended = np.zeros(ROWS, bool)
        u = np.full((ROWS, 9), 0.5)
        drawn = net.stepping.draw(net, SYMBOLS[:, 0], net.begin(ROWS), u, torch.zeros(0).long(), SPACE.end, ended)
    assert drawn.tolist() == [[SPACE.end]] * ROWS
    assert ended.all()


@pytest.mark.parametrize(
    "prior",
    [NoPrior(), Ngram(order=1), Ngram(order=4), Ngram(order=4, combine="mean")],
    ids=["none", "order 1", "order 4", "mean"],
)
def test_an_engine_makes_the_same_with_and_without(prior, monkeypatch):
    process, text = Autoregressive(prior=prior), np.random.default_rng(0).integers(0, 9, 500)

    def made():
        net = network(depth=1, process=process)
        if process.counts is not None:
            counted = CountedSplit(text, np.arange(500) % 100 == 0, np.arange(500) // 50)
            net.laws = process.counts.count(counted, SPACE, ordered=True)
        engine = Engine(net, process, never=[5])
        shown = torch.zeros(2, 150, dtype=torch.bool)
        shown[:, :2] = True
        canvas = torch.ones(2, 150, dtype=torch.int64)
        request = Request(canvas, shown, torch.zeros_like(shown), Ancestral(), Rng.of(0, np.arange(2)), watched=False)
        drawn = [0]
        draw = net.stepping.draw
        net.stepping.draw = lambda *more: drawn.append(0 if (new := draw(*more)) is None else new.shape[1]) or new
        rows = {update.row: update.x.tolist() for update in engine.run(request)}
        return rows, sum(drawn)

    fast, by_program = made()
    assert by_program > 100
    monkeypatch.setattr(stepping.kernel, "library", lambda: None)
    slow, by_program = made()
    assert not by_program
    assert fast == slow


SERIES = Vectors(fields=tuple(Field(name=name) for name in "abc"))
SERIES_SHAPES = {
    "lstm, attend": {"mixer": Lstm(), "channels": "attend"},
    "gru, own, odd width": {"mixer": Gru(), "channels": "own", "width": 40, "norm": "rms"},
    "lstm, joint, textbook": {"mixer": Lstm(), "norm": "none", "residual": False},
    "attention, attend": {"mixer": Attention(heads=2), "channels": "attend", "mlp": 2.0},
    "hybrid": {"mixer": [Attention(heads=4, kv_heads=2, sink=True), Lstm()], "channels": "attend"},
}


def series(settings):
    process = Autoregressive(head=StudentT())
    backbone = Backbone(**{"width": 64, "depth": 2, **settings})
    net = Network(backbone, process.spec(SERIES), SERIES, 64, {}, seed=0).eval()
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters()):
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    return net


@pytest.mark.parametrize("settings", SERIES_SHAPES.values(), ids=SERIES_SHAPES)
def test_numbers_are_read_as_the_modules_read_them_by_any_number_of_rows(settings):
    net, generator = series(settings), torch.Generator().manual_seed(3)
    past = torch.randn(2, 9, net.spec.inputs, generator=generator)
    x = torch.randn(120, 6, net.spec.inputs, generator=generator)

    def read(rows, paused=False, threads=1):
        net.stepping.paused = paused
        before, state, out = net.begin(2, 9), net.begin(120, 40), []
        net(past, state=before, count=np.array([9, 7]))
        state.put(np.arange(len(rows)), before, rows % 2)  # many go on from two
        torch.set_num_threads(threads)
        for step in x[rows].unbind(1):
            alone = net.steps_alone(step[:, None], {"state": state, "count": np.ones(len(rows), np.int64)})
            assert alone != paused
            out.append(net(step[:, None], state=state, count=np.ones(len(rows), np.int64))[0])
        torch.set_num_threads(1)
        assert state.length[: len(rows)].tolist() == (np.array([15, 13])[rows % 2]).tolist()
        return torch.cat(out, 1)

    threads = torch.get_num_threads()
    with torch.inference_mode():
        everyone = np.arange(120)
        fast = read(everyone)
        torch.testing.assert_close(fast, read(everyone, paused=True), rtol=1e-4, atol=1e-5)
        assert torch.equal(read(everyone, threads=2), fast)
        assert torch.equal(read(everyone[4:5]), fast[4:5])
    torch.set_num_threads(threads)


def test_symbols_drawn_on_one_beginning_are_those_of_rows_that_have_it_each():
    net, made = network(mixer=Attention(heads=4, kv_heads=2), width=64), []
    u, first = Rng.of(0, np.arange(20)).uniform(30), SYMBOLS[:1, 9].expand(20)
    for many in (2, 1 << 30):
        with torch.inference_mode():
            before, state = net.begin(1, 9), net.begin(20, 40)
            for layer in state.layers:
                layer.many = many
            net(SYMBOLS[:1, :9], state=before, count=np.array([9]))
            state.put(np.arange(20), before, np.zeros(20, np.int64))
            assert (state.layers[0].shared is None) == (many > 20)
            made.append(net.stepping.draw(net, first, state, u, torch.zeros(0).long(), None, np.zeros(20, bool)))
    assert torch.equal(*made)


def test_a_network_that_changes_is_read_anew():
    net = network()
    before = outputs(net, SYMBOLS)
    other = copy.deepcopy(net)
    assert torch.equal(outputs(other, SYMBOLS), before)
    net.lie_by_columns()  # its matrices lie elsewhere, and as the program does not read them
    assert not net.stepping.knows(net)
    net.head.weight.data = other.head.weight.clone()
    for parameter in net.parameters():
        parameter.data = parameter.data.contiguous()
    torch.testing.assert_close(outputs(net, SYMBOLS), before, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        net.head.bias += 1
    torch.testing.assert_close(outputs(net, SYMBOLS), before + 1, rtol=1e-4, atol=1e-4)
    pack(net, "bfloat16")
    state = net.begin(ROWS)
    with torch.inference_mode(), net.watch() as seen:
        net(SYMBOLS[:, :1], state=state, count=np.ones(ROWS, np.int64))
    assert seen, "the gates are seen"
