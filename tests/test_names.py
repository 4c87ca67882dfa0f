"""Every public name of PyTorch is there, but for a short list with reasons; names that few tests use work."""

import functools
import importlib
import math
import pickle
import re
import weakref
from pathlib import Path

import numpy as np
import pytest

import rtorch
from rtorch import nn
from rtorch.autograd import gradcheck
from rtorch.utils import checkpoint as ckpt

DATA = Path(__file__).parent / "data"
MOST_EXCLUDED = 40


def names():
    """{module: names}"""
    parts = [line.partition(": ") for line in (DATA / "names.txt").read_text().splitlines()]
    return {module: found.split() for module, _, found in parts}


def excluded():
    """{(module, name): the reason}"""
    lines = (DATA / "names_excluded.txt").read_text().splitlines()
    parts = [re.fullmatch(r"(\S+) (\S+): (.+)", line) for line in lines if not line.startswith("#")]
    return {(m[1], m[2]): m[3] for m in parts}


def resolve(module):
    """rtorch's object in the place of a module (or class) of PyTorch."""
    found = rtorch
    for i, part in enumerate(path := module.split(".")[1:]):
        try:
            found = getattr(found, part)
        except AttributeError:
            found = importlib.import_module(".".join(["rtorch", *path[: i + 1]]))
    return found


def missing(found):
    return sorted(n for m, ns in found.items() for n in ((m, n) for n in ns) if not has(resolve(n[0]), n[1]))


def has(owner, name):
    """Is the name there, and no stand-in for later work?"""
    try:
        return not type(getattr(owner, name)).__module__.endswith("_later")
    except AttributeError:
        return False


def test_every_name_is_there():
    all_names = names()
    assert sum(map(len, all_names.values())) > 2000
    assert not set(missing(all_names)) - set(excluded())


def test_exclusions_are_few_and_have_reasons():
    all_names = names()
    assert len(excluded()) <= MOST_EXCLUDED
    assert all(name in all_names[module] and len(why) > 5 for (module, name), why in excluded().items())


def test_a_missing_name_is_seen():
    assert missing({"torch": ["add", "no_such_name"], "torch.linalg": ["inv"]}) == [("torch", "no_such_name")]
    assert missing({"torch.fx": ["Graph"]})


def data(*shape):
    n = math.prod(shape)
    return ((rtorch.arange(n, dtype=rtorch.float64) * 0.37 + 0.1).sin() + 0.05).reshape(shape)


# ---- recurrent networks as functions


def weights(module):
    return [p for group in module.all_weights for p in group]


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize(
    "options", [{}, {"bidirectional": True, "num_layers": 2}, {"bias": False, "batch_first": True}]
)
def test_recurrent_functions_are_the_modules(kind, options):
    rtorch.manual_seed(0)
    module = getattr(nn, kind)(3, 4, dtype=rtorch.float64, **options)
    layers, both = module.num_layers, module.bidirectional
    x = data(2, 5, 3) if module.batch_first else data(5, 2, 3)
    h = data(layers * (1 + both), 2, 4)
    f = {"LSTM": rtorch.lstm, "GRU": rtorch.gru, "RNN": rtorch.rnn_tanh}[kind]
    hx = (h, h * 0.5) if kind == "LSTM" else h
    out, *last = f(x, hx, weights(module), module.bias, layers, 0.0, False, both, module.batch_first)
    want, state = module(x, hx)
    assert rtorch.allclose(out, want)
    for a, b in zip(last, state if kind == "LSTM" else [state]):
        assert rtorch.allclose(a, b)


def test_recurrent_functions_of_packed_sequences():
    module = nn.GRU(3, 4, dtype=rtorch.float64)
    packed = nn.utils.rnn.pack_padded_sequence(data(4, 3, 3), [4, 2, 1])
    h = data(1, 3, 4)
    out, last = rtorch.gru(packed.data, packed.batch_sizes, h, weights(module), True, 1, 0.0, False, False)
    want, state = module(packed, h)
    assert rtorch.allclose(out, want.data) and rtorch.allclose(last, state)


def test_cells():
    x, h = data(2, 3), data(2, 4)
    for name, module in [("lstm_cell", nn.LSTMCell), ("gru_cell", nn.GRUCell), ("rnn_tanh_cell", nn.RNNCell)]:
        cell = module(3, 4, dtype=rtorch.float64)
        own = cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh
        hx = (h, h * 2) if name == "lstm_cell" else h
        want, got = cell(x, hx), getattr(rtorch, name)(x, hx, *own)
        for a, b in zip(*([v] if isinstance(v, rtorch.Tensor) else v for v in (got, want))):
            assert rtorch.equal(a, b)
    w = data(4, 3), data(4, 4)
    relu = rtorch.rnn_relu(x.unsqueeze(0), h.unsqueeze(0), w, False, 1, 0.0, False, False, False)[1][0]
    assert rtorch.allclose(rtorch.rnn_relu_cell(x, h, *w), relu) and bool((relu >= 0).all())
    with pytest.raises(RuntimeError, match="two hidden states"):
        rtorch.lstm_cell(x, (h,), *own)
    with pytest.raises(RuntimeError, match="inconsistent input_size"):
        rtorch.rnn_tanh_cell(x[:, :2], h, *w)
    with pytest.raises(RuntimeError, match="number of RNN parameters"):
        rtorch.rnn_tanh(x.unsqueeze(0), h.unsqueeze(0), w[:1], False, 1, 0.0, False, False, False)


# ---- few singular vectors, few eigenvectors


def test_low_rank():
    rtorch.manual_seed(0)
    left, right = rtorch.randn(30, 3).double(), rtorch.randn(3, 20).double()
    for a in (left @ right, (left @ right).mT.contiguous(), (left @ right).expand(2, 30, 20)):
        u, s, v = rtorch.svd_lowrank(a, q=3)
        assert rtorch.allclose((u * s.unsqueeze(-2)) @ v.mT, a)
        assert rtorch.allclose(s, rtorch.linalg.svdvals(a)[..., :3])
    a = left @ right + 5
    u, s, v = rtorch.pca_lowrank(a, q=3)
    centred = a - a.mean(0)
    assert rtorch.allclose((u * s) @ v.mT, centred)
    u, s, v = rtorch.pca_lowrank(a.to_sparse(), q=3)
    assert rtorch.allclose((u * s) @ v.mT, centred)
    u, s, v = rtorch.svd_lowrank(a, q=3, M=a.mean(0, keepdim=True))
    assert rtorch.allclose((u * s) @ v.mT, centred)
    with pytest.raises(ValueError):
        rtorch.svd_lowrank(a, q=40)
    with pytest.raises(ValueError):
        rtorch.pca_lowrank(a, niter=-1)


@pytest.mark.parametrize("largest", [True, False])
def test_lobpcg(largest):
    rtorch.manual_seed(0)
    root = rtorch.randn(20, 20).double()
    a, b = root @ root.mT, rtorch.eye(20).double() * 2
    values = rtorch.linalg.eigvalsh(a)
    want = values.flip(0)[:3] if largest else values[:3]
    for matrix in (a, a.to_sparse(), a.expand(2, 20, 20)):
        e, v = rtorch.lobpcg(matrix, k=3, largest=largest, tol=1e-10)
        assert rtorch.allclose(e, want.expand_as(e), rtol=1e-5)
        assert rtorch.allclose(a @ v, v * e.unsqueeze(-2), atol=1e-4)
    e, v = rtorch.lobpcg(a, k=2, B=b, largest=largest, tol=1e-10)
    assert rtorch.allclose(e, want[:2] / 2, rtol=1e-5) and rtorch.allclose(a @ v, b @ v * e, atol=1e-4)
    with pytest.raises(ValueError, match="3 x"):
        rtorch.lobpcg(a, k=7)


@pytest.mark.parametrize("method", ["ortho", "basic"])
def test_lobpcg_shows_its_state_and_stops_when_told(method):
    a = rtorch.diag(rtorch.arange(1.0, 41)).double()
    seen = []

    def tracker(state):
        errors, left = state.tvars["rerr"], state.ivars["iterations_left"]
        seen.append((state.ivars["istep"], left, float(errors.max()), state.S.shape[1]))
        want = a @ state.X - state.X * state.E
        assert state.method == method and rtorch.allclose(state.R, want, atol=1e-9)
        state.bvars["force_stop"] = len(seen) == 4

    e, v = rtorch.lobpcg(a, k=2, method=method, tracker=tracker, niter=10, tol=1e-12)
    assert [s[0] for s in seen] == [1, 2, 3, 4] and [s[1] for s in seen] == [9, 8, 7, 6]
    assert seen[3][2] < seen[0][2] and seen[3][3] == 6 and e.shape == (2,) and v.shape == (40, 2)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ortho_iparams": {"i_max": 1, "j_max": 1}},
        {"ortho_fparams": {"tol": 1e-14, "tol_replace": 1e-14}, "ortho_iparams": {"i_max": 5}},
        {"ortho_bparams": {"use_drop": True}, "ortho_fparams": {"tol_drop": 1e-3}},
    ],
)
def test_lobpcg_orthonormalises_as_asked(options):
    rtorch.manual_seed(0)
    m = rtorch.randn(30, 30).double()
    a, b = m @ m.mT, rtorch.diag(rtorch.arange(1.0, 31)).double()
    seen = []
    e, v = rtorch.lobpcg(a, k=3, B=b, method="ortho", tol=1e-10, tracker=seen.append, **options)
    half = rtorch.linalg.cholesky(b)
    whole = rtorch.linalg.solve_triangular(half, rtorch.linalg.solve_triangular(half, a, upper=False).mT, upper=False)
    rtorch.testing.assert_close(e, rtorch.linalg.eigvalsh(whole)[-3:].flip(0), rtol=1e-8, atol=1e-8)
    rtorch.testing.assert_close(v.mT @ b @ v, rtorch.eye(3).double(), rtol=0, atol=1e-8)
    state = seen[-1]
    for kind in ("iparams", "fparams", "bparams"):
        for name, value in options.get("ortho_" + kind, {}).items():
            assert getattr(state, kind)["ortho_" + name] == value
    assert 0 <= state.ivars["ortho_i"] < state.iparams["ortho_i_max"]


def test_lobpcg_leaves_out_directions_that_are_lost():
    from types import SimpleNamespace

    from rtorch._ops.lowrank import _orthonormal_to

    rtorch.manual_seed(0)
    v = rtorch.linalg.qr(rtorch.randn(12, 2).double()).Q
    u = rtorch.randn(12, 3).double()
    u[:, 2] = u[:, 0] + 1e-13 * u[:, 1]  # two directions
    for drop, columns in ((True, 2), (False, 3)):
        floats = {"ortho_tol": 1e-12, "ortho_tol_drop": 1e-8, "ortho_tol_replace": 1e-8}
        at = SimpleNamespace(
            iparams={"ortho_i_max": 4, "ortho_j_max": 4}, fparams=floats, bparams={"ortho_use_drop": drop}, ivars={}
        )
        w = _orthonormal_to(u, v, lambda x: x, at)
        assert w.shape == (12, columns) and (v.mT @ w).abs().max() < 1e-10
        if drop:
            assert rtorch.allclose(w.mT @ w, rtorch.eye(2).double(), atol=1e-10)
            rest = u - v @ (v.mT @ u)
            assert rtorch.allclose(w @ (w.mT @ rest), rest, atol=1e-8)


def test_lobpcg_is_differentiable():
    rtorch.manual_seed(0)
    root = rtorch.randn(9, 9).double()
    a = (root @ root.mT).requires_grad_()
    e, v = rtorch.lobpcg(a, k=2, tol=1e-14)
    values, vectors = rtorch.linalg.eigh(a)
    c = data(9, 2)
    (got,) = rtorch.autograd.grad((e * c[0]).sum() + (v.square() * c).sum(), a)
    values, vectors = values[-2:].flip(0), vectors[:, -2:].flip(1)
    (want,) = rtorch.autograd.grad((values * c[0]).sum() + (vectors.square() * c).sum(), a)
    assert rtorch.allclose(got, want, atol=1e-5)
    with pytest.raises(ValueError, match="B is None"):
        rtorch.lobpcg(a, k=2, B=rtorch.eye(9).double())


# ---- segments, bags, powers


def test_segments():
    x = data(5, 2)
    lengths = rtorch.tensor([2, 0, 3])
    parts = x.split([2, 0, 3])
    for reduce, f, empty in [
        ("sum", lambda p: p.sum(0), 0.0),
        ("mean", lambda p: p.mean(0), math.nan),
        ("max", lambda p: p.amax(0), -math.inf),
        ("min", lambda p: p.amin(0), math.inf),
        ("prod", lambda p: p.prod(0), 1.0),
    ]:
        want = rtorch.stack([f(p) if len(p) else rtorch.full((2,), empty).double() for p in parts])
        got = rtorch.segment_reduce(x, reduce, lengths=lengths)
        assert rtorch.allclose(got, want, equal_nan=True)
        offsets = rtorch.tensor([0, 2, 2, 5])
        assert rtorch.allclose(rtorch.segment_reduce(x, reduce, offsets=offsets), want, equal_nan=True)
        some = functools.partial(rtorch.segment_reduce, reduce=reduce, lengths=rtorch.tensor([2, 3]))
        assert gradcheck(some, (data(5, 2).requires_grad_(),))
    assert rtorch.segment_reduce(x, "mean", lengths=lengths, initial=1.0)[1].tolist() == [1.0, 1.0]
    rows = rtorch.segment_reduce(x, "sum", lengths=rtorch.tensor([[1, 1]] * 5), axis=1)
    assert rtorch.equal(rows, x)
    with pytest.raises(RuntimeError, match="unsafe"):
        rtorch.segment_reduce(x, "sum", lengths=rtorch.tensor([2, 2]))
    assert rtorch.segment_reduce(x, "sum", lengths=rtorch.tensor([2, 2]), unsafe=True).shape == (2, 2)
    with pytest.raises(RuntimeError, match="negative"):
        rtorch.segment_reduce(x, "sum", lengths=rtorch.tensor([-1, 6]))
    with pytest.raises(RuntimeError, match="reduce argument"):
        rtorch.segment_reduce(x, "median", lengths=lengths)


def test_bags():
    table, indices, offsets = data(4, 3), rtorch.tensor([1, 2, 3, 1]), rtorch.tensor([0, 2])
    for mode, name in enumerate(("sum", "mean", "max")):
        bags, bag, sizes, best = rtorch.embedding_bag(table, indices, offsets, mode=mode)
        assert rtorch.allclose(bags, nn.functional.embedding_bag(indices, table, offsets, mode=name))
        assert bag.tolist() == [0, 0, 1, 1] and sizes.tolist() == [2, 2]
        if mode == 2:
            assert rtorch.equal(table.gather(0, best), bags)
    assert rtorch.embedding_bag(table, indices, offsets, mode=1, padding_idx=1)[2].tolist() == [1, 1]
    with pytest.raises(RuntimeError, match="mode"):
        rtorch.embedding_bag(table, indices, offsets, mode=3)


def test_powers_as_columns():
    x = rtorch.tensor([1, 2, 3])
    assert rtorch.vander(x).tolist() == np.vander([1, 2, 3]).tolist()
    assert rtorch.vander(x, 2, increasing=True).tolist() == np.vander([1, 2, 3], 2, increasing=True).tolist()
    assert rtorch.vander(x, 0).shape == (3, 0) and rtorch.vander(x.int()).dtype is rtorch.int64
    for bad in (lambda: rtorch.vander(x[None]), lambda: rtorch.vander(x, -1)):
        with pytest.raises(RuntimeError):
            bad()


def test_dropped_in_place():
    ones = rtorch.ones(2, 3)
    for f in (rtorch.dropout_, rtorch.alpha_dropout_, rtorch.feature_dropout_, rtorch.feature_alpha_dropout_):
        x = ones.clone()
        assert f(x, 0.5, False) is x and rtorch.equal(x, ones)
        rtorch.manual_seed(0)
        x = rtorch.ones(50, 8)
        assert f(x, 0.5, True) is x and not rtorch.equal(x, rtorch.ones(50, 8))
        with pytest.raises((RuntimeError, ValueError)):
            f(x, 2.0, True)
    rtorch.manual_seed(0)
    rows = rtorch.feature_dropout(rtorch.ones(4, 6, 5), 0.5, True)
    assert set(rows.sum(-1).flatten().tolist()) == {0.0, 10.0}
    x = -ones.clone()
    assert rtorch.rrelu_(x, 0.1, 0.3) is x and rtorch.allclose(x, -0.2 * ones)


# ---- programs


def test_control_flow():
    x = rtorch.ones(2)
    assert rtorch.cond(rtorch.tensor(True), lambda x: x + 1, lambda x: x - 1, (x,)).tolist() == [2, 2]
    assert rtorch.cond(False, lambda x: x + 1, lambda x: x - 1, (x,)).tolist() == [0, 0]
    i, y = rtorch.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * 2), (rtorch.tensor(0), x))
    assert int(i) == 3 and y.tolist() == [8, 8]
    with pytest.raises(RuntimeError):
        rtorch.cond(rtorch.tensor([True, False]), lambda x: x, lambda x: x, (x,))
    with pytest.raises(RuntimeError):
        rtorch.while_loop(lambda i: i < 3, lambda i: i.double(), (rtorch.tensor(0),))


def test_switches():
    assert (rtorch.has_lapack, rtorch.has_spectral, rtorch.has_mkl, rtorch.has_openmp) == (True, True, False, False)
    assert rtorch.legacy_contiguous_format is rtorch.contiguous_format
    assert rtorch.is_signed(rtorch.ones(1)) and not rtorch.is_signed(rtorch.ones(1, dtype=rtorch.uint8))
    with rtorch.inference_mode():
        x = rtorch.ones(1)
    assert rtorch.is_inference(x) and not rtorch.is_inference(rtorch.ones(1)) and not rtorch.is_distributed(x)
    assert rtorch.get_num_interop_threads() >= 1
    for bad in (0, -1, 2.0):
        with pytest.raises(RuntimeError):
            rtorch.set_num_interop_threads(bad)
    before = rtorch.get_num_threads()
    rtorch.init_num_threads()
    assert rtorch.get_num_threads() == before
    assert rtorch.set_flush_denormal(True) is False
    rtorch.set_anomaly_enabled(True, False)
    assert rtorch.is_anomaly_enabled() and not rtorch.is_anomaly_check_nan_enabled()
    rtorch.set_anomaly_enabled(False)
    assert rtorch.random.thread_safe_generator() is None


def test_default_tensor_type():
    try:
        for t in (rtorch.DoubleTensor, "torch.DoubleTensor"):
            rtorch.set_default_tensor_type("torch.FloatTensor")
            rtorch.set_default_tensor_type(t)
            assert rtorch.ones(1).dtype is rtorch.float64
        for bad in (rtorch.IntTensor, "nonsense", rtorch.float32):
            with pytest.raises(TypeError):
                rtorch.set_default_tensor_type(bad)
    finally:
        rtorch.set_default_tensor_type(rtorch.FloatTensor)


def test_tensors_over_files(tmp_path):
    path = str(tmp_path / "numbers")
    x = rtorch.from_file(path, shared=True, size=4)
    x.copy_(rtorch.arange(4.0))
    private = rtorch.from_file(path, size=4)
    assert private.tolist() == [0, 1, 2, 3]
    private.zero_()
    assert rtorch.from_file(path, size=2, dtype=rtorch.float32).tolist() == [0, 1]
    with pytest.raises(RuntimeError, match="smaller"):
        rtorch.from_file(path, size=5)


# ---- methods


def test_older_methods():
    x = rtorch.arange(6.0).reshape(2, 3)
    assert rtorch.tensor(3.7).__long__() == 3 and rtorch.tensor(1).__nonzero__() is True
    assert x.__div__(2).tolist() == (x / 2).tolist()
    with pytest.warns(UserWarning):
        assert x.resize(3, 2).tolist() == [[0, 1], [2, 3], [4, 5]]
    with pytest.warns(UserWarning), pytest.raises(RuntimeError, match="requested resize"):
        x.resize(3, 3)
    with pytest.warns(UserWarning):
        assert x.resize_as(rtorch.ones(6)).shape == (6,) and x.volatile is False
    assert x.clone().map2_(x, x, lambda a, b, c: a + b * c).tolist() == (x + x * x).tolist()
    for name in ("eig", "symeig", "lstsq", "solve", "reinforce"):
        with pytest.raises(RuntimeError, match="removed"):
            getattr(x, name)(x)
    assert not (x.is_mps or x.is_xpu or x.is_distributed()) and x.const_data_ptr() == x.data_ptr()
    with pytest.raises(RuntimeError):
        x.xpu()
    with pytest.raises(AttributeError, match="non-CUDA"):
        x.__cuda_array_interface__  # noqa: B018
    assert x.__weakref__ is None
    ref = weakref.ref(x)
    assert x.__weakref__ is ref
    y = rtorch.ones(2)
    y.__setstate__((x, None, {}, True, False))
    assert y.tolist() == x.tolist() and y.requires_grad
    assert pickle.loads(pickle.dumps(x)).tolist() == x.tolist()


def test_in_place_forms():
    x = rtorch.arange(6.0).reshape(2, 3)
    y = x.clone()
    assert y.as_strided_((2, 2), (1, 2)) is y and y.tolist() == [[0, 2], [1, 3]]
    assert rtorch.as_strided_(x.clone(), (3,), (2,), 1).tolist() == [1, 3, 5]
    z = rtorch.tensor([1 + 2j])
    assert z.conj_physical_() is z and z.tolist() == [1 - 2j] and rtorch.conj_physical_(x) is x
    d = rtorch.tensor([2.0, 3.0], dtype=rtorch.float64)
    assert d.float_power_(2) is d and d.tolist() == [4, 9] and d.float_power_(rtorch.tensor(0.5)).tolist() == [2, 3]
    with pytest.raises(RuntimeError, match="float_power_"):
        rtorch.ones(2).float_power_(2)
    p = nn.Parameter(rtorch.zeros(2))
    assert p.module_load(rtorch.ones(2)).tolist() == [1, 1] and p.tolist() == [1, 1]
    other = rtorch.ones(2)
    assert p.module_load(other, assign=True).data_ptr() == other.data_ptr()
    base = rtorch.arange(6.0).reshape(2, 3)
    assert rtorch.equal(rtorch.slice_inverse(base[:, :2], base, 1, 0, 2), base)
    eye = rtorch.eye(2)
    assert rtorch.equal(rtorch.spmm(eye, base), base) and rtorch.equal(rtorch.spmm(eye.to_sparse(), base), base)


def test_order_of_dims():
    strided = rtorch.empty_strided
    assert rtorch.ones(2, 3).dim_order() == (0, 1) and rtorch.ones(2, 3).t().dim_order() == (1, 0)
    assert rtorch.ones(2, 3, 4, 5).to(memory_format=rtorch.channels_last).dim_order() == (0, 2, 3, 1)
    for shape, strides, order in [
        ((2, 1, 3), (1, 7, 2), (1, 2, 0)),
        ((3, 2, 2), (0, 2, 1), (0, 1, 2)),
        ((1, 3, 1, 5), (15, 1, 15, 3), (0, 2, 3, 1)),
    ]:
        assert strided(shape, strides).dim_order() == order
        with pytest.raises(RuntimeError, match="unique dim order"):
            strided(shape, strides).dim_order(ambiguity_check=True)
    formats = [rtorch.contiguous_format, rtorch.channels_last]
    assert strided((1, 3, 1, 5), (15, 1, 15, 3)).dim_order(ambiguity_check=formats) == (0, 2, 3, 1)
    with pytest.raises(RuntimeError):
        rtorch.ones(2, 1, 2, 1).dim_order(ambiguity_check=formats)
    with pytest.raises(TypeError):
        rtorch.ones(2).dim_order(ambiguity_check="yes")


def test_dtype_of_gradients():
    x = rtorch.ones(2, requires_grad=True)
    assert x.grad_dtype is rtorch.float32
    x.grad_dtype = rtorch.float64
    (x * 2).sum().backward()
    assert x.grad.dtype is rtorch.float64 and rtorch.autograd.grad((x * 2).sum(), x)[0].dtype is rtorch.float64
    with pytest.raises(RuntimeError, match="already a gradient"):
        x.grad_dtype = rtorch.float16
    x.grad = None
    with pytest.raises(RuntimeError, match="grad_dtype"):
        x.grad = rtorch.ones(2)
    x.grad_dtype = None
    x.grad = rtorch.ones(2, dtype=rtorch.float16)
    with pytest.raises(RuntimeError, match="leaf"):
        (x * 2).grad_dtype  # noqa: B018


def test_memory_order_of_gradients():
    p = rtorch.ones(2, 3, 4).permute(2, 0, 1).detach().requires_grad_()
    (p * 2).sum().backward()
    assert p.grad.stride() == p.stride()
    p.grad = None
    with rtorch.autograd.enforce_grad_layout_policy(False):
        (p * 2).sum().backward()
    assert p.grad.tolist() == rtorch.full((4, 2, 3), 2.0).tolist()


# ---- modules


def test_accelerator():
    a = rtorch.accelerator
    with a.device_index(0), a.device_index(None):
        assert a.current_device_idx() == 0
    with pytest.raises(RuntimeError), a.device_index(1):
        pass
    a.set_device_idx(0)
    a.empty_host_cache()
    a.empty_cache()
    dtypes = a.get_device_capability()["supported_dtypes"]
    assert rtorch.float32 in dtypes and rtorch.float64 not in dtypes
    a.reset_peak_memory_stats()
    stats = a.memory_stats()
    assert a.memory_allocated() == stats.get("allocated_bytes.all.current", 0)
    assert a.max_memory_allocated() >= a.memory_allocated() and a.memory_reserved() >= a.memory_allocated()
    with pytest.raises(ValueError):
        a.memory_allocated("cpu")


def test_dlpack():
    from rtorch.utils.dlpack import DLDeviceType, from_dlpack, to_dlpack

    x = rtorch.arange(3.0)
    y = from_dlpack(to_dlpack(x))
    y[0] = 7
    assert x[0] == 7 and x.__dlpack_device__() == (DLDeviceType.kDLCPU, 0)


def test_modes_see_every_operator():
    seen = []

    class Log(rtorch.overrides.TorchFunctionMode):
        def __init__(self, name):
            self.name = name

        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append((self.name, func.__name__))
            return func(*args, **(kwargs or {}))

    x = rtorch.ones(3)
    with Log("outer"):
        with Log("inner"):
            y = x + 1
            y *= 2
            y[0].exp()
            y[0] = 1
            rtorch.kron(x, x)
        x.neg()
    x.add(1)
    inner = [n for who, n in seen if who == "inner"]
    assert inner[:2] == ["add", "mul_"] and {"__getitem__", "exp", "__setitem__", "kron"} <= set(inner)
    assert ("outer", "neg") in seen and seen.count(("outer", "add")) == 1


@pytest.mark.parametrize("keep", [[rtorch.mm], [rtorch.exp], [rtorch.mm, rtorch.exp, rtorch.mul, rtorch.sin], []])
def test_selective_checkpoints(keep):
    runs = []

    class Count(rtorch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            runs.append(func.__name__)
            return func(*args, **(kwargs or {}))

    def f(x, w):
        y = x.mm(w).exp()
        return (y * y.mm(w)).sin().mm(w)

    x, w = data(3, 3).requires_grad_(), data(3, 3).requires_grad_()
    want = rtorch.autograd.grad(f(x, w).sum(), [x, w])
    context_fn = functools.partial(ckpt.create_selective_checkpoint_contexts, keep)
    y = ckpt.checkpoint(f, x, w, use_reentrant=False, context_fn=context_fn)
    with Count():
        got = rtorch.autograd.grad(y.sum(), [x, w])
    for a, b in zip(got, want):
        assert rtorch.allclose(a, b)
    # what is kept does not run again
    assert not {op.__name__ for op in keep} & {"exp", "sin"} & set(runs)


def test_policies_of_checkpoints():
    Policy = ckpt.CheckpointPolicy
    asked = []

    def policy(ctx, op, *args, **kwargs):
        asked.append((ctx.is_recompute, op.__name__))
        return Policy.MUST_CPU_OFFLOAD if op.__name__ == "exp" else Policy.PREFER_RECOMPUTE

    x = data(4).requires_grad_()
    context_fn = functools.partial(ckpt.create_selective_checkpoint_contexts, policy)
    with ckpt.GraphExecGroup():
        y = ckpt.checkpoint(lambda x: x.exp().sin(), x, use_reentrant=False, context_fn=context_fn)
        y.sum().backward()
    assert rtorch.allclose(x.grad, (x.exp().cos() * x.exp()).detach())
    assert (False, "exp") in asked and all(not again for again, _ in asked)
    assert rtorch.Tensor.size in ckpt.SAC_IGNORED_OPS
    assert ckpt.SelectiveCheckpointContext(is_recompute=True).is_recompute

    def writes(x):
        y = x.exp()
        z = y.sin()
        y.detach().zero_()
        return z

    keep = functools.partial(ckpt.create_selective_checkpoint_contexts, [rtorch.exp])
    y = ckpt.checkpoint(writes, x, use_reentrant=False, context_fn=keep)
    with pytest.raises(RuntimeError, match="mutated"):
        y.sum().backward()
    with pytest.raises(TypeError):
        ckpt.create_selective_checkpoint_contexts(3)


REARRANGED = [
    ("a b c -> c (b a)", {}, lambda x: x.permute(2, 1, 0).reshape(4, 6)),
    ("a b (c d) -> a d b c", {"d": 2}, lambda x: x.reshape(2, 3, 2, 2).permute(0, 3, 1, 2)),
    ("... (c d) -> d ... c", {"c": 2}, lambda x: x.reshape(2, 3, 2, 2).permute(3, 0, 1, 2)),
    ("a ... -> ... a 1", {}, lambda x: x.permute(1, 2, 0).unsqueeze(-1)),
    ("a ... -> a (...)", {}, lambda x: x.reshape(2, 12)),
    ("a b c -> a () b c", {}, lambda x: x.unsqueeze(1)),
]


@pytest.mark.parametrize(("pattern", "lengths", "want"), REARRANGED)
def test_rearrange(pattern, lengths, want):
    x = data(2, 3, 4)
    assert rtorch.equal(rtorch.func.rearrange(x, pattern, **lengths), want(x))


def test_rearrange_of_lists_and_refusals():
    x = data(2, 3, 4)
    rearrange = rtorch.func.rearrange
    assert rtorch.equal(rearrange([x, x], "n a b c -> (n a) b c"), rtorch.cat([x, x]))
    assert rearrange(rtorch.tensor(3.0), " -> 1").shape == (1,) or rearrange(rtorch.tensor(3.0), " -> ").shape == ()
    bad = ["a b -> b a", "a b c -> a b", "a b c -> a a b c", "a b c", "a b c -> (a (b c))", "a b c -> (a b c",
           "a b c -> a) b c", "a b (c d) -> a b c d", "a (...) -> a (...)", "a b c -> ... a b c", "a b 2 -> a b 2",
           "a b-c d -> a", "a .. c -> a c", "a _b c -> a _b c", "a b 1 -> a b"]  # fmt: skip
    for pattern in bad:
        with pytest.raises(ValueError):
            rearrange(x, pattern)
    for lengths in ({"d": 3}, {"z": 3}):
        with pytest.raises(ValueError):
            rearrange(x, "a b (c d) -> a b c d", **lengths)
    with pytest.raises(TypeError):
        rearrange(x, "a b c -> a b c", a="2")


def test_operands_may_all_be_numbers():
    x = rtorch.tensor([1.0, 2.0])
    assert rtorch.sub(2, x).tolist() == [1.0, 0.0] and rtorch.add(1, x, alpha=3).tolist() == [4.0, 7.0]
    for f, want, dtype in (
        (lambda: rtorch.add(1.5, 2), 3.5, rtorch.float32),
        (lambda: rtorch.multiply(2, 3), 6, rtorch.int64),
        (lambda: rtorch.mul(2, 0.5), 1.0, rtorch.float32),
        (lambda: rtorch.div(3, 2), 1.5, rtorch.float32),
        (lambda: rtorch.div(7, 2, rounding_mode="floor"), 3, rtorch.int64),
        (lambda: rtorch.floor_divide(7, 2), 3, rtorch.int64),
    ):
        assert f().item() == want and f().dtype is dtype and f().shape == ()
    for f, args in ((rtorch.add, ("a", 1)), (rtorch.add, (1,)), (rtorch.eq, (2, x)), (rtorch.exp, (2.0,))):
        with pytest.raises(TypeError):
            f(*args)


def test_integers_of_numpy_are_integers():
    i, x = np.int64, rtorch.arange(24.0).reshape(2, 3, 4)
    assert x.roll(i(1), i(0)).equal(x.roll(1, 0)) and x.roll(i(1)).equal(x.roll(1))
    assert x.movedim(i(0), i(1)).equal(x.movedim(0, 1))
    assert [t.shape for t in x.tensor_split(i(2), 2)] == [(2, 3, 2)] * 2
    assert x.repeat_interleave(i(2), 1).shape == (2, 6, 4)
    assert rtorch.quantile(x, 0.5, i(0)).equal(rtorch.quantile(x, 0.5, 0))
    assert rtorch.linalg.norm(x, dim=i(0)).equal(rtorch.linalg.norm(x, dim=0))
    assert rtorch.nn.functional.group_norm(x, i(3)).equal(rtorch.nn.functional.group_norm(x, 3))
    assert rtorch.nn.LayerNorm(i(4))(x).shape == x.shape


def test_operands_by_keywords_in_any_order():
    x = rtorch.arange(4.0)
    assert rtorch.searchsorted(input=x, sorted_sequence=x, right=True).tolist() == [1, 2, 3, 4]
    assert rtorch.median(x=x).item() == 1.0 and rtorch.quantile(a=x, q=0.5).item() == 1.5
    assert rtorch.tile(dims=(2,), input=x).shape == (8,) and x.tile(2, 1).shape == (2, 4)
