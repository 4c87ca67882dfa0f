"""The Python side of autograd: modes as context and decorator, custom functions, checks, functional derivatives."""

import pytest

import rtorch
from rtorch import autograd


class Cube(autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 3 * x * x * grad


def test_modes_nest_and_decorate():
    @rtorch.no_grad()
    def off():
        return rtorch.is_grad_enabled()

    @rtorch.no_grad
    def also_off():
        return rtorch.is_grad_enabled()

    @rtorch.enable_grad()
    def on():
        return rtorch.is_grad_enabled()

    assert [off(), also_off(), rtorch.is_grad_enabled()] == [False, False, True]
    with rtorch.no_grad():
        assert on() and not rtorch.is_grad_enabled()
        with rtorch.set_grad_enabled(True):
            assert rtorch.is_grad_enabled()
        assert not rtorch.is_grad_enabled()
    with pytest.raises(ValueError), rtorch.no_grad():
        raise ValueError
    assert rtorch.is_grad_enabled()


def test_a_generator_is_switched_only_while_it_runs():
    @rtorch.no_grad()
    def values():
        yield rtorch.is_grad_enabled()
        yield rtorch.is_grad_enabled()

    assert [(v, rtorch.is_grad_enabled()) for v in values()] == [(False, True), (False, True)]


def test_inference_mode():
    with rtorch.inference_mode():
        made = rtorch.ones(2)
    assert made.is_inference() and not made.clone().is_inference()

    @rtorch.inference_mode()
    def f(x):
        return x * 2

    assert not f(rtorch.ones(1, requires_grad=True)).requires_grad


def test_custom_function_and_its_second_derivative():
    x = rtorch.tensor(2.0, requires_grad=True)
    (g,) = autograd.grad(Cube.apply(x), x, create_graph=True)
    assert g.item() == 12.0 and autograd.grad(g, x)[0].item() == 12.0
    assert Cube.apply(x).grad_fn.name() == "CubeBackward"
    assert autograd.gradcheck(Cube.apply, (rtorch.tensor([0.3], dtype=rtorch.float64, requires_grad=True),))


def test_custom_function_context():
    seen = []

    class Mixed(autograd.Function):
        @staticmethod
        def forward(ctx, a, b, scale):
            ctx.scale = scale
            ctx.set_materialize_grads(False)
            return a * scale, b.clone()

        @staticmethod
        def backward(ctx, ga, gb):
            seen.append((ctx.needs_input_grad, gb is None))
            return ga * ctx.scale, None, None

    a = rtorch.ones(2, requires_grad=True)
    first, _ = Mixed.apply(a, rtorch.ones(2), scale=4)
    first.sum().backward()
    assert a.grad.tolist() == [4.0, 4.0] and seen == [((True, False, False), True)]


def test_custom_function_mark_dirty_and_non_differentiable():
    class Twice(autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            return x.mul_(2)

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    x = rtorch.ones(2, requires_grad=True)
    y = x * 1
    z = Twice.apply(y)
    z.sum().backward()
    assert z is y and x.grad.tolist() == [2.0, 2.0]

    class Sorted(autograd.Function):
        @staticmethod
        def forward(ctx, x):
            values, index = x.sort()
            ctx.mark_non_differentiable(index)
            ctx.save_for_backward(index)
            return values, index

        @staticmethod
        def backward(ctx, grad, none):
            assert none.shape == grad.shape and not none.any()
            return rtorch.zeros_like(grad).scatter(0, ctx.saved_tensors[0], grad)

    x = rtorch.tensor([3.0, 1.0], requires_grad=True)
    values, index = Sorted.apply(x)
    assert not index.requires_grad
    (values * rtorch.tensor([1.0, 5.0])).sum().backward()
    assert x.grad.tolist() == [5.0, 1.0]


@pytest.mark.parametrize(("count", "ok"), [(0, False), (1, True), (2, False)])
def test_custom_function_returns_one_gradient_per_input(count, ok):
    class Id(autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, grad):
            return (grad,) * count

    y = Id.apply(rtorch.ones(1, requires_grad=True)).sum()
    if ok:
        y.backward()
    else:
        with pytest.raises(RuntimeError, match=f"incorrect number of gradients \\(expected 1, got {count}\\)"):
            y.backward()


def test_once_differentiable_refuses_a_second_time():
    class Once(Cube):
        @staticmethod
        @autograd.function.once_differentiable
        def backward(ctx, grad):
            return Cube.backward(ctx, grad)

    x, c = rtorch.tensor(2.0, requires_grad=True), rtorch.tensor(3.0, requires_grad=True)
    (g,) = autograd.grad(Once.apply(x) * c, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.backward()


def test_gradcheck_finds_a_wrong_gradient():
    class Wrong(Cube):
        @staticmethod
        def backward(ctx, grad):
            return grad

    x = rtorch.tensor([0.3, 0.7], dtype=rtorch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="Jacobian mismatch for output 0 with respect to input 0"):
        autograd.gradcheck(Wrong.apply, (x,))
    assert autograd.gradcheck(Wrong.apply, (x,), raise_exception=False) is False
    assert autograd.gradcheck(lambda x: (x.sin() * x, x.sum()), (x,)) and autograd.gradgradcheck(Cube.apply, (x,))


def test_functional_derivatives():
    functional = autograd.functional
    x = rtorch.tensor([1.0, 2.0])
    assert functional.jacobian(lambda x: x**2, x).tolist() == [[2.0, 0.0], [0.0, 4.0]]
    assert functional.hessian(lambda x: x[0] ** 2 * x[1] + x[1] ** 3, x).tolist() == [[4.0, 2.0], [2.0, 12.0]]
    v = rtorch.tensor([1.0, 0.0])
    assert functional.jvp(lambda x: x**2 * x.sum(), x, v)[1].tolist() == [7.0, 4.0]
    assert functional.vjp(lambda x: x**2, x, v)[1].tolist() == [2.0, 0.0]


def test_grad_arguments():
    x, z = rtorch.ones(1, requires_grad=True), rtorch.ones(1, requires_grad=True)
    with pytest.raises(RuntimeError, match="appears to not have been used"):
        autograd.grad(x.sum(), [x, z])
    assert autograd.grad(x.sum(), [z], allow_unused=True) == (None,)
    assert autograd.grad(x.sum(), [z], materialize_grads=True)[0].tolist() == [0.0]
    with pytest.raises(RuntimeError, match="Mismatch in shape"):
        autograd.grad(x * 2, x, rtorch.ones(3))
    with pytest.raises(RuntimeError, match="cannot be empty"):
        autograd.backward(x.sum(), inputs=[])


def test_multi_grad_hook():
    a, b, got = rtorch.tensor(1.0, requires_grad=True), rtorch.tensor(2.0, requires_grad=True), []
    handle = autograd.graph.register_multi_grad_hook((a, b), lambda grads: got.append([g.item() for g in grads]))
    (a * b).backward()
    handle.remove()
    (a * b).backward()
    assert got == [[2.0, 1.0]]


def test_options_of_gradcheck():
    x = rtorch.randn(3, dtype=rtorch.float64, requires_grad=True)
    check = rtorch.autograd.gradcheck

    class Doubled(rtorch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    assert check(Doubled.apply, (x,), check_grad_dtypes=True, masked=True)
    assert check(lambda x: x.sin(), (x,), check_forward_ad=True, check_batched_forward_grad=True)
    with pytest.raises(AssertionError, match="check_forward_ad to be True"):
        check(lambda x: x * 2, (x,), check_batched_forward_grad=True)
    with pytest.raises(AssertionError, match="at least one"):
        check(lambda x: x * 2, (x,), check_backward_ad=False)
    with pytest.raises(NotImplementedError, match="sparse"):
        check(lambda x: x.to_dense(), (rtorch.eye(2, dtype=rtorch.float64).to_sparse().requires_grad_(),))
    assert rtorch.autograd.gradgradcheck(lambda x: x**3, (x,), gen_non_contig_grad_outputs=True)


def test_a_strict_jvp_refuses_constants():
    x = rtorch.tensor([1.0, 2.0])
    jvp = rtorch.func.jvp
    assert jvp(lambda a: rtorch.ones(2), (x,), (x,))[1].tolist() == [0, 0]
    assert jvp(lambda a: a * 2, (x,), (x,), strict=True)[1].tolist() == [2, 4]
    with pytest.raises(RuntimeError, match="independent of the inputs"):
        jvp(lambda a: (a * 2, rtorch.ones(1)), (x,), (x,), strict=True)


def test_other_strides_in_place_have_a_gradient():
    x = rtorch.zeros(3, requires_grad=True)
    y = x * 1
    y.as_strided_((2,), (2,))
    y.sum().backward()
    assert x.grad.tolist() == [1, 0, 1] and y.shape == (2,)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        x.as_strided_((2,), (1,))


def test_forked_random_numbers():
    rtorch.manual_seed(1)
    with rtorch.random.fork_rng(devices=[], device_type="cuda"):
        inside = rtorch.rand(2)
    assert rtorch.equal(inside, rtorch.rand(2))
    with rtorch.random.fork_rng(enabled=False):
        rtorch.rand(1)
    for wrong in ({"devices": [0]}, {"device_type": "nothing"}):
        with pytest.raises(RuntimeError), rtorch.random.fork_rng(**wrong):
            pass
    if rtorch.wgpu.is_available():
        with rtorch.random.fork_rng(device_type="wgpu"):
            inside = rtorch.rand(2, device="wgpu").tolist()
        assert rtorch.rand(2, device="wgpu").tolist() == inside


def test_jacobians_in_one_pass():
    x, y = rtorch.tensor([1.0, 2.0]), rtorch.tensor([3.0])
    jacobian, hessian = autograd.functional.jacobian, autograd.functional.hessian
    for strategy in ("reverse-mode", "forward-mode"):
        rows = jacobian(lambda x, y: (x * y, y**2), (x, y), vectorize=True, strategy=strategy)
        plain = jacobian(lambda x, y: (x * y, y**2), (x, y))
        assert [[b.tolist() for b in a] for a in rows] == [[b.tolist() for b in a] for a in plain]
        twice = hessian(lambda x: (x**3).sum(), x, vectorize=True, outer_jacobian_strategy=strategy)
        assert twice.tolist() == [[6, 0], [0, 12]] and not twice.requires_grad
    with pytest.raises(NotImplementedError, match="vectorize=True"):
        jacobian(lambda x: x, x, strategy="forward-mode")
    with pytest.raises(NotImplementedError, match="create_graph"):
        jacobian(lambda x: x, x, strategy="forward-mode", vectorize=True, create_graph=True)
    with pytest.raises(RuntimeError, match="strict=True"):
        jacobian(lambda x: x, x, vectorize=True, strict=True)
    with pytest.raises(AssertionError, match="strategy"):
        hessian(lambda x: x.sum(), x, outer_jacobian_strategy="sideways")


def test_options_that_are_said_to_have_no_effect_warn():
    x = rtorch.ones(2, requires_grad=True)
    with pytest.warns(FutureWarning, match="only_inputs"):
        assert autograd.grad((x * 2).sum(), x, only_inputs=False)[0].tolist() == [2, 2]
    with pytest.warns(UserWarning, match="eps"):
        rtorch.nn.functional.gumbel_softmax(x, eps=1e-3)
    for repeats, size, match in ((2, 3, "expected 4"), (rtorch.tensor([1, 2]), 4, "does not match required")):
        with pytest.raises(RuntimeError, match=match):
            rtorch.repeat_interleave(x, repeats, output_size=size)
    assert rtorch.repeat_interleave(x, rtorch.tensor([1, 2]), output_size=3).tolist() == [1, 1, 1]
    with pytest.raises(NotImplementedError, match="strided"):
        rtorch.fft.fftfreq(3, layout=rtorch.sparse_coo)
