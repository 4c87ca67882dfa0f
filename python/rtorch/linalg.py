"""Linear algebra under PyTorch's names, over the core's solvers and decompositions (`_C._linalg`, the faer crate).

Matrices are the last two dimensions, batched over the others. Singular or non-convergent input raises `LinAlgError`.
"""

from __future__ import annotations

import math
import operator

import rtorch
from rtorch import _C
from rtorch._ops._register import as_nodes, named, with_types
from rtorch._ops._register import give as _out
from rtorch._ops.factor import check_matrix as _matrix
from rtorch._ops.factor import check_square as _square
from rtorch._ops.factor import (
    eig,
    eigvals,
    householder_product,
    ldl_factor,
    ldl_factor_ex,
    ldl_solve,
    lu,
    lu_factor,
    lu_factor_ex,
    lu_solve,
)
from rtorch._ops.linalg import linalg_cross as cross
from rtorch._ops.linalg import matrix_power, multi_dot
from rtorch._ops.shape import _dim

LinAlgError = _C.LinAlgError
_l = _C._linalg

slogdet_type = named("linalg_slogdet", "sign logabsdet")
qr_type = named("linalg_qr", "Q R")
svd_type = named("linalg_svd", "U S Vh")
eigh_type = named("linalg_eigh", "eigenvalues eigenvectors")
inv_ex_type = named("linalg_inv_ex", "inverse info")
cholesky_ex_type = named("linalg_cholesky_ex", "L info")
solve_ex_type = named("linalg_solve_ex", "result info")
lstsq_type = named("linalg_lstsq", "solution residuals rank singular_values")


def solve(A, B, *, left=True, out=None):
    """X with A X = B (or X A = B). Shapes (*, n, n) and (*, n, k) or (*, n)."""
    if not left:
        return _out(_l.solve(_square("solve", A).mT, B.mT).mT, out)
    return _out(_l.solve(A, B), out)


def _info(A):
    return rtorch.zeros(A.shape[:-2], dtype=rtorch.int32, device=A.device)


def _or_codes(A, check_errors, f, vector=False):
    """f(A) and LAPACK's code of each matrix: the first zero of its U, else 0. Where one is singular the result is NaN,
    or, asked to check errors, the exception of `f` is raised."""
    try:
        return f(A), _info(A)
    except LinAlgError:
        if check_errors:
            raise
    info = lu_factor_ex(A.detach()).info
    bad = info != 0
    eye = rtorch.eye(A.size(-1), dtype=A.dtype, device=A.device)
    result = f(rtorch.where(bad[..., None, None], eye, A))
    return result.masked_fill(bad[..., None] if vector else bad[..., None, None], math.nan), info


def solve_ex(A, B, *, left=True, check_errors=False, out=None):
    """`solve` and for each matrix a code that is not 0 where it is singular (the result is NaN there)."""
    vector = B.dim() == 1 or (A.dim() - 1 == B.dim() and B.shape == A.shape[:-1])
    return _out(solve_ex_type(*_or_codes(A, check_errors, lambda m: solve(m, B, left=left), vector)), out)


def inv(A, *, out=None):
    """Inverse of square matrices."""
    return _out(_l.inv(_square("inv", A)), out)


def inv_ex(A, *, check_errors=False, out=None):
    """Inverse and for each matrix a code that is not 0 where it is singular (the inverse is NaN there)."""
    return _out(inv_ex_type(*_or_codes(A, check_errors, inv)), out)


def slogdet(A, *, out=None):
    """Sign and logarithm of the absolute value of the determinant."""
    return _out(slogdet_type(*_l.slogdet(_square("slogdet", A))), out)


def det(A, *, out=None):
    """Determinant of square matrices."""
    sign, log = _l.slogdet(_square("det", A))
    return _out(sign * log.exp(), out)


def cholesky(A, *, upper=False, out=None):
    """L with L L^T = A (or U with U^T U = A) of positive-definite matrices."""
    return _out(_l.cholesky(_square("cholesky", A), upper), out)


def cholesky_ex(A, *, upper=False, check_errors=False, out=None):
    """Cholesky factor and for each matrix the order of its first minor that is not positive, 0 where there is none."""
    if check_errors:
        factor, info = cholesky(A, upper=upper), _info(A)
    else:
        factor, info = _l.cholesky_ex(_square("cholesky_ex", A), upper)
    return _out(cholesky_ex_type(factor, info), out)


def qr(A, mode="reduced", *, out=None):
    """Q and R with A = Q R; mode 'reduced', 'complete' or 'r'."""
    _matrix("qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', or 'complete'"
        )
    q, r = _l.qr(A, mode == "complete")
    return _out(qr_type(q.new_empty(0) if mode == "r" else q, r), out)


def svd(A, full_matrices=True, *, driver=None, out=None):
    """U, S, Vh with A = U diag(S) Vh, singular values descending."""
    _no_driver(driver)
    return _out(svd_type(*_l.svd(_matrix("svd", A), full_matrices)), out)


def _no_driver(driver):
    if driver is not None:
        raise RuntimeError(
            "linalg.svd: keyword argument `driver=` is only supported on CUDA inputs with cuSOLVER backend."
        )


def svdvals(A, *, driver=None, out=None):
    """Singular values, descending."""
    _no_driver(driver)
    return _out(_l.svdvals(_matrix("svdvals", A)), out)


def _upper(UPLO):
    if not isinstance(UPLO, str):
        raise TypeError(f"linalg_eigh(): argument 'UPLO' must be str, not {type(UPLO).__name__}")
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return UPLO.upper() == "U"


def eigh(A, UPLO="L", *, out=None):
    """Eigenvalues (ascending) and eigenvectors of symmetric matrices, of which one triangle is read."""
    return _out(eigh_type(*_l.eigh(_square("eigh", A), _upper(UPLO))), out)


def eigvalsh(A, UPLO="L", *, out=None):
    """Eigenvalues of symmetric matrices, ascending."""
    return _out(_l.eigvalsh(_square("eigvalsh", A), _upper(UPLO)), out)


def solve_triangular(A, B, *, upper, left=True, unitriangular=False, out=None):
    """X with A X = B (or X A = B) for triangular A."""
    _square("solve_triangular", A)
    if B.dim() < 2:
        raise RuntimeError("linalg.solve_triangular: The input tensor B must have at least 2 dimensions.")
    if A.dtype != B.dtype:
        raise RuntimeError(
            "linalg.solve_triangular: Expected A and B to have the same dtype, but found A of type "
            f"{A.dtype} and B of type {B.dtype} instead"
        )
    if not left:
        return _out(solve_triangular(A.mT, B.mT, upper=not upper, unitriangular=unitriangular).mT, out)
    if A.size(-1) != B.size(-2):
        raise RuntimeError(
            "linalg.solve_triangular: Incompatible shapes of A and B for the equation AX = B "
            f"({A.size(-2)}x{A.size(-1)} and {B.size(-2)}x{B.size(-1)})"
        )
    if A.dim() > 2 or B.dim() > 2:
        batch = rtorch.broadcast_shapes(A.shape[:-2], B.shape[:-2])
        A, B = A.expand(*batch, *A.shape[-2:]), B.expand(*batch, *B.shape[-2:])
    return _out(_l.solve_triangular(A, B, upper, unitriangular), out)


def _nothing_to_choose(x, ord, dim):
    """Refuses the largest or smallest of no elements, of which no number is the norm."""
    why = "operation does not have an identity"
    dims = [] if dim is None else [dim] if isinstance(dim, int) else list(dim)
    if not dims:
        raise RuntimeError(f"linalg.vector_norm cannot compute the {ord} norm on an empty tensor because the {why}")
    for d in dims:
        if x.size(d) == 0:
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {ord} norm on the dimension {d} because this dimension is "
                f"empty and the {why}"
            )


def vector_norm(x, ord=2, dim=None, keepdim=False, *, dtype=None, out=None):
    """Norm of order `ord` over dims (all if None)."""
    if isinstance(ord, str):
        raise TypeError("linalg_vector_norm(): argument 'ord' must be Number, not str")
    if x.numel() == 0 and (ord < 0 or ord == math.inf):
        _nothing_to_choose(x, ord, dim)
    return _out(rtorch._vector_norm(x, ord, dim, keepdim, dtype=dtype), out)


def matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None, out=None):
    """Matrix norm: 'fro', 'nuc', +-inf, +-1, +-2."""
    plain = ord == "fro" or (not isinstance(ord, str) and abs(ord) in (1, math.inf))
    if not plain or A.dim() < 2 or not A.is_floating_point():  # sums and maxima take 16-bit floats too
        _matrix("matrix_norm", A)
    if len(dim) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {list(dim)}")
    n = A.dim()
    a, b = _dim(dim[0], n), _dim(dim[1], n)
    if a == b:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    if dtype is not None:
        A = A.to(dtype)
    if ord == "fro":
        return _out(vector_norm(A, 2, (a, b), keepdim), out)
    if ord == "nuc" or (not isinstance(ord, str) and abs(ord) == 2):
        rest = [d for d in range(n) if d not in (a, b)]
        s = svdvals(A.permute([*rest, a, b]))
        r = s.sum(-1) if ord == "nuc" else s.amax(-1) if ord > 0 else s.amin(-1)
        if keepdim:
            at = [*rest, a, b]
            r = r.unsqueeze(-1).unsqueeze(-1).permute([at.index(d) for d in range(n)])
        return _out(r, out)
    if isinstance(ord, str) or abs(ord) not in (1, math.inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    add, pick = (b, a) if abs(ord) == math.inf else (a, b)
    s = A.abs().sum(add, keepdim=keepdim)
    pick -= pick > add and not keepdim
    return _out(s.amax(pick, keepdim=keepdim) if ord > 0 else s.amin(pick, keepdim=keepdim), out)


def norm(A, ord=None, dim=None, keepdim=False, *, out=None, dtype=None):
    """Vector or matrix norm, by the number of dims."""
    if dim is not None:
        dim = operator.index(dim) if hasattr(dim, "__index__") else tuple(dim)
    if ord is not None:
        if dim is None and A.dim() not in (1, 2):
            raise RuntimeError(
                "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
                + str(A.dim())
                + "D."
            )
        if isinstance(dim, tuple) and len(dim) > 2:
            raise RuntimeError("linalg.norm: If dim is specified, it must be of length 1 or 2. Got " + str(list(dim)))
        two = (dim is None and A.dim() == 2) or (isinstance(dim, tuple) and len(dim) == 2)
        if two:
            return matrix_norm(A, ord, dim or (-2, -1), keepdim, dtype=dtype, out=out)
        if isinstance(ord, str):
            raise RuntimeError(f"linalg.norm: Order {ord} is only supported for matrices")
    return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype, out=out)


def cond(A, p=None, *, out=None):
    """Condition number."""
    if A.numel() == 0:
        return _out(A.abs().new_zeros(A.shape[:-2]), out)
    if p is None or (not isinstance(p, str) and abs(p) == 2):
        s = svdvals(A)
        top, low = s.narrow(-1, 0, 1), s.narrow(-1, -1, 1)
        return _out((low / top if p == -2 else top / low).squeeze(-1), out)
    _square("cond", A)
    inverse, info = inv_ex(A)
    inverse = inverse.masked_fill((info > 0).unsqueeze(-1).unsqueeze(-1), math.inf)  # of singular matrices
    return _out((matrix_norm(A, p) * matrix_norm(inverse, p)).nan_to_num(math.inf, math.inf, -math.inf), out)


def _tolerance(A, s, atol, rtol, default):
    eps = rtorch.finfo(A.dtype).eps * max(A.size(-2), A.size(-1))
    if atol is None:
        atol = 0.0
        rtol = default if rtol is None else rtol
    elif rtol is None:
        rtol = 0.0 if (atol > 0 if not isinstance(atol, rtorch.Tensor) else bool((atol > 0).all())) else eps
    rtol = eps if rtol is None else rtol
    top = s.amax(-1, keepdim=True) if s.size(-1) else s.sum(-1, keepdim=True)
    widen = lambda t: t.unsqueeze(-1) if isinstance(t, rtorch.Tensor) else t
    return rtorch.maximum(rtorch.as_tensor(widen(atol), dtype=s.dtype), top * widen(rtol))


def matrix_rank(A, *, atol=None, rtol=None, hermitian=False, tol=None, out=None):
    """Number of singular values above a tolerance."""
    _matrix("matrix_rank", A)
    if tol is not None:
        atol, rtol = tol, 0.0
    s = eigvalsh(A).abs() if hermitian else svdvals(A)
    return _out((s > _tolerance(A, s, atol, rtol, None)).sum(-1), out)


class _Pinv(rtorch.autograd.Function):
    """The inverse P of what singular values above a tolerance make of A. Its derivative needs no singular vectors,
    which those of close singular values would spoil: G. H. Golub, V. Pereyra, "The differentiation of pseudo-inverses
    and nonlinear least squares problems whose variables separate" (1973)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(A, atol, rtol, hermitian):
        if hermitian:
            w, v = eigh(A)
            s, left, right = w.abs(), v * w.sign().unsqueeze(-2), v.mH
        else:
            left, s, right = svd(A, full_matrices=False)
        keep = s > _tolerance(A, s, atol, rtol, None)
        inverse = rtorch.where(keep, 1 / rtorch.where(keep, s, 1.0), 0.0)
        return (right.mH * inverse.unsqueeze(-2)) @ left.mH

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0], output)
        ctx.save_for_forward(inputs[0], output)

    @staticmethod
    def backward(ctx, grad):
        A, P = ctx.saved_tensors
        G, PH = grad.mH, P.mH
        if A.size(-2) <= A.size(-1):
            K = G @ P
            KPH = K @ PH
            d = KPH - (P @ K).mH - (A @ P) @ KPH + (PH @ P) @ (G - K @ A)
        else:
            K = P @ G
            PHK = PH @ K
            d = (G - A @ K) @ P @ PH - (K @ P).mH + PHK - (PHK @ P) @ A
        return d, None, None, None

    @staticmethod
    def jvp(ctx, dA, *_):
        A, P = ctx.saved_tensors
        D, PH = dA.mH, P.mH
        PPH = P @ PH
        return PPH @ D - (PPH @ D @ A) @ P - P @ dA @ P + (D - P @ (A @ D)) @ PH @ P


def pinv(A, rcond=None, hermitian=False, *, atol=None, rtol=None, out=None):
    """Moore-Penrose inverse (* x n x m of * x m x n) from the singular values above max(atol, rtol * largest)."""
    (_square if hermitian else _matrix)("pinv", A)
    if rtol is None and rcond is not None:
        rtol = rcond
    if A.numel() == 0:
        return _out(A.mT.clone(), out)
    return _out(_Pinv.apply(A, atol, rtol, hermitian), out)


class _FullRank(_Pinv):
    """`_Pinv` of matrices that are taken for ones of full rank, by a triangular factor where that has none of the
    small numbers on its diagonal that singular values would be asked about."""

    @staticmethod
    def forward(A, atol, rtol, hermitian):
        wide = A.size(-2) < A.size(-1)
        if A.numel() and not _C._vmap_levels(A):
            Q, R = qr(A.mH if wide else A)
            sizes = R.diagonal(0, -2, -1).abs()
            if bool((sizes.amin(-1) > 10 * rtorch.finfo(A.dtype).eps * sizes.amax(-1)).all()):
                inverse = solve_triangular(R, Q.mH, upper=True)
                return inverse.mH if wide else inverse
        return _Pinv.forward(A, atol, rtol, hermitian)


_LSTSQ_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


def lstsq(A, B, rcond=None, *, driver=None):
    """Least squares: X that minimises |A X - B|, the smallest such X where there are several.

    Shapes: (* x m x n) and (* x m x k) or (* x m) -> solution * x n x k or * x n. `residuals` (squared, * x k) where
    m > n, every matrix has full rank and the driver computes them (all but "gelsy", the default); `rank` but for
    "gels", `singular_values` for "gelsd" and "gelss"; what is not computed is empty."""
    _matrix("lstsq", A)
    if driver is not None and driver not in _LSTSQ_DRIVERS:
        raise RuntimeError(f"torch.linalg.lstsq: parameter `driver` should be one of ({', '.join(_LSTSQ_DRIVERS)})")
    driver = driver or "gelsy"
    if B.dim() == 0:
        raise RuntimeError("torch.linalg.lstsq: other must have at least 1 dimension.")
    if A.dtype != B.dtype:
        raise RuntimeError(
            f"torch.linalg.lstsq: Expected A and B to have the same dtype, but got {A.dtype} and {B.dtype}"
        )
    vector = B.dim() == A.dim() - 1
    rhs = B.unsqueeze(-1) if vector else B
    if rhs.dim() < 2 or A.size(-2) != rhs.size(-2):
        raise RuntimeError("torch.linalg.lstsq: input.size(-2) should match other.size(-2)")
    m, n = A.shape[-2:]
    inverse = _FullRank.apply(A, None, rcond, False) if driver == "gels" and A.numel() else pinv(A, rtol=rcond)
    solution = inverse @ rhs
    empty = rtorch.empty(0, dtype=A.real.dtype, device=A.device)
    rank = rtorch.empty(0, dtype=rtorch.int64, device=A.device)
    if driver != "gels":
        rank = matrix_rank(A.detach(), rtol=rcond)
    full = driver == "gels" or (rank.numel() > 0 and bool((rank == n).all()))
    residuals = solution.abs().reshape(-1)[:0]
    if m > n and driver != "gelsy" and full:
        residuals = (A @ solution - rhs).abs().square().sum(-2)
    values = svdvals(A.detach()) if driver in ("gelss", "gelsd") else empty
    return lstsq_type(solution.squeeze(-1) if vector else solution, residuals, rank, values)


def vander(x, N=None):
    """Vandermonde matrix: powers 0 .. N-1 of each element."""
    x = x if x.dim() else x.unsqueeze(0)
    n = x.size(-1) if N is None else N
    if n <= 1:
        raise RuntimeError("N must be greater than 1.")
    ones, powers = rtorch.ones_like(x).unsqueeze(-1), x.unsqueeze(-1)
    if n > 2:
        powers = powers.expand(*x.shape, n - 1).cumprod(-1)
    return rtorch.cat([ones, powers], -1)


def vecdot(x, y, *, dim=-1, out=None):
    """Dot products along a dim."""
    if not (x.is_floating_point() or x.is_complex()) and x.dtype != y.dtype:
        raise RuntimeError(
            f"linalg.vecdot: Expected x and y to have the same dtype, but found x of type {x.dtype} "
            f"and y of type {y.dtype} instead"
        )
    return _out((x.conj() * y).sum(dim), out)


def diagonal(A, *, offset=0, dim1=-2, dim2=-1):
    """The diagonal of two dims."""
    return A.diagonal(offset, dim1, dim2)


def matmul(input, other, *, out=None):
    """`rtorch.matmul`."""
    return rtorch.matmul(input, other) if out is None else rtorch.matmul(input, other, out=out)


def tensorinv(A, ind=2, *, out=None):
    """Inverse of the map that a tensor is over its first `ind` dims."""
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    lead, tail = A.shape[:ind], A.shape[ind:]
    if math.prod(lead) != math.prod(tail):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == prod(self.shape[:ind]), but got "
            f"{math.prod(tail)} != {math.prod(lead)}"
        )
    return _out(inv(A.reshape(math.prod(lead), -1)).reshape(*tail, *lead), out)


def tensorsolve(A, B, dims=None, *, out=None):
    """X with tensordot(A, X, X.dim()) = B."""
    if dims is not None:
        A = A.movedim(list(dims), list(range(A.dim() - len(dims), A.dim())))
    shape = A.shape[B.dim() :]
    if math.prod(shape) != B.numel():
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) == prod(self.shape[:other.ndim])"
        )
    return _out(solve(A.reshape(B.numel(), -1), B.reshape(-1)).reshape(shape), out)


def matrix_exp(A):
    """Exponential of square matrices: scaling and squaring of a Taylor polynomial (Bader, Blanes, Casas 2019)."""
    _square("matrix_exp", A)
    if A.numel() == 0:
        return A.clone()
    size = float(A.detach().abs().sum(-2).amax())
    squarings = max(0, math.ceil(math.log2(size / 0.5))) if size > 0.5 and math.isfinite(size) else 0
    x = A / 2**squarings
    eye = rtorch.eye(A.size(-1), dtype=A.dtype, device=A.device)
    terms = 18 if A.dtype == rtorch.float64 else 10
    result = eye + x / terms
    for k in range(terms - 1, 0, -1):
        result = eye + (x @ result) / k
    for _ in range(squarings):
        result = result @ result
    return result


as_nodes("linalg", globals())
with_types("linalg", globals())
del as_nodes, with_types
