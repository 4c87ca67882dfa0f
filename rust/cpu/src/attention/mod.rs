//! `Prim::Attention` and `Prim::AttentionGrad`: softmax(q k^T scale + mask) v in blocks, with a running maximum and
//! sum;
//! the score matrix never exists as a whole, and blocks that the causal order hides are left out.
//! Scores are kept transposed (a row per key): maxima and sums over keys are then plain vector code, and the block is
//! the packed left operand of the product with v as it lies. Rows that see no key give 0, as PyTorch's do.

mod backward;
mod forward;

use rtorch_ir::prim::AttentionParams;
use rtorch_ir::{CType, DType, Result, ScalarOp, storage_dtypes};

use crate::gemm::lanes::{Lanes, Real};
use crate::gemm::tasks::Stop;
use crate::gemm::{Body, Gemm, Region, Rows, Strided, Target, View, block};
use crate::operand::{Batched, Operand};
use crate::simd::kernels::{Kernel, kernel};
use crate::{Arg, Source};

/// Queries per block: 8 tiles of 14 rows.
const QUERIES: usize = 112;
/// Keys per block: with `QUERIES`, 56 KB of scores.
const KEYS: usize = 128;

/// (q, k, v [*, t, d], mask) -> out, logsumexp of each row.
pub fn attention(p: &AttentionParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match inputs[0].dtype() {
        DType::F64 => forward::attention::<f64>(p, inputs, outs),
        _ => forward::attention::<f32>(p, inputs, outs),
    }
}

/// (g, q, k, v, out, logsumexp, mask) -> gradients of q, k, v.
pub fn attention_grad(p: &AttentionParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match inputs[0].dtype() {
        DType::F64 => backward::attention_grad::<f64>(p, inputs, outs),
        _ => backward::attention_grad::<f32>(p, inputs, outs),
    }
}

/// Matrices [batch, rows, columns] of an operand.
struct Matrices {
    operand: Operand,
    at: Batched,
}

impl Matrices {
    fn new(source: &Source, dtype: DType) -> Result<Matrices> {
        let operand = Operand::strided(source, dtype)?;
        let at = Batched::new(&operand.layout);
        Ok(Matrices { operand, at })
    }
    /// Matrix `i` from row `row`.
    fn view<T>(&self, i: usize, row: usize) -> View<T> {
        let offset = self.at.offset(i) + row as isize * self.at.rs;
        View::new(self.operand.as_ptr::<T>().wrapping_offset(offset), self.at.rs, self.at.cs)
    }
}

/// An additive or bool mask, read in its own dtype where it lies.
struct Mask<'a> {
    arg: Arg<'a>,
    at: Batched,
}

impl<'a> Mask<'a> {
    fn new(source: &Source<'a>) -> Option<Mask<'a>> {
        source.direct().map(|arg| Mask { arg, at: Batched::new(arg.layout) })
    }
    /// Adds the mask of matrix `i`, key `key`, queries from `query` on, to a row of scores.
    fn add<T: Real>(&self, i: usize, query: usize, key: usize, row: &mut [T]) {
        let first = self.at.offset(i) + query as isize * self.at.rs + key as isize * self.at.cs;
        let size = self.arg.dtype.size() as isize;
        let at = |q: usize| self.arg.base().wrapping_offset((first + q as isize * self.at.rs) * size).cast_const();
        let hidden = T::from_f64(f64::NEG_INFINITY);
        // SAFETY: the mask has the shape of the scores.
        unsafe {
            match self.arg.dtype {
                DType::Bool | DType::U8 | DType::I8 => {
                    for (q, s) in row.iter_mut().enumerate() {
                        *s = if *at(q) == 0 { hidden } else { *s };
                    }
                }
                DType::F32 => row.iter_mut().enumerate().for_each(|(q, s)| {
                    *s += T::from_f64(*at(q).cast::<f32>() as f64);
                }),
                DType::F64 => row.iter_mut().enumerate().for_each(|(q, s)| *s += T::from_f64(*at(q).cast::<f64>())),
                DType::F16 => row.iter_mut().enumerate().for_each(|(q, s)| {
                    *s += T::from_f64((*at(q).cast::<half::f16>()).to_f64());
                }),
                DType::BF16 => row.iter_mut().enumerate().for_each(|(q, s)| {
                    *s += T::from_f64((*at(q).cast::<half::bf16>()).to_f64());
                }),
                // the operator refuses masks of other dtypes
                DType::I16 | DType::I32 | DType::I64 | DType::C64 | DType::C128 | storage_dtypes!() => {}
            }
        }
    }
}

/// One block of queries and keys of one matrix of the batch.
#[derive(Clone, Copy)]
struct Block {
    matrix: usize,
    query: usize,
    queries: usize,
    key: usize,
    keys: usize,
}

/// C (+)= A B for small blocks: `a` m x k, `b` k x n, rows of C `ld` apart.
///
/// # Safety
/// The views cover the sizes, and C is the caller's.
unsafe fn multiply<T: Gemm>(
    a: View<T>,
    b: View<T>,
    [m, n, k]: [usize; 3],
    c: *mut T,
    ld: usize,
    add: bool,
) -> Result<()> {
    let rows = Rows::new(m, T::kernels().rows);
    let at = Region { rows: [0, rows.panels], cols: [0, n] };
    let target = Target { p: c, ld, add, finish: None };
    let (a, b) = (Strided { view: a, direct: true }, Strided { view: b.t(), direct: true });
    // SAFETY: as the caller's.
    unsafe { block(&a, rows, &b, k, &target, at, &Stop::never()) }
}

/// Scores to what the softmax sees: scaled, masked, and cut by the causal order. `scores` has a row per key.
struct Visible<'a, T> {
    scores: &'a mut [T],
    at: Block,
    scale: T,
    causal: bool,
    mask: Option<&'a Mask<'a>>,
}

impl<T: Real> Body<T> for Visible<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let n = self.at.queries;
        for (j, row) in self.scores.chunks_exact_mut(n).enumerate() {
            for s in row.iter_mut() {
                *s = *s * self.scale;
            }
            let key = self.at.key + j;
            if let Some(mask) = self.mask {
                mask.add(self.at.matrix, self.at.query, key, row);
            }
            if self.causal {
                // query i sees keys up to i
                let hidden = key.saturating_sub(self.at.query).min(n);
                row[..hidden].fill(T::from_f64(f64::NEG_INFINITY));
            }
        }
    }
}

/// Each row of scores to exp(score - shift of its column).
struct Exponentials<'a, T> {
    scores: &'a mut [T],
    shift: &'a [T],
    exp: Kernel,
    /// The sum over rows is added to this, where it is asked for.
    sum: Option<&'a mut [T]>,
}

impl<T: Real> Body<T> for Exponentials<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(mut self) {
        let n = self.shift.len();
        let mut shifted = [T::ZERO; QUERIES];
        for row in self.scores.chunks_exact_mut(n) {
            for ((d, s), m) in shifted.iter_mut().zip(row.iter()).zip(self.shift) {
                *d = *s - *m;
            }
            let src = shifted.as_ptr().cast();
            // SAFETY: n values each, apart from each other.
            unsafe { (self.exp)(row.as_mut_ptr().cast(), src, src, src, n) };
            if let Some(sum) = &mut self.sum {
                for (s, v) in sum.iter_mut().zip(row.iter()) {
                    *s += *v;
                }
            }
        }
    }
}

/// The exponential over slices of the type.
fn exp_kernel<T: Gemm>() -> Result<Kernel> {
    function::<T>(ScalarOp::Exp)
}

fn function<T: Gemm>(op: ScalarOp) -> Result<Kernel> {
    let t = if T::DTYPE == DType::F64 { CType::F64 } else { CType::F32 };
    kernel(op, t).ok_or_else(|| rtorch_ir::Error::runtime("attention: no kernel for a scalar function"))
}

/// Blocks of queries, and the end of the keys that a block of queries sees.
fn query_blocks(t: usize) -> usize {
    t.div_ceil(QUERIES)
}

fn visible_keys(p: &AttentionParams, query_end: usize, keys: usize) -> usize {
    if p.causal { keys.min(query_end) } else { keys }
}
