"""The continuous Bernoulli distribution."""

import math

import rtorch

from . import constraints
from ._parameters import BinaryParameter
from .exp_family import ExponentialFamily
from .utils import broadcast_all, clamp_probs, lazy_property, log_odds_loss, logits_to_probs

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(BinaryParameter, ExponentialFamily):
    """p(x) = C(probs) probs^x (1 - probs)^(1 - x) on [0, 1] (Loaiza-Ganem & Cunningham 2019).

    Where probs lies between `lims`, around 1/2, formulas that divide zero by zero there give way to Taylor series.

    >>> import rtorch
    >>> ContinuousBernoulli(0.5).log_prob(rtorch.tensor(0.3))
    tensor(0.)
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True
    _mean_carrier_measure = 0

    def __init__(self, probs=None, logits=None, lims=(0.499, 0.501), validate_args=None):
        batch, _ = self._take(probs, logits)
        self._lims = lims
        if self._given == "probs":
            # As in PyTorch, checked only where that was asked for: clamped, any number will do.
            if validate_args is not None and not bool(self.arg_constraints["probs"].check(self.probs).all()):
                raise ValueError("The parameter probs has invalid values")
            self.probs = clamp_probs(self.probs)  # the ends have no finite density
        super().__init__(batch, validate_args=validate_args)

    @lazy_property
    def probs(self):
        """Probabilities, away from 0 and 1."""
        return clamp_probs(logits_to_probs(self.logits, is_binary=True))

    def _safe(self):
        """Is each probability away from 1/2? And probabilities that are, where they must be."""
        away = (self.probs <= self._lims[0]) | (self.probs > self._lims[1])
        return away, rtorch.where(away, self.probs, self._lims[0])

    def _log_constant(self):
        """log C = log(2 atanh(1 - 2 p) / (1 - 2 p))."""
        away, p = self._safe()
        low = rtorch.where(p <= 0.5, p, 0.0)
        high = rtorch.where(p >= 0.5, p, 1.0)
        exact = rtorch.log(rtorch.abs(rtorch.log1p(-p) - rtorch.log(p)))
        exact = exact - rtorch.where(p <= 0.5, rtorch.log1p(-2.0 * low), rtorch.log(2.0 * high - 1.0))
        x = (self.probs - 0.5).pow(2)
        return rtorch.where(away, exact, math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * x) * x)

    @property
    def mean(self):
        away, p = self._safe()
        exact = p / (2.0 * p - 1.0) + 1.0 / (rtorch.log1p(-p) - rtorch.log(p))
        x = self.probs - 0.5
        return rtorch.where(away, exact, 0.5 + (1.0 / 3.0 + 16.0 / 45.0 * x.pow(2)) * x)

    @property
    def variance(self):
        away, p = self._safe()
        exact = p * (p - 1.0) / (1.0 - 2.0 * p).pow(2) + 1.0 / (rtorch.log1p(-p) - rtorch.log(p)).pow(2)
        x = (self.probs - 0.5).pow(2)
        return rtorch.where(away, exact, 1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * x) * x)

    @property
    def stddev(self):
        return rtorch.sqrt(self.variance)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        return self.icdf(rtorch.rand(shape, dtype=self.probs.dtype, device=self.probs.device))

    def log_prob(self, value):
        value = self._checked(value)
        logits, value = broadcast_all(self.logits, value)
        return -log_odds_loss(logits, value) + self._log_constant()

    def cdf(self, value):
        value = self._checked(value)
        away, p = self._safe()
        exact = (rtorch.pow(p, value) * rtorch.pow(1.0 - p, 1.0 - value) + p - 1.0) / (2.0 * p - 1.0)
        result = rtorch.where(away, exact, value)
        return rtorch.where(value <= 0, 0.0, rtorch.where(value >= 1, 1.0, result))

    def icdf(self, value):
        away, p = self._safe()
        exact = (rtorch.log1p(-p + value * (2.0 * p - 1.0)) - rtorch.log1p(-p)) / (rtorch.log(p) - rtorch.log1p(-p))
        return rtorch.where(away, exact, value)

    def entropy(self):
        log_miss, log_hit = rtorch.log1p(-self.probs), rtorch.log(self.probs)
        return self.mean * (log_miss - log_hit) - self._log_constant() - log_miss

    @property
    def _natural_params(self):
        return (self.logits,)

    def _log_normalizer(self, x):
        """log of the constant as a function of the log-odds."""
        away = (x <= self._lims[0] - 0.5) | (x > self._lims[1] - 0.5)
        kept = rtorch.where(away, x, self._lims[0] - 0.5)
        exact = rtorch.log(rtorch.abs(rtorch.special.expm1(kept))) - rtorch.log(rtorch.abs(kept))
        return rtorch.where(away, exact, 0.5 * x + x.pow(2) / 24.0 - x.pow(4) / 2880.0)
