"""Gradients of convolutions as functions: with respect to the input or to the weight, from the output's gradient."""

import rtorch
from rtorch.nn import functional as F

__all__ = [f"conv{n}d_{of}" for n in (1, 2, 3) for of in ("input", "weight")]


def _of(n, given, other, of_input):
    """conv{n}d's gradient for the argument whose size is given, from (grad_output, stride, padding, ...)."""
    conv = getattr(F, f"conv{n}d")

    def gradient(size, grad_output, stride, padding, dilation, groups):
        with rtorch.enable_grad():
            # A convolution is linear in each: at which point the gradient is taken does not matter.
            x = rtorch.zeros(size, dtype=other.dtype, device=other.device, requires_grad=True)
            pair = (x, other) if of_input else (other, x)
            y = conv(*pair, None, stride, padding, dilation, groups)
        return rtorch.autograd.grad(y, x, grad_output, create_graph=rtorch.is_grad_enabled())[0]

    return gradient(given[0], *given[1:])


def _input_gradient(n):
    def gradient(input_size, weight, grad_output, stride=1, padding=0, dilation=1, groups=1):
        if input_size is None:
            raise ValueError(f"grad.conv{n}d_input requires specifying an input_size")
        return _of(n, (input_size, grad_output, stride, padding, dilation, groups), weight, True)

    gradient.__name__ = gradient.__qualname__ = f"conv{n}d_input"
    gradient.__doc__ = f"The gradient of `conv{n}d` for its input of shape `input_size`."
    return gradient


def _weight_gradient(n):
    def gradient(input, weight_size, grad_output, stride=1, padding=0, dilation=1, groups=1):
        return _of(n, (weight_size, grad_output, stride, padding, dilation, groups), input, False)

    gradient.__name__ = gradient.__qualname__ = f"conv{n}d_weight"
    gradient.__doc__ = f"The gradient of `conv{n}d` for its weight of shape `weight_size`."
    return gradient


conv1d_input, conv2d_input, conv3d_input = map(_input_gradient, (1, 2, 3))
conv1d_weight, conv2d_weight, conv3d_weight = map(_weight_gradient, (1, 2, 3))
