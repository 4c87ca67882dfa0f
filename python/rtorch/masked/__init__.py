"""Reductions and normalizations that leave masked-out elements out of account.

`mask` (bool, broadcast to the input) is True where an element counts. What is masked out is replaced by the
reduction's identity, so a result over nothing is that identity (NaN for means and softmaxes).
"""

from __future__ import annotations

import builtins
import math

import rtorch

__all__ = """amax amin argmax argmin cumprod cumsum log_softmax logaddexp logsumexp mean median norm normalize prod
softmax softmin std sum var""".split()


def _cast(input, dtype):
    return input if dtype is None else input.to(dtype)


def _fill(input, mask, value):
    """The input with `value` where the mask is False."""
    if mask is None:
        return input
    return rtorch.where(_wide(input, mask), input, rtorch.full((), value, dtype=input.dtype, device=input.device))


def _wide(input, mask):
    if mask.dtype != rtorch.bool:
        raise TypeError(f"mask should be a bool tensor, got {mask.dtype}")
    return mask.expand(input.shape) if mask.dim() <= input.dim() else mask


def _dims(input, dim):
    """Dims of a reduction as a tuple; None and () mean all of them."""
    n = builtins.max(input.dim(), 1)
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(input.dim()))
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    for d in dims:
        if not -n <= d < n:
            raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {d})")
    dims = tuple(d % n for d in dims)
    if len(set(dims)) != len(dims):
        raise RuntimeError("dim appears multiple times in the list of dims")
    return dims if input.dim() else ()


def _extreme(dtype, largest):
    """The identity of a maximum (or a minimum)."""
    if dtype.is_floating_point:
        return -math.inf if largest else math.inf
    if dtype == rtorch.bool:
        return not largest
    info = rtorch.iinfo(dtype)
    return info.min if largest else info.max


def sum(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Sum of the elements that count."""
    if not (input.is_floating_point() or input.is_complex()) and dtype is None:
        dtype = rtorch.int64
    x = _fill(_cast(input, dtype), mask, 0)
    dims = _dims(input, dim)
    return x.sum(dims, keepdim)


def prod(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Product of the elements that count."""
    if not (input.is_floating_point() or input.is_complex()) and dtype is None:
        dtype = rtorch.int64
    x = _fill(_cast(input, dtype), mask, 1)
    for d in sorted(_dims(input, dim) or (() if dim is None else (0,)), reverse=True):
        x = x.prod(d, keepdim)
    return x


def amax(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Largest of the elements that count."""
    x = _cast(input, dtype)
    x = _fill(x, mask, _extreme(x.dtype, True))
    dims = _dims(input, dim)
    return x.amax(dims, keepdim)


def amin(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Smallest of the elements that count."""
    x = _cast(input, dtype)
    x = _fill(x, mask, _extreme(x.dtype, False))
    dims = _dims(input, dim)
    return x.amin(dims, keepdim)


def argmax(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Position of the largest of the elements that count, in the input's dtype."""
    x = _cast(input, dtype)
    return rtorch.argmax(_fill(x, mask, _extreme(x.dtype, True)), dim, keepdim).to(x.dtype)


def argmin(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Position of the smallest of the elements that count, in the input's dtype."""
    x = _cast(input, dtype)
    return rtorch.argmin(_fill(x, mask, _extreme(x.dtype, False)), dim, keepdim).to(x.dtype)


def _count(input, dims, mask, dtype, keepdim):
    ones = rtorch.ones(input.shape, dtype=dtype, device=input.device)
    return sum(ones, dims, keepdim=keepdim, mask=mask)


def mean(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Mean of the elements that count."""
    x = _cast(input, dtype)
    if not (x.is_floating_point() or x.is_complex()):
        raise ValueError(f"mean: expected a floating point or complex input, got {x.dtype}")
    dims = _dims(input, dim)
    real = x.real.dtype if x.is_complex() else x.dtype
    return sum(x, dims, keepdim=keepdim, mask=mask) / _count(x, dims, mask, real, keepdim)


def var(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """Variance of the elements that count, divided by their number less `correction` (1)."""
    if unbiased is not None and correction is not None:
        raise ValueError("Only one of unbiased and correction may be given")
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    x = _cast(input, dtype)
    if not (x.is_floating_point() or x.is_complex()):
        x = x.to(rtorch.float32)
    dims = _dims(input, dim)
    centred = x - mean(x, dims, keepdim=True, mask=mask)
    squares = (centred * centred.conj()).real if x.is_complex() else centred * centred
    count = _count(x, dims, mask, squares.dtype, keepdim) - correction
    return sum(squares, dims, keepdim=keepdim, mask=mask) / count.clamp_min(0)


def std(input, dim=None, unbiased=None, *, correction=None, keepdim=False, dtype=None, mask=None):
    """Square root of `var`."""
    y = var(input, dim, unbiased, correction=correction, keepdim=keepdim, dtype=dtype, mask=mask)
    return y.sqrt()


def norm(input, ord=2.0, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Vector norm of order `ord` of the elements that count."""
    x = _fill(_cast(input, dtype), mask, math.inf if ord == -math.inf else 0)
    dims = _dims(input, dim)
    return rtorch.linalg.vector_norm(x, ord, dims or None, keepdim)


def normalize(input, ord, dim, *, eps=1e-12, dtype=None, mask=None):
    """The elements divided by their norm along `dim` (at least `eps`); 0 where masked out."""
    x = _cast(input, dtype)
    size = norm(x, ord, dim, keepdim=True, mask=mask).clamp_min(eps)
    return _fill(x, mask, 0) / size


def median(input, dim=-1, *, keepdim=False, dtype=None, mask=None):
    """Lower median along a dim of the elements that count."""
    x = _cast(input, dtype)
    if bool(x.isnan().any()):
        raise ValueError("Input tensor contains NaN values, which are not supported by masked median")
    if not x.is_floating_point() and mask is not None:
        if not bool(_wide(x, mask).any(dim).all()):
            raise ValueError("masked median expects no fully masked out rows if dtype is not floating point")
        return median(x.double(), dim, keepdim=keepdim, mask=mask).to(x.dtype)
    return rtorch.nanmedian(_fill(x, mask, math.nan), dim, keepdim).values


def cumsum(input, dim, *, dtype=None, mask=None):
    """Running sum; what is masked out adds nothing."""
    x = _fill(_cast(input, dtype), mask, 0)
    return rtorch.cumsum(x, dim, dtype=x.dtype)


def cumprod(input, dim, *, dtype=None, mask=None):
    """Running product; what is masked out multiplies by 1."""
    x = _fill(_cast(input, dtype), mask, 1)
    return rtorch.cumprod(x, dim, dtype=x.dtype)


def softmax(input, dim, *, dtype=None, mask=None):
    """Softmax over the elements that count."""
    return rtorch.softmax(_fill(_cast(input, dtype), mask, -math.inf), dim)


def softmin(input, dim, *, dtype=None, mask=None):
    """Softmax of the negated elements that count."""
    return rtorch.softmax(-_fill(_cast(input, dtype), mask, math.inf), dim)


def log_softmax(input, dim, *, dtype=None, mask=None):
    """Logarithm of `softmax`."""
    return rtorch.log_softmax(_fill(_cast(input, dtype), mask, -math.inf), dim)


def logsumexp(input, dim=None, *, keepdim=False, dtype=None, mask=None):
    """Logarithm of the sum of exponentials of the elements that count."""
    x = _fill(_cast(input, dtype), mask, -math.inf)
    dims = _dims(input, dim)
    return rtorch.logsumexp(x, dims or 0, keepdim)


def logaddexp(input, other, *, dtype=None, input_mask=None, other_mask=None):
    """log(exp(input) + exp(other)), where what is masked out adds nothing."""
    a, b = _fill(_cast(input, dtype), input_mask, -math.inf), _fill(_cast(other, dtype), other_mask, -math.inf)
    return rtorch.logaddexp(a, b)
