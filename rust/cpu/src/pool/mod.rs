//! Pooling over one to three spatial dimensions: windows of fixed size here, windows of about equal size in `adaptive`.
//! Planes are independent: threads take planes. Maxima as PyTorch's: padding never wins, of equal values the first one
//! does, and a NaN wins over everything before it.

mod adaptive;
mod rows;

use std::ops::Range;

use rtorch_ir::prim::PoolParams;
use rtorch_ir::{CType, DType, Result, ensure};

use crate::conv::window::{Tap, Window};
use crate::gemm::Gemm;
use crate::operand::{Operand, Output};
use crate::threads::parallel_for;
use crate::{Arg, Source};

pub use adaptive::{adaptive_avg_pool, adaptive_avg_pool_grad, adaptive_max_pool};
use rows::{Grads, Means, Planes};

/// Window elements that a thread should have at least.
const GRAIN: usize = 1 << 15;

type Spatial3 = [usize; 3];

fn spatial(sizes: &[usize], fill: usize) -> Spatial3 {
    let mut out = [fill; 3];
    out[3 - sizes.len()..].copy_from_slice(sizes);
    out
}

/// The dtype a pool computes in.
fn compute_dtype(d: DType) -> DType {
    match d.ctype() {
        CType::F32 => DType::F32,
        CType::F64 => DType::F64,
        CType::I32 | CType::I64 | CType::Bool | CType::C64 | CType::C128 => DType::I64,
    }
}

/// Windows of the parameters over planes of the sizes `input`.
struct Pool {
    window: Window,
    kernel: Spatial3,
    padding: Spatial3,
    include_pad: bool,
    divisor: Option<i64>,
}

impl Pool {
    fn new(p: &PoolParams, input: &[usize]) -> Pool {
        let (kernel, padding) = (spatial(&p.kernel, 1), spatial(&p.padding, 0));
        let dilation = if p.dilation.is_empty() { [1; 3] } else { spatial(&p.dilation, 1) };
        let (out, sizes, step) = (spatial(&p.out, 1), spatial(input, 1), spatial(&p.stride, 1));
        // of a kernel dimension, the elements that meet the input in some window: a kernel may be far larger
        let met = |d: usize| {
            let reach = out[d].saturating_sub(1).saturating_mul(step[d]);
            let first = padding[d].saturating_sub(reach).div_ceil(dilation[d]);
            first..(sizes[d] + padding[d]).div_ceil(dilation[d]).min(kernel[d])
        };
        let mut taps = Vec::new();
        for a in met(0) {
            for b in met(1) {
                for c in met(2) {
                    let at = [a, b, c];
                    let offset = std::array::from_fn(|d| (at[d] * dilation[d]) as isize - padding[d] as isize);
                    taps.push(Tap { offset, number: taps.len() });
                }
            }
        }
        let window = Window { taps, out, input: sizes, step };
        Pool { window, kernel, padding, include_pad: p.count_include_pad, divisor: p.divisor }
    }

    /// What the sum of window `i` along dimension `d` is divided by: its size, cut at the padding's end, and without
    /// the padding where that does not count.
    fn count(&self, d: usize, i: usize) -> usize {
        let (size, padding) = (self.window.input[d], self.padding[d]);
        let start = i * self.window.step[d];
        let end = (start + self.kernel[d]).min(size + 2 * padding);
        if self.include_pad {
            return end.saturating_sub(start);
        }
        // positions are shifted by the padding
        end.min(size + padding).saturating_sub(start.max(padding))
    }

    /// The divisor of every position.
    fn divisors<T: Gemm>(&self) -> Vec<T> {
        let [a, b, c] = self.window.out;
        let mut out = Vec::with_capacity(a * b * c);
        for d in 0..a {
            for h in 0..b {
                for w in 0..c {
                    let n = match self.divisor {
                        Some(n) => n as f64,
                        None => (self.count(0, d) * self.count(1, h) * self.count(2, w)) as f64,
                    };
                    out.push(T::from_f64(n));
                }
            }
        }
        out
    }
}

/// Number of planes: all but the last `n` dimensions.
fn planes(shape: &[usize], n: usize) -> usize {
    shape[..shape.len() - n].iter().product()
}

fn for_planes(n: usize, work: usize, f: &(dyn Fn(usize) + Sync)) {
    for_ranges(n, work, &|range| range.for_each(f));
}

fn for_ranges(n: usize, work: usize, f: &(dyn Fn(Range<usize>) + Sync)) {
    parallel_for(n, (GRAIN / work.max(1)).max(1), f);
}

/// x [n, c, ...] -> values, int64 positions in the input's plane.
pub fn max_pool(p: &PoolParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match compute_dtype(inputs[0].dtype()) {
        DType::F32 => max::<f32>(p, inputs, outs),
        DType::F64 => max::<f64>(p, inputs, outs),
        _ => max::<i64>(p, inputs, outs),
    }
}

fn max<T: rows::Ordered>(p: &PoolParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let n = p.out.len();
    let shape = inputs[0].shape;
    let x = Operand::dense(&inputs[0], T::DTYPE)?;
    let (y, at) = (Output::dense(outs[0], T::DTYPE)?, Output::dense(outs[1], DType::I64)?);
    let pool = Pool::new(p, &shape[shape.len() - n..]);
    let (size, out) = (pool.window.plane(), pool.window.positions());
    ensure!(size <= u32::MAX as usize, runtime, "max_pool: planes of {size} elements are not supported");
    for_ranges(planes(shape, n), out * pool.window.taps.len(), &|range| {
        // SAFETY: planes are contiguous, a task's planes are its own.
        unsafe { rows::max_planes::<T>(&pool.window, range, x.as_ptr(), y.as_ptr(), at.as_ptr()) }
    });
    y.store()?;
    at.store()
}

/// (g, positions) -> every g added at its position.
pub fn max_pool_grad(input: &[usize], inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match compute_dtype(inputs[0].dtype()) {
        DType::F32 => max_grad::<f32>(input, inputs, outs),
        DType::F64 => max_grad::<f64>(input, inputs, outs),
        _ => max_grad::<i64>(input, inputs, outs),
    }
}

fn max_grad<T: rows::Ordered>(input: &[usize], inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let n = input.len().saturating_sub(2);
    let g = Operand::dense(&inputs[0], T::DTYPE)?;
    let at = Operand::dense(&inputs[1], DType::I64)?;
    let x = Output::dense(outs[0], T::DTYPE)?;
    let size: usize = input[input.len() - n..].iter().product();
    let out: usize = inputs[0].shape[input.len() - n..].iter().product();
    for_ranges(planes(input, n), size + 4 * out, &|range| {
        // SAFETY: planes are contiguous, a task's planes are its own; positions outside the plane are left out.
        unsafe {
            std::slice::from_raw_parts_mut(x.as_ptr::<T>().add(range.start * size), range.len() * size).fill(T::ZERO);
            for i in range {
                let plane = std::slice::from_raw_parts_mut(x.as_ptr::<T>().add(i * size), size);
                for j in i * out..(i + 1) * out {
                    if let Some(p) = plane.get_mut(*at.as_ptr::<i64>().add(j) as usize) {
                        *p = T::plus(*p, *g.as_ptr::<T>().add(j));
                    }
                }
            }
        }
    });
    x.store()
}

/// x -> means of windows.
pub fn avg_pool(p: &PoolParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match compute_dtype(inputs[0].dtype()) {
        DType::F64 => avg::<f64>(p, inputs, outs),
        _ => avg::<f32>(p, inputs, outs),
    }
}

fn avg<T: Gemm>(p: &PoolParams, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let n = p.out.len();
    let shape = inputs[0].shape;
    let x = Operand::dense(&inputs[0], T::DTYPE)?;
    let y = Output::dense(outs[0], T::DTYPE)?;
    let pool = Pool::new(p, &shape[shape.len() - n..]);
    let divisors = pool.divisors::<T>();
    for_ranges(planes(shape, n), pool.window.positions() * pool.window.taps.len(), &|range| {
        let planes = Planes { window: &pool.window, range, x: x.as_ptr(), y: y.as_ptr() };
        // SAFETY: planes are contiguous, a task's planes are its own.
        unsafe { T::run(Means { planes, divisors: &divisors }) };
    });
    y.store()
}

/// g -> gradient of x.
pub fn avg_pool_grad(p: &PoolParams, input: &[usize], inputs: &[Source], outs: &[Arg]) -> Result<()> {
    match compute_dtype(inputs[0].dtype()) {
        DType::F64 => avg_grad::<f64>(p, input, inputs, outs),
        _ => avg_grad::<f32>(p, input, inputs, outs),
    }
}

fn avg_grad<T: Gemm>(p: &PoolParams, input: &[usize], inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let n = p.out.len();
    let g = Operand::dense(&inputs[0], T::DTYPE)?;
    let x = Output::dense(outs[0], T::DTYPE)?;
    let pool = Pool::new(p, &input[input.len() - n..]);
    let (size, out) = (pool.window.plane(), pool.window.positions());
    let divisors = pool.divisors::<T>();
    for_ranges(planes(input, n), size + out * pool.window.taps.len(), &|range| {
        let planes = Planes { window: &pool.window, range, x: g.as_ptr(), y: x.as_ptr() };
        // SAFETY: planes are contiguous, a task's planes are its own.
        unsafe { T::run(Grads { planes, divisors: &divisors }) };
    });
    x.store()
}
