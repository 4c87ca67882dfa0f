"""The gamma distribution."""

import rtorch

from . import constraints
from .exp_family import ExponentialFamily
from .utils import batch_of, broadcast_all

__all__ = ["Gamma"]


class Gamma(ExponentialFamily):
    """p(x) = rate^a x^(a - 1) exp(-rate x) / Gamma(a), a the concentration.

    Draws are Marsaglia and Tsang's (2000); their gradient in the concentration is implicit (Figurnov et al. 2018).

    >>> import rtorch
    >>> Gamma(3.0, 2.0).mean
    tensor(1.5000)
    """

    arg_constraints = {"concentration": constraints.positive, "rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, concentration, rate, validate_args=None):
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(batch_of(self.concentration, concentration, rate), validate_args=validate_args)

    @property
    def mean(self):
        return self.concentration / self.rate

    @property
    def mode(self):
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self):
        return self.concentration / self.rate.pow(2)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        draws = rtorch._standard_gamma(self.concentration.expand(shape)) / self.rate.expand(shape)
        # a draw that rounds to zero has no logarithm
        draws.detach().clamp_(min=rtorch.finfo(draws.dtype).tiny)
        return draws

    def log_prob(self, value):
        value = self._checked(rtorch.as_tensor(value, dtype=self.rate.dtype, device=self.rate.device))
        a = self.concentration
        return rtorch.xlogy(a, self.rate) + rtorch.xlogy(a - 1, value) - self.rate * value - rtorch.lgamma(a)

    def entropy(self):
        a = self.concentration
        return a - rtorch.log(self.rate) + rtorch.lgamma(a) + (1.0 - a) * rtorch.digamma(a)

    def cdf(self, value):
        return rtorch.special.gammainc(self.concentration, self.rate * self._checked(value))

    @property
    def _natural_params(self):
        return self.concentration - 1, -self.rate

    def _log_normalizer(self, x, y):
        return rtorch.lgamma(x + 1) + (x + 1) * rtorch.log(-y.reciprocal())
