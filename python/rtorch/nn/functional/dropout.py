"""Dropout in its variants. The noise is drawn as PyTorch draws it: `bernoulli_(1 - p)` over the noise's own shape."""

import math
import warnings

import rtorch
from rtorch._C import _nn

from ._arguments import tensors

# alpha' of self-normalising networks: -scale * alpha of SELU (Klambauer et al. 2017).
_ALPHA = 1.7580993408473766


def _check(p):
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def dropout(input, p=0.5, training=True, inplace=False):
    """Zeroes elements with probability p and scales the rest by 1 / (1 - p) (Hinton et al. 2012)."""
    if p < 0.0 or p > 1.0:
        _check(p)
    result = _nn.dropout(input, p, training)
    return input.copy_(result) if inplace and result is not input else result


def _channel_noise(input):
    """An empty tensor of one element per (sample, channel)."""
    if input.dim() < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    return rtorch.empty((*input.shape[:2], *(1,) * (input.dim() - 2)), dtype=input.dtype, device=input.device)


def _feature_dropout(input, p, training, inplace):
    if p == 0 or not training or input.numel() == 0:
        return input
    if p == 1:
        result = input * 0.0
    else:
        result = input * _channel_noise(input).bernoulli_(1 - p).div_(1 - p)
    return input.copy_(result) if inplace else result


def _dropout_nd(name, input, p, training, inplace, batched, unbatched):
    _check(p)
    n = input.dim()
    if n not in (batched, unbatched):
        message = (
            f"{name}: Received a {n}-D input to {name}, which is deprecated and will result in an error in a future "
            f"release. To retain the behavior and silence this warning, please use dropout instead."
        )
        if name == "dropout1d":
            raise RuntimeError(f"dropout1d: Expected 2D or 3D input, but received a {n}D input. " + message)
        warnings.warn(message, stacklevel=3)
    # dropout2d takes a 3-D input as (N, C, L): a quirk of PyTorch that its users rely on.
    lone = n == unbatched and name != "dropout2d"
    if not lone:
        return _feature_dropout(input, p, training, inplace)
    return _feature_dropout(input.unsqueeze(0), p, training, inplace).squeeze(0)


def dropout1d(input, p=0.5, training=True, inplace=False):
    """Zeroes whole channels of an (N, C, L) or (C, L) input."""
    return _dropout_nd("dropout1d", input, p, training, inplace, 3, 2)


def dropout2d(input, p=0.5, training=True, inplace=False):
    """Zeroes whole channels of an (N, C, H, W) input (Tompson et al. 2014)."""
    return _dropout_nd("dropout2d", input, p, training, inplace, 4, 3)


def dropout3d(input, p=0.5, training=True, inplace=False):
    """Zeroes whole channels of an (N, C, D, H, W) or (C, D, H, W) input."""
    return _dropout_nd("dropout3d", input, p, training, inplace, 5, 4)


def _alpha(input, noise, p, inplace):
    if p == 1:
        result = input * 0.0
    else:
        a = 1.0 / math.sqrt((_ALPHA**2 * p + 1) * (1 - p))
        noise = noise.bernoulli_(1 - p)
        shift = (noise - 1) * (_ALPHA * a) + _ALPHA * a * p
        result = input * (noise * a) + shift
    return input.copy_(result) if inplace else result


@tensors("input")
def alpha_dropout(input, p=0.5, training=False, inplace=False):
    """Dropout that keeps the mean and variance of self-normalising activations (Klambauer et al. 2017)."""
    _check(p)
    if p == 0 or not training or input.numel() == 0:
        return input
    return _alpha(input, rtorch.empty_like(input), p, inplace)


@tensors("input")
def feature_alpha_dropout(input, p=0.5, training=False, inplace=False):
    """`alpha_dropout` of whole channels."""
    _check(p)
    if p == 0 or not training or input.numel() == 0:
        return input
    return _alpha(input, _channel_noise(input), p, inplace)
