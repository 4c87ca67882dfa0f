//! Pooling into a given number of windows: window i of n over size s runs from floor(i s / n) to ceil((i + 1) s / n).

use rtorch_ir::{DType, Result};
use smallvec::SmallVec;

use super::rows::Ordered;
use super::{Spatial3, compute_dtype, for_planes, planes, spatial};
use crate::gemm::Body;
use crate::gemm::Gemm;
use crate::gemm::lanes::{Lanes, Real};
use crate::operand::{Operand, Output};
use crate::{Arg, Source};

/// Planes of `input` cut into `out` windows.
struct Cut {
    input: Spatial3,
    out: Spatial3,
}

impl Cut {
    fn plane(&self) -> usize {
        self.input.iter().product()
    }
    fn positions(&self) -> usize {
        self.out.iter().product()
    }
    /// First and end index of window `i` along dimension `d`.
    fn window(&self, d: usize, i: usize) -> (usize, usize) {
        let (s, n) = (self.input[d], self.out[d]);
        (i * s / n, ((i + 1) * s).div_ceil(n))
    }
    /// Calls `f(position, elements in the window, row start, row end)` for every row of every window.
    #[inline(always)]
    fn rows(&self, mut f: impl FnMut(usize, usize, usize, usize)) {
        let [a, b, c] = self.out;
        // a division costs more than a small window
        let across: SmallVec<[(usize, usize); 32]> = (0..c).map(|k| self.window(2, k)).collect();
        let mut p = 0;
        for d in (0..a).map(|k| self.window(0, k)) {
            for h in (0..b).map(|k| self.window(1, k)) {
                for &w in &across {
                    let count = (d.1 - d.0) * (h.1 - h.0) * (w.1 - w.0);
                    for i in d.0..d.1 {
                        for j in h.0..h.1 {
                            let row = (i * self.input[1] + j) * self.input[2];
                            f(p, count, row + w.0, row + w.1);
                        }
                    }
                    p += 1;
                }
            }
        }
    }
}

/// x [n, c, ...] -> means.
pub fn adaptive_avg_pool(out: &[usize], inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match compute_dtype(inputs[0].dtype()) {
        DType::F64 => avg::<f64>(out, inputs, outs),
        _ => avg::<f32>(out, inputs, outs),
    }
}

struct Sums<'a, T> {
    cut: &'a Cut,
    x: *const T,
    y: *mut T,
}

impl<T: Real> Body<T> for Sums<'_, T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<V: Lanes<T = T>>(self) {
        // SAFETY: planes of the cut's sizes.
        unsafe {
            for p in 0..self.cut.positions() {
                *self.y.add(p) = T::ZERO;
            }
            let mut last = (usize::MAX, 1);
            self.cut.rows(|p, count, from, to| {
                if p != last.0 && last.0 != usize::MAX {
                    *self.y.add(last.0) = *self.y.add(last.0) / T::from_f64(last.1 as f64);
                }
                last = (p, count);
                // a row's registers are added up, then their lanes: the order depends on the row's length alone
                let mut acc = V::zero();
                let mut i = from;
                while i + V::N <= to {
                    acc = acc.add(V::load(self.x.add(i)));
                    i += V::N;
                }
                if i < to {
                    acc = acc.add(V::load_n(self.x.add(i), to - i));
                }
                *self.y.add(p) += acc.sum();
            });
            if last.0 != usize::MAX {
                *self.y.add(last.0) = *self.y.add(last.0) / T::from_f64(last.1 as f64);
            }
        }
    }
}

fn avg<T: Gemm>(out: &[usize], inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let shape = inputs[0].shape;
    let n = out.len();
    let cut = Cut { input: spatial(&shape[shape.len() - n..], 1), out: spatial(out, 1) };
    let x = Operand::dense(&inputs[0], T::DTYPE)?;
    let y = Output::dense(outs[0], T::DTYPE)?;
    let (size, positions) = (cut.plane(), cut.positions());
    for_planes(planes(shape, n), size, &|i| {
        let (x, y) = (x.as_ptr::<T>().wrapping_add(i * size), y.as_ptr::<T>().wrapping_add(i * positions));
        // SAFETY: planes are contiguous, a task's planes are its own.
        unsafe { T::run(Sums { cut: &cut, x, y }) };
    });
    y.store()
}

/// g -> gradient of x: each window's g, shared equally.
pub fn adaptive_avg_pool_grad(input: &[usize], inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match compute_dtype(inputs[0].dtype()) {
        DType::F64 => avg_grad::<f64>(input, inputs, outs),
        _ => avg_grad::<f32>(input, inputs, outs),
    }
}

fn avg_grad<T: Gemm>(input: &[usize], inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let n = input.len().saturating_sub(2);
    let lead = input.len() - n;
    let cut = Cut { input: spatial(&input[lead..], 1), out: spatial(&inputs[0].shape[lead..], 1) };
    let g = Operand::dense(&inputs[0], T::DTYPE)?;
    let x = Output::dense(outs[0], T::DTYPE)?;
    let (size, positions) = (cut.plane(), cut.positions());
    for_planes(planes(input, n), size, &|i| {
        // SAFETY: planes are contiguous, a task's planes are its own.
        unsafe {
            let plane = std::slice::from_raw_parts_mut(x.as_ptr::<T>().add(i * size), size);
            plane.fill(T::ZERO);
            cut.rows(|p, count, from, to| {
                let v = *g.as_ptr::<T>().add(i * positions + p) / T::from_f64(count as f64);
                for x in &mut plane[from..to] {
                    *x += v;
                }
            });
        }
    });
    x.store()
}

/// x [n, c, ...] -> maxima, int64 positions in the input's plane.
pub fn adaptive_max_pool(out: &[usize], inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match compute_dtype(inputs[0].dtype()) {
        DType::F32 => max::<f32>(out, inputs, outs),
        DType::F64 => max::<f64>(out, inputs, outs),
        _ => max::<i64>(out, inputs, outs),
    }
}

fn max<T: Ordered>(out: &[usize], inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let shape = inputs[0].shape;
    let n = out.len();
    let cut = Cut { input: spatial(&shape[shape.len() - n..], 1), out: spatial(out, 1) };
    let x = Operand::dense(&inputs[0], T::DTYPE)?;
    let (y, at) = (Output::dense(outs[0], T::DTYPE)?, Output::dense(outs[1], DType::I64)?);
    let (size, positions) = (cut.plane(), cut.positions());
    for_planes(planes(shape, n), size, &|i| {
        // SAFETY: planes are contiguous, a task's planes are its own.
        unsafe {
            let x = std::slice::from_raw_parts(x.as_ptr::<T>().add(i * size), size);
            let (y, at) = (y.as_ptr::<T>().add(i * positions), at.as_ptr::<i64>().add(i * positions));
            let mut last = usize::MAX;
            cut.rows(|p, _, from, to| {
                if p != last {
                    last = p;
                    *y.add(p) = T::LOWEST;
                    *at.add(p) = from as i64;
                }
                for (j, &v) in x[from..to].iter().enumerate() {
                    // NaN differs from itself
                    #[allow(clippy::eq_op)]
                    if v > *y.add(p) || v != v {
                        *y.add(p) = v;
                        *at.add(p) = (from + j) as i64;
                    }
                }
            });
        }
    });
    y.store()?;
    at.store()
}
