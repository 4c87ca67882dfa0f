"""Resampling of images: interpolate (nearest to antialiased bicubic), grid_sample and affine_grid.

Linear and cubic resizing and sampling are primitives of the CPU. Besides them resizing, which is separable, goes one
dimension at a time: a few taps per output as `index_select`s weighted and summed, or, where a window has many taps
(antialias), one small matrix.
"""

import math
import warnings

import rtorch
from rtorch import _C

from ._arguments import floating, scalar_type, tensors

_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")
_LINEAR = {"linear": 3, "bilinear": 4, "trilinear": 5}


def _cubic(x, a):
    """Keys' cubic convolution kernel with parameter `a`, elementwise."""
    x = x.abs()
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return rtorch.where(x < 1, near, rtorch.where(x < 2, far, rtorch.zeros_like(x)))


def _lanczos(x, a=3.0):
    inside = rtorch.sinc(x) * rtorch.sinc(x / a)
    return rtorch.where(x.abs() < a, inside, rtorch.zeros_like(x))


def _scale(size, out, given, align_corners):
    """Input steps per output step."""
    if align_corners:
        return (size - 1) / (out - 1) if out > 1 else 0.0
    return 1.0 / given if given is not None and given > 0 else size / out


def _source(out, scale, align_corners, dtype, clamp):
    """Where each output element looks in the input."""
    at = rtorch.arange(out, dtype=dtype, device="cpu")
    if align_corners:
        return at * scale
    at = (at + 0.5) * scale - 0.5
    return at.clamp(min=0.0) if clamp else at


def _resize_nearest(x, dim, out, given, exact):
    size = x.size(dim)
    if out == size and given is None:
        return x
    scale = _scale(size, out, given, False)
    at = rtorch.arange(out, dtype=rtorch.float32, device="cpu")
    # float32 on purpose: PyTorch computes the index in it, and floor shows the difference.
    at = ((at + 0.5) * scale if exact else at * scale).floor().long().clamp(max=size - 1)
    return x.index_select(dim, at.to(x.device))


def _resize_taps(x, dim, out, given, align_corners, cubic):
    size = x.size(dim)
    if out == size and given is None:
        return x
    dtype = x.dtype if x.dtype == rtorch.float64 else rtorch.float32
    at = _source(out, _scale(size, out, given, align_corners), align_corners, dtype, not cubic)
    low = at.floor()
    fraction = at - low
    base, first, taps = low.long(), (-1 if cubic else 0), (4 if cubic else 2)
    shape = [1] * x.dim()
    shape[dim] = out
    result = None
    for k in range(first, first + taps):
        weight = _cubic(fraction - k, -0.75) if cubic else (fraction if k else 1.0 - fraction)
        index = (base + k).clamp(0, size - 1).to(x.device)
        part = x.index_select(dim, index) * weight.reshape(shape).to(x.device, x.dtype)
        result = part if result is None else result + part
    return result


# Kernel and its half width, in units of the (widened) output step.
_ANTIALIAS = {
    "bilinear": (lambda t: (1 - t.abs()).clamp(min=0.0), 1.0),
    "bicubic": (lambda t: _cubic(t, -0.5), 2.0),
    "lanczos": (_lanczos, 3.0),
}


def _resize_antialias(x, dim, out, given, align_corners, mode):
    """Resizing with a kernel widened to the output's step, as PIL does it."""
    size = x.size(dim)
    kernel, half = _ANTIALIAS[mode]
    scale = _scale(size, out, given, align_corners)
    widen = max(scale, 1.0)
    dtype = x.dtype if x.dtype == rtorch.float64 else rtorch.float32
    centre = ((rtorch.arange(out, dtype=dtype, device="cpu") + 0.5) * scale).unsqueeze(1)
    cell = rtorch.arange(size, dtype=dtype, device="cpu")
    first = (centre - half * widen + 0.5).long().clamp(min=0)
    last = (centre + half * widen + 0.5).long().clamp(max=size)
    weights = kernel((cell - centre + 0.5) / widen)
    weights = rtorch.where((cell >= first) & (cell < last), weights, rtorch.zeros_like(weights))
    weights = weights / weights.sum(1, keepdim=True)
    return (x.transpose(dim, -1) @ weights.t().to(x.device, x.dtype)).transpose(dim, -1)


def _resize_bytes(input, sizes, scales, mode, corners, antialias):
    """Pixels: the last dimension first, each pass rounded to bytes, as in PyTorch."""
    result = input.float()
    for d in reversed(range(2, input.dim())):
        out, scale = sizes[d - 2], scales[d - 2]
        if antialias:
            result = _resize_antialias(result, d, out, scale, corners, mode)
        else:
            result = _resize_taps(result, d, out, scale, corners, mode == "bicubic")
        result = (result + 0.5).floor().clamp(0, 255)
    return result.to(rtorch.uint8)


def _no_number(size):
    return isinstance(size, rtorch.Tensor) and (size.numel() != 1 or size.is_floating_point())


def _sizes(input, size, scale_factor, recompute):
    """Output sizes per spatial dimension, and the scales that resampling is to use (None: from the sizes)."""
    n = input.dim() - 2
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    if size is not None:
        if not isinstance(size, (list, tuple)):
            size = [size] * n
        if any(isinstance(s, (bool, float, str)) or not hasattr(s, "__index__") or _no_number(s) for s in size):
            raise TypeError(f"interpolate(): argument 'size' must be an int or a tuple of ints, but got {size}")
        if len(size) != n:
            raise ValueError(
                "Input and output must have the same number of spatial dimensions, but got input with spatial "
                f"dimensions of {list(input.shape[2:])} and output size of {size}. Please provide input tensor in "
                "(N, C, d1, d2, ...,dK) format and output size in (o1, o2, ...,oK) format."
            )
        return [int(s) for s in size], [None] * n
    if hasattr(scale_factor, "__iter__"):
        if len(scale_factor) != n:
            raise ValueError(
                "Input and scale_factor must have the same number of spatial dimensions, but got input with spatial "
                f"dimensions of {list(input.shape[2:])} and scale_factor of shape {scale_factor}. Please provide input "
                "tensor in (N, C, d1, d2, ...,dK) format and scale_factor in (s1, s2, ...,sK) format."
            )
        factors = [float(f) for f in scale_factor]
    else:
        factors = [float(scale_factor)] * n
    sizes = [math.floor(input.size(i + 2) * f) for i, f in enumerate(factors)]
    return sizes, [None] * n if recompute else factors


def _check_interpolate(input, mode, align_corners, antialias):
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError(
                "align_corners option can only be set with the interpolating modes: "
                "linear | bilinear | bicubic | trilinear"
            )
    if antialias and not (mode in _ANTIALIAS and input.dim() == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor as input"
        )
    if mode == "lanczos" and not antialias:
        raise ValueError("lanczos mode requires antialias=True")
    if input.dim() not in (3, 4, 5):
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {input.dim()}D) for the modes: "
            f"nearest | linear | bilinear | bicubic | trilinear | area | nearest-exact (got {mode})"
        )
    want = {"bicubic": 4, "lanczos": 4, **_LINEAR}.get(mode)
    if want is not None and input.dim() != want:
        raise NotImplementedError(f"Got {input.dim()}D input, but {mode} mode needs {want}D input")
    if want is None and mode not in ("nearest", "nearest-exact", "area"):
        raise NotImplementedError(f"Input Error: unknown mode {mode}")


def _check_dtype(input, mode):
    """Bytes are pixels for what PyTorch's image kernels do; everything else resizes floats alone."""
    bytes_too = mode in ("nearest", "nearest-exact") or input.dim() == 4
    if not (input.dtype == rtorch.uint8 and bytes_too):
        floating(f"upsample_{mode.replace('-', '_')}{input.dim() - 2}d", input)


def interpolate(
    input,
    size=None,
    scale_factor=None,
    mode="nearest",
    align_corners=None,
    recompute_scale_factor=None,
    antialias=False,
):
    """Resizes (N, C, d1, ...) to spatial `size`, or by `scale_factor`.

    mode: nearest, nearest-exact, linear, bilinear, trilinear, bicubic, lanczos or area. align_corners: corner pixels'
    centres stay corners. antialias: widen the kernel when shrinking (bilinear, bicubic, lanczos).
    """
    _check_interpolate(input, mode, align_corners, antialias)
    sizes, scales = _sizes(input, size, scale_factor, recompute_scale_factor)
    if mode != "area" and min((*sizes, *input.shape[2:]), default=1) <= 0:
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input {list(input.shape[2:])} output {sizes}"
        )
    if mode != "area":
        _check_dtype(input, mode)
    if mode == "area":
        pool = getattr(rtorch.nn.functional, f"adaptive_avg_pool{len(sizes)}d")
        return pool(input, sizes)
    if input.is_cpu and input.is_floating_point() and not antialias and mode in ("bicubic", *_LINEAR):
        corners = bool(align_corners)
        steps = [
            None if out == size and scale is None else _scale(size, out, scale, corners)
            for size, out, scale in zip(input.shape[2:], sizes, scales)
        ]
        return _C._nn._resize(input, sizes, corners, mode == "bicubic", *steps)
    if input.dtype == rtorch.uint8 and not mode.startswith("nearest"):
        return _resize_bytes(input, sizes, scales, mode, bool(align_corners), antialias)
    result = input
    for d, (out, scale) in enumerate(zip(sizes, scales), 2):
        if mode in ("nearest", "nearest-exact"):
            result = _resize_nearest(result, d, out, scale, mode == "nearest-exact")
        elif antialias:
            result = _resize_antialias(result, d, out, scale, bool(align_corners), mode)
        else:
            result = _resize_taps(result, d, out, scale, bool(align_corners), mode == "bicubic")
    kind = "NearestExact" if mode == "nearest-exact" else mode.capitalize()
    _C._one_node(f"Upsample{kind}{len(sizes)}D{'Aa' if antialias else ''}Backward0", input, result)
    return result


def upsample(input, size=None, scale_factor=None, mode="nearest", align_corners=None):
    """The old name of `interpolate`."""
    warnings.warn("`nn.functional.upsample` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=2)
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input, size=None, scale_factor=None):
    """The old name of `interpolate(mode="nearest")`."""
    warnings.warn(
        "`nn.functional.upsample_nearest` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=2
    )
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(input, size=None, scale_factor=None):
    """The old name of `interpolate(mode="bilinear", align_corners=True)`."""
    warnings.warn(
        "`nn.functional.upsample_bilinear` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=2
    )
    return interpolate(input, size, scale_factor, "bilinear", True)


# ---- sampling at given places


def affine_grid(theta, size, align_corners=None):
    """The sampling grid of affine maps: theta (N, 2, 3) and size (N, C, H, W) -> (N, H, W, 2); or 3-d likewise."""
    if align_corners is None:
        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0.", stacklevel=2
        )
        align_corners = False
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    n = len(size) - 2
    if n not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. "
            f"Got size {size}."
        )
    if theta.dim() != 3 or tuple(theta.shape[-2:]) != (n, n + 1):
        raise ValueError(
            f"Expected a batch of {n}D affine matrices of shape Nx{n}x{n + 1} for size {size}. Got {theta.shape}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    axes = []
    for d in size[2:]:
        line = rtorch.linspace(-1, 1, d, dtype=theta.dtype, device=theta.device) if d > 1 else theta.new_zeros(1)
        axes.append(line if align_corners else line * ((d - 1) / d))
    mesh = rtorch.meshgrid(*axes, indexing="ij")
    points = rtorch.stack([*reversed(mesh), rtorch.ones_like(mesh[0])], -1).reshape(1, -1, n + 1)
    return (points @ theta.transpose(1, 2)).reshape(size[0], *size[2:], n)


@tensors("input", "grid")
def grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
    """Pixels of `input` (N, C, H, W) at `grid` (N, Ho, Wo, 2) in [-1, 1], x first -> (N, C, Ho, Wo); or 3-d likewise.

    mode: bilinear, nearest or bicubic (2-d). padding_mode: zeros, border or reflection.
    """
    for value, allowed, name in (
        (mode, _MODES, "mode"),
        (padding_mode, _PADDINGS, "padding_mode"),
    ):
        if value not in allowed:
            listed = ", ".join(f"'{a}'" for a in allowed[:-1]) + f" or '{allowed[-1]}'"
            raise ValueError(f"nn.functional.grid_sample(): expected {name} to be {listed}, but got: '{value}'")
    if align_corners is None:
        warnings.warn(
            "Default grid_sample and affine_grid behavior has changed to align_corners=False since 1.3.0.", stacklevel=2
        )
        align_corners = False
    if 0 in (input.dim(), grid.dim()):
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    n = input.dim() - 2
    if n not in (2, 3) or grid.dim() != input.dim():
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with "
            f"sizes {list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if input.size(0) != grid.size(0):
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with sizes "
            f"{list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if grid.size(-1) != n:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {n} in last dimension, but got grid with sizes "
            f"{list(grid.shape)}"
        )
    if mode == "bicubic" and n == 3:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
    floating(f"grid_sampler_{n}d_cpu_kernel_impl", input)
    if input.dtype != grid.dtype:
        wanted, given = scalar_type(input.dtype), scalar_type(grid.dtype)
        raise RuntimeError(f"grid_sampler(): expected scalar type {wanted} but found {given}")
    return _C._nn._grid_sample(input, grid, _MODES.index(mode), _PADDINGS.index(padding_mode), align_corners)
