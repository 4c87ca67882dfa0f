"""Tensors from nothing or from sizes, by composition: ranges, index arithmetic, uninitialised memory by strides."""

from __future__ import annotations

import builtins
import warnings

import rtorch

from ._register import op


def strided(name, layout):
    """Refuses another layout than the strided one, which is all that factories make."""
    if layout not in (None, rtorch.strided):
        raise NotImplementedError(f"{name}(): layout={layout}: only strided tensors are made; see sparse_coo_tensor()")


@op(method=False, out=True)
def range(start, end=None, step=1, *, dtype=None, layout=None, device=None, requires_grad=False):
    """Numbers from start to end, the end included where a step meets it; use `arange` in new programs."""
    warnings.warn(
        "torch.range is deprecated and will be removed in a future release because its behavior is inconsistent with "
        "Python's range builtin. Instead, use torch.arange, which produces values in [start, end).",
        stacklevel=3,
    )
    if end is None:
        start, end = 0, start
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if start != start or end != end or abs(start) == float("inf") or abs(end) == float("inf"):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    count = int((end - start) / step + 1)
    dtype = dtype or rtorch.get_default_dtype()
    rtorch.arange(0, dtype=dtype)  # refuses what has no ranges
    strided("range", layout)
    at = rtorch.arange(count, dtype=rtorch.float64, device=device) * step + start
    return at.to(dtype).requires_grad_(requires_grad)


@op(method=False)
def scalar_tensor(s, *, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """A 0-d tensor of a number, in the default dtype unless told otherwise."""
    strided("scalar_tensor", layout)
    made = rtorch.full((), s, dtype=dtype or rtorch.get_default_dtype(), device=device)
    return made.requires_grad_(requires_grad)


@op(function=False)
def new_empty_strided(input, size, stride, dtype=None, layout=None, device=None, pin_memory=False, requires_grad=False):
    """Uninitialised memory of these strides, with this tensor's dtype and device."""
    strided("new_empty_strided", layout)
    made = rtorch.empty_strided(size, stride, dtype=dtype or input.dtype, device=device or input.device)
    return made.requires_grad_(requires_grad)


@op(method=False)
def unravel_index(indices, shape):
    """Coordinates, one tensor per dimension of `shape`, of positions in the flattened tensor."""
    if indices.dtype == rtorch.bool or indices.is_floating_point() or indices.is_complex():
        raise ValueError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    if isinstance(shape, rtorch.Tensor):
        shape = shape.tolist()
    shape = [shape] if isinstance(shape, int) else list(shape)
    if not all(isinstance(n, int) for n in shape):
        raise TypeError("expected 'shape' to be an integer or a sequence of integers")
    if any(n < 0 for n in shape):
        raise ValueError(f"'shape' cannot have negative values, but got {tuple(shape)}")
    out = []
    for n in reversed(shape):
        out.append(indices % n if n else indices)
        indices = rtorch.div(indices, max(n, 1), rounding_mode="floor")
    return tuple(reversed(out))


@op(function=False)
def fill_diagonal_(input, fill_value, wrap=False):
    """Sets the main diagonal; of a tall matrix again after each square with `wrap`."""
    n = input.dim()
    if n < 2:
        raise RuntimeError("dimensions must larger than 1")
    if n > 2 and len(set(input.shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    rows, cols = input.size(0), input.size(1)
    size, step = min(input.shape), sum(input.stride())
    with rtorch.no_grad() if not input.requires_grad else rtorch.enable_grad():
        input.as_strided((size,), (step,), input.storage_offset()).fill_(fill_value)
        if wrap and n == 2 and rows > cols + 1:
            # one row stays free between the squares
            for top in builtins.range(cols + 1, rows, cols + 1):
                input[top:].diagonal().fill_(fill_value)
    return input


@op()
def nonzero_static(input, *, size, fill_value=-1):
    """`nonzero` with exactly `size` rows: cut off, or filled up with `fill_value`."""
    if size < 0:
        raise RuntimeError("nonzero_static: 'size' must be an non-negative integer")
    found = input.nonzero()[:size]
    if found.size(0) == size:
        return found
    rest = rtorch.full((size - found.size(0), found.size(1)), fill_value, dtype=rtorch.int64, device=input.device)
    return rtorch.cat([found, rest])
