"""Pooling: max, average, adaptive, power-average, fractional, and the inverse of max pooling."""

import math

import rtorch
from rtorch._C import _nn

from ._arguments import floating, per_dimension

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d",
    "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d",
    "adaptive_max_pool3d_with_indices",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool1d_with_indices",
    "max_pool2d",
    "max_pool2d_with_indices",
    "max_pool3d",
    "max_pool3d_with_indices",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
]

avg_pool1d = _nn.avg_pool1d
avg_pool2d = _nn.avg_pool2d
avg_pool3d = _nn.avg_pool3d

max_pool1d_with_indices = _nn.max_pool1d_with_indices
max_pool2d_with_indices = _nn.max_pool2d_with_indices
max_pool3d_with_indices = _nn.max_pool3d_with_indices


def _max_pool(n):
    plain, indexed = getattr(_nn, f"max_pool{n}d"), getattr(_nn, f"max_pool{n}d_with_indices")

    def max_pool(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
        pool = indexed if return_indices else plain
        if n == 1 and pool is plain and isinstance(input, rtorch.Tensor):
            if input.dim() in (2, 3):  # the kernel refuses others
                floating("max_pool1d_impl", input)  # the integers have their positions only
        return pool(input, kernel_size, stride, padding, dilation, ceil_mode)

    max_pool.__name__ = max_pool.__qualname__ = f"max_pool{n}d"
    max_pool.__doc__ = (
        f"The maximum over windows of the last {n} dimensions; with `return_indices` also where it stood."
    )
    return max_pool


max_pool1d, max_pool2d, max_pool3d = _max_pool(1), _max_pool(2), _max_pool(3)


def _output_size(output_size, input, n):
    """`output_size` as the kernels want it: None in a tuple keeps the input's size there."""
    if n == 1:  # the kernel's own arguments
        if isinstance(output_size, (list, tuple)) and len(output_size) != 1:
            given = len(output_size)
            raise RuntimeError(f"adaptive_pool1d() argument 'output_size' should contain one int (got {given})")
        return output_size
    sizes = input.size()
    if isinstance(output_size, int):
        return output_size
    if len(sizes) <= len(output_size):
        raise ValueError(f"Input dimension should be at least {len(output_size) + 1}")
    if len(output_size) != n and all(size is None or isinstance(size, int) for size in output_size):
        raise RuntimeError(f"adaptive_pool{n}d: output_size must be {n}")
    return [size if size is not None else sizes[i - len(output_size)] for i, size in enumerate(output_size)]


def _adaptive(n):
    avg, top = getattr(_nn, f"adaptive_avg_pool{n}d"), getattr(_nn, f"adaptive_max_pool{n}d")

    def adaptive_avg_pool(input, output_size):
        return avg(input, _output_size(output_size, input, n))

    def adaptive_max_pool_with_indices(input, output_size, return_indices=False):
        return top(input, _output_size(output_size, input, n))

    def adaptive_max_pool(input, output_size, return_indices=False):
        found = top(input, _output_size(output_size, input, n))
        return found if return_indices else found[0]

    for f, name in (
        (adaptive_avg_pool, f"adaptive_avg_pool{n}d"),
        (adaptive_max_pool, f"adaptive_max_pool{n}d"),
        (adaptive_max_pool_with_indices, f"adaptive_max_pool{n}d_with_indices"),
    ):
        f.__name__ = f.__qualname__ = name
        f.__doc__ = f"Pools the last {n} dimensions to `output_size` (None: keep), whatever the input's size."
    return adaptive_avg_pool, adaptive_max_pool, adaptive_max_pool_with_indices


adaptive_avg_pool1d, adaptive_max_pool1d, adaptive_max_pool1d_with_indices = _adaptive(1)
adaptive_avg_pool2d, adaptive_max_pool2d, adaptive_max_pool2d_with_indices = _adaptive(2)
adaptive_avg_pool3d, adaptive_max_pool3d, adaptive_max_pool3d_with_indices = _adaptive(3)


def _windows(kernel_size, n):
    """How many elements a window has; PyTorch unpacks the sizes of two and three dimensions."""
    if n == 1 or kernel_size is None:  # the average refuses None
        return kernel_size
    sizes = (kernel_size,) * n if isinstance(kernel_size, (int, float)) else tuple(kernel_size or ())
    if len(sizes) != n:
        raise ValueError(f"lp_pool{n}d: expected {n} values in kernel_size, got {len(sizes)}")
    return math.prod(sizes)


def _lp_pool(n):
    avg = getattr(_nn, f"avg_pool{n}d")

    def lp_pool(input, norm_type, kernel_size, stride=None, ceil_mode=False):
        elements = _windows(kernel_size, n)
        mean = avg(input.pow(norm_type), kernel_size, stride, 0, ceil_mode)
        return (mean.sign() * mean.abs().relu()).mul(elements).pow(1.0 / norm_type)

    lp_pool.__name__ = lp_pool.__qualname__ = f"lp_pool{n}d"
    lp_pool.__doc__ = f"The `norm_type`-norm of windows of the last {n} dimensions: (sum of x^p)^(1/p)."
    return lp_pool


lp_pool1d, lp_pool2d, lp_pool3d = _lp_pool(1), _lp_pool(2), _lp_pool(3)


# ---- the inverse of max pooling


def _sizes_of(value, n, name):
    """The sizes of windows or results that a fractional pooling is given: one int or n of them."""
    sizes = [value] * n if isinstance(value, str) else per_dimension(value, n)
    for s in sizes:
        if isinstance(s, bool) or not hasattr(s, "__index__"):
            given = type(s).__name__
            raise TypeError(f"fractional_max_pool{n}d(): argument '{name}' must be tuple of ints, not of {given}")
    if len(sizes) != n:
        raise RuntimeError(f"fractional_max_pool{n}d: {name} must either be a single Int or tuple of Ints")
    return sizes


def _unpool_size(input, kernel, stride, padding, output_size, n):
    """The spatial size of the unpooled tensor; a given one must be within one stride of the usual."""
    sizes = input.shape[-n:]
    usual = [(s - 1) * st - 2 * p + k for s, st, p, k in zip(sizes, stride, padding, kernel)]
    if output_size is None:
        return usual
    given = list(output_size)
    if len(given) == n + 2:
        given = given[2:]
    if len(given) != n:
        raise ValueError(
            f"output_size should be a sequence containing {n} or {n + 2} elements, but it has a length of "
            f"'{len(output_size)}'"
        )
    for d, (g, u, st) in enumerate(zip(given, usual, stride)):
        if not u - st < g < u + st:
            low, high = [a - b for a, b in zip(usual, stride)], [a + b for a, b in zip(usual, stride)]
            raise ValueError(f'invalid output_size "{given}" (dim {d} must be between {low[d]} and {high[d]})')
    return given


def _max_unpool(input, indices, kernel_size, stride, padding, output_size, n):
    if len(input.size()) < n or hasattr(kernel_size, "__len__") and len(kernel_size) > n:
        raise IndexError("tuple index out of range")
    if not isinstance(indices, rtorch.Tensor):
        name = type(indices).__name__
        if n == 1:
            raise AttributeError(f"max_unpool1d(): a {name} of indices has no attribute 'unsqueeze'")
        raise TypeError(f"max_unpool{n}d(): argument 'indices' (position 2) must be Tensor, not {name}")
    floating(f"max_unpool{n}d", input)
    if indices.dtype != rtorch.int64:
        raise RuntimeError(f"elements in indices should be type int64 but got: {indices.dtype}")
    if input.shape != indices.shape:
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) "
            f"but got indices tensor with shape: {list(indices.shape)}"
        )
    kernel = per_dimension(kernel_size, n)
    stride = kernel if stride is None else per_dimension(stride, n)
    size = _unpool_size(input, kernel, stride, per_dimension(padding, n), output_size, n)
    for d, g in enumerate(size):
        if not isinstance(g, int):
            raise TypeError(f"max_unpool{n}d(): argument 'output_size' must be tuple of ints, but found {g} at pos {d}")
        if g < 0:
            raise ValueError(
                f"max_unpooling: output_size must contain non-negative spatial dimensions, but got output_size[{d}]={g}"
            )
    lead, area = input.shape[:-n], math.prod(size)
    where = indices.reshape(*lead, -1)
    if area and where.numel() and (int(where.min()) < 0 or int(where.max()) >= area):
        raise RuntimeError(f"Found an invalid max index: {int(where.max())} (output volumes are of size {size})")
    out = rtorch.zeros((*lead, area), dtype=input.dtype, device=input.device)
    if not area:
        return out.reshape(*lead, *size)
    return out.scatter_(-1, where, input.reshape(*lead, -1)).reshape(*lead, *size)


def max_unpool1d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Puts the values of `max_pool1d` back where `indices` says; zero elsewhere."""
    return _max_unpool(input, indices, kernel_size, stride, padding, output_size, 1)


def max_unpool2d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Puts the values of `max_pool2d` back where `indices` says; zero elsewhere."""
    return _max_unpool(input, indices, kernel_size, stride, padding, output_size, 2)


def max_unpool3d(input, indices, kernel_size, stride=None, padding=0, output_size=None):
    """Puts the values of `max_pool3d` back where `indices` says; zero elsewhere."""
    return _max_unpool(input, indices, kernel_size, stride, padding, output_size, 3)


# ---- fractional max pooling (Graham 2014)


def _fractional_starts(sample, size, out, kernel):
    """Window starts (..., out) along one dimension for random samples (...) in [0, 1)."""
    last = size - kernel
    if out == 1:
        return rtorch.full((*sample.shape, 1), last, dtype=rtorch.int64, device=sample.device)
    alpha = last / (out - 1)
    steps = rtorch.arange(out - 1, dtype=sample.dtype, device=sample.device)
    starts = ((steps + sample.unsqueeze(-1)) * alpha).long() - (sample.unsqueeze(-1) * alpha).long()
    end = rtorch.full((*sample.shape, 1), last, dtype=rtorch.int64, device=sample.device)
    return rtorch.cat([starts, end], -1)


def _fractional(input, kernel_size, output_size, output_ratio, samples, n):
    if output_size is None and output_ratio is None:
        raise ValueError(f"fractional_max_pool{n}d requires specifying either an output_size or an output_ratio")
    kernel = _sizes_of(kernel_size, n, "kernel_size")
    if output_size is None:
        ratios = per_dimension(output_ratio, n)
        output_size = [int(s * r) for s, r in zip(input.shape[-n:], ratios)]
    out = _sizes_of(output_size, n, "output_size")
    for k in kernel:
        if k <= 0:
            raise ValueError(f"fractional_max_pool{n}d: kernel_size must be greater than 0, but got {k}")
    batched = input if input.dim() == n + 2 else input.unsqueeze(0)
    if 0 in batched.shape[1:]:
        raise RuntimeError(
            f"fractional_max_pool{n}d(): Expected input to have non-zero size for non-batch dimensions, but got "
            f"{list(input.shape)}"
        )
    if batched.numel() == 0 or 0 in out:
        empty = input.new_zeros((*input.shape[:-n], *out))
        return empty, empty.to(rtorch.int64)
    for s, o, k in zip(batched.shape[2:], out, kernel):
        if o + k - 1 > s:
            raise RuntimeError(f"fractional_max_pool{n}d(): pool size {k} too large relative to input size {s}")
    if samples is None:
        samples = rtorch.rand(*batched.shape[:2], n, dtype=input.dtype, device=input.device)
    # The flat index of every element of every window: (N, C, out..., kernel...). PyTorch takes the samples last axis
    # first in two dimensions and first axis first in three.
    flat = None
    for d in range(n):
        starts = _fractional_starts(samples[..., d if n == 3 else n - 1 - d], batched.size(2 + d), out[d], kernel[d])
        at = starts.unsqueeze(-1) + rtorch.arange(kernel[d], device=starts.device)
        shape = [*at.shape[:2], *(1,) * (2 * n)]
        shape[2 + d], shape[2 + n + d] = out[d], kernel[d]
        at = at.reshape(shape).to(input.device)
        flat = at if flat is None else flat * batched.size(2 + d) + at
    flat = flat.reshape(*batched.shape[:2], -1)
    windows = batched.flatten(2).gather(2, flat).reshape(*batched.shape[:2], *out, -1)
    values, best = windows.max(-1)
    where = flat.reshape(windows.shape).gather(-1, best.unsqueeze(-1)).squeeze(-1)
    return (values, where) if input.dim() == n + 2 else (values.squeeze(0), where.squeeze(0))


def fractional_max_pool2d_with_indices(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """Max pooling over windows at pseudo-random places, and where each maximum stood."""
    return _fractional(input, kernel_size, output_size, output_ratio, _random_samples, 2)


def fractional_max_pool3d_with_indices(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """Max pooling over boxes at pseudo-random places, and where each maximum stood."""
    return _fractional(input, kernel_size, output_size, output_ratio, _random_samples, 3)


def fractional_max_pool2d(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """Max pooling over windows at pseudo-random places (Graham 2014)."""
    found = _fractional(input, kernel_size, output_size, output_ratio, _random_samples, 2)
    return found if return_indices else found[0]


def fractional_max_pool3d(
    input, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None
):
    """Max pooling over boxes at pseudo-random places (Graham 2014)."""
    found = _fractional(input, kernel_size, output_size, output_ratio, _random_samples, 3)
    return found if return_indices else found[0]
