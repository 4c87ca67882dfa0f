"""The LKJ distribution over correlation matrices, as their Cholesky factors."""

import math

import rtorch
from rtorch import Size

from . import constraints
from .beta import Beta
from .distribution import Distribution
from .utils import broadcast_all

__all__ = ["LKJCholesky"]


class LKJCholesky(Distribution):
    """Cholesky factors L [dim, dim] of correlation matrices M = L L^T with p(M) proportional to
    det(M)^(concentration - 1); concentration 1 is uniform (Lewandowski, Kurowicka & Joe 2009; drawn by its "onion").

    >>> import rtorch
    >>> LKJCholesky(3, 0.5).event_shape
    torch.Size([3, 3])
    """

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky
    _parts = ("_beta",)

    def __init__(self, dim, concentration=1.0, validate_args=None):
        if dim < 2:
            raise ValueError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        # row k (of dim - 1 below the first) has a squared length left of its diagonal that is Beta(k / 2, marginal)
        marginal = self.concentration + 0.5 * (self.dim - 2)
        like = {"dtype": self.concentration.dtype, "device": self.concentration.device}
        offset = rtorch.cat([rtorch.zeros(1, **like), rtorch.arange(self.dim - 1, **like)])
        self._beta = Beta(offset + 0.5, marginal.unsqueeze(-1) - 0.5 * offset)
        super().__init__(self.concentration.size(), Size((dim, dim)), validate_args=validate_args)

    @rtorch.no_grad()
    def sample(self, sample_shape=()):
        squared = self._beta.sample(sample_shape).unsqueeze(-1)
        shape = self._extended_shape(sample_shape)
        direction = rtorch.randn(shape, dtype=squared.dtype, device=squared.device).tril(-1)
        direction = direction / direction.norm(dim=-1, keepdim=True)
        direction[..., 0, :].fill_(0.0)
        w = rtorch.sqrt(squared) * direction
        tiny = rtorch.finfo(w.dtype).tiny
        diagonal = rtorch.clamp(1 - rtorch.sum(w**2, dim=-1), min=tiny).sqrt()
        return w + rtorch.diag_embed(diagonal)

    def log_prob(self, value):
        """The density of L by the volume change from M: diagonal element i has the power dim - i + 2 eta - 2."""
        value = self._checked(value)
        diagonal = value.diagonal(dim1=-1, dim2=-2)[..., 1:]
        order = rtorch.arange(2, self.dim + 1, device=self.concentration.device)
        order = 2 * (self.concentration - 1).unsqueeze(-1) + self.dim - order
        density = rtorch.sum(order * diagonal.log(), dim=-1)
        n = self.dim - 1
        alpha = self.concentration + 0.5 * n
        numerator = rtorch.mvlgamma(alpha - 0.5, n)
        return density - (0.5 * n * math.log(math.pi) + numerator - rtorch.lgamma(alpha) * n)
