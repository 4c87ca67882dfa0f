"""The wider unsigned integers and the 8-bit floats: mostly storage, with PyTorch's few operators and its refusals."""

import copy
import io
import json
import pathlib
import pickle

import numpy as np
import pytest

import rtorch as torch
from rtorch.utils import safetensors

UNSIGNED = [torch.uint16, torch.uint32, torch.uint64]
FLOAT8 = [
    torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu
]  # fmt: skip
ALL = UNSIGNED + FLOAT8
TOP = 2**64 - 1


def name(dtype):
    return str(dtype).rpartition(".")[2]


def numbers(dtype):
    return torch.tensor([1, 2, 4], dtype=torch.int32).to(dtype)


def big():
    return torch.tensor([1, TOP, 2**63], dtype=torch.uint64)


# ---- 8-bit floats: PyTorch 2.13's bytes, recorded


@pytest.fixture(scope="module")
def recorded():
    return json.loads((pathlib.Path(__file__).parent / "data" / "float8.json").read_text())


@pytest.mark.parametrize("dtype", FLOAT8, ids=name)
def test_float8_rounds_and_reads_as_pytorch(recorded, dtype):
    case = recorded[name(dtype)]
    x = torch.from_numpy(np.frombuffer(bytes.fromhex(recorded["float32"]), np.float32).copy())
    of = list(bytes.fromhex(case["of"]))
    for source in (x, x.double(), x.repeat(50)):
        assert source.to(dtype).view(torch.uint8).tolist()[: len(of)] == of
    assert torch.tensor(x.tolist(), dtype=dtype).view(torch.uint8).tolist() == of
    values = np.frombuffer(bytes.fromhex(case["values"]), np.float32)
    every = torch.arange(256).to(torch.uint8).view(dtype)
    np.testing.assert_array_equal(every.float().numpy(), values)
    np.testing.assert_array_equal(np.array(every.tolist(), np.float32), values)
    assert repr(torch.finfo(dtype)) == case["finfo"]


def test_float8_in_text():
    x = torch.tensor([1.5, -2, 448.0], dtype=torch.float8_e4m3fn)
    assert repr(x) == "tensor([  1.5000,  -2.0000, 448.0000], dtype=torch.float8_e4m3fn)"
    assert x.type() == "torch.Float8_e4m3fnTensor"
    assert x[0].item() == 1.5


def test_float8_gradients_pass_through_the_cast():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    (x.to(torch.float8_e5m2).float() * 3).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]


# ---- unsigned integers


def test_uint64_is_whole_beyond_int64():
    u = big()
    assert u.tolist() == [1, TOP, 2**63]
    assert u[1].item() == TOP == int(u[1])
    assert repr(u) == (
        "tensor([                   1, 18446744073709551615,  9223372036854775808],\n       dtype=torch.uint64)"
    )
    assert u.double().tolist() == [1.0, float(TOP), 2.0**63]
    assert u.double().to(torch.uint64)[2].item() == 2**63
    assert u.to(torch.int64).tolist() == [1, -1, -(2**63)]
    assert u.to(torch.int64).double().tolist() == [1.0, -1.0, -(2.0**63)]
    assert (u / 2).tolist() == (u.float() / 2).tolist()
    assert (u == TOP).tolist() == [False, True, False]
    assert (u * 3).tolist() == [3, (TOP * 3) % 2**64, (2**63 * 3) % 2**64]
    assert torch.full((1,), TOP, dtype=torch.uint64).item() == TOP
    assert u.clone().fill_(TOP - 1)[0].item() == TOP - 1


def test_uint64_sorts_by_size():
    values, index = big().sort()
    assert values.tolist() == [1, 2**63, TOP] and index.tolist() == [0, 2, 1]
    assert big().sort(descending=True)[1].tolist() == [1, 2, 0]
    assert torch.tensor([5, TOP, 5, 2**63], dtype=torch.uint64).unique().tolist() == [5, 2**63, TOP]


@pytest.mark.parametrize("dtype", UNSIGNED, ids=name)
def test_unsigned_operators_that_exist(dtype):
    w, top = torch.tensor([3, 1, 2], dtype=dtype), torch.iinfo(dtype).max
    assert torch.iinfo(dtype).min == 0 and top == 2 ** (8 * w.element_size()) - 1
    assert (w * w).tolist() == [9, 1, 4] and (w * w).dtype == dtype
    assert (w & 2).tolist() == [2, 0, 2] and (w | 4).tolist() == [7, 5, 6] and (w ^ w).tolist() == [0, 0, 0]
    assert (torch.tensor([top], dtype=dtype) * 2).item() == top - 1
    assert (w == 3).tolist() == [True, False, False] and (w != w).any().item() is False
    assert (w / 2).tolist() == [1.5, 0.5, 1.0]
    assert w.sum().dtype == torch.int64 and w.sum().item() == 6 and w.prod().item() == 6
    assert w.cumsum(0).tolist() == [3, 4, 6]
    assert w.sin().dtype == torch.float32 and w.floor().dtype == dtype
    assert w.sort()[0].tolist() == [1, 2, 3]
    assert torch.where(w == 1, w, w * 2).tolist() == [6, 1, 4]
    assert w[w == 1].tolist() == [1] and w[torch.tensor([2, 0])].tolist() == [2, 3]
    assert torch.tensor([-1], dtype=torch.int32).to(dtype).item() == top
    assert torch.tensor([-1.0]).to(dtype).item() == top
    assert torch.full((2,), -1, dtype=dtype).tolist() == [top, top]
    w.copy_(torch.tensor([1.7, 2.0, 5.0]))
    assert w.mul_(2).tolist() == [2, 4, 10]
    assert set(torch.randint(0, 9, (200,), dtype=dtype).tolist()) == set(range(9))


@pytest.mark.parametrize("dtype", UNSIGNED, ids=name)
@pytest.mark.parametrize(
    "call",
    [
        lambda w: w + w, lambda w: 1 + w, lambda w: w - w, lambda w: -w, lambda w: ~w, lambda w: w < w, lambda w: w**2,
        lambda w: w // 2, lambda w: w % 2, lambda w: w << 1, lambda w: abs(w), lambda w: w.max(), lambda w: w.argmax(),
        lambda w: w.clamp(0, 1), lambda w: torch.maximum(w, w), lambda w: w.add_(1), lambda w: w.topk(1),
        lambda w: w.dot(w), lambda w: w.bincount(), lambda w: w.uniform_(), lambda w: w.random_(),
        lambda w: w.scatter_add(0, torch.tensor([0]), w),
    ],
)  # fmt: skip
def test_unsigned_operators_that_pytorch_has_not(dtype, call):
    with pytest.raises(NotImplementedError, match=f"not implemented for '{name(dtype).replace('ui', 'UI')}'"):
        call(numbers(dtype))


@pytest.mark.parametrize("dtype", FLOAT8, ids=name)
@pytest.mark.parametrize(
    "call",
    [
        lambda f: f + f, lambda f: f * 2, lambda f: -f, lambda f: f.sum(), lambda f: f.sin(), lambda f: f.max(),
        lambda f: f < f, lambda f: f.sort(), lambda f: f.cumsum(0), lambda f: f.mul_(2), lambda f: f.isinf(),
        lambda f: f.exp(), lambda f: f.uniform_(),
    ],
)  # fmt: skip
def test_float8_operators_that_pytorch_has_not(dtype, call):
    with pytest.raises(NotImplementedError, match="not implemented for 'Float8_e"):
        call(numbers(dtype))


def test_uint64_takes_integers_only():
    with pytest.raises(OverflowError, match="can't convert negative int to unsigned"):
        torch.tensor([-1], dtype=torch.uint64)
    with pytest.raises(TypeError, match="an integer is required"):
        torch.tensor([1.5], dtype=torch.uint64)
    with pytest.raises(ValueError, match="Overflow when unpacking long long"):
        torch.tensor([2**63])
    for value in (65536, -65536, -1.5):
        with pytest.raises(RuntimeError, match="without overflow"):
            torch.tensor([value], dtype=torch.uint16)
    with pytest.raises(IndexError, match="tensors used as indices"):
        big()[torch.tensor([0, 1], dtype=torch.uint16)]


# ---- both kinds


def test_promotion():
    for d in UNSIGNED:
        for f in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            assert torch.promote_types(d, f) == f == torch.promote_types(f, d)
        for other in (torch.bool, torch.uint8, torch.int64, torch.complex64, *UNSIGNED):
            if other != d:
                with pytest.raises(RuntimeError, match="Promotion for uint16, uint32, uint64 types is not supported"):
                    torch.promote_types(d, other)
        assert torch.result_type(numbers(d), 1) == d and torch.result_type(numbers(d), 1.0) == torch.float32
    for d in FLOAT8:
        for other in (torch.bool, torch.int64, torch.float32, torch.uint16):
            with pytest.raises(RuntimeError, match="Promotion for Float8 Types is not supported"):
                torch.promote_types(other, d)
    with pytest.raises(RuntimeError, match="attempted to promote UInt16 and Long"):
        numbers(torch.uint16).eq(torch.tensor([1, 2, 3]))
    with pytest.raises(RuntimeError, match="attempted to promote Float8_e5m2 and Float"):
        torch.cat([numbers(torch.float8_e5m2), torch.ones(1)])


@pytest.mark.parametrize("dtype", ALL, ids=name)
def test_views_copies_and_indexing(dtype):
    x = torch.tensor([[1, 2, 4], [8, 16, 32]], dtype=torch.int64).to(dtype)
    want = [[1, 2, 4], [8, 16, 32]]
    assert x.tolist() == want and x.clone().tolist() == want
    assert x.t().contiguous().tolist() == [[1, 8], [2, 16], [4, 32]]
    assert x[:, ::2].tolist() == [[1, 4], [8, 32]] and x[1].tolist() == want[1]
    assert torch.cat([x, x]).shape == (4, 3) and torch.stack([x[0], x[1]]).tolist() == want
    assert x.expand(2, 2, 3).reshape(4, 3)[2].tolist() == want[0]
    assert x.flip(0).tolist() == want[::-1] and x.roll(1, 1)[0].tolist() == [4, 1, 2]
    assert torch.equal(x, copy.deepcopy(x))
    assert (x == x.clone()).all().item() is True
    assert x.view(torch.uint8).view(dtype).tolist() == want
    x[0, 1] = 64
    x[1:] = x[:1].clone()
    assert x.tolist() == [[1, 64, 4]] * 2
    x[torch.tensor([True, False])] = 0 if dtype != torch.float8_e8m0fnu else 1
    for to in (torch.float32, torch.int64, torch.float64, torch.complex64, torch.float16):
        assert x[1].to(to).to(dtype).tolist() == [1, 64, 4]
    for other in ALL:
        assert x[1].to(other).to(torch.float64).tolist() == [1.0, 64.0, 4.0]
    assert torch.empty(0, dtype=dtype).tolist() == []
    assert torch.zeros(2, 3, dtype=dtype, device="meta").dtype == dtype


@pytest.mark.modes
def test_large_conversions_are_those_of_small_ones():
    x = torch.arange(20_000) % 200
    for dtype in ALL:
        small = torch.cat([piece.to(dtype) for piece in x.split(50)])
        assert torch.equal(x.to(dtype).view(torch.uint8), small.view(torch.uint8))
        assert torch.equal(x.float().t().to(dtype).view(torch.uint8), small.view(torch.uint8))


def test_numpy_and_dlpack():
    for dtype in UNSIGNED:
        array = np.array([1, 2, 3], dtype=name(dtype))
        x = torch.from_numpy(array)
        assert x.dtype == dtype and x.numpy().dtype == array.dtype
        x.mul_(2)
        assert array.tolist() == [2, 4, 6]
        assert np.from_dlpack(x).tolist() == [2, 4, 6] and torch.from_dlpack(array).dtype == dtype
        assert torch.tensor(array).dtype == torch.as_tensor(array[0]).dtype == dtype
    for dtype in FLOAT8:
        x = numbers(dtype)
        with pytest.raises(TypeError, match="Got unsupported ScalarType Float8_e"):
            x.numpy()
        assert torch.from_dlpack(x).dtype == dtype
    assert torch.tensor(np.uint64(TOP)).item() == TOP


@pytest.mark.parametrize("dtype", ALL, ids=name)
def test_files(dtype, tmp_path):
    x = numbers(dtype)
    assert torch.equal(pickle.loads(pickle.dumps(x)), x)
    file = io.BytesIO()
    torch.save({"x": x, "view": x[1:]}, file)
    file.seek(0)
    back = torch.load(file)
    assert back["x"].dtype == dtype and torch.equal(back["x"], x)
    assert back["view"].data_ptr() == back["x"].data_ptr() + x.element_size()
    safetensors.save_file({"x": x}, tmp_path / "x.safetensors")
    assert torch.equal(safetensors.load_file(tmp_path / "x.safetensors")["x"], x)
    assert pickle.loads(pickle.dumps(dtype)) is dtype


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ALL, ids=name)
def test_the_gpu_refuses_them(dtype):
    with pytest.raises(TypeError, match=f"doesn't support {name(dtype)}"):
        numbers(dtype).to("wgpu")
    with pytest.raises(TypeError, match=f"doesn't support {name(dtype)}"):
        torch.zeros(2, device="wgpu").to(dtype)
    with pytest.raises(TypeError, match=f"doesn't support {name(dtype)}"):
        torch.zeros(2, dtype=dtype, device="wgpu")
