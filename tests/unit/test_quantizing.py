"""Packed maps against their plain twins, packed networks against themselves, and runs that are packed."""

import copy
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import seqloom
from seqloom.core.errors import ConfigError, RunError
from seqloom.core.speeds import on_one_thread
from seqloom.kernels import native, packed, rows
from seqloom.kernels.packed import Bfloat16Map, Int8Map, whole_sums
from seqloom.mixers.attention import Attention
from seqloom.mixers.base import Mixer
from seqloom.mixers.conv import Dilated
from seqloom.mixers.recurrent import Gru, Lstm, PackedGated, Rnn
from seqloom.network.backbone import Backbone
from seqloom.network.network import Network
from seqloom.network.packing import pack, size
from seqloom.processes.autoregressive import Autoregressive
from seqloom.sequence.space import Tokens

KINDS = [Int8Map, Bfloat16Map]
PREFIX = "the quick b"
needs_kernel = pytest.mark.skipif(rows.library() is None, reason="there is no compiler here")


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=[True, False], ids=["kernel", "no kernel"])
def kernel(request, monkeypatch):
    """With the kernels whatever they gained when they were timed, and as where there are none."""
    if request.param and rows.library() is None:
        pytest.skip("there is no compiler here")
    monkeypatch.setattr(packed, "faster", lambda precision, many="few": request.param)


# ---- maps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("outer", "inner"), [(70, 96), (3, 2100), (128, 32)])
@torch.no_grad()
def test_int8_is_wrong_by_half_a_step_of_each_number_at_most(outer, inner, kernel):
    weight, bias, x = numbers(outer, inner), numbers(outer, seed=1), numbers(20, inner, seed=2)
    step, scale = x.abs().amax(1, keepdim=True) / 127, weight.abs().amax(1) / 127
    most = step / 2 * weight.abs().sum(1) + (x.abs() + step / 2).sum(1, keepdim=True) * scale / 2
    error = (Int8Map(weight, bias)(x) - F.linear(x, weight, bias)).abs()
    assert (error <= most + 1e-4).all()
    assert error.mean() < 0.02 * F.linear(x, weight).std()


@needs_kernel
@pytest.mark.parametrize("bias", [None, numbers(70)])
@torch.no_grad()
def test_the_kernels_of_int8_give_the_bits_of_plain_products(bias):
    one, x = Int8Map(numbers(70, 2100), bias), numbers(8, 2100, seed=3)
    x[1] = 0
    assert torch.equal(one.few_rows(x), one.many_rows(x))
    assert torch.equal(one.few_rows(x[2:3]), one.many_rows(x)[2:3])
    whole = torch.randint(-127, 128, (5, 2100), generator=torch.Generator().manual_seed(4))
    sums = torch._int_mm(whole.to(torch.int8), one.weight.t())
    assert torch.equal(sums.float(), whole_sums(whole.float(), one.plain))


@needs_kernel
@torch.no_grad()
def test_the_kernel_of_bfloat16_multiplies_the_rounded_matrix():
    weight, bias, x = numbers(70, 96), numbers(70, seed=1), numbers(4, 96, seed=2)
    one = Bfloat16Map(weight, bias)
    right = F.linear(x.double(), weight.bfloat16().double(), bias.double())
    assert torch.allclose(one.few_rows(x).double(), right, atol=1e-5)
    assert torch.equal(one.few_rows(x)[:1], one.few_rows(x[:1]))
    assert not Bfloat16Map(numbers(70, 90), None).fits  # which the kernel cannot read


@needs_kernel
@torch.no_grad()
def test_the_step_of_an_lstm_equals_torchs_cell():
    cell, x, past = torch.nn.LSTMCell(48, 64), numbers(5, 48) * 3, numbers(5, 2, 64, seed=1) * 3
    enter, recur = Bfloat16Map(cell.weight_ih, cell.bias_ih), Bfloat16Map(cell.weight_hh, cell.bias_hh)
    cell.weight_ih.data, cell.weight_hh.data = enter.wide(), recur.wide()
    right = torch.stack(cell(x, (past[:, 0], past[:, 1])), 1)
    assert torch.allclose(rows.lstm_after(enter(x), recur(past[:, 0]), past), right, atol=2e-6)
    wide = Bfloat16Map(numbers(256, 64), None)
    assert torch.allclose(
        wide.few_rows.lstm_step(recur.few_rows, past[:4, 0], past[:4]),
        rows.lstm_after(wide.few_rows(past[:4, 0]), recur.few_rows(past[:4, 0]), past[:4]),
        atol=0,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_map_has_the_slope_of_its_matrix(kind):
    one, x = kind(numbers(40, 32), numbers(40, seed=1)), numbers(3, 32, seed=2).requires_grad_()
    out = one(x)
    assert torch.allclose(out.detach(), one(x.detach()), atol=1e-5)
    (slope,) = torch.autograd.grad(out.sum(), x)
    assert torch.allclose(slope, one.wide().sum(0).expand(3, -1), atol=1e-5)


def test_without_a_compiler_there_is_no_kernel(monkeypatch):
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    monkeypatch.setattr(packed, "kept", lambda name, measure: 9.0)
    for made in (native.program, rows.library):
        made.cache_clear()
    assert packed.gain("int8") == 0.0
    assert packed.gain("int8", "many") == 9.0
    for made in (native.program, rows.library):
        made.cache_clear()


@needs_kernel
@pytest.mark.parametrize("few", [1, 3, 6])
def test_many_threads_and_many_rows_make_the_bits_of_one(few):
    matrix, x = numbers(1530, 384), numbers(few, 384)
    maps = [Int8Map(matrix, None).few_rows, Bfloat16Map(matrix, None).few_rows, rows.RowsMap(matrix, None, None)]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        made = [one(x) for one in maps]
    finally:
        torch.set_num_threads(threads)
    for one, own in zip(maps, made, strict=True):
        torch.testing.assert_close(own, x @ matrix.t(), rtol=0.05, atol=2.0)
        with on_one_thread():
            assert torch.equal(torch.cat([one(row) for row in x.split(1)]), own)


class WithoutPanels:
    """The compiled functions as on a processor without sums of four products of whole numbers."""

    def __getattr__(self, name):
        return (lambda: 0) if name == "has_whole_panels" else getattr(LIBRARY, name)


LIBRARY = rows.library()


@needs_kernel
@pytest.mark.parametrize("few", [1, 3, 9])
@pytest.mark.parametrize(("outer", "inner"), [(16, 4), (37, 20), (150, 64)])
def test_whole_numbers_in_panels_make_the_bits_of_those_row_by_row(few, outer, inner, monkeypatch):
    one, x = Int8Map(numbers(outer, inner), numbers(outer)), numbers(few, inner)
    made = one.few_rows(x)
    torch.testing.assert_close(made, one.many_rows(x), rtol=1e-5, atol=1e-4)
    monkeypatch.setattr(rows, "library", WithoutPanels)
    assert torch.equal(rows.RowsMap(one.weight, one.scale, one.bias)(x), made)


# ---- networks -------------------------------------------------------------------------------------------------------


def network(mixer, tie=False):
    space = Tokens(size=300)
    spec = Backbone(width=192, depth=2, mixer=mixer, mlp=1.0, tie=tie)
    net = Network(spec, Autoregressive().spec(space), space, window=12, given={}, seed=1).eval()
    with torch.no_grad():  # parts start as no change
        for i, parameter in enumerate(net.parameters()):
            parameter.add_(0.05 * numbers(*parameter.shape, seed=i))
    return net


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
@pytest.mark.parametrize("mixer", sorted(set(Mixer.members) & {"lstm", "gru", "rnn", "attention", "mingru", "linear"}))
@torch.inference_mode()
def test_a_packed_network_is_nearly_the_same_and_reads_in_parts_as_at_once(mixer, precision, tie, kernel):
    plain = network(Mixer.members[mixer](), tie)
    net = copy.deepcopy(plain)
    pack(net, precision)
    assert size(net) < (0.35 if precision == "int8" else 0.6) * size(plain)
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 300, (3, 12)))
    whole = net(x)[0]
    assert (whole - plain(x)[0]).std() < (0.1 if precision == "int8" else 0.02) * whole.std()
    state, parts = net.begin(3, 12), []
    for begin in range(0, 12, 3):
        count = np.full(3, 3)
        part = torch.cat([net(x[:, t : t + 1], state=state, count=count // 3)[0] for t in range(begin, begin + 3)], 1)
        parts.append(part)
    # A feature that lies between two whole numbers may be rounded to either.
    assert torch.allclose(torch.cat(parts, 1), whole, atol=0.04 if precision == "int8" else 1e-4)


@torch.inference_mode()
def test_both_ways_and_convolutions_are_packed_too():
    for mixer in (Gru(), Lstm(), Rnn(nonlinearity="relu")):
        net = network(mixer)
        pack(net, "int8")
        assert isinstance(net.trunk.layers[0].mixer, PackedGated)
    conv = network(Mixer.members["conv"]())
    pack(conv, "int8")
    assert isinstance(conv.trunk.layers[0].mixer, Dilated)
    assert all(isinstance(gate, Int8Map) for gate in conv.trunk.layers[0].mixer.gates)
    assert isinstance(conv.trunk.layers[0].mlp.up, Int8Map)


@torch.inference_mode()
def test_gates_and_attention_of_packed_networks_are_watched():
    x = torch.zeros(1, 4, dtype=torch.int64)
    for mixer, name in ((Lstm(), "forget"), (Gru(), "update"), (Attention(), "weights")):
        plain = network(mixer)
        net = copy.deepcopy(plain)
        pack(net, "bfloat16")
        with net.watch() as seen, plain.watch() as right:
            net(x), plain(x)
        key = next(key for key in seen if key.endswith(name))
        assert torch.allclose(torch.cat(seen[key], 1), torch.cat(right[key], 1), atol=0.02)


# ---- runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantized")
    data = folder / "text.txt"
    data.write_text("the quick brown fox jumps over the lazy dog. " * 400)
    backbone = {"width": 128, "depth": 1}
    return seqloom.train(str(data), model="gru", steps=4, out=folder / "run", backbone=backbone)


@pytest.mark.parametrize("to", ["int8", "bfloat16"])
def test_a_run_is_packed_and_used_as_any_other(run, to, tmp_path):
    found = seqloom.quantize(run, to, out=tmp_path / "packed")
    assert found.bytes[1] < 0.6 * found.bytes[0]
    assert abs(found.more[0]) < 0.02
    assert 0 <= found.more[1] < 0.02
    assert min(found.speed) > 0
    model, wide = seqloom.load(tmp_path / "packed"), seqloom.load(run)
    report = json.loads((tmp_path / "packed" / "report.json").read_text())
    assert report["packed"]["to"] == to
    assert report["parameters"] == wide.network.parameter_count
    assert model.run.id != run.id
    text = "the quick brown fox"
    assert model.score(text).nats == pytest.approx(wide.score(text).nats, rel=0.02)
    assert model.sample(2, 20, seed=3).values == seqloom.load(tmp_path / "packed").sample(2, 20, seed=3).values
    with pytest.raises(RunError, match="cannot be trained"):
        seqloom.train(str(run.recipe.corpus.path), out=tmp_path / "packed", resume=True)
    with pytest.raises(RunError, match="packed once more"):
        seqloom.quantize(tmp_path / "packed")


def test_samples_of_a_packed_run_follow_the_law_that_scores_say(run, tmp_path):
    seqloom.quantize(run, "int8", out=tmp_path / "packed")
    model = seqloom.load(tmp_path / "packed")
    made = [value[len(PREFIX) :] for value in model.extend(PREFIX, 1, seed=0, n=400).values]
    before = model.score(PREFIX).nats
    law = {s: np.exp(before - model.score(PREFIX + s).nats) for s in model.codec.symbols() if len(s) == 1}
    expected = np.array([400 * share for share in law.values()])
    seen = np.array([made.count(symbol) for symbol in law])
    assert seen.sum() == 400
    assert 0.95 < sum(law.values()) <= 1.0001  # what was never seen has a symbol too
    assert ((seen - expected) ** 2 / expected).sum() < len(law) + 5 * np.sqrt(2 * len(law))


def test_pruning_sets_the_smallest_numbers_to_zero(run, tmp_path):
    seqloom.quantize(run, "int8", out=tmp_path / "pruned", prune=0.5)
    net, _ = seqloom.load(tmp_path / "pruned").run.load_network()
    for name, value in net.trunk.state_dict().items():
        if value.dtype == torch.int8:
            assert 0.5 <= float((value == 0).float().mean()) < 0.7, name


def test_what_cannot_be_packed_is_refused(run, tmp_path):
    with pytest.raises(ConfigError, match="int4"):
        seqloom.quantize(run, "int4")
    with pytest.raises(ConfigError, match="no share"):
        seqloom.quantize(run, prune=1.0)
    with pytest.raises(RunError, match="there already"):
        seqloom.quantize(run, out=run.path)
    with pytest.raises(ConfigError, match="float32"):
        seqloom.train(str(run.recipe.corpus.path), steps=1, out=tmp_path / "no", packed="int8")
