"""Window functions of signal processing (`rtorch.signal.windows` and the older top-level names)."""

from __future__ import annotations

import math

import rtorch

from ._register import op


def _check(name, m):
    if m < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={m}")


def _grid(m, sym, start, end, kwargs):
    """M points (of a period one longer unless symmetric) from start to end."""
    requires_grad = kwargs.pop("requires_grad", False)
    dtype = kwargs.pop("dtype", None) or rtorch.get_default_dtype()
    if dtype not in (rtorch.float32, rtorch.float64):
        raise ValueError(f"window functions expect float32 or float64 dtypes, got: {dtype}")
    n = m if sym else m + 1
    step = (end - start) / max(n - 1, 1)
    k = rtorch.arange(m, dtype=rtorch.float64).mul(step).add(start)
    return k, (lambda t: t.to(dtype).to(**_device(kwargs)).requires_grad_(requires_grad))


def _device(kwargs):
    return {"device": kwargs["device"]} if kwargs.get("device") is not None else {"device": "cpu"}


def general_cosine(M, *, a, sym=True, **kwargs):
    """Sum of cosines with coefficients `a`."""
    _check("general_cosine", M)
    if not isinstance(a, (list, tuple)) or not a:
        raise ValueError("Coefficients must be a non-empty list/tuple")
    k, done = _grid(M, sym, 0, 2 * math.pi, kwargs)
    if M == 1:
        return done(rtorch.ones(1, dtype=rtorch.float64))
    return done(sum((-1) ** i * c * rtorch.cos(k * i) for i, c in enumerate(a)))


def general_hamming(M, *, alpha=0.54, sym=True, **kwargs):
    """alpha - (1 - alpha) cos."""
    return general_cosine(M, a=[alpha, 1.0 - alpha], sym=sym, **kwargs)


def hamming(M, *, sym=True, **kwargs):
    """Hamming's window."""
    return general_hamming(M, sym=sym, **kwargs)


def hann(M, *, sym=True, **kwargs):
    """Hann's window."""
    return general_hamming(M, alpha=0.5, sym=sym, **kwargs)


def blackman(M, *, sym=True, **kwargs):
    """Blackman's window."""
    return general_cosine(M, a=[0.42, 0.5, 0.08], sym=sym, **kwargs)


def nuttall(M, *, sym=True, **kwargs):
    """Nuttall's minimum 4-term Blackman-Harris window."""
    return general_cosine(M, a=[0.3635819, 0.4891775, 0.1365995, 0.0106411], sym=sym, **kwargs)


def bartlett(M, *, sym=True, **kwargs):
    """Triangle that ends at zero."""
    _check("bartlett", M)
    k, done = _grid(M, sym, -1, 1, kwargs)
    return done(rtorch.ones(M, dtype=rtorch.float64) if M == 1 else 1 - k.abs())


def cosine(M, *, sym=True, **kwargs):
    """Half a sine wave."""
    _check("cosine", M)
    k, done = _grid(M, True, 0, M - 1, kwargs)
    return done(rtorch.sin((k + 0.5) * (math.pi / max(M if sym or M == 1 else M + 1, 1))))


def exponential(M, *, center=None, tau=1.0, sym=True, **kwargs):
    """Exponential decay from the center."""
    _check("exponential", M)
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    middle = (M if not sym and M > 1 else M - 1) / 2.0 if center is None else center
    k, done = _grid(M, True, 0, M - 1, kwargs)
    return done(rtorch.exp((k - middle).abs() / -tau))


def gaussian(M, *, std=1.0, sym=True, **kwargs):
    """Gaussian of standard deviation `std` samples."""
    _check("gaussian", M)
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    k, done = _grid(M, True, 0, M - 1, kwargs)
    x = (k - (M if not sym and M > 1 else M - 1) / 2.0) / (std * math.sqrt(2))
    return done(rtorch.exp(-(x * x)))


def kaiser(M, *, beta=12.0, sym=True, **kwargs):
    """Kaiser's window."""
    _check("kaiser", M)
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    k, done = _grid(M, sym, -1, 1, kwargs)
    if M == 1:
        return done(rtorch.ones(1, dtype=rtorch.float64))
    i0 = rtorch.i0
    return done(i0(beta * (1 - k * k).clamp_min(0).sqrt()) / i0(rtorch.tensor(beta, dtype=rtorch.float64)))


def _legacy(name, make):
    def f(window_length, periodic=True, *args, **kwargs):
        if window_length < 0:
            raise RuntimeError(f"{name} requires non-negative window_length, got window_length={window_length}")
        return make(window_length, periodic, *args, **kwargs)

    f.__name__ = name
    f.__doc__ = f"`signal.windows.{name.removesuffix('_window')}`, periodic by default."
    op(name, method=False)(f)


_legacy("hann_window", lambda m, p, **k: hann(m, sym=not p, **k))
_legacy("hamming_window", lambda m, p, alpha=0.54, beta=0.46, **k: general_cosine(m, a=[alpha, beta], sym=not p, **k))
_legacy("blackman_window", lambda m, p, **k: blackman(m, sym=not p, **k))
_legacy("bartlett_window", lambda m, p, **k: bartlett(m, sym=not p, **k))
_legacy("kaiser_window", lambda m, p, beta=12.0, **k: kaiser(m, beta=beta, sym=not p, **k))
