"""Window functions of signal processing (`rtorch.signal.windows` and the older top-level names)."""

from __future__ import annotations

import math

import rtorch

from ._register import op

_OPTIONS = frozenset({"dtype", "layout", "device", "requires_grad"})


def _options(name, m, options):
    """Checks what a window function was asked for; answers what makes its result of float64 values."""
    for key in options.keys() - _OPTIONS:
        raise TypeError(f"{name}() got an unexpected keyword argument '{key}'")
    if not isinstance(m, int):
        raise TypeError(f"{name}(): argument 'M' (position 1) must be int, not {type(m).__name__}")
    if m < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={m}")
    dtype, layout = options.get("dtype") or rtorch.get_default_dtype(), options.get("layout")
    if layout not in (None, rtorch.strided):
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    if dtype not in (rtorch.float32, rtorch.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype}")
    device, requires_grad = options.get("device"), options.get("requires_grad", False)
    device = rtorch.get_default_device() if device is None else device
    return lambda t: t.to(dtype).to(device).requires_grad_(requires_grad)


def _grid(m, sym, start, end):
    """M points (of a period one longer unless symmetric) from start to end."""
    step = (end - start) / max((m if sym else m + 1) - 1, 1)
    return rtorch.arange(m, dtype=rtorch.float64, device="cpu").mul(step).add(start)


def _one():
    return rtorch.ones(1, dtype=rtorch.float64, device="cpu")


def general_cosine(M, *, a, sym=True, **options):
    """Sum of cosines with coefficients `a`. Result: M."""
    return _cosines("general_cosine", M, a, sym, options)


def _cosines(name, M, a, sym, options):
    done = _options(name, M, options)
    if not isinstance(a, (list, tuple)):
        raise TypeError("Coefficients must be a list/tuple")
    if not a:
        raise ValueError("Coefficients cannot be empty")
    if M == 1:
        return done(_one())
    k = _grid(M, sym, 0, 2 * math.pi)
    return done(sum((-1) ** i * c * rtorch.cos(k * i) for i, c in enumerate(a)))


def general_hamming(M, *, alpha=0.54, sym=True, **options):
    """alpha - (1 - alpha) cos. Result: M."""
    return _cosines("general_hamming", M, [alpha, 1.0 - alpha], sym, options)


def hamming(M, *, sym=True, **options):
    """Hamming's window. Result: M."""
    return _cosines("hamming", M, [0.54, 1.0 - 0.54], sym, options)


def hann(M, *, sym=True, **options):
    """Hann's window. Result: M."""
    return _cosines("hann", M, [0.5, 0.5], sym, options)


def blackman(M, *, sym=True, **options):
    """Blackman's window. Result: M."""
    return _cosines("blackman", M, [0.42, 0.5, 0.08], sym, options)


def nuttall(M, *, sym=True, **options):
    """Nuttall's minimum 4-term Blackman-Harris window. Result: M."""
    return _cosines("nuttall", M, [0.3635819, 0.4891775, 0.1365995, 0.0106411], sym, options)


def bartlett(M, *, sym=True, **options):
    """Triangle that ends at zero. Result: M."""
    done = _options("bartlett", M, options)
    return done(_one() if M == 1 else 1 - _grid(M, sym, -1, 1).abs())


def cosine(M, *, sym=True, **options):
    """Half a sine wave. Result: M."""
    done = _options("cosine", M, options)
    return done(rtorch.sin((_grid(M, True, 0, M - 1) + 0.5) * (math.pi / max(M if sym or M == 1 else M + 1, 1))))


def exponential(M, *, center=None, tau=1.0, sym=True, **options):
    """Exponential decay from the center. Result: M."""
    done = _options("exponential", M, options)
    if tau <= 0:
        raise ValueError(f"Tau must be positive, got: {tau} instead.")
    if sym and center is not None:
        raise ValueError("Center must be None for symmetric windows")
    middle = (M if not sym and M > 1 else M - 1) / 2.0 if center is None else center
    return done(rtorch.exp((_grid(M, True, 0, M - 1) - middle).abs() / -tau))


def gaussian(M, *, std=1.0, sym=True, **options):
    """Gaussian of standard deviation `std` samples. Result: M."""
    done = _options("gaussian", M, options)
    if std <= 0:
        raise ValueError(f"Standard deviation must be positive, got: {std} instead.")
    x = (_grid(M, True, 0, M - 1) - (M if not sym and M > 1 else M - 1) / 2.0) / (std * math.sqrt(2))
    return done(rtorch.exp(-(x * x)))


def kaiser(M, *, beta=12.0, sym=True, **options):
    """Kaiser's window. Result: M."""
    done = _options("kaiser", M, options)
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    return done(_kaiser(M, beta, sym))


def _kaiser(m, beta, sym):
    if m == 1:
        return _one()
    k = _grid(m, sym, -1, 1)
    i0 = rtorch.i0
    return i0(beta * (1 - k * k).clamp_min(0).sqrt()) / i0(rtorch.tensor(beta, dtype=rtorch.float64, device="cpu"))


def _legacy(name, make):
    """The older function: a window of a period unless told otherwise, in any floating point dtype."""

    def f(
        window_length,
        periodic=True,
        *args,
        dtype=None,
        layout=None,
        device=None,
        pin_memory=False,
        requires_grad=False,
        **kwargs,
    ):
        if not isinstance(window_length, int):
            raise TypeError(
                f"{name}(): argument 'window_length' (position 1) must be int, not {type(window_length).__name__}"
            )
        if not isinstance(periodic, bool):
            raise TypeError(f"{name}(): argument 'periodic' (position 2) must be bool, not {type(periodic).__name__}")
        dtype = dtype or rtorch.get_default_dtype()
        if layout not in (None, rtorch.strided):
            raise RuntimeError(f"{name} is not implemented for sparse types, got: {layout}")
        if not dtype.is_floating_point:
            raise RuntimeError(f"{name} expects floating point dtypes, got: {dtype}")
        if window_length < 0:
            raise RuntimeError(f"{name} requires non-negative window_length, got window_length={window_length}")
        window = make(window_length, not periodic, *args, **kwargs).to(dtype)
        device = rtorch.get_default_device() if device is None else device
        window = window.to(device).requires_grad_(requires_grad)
        return window.pin_memory() if pin_memory else window

    f.__name__ = name
    f.__doc__ = f"`signal.windows.{name.removesuffix('_window')}`, periodic by default. Result: window_length."
    op(name, method=False)(f)


_WIDE = {"dtype": rtorch.float64, "device": "cpu"}
_legacy("hann_window", lambda m, sym: hann(m, sym=sym, **_WIDE))
_legacy("hamming_window", lambda m, sym, alpha=0.54, beta=0.46: general_cosine(m, a=[alpha, beta], sym=sym, **_WIDE))
_legacy("blackman_window", lambda m, sym: blackman(m, sym=sym, **_WIDE))
_legacy("bartlett_window", lambda m, sym: bartlett(m, sym=sym, **_WIDE))
# of a negative beta, too: i0 is even
_legacy("kaiser_window", lambda m, sym, beta=12.0: _kaiser(m, beta, sym))
