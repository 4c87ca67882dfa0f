//! Discrete Fourier transforms along chosen dimensions: one pass per dimension, whose lines are shared among threads.
//! Many short lines of small factors are `fft_short`'s, the others the rustfft and realfft crates'. Shapes and
//! normalization are the caller's (`rtorch.fft`); windows and frames (`stft`) are compositions.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use realfft::{RealFftPlanner, num_complex::Complex};
use rtorch_ir::prim::FftKind;
use rtorch_ir::{DType, Error, Layout, Result, storage_dtypes};
use rustfft::{FftDirection, FftNum, FftPlanner};

use crate::alloc::Buffer;
use crate::fft_short::{self, Form, LONGEST, Lines, Pack, Plan, Room};
use crate::threads::{check_interrupt, parallel_for};
use crate::walk::{Base, Walk, byte_strides, direct};
use crate::{Arg, Source};

/// Elements that are worth a thread.
const GRAIN: usize = 1 << 14;
/// Lines of a strided dimension that are read together: neighbours share cache lines.
const LINES: usize = 8;
/// Lengths whose plans are kept; a program that uses more starts anew, so that plans do not pile up.
const PLANS: usize = 256;

/// Transforms longer than this are done line by line unless there are `MANY` lines: most lanes would be idle.
const FEW: usize = 32;
const MANY: usize = 4;

/// The planners of a type, which remember their plans.
struct Planners<T: Real> {
    complex: FftPlanner<T>,
    real: RealFftPlanner<T>,
    made: usize,
    /// Those of short transforms, None where there is none: at most `LONGEST`.
    short: HashMap<usize, Option<Arc<Plan<T::Pack>>>>,
}

impl<T: Real> Planners<T> {
    fn new() -> Mutex<Planners<T>> {
        let (complex, real) = (FftPlanner::new(), RealFftPlanner::new());
        Mutex::new(Planners { complex, real, made: 0, short: HashMap::new() })
    }
    fn count(&mut self) -> &mut Self {
        self.made += 1;
        if self.made > PLANS {
            (self.complex, self.real, self.made) = (FftPlanner::new(), RealFftPlanner::new(), 1);
        }
        self
    }
}

trait Real: FftNum + Default {
    const DTYPE: DType;
    fn planners() -> &'static Mutex<Planners<Self>>;
    fn of(x: f64) -> Self;
    type Pack: Pack<T = Self>;
}

/// The plan of a short transform of so many lines, if it is done so.
fn short<T: Real>(n: usize, lines: usize) -> Option<Arc<Plan<T::Pack>>> {
    if n > LONGEST || n > FEW && lines < MANY {
        return None;
    }
    T::planners().lock().short.entry(n).or_insert_with(|| Plan::new(n).map(Arc::new)).clone()
}

static PLANNERS_F32: LazyLock<Mutex<Planners<f32>>> = LazyLock::new(Planners::new);
static PLANNERS_F64: LazyLock<Mutex<Planners<f64>>> = LazyLock::new(Planners::new);

impl Real for f32 {
    type Pack = [f32; 16];
    const DTYPE: DType = DType::C64;
    fn planners() -> &'static Mutex<Planners<f32>> {
        &PLANNERS_F32
    }
    fn of(x: f64) -> f32 {
        x as f32
    }
}

impl Real for f64 {
    type Pack = [f64; 8];
    const DTYPE: DType = DType::C128;
    fn planners() -> &'static Mutex<Planners<f64>> {
        &PLANNERS_F64
    }
    fn of(x: f64) -> f64 {
        x
    }
}

/// `Prim::Fft`: `axes` in the order they are transformed, the halved one last.
pub fn fft(kind: FftKind, axes: &[usize], scale: f64, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let x = direct(&inputs[0])?;
    match x.dtype {
        DType::F32 | DType::C64 => run::<f32>(kind, axes, scale, x, outs[0]),
        DType::F64 | DType::C128 => run::<f64>(kind, axes, scale, x, outs[0]),
        DType::Bool
        | DType::U8
        | DType::I8
        | DType::I16
        | DType::I32
        | DType::I64
        | DType::F16
        | DType::BF16
        | storage_dtypes!() => Err(Error::runtime(format!("Unsupported dtype {}", x.dtype.cpp_name()))),
    }
}

fn run<T: Real>(kind: FftKind, axes: &[usize], scale: f64, x: Arg, out: Arg) -> Result<()> {
    let Some((&last, others)) = axes.split_last() else {
        return Err(Error::runtime("internal: a transform of no dimension"));
    };
    if out.layout.numel() == 0 {
        return Ok(());
    }
    match kind {
        FftKind::Forward => complex_axes::<T>(FftDirection::Forward, axes, scale, x, out),
        FftKind::Inverse => complex_axes::<T>(FftDirection::Inverse, axes, scale, x, out),
        FftKind::Real => {
            half::<T>(last, scale, x, out)?;
            if others.is_empty() { Ok(()) } else { complex_axes::<T>(FftDirection::Forward, others, 1.0, out, out) }
        }
        FftKind::ToReal { n } => {
            let held;
            let (memory, layout);
            let halves = if others.is_empty() {
                x
            } else {
                layout = Layout::contiguous(&x.layout.shape);
                memory = Buffer::uninit(layout.numel() * T::DTYPE.size())?;
                held = Arg { ptr: memory.as_ptr(), dtype: T::DTYPE, layout: &layout };
                complex_axes::<T>(FftDirection::Inverse, others, 1.0, x, held)?;
                held
            };
            whole::<T>(n, last, scale, halves, out)
        }
    }
}

/// Half the spectra of real lines along `axis`.
fn half<T: Real>(axis: usize, scale: f64, x: Arg, out: Arg) -> Result<()> {
    let (n, by) = (x.layout.shape[axis], T::of(scale));
    if let Some(plan) = short::<T>(n, x.layout.numel() / n) {
        return blocks::<T>(&plan, false, by, (&x, Form::Real), (&out, Form::Half), axis);
    }
    let plan = T::planners().lock().count().real.plan_fft_forward(n);
    pass::<T, T, Complex<T>>(&x, &out, axis, plan.get_scratch_len(), &|from, to, scratch| {
        plan.process_with_scratch(from, to, scratch).map_err(|e| Error::runtime(e.to_string()))?;
        to.iter_mut().for_each(|v| *v = v.scale(by));
        Ok(())
    })
}

/// The real lines of `n` along `axis` that half spectra stand for.
fn whole<T: Real>(n: usize, axis: usize, scale: f64, x: Arg, out: Arg) -> Result<()> {
    let by = T::of(scale);
    // a window may hold fewer bins than there are
    if x.layout.shape[axis] > n / 2
        && let Some(plan) = short::<T>(n, out.layout.numel() / n)
    {
        return blocks::<T>(&plan, true, by, (&x, Form::Half), (&out, Form::Real), axis);
    }
    let plan = T::planners().lock().count().real.plan_fft_inverse(n);
    pass::<T, Complex<T>, T>(&x, &out, axis, plan.get_scratch_len(), &|from, to, scratch| {
        // What a real signal's spectrum cannot hold is ignored.
        from[0].im = T::zero();
        if n.is_multiple_of(2)
            && let Some(middle) = from.get_mut(n / 2)
        {
            middle.im = T::zero();
        }
        plan.process_with_scratch(from, to, scratch).map_err(|e| Error::runtime(e.to_string()))?;
        to.iter_mut().for_each(|v| *v = *v * by);
        Ok(())
    })
}

/// Complex transforms of `axes`, the first from `x` to `out`, the rest within `out`.
fn complex_axes<T: Real>(direction: FftDirection, axes: &[usize], scale: f64, x: Arg, out: Arg) -> Result<()> {
    for (k, &axis) in axes.iter().enumerate() {
        let n = out.layout.shape[axis];
        let by = T::of(if k == 0 { scale } else { 1.0 });
        let from = if k == 0 { x } else { out };
        if let Some(plan) = short::<T>(n, out.layout.numel() / n) {
            let inverse = direction == FftDirection::Inverse;
            blocks::<T>(&plan, inverse, by, (&from, Form::Complex), (&out, Form::Complex), axis)?;
            continue;
        }
        let plan: Arc<dyn rustfft::Fft<T>> = T::planners().lock().count().complex.plan_fft(n, direction);
        pass::<T, Complex<T>, Complex<T>>(&from, &out, axis, plan.get_inplace_scratch_len(), &|from, to, scratch| {
            to.copy_from_slice(from);
            plan.process_with_scratch(to, scratch);
            if by != T::one() {
                to.iter_mut().for_each(|v| *v = v.scale(by));
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Short transforms of all lines along `axis`. A block is read before it is written, so the windows may be the same.
fn blocks<T: Real>(
    plan: &Plan<T::Pack>,
    inverse: bool,
    by: T,
    src: (&Arg, Form),
    dst: (&Arg, Form),
    axis: usize,
) -> Result<()> {
    let size = |form| if form == Form::Real { size_of::<T>() } else { size_of::<Complex<T>>() };
    let (from, to) = (byte_strides(src.0.layout, size(src.1)), byte_strides(dst.0.layout, size(dst.1)));
    let (step, dst_step) = (from[axis], to[axis]);
    let lines = Walk::<2>::of_dims(&src.0.layout.shape, [&from, &to], |d| d != axis);
    let (base, target) = (Base::of(src.0), Base::of(dst.0));
    let group = <T::Pack as Pack>::LINES;
    let failed = Mutex::new(None);
    parallel_for(lines.len().div_ceil(group), (GRAIN / (plan.len() * group)).max(1), &|range| {
        let mut room = Room::new(plan.len());
        let mut places = [[0isize; fft_short::MOST]; 2];
        let (first, mut filled) = (range.start * group, 0);
        let count = (range.end * group).min(lines.len()) - first;
        let mut work = |places: &[[isize; fft_short::MOST]; 2], n: usize| {
            let from = Lines { base, places: &places[0][..n], step, form: src.1 };
            let to = Lines { base: target, places: &places[1][..n], step: dst_step, form: dst.1 };
            // SAFETY: lines of the windows, which have the sizes that the forms want.
            unsafe { fft_short::block::<T::Pack>(plan, inverse, by, &from, &to, &mut room) };
        };
        lines.runs(first..first + count, |offsets, run| {
            let (_, strides) = lines.inner();
            for i in 0..run as isize {
                for k in 0..2 {
                    places[k][filled] = offsets[k] + i * strides[k];
                }
                filled += 1;
                if filled == group {
                    work(&places, filled);
                    filled = 0;
                }
            }
        });
        if filled > 0 {
            work(&places, filled);
        }
        if let Err(e) = check_interrupt() {
            *failed.lock() = Some(e);
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}

type Transform<'a, T, A, B> = dyn Fn(&mut [A], &mut [B], &mut [Complex<T>]) -> Result<()> + Sync + 'a;

/// Calls `f(line of src, line of dst, scratch)` for every line along `axis`. A line is read before it is written, so
/// `src` and `dst` may be the same window.
fn pass<T: Real, A, B>(src: &Arg, dst: &Arg, axis: usize, scratch: usize, f: &Transform<T, A, B>) -> Result<()>
where
    A: Copy + Default + Send + Sync,
    B: Copy + Default + Send + Sync,
{
    let (from, to) = (byte_strides(src.layout, size_of::<A>()), byte_strides(dst.layout, size_of::<B>()));
    // the real transform wants exactly the bins there are, however long the window
    let (n, m) = (src.layout.shape[axis], dst.layout.shape[axis]);
    let n = if size_of::<A>() > size_of::<B>() { n.min(m / 2 + 1) } else { n };
    let (step, dst_step) = (from[axis], to[axis]);
    let lines = Walk::<2>::of_dims(&src.layout.shape, [&from, &to], |d| d != axis);
    let (base, target) = (Base::of(src), Base::of(dst));
    let flat = step == size_of::<A>() as isize;
    let group = if flat { 1 } else { LINES.min(lines.len()) };
    let failed = Mutex::new(None);
    parallel_for(lines.len().div_ceil(group), (GRAIN / (n.max(m) * group).max(1)).max(1), &|range| {
        let mut input = vec![A::default(); n * group];
        let mut output = vec![B::default(); m * group];
        let mut room = vec![Complex::<T>::default(); scratch];
        for block in range {
            let (first, end) = (block * group, ((block + 1) * group).min(lines.len()));
            let mut places = [[0isize; 2]; LINES];
            for (place, i) in places.iter_mut().zip(first..end) {
                *place = lines.at(i);
            }
            let places = &places[..end - first];
            if flat {
                // SAFETY: the elements of a line, which lie side by side.
                unsafe { std::ptr::copy_nonoverlapping(base.at::<A>(places[0][0]), input.as_mut_ptr(), n) };
            } else {
                for i in 0..n {
                    for (l, p) in places.iter().enumerate() {
                        // SAFETY: element `i` of a line of the source's window.
                        input[l * n + i] = unsafe { *base.at::<A>(p[0] + i as isize * step) };
                    }
                }
            }
            for l in 0..places.len() {
                let (a, b) = (&mut input[l * n..(l + 1) * n], &mut output[l * m..(l + 1) * m]);
                if let Err(e) = check_interrupt().and_then(|()| f(a, b, &mut room)) {
                    *failed.lock() = Some(e);
                    return;
                }
            }
            if flat && dst_step == size_of::<B>() as isize {
                // SAFETY: as above; each line is one thread's.
                unsafe { std::ptr::copy_nonoverlapping(output.as_ptr(), target.at::<B>(places[0][1]), m) };
                continue;
            }
            for i in 0..m {
                for (l, p) in places.iter().enumerate() {
                    // SAFETY: element `i` of a line of the result's window; each line is one thread's.
                    unsafe { *target.at::<B>(p[1] + i as isize * dst_step) = output[l * m + i] };
                }
            }
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dft(x: &[Complex<f64>], sign: f64) -> Vec<Complex<f64>> {
        let n = x.len();
        let turn = |k: usize, j: usize| {
            Complex::from_polar(1.0, sign * std::f64::consts::TAU * ((k * j) % n) as f64 / n as f64)
        };
        (0..n).map(|k| (0..n).map(|j| x[j] * turn(k, j)).sum()).collect()
    }
    fn signal(n: usize) -> Vec<Complex<f64>> {
        (0..n).map(|i| Complex::new((i as f64 * 1.3).sin(), (i as f64 * 0.7 + 1.0).cos())).collect()
    }
    fn arg<'a, X>(data: &'a mut [X], dtype: DType, layout: &'a Layout) -> Arg<'a> {
        Arg { ptr: data.as_mut_ptr().cast(), dtype, layout }
    }
    fn close(a: &[Complex<f64>], b: &[Complex<f64>]) {
        assert_eq!(a.len(), b.len());
        for (x, y) in a.iter().zip(b) {
            assert!((x - y).norm() < 1e-9 * (1.0 + y.norm()), "{x} {y}");
        }
    }

    #[test]
    fn lines_are_discrete_fourier_transforms() {
        for n in [1usize, 2, 3, 8, 17, 30] {
            // a column of a matrix of 11, so that lines are strided
            let (rows, cols) = (n, 11);
            let layout = Layout::contiguous(&[rows, cols]);
            let mut x = signal(rows * cols);
            let mut y = vec![Complex::default(); rows * cols];
            for (kind, sign) in [(FftKind::Forward, -1.0), (FftKind::Inverse, 1.0)] {
                let (a, b) = (arg(&mut x, DType::C128, &layout), arg(&mut y, DType::C128, &layout));
                run::<f64>(kind, &[0], 0.5, a, b).unwrap();
                for c in 0..cols {
                    let line: Vec<_> = (0..rows).map(|r| x[r * cols + c]).collect();
                    let want: Vec<_> = dft(&line, sign).iter().map(|v| v * 0.5).collect();
                    close(&(0..rows).map(|r| y[r * cols + c]).collect::<Vec<_>>(), &want);
                }
            }
        }
    }

    #[test]
    fn real_transforms_are_halves_and_come_back() {
        for n in [1usize, 2, 5, 12] {
            let (shape, half) = ([3, n], [3, n / 2 + 1]);
            let (real, spectrum) = (Layout::contiguous(&shape), Layout::contiguous(&half));
            let mut x: Vec<f64> = signal(3 * n).iter().map(|v| v.re).collect();
            let mut y = vec![Complex::<f64>::default(); 3 * (n / 2 + 1)];
            let (a, b) = (arg(&mut x, DType::F64, &real), arg(&mut y, DType::C128, &spectrum));
            run::<f64>(FftKind::Real, &[1], 1.0, a, b).unwrap();
            for r in 0..3 {
                let line: Vec<_> = x[r * n..(r + 1) * n].iter().map(|&v| Complex::from(v)).collect();
                close(&y[r * (n / 2 + 1)..(r + 1) * (n / 2 + 1)], &dft(&line, -1.0)[..n / 2 + 1]);
            }
            let mut back = vec![0.0f64; 3 * n];
            let (a, b) = (arg(&mut y, DType::C128, &spectrum), arg(&mut back, DType::F64, &real));
            run::<f64>(FftKind::ToReal { n }, &[1], 1.0 / n as f64, a, b).unwrap();
            assert!(x.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-12));
            // both dimensions, there and back
            let (a, b) = (arg(&mut x, DType::F64, &real), arg(&mut y, DType::C128, &spectrum));
            run::<f64>(FftKind::Real, &[0, 1], 1.0, a, b).unwrap();
            let (a, b) = (arg(&mut y, DType::C128, &spectrum), arg(&mut back, DType::F64, &real));
            run::<f64>(FftKind::ToReal { n }, &[0, 1], 1.0 / (3 * n) as f64, a, b).unwrap();
            assert!(x.iter().zip(&back).all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }
}
