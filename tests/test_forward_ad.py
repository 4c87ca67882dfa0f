"""Forward mode: dual tensors through views, writes, primitives, custom functions; and against reverse mode."""

import pytest

import rtorch
import rtorch.nn.functional as F
from rtorch.autograd import forward_ad


def data(*shape):
    n = 1
    for s in shape:
        n *= s
    return ((rtorch.arange(n, dtype=rtorch.float64) * 0.37 + 0.1).sin() + 0.05).reshape(shape)


def push(f, x, t):
    with forward_ad.dual_level():
        out = forward_ad.unpack_dual(f(forward_ad.make_dual(x, t)))
    return out


def test_levels():
    with pytest.raises(RuntimeError, match="no level exists"):
        forward_ad.make_dual(rtorch.ones(1), rtorch.ones(1))
    with forward_ad.dual_level():
        d = forward_ad.make_dual(rtorch.tensor([1.0, 2.0]), rtorch.tensor([1.0, 10.0]))
        r = forward_ad.unpack_dual(d**3)
        assert r.primal.tolist() == [1.0, 8.0] and r.tangent.tolist() == [3.0, 120.0]
        assert forward_ad.unpack_dual(rtorch.ones(1)).tangent is None
        assert forward_ad.unpack_dual(d.detach()).tangent is None
        with pytest.raises(RuntimeError, match="same size"):
            forward_ad.make_dual(rtorch.ones(1), rtorch.ones(2))
        with pytest.raises(RuntimeError, match="Nested"):
            forward_ad.enter_dual_level()
    assert forward_ad.unpack_dual(d).tangent is None
    with pytest.raises(RuntimeError):
        forward_ad.exit_dual_level()


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x * x.sin() / (x + 3),
        lambda x: x.t()[1:].reshape(-1) * 2,
        lambda x: x.sum(0) * x.mean(),
        lambda x: x.softmax(1).log(),
        lambda x: x @ x.t() @ x,
        lambda x: F.layer_norm(x, (4,)),
        lambda x: F.conv1d(x.unsqueeze(0), x[:, :2].reshape(2, 3, 1)),
        lambda x: x.sort(1).values.cumsum(0),
        lambda x: rtorch.cat([x, x * 2])[rtorch.tensor([0, 4])],
        lambda x: rtorch.linalg.inv(x[:, :3] + 3 * rtorch.eye(3, dtype=x.dtype)),
        lambda x: F.pad(x, (1, 1)).prod(1),
        lambda x: F.max_pool1d(x, 2).amax(0),
        lambda x: (x * 1j).exp().abs() + (x + 2j).real,
        lambda x: x.std(1) + x.var(),
        lambda x: x.unbind(0)[1] * x.split(2)[0].sum(),
        lambda x: x.masked_fill(x > 0.5, 0).index_add(0, rtorch.tensor([1]), x[:1]),
    ],
)
def test_agrees_with_reverse_mode(f):
    x, t = data(3, 4), data(3, 4).cos()
    _, want = rtorch.func.jvp(f, (x,), (t,))
    primal, got = push(f, x, t)
    assert rtorch.allclose(primal, f(x)) and rtorch.allclose(got, want)


def test_writes_carry_tangents():
    def f(x):
        y = x * 2
        y.mul_(x)
        z = rtorch.zeros(3, 4, dtype=x.dtype)
        z[1] = y[0]
        z[:, 2] += x[:, 1]
        return z

    x, t = data(3, 4), data(3, 4).cos()
    _, want = rtorch.func.jvp(f, (x,), (t,))
    assert rtorch.allclose(push(f, x, t).tangent, want)


def test_reverse_over_forward():
    x = data(3).requires_grad_()
    t = data(3)
    with forward_ad.dual_level():
        out = forward_ad.unpack_dual((forward_ad.make_dual(x, t) ** 3).sum()).tangent
    (g,) = rtorch.autograd.grad(out, x)
    assert rtorch.allclose(g, 6 * x.detach() * t)


def test_custom_functions():
    class Cube(rtorch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.x = x
            return x**3

        @staticmethod
        def jvp(ctx, t):
            return 3 * ctx.x**2 * t

    x = data(3)
    assert rtorch.allclose(push(Cube.apply, x, x).tangent, 3 * x**3)

    class Without(rtorch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x

    with pytest.raises(NotImplementedError):
        push(Without.apply, x, x)
    assert rtorch.autograd.gradcheck(lambda x: x.tanh() @ x, (data(3).requires_grad_(),), check_forward_ad=True)


@pytest.mark.parametrize(
    "turn",
    [
        lambda x: x.transpose_(0, 1),
        lambda x: x.t_(),
        lambda x: x.unsqueeze_(1),
        lambda x: x.unsqueeze_(0).squeeze_(),
        lambda x: x.as_strided_((2, 2), (1, 3)),
        lambda x: x.rot90(1),
    ],
)
def test_what_turns_in_place_turns_its_tangent(turn):
    x = rtorch.arange(6.0).reshape(2, 3)
    v = 10 * x
    primal, tangent = push(lambda x: turn(x.clone()), x, v)
    assert (tangent == 10 * primal).all() and tangent.shape == primal.shape == turn(x.clone()).shape
