"""Activations: the core's own under PyTorch's names and arguments, and a few compositions.

Every `inplace=True` writes the result back into its input.
"""

import warnings

import rtorch
from rtorch._C import _nn

from ._arguments import floating, tensors

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
selu_ = _nn.selu_
celu_ = _nn.celu_
threshold_ = _nn.threshold_
elu_ = _nn.elu_
leaky_relu_ = _nn.leaky_relu_
hardtanh_ = _nn.hardtanh_
gelu = _nn.gelu
hardshrink = _nn.hardshrink
logsigmoid = _nn.logsigmoid
prelu = _nn.prelu
softplus = _nn.softplus
softshrink = _nn.softshrink


def relu(input, inplace=False):
    """max(0, x)."""
    return _nn.relu_(input) if inplace else _nn.relu(input)


def silu(input, inplace=False):
    """x * sigmoid(x) (Hendrycks & Gimpel 2016, Elfwing et al. 2017)."""
    if rtorch.is_tensor(input) and input.is_complex():
        return input.mul_(input.sigmoid()) if inplace else input * input.sigmoid()
    return _nn.silu_(input) if inplace else _nn.silu(input)


def elu(input, alpha=1.0, inplace=False):
    """x where positive, else alpha * (exp(x) - 1) (Clevert et al. 2015)."""
    return _nn.elu_(input, alpha) if inplace else _nn.elu(input, alpha)


def leaky_relu(input, negative_slope=0.01, inplace=False):
    """x where positive, else negative_slope * x."""
    return _nn.leaky_relu_(input, negative_slope) if inplace else _nn.leaky_relu(input, negative_slope)


@tensors("input")
def tanh(input):
    """The hyperbolic tangent."""
    return input.tanh()


@tensors("input")
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
    return _nn.hardtanh_(input, min_val, max_val) if inplace else _nn.hardtanh(input, min_val, max_val)


def hardsigmoid(input, inplace=False):
    """relu6(x + 3) / 6 (Howard et al. 2019)."""
    return _nn.hardsigmoid_(input) if inplace else _nn.hardsigmoid(input)


def hardswish(input, inplace=False):
    """x * relu6(x + 3) / 6 (Howard et al. 2019)."""
    return _nn.hardswish_(input) if inplace else _nn.hardswish(input)


def mish(input, inplace=False):
    """x * tanh(softplus(x)) (Misra 2019)."""
    return _nn.mish_(input) if inplace else _nn.mish(input)


def selu(input, inplace=False):
    """scale * elu(x, alpha) with the self-normalising constants of Klambauer et al. 2017."""
    return _nn.selu_(input) if inplace else _nn.selu(input)


def celu(input, alpha=1.0, inplace=False):
    """max(0, x) + min(0, alpha * (exp(x / alpha) - 1)) (Barron 2017)."""
    return _nn.celu_(input, alpha) if inplace else _nn.celu(input, alpha)


def softsign(input):
    """x / (1 + |x|)."""
    return input / (input.abs() + 1)


def tanhshrink(input):
    """x - tanh(x)."""
    return input - input.tanh()


def threshold(input, threshold, value, inplace=False):
    """x where greater than `threshold`, else `value`."""
    return _nn.threshold_(input, threshold, value) if inplace else _nn.threshold(input, threshold, value)


def glu(input, dim=-1):
    """a * sigmoid(b), the halves of x along `dim` (Dauphin et al. 2016)."""
    if input.dim() == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    if input.size(dim) % 2 == 0:
        floating("glu_cpu", input)
    return _nn.glu(input, dim)


@tensors("input")
def rrelu(input, lower=1.0 / 8, upper=1.0 / 3, training=False, inplace=False):
    """Leaky relu with a slope drawn from U(lower, upper) per element in training, else their mean (Xu et al. 2015)."""
    if lower > upper:
        raise RuntimeError(f"Lower bound should be less than or equal to the upper bound, got lower={lower}")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    floating("rrelu_with_noise_out_cpu", input)
    mask = input <= 0
    # One 53-bit draw per non-positive element, in order: PyTorch's stream.
    drawn = rtorch.empty(int(mask.sum()), dtype=rtorch.float64, device="cpu").uniform_(lower, upper)
    slope = rtorch.ones_like(input)
    slope[mask] = drawn.to(input.device, input.dtype)
    result = input * slope
    return input.copy_(result) if inplace else result


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
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    gumbels = -rtorch.empty_like(logits).exponential_().log()
    soft = ((logits + gumbels) / tau).softmax(dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    one_hot = rtorch.zeros_like(logits).scatter_(dim, index, 1.0)
    return one_hot - soft.detach() + soft
