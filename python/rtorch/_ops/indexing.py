"""Reading and writing by index, by composition over gather, scatter and masks; norms by order, and index grids."""

from __future__ import annotations

import rtorch
from rtorch import _C

from ._register import one_node, op
from .factories import strided
from .shape import _dim


def _long(index, name):
    if index.dtype not in (rtorch.int64, rtorch.int32):
        raise IndexError(f"{name}(): Expected dtype int64 for index.")
    return index if index.dtype == rtorch.int64 else index.long()


@op(inplace=True)
def index_fill(input, dim, index, value):
    """The slices at `index` along `dim` set to `value` (a number or a 0-d tensor)."""
    if isinstance(value, rtorch.Tensor) and value.dim() != 0:
        raise RuntimeError(
            f"index_fill_ only supports a 0-dimensional value tensor, but got tensor with {value.dim()} dimension(s)."
        )
    if index.dim() > 1:
        raise IndexError("index_fill_(): Index is supposed to be a vector")
    node = f"IndexFillBackward{int(isinstance(value, rtorch.Tensor))}"
    given = input, value
    if input.dim() == 0:
        return one_node(node, given, index_fill(input.unsqueeze(0), 0, index, value).squeeze(0))
    index = _long(index, "index_fill_")
    return one_node(node, given, _C._nn._index_fill(input, dim, index, value))


@op(inplace=True)
def masked_scatter(input, mask, source):
    """The elements where `mask` is true replaced, in order, by those of `source`."""
    if mask.dtype != rtorch.bool:
        raise RuntimeError("masked_scatter_ only supports boolean masks, but got mask with dtype " + str(mask.dtype))
    if input.dtype != source.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got {input.dtype} and {source.dtype}"
        )
    shape = rtorch.broadcast_shapes(input.shape, mask.shape)
    input, mask = input.expand(shape), mask.expand(shape)
    place = mask.reshape(-1).nonzero().squeeze(1)
    count = place.numel()
    if count > source.numel():
        raise RuntimeError("masked_scatter: expected source to have as many elements as the mask has ones")
    if source.numel() == 0:
        return input.clone()
    return input.reshape(-1).index_put((place,), source.reshape(-1)[:count]).reshape(shape)


@op(out=True)
def take(input, index):
    """Elements of the flattened input."""
    if index.numel() and input.numel() == 0:
        raise IndexError("take(): tried to take from an empty tensor")
    if index.dtype != rtorch.int64:
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {index.dtype}")
    return input.reshape(-1)[index]


@op(inplace=True)
def put(input, index, source, accumulate=False):
    """The flattened input with `source` written at (or added to) `index`."""
    if index.numel() != source.numel():
        raise RuntimeError(
            "put_(): Expected source and index to have the same number of elements, but got source.numel() = "
            f"{source.numel()}, index.numel() = {index.numel()}"
        )
    flat, at = input.reshape(-1), _long(index, "put_").reshape(-1)
    at = rtorch.where(at < 0, at + flat.numel(), at)
    source = source.reshape(-1)
    out = flat.index_add(0, at, source) if accumulate else flat.index_copy(0, at, source)
    return out.reshape(input.shape)


@op(out=True)
def take_along_dim(input, indices, dim=None):
    """`gather` with broadcasting; without `dim` over the flattened input."""
    if dim is None:
        return take_along_dim(input.reshape(-1), indices.reshape(-1), 0)
    if input.dim() != indices.dim():
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of dimensions, but got "
            f"{input.dim()} dimensions for input, and {indices.dim()} dimensions for indices"
        )
    dim = _dim(dim, input.dim())
    own, other = list(input.shape), list(indices.shape)
    own[dim] = other[dim] = 1
    shape = list(rtorch.broadcast_shapes(own, other))
    a, b = list(shape), list(shape)
    a[dim], b[dim] = input.size(dim), indices.size(dim)
    indices = rtorch.where(indices < 0, indices + input.size(dim), indices)
    return input.expand(a).gather(dim, indices.expand(b))


# ---- reductions at an index


def _spread(dim, index, like, values):
    """`values` of the index's shape added up at their places in a tensor of the input's shape."""
    return rtorch.zeros_like(like).scatter_add(dim, index, values)


class _Weighted(rtorch.autograd.Function):
    """`result`, whose derivative is that of w_own * input + sum of w_src * src."""

    generate_vmap_rule = True

    @staticmethod
    def forward(input, src, result, w_own, w_src, index, dim):
        return result.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        *_, w_own, w_src, index, ctx.dim = inputs
        ctx.save_for_backward(w_own, w_src, index)
        ctx.save_for_forward(w_own, w_src, index)

    @staticmethod
    def backward(ctx, grad):
        w_own, w_src, index = ctx.saved_tensors
        return (*_pulled(ctx.dim, index, grad, w_own, w_src), None, None, None, None, None)

    @staticmethod
    def jvp(ctx, d_input, d_src, *_):
        w_own, w_src, index = ctx.saved_tensors
        return _pushed(ctx.dim, index, d_input, d_src, w_own, w_src)


def _pulled(dim, index, grad, w_own, w_src):
    return grad * w_own.conj(), grad.gather(dim, index) * w_src.conj()


def _pushed(dim, index, d_input, d_src, w_own, w_src):
    own = rtorch.zeros_like(w_own) if d_input is None else w_own * d_input
    return own if d_src is None else own + _spread(dim, index, own, w_src * d_src)


def _chosen(dim, index, input, src, base, include_self, best):
    """amax and amin: the gradient is shared by all that are the result."""
    if not _derived(input, src):
        return base.scatter(dim, index, src, reduce=best)
    variables = input, src
    input, src, base = input.detach(), src.detach(), base.detach()
    with rtorch.no_grad():
        result = base.scatter(dim, index, src, reduce=best)
        own = (input == result) & (base == result) if include_self else rtorch.zeros_like(input, dtype=rtorch.bool)
        untouched = _spread(dim, index, input, rtorch.ones_like(src)) == 0
        own = own | untouched
        theirs = (src == result.gather(dim, index)).to(src.dtype)
        share = 1 / (own.to(input.dtype) + _spread(dim, index, input, theirs)).clamp(min=1)
        w_own, w_src = own.to(input.dtype) * share, theirs * share.gather(dim, index)
    return _Weighted.apply(*variables, result, w_own, w_src, index, dim)


class _Product(rtorch.autograd.Function):
    """Products at an index. The weights of the derivative are products of the others, differentiable themselves."""

    generate_vmap_rule = True

    @staticmethod
    def forward(input, src, base, index, dim, include_self):
        return base.scatter(dim, index, src, reduce="multiply")

    @staticmethod
    def setup_context(ctx, inputs, output):
        input, src, base, index, ctx.dim, ctx.include_self = inputs
        ctx.save_for_backward(input, src, base, index)
        ctx.save_for_forward(input, src, base, index)

    @staticmethod
    def backward(ctx, grad):
        index, weights = _product_weights(ctx)
        return (*_pulled(ctx.dim, index, grad, *weights), None, None, None, None)

    @staticmethod
    def jvp(ctx, d_input, d_src, *_):
        index, weights = _product_weights(ctx)
        return _pushed(ctx.dim, index, d_input, d_src, *weights)


def _product_weights(ctx):
    """For each element of input and src the product of all others at its place."""
    (input, src, base, index), dim = ctx.saved_tensors, ctx.dim
    ones = rtorch.ones_like(src)
    zeros = _spread(dim, index, input, (src == 0).to(src.dtype))
    if ctx.include_self:
        zeros = zeros + (input == 0).to(input.dtype)
    # The product of all but the zeros: what a lone zero's own factor multiplies.
    start = rtorch.where(input == 0, 1, input) if ctx.include_self else base.detach()
    rest = _Product.apply(start, rtorch.where(src == 0, ones, src), start, index, dim, True)

    def others(factor, zeros, rest):
        some = rtorch.where(factor == 0, rtorch.ones_like(factor), factor)
        alone = rtorch.where(zeros == (factor == 0).to(factor.dtype), rest, rtorch.zeros_like(rest))
        return rtorch.where(factor == 0, alone, alone / some)

    w_src = others(src, zeros.gather(dim, index), rest.gather(dim, index))
    if ctx.include_self:
        return index, (others(input, zeros, rest), w_src)
    return index, ((_spread(dim, index, input, ones) == 0).to(input.dtype), w_src)


def _derived(input, src):
    """Does anybody want a derivative?"""
    return _C._forward_level() or (rtorch.is_grad_enabled() and (input.requires_grad or src.requires_grad))


def _product(dim, index, input, src, base, include_self):
    if not _derived(input, src):
        return base.scatter(dim, index, src, reduce="multiply")
    return _Product.apply(input, src, base, index, dim, include_self)


@op(inplace=True, out=True)
def scatter_reduce(input, dim, index, src, reduce, *, include_self=True):
    """The values of `src` reduced ("sum", "prod", "mean", "amax", "amin") at their places along `dim`."""
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    if input.dim() == 0:
        parts = (input.reshape(1), 0, index.reshape(-1), src.reshape(-1), reduce)
        return scatter_reduce(*parts, include_self=include_self).reshape(())
    dim, index = _dim(dim, input.dim()), _long(index, "scatter_reduce")
    src = src[tuple(slice(0, n) for n in index.shape)]
    start = {"sum": 0, "mean": 0, "prod": 1, "amax": None, "amin": None}[reduce]
    base = input
    if not include_self:
        if start is None:
            # Any of the values to come will do: each is at most (at least) the result.
            base = input.detach().scatter(dim, index, src.detach())
        else:
            base = input.scatter(dim, index, start)
    if reduce == "sum":
        return base.scatter_add(dim, index, src)
    if reduce == "mean":
        ones = rtorch.ones_like(src, dtype=rtorch.int64)
        count = rtorch.zeros_like(input, dtype=rtorch.int64).scatter_add(dim, index, ones) + int(include_self)
        total, count = base.scatter_add(dim, index, src), count.clamp(min=1)
        whole = not (input.is_floating_point() or input.is_complex())
        # the counts' int64 does not widen the result
        return rtorch.div(total, count, rounding_mode="floor").to(input.dtype) if whole else total / count
    if reduce == "prod":
        return _product(dim, index, input, src, base, include_self)
    return _chosen(dim, index, input, src, base, include_self, reduce)


@op(inplace=True, out=True)
def index_reduce(input, dim, index, source, reduce, *, include_self=True):
    """The slices of `source` reduced ("prod", "mean", "amax", "amin") into those of the input at `index`."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    dim = _dim(dim, input.dim())
    alike = input.dim() and input.shape == source.shape and input.dtype == source.dtype and input.is_floating_point()
    recorded = rtorch.is_grad_enabled() and (input.requires_grad or source.requires_grad)
    if alike and include_self and reduce != "mean" and not recorded and index.shape == (input.size(dim),):
        return _C._nn._index_reduce(input, dim, _long(index, "index_reduce"), source, reduce)
    shape = [1] * max(input.dim(), 1)
    shape[dim] = -1
    at = _long(index, "index_reduce").reshape(shape if input.dim() else ()).expand(source.shape)
    return scatter_reduce(input, dim, at, source, reduce, include_self=include_self).to(input.dtype)


# ---- norms, grids


@op(out=True)
def norm(input, p="fro", dim=None, keepdim=False, dtype=None):
    """The vector norm of order `p` over `dim` (all), or "fro" and "nuc" of matrices."""
    if isinstance(p, str):
        if p == "nuc":
            axes = tuple(dim) if dim is not None else (-2, -1)
            return rtorch.linalg.matrix_norm(input, "nuc", axes, keepdim, dtype=dtype)
        if p != "fro":
            raise RuntimeError(f"norm: unexpected p={p!r}; only 'fro', 'nuc' and numbers are known")
        p = 2
    if p is None:
        p = 2
    return rtorch.linalg.vector_norm(input, p, dim, keepdim, dtype=dtype)


def _triangle(name, keep, dtype, layout):
    strided(name, layout)
    dtype = rtorch.int64 if dtype is None else dtype
    if dtype not in (rtorch.int64, rtorch.int32):
        raise NotImplementedError(f"\"{name}\" not implemented for '{dtype}': only int64 and int32 are indices")
    return keep.nonzero().t().contiguous().to(dtype)


@op(method=False)
def triu_indices(row, col, offset=0, *, dtype=None, device=None, layout=None):
    """(2, n) rows and columns of the upper triangle, in order."""
    return _triangle("triu_indices", rtorch.ones(row, col, device=device).triu(offset), dtype, layout)


@op(method=False)
def tril_indices(row, col, offset=0, *, dtype=None, device=None, layout=None):
    """(2, n) rows and columns of the lower triangle, in order."""
    return _triangle("tril_indices", rtorch.ones(row, col, device=device).tril(offset), dtype, layout)


@op(method=False, out=True)
def logspace(start, end, steps, base=10.0, *, dtype=None, device=None, layout=None, requires_grad=False):
    """`steps` numbers from base^start to base^end, even in their logarithm."""
    strided("logspace", layout)
    if dtype is not None:
        rtorch.linspace(0, 1, 0, dtype=dtype)  # refuses what has no ranges
    wide = rtorch.linspace(start, end, steps, dtype=rtorch.float64, device=device)
    result = rtorch.pow(base, wide).to(rtorch.get_default_dtype() if dtype is None else dtype)
    return result.requires_grad_(requires_grad) if requires_grad else result
