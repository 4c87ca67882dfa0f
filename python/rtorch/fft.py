"""Discrete Fourier transforms under PyTorch's names (`torch.fft`), over three primitives of the core (`_C._fft`).

`norm` says which direction divides: "backward" (the default) the inverse by n, "forward" the forward by n, "ortho" both
by sqrt(n), n being the number of points. Source of the conventions: J. W. Cooley, J. W. Tukey, "An algorithm for the
machine calculation of complex Fourier series" (1965), with numpy.fft's signs.
"""

from __future__ import annotations

import math

import rtorch
from rtorch import _C
from rtorch import Tensor as Tensor
from rtorch._ops._register import give as _out
from rtorch._ops.factories import strided
from rtorch._ops.shape import _dim

_f = _C._fft

__all__ = (
    "fft ifft rfft irfft hfft ihfft fft2 ifft2 rfft2 irfft2 hfft2 ihfft2 fftn ifftn rfftn irfftn hfftn ihfftn "
    "fftfreq rfftfreq fftshift ifftshift Tensor"
).split()


def _scale(norm, points, forward):
    """The factor of a transform of so many points."""
    if norm is not None and not isinstance(norm, str):
        raise TypeError(f"fft(): argument 'norm' must be str, not {type(norm).__name__}")
    if norm not in (None, "backward", "ortho", "forward"):
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    if norm == "ortho":
        return 1 / math.sqrt(points)
    return 1 / points if (norm == "forward") == forward else 1.0


def _floating(x):
    if x.dtype in (rtorch.float16, rtorch.bfloat16):
        raise RuntimeError(f"Unsupported dtype {'Half' if x.dtype == rtorch.float16 else 'BFloat16'}")
    return x if x.is_floating_point() or x.is_complex() else x.to(rtorch.get_default_dtype())


def _complex(x):
    return x if x.is_complex() else x.to(rtorch.complex128 if x.dtype == rtorch.float64 else rtorch.complex64)


def _kind(x):
    return {rtorch.complex64: "ComplexFloat", rtorch.complex128: "ComplexDouble"}[x.dtype]


def _real(name, x):
    if x.is_complex():
        raise RuntimeError(f"{name} expects a real input tensor, but got {_kind(x)}")
    return _floating(x)


def _resize(x, dim, n):
    """Cuts or pads with zeros so that `dim` has n elements."""
    have = x.size(dim)
    if n == have:
        return x
    if n < have:
        return x.narrow(dim, 0, n)
    shape = list(x.shape)
    shape[dim] = n - have
    return rtorch.cat([x, rtorch.zeros(shape, dtype=x.dtype, device=x.device)], dim)


def _points(n):
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")
    return n


def _one(x, dim):
    if x.dim() == 0:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return _dim(dim, x.dim())


def _c2c(x, n, dim, norm, forward):
    given, x = x, _floating(x)
    dim = _one(x, dim)
    n = _points(x.size(dim) if n is None else n)
    result = _f.c2c(_complex(_resize(x, dim, n)), [dim], _scale(norm, n, forward), forward)
    if not given.is_complex():  # PyTorch transforms real numbers as such
        _C._one_node("FftR2CBackward0" if forward else "ConjBackward0", given, result)
    return result


def _r2c(name, x, n, dim, norm, forward):
    x = _real(name, x)
    dim = _one(x, dim)
    n = _points(x.size(dim) if n is None else n)
    half = _f.r2c(_resize(x, dim, n), [dim], _scale(norm, n, forward))
    return half if forward else half.conj()


def _c2r(x, n, dim, norm, forward):
    x = _floating(x)
    dim = _one(x, dim)
    n = _points(2 * (x.size(dim) - 1) if n is None else n)
    x = _complex(_resize(x, dim, n // 2 + 1))
    return _f.c2r(x.conj() if forward else x, [dim], _scale(norm, n, forward), n)


def fft(input, n=None, dim=-1, norm=None, *, out=None):
    """X[k] = sum over j of x[j] exp(-2 pi i j k / n) along `dim`, of the input cut or padded with zeros to `n`.

    Shapes: any, and the same with n along `dim`; real input counts as complex. Raises RuntimeError for n < 1,
    an unknown `norm` and 16-bit floats."""
    return _out(_c2c(input, n, dim, norm, True), out)


def ifft(input, n=None, dim=-1, norm=None, *, out=None):
    """The inverse of `fft`: x[j] = 1/n sum over k of X[k] exp(+2 pi i j k / n)."""
    return _out(_c2c(input, n, dim, norm, False), out)


def rfft(input, n=None, dim=-1, norm=None, *, out=None):
    """`fft` of real input: the n // 2 + 1 bins of which the others are conjugates."""
    return _out(_r2c("rfft", input, n, dim, norm, True), out)


def irfft(input, n=None, dim=-1, norm=None, *, out=None):
    """The inverse of `rfft`: n real numbers, 2 * (bins - 1) by default. Imaginary parts of bin 0 and of the middle bin
    of an even n are ignored."""
    return _out(_c2r(input, n, dim, norm, False), out)


def hfft(input, n=None, dim=-1, norm=None, *, out=None):
    """`fft` of a Hermitian signal, given by its first half: n real numbers, 2 * (size - 1) by default."""
    return _out(_c2r(input, n, dim, norm, True), out)


def ihfft(input, n=None, dim=-1, norm=None, *, out=None):
    """The inverse of `hfft`: the first half of a Hermitian signal from its real spectrum."""
    return _out(_r2c("ihfft", input, n, dim, norm, False), out)


def _dims(x, s, dim):
    """The dimensions of an n-d transform, and their lengths where they are given (None: as they are)."""
    if isinstance(s, int):
        s = (s,)
    if isinstance(dim, int):
        dim = (dim,)
    if dim is not None:
        dims = [_dim(d, x.dim()) for d in dim]
        if len(set(dims)) != len(dims):
            raise RuntimeError("FFT dims must be unique")
        if s is not None and len(s) != len(dims):
            raise RuntimeError("When given, dim and shape arguments must have the same length")
    elif s is not None:
        if len(s) > x.dim():
            raise RuntimeError(f"Got shape with {len(s)} values but input tensor only has {x.dim()} dimensions.")
        dims = list(range(x.dim() - len(s), x.dim()))
    else:
        dims = list(range(x.dim()))
    sizes = [None if s is None or s[i] == -1 else s[i] for i in range(len(dims))]
    return dims, sizes


def _resize_all(x, dims, sizes):
    for d, n in zip(dims, sizes, strict=True):
        x = _resize(x, d, _points(x.size(d) if n is None else n))
    return x


def _c2c_n(x, s, dim, norm, forward):
    x = _floating(x)
    dims, sizes = _dims(x, s, dim)
    x = _complex(_resize_all(x, dims, sizes))
    return _f.c2c(x, dims, _scale(norm, math.prod(x.size(d) for d in dims), forward), forward)


def _some(name, dims):
    if not dims:
        raise RuntimeError(f"{name} must transform at least one axis")


def _r2c_n(name, x, s, dim, norm, forward):
    x = _real(name, x)
    dims, sizes = _dims(x, s, dim)
    _some(name, dims)
    given, x = x, _resize_all(x, dims, sizes)
    half = _f.r2c(x, dims, _scale(norm, math.prod(x.size(d) for d in dims), forward))
    if forward:
        return half
    half = half.conj()
    if len(dims) > 1:
        _C._one_node("FftC2CBackward0", given, half)
    return half


def _c2r_n(name, x, s, dim, norm, forward):
    x = _floating(x)
    dims, sizes = _dims(x, s, dim)
    _some(name, dims)
    last = _points(2 * (x.size(dims[-1]) - 1) if sizes[-1] is None else sizes[-1])
    x = _complex(_resize_all(x, dims, [*sizes[:-1], last // 2 + 1]))
    points = math.prod(x.size(d) for d in dims[:-1]) * last
    return _f.c2r(x.conj() if forward else x, dims, _scale(norm, points, forward), last)


def fftn(input, s=None, dim=None, norm=None, *, out=None):
    """`fft` along several dimensions: `dim`, or the last len(s), or all. `s`: their lengths (-1: as they are)."""
    return _out(_c2c_n(input, s, dim, norm, True), out)


def ifftn(input, s=None, dim=None, norm=None, *, out=None):
    """The inverse of `fftn`."""
    return _out(_c2c_n(input, s, dim, norm, False), out)


def rfftn(input, s=None, dim=None, norm=None, *, out=None):
    """`fftn` of real input: half of the spectrum along the last of the dimensions."""
    return _out(_r2c_n("rfftn", input, s, dim, norm, True), out)


def irfftn(input, s=None, dim=None, norm=None, *, out=None):
    """The inverse of `rfftn`."""
    return _out(_c2r_n("irfftn", input, s, dim, norm, False), out)


def hfftn(input, s=None, dim=None, norm=None, *, out=None):
    """`fftn` of a signal that is Hermitian along the last of the dimensions, of which half is given."""
    return _out(_c2r_n("hfftn", input, s, dim, norm, True), out)


def ihfftn(input, s=None, dim=None, norm=None, *, out=None):
    """The inverse of `hfftn`."""
    return _out(_r2c_n("ihfftn", input, s, dim, norm, False), out)


def fft2(input, s=None, dim=(-2, -1), norm=None, *, out=None):
    """`fftn` along two dimensions."""
    return fftn(input, s, dim, norm, out=out)


def ifft2(input, s=None, dim=(-2, -1), norm=None, *, out=None):
    """`ifftn` along two dimensions."""
    return ifftn(input, s, dim, norm, out=out)


def rfft2(input, s=None, dim=(-2, -1), norm=None, *, out=None):
    """`rfftn` along two dimensions."""
    return rfftn(input, s, dim, norm, out=out)


def irfft2(input, s=None, dim=(-2, -1), norm=None, *, out=None):
    """`irfftn` along two dimensions."""
    return irfftn(input, s, dim, norm, out=out)


def hfft2(input, s=None, dim=(-2, -1), norm=None, *, out=None):
    """`hfftn` along two dimensions."""
    return hfftn(input, s, dim, norm, out=out)


def ihfft2(input, s=None, dim=(-2, -1), norm=None, *, out=None):
    """`ihfftn` along two dimensions."""
    return ihfftn(input, s, dim, norm, out=out)


def _frequencies(counts, n, d, out, options):
    if options.get("dtype") is None:
        options["dtype"] = rtorch.get_default_dtype()
    grad = options.pop("requires_grad", False)
    result = _out(counts(options) * (1.0 / (n * d) if n * d else math.inf), out)
    return result.requires_grad_() if grad else result


def fftfreq(n, d=1.0, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """The frequencies of `fft`'s n bins, in cycles per unit of the sample spacing `d`: 0, 1, ..., -1 over n d."""
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")

    def counts(options):
        half = (n + 1) // 2
        return rtorch.cat([rtorch.arange(0, half, **options), rtorch.arange(-(n // 2), 0, **options)])

    strided("fftfreq", layout)
    options = {"dtype": dtype, "device": device, "requires_grad": requires_grad}
    return _frequencies(counts, n, d, out, options)


def rfftfreq(n, d=1.0, *, out=None, dtype=None, layout=None, device=None, requires_grad=False):
    """The frequencies of `rfft`'s n // 2 + 1 bins: those of `fftfreq` that are not negative, and the middle one."""
    if n < 0:
        raise RuntimeError(f"Trying to create tensor with negative dimension {n}: [{n}]")
    strided("rfftfreq", layout)
    options = {"dtype": dtype, "device": device, "requires_grad": requires_grad}
    return _frequencies(lambda options: rtorch.arange(0, n // 2 + 1, **options), n, d, out, options)


def _shift(x, dim, by):
    dims = range(x.dim()) if dim is None else [dim] if isinstance(dim, int) else dim
    dims = [_dim(d, x.dim()) for d in dims]
    return x.roll([by(x.size(d)) for d in dims], dims) if dims else x.clone()


def fftshift(input, dim=None):
    """Moves frequency 0 to the middle of the dimensions (all by default)."""
    return _shift(input, dim, lambda n: n // 2)


def ifftshift(input, dim=None):
    """The inverse of `fftshift`."""
    return _shift(input, dim, lambda n: (n + 1) // 2)
