"""vmap: operators over a hidden batch dimension agree with a loop over samples, for values and for gradients."""

import pytest

import rtorch
import rtorch.nn.functional as F
from rtorch import func
from rtorch.func import vmap


def data(*shape):
    n = 1
    for s in shape:
        n *= s
    return ((rtorch.arange(n, dtype=rtorch.float64) * 0.37 + 0.1).sin() + 0.05).reshape(shape)


OPERATORS = {
    "pointwise": (lambda x, y: (x * y).exp() + x.tanh(), (3, 4), (4,)),
    "broadcast": (lambda x, y: x + y, (3, 1), (4,)),
    "views": (lambda x, y: x.t()[1:].reshape(-1)[::2].unsqueeze(0) * y[0], (3, 4), (4,)),
    "sum": (lambda x, y: x.sum(0) + x.mean() + x.amax(1).sum() * y, (3, 4), (4,)),
    "prod": (lambda x, y: x.prod(0) * y, (3, 4), (4,)),
    "var": (lambda x, y: x.var(1).sum() * y, (3, 4), (4,)),
    "matmul": (lambda x, y: x @ y, (3, 4), (4, 2)),
    "mv": (lambda x, y: x @ y, (3, 4), (4,)),
    "dot": (lambda x, y: x @ y, (4,), (4,)),
    "bmm": (lambda x, y: x @ y, (2, 3, 4), (2, 4, 2)),
    "addmm": (lambda x, y: rtorch.addmm(x[:, :2], x, y, alpha=2), (3, 4), (4, 2)),
    "softmax": (lambda x, y: x.softmax(-1).log_softmax(0) * y, (3, 4), (4,)),
    "cumsum": (lambda x, y: x.cumsum(0).cumprod(1) * y, (3, 4), (4,)),
    "sort": (lambda x, y: x.sort(1).values * y + x.topk(4, -1).values, (3, 4), (4,)),
    "median": (lambda x, y: x.median(0).values * y, (3, 4), (4,)),
    "cat": (lambda x, y: rtorch.cat([x, y.unsqueeze(0)]) * 2, (3, 4), (4,)),
    "stack": (lambda x, y: rtorch.stack([x[0], y], 1), (3, 4), (4,)),
    "gather": (lambda x, y: x.gather(1, y.argsort().expand(3, 4)), (3, 4), (4,)),
    "index": (lambda x, y: x[:, y.argsort()], (3, 4), (4,)),
    "two indices": (lambda x, y: x[x[:, 0].argsort(), y[:3].argsort()], (3, 4), (4,)),
    "index_select": (lambda x, y: x.index_select(1, y.argsort()[:2]), (3, 4), (4,)),
    "index_add": (lambda x, y: x.index_add(1, rtorch.tensor([0, 2]), x[:, :2]) * y, (3, 4), (4,)),
    "index_put": (lambda x, y: x.index_put((rtorch.tensor([0, 2]),), y), (3, 4), (4,)),
    "scatter": (lambda x, y: x.scatter_add(1, y.argsort().expand(3, 4), x * 2), (3, 4), (4,)),
    "where": (lambda x, y: rtorch.where(x > 0, x, y), (3, 4), (4,)),
    "masked_fill": (lambda x, y: x.masked_fill(y > 0, 2.0), (3, 4), (4,)),
    "pad": (lambda x, y: F.pad(x, (1, 2)).sum(0)[:4] * y, (3, 4), (4,)),
    "flip": (lambda x, y: x.flip(0).roll(1, 1) * y, (3, 4), (4,)),
    "einsum": (lambda x, y: rtorch.einsum("ij,j->i", x, y), (3, 4), (4,)),
    "linear": (lambda x, y: F.linear(x, y), (3, 4), (2, 4)),
    "layer_norm": (lambda x, y: F.layer_norm(x, (4,), y), (3, 4), (4,)),
    "conv1d": (lambda x, y: F.conv1d(x, y, padding=1), (2, 3, 5), (4, 3, 3)),
    "conv2d groups": (lambda x, y: F.conv2d(x, y, groups=2, stride=2), (1, 4, 5, 5), (6, 2, 3, 3)),
    "conv_transpose": (lambda x, y: F.conv_transpose1d(x, y, stride=2), (2, 3, 4), (3, 2, 3)),
    "max_pool": (lambda x, y: F.max_pool2d(x, 2) * y, (2, 1, 4, 4), (2,)),
    "avg_pool": (lambda x, y: F.avg_pool1d(x, 2) * y, (2, 3, 4), (2,)),
    "adaptive": (lambda x, y: F.adaptive_avg_pool2d(x, 2) * y, (1, 2, 5, 4), (2,)),
    "batch_norm": (lambda x, y: F.batch_norm(x, None, None, y, training=True), (4, 3), (3,)),
    "attention": (lambda x, y: F.scaled_dot_product_attention(x, x * 2, y), (1, 2, 3, 4), (1, 2, 3, 4)),
    "cross_entropy": (lambda x, y: F.cross_entropy(x, rtorch.tensor([0, 2, 1])) * y, (3, 4), (4,)),
    "norm": (lambda x, y: rtorch.linalg.vector_norm(x, 3, 0) * y, (3, 4), (4,)),
    "solve": (lambda x, y: rtorch.linalg.solve(x + 3 * rtorch.eye(3, dtype=x.dtype), y), (3, 3), (3, 2)),
    "inv": (lambda x, y: rtorch.linalg.inv(x + 3 * rtorch.eye(3, dtype=x.dtype)) @ y, (3, 3), (3, 2)),
    "in place": (lambda x, y: x.clone().mul_(y).add_(1), (3, 4), (4,)),
    "write to a view": (lambda x, y: _written(x, y), (3, 4), (4,)),
    "complex": (lambda x, y: (x * 1j + y).abs(), (3, 4), (4,)),
}


def _written(x, y):
    out = rtorch.zeros_like(x)
    out[1] = y * 2
    out[:, 0] += x[:, 1]
    return out


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dims", [(0, 0), (0, None), (None, 0), (1, -1)])
def test_agrees_with_a_loop(name, dims):
    if dims[0] is None and name in ("in place", "write to a view"):
        pytest.skip("a write to what is not mapped is refused: see test_refusals")
    f, *shapes = OPERATORS[name]
    n = 3
    args = []
    for k, (shape, dim) in enumerate(zip(shapes, dims)):
        t = data(*((n, *shape) if dim is not None else shape)) + k
        args.append((t if dim in (0, None) else t.movedim(0, dim)).contiguous().requires_grad_())

    def sample(i):
        return f(*(a if d is None else a.select(d, i) for a, d in zip(args, dims)))

    want = rtorch.stack([sample(i) for i in range(n)])
    got = vmap(f, in_dims=dims)(*args)
    assert got.shape == want.shape and rtorch.allclose(got, want)
    weights = data(*want.shape)
    wanted = rtorch.autograd.grad((want * weights).sum(), args, materialize_grads=True)
    found = rtorch.autograd.grad((got * weights).sum(), args, materialize_grads=True)
    for g, w in zip(found, wanted):
        assert g.shape == w.shape and rtorch.allclose(g, w)


def test_dimensions_of_results():
    x = data(3, 2)
    assert vmap(lambda x: x * 2, in_dims=1, out_dims=1)(x).shape == (3, 2)
    a, b = vmap(lambda x: (x.sum(), x), out_dims=(0, 1))(x)
    assert a.shape == (3,) and b.shape == (2, 3)
    out = vmap(lambda d, s: {"k": d["x"] * s}, in_dims=({"x": 0}, None))({"x": x}, 2.0)
    assert out["k"].tolist() == (x * 2).tolist()
    constant = vmap(lambda x: rtorch.ones(2))(x)
    assert constant.shape == (3, 2)
    chunks = vmap(lambda x: x.cumsum(0), chunk_size=2)(x)
    assert chunks.tolist() == x.cumsum(1).tolist()


def test_vmaps_nest():
    x, y = data(2, 3), data(4, 3)
    got = vmap(lambda a: vmap(lambda b: a @ b)(y))(x)
    assert rtorch.allclose(got, x @ y.t())
    pairs = vmap(vmap(lambda a: a * 2, in_dims=0), in_dims=1)(data(2, 3))
    assert pairs.shape == (3, 2)


def test_one_product_for_the_whole_batch():
    x, w = data(64, 5, 8), data(64, 8, 3)
    vmap(rtorch.mm)(x, w).sum().item()
    rtorch.reset_runtime_stats()
    y = vmap(rtorch.mm)(x, w)
    y.sum().item()
    assert rtorch.runtime_stats()["kernels"] <= 4


def test_per_sample_gradients():
    model = rtorch.nn.Sequential(rtorch.nn.Linear(3, 4), rtorch.nn.Tanh(), rtorch.nn.Linear(4, 1)).double()
    params = {k: v.detach() for k, v in model.named_parameters()}
    x, y = data(5, 3), data(5, 1)

    def loss(params, x, y):
        return ((func.functional_call(model, params, (x,)) - y) ** 2).sum()

    grads = vmap(func.grad(loss), in_dims=(None, 0, 0))(params, x, y)
    for i in range(5):
        one = func.grad(loss)(params, x[i], y[i])
        for k in params:
            assert rtorch.allclose(grads[k][i], one[k])
    total = func.grad(lambda p: vmap(loss, in_dims=(None, 0, 0))(p, x, y).sum())(params)
    for k in params:
        assert rtorch.allclose(total[k], grads[k].sum(0))


def test_an_ensemble_of_modules():
    models = [rtorch.nn.Linear(3, 2).double() for _ in range(4)]
    params, buffers = func.stack_module_state(models)
    x = data(5, 3)
    got = vmap(lambda p, b: func.functional_call(models[0], (p, b), (x,)))(params, buffers)
    assert rtorch.allclose(got, rtorch.stack([m(x) for m in models]))


def test_jacobians():
    x = data(3)

    def f(x):
        return rtorch.stack([x[0] * x[1], x.prod(), x[2].sin()])

    want = rtorch.stack([rtorch.autograd.grad(o, v, retain_graph=True)[0] for v in [x.requires_grad_()] for o in f(v)])
    x = x.detach()
    assert rtorch.allclose(func.jacrev(f)(x), want) and rtorch.allclose(func.jacfwd(f)(x), want)
    assert rtorch.allclose(func.jacrev(f, chunk_size=2)(x), want)
    h = func.hessian(lambda x: x.prod() + x.exp().sum())(x)
    assert rtorch.allclose(h, func.jacrev(func.jacrev(lambda x: x.prod() + x.exp().sum()))(x)) and h.shape == (3, 3)
    batch = vmap(func.jacrev(f))(data(4, 3))
    assert rtorch.allclose(batch[1], func.jacrev(f)(data(4, 3)[1]))
    assert vmap(func.hessian(lambda x: x.prod()))(data(4, 3)).shape == (4, 3, 3)


def test_randomness():
    x = rtorch.zeros(3, 2)
    with pytest.raises(RuntimeError, match="randomness error mode"):
        vmap(lambda x: x + rtorch.rand(2))(x)
    rtorch.manual_seed(0)
    same = vmap(lambda x: x + rtorch.rand(2), randomness="same")(x)
    assert same[0].tolist() == same[1].tolist()
    rtorch.manual_seed(0)
    different = vmap(lambda x: x + rtorch.rand(2), randomness="different")(x)
    assert different[0].tolist() != different[1].tolist()
    rtorch.manual_seed(0)
    assert different.tolist() == rtorch.rand(3, 2).tolist()
    dropped = vmap(lambda x: F.dropout(x + 1), randomness="different")(rtorch.zeros(4, 8))
    assert len({tuple(r) for r in dropped.tolist()}) > 1
    with pytest.raises(RuntimeError, match="Only allowed values"):
        vmap(lambda x: x, randomness="other")


def test_refusals():
    x = rtorch.ones(3, 2)
    with pytest.raises(RuntimeError, match="data-dependent control flow"):
        vmap(lambda x: x if x.sum() > 0 else -x)(x)
    with pytest.raises(RuntimeError, match="item"):
        vmap(lambda x: x.sum().item())(x)
    with pytest.raises(RuntimeError):
        vmap(lambda x: x.nonzero())(x)
    with pytest.raises(RuntimeError, match="inplace arithmetic"):
        vmap(lambda x, y: y.add_(x), in_dims=(0, None))(x, rtorch.ones(2))
    with pytest.raises(ValueError, match="got no inputs"):
        vmap(lambda: 1)()
    with pytest.raises(ValueError, match="must only return Tensors"):
        vmap(lambda x: 1)(x)
    with pytest.raises(ValueError, match="same size"):
        vmap(lambda x, y: x)(x, rtorch.ones(2))
    with pytest.raises(ValueError, match="in_dim"):
        vmap(lambda x: x, in_dims=3)(x)
    with pytest.raises(ValueError, match="structure"):
        vmap(lambda x: x, in_dims=(0, 0))(x)


def test_custom_functions():
    class Square(rtorch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, grad):
            return grad * 2 * ctx.saved_tensors[0]

    x = data(4)
    assert rtorch.allclose(vmap(func.grad(Square.apply))(x), 2 * x)

    class Own(Square):
        generate_vmap_rule = False

        @staticmethod
        def vmap(info, in_dims, x):
            assert info.batch_size == 4 and in_dims == (0,)
            return Own.apply(x) + 100, 0

    assert rtorch.allclose(vmap(Own.apply)(x), x * x + 100)

    class Bare(Square):
        generate_vmap_rule = False

    with pytest.raises(RuntimeError, match="does not have vmap support"):
        vmap(Bare.apply)(x)


def test_numbers_of_a_batch_stay_tensors():
    # a sample of a vector is 0-d, and may stand where an operator takes a number
    x, by = data(3, 2), data(3)
    assert rtorch.equal(vmap(lambda r, c: r * c)(x, by), x * by[:, None])
    looped = rtorch.stack([rtorch.full_like(r, float(c)).lerp(r, 0.5) for r, c in zip(x, by)])
    assert rtorch.allclose(vmap(lambda r, c: c.lerp(r, 0.5))(x, by), looped)
    out, tangent = func.jvp(lambda c: x * c, (rtorch.tensor(2.0).double(),), (rtorch.tensor(3.0).double(),))
    assert rtorch.equal(out, x * 2) and rtorch.equal(tangent, x * 3)
