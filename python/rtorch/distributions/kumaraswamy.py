"""The Kumaraswamy distribution."""

import rtorch
from rtorch import nan

from . import constraints
from .transformed_distribution import TransformedDistribution
from .transforms import AffineTransform, PowerTransform
from .uniform import Uniform
from .utils import broadcast_all, euler_constant

__all__ = ["Kumaraswamy"]


def _moment(a, b, n):
    """E[x^n] = b B(1 + n / a, b)."""
    arg = 1 + n / a
    return rtorch.exp(rtorch.lgamma(arg) + rtorch.lgamma(b) - rtorch.lgamma(arg + b)) * b


class Kumaraswamy(TransformedDistribution):
    """p(x) = a b x^(a - 1) (1 - x^a)^(b - 1) on [0, 1], a = concentration1, b = concentration0: much like Beta(a, b),
    with a quantile function in closed form.

    >>> import rtorch
    >>> Kumaraswamy(rtorch.tensor([1.0]), rtorch.tensor([1.0])).mean
    tensor([0.5000])
    """

    arg_constraints = {"concentration1": constraints.positive, "concentration0": constraints.positive}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, concentration1, concentration0, validate_args=None):
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        base = Uniform(
            rtorch.zeros_like(self.concentration0), rtorch.ones_like(self.concentration0), validate_args=validate_args
        )
        super().__init__(base, self._chain(), validate_args=validate_args)

    def _chain(self):
        """1 - (1 - u)^(1 / b), to the power of 1 / a (u and 1 - u are drawn alike)."""
        return [
            PowerTransform(exponent=self.concentration0.reciprocal()),
            AffineTransform(loc=1.0, scale=-1.0),
            PowerTransform(exponent=self.concentration1.reciprocal()),
        ]

    @property
    def mean(self):
        return _moment(self.concentration1, self.concentration0, 1)

    @property
    def mode(self):
        a, b = self.concentration1, self.concentration0
        mode = ((a - 1) / (a * b - 1)) ** a.reciprocal()
        return rtorch.where((a < 1) | (b < 1), nan, mode)

    @property
    def variance(self):
        return _moment(self.concentration1, self.concentration0, 2) - self.mean.pow(2)

    def entropy(self):
        t1, t0 = 1 - self.concentration1.reciprocal(), 1 - self.concentration0.reciprocal()
        harmonic = rtorch.digamma(self.concentration0 + 1) + euler_constant
        return t0 + t1 * harmonic - rtorch.log(self.concentration1) - rtorch.log(self.concentration0)
