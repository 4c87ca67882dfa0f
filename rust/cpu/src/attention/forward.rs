//! The forward pass: a task is one block of queries of one matrix, which walks over blocks of keys.

use rtorch_ir::prim::AttentionParams;
use rtorch_ir::{Result, ScalarOp};

use super::{Block, Exponentials, KEYS, Mask, Matrices, QUERIES, Visible, exp_kernel, function, multiply};
use super::{query_blocks, visible_keys};
use crate::gemm::lanes::{Lanes, Real};
use crate::gemm::tasks::{Stop, for_each};
use crate::gemm::{Body, Gemm, Scratch};
use crate::operand::Output;
use crate::simd::kernels::Kernel;
use crate::{Arg, Source};

struct Forward<'a, T> {
    p: &'a AttentionParams,
    q: Matrices,
    k: Matrices,
    v: Matrices,
    mask: Option<Mask<'a>>,
    /// Queries, keys, size of q and k, size of v.
    sizes: [usize; 4],
    out: &'a Output<'a>,
    sums: &'a Output<'a>,
    exp: Kernel,
    log: Kernel,
    _t: std::marker::PhantomData<T>,
}

// SAFETY: operands are only read, tasks write their own rows of the results.
unsafe impl<T> Sync for Forward<'_, T> {}

pub fn attention<T: Gemm>(p: &AttentionParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let n = inputs[0].shape.len();
    let sizes = [inputs[0].shape[n - 2], inputs[1].shape[n - 2], inputs[0].shape[n - 1], inputs[2].shape[n - 1]];
    let (out, sums) = (Output::dense(outs[0], T::DTYPE)?, Output::dense(outs[1], T::DTYPE)?);
    let batch: usize = inputs[0].shape[..n - 2].iter().product();
    let job = Forward::<T> {
        p,
        q: Matrices::new(&inputs[0], T::DTYPE)?,
        k: Matrices::new(&inputs[1], T::DTYPE)?,
        v: Matrices::new(&inputs[2], T::DTYPE)?,
        mask: inputs.get(3).filter(|_| p.mask).and_then(Mask::new),
        sizes,
        out: &out,
        sums: &sums,
        exp: exp_kernel::<T>()?,
        log: function::<T>(ScalarOp::Log)?,
        _t: std::marker::PhantomData,
    };
    let blocks = query_blocks(sizes[0]);
    for_each(batch * blocks, &|t, stop| {
        // the last queries see most keys: they start first
        job.task(t / blocks, (blocks - 1 - t % blocks) * QUERIES, stop)
    })?;
    out.store()?;
    sums.store()
}

impl<T: Gemm> Forward<'_, T> {
    fn task(&self, matrix: usize, query: usize, stop: &Stop) -> Result<()> {
        let [t, s, d, dv] = self.sizes;
        let queries = (t - query).min(QUERIES);
        let scratch = Scratch::<T>::new(queries * KEYS.min(s))?;
        let mut state = State::<T>::new();
        let o = self.out.as_ptr::<T>().wrapping_add((matrix * t + query) * dv);
        let end = visible_keys(self.p, query + queries, s);
        for key in (0..end).step_by(KEYS) {
            if stop.now() {
                return Ok(());
            }
            let at = Block { matrix, query, queries, key, keys: (end - key).min(KEYS) };
            // SAFETY: the scratch holds the block; operands have the sizes; rows of the result are this task's.
            unsafe {
                let scores = std::slice::from_raw_parts_mut(scratch.as_ptr(), at.keys * queries);
                let (k, q) = (self.k.view(matrix, key), self.q.view(matrix, query).t());
                multiply(k, q, [at.keys, queries, d], scores.as_mut_ptr(), queries, false)?;
                let scale = T::from_f64(self.p.scale);
                T::run(Visible { scores, at, scale, causal: self.p.causal, mask: self.mask.as_ref() });
                T::run(Step { state: &mut state, scores, queries, exp: self.exp, o, dv, first: key == 0 });
                // the block with a row per key is P transposed
                let p = crate::gemm::View::new(scores.as_ptr(), 1, queries as isize);
                multiply(p, self.v.view(matrix, key), [queries, dv, at.keys], o, dv, key > 0)?;
            }
        }
        // SAFETY: as above.
        unsafe {
            let sums = self.sums.as_ptr::<T>().add(matrix * t + query);
            T::run(Finish { state: &state, queries, log: self.log, o, dv, sums, empty: end == 0 });
        }
        Ok(())
    }
}

/// Running maximum and sum of every query of a block.
struct State<T> {
    max: [T; QUERIES],
    sum: [T; QUERIES],
}

impl<T: Real> State<T> {
    fn new() -> State<T> {
        State { max: [T::from_f64(f64::NEG_INFINITY); QUERIES], sum: [T::ZERO; QUERIES] }
    }
}

/// Takes a block of scores into the state: scores become exponentials, what was summed before is rescaled.
struct Step<'a, T> {
    state: &'a mut State<T>,
    scores: &'a mut [T],
    queries: usize,
    exp: Kernel,
    o: *mut T,
    dv: usize,
    first: bool,
}

impl<T: Gemm> Body<T> for Step<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let n = self.queries;
        let lowest = T::from_f64(f64::NEG_INFINITY);
        let mut max = self.state.max;
        for row in self.scores.chunks_exact(n) {
            for (m, s) in max.iter_mut().zip(row) {
                *m = if *s > *m { *s } else { *m };
            }
        }
        // a query that has seen nothing yet: any finite shift will do
        let mut shift = max;
        for m in &mut shift {
            *m = if *m == lowest { T::ZERO } else { *m };
        }
        let mut change = [T::ZERO; QUERIES];
        let mut scale = [T::ZERO; QUERIES];
        for i in 0..n {
            change[i] = self.state.max[i] - shift[i];
        }
        let src = change.as_ptr().cast();
        // SAFETY: n values each; rows of the result are this task's.
        unsafe {
            (self.exp)(scale.as_mut_ptr().cast(), src, src, src, n);
            for i in 0..n {
                self.state.sum[i] = self.state.sum[i] * scale[i];
                if !self.first && scale[i] != T::from_f64(1.0) {
                    for x in std::slice::from_raw_parts_mut(self.o.add(i * self.dv), self.dv) {
                        *x = *x * scale[i];
                    }
                }
            }
        }
        self.state.max = max;
        let mut sum = [T::ZERO; QUERIES];
        // SAFETY: compiled for the same instruction set.
        unsafe {
            let body =
                Exponentials { scores: self.scores, shift: &shift[..n], exp: self.exp, sum: Some(&mut sum[..n]) };
            body.run::<V>();
        }
        for i in 0..n {
            self.state.sum[i] += sum[i];
        }
    }
}

/// Divides by the sums, and writes their logarithms.
struct Finish<'a, T> {
    state: &'a State<T>,
    queries: usize,
    log: Kernel,
    o: *mut T,
    dv: usize,
    sums: *mut T,
    /// No block of keys was seen: the result's rows were not written yet.
    empty: bool,
}

impl<T: Gemm> Body<T> for Finish<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        let mut logs = [T::ZERO; QUERIES];
        let src = self.state.sum.as_ptr().cast();
        // SAFETY: rows of the results are this task's.
        unsafe {
            (self.log)(logs.as_mut_ptr().cast(), src, src, src, self.queries);
            for i in 0..self.queries {
                let sum = self.state.sum[i];
                let row = std::slice::from_raw_parts_mut(self.o.add(i * self.dv), self.dv);
                if self.empty || sum == T::ZERO {
                    row.fill(T::ZERO);
                } else {
                    for x in row {
                        *x = *x / sum;
                    }
                }
                // nothing seen: -inf, of which the backward pass makes probabilities of 0
                *self.sums.add(i) = self.state.max[i] + logs[i];
            }
        }
    }
}
