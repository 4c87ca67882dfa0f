"""Sorting, searching, sets and histograms by composition."""

from __future__ import annotations

import builtins

import rtorch

from ._register import named, op
from .shape import _dim

histogram_type = named("histogram", "hist bin_edges")
histogramdd_type = named("histogramdd", "hist bin_edges")


@op(method=False, out=True)
def searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None):
    """Where values would be inserted to keep each last dimension sorted (binary search)."""
    if side is not None:
        if side not in ("left", "right"):
            raise RuntimeError(f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}")
        if side == "left" and right:
            raise RuntimeError(
                "torch.searchsorted(): side and right can't be set to opposites, got side of left while right was True"
            )
        right = side == "right"
    seq = sorted_sequence
    if seq.dim() == 0:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should have positive dimension, but got 0 dimension"
        )
    scalar = not isinstance(input, rtorch.Tensor)
    x = rtorch.as_tensor(input, device=seq.device) if scalar else input
    if sorter is not None:
        if sorter.shape != seq.shape:
            raise RuntimeError("torch.searchsorted(): boundary and sorter must have the same size")
        seq = seq.gather(-1, sorter)
    if seq.dim() > 1:
        if x.dim() != seq.dim() or tuple(x.shape[:-1]) != tuple(seq.shape[:-1]):
            raise RuntimeError(
                "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1 "
                "dimensions of boundaries tensor "
                ""
                f"and input value tensor must match, but we got boundaries tensor {list(seq.shape)} "
                f"and input value tensor {list(x.shape)}"
            )
    seq, x = seq.detach(), x.detach()
    found = rtorch._C._search_sorted(seq, x, right) if type(seq) is type(x) is rtorch.Tensor else None
    if found is not None:
        return found.to(rtorch.int32) if out_int32 else found
    n = seq.size(-1)
    lo = rtorch.zeros(x.shape, dtype=rtorch.int64, device=x.device)
    hi = rtorch.full_like(lo, n)
    flat = seq.dim() == 1
    for _ in range(n.bit_length()):
        mid = (lo + hi) // 2
        at = mid.clamp(0, max(n - 1, 0))
        v = (seq[at] if flat else seq.gather(-1, at)) if n else x
        below = (v <= x) if right else (v < x)
        if x.is_floating_point() and not right:
            below = below | (x.isnan() & ~v.isnan())
        elif x.is_floating_point():
            below = below | x.isnan()
        below = below & (lo < hi)
        lo = rtorch.where(below, mid + 1, lo)
        hi = rtorch.where(below, hi, mid)
    return lo.to(rtorch.int32) if out_int32 else lo


@op(method=False, out=True)
def bucketize(input, boundaries, *, out_int32=False, right=False):
    """Which bucket of sorted boundaries each value falls into."""
    if boundaries.dim() != 1:
        raise RuntimeError(f"bucketize(): boundaries tensor must be 1 dimension, but got dim({boundaries.dim()})")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


@op(out=True)
def msort(input):
    """Sorted along the first dimension."""
    return rtorch.sort(input, 0)[0]


def _runs(values):
    """For sorted rows: where a new row begins."""
    new = rtorch.ones(values.size(0), dtype=rtorch.bool, device=values.device)
    if values.size(0) > 1:
        change = values[1:] != values[:-1]
        new[1:] = change if change.dim() == 1 else change.flatten(1).any(1)
    return new


def _unique_result(values, inverse, counts, want_inverse, want_counts):
    r = [values]
    if want_inverse:
        r.append(inverse)
    if want_counts:
        r.append(counts)
    return r[0] if len(r) == 1 else tuple(r)


def _count_runs(new):
    starts = new.nonzero().flatten()
    ends = rtorch.cat([starts[1:], starts.new_full((1,), new.numel())]) if starts.numel() else starts
    return ends - starts


@op()
def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """Distinct elements (or slices along `dim`), sorted."""
    x = input.detach()
    if dim is None:
        flat = x.reshape(-1)
        values, order = flat.sort(stable=True, dim=-1)
        new = _runs(values)
        inverse = rtorch.empty_like(order)
        inverse[order] = new.to(rtorch.int64).cumsum(0) - 1
        return _unique_result(values[new], inverse.reshape(x.shape), _count_runs(new), return_inverse, return_counts)
    d = _dim(dim, x.dim())
    rows = x.movedim(d, 0)
    n = rows.size(0)
    flat = rows.reshape(n, -1)
    order = rtorch.arange(n, device=x.device)
    for c in range(flat.size(1) - 1, -1, -1):
        order = order[flat[order, c].argsort(dim=-1, stable=True)]
    sorted_rows = flat[order]
    new = _runs(sorted_rows)
    inverse = rtorch.empty_like(order)
    inverse[order] = new.to(rtorch.int64).cumsum(0) - 1
    values = rows[order[new]].movedim(0, d)
    return _unique_result(values, inverse, _count_runs(new), return_inverse, return_counts)


@op()
def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    """Elements (or slices) that differ from the one before."""
    x = input.detach()
    rows = x.reshape(-1) if dim is None else x.movedim(_dim(dim, x.dim()), 0)
    new = _runs(rows)
    values = rows[new]
    inverse = new.to(rtorch.int64).cumsum(0) - 1
    if dim is None:
        inverse = inverse.reshape(x.shape)
    else:
        values = values.movedim(0, dim)
    return _unique_result(values, inverse, _count_runs(new), return_inverse, return_counts)


@op(method=False)
def isin(elements, test_elements, *, assume_unique=False, invert=False):
    """Which elements are among the test elements."""
    tensors = [t for t in (elements, test_elements) if isinstance(t, rtorch.Tensor)]
    if not tensors:
        raise RuntimeError("isin(): at least one of elements and test_elements must be a tensor")
    a = rtorch.as_tensor(elements, device=tensors[0].device)
    b = rtorch.as_tensor(test_elements, device=tensors[0].device)
    dtype = rtorch.result_type(a, b)
    values = b.to(dtype).reshape(-1).sort().values
    x = a.to(dtype)
    if values.numel() == 0:
        hit = rtorch.zeros(x.shape, dtype=rtorch.bool, device=x.device)
    else:
        at = searchsorted(values, x).clamp_max(values.numel() - 1)
        hit = values[at] == x
    return ~hit if invert else hit


@op(method=True)
def bincount(input, weights=None, minlength=0):
    """How often each non-negative integer occurs (or the sum of its weights)."""
    if input.dim() != 1 or (input.is_floating_point() or input.dtype == rtorch.bool):
        if input.dim() != 1:
            raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
        raise NotImplementedError(f'"bincount_cpu" not implemented for {str(input.dtype)!r}')
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if input.numel() == 0:
        return rtorch.zeros(minlength, dtype=rtorch.int64 if weights is None else weights.dtype, device=input.device)
    if int(input.min()) < 0:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is not None and weights.shape != input.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    largest = int(input.max())
    if largest >= 2**63 - 1:
        raise RuntimeError(f"maximum value of input overflowed, it should be < {2**63 - 1} but got {largest}")
    n = max(largest + 1, minlength)
    index = input.to(rtorch.int64)
    if weights is None:
        return rtorch.zeros(n, dtype=rtorch.int64, device=input.device).index_add_(0, index, rtorch.ones_like(index))
    w = weights if weights.dtype == rtorch.float32 else weights.to(rtorch.float64)
    return rtorch.zeros(n, dtype=w.dtype, device=input.device).index_add_(0, index, w)


def _histogram_edges(x, bins, low, high):
    if low == high:
        if x.numel() and low == 0:
            low, high = float(x.min()), float(x.max())
        if low == high:
            low, high = low - 1, high + 1
    return low, high


@op(out=True)
def histc(input, bins=100, min=0, max=0):
    """Counts in equal bins between two bounds (the data's where they are equal)."""
    if bins <= 0:
        raise RuntimeError("bins must be > 0")
    if max < min:
        raise RuntimeError("torch.histc: max must be larger than min")
    if not input.is_floating_point():
        raise NotImplementedError(f'"histogram_cpu" not implemented for {str(input.dtype)!r}')
    x = input.detach().reshape(-1)
    low, high = float(min), float(max)
    if low == high and x.numel():
        low, high = float(x.min()), float(x.max())
    if low == high:
        low, high = low - 1, high + 1
    if low != low or high != high or abs(low) == float("inf") or abs(high) == float("inf"):
        raise RuntimeError(f"range of [{low}, {high}] is not finite")
    inside = (x >= low) & (x <= high)
    at = ((x[inside] - low) / (high - low) * bins).floor().to(rtorch.int64).clamp(0, bins - 1)
    return rtorch.zeros(bins, dtype=input.dtype, device=input.device).index_add_(
        0, at, rtorch.ones(at.shape, dtype=input.dtype)
    )


@op()
def histogram(input, bins, *, range=None, weight=None, density=False):
    """Counts and edges of a histogram."""
    x = input.detach().reshape(-1)
    if isinstance(bins, rtorch.Tensor):
        edges = bins
    else:
        if range is not None:
            low, high = range
        else:
            low, high = (float(x.min()), float(x.max())) if x.numel() else (0.0, 0.0)
        if low == high:
            low, high = low - 0.5, high + 0.5
        edges = rtorch.linspace(low, high, bins + 1, dtype=x.dtype)
    at = rtorch.searchsorted(edges, x, right=True) - 1
    n = edges.numel() - 1
    at = rtorch.where(x == edges[-1], n - 1, at)
    inside = (at >= 0) & (at < n)
    w = weight.detach().reshape(-1) if weight is not None else rtorch.ones_like(x)
    hist = rtorch.zeros(n, dtype=x.dtype).index_add_(0, at[inside], w[inside])
    if density:
        hist = hist / hist.sum() / (edges[1:] - edges[:-1])
    return histogram_type(hist, edges)


def _edges(x, bins, low, high):
    """Edges of equal bins over [low, high], or over the data's range."""
    if low is None:
        low, high = (float(x.min()), float(x.max())) if x.numel() else (0.0, 1.0)
    elif low > high:
        raise RuntimeError("torch.histogramdd(): max must be larger than min")
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        raise RuntimeError(f"torch.histogramdd(): range of [{low}, {high}] is not finite")
    if low == high:
        low, high = low - 0.5, high + 0.5
    return rtorch.linspace(low, high, bins + 1, dtype=x.dtype)


def _bins_of(values, edges):
    """The bin of each value (the last edge belongs to the last bin), and which lie in one."""
    n = edges.numel() - 1
    at = rtorch.searchsorted(edges, values.contiguous(), right=True) - 1
    at = rtorch.where(values == edges[-1], n - 1, at)
    return at, (at >= 0) & (at < n)


@op(method=False)
def histogramdd(input, bins, *, range=None, weight=None, density=False):
    """Counts of points over a grid of bins, and its edges; the last dimension holds a point's coordinates."""
    if not input.is_floating_point():
        raise NotImplementedError(f'"histogramdd" not implemented for {str(input.dtype)!r}')
    if input.dim() < 2:
        raise RuntimeError("torch.histogramdd: input tensor should have at least 2 dimensions")
    points = input.detach().reshape(-1, input.size(-1))
    columns = points.size(1)
    bins = [bins] * columns if isinstance(bins, int) else list(bins)
    if len(bins) != columns:
        raise RuntimeError(
            "torch.histogramdd: The size of bins must be equal to the innermost dimension of the input."
        )
    if range is not None and len(range) != 2 * columns:
        raise RuntimeError(f"torch.histogramdd: for a {columns}-dimensional histogram range should have {2 * columns}")
    edges, place = [], rtorch.zeros(points.size(0), dtype=rtorch.int64)
    inside = rtorch.ones(points.size(0), dtype=rtorch.bool)
    for c, b in enumerate(bins):
        if isinstance(b, int) and b <= 0:
            raise RuntimeError(f"torch.histogramdd(): bins must be > 0, but got {b} for dimension {c}")
        low, high = (None, None) if range is None else range[2 * c : 2 * c + 2]
        edges.append(b if isinstance(b, rtorch.Tensor) else _edges(points[:, c], b, low, high))
        at, hit = _bins_of(points[:, c], edges[-1])
        place, inside = place * (edges[-1].numel() - 1) + at, inside & hit
    shape = [e.numel() - 1 for e in edges]
    weight = rtorch.ones(points.size(0), dtype=input.dtype) if weight is None else weight.detach().reshape(-1)
    total = rtorch.zeros(shape, dtype=input.dtype)
    hist = total.reshape(-1).index_add(0, place[inside], weight[inside]).reshape(shape)
    if density:
        hist = hist / hist.sum()
        for c, e in enumerate(edges):
            hist = hist / (e[1:] - e[:-1]).reshape([-1 if i == c else 1 for i in builtins.range(columns)])
    return histogramdd_type(hist, tuple(edges))
