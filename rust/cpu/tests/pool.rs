//! Pools against plain loops.

mod tensors;

use rtorch_ir::prim::{PoolParams, Spatial, window_count};
use rtorch_ir::{DType, Layout, Prim};
use tensors::{Rng, Tensor, call, indices, some_layout};

/// Input indices of the window at output index `y` (batch and channel first), without padding.
fn window(p: &PoolParams, input: &[usize], y: &[usize]) -> Vec<Vec<usize>> {
    indices(&p.kernel)
        .into_iter()
        .filter_map(|k| {
            let mut x = y[..2].to_vec();
            for d in 0..k.len() {
                let dilation = p.dilation.get(d).copied().unwrap_or(1);
                x.push((y[2 + d] * p.stride[d] + k[d] * dilation).wrapping_sub(p.padding[d]));
            }
            x.iter().zip(input).all(|(i, s)| i < s).then_some(x)
        })
        .collect()
}

fn position(input: &[usize], x: &[usize]) -> usize {
    x[2..].iter().zip(&input[2..]).fold(0, |a, (i, s)| a * s + i)
}

fn params(rng: &mut Rng, input: &[usize], average: bool) -> PoolParams {
    let n = input.len() - 2;
    let kernel: Spatial = (0..n).map(|_| 1 + rng.below(3)).collect();
    let stride: Spatial = (0..n).map(|_| 1 + rng.below(3)).collect();
    let padding: Spatial = kernel.iter().map(|k| rng.below(k / 2 + 1)).collect();
    let dilation: Spatial = (0..n).map(|_| if average { 1 } else { 1 + rng.below(2) }).collect();
    let out = (0..n).map(|d| window_count(input[2 + d], kernel[d], stride[d], padding[d], dilation[d])).collect();
    let divisor = if rng.below(4) == 0 { Some(5) } else { None };
    PoolParams { kernel, stride, padding, dilation, out, count_include_pad: rng.below(2) == 0, divisor }
}

fn input(rng: &mut Rng, round: usize) -> Vec<usize> {
    let mut shape = vec![1 + rng.below(2), 1 + rng.below(3)];
    (0..1 + round % 3).for_each(|_| shape.push(5 + rng.below(20 >> (round % 3))));
    shape
}

fn pooled(input: &[usize], out: &[usize]) -> Vec<usize> {
    [&input[..2], out].concat()
}

#[test]
fn maxima_and_their_gradient() {
    let mut rng = Rng(1);
    for round in 0..120 {
        let shape = input(&mut rng, round);
        let p = params(&mut rng, &shape, false);
        let dtype = [DType::F32, DType::F64, DType::BF16, DType::I64][round % 4];
        let mut x = Tensor::random(some_layout(&shape, &mut rng), dtype, &mut rng);
        if round % 5 == 0 && dtype.is_float() {
            let at = indices(&shape).remove(rng.below(shape.iter().product()));
            x.set(&at, f64::NAN);
            let at = indices(&shape).remove(rng.below(shape.iter().product()));
            x.set(&at, f64::NEG_INFINITY);
        }
        let out = pooled(&shape, &p.out);
        let have = call(&Prim::MaxPool { params: p.clone() }, &[&x], &[(&out, dtype), (&out, DType::I64)]);
        let best = |y: &[usize]| {
            let mut best: Option<Vec<usize>> = None;
            for i in window(&p, &shape, y) {
                let v = x.get(&i);
                if best.as_ref().is_none_or(|b| v > x.get(b) || v.is_nan()) {
                    best = Some(i);
                }
            }
            best.unwrap()
        };
        have[0].compare(&format!("{shape:?} {p:?}"), 0.0, |y| x.get(&best(y)));
        have[1].compare(&format!("positions {shape:?} {p:?}"), 0.0, |y| position(&shape, &best(y)) as f64);
        let g = Tensor::random(some_layout(&out, &mut rng), dtype, &mut rng);
        let gx = &call(&Prim::MaxPoolGrad { input: shape.as_slice().into() }, &[&g, &have[1]], &[(&shape, dtype)])[0];
        let mut want = vec![0.0; shape.iter().product()];
        let flat = |i: &[usize]| i.iter().zip(&shape).fold(0, |a, (i, s)| a * s + i);
        indices(&out).iter().for_each(|y| want[flat(&best(y))] += g.get(y));
        gx.compare("max_pool_grad", 1e-2, |i| want[flat(i)]);
    }
}

#[test]
fn means_and_their_gradient() {
    let mut rng = Rng(2);
    for round in 0..120 {
        let shape = input(&mut rng, round);
        let mut p = params(&mut rng, &shape, true);
        let dtype = [DType::F32, DType::F64][round % 2];
        if round % 4 == 0 {
            // as with ceil_mode: a last window that is cut
            p.out[0] = (shape[2] + 2 * p.padding[0] - p.kernel[0]).div_ceil(p.stride[0]) + 1;
            if (p.out[0] - 1) * p.stride[0] >= shape[2] + p.padding[0] {
                p.out[0] -= 1;
            }
        }
        let x = Tensor::random(some_layout(&shape, &mut rng), dtype, &mut rng);
        let out = pooled(&shape, &p.out);
        let divisor = |y: &[usize]| {
            let size = |d: usize| {
                let start = (y[2 + d] * p.stride[d]) as i64 - p.padding[d] as i64;
                let end = (start + p.kernel[d] as i64).min((shape[2 + d] + p.padding[d]) as i64);
                if p.count_include_pad { end - start } else { end.min(shape[2 + d] as i64) - start.max(0) }
            };
            p.divisor.unwrap_or_else(|| (0..p.kernel.len()).map(size).product()) as f64
        };
        let have = &call(&Prim::AvgPool { params: p.clone() }, &[&x], &[(&out, dtype)])[0];
        have.compare(&format!("{shape:?} {p:?}"), 1e-5, |y| {
            window(&p, &shape, y).iter().map(|i| x.get(i)).sum::<f64>() / divisor(y)
        });
        let g = Tensor::random(some_layout(&out, &mut rng), dtype, &mut rng);
        let prim = Prim::AvgPoolGrad { params: p.clone(), input: shape.as_slice().into() };
        let gx = &call(&prim, &[&g], &[(&shape, dtype)])[0];
        let mut want = vec![0.0; shape.iter().product()];
        let flat = |i: &[usize]| i.iter().zip(&shape).fold(0, |a, (i, s)| a * s + i);
        for y in indices(&out) {
            window(&p, &shape, &y).iter().for_each(|i| want[flat(i)] += g.get(&y) / divisor(&y));
        }
        gx.compare("avg_pool_grad", 1e-5, |i| want[flat(i)]);
    }
}

#[test]
fn adaptive_windows() {
    let mut rng = Rng(3);
    for round in 0..80 {
        let shape = input(&mut rng, round);
        let out: Spatial = shape[2..].iter().map(|_| 1 + rng.below(6)).collect();
        let y = pooled(&shape, &out);
        let dtype = [DType::F32, DType::F64][round % 2];
        let x = Tensor::random(some_layout(&shape, &mut rng), dtype, &mut rng);
        let windows = |i: &[usize]| -> Vec<Vec<usize>> {
            let range = |d: usize| {
                let (s, n, j) = (shape[2 + d], out[d], i[2 + d]);
                (j * s / n, ((j + 1) * s).div_ceil(n))
            };
            let inside = |x: &Vec<usize>| {
                x[..2] == i[..2] && (0..out.len()).all(|d| (range(d).0..range(d).1).contains(&x[2 + d]))
            };
            indices(&shape).into_iter().filter(inside).collect()
        };
        let have = &call(&Prim::AdaptiveAvgPool { out: out.clone() }, &[&x], &[(&y, dtype)])[0];
        have.compare(&format!("{shape:?} {out:?}"), 1e-5, |i| {
            let w = windows(i);
            w.iter().map(|i| x.get(i)).sum::<f64>() / w.len() as f64
        });
        let have = call(&Prim::AdaptiveMaxPool { out: out.clone() }, &[&x], &[(&y, dtype), (&y, DType::I64)]);
        let best =
            |i: &[usize]| windows(i).into_iter().reduce(|a, b| if x.get(&b) > x.get(&a) { b } else { a }).unwrap();
        have[0].compare("adaptive max", 0.0, |i| x.get(&best(i)));
        have[1].compare("adaptive max positions", 0.0, |i| position(&shape, &best(i)) as f64);
        let g = Tensor::random(some_layout(&y, &mut rng), dtype, &mut rng);
        let gx = &call(&Prim::AdaptiveAvgPoolGrad { input: shape.as_slice().into() }, &[&g], &[(&shape, dtype)])[0];
        let mut want = vec![0.0; shape.iter().product()];
        let flat = |i: &[usize]| i.iter().zip(&shape).fold(0, |a, (i, s)| a * s + i);
        for i in indices(&y) {
            let w = windows(&i);
            w.iter().for_each(|x| want[flat(x)] += g.get(&i) / w.len() as f64);
        }
        gx.compare("adaptive_avg_pool_grad", 1e-5, |i| want[flat(i)]);
    }
}

#[test]
fn channels_last_input() {
    let mut rng = Rng(4);
    let layout = Layout::contiguous(&[2, 8, 8, 3]).permute(&[0, 3, 1, 2]);
    let x = Tensor::random(layout, DType::F32, &mut rng);
    let p = PoolParams {
        kernel: [2, 2].as_slice().into(),
        stride: [2, 2].as_slice().into(),
        padding: [0, 0].as_slice().into(),
        dilation: [1, 1].as_slice().into(),
        out: [4, 4].as_slice().into(),
        count_include_pad: true,
        divisor: None,
    };
    let y = [2, 3, 4, 4];
    let have = &call(&Prim::AvgPool { params: p.clone() }, &[&x], &[(&y, DType::F32)])[0];
    have.compare("channels last", 1e-6, |i| window(&p, &[2, 3, 8, 8], i).iter().map(|i| x.get(i)).sum::<f64>() / 4.0);
}
