"""Compositions that read and write by index, against NumPy and by hand."""

import itertools

import numpy as np
import pytest

import rtorch


def test_index_fill_and_masked_scatter():
    x = rtorch.arange(6.0).reshape(2, 3)
    assert x.index_fill(1, rtorch.tensor([0, -1]), 9.0).tolist() == [[9.0, 1.0, 9.0], [9.0, 4.0, 9.0]]
    y = x.clone()
    assert y.masked_scatter_(y > 2, rtorch.tensor([7.0, 8.0, 9.0])) is y
    assert y.tolist() == [[0.0, 1.0, 2.0], [7.0, 8.0, 9.0]]
    with pytest.raises(RuntimeError, match="as many elements"):
        x.masked_scatter(x > 2, rtorch.tensor([7.0]))


def test_take_and_put():
    x = rtorch.arange(6.0).reshape(2, 3)
    assert rtorch.take(x, rtorch.tensor([[5, -6]])).tolist() == [[5.0, 0.0]]
    assert x.put(rtorch.tensor([0, -1]), rtorch.tensor([9.0, 8.0])).tolist() == [[9.0, 1.0, 2.0], [3.0, 4.0, 8.0]]
    added = x.put(rtorch.tensor([1, 1]), rtorch.tensor([1.0, 1.0]), accumulate=True)
    assert added[0, 1].item() == 3.0
    order = x.argsort(1, descending=True)
    assert rtorch.take_along_dim(x, order, 1).tolist() == [[2.0, 1.0, 0.0], [5.0, 4.0, 3.0]]


REDUCE = {"sum": np.add, "prod": np.multiply, "amax": np.maximum, "amin": np.minimum}


@pytest.mark.parametrize("reduce", [*REDUCE, "mean"])
@pytest.mark.parametrize("include_self", [True, False])
def test_scatter_reduce_and_its_gradient(reduce, include_self):
    rtorch.manual_seed(0)
    x = rtorch.randn(3, 2, dtype=rtorch.float64, requires_grad=True)
    src = rtorch.randn(5, 2, dtype=rtorch.float64, requires_grad=True)
    index = rtorch.tensor([[0, 0], [0, 2], [1, 2], [1, 0], [0, 0]])

    def f(x, src):
        return x.scatter_reduce(0, index, src, reduce, include_self=include_self)

    want, seen = x.detach().numpy().copy(), np.full((3, 2), int(include_self))
    for i in range(5):
        for j in range(2):
            k, value = index[i, j].item(), src[i, j].item()
            if seen[k, j] == 0:
                want[k, j] = value
            else:
                want[k, j] = REDUCE["sum" if reduce == "mean" else reduce](want[k, j], value)
            seen[k, j] += 1
    if reduce == "mean":
        want = want / np.maximum(seen, 1)
    assert np.allclose(f(x, src).detach().numpy(), want)
    assert rtorch.autograd.gradcheck(f, (x, src))


def test_index_reduce_and_norm():
    x = rtorch.ones(2, 2)
    out = x.index_reduce(0, rtorch.tensor([1, 1]), rtorch.tensor([[2.0, 3.0], [5.0, 0.5]]), "amax")
    assert out.tolist() == [[1.0, 1.0], [5.0, 3.0]]
    v = rtorch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert v.norm().item() == 5.0 and v.norm(1, dim=1).tolist() == [7.0, 0.0]
    assert rtorch.triu_indices(2, 3, 1).tolist() == [[0, 0, 1], [1, 2, 2]]
    assert rtorch.logspace(0, 2, 3).tolist() == pytest.approx([1.0, 10.0, 100.0])


def test_what_is_empty_is_in_the_graph():
    none, x = rtorch.empty(0, requires_grad=True), rtorch.ones(2, 3, requires_grad=True)
    y = rtorch.cat([none, x, none], 1)
    assert y.shape == (2, 3)
    a, b = rtorch.autograd.grad(y.sum(), [none, x])
    assert a.shape == (0,) and b.tolist() == x.tolist()
    v = rtorch.ones(5, requires_grad=True)
    picked = v.gather(0, rtorch.empty(2, 0, dtype=rtorch.int64))
    assert picked.shape == (2, 0) and picked.requires_grad
    (g,) = rtorch.autograd.grad(picked.sum(), v)
    assert g.tolist() == [0.0] * 5


def test_a_window_scattered_into_a_copy():
    x = rtorch.zeros(3, 3, dtype=rtorch.float64, requires_grad=True)
    src = rtorch.ones(2, 2, dtype=rtorch.float64, requires_grad=True)
    y = rtorch.as_strided_scatter(x, src, (2, 2), (1, 2), 1)
    assert y.tolist() == [[0, 1, 1], [1, 1, 0], [0, 0, 0]] and y.grad_fn.name() == "AsStridedScatterBackward0"
    g = rtorch.arange(9.0, dtype=rtorch.float64).reshape(3, 3)
    gx, gs = rtorch.autograd.grad(y, [x, src], g)
    # PyTorch's gradient of input is that of the window
    assert gx.tolist() == [[0, 1, 2], [3, 4, 0], [0, 0, 0]] and gs.tolist() == [[1, 3], [2, 4]]
    _, tangent = rtorch.func.jvp(lambda s: rtorch.as_strided_scatter(g, s, (2, 2), (1, 2), 1), (src.detach(),), (gs,))
    assert tangent.tolist() == [[0, 1, 2], [3, 4, 0], [0, 0, 0]]
    batch = rtorch.vmap(lambda a, b: rtorch.as_strided_scatter(a, b, (2,), (2,)))(rtorch.zeros(3, 4), rtorch.ones(3, 2))
    assert batch.tolist() == [[1, 0, 1, 0]] * 3


def test_narrow_copy_refuses():
    x = rtorch.zeros(2, 3)
    assert x.narrow_copy(1, 1, 2).shape == (2, 2)
    with pytest.raises(RuntimeError, match="Expected dim <"):
        x.narrow_copy(2, 0, 0)
    with pytest.raises(IndexError):
        x.narrow_copy(-3, 0, 0)
    with pytest.raises(IndexError):
        x.narrow_copy(1, 4, 0)


@pytest.mark.parametrize("p", [-2.0, -0.5, 0.0, 0.3, 0.5, 1.0, 2.0, 3.5])
def test_norms_at_zero_have_a_gradient_of_zero(p):
    x = rtorch.zeros(3, dtype=rtorch.float64, requires_grad=True)
    (g,) = rtorch.autograd.grad(rtorch.linalg.vector_norm(x, p), x)
    assert g.tolist() == [0.0] * 3
    x = rtorch.tensor([0.0, 2.0, -1.0], dtype=rtorch.float64, requires_grad=True)
    if p > 0:
        (g,) = rtorch.autograd.grad(rtorch.linalg.vector_norm(x, p), x)
        norm = float(sum(abs(v) ** p for v in (2.0, 1.0)) ** (1 / p))
        want = [0.0, 2 ** (p - 1) * norm ** (1 - p), -(norm ** (1 - p))]
        assert rtorch.allclose(g, rtorch.tensor(want, dtype=rtorch.float64))


@pytest.mark.parametrize("dtype", [rtorch.float32, rtorch.float64, rtorch.int64, rtorch.int32, rtorch.int16])
@pytest.mark.parametrize("right", [False, True])
def test_searchsorted_rows_strides_and_empty_rows(dtype, right):
    side = "right" if right else "left"
    rows = (rtorch.randn(4, 30) * 10).to(dtype).sort(-1)[0]
    values = (rtorch.randn(50, 4) * 10).to(dtype).t()
    found = rtorch.searchsorted(rows, values, right=right)
    for row, value, at in zip(rows.numpy(), values.numpy(), found.numpy()):
        assert np.array_equal(at, np.searchsorted(row, value, side))
    one = rtorch.searchsorted(rows[0], values, right=right)
    assert np.array_equal(one.numpy(), np.searchsorted(rows[0].numpy(), values.numpy(), side))
    assert rtorch.searchsorted(rows[0, :0], values, right=right).sum() == 0
    assert rtorch.searchsorted(rows, values[:, :0], right=right).shape == (4, 0)


def test_searchsorted_puts_nan_last_as_pytorch():
    nan = float("nan")
    rows = rtorch.tensor([1.0, 2.0, 3.0, nan, nan, nan])
    assert rtorch.searchsorted(rows, rtorch.tensor([0.0, 2.5, 5.0, nan])).tolist() == [6, 6, 6, 6]


@pytest.mark.parametrize("n, m, k", [(3, 5, 0), (5, 3, 1), (4, 4, -2), (0, 3, 0), (1, 1, 2**62), (2, 2, -(2**62))])
def test_triangles(n, m, k):
    x = rtorch.randn(n, m)
    near = max(min(k, 9), -9)
    assert np.array_equal(x.tril(k).numpy(), np.tril(x.numpy(), near))
    assert np.array_equal(x.triu(k).numpy(), np.triu(x.numpy(), near))


def test_one_value_where_a_mask_holds():
    x = rtorch.arange(24.0).reshape(4, 6)
    masks = (x > 11, x.t().contiguous().t() % 3 == 0, rtorch.tensor([True, False, False, True]))
    bases = (x, x.t().contiguous().t(), rtorch.arange(48.0).reshape(4, 12)[:, ::2])
    for mask, base in itertools.product(masks, bases):
        want = base.numpy().copy()
        want[mask.numpy()] = -1
        for value in (-1, rtorch.tensor(-1.0), rtorch.tensor([-1.0]), rtorch.tensor([[-1.0]])):
            got = base.clone()
            got[mask] = value
            assert (got.numpy() == want).all()
        assert (base.index_put((mask,), rtorch.tensor(-1.0)).numpy() == want).all()
    leaf, value = (t.clone().requires_grad_() for t in (x, rtorch.tensor(5.0)))
    got = leaf * 1
    got[masks[0]] = value
    assert got.grad_fn.name() == "IndexPutBackward0"
    (got * x).sum().backward()
    assert (leaf.grad == rtorch.where(masks[0], 0, x)).all() and value.grad == x[masks[0]].sum()
    with pytest.raises(IndexError):
        x[rtorch.ones(4, 5, dtype=rtorch.bool)] = 1
    with pytest.raises(RuntimeError, match="dtypes match"):
        x.index_put_((masks[0],), rtorch.ones(1, dtype=rtorch.float64))
    columns = rtorch.zeros(2, 3, 4)
    columns.index_put_((None, rtorch.tensor([True, False, True])), rtorch.tensor(2.0))
    assert columns.sum((0, 2)).tolist() == [16, 0, 16]


@pytest.mark.parametrize("replace", [False, True])
def test_combinations(replace):
    pick = itertools.combinations_with_replacement if replace else itertools.combinations
    for n, r in itertools.product((0, 1, 2, 7), (1, 2, 3)):
        x = rtorch.arange(float(n), requires_grad=True)
        got = rtorch.combinations(x, r, replace)
        want = list(pick(range(n), r))
        assert got.shape == (len(want), r) and got.tolist() == [list(map(float, row)) for row in want]
        got.sum().backward()
        assert x.grad.tolist() == [sum(row.count(i) for row in want) for i in range(n)]
