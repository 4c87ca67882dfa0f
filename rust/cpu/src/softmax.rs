//! `softmax`, its logarithm, and the gradient of both, along one axis. One line at a time: maximum, exponentials and
//! their sum, scaling; nothing but the result is stored. What cross entropy needs of the logarithm, one element of each
//! line, is computed without the others. Attention has a softmax of its own.

use rtorch_ir::{DType, Error, Layout, Program, Result};
use smallvec::SmallVec;

use crate::lines::{BLOCK, Block, Float, Lines, compute_dtype, dispatch_compute, max_of, put, sum_of, sum_of_two};
use crate::simd::lane::Isa;
use crate::versions::versions;
use crate::walk::Base;
use crate::{Arg, Source, map};

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
    dispatch_compute!(dtype, T => lines.run(&|block: &Block| {
        if block.len <= SHORT {
            let mut room = vec![T::ZERO; block.count * block.len];
            let scales = short_lines::<T>(block, &mut room);
            for (i, e) in room.chunks_exact(block.len).enumerate() {
                let (x, y) = (block.input::<T>(0, i), block.output::<T>(0, i));
                if log { logarithms(x, scales[i], y) } else { scaled(e, y) }
            }
            return;
        }
        for i in 0..block.count {
            let (x, y) = (block.input::<T>(0, i), block.output::<T>(0, i));
            if log { log_line(x, y) } else { line(x, y) }
        }
    }))
}

/// Lines up to this are taken together: of one alone, most exponentials could be in the rest of the vectors' loop.
const SHORT: usize = 512;

/// The scale of each of a block's lines; `room` gets the exponentials of their differences to the maximum.
fn short_lines<T: Float>(block: &Block, room: &mut [T]) -> SmallVec<[Scale<T>; 64]> {
    let maxima: SmallVec<[T; 64]> = room
        .chunks_exact_mut(block.len)
        .enumerate()
        .map(|(i, room)| differences(block.input::<T>(0, i), room))
        .collect();
    exponentials(room);
    maxima.iter().zip(room.chunks_exact(block.len)).map(|(&max, e)| Scale { max, log_sum: log_sum(e) }).collect()
}

versions! {
    /// The differences to the maximum, which is answered.
    fn differences[T: Float](x: &[T], to: &mut [T]) -> T = differences_body::<T>
}
versions!(fn log_sum[T: Float](e: &[T]) -> T = log_sum_body::<T>);
versions!(fn logarithms[T: Float](x: &[T], s: Scale<T>, y: &mut [T]) = logarithms_body::<T>);
versions! {
    /// Exponentials divided by their sum.
    fn scaled[T: Float](e: &[T], y: &mut [T]) = scaled_body::<T>
}

#[inline(always)]
fn differences_body<T: Float>(x: &[T], to: &mut [T]) -> T {
    let max = max_of(x);
    for (to, &x) in to.iter_mut().zip(x) {
        *to = x - max;
    }
    max
}

#[inline(always)]
fn log_sum_body<T: Float>(e: &[T]) -> T {
    T::of(sum_of(e, |v| v).ln())
}

#[inline(always)]
fn logarithms_body<T: Float>(x: &[T], s: Scale<T>, y: &mut [T]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = s.log_softmax(x);
    }
}

versions!(fn exponentials[T: Float](x: &mut [T]) = exponentials_body::<I, T>);

#[inline(always)]
fn exponentials_body<I: Isa, T: Float>(x: &mut [T]) {
    for x in x {
        *x = x.exp::<I>();
    }
}

#[inline(always)]
fn scaled_body<T: Float>(e: &[T], y: &mut [T]) {
    let scale = T::of(1.0 / sum_of(e, |v| v));
    for (y, &e) in y.iter_mut().zip(e) {
        *y = e * scale;
    }
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
    logarithms_body(x, Scale { max, log_sum: log_sum_body(y) }, y);
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

/// One line's logarithm of the sum of exponentials, in the two parts that keep it exact.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Scale<T> {
    max: T,
    log_sum: T,
}

impl<T: Float> Scale<T> {
    /// An element of the line, as `log_line` has it.
    #[inline(always)]
    fn log_softmax(self, x: T) -> T {
        (x - self.max) - self.log_sum
    }
}

versions!(fn scale[T: Float](x: &[T], room: &mut [T]) -> Scale<T> = scale_body::<I, T>);

/// `room` is for a block of exponentials: they are added up in the order in which `log_line` does it.
#[inline(always)]
fn scale_body<I: Isa, T: Float>(x: &[T], room: &mut [T]) -> Scale<T> {
    let max = max_of(x);
    let mut sum = 0.0;
    for part in x.chunks(BLOCK) {
        let room = &mut room[..part.len()];
        for (e, &x) in room.iter_mut().zip(part) {
            *e = (x - max).exp::<I>();
        }
        sum += sum_of(room, |v| v);
    }
    Scale { max, log_sum: T::of(sum.ln()) }
}

/// x -> for each line along the axis its log softmax at one index (row-major like the lines), its maximum, and the
/// logarithm of the sum of its exponentials (both in what x computes in). Indices are within the lines.
pub fn log_softmax_at(axis: usize, x: &Source, index: Arg, outs: [Arg; 3]) -> Result<()> {
    let compute = compute_dtype(x.dtype());
    let lines = Lines::new(std::slice::from_ref(x), &[], x.shape, compute, &|d| d == axis)?;
    let index = values::<i64>(index, DType::I64)?;
    dispatch_compute!(compute, T => {
        let mut scales = vec![Scale::<T>::default(); lines.count];
        let mut picked = vec![T::ZERO; lines.count];
        let (to, at) = (Base::new(scales.as_mut_ptr().cast()), Base::new(picked.as_mut_ptr().cast()));
        lines.run(&|block: &Block| {
            let short = block.len <= SHORT;
            let mut room = vec![T::ZERO; if short { block.count * block.len } else { block.len.min(BLOCK) }];
            let together = if short { short_lines::<T>(block, &mut room) } else { SmallVec::new() };
            for i in 0..block.count {
                let (x, l) = (block.input::<T>(0, i), block.first + i);
                let s = together.get(i).copied().unwrap_or_else(|| scale(x, &mut room));
                // SAFETY: each line has its places.
                unsafe {
                    *to.at::<Scale<T>>(0).add(l) = s;
                    *at.at::<T>(0).add(l) = s.log_softmax(x[index[l] as usize]);
                }
            }
        })?;
        put(&picked, outs[0])?;
        put(&scales.iter().map(|s| s.max).collect::<Vec<T>>(), outs[1])?;
        put(&scales.iter().map(|s| s.log_sum).collect::<Vec<T>>(), outs[2])
    })
}

/// The gradient of `log_softmax_at`: (g, x, index, maxima, logarithms) -> of x.
pub fn log_softmax_at_grad(axis: usize, g: Arg, x: &Source, index: Arg, scales: [Arg; 2], out: Arg) -> Result<()> {
    let compute = compute_dtype(x.dtype());
    let lines = Lines::new(std::slice::from_ref(x), &[out], x.shape, compute, &|d| d == axis)?;
    let index = values::<i64>(index, DType::I64)?;
    dispatch_compute!(compute, T => {
        let (g, max, log_sum) = (
            values::<T>(g, T::DTYPE)?,
            values::<T>(scales[0], T::DTYPE)?,
            values::<T>(scales[1], T::DTYPE)?,
        );
        lines.run(&|block: &Block| {
            let scale_of = |l: usize| Scale { max: max[l], log_sum: log_sum[l] };
            let line = |i: usize| (block.input::<T>(0, i), block.output::<T>(0, i), block.first + i);
            let mut room = vec![T::ZERO; if block.len <= SHORT { block.count * block.len } else { 0 }];
            for (i, room) in room.chunks_exact_mut(block.len).enumerate() {
                let (x, _, l) = line(i);
                logarithms(x, scale_of(l), room);
            }
            exponentials(&mut room);
            for i in 0..block.count {
                let (x, y, l) = line(i);
                match room.get(i * block.len..(i + 1) * block.len) {
                    Some(e) => times(e, g[l], y),
                    None => at_grad(x, y, scale_of(l), g[l]),
                }
                y[index[l] as usize] += g[l];
            }
        })
    })
}

versions!(fn at_grad[T: Float](x: &[T], y: &mut [T], s: Scale<T>, g: T) = at_grad_body::<I, T>);
versions!(fn times[T: Float](e: &[T], g: T, y: &mut [T]) = times_body::<T>);

#[inline(always)]
fn at_grad_body<I: Isa, T: Float>(x: &[T], y: &mut [T], s: Scale<T>, g: T) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = T::ZERO - s.log_softmax(x).exp::<I>() * g;
    }
}

#[inline(always)]
fn times_body<T: Float>(e: &[T], g: T, y: &mut [T]) {
    for (y, &e) in y.iter_mut().zip(e) {
        *y = T::ZERO - e * g;
    }
}

/// The elements of a small operand in row-major order.
fn values<T: Clone + Default>(from: Arg, dtype: DType) -> Result<Vec<T>> {
    let layout = Layout::contiguous(&from.layout.shape);
    let mut out = vec![T::default(); layout.numel()];
    let to = Arg { ptr: out.as_mut_ptr().cast(), dtype, layout: &layout };
    map(&Program::copy(from.dtype, dtype), &layout.shape, &[from], &[to])?;
    Ok(out)
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
    fn one_element_of_each_line_is_that_of_the_whole() {
        let mut rng = Rng(2);
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            for shape in [vec![7, 33], vec![3, 5, 4], vec![2, 5000], vec![3, 600, 2], vec![40, 1]] {
                let n: usize = shape.iter().product();
                for (axis, layout) in (0..shape.len()).flat_map(|a| layouts(&shape).into_iter().map(move |l| (a, l))) {
                    let values: Vec<f64> = rng.reals(n).iter().map(|v| v * 20.0).collect();
                    let x = T::with(dtype, layout.clone(), &values);
                    let (lines, rest) = (places(&shape, axis), [&shape[..axis], &shape[axis + 1..]].concat());
                    let index: Vec<i64> = (0..lines.len()).map(|l| (l * 7 % shape[axis]) as i64).collect();
                    let g = T::new(dtype, &rest, &rng.reals(lines.len()));
                    let compute = compute_dtype(dtype);
                    let at = T::ints(&rest, &index);
                    let (y, max) = (T::full(dtype, &rest, 9.0), T::full(compute, &rest, 9.0));
                    let (log_sum, gx) = (T::full(compute, &rest, 9.0), T::with(dtype, layout.clone(), &vec![9.0; n]));
                    let program = Program::copy(dtype, dtype);
                    let source = Source { program: &program, leaves: &[x.arg()], shape: &shape };
                    log_softmax_at(axis, &source, at.arg(), [y.arg(), max.arg(), log_sum.arg()]).unwrap();
                    let scales = [max.arg(), log_sum.arg()];
                    log_softmax_at_grad(axis, g.arg(), &source, at.arg(), scales, gx.arg()).unwrap();
                    let (whole, gwhole) = (T::full(dtype, &shape, 0.0), T::full(dtype, &shape, 0.0));
                    call(|i, o| softmax(axis, true, i, o), &[&x], &[&whole]).unwrap();
                    let mut scattered = vec![0.0; n];
                    let (slopes, one, all) = (g.get(), y.get(), whole.get());
                    for (l, line) in lines.iter().enumerate() {
                        scattered[line[index[l] as usize]] = slopes[l];
                        assert_eq!(one[l], all[line[index[l] as usize]], "{dtype:?} {shape:?} {axis}");
                    }
                    let scattered = T::new(dtype, &shape, &scattered);
                    call(|i, o| softmax_grad(axis, true, i, o), &[&scattered, &whole], &[&gwhole]).unwrap();
                    let (a, b) = (gx.get(), gwhole.get());
                    // the whole's logarithms are rounded to the dtype before they are exponentiated
                    let ok = |a: f64, b: f64| near(a, b, dtype) || dtype.size() == 2 && (a - b).abs() < 0.08;
                    assert!(a.iter().zip(&b).all(|(&a, &b)| ok(a, b)), "gradient {dtype:?} {shape:?} {axis}");
                }
            }
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
