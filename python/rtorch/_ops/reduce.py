"""Reductions, order statistics and integrals by composition."""

from __future__ import annotations

import operator

import rtorch
from rtorch import _C

from ._register import named, one_node, op
from .shape import _dim

median_type = named("median", "values indices")
nanmedian_type = named("nanmedian", "values indices")
mode_type = named("mode", "values indices")
kthvalue_type = named("kthvalue", "values indices")


@op(out=True)
def nansum(input, dim=None, keepdim=False, *, dtype=None):
    """Sum with NaN counted as 0."""
    x = rtorch.where(input.isnan(), 0.0, input) if input.is_floating_point() else input
    return x.sum(dim, keepdim, dtype=dtype) if dim is not None else x.sum(dtype=dtype)


@op(out=True)
def nanmean(input, dim=None, keepdim=False, *, dtype=None):
    """Mean of what is not NaN."""
    if not input.is_floating_point() and not input.is_complex():
        raise RuntimeError(
            "nanmean(): expected input to have floating point or complex dtype but got " + str(input.dtype)
        )
    count = input.isnan().logical_not()
    count = count.sum(dim, keepdim) if dim is not None else count.sum()
    return nansum(input, dim, keepdim, dtype=dtype) / count


def _row_last(input, dim):
    """The dim moved to the end, and how to see a result in its place."""
    d = _dim(dim, input.dim())
    return input.movedim(d, -1) if input.dim() > 1 else input, d


@op(out=True)
def kthvalue(input, k, dim=-1, keepdim=False):
    """The k-th smallest element along a dim and its position."""
    d = _dim(dim, input.dim())
    n = input.size(d) if input.dim() else 1
    if input.dim() and n == 0:
        raise IndexError("kthvalue(): Expected reduction dim " + str(d) + " to have non-zero size.")
    if not 1 <= k <= n:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {dim}")
    if input.dim() == 0:
        return kthvalue_type(input.clone(), rtorch.zeros((), dtype=rtorch.int64, device=input.device))
    index = _kth(input.detach(), k, d)
    values = input.gather(d, index)
    return kthvalue_type(*((values, index) if keepdim else (values.squeeze(d), index.squeeze(d))))


# Dtypes whose k-th element is selected rather than sorted out.
_SELECTED = (rtorch.float32, rtorch.float64, rtorch.int32, rtorch.int64)


def _kth(plain, k, d):
    """Positions of the k-th smallest elements along dim `d`, which stays: the first of equal ones; NaN is largest."""
    if plain.dtype in _SELECTED and plain.device.type == "cpu":
        return _C._nn.kth_position(plain, k, d)
    return plain.argsort(dim=d, stable=True).narrow(d, k - 1, 1)


def _kth_of_rest(plain, n, d):
    """Positions of the lower medians of what is not NaN along dim `d`; the first NaN where there is nothing else."""
    left = n - plain.isnan().sum(d, keepdim=True)
    rank = (left - 1).clamp_min(0) // 2
    if plain.device.type == "cpu" and not _C._vmap_levels(plain) and rank.numel():
        first, last = int(rank.min()), int(rank.max())
        if first == last:
            return _kth(plain, first + 1, d)
    return plain.argsort(dim=d, stable=True).gather(d, rank.to(rtorch.int64))


def _median(kind, input, dim, keepdim, ignore_nan):
    if dim is None:
        flat = input.reshape(-1)
        if flat.numel() == 0:
            return input.new_full((), float("nan")) if input.is_floating_point() else input.new_full((), -(2**63))
        return _median(kind, flat, 0, False, ignore_nan)[0]
    d = _dim(dim, input.dim())
    if input.dim() == 0:
        return kind(input.clone(), rtorch.zeros((), dtype=rtorch.int64, device=input.device))
    n = input.size(d)
    if n == 0:
        raise IndexError(f"median(): Expected reduction dim {d} to have non-zero size.")
    plain = input.detach()
    if ignore_nan and input.is_floating_point():
        index = _kth_of_rest(plain, n, d)
    else:
        index = _kth(plain, (n - 1) // 2 + 1, d)
        if input.is_floating_point():
            missing = plain.isnan()
            index = rtorch.where(missing.any(d, keepdim=True), missing.byte().argmax(d, keepdim=True), index)
    values = input.gather(d, index)
    return kind(*((values, index) if keepdim else (values.squeeze(d), index.squeeze(d))))


@op(out=True)
def median(input, dim=None, keepdim=False):
    """The lower median (and its position along a dim); NaN wins."""
    return _median(median_type, input, dim, keepdim, False)


@op(out=True)
def nanmedian(input, dim=None, keepdim=False):
    """The lower median of what is not NaN."""
    return _median(nanmedian_type, input, dim, keepdim, True)


@op(out=True)
def mode(input, dim=-1, keepdim=False):
    """The most frequent value along a dim (the smallest of several) and a position of it."""
    d = _dim(dim, input.dim())
    if input.dim() == 0:
        return mode_type(input.clone(), rtorch.zeros((), dtype=rtorch.int64, device=input.device))
    n = input.size(d)
    if n == 0:
        raise IndexError(f"mode(): Expected reduction dim {d} to have non-zero size.")
    rows = input.detach().movedim(d, -1)
    values, order = rows.sort(dim=-1, stable=True)
    starts = rtorch.ones_like(values, dtype=rtorch.bool)
    starts[..., 1:] = values[..., 1:] != values[..., :-1]
    at = rtorch.arange(n, device=input.device)
    first = rtorch.where(starts, at, 0).cummax(-1).values
    run = at - first
    best = run.argmax(-1, keepdim=True)
    index = order.gather(-1, best).movedim(-1, d)
    found = input.gather(d, index)
    return mode_type(*((found, index) if keepdim else (found.squeeze(d), index.squeeze(d))))


def _quantile(name, input, q, dim, keepdim, interpolation, ignore_nan):
    if interpolation not in ("linear", "lower", "higher", "midpoint", "nearest"):
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    if input.numel() == 0:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    if not input.is_floating_point() or input.dtype in (rtorch.float16, rtorch.bfloat16):
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype")
    if dim is not None:
        dim = operator.index(dim)
    if not isinstance(q, rtorch.Tensor):
        if not 0 <= q <= 1:
            raise RuntimeError(f"{name}() q must be in the range [0, 1] but got {q}")
        q = rtorch.tensor(q, dtype=input.dtype, device=input.device)
    if q.dim() > 1:
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor")
    if q.dtype != input.dtype:
        raise RuntimeError(f"{name}() q tensor must be same dtype as the input tensor")
    if bool(((q < 0) | (q > 1)).any()):
        raise RuntimeError(f"{name}() q values must be in the range [0, 1]")
    if dim is None:
        rows, d, shape = input.reshape(-1), None, ([1] * input.dim() if keepdim else [])
    else:
        d = _dim(dim, input.dim())
        rows = input.movedim(d, -1) if input.dim() else input.reshape(1)
        shape = list(input.shape)
        if input.dim():
            shape[d : d + 1] = [1] if keepdim else []
    values = rows.sort(-1).values
    n = values.size(-1)
    missing = rows.isnan()
    if ignore_nan:
        count = missing.logical_not().sum(-1, keepdim=True)
        last = (count - 1).clamp_min(0).to(input.dtype)
    else:
        last = input.new_full(values.shape[:-1] + (1,), float(n - 1))
    qs = q.reshape(-1)
    rank = last * qs
    if interpolation == "lower":
        rank = rank.floor()
    elif interpolation == "higher":
        rank = rank.ceil()
    elif interpolation == "nearest":
        rank = rank.round()
    if not ignore_nan:
        rank = rtorch.where(missing.any(-1, keepdim=True), float(n - 1), rank)
    below = rank.floor().to(rtorch.int64)
    out = values.gather(-1, below)
    if interpolation in ("linear", "midpoint"):
        weight = rank - below if interpolation == "linear" else rtorch.full_like(rank, 0.5)
        above = values.gather(-1, rank.ceil().to(rtorch.int64))
        out = out.lerp(above, weight)
    out = out.movedim(-1, 0)
    return out.reshape([q.numel(), *shape]) if q.dim() else out.reshape(shape)


@op(out=True)
def quantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """Quantiles along a dim."""
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


@op(out=True)
def nanquantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """Quantiles of what is not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)


@op(out=True)
def diff(input, n=1, dim=-1, prepend=None, append=None):
    """n-th differences along a dim."""
    if input.dim() == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    d = _dim(dim, input.dim())
    parts = [t for t in (prepend, input, append) if t is not None]
    out = rtorch.cat(parts, d) if len(parts) > 1 else input
    if n == 0:
        return one_node("torch::autograd::CopyBackwards", parts, out.clone())
    for _ in range(min(n, out.size(d))):
        m = out.size(d)
        if m == 0:
            break
        a, b = out.narrow(d, 1, m - 1), out.narrow(d, 0, m - 1)
        out = a.logical_xor(b) if out.dtype == rtorch.bool else a - b
    return out


@op(name="cumulative_trapezoid", method=False)
def cumulative_trapezoid(y, x=None, *, dx=None, dim=-1):
    """Running integral by the trapezoid rule."""
    return one_node(_steps("CumsumBackward0", x), (y, x), _trapezoids(y, x, dx, dim).cumsum(dim) / 2)


@op(name="trapezoid", method=False, aliases=("trapz",))
def trapezoid(y, x=None, *, dx=None, dim=-1):
    """Integral by the trapezoid rule."""
    return one_node(_steps("MulBackward1", x), (y, x), _trapezoids(y, x, dx, dim).sum(dim) / 2)


def _steps(node, x):
    """The node of steps that are given (`x`), else that of equal ones."""
    return node if x is None or not isinstance(x, rtorch.Tensor) else "DivBackward1"


def _trapezoids(y, x, dx, dim):
    """Twice the areas between neighbours."""
    d = _dim(dim, y.dim())
    if y.dim() == 0 or y.size(d) == 0:
        shape = list(y.shape)
        return y.new_zeros(shape)
    n = y.size(d)
    both = y.narrow(d, 1, n - 1) + y.narrow(d, 0, n - 1)
    if x is None:
        return both * (1 if dx is None else dx)
    if not isinstance(x, rtorch.Tensor):
        return both * x
    if x.dim() == 1:
        if x.size(0) != n:
            raise RuntimeError("trapezoid: There must be one `x` value for each sample point")
        shape = [1] * y.dim()
        shape[d] = n
        x = x.reshape(shape)
    dd = d - y.dim()
    step = x.narrow(dd, 1, x.size(dd) - 1) - x.narrow(dd, 0, x.size(dd) - 1)
    return both * step


@op()
def cov(input, *, correction=1, fweights=None, aweights=None):
    """Covariance of the rows' variables."""
    if input.dim() > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {input.dim()} dimensions"
        )
    if input.dtype == rtorch.bool:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input.reshape(1, -1) if input.dim() < 2 else input
    if not (x.is_floating_point() or x.is_complex()):
        x = x.to(rtorch.get_default_dtype())
    n = x.size(1)
    for name, weights in (("fweights", fweights), ("aweights", aweights)):
        if weights is not None:
            _check_weights(name, weights, n)
    w = None
    if fweights is not None:
        w = fweights
    if aweights is not None:
        w = aweights if w is None else w * aweights
    total = w.sum() if w is not None else n
    if w is not None and not bool(total != 0):
        raise RuntimeError("cov(): weights sum to zero, can't be normalized")
    mean = (x * w).sum(1, keepdim=True) / total if w is not None else x.mean(1, keepdim=True)
    if w is not None and aweights is not None and correction:
        norm = total - correction * (w * aweights).sum() / total
    else:
        norm = total - correction
    if not isinstance(norm, rtorch.Tensor):
        norm = max(norm, 0)
    if x.size(0) == 1 and not x.is_complex():
        # one variable's is a sum, which centres as it reads: what has a name here would be written to memory
        return ((x - mean).square().sum() if w is None else ((x - mean).square() * w).sum()) / norm
    centred = x - mean
    c = (centred if w is None else centred * w) @ centred.mH / norm
    return c.squeeze()


def _check_weights(name, weights, n):
    if weights.dim() > 1:
        raise RuntimeError(
            f"cov(): expected {name} to have one or fewer dimensions but got {name} with {weights.dim()} dimensions"
        )
    if name == "aweights" and not weights.is_floating_point():
        raise RuntimeError(f"cov(): expected aweights to have floating point dtype but got {weights.dtype}")
    if name == "fweights" and (weights.is_floating_point() or weights.is_complex() or weights.dtype == rtorch.bool):
        raise RuntimeError(f"cov(): expected fweights to have integral dtype but got {weights.dtype}")
    if weights.numel() != n:
        raise RuntimeError(
            f"cov(): expected {name} to have the same numel as there are observations in the input but got "
            f"{weights.numel()} != {n}"
        )
    if n and bool((weights < 0).any()):
        raise RuntimeError(f"cov(): {name} cannot be negative")


@op()
def corrcoef(input):
    """Pearson's correlation of the rows' variables."""
    if input.dim() > 2:
        raise RuntimeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got an input with {input.dim()} dimensions"
        )
    c = cov(input)
    if c.dim() == 0:
        return c / c
    s = (c.real if c.is_complex() else c).diagonal().sqrt()
    c = c / s.unsqueeze(1) / s.unsqueeze(0)
    return rtorch.complex(c.real.clamp(-1, 1), c.imag.clamp(-1, 1)) if c.is_complex() else c.clamp(-1, 1)


@op(out=True, inplace=True)
def renorm(input, p, dim, maxnorm):
    """Each slice along a dim scaled down to a norm of at most `maxnorm`."""
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if input.dim() < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input.dim()} dimensions")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    d = _dim(dim, input.dim())
    dims = [i for i in range(input.dim()) if i != d]
    norm = rtorch.linalg.vector_norm(input, p, dims, True)
    return input * rtorch.where(norm > maxnorm, maxnorm / (norm + 1e-7), rtorch.ones_like(norm))


@op(out=True)
def dist(input, other, p=2):
    """p-norm of the difference."""
    return rtorch.linalg.vector_norm((input - other).reshape(-1), p)


@op(method=False)
def gradient(input, *, spacing=1, dim=None, edge_order=1):
    """Second-order central differences, as NumPy's gradient."""
    dims = list(range(input.dim())) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    dims = [_dim(d, input.dim()) for d in dims]
    if spacing is None or isinstance(spacing, (int, float)):
        spacing = 1 if spacing is None else spacing
        steps = [spacing] * len(dims)
    elif isinstance(spacing, rtorch.Tensor):
        steps = [spacing] * len(dims)
    else:
        steps = list(spacing)
    if len(steps) != len(dims):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar or a list of length equal "
            f"to 'len(dims)' = {len(dims)}, "
            f"but got a list of length {len(steps)}"
        )
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    return tuple(_gradient1(input, d, h, edge_order) for d, h in zip(dims, steps))


def _gradient1(f, d, h, edge_order):
    n = f.size(d)
    if n < edge_order + 1:
        raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")
    take = lambda a, k: f.narrow(d, a, k)
    if isinstance(h, rtorch.Tensor) and h.dim() == 1:
        shape = [1] * f.dim()
        shape[d] = n - 1
        w = (h[1:] - h[:-1]).reshape(shape)
        a, b = w.narrow(d, 0, n - 2), w.narrow(d, 1, n - 2)
        inner = (take(2, n - 2) * a / b + take(1, n - 2) * (b / a - a / b) - take(0, n - 2) * b / a) / (a + b)
        first, second, last, before = (
            w.narrow(d, 0, 1),
            w.narrow(d, min(1, n - 2), 1),
            w.narrow(d, n - 2, 1),
            w.narrow(d, max(n - 3, 0), 1),
        )
    else:
        inner = (take(2, n - 2) - take(0, n - 2)) / (2 * h)
        first = second = last = before = h
    if edge_order == 1:
        left, right = (take(1, 1) - take(0, 1)) / first, (take(n - 1, 1) - take(n - 2, 1)) / last
    else:
        left = _edge(take(0, 1), take(1, 1), take(2, 1), first, second)
        right = -_edge(take(n - 1, 1), take(n - 2, 1), take(n - 3, 1), last, before)
    return rtorch.cat([left, inner, right], d)


def _edge(f0, f1, f2, a, b):
    """One-sided second-order difference at f0 with steps a and b."""
    return -(2 * a + b) / (a * (a + b)) * f0 + (a + b) / (a * b) * f1 - a / (b * (a + b)) * f2
