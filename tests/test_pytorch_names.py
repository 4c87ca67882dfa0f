"""Modules that programs import types and helpers from, older names, and what the names of `nn` and its neighbours do
where no other file tests it. That every public name is there is `test_names.py`."""

import importlib

import pytest

import rtorch
from rtorch import nn


def test_modules_that_annotations_come_from():
    from rtorch.nn import _reduction
    from rtorch.nn.common_types import _ratio_any_t, _size_2_t, _size_any_opt_t
    from rtorch.nn.modules.conv import _pair
    from rtorch.types import Device, Number

    assert _size_2_t.__args__[0] is int and _ratio_any_t.__args__[0] is float and _size_any_opt_t.__args__
    assert rtorch.device in Device.__args__ and float in Number.__args__ and _pair(3) == (3, 3)
    assert [_reduction.get_enum(n) for n in ("none", "mean", "sum")] == [0, 1, 2]
    with pytest.warns(UserWarning, match="reduction='sum'"):
        assert _reduction.legacy_get_enum(False, None) == 2
    assert rtorch.functional.einsum is rtorch.einsum and rtorch.types.Device is Device
    assert importlib.import_module("rtorch.autograd.variable").Variable is rtorch.Tensor
    with pytest.raises(RuntimeError, match="downloads nothing"):
        importlib.import_module("rtorch.utils.model_zoo").load_url("https://a/b.pth")
    assert rtorch.backends.cpu.get_cpu_capability() in ("AVX512", "AVX2", "DEFAULT")
    assert "names of PyTorch" in rtorch.__config__.show() and "get_num_threads" in rtorch.__config__.parallel_info()
    assert rtorch.random.default_generator is rtorch.default_generator
    assert rtorch.autograd.function.InplaceFunction(True).inplace


@pytest.mark.parametrize("n", [1, 2, 3])
def test_gradients_of_convolutions_as_functions(n):
    from rtorch.nn import grad

    x = rtorch.randn(2, 4, *(5, 6, 7)[:n], requires_grad=True)
    w = rtorch.randn(6, 2, *(3, 2, 2)[:n], requires_grad=True)
    y = getattr(nn.functional, f"conv{n}d")(x, w, None, 2, 1, 1, 2)
    g = rtorch.randn_like(y)
    y.backward(g)
    into = getattr(grad, f"conv{n}d_input")(x.shape, w.detach(), g, 2, 1, 1, 2)
    of = getattr(grad, f"conv{n}d_weight")(x.detach(), w.shape, g, 2, 1, 1, 2)
    assert rtorch.allclose(into, x.grad, atol=1e-5) and rtorch.allclose(of, w.grad, atol=1e-5)


def test_old_names_warn():
    with pytest.warns(FutureWarning, match=r"torch.amp.autocast\('cpu'"):
        rtorch.cpu.amp.autocast()
    with pytest.warns(FutureWarning, match=r"torch.amp.GradScaler\('cpu'"):
        rtorch.cpu.amp.GradScaler()
    with pytest.warns(FutureWarning, match="parametrizations.weight_norm"):
        nn.utils.weight_norm(nn.Linear(2, 3))
    with pytest.warns(FutureWarning, match="torch.nn.utils.clip_grad_norm_"):
        nn.utils.clip_grad_norm(rtorch.ones(1, requires_grad=True), 1.0)
    y = rtorch.ones(1, requires_grad=True) * 2
    with pytest.warns(UserWarning, match="not a leaf"):
        assert y.grad is None


def test_where_a_tensor_lies():
    x = rtorch.empty(2, device="meta")
    assert x.is_meta and not x.is_cpu and not x.is_wgpu
    assert rtorch.ones(1).is_cpu and not rtorch.ones(1).is_meta


def test_complex_numbers_are_drawn_as_two_parts():
    # PyTorch's numbers
    rtorch.manual_seed(0)
    like = rtorch.randn_like(rtorch.zeros(2, dtype=rtorch.complex64))
    assert like.tolist() == pytest.approx([1.0896488 - 0.2074856j, -1.5406368 + 0.4019416j], abs=1e-6)
    uniform = rtorch.empty(2, dtype=rtorch.complex128).uniform_()
    assert uniform.tolist() == pytest.approx([0.64502412 + 0.79114789j, 0.17860618 + 0.35110762j], abs=1e-7)
    normal = rtorch.empty(1, dtype=rtorch.complex64).normal_(1, 2)
    assert normal.tolist() == pytest.approx([-0.0171838 + 0.4295861j], abs=1e-6)
    with pytest.raises(RuntimeError, match="leaf"):
        rtorch.zeros(1, dtype=rtorch.complex64, requires_grad=True).normal_()


def test_tensors_flattened_into_one_and_back():
    from rtorch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

    parts = [rtorch.arange(4.0).view(2, 2), rtorch.ones(3), rtorch.tensor(7.0)]
    flat = _flatten_dense_tensors(parts)
    assert flat.tolist() == [0, 1, 2, 3, 1, 1, 1, 7]
    assert all(a.equal(b) for a, b in zip(_unflatten_dense_tensors(flat, parts), parts))
