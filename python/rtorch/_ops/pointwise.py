"""Pointwise operators that only combine others (fused by deferral; single rounding is not at stake)."""

from __future__ import annotations

import rtorch

from ._register import named, op

frexp_type = named("frexp", "mantissa exponent")


@op()
def isreal(input):
    """True where the imaginary part is zero."""
    return input.imag == 0 if input.is_complex() else rtorch.ones(input.shape, dtype=rtorch.bool, device=input.device)


@op(inplace=True)
def mvlgamma(input, p):
    """Multivariate log-gamma function."""
    if p < 1:
        raise RuntimeError(f"p has to be greater than or equal to 1, but got {p}")
    if not (input.is_complex() or input.is_floating_point()):
        input = input.to(rtorch.get_default_dtype())
    shifts = rtorch.arange(0, p, dtype=input.dtype, device=input.device) * -0.5  # no complex numbers
    if p == 1:
        return input.lgamma()
    terms = (input.unsqueeze(0) + shifts.reshape([p] + [1] * input.dim())).lgamma()
    return terms.sum(0) + p * (p - 1) * 0.25 * 1.1447298858494002


@op()
def fill(input, value):
    """A copy filled with a value."""
    if rtorch.is_grad_enabled() and (input.requires_grad or isinstance(value, rtorch.Tensor)):
        # the input's gradient is zero, not absent
        if isinstance(value, rtorch.Tensor) and value.dim():
            raise RuntimeError(
                f"fill only supports 0-dimension value tensor but got tensor with {value.dim()} dimensions."
            )
        if isinstance(value, (bool, int, float)) and input.is_floating_point():
            return rtorch._C._nn._filled(input, value)
        whole = rtorch.ones(input.shape, dtype=rtorch.bool, device=input.device)
        return rtorch.masked_fill(input, whole, value)
    return rtorch.empty_like(input).fill_(value)


@op()
def frexp(input):
    """Mantissa in [0.5, 1) and exponent."""
    if not input.is_floating_point():
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    x = input.detach()
    x = x if x.dtype in (rtorch.float32, rtorch.float64) else x.float()
    word, digits, top = (rtorch.int64, 52, 0x7FF) if x.dtype == rtorch.float64 else (rtorch.int32, 23, 0xFF)
    below = top // 2 - 1
    # subnormal numbers get a leading digit; zeros, infinities and NaN stay what they are
    small, steps = 2.0 ** (1 - top // 2), digits + 1
    tiny = x.abs() < small
    bits = rtorch.where(tiny, x * 2.0**steps, x).view(word)
    field = (bits >> digits).to(rtorch.int32) & top
    ordinary = (field > 0) & (field < top)
    exponent = (field - below - tiny.to(rtorch.int32) * steps) * ordinary
    mantissa = rtorch.where(ordinary, (bits & ~(top << digits)) | (below << digits), bits)
    mantissa = mantissa.view(x.dtype).to(input.dtype)
    return frexp_type(rtorch._C._nn._link_mantissa(input, mantissa), exponent)


@op(inplace=True, out=True)
def lcm(input, other):
    """Least common multiple, never negative."""
    for x in (input, other):
        if not isinstance(x, rtorch.Tensor):
            raise TypeError(f"lcm(): argument must be Tensor, not {type(x).__name__}")
        if x.is_floating_point() or x.is_complex():
            raise NotImplementedError(f'"lcm_cpu" not implemented for {str(x.dtype)!r}')
    divisor = rtorch.gcd(input, other)
    none = divisor == 0
    part = rtorch.div(input, rtorch.where(none, rtorch.ones_like(divisor), divisor), rounding_mode="trunc")
    return rtorch.where(none, rtorch.zeros_like(divisor), (part * other).abs())


@op(function=False)
def is_nonzero(input):
    """Is the one element of the tensor not zero?"""
    return rtorch.is_nonzero(input)

