"""The geometric distribution."""

import rtorch

from . import constraints
from ._parameters import BinaryParameter
from .utils import broadcast_all, log_odds_loss

__all__ = ["Geometric"]


class Geometric(BinaryParameter):
    """The number of misses before the first hit: p(k) = (1 - probs)^k probs, k = 0, 1, ...

    >>> import rtorch
    >>> Geometric(0.25).mean
    tensor(3.)
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer

    def __init__(self, probs=None, logits=None, validate_args=None):
        batch, _ = self._take(probs, logits)
        super().__init__(batch, validate_args=validate_args)
        if self._validate_args and probs is not None and not (self.probs > 0).all():
            # 0 is inside the constraint, but a hit would never come
            invalid = self.probs[self.probs <= 0]
            raise ValueError(
                f"Expected parameter probs ({type(self.probs).__name__} of shape {tuple(self.probs.shape)}) of "
                f"distribution {self!r} to be positive but found invalid values:\n{invalid}"
            )

    @property
    def mean(self):
        return 1.0 / self.probs - 1.0

    @property
    def mode(self):
        return rtorch.zeros_like(self.probs)

    @property
    def variance(self):
        return (1.0 / self.probs - 1.0) / self.probs

    def sample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        with rtorch.no_grad():
            tiny = rtorch.finfo(self.probs.dtype).tiny
            u = rtorch.empty(shape, dtype=self.probs.dtype, device=self.probs.device).uniform_(tiny, 1)
            return (u.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value):
        value, probs = broadcast_all(self._checked(value), self.probs)
        # log(1 - 1) counts nothing where there were no misses
        sure = (probs == 1) & (value == 0)
        return value * (-rtorch.where(sure, 0.0, probs)).log1p() + self.probs.log()

    def entropy(self):
        return log_odds_loss(self.logits, self.probs) / self.probs
