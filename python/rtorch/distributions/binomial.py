"""The binomial distribution."""

import rtorch

from . import constraints
from ._parameters import BinaryParameter

__all__ = ["Binomial"]


def _positive_part(x):
    """max(x, 0), with half the gradient at 0."""
    return (x.clamp(min=0) + x - x.clamp(max=0)) / 2


class Binomial(BinaryParameter):
    """Hits among `total_count` tries: p(k) = C(n, k) probs^k (1 - probs)^(n - k).

    >>> import rtorch
    >>> Binomial(10, 0.5).mean
    tensor(5.)
    """

    arg_constraints = {
        "total_count": constraints.nonnegative_integer,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    has_enumerate_support = True

    def __init__(self, total_count=1, probs=None, logits=None, validate_args=None):
        batch, (count,) = self._take(probs, logits, total_count)
        self.total_count = count.type_as(self._param)
        super().__init__(batch, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self):
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self):
        return self.total_count * self.probs

    @property
    def mode(self):
        return ((self.total_count + 1) * self.probs).floor().clamp(max=self.total_count)

    @property
    def variance(self):
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        with rtorch.no_grad():
            return rtorch.binomial(self.total_count.expand(shape), self.probs.expand(shape))

    def log_prob(self, value):
        value = self._checked(value)
        n = self.total_count
        orders = rtorch.lgamma(n + 1) - rtorch.lgamma(value + 1) - rtorch.lgamma(n - value + 1)
        # k log p + (n - k) log(1 - p) = k logits - n log(1 + exp(logits)), in a form that does not overflow
        chances = n * (_positive_part(self.logits) + rtorch.log1p(rtorch.exp(-rtorch.abs(self.logits))))
        return value * self.logits + orders - chances

    def entropy(self):
        total = int(self.total_count.max())
        if not self.total_count.min() == total:
            raise NotImplementedError("Inhomogeneous total count not supported by `entropy`.")
        log_prob = self.log_prob(self.enumerate_support(False))
        return -(rtorch.exp(log_prob) * log_prob).sum(0)

    def enumerate_support(self, expand=True):
        total = int(self.total_count.max())
        if not self.total_count.min() == total:
            raise NotImplementedError("Inhomogeneous total count not supported by `enumerate_support`.")
        return self._enumerated(rtorch.arange(1 + total, dtype=self._param.dtype, device=self._param.device), expand)
