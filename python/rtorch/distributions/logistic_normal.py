"""The logistic-normal distribution."""

from . import constraints
from .normal import Normal
from .transformed_distribution import TransformedDistribution
from .transforms import StickBreakingTransform

__all__ = ["LogisticNormal"]


class LogisticNormal(TransformedDistribution):
    """Stick breaking of k Normal(loc, scale) variates: vectors of k + 1 that sum to 1.

    >>> import rtorch
    >>> LogisticNormal(rtorch.zeros(3), rtorch.ones(3)).event_shape
    torch.Size([4])
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, loc, scale, validate_args=None):
        base = Normal(loc, scale, validate_args=validate_args)
        if not base.batch_shape:
            base = base.expand([1])
        super().__init__(base, StickBreakingTransform(), validate_args=validate_args)

    @property
    def loc(self):
        """Means of the normal variates."""
        return self.base_dist.base_dist.loc

    @property
    def scale(self):
        """Standard deviations of the normal variates."""
        return self.base_dist.base_dist.scale
