//! What decompositions and solvers answer (`LinalgOp`): shapes and dtypes.

use smallvec::{SmallVec, smallvec};

use super::{LinalgOp, Meta};
use crate::dtype::DType;
use crate::layout::Shape;

pub fn shapes(op: LinalgOp, x: &[Meta]) -> SmallVec<[Meta; 3]> {
    let n = x[0].shape.len();
    let (rows, cols) = (x[0].shape[n - 2], x[0].shape[n - 1]);
    let k = rows.min(cols);
    let batch = Shape::from_slice(&x[0].shape[..n - 2]);
    let of = |tail: &[usize]| {
        let mut shape = batch.clone();
        shape.extend_from_slice(tail);
        Meta { shape, dtype: x[0].dtype }
    };
    let real = |tail: &[usize]| Meta { dtype: x[0].dtype.real(), ..of(tail) };
    let int = |tail: &[usize]| Meta { dtype: DType::I32, ..of(tail) };
    let complex = |m: Meta| Meta { dtype: x[0].dtype.complex(), ..m };
    match op {
        LinalgOp::Solve { factors: true } => smallvec![x[1].clone(), x[0].clone(), int(&[cols])],
        LinalgOp::Solve { factors: false } | LinalgOp::TriangularSolve { .. } => smallvec![x[1].clone()],
        LinalgOp::SolveFactored { .. } => smallvec![x[3].clone()],
        LinalgOp::Inverse => smallvec![x[0].clone()],
        LinalgOp::Cholesky { .. } => smallvec![x[0].clone(), int(&[])],
        LinalgOp::SlogDet => smallvec![of(&[]), real(&[])],
        LinalgOp::Qr { full: true } => smallvec![of(&[rows, rows]), of(&[rows, cols])],
        LinalgOp::Qr { full: false } => smallvec![of(&[rows, k]), of(&[k, cols])],
        LinalgOp::Svd { full: true } => smallvec![of(&[rows, rows]), real(&[k]), of(&[cols, cols])],
        LinalgOp::Svd { full: false } => smallvec![of(&[rows, k]), real(&[k]), of(&[k, cols])],
        LinalgOp::SvdVals => smallvec![real(&[k])],
        LinalgOp::Eigh { .. } => smallvec![real(&[cols]), x[0].clone()],
        LinalgOp::EighVals { .. } => smallvec![real(&[cols])],
        LinalgOp::Lu | LinalgOp::Ldl { .. } => smallvec![x[0].clone(), int(&[k])],
        LinalgOp::Geqrf => smallvec![x[0].clone(), of(&[k])],
        LinalgOp::LdlSolve { .. } => smallvec![x[2].clone()],
        LinalgOp::Eig => smallvec![complex(of(&[cols])), complex(x[0].clone())],
        LinalgOp::EigVals => smallvec![complex(of(&[cols]))],
    }
}
