"""Kullback-Leibler divergences KL(p || q) = E_p[log p(x) - log q(x)], looked up by the two classes.

Pairs of one family have their closed forms here; pairs of different families on the real line come from p's entropy
and what q's logarithm expects of p (_expectations.py).
"""

import functools
import warnings

import rtorch
from rtorch import inf

from . import _expectations
from .bernoulli import Bernoulli
from .beta import Beta
from .binomial import Binomial
from .categorical import Categorical
from .cauchy import Cauchy
from .continuous_bernoulli import ContinuousBernoulli
from .dirichlet import Dirichlet
from .exp_family import ExponentialFamily
from .exponential import Exponential
from .gamma import Gamma
from .geometric import Geometric
from .gumbel import Gumbel
from .half_normal import HalfNormal
from .independent import Independent
from .laplace import Laplace
from .lowrank_multivariate_normal import LowRankMultivariateNormal, low_rank_log_det, low_rank_mahalanobis
from .multivariate_normal import MultivariateNormal, _batch_mahalanobis, half_log_det
from .normal import Normal
from .one_hot_categorical import OneHotCategorical
from .pareto import Pareto
from .poisson import Poisson
from .transformed_distribution import TransformedDistribution
from .uniform import Uniform
from .utils import _sum_rightmost

__all__ = ["kl_divergence", "register_kl"]

_KL_REGISTRY = {}
_KL_MEMOIZE = {}


def register_kl(type_p, type_q):
    """Decorates the function of (p, q) that answers the divergence for these classes and their subclasses.

    >>> from rtorch.distributions import Normal
    >>> class Mine(Normal):
    ...     pass
    >>> @register_kl(Mine, Normal)
    ... def my_kl(p, q):
    ...     return 0.0
    """
    if not isinstance(type_p, type):
        raise TypeError(f"Expected type_p to be a class but got {type_p}")
    if not isinstance(type_q, type):
        raise TypeError(f"Expected type_q to be a class but got {type_q}")

    def decorator(fun):
        _KL_REGISTRY[type_p, type_q] = fun
        _KL_MEMOIZE.clear()
        return fun

    return decorator


def _nearest(kinds):
    """The pair of classes that is a subclass, in both places, of all others of the list (by the first place first)."""

    def order(a, b):
        for x, y in zip(a, b):
            if x is not y and issubclass(x, y):
                return -1
            if x is not y and issubclass(y, x):
                return 1
        return 0

    return min(kinds, key=functools.cmp_to_key(order))


def _dispatch(type_p, type_q):
    """The most specific function for a pair of classes, or None."""
    matches = [(p, q) for p, q in _KL_REGISTRY if issubclass(type_p, p) and issubclass(type_q, q)]
    if not matches:
        return None
    left = _nearest(matches)
    right = _nearest([pair[::-1] for pair in matches])[::-1]
    if _KL_REGISTRY[left] is not _KL_REGISTRY[right]:
        warnings.warn(
            f"Ambiguous kl_divergence({type_p.__name__}, {type_q.__name__}). Please register_kl("
            f"{left[0].__name__}, {right[1].__name__})",
            RuntimeWarning,
            stacklevel=3,
        )
    return _KL_REGISTRY[left]


def kl_divergence(p, q):
    """KL(p || q), of the batch shape that p's and q's broadcast to.

    >>> import rtorch
    >>> from rtorch.distributions import Bernoulli
    >>> kl_divergence(Bernoulli(0.5), Bernoulli(0.5))
    tensor(0.)
    """
    key = type(p), type(q)
    if key not in _KL_MEMOIZE:
        _KL_MEMOIZE[key] = _dispatch(*key)
    fun = _KL_MEMOIZE[key]
    if fun is None:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}"
        )
    return fun(p, q)


def _infinite(*tensors):
    """Infinity in the shape that the tensors broadcast to."""
    return rtorch.full_like(rtorch.broadcast_tensors(*tensors)[0], inf)


# ---- pairs of different families on the line

for _type_p, _types_q in _expectations.PAIRS.items():
    for _type_q in _types_q:
        register_kl(_type_p, _type_q)(_expectations.divergence)


# ---- pairs of one family


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p, q):
    # each term where its probability is zero: 0 log 0 = 0, and nothing divides by a q of zero unless p does
    hit = p.probs * (rtorch.nn.functional.softplus(-q.logits) - rtorch.nn.functional.softplus(-p.logits))
    miss = (1 - p.probs) * (rtorch.nn.functional.softplus(q.logits) - rtorch.nn.functional.softplus(p.logits))
    hit = rtorch.where(p.probs == 0, 0.0, rtorch.where(q.probs == 0, inf, hit))
    miss = rtorch.where(p.probs == 1, 0.0, rtorch.where(q.probs == 1, inf, miss))
    return hit + miss


@register_kl(Binomial, Binomial)
def _binomial(p, q):
    # the same number of tries (more of p's: outside of q's support); fewer is no closed form
    if (p.total_count < q.total_count).any():
        raise NotImplementedError("KL between Binomials where q.total_count > p.total_count is not implemented")
    kl = p.total_count * (p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p())
    return rtorch.where(p.total_count > q.total_count, inf, kl)


@register_kl(Categorical, Categorical)
def _categorical(p, q):
    t = p.probs * (p.logits - q.logits)
    t = rtorch.where((q.probs == 0).expand_as(t), inf, t)
    t = rtorch.where((p.probs == 0).expand_as(t), 0.0, t)
    return t.sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p, q):
    return _categorical(p._categorical, q._categorical)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _continuous_bernoulli(p, q):
    constants = p._log_constant() + rtorch.log1p(-p.probs) - q._log_constant() - rtorch.log1p(-q.probs)
    return p.mean * (p.logits - q.logits) + constants


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p, q):
    a, b = p.concentration, q.concentration
    total_a, total_b = a.sum(-1), b.sum(-1)
    constants = total_a.lgamma() - total_b.lgamma() - (a.lgamma() - b.lgamma()).sum(-1)
    return constants + ((a - b) * (a.digamma() - total_a.digamma().unsqueeze(-1))).sum(-1)


@register_kl(Beta, Beta)
def _beta(p, q):
    return _dirichlet(p._dirichlet, q._dirichlet)


@register_kl(Exponential, Exponential)
def _exponential(p, q):
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(ExponentialFamily, ExponentialFamily)
def _exponential_family(p, q):
    # the Bregman divergence of the log-normalizer (Nielsen & Nock 2010)
    if type(p) is not type(q):
        raise NotImplementedError(
            "The cross KL-divergence between different exponential families cannot be computed using Bregman "
            "divergences"
        )
    theta, normalizer, gradients = p._bregman()
    result = q._log_normalizer(*q._natural_params) - normalizer
    for there, here, gradient in zip(q._natural_params, theta, gradients):
        result = result - _sum_rightmost((there - here) * gradient, len(q.event_shape))
    return result


@register_kl(Gamma, Gamma)
def _gamma(p, q):
    rates = q.concentration * (p.rate / q.rate).log()
    orders = rtorch.lgamma(q.concentration) - rtorch.lgamma(p.concentration)
    shapes = (p.concentration - q.concentration) * rtorch.digamma(p.concentration)
    return rates + orders + shapes + (q.rate - p.rate) * (p.concentration / p.rate)


@register_kl(Gumbel, Gumbel)
def _gumbel(p, q):
    return -p.entropy() - _expectations.of_gumbel(p, q)


@register_kl(Geometric, Geometric)
def _geometric(p, q):
    return -p.entropy() - rtorch.log1p(-q.probs) / p.probs - q.logits


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p, q):
    return _normal(p.base_dist, q.base_dist)


@register_kl(Normal, Normal)
def _normal(p, q):
    ratio = (p.scale / q.scale).pow(2)
    shift = ((p.loc - q.loc) / q.scale).pow(2)
    return 0.5 * (ratio + shift - 1 - ratio.log())


@register_kl(Laplace, Laplace)
def _laplace(p, q):
    ratio = p.scale / q.scale
    away = (p.loc - q.loc).abs()
    return -ratio.log() + away / q.scale + ratio * rtorch.exp(-away / p.scale) - 1


@register_kl(Cauchy, Cauchy)
def _cauchy(p, q):
    # Chyzak & Nielsen 2019
    both = (p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)
    return both.log() - (4 * p.scale * q.scale).log()


@register_kl(Pareto, Pareto)
def _pareto(p, q):
    scales, ratio = p.scale / q.scale, q.alpha / p.alpha
    kl = q.alpha * scales.log() - ratio.log() + ratio - 1
    return rtorch.where(p.support.lower_bound < q.support.lower_bound, inf, kl)


@register_kl(Poisson, Poisson)
def _poisson(p, q):
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Uniform, Uniform)
def _uniform(p, q):
    kl = ((q.high - q.low) / (p.high - p.low)).log()
    return rtorch.where((q.low > p.low) | (q.high < p.high), inf, kl)


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p, q):
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


@register_kl(Poisson, Bernoulli)
@register_kl(Poisson, Binomial)
def _poisson_bounded(p, q):
    return _infinite(p.rate, q.probs)


# ---- events of several dimensions


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate(p, q):
    n = p.event_shape
    if n != q.event_shape:
        raise ValueError(
            "KL-divergence between two Multivariate Normals with different event shapes cannot be computed"
        )
    lp, lq = p._unbroadcasted_scale_tril, q._unbroadcasted_scale_tril
    batch = rtorch.broadcast_shapes(lq.shape[:-2], lp.shape[:-2])
    trace = _trace(lq.expand(batch + n + n), lp.expand(batch + n + n))
    distance = _batch_mahalanobis(lq, q.loc - p.loc)
    return half_log_det(lq) - half_log_det(lp) + 0.5 * (trace + distance - n[0])


def _trace(lower, right):
    """trace((L L^T)^-1 R R^T)."""
    return rtorch.linalg.solve_triangular(lower, right, upper=False).pow(2).sum((-2, -1))


@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _low_rank(p, q):
    if p.event_shape != q.event_shape:
        raise ValueError(
            "KL-divergence between two Low Rank Multivariate Normals with different event shapes cannot be computed"
        )
    volume = low_rank_log_det(q._D, q._capacitance_tril) - low_rank_log_det(p._D, p._capacitance_tril)
    distance = low_rank_mahalanobis(q._W, q._D, q.loc - p.loc, q._capacitance_tril)
    # trace(Sq^-1 Sp), Sq^-1 = Dq^-1 - A^T A by Woodbury, over the two parts of Sp
    scaled = q._W.mT / q._D.unsqueeze(-2)
    a = rtorch.linalg.solve_triangular(q._capacitance_tril, scaled, upper=False)
    trace = (p._D / q._D).sum(-1) + (p._W.pow(2) / q._D.unsqueeze(-1)).sum((-2, -1))
    trace = trace - (a * p._D.sqrt().unsqueeze(-2)).pow(2).sum((-2, -1)) - (a @ p._W).pow(2).sum((-2, -1))
    return 0.5 * (volume + trace + distance - p.event_shape[0])


@register_kl(MultivariateNormal, LowRankMultivariateNormal)
def _full_to_low_rank(p, q):
    if p.event_shape != q.event_shape:
        raise ValueError(
            "KL-divergence between two (Low Rank) Multivariate Normals with different event shapes cannot be computed"
        )
    volume = low_rank_log_det(q._D, q._capacitance_tril) - 2 * half_log_det(p._unbroadcasted_scale_tril)
    distance = low_rank_mahalanobis(q._W, q._D, q.loc - p.loc, q._capacitance_tril)
    scaled = q._W.mT / q._D.unsqueeze(-2)
    a = rtorch.linalg.solve_triangular(q._capacitance_tril, scaled, upper=False)
    factor = p._unbroadcasted_scale_tril
    trace = (factor.pow(2) / q._D.unsqueeze(-1)).sum((-2, -1)) - (a @ factor).pow(2).sum((-2, -1))
    return 0.5 * (volume + trace + distance - p.event_shape[0])


@register_kl(LowRankMultivariateNormal, MultivariateNormal)
def _low_rank_to_full(p, q):
    n = p.event_shape
    if n != q.event_shape:
        raise ValueError(
            "KL-divergence between two (Low Rank) Multivariate Normals with different event shapes cannot be computed"
        )
    lq = q._unbroadcasted_scale_tril
    volume = 2 * half_log_det(lq) - low_rank_log_det(p._D, p._capacitance_tril)
    distance = _batch_mahalanobis(lq, q.loc - p.loc)
    batch = rtorch.broadcast_shapes(lq.shape[:-2], p._W.shape[:-2])
    wide = lq.expand(batch + n + n)
    factor, diagonal = p._W.expand(batch + p._W.shape[-2:]), rtorch.diag_embed(p._D.sqrt()).expand(batch + n + n)
    return 0.5 * (volume + _trace(wide, factor) + _trace(wide, diagonal) + distance - n[0])


@register_kl(Independent, Independent)
def _independent(p, q):
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError
    return _sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p, q):
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError
    return kl_divergence(p.base_dist, q.base_dist)
