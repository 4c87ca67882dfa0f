"""Smaller parts of `rtorch.nn`: kernels of attention, grouped and scaled products, chunked losses, names of PyTorch."""

import inspect
import pickle

import pytest

import rtorch
import rtorch.nn as nn
import rtorch.nn.functional as F
from rtorch.nn import attention
from rtorch.nn.attention import SDPBackend, sdpa_kernel


def qkv(heads=4, groups=4):
    rtorch.manual_seed(0)
    return rtorch.randn(2, heads, 5, 8), rtorch.randn(2, groups, 6, 8), rtorch.randn(2, groups, 6, 3)


@pytest.mark.parametrize("options", [{}, {"scale": 0.3}, {"enable_gqa": True}, {"mask": "bool"}, {"mask": "float"}])
def test_every_kernel_of_attention_agrees(options):
    q, k, v = qkv(groups=2 if options.get("enable_gqa") else 4)
    options = dict(options)
    kind = options.pop("mask", None)
    if kind:
        options["attn_mask"] = rtorch.randn(5, 6) if kind == "float" else rtorch.randn(5, 6) > -0.5
    fused = F.scaled_dot_product_attention(q, k, v, **options)
    for backend in (SDPBackend.MATH, [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH], SDPBackend.EFFICIENT_ATTENTION):
        with sdpa_kernel(backend):
            assert rtorch.allclose(F.scaled_dot_product_attention(q, k, v, **options), fused, atol=1e-5)


def test_causal_attention_and_backends_that_are_not_there():
    q, k, v = qkv()
    k, v = k[:, :, :5], v[:, :, :5]
    with sdpa_kernel(SDPBackend.MATH):
        composed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert rtorch.allclose(F.scaled_dot_product_attention(q, k, v, is_causal=True), composed, atol=1e-5)
    with sdpa_kernel([SDPBackend.CUDNN_ATTENTION]), pytest.raises(RuntimeError, match="No available kernel"):
        F.scaled_dot_product_attention(q, k, v)
    F.scaled_dot_product_attention(q, k, v)
    with pytest.raises(AssertionError, match="SDPBackend"), sdpa_kernel("math"):
        pass
    with sdpa_kernel([SDPBackend.MATH, SDPBackend.FLASH_ATTENTION], set_priority=True):
        inner = F.scaled_dot_product_attention.__globals__
        assert inner["_attention"] is inner["composed_attention"]


def test_a_registered_implementation_of_attention():
    calls = []

    def mine(*arguments, **named):
        calls.append(len(arguments))
        return arguments[0]

    attention.register_flash_attention_impl("mine", register_fn=lambda: mine)
    assert attention.list_flash_attention_impls() == ["mine"] and attention.current_flash_attention_impl() is None
    attention.activate_flash_attention_impl("mine")
    q, k, v = qkv()
    assert F.scaled_dot_product_attention(q, k, v) is q and attention.current_flash_attention_impl() == "mine"
    attention.restore_flash_attention_impl()
    assert F.scaled_dot_product_attention(q, k, v).shape == (2, 4, 5, 3) and calls == [6]
    with pytest.raises(ValueError, match="Unknown flash attention impl"):
        attention.activate_flash_attention_impl("FA9")
    assert attention.WARN_FOR_UNFUSED_KERNELS is False


def test_grouped_products():
    rtorch.manual_seed(1)
    a, b, ends = rtorch.randn(5, 3), rtorch.randn(2, 3, 4), rtorch.tensor([2, 5], dtype=rtorch.int32)
    got = F.grouped_mm(a, b, offs=ends)
    assert got[:2].allclose(a[:2] @ b[0]) and got[2:].allclose(a[2:] @ b[1])
    wide = rtorch.randn(3, 5)
    got = F.grouped_mm(rtorch.randn(2, 4, 3), wide, offs=ends)
    assert got.shape == (4, 5)
    got = F.grouped_mm(a.t(), rtorch.randn(5, 6), offs=ends)
    assert got.shape == (2, 3, 6)
    assert F.grouped_mm(b, b.mT, out_dtype=rtorch.float64).dtype == rtorch.float64
    with pytest.raises(RuntimeError, match="contraction dimension"):
        F.grouped_mm(a, b.mT, offs=ends)
    with pytest.raises(RuntimeError, match="offs"):
        F.grouped_mm(a, b)


def test_scaled_products():
    rtorch.manual_seed(2)
    a, b = rtorch.randn(4, 32), rtorch.randn(32, 6)
    one = F.ScalingType.TensorWise
    got = F.scaled_mm(a, b, rtorch.tensor(2.0), one, rtorch.tensor(3.0), one, output_dtype=rtorch.float32)
    assert got.allclose(6 * (a @ b), atol=1e-4)
    rows, columns = rtorch.rand(4, 1), rtorch.rand(1, 6)
    row = F.ScalingType.RowWise
    got = F.scaled_mm(a, b, rows, row, columns, row, bias=rtorch.ones(6), output_dtype=rtorch.float32)
    assert got.allclose((a * rows) @ (b * columns) + 1, atol=1e-4)
    blocks = rtorch.rand(4, 2)
    block = F.ScalingType.BlockWise1x16
    got = F.scaled_mm(a, b, [blocks], [block], rtorch.tensor(1.0), one, output_dtype=rtorch.float32)
    assert got.allclose((a * blocks.repeat_interleave(16, 1)) @ b, atol=1e-4)
    assert F.scaled_mm(a, b, rows, row, columns, row).dtype == rtorch.bfloat16
    with pytest.raises(ValueError, match="swizzled"):
        F.scaled_mm(a, b, rows, row, columns, row, F.SwizzleType.SWIZZLE_32_4_4)
    grouped = F.scaled_grouped_mm(
        a, rtorch.stack([b, b]), rows, row, rtorch.ones(2, 6), row,
        offs=rtorch.tensor([1, 4], dtype=rtorch.int32), output_dtype=rtorch.float32,
    )  # fmt: skip
    assert grouped.allclose((a * rows) @ b, atol=1e-4)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_of_a_linear_layer_in_pieces(reduction, weighted):
    rtorch.manual_seed(3)
    x = rtorch.randn(9, 4)
    y = rtorch.tensor([0, 1, 2, 3, 4, 5, 6, -100, 2])
    weight = rtorch.rand(7) if weighted else None
    options = nn.LinearCrossEntropyOptions(batch_chunk_size=2)
    whole = nn.LinearCrossEntropyLoss(4, 7, bias=True, weight=weight, reduction=reduction, label_smoothing=0.1)
    pieces = nn.LinearCrossEntropyLoss(
        4, 7, bias=True, weight=weight, reduction=reduction, label_smoothing=0.1, options=options
    )
    pieces.load_state_dict(whole.state_dict())
    results = []
    for layer in (whole, pieces):
        data = x.clone().requires_grad_()
        loss = layer(data, y)
        (2 * loss).backward()
        results.append((loss.detach(), data.grad, layer.linear.weight.grad, layer.linear.bias.grad))
    for got, want in zip(*results):
        assert got.allclose(want, atol=1e-5)


def test_how_large_the_pieces_are():
    options = nn.LinearCrossEntropyOptions
    assert options(batch_chunk_size=5).rows(100, 1000, 10) == 5
    assert options().rows(100, 1000, 10) == 2 and options(chunking_method="aspect_ratio:8").rows(100, 1000, 10) == 8
    with pytest.raises(ValueError, match="acc_policy"):
        options(acc_policy="wild")
    with pytest.warns(UserWarning, match="without pieces"):
        F.linear_cross_entropy(
            rtorch.ones(2, 3), rtorch.ones(4, 3), rtorch.tensor([0, 1]), reduction="none", options=options()
        )


def test_factory_arguments():
    assert nn.factory_kwargs(None) == {}
    assert nn.factory_kwargs({"device": "cpu", "factory_kwargs": {"dtype": 1}}) == {"dtype": 1, "device": "cpu"}
    with pytest.raises(TypeError, match="unexpected kwargs"):
        nn.factory_kwargs({"size": 1})
    with pytest.raises(TypeError, match="dtype specified twice"):
        nn.factory_kwargs({"dtype": 1, "factory_kwargs": {"dtype": 2}})


def test_old_containers():
    with pytest.warns(FutureWarning, match="nn.Container is deprecated"):
        box = nn.Container(first=nn.Linear(1, 1))
    assert list(dict(box.named_children())) == ["first"]
    wrapped = nn.DataParallel(nn.Linear(2, 1))
    assert list(wrapped.state_dict()) == ["module.weight", "module.bias"] and wrapped(rtorch.ones(3, 2)).shape == (3, 1)
    with pytest.raises(RuntimeError, match="CUDA devices"):
        nn.DataParallel(nn.Linear(2, 1), device_ids=[0])


def test_weights_in_another_memory_format():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ConvTranspose2d(3, 2, 3), nn.Linear(2, 2), nn.Conv3d(1, 2, 2))
    before = [p.clone() for p in model.parameters()]
    assert nn.utils.convert_conv2d_weight_memory_format(model, rtorch.channels_last) is model
    assert model[0].weight.is_contiguous(memory_format=rtorch.channels_last) and model[3].weight.is_contiguous()
    nn.utils.convert_conv3d_weight_memory_format(model, rtorch.channels_last_3d)
    assert model[3].weight.is_contiguous(memory_format=rtorch.channels_last_3d)
    assert all(p.equal(b) for p, b in zip(model.parameters(), before))


@pytest.mark.parametrize("name", nn.modules.padding.__all__)
def test_padding_layers_are_classes_of_their_own(name):
    cls = getattr(nn, name)
    layer = cls(1, 2.0) if name.startswith("Constant") else cls(1)
    n = int(name[-2])
    x = rtorch.arange(float(3**n)).reshape(1, 1, *[3] * n)
    assert layer(x).shape == (1, 1, *[5] * n)
    again = pickle.loads(pickle.dumps(layer))
    assert type(again) is cls and cls.__name__ == name and again(x).equal(layer(x))
    assert "dimension" in inspect.getdoc(cls)


def test_names_for_scripts():
    assert F.GRID_SAMPLE_PADDING_MODES["border"] == 1 and F.GRID_SAMPLE_INTERPOLATION_MODES["bicubic"] == 2
    assert F.Tensor is rtorch.Tensor and F.BroadcastingList2[int] == int | list[int]
    assert set(F.tf32_notes) == {"tf32_note"} and len(F.reproducibility_notes) == 2
    F.assert_int_or_pair([1, 2], "x", "{} is wrong")
    with pytest.raises(AssertionError, match="x is wrong"):
        F.assert_int_or_pair([1, 2, 3], "x", "{} is wrong")
    pick = F.boolean_dispatch("both", 1, False, lambda x, both=True: (x, x), lambda x, both=False: x, "m", "pick")
    assert pick(1) == 1 and pick(1, True) == (1, 1) and pick(1, both=True) == (1, 1) and pick.__name__ == "pick"


def test_uninitialized_tensors_share_a_class():
    assert issubclass(nn.UninitializedParameter, nn.parameter.UninitializedTensorMixin)
    assert isinstance(nn.LazyLinear(3).weight, nn.parameter.UninitializedTensorMixin)
