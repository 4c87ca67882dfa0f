"""Student's t-distribution."""

import math

import rtorch
from rtorch import inf, nan

from . import constraints
from .chi2 import Chi2
from .distribution import Distribution
from .utils import _standard_normal, broadcast_all

__all__ = ["StudentT"]


class StudentT(Distribution):
    """A standard normal variate over the root of an independent chi-squared one by its degrees of freedom `df`, times
    scale, plus loc.

    >>> import rtorch
    >>> StudentT(rtorch.tensor([4.0])).variance
    tensor([2.])
    """

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    _parts = ("_chi2",)

    def __init__(self, df, loc=0.0, scale=1.0, validate_args=None):
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        self._chi2 = Chi2(self.df)
        super().__init__(self.df.size(), validate_args=validate_args)

    @property
    def mean(self):
        return rtorch.where(self.df <= 1, nan, self.loc)

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        exact = self.scale.pow(2) * self.df / (self.df - 2)
        return rtorch.where(self.df > 2, exact, rtorch.where(self.df > 1, inf, nan))

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        x = _standard_normal(shape, dtype=self.df.dtype, device=self.df.device)
        z = self._chi2.rsample(sample_shape)
        return self.loc + self.scale * (x * rtorch.rsqrt(z / self.df))

    def log_prob(self, value):
        y = (self._checked(value) - self.loc) / self.scale
        half = 0.5 * self.df
        constant = self.scale.log() + 0.5 * (self.df.log() + math.log(math.pi))
        constant = constant + rtorch.lgamma(half) - rtorch.lgamma(half + 0.5)
        return -(half + 0.5) * rtorch.log1p(y**2.0 / self.df) - constant

    def entropy(self):
        half = 0.5 * self.df
        log_beta = rtorch.lgamma(half) + math.lgamma(0.5) - rtorch.lgamma(half + 0.5)
        shape = (half + 0.5) * (rtorch.digamma(half + 0.5) - rtorch.digamma(half))
        return self.scale.log() + shape + 0.5 * self.df.log() + log_beta
