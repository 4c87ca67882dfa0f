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
    if not input.is_floating_point():
        input = input.to(rtorch.get_default_dtype())
    shifts = rtorch.arange(0, p, dtype=input.dtype, device=input.device) * -0.5
    return (input.unsqueeze(-1) + shifts).lgamma().sum(-1) + p * (p - 1) * 0.25 * 1.1447298858494002


@op()
def fill(input, value):
    """A copy filled with a value."""
    if rtorch.is_grad_enabled() and (input.requires_grad or isinstance(value, rtorch.Tensor)):
        # the input's gradient is zero, not absent
        if isinstance(value, rtorch.Tensor) and value.dim():
            raise RuntimeError(
                f"fill only supports 0-dimension value tensor but got tensor with {value.dim()} dimensions."
            )
        whole = rtorch.ones(input.shape, dtype=rtorch.bool, device=input.device)
        return rtorch.masked_fill(input, whole, value)
    return input.clone().fill_(value)


@op()
def frexp(input):
    """Mantissa in [0.5, 1) and exponent."""
    if not input.is_floating_point():
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    x = input.detach()
    finite = rtorch.isfinite(x) & (x != 0)
    safe = rtorch.where(finite, x.abs(), rtorch.ones_like(x)).double()
    e = safe.log2().floor() + 1
    m = safe / rtorch.exp2(e)
    high = m >= 1
    m, e = rtorch.where(high, m / 2, m), rtorch.where(high, e + 1, e)
    low = m < 0.5
    m, e = rtorch.where(low, m * 2, m), rtorch.where(low, e - 1, e)
    exponent = rtorch.where(finite, e, rtorch.zeros_like(e))
    scale = rtorch.exp2(-exponent).to(input.dtype)
    return frexp_type(rtorch.where(finite, input * scale, input), exponent.to(rtorch.int32))


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

