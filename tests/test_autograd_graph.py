"""The graph as users see it: names of nodes, composite operators as one node, hooks on what is saved, `.data`."""

import pytest

import rtorch
from rtorch import autograd
from rtorch.autograd import graph
from rtorch.nn import functional as F


def leaf(*values):
    return rtorch.tensor(values, requires_grad=True)


def test_an_operator_made_of_others_is_one_node():
    x = rtorch.arange(6.0).reshape(2, 3).requires_grad_()
    for y, name in [
        (x.sort().values, "SortBackward0"),
        (x.median(1).values, "MedianBackward1"),
        (x.median(), "MedianBackward0"),
        (x.logsumexp(1), "LogsumexpBackward0"),
        (rtorch.stack([x, x]), "StackBackward0"),
        (x.mv(rtorch.ones(3)), "MvBackward0"),
        (x.std(), "StdBackward0"),
        (rtorch.linalg.vector_norm(x, 3), "LinalgVectorNormBackward0"),
        (rtorch.nn.functional.mse_loss(x, rtorch.zeros(2, 3)), "MseLossBackward0"),
        (rtorch.nn.functional.soft_margin_loss(x, rtorch.ones(2, 3)), "SoftMarginLossBackward0"),
    ]:
        assert y.grad_fn.name() == name
        assert y.grad_fn.next_functions[0][0].name() == "torch::autograd::AccumulateGrad"


def test_nodes_are_called_as_in_pytorch():
    v, m = rtorch.rand(3).requires_grad_(), rtorch.rand(3, 3).requires_grad_()
    a3, a4 = rtorch.rand(2, 3, 3).requires_grad_(), rtorch.rand(2, 2, 3, 3).requires_grad_()
    zero, index, one = rtorch.tensor(0.5, requires_grad=True), rtorch.tensor([0]), rtorch.tensor(1.0)
    last = rtorch.channels_last
    scores = rtorch.rand(5, 2, 4).requires_grad_(), rtorch.ones(2, 3, dtype=rtorch.int64), (5, 5), (3, 2)
    for y, name in [
        (v.clamp(0, 1), "ClampBackward1"),
        (v.clamp(v, v), "ClampBackward0"),
        (v @ v, "DotBackward0"),
        (m @ v, "MvBackward0"),
        (v @ m, "SqueezeBackward4"),
        (a3 @ m, "UnsafeViewBackward0"),
        (a4 @ a4, "UnsafeViewBackward0"),
        (F.linear(v, m, v), "ViewBackward0"),
        (F.linear(a3, m), "UnsafeViewBackward0"),
        (F.adaptive_avg_pool2d(a3, 1), "MeanBackward1"),
        (F.adaptive_avg_pool2d(a3, 2), "AdaptiveAvgPool2DBackward0"),
        (F.adaptive_avg_pool3d(a4, 2), "AdaptiveAvgPool3DBackward0"),
        (F.interpolate(a3, 2, mode="area"), "SqueezeBackward1"),
        (F.scaled_dot_product_attention(a3, a3, a3), "UnsafeViewBackward0"),
        (F.margin_ranking_loss(v, v, rtorch.ones(3)), "MeanBackward0"),
        (F.layer_norm(rtorch.rand(0, 3), [3], v, v), "NativeLayerNormBackward0"),
        (F.rms_norm(m, [3], v), "MulBackward0"),
        (F.rms_norm(m.half(), [3]), "ToCopyBackward0"),
        (F.ctc_loss(*scores), "MeanBackward0"),
        (F.ctc_loss(*scores, reduction="none"), "CtcLossBackward0"),
        (F.ctc_loss(*scores, reduction="none", zero_infinity=True), "WhereBackward0"),
        (F.ctc_loss(scores[0].half(), *scores[1:], reduction="none"), "CtcLossBackward0"),
        (2**v, "PowBackward2"),
        (v.round(), "RoundBackward0"),
        (v.round(decimals=0), "RoundBackward1"),
        (m.sum(()), "SumBackward1"),
        (zero.sum(()), "SumBackward1"),
        (m.mean(()), "MeanBackward1"),
        (m.sum_to_size(()), "SumBackward0"),
        (m.sum_to_size(1, 3), "SumBackward1"),
        (m.squeeze((0,)), "SqueezeBackward2"),
        (rtorch.squeeze_copy(m), "SqueezeBackward0_copy"),
        (rtorch.squeeze_copy(m, 0), "SqueezeBackward1_copy"),
        (m.diag(), "DiagonalBackward0_copy"),
        (rtorch.diff(v, n=0), "torch::autograd::CopyBackwards"),
        (v.sort(stable=False).values, "SortBackward1"),
        (rtorch.trapz(v), "MulBackward1"),
        (rtorch.trapz(v, v), "DivBackward1"),
        (rtorch.cumulative_trapezoid(v), "CumsumBackward0"),
        (rtorch.einsum("i->", v), "SumBackward1"),
        (rtorch.einsum("i->i", v), "PermuteBackward0"),
        (rtorch.einsum("ij,jk->ik", m, m), "ViewBackward0"),
        (m.index_fill(0, index, 1.0), "IndexFillBackward0"),
        (m.index_fill(0, index, one), "IndexFillBackward1"),
        (zero.index_fill(0, index, one), "IndexFillBackward1"),
        (m[:, [0]], "IndexBackward0"),
        (a4.double(memory_format=last), "ToCopyBackward0"),
        (a4.to(memory_format=last), "ToCopyBackward0"),
        (a4.to("cpu", copy=True), "ToCopyBackward0"),
        (rtorch.fft.fft(v), "FftR2CBackward0"),
        (rtorch.fft.ifft(v), "ConjBackward0"),
        (rtorch.fft.ihfft2(m), "FftC2CBackward0"),
        (rtorch.linalg.cond(m), "SqueezeBackward1"),
        (rtorch.linalg.cond(m, "fro"), "NanToNumBackward0"),
        (rtorch.linalg.matrix_power(m, 4), "MmBackward0"),
        (rtorch.linalg.matrix_power(m, -1), "LinalgInvExBackward0"),
        (rtorch.linalg.matrix_norm(m, 1), "AmaxBackward0"),
        (rtorch.linalg.matrix_norm(m, "nuc", keepdim=True), "PermuteBackward0"),
        (rtorch.special.ndtr(v), "MulBackward1"),
        (rtorch.masked.mean(m), "DivBackward0"),
        (rtorch.masked.prod(zero, 0, keepdim=True), "ProdBackward1"),
        (rtorch.masked.median(m, 0), "NanmedianBackward1"),
        (rtorch.masked.sum(zero), "SumBackward1"),
        (rtorch.stft(v.repeat(8), 8, return_complex=True), "SqueezeBackward4"),
    ]:
        assert y.grad_fn.name() == name
        assert type(y.grad_fn).__name__ == name.rpartition("::")[2]


def test_composite_nodes_have_every_derivative():
    x = rtorch.tensor([0.3, 1.2, -0.7], dtype=rtorch.float64, requires_grad=True)
    many = (lambda x: x.logsumexp(0), lambda x: x.std(), lambda x: rtorch.stack([x, x * x]), lambda x: x.sort().values)
    for f in many:
        assert autograd.gradcheck(f, (x,)) and autograd.gradgradcheck(f, (x,))
    (first,) = autograd.grad(x.std(), x, create_graph=True)
    (second,) = autograd.grad(first.sum(), x)
    assert second.shape == x.shape
    y = x.std()
    y.backward(retain_graph=True)
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_an_operand_passed_twice_gets_both_parts():
    x = leaf(1.0, 2.0)
    rtorch.stack([x, x]).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    y = x * 3
    (g,) = autograd.grad(rtorch.dot(y, y), y)
    assert g.tolist() == [6.0, 12.0]


def test_views_of_one_call_are_outputs_of_one_node():
    x = rtorch.arange(6.0).requires_grad_()
    a, b = x.split(4)
    assert a.grad_fn is b.grad_fn and b.output_nr == 1 and a.grad_fn.name() == "SplitBackward0"
    (b * 2).sum().backward()
    assert x.grad.tolist() == [0, 0, 0, 0, 2, 2]
    first, *_ = x.unbind()
    assert first.grad_fn.name() == "UnbindBackward0"


def test_in_place_forms_keep_the_operators_name():
    y = leaf(3.0, 1.0, 2.0) * 1
    y.index_add_(0, rtorch.tensor([0]), rtorch.ones(1))
    assert y.grad_fn.name() == "IndexAddBackward0"
    z = rtorch.tensor([1 + 1j], requires_grad=True) * 1
    z.mul_(2j)
    assert z.grad_fn.name() == "MulBackward0"


def test_numbers_stand_among_the_operands():
    x = leaf(1.0)
    seen = []
    y = x * 3
    y.grad_fn.register_hook(lambda ins, outs: seen.append((len(ins), len(outs))))
    y.sum().backward()
    assert seen == [(2, 1)] and (x + 1).grad_fn.next_functions[1] == (None, 0)
    f = (x**3).grad_fn
    assert f._saved_exponent == 3 and f._saved_self.tolist() == [1.0] and x.exp().grad_fn._saved_result.item() > 2.7
    with pytest.raises(AttributeError):
        _ = f._saved_nothing


def test_hooks_of_leaves_run_for_grad_too():
    x = leaf(3.0)
    seen = []
    x.register_hook(lambda g: seen.append(g.requires_grad))
    autograd.grad((x**2).sum(), x, create_graph=True)
    autograd.grad((x**2).sum(), x)
    (x**2).sum().backward()
    assert seen == [True, False, False]
    x.register_hook(lambda g: g * 10)
    assert autograd.grad((x**2).sum(), x)[0].tolist() == [60.0]


def test_saved_tensors_pass_through_hooks():
    log = []

    def pack(t):
        log.append(tuple(t.shape))
        return t.tolist()

    x = leaf(1.0, 2.0)
    with graph.saved_tensors_hooks(pack, rtorch.tensor):
        y = (x * x).sum()
    y.backward()
    assert x.grad.tolist() == [2.0, 4.0] and set(log) == {(2,)}
    with graph.disable_saved_tensors_hooks("not now"), pytest.raises(RuntimeError, match="not now"):
        graph.saved_tensors_hooks(pack, pack).__enter__()
    with graph.save_on_cpu():
        y = x.exp().sum()
    assert autograd.grad(y, x)[0].shape == (2,)


def test_pack_hooks_may_raise():
    def refuse(t):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), graph.saved_tensors_hooks(refuse, refuse):
        leaf(1.0).exp()
    assert leaf(1.0).exp().requires_grad


def test_writes_through_data_are_not_noticed():
    x = rtorch.zeros(2, requires_grad=True)
    y = x.exp()
    y.data.mul_(10)
    y.sum().backward()
    assert x.grad.tolist() == [10.0, 10.0]


@pytest.mark.parametrize(
    "f",
    [
        lambda z: z * z.conj(),
        lambda z: z / (z + 2),
        lambda z: z**3,
        lambda z: z ** (0.5 + 1j),
        lambda z: z.abs(),
        lambda z: z.angle(),
        lambda z: z.exp() + z.log(),
        lambda z: z.sqrt().sin(),
        lambda z: z.tanh() + z.cosh(),
        lambda z: z.asin() * z.acos() + z.atan(),
        lambda z: z.asinh() + z.acosh() + z.atanh(),
        lambda z: z.sum() * z.mean(),
        lambda z: z.prod(),
        lambda z: z @ z,
        lambda z: rtorch.addmm(z, z, z, beta=2),
        lambda z: rtorch.view_as_real(z) ** 2,
        lambda z: rtorch.view_as_complex(rtorch.view_as_real(z) * 2),
        lambda z: rtorch.complex(z.real * z.imag, z.imag),
        lambda z: rtorch.where(z.real > 0, z, z * z),
        lambda z: z.cumsum(0)[:, 0],
        lambda z: rtorch.linalg.vector_norm(z),
        lambda z: z.var(),
        lambda z: z.reciprocal().sgn(),
        lambda z: z.expm1().log1p().sigmoid(),
        lambda z: rtorch.addcmul(z, z, z, value=2),
        lambda z: z.masked_fill(z.real < 0, 1j) * z,
    ],
)
def test_gradients_of_complex_numbers(f):
    z = rtorch.tensor(
        [[0.3 + 0.7j, -0.8 + 0.2j], [0.5 - 0.4j, 0.1 + 0.9j]], dtype=rtorch.complex128, requires_grad=True
    )
    assert autograd.gradcheck(f, (z,))
    assert autograd.gradgradcheck(f, (z,))


def test_complex_conventions():
    z = rtorch.tensor([1 + 1j], requires_grad=True)
    (z * z).backward(rtorch.tensor([1j]))
    assert z.grad.tolist() == [2 + 2j]
    with pytest.raises(RuntimeError, match="real scalar outputs"):
        (z * z).sum().backward()
    x = rtorch.tensor([2.0], requires_grad=True)
    (x * 1j).abs().sum().backward()
    assert x.grad.tolist() == [1.0]
    zero = rtorch.zeros(1, dtype=rtorch.complex64, requires_grad=True)
    zero.abs().sum().backward()
    assert zero.grad.tolist() == [0]


def test_writes_from_outside_are_counted():
    a, b = rtorch.ones(2), rtorch.ones(2)
    before = a._version, b._version
    graph.increment_version(a)
    graph.increment_version([a, b])
    assert (a._version, b._version) == (before[0] + 2, before[1] + 1)
    with pytest.raises(TypeError):
        graph.increment_version([3])


@pytest.mark.parametrize(
    "write",
    [
        lambda z: z.zero_(),
        lambda z: z.fill_(3.0),
        lambda z: z.fill_(rtorch.tensor(2.0)),
        lambda z: z.copy_(rtorch.ones(2)),
        lambda z: z.__setitem__(slice(None), -1),
        lambda z: z.__setitem__(..., rtorch.ones(2)),
    ],
)
def test_what_a_write_replaces_has_a_gradient_of_zeros(write):
    x = leaf(1.0, 2.0)
    z = x * 3
    write(z)
    z.sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]


def test_a_write_that_depends_on_another_leaf():
    x, y = leaf(1.0, 2.0), leaf(5.0, 6.0)
    z = x * 3
    z.copy_(y * 2)
    assert len(z.grad_fn.next_functions) == 2
    gx, gy = rtorch.autograd.grad((z * z).sum(), (x, y), create_graph=True)
    assert gx.tolist() == [0.0, 0.0] and gy.tolist() == [40.0, 48.0]
    assert rtorch.autograd.grad(gy.sum(), y)[0].tolist() == [8.0, 8.0]
