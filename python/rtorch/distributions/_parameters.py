"""Distributions given by `probs` or by `logits`: whichever was given is kept, the other made when asked for."""

import rtorch

from .distribution import Distribution
from .utils import (
    batch_of,
    broadcast_all,
    is_number,
    lazy_property,
    logits_to_probs,
    one_of_probs_and_logits,
    probs_to_logits,
)


class ProbsOrLogits(Distribution):
    """What the two kinds below share; `_binary` says which of the two conversions is meant."""

    _binary = True

    @lazy_property
    def logits(self):
        """Log-odds, or of categories log-probabilities."""
        return probs_to_logits(self.probs, is_binary=self._binary)

    @lazy_property
    def probs(self):
        """Probabilities."""
        return logits_to_probs(self.logits, is_binary=self._binary)

    @property
    def _param(self):
        """The one that was given."""
        return self.__dict__[self._given]

    @property
    def param_shape(self):
        """Shape of the parameter."""
        return self._param.size()

    def _new(self, *args, **kwargs):
        return self._param.new(*args, **kwargs)


class BinaryParameter(ProbsOrLogits):
    """Probability or log-odds of each element; `others` are broadcast along."""

    def _take(self, probs, logits, *others):
        """Keeps the parameter, and answers the batch shape and the others as tensors."""
        one_of_probs_and_logits(probs, logits)
        self._given = "probs" if probs is not None else "logits"
        given = probs if probs is not None else logits
        *others, value = broadcast_all(*others, given)
        setattr(self, self._given, value)
        return (batch_of(value, given) if not others else value.size()), others


class CategoricalParameter(ProbsOrLogits):
    """Probabilities or log-probabilities of the categories in the last dimension, normalised."""

    _binary = False

    def _take(self, probs, logits):
        """Keeps the parameter, normalised, and answers its batch shape."""
        one_of_probs_and_logits(probs, logits)
        self._given = "probs" if probs is not None else "logits"
        given = probs if probs is not None else logits
        if is_number(given) or given.dim() < 1:
            raise ValueError(f"`{self._given}` parameter must be at least one-dimensional.")
        if probs is not None:
            self.probs = probs / probs.sum(-1, keepdim=True)
        else:
            self.logits = logits - logits.logsumexp(dim=-1, keepdim=True)
        return given.size()[:-1] if given.dim() > 1 else rtorch.Size()
