"""rtorch.func: derivatives of functions, trees of arguments, modules called with other parameters."""

import pytest

import rtorch
from rtorch import func, nn
from rtorch.utils import _pytree


def test_grad_of_trees_and_argnums():
    tree = {"a": rtorch.tensor(2.0), "b": [rtorch.tensor(3.0)]}
    grads = func.grad(lambda t: t["a"] * t["b"][0])(tree)
    assert grads["a"].item() == 3.0 and grads["b"][0].item() == 2.0 and not grads["a"].requires_grad
    pair = func.grad(lambda x, y: x * y, argnums=(0, 1))(rtorch.tensor(2.0), rtorch.tensor(5.0))
    assert [g.item() for g in pair] == [5.0, 2.0]
    found, (value, aux) = func.grad_and_value(lambda x: (x * x, "aux"), has_aux=True)(rtorch.tensor(3.0))
    assert [found.item(), value.item(), aux] == [6.0, 9.0, "aux"]
    with pytest.raises(RuntimeError, match="return a scalar tensor"):
        func.grad(lambda x: x * 2)(rtorch.ones(2))


def test_grad_nests_and_joins_the_callers_graph():
    cube = func.grad(func.grad(lambda x: x**3))
    assert cube(rtorch.tensor(2.0)).item() == 12.0
    x = rtorch.tensor(2.0, requires_grad=True)
    func.grad(lambda x: x**3)(x).backward()
    assert x.grad.item() == 12.0


def test_products_and_jacobians():
    def f(x, y):
        return x * y, x.sum()

    x, y = rtorch.tensor([1.0, 2.0]), rtorch.tensor([3.0, 4.0])
    (first, second), pull = func.vjp(f, x, y)
    assert first.tolist() == [3.0, 8.0] and second.item() == 3.0
    gx, gy = pull((rtorch.ones(2), rtorch.tensor(10.0)))
    assert gx.tolist() == [13.0, 14.0] and gy.tolist() == [1.0, 2.0]
    _, (push, _) = func.jvp(f, (x, y), (rtorch.ones(2), rtorch.zeros(2)))
    assert push.tolist() == [3.0, 4.0]
    assert func.jacrev(lambda x: x**2)(x).tolist() == [[2.0, 0.0], [0.0, 4.0]]
    assert func.hessian(lambda x: x[0] ** 2 * x[1])(x).tolist() == [[4.0, 2.0], [2.0, 0.0]]
    value, linear = func.linearize(lambda x: x**2, x)
    assert value.tolist() == [1.0, 4.0] and linear(rtorch.ones(2)).tolist() == [2.0, 4.0]


def test_modules_with_other_parameters():
    m = nn.Linear(2, 1)
    params = {"weight": rtorch.tensor([[1.0, 2.0]]), "bias": rtorch.tensor([0.5])}
    grads = func.grad(lambda p, x: func.functional_call(m, p, (x,)).sum())(params, rtorch.tensor([[3.0, 4.0]]))
    assert grads["weight"].tolist() == [[3.0, 4.0]] and grads["bias"].tolist() == [1.0]
    stacked, buffers = func.stack_module_state([nn.BatchNorm1d(2) for _ in range(3)])
    assert stacked["weight"].shape == (3, 2) and stacked["weight"].requires_grad
    assert buffers["running_mean"].shape == (3, 2)


def test_trees():
    tree = {"a": (1, [2, 3]), "b": 4}
    leaves, spec = _pytree.tree_flatten(tree)
    assert leaves == [1, 2, 3, 4] and _pytree.tree_unflatten(leaves, spec) == tree
    assert _pytree.tree_map(lambda v: v + 1, tree) == {"a": (2, [3, 4]), "b": 5}


def test_helpers_of_transformations():
    seen = []
    func.vmap(lambda x: (seen.append(func.debug_unwrap(x)), x * 2)[1])(rtorch.ones(3, 2))
    assert seen[0].shape == (3, 2)
    assert func.functionalize(lambda x: x.clone().add_(1))(rtorch.ones(1)).item() == 2
    net = func.replace_all_batch_norm_modules_(nn.Sequential(nn.BatchNorm1d(2)))
    assert net[0].running_mean is None
    assert func.vmap(net)(rtorch.rand(4, 3, 2)).shape == (4, 3, 2)
    with rtorch.autograd.graph.allow_mutation_on_saved_tensors() as context:
        x = rtorch.ones(2, requires_grad=True)
        y = x * 1
        z = (y * y).sum()
        y.detach().zero_()
        z.backward()
        context.clear()
    assert x.grad.tolist() == [2.0, 2.0]
