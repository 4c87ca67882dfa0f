"""Mixtures of distributions of one family."""

import rtorch

from . import constraints
from .categorical import Categorical
from .distribution import Distribution

__all__ = ["MixtureSameFamily"]


class MixtureSameFamily(Distribution):
    """p(x) = sum over k of P(k) p_k(x): the last batch dimension of `component_distribution` are the components, of
    which `mixture_distribution` (a `Categorical`) picks one.

    >>> import rtorch
    >>> from rtorch.distributions import Normal
    >>> mix = Categorical(rtorch.ones(2))
    >>> MixtureSameFamily(mix, Normal(rtorch.tensor([-1.0, 3.0]), 1.0)).mean
    tensor(1.)
    """

    arg_constraints = {}
    has_rsample = False
    _parts = ("_mixture_distribution", "_component_distribution")

    def __init__(self, mixture_distribution, component_distribution, validate_args=None):
        if not isinstance(mixture_distribution, Categorical):
            raise ValueError(" The Mixture distribution needs to be an  instance of torch.distributions.Categorical")
        if not isinstance(component_distribution, Distribution):
            raise ValueError("The Component distribution need to be an instance of torch.distributions.Distribution")
        outer, inner = mixture_distribution.batch_shape, component_distribution.batch_shape[:-1]
        for size1, size2 in zip(reversed(outer), reversed(inner)):
            if size1 != 1 and size2 != 1 and size1 != size2:
                raise ValueError(
                    f"`mixture_distribution.batch_shape` ({outer}) is not compatible with "
                    f"`component_distribution.batch_shape`({inner})"
                )
        kinds, components = mixture_distribution.logits.shape[-1], component_distribution.batch_shape[-1]
        if kinds is not None and components is not None and kinds != components:
            raise ValueError(
                f"`mixture_distribution component` ({kinds}) does not equal "
                f"`component_distribution.batch_shape[-1]` ({components})"
            )
        self._mixture_distribution = mixture_distribution
        self._component_distribution = component_distribution
        self._num_component = components
        event = component_distribution.event_shape
        self._event_ndims = len(event)
        super().__init__(batch_shape=inner, event_shape=event, validate_args=validate_args)

    @constraints.dependent_property
    def support(self):
        return constraints.MixtureSameFamilyConstraint(self._component_distribution.support)

    @property
    def mixture_distribution(self):
        """Which component: a `Categorical`."""
        return self._mixture_distribution

    @property
    def component_distribution(self):
        """The components."""
        return self._component_distribution

    def _weights(self):
        """P(k), with the event's dimensions."""
        probs = self.mixture_distribution.probs
        return probs.reshape(probs.shape + (1,) * self._event_ndims)

    def _averaged(self, values):
        return rtorch.sum(self._weights() * values, dim=-1 - self._event_ndims)

    @property
    def mean(self):
        return self._averaged(self.component_distribution.mean)

    @property
    def variance(self):
        # within the components, and between them
        between = self.component_distribution.mean - self._pad(self.mean)
        return self._averaged(self.component_distribution.variance) + self._averaged(between.pow(2.0))

    def cdf(self, x):
        x = self._pad(x)
        return rtorch.sum(self.component_distribution.cdf(x) * self.mixture_distribution.probs, dim=-1)

    def log_prob(self, x):
        x = self._pad(self._checked(x))
        log_each = self.component_distribution.log_prob(x)
        return rtorch.logsumexp(log_each + rtorch.log_softmax(self.mixture_distribution.logits, dim=-1), dim=-1)

    @rtorch.no_grad()
    def sample(self, sample_shape=()):
        which = self.mixture_distribution.sample(sample_shape)
        each = self.component_distribution.sample(sample_shape)
        dim = each.dim() - self._event_ndims - 1
        index = which.reshape(which.shape + (1,) * (self._event_ndims + 1))
        index = index.expand(each.shape[:dim] + (1,) + self._event_shape)
        return each.gather(dim, index).squeeze(dim)

    def _pad(self, x):
        """A dimension for the components before the event."""
        return x.unsqueeze(-1 - self._event_ndims)

    def __repr__(self):
        return f"MixtureSameFamily(\n  {self.mixture_distribution},\n  {self.component_distribution})"
