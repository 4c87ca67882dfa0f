"""Jacobians, Hessians and their products with vectors, as functions of a function.

The result has the structure of the inputs and outputs: a tensor for a tensor, a tuple for a tuple.
"""

import rtorch
from rtorch.utils._pytree import tree_map

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _tupled(value, name, func):
    """(as a tuple, whether it was one); TypeError for what holds no tensors."""
    many = isinstance(value, tuple)
    values = value if many else (value,)
    for i, v in enumerate(values):
        if not isinstance(v, rtorch.Tensor):
            where = f"value at index {i} in the {name}" if many else f"{name}"
            raise TypeError(
                f"The {where} given to {func} must be either a Tensor or a tuple of Tensors but got {type(v)}"
            )
    return values, many


def _leaves(inputs, create_graph):
    """The inputs as fresh variables; still joined to the caller's graph where that is wanted."""
    return tuple(t.view_as(t) if create_graph and t.requires_grad else t.detach().requires_grad_() for t in inputs)


def _run(func, inputs, name, create_graph):
    inputs, many = _tupled(inputs, "inputs", name)
    with rtorch.enable_grad():
        inputs = _leaves(inputs, create_graph)
        outputs, many_out = _tupled(func(*inputs), "outputs of the user-provided function", name)
    return inputs, many, outputs, many_out


def _grad(outputs, inputs, seeds, create_graph):
    """Gradients where there is a graph; zeros elsewhere."""
    pairs = [(o, s) for o, s in zip(outputs, seeds) if o.requires_grad]
    if not pairs:
        return tuple(rtorch.zeros_like(i) for i in inputs)
    with rtorch.enable_grad():
        grads = rtorch.autograd.grad(
            [o for o, _ in pairs],
            inputs,
            [s for _, s in pairs],
            create_graph=create_graph,
            retain_graph=True,
            allow_unused=True,
        )
    return tuple(rtorch.zeros_like(i) if g is None else g for g, i in zip(grads, inputs))


def _check_strict(outputs, strict):
    if not strict:
        return
    for i, out in enumerate(outputs):
        if not out.requires_grad:
            raise RuntimeError(
                f"Output {i} of the user-provided function does not require gradients. The outputs must be computed "
                "in a differentiable manner from the input when running in strict mode."
            )


def _vector(v, like, name):
    """The vector argument beside the tensors it must match."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(f"The vector v can only be None if the {name} is a single Tensor with one element")
        return (rtorch.ones_like(like[0]),)
    values, _ = _tupled(v, "v", name)
    if len(values) != len(like):
        raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(values)}.")
    for i, (a, b) in enumerate(zip(values, like)):
        if a.size() != b.size():
            raise RuntimeError(f"Entry {i} in v has invalid size: should be {b.size()} but got {a.size()}.")
    return values


def _give(values, many, create_graph):
    values = tuple(v if create_graph else v.detach() for v in values)
    return values if many else values[0]


def vjp(func, inputs, v=None, create_graph=False, strict=False):
    """(outputs, v^T J): the vector-Jacobian product.

    >>> import rtorch
    >>> rtorch.autograd.functional.vjp(lambda x: x * x, rtorch.tensor([3.0]), rtorch.tensor([1.0]))[1]
    tensor([6.])
    """
    inputs, many, outputs, many_out = _run(func, inputs, "vjp", create_graph)
    _check_strict(outputs, strict)
    grads = _grad(outputs, inputs, _vector(v, outputs, "vjp"), create_graph)
    return _give(outputs, many_out, create_graph), _give(grads, many, create_graph)


def jvp(func, inputs, v=None, create_graph=False, strict=False):
    """(outputs, J v): the Jacobian-vector product, by differentiating v^T J twice."""
    inputs, _, outputs, many_out = _run(func, inputs, "jvp", create_graph)
    _check_strict(outputs, strict)
    v = _vector(v, inputs, "jvp")
    seeds = tuple(rtorch.zeros_like(o).requires_grad_() for o in outputs)
    grads = _grad(outputs, inputs, seeds, True)
    products = _grad(grads, seeds, v, create_graph)
    return _give(outputs, many_out, create_graph), _give(products, many_out, create_graph)


def _check_strategy(name, strategy, vectorize, strict, create_graph):
    """What the mapped forms do not do."""
    where = f"torch.autograd.functional.{name}"
    if strategy == "forward-mode":
        if create_graph and name == "jacobian":
            raise NotImplementedError(f'{where}: `create_graph=True` and `strategy="forward-mode"` are not supported')
        if not vectorize:
            raise NotImplementedError(
                "Computing Jacobian using forward-AD or forward-over-reverse Hessian is only implemented for "
                "`vectorize=True`."
            )
    if vectorize and strict:
        raise RuntimeError(f"{where}: `strict=True` and `vectorize=True` are not supported together")


def _mapped(transform, func, inputs, create_graph):
    """A transformation of `rtorch.func` for all inputs; without a graph unless one is wanted."""
    many = isinstance(inputs, tuple)
    given = inputs if many else (inputs,)
    found = transform(func, tuple(range(len(given))) if many else 0)(*given)
    return found if create_graph else tree_map(lambda t: t.detach(), found)


def jacobian(func, inputs, create_graph=False, strict=False, vectorize=False, strategy="reverse-mode"):
    """The Jacobian: for each output and input a tensor of shape (*output, *input).

    vectorize: all rows (strategy "reverse-mode") or columns ("forward-mode") in one pass, mapped, and not one by one.

    >>> import rtorch
    >>> rtorch.autograd.functional.jacobian(lambda x: x * x, rtorch.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise AssertionError(f'Expected strategy to be either "forward-mode" or "reverse-mode", but got {strategy}.')
    _check_strategy("jacobian", strategy, vectorize, strict, create_graph)
    if vectorize:
        rows_or_columns = rtorch.func.jacrev if strategy == "reverse-mode" else rtorch.func.jacfwd
        return _mapped(rows_or_columns, func, inputs, create_graph)
    inputs, many, outputs, many_out = _run(func, inputs, "jacobian", create_graph)
    _check_strict(outputs, strict)
    rows = []
    for out in outputs:
        found = []
        for i in range(out.numel()):
            seed = rtorch.zeros_like(out).reshape(-1)
            seed[i] = 1.0
            found.append(_grad((out,), inputs, (seed.reshape(out.shape),), create_graph))
        columns = zip(*found) if found else ([] for _ in inputs)
        row = tuple(
            (rtorch.stack(list(c)) if found else i.new_zeros(0)).reshape(*out.shape, *i.shape)
            for c, i in zip(columns, inputs)
        )
        rows.append(_give(row, many, create_graph))
    return tuple(rows) if many_out else rows[0]


def _scalar(out):
    if not isinstance(out, rtorch.Tensor) or out.numel() != 1:
        raise RuntimeError("The output of the function given to hessian should be a single-element Tensor")
    return out.reshape(())


def _gradient_of(func, many):
    """The gradient of a scalar function as a function itself."""

    def gradient(*xs):
        grads = _grad((_scalar(func(*xs)),), xs, (rtorch.ones(()).to(xs[0].device, xs[0].dtype),), True)
        return grads if many else grads[0]

    return gradient


def hessian(func, inputs, create_graph=False, strict=False, vectorize=False, outer_jacobian_strategy="reverse-mode"):
    """The Hessian of a scalar function: for each pair of inputs a tensor of shape (*input, *input).

    vectorize: as of `jacobian`, the derivative of the gradient taken by `outer_jacobian_strategy`.
    """
    if outer_jacobian_strategy not in ("reverse-mode", "forward-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')
    _check_strategy("hessian", outer_jacobian_strategy, vectorize, strict, create_graph)
    many = isinstance(inputs, tuple)
    if vectorize:
        outer = rtorch.func.jacrev if outer_jacobian_strategy == "reverse-mode" else rtorch.func.jacfwd

        def twice(f, argnums):
            return outer(rtorch.func.jacrev(lambda *xs: _scalar(f(*xs)), argnums), argnums)

        return _mapped(twice, func, inputs, create_graph)
    return jacobian(_gradient_of(func, many), inputs, create_graph, strict)


def vhp(func, inputs, v=None, create_graph=False, strict=False):
    """(output, v^T H) of a scalar function."""
    return _value_and(vjp, func, inputs, v, create_graph, strict)


def hvp(func, inputs, v=None, create_graph=False, strict=False):
    """(output, H v) of a scalar function."""
    return _value_and(jvp, func, inputs, v, create_graph, strict)


def _value_and(product, func, inputs, v, create_graph, strict):
    many = isinstance(inputs, tuple)
    values = inputs if many else (inputs,)
    _, result = product(_gradient_of(func, many), inputs, v, create_graph, strict)
    out = func(*values)
    return (out if create_graph else out.detach()), result
