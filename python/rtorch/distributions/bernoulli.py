"""The Bernoulli distribution."""

import rtorch
from rtorch import nan

from . import constraints
from ._parameters import BinaryParameter
from .exp_family import ExponentialFamily
from .utils import broadcast_all, log_odds_loss

__all__ = ["Bernoulli"]


class Bernoulli(BinaryParameter, ExponentialFamily):
    """1 with probability `probs` = sigmoid(`logits`), else 0.

    >>> import rtorch
    >>> Bernoulli(0.25).log_prob(rtorch.tensor(1.0)).exp()
    tensor(0.2500)
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean
    has_enumerate_support = True
    _mean_carrier_measure = 0

    def __init__(self, probs=None, logits=None, validate_args=None):
        batch, _ = self._take(probs, logits)
        super().__init__(batch, validate_args=validate_args)

    @property
    def mean(self):
        return self.probs

    @property
    def mode(self):
        likelier = (self.probs >= 0.5).to(self.probs)
        return rtorch.where(self.probs == 0.5, nan, likelier)

    @property
    def variance(self):
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape=()):
        with rtorch.no_grad():
            return rtorch.bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value):
        value = self._checked(value)
        logits, value = broadcast_all(self.logits, value)
        return -log_odds_loss(logits, value)

    def entropy(self):
        return log_odds_loss(self.logits, self.probs)

    def enumerate_support(self, expand=True):
        return self._enumerated(rtorch.arange(2, dtype=self._param.dtype, device=self._param.device), expand)

    @property
    def _natural_params(self):
        return (rtorch.logit(self.probs),)

    def _log_normalizer(self, x):
        return rtorch.log1p(rtorch.exp(x))
