//! Matrix products and the operators around `Prim::Linalg`.

use rtorch_ir::prim::LinalgOp;
use rtorch_ir::shape::broadcast;
use rtorch_ir::{DType, Error, Prim, Result, Scalar, Shape, ensure};
use smallvec::SmallVec;

use super::pointwise::{Arg, where_};
use super::shape;
use crate::autograd::record;
use crate::dispatch::{prim, prim1};
use crate::tensor::Tensor;

fn same_dtype(a: &Tensor, b: &Tensor) -> Result<()> {
    ensure!(
        a.dtype() == b.dtype(),
        runtime,
        "expected m1 and m2 to have the same dtype, but got: {} != {}",
        a.dtype().cpp_name().to_lowercase(),
        b.dtype().cpp_name().to_lowercase()
    );
    Ok(())
}

fn product(name: &'static str, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    same_dtype(a, b)?;
    if a.dtype() == DType::Bool {
        return Err(super::pointwise::not_implemented("addmm_impl", a.dtype()));
    }
    if a.dtype().is_complex() {
        return super::complex::bilinear(name, a, b, |a, b| product(name, a, b));
    }
    prim1(name, Prim::MatMul { bias: false, alpha: 1.0, beta: 0.0 }, &[a, b])
}

/// `mm`: two matrices.
pub fn mm(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    ensure!(a.ndim() == 2, runtime, "self must be a matrix");
    ensure!(b.ndim() == 2, runtime, "mat2 must be a matrix");
    check_inner(a, b)?;
    product("MmBackward0", a, b)
}

fn check_inner(a: &Tensor, b: &Tensor) -> Result<()> {
    let (s, t) = (a.shape(), b.shape());
    ensure!(
        s[1] == t[0],
        runtime,
        "mat1 and mat2 shapes cannot be multiplied ({}x{} and {}x{})",
        s[0],
        s[1],
        t[0],
        t[1]
    );
    Ok(())
}

pub fn bmm(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    ensure!(a.ndim() == 3, runtime, "batch1 must be a 3D tensor");
    ensure!(b.ndim() == 3, runtime, "batch2 must be a 3D tensor");
    let (s, t) = (a.shape(), b.shape());
    ensure!(
        s[0] == t[0] && s[2] == t[1],
        runtime,
        "Expected size for first two dimensions of batch2 tensor to be: [{}, {}] but got: [{}, {}].",
        s[0],
        s[2],
        t[0],
        t[1]
    );
    product("BmmBackward0", a, b)
}

pub fn dot(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    ensure!(
        a.ndim() == 1 && b.ndim() == 1,
        runtime,
        "1D tensors expected, but got {}D and {}D tensors",
        a.ndim(),
        b.ndim()
    );
    ensure!(
        a.dtype() == b.dtype(),
        runtime,
        "dot : expected both vectors to have same dtype, but found {} and {}",
        a.dtype().cpp_name(),
        b.dtype().cpp_name()
    );
    ensure!(
        a.numel() == b.numel(),
        runtime,
        "inconsistent tensor size, expected tensor [{}] and src [{}] to have the same number of elements, but got {} \
         and {} \
         elements respectively",
        a.numel(),
        b.numel(),
        a.numel(),
        b.numel()
    );
    let r = product("DotBackward0", &shape::unsqueeze(a, 0)?, &shape::unsqueeze(b, 1)?)?;
    let y = shape::reshape(&r, &[])?;
    crate::autograd::composite::collapse("DotBackward0", &[a, b], &[&y]);
    Ok(y)
}

pub fn mv(a: &Tensor, v: &Tensor) -> Result<Tensor> {
    ensure!(
        a.ndim() == 2 && v.ndim() == 1,
        runtime,
        "vector + matrix @ vector expected, got {}, {}, {}",
        1,
        a.ndim(),
        v.ndim()
    );
    ensure!(
        a.size(1) == v.size(0),
        runtime,
        "size mismatch, got input ({}), mat ({}x{}), vec ({})",
        a.size(0),
        a.size(0),
        a.size(1),
        v.size(0)
    );
    let r = product("MvBackward0", a, &shape::unsqueeze(v, 1)?)?;
    let y = shape::squeeze(&r, Some(&[1]))?;
    crate::autograd::composite::collapse("MvBackward0", &[a, v], &[&y]);
    Ok(y)
}

/// NumPy's matmul: vectors, matrices, broadcast batches.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (n, m) = (a.ndim(), b.ndim());
    ensure!(n > 0 && m > 0, runtime, "both arguments to matmul need to be at least 1D, but they are {n}D and {m}D");
    match (n, m) {
        (1, 1) => dot(a, b),
        (2, 1) => mv(a, b),
        (1, 2) => {
            let row = shape::unsqueeze(a, 0)?;
            check_inner(&row, b)?;
            shape::squeeze_named("SqueezeBackward4", &product("MmBackward0", &row, b)?, 0)
        }
        (2, 2) => mm(a, b),
        // a stack of matrices times one matrix is one tall matrix
        (_, 1 | 2) if n > 2 => {
            let s = a.shape();
            let rows: usize = s[..n - 1].iter().product();
            let flat = shape::reshape_to(a, SmallVec::from_slice(&[rows, s[n - 1]]))?;
            let r = if m == 1 { mv(&flat, b)? } else { mm(&flat, b)? };
            let mut out = Shape::from_slice(&s[..n - 1]);
            if m == 2 {
                out.push(b.size(1));
            }
            shape::reshape_named("UnsafeViewBackward0", &r, out)
        }
        _ => batched(a, b),
    }
}

fn batched(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let left = if a.ndim() == 1 { shape::unsqueeze(a, 0)? } else { a.clone() };
    let right = if b.ndim() == 1 { shape::unsqueeze(b, 1)? } else { b.clone() };
    let (s, t) = (left.shape(), right.shape());
    let (p, q) = (s.len(), t.len());
    ensure!(
        s[p - 1] == t[q - 2],
        runtime,
        "Expected size for first two dimensions of batch2 tensor to be: [{}, {}] but got: [{}, {}].",
        s[..p - 2].iter().product::<usize>(),
        s[p - 1],
        t[..q - 2].iter().product::<usize>(),
        t[q - 2]
    );
    let batch = broadcast(&s[..p - 2], &t[..q - 2])?;
    let full = |x: &Tensor, tail: &[usize]| -> Result<Tensor> {
        let mut want = batch.clone();
        want.extend_from_slice(tail);
        if x.shape() == want { Ok(x.clone()) } else { shape::expand_to(x, &want) }
    };
    let r = product("BmmBackward0", &full(&left, &s[p - 2..])?, &full(&right, &t[q - 2..])?)?;
    let mut out = r.shape();
    if b.ndim() == 1 {
        out.pop();
    }
    if a.ndim() == 1 {
        out.remove(out.len() - if b.ndim() == 1 { 1 } else { 2 });
    }
    shape::reshape_named("UnsafeViewBackward0", &r, out)
}

/// beta * c + alpha * a @ b of matrices (or batches with `batch`).
pub fn addmm(name: &'static str, c: &Tensor, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Result<Tensor> {
    same_dtype(a, b)?;
    let n = a.ndim();
    ensure!(n >= 2 && b.ndim() == n, runtime, "mat1 must be a matrix, got {}-D tensor", n);
    if n == 2 {
        check_inner(a, b)?;
    } else {
        ensure!(
            a.size(0) == b.size(0) && a.size(2) == b.size(1),
            runtime,
            "Expected size for first two dimensions of batch2 tensor to be: [{}, {}] but got: [{}, {}].",
            a.size(0),
            a.size(2),
            b.size(0),
            b.size(1)
        );
    }
    ensure!(
        c.dtype() == a.dtype(),
        runtime,
        "self and mat2 must have the same dtype, but got {} and {}",
        c.dtype().cpp_name(),
        a.dtype().cpp_name()
    );
    let mut out = a.shape();
    out[n - 1] = b.size(n - 1);
    // the kernel broadcasts the bias as it reads it
    c.with(|p| if p.layout.shape == out { Ok(()) } else { p.layout.broadcast_to(&out).map(|_| ()) })?;
    if a.dtype().is_complex() {
        let scaled = |t: &Tensor, s: f64| if s == 1.0 { Ok(t.clone()) } else { super::mul_scalar(t, s) };
        let y = super::add(&scaled(&product(name, a, b)?, alpha)?, &scaled(c, beta)?)?;
        crate::autograd::composite::collapse(name, &[a, b, c], &[&y]);
        return Ok(y);
    }
    if a.dtype().is_integral() {
        let p =
            super::binary(rtorch_ir::ScalarOp::Mul, Arg::T(&product(name, a, b)?), Arg::S(Scalar::Int(alpha as i64)))?;
        let c = &super::binary(rtorch_ir::ScalarOp::Mul, Arg::T(c), Arg::S(Scalar::Int(beta as i64)))?;
        return super::add(&p, c);
    }
    prim1(name, Prim::MatMul { bias: true, alpha, beta }, &[a, b, c])
}

/// x @ w^T + bias, over any leading dims of x.
pub fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let n = x.ndim();
    if w.ndim() != 2 || n == 0 {
        let y = matmul(x, &shape::t(w)?)?;
        return match bias {
            Some(b) => super::add(&y, b),
            None => Ok(y),
        };
    }
    let Some(b) = bias else { return matmul(x, &shape::t(w)?) };
    let wt = shape::t(w)?;
    if n == 2 {
        return addmm("AddmmBackward0", b, x, &wt, 1.0, 1.0);
    }
    let s = x.shape();
    let rows: usize = s[..n - 1].iter().product();
    let flat = shape::reshape_to(x, SmallVec::from_slice(&[rows, s[n - 1]]))?;
    let y = addmm("AddmmBackward0", b, &flat, &wt, 1.0, 1.0)?;
    let mut out = Shape::from_slice(&s[..n - 1]);
    out.push(w.size(0));
    shape::reshape_to(&y, out)
}

/// Lower or upper triangle of the last two dims.
pub fn triangle(x: &Tensor, k: i64, lower: bool) -> Result<Tensor> {
    let n = x.ndim();
    let name = if lower { "tril" } else { "triu" };
    ensure!(n >= 2, runtime, "{name}: input tensor must have at least 2 dimensions");
    let mask = super::factory::triangle(x.size(n - 2), x.size(n - 1), k, lower, x.device())?;
    where_(&mask, Arg::T(x), Arg::S(Scalar::Bool(false)))
}

/// The last dimension on the diagonal of matrices.
pub fn diag_embed(x: &Tensor) -> Result<Tensor> {
    let n = x.ndim();
    diag_embed_at(x, 0, n - 1, n)
}

/// The last dimension on a diagonal of two new ones, which are dimensions `dim1` and `dim2` of the result.
pub fn diag_embed_at(x: &Tensor, offset: i64, dim1: usize, dim2: usize) -> Result<Tensor> {
    let n = x.ndim();
    ensure!(n > 0 && dim1 != dim2 && dim1.max(dim2) <= n, runtime, "diag_embed: no diagonal of dims {dim1}, {dim2}");
    let size = usize::try_from(offset.unsigned_abs()).ok().and_then(|k| k.checked_add(x.size(n - 1)));
    let Some(size) = size else {
        return Err(Error::memory(format!("diag_embed: matrices with offset {offset} do not fit in memory")));
    };
    let mut s = x.shape();
    s.truncate(n - 1);
    s.insert(dim1.min(dim2), size);
    s.insert(dim1.max(dim2), size);
    // refused here, before strides overflow
    crate::tensor::checked_bytes(&s, x.dtype())?;
    let view = rtorch_ir::layout::Layout::contiguous(&s).diagonal(offset, dim1, dim2);
    prim1("DiagEmbedBackward0", Prim::ScatterView { view, base: s }, &[x])
}

/// The first output of a decomposition.
pub fn matrix_op(name: &'static str, op: LinalgOp, x: &[&Tensor]) -> Result<Tensor> {
    prim1(name, Prim::Linalg(op), x)
}

/// All outputs.
pub fn matrix_ops(name: &'static str, op: LinalgOp, x: &[&Tensor]) -> Result<SmallVec<[Tensor; 3]>> {
    prim(name, Prim::Linalg(op), x)
}

/// Singular values: with the vectors where a gradient will want them.
pub fn svdvals(a: &Tensor) -> Result<Tensor> {
    if record::wanted(&[a]) {
        return Ok(matrix_ops("LinalgSvdBackward0", LinalgOp::Svd { full: false }, &[a])?.swap_remove(1));
    }
    matrix_op("LinalgSvdBackward0", LinalgOp::SvdVals, &[a])
}

/// Eigenvalues of a Hermitian matrix, likewise.
pub fn eigvalsh(a: &Tensor, upper: bool) -> Result<Tensor> {
    let op = if record::wanted(&[a]) { LinalgOp::Eigh { upper } } else { LinalgOp::EighVals { upper } };
    matrix_op("LinalgEighBackward0", op, &[a])
}

/// Eigenvalues, likewise.
pub fn eigvals(a: &Tensor) -> Result<Tensor> {
    let op = if record::wanted(&[a]) { LinalgOp::Eig } else { LinalgOp::EigVals };
    matrix_op("LinalgEigBackward0", op, &[a])
}

/// A batch of square matrices, or PyTorch's error.
pub fn check_square(name: &str, a: &Tensor) -> Result<()> {
    let n = a.ndim();
    ensure!(n >= 2, runtime, "{name}: The input tensor A must have at least 2 dimensions.");
    ensure!(
        a.size(n - 1) == a.size(n - 2),
        runtime,
        "{name}: A must be batches of square matrices, but they are {} by {} matrices",
        a.size(n - 2),
        a.size(n - 1)
    );
    ensure!(
        a.dtype().is_float() || a.dtype().is_complex(),
        runtime,
        "{name}: Expected a floating point or complex tensor as input. Got {}",
        a.dtype().cpp_name()
    );
    Ok(())
}

/// `linalg.solve(a, b)`: b a matrix, a batch of matrices or (batches of) vectors.
pub fn solve(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    check_square("linalg.solve", a)?;
    ensure!(
        a.dtype() == b.dtype(),
        runtime,
        "linalg.solve: Expected A and B to have the same dtype, but found A of type {} and B of type {} instead",
        a.dtype().cpp_name(),
        b.dtype().cpp_name()
    );
    let n = a.ndim();
    let vector = b.ndim() == 1 || (n - 1 == b.ndim() && b.shape().as_slice() == &a.shape()[..n - 1]);
    let rhs = if vector { shape::unsqueeze(b, -1)? } else { b.clone() };
    let m = rhs.ndim();
    ensure!(
        m >= 2 && a.size(n - 1) == rhs.size(m - 2),
        runtime,
        "linalg.solve: Incompatible shapes of A and B for the equation AX = B ({}x{} and {})",
        a.size(n - 2),
        a.size(n - 1),
        b.shape_text()
    );
    let batch = broadcast(&a.shape()[..n - 2], &rhs.shape()[..m - 2])?;
    let full = |x: &Tensor| -> Result<Tensor> {
        let k = x.ndim();
        let mut s = batch.clone();
        s.extend_from_slice(&x.shape()[k - 2..]);
        if x.shape() == s { Ok(x.clone()) } else { shape::expand_to(x, &s) }
    };
    // the factors are kept for backward alone
    let op = LinalgOp::Solve { factors: record::wanted(&[a]) || record::wanted(&[b]) };
    let x = matrix_op("LinalgSolveExBackward0", op, &[&full(a)?, &full(&rhs)?])?;
    if vector { shape::squeeze(&x, Some(&[-1])) } else { Ok(x) }
}

/// LAPACK's row interchanges (int32, from 1; * x k) as permutations: row i of P A is row `result[.., i]` of A.
/// `inverse`: of P^T A.
pub fn permutation(pivots: &Tensor, rows: usize, inverse: bool) -> Result<Tensor> {
    ensure!(pivots.ndim() > 0, runtime, "lu_unpack: expected pivots of at least 1 dimension");
    let steps = pivots.size(pivots.ndim() - 1);
    let swaps = super::convert::to_i64_vec(pivots)?;
    let mut bytes = Vec::new();
    let batches: usize = pivots.shape()[..pivots.ndim() - 1].iter().product();
    for b in 0..batches {
        let mut order: Vec<i64> = (0..rows as i64).collect();
        for (i, &p) in swaps[b * steps..(b + 1) * steps].iter().enumerate() {
            ensure!(
                1 <= p && p <= rows as i64 && i < rows,
                runtime,
                "pivots passed to lu_unpack must be between 1 and LU.size(-2) inclusive. Did you properly pass the \
                 result of lu_factor?"
            );
            order.swap(i, p as usize - 1);
        }
        if inverse {
            let mut back = vec![0i64; rows];
            for (i, &o) in order.iter().enumerate() {
                back[o as usize] = i as i64;
            }
            order = back;
        }
        bytes.extend(order.iter().flat_map(|v| v.to_ne_bytes()));
    }
    let mut shape = Shape::from_slice(&pivots.shape()[..pivots.ndim() - 1]);
    shape.push(rows);
    Tensor::from_bytes(&bytes, &shape, DType::I64, pivots.device())
}

/// P A, or P^T A.
pub fn permute_rows(a: &Tensor, pivots: &Tensor, inverse: bool) -> Result<Tensor> {
    let n = a.ndim();
    let order = permutation(pivots, a.size(n - 2), inverse)?;
    let index = shape::expand_to(&shape::unsqueeze(&order, -1)?, &a.shape())?;
    super::index::gather(a, -2, &index)
}
