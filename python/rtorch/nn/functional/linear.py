"""Linear maps and convolutions: the core's kernels under PyTorch's names, and bilinear forms."""

import rtorch
from rtorch._C import _nn

from ._arguments import per_dimension, tensors

linear = _nn.linear
bilinear = _nn.bilinear
conv1d = _nn.conv1d
conv2d = _nn.conv2d
conv3d = _nn.conv3d
conv_transpose1d = _nn.conv_transpose1d
conv_transpose2d = _nn.conv_transpose2d
conv_transpose3d = _nn.conv_transpose3d
pixel_shuffle = _nn.pixel_shuffle
pixel_unshuffle = _nn.pixel_unshuffle


def _pairs(**given):
    """A number for each direction, given as one or as two."""
    pairs = [per_dimension(value, 2) for value in given.values()]
    for name, pair in zip(given, pairs):
        if len(pair) != 2 and all(isinstance(size, int) for size in pair):
            raise RuntimeError(f"It is expected {name} equals to 2, but got size {len(pair)}")
    return pairs


def unfold(input, kernel_size, dilation=1, padding=0, stride=1):
    """The windows of images (N, C, H, W) or (C, H, W) as columns: (N, C * kernel area, windows).

    >>> import rtorch
    >>> rtorch.nn.functional.unfold(rtorch.zeros(2, 5, 3, 4), (2, 3)).shape
    torch.Size([2, 30, 4])
    """
    return _nn.unfold(input, *_pairs(kernel_size=kernel_size, dilation=dilation, padding=padding, stride=stride))


def fold(input, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """The inverse of `unfold` up to overlaps, which are summed: columns (N, C * kernel area, windows) to images."""
    pairs = _pairs(output_size=output_size, kernel_size=kernel_size, dilation=dilation, padding=padding, stride=stride)
    return _nn.fold(input, *pairs)


def conv_tbc(input, weight, bias, pad=0):
    """1-d convolution of a (T, B, C) input with a (K, C, O) weight."""
    out = conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad)
    return out.permute(2, 0, 1)


@tensors("input")
def channel_shuffle(input, groups):
    """Regroups the channels of (N, C, ...): (N, g, C/g, ...) -> (N, C/g, g, ...) (Zhang et al. 2017)."""
    if input.dim() < 3:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(input.shape)}")
    if isinstance(groups, rtorch.Tensor) and groups.dim() == 0 and not groups.is_floating_point():
        groups = int(groups)
    if not isinstance(groups, int) or isinstance(groups, bool):
        raise TypeError(f"channel_shuffle(): argument 'groups' (position 2) must be int, not {type(groups).__name__}")
    if groups <= 0:
        raise RuntimeError("Number of groups to divide channels in must be positive. Value of groups:" + str(groups))
    c = input.size(1)
    if c % groups:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups.")
    shape = input.shape
    return input.reshape(shape[0], groups, c // groups, *shape[2:]).transpose(1, 2).reshape(shape)


native_channel_shuffle = channel_shuffle
