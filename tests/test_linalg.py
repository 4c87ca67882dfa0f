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


def wave(n, dtype):
    k = rtorch.arange(n * n, dtype=rtorch.float64)
    z = (k * 1.7).sin() + 1j * (k * 0.9).cos()
    return (z if dtype.is_complex else z.real).reshape(n, n).to(dtype)


# Rows of the vectors that LAPACK answers for `wave(4)`, by the triangle that is read.
LAPACK_VECTORS = {
    ("L", False): [[0.5014, 0.563, -0.1326, 0.6435], [-0.4732, -0.2259, -0.7447, 0.4129]],
    ("U", False): [[0.1257, -0.8228, -0.1631, -0.5298], [0.2718, -0.4123, 0.7237, 0.4821]],
    ("L", True): [
        [0.5085, 0.4545, -0.5768, -0.4496],
        [-0.4567 + 0.1026j, 0.3508 + 0.2362j, 0.3043 + 0.4155j, -0.5523 - 0.1783j],
    ],
    ("U", True): [
        [0.0537 + 0.4166j, -0.507 - 0.3227j, 0.1312 - 0.4687j, -0.4629 - 0.1061j],
        [0.5334, -0.3063, 0.5592, 0.5559],
    ],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("uplo", "LU")
def test_eigenvectors_have_lapacks_signs(dtype, uplo):
    vectors = la.eigh(wave(4, dtype), uplo)[1]
    want = np.array(LAPACK_VECTORS[uplo, dtype.is_complex])
    np.testing.assert_allclose(vectors[[0, 3]].numpy(), want, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("uplo", "LU")
@pytest.mark.parametrize("n", [1, 2, 7, 25, 26, 40])
@pytest.mark.parametrize("scale", [1.0, 1e-18, 1e17])
def test_one_triangle_is_read(dtype, uplo, n, scale):
    a = matrices((2, n, n), dtype) * scale
    values, vectors = la.eigh(a, uplo)
    one = a.tril() if uplo == "L" else a.triu()
    # the imaginary part of the diagonal is not read either
    whole = one + one.mH - rtorch.diag_embed(one.diagonal(0, -2, -1).real).to(dtype)
    whole = (whole + whole.mH) / 2
    near((vectors * values.unsqueeze(-2)) @ vectors.mH / scale, whole / scale)
    near(vectors.mH @ vectors, identity(n, vectors).contiguous())
    assert bool((values.diff() >= 0).all())


def test_repeated_and_diagonal_eigenvalues():
    for a in (rtorch.eye(5), rtorch.zeros(4, 4), rtorch.diag(rtorch.tensor([3.0, -1.0, 3.0, 2.0])), rtorch.ones(6, 6)):
        values, vectors = la.eigh(a)
        near((vectors * values) @ vectors.mT, a)
        near(vectors.mT @ vectors, rtorch.eye(a.size(0)))


def test_gradient_of_eigenvectors_is_symmetric():
    a = matrices((4, 4), rtorch.float64).requires_grad_()
    w, v = la.eigh(a)
    (g,) = rtorch.autograd.grad([w, v], a, [rtorch.ones(4).double(), matrices((4, 4), rtorch.float64, 1)])
    near(g, g.mT)


@pytest.mark.parametrize("f", [lambda a: la.eigh(a)[1], lambda a: la.eig(a)[1], lambda a: la.svd(a)[0]])
def test_a_loss_that_depends_on_the_phase_is_refused(f):
    a = matrices((3, 3), rtorch.complex128).requires_grad_()
    f(a).abs().sum().backward()
    with pytest.raises(RuntimeError, match="specified up to multiplication"):
        (f(a) * matrices((3, 3), rtorch.complex128, 1)).real.sum().backward()


def test_codes_of_singular_matrices():
    a = rtorch.eye(3).repeat(4, 1, 1).double()
    a[2] = 0
    a[3, 1, 1] = 0
    b = rtorch.ones(4, 3, 2).double()
    for result, info in (la.inv_ex(a), la.solve_ex(a, b)):
        assert info.tolist() == [0, 0, 1, 2] and info.dtype is rtorch.int32
        assert bool(result[2:].isnan().all()) and not bool(result[:2].isnan().any())
    near(la.solve_ex(a, b).result[:2], b[:2])
    near(la.solve_ex(a, b[..., 0]).result[:2], b[:2, :, 0])
    for f in (la.inv_ex, lambda a, **k: la.solve_ex(a, b, **k), la.ldl_factor_ex, la.lu_factor_ex, la.cholesky_ex):
        with pytest.raises((la.LinAlgError, RuntimeError), match=r"\(Batch element 2\)"):
            f(a, check_errors=True)
    with pytest.raises(RuntimeError, match=r"^[^(]*D\[1,1\]"):
        la.ldl_factor(a[2])


def test_out_of_decompositions():
    a = positive((3, 3), rtorch.float64)
    for f, n in [
        (la.qr, 2),
        (la.svd, 3),
        (la.eigh, 2),
        (la.slogdet, 2),
        (la.inv_ex, 2),
        (la.cholesky_ex, 2),
        (lambda a, out=None: la.solve_ex(a, a, out=out), 2),
    ]:
        want = f(a)
        out = tuple(rtorch.empty(0, dtype=t.dtype) for t in want)
        got = f(a, out=out)
        assert len(out) == n and type(got) is type(want)
        for o, w in zip(out, want):
            near(o, w)


def test_pinv_of_a_batch_of_samples():
    a = matrices((3, 2, 4), rtorch.float64).requires_grad_()
    g = rtorch.vmap(rtorch.func.grad(lambda m: la.pinv(m).square().sum()))(a)
    (want,) = rtorch.autograd.grad(la.pinv(a).square().sum(), a)
    near(rtorch.vmap(la.pinv)(a.detach()), la.pinv(a.detach()))
    near(g, want)


def test_complex_log_determinants():
    a = rtorch.tensor([[1 + 1j, 2], [0, 1j]])
    near(rtorch.logdet(a), rtorch.tensor(0.5 * np.log(2) + 0.75j * np.pi))


def test_plain_norms_of_16_bit_matrices():
    a = rtorch.tensor([[3.0, 0.0], [-1.0, 4.0]], dtype=rtorch.float16)
    assert [la.matrix_norm(a, p).item() for p in (1, np.inf, -1)] == [4.0, 5.0, 4.0]
    assert la.matrix_norm(a).item() == pytest.approx(26**0.5, rel=1e-3)
    for f in (la.det, la.svd):
        with pytest.raises(NotImplementedError):
            f(a)
    with pytest.raises(RuntimeError, match="Low precision"):
        la.matrix_norm(a, 2)


@pytest.mark.parametrize("p", [np.inf, -np.inf, -1])
def test_no_number_is_the_largest_or_smallest_of_none(p):
    with pytest.raises(RuntimeError, match="identity"):
        la.vector_norm(rtorch.ones(2, 0), p, -1)
    with pytest.raises(RuntimeError, match="identity"):
        la.vector_norm(rtorch.ones(0), p)
    assert la.vector_norm(rtorch.ones(2, 0), p, 0).shape == (0,)


def test_contracted_sizes_of_one_keep_the_dtype():
    a, b = rtorch.ones(2, 1, dtype=rtorch.int32), rtorch.full((3, 2), 2, dtype=rtorch.int32)
    r = rtorch.tensordot(a, b, ([1], [0]))
    assert r.dtype is rtorch.int32 and r.tolist() == [[6, 6], [6, 6]]


def test_scalars_transposed_are_themselves():
    x = rtorch.tensor(1 + 2j)
    assert x.mT == x and x.mH == x.conj() and rtorch.adjoint(x) == x.conj()
    with pytest.raises(RuntimeError):
        rtorch.ones(2).mT  # noqa: B018


def hard_matrices(n, dtype):
    """(name, matrix) whose small values, or scale, an iteration may lose."""
    a = matrices((n, n), dtype)
    large = 1e30 if dtype in (rtorch.float32, rtorch.complex64) else 1e200
    yield "random", a
    yield "zero", a * 0
    yield "ones", a * 0 + 1
    yield "rank 2", a[:, :2] @ a[:2]
    yield "graded", a * 10.0 ** -rtorch.arange(n, dtype=a.real.dtype).mul(0.5)
    yield "clustered", rtorch.eye(n, dtype=dtype) + 1e-9 * a
    yield "large", a * large
    yield "small", a / large


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [3, 26, 60])
def test_values_alone_are_numpys_to_rounding(n, dtype):
    eps = rtorch.finfo(dtype).eps
    for name, a in hard_matrices(n, dtype):
        wide = a.to(rtorch.complex128).numpy()
        wanted = np.linalg.svd(wide, compute_uv=False)
        bound = 16 * eps * n**0.5 * max(wanted[0], 1e-300)
        for m in (a, a[:, : n // 3], a[: n // 3]):
            wanted = np.linalg.svd(m.to(rtorch.complex128).numpy(), compute_uv=False)
            assert np.abs(la.svdvals(m).numpy() - wanted).max() <= bound, name
        wanted = np.linalg.eigvalsh((wide + wide.conj().T) / 2)
        for UPLO, other in (("L", rtorch.triu), ("U", rtorch.tril)):
            h = (a + a.mH) / 2
            h = h + other(rtorch.full_like(h, 3.0), 1 if UPLO == "L" else -1)  # not to be read
            assert np.abs(la.eigvalsh(h, UPLO).numpy() - wanted).max() <= bound, (name, UPLO)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(60, 60), (100, 40), (40, 100), (200, 60), (60, 200)])
def test_hard_matrices_multiply_back_to_rounding(shape, dtype):
    m, n = shape
    for name, a in hard_matrices(max(shape), dtype):
        if name in ("large", "small"):
            continue
        # nearly dependent columns: what is left of them must not be passed over
        a = a[:m, :n] + 1e-3 * a[:1, :n]
        eps, size = rtorch.finfo(dtype).eps, float(a.abs().amax()) * (m * n) ** 0.5
        bound = 4 * eps * max(shape) ** 0.5 * size
        q, r = la.qr(a)
        assert float((q @ r - a).abs().max()) <= bound, name
        assert float((q.mH @ q - rtorch.eye(min(m, n), dtype=dtype)).abs().max()) <= 16 * eps * max(shape) ** 0.5, name
        assert float(r.tril(-1).abs().max()) == 0
        packed, tau = rtorch.geqrf(a)
        near(packed[: min(m, n)].triu(), r)
        u, s, vh = la.svd(a, full_matrices=False)
        assert float((u * s @ vh - a).abs().max()) <= 4 * bound, name


@pytest.mark.parametrize("dtype", [rtorch.float64, rtorch.complex128])
def test_values_alone_have_the_derivatives_of_those_with_vectors(dtype):
    a = matrices((5, 5), dtype)
    h = a + a.mH
    for f, x in ((la.svdvals, a), (la.eigvalsh, h), (la.eigvals, a)):
        direction = matrices((5, 5), dtype, 1)
        if f is la.eigvalsh:
            direction = direction + direction.mH
        value, along = rtorch.func.jvp(f, (x,), (direction,))
        step = 1e-6
        near(along * 1e-3, (f(x + step * direction) - f(x - step * direction)) / (2 * step) * 1e-3)
        near(value, f(x.clone().requires_grad_()))


def test_a_solves_gradient_uses_the_factors_of_the_solve():
    a, b = matrices((2, 6, 6), rtorch.complex128), matrices((2, 6, 2), rtorch.complex128)
    leaves = a.clone().requires_grad_(), b.clone().requires_grad_()
    x = la.solve(*leaves)
    g = matrices(x.shape, x.dtype, 1)
    ga, gb = rtorch.autograd.grad(x, leaves, g, create_graph=True)
    near(a.mH @ gb, g)
    near(ga, -gb @ x.mH)
    assert rtorch.autograd.gradgradcheck(la.solve, (leaves[0][:, :3, :3], leaves[1][:, :3]))
    per_sample = rtorch.func.vmap(rtorch.func.grad(lambda m, r: la.solve(m, r).abs().sum(), (0, 1)))(a, b)
    together = rtorch.func.grad(lambda m, r: la.solve(m, r).abs().sum(), (0, 1))(a, b)
    for one, other in zip(per_sample, together):
        near(one, other)
    # what is written to the matrix behind the solve changes neither
    leaf = a.clone().requires_grad_()
    m = leaf * 1
    x = la.solve(m, b)
    m.mul_(2)
    near(rtorch.autograd.grad(x, leaf, g)[0], ga)


@pytest.mark.parametrize("upper", [False, True])
def test_cholesky_ex_names_the_minor_of_each_matrix(upper):
    good = positive((3, 3), rtorch.complex128)
    bad = good.clone()
    bad[1, 1] = -1
    factors, info = la.cholesky_ex(rtorch.stack([good, bad, -good]), upper=upper)
    assert info.tolist() == [0, 2, 1] and info.dtype == rtorch.int32
    near(factors[0], la.cholesky(good, upper=upper))
    near(factors[1], bad.triu() if upper else bad.tril())
    with pytest.raises(la.LinAlgError, match="of order 2"):
        la.cholesky_ex(bad, upper=upper, check_errors=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns", [1, 3, 4])
def test_triangles_of_any_layout_are_solved(dtype, columns):
    n = 37
    a = matrices((n, n), dtype) / n + 2 * rtorch.eye(n, dtype=dtype)
    strided = rtorch.zeros(n, 2 * n, dtype=dtype)[:, ::2]
    strided.copy_(a)
    b = matrices((n, columns), dtype, 1)
    for m in (a, a.mT.contiguous().mT, strided, a.conj().resolve_conj()):
        for upper in (False, True):
            for unit in (False, True):
                t = m.triu() if upper else m.tril()
                t = t - t.diagonal().diag() + rtorch.eye(n, dtype=dtype) if unit else t
                near(t @ la.solve_triangular(m, b, upper=upper, unitriangular=unit), b)
                x = la.solve_triangular(m.mH, b, upper=not upper, unitriangular=unit)
                near(t.mH @ x, b)
