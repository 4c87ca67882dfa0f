//! Reductions, softmax and matrix products against plain loops.

mod common;

use common::{T, close, gpu, indices, noise, run, run_into};
use rtorch_gpu::GpuSource;
use rtorch_ir::oracle::Val;
use rtorch_ir::prim::{Axes, ReduceOp};
use rtorch_ir::program::{Ex, build, ex};
use rtorch_ir::{DType, Layout, Prim, Program};

fn reduce(op: ReduceOp, axes: &[usize], keepdim: bool, dtype: DType) -> Prim {
    Prim::Reduce { op, axes: Axes::from_slice(axes), keepdim, dtype }
}

/// Sum over axes in f64.
fn sums(x: &T, axes: &[usize]) -> Vec<f32> {
    let v = x.values();
    let shape = &x.layout.shape;
    let kept: Vec<usize> = (0..shape.len()).filter(|d| !axes.contains(d)).collect();
    let out_shape: Vec<usize> = kept.iter().map(|&d| shape[d]).collect();
    let mut out = vec![0.0f64; out_shape.iter().product()];
    for (i, at) in indices(shape).iter().enumerate() {
        let o = kept.iter().fold(0, |o, &d| o * shape[d] + at[d]);
        out[o] += v[i].float();
    }
    out.iter().map(|&v| v as f32).collect()
}

#[test]
fn sums_over_any_axes() {
    let Some(dev) = gpu() else { return };
    for shape in [vec![3, 5, 7], vec![40, 70], vec![2, 20000], vec![600, 40], vec![5000, 3], vec![1, 1]] {
        let n = shape.iter().product();
        let x = T::floats(&dev, &noise(n, 1), &shape);
        for bits in 1..1usize << shape.len() {
            let axes: Vec<usize> = (0..shape.len()).filter(|d| bits >> d & 1 == 1).collect();
            for keepdim in [false, true] {
                let y = &run(&dev, &reduce(ReduceOp::Sum, &axes, keepdim, DType::F32), &[&x])[0];
                close(&y.f32s(), &sums(&x, &axes), 1e-4, &format!("{shape:?} {axes:?}"));
            }
        }
    }
    let t = T::floats(&dev, &noise(60, 2), &[6, 10]).view(Layout::contiguous(&[6, 10]).transpose(0, 1));
    let y = &run(&dev, &reduce(ReduceOp::Sum, &[0], false, DType::F32), &[&t])[0];
    close(&y.f32s(), &sums(&t, &[0]), 1e-5, "transposed");
}

#[test]
fn every_operation_and_type() {
    let Some(dev) = gpu() else { return };
    for d in [DType::F32, DType::F16, DType::I32, DType::I64, DType::U8, DType::Bool] {
        let vals: Vec<Val> =
            (0..300).map(|i| Val::Int(if d == DType::Bool { i % 2 } else { (i * 7) % 13 + 1 })).collect();
        let x = T::new(&dev, &vals, d, &[3, 100]);
        let row = |i: usize| vals[i * 100..(i + 1) * 100].iter().map(|v| v.int());
        let sum_type = if d.is_integral() { DType::I64 } else { DType::F32 };
        let got = run(&dev, &reduce(ReduceOp::Sum, &[1], false, sum_type), &[&x])[0].i64s();
        assert_eq!(got, (0..3).map(|i| row(i).sum::<i64>()).collect::<Vec<_>>(), "{d}");
        let got = run(&dev, &reduce(ReduceOp::Max, &[1], false, d), &[&x])[0].i64s();
        assert_eq!(got, (0..3).map(|i| row(i).max().unwrap()).collect::<Vec<_>>(), "{d}");
        let got = run(&dev, &reduce(ReduceOp::Min, &[1], true, d), &[&x])[0].i64s();
        assert_eq!(got, (0..3).map(|i| row(i).min().unwrap()).collect::<Vec<_>>(), "{d}");
        let got = run(&dev, &reduce(ReduceOp::ArgMax, &[1], false, DType::I64), &[&x])[0].i64s();
        let want = |i: usize| {
            let m = row(i).max().unwrap();
            row(i).position(|v| v == m).unwrap() as i64
        };
        assert_eq!(got, (0..3).map(want).collect::<Vec<_>>(), "{d}");
        let both = run(&dev, &Prim::Extreme { largest: false, axis: 0, keepdim: false }, &[&x]);
        let least = |j: usize| (0..3).map(|i| vals[i * 100 + j].int()).min().unwrap();
        assert_eq!(both[0].i64s(), (0..100).map(least).collect::<Vec<_>>(), "{d}");
        let got = run(&dev, &reduce(ReduceOp::All, &[0, 1], false, DType::Bool), &[&x])[0].i64s();
        assert_eq!(got, [i64::from(d != DType::Bool)]);
        let got = run(&dev, &reduce(ReduceOp::Any, &[1], false, DType::Bool), &[&x])[0].i64s();
        assert_eq!(got, [1, 1, 1]);
    }
    let x = T::floats(&dev, &[1.0, f32::NAN, 3.0, f32::NAN], &[4]);
    assert!(run(&dev, &reduce(ReduceOp::Max, &[0], false, DType::F32), &[&x])[0].f32s()[0].is_nan());
    assert_eq!(run(&dev, &reduce(ReduceOp::ArgMax, &[0], false, DType::I64), &[&x])[0].i64s(), [1]);
    let none = T::floats(&dev, &[], &[2, 0]);
    assert_eq!(run(&dev, &reduce(ReduceOp::Sum, &[1], false, DType::F32), &[&none])[0].f32s(), [0.0, 0.0]);
    let long = T::ints(&dev, &(0..100_000).collect::<Vec<_>>(), &[100_000]);
    assert_eq!(run(&dev, &reduce(ReduceOp::Sum, &[0], false, DType::I64), &[&long])[0].i64s(), [4_999_950_000]);
    assert_eq!(run(&dev, &reduce(ReduceOp::ArgMax, &[0], false, DType::I64), &[&long])[0].i64s(), [99_999]);
}

#[test]
fn variance_is_stable_and_prologues_run() {
    let Some(dev) = gpu() else { return };
    for (rows, n) in [(4, 50), (2, 30000), (300, 9)] {
        let v: Vec<f32> = noise(rows * n, 3).iter().map(|v| v + 100.0).collect();
        let x = T::floats(&dev, &v, &[rows, n]);
        let prim = Prim::VarMean { axes: Axes::from_slice(&[1]), keepdim: false, correction: 1.0 };
        let y = run(&dev, &prim, &[&x]);
        let (mut var, mut mean) = (Vec::new(), Vec::new());
        for r in v.chunks(n) {
            let m = r.iter().map(|&v| v as f64).sum::<f64>() / n as f64;
            mean.push(m as f32);
            var.push((r.iter().map(|&v| (v as f64 - m).powi(2)).sum::<f64>() / (n - 1) as f64) as f32);
        }
        close(&y[0].f32s(), &var, 1e-3, "variance");
        close(&y[1].f32s(), &mean, 1e-5, "mean");
    }
    // sum of a * b over rows
    let (a, b) = (T::floats(&dev, &noise(600, 4), &[3, 200]), T::floats(&dev, &noise(200, 5), &[200]));
    let (mut p, out) = build(Program::new(), || Ex::leaf(DType::F32) * ex::exp(Ex::leaf(DType::F32)));
    p.outputs.push(out.0);
    let y = T::empty(&dev, DType::F32, &[3]);
    let leaves = [a.arg(), b.arg()];
    let s = GpuSource { program: &p, leaves: &leaves, shape: &[3, 200] };
    dev.run(&reduce(ReduceOp::Sum, &[1], false, DType::F32), &[s], None, &[y.arg()]).unwrap();
    let (av, bv) = (a.f32s(), b.f32s());
    let want: Vec<f32> = (0..3).map(|i| (0..200).map(|j| av[i * 200 + j] * bv[j].exp()).sum()).collect();
    close(&y.f32s(), &want, 1e-4, "prologue");
}

#[test]
fn softmax_and_its_gradient() {
    let Some(dev) = gpu() else { return };
    for (shape, axis) in [(vec![4, 10], 1), (vec![3, 700], 1), (vec![2, 3000], 1), (vec![5, 6, 7], 1), (vec![9, 4], 0)]
    {
        let n: usize = shape.iter().product();
        let v = noise(n, 6).iter().map(|v| v * 10.0).collect::<Vec<_>>();
        let g = noise(n, 7);
        let (x, gt) = (T::floats(&dev, &v, &shape), T::floats(&dev, &g, &shape));
        let outer: usize = shape[..axis].iter().product();
        let inner: usize = shape[axis + 1..].iter().product();
        for log in [false, true] {
            let y = &run(&dev, &Prim::Softmax { axis, log }, &[&x])[0];
            let dx = &run(&dev, &Prim::SoftmaxGrad { axis, log }, &[&gt, y])[0];
            let (mut want, mut grad) = (vec![0.0f32; n], vec![0.0f32; n]);
            for o in 0..outer {
                for i in 0..inner {
                    let at = |j: usize| (o * shape[axis] + j) * inner + i;
                    let top = (0..shape[axis]).map(|j| v[at(j)]).fold(f32::MIN, f32::max);
                    let sum: f64 = (0..shape[axis]).map(|j| ((v[at(j)] - top) as f64).exp()).sum();
                    let soft = |j: usize| ((v[at(j)] - top) as f64).exp() / sum;
                    let dot: f64 = (0..shape[axis]).map(|j| g[at(j)] as f64 * if log { 1.0 } else { soft(j) }).sum();
                    for j in 0..shape[axis] {
                        let s = soft(j);
                        want[at(j)] = if log { s.ln() } else { s } as f32;
                        let gj = g[at(j)] as f64;
                        grad[at(j)] = if log { gj - s * dot } else { (gj - dot) * s } as f32;
                    }
                }
            }
            close(&y.f32s(), &want, 2e-5, "softmax");
            close(&dx.f32s(), &grad, 2e-4, "softmax gradient");
        }
    }
    let x = T::floats(
        &dev,
        &[f32::NEG_INFINITY, 0.0, 0.0, f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY],
        &[2, 3],
    );
    let y = run(&dev, &Prim::Softmax { axis: 1, log: false }, &[&x])[0].f32s();
    assert_eq!(y[..3], [0.0, 0.5, 0.5]);
    assert!(y[3].is_nan());
}

#[test]
fn matrix_products() {
    let Some(dev) = gpu() else { return };
    let plain = Prim::MatMul { bias: false, alpha: 1.0, beta: 1.0 };
    for (batch, m, n, k) in [(1, 3, 5, 4), (2, 33, 17, 20), (1, 70, 130, 64), (3, 1, 40, 100), (1, 10, 12, 3000)] {
        let (av, bv) = (noise(batch * m * k, 8), noise(batch * k * n, 9));
        let mut want = vec![0.0f32; batch * m * n];
        for b in 0..batch {
            for i in 0..m {
                for j in 0..n {
                    want[(b * m + i) * n + j] = (0..k)
                        .map(|l| av[(b * m + i) * k + l] as f64 * bv[(b * k + l) * n + j] as f64)
                        .sum::<f64>() as f32;
                }
            }
        }
        let (a, b) = (T::floats(&dev, &av, &[batch, m, k]), T::floats(&dev, &bv, &[batch, k, n]));
        close(&run(&dev, &plain, &[&a, &b])[0].f32s(), &want, 1e-4, "matmul");
        // the same through transposed memory
        let at = T::empty(&dev, DType::F32, &[batch, k, m]);
        let at = at.view(at.layout.transpose(1, 2));
        dev.copy_elements(&a.arg(), &at.arg()).unwrap();
        close(&run(&dev, &plain, &[&at, &b])[0].f32s(), &want, 1e-4, "transposed matmul");
        let c = T::floats(&dev, &noise(n, 10), &[n]);
        let cv = c.f32s();
        let wide = T { layout: c.layout.broadcast_to(&[batch, m, n]).unwrap(), ..c };
        let scaled: Vec<f32> = want.iter().enumerate().map(|(i, w)| 0.5 * w + 2.0 * cv[i % n]).collect();
        let prim = Prim::MatMul { bias: true, alpha: 0.5, beta: 2.0 };
        close(&run(&dev, &prim, &[&a, &b, &wide])[0].f32s(), &scaled, 1e-4, "addmm");
        // half precision: computed in f32, rounded once
        let (ah, bh) = (T::empty(&dev, DType::F16, &[batch, m, k]), T::empty(&dev, DType::F16, &[batch, k, n]));
        dev.copy_elements(&a.arg(), &ah.arg()).unwrap();
        dev.copy_elements(&b.arg(), &bh.arg()).unwrap();
        close(&run(&dev, &plain, &[&ah, &bh])[0].f32s(), &want, 2e-2, "half");
    }
    let a = T::ints(&dev, &[1, 2, 3, 4, 5, 1 << 40], &[2, 3]);
    let b = T::ints(&dev, &[1, -1, 2, 3, 4, 5], &[3, 2]);
    assert_eq!(run(&dev, &plain, &[&a, &b])[0].i64s(), [17, 20, 14 + (1 << 42), 11 + 5 * (1 << 40)]);
    let out = T::empty(&dev, DType::F32, &[5, 5]).view(Layout::contiguous(&[5, 5]).slice(0, 1, 3, 1).slice(1, 1, 4, 1));
    let (a, b) = (T::floats(&dev, &[1.0, 2.0], &[2, 1]), T::floats(&dev, &[3.0, 4.0, 5.0], &[1, 3]));
    run_into(&dev, &plain, &[&a, &b], std::slice::from_ref(&out));
    assert_eq!(out.f32s(), [3.0, 4.0, 5.0, 6.0, 8.0, 10.0]);
}
