//! Running sums, products, extremes and log-sum-exps along an axis. Each line runs in order from its start (float32 in
//! double, 16-bit floats in float, as PyTorch); several lines run side by side, which hides the latency of the chain.
//! Whole-line reductions are in `reduce`.

use std::marker::PhantomData;

use rtorch_ir::prim::ScanOp;
use rtorch_ir::{DType, Error, Result};

use crate::element::{Arith, Bool, Complex, Element, dispatch, dispatch_float, dispatch_real};
use crate::threads::parallel_for;
use crate::versions::versions;
use crate::walk::{Base, Walk, byte_strides, direct};
use crate::{Arg, Source};

/// Elements that are worth a thread.
const GRAIN: usize = 1 << 14;
/// Lines that run side by side where they are neighbours in memory: two vectors of doubles.
const LANES: usize = 16;
/// Lines that run side by side elsewhere: enough to hide the latency of an addition.
const CHAINS: usize = 4;

/// `Prim::Scan`: x -> running value along an axis (and int64 positions for Max and Min).
pub fn scan(op: ScanOp, axis: usize, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let x = direct(&inputs[0])?;
    if x.layout.numel() == 0 {
        return Ok(());
    }
    let dtype = x.dtype;
    match op {
        ScanOp::Sum => dispatch!(dtype, T => run(axis, x, outs, Fold::<T, true>::default())),
        ScanOp::Prod => dispatch!(dtype, T => run(axis, x, outs, Fold::<T, false>::default())),
        ScanOp::LogSumExp => dispatch_float!(dtype, T => run(axis, x, outs, LogSumExp::<T>::default()), {
            return Err(unsupported("logcumsumexp_out_cpu", dtype));
        }),
        ScanOp::Max => dispatch_real!(dtype, T => run(axis, x, outs, Extreme::<T, true>::default()), {
            return Err(unsupported("cummax", dtype));
        }),
        ScanOp::Min => dispatch_real!(dtype, T => run(axis, x, outs, Extreme::<T, false>::default()), {
            return Err(unsupported("cummin", dtype));
        }),
    }
    Ok(())
}

fn unsupported(name: &str, dtype: DType) -> Error {
    Error::not_implemented(format!("\"{name}\" not implemented for '{}'", dtype.cpp_name()))
}

/// A stored type and the one its sums and products run in.
trait Running: Element {
    type Sum: Copy + Send + Sync;
    const ZERO: Self::Sum;
    const ONE: Self::Sum;
    fn plus(sum: Self::Sum, v: Self) -> Self::Sum;
    fn times(sum: Self::Sum, v: Self) -> Self::Sum;
    fn end(sum: Self::Sum) -> Self;
}

macro_rules! running {
    ($($t:ty, $sum:ty, $zero:expr, $one:expr, $load:expr, $store:expr);*) => {$(
        impl Running for $t {
            type Sum = $sum;
            const ZERO: $sum = $zero;
            const ONE: $sum = $one;
            #[inline(always)]
            fn plus(sum: $sum, v: $t) -> $sum {
                Arith::add(sum, $load(v))
            }
            #[inline(always)]
            fn times(sum: $sum, v: $t) -> $sum {
                Arith::mul(sum, $load(v))
            }
            #[inline(always)]
            fn end(sum: $sum) -> $t {
                $store(sum)
            }
        }
    )*};
}
running!(
    Bool, Bool, Bool(0), Bool(1), |v| v, |v| v;
    u8, u8, 0, 1, |v| v, |v| v;
    i8, i8, 0, 1, |v| v, |v| v;
    i16, i16, 0, 1, |v| v, |v| v;
    i32, i32, 0, 1, |v| v, |v| v;
    i64, i64, 0, 1, |v| v, |v| v;
    half::f16, f32, 0.0, 1.0, Element::load, Element::store;
    half::bf16, f32, 0.0, 1.0, Element::load, Element::store;
    f32, f64, 0.0, 1.0, |v| v as f64, |v| v as f32;
    f64, f64, 0.0, 1.0, |v| v, |v| v;
    Complex<f32>, Complex<f32>, Complex(0.0, 0.0), Complex(1.0, 0.0), |v| v, |v| v;
    Complex<f64>, Complex<f64>, Complex(0.0, 0.0), Complex(1.0, 0.0), |v| v, |v| v
);

/// What runs along a line.
trait Step {
    type Item: Copy + 'static;
    type State: Copy;
    /// Is there a second output, of positions?
    const POSITIONS: bool;
    fn start() -> Self::State;
    fn next(state: Self::State, v: Self::Item, at: usize) -> Self::State;
    fn value(state: Self::State) -> Self::Item;
    fn position(state: Self::State) -> i64;
}

/// Sums, and products where `SUM` is false.
#[derive(Clone, Copy, Default)]
struct Fold<T, const SUM: bool>(PhantomData<T>);

impl<T: Running, const SUM: bool> Step for Fold<T, SUM> {
    type Item = T;
    type State = T::Sum;
    const POSITIONS: bool = false;
    #[inline(always)]
    fn start() -> T::Sum {
        if SUM { T::ZERO } else { <T as Running>::ONE }
    }
    #[inline(always)]
    fn next(state: T::Sum, v: T, _: usize) -> T::Sum {
        if SUM { T::plus(state, v) } else { T::times(state, v) }
    }
    #[inline(always)]
    fn value(state: T::Sum) -> T {
        T::end(state)
    }
    fn position(_: T::Sum) -> i64 {
        0
    }
}

/// The largest (smallest) so far and where it was; of equal ones the last, from the first NaN on NaN.
#[derive(Clone, Copy, Default)]
struct Extreme<T, const LARGEST: bool>(PhantomData<T>);

impl<T: Element, const LARGEST: bool> Step for Extreme<T, LARGEST> {
    type Item = T;
    type State = (T, i64);
    const POSITIONS: bool = true;
    #[inline(always)]
    fn start() -> (T, i64) {
        (T::default(), -1)
    }
    #[inline(always)]
    fn next((best, from): (T, i64), v: T, at: usize) -> (T, i64) {
        let (a, b) = (best.load(), v.load());
        // the winner of the two by the type's own order, in which NaN wins
        let top = if LARGEST { Arith::max(b, a) } else { Arith::min(b, a) };
        let nan = b != b;
        let was_nan = a != a;
        if from < 0 || nan || (!was_nan && top == b) { (v, at as i64) } else { (best, from) }
    }
    #[inline(always)]
    fn value(state: (T, i64)) -> T {
        state.0
    }
    #[inline(always)]
    fn position(state: (T, i64)) -> i64 {
        state.1
    }
}

/// log(sum(exp(x))) as a maximum and the sum relative to it.
#[derive(Clone, Copy, Default)]
struct LogSumExp<T>(PhantomData<T>);

/// A floating type through double.
trait Double: Copy + 'static {
    fn wide(self) -> f64;
    fn narrow(v: f64) -> Self;
}
macro_rules! double {
    ($($t:ty, $wide:expr, $narrow:expr);*) => {$(
        impl Double for $t {
            #[inline(always)]
            fn wide(self) -> f64 {
                $wide(self)
            }
            #[inline(always)]
            fn narrow(v: f64) -> $t {
                $narrow(v)
            }
        }
    )*};
}
double!(
    half::f16, half::f16::to_f64, |v| half::f16::from_f32(v as f32);
    half::bf16, half::bf16::to_f64, |v| half::bf16::from_f32(v as f32);
    f32, |v| v as f64, |v| v as f32;
    f64, |v| v, |v| v
);

impl<T: Double + Send + Sync> Step for LogSumExp<T> {
    type Item = T;
    type State = f64;
    const POSITIONS: bool = false;
    fn start() -> f64 {
        f64::NEG_INFINITY
    }
    #[inline(always)]
    fn next(state: f64, v: T, _: usize) -> f64 {
        let v = v.wide();
        if state.is_nan() || v.is_nan() {
            return f64::NAN;
        }
        let (low, high) = if state < v { (state, v) } else { (v, state) };
        // equal infinities stay: their difference is no number
        if low == high && !low.is_finite() { low } else { high + (low - high).exp().ln_1p() }
    }
    #[inline(always)]
    fn value(state: f64) -> T {
        T::narrow(state)
    }
    fn position(_: f64) -> i64 {
        0
    }
}

/// The lines of the operand and the results: addresses, strides along the axis, and of the lines' starts.
struct Lines {
    bases: [Base; 3],
    axis: [isize; 3],
    len: usize,
}

fn run<S: Step>(axis: usize, x: Arg, outs: &[Arg], _: S) {
    let size = size_of::<S::Item>();
    let (sx, sv) = (byte_strides(x.layout, size), byte_strides(outs[0].layout, size));
    let sp = if S::POSITIONS { byte_strides(outs[1].layout, 8) } else { sv.clone() };
    let all: [&[isize]; 3] = [&sx, &sv, &sp];
    let walk = Walk::of_dims(&x.layout.shape, all, |d| d != axis).sorted_by(1);
    let positions = if S::POSITIONS { &outs[1] } else { &outs[0] };
    let lines = Lines {
        bases: [Base::of(&x), Base::of(&outs[0]), Base::of(positions)],
        axis: std::array::from_fn(|k| all[k].get(axis).copied().unwrap_or(0)),
        len: x.layout.shape.get(axis).copied().unwrap_or(1),
    };
    let (_, step) = walk.inner();
    parallel_for(walk.len(), (GRAIN / lines.len).max(LANES), &|range| {
        walk.runs(range, |mut at, mut count| {
            while count >= LANES {
                block::<S>(&lines, at, step, LANES);
                at = std::array::from_fn(|k| at[k] + step[k] * LANES as isize);
                count -= LANES;
            }
            if count > 0 {
                block::<S>(&lines, at, step, count);
            }
        });
    });
}

versions!(
    /// Runs `count` lines side by side, at most LANES.
    fn block[S: Step](lines: &Lines, at: [isize; 3], step: [isize; 3], count: usize) = block_body::<S>
);

#[inline(always)]
fn block_body<S: Step>(lines: &Lines, at: [isize; 3], step: [isize; 3], count: usize) {
    let size = size_of::<S::Item>() as isize;
    if count == LANES && step[0] == size && step[1] == size {
        lanes::<S>(lines, at, step[2]);
    } else {
        let mut lane = 0;
        let line = |lane: usize| std::array::from_fn(|k| at[k] + lane as isize * step[k]);
        while lane + CHAINS <= count {
            chains::<S, CHAINS>(lines, std::array::from_fn(|c| line(lane + c)));
            lane += CHAINS;
        }
        while lane < count {
            chains::<S, 1>(lines, [line(lane)]);
            lane += 1;
        }
    }
}

/// LANES lines, side by side in memory.
#[inline(always)]
fn lanes<S: Step>(lines: &Lines, at: [isize; 3], step: isize) {
    let mut states = [S::start(); LANES];
    for i in 0..lines.len {
        let [x, v, p]: [isize; 3] = std::array::from_fn(|k| at[k] + i as isize * lines.axis[k]);
        // SAFETY: elements of the lines in each window.
        unsafe {
            let from = lines.bases[0].at::<[S::Item; LANES]>(x).read_unaligned();
            for lane in 0..LANES {
                states[lane] = S::next(states[lane], from[lane], i);
            }
            let to: [S::Item; LANES] = std::array::from_fn(|lane| S::value(states[lane]));
            lines.bases[1].at::<[S::Item; LANES]>(v).write_unaligned(to);
            if S::POSITIONS {
                for lane in 0..LANES {
                    *lines.bases[2].at::<i64>(p + lane as isize * step) = S::position(states[lane]);
                }
            }
        }
    }
}

/// N lines anywhere.
#[inline(always)]
fn chains<S: Step, const N: usize>(lines: &Lines, at: [[isize; 3]; N]) {
    let mut states = [S::start(); N];
    for i in 0..lines.len {
        let by: [isize; 3] = std::array::from_fn(|k| i as isize * lines.axis[k]);
        for c in 0..N {
            // SAFETY: elements of the lines in each window.
            unsafe {
                let v = lines.bases[0].at::<S::Item>(at[c][0] + by[0]).read_unaligned();
                states[c] = S::next(states[c], v, i);
                lines.bases[1].at::<S::Item>(at[c][1] + by[1]).write_unaligned(S::value(states[c]));
                if S::POSITIONS {
                    *lines.bases[2].at::<i64>(at[c][2] + by[2]) = S::position(states[c]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rng, T, call, layouts};

    fn check(op: ScanOp, dtype: DType, shape: [usize; 2], axis: usize, l: usize) {
        let mut rng = Rng(7);
        let n = shape[0] * shape[1];
        let mut values = rng.numbers(n, if op == ScanOp::Prod { 1 } else { 6 });
        if dtype == DType::U8 || dtype == DType::Bool {
            values.iter_mut().for_each(|v| *v = v.abs());
        }
        if dtype.is_float() && n > 40 && op != ScanOp::Prod {
            values[20] = f64::NAN;
        }
        let layout = layouts(&shape)[l].clone();
        let x = T::with(dtype, layout, &values);
        let out = T::full(dtype, &shape, 0.0);
        let at = T::full(DType::I64, &shape, -9.0);
        call(|i, o| scan(op, axis, i, o), &[&x], &[&out, &at]).unwrap();
        let (xv, ov, av) = (x.get(), out.get(), at.get());
        let place = |line: usize, i: usize| if axis == 1 { line * shape[1] + i } else { i * shape[1] + line };
        for line in 0..n / shape[axis] {
            let (mut want, mut from) = (0.0, 0.0);
            for i in 0..shape[axis] {
                let v = xv[place(line, i)];
                let better = match op {
                    ScanOp::Max => v.is_nan() || v >= want,
                    _ => v.is_nan() || v <= want,
                };
                (want, from) = match op {
                    _ if i == 0 => (v, 0.0),
                    ScanOp::Sum => (want + v, 0.0),
                    ScanOp::Prod => (want * v, 0.0),
                    ScanOp::LogSumExp => ((want.exp() + v.exp()).ln(), 0.0),
                    ScanOp::Max | ScanOp::Min if better => (v, i as f64),
                    ScanOp::Max | ScanOp::Min => (want, from),
                };
                want = match dtype {
                    DType::Bool => (want != 0.0) as u8 as f64,
                    DType::I8 => want as i64 as i8 as f64,
                    DType::U8 => want as i64 as u8 as f64,
                    _ => want,
                };
                let got = ov[place(line, i)];
                let near = match dtype {
                    DType::F16 => 1e-3,
                    DType::BF16 => 1e-2,
                    _ => 1e-6,
                } * want.abs();
                let same = got == want || (got - want).abs() <= near || got.is_nan() && want.is_nan();
                assert!(same, "{op:?} {dtype:?} {shape:?} {axis} {l} {i}: {got} {want}");
                if matches!(op, ScanOp::Max | ScanOp::Min) {
                    assert_eq!(av[place(line, i)], from);
                }
            }
        }
    }

    #[test]
    fn scans_match_the_definition() {
        for op in [ScanOp::Sum, ScanOp::Prod, ScanOp::Max, ScanOp::Min, ScanOp::LogSumExp] {
            for dtype in DType::ALL.into_iter().filter(|d| !d.is_storage()) {
                if dtype.is_complex() && !matches!(op, ScanOp::Sum) || op == ScanOp::LogSumExp && !dtype.is_float() {
                    continue;
                }
                for shape in [[50, 37], [1, 300], [300, 1], [33, 16]] {
                    for l in 0..3 {
                        check(op, dtype, shape, 0, l);
                        check(op, dtype, shape, 1, l);
                    }
                }
            }
        }
        let scalar = T::full(DType::F32, &[], 2.0);
        let out = T::full(DType::F32, &[], 0.0);
        call(|i, o| scan(ScanOp::Sum, 0, i, o), &[&scalar], &[&out]).unwrap();
        assert_eq!(out.get(), [2.0]);
    }

    #[test]
    fn infinities_and_dtypes() {
        let inf = f64::INFINITY;
        let x = T::new(DType::F32, &[4], &[-inf, -inf, inf, 1.0]);
        let out = T::full(DType::F32, &[4], 0.0);
        call(|i, o| scan(ScanOp::LogSumExp, 0, i, o), &[&x], &[&out]).unwrap();
        assert_eq!(out.get(), [-inf, -inf, inf, inf]);
        let ints = T::ints(&[1], &[1]);
        assert!(call(|i, o| scan(ScanOp::LogSumExp, 0, i, o), &[&ints], &[&ints]).is_err());
    }
}
