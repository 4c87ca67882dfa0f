"""The generalized Pareto distribution."""

import rtorch
from rtorch import inf

from . import constraints
from .distribution import Distribution
from .utils import batch_of, broadcast_all

__all__ = ["GeneralizedPareto"]


class GeneralizedPareto(Distribution):
    """P(x > loc + scale z) = (1 + concentration z)^(-1 / concentration); exp(-z) where concentration is 0.

    >>> import rtorch
    >>> GeneralizedPareto(0.0, 1.0, 0.0).mean
    tensor(1.)
    """

    arg_constraints = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "concentration": constraints.real,
    }
    has_rsample = True

    def __init__(self, loc, scale, concentration, validate_args=None):
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        super().__init__(batch_of(self.loc, loc, scale, concentration), validate_args=validate_args)

    def _exponential(self):
        """Where is the concentration 0, and a concentration that may be divided by."""
        zero = rtorch.isclose(self.concentration, rtorch.zeros_like(self.concentration))
        return zero, rtorch.where(zero, rtorch.ones_like(self.concentration), self.concentration)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        return self.icdf(rtorch.rand(shape, dtype=self.loc.dtype, device=self.loc.device))

    def _z(self, x):
        return (x - self.loc) / self.scale

    def log_prob(self, value):
        z = self._z(self._checked(value))
        zero, c = self._exponential()
        power = -(1 + 1 / c) * rtorch.log1p(c * z)
        return -self.scale.log() + rtorch.where(zero, -z, power)

    def log_survival_function(self, value):
        """log P(x > value)."""
        z = self._z(self._checked(value))
        zero, c = self._exponential()
        return rtorch.where(zero, -z, -rtorch.log1p(c * z) / c)

    def log_cdf(self, value):
        """log P(x <= value)."""
        return rtorch.log1p(-rtorch.exp(self.log_survival_function(value)))

    def cdf(self, value):
        return rtorch.exp(self.log_cdf(value))

    def icdf(self, value):
        zero, c = self._exponential()
        log_survival = rtorch.log1p(-value)
        return self.loc + self.scale * rtorch.where(zero, -log_survival, rtorch.expm1(-c * log_survival) / c)

    @property
    def mean(self):
        c = self.concentration
        return rtorch.where(c < 1, self.loc + self.scale / (1 - c), inf)

    @property
    def variance(self):
        c = self.concentration
        return rtorch.where(c < 0.5, self.scale**2 / ((1 - c) ** 2 * (1 - 2 * c)), inf)

    def entropy(self):
        return rtorch.log(self.scale) + self.concentration + 1

    @property
    def mode(self):
        return self.loc

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self):
        c = self.concentration
        return constraints.interval(self.loc, rtorch.where(c < 0, self.loc - self.scale / c, inf))
