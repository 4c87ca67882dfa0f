//! Reductions over every pattern of axes and kind of operand against plain loops in f64 and i64, the same bits for any
//! number of threads and with or without a prologue, and the error of long sums.

use rtorch_cpu::threads::set_num_threads;
use rtorch_cpu::{Arg, Source, run};
use rtorch_ir::prim::{Axes, ReduceOp, reduced_shape};
use rtorch_ir::program::{Ex, build};
use rtorch_ir::{DType, Layout, Prim, Program};

fn identity(d: DType) -> Program {
    Program::copy(d, d)
}

fn floats(n: usize) -> Vec<f32> {
    let mut s = 88172645463325252u64;
    (0..n)
        .map(|_| {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            (s % 20011) as f32 / 10000.0 - 1.0
        })
        .collect()
}

/// Runs a primitive on one operand; answers the bytes of each output.
fn call(prim: &Prim, program: &Program, leaf: Arg, shape: &[usize], outs: &[DType], axes: &[usize]) -> Vec<Vec<u8>> {
    let kept = Layout::contiguous(&reduced_shape(shape, axes, false));
    let mut bytes: Vec<Vec<u8>> = outs.iter().map(|d| vec![0; kept.numel() * d.size()]).collect();
    let args: Vec<Arg> =
        bytes.iter_mut().zip(outs).map(|(b, &d)| Arg { ptr: b.as_mut_ptr(), dtype: d, layout: &kept }).collect();
    run(prim, &[Source { program, leaves: &[leaf], shape }], None, &args).unwrap();
    bytes
}

fn as_f32(b: &[u8]) -> Vec<f32> {
    b.chunks_exact(4).map(|c| f32::from_ne_bytes(c.try_into().unwrap())).collect()
}
fn as_i64(b: &[u8]) -> Vec<i64> {
    b.chunks_exact(8).map(|c| i64::from_ne_bytes(c.try_into().unwrap())).collect()
}

fn reduce(op: ReduceOp, axes: &[usize], dtype: DType) -> Prim {
    Prim::Reduce { op, axes: Axes::from_slice(axes), keepdim: false, dtype }
}

/// Elements of each output, in logical order of the reduced dimensions.
fn groups(shape: &[usize], axes: &[usize], l: &Layout, x: &[f32]) -> Vec<Vec<f64>> {
    let kept = reduced_shape(shape, axes, false);
    let mut out = vec![Vec::new(); kept.iter().product()];
    let n: usize = shape.iter().product();
    for i in 0..n {
        let mut at = vec![0; shape.len()];
        let mut rest = i;
        for d in (0..shape.len()).rev() {
            at[d] = rest % shape[d];
            rest /= shape[d];
        }
        let mut o = 0;
        for d in (0..shape.len()).filter(|d| !axes.contains(d)) {
            o = o * shape[d] + at[d];
        }
        out[o].push(x[l.at(&at)] as f64);
    }
    out
}

#[test]
fn every_pattern_of_axes() {
    let shapes: Vec<Vec<usize>> = vec![
        vec![],
        vec![1],
        vec![7],
        vec![513],
        vec![100_000],
        vec![3, 5],
        vec![70, 1],
        vec![64, 700],
        vec![1500, 3],
        vec![3, 9000],
        vec![2500, 130],
        vec![4, 33, 65],
        vec![40, 7, 9],
        vec![5, 6, 7, 8],
        vec![2, 1100, 2, 3],
    ];
    for shape in shapes {
        let n: usize = shape.iter().product();
        for mask in 0..1usize << shape.len() {
            let axes: Vec<usize> = (0..shape.len()).filter(|d| mask >> d & 1 == 1).collect();
            for turned in [false, true] {
                let mut l = Layout::contiguous(&shape);
                if turned {
                    if shape.len() < 2 {
                        continue;
                    }
                    let mut back = shape.clone();
                    back.swap(0, shape.len() - 1);
                    l = Layout::contiguous(&back).transpose(0, shape.len() - 1);
                }
                let mut x = floats(n);
                one(&shape, &axes, &l, &mut x);
            }
        }
    }
}

fn one(shape: &[usize], axes: &[usize], l: &Layout, x: &mut [f32]) {
    let leaf = Arg { ptr: x.as_mut_ptr().cast(), dtype: DType::F32, layout: l };
    let p = identity(DType::F32);
    let want = groups(shape, axes, l, x);
    let run1 = |op, d: DType| call(&reduce(op, axes, d), &p, leaf, shape, &[d], axes).remove(0);
    set_num_threads(1);
    let sum = as_f32(&run1(ReduceOp::Sum, DType::F32));
    for (o, g) in want.iter().enumerate() {
        let exact: f64 = g.iter().sum();
        let scale: f64 = g.iter().map(|v| v.abs()).sum::<f64>() + 1e-30;
        assert!((sum[o] as f64 - exact).abs() <= 1e-6 * scale, "sum {shape:?} {axes:?}: {} for {exact}", sum[o]);
    }
    let max = as_f32(&run1(ReduceOp::Max, DType::F32));
    let min = as_f32(&run1(ReduceOp::Min, DType::F32));
    for (o, g) in want.iter().enumerate() {
        assert_eq!(max[o] as f64, g.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        assert_eq!(min[o] as f64, g.iter().copied().fold(f64::INFINITY, f64::min));
    }
    if axes.len() == 1 || axes.len() == shape.len() {
        let at = as_i64(&run1(ReduceOp::ArgMax, DType::I64));
        let low = as_i64(&run1(ReduceOp::ArgMin, DType::I64));
        for (o, g) in want.iter().enumerate() {
            assert_eq!(at[o] as usize, g.iter().position(|&v| v == max[o] as f64).unwrap(), "{shape:?} {axes:?}");
            assert_eq!(low[o] as usize, g.iter().position(|&v| v == min[o] as f64).unwrap());
        }
        if axes.len() == 1 {
            let prim = Prim::Extreme { largest: true, axis: axes[0], keepdim: false };
            let both = call(&prim, &p, leaf, shape, &[DType::F32, DType::I64], axes);
            assert_eq!((as_f32(&both[0]), as_i64(&both[1])), (max, at));
        }
    }
    let prim = Prim::VarMean { axes: Axes::from_slice(axes), keepdim: false, correction: 1.0 };
    let vm = call(&prim, &p, leaf, shape, &[DType::F32, DType::F32], axes);
    let (var, mean) = (as_f32(&vm[0]), as_f32(&vm[1]));
    for (o, g) in want.iter().enumerate() {
        let m = g.iter().sum::<f64>() / g.len() as f64;
        let v = g.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / (g.len() as f64 - 1.0);
        assert!((mean[o] as f64 - m).abs() <= 1e-6 * (m.abs() + 1.0), "{shape:?} {axes:?} {} {m}", mean[o]);
        assert!((var[o] as f64 - v).abs() <= 1e-5 * v || v.is_nan() && var[o].is_nan(), "{shape:?} {} {v}", var[o]);
    }
    // the same bits for other numbers of threads, and when the operand is computed on the way
    let (mut twice, o) = build(Program::new(), || Ex::leaf(DType::F32) * 2.0);
    twice.outputs.push(o.0);
    for threads in [2, 3] {
        set_num_threads(threads);
        assert_eq!(as_f32(&run1(ReduceOp::Sum, DType::F32)), sum, "{shape:?} {axes:?} {threads} threads");
        let prim = reduce(ReduceOp::Sum, axes, DType::F32);
        let scaled = as_f32(&call(&prim, &twice, leaf, shape, &[DType::F32], axes)[0]);
        assert_eq!(scaled, sum.iter().map(|v| v * 2.0).collect::<Vec<_>>(), "{shape:?} {axes:?} prologue");
    }
}

#[test]
fn integers_bools_and_halves() {
    let mut x: Vec<i32> = (0..5000).map(|i| i32::MAX - i).collect();
    let l = Layout::contiguous(&[5000]);
    let leaf = Arg { ptr: x.as_mut_ptr().cast(), dtype: DType::I32, layout: &l };
    let p = identity(DType::I32);
    let b = call(&reduce(ReduceOp::Sum, &[0], DType::I64), &p, leaf, &[5000], &[DType::I64], &[0]);
    assert_eq!(as_i64(&b[0]), [x.iter().map(|&v| v as i64).sum::<i64>()]);
    let b = call(&reduce(ReduceOp::Prod, &[0], DType::I64), &p, leaf, &[5000], &[DType::I64], &[0]);
    assert_eq!(as_i64(&b[0]), [x.iter().fold(1i64, |a, &v| a.wrapping_mul(v as i64))]);
    let b = call(&reduce(ReduceOp::Any, &[0], DType::Bool), &p, leaf, &[5000], &[DType::Bool], &[0]);
    assert_eq!(b[0], [1]);
    x[77] = 0;
    let b = call(&reduce(ReduceOp::All, &[0], DType::Bool), &p, leaf, &[5000], &[DType::Bool], &[0]);
    assert_eq!(b[0], [0]);
    let mut h: Vec<half::bf16> = (0..4096).map(|i| half::bf16::from_f32((i % 7) as f32)).collect();
    let l = Layout::contiguous(&[4096]);
    let leaf = Arg { ptr: h.as_mut_ptr().cast(), dtype: DType::BF16, layout: &l };
    let want: f32 = h.iter().map(|v| v.to_f32()).sum();
    let b =
        call(&reduce(ReduceOp::Sum, &[0], DType::BF16), &identity(DType::BF16), leaf, &[4096], &[DType::BF16], &[0]);
    assert_eq!(half::bf16::from_bits(u16::from_ne_bytes([b[0][0], b[0][1]])), half::bf16::from_f32(want));
    let mut z = vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    let l = Layout::contiguous(&[3]);
    let leaf = Arg { ptr: z.as_mut_ptr().cast(), dtype: DType::C64, layout: &l };
    let b = call(&reduce(ReduceOp::Sum, &[0], DType::C64), &identity(DType::C64), leaf, &[3], &[DType::C64], &[0]);
    assert_eq!(as_f32(&b[0]), [9.0, 12.0]);
}

#[test]
fn empty_and_nan() {
    let l = Layout::contiguous(&[0, 3]);
    let mut none = [0f32; 0];
    let leaf = Arg { ptr: none.as_mut_ptr().cast(), dtype: DType::F32, layout: &l };
    let p = identity(DType::F32);
    let get = |op| as_f32(&call(&reduce(op, &[0], DType::F32), &p, leaf, &[0, 3], &[DType::F32], &[0])[0]);
    assert_eq!(get(ReduceOp::Sum), [0.0; 3]);
    assert_eq!(get(ReduceOp::Prod), [1.0; 3]);
    let b = call(&reduce(ReduceOp::Sum, &[1], DType::F32), &p, leaf, &[0, 3], &[DType::F32], &[1]);
    assert!(b[0].is_empty());
    for n in [5, 100, 3000, 50_000] {
        let mut x = floats(n);
        x[n / 2] = f32::NAN;
        x[n - 1] = f32::NAN;
        for shape in [vec![n], vec![n, 1], vec![1, n]] {
            let l = Layout::contiguous(&shape);
            let leaf = Arg { ptr: x.as_mut_ptr().cast(), dtype: DType::F32, layout: &l };
            let all: Vec<usize> = (0..shape.len()).collect();
            let max = call(&reduce(ReduceOp::Max, &all, DType::F32), &p, leaf, &shape, &[DType::F32], &all);
            assert!(as_f32(&max[0])[0].is_nan());
            let at = call(&reduce(ReduceOp::ArgMin, &all, DType::I64), &p, leaf, &shape, &[DType::I64], &all);
            assert_eq!(as_i64(&at[0]), [n as i64 / 2]);
        }
    }
    // along columns
    let mut x: Vec<f32> = floats(3000);
    x[300 + 1] = f32::NAN;
    let l = Layout::contiguous(&[1000, 3]);
    let leaf = Arg { ptr: x.as_mut_ptr().cast(), dtype: DType::F32, layout: &l };
    let prim = Prim::Extreme { largest: false, axis: 0, keepdim: false };
    let both = call(&prim, &p, leaf, &[1000, 3], &[DType::F32, DType::I64], &[0]);
    assert!(as_f32(&both[0])[1].is_nan() && as_i64(&both[1])[1] == 100);
}

#[test]
fn long_sums_are_accurate() {
    let n = 10_000_000;
    let mut x: Vec<f32> = floats(n).into_iter().map(|v| v.abs() + 0.1).collect();
    let exact: f64 = x.iter().map(|&v| v as f64).sum();
    let p = identity(DType::F32);
    for shape in [vec![n], vec![n / 4, 4]] {
        let l = Layout::contiguous(&shape);
        let leaf = Arg { ptr: x.as_mut_ptr().cast(), dtype: DType::F32, layout: &l };
        let axes: Vec<usize> = (0..shape.len()).collect();
        let b = call(&reduce(ReduceOp::Sum, &axes, DType::F32), &p, leaf, &shape, &[DType::F32], &axes);
        assert!((as_f32(&b[0])[0] as f64 - exact).abs() < 2e-7 * exact);
        let axes = &axes[..1];
        let b = call(&reduce(ReduceOp::Sum, axes, DType::F32), &p, leaf, &shape, &[DType::F32], axes);
        let total: f64 = as_f32(&b[0]).iter().map(|&v| v as f64).sum();
        assert!((total - exact).abs() < 2e-7 * exact);
    }
}
