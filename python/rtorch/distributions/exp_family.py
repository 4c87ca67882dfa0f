"""Exponential families: densities exp(<t(x), theta> - F(theta) + k(x))."""

import rtorch

from .distribution import Distribution

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """A distribution with natural parameters theta and log-normalizer F.

    A subclass gives `_natural_params` (a tuple), `_log_normalizer(*theta)` and `_mean_carrier_measure` (E[k(x)], 0
    mostly). Entropy and divergence follow from F's gradient (Nielsen & Nock 2010, "Entropies and cross-entropies of
    exponential families"), where the subclass has no closed form of its own.
    """

    @property
    def _natural_params(self):
        raise NotImplementedError

    def _log_normalizer(self, *natural_params):
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self):
        raise NotImplementedError

    def _bregman(self):
        """Natural parameters, F and its gradient at them, as a graph on detached parameters."""
        theta = [p.detach().requires_grad_() for p in self._natural_params]
        normalizer = self._log_normalizer(*theta)
        return theta, normalizer, rtorch.autograd.grad(normalizer.sum(), theta, create_graph=True)

    def entropy(self):
        """F(theta) - <theta, grad F(theta)> - E[k(x)]."""
        theta, normalizer, gradients = self._bregman()
        result = -self._mean_carrier_measure + normalizer
        for p, g in zip(theta, gradients):
            product = p * g
            result = result - product.reshape(self._batch_shape + (-1,)).sum(-1)
        return result
