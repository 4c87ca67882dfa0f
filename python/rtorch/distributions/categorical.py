"""The categorical distribution."""

import rtorch
from rtorch import Size, nan

from . import constraints
from ._parameters import CategoricalParameter

__all__ = ["Categorical"]


class Categorical(CategoricalParameter):
    """Category i of k with probability probs[..., i] (normalised) or proportional to exp(logits[..., i]).

    >>> import rtorch
    >>> Categorical(rtorch.tensor([1.0, 3.0])).log_prob(rtorch.tensor(1)).exp()
    tensor(0.7500)
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True

    def __init__(self, probs=None, logits=None, validate_args=None):
        batch = self._take(probs, logits)
        self._num_events = self._param.size()[-1]
        super().__init__(batch, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self):
        return constraints.integer_interval(0, self._num_events - 1)

    def _undefined(self):
        return rtorch.full(self._extended_shape(), nan, dtype=self.probs.dtype, device=self.probs.device)

    @property
    def mean(self):
        return self._undefined()

    @property
    def mode(self):
        return self.probs.argmax(dim=-1)

    @property
    def variance(self):
        return self._undefined()

    @rtorch.no_grad()
    def sample(self, sample_shape=()):
        sample_shape = Size(sample_shape)
        rows = self.probs.reshape(-1, self._num_events)
        drawn = rtorch.multinomial(rows, sample_shape.numel(), True).T
        return drawn.reshape(self._extended_shape(sample_shape))

    def log_prob(self, value):
        value = self._checked(value).long().unsqueeze(-1)
        value, logits = rtorch.broadcast_tensors(value, self.logits)
        return logits.gather(-1, value[..., :1]).squeeze(-1)

    def entropy(self):
        # a probability of 0 counts nothing; its logarithm must not make it NaN
        logits = rtorch.clamp(self.logits, min=rtorch.finfo(self.logits.dtype).min)
        return -(logits * self.probs).sum(-1)

    def enumerate_support(self, expand=True):
        return self._enumerated(rtorch.arange(self._num_events, dtype=rtorch.long, device=self._param.device), expand)
