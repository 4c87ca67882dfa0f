"""The Dirichlet distribution."""

import rtorch

from . import constraints
from .exp_family import ExponentialFamily

__all__ = ["Dirichlet"]


class Dirichlet(ExponentialFamily):
    """p(x) = prod x_i^(a_i - 1) / B(a) on the simplex, a the concentration [..., k].

    >>> import rtorch
    >>> Dirichlet(rtorch.tensor([1.0, 3.0])).mean
    tensor([0.2500, 0.7500])
    """

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, concentration, validate_args=None):
        if concentration.dim() < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        super().__init__(concentration.shape[:-1], concentration.shape[-1:], validate_args=validate_args)

    def rsample(self, sample_shape=()):
        return rtorch._sample_dirichlet(self.concentration.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value):
        value, a = self._checked(value), self.concentration
        density = rtorch.xlogy(a - 1.0, value).sum(-1)
        return density + rtorch.lgamma(a.sum(-1)) - rtorch.lgamma(a).sum(-1)

    @property
    def mean(self):
        return self.concentration / self.concentration.sum(-1, True)

    @property
    def mode(self):
        above = (self.concentration - 1).clamp(min=0.0)
        mode = above / above.sum(-1, True)
        # nothing above 1: the corners are the modes, the likeliest one is taken
        corners = (self.concentration < 1).all(dim=-1, keepdim=True)
        corner = rtorch.nn.functional.one_hot(mode.nan_to_num().argmax(dim=-1), self.concentration.shape[-1]).to(mode)
        return rtorch.where(corners, corner, mode)

    @property
    def variance(self):
        total = self.concentration.sum(-1, True)
        return self.concentration * (total - self.concentration) / (total.pow(2) * (total + 1))

    def entropy(self):
        a, k = self.concentration, self.concentration.size(-1)
        total = a.sum(-1)
        spread = rtorch.lgamma(a).sum(-1) - rtorch.lgamma(total) - (k - total) * rtorch.digamma(total)
        return spread - ((a - 1.0) * rtorch.digamma(a)).sum(-1)

    @property
    def _natural_params(self):
        return (self.concentration,)

    def _log_normalizer(self, x):
        return x.lgamma().sum(-1) - rtorch.lgamma(x.sum(-1))
