"""The multinomial distribution."""

import rtorch
from rtorch import Size, inf

from . import constraints
from .binomial import Binomial
from .categorical import Categorical
from .distribution import Distribution
from .utils import broadcast_all

__all__ = ["Multinomial"]


class Multinomial(Distribution):
    """Counts of the categories among `total_count` categorical draws: p(x) = n! prod probs_i^x_i / x_i!.

    >>> import rtorch
    >>> Multinomial(4, rtorch.tensor([1.0, 3.0])).mean
    tensor([1., 3.])
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    _parts = ("_categorical", "_binomial")

    def __init__(self, total_count=1, probs=None, logits=None, validate_args=None):
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        self._categorical = Categorical(probs=probs, logits=logits)
        self._binomial = Binomial(total_count=total_count, probs=self.probs)
        batch, event = self._categorical.batch_shape, self._categorical.param_shape[-1:]
        super().__init__(batch, event, validate_args=validate_args)

    def _new(self, *args, **kwargs):
        return self._categorical._new(*args, **kwargs)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self):
        return constraints.multinomial(self.total_count)

    @property
    def logits(self):
        """Log-probabilities."""
        return self._categorical.logits

    @property
    def probs(self):
        """Probabilities."""
        return self._categorical.probs

    @property
    def param_shape(self):
        """Shape of the parameter."""
        return self._categorical.param_shape

    @property
    def mean(self):
        return self.probs * self.total_count

    @property
    def variance(self):
        return self.total_count * self.probs * (1 - self.probs)

    @rtorch.no_grad()
    def sample(self, sample_shape=()):
        sample_shape = Size(sample_shape)
        drawn = self._categorical.sample(Size((self.total_count,)) + sample_shape)
        drawn = drawn.movedim(0, -1)
        counts = rtorch.zeros(self._extended_shape(sample_shape), dtype=drawn.dtype, device=drawn.device)
        return counts.scatter_add_(-1, drawn, rtorch.ones_like(drawn)).type_as(self.probs)

    def entropy(self):
        n = rtorch.tensor(self.total_count)
        categories = self._categorical.entropy()
        counts = self._binomial.enumerate_support(expand=False)[1:]
        weights = rtorch.exp(self._binomial.log_prob(counts))
        orders = (weights * rtorch.lgamma(counts + 1)).sum([0, -1])
        return n * categories - rtorch.lgamma(n + 1) + orders

    def log_prob(self, value):
        logits, value = broadcast_all(self.logits, self._checked(value))
        orders = rtorch.lgamma(value.sum(-1) + 1) - rtorch.lgamma(value + 1).sum(-1)
        impossible = (value == 0) & (logits == -inf)  # a category of probability 0 that was not drawn
        return orders + (rtorch.where(impossible, 0.0, logits) * value).sum(-1)
