"""The Gumbel distribution."""

import math

import rtorch

from . import constraints
from .transformed_distribution import TransformedDistribution
from .transforms import AffineTransform, ExpTransform
from .uniform import Uniform
from .utils import broadcast_all, euler_constant, is_number

__all__ = ["Gumbel"]


class Gumbel(TransformedDistribution):
    """p(x) = exp(-(z + exp(-z))) / scale, z = (x - loc) / scale: the largest of many.

    >>> import rtorch
    >>> Gumbel(0.0, 1.0).mean
    tensor(0.5772)
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    _tensors = ("loc", "scale")

    def __init__(self, loc, scale, validate_args=None):
        self.loc, self.scale = broadcast_all(loc, scale)
        limits = rtorch.finfo(self.loc.dtype)
        low, high = limits.tiny, 1 - limits.eps
        if not (is_number(loc) and is_number(scale)):
            low, high = rtorch.full_like(self.loc, low), rtorch.full_like(self.loc, high)
        super().__init__(Uniform(low, high, validate_args=validate_args), self._chain(), validate_args=validate_args)

    def _chain(self):
        """From a uniform variate: -log, -log, then loc and scale."""
        minus = AffineTransform(loc=0, scale=-rtorch.ones_like(self.scale))
        return [ExpTransform().inv, minus, ExpTransform().inv, AffineTransform(loc=self.loc, scale=-self.scale)]

    def log_prob(self, value):
        y = (self.loc - self._checked(value)) / self.scale
        return (y - y.exp()) - self.scale.log()

    @property
    def mean(self):
        return self.loc + self.scale * euler_constant

    @property
    def mode(self):
        return self.loc

    @property
    def stddev(self):
        return (math.pi / math.sqrt(6)) * self.scale

    @property
    def variance(self):
        return self.stddev.pow(2)

    def entropy(self):
        return self.scale.log() + (1 + euler_constant)
