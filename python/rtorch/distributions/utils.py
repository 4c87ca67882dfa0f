"""What the distributions share: parameters made tensors of one shape, probabilities and logits, lazy attributes."""

import rtorch
from rtorch import is_tensor
from rtorch.nn.functional import binary_cross_entropy_with_logits

__all__ = [
    "broadcast_all",
    "clamp_probs",
    "euler_constant",
    "lazy_property",
    "logits_to_probs",
    "probs_to_logits",
    "tril_matrix_to_vec",
    "vec_to_tril_matrix",
]

euler_constant = 0.57721566490153286060


def is_number(value):
    """A Python number (bools are)?"""
    return isinstance(value, (int, float))


def batch_of(tensor, *given):
    """The batch shape of parameters given as `given` and broadcast to `tensor`: numbers alone make no batch."""
    return rtorch.Size() if all(is_number(g) for g in given) else tensor.size()


def broadcast_all(*values):
    """Numbers and tensors as tensors of their common shape; numbers take the dtype and device of the first tensor.

    >>> import rtorch
    >>> a, b = broadcast_all(1.0, rtorch.zeros(2))
    >>> a
    tensor([1., 1.])
    """
    tensors = [v for v in values if is_tensor(v)]
    for v in values:
        if not (is_tensor(v) or is_number(v)):
            raise ValueError(
                "Input arguments must all be instances of Number, torch.Tensor or objects implementing "
                "__torch_function__."
            )
    if len(tensors) == len(values):
        return rtorch.broadcast_tensors(*values)
    like = {"dtype": rtorch.get_default_dtype()}
    if tensors:
        like = {"dtype": tensors[0].dtype, "device": tensors[0].device}
    return rtorch.broadcast_tensors(*[v if is_tensor(v) else rtorch.tensor(v, **like) for v in values])


def _standard_normal(shape, dtype, device):
    return rtorch.normal(
        rtorch.zeros(shape, dtype=dtype, device=device), rtorch.ones(shape, dtype=dtype, device=device)
    )


def _sum_rightmost(value, dim):
    """The sum over the last `dim` dimensions."""
    if dim == 0:
        return value
    return value.reshape(value.shape[:-dim] + (-1,)).sum(-1)


def logits_to_probs(logits, is_binary=False):
    """Probabilities of log-odds (binary), or of log-probabilities up to a constant (last dimension)."""
    return rtorch.sigmoid(logits) if is_binary else rtorch.softmax(logits, dim=-1)


def clamp_probs(probs):
    """Probabilities moved into [eps, 1 - eps], so that their logarithms are finite."""
    eps = rtorch.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs, is_binary=False):
    """Log-odds (binary) or log-probabilities."""
    clamped = clamp_probs(probs)
    if is_binary:
        return rtorch.log(clamped) - rtorch.log1p(-clamped)
    return rtorch.log(clamped)


def log_odds_loss(logits, value):
    """-log of the probability of `value` (0 or 1) under log-odds, element by element."""
    return binary_cross_entropy_with_logits(logits, value, reduction="none")


class lazy_property:
    """A property computed when first asked for, and kept as a plain attribute from then on; asked of the class, itself
    a property, so that tools see one."""

    def __init__(self, wrapped):
        self.wrapped = wrapped
        self.__name__ = wrapped.__name__
        self.__doc__ = wrapped.__doc__

    def __get__(self, instance, obj_type=None):
        if instance is None:
            return _LazyPropertyAndProperty(self.wrapped)
        with rtorch.enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value


class _LazyPropertyAndProperty(lazy_property, property):
    """What a lazy property is on the class."""

    def __init__(self, wrapped):
        property.__init__(self, wrapped)


def tril_matrix_to_vec(mat, diag=0):
    """The elements on and below diagonal `diag` of square matrices [..., n, n], row by row: a vector for each."""
    n = mat.shape[-1]
    if not (-n <= diag < n):
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    rows = rtorch.arange(n, device=mat.device)
    return mat[..., rows < rows.view(-1, 1) + (diag + 1)]


def vec_to_tril_matrix(vec, diag=0):
    """The inverse of `tril_matrix_to_vec`, zeros elsewhere.

    >>> import rtorch
    >>> vec_to_tril_matrix(rtorch.tensor([1.0, 2.0, 3.0]))
    tensor([[1., 0.],
            [2., 3.]])
    """
    length, d = vec.shape[-1], 2 * diag + 1
    # length = n (n + 1) / 2 for diag = 0, and d moves both
    n = (-d + (d * d + 8 * length + 4 * abs(diag) * (diag + 1)) ** 0.5) / 2
    if abs(n - round(n)) > rtorch.finfo(vec.dtype).eps * max(n, 1):
        raise ValueError(
            f"The size of last dimension is {length} which cannot be expressed as the lower triangular part of a "
            "square D x D matrix."
        )
    n = round(n)
    mat = vec.new_zeros(vec.shape[:-1] + (n, n))
    rows = rtorch.arange(n, device=vec.device)
    mat[..., rows < rows.view(-1, 1) + (diag + 1)] = vec
    return mat


def one_of_probs_and_logits(probs, logits):
    """PyTorch's refusal unless exactly one of the two is given."""
    if (probs is None) == (logits is None):
        raise ValueError("Either `probs` or `logits` must be specified, but not both.")
