"""rtorch.linalg: decompositions multiply back, solvers solve, derivatives are those of finite differences."""

import numpy as np
import pytest

import rtorch
from rtorch import linalg as la

DTYPES = [rtorch.float32, rtorch.float64, rtorch.complex64, rtorch.complex128]
SHAPES = [(1, 1), (4, 4), (5, 3), (3, 5), (2, 3, 3), (2, 0, 4, 2), (0, 0), (3, 0), (40, 30)]
SQUARE = [(1, 1), (4, 4), (2, 3, 3), (0, 0), (0, 3, 3), (33, 33)]


def matrices(shape, dtype, seed=0):
    rtorch.manual_seed(seed)
    return rtorch.randn(*shape, dtype=dtype)


def positive(shape, dtype):
    a = matrices(shape, dtype)
    return a @ a.mH + rtorch.eye(shape[-1], dtype=dtype)


def near(a, b):
    tol = 2e-3 if a.dtype in (rtorch.float32, rtorch.complex64) else 1e-9
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tol, atol=tol)


def identity(n, like):
    return rtorch.eye(n, dtype=like.dtype).expand(*like.shape[:-2], n, n)


LAYOUTS = {
    "contiguous": lambda a: a,
    "transposed": lambda a: a.mT.contiguous().mT,
    "sliced": lambda a: rtorch.cat([a, a], -1)[..., : a.size(-1)],
    "stepped": lambda a: a.repeat_interleave(2, -2)[..., ::2, :],
    "broadcast": lambda a: a.expand(2, *a.shape),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_lu_qr_and_svd_multiply_back(shape, dtype):
    a = matrices(shape, dtype)
    m, n = shape[-2:]
    P, L, U = la.lu(a)
    near(P @ L @ U, a)
    near(rtorch.lu_unpack(*la.lu_factor_ex(a)[:2]).P, P)
    for mode in ("reduced", "complete"):
        q, r = la.qr(a, mode)
        near(q @ r, a)
        near(q.mH @ q, identity(q.size(-1), q))
        # R's diagonal is real, as LAPACK leaves it
        assert not r.is_complex() or bool((r.diagonal(0, -2, -1).imag == 0).all())
    packed, tau = rtorch.geqrf(a)
    near(packed.triu()[..., : min(m, n), :], la.qr(a)[1])
    if m >= n:
        near(la.householder_product(packed, tau), la.qr(a)[0])
    near(rtorch.ormqr(packed, tau, a, transpose=True), la.qr(a, "complete")[1])
    for full in (True, False):
        u, s, vh = la.svd(a, full)
        k = min(m, n)
        near((u[..., :k] * s.unsqueeze(-2).to(dtype)) @ vh[..., :k, :], a)
        near(u.mH @ u, identity(u.size(-1), u))
        assert bool((s[..., :-1] >= s[..., 1:]).all())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SQUARE)
def test_square_matrices(shape, dtype):
    a, n = matrices(shape, dtype), shape[-1]
    b = matrices((*shape[:-1], 2), dtype, 1)
    near(a @ la.solve(a, b), b)
    near(a @ la.inv(a), identity(n, a))
    packed, pivots = la.lu_factor(a)
    near(a @ la.lu_solve(packed, pivots, b), b)
    near(a.mH @ la.lu_solve(packed, pivots, b, adjoint=True), b)
    near(la.lu_solve(packed, pivots, b.mH, left=False) @ a, b.mH)
    sign, log = la.slogdet(a)
    near(sign * log.exp(), rtorch.tensor(np.linalg.det(a.numpy().astype("complex128"))).to(dtype).reshape(sign.shape))
    w, v = la.eig(a)
    near(a.to(w.dtype) @ v, v * w.unsqueeze(-2))
    spd = positive(shape, dtype)
    for upper in (False, True):
        f = la.cholesky(spd, upper=upper)
        near(f.mH @ f if upper else f @ f.mH, spd)
    w, v = la.eigh(spd)
    near(spd @ v, v * w.unsqueeze(-2))
    near(la.eigvalsh(spd, UPLO="U"), w)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_ldl(n, hermitian, dtype):
    a = matrices((3, n, n), dtype)
    a = a + (a.mH if hermitian else a.mT)
    a.diagonal(0, -2, -1)[...] = 0 if n > 1 else 1  # blocks of two
    packed, pivots = la.ldl_factor(a, hermitian=hermitian)
    assert n == 1 or bool((pivots < 0).any())
    b = matrices((3, n, 2), dtype, 1)
    near(a @ la.ldl_solve(packed, pivots, b, hermitian=hermitian), b)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    a = LAYOUTS[layout](matrices((3, 4, 4), rtorch.float64))
    b = matrices((3, 4, 4), rtorch.float64, 1)
    near(a @ la.solve(a, b), b.expand(a.shape))
    u, s, vh = la.svd(a)
    near(u * s.unsqueeze(-2) @ vh, a.contiguous())


def test_pivots_without_a_pivot():
    a = rtorch.tensor([[0.0, 1.0, 2.0], [0.0, 3.0, 4.0], [0.0, 0.0, 5.0]])
    P, L, U = la.lu(a)
    near(P @ L @ U, a)
    assert la.det(a).item() == 0 and la.det(rtorch.zeros(3, 3)).item() == 0
    assert la.lu_factor_ex(a).info.item() == 1


DIFFERENTIABLE = {
    "lu": lambda a: la.lu(a)[1:],
    "lu_factor": lambda a: la.lu_factor_ex(a)[0],
    "qr": la.qr,
    "svdvals": la.svdvals,
    "svd": lambda a: (lambda u, s, vh: (u.abs(), s, vh.abs()))(*la.svd(a, False)),
    "pinv": la.pinv,
    "lstsq": lambda a: la.lstsq(a, a[..., :1]).solution,
}
SQUARE_DIFFERENTIABLE = {
    "solve": lambda a: la.solve(a, a.mT),
    "inv": la.inv,
    "det": la.det,
    "slogdet": lambda a: la.slogdet(a)[1],
    "eigvals": la.eigvals,
    "eig": lambda a: (lambda w, v: (w, v.abs()))(*la.eig(a)),
    "eigh": lambda a: (lambda w, v: (w, v.abs()))(*la.eigh(a + a.mH)),
    "cholesky": lambda a: la.cholesky(a @ a.mH + rtorch.eye(3, dtype=a.dtype)),
    "householder_product": lambda a: la.householder_product(a, a[..., 0]),
    "matrix_exp": la.matrix_exp,
}


@pytest.mark.parametrize("dtype", [rtorch.float64, rtorch.complex128])
@pytest.mark.parametrize("name", [*DIFFERENTIABLE, *SQUARE_DIFFERENTIABLE])
def test_gradients(name, dtype):
    f = {**DIFFERENTIABLE, **SQUARE_DIFFERENTIABLE}[name]
    shapes = [(2, 3, 3)] if name in SQUARE_DIFFERENTIABLE else [(2, 3, 3), (4, 3), (3, 4)]
    for shape in shapes:
        a = matrices(shape, dtype, 5).requires_grad_()
        assert rtorch.autograd.gradcheck(f, (a,), eps=1e-6, atol=1e-4), shape


def test_refusals_name_the_matrix():
    a = rtorch.stack([rtorch.eye(2), rtorch.zeros(2, 2)])
    with pytest.raises(la.LinAlgError, match=r"solve: \(Batch element 1\): .* singular"):
        la.solve(a, rtorch.ones(2, 2, 1))
    with pytest.raises(la.LinAlgError, match=r"inv: \(Batch element 1\): The diagonal element 1 is zero"):
        la.inv(a)
    with pytest.raises(la.LinAlgError, match=r"\(Batch element 1\).* minor of order 1 is not positive-definite"):
        la.cholesky(a)
    with pytest.raises(RuntimeError, match=r"lu_factor: \(Batch element 1\): U\[1,1\] is zero"):
        la.lu_factor(a)
    with pytest.raises(la.LinAlgError, match="non-finite"):
        la.svd(rtorch.full((2, 2), float("nan")))
    with pytest.raises(RuntimeError, match="must be batches of square matrices, but they are 2 by 3"):
        la.eig(rtorch.ones(2, 3))
    with pytest.raises(RuntimeError, match="LU without pivoting is not implemented on the CPU"):
        la.lu_factor(rtorch.eye(2), pivot=False)
    with pytest.raises(RuntimeError, match="driver` should be one of"):
        la.lstsq(rtorch.eye(2), rtorch.eye(2), driver="x")


def test_least_squares():
    a, b = matrices((6, 3), rtorch.float64), matrices((6, 2), rtorch.float64, 1)
    want, residuals, rank, values = np.linalg.lstsq(a.numpy(), b.numpy(), rcond=None)
    for driver in ("gels", "gelsy", "gelsd", "gelss", None):
        got = la.lstsq(a, b, driver=driver)
        np.testing.assert_allclose(got.solution.numpy(), want)
        if driver in ("gels", "gelsd", "gelss"):
            np.testing.assert_allclose(got.residuals.numpy(), residuals)
        else:
            assert got.residuals.numel() == 0
        assert got.rank.numel() == 0 if driver == "gels" else got.rank.item() == rank
        if driver in ("gelsd", "gelss"):
            np.testing.assert_allclose(got.singular_values.numpy(), values)
