//! Reading and writing by index, joining, and the gradients of views, against plain loops.

mod common;

use common::{T, close, gpu, indices, noise, run};
use rtorch_ir::oracle::Val;
use rtorch_ir::prim::ScatterOp;
use rtorch_ir::{DType, Layout, Prim, Shape};

fn ramp(n: usize) -> Vec<Val> {
    (0..n as i64).map(|i| Val::Int(i % 2 + i % 101)).collect()
}

#[test]
fn reading_by_index() {
    let Some(dev) = gpu() else { return };
    for d in [DType::F32, DType::I64, DType::U8, DType::BF16, DType::Bool] {
        let x = T::new(&dev, &ramp(60), d, &[5, 4, 3]);
        let v = x.values();
        let index = T::ints(&dev, &[4, 0, -1, 2, 2, 1], &[2, 3]);
        let y = &run(&dev, &Prim::IndexSelect { axis: 0 }, &[&x, &index])[0];
        let pick = [4, 0, 4, 2, 2, 1];
        let want: Vec<Val> = (0..72).map(|i| v[pick[i / 12] * 12 + i % 12]).collect();
        assert_eq!(y.values(), want, "{d}");
        let one = T::ints(&dev, &[2, 0], &[2]);
        let t = x.view(x.layout.transpose(0, 2));
        let y = &run(&dev, &Prim::IndexSelect { axis: 1 }, &[&t, &one])[0];
        let want: Vec<Val> = indices(&[3, 2, 5]).iter().map(|i| v[i[2] * 12 + [2, 0][i[1]] * 3 + i[0]]).collect();
        assert_eq!(y.values(), want, "{d}");
        let g = T::ints(&dev, &(0..24).map(|i| i * 5 % 4).collect::<Vec<_>>(), &[4, 2, 3]);
        let y = &run(&dev, &Prim::Gather { axis: 1 }, &[&x, &g])[0];
        let gv = g.i64s();
        let want: Vec<Val> =
            indices(&[4, 2, 3]).iter().enumerate().map(|(n, i)| v[i[0] * 12 + gv[n] as usize * 3 + i[2]]).collect();
        assert_eq!(y.values(), want, "{d}");
        let (a, b) = (T::ints(&dev, &[0, 4, -1], &[3]), T::ints(&dev, &[3, 1, -4], &[3]));
        let y = &run(&dev, &Prim::Index { n: 2 }, &[&x, &a, &b])[0];
        let want: Vec<Val> = (0..9).map(|i| v[[0, 4, 4][i / 3] * 12 + [3, 1, 0][i / 3] * 3 + i % 3]).collect();
        assert_eq!(y.values(), want, "{d}");
    }
}

#[test]
fn writing_by_index() {
    let Some(dev) = gpu() else { return };
    for d in [DType::F32, DType::I32, DType::I64, DType::F16, DType::U8] {
        let x = T::new(&dev, &ramp(12), d, &[4, 3]);
        let (xv, src) = (x.i64s(), T::new(&dev, &ramp(9), d, &[3, 3]));
        let sv = src.i64s();
        let index = T::ints(&dev, &[0, 3, 0, 0, 1, 2, 3, 1, 2], &[3, 3]);
        let iv = index.i64s();
        for op in [ScatterOp::Add, ScatterOp::Set, ScatterOp::Max, ScatterOp::Min, ScatterOp::Mul] {
            let mut want = xv.clone();
            for i in 0..9 {
                let t = &mut want[iv[i] as usize * 3 + i % 3];
                *t = match op {
                    ScatterOp::Add => *t + sv[i],
                    ScatterOp::Set => sv[i],
                    ScatterOp::Max => (*t).max(sv[i]),
                    ScatterOp::Min => (*t).min(sv[i]),
                    ScatterOp::Mul if d == DType::U8 => (*t * sv[i]) % 256,
                    ScatterOp::Mul => *t * sv[i],
                };
            }
            let y = &run(&dev, &Prim::Scatter { axis: 0, op }, &[&x, &index, &src])[0];
            assert_eq!(y.i64s(), want, "{d} {op:?}");
        }
        let rows = T::ints(&dev, &[2, 0, 2], &[3]);
        let y = &run(&dev, &Prim::IndexAdd { axis: 0, op: ScatterOp::Add }, &[&x, &rows, &src])[0];
        let mut want = xv.clone();
        for (i, r) in [2, 0, 2].into_iter().enumerate() {
            for j in 0..3 {
                want[r * 3 + j] += sv[i * 3 + j];
            }
        }
        assert_eq!(y.i64s(), want, "{d}");
        for accumulate in [false, true] {
            let y = &run(&dev, &Prim::IndexPut { n: 1, accumulate }, &[&x, &src, &rows])[0];
            let mut want = xv.clone();
            for (i, r) in [2, 0, 2].into_iter().enumerate() {
                for j in 0..3 {
                    let s = sv[i * 3 + j];
                    want[r * 3 + j] = if accumulate { want[r * 3 + j] + s } else { s };
                }
            }
            assert_eq!(y.i64s(), want, "{d} {accumulate}");
        }
    }
    // many duplicates
    let n = 5000;
    let x = T::floats(&dev, &[0.0; 10], &[10]);
    let index = T::ints(&dev, &(0..n).map(|i| i % 10).collect::<Vec<_>>(), &[n as usize]);
    let src = T::floats(&dev, &vec![1.0; n as usize], &[n as usize]);
    let y = &run(&dev, &Prim::IndexAdd { axis: 0, op: ScatterOp::Add }, &[&x, &index, &src])[0];
    assert_eq!(y.f32s(), [500.0; 10]);
}

#[test]
fn joining_and_gradients_of_views() {
    let Some(dev) = gpu() else { return };
    for d in [DType::F32, DType::U8, DType::F16, DType::I64] {
        let (a, b) = (T::new(&dev, &ramp(6), d, &[2, 3]), T::new(&dev, &ramp(10), d, &[2, 5]));
        let y = &run(&dev, &Prim::Cat { axis: 1 }, &[&a, &b, &a])[0];
        let (av, bv) = (a.values(), b.values());
        let row = |i: usize| [&av[i * 3..i * 3 + 3], &bv[i * 5..i * 5 + 5], &av[i * 3..i * 3 + 3]].concat();
        assert_eq!(y.values(), [row(0), row(1)].concat(), "{d}");
        let base: Shape = Shape::from_slice(&[4, 5]);
        for view in [
            Layout::contiguous(&[4, 5]).slice(1, 1, 5, 2),
            Layout::contiguous(&[4, 5]).diagonal(1, 0, 1),
            Layout::contiguous(&[4, 5]).transpose(0, 1),
            Layout::contiguous(&[20]).unfold(0, 5, 3),
            Layout::new(&[3, 5], &[0, 1], 5),
        ] {
            let n = view.numel();
            let g = T::new(&dev, &(0..n as i64).map(|i| Val::Int(i % 7)).collect::<Vec<_>>(), d, &view.shape);
            let y = &run(&dev, &Prim::ScatterView { view: view.clone(), base: base.clone() }, &[&g])[0];
            let mut want = vec![0i64; 20];
            for (v, i) in g.i64s().iter().zip(indices(&view.shape)) {
                want[view.at(&i)] += v;
            }
            assert_eq!(y.i64s(), want, "{d} {view:?}");
        }
    }
    let g = T::floats(&dev, &noise(8, 1), &[1, 2, 2, 2]);
    let at = T::ints(&dev, &[0, 3, 5, 15, 0, 0, 1, 2], &[1, 2, 2, 2]);
    let y = &run(&dev, &Prim::MaxPoolGrad { input: Shape::from_slice(&[1, 2, 4, 4]) }, &[&g, &at])[0];
    let mut want = vec![0.0f32; 32];
    for (i, (v, a)) in g.f32s().iter().zip(at.i64s()).enumerate() {
        want[i / 4 * 16 + a as usize] += v;
    }
    close(&y.f32s(), &want, 1e-6, "max_pool gradient");
}
