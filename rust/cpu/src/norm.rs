//! Layer normalization (and RMS), batch normalization over a batch, and their gradients. Lines are normalised one at a
//! time from a thread's cache; sums over lines are taken in fixed parts, whatever the number of threads. Normalising
//! with running statistics is a program, group and instance norm are compositions.

use rtorch_ir::Result;

use crate::lines::{Block, Float, Lines, compute_dtype, dispatch_compute, put, sum_of, sum_of_two, vector};
use crate::simd::lane::Isa;
use crate::threads::parallel_for;
use crate::versions::versions;
use crate::walk::Base;
use crate::{Arg, Source};

/// Parts in which gradients of weight and bias are summed: enough to occupy threads, few enough to stay in cache.
const PARTS: usize = 16;
/// Lines in a part, at least.
const PART_LINES: usize = 8;

/// `Prim::LayerNorm`: (x, weight, bias as present) -> y, mean, rstd over the last `dims` dimensions.
pub fn layer_norm(dims: usize, eps: f64, has: (bool, bool), rms: bool, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let lead = outs[0].layout.ndim() - dims;
    let lines = Lines::new(&inputs[..1], &outs[..1], inputs[0].shape, compute_dtype(outs[0].dtype), &|d| d >= lead)?;
    dispatch_compute!(outs[0].dtype, T => {
        let weight = if has.0 { vector::<T>(&inputs[1])? } else { Vec::new() };
        let bias = if has.1 { vector::<T>(&inputs[1 + has.0 as usize])? } else { Vec::new() };
        let (mut mean, mut rstd) = (vec![T::ZERO; lines.count], vec![T::ZERO; lines.count]);
        let (means, rstds) = (Base::new(mean.as_mut_ptr().cast()), Base::new(rstd.as_mut_ptr().cast()));
        lines.run(&|block: &Block| {
            for i in 0..block.count {
                let stats = forward(block.input(0, i), block.output(0, i), &weight, &bias, eps, rms);
                let at = ((block.first + i) * size_of::<T>()) as isize;
                // SAFETY: each line has its place.
                unsafe {
                    *means.at::<T>(at) = stats.0;
                    *rstds.at::<T>(at) = stats.1;
                }
            }
        })?;
        put(&mean, outs[1])?;
        put(&rstd, outs[2])
    })
}

versions!(
    fn forward[T: Float](x: &[T], y: &mut [T], weight: &[T], bias: &[T], eps: f64, rms: bool) -> (T, T) =
        forward_body::<I, T>
);

#[inline(always)]
fn forward_body<I: Isa, T: Float>(x: &[T], y: &mut [T], weight: &[T], bias: &[T], eps: f64, rms: bool) -> (T, T) {
    let n = x.len();
    let count = n as f64;
    let mean = if rms { T::ZERO } else { T::of(sum_of(x, |v| v) / count) };
    let square = sum_of(x, |v| (v - mean) * (v - mean)) / count;
    let rstd = T::of(1.0 / (square + eps).sqrt());
    if !weight.is_empty() && !bias.is_empty() {
        for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
            *y = ((x - mean) * rstd).fma::<I>(w, b);
        }
    } else {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = (x - mean) * rstd;
        }
        y.iter_mut().zip(weight).for_each(|(y, &w)| *y = *y * w);
        y.iter_mut().zip(bias).for_each(|(y, &b)| *y += b);
    }
    (mean, rstd)
}

/// `Prim::LayerNormGrad`: (g, x, mean, rstd, weight if present) -> gradients of x, weight, bias.
pub fn layer_norm_grad(dims: usize, has_weight: bool, rms: bool, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let lead = outs[0].layout.ndim() - dims;
    let lines = Lines::new(&inputs[..2], &outs[..1], inputs[1].shape, compute_dtype(outs[0].dtype), &|d| d >= lead)?;
    dispatch_compute!(outs[0].dtype, T => {
        let (mean, rstd) = (vector::<T>(&inputs[2])?, vector::<T>(&inputs[3])?);
        let weight = if has_weight { vector::<T>(&inputs[4])? } else { Vec::new() };
        let n = lines.len;
        let per_part = lines.count.div_ceil(PARTS).max(PART_LINES);
        let parts = lines.count.div_ceil(per_part);
        // per part: sums of g * xhat, then of g
        let mut sums = vec![T::ZERO; (2 * n * parts).max(2 * n)];
        let base = Base::new(sums.as_mut_ptr().cast());
        let failed = parking_lot::Mutex::new(None);
        parallel_for(parts, 1, &|range| {
            for part in range {
                // SAFETY: each part has its sums.
                let own = unsafe { std::slice::from_raw_parts_mut(base.at::<T>(0).add(2 * n * part), 2 * n) };
                let own = std::cell::RefCell::new(own);
                let end = ((part + 1) * per_part).min(lines.count);
                let done = lines.run_lines(part * per_part, end, &|block: &Block| {
                    let mut own = own.borrow_mut();
                    for i in 0..block.count {
                        let at = block.first + i;
                        let line = Line { g: block.input(0, i), x: block.input(1, i), mean: mean[at], rstd: rstd[at] };
                        backward(&line, &weight, block.output(0, i), &mut own, rms);
                    }
                });
                if let Err(e) = done {
                    *failed.lock() = Some(e);
                }
            }
        });
        if let Some(e) = failed.into_inner() {
            return Err(e);
        }
        let (total, rest) = sums.split_at_mut(2 * n);
        for part in rest.chunks_exact((2 * n).max(1)) {
            total.iter_mut().zip(part).for_each(|(t, &p)| *t += p);
        }
        put(&total[..n], outs[1])?;
        put(&total[n..], outs[2])
    })
}

/// What the gradient of one line needs.
struct Line<'a, T> {
    g: &'a [T],
    x: &'a [T],
    mean: T,
    rstd: T,
}

versions!(
    fn backward[T: Float](line: &Line<T>, weight: &[T], gx: &mut [T], sums: &mut [T], rms: bool) =
        backward_body::<I, T>
);

/// With xhat = (x - mean) rstd and h = g weight: gx = rstd (h - mean(h) - xhat mean(h xhat)).
#[inline(always)]
fn backward_body<I: Isa, T: Float>(line: &Line<T>, weight: &[T], gx: &mut [T], sums: &mut [T], rms: bool) {
    let n = gx.len();
    let (g, x) = (line.g, line.x);
    let (mean, rstd) = (line.mean, line.rstd);
    let (gw, gb) = sums.split_at_mut(n);
    // h in the place of the result
    if weight.is_empty() {
        gx.copy_from_slice(g);
    } else {
        gx.iter_mut().zip(g).zip(weight).for_each(|((h, &g), &w)| *h = g * w);
    }
    // xhat as PyTorch forms it here: one rounding, and the mean's own
    let shift = T::ZERO - mean * rstd;
    for (((gw, gb), &g), &x) in gw.iter_mut().zip(gb).zip(g).zip(x) {
        *gw = g.fma::<I>(x.fma::<I>(rstd, shift), *gw);
        *gb += g;
    }
    let count = n as f64;
    let slope = T::of(sum_of_two(gx, x, |h, x| h * ((x - mean) * rstd)) / count);
    let level = if rms { T::ZERO } else { T::of(sum_of(gx, |h| h) / count) };
    for (h, &x) in gx.iter_mut().zip(x) {
        *h = rstd * (*h - level - (x - mean) * rstd * slope);
    }
}

/// `Prim::BatchNorm`: (x [n, c, ...], weight, bias as present) -> y, mean, biased variance over all but dim 1.
pub fn batch_norm(eps: f64, has: (bool, bool), inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let lines = Lines::new(&inputs[..1], &outs[..1], inputs[0].shape, compute_dtype(outs[0].dtype), &|d| d != 1)?;
    dispatch_compute!(outs[0].dtype, T => {
        let weight = if has.0 { vector::<T>(&inputs[1])? } else { Vec::new() };
        let bias = if has.1 { vector::<T>(&inputs[1 + has.0 as usize])? } else { Vec::new() };
        let (mut mean, mut var) = (vec![T::ZERO; lines.count], vec![T::ZERO; lines.count]);
        let (means, vars) = (Base::new(mean.as_mut_ptr().cast()), Base::new(var.as_mut_ptr().cast()));
        lines.run(&|block: &Block| {
            for i in 0..block.count {
                let c = block.first + i;
                let scale = weight.get(c).copied().unwrap_or(T::of(1.0));
                let shift = bias.get(c).copied().unwrap_or(T::ZERO);
                let stats = channel(block.input(0, i), block.output(0, i), scale, shift, eps);
                let at = (c * size_of::<T>()) as isize;
                // SAFETY: each channel has its place.
                unsafe {
                    *means.at::<T>(at) = stats.0;
                    *vars.at::<T>(at) = stats.1;
                }
            }
        })?;
        put(&mean, outs[1])?;
        put(&var, outs[2])
    })
}

versions!(fn channel[T: Float](x: &[T], y: &mut [T], scale: T, shift: T, eps: f64) -> (T, T) = channel_body::<I, T>);

#[inline(always)]
fn channel_body<I: Isa, T: Float>(x: &[T], y: &mut [T], scale: T, shift: T, eps: f64) -> (T, T) {
    let n = x.len();
    let mean = T::of(sum_of(x, |v| v) / n as f64);
    let var = sum_of(x, |v| (v - mean) * (v - mean)) / n as f64;
    let factor = T::of(1.0 / (var + eps).sqrt()) * scale;
    for (y, &x) in y.iter_mut().zip(x) {
        *y = (x - mean).fma::<I>(factor, shift);
    }
    (mean, T::of(var))
}

/// `Prim::BatchNormGrad`: (g, x, mean, variance, weight if present) -> gradients of x, weight, bias.
pub fn batch_norm_grad(eps: f64, has_weight: bool, inputs: &[Source], outs: &[Arg]) -> Result<()> {
    let lines = Lines::new(&inputs[..2], &outs[..1], inputs[1].shape, compute_dtype(outs[0].dtype), &|d| d != 1)?;
    dispatch_compute!(outs[0].dtype, T => {
        let (mean, var) = (vector::<T>(&inputs[2])?, vector::<T>(&inputs[3])?);
        let weight = if has_weight { vector::<T>(&inputs[4])? } else { Vec::new() };
        let (mut gw, mut gb) = (vec![T::ZERO; lines.count], vec![T::ZERO; lines.count]);
        let (gws, gbs) = (Base::new(gw.as_mut_ptr().cast()), Base::new(gb.as_mut_ptr().cast()));
        lines.run(&|block: &Block| {
            for i in 0..block.count {
                let c = block.first + i;
                let rstd = T::of(1.0 / (var[c].wide() + eps).sqrt());
                let scale = weight.get(c).copied().unwrap_or(T::of(1.0));
                let line = Line { g: block.input(0, i), x: block.input(1, i), mean: mean[c], rstd };
                let sums = channel_grad(&line, scale, block.output(0, i));
                let at = (c * size_of::<T>()) as isize;
                // SAFETY: each channel has its place.
                unsafe {
                    *gws.at::<T>(at) = sums.0;
                    *gbs.at::<T>(at) = sums.1;
                }
            }
        })?;
        put(&gw, outs[1])?;
        put(&gb, outs[2])
    })
}

versions!(fn channel_grad[T: Float](line: &Line<T>, scale: T, gx: &mut [T]) -> (T, T) = channel_grad_body::<I, T>);

#[inline(always)]
fn channel_grad_body<I: Isa, T: Float>(line: &Line<T>, scale: T, gx: &mut [T]) -> (T, T) {
    let n = gx.len();
    let (g, x) = (line.g, line.x);
    let (mean, rstd) = (line.mean, line.rstd);
    let gb = sum_of(g, |v| v);
    let gw = sum_of_two(g, x, |g, x| g * (x - mean)) * rstd.wide();
    let level = T::of(gb / n as f64);
    let slope = T::of(-gw / n as f64) * rstd;
    let factor = rstd * scale;
    for ((gx, &g), &x) in gx.iter_mut().zip(g).zip(x) {
        *gx = factor * (x - mean).fma::<I>(slope, g - level);
    }
    (T::of(gw), T::of(gb))
}

#[cfg(test)]
mod tests {
    use rtorch_ir::DType;

    use super::*;
    use crate::testing::{Rng, T, call, layouts};

    fn close(got: &[f64], want: &[f64], dtype: DType, what: &str) {
        let rel = match dtype {
            DType::F64 => 1e-12,
            DType::F16 => 4e-3,
            DType::BF16 => 3e-2,
            _ => 1e-5,
        };
        for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
            assert!((g - w).abs() <= rel * (1.0 + w.abs()), "{what} {dtype:?} {i}: {g}, not {w}");
        }
    }

    /// Mean and 1 / sqrt(var + eps) of some values.
    fn stats(v: &[f64], eps: f64, rms: bool) -> (f64, f64) {
        let n = v.len() as f64;
        let mean = if rms { 0.0 } else { v.iter().sum::<f64>() / n };
        (mean, 1.0 / (v.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n + eps).sqrt())
    }

    fn check_layer(dtype: DType, shape: &[usize], dims: usize, l: usize, rms: bool, affine: bool) {
        let mut rng = Rng(5);
        let total: usize = shape.iter().product();
        let n: usize = shape[shape.len() - dims..].iter().product();
        let stat = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let x = T::with(dtype, layouts(shape)[l].clone(), &rng.reals(total));
        let (w, b) = (T::new(dtype, &shape[shape.len() - dims..], &rng.reals(n)), T::full(dtype, &[n], 0.25));
        let y = T::with(dtype, layouts(shape)[l].clone(), &vec![0.0; total]);
        let rows = total / n;
        let (mean, rstd) = (T::full(stat, &[rows], 0.0), T::full(stat, &[rows], 0.0));
        let ins: Vec<&T> = if affine { vec![&x, &w, &b] } else { vec![&x] };
        let f = |i: &[Source], o: &[Arg]| layer_norm(dims, 1e-5, (affine, affine), rms, i, o);
        call(f, &ins, &[&y, &mean, &rstd]).unwrap();
        let (xv, wv) = (x.get(), w.get());
        let weight = |i: usize| if affine { wv[i] } else { 1.0 };
        let mut want = vec![0.0; total];
        let g = T::with(dtype, layouts(shape)[l].clone(), &rng.reals(total));
        let gv = g.get();
        let (mut gx, mut gw, mut gb) = (vec![0.0; total], vec![0.0; n], vec![0.0; n]);
        for r in 0..rows {
            let line = &xv[r * n..][..n];
            let (m, s) = stats(line, 1e-5, rms);
            let hat = |i: usize| (line[i] - m) * s;
            let h = |i: usize| gv[r * n + i] * weight(i);
            let level = if rms { 0.0 } else { (0..n).map(h).sum::<f64>() / n as f64 };
            let slope = (0..n).map(|i| h(i) * hat(i)).sum::<f64>() / n as f64;
            for i in 0..n {
                want[r * n + i] = hat(i) * weight(i) + if affine { 0.25 } else { 0.0 };
                gx[r * n + i] = s * (h(i) - level - hat(i) * slope);
                gw[i] += gv[r * n + i] * hat(i);
                gb[i] += gv[r * n + i];
            }
        }
        close(&y.get(), &want, dtype, "y");
        let (ox, ow, ob) = (T::full(dtype, shape, 0.0), T::full(dtype, &[n], 0.0), T::full(dtype, &[n], 0.0));
        let ins: Vec<&T> = if affine { vec![&g, &x, &mean, &rstd, &w] } else { vec![&g, &x, &mean, &rstd] };
        call(|i, o| layer_norm_grad(dims, affine, rms, i, o), &ins, &[&ox, &ow, &ob]).unwrap();
        close(&ox.get(), &gx, dtype, "gx");
        close(&ow.get(), &gw, dtype, "gw");
        close(&ob.get(), &gb, dtype, "gb");
    }

    #[test]
    fn layer_norm_and_its_gradient() {
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            for l in 0..3 {
                for (rms, affine) in [(false, true), (false, false), (true, true)] {
                    check_layer(dtype, &[4, 50], 1, l, rms, affine);
                    check_layer(dtype, &[3, 4, 7], 2, l, rms, affine);
                    check_layer(dtype, &[300, 33], 1, l, rms, affine);
                }
            }
        }
    }

    fn check_batch(dtype: DType, shape: &[usize], l: usize, affine: bool) {
        let mut rng = Rng(6);
        let total: usize = shape.iter().product();
        let (c, inner) = (shape[1], shape[2..].iter().product::<usize>());
        let n = total / c;
        let stat = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let x = T::with(dtype, layouts(shape)[l].clone(), &rng.reals(total));
        let (w, b) = (T::new(stat, &[c], &rng.reals(c)), T::full(stat, &[c], 0.25));
        let y = T::with(dtype, layouts(shape)[l].clone(), &vec![0.0; total]);
        let (mean, var) = (T::full(stat, &[c], 0.0), T::full(stat, &[c], 0.0));
        let ins: Vec<&T> = if affine { vec![&x, &w, &b] } else { vec![&x] };
        call(|i, o| batch_norm(1e-3, (affine, affine), i, o), &ins, &[&y, &mean, &var]).unwrap();
        let (xv, wv) = (x.get(), w.get());
        let g = T::with(dtype, layouts(shape)[l].clone(), &rng.reals(total));
        let gv = g.get();
        let (mut want, mut gx, mut gw, mut gb) = (vec![0.0; total], vec![0.0; total], vec![0.0; c], vec![0.0; c]);
        for ch in 0..c {
            let at: Vec<usize> = (0..n).map(|i| (i / inner * c + ch) * inner + i % inner).collect();
            let line: Vec<f64> = at.iter().map(|&p| xv[p]).collect();
            let (m, s) = stats(&line, 1e-3, false);
            let scale = if affine { wv[ch] } else { 1.0 };
            gb[ch] = at.iter().map(|&p| gv[p]).sum();
            gw[ch] = at.iter().map(|&p| gv[p] * (xv[p] - m) * s).sum();
            for &p in &at {
                want[p] = (xv[p] - m) * s * scale + if affine { 0.25 } else { 0.0 };
                gx[p] = s * scale * (gv[p] - gb[ch] / n as f64 - (xv[p] - m) * s * gw[ch] / n as f64);
            }
        }
        close(&y.get(), &want, dtype, "y");
        let (ox, ow, ob) = (T::full(dtype, shape, 0.0), T::full(stat, &[c], 0.0), T::full(stat, &[c], 0.0));
        let ins: Vec<&T> = if affine { vec![&g, &x, &mean, &var, &w] } else { vec![&g, &x, &mean, &var] };
        call(|i, o| batch_norm_grad(1e-3, affine, i, o), &ins, &[&ox, &ow, &ob]).unwrap();
        close(&ox.get(), &gx, dtype, "gx");
        close(&ow.get(), &gw, dtype, "gw");
        close(&ob.get(), &gb, dtype, "gb");
    }

    #[test]
    fn batch_norm_and_its_gradient() {
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            for l in 0..3 {
                for affine in [true, false] {
                    check_batch(dtype, &[50, 6], l, affine);
                    check_batch(dtype, &[4, 3, 5, 7], l, affine);
                    check_batch(dtype, &[2, 20, 9], l, affine);
                }
            }
        }
    }
}
