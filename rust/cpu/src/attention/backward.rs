//! The backward pass: a task is one matrix of the batch; for every block of keys it walks over the blocks of queries
//! that see it and computes the probabilities anew from the logsumexp. Blocks are always added in the same order.
//! With D = sum of g * out over a row: dv = P^T g, dS = P * (g v^T - D) * scale, dq = dS k, dk = dS^T q.

use rtorch_ir::Result;
use rtorch_ir::prim::AttentionParams;

use super::{Block, Exponentials, KEYS, Mask, Matrices, QUERIES, Visible, exp_kernel, multiply, visible_keys};
use crate::gemm::lanes::{Lanes, Real};
use crate::gemm::tasks::{Stop, for_each};
use crate::gemm::{Body, Gemm, Scratch, View};
use crate::operand::{Operand, Output};
use crate::simd::kernels::Kernel;
use crate::{Arg, Source};

struct Backward<'a, T> {
    p: &'a AttentionParams,
    g: Matrices,
    q: Matrices,
    k: Matrices,
    v: Matrices,
    out: Operand,
    sums: Operand,
    mask: Option<Mask<'a>>,
    /// Queries, keys, size of q and k, size of v.
    sizes: [usize; 4],
    grads: [&'a Output<'a>; 3],
    exp: Kernel,
    _t: std::marker::PhantomData<T>,
}

// SAFETY: operands are only read, tasks write their own matrices of the results.
unsafe impl<T> Sync for Backward<'_, T> {}

pub fn attention_grad<T: Gemm>(p: &AttentionParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let n = inputs[1].shape.len();
    let sizes = [inputs[1].shape[n - 2], inputs[2].shape[n - 2], inputs[1].shape[n - 1], inputs[3].shape[n - 1]];
    let dense = |i: usize| Output::dense(outs[i], T::DTYPE);
    let (dq, dk, dv) = (dense(0)?, dense(1)?, dense(2)?);
    let batch: usize = inputs[1].shape[..n - 2].iter().product();
    let job = Backward::<T> {
        p,
        g: Matrices::new(&inputs[0], T::DTYPE)?,
        q: Matrices::new(&inputs[1], T::DTYPE)?,
        k: Matrices::new(&inputs[2], T::DTYPE)?,
        v: Matrices::new(&inputs[3], T::DTYPE)?,
        out: Operand::dense(&inputs[4], T::DTYPE)?,
        sums: Operand::dense(&inputs[5], T::DTYPE)?,
        mask: inputs.get(6).filter(|_| p.mask).and_then(Mask::new),
        sizes,
        grads: [&dq, &dk, &dv],
        exp: exp_kernel::<T>()?,
        _t: std::marker::PhantomData,
    };
    for_each(batch, &|i, stop| job.task(i, stop))?;
    dq.store()?;
    dk.store()?;
    dv.store()
}

impl<T: Gemm> Backward<'_, T> {
    fn task(&self, matrix: usize, stop: &Stop) -> Result<()> {
        let [t, s, d, dv] = self.sizes;
        let grad = |i: usize, n: usize| self.grads[i].as_ptr::<T>().wrapping_add(matrix * n);
        let (dq, dk, dvp) = (grad(0, t * d), grad(1, s * d), grad(2, s * dv));
        // SAFETY: matrices of the gradients are this task's.
        unsafe {
            dq.write_bytes(0, t * d);
            dk.write_bytes(0, s * d);
            dvp.write_bytes(0, s * dv);
        }
        let dots = Scratch::<T>::new(t)?;
        self.row_dots(matrix, dots.as_ptr());
        let size = QUERIES.min(t) * KEYS.min(s);
        let (scores, change) = (Scratch::<T>::new(size)?, Scratch::<T>::new(size)?);
        for key in (0..s).step_by(KEYS) {
            let keys = (s - key).min(KEYS);
            for query in (0..t).step_by(QUERIES) {
                if stop.now() {
                    return Ok(());
                }
                let queries = (t - query).min(QUERIES);
                if visible_keys(self.p, query + queries, s) <= key {
                    continue;
                }
                let at = Block { matrix, query, queries, key, keys };
                let to = [dq.wrapping_add(query * d), dk.wrapping_add(key * d), dvp.wrapping_add(key * dv)];
                // SAFETY: as above; scratches hold a block.
                unsafe { self.block(at, scores.as_ptr(), change.as_ptr(), dots.as_ptr(), to)? };
            }
        }
        Ok(())
    }

    /// D of every query of a matrix.
    fn row_dots(&self, matrix: usize, dots: *mut T) {
        let [t, _, _, dv] = self.sizes;
        for i in 0..t {
            let g = self.g.view::<T>(matrix, i);
            let mut sum = T::ZERO;
            for j in 0..dv {
                // SAFETY: rows of g and out.
                unsafe { sum += *g.at(0, j) * *self.out.as_ptr::<T>().add((matrix * t + i) * dv + j) };
            }
            // SAFETY: a value per query.
            unsafe { *dots.add(i) = sum };
        }
    }

    /// Adds what one block gives to the gradients of its queries and keys.
    unsafe fn block(&self, at: Block, p: *mut T, ds: *mut T, dots: *const T, to: [*mut T; 3]) -> Result<()> {
        let [t, _, d, dv] = self.sizes;
        let Block { matrix, query, queries, key, keys } = at;
        // SAFETY: the caller vouches for the scratches and the gradients, operands have the sizes.
        unsafe {
            let (k, q) = (self.k.view(matrix, key), self.q.view::<T>(matrix, query));
            let (v, g) = (self.v.view(matrix, key), self.g.view::<T>(matrix, query));
            multiply(k, q.t(), [keys, queries, d], p, queries, false)?;
            let scores = std::slice::from_raw_parts_mut(p, keys * queries);
            let scale = T::from_f64(self.p.scale);
            T::run(Visible { scores, at, scale, causal: self.p.causal, mask: self.mask.as_ref() });
            let mut shift = [T::ZERO; QUERIES];
            for (i, s) in shift[..queries].iter_mut().enumerate() {
                let sum = *self.sums.as_ptr::<T>().add(matrix * t + query + i);
                // a query that sees nothing: its scores are all -inf, and exp gives 0 for any finite shift
                *s = if sum == T::from_f64(f64::NEG_INFINITY) { T::ZERO } else { sum };
            }
            T::run(Exponentials { scores, shift: &shift[..queries], exp: self.exp, sum: None });
            multiply(v, g.t(), [keys, queries, dv], ds, queries, false)?;
            // both are transposed: a row per key
            let by_key = View::new(p.cast_const(), queries as isize, 1);
            multiply(by_key, g, [keys, dv, queries], to[2], dv, true)?;
            let change = std::slice::from_raw_parts_mut(ds, keys * queries);
            let dots = std::slice::from_raw_parts(dots.add(query), queries);
            T::run(Change { change, p: scores, dots, scale });
            let by_key = View::new(ds.cast_const(), queries as isize, 1);
            multiply(by_key.t(), k, [queries, d, keys], to[0], d, true)?;
            multiply(by_key, q, [keys, d, queries], to[1], d, true)
        }
    }
}

/// g v^T to dS.
struct Change<'a, T> {
    change: &'a mut [T],
    p: &'a [T],
    dots: &'a [T],
    scale: T,
}

impl<T: Real> Body<T> for Change<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let n = self.dots.len();
        for (row, p) in self.change.chunks_exact_mut(n).zip(self.p.chunks_exact(n)) {
            for i in 0..n {
                row[i] = p[i] * (row[i] - self.dots[i]) * self.scale;
            }
        }
    }
}
