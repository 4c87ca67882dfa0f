"""Ready parametrizations: orthogonal matrices, weight normalisation, spectral normalisation."""

import rtorch
from rtorch.nn import functional as F
from rtorch.nn.modules.module import Module

from . import parametrize
from .weight_norm import norm_except_dim

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]

_MAPS = ("matrix_exp", "cayley", "householder")


class _Orthogonal(Module):
    """A matrix with orthonormal rows or columns, whichever are fewer, from an unconstrained one."""

    def __init__(self, weight, orthogonal_map, use_trivialization=True):
        super().__init__()
        if weight.is_complex() and orthogonal_map == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, x):
        n, k = x.size(-2), x.size(-1)
        wide = n < k
        if wide:
            x, n, k = x.mT, k, n
        if self.orthogonal_map == "householder":
            q = _householder(x)
        else:
            x = x.tril()
            if n != k:  # to a square matrix, whose first columns are taken at the end
                filler = rtorch.zeros((*x.shape[:-1], n - k), dtype=x.dtype, device=x.device)
                x = rtorch.cat([x, filler], -1)
            skew = x - x.mH
            if self.orthogonal_map == "matrix_exp":
                q = rtorch.linalg.matrix_exp(skew)
            else:
                eye = rtorch.eye(n, dtype=x.dtype, device=x.device)
                q = rtorch.linalg.solve(eye - 0.5 * skew, eye + 0.5 * skew)
            if n != k:
                q = q[..., :k]
        if hasattr(self, "base"):
            q = self.base @ q
        return q.mT if wide else q

    def right_inverse(self, q):
        if q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {q.shape}."
            )
        wide = q.size(-2) < q.size(-1)
        tall = q.mT if wide else q
        n, k = tall.size(-2), tall.size(-1)
        if not hasattr(self, "base"):
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                    "use_trivialization=False."
                )
            packed, tau = rtorch.geqrf(tall)
            packed.diagonal(dim1=-2, dim2=-1).sign_()
            signs = packed.diagonal(dim1=-2, dim2=-1)
            signs[tau == 0.0] *= -1
            return packed.mT if wide else packed
        # The base is the wanted matrix itself (completed to a square one), and the free part the identity's.
        base, r = rtorch.linalg.qr(_completed(tall) if n != k else tall)
        diagonal = r.diagonal(dim1=-2, dim2=-1)
        phase = diagonal.sgn() if diagonal.is_complex() else diagonal.sign()
        base = base * phase.unsqueeze(-2)
        self.base = base
        free = rtorch.zeros_like(tall)
        if self.orthogonal_map == "householder":
            free.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
        return free.mT if wide else free


def _completed(x):
    """A tall matrix with random columns added until it is square."""
    n, k = x.size(-2), x.size(-1)
    return rtorch.cat([x, rtorch.randn((*x.shape[:-1], n - k), dtype=x.dtype, device=x.device)], -1)


def _householder(x):
    """The product of the reflections whose vectors stand below the diagonal of x."""
    lower = x.tril(-1)
    tau = 2.0 / (1.0 + (lower * lower).sum(-2))
    n, k = x.size(-2), x.size(-1)
    q = rtorch.eye(n, k, dtype=x.dtype, device=x.device).expand(*x.shape)
    vectors = lower + rtorch.eye(n, k, dtype=x.dtype, device=x.device)
    for i in reversed(range(k)):
        v = vectors[..., :, i].unsqueeze(-1)
        q = q - tau[..., i, None, None] * (v @ (v.mT @ q))
    return q * x.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2).to(x.dtype)


def orthogonal(module, name="weight", orthogonal_map=None, *, use_trivialization=True):
    """Keeps `module.name` (semi) orthogonal, by "matrix_exp", "cayley" or "householder" (Lezcano-Casado 2019).

    >>> import rtorch
    >>> m = rtorch.nn.utils.parametrizations.orthogonal(rtorch.nn.Linear(3, 2))
    >>> bool(((m.weight @ m.weight.t() - rtorch.eye(2)).abs() < 1e-5).all())
    True
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, rtorch.Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.dim() < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.dim()} dimensions.")
    if orthogonal_map is None:
        square = weight.size(-2) == weight.size(-1) or weight.is_complex()
        orthogonal_map = "matrix_exp" if square else "householder"
    if orthogonal_map not in _MAPS:
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    made = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return parametrize.register_parametrization(module, name, made, unsafe=True)


class _WeightNorm(Module):
    """Magnitude and direction."""

    def __init__(self, dim=0):
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g, weight_v):
        return weight_v * (weight_g / self._norm(weight_v))

    def right_inverse(self, weight):
        return self._norm(weight), weight

    def _norm(self, v):
        return norm_except_dim(v, None if self.dim == -1 else self.dim)


def weight_norm(module, name="weight", dim=0):
    """Magnitude (original0) and direction (original1) of a weight, trained apart (Salimans & Kingma 2016)."""
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)
    return module


class _SpectralNorm(Module):
    """A weight over its largest singular value, estimated by power iteration."""

    def __init__(self, weight, n_power_iterations=1, dim=0, eps=1e-12):
        super().__init__()
        ndim = weight.ndim
        if dim >= ndim or dim < -ndim:
            raise IndexError(f"Dimension out of range (expected to be in range of [-{ndim}, {ndim - 1}] but got {dim})")
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim = dim if dim >= 0 else dim + ndim
        self.eps = eps
        if ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = self._as_matrix(weight)
            u, v = (matrix.new_empty(size).normal_(0, 1) for size in matrix.shape)
            self.register_buffer("_u", F.normalize(u, dim=0, eps=eps))
            self.register_buffer("_v", F.normalize(v, dim=0, eps=eps))
            self._iterate(matrix, 15)

    def _as_matrix(self, weight):
        if self.dim != 0:
            weight = weight.permute(self.dim, *(d for d in range(weight.dim()) if d != self.dim))
        return weight.flatten(1)

    def _iterate(self, matrix, n):
        with rtorch.no_grad():
            for _ in range(n):
                self._u.copy_(F.normalize(matrix @ self._v, dim=0, eps=self.eps))
                self._v.copy_(F.normalize(matrix.mT @ self._u, dim=0, eps=self.eps))

    def forward(self, weight):
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._as_matrix(weight)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        sigma = (self._u.clone() * (matrix @ self._v.clone())).sum()
        return weight / sigma

    def right_inverse(self, value):
        return value


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    """Divides a weight by its largest singular value (Miyato et al. 2018)."""
    weight = getattr(module, name, None)
    if not isinstance(weight, rtorch.Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    dim = _output_dim(module) if dim is None else dim
    made = _SpectralNorm(weight, n_power_iterations, dim, eps)
    parametrize.register_parametrization(module, name, made)
    return module


def _output_dim(module):
    """The dimension of the weight that belongs to the outputs: 1 for transposed convolutions."""
    return 1 if getattr(module, "transposed", False) else 0
