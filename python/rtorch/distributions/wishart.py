"""The Wishart distribution over positive definite matrices."""

import math
import warnings

import rtorch
from rtorch import Size, nan

from . import constraints
from .exp_family import ExponentialFamily
from .gamma import Gamma
from .multivariate_normal import MatrixParameter, half_log_det
from .utils import is_number

__all__ = ["Wishart"]


def _mvdigamma(x, p):
    """The derivative of the logarithm of the multivariate gamma function of order p."""
    if not x.gt((p - 1) / 2).all():
        raise AssertionError("Wrong domain for multivariate digamma function.")
    return rtorch.digamma(x.unsqueeze(-1) - rtorch.arange(p, dtype=x.dtype, device=x.device) * 0.5).sum(-1)


class Wishart(MatrixParameter, ExponentialFamily):
    """The matrix sum of `df` outer products of Normal(0, covariance_matrix) vectors; df > n - 1 may be any number.

    Drawn by the Bartlett decomposition (Bartlett 1933): L A A^T L^T, A lower triangular with chi variates on its
    diagonal and normal ones below.

    >>> import rtorch
    >>> Wishart(rtorch.tensor([3.0]), rtorch.eye(2)).mean
    tensor([[[3., 0.],
             [0., 3.]]])
    """

    support = constraints.positive_definite
    has_rsample = True
    _mean_carrier_measure = 0
    _parts = ("_dist_chi2",)

    @property
    def arg_constraints(self):
        return {
            "covariance_matrix": constraints.positive_definite,
            "precision_matrix": constraints.positive_definite,
            "scale_tril": constraints.lower_cholesky,
            "df": constraints.greater_than(self.event_shape[-1] - 1),
        }

    def __init__(self, df, covariance_matrix=None, precision_matrix=None, scale_tril=None, validate_args=None):
        name, matrix = self._given_matrix(
            covariance_matrix=covariance_matrix, scale_tril=scale_tril, precision_matrix=precision_matrix
        )
        if is_number(df):
            batch = Size(matrix.shape[:-2])
            self.df = rtorch.tensor(df, dtype=matrix.dtype, device=matrix.device).expand(batch)
        else:
            batch = rtorch.broadcast_shapes(matrix.shape[:-2], df.shape)
            self.df = df.expand(batch)
        event = matrix.shape[-2:]
        if self.df.le(event[-1] - 1).any():
            raise ValueError(f"Value of df={df} expected to be greater than ndim - 1 = {event[-1] - 1}.")
        setattr(self, name, matrix.expand(batch + (-1, -1)))
        self._batch_shape, self._event_shape = Size(batch), Size(event)
        if self.df.lt(event[-1]).any():
            warnings.warn(
                "Low df values detected. Singular samples are highly likely to occur for ndim - 1 < df < ndim.",
                stacklevel=2,
            )
        super().__init__(batch, event, validate_args=validate_args)
        self._unbroadcasted_scale_tril = self._factored(name, matrix)
        less = rtorch.arange(event[-1], dtype=matrix.dtype, device=matrix.device)
        freedom = self.df.unsqueeze(-1) - less.expand(batch + (-1,))
        self._dist_chi2 = Gamma(0.5 * freedom, 0.5, validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        new = super().expand(batch_shape, _instance)
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril.expand(Size(batch_shape) + self._event_shape)
        return new

    @property
    def mean(self):
        return self.df.view(self._batch_shape + (1, 1)) * self.covariance_matrix

    @property
    def mode(self):
        factor = self.df - self.covariance_matrix.shape[-1] - 1
        factor = rtorch.where(factor <= 0, nan, factor)
        return factor.view(self._batch_shape + (1, 1)) * self.covariance_matrix

    @property
    def variance(self):
        v = self.covariance_matrix
        diagonal = v.diagonal(dim1=-2, dim2=-1)
        products = diagonal.unsqueeze(-1) * diagonal.unsqueeze(-2)
        return self.df.view(self._batch_shape + (1, 1)) * (v.pow(2) + products)

    def _bartlett_sampling(self, sample_shape=()):
        n = self._event_shape[-1]
        diagonal = self._dist_chi2.rsample(sample_shape).clamp(min=rtorch.finfo(self.df.dtype).tiny).sqrt()
        noise = diagonal.diag_embed(dim1=-2, dim2=-1)
        rows, columns = rtorch.tril_indices(row=n, col=n, offset=-1)
        below = rtorch.randn(
            rtorch.Size(sample_shape) + self._batch_shape + (n * (n - 1) // 2,),
            dtype=noise.dtype,
            device=noise.device,
        )
        noise[..., rows, columns] = below
        chol = self._unbroadcasted_scale_tril @ noise
        return chol @ chol.mT

    def _any_element(self, mask):
        """Is it so in any element of the batch?"""
        batch = len(self._batch_shape)
        return mask.amax(tuple(range(-batch, 0))) if batch else mask

    def rsample(self, sample_shape=(), max_try_correction=None):
        """Draws; singular ones are drawn again up to `max_try_correction` times (default 3, 10 for matrices larger
        than 64). As in PyTorch, whose numbers these are, every draw is made anew once."""
        if max_try_correction is None:
            max_try_correction = 3 if self._event_shape[-1] <= 64 else 10
        sample = self._bartlett_sampling(Size(sample_shape))
        # PyTorch's first test is the wrong way round: it repeats what passes. That changes the stream, not the law.
        again = self._any_element(self.support.check(sample))
        for _ in range(max_try_correction):
            if not again.any():
                break
            redrawn = self._bartlett_sampling(again[again].shape)
            sample[again] = redrawn
            again = again.clone()
            again[again.clone()] = self._any_element(~self.support.check(redrawn))
        return sample

    def log_prob(self, value):
        value = self._checked(value)
        nu, p = self.df, self._event_shape[-1]
        tril = self._unbroadcasted_scale_tril
        constant = nu * p * math.log(2) / 2 + nu * half_log_det(tril) + rtorch.mvlgamma(nu / 2, p=p)
        both = rtorch.broadcast_shapes(value.shape, tril.shape)
        scaled = rtorch.cholesky_solve(value.expand(both), tril.expand(both))
        trace = scaled.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
        return (nu - p - 1) / 2 * rtorch.linalg.slogdet(value).logabsdet - trace / 2 - constant

    def entropy(self):
        nu, p = self.df, self._event_shape[-1]
        constant = nu * p * math.log(2) / 2 + nu * half_log_det(self._unbroadcasted_scale_tril)
        constant = constant + rtorch.mvlgamma(nu / 2, p=p)
        log_det = _mvdigamma(nu / 2, p=p) + p * math.log(2) + 2 * half_log_det(self._unbroadcasted_scale_tril)
        return constant - (nu - p - 1) / 2 * log_det + nu * p / 2

    @property
    def _natural_params(self):
        p = self._event_shape[-1]
        return -self.precision_matrix / 2, (self.df - p - 1) / 2

    def _log_normalizer(self, x, y):
        p = self._event_shape[-1]
        log_det = rtorch.linalg.slogdet(-2 * x).logabsdet
        return (y + (p + 1) / 2) * (-log_det + math.log(2) * p) + rtorch.mvlgamma(y + (p + 1) / 2, p=p)
