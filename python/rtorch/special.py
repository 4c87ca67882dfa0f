"""Special functions under PyTorch's names."""

from __future__ import annotations

import math

import rtorch
from rtorch import (
    _C,
    digamma,
    erf,
    erfc,
    erfcx,
    erfinv,
    exp2,
    expm1,
    log1p,
    logit,
    logsumexp,
    round,
    sinc,
    xlogy,
)
from rtorch import digamma as psi
from rtorch import lgamma as gammaln
from rtorch import (
    sigmoid as expit,
)
from rtorch._ops.pointwise import mvlgamma as multigammaln

entr, ndtr, xlog1py = _C._special.entr, _C._special.ndtr, _C._special.xlog1py


def softmax(input, dim, *, dtype=None):
    """`rtorch.softmax`."""
    return rtorch.softmax(input, dim, dtype=dtype)


def log_softmax(input, dim, *, dtype=None):
    """`rtorch.log_softmax`."""
    return rtorch.log_softmax(input, dim, dtype=dtype)


def _floats(*xs):
    """Arguments as tensors of one floating dtype, Python numbers included."""
    dtype = rtorch.result_type(*xs) if len(xs) == 2 else xs[0].dtype
    if not dtype.is_floating_point:
        dtype = rtorch.get_default_dtype()
    return [x.to(dtype) if isinstance(x, rtorch.Tensor) else rtorch.tensor(x, dtype=dtype) for x in xs]


def log_ndtr(input):
    """Logarithm of the area under the standard normal's curve up to x, accurate far out in the lower tail."""
    (x,) = _floats(input)
    t = x * math.sqrt(0.5)
    low = x < -1
    safe = rtorch.where(low, t, rtorch.full_like(t, -1.0))
    tail = (erfcx(-safe) / 2).log() - safe * safe
    return rtorch.where(low, tail, rtorch.log1p(-erfc(rtorch.where(low, rtorch.zeros_like(t), t)) / 2))


def ndtri(input):
    """Inverse of `ndtr`."""
    (x,) = _floats(input)
    return erfinv(2 * x - 1) * math.sqrt(2)


def _recurrence(name, first, step):
    """A family of polynomials: p0 = 1, p1 = first(x), then step(x, k, p_k, p_{k-1}); n may differ by element."""

    def f(input, n, *, out=None):
        x, order = _floats(input, n)
        x, order = rtorch.broadcast_tensors(x, order)
        order = order.trunc()
        top = int(order.max()) if order.numel() else 0
        before, now = rtorch.ones_like(x), first(x)
        result = rtorch.where(order < 0, rtorch.zeros_like(x), before)
        result = rtorch.where(order >= 1, now, result)
        for k in range(1, top):
            before, now = now, step(x, k, now, before)
            result = rtorch.where(order > k, now, result)
        return result if out is None else _C._write_out(result, out)

    f.__name__ = name
    f.__doc__ = f"{name.replace('_', ' ').capitalize()} of degree n."
    return f


chebyshev_polynomial_t = _recurrence("chebyshev_polynomial_t", lambda x: x, lambda x, k, p, q: 2 * x * p - q)
chebyshev_polynomial_u = _recurrence("chebyshev_polynomial_u", lambda x: 2 * x, lambda x, k, p, q: 2 * x * p - q)
chebyshev_polynomial_v = _recurrence("chebyshev_polynomial_v", lambda x: 2 * x - 1, lambda x, k, p, q: 2 * x * p - q)
chebyshev_polynomial_w = _recurrence("chebyshev_polynomial_w", lambda x: 2 * x + 1, lambda x, k, p, q: 2 * x * p - q)
hermite_polynomial_h = _recurrence("hermite_polynomial_h", lambda x: 2 * x, lambda x, k, p, q: 2 * x * p - 2 * k * q)
hermite_polynomial_he = _recurrence("hermite_polynomial_he", lambda x: x, lambda x, k, p, q: x * p - k * q)
laguerre_polynomial_l = _recurrence(
    "laguerre_polynomial_l", lambda x: 1 - x, lambda x, k, p, q: ((2 * k + 1 - x) * p - k * q) / (k + 1)
)
legendre_polynomial_p = _recurrence(
    "legendre_polynomial_p", lambda x: x, lambda x, k, p, q: ((2 * k + 1) * x * p - k * q) / (k + 1)
)
_shifted = lambda name, first: _recurrence(name, first, lambda x, k, p, q: 2 * (2 * x - 1) * p - q)
shifted_chebyshev_polynomial_t = _shifted("shifted_chebyshev_polynomial_t", lambda x: 2 * x - 1)
shifted_chebyshev_polynomial_u = _shifted("shifted_chebyshev_polynomial_u", lambda x: 2 * (2 * x - 1))
shifted_chebyshev_polynomial_v = _shifted("shifted_chebyshev_polynomial_v", lambda x: 2 * (2 * x - 1) - 1)
shifted_chebyshev_polynomial_w = _shifted("shifted_chebyshev_polynomial_w", lambda x: 2 * (2 * x - 1) + 1)
