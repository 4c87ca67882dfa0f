"""Factors of matrices by composition over the core's decompositions (`_C._linalg`): LU and what it solves, products of
reflections, LDL, general eigenvalues. `rtorch.linalg` shows them under its own names.

Storage is LAPACK's (E. Anderson et al., "LAPACK Users' Guide"): LU and pivots from `getrf`, reflections from `geqrf`.
"""

from __future__ import annotations

import warnings

import rtorch
from rtorch import _C

from ._register import give, named, op

_l = _C._linalg

lu_type = named("linalg_lu", "P L U")
lu_factor_type = named("linalg_lu_factor", "LU pivots")
lu_factor_ex_type = named("linalg_lu_factor_ex", "LU pivots info")
lu_unpack_type = named("lu_unpack", "P L U")
lu_with_info_type = named("_lu_with_info", "LU pivots info")
geqrf_type = named("geqrf", "a tau")
ldl_factor_type = named("linalg_ldl_factor", "LD pivots")
ldl_factor_ex_type = named("linalg_ldl_factor_ex", "LD pivots info")
eig_type = named("linalg_eig", "eigenvalues eigenvectors")


# where PyTorch has checks of its own it raises RuntimeError, where its kernel lacks the dtype NotImplementedError
_KERNELS = set(
    (
        "cholesky det eig eigh eigvals eigvalsh ldl_factor_ex ldl_solve lu_factor lu_solve qr solve_triangular svd "
        "svdvals"
    ).split()
)
_KERNELS_OF_INTEGERS = {"eigh", "eigvalsh", "lu_factor", "solve_triangular"}


def check_matrix(name, A):
    """A floating-point or complex tensor of at least two dimensions, or PyTorch's error."""
    if not isinstance(A, rtorch.Tensor):
        raise TypeError(f"linalg_{name}(): argument 'A' (position 1) must be Tensor, not {type(A).__name__}")
    if A.dim() < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    if not (A.is_floating_point() or A.is_complex()):
        raise (NotImplementedError if name in _KERNELS_OF_INTEGERS else RuntimeError)(
            f"linalg.{name}: Expected a floating point or complex tensor as input. Got {str(A.dtype)[6:].capitalize()}"
        )
    if A.dtype in (rtorch.float16, rtorch.bfloat16):
        raise (NotImplementedError if name in _KERNELS else RuntimeError)(
            f"linalg.{name}: Low precision dtypes not supported. Got {str(A.dtype)[6:].capitalize()}"
        )
    return A


def check_square(name, A):
    """`check_matrix`, and as many rows as columns."""
    check_matrix(name, A)
    if A.size(-1) != A.size(-2):
        raise RuntimeError(
            f"linalg.{name}: A must be batches of square matrices, but they are {A.size(-2)} by {A.size(-1)} matrices"
        )
    return A


def _eye(n, like):
    return rtorch.eye(n, dtype=like.dtype, device=like.device)


def _first_zero(diagonal):
    """The number (from 1) of the first zero along the last dimension, 0 where there is none: LAPACK's info."""
    zero = diagonal == 0
    if zero.size(-1) == 0:
        return zero.sum(-1).int()
    return rtorch.where(zero.any(-1), zero.int().argmax(-1) + 1, 0).int()


_SINGULAR_U = (
    "U[{0},{0}] is zero and using it on lu_solve would result in a division by zero. If you still want to perform the "
    "factorization, consider calling linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)"
)
_SINGULAR_D = "D[{0},{0}] is zero and using it on ldl_solve would result in a division by zero"


def _refuse_singular(name, info, error, text=_SINGULAR_U):
    """Raises `error` for the first matrix whose factor has a zero on its diagonal."""
    if not info.numel() or int(info.max()) == 0:
        return
    flat = info.reshape(-1)
    at = int((flat > 0).int().argmax())
    batch = f"(Batch element {at}): " if info.dim() else ""
    raise error(f"torch.linalg.{name}: {batch}{text.format(int(flat[at]))}")


def lu_factor_ex(A, *, pivot=True, check_errors=False, out=None):
    """LU (* x m x n) and int32 pivots (* x min(m, n)) with A = P L U, and for each matrix the number of the first zero
    on U's diagonal, 0 where there is none. Without pivoting: for other devices, RuntimeError here."""
    check_matrix("lu_factor", A)
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    packed, pivots = _l.lu_factor(A)
    info = _first_zero(packed.detach().diagonal(0, -2, -1))
    if check_errors:
        _refuse_singular("lu_factor_ex", info, rtorch.linalg.LinAlgError)
    result = lu_factor_ex_type(packed, pivots, info)
    return give(result, out)


def lu_factor(A, *, pivot=True, out=None):
    """`lu_factor_ex` that raises RuntimeError where U is singular."""
    packed, pivots, info = lu_factor_ex(A, pivot=pivot)
    _refuse_singular("lu_factor", info, RuntimeError)
    result = lu_factor_type(packed, pivots)
    return give(result, out)


def _unpack(LU, pivots, data=True, swaps=True):
    m, n = LU.shape[-2:]
    k = min(m, n)
    empty = LU.new_empty(0)
    P, L, U = empty, empty, empty
    if swaps:
        # row i of P^T has its one in column order[i]
        order = _l.permutation(pivots, m, False)
        P = LU.new_zeros(*LU.shape[:-2], m, m)
        P = P.scatter(-2, order.unsqueeze(-2), 1.0) if P.numel() else P
    if data:
        L = LU[..., :, :k].tril(-1)
        if L.requires_grad:
            L = L + rtorch.eye(m, k, dtype=LU.dtype, device=LU.device)
        else:
            L.diagonal(0, -2, -1).fill_(1)
        U = LU[..., :k, :].triu()
    return P, L, U


@op(method=False)
def lu_unpack(LU_data, LU_pivots, unpack_data=True, unpack_pivots=True, *, out=None):
    """P, L, U from LU and pivots; empty tensors for what is not asked for."""
    if LU_pivots.dtype != rtorch.int32:
        raise RuntimeError(
            "torch.lu_unpack: LU_pivots is expected to be a contiguous tensor of torch.int32 dtype.\nNote: this "
            "function is intended to be used with the output produced by torch.linalg.lu_factor"
        )
    result = lu_unpack_type(*_unpack(LU_data, LU_pivots, unpack_data, unpack_pivots))
    return give(result, out)


def lu(A, *, pivot=True, out=None):
    """P, L, U with A = P L U: a permutation, a unit lower and an upper triangle."""
    packed, pivots, _ = lu_factor_ex(A, pivot=pivot)
    result = lu_type(*_unpack(packed, pivots))
    return give(result, out)


def lu_solve(LU, pivots, B, *, left=True, adjoint=False, out=None):
    """X with A X = B (X A = B where not `left`; A^H in place of A where `adjoint`) from A's LU and pivots."""
    check_square("lu_solve", LU)
    if B.dim() < 2:
        raise RuntimeError("linalg.lu_solve: The input tensor B must have at least 2 dimensions.")
    if LU.dtype != B.dtype:
        raise RuntimeError(
            f"linalg.lu_solve: Expected LU and B to have the same dtype, but found LU of type {LU.dtype} and B of type "
            f"{B.dtype} instead"
        )
    n = LU.size(-1)
    if B.size(-2 if left else -1) != n:
        equation = "AX = B" if left else "XA = B"
        raise RuntimeError(
            f"linalg.lu_solve: Incompatible shapes of A and B for the equation {equation} ({n}x{n} and "
            f"{B.size(-2)}x{B.size(-1)})"
        )
    if not left:
        # X A = B is A^H X^H = B^H
        x = lu_solve(LU, pivots, B.mH, adjoint=not adjoint).mH
        return give(x, out)
    solve = rtorch.linalg.solve_triangular
    batch = rtorch.broadcast_shapes(LU.shape[:-2], B.shape[:-2])
    B = B.expand(*batch, *B.shape[-2:])

    def permute(x, inverse):
        order = _l.permutation(pivots, n, inverse).expand(*batch, n)
        return x.gather(-2, order.unsqueeze(-1).expand(x.shape))

    if adjoint:
        y = solve(LU.mH, B, upper=False)
        x = permute(solve(LU.mH, y, upper=True, unitriangular=True), True)
    else:
        y = solve(LU, permute(B, False), upper=False, unitriangular=True)
        x = solve(LU, y, upper=True)
    return give(x, out)


@op(name="lu_solve", out=True)
def _lu_solve(input, LU_data, LU_pivots):
    """`linalg.lu_solve` with its arguments reversed."""
    return lu_solve(LU_data, LU_pivots, input)


@op(name="lu")
def _lu(input, pivot=True, get_infos=False):
    """LU and pivots, and error codes where `get_infos`."""
    warnings.warn(
        "torch.lu is deprecated in favor of torch.linalg.lu_factor / torch.linalg.lu_factor_ex and will be removed in "
        "a future PyTorch release.",
        stacklevel=3,
    )
    result = lu_with_info_type(*lu_factor_ex(input, pivot=pivot, check_errors=not get_infos))
    return result if get_infos else (result.LU, result.pivots)


@op()
def geqrf(input, *, out=None):
    """R, and below its diagonal the vectors of the reflections whose product is Q; their factors tau."""
    if input.dim() < 2:
        raise RuntimeError("torch.geqrf: input must have at least 2 dimensions.")
    result = geqrf_type(*_l.geqrf(input))
    return give(result, out)


# Reflections that are taken together: products of so many columns run at the speed of large ones.
_TOGETHER = 64


def _reflected(A, tau, c, adjoint=False):
    """H_1 H_2 ... H_k C, or of the adjoint product, for reflections H = I - tau v v^H of `geqrf`; C is the identity's
    first columns where it is None. On the CPU in blocks of I - V T V^H (`_block`)."""
    (m, n), k = A.shape[-2:], tau.size(-1)
    whole = c is None
    if whole and (k == 0 or A.device.type != "cpu"):
        c = rtorch.eye(m, n, dtype=A.dtype, device=A.device)
        c = rtorch.where(rtorch.zeros_like(A, dtype=rtorch.bool), A, c)  # part of the graph without reflections too
    if A.device.type != "cpu":  # which has no triangular solver
        V = A[..., :, :k].tril(-1) + rtorch.eye(m, k, dtype=A.dtype, device=A.device)
        for i in range(k) if adjoint else reversed(range(k)):
            v, t = V[..., :, i : i + 1], tau[..., i : i + 1].unsqueeze(-1)
            c = c - (t.conj() if adjoint else t) * (v @ (v.mH @ c))
        return c
    starts = range(0, k, _TOGETHER)
    if whole and k:
        return _columns(A, tau, starts)
    if adjoint:
        done = []
        for s in starts:
            V, T = _block(A, tau, s)
            c = c - V @ (T.mH @ (V.mH @ c))
            done.append(c[..., :_TOGETHER, :])  # which later reflections leave alone
            c = c[..., _TOGETHER:, :]
        return rtorch.cat([*done, c], -2)
    rest = c[..., k:, :]
    for s in reversed(starts):
        V, T = _block(A, tau, s)
        rest = rtorch.cat([c[..., s : s + T.size(-1), :], rest], -2)
        rest = rest - V @ (T @ (V.mH @ rest))
    return rest


def _block(A, tau, s):
    """V and T of the reflections from `s` on: their product is I - V T V^H, with the vectors v (one on the diagonal,
    zeros above) as V's columns and T triangular. T^-1 is diag(1 / tau) plus what is above the diagonal of V^H V
    (Puglisi, "Modification of the Householder method based on the compact WY representation", 1992), here without
    the quotient, since tau may be 0."""
    t = tau[..., s : s + _TOGETHER]
    v = A[..., s:, s : s + t.size(-1)]
    V = v.tril(-1) + rtorch.eye(v.size(-2), v.size(-1), dtype=A.dtype, device=A.device)
    above = t.unsqueeze(-1) * (V.mH @ V).triu(1)
    return V, rtorch.linalg.solve_triangular(above, rtorch.diag_embed(t), upper=True, unitriangular=True)


def _columns(A, tau, starts):
    """The first columns of the reflections' product: those behind a block do not see it from above."""
    (m, n), k, batch = A.shape[-2:], tau.size(-1), A.shape[:-2]
    kind = {"dtype": A.dtype, "device": A.device}
    rest = rtorch.eye(m - k, n - k, **kind).expand(*batch, m - k, n - k)
    for s in reversed(starts):
        V, T = _block(A, tau, s)
        b = T.size(-1)
        inner = rtorch.cat([V[..., :b, :].mH, V[..., b:, :].mH @ rest], -1)
        above = rtorch.eye(b, n - s, **kind).expand(*batch, b, n - s)
        beside = rtorch.zeros(*batch, m - s - b, b, **kind)
        rest = rtorch.cat([above, rtorch.cat([beside, rest], -1)], -2) - V @ (T @ inner)
    return rest


def householder_product(A, tau, *, out=None):
    """The first n columns of the product of reflections H_1 H_2 ... H_k.

    Shapes: A (* x m x n) with m >= n, tau (* x k) with k <= n -> * x m x n."""
    if A.dim() < 2:
        raise RuntimeError("torch.linalg.householder_product: input must have at least 2 dimensions.")
    if A.size(-2) < A.size(-1):
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-2] must be greater than or equal to input.shape[-1]"
        )
    if A.size(-1) < tau.size(-1):
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-1] must be greater than or equal to tau.shape[-1]"
        )
    if tau.dtype != A.dtype:
        raise RuntimeError(
            f"torch.linalg.householder_product: tau dtype {tau.dtype} does not match input dtype {A.dtype}"
        )
    return give(_reflected(A, tau, None), out)


@op(out=True)
def orgqr(input, input2):
    """`linalg.householder_product`."""
    return householder_product(input, input2)


@op(out=True)
def ormqr(input, tau, other, left=True, transpose=False):
    """Q C (C Q where not `left`; Q^H in place of Q where `transpose`), Q the product of `geqrf`'s reflections."""
    if not left:
        # C Q is (Q^H C^H)^H
        return ormqr(input, tau, other.mH, True, not transpose).mH
    return _reflected(input, tau, other, transpose)


def ldl_factor_ex(A, *, hermitian=False, check_errors=False, out=None):
    """LD (* x n x n) and int32 pivots of symmetric (or Hermitian) matrices, whose lower triangle is read, and for each
    the number of the first zero of D, 0 where there is none."""
    check_square("ldl_factor_ex", A)
    packed, pivots = _l.ldl_factor(A, hermitian)
    info = _first_zero(rtorch.where(pivots > 0, packed.diagonal(0, -2, -1), 1))
    if check_errors:
        _refuse_singular("ldl_factor_ex", info, rtorch.linalg.LinAlgError, _SINGULAR_D)
    result = ldl_factor_ex_type(packed, pivots, info)
    return give(result, out)


def ldl_factor(A, *, hermitian=False, out=None):
    """`ldl_factor_ex` without the error codes; RuntimeError where D is singular."""
    packed, pivots, info = ldl_factor_ex(A, hermitian=hermitian)
    _refuse_singular("ldl_factor", info, RuntimeError, _SINGULAR_D)
    result = ldl_factor_type(packed, pivots)
    return give(result, out)


def ldl_solve(LD, pivots, B, *, hermitian=False, out=None):
    """X with A X = B from A's LD and pivots. Shapes: * x n x n, * x n, * x n x k."""
    check_square("ldl_solve", LD)
    if B.dim() < 2:
        raise RuntimeError(
            f"torch.linalg.ldl_solve: Expected B to have at least 2 dimensions, but it has {B.dim()} dimensions instead"
        )
    if pivots.dtype.is_floating_point or pivots.dtype == rtorch.bool:
        raise RuntimeError(f"torch.linalg.ldl_solve: Expected pivots to be integers. Got {pivots.dtype}")
    if LD.size(-1) != B.size(-2) or pivots.shape != LD.shape[:-1]:
        raise RuntimeError(
            "torch.linalg.ldl_solve: Expected LD.shape[:-1] and pivots.shape to be the same and B to have "
            f"{LD.size(-1)} rows, but got LD {list(LD.shape)}, pivots {list(pivots.shape)}, B {list(B.shape)}"
        )
    if LD.dtype != B.dtype:
        raise RuntimeError(f"torch.linalg.ldl_solve: LD dtype {LD.dtype} does not match b dtype {B.dtype}")
    batch = rtorch.broadcast_shapes(LD.shape[:-2], B.shape[:-2])
    LD, B = LD.expand(*batch, *LD.shape[-2:]), B.expand(*batch, *B.shape[-2:])
    x = _l.ldl_solve(LD, pivots.to(rtorch.int32).expand(*batch, LD.size(-1)), B, hermitian)
    return give(x, out)


def eig(A, *, out=None):
    """Complex eigenvalues (* x n) and eigenvectors (columns, of norm 1) of square matrices."""
    result = eig_type(*_l.eig(check_square("eig", A)))
    return give(result, out)


def eigvals(A, *, out=None):
    """Complex eigenvalues of square matrices."""
    return give(_l.eigvals(check_square("eigvals", A)), out)
