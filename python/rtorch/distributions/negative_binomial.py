"""The negative binomial distribution."""

import rtorch
from rtorch.nn.functional import logsigmoid

from . import constraints
from ._parameters import BinaryParameter
from .gamma import Gamma
from .utils import lazy_property

__all__ = ["NegativeBinomial"]


class NegativeBinomial(BinaryParameter):
    """Hits (of probability `probs`) before `total_count` misses; total_count may be any positive number.

    p(k) = Gamma(n + k) / (k! Gamma(n)) probs^k (1 - probs)^n, which is a Poisson variate of a gamma distributed rate.

    >>> import rtorch
    >>> NegativeBinomial(3, 0.5).mean
    tensor(3.)
    """

    arg_constraints = {
        "total_count": constraints.greater_than_eq(0),
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }
    support = constraints.nonnegative_integer

    def __init__(self, total_count, probs=None, logits=None, validate_args=None):
        batch, (count,) = self._take(probs, logits, total_count)
        self.total_count = count.type_as(self._param)
        super().__init__(batch, validate_args=validate_args)

    @property
    def mean(self):
        return self.total_count * rtorch.exp(self.logits)

    @property
    def mode(self):
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self):
        return self.mean / rtorch.sigmoid(-self.logits)

    @lazy_property
    def _gamma(self):
        return Gamma(concentration=self.total_count, rate=rtorch.exp(-self.logits), validate_args=False)

    def sample(self, sample_shape=()):
        with rtorch.no_grad():
            return rtorch.poisson(self._gamma.sample(sample_shape=sample_shape))

    def log_prob(self, value):
        value = self._checked(value)
        n = self.total_count
        chances = n * logsigmoid(-self.logits) + value * logsigmoid(self.logits)
        orders = rtorch.lgamma(n) + rtorch.lgamma(1.0 + value) - rtorch.lgamma(n + value)
        # 0 misses: nothing was tried, and lgamma(0) - lgamma(0) counts nothing
        return chances - rtorch.where(n + value == 0.0, 0.0, orders)
