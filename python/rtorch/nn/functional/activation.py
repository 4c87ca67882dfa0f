"""Activations. Those on hot paths are the core's own; the rest are compositions, which the core fuses to one kernel.

Every `inplace=True` writes the result back into its input.
"""

from rtorch._C import _nn

import rtorch

__all__ = [
    "celu",
    "celu_",
    "elu",
    "elu_",
    "gelu",
    "glu",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "leaky_relu",
    "leaky_relu_",
    "log_softmax",
    "logsigmoid",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rrelu",
    "rrelu_",
    "selu",
    "selu_",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "threshold_",
]

relu_ = _nn.relu_
elu_ = _nn.elu_
leaky_relu_ = _nn.leaky_relu_
gelu = _nn.gelu
softplus = _nn.softplus


def relu(input, inplace=False):
    """max(0, x)."""
    return _nn.relu_(input) if inplace else _nn.relu(input)


def silu(input, inplace=False):
    """x * sigmoid(x) (Hendrycks & Gimpel 2016, Elfwing et al. 2017)."""
    return _nn.silu_(input) if inplace else _nn.silu(input)


def elu(input, alpha=1.0, inplace=False):
    """x where positive, else alpha * (exp(x) - 1) (Clevert et al. 2015)."""
    return _nn.elu_(input, alpha) if inplace else _nn.elu(input, alpha)


def leaky_relu(input, negative_slope=0.01, inplace=False):
    """x where positive, else negative_slope * x."""
    return _nn.leaky_relu_(input, negative_slope) if inplace else _nn.leaky_relu(input, negative_slope)


def _finish(input, result, inplace):
    return input.copy_(result) if inplace else result


def tanh(input):
    """The hyperbolic tangent."""
    return input.tanh()


def sigmoid(input):
    """1 / (1 + exp(-x))."""
    return input.sigmoid()


def relu6(input, inplace=False):
    """min(max(0, x), 6)."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    """x limited to [min_val, max_val]."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    if input.dtype == rtorch.bool:
        raise RuntimeError("Bool inputs not supported for hardtanh")
    return input.clamp_(min_val, max_val) if inplace else input.clamp(min_val, max_val)


def hardtanh_(input, min_val=-1.0, max_val=1.0):
    """In-place `hardtanh`."""
    return hardtanh(input, min_val, max_val, True)


def hardsigmoid(input, inplace=False):
    """relu6(x + 3) / 6 (Howard et al. 2019)."""
    return _finish(input, (input + 3.0).clamp(0.0, 6.0) / 6.0, inplace)


def hardswish(input, inplace=False):
    """x * relu6(x + 3) / 6 (Howard et al. 2019)."""
    return _finish(input, input * (input + 3.0).clamp(0.0, 6.0) / 6.0, inplace)


def mish(input, inplace=False):
    """x * tanh(softplus(x)) (Misra 2019)."""
    return _finish(input, input * softplus(input).tanh(), inplace)


def _exponential_unit(input, alpha, scale, input_scale, inplace):
    # The clamp keeps exp of a large x, which the branch not taken would turn into NaN, out of the gradient.
    negative = (input.clamp(max=0.0) * input_scale).expm1() * (alpha * scale)
    return _finish(input, rtorch.where(input > 0, input * scale, negative), inplace)


def selu(input, inplace=False):
    """scale * elu(x, alpha) with the self-normalising constants of Klambauer et al. 2017."""
    return _exponential_unit(input, 1.6732632423543772, 1.0507009873554805, 1.0, inplace)


def selu_(input):
    """In-place `selu`."""
    return selu(input, True)


def celu(input, alpha=1.0, inplace=False):
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1)) (Barron 2017)."""
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _exponential_unit(input, alpha, 1.0, 1.0 / alpha, inplace)


def celu_(input, alpha=1.0):
    """In-place `celu`."""
    return celu(input, alpha, True)


def logsigmoid(input):
    """log(sigmoid(x)), without overflow."""
    return -softplus(-input)


def softsign(input):
    """x / (1 + |x|)."""
    return input / (input.abs() + 1)


def tanhshrink(input):
    """x - tanh(x)."""
    return input - input.tanh()


def hardshrink(input, lambd=0.5):
    """x outside [-lambd, lambd], else 0."""
    return rtorch.where((input >= -lambd) & (input <= lambd), rtorch.zeros_like(input), input)


def softshrink(input, lambd=0.5):
    """x moved towards 0 by lambd, 0 inside [-lambd, lambd]."""
    if lambd < 0:
        raise RuntimeError(f"lambda must be greater or equal to 0, but found to be {lambd:g}.")
    shrunk = rtorch.where(input > 0, input - lambd, input + lambd)
    # Written so that NaN fails the test and passes through.
    return rtorch.where(input.abs() <= lambd, rtorch.zeros_like(input), shrunk)


def threshold(input, threshold, value, inplace=False):
    """x where greater than `threshold`, else `value`."""
    return _finish(input, rtorch.where(input <= threshold, rtorch.full_like(input, value), input), inplace)


def threshold_(input, threshold_value, value):
    """In-place `threshold`."""
    return threshold(input, threshold_value, value, True)


def glu(input, dim=-1):
    """a * sigmoid(b), where a and b are the halves of the input along `dim` (Dauphin et al. 2016)."""
    if input.dim() == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    if input.size(dim) % 2:
        axis = dim % input.dim()
        raise RuntimeError(f"Halving dimension must be even, but dimension {axis} is size {input.size(dim)}")
    a, b = input.chunk(2, dim)
    return a * b.sigmoid()


def prelu(input, weight):
    """x where positive, else weight * x; one weight, or one per channel (dimension 1) (He et al. 2015)."""
    if weight.dim() > 1:
        raise RuntimeError(f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.dim()}")
    if weight.numel() != 1:
        if input.dim() == 0:
            raise RuntimeError("Not allow zero-dim input tensor.")
        channels = input.size(1) if input.dim() > 1 else 1
        if channels != weight.numel():
            raise RuntimeError(
                "Mismatch of parameter numbers and input channel size. "
                f"Found parameter numbers = {weight.numel()} and channel size = {channels}."
            )
        weight = weight.reshape(-1, *(1,) * (input.dim() - 2))
    elif weight.dim():
        weight = weight.reshape(())
    return rtorch.where(input > 0, input, weight * input)


def rrelu(input, lower=1.0 / 8, upper=1.0 / 3, training=False, inplace=False):
    """Leaky relu with a slope drawn from U(lower, upper) per element in training, else their mean (Xu et al. 2015)."""
    if lower > upper:
        raise RuntimeError(f"Lower bound should be less than or equal to the upper bound, got lower={lower}")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    mask = input <= 0
    # One 53-bit draw per non-positive element, in order: PyTorch's stream.
    drawn = rtorch.empty(int(mask.sum()), dtype=rtorch.float64).uniform_(lower, upper)
    slope = rtorch.ones_like(input).masked_scatter(mask, drawn.to(input.device, input.dtype))
    return _finish(input, input * slope.detach(), inplace)


def rrelu_(input, lower=1.0 / 8, upper=1.0 / 3, training=False):
    """In-place `rrelu`."""
    return rrelu(input, lower, upper, training, True)


def _implicit_dim(name, ndim, stacklevel):
    import warnings

    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if ndim in (0, 1, 3) else 1


def softmax(input, dim=None, _stacklevel=3, dtype=None):
    """exp(x) / sum(exp(x)) along `dim`."""
    if dim is None:
        dim = _implicit_dim("softmax", input.dim(), _stacklevel)
    return input.softmax(dim) if dtype is None else input.softmax(dim, dtype=dtype)


def softmin(input, dim=None, _stacklevel=3, dtype=None):
    """softmax(-x) along `dim`."""
    if dim is None:
        dim = _implicit_dim("softmin", input.dim(), _stacklevel)
    return softmax(-input, dim, _stacklevel, dtype)


def log_softmax(input, dim=None, _stacklevel=3, dtype=None):
    """log(softmax(x)) along `dim`, computed stably."""
    if dim is None:
        dim = _implicit_dim("log_softmax", input.dim(), _stacklevel)
    return input.log_softmax(dim) if dtype is None else input.log_softmax(dim, dtype=dtype)


def gumbel_softmax(logits, tau=1, hard=False, eps=1e-10, dim=-1):
    """A sample of the Gumbel-softmax distribution; `hard` rounds it, with the soft gradient (Jang et al. 2016)."""
    gumbels = -rtorch.empty_like(logits).exponential_().log()
    soft = ((logits + gumbels) / tau).softmax(dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    one_hot = rtorch.zeros_like(logits).scatter_(dim, index, 1.0)
    return one_hot - soft.detach() + soft
