//! Scans, sorting, topk and nonzero against plain loops.

mod common;

use common::{T, close, gpu, identity, noise, run};
use rtorch_gpu::GpuSource;
use rtorch_ir::oracle::Val;
use rtorch_ir::prim::ScanOp;
use rtorch_ir::{DType, Prim};

#[test]
fn running_values() {
    let Some(dev) = gpu() else { return };
    for (shape, axis) in
        [(vec![3, 20], 1), (vec![2, 1000], 1), (vec![300, 5], 0), (vec![5000, 40], 1), (vec![4, 600, 3], 1)]
    {
        let n: usize = shape.iter().product();
        let v = noise(n, 1);
        let x = T::floats(&dev, &v, &shape);
        let inner: usize = shape[axis + 1..].iter().product();
        let len = shape[axis];
        let walk = |f: &mut dyn FnMut(usize, Option<usize>)| {
            for i in 0..n {
                f(i, if (i / inner).is_multiple_of(len) { None } else { Some(i - inner) });
            }
        };
        let mut sum = vec![0.0f32; n];
        let mut lse = vec![0.0f64; n];
        let (mut top, mut at) = (vec![0.0f32; n], vec![0i64; n]);
        walk(&mut |i, before| {
            sum[i] = v[i] + before.map_or(0.0, |b| sum[b]);
            lse[i] = ((v[i] as f64).exp() + before.map_or(0.0, |b| lse[b].exp())).ln();
            let here = (i / inner % len) as i64;
            (top[i], at[i]) = match before {
                Some(b) if top[b] > v[i] => (top[b], at[b]),
                _ => (v[i], here),
            };
        });
        let what = format!("{shape:?}");
        close(&run(&dev, &Prim::Scan { op: ScanOp::Sum, axis }, &[&x])[0].f32s(), &sum, 1e-4, &what);
        let lse: Vec<f32> = lse.iter().map(|&v| v as f32).collect();
        close(&run(&dev, &Prim::Scan { op: ScanOp::LogSumExp, axis }, &[&x])[0].f32s(), &lse, 1e-4, &what);
        let y = run(&dev, &Prim::Scan { op: ScanOp::Max, axis }, &[&x]);
        assert_eq!(y[0].f32s(), top, "{what}");
        assert_eq!(y[1].i64s(), at, "{what}");
    }
    let x = T::ints(&dev, &[3, -1, 4, 1, -5, 9], &[6]);
    assert_eq!(run(&dev, &Prim::Scan { op: ScanOp::Prod, axis: 0 }, &[&x])[0].i64s(), [3, -3, -12, -12, 60, 540]);
    assert_eq!(run(&dev, &Prim::Scan { op: ScanOp::Min, axis: 0 }, &[&x])[1].i64s(), [0, 1, 1, 1, 4, 4]);
}

#[test]
fn sorting() {
    let Some(dev) = gpu() else { return };
    for (shape, axis) in [(vec![7], 0), (vec![4, 33], 1), (vec![60, 3], 0), (vec![2, 3000], 1), (vec![1], 0)] {
        for d in [DType::F32, DType::I64, DType::I32, DType::U8, DType::BF16, DType::Bool] {
            let n: usize = shape.iter().product();
            let vals: Vec<Val> = noise(n, 3)
                .iter()
                .map(|v| match d {
                    DType::Bool => Val::Int(i64::from(*v > 0.0)),
                    DType::I64 => Val::Int((v * 50.0) as i64 * (1 << 33) + (v * 999.0) as i64),
                    _ if d.is_integral() => Val::Int((v.abs() * 40.0) as i64),
                    _ => Val::Float((v * 8.0).round() as f64),
                })
                .collect();
            let x = T::new(&dev, &vals, d, &shape);
            let v = x.values();
            let inner: usize = shape[axis + 1..].iter().product();
            let len = shape[axis];
            for descending in [false, true] {
                let y = run(&dev, &Prim::Sort { axis, descending, stable: true }, &[&x]);
                let k = len.min(5);
                let top = run(&dev, &Prim::TopK { k, axis, largest: descending, sorted: true }, &[&x]);
                let (mut want, mut at) = (vec![Val::Int(0); n], vec![0i64; n]);
                for row in 0..n / len {
                    let place = |j: usize| (row / inner * len + j) * inner + row % inner;
                    let mut order: Vec<usize> = (0..len).collect();
                    let f = |j: usize| v[place(j)];
                    let cmp = |a: usize, b: usize| match (f(a), f(b)) {
                        (Val::Int(a), Val::Int(b)) => a.cmp(&b),
                        (a, b) => (a.float() + 0.0).total_cmp(&(b.float() + 0.0)),
                    };
                    order.sort_by(|&a, &b| if descending { cmp(b, a) } else { cmp(a, b) });
                    for (j, &o) in order.iter().enumerate() {
                        want[place(j)] = v[place(o)];
                        at[place(j)] = o as i64;
                    }
                }
                let bits = |v: &[Val]| v.iter().map(|v| v.float() + 0.0).collect::<Vec<_>>();
                assert_eq!(bits(&y[0].values()), bits(&want), "{shape:?} {d} {descending}");
                assert_eq!(y[1].i64s(), at, "{shape:?} {d} {descending}");
                let first: Vec<i64> = (0..n).filter(|i| i / inner % len < k).map(|i| at[i]).collect();
                assert_eq!(top[1].i64s(), first, "topk {shape:?} {d} {descending}");
            }
        }
    }
    let x = T::floats(&dev, &[f32::NAN, 1.0, f32::NEG_INFINITY, f32::INFINITY, 0.0], &[5]);
    assert_eq!(run(&dev, &Prim::Sort { axis: 0, descending: false, stable: true }, &[&x])[1].i64s(), [2, 4, 1, 3, 0]);
    assert_eq!(run(&dev, &Prim::Sort { axis: 0, descending: true, stable: true }, &[&x])[1].i64s(), [0, 3, 1, 4, 2]);
}

#[test]
fn places_that_are_not_zero() {
    let Some(dev) = gpu() else { return };
    for shape in [vec![5], vec![3, 4], vec![7, 20, 40], vec![100]] {
        let n: usize = shape.iter().product();
        let v: Vec<f32> = noise(n, 9).iter().map(|v| if *v > 0.3 { *v } else { 0.0 }).collect();
        let x = T::floats(&dev, &v, &shape);
        let p = identity(DType::F32);
        let leaves = [x.arg()];
        let (count, buffer) = dev.nonzero(&GpuSource { program: &p, leaves: &leaves, shape: &shape }).unwrap();
        let want: Vec<i64> = common::indices(&shape)
            .iter()
            .enumerate()
            .filter(|(i, _)| v[*i] != 0.0)
            .flat_map(|(_, at)| at.iter().map(|&a| a as i64).collect::<Vec<_>>())
            .collect();
        let got = T { buffer, dtype: DType::I64, layout: rtorch_ir::Layout::contiguous(&[count, shape.len()]) };
        assert_eq!(got.i64s(), want, "{shape:?}");
        let out = T::empty(&dev, DType::I64, &[count, shape.len()]);
        common::run_into(&dev, &Prim::Nonzero, &[&x], std::slice::from_ref(&out));
        assert_eq!(out.i64s(), want);
    }
}
