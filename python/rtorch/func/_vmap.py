"""`vmap`: a function of one sample as a function of a batch. What happens to operators inside is the core's matter
(`rust/core/src/batch`); here are arguments, results and their dimensions."""

import functools

import rtorch
from rtorch import _C
from rtorch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

__all__ = ["vmap"]


def _is_tensor(value):
    return isinstance(value, rtorch.Tensor)


def _spread(dims, tree):
    """The leaves of `dims`, a prefix of the tree, one for each leaf of the tree; None where it does not fit."""
    if isinstance(dims, int) or dims is None:
        return [dims] * len(tree_leaves(tree))
    if isinstance(tree, dict) and isinstance(dims, dict) and list(tree) == list(dims):
        pairs = [(dims[k], tree[k]) for k in tree]
    elif isinstance(tree, (list, tuple)) and isinstance(dims, (list, tuple)) and len(tree) == len(dims):
        pairs = list(zip(dims, tree))
    else:
        return None
    found = [_spread(d, t) for d, t in pairs]
    return None if any(f is None for f in found) else [d for f in found for d in f]


def _checked_dims(in_dims, args, name):
    """One dimension or None per leaf of the arguments."""
    where = f"vmap({name}, in_dims={in_dims}, ...)(<inputs>): "
    if not isinstance(in_dims, (int, tuple)):
        raise ValueError(
            f"{where}expected `in_dims` to be int or a (potentially nested) tuple matching the structure of inputs, "
            f"got: {type(in_dims)}."
        )
    if not args:
        raise ValueError(
            f"{where}got no inputs. Maybe you forgot to add inputs, or you are trying to vmap over a function with no "
            "inputs. The latter is unsupported."
        )
    dims = _spread(in_dims, args)
    if dims is None:
        raise ValueError(
            f"{where}in_dims is not compatible with the structure of `inputs`. in_dims has structure "
            f"{type(in_dims)} but inputs has structure {type(args)}."
        )
    found = []
    for leaf, dim in zip(tree_leaves(args), dims):
        if dim is not None and not isinstance(dim, int):
            raise ValueError(
                f"{where}Got in_dim={dim} for an input but in_dim must be either an integer dimension or None."
            )
        if dim is not None and not _is_tensor(leaf):
            raise ValueError(
                f"{where}Got in_dim={dim} for an input but the input is of type {type(leaf)}. We cannot vmap over "
                "non-Tensor arguments, please use None as the respective in_dim"
            )
        if dim is not None and not -leaf.dim() <= dim < leaf.dim():
            raise ValueError(
                f"{where}Got in_dim={dim} for some input, but that input is a Tensor of dimensionality {leaf.dim()} so "
                f"expected in_dim to satisfy -{leaf.dim()} <= in_dim < {leaf.dim()}."
            )
        found.append(dim if dim is None else dim % leaf.dim())
    return found


def _batch_size(leaves, dims):
    sizes = [leaf.shape[dim] for leaf, dim in zip(leaves, dims) if dim is not None]
    if not sizes:
        raise ValueError(
            "vmap: at least one tensor must be mapped over: all values in in_dims are None, so there is no batch."
        )
    if any(s != sizes[0] for s in sizes):
        raise ValueError(
            f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {sizes} for the "
            "mapped dimension"
        )
    return sizes[0]


def _out_dims(out_dims, outputs, leaves, name):
    if isinstance(out_dims, int):
        return [out_dims] * len(leaves)
    if not isinstance(out_dims, (tuple, list, dict)) and out_dims is not None:
        raise ValueError(
            f"vmap({name}, ..., out_dims={out_dims}): `out_dims` must be an int, None or a python collection of ints "
            "representing where in the outputs the vmapped dimension should appear."
        )
    if _is_tensor(outputs) and isinstance(out_dims, tuple) and len(out_dims) == 1:
        return [out_dims[0]]
    dims = _spread(out_dims, outputs)
    if dims is None:
        raise ValueError(
            f"vmap({name}, ..., out_dims={out_dims})(<inputs>): out_dims is not compatible with the structure of "
            f"`outputs`. out_dims has structure {type(out_dims)} but outputs has structure {type(outputs)}."
        )
    return dims


def _run(func, args, kwargs, dims, size, randomness, out_dims, name):
    """One call of `func` on all samples."""
    leaves, spec = tree_flatten(args)
    level = _C._vmap_enter(size, randomness)
    try:
        inside = [
            leaf if dim is None else _C._vmap_wrap(leaf if dim == 0 else leaf.movedim(dim, 0), level)
            for leaf, dim in zip(leaves, dims)
        ]
        outputs = func(*tree_unflatten(inside, spec), **kwargs)
        found, out_spec = tree_flatten(outputs)
        where = _out_dims(out_dims, outputs, found, name)
        for value in found:
            if not _is_tensor(value):
                raise ValueError(
                    f"vmap({name}, ...): `{name}` must only return Tensors, got type {type(value)}. Did you mean to "
                    "set out_dims= to None for output?"
                )
    finally:
        _C._vmap_exit(level)
    results = []
    for value, dim in zip(found, where):
        if dim is None:
            if level in _C._vmap_levels(value):
                raise ValueError(
                    f"vmap({name}, ...): `{name}` can not return a BatchedTensor when out_dim is None"
                )
            results.append(value)
            continue
        full = _C._vmap_unwrap(value, level, size)
        if not -full.dim() <= dim < full.dim():
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-full.dim()}, {full.dim() - 1}], but got {dim})"
            )
        results.append(full if dim == 0 else full.movedim(0, dim))
    return tree_unflatten(results, out_spec)


def _in_chunks(call, args, dims, size, chunk_size, out_dims, name):
    leaves, spec = tree_flatten(args)
    pieces = []
    for start in range(0, size, chunk_size):
        n = min(chunk_size, size - start)
        part = [leaf if dim is None else leaf.narrow(dim, start, n) for leaf, dim in zip(leaves, dims)]
        pieces.append(call(tree_unflatten(part, spec), n))
    flat = [tree_flatten(p) for p in pieces]
    where = _out_dims(out_dims, pieces[0], flat[0][0], name)
    joined = [
        column[0] if dim is None else rtorch.cat(column, dim)
        for column, dim in zip(zip(*(leaves for leaves, _ in flat)), where)
    ]
    return tree_unflatten(joined, flat[0][1])


def vmap(func, in_dims=0, out_dims=0, randomness="error", *, chunk_size=None):
    """`func` over a batch: inputs are mapped over their dimension in `in_dims` (None: the same for all samples), and
    results get the batch at `out_dims`. A matrix product inside is one batched product.

    randomness: "error", "same" (one draw for all samples) or "different". chunk_size: samples at a time.

    >>> import rtorch
    >>> rtorch.func.vmap(rtorch.dot)(rtorch.ones(2, 3), rtorch.arange(6.0).reshape(2, 3))
    tensor([ 3., 12.])
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}")
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")
    name = getattr(func, "__name__", repr(func))

    @functools.wraps(func)
    def wrapped(*args, **kwargs):
        dims = _checked_dims(in_dims, args, name)
        size = _batch_size(tree_leaves(args), dims)

        def call(some, n):
            return _run(func, some, kwargs, dims, n, randomness, out_dims, name)

        if chunk_size is None or chunk_size >= size:
            return call(args, size)
        return _in_chunks(call, args, dims, size, chunk_size, out_dims, name)

    return wrapped
