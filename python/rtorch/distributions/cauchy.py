"""The Cauchy distribution."""

import math

import rtorch
from rtorch import inf, nan

from . import constraints
from .distribution import Distribution
from .utils import batch_of, broadcast_all

__all__ = ["Cauchy"]


class Cauchy(Distribution):
    """p(x) = 1 / (pi scale (1 + ((x - loc) / scale)^2)); it has no mean.

    >>> import rtorch
    >>> Cauchy(0.0, 1.0).cdf(rtorch.tensor(1.0))
    tensor(0.7500)
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc, scale, validate_args=None):
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(batch_of(self.loc, loc, scale), validate_args=validate_args)

    def _all(self, value):
        shape = self._extended_shape()
        return rtorch.full(shape, value, dtype=self.loc.dtype, device=self.loc.device)

    @property
    def mean(self):
        return self._all(nan)

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        return self._all(inf)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        return self.loc + rtorch.empty(shape, dtype=self.loc.dtype, device=self.loc.device).cauchy_() * self.scale

    def log_prob(self, value):
        value = self._checked(value)
        return -math.log(math.pi) - self.scale.log() - (((value - self.loc) / self.scale) ** 2).log1p()

    def cdf(self, value):
        value = self._checked(value)
        return rtorch.atan((value - self.loc) / self.scale) / math.pi + 0.5

    def icdf(self, value):
        return rtorch.tan(math.pi * (value - 0.5)) * self.scale + self.loc

    def entropy(self):
        return math.log(4 * math.pi) + self.scale.log()
