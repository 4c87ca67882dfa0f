"""Shapes by composition: stacking, splitting, moving, rolling and tiling."""

from __future__ import annotations

import operator

import rtorch
import rtorch._C as _C

from ._register import one_node, op


def _list(tensors):
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        return list(tensors[0])
    return list(tensors)


def _dim(dim, n):
    m = max(n, 1)
    if not -m <= dim < m:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-m}, {m - 1}], but got {dim})")
    return dim % m


def _listed(ints):
    """One integer, of NumPy or a tensor too, or several of them as a list."""
    return [operator.index(ints)] if hasattr(ints, "__index__") else list(ints)


def _many(f, tensors):
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        return tuple(f(t) for t in tensors[0])
    return tuple(f(t) for t in tensors) if len(tensors) > 1 else f(tensors[0])


@op(method=False)
def atleast_1d(*tensors):
    """Tensors with at least one dimension."""
    return _many(lambda t: t.reshape(1) if t.dim() == 0 else t, tensors)


@op(method=False)
def atleast_2d(*tensors):
    """Tensors with at least two dimensions."""
    return _many(lambda t: t.reshape(1, 1) if t.dim() == 0 else t.unsqueeze(0) if t.dim() == 1 else t, tensors)


@op(method=False)
def atleast_3d(*tensors):
    """Tensors with at least three dimensions, new ones as NumPy places them."""

    def f(t):
        n = t.dim()
        if n == 0:
            return t.reshape(1, 1, 1)
        return t.unsqueeze(0).unsqueeze(-1) if n == 1 else t.unsqueeze(-1) if n == 2 else t

    return _many(f, tensors)


def tensor_list(name, tensors):
    """PyTorch's error where the argument `tensors` is no sequence of tensors."""
    if not isinstance(tensors, (list, tuple)):
        raise TypeError(
            f"{name}(): argument 'tensors' (position 1) must be tuple of Tensors, not {type(tensors).__name__}"
        )
    for i, t in enumerate(tensors):
        if not isinstance(t, rtorch.Tensor):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(t).__name__}")


def _nonempty(name, tensors):
    tensor_list(name, tensors)
    if not tensors:
        raise RuntimeError(f"{name} expects a non-empty TensorList")


@op(method=False, out=True)
def hstack(tensors):
    """Joined along the second dimension (the first for vectors)."""
    _nonempty("hstack", tensors)
    ts = [atleast_1d(t) for t in tensors]
    return rtorch.cat(ts, 0 if ts[0].dim() == 1 else 1)


@op(method=False, out=True, aliases=("row_stack",))
def vstack(tensors):
    """Joined along the first dimension, vectors as rows."""
    _nonempty("vstack", tensors)
    return rtorch.cat([atleast_2d(t) for t in tensors], 0)


@op(method=False, out=True)
def dstack(tensors):
    """Joined along the third dimension."""
    _nonempty("dstack", tensors)
    return rtorch.cat([atleast_3d(t) for t in tensors], 2)


@op(method=False, out=True)
def column_stack(tensors):
    """Joined along the second dimension, vectors as columns."""
    _nonempty("column_stack", tensors)
    return rtorch.cat([t.reshape(t.numel(), 1) if t.dim() <= 1 else t for t in tensors], 1)


@op(method=False)
def block_diag(*tensors):
    """Matrices on the diagonal of a larger one."""
    ms = []
    for i, t in enumerate(_list(tensors) if tensors else []):
        if t.dim() > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {t.dim()} dimensions"
            )
        ms.append(atleast_2d(t))
    if not ms:
        return rtorch.empty(1, 0)
    dtype = ms[0].dtype
    for m in ms[1:]:
        dtype = rtorch.promote_types(dtype, m.dtype)
    return _C._linalg._block_diag([m.to(dtype) for m in ms])


@op(method=False)
def broadcast_tensors(*tensors):
    """Tensors expanded to their common shape."""
    ts = _list(tensors)
    shape = rtorch.broadcast_shapes(*[t.shape for t in ts])
    return tuple(t.expand(shape) for t in ts)


@op(method=False)
def broadcast_shapes(*shapes):
    """The shape that shapes broadcast to."""
    full = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    out = [1] * max((len(s) for s in full), default=0)
    for s in full:
        for i, n in enumerate(reversed(s), 1):
            if n < 0:
                raise ValueError("Attempting to broadcast a dimension with negative length!")
            if n == 1 or n == out[-i]:
                continue
            if out[-i] != 1:
                raise RuntimeError("Shape mismatch: objects cannot be broadcast to a single shape")
            out[-i] = n
    return rtorch.Size(out)


@op(method=False)
def cartesian_prod(*tensors):
    """All combinations of the elements of vectors, one a row."""
    ts = _list(tensors)
    for t in ts:
        if t.dim() != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(t.shape)}")
    if len(ts) == 1:
        return ts[0]
    return rtorch.stack([g.flatten() for g in rtorch.meshgrid(*ts, indexing="ij")], 1)


@op(method=False)
def combinations(input, r=2, with_replacement=False):
    """All r-element subsets of a vector's elements, one a row."""
    import itertools

    if input.dim() != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return input.new_empty(0)
    if r == 1:
        return input.reshape(-1, 1).clone()
    if r == 2:
        n = input.numel()
        i, j = rtorch.triu_indices(n, n, 0 if with_replacement else 1, device=input.device)
        return rtorch.stack([input[i], input[j]], 1)
    pick = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = list(pick(range(input.numel()), r))
    index = rtorch.tensor(rows, dtype=rtorch.int64, device=input.device).reshape(len(rows), r)
    return input[index.flatten()].reshape(len(rows), r)


@op(method=False)
def meshgrid(*tensors, indexing=None):
    """Grids of coordinates of vectors."""
    ts = _list(tensors)
    if not ts:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    for t in ts:
        if t.dim() > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {t}")
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    if any(t.dtype != ts[0].dtype for t in ts):
        raise RuntimeError("meshgrid expects all tensors to have the same dtype")
    swap = indexing == "xy" and len(ts) >= 2
    if swap:
        ts[0], ts[1] = ts[1], ts[0]
    n = len(ts)
    shape = [t.numel() for t in ts]
    grids = [t.reshape([-1 if i == j else 1 for j in range(n)]).expand(shape) for i, t in enumerate(ts)]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


# more views than any memory holds
_MOST_PIECES = 1 << 26


@op()
def tensor_split(input, indices_or_sections, dim=0):
    """Split in sections of about equal size, or before each index."""
    if input.dim() == 0:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    dim = _dim(dim, input.dim())
    size = input.size(dim)
    cuts = indices_or_sections
    if isinstance(cuts, rtorch.Tensor):
        if cuts.dtype != rtorch.int64:
            raise RuntimeError(
                f"tensor_split expected tensor_indices_or_sections to have dtype of long, but got {cuts.dtype}"
            )
        cuts = cuts.tolist()
    if hasattr(cuts, "__index__"):
        cuts = operator.index(cuts)
        if cuts <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {cuts}")
        if cuts > _MOST_PIECES:
            raise RuntimeError(f"tensor_split: not enough memory for {cuts} views")
        base, more = divmod(size, cuts)
        bounds, at = [], 0
        for i in range(cuts):
            bounds.append((at, at + base + (i < more)))
            at = bounds[-1][1]
    else:
        points = [0, *cuts, size]
        bounds = list(zip(points[:-1], points[1:]))
    index = (slice(None),) * dim
    return tuple(input[(*index, slice(a, b))] for a, b in bounds)


def _split_named(name, input, how, dim, least):
    if input.dim() < least:
        raise RuntimeError(
            f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor with "
            f"{input.dim()} dimensions!"
        )
    if isinstance(how, int):
        if how == 0 or input.size(dim) % how:
            raise RuntimeError(
                f"torch.{name} attempted to split along dimension {dim}, but the size of the "
                f"dimension {input.size(dim)} is "
                f"not divisible by the split_size {how}!"
            )
    return tensor_split(input, how, dim)


@op()
def hsplit(input, indices_or_sections):
    """Split along the second dimension (the first of a vector)."""
    return _split_named("hsplit", input, indices_or_sections, 0 if input.dim() == 1 else 1, 1)


@op()
def vsplit(input, indices_or_sections):
    """Split along the first dimension."""
    return _split_named("vsplit", input, indices_or_sections, 0, 2)


@op()
def dsplit(input, indices_or_sections):
    """Split along the third dimension."""
    return _split_named("dsplit", input, indices_or_sections, 2, 3)


@op()
def roll(input, shifts, dims=None):
    """Elements shifted along dims, those that fall off re-entering at the other end."""
    shifts = _listed(shifts)
    if dims is None or (isinstance(dims, (list, tuple)) and not dims):
        if len(shifts) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:0")
        return roll(input.reshape(-1), shifts, (0,)).reshape(input.shape)
    dims = _listed(dims)
    if len(shifts) != len(dims):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    out = input
    for s, d in zip(shifts, dims):
        if input.dim() == 0:
            raise IndexError(f"Dimension specified as {d} but tensor has no dimensions")
        n = input.size(d)
        if n == 0:
            continue
        k = s % n
        if k:
            # the parts of one split: their gradients are put together as they are, not added up in whole tensors
            first, last = out.split([n - k, k], d)
            out = rtorch.cat([last, first], d)
    return out.clone() if out is input else out


@op()
def rot90(input, k=1, dims=(0, 1)):
    """Rotated by k quarter turns in the plane of two dims."""
    dims = list(dims)
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    n = input.dim()
    if n < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {n}")
    a, b = _dim(dims[0], n), _dim(dims[1], n)
    if a == b:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    k %= 4
    if k == 0:
        return input.clone()
    if k == 2:
        return input.flip([a, b])
    return input.flip([b if k == 1 else a]).transpose_(a, b)


@op(function=False)
def repeat(input, *sizes):
    """Copies of the tensor beside each other."""
    if len(sizes) == 1 and not isinstance(sizes[0], int):
        sizes = tuple(sizes[0])
    n = input.dim()
    if len(sizes) < n:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    for s in sizes:
        if s < 0:
            raise RuntimeError(f"Trying to create tensor with negative dimension {s}: {list(sizes)}")
    full = (1,) * (len(sizes) - n) + tuple(input.shape)
    wide = [x for r, s in zip(sizes, full) for x in (r, s)]
    shape = [x for s in full for x in (1, s)]
    return (
        input.reshape(shape)
        .expand(wide)
        .clone(memory_format=rtorch.contiguous_format)
        .reshape([r * s for r, s in zip(sizes, full)])
    )


@op()
def tile(input, *counts, dims=None):
    """`repeat`, with missing leading counts as 1."""
    dims = counts if dims is None else (dims,)
    if len(dims) == 1 and not isinstance(dims[0], int):
        dims = tuple(dims[0])
    return repeat(input, (1,) * (input.dim() - len(dims)) + tuple(dims))


@op()
def repeat_interleave(input, repeats=None, dim=None, *, output_size=None):
    """Each element (or slice along `dim`) repeated in place."""
    if repeats is None:
        counts = input
        if counts.dim() != 1:
            raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
        return _repeated(counts, output_size)
    if dim is None:
        input, dim = input.reshape(-1), 0
    elif input.dim() == 0:
        _dim(dim, 0)
        input, dim = input.reshape(1), 0
    dim = _dim(dim, input.dim())
    if isinstance(repeats, rtorch.Tensor) and repeats.numel() == 1 and repeats.dim() <= 1:
        repeats = int(repeats)
    if hasattr(repeats, "__index__") and not isinstance(repeats, rtorch.Tensor):
        repeats = operator.index(repeats)
        if repeats < 0:
            raise RuntimeError("Repeats must be non-negative")
        shape = list(input.shape)
        if output_size not in (None, shape[dim] * repeats):
            want = shape[dim] * repeats
            raise RuntimeError(f"repeat_interleave: Invalid output_size, expected {want} but got {output_size}")
        wide = shape[: dim + 1] + [repeats] + shape[dim + 1 :]
        return input.unsqueeze(dim + 1).expand(wide).clone(memory_format=rtorch.contiguous_format).flatten(dim, dim + 1)
    counts = repeats if isinstance(repeats, rtorch.Tensor) else rtorch.tensor(repeats, device=input.device)
    if counts.dim() > 1:
        raise RuntimeError("repeats must be 0-dim or 1-dim tensor")
    if counts.numel() != input.size(dim):
        raise RuntimeError(
            f"repeats must have the same size as input along dim, but got repeats.size(0) = {counts.numel()} and "
            f"input.size({dim}) = {input.size(dim)}"
        )
    return input.index_select(dim, _repeated(counts.to(input.device), output_size))


def _repeated(counts, output_size):
    """Position i counts[i] times, `output_size` (or None) numbers in all."""
    if counts.dtype not in (rtorch.int32, rtorch.int64):
        raise RuntimeError("repeats has to be Long or Int tensor")
    if counts.numel() == 0:
        return rtorch.empty(0, dtype=counts.dtype, device=counts.device)
    if bool((counts < 0).any()):
        raise RuntimeError("repeats can not be negative")
    ends = counts.cumsum(0)
    total = int(ends[-1])
    if output_size not in (None, total):
        raise RuntimeError(f"allocated size does not match required size: output_size={output_size}, but {total}")
    where = rtorch.arange(total, device=counts.device)
    return rtorch.searchsorted(ends.to(rtorch.int64), where, right=True).to(counts.dtype)


@op()
def unflatten(input, dim, sizes):
    """One dimension as several."""
    if not sizes:
        raise RuntimeError("unflatten: sizes must be non-empty")
    d = _dim(dim, input.dim())
    sizes = list(sizes)
    known = 1
    for s in sizes:
        known *= s if s != -1 else 1
    n = input.size(d)
    if -1 in sizes:
        if known == 0 or n % known:
            raise RuntimeError(
                f"unflatten: Provided sizes {sizes} don't multiply up to the size of dim {d} ({n}) in the input tensor"
            )
        sizes[sizes.index(-1)] = n // known
    elif known != n:
        raise RuntimeError(
            f"unflatten: Provided sizes {sizes} don't multiply up to the size of dim {d} ({n}) in the input tensor"
        )
    shape = list(input.shape)
    return input.reshape(shape[:d] + sizes + shape[d + 1 :])


@op(out=True)
def diag(input, diagonal=0):
    """The diagonal of a matrix, or a matrix with a vector on its diagonal."""
    if input.dim() == 1:
        return rtorch.diag_embed(input, diagonal)
    if input.dim() != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.dim()}D")
    return one_node("DiagonalBackward0_copy", input, input.diagonal(diagonal).clone())


@op()
def diagflat(input, offset=0):
    """A matrix with the flattened input on its diagonal."""
    return rtorch.diag_embed(input.reshape(-1), offset)


@op()
def diag_embed(input, offset=0, dim1=-2, dim2=-1):
    """The last dimension on a diagonal of two new ones."""
    n = input.dim() + 1
    a, b = _dim(dim1, n), _dim(dim2, n)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    if not (input.is_floating_point() or input.is_complex()) or input.itemsize == 1:  # no gradient, and no sums
        sizes = list(input.shape[:-1])
        for d in sorted((a, b)):
            sizes.insert(d, input.size(-1) + abs(offset))
        out = rtorch.zeros(sizes, dtype=input.dtype, device=input.device)
        out.diagonal(offset, a, b).copy_(input)
        return out
    return _C._linalg._diag_embed(input, offset, a, b)


def _copied(name):
    def f(input, *args, **kwargs):
        sized = name == "view" and not any(isinstance(a, rtorch.dtype) for a in (*args, *kwargs.values()))
        # a copy in another shape needs no view in between
        r = input.reshape(*args, *kwargs.values()) if sized else getattr(input, name)(*args, **kwargs)
        if isinstance(r, (list, tuple)):
            return tuple(t.clone(memory_format=rtorch.contiguous_format) for t in r)
        r = r.clone(memory_format=rtorch.contiguous_format)
        if name == "squeeze":
            dim = args[0] if args else kwargs.get("dim")
            node = 0 if dim is None else 1 if isinstance(dim, int) else 2
            return one_node(f"SqueezeBackward{node}_copy", input, r)
        return r

    f.__doc__ = f"A copy of what `{name}` shows."
    f.__name__ = name + "_copy"
    return op(name + "_copy", method=False, out=True)(f)


for _name in (
    "expand",
    "permute",
    "view",
    "as_strided",
    "diagonal",
    "squeeze",
    "unsqueeze",
    "t",
    "transpose",
    "unfold",
    "unbind",
    "split",
    "split_with_sizes",
    "select",
    "detach",
):
    _copied(_name)


@op(out=True)
def narrow_copy(input, dim, start, length):
    """A copy of what `narrow` shows."""
    if dim >= input.dim() > 0:
        # PyTorch checks this one itself, by an exception of its own
        raise RuntimeError(f"narrow_copy(): Expected dim < {input.dim()} (the number of dimensions), but got {dim}")
    return input.narrow(dim, start, length).clone(memory_format=rtorch.contiguous_format)


@op(method=False, out=True)
def slice_copy(input, dim=0, start=None, end=None, step=1):
    """A copy of a slice along a dim."""
    if step <= 0:
        raise RuntimeError("slice step must be positive")
    d = _dim(dim, input.dim())
    return input[(slice(None),) * d + (slice(start, end, step),)].clone(memory_format=rtorch.contiguous_format)


@op(method=False)
def alias_copy(input):
    """A copy."""
    return input.clone()


def _scattered(input, src, view):
    out = input.clone(memory_format=rtorch.preserve_format)
    target = view(out)
    if tuple(target.shape) != tuple(src.shape):
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, "
            f"slice size = {list(target.shape)}"
        )
    target.copy_(src)
    return out


@op()
def diagonal_scatter(input, src, offset=0, dim1=0, dim2=1):
    """A copy with `src` on a diagonal."""
    return _scattered(input, src, lambda t: t.diagonal(offset, dim1, dim2))


@op()
def select_scatter(input, src, dim, index):
    """A copy with `src` at one index of a dim."""
    return _scattered(input, src, lambda t: t.select(dim, index))


@op()
def slice_scatter(input, src, dim=0, start=None, end=None, step=1):
    """A copy with `src` in a slice of a dim."""
    d = _dim(dim, input.dim())
    index = (slice(None),) * d + (slice(start, end, step),)
    return _scattered(input, src, lambda t: t[index])


@op()
def as_strided_scatter(input, src, size, stride, storage_offset=None):
    """A copy with `src` in a window of the storage. As in PyTorch the gradient of `input` is the window's part of the
    result's gradient, although the window shows `src`: what uses the operator in place of a write relies on it."""
    return _StridedScatter.apply(input.contiguous(), src, size, stride, storage_offset)


class _StridedScatter(rtorch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(input, src, size, stride, offset):
        return _scattered(input, src, lambda t: t.as_strided(size, stride, offset))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.window, ctx.shape, ctx.part = inputs[2:], output.shape, inputs[1].shape

    @staticmethod
    def backward(ctx, grad):
        part = grad.contiguous().as_strided(*ctx.window)
        rest = _scattered(grad.new_zeros(ctx.shape), part, lambda t: t.as_strided(*ctx.window))
        return rest, part.clone(), None, None, None

    @staticmethod
    def jvp(ctx, d_input, d_src, *_):
        d_input = d_src.new_zeros(ctx.shape) if d_input is None else d_input.contiguous()
        d_src = d_input.new_zeros(ctx.part) if d_src is None else d_src
        return _scattered(d_input, d_src, lambda t: t.as_strided(*ctx.window))


def _unsafe(name):
    def f(input, *args, **kwargs):
        return getattr(input, name)(*args, **kwargs)

    f.__doc__ = f"`{name}`, whose pieces are not tracked as views."
    return f


for _name, _of in (("unsafe_split", "split"), ("unsafe_chunk", "chunk"), ("unsafe_split_with_sizes", "split")):

    op(_name)(_unsafe(_of))


@op(function=False)
def sum_to_size(input, *size):
    """Summed to a shape that broadcasts to this one."""
    if len(size) == 1 and not isinstance(size[0], int):
        size = tuple(size[0])
    shape = tuple(input.shape)
    lead = len(shape) - len(size)
    fits = lead >= 0 and all(s in (1, f) for s, f in zip(size, shape[lead:]))
    if not fits:
        raise RuntimeError(f"size {{{list(size)}}} is not expandable to size {{{list(shape)}}}.")
    dims = [d for d in range(len(shape)) if d < lead or (size[d - lead] == 1 and shape[d] != 1)]
    if not size:
        return input.sum()
    out = input.sum(dims, True) if dims else input
    return out.reshape(size) if lead else out


@op(method=False)
def empty_permuted(size, physical_layout, **kwargs):
    """Uninitialised memory whose dims lie in the given physical order."""
    size, order = list(size), list(physical_layout)
    if sorted(order) != list(range(len(size))):
        raise RuntimeError(
            "Number of dimensions in size does not match the length of the physical_layout, or dims repeat"
        )
    inverse = [0] * len(order)
    for i, d in enumerate(order):
        inverse[d] = i
    return _C.empty([size[d] for d in order], **kwargs).permute(inverse)
