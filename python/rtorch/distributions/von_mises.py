"""The von Mises distribution: the normal distribution of angles."""

import math

import rtorch

from . import constraints
from .distribution import Distribution
from .utils import broadcast_all, lazy_property

__all__ = ["VonMises"]

# Power series of the modified Bessel functions I0 and I1 have converged to double precision by this many terms where
# kappa is below _SERIES_BELOW; beyond, the asymptotic series has (DLMF 10.25.2, 10.40.1).
_SERIES_BELOW = 20.0
_SERIES_TERMS = 60
_ASYMPTOTIC_TERMS = 25


def _log_modified_bessel(x, order):
    """log I_order(x) for x > 0, order 0 or 1."""
    wide = x.double()
    near, far = wide.clamp(max=_SERIES_BELOW), wide.clamp(min=_SERIES_BELOW)
    quarter = near * near / 4
    term = rtorch.ones_like(near)
    total = term
    for k in range(1, _SERIES_TERMS):
        term = term * quarter / (k * (k + order))
        total = total + term
    small = total.log() + (order * (near / 2).log() if order else 0.0)
    mu, term = 4 * order * order, rtorch.ones_like(far)
    total = term
    for k in range(1, _ASYMPTOTIC_TERMS):
        term = term * -(mu - (2 * k - 1) ** 2) / (8 * k * far)
        total = total + term
    large = far - 0.5 * (2 * math.pi * far).log() + total.log()
    return rtorch.where(wide < _SERIES_BELOW, small, large).to(x.dtype)


class VonMises(Distribution):
    """p(x) = exp(concentration cos(x - loc)) / (2 pi I0(concentration)), for angles x in radians.

    Draws by rejection from a wrapped Cauchy distribution (Best & Fisher 1979), in float64, folded into [-pi, pi).

    >>> import rtorch
    >>> VonMises(rtorch.tensor([0.0]), rtorch.tensor([1.0])).mean
    tensor([0.])
    """

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real
    has_rsample = False

    def __init__(self, loc, concentration, validate_args=None):
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def log_prob(self, value):
        value = self._checked(value)
        log_constant = math.log(2 * math.pi) + _log_modified_bessel(self.concentration, 0)
        return self.concentration * rtorch.cos(value - self.loc) - log_constant

    @lazy_property
    def _proposal(self):
        """Best and Fisher's r of the wrapped Cauchy distribution."""
        kappa = self.concentration.double()
        tau = 1 + (1 + 4 * kappa**2).sqrt()
        rho = (tau - (2 * tau).sqrt()) / (2 * kappa)
        exact = (1 + rho**2) / (2 * rho)
        # for small kappa rho cancels; r = 1 / kappa + kappa there
        return rtorch.where(kappa < 1e-5, 1 / kappa + kappa, exact)

    @rtorch.no_grad()
    def sample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        loc, kappa, r = (t.double().expand(shape) for t in (self.loc, self.concentration, self._proposal))
        drawn = rtorch.empty(shape, dtype=rtorch.float64, device=loc.device)
        open_ = rtorch.ones(shape, dtype=rtorch.bool, device=loc.device)
        while open_.any():
            u1, u2, u3 = rtorch.rand((3,) + shape, dtype=rtorch.float64, device=loc.device).unbind()
            z = rtorch.cos(math.pi * u1)
            f = (1 + r * z) / (r + z)
            c = kappa * (r - f)
            accepted = (c * (2 - c) - u2 > 0) | ((c / u2).log() + 1 - c >= 0)
            # a later acceptance replaces an earlier one, as PyTorch's does: both are draws
            drawn = rtorch.where(accepted, (u3 - 0.5).sign() * f.acos(), drawn)
            open_ = open_ & ~accepted
        return ((drawn + math.pi + loc) % (2 * math.pi) - math.pi).to(self.loc.dtype)

    @property
    def mean(self):
        return self.loc

    @property
    def mode(self):
        return self.loc

    @lazy_property
    def variance(self):
        """The circular variance, 1 - I1 / I0."""
        k = self.concentration
        return 1 - (_log_modified_bessel(k, 1) - _log_modified_bessel(k, 0)).exp()
