"""A few singular or eigenvectors of large matrices, which may be sparse: randomised decompositions and the locally
optimal block preconditioned conjugate gradient method. Whole decompositions are in `rtorch.linalg`.
"""

from __future__ import annotations

import types

import rtorch

from ._register import op


def _is_sparse(a):
    return not isinstance(a, rtorch.Tensor) or a.layout is not rtorch.strided


def _range(a, q, niter, m):
    """An orthonormal basis of about the first `q` left singular vectors of A - M, by subspace iteration
    (N. Halko, P. G. Martinsson, J. A. Tropp, "Finding structure with randomness" (2011), algorithm 4.4)."""

    def times(x):
        return a @ x if m is None else a @ x - m @ x

    def adjoint_times(x):
        return _adjoint(a) @ x if m is None else _adjoint(a) @ x - m.mH @ x

    basis = rtorch.linalg.qr(times(rtorch.randn(a.shape[-1], q, dtype=a.dtype, device=a.device))).Q
    for _ in range(niter):
        basis = rtorch.linalg.qr(adjoint_times(basis)).Q
        basis = rtorch.linalg.qr(times(basis)).Q
    return basis


def _adjoint(a):
    return a.t() if _is_sparse(a) else a.mH


@op(method=False)
def svd_lowrank(A, q=6, niter=2, M=None):
    """(U, S, V) with A (- M) about U diag(S) V^H, from `q` random directions and `niter` subspace iterations.
    Shapes: A and M * x m x n, U * x m x q, S * x q, V * x n x q."""
    q = 6 if q is None else q
    m, n = A.shape[-2:]
    if not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if not (isinstance(niter, int) and niter >= 0):
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    M = None if M is None else M.broadcast_to(A.shape)
    wide = m < n
    if wide:
        A, M = _adjoint(A), None if M is None else M.mH
    basis = _range(A, q, niter, M)
    # B = Q^H A, as the adjoint of A^H Q
    b = _adjoint(A) @ basis
    if M is not None:
        b = b - M.mH @ basis
    U, S, Vh = rtorch.linalg.svd(b.mH, full_matrices=False)
    U, V = basis @ U, Vh.mH
    return (V, S, U) if wide else (U, S, V)


@op(method=False)
def pca_lowrank(A, q=None, center=True, niter=2):
    """(U, S, V) of A, its columns centred first unless told otherwise, as `svd_lowrank` has it; the columns of V are
    the principal directions. q: min(6, m, n)."""
    if not (A.is_floating_point() or A.is_complex()):
        raise TypeError(f"Expected input to have floating point dtype but got {A.dtype}")
    m, n = A.shape[-2:]
    q = min(6, m, n) if q is None else q
    if not 0 <= q <= min(m, n):
        raise ValueError(f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}")
    if not niter >= 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    if not center:
        return svd_lowrank(A, q, niter)
    if _is_sparse(A):
        if A.dim() != 2:
            raise ValueError("pca_lowrank input is expected to be 2-dimensional tensor")
        mean = rtorch.ones(1, m, dtype=A.dtype, device=A.device) / m
        return svd_lowrank(A, q, niter, M=(A.t() @ mean.t()).t().expand(m, n))
    return svd_lowrank(A - A.mean(-2, keepdim=True), q, niter)


def _orthonormal(s, bs):
    """The span of S as S C with orthonormal columns (in the product of B), and B S C: directions that are lost in
    rounding are left out. Twice, since once leaves what S's condition magnifies."""
    for _ in range(2):
        gram = s.mT @ bs
        size = gram.diagonal().clamp(min=rtorch.finfo(s.dtype).tiny).rsqrt()
        values, vectors = rtorch.linalg.eigh(gram * size * size[:, None])
        keep = values > values[-1] * rtorch.finfo(s.dtype).eps * s.size(1)
        c = (vectors[:, keep] * values[keep].rsqrt()) * size[:, None]
        s, bs = s @ c, bs @ c
    return s, bs


def _gram_basis(u, times, drop, tau):
    """U's span by the eigenvectors of its Gram matrix (A. Stathopoulos, K. Wu, "A block orthogonalization procedure
    with constant synchronization requirements" (2002)): eigenvalues below `tau` of the largest are dropped with their
    directions, or raised to it."""
    gram = u.mT @ times(u)
    tiny = rtorch.finfo(u.dtype).tiny
    size = gram.diagonal().clamp(min=tiny).rsqrt()
    values, vectors = rtorch.linalg.eigh(gram * size * size[:, None])
    floor = max(tau * float(values.abs().max()), tiny)
    if drop:
        keep = values > floor
        values, vectors = values[keep], vectors[:, keep]
    return u @ (vectors * values.clamp(min=floor).rsqrt() * size[:, None])


def _orthonormal_to(u, v, times, at):
    """U's span beside that of the orthonormal V, with orthonormal columns: projected and orthonormalised in turn,
    until both hold up to `ortho_tol` or `ortho_i_max` and `ortho_j_max` times (J. A. Duersch, M. Shao, C. Yang, M. Gu,
    "A robust and efficient implementation of LOBPCG" (2018))."""
    bv = times(v)
    for i in range(at.iparams["ortho_i_max"]):
        at.ivars["ortho_i"] = i
        u = u - v @ (bv.mT @ u)
        drop, tau = at.bparams["ortho_use_drop"], at.fparams["ortho_tol_drop"]
        bu = times(u)
        for j in range(at.iparams["ortho_j_max"]):
            at.ivars["ortho_j"] = j
            u = _gram_basis(u, times, drop, tau)
            if not u.size(1):
                return u
            drop, tau, bu = False, at.fparams["ortho_tol_replace"], times(u)
            identity = rtorch.eye(u.size(1), dtype=u.dtype, device=u.device)
            if (u.mT @ bu - identity).norm() <= at.fparams["ortho_tol"] * (bu.norm() * u.norm()):
                break
        if (v.mT @ bu).norm() <= at.fparams["ortho_tol"] * (bv.norm() * u.norm()):
            break
    return u


def _lobpcg(at, x):
    """A. V. Knyazev, "Toward the optimal preconditioned eigensolver" (2001): the best vectors of the space that the
    current ones, their preconditioned residuals and the last directions span. `at`: the state that a tracker sees."""
    n, a, largest = x.size(1), at.A, at.bparams["largest"]
    times = (lambda v: v) if at.B is None else (lambda v: at.B @ v)

    def best(s):
        s, bs = _orthonormal(s, times(s))
        values, vectors = rtorch.linalg.eigh(s.mT @ (a @ s))
        pick = slice(-n, None) if largest else slice(0, n)
        chosen, picked = vectors[:, pick], values[pick]
        if largest:
            chosen, picked = chosen.flip(1), picked.flip(0)
        return picked, s @ chosen

    at.S = x
    at.E, at.X = best(x)
    last, norm = None, rtorch.linalg.vector_norm
    at.fvars["X_norm"] = float(norm(x))
    norm_a, norm_b = norm(a @ at.X) / norm(at.X), norm(times(at.X)) / norm(at.X)
    at.fvars.update(A_norm=float(norm_a), B_norm=float(norm_b))
    while True:
        x, bx = at.X, times(at.X)
        at.R = a @ x - bx * at.E
        at.tvars["rerr"] = error = at.R.norm(dim=0) / (x.norm(dim=0) * (norm_a + at.E.abs() * norm_b))
        at.ivars["converged_count"] = int((error <= at.fparams["tol"]).long().cumprod(0).sum())
        if at.tracker is not None and at.ivars["istep"]:
            at.tracker(at)
        if at.ivars["converged_count"] == n or not at.ivars["iterations_left"] or at.bvars.get("force_stop"):
            return at.E, at.X
        at.ivars["istep"] += 1
        at.ivars["iterations_left"] -= 1
        w = at.R if at.iK is None else at.iK @ at.R
        w = w / w.norm(dim=0).clamp(min=rtorch.finfo(w.dtype).tiny)
        known = x if last is None else rtorch.cat([x, last], 1)
        if at.method == "ortho":
            known = known if last is None else _orthonormal(known, times(known))[0]
            w = _orthonormal_to(w, known, times, at)
        at.S = rtorch.cat([known, w], 1)
        at.E, at.X = best(at.S)
        last = at.X - x @ (bx.mT @ at.X)


class _Lobpcg(rtorch.autograd.Function):
    """The derivative is that of the whole decomposition, of which these are some vectors."""

    @staticmethod
    def forward(ctx, A, solve, largest):
        values, vectors = solve(A.detach())
        ctx.largest = largest
        ctx.save_for_backward(A, vectors)
        return values, vectors

    @staticmethod
    def backward(ctx, grad_values, grad_vectors):
        A, found = ctx.saved_tensors
        with rtorch.enable_grad():
            a = A if A.requires_grad else A.detach().requires_grad_()
            values, vectors = rtorch.linalg.eigh((a + a.mT) / 2)
            k = found.size(-1)
            if ctx.largest:
                values, vectors = values[..., -k:].flip(-1), vectors[..., -k:].flip(-1)
            else:
                values, vectors = values[..., :k], vectors[..., :k]
            vectors = vectors * (vectors.detach() * found.detach()).sum(-2, keepdim=True).sign()
            grads = [grad_values, grad_vectors]
            (g,) = rtorch.autograd.grad([values, vectors], a, grads, create_graph=rtorch.is_grad_enabled())
        return g, None, None


@op(method=False)
def lobpcg(
    A,
    k=None,
    B=None,
    X=None,
    n=None,
    iK=None,
    niter=None,
    tol=None,
    largest=None,
    method=None,
    tracker=None,
    ortho_iparams=None,
    ortho_fparams=None,
    ortho_bparams=None,
):
    """The `k` largest (or smallest) eigenvalues and vectors of A x = e B x for symmetric A (dense, batched or sparse)
    and positive-definite B. Shapes: A, B, the preconditioner iK * x m x m; the first guess X * x m x n.

    At most `niter` (1000) steps until the residuals are below `tol` (the dtype's precision). method: "ortho" makes the
    residuals orthonormal to the rest first, by at most `ortho_iparams` "i_max" projections with "j_max" steps each (3),
    to `ortho_fparams` "tol" (the root of the precision), directions below "tol_drop" left out where `ortho_bparams`
    has "use_drop", else raised to "tol_replace"; "basic" does not. `tracker` is called after every step with the state:
    X, E, R, S, ivars ("istep", "iterations_left", "converged_count"), fvars, bvars ("force_stop" ends), tvars ("rerr"),
    iparams, fparams, bparams. A is differentiable where B is None.
    """
    if method not in (None, "ortho", "basic"):
        raise ValueError(f"lobpcg: method must be 'ortho' or 'basic', but got {method!r}")
    m = A.shape[-1]
    if A.dim() < 2 or A.shape[-2] != m:
        raise ValueError(f"lobpcg: A must be a square matrix, but has shape {list(A.shape)}")
    if not A.dtype.is_floating_point or A.dtype.itemsize < 4:
        raise ValueError(f"lobpcg: A must be of float32 or float64, but is {A.dtype}")
    n = X.shape[-1] if X is not None else n if n is not None else k or 1
    k = k or n
    if m < 3 * n:
        raise ValueError(
            f"LPBPCG algorithm is not applicable when the number of A rows (={m}) is smaller than 3 x the number of "
            f"requested eigenpairs (={n})"
        )
    if k > n:
        raise ValueError(f"lobpcg: {k} eigenpairs cannot be taken from {n} vectors")
    tol = rtorch.finfo(A.dtype).eps if tol is None else tol
    largest, niter = (True if largest is None else largest), (1000 if niter is None else niter)
    root = rtorch.finfo(A.dtype).eps ** 0.5
    integers, floats = {"m": m, "n": n, "k": k, "niter": niter}, {"tol": tol}
    flags = {"largest": largest}
    if method != "basic":
        given = (ortho_iparams, ortho_fparams, ortho_bparams)
        integers.update(ortho_i_max=3, ortho_j_max=3)
        floats.update(ortho_tol=root, ortho_tol_drop=root, ortho_tol_replace=root)
        flags.update(ortho_use_drop=False)
        for options, more in zip((integers, floats, flags), given):
            options.update({"ortho_" + name: value for name, value in dict(more or {}).items()})

    def state(*matrices):
        return types.SimpleNamespace(
            **dict(zip(("A", "B", "iK"), matrices)),
            iparams=integers,
            fparams=floats,
            bparams=flags,
            fvars={},
            bvars={},
            tvars={},
            ivars={"istep": 0, "iterations_left": niter, "converged_count": 0},
            method=method or "ortho",
            tracker=tracker,
        )

    def solve(a):
        one = lambda t, i: t if t is None or t.dim() == 2 else t.reshape(-1, *t.shape[-2:])[i]
        batch = a.shape[:-2]
        pairs = []
        for i in range(batch.numel()):
            guess = rtorch.randn(m, n, dtype=a.dtype, device=a.device) if X is None else one(X, i)
            e, x = _lobpcg(state(one(a, i), one(B, i), one(iK, i)), guess)
            pairs.append((e[:k], x[:, :k]))
        values, vectors = zip(*pairs)
        if not batch:
            return values[0], vectors[0]
        return rtorch.stack(values).reshape(*batch, k), rtorch.stack(vectors).reshape(*batch, m, k)

    if rtorch.is_grad_enabled() and A.requires_grad:
        if B is not None or _is_sparse(A):
            raise ValueError("lobpcg is differentiable with respect to a dense A, and where B is None")
        return _Lobpcg.apply(A, solve, largest)
    return solve(A)
