"""E_p[log q(x)] for distributions on the line, from what log q needs of p: its mean and variance, E[log x],
E[log(1 - x)], E[exp(-x / s)] or E|x - m|, and where p lies. Divergences of pairs of different families are made of it:
KL(p || q) = -H(p) - E_p[log q], infinite where p has values that q has not.
"""

import math

import rtorch
from rtorch import inf

from .beta import Beta
from .continuous_bernoulli import ContinuousBernoulli
from .exponential import Exponential
from .gamma import Gamma
from .gumbel import Gumbel
from .laplace import Laplace
from .normal import Normal
from .pareto import Pareto
from .uniform import Uniform
from .utils import euler_constant

# Of which p the divergence to which q is known.
PAIRS = {
    Beta: (ContinuousBernoulli, Pareto, Exponential, Gamma, Normal, Uniform),
    ContinuousBernoulli: (Pareto, Exponential, Normal, Uniform),
    Exponential: (Uniform, Pareto, ContinuousBernoulli, Beta, Gamma, Gumbel, Normal),
    Gamma: (Uniform, Pareto, ContinuousBernoulli, Beta, Exponential, Gumbel, Normal),
    Gumbel: (Uniform, Pareto, Gamma, Exponential, ContinuousBernoulli, Beta, Normal),
    Laplace: (Uniform, Pareto, Gamma, Exponential, ContinuousBernoulli, Beta, Normal),
    Normal: (Uniform, Pareto, Gamma, Exponential, ContinuousBernoulli, Beta, Gumbel, Laplace),
    Pareto: (Uniform, ContinuousBernoulli, Beta, Exponential, Gamma, Normal),
    Uniform: (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Normal, Pareto),
}


def _kind(d, table):
    """A table's entry for the nearest class of a distribution."""
    return next((table[c] for c in type(d).__mro__ if c in table), None)


_SUPPORT = {
    Beta: lambda d: (0.0, 1.0),
    ContinuousBernoulli: lambda d: (0.0, 1.0),
    Exponential: lambda d: (0.0, inf),
    Gamma: lambda d: (0.0, inf),
    Gumbel: lambda d: (-inf, inf),
    Laplace: lambda d: (-inf, inf),
    Normal: lambda d: (-inf, inf),
    Pareto: lambda d: (d.scale, inf),
    Uniform: lambda d: (d.low, d.high),
}


def _mean_log_uniform(low, high):
    """E[log x] of x uniform in [low, high]; 0 log 0 = 0."""
    return (rtorch.xlogy(high, high) - rtorch.xlogy(low, low)) / (high - low) - 1


_MEAN_LOG = {
    Beta: lambda p: p.concentration1.digamma() - (p.concentration1 + p.concentration0).digamma(),
    Exponential: lambda p: -p.rate.log() - euler_constant,
    Gamma: lambda p: p.concentration.digamma() - p.rate.log(),
    Pareto: lambda p: p.scale.log() + p.alpha.reciprocal(),
    Uniform: lambda p: _mean_log_uniform(p.low.clamp(min=0), p.high.clamp(min=0)),
}

_MEAN_LOG_REST = {
    Uniform: lambda p: _mean_log_uniform(1 - p.high.clamp(max=1), 1 - p.low.clamp(max=1)),
}

# E[exp(-x / s)]
_DECAY = {
    Normal: lambda p, s: rtorch.exp(-p.loc / s + 0.5 * (p.scale / s).pow(2)),
    Exponential: lambda p, s: p.rate / (p.rate + s.reciprocal()),
    Gamma: lambda p, s: (1 + (p.rate * s).reciprocal()).pow(-p.concentration),
    Gumbel: lambda p, s: rtorch.exp(-p.loc / s + (1 + p.scale / s).lgamma()),
    Uniform: lambda p, s: s * (rtorch.exp(-p.low / s) - rtorch.exp(-p.high / s)) / (p.high - p.low),
}


def _of_normal(p, q):
    spread = p.variance + (p.mean - q.loc).pow(2)
    return -spread / (2 * q.variance) - q.scale.log() - 0.5 * math.log(2 * math.pi)


def _of_exponential(p, q):
    return q.rate.log() - q.rate * p.mean


def _of_gamma(p, q):
    a = q.concentration
    return a * q.rate.log() - a.lgamma() + (a - 1) * _kind(p, _MEAN_LOG)(p) - q.rate * p.mean


def _of_beta(p, q):
    a, b = q.concentration1, q.concentration0
    log_beta = a.lgamma() + b.lgamma() - (a + b).lgamma()
    return (a - 1) * _kind(p, _MEAN_LOG)(p) + (b - 1) * _kind(p, _MEAN_LOG_REST)(p) - log_beta


def _of_uniform(p, q):
    return -(q.high - q.low).log() + rtorch.zeros_like(p.mean)


def _of_pareto(p, q):
    return q.alpha.log() + q.alpha * q.scale.log() - (q.alpha + 1) * _kind(p, _MEAN_LOG)(p)


def _of_continuous_bernoulli(p, q):
    return p.mean * q.logits + rtorch.log1p(-q.probs) + q._log_constant()


def of_gumbel(p, q):
    """E_p[log q] of q Gumbel."""
    decay = (q.loc / q.scale).exp() * _kind(p, _DECAY)(p, q.scale)
    return (q.loc - p.mean) / q.scale - decay - q.scale.log()


def _of_laplace(p, q):
    # E|x - m| of x normal: the mean of a folded normal distribution
    away = p.loc - q.loc
    z = away / p.scale
    folded = p.scale * math.sqrt(2 / math.pi) * rtorch.exp(-0.5 * z**2) + away * rtorch.erf(z / math.sqrt(2))
    return -(2 * q.scale).log() - folded / q.scale


_EXPECTED = {
    Normal: _of_normal,
    Exponential: _of_exponential,
    Gamma: _of_gamma,
    Beta: _of_beta,
    Uniform: _of_uniform,
    Pareto: _of_pareto,
    ContinuousBernoulli: _of_continuous_bernoulli,
    Gumbel: of_gumbel,
    Laplace: _of_laplace,
}

# What an expectation needs of p beside mean and variance.
_NEEDS = {Gamma: (_MEAN_LOG,), Beta: (_MEAN_LOG, _MEAN_LOG_REST), Pareto: (_MEAN_LOG,), Gumbel: (_DECAY,)}


def divergence(p, q):
    """KL(p || q) of a pair of PAIRS."""
    (low, high), (q_low, q_high) = _kind(p, _SUPPORT)(p), _kind(q, _SUPPORT)(q)
    shape = rtorch.broadcast_shapes(p.batch_shape, q.batch_shape)
    like = {"dtype": p.mean.dtype, "device": p.mean.device}
    outside = rtorch.as_tensor(low, **like) < rtorch.as_tensor(q_low, **like)
    outside = (outside | (rtorch.as_tensor(high, **like) > rtorch.as_tensor(q_high, **like))).expand(shape)
    needs = _kind(q, _NEEDS) or ()
    if outside.all() or any(_kind(p, table) is None for table in needs):
        return rtorch.full(shape, inf, **like)
    return rtorch.where(outside, inf, -p.entropy() - _kind(q, _EXPECTED)(p, q))
