//! MatMul against plain loops: odd sizes, every path of the blocking, strides, broadcasts, dtypes.

mod tensors;

use rtorch_cpu::{Arg, Epilogue, Source, run};
use rtorch_ir::program::{Ex, build, ex};
use rtorch_ir::{DType, Layout, Prim, Program};
use tensors::{Rng, Tensor, call, call_into, some_layout};

const PLAIN: Prim = Prim::MatMul { bias: false, alpha: 1.0, beta: 1.0 };

fn shape_of(batch: &[usize], m: usize, n: usize) -> Vec<usize> {
    [batch, &[m, n]].concat()
}

fn product(a: &Tensor, b: &Tensor, index: &[usize]) -> f64 {
    let n = index.len();
    let (mut ia, mut ib) = (index.to_vec(), index.to_vec());
    (0..a.layout.shape[n - 1])
        .map(|p| {
            ia[n - 1] = p;
            ib[n - 2] = p;
            a.get(&ia) * b.get(&ib)
        })
        .sum()
}

#[test]
fn sizes_and_strides_of_f32_and_f64() {
    let mut rng = Rng(1);
    let sizes = [1, 2, 3, 5, 8, 13, 14, 15, 16, 17, 31, 33, 48, 64, 65, 100];
    for round in 0..400 {
        let dtype = if round % 2 == 0 { DType::F32 } else { DType::F64 };
        let [m, n, k] = std::array::from_fn(|_| sizes[rng.below(sizes.len())]);
        let batch: &[usize] = match rng.below(4) {
            0 => &[3],
            1 => &[2, 2],
            _ => &[],
        };
        let a = Tensor::random(some_layout(&shape_of(batch, m, k), &mut rng), dtype, &mut rng);
        let b = Tensor::random(some_layout(&shape_of(batch, k, n), &mut rng), dtype, &mut rng);
        let shape = shape_of(batch, m, n);
        let c = &call(&PLAIN, &[&a, &b], &[(&shape, dtype)])[0];
        c.compare(&format!("{batch:?} {m}x{k}x{n} {:?} {:?}", a.layout, b.layout), 2e-5, |i| product(&a, &b, i));
    }
}

#[test]
fn blocks_of_large_products() {
    let mut rng = Rng(2);
    for (m, n, k) in [(400, 130, 300), (20, 700, 600), (700, 20, 530), (345, 1100, 270), (3, 1500, 700), (2000, 2, 400)]
    {
        for _ in 0..3 {
            let a = Tensor::random(some_layout(&[m, k], &mut rng), DType::F32, &mut rng);
            let b = Tensor::random(some_layout(&[k, n], &mut rng), DType::F32, &mut rng);
            let c = &call(&PLAIN, &[&a, &b], &[(&[m, n], DType::F32)])[0];
            for _ in 0..2000 {
                let at = [rng.below(m), rng.below(n)];
                let (have, want) = (c.get(&at), product(&a, &b, &at));
                assert!((have - want).abs() < 1e-4 * want.abs().max(1.0), "{m} {k} {n} {at:?} {have} {want}");
            }
        }
    }
}

#[test]
fn empty_sums_are_zero_and_empty_results_are_left_alone() {
    for (m, n, k) in [(3, 4, 0), (0, 4, 2), (3, 0, 2), (0, 0, 0)] {
        let (a, b) = (Tensor::zeros(&[2, m, k], DType::F32), Tensor::zeros(&[2, k, n], DType::F32));
        call(&PLAIN, &[&a, &b], &[(&[2, m, n], DType::F32)])[0].compare("empty", 0.0, |_| 0.0);
    }
}

#[test]
fn results_with_columns_or_gaps() {
    let mut rng = Rng(3);
    for (m, n) in [(40, 33), (1, 9), (9, 1), (200, 3)] {
        for layout in
            [Layout::contiguous(&[n, m]).transpose(0, 1), Layout::contiguous(&[m, n + 7]).slice(1, 4, 4 + n, 1)]
        {
            let a = Tensor::random(some_layout(&[m, 20], &mut rng), DType::F32, &mut rng);
            let b = Tensor::random(some_layout(&[20, n], &mut rng), DType::F32, &mut rng);
            let c = Tensor::with_layout(layout, DType::F32);
            call_into(&PLAIN, &[&a, &b], None, &[&c]);
            c.compare("layout", 1e-5, |i| product(&a, &b, i));
        }
    }
}

#[test]
fn alpha_beta_and_bias() {
    let mut rng = Rng(4);
    let prim = Prim::MatMul { bias: true, alpha: 0.5, beta: -2.0 };
    for (m, n, k) in [(30, 40, 20), (1, 40, 20), (40, 1, 20), (64, 300, 256), (5, 5, 0)] {
        let a = Tensor::random(some_layout(&[m, k], &mut rng), DType::F32, &mut rng);
        let b = Tensor::random(some_layout(&[k, n], &mut rng), DType::F32, &mut rng);
        for bias in [
            Layout::contiguous(&[n]).broadcast_to(&[m, n]).unwrap(),
            Layout::contiguous(&[m, 1]).broadcast_to(&[m, n]).unwrap(),
            Layout::contiguous(&[n, m]).transpose(0, 1),
            Layout::contiguous(&[m, n]),
        ] {
            let bias = Tensor::random(bias, DType::F32, &mut rng);
            let c = &call(&prim, &[&a, &b, &bias], &[(&[m, n], DType::F32)])[0];
            c.compare("addmm", 1e-5, |i| 0.5 * product(&a, &b, i) - 2.0 * bias.get(i));
        }
    }
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let mut rng = Rng(5);
    for (m, n, k) in [(200, 300, 700), (8, 3000, 400), (500, 700, 300), (64, 128, 2000)] {
        let a = Tensor::random(Layout::contiguous(&[m, k]), DType::F32, &mut rng);
        let b = Tensor::random(Layout::contiguous(&[n, k]).transpose(0, 1), DType::F32, &mut rng);
        let mut first: Option<Tensor> = None;
        for threads in [1, 2, 3, 7] {
            rtorch_cpu::threads::set_num_threads(threads);
            let c = call(&PLAIN, &[&a, &b], &[(&[m, n], DType::F32)]).remove(0);
            if let Some(f) = &first {
                assert!(f.bytes == c.bytes, "{m} {n} {k} with {threads} threads");
            }
            first.get_or_insert(c);
        }
    }
}

#[test]
fn integers_wrap_and_halves_round_once() {
    let mut rng = Rng(6);
    for dtype in [DType::I64, DType::I32, DType::U8, DType::F16, DType::BF16] {
        for (m, n, k) in [(5, 7, 9), (40, 33, 20), (1, 4, 3), (4, 1, 0)] {
            let a = Tensor::random(some_layout(&[2, m, k], &mut rng), dtype, &mut rng);
            let b = Tensor::random(some_layout(&[2, k, n], &mut rng), dtype, &mut rng);
            let c = &call(&PLAIN, &[&a, &b], &[(&[2, m, n], dtype)])[0];
            c.compare(&format!("{dtype:?} {m} {n} {k}"), 0.0, |i| {
                let v = product(&a, &b, i);
                match dtype {
                    DType::U8 => (v as i64 as u8) as f64,
                    DType::F16 => half::f16::from_f64(v).to_f64(),
                    DType::BF16 => half::bf16::from_f64(v).to_f64(),
                    _ => v,
                }
            });
        }
    }
}

/// x + 1, of one leaf or of two: x * y + 1.
fn program(dtype: DType, leaves: usize, index: bool) -> Program {
    let (mut p, out) = build(Program::new(), || {
        let x = Ex::leaf(dtype);
        let x = if leaves > 1 { x * Ex::leaf(dtype).cast(x.dtype()) } else { x };
        let y = x + 1.0;
        let y = if index { y + Ex::index().cast(y.dtype()) } else { y };
        y.cast(dtype)
    });
    p.outputs.push(out.0);
    p
}

#[test]
fn epilogues_run_on_every_element_once() {
    let mut rng = Rng(7);
    for round in 0..60 {
        let dtype = [DType::F32, DType::F64, DType::BF16][round % 3];
        let index = round % 5 == 0;
        let [m, n, k] = std::array::from_fn(|_| [1, 3, 20, 70, 300][rng.below(5)]);
        let batch: &[usize] = if rng.below(2) == 0 { &[] } else { &[2] };
        let shape = shape_of(batch, m, n);
        let a = Tensor::random(some_layout(&shape_of(batch, m, k), &mut rng), dtype, &mut rng);
        let b = Tensor::random(some_layout(&shape_of(batch, k, n), &mut rng), dtype, &mut rng);
        let other = Tensor::random(some_layout(&shape, &mut rng), dtype, &mut rng);
        let p = program(dtype, 2, index);
        let leaves = [other.arg()];
        let c = Tensor::zeros(&shape, dtype);
        call_into(&PLAIN, &[&a, &b], Some(&Epilogue { program: &p, leaves: &leaves }), &[&c]);
        let tolerance = if dtype == DType::BF16 { 0.02 } else { 1e-5 };
        c.compare(&format!("{dtype:?} {batch:?} {m} {n} {k}"), tolerance, |i| {
            let at = i.iter().zip(&shape).fold(0, |a, (i, s)| a * s + i);
            product(&a, &b, i) * other.get(i) + 1.0 + if index { at as f64 } else { 0.0 }
        });
    }
}

#[test]
fn prologues_and_results_of_another_dtype() {
    let mut rng = Rng(8);
    let a = Tensor::random(some_layout(&[3, 30, 20], &mut rng), DType::F32, &mut rng);
    let b = Tensor::random(Layout::contiguous(&[20, 40]).broadcast_to(&[3, 20, 40]).unwrap(), DType::F32, &mut rng);
    let (pa, pb) = (program(DType::F32, 2, false), Program::copy(DType::F32, DType::F32));
    let (la, lb) = ([a.arg(), a.arg()], [b.arg()]);
    let sources = [
        Source { program: &pa, leaves: &la, shape: &[3, 30, 20] },
        Source { program: &pb, leaves: &lb, shape: &[3, 20, 40] },
    ];
    let want = |i: &[usize]| -> f64 {
        (0..20).map(|k| (a.get(&[i[0], i[1], k]).powi(2) + 1.0) * b.get(&[i[0], k, i[2]])).sum()
    };
    let c = Tensor::zeros(&[3, 30, 40], DType::F32);
    run(&PLAIN, &sources, None, &[c.arg()]).unwrap();
    c.compare("prologue", 1e-5, want);
    let (mut p, out) = build(Program::new(), || {
        let x = Ex::leaf(DType::F32);
        ex::gt(x, x.lit(2.0))
    });
    p.outputs.push(out.0);
    let c = Tensor::zeros(&[3, 30, 40], DType::Bool);
    run(&PLAIN, &sources, Some(&Epilogue { program: &p, leaves: &[] }), &[c.arg()]).unwrap();
    c.compare("to bool", 0.0, |i| (want(i) > 2.0) as u8 as f64);
}

#[test]
fn complex_numbers() {
    let mut rng = Rng(9);
    let (m, n, k) = (7, 9, 20);
    // parts as reals with a last dimension of two, read as complex under the same memory
    let parts = |shape: &[usize], rng: &mut Rng| Tensor::random(Layout::contiguous(shape), DType::F32, rng);
    let (a, b) = (parts(&[m, k, 2], &mut rng), parts(&[k, n, 2], &mut rng));
    let (la, lb, lc) = (Layout::contiguous(&[m, k]), Layout::contiguous(&[k, n]), Layout::contiguous(&[m, n]));
    let p = Program::copy(DType::C64, DType::C64);
    let arg = |t: &Tensor, layout| [Arg { ptr: t.ptr(), dtype: DType::C64, layout }];
    let (aa, ab) = (arg(&a, &la), arg(&b, &lb));
    let sources =
        [Source { program: &p, leaves: &aa, shape: &[m, k] }, Source { program: &p, leaves: &ab, shape: &[k, n] }];
    let c = Tensor::zeros(&[m, n, 2], DType::F32);
    run(&PLAIN, &sources, None, &arg(&c, &lc)).unwrap();
    c.compare("complex", 1e-5, |i| {
        let part = |x: usize, y: usize| -> f64 { (0..k).map(|p| a.get(&[i[0], p, x]) * b.get(&[p, i[1], y])).sum() };
        if i[2] == 0 { part(0, 0) - part(1, 1) } else { part(0, 1) + part(1, 0) }
    });
}
