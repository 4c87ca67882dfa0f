"""Linear maps and convolutions: the core's kernels under PyTorch's names, and bilinear forms."""

from rtorch._C import _nn

import rtorch

linear = _nn.linear
conv1d = _nn.conv1d
conv2d = _nn.conv2d
conv3d = _nn.conv3d
conv_transpose1d = _nn.conv_transpose1d
conv_transpose2d = _nn.conv_transpose2d
conv_transpose3d = _nn.conv_transpose3d


def bilinear(input1, input2, weight, bias=None):
    """y_k = x1^T W_k x2 + b_k. input1 (..., I), input2 (..., J), weight (K, I, J) -> (..., K)."""
    if input1.dim() != input2.dim() or input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError(
            f"bilinear(): input batch dimensions do not match: got {list(input1.shape)} and {list(input2.shape)}"
        )
    k, i, j = weight.shape
    for number, x, want in ((1, input1, i), (2, input2, j)):
        if x.size(-1) != want:
            raise RuntimeError(
                f"bilinear(): input{number} size does not match weight size: got {x.size(-1)} but expected {want}"
            )
    left = input1.reshape(-1, i) @ weight.permute(1, 0, 2).reshape(i, k * j)  # (B, K * J)
    out = (left.reshape(-1, k, j) * input2.reshape(-1, 1, j)).sum(-1).reshape(*input1.shape[:-1], k)
    return out if bias is None else out + bias


def conv_tbc(input, weight, bias, pad=0):
    """1-d convolution of a (T, B, C) input with a (K, C, O) weight."""
    out = conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad)
    return out.permute(2, 0, 1)


def channel_shuffle(input, groups):
    """Regroups the channels of (N, C, ...): (N, g, C/g, ...) -> (N, C/g, g, ...) (Zhang et al. 2017)."""
    if input.dim() < 3:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(input.shape)}")
    if groups <= 0:
        raise RuntimeError("Number of groups to divide channels in must be positive. Value of groups:" + str(groups))
    c = input.size(1)
    if c % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups.")
    shape = input.shape
    return input.reshape(shape[0], groups, c // groups, *shape[2:]).transpose(1, 2).reshape(shape)


native_channel_shuffle = channel_shuffle


def pixel_shuffle(input, upscale_factor):
    """(..., C * r^2, H, W) -> (..., C, H * r, W * r) (Shi et al. 2016)."""
    r = upscale_factor
    if input.dim() < 3:
        raise RuntimeError(
            f"pixel_shuffle expects input to have at least 3 dimensions, but got input with {input.dim()} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    *lead, c, h, w = input.shape
    if c % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
            f"but input.size(-3)={c} is not divisible by {r * r}"
        )
    n = len(lead)
    split = input.reshape(*lead, c // (r * r), r, r, h, w)
    mixed = split.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return mixed.reshape(*lead, c // (r * r), h * r, w * r)


def pixel_unshuffle(input, downscale_factor):
    """(..., C, H * r, W * r) -> (..., C * r^2, H, W): the inverse of `pixel_shuffle`."""
    r = downscale_factor
    if input.dim() < 3:
        raise RuntimeError(
            "pixel_unshuffle expects input to have at least 3 dimensions, "
            f"but got input with {input.dim()} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *lead, c, h, w = input.shape
    for name, size, dim in (("height", h, -2), ("width", w, -1)):
        if size % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, "
                f"but input.size({dim})={size} is not divisible by {r}"
            )
    n = len(lead)
    split = input.reshape(*lead, c, h // r, r, w // r, r)
    mixed = split.permute(*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return mixed.reshape(*lead, c * r * r, h // r, w // r)


def _pairs(*values):
    return [tuple(v) if hasattr(v, "__iter__") else (v, v) for v in values]


def _block_counts(size, kernel, dilation, padding, stride):
    return [(s + 2 * p - d * (k - 1) - 1) // st + 1 for s, k, d, p, st in zip(size, kernel, dilation, padding, stride)]


def unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    """Sliding blocks as columns: (N, C, H, W) -> (N, C * kh * kw, L); also without N."""
    if input.dim() not in (3, 4):
        raise RuntimeError(
            f"Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero dimensions for "
            f"input, but got: {list(input.shape)}"
        )
    kernel, dilation, padding, stride = _pairs(kernel_size, dilation, padding, stride)
    x = input if input.dim() == 4 else input.unsqueeze(0)
    blocks = _block_counts(x.shape[2:], kernel, dilation, padding, stride)
    if min(blocks) < 1:
        raise RuntimeError(
            f"Given input with spatial size {tuple(x.shape[2:])}, kernel_size={kernel}, dilation={dilation}, "
            f"padding={padding}, calculated shape of the array of sliding blocks as {tuple(blocks)}, but its "
            "components must be at least one."
        )
    x = _nn.pad(x, (padding[1], padding[1], padding[0], padding[0]), "constant", 0.0).contiguous()
    n, c = x.shape[:2]
    sn, sc, sh, sw = x.stride()
    columns = x.as_strided(
        (n, c, *kernel, *blocks),
        (sn, sc, dilation[0] * sh, dilation[1] * sw, stride[0] * sh, stride[1] * sw),
    ).reshape(n, c * kernel[0] * kernel[1], blocks[0] * blocks[1])
    return columns if input.dim() == 4 else columns.squeeze(0)


def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """Columns summed back to an image: (N, C * kh * kw, L) -> (N, C, H, W); also without N."""
    if input.dim() not in (2, 3):
        raise RuntimeError(
            f"Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size, got: {list(input.shape)}"
        )
    size, kernel, dilation, padding, stride = _pairs(output_size, kernel_size, dilation, padding, stride)
    x = input if input.dim() == 3 else input.unsqueeze(0)
    n, rows, length = x.shape
    area = kernel[0] * kernel[1]
    if rows % area:
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got "
            f"input.size(1)={rows} and kernel_size={kernel}."
        )
    blocks = _block_counts(size, kernel, dilation, padding, stride)
    if blocks[0] * blocks[1] != length or min(blocks) < 1:
        raise RuntimeError(
            f"Given output_size={size}, kernel_size={kernel}, dilation={dilation}, padding={padding}, "
            f"stride={stride}, expected size of input's dimension 2 to match the calculated number of sliding blocks "
            f"{blocks[0]} * {blocks[1]} = {blocks[0] * blocks[1]}, but got input.size(2)={length}."
        )
    c = rows // area
    columns = x.reshape(n, c, *kernel, *blocks)
    padded = [s + 2 * p for s, p in zip(size, padding)]
    out = rtorch.zeros((n, c, *padded), dtype=input.dtype, device=input.device)
    spans = [stride[d] * (blocks[d] - 1) + 1 for d in (0, 1)]
    for i in range(kernel[0]):
        top = i * dilation[0]
        for j in range(kernel[1]):
            left = j * dilation[1]
            place = out[:, :, top : top + spans[0] : stride[0], left : left + spans[1] : stride[1]]
            place.add_(columns[:, :, i, j])
    out = out[:, :, padding[0] : padding[0] + size[0], padding[1] : padding[1] + size[1]]
    return out if input.dim() == 3 else out.squeeze(0)
