"""The multivariate normal distribution whose covariance is a low-rank matrix plus a diagonal."""

import math

import rtorch

from . import constraints
from .distribution import Distribution
from .multivariate_normal import _batch_mahalanobis, _batch_mv, half_log_det
from .utils import _standard_normal, lazy_property

__all__ = ["LowRankMultivariateNormal"]


def capacitance(W, D):
    """The Cholesky factor of I + W^T D^-1 W: what the large matrix W W^T + D takes to invert and to measure."""
    scaled = W.mT / D.unsqueeze(-2)
    small = scaled @ W
    return rtorch.linalg.cholesky(small + rtorch.eye(W.size(-1), dtype=W.dtype, device=W.device))


def low_rank_log_det(D, capacitance_tril):
    """log det(W W^T + D), by the matrix determinant lemma."""
    return 2 * half_log_det(capacitance_tril) + D.log().sum(-1)


def low_rank_mahalanobis(W, D, x, capacitance_tril):
    """x^T (W W^T + D)^-1 x, by the Woodbury identity."""
    projected = _batch_mv(W.mT / D.unsqueeze(-2), x)
    return (x.pow(2) / D).sum(-1) - _batch_mahalanobis(capacitance_tril, projected)


class LowRankMultivariateNormal(Distribution):
    """Normal(loc, W W^T + diag(D)), W = cov_factor [..., n, rank], D = cov_diag [..., n]: O(n rank^2) for a density.

    >>> import rtorch
    >>> d = LowRankMultivariateNormal(rtorch.zeros(2), rtorch.tensor([[1.0], [0.0]]), rtorch.ones(2))
    >>> d.variance
    tensor([2., 1.])
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc, cov_factor, cov_diag, validate_args=None):
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        event = loc.shape[-1:]
        if cov_factor.dim() < 2:
            raise ValueError("cov_factor must be at least two-dimensional, with optional leading batch dimensions")
        if cov_factor.shape[-2:-1] != event:
            raise ValueError(f"cov_factor must be a batch of matrices with shape {event[0]} x m")
        if cov_diag.shape[-1:] != event:
            raise ValueError(f"cov_diag must be a batch of vectors with shape {event}")
        try:
            batch = rtorch.broadcast_shapes(loc.shape[:-1], cov_factor.shape[:-2], cov_diag.shape[:-1])
        except RuntimeError as e:
            raise ValueError(
                f"Incompatible batch shapes: loc {loc.shape}, cov_factor {cov_factor.shape}, cov_diag {cov_diag.shape}"
            ) from e
        self.loc = loc.expand(batch + event)
        self.cov_factor = cov_factor.expand(batch + cov_factor.shape[-2:])
        self.cov_diag = cov_diag.expand(batch + event)
        self._keep(cov_factor, cov_diag)
        super().__init__(batch, event, validate_args=validate_args)

    def _keep(self, W, D):
        """What the formulas work with: before their batches were broadcast."""
        self._W, self._D = W, D
        self._capacitance_tril = capacitance(W, D)

    def expand(self, batch_shape, _instance=None):
        new = super().expand(batch_shape, _instance)
        new._W, new._D, new._capacitance_tril = self._W, self._D, self._capacitance_tril
        return new

    @property
    def mean(self):
        return self.loc

    @property
    def mode(self):
        return self.loc

    @lazy_property
    def variance(self):
        return (self._W.pow(2).sum(-1) + self._D).expand(self._batch_shape + self._event_shape)

    def _as_event(self, matrix):
        return matrix.expand(self._batch_shape + matrix.shape[-2:])

    @lazy_property
    def scale_tril(self):
        """The Cholesky factor of the covariance: sqrt(D) times that of I + D^-1/2 W W^T D^-1/2, which is
        better conditioned."""
        n = self._event_shape[0]
        root = self._D.sqrt().unsqueeze(-1)
        scaled = self._W / root
        inner = scaled @ scaled.mT + rtorch.eye(n, dtype=scaled.dtype, device=scaled.device)
        return self._as_event(root * rtorch.linalg.cholesky(inner))

    @lazy_property
    def covariance_matrix(self):
        """W W^T + diag(D)."""
        return self._as_event(self._W @ self._W.mT + rtorch.diag_embed(self._D))

    @lazy_property
    def precision_matrix(self):
        """The inverse of the covariance (Woodbury)."""
        scaled = self._W.mT / self._D.unsqueeze(-2)
        a = rtorch.linalg.solve_triangular(self._capacitance_tril, scaled, upper=False)
        return self._as_event(rtorch.diag_embed(self._D.reciprocal()) - a.mT @ a)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        like = {"dtype": self.loc.dtype, "device": self.loc.device}
        eps_w = _standard_normal(shape[:-1] + self.cov_factor.shape[-1:], **like)
        eps_d = _standard_normal(shape, **like)
        return self.loc + _batch_mv(self._W, eps_w) + self._D.sqrt() * eps_d

    def log_prob(self, value):
        away = self._checked(value) - self.loc
        distance = low_rank_mahalanobis(self._W, self._D, away, self._capacitance_tril)
        volume = low_rank_log_det(self._D, self._capacitance_tril)
        return -0.5 * (self._event_shape[0] * math.log(2 * math.pi) + volume + distance)

    def entropy(self):
        volume = low_rank_log_det(self._D, self._capacitance_tril)
        h = 0.5 * (self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + volume)
        return h.expand(self._batch_shape) if self._batch_shape else h
