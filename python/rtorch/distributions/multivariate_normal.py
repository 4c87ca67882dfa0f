"""The multivariate normal distribution."""

import math

import rtorch

from . import constraints
from .distribution import Distribution
from .utils import _standard_normal, lazy_property

__all__ = ["MultivariateNormal"]


def _batch_mv(bmat, bvec):
    """Matrices [..., n, n] times vectors [..., n]."""
    return rtorch.matmul(bmat, bvec.unsqueeze(-1)).squeeze(-1)


def _batch_mahalanobis(bL, bx):
    """x^T (L L^T)^-1 x of each vector x [..., n], L lower triangular [..., n, n]; their batches broadcast."""
    if bL.dim() == 2:
        rows = bx.reshape(-1, bx.size(-1))
        solved = rtorch.linalg.solve_triangular(bL, rows.mT, upper=False)
        return solved.pow(2).sum(0).reshape(bx.shape[:-1])
    solved = rtorch.linalg.solve_triangular(bL, bx.unsqueeze(-1), upper=False)
    return solved.squeeze(-1).pow(2).sum(-1)


def half_log_det(tril):
    """Half the logarithm of det L L^T: the sum of the logarithms of L's diagonal."""
    return tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def precision_to_scale_tril(precision):
    """The Cholesky factor of the inverse.

    With J the reversal of rows: P = J C C^T J, so P^-1 = (J C^-T J) (J C^-T J)^T, and J C^-T J is lower triangular.
    """
    factor = rtorch.linalg.cholesky(rtorch.flip(precision, (-2, -1)))
    upper = rtorch.flip(factor, (-2, -1)).mT
    eye = rtorch.eye(precision.shape[-1], dtype=precision.dtype, device=precision.device)
    return rtorch.linalg.solve_triangular(upper, eye.expand_as(upper), upper=False)


class MatrixParameter(Distribution):
    """Given by exactly one of a covariance matrix, its inverse (precision) or its Cholesky factor: the factor is worked
    with, the others made when asked for."""

    _MATRICES = ("covariance_matrix", "scale_tril", "precision_matrix")

    def _given_matrix(self, **given):
        """The name and tensor of the one that was given."""
        named = [(k, v) for k, v in given.items() if v is not None]
        if len(named) != 1:
            raise ValueError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
        if named[0][1].dim() < 2:
            raise ValueError(f"{named[0][0]} must be at least two-dimensional, with optional leading batch dimensions")
        return named[0]

    def _factored(self, name, matrix):
        """The Cholesky factor of the covariance, before its batch was broadcast."""
        if name == "scale_tril":
            return matrix
        if name == "covariance_matrix":
            return rtorch.linalg.cholesky(matrix)
        return precision_to_scale_tril(matrix)

    def _as_event(self, matrix):
        return matrix.expand(self._batch_shape + matrix.shape[-2:])

    @lazy_property
    def scale_tril(self):
        """L of covariance = L L^T."""
        return self._as_event(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self):
        """The covariance, or the scale matrix."""
        tril = self._unbroadcasted_scale_tril
        return self._as_event(tril @ tril.mT)

    @lazy_property
    def precision_matrix(self):
        """The inverse of the covariance."""
        return self._as_event(rtorch.cholesky_inverse(self._unbroadcasted_scale_tril))


class MultivariateNormal(MatrixParameter):
    """p(x) = exp(-(x - loc)^T S^-1 (x - loc) / 2) / sqrt(det(2 pi S)), S the covariance matrix [..., n, n].

    >>> import rtorch
    >>> d = MultivariateNormal(rtorch.zeros(2), rtorch.eye(2))
    >>> d.log_prob(rtorch.zeros(2))
    tensor(-1.8379)
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc, covariance_matrix=None, precision_matrix=None, scale_tril=None, validate_args=None):
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        name, matrix = self._given_matrix(
            covariance_matrix=covariance_matrix, scale_tril=scale_tril, precision_matrix=precision_matrix
        )
        batch = rtorch.broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        setattr(self, name, matrix.expand(batch + (-1, -1)))
        self.loc = loc.expand(batch + (-1,))
        super().__init__(batch, self.loc.shape[-1:], validate_args=validate_args)
        self._unbroadcasted_scale_tril = self._factored(name, matrix)

    def expand(self, batch_shape, _instance=None):
        new = super().expand(batch_shape, _instance)
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril
        return new

    @property
    def mean(self):
        return self.loc

    @property
    def mode(self):
        return self.loc

    @property
    def variance(self):
        squares = self._unbroadcasted_scale_tril.pow(2).sum(-1)
        return squares.expand(self._batch_shape + self._event_shape)

    def rsample(self, sample_shape=()):
        shape = self._extended_shape(sample_shape)
        noise = _standard_normal(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.loc + _batch_mv(self._unbroadcasted_scale_tril, noise)

    def log_prob(self, value):
        away = self._checked(value) - self.loc
        distance = _batch_mahalanobis(self._unbroadcasted_scale_tril, away)
        n = self._event_shape[0]
        return -0.5 * (n * math.log(2 * math.pi) + distance) - half_log_det(self._unbroadcasted_scale_tril)

    def entropy(self):
        h = 0.5 * self._event_shape[0] * (1.0 + math.log(2 * math.pi)) + half_log_det(self._unbroadcasted_scale_tril)
        return h.expand(self._batch_shape) if self._batch_shape else h
