//! `softmax`, its logarithm, and the gradient of both, along one axis. One line at a time: maximum, exponentials and
//! their sum, scaling; nothing but the result is stored. Attention has a softmax of its own.

use rtorch_ir::{Error, Result};

use crate::lines::{Float, Lines, compute_dtype, dispatch_compute, max_of, sum_of, sum_of_two};
use crate::simd::lane::Isa;
use crate::versions::versions;
use crate::{Arg, Source};

/// `Prim::Softmax`: x -> softmax (or its logarithm) along an axis.
pub fn softmax(axis: usize, log: bool, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let dtype = inputs[0].dtype();
    if !dtype.is_float() {
        let name = if log { "log_softmax_lastdim_kernel_impl" } else { "softmax_lastdim_kernel_impl" };
        return Err(Error::not_implemented(format!("\"{name}\" not implemented for '{}'", dtype.cpp_name())));
    }
    if outs[0].layout.numel() == 0 {
        return Ok(());
    }
    let lines = Lines::new(&inputs[..1], &outs[..1], inputs[0].shape, compute_dtype(dtype), &|d| d == axis)?;
    dispatch_compute!(dtype, T => lines.run(&|block| {
        for i in 0..block.count {
            let (x, y) = (block.input::<T>(0, i), block.output::<T>(0, i));
            if log { log_line(x, y) } else { line(x, y) }
        }
    }))
}

versions!(fn line[T: Float](x: &[T], y: &mut [T]) = line_body::<I, T>);
versions!(fn log_line[T: Float](x: &[T], y: &mut [T]) = log_line_body::<I, T>);

#[inline(always)]
fn line_body<I: Isa, T: Float>(x: &[T], y: &mut [T]) {
    let y = &mut y[..x.len()];
    let max = max_of(x);
    for (y, &x) in y.iter_mut().zip(x) {
        *y = (x - max).exp::<I>();
    }
    let sum = sum_of(y, |v| v);
    let scale = T::of(1.0 / sum);
    for y in y {
        *y = *y * scale;
    }
}

#[inline(always)]
fn log_line_body<I: Isa, T: Float>(x: &[T], y: &mut [T]) {
    let max = max_of(x);
    for (y, &x) in y.iter_mut().zip(x) {
        *y = (x - max).exp::<I>();
    }
    let log_sum = T::of(sum_of(y, |v| v).ln());
    for (y, &x) in y.iter_mut().zip(x) {
        *y = (x - max) - log_sum;
    }
}

/// `Prim::SoftmaxGrad`: (g, y) -> gradient of x.
pub fn softmax_grad(axis: usize, log: bool, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    if outs[0].layout.numel() == 0 {
        return Ok(());
    }
    let dtype = outs[0].dtype;
    let lines = Lines::new(&inputs[..2], &outs[..1], inputs[0].shape, compute_dtype(dtype), &|d| d == axis)?;
    dispatch_compute!(dtype, T => lines.run(&|block| {
        for i in 0..block.count {
            let (g, y) = (block.input::<T>(0, i), block.input::<T>(1, i));
            let out = block.output::<T>(0, i);
            if log { log_grad(g, y, out) } else { grad(g, y, out) }
        }
    }))
}

versions!(fn grad[T: Float](g: &[T], y: &[T], out: &mut [T]) = grad_body::<T>);
versions!(fn log_grad[T: Float](g: &[T], y: &[T], out: &mut [T]) = log_grad_body::<I, T>);

#[inline(always)]
fn grad_body<T: Float>(g: &[T], y: &[T], out: &mut [T]) {
    let dot = T::of(sum_of_two(g, y, |g, y| g * y));
    for ((out, &g), &y) in out.iter_mut().zip(g).zip(y) {
        *out = y * (g - dot);
    }
}

#[inline(always)]
fn log_grad_body<I: Isa, T: Float>(g: &[T], y: &[T], out: &mut [T]) {
    let sum = T::of(sum_of(g, |v| v));
    for ((out, &g), &y) in out.iter_mut().zip(g).zip(y) {
        *out = g - y.exp::<I>() * sum;
    }
}

#[cfg(test)]
mod tests {
    use rtorch_ir::DType;

    use super::*;
    use crate::testing::{Rng, T, call, layouts};

    /// (place of element `i` of line `l`, lines) of a shape along an axis.
    fn places(shape: &[usize], axis: usize) -> Vec<Vec<usize>> {
        let inner: usize = shape[axis + 1..].iter().product();
        let n: usize = shape.iter().product();
        let lines = n / shape[axis].max(1);
        (0..lines)
            .map(|l| (0..shape[axis]).map(|i| (l / inner * shape[axis] + i) * inner + l % inner).collect())
            .collect()
    }

    fn near(a: f64, b: f64, dtype: DType) -> bool {
        let rel = match dtype {
            DType::F64 => 1e-13,
            DType::F16 => 2e-3,
            DType::BF16 => 1e-2,
            _ => 2e-6,
        };
        a == b || (a - b).abs() <= rel * (1.0 + b.abs()) || a.is_nan() && b.is_nan()
    }

    #[test]
    fn softmax_matches_the_definition() {
        let mut rng = Rng(1);
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            for shape in [vec![7, 33], vec![3, 5, 4], vec![2, 5000], vec![40, 1], vec![1, 3, 70]] {
                for (axis, log, layout) in (0..shape.len())
                    .flat_map(|a| [(a, true), (a, false)])
                    .flat_map(|(a, log)| layouts(&shape).into_iter().map(move |l| (a, log, l)))
                {
                    let n: usize = shape.iter().product();
                    let values: Vec<f64> = rng.reals(n).iter().map(|v| v * 20.0).collect();
                    let x = T::with(dtype, layout.clone(), &values);
                    let y = T::with(dtype, layout.clone(), &vec![0.0; n]);
                    call(|i, o| softmax(axis, log, i, o), &[&x], &[&y]).unwrap();
                    let g = T::with(dtype, layout, &rng.reals(n));
                    let gx = T::full(dtype, &shape, 0.0);
                    call(|i, o| softmax_grad(axis, log, i, o), &[&g, &y], &[&gx]).unwrap();
                    let (xv, yv, gv, gxv) = (x.get(), y.get(), g.get(), gx.get());
                    for line in places(&shape, axis) {
                        let max = line.iter().map(|&p| xv[p]).fold(f64::MIN, f64::max);
                        let sum: f64 = line.iter().map(|&p| (xv[p] - max).exp()).sum();
                        let dot: f64 = line.iter().map(|&p| gv[p] * if log { 1.0 } else { yv[p] }).sum();
                        for &p in &line {
                            let want = if log { xv[p] - max - sum.ln() } else { (xv[p] - max).exp() / sum };
                            assert!(near(yv[p], want, dtype), "{dtype:?} {shape:?} {axis} {log}: {} {want}", yv[p]);
                            let want = if log { gv[p] - yv[p].exp() * dot } else { yv[p] * (gv[p] - dot) };
                            assert!(near(gxv[p], want, dtype), "gradient {dtype:?} {shape:?}: {} {want}", gxv[p]);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn prologues_are_evaluated_on_the_way() {
        use rtorch_ir::program::{Ex, build, ex};
        let mut rng = Rng(9);
        let x = T::new(DType::F16, &[5, 6, 700], &rng.reals(21000));
        let column = T::new(DType::F16, &[6, 1], &rng.reals(6));
        let (mut program, out) = build(rtorch_ir::Program::new(), || {
            let (a, b) = (Ex::leaf(DType::F16).cast(DType::F32), Ex::leaf(DType::F16).cast(DType::F32));
            ex::tanh(a * b)
        });
        program.outputs.push(out.0);
        let shape = [5, 6, 700];
        let wide = column.layout.broadcast_to(&shape).unwrap();
        let leaves = [x.arg(), Arg { layout: &wide, ..column.arg() }];
        let source = Source { program: &program, leaves: &leaves, shape: &shape };
        let (xv, cv) = (x.get(), column.get());
        let computed: Vec<f64> = (0..21000).map(|i| (xv[i] * cv[i / 700 % 6]).tanh()).collect();
        for axis in 0..3 {
            let (got, want) = (T::full(DType::F32, &shape, 0.0), T::full(DType::F32, &shape, 0.0));
            softmax(axis, false, &[source], &[got.arg()]).unwrap();
            let plain = T::new(DType::F32, &shape, &computed);
            call(|i, o| softmax(axis, false, i, o), &[&plain], &[&want]).unwrap();
            assert!(got.get().iter().zip(want.get()).all(|(&a, b)| near(a, b, DType::F32)));
        }
    }

    #[test]
    fn special_values() {
        let inf = f64::INFINITY;
        let x = T::new(DType::F32, &[4, 2], &[-inf, 0.0, -inf, -inf, f64::NAN, 1.0, 200.0, -200.0]);
        let y = T::full(DType::F32, &[4, 2], 9.0);
        call(|i, o| softmax(1, false, i, o), &[&x], &[&y]).unwrap();
        let v = y.get();
        assert_eq!((v[0], v[1], v[6], v[7]), (0.0, 1.0, 1.0, 0.0));
        assert!(v[2..6].iter().all(|v| v.is_nan()));
        let ints = T::ints(&[2], &[1, 2]);
        assert!(call(|i, o| softmax(0, false, i, o), &[&ints], &[&ints]).is_err());
        let scalar = T::full(DType::F32, &[], 3.0);
        call(|i, o| softmax(0, false, i, o), &[&scalar], &[&scalar]).unwrap();
        assert_eq!(scalar.get(), [1.0]);
    }
}
