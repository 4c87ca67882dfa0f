"""Normalisation over batches, channels, layers and groups. The kernels are the core's; the checks are PyTorch's."""

import math
import operator

from rtorch import Tensor, float32
from rtorch._C import _nn

from .padding import pad
from .pooling import avg_pool2d

layer_norm = _nn.layer_norm
rms_norm = _nn.rms_norm


def _verify_batch_size(size):
    if size[0] * math.prod(size[2:]) == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {size}")


def batch_norm(input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    """(x - mean) / sqrt(var + eps) * weight + bias per channel, over the batch in training (Ioffe & Szegedy 2015)."""
    if training:
        _verify_batch_size(input.size())
        if eps <= 0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    for name, t in (("running_mean", running_mean), ("running_var", running_var)):
        if t is not None and isinstance(t, Tensor) and isinstance(input, Tensor):
            _check_running(name, t, input)
    return _nn.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def _check_running(name, t, input):
    """Running statistics are vectors of the input's dtype, or of float32 where that has 16 bits."""
    if t.dim() != 1:
        raise RuntimeError(f"batch_norm: expected {name} to be a vector, but got {list(t.shape)}")
    if t.dtype != input.dtype and input.is_floating_point() and not (t.dtype == float32 and input.itemsize == 2):
        raise RuntimeError(f"batch_norm: mixed dtype (CPU): {name} of {t.dtype} with an input of {input.dtype}")


def instance_norm(
    input,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats=True,
    momentum=0.1,
    eps=1e-5,
):
    """Batch normalisation of every sample and channel on its own (Ulyanov et al. 2016)."""
    if use_input_stats:
        if math.prod(input.shape[2:]) == 1:
            raise ValueError(f"Expected more than 1 spatial element when training, got input size {input.size()}")
    elif running_mean is None or running_var is None:
        raise RuntimeError("Expected running_mean and running_var to be defined when use_input_stats is false")
    n, c = input.shape[:2]

    def each(t):
        return None if t is None else t.repeat(n)

    # One batch of N * C channels.
    mean, var = each(running_mean), each(running_var)
    flat = input.reshape(1, n * c, *input.shape[2:])
    out = _nn.batch_norm(flat, mean, var, each(weight), each(bias), use_input_stats, momentum, eps)
    if use_input_stats:
        for running, seen in ((running_mean, mean), (running_var, var)):
            if running is not None:
                running.copy_(seen.view(n, c).mean(0))
    return out.view(input.shape)


def group_norm(input, num_groups, weight=None, bias=None, eps=1e-5):
    """Normalises each of `num_groups` groups of channels of a sample (Wu & He 2018)."""
    if input.dim() < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.dim()}")
    n, c = input.shape[:2]
    _verify_batch_size([n * c // num_groups, num_groups, *input.shape[2:]])
    if isinstance(num_groups, Tensor) and num_groups.dim() == 0 and not num_groups.is_floating_point():
        num_groups = int(num_groups)
    elif hasattr(num_groups, "__index__"):
        num_groups = operator.index(num_groups)
    if not isinstance(num_groups, int):
        given = type(num_groups).__name__
        raise TypeError(f"group_norm(): argument 'num_groups' (position 2) must be int, not {given}")
    if c % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, "
            f"but got input of shape {list(input.shape)} and num_groups={num_groups}"
        )
    return _nn.group_norm(input, num_groups, weight, bias, eps)


def local_response_norm(input, size, alpha=1e-4, beta=0.75, k=1.0):
    """x / (k + alpha * mean of x^2 over `size` neighbouring channels) ^ beta (Krizhevsky et al. 2012)."""
    if input.dim() < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {input.dim()} dimensions)")
    if input.numel() == 0:
        return input
    n, c = input.shape[:2]
    squares = (input * input).reshape(n, 1, c, -1)
    squares = pad(squares, (0, 0, size // 2, (size - 1) // 2))
    means = avg_pool2d(squares, (size, 1), stride=1).reshape(input.shape)
    return input / (means * alpha + k).pow(beta)
