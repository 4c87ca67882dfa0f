//! Solvers and decompositions as `_C._linalg`; `rtorch.linalg` is their Python front.

use rtorch_core::ops::{linalg, shape};
use rtorch_core::{Result, Tensor};
use rtorch_ir::prim::LinalgOp;

use crate::output::Out;
use crate::registry::Registry;

const MODULE: &str = "_linalg";

fn all(name: &'static str, op: LinalgOp, x: &[&Tensor]) -> Result<Out> {
    Ok(Out::Tensors(linalg::matrix_ops(name, op, x)?.into_vec()))
}

pub fn register(r: &mut Registry) {
    let sig = "_diag_embed(Tensor input, int offset, int dim1, int dim2)";
    r.op("_diag_embed", &[sig], |a| {
        let dims = [2, 3].map(|i| usize::try_from(a.i(i)).unwrap_or(usize::MAX));
        Ok(linalg::diag_embed_at(a.t(0), a.i(1), dims[0], dims[1])?.into())
    })
    .within(MODULE);
    r.op("_block_diag", &["_block_diag(Tensor[] tensors)"], |a| Ok(shape::block_diag(a.ts(0))?.into())).within(MODULE);
    r.op("solve", &["solve(Tensor A, Tensor B)"], |a| Ok(linalg::solve(a.t(0), a.t(1))?.into())).within(MODULE);
    r.op("inv", &["inv(Tensor A)"], |a| {
        Ok(linalg::matrix_op("LinalgInvExBackward0", LinalgOp::Inverse, &[a.t(0)])?.into())
    })
    .within(MODULE);
    r.op("slogdet", &["slogdet(Tensor A)"], |a| all("LinalgSlogdetBackward0", LinalgOp::SlogDet, &[a.t(0)]))
        .within(MODULE);
    r.op("cholesky", &["cholesky(Tensor A, bool upper)"], |a| {
        let op = LinalgOp::Cholesky { upper: a.b(1), check: true };
        Ok(linalg::matrix_op("LinalgCholeskyExBackward0", op, &[a.t(0)])?.into())
    })
    .within(MODULE);
    r.op("cholesky_ex", &["cholesky_ex(Tensor A, bool upper)"], |a| {
        all("LinalgCholeskyExBackward0", LinalgOp::Cholesky { upper: a.b(1), check: false }, &[a.t(0)])
    })
    .within(MODULE);
    r.op("svdvals", &["svdvals(Tensor A)"], |a| Ok(linalg::svdvals(a.t(0))?.into())).within(MODULE);
    r.op("eigvalsh", &["eigvalsh(Tensor A, bool upper)"], |a| Ok(linalg::eigvalsh(a.t(0), a.b(1))?.into()))
        .within(MODULE);
    r.op("eigvals", &["eigvals(Tensor A)"], |a| Ok(linalg::eigvals(a.t(0))?.into())).within(MODULE);
    r.op("qr", &["qr(Tensor A, bool full)"], |a| all("LinalgQrBackward0", LinalgOp::Qr { full: a.b(1) }, &[a.t(0)]))
        .within(MODULE);
    r.op("svd", &["svd(Tensor A, bool full)"], |a| {
        all("LinalgSvdBackward0", LinalgOp::Svd { full: a.b(1) }, &[a.t(0)])
    })
    .within(MODULE);
    r.op("eigh", &["eigh(Tensor A, bool upper)"], |a| {
        all("LinalgEighBackward0", LinalgOp::Eigh { upper: a.b(1) }, &[a.t(0)])
    })
    .within(MODULE);
    r.op("lu_factor", &["lu_factor(Tensor A)"], |a| all("LinalgLuFactorExBackward0", LinalgOp::Lu, &[a.t(0)]))
        .within(MODULE);
    r.op("permutation", &["permutation(Tensor pivots, int rows, bool inverse)"], |a| {
        Ok(linalg::permutation(a.t(0), a.i(1).max(0) as usize, a.b(2))?.into())
    })
    .within(MODULE);
    r.op("geqrf", &["geqrf(Tensor A)"], |a| all("GeqrfBackward0", LinalgOp::Geqrf, &[a.t(0)])).within(MODULE);
    r.op("eig", &["eig(Tensor A)"], |a| all("LinalgEigBackward0", LinalgOp::Eig, &[a.t(0)])).within(MODULE);
    r.op("ldl_factor", &["ldl_factor(Tensor A, bool hermitian)"], |a| {
        all("LinalgLdlFactorExBackward0", LinalgOp::Ldl { hermitian: a.b(1) }, &[a.t(0)])
    })
    .within(MODULE);
    r.op("ldl_solve", &["ldl_solve(Tensor LD, Tensor pivots, Tensor B, bool hermitian)"], |a| {
        let op = LinalgOp::LdlSolve { hermitian: a.b(3) };
        Ok(linalg::matrix_op("LinalgLdlSolveBackward0", op, &[a.t(0), a.t(1), a.t(2)])?.into())
    })
    .within(MODULE);
    r.op("solve_triangular", &["solve_triangular(Tensor A, Tensor B, bool upper, bool unit)"], |a| {
        let op = LinalgOp::TriangularSolve { upper: a.b(2), unit: a.b(3) };
        Ok(linalg::matrix_op("LinalgSolveTriangularBackward0", op, &[a.t(0), a.t(1)])?.into())
    })
    .within(MODULE);
}
