"""The graph as users see it: names of nodes, composite operators as one node, hooks on what is saved, `.data`."""

import pytest

import rtorch
from rtorch import autograd
from rtorch.autograd import graph


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
